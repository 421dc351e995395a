"""Figures 2A and A3 of the memorisation paper: accuracy against the epoch, and the sphere data.

Source: Stephenson et al., ICLR 2021, Figs. 2A and A.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import mean_of, subset
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    SUBSET_LOOKS,
    epoch_axis,
    gone_text,
    half_width,
    legend_above,
    model_name,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAINING_SUBSETS = ("unpermuted", "permuted", "restored")
Array = NDArray[np.float64]


def fig2A(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 2A. Left: accuracy on training (as labelled) and test samples of each model. Right: on
    unpermuted, permuted and restored training samples.
    """
    known_options("fig2A", options, ())
    runs = all_runs(data)
    fig = style.new_figure(style.DOUBLE, 0.6 + 1.35 * len(runs))
    panels = fig.subplots(len(runs), 2, sharey=True, squeeze=False)
    tables = []
    for row, run in zip(panels, runs, strict=True):
        last = row[0].get_subplotspec().is_last_row()
        tables += [_curve(row[0], run, name) for name in ("train", "test")]
        tables += [_curve(row[1], run, name) for name in TRAINING_SUBSETS]
        for axes in row:
            axes.set_ylim(0, 1.02)
            epoch_axis(axes, label="epoch" if last else "")
        row[0].set_ylabel("accuracy")
        row[0].set_title(model_name(run), loc="left")
    drawn = [axes.get_legend_handles_labels() for axes in panels.flat]
    looks = {label: handle for found in drawn for handle, label in zip(*found, strict=True)}
    fig.legend(looks.values(), looks.keys(), loc="outside lower center", ncols=len(looks))
    return FigureResult(fig, pd.concat(tables, ignore_index=True), _summary(runs) + gone_text(data))


def figA3(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. A3. Left: two classes with opposite centres along the centres' axis and across it; right:
    accuracies of the network trained on the spheres.
    """
    known_options("figA3", options, ())
    pair = analysis_with(data, "pair_points")
    runs = all_runs(data)
    fig = style.new_figure(style.DOUBLE, 2.4)
    left, right = fig.subplots(1, 2)
    tables = [_pair(left, pair)]
    tables += [_curve(right, runs[0], name) for name in SUBSET_LOOKS]
    right.set(ylim=(0, 1.02), ylabel="accuracy")
    epoch_axis(right)
    legend_above(right, 3)
    return FigureResult(fig, pd.concat(tables, ignore_index=True), _summary(runs))


def _pair(axes: Axes, pair: xr.Dataset) -> pd.DataFrame:
    points, classes = pair["pair_points"].values, pair["pair_class"].values
    for label, color, marker in zip((0, 1), (style.BLUE, style.ORANGE), "os", strict=True):
        mine = points[classes == label]
        axes.plot(mine[:, 0], mine[:, 1], marker, color=color, ms=2.5, label=f"class {label}")
    axes.set_xlabel("coordinate along the axis of the centres")
    axes.set_ylabel("a coordinate across it")
    legend_above(axes, 2)
    return pd.DataFrame(
        {"panel": "pair", "class": classes, "along": points[:, 0], "across": points[:, 1]}
    )


def _curve(axes: Axes, run: Run, name: str) -> pd.DataFrame:
    """Mean and 95 % interval over seeds, within 0 and 1; a seed that stopped keeps its last value."""
    curves = held(subset(run, name))
    if not np.isfinite(curves).any():
        return pd.DataFrame()
    epochs = np.arange(curves.shape[1])
    mean, half = mean_of(curves), half_width(curves)
    color, line = SUBSET_LOOKS[name]
    axes.plot(epochs, mean, color=color, ls=line, label=name)
    ends = np.clip([mean - half, mean + half], 0, 1)
    axes.fill_between(epochs, *ends, color=color, alpha=0.2, lw=0)
    columns = {"panel": "accuracy", "run": run.name, "quantity": name, "epoch": epochs}
    return pd.DataFrame({**columns, "mean": mean, "half_width_95": half, "n": len(curves)})


def held(curves: Array) -> Array:
    """Curves (seed, epoch) whose seeds keep their last value once their training has ended."""
    filled = np.array(curves)
    for row in filled:
        there = np.flatnonzero(np.isfinite(row))
        if there.size:
            row[there[-1] + 1 :] = row[there[-1]]
    return filled


def _summary(runs: list[Run]) -> str:
    texts = []
    for run in runs:
        train, test = subset(run, "train"), subset(run, "test")
        best, last = run.trajectories["best_epoch"].values, run.trajectories["last_epoch"].values
        rows = np.arange(len(best))
        restored = subset(run, "restored")
        peak = ""
        if np.isfinite(restored).any():
            top = mean_of(np.nanmax(restored, axis=1))
            end = mean_of(restored[rows, last])
            peak = f", restored from a maximum of {float(top):.3f} to {float(end):.3f}"
        texts.append(
            f"{model_name(run)}: training accuracy {train[rows, last].mean():.3f} at epoch "
            f"{last.mean():.0f}, test accuracy {test[rows, best].mean():.3f} at the best epoch "
            f"({best.mean():.0f}) and {test[rows, last].mean():.3f} at the last{peak}"
        )
    return (
        "; ".join(texts)
        + ". Means over seeds; bands: 95 % intervals of the mean, within 0 and 1. A "
        "network whose training has ended keeps its last value."
    )
