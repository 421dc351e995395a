"""Predictors that are trained on files of pictures: a small folder of JPEGs, from data to store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from test_predictors import parameters

from pipeline.data.datasets import prepare
from pipeline.data.pictures import PictureDataset, packed, unpacked
from pipeline.data.status import data_status
from pipeline.errors import ConfigError, DataError, PipelineError, TrainingError
from pipeline.predictors import train
from pipeline.predictors.run import train_run
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

CLASSES, TRAIN, TEST, SIDE = 3, 8, 4, 32  # pictures per class
ENTRY = {"loader": "pipeline.data.imagenet:imagenet", "options": {"side": SIDE}, "optional": True}
RUN: dict[str, Any] = {
    "builder": "pipeline.models.imagenet:imagenet_resnet18",
    "dataset": "imagenet",
    "samples": CLASSES * TRAIN,
    "width": 0.125,
    "batch_size": 4,
    "epochs": 7,
    "annealing": "linear",
    "augmentation": "random_crop",
    "statistics_samples": 8,
    "records": "authors",
    "record_samples": 10,
    "told_probability": 0.9,
    "normalisation_decay": False,
    "sides": [[0, 32], [3, 48]],
    "seeds": 2,
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder imagenet/{train,val}/<class>/*.JPEG of small coloured noise."""
    folder, random = tmp_path_factory.mktemp("root"), np.random.default_rng(0)
    for split, count in (("train", TRAIN), ("val", TEST)):
        for number in range(CLASSES):
            place = folder / "imagenet" / split / f"n0000000{number}"
            place.mkdir(parents=True)
            for picture in range(count):
                pixels = random.integers(0, 120, (40, 50, 3), np.uint8)
                pixels[..., number] += 130
                Image.fromarray(pixels).save(place / f"{picture}.JPEG", quality=95)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    dataset = prepare(ENTRY, root, ["folder"])
    dataset.attrs.pop("origin")
    folder = tmp_path_factory.mktemp("data") / "imagenet"
    write_dataset(dataset, folder, {"config": {}, "code": "test"})
    return folder


def trained(folder: Path, data: Path, root: Path, **changes: Any) -> xr.Dataset:
    settings = parameters(**{**RUN, **changes})
    train_run(settings, data, folder, folder / "state", code="code", root=root)
    return open_store(folder, lazy=False)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, data: Path, root: Path) -> xr.Dataset:
    return trained(tmp_path_factory.mktemp("run"), data, root)


def test_an_entry_that_says_otherwise_of_its_files_is_refused(root: Path) -> None:
    assert prepare({**ENTRY, "in_place": True}, root, ["folder"])
    with pytest.raises(ConfigError, match="states in_place: False, but imagenet has True: correct"):
        prepare({**ENTRY, "in_place": False}, root, ["folder"])
    with pytest.raises(ConfigError, match=r"in_place is 'no' .*valid are true and false"):
        prepare({**ENTRY, "in_place": "no"}, root, ["folder"])


def test_the_data_store_holds_names_in_a_random_order(data: Path, root: Path) -> None:
    stored = open_store(data, lazy=False)
    names, labels = unpacked(stored["pictures"].values), stored["labels"].values
    assert all((root / name).is_file() for name in names)
    assert [int(Path(name).parent.name[-1]) for name in names] == labels.tolist()
    assert stored["split"].values.tolist() == [0] * CLASSES * TRAIN + [1] * CLASSES * TEST
    assert len(set(labels[:TRAIN].tolist())) > 1
    assert (data_status(data).status, stored.attrs["shape"]) == ("complete", [SIDE, SIDE, 3])


def test_a_network_learns_them_and_is_recorded(found: xr.Dataset, data: Path) -> None:
    stored = open_store(data, lazy=False)["labels"].values
    assert found.sizes["train_sample"] == 10
    assert found.sizes["test_sample"] == CLASSES * TEST
    np.testing.assert_array_equal(found["train_labels"], stored[:10])
    p = np.square(found["test_root_probabilities"].values, dtype=float)
    np.testing.assert_allclose(p.sum(axis=2), 1, atol=1e-5)
    right = p.argmax(axis=2) == found["test_labels"].values
    ends = [np.flatnonzero(found["model_seed"].values == seed)[-1] for seed in (0, 1)]
    assert right[ends].mean() > 0.8  # classes differ by their colour


def test_a_killed_job_continues_to_the_same_bits(
    tmp_path: Path, data: Path, root: Path, found: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = train._train_epoch, []

    def stopping(*arguments: Any) -> float:
        error = real(*arguments)
        done.append(1)
        if len(done) == 4:
            raise KeyboardInterrupt
        return error

    settings = parameters(**RUN)
    place = (settings, data, tmp_path / "run", tmp_path / "state")
    with monkeypatch.context() as patched:
        patched.setattr(train, "_train_epoch", stopping)
        with pytest.raises(KeyboardInterrupt):
            train_run(*place, code="code", state_seconds=0, root=root)
    train_run(*place, code="code", root=root)
    again = open_store(tmp_path / "run", lazy=False)
    xr.testing.assert_identical(again.drop_attrs(), found.drop_attrs())


def test_mixtures_and_random_labellings_change_what_is_learnt(
    tmp_path: Path, data: Path, root: Path
) -> None:
    short = {"epochs": 1, "seeds": 1}
    runs = [
        trained(tmp_path / str(k), data, root, **short, **changes)
        for k, changes in enumerate(
            ({}, {"mixup": 0.4}, {"labelling": 1}, {"augmentation": "none"})
        )
    ]
    last = [one["test_log_likelihood"].values[-1] for one in runs]
    first = [one["test_log_likelihood"].values[0] for one in runs]
    for k in range(1, 4):
        np.testing.assert_array_equal(first[k], first[0])
        assert not np.allclose(last[k], last[0])


def test_what_does_not_go_with_files_is_refused(tmp_path: Path, data: Path, root: Path) -> None:
    with pytest.raises(DataError, match="needs the folder of all data"):
        train_run(parameters(**RUN), data, tmp_path / "a", tmp_path / "s", code="c")
    with pytest.raises(DataError, match="augmentation is none or random_crop"):
        trained(tmp_path / "b", data, root, augmentation="crop_flip")
    with pytest.raises(DataError, match="samples = 25 asked for, but imagenet holds 24"):
        trained(tmp_path / "c", data, root, samples=25)
    with pytest.raises(TrainingError, match="told_probability must be a finite number above 0"):
        trained(tmp_path / "d", data, root, told_probability=0.0)


def test_without_the_folder_there_is_a_reason(tmp_path: Path) -> None:
    dataset = prepare(ENTRY, tmp_path, ["folder"])
    assert dataset.attrs["status"] == "unavailable"
    assert "put its files into imagenet below data.root" in dataset.attrs["reason"]


def test_names_are_kept_whole() -> None:
    names = ["a/b.JPEG", "é.jpg", "x"]
    assert unpacked(packed(names, 12)) == names
    arrays = (packed(names, 12), np.arange(3)) * 2
    with pytest.raises(PipelineError, match="valid are uint8"):
        PictureDataset("made_up", arrays[0].astype(int), *arrays[1:], (8, 8, 3))
