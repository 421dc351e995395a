"""What changes by epoch when ImageNet is trained: records, the pictures' side, whose weights decay.

Source: Mao et al., PNAS 121(12), 2024, App. B.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from pipeline.errors import TrainingError
from pipeline.predictors.schedules import EARLY

RECORDS = 61  # of every trajectory
EARLY_RECORDS = 5  # of each of the first EARLY epochs, as on CIFAR-10 with 250 batches
SIDES = ((0, 196), (34, 224))  # first epoch, side of the pictures


def spaced_updates(epochs: int, batches: int, records: int = RECORDS) -> list[int]:
    """Numbers of updates done at which predictions are recorded, 0 (initialisation) first.

    Five times in each of the first five epochs, then at equal steps up to the last update. The paper
    states how many; when is ours: of 40 epochs it is at the end of every epoch from the sixth on.

    Arguments
    ---------
    epochs: of the training, more than five; batches: updates of an epoch, five at least; records: in
    all, initialisation and the last included.
    """
    first = 1 + EARLY * EARLY_RECORDS
    if epochs <= EARLY or batches < EARLY_RECORDS or records <= first:
        raise TrainingError(
            f"{records} records of {epochs} epochs of {batches} batches asked for; valid are more than "
            f"{first} records, more than {EARLY} epochs and {EARLY_RECORDS} batches or more."
        )
    early = [round(k * batches / EARLY_RECORDS) for k in range(first)]
    start, later = EARLY * batches, records - first
    late = [start + round(k * (epochs * batches - start) / later) for k in range(1, later + 1)]
    if len({*early, *late}) < records:
        raise TrainingError(
            f"{epochs} epochs of {batches} batches have fewer than {records} updates that are recorded "
            "apart; ask for fewer records."
        )
    return [*early, *late]


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
