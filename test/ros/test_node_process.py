import sys
import time
from pathlib import Path

import pytest

from bisenet_ros.ros import node_process
from bisenet_ros.ros.node_process import NodeError, NodeProcess

DEAF = """
import signal, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""


def script(log: Path, text: str) -> NodeProcess:
    return NodeProcess(log, command=(sys.executable, "-c", text))


def wait_for(process: NodeProcess, text: str) -> None:
    deadline = time.monotonic() + 30
    while text not in process.log_tail():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_process_that_does_not_hear_sigint_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_process, "STOP_PATIENCE_S", 0.2)
    with script(tmp_path / "log", DEAF) as process:
        wait_for(process, "deaf")
        process.check_running()
        assert process.returncode is None
    assert process.returncode == -9


def test_a_process_is_ended_where_its_block_raises(tmp_path: Path) -> None:
    text = DEAF.replace("SIG_IGN", "SIG_DFL")
    with pytest.raises(KeyError), script(tmp_path / "log", text) as process:
        wait_for(process, "deaf")
        raise KeyError
    assert process.returncode == -2


def test_the_cause_of_an_end_is_the_last_error_of_the_log(tmp_path: Path) -> None:
    lines = [
        "[ERROR] [1.5] [segmentation]: cannot configure: first",
        "[ERROR] [2.5] [segmentation]: cannot configure: no [such] file: x",
        "[INFO] [3.5] [segmentation]: bye",
    ]
    with script(
        tmp_path / "log", f"print({chr(10).join(lines)!r}); raise SystemExit(3)"
    ) as process:
        wait_for(process, "bye")
        process.stop()
        assert process.returncode in (3, -2)
        with pytest.raises(NodeError, match=r": cannot configure: no \[such\] file: x \(log: "):
            process.check_running()
        assert process.log_tail(1) == lines[-1]


def test_without_an_error_the_last_line_is_the_cause(tmp_path: Path) -> None:
    with script(tmp_path / "log", "import nowhere_to_be_found") as process:
        wait_for(process, "ModuleNotFoundError")
        assert process.cause() == "ModuleNotFoundError: No module named 'nowhere_to_be_found'"


def test_parameters_keep_their_type(tmp_path: Path) -> None:
    """Arguments as the node gets them; test_segmentation_node has their effect."""
    process = NodeProcess(
        tmp_path / "log",
        namespace="/robot",
        parameters={"resolution": "128", "outputs": ["label"], "overlay_alpha": 1.0},
        command=(sys.executable, "-c", "import sys; print(sys.argv[1:])"),
    )
    assert process.name == "/robot/segmentation"
    with process:
        wait_for(process, "]")
        assert eval(process.log_tail()) == [
            *("--ros-args", "-r", "__ns:=/robot", "-p", 'resolution:="128"'),
            *("-p", 'outputs:=["label"]', "-p", "overlay_alpha:=1.0"),
        ]
