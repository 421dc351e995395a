"""Figures 4C to 4E of the memorisation paper: test accuracy and geometry against the network's width.

Source: Stephenson et al., ICLR 2021, Fig. 4C-E.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import mean_of, of_width
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    BOUNDS,
    METRIC_LABELS,
    cut_bars,
    cut_text,
    found_analyses,
    gone_text,
    half_width,
    legend_above,
    manifold_text,
    value_limits,
)
from pipeline.figures.save import FigureResult, empty_figure, known_options
from pipeline.runs import Run, RunGroups, all_runs

# moment -> colour, marker, and by what its x is multiplied, so that no bar hides another
MOMENTS = {"best": (style.BLUE, "o", 0.98), "final": (style.ORANGE, "s", 1.02)}
REACH = 1.0  # of bars beyond the means: how noisy a flat curve is must be seen
PANELS = {
    "accuracy": ["test_accuracy"],
    "radius_and_correlation": ["radius", "center_correlation"],
    "dimension": ["dimension"],
}
LABELS = {**METRIC_LABELS, "test_accuracy": "test accuracy"}
Array = NDArray[np.float64]


def double_descent(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 4C (``panel: accuracy``), 4D (``radius_and_correlation``) or 4E (``dimension``): a measure
    of the test manifolds, or the test accuracy, against the number of parameters.
    """
    known_options("double_descent", options, ("panel",))
    panel = options.get("panel", "accuracy")
    if panel not in PANELS:
        raise PipelineError(f"panel = {panel!r} given; valid are: {', '.join(PANELS)}.")
    stacks = found_analyses(data, "mean_capacity")
    if not stacks:
        return empty_figure(data)
    quantities = PANELS[panel]
    fig = style.new_figure(style.COLUMN, 0.4 + 1.9 * len(quantities))
    axes_of = fig.subplots(len(quantities), 1, sharex=True, squeeze=False)[:, 0]
    parameters = sizes(stacks[0])
    order = np.argsort(parameters, kind="stable")
    parameters = parameters[order]
    tables, cut = [], 0
    for axes, quantity in zip(axes_of, quantities, strict=True):
        mine = []
        for moment, (color, marker, shift) in MOMENTS.items():
            of_runs = of_width(data, stacks[0], quantity, moment)
            values = [of_runs[index] for index in order]
            mean = np.array([float(mean_of(one)) for one in values])
            half = np.array([float(half_width(one)) for one in values])
            look: dict[str, Any] = {"color": color, "marker": marker, "ms": 3.5, "lw": 1.1}
            place, name = shift * parameters, f"{moment} epoch"
            axes.errorbar(place, mean, half, elinewidth=0.7, label=name, **look)
            mine.append(
                pd.DataFrame(
                    {
                        "quantity": quantity,
                        "moment": moment,
                        "parameters": parameters,
                        "mean": mean,
                        "half_width_95": half,
                        "n": [int(np.isfinite(one).sum()) for one in values],
                    }
                )
            )
        tables += mine
        means, halves = pd.concat(mine)[["mean", "half_width_95"]].to_numpy().T
        limits = value_limits(means, halves, REACH, BOUNDS[quantity])
        cut += cut_bars(means, halves, limits)
        axes.set_ylim(*limits)
        axes.set_ylabel(LABELS[quantity])
        axes.set_xscale("log")
    axes_of[-1].set_xlabel("parameters of the network")
    legend_above(axes_of[0], 2)
    table = pd.concat(tables, ignore_index=True)
    summary = _summary(table, all_runs(data), stacks[0])
    return FigureResult(fig, table, summary + cut_text(cut, len(table)) + gone_text(data))


def sizes(stack: xr.Dataset) -> Array:
    """Number of parameters of each run's network."""
    values: Array = stack["parameters"].values.astype(np.float64)
    return values


def _summary(table: pd.DataFrame, runs: list[Run], stack: xr.Dataset) -> str:
    texts = []
    for (quantity, moment), rows in table.groupby(["quantity", "moment"], sort=False):
        means = rows["mean"].to_numpy()
        texts.append(
            f"{LABELS[quantity].split(' $')[0]} at the {moment} epoch from {means[0]:.3f} to "
            f"{means[-1]:.3f}, lowest {np.nanmin(means):.3f}, highest {np.nanmax(means):.3f}"
        )
    layer = str(stack.attrs["layer_names"][-1])
    noise = runs[0].config["label_noise"]
    text = f"{'; '.join(texts)}. ResNet-18 of {len(runs)} widths, {100 * noise:g} % random labels."
    if set(table["quantity"]) != {"test_accuracy"}:
        text += f" Test manifolds at layer {layer}: {manifold_text([stack])}"
    return f"{text} Means over seeds, bars: 95 % intervals of the mean."
