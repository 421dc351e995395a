"""Figures 2B and A2 of the memorisation paper: UMAP of features at init, best and final epoch.

Source: Stephenson et al., ICLR 2021, Figs. 2B, A.2. The embeddings come from
``analysis.umap_features``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.memorization.looks import gone_text, one_network_text
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import RunGroups, all_runs, analysis_with

# Ten classes that are told apart with any colour vision: P. Tol's "muted" colours, and black.
CLASS_COLORS = (
    *("#332288", "#88CCEE", "#44AA99", "#117733", "#999933"),
    *("#DDCC77", "#CC6677", "#882255", "#AA4499", style.BLACK),
)


def embeddings(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """A row per moment, a column per kind of manifold, points coloured by their class.

    Option: ``layer`` (the first that was embedded), by name.
    """
    from matplotlib.colors import to_rgba_array

    known_options("embeddings", options, ("layer",))
    found = analysis_with(data, "umap").isel(run=0, recorded_seed=0)
    layers = [str(name) for name in found.attrs["layer_names"]]
    layer = options.get("layer", layers[0])
    if layer not in layers:
        raise PipelineError(f"layer = {layer!r} was not embedded; valid are: {', '.join(layers)}.")
    points = found["umap"].isel(layer=layers.index(layer)).transpose("moment", "point", "component")
    kinds, moments = ([str(one) for one in found.attrs[key]] for key in ("kinds", "moments"))
    of_kind, classes = found["umap_kind"].values, found["umap_class"].values
    epochs = found["umap_epoch"].values
    there = np.isfinite(points.values).all(axis=-1)
    fig = style.new_figure(style.DOUBLE, 0.3 + 1.6 * len(moments))
    panels = fig.subplots(len(moments), len(kinds), squeeze=False)
    colors = to_rgba_array(list(CLASS_COLORS))
    tables = []
    for row, moment in enumerate(moments):
        for column, kind in enumerate(kinds):
            mine = (of_kind == column) & there[row]
            xy = points.values[row][mine]
            panels[row, column].scatter(
                xy[:, 0], xy[:, 1], s=4, color=colors[classes[mine] % len(colors)], linewidths=0
            )
            panels[row, column].set(xticks=[], yticks=[])
            frame = {"moment": moment, "kind": kind, "class": classes[mine]}
            tables.append(pd.DataFrame({**frame, "x": xy[:, 0], "y": xy[:, 1]}))
            if row == 0:
                panels[row, column].set_title(kind)
        panels[row, 0].set_ylabel(f"{moment} (epoch {int(epochs[row])})")
    count = len(np.unique(classes))
    summary = (
        f"Features of layer {layer}, an embedding of its own per panel; colours: {count} classes, of the "
        "permuted points the random label's. Axes of UMAP have no units."
        f"{one_network_text(int(found['recorded_seed']), all_runs(data)[0])}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary + gone_text(data))
