"""Frames through the node, over DDS: topics, headers, sizes, encodings, load."""

import importlib.util
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from bisenet_ros.inference.backend import EngineOptions

pytest.importorskip("rclpy")

import torch
from bisenet_ros.msg import ClassMap, SegmentationStats
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from encoded_images import huge_gif
from node_fixture import ACTIVATE, CONFIGURE, DEACTIVATE, Bench, frame, header, picture, pixels_of
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from bisenet_ros.classes import palette
from bisenet_ros.inference.segmenter import Segmenter
from bisenet_ros.model import file as model_file
from bisenet_ros.ros.image_messages import compressed_message, image_message

NAMES = ["sky", "road", "pole", "tree", "car"]


@pytest.fixture(scope="module")
def segmenter(tiny_model: Path) -> Iterator[Segmenter]:
    """The node's segmenter in this process: same model, one thread, fp32."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    result = Segmenter(
        model_file.load(tiny_model), EngineOptions(device="cpu", precision="fp32", confidence=True)
    )
    yield result
    torch.set_num_threads(threads)


def agreement(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a == b))


def label_one(bench: Bench, message: Image) -> Image:
    """Return the label image of ``message``."""
    labels = bench.listen(Image, "label")
    bench.camera().publish(message)
    bench.spin_until(lambda: labels, "a label")
    return labels[0]


def stamped(bench: Bench, message: Image) -> Image:
    """Return ``message``, stamped now."""
    message.header.stamp = bench.node.get_clock().now().to_msg()
    return message


def diagnosis(
    bench: Bench,
    level: bytes,
    text: str,
    provoke: Callable[[], object] = lambda: None,
) -> None:
    """Wait for a status of this level whose message matches, calling ``provoke`` meanwhile."""
    heard: list[DiagnosticArray] = []
    qos = QoSProfile(depth=10)
    listener = bench.node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, qos)

    def found() -> list[DiagnosticStatus]:
        provoke()
        statuses = [status for message in heard for status in message.status]
        return [s for s in statuses if s.level == level and re.match(text, s.message)]

    try:
        bench.spin_until(found, f"diagnosis '{text}'")
        (status, *_) = found()
    finally:
        bench.node.destroy_subscription(listener)
    assert status.name == "segmentation: frames"
    assert {value.key: value.value for value in status.values}["model"] == "tiny"


def test_topics_have_the_types_and_qos_that_are_promised(bench: Bench) -> None:
    outputs = ["label", "confidence", "overlay", "color"]
    bench.start({"outputs": outputs, "image_qos.reliability": "best_effort"})
    latched, volatile = DurabilityPolicy.TRANSIENT_LOCAL, DurabilityPolicy.VOLATILE
    wanted = {
        "label": ("sensor_msgs/msg/Image", volatile),
        "confidence": ("sensor_msgs/msg/Image", volatile),
        "overlay": ("sensor_msgs/msg/Image", volatile),
        "color": ("sensor_msgs/msg/Image", volatile),
        "overlay/compressed": ("sensor_msgs/msg/CompressedImage", volatile),
        "color/compressed": ("sensor_msgs/msg/CompressedImage", volatile),
        "camera_info": ("sensor_msgs/msg/CameraInfo", volatile),
        "class_map": ("bisenet_ros/msg/ClassMap", latched),
        "stats": ("bisenet_ros/msg/SegmentationStats", volatile),
    }
    if importlib.util.find_spec("vision_msgs"):
        wanted["label_info"] = ("vision_msgs/msg/LabelInfo", latched)

    def ours() -> dict[str, list[str]]:
        name, namespace = "segmentation", "/"
        topics = bench.node.get_publisher_names_and_types_by_node(name, namespace)
        prefix = f"{bench.process.name}/"
        return {t.removeprefix(prefix): kinds for t, kinds in topics if t.startswith(prefix)}

    bench.spin_until(lambda: wanted.keys() <= ours().keys(), "all topics")
    assert ours().keys() - {"transition_event"} == wanted.keys()
    for name, (kind, durability) in wanted.items():
        (publisher,) = bench.publishers(name)
        assert publisher.topic_type == kind
        assert publisher.qos_profile.reliability == ReliabilityPolicy.RELIABLE, name
        assert publisher.qos_profile.durability == durability, name

    bench.spin_until(lambda: bench.node.count_subscribers("/image"), "the subscription")
    (subscription,) = bench.node.get_subscriptions_info_by_topic("/image")
    assert subscription.topic_type == "sensor_msgs/msg/Image"
    assert subscription.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert subscription.qos_profile.durability == DurabilityPolicy.VOLATILE


def test_qos_is_what_the_parameters_say(bench: Bench) -> None:
    bench.start(
        {
            "image_qos.reliability": "reliable",
            "image_qos.durability": "transient_local",
            "output_qos.reliability": "best_effort",
            "output_qos.depth": 7,
        }
    )
    bench.spin_until(lambda: bench.publishers("label"), "label")
    (publisher,) = bench.publishers("label")
    assert publisher.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert publisher.qos_profile.durability == DurabilityPolicy.VOLATILE
    bench.spin_until(lambda: bench.node.count_subscribers("/image"), "the subscription")
    (subscription,) = bench.node.get_subscriptions_info_by_topic("/image")
    assert subscription.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert subscription.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL


@pytest.mark.parametrize("end", ["image", "output"])
def test_latched_and_best_effort_do_not_go_together(bench: Bench, end: str) -> None:
    """Late joiners must be reliable to receive what was published before."""
    bench.set({f"{end}_qos.reliability": "best_effort", f"{end}_qos.durability": "transient_local"})
    assert not bench.change(CONFIGURE)
    bench.wait_for_log(f"so set {end}_qos.reliability to reliable")
    assert bench.state() == "unconfigured"


def test_no_more_than_max_rate_is_labeled(bench: Bench) -> None:
    bench.start({"max_rate": 0.01})
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    camera.publish(frame(1))
    bench.spin_until(lambda: labels, "the first label")
    camera.publish(frame(2))
    stats = bench.stats_when(lambda message: message.received == 2)
    assert (stats.processed, stats.dropped) == (1, 1)
    bench.set({"max_rate": 1000.0})
    camera.publish(frame(3))
    bench.spin_until(lambda: len(labels) == 2, "the label of the third frame")
    assert [label.header for label in labels] == [header(1), header(3)]


def test_images_are_those_of_the_segmenter(bench: Bench, segmenter: Segmenter) -> None:
    bench.start({"outputs": ["label", "confidence", "overlay", "color"], "overlay_alpha": 0.25})
    heard = {
        name: bench.listen(Image, name) for name in ("label", "confidence", "overlay", "color")
    }
    bench.camera().publish(frame(7))
    bench.spin_until(lambda: all(heard.values()), "one image of each kind")

    expected = segmenter.segment(picture(7))
    colors = palette(segmenter.model.metadata.classes)[expected.labels]
    for name, encoding in (
        ("label", "mono8"),
        ("confidence", "mono8"),
        ("overlay", "rgb8"),
        ("color", "rgb8"),
    ):
        (message,) = heard[name]
        assert message.header == header(7)
        assert (message.encoding, message.width, message.height) == (encoding, 160, 120)
        assert not message.is_bigendian
    labels = pixels_of(heard["label"][0])
    assert agreement(labels, expected.labels) >= 0.999
    assert set(np.unique(labels)) == set(range(5))
    confidence = pixels_of(heard["confidence"][0])
    assert np.mean(np.abs(confidence.astype(int) - expected.confidence)) < 0.1
    assert agreement(pixels_of(heard["color"][0]), colors) >= 0.999
    blend = 0.75 * picture(7) + 0.25 * colors
    assert np.mean(np.abs(pixels_of(heard["overlay"][0]) - blend) <= 0.5) >= 0.999


def test_class_map_reaches_those_who_come_late(bench: Bench) -> None:
    bench.start()
    bench.spin_until(lambda: bench.node.count_subscribers("/image"), "it is active for a while")
    maps = bench.listen(ClassMap, "class_map", latched=True)
    bench.spin_until(lambda: maps, "the class map, published before we listened")
    assert (maps[0].model, maps[0].ignore_id) == ("tiny", 255)
    assert maps[0].header.frame_id == ""
    assert [(entry.id, entry.name) for entry in maps[0].classes] == list(enumerate(NAMES))
    road = maps[0].classes[1].color
    assert (road.r, road.g, road.b, road.a) == pytest.approx((128 / 255, 64 / 255, 128 / 255, 1))


def test_a_class_file_replaces_names_and_colors(bench: Bench, tmp_path: Path) -> None:
    file = tmp_path / "classes.txt"
    file.write_text("".join(f"{i} thing{i} {i} 200 {i}\n" for i in range(5)))
    bench.start({"classes": str(file)})
    maps = bench.listen(ClassMap, "class_map", latched=True)
    colors = bench.listen(Image, "color")
    bench.camera().publish(frame(1))
    bench.spin_until(lambda: maps and colors, "class map and colors")
    assert [entry.name for entry in maps[0].classes] == [f"thing{i}" for i in range(5)]
    assert set(np.unique(pixels_of(colors[0])[..., 1])) == {200}


@pytest.mark.parametrize(("size", "shape"), [("input", (120, 160)), ("network", (64, 128))])
def test_label_size(bench: Bench, segmenter: Segmenter, size: str, shape: tuple[int, int]) -> None:
    bench.start({"label_size": size, "overlay_alpha": 0.0})
    overlays = bench.listen(Image, "overlay")
    label = label_one(bench, frame(3))
    bench.spin_until(lambda: overlays, "the overlay")
    expected = segmenter.segment(picture(3), size)
    assert pixels_of(label).shape == shape
    assert agreement(pixels_of(label), expected.labels) >= 0.999
    np.testing.assert_array_equal(pixels_of(overlays[0]), expected.image)


def test_a_region_and_a_letterbox(bench: Bench, segmenter: Segmenter, tmp_path: Path) -> None:
    mask = np.zeros((120, 160), np.uint8)
    mask[100:] = 255
    assert cv2.imwrite(str(tmp_path / "mask.png"), mask)
    region = {"roi": [20, 40, 100, 80], "ignore_mask": str(tmp_path / "mask.png")}
    bench.start(region | {"fit": "letterbox"})
    labels = pixels_of(label_one(bench, frame(1)))
    part = segmenter.segment(picture(1)[40:120, 20:120], fit="letterbox").labels
    wanted = np.full((120, 160), 255, np.uint8)
    wanted[40:120, 20:120] = part
    wanted[100:] = 255
    np.testing.assert_array_equal(labels, wanted)
    bench.forget()
    bench.camera().publish(frame(2, 64, 48))
    assert "its ignore_mask 160x120" in bench.wait_for_log("frame lost")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"fit": "letterbox"}, "no label belongs to the bars"),
        ({"roi": [0, 0, 8, 8]}, "pixels of the image: set label_size to input"),
        ({"ignore_mask": "mask.png"}, "pixels of the image: set label_size to input"),
    ],
)
def test_labels_of_the_networks_size_are_of_the_whole_image(
    bench: Bench, values: dict[str, Any], reason: str
) -> None:
    bench.set(values | {"label_size": "network"})
    assert not bench.change(CONFIGURE)
    assert reason in bench.wait_for_log("cannot configure")


def test_a_mask_that_cannot_be_read_is_named(bench: Bench, tmp_path: Path) -> None:
    bench.set({"ignore_mask": str(tmp_path / "none.png")})
    assert not bench.change(CONFIGURE)
    assert f"cannot read {tmp_path}/none.png" in bench.wait_for_log("cannot configure")


def test_images_older_than_max_age_are_dropped(bench: Bench) -> None:
    bench.start({"max_age": 60.0})
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    camera.publish(frame(1))  # stamped in 1970
    diagnosis(
        bench, DiagnosticStatus.WARN, "images are dropped, since they arrive older than max_a"
    )
    new, unstamped = stamped(bench, frame(2)), frame(3)
    unstamped.header.stamp = Time()
    camera.publish(new)
    bench.spin_until(lambda: labels, "the label of the new frame")
    camera.publish(unstamped)
    bench.spin_until(lambda: len(labels) == 2, "the label of the frame without a stamp")
    assert labels[0].header == new.header
    stats = bench.stats_when(lambda message: message.processed == 2)
    assert (stats.received, stats.dropped) == (3, 1)


def test_the_log_says_that_all_images_are_too_old(bench: Bench) -> None:
    bench.start({"max_age": 60.0})
    camera = bench.camera()

    def said(pattern: str, number: int, stamp: Time | None) -> bool:
        message = frame(number)
        message.header.stamp = stamp or bench.node.get_clock().now().to_msg()
        camera.publish(message)
        return re.search(pattern, bench.log()) is not None

    too_old = (
        "WARN.*labels are missing: images are dropped, since they arrive older than max_age, 60 s: "
    )
    bench.spin_until(lambda: said(too_old, 1, Time(sec=1)), "the log says why")
    bench.spin_until(lambda: said("images arrive in time", 2, None), "the log says it is over")
    assert len(re.findall("max_age", bench.log())) == 1


def test_resolution_is_the_networks(bench: Bench) -> None:
    bench.start({"resolution": "64x32", "label_size": "network"})
    label = label_one(bench, frame(3))
    assert (label.width, label.height) == (64, 32)
    stats = bench.stats_when(lambda message: True)
    assert (stats.width, stats.height) == (64, 32)


def test_below_the_threshold_is_unlabeled(bench: Bench, segmenter: Segmenter) -> None:
    bench.start({"confidence_threshold": 0.5, "overlay_alpha": 1.0})
    overlays = bench.listen(Image, "overlay")
    label = pixels_of(label_one(bench, frame(4)))
    bench.spin_until(lambda: overlays, "the overlay")
    expected = segmenter.segment(picture(4))
    unsure = expected.confidence < 128
    assert 0.05 < unsure.mean() < 0.95
    assert agreement(label, np.where(unsure, 255, expected.labels)) >= 0.998
    unlabeled = label == 255
    np.testing.assert_array_equal(pixels_of(overlays[0])[unlabeled], picture(4)[unlabeled])


def test_the_threshold_changes_while_active(bench: Bench, segmenter: Segmenter) -> None:
    bench.start({"outputs": ["label", "confidence"]})
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    camera.publish(frame(4))
    bench.spin_until(lambda: labels, "the first frame")
    bench.set({"confidence_threshold": 0.5})
    camera.publish(frame(4))
    bench.spin_until(lambda: len(labels) == 2, "the second frame")
    expected = segmenter.segment(picture(4))
    unsure = expected.confidence < 128
    assert agreement(pixels_of(labels[0]), expected.labels) >= 0.998
    assert agreement(pixels_of(labels[1]), np.where(unsure, 255, expected.labels)) >= 0.998


def test_only_the_outputs_asked_for_are_there(bench: Bench) -> None:
    bench.start({"outputs": ["color"]})
    colors = bench.listen(Image, "color")
    bench.camera().publish(frame(1))
    bench.spin_until(lambda: colors, "colors")
    assert [bench.publishers(name) for name in ("label", "confidence", "overlay")] == [[], [], []]


def test_overlay_alpha_changes_while_active(bench: Bench) -> None:
    bench.start({"overlay_alpha": 0.0})
    overlays, colors = bench.listen(Image, "overlay"), bench.listen(Image, "color")
    camera = bench.camera()
    camera.publish(frame(1))
    bench.spin_until(lambda: overlays and colors, "the first frame")
    bench.set({"overlay_alpha": 1.0})
    camera.publish(frame(2))
    bench.spin_until(lambda: len(overlays) == len(colors) == 2, "the second frame")
    np.testing.assert_array_equal(pixels_of(overlays[0]), picture(1))
    np.testing.assert_array_equal(pixels_of(overlays[1]), pixels_of(colors[1]))


def test_each_label_has_the_header_of_the_frame_it_was_made_from(
    bench: Bench, tiny_model: Path, segmenter: Segmenter
) -> None:
    """Under load, and the node takes the newest frame each time.

    Each label is answered with a burst of new frames, while the node works on the last frame of
    the burst before. The overlay with alpha 0 shows the pixels that the node had.
    """
    large = Segmenter(
        segmenter.model, EngineOptions(device="cpu", precision="fp32", resolution=(512, 256))
    )
    bench.start(
        {
            "resolution": "512x256",
            "overlay_alpha": 0.0,
            "output_qos.depth": 100,
        }
    )
    published: list[int] = []
    newest_at_label: list[int] = []

    def burst(_: object = None) -> None:
        if len(published) < 60:
            newest_at_label.append(len(published))
            for _ in range(5):
                camera.publish(frame(len(published)))
                published.append(len(published))

    overlays = bench.listen(Image, "overlay")
    labels = bench.listen(Image, "label", call=burst)
    stats = bench.listen(SegmentationStats, "stats")
    camera = bench.camera()
    burst()
    bench.spin_until(lambda: labels and labels[-1].header == header(59), "the label of the last")
    bench.spin_until(
        lambda: (
            stats and stats[-1].processed + stats[-1].dropped == 60 and len(overlays) == len(labels)
        ),
        "all frames accounted for",
    )

    numbers = [int(label.header.frame_id.removeprefix("camera_")) for label in labels]
    assert [overlay.header for overlay in overlays] == [header(number) for number in numbers]
    assert [label.header for label in labels] == [header(number) for number in numbers]
    assert numbers == sorted(set(numbers))
    expected = [large.segment(picture(number)).labels for number in numbers]
    for at, number in enumerate(numbers):
        np.testing.assert_array_equal(pixels_of(overlays[at]), picture(number))
        likeness = [agreement(pixels_of(labels[at]), other) for other in expected]
        assert likeness[at] >= 0.999
        assert max(likeness[:at] + likeness[at + 1 :]) < 0.9, "the frames are too alike to tell"
    # Newest first: a label is never of a burst before the one that the node had when it began.
    for number, newest in zip(numbers[2:], newest_at_label[1:], strict=False):
        assert number >= newest
    assert stats[-1].received == 60
    assert stats[-1].processed == len(labels)
    assert stats[-1].dropped == 60 - len(labels) > 20
    assert stats[-1].rejected == 0


def test_stats(bench: Bench) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    for number in range(4):
        camera.publish(stamped(bench, frame(number)))
        bench.spin_until(lambda wanted=number + 1: len(labels) == wanted, "its label")
    stats = bench.stats_when(lambda message: message.processed == 4)
    assert (stats.received, stats.dropped, stats.rejected) == (4, 0, 0)
    assert (stats.model, stats.backend, stats.device, stats.precision) == (
        "tiny",
        "openvino",
        "cpu",
        "fp32",
    )
    assert (stats.width, stats.height) == (128, 64)
    assert stats.header.stamp.sec > 0
    assert stats.fps > 0
    assert 0 < stats.inference_ms < stats.latency_p50_ms <= stats.latency_p95_ms
    assert stats.publish_ms > 0

    assert bench.change(DEACTIVATE)
    assert bench.change(ACTIVATE)
    again = bench.stats_when(lambda message: message.received == 0)
    assert (again.processed, again.fps, again.inference_ms) == (0, 0, 0)


def test_sizes_and_encodings_may_change_in_one_run(bench: Bench) -> None:
    bench.start({"overlay_alpha": 0.0, "output_qos.depth": 100})
    overlays, labels = bench.listen(Image, "overlay"), bench.listen(Image, "label")
    camera = bench.camera()

    def see(message: Image, number: int) -> np.ndarray:
        message.header = header(number)
        camera.publish(message)
        heard = labels, overlays
        bench.spin_until(
            lambda: all(images and images[-1].header == header(number) for images in heard),
            f"the label of {message.encoding}",
        )
        assert (labels[-1].width, labels[-1].height) == (message.width, message.height)
        return pixels_of(overlays[-1])

    rgb = picture(1, 50, 34)
    message = frame(1, 50, 34)
    message.encoding, message.data = "bgr8", rgb[..., ::-1].tobytes()
    np.testing.assert_array_equal(see(message, 1), rgb)

    padded = frame(2, 320, 200)
    rows = np.zeros((200, 1000), np.uint8)
    rows[:, :960] = picture(2, 320, 200).reshape(200, 960)
    padded.step, padded.data = 1000, rows.tobytes()
    np.testing.assert_array_equal(see(padded, 2), picture(2, 320, 200))

    gray = picture(3, 31, 33)[..., 0]
    np.testing.assert_array_equal(
        see(image_message(gray, "mono8", header(3)), 3), np.repeat(gray[..., None], 3, axis=2)
    )

    deep = image_message(gray, "mono8", header(4))
    deep.encoding, deep.step, deep.is_bigendian = "mono16", 62, 1
    deep.data = (gray.astype(">u2") * 257).tobytes()
    np.testing.assert_array_equal(see(deep, 4), np.repeat(gray[..., None], 3, axis=2))

    flat = image_message(np.full((40, 60), 90, np.uint8), "mono8", header(5))
    flat.encoding = "bayer_rggb8"
    assert (see(flat, 5) == 90).all()


def test_camera_info_is_that_of_the_labels(bench: Bench) -> None:
    bench.start({"label_size": "network", "resolution": "64x32"})
    labels, infos = bench.listen(Image, "label"), bench.listen(CameraInfo, "camera_info")
    informer = bench.camera("/camera_info", CameraInfo)
    camera = bench.camera()
    info = CameraInfo(width=160, height=120, header=header(99))
    info.k = [100.0, 0.0, 79.5, 0.0, 100.0, 59.5, 0.0, 0.0, 1.0]

    def send_until_heard() -> bool:
        informer.publish(info)  # best effort: not every one arrives
        camera.publish(frame(len(labels)))
        return bool(infos)

    bench.spin_until(send_until_heard, "camera_info")
    bench.spin_until(lambda: infos[0].header in [label.header for label in labels], "its label")
    assert (infos[0].width, infos[0].height) == (64, 32)
    assert list(infos[0].k) == pytest.approx([40, 0, 31.5, 0, 80 / 3, 15.5, 0, 0, 1])


def test_camera_info_that_no_camera_has_is_ignored_and_costs_no_frame(bench: Bench) -> None:
    bench.start()
    labels, infos = bench.listen(Image, "label"), bench.listen(CameraInfo, "camera_info")
    informer = bench.camera("/camera_info", CameraInfo)
    camera = bench.camera()
    info = CameraInfo(width=2**32 - 1, height=1, binning_x=2**32 - 1)
    info.roi.width = 1

    def send_until_ignored() -> bool:
        informer.publish(info)
        camera.publish(frame(len(labels)))
        return bool(labels) and "/camera_info is ignored: its width is 4294967295" in bench.log()

    bench.spin_until(send_until_ignored, "the warning")
    assert "frame lost" not in bench.log()
    assert not infos


def test_diagnostics_of_frames(bench: Bench) -> None:
    bench.start()
    camera = bench.camera()
    bad = frame(1)
    bad.encoding = "32FC1"
    diagnosis(bench, DiagnosticStatus.ERROR, "frame lost: ", lambda: camera.publish(bad))
    good = r"([1-9]\d*\.\d|0\.[1-9]) frames/s"
    diagnosis(bench, DiagnosticStatus.OK, good, lambda: camera.publish(stamped(bench, frame(2))))


def test_diagnostics_warn_of_stamps_that_give_no_latency(bench: Bench) -> None:
    bench.start()
    camera = bench.camera()
    zero, future = frame(1), stamped(bench, frame(2))
    zero.header.stamp = Time()
    future.header.stamp.sec += 1000
    for message, text in (
        (zero, "images are stamped 0: "),
        (frame(3), r"images are stamped \d{6}\.\d h ago: "),
        (future, r"images are stamped \d{3}\.\d s in the future: "),
    ):
        diagnosis(bench, DiagnosticStatus.WARN, text, lambda sent=message: camera.publish(sent))
    stats = bench.stats_when(lambda message: message.processed > 2)
    assert np.isnan(stats.latency_p50_ms)
    assert np.isnan(stats.latency_p95_ms)


def test_a_camera_info_that_does_not_come_is_missed(bench: Bench) -> None:
    bench.start()
    bench.listen(CameraInfo, "camera_info")
    camera = bench.camera()
    text = "/camera_info has a listener and nothing to publish: nobody publishes /camera_info: "

    def said() -> bool:
        camera.publish(frame(1))
        return text in bench.log()

    bench.spin_until(said, "a warning")


def test_a_camera_info_that_is_latched_and_sent_once_arrives(bench: Bench) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    informer = bench.node.create_publisher(CameraInfo, "/camera_info", latched)
    try:
        informer.publish(CameraInfo(distortion_model="latched"))
        bench.start()
        infos = bench.listen(CameraInfo, "camera_info")
        camera = bench.camera()

        def send_until_heard() -> bool:
            camera.publish(frame(1))
            return bool(infos)

        bench.spin_until(send_until_heard, "camera_info")
        assert infos[0].distortion_model == "latched"
        assert "nothing to publish" not in bench.log()
    finally:
        bench.node.destroy_publisher(informer)
    informer = bench.camera("/camera_info", CameraInfo)

    def send_another_until_heard() -> bool:
        informer.publish(CameraInfo(distortion_model="volatile"))
        camera.publish(frame(1))
        return infos[-1].distortion_model == "volatile"

    bench.spin_until(send_another_until_heard, "camera_info of a publisher that is not latched")


def test_a_latched_image_that_was_sent_before_is_labeled(bench: Bench) -> None:
    latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    camera = bench.node.create_publisher(Image, "/image", latched)
    try:
        camera.publish(frame(3))
        bench.start({"image_qos.durability": "transient_local"})
        assert bench.stats_when(lambda stats: stats.processed == 1).received == 1
    finally:
        bench.node.destroy_publisher(camera)


def test_a_bad_image_costs_only_itself(bench: Bench) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    camera = bench.camera()

    depth = frame(1)
    depth.encoding = "32FC1"
    truncated = frame(2)
    truncated.data = truncated.data[:1000]
    empty = Image(encoding="rgb8", header=header(3))
    narrow = frame(4)
    narrow.step = 100
    for message, reason in (
        (depth, "32FC1.*depth image.*remap"),
        (truncated, "needs 57600 bytes of data, but has 1000"),
        (empty, "0x0 is too small"),
        (narrow, "has a step of 100 bytes, but a row takes 480"),
    ):
        camera.publish(message)
        line = bench.wait_for_log(reason)
        assert line.startswith("[ERROR]")
        assert "frame lost: " in line

    camera.publish(frame(5))
    bench.spin_until(lambda: labels, "the label of the good frame")
    assert [label.header for label in labels] == [header(5)]
    stats = bench.stats_when(lambda message: message.processed == 1)
    assert (stats.received, stats.rejected, stats.dropped) == (5, 4, 0)
    assert "Traceback" not in bench.log()


def test_a_stamp_before_the_epoch_is_kept(bench: Bench) -> None:
    bench.start()
    message = frame(1)
    message.header.stamp.sec = -5
    assert label_one(bench, message).header.stamp.sec == -5
    assert bench.stats_when(lambda m: m.processed == 1).rejected == 0


def test_best_effort_frames_arrive(bench: Bench) -> None:
    bench.start({"image_qos.reliability": "best_effort", "image_qos.depth": 1})
    labels = bench.listen(Image, "label")
    camera = bench.camera()

    def send_until_heard() -> bool:
        camera.publish(frame(8))
        return bool(labels)

    bench.spin_until(send_until_heard, "a label")
    assert labels[0].header == header(8)


def test_compressed_transport(bench: Bench) -> None:
    bench.start({"input_transport": "compressed", "overlay_alpha": 0.0})
    labels, overlays = bench.listen(Image, "label"), bench.listen(Image, "overlay")
    camera = bench.camera("/image/compressed", CompressedImage)
    camera.publish(CompressedImage(header=header(1), format="jpeg", data=b"no jpeg"))
    bench.wait_for_log("frame lost: compressed image with format 'jpeg' and 7 bytes")
    reports, sizes = bench.listen(SegmentationStats, "stats"), count(8)

    def send_until_ten_are_lost() -> bool:
        bad = CompressedImage(header=header(1), format="jpeg", data=b"x" * next(sizes))
        camera.publish(bad)
        return bool(reports) and reports[-1].rejected > 10

    bench.spin_until(send_until_ten_are_lost, "ten lost frames")
    # Each message has a size of its own, and gets no line of its own for it.
    assert bench.log().count("frame lost: ") == 1
    camera.publish(compressed_message(picture(2, 320, 240), header(2)))
    bench.spin_until(lambda: labels and overlays, "the label")
    assert labels[0].header == header(2)
    difference = pixels_of(overlays[0]).astype(int) - picture(2, 320, 240)
    assert np.abs(difference).mean() < 5  # JPEG


def test_text_chosen_by_the_sender_is_bounded_everywhere(bench: Bench) -> None:
    bench.start()
    heard: list[DiagnosticArray] = []
    listener = bench.node.create_subscription(DiagnosticArray, "/diagnostics", heard.append, 10)
    camera = bench.camera()
    for number in range(50):
        message = frame(number)
        message.encoding = f"{number:x}\x1b[2J\n" + "e" * 500_000
        message.header.frame_id = "\x1b[2J\n" + "f" * 500_000
        camera.publish(message)
    try:
        bench.spin_until(
            lambda: any(s.level == DiagnosticStatus.ERROR for m in heard for s in m.status),
            "the error in diagnostics",
        )
    finally:
        bench.node.destroy_subscription(listener)
    bench.stats_when(lambda stats: stats.rejected + stats.dropped == 50)
    longest = max(len(status.message) for each in heard for status in each.status)
    assert longest < 1000
    assert bench.log().count("frame lost: ") == 1
    assert r"\x1b[2J\n" in bench.log()
    assert "\x1b" not in bench.log()
    assert len(bench.log()) < 10_000


def test_a_12_bit_image_is_told_and_labeled_once_its_bits_are_set(bench: Bench) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    camera = bench.camera("/image", Image)

    def publish(number: int, bits: int) -> None:
        gray = picture(9)[..., 0]
        message = Image(header=header(number), encoding="mono16", is_bigendian=1)
        message.height, message.width, message.step = *gray.shape, 2 * gray.shape[1]
        message.data = np.rint(gray * ((2**bits - 1) / 255)).astype(">u2").tobytes()
        camera.publish(message)
        bench.spin_until(lambda: labels and labels[-1].header == header(number), "its label")

    publish(1, 16)
    publish(2, 12)
    line = bench.wait_for_log("mono16 image is dark: its largest value is ")
    assert line.endswith("If its camera has 12 bits, set the node's parameter bit_depth to 12")
    bench.set({"bit_depth": 12})
    publish(3, 12)
    bright, dark, right = map(pixels_of, labels)
    np.testing.assert_array_equal(right, bright)
    assert (dark != bright).any()
    assert bench.log().count("is dark") == 1


def test_images_too_large_to_decode_are_rejected(bench: Bench) -> None:
    bench.start({"input_transport": "compressed"})
    labels = bench.listen(Image, "label")
    camera = bench.camera("/image/compressed", CompressedImage)
    camera.publish(CompressedImage(header=header(1), format="gif", data=huge_gif()))
    bench.wait_for_log("frame lost: .* 35 bytes has 30000x30000 pixels, more than max_image_pixels")
    bench.set({"max_image_pixels": 160 * 120 - 1})
    reports = bench.listen(SegmentationStats, "stats")
    camera.publish(compressed_message(picture(2), header(2)))
    bench.spin_until(lambda: reports and reports[-1].rejected == 2, "a second rejected frame")
    bench.set({"max_image_pixels": 160 * 120})
    camera.publish(compressed_message(picture(3), header(3)))
    bench.spin_until(lambda: labels, "the label of the frame within the limit")
    assert [label.header for label in labels] == [header(3)]
    stats = bench.stats_when(lambda message: message.processed == 1)
    assert (stats.received, stats.rejected, stats.dropped) == (3, 2, 0)


def test_a_latched_output_waits_for_its_listener(bench: Bench) -> None:
    bench.start({"output_qos.durability": "transient_local"})
    bench.camera().publish(frame(6))
    bench.stats_when(lambda message: message.processed == 1)
    labels = bench.listen(Image, "label", latched=True)
    bench.spin_until(lambda: labels, "the label of a frame before we listened")
    assert labels[0].header == header(6)


def test_why_no_image_arrives_is_logged(bench: Bench) -> None:
    bench.start()
    qos = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    publisher = bench.node.create_publisher(Image, "/image", qos)
    try:
        line = bench.wait_for_log("no image for 5 s")
    finally:
        bench.node.destroy_publisher(publisher)
    assert line.startswith("[WARN]")
    assert "bench publishes /image with a QoS that does not match" in line
    assert "set image_qos.reliability" in line
    # And again, since the reason is another now.
    bench.wait_for_log(r"no image for \d+ s: nobody publishes /image: choose the camera's topic")
    diagnosis(bench, DiagnosticStatus.WARN, "nobody publishes /image")
    assert "UNKNOWN" not in bench.log()
    bench.camera().publish(frame(1))
    assert bench.wait_for_log("images arrive on /image").startswith("[INFO]")


def test_reports_come_while_simulated_time_stands_still(bench: Bench) -> None:
    bench.start({"use_sim_time": True})  # and nobody publishes /clock
    labels = bench.listen(Image, "label")
    try:
        bench.camera().publish(stamped(bench, frame(1)))
        bench.spin_until(lambda: labels, "a label")
        stats = bench.stats_when(lambda message: message.processed == 1)
        assert stats.header.stamp == Time()
        assert np.isnan(stats.latency_p50_ms)
        diagnosis(bench, DiagnosticStatus.WARN, "the node's clock is at 0: use_sim_time is true")
        bench.wait_for_log("use_sim_time is true and nothing arrives on /clock: start the sim")
    finally:
        bench.set({"use_sim_time": False})
    bench.wait_for_log("time arrives on /clock")
    assert bench.log().count("nothing arrives on /clock") == 1
