"""Embeddings in three dimensions, and what they explain: figures 2, 5, S11 and S12.

Source: Mao et al., PNAS 121(12), 2024, Figs. 2, 5, S11, S12.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding_results import (
    KIND_NAMES,
    embeddings_of,
    explained,
    geodesic_gap,
    network_count,
    signs,
)
from pipeline.analysis.model_table import learning_rate
from pipeline.analysis.models import metric
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.prediction_space.looks import (
    IGNORANCE,
    OPTIMIZER_NAMES,
    TRUTH,
    component_label,
    look,
    model_networks,
    network_legend,
    networks_of,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.figures.scatter_page import Cloud, Curve, scatter_page
from pipeline.run_texts import network_name
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.gridspec import SubplotSpec

AXES = 3
SIGN_LOOKS = {1: (style.BLUE, "o"), -1: (style.VERMILLION, "v"), 0: (style.GREY, "x")}
SIGN_NAMES = {1: "positive (space-like)", -1: "negative (time-like)", 0: "zero"}
QUANTITIES = {"explained_stress": "explained stress", "explained_variance": "explained variance"}
Array = NDArray[np.float64]


def embedding3d(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. 2a, 5a: the first three coordinates of all models, with the geodesic from ignorance to truth,
    as a picture and as a page.

    Options
    -------
    paper: what the paper has for the explained stress of three dimensions and the signs. first: whether
    the first record of each network is drawn (default true).
    """
    known_options("embedding3d", options, ("paper", "first"))
    found, runs = embeddings_of(data)[0], all_runs(data)
    if not options.get("first", True):
        found = found.isel(model=np.flatnonzero(found["model_update"].values > 0))
    fig = style.new_figure(style.COLUMN, 3.5)
    axes = axes3d(fig, fig.add_gridspec(1, 1)[0])
    draw_models3d(axes, found, runs)
    network_legend_below(fig, networks_of(runs))
    paper = options.get("paper") or paper_stress(found)
    text = (
        f"{model_text(found)} {found.attrs['split']} samples: the first three coordinates explain "
        f"{explained_text(found)} of the stress (the paper: {paper}), with signs {signs(found)}. Half "
        f"of the models are further than {np.median(geodesic_gap(found)):.3g} from the geodesic "
        "(black line, Bhattacharyya distance to the nearest of its points)."
    )
    page = models_page(data, found, f"InPCA of {found.attrs['split']} predictions")
    return FigureResult(fig, coordinate_table(found, runs), text, page)


