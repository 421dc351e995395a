"""What Mao et al., PNAS 121(12), 2024, state about the synthetic task (App. E), measured.

All trajectories share one embedding, so that an explained stress has no spread over networks and no
interval; n counts the networks of the embedding.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import xarray as xr

from pipeline.analysis.embedding_results import explained, network_count
from pipeline.analysis.synthetic_results import corner_results, embedding_of_group, task_of
from pipeline.claims.measurement import Measurement, any_substituted
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
    """Explained stress of ten dimensions of trajectories out of the most corners."""
    found = corner_results(data)[-1]
    note = f"{_count(found)} trajectories out of {len(found.attrs['corners'])} corners; {SHARED}"
    return _measured(data, explained(found, MANY), found, note)


def fewer_starts_higher(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, trajectories out of one corner less as many out of the
    most.
    """
    results = corner_results(data)
    if len(results) < 2:
        raise NotMeasurable("Trajectories out of one number of corners only were embedded.")
    stress = [explained(one, FEW) for one in results]
    named = zip(results, stress, strict=True)
    texts = [f"{len(one.attrs['corners'])}: {value:.3f}" for one, value in named]
    note = f"by number of corners {', '.join(texts)}; {SHARED}"
    return _measured(data, stress[0] - stress[-1], results[0], note)


def start_models_lower(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, the models at the first moment (initialisation) less whole
    trajectories, both out of the most corners.
    """
    found = corner_results(data)[-1]
    if found.sizes["moment_component"] <= FEW:
        raise NotMeasurable(
            f"Only {_count(found)} trajectories were embedded; {FEW} dimensions say little of so few."
        )
    start = float(found["moment_stress"].values[0, FEW - 1])
    whole = explained(found, FEW)
    note = f"{start:.3f} of {_count(found)} models, {whole:.3f} of their trajectories; {SHARED}"
    return _measured(data, start - whole, found, note)


def start_largest(data: RunGroups) -> Measurement:
    """Largest probability of a sample at initialisation near the corners, mean over samples and
    networks.
    """
    found = corner_results(data)[-1]
    value = float(found["moment_largest"].values[0])
    return _measured(data, value, found, f"mean over {_count(found)} networks and their samples")


def _count(found: xr.Dataset) -> int:
    return int(found.attrs["trajectories"])


def _measured(data: RunGroups, value: float, found: xr.Dataset, note: str) -> Measurement:
    return Measurement(value, None, network_count(found), None, any_substituted(data), note)
