"""Training that was interrupted, and networks that diverge."""

import io

import numpy as np
import pytest
import torch
from helpers_resume import waited_for
from training_helpers import make_images

from pipeline.errors import TrainingError
from pipeline.models.convolutional import convolutional
from pipeline.models.fully_connected import fully_connected
from pipeline.models.initialise import initial_parameters, stacked_parameters
from pipeline.seeds import generator
from pipeline.training.ensemble import train_ensemble
from pipeline.training.group import train_group
from pipeline.training.problem import make_problem
from pipeline.training.resume import DIGEST, FORMAT, PartFiles, StateFile
from pipeline.training.settings import Settings

NAMES = ("loss", "train_error", "radius_plus", "radius_minus", "distance")


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_diverged_network_is_recorded_and_the_others_go_on(precision):
    images, labels = make_images(7)
    network = fully_connected(30, depth=3, width=6, activation="relu")
    start = stacked_parameters(
        network,
        [0, 1, 2],
        root=0,
        stream="ensemble",
        scheme="uniform",
        variance=None,
        dtype=getattr(torch, precision),
    )
    keys = {"seeds": 3, "depth": 3, "width": 6, "activation": "relu", "epochs": 20}
    keys["precision"] = precision
    sound = train_ensemble(images, labels, parameters=[p.numpy() for p in start], **keys)
    broken = [p.clone() for p in start]
    for p in broken:
        p[1] *= 1e30 if precision == "float32" else 1e200
    found = train_ensemble(images, labels, parameters=[p.numpy() for p in broken], **keys)
    epoch = int(found.failed_epoch[1])
    assert 0 <= epoch <= 20
    assert np.isnan(found.loss[1, epoch:]).all()
    assert np.isfinite(found.loss[1, :epoch]).all()
    assert list(found.failed_epoch.values[[0, 2]]) == [-1, -1]
    for quantity in NAMES:
        np.testing.assert_array_equal(found[quantity][[0, 2]], sound[quantity][[0, 2]])


def test_checkpoints_of_a_diverged_network_are_nan():
    images, labels = make_images(7)
    network = fully_connected(30, depth=2, width=20, activation="tanh")
    start = [np.stack([v, v]) for v in initial_parameters(network, generator(0, "x", 0, "init"))]
    start[0][1] *= np.inf
    found = train_ensemble(images, labels, seeds=2, epochs=3, parameters=start, checkpoints=[0, 3])
    assert found.failed_epoch.values.tolist() == [-1, 0]
    for name in ("activations_1", "predictions", "weights"):
        assert np.isnan(found[name].sel(stored_seed=1)).all()
        assert np.isfinite(found[name].sel(stored_seed=0)).all()


RESUMED = [
    {},
    {"optimizer": "sgd", "batch_size": 32},
    {"optimizer": "sgd", "batch_size": 32, "updates_per_epoch": 3, "shared_init": True},
    {"momentum": 0.5},
    {"test_epochs": "last", "final_weights": True},
    {"network": convolutional, "kernel": 3, "width": 4},
]


@pytest.mark.parametrize("extra", RESUMED)
@pytest.mark.parametrize("stop", [1, 7, 12])
def test_resuming_gives_the_same_bits(tmp_path, extra, stop):
    images, labels = make_images(7, features=36)
    problem = make_problem(images, labels, images[:50], labels[:50], None, 3)
    settings = Settings(epochs=13, **extra)
    common = {"checkpoints": [0, 5, 13], "stored": [0, 2]}
    whole, _ = train_group(problem, [0, 1, 2], settings, **common)

    class Killed(Exception):
        pass

    def killer(epoch, error):
        if epoch == stop:
            raise Killed

    state = StateFile(tmp_path / "state.pt", "key", seconds=0)
    with pytest.raises(Killed):
        train_group(problem, [0, 1, 2], settings, state=state, progress=killer, **common)
    epochs = []
    resumed, _ = train_group(
        problem,
        [0, 1, 2],
        settings,
        state=state,
        progress=lambda epoch, error: epochs.append(epoch),
        **common,
    )
    assert epochs[0] == (stop if stop > 1 else epochs[0])
    assert sorted(whole) == sorted(resumed)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, resumed[name], err_msg=name)


def test_a_state_of_another_job_or_damaged_is_ignored(tmp_path, caplog):
    path = tmp_path / "state.pt"
    StateFile(path, "one").save({"epoch": 3})
    assert StateFile(path, "one").load() == {"epoch": 3}
    assert StateFile(path, "another").load() is None
    path.write_bytes(path.read_bytes()[:-40])
    assert StateFile(path, "one").load() is None
    assert "starting afresh" in caplog.text


def test_a_state_holding_code_is_not_run(tmp_path):
    import pickle

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    path = tmp_path / "state.pt"
    content = io.BytesIO()
    torch.save({"format": FORMAT, "key": "one", "state": Evil()}, content, pickle_module=pickle)
    path.write_bytes(DIGEST(content.getvalue()).digest() + content.getvalue())
    assert StateFile(path, "one").load() is None
    assert not (tmp_path / "touched").exists()


def test_parts_are_put_on_disk_together(tmp_path, monkeypatch):
    synced = waited_for(monkeypatch)
    parts = PartFiles(tmp_path, "record", "key")
    for number in (3, 1, 2):
        parts.write(number, {"x": torch.full((2,), float(number))})
    assert synced == []
    assert parts.complete([1, 2, 3])  # a job that is killed now leaves them
    parts.purge([1, 3])
    parts.sync()
    assert [path.name for path in synced] == ["record_1.pt", "record_3.pt"]
    parts.sync()
    assert len(synced) == 2
    again = PartFiles(tmp_path, "record", "key")
    assert torch.equal(again.read(3)["x"], torch.full((2,), 3.0))
    assert not again.complete([2, 3])
    StateFile(tmp_path / "epoch.pt", "key").save({"recorded": [1, 3]})
    assert len(synced) == 3


def test_parts_that_are_damaged_or_of_another_job_are_named(tmp_path):
    parts = PartFiles(tmp_path, "record", "key")
    parts.write(1, {"x": torch.zeros(2)})
    with pytest.raises(TrainingError, match=r"record_1\.pt is gone or damaged; delete the folder"):
        PartFiles(tmp_path, "record", "another").read(1)
    (tmp_path / "record_1.pt").write_bytes(b"0" * 100)
    with pytest.raises(TrainingError, match=r"record_1\.pt is gone or damaged"):
        parts.read(1)
    with pytest.raises(TrainingError, match=r"record_2\.pt is gone"):
        parts.read(2)
