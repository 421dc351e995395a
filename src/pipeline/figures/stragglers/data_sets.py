"""Figures 3a, 3c and 3d of the stragglers paper: other data sets (arXiv:2303.05161).

Each function draws one panel from the runs of its groups and returns the figure, the plotted
numbers and what was found. Radii and distance have no units; they are lengths on the unit sphere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.figures import style
from pipeline.figures.curves import (
    LOWEST_ERROR,
    each_over_error,
    error_grid,
    found,
    mean_sd,
    missing_text,
    moments,
)
from pipeline.figures.save import FigureResult
from pipeline.geometry.radii import METRICS
from pipeline.run_texts import DATASET_NAMES
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DATASET_COLORS = {
    "mnist": style.BLUE,
    "kmnist": style.VERMILLION,
    "fashion_mnist": style.GREEN,
    "cifar10": style.ORANGE,
}
OTHER_COLORS = (style.PINK, style.SKY, style.BLACK, style.GREY)
SHOWN_NETWORKS = 20  # curves of single networks per data set, as in the paper
SHOWN_EPOCHS = 400  # points of a curve against the epoch
Array = NDArray[np.float64]


# --- Fig. 3a: data sets --------------------------------------------------------------------------


def fig3a(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 3a: the metrics against the training error, one colour per data set.

    Thin: single networks; thick: mean over all networks; dotted verticals: mean phi.
    Options: ``lowest_error`` (0.01), left end of the axis; ``networks`` (20), thin curves per data
    set.
    """
    runs = all_runs(data)
    looks = dataset_looks(runs)
    grid = error_grid(runs, float(options.get("lowest_error", LOWEST_ERROR)))
    shown = int(options.get("networks", SHOWN_NETWORKS))
    fig = style.new_figure(style.DOUBLE, 2.7)
    panels = fig.subplots(1, 3)
    tables = []
    for axes, metric in zip(panels, METRICS, strict=True):
        for run, (label, color) in zip(runs, looks, strict=True):
            curves = each_over_error(run.curves("train_error"), run.curves(metric), grid)
            mean = curves.mean(axis=0)  # NaN where not all networks get to
            axes.plot(grid, curves[:shown].T, color=color, lw=0.4, alpha=0.3)
            axes.plot(grid, mean, color=color, lw=1.6, label=label)
            axes.axvline(found([run], "phi").mean(), color=color, ls=":", lw=0.9)
            seeds = run.trajectories["seed"].values[:shown]
            rows: dict[str, Any] = {
                "mean": mean,
                **{f"seed {seed}": curves[i] for i, seed in enumerate(seeds)},
            }
            tables += [
                _curve_rows(run, label, metric, name, "train_error", grid, curve)
                for name, curve in rows.items()
            ]
        style.error_axis(axes, grid[0], grid[-1])
        axes.set_ylabel(style.METRIC_LABELS[metric])
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=4)
    phis = "; ".join(
        f"{label} {mean_sd(found([run], 'phi'), 4)}, {_inverting([run])}"
        for run, (label, _) in zip(runs, looks, strict=True)
    )
    summary = (
        f"phi, the training error at the inversion (dotted verticals; mean ± sd over networks): "
        f"{phis}. Thin: single networks (at most {shown} per data set); thick: means, which end "
        f"where not all networks get to the training error.{missing_text(data)}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary)


def dataset_looks(runs: list[Run]) -> list[tuple[str, str]]:
    """(label, colour) of each run by the data set that it stands for; runs of one set by name."""
    meant = [run.stated_dataset or run.config["dataset"] for run in runs]
    spare = iter(OTHER_COLORS * len(runs))
    looks = []
    for run, dataset in zip(runs, meant, strict=True):
        label = DATASET_NAMES.get(dataset, dataset)
        color = DATASET_COLORS.get(dataset)
        if meant.count(dataset) > 1 or color is None:
            color = next(spare)
        if meant.count(dataset) > 1:
            label = f"{label}, {run.name}"
        looks.append((f"{label} (substituted)" if run.substituted else label, color))
    return looks


def _curve_rows(
    run: Run, label: str, metric: str, name: str, axis: str, x: Array, y: Array
) -> pd.DataFrame:
    kept = np.isfinite(y)
    constant: dict[str, Any] = {
        "run": run.name,
        "dataset": label,
        "quantity": metric,
        "network": name,
    }
    return pd.DataFrame({**constant, axis: x[kept], "value": y[kept]})


def _inverting(runs: list[Run]) -> str:
    inverts = found(runs, "inverts_plus")
    return f"{int(inverts.sum())} of {inverts.size} networks invert in R+"


# --- Figs. 3c, 3d: CIFAR-10 ----------------------------------------------------------------------


def fig3c(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 3c: R+ of every network (thin) and their mean (thick) against the training error.

    Grey: training error at the inversion of R+, mean ± 1 sd. Options: ``lowest_error`` (0.01),
    ``networks`` (20).
    """
    run = _one_run(data)
    grid = error_grid([run], float(options.get("lowest_error", LOWEST_ERROR)))
    curves = each_over_error(run.curves("train_error"), run.curves("radius_plus"), grid)
    fig, axes, table = _every_network(run, curves, grid, "train_error", options, "error_plus")
    style.error_axis(axes, grid[0], grid[-1])
    axes.axvline(found([run], "phi").mean(), color=style.BLACK, ls=":", lw=0.9)
    summary = (
        f"phi {mean_sd(found([run], 'phi'), 4)} (dotted), training error at the inversion of R+ "
        f"{mean_sd(found([run], 'error_plus'), 4)} (grey: mean ± 1 sd over {run.seeds} networks); "
        f"{_inverting([run])}.{_sharpness_text(data)}"
    )
    return FigureResult(fig, table, summary)


def fig3d(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 3d: R+ of every network (thin) and their mean (thick) against the epoch.

    Grey: epoch of the inversion of R+, mean ± 1 sd. Options: ``networks`` (20); ``points`` (400),
    how many epochs of a long training are drawn, evenly on the logarithmic axis.
    """
    run = _one_run(data)
    curves = run.curves("radius_plus")
    epochs = run.trajectories["epoch"].values.astype(np.float64)
    points = int(options.get("points", SHOWN_EPOCHS))
    steps = np.geomspace(1, max(epochs.size - 1, 1), points)
    kept = np.unique(np.concatenate([[0], steps.round().astype(int)])).clip(max=epochs.size - 1)
    fig, axes, table = _every_network(
        run, curves[:, kept], epochs[kept], "epoch", options, "epoch_plus"
    )
    style.epoch_axis(axes, int(epochs[-1]))
    summary = (
        f"Epoch of the inversion of R+ {mean_sd(found([run], 'epoch_plus'), 0)} (grey: mean ± 1 sd "
        f"over {run.seeds} networks); {_inverting([run])}.{_sharpness_text(data)}"
    )
    return FigureResult(fig, table, summary)


def _one_run(data: RunGroups) -> Run:
    return all_runs(data)[0]


def _every_network(
    run: Run, curves: Array, x: Array, axis: str, options: dict[str, Any], at: str
) -> tuple[Any, Axes, pd.DataFrame]:
    """One panel with R+ of single networks and the mean over all; grey: where they invert."""
    [(label, color)] = dataset_looks([run])
    shown = int(options.get("networks", SHOWN_NETWORKS))
    fig = style.new_figure(style.COLUMN, 2.5)
    axes = fig.subplots()
    middle, sd = moments(found([run], at))
    axes.axvspan(middle - sd, middle + sd, color="0.87", lw=0, zorder=0)
    axes.plot(x, curves[:shown].T, color=color, lw=0.7, alpha=0.6)
    mean = curves.mean(axis=0)
    axes.plot(x, mean, color=style.BLACK, lw=0.9)
    axes.set_ylabel(style.METRIC_LABELS["radius_plus"])
    seeds = run.trajectories["seed"].values[:shown]
    rows: dict[str, Any] = {
        "mean": mean,
        **{f"seed {seed}": curves[i] for i, seed in enumerate(seeds)},
    }
    tables = [
        _curve_rows(run, label, "radius_plus", name, axis, x, curve) for name, curve in rows.items()
    ]
    return fig, axes, pd.concat(tables, ignore_index=True)


def _sharpness_text(data: RunGroups) -> str:
    """What the analysis of the scatter says, where it is given; thin and thick lines."""
    text = f" Thin: single networks; thick: their mean.{missing_text(data)}"
    if not data.analyses:
        return text
    found_here = analysis_with(data, "scatter_ratio").isel(curve=0)
    ratio, low, high, of_error, of_epoch = (
        float(found_here[f"scatter_{name}"])
        for name in ("ratio", "ratio_low", "ratio_high", "error", "epoch")
    )
    if not np.isfinite(ratio):
        return f" The scatter of R+ between networks is not defined.{text}"
    interval = f" (95 % interval {low:.2f} to {high:.2f})" if np.isfinite(low) else ""
    return (
        f" Scatter of R+ between networks relative to the range of the mean: {of_error:.3f} at equal "
        f"training error, {of_epoch:.3f} at equal epoch, ratio {ratio:.2f}{interval}.{text}"
    )
