"""Several cameras on one engine, over DDS: topics, turns, and what is a camera's own."""

import re
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from bisenet_ros.msg import SegmentationStats
from diagnostic_msgs.msg import DiagnosticStatus
from node_fixture import (
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    Bench,
    frame,
    header,
    picture,
    pixels_of,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.inference.backend import EngineOptions
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file

CAMERAS = ["front", "rear"]


def stats_when(bench: Bench, camera: str, received: int) -> SegmentationStats:
    """Return the statistics of ``camera`` when all that it received was dealt with."""
    heard = bench.listen(SegmentationStats, f"{camera}/stats")

    def settled() -> bool:
        return any(
            s.received == received == s.processed + s.dropped + s.rejected for s in heard[-1:]
        )

    bench.spin_until(settled, f"{received} frames of {camera}")
    return heard[-1]


def test_each_camera_has_topics_of_its_own(bench: Bench) -> None:
    bench.start({"cameras": CAMERAS})
    labels = {name: bench.listen(Image, f"{name}/label") for name in CAMERAS}
    infos = {name: bench.listen(CameraInfo, f"{name}/camera_info") for name in CAMERAS}
    cameras = {name: bench.camera(f"/{name}/image") for name in CAMERAS}
    described = bench.camera("/rear/camera_info", CameraInfo)
    sent = CameraInfo(header=header(9), width=160, height=120)
    for number, name in enumerate(CAMERAS):
        described.publish(sent)
        cameras[name].publish(frame(number))
        bench.spin_until(lambda name=name: labels[name], f"a label of {name}")
    bench.spin_until(lambda: infos["rear"], "the camera_info of rear")
    assert [message.header for message in labels["front"]] == [header(0)]
    assert [message.header for message in labels["rear"]] == [header(1)]
    assert [message.header for message in infos["rear"]] == [header(1)]
    assert infos["front"] == []
    assert not bench.publishers("label")
    assert not bench.node.count_subscribers("/image")
    assert len(bench.publishers("class_map")) == 1


@pytest.mark.parametrize("batch", [False, True])
def test_a_camera_that_floods_or_sends_garbage_takes_no_turn_of_another(
    bench: Bench, batch: bool
) -> None:
    bench.start({"cameras": ["front", "rear", "left"], "batch_cameras": batch})
    labels = {name: bench.listen(Image, f"{name}/label") for name in ("front", "rear", "left")}
    cameras = {name: bench.camera(f"/{name}/image") for name in labels}
    garbage = Image(encoding="rgb8", width=4, height=4, step=12)
    for number in range(10):
        for flood in range(10):
            cameras["front"].publish(frame(100 + 10 * number + flood))
            cameras["left"].publish(garbage)
        cameras["rear"].publish(frame(number))
        bench.spin_until(lambda n=number: len(labels["rear"]) > n, f"label {number} of rear")
    assert [message.header for message in labels["rear"]] == [header(n) for n in range(10)]
    assert labels["left"] == []
    rear, left, front = (
        stats_when(bench, *each) for each in (("rear", 10), ("left", 100), ("front", 100))
    )
    assert (rear.processed, rear.dropped, rear.rejected) == (10, 0, 0)
    assert left.rejected == 100 - left.dropped > 0
    assert front.rejected == 0
    assert front.processed + front.dropped == 100


def test_labels_of_a_batch_go_to_the_camera_of_the_image(bench: Bench, tiny_model: Path) -> None:
    options = {"resolution": "128x64", "backend": "openvino"}
    bench.start({**options, "cameras": CAMERAS, "batch_cameras": True})
    bench.wait_for_log(r"at 128x64 on openvino, cpu, fp32, 2 images at once")
    labels = {name: bench.listen(Image, f"{name}/label") for name in CAMERAS}
    cameras = {name: bench.camera(f"/{name}/image") for name in CAMERAS}
    for number in range(20):
        for offset, name in enumerate(CAMERAS):
            cameras[name].publish(frame(2 * number + offset))
    received = {name: stats_when(bench, name, 20) for name in CAMERAS}
    bench.spin_until(
        lambda: all(len(labels[n]) == received[n].processed for n in CAMERAS), "the labels"
    )
    segmenter = Segmenter(
        model_file.load(tiny_model),
        EngineOptions(backend="openvino", device="cpu", precision="fp32", threads=1),
    )
    for name, parity in zip(CAMERAS, (0, 1), strict=True):
        assert labels[name]
        for message in labels[name]:
            number = int(message.header.frame_id.removeprefix("camera_"))
            assert number % 2 == parity
            expected = segmenter.segment(picture(number)).labels
            assert (pixels_of(message) == expected).mean() >= 0.999


def test_a_camera_may_have_a_rate_of_its_own(bench: Bench) -> None:
    bench.start({"cameras": CAMERAS})
    labels = {name: bench.listen(Image, f"{name}/label") for name in CAMERAS}
    cameras = {name: bench.camera(f"/{name}/image") for name in CAMERAS}
    bench.set({"rear.max_rate": 0.01})
    refused = bench.try_set("rear.max_rate", 0.001)
    assert refused.reason == "parameter 'rear.max_rate' is 0.001 (valid: 0, or 0.01 to 1000)"
    for number in range(3):
        for name in CAMERAS:
            cameras[name].publish(frame(number))
        bench.spin_until(lambda n=number: len(labels["front"]) > n, f"label {number} of front")
    stats = stats_when(bench, "rear", 3)
    assert (stats.processed, stats.dropped) == (1, 2)


def test_diagnostics_and_log_name_the_camera(bench: Bench) -> None:
    bench.start({"cameras": CAMERAS})
    bench.wait_for_log(r"waiting for images on /front/image, /rear/image \(reliable\)")
    bench.listen(Image, "front/label")
    camera = bench.camera("/front/image")
    heard = bench.diagnostics()

    def told() -> bool:
        message = frame(1)
        message.header.stamp = bench.node.get_clock().now().to_msg()
        camera.publish(message)
        latest = {status.name: status for message in heard for status in message.status}
        front, rear = (latest.get(f"segmentation: {name}") for name in CAMERAS)
        return bool(
            front
            and rear
            and (front.level, rear.level) == (DiagnosticStatus.OK, DiagnosticStatus.WARN)
            and re.match("nobody publishes /rear/image", rear.message)
        )

    bench.spin_until(told, "front is OK, rear is missed")
    assert bench.change(DEACTIVATE)
    line = bench.wait_for_log("inactive: front")
    assert re.search(r"front: \d+ frames received, .*; rear: 0 frames received", line)


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["front", "front"], "two cameras have the same name: front, front"),
        (["front", "rear/left"], "'rear/left' cannot be part of a topic's name"),
        (["front", ""], "'' cannot be part of a topic's name"),
        ([f"camera{n}" for n in range(17)], "there are 17 cameras and 16 are possible"),
    ],
)
def test_names_that_are_no_topics_are_refused(bench: Bench, names: list[str], reason: str) -> None:
    result = bench.try_set("cameras", names)
    assert not result.successful
    assert reason in result.reason


