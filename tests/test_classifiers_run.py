"""Training jobs of classifiers: their stores, seeds that diverge, jobs that are killed and continue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import classifier_helpers
import numpy as np
import pytest
import torch
import xarray as xr
from classifier_helpers import CLASSES, TRAIN, data_store, parameters
from helpers_resume import check_states

from pipeline.classifiers import train
from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.batches import on_device
from pipeline.classifiers.evaluate import predict
from pipeline.classifiers.record import activations
from pipeline.classifiers.run import train_run
from pipeline.classifiers.variables import SUBSETS
from pipeline.classifiers.weights import network_of, unpack
from pipeline.data.labels import NoisyLabels
from pipeline.store import manifest
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

BUILDERS = "pipeline.models.memorization:"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_store(tmp_path_factory.mktemp("data") / "made_up")


def trained(folder: Path, data: Path, settings: dict[str, Any], seconds: float = 1e9) -> xr.Dataset:
    train_run(settings, data, folder, folder / "state", code="code", state_seconds=seconds)
    return open_store(folder).load()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, data: Path) -> xr.Dataset:
    return trained(tmp_path_factory.mktemp("run"), data, parameters())


def test_the_store_holds_what_it_says(found: xr.Dataset) -> None:
    assert found.attrs["subsets"] == list(SUBSETS)
    assert found.attrs["layers"][0] == "conv1"
    assert found.attrs["weight_layers"][-1] == "linear9"
    assert found.accuracy.shape == (2, 7, len(SUBSETS))
    assert np.isfinite(found.accuracy).all()
    assert found.failed_epoch.values.tolist() == [-1, -1]
    assert found.last_epoch.values.tolist() == [6, 6]
    test = found.accuracy[..., SUBSETS.index("test")]
    np.testing.assert_array_equal(found.best_epoch, test.argmax("epoch"))
    assert found.noisy_labels.shape == (2, TRAIN)
    assert (found.permuted.sum("sample") == TRAIN // 2).all()
    assert not np.array_equal(found.permuted[0], found.permuted[1])


def test_kept_weights_give_the_accuracies_that_were_measured(found: xr.Dataset, data: Path) -> None:
    run = parameters()["run"]
    arrays, network = classifier_arrays(run, data), network_of(found)
    for seed in (0, 1):
        labels, permuted = found.noisy_labels[seed].values, found.permuted[seed].values
        noisy = NoisyLabels(labels, arrays.train_classes, permuted)
        on = on_device(arrays, noisy, "cpu")
        kept = [int(epoch) for epoch in found.kept_epoch[seed] if epoch >= 0]
        assert {0, 6, int(found.best_epoch[seed])} <= set(kept)
        assert len(kept) <= run["kept_weights"]
        for index, epoch in enumerate(kept):
            unpack(network, found.kept_weights[seed, index].values)
            shares, loss = train.measure(network, on, "float32")
            np.testing.assert_array_equal(shares, found.accuracy[seed, epoch])
            assert loss == found.loss[seed, epoch]
        assert np.isnan(found.kept_weights[seed, len(kept) :]).all()


def test_recorded_activations_are_those_of_their_samples(found: xr.Dataset, data: Path) -> None:
    arrays, network = classifier_arrays(parameters()["run"], data), network_of(found)
    assert found.attrs["moments"] == ["init", "best", "final"]
    assert found.moment_epoch.values.tolist() == [[0, int(found.best_epoch[0]), 6]]
    kinds, samples = found.point_kind[0].values, found.point_sample[0].values
    inputs = [
        (arrays.test if kind == 3 else arrays.train)[sample]
        for kind, sample in zip(kinds, samples, strict=True)
    ]
    x = torch.from_numpy(np.stack(inputs))
    last = list(found.kept_epoch[0].values).index(6)
    unpack(network, found.kept_weights[0, last].values)
    for number, values in activations(network, x, list(found.attrs["layers"])).items():
        np.testing.assert_allclose(
            found[f"recorded_activations_{number}"][0, 2], values, rtol=1e-5, atol=1e-6
        )
    logits = predict(network, x).numpy()
    np.testing.assert_allclose(found["recorded_activations_9"][0, 2], logits, rtol=1e-5, atol=1e-6)


def test_the_same_again_is_the_same_bits(tmp_path: Path, data: Path) -> None:
    stores = []
    for name in ("first", "second"):
        trained(tmp_path / name, data, parameters(epochs=2, seeds=1, stored_seeds=1))
        stores.append(manifest.read(tmp_path / name))
        assert not (tmp_path / name / "state").exists()
    assert json.dumps(stores[0]) == json.dumps(stores[1])


@pytest.mark.parametrize("builder", ["vgg16", "resnet18"])
@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_killed_job_continues_to_the_same_bits(
    tmp_path: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    stop_at: int,
    builder: str,
) -> None:
    """vgg16 has dropout and batch normalisation; the kept sets are thinned on the way."""
    settings = parameters(
        builder=BUILDERS + builder, width=0.03, epochs=5, kept_weights=4, recorded_seeds=0
    )
    trained(tmp_path / "whole", data, settings)
    plain, calls = train._train_epoch, 0

    def killed(*arguments: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == 5 + stop_at:  # in the second seed
            raise KeyboardInterrupt
        plain(*arguments)

    monkeypatch.setattr(train, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", data, settings, seconds=0)
    assert (tmp_path / "cut" / "state" / "seed_0" / "finished.pt").is_file()
    assert not manifest.manifest_path(tmp_path / "cut").exists()
    trained(tmp_path / "cut", data, settings, seconds=0)
    assert calls == 5 + 5 + 1  # no epoch but the interrupted one was done twice
    whole, cut = (manifest.read(tmp_path / name) for name in ("whole", "cut"))
    assert whole == cut


def test_a_state_whose_weights_are_gone_starts_afresh(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    settings = parameters(epochs=3, seeds=1, stored_seeds=1, recorded_seeds=0)
    trained(tmp_path / "whole", data, settings)
    plain = train._train_epoch
    calls = []

    def killed(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        plain(*arguments)

    monkeypatch.setattr(train, "_train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", data, settings, seconds=0)
    (tmp_path / "cut" / "state" / "seed_0" / "epoch_0.pt").unlink()
    trained(tmp_path / "cut", data, settings, seconds=0)
    assert "starting afresh" in caplog.text
    assert manifest.read(tmp_path / "whole") == manifest.read(tmp_path / "cut")


def test_training_stops_once_it_is_accurate_enough(tmp_path: Path, data: Path) -> None:
    settings = parameters(epochs=60, stop_accuracy=0.9, label_noise=0.0, recorded_seeds=0)
    found = trained(tmp_path, data, settings)
    accuracy = found.accuracy[..., 0]
    for seed in (0, 1):
        last = int(found.last_epoch[seed])
        assert 0 < last < 60
        assert accuracy[seed, last] > 0.9
        assert (accuracy[seed, 1:last] <= 0.9).all()
        assert np.isnan(found.accuracy[seed, last + 1 :]).all()
        assert np.isnan(found.loss[seed, last + 1 :]).all()
    assert found.sizes["epoch"] == int(found.last_epoch.max()) + 1


def test_a_diverged_seed_is_recorded_and_the_others_go_on(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = trained(tmp_path / "sound", data, parameters(epochs=3, recorded_seeds=2))
    plain = train.initial_network

    def broken(settings: Any, shape: Any, outputs: int, seed: int) -> torch.nn.Module:
        network = plain(settings, shape, outputs, seed)
        if seed == 0:
            with torch.no_grad():
                next(network.parameters()).mul_(torch.inf)
        return network

    monkeypatch.setattr("pipeline.classifiers.run.initial_network", broken)
    found = trained(tmp_path / "broken", data, parameters(epochs=3, recorded_seeds=2))
    epoch = int(found.failed_epoch[0])
    assert 0 <= epoch <= 3
    assert np.isnan(found.loss[0, epoch:]).all()
    assert np.isnan(found.accuracy[0, epoch:]).all()
    assert found.moment_epoch[0].values.tolist() == [-1, -1, -1]
    assert np.isnan(found.recorded_activations_1[0]).all()
    assert int(found.failed_epoch[1]) == -1
    np.testing.assert_array_equal(found.accuracy[1], sound.accuracy[1])
    np.testing.assert_array_equal(found.recorded_activations_1[1], sound.recorded_activations_1[1])


@pytest.mark.parametrize("precision", ["bf16", "float64"])
def test_other_precisions_come_near(tmp_path: Path, data: Path, precision: str) -> None:
    settings = {"epochs": 3, "seeds": 1, "stored_seeds": 1, "recorded_seeds": 0}
    whole = trained(tmp_path / "float32", data, parameters(**settings))
    other = trained(tmp_path / precision, data, parameters(**settings, precision=precision))
    tolerance = 0.02 if precision == "bf16" else 1e-4
    np.testing.assert_allclose(other.loss, whole.loss, rtol=tolerance)


def test_networks_without_kept_weights_are_the_same(
    tmp_path: Path, data: Path, found: xr.Dataset
) -> None:
    bare = trained(tmp_path, data, parameters(stored_seeds=0, recorded_seeds=0))
    assert "kept_weights" not in bare
    np.testing.assert_array_equal(bare.accuracy, found.accuracy)
    np.testing.assert_array_equal(bare.best_epoch, found.best_epoch)


def test_data_that_could_not_be_had_leave_a_store_with_the_reason(tmp_path: Path) -> None:
    attrs = {
        "name": "made_up",
        "status": "unavailable",
        "train_samples": 0,
        "test_samples": 0,
        "reason": "made_up was found nowhere",
    }
    write_dataset(xr.Dataset(attrs=attrs), tmp_path / "data", {"config": {}, "code": "c"})
    train_run(parameters(), tmp_path / "data", tmp_path / "run", tmp_path / "state", code="c")
    assert manifest.read(tmp_path / "run")["attrs"]["unavailable"] == "made_up was found nowhere"


def test_classes_are_counted_over_the_whole_data_set(found: xr.Dataset) -> None:
    assert found.attrs["outputs"] == CLASSES


@pytest.mark.slow
@pytest.mark.parametrize(
    "builder",
    [
        pytest.param(f"{classifier_helpers.__file__}:small", id="small"),
        pytest.param(BUILDERS + "alexnet", marks=pytest.mark.long),
        pytest.param(BUILDERS + "resnet18", marks=pytest.mark.long),
    ],
)
def test_compiled_networks_train_as_others_do(tmp_path: Path, data: Path, builder: str) -> None:
    from pipeline.hardware import compiler_available

    if not compiler_available():
        pytest.skip("no C++ compiler")
    settings = {"builder": builder, "epochs": 2, "seeds": 1, "stored_seeds": 0}
    plain = trained(tmp_path / "plain", data, parameters(**settings, recorded_seeds=0))
    built = trained(
        tmp_path / "compiled", data, parameters(**settings, recorded_seeds=0, compile=True)
    )
    np.testing.assert_allclose(built.loss, plain.loss, rtol=1e-3)


def test_what_a_state_names_is_on_the_disk_before_it(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_states(monkeypatch, lambda: trained(tmp_path, data, parameters(), seconds=0))


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bf16"])
def test_a_gpu_trains_as_the_cpu_does(tmp_path: Path, data: Path, precision: str) -> None:
    settings = parameters(epochs=3, recorded_seeds=0)
    whole = trained(tmp_path / "cpu", data, settings)
    settings = parameters(epochs=3, recorded_seeds=0, precision=precision)
    settings["compute"]["device"] = "cuda"
    found = trained(tmp_path / "cuda", data, settings)
    tolerance = 1e-3 if precision == "float32" else 3e-2
    np.testing.assert_allclose(found.loss, whole.loss, rtol=tolerance)
    np.testing.assert_array_equal(found.noisy_labels, whole.noisy_labels)
