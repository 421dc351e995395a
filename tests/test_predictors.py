"""Jobs of predictors: what is stored, the plain loop, kills, divergence, corners, random labellings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from classifier_helpers import CLASSES, TEST, TRAIN, data_store
from helpers_resume import check_states

from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.batches import held, inputs
from pipeline.errors import TrainingError
from pipeline.models.wide_residual import wide_resnet
from pipeline.predictors import train
from pipeline.predictors.run import settings_of, train_run
from pipeline.predictors.samples import device_data
from pipeline.predictors.schedules import record_updates
from pipeline.predictors.train import initial_network
from pipeline.seeds import generator
from pipeline.store import manifest
from pipeline.store.reader import open_store

BUILDER = "pipeline.models.prediction_space:"


def parameters(**changes: Any) -> dict[str, Any]:
    """The parameters of a run, as ``config.run_parameters`` gives them."""
    run: dict[str, Any] = {
        "paper": "prediction_space",
        "name": "made_up",
        "dataset": "made_up",
        "samples": TRAIN,
        "test_samples": None,
        "width": 0.1,
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "batch_size": 32,
        "epochs": 4,
        "annealing": "cosine",
        "augmentation": "none",
        "record_augmented": False,
        "statistics": "initial",
        "statistics_samples": 50,
        "corner": None,
        "labelling": None,
        "start_from": None,
        "final_weights": False,
        "learning_rate_per_sample": None,
        "records": "authors",
        "record_samples": None,
        "told_probability": 1.0,
        "mixup": 0.0,
        "normalisation_decay": True,
        "sides": None,
        "seeds": 2,
        "precision": "float32",
        "compile": None,
    }
    builder = changes.pop("builder", BUILDER + "all_cnn")
    optimizer, nesterov = changes.pop("optimizer", "sgd"), changes.pop("nesterov", False)
    return {
        "seed": 7,
        "run": run | changes,
        "network": {"builder": builder, "options": {}},
        "optimizer": {
            "builder": f"pipeline.classifiers.optimizers:{optimizer}",
            "options": {"nesterov": True} if nesterov else {},
        },
        "compute": {"threads": 1, "device": "cpu", "compile": "auto", "precision": "float32"},
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_store(tmp_path_factory.mktemp("data") / "made_up")


def trained(folder: Path, data: Path, settings: dict[str, Any], seconds: float = 1e9) -> xr.Dataset:
    train_run(settings, data, folder, folder / "state", code="code", state_seconds=seconds)
    return open_store(folder).load()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, data: Path) -> xr.Dataset:
    return trained(tmp_path_factory.mktemp("run"), data, parameters())


def test_the_store_holds_all_models(found: xr.Dataset, data: Path) -> None:
    updates = record_updates(4, 3)
    assert found["model_seed"].values.tolist() == [0] * len(updates) + [1] * len(updates)
    assert found["model_update"].values.tolist() == updates * 2
    np.testing.assert_allclose(found["model_epoch"], np.array(updates * 2) / 3)
    assert found["train_root_probabilities"].shape == (2 * len(updates), TRAIN, CLASSES)
    assert found["test_root_probabilities"].shape == (2 * len(updates), TEST, CLASSES)
    squares = (found["train_root_probabilities"].astype(float) ** 2).sum("class")
    np.testing.assert_allclose(squares, 1, atol=1e-6)
    arrays = classifier_arrays(parameters()["run"], data)
    np.testing.assert_array_equal(found["test_labels"], arrays.test_classes)
    for split, labels in (("train", arrays.train_classes), ("test", arrays.test_classes)):
        roots = found[f"{split}_root_probabilities"].values.astype(float)
        told = 2 * np.log(roots[:, np.arange(labels.size), labels])
        np.testing.assert_allclose(found[f"{split}_log_likelihood"], told, atol=1e-5)
    assert found["failed_update"].values.tolist() == [-1, -1]


def test_training_is_the_plain_loop(tmp_path: Path, data: Path) -> None:
    """torch's own SGD with cosine annealing, written out; float64."""
    told = parameters(seeds=1, precision="float64", statistics="running", nesterov=True, epochs=3)
    found = trained(tmp_path, data, told)
    settings = settings_of(told)
    arrays = classifier_arrays(told["run"], data)
    network = initial_network(settings, arrays.shape, CLASSES, 0).double()
    optimizer = torch.optim.SGD(
        network.parameters(), 0.05, momentum=0.9, weight_decay=1e-4, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 9)
    x, y = torch.from_numpy(arrays.train).double(), torch.from_numpy(arrays.train_classes)
    for epoch in range(3):
        order = generator(7, settings.stream, 0, "order", epoch).permutation(TRAIN)
        for rows in torch.from_numpy(order).split(32):
            network.train()
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(x[rows]), y[rows]).backward()
            optimizer.step()
            schedule.step()
    network.eval()
    with torch.no_grad():
        p = torch.softmax(network(torch.from_numpy(arrays.test).double()), dim=1)
    last = found["test_root_probabilities"][-1].values
    np.testing.assert_allclose(last, p.sqrt().numpy(), atol=1e-6)


