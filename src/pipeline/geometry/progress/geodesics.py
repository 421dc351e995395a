"""Geodesics between predictions, and trajectories at given progress.

The root probabilities of a sample are a point of a sphere. With the angle alpha = arccos sum_c sqrt(p q)
between two of them,

    sqrt(p_lambda) = [sin((1 - lambda) alpha) sqrt(p) + sin(lambda alpha) sqrt(q)] / sin(alpha).

Source: Mao et al., PNAS 121(12), 2024, Eq. 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.predictions import (
    check_alike,
    check_predictions,
    root_probabilities,
)

GRID = 100  # values of progress, 0.01 to 1
SMALL = 1e-9  # angles below it: the two points are one
Array = NDArray[np.float64]


def geodesic(p: ArrayLike, q: ArrayLike, fractions: ArrayLike) -> Array:
    """Points of the geodesic from p to q, probabilities (fractions, samples, classes).

    Arguments
    ---------
    p, q: (samples, classes). fractions: lambda, (fractions,), each from 0 to 1.

    Raises GeometryError for shapes that do not fit and lambda out of range.
    """
    one, two = check_predictions(p, "p"), check_predictions(q, "q")
    check_alike(one, two)
    if len(one) != 1 or len(two) != 1:
        raise GeometryError("p and q must be one model each, (samples, classes).")
    values = np.atleast_1d(np.asarray(fractions, dtype=np.float64))
    if not ((values >= 0) & (values <= 1)).all():
        raise GeometryError("lambda must be from 0 to 1.")
    left, right = (root_probabilities(model, np.float64)[0] for model in (one, two))
    return np.square(_between(left, right, values))


def _between(left: Array, right: Array, fractions: Array) -> Array:
    """Root probabilities (fractions, samples, classes) between two of (samples, classes)."""
    chord = np.linalg.norm(left - right, axis=1)
    alpha = 2 * np.arcsin(np.clip(chord / 2, 0, 1))[None, :, None]
    weight = fractions[:, None, None]
    apart = alpha > SMALL
    sine = np.where(apart, np.sin(alpha), 1.0)
    first = np.where(apart, np.sin((1 - weight) * alpha) / sine, 1 - weight)
    second = np.where(apart, np.sin(weight * alpha) / sine, weight)
    found: Array = first * left + second * right
    return found


def at_progress(p: ArrayLike, progress: ArrayLike, at: ArrayLike | int = GRID) -> Array:
    """A trajectory at given progress: probabilities (values, samples, classes), float64.

    At s it is the geodesic's point between the first checkpoint whose progress is above s and the one
    before it, in proportion to their progress; the first checkpoint where that is the first one, and
    the last where none is above s. A trajectory that goes back has thus one meaning.

    Arguments
    ---------
    p: probabilities (checkpoints, samples, classes). progress: (checkpoints,).
    at: values of progress, or how many equidistant ones up to 1 (default 100: 0.01, 0.02, ..., 1).

    Raises GeometryError for shapes that do not fit and progress that is not finite.
    """
    models = check_predictions(p, "p")
    told = np.asarray(progress, dtype=np.float64)
    if told.shape != (len(models),) or not np.isfinite(told).all():
        raise GeometryError(
            f"progress of shape {told.shape} given; one finite value for each of the {len(models)} "
            "checkpoints is needed."
        )
    wanted = progress_grid(at)
    roots: dict[int, Array] = {}

    def root(k: int) -> Array:
        if k not in roots:
            roots[k] = root_probabilities(models[k : k + 1], np.float64)[0]
        return roots[k]

    found = np.empty((len(wanted), *models.shape[1:]))
    for place, s in enumerate(wanted):
        above = np.flatnonzero(told > s)
        later = int(above[0]) if above.size else len(told) - 1
        if later == 0 or not above.size:
            found[place] = root(later) ** 2
        else:
            fraction = (s - told[later - 1]) / (told[later] - told[later - 1])
            found[place] = _between(root(later - 1), root(later), np.array([fraction]))[0] ** 2
    return found


def progress_grid(at: Any) -> Array:
    """Values of progress: as given, or that many equidistant ones up to 1."""
    if isinstance(at, int | np.integer) and not isinstance(at, bool):
        if at < 1:
            raise GeometryError(f"{at} values of progress asked for; at least 1 is needed.")
        return np.arange(1, at + 1) / at
    values = np.atleast_1d(np.asarray(at, dtype=np.float64))
    if values.ndim != 1 or not ((values >= 0) & (values <= 1)).all():
        raise GeometryError("Values of progress must be from 0 to 1.")
    return values
