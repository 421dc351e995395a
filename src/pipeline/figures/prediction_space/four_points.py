"""Figures 11 and 12: the four-point embedding beside the embedding of all models.

Source: Mao et al., PNAS 121(12), 2024, Figs. 11 and 12. Embeddings come from ``analysis.four_points``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.figures import style
from pipeline.figures.prediction_space.embeddings import model_labels, run_text
from pipeline.figures.prediction_space.looks import (
    IGNORANCE,
    NETWORK_LOOKS,
    TRUTH,
    look,
    model_networks,
    network_legend,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.figures.scatter_page import Cloud, scatter_page, sentence_page
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 20_000  # models that are drawn; of more, at even steps
ALIKE = 0.1  # of explained distances: the threshold of the rows of the scorecard
TOLD = 6  # runs whose settings the text names, at most
SHOWN = 10  # dimensions of the embedding of all models
CHOICE_LOOKS = ((style.ORANGE, "s"), (style.GREEN, "D"), (style.BLUE, "^"), (style.VERMILLION, "v"))
PLANES = ((0, 1), (0, 2), (1, 2))
STAR: Any = {"s": 30, "c": style.YELLOW, "marker": "*", "ec": style.BLACK, "lw": 0.5}
TURNS = 4  # in which networks are drawn, so that none hides another whole
Array = NDArray[np.float64]


def explained(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. 11 and 12c: explained pairwise distances against the number of dimensions.

    Filled markers are space-like dimensions, open ones time-like.
    """
    known_options("explained", options, ())
    found = analysis_with(data, "four_point_rmsd")
    fig = style.new_figure(style.COLUMN, 2.6)
    axes = fig.subplots()
    count = min(SHOWN, found.sizes["component"])
    of_all = found["explained_distance"].values[:count], found["signature"].values[:count]
    curves = {"all models": (*of_all, style.BLACK, "o")}
    for choice in _defined(found):
        values = found["four_point_explained"].values[choice]
        signs = found["four_point_signature"].values[choice]
        color, marker = CHOICE_LOOKS[choice % len(CHOICE_LOOKS)]
        curves[f"four points, {_at_text(found, choice)}"] = (values, signs, color, marker)
    tables: list[pd.DataFrame] = []
    for name, (values, signs, color, marker) in curves.items():
        dimensions = np.arange(1, len(values) + 1)
        shift = 0.1 * len(tables)  # else markers hide one another
        _signed_curve(axes, dimensions + shift, values, signs, color, marker, name)
        frame = {"embedding": name, "dimensions": dimensions}
        tables.append(pd.DataFrame({**frame, "explained": values, "signature": signs}))
    axes.set(xlabel="dimensions", ylabel="explained pairwise distance", xticks=range(1, count + 1))
    lowest = min(float(np.min(values)) for values, *_ in curves.values())
    axes.set_ylim(min(0.0, lowest) - 0.03, 1.03)
    axes.legend(loc="lower right", title="filled: space-like, open: time-like", title_fontsize=7)
    return FigureResult(fig, pd.concat(tables, ignore_index=True), _explained_text(data, found))


