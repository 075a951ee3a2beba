"""The names that datasets had before ``training.datasets``; goes when nobody uses them."""

from pathlib import Path

from bisenet_ros.training.datasets import Dataset as Folder
from bisenet_ros.training.datasets import DatasetError, open_dataset

__all__ = ["DatasetError", "Folder", "open_folder"]


def open_folder(root: Path) -> Folder:
    """``open_dataset`` of a plain folder."""
    return open_dataset(root, "folder")
