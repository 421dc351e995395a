"""What training refuses, takes and defaults to; schedules and groups."""

import numpy as np
import pytest
import torch
from torch import nn
from training_helpers import make_images

from pipeline.errors import TrainingError
from pipeline.training.ensemble import split_groups, train_ensemble
from pipeline.training.schedule import checkpoint_epochs


def test_numpy_numbers_are_numbers():
    images, labels = make_images(7)
    plain = train_ensemble(images, labels, seeds=2, epochs=3, depth=2, learning_rate=0.5)
    other = train_ensemble(
        images.astype(np.float64),
        labels.tolist(),
        seeds=np.int64(2),
        epochs=np.int32(3),
        depth=np.int64(2),
        layers=np.int64(1),
        learning_rate=np.float32(0.5),
    )
    np.testing.assert_array_equal(plain.loss, other.loss)


def test_minibatches_have_a_default_size():
    images, labels = make_images(7)
    given = train_ensemble(images, labels, seeds=1, epochs=2, optimizer="sgd", batch_size=32)
    default = train_ensemble(images, labels, seeds=1, epochs=2, optimizer="sgd")
    np.testing.assert_array_equal(given.loss, default.loss)


REFUSED = [
    ({"images": np.zeros((3, 4, 5), np.float32)}, "samples, features"),
    ({"images": np.full((200, 30), np.nan, np.float32)}, "NaN or Inf"),
    ({"images": np.zeros((200, 30), np.uint8)}, "standardised floats"),
    ({"labels": np.zeros(200)}, "-1 or \\+1"),
    ({"labels": np.ones(200)}, "label -1"),
    ({"labels": np.ones(7)}, "200 values"),
    ({"depth": 1}, "depth"),
    ({"activation": "sine"}, "tanh"),
    ({"optimizer": "lion"}, "gd, sgd, adam"),
    ({"batch_size": 32}, "batch_size"),
    ({"precision": "float16"}, "float32"),
    ({"learning_rate": -1.0}, "learning_rate"),
    ({"learning_rate": float("nan")}, "learning_rate"),
    ({"epochs": 0}, "epochs"),
    ({"optimizer": "sgd", "updates_per_epoch": 0}, "updates_per_epoch"),
    ({"optimizer": "sgd", "updates_per_epoch": 1.5}, "updates_per_epoch"),
    ({"layers": 2}, "hidden layers 1 to 1"),
    ({"init": "normal"}, "init_variance"),
    ({"seeds": 0}, "seeds"),
    ({"seeds": [1, 1]}, "distinct"),
    ({"seeds": 2.0}, "seeds"),
    ({"seeds": [1.5]}, "seeds"),
    ({"seeds": True}, "seeds"),
    ({"layers": "a"}, "layers"),
    ({"layers": [1, 1]}, "distinct"),
    ({"depth": 2.5}, "depth"),
    ({"learning_rate": "a"}, "learning_rate"),
    ({"learning_rate": None}, "learning_rate"),
    ({"momentum": 1.5}, "momentum"),
    ({"optimizer": "adam", "momentum": 0.5}, "adam"),
    ({"checkpoints": [1.5]}, "integers between"),
    ({"stored_seeds": -1}, "stored_seeds"),
    ({"parameters": [np.zeros(3)]}, "shapes"),
    ({"sample_weight": np.ones(200), "optimizer": "sgd"}, "full-batch"),
    ({"wdith": 3}, "wdith"),
    ({"checkpoints": [501]}, "between 0 and 500"),
    ({"sample_weight": np.ones((3, 3))}, "sample_weight"),
    ({"sample_weight": -np.ones(200)}, "not negative"),
    ({"test_images": np.zeros((5, 30), np.float32)}, "together"),
    (
        {"test_images": np.zeros((5, 7), np.float32), "test_labels": np.ones(5)},
        "7 features",
    ),
]


@pytest.mark.parametrize(("change", "words"), REFUSED)
def test_bad_input_is_refused_in_one_sentence(change, words):
    images, labels = make_images(7)
    arguments = {"images": images, "labels": labels} | change
    with pytest.raises(TrainingError, match=words) as caught:
        train_ensemble(arguments.pop("images"), arguments.pop("labels"), **arguments)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


def test_networks_with_buffers_or_another_form_are_refused():
    images, labels = make_images(7)

    def normed(features, **_):
        return nn.Sequential(
            nn.Sequential(nn.Linear(features, 4), nn.BatchNorm1d(4)), nn.Linear(4, 2)
        )

    with pytest.raises(TrainingError, match="buffers"):
        train_ensemble(images, labels, network=normed)
    with pytest.raises(TrainingError, match="Sequential"):
        train_ensemble(images, labels, network=lambda features, **_: nn.Linear(features, 2))


def test_cuda_is_refused_where_there_is_none():
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    images, labels = make_images(7)
    with pytest.raises(TrainingError, match="CUDA"):
        train_ensemble(images, labels, device="cuda")


def test_groups_are_even_and_cover_all_networks():
    for networks in range(1, 70):
        groups = split_groups(networks, 32)
        covered = [i for group in groups for i in range(group.start, group.stop)]
        assert covered == list(range(networks))
        sizes = [group.stop - group.start for group in groups]
        assert max(sizes) <= 32
        assert set(sizes[:-1]) <= {sizes[0]}


@pytest.mark.parametrize("epochs", [1, 10, 500, 10_000])
@pytest.mark.parametrize("count", [1, 2, 24])
def test_log_schedule_starts_at_zero_and_ends_at_the_last_epoch(epochs, count):
    chosen = checkpoint_epochs({"schedule": "log", "count": count, "epochs": None}, epochs)
    assert chosen == sorted(set(chosen))
    assert len(chosen) <= count
    assert chosen[0] == 0
    if count > 1:
        assert chosen[-1] == epochs


def test_other_schedules():
    assert checkpoint_epochs({"schedule": "linear", "count": 3}, 10) == [0, 5, 10]
    assert checkpoint_epochs({"schedule": "list", "epochs": [9, 2, 2]}, 10) == [2, 9]
    assert checkpoint_epochs({"schedule": "log", "count": 0}, 10) == []
    with pytest.raises(TrainingError, match="between 0 and 10"):
        checkpoint_epochs({"schedule": "list", "epochs": [11]}, 10)
    with pytest.raises(TrainingError, match="log, linear, list"):
        checkpoint_epochs({"schedule": "cubic", "count": 3}, 10)
