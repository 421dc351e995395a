"""Parts of the training of classifiers: arrays, weight sets, kept epochs, measures, streams."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_helpers import CLASSES, TEST, TRAIN, data_store, parameters
from torch.nn.functional import cross_entropy

from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.batches import inputs, minibatches, on_device
from pipeline.classifiers.evaluate import batches, precise, predict
from pipeline.classifiers.keep import KeptWeights, spaced_epochs
from pipeline.classifiers.optimizers import adam
from pipeline.classifiers.record import ABSENT, choose_points, point_inputs, recorded_layers
from pipeline.classifiers.run import settings_of
from pipeline.classifiers.settings import Settings
from pipeline.classifiers.train import initial_network, measure, train_network
from pipeline.classifiers.variables import SUBSETS
from pipeline.classifiers.weights import pack, unpack
from pipeline.data.labels import MANIFOLD_KINDS, manifold_classes, permute_labels
from pipeline.errors import DataError, TrainingError
from pipeline.models.memorization import feed_forward, resnet18
from pipeline.seeds import generator
from pipeline.training.resume import StateFile


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return data_store(tmp_path_factory.mktemp("data") / "made_up")


RUN = {"dataset": "made_up", "samples": TRAIN, "test_samples": None}


def test_arrays_are_standardised_by_the_training_samples(store: Path) -> None:
    arrays = classifier_arrays(RUN, store)
    assert arrays.train.shape == (TRAIN, 3, 32, 32)
    assert arrays.test.shape == (TEST, 3, 32, 32)
    assert arrays.class_count == CLASSES
    np.testing.assert_allclose(arrays.train.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(arrays.train.std(axis=(0, 2, 3)), 1, atol=1e-5)
    assert abs(arrays.test.mean()) > 1e-6  # by the statistics of the training samples
    fewer = classifier_arrays(RUN | {"samples": 10, "test_samples": 7}, store)
    assert (len(fewer.train), len(fewer.test)) == (10, 7)
    np.testing.assert_array_equal(fewer.train_classes, arrays.train_classes[:10])


@pytest.mark.parametrize("key", ["samples", "test_samples"])
@pytest.mark.parametrize("count", [0, 1000])
def test_more_samples_than_there_are_are_refused(store: Path, key: str, count: int) -> None:
    with pytest.raises(DataError, match=f"{key} = {count} .* valid is 1 to"):
        classifier_arrays(RUN | {key: count}, store)


def test_a_weight_set_goes_back_to_the_same_network() -> None:
    torch.manual_seed(0)
    network = resnet18((3, 32, 32), 10, 1 / 16)
    x = torch.randn(20, 3, 32, 32)
    network.train()
    network(x)  # moves the running statistics
    weights = pack(network)
    other = resnet18((3, 32, 32), 10, 1 / 16)
    unpack(other, weights)
    torch.testing.assert_close(predict(other, x), predict(network, x), rtol=0, atol=0)
    np.testing.assert_array_equal(pack(other), weights)
    with pytest.raises(TrainingError, match=r"shape .* given to a network of"):
        unpack(other, weights[:-1])


def test_kept_epochs_are_evenly_spaced_and_few_however_long_training_lasts() -> None:
    for most in (3, 4, 7, 20):
        kept: list[int] = []
        for epoch in range(300):
            kept = spaced_epochs(kept, epoch, most)
            assert kept[0] == 0
            assert len(kept) <= most - 2
            if len(kept) > 1:
                assert len(set(np.diff(kept))) == 1
                assert epoch - kept[-1] < kept[1] - kept[0]
        assert len(kept) >= (most - 2) // 2


def test_files_of_dropped_sets_stay_until_they_are_purged(tmp_path: Path) -> None:
    kept = KeptWeights(tmp_path, "key", 5)
    for epoch in range(8):
        kept.offer(epoch, np.full(3, epoch, np.float32))
    kept.add(5, np.full(3, 5, np.float32))
    assert kept.epochs == [0, 4, 5]
    assert len(list(tmp_path.glob("*.pt"))) > 3
    kept.purge()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch_0.pt",
        "epoch_4.pt",
        "epoch_5.pt",
    ]
    np.testing.assert_array_equal(kept.load(4), [4, 4, 4])
    (tmp_path / "epoch_4.pt").write_bytes(b"damaged")
    with pytest.raises(TrainingError, match=r"epoch_4\.pt is gone or damaged"):
        kept.load(4)
    assert KeptWeights(tmp_path, "key", 0).offer(0, np.zeros(3, np.float32)) is None


def test_minibatches_hold_every_sample_once(store: Path) -> None:
    arrays = classifier_arrays(RUN, store)
    noisy = permute_labels(arrays.train_classes, 0.5, CLASSES, generator(0, "a", 0, "labels"))
    data = on_device(arrays, noisy, "cpu")
    order = torch.randperm(TRAIN)
    found = list(minibatches(data, 40, order))
    assert [len(x) for x, _ in found] == [40, 40, 16]
    assert found[0][0].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(torch.cat([labels for _, labels in found]), data.labels[order])
    back = torch.cat([x for x, _ in found])
    np.testing.assert_array_equal(back.numpy(), arrays.train[order.numpy()])


def test_measures_of_each_subset_against_plain_numpy(store: Path) -> None:
    arrays = classifier_arrays(RUN, store)
    noisy = permute_labels(arrays.train_classes, 0.4, CLASSES, generator(0, "a", 0, "labels"))
    data = on_device(arrays, noisy, "cpu")
    network = settings_of(parameters()).build_network(arrays.shape, CLASSES)
    shares, loss = measure(network, data, "float32")
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(arrays.train))
        tests = network(torch.from_numpy(arrays.test)).argmax(1).numpy()
    answers = logits.argmax(1).numpy()
    permuted = noisy.permuted
    wanted = [
        (answers == noisy.labels).mean(),
        (tests == arrays.test_classes).mean(),
        (answers == noisy.labels)[~permuted].mean(),
        (answers == noisy.labels)[permuted].mean(),
        (answers == noisy.classes)[permuted].mean(),
    ]
    assert list(SUBSETS) == ["train", "test", "unpermuted", "permuted", "restored"]
    np.testing.assert_allclose(shares, wanted)
    np.testing.assert_allclose(loss, cross_entropy(logits, data.labels).item(), rtol=1e-5)


def test_an_empty_subset_has_no_accuracy(store: Path) -> None:
    arrays = classifier_arrays(RUN, store)
    network = settings_of(parameters()).build_network(arrays.shape, CLASSES)
    for eps, absent in ((0.0, {"permuted", "restored"}), (1.0, {"unpermuted"})):
        noisy = permute_labels(arrays.train_classes, eps, CLASSES, generator(0, "a", 0, "labels"))
        shares, _ = measure(network, on_device(arrays, noisy, "cpu"), "float32")
        empty = {subset for subset, share in zip(SUBSETS, shares, strict=True) if np.isnan(share)}
        assert empty == absent


def test_training_is_the_plain_loop(store: Path, tmp_path: Path) -> None:
    """Two epochs against a loop written out: torch's Adam, the named orders, cross-entropy."""
    arrays = classifier_arrays(RUN, store)
    settings = settings_of(parameters(epochs=2, precision="float64"))
    noisy = permute_labels(arrays.train_classes, 0.5, CLASSES, generator(0, "a", 0, "labels"))
    data = on_device(arrays, noisy, "cpu", torch.float64)
    network = initial_network(settings, arrays.shape, CLASSES, 3).double()
    plain = initial_network(settings, arrays.shape, CLASSES, 3).double()
    kept = KeptWeights(tmp_path, "key", 0)
    state = StateFile(tmp_path / "state.pt", "key", 1e9)
    history = train_network(network, data, 3, settings, kept, state, lambda *_: None)
    optimizer = torch.optim.Adam(plain.parameters(), lr=2e-3)
    for epoch in (1, 2):
        plain.train()
        name = (settings.root_seed, settings.stream, 3, "order", epoch)
        order = generator(*name).permutation(TRAIN)
        for start in range(0, TRAIN, 32):
            rows = torch.from_numpy(order[start : start + 32])
            optimizer.zero_grad()
            loss = cross_entropy(plain(inputs(data.train)[rows]), data.labels[rows])
            loss.backward()
            optimizer.step()
    for mine, theirs in zip(network.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-11)
    assert history.last_epoch == 2
    np.testing.assert_allclose(history.accuracy[-1], measure(plain, data, "float64")[0])


