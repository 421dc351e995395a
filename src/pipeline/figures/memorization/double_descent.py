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
    METRIC_LABELS,
    found_analyses,
    gone_text,
    half_width,
    known_options,
    legend_above,
)
from pipeline.figures.save import FigureResult, empty_figure
from pipeline.runs import Run, RunGroups, all_runs

MOMENTS = {"best": (style.BLUE, "o"), "final": (style.ORANGE, "s")}
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
    tables = []
    for axes, quantity in zip(axes_of, quantities, strict=True):
        for moment, (color, marker) in MOMENTS.items():
            values = of_width(data, stacks[0], quantity, moment)
            mean = np.array([float(mean_of(one)) for one in values])
            half = np.array([float(half_width(one)) for one in values])
            look: dict[str, Any] = {"color": color, "marker": marker, "ms": 3.5, "lw": 1.1}
            axes.errorbar(parameters, mean, half, elinewidth=0.7, label=f"{moment} epoch", **look)
            tables.append(
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
        axes.set_ylabel(LABELS[quantity])
        axes.set_xscale("log")
    axes_of[-1].set_xlabel("parameters of the network")
    legend_above(axes_of[0], 2)
    table = pd.concat(tables, ignore_index=True)
    return FigureResult(fig, table, _summary(table, all_runs(data), stacks[0]) + gone_text(data))


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
    return (
        f"{'; '.join(texts)}. ResNet-18 of {len(runs)} widths, {100 * noise:g} % random labels; "
        f"geometry of the test manifolds at layer {layer}. Means over seeds, bars: 95 % intervals."
    )
