"""What the stragglers paper (arXiv:2303.05161) says about initial weights and layers, measured.

Methods, "Models and training" (He and Xavier weights), and Discussion (the variance of the initial
weights; limitation ii). The paper gives no numbers; functions as in ``data_sets``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.claims.measurement import (
    Measurement,
    NotMeasurable,
    any_substituted,
    difference_measurement,
    mean_measurement,
    share_measurement,
)
from pipeline.claims.stragglers.dynamics import largest_difference
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs

MAJORITY = 0.5  # a run has a minimum if this share of its networks invert in R+
LAYER_POINTS = 200  # epochs, evenly on a logarithmic axis, at which layers are compared
Array = NDArray[np.float64]


# --- initial weights -----------------------------------------------------------------------------


def init_invariance(data: RunGroups) -> Measurement:
    """Largest |phi of an initialisation - phi of the uniform one|; the paper: no change."""
    runs = all_runs(data)
    reference = _uniform(runs)
    phis = {run.name: run.inversion["phi"].values.astype(np.float64) for run in runs}
    if len(phis) < 2:
        raise PipelineError("init_invariance compares initialisations; give runs of two or more.")
    return largest_difference(data, phis, reference.name)


def variance_keeps_phi(data: RunGroups) -> Measurement:
    """Largest |phi of a variance - phi of uniform initial weights| while the minimum exists.

    Over the variances at which at least half of the networks invert in R+, and over these networks;
    the paper: phi is unchanged.
    """
    runs = all_runs(data)
    reference = _uniform(runs)
    phis = {reference.name: _phi_where_inverting(reference)}
    phis |= {run.name: _phi_where_inverting(run) for run in _with_minimum(data)}
    if not phis[reference.name].size or len(phis) < 2:
        raise NotMeasurable("no network inverts in R+ in one of the two runs compared")
    return largest_difference(data, phis, reference.name)


def variance_raises_radius(data: RunGroups) -> Measurement:
    """Smallest R+ at the largest variance minus that at the smallest; the paper: towards 1."""
    runs = _by_variance(data)
    if len(runs) < 2:
        raise NotMeasurable("one variance of the initial weights only: nothing to compare")
    first, last = (run.curves("radius_plus").min(axis=1) for run in (runs[0], runs[-1]))
    note = f"{_variance_text(runs[-1])}: {last.mean():.4f}; {_variance_text(runs[0])}: {first.mean():.4f}"
    return difference_measurement(last, first, any_substituted(data), note)


def variance_makes_shallower(data: RunGroups) -> Measurement:
    """Depth of the minimum, R+ at the end minus R+ at t*: largest variance minus smallest.

    Among the variances at which at least half of the networks invert in R+; the paper: shallower,
    so below 0.
    """
    runs = _with_minimum(data)
    if len(runs) < 2:
        raise NotMeasurable(f"{len(runs)} of the variances have a minimum of R+; two are needed")
    depths = []
    for run in (runs[-1], runs[0]):
        radius = run.curves("radius_plus")
        depths.append(radius[:, -1] - radius.min(axis=1))
    note = (
        f"{_variance_text(runs[-1])}: {depths[0].mean():.4f}; "
        f"{_variance_text(runs[0])}: {depths[1].mean():.4f}"
    )
    return difference_measurement(depths[0], depths[1], any_substituted(data), note)


def variance_removes_minimum(data: RunGroups) -> Measurement:
    """Share of the networks that invert in R+ at the largest variance, far above 1/H; the paper: 0."""
    run = _by_variance(data)[-1]
    inverts = run.inversion["inverts_plus"].values.astype(bool)
    return share_measurement(inverts, any_substituted(data), _variance_text(run))


def _uniform(runs: list[Run]) -> Run:
    found = [run for run in runs if run.config["init"] == "uniform"]
    if len(found) != 1:
        raise PipelineError(
            f"{len(found)} runs with uniform initial weights were given ({len(runs)} runs in all); "
            "one is needed to compare with."
        )
    return found[0]


def _by_variance(data: RunGroups) -> list[Run]:
    runs = [run for run in all_runs(data) if run.config["init"] == "normal"]
    if not runs:
        raise PipelineError("No run with normal initial weights was given; its init is normal.")
    return sorted(runs, key=lambda run: float(run.config["init_variance"]))


def _with_minimum(data: RunGroups) -> list[Run]:
    return [
        run
        for run in _by_variance(data)
        if float(run.inversion["inverts_plus"].values.mean()) >= MAJORITY
    ]


def _phi_where_inverting(run: Run) -> Array:
    inverts = run.inversion["inverts_plus"].values.astype(bool)
    return run.inversion["phi"].values[inverts].astype(np.float64)


def _variance_text(run: Run) -> str:
    variance = float(run.config["init_variance"])
    return f"variance {variance:g} = {variance * int(run.config['width']):g} / H"


# --- layers --------------------------------------------------------------------------------------


def layers_differ(data: RunGroups) -> Measurement:
    """c_2 - c_L, c_l the correlation of R+ at layer l with R+ at layer 1 over training.

    Pearson's correlation of one network's curves over epochs that are even on a logarithmic axis.
    L is the last hidden layer. The paper: immediately downstream layers are not dissimilar,
    those near the output are different, so above 0.
    """
    run = all_runs(data)[0]
    layers = [int(layer) for layer in run.trajectories["layer"].values]
    if len(layers) < 3:
        raise NotMeasurable(f"run {run.name} recorded {len(layers)} layers; three are needed")
    last = run.trajectories.sizes["epoch"] - 1
    even = np.geomspace(1, max(last, 1), LAYER_POINTS).round().astype(int)
    epochs = np.unique(np.concatenate([[0], even])).clip(max=last)
    curves = np.stack([run.curves("radius_plus", layer)[:, epochs] for layer in layers])
    correlations = _correlation(curves[0], curves[1:], run)
    note = "mean correlation with layer 1: " + ", ".join(
        f"layer {layer} {one.mean():.3f}"
        for layer, one in zip(layers[1:], correlations, strict=True)
    )
    return mean_measurement(correlations[0] - correlations[-1], any_substituted(data), note)


def _correlation(first: Array, others: Array, run: Run) -> Array:
    """Pearson's correlation over the last axis: (seed, epoch) with (layer, seed, epoch)."""
    a, b = (x - x.mean(axis=-1, keepdims=True) for x in (first, others))
    norms = np.sqrt(np.sum(a**2, axis=-1) * np.sum(b**2, axis=-1))
    if not norms.all():
        raise NotMeasurable(f"R+ of a layer of run {run.name} never changes: no correlation")
    return np.sum(a * b, axis=-1) / norms