def test_initial_weights_depend_on_the_seed_and_the_stream_alone() -> None:
    settings = settings_of(parameters())
    first = pack(initial_network(settings, (3, 32, 32), CLASSES, 0))
    torch.manual_seed(99)
    np.testing.assert_array_equal(pack(initial_network(settings, (3, 32, 32), CLASSES, 0)), first)
    assert not np.array_equal(pack(initial_network(settings, (3, 32, 32), CLASSES, 1)), first)
    noisier = settings_of(parameters(label_noise=0.1))
    np.testing.assert_array_equal(pack(initial_network(noisier, (3, 32, 32), CLASSES, 0)), first)


def test_recorded_points_are_of_their_manifolds() -> None:
    classes = np.arange(200) % 5
    noisy = permute_labels(classes, 0.5, 5, generator(0, "a", 0, "labels"))
    tests = np.arange(50) % 5
    found = choose_points(manifold_classes(noisy, tests), 200, 3, 8, np.random.default_rng(0))
    assert found.sample.size == len(MANIFOLD_KINDS) * 3 * 8
    for kind, manifold, sample in zip(found.kind, found.manifold, found.sample, strict=True):
        if MANIFOLD_KINDS[kind] == "test":
            assert tests[sample] == manifold
        else:
            told = noisy.labels[sample] if MANIFOLD_KINDS[kind] == "permuted" else classes[sample]
            assert told == manifold
            assert noisy.permuted[sample] == (MANIFOLD_KINDS[kind] != "unpermuted")
    train, test = torch.arange(200.0)[:, None], 1000 + torch.arange(50.0)[:, None]
    x = point_inputs(found, train, test).numpy()[:, 0]
    wanted = np.where(found.kind == 3, 1000 + found.sample, found.sample)
    np.testing.assert_array_equal(x, wanted)


