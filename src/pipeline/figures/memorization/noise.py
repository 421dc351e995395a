"""Figure A8 of the memorisation paper: capacity of three layers against the share of random labels.

Source: Stephenson et al., ICLR 2021, Fig. A.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import bound, cells, mean_of
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.memorization.looks import (
    BOUNDS,
    KIND_COLORS,
    KIND_MARKERS,
    METRIC_LABELS,
    cut_bars,
    cut_text,
    found_analyses,
    gone_text,
    half_width,
    log_values,
    manifold_text,
    value_limits,
)
from pipeline.figures.save import FigureResult, empty_figure, known_options
from pipeline.run_texts import network_name
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLACES = ("first layer", "middle layer", "last layer")
Array = NDArray[np.float64]


def figA8(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. A8: capacity at the first, middle and last layer against eps, a row per network.

    Option: ``moment`` (final); the best epoch is drawn faintly behind it.
    """
    known_options("figA8", options, ("moment",))
    stacks = found_analyses(data, "mean_capacity")
    if not stacks:
        return empty_figure(data)
    moment = options.get("moment", "final")
    runs = {run.name: run for run in all_runs(data)}
    networks = list(dict.fromkeys(run.config["network"] for run in runs.values()))
    fig = style.new_figure(style.DOUBLE, 0.6 + 1.75 * len(networks))
    panels = fig.subplots(len(networks), len(PLACES), sharex=True, sharey="row", squeeze=False)
    tables, used, cut = [], [], 0
    for row, network in zip(panels, networks, strict=True):
        mine = [run for run in runs.values() if run.config["network"] == network]
        mine.sort(key=lambda run: float(run.config["label_noise"]))
        found = [_of_run(stacks, run) for run in mine]
        used += found
        noise = [float(run.config["label_noise"]) for run in mine]
        bounds = [bound(one) for one in found]
        rows = []
        for place, axes in enumerate(row):
            faint = _panel(axes, mine, found, place, "best", faint=True)
            rows += [faint, _panel(axes, mine, found, place, moment).assign(network=network)]
            axes.plot(noise, bounds, color=style.BLACK, ls=":", lw=0.8, zorder=0, label="2/M")
            title = f"{PLACES[place]} ({_layer_name(found[0], place)})"
            axes.set_title(title, loc="left")
        means, halves = pd.concat(rows)[["capacity", "half_width_95"]].to_numpy(dtype=float).T
        lines = np.array(bounds)
        ends = np.append(means, lines), np.append(halves, np.zeros_like(lines))
        limits = value_limits(*ends, bounds=BOUNDS["mean_capacity"], log=True)
        log_values(row[0], limits)
        cut += cut_bars(means, halves, limits)
        tables += rows[1::2]
        row[0].set_ylabel(f"{network_name(network)}\n{METRIC_LABELS['mean_capacity']}")
    for axes in panels[-1]:
        axes.set_xlabel(r"share of random labels $\epsilon$")
    handles, labels = panels[0][0].get_legend_handles_labels()
    kinds = dict(zip(labels, handles, strict=True))
    fig.legend(kinds.values(), kinds.keys(), loc="outside lower center", ncols=5)
    table = pd.concat(tables, ignore_index=True)
    summary = _summary(table, used, moment) + cut_text(cut, len(table)) + gone_text(data)
    return FigureResult(fig, table, summary)


def _of_run(stacks: list[xr.Dataset], run: Run) -> xr.Dataset:
    """The measurements of one run among the analyses given."""
    for stack in stacks:
        names = [str(name) for name in stack.attrs["runs"]]
        if run.name in names:
            index = names.index(run.name)
            layers = stack.attrs["run_layer_names"][index]
            return stack.isel(run=index).assign_attrs(layer_names=layers)
    raise PipelineError(f"Run {run.name} is in none of the analyses given; name one that has it.")


def _layer_index(stack: xr.Dataset, place: int) -> int:
    """Index of the first, middle or last measured layer."""
    last = stack.sizes["layer"] - 1
    return (0, (last + 1) // 2 if last > 1 else last, last)[place]


def _layer_name(stack: xr.Dataset, place: int) -> str:
    return str(stack.attrs["layer_names"][_layer_index(stack, place)])


def _panel(
    axes: Axes,
    runs: list[Run],
    found: list[xr.Dataset],
    place: int,
    moment: str,
    faint: bool = False,
) -> pd.DataFrame:
    """Capacity of every kind at one layer against eps: mean and 95 % interval over seeds."""
    rows = []
    noise = np.array([float(run.config["label_noise"]) for run in runs])
    for kind in found[0].attrs["kinds"]:
        values = [
            cells(one, "mean_capacity", moment, kind)[:, _layer_index(one, place)] for one in found
        ]
        mean = np.array([float(mean_of(one)) for one in values])
        half = np.array([float(half_width(one)) for one in values])
        shown = np.isfinite(mean)
        look: dict[str, Any] = {"color": KIND_COLORS[kind], "marker": KIND_MARKERS[kind], "ms": 2.5}
        if faint:
            axes.plot(noise[shown], mean[shown], alpha=0.3, lw=0.8, **look)
            half[:] = np.nan  # has no bars
        else:
            axes.errorbar(
                noise[shown], mean[shown], half[shown], lw=1.0, elinewidth=0.7, label=kind, **look
            )
        for index in np.flatnonzero(shown):
            rows.append(
                {
                    "moment": moment,
                    "layer": PLACES[place],
                    "kind": kind,
                    "eps": noise[index],
                    "capacity": mean[index],
                    "half_width_95": half[index],
                    "n": int(np.isfinite(values[index]).sum()),
                }
            )
    return pd.DataFrame(rows)


def _summary(table: pd.DataFrame, found: list[xr.Dataset], moment: str) -> str:
    last = table[table["layer"] == PLACES[-1]]
    texts = []
    for kind, rows in last.groupby("kind", sort=False):
        low, high = rows.iloc[0], rows.iloc[-1]
        texts.append(
            f"{kind} {low['capacity']:.4f} (eps = {low['eps']:g}) to {high['capacity']:.4f} "
            f"(eps = {high['eps']:g})"
        )
    return (
        f"Capacity at the last layer, {moment} epoch: {'; '.join(texts)}. "
        f"{manifold_text(found)} Means over seeds, bars: 95 % intervals of the mean; faint: best epoch; "
        f"dotted: 2/M of the permuted manifolds ({_bounds_text(found)}). Kinds that are empty (eps = 0 or "
        "1) are left out."
    )


def _bounds_text(found: list[xr.Dataset]) -> str:
    values = sorted({f"{bound(one):.3g}" for one in found})
    return values[0] if len(values) == 1 else f"{values[0]} to {values[-1]}"
