"""What Mao et al., PNAS 121(12), 2024, state about starts from random labels, measured.

Source: Mao et al., PNAS 121(12), 2024, Fig. 10.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

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
    found = analysis_with(data, "merging_progress")
    values = found["merging_progress"].values
    there = values[np.isfinite(values)]
    if not there.size:
        raise _none_merges(found)
    epochs = found["merging_epoch"].values[np.isfinite(values)]
    note = (
        f"{there.size} of {values.size} networks; after {np.median(epochs):.3g} epochs (median); nearest "
        "model of a network from random weights, from there to the end"
    )
    return mean_measurement(there, stand_in(data), note)


def merging_epoch(data: RunGroups) -> Measurement:
    """Epoch from which on networks that start from random labels stay near the others, mean over those
    that do.
    """
    found = analysis_with(data, "merging_epoch")
    values = found["merging_epoch"].values
    there = values[np.isfinite(values)]
    if not there.size:
        raise _none_merges(found)
    note = f"{there.size} of {values.size} networks; median {np.median(there):.3g} epochs"
    return mean_measurement(there, stand_in(data), note)


def _none_merges(found: xr.Dataset) -> NotMeasurable:
    return NotMeasurable(
        f"None of {found.sizes['start']} networks that start from random labels stays within "
        f"{found.attrs['near']:g} of those from random weights."
    )


def least_ignorance_distance(data: RunGroups) -> Measurement:
    """Least distance to ignorance on the way from random to true labels, mean over networks."""
    found = analysis_with(data, "least_ignorance_distance")
    values = found["least_ignorance_distance"].values
    if not values.size:
        raise NotMeasurable("No network starts from random labels.")
    note = f"{values.min():.3f} to {values.max():.3f}"
    return mean_measurement(values, stand_in(data), note)
