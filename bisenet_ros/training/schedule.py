"""The optimizer and its learning rate over a run (section 5.1)."""

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from bisenet_ros.training.settings import Settings


def make_optimizer(network: nn.Module, settings: Settings) -> Optimizer:
    """SGD with momentum 0.9, or AdamW; weight decay on the convolution weights only."""
    convolutions: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for parameter in network.parameters():
        (convolutions if parameter.ndim == 4 else rest).append(parameter)
    groups = [
        {"params": convolutions, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if settings.optimizer == "sgd":
        return SGD(groups, lr=settings.learning_rate, momentum=0.9)
    return AdamW(groups, lr=settings.learning_rate)


def learning_rate(iteration: int, settings: Settings) -> float:
    """The poly schedule, lr * (1 - iteration / iterations) ** power, after a linear warm-up."""
    poly: float = (1 - iteration / settings.iterations) ** settings.poly_power
    warm = min(1.0, (iteration + 1) / (settings.warmup_iterations + 1))
    return settings.learning_rate * poly * warm
