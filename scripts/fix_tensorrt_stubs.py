"""Patch the tensorrt-stubs in this virtual environment for mypy.

Run by scripts/make_test_env.sh with the environment's own Python. Idempotent.
"""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

REPAIRS = {
    # pybind11 allows parameters named like keywords, and ones without a default after others.
    r"\bin: ": "in_: ",
    r"\bchannel_axis: int\) -> IScaleLayer": "channel_axis: int = ...) -> IScaleLayer",
}


def main() -> None:
    """Fix the syntax of the stubs, and move them to where type checkers expect them (PEP 561).

    In the wheel's location type checkers do not find them, and `import tensorrt` succeeds without
    TensorRT as an empty module.
    """
    packages = Path(sysconfig.get_path("purelib"))
    for package in ("tensorrt", "tensorrt_bindings"):
        source, target = packages / package, packages / f"{package}-stubs"
        for stub in source.glob("*.pyi"):
            text = stub.read_text()
            for pattern, repaired in REPAIRS.items():
                text = re.sub(pattern, repaired, text)
            target.mkdir(exist_ok=True)
            (target / stub.name).write_text(text)
            stub.unlink()
        if source.is_dir() and not any(source.iterdir()):
            source.rmdir()


if __name__ == "__main__":
    main()
