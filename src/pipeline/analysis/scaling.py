"""The fraction of stragglers phi against the size P of the training set, as an analysis of the workflow.

Source: Ciceri et al., arXiv:2303.05161, Methods, "Scaling with training set size", Figs. 3b, 3e. The
mathematics is in ``analysis.scaling_fit``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline import seeds
from pipeline.analysis.scaling_fit import (
    RESAMPLES,
    bootstrap_phi_inf,
    fit_phi,
    standard_errors,
    with_misfit,
)
from pipeline.errors import PipelineError
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

LEAST_SHARE = 0.5  # of networks that invert, for a size to be fitted
Array = NDArray[Any]


def _register_all() -> None:
    curve, by_size = ("curve",), ("size",)
    size = "number P of training samples"
    register("size", by_size, "int64", size, "samples", coordinate=True)
    register("phi_sem", curve, "float64", "phi, standard error of the mean", optional_dims=by_size)
    inverting = "share of networks that show manifold inversion"
    register("inverting_share", curve, "float64", inverting, optional_dims=by_size)
    fitted = "whether the size is fitted: at least half of its networks invert"
    register("fitted", ("curve", "size"), "bool", fitted)
    fits = {
        "phi_inf": "limit of phi for large training sets, fitted",
        "P0": "size at which the fitted phi is 0",
        "gamma": "exponent of the fitted phi",
    }
    for name, meaning in fits.items():
        units = "samples" if name == "P0" else ""
        register(f"fit_{name}", curve, "float64", meaning, units)
        register(f"fit_{name}_se", curve, "float64", f"{meaning}: standard error", units)
    limit = fits["phi_inf"]
    register("fit_phi_inf_low", curve, "float64", f"{limit}: lower end of the 95 % interval")
    register("fit_phi_inf_high", curve, "float64", f"{limit}: upper end of the 95 % interval")
    chi2 = "squared residuals of the fit over their errors, summed"
    register("fit_chi2", curve, "float64", chi2)
    register("fit_determined", curve, "bool", "whether the data fix the limit of phi")
    share = "share of bootstrap resamples whose fit is determined"
    register("fit_determined_share", curve, "float64", share)


_register_all()


def scaling_fits(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """phi against P and the fit of Eq. 12, one curve per value of some settings (Figs. 3b, 3e).

    Options
    -------
    by: settings of a run that tell the curves apart (default [dataset]), such as [depth, width].
    resamples: of the bootstrap over networks (default 200).

    Returns, with dimensions curve and size (P), phi_mean, phi_sd (NaN for one network), phi_sem,
    ``networks`` and ``inverting_share``; NaN and 0 where a curve lacks a size. Per curve, the fit to
    the means, weighted by 1/phi_sem^2 where every size has one, its standard errors
    (``with_misfit``), the bootstrap interval of phi_inf, and whether it is determined. Sizes at which
    fewer than half of the networks invert are not fitted (``fitted``): most of their phi are of no
    inversion. Attributes: ``curves``, the settings of each curve, and ``reasons``, why a fit is not
    determined.
    """
    check_options("scaling_fits", options, ("by", "resamples"))
    by = [str(key) for key in options.get("by", ["dataset"])]
    runs = all_runs(data)
    unknown = sorted({key for key in by for run in runs if key not in run.config})
    if unknown or not by:
        raise PipelineError(
            f"The option by is {by}; it must name settings of the runs, such as dataset or depth."
        )
    curves: dict[tuple[Any, ...], list[Run]] = {}
    for run in {run.name: run for run in runs}.values():  # a run may be in several groups
        curves.setdefault(tuple(run.config[key] for key in by), []).append(run)
    sizes = sorted({int(run.config["samples"]) for run in runs})
    resamples = int(options.get("resamples", RESAMPLES))
    root = int(options.get("seed", 0))
    rows = [_scaling_row(members, sizes, resamples, root) for members in curves.values()]
    result = xr.concat([row for row, _ in rows], dim="curve", data_vars="all")
    return result.transpose("curve", "size").assign_attrs(
        curves=[dict(zip(by, key, strict=True)) for key in curves],
        reasons=[reason for _, reason in rows],
    )


def _scaling_row(
    runs: list[Run], sizes: list[int], resamples: int, root: int
) -> tuple[xr.Dataset, str]:
    at = [[run for run in runs if int(run.config["samples"]) == size] for size in sizes]
    there = [bool(some) for some in at]
    groups = [np.concatenate([run.inversion["phi"].values for run in some]) for some in at if some]
    inverts = [
        np.concatenate([run.inversion["inverts"].values for run in some]) for some in at if some
    ]
    present = np.asarray(sizes, dtype=np.float64)[there]
    means = np.array([one.mean() for one in groups])
    shares = np.array([one.mean() for one in inverts])
    used = shares >= LEAST_SHARE
    chosen_groups = [one for one, use in zip(groups, used, strict=True) if use]
    fit = fit_phi(present[used], means[used], errors := standard_errors(chosen_groups))
    fit = fit if errors is None else with_misfit(fit)
    name = "/".join(run.name for run in runs)
    random = seeds.generator(root, f"stragglers/scaling/{name}", 0, "analysis")
    low, high, share = bootstrap_phi_inf(present[used], chosen_groups, resamples, generator=random)
    sds = np.array([np.std(one, ddof=1) if one.size > 1 else np.nan for one in groups])
    counts = np.array([one.size for one in groups])
    columns = {
        "phi_mean": means,
        "phi_sd": sds,
        "phi_sem": sds / np.sqrt(counts),
        "inverting_share": shares,
    }
    values: dict[str, Any] = {}
    for key, column in columns.items():
        full = np.full(len(sizes), np.nan)
        full[there] = column
        values[key] = ("size", full)
    networks, fitted = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), bool)
    networks[there], fitted[there] = counts, used
    values["fitted"] = ("size", fitted)
    values["networks"] = ("size", networks)
    for key in ("phi_inf", "P0", "gamma", "phi_inf_se", "P0_se", "gamma_se", "determined", "chi2"):
        values[f"fit_{key}"] = ((), getattr(fit, key))
    values |= {"fit_phi_inf_low": ((), low), "fit_phi_inf_high": ((), high)}
    values["fit_determined_share"] = ((), share)
    return xr.Dataset(values, coords={"size": np.asarray(sizes, np.int64)}), fit.reason
