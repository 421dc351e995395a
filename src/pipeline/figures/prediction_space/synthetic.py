"""Figs. S14 to S17 of prediction space: the synthetic task with sloppy inputs, and starts near corners.

Source: Mao et al., PNAS 121(12), 2024, App. E.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding_results import embeddings_of, network_count, signs
from pipeline.analysis.synthetic_results import corner_groups, corner_results, group_of, task_of
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
        task = task_of(group)
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
        stress = one["explained_stress"].values[None]
        curve = _stress_curve(axes, stress, marker, looks).drop(columns="sd_over_sets")
        tables.append(curve.assign(task=task, split=split))
        texts.append(f"{task}, {split} {_shares(stress)}, signs {signs(one)}")
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
    axes: Axes, stress: NDArray[np.float64], marker: str, looks: dict[str, Any]
) -> pd.DataFrame:
    """Explained stress (sets, dimensions) against the number of dimensions: the mean over sets, and its
    standard deviation as a band.
    """
    from matplotlib.ticker import MaxNLocator

    values = stress[:, :SHOWN]
    mean, sd = values.mean(axis=0), _deviations(values)
    numbers = np.arange(1, len(mean) + 1)
    axes.plot(numbers, mean, marker=marker, ms=2.5, lw=0.9, **looks)
    if len(values) > 1:
        axes.fill_between(numbers, mean - sd, mean + sd, color=looks["color"], alpha=0.2, lw=0)
    axes.set(xlabel="number of dimensions", ylabel="explained stress", ylim=(0, 1.02))
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    return pd.DataFrame({"dimensions": numbers, "explained_stress": mean, "sd_over_sets": sd})


def _deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation over sets (sets, ...); NaN of a single one."""
    if len(values) < 2:
        return np.full(values.shape[1:], np.nan)
    found: NDArray[np.float64] = values.std(axis=0, ddof=1)
    return found


def _shares(stress: NDArray[np.float64], counts: tuple[int, ...] = (3, 10)) -> str:
    """What 3 and 10 dimensions explain, or as many as there are: mean over sets ± sd."""
    texts = []
    for count in counts:
        values = 100 * stress[:, min(count, stress.shape[1]) - 1]
        spread = f" ± {values.std(ddof=1):.1f}" if len(values) > 1 else ""
        texts.append(f"{values.mean():.1f}{spread} %")
    return " and ".join(texts)


def _coordinates(found: xr.Dataset) -> pd.DataFrame:
    """Run, seed, update and the first coordinates of all models."""
    columns = {f"pc{k + 1}": values for k, values in enumerate(found["inpca"].values.T[:3])}
    names = np.asarray(found.attrs["runs"])[found["model_run"].values]
    told = {name: found[f"model_{name}"].values for name in ("seed", "update")}
    return pd.DataFrame({"run": names, **told, **columns})


