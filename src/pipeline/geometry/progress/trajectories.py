"""Distances of trajectories at equal progress, and the widths of the tubes that seeds make.

    d(u, v) = int_0^1 dB(tau_u(s), tau_v(s)) ds

Source: Mao et al., PNAS 121(12), 2024, "Distances between trajectories" and App. D.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.pairwise import pairwise_distances
from pipeline.geometry.bhattacharyya.predictions import (
    check_alike,
    check_predictions,
    root_probabilities,
)
from pipeline.geometry.bhattacharyya.tiles import FLOOR
from pipeline.geometry.progress.geodesics import GRID, at_progress
from pipeline.geometry.progress.projection import progress

Array = NDArray[np.float64]


def trajectory_distance(
    p_a: ArrayLike, p_b: ArrayLike, labels: ArrayLike, n: int = GRID, *, threads: int | None = None
) -> float:
    """Distance of two trajectories: the mean of dB at ``n`` equidistant values of progress.

    Arguments
    ---------
    p_a, p_b: probabilities (checkpoints, samples, classes), the numbers of checkpoints may differ;
        labels: (samples,). n: values of progress, 1/n to 1.
    """
    both = [at_progress(one, progress(one, labels, threads=threads), n) for one in (p_a, p_b)]
    return float(paired_distances(*both).mean())


def trajectory_distances(trajectories: Sequence[ArrayLike], *, threads: int | None = None) -> Array:
    """Distances (t, t) of all pairs of trajectories that are given at equal progress.

    Arguments
    ---------
    trajectories: each (values of progress, samples, classes), as ``at_progress`` gives them.
    """
    shapes = {np.shape(one) for one in trajectories}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise GeometryError(
            f"Trajectories of shapes {sorted(shapes)} given; all must be (values of progress, samples, "
            "classes) at the same progress."
        )
    values = next(iter(shapes))[0]
    total = np.zeros((len(trajectories), len(trajectories)))
    for place in range(values):
        models = np.stack([np.asarray(one)[place] for one in trajectories])
        total += pairwise_distances(models, threads=threads)
    return total / values


def paired_distances(p: ArrayLike, q: ArrayLike) -> Array:
    """dB (models,) of each model of p with that of q at the same place, float64.

    Arguments
    ---------
    p, q: probabilities (models, samples, classes).
    """
    one, two = check_predictions(p, "p"), check_predictions(q, "q")
    check_alike(one, two)
    if len(one) != len(two):
        raise GeometryError(f"p has {len(one)} models and q {len(two)}; give as many of both.")
    found = np.empty(len(one))
    for k in range(len(one)):
        left, right = (root_probabilities(x[k : k + 1], np.float64)[0] for x in (one, two))
        affinity = np.maximum(np.einsum("nc,nc->n", left, right), np.exp(-FLOOR))
        found[k] = max(-np.log(affinity).mean(), 0.0)
    return found


def tube_widths(trajectories: Sequence[ArrayLike]) -> Array:
    """dB (trajectories, values of progress) of each trajectory to their mean at equal progress.

    The mean is that of the probabilities.

    Arguments
    ---------
    trajectories: of the seeds of one configuration, each (values of progress, samples, classes).
    """
    values = [np.asarray(one, dtype=np.float64) for one in trajectories]
    if len({one.shape for one in values}) != 1:
        raise GeometryError(
            f"Trajectories of shapes {sorted({one.shape for one in values})} given; at least one, all of "
            "one shape, are needed."
        )
    mean = np.mean(values, axis=0)
    return np.stack([paired_distances(one, mean) for one in values])
