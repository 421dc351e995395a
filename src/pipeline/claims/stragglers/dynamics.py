"""What the stragglers paper (arXiv:2303.05161) states about its Fig. 1, measured.

Each function takes the runs of a claim, by group, and returns a Measurement. Statistics are taken
per network at the first hidden layer recorded, then averaged; which side of which threshold agrees
with the paper is said in config/stragglers.yaml.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.inversion import misclassified_at
from pipeline.analysis.stragglers import PairOverlaps, hypergeometric_null, pair_overlaps
from pipeline.claims.measurement import CONFIDENCE, Measurement, mean_measurement
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs
from pipeline.seeds import generator

RESAMPLES = 2000
EPOCH_OF = {
    "radius_plus": "epoch_plus",
    "radius_minus": "epoch_minus",
    "distance": "epoch_distance",
}
Array = NDArray[np.float64]


# --- Fig. 1a: before and after training ----------------------------------------------------------


def training_compacts_radius_plus(data: RunGroups) -> Measurement:
    """R+ at the last epoch minus R+ at initialisation; the paper: below 0."""
    return _change(data, "radius_plus", -1)


def training_compacts_radius_minus(data: RunGroups) -> Measurement:
    """R- at the last epoch minus R- at initialisation; the paper: below 0."""
    return _change(data, "radius_minus", -1)


def training_separates(data: RunGroups) -> Measurement:
    """D at the last epoch minus D at initialisation; the paper: above 0."""
    return _change(data, "distance", 1)


def _change(data: RunGroups, metric: str, sign: int) -> Measurement:
    changes = _per_seed(data, lambda run: np.diff(run.curves(metric)[:, [0, -1]])[:, 0])
    claimed = int(np.sum(sign * changes > 0))
    word = "larger" if sign > 0 else "smaller"
    note = f"{word} after training in {claimed} of {changes.size} networks"
    return mean_measurement(changes, _substituted(data), note)


# --- Fig. 1b: the inversion ----------------------------------------------------------------------


def inversion_epoch(data: RunGroups) -> Measurement:
    """Mean of t*_R+, t*_R- and t*_D (Eq. 10) of each network, in epochs; the paper: 30 to 40."""
    epochs = {name: _found(data, name) for name in EPOCH_OF.values()}
    note = "means: " + ", ".join(
        f"{symbol} {values.mean():.1f}"
        for symbol, values in zip(("R+", "R-", "D"), epochs.values(), strict=True)
    )
    return mean_measurement(np.mean(list(epochs.values()), axis=0), _substituted(data), note)


def straggler_count(data: RunGroups) -> Measurement:
    """|S(t*_R+)|, the number of training samples misclassified at the inversion of R+ (Eq. 2)."""
    return mean_measurement(_found(data, "stragglers"), _substituted(data), "at t* of R+")


def straggler_overlap(data: RunGroups) -> Measurement:
    """M = |S_0 & S_1|, stragglers in common, over all pairs of networks, each at its own t*_R+.

    The paper draws 10,000 independent pairs; all pairs of K networks have the same mean and nearly
    the same standard deviation, but are not independent, so there is no interval and n counts
    networks.
    """
    overlaps = _overlaps(data)
    return _pair_measurement(data, overlaps.common, overlaps)


def straggler_overlap_null(data: RunGroups) -> Measurement:
    """Common samples of two random sets of the stragglers' sizes: mean |S_0| |S_1| / P.

    The number is hypergeometric; its sd is that of all draws over all pairs
    (``analysis.stragglers.hypergeometric_null``).
    """
    overlaps = _overlaps(data)
    mean, spread = hypergeometric_null(overlaps.first, overlaps.second, overlaps.samples)
    note = f"computed, not drawn, for {overlaps.common.size} pairs"
    return Measurement(mean, spread, overlaps.runs, None, _substituted(data), note)


def conserved_share(data: RunGroups) -> Measurement:
    """M / |S|: overlap of two networks' stragglers over the mean size of the two sets."""
    overlaps = _overlaps(data)
    mean_size = (overlaps.first + overlaps.second) / 2
    if not mean_size.all():
        raise PipelineError(
            "Two networks have no stragglers (nothing is misclassified at t*), so the share that they "
            "have in common is not defined; train fewer epochs or on more samples."
        )
    return _pair_measurement(data, overlaps.common / mean_size, overlaps)