def figS16(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S16: explained stress of equally many trajectories out of 1, 2, 5 and 10 corners, mean over
    sets of trajectories ± sd, and the embeddings of the first set out of the fewest and of the most; a
    row for each kind of inputs.
    """
    known_options("figS16", options, ())
    results = {group: corner_results(data, group) for group in corner_groups(data)}
    corner_of = {run.name: int(run.config["corner"]) for run in all_runs(data)}
    columns = 3 if max(map(len, results.values())) > 1 else 2
    fig = style.new_figure(style.DOUBLE, 2.6 * len(results))
    tables, texts = [], []
    rows = fig.subplots(len(results), columns, squeeze=False)
    for (group, found), (curves, *pictures) in zip(results.items(), rows, strict=True):
        task, parts = task_of(group), []
        for one, (color, marker) in zip(found, CORNER_LOOKS, strict=False):
            looks = {"color": color, "label": _corner_text(one)}
            table = _stress_curve(curves, one["set_stress"].values, marker, looks)
            tables.append(table.assign(task=task, corners=one.attrs["corners"]))
            parts.append(f"{_corner_text(one)} {_shares(one['set_stress'].values)}")
        curves.legend(loc="lower right")
        curves.set_title(f"{task} inputs")
        for axes, one in zip(pictures, (found[0], found[-1]), strict=False):
            tables.append(_trajectories(axes, one, corner_of).assign(task=task))
        texts.append(f"{task} inputs, {_sets_text(found)}: {'; '.join(parts)}")
    text = (
        f"Explained stress of 3 and 10 dimensions, mean ± sd over sets. {'. '.join(map(_sentence, texts))} "
        "(paper, one set of 200 trajectories each: high in all cases, about 85 % in ten dimensions, and "
        "higher in few dimensions out of fewer corners)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _corner_text(found: xr.Dataset) -> str:
    """How many corners a set begins near, and of how many, where trajectories are fewer."""
    count, near = int(found.attrs["corners"]), int(found["set_corners"].values.max())
    some = f"{near} of {count}" if near < count else f"{count}"
    return f"{some} corner{'s' if count > 1 else ''}"


def _sets_text(found: list[xr.Dataset]) -> str:
    """How many sets of how many trajectories, of which samples."""
    counts = [one.sizes["corner_set"] for one in found]
    many = f"{counts[0]}" if len(set(counts)) == 1 else ", ".join(map(str, counts))
    one = found[0]
    return (
        f"{many} set{'' if counts == [1] else 's'} of {one.attrs['trajectories']} trajectories each, none "
        f"in two of them, {one.attrs['split']} samples"
    )


def _trajectories(axes: Axes, found: xr.Dataset, corner_of: dict[str, int]) -> pd.DataFrame:
    """First two coordinates of the first set's trajectories from near a corner (dot), one colour per
    corner.
    """
    from matplotlib import colormaps

    table = _coordinates(found)
    table["corner"] = [corner_of[str(name)] for name in table["run"]]
    many = sorted(set(table["corner"]))
    for (_, _), rows in table.groupby(["run", "seed"], sort=False):
        way = rows.sort_values("update", kind="stable")
        place = many.index(int(way["corner"].iloc[0]))
        color = colormaps["viridis"](0.9 * place / max(len(many) - 1, 1))
        axes.plot(way["pc1"], way["pc2"], color=color, lw=0.5, alpha=0.6, rasterized=True)
        axes.plot(way["pc1"].iloc[0], way["pc2"].iloc[0], "o", color=color, ms=3, rasterized=True)
    axes.set(xlabel=component_label(found, 0), title=_corner_text(found))
    axes.set_ylabel(component_label(found, min(1, found.sizes["component"] - 1)))
    axes.margins(0.06)
    return table.assign(corners=int(found.attrs["corners"]))


def figS17(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S17: explained stress of the models at initialisation and early in training alone, one model
    of each trajectory of a set, beside that of whole trajectories (dotted); means over sets ± sd, a row
    for each kind of inputs.
    """
    known_options("figS17", options, ())
    results = {group: corner_results(data, group) for group in corner_groups(data)}
    first = next(iter(results.values()))
    shares = first[0]["moment_share"].values
    fig = style.new_figure(style.DOUBLE, 0.3 + 2.4 * len(results))
    rows = fig.subplots(len(results), len(shares), sharey=True, squeeze=False)
    tables, texts = [], []
    for (group, found), panels in zip(results.items(), rows, strict=True):
        task, parts = task_of(group), []
        for row, (axes, share) in enumerate(zip(panels, shares, strict=True)):
            table, part = _moment_panel(axes, found, row)
            tables.append(table.assign(task=task, share=share))
            axes.set_title(f"{task} inputs, {_moment_text(float(share))}")
            parts.append(f"{_moment_text(float(share))}: {part}")
        texts.append(f"{task} inputs, {_sets_text(found)}: {'; '.join(parts)}")
        for axes in panels[1:]:
            axes.set_ylabel("")
    handles = rows[0, 0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower center", ncols=len(handles[1]))
    text = (
        "Explained stress of 3 dimensions of one model of each trajectory of a set, mean ± sd over sets. "
        f"{'. '.join(map(_sentence, texts))} (paper, of 200 models: these do not lie on a low-dimensional "
        "manifold, and the largest probability is near 1 at initialisation). As many dimensions as models "
        "explain all."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text + gone_text(data))


def _moment_panel(axes: Axes, found: list[xr.Dataset], row: int) -> tuple[pd.DataFrame, str]:
    """The curves of one moment, and what 3 dimensions explain, in words."""
    tables, parts = [], []
    for one, (color, marker) in zip(found, CORNER_LOOKS, strict=False):
        name, stress = _corner_text(one), one["moment_stress"].values[:, row]
        _stress_curve(axes, one["set_stress"].values, "", {"color": color, "ls": ":"})
        table = _stress_curve(axes, stress, marker, {"color": color, "label": name})
        tables.append(table.assign(corners=int(one.attrs["corners"])))
        parts.append(f"{name} {_shares(stress, (3,))}")
    largest = np.mean([one["moment_largest"].values[:, row].mean() for one in found])
    text = (
        f"{', '.join(parts)}, the largest probability of a sample being {largest:.2f} in the mean"
    )
    return pd.concat(tables, ignore_index=True), text


def _moment_text(share: float) -> str:
    return "at initialisation" if share == 0 else f"after {100 * share:g} % of the epochs"
