"""At which epochs a run records its activations, predictions and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import TrainingError


def checkpoint_epochs(schedule: dict[str, Any], epochs: int) -> list[int]:
    """Increasing epochs in [0, epochs] at which checkpoints are recorded.

    ``{"schedule": "log", "count": n}``: 0 and n - 1 epochs evenly spaced in ln(epoch), the last being
    ``epochs`` (n = 1: epoch 0 alone); ``linear``: evenly spaced in epoch; ``list``: the given
    ``epochs``. Duplicates that arise from rounding are dropped. Raises TrainingError for an unknown schedule.
    """
    kind = schedule["schedule"]
    if kind == "list":
        chosen = sorted(set(schedule["epochs"]))
        if chosen and (chosen[0] < 0 or chosen[-1] > epochs):
            raise TrainingError(f"checkpoint epochs {chosen} must lie between 0 and {epochs}.")
        return chosen
    if kind not in ("log", "linear"):
        raise TrainingError(f"checkpoint schedule {kind!r} is unknown; valid: log, linear, list.")
    count = schedule["count"]
    if count < 1:
        return []
    if kind == "linear" or count == 1:
        points = np.linspace(0, epochs, count)
    else:
        first = 1 if count > 2 else epochs
        points = np.concatenate([[0], np.geomspace(first, epochs, count - 1)])
    return sorted({round(float(point)) for point in points})
