"""Train and test predictions in one embedding, and embeddings from few samples: figures 6, S3 and S4.

Source: Mao et al., PNAS 121(12), 2024, Figs. 6a, 6b, S3, S4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding_results import embedding_with, explained, network_count
from pipeline.figures import style
from pipeline.figures.prediction_space.embeddings import network_legend_below, whole_numbers
from pipeline.figures.prediction_space.looks import (
    IGNORANCE,
    TRUTH,
    component_label,
    look,
    model_networks,
    networks_of,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.runs import Run, RunGroups, all_runs, analysis_with, results_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SPLIT_LOOKS = {"train": (style.BLUE, "o", "-"), "test": (style.VERMILLION, "s", "--")}
PANELS = ((0, 1), (0, 2))  # pairs of coordinates
DIMENSIONS = 3  # of the embedding whose explained distance Fig. 6b shows
Array = NDArray[np.float64]


def joint(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 6a. Left: train models (faint) and test models (full) in the embedding of the train models.
    Right: pairwise distance of the test models that these coordinates explain, and their own.
    """
    known_options("joint", options, ())
    found, runs = analysis_with(data, "joint_inpca"), all_runs(data)
    own = embedding_with(data, "test")["explained_distance"].values
    fig = style.new_figure(style.DOUBLE, 2.8)
    *scatters, curve = fig.subplots(1, len(PANELS) + 1)
    for axes, pair in zip(scatters, PANELS, strict=True):
        _both_splits(axes, found, runs, pair)
    scatters[0].set_title("faint: train, full: test", loc="left")
    train, moved = found["joint_explained_distance"].values
    count = min(len(moved), len(own))
    numbers = np.arange(1, count + 1)
    curves = {
        "test, own coordinates": (own, style.VERMILLION, "s-"),
        "test, train coordinates": (moved, style.GREEN, "D--"),
        "train, own coordinates": (train, style.BLUE, "o-"),
    }
    for name, (values, color, line) in curves.items():
        curve.plot(numbers, values[:count], line, color=color, ms=3, lw=0.8, label=name)
    curve.set(xlabel="number of dimensions", ylabel="explained pairwise distance")
    curve.set_ylim(0, 1.02)
    whole_numbers(curve)
    curve.legend(loc="lower right")
    network_legend_below(fig, networks_of(runs))
    tables = [_joint_table(found, runs)]
    tables += [
        pd.DataFrame({"panel": name, "component": numbers, "explained_distance": values[:count]})
        for name, (values, _, _) in curves.items()
    ]
    text = (
        f"{found.sizes['model']} models of {network_count(found)} networks, each by its train and its test "
        f"predictions. {count} train coordinates explain {moved[count - 1]:.3f} of the pairwise distances of "
        f"the test models, as many of their own {own[count - 1]:.3f} (the paper, 10 dimensions: 0.52 and "
        f"0.56).{below_text(moved[:count])}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text)


def _both_splits(axes: Axes, found: xr.Dataset, runs: Sequence[Run], pair: tuple[int, int]) -> None:
    networks = model_networks(found, runs)
    for split, alpha in ((0, 0.2), (1, 0.9)):
        points = found["joint_inpca"].values[split][:, pair]
        for network in networks_of(runs):
            color, marker = look(network)
            mine = points[networks == network]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=4,
                c=color,
                marker=marker,
                lw=0,
                alpha=alpha,
                rasterized=True,
            )
    path = found["joint_point_inpca"].values[0][:, pair]
    axes.plot(*path.T, color=style.BLACK, lw=0.8, zorder=3)
    for text, point in ((IGNORANCE, path[0]), (TRUTH, path[-1])):
        axes.annotate(text, point, (3, 3), textcoords="offset points", zorder=5)
    axes.set_xlabel(component_label(found, pair[0]))
    axes.set_ylabel(component_label(found, pair[1]), labelpad=1)
    axes.tick_params(labelsize=6)
    axes.locator_params(nbins=5)


