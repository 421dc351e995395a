"""What Mao et al., PNAS 121(12), 2024, state about embeddings of all models, measured.

All networks share one embedding, so that an explained share has no spread over networks and no interval;
n counts the networks. Only embeddings from subsets of samples are drawn again and again: there n counts
the subsets.
"""

from __future__ import annotations

import numpy as np

from pipeline.analysis.embedding_results import (
    embedding_with,
    explained,
    network_count,
    signs,
)
from pipeline.claims.measurement import Measurement, mean_measurement
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

SIGNS = (1, -1, 1)  # of the first three eigenvalues
JOINT = 10  # dimensions of the joint embedding
FEW = 100  # samples of an embedding from few samples
SHARED = "all networks share one embedding: no interval"


def stress_3_train(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, train samples."""
    return share_explained(data, "train", 3)


def stress_3_test(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, test samples."""
    return share_explained(data, "test", 3)


def stress_50_test(data: RunGroups) -> Measurement:
    """Explained stress of 50 dimensions, test samples."""
    return share_explained(data, "test", 50)


def signs_train(data: RunGroups) -> Measurement:
    """How many of the first three eigenvalues of the train embedding have the paper's sign."""
    found = embedding_with(data, "train")
    right = found["signature"].values[: len(SIGNS)] == np.array(SIGNS)
    note = f"signs {signs(found, len(SIGNS))}; {SHARED}"
    return _measured(data, float(right.sum()), network_count(found), note)


def variance_train(data: RunGroups) -> Measurement:
    """Explained variance of three principal components, train samples."""
    return share_explained(data, "train", 3, "euclidean", "explained_variance")


def variance_test(data: RunGroups) -> Measurement:
    """The same, test samples."""
    return share_explained(data, "test", 3, "euclidean", "explained_variance")


def kl_stress_gain(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions by the symmetrised KL divergence less that by Bhattacharyya's
    distance, train samples.
    """
    found = [embedding_with(data, "train", kind) for kind in ("symmetrised_kl", "bhattacharyya")]
    first, second = (explained(one, 3) for one in found)
    note = f"{first:.4f} and {second:.4f}; {SHARED}"
    return _measured(data, first - second, network_count(found[0]), note)


def joint_distance(data: RunGroups) -> Measurement:
    """Pairwise distance of test models that 10 train coordinates explain."""
    return _joint(data)


def own_distance(data: RunGroups) -> Measurement:
    """The same of 10 coordinates of their own."""
    return share_explained(data, "test", JOINT, variable="explained_distance")


def joint_ratio(data: RunGroups) -> Measurement:
    """What 10 train coordinates explain of the test models' distances over what 10 of their own do."""
    joint, own = _joint(data), own_distance(data)
    if not own.value > 0:
        raise NotMeasurable("Ten coordinates explain nothing of the distances of the test models.")
    note = f"{joint.value:.4f} and {own.value:.4f}; {SHARED}"
    return _measured(data, joint.value / own.value, joint.n, note)


def few_samples_train(data: RunGroups) -> Measurement:
    """Pairwise distance that three dimensions of an embedding from 100 train samples explain, over that of
    all samples; mean over subsets.
    """
    return _few_samples(data, "train")


def few_samples_test(data: RunGroups) -> Measurement:
    """The same of test samples."""
    return _few_samples(data, "test")


def share_explained(
    data: RunGroups,
    split: str,
    components: int,
    kind: str = "bhattacharyya",
    variable: str = "explained_stress",
) -> Measurement:
    """What the first components of the embedding of a split and a kind of distance explain."""
    found = embedding_with(data, split, kind)
    note = f"{found.sizes['model']} models; {SHARED}"
    return _measured(data, explained(found, components, variable), network_count(found), note)


def _joint(data: RunGroups) -> Measurement:
    found = analysis_with(data, "joint_explained_distance")
    values = found["joint_explained_distance"].values[found.attrs["splits"].index("test")]
    if len(values) < JOINT:
        raise NotMeasurable(f"Only {len(values)} dimensions are stored, but {JOINT} are needed.")
    return _measured(data, float(values[JOINT - 1]), network_count(found), SHARED)


def _few_samples(data: RunGroups, split: str) -> Measurement:
    found = [one for one in data.analyses.values() if "subset_samples" in one]
    mine = next((one for one in found if one.attrs["split"] == split), None)
    counts = [] if mine is None else mine["subset_samples"].values.tolist()
    if mine is None or FEW not in counts:
        raise NotMeasurable(f"No embedding was made of {FEW} {split} samples.")
    whole = explained(embedding_with(data, split), 3, "explained_distance")
    if not whole > 0:
        raise NotMeasurable(f"Three dimensions explain nothing of the {split} distances.")
    values = mine["subset_explained_distance"].values[counts.index(FEW), :, 2] / whole
    note = f"n counts random subsets of {FEW} of {mine.attrs['samples']} samples; all: {whole:.4f}"
    return mean_measurement(values, stand_in(data), note)


def _measured(data: RunGroups, value: float, networks: int, note: str) -> Measurement:
    return Measurement(value, None, networks, None, stand_in(data), note)
