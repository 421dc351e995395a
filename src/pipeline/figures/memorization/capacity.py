"""Figure 1B of the memorisation paper: capacity by simulation against capacity by theory.

Source: Stephenson et al., ICLR 2021, Fig. 1B. Both are computed by ``analysis.capacity_check``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.capacity_check import correlation, pairs_of, relative_differences
from pipeline.figures import style
from pipeline.figures.save import FigureResult
from pipeline.runs import RunGroups, analysis_with

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOOKS = {
    "sphere": ("o", style.BLUE, "spheres"),
    "ball": ("D", style.GREEN, "balls"),
    "ellipsoid": ("s", style.ORANGE, "ellipsoids"),
    "cloud": ("^", style.VERMILLION, "Gaussian clouds"),
}
NEAR = 0.1  # the shaded relative difference, which the claim's threshold is too
MARGIN = 1.25  # of the axes beyond the smallest and the largest capacity
COLUMNS = {
    "theory_capacity": "theory",
    "simulated_capacity": "simulation",
    "simulated_capacity_se": "simulation_se",
    "theory_radius": "manifold_radius",
    "theory_dimension": "manifold_dimension",
    "theory_correlation": "centre_correlation",
    "theory_removed": "removed_directions",
    "transition_directions": "transition_directions",
    "dichotomies": "dichotomies",
}
Array = NDArray[np.float64]


def fig1B(data: RunGroups, options: dict[str, Any]) -> FigureResult:
    """Fig. 1B: capacity by simulation against that by theory, and their ratio.

    One marker per setting, the mean over its draws; bars: ± 1 standard error of the simulation, within
    the marker in the upper panel. Hollow: manifolds whose centres have a common part.
    """
    check = analysis_with(data, "simulated_capacity")
    theory, simulation = pairs_of(check)
    low = float(min(theory.min(), simulation.min())) / MARGIN
    high = float(max(theory.max(), simulation.max())) * MARGIN
    fig = style.new_figure(style.COLUMN, 4.6)
    upper, lower = fig.subplots(2, 1, sharex=True, height_ratios=(2.5, 1))
    fig.align_ylabels()
    upper.plot([low, high], [low, high], color=style.BLACK, lw=0.8, zorder=1)
    lower.axhspan(1 - NEAR, 1 + NEAR, color="0.92", lw=0, zorder=0)
    lower.axhline(1, color=style.BLACK, lw=0.8, zorder=1)
    for index, setting in enumerate(check.attrs["settings"]):
        _draw_setting(upper, lower, check.isel(setting=index), setting)
    _style_axes(upper, lower, low, high)
    _legend(fig, check.attrs["settings"])
    return FigureResult(fig, _table(check), _summary(check, theory, simulation))


def _draw_setting(upper: Axes, lower: Axes, one: xr.Dataset, setting: dict[str, Any]) -> None:
    """Mean over draws of one setting, and its ratio, with the standard error of the simulation."""
    marker, color, _ = LOOKS[setting["shape"]]
    face = "white" if setting.get("correlation", 0) else color
    look: dict[str, Any] = {"fmt": marker, "ms": 4, "mfc": face, "mec": color, "mew": 0.9}
    look |= {"color": color, "lw": 0.9, "zorder": 3}
    theory, simulation, errors = (
        one[name].values
        for name in ("theory_capacity", "simulated_capacity", "simulated_capacity_se")
    )
    error = float(np.sqrt(np.sum(errors**2))) / errors.size
    ratio = float(np.mean(simulation / theory))
    ratio_error = float(np.sqrt(np.sum((errors / theory) ** 2))) / errors.size
    upper.errorbar(theory.mean(), simulation.mean(), error, **look)
    lower.errorbar(theory.mean(), ratio, ratio_error, **look)


def _style_axes(upper: Axes, lower: Axes, low: float, high: float) -> None:
    from matplotlib.ticker import NullFormatter

    style.plain_log_axis(lower, low, high)
    ticks = lower.get_xticks()
    upper.set_yscale("log")
    upper.set_ylim(low, high)
    upper.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    upper.yaxis.set_minor_formatter(NullFormatter())
    upper.set_ylabel(r"capacity by simulation, $P / n_{1/2}$")
    far = max(abs(value - 1) for value in lower.get_ylim())
    lower.set_ylim(1 - max(far, 1.5 * NEAR), 1 + max(far, 1.5 * NEAR))
    lower.set_xlabel(r"capacity by mean-field theory, $\alpha$")
    lower.set_ylabel("simulation / theory")


def _legend(fig: Figure, settings: list[dict[str, Any]]) -> None:
    from matplotlib.lines import Line2D

    def handle(marker: str, color: str, face: str, label: str) -> Line2D:
        look: dict[str, Any] = {"mfc": face, "mec": color, "mew": 0.9, "ms": 4, "ls": ""}
        return Line2D([], [], marker=marker, label=label, **look)

    shapes = {setting["shape"] for setting in settings}
    handles = [handle(m, c, c, label) for name, (m, c, label) in LOOKS.items() if name in shapes]
    if any(setting.get("correlation", 0) for setting in settings):
        handles.append(handle("o", style.GREY, "white", "correlated centres"))
    fig.legend(handles=handles, loc="outside lower center", ncols=3, columnspacing=1.0)


def _table(check: xr.Dataset) -> pd.DataFrame:
    """One row per setting and draw: the manifolds and what was measured."""
    rows = []
    for index, setting in enumerate(check.attrs["settings"]):
        radius = setting.get("radius", 1.0)
        first, last = radius if isinstance(radius, list) else (radius, radius)
        known = {key: value for key, value in setting.items() if key != "radius"}
        for draw in check["draw"].values:
            one = check.sel(draw=draw).isel(setting=index)
            measured = {column: one[name].item() for name, column in COLUMNS.items()}
            place = {"setting": index, "draw": int(draw), "radius": first, "last_radius": last}
            rows.append({**place, **known, **measured})
    return pd.DataFrame(rows)


def _summary(check: xr.Dataset, theory: Array, simulation: Array) -> str:
    differences = relative_differences(theory, simulation)
    settings, draws = check["theory_capacity"].shape
    return (
        f"Pearson's correlation of theory and simulation {correlation(theory, simulation):.4f} "
        f"({correlation(np.log(theory), np.log(simulation)):.4f} of their logarithms); relative "
        f"difference |theory - simulation| / simulation {100 * np.median(differences):.1f} % in the "
        f"median and {100 * differences.max():.1f} % at most, over {settings} settings of {draws} "
        f"draws with capacities from {simulation.min():.3g} to {simulation.max():.3g}. Markers: means "
        "over the draws of a setting; bars: ± 1 standard error of the simulation; line: equality; "
        f"grey: ± {100 * NEAR:.0f} %."
    )
