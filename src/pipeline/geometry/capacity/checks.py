"""What the capacity of manifolds is defined for; everything else is refused with the reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError

EXTREME = (
    1e100  # values beyond it, or below its inverse, are scaled: their squares would not be finite
)


def check_manifolds(manifolds: Sequence[ArrayLike]) -> list[NDArray[Any]]:
    """The manifolds as arrays (features, points); GeometryError says what is wrong with them.

    Where their largest value is beyond 1e100 or below 1e-100 all are scaled by one power of two,
    which changes neither capacity nor geometry.
    """
    sets = _arrays(manifolds)
    if len(sets) < 2:
        raise GeometryError(
            f"{len(sets)} manifold given; capacity is that of several: give two or more."
        )
    largest = 0.0
    for index, one in enumerate(sets):
        if one.ndim != 2 or 0 in one.shape or one.dtype.kind not in "fiub":
            raise GeometryError(
                f"Manifold {index} has shape {one.shape} and dtype {one.dtype}; real numbers "
                "(features, points) with at least one of each are needed."
            )
        if one.shape[0] != sets[0].shape[0]:
            raise GeometryError(
                f"Manifold {index} has {one.shape[0]} features and manifold 0 has "
                f"{sets[0].shape[0]}; all need the same features (give arrays (features, points), "
                "not (points, features))."
            )
        low, high = float(one.min()), float(one.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise GeometryError(
                f"Manifold {index} holds NaN or infinite values; leave diverged networks out."
            )
        largest = max(largest, high, -low)
    if largest > EXTREME or 0 < largest < 1 / EXTREME:
        exponent = -math.frexp(largest)[1]
        return [np.ldexp(one.astype(np.float64), exponent) for one in sets]
    return sets


def _arrays(manifolds: Sequence[ArrayLike]) -> list[NDArray[Any]]:
    try:
        return [np.asarray(one) for one in manifolds]
    except (TypeError, ValueError) as error:
        raise GeometryError(
            f"The manifolds are no sequence of arrays (features, points) ({error}); give a list with one "
            "array of real numbers per class."
        ) from error


def real_matrix(name: str, values: ArrayLike, shape: str) -> NDArray[Any]:
    """A matrix of finite real numbers; GeometryError names it and the shape that is needed."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise GeometryError(f"{name} is no matrix ({error}); {shape} is needed.") from error
    if array.ndim != 2 or 0 in array.shape or array.dtype.kind not in "fiub":
        raise GeometryError(
            f"{name} of shape {array.shape} and dtype {array.dtype} given; a matrix of real numbers "
            f"{shape}, at least one row and at least one column are needed."
        )
    if not np.isfinite(array).all():
        raise GeometryError(f"{name} holds NaN or infinite values; leave diverged networks out.")
    return array


def is_number(value: Any) -> bool:
    """Whether a value is one finite real number."""
    numeric = isinstance(value, int | float | np.integer | np.floating)
    return numeric and not isinstance(value, bool) and math.isfinite(value)


def check_whole(name: str, value: Any, least: int = 1) -> None:
    """Raise GeometryError for what is no whole number of at least ``least``."""
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < least:
        raise GeometryError(
            f"{name} = {value!r} given; valid is a whole number of at least {least}."
        )
