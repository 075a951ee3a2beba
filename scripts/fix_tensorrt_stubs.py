"""Makes the tensorrt-stubs in this virtual environment fit for mypy.

Run by scripts/make_test_env.sh with the environment's own Python. Safe to run twice.
"""

from __future__ import annotations

import re
import sysconfig
from pathlib import Path

REPAIRS = {
    # pybind11 lets a parameter have a keyword's name, and one without a default follow.
    r"\bin: ": "in_: ",
    r"\bchannel_axis: int\) -> IScaleLayer": "channel_axis: int = ...) -> IScaleLayer",
}


def main() -> None:
    """Repair the stubs' syntax, and move them to where type checkers look for them (PEP 561).

    Where the wheel has them they are not found, and make `import tensorrt` succeed without
    TensorRT, with nothing in it.
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
