"""What Stephenson et al., ICLR 2021, state about geometry and the network's width, measured.

The curve against width is of means over networks, and noise alone gives it inner peaks. ``PEAK`` is
what has to be decided; where noise gives as much, and the peak measured is not above what noise gives,
a claim is not measurable with so few networks.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import of_width
from pipeline.claims.measurement import CONFIDENCE, RESAMPLES, Measurement, any_substituted
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with
from pipeline.seeds import generator

PEAK = 0.05  # prominence that counts as a peak: the threshold of the rows of the scorecard
NOISE_QUANTILE = 0.95  # of what noise alone gives
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


def peaks_of_noise(groups: list[Array], random: np.random.Generator) -> Array:
    """(``RESAMPLES``,) inner peaks of a flat curve with the noise of the networks measured.

    Each width's mean is drawn from a normal distribution around the mean of all widths, with the sd
    of networks of one width (pooled over widths) over the square root of their number.

    Arguments
    ---------
    groups: (networks,) values of each width; two networks or more at one width at least.
    """
    sizes = np.array([group.size for group in groups])
    squares = sum(float(np.sum((group - group.mean()) ** 2)) for group in groups)
    sd = np.sqrt(squares / (sizes - 1).sum())
    level = float(np.mean([group.mean() for group in groups]))
    curves = random.normal(level, sd / np.sqrt(sizes), size=(RESAMPLES, sizes.size))
    return np.array([inner_peak(curve) for curve in curves])


def resampled_peaks(groups: list[Array], random: np.random.Generator) -> Array:
    """(``RESAMPLES``,) inner peaks of curves whose networks are drawn again, at each width on its own:
    networks of different widths are independent, whatever their seeds.
    """
    means = [
        group[random.integers(group.size, size=(RESAMPLES, group.size))].mean(axis=1)
        for group in groups
    ]
    return np.array([inner_peak(curve) for curve in np.stack(means, axis=1)])


def _prominence(data: RunGroups, quantity: str) -> Measurement:
    stack = analysis_with(data, "mean_capacity")
    values = of_width(data, stack, quantity, "final")
    if len(values) < 3:
        raise NotMeasurable("An inner peak needs three widths or more.")
    groups = [values[row] for row in np.argsort(stack["parameters"].values, kind="stable")]
    groups = [group[np.isfinite(group)] for group in groups]
    n = min(group.size for group in groups)
    if not n:
        raise NotMeasurable("At some width no network has test manifolds with a capacity.")
    value = inner_peak(np.array([group.mean() for group in groups]))
    note = f"{len(groups)} widths; layer {stack.attrs['layer_names'][-1]}"
    substituted = any_substituted(data)
    if n < 2:
        note += "; what noise alone gives is not known with one network"
        return Measurement(value, None, n, None, substituted, note)
    noise = peaks_of_noise(groups, generator(0, "claims", 0, "noise"))
    median, high = np.quantile(noise, [0.5, NOISE_QUANTILE])
    alone = f"noise alone gives {median:.3f} (median) to {high:.3f} (95th percentile)"
    if high >= max(value, PEAK):
        raise NotMeasurable(
            f"With {n} networks of each width a peak of {PEAK:g} cannot be told from noise: measured "
            f"{value:.3f}, {alone}; train more networks."
        )
    drawn = resampled_peaks(groups, generator(0, "claims", 0, "analysis"))
    low, top = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Measurement(value, None, n, (float(low), float(top)), substituted, f"{note}; {alone}")
