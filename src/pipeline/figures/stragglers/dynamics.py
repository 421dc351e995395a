"""Figure 1 of the stragglers paper: class manifolds move non-monotonically (arXiv:2303.05161).

Each function draws one panel from the runs of its groups and returns the figure, the plotted
numbers and what was found. Radii and distance have no units; they are lengths on the unit sphere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.figures import style
from pipeline.figures.curves import (
    EXTREMA,
    band,
    found,
    inversion_range,
    mean_sd,
    metrics_over_error,
    stack,
)
from pipeline.figures.save import FigureResult
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups, all_runs

MOMENTS = {"at initialisation": style.ORANGE, "after training": style.PINK}
LABELS = {"parity": ("true labels", style.BLUE), "random": ("random labels", style.PINK)}
Array = NDArray[np.float64]


def fig1a(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1a: R+ against R- (top) and histogram of D (bottom), at initialisation and after
    training.

    Options: ``bins`` (30), number of bins of the histogram.
    """
    runs = all_runs(data)
    fig = style.new_figure(style.COLUMN, 4.4)
    top, bottom = fig.subplots(2, 1, height_ratios=(3, 2))
    ends = {
        metric: np.concatenate([run.curves(metric)[:, [0, -1]] for run in runs])
        for metric in METRICS
    }
    bins = np.histogram_bin_edges(ends["distance"], bins=int(options.get("bins", 30)))
    tables = []
    for column, (moment, color) in enumerate(MOMENTS.items()):
        plus, minus, distance = (ends[metric][:, column] for metric in METRICS)
        top.scatter(plus, minus, s=7, color=color, alpha=0.7, linewidths=0, label=moment)
        counts, _, _ = bottom.hist(distance, bins=bins, color=color, alpha=0.85, label=moment)
        tables += [_end_rows(runs, moment, metric, ends[metric][:, column]) for metric in METRICS]
        tables.append(
            pd.DataFrame(
                {
                    "moment": moment,
                    "quantity": "histogram of distance",
                    "value": counts,
                    "bin_low": bins[:-1],
                    "bin_high": bins[1:],
                }
            )
        )
    top.set(xlabel="radius $R_{+}$", ylabel="radius $R_{-}$")
    top.legend(loc="upper left", handletextpad=0.2, markerscale=2)
    bottom.yaxis.get_major_locator().set_params(integer=True)
    bottom.set(xlabel="distance $D$", ylabel="number of networks")
    table = pd.concat(tables, ignore_index=True)[
        ["run", "seed", "moment", "quantity", "value", "bin_low", "bin_high"]
    ]
    return FigureResult(fig, table, _ends_summary(ends))


def _end_rows(runs: list[Run], moment: str, metric: str, values: Array) -> pd.DataFrame:
    names = np.concatenate([np.full(run.seeds, run.name, dtype=object) for run in runs])
    seeds = np.concatenate([run.trajectories["seed"].values for run in runs])
    return pd.DataFrame(
        {
            "run": names,
            "seed": pd.array(seeds, dtype="Int64"),
            "moment": moment,
            "quantity": metric,
            "value": values,
        }
    )


def _ends_summary(ends: dict[str, Array]) -> str:
    parts = []
    for metric, symbol in zip(METRICS, ("R+", "R-", "D"), strict=True):
        before, after = ends[metric].T
        sign = 1 if metric == "distance" else -1
        moved = int(np.sum(sign * (after - before) > 0))
        word = "larger" if sign > 0 else "smaller"
        parts.append(
            f"{symbol} from {mean_sd(before)} at initialisation to {mean_sd(after)} after "
            f"training, {word} in {moved} of {before.size} networks"
        )
    return "Mean ± sd: " + "; ".join(parts) + "."


