"""Where the package's own files lie: models/, config/ and launch/."""

import sys
from pathlib import Path

SHIPPED_MODEL = "bisenetv2_camvid"


def share_directory() -> Path:
    """The folder that holds models/ and config/: the source tree, or share/bisenet_ros.

    Raises:
        FileNotFoundError: the package is neither in its source tree nor installed.
    """
    source_tree = Path(__file__).resolve().parents[1]
    if (source_tree / "package.xml").is_file():
        return source_tree
    # <prefix>/lib/pythonX.Y/site-packages/bisenet_ros/resources.py, for colcon and for pip
    for prefix in (*Path(__file__).parents, Path(sys.prefix)):
        share = prefix / "share" / "bisenet_ros"
        if share.is_dir():
            return share
    raise FileNotFoundError(
        "no share/bisenet_ros beside the installed package: install it with colcon or pip"
    )


def model_path(name: str | Path) -> Path:
    """The model file that a user means by ``name``.

    That is the shipped model for an empty name, the file for a path, and models/NAME.safetensors
    for the bare name of a shipped one. The path need not exist.
    """
    return _path_or_shipped(name or SHIPPED_MODEL, "models", ".safetensors")


def classes_path(name: str | Path) -> Path | None:
    """The class file that a user means by ``name``: none, a path, or "camvid" and the like."""
    return _path_or_shipped(name, "config/classes", ".yaml") if name else None


def _path_or_shipped(name: str | Path, folder: str, suffix: str) -> Path:
    given = Path(name).expanduser()
    if given.suffix or len(given.parts) > 1:
        return given
    shipped = share_directory() / folder / f"{given}{suffix}"
    # A folder of a dataset may have the name of its class file here.
    return given if given.exists() and not shipped.is_file() else shipped
