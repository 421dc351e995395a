"""Centroids of an ensemble of models: six means of their predictions, sample by sample.

Source: Mao et al., PNAS 121(12), 2024, Table S.1; Nielsen & Boltz, IEEE Trans. Inf. Theory 57, 5455
(2011); Nielsen, IEEE Signal Processing Lett. 20, 657 (2013).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.predictions import check_predictions
from pipeline.geometry.bhattacharyya.tiles import FLOOR

ROUNDS = 1000  # of the Bhattacharyya centroid, at most
TOLERANCE = 1e-12  # largest change of a probability at its end
Array = NDArray[np.float64]


def arithmetic(p: Array) -> Array:
    """mean_i p_i: the centroid of the Euclidean distance, and of KL(p_i, .)."""
    return np.asarray(p.mean(axis=0))


def root_arithmetic(p: Array) -> Array:
    """(mean_i sqrt(p_i))^2, normalised: the centroid of the Hellinger distance."""
    return _normalised(np.sqrt(p).mean(axis=0) ** 2)


def geometric(p: Array) -> Array:
    """exp(mean_i log p_i), normalised: the centroid of KL(., p_i)."""
    return _softmax(_logs(p).mean(axis=0))


def harmonic(p: Array) -> Array:
    """1 / mean_i (1/p_i), normalised."""
    logs = -_logs(p)
    largest = logs.max(axis=0)
    return _softmax(-(largest + np.log(np.exp(logs - largest).mean(axis=0))))


def bhattacharyya(p: Array) -> Array:
    """argmin_q sum_i dB(p_i, q), by

        q_c <- mean_i sqrt(p_ic q_c) / sum_c' sqrt(p_ic' q_c'),

    which lowers the sum at every step; the sum is convex, so the minimum is the global one.
    Raises GeometryError where it has not settled after 1000 steps.
    """
    roots = np.sqrt(p)
    q = root_arithmetic(p)
    for _ in range(ROUNDS):
        shares = roots * np.sqrt(q)
        affinity = np.maximum(shares.sum(axis=2, keepdims=True), np.exp(-FLOOR))
        new = _normalised((shares / affinity).mean(axis=0))
        change = np.abs(new - q).max()
        q = new
        if change <= TOLERANCE:
            return q
    raise GeometryError(
        f"The Bhattacharyya centroid changes by {change:.1e} after {ROUNDS} steps; its models have "
        "almost no common answer."
    )


def jeffreys(p: Array) -> Array:
    """a / W(e a / g), normalised: the centroid of the symmetrised Kullback-Leibler divergence.

    a and g are the arithmetic and the normalised geometric mean, W is Lambert's function.
    """
    from scipy.special import wrightomega

    mean, logs = arithmetic(p), np.log(np.maximum(geometric(p), np.exp(-FLOOR)))
    with np.errstate(divide="ignore"):
        log_ratio = np.maximum(np.log(mean), -FLOOR) - logs
    # W(e^x) is the Wright omega function, which does not overflow
    return _normalised(mean / wrightomega(1 + log_ratio).real)


CENTROIDS: dict[str, Callable[[Array], Array]] = {
    "arithmetic": arithmetic,
    "root_arithmetic": root_arithmetic,
    "geometric": geometric,
    "harmonic": harmonic,
    "bhattacharyya": bhattacharyya,
    "jeffreys": jeffreys,
}


def centroid(p: ArrayLike, kind: str) -> Array:
    """A centroid (samples, classes) of models, float64.

    Arguments
    ---------
    p: probabilities (models, samples, classes); kind: a name in ``CENTROIDS``. A probability of 0
        counts as e^-100 where its logarithm is needed.

    Raises GeometryError for another kind and for what is no probability.
    """
    if kind not in CENTROIDS:
        raise GeometryError(f"There is no centroid {kind!r}; valid are: {', '.join(CENTROIDS)}.")
    models = check_predictions(p, "p").astype(np.float64)
    return CENTROIDS[kind](models / models.sum(axis=2, keepdims=True))


def _logs(p: Array) -> Array:
    return np.log(np.maximum(p, np.exp(-FLOOR)))


def _softmax(logs: Array) -> Array:
    return _normalised(np.exp(logs - logs.max(axis=1, keepdims=True)))


def _normalised(values: Array) -> Array:
    found: Array = values / values.sum(axis=1, keepdims=True)
    return found
