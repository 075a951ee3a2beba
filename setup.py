"""pip metadata; colcon builds the package by CMakeLists.txt."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

here = Path(__file__).parent
requirements = ["torch>=2.5"]
for name in ("runtime.txt", "wheels.txt"):
    lines = (here / "requirements" / name).read_text().splitlines()
    requirements += [line for line in lines if line and not line.startswith("#")]

setup(
    version=ElementTree.parse(here / "package.xml").findtext("version"),
    packages=find_packages(include=["bisenet_ros", "bisenet_ros.*"]),
    install_requires=requirements,
    data_files=[
        (f"share/bisenet_ros/{folder}", [str(path) for path in sorted(Path(folder).glob("*.*"))])
        for folder in (
            "models",
            "models/recipe",
            "config",
            "config/classes",
            "config/training",
            "launch",
        )
    ],
)
