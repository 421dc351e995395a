"""Statistics of batch normalisation that are estimated anew; what products are made in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tests.classifier_helpers import data_store, parameters
from torch import Tensor, nn

from pipeline.classifiers import train
from pipeline.classifiers.evaluate import precise, predict
from pipeline.classifiers.keep import KeptWeights
from pipeline.classifiers.normalisation import renew_statistics
from pipeline.classifiers.run import settings_of
from pipeline.classifiers.run import train_run as train_run_of
from pipeline.classifiers.weights import pack, unpack
from pipeline.errors import TrainingError
from pipeline.hardware import float32_products
from pipeline.models.memorization import alexnet, resnet18, vgg16
from pipeline.store.reader import open_store

BUILDERS = "pipeline.models.memorization:"
SHAPE = (3, 32, 32)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_store(tmp_path_factory.mktemp("data") / "made_up")


def trained(folder: Path, data: Path, settings: dict[str, Any], seconds: float = 1e9) -> Any:
    train_run_of(settings, data, folder, folder / "state", code="c", state_seconds=seconds)
    return open_store(folder, lazy=False)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_statistics_are_those_of_the_samples(seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4))
    x = torch.randn(12, *SHAPE)
    network.train()
    renew_statistics(network, x)
    first = network[0](x)
    close = {"rtol": 1e-5, "atol": 1e-6}
    norm = network[1]
    torch.testing.assert_close(norm.running_mean, first.mean(dim=(0, 2, 3)), **close)
    torch.testing.assert_close(norm.running_var, first.var(dim=(0, 2, 3)), **close)
    second = torch.relu(norm(first))  # in training mode: by the batch's own statistics
    torch.testing.assert_close(network[3].running_mean, second.mean(dim=(0, 2, 3)), **close)
    assert network.training
    assert network[1].momentum == network[3].momentum == 0.1


def test_statistics_of_several_batches_are_their_average() -> None:
    torch.manual_seed(3)
    network, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)), torch.randn(9, *SHAPE)
    renew_statistics(network, x, batch_size=4)  # three batches of three
    parts = [network[0](part) for part in x.split(3)]
    means = torch.stack([part.mean(dim=(0, 2, 3)) for part in parts]).mean(0)
    variances = torch.stack([part.var(dim=(0, 2, 3)) for part in parts]).mean(0)
    torch.testing.assert_close(network[1].running_mean, means, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network[1].running_var, variances, rtol=1e-5, atol=1e-6)


def test_nothing_is_dropped_and_nothing_else_changes() -> None:
    torch.manual_seed(4)
    x, network = torch.randn(8, *SHAPE), vgg16(SHAPE, 10, 1 / 16)
    renew_statistics(network, x)
    once = pack(network)
    renew_statistics(network, x)
    np.testing.assert_array_equal(pack(network), once)  # dropout would change the layers above
    plain = alexnet(SHAPE, 10, 1 / 16)
    before = pack(plain)
    renew_statistics(plain, x)
    np.testing.assert_array_equal(pack(plain), before)


def test_training_is_the_same_whatever_it_is_measured_with(tmp_path: Path, data: Path) -> None:
    """Only what is measured and the stored statistics change: the parameters do not."""
    settings = {"builder": BUILDERS + "resnet18", "width": 0.05, "epochs": 3, "seeds": 1}
    settings |= {"stored_seeds": 1, "recorded_seeds": 0}
    lagging = trained(tmp_path / "lagging", data, parameters(**settings))
    renewed = trained(tmp_path / "new", data, parameters(**settings, statistics_samples=96))
    networks = [resnet18(SHAPE, 4, 0.05), resnet18(SHAPE, 4, 0.05)]
    for network, store in zip(networks, (lagging, renewed), strict=True):
        unpack(network, store.kept_weights[0, list(store.kept_epoch[0].values).index(3)].values)
    for (name, one), two in zip(
        networks[0].named_parameters(), networks[1].parameters(), strict=True
    ):
        torch.testing.assert_close(one, two, rtol=0, atol=0, msg=name)
    buffers = [dict(network.named_buffers()) for network in networks]
    assert any(not torch.equal(value, buffers[1][name]) for name, value in buffers[0].items())
    assert not np.array_equal(lagging.loss.values, renewed.loss.values)


def test_weight_sets_that_are_not_there_are_refused() -> None:
    network = alexnet(SHAPE, 10, 1 / 16)
    weights = pack(network)
    weights.flags.writeable = False
    unpack(network, weights)
    with pytest.raises(TrainingError, match=r"not finite .* kept_epoch, which is -1"):
        unpack(network, np.full_like(weights, np.nan))


class Flags(torch.autograd.Function):
    """The identity; notes the TF32 switches in both directions."""

    seen: ClassVar[list[tuple[str, bool, bool]]] = []

    @staticmethod
    def _note(way: str) -> None:
        backends = torch.backends
        Flags.seen.append((way, backends.cuda.matmul.allow_tf32, backends.cudnn.allow_tf32))

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        Flags._note("forward")
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        Flags._note("backward")
        return gradient


def test_backward_passes_multiply_as_forward_passes_do(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    for backend in (torch.backends.cuda.matmul, torch.backends.cudnn):
        before = backend.allow_tf32
        request.addfinalizer(lambda one=backend, old=before: setattr(one, "allow_tf32", old))
        backend.allow_tf32 = True
    monkeypatch.setattr(Flags, "seen", [])
    plain = train.compiled

    def noting(*arguments: Any) -> Any:
        step = plain(*arguments)
        return lambda x: Flags.apply(step(x))

    monkeypatch.setattr(train, "compiled", noting)
    trained(tmp_path, data, parameters(epochs=1, seeds=1, stored_seeds=0, recorded_seeds=0))
    assert set(Flags.seen) == {("forward", False, False), ("backward", False, False)}
    assert torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32
    with float32_products("bf16", "cpu"), precise("bf16", "cpu"):
        assert torch.is_autocast_enabled("cpu")


def test_a_wrong_layer_is_refused_before_anything_is_trained(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    monkeypatch.setattr(train, "_train_epoch", lambda *_: epochs.append(1))
    with pytest.raises(TrainingError, match="'conv17' is no layer of this network"):
        trained(tmp_path, data, parameters(recorded_layers=["conv17"]))
    assert not epochs


def test_a_job_killed_while_a_seed_is_finished_trains_nothing_twice(
    tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last saved state and the end the kept sets are thinned: their files must be there."""
    settings = parameters(epochs=8, seeds=1, stored_seeds=1, kept_weights=4, recorded_seeds=0)
    whole = trained(tmp_path / "whole", data, settings)
    plain_epoch, plain_purge, epochs = train._train_epoch, KeptWeights.purge, []

    def counted(*arguments: Any) -> None:
        epochs.append(1)
        plain_epoch(*arguments)

    def killed(kept: KeptWeights) -> None:
        if 8 in kept.epochs:
            raise KeyboardInterrupt
        plain_purge(kept)

    monkeypatch.setattr(train, "_train_epoch", counted)
    monkeypatch.setattr(KeptWeights, "purge", killed)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", data, settings)
    monkeypatch.setattr(KeptWeights, "purge", plain_purge)
    cut = trained(tmp_path / "cut", data, settings)
    assert len(epochs) == 8
    assert whole.equals(cut)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": float("inf")}, "width must be a finite number above 0, not inf"),
        ({"stop_accuracy": "x"}, "stop_accuracy must be a finite number above 0"),
        ({"statistics_samples": -1}, "statistics_samples must be an integer of at least 0"),
    ],
)
def test_more_settings_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(TrainingError, match=message):
        settings_of(parameters(**change))


def test_predictions_do_not_depend_on_the_switches() -> None:
    torch.manual_seed(0)
    network, x = alexnet(SHAPE, 10, 1 / 16), torch.randn(4, *SHAPE)
    torch.testing.assert_close(predict(network, x), network.eval()(x), rtol=0, atol=0)
