"""What the paper states of networks trained on ImageNet.

Source: Mao et al., PNAS 121(12), 2024, Results and App. B.
"""

from __future__ import annotations

from functools import partial

from pipeline.analysis.embedding_results import embedding_with, network_count
from pipeline.analysis.embedding_results import signs as signs_text
from pipeline.analysis.model_table import end_models
from pipeline.claims.measurement import Measurement, mean_measurement
from pipeline.claims.prediction_space.embeddings import share_explained
from pipeline.claims.prediction_space.models import median_error, table_of
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.runs import RunGroups


def stress_3(data: RunGroups) -> Measurement:
    """Explained stress of three dimensions, train samples."""
    return share_explained(data, "train", 3)


def stress_50(data: RunGroups) -> Measurement:
    """Explained stress of 50 dimensions, train samples."""
    return share_explained(data, "train", 50)


def signs(data: RunGroups) -> Measurement:
    """How many of the first three eigenvalues of the train embedding are positive."""
    found = embedding_with(data, "train")
    positive = float((found["signature"].values[:3] > 0).sum())
    note = f"signs {signs_text(found, 3)}; all networks share one embedding: no interval"
    return Measurement(positive, None, network_count(found), None, stand_in(data), note)


def final_progress(data: RunGroups) -> Measurement:
    """Progress of the last model of each network, train samples, mean over networks."""
    ends = end_models(table_of(data))
    return mean_measurement(ends["train_progress"].to_numpy(), stand_in(data))


train_error_blur_resnet18 = partial(median_error, "blur_resnet18", "train")
test_error_blur_resnet18 = partial(median_error, "blur_resnet18", "test")
train_error_blur_resnet50 = partial(median_error, "blur_resnet50", "train")
test_error_blur_resnet50 = partial(median_error, "blur_resnet50", "test")
train_error_vit_small = partial(median_error, "vit_small", "train")
test_error_vit_small = partial(median_error, "vit_small", "test")
