"""The node as a process: command line, signals, and what it leaves behind."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rclpy")

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from node_fixture import (
    ACTIVATE,
    CLEANUP,
    CONFIGURE,
    DEFAULTS,
    SHUTDOWN,
    TIMEOUT_S,
    Bench,
    start_process,
)

from bisenet_ros.ros.node_process import NODE_COMMAND, NodeProcess
from bisenet_ros.ros.parameters import DEFINITIONS

END_TIMEOUT_S = 3.0
"""Limit for SIGINT [s]."""


def installed_command() -> list[str]:
    """Return lib/bisenet_ros/segmentation_node if the package is installed, else its module."""
    try:
        prefix = get_package_prefix("bisenet_ros")
    except PackageNotFoundError:
        return list(NODE_COMMAND)
    return [f"{prefix}/lib/bisenet_ros/segmentation_node"]


@contextmanager
def node(
    folder: Path, model: Path, parameters: dict[str, Any], namespace: str = "/own", **more: Any
) -> Iterator[Bench]:
    """Start a process apart from the shared one in the root namespace, with its bench."""
    log = folder / "node.log"
    with (
        start_process(log, parameters, namespace=namespace, **more) as process,
        closing(Bench(process, model)) as bench,
    ):
        yield bench


def end(process: NodeProcess, number: signal.Signals, promised: float | None = None) -> int:
    """Send the signal and return the exit status; ``promised`` is the time limit [s]."""
    ended = os.pidfd_open(process.pid)
    os.kill(process.pid, number)
    ready, _, _ = select.select([ended], [], [], promised or TIMEOUT_S)
    os.close(ended)
    assert ready, f"{number.name} did not end the node in time"
    assert process.returncode is not None
    return process.returncode


def shared_memory_of(process: NodeProcess) -> set[Path]:
    """Return the Fast DDS segments that the process has mapped, without those of ports.

    These are its own and those of its peers. Ports are shared with later processes.
    """
    lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
    return {Path(line.split()[-1]) for line in lines if re.search("/dev/shm/fast(?!.*_port)", line)}


def test_defaults_and_end_by_sigint(tmp_path: Path, tiny_model: Path) -> None:
    others = set(Path("/dev/shm").iterdir())
    with node(tmp_path, tiny_model, {}, command=installed_command()) as bench:
        bench.wait_for_log("unconfigured: waiting for the transitions")
        own = {"device": "auto", "precision": "auto"}
        own |= {"lazy": True, "image_qos.reliability": "best_effort", "image_qos.depth": 1}
        wanted = {**DEFAULTS, **own, "model": "", "autostart": False}
        assert bench.get(list(wanted)) == wanted
        assert wanted == {name: each.ros_default for name, each in DEFINITIONS.items()}
        assert bench.state() == "unconfigured"
        memory = shared_memory_of(bench.process) - others
        assert memory
        assert end(bench.process, signal.SIGINT) == 0, bench.log()
        assert "Traceback" not in bench.log()
        assert "ERROR" not in bench.log()
        files = [path for path in tmp_path.glob("*.log") if path != bench.process.log]
        assert "unconfigured: waiting" in "".join(path.read_text() for path in files)
    # Both the node and the bench have removed their shared memory.
    assert not [path for path in memory if path.exists()]


def test_a_camera_is_given_values_of_its_own_at_the_start(tmp_path: Path, tiny_model: Path) -> None:
    given = {"cameras": ["front", "rear"], "rear.max_rate": 5000.0, "side.max_rate": 1.0}
    with node(tmp_path, tiny_model, given | {"front.max_rate": 5.0, "device": "cpu"}) as bench:
        bench.wait_for_log(
            r"unknown parameters, which have no effect: 'side.max_rate' \(meant 'max_rate'"
        )
        assert not bench.change(CONFIGURE)
        bench.wait_for_log(r"'rear.max_rate' cannot have the value given: .*\(5000.0\)")
        assert bench.get(["front.max_rate"]) == {"front.max_rate": 5.0}


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("[0.0, 0.0, 8.0, 8.0]", "of type 'DOUBLE_ARRAY', expecting type 'INTEGER_ARRAY'"),
        ("[0, 0, 8]", r"\[0, 0, 8\] is not x, y, width, height in pixels from 0"),
        ("[]", "is given without a value"),
    ],
)
def test_a_bad_value_of_a_camera_can_be_corrected(
    tmp_path: Path, tiny_model: Path, value: str, reason: str
) -> None:
    file = tmp_path / "parameters.yaml"
    file.write_text(
        f"/**:\n  ros__parameters:\n    cameras: [front]\n    front:\n      roi: {value}\n"
    )
    given = {"model": str(tiny_model), "backend": "torch", "device": "cpu"}
    arguments = ["--params-file", str(file)]
    with node(tmp_path, tiny_model, given, ros_arguments=arguments) as bench:
        bench.wait_for_log(f"parameter 'front.roi' .*{reason}")
        assert not bench.change(CONFIGURE)
        bench.wait_for_log(f"cannot configure: parameter 'front.roi' .*{reason}")
        bench.set({"front.roi": [0, 0, 8, 8]})
        assert bench.change(CONFIGURE)


def test_bad_values_on_the_command_line_can_be_corrected(tmp_path: Path, tiny_model: Path) -> None:
    bad = {
        "overlay_alpha": 7.0,
        "model": 5,
        "backend": "caffe",
        "image_qos.depth": -1,
        "autostart": "please",
    }
    with node(tmp_path, tiny_model, bad) as bench:
        bench.wait_for_log("unconfigured: waiting")
        assert not bench.change(CONFIGURE)
        line = bench.wait_for_log("cannot configure: ")
        for name in ("overlay_alpha", "model", "image_qos.depth"):
            assert f"parameter '{name}' cannot have the value given" in line
        assert "; parameter 'backend' has 'caffe' (valid: auto, tensorrt, " in line
        for name in ("overlay_alpha", "model", "image_qos.depth", "autostart"):
            bench.wait_for_log(rf"\[ERROR\].*parameter '{name}' cannot have the value given")
        bench.set({"overlay_alpha": 0.5, "model": str(tiny_model), "image_qos.depth": 1})
        assert not bench.change(CONFIGURE)
        bench.wait_for_log(r"cannot configure: parameter 'backend' has 'caffe' \(valid: auto, ten")
        bench.set({"backend": "auto"})
        assert bench.change(CONFIGURE)
        assert bench.change(ACTIVATE)
        assert end(bench.process, signal.SIGINT) == 0, bench.log()
        assert "Traceback" not in bench.log()


@pytest.mark.parametrize(
    ("arguments", "domain", "reason"),
    [
        (["-r", "image:=a b"], "0", "parse remap rule: '-r image:=a b'"),
        (["--params-file", "broken.yaml"], "0", "parse params file: '--params-file broken.yaml'"),
        (["--boldly"], "0", r"\['--boldly'\]"),
        ([], "front", "domain"),
    ],
)
def test_ros_arguments_that_cannot_be_read_end_the_node_with_the_reason(
    tmp_path: Path, arguments: list[str], domain: str, reason: str
) -> None:
    (tmp_path / "broken.yaml").write_text("/**:\n  ros__parameters: {model: [}\n")
    ended = subprocess.run(
        [*NODE_COMMAND, "--ros-args", *arguments],
        env=os.environ | {"ROS_DOMAIN_ID": domain},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert re.search(f"^cannot start: .*{reason}.*: correct the ROS arg", ended.stderr, re.M)


NODE_WITH_A_BUG = """
from bisenet_ros.ros import segmentation_node

