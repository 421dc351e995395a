"""Curves of several runs: stacked, averaged, drawn as bands or against the training error.

What the figures of the stragglers paper have in common. Radii and distance have no units; they are
lengths on the unit sphere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.inversion import mean_over_error
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.save import FigureResult
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOWEST_ERROR = 0.01  # left end of the axes of the training error
GRID_POINTS = 120
EXTREMA = {"radius_plus": "plus", "radius_minus": "minus", "distance": "distance"}
Array = NDArray[np.float64]


def metrics_over_error(
    runs: list[Run], looks: list[dict[str, Any]], options: dict[str, Any], kind: str
) -> FigureResult:
    """Three panels, one per metric, against the training error; one curve per run."""
    fig = style.new_figure(style.DOUBLE, 2.9)
    panels = fig.subplots(1, 3)
    grid = error_grid(runs, float(options.get("lowest_error", LOWEST_ERROR)))
    phis = np.array([float(run.inversion["phi"].mean()) for run in runs])
    tables = []
    for axes, metric in zip(panels, METRICS, strict=True):
        axes.axvspan(phis.min(), phis.max(), color="0.87", lw=0, zorder=0)
        for run, look in zip(runs, looks, strict=True):
            means = mean_over_error(run.curves("train_error"), run.curves(metric), grid)
            shown = np.isfinite(means)
            axes.plot(grid[shown], means[shown], **look)
            tables.append(
                pd.DataFrame(
                    {
                        "run": run.name,
                        "quantity": metric,
                        "train_error": grid[shown],
                        "mean": means[shown],
                        "n": run.seeds,
                    }
                )
            )
        style.error_axis(axes, grid[0], grid[-1])
        axes.set_ylabel(style.METRIC_LABELS[metric])
    handles, labels = panels[0].get_legend_handles_labels()
    columns = 4 if len(labels) in (4, 7, 8) else 3
    fig.legend(handles, labels, loc="outside lower center", ncols=columns)
    of_run = "; ".join(f"{run.name} {mean_sd(run.inversion['phi'].values, 4)}" for run in runs)
    summary = (
        "Means over networks; grey: phi, the training error at the inversion, from "
        f"{phis.min():.4f} to {phis.max():.4f} over the {len(runs)} {kind} (mean ± sd: {of_run}). "
        "Training runs from right to left, in steps where the error falls much within one epoch; a "
        "curve ends where not all its networks get to the training error."
    )
    return FigureResult(fig, pd.concat(tables, ignore_index=True), summary)


def error_grid(runs: list[Run], lowest: float) -> Array:
    """Training errors from what the best run reaches (at least ``lowest``) to the initial one."""
    errors = [run.curves("train_error") for run in runs]
    start = float(np.mean([one[:, 0].mean() for one in errors]))
    reached = min(float(one.min(axis=1).max()) for one in errors)
    end = max(lowest, reached)
    if end >= start:
        raise PipelineError(
            f"The training error never falls from its initial {start:.3g} to {end:.3g} in all "
            "networks, so there is nothing to plot against it; train for more epochs."
        )
    return np.geomspace(end, start, GRID_POINTS)


def inversion_range(runs: list[Run]) -> tuple[float, float]:
    means, sds = zip(
        *(moments(found(runs, f"epoch_{key}")) for key in EXTREMA.values()), strict=True
    )
    first, last = int(np.argmin(means)), int(np.argmax(means))
    return max(means[first] - sds[first], 0.0), means[last] + sds[last]


def band(
    axes: Axes, curves: Array, color: str, label: str, quantity: str, sds: float = 1
) -> pd.DataFrame:
    """Draw mean ± ``sds`` sd over seeds of (seed, epoch) curves; returns what was drawn."""
    epochs = np.arange(curves.shape[1])
    mean, sd = curves.mean(axis=0), spread(curves)
    axes.plot(epochs, mean, color=color, label=label)
    axes.fill_between(epochs, mean - sds * sd, mean + sds * sd, color=color, alpha=0.3, lw=0)
    return pd.DataFrame(
        {"quantity": quantity, "epoch": epochs, "mean": mean, "sd": sd, "n": len(curves)}
    )


def stack(runs: list[Run], quantity: str) -> Array:
    curves = [run.curves(quantity) for run in runs]
    lengths = sorted({one.shape[1] for one in curves})
    if len(lengths) > 1:
        raise PipelineError(
            f"The runs {', '.join(run.name for run in runs)} were trained for different numbers of "
            f"epochs ({', '.join(str(length - 1) for length in lengths)}); give them the same."
        )
    return np.concatenate(curves)


def found(runs: list[Run], name: str) -> Array:
    return np.concatenate([run.inversion[name].values for run in runs]).astype(np.float64)


def spread(values: Array) -> Array:
    """Standard deviation over the first axis, 0 for a single value."""
    return values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])


def moments(values: Array) -> tuple[float, float]:
    return float(values.mean()), float(spread(values))


def mean_sd(values: Array, digits: int = 3) -> str:
    mean, sd = moments(np.asarray(values, dtype=np.float64))
    return f"{mean:.{digits}f} ± {sd:.{digits}f}"


def each_over_error(train_error: Array, values: Array, grid: Array) -> Array:
    """x_s(t_s(eps)) of every network: (seed, points), NaN where a network never reaches eps.

    t(eps) is the first epoch at which the training error is at or below eps. ``mean_over_error`` is
    the mean of this over networks.

    Arguments
    ---------
    train_error, values: (seed, epoch). grid: (points,) training errors, fractions.
    """
    found = np.full((len(values), grid.size), np.nan)
    falling = np.minimum.accumulate(train_error, axis=1)
    for row, error, curve in zip(found, falling, values, strict=True):
        epochs = np.searchsorted(-error, -grid)
        reached = epochs < curve.size
        row[reached] = curve[epochs[reached]]
    return found


def missing_text(data: RunGroups) -> str:
    """A sentence on the runs that could not be had, for the end of a summary; empty for none."""
    gone = getattr(data, "unavailable", {})
    return f" Missing, as their data could not be had: {', '.join(gone)}." if gone else ""
