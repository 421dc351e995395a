"""Stability of stragglers as analyses of the workflow: along training, and between architectures.

Source: Ciceri et al., arXiv:2303.05161, Fig. 2d, Supplementary Figs. 3 and 6, and Methods,
"Identity of stragglers" (the table of z-scores). The mathematics is in ``analysis.stragglers``
and ``analysis.stability_bootstrap``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline import seeds
from pipeline.analysis.inversion import misclassified_at
from pipeline.analysis.stability_bootstrap import (
    RESAMPLES,
    StabilityCurve,
    ZscoreInterval,
    bootstrap_zscore,
    stability_over_epochs,
)
from pipeline.analysis.stragglers import Stability, stability_zscore
from pipeline.errors import GeometryError, PipelineError
from pipeline.runs import Run, RunGroups, all_runs, check_options, chosen
from pipeline.store.variables import register

EPOCHS = tuple(range(5, 70, 5))  # of S(t) in Fig. 2d
Array = NDArray[Any]


def _register_all() -> None:
    along, curve, pair = ("curve", "epoch"), ("curve",), ("pair",)
    zscores = {
        "z_score": "z-score of the conservation of misclassified sets",
        "z_score_sd": "bootstrap standard deviation of the z-score",
        "z_score_low": "lower end of the 95 % interval of the z-score",
        "z_score_high": "upper end of the 95 % interval of the z-score",
        "z_score_corrected": "z-score without the bias of few networks (jackknife)",
    }
    overlaps = {
        "mean_common": "mean number M of samples in two networks' misclassified sets",
        "std_common": "standard deviation of M over pairs of networks",
        "mean_null": "mean of M for random sets of the same sizes",
        "std_null": "standard deviation of M for random sets of the same sizes",
    }
    for name, meaning in (zscores | overlaps).items():
        units = "samples" if name in overlaps else ""
        register(name, along, "float64", meaning, units)
        register(f"pair_{name}", pair, "float64", f"{meaning}, stragglers of two groups", units)
    for name, meaning in zscores.items():
        register(f"straggler_{name}", curve, "float64", f"{meaning}, stragglers")
    register("pair_pairs", pair, "int64", "pairs of networks compared", "pairs")
    register("pair_networks", pair, "int64", "networks compared", "networks")
    register("mean_error", along, "float64", "training error, mean over networks")
    register("maximum_epoch", curve, "int64", "epoch of the largest z-score", "epochs")
    register("maximum_z_score", curve, "float64", "largest z-score")
    where = "mean training error at the largest z-score"
    register("maximum_error", curve, "float64", where)
    register("maximum_error_low", curve, "float64", f"{where}, lower end of the 95 % interval")
    register("maximum_error_high", curve, "float64", f"{where}, upper end of the 95 % interval")


_register_all()


def stability_curve(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """z of S(t) along training, one curve per run, over all pairs of its networks (Fig. 2d).

    Options
    -------
    epochs: epochs at which S(t) is compared (default 5, 10, ..., 65); those that a run has not are
        left out. resamples: of the bootstrap over networks (default 1000).
    pairs: ``all`` pairs of networks (default), or ``independent`` ones, the paper's protocol, which
        have no bootstrap.

    Returns, with dimensions curve and epoch, z_score and its bootstrap, the mean training error
    ``mean_error``, M and its null model; per curve, the largest z (``maximum_*``), the stragglers'
    own z at each network's t* of R+ (``straggler_*``), and phi. NaN where z is not defined: why, by
    curve, is in the attribute ``undefined``; the runs are named in ``curves``.

    Raises GeometryError naming the run where no epoch at all has a z, and for options that no run
    can follow.
    """
    check_options("stability_curve", options, ("epochs", "resamples", "pairs"))
    epochs = np.asarray(options.get("epochs", EPOCHS), dtype=np.int64)
    kind = str(options.get("pairs", "all"))
    resamples = int(options.get("resamples", RESAMPLES))
    root = int(options.get("seed", 0))
    curves, undefined = [], {}
    runs = all_runs(data)
    for run in runs:
        curve, why = _curve_of_run(run, epochs, resamples, root, kind)
        curves.append(curve)
        if why:
            undefined[run.name] = why
    result = xr.concat(curves, dim="curve").transpose("curve", "epoch")
    return result.assign_attrs(curves=[run.name for run in runs], undefined=undefined)


def stability_pairs_table(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """z of the stragglers of pairs of groups, each network at its own t* of R+ (Eq. 11).

    Options
    -------
    pairs: list of [group, group]; twice the same group compares its networks with one another, two
        groups compare every network of one with every network of the other.
    resamples: of the bootstrap over networks (default 1000).
    protocol: ``all`` pairs of networks (default), or ``independent`` ones, as in ``stability_curve``.

    Returns, with dimension pair, ``pair_z_score`` with its bootstrap and ``pair_mean_common`` and
    the like. NaN where z is not defined or a group has no runs; why is in the attribute
    ``undefined``, by pair. The attribute ``pairs`` names them in order.
    """
    check_options("stability_pairs_table", options, ("pairs", "resamples", "protocol"))
    pairs = [list(map(str, pair)) for pair in options.get("pairs", ())]
    protocol = str(options.get("protocol", "all"))
    if not pairs or any(len(pair) != 2 for pair in pairs):
        raise PipelineError(
            f"The option pairs is {options.get('pairs')!r}; it must be a list of pairs of groups, "
            "such as [[main, main], [main, deep4]]."
        )
    resamples = int(options.get("resamples", RESAMPLES))
    root = int(options.get("seed", 0))
    rows, undefined = [], {}
    for first, second in pairs:
        groups = list(dict.fromkeys([first, second]))
        name = f"{first}, {second}"
        empty = [group for group in groups if not chosen(data, groups)[group]]
        if empty:
            undefined[name] = f"The group {empty[0]} has no runs."
            rows.append(_no_zscore())
            continue
        runs = [run for group in groups for run in data[group]]
        samples = _samples(runs)
        sets = [_group_stragglers(data[group], samples) for group in groups]
        row, why = _zscore_row(
            sets[0], sets[1] if len(sets) > 1 else None, resamples, name, root, protocol
        )
        if why:
            undefined[name] = why
        rows.append(row)
    counts = ("pairs", "networks")
    columns = {}
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        columns[f"pair_{name}"] = ("pair", values.astype(np.int64) if name in counts else values)
    return xr.Dataset(columns, attrs={"pairs": pairs, "undefined": undefined})


def _curve_of_run(
    run: Run, epochs: Array, resamples: int, root: int, pairs: str
) -> tuple[xr.Dataset, list[str]]:
    """One curve over all the epochs asked for, and the sentences on what has no z."""
    samples = int(run.config["samples"])
    there = np.isin(epochs, run.trajectories["epoch"].values)
    if not there.any():
        raise GeometryError(
            f"Run {run.name}: none of the epochs {epochs.tolist()} was recorded; give epochs up to "
            f"{int(run.trajectories['epoch'].values.max())} (option epochs)."
        )
    bits = run.trajectories["misclassified"].sel(epoch=epochs[there])
    packed = bits.transpose("seed", "epoch", "sample_byte").values
    random = _stream(run.name, root)
    try:
        found = stability_over_epochs(
            packed,
            None,
            samples,
            np.arange(there.sum()),
            pairs=pairs,
            resamples=resamples,
            generator=random,
        )
    except GeometryError as error:
        raise GeometryError(f"Run {run.name}: {error}") from error
    undefined = [*found.undefined]
    if not there.all():
        undefined.append(f"Epochs {epochs[~there].tolist()} were not recorded.")
    sets = misclassified_at(run.trajectories, run.inversion["epoch_plus"].values, samples)
    row, why = _zscore_row(sets, None, resamples, run.name, root, pairs)
    if why:
        undefined.append(f"At t*: {why}")
    values = _along_epochs(found, there) | _at_maximum(found, int(epochs[there][found.maximum]))
    values |= {f"straggler_{name}": ((), row[name]) for name in row if name.startswith("z_")}
    phi = run.inversion["phi"].values
    values |= {
        "phi_mean": ((), float(phi.mean())),
        "phi_sd": ((), float(np.std(phi, ddof=1)) if phi.size > 1 else float("nan")),
        "networks": ((), np.int64(run.seeds)),
    }
    return xr.Dataset(values, coords={"epoch": epochs}), undefined


def _along_epochs(found: StabilityCurve, there: Array) -> dict[str, Any]:
    """The curve's arrays by the names that they are stored under, NaN where nothing was recorded."""
    names = {
        "z_score": found.z,
        "z_score_sd": found.z_sd,
        "z_score_low": found.z_low,
        "z_score_high": found.z_high,
        "z_score_corrected": found.z_corrected,
        "mean_error": found.error,
        "mean_common": found.mean_common,
        "std_common": found.std_common,
        "mean_null": found.mean_null,
        "std_null": found.std_null,
    }
    columns = {}
    for name, values in names.items():
        column = np.full(there.size, np.nan)
        column[there] = values
        columns[name] = ("epoch", column)
    return columns


