"""Figures 5, A1 and A12 to A14 of the memorisation paper: gradients, layer by layer.

Source: Stephenson et al., ICLR 2021, Figs. 5, A.1, A.12-A.14. The numbers come from
``analysis.gradients``.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import first_run, log_ratio, mean_of
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    epoch_axis,
    found_analyses,
    gone_text,
    known_options,
    layer_bar,
    layer_colors,
)
from pipeline.figures.save import FigureResult, empty_figure
from pipeline.runs import RunGroups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID = 41  # common epochs onto which the curves of all seeds are interpolated
# panel -> (title, part, part that it is divided by)
PANELS: dict[str, tuple[str, str, str | None]] = {
    "A": ("all samples", "total", None),
    "B": ("unpermuted samples", "unpermuted", None),
    "C": ("permuted samples", "permuted", None),
    "D": ("dep / ind, unpermuted", "dep_unpermuted", "ind_unpermuted"),
    "E": ("dep / ind, permuted", "dep_permuted", "ind_permuted"),
    "F": ("dep, unpermuted / permuted", "dep_unpermuted", "dep_permuted"),
    "G": ("ind, unpermuted / permuted", "ind_unpermuted", "ind_permuted"),
    "dep_unpermuted": ("dep, unpermuted", "dep_unpermuted", None),
    "dep_permuted": ("dep, permuted", "dep_permuted", None),
    "ind_unpermuted": ("ind, unpermuted", "ind_unpermuted", None),
    "ind_permuted": ("ind, permuted", "ind_permuted", None),
}
COLUMNS = 4
TITLE = 22  # letters of a line above a narrow panel
MODES = {"train": "training", "eval": "evaluation"}
MEANS = {"whole": "the size of the whole set", "subset": "the size of their subset"}
Array = NDArray[np.float64]


def gradients(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Norms of the gradient, or logarithms of ratios of its parts, against the epoch, one curve per
    layer; mean over seeds (of the logarithms).

    Option: ``panels`` (A to G), names of ``PANELS``.
    """
    known_options("gradients", options, ("panels",))
    found = found_analyses(data, "gradient_norm")
    if not found:
        return empty_figure(data)
    one = first_run(found[0], "gradient_epoch")
    panels = options.get("panels", list("ABCDEFG"))
    if unknown := sorted(set(panels) - set(PANELS)):
        raise PipelineError(f"Panels {', '.join(unknown)} given; valid are: {', '.join(PANELS)}.")
    columns = min(len(panels), COLUMNS) if len(panels) != 4 else 2
    rows = -(-len(panels) // columns)
    width = style.COLUMN if columns < 3 else style.DOUBLE
    fig = style.new_figure(width, 0.3 + (2.2 if len(panels) == 1 else 1.75) * rows)
    axes_of = fig.subplots(rows, columns, squeeze=False).ravel()
    names = [str(name) for name in one.attrs["weight_layers"]]
    grid = common_epochs(one)
    tables = []
    for axes, panel in zip(axes_of, panels, strict=False):
        tables.append(_panel(axes, one, panel, grid, names))
    for axes in axes_of[len(panels) :]:
        axes.set_visible(False)
    layer_bar(fig, list(axes_of), names)
    table = pd.concat(tables, ignore_index=True)
    return FigureResult(fig, table, _summary(one, table, panels) + gone_text(data))


def common_epochs(one: xr.Dataset) -> Array:
    """Evenly spaced epochs from 0 to the smallest last epoch of the seeds."""
    last = one["gradient_epoch"].max("kept").values
    return np.linspace(0, float(last.min()), GRID)


def panel_values(one: xr.Dataset, panel: str) -> Array:
    """(seed, kept, layer) values of a panel: log10 of a norm, or of a ratio of norms."""
    _, part, divisor = PANELS[panel]
    return log_ratio(one, part, divisor)


def _panel(axes: Axes, one: xr.Dataset, panel: str, grid: Array, names: list[str]) -> pd.DataFrame:
    title, _, divisor = PANELS[panel]
    values, epochs = panel_values(one, panel), one["gradient_epoch"].values
    tables = []
    for layer, color in enumerate(layer_colors(len(names))):
        curves = np.array(
            [_interpolated(grid, epochs[s], values[s, :, layer]) for s in range(len(values))]
        )
        mean = mean_of(curves)
        axes.plot(grid, mean, color=color, lw=0.9)
        frame = {"panel": panel, "layer": names[layer], "epoch": grid, "log10": mean}
        tables.append(pd.DataFrame({**frame, "n": np.isfinite(curves).sum(axis=0)}))
    if divisor is not None:
        axes.axhline(0, color=style.BLACK, lw=0.6, ls=":", zorder=0)
    epoch_axis(axes, grid[-1])
    axes.set_ylabel(r"$\log_{10}$ ratio" if divisor else r"$\log_{10}$ norm")
    label = f"{panel}  {title}" if len(panel) == 1 else title
    axes.set_title(textwrap.fill(label, TITLE), loc="left", fontsize=7)
    if not np.isfinite(values).any():
        axes.set_yticks([])
        axes.text(0.5, 0.6, "no such samples", transform=axes.transAxes, ha="center", fontsize=7)
    return pd.concat(tables, ignore_index=True).dropna()


def _interpolated(grid: Array, epochs: NDArray[Any], curve: Array) -> Array:
    there = (epochs >= 0) & np.isfinite(curve)
    if there.sum() < 2:
        return np.full(grid.size, np.nan)
    inner = np.interp(grid, epochs[there], curve[there])
    return np.where(grid < epochs[there][0], np.nan, inner)


def _summary(one: xr.Dataset, table: pd.DataFrame, panels: list[str]) -> str:
    texts = []
    for panel in panels:
        rows, name = table[table["panel"] == panel], PANELS[panel][0]
        if not len(rows):
            texts.append(f"{name} nothing, a subset is empty")
            continue
        first, last = (
            rows[rows["epoch"] == epoch]["log10"].mean()
            for epoch in (rows["epoch"].min(), rows["epoch"].max())
        )
        texts.append(f"{name} {first:.2f} at first, {last:.2f} at last")
    chosen = one.attrs["options"]
    modes = f"batch normalisation as in {MODES[chosen['batch_norm']]}, parts over {MEANS[chosen['mean']]}"
    return (
        f"log10, mean over layers: {'; '.join(texts)}. Mean over {one.sizes['seed']} seeds of the "
        "logarithm, interpolated linearly between kept epochs up to the shortest training; norms of the "
        f"weights' gradient of each layer on the training set ({modes})."
    )