def picture(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 12a: the models in the first four-point embedding, aligned with the embedding of all."""
    import matplotlib

    known_options("picture", options, ())
    found = analysis_with(data, "four_point_rmsd")
    choice = _first(found)
    fig: Any = style.new_figure(style.COLUMN, 3.3)
    with matplotlib.rc_context({"grid.linewidth": 0.3, "grid.color": "#cccccc"}):
        axes: Any = fig.add_subplot(projection="3d")
    networks, drawn = model_networks(found, all_runs(data)), _drawn(found)
    points, names = _coordinates(found, choice)[0], _order(networks)
    _scattered(axes, points, networks, drawn, depthshade=False)
    places = found["four_point_place"].values[choice]
    for label, place in zip(_point_names(found, choice), places, strict=True):
        if np.isfinite(place).all():
            axes.scatter(*place, **STAR, depthshade=False)
            axes.text(*place, f" {label}", fontsize=7, zorder=1000)
    axes.set(xlabel="PC 1", ylabel="PC 2", zlabel="PC 3")
    axes.tick_params(labelsize=5, pad=-3)
    for one in (axes.xaxis, axes.yaxis, axes.zaxis):
        one.labelpad = -6
    axes.set_box_aspect(None, zoom=0.87)  # else the label of the third axis is cut
    network_legend(fig, names, loc="outside upper center", ncol=3)
    table = _table(found, networks, choice, drawn, "four points")
    text = _picture_text(found, choice, networks, drawn)
    return FigureResult(fig, table, text, _page(data, choice, networks, drawn, text))


def projections(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 12b: planes of the embedding of all models (above) and of the four-point one (below)."""
    known_options("projections", options, ())
    found = analysis_with(data, "four_point_rmsd")
    choice = _first(found)
    networks, drawn = model_networks(found, all_runs(data)), _drawn(found)
    four, reference = _coordinates(found, choice)
    fig: Any = style.new_figure(style.DOUBLE, 4.2)
    panels = fig.subplots(2, len(PLANES), sharex="col", sharey="col")
    for row, points in enumerate((reference, four)):
        for column, (x, y) in enumerate(PLANES):
            axes = panels[row, column]
            _scattered(axes, points[:, [x, y]], networks, drawn)
            axes.set_ylabel(f"PC {y + 1}")
            if row == 1:
                axes.set_xlabel(f"PC {x + 1}")
        panels[row, 0].set_title(("all models", "four points")[row], loc="left")
    places = found["four_point_place"].values[choice]
    for column, (x, y) in enumerate(PLANES):
        panels[1, column].scatter(places[:, x], places[:, y], **STAR)
    names = _order(networks)
    network_legend(fig, names, loc="outside upper center", ncol=6)
    tables = [
        _table(found, networks, choice, drawn, name) for name in ("all models", "four points")
    ]
    text = _picture_text(found, choice, networks, drawn)
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text)


def _scattered(
    axes: Any, points: Array, networks: NDArray[Any], drawn: NDArray[np.int64], **more: Any
) -> None:
    """Models as points, by network."""
    for part in range(TURNS):
        for name in _order(networks):
            mine = drawn[networks[drawn] == name][part::TURNS]
            color, marker = look(name)
            looks: Any = {
                "s": 5,
                "c": color,
                "marker": marker,
                "alpha": 0.5,
                "linewidths": 0,
                **more,
            }
            axes.scatter(*points[mine].T, rasterized=True, **looks)


def _page(
    data: RunGroups,
    choice: int,
    networks: NDArray[Any],
    drawn: NDArray[np.int64],
    text: str,
) -> str:
    """The picture to turn and zoom; hovering shows settings, seed, epoch and error of a model."""
    found = analysis_with(data, "four_point_rmsd")
    four, _ = _coordinates(found, choice)
    if not np.isfinite(four).all():
        return sentence_page(text)
    told, clouds = model_labels(data, found), []
    for name in _order(networks):
        mine = drawn[networks[drawn] == name]
        labels = [told[k] for k in mine]
        clouds.append(Cloud(network_name(name), *look(name), four[mine], labels))
    first, second = found["four_point_at"].values[choice]
    names = ("ignorance", "truth", f"s = {first:g}", f"s = {second:g}")
    marks = dict(zip(names, found["four_point_place"].values[choice], strict=True))
    return scatter_page("Embedding of four points", ("PC 1", "PC 2", "PC 3"), clouds, (), marks)


def _signed_curve(
    axes: Axes, x: Any, values: Array, signs: Any, color: str, marker: str, name: str
) -> None:
    axes.plot(x, values, color=color, lw=1.0)
    for filled in (True, False):
        mine = (signs > 0) == filled
        face = color if filled else "white"
        axes.plot(x[mine], values[mine], marker, color=color, mfc=face, ms=4.5)
    axes.plot([], [], f"{marker}-", color=color, ms=4.5, lw=1.0, label=name)


def _defined(found: xr.Dataset) -> list[int]:
    """The pairs of progress that have models near them."""
    return [int(one) for one in np.flatnonzero(np.isfinite(found["four_point_rmsd"].values))]


def _first(found: xr.Dataset) -> int:
    """The first of them; the first of all where there is none."""
    return next(iter(_defined(found)), 0)


def _at_text(found: xr.Dataset, choice: int) -> str:
    first, second = found["four_point_at"].values[choice]
    return f"s = {first:g}, {second:g}"


def _point_names(found: xr.Dataset, choice: int) -> list[str]:
    first, second = found["four_point_at"].values[choice]
    return [IGNORANCE, TRUTH, f"$P_{{{first:g}}}$", f"$P_{{{second:g}}}$"]


