"""What Stephenson et al., ICLR 2021, state about manifold capacity layer by layer, measured.

Each function takes one run and its analysis ``layer_capacity`` (moments best and final). Capacity is
the inverse mean over manifolds, as ``mean_capacity`` holds it. The last layers are the last two with
at least as many features N as a manifold has points M: 2/M is the capacity of M points in random
directions, which must have room; with N < M structure-free points have more (at N = 10, M = 50 three
times as much), so that a read-out of few classes has no such level.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import cells, first_run, layer_features
from pipeline.claims.measurement import (
    CONFIDENCE,
    Measurement,
    any_substituted,
    mean_measurement,
)
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs, analysis_with

LAST = 2  # layers that count as the last ones, of those with N >= M
Array = NDArray[np.float64]


def permuted_final(data: RunGroups) -> Measurement:
    """Capacity of permuted manifolds over 2/M at the final epoch, mean over the last two layers with
    at least M features.
    """
    return _over_bound(data, "final")


def permuted_best(data: RunGroups) -> Measurement:
    """The same at the best epoch."""
    return _over_bound(data, "best")


def restored_falls(data: RunGroups) -> Measurement:
    """Capacity of restored manifolds, final over best epoch, mean over the last two layers with at
    least M features.
    """
    stack = _stack(data)
    rows, note = _last_layers(data, stack, "restored")
    final, best = (
        cells(stack, "mean_capacity", moment, "restored")[:, rows] for moment in ("final", "best")
    )
    return mean_measurement(_finite((final / best).mean(axis=1)), any_substituted(data), note)


def restored_as_test(data: RunGroups) -> Measurement:
    """Share of all layers at which restored and test capacity agree within error at the best epoch."""
    stack = _stack(data)
    restored, test = (cells(stack, "mean_capacity", "best", kind) for kind in ("restored", "test"))
    return _within_error(restored, test, data, stack, "layers")


def early_unchanged(data: RunGroups) -> Measurement:
    """Share of the first third of the layers at which the restored capacity of the final and of the
    best epoch agree within error.
    """
    stack = _stack(data)
    early = max(1, stack.sizes["layer"] // 3)
    final, best = (
        cells(stack, "mean_capacity", moment, "restored")[:, :early] for moment in ("final", "best")
    )
    return _within_error(final, best, data, stack, "first layers")


def holds_zero(differences: Array) -> NDArray[np.bool_]:
    """(layers,) whether mean ± t_{0.975, n-1} sd / sqrt(n), the 95 % interval of the mean of n paired
    differences, contains 0.

    Arguments
    ---------
    differences: (networks, layers), finite, of two networks or more.
    """
    return np.abs(differences.mean(axis=0)) <= _half_widths(differences)


def _half_widths(differences: Array) -> Array:
    from scipy.special import stdtrit

    n = len(differences)
    half: Array = stdtrit(n - 1, (1 + CONFIDENCE) / 2) * differences.std(axis=0, ddof=1)
    return half / np.sqrt(n)


def _stack(data: RunGroups) -> xr.Dataset:
    return first_run(analysis_with(data, "mean_capacity"), "measured_epoch")


def _last_layers(data: RunGroups, stack: xr.Dataset, kind: str) -> tuple[list[int], str]:
    """Places of the last layers with as many features as the manifolds of a kind have points, and a
    note that names them.
    """
    names = [str(name) for name in stack.attrs["layer_names"]]
    features = layer_features(all_runs(data)[0], names)
    kinds = [str(one) for one in stack.attrs["kinds"]]
    points = int(stack["manifold_points"].isel(kind=kinds.index(kind)).max())
    rows = np.flatnonzero(features >= points)[-LAST:].tolist()
    if not rows:
        raise NotMeasurable(
            f"No layer has as many features as a manifold has points (M = {points}; most features: "
            f"{features.max()}), so 2/M is not the capacity of points without structure there."
        )
    shown = ", ".join(f"{names[row]} (N = {features[row]})" for row in rows)
    return rows, f"last layers with N >= M = {points}: {shown}"


def _over_bound(data: RunGroups, moment: str) -> Measurement:
    stack = _stack(data)
    rows, note = _last_layers(data, stack, "permuted")
    capacity, points = (
        cells(stack, name, moment, "permuted")[:, rows]
        for name in ("mean_capacity", "manifold_points")
    )
    ratios = _finite((capacity * points / 2).mean(axis=1))
    return mean_measurement(ratios, any_substituted(data), note)


def _finite(values: Array) -> Array:
    """The values of networks that have one; raises NotMeasurable where none does."""
    found = values[np.isfinite(values)]
    if not found.size:
        raise NotMeasurable(
            "No network has a capacity at these layers: a kind of manifold is empty."
        )
    return found


def _within_error(
    first: Array, second: Array, data: RunGroups, stack: xr.Dataset, which: str
) -> Measurement:
    """Share of layers at which two capacities agree within error: see ``holds_zero``.

    Arguments
    ---------
    first, second: (networks, layers), of the same networks; layers: the first ones of the stack.

    The layers of a network are no independent draws, so the share has no interval.
    """
    whole = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    one, two = first[whole], second[whole]
    if not len(one):
        raise NotMeasurable("No network has a capacity at all of these layers.")
    if len(one) < 2:
        raise NotMeasurable("Agreement within error needs two networks or more; there is one.")
    agrees, level = holds_zero(one - two), two.mean(axis=0)
    relative = np.abs((one - two).mean(axis=0)) / level
    names = [str(name) for name in stack.attrs["layer_names"][: agrees.size]]
    others = ", ".join(name for name, holds in zip(names, agrees, strict=True) if not holds)
    note = (
        f"{agrees.sum()} of {agrees.size} {which}" + (f", not {others}" if others else "") + "; "
        f"largest difference {100 * relative.max():.2g} % at {names[int(relative.argmax())]}; half "
        f"width of the 95 % intervals {100 * float(np.median(_half_widths(one - two) / level)):.2g} % "
        "(median over layers)"
    )
    return Measurement(float(agrees.mean()), None, len(one), None, any_substituted(data), note)
