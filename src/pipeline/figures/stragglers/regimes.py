"""Supplementary Figure 2 of the stragglers paper: Figs. 2a-2c on both sides of the interpolation threshold.

Source: arXiv:2303.05161, Results, "Stragglers influence generalisation and noise robustness".
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from pipeline.analysis.pruning import PruningExperiment, pruning_experiments
from pipeline.figures import style
from pipeline.figures.curves import missing_text
from pipeline.figures.save import FigureResult
from pipeline.figures.stragglers.pruning import convergence_text, noise_text
from pipeline.figures.stragglers.pruning_panels import (
    CONVERGENCE_KEY,
    NOISE_KEY,
    REMOVAL_KEY,
    convergence_panel,
    legend_below,
    noise_panel,
    removal_panel,
    removal_text,
)
from pipeline.runs import RunGroups, all_runs

ROWS = 4


def figS2(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Supplementary Fig. 2: Figs. 2a-2c, one column per regime.

    Options: ``titles``, mapping from the run on all samples to the words above its column.
    """
    all_runs(data)  # says that there is none
    regimes = pruning_experiments(data)
    fig = style.new_figure(style.DOUBLE, 9.2)
    subfigures: Any = fig.subfigures(ROWS - 1, 1, height_ratios=(3.2, 4.2, 3.4))
    rows = [
        subfigures[0].subplots(1, len(regimes), squeeze=False),
        subfigures[1].subplots(2, len(regimes), squeeze=False, sharex="col"),
        subfigures[2].subplots(1, len(regimes), squeeze=False),
    ]
    tables, parts = [], []
    for column, regime in enumerate(regimes):
        panels: list[Any] = [axes for row in rows for axes in row[:, column]]
        top, radii, distance, noise = panels
        title = regime_title(regime, options.get("titles", {}))
        top.set_title(title)
        drawn = [
            removal_panel(top, regime),
            convergence_panel(radii, regime, ("radius_plus", "radius_minus")),
            convergence_panel(distance, regime, ("distance",)),
            noise_panel(noise, data, regime),
        ]
        radii.set(xlabel="", ylabel="radius")
        distance.set_ylabel("distance $D$")
        tables += [table.assign(regime=title) for table in drawn if len(table)]
        texts = (removal_text(regime), convergence_text(regime), noise_text(data, regime))
        parts.append(f"{title}: {'. '.join(texts)}")
    for subfigure, axes, columns in zip(subfigures, rows, (5, 3, 7), strict=True):
        legend_below(subfigure, list(axes.flat), columns)
    keys = (REMOVAL_KEY, CONVERGENCE_KEY, NOISE_KEY)
    summary = f"{'. '.join(parts)}. {' '.join(keys)}"
    table = pd.concat(tables, ignore_index=True)
    return FigureResult(fig, table, summary + missing_text(data))


def regime_title(regime: PruningExperiment, titles: dict[str, str]) -> str:
    run = regime.full or regime.pruned_runs()[0]
    words = titles.get(run.name, run.name)
    return f"{words}: P = {run.config['samples']}, H = {run.config['width']}"
