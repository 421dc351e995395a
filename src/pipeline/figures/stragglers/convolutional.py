"""Supplementary Figures 5 and 6 of the stragglers paper: convolutional networks (arXiv:2303.05161).

Discussion: some of them behave as fully connected networks do, in others (4x4 kernels) only D inverts.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.analysis.pruning import PruningExperiment, inverting_metrics, pruning_experiments
from pipeline.figures import style
from pipeline.figures.curves import EXTREMA, band, found, mean_sd, missing_text, moments, stack
from pipeline.figures.save import FigureResult
from pipeline.figures.stragglers.pruning import (
    noise_text,
    stability_curves,
    stability_panel,
    stability_text,
)
from pipeline.figures.stragglers.pruning_panels import (
    NOISE_KEY,
    REMOVAL_KEY,
    SYMBOLS,
    legend_below,
    noise_panel,
    removal_panel,
    removal_text,
)
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups, convolutional_runs


def figS5(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Supplementary Fig. 5: Fig. 1b for convolutional networks, one column per kernel size.

    Bands are mean ± 1 sd over networks; dashed: means at initialisation; grey: the inversion epochs
    (± 1 sd) of the metrics that invert in at least half of the networks.
    """
    runs = convolutional_runs(data)
    fig = style.new_figure(style.DOUBLE, 5.0)
    grid = fig.subplots(3, len(runs), squeeze=False, sharex="col", height_ratios=(3, 3, 2))
    tables = []
    for run, (radii, distance, errors) in zip(runs, grid.T, strict=True):
        panels = {
            "radius_plus": radii,
            "radius_minus": radii,
            "distance": distance,
            "train_error": errors,
            "test_error": errors,
        }
        colors = style.METRIC_COLORS | {"train_error": style.BLACK, "test_error": style.SKY}
        for quantity, axes in panels.items():
            curves = stack([run], quantity)
            rows = band(axes, curves, colors[quantity], style.METRIC_LABELS[quantity], quantity)
            tables.append(rows.assign(run=run.name, kernel=run.config["kernel"]))
            if quantity in METRICS:
                axes.axhline(curves[:, 0].mean(), color=colors[quantity], ls="--", lw=0.7)
        for axes in (radii, distance, errors):
            _mark_inversions(axes, run)
        radii.set(title=kernel_text(run), ylabel="radius")
        distance.set_ylabel("distance $D$")
        errors.set_ylabel("error (fraction)")
        errors.set_ylim(bottom=0)
        style.epoch_axis(errors, curves.shape[1] - 1)
    legend_below(fig, list(grid[:, 0]), 5)
    parts = [f"{kernel_text(run)}: {_inverting_text(run)}" for run in runs]
    summary = (
        f"{'; '.join(parts)}. Bands: mean ± 1 sd. Dashed: means at initialisation. Grey: inversion "
        "epochs ± 1 sd of the metrics that invert in at least half of the networks."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary + missing_text(data))


def kernel_text(run: Run) -> str:
    kernel = run.config["kernel"]
    return f"kernels {kernel}x{kernel}"


def _mark_inversions(axes: Any, run: Run) -> None:
    """A grey band over the inversion epochs of the metrics that invert; none without any."""
    names = [EXTREMA[metric] for metric in inverting_metrics(run)]
    names = [name for name in names if run.inversion[f"inverts_{name}"].mean() >= 0.5]
    if names:
        ends = np.array([moments(found([run], f"epoch_{name}")) for name in names])
        low, high = (ends[:, 0] - ends[:, 1]).min(), (ends[:, 0] + ends[:, 1]).max()
        axes.axvspan(max(low, 0.0), high, color="0.87", lw=0, zorder=0)


def _inverting_text(run: Run) -> str:
    parts = []
    for metric, name in EXTREMA.items():
        inverts = found([run], f"inverts_{name}")
        text = f"{SYMBOLS[metric]} inverts in {int(inverts.sum())} of {inverts.size} networks"
        if inverts.mean() >= 0.5:
            text += f" (epoch {mean_sd(found([run], f'epoch_{name}'), 1)})"
        parts.append(text)
    return ", ".join(parts)


def figS6(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Supplementary Fig. 6: Figs. 2a (for R+ and D), 2c and 2d for convolutional networks.

    One column per kernel size. Pink: without the stragglers that the network found itself; orange:
    without those that fully connected networks found.
    """
    convolutional_runs(data)  # says that there is none
    experiments = [
        one
        for one in pruning_experiments(data)
        if one.full is not None and one.full.config.get("kernel") is not None
    ]
    experiments.sort(key=lambda one: int(one.source().config["kernel"]))
    fig = style.new_figure(style.DOUBLE, 9.4)
    subfigures: Any = fig.subfigures(3, 1, height_ratios=(4.6, 3.2, 2.4))
    shape = (1, len(experiments))
    rows = [
        subfigures[0].subplots(2, len(experiments), squeeze=False, sharex="col"),
        subfigures[1].subplots(*shape, squeeze=False),
        subfigures[2].subplots(*shape, squeeze=False),
    ]
    tables, parts = [], []
    for column, one in enumerate(experiments):
        axes = [*rows[0][:, column], *rows[1][:, column], *rows[2][:, column]]
        drawn, text = _convolutional_column(axes, data, one)
        kernel = one.source().config["kernel"]
        tables += [table.assign(kernel=kernel) for table in drawn if len(table)]
        parts.append(text)
    for subfigure, panels, columns in zip(subfigures, rows, (4, 7, 1), strict=True):
        legend_below(subfigure, list(panels.flat), columns)
    summary = (
        f"{' '.join(parts)} {REMOVAL_KEY} Metrics of pruned runs are those of the samples left, already "
        f"at epoch 0. {NOISE_KEY} Bars of z: 95 % bootstrap over networks."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary + missing_text(data))


def _convolutional_column(
    axes: list[Any], data: RunGroups, experiment: PruningExperiment
) -> tuple[list[pd.DataFrame], str]:
    """One kernel size: R+, D, test errors, z. Returns the tables and what was found."""
    radius, distance, noise, stability = axes
    run = experiment.source()
    radius.set_title(kernel_text(run))
    tables = [
        removal_panel(radius, experiment, "radius_plus"),
        removal_panel(distance, experiment, "distance"),
        noise_panel(noise, data, experiment),
    ]
    radius.set_xlabel("")
    texts = [removal_text(experiment, metric) for metric in ("radius_plus", "distance")]
    texts.append(noise_text(data, experiment))
    curve = next((curve for one, curve in stability_curves(data) if one is run), None)
    if curve is None:
        stability.set_axis_off()
    else:
        tables.append(stability_panel(stability, run, curve))
        texts.append(stability_text(run, curve))
    return tables, f"{kernel_text(run)}: {'. '.join(texts)}."