def fig1b(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1b: R+, R-, D (top) and train and test error (bottom) against the epoch.

    Bands are mean ± 1 sd over networks; dashed: means at initialisation; grey: from the smallest to
    the largest of the three mean inversion epochs, widened by 1 sd at each end.
    """
    runs = all_runs(data)
    fig = style.new_figure(style.COLUMN, 4.8)
    radii, distance, errors = fig.subplots(3, 1, sharex=True, height_ratios=(3, 3, 2))
    low, high = inversion_range(runs)
    colors = style.METRIC_COLORS | {"train_error": style.BLACK, "test_error": style.SKY}
    panels = {
        "radius_plus": radii,
        "radius_minus": radii,
        "distance": distance,
        "train_error": errors,
        "test_error": errors,
    }
    tables = []
    for quantity, axes in panels.items():
        curves = stack(runs, quantity)
        tables.append(band(axes, curves, colors[quantity], style.METRIC_LABELS[quantity], quantity))
        if quantity in METRICS:
            axes.axhline(curves[:, 0].mean(), color=colors[quantity], ls="--", lw=0.7)
    for axes in (radii, distance, errors):
        axes.axvspan(low, high, color="0.87", lw=0, zorder=0)
    radii.set_ylabel("radius")
    distance.set_ylabel("distance $D$")
    errors.set_ylabel("error (fraction)")
    errors.set_ylim(bottom=0)
    radii.legend(loc="lower left")
    errors.legend(loc="upper right")
    style.epoch_axis(errors, stack(runs, "train_error").shape[1] - 1)
    tables.append(
        pd.DataFrame(
            {"quantity": ["inversion range, low", "inversion range, high"], "epoch": [low, high]}
        )
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), _inversion_summary(runs))


def _inversion_summary(runs: list[Run]) -> str:
    epochs = ", ".join(
        f"{mean_sd(found(runs, f'epoch_{key}'), 1)} ({symbol})"
        for key, symbol in (("plus", "R+"), ("minus", "R-"), ("distance", "D"))
    )
    inverts = found(runs, "inverts")
    low, high = inversion_range(runs)
    return (
        f"Inversion epochs (mean ± sd) {epochs}; training error at the inversion, phi, "
        f"{mean_sd(found(runs, 'phi'), 4)}; {int(inverts.sum())} of {inverts.size} networks "
        "invert. "
        f"Bands: mean ± 1 sd. Dashed: means at initialisation. Grey: epochs {low:.0f} to "
        f"{high:.0f}, the "
        "smallest to the largest of the three mean inversion epochs, ± 1 sd."
    )


def fig1c(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1c: the metrics against the training error, one curve (mean) per block of the data.

    Options: ``lowest_error`` (0.01), left end of the axis.
    """
    from matplotlib import colormaps

    runs = sorted(all_runs(data), key=lambda run: run.config["block"])
    shades = colormaps["viridis"](np.linspace(0, 0.9, len(runs)))
    looks = [
        {"color": tuple(shade), "label": f"block {run.config['block'] + 1}"}
        for run, shade in zip(runs, shades, strict=True)
    ]
    return metrics_over_error(runs, looks, options, "blocks")


def fig1d(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1d: the metrics against the training error, one curve (mean) per optimiser.

    Solid: Adam; dashed: weight decay; dotted: momentum; dash-dotted: any other. Options as in 1c.
    """
    families = {
        "-": [style.BLUE, style.SKY],
        "--": [style.VERMILLION, style.ORANGE],
        ":": [style.GREEN, style.PINK],
        "-.": [style.BLACK, style.GREY],
    }
    runs = all_runs(data)
    seen: dict[str, int] = {}
    looks = []
    for run in runs:
        family, label = describe_optimizer(run.config)
        colors = families[family]
        color = colors[seen.get(family, 0) % len(colors)]
        seen[family] = seen.get(family, 0) + 1
        width = 1.6 if family == ":" else 1.2
        looks.append({"color": color, "linestyle": family, "linewidth": width, "label": label})
    return metrics_over_error(runs, looks, options, "optimisers")


def describe_optimizer(config: dict[str, Any]) -> tuple[str, str]:
    """(line style of the family, label) of a run's optimiser."""
    rate = f"$\\eta$ = {config['learning_rate']:g}"
    if config["optimizer"] == "adam":
        return "-", f"Adam, {rate}"
    name = "SGD" if config["optimizer"] == "sgd" else "GD"
    if config["weight_decay"]:
        return "--", f"{name}, weight decay $\\lambda$ = {config['weight_decay']:g}"
    if config["momentum"]:
        return ":", f"{name}, momentum $\\mu$ = {config['momentum']:g}, {rate}"
    return "-.", f"{name}, {rate}"


def fig1e(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1e: the radii against the epoch, random labels (pink) against true ones (blue)."""
    return _labels_over_epoch(data, {"radius_plus": "R+", "radius_minus": "R-"})


def fig1f(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1f: the distance against the epoch, random labels (pink) against true ones (blue)."""
    return _labels_over_epoch(data, {"distance": "D"})


def _labels_over_epoch(data: RunGroups, metrics: dict[str, str]) -> FigureResult:
    """One panel per metric: bands (mean ± 1 sd) against the epoch, one per kind of labels.

    metrics: variable -> its name in the caption.
    """
    by_kind: dict[str, list[Run]] = {}
    for run in all_runs(data):
        by_kind.setdefault(run.config["labels"], []).append(run)
    fig = style.new_figure(style.COLUMN, 0.6 + 2.0 * len(metrics))
    panels = fig.subplots(len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    tables, parts, last = [], [], 0
    for kind in sorted(by_kind):
        label, color = LABELS.get(kind, (kind, style.GREY))
        runs = by_kind[kind]
        for axes, (metric, name) in zip(panels, metrics.items(), strict=True):
            curves = stack(runs, metric)
            last = max(last, curves.shape[1] - 1)
            rows = band(axes, curves, color, label, metric)
            tables.append(rows.assign(labels=kind))
            inverts = found(runs, f"inverts_{EXTREMA[metric]}")
            parts.append(
                f"{name} with {label}: {mean_sd(curves[:, 0])} at "
                f"initialisation, between {curves.mean(axis=0).min():.3f} and "
                f"{curves.mean(axis=0).max():.3f} in the mean, {mean_sd(curves[:, -1])} at the "
                f"end, {int(inverts.sum())} of {inverts.size} networks invert"
            )
    for axes, metric in zip(panels, metrics, strict=True):
        axes.set_ylabel(style.METRIC_LABELS[metric])
    panels[0].legend(loc="best")
    style.epoch_axis(panels[-1], last)
    summary = "Mean ± sd. " + "; ".join(parts) + ". Bands: mean ± 1 sd."
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary)
