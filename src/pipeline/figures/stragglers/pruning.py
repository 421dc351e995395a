"""Figure 2 and Supplementary Figure 3 of the stragglers paper (arXiv:2303.05161).

Training without stragglers S(t*), the samples misclassified at the inversion, and how well the sets S(t)
are conserved between networks. Radii and distance have no units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.pruning import (
    PruningExperiment,
    inversion_error,
    noisy_test_errors_of,
    pruning_experiments,
)
from pipeline.figures import style
from pipeline.figures.curves import mean_sd, missing_text, moments
from pipeline.figures.save import FigureResult
from pipeline.figures.stragglers.data_sets import dataset_looks
from pipeline.figures.stragglers.pruning_panels import (
    CONVERGENCE_KEY,
    NOISE_KEY,
    REMOVAL_KEY,
    SYMBOLS,
    convergence_panel,
    error_band,
    legend_below,
    noise_panel,
    removal_panel,
    removal_text,
    sweep_errors,
)
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = NDArray[np.float64]


def fig2a(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 2a: R+ against the epoch with all samples, without S(t*), S(100), S(10), random sets.

    Blue: all samples, mean ± 2 sd; pink: every network without S(t*); grey: means without S(t) of
    other epochs; dashed: mean without random sets of the stragglers' sizes.
    """
    fig = style.new_figure(style.COLUMN, 3.6)
    axes = fig.subplots()
    experiment = first_experiment(data)
    table = removal_panel(axes, experiment)
    legend_below(fig, [axes], 2)
    summary = f"{removal_text(experiment)} (mean ± sd). {REMOVAL_KEY}"
    return FigureResult(fig, table, summary + missing_text(data))


