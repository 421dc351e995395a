"""What Mao et al., PNAS 121(12), 2024, state about the synthetic task (App. E), measured.

Near ignorance all trajectories share one embedding, so that an explained stress has no spread over
networks and no interval; n counts the networks of the embedding. Near the corners there are several sets
of trajectories, each with an embedding of its own: spread, interval and n are over sets.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding_results import explained, network_count
from pipeline.analysis.synthetic_results import corner_results, embedding_of_group, task_of
from pipeline.claims.measurement import (
    Measurement,
    difference_measurement,
    mean_measurement,
)
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups

TASKS = ("sloppy", "not_sloppy")
SPLITS = ("train", "test")
FEW, MANY = 3, 10  # dimensions
SHARED = "all networks share one embedding: no interval"


def stress_10(group: str, split: str, data: RunGroups) -> Measurement:
    """Explained stress of ten dimensions of one task."""
    found = embedding_of_group(data, group, split)
    note = f"{found.sizes['model']} models; 3 dimensions {explained(found, FEW):.3f}; {SHARED}"
    return _measured(data, explained(found, MANY), found, note)


sloppy_train_stress = partial(stress_10, "sloppy", "train")
sloppy_test_stress = partial(stress_10, "sloppy", "test")
not_sloppy_train_stress = partial(stress_10, "not_sloppy", "train")
not_sloppy_test_stress = partial(stress_10, "not_sloppy", "test")


def near_ignorance(data: RunGroups) -> Measurement:
    """Explained stress of ten dimensions, mean over both tasks and both splits."""
    found = [embedding_of_group(data, group, split) for group in TASKS for split in SPLITS]
    stress = [explained(one, MANY) for one in found]
    note = f"{min(stress):.3f} to {max(stress):.3f} over tasks and splits; {SHARED}"
    return _measured(data, float(np.mean(stress)), found[0], note)


def sloppy_lower(data: RunGroups) -> Measurement:
    """Explained stress of ten dimensions on training samples, sloppy less not sloppy."""
    found = [embedding_of_group(data, group, "train") for group in TASKS]
    stress = [explained(one, MANY) for one in found]
    named = zip(TASKS, stress, strict=True)
    note = "; ".join(f"{task_of(task)} {value:.4f}" for task, value in named) + f"; {SHARED}"
    return _measured(data, stress[0] - stress[1], found[0], note)


# --- from near the corners ------------------------------------------------------------------------


def several_starts(data: RunGroups) -> Measurement:
    """Explained stress of ten dimensions of a set of trajectories out of the most corners, mean over sets."""
    found = corner_results(data)[-1]
    return mean_measurement(_stress(found, MANY), stand_in(data), _sets(found))


def fewer_starts_higher(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, sets of trajectories out of one corner less as large ones out
    of the most.
    """
    results = corner_results(data)
    if len(results) < 2:
        raise NotMeasurable("Trajectories out of one number of corners only were embedded.")
    stress = [_stress(one, FEW) for one in results]
    named = zip(results, stress, strict=True)
    texts = [f"{one.attrs['corners']}: {values.mean():.3f}" for one, values in named]
    note = (
        f"by number of corners {', '.join(texts)}; {_sets(results[0])}; the interval takes sets as "
        "independent, though those out of more corners are made of the same trajectories"
    )
    return difference_measurement(stress[0], stress[-1], stand_in(data), note)


def start_models_lower(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, the models at the first moment (initialisation) less whole
    trajectories of the same set, out of the most corners, mean over sets.
    """
    found = corner_results(data)[-1]
    if found.sizes["moment_component"] <= FEW:
        raise NotMeasurable(
            f"Sets of only {found.attrs['trajectories']} trajectories were embedded; {FEW} dimensions say "
            "little of so few."
        )
    start, whole = found["moment_stress"].values[:, 0, FEW - 1], _stress(found, FEW)
    note = f"{start.mean():.3f} of models, {whole.mean():.3f} of trajectories; {_sets(found)}"
    return mean_measurement(start - whole, stand_in(data), note)


def start_largest(data: RunGroups) -> Measurement:
    """Largest probability of a sample at initialisation near the corners, mean over samples, networks and
    sets.
    """
    found = corner_results(data)[-1]
    return mean_measurement(found["moment_largest"].values[:, 0], stand_in(data), _sets(found))


def _stress(found: xr.Dataset, components: int) -> NDArray[np.float64]:
    """(sets,) explained stress of trajectories; NotMeasurable where fewer dimensions are stored."""
    explained(found, components)
    return np.asarray(found["set_stress"].values[:, components - 1], dtype=np.float64)


def _sets(found: xr.Dataset) -> str:
    near, count = int(found["set_corners"].values.max()), int(found.attrs["corners"])
    return (
        f"n: {found.sizes['corner_set']} sets of {found.attrs['trajectories']} trajectories, each out of "
        f"{near}{f' of {count}' if near < count else ''} corner{'s' if count > 1 else ''}, none in two sets"
    )


def _measured(data: RunGroups, value: float, found: xr.Dataset, note: str) -> Measurement:
    return Measurement(value, None, network_count(found), None, stand_in(data), note)
