"""Figures 3b and 3e of the stragglers paper: phi and its limit for large training sets.

Source: Ciceri et al., arXiv:2303.05161, Eq. 12. The fits are made by ``analysis.scaling``.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.scaling_fit import scaling_form
from pipeline.figures import style
from pipeline.figures.curves import missing_text
from pipeline.figures.save import FigureResult
from pipeline.figures.stragglers.data_sets import DATASET_COLORS, OTHER_COLORS, dataset_looks
from pipeline.run_texts import DATASET_NAMES
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH_MARKERS = ("o", "s", "D", "^", "v", "P")
FEATURES = 784  # 28 x 28 pixels
Array = NDArray[np.float64]


# --- Fig. 3b: the size of the training set -------------------------------------------------------


def fig3b(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 3b: phi against the size P of the training set, with fits of Eq. 12.

    Boxes: mean ± 1 sd over networks (2 sd high); bars: ± 1 standard error of the mean; dashed: fit,
    with phi_inf ± 1 standard error at the right; dotted grey: a fit that does not fix phi_inf.
    """
    fits = analysis_with(data, "fit_phi_inf")
    looks = _curve_looks(fits, all_runs(data))
    fig = style.new_figure(style.COLUMN, 3.1)
    axes = fig.subplots()
    sizes = fits["size"].values.astype(np.float64)
    right = sizes.max() * 4
    tables, parts = [], []
    for index, (label, color) in enumerate(looks):
        curve = fits.isel(curve=index)
        _sized_boxes(axes, sizes, curve, label, color)
        parts.append(_draw_fit(axes, sizes, right, fits, index, label, color))
        tables.append(_fit_rows(curve, label))
    axes.set_xscale("log")
    axes.set_xlim(sizes.min() / 1.6, right)
    axes.set_ylim(bottom=0)
    _size_ticks(axes, sizes)
    axes.set_xlabel("size of the training set $P$ (samples)")
    axes.set_ylabel(r"fraction of stragglers $\phi$")
    fig.legend(loc="outside lower center", ncols=3, columnspacing=1.0)
    summary = (
        f"Limit of phi for large training sets (fit of Eq. 12 ± standard error): {'; '.join(parts)}. "
        "Boxes: mean ± 1 sd over networks; bars: ± 1 standard error of the mean; hollow, and not "
        "fitted: fewer than half of the networks invert; ticks at the right: phi_inf ± 1 standard "
        f"error, which allows for the misfit of the curve.{missing_text(data)}"
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary)


def _curve_looks(fits: xr.Dataset, runs: list[Run]) -> list[tuple[str, str]]:
    """(label, colour) of the curves of the scaling analysis, which are told apart by data set."""
    one_of = {run.config["dataset"]: run for run in reversed(runs)}
    keys = [str(curve.get("dataset", "")) for curve in fits.attrs["curves"]]
    looks, spare = [], iter(OTHER_COLORS * len(keys))
    for key in keys:
        if key in one_of:
            looks += dataset_looks([one_of[key]])
        else:
            looks.append((DATASET_NAMES.get(key, key), DATASET_COLORS.get(key) or next(spare)))
    return looks


def _sized_boxes(axes: Axes, sizes: Array, curve: xr.Dataset, label: str, color: str) -> None:
    from matplotlib.patches import Rectangle

    mean, sd, sem = (curve[f"phi_{name}"].values for name in ("mean", "sd", "sem"))
    for size, centre, half in zip(sizes, mean, np.nan_to_num(sd), strict=True):
        if np.isfinite(centre):
            box = (size / 1.12, centre - half), size * (1.12 - 1 / 1.12), 2 * half
            axes.add_patch(Rectangle(*box, color=color, alpha=0.3, lw=0))
    fitted = curve["fitted"].values
    bars: dict[str, Any] = {"fmt": "o", "ms": 2.5, "lw": 0.9, "color": color}
    axes.errorbar(sizes[fitted], mean[fitted], np.nan_to_num(sem[fitted]), label=label, **bars)
    left_out = ~fitted & np.isfinite(mean)
    if left_out.any():
        axes.errorbar(
            sizes[left_out], mean[left_out], np.nan_to_num(sem[left_out]), mfc="w", **bars
        )


