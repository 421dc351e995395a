"""What Stephenson et al., ICLR 2021, state about manifold capacity layer by layer, measured.

Each function takes one run and its analysis ``layer_capacity`` (moments best and final). Capacity is
the inverse mean over manifolds, as ``mean_capacity`` holds it.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import cells, first_run
from pipeline.claims.measurement import (
    Measurement,
    any_substituted,
    bootstrap_measurement,
    mean_measurement,
)
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

LAST = 2  # layers that count as the last ones: the last hidden layer and the read-out
Array = NDArray[np.float64]


def permuted_final(data: RunGroups) -> Measurement:
    """Capacity of permuted manifolds over 2/M at the final epoch, mean over the last two layers."""
    return _over_bound(data, "final")


def permuted_best(data: RunGroups) -> Measurement:
    """The same at the best epoch."""
    return _over_bound(data, "best")


def restored_falls(data: RunGroups) -> Measurement:
    """Capacity of restored manifolds, final over best epoch, mean over the last two layers."""
    stack = _stack(data)
    ratios = (_last(stack, "final", "restored") / _last(stack, "best", "restored")).mean(axis=1)
    return mean_measurement(_finite(ratios), any_substituted(data), _names(stack))


def restored_as_test(data: RunGroups) -> Measurement:
    """Largest over layers of |restored - test| / test capacity at the best epoch, of means over seeds.

    Interval: bootstrap over seeds. The largest of several noisy differences is biased upwards.
    """
    stack = _stack(data)
    restored, test = (cells(stack, "mean_capacity", "best", kind) for kind in ("restored", "test"))
    return _largest(restored, test, data, "largest of all layers")


def early_unchanged(data: RunGroups) -> Measurement:
    """Largest over the first third of the layers of |final - best| / best restored capacity."""
    stack = _stack(data)
    early = max(1, stack.sizes["layer"] // 3)
    final, best = (
        cells(stack, "mean_capacity", moment, "restored")[:, :early] for moment in ("final", "best")
    )
    return _largest(final, best, data, f"largest of the first {early} layers")


def _stack(data: RunGroups) -> xr.Dataset:
    return first_run(analysis_with(data, "mean_capacity"), "measured_epoch")


def _last(stack: xr.Dataset, moment: str, kind: str) -> Array:
    """(seed, layer) capacities of the last layers."""
    return cells(stack, "mean_capacity", moment, kind)[:, -LAST:]


def _over_bound(data: RunGroups, moment: str) -> Measurement:
    stack = _stack(data)
    points = cells(stack, "manifold_points", moment, "permuted")[:, -LAST:]
    ratios = (_last(stack, moment, "permuted") * points / 2).mean(axis=1)
    return mean_measurement(_finite(ratios), any_substituted(data), _names(stack))


def _names(stack: xr.Dataset) -> str:
    names = ", ".join(str(name) for name in stack.attrs["layer_names"][-LAST:])
    return f"layers {names}"


def _finite(values: Array) -> Array:
    """The values of networks that have one; raises NotMeasurable where none does."""
    found = values[np.isfinite(values)]
    if not found.size:
        raise NotMeasurable(
            "No network has a capacity at these layers: a kind of manifold is empty."
        )
    return found


def _largest(first: Array, second: Array, data: RunGroups, note: str) -> Measurement:
    """Largest over layers of |mean(first) - mean(second)| / mean(second), means over networks."""
    whole = np.isfinite(first).all(axis=1) & np.isfinite(second).all(axis=1)
    one, two = first[whole], second[whole]
    if not len(one):
        raise NotMeasurable("No network has a capacity at all of these layers.")

    def statistic(weights: Array) -> float:
        a, b = (np.average(values, axis=0, weights=weights) for values in (one, two))
        return float(np.max(np.abs(a - b) / b))

    return bootstrap_measurement(statistic, len(one), any_substituted(data), note)
