"""Figure S13: progress and error of six means of an ensemble's predictions.

Source: Mao et al., PNAS 121(12), 2024, App. D.4, Fig. S13.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.figures import style
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import RunGroups, analysis_with

CENTROID_LOOKS = {
    "arithmetic": (style.BLACK, "-", "arithmetic mean"),
    "root_arithmetic": (style.SKY, "--", "root-arithmetic mean"),
    "geometric": (style.BLUE, "-.", "geometric mean"),
    "harmonic": (style.GREEN, "-", "harmonic mean"),
    "bhattacharyya": (style.ORANGE, "--", "Bhattacharyya"),
    "jeffreys": (style.VERMILLION, ":", "Jeffreys"),
}
QUANTITIES = ("progress", "error")


def centroids(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Progress and error of the means against epochs, a column per split, grey: networks; below, what
    their progress is above the mean of the networks'.
    """
    known_options("centroids", options, ())
    found = analysis_with(data, "centroid_progress")
    splits, epochs = found.attrs["splits"], found["record_epoch"].values
    fig = style.new_figure(style.DOUBLE, 5.4)
    panels = fig.subplots(3, len(splits), sharex=True, sharey="row", squeeze=False)
    for row, quantity in zip(panels, QUANTITIES, strict=False):
        for place, axes in enumerate(row):
            each = found[f"network_{quantity}"].values[place]
            axes.plot(epochs, each.T, color=style.GREY, lw=0.5, alpha=0.4)
            for k, kind in enumerate(found.attrs["centroids"]):
                color, ls, name = CENTROID_LOOKS.get(kind, (style.PINK, "-", kind))
                values = found[f"centroid_{quantity}"].values[place, k]
                axes.plot(epochs, values, color=color, ls=ls, lw=1.1, label=name)
            style.epoch_axis(axes, max(1, int(np.ceil(epochs[-1]))), label=False)
            axes.set_ylim(0, 1)
            if quantity == QUANTITIES[0]:
                axes.set_title(f"{splits[place]} samples", loc="left")
        row[0].set_ylabel(quantity)
    for place, axes in enumerate(panels[-1]):
        middle = found["network_progress"].values[place].mean(axis=0)
        axes.axhline(0, color=style.GREY, lw=0.6)
        for k, kind in enumerate(found.attrs["centroids"]):
            color, ls, _ = CENTROID_LOOKS.get(kind, (style.PINK, "-", kind))
            values = found["centroid_progress"].values[place, k] - middle
            axes.plot(epochs, values, color=color, ls=ls, lw=1.1)
        axes.set_xlabel("epoch")
    panels[-1][0].set_ylabel("progress gained")
    handles, labels = panels[0][0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside lower center", ncols=3)
    return FigureResult(fig, _table(found), _summary(found))


def _table(found: xr.Dataset) -> pd.DataFrame:
    rows = []
    for place, split in enumerate(found.attrs["splits"]):
        for k, kind in enumerate(found.attrs["centroids"]):
            columns = {"split": split, "of": kind, "epoch": found["record_epoch"].values}
            for quantity in QUANTITIES:
                columns[quantity] = found[f"centroid_{quantity}"].values[place, k]
            rows.append(pd.DataFrame(columns))
        columns = {"split": split, "of": "networks (mean)", "epoch": found["record_epoch"].values}
        for quantity in QUANTITIES:
            columns[quantity] = found[f"network_{quantity}"].values[place].mean(axis=0)
        rows.append(pd.DataFrame(columns))
    return pd.concat(rows, ignore_index=True)


def _summary(found: xr.Dataset) -> str:
    kinds, test = found.attrs["centroids"], found.attrs["splits"].index("test")
    progress, error = (found[f"centroid_{one}"].values[test, :, -1] for one in QUANTITIES)
    networks = [found[f"network_{one}"].values[test, :, -1].mean() for one in QUANTITIES]
    told = "; ".join(
        f"{CENTROID_LOOKS.get(kind, ('', '', kind))[2]} {progress[k]:.3f}, {100 * error[k]:.2f} %"
        for k, kind in enumerate(kinds)
    )
    text = (
        f"n = {found.sizes['network']} networks. Progress and error on test samples at the end: {told}; "
        f"single networks on average {networks[0]:.3f}, {100 * networks[1]:.2f} %."
    )
    if "harmonic" in kinds:
        k = kinds.index("harmonic")
        furthest, best = progress[k] >= np.nanmax(progress), error[k] <= np.nanmin(error)
        text += (
            f" The harmonic mean has {'' if furthest else 'not '}the highest progress and "
            f"{'' if best else 'not '}the lowest error of all (the paper: both)."
        )
    if undefined := found.attrs["undefined"]:
        text += f" Not found: {len(undefined)} means."
    return text