def explained_stress(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. 2b, 5b: explained stress against the number of dimensions, with the signs of eigenvalues.

    Options
    -------
    paper: what the paper has for 3 and 50 dimensions.
    """
    known_options("explained_stress", options, ("paper",))
    found = embeddings_of(data)[0]
    fig = style.new_figure(style.COLUMN, 2.5)
    axes = fig.subplots()
    stress = found["explained_stress"].values
    numbers, signature = np.arange(1, len(stress) + 1), found["signature"].values
    axes.plot(numbers, stress, color=style.GREY, lw=0.8, zorder=1)
    for sign, (color, marker) in SIGN_LOOKS.items():
        mine = signature == sign
        if mine.any():
            name = SIGN_NAMES[sign]
            axes.plot(numbers[mine], stress[mine], marker, color=color, ms=3, ls="", label=name)
    axes.set(xlabel="number of dimensions", ylabel="explained stress", ylim=(0, 1.02))
    whole_numbers(axes)
    axes.legend(title="eigenvalue", loc="lower right")
    table = pd.DataFrame(
        {
            "component": numbers,
            "eigenvalue": found["eigenvalue"].values,
            "sign": signature,
            "explained_stress": stress,
            "explained_distance": found["explained_distance"].values,
        }
    )
    last, negative = len(stress), int((signature < 0).sum())
    of_cifar = "63 % and 95 %" if found.attrs["split"] == "test" else "76 % for 3, + − +"
    paper = options.get("paper") or of_cifar
    text = (
        f"{model_text(found)} {found.attrs['split']} samples: 3 dimensions explain "
        f"{explained_text(found)} of the stress, {last} explain {100 * stress[-1]:.1f} % (the paper, 3 and "
        f"50 dimensions: {paper}). The first three eigenvalues have the signs {signs(found)}; {negative} of "
        f"the first {last} are negative."
    )
    return FigureResult(fig, table, text)


def compared(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. S11, S12: embeddings by other distances, one picture each, and what they explain.

    Options
    -------
    quantity: explained_stress (default) or explained_variance. pictures: kinds of distances that have a
    picture (default all); the others are curves only.
    """
    known_options("compared", options, ("quantity", "pictures"))
    quantity, found = options.get("quantity", "explained_stress"), embeddings_of(data)
    if quantity not in QUANTITIES:
        raise PipelineError(f"quantity is {quantity!r}; valid is one of: {', '.join(QUANTITIES)}.")
    runs, kinds = all_runs(data), options.get("pictures", [one.attrs["kind"] for one in found])
    pictures = [one for one in found if one.attrs["kind"] in kinds]
    fig = style.new_figure(style.DOUBLE, 3.0)
    grid = fig.add_gridspec(1, len(pictures) + 1)
    tables = []
    for place, one in enumerate(pictures):
        axes = axes3d(fig, grid[0, place], zoom=0.8)
        draw_models3d(axes, one, runs)
        axes.set_title(name_of(one))
        tables.append(coordinate_table(one, runs).assign(embedding=name_of(one)))
    curves: Any = fig.add_subplot(grid[0, -1])
    curves.set_box_aspect(1)
    colors = (style.BLUE, style.ORANGE, style.GREEN, style.PINK)
    for one, color, marker in zip(found, colors, "osD^", strict=False):
        values = one[quantity].values[:20]
        curves.plot(
            np.arange(1, len(values) + 1), values, marker, color=color, ms=2.5, ls="-", lw=0.8
        )
        curves.lines[-1].set_label(name_of(one))
        rows = {"embedding": name_of(one), "component": np.arange(1, len(values) + 1)}
        tables.append(pd.DataFrame({**rows, quantity: values}))
    curves.set(xlabel="number of dimensions", ylabel=QUANTITIES[quantity], ylim=(0, 1.02))
    curves.legend(loc="lower right")
    network_legend_below(fig, networks_of(runs))
    text = "; ".join(
        f"{name_of(one)}: {explained_text(one, quantity)}, signs {signs(one)}" for one in found
    )
    left_out = any(one.attrs["kind"] == "symmetrised_kl" for one in pictures)
    gone = " By the symmetrised KL divergence the truth is infinitely far, so that it is left out."
    name = QUANTITIES[quantity].capitalize()
    text = f"{model_text(found[0])} the same samples. {name} of three dimensions: {text}."
    return FigureResult(
        fig, pd.concat(tables, ignore_index=True), text + (gone if left_out else "")
    )


def axes3d(fig: Figure, place: SubplotSpec, zoom: float = 0.9) -> Any:
    """Axes in three dimensions with thin grid lines, their box smaller than the place by ``zoom``."""
    import matplotlib

    with matplotlib.rc_context({"grid.linewidth": 0.3, "grid.color": "#cccccc"}):
        axes = fig.add_subplot(place, projection="3d")
    box: Any = axes
    box.set_box_aspect(None, zoom=zoom)
    return axes


def draw_models3d(axes: Any, found: xr.Dataset, runs: Sequence[Run], size: float = 2.0) -> None:
    """All models of an embedding, by network, with the geodesic, ignorance and truth."""
    points, networks = coordinates(found), model_networks(found, runs)
    for part in range(4):  # in turns, so that no network hides another whole
        for network in networks_of(runs):
            mine = points[networks == network][part::4]
            color, marker = look(network)
            axes.scatter(
                *mine.T,
                s=size,
                c=color,
                marker=marker,
                lw=0,
                alpha=0.7,
                rasterized=True,
                depthshade=False,
            )
    path = geodesic_path(found)
    axes.plot(*path.T, color=style.BLACK, lw=1.2, zorder=10)
    for text, point in geodesic_ends(found).items():
        axes.text(*point, text, fontsize=9, fontweight="bold", zorder=1000)
    named = (axes.set_xlabel, axes.set_ylabel, axes.set_zlabel)
    for number, label in enumerate(named):
        pad = -5 if number == 2 else -8
        label(component_label(found, number), labelpad=pad, fontsize=7)
    axes.tick_params(labelsize=5, pad=-3)
    axes.tick_params(axis="z", pad=0)
    axes.locator_params(nbins=3)


def coordinates(found: xr.Dataset, variable: str = "inpca") -> Array:
    """The first three coordinates of all models or points."""
    return np.asarray(found[variable].values[..., :AXES])


def geodesic_path(found: xr.Dataset) -> Array:
    """(points, 3) the geodesic; without the truth where that is infinitely far."""
    path = coordinates(found, "point_inpca")
    return path[:-1] if found.attrs["kind"] == "symmetrised_kl" else path


def geodesic_ends(found: xr.Dataset) -> dict[str, Array]:
    """Ignorance and truth, by their signs; no truth where that is infinitely far."""
    points = coordinates(found, "point_inpca")
    ends = {IGNORANCE: points[0], TRUTH: points[-1]}
    if found.attrs["kind"] == "symmetrised_kl":
        del ends[TRUTH]
    return ends


def models_page(data: RunGroups, found: xr.Dataset, title: str) -> str:
    """The page of an embedding of all models: hovering shows network, optimiser, seed, epoch and error.

    The error is shown where an analysis with ``model_metrics`` is given that holds the models.
    """
    runs = all_runs(data)
    networks, labels = model_networks(found, runs), model_labels(data, found)
    clouds = []
    for network in networks_of(runs):
        mine = np.flatnonzero(networks == network)
        some, color_marker = coordinates(found)[mine], look(network)
        told = [labels[model] for model in mine]
        clouds.append(Cloud(network_name(network), *color_marker, some, told))
    plain = {"P₀ (ignorance)": IGNORANCE, "P* (truth)": TRUTH}
    ends = geodesic_ends(found)
    marks = {text: ends[sign] for text, sign in plain.items() if sign in ends}
    curves = [Curve("geodesic", style.BLACK, geodesic_path(found))]
    axes = [component_label(found, number) for number in range(AXES)]
    return scatter_page(title, axes, clouds, curves, marks)


def model_labels(data: RunGroups, found: xr.Dataset) -> list[str]:
    """What is said of each model: network, settings, seed, epoch, and its error where an analysis with
    ``model_metrics`` is given, whose models are matched by run, seed and update.
    """
    of_name = {run.name: run_text(run) for run in all_runs(data)}
    names = [of_name.get(name, name) for name in found.attrs["runs"]]
    split = found.attrs["split"]
    errors: dict[tuple[str, int, int], float] = {}
    for one in data.analyses.values():
        if "model_metrics" in one:
            errors |= dict(zip(_model_keys(one), metric(one, "error", split), strict=True))
    told = []
    columns = (found[f"model_{name}"].values.tolist() for name in ("run", "seed", "epoch"))
    for key, run, seed, epoch in zip(_model_keys(found), *columns, strict=True):
        error = f", {split} error {errors[key]:.3g}" if key in errors else ""
        told.append(f"{names[run]}, seed {seed}, epoch {epoch:.3g}{error}")
    return told


def _model_keys(found: xr.Dataset) -> list[tuple[str, int, int]]:
    """(run, seed, update) of each model of a result."""
    names = found.attrs["runs"]
    columns = (found[f"model_{name}"].values.tolist() for name in ("run", "seed", "update"))
    return [(names[run], seed, update) for run, seed, update in zip(*columns, strict=True)]


def run_text(run: Run) -> str:
    """Network and settings of a run in words."""
    config = run.config
    parts = [
        network_name(config["network"]),
        OPTIMIZER_NAMES.get(config["optimizer"], config["optimizer"]),
        f"batch {config['batch_size']}",
        f"rate {learning_rate(config):g}",
    ]
    if config["weight_decay"]:
        parts.append(f"weight decay {config['weight_decay']:g}")
    if config["augmentation"] != "none":
        parts.append("augmented")
    if config["labelling"] is not None:
        parts.append(f"random labelling {config['labelling']}")
    if config["start_from"] is not None:
        parts.append(f"after {config['start_from']}")
    return ", ".join(parts)


def coordinate_table(found: xr.Dataset, runs: Sequence[Run]) -> pd.DataFrame:
    """All models with their coordinates, then the points of the geodesic."""
    names = [f"pc{k + 1}" for k in range(AXES)]
    models = pd.DataFrame(coordinates(found), columns=names)
    models.insert(0, "network", model_networks(found, runs))
    models.insert(1, "run", np.asarray(found.attrs["runs"])[found["model_run"].values])
    for place, name in enumerate(("seed", "update", "epoch")):
        models.insert(2 + place, name, found[f"model_{name}"].values)
    path = pd.DataFrame(geodesic_path(found), columns=names)
    path.insert(0, "network", "geodesic")
    path.insert(1, "progress", found["point_progress"].values[: len(path)])
    return pd.concat([models, path], ignore_index=True)


def model_text(found: xr.Dataset) -> str:
    """How many models of how many networks, on."""
    return f"{found.sizes['model']} models of {network_count(found)} networks on"


def explained_text(found: xr.Dataset, quantity: str = "explained_stress") -> str:
    """What three dimensions explain, in per cent."""
    return f"{100 * explained(found, AXES, quantity):.1f} %"


def paper_stress(found: xr.Dataset) -> str:
    """The paper's explained stress of three dimensions."""
    return "63 %" if found.attrs["split"] == "test" else "76 %, + − +"


def name_of(found: xr.Dataset) -> str:
    """Kind of distance and split of an embedding in words."""
    return f"{KIND_NAMES.get(found.attrs['kind'], found.attrs['kind'])}, {found.attrs['split']}"


def whole_numbers(axes: Axes) -> None:
    """Ticks of the x axis at whole numbers only."""
    from matplotlib.ticker import MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))


def network_legend_below(fig: Any, networks: Sequence[str]) -> None:
    """The networks below all panels, in one row or two."""
    wide = fig.get_figwidth() > style.COLUMN
    network_legend(
        fig, networks, loc="outside lower center", ncols=6 if wide else 3, columnspacing=1.0
    )
