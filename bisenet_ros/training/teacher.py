"""Learning from a trained model: knowledge distillation (arXiv 1503.02531)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from bisenet_ros.classes import SemanticClass
from bisenet_ros.inference.deploy import Deployed
from bisenet_ros.inference.multi_scale import mean_probabilities, scaled_size
from bisenet_ros.inference.torch_backend import DTYPES
from bisenet_ros.metadata import ModelFileError
from bisenet_ros.model_file import Model
from bisenet_ros.training.settings import Settings


class Teacher:
    """What a trained model makes of training samples, which a network learns beside their labels.

    Its answers are the mean over several sizes and both sides of a sample, better than those of one
    pass, which is all that the network will have on a robot.

    Args:
        model: with any architecture, size and normalisation.
        settings: ``teacher_scales``, ``crop`` and ``precision`` are used.
        classes: of the samples.
        device: to run on.

    Raises:
        ModelFileError: the model has other classes.
    """

    def __init__(
        self, model: Model, settings: Settings, classes: Sequence[SemanticClass], device: str
    ) -> None:
        have, want = ([entry.name for entry in c] for c in (model.metadata.classes, classes))
        if have != want:
            raise ModelFileError(
                f"model {model.name} cannot teach: its classes are {', '.join(have)}, and those of "
                f"the data {', '.join(want)}"
            )
        self.sizes = [scaled_size(settings.crop, scale) for scale in settings.teacher_scales]
        self._deployed = Deployed(model, dtype=DTYPES[settings.precision]).on(device)

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Of the classes, float32 [N,C,H,W], for samples uint8 [N,3,H,W] RGB."""
        pixels, size = images.float(), (images.shape[2], images.shape[3])
        sized = []
        for width, height in self.sizes:
            x = pixels
            if (height, width) != size:
                shrinks = width < size[1] / 2  # then by mean over areas, as ``resize_image``
                x = functional.interpolate(x, (height, width), mode="bilinear", antialias=shrinks)
            sized.append(x.permute(0, 2, 3, 1))
        return mean_probabilities(self._deployed, sized, size, flip=True)
