"""Pairs of the first three coordinates of all models, coloured by what they are: figures 3 and S8.

Source: Mao et al., PNAS 121(12), 2024, Figs. 3a-3d, S8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding_results import embeddings_of
from pipeline.analysis.models import metric
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.prediction_space.embeddings import (
    AXES,
    coordinate_table,
    coordinates,
    geodesic_ends,
    geodesic_path,
    model_text,
)
from pipeline.figures.prediction_space.looks import (
    OPTIMIZER_NAMES,
    component_label,
    look,
    model_networks,
    networks_of,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PAIRS = tuple(combinations(range(AXES), 2))
FAR = 2.0  # distance to the truth from which on the colour of loss is the same
METRICS = {
    "loss": ("truth_distance", "distance to the truth", FAR),
    "error": ("error", "error", 1.0),
}
COLOURS = ("network", *METRICS, "closeness")
TARGETS = ("geodesic", "ends")
TARGET_COLORS = (style.VERMILLION, style.BLUE, style.GREEN, style.ORANGE, style.PINK)
ELSEWHERE = "#BBBBBB"
LETTERS = "ABCDE"
SIZE = 3.0
Array = NDArray[np.float64]


def pairwise(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. 3, S8: PC 1-3 in pairs, one row of panels for each way to colour them.

    Options
    -------
    rows: each a mapping with ``by``: network, loss (distance to the truth), error or closeness; of
    closeness also ``targets`` (geodesic or ends: the last models of some trajectories) and ``radius``: a
    model has the colour of its nearest target where that is nearer than the radius.
    """
    known_options("pairwise", options, ("rows",))
    found, runs = embeddings_of(data)[0], all_runs(data)
    rows = [check_row(row) for row in options.get("rows", [{"by": "network"}])]
    fig = style.new_figure(style.DOUBLE, 0.3 + 2.1 * len(rows))
    panels = fig.subplots(len(rows), len(PAIRS), squeeze=False)
    table, texts = coordinate_table(found, runs), []
    for axes, row in zip(panels, rows, strict=True):
        if row["by"] == "network":
            texts.append(_by_network(axes, data, found))
        elif row["by"] == "closeness":
            nearest, text = _by_closeness(axes, data, found, row)
            name = f"nearest_{row['targets']}"
            table[name] = pd.Series(nearest).reindex(table.index)
            texts.append(text)
        else:
            values, text = _by_metric(axes, data, found, row["by"])
            table[row["by"]] = pd.Series(values).reindex(table.index)
            texts.append(text)
    for axes in panels.flat:
        axes.tick_params(labelsize=6)
        axes.locator_params(nbins=5)
    summary = f"{model_text(found)} {found.attrs['split']} samples. {' '.join(texts)}"
    return FigureResult(fig, table, summary)


def check_row(row: Any) -> dict[str, Any]:
    """A row of panels with all of its keys, or PipelineError."""
    keys = {"by", "targets", "radius"}
    if not isinstance(row, Mapping) or row.get("by") not in COLOURS or set(row) - keys:
        raise PipelineError(
            f"The option rows has {row!r}; valid are mappings with by ({', '.join(COLOURS)}), and of "
            "closeness targets and radius."
        )
    if row["by"] == "closeness" and (row.get("targets") not in TARGETS or not row.get("radius")):
        raise PipelineError(
            f"The option rows has {row!r}; closeness needs targets ({' or '.join(TARGETS)}) and a radius."
        )
    return dict(row)


def _pairs(axes: Sequence[Axes], found: xr.Dataset) -> None:
    """What all rows have: labels, the geodesic, ignorance and truth."""
    path, ends = geodesic_path(found), geodesic_ends(found)
    for panel, (x, y) in zip(axes, PAIRS, strict=True):
        panel.plot(path[:, x], path[:, y], color=style.BLACK, lw=0.8, zorder=3)
        for text, point in ends.items():
            panel.annotate(text, (point[x], point[y]), (3, 3), textcoords="offset points", zorder=5)
        panel.set_xlabel(component_label(found, x))
        panel.set_ylabel(component_label(found, y), labelpad=1)


def _scatter(axes: Sequence[Axes], points: Array, **how: Any) -> Any:
    """Models (models, 3) on all three panels; returns what a colour bar needs."""
    settings = {"s": SIZE, "lw": 0, "rasterized": True, "alpha": 0.8, **how}
    return [
        panel.scatter(points[:, x], points[:, y], **settings)
        for panel, (x, y) in zip(axes, PAIRS, strict=True)
    ][-1]


def _by_network(axes: Sequence[Axes], data: RunGroups, found: xr.Dataset) -> str:
    points, networks = coordinates(found), model_networks(found, all_runs(data))
    there = networks_of(all_runs(data))
    for part in range(4):  # in turns, so that no network hides another whole
        for network in there:
            color, marker = look(network)
            mine = points[networks == network][part::4]
            name = network_name(network) if part == 0 else None
            _scatter(axes, mine, c=color, marker=marker, label=name)
    _pairs(axes, found)
    axes[-1].legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=2.5, handletextpad=0.1
    )
    return f"By network: {', '.join(map(network_name, there))}."


