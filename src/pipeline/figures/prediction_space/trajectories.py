"""Figures 7 and S9: trajectories as a dendrogram, embedded, and what tells them apart.

Source: Mao et al., PNAS 121(12), 2024, Figs. 7, S9.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.importance import GEODESIC, SETTINGS
from pipeline.analysis.model_table import learning_rate
from pipeline.analysis.trajectory_results import (
    CONVOLUTIONAL,
    median_distance,
    networks_of_runs,
    runs_of,
    settings_that_vary,
    trained_text,
)
from pipeline.figures import style
from pipeline.figures.prediction_space.looks import (
    OPTIMIZER_NAMES,
    component_label,
    look,
    network_legend,
    networks_of,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.run_texts import network_name
from pipeline.runs import Run, RunGroups, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_LABELS = 60  # leaves that can be read
COVARIATE_NAMES = {
    "network": "network",
    "optimizer": "optimiser",
    "batch_size": "batch size",
    "weight_decay": "weight decay",
    "augmentation": "augmentation",
    GEODESIC: "distance to geodesic",
}
Array = NDArray[np.float64]


def dendrogram(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Complete linkage of the mean distances of configurations, with the geodesic as one more."""
    from scipy.cluster import hierarchy
    from scipy.spatial.distance import squareform

    known_options("dendrogram", options, ())
    found = analysis_with(data, "configuration_distance")
    runs = runs_of(found, data)
    distances = with_geodesic(found)
    links = hierarchy.linkage(squareform(distances, checks=False), "complete")
    tree = hierarchy.dendrogram(links, no_plot=True)
    names = [*configuration_names(runs), "geodesic"]
    readable = len(names) <= MOST_LABELS
    height = 0.9 + (0.125 * len(names) if readable else 7.0)
    fig = style.new_figure(style.COLUMN, height)
    axes = fig.subplots()
    for x, y in zip(tree["dcoord"], tree["icoord"], strict=True):
        axes.plot(x, y, color=style.GREY, lw=0.8, solid_joinstyle="miter")
    for place, leaf in enumerate(tree["leaves"]):
        color, marker = (
            look(runs[leaf].config["network"]) if leaf < len(runs) else (style.PINK, "*")
        )
        axes.plot(0, 10 * place + 5, marker=marker, color=color, ms=3.5, ls="", clip_on=False)
    order = [names[leaf] for leaf in tree["leaves"]]
    axes.set_ylim(0, 10 * len(names))
    axes.set_yticks(10 * np.arange(len(names)) + 5, order if readable else [""] * len(names))
    axes.tick_params(axis="y", length=0, labelsize=5.5, pad=5)
    axes.set_xlim(left=0)
    axes.set_xlabel("Bhattacharyya distance")
    axes.spines["left"].set_visible(False)
    if not readable:
        network_legend(axes, networks_of(runs), loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return FigureResult(fig, merge_table(links, names), _dendrogram_text(found, runs))


def with_geodesic(found: xr.Dataset) -> Array:
    """Distances (c + 1, c + 1) of configurations, and of the geodesic as the last one."""
    distances, far = (
        found[name].values for name in ("configuration_distance", "configuration_geodesic_distance")
    )
    return np.block([[distances, far[:, None]], [far[None], np.zeros((1, 1))]])


def merge_table(links: Array, names: list[str]) -> pd.DataFrame:
    """One row per merge of a linkage: what is merged, at which distance, and how many leaves there are."""
    rows = []
    for number, (first, second, distance, leaves) in enumerate(links):
        parts = [
            names[int(one)] if one < len(names) else f"merge {int(one) - len(names)}"
            for one in (first, second)
        ]
        rows.append((number, *parts, distance, int(leaves)))
    return pd.DataFrame(rows, columns=["merge", "first", "second", "distance", "leaves"])


def configuration_names(runs: list[Run]) -> list[str]:
    """What tells each configuration from the others, in words."""
    vary, names = settings_that_vary(runs), []
    for run in runs:
        parts = [network_name(str(run.config["network"]))]
        if "optimizer" in vary:
            name = str(run.config["optimizer"])
            parts.append(OPTIMIZER_NAMES.get(name, name))
        if "batch_size" in vary:
            parts.append(f"{run.config['batch_size']}")
        if "weight_decay" in vary:
            parts.append(f"wd {run.config['weight_decay']:g}")
        if run.config["augmentation"] != "none":
            parts.append("augmented")
        names.append(", ".join(parts))
    return [
        f"{name}, rate {learning_rate(run.config):g}" if names.count(name) > 1 else name
        for name, run in zip(names, runs, strict=True)
    ]


def _dendrogram_text(found: xr.Dataset, runs: list[Run]) -> str:
    distances = found["configuration_distance"].values
    far = found["configuration_geodesic_distance"].values
    networks = networks_of_runs(runs)
    alike, several = nearest_alike(distances, networks)
    text = (
        f"{_trained_text(found)} Distances (means at equal progress) of {len(runs)} configurations: median "
        f"{median_distance(distances):.3f}, largest {distances.max():.3f}."
    )
    if several:
        text += (
            f" Of {several} configurations whose network another one has too, {alike} have such a one "
            f"as their nearest, {'as' if alike > several / 2 else 'unlike'} in the paper, where clusters are "
            "networks."
        )
    convolutional = np.isin(networks, CONVOLUTIONAL)
    for words, members in (("convolutional", convolutional), ("other", ~convolutional)):
        if members.sum() > 1:
            size = distances[np.ix_(members, members)].max()
            text += f" Largest distance of {words} networks: {size:.3f} (paper: about 0.1)."
    last = far.min() > distances.max()
    return (
        f"{text} The geodesic is {far.min():.3f} or more from all trajectories, "
        + (
            "farther than any two of them."
            if last
            else "not farther than the farthest two of them."
        )
        + " The paper: far from all."
    )


def nearest_alike(
    distances: Array, networks: NDArray[Any], configurations: NDArray[np.int64] | None = None
) -> tuple[int, int]:
    """How many rows have one of the same network as their nearest of another configuration, and how many
    could have.

    Arguments
    ---------
    distances: (n, n); networks: (n,). configurations: (n,) of each row; None: each is its own.
    """
    own = np.arange(len(distances)) if configurations is None else configurations
    other = own[:, None] != own
    same = (networks[:, None] == networks) & other
    nearest = np.where(other, distances, np.inf).argmin(axis=1)
    return int(same[np.arange(len(own)), nearest].sum()), int(same.any(axis=1).sum())


def _trained_text(found: xr.Dataset) -> str:
    return f"{trained_text(found)}; {found.attrs['split']} samples."


def trajectory_embedding(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """InPCA of the distances of all trajectories, first component against the second and third."""
    known_options("trajectory_embedding", options, ())
    found = analysis_with(data, "trajectory_inpca")
    runs = runs_of(found, data, "trajectory")
    x, geodesic = found["trajectory_inpca"].values, found["geodesic_inpca"].values
    shown = min(3, x.shape[1])
    fig = style.new_figure(style.DOUBLE, 2.9)
    panels = fig.subplots(1, max(1, shown - 1), squeeze=False)[0]
    for component, axes in enumerate(panels, start=1):
        _scatter(axes, found, runs, x, geodesic, min(component, shown - 1))
    network_legend(panels[-1], networks_of(runs), loc="center left", bbox_to_anchor=(1, 0.5))
    _fill_legend(panels[0], runs)
    table = pd.DataFrame(
        {
            "run": [*(run.name for run in runs), "geodesic"],
            "network": [*(str(run.config["network"]) for run in runs), "geodesic"],
            "optimizer": [*(str(run.config["optimizer"]) for run in runs), ""],
            "seed": [*found["trajectory_seed"].values.tolist(), -1],
            **{f"pc{k + 1}": np.append(x[:, k], geodesic[k]) for k in range(shown)},
        }
    )
    alike, total = nearest_alike(
        found["trajectory_distance"].values, networks_of_runs(runs), found["trajectory_run"].values
    )
    stress = found["explained_stress"].values[shown - 1]
    summary = (
        f"{_trained_text(found)} The first {shown} components explain {100 * stress:.0f} % of the stress. "
        f"Of {total} trajectories whose network has other configurations, {alike} have one of these as their "
        "nearest of another configuration (the paper: clusters are networks). Fill: optimiser; star: the "
        "geodesic, put in as a new trajectory."
    )
    return FigureResult(fig, table, summary)


def _fills(runs: list[Run]) -> dict[str, float]:
    """How strongly markers are filled, by optimiser."""
    names = list(dict.fromkeys(str(run.config["optimizer"]) for run in runs))
    known = [name for name in OPTIMIZER_NAMES if name in names]
    ordered = known + [name for name in names if name not in known]
    return {name: k / max(1, len(ordered) - 1) for k, name in enumerate(ordered)}


def _scatter(
    axes: Axes, found: xr.Dataset, runs: list[Run], x: Array, geodesic: Array, component: int
) -> None:
    fills = _fills(runs)
    networks, optimizers = (
        np.array([str(run.config[key]) for run in runs]) for key in ("network", "optimizer")
    )
    for network in networks_of(runs):
        for optimizer, fill in fills.items():
            mine = (networks == network) & (optimizers == optimizer)
            color, marker = look(network)
            face = _lightened(color, fill)
            some = x[mine]
            axes.scatter(
                some[:, 0], some[:, component], s=16, marker=marker, facecolors=[face],
                edgecolors=color, linewidths=0.7,
            )  # fmt: skip
    axes.plot(geodesic[0], geodesic[component], "*", color=style.PINK, ms=8)
    axes.set_xlabel(component_label(found, 0))
    axes.set_ylabel(component_label(found, component))


def _lightened(color: str, fill: float) -> tuple[float, float, float]:
    """A colour mixed with white: 0 is white, 1 the colour."""
    from matplotlib.colors import to_rgb

    red, green, blue = (1 - fill * (1 - part) for part in to_rgb(color))
    return red, green, blue


def _fill_legend(axes: Axes, runs: list[Run]) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D(
            [], [], ls="", marker="o", ms=4, mec=style.GREY, mfc=_lightened(style.GREY, fill),
            label=OPTIMIZER_NAMES.get(name, name),
        )
        for name, fill in _fills(runs).items()
    ]  # fmt: skip
    star = Line2D([], [], ls="", marker="*", color=style.PINK, ms=7, label="geodesic")
    axes.legend(handles=[*handles, star], loc="best")


def importance(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Permutation importance of each covariate: of means over seeds, and dots of single seeds."""
    known_options("importance", options, ())
    found = analysis_with(data, "covariate_importance")
    names, varied = found.attrs["covariates"], found.attrs["varied"]
    values = found["covariate_importance"].values
    order = np.argsort(values[0], kind="stable")
    labels = [
        COVARIATE_NAMES.get(names[k], names[k])
        + ("" if names[k] == GEODESIC or names[k] in varied else " (one value)")
        for k in order
    ]
    fig = style.new_figure(style.COLUMN, 2.2)
    axes = fig.subplots()
    axes.barh(labels, values[0][order], color=style.SKY, height=0.6)
    for one in values[1:]:
        axes.plot(one[order], np.arange(len(order)), "o", ms=2.5, color=style.BLACK, alpha=0.6)
    axes.set_xlabel("share of variance lost when permuted")
    axes.axvline(0, color=style.GREY, lw=0.6)
    seeds = ["all", *(str(seed) for seed in found.attrs["seeds"])]
    table = pd.DataFrame(
        [
            {"seeds": which, "covariate": names[k], "importance": one[k]}
            for which, one in zip(seeds, values, strict=True)
            for k in order[::-1]
        ]
    )
    return FigureResult(fig, table, _importance_text(found))


def _importance_text(found: xr.Dataset) -> str:
    names, varied = found.attrs["covariates"], found.attrs["varied"]
    values = dict(zip(names, found["covariate_importance"].values[0], strict=True))
    ranked = sorted(varied, key=lambda key: -values[key])
    told = ", ".join(f"{COVARIATE_NAMES[key]} {values[key]:.2f}" for key in ranked)
    fixed = [COVARIATE_NAMES[key] for key in SETTINGS if key not in varied]
    text = (
        f"Importance of settings, {found.attrs['split']} samples: {told or 'none varies'}; distance to the "
        f"geodesic {values[GEODESIC]:.2f}. The forest predicts "
        f"{100 * found['forest_score'].values[0]:.0f} % of the variance of pairs that it has not seen."
    )
    if ranked:
        first = ranked[0] == "network"
        text += f" The network is {'' if first else 'not '}the most important setting; the paper: it is."
    if fixed:
        text += f" With one value at this scale: {', '.join(fixed)}."
    return text + " Dots: single seeds."