def fig2b(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 2b: R+, R- (top) and D (bottom) at the last epoch without S(t(eps)), against eps."""
    fig = style.new_figure(style.COLUMN, 4.0)
    top, bottom = fig.subplots(2, 1, sharex=True)
    experiment = first_experiment(data)
    tables = [
        convergence_panel(top, experiment, ("radius_plus", "radius_minus")),
        convergence_panel(bottom, experiment, ("distance",)),
    ]
    top.set(xlabel="", ylabel="radius")
    bottom.set_ylabel("distance $D$")
    legend_below(fig, [top, bottom], 3)
    table = pd.concat(tables, ignore_index=True)
    summary = f"{convergence_text(experiment)}. {CONVERGENCE_KEY}"
    return FigureResult(fig, table, summary + missing_text(data))


def convergence_text(experiment: PruningExperiment) -> str:
    """The metrics' means with all samples, and without S(t(eps)) on both sides of phi."""
    parts = []
    for metric in METRICS:
        ends = [run.curves(metric)[:, -1].mean() for run in experiment.sweep]
        text = f"{SYMBOLS[metric]} at the last epoch"
        if experiment.full is not None:
            text += f" {mean_sd(experiment.full.curves(metric)[:, -1])} with all samples"
            phi = float(inversion_error(experiment.full).mean())
            above = sweep_errors(experiment.sweep) > phi
            for side, name in ((~above, "below"), (above, "above")):
                if side.any():
                    kept = np.array(ends)[side]
                    text += f", {kept.min():.3f} to {kept.max():.3f} for eps {name} phi"
        elif ends:
            text += f" {min(ends):.3f} to {max(ends):.3f}"
        parts.append(text)
    if experiment.full is not None:
        parts.append(f"phi = {mean_sd(inversion_error(experiment.full), 4)}")
    return "; ".join(parts)


def fig2c(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 2c: test error at the last epoch without S(t(eps)) against eps, by noise sigma."""
    fig = style.new_figure(style.COLUMN, 4.2)
    axes = fig.subplots()
    experiment = first_experiment(data)
    table = noise_panel(axes, data, experiment)
    legend_below(fig, [axes], 4)
    summary = f"{noise_text(data, experiment)}. {NOISE_KEY}"
    return FigureResult(fig, table, summary + missing_text(data))


def noise_text(data: RunGroups, experiment: PruningExperiment) -> str:
    """Test errors with all samples and without the set taken nearest to phi, by sigma."""
    full = experiment.full
    found = None if full is None else noisy_test_errors_of(data, full)
    if full is None or found is None or not experiment.sweep:
        return "Test errors on noisy test sets: no analysis holds these runs"
    phi = float(inversion_error(full).mean())
    eps = sweep_errors(experiment.sweep)
    # Nearest in ln eps; to a phi of 0, which no finite step reaches, the smallest eps is.
    near = experiment.sweep[int(np.argmin(np.abs(np.log(eps / phi)) if phi > 0 else eps))]
    pruned = noisy_test_errors_of(data, near)
    parts = []
    for index, sigma in enumerate(found[0]):
        before = found[1][:, index]
        text = f"sigma {sigma:g}: {mean_sd(before[np.isfinite(before)])} with all samples"
        if pruned is not None and np.isfinite(pruned[1]).any():
            after = pruned[1][:, index]
            text += f", {mean_sd(after[np.isfinite(after)])} without S(t(eps))"
        parts.append(text)
    return (
        f"Test error (mean ± sd), for eps = {near.config['prune_error']:.3g}, nearest to phi = "
        f"{phi:.3g}: {'; '.join(parts)}"
    )


def first_experiment(data: RunGroups) -> PruningExperiment:
    """The experiment with pruned runs, if any, else the first one."""
    all_runs(data)  # says that there is none
    found = pruning_experiments(data)
    return next((one for one in found if one.pruned_runs()), found[0])


# --- Fig. 2d, Supplementary Fig. 3: conservation of S(t) ------------------------------------------


def fig2d(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 2d: z-score of the conservation of S(t) (Eq. 11) against the mean training error at t."""
    return _conservation(data, style.COLUMN, 2.8)


def figS3(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Supplementary Fig. 3: Fig. 2d for other data sets, one panel each."""
    return _conservation(data, style.DOUBLE, 2.8)


def _conservation(data: RunGroups, width: float, height: float) -> FigureResult:
    curves = stability_curves(data)
    fig = style.new_figure(width, height)
    panels = fig.subplots(1, max(len(curves), 1), squeeze=False)[0]
    tables, parts = [], []
    for axes, (run, curve) in zip(panels, curves, strict=False):
        tables.append(stability_panel(axes, run, curve))
        parts.append(stability_text(run, curve))
        if len(curves) > 1:
            axes.set_title(dataset_looks([run])[0][0])
    if not curves:
        return FigureResult(
            fig, pd.DataFrame(), "No analysis holds z-scores of these runs." + missing_text(data)
        )
    summary = (
        f"{'; '.join(parts)}. Crosses: z over all pairs of networks; bars: 95 % bootstrap over "
        "networks; grey band: phi, mean ± 1 sd."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary + missing_text(data))


def stability_curves(data: RunGroups) -> list[tuple[Run, xr.Dataset]]:
    """(run, its curve of z-scores) of every run that an analysis holds one of, with a z anywhere."""
    curves = [
        (run, found.isel(curve=list(found.attrs["curves"]).index(run.name)))
        for run in all_runs(data)
        for found in data.analyses.values()
        if "z_score" in found and run.name in found.attrs["curves"]
    ]
    return [(run, curve) for run, curve in curves if np.isfinite(curve["z_score"].values).any()]


def stability_panel(axes: Axes, run: Run, curve: xr.Dataset) -> pd.DataFrame:
    """z of S(t) against the mean training error, crosses with 95 % intervals; grey band: phi."""
    error_band(axes, run)
    there = np.isfinite(curve["z_score"].values)
    one = curve.isel(epoch=np.flatnonzero(there))
    error, z = one["mean_error"].values, one["z_score"].values
    # the basic bootstrap's interval need not hold the value itself
    bars = np.stack([z - one["z_score_low"].values, one["z_score_high"].values - z])
    look: dict[str, Any] = {"elinewidth": 0.8, "capsize": 1.5, "ms": 5, "mew": 1.2}
    axes.errorbar(error, z, np.maximum(bars, 0), fmt="x", color=style.PINK, **look)
    axes.set_ylabel("z-score of $S(t)$")
    phi, sd = moments(inversion_error(run))
    low, high = min(float(error.min()), phi - sd), max(float(error.max()), phi + sd)
    margin = 0.05 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(bottom=min(0.0, 1.3 * float(z.min()), float(one["z_score_low"].min())))
    axes.set_xlabel(r"mean training error $\epsilon_\mathrm{tr}(t)$ (fraction)")
    return pd.DataFrame(
        {
            "run": run.name,
            "quantity": "z_score",
            "epoch": one["epoch"].values,
            "train_error": error,
            "value": z,
            "low": one["z_score_low"].values,
            "high": one["z_score_high"].values,
            "corrected": one["z_score_corrected"].values,
            "n": run.seeds,
        }
    )


def stability_text(run: Run, curve: xr.Dataset) -> str:
    low, high = float(curve["maximum_error_low"]), float(curve["maximum_error_high"])
    # Where R+ does not invert, its t* is no inversion.
    inverts = float(run.inversion["inverts_plus"].mean()) >= 0.5
    own = float(curve["straggler_z_score"]) if inverts else float("nan")
    stragglers = f"; stragglers themselves, each network at its t*: z = {own:.1f}"
    return (
        f"{dataset_looks([run])[0][0]} ({run.name}): largest z "
        f"{float(curve['maximum_z_score']):.1f} at epoch {int(curve['maximum_epoch'])}, training error "
        f"{float(curve['maximum_error']):.4f} (95 %: {low:.4f} to {high:.4f}), against phi = "
        f"{mean_sd(inversion_error(run), 4)}{stragglers if np.isfinite(own) else ''}"
    )
