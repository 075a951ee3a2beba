"""The one definition of what leaves the network for a robot."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils import fuse_conv_bn_eval

from bisenet_ros.model_file import Model


class Deployed(nn.Module):
    """Image, uint8 [1,H,W,3] RGB, to labels, uint8 [1,H,W], and confidence if asked for.

    Normalisation, bilinear upsampling and argmax are inside, so that no caller can disagree
    about them. H and W must be divisible by 8. Confidence is the softmax probability of the
    label, 0..255 for 0..1, uint8 [1,H,W].

    Args:
        model: what to deploy; it is copied, not changed.
        confidence: also give the confidence, which costs a softmax over all pixels.
        dtype: of the network; normalisation, upsampling and softmax stay in float32.
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
        self.reverse_channels = model.metadata.channel_order == "bgr"
        # Of pixels in 0..255, which spares a division of the whole image.
        for name in ("mean", "std"):
            values = torch.tensor(getattr(model.metadata, name)) * 255
            self.register_buffer(name, values.view(1, 3, 1, 1))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Labels, or labels and confidence; see the class."""
        # First of all, since TensorRT computes nothing in uint8.
        x = image.float().permute(0, 3, 1, 2)
        if self.reverse_channels:
            x = x.flip(1)
        x = ((x - self.mean) / self.std).to(self.dtype)
        logits: Tensor = self.network(x)
        # By way of float32, the only type that TensorRT makes uint8 of.
        labels = logits.argmax(dim=1).float().to(torch.uint8)
        if not self.confidence:
            return (labels,)
        probability = logits.softmax(dim=1).amax(dim=1)
        return labels, (probability * 255).round().to(torch.uint8)


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
