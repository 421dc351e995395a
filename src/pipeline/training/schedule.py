"""At which epochs a run records its activations, predictions and weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipeline.errors import TrainingError


def checkpoint_epochs(schedule: dict[str, Any], epochs: int) -> list[int]:
    """Increasing epochs in [0, epochs] at which checkpoints are recorded.

    ``{"schedule": "log", "count": n}``: 0 and about n - 1 epochs evenly spaced in ln(epoch), the last
    being ``epochs``; ``linear``: evenly spaced in epoch; ``list``: the given ``epochs``. Duplicates
    that arise from rounding are dropped. Raises TrainingError for an unknown schedule.
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
    if kind == "log":
        spaced = np.geomspace(1, epochs, max(count - 1, 1)) if epochs else np.array([])
        points = np.concatenate([[0], spaced])
    else:
        points = np.linspace(0, epochs, count)
    return sorted({int(round(point)) for point in points[-count:]} | ({0} if count > 1 else set()))
