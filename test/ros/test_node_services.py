"""The services ~/enable and ~/reload, over DDS."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy")

from bisenet_ros.msg import ClassMap
from diagnostic_msgs.msg import DiagnosticStatus
from node_fixture import CLEANUP, DEACTIVATE, Bench, frame, header, pixels_of
from rclpy.publisher import Publisher
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger


def enable(bench: Bench, on: bool) -> SetBool.Response:
    return bench.call(SetBool, SetBool.Request(data=on))


def label(bench: Bench, camera: Publisher, labels: list[Image], number: int) -> Image:
    """Return the label image of frame ``number``."""
    labels.clear()
    camera.publish(frame(number))
    bench.spin_until(lambda: labels, f"the label of frame {number}")
    assert labels[0].header == header(number)
    return labels[0]


def test_a_node_that_is_paused_leaves_the_camera_and_keeps_its_engine(bench: Bench) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    before = label(bench, camera, labels, 1)
    heard = bench.diagnostics()
    assert enable(bench, False).success
    bench.spin_until(lambda: not camera.get_subscription_count(), "it leaves the camera")
    bench.spin_until(
        lambda: any(
            (status.level, status.message) == (DiagnosticStatus.OK, "paused by ~/enable")
            for message in heard
            for status in message.status
        ),
        "the pause is OK, and said",
    )
    assert bench.state() == "active"
    assert enable(bench, True).success
    bench.spin_until(camera.get_subscription_count, "it listens again")
    assert label(bench, camera, labels, 1).data == before.data
    assert bench.log().count("model tiny") == 1  # loaded once

    assert enable(bench, False).success
    assert bench.change(DEACTIVATE)
    refused = enable(bench, True)
    assert not refused.success
    assert refused.message == "the node is inactive: make the transitions to active first"


def test_reload_exchanges_the_model(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    maps = bench.listen(ClassMap, "class_map", latched=True)
    camera = bench.camera()
    before = pixels_of(label(bench, camera, labels, 1))
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{i} class{i} {i} {i} {i}\n" for i in range(5)))
    bench.set({"classes": str(names), "resolution": "64x32"})
    assert np.array_equal(pixels_of(label(bench, camera, labels, 1)), before)  # not yet
    answer = bench.call(Trigger, Trigger.Request())
    assert (answer.success, answer.message) == (True, "model tiny")
    bench.spin_until(lambda: len(maps) == 2, "the new class map")
    assert [entry.name for entry in maps[1].classes] == [f"class{i}" for i in range(5)]
    assert (pixels_of(label(bench, camera, labels, 1)) != before).any()
    stats = bench.stats_when(lambda message: message.width == 64)
    assert (stats.received, stats.rejected) == (3, 0)


def test_the_engine_goes_on_if_the_new_one_fails(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    labels = bench.listen(Image, "label")
    camera = bench.camera()
    before = label(bench, camera, labels, 1)
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"no model")
    bench.set({"model": str(bad)})
    answer = bench.call(Trigger, Trigger.Request())
    assert not answer.success
    assert str(bad) in answer.message
    assert "Traceback" not in answer.message
    bench.wait_for_log("cannot reload, the engine stays as it was: ")
    assert label(bench, camera, labels, 1).data == before.data


def test_a_reload_needs_an_engine(bench: Bench) -> None:
    answer = bench.call(Trigger, Trigger.Request())
    assert not answer.success
    assert answer.message == "the node is unconfigured: make the transition configure"


def test_one_reload_at_a_time_and_none_survives_cleanup(bench: Bench) -> None:
    bench.start()
    requests = [bench.request(Trigger, Trigger.Request()) for _ in range(2)]
    bench.spin_until(lambda: all(request.done() for request in requests), "both answers")
    first, second = (request.result() for request in requests)
    assert first.success
    assert second.message == "another reload is under way: wait for its answer"
    pending = bench.request(Trigger, Trigger.Request())
    assert bench.change(DEACTIVATE)
    assert bench.change(CLEANUP)
    bench.spin_until(pending.done, "the answer")
    assert bench.state() == "unconfigured"
    assert pending.result().success or "cleaned up meanwhile" in pending.result().message
