"""Figures 3 and A4 to A7 of the memorisation paper: manifold geometry layer by layer.

Source: Stephenson et al., ICLR 2021, Figs. 3, A.4-A.7. The numbers come from
``analysis.layer_capacity``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import bound, cells, first_run, mean_of, moment_index
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    BOUNDS,
    KIND_COLORS,
    KIND_MARKERS,
    METRIC_LABELS,
    cut_bars,
    cut_text,
    epoch_axis,
    found_analyses,
    gone_text,
    half_width,
    layer_axis,
    layer_bar,
    layer_colors,
    log_values,
    manifold_text,
    skips_text,
    value_limits,
)
from pipeline.figures.save import FigureResult, empty_figure, known_options
from pipeline.runs import RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONFIDENCE = 0.95
LOGARITHMIC = ("mean_capacity", "radius")  # of which the read-out's are many times the others'
Array = NDArray[np.float64]


def layers(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Capacity, radius, dimension and centre correlation against the layer, a row per moment.

    Options: ``moments`` ([best, final]), the rows; ``faded`` (none), a moment that is drawn faintly
    behind the others; ``confidence`` (0.95) of the error bars. The limits of the axes are those of all
    moments measured, drawn or not, so that figures of different moments can be compared.
    """
    known_options("layers", options, ("moments", "faded", "confidence"))
    stacks = found_analyses(data, "mean_capacity")
    if not stacks:
        return empty_figure(data)
    stack = first_run(stacks[0], "measured_epoch")
    moments = options.get("moments", ["best", "final"])
    confidence = float(options.get("confidence", CONFIDENCE))
    fig = style.new_figure(style.DOUBLE, 0.55 + 1.7 * len(moments))
    panels = fig.subplots(len(moments), len(METRIC_LABELS), squeeze=False, sharex=True)
    limits = {metric: _limits(stack, metric, confidence) for metric in METRIC_LABELS}
    tables = []
    for row, moment in zip(panels, moments, strict=True):
        for axes, metric in zip(row, METRIC_LABELS, strict=True):
            if faded := options.get("faded"):
                _metric(axes, stack, metric, faded, confidence, faint=True)
            tables.append(_metric(axes, stack, metric, moment, confidence))
            axes.set_ylabel(METRIC_LABELS[metric])
            if metric in LOGARITHMIC:
                log_values(axes, limits[metric])
            else:
                axes.set_ylim(*limits[metric])
            layer_axis(axes, stack["layer"].values, axes.get_subplotspec().is_last_row())
        row[0].set_title(f"{moment} epoch", loc="left")
        _bound(row[0], stack)
    handles, labels = panels[0][0].get_legend_handles_labels()
    kinds = {label: handle for handle, label in zip(handles, labels, strict=True)}
    fig.legend(kinds.values(), kinds.keys(), loc="outside lower center", ncols=5)
    table = pd.concat(tables, ignore_index=True)
    cut = sum(
        cut_bars(rows["mean"].to_numpy(), rows["half_width"].to_numpy(), limits[str(metric)])
        for metric, rows in table.groupby("quantity")
    )
    summary = _summary(stack, moments, confidence) + cut_text(cut, len(table))
    summary += skips_text(all_runs(data)[0], "are no layers of their own")
    return FigureResult(fig, table, summary + gone_text(data))