def _draw_fit(
    axes: Axes, sizes: Array, right: float, fits: xr.Dataset, index: int, label: str, color: str
) -> str:
    """Draw one fit; returns what it gives, in words."""
    curve = fits.isel(curve=index)
    limit, P0, gamma, se = (
        float(curve[f"fit_{name}"]) for name in ("phi_inf", "P0", "gamma", "phi_inf_se")
    )
    determined = bool(curve["fit_determined"])
    if np.isfinite([limit, P0, gamma]).all():
        present = sizes[curve["fitted"].values]
        dense = np.geomspace(present.min(), right, 100)
        values = scaling_form(dense, limit, P0, gamma)
        look: dict[str, Any] = (
            {"color": color, "ls": "--"} if determined else {"color": style.GREY, "ls": ":"}
        )
        axes.plot(dense, values, lw=0.9, **look)
    if not determined:
        reason = str(fits.attrs["reasons"][index]).rstrip(".")
        return f"{label}: not determined ({reason})"
    end: dict[str, Any] = {
        "color": color,
        "transform": axes.get_yaxis_transform(),
        "clip_on": False,
    }
    axes.plot([0.98, 1.03], [limit, limit], lw=1.6, **end)
    axes.plot([1.005, 1.005], [limit - se, limit + se], lw=0.9, **end)
    return f"{label} {limit:.4f} ± {se:.4f}"


def _fit_rows(curve: xr.Dataset, label: str) -> pd.DataFrame:
    """What is drawn of one curve, long form; quantities that there are not are left out."""
    rows = [
        (label, quantity, str(int(size)), float(curve[quantity].sel(size=size)))
        for quantity in ("phi_mean", "phi_sd", "phi_sem", "networks")
        for size in curve["size"].values
    ]
    fitted = ("phi_inf", "phi_inf_se", "phi_inf_low", "phi_inf_high", "P0", "gamma", "determined")
    rows += [(label, f"fit_{name}", "all", float(curve[f"fit_{name}"])) for name in fitted]
    table = pd.DataFrame(rows, columns=["curve", "quantity", "samples", "value"])
    return table[np.isfinite(table["value"])]


def _size_ticks(axes: Axes, sizes: Array) -> None:
    from matplotlib.ticker import NullFormatter

    kept: list[float] = []
    for size in sizes:  # not nearer than a factor of 1.9, so that labels do not touch
        if not kept or size >= 1.9 * kept[-1]:
            kept.append(float(size))
    axes.set_xticks(kept, [f"{int(size)}" for size in kept])
    axes.xaxis.set_minor_formatter(NullFormatter())


# --- Fig. 3e: architectures ----------------------------------------------------------------------


