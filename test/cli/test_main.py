"""What holds for every subcommand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


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
    tmp_path: Path, subcommand: str, library: str
) -> None:
    code = (
        f"import sys; sys.modules['{library}'] = None; "
        f"from bisenet_ros.cli.main import main; sys.exit(main(['{subcommand}']))"
    )
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (message,) = done.stderr.splitlines()
    assert message.startswith(f"bisenet {subcommand}: ")
    assert library in message
    assert message.endswith("'bisenet doctor' says how to get what is missing")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_has_read_enough_is_no_error(unbuffered: str) -> None:
    code = "from bisenet_ros.cli.main import main; import sys; sys.exit(main(['info']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout is not None
    process.stdout.close()  # before a line is written
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1