def along_epochs(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Capacity of each kind of manifold against the epoch, one line per layer and seed."""
    known_options("along_epochs", options, ())
    stacks = found_analyses(data, "mean_capacity")
    if not stacks:
        return empty_figure(data)
    stack = first_run(stacks[0], "measured_epoch")
    kinds = [str(kind) for kind in stack.attrs["kinds"]]
    names = _layer_names(stack)
    fig = style.new_figure(style.DOUBLE, 2.3)
    panels = fig.subplots(1, len(kinds), sharex=True, sharey=True, squeeze=False)[0]
    epochs = stack["measured_epoch"].values.astype(float)
    epochs[epochs < 0] = np.nan
    tables = []
    for axes, kind in zip(panels, kinds, strict=True):
        values = (
            stack["mean_capacity"]
            .isel(kind=kinds.index(kind))
            .transpose("seed", "checkpoint", "layer")
        )
        for index, color in enumerate(layer_colors(len(names))):
            for seed in range(values.sizes["seed"]):
                axes.plot(
                    epochs[seed], values[seed, :, index], color=color, marker=".", ms=3, lw=0.9
                )
        axes.set_title(kind)
        epoch_axis(axes)
        frame = values.to_dataframe(name="capacity").reset_index()
        frame["kind"], frame["epoch"] = kind, np.repeat(epochs.ravel(), len(names))
        tables.append(frame[["kind", "seed", "epoch", "layer", "capacity"]].dropna())
        _bound(axes, stack, kind)
    panels[0].set_ylabel(METRIC_LABELS["mean_capacity"])
    table = pd.concat(tables, ignore_index=True)
    shown = np.append(table["capacity"], [bound(stack, kind) for kind in kinds])
    log_values(panels[0], value_limits(shown, np.zeros_like(shown), log=True))
    layer_bar(fig, panels, names)
    summary = (
        f"One line per layer and seed, of {stack.sizes['seed']} of the {all_runs(data)[0].seeds} "
        f"networks, at {stack.sizes['checkpoint']} of the kept epochs of each; dotted: 2/M, the capacity "
        f"of M points in random directions. {manifold_text([stack])}"
    )
    return FigureResult(fig, table, summary + gone_text(data))


def _layer_names(stack: xr.Dataset) -> list[str]:
    return [str(name) for name in stack.attrs["layer_names"]]


def _metric(
    axes: Axes, stack: xr.Dataset, metric: str, moment: str, confidence: float, faint: bool = False
) -> pd.DataFrame:
    """One metric of all kinds against the layer: mean and error bars over seeds."""
    numbers = stack["layer"].values
    tables = []
    for offset, kind in enumerate(stack.attrs["kinds"]):
        values = cells(stack, metric, moment, kind)
        mean, half = mean_of(values), half_width(values, confidence=confidence)
        if not np.isfinite(mean).any():
            continue
        look: dict[str, Any] = {"color": KIND_COLORS[kind], "marker": KIND_MARKERS[kind], "ms": 2.5}
        if faint:
            axes.plot(numbers, mean, alpha=0.3, lw=0.8, **look)
        else:
            place = numbers + 0.06 * (offset - 1.5)
            bars: dict[str, Any] = {"elinewidth": 0.7, "ecolor": (KIND_COLORS[kind], 0.5)}
            axes.errorbar(place, mean, half, lw=1.0, label=kind, **bars, **look)
        tables.append(
            pd.DataFrame(
                {
                    "moment": moment,
                    "quantity": metric,
                    "kind": kind,
                    "layer": numbers,
                    "mean": mean,
                    "half_width": half,
                    "n": np.isfinite(values).sum(axis=0),
                }
            )
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _bound(axes: Axes, stack: xr.Dataset, kind: str = "permuted") -> None:
    axes.axhline(bound(stack, kind), color=style.BLACK, ls=":", lw=0.8, zorder=0, label="2/M")


def _limits(stack: xr.Dataset, metric: str, confidence: float) -> tuple[float, float]:
    """Limits of a metric's axis, those of all kinds and moments that were measured."""
    values = [
        cells(stack, metric, str(moment), str(kind))
        for moment in stack.attrs["moments"]
        for kind in stack.attrs["kinds"]
    ]
    means = np.concatenate([mean_of(one) for one in values])
    halves = np.concatenate([half_width(one, confidence=confidence) for one in values])
    if metric == "mean_capacity":
        means, halves = np.append(means, bound(stack)), np.append(halves, 0.0)
    return value_limits(means, halves, bounds=BOUNDS[metric], log=metric in LOGARITHMIC)


def _summary(stack: xr.Dataset, moments: list[str], confidence: float) -> str:
    name, last = _layer_names(stack)[-1], -1
    texts = []
    for moment in moments:
        of_kinds = []
        for kind in stack.attrs["kinds"]:
            values = cells(stack, "mean_capacity", moment, kind)[:, last]
            if np.isfinite(values).any():
                of_kinds.append(f"{kind} {float(mean_of(values)):.4f}")
        epochs = stack["measured_epoch"].values[:, moment_index(stack, moment)]
        texts.append(f"{moment} epoch ({epochs.min()} to {epochs.max()}): {', '.join(of_kinds)}")
    return (
        f"Capacity at the last layer ({name}), {'; '.join(texts)}; 2/M = {bound(stack):.3g} (dotted), the "
        "capacity of M points in random directions where a layer has more than M units. "
        f"{manifold_text([stack])} Means over {stack.sizes['seed']} seeds, bars: "
        f"{100 * confidence:.0f} % intervals of the mean."
    )
