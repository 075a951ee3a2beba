"""What holds for every subcommand."""

import subprocess
import sys
from pathlib import Path


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
