"""Contents of a wheel built from the source tree."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_wheel_has_code_configs_and_models(tmp_path: Path) -> None:
    source = tmp_path / "source"  # a copy, since setuptools creates a build folder in it
    source.mkdir()
    for name in ("bisenet_ros", "config", "launch", "models", "requirements"):
        ignore = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, source / name, ignore=ignore)
    for name in ("setup.py", "setup.cfg", "package.xml", "LICENSE"):
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, "-q", "-w", str(tmp_path), str(source)],
        check=True,
    )
    (wheel,) = tmp_path.glob("bisenet_ros-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        held = {name.partition(".data/data/")[2] or name for name in archive.namelist()}
    for folder in ("config", "launch", "models"):
        for path in (ROOT / folder).rglob("*.*"):
            assert f"share/bisenet_ros/{path.relative_to(ROOT)}" in held
    for path in (ROOT / "bisenet_ros").rglob("*.py"):
        assert str(path.relative_to(ROOT)) in held