def fig3e(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 3e: phi_inf against the number of parameters; colour: depth; marker: width.

    Boxes: phi_inf ± 1 standard error of the fit (2 standard errors high). Hollow: phi at the largest
    P, where the fit does not fix phi_inf. Options: ``features`` (784), inputs of the networks;
    ``paper`` ([low, high]), the paper's range, shaded.
    """
    fits = analysis_with(data, "fit_phi_inf")
    features = int(options.get("features", FEATURES))
    curves = fits.attrs["curves"]
    depths = sorted({int(one["depth"]) for one in curves})
    widths = sorted({int(one["width"]) for one in curves})
    colors, markers = _depth_colors(depths), dict(zip(widths, WIDTH_MARKERS * 9, strict=False))
    fig = style.new_figure(style.COLUMN, 3.3)
    axes = fig.subplots()
    if paper := options.get("paper"):
        axes.axhspan(*paper, color="0.9", lw=0, zorder=0)
    rows = []
    for index, one in enumerate(curves):
        depth, width = int(one["depth"]), int(one["width"])
        limit = _limit(fits.isel(curve=index))
        parameters = parameter_count(features, depth, width)
        rows.append({"depth": depth, "width": width, "parameters": parameters, **limit})
        _limit_box(axes, parameters, limit, colors[depth], markers[width])
    axes.set_xscale("log")
    axes.set_xlabel("number of parameters (weights and biases)")
    axes.set_ylabel(r"$\phi_\infty$ (fraction of stragglers, $P \to \infty$)")
    table = pd.DataFrame(rows)
    hollow = bool((table["quantity"] != "phi_inf").any())
    _depth_width_legend(fig, colors, {width: markers[width] for width in widths}, hollow)
    trained = sorted({(run.config["epochs"], run.seeds) for run in all_runs(data)})
    how = " or ".join(f"{seeds} networks for {epochs} epochs" for epochs, seeds in trained)
    text = f"{_architectures_text(table, options)} Trained at each P: {how}."
    return FigureResult(fig, table, text + missing_text(data))


def parameter_count(features: int, depth: int, width: int, outputs: int = 2) -> int:
    """Weights and biases of a fully connected network with ``depth`` weight layers."""
    sizes = [features, *[width] * (depth - 1), outputs]
    return sum((n + 1) * m for n, m in pairwise(sizes))


def _limit(curve: xr.Dataset) -> dict[str, Any]:
    """phi_inf and its standard error; phi at the largest P and its own where not determined."""
    if bool(curve["fit_determined"]):
        value, se = float(curve["fit_phi_inf"]), float(curve["fit_phi_inf_se"])
        return {"quantity": "phi_inf", "value": value, "standard_error": se}
    last = int(np.flatnonzero(np.isfinite(curve["phi_mean"].values))[-1])
    value, se = (float(curve[name].values[last]) for name in ("phi_mean", "phi_sem"))
    size = int(curve["size"].values[last])
    quantity = f"phi at P = {size}"
    return {"quantity": quantity, "value": value, "standard_error": float(np.nan_to_num(se))}


def _limit_box(axes: Axes, x: int, limit: dict[str, Any], color: Any, marker: str) -> None:
    from matplotlib.patches import Rectangle

    value, se = limit["value"], limit["standard_error"]
    filled = limit["quantity"] == "phi_inf"
    if filled:
        box = (x / 1.06, value - se), x * (1.06 - 1 / 1.06), 2 * se
        axes.add_patch(Rectangle(*box, color=color, alpha=0.35, lw=0))
    face = color if filled else "white"
    axes.errorbar(x, value, se, fmt=marker, ms=4, mfc=face, mec=color, color=color, lw=0.9, mew=0.9)


def _depth_colors(depths: list[int]) -> dict[int, Any]:
    from matplotlib import colormaps

    shades = colormaps["Blues"](np.linspace(0.45, 1.0, len(depths)))
    return {depth: tuple(shade) for depth, shade in zip(depths, shades, strict=True)}


def _depth_width_legend(
    fig: Any, colors: dict[int, Any], markers: dict[int, str], hollow: bool
) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=color, lw=4, label=f"depth {depth}") for depth, color in colors.items()
    ]
    handles += [
        Line2D([], [], color=style.GREY, ls="", marker=marker, ms=4, label=f"width {width}")
        for width, marker in markers.items()
    ]
    if hollow:
        look: dict[str, Any] = {
            "mfc": "white",
            "mec": style.GREY,
            "label": r"$\phi$ at the largest $P$",
        }
        handles.append(Line2D([], [], ls="", marker="o", ms=4, **look))
    fig.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1.0)


def _architectures_text(table: pd.DataFrame, options: dict[str, Any]) -> str:
    fixed = table[table["quantity"] == "phi_inf"]
    open_ones = len(table) - len(fixed)
    shaded = " Grey: the paper's range." if options.get("paper") else ""
    hollow = (
        f" {open_ones} of {len(table)} fits do not determine phi_inf; phi at the largest P is drawn "
        "instead, hollow."
        if open_ones
        else ""
    )
    if fixed.empty:
        return f"No fit of Eq. 12 determines phi_inf.{hollow}{shaded}"
    by_depth = "; ".join(
        f"depth {depth} {rows['value'].mean():.4f}" for depth, rows in fixed.groupby("depth")
    )
    return (
        f"phi_inf from {fixed['value'].min():.4f} to {fixed['value'].max():.4f} over {len(fixed)} "
        f"architectures with {fixed['parameters'].min()} to {fixed['parameters'].max()} parameters "
        f"(means: {by_depth}). Boxes: ± 1 standard error of the fit.{hollow}{shaded}"
    )
