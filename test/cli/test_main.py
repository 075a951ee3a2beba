"""Entry point: logging, help, renamed options, and errors of every subcommand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from error_kinds import USER_ERRORS
from refusal import refusal

from bisenet_ros import errors
from bisenet_ros.cli.main import RENAMED, SUBCOMMANDS


def test_log_of_the_package_goes_to_stderr(tmp_path: Path) -> None:
    code = (
        "import logging, sys; from bisenet_ros.cli.main import main; status = main(sys.argv[1:]); "
        "logging.getLogger('bisenet_ros.inference.backend').info('backend auto is torch'); "
        "logging.getLogger('other').info('chatter'); sys.exit(status)"
    )
    line = [sys.executable, "-c", code, "engines", "list", "--engine-cache", str(tmp_path)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stderr == "backend auto is torch\n"
    assert done.stdout == f"0 engines, 0.0 MB, in {tmp_path}/engines\n"


@pytest.mark.parametrize(("subcommand", "library"), [("info", "torch"), ("demo", "rclpy")])
def test_missing_library_is_reported_in_one_line(
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
    assert message.endswith("run 'bisenet doctor' to see how to install what is missing")


@pytest.mark.parametrize("subcommand", SUBCOMMANDS)
def test_help_imports_no_heavy_library(subcommand: str) -> None:
    code = f"""
import sys
from bisenet_ros.cli.main import main
try:
    main(["{subcommand}", "--help"])
except SystemExit as exit_:
    assert exit_.code == 0
print(*sys.modules, file=sys.stderr)
"""
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"usage: bisenet {subcommand} ")
    heavy = {"cv2", "onnx", "openvino", "rclpy", "tensorrt", "torch"}
    assert heavy & set(done.stderr.split()) == set()


@pytest.mark.parametrize(
    ("line", "new"),
    [
        ("export --calibrate DIR --model FILE", "'bisenet calibrate --model FILE --data DIR'"),
        ("export --list-cache", "'bisenet engines list'"),
        ("export --clear-cache --cache DIR", "'bisenet engines clear'"),
        (
            "export --format tensorrt --device cuda:1",
            "'bisenet engines build --backend tensorrt --device NAME'",
        ),
        (
            "export --format tensorrt --gpu sm86 --cache=DIR",
            "--output DIR with --gpu, and --engine-cache DIR of 'bisenet engines'",
        ),
        ("train --data DIR --check-data", "'bisenet dataset check --data DIR'"),
        ("train --data DIR --output DIR --licence mine", "--license TEXT"),
        *((f"{name} --cache DIR", "--engine-cache DIR") for name in ("benchmark", "demo")),
        *((f"{name} --cache DIR", "--engine-cache DIR") for name in ("doctor", "segment")),
        ("evaluate --cache DIR --data DIR", "--engine-cache DIR"),
    ],
)
def test_renamed_option_error_names_the_new_one(
    line: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    subcommand, *arguments = line.split()
    status, message = refusal([subcommand, *arguments], capsys)
    assert status == 2
    old, _, replacement = message.partition(" is now ")
    assert replacement == new
    assert RENAMED[subcommand][old] == new
    assert any(argument.startswith(old) for argument in arguments)


def run_raising(error: str) -> subprocess.CompletedProcess[str]:
    """Run ``bisenet info`` with a body that raises the expression ``error``."""
    code = f"""
from bisenet_ros import errors
from bisenet_ros.cli import info, main
def fail(args):
    raise {error}
info.run = fail
raise SystemExit(main.main(["info"]))
"""
    line = [sys.executable, "-c", code]
    return subprocess.run(line, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "kind", [kind.__name__ for kind in USER_ERRORS if kind != errors.UsageError]
)
def test_user_errors_print_one_line(kind: str) -> None:
    done = run_raising(f"errors.{kind}('the value is bad: change it')")
    assert done.returncode == 1
    assert done.stderr == "bisenet info: the value is bad: change it\n"


def test_os_errors_print_one_line() -> None:
    done = run_raising("FileNotFoundError(2, 'No such file', 'a.png')")
    assert done.returncode == 1
    assert done.stderr == "bisenet info: [Errno 2] No such file: 'a.png'\n"


def test_usage_errors_are_reported_by_the_parser() -> None:
    done = run_raising("errors.UsageError('--preset and --model exclude each other')")
    assert done.returncode == 2
    assert done.stderr.startswith("usage: bisenet info ")
    last = done.stderr.splitlines()[-1]
    assert last == "bisenet info: error: --preset and --model exclude each other"


@pytest.mark.parametrize(
    "error",
    ["ValueError('operands could not be broadcast')", "KeyError('a')", "RuntimeError('shape')"],
)
def test_other_exceptions_print_a_traceback_and_how_to_report_it(error: str) -> None:
    done = run_raising(error)
    assert done.returncode == os.EX_SOFTWARE
    assert done.stderr.startswith("Traceback (most recent call last):")
    assert f"\n{error.partition('(')[0]}: " in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last.startswith("bisenet info: this is a bug in bisenet_ros; please report it")


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_closed_pipe_prints_no_error(unbuffered: str) -> None:
    code = "from bisenet_ros.cli.main import main; import sys; sys.exit(main(['info']))"
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
    )
    assert process.stdout is not None
    process.stdout.close()  # before the first line is written
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait() == 1


INFO = "from bisenet_ros.cli.main import main; import sys; sys.exit(main(['info']))"


def test_closed_streams_are_not_an_error() -> None:
    command = f'"{sys.executable}" -c "{INFO}" <&- >&-'
    done = subprocess.run(command, shell=True, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_full_disk_under_stdout_prints_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-c", INFO]
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "bisenet info: [Errno 28] No space left on device\n"


def test_home_of_an_unknown_user_prints_one_line() -> None:
    code = INFO.replace("'info'", "'info', '--model', '~nosuchuser/m.safetensors'")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("bisenet info: no model file at ~nosuchuser/m.safetensors: ")
    assert done.stderr.count("\n") == 1