def _at_maximum(found: StabilityCurve, epoch: int) -> dict[str, Any]:
    return {
        "maximum_epoch": ((), np.int64(epoch)),
        "maximum_z_score": ((), float(found.z[found.maximum])),
        "maximum_error": ((), found.maximum_error),
        "maximum_error_low": ((), found.maximum_low),
        "maximum_error_high": ((), found.maximum_high),
    }


def _zscore_row(
    first: Array, second: Array | None, resamples: int, stream: str, root: int, pairs: str
) -> tuple[dict[str, float], str]:
    """Stability and bootstrap under their stored names, or NaN and the reason."""
    try:
        found = stability_zscore(first, second, pairs)
        if pairs != "all":
            nothing = float("nan")
            return _row(found, ZscoreInterval(nothing, nothing, nothing, nothing, 0)), ""
        spread = bootstrap_zscore(first, second, resamples, generator=_stream(stream, root))
    except GeometryError as error:
        return _no_zscore(), str(error)
    return _row(found, spread), ""


def _row(found: Stability, spread: ZscoreInterval) -> dict[str, float]:
    return {
        "z_score": found.z,
        "z_score_sd": spread.sd,
        "z_score_low": spread.low,
        "z_score_high": spread.high,
        "z_score_corrected": spread.corrected,
        "mean_common": found.mean_common,
        "std_common": found.std_common,
        "mean_null": found.mean_null,
        "std_null": found.std_null,
        "pairs": found.pairs,
        "networks": found.runs,
    }


def _no_zscore() -> dict[str, float]:
    nothing = float("nan")
    return _row(
        Stability(nothing, nothing, nothing, nothing, nothing, 0, 0),
        ZscoreInterval(nothing, nothing, nothing, nothing, 0),
    )


def _group_stragglers(runs: list[Run], samples: int) -> Array:
    """(networks, samples) stragglers of all networks of a group, each at its own t* of R+."""
    return np.concatenate(
        [
            misclassified_at(run.trajectories, run.inversion["epoch_plus"].values, samples)
            for run in runs
        ]
    )


def _samples(runs: list[Run]) -> int:
    for key in ("samples", "dataset", "block"):
        found = list(dict.fromkeys(run.config[key] for run in runs))
        if len(found) > 1:
            raise PipelineError(
                f"Stragglers of different training sets ({key} {', '.join(map(str, found))}) do "
                "not compare; give groups trained on the same set."
            )
    return int(runs[0].config["samples"])


def _stream(name: str, root: int) -> np.random.Generator:
    return seeds.generator(root, f"stragglers/stability/{name}", 0, "analysis")
