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
    common_epochs,
    first_run,
    mean_of,
    on_grid,
    shown_layers,
)
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    banded,
    epoch_axis,
    found_analyses,
    gone_text,
    half_width,
    layer_bar,
    layer_colors,
    skips_text,
    value_limits,
)
from pipeline.figures.save import FigureResult, empty_figure, known_options
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLITS = ("train", "test")
Array = NDArray[np.float64]


def rewinding(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Accuracy of the final network with one layer set back to each kept epoch, one curve per layer.

    Options: ``splits`` ([train, test]), the panels; ``layers`` (hidden), which curves: hidden (all
    but linear layers of a convolutional network), every_third (every third convolution and the last
    two), or all; ``band`` (false), 95 % intervals within 0 and 1, see ``looks.banded``.
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
    grid = common_epochs(one["rewound_epoch"].values)
    level = float(best_test_accuracy(run, one).mean())
    last_hidden = shown_layers(names, "hidden")[-1]
    bands = banded(shown, one.sizes["seed"], last_hidden) if options.get("band") else []
    tables = []
    for axes, split in zip(panels, splits, strict=True):
        for color, name in zip(layer_colors(len(shown)), shown, strict=True):
            curves = rewound_curves(one, grid, split, name)
            tables.append(_curve(axes, grid, curves, color, name, split, name in bands))
        axes.set_ylabel(f"{'training' if split == 'train' else split} accuracy")
        axes.set_ylim(0, 1.02)
        epoch_axis(axes, grid[-1], "rewind epoch")
        if split == "test":
            axes.set_ylim(*_test_limits(tables[-len(shown) :], bands, level))
            axes.axhline(level, color=style.BLACK, ls="--", lw=0.8)
            place: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "fontsize": 7}
            axes.text(0.99, level, "best epoch", ha="right", va="bottom", **place)
    layer_bar(fig, panels, shown)
    table = pd.concat(tables, ignore_index=True)
    summary = [_split_text(one, grid, split, last_hidden, level) for split in splits]
    summary += [_how_text(one, run), _interval_text(table, shown, bands)]
    return FigureResult(fig, table, " ".join(filter(None, summary)) + gone_text(data))


def rewound_curves(one: xr.Dataset, grid: Array, split: str, layer: str) -> Array:
    """(seed, epoch) accuracies of one rewound layer at the epochs of a grid."""
    splits, names = ([str(name) for name in one.attrs[key]] for key in ("splits", "weight_layers"))
    values = one["rewound_accuracy"].isel(
        weight_layer=names.index(layer), split=splits.index(split)
    )
    epochs = one["rewound_epoch"].transpose("seed", "kept").values
    return on_grid(grid, epochs, values.transpose("seed", "kept").values)


def _curve(
    axes: Axes, grid: Array, curves: Array, color: Any, name: str, split: str, band: bool
) -> pd.DataFrame:
    mean, half = mean_of(curves), half_width(curves)
    axes.plot(grid, mean, color=color, lw=1.0)
    if band:
        ends = np.clip([mean - half, mean + half], 0, 1)
        axes.fill_between(grid, *ends, color=color, alpha=0.2, lw=0)
    columns = {"split": split, "layer": name, "epoch": grid, "accuracy": mean}
    return pd.DataFrame({**columns, "half_width_95": half, "n": len(curves)})


def _test_limits(tables: list[pd.DataFrame], bands: list[str], level: float) -> tuple[float, float]:
    """Limits of the axis of test accuracy: all means, the best epoch's with its name, and the bands."""
    mean = np.append(np.concatenate([one["accuracy"] for one in tables]), level)
    halves = [one["half_width_95"].where(one["layer"].isin(bands), 0.0) for one in tables]
    bottom, top = value_limits(mean, np.append(np.concatenate(halves), 0.0), 1.0, (0.0, 1.02))
    return bottom, max(top, level + 0.1 * (level - bottom))


def _split_text(one: xr.Dataset, grid: Array, split: str, layer: str, best: float) -> str:
    """What rewinding a layer does to the accuracy on one split: extreme of the mean curve drawn."""
    splits = [str(name) for name in one.attrs["splits"]]
    curve = mean_of(rewound_curves(one, grid, split, layer))
    final = float(one["final_accuracy"].isel(split=splits.index(split)).mean())
    if split == "train":
        low = int(np.argmin(curve))
        return (
            f"Rewinding {layer} alone takes the training accuracy from {final:.3f} to at least "
            f"{curve[low]:.3f} (epoch {grid[low]:.3g})."
        )
    top = int(np.argmax(curve))
    return (
        f"Rewinding {layer} alone brings the test accuracy from {final:.3f} to at most {curve[top]:.3f} "
        f"(epoch {grid[top]:.3g}), {100 * curve[top] / best:.0f} % of that of the best epoch "
        f"({best:.3f}); without rewinding it is {100 * final / best:.0f} %."
    )


def _how_text(one: xr.Dataset, run: Run) -> str:
    how = one.attrs["options"]["batch_norm"]
    return (
        f"Means over {one.sizes['seed']} seeds; each seed's curve is interpolated linearly between its "
        f"kept epochs, up to the shortest training; layers go back {how} their batch normalisation."
        f"{skips_text(run, 'are never rewound')}"
    )


def _interval_text(table: pd.DataFrame, shown: list[str], bands: list[str]) -> str:
    """A sentence on the 95 % intervals: those drawn, and how wide the others are."""
    if table["half_width_95"].isna().all():  # of one seed
        return ""
    drawn = (
        f"Bands (within the axes): 95 % intervals of the mean{'' if bands == shown else f', of {bands[0]}'}"
        if bands
        else ""
    )
    if bands == shown:
        return f"{drawn}."
    widths = table[~table["layer"].isin(bands)].groupby("split", sort=False)["half_width_95"]
    others = "; ".join(
        f"{split} ± {half.median():.3f} in the median, ± {half.max():.3f} at most"
        for split, half in widths
    )
    start = f"{drawn}; those of the other layers" if drawn else "95 % intervals of the mean"
    return f"{start} are not drawn: {others}."
