"""What Stephenson et al., ICLR 2021, state about geometry and the network's width, measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import of_width
from pipeline.claims.measurement import Measurement, any_substituted, bootstrap_measurement
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

Array = NDArray[np.float64]


def dimension_prominence(data: RunGroups) -> Measurement:
    """Prominence of an inner peak of the test manifolds' dimension against width, final epoch."""
    return _prominence(data, "dimension")


def radius_prominence(data: RunGroups) -> Measurement:
    """The same of their radius."""
    return _prominence(data, "radius")


def correlation_prominence(data: RunGroups) -> Measurement:
    """The same of their centre correlation."""
    return _prominence(data, "center_correlation")


def inner_peak(curve: Array) -> float:
    """max over inner j of x_j - max(min_{i<j} x_i, min_{k>j} x_k), 0 if negative, over the mean of x.

    What a curve that falls, rises and falls again has, and a monotonic one has not.
    """
    heights = [
        curve[j] - max(curve[:j].min(), curve[j + 1 :].min()) for j in range(1, curve.size - 1)
    ]
    return max(0.0, float(max(heights))) / float(curve.mean())


def _prominence(data: RunGroups, quantity: str) -> Measurement:
    stack = analysis_with(data, "mean_capacity")
    values = of_width(data, stack, quantity, "final")
    if len(values) < 3:
        raise NotMeasurable("An inner peak needs three widths or more.")
    whole = np.isfinite(values).all(axis=0)  # seeds with a value at every width
    if not whole.any():
        raise NotMeasurable("No network has test manifolds with a capacity at every width.")
    table = np.array(values)[:, whole]
    return bootstrap_measurement(
        lambda weights: inner_peak(np.average(table, axis=1, weights=weights)),
        table.shape[1],
        any_substituted(data),
        f"{len(table)} widths; layer {stack.attrs['layer_names'][-1]}; noise alone gives inner peaks, "
        "so the value is biased upwards",
    )
