"""Figs. 8, 9 and S7 of prediction space: progress against error, updates and the geodesic.

Source: Mao et al., PNAS 121(12), 2024, Figs. 8, 9, S7.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.model_table import CONFIGURATION, model_table, paired_progress
from pipeline.analysis.trajectory_results import (
    geodesic_distances_of,
    runs_of,
    trained_text,
)
from pipeline.errors import NotMeasurable
from pipeline.figures import style
from pipeline.figures.memorization.looks import gone_text
from pipeline.figures.prediction_space.looks import (
    OPTIMIZER_NAMES,
    look,
    network_legend,
    networks_of,
)
from pipeline.figures.save import FigureResult, known_options
from pipeline.predictors.variables import SPLITS
from pipeline.run_texts import network_name
from pipeline.runs import Run, RunGroups, all_runs, analysis_with, results_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SHOWN = 2000  # models of a network that are drawn, at most
LINES = {"sgd_minibatch": "-", "nesterov": "--", "adam_minibatch": ":"}
PAIRS = (  # Fig. 8: x, y
    ("train_progress", "train_error"),
    ("test_progress", "test_error"),
    ("train_progress", "test_progress"),
)
SMALLER, LARGER = "small_resnet", "large_resnet"
SPLIT_NAMES = {"train": "training", "test": "test"}


def fig8(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 8: progress against error, training and test, and test against training progress; each
    point is a model.
    """
    known_options("fig8", options, ())
    runs = all_runs(data)
    table = model_table(analysis_with(data, "model_metrics"), runs)
    networks = networks_of(runs)
    parts = [_thinned(table[table["network"] == network]) for network in networks]
    fig = style.new_figure(style.DOUBLE, 2.7)
    for axes, (x, y) in zip(fig.subplots(1, 3), PAIRS, strict=True):
        for network, part in zip(networks, parts, strict=True):
            color, marker = look(network)
            looks: dict[str, Any] = {"color": color, "ms": 2, "mew": 0, "alpha": 0.5}
            axes.plot(part[x], part[y], marker, ls="", rasterized=True, **looks)
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel=_words(x), ylabel=_words(y))
    _network_legend(fig, networks, "lower")
    columns = ["network", *CONFIGURATION, "seed", "update", "train_error", "test_error"]
    shown = pd.concat(parts, ignore_index=True)[[*columns, "train_progress", "test_progress"]]
    return FigureResult(fig, shown, _correlation_text(table, len(shown)) + gone_text(data))


def _thinned(models: pd.DataFrame) -> pd.DataFrame:
    """At most ``SHOWN`` of some models, evenly spread."""
    places = np.linspace(0, len(models) - 1, min(len(models), SHOWN)).round().astype(int)
    return models.iloc[np.unique(places)]


def _words(column: str) -> str:
    split, _, metric = column.partition("_")
    return f"{SPLIT_NAMES[split]} {metric}" + (" (fraction)" if metric == "error" else "")


def _network_legend(fig: Any, networks: list[str], side: str) -> None:
    """One entry per network, above (upper) or below (lower) all panels."""
    network_legend(fig, networks, loc=f"outside {side} center", ncols=len(networks))


def correlation(table: pd.DataFrame, x: str, y: str) -> float:
    """Pearson's correlation of two columns over all models; NaN where one does not vary."""
    first, second = (table[one].to_numpy(dtype=float) for one in (x, y))
    if len(table) < 2 or not np.ptp(first) or not np.ptp(second):
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])


def _correlation_text(table: pd.DataFrame, shown: int) -> str:
    texts = []
    for x, y in PAIRS:
        r = correlation(table, x, y)
        value = "not defined" if np.isnan(r) else f"{r:.3f}"
        texts.append(f"{_words(x).split(' (')[0]} and {_words(y).split(' (')[0]} {value}")
    return (
        f"Correlation over {len(table)} models ({shown} drawn): {'; '.join(texts)} (paper: progress is "
        "strongly correlated with both errors, and training with test progress)."
    )


