"""Supplementary Figures 1 and 4 of the stragglers paper (arXiv:2303.05161).

S1: minibatch gradient descent. S4: where stragglers lie among the images of their class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.centres import within_class
from pipeline.figures import style
from pipeline.figures.curves import found, mean_sd, metrics_over_error, missing_text
from pipeline.figures.save import FigureResult
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONSERVED = 0.5  # a sample counts as straggler in S4 if it is one for this share of the networks
TAILS = (0.001, 0.99)  # quantiles of the distance at which its histograms end
LABEL_NEIGHBOURS = 20  # samples of a class near which its number stands in the embedding
MEASURES = {
    "effect_size": "all classes together",
    "effect_size_within": "within classes",
}
Array = NDArray[Any]


# --- S1: minibatches -----------------------------------------------------------------------------


def figS1(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """S1: the metrics against the training error, full batch (black) and minibatches, means.

    Options: ``lowest_error`` (0.01), left end of the axis.
    """
    from matplotlib import colormaps

    runs = sorted(all_runs(data), key=lambda run: -(run.config["batch_size"] or np.inf))
    full = [run for run in runs if not run.config["batch_size"]]
    batches = [run for run in runs if run.config["batch_size"]]
    shades = colormaps["viridis"](np.linspace(0.2, 0.85, len(batches)))
    looks = [
        {"color": style.BLACK, "ls": "--", "zorder": 3, "label": "GD, full batch"} for _ in full
    ]
    looks += [
        {"color": tuple(shade), "label": f"SGD, {_batch_label(run, full)}"}
        for run, shade in zip(batches, shades, strict=True)
    ]
    result = metrics_over_error([*full, *batches], looks, options, "batch sizes")
    summary = f"{_shift_text(full, batches)}{result.summary}{missing_text(data)}"
    return FigureResult(result.fig, result.table, summary)


def _batch_label(run: Run, full: list[Run]) -> str:
    """The batch size, and the learning rate where it is not that of the full batch."""
    rate = run.config["learning_rate"]
    same = any(one.config["learning_rate"] == rate for one in full)
    return f"batch {run.config['batch_size']}" + ("" if same else rf", $\eta$ = {rate:g}")


def _shift_text(full: list[Run], batches: list[Run]) -> str:
    if not full or not batches:
        return ""
    reference = found(full, "phi").mean()
    shifts = ", ".join(
        f"{found([run], 'phi').mean() - reference:+.4f} ({_batch_label(run, full)})"
        for run in batches
    )
    return f"phi of minibatches minus phi of the full batch: {shifts}. "


# --- S4: places of the stragglers ----------------------------------------------------------------


def figS4(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """S4: distance to the class centre of stragglers and others, and t-SNE with stragglers marked.

    Left, top: histograms of the distance relative to the class, (d - mean) / sd, the last bin with
    all beyond (1 % of the samples); bottom: effect size of every network. Right: t-SNE of the
    images, even classes blue, odd classes orange; black: samples that are stragglers of at least
    half of the networks.
    Options: ``bins`` (40), of the histograms; ``conserved`` (0.5), that share.
    """
    spaces = [one for one in data.analyses.values() if "centre_distance" in one]
    centres = analysis_with(data, "centre_distance")
    embedded = analysis_with(data, "embedding")
    share = float(options.get("conserved", CONSERVED))
    fig = style.new_figure(style.DOUBLE, 4.1)
    halves: Any = fig.subfigures(1, 2, width_ratios=(2, 3))
    left, right = halves
    histogram, effects = left.subplots(2, 1, height_ratios=(3, 2))
    tables = [
        _draw_histograms(histogram, centres, share, int(options.get("bins", 40))),
        _draw_effects(effects, spaces),
        _draw_embedding(right, embedded, share),
    ]
    table = pd.concat(tables, ignore_index=True)
    text = _effects_text(spaces) + _places_text(centres, embedded, share)
    return FigureResult(fig, table, text + missing_text(data))


def _draw_histograms(axes: Axes, centres: xr.Dataset, share: float, bins: int) -> pd.DataFrame:
    relative = within_class(centres["centre_distance"].values, centres["labels"].values)
    stragglers = centres["conserved"].values >= share
    shown = np.clip(relative, *np.quantile(relative, TAILS))  # a few lie very far out
    edges = np.histogram_bin_edges(shown, bins=bins)
    rows = []
    looks = (("others", ~stragglers, style.GREY), ("stragglers", stragglers, style.VERMILLION))
    for name, members, color in looks:
        counts, _ = np.histogram(shown[members], bins=edges)
        density = counts / max(counts.sum(), 1) / np.diff(edges)
        axes.stairs(density, edges, color=color, fill=True, alpha=0.45)
        axes.stairs(density, edges, color=color, lw=1.0, label=f"{name} ({counts.sum()})")
        rows += [
            (f"density, {name}", f"{low:.6g} to {high:.6g}", value)
            for low, high, value in zip(edges[:-1], edges[1:], density, strict=True)
        ]
    axes.set_xlabel("distance to class centre, within class\n(standard deviations of the class)")
    axes.set_ylabel("density")
    above: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
    axes.legend(handlelength=1.0, columnspacing=1.0, **above)
    return _long(rows)


def _draw_effects(axes: Axes, spaces: list[xr.Dataset]) -> pd.DataFrame:
    rows = []
    shown = [(one, name) for one in spaces for name in MEASURES]
    for place, (centres, name) in enumerate(shown):
        values = centres[name].values
        kept = np.isfinite(values)
        offsets = np.linspace(-0.18, 0.18, kept.sum()) if kept.sum() > 1 else np.zeros(1)
        color = (style.SKY, style.BLUE)[place % len(MEASURES)]
        axes.plot(values[kept], place + offsets, ".", ms=3, color=color, alpha=0.6)
        axes.plot(values[kept].mean(), place, "|", ms=12, mew=1.4, color=style.BLACK)
        seeds = centres["seed"].values[kept]
        quantity = f"{name}, {_space(centres)}"
        rows += [(quantity, str(seed), one) for seed, one in zip(seeds, values[kept], strict=True)]
    axes.axvline(0, color=style.GREY, lw=0.7, ls="--")
    labels = [f"{_space(centres)},\n{MEASURES[name]}" for centres, name in shown]
    axes.set_yticks(range(len(shown)), labels, fontsize=6)
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel("effect size (Cohen's d), one point per network")
    return _long(rows)


def _space(centres: xr.Dataset) -> str:
    """The pixels in which distances were taken, in words."""
    return f"{centres.attrs.get('pixels', 'standardised')} pixels"


def _effects_text(spaces: list[xr.Dataset]) -> str:
    parts = []
    for centres in spaces:
        values = {name: centres[name].values for name in (*MEASURES, "probability_farther_within")}
        raw, within, farther = (mean_sd(one[np.isfinite(one)]) for one in values.values())
        worst = np.nanmax(centres["rank_p_value_within"].values)
        parts.append(
            f"in {_space(centres)} {raw}, within classes {within}; probability that a straggler is "
            f"farther {farther} within classes, largest p of the rank test {worst:.2g}"
        )
    return (
        "Mean ± sd over networks: effect size (Cohen's d) of the distance to the class centre of "
        f"stragglers against other samples {'; '.join(parts)}. "
    )


def _draw_embedding(panel: Any, embedded: xr.Dataset, share: float) -> pd.DataFrame:
    from matplotlib.lines import Line2D

    axes = panel.subplots()
    points, classes = embedded["embedding"].values, embedded["labels"].values
    stragglers = embedded["conserved"].values >= share
    colors = class_colors(classes)
    dots: dict[str, Any] = {"linewidths": 0, "rasterized": True}
    axes.scatter(*points.T, s=3, c=[colors[one] for one in classes], alpha=0.6, **dots)
    axes.scatter(*points[stragglers].T, s=5, color=style.BLACK, **dots)
    for value, color in colors.items():
        x, y = densest_point(points[classes == value])
        box: dict[str, Any] = {
            "boxstyle": "round,pad=0.15",
            "fc": "white",
            "ec": color,
            "lw": 0.9,
            "alpha": 0.85,
        }
        axes.text(x, y, str(value), fontsize=8, ha="center", va="center", bbox=box)
    axes.set(
        xticks=[], yticks=[], xlabel="t-SNE axis 1 (no units)", ylabel="t-SNE axis 2 (no units)"
    )
    middle = [[colors[one] for one in colors if one % 2 == parity] for parity in (0, 1)]
    marks = [
        (f"{name} class", shades[len(shades) // 2])
        for name, shades in zip(("even", "odd"), middle, strict=True)
        if shades
    ]
    marks.append(("straggler", style.BLACK))
    handles = [
        Line2D([], [], ls="", marker="o", ms=4, mew=0, color=color, label=name)
        for name, color in marks
    ]
    panel.legend(handles=handles, loc="outside upper center", ncols=3, handletextpad=0.1)
    samples = embedded["sample"].values.astype(str)
    columns = {
        "t-SNE axis 1": points[:, 0],
        "t-SNE axis 2": points[:, 1],
        "class": classes,
        "straggler": stragglers,
    }
    tables = [
        pd.DataFrame({"quantity": name, "of": samples, "value": np.asarray(values, np.float64)})
        for name, values in columns.items()
    ]
    return pd.concat(tables, ignore_index=True)


def densest_point(points: Array) -> Array:
    """The point whose neighbours are nearest: within a cluster, unlike a mean of several ones."""
    from scipy.spatial import cKDTree

    count = min(LABEL_NEIGHBOURS, len(points))
    distances, _ = cKDTree(points).query(points, k=[count])
    return points[np.argmin(distances[:, 0])]


def class_colors(classes: Array) -> dict[int, Any]:
    """A colour for each class: shades of blue for even ones, of orange for odd ones."""
    from matplotlib import colormaps

    colors: dict[int, Any] = {}
    for parity, name in ((0, "Blues"), (1, "Oranges")):
        members = [int(one) for one in np.unique(classes) if one % 2 == parity]
        shades = colormaps[name](np.linspace(0.45, 0.9, max(len(members), 1)))
        colors |= {one: tuple(shade) for one, shade in zip(members, shades, strict=False)}
    return colors


def _places_text(centres: xr.Dataset, embedded: xr.Dataset, share: float) -> str:
    def over(dataset: xr.Dataset, name: str, digits: int = 3) -> str:
        values = dataset[name].values
        return mean_sd(values[np.isfinite(values)], digits)

    used = int(np.isfinite(centres["effect_size"].values).sum())
    return (
        "Share of the nearest neighbours in the embedding with the opposite label "
        f"{over(embedded, 'opposite_share_stragglers')} for stragglers, "
        f"{over(embedded, 'opposite_share_others')} for the others ({used} networks, whose stragglers "
        f"are mostly the same). Histograms: {_space(centres)}, last bin: all distances beyond. Marked: "
        f"samples that are stragglers of at least {share:.0%} of them."
    )


def _long(rows: list[tuple[str, str, float]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["quantity", "of", "value"])
