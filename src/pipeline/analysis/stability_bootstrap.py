"""How certain the z-score of Eq. 11 is, by resampling runs: for one collection of sets and along training.

Source: Ciceri et al., arXiv:2303.05161, Methods, "Identity of stragglers"; the bootstrap is ours. The
z-score itself is in ``analysis.stragglers``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline import seeds
from pipeline.analysis.sets import stragglers
from pipeline.analysis.stragglers import checked_sets, common_counts, stability_zscore
from pipeline.errors import GeometryError

RESAMPLES = 1000
TAILS = (0.025, 0.975)
Z_SERIES = ("z", "z_sd", "z_low", "z_high", "z_corrected")
M_SERIES = ("mean_common", "std_common", "mean_null", "std_null")
Array = NDArray[Any]


@dataclass(frozen=True)
class ZscoreInterval:
    """Uncertainty of a z-score over runs: bootstrap sd and 95 % interval, and z without its bias.

    ``corrected`` is the jackknife's value. All are NaN where the runs are too few to be resampled,
    such as 3 (all resamples with a z are then the runs themselves). ``used`` counts the resamples
    that have a z.
    """

    sd: float
    low: float
    high: float
    corrected: float
    used: int


@dataclass(frozen=True)
class StabilityCurve:
    """Eq. 11 at several epochs; arrays are (points,) float64, NaN where z is not defined.

    ``error`` is the mean training error; z_sd, z_low, z_high and z_corrected are those of
    ``bootstrap_zscore``.
    ``maximum`` is the point of the largest z, and ``maximum_error`` the mean error there;
    low and high are the 95 % bootstrap interval of that error. ``undefined`` holds a sentence for
    every point without a z.
    """

    z: Array
    z_sd: Array
    z_low: Array
    z_high: Array
    z_corrected: Array
    error: Array
    mean_common: Array
    std_common: Array
    mean_null: Array
    std_null: Array
    maximum: int
    maximum_error: float
    maximum_low: float
    maximum_high: float
    undefined: tuple[str, ...]


def bootstrap_zscore(
    misclassified_a: ArrayLike,
    misclassified_b: ArrayLike | None = None,
    resamples: int = RESAMPLES,
    *,
    generator: np.random.Generator | None = None,
) -> ZscoreInterval:
    """The uncertainty of ``stability_zscore`` over all pairs: a bootstrap over runs.

    Runs are drawn with replacement (a and b on their own), and z* is taken over the pairs of drawn
    runs, a run paired with itself left out. Resamples in which M is the same in all pairs have no z
    and are left out. Few runs make z too large and z* larger still, so quantiles q of z* are not
    its interval; the basic bootstrap of ln z is: z^2/q_0.975 to z^2/q_0.025, and the sd is that of
    ln z* times z (where z or a z* is not positive, the same without the logarithm). ``corrected``
    takes the bias off ln z by the jackknife over runs, (K - 1) (mean of ln z_(-i) - ln z).

    Arguments
    ---------
    misclassified_a, misclassified_b: as in ``stability_zscore``. generator: a fixed named stream by
    default.

    Raises GeometryError as ``stability_zscore`` does, and where no resample has a z.
    """
    z = stability_zscore(misclassified_a, misclassified_b).z
    a = checked_sets("misclassified_a", misclassified_a)
    b = None if misclassified_b is None else checked_sets("misclassified_b", misclassified_b)
    weights = draw_weights(len(a), None if b is None else len(b), resamples, generator)
    counted = common_counts(a, b)
    drawn = _resampled_z(counted, a.shape[1], *weights)
    return _interval(z, drawn, _left_out_z(counted, a.shape[1], b is not None))


def draw_weights(
    runs_a: int, runs_b: int | None, resamples: int, generator: np.random.Generator | None = None
) -> tuple[Array, Array | None]:
    """How often each run is drawn in each resample: (resamples, runs) for a and, if any, b."""
    if resamples < 1:
        raise GeometryError(f"resamples is {resamples}; it must be 1 or more.")
    random = generator or seeds.generator(0, "stragglers/stability", 0, "analysis")
    weights = [
        random.multinomial(runs, np.full(runs, 1 / runs), size=resamples).astype(np.float64)
        for runs in (runs_a, runs_b)
        if runs is not None
    ]
    return weights[0], weights[1] if len(weights) > 1 else None


def stability_over_epochs(
    bits_a: ArrayLike,
    bits_b: ArrayLike | None,
    samples: int,
    epochs_a: ArrayLike,
    epochs_b: ArrayLike | None = None,
    *,
    pairs: str = "all",
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
) -> StabilityCurve:
    """z of S(t) (Eq. 11) at a list of epochs, against the mean training error (Fig. 2d).

    The same resamples of runs serve all epochs, so the interval of the error at the largest z is
    that of one experiment repeated with other runs. It knows nothing of the spacing of the epochs:
    where z peaks between two of them, the error is known no better than their distance.

    Arguments
    ---------
    bits_a, bits_b: (runs, epochs, bytes) uint8, misclassified samples as numpy.packbits packs them;
        b None compares a with itself.
    samples: number of training samples, P.
    epochs_a, epochs_b: (points,) epoch indices for all runs, or (runs, points), such as the epochs
        at which each run crosses given errors. b's are those of a by default.
    pairs: ``all``, or ``independent`` as in the paper (see ``stability_zscore``), without intervals.

    Raises GeometryError for shapes that do not fit, and where no epoch has a z.
    """
    a, points = np.asarray(bits_a), np.asarray(epochs_a).shape[-1]
    b = None if bits_b is None else np.asarray(bits_b)
    at_a = np.broadcast_to(epochs_a, (len(a), points))
    if b is not None:
        at_b = np.broadcast_to(epochs_a if epochs_b is None else epochs_b, (len(b), points))
    weights = draw_weights(len(a), None if b is None else len(b), resamples, generator)
    series = {name: np.full(points, np.nan) for name in ("error", *Z_SERIES, *M_SERIES)}
    z_of, error_of = np.full((2, points, resamples), np.nan)
    undefined = []
    for point in range(points):
        one = stragglers(a, at_a[:, point], samples)
        two = None if b is None else stragglers(b, at_b[:, point], samples)
        sizes = np.concatenate([one, one[:0] if two is None else two]).sum(axis=1)
        drawn = np.concatenate([part for part in weights if part is not None], axis=1)
        series["error"][point] = sizes.mean() / samples
        error_of[point] = drawn @ sizes / drawn.sum(axis=1) / samples
        try:
            found = stability_zscore(one, two, pairs)
        except GeometryError as error:
            undefined.append(f"Point {point}: {error}")
            continue
        for name in M_SERIES:
            series[name][point] = getattr(found, name)
        if pairs != "all":
            series["z"][point] = found.z
            continue
        counted = common_counts(one, two)
        z_of[point] = _resampled_z(counted, samples, *weights)
        spread = _interval(found.z, z_of[point], _left_out_z(counted, samples, two is not None))
        values = (found.z, spread.sd, spread.low, spread.high, spread.corrected)
        for name, value in zip(Z_SERIES, values, strict=True):
            series[name][point] = value
    if len(undefined) == points:
        raise GeometryError(f"No epoch has a z-score; the first: {undefined[0]}")
    maximum = int(np.nanargmax(series["z"]))
    some = ~np.isnan(z_of).all(axis=0)
    low = high = np.nan
    if some.any():
        best = np.nanargmax(z_of[:, some], axis=0)
        low, high = np.quantile(error_of[:, some][best, np.arange(best.size)], TAILS)
    return StabilityCurve(
        **series,
        maximum=maximum,
        maximum_error=float(series["error"][maximum]),
        maximum_low=float(low),
        maximum_high=float(high),
        undefined=tuple(undefined),
    )


def _resampled_z(
    counted: Sequence[Array], samples: int, weights_a: Array, weights_b: Array | None
) -> Array:
    """z of each resample (resamples,), from the counts of all pairs; NaN where M never differs.

    A run drawn w_i times and another drawn w_j times make w_i w_j pairs. Counts are taken relative
    to an integer, so all sums are exact and a sigma_M of 0 is exactly that.
    """
    counts, sizes_a, sizes_b = counted
    pairs = np.ones_like(counts) if weights_b is not None else 1 - np.eye(len(counts))
    twice = 1 if weights_b is not None else 2  # unordered pairs appear twice in the matrix
    other = weights_a if weights_b is None else weights_b

    def total(values: Array) -> Array:
        return np.sum((weights_a @ (pairs * values)) * other, axis=1) / twice

    centre = np.rint(counts.mean())
    n = total(np.ones_like(counts))
    first, second = total(counts - centre), total((counts - centre) ** 2)
    null = total(np.outer(sizes_a, sizes_b) / samples)
    scatter = n * second - first**2
    enough = (n > 1) & (scatter > 0)
    n, scatter = np.where(enough, n, 2), np.where(enough, scatter, 1)
    sigma = np.sqrt(scatter / (n * (n - 1)))
    return np.where(enough, ((first - null) / n + centre) / sigma, np.nan)


def _left_out_z(counted: Sequence[Array], samples: int, two_sets: bool) -> list[Array]:
    """z without one run at a time: an array over the runs of a, and one over those of b if any."""
    runs_a, runs_b = counted[0].shape
    if not two_sets:
        return [_resampled_z(counted, samples, 1 - np.eye(runs_a), None)]
    return [
        _resampled_z(counted, samples, 1 - np.eye(runs_a), np.ones((runs_a, runs_b))),
        _resampled_z(counted, samples, np.ones((runs_b, runs_a)), 1 - np.eye(runs_b)),
    ]


def _interval(z: float, drawn: Array, left_out: list[Array]) -> ZscoreInterval:
    kept = drawn[~np.isnan(drawn)]
    if kept.size < 2:
        raise GeometryError(
            f"Only {kept.size} of {drawn.size} resamples of the runs have a z-score; give more "
            "runs or resamples."
        )
    if np.ptp(kept) <= 1e-9 * np.abs(kept).max():  # any difference is rounding
        return ZscoreInterval(np.nan, np.nan, np.nan, np.nan, kept.size)
    positive = z > 0 and all((part > 0).all() for part in (kept, *(p[p == p] for p in left_out)))
    scale, back = (np.log, np.exp) if positive else (np.asarray, np.asarray)
    centre, drawn = scale(z), scale(kept)
    high, low = back(2 * centre - np.quantile(drawn, TAILS))
    bias = sum((part.size - 1) * np.mean(scale(part) - centre) for part in left_out)
    sd = np.std(drawn, ddof=1) * (z if positive else 1)
    return ZscoreInterval(float(sd), float(low), float(high), float(back(centre - bias)), kept.size)
