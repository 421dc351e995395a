"""Two figures of ours on what the stragglers paper says without one (arXiv:2303.05161, Discussion).

L1: the metrics at every hidden layer of a deep network (limitation ii). init_variance: a larger
variance of the initial weights makes the minimum of the radii shallower until it disappears.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.inversion import extremum
from pipeline.figures import style
from pipeline.figures.curves import (
    LOWEST_ERROR,
    each_over_error,
    error_grid,
    mean_sd,
    missing_text,
    moments,
)
from pipeline.figures.save import FigureResult
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups, all_runs

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REFERENCES = {"uniform": "-", "he": "--", "xavier": ":"}  # line styles of other initial weights
Array = NDArray[np.float64]


# --- L1: the layers of a deep network ------------------------------------------------------------


def figL1(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """L1: R+, R- and D at every hidden layer, means over networks; the darker, the nearer the output.

    Top: against the epoch; bottom: against the training error. Options: ``lowest_error`` (0.01).
    """
    run = all_runs(data)[0]
    layers = [int(layer) for layer in run.trajectories["layer"].values]
    grid = error_grid([run], float(options.get("lowest_error", LOWEST_ERROR)))
    epochs = run.trajectories["epoch"].values
    fig = style.new_figure(style.DOUBLE, 4.5)
    panels = fig.subplots(2, 3)
    colors = _layer_colors(layers)
    tables = []
    for column, metric in enumerate(METRICS):
        for layer in layers:
            curves = run.curves(metric, layer)
            over_error = each_over_error(run.curves("train_error"), curves, grid).mean(axis=0)
            for row, (axis, x, mean) in enumerate(
                (("epoch", epochs, curves.mean(axis=0)), ("train_error", grid, over_error))
            ):
                kept = np.isfinite(mean)
                panels[row, column].plot(x[kept], mean[kept], color=colors[layer])
                rows: dict[str, Any] = {
                    "quantity": metric,
                    "layer": layer,
                    "against": axis,
                    "n": run.seeds,
                }
                tables.append(pd.DataFrame({**rows, "at": x[kept], "mean": mean[kept]}))
        style.epoch_axis(panels[0, column], int(epochs[-1]), label=False)
        panels[0, column].set_xlabel("epoch (log axis from 1)")
        style.error_axis(panels[1, column], grid[0], grid[-1])
        for axes in panels[:, column]:
            axes.set_ylabel(style.METRIC_LABELS[metric])
    _layer_bar(fig, panels, layers, colors)
    summary = (
        f"Means over {run.seeds} networks. Minimum of R+ (mean ± sd): {_layers_text(run, layers)}."
        f"{missing_text(data)}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary)


def _layer_colors(layers: list[int]) -> dict[int, Any]:
    from matplotlib import colormaps

    shades = colormaps["viridis_r"](np.linspace(0.08, 1.0, len(layers)))
    return {layer: tuple(shade) for layer, shade in zip(layers, shades, strict=True)}


def _layer_bar(fig: Any, panels: Any, layers: list[int], colors: dict[int, Any]) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    shades = ListedColormap([colors[layer] for layer in layers])
    norm = BoundaryNorm(np.arange(len(layers) + 1) - 0.5, shades.N)
    bar = fig.colorbar(ScalarMappable(norm, shades), ax=panels, aspect=40, pad=0.01)
    bar.set_ticks(np.arange(len(layers)), labels=[str(layer) for layer in layers])
    bar.ax.tick_params(length=0)
    bar.set_label("hidden layer (1: at the input)")


def _layers_text(run: Run, layers: list[int]) -> str:
    errors = run.curves("train_error")
    parts = []
    for layer in layers:
        found = [extremum(curve) for curve in run.curves("radius_plus", layer)]
        at = np.array([error[one.epoch] for error, one in zip(errors, found, strict=True)])
        inverting = sum(one.inverts for one in found)
        rise = mean_sd(np.array([one.rise for one in found]))
        parts.append(
            f"layer {layer} at training error {mean_sd(at)}, rise from it {rise}, {inverting} of "
            f"{len(found)} networks invert"
        )
    return "; ".join(parts)


# --- init_variance: the variance of the initial weights ------------------------------------------


def init_variance(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Radii, depth of the minimum, phi and the share that inverts, against the initial variance.

    The depth is R+ at the last epoch minus R+ at t*. phi is the mean over the networks that invert
    in R+. Grey verticals: 1/H, the inverse of the number of hidden units. Horizontal lines: phi of
    runs with other initial weights. Error bars: ± 1 sd over networks.
    """
    runs = [run for run in all_runs(data) if run.config["init"] == "normal"]
    runs.sort(key=lambda run: float(run.config["init_variance"]))
    others = [run for run in all_runs(data) if run.config["init"] != "normal"]
    rows = [row for run in runs for row in _variance_rows(run)]
    table = pd.DataFrame(rows, columns=["run", "variance", "quantity", "mean", "sd", "n"])
    fig = style.new_figure(style.DOUBLE, 4.2)
    panels = fig.subplots(2, 2, sharex=True)
    radii, depth, phi, share = panels.ravel()
    _draw_against_variance(radii, table, "radius_plus at t*", style.BLUE, "minimum (at $t_*$)")
    _draw_against_variance(radii, table, "radius_plus at the end", style.ORANGE, "last epoch")
    _draw_against_variance(
        depth, table, "fall to the minimum", style.SKY, "fall from epoch 0 to $t_*$"
    )
    _draw_against_variance(depth, table, "depth", style.BLUE, "depth: rise from $t_*$ to the end")
    _draw_against_variance(phi, table, "phi", style.BLUE, "normal")
    references = _draw_references(phi, others)
    for name, color, label in (
        ("inverts_plus", style.BLUE, "$R_{+}$"),
        ("inverts", style.VERMILLION, "$R_{+}$, $R_{-}$ and $D$"),
    ):
        _draw_against_variance(share, table, f"share {name}", color, label)
    _finish_variance_panels(panels, {int(run.config["width"]) for run in runs})
    table["weights"] = [f"normal, variance {one:g}" for one in table["variance"]]
    table = pd.concat([table.drop(columns="variance"), references], ignore_index=True)
    return FigureResult(fig, table, _variance_text(runs, others) + missing_text(data))


