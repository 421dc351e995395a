"""What changes by epoch when ImageNet is trained: the pictures' side; whose weights decay.

Source: Mao et al., PNAS 121(12), 2024, App. B.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.errors import TrainingError

SIDES = ((0, 196), (34, 224))  # first epoch, side of the pictures


def side_at(epoch: int, sides: tuple[tuple[int, int], ...] = SIDES) -> int:
    """The side of the training pictures at an epoch, counted from 0: 196, from epoch 34 on 224."""
    if epoch < sides[0][0]:
        raise TrainingError(f"epoch is {epoch}; valid are {sides[0][0]} and above.")
    return max((first, side) for first, side in sides if first <= epoch)[1]


def decaying_groups(network: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups of parameters for an optimiser: all others, with weight decay, and batch normalisation's,
    without.
    """
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    own = {
        id(one)
        for module in network.modules()
        if isinstance(module, kinds)
        for one in module.parameters(recurse=False)
    }
    split: tuple[list[Any], list[Any]] = ([], [])
    for one in network.parameters():
        split[id(one) in own].append(one)
    return [
        {"params": split[0], "weight_decay": weight_decay},
        {"params": split[1], "weight_decay": 0.0},
    ]