def _overlaps(data: RunGroups) -> PairOverlaps:
    """Sizes and overlaps of the stragglers of all pairs of networks, each at its own t*_R+."""
    samples = _samples(data)
    sets = [
        misclassified_at(run.trajectories, run.inversion["epoch_plus"].values, samples)
        for run in all_runs(data)
    ]
    return pair_overlaps(np.concatenate(sets))


def _pair_measurement(data: RunGroups, values: Array, overlaps: PairOverlaps) -> Measurement:
    spread = float(np.std(values, ddof=1)) if values.size > 1 else None
    mean_size = np.mean([overlaps.first, overlaps.second])
    note = (
        f"all {values.size} pairs of {overlaps.runs} networks (pairs are not independent), sets of "
        f"{mean_size:.0f} samples at t* of R+"
    )
    return Measurement(float(values.mean()), spread, overlaps.runs, None, _substituted(data), note)


def _samples(data: RunGroups) -> int:
    sizes = {int(run.config["samples"]) for run in all_runs(data)}
    if len(sizes) > 1:
        raise PipelineError(
            f"Stragglers of training sets of different sizes ({sorted(sizes)}) do not compare."
        )
    return sizes.pop()


def radius_plus_not_back(data: RunGroups) -> Measurement:
    """Largest R+ from t*_R+ on, relative to R+ at initialisation; the paper: below 1."""
    return _way_back(data, "radius_plus")


def radius_minus_not_back(data: RunGroups) -> Measurement:
    """Largest R- from t*_R- on, relative to R- at initialisation; the paper: below 1."""
    return _way_back(data, "radius_minus")


def distance_not_back(data: RunGroups) -> Measurement:
    """Smallest D from t*_D on, relative to D at initialisation; the paper: above 1."""
    return _way_back(data, "distance")


def _way_back(data: RunGroups, metric: str) -> Measurement:
    furthest = np.min if metric == "distance" else np.max

    def ratios(run: Run) -> Array:
        curves = run.curves(metric)
        epochs = _epoch_index(run, EPOCH_OF[metric])
        ends = [furthest(one[t:]) for one, t in zip(curves, epochs, strict=True)]
        return np.array(ends) / curves[:, 0]

    values = _per_seed(data, ratios)
    back = int(np.sum(values <= 1 if metric == "distance" else values >= 1))
    note = f"{back} of {values.size} networks come back to their initial value"
    return mean_measurement(values, _substituted(data), note)


# --- Figs. 1c, 1d: phi does not depend on the block or the optimiser -----------------------------


def block_invariance(data: RunGroups) -> Measurement:
    """Largest |phi of a block - mean phi of all blocks|; the paper: small.

    phi of a block is its mean over networks. The 95 % interval is a percentile bootstrap over the
    networks within each block; the spread is the sd of phi over networks within a block.
    """
    phis = _phis(data)
    if len(phis) < 2:
        raise PipelineError("block_invariance compares blocks; give runs of two blocks or more.")
    return largest_difference(data, phis, None)


def optimizer_invariance(data: RunGroups) -> Measurement:
    """Largest |phi of an optimiser - phi of plain gradient descent|; the paper: small.

    Plain gradient descent is the run without momentum and weight decay. Interval and spread as in
    ``block_invariance``.
    """
    plain = [
        run.name
        for run in all_runs(data)
        if run.config["optimizer"] == "gd"
        and not run.config["momentum"]
        and not run.config["weight_decay"]
    ]
    phis = _phis(data)
    if len(plain) != 1 or len(phis) < 2:
        raise PipelineError(
            "optimizer_invariance needs one run of plain gradient descent and at least one other; "
            f"given are {', '.join(phis)}."
        )
    return largest_difference(data, phis, plain[0])


