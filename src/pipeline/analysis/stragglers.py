"""How well the sets of misclassified samples are conserved between networks: the z-score of Eq. 11.

Source: Ciceri et al., arXiv:2303.05161, Methods, "Identity of stragglers". Kernels take boolean
arrays (runs, samples). How certain z is, and its course along training, is in
``analysis.stability_bootstrap``; what the workflow calls is in ``analysis.stability``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError

EXACT_FLOAT32 = 2**24  # sums of ones are exact in float32 up to here
PAIRS = ("all", "independent")
Array = NDArray[Any]


@dataclass(frozen=True)
class Stability:
    """Eq. 11 for one collection of sets: z = (mean_common - mean_null) / std_common.

    ``mean_common`` and ``std_common``: M = |S_0 & S_1| over the pairs, in samples. ``mean_null`` and
    ``std_null``: the same for random sets of the same sizes. ``pairs``, ``runs``: how many.
    """

    z: float
    mean_common: float
    mean_null: float
    std_common: float
    std_null: float
    pairs: int
    runs: int


@dataclass(frozen=True)
class PairOverlaps:
    """|S_0|, |S_1| and M = |S_0 & S_1| of every pair, each (pairs,) float64; samples is P."""

    first: Array
    second: Array
    common: Array
    samples: int
    runs: int


def stability_zscore(
    misclassified_a: ArrayLike, misclassified_b: ArrayLike | None = None, pairs: str = "all"
) -> Stability:
    """The z-score of the conservation of misclassified sets (Eq. 11).

        z = (<M> - <M^>) / sigma_M,   M = |S_0 & S_1|

    <M> and sigma_M are taken over pairs of runs, sigma_M with ddof = 1. M^ belongs to random sets
    of the same sizes: it is hypergeometric with mean |S_0||S_1|/P, and <M^> is the mean of that
    over the pairs, computed, not drawn.

    The paper takes independent pairs. All pairs of K runs have the same expected <M> and <M^>, at
    a fraction of the cost, but are not independent: two pairs that share a run are correlated
    (covariance zeta), so that E[std_common^2] = sigma_M^2 - 4 zeta / (K + 1), which is lower by a
    share of at most 2 / (K + 1) and makes z of few runs too large, by some 10 to 20 % for 8 runs
    (``stability_bootstrap.bootstrap_zscore`` takes that off). Error bars must come from resampling runs.

    Arguments
    ---------
    misclassified_a: (runs, samples) booleans, which samples each run misclassifies.
    misclassified_b: (runs, samples), other runs on the same samples. Pairs are then all a x b;
        without it, all unordered pairs of a.
    pairs: ``all``, or ``independent`` for the paper's protocol: runs (0, 1), (2, 3), ... of a, or
        run i of a with run i of b.

    Raises GeometryError for arrays of other shapes or types, fewer than two pairs, sets that are
    all empty, and where M is the same in all pairs: z then has no scale.
    """
    overlaps = pair_overlaps(misclassified_a, misclassified_b, pairs)
    common = overlaps.common
    if common.size < 2:
        raise GeometryError(
            f"{overlaps.runs} runs make {common.size} pair, but sigma_M needs two or more; give "
            "three runs or more (four for independent pairs)."
        )
    if not overlaps.first.any() and not overlaps.second.any():
        raise GeometryError(
            "All sets of misclassified samples are empty, so z is undefined; take an earlier epoch."
        )
    if common.min() == common.max():
        raise GeometryError(
            f"All {common.size} pairs have M = {common[0]:.0f} samples in common, so sigma_M = 0 "
            "and z is undefined; give more runs or another epoch."
        )
    null, std_null = hypergeometric_null(overlaps.first, overlaps.second, overlaps.samples)
    mean, std = float(common.mean()), float(np.std(common, ddof=1))
    z = (mean - null) / std
    return Stability(z, mean, null, std, std_null, common.size, overlaps.runs)


def pair_overlaps(
    misclassified_a: ArrayLike, misclassified_b: ArrayLike | None = None, pairs: str = "all"
) -> PairOverlaps:
    """Sizes and numbers of common samples of the pairs of runs; arguments as ``stability_zscore``.

    Raises GeometryError as it does for shapes and types, and where there is no pair at all.
    """
    if pairs not in PAIRS:
        raise GeometryError(f"pairs is {pairs!r}; valid are: {', '.join(PAIRS)}.")
    a = checked_sets("misclassified_a", misclassified_a)
    b = None if misclassified_b is None else checked_sets("misclassified_b", misclassified_b)
    counts, sizes_a, sizes_b = common_counts(a, b)
    if pairs == "independent":
        step, start = (2, 1) if b is None else (1, 0)
        second = np.arange(start, len(sizes_b), step)
        first = np.arange(0, len(sizes_a), step)[: second.size]
        second = second[: first.size]
    elif b is None:
        first, second = np.triu_indices(len(a), k=1)
    else:
        first, second = (index.ravel() for index in np.indices(counts.shape))
    if not first.size:
        raise GeometryError("Stragglers are compared between two networks; set seeds to 2 or more.")
    runs = len(a) + (0 if b is None else len(b))
    common = counts[first, second]
    return PairOverlaps(sizes_a[first], sizes_b[second], common, a.shape[1], runs)


def common_counts(a: Array, b: Array | None = None) -> tuple[Array, Array, Array]:
    """(|S_i & S_j| (runs_a, runs_b), |S_i| (runs_a,), |S_j| (runs_b,)), float64 but exact.

    One matrix product: float32 is exact up to 2^24 samples, beyond that float64 is used. Without b,
    a is compared with itself.

    Arguments
    ---------
    a, b: (runs, samples) booleans.
    """
    if b is not None and a.shape[1] != b.shape[1]:
        raise GeometryError(
            f"The runs have {a.shape[1]} and {b.shape[1]} samples; only sets of the same training "
            "set compare."
        )
    dtype = np.float32 if a.shape[1] <= EXACT_FLOAT32 else np.float64
    one: Array = a.astype(dtype)
    two: Array = one if b is None else b.astype(dtype)
    counts = (one @ two.T).astype(np.float64)
    sizes = a.sum(axis=1, dtype=np.float64)
    return counts, sizes, sizes if b is None else b.sum(axis=1, dtype=np.float64)


def hypergeometric_null(first: Array, second: Array, samples: int) -> tuple[float, float]:
    """Mean and sd of M^ = |S^_0 & S^_1| for random sets of given sizes, over all pairs.

    For one pair, mean |S_0||S_1|/P and variance |S_0| (|S_1|/P) (1 - |S_1|/P) (P - |S_0|)/(P - 1).
    The sd is that of all draws over all pairs: the mean of the variances plus the variance of the
    means.

    Arguments
    ---------
    first, second: (pairs,) sizes |S_0| and |S_1|. samples: P.
    """
    means = first * second / samples
    variances = means * (1 - second / samples) * (samples - first) / max(samples - 1, 1)
    return float(means.mean()), float(np.sqrt(variances.mean() + means.var()))


def checked_sets(name: str, values: ArrayLike) -> Array:
    """``values`` as booleans (runs, samples); GeometryError naming ``name`` for anything else."""
    try:
        sets = np.asarray(values)
    except ValueError as error:
        raise GeometryError(f"{name} is no array (runs, samples): {error}.") from error
    if sets.ndim != 2 or not sets.size or sets.dtype != np.bool_:
        raise GeometryError(
            f"{name} has shape {sets.shape} and dtype {sets.dtype}; booleans (runs, samples) are "
            "needed (unpack bits with pipeline.analysis.sets.stragglers; of numbers 0 and 1 take "
            ".astype(bool))."
        )
    return sets
