"""What the stragglers paper (arXiv:2303.05161) states about its Fig. 3, measured.

Each function takes the runs of a claim, by group, and the analyses that it names, and returns a
Measurement. What the runs do not define, such as the limit of a fit that is not determined, raises
NotMeasurable: the scorecard then says why instead of a number.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.claims.measurement import (
    CONFIDENCE,
    Measurement,
    NotMeasurable,
    any_substituted,
    difference_measurement,
)
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs, analysis_with
from pipeline.seeds import generator

RESAMPLES = 2000
Array = NDArray[np.float64]


# --- Fig. 3b: the limit of phi for large training sets -------------------------------------------


def limit_of_phi(data: RunGroups) -> Measurement:
    """phi_inf of Eq. 12, fitted to the means of phi over networks at each P.

    The spread is the standard error of the fit; the interval is the bootstrap over networks of the
    analysis ``scaling``.
    """
    fits = analysis_with(data, "fit_phi_inf")
    dataset = all_runs(data)[0].config["dataset"]
    curves = [one.get("dataset") for one in fits.attrs["curves"]]
    if dataset not in curves:
        raise PipelineError(
            f"The scaling analysis has no curve of {dataset}; its option by must be [dataset], and "
            "its runs those of the claim."
        )
    index = curves.index(dataset)
    curve = fits.isel(curve=index)
    if not bool(curve["fit_determined"]):
        raise NotMeasurable(_undetermined(curve, fits.attrs["reasons"][index]))
    ends = (float(curve["fit_phi_inf_low"]), float(curve["fit_phi_inf_high"]))
    sizes = ", ".join(
        f"{int(size)}: {mean:.4f}"
        for size, mean in zip(curve["size"].values, curve["phi_mean"].values, strict=True)
        if np.isfinite(mean)
    )
    return Measurement(
        float(curve["fit_phi_inf"]),
        float(curve["fit_phi_inf_se"]),
        _networks(curve),
        ends if np.isfinite(ends).all() else None,
        any_substituted(data),
        f"spread: standard error of the fit; phi by P: {sizes}",
    )


def _undetermined(curve: xr.Dataset, reason: str) -> str:
    present = np.flatnonzero(np.isfinite(curve["phi_mean"].values))
    size, mean = curve["size"].values[present[-1]], curve["phi_mean"].values[present[-1]]
    return (
        f"the fit of Eq. 12 does not determine phi_inf ({reason.rstrip('.')}); phi at the largest "
        f"P = {int(size)} is {float(mean):.4f}"
    )


def _networks(curve: xr.Dataset) -> int:
    counts = curve["networks"].values
    return int(counts[counts > 0].min())


# --- Fig. 3e: architectures ----------------------------------------------------------------------


def architectures_limit(data: RunGroups) -> Measurement:
    """Mean of phi_inf over depths and widths (of the fits that determine it); the paper: 11 to 13 %.

    The spread is the sd over architectures, the interval that of the mean by the standard errors of
    the fits.
    """
    limits, errors, settings, n = _limits(data)
    half = 1.96 * float(np.sqrt(np.sum(errors**2))) / limits.size
    mean = float(limits.mean())
    spread = float(limits.std(ddof=1)) if limits.size > 1 else None
    each = ", ".join(
        f"{depth}/{width} {limit:.4f}"
        for (depth, width), limit in zip(settings, limits, strict=True)
    )
    note = f"depth/width: {each}{_left_out(data, limits.size)}"
    interval = (mean - half, mean + half)
    return Measurement(mean, spread, n, interval, any_substituted(data), note)


def architectures_constant(data: RunGroups) -> Measurement:
    """Largest minus smallest phi_inf over depths and widths; the paper: approximately constant.

    Interval: percentiles of the same with normal errors of the fits' sizes added (noise widens a
    range, so this errs against the paper).
    """

    def extent(limits: Array) -> Array:
        return np.ptp(limits, axis=-1)

    return _of_limits(data, extent)


def architectures_depth_over_width(data: RunGroups) -> Measurement:
    """Range of phi_inf over depths minus that over widths; the paper: depends mainly on depth.

    The ranges are those of the effects of an additive model, phi_inf = a(depth) + b(width), by
    least squares; with all combinations at hand a and b are the means. Interval as in
    ``architectures_constant``.
    """
    _, _, settings, _ = _limits(data)
    depths, widths = (sorted({one[axis] for one in settings}) for axis in (0, 1))
    if len(depths) < 2 or len(widths) < 2:
        raise NotMeasurable(
            f"phi_inf is determined for the depths {depths} and the widths {widths} only; two of "
            "each are needed to compare their effects"
        )
    design = np.array(
        [[depth == d for d in depths] + [width == w for w in widths] for depth, width in settings],
        dtype=np.float64,
    )
    solve = np.linalg.pinv(design)

    def effects(limits: Array) -> Array:
        found = limits @ solve.T
        of_depth, of_width = found[..., : len(depths)], found[..., len(depths) :]
        return np.ptp(of_depth, axis=-1) - np.ptp(of_width, axis=-1)

    return _of_limits(data, effects)


def _of_limits(data: RunGroups, statistic: Callable[[Array], Array]) -> Measurement:
    """A statistic of phi_inf over architectures, with an interval from the fits' standard errors."""
    limits, errors, _, n = _limits(data)
    if limits.size < 2:
        raise NotMeasurable("phi_inf is determined for a single architecture: nothing to compare")
    random = generator(0, "stragglers/claims/architectures", 0, "analysis")
    noise = errors * random.normal(size=(RESAMPLES, limits.size))
    drawn = statistic(limits + noise)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    value = float(statistic(limits))
    note = f"{limits.size} architectures{_left_out(data, limits.size)}"
    spread = float(drawn.std(ddof=1))
    return Measurement(value, spread, n, (float(low), float(high)), any_substituted(data), note)


