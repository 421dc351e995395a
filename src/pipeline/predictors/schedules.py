"""When the learning rate falls and when predictions are recorded, by update.

Source: Mao et al., PNAS 121(12), 2024, App. B.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.errors import TrainingError

EARLY, LATE, LATER = 5, 25, 65  # epochs until which a denser schedule holds, counted from 0
QUARTERS, FOURTH, FIFTEENTH = 4, 4, 15
SPACED = 61  # records of every trajectory on ImageNet
EARLY_RECORDS = 5  # of each of the first EARLY epochs, as on CIFAR-10 with 250 batches


def constant(update: int, updates: int) -> float:
    """1: the learning rate stays."""
    return 1.0


def cosine(update: int, updates: int) -> float:
    """(1 + cos(pi u / U)) / 2, from 1 at the first update to near 0 at the last."""
    return 0.5 * (1 + math.cos(math.pi * update / updates))


def linear(update: int, updates: int) -> float:
    """1 - u / U."""
    return 1 - update / updates


ANNEALING: dict[str, Callable[[int, int], float]] = {
    "none": constant,
    "cosine": cosine,
    "linear": linear,
}


def annealing(name: str) -> Callable[[int, int], float]:
    """The factor of the learning rate at update u of U, by name; TrainingError for another name."""
    if name not in ANNEALING:
        raise TrainingError(f"annealing is {name!r}; valid are: {', '.join(ANNEALING)}.")
    return ANNEALING[name]


def record_updates(epochs: int, batches: int) -> list[int]:
    """Numbers of updates done at which predictions are recorded, 0 (initialisation) first.

    Epochs count from 0, and batches i of an epoch too. Within the first five epochs it is after the
    batches with i % (batches // 4) == 0; then at the end of epochs: of each until 25, of those with
    e % 4 == 0 until 65, of those with e % 15 == 0 above; and at the end of the last.

    Arguments
    ---------
    epochs: of the training; batches: updates of an epoch.
    """
    if epochs < 1 or batches < 1:
        raise TrainingError(
            f"{epochs} epochs of {batches} batches given; at least one of both is needed."
        )
    step = max(1, batches // QUARTERS)
    found = {0, epochs * batches}
    for epoch in range(epochs):
        if epoch < EARLY:
            found |= {epoch * batches + i + 1 for i in range(batches) if i % step == 0}
        elif (
            epoch <= LATE
            or (epoch <= LATER and epoch % FOURTH == 0)
            or (epoch > LATER and epoch % FIFTEENTH == 0)
        ):
            found.add((epoch + 1) * batches)
    return sorted(found)


def thinned(updates: list[int], every: int) -> list[int]:
    """Each ``every``-th of the updates that are recorded, from the first on, and the last."""
    return sorted({*updates[::every], updates[-1]})


def spaced_updates(epochs: int, batches: int, records: int = SPACED) -> list[int]:
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