def _phis(data: RunGroups) -> dict[str, Array]:
    return {run.name: run.inversion["phi"].values.astype(float) for run in all_runs(data)}


def largest_difference(
    data: RunGroups, phis: dict[str, Array], reference: str | None
) -> Measurement:
    """Largest |mean phi of a run - that of the reference run| (None: mean over the runs)."""
    names = list(phis)
    centre = None if reference is None else names.index(reference)

    def statistic(means: Array) -> Array:  # (runs, ...) -> (...)
        middle = means.mean(axis=0) if centre is None else means[centre]
        return np.abs(means - middle).max(axis=0)

    random = generator(0, "stragglers/claims", 0, "analysis")
    resampled = np.stack(
        [
            values[random.integers(values.size, size=(RESAMPLES, values.size))].mean(axis=1)
            for values in phis.values()
        ]
    )
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(resampled), [tail, 1 - tail])
    means = np.array([values.mean() for values in phis.values()])
    n = min(values.size for values in phis.values())
    spread = None
    if n > 1:
        spread = float(np.sqrt(np.mean([values.var(ddof=1) for values in phis.values()])))
    note = "phi: " + ", ".join(
        f"{name} {mean:.4f}" for name, mean in zip(names, means, strict=True)
    )
    interval = (float(low), float(high)) if n > 1 else None
    return Measurement(float(statistic(means)), spread, n, interval, _substituted(data), note)


# --- Figs. 1e, 1f: random labels -----------------------------------------------------------------


def random_labels_radius_plus_constant(data: RunGroups) -> Measurement:
    """(largest - smallest R+ over the epochs) / R+ at initialisation; the paper: small."""
    return _relative_range(data, "radius_plus")


def random_labels_radius_minus_constant(data: RunGroups) -> Measurement:
    """(largest - smallest R- over the epochs) / R- at initialisation; the paper: small."""
    return _relative_range(data, "radius_minus")


def _relative_range(data: RunGroups, metric: str) -> Measurement:
    def ranges(run: Run) -> Array:
        curves = run.curves(metric)
        return (curves.max(axis=1) - curves.min(axis=1)) / curves[:, 0]

    return mean_measurement(_per_seed(data, ranges), _substituted(data))


def random_labels_distance_rises(data: RunGroups) -> Measurement:
    """Spearman's rank correlation of D with the epoch; the paper: near 1, a monotonic rise."""

    def correlations(run: Run) -> Array:
        from scipy.stats import rankdata

        ranks = rankdata(run.curves("distance"), axis=1)
        ranks = ranks - ranks.mean(axis=1, keepdims=True)
        steps = np.arange(ranks.shape[1]) - (ranks.shape[1] - 1) / 2
        norms = np.sqrt(np.sum(ranks**2, axis=1) * np.sum(steps**2))
        if not norms.all():
            raise PipelineError(f"D of run {run.name} never changes: no rank correlation.")
        return ranks @ steps / norms

    return mean_measurement(_per_seed(data, correlations), _substituted(data))


# --- common --------------------------------------------------------------------------------------


def _per_seed(data: RunGroups, statistic: Callable[[Run], Array]) -> Array:
    return np.concatenate([statistic(run) for run in all_runs(data)])


def _found(data: RunGroups, name: str) -> Array:
    return _per_seed(data, lambda run: run.inversion[name].values.astype(np.float64))


def _epoch_index(run: Run, name: str) -> NDArray[np.int64]:
    return np.searchsorted(run.trajectories["epoch"].values, run.inversion[name].values)


def _substituted(data: RunGroups) -> bool:
    return any(run.substituted for run in all_runs(data))
