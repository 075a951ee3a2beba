"""Executables that CMake generates from ``scripts/executable.in``."""

import subprocess
import sys
from pathlib import Path

TEMPLATE = Path(__file__).parents[1] / "scripts" / "executable.in"


def run(folder: Path, module: str) -> tuple[int, str, str]:
    """Run an executable whose module has this source; return exit status, stdout and stderr."""
    (folder / "module_of_test.py").write_text(module)
    text = TEMPLATE.read_text().replace("@Python3_EXECUTABLE@", sys.executable)
    executable = folder / "executable"
    executable.write_text(text.replace("@EXECUTABLE_MODULE@", "module_of_test"))
    executable.chmod(0o755)
    done = subprocess.run([executable], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout, done.stderr


def test_exit_status_is_returned_by_main(tmp_path: Path) -> None:
    source = "def main():\n    print('ran')\n    return 3\n"
    assert run(tmp_path, source) == (3, "ran\n", "")


def test_interrupt_during_import_prints_no_traceback(tmp_path: Path) -> None:
    source = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nprint('not reached')\n"
    assert run(tmp_path, source) == (130, "", "")


def test_interrupt_is_not_lost_in_an_import_that_catches_everything(tmp_path: Path) -> None:
    source = (
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGINT)\nexcept BaseException:\n    pass\n"
        "def main():\n    return 0\n"
    )
    assert run(tmp_path, source) == (130, "", "")


def test_main_runs_with_the_default_handler(tmp_path: Path) -> None:
    source = (
        "import signal\n"
        "def main():\n    return signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
    )
    assert run(tmp_path, source) == (1, "", "")
