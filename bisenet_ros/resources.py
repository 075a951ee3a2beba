"""Find the package's own files: models/, config/ and launch/."""

import os
import sys
from pathlib import Path

from bisenet_ros.errors import SettingsError, quoted

SHIPPED_MODEL = "bisenetv2_camvid"


def share_directory() -> Path:
    """Return the folder that contains models/ and config/: the source tree or share/bisenet_ros.

    Raises:
        FileNotFoundError: the module is neither in a source tree nor in an installed package.
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
        "no share/bisenet_ros for the installed package: install it with colcon or pip"
    )


def expand_home(path: str | Path) -> Path:
    """Return ``path`` with ~ or ~user expanded, or unchanged if there is no such home folder.

    ``Path.expanduser`` raises RuntimeError where a user is unknown or has no home folder. Nothing
    exists at the path that is returned then, which whoever opens it reports.
    """
    return Path(os.path.expanduser(path))  # noqa: PTH111


def model_path(name: str | Path) -> Path:
    """Resolve a model argument to a path, which need not exist.

    Args:
        name: a path, the bare NAME of a shipped model (models/NAME.safetensors), or empty for the
            default model.

    Raises:
        FileNotFoundError: as ``share_directory``.
    """
    return _path_or_shipped(name or SHIPPED_MODEL, "models", ".safetensors")


def classes_path(name: str | Path) -> Path | None:
    """Resolve a class file argument to a path, which need not exist; None if it is empty.

    Args:
        name: a path, the bare name of a shipped class file, such as "camvid", or empty.

    Raises:
        FileNotFoundError: as ``share_directory``.
    """
    return _path_or_shipped(name, "config/classes", ".yaml") if name else None


def settings_path(name: str | Path) -> Path:
    """Return the file of training settings that a user means by ``name``.

    That is the file for a path, and config/training/NAME.yaml or models/recipe/NAME.yaml for the
    bare name of a shipped one.

    Raises:
        SettingsError: there is no such file.
    """
    share = share_directory()
    shipped = {
        path.stem: path
        for folder in ("config/training", "models/recipe")
        for path in sorted((share / folder).glob("*.yaml"))
    }
    path = shipped.get(str(name), Path(name).expanduser())
    if not path.exists():
        raise SettingsError(
            f"there are no settings {quoted(str(name))}; give the path of a YAML file, or the name "
            f"of shipped settings: {', '.join(shipped)}"
        )
    return path


def _path_or_shipped(name: str | Path, folder: str, suffix: str) -> Path:
    given = expand_home(name)
    if given.suffix or len(given.parts) > 1:
        return given
    shipped = share_directory() / folder / f"{given}{suffix}"
    # The shipped file has priority: a dataset folder in the working directory is often named like
    # its class file.
    return given if given.exists() and not shipped.is_file() else shipped
