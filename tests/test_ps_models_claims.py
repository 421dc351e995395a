"""Claims on the metrics of all models: known answers on made-up runs, and what cannot be measured."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_models import CLASSES, UPDATES, made_up_runs

from pipeline.analysis.model_table import model_table
from pipeline.analysis.models import models
from pipeline.claims.measurement import check
from pipeline.claims.prediction_space import models as claims
from pipeline.claims.prediction_space import progress
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs

ADAM = {"optimizer": "adam_minibatch"}
FULL = {"samples": 50_000}
GROUPS = {
    "sgd": [
        {"network": "fc", **FULL},
        {"network": "all_cnn", **FULL, "seeds": 3},
        {"network": "small_resnet", **FULL, "reach": 3.0},
        {"network": "large_resnet", **FULL, "failed": (1,), "seeds": 3, "reach": 8.0},
        {"network": "conv_mixer", **FULL, "batch_size": 1000},
    ],
    "adam": [{**ADAM, **FULL, "network": "small_resnet"}, {**ADAM, **FULL, "network": "vit"}],
}
MODELS = len(UPDATES)
METRIC = {"error": 0, "truth_distance": 1, "progress": 2, "geodesic_distance": 3}
EVERY = [
    *(f"{n}_{s}_error" for n in ("fc", "all_cnn", "vit") for s in ("train", "test")),
    *("small_resnet_test_error", "large_resnet_train_error", "conv_mixer_test_error"),
    *("largest_train_distance", "largest_test_distance", "unfinished", "all_cnn_away"),
]
OF_PROGRESS = [
    *("progress_and_train_error", "progress_and_test_error", "train_and_test_progress"),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    found = made_up_runs(tmp_path_factory.mktemp("runs"), GROUPS)
    found.analyses["models"] = models(found, {"seed": 0})
    return found


@pytest.fixture
def data(made: RunGroups) -> RunGroups:
    return RunGroups(made, {"models": made.analyses["models"].copy(deep=True)})


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs = [
        {"statistics": one, "network": network}
        for one in ("running", "initial")
        for network in ("fc", "small_resnet")
    ]
    found = made_up_runs(tmp_path_factory.mktemp("runs"), {"batch_norm": runs})
    found.analyses["models_batch_norm"] = models(found, {"seed": 0})
    return found


def set_metric(data: RunGroups, name: str, run: int, values: object, split: int = 0) -> None:
    """Set a metric of the first models of a run, as many as there are values."""
    mine = np.flatnonzero(data.analyses["models"]["model_run"].values == run)
    some = np.atleast_1d(np.asarray(values, dtype=float))
    data.analyses["models"]["model_metrics"].values[METRIC[name], split, mine[: some.size]] = some


@pytest.mark.parametrize("name", EVERY + OF_PROGRESS)
def test_every_claim_has_finite_numbers(name: str, data: RunGroups) -> None:
    function = getattr(claims if name in EVERY else progress, name)
    found = check(name, function(data))
    assert found.n > 1
    assert not found.substituted
    if found.interval is not None:
        assert found.interval[0] <= found.value <= found.interval[1]
    else:
        assert name in EVERY


def test_smaller_runs_than_the_papers_are_indicative(data: RunGroups) -> None:
    assert not stand_in(data)
    full, run = {"dataset": "cifar10", "samples": 50_000}, data["sgd"][0]
    for changes, wanted in (({}, False), ({"samples": 2000}, True), ({"width": 0.25}, True)):
        config = {**run.config, **full, **changes}
        other = type(run)(run.name, config, run.trajectories, run.inversion)
        others = RunGroups({"sgd": [other, *data["sgd"][1:]], "adam": data["adam"]}, data.analyses)
        assert stand_in(others) == wanted
        assert claims.fc_test_error(others).substituted == wanted
        assert progress.progress_and_train_error(others).substituted == wanted
    for changes, wanted in (
        ({}, False),
        ({"corner": 1, "seeds": 50}, False),
        ({"corner": 1}, True),
    ):
        config = {**run.config, **full, **changes}
        other = type(run)(run.name, config, run.trajectories, run.inversion)
        assert stand_in(RunGroups({"corners": [other]})) == wanted


def test_medians_are_in_per_cent(data: RunGroups) -> None:
    ends = np.full(3 * MODELS, 0.5)
    ends[MODELS - 1 :: MODELS] = [0.1, 0.2, 0.4]
    set_metric(data, "error", 1, ends, split=1)
    found = claims.all_cnn_test_error(data)
    assert (found.value, found.n) == (pytest.approx(20), 3)
    assert found.spread == pytest.approx(np.std([10, 20, 40], ddof=1))
    assert found.note == "median; range over networks 10.0 to 40.0 %"


def test_only_trained_networks_count_for_the_largest_distance(data: RunGroups) -> None:
    distances = np.full(2 * MODELS, 0.1)
    distances[[MODELS - 1, 2 * MODELS - 1]] = [5.0, 7.0]
    set_metric(data, "truth_distance", 0, distances, split=1)
    found = claims.largest_test_distance(data)
    assert (found.value, found.n, found.interval) == (7.0, 15, None)
    errors = np.zeros(2 * MODELS)
    errors[-1] = 0.1
    set_metric(data, "error", 0, errors)
    found = claims.largest_test_distance(data)
    assert (found.value, found.n) == (5.0, 14)
    assert "14 of 15 networks" in found.note
    assert "FC" in found.note
    data.analyses["models"]["model_metrics"].values[0] = 0.5
    with pytest.raises(NotMeasurable, match="No network ends with a training error below 10 %"):
        claims.largest_test_distance(data)


def test_failed_networks_are_a_share_of_all(data: RunGroups) -> None:
    assert claims.unfinished(data).value == pytest.approx(1 / 16)


def test_models_away_from_the_manifold(data: RunGroups) -> None:
    for function in (claims.adam_away, claims.away_come_back, claims.adam_away_of_residual):
        with pytest.raises(NotMeasurable, match="No model is away from the manifold"):
            function(data)
    set_metric(data, "truth_distance", 4, [3.0] * 3)  # ConvMixer, large batches of SGD
    set_metric(data, "truth_distance", 6, [3.0] * (MODELS + 1))  # ViT, Adam, both seeds
    adam = claims.adam_away(data)
    assert adam.value == pytest.approx((MODELS + 1) / (MODELS + 4))
    assert adam.n == 3
    large = claims.large_batch_away(data)
    assert large.value == pytest.approx(3 / (MODELS + 4))
    assert large.note.endswith("median epoch 0.5, of the others 1.5")
    assert claims.adam_away_of_residual(data).value == 0
    assert claims.all_cnn_away(data).value == 0
    back = claims.away_come_back(data)
    assert (back.value, back.n) == (1.0, 3)
    set_metric(data, "truth_distance", 1, [3.0])
    assert claims.all_cnn_away(data).value == pytest.approx(1 / (3 * MODELS))


def test_without_large_batches_their_share_is_not_measured(data: RunGroups) -> None:
    runs = RunGroups({"sgd": data["sgd"][:3]})
    runs.analyses["models"] = models(runs, {"seed": 0})
    with pytest.raises(NotMeasurable, match="No network was trained with batches above 500"):
        claims.large_batch_away(runs)
    with pytest.raises(NotMeasurable, match="No ViT is among the runs"):
        claims.vit_test_error(runs)
    with pytest.raises(NotMeasurable, match="No Small and Large ResNet of the same"):
        progress.larger_ahead(runs)


def test_the_larger_network_is_ahead(data: RunGroups) -> None:
    set_metric(data, "progress", 2, np.full(2 * MODELS, 0.3))
    set_metric(data, "progress", 3, np.full(2 * MODELS, 0.5))
    found = progress.larger_ahead(data)
    assert (found.value, found.n) == (pytest.approx(0.2), 1)  # seed 1 of the larger failed


def test_correlations_are_pearsons(data: RunGroups) -> None:
    table = model_table(data.analyses["models"], all_runs(data))
    for name, x, y in (
        ("progress_and_train_error", "train_progress", "train_error"),
        ("progress_and_test_error", "test_progress", "test_error"),
        ("train_and_test_progress", "train_progress", "test_progress"),
    ):
        found = getattr(progress, name)(data)
        assert found.value == pytest.approx(np.corrcoef(table[x], table[y])[0, 1])
        assert found.n == 15
    data.analyses["models"]["model_metrics"].values[0] = 0.5
    with pytest.raises(NotMeasurable, match="not defined"):
        progress.progress_and_train_error(data)


def test_initial_distances(initial: RunGroups) -> None:
    found = initial.analyses["models_batch_norm"]
    starts = found["model_metrics"].values[4, 0, ::MODELS] / (np.log(CLASSES) / 2)
    running = progress.running_statistics(initial)
    assert running.value == pytest.approx(starts[2:4].max())
    assert (running.n, running.substituted) == (2, True)
    estimated = progress.estimated_statistics(initial)
    assert estimated.value == pytest.approx(starts[4:].mean())
    assert estimated.n == 4
    only = RunGroups({"batch_norm": initial["batch_norm"][:1]})
    only.analyses["models_batch_norm"] = models(only, {"seed": 0})
    for function in (progress.running_statistics, progress.estimated_statistics):
        with pytest.raises(NotMeasurable):
            function(only)