@pytest.mark.parametrize("stop_at", [1, 2, 4])
def test_a_killed_job_continues_to_the_same_bits(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    settings = parameters(augmentation="crop_flip", record_augmented=True, statistics="always")
    trained(tmp_path / "whole", data, settings)
    plain, calls = train._train_epoch, 0

    def killed(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 4 + stop_at:  # in the second seed
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(train, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", data, settings, seconds=0)
    assert not manifest.manifest_path(tmp_path / "cut").exists()
    trained(tmp_path / "cut", data, settings, seconds=0)
    assert calls == 4 + 4 + 1
    assert manifest.read(tmp_path / "whole") == manifest.read(tmp_path / "cut")
    assert not (tmp_path / "cut" / "state").exists()


def test_a_diverged_seed_is_recorded_and_left_out(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train.record

    def poisoned(network: torch.nn.Module, *arguments: Any) -> None:
        seed, update = arguments[2], arguments[3]
        if (seed, update) == (0, 4):
            with torch.no_grad():
                next(network.parameters()).fill_(float("nan"))
        plain(network, *arguments)

    monkeypatch.setattr(train, "record", poisoned)
    found = trained(tmp_path, data, parameters())
    assert found["failed_update"].values.tolist() == [4, -1]
    assert set(found["model_seed"].values.tolist()) == {1}
    assert np.isfinite(found["train_root_probabilities"]).all()


def test_no_model_is_left_where_all_seeds_diverge(tmp_path: Path, data: Path) -> None:
    found = trained(tmp_path, data, parameters(learning_rate=1e30, momentum=0.0))
    assert (found["failed_update"] >= 0).all()
    assert "train_root_probabilities" not in found


def test_statistics_before_the_first_record(tmp_path: Path, data: Path) -> None:
    """Fresh running statistics are those of no data; later on they are those of training."""
    runs = {
        name: trained(tmp_path / name, data, parameters(seeds=1, epochs=1, statistics=name))
        for name in ("running", "initial", "always")
    }
    first = {name: one["train_root_probabilities"][0].values for name, one in runs.items()}
    np.testing.assert_array_equal(first["initial"], first["always"])
    assert not np.array_equal(first["initial"], first["running"])
    last = {name: one["train_root_probabilities"][-1].values for name, one in runs.items()}
    assert not np.array_equal(last["initial"], last["always"])


def growing(shape: tuple[int, ...], outputs: int, width: float) -> torch.nn.Module:
    """A residual network with He's initial weights, with which maps grow from block to block."""
    network = wide_resnet(shape, outputs, width, depth=16)
    for one in network.modules():
        if isinstance(one, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(one.weight, mode="fan_out", nonlinearity="relu")
    return network


def test_statistics_of_samples_bring_a_network_near_ignorance(tmp_path: Path, data: Path) -> None:
    """Of the same weights, drawn three times, with fresh running statistics and with those of samples."""
    told = {"seeds": 3, "epochs": 1, "builder": "test_predictors:growing", "width": 0.25}
    away = {}
    for name in ("running", "initial"):
        found = trained(tmp_path / name, data, parameters(**told, statistics=name))
        roots = found["train_root_probabilities"].values[found["model_update"].values == 0]
        affinity = roots.astype(float).sum(axis=2) / np.sqrt(CLASSES)
        away[name] = -np.log(affinity).mean(axis=1)  # Bhattacharyya's distance
    assert away["initial"].shape == (3,)
    assert (away["initial"] < away["running"] / 2).all()


def test_augmentation_changes_training_not_what_is_recorded(tmp_path: Path, data: Path) -> None:
    common = {"seeds": 1, "epochs": 1}
    plain = trained(tmp_path / "plain", data, parameters(**common))
    moved = trained(tmp_path / "moved", data, parameters(**common, augmentation="crop_flip"))
    told = parameters(**common, augmentation="crop_flip", record_augmented=True)
    recorded = trained(tmp_path / "recorded", data, told)
    first = [one["train_root_probabilities"][0].values for one in (plain, moved, recorded)]
    np.testing.assert_array_equal(first[0], first[1])
    assert not np.array_equal(first[0], first[2])
    last = [one["test_root_probabilities"][-1].values for one in (plain, moved, recorded)]
    assert not np.array_equal(last[0], last[1])
    np.testing.assert_array_equal(last[1], last[2])


def test_corners_share_their_draw(data: Path) -> None:
    corner, plain = (
        settings_of(parameters(builder=BUILDER + "fc", corner=value)) for value in (3, None)
    )
    shape = (3, 32, 32)
    with_corner = [initial_network(corner, shape, 4, seed) for seed in (0, 1)]
    without = [initial_network(plain, shape, 4, seed) for seed in (0, 1)]
    gaps = [
        (one[1].weight - two[1].weight).detach()
        for one, two in zip(with_corner, without, strict=True)
    ]
    torch.testing.assert_close(gaps[0], gaps[1], atol=1e-6, rtol=0)
    assert gaps[0].std() == pytest.approx(1, abs=0.02)
    torch.testing.assert_close(with_corner[0][1].bias, without[0][1].bias, rtol=0, atol=0)
    other = initial_network(settings_of(parameters(builder=BUILDER + "fc", corner=4)), shape, 4, 0)
    assert not torch.equal(other[1].weight, with_corner[0][1].weight)


def test_random_labellings(data: Path) -> None:
    arrays = classifier_arrays(parameters()["run"], data)
    one, again, other = (
        device_data(arrays, settings_of(parameters(labelling=k, name=name)), "cpu").labels.numpy()
        for k, name in ((0, "a"), (0, "b"), (1, "a"))
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.5
    assert set(one.tolist()) == set(range(CLASSES))
    made = device_data(arrays, settings_of(parameters(labelling=0)), "cpu")
    np.testing.assert_array_equal(made.labels, one)
    np.testing.assert_array_equal(made.classes, arrays.train_classes)
    torch.testing.assert_close(
        inputs(held(arrays.train, "cpu", torch.float32)), torch.from_numpy(arrays.train)
    )


def test_a_run_starts_from_the_final_networks_of_another(tmp_path: Path, data: Path) -> None:
    first = parameters(final_weights=True, name="first")
    source = trained(tmp_path / "first", data, first)
    assert source.last_weights.dtype == np.float32
    then = parameters(start_from="first", seeds=3, name="then")
    place = tmp_path / "then"
    train_run(then, data, place, tmp_path / "state", code="c", start=tmp_path / "first")
    found = open_store(place, lazy=False)
    begins = found.test_root_probabilities.values[found.model_update == 0]
    last = source.model_update == int(source.model_update.max())
    ends = source.test_root_probabilities.values[last]
    np.testing.assert_array_equal(begins, ends[[0, 1, 0]])
    after = found.test_root_probabilities.values[
        found.model_update == int(found.model_update.max())
    ]
    assert not np.array_equal(after[0], after[2])  # they differ by the order of their samples


def test_weights_of_a_diverged_seed_are_nan_and_nothing_starts_from_them(
    tmp_path: Path, data: Path
) -> None:
    wild = parameters(final_weights=True, learning_rate=1e30, momentum=0.0, name="wild")
    source = trained(tmp_path / "wild", data, wild)
    assert np.isnan(source.last_weights.values).all()
    then = parameters(start_from="wild", name="then")
    train_run(then, data, tmp_path / "then", tmp_path / "s", code="c", start=tmp_path / "wild")
    assert open_store(tmp_path / "then").attrs["unavailable"] == (
        "all networks of wild, which run then starts from, diverged"
    )
    with pytest.raises(TrainingError, match="needs that run's store"):
        train_run(then, data, tmp_path / "then", tmp_path / "s", code="c")


def test_a_learning_rate_per_sample(tmp_path: Path, data: Path) -> None:
    changes = {"learning_rate": None, "learning_rate_per_sample": 0.05 / 32}
    found = trained(tmp_path / "one", data, parameters(**changes, seeds=1))
    same = trained(tmp_path / "two", data, parameters(seeds=1))
    np.testing.assert_allclose(
        found.test_root_probabilities, same.test_root_probabilities, atol=1e-5
    )
    with pytest.raises(TrainingError, match="give one of them and set the other to null"):
        settings_of(parameters(learning_rate_per_sample=0.1))


def test_what_a_state_names_is_on_the_disk_before_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_states(monkeypatch, lambda: trained(tmp_path, data, parameters(), seconds=0))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float64", "float32", "tf32", "bf16"])
@pytest.mark.parametrize("network", ["prediction_space:all_cnn", "prediction_space:vit"])
def test_a_gpu_trains_as_the_cpu_does(
    tmp_path: Path, data: Path, network: str, precision: str
) -> None:
    changes = {"builder": f"pipeline.models.{network}", "width": 0.25, "augmentation": "crop_flip"}
    found = {}
    for device in ("cpu", "cuda"):
        there = precision if device == "cuda" or precision == "float64" else "float32"
        settings = parameters(**changes, learning_rate=0.01, seeds=1, precision=there)
        settings["compute"]["device"] = device
        found[device] = trained(tmp_path / device, data, settings).test_root_probabilities
    tolerance = {"float64": 1e-6, "float32": 1e-2, "tf32": 3e-2, "bf16": 0.1}[precision]
    np.testing.assert_allclose(found["cuda"], found["cpu"], atol=tolerance)


def test_the_same_again_is_the_same_bits(tmp_path: Path, data: Path) -> None:
    told = parameters(epochs=2, augmentation="crop_flip", optimizer="adam", momentum=0.0)
    for name in ("one", "two"):
        trained(tmp_path / name, data, told)
    assert manifest.read(tmp_path / "one") == manifest.read(tmp_path / "two")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"annealing": "step"}, "annealing is 'step'; valid are: none, cosine, linear"),
        ({"augmentation": "cutout"}, "augmentation is 'cutout'"),
        ({"statistics": "late"}, "valid are: running, initial, always"),
        ({"corner": -1}, "corner must be an integer of at least 0"),
        ({"epochs": 0}, "epochs must be an integer of at least 1"),
        ({"learning_rate": -0.1}, "learning_rate must be a finite number from 0 on, not -0.1"),
        ({"momentum": 1.5}, "momentum must be a finite number from 0 to 1.0"),
        ({"width": 0}, "width must be a finite number above 0, not 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], text: str) -> None:
    with pytest.raises(TrainingError, match=text):
        settings_of(parameters(**change))