def _limits(data: RunGroups) -> tuple[Array, Array, list[tuple[int, int]], int]:
    """phi_inf, its standard errors and (depth, width) of the determined fits; fewest networks."""
    fits = analysis_with(data, "fit_phi_inf")
    kept = np.flatnonzero(fits["fit_determined"].values)
    if not kept.size:
        reasons = sorted({str(reason).rstrip(".") for reason in fits.attrs["reasons"]})
        raise NotMeasurable(f"no fit of Eq. 12 determines phi_inf ({'; '.join(reasons)})")
    curves = fits.attrs["curves"]
    settings = [(int(curves[index]["depth"]), int(curves[index]["width"])) for index in kept]
    n = min(_networks(fits.isel(curve=int(index))) for index in kept)
    limits = fits["fit_phi_inf"].values[kept].astype(np.float64)
    return limits, fits["fit_phi_inf_se"].values[kept].astype(np.float64), settings, n


def _left_out(data: RunGroups, used: int) -> str:
    total = int(analysis_with(data, "fit_phi_inf").sizes["curve"])
    return (
        f"; {total - used} of {total} fits are not determined and left out" if used < total else ""
    )


# --- Figs. 3a, 3c, 3d: CIFAR-10 ------------------------------------------------------------------


def phi_difference(data: RunGroups) -> Measurement:
    """phi of the first group's networks minus phi of the second group's, with Welch's interval."""
    first, second = list(data)[:2]
    return compare_phi(data, data[first], data[second])


def compare_phi(data: RunGroups, first: list[Run], second: list[Run]) -> Measurement:
    """Mean phi of the networks of some runs minus that of others', with Welch's interval."""
    parts, notes = [], []
    for runs in (first, second):
        phi = np.concatenate([run.inversion["phi"].values for run in runs]).astype(np.float64)
        inverts = np.concatenate([run.inversion["inverts"].values for run in runs])
        names = ", ".join(run.name for run in runs)
        parts.append(phi)
        notes.append(f"{names} {phi.mean():.4f} ({int(inverts.sum())} of {phi.size} invert)")
    note = f"phi: {'; '.join(notes)}"
    return difference_measurement(parts[0], parts[1], any_substituted(data), note)


def error_axis_sharper(data: RunGroups) -> Measurement:
    """Scatter of R+ between networks at equal training error over that at equal epoch.

    Each scatter is relative to the range of the mean curve (``analysis.sharpness``); the paper: the
    dependence on the training error is much sharper, so below 1.
    """
    run = all_runs(data)[0]
    found = analysis_with(data, "scatter_ratio")
    names = list(found.attrs["curves"])
    if run.name not in names:
        raise PipelineError(f"The sharpness analysis is of {', '.join(names)}, not of {run.name}.")
    one = found.isel(curve=names.index(run.name))
    ratio = float(one["scatter_ratio"])
    if not np.isfinite(ratio):
        why = " ".join(found.attrs.get("undefined", {}).get(run.name, [])).rstrip(".")
        raise NotMeasurable(f"the ratio of the scatters is not defined: {why}")
    ends = (float(one["scatter_ratio_low"]), float(one["scatter_ratio_high"]))
    note = (
        f"scatter {float(one['scatter_error']):.4f} at equal training error, "
        f"{float(one['scatter_epoch']):.4f} at equal epoch; sd of ln eps(t*) "
        f"{float(one['spread_error']):.3f}, of ln t* {float(one['spread_epoch']):.3f}"
    )
    interval = ends if np.isfinite(ends).all() else None
    return Measurement(ratio, None, run.seeds, interval, any_substituted(data), note)
