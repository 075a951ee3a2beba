"""A user's own augmentation, named by its import path in the setting ``augment``."""

from collections.abc import Callable
from importlib import import_module
from traceback import extract_tb
from typing import Any

import numpy as np

from bisenet_ros.classes import IGNORE_ID
from bisenet_ros.errors import SettingsError, TrainingError, first_line, quoted
from bisenet_ros.training.augmentation import Sample


class CustomAugment:
    """Calls a function of the user's and checks each of its results.

    It gets an image, uint8 [H,W,3] RGB, labels, uint8 [H,W], and a NumPy ``Generator`` for all its
    random choices, and returns an image and labels of the same shapes and types.

    Args:
        path: ``package.module:function``; the module must be on Python's path.
        num_classes: Labels must be below this, or ``IGNORE_ID``.

    Raises:
        SettingsError: there is no such module or function.
    """

    def __init__(self, path: str, num_classes: int) -> None:
        self._path = path
        self._num_classes = num_classes
        self._function = _import(path)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """Return the function's result for ``sample``, contiguous and writable.

        Raises:
            TrainingError: the function raises, or returns something else than a sample of the same
                size with valid labels.
        """
        image, labels = sample
        try:
            result = self._function(image, labels, rng)
        except Exception as error:
            place = extract_tb(error.__traceback__)[-1]
            raise TrainingError(
                f"augment {self._path} raised {type(error).__name__} ({first_line(error)}) in "
                f"{place.filename}, line {place.lineno}: correct the function"
            ) from error
        if not isinstance(result, tuple | list) or len(result) != 2:
            self._refuse(f"a {type(result).__name__}", "a tuple (image, labels)")
        for name, value, expected in zip(("image", "labels"), result, sample, strict=True):
            if not isinstance(value, np.ndarray):
                self._refuse(f"{name} of type {type(value).__name__}", "a NumPy array")
            if (value.dtype, value.shape) != (np.uint8, expected.shape):
                self._refuse(
                    f"{name} of {value.dtype} {list(value.shape)}",
                    f"uint8 {list(expected.shape)} as it gets",
                )
        new_image, new_labels = (np.require(value, None, ["C", "W"]) for value in result)
        wrong = new_labels[(new_labels >= self._num_classes) & (new_labels != IGNORE_ID)]
        if wrong.size:
            self._refuse(
                f"the label {wrong[0]}",
                f"0 to {self._num_classes - 1}, or {IGNORE_ID} for no class: labels may be moved, "
                "but not interpolated",
            )
        return new_image, new_labels

    def _refuse(self, returned: str, expected: str) -> None:
        raise TrainingError(f"augment {self._path} returned {returned}; it must return {expected}")


def _import(path: str) -> Callable[[Any, Any, np.random.Generator], Any]:
    module_name, _, name = path.partition(":")
    if not module_name or not name:
        raise SettingsError(
            f"setting 'augment' is {quoted(path)}; must be of the form package.module:function"
        )
    try:
        module = import_module(module_name)
    except Exception as error:  # also whatever the module itself raises
        raise SettingsError(
            f"setting 'augment' is {quoted(path)}, but importing {module_name} raises "
            f"{type(error).__name__} ({first_line(error)}): if it is in this folder, set "
            "PYTHONPATH=$PWD:$PYTHONPATH"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        raise SettingsError(
            f"setting 'augment' is {quoted(path)}, but {module.__file__ or module_name} has no "
            f"function {name}"
        )
    found: Callable[[Any, Any, np.random.Generator], Any] = function
    return found
