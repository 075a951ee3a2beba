"""The camera model of an image, from sensor_msgs/CameraInfo."""

from sensor_msgs.msg import CameraInfo

from bisenet_ros.geometry.camera import FISHEYE, Camera


def camera_model(info: CameraInfo, width: int, height: int, rectified: bool) -> Camera:
    """Return the camera of an image of ``width`` x ``height`` pixels that ``info`` describes.

    ``info`` describes the whole sensor; the image is its region of interest, at any scale: the
    binning of ``info`` is part of that scale.

    Args:
        info: without ``camera_info_problem``.
        width, height: of the image [px].
        rectified: whether the image is, so that P counts; otherwise K and D do.

    Raises:
        CameraError: the camera is not calibrated, or its lens model is unknown.
    """
    roi = info.roi
    scale_x = (roi.width or info.width or width) / width
    scale_y = (roi.height or info.height or height) / height
    (fx, cx), (fy, cy) = (
        ((info.p[0], info.p[2]), (info.p[5], info.p[6]))
        if rectified
        else ((info.k[0], info.k[2]), (info.k[4], info.k[5]))
    )
    distortion: tuple[float, ...] = ()
    if not rectified and info.distortion_model in FISHEYE:
        # Even without coefficients this is no pinhole camera.
        distortion = tuple(info.d) or (0.0,) * 4
    elif not rectified and any(info.d):
        distortion = tuple(info.d)
    return Camera(
        width,
        height,
        (fx / scale_x, fy / scale_y),
        (
            (cx - roi.x_offset + 0.5) / scale_x - 0.5,
            (cy - roi.y_offset + 0.5) / scale_y - 0.5,
        ),
        info.distortion_model,
        distortion,
    )
