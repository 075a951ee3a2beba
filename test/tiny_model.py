"""A small model for tests."""

from pathlib import Path

CLASSES = (
    ("sky", (70, 130, 180)),
    ("road", (128, 64, 128)),
    ("pole", (153, 153, 153)),
    ("tree", (107, 142, 35)),
    ("car", (0, 0, 142)),
)
RESOLUTION = 128, 64
"""(width, height) of ``tiny_model``."""


def make_model(path: Path, seed: int = 0) -> Path:
    """Write a model of 5 classes with random weights, whose labels depend on the image.

    The batch-norm statistics are those of noise, and the biases balance the classes, so that all
    of them occur in the labels of a noisy image.
    """
    import torch

    from bisenet_ros.classes import SemanticClass
    from bisenet_ros.model import file as model_file
    from bisenet_ros.network import Architecture, BiSeNetV2

    torch.manual_seed(seed)
    architecture = Architecture(num_classes=len(CLASSES), head_channels=16)
    network = BiSeNetV2(architecture).train()
    width, height = RESOLUTION
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more threads only wait for each other on such small images
    with torch.inference_mode():
        for _ in range(20):
            blocks = torch.randn(4, 3, height // 16, width // 16)
            network(torch.nn.functional.interpolate(blocks, (height, width)))
        network.eval()
        logits = network(torch.nn.functional.interpolate(blocks, (height, width)))
        head: torch.nn.Conv2d = network.head[-1]
        head.weight *= 1 / logits.std((0, 2, 3))[:, None, None, None]
        head.bias -= logits.mean((0, 2, 3)) / logits.std((0, 2, 3))
    torch.set_num_threads(threads)
    metadata = model_file.Metadata(
        preset="bisenetv2",
        architecture=architecture,
        classes=tuple(SemanticClass(i, name, color) for i, (name, color) in enumerate(CLASSES)),
        mean=(0.4, 0.45, 0.5),
        std=(0.2, 0.25, 0.3),
        resolution=RESOLUTION,
        recipe={"seed": seed},
    )
    model_file.save(path, network, metadata)
    return path
