"""BiSeNet V2 (arXiv 2004.02147), one module per figure of the paper."""

from bisenet_ros.network.bisenetv2 import PRESETS, Architecture, BiSeNetV2, upsample

__all__ = ["PRESETS", "Architecture", "BiSeNetV2", "upsample"]
