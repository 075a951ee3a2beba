"""Print the instruction sets that PyTorch and OpenVINO use, e.g. ``AVX512 avx512``.

Queries both libraries, since a misspelled or renamed environment variable that should limit them
is silently ignored.
"""

from __future__ import annotations

import numpy as np
import openvino
import torch
from openvino import opset13


def openvino_instruction_set() -> str:
    """Return the instruction set of an fp32 convolution, e.g. ``avx2``."""
    shape = (1, 16, 16, 16)
    image = opset13.parameter(shape, np.float32)
    weights = opset13.constant(np.ones((16, 16, 3, 3), np.float32))
    strides = dilations = (1, 1)
    pads = (1, 1)
    convolution = opset13.convolution(image, weights, strides, pads, pads, dilations)
    convolution.set_friendly_name("probe")
    compiled = openvino.Core().compile_model(
        openvino.Model([convolution], [image]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
    )
    (node,) = (
        node
        for node in compiled.get_runtime_model().get_ops()
        if node.get_friendly_name() == "probe"
    )
    primitive: str = node.get_rt_info()["primitiveType"].astype(str)  # e.g. brgconv_avx2_f32
    return primitive.split("_")[-2]


if __name__ == "__main__":
    print(torch.backends.cpu.get_cpu_capability(), openvino_instruction_set())
