"""What holds for every subcommand."""

import subprocess
import sys
from pathlib import Path

import pytest

from bisenet_ros.cli.main import main


def test_what_the_package_logs_is_on_stderr(tmp_path: Path) -> None:
    code = (
        "import logging, sys; from bisenet_ros.cli.main import main; status = main(sys.argv[1:]); "
        "logging.getLogger('bisenet_ros.inference.backend').info('backend auto is torch'); "
        "logging.getLogger('other').info('chatter'); sys.exit(status)"
    )
    line = [sys.executable, "-c", code, "export", "--list-cache", "--cache", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr == "backend auto is torch\n"
    assert done.stdout == f"0 engines, 0.0 MB, in {tmp_path}/engines\n"


@pytest.mark.parametrize(("subcommand", "library"), [("info", "torch"), ("demo", "rclpy")])
def test_a_missing_library_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    subcommand: str,
    library: str,
) -> None:
    for name in [name for name in sys.modules if name.startswith("bisenet_ros.")]:
        if not name.startswith("bisenet_ros.cli"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    arguments = ["--output", str(tmp_path)] if subcommand == "demo" else []
    assert main([subcommand, *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"bisenet {subcommand}: ")
    assert library in line
    assert line.endswith("'bisenet doctor' says how to get what is missing")


def test_a_reader_that_has_read_enough_is_no_error() -> None:
    code = "from bisenet_ros.cli.main import main; import sys; sys.exit(main(['info']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.close()  # before a line is written
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1