def test_the_names_can_change_between_two_configurations(bench: Bench) -> None:
    bench.start({"cameras": CAMERAS})
    assert bench.publishers("rear/label")
    assert bench.change(DEACTIVATE)
    assert bench.change(CLEANUP)
    bench.set({"cameras": ["left"]})
    assert bench.change(CONFIGURE)
    bench.spin_until(lambda: bench.publishers("left/label"), "the topics of left")
    assert not bench.publishers("rear/label")


def test_the_camera_is_left_while_no_one_listens(bench: Bench) -> None:
    bench.start({"lazy": True, "cameras": CAMERAS})
    bench.wait_for_log("/rear/image .* once someone subscribes to an image output")
    cameras = [bench.node.create_publisher(Image, f"/{name}/image", 10) for name in CAMERAS]
    heard = bench.diagnostics()
    bench.spin_until(
        lambda: any(
            status.level == DiagnosticStatus.OK and status.message.startswith("idle until someone")
            for message in heard
            for status in message.status
        ),
        "idle is OK, and said",
    )
    assert [camera.get_subscription_count() for camera in cameras] == [0, 0]

    labels = bench.listen(Image, "front/label")
    bench.spin_until(cameras[0].get_subscription_count, "the node listens to front")
    assert cameras[1].get_subscription_count() == 0
    cameras[0].publish(frame(1))
    bench.spin_until(lambda: labels, "a label")
    assert labels[0].header == header(1)

    bench.forget()
    bench.spin_until(lambda: not cameras[0].get_subscription_count(), "the node leaves front")
    jpegs = bench.listen(CompressedImage, "front/overlay/compressed")
    bench.spin_until(cameras[0].get_subscription_count, "the node listens again")
    cameras[0].publish(frame(2))
    bench.spin_until(lambda: jpegs, "a JPEG")
    assert jpegs[0].header == header(2)
    bench.forget()
    bench.set({"lazy": False})
    bench.spin_until(lambda: all(c.get_subscription_count() for c in cameras), "it listens to all")
    for camera in cameras:
        bench.node.destroy_publisher(camera)


def test_latched_outputs_are_made_for_who_comes_later(bench: Bench) -> None:
    bench.start({"lazy": True, "output_qos.durability": "transient_local"})
    bench.camera().publish(frame(3))
    bench.stats_when(lambda message: message.processed == 1)
    labels = bench.listen(Image, "label", latched=True)
    bench.spin_until(lambda: labels, "the label made before")
    assert labels[0].header == header(3)


def test_what_is_a_camera_s_own_can_be_set_before_configure(bench: Bench) -> None:
    bench.set({"cameras": ["port", "starboard"]})
    bench.set({"port.roi": [0, 0, 8, 8]})
    refused = bench.try_set("starboard.roi", [0, 0, 8])
    assert "'starboard.roi' cannot be used: [0, 0, 8] is not x, y, width" in refused.reason
    bench.start()
    labels = bench.listen(Image, "port/label")
    bench.camera("/port/image").publish(frame(1))
    bench.spin_until(lambda: labels, "a label")
    assert (pixels_of(labels[0])[8:] == 255).all()
    assert (pixels_of(labels[0])[:8, :8] != 255).all()
    assert "read at configure" in bench.try_set("port.roi", [0, 0, 9, 9]).reason
