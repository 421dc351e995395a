"""When the learning rate falls and when predictions are recorded, by update.

Source: Mao et al., PNAS 121(12), 2024, App. B.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.errors import TrainingError

EARLY, LATE, LATER = 5, 25, 65  # epochs until which a denser schedule holds, counted from 0
QUARTERS, FOURTH, FIFTEENTH = 4, 4, 15


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
