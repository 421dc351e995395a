"""How much sharper R+ is against the training error than against the epoch (Figs. 3c, 3d).

Source: Ciceri et al., arXiv:2303.05161, Results, "Non-monotonic dynamics and stragglers in other
data sets": on CIFAR-10 "the dependence on the training error is much sharper (less fluctuating)".
The paper gives no number; the measures below are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline import seeds
from pipeline.errors import GeometryError
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

START = 0.45  # training error at which the stretch begins: just below chance
POINTS = 50
RESAMPLES = 1000
TAILS = (0.025, 0.975)
Array = NDArray[Any]


def _register_all() -> None:
    ratio = "scatter_error / scatter_epoch"
    meanings = {
        "scatter_error": "relative scatter of R+ at equal training error",
        "scatter_epoch": "relative scatter of R+ at equal epoch",
        "scatter_ratio": ratio,
        "scatter_ratio_low": f"{ratio}, lower end of the 95 % interval",
        "scatter_ratio_high": f"{ratio}, upper end of the 95 % interval",
        "smallest_error": "training error that all networks reach",
        "spread_epoch": "standard deviation of ln t* of R+ over networks",
        "spread_error": (
            "standard deviation of ln of the training error at t* of R+ over networks"
        ),
    }
    for name, meaning in meanings.items():
        register(name, ("curve",), "float64", meaning)


_register_all()


@dataclass(frozen=True)
class Scatter:
    """Scatter between networks at equal training error and at equal epoch, and their ratio.

    ``ratio`` = scatter_error / scatter_epoch, below 1 where the error is the sharper abscissa, with
    its 95 % bootstrap interval over networks (NaN with fewer than 3). ``smallest_error`` is where
    the stretch ends.
    """

    scatter_error: float
    scatter_epoch: float
    ratio: float
    ratio_low: float
    ratio_high: float
    smallest_error: float


def curve_scatter(
    values: ArrayLike,
    train_error: ArrayLike,
    *,
    start: float = START,
    points: int = POINTS,
    resamples: int = RESAMPLES,
    generator: np.random.Generator | None = None,
) -> Scatter:
    """Scatter of a metric between networks over the same stretch of training, in both pictures.

    On ``points`` training errors eps from ``start`` down to the smallest that all networks reach,

        x_s(eps) = x_s(t_s(eps)),  y_s(eps) = x_s(t(eps)),  t(eps) = mean of t_s(eps) over s, rounded
        scatter_error = mean over eps of sd_s x_s(eps) / range over eps of mean_s x_s(eps)

    and scatter_epoch likewise with y; t_s(eps) is the first epoch at which network s is at or below
    eps, and the sd has ddof = 1.

    Arguments
    ---------
    values: (networks, epochs), such as R+. train_error: (networks, epochs), fractions.
    start: largest training error of the stretch. generator: a fixed named stream by default.

    Raises GeometryError for shapes that differ, values that are not finite, fewer than 2 networks,
    networks that never get below ``start``, and where the mean is constant or the networks are all
    the same at equal epochs: there is no ratio then.
    """
    x, errors = _curves(values, train_error)
    smallest = float(errors.min(axis=1).max())
    if smallest >= start:
        raise GeometryError(
            f"A network never gets below the training error {smallest:.3g}, so there is no stretch "
            f"of training from {start:g} down; train longer or raise the option start."
        )
    epochs = crossing_epochs(errors, np.linspace(start, smallest, points))
    networks = len(x)
    scatter_error, scatter_epoch = (float(one[0]) for one in _scatters(x, epochs, networks))
    if not np.isfinite([scatter_error, scatter_epoch]).all() or scatter_epoch == 0:
        raise GeometryError(
            "The mean curve is constant or the networks are all the same at equal epochs, so their "
            "scatter has no ratio; give networks of different seeds that were trained."
        )
    low = high = float("nan")
    if networks > 2:
        random = generator or seeds.generator(0, "stragglers/sharpness", 0, "analysis")
        drawn = random.integers(networks, size=(resamples, networks))
        of_error, of_epoch = _scatters(x, epochs, networks, drawn)
        kept = np.isfinite(of_error) & np.isfinite(of_epoch) & (of_epoch > 0)
        low, high = np.quantile(of_error[kept] / of_epoch[kept], TAILS)
    ratio = scatter_error / scatter_epoch
    return Scatter(scatter_error, scatter_epoch, ratio, float(low), float(high), smallest)


def crossing_epochs(train_error: Array, levels: Array) -> Array:
    """t_s(eps): first epoch at which each network is at or below each level, (networks, levels).

    Arguments
    ---------
    train_error: (networks, epochs). levels: (levels,), each reached by every network.
    """
    falling = np.minimum.accumulate(train_error, axis=1)
    return np.stack([np.searchsorted(-one, -np.asarray(levels)) for one in falling])


def log_spreads(inversion_epoch: ArrayLike, inversion_error: ArrayLike) -> tuple[float, float]:
    """sd over networks of ln t* and of ln eps(t*) (ddof 1): relative spreads of the inversion.

    Arguments
    ---------
    inversion_epoch: (networks,) t*, in epochs. inversion_error: (networks,) eps_tr(t*), fractions.

    Raises GeometryError for fewer than 2 networks and values that are not above 0.
    """
    found = []
    for name, values in (("t*", inversion_epoch), ("eps(t*)", inversion_error)):
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or array.size < 2 or not (array > 0).all():
            raise GeometryError(
                f"{name} is {array.tolist()}; its logarithm needs 2 networks or more, all above 0."
            )
        found.append(float(np.std(np.log(array), ddof=1)))
    return found[0], found[1]


def sharpness(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """``curve_scatter`` of R+ and the spread of its inversion, one curve per run (Figs. 3c, 3d).

    Options
    -------
    start: largest training error of the stretch (default 0.45). resamples: of the bootstrap.

    Returns scatter_error, scatter_epoch, scatter_ratio with low and high, ``smallest_error``,
    spread_epoch (sd of ln t*) and spread_error (sd of ln eps(t*)), each (curve). NaN where one is
    not defined: why, by run, is in the attribute ``undefined``; the runs are named in ``curves``.
    """
    check_options("sharpness", options, ("start", "resamples"))
    start = float(options.get("start", START))
    resamples = int(options.get("resamples", RESAMPLES))
    runs = all_runs(data)
    undefined: dict[str, list[str]] = {}
    root = int(options.get("seed", 0))
    rows = [_sharpness_row(run, start, resamples, root, undefined) for run in runs]
    columns = {name: ("curve", np.array([row[name] for row in rows])) for name in rows[0]}
    return xr.Dataset(columns, attrs={"curves": [run.name for run in runs], "undefined": undefined})


def _sharpness_row(
    run: Run, start: float, resamples: int, root: int, undefined: dict[str, list[str]]
) -> dict[str, float]:
    nothing = float("nan")
    found, spreads = Scatter(*[nothing] * 6), (nothing, nothing)
    random = seeds.generator(root, f"stragglers/sharpness/{run.name}", 0, "analysis")
    try:
        found = curve_scatter(
            run.curves("radius_plus"),
            run.curves("train_error"),
            start=start,
            resamples=resamples,
            generator=random,
        )
    except GeometryError as error:
        undefined.setdefault(run.name, []).append(str(error))
    try:
        inversion = run.inversion
        spreads = log_spreads(inversion["epoch_plus"].values, inversion["error_plus"].values)
    except GeometryError as error:
        undefined.setdefault(run.name, []).append(str(error))
    return {
        "scatter_error": found.scatter_error,
        "scatter_epoch": found.scatter_epoch,
        "scatter_ratio": found.ratio,
        "scatter_ratio_low": found.ratio_low,
        "scatter_ratio_high": found.ratio_high,
        "smallest_error": found.smallest_error,
        "spread_epoch": spreads[0],
        "spread_error": spreads[1],
    }


def _scatters(
    x: Array, epochs: Array, networks: int, drawn: Array | None = None
) -> tuple[Array, Array]:
    """(scatter_error, scatter_epoch) of each draw of networks, (draws,); the networks by default."""
    chosen = np.arange(networks)[None] if drawn is None else drawn
    at_error = np.take_along_axis(x, epochs, axis=1)
    results = np.empty((2, len(chosen)))
    for row, members in enumerate(chosen):
        common = np.rint(epochs[members].mean(axis=0)).astype(np.int64)
        for kind, curves in enumerate((at_error[members], x[members][:, common])):
            extent = np.ptp(curves.mean(axis=0))
            sd = np.std(curves, axis=0, ddof=1).mean()
            results[kind, row] = sd / extent if extent > 0 else np.nan
    return results[0], results[1]


def _curves(values: ArrayLike, train_error: ArrayLike) -> tuple[Array, Array]:
    x, errors = np.asarray(values, dtype=np.float64), np.asarray(train_error, dtype=np.float64)
    if x.ndim != 2 or x.shape != errors.shape or len(x) < 2:
        raise GeometryError(
            f"values have shape {x.shape} and train_error {errors.shape}; both must be (networks, "
            "epochs) with 2 networks or more."
        )
    if not np.isfinite(x).all() or not np.isfinite(errors).all():
        raise GeometryError("values or train_error are not all finite; leave diverged seeds out.")
    return x, errors
