"""Transitions in every order, failures that can be corrected, and services during them."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from node_fixture import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEACTIVATE,
    Bench,
    frame,
    header,
)
from sensor_msgs.msg import Image

OUTPUTS = (
    "label",
    "confidence",
    "overlay",
    "overlay/compressed",
    "color",
    "color/compressed",
    "camera_info",
    "class_map",
    "stats",
)


def nothing_is_left(bench: Bench) -> None:
    bench.spin_until(lambda: not any(map(bench.publishers, OUTPUTS)), "all publishers are gone")
    bench.spin_until(lambda: not bench.node.count_subscribers("/image"), "no subscription")
    bench.spin_until(lambda: not bench.node.count_subscribers("/camera_info"), "nor another")


def is_labeled(bench: Bench, labels: list[Image], number: int) -> None:
    bench.camera().publish(frame(number))
    bench.spin_until(lambda: labels and labels[-1].header == header(number), "the frame's label")


def test_every_transition_and_back_again(bench: Bench) -> None:
    assert bench.state() == "unconfigured"
    number = 0
    for _ in range(2):
        assert bench.change(CONFIGURE)
        assert bench.state() == "inactive"
        bench.spin_until(lambda: bench.publishers("label"), "the publisher")
        assert bench.node.count_subscribers("/image") == 0
        labels = bench.listen(Image, "label")
        for _ in range(2):
            assert bench.change(ACTIVATE)
            assert bench.state() == "active"
            number += 1
            is_labeled(bench, labels, number)
            assert bench.change(DEACTIVATE)
            assert bench.state() == "inactive"
            bench.spin_until(lambda: not bench.node.count_subscribers("/image"), "it left")
        assert bench.change(CLEANUP)
        assert bench.state() == "unconfigured"
        nothing_is_left(bench)
    assert bench.log().count("active: waiting for images on /image (reliable)") == 4
    said = "inactive: 1 frames received, 1 processed, 0 dropped, 0 rejected"
    assert bench.log().count(said) == 4
    assert bench.log().count("unconfigured: engine and publishers are released") == 2


def test_transitions_that_the_state_does_not_have_are_refused(bench: Bench) -> None:
    def refuses(*transitions: int) -> None:
        before = bench.state()
        names = {CONFIGURE: "configure", ACTIVATE: "activate", DEACTIVATE: "deactivate"}
        for transition in transitions:
            assert not bench.change(transition)
            name = names.get(transition, "clean up")
            bench.wait_for_log(f"cannot {name}: the node is {before}, whose transitions are ")
            assert bench.state() == before

    refuses(ACTIVATE, DEACTIVATE, CLEANUP)
    assert "the node is unconfigured, whose transitions are configure and shutdown" in bench.log()
    assert bench.change(CONFIGURE)
    refuses(CONFIGURE, DEACTIVATE)
    assert bench.change(ACTIVATE)
    refuses(CONFIGURE, ACTIVATE, CLEANUP)
    unknown = ChangeState.Request(transition=Transition(label="fly"))
    assert not bench.call(ChangeState, unknown).success
    bench.wait_for_log("cannot 'fly': the node is active")
    named = ChangeState.Request(transition=Transition(label="deactivate"))
    assert bench.call(ChangeState, named).success
    assert bench.state() == "inactive"


def test_requests_on_top_of_each_other_are_taken_in_turn(bench: Bench) -> None:
    answers = [bench.request_change(t) for t in (CONFIGURE, ACTIVATE, ACTIVATE, DEACTIVATE)]
    bench.spin_until(lambda: all(answer.done() for answer in answers), "four answers")
    assert [answer.result().success for answer in answers] == [True, True, False, True]
    assert bench.state() == "inactive"


@pytest.mark.parametrize(
    ("name", "bad", "cause"),
    [
        ("model", "/no/such.safetensors", "no model file at /no/such.safetensors: check the path"),
        ("classes", "/no/such.txt", "/no/such.txt"),
        ("device", "cuda:99", "device 'cuda:99' not found"),
        ("device", "gpu", "device 'gpu' is not supported by torch; use auto, cpu, cuda or cuda:N"),
        ("precision", "fp16", "precision 'fp16' is not supported by torch on cpu; use auto, "),
    ],
)
def test_a_value_that_fails_at_configure_can_be_corrected(
    bench: Bench, name: str, bad: str, cause: str
) -> None:
    good = bench.get([name])
    bench.set({name: bad})
    assert not bench.change(CONFIGURE)
    line = bench.wait_for_log("cannot configure: ")
    assert line.startswith("[ERROR]")
    assert cause in line
    assert "Traceback" not in bench.log()
    assert bench.state() == "unconfigured"
    nothing_is_left(bench)
    bench.set(good)
    assert bench.change(CONFIGURE)
    assert bench.change(ACTIVATE)


def test_a_file_that_is_no_model_fails_and_another_works(bench: Bench, tmp_path: Path) -> None:
    model = bench.get(["model"])
    bad = tmp_path / "bad.safetensors"
    bad.write_bytes(b"version https://git-lfs")
    bench.set({"model": str(bad)})
    for _ in range(2):
        assert not bench.change(CONFIGURE)
    assert f"cannot configure: model {bad}: not a readable .safetensors file" in bench.log()
    bench.set(model)
    assert bench.change(CONFIGURE)


def test_diagnostics_of_a_node_that_is_not_active(bench: Bench) -> None:
    told: list[DiagnosticArray] = []
    listener = bench.node.create_subscription(DiagnosticArray, "/diagnostics", told.append, 10)

    def is_told(level: bytes, text: str) -> None:
        told.clear()
        bench.spin_until(lambda: told, "diagnostics")
        (status,) = told[0].status
        assert (status.level, status.name) == (level, "segmentation: frames")
        assert text in status.message

    try:
        is_told(DiagnosticStatus.WARN, "unconfigured: no frames")
        bench.set({"model": "/no/such.safetensors"})
        assert not bench.change(CONFIGURE)
        is_told(DiagnosticStatus.ERROR, "cannot configure: no model file at /no/such.safetensors")
        bench.reset()
        assert bench.change(CONFIGURE)
        is_told(DiagnosticStatus.WARN, "inactive: no frames")
    finally:
        bench.node.destroy_subscription(listener)


def test_everything_answers_while_the_model_loads(bench: Bench) -> None:
    bench.set({"resolution": "1024x512"})
    configured = bench.request_change(CONFIGURE)
    bench.spin_until(lambda: bench.state() == "configuring", "the transition has begun")
    model = bench.get(["model"])["model"]
    refusal = bench.try_set("label_size", "network")
    assert not configured.done(), "configure was over too soon to show anything"
    assert model.endswith("tiny.safetensors")
    assert not refusal.successful
    bench.spin_until(configured.done, "the answer to configure")
    assert configured.result().success


def test_a_client_that_does_not_wait_does_no_harm(bench: Bench) -> None:
    client = bench.node.create_client(ChangeState, f"{bench.process.name}/change_state")
    bench.spin_until(client.service_is_ready, "the service")
    client.call_async(ChangeState.Request(transition=Transition(id=CONFIGURE)))
    bench.spin_until(lambda: bench.state() != "unconfigured", "the transition has begun")
    bench.node.destroy_client(client)
    bench.spin_until(lambda: bench.state() == "inactive", "it is configured")
    assert bench.change(ACTIVATE)