def _joint_table(found: xr.Dataset, runs: Sequence[Run]) -> pd.DataFrame:
    parts = []
    for split, name in enumerate(found.attrs["splits"]):
        points = found["joint_inpca"].values[split][:, :3]
        part = pd.DataFrame(points, columns=["pc1", "pc2", "pc3"])
        part.insert(0, "panel", "models")
        part.insert(1, "split", name)
        part.insert(2, "network", model_networks(found, runs))
        for key in ("seed", "epoch"):
            part[key] = found[f"model_{key}"].values
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def subset_sizes(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 6b: pairwise distance of all models that the first three dimensions of embeddings from few
    samples explain, against the number of samples; points: subsets, line: their mean.
    """
    known_options("subset_sizes", options, ())
    fig = style.new_figure(style.COLUMN, 2.5)
    axes = fig.subplots()
    tables, texts = [], []
    for found in results_with(data, "subset_samples"):
        split = found.attrs["split"]
        color, marker, line = SPLIT_LOOKS[split]
        counts = found["subset_samples"].values
        values = found["subset_explained_distance"].values[:, :, DIMENSIONS - 1]
        whole = explained(embedding_with(data, split), DIMENSIONS, "explained_distance")
        axes.plot(counts, values.mean(axis=1), marker, ls=line, color=color, ms=3.5, label=split)
        axes.plot(
            np.repeat(counts, values.shape[1]), values.ravel(), ".", color=color, ms=2, alpha=0.6
        )
        axes.axhline(whole, color=color, lw=0.6, ls=":")
        tables.append(_subset_table(found, values, whole))
        texts.append(
            f"{split}: {values[0].mean():.3f} with {counts[0]} and {values[-1].mean():.3f} with "
            f"{counts[-1]} of {found.attrs['samples']} samples, {whole:.3f} with all"
        )
    every = np.unique(
        np.concatenate(
            [one["subset_samples"].values for one in results_with(data, "subset_samples")]
        )
    )
    axes.set_xscale("log")
    axes.set_xticks(every, [str(count) for count in every])
    axes.minorticks_off()
    axes.set(
        xlabel="samples of the embedding", ylabel="explained pairwise distance\n(3 dimensions)"
    )
    axes.set_ylim(max(0.0, axes.get_ylim()[0]), 1.02)
    axes.legend(loc="lower right")
    text = (
        f"Explained pairwise distance of three dimensions, means over subsets: {'; '.join(texts)} (dotted "
        "lines)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text)


def subset_embeddings(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Figs. S3, S4. Left: the models in embeddings from few samples. Right: explained pairwise distance
    against the number of dimensions, by number of samples.
    """
    known_options("subset_embeddings", options, ())
    found, runs = results_with(data, "subset_samples")[0], all_runs(data)
    whole = embedding_with(data, found.attrs["split"])
    counts = found["subset_samples"].values
    fig = style.new_figure(style.DOUBLE, 2.8)
    shown = sorted({0, len(counts) - 1})
    *scatters, curve = fig.subplots(1, len(shown) + 1)
    for axes, subset in zip(scatters, shown, strict=True):
        points = turned(found["subset_inpca"].values[subset], whole["inpca"].values)
        networks = model_networks(found, runs)
        for network in networks_of(runs):
            color, marker = look(network)
            mine = points[networks == network][:, :2]
            axes.scatter(
                mine[:, 0],
                mine[:, 1],
                s=4,
                c=color,
                marker=marker,
                lw=0,
                alpha=0.8,
                rasterized=True,
            )
        axes.set_title(
            f"{counts[subset]} of {found.attrs['samples']} {found.attrs['split']} samples"
        )
        axes.set(xlabel="PC 1", ylabel="PC 2")
        axes.tick_params(labelsize=6)
        axes.locator_params(nbins=5)
    tables = _subset_curves(curve, found, whole)
    network_legend_below(fig, networks_of(runs))
    means = found["subset_explained_distance"].values.mean(axis=1)[:, DIMENSIONS - 1]
    told = ", ".join(f"{value:.3f} ({count})" for value, count in zip(means, counts, strict=True))
    text = (
        f"{found.sizes['model']} models of {network_count(found)} networks. Explained pairwise distance of "
        f"three dimensions, by number of {found.attrs['split']} samples: {told}; "
        f"{explained(whole, DIMENSIONS, 'explained_distance'):.3f} with all {found.attrs['samples']}."
        f"{below_text(found['subset_explained_distance'].values.mean(axis=1))}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), text)


def _subset_curves(axes: Axes, found: xr.Dataset, whole: xr.Dataset) -> list[pd.DataFrame]:
    """Means over draws, one line for each number of samples, and that of all samples."""
    import matplotlib

    values = found["subset_explained_distance"].values
    counts, numbers = found["subset_samples"].values, np.arange(1, values.shape[2] + 1)
    colors = matplotlib.colormaps["viridis"](np.linspace(0, 0.85, len(counts)))
    tables = []
    for count, mean, color, marker in zip(
        counts, values.mean(axis=1), colors, "osD^vPX<>h"[: len(counts)], strict=True
    ):
        axes.plot(numbers, mean, marker, ls="-", color=color, ms=3, lw=0.8, label=str(count))
        rows = {"samples": count, "component": numbers, "explained_distance": mean}
        tables.append(pd.DataFrame(rows))
    everything = whole["explained_distance"].values[: len(numbers)]
    axes.plot(numbers[: len(everything)], everything, color=style.BLACK, lw=1.2, label="all")
    axes.set(xlabel="number of dimensions", ylabel="explained pairwise distance")
    axes.set_ylim(0, 1.02)
    whole_numbers(axes)
    axes.legend(title="samples", loc="best")
    total = {"samples": found.attrs["samples"], "component": numbers[: len(everything)]}
    tables.append(pd.DataFrame({**total, "explained_distance": everything}))
    return tables


def below_text(values: Array) -> str:
    """That some values are below the axis: distances that coordinates make too large by more than all."""
    lowest = float(values.min())
    return f" Values below 0 are outside the picture, down to {lowest:.3g}." if lowest < 0 else ""


def turned(points: Array, like: Array) -> Array:
    """Coordinates (models, k) with the signs, which are arbitrary, that agree with others'."""
    width = points.shape[1]
    same = np.sum(points * like[:, :width], axis=0)
    return points * np.where(same < 0, -1.0, 1.0)


def _subset_table(found: xr.Dataset, values: Array, whole: float) -> pd.DataFrame:
    draws = values.shape[1]
    table = pd.DataFrame(
        {
            "split": found.attrs["split"],
            "samples": np.repeat(found["subset_samples"].values, draws),
            "draw": np.tile(np.arange(draws), len(values)),
            "explained_distance": values.ravel(),
        }
    )
    last = pd.DataFrame(
        {
            "split": [found.attrs["split"]],
            "samples": found.attrs["samples"],
            "draw": 0,
            "explained_distance": whole,
        }
    )
    return pd.concat([table, last], ignore_index=True)