def test_points_that_there_are_not_are_marked() -> None:
    noisy = permute_labels(np.arange(20) % 2, 0.0, 2, generator(0, "a", 0, "labels"))
    found = choose_points(manifold_classes(noisy, [0, 1]), 20, 2, 4, np.random.default_rng(0))
    of_kind = {kind: found.sample[found.kind == i] for i, kind in enumerate(MANIFOLD_KINDS)}
    assert (of_kind["unpermuted"] != ABSENT).all()
    assert (of_kind["permuted"] == ABSENT).all()
    assert (of_kind["test"] != ABSENT).sum() == 2


def test_layers_to_record_must_have_names() -> None:
    network = feed_forward((8,), 2, 0.01)
    assert recorded_layers(network, None)[1] == [f"linear{i}" for i in range(1, 7)]
    with pytest.raises(TrainingError, match="'conv1' is no layer"):
        recorded_layers(network, ["conv1"])
    with pytest.raises(TrainingError, match="named layers only; set recorded_seeds to 0"):
        recorded_layers(torch.nn.Linear(3, 2), None)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"precision": "half"}, "precision is 'half'; valid are: float32"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"compile": "yes"}, "compile is 'yes'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1, not 0"),
        ({"kept_weights": 2}, "kept_weights must be an integer of at least 3"),
        ({"epochs": 1.5}, "epochs must be an integer"),
        ({"label_noise": 1.1}, "label_noise must be a finite number from 0 to 1.0, not 1.1"),
        ({"label_noise": float("nan")}, "label_noise must be a finite number"),
        ({"width": 0}, "width must be a finite number above 0"),
        ({"stop_accuracy": 0}, "stop_accuracy must be a finite number above 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, object], message: str) -> None:
    entry = {"builder": "pipeline.models.memorization:alexnet"}
    with pytest.raises(TrainingError, match=message):
        Settings(entry, adam, **change)  # type: ignore[arg-type]


def test_tf32_is_refused_on_a_cpu() -> None:
    with pytest.raises(TrainingError, match="only CUDA devices have"), precise("tf32", "cpu"):
        pass


def test_batches_cover_all_samples() -> None:
    assert [(rows.start, rows.stop) for rows in batches(5, 2)] == [(0, 2), (2, 4), (4, 5)]


def test_prediction_leaves_the_network_as_it_was() -> None:
    network = resnet18((3, 32, 32), 10, 1 / 32).train()
    before = pack(network)
    x = torch.randn(6, 3, 32, 32)
    whole = predict(network, x)
    assert network.training
    np.testing.assert_array_equal(pack(network), before)
    torch.testing.assert_close(predict(network, x, batch_size=4), whole, rtol=1e-5, atol=1e-6)
    assert predict(network, x, precision="bf16").dtype == torch.float32
