"""What the stragglers paper (arXiv:2303.05161) states about Figs. 2a-2c and their repetitions, measured.

Networks are compared seed by seed: seed s of a pruned run starts from the same initial weights as seed
s of the run on all samples T. Metrics are taken at the first hidden layer recorded. The functions do not
know which runs are meant; the same ones serve the regimes of Supplementary Fig. 2 and the convolutional
networks of Supplementary Fig. 6. Thresholds are in config/stragglers.yaml.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.pruning import (
    PruningExperiment,
    at_seeds,
    inversion_error,
    noisy_test_errors_of,
    of_seeds,
    pruning_experiment,
    seeds_of,
    shared_seeds,
)
from pipeline.claims.measurement import (
    Measurement,
    NotMeasurable,
    bootstrap_measurement,
    mean_measurement,
    share_measurement,
)
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups, all_runs

LEAST_POINTS = 2  # a range needs so many values of eps on each side of phi
Array = NDArray[np.float64]


# --- Fig. 2a: training without S(t) ---------------------------------------------------------------


def pruned_runs_that_invert(data: RunGroups) -> Measurement:
    """Number of networks trained without S(t*) whose R+ inverts (``inverts_plus``); the paper: 0.

    The interval is the exact one of the share (Clopper-Pearson) times the number of networks.
    """
    run = _one(pruning_experiment(data).removed("inversion"), "without S(t*)")
    inverts = run.inversion["inverts_plus"].values
    share = share_measurement(inverts, _substituted(data), "R+ inverts without S(t*)")
    low, high = share.interval or (0.0, 1.0)
    n = share.n
    return Measurement(share.value * n, None, n, (low * n, high * n), share.substituted, share.note)


def removal_kills_inversion(data: RunGroups) -> Measurement:
    """Share of networks whose R+ inverts with all samples but not without S(t*)."""
    experiment = pruning_experiment(data)
    run = _one(experiment.removed("inversion"), "without S(t*)")
    return _killed(data, experiment, [run])


def earlier_removal_kills_inversion(data: RunGroups) -> Measurement:
    """Share of networks whose R+ inverts with all samples but not without S(t), t < t*."""
    experiment = pruning_experiment(data)
    return _killed(data, experiment, experiment.removed("before"))


def later_removal_keeps_inversion(data: RunGroups) -> Measurement:
    """Share of networks whose R+ inverts with all samples and also without S(t), t > t*."""
    experiment = pruning_experiment(data)
    return _kept(data, experiment, experiment.removed("after"))


def random_removal_keeps_inversion(data: RunGroups) -> Measurement:
    """Share of networks whose R+ inverts with all samples and also without random sets."""
    experiment = pruning_experiment(data)
    return _kept(data, experiment, experiment.control)


def _killed(data: RunGroups, experiment: PruningExperiment, runs: list[Run]) -> Measurement:
    before, after = _inverts(experiment, runs)
    return share_measurement(before & ~after, _substituted(data), _names(runs))


def _kept(data: RunGroups, experiment: PruningExperiment, runs: list[Run]) -> Measurement:
    before, after = _inverts(experiment, runs)
    return share_measurement(before & after, _substituted(data), _names(runs))


def _inverts(
    experiment: PruningExperiment, runs: list[Run]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether R+ of each shared seed inverts with all samples, and in each of the runs."""
    full = experiment.source()
    seeds = shared_seeds(full, _one(runs, "without S(t) of the epochs asked for"), *runs[1:])
    before = of_seeds(full, full.inversion["inverts_plus"].values, seeds)
    after = [of_seeds(run, run.inversion["inverts_plus"].values, seeds) for run in runs]
    return before, np.any(after, axis=0)


def expansion_left_radius_plus(data: RunGroups) -> Measurement:
    """Rise of R+ after its minimum without S(t*), relative to that with all samples.

    Means over networks of each, over the same epochs; 95 % bootstrap over networks. 0 where R+
    decreases monotonically, 1 where the removal changes nothing.
    """
    return _expansion_left(data, "radius_plus", 1)


def expansion_left_distance(data: RunGroups) -> Measurement:
    """Fall of D after its maximum without S(t*), relative to that with all samples."""
    return _expansion_left(data, "distance", -1)


def _expansion_left(data: RunGroups, metric: str, sign: int) -> Measurement:
    experiment = pruning_experiment(data)
    full, run = experiment.source(), _one(experiment.removed("inversion"), "without S(t*)")
    seeds = shared_seeds(full, run)
    curves = [of_seeds(one, sign * one.curves(metric), seeds) for one in (full, run)]
    epochs = min(one.shape[1] for one in curves)
    before, after = (way_back(one[:, :epochs]) for one in curves)
    note = f"rises of {before.mean():.4f} with all samples, {after.mean():.4f} in {run.name}"
    return _ratio(after, before, _substituted(data), note)