def _coordinates(found: xr.Dataset, choice: int) -> tuple[Array, Array]:
    """(models, 3) in the four-point embedding and in that of all models."""
    four = found["four_point_inpca"].values[choice]
    return four, found["inpca"].values[:, : four.shape[1]]


def _order(networks: NDArray[Any]) -> list[str]:
    there = set(networks.tolist())
    return [*(one for one in NETWORK_LOOKS if one in there), *sorted(there - set(NETWORK_LOOKS))]


def _drawn(found: xr.Dataset) -> NDArray[np.int64]:
    """Indices of the models that are drawn."""
    count = found.sizes["model"]
    return np.unique(np.linspace(0, count - 1, min(count, MOST)).astype(np.int64))


def _table(
    found: xr.Dataset, networks: NDArray[Any], choice: int, drawn: NDArray[np.int64], name: str
) -> pd.DataFrame:
    four, reference = _coordinates(found, choice)
    x = (four if name == "four points" else reference)[drawn]
    return pd.DataFrame(
        {
            "embedding": name,
            "network": networks[drawn],
            "run": np.array(found.attrs["runs"])[found["model_run"].values[drawn]],
            "seed": found["model_seed"].values[drawn],
            "epoch": found["model_epoch"].values[drawn],
            "progress": found["four_point_progress"].values[drawn],
            **{f"pc{k + 1}": x[:, k] for k in range(x.shape[1])},
        }
    )


def _signs(values: NDArray[np.int64]) -> str:
    return ", ".join({1: "+", -1: "−"}.get(int(one), "0") for one in values[:3])


def _explained_text(data: RunGroups, found: xr.Dataset) -> str:
    networks = _order(model_networks(found, all_runs(data)))
    names = ", ".join(network_name(one) for one in networks)
    of_name = {run.name: run for run in all_runs(data)}
    runs = [of_name[found.attrs["runs"][place]] for place in np.unique(found["model_run"].values)]
    if len(runs) <= TOLD:
        names = "; ".join(run_text(run) for run in runs)
    three = found["explained_distance"].values[:3][-1]
    parts = [f"all models {three:.3f} (signs {_signs(found['signature'].values)})"]
    gaps = []
    for choice in _defined(found):
        value = found["four_point_explained"].values[choice][-1]
        gaps.append(abs(value - three))
        signs = _signs(found["four_point_signature"].values[choice])
        parts.append(f"four points with {_at_text(found, choice)} {value:.3f} (signs {signs})")
    text = (
        f"{found.sizes['model']} models of {len(runs)} runs ({names}), {found.attrs['left_out']} more have "
        f"a distance to the truth of {found.attrs['limit']:g} or more; both embeddings are of these models "
        "alone. Explained with three dimensions: "
        f"{'; '.join(parts)}."
    )
    if gaps:
        alike = (
            "As in the paper, they are alike" if max(gaps) < ALIKE else "The paper's are more alike"
        )
        text += f" {alike}: they differ by up to {max(gaps):.3f}."
    return text + _undefined_text(found)


def _picture_text(
    found: xr.Dataset, choice: int, networks: NDArray[Any], drawn: NDArray[np.int64]
) -> str:
    four, reference = _coordinates(found, choice)
    spread = float(np.sqrt(((reference - reference.mean(axis=0)) ** 2).sum(axis=1).mean()))
    rmsd = float(found["four_point_rmsd"].values[choice])
    count = found.sizes["model"]
    shown = f", {len(drawn)} of them drawn," if len(drawn) < count else ""
    text = (
        f"{count} models{shown} of {len(_order(networks))} networks with a distance to the truth below "
        f"{found.attrs['limit']:g} ({found.attrs['left_out']} left out)."
    )
    if np.isfinite(four).all():
        text += (
            f" Points: {_at_text(found, choice)}. RMSD after alignment {rmsd:.3f} (the paper's 0.06), "
            f"{100 * rmsd / spread:.0f} % of the models' own spread of {spread:.3f}. Stars: the four "
            "points."
        )
    return text + _undefined_text(found)


def _undefined_text(found: xr.Dataset) -> str:
    reasons = list(found.attrs["undefined"])
    return f" Not embedded: {' '.join(reasons)}" if reasons else ""