def _by_metric(
    axes: Sequence[Axes], data: RunGroups, found: xr.Dataset, name: str
) -> tuple[Array, str]:
    variable, label, highest = METRICS[name]
    split = found.attrs["split"]
    values = metric(analysis_with(data, "model_metrics"), variable, split)
    order = np.argsort(-values, kind="stable")  # small values above large ones
    drawn = _scatter(
        axes, coordinates(found)[order], c=values[order], cmap="viridis", vmin=0, vmax=highest
    )
    _pairs(axes, found)
    above = bool((values > highest).any())
    figure: Any = axes[-1].figure
    bar = figure.colorbar(drawn, ax=list(axes), extend="max" if above else "neither", pad=0.01)
    bar.set_label(label)
    bar.solids.set(alpha=1, rasterized=True)
    far = int((values > highest).sum())
    text = f"{label.capitalize()} from {values.min():.3g} to {values.max():.3g}"
    if name == "loss":
        text += f", in {far} models above {FAR:g} (away from the manifold)"
    return values, f"{text}."


def _by_closeness(
    axes: Sequence[Axes], data: RunGroups, found: xr.Dataset, row: Mapping[str, Any]
) -> tuple[NDArray[Any], str]:
    close = analysis_with(data, "target_distance")
    if close.attrs["split"] != found.attrs["split"] or close.sizes["model"] != found.sizes["model"]:
        raise PipelineError("The targets' distances and the embedding are of other models.")
    is_end = close["target_model"].values >= 0
    chosen = np.flatnonzero(is_end == (row["targets"] == "ends"))[: len(LETTERS)]
    if not chosen.size:
        return np.array(["none"] * found.sizes["model"]), _no_targets(axes, found, row)
    distances = close["target_distance"].values[chosen]
    nearest = np.where(distances.min(axis=0) < row["radius"], distances.argmin(axis=0), -1)
    points, names = coordinates(found), target_names(data, close, chosen)
    _scatter(axes, points[nearest < 0], c=ELSEWHERE, label="further away")
    for number, target in enumerate(chosen):
        color, name = TARGET_COLORS[number], f"{LETTERS[number]}: {names[number]}"
        _scatter(axes, points[nearest == number], c=color, label=name)
        at = target_point(found, close, target)
        for panel, (x, y) in zip(axes, PAIRS, strict=True):
            looks: dict[str, Any] = {
                "ha": "right",
                "va": "top",
                "fontweight": "bold",
                "color": color,
                "zorder": 6,
            }
            panel.annotate(
                LETTERS[number], (at[x], at[y]), (-2, -2), textcoords="offset points", **looks
            )
            panel.plot(*at[[x, y]], "k+", ms=5, zorder=4)
    _pairs(axes, found)
    axes[-1].legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=2.5, handletextpad=0.1, fontsize=6
    )
    counts = ", ".join(
        f"{int((nearest == k).sum())} to {LETTERS[k]} ({name})" for k, name in enumerate(names)
    )
    text = (
        f"Nearer than {row['radius']:g} are {counts}; {int((nearest < 0).sum())} of {nearest.size} models "
        "are near none."
    )
    if row["targets"] == "ends" and close.attrs["absent"]:
        text += f" No run is {' or '.join(map(_absent_text, close.attrs['absent']))}."
    letters = np.array([*LETTERS[: chosen.size], "none"])
    return letters[nearest], text


def _no_targets(axes: Sequence[Axes], found: xr.Dataset, row: Mapping[str, Any]) -> str:
    _scatter(axes, coordinates(found), c=ELSEWHERE)
    _pairs(axes, found)
    return f"No run is a target of kind {row['targets']}."


def target_names(data: RunGroups, close: xr.Dataset, chosen: NDArray[np.int64]) -> list[str]:
    """Targets in words."""
    of_name = {run.name: run for run in all_runs(data)}
    names = []
    for target in chosen:
        model = int(close["target_model"].values[target])
        if model < 0:
            names.append(str(close.attrs["targets"][target]))
            continue
        run = of_name[close.attrs["runs"][int(close["model_run"].values[model])]]
        network = network_name(run.config["network"])
        augmented = run.config["augmentation"] != "none"
        names.append(f"{network}{', augmented' if augmented else ''}")
    return names


def _absent_text(settings: str) -> str:
    """An end that no run has, in words, such as ``ViT, augmented``."""
    words = {"none": "not augmented", "crop_flip": "augmented", **OPTIMIZER_NAMES}
    return ", ".join(words.get(one, network_name(one)) for one in settings.split(", "))


def target_point(found: xr.Dataset, close: xr.Dataset, target: int) -> Array:
    """Coordinates (3,) of a target: those of its model, or between the stored points of the geodesic."""
    model = int(close["target_model"].values[target])
    if model >= 0:
        return np.asarray(coordinates(found)[model])
    at = float(close["target_progress"].values[target])
    stored, path = found["point_progress"].values, coordinates(found, "point_inpca")
    return np.array([np.interp(at, stored, axis) for axis in path.T])
