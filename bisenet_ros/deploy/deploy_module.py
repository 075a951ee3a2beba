"""The one definition of what leaves the network for a robot."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from bisenet_ros.deploy.upsample_argmax import upsample_argmax
from bisenet_ros.model.file import Model

_FIRST_WEIGHTS = ("detail.S1.0.0.weight", "semantic.stem.conv.0.weight")
"""Of the convolutions that see the image's channels."""


class DeployModule(nn.Module):
    """Image, uint8 [1,H,W,3] RGB, to labels, uint8 [1,H,W], and confidence if asked for.

    Normalization, bilinear upsampling and argmax are inside, so that no caller can disagree
    about them; see ``upsample_argmax`` for the last two. H and W must be divisible by 8. Confidence
    is the softmax probability of the label, 0..255 for 0..1, uint8 [1,H,W].

    Args:
        model: what to deploy; it is copied, not changed.
        confidence: also give the confidence.
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
        # Of pixels in 0..255, which spares a division of the whole image.
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
        """Itself on ``device``, laid out as convolutions are fastest, to be run and not trained."""
        # PyTorch's own types lack this form of `to`.
        self.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Labels, or labels and confidence; see the class."""
        label, *probability = upsample_argmax(self.logits(image), confidence=self.confidence)
        # Of float32, the only type that TensorRT makes uint8 of.
        return label.to(torch.uint8), *((p * 255).round().to(torch.uint8) for p in probability)

    def logits(self, image: Tensor) -> Tensor:
        """float32 [N,classes,H/8,W/8] of images [N,H,W,3] RGB in 0..255, of any type."""
        # First of all, since TensorRT computes nothing in uint8.
        x = image.float().permute(0, 3, 1, 2)
        x = ((x - self.mean) / self.std).to(self.dtype)
        # In float32, since bf16 has too few digits to interpolate between close logits.
        return self.network.heads(x)[0].float().contiguous()


def fold_batch_norms(module: nn.Module) -> None:
    """Merge each batch norm into the convolution before it, which gives the same in less time."""
    for child in module.modules():
        if not isinstance(child, nn.Sequential):
            continue
        for index in range(len(child) - 1):
            convolution, norm = child[index], child[index + 1]
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                child[index] = fuse_conv_bn_eval(convolution, norm)
                child[index + 1] = nn.Identity()