class Node(segmentation_node.SegmentationNode):
    bugs = ["a bug"]

    def configure(self):
        super().configure()
        if self.bugs:
            raise RuntimeError(self.bugs.pop())

segmentation_node.SegmentationNode = Node
segmentation_node.main()
"""


def test_an_unexpected_error_is_logged_whole_and_survived(tmp_path: Path, tiny_model: Path) -> None:
    values = {"model": str(tiny_model), "device": "cpu", "precision": "fp32"}
    command = [sys.executable, "-c", NODE_WITH_A_BUG]
    with node(tmp_path, tiny_model, values, command=command) as bench:
        assert not bench.change(CONFIGURE)
        bench.wait_for_log("cannot configure: Traceback")
        bench.wait_for_log("RuntimeError: a bug")
        assert bench.state() == "unconfigured"
        bench.spin_until(lambda: not bench.publishers("stats"), "the publishers are gone")
        assert bench.change(CONFIGURE)
        assert bench.change(ACTIVATE)


def test_why_auto_takes_no_other_engine_is_logged_once(tmp_path: Path, tiny_model: Path) -> None:
    with node(tmp_path, tiny_model, {"model": str(tiny_model)}) as bench:
        for _ in range(2):
            assert bench.change(CONFIGURE)
            assert bench.change(CLEANUP)
        bench.wait_for_log("unconfigured: engine and publishers are released")
        assert bench.log().count("auto selected ") == 2
        assert bench.log().count("rejected tensorrt") <= 1  # 0 on a machine that has it


def test_sigint_ends_a_node_that_loads(tmp_path: Path, tiny_model: Path) -> None:
    slow = {"model": str(tiny_model), "resolution": "4096x2048", "autostart": True}
    slow |= {"device": "cpu", "precision": "fp32"}
    with node(tmp_path, tiny_model, slow) as bench:
        bench.spin_until(lambda: bench.state() == "configuring", "it loads")
        assert end(bench.process, signal.SIGINT, END_TIMEOUT_S) == 0, bench.log()
        assert "classes, at 4096x2048" not in bench.log(), "it had loaded, which shows nothing"
        assert "Traceback" not in bench.log()
        assert "ERROR" not in bench.log()


@pytest.mark.parametrize("library", ["libtorch_cpu", "cv2", "_rclpy_pybind11", "rmw_fastrtps"])
def test_sigint_ends_a_node_that_imports(tmp_path: Path, tiny_model: Path, library: str) -> None:
    log = tmp_path / "node.log"
    # PyTorch is imported by the worker, to build an engine.
    values = {"model": str(tiny_model), "device": "cpu", "autostart": True}
    values |= {"engine_cache": str(tmp_path)}
    command = installed_command()
    with start_process(log, values, namespace="/own", command=command) as process:
        maps = Path(f"/proc/{process.pid}/maps")
        deadline = time.monotonic() + TIMEOUT_S
        while library not in maps.read_text():
            assert time.monotonic() < deadline, log.read_text()
        assert end(process, signal.SIGINT, END_TIMEOUT_S) in (130, 0), log.read_text()
        assert "Traceback" not in log.read_text()
        assert "ERROR" not in log.read_text()


@pytest.mark.parametrize("choice", ["auto", "fp32"])
def test_a_node_with_an_engine_in_the_cache_does_not_import_pytorch(
    tmp_path: Path, tiny_model: Path, choice: str
) -> None:
    values = {"model": str(tiny_model), "device": "cpu", "backend": "openvino"}
    values |= {"precision": choice, "engine_cache": str(tmp_path), "autostart": True}
    imported = []
    for _ in range(2):
        with node(tmp_path, tiny_model, values) as bench:
            bench.wait_for_log("active: waiting for images")
            imported.append("libtorch" in Path(f"/proc/{bench.process.pid}/maps").read_text())
    assert imported == [True, False]


def test_memory_that_a_killed_node_left_is_removed_by_the_next(
    tmp_path: Path, tiny_model: Path
) -> None:
    others = set(Path("/dev/shm").iterdir())
    with node(tmp_path, tiny_model, {}) as bench:
        bench.wait_for_log("unconfigured: waiting")
        left = shared_memory_of(bench.process) - others
        left = {path for path in left if not path.name.endswith("_el")}
        assert end(bench.process, signal.SIGKILL) == -signal.SIGKILL
    left = {path for path in left if path.exists()}
    assert left
    for path in left:
        lock = path.with_name(f"{path.name}_el")
        os.utime(lock, (0, 0))
    with node(tmp_path, tiny_model, {}) as bench:
        bench.wait_for_log(r"removed \d+\.\d MiB that killed processes had left in /dev/shm")
        assert not any(path.exists() for path in left)


def test_autostart_and_end_by_sigterm(tmp_path: Path, tiny_model: Path) -> None:
    values = {"model": str(tiny_model), "autostart": True, "lazy": False}
    # Remapping is done once, as camera_info's: the second rule is for others.
    rules = ["image:=/camera/image_raw", "/camera/image_raw:=/elsewhere"]
    remap = {"ros_arguments": [word for rule in rules for word in ("-r", rule)]}
    with node(tmp_path, tiny_model, values, **remap) as bench:
        bench.spin_until(lambda: bench.state() == "active", "it activates by itself")
        bench.wait_for_log("waiting for images on /camera/image_raw ")
        listeners = bench.node.count_subscribers
        bench.spin_until(lambda: listeners("/camera/image_raw") == 1, "the graph has its topic")
        assert listeners("/elsewhere") == 0
        assert end(bench.process, signal.SIGTERM) == 0, bench.log()
        assert "Traceback" not in bench.log()
        assert "ERROR" not in bench.log()


def test_autostart_without_a_model_leaves_a_node_that_can_be_started(
    tmp_path: Path, tiny_model: Path
) -> None:
    given = {"model": "/no/such.safetensors", "autostart": True}
    with node(tmp_path, tiny_model, given) as bench:
        bench.wait_for_log("cannot configure: no model file at /no/such.safetensors")
        bench.spin_until(lambda: bench.state() == "unconfigured", "it is back")
        bench.start({"model": str(tiny_model)})
        assert bench.state() == "active"


def test_shutdown_from_each_state(tmp_path: Path, tiny_model: Path) -> None:
    """Three nodes at once: finalized nodes answer services and end by a signal."""
    with ExitStack() as stack:
        benches = {}
        for state in SHUTDOWN:
            folder = tmp_path / state
            folder.mkdir()
            given = {"model": str(tiny_model)}
            benches[state] = stack.enter_context(
                node(folder, tiny_model, given, namespace=f"/{state}")
            )
        for state, bench in benches.items():
            assert state == "unconfigured" or bench.change(CONFIGURE)
            assert state != "active" or bench.change(ACTIVATE)
            assert bench.state() == state
            assert bench.change(SHUTDOWN[state])
            assert bench.state() == "finalized"
            bench.spin_until(lambda bench=bench: not bench.publishers("stats"), "all is released")
            assert not bench.change(CONFIGURE)
            assert not bench.change(CLEANUP)
            assert end(bench.process, signal.SIGINT) == 0, bench.log()
            assert "Traceback" not in bench.log()


def test_what_was_advertised_before_an_error_is_gone(tmp_path: Path, tiny_model: Path) -> None:
    name = "/" + 239 * "a"  # the middleware takes it, but not with /compressed behind
    remap = {"ros_arguments": ["-r", f"~/overlay:={name}"]}
    with node(tmp_path, tiny_model, {"model": str(tiny_model)}, **remap) as bench:
        assert not bench.change(CONFIGURE)
        bench.wait_for_log("cannot configure: ")
        assert f"{name}/compressed" in bench.log()
        for topic in (name, f"{bench.process.name}/label"):
            bench.spin_until(lambda topic=topic: not bench.node.count_publishers(topic), topic)


def test_what_was_subscribed_to_before_an_error_is_gone(tmp_path: Path, tiny_model: Path) -> None:
    given = {"model": str(tiny_model), "input_transport": "compressed"}
    remap = {"ros_arguments": ["-r", "image:=/" + 239 * "a"]}  # as above
    with node(tmp_path, tiny_model, given, **remap) as bench:
        assert bench.change(CONFIGURE)
        assert not bench.change(ACTIVATE)
        bench.wait_for_log("cannot activate: ")
        topic = "/own/camera_info"
        bench.spin_until(lambda: not bench.node.count_subscribers(topic), "no subscription")
        assert bench.state() in ("inactive", "unconfigured")