def way_back(curves: Array) -> Array:
    """How far each curve (seeds, epochs) rises after its minimum, (seeds,)."""
    lowest = np.argmin(curves, axis=1)
    ends = [one[t:].max() - one[t] for one, t in zip(curves, lowest, strict=True)]
    return np.array(ends)


def random_removal_effect(data: RunGroups) -> Measurement:
    """Change of R+ by leaving out random sets, relative to that by leaving out S(t*).

    |mean change| at the last epoch that all have, for seeds that all have; bootstrap over networks.
    """
    experiment = pruning_experiment(data)
    full, run = experiment.source(), _one(experiment.removed("inversion"), "without S(t*)")
    control = _one(experiment.control, "without random sets")
    seeds = shared_seeds(full, run, control)
    curves = [of_seeds(one, one.curves("radius_plus"), seeds) for one in (full, run, control)]
    last = min(one.shape[1] for one in curves) - 1
    whole, pruned, random = (one[:, last] for one in curves)
    note = f"at epoch {last}: {np.mean(random - whole):+.4f} against {np.mean(pruned - whole):+.4f}"

    def statistic(weights: Array) -> float:
        effect = abs(weights @ (pruned - whole))
        return float(abs(weights @ (random - whole)) / effect) if effect else np.nan

    return bootstrap_measurement(statistic, seeds.size, _substituted(data), note)


# --- Fig. 2b: geometry at convergence -------------------------------------------------------------


def geometry_independent_above_phi(data: RunGroups) -> Measurement:
    """Range of a metric at the last epoch over eps > phi, relative to its range over eps < phi.

    The largest such ratio of R+, R- and D, each averaged over networks; below phi the run on all
    samples counts as one more point, eps = 0. Bootstrap over networks.

    Raises NotMeasurable with fewer than two values of eps on either side of phi.
    """
    experiment = pruning_experiment(data)
    full = experiment.source()
    phi = float(inversion_error(full).mean())
    runs = [full, *experiment.sweep]
    above = np.array([(run.config.get("prune_error") or 0.0) > phi for run in runs])
    if min(above.sum(), (~above).sum()) < LEAST_POINTS:
        raise NotMeasurable(
            f"The geometry on both sides of phi = {phi:.4f} needs two sets S(t(eps)) above it and one "
            f"below; the sweep has {above.sum()} and {(~above).sum() - 1}."
        )
    seeds = _swept_seeds(experiment.sweep)
    ends = [
        np.stack([at_seeds(run, run.curves(metric)[:, -1], seeds) for run in runs])
        for metric in METRICS
    ]

    def ratios(weights: Array) -> Array:
        means = [_weighted_means(values, weights) for values in ends]
        return np.array([np.ptp(one[above]) / _extent(one[~above]) for one in means])

    found = ratios(np.ones(seeds.size))
    named = zip(("R+", "R-", "D"), found, strict=True)
    note = "ratios: " + ", ".join(f"{name} {ratio:.3f}" for name, ratio in named)
    substituted = _substituted(data)
    return bootstrap_measurement(lambda w: float(ratios(w).max()), seeds.size, substituted, note)


def _extent(values: Array) -> float:
    """The range of some values; NaN for none, as nothing compares with it."""
    extent = float(np.ptp(values))
    return extent if extent > 0 else float("nan")


# --- Fig. 2c: test errors -------------------------------------------------------------------------


def any_removal_raises_test_error(data: RunGroups) -> Measurement:
    """Smallest over eps of the mean change of the clean test error by leaving out S(t(eps)).

    Test errors are those of the noise analysis at its smallest sigma; bootstrap over networks.
    """
    experiment = pruning_experiment(data)
    changes = _test_error_changes(data, experiment, experiment.sweep, 0)
    means = _weighted_means(changes, np.ones(changes.shape[1]))
    eps = [run.config["prune_error"] for run in experiment.sweep]
    note = f"smallest at eps = {eps[int(np.argmin(means))]:g}, mean over eps {means.mean():+.4f}"
    return bootstrap_measurement(
        lambda weights: float(_weighted_means(changes, weights).min()),
        changes.shape[1],
        _substituted(data),
        note,
    )


