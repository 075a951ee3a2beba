"""pip metadata; colcon builds the package by CMakeLists.txt."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import find_packages, setup

here = Path(__file__).parent
requirements = (here / "requirements/runtime.txt").read_text().splitlines()

setup(
    version=ElementTree.parse(here / "package.xml").findtext("version"),
    packages=find_packages(include=["bisenet_ros", "bisenet_ros.*"]),
    install_requires=[line for line in requirements if line and not line.startswith("#")],
)
