"""Figs. S14 to S17 of prediction space: the synthetic task with sloppy inputs, and starts near corners.

Source: Mao et al., PNAS 121(12), 2024, App. E.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr

from pipeline.analysis.embedding_results import embeddings_of, explained, network_count, signs
from pipeline.analysis.synthetic_results import corner_results, group_of, task_of
from pipeline.figures import style
from pipeline.figures.memorization.looks import gone_text
from pipeline.figures.prediction_space.embeddings import (
    axes3d,
    draw_models3d,
    network_legend_below,
)
from pipeline.figures.prediction_space.looks import component_label, networks_of
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TASK_LOOKS = {"not sloppy": (style.BLUE, "o"), "sloppy": (style.VERMILLION, "s")}
SPLIT_LINES = {"train": "-", "test": ":"}
SHOWN = 20  # dimensions of curves
LEAST = 1e-12  # eigenvalues of the inputs below it, relative to the largest, are rounding
CORNER_LOOKS = (
    *((style.BLUE, "o"), (style.ORANGE, "s"), (style.GREEN, "D"), (style.PINK, "^")),
    *((style.SKY, "v"), (style.VERMILLION, "P")),
)


def figS14(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S14: eigenvalues of the covariance of the training inputs of each synthetic data set."""
    known_options("figS14", options, ())
    found = analysis_with(data, "input_eigenvalue")
    fig = style.new_figure(style.COLUMN, 2.5)
    axes = fig.subplots()
    tables, texts = [], []
    for row, group in enumerate(found.attrs["groups"]):
        values = found["input_eigenvalue"].values[row]
        values = values[values > LEAST * np.nanmax(values)]
        numbers = np.arange(1, len(values) + 1)
        task = task_of(str(group))
        color, marker = TASK_LOOKS.get(task, (style.GREY, "x"))
        axes.plot(numbers, values, marker, ls="-", lw=0.6, ms=2, color=color, label=task)
        shares = found["class_share"].values[row]
        shares = shares[np.isfinite(shares)]
        columns = {"task": task, "number": numbers, "eigenvalue": values}
        tables.append(pd.DataFrame(columns))
        decay = -np.polyfit(numbers, np.log(values), 1)[0] if len(values) > 1 else 0.0
        texts.append(
            f"{task} {values[0]:.3g} to {values[-1]:.3g}, falling by a factor exp({decay:.3g}) each; "
            f"classes hold {100 * shares.min():.0f} to {100 * shares.max():.0f} % of the samples"
        )
    axes.set_yscale("log")
    axes.set(xlabel="number of the eigenvalue", ylabel="eigenvalue of the inputs' covariance")
    axes.legend()
    text = f"Eigenvalues of the training inputs' covariance: {'; '.join(texts)}."
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def figS15(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S15: explained stress of each task on training and test samples, and the first three
    coordinates of the training embeddings.
    """
    known_options("figS15", options, ())
    found, runs = embeddings_of(data), all_runs(data)
    pictures = [one for one in found if one.attrs["split"] == "train"]
    fig = style.new_figure(style.DOUBLE, 2.9)
    grid = fig.add_gridspec(1, 1 + len(pictures))
    axes: Any = fig.add_subplot(grid[0, 0])
    axes.set_box_aspect(1)
    tables, texts = [], []
    for one in found:
        task = task_of(group_of(data, one))
        color, marker = TASK_LOOKS.get(task, (style.GREY, "x"))
        split = str(one.attrs["split"])
        looks: dict[str, Any] = {
            "color": color,
            "ls": SPLIT_LINES[split],
            "label": f"{task}, {split}",
        }
        tables.append(_stress_curve(axes, one, marker, looks).assign(task=task, split=split))
        texts.append(f"{task}, {split} {_shares(one)}, signs {signs(one)}")
    axes.legend(loc="lower right", fontsize=6)
    for place, one in enumerate(pictures):
        picture = axes3d(fig, grid[0, place + 1], zoom=0.8)
        group = group_of(data, one)
        draw_models3d(picture, one, data[group])
        picture.set_title(task_of(group))
        tables.append(_coordinates(one).assign(task=task_of(group), split="train"))
    network_legend_below(fig, networks_of(runs))
    text = (
        f"{network_count(found[0])} networks of each task. Explained stress of 3 and 10 dimensions: "
        f"{'; '.join(texts)} (paper: 99 % in 10 dimensions in its App. E, 87 % in its discussion; slightly "
        "lower for sloppy inputs)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def _stress_curve(
    axes: Axes, found: xr.Dataset, marker: str, looks: dict[str, Any]
) -> pd.DataFrame:
    """Explained stress against the number of dimensions."""
    from matplotlib.ticker import MaxNLocator

    stress = found["explained_stress"].values[:SHOWN]
    numbers = np.arange(1, len(stress) + 1)
    axes.plot(numbers, stress, marker=marker, ms=2.5, lw=0.9, **looks)
    axes.set(xlabel="number of dimensions", ylabel="explained stress", ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return pd.DataFrame({"dimensions": numbers, "explained_stress": stress})


def _shares(found: xr.Dataset) -> str:
    """What 3 and 10 dimensions explain, or as many as are stored."""
    stored = found.sizes["component"]
    values = [100 * explained(found, min(count, stored)) for count in (3, 10)]
    return f"{values[0]:.1f} % and {values[1]:.1f} %"


def _coordinates(found: xr.Dataset) -> pd.DataFrame:
    """Run, seed, update and the first coordinates of all models."""
    columns = {f"pc{k + 1}": values for k, values in enumerate(found["inpca"].values.T[:3])}
    names = np.asarray(found.attrs["runs"])[found["model_run"].values]
    told = {name: found[f"model_{name}"].values for name in ("seed", "update")}
    return pd.DataFrame({"run": names, **told, **columns})


def figS16(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S16: explained stress of equally many trajectories out of 1, 2, 5 and 10 corners, and the
    embeddings out of the fewest and of the most.
    """
    known_options("figS16", options, ())
    found, runs = corner_results(data), all_runs(data)
    fig = style.new_figure(style.DOUBLE, 2.6)
    curves, *pictures = fig.subplots(1, 3 if len(found) > 1 else 2)
    tables, texts = [], []
    for one, (color, marker) in zip(found, CORNER_LOOKS, strict=False):
        count = len(one.attrs["corners"])
        looks = {"color": color, "label": _corner_text(count)}
        tables.append(_stress_curve(curves, one, marker, looks).assign(corners=count))
        texts.append(f"{_corner_text(count)} {_shares(one)}")
    curves.legend(loc="lower right")
    corner_of = {run.name: int(run.config["corner"]) for run in runs}
    for axes, one in zip(pictures, (found[0], found[-1]), strict=False):
        tables.append(_trajectories(axes, one, corner_of))
    trajectories = found[0].attrs["trajectories"]
    text = (
        f"{trajectories} trajectories each, sloppy inputs, {found[0].attrs['split']} samples. Explained "
        f"stress of 3 and 10 dimensions: {'; '.join(texts)} (paper: high in all cases, about 85 % in ten "
        "dimensions, and higher in few dimensions out of fewer corners)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def _corner_text(count: int) -> str:
    return f"{count} corner{'s' if count > 1 else ''}"


def _trajectories(axes: Axes, found: xr.Dataset, corner_of: dict[str, int]) -> pd.DataFrame:
    """First two coordinates of trajectories from near a corner (dot), one colour per corner."""
    from matplotlib import colormaps

    table = _coordinates(found)
    table["corner"] = [corner_of[str(name)] for name in table["run"]]
    many = found.attrs["corners"]
    for (_, _), rows in table.groupby(["run", "seed"], sort=False):
        way = rows.sort_values("update", kind="stable")
        place = many.index(int(way["corner"].iloc[0]))
        color = colormaps["viridis"](0.9 * place / max(len(many) - 1, 1))
        axes.plot(way["pc1"], way["pc2"], color=color, lw=0.5, alpha=0.6, rasterized=True)
        axes.plot(way["pc1"].iloc[0], way["pc2"].iloc[0], "o", color=color, ms=3, rasterized=True)
    axes.set(xlabel=component_label(found, 0), title=_corner_text(len(many)))
    axes.set_ylabel(component_label(found, min(1, found.sizes["component"] - 1)))
    axes.margins(0.06)
    return table.assign(corners=len(many))


def figS17(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S17: explained stress of the models at initialisation and early in training alone, one model
    of each trajectory, beside that of whole trajectories (dotted).
    """
    known_options("figS17", options, ())
    found = corner_results(data)
    shares = found[0]["moment_share"].values
    fig = style.new_figure(style.DOUBLE, 2.7)
    panels = fig.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    tables, texts = [], []
    for row, (axes, share) in enumerate(zip(panels, shares, strict=True)):
        parts = []
        for one, (color, marker) in zip(found, CORNER_LOOKS, strict=False):
            count, name = len(one.attrs["corners"]), _corner_text(len(one.attrs["corners"]))
            _stress_curve(axes, one, "", {"color": color, "ls": ":"})
            stress = one["moment_stress"].values[row, :SHOWN]
            numbers = np.arange(1, len(stress) + 1)
            axes.plot(numbers, stress, marker=marker, ms=2.5, lw=0.9, color=color, label=name)
            columns = {"share": share, "corners": count, "dimensions": numbers}
            tables.append(pd.DataFrame({**columns, "explained_stress": stress}))
            parts.append(f"{name} {100 * stress[min(3, len(stress)) - 1]:.1f} %")
        axes.set_title(_moment_text(float(share)))
        largest = np.mean([one["moment_largest"].values[row] for one in found])
        texts.append(
            f"{_moment_text(float(share))}: {', '.join(parts)}, the largest probability of a sample being "
            f"{largest:.2f} in the mean"
        )
    for axes in panels[1:]:
        axes.set_ylabel("")
    fig.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(found))
    text = (
        f"Explained stress of 3 dimensions of {found[0].attrs['trajectories']} models, "
        f"{'; '.join(texts)} (paper: these models do not lie on a low-dimensional manifold, and the largest "
        "probability is near 1 at initialisation)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def _moment_text(share: float) -> str:
    return "at initialisation" if share == 0 else f"after {100 * share:g} % of the epochs"
