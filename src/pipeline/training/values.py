"""Checks of single settings, each with one sentence for what is wrong."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from math import inf, isfinite
from typing import Any

from pipeline.errors import TrainingError


def one_of(name: str, value: Any, valid: Sequence[Any]) -> None:
    """Raise TrainingError where a value is none of ``valid``."""
    if value not in valid:
        text = ", ".join(str(choice) for choice in valid)
        raise TrainingError(f"{name} is {value!r}; valid are: {text}.")


def whole(name: str, value: Any, least: int) -> None:
    """Raise TrainingError for what is no integer from ``least`` on."""
    integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    if not integer or value < least:
        raise TrainingError(f"{name} must be an integer of at least {least}, not {value!r}.")


def number(name: str, value: Any, most: float = inf, *, above_zero: bool = False) -> None:
    """Raise TrainingError for what is no finite number from 0 (or above 0) to ``most``."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if real and isfinite(value) and (value > 0 if above_zero else value >= 0) and value <= most:
        return
    span = ("above 0" if above_zero else "from 0") + (f" to {most}" if isfinite(most) else " on")
    span = "above 0" if above_zero and not isfinite(most) else span
    raise TrainingError(f"{name} must be a finite number {span}, not {value!r}.")
