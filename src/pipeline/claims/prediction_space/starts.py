"""What Mao et al., PNAS 121(12), 2024, state about starts from random labels, measured.

Source: Mao et al., PNAS 121(12), 2024, Fig. 10.
"""

from __future__ import annotations

import numpy as np

from pipeline.claims.measurement import (
    Measurement,
    mean_measurement,
)
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

DIMENSIONS = 3


def starts_stress(data: RunGroups) -> Measurement:
    """Explained stress of the first three dimensions of all models, those of both trainings."""
    found = analysis_with(data, "nearest_distance")
    if found.sizes["component"] < DIMENSIONS:
        raise NotMeasurable(f"The embedding has fewer than {DIMENSIONS} dimensions.")
    value = float(found["explained_stress"].values[DIMENSIONS - 1])
    count = found.sizes["start"]
    note = f"n counts networks that start from random labels; {found.sizes['model']} models"
    return Measurement(value, None, count, None, stand_in(data), note)


def merging_progress(data: RunGroups) -> Measurement:
    """Progress from which on networks that start from random labels stay near the others, mean over those
    that do.
    """
    return _merging(data, "merging_progress")


def merging_epoch(data: RunGroups) -> Measurement:
    """The epoch of the same."""
    return _merging(data, "merging_epoch")


def _merging(data: RunGroups, variable: str) -> Measurement:
    found = analysis_with(data, variable)
    merged = np.isfinite(found[variable].values)
    if not merged.any():
        raise NotMeasurable(
            f"None of {merged.size} networks that start from random labels stays within "
            f"{found.attrs['near']:g} of those from random weights."
        )
    epochs = found["merging_epoch"].values[merged]
    note = (
        f"{merged.sum()} of {merged.size} networks; after {np.median(epochs):.3g} epochs (median); nearest "
        "model of a network from random weights, from there to the end"
    )
    return mean_measurement(found[variable].values[merged], stand_in(data), note)


def least_ignorance_distance(data: RunGroups) -> Measurement:
    """Least distance to ignorance on the way from random to true labels, mean over networks."""
    found = analysis_with(data, "least_ignorance_distance")
    values = found["least_ignorance_distance"].values
    if not values.size:
        raise NotMeasurable("No network starts from random labels.")
    note = f"{values.min():.3f} to {values.max():.3f}"
    return mean_measurement(values, stand_in(data), note)
