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

from pipeline.analysis.memorization_results import (
    common_epochs,
    first_run,
    log_ratio,
    mean_of,
    on_grid,
)
from pipeline.errors import PipelineError
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
from pipeline.runs import RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

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
# Panels of a row, and the panels whose values are compared: these have the same y axis
ROWS = (
    ("A", "B", "C"),
    ("D", "E", "F", "G"),
    ("dep_unpermuted", "dep_permuted"),
    ("ind_unpermuted", "ind_permuted"),
)
COMPARED = (ROWS[0], ROWS[1][:2], ROWS[1][2:], ROWS[2] + ROWS[3])
TITLE = 22  # letters of a line above a narrow panel
MODES = {"train": "training", "eval": "evaluation"}
MEANS = {"whole": "the size of the whole set", "subset": "the size of their subset"}
Array = NDArray[np.float64]


def gradients(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Norms of the gradient, or logarithms of ratios of its parts, against the epoch, one curve per
    layer; mean over seeds (of the logarithms). Bands: 95 % intervals, see ``looks.banded``.

    Option: ``panels`` (A to G), names of ``PANELS``. Panels that are compared have the same y axis,
    also across figures.
    """
    known_options("gradients", options, ("panels",))
    found = found_analyses(data, "gradient_norm")
    if not found:
        return empty_figure(data)
    one = first_run(found[0], "gradient_epoch")
    panels = options.get("panels", list("ABCDEFG"))
    if unknown := sorted(set(panels) - set(PANELS)):
        raise PipelineError(f"Panels {', '.join(unknown)} given; valid are: {', '.join(PANELS)}.")
    rows = [
        row for row in ([name for name in one_row if name in panels] for one_row in ROWS) if row
    ]
    columns = max(len(row) for row in rows)
    width = style.COLUMN if columns < 3 else style.DOUBLE
    fig = style.new_figure(width, 0.3 + (2.2 if len(panels) == 1 else 1.75) * len(rows))
    axes_of = fig.subplots(len(rows), columns, squeeze=False, sharex=True)
    names = [str(name) for name in one.attrs["weight_layers"]]
    grid = common_epochs(one["gradient_epoch"].values)
    bands = banded(names, one.sizes["seed"], "")
    tables = []
    for line, row in zip(axes_of, rows, strict=True):
        before = None
        for axes, panel in zip(line, row, strict=False):
            tables.append(_panel(axes, one, panel, grid, names, bands))
            limits = _limits(one, panel)
            axes.set_ylim(*limits)
            if limits == before:
                axes.tick_params(labelleft=False)
            else:
                axes.set_ylabel(r"$\log_{10}$ ratio" if PANELS[panel][2] else r"$\log_{10}$ norm")
            before = limits
        for axes in line[len(row) :]:
            axes.set_visible(False)
    for axes in axes_of[-1, : len(rows[-1])]:
        axes.set_xlabel("epoch")
    fig.align_ylabels(axes_of[:, 0])
    layer_bar(fig, axes_of, names)
    table = pd.concat(tables, ignore_index=True)
    summary = _summary(one, table, panels, bool(bands)) + skips_text(
        all_runs(data)[0], "are in no layer's norm"
    )
    return FigureResult(fig, table, summary + gone_text(data))


def panel_values(one: xr.Dataset, panel: str) -> Array:
    """(seed, kept, layer) values of a panel: log10 of a norm, or of a ratio of norms."""
    _, part, divisor = PANELS[panel]
    return log_ratio(one, part, divisor)


def _limits(one: xr.Dataset, panel: str) -> tuple[float, float]:
    """Limits of the y axis: the means of all panels that this one is compared with."""
    group = next(names for names in COMPARED if panel in names)
    means = np.concatenate([mean_of(panel_values(one, name)).ravel() for name in group])
    if PANELS[panel][2] is not None or not np.isfinite(means).any():
        means = np.append(means, 0.0)
    return value_limits(means, np.zeros_like(means))


def _panel(
    axes: Axes, one: xr.Dataset, panel: str, grid: Array, names: list[str], bands: list[str]
) -> pd.DataFrame:
    title, _, divisor = PANELS[panel]
    values, epochs = panel_values(one, panel), one["gradient_epoch"].values
    tables = []
    for layer, color in enumerate(layer_colors(len(names))):
        curves = on_grid(grid, epochs, values[:, :, layer])
        mean, half = mean_of(curves), half_width(curves)
        axes.plot(grid, mean, color=color, lw=0.9)
        if names[layer] in bands:
            axes.fill_between(grid, mean - half, mean + half, color=color, alpha=0.2, lw=0)
        frame = {"panel": panel, "layer": names[layer], "epoch": grid, "log10": mean}
        frame |= {"half_width_95": half, "n": np.isfinite(curves).sum(axis=0)}
        tables.append(pd.DataFrame(frame))
    if not np.isfinite(values).any():
        axes.set_axis_off()
        axes.text(0.5, 0.5, "no such samples", transform=axes.transAxes, ha="center", fontsize=7)
    elif divisor is not None:
        axes.axhline(0, color=style.BLACK, lw=0.6, ls=":", zorder=0)
    epoch_axis(axes, grid[-1], "")
    label = f"{panel}  {title}" if len(panel) == 1 else title
    axes.set_title(textwrap.fill(label, TITLE), loc="left", fontsize=7)
    return pd.concat(tables, ignore_index=True).dropna(subset=["log10"])


def _summary(one: xr.Dataset, table: pd.DataFrame, panels: list[str], bands: bool) -> str:
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
    halves = table["half_width_95"].dropna()
    spread = (
        f" 95 % intervals over seeds ({'bands' if bands else 'not drawn'}): ± {halves.median():.2f} in the "
        f"median, ± {halves.max():.2f} at most."
        if len(halves)
        else ""
    )
    return (
        f"log10, mean over layers: {'; '.join(texts)}. Mean over {one.sizes['seed']} seeds of the "
        "logarithm, interpolated linearly between kept epochs up to the shortest training; norms of the "
        f"weights' gradient of each layer on the training set ({modes}).{spread}"
    )
