"""Panels on pruned training sets, as in Figs. 2a-2c, for the figures that repeat them.

Each draws on given axes and returns the drawn numbers in long form. Radii and distance have no units.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.pruning import (
    PruningExperiment,
    at_inversion,
    inversion_error,
    noisy_test_errors_of,
)
from pipeline.figures import style
from pipeline.figures.curves import EXTREMA, band, mean_sd, moments, stack
from pipeline.geometry.radii import METRICS
from pipeline.runs import Run, RunGroups

if TYPE_CHECKING:
    from matplotlib.axes import Axes

REMOVAL_KEY = "Blue: mean ± 2 sd; thin lines: single networks; grey and dashed: means."
CONVERGENCE_KEY = "Symbols: mean ± 1 sd; dashed: all samples; grey band: phi, mean ± 1 sd."
NOISE_KEY = (
    "Bands: mean ± 2 sd; grey: random sets of the same sizes, two smallest sigmas; diamonds and dotted "
    "lines: all samples; vertical band: phi, mean ± 1 sd."
)
SET_LABEL = r"$T \setminus S(t_*)$"
REMOVED_AT = r"$\epsilon_\mathrm{tr}$ at which $S$ was taken (fraction)"
SYMBOLS = {"radius_plus": "R+", "radius_minus": "R-", "distance": "D"}
MARKERS = {"radius_plus": "o", "radius_minus": "s", "distance": "^"}
CONTROL_SIGMAS = 2  # random controls are drawn for the smallest sigmas only, as in Fig. 2c
Array = NDArray[np.float64]


def removal_panel(
    axes: Axes, experiment: PruningExperiment, metric: str = "radius_plus"
) -> pd.DataFrame:
    """A metric against the epoch (Fig. 2a) with all samples, without sets S(t), without random sets.

    Blue: all samples, mean ± 2 sd. Thin lines: every single network without the stragglers S(t*),
    pink where the networks' own sets were left out and orange where those of another network. Grey:
    means without S(t) of other epochs. Dashed: mean without random sets of the stragglers' sizes.
    """
    tables, last = [], removal_epochs(experiment)
    full = experiment.full
    if full is not None:
        curves = full.curves(metric)[:, : last + 1]
        rows = band(axes, curves, style.BLUE, "all samples", metric, sds=2)
        tables.append(rows.assign(run=full.name, left_out="none"))
    for run in experiment.pruned:
        curves, at = run.curves(metric)[:, : last + 1], run.config["prune_epoch"]
        if at_inversion(run):
            tables.append(_single_networks(axes, experiment, run, curves, metric))
        else:
            tables.append(_mean_curve(axes, curves, _of_epoch(experiment, int(at)), metric))
            tables[-1] = tables[-1].assign(run=run.name, left_out=f"S({at})")
    if experiment.control:
        curves = stack(experiment.control, metric)[:, : last + 1]
        look = {"color": style.BLACK, "ls": "--", "lw": 1.0, "label": "random sets left out"}
        names = ", ".join(run.name for run in experiment.control)
        tables.append(_mean_curve(axes, curves, look, metric).assign(run=names, left_out="random"))
    style.epoch_axis(axes, last)
    axes.set_ylabel(style.METRIC_LABELS[metric])
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def removal_epochs(experiment: PruningExperiment) -> int:
    """The last epoch shown: the shortest of the pruned runs, or that of the run on all samples."""
    runs = [*experiment.pruned, *experiment.control] or [experiment.source()]
    return min(run.curves("train_error").shape[1] for run in runs) - 1


def _single_networks(
    axes: Axes, experiment: PruningExperiment, run: Run, curves: Array, metric: str
) -> pd.DataFrame:
    own = is_own_set(experiment, run)
    label = f"{SET_LABEL}, each network" if own else rf"$S(t_*)$ of {run.config['prune_from']} out"
    color = style.PINK if own else style.ORANGE
    epochs = np.arange(curves.shape[1])
    for row, one in enumerate(curves):
        axes.plot(epochs, one, color=color, lw=0.5, alpha=0.8, label=label if row == 0 else None)
    seeds = np.repeat(run.trajectories["seed"].values, curves.shape[1])
    return pd.DataFrame(
        {
            "quantity": metric,
            "epoch": np.tile(epochs, len(curves)),
            "mean": curves.ravel(),
            "n": 1,
            "run": run.name,
            "left_out": "S(t*)" if own else f"S(t*) of {run.config['prune_from']}",
            "seed": pd.array(seeds, dtype="Int64"),
        }
    )


def is_own_set(experiment: PruningExperiment, run: Run) -> bool:
    """Whether the set left out was found by the same networks (else by those of another run)."""
    return experiment.full is None or run.config["prune_from"] == experiment.full.name


def _of_epoch(experiment: PruningExperiment, epoch: int) -> dict[str, Any]:
    """Light grey for a set of before t*, dark grey for one of after it."""
    full = experiment.full
    late = full is not None and epoch > float(full.inversion["epoch_plus"].mean())
    label = rf"$T \setminus S({epoch})$, " + (r"$t > t_*$" if late else r"$t < t_*$")
    look = {"color": "0.35", "ls": "-"} if late else {"color": "0.6", "ls": "-."}
    return look | {"lw": 1.1, "label": label}


def _mean_curve(axes: Axes, curves: Array, look: dict[str, Any], metric: str) -> pd.DataFrame:
    epochs = np.arange(curves.shape[1])
    mean = curves.mean(axis=0)
    axes.plot(epochs, mean, **look)
    return pd.DataFrame({"quantity": metric, "epoch": epochs, "mean": mean, "n": len(curves)})


def removal_text(experiment: PruningExperiment, metric: str = "radius_plus") -> str:
    """How many networks invert, by the set left out, and the metric at the last epoch shown."""
    last, name = removal_epochs(experiment), f"inverts_{EXTREMA[metric]}"
    rows = [] if experiment.full is None else [("with all samples", experiment.full)]
    for run in experiment.pruned:
        at = run.config["prune_epoch"]
        own = "" if is_own_set(experiment, run) else f" of {run.config['prune_from']}"
        rows.append((f"without S({'t*' if at_inversion(run) else at}){own}", run))
    rows += [("without random sets", run) for run in experiment.control]
    parts = [
        f"{int(run.inversion[name].sum())} of {run.seeds} networks {label} "
        f"({mean_sd(run.curves(metric)[:, last])} at epoch {last})"
        for label, run in rows
    ]
    return f"{SYMBOLS[metric]} inverts in " + ", ".join(parts)


# --- against the training error at which the set was taken ----------------------------------------


def error_band(axes: Axes, run: Run | None) -> None:
    """A grey band at the training error of the inversion, mean ± 1 sd over networks."""
    if run is not None:
        mean, sd = moments(inversion_error(run))
        axes.axvspan(mean - sd, mean + sd, color="0.85", lw=0, zorder=0)
        axes.axvline(mean, color="0.7", lw=0.8, zorder=0)  # a band may be thinner than a pixel


def convergence_panel(
    axes: Axes, experiment: PruningExperiment, metrics: tuple[str, ...] = METRICS
) -> pd.DataFrame:
    """Metrics at the last epoch without S(t(eps)) against eps (Fig. 2b), mean ± 1 sd.

    Dashed: with all samples, mean. Grey band: phi.
    """
    error_band(axes, experiment.full)
    eps = sweep_errors(experiment.sweep)
    tables = []
    for metric in metrics:
        color, label = style.METRIC_COLORS[metric], style.METRIC_LABELS[metric]
        ends = [moments(run.curves(metric)[:, -1]) for run in experiment.sweep]
        if ends:
            mean, sd = np.array(ends).T
            look: dict[str, Any] = {"ms": 3, "lw": 0.9, "elinewidth": 0.7, "capsize": 1.5}
            axes.errorbar(
                eps, mean, sd, fmt=MARKERS[metric] + "-", color=color, label=label, **look
            )
            tables.append(_sweep_rows(experiment.sweep, metric, eps, mean, sd))
        if experiment.full is not None:
            mean, sd = moments(experiment.full.curves(metric)[:, -1])
            axes.axhline(mean, color=color, ls="--", lw=0.8)
            tables.append(_sweep_rows([experiment.full], metric, [np.nan], [mean], [sd]))
    sweep_axis(axes, eps)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def noise_panel(axes: Axes, data: RunGroups, experiment: PruningExperiment) -> pd.DataFrame:
    """Test errors at the last epoch without S(t(eps)) against eps, per noise sigma (Fig. 2c).

    Colours: sigma, mean ± 2 sd over networks. Grey: random sets of the same sizes, for the smallest
    two sigmas. Diamonds at the left edge, with dotted lines: all samples. Grey band: phi.
    """
    error_band(axes, experiment.full)
    tables = [
        _noise_curves(axes, data, experiment.sweep_control, control=True),
        _noise_curves(axes, data, experiment.sweep, control=False),
    ]
    eps = sweep_errors([*experiment.sweep, *experiment.sweep_control])
    found = None if experiment.full is None else noisy_test_errors_of(data, experiment.full)
    edge = sweep_axis(axes, eps)
    if found is not None and experiment.full is not None and np.isfinite(found[1]).any():
        sigmas, errors = found
        errors = errors[np.isfinite(errors).all(axis=1)]
        for sigma, color, own in zip(sigmas, sigma_colors(sigmas), errors.T, strict=True):
            mean, sd = moments(own)
            axes.errorbar(edge, mean, 2 * sd, fmt="D", ms=3, color=color, elinewidth=0.8, zorder=4)
            axes.axhline(mean, color=color, ls=":", lw=0.7, zorder=1)
            rows = _sweep_rows([experiment.full], "test_error", [np.nan], [mean], [sd], len(errors))
            tables.append(rows.assign(sigma=sigma))
    axes.set_ylabel("test error (fraction)")
    full = [table for table in tables if len(table)]
    return pd.concat(full, ignore_index=True) if full else pd.DataFrame()


def _noise_curves(axes: Axes, data: RunGroups, runs: list[Run], control: bool) -> pd.DataFrame:
    kept = [
        (run, found)
        for run in runs
        if (found := noisy_test_errors_of(data, run)) and np.isfinite(found[1]).any()
    ]
    if not kept:
        return pd.DataFrame()
    eps, sigmas = sweep_errors([run for run, _ in kept]), kept[0][1][0]
    colors = sigma_colors(sigmas)
    shown = range(min(CONTROL_SIGMAS, sigmas.size) if control else sigmas.size)
    tables = []
    for index in shown:
        columns = [errors[np.isfinite(errors[:, index]), index] for _, (_, errors) in kept]
        mean, sd = np.array([moments(one) for one in columns]).T
        color, label = colors[index], rf"$\sigma$ = {sigmas[index]:g}"
        if control:
            color, label = "0.45", "random sets" if index == 0 else ""
        marker = "-" if eps.size > 1 else "o"
        axes.plot(eps, mean, marker, color=color, lw=0.8 if control else 1.1, ms=3, label=label)
        axes.fill_between(eps, mean - 2 * sd, mean + 2 * sd, color=color, alpha=0.3, lw=0)
        counts = [one.size for one in columns]
        rows = _sweep_rows([run for run, _ in kept], "test_error", eps, mean, sd, counts)
        tables.append(rows.assign(sigma=sigmas[index]))
    return pd.concat(tables, ignore_index=True)


def sigma_colors(sigmas: Array) -> list[Any]:
    from matplotlib import colormaps

    return [tuple(shade) for shade in colormaps["viridis"](np.linspace(0, 0.88, len(sigmas)))]


def sweep_errors(runs: list[Run]) -> Array:
    return np.array([float(run.config["prune_error"]) for run in runs])


def sweep_axis(axes: Axes, eps: Array) -> float:
    """The axis of the training error at which sets were taken; returns its left end, for markers."""
    low, high = (eps.min(), eps.max()) if eps.size else (0.01, 0.2)
    edge = low / 1.3
    style.plain_log_axis(axes, edge / 1.1, high * 1.15)
    axes.set_xlabel(REMOVED_AT)
    return float(edge)


def _sweep_rows(
    runs: list[Run], quantity: str, eps: Any, mean: Any, sd: Any, n: Any = None
) -> pd.DataFrame:
    """Rows of the table; the training error of the run on all samples is empty."""
    return pd.DataFrame(
        {
            "quantity": quantity,
            "run": [run.name for run in runs],
            "left_out": [_left_out(run) for run in runs],
            "pruning_error": eps,
            "mean": mean,
            "sd": sd,
            "n": [run.seeds for run in runs] if n is None else n,
        }
    )


def _left_out(run: Run) -> str:
    if run.config.get("prune_from") is None:
        return "none"
    return "random" if run.config.get("prune_random") else "S(t(eps))"


def legend_below(fig: Any, axes: list[Axes], columns: int) -> None:
    """One legend below all panels, with each label once."""
    entries: dict[str, Any] = {}
    for one in axes:
        for handle, label in zip(*one.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        fig.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns)
