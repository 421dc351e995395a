"""Figures 4A, 4B and A9 to A11 of the memorisation paper: one layer set back to an earlier epoch.

Source: Stephenson et al., ICLR 2021, Figs. 4A-B, A.9-A.11. The numbers come from
``analysis.rewinding``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import (
    best_test_accuracy,
    first_run,
    mean_of,
    shown_layers,
)
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    epoch_axis,
    found_analyses,
    gone_text,
    half_width,
    known_options,
    layer_bar,
    layer_colors,
)
from pipeline.figures.save import FigureResult, empty_figure
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 41  # common epochs, evenly spaced, onto which the curves of all seeds are interpolated
SPLITS = ("train", "test")
Array = NDArray[np.float64]


def rewinding(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Accuracy of the final network with one layer set back to each kept epoch, one curve per layer.

    Options: ``splits`` ([train, test]), the panels; ``layers`` (hidden), which curves: hidden (all
    but linear layers of a convolutional network), every_third (every third convolution and the last
    two), or all; ``band`` (false), 95 % intervals.
    """
    known_options("rewinding", options, ("splits", "layers", "band"))
    found = found_analyses(data, "rewound_accuracy")
    if not found:
        return empty_figure(data)
    one, run = first_run(found[0], "rewound_epoch"), all_runs(data)[0]
    names = [str(name) for name in one.attrs["weight_layers"]]
    shown = shown_layers(names, options.get("layers", "hidden"))
    splits = options.get("splits", list(SPLITS))
    width = style.COLUMN if len(splits) == 1 else style.DOUBLE
    fig = style.new_figure(width, 2.5)
    panels = fig.subplots(1, len(splits), squeeze=False)[0]
    grid = common_epochs(one)
    best = best_test_accuracy(run, one)
    tables = []
    for axes, split in zip(panels, splits, strict=True):
        for color, name in zip(layer_colors(len(shown)), shown, strict=True):
            curves = on_grid(one, grid, split, names.index(name))
            tables.append(_curve(axes, grid, curves, color, name, split, bool(options.get("band"))))
        axes.set_ylabel(f"{split} accuracy")
        epoch_axis(axes, grid[-1], "rewind epoch")
        if split == "test":
            level = float(best.mean())
            axes.axhline(level, color=style.BLACK, ls="--", lw=0.8)
            place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 7}
            axes.text(0.99, level, "best epoch", ha="right", va="bottom", **place)
    layer_bar(fig, panels, shown)
    table = pd.concat(tables, ignore_index=True)
    return FigureResult(fig, table, _summary(one, run, names, grid) + gone_text(data))


def common_epochs(one: xr.Dataset) -> Array:
    """Evenly spaced epochs from 0 to the smallest last epoch of the seeds."""
    last = one["rewound_epoch"].max("kept").values
    return np.linspace(0, float(last.min()), GRID)


def on_grid(one: xr.Dataset, grid: Array, split: str, layer: int) -> Array:
    """(seed, epoch) accuracies of one rewound layer, interpolated linearly between kept epochs."""
    splits = [str(name) for name in one.attrs["splits"]]
    values = one["rewound_accuracy"].isel(weight_layer=layer, split=splits.index(split))
    rows = []
    for epochs, curve in zip(
        one["rewound_epoch"].values, values.transpose("seed", "kept").values, strict=True
    ):
        there = epochs >= 0
        rows.append(np.interp(grid, epochs[there], curve[there]))
    return np.array(rows)


def _curve(
    axes: Axes, grid: Array, curves: Array, color: Any, name: str, split: str, band: bool
) -> pd.DataFrame:
    mean, half = mean_of(curves), half_width(curves)
    axes.plot(grid, mean, color=color, lw=1.0)
    if band:
        axes.fill_between(grid, mean - half, mean + half, color=color, alpha=0.2, lw=0)
    columns = {"split": split, "layer": name, "epoch": grid, "accuracy": mean}
    return pd.DataFrame({**columns, "half_width_95": half, "n": len(curves)})


def _summary(one: xr.Dataset, run: Run, names: list[str], grid: Array) -> str:
    best = best_test_accuracy(run, one)
    last_hidden = shown_layers(names, "hidden")[-1]
    curves = on_grid(one, grid, "test", names.index(last_hidden))
    top = curves.max(axis=1)
    how = one.attrs["options"]["batch_norm"]
    return (
        f"Rewinding {last_hidden} alone brings the test accuracy from {curves[:, -1].mean():.3f} to at "
        f"most {top.mean():.3f}, {100 * float(np.mean(top / best)):.0f} % of that of the best epoch "
        f"({best.mean():.3f}). Means over {len(best)} seeds; each seed's curve is interpolated linearly "
        f"between its kept epochs, up to the shortest training; layers go back {how} their batch "
        "normalisation."
    )
