"""The model as deployed on a robot: the definition that all engines share."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from bisenet_ros.deploy.upsample_argmax import upsample_argmax
from bisenet_ros.model.file import Model

_FIRST_WEIGHTS = ("detail.S1.0.0.weight", "semantic.stem.conv.0.weight")
"""Weights of the convolutions whose input is the image."""


class DeployModule(nn.Module):
    """Map images, uint8 [N,H,W,3] RGB, to labels, uint8 [N,H,W], and optionally confidence.

    It includes normalization, bilinear upsampling and argmax (see ``upsample_argmax``), so that all
    engines agree on them. H and W must be divisible by 8. Confidence is the softmax probability of
    the label, uint8 [N,H,W], 0..255 for 0..1.

    Args:
        model: what to deploy; it is copied, not changed.
        confidence: also return the confidence.
        dtype: of the network; normalization, upsampling and softmax stay in float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: Model, *, confidence: bool = False, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        self.network = copy.deepcopy(model.network).eval()
        fold_batch_norms(self.network)
        self.network.to(dtype)
        self.dtype = dtype
        self.confidence = confidence
        # For pixels in 0..255, which saves a division of the whole image.
        mean = torch.tensor(model.metadata.mean) * 255
        std = torch.tensor(model.metadata.std) * 255
        if model.metadata.channel_order == "bgr":
            mean, std = mean.flip(0), std.flip(0)
            with torch.no_grad():
                for name in _FIRST_WEIGHTS:
                    weight = self.network.get_parameter(name)
                    weight.copy_(weight.flip(1))
        self.register_buffer("mean", mean.view(1, 3, 1, 1))
        self.register_buffer("std", std.view(1, 3, 1, 1))

    def on(self, device: str) -> "DeployModule":
        """Move this module to ``device`` in the fastest memory format, set eval mode, return it."""
        # PyTorch's types lack this overload of `to`.
        self.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return labels, or labels and confidence; see the class."""
        label, *probability = upsample_argmax(self.logits(image), confidence=self.confidence)
        # From float32, the only type that TensorRT casts to uint8.
        return label.to(torch.uint8), *((p * 255).round().to(torch.uint8) for p in probability)

    def logits(self, image: Tensor) -> Tensor:
        """Return logits float32 [N,classes,H/8,W/8] of images [N,H,W,3] RGB, 0..255, any dtype."""
        # Cast first, since TensorRT does not compute in uint8.
        x = image.float().permute(0, 3, 1, 2)
        x = ((x - self.mean) / self.std).to(self.dtype)
        # In float32, since bf16 is too coarse to interpolate between close logits.
        return self.network.heads(x)[0].float().contiguous()


def fold_batch_norms(module: nn.Module) -> None:
    """Fold each batch norm into the convolution before it, in place; results stay the same."""
    for child in module.modules():
        if not isinstance(child, nn.Sequential):
            continue
        for index in range(len(child) - 1):
            convolution, norm = child[index], child[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                child[index] = fuse_conv_bn_eval(convolution, norm)
                child[index + 1] = nn.Identity()
