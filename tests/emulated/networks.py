"""Networks that take no time, with a name for each thing that can go wrong on a device."""

from torch import nn


def sound(num_classes: int = 10) -> nn.Module:
    """Flatten, linear, batch norm, ReLU, linear."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 4, stride=4), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(196, num_classes)
    )


capture = hang = lost = sound
