"""The camera of an image, from camera_info: size, region of interest, binning, distortion."""

import pytest

pytest.importorskip("rclpy")

from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from bisenet_ros.errors import CameraError
from bisenet_ros.geometry.camera import Camera
from bisenet_ros.ros.camera_info import scale_camera_info
from bisenet_ros.ros.camera_model import camera_model

D = (0.1, -0.2, 0.001, 0.002, 0.0)


def info(**changes: object) -> CameraInfo:
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob", **changes)
    message.k = [500.0, 0.0, 310.0, 0.0, 510.0, 250.0, 0.0, 0.0, 1.0]
    message.p = [480.0, 0.0, 315.0, -57.6, 0.0, 490.0, 245.0, 4.9, 0.0, 0.0, 1.0, 0.0]
    message.d = list(D)
    return message


def test_raw_images_have_k_and_d() -> None:
    camera = camera_model(info(), 640, 480, rectified=False)
    assert camera == Camera(640, 480, (500.0, 510.0), (310.0, 250.0), "plumb_bob", D)


def test_rectified_images_have_p_and_no_distortion() -> None:
    camera = camera_model(info(), 640, 480, rectified=True)
    assert camera == Camera(640, 480, (480.0, 490.0), (315.0, 245.0), "plumb_bob")


def test_an_image_of_another_size_shows_the_same_at_another_scale() -> None:
    camera = camera_model(info(), 320, 120, rectified=False)
    assert camera.focal == (250.0, 127.5)
    assert camera.center == (310.5 / 2 - 0.5, 250.5 / 4 - 0.5)


def test_region_of_interest_and_binning() -> None:
    """200x160 pixels of the sensor, sent as 100x80."""
    region = RegionOfInterest(x_offset=80, y_offset=40, width=200, height=160)
    message = info(binning_x=2, binning_y=2, roi=region)
    camera = camera_model(message, 100, 80, rectified=False)
    assert camera.focal == (250.0, 255.0)
    # Pixel 0 covers columns 80 and 81 of the sensor: its center is at 80.5.
    assert camera.center == ((310 - 80.5) / 2, (250 - 40.5) / 2)
    # Labels of 50x20, whose camera_info the segmentation node has scaled, are the same camera.
    scaled = scale_camera_info(message, 50, 20, Header())
    assert scaled is not None
    small = camera_model(scaled, 50, 20, rectified=False)
    assert small.focal == pytest.approx((125.0, 63.75))
    assert small.center == pytest.approx(((camera.center[0] - 0.5) / 2, 0.25 * 105.25 - 0.5))


def test_without_a_size_it_describes_the_image_as_it_is() -> None:
    message = info()
    message.width = message.height = 0
    assert camera_model(message, 64, 48, rectified=False).focal == (500.0, 510.0)


def test_coefficients_of_zero_are_no_distortion_except_of_a_fisheye() -> None:
    message = info()
    message.d = [0.0] * 5
    assert camera_model(message, 640, 480, rectified=False).distortion == ()
    message.distortion_model = "any"
    assert camera_model(message, 640, 480, rectified=False).distortion == ()
    for d in ([0.0] * 4, []):
        message.distortion_model, message.d = "equidistant", d
        assert camera_model(message, 640, 480, rectified=False).distortion == (0.0,) * 4


def test_a_camera_without_calibration_is_refused() -> None:
    with pytest.raises(CameraError, match="the camera is not calibrated: calibrate it"):
        camera_model(CameraInfo(width=640, height=480), 640, 480, rectified=False)