def random_test_error_change(data: RunGroups) -> Measurement:
    """Change of the clean test error by leaving out random sets, relative to that by S(t(eps)).

    Both summed over the values of eps that both sweeps have; bootstrap over networks.
    """
    experiment = pruning_experiment(data)
    shared = {run.config["prune_error"] for run in experiment.sweep_control}
    runs = [run for run in experiment.sweep if run.config["prune_error"] in shared]
    kept = {run.config["prune_error"] for run in runs}
    controls = [run for run in experiment.sweep_control if run.config["prune_error"] in kept]
    seeds = _swept_seeds([*runs, *controls])
    changes = _test_error_changes(data, experiment, runs, 0, seeds)
    random = _test_error_changes(data, experiment, controls, 0, seeds)

    def statistic(weights: Array) -> float:
        rise = _weighted_means(changes, weights).sum()
        return float(_weighted_means(random, weights).sum() / rise) if rise > 0 else np.nan

    note = (
        f"mean changes {np.nanmean(random):+.4f} (random) and {np.nanmean(changes):+.4f}, over "
        f"{len(runs)} values of eps"
    )
    return bootstrap_measurement(statistic, seeds.size, _substituted(data), note)


def removal_lowers_noisy_test_error(data: RunGroups) -> Measurement:
    """Change of the test error at the largest sigma by leaving out S(t(eps)), eps nearest to phi."""
    experiment = pruning_experiment(data)
    run = nearest_to_phi(experiment)
    changes = _test_error_changes(data, experiment, [run], -1)[0]
    changes = changes[np.isfinite(changes)]
    sigmas, _ = _noisy(data, run)
    note = (
        f"sigma = {sigmas[-1]:g}, eps = {run.config['prune_error']:.3g}; lower in "
        f"{int(np.sum(changes < 0))} of {changes.size} networks"
    )
    return mean_measurement(changes, _substituted(data), note)


def nearest_to_phi(experiment: PruningExperiment) -> Run:
    """The run of the sweep whose eps is nearest to phi, in the logarithm."""
    _one(experiment.sweep, "without S(t(eps))")
    phi = float(inversion_error(experiment.source()).mean())
    if phi <= 0:
        raise NotMeasurable("phi is 0: no sample is misclassified at the inversion.")
    return min(
        experiment.sweep, key=lambda run: abs(np.log(float(run.config["prune_error"]) / phi))
    )


def _test_error_changes(
    data: RunGroups,
    experiment: PruningExperiment,
    runs: list[Run],
    sigma: int,
    seeds: NDArray[np.int64] | None = None,
) -> Array:
    """(runs, seeds): test error of each run minus that on all samples, by the index of sigma.

    NaN where a network was not evaluated; seeds that no run has are left out.
    """
    seeds = _swept_seeds(runs) if seeds is None else seeds
    full = experiment.source()
    before = at_seeds(full, _noisy(data, full)[1][:, sigma], seeds)
    after = np.stack([at_seeds(run, _noisy(data, run)[1][:, sigma], seeds) for run in runs])
    changes = after - before
    empty = [run.name for run, row in zip(runs, changes, strict=True) if np.isnan(row).all()]
    if empty:
        raise NotMeasurable(
            f"The test errors of {', '.join(empty)} belong to no network of {full.name} whose test "
            "errors are known."
        )
    return changes


def _noisy(data: RunGroups, run: Run) -> tuple[Array, Array]:
    found = noisy_test_errors_of(data, run)
    if found is None:
        raise NotMeasurable(f"No analysis holds test errors of the run {run.name} on noisy tests.")
    return found


# --- common ---------------------------------------------------------------------------------------


def _swept_seeds(runs: list[Run]) -> NDArray[np.int64]:
    _one(runs, "of a sweep of eps")
    return np.unique(np.concatenate([seeds_of(run) for run in runs]))


def _weighted_means(values: Array, weights: Array) -> Array:
    """Means over networks of (points, networks), NaN left out; NaN where a point has none."""
    there = np.isfinite(values)
    counts = there @ weights
    sums = np.where(there, values, 0.0) @ weights
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _ratio(after: Array, before: Array, substituted: bool, note: str) -> Measurement:
    """Mean of ``after`` over mean of ``before``, both (networks,), with a bootstrap over networks."""

    def statistic(weights: Array) -> float:
        whole = float(weights @ before)
        return float(weights @ after) / whole if whole > 0 else float("nan")

    return bootstrap_measurement(statistic, before.size, substituted, note)


def _one(runs: list[Run], what: str) -> Run:
    if not runs:
        raise NotMeasurable(f"No run {what} is among the runs of this claim at this scale.")
    return runs[0]


def _names(runs: list[Run]) -> str:
    return ", ".join(run.name for run in runs)


def _substituted(data: RunGroups) -> bool:
    return any(run.substituted for run in all_runs(data))