def fig9a(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 9a: progress of the larger against that of the smaller network after the same updates, one
    line per configuration, mean over seeds.

    Options: ``smaller``, ``larger``, names of networks (small_resnet, large_resnet).
    """
    known_options("fig9a", options, ("smaller", "larger"))
    smaller, larger = _pair(options)
    table = model_table(analysis_with(data, "model_metrics"), all_runs(data))
    paired = {split: paired_progress(table, smaller, larger, split) for split in SPLITS}
    if not len(paired["train"]):
        raise _no_pair(smaller, larger)
    fig = style.new_figure(style.DOUBLE, 3.0)
    tables, used = [], set()
    for axes, split in zip(fig.subplots(1, 2), SPLITS, strict=True):
        axes.plot([0, 1], [0, 1], color=style.GREY, lw=0.8)
        means = _means(paired[split], ["smaller", "larger"])
        for keys, line in means.groupby(list(CONFIGURATION), sort=False):
            color = look(larger)[0]
            axes.plot(
                line["smaller"], line["larger"], LINES.get(keys[0], "-."), color=color, lw=0.9
            )
            used.add(str(keys[0]))
        axes.set(xlim=(0, 1.01), ylim=(0, 1.01), aspect="equal")
        axes.set_xlabel(f"{SPLIT_NAMES[split]} progress, {network_name(smaller)}")
        axes.set_ylabel(f"{SPLIT_NAMES[split]} progress, {network_name(larger)}")
        tables.append(means.assign(split=split))
    _line_legend(fig, used)
    text = "; ".join(_ahead_text(paired[split], split) for split in SPLITS)
    summary = (
        f"{network_name(larger)} against {network_name(smaller)} after the same updates, mean over seeds, "
        f"{paired['train'][list(CONFIGURATION)].drop_duplicates().shape[0]} configurations: {text} (paper: "
        "the larger one makes more progress)."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary + gone_text(data))


def fig9b(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 9b: training progress of the two networks against the epoch, mean over seeds.

    The paper's are ResNet-18 and ResNet-50 on ImageNet. Options as for ``fig9a``.
    """
    known_options("fig9b", options, ("smaller", "larger"))
    smaller, larger = _pair(options)
    table = model_table(analysis_with(data, "model_metrics"), all_runs(data))
    paired = paired_progress(table, smaller, larger, "train")
    if not len(paired):
        raise _no_pair(smaller, larger)
    means = _means(paired, ["smaller", "larger"])
    fig = style.new_figure(style.COLUMN, 2.6)
    axes, used = fig.subplots(), set()
    for keys, line in means.groupby(list(CONFIGURATION), sort=False):
        used.add(str(keys[0]))
        for column, network in (("smaller", smaller), ("larger", larger)):
            color = look(network)[0]
            axes.plot(line["epoch"], line[column], LINES.get(keys[0], "-."), color=color, lw=0.9)
    style.epoch_axis(axes, int(np.ceil(means["epoch"].max())), label=False)
    axes.set(ylim=(0, 1.01), xlabel="epoch (log axis from 1)", ylabel="training progress")
    network_legend(axes, [smaller, larger], loc="lower right")
    _line_legend(fig, used)
    whole = means.groupby(list(CONFIGURATION), sort=False).tail(1)
    summary = (
        f"Final training progress {whole['larger'].mean():.3f} of {network_name(larger)}, "
        f"{whole['smaller'].mean():.3f} of {network_name(smaller)}; "
        f"{_ahead_text(paired, 'train')} (paper: ResNet-50 is ahead of ResNet-18)."
    )
    return FigureResult(fig, means, summary + gone_text(data))


def _pair(options: dict[str, Any]) -> tuple[str, str]:
    return str(options.get("smaller", SMALLER)), str(options.get("larger", LARGER))


def _no_pair(smaller: str, larger: str) -> NotMeasurable:
    return NotMeasurable(
        f"{network_name(smaller)} and {network_name(larger)} have no records of the same configuration, "
        "seed and update."
    )


def _means(paired: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Means over seeds of each configuration and update, with n."""
    groups = paired.groupby([*CONFIGURATION, "update"], sort=True)
    return groups[["epoch", *columns]].mean().assign(n=groups.size()).reset_index()


def _ahead_text(paired: pd.DataFrame, split: str) -> str:
    later = paired[paired["update"] > 0]
    if not len(later):
        return f"{SPLIT_NAMES[split]} progress was recorded of both at initialisation only"
    ahead = later["larger"] - later["smaller"]
    return (
        f"{SPLIT_NAMES[split]} progress higher by {ahead.mean():.3f} in the mean, in "
        f"{100 * (ahead > 0).mean():.0f} % of the records after initialisation"
    )


def _line_legend(fig: Any, used: set[str]) -> None:
    from matplotlib.lines import Line2D

    names = [one for one in LINES if one in used]
    handles = [
        Line2D([], [], color=style.BLACK, ls=LINES[one], label=OPTIMIZER_NAMES[one])
        for one in names
    ]
    if handles:
        fig.legend(handles=handles, loc="outside lower center", ncols=len(handles))


def figS7(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. S7: dB to the geodesic at equal progress, mean over networks that trained, of one batch size;
    one line per architecture and optimiser, a panel per analysis of trajectories.

    Options: ``batch_size`` (200); where no run has it, all runs are drawn.
    """
    known_options("figS7", options, ("batch_size",))
    wanted = int(options.get("batch_size", 200))
    results = results_with(data, "trajectory_geodesic_distance")
    fig = style.new_figure(style.DOUBLE, 3.0)
    curves, which = [], ""
    panels = fig.subplots(1, len(results), sharey=True, squeeze=False)[0]
    for axes, found in zip(panels, results, strict=True):
        runs, split = runs_of(found, data, "trajectory"), str(found.attrs["split"])
        mine, which = _of_batch(runs, wanted)
        for keys, rows in _by_kind(runs, mine).items():
            curve = _geodesic_curve(found, rows)
            _draw_curve(axes, curve, *keys)
            named = dict(zip(("network", "optimizer"), keys, strict=True))
            curves.append(curve.assign(split=split, **named))
        axes.set(xlim=(0, 1.01), xlabel=f"{SPLIT_NAMES[split]} progress", title=SPLIT_NAMES[split])
    panels[0].set_ylim(bottom=0)
    panels[0].set_ylabel("$d_B$ to the geodesic at equal progress")
    table = pd.concat(curves, ignore_index=True)
    there = set(table["network"])
    _network_legend(fig, [one for one in networks_of(all_runs(data)) if one in there], "upper")
    _line_legend(fig, set(table["optimizer"]))
    text = f"{trained_text(results[0])}. {_geodesic_text(table, which)}{gone_text(data)}"
    return FigureResult(fig, table, text)


def _of_batch(runs: list[Run], wanted: int) -> tuple[NDArray[np.bool_], str]:
    """Which trajectories have the batch size, all of them where none has it, and that in words."""
    same = np.array([int(run.config["batch_size"]) == wanted for run in runs])
    if same.any():
        return same, f"batches of {wanted}"
    return np.ones(len(runs), dtype=np.bool_), f"all batch sizes (none has {wanted})"


def _by_kind(runs: list[Run], mine: NDArray[np.bool_]) -> dict[tuple[str, str], NDArray[np.int64]]:
    """Places of some trajectories by network and optimiser, in the order of networks."""
    kinds = [(str(run.config["network"]), str(run.config["optimizer"])) for run in runs]
    order = [kind for one in networks_of(runs) for kind in dict.fromkeys(kinds) if kind[0] == one]
    places = {
        kind: np.flatnonzero(mine & np.array([one == kind for one in kinds])) for kind in order
    }
    return {kind: rows for kind, rows in places.items() if rows.size}


def _geodesic_curve(found: xr.Dataset, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Mean and sd over trajectories at each value of progress that half of them have reached."""
    distances = geodesic_distances_of(found)[rows]
    count = np.isfinite(distances).sum(axis=0)
    kept = (2 * count >= len(rows)) & (count > 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a single network has no sd
        sd = np.nanstd(distances[:, kept], axis=0, ddof=1)
    return pd.DataFrame(
        {
            "progress": found["compared_progress"].values[kept],
            "distance": np.nanmean(distances[:, kept], axis=0),
            "sd": sd,
            "n": count[kept],
        }
    )


def _draw_curve(axes: Axes, curve: pd.DataFrame, network: str, optimizer: str) -> None:
    color, marker = look(network)
    looks: dict[str, Any] = {"color": color, "marker": marker, "ms": 2.5, "lw": 0.9}
    axes.plot(
        curve["progress"], curve["distance"], LINES.get(optimizer, "-."), markevery=12, **looks
    )


def _geodesic_text(curves: pd.DataFrame, which: str) -> str:
    texts = []
    for split, rows in curves.groupby("split", sort=False):
        peaks = rows.groupby("network", sort=False)["distance"].max().sort_values()
        named = ", ".join(f"{network_name(str(one))} {value:.3f}" for one, value in peaks.items())
        texts.append(f"{SPLIT_NAMES[str(split)]}: {named}")
    return (
        f"Largest mean distance to the geodesic at equal progress, {which}: {'; '.join(texts)} (paper: of "
        "training trajectories AllCNN is closest; test trajectories are farther than training ones)."
    )