def _variance_rows(run: Run) -> list[tuple[str, float, str, float, float, int]]:
    radius = run.curves("radius_plus")
    lowest = radius.min(axis=1)
    inverts = run.inversion["inverts_plus"].values.astype(bool)
    quantities = {
        "radius_plus at t*": lowest,
        "radius_plus at the end": radius[:, -1],
        "fall to the minimum": radius[:, 0] - lowest,
        "depth": radius[:, -1] - lowest,
        "phi": run.inversion["phi"].values[inverts],
        "share inverts_plus": inverts.astype(np.float64),
        "share inverts": run.inversion["inverts"].values.astype(np.float64),
    }
    variance = float(run.config["init_variance"])
    rows = []
    for name, values in quantities.items():
        if values.size:
            mean, sd = moments(values)
            spread = 0.0 if name.startswith("share") else sd  # the share says its own spread
            rows.append((run.name, variance, name, mean, spread, values.size))
    return rows


def _draw_against_variance(
    axes: Axes, table: pd.DataFrame, quantity: str, color: str, label: str
) -> None:
    rows = table[table["quantity"] == quantity]
    look: dict[str, Any] = {
        "fmt": "o--" if quantity == "share inverts" else "o-",
        "ms": 3,
        "lw": 1.0,
        "elinewidth": 0.9,
        "color": color,
        "label": label,
    }
    axes.errorbar(rows["variance"], rows["mean"], rows["sd"], **look)


def _draw_references(axes: Axes, runs: list[Run]) -> pd.DataFrame:
    """phi of runs with other initial weights as horizontal lines; returns their rows."""
    rows = []
    for run in runs:
        init = str(run.config["init"])
        mean, sd = moments(run.inversion["phi"].values.astype(np.float64))
        axes.axhline(mean, color=style.GREY, ls=REFERENCES.get(init, "-."), lw=1.0, label=init)
        rows.append((run.name, "phi", mean, sd, run.seeds, init))
    return pd.DataFrame(rows, columns=["run", "quantity", "mean", "sd", "n", "weights"])


def _finish_variance_panels(panels: Any, widths: set[int]) -> None:
    labels = ("radius $R_{+}$", "change of $R_{+}$", r"$\phi$ (fraction)", "share that inverts")
    for axes, label in zip(panels.ravel(), labels, strict=True):
        axes.set_xscale("log")
        axes.set_ylabel(label)
        for width in sorted(widths):
            axes.axvline(1 / width, color="0.75", lw=0.9, zorder=0)
            place: dict[str, Any] = {
                "textcoords": "offset points",
                "xytext": (2, -1),
                "va": "top",
                "fontsize": 6,
            }
            axes.annotate("1/H", (1 / width, 1.0), xycoords=axes.get_xaxis_transform(), **place)
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.0)
    panels[1, 0].set_ylim(0, 1.3 * panels[1, 0].get_ylim()[1])  # room for the labels
    panels[1, 1].set(ylim=(-0.05, 1.25), yticks=(0, 0.25, 0.5, 0.75, 1))
    for axes in panels[1]:
        axes.set_xlabel("variance of the initial weights (no units)")


def _variance_text(runs: list[Run], others: list[Run]) -> str:
    parts = []
    for run in runs:
        radius = run.curves("radius_plus")
        inverts = run.inversion["inverts_plus"].values.astype(bool)
        phi = run.inversion["phi"].values[inverts]
        at = f"phi {mean_sd(phi, 4)}" if phi.size else "no minimum"
        depth = mean_sd(radius[:, -1] - radius.min(axis=1))
        parts.append(
            f"{float(run.config['init_variance']):g}: smallest R+ {mean_sd(radius.min(axis=1))}, "
            f"depth {depth}, {int(inverts.sum())} of {inverts.size} networks invert in R+, {at}"
        )
    text = f"By variance (mean ± sd; phi over networks that invert in R+): {'; '.join(parts)}."
    if others:
        phis = "; ".join(
            f"{run.config['init']} {mean_sd(run.inversion['phi'].values, 4)}" for run in others
        )
        text += f" phi with other initial weights: {phis}."
    return text
