"""Optional data sets: complete, substituted or unavailable, never failed and never silent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_data_script
import test_data_sources as published_files

from pipeline.data import datasets, idx, mirrors
from pipeline.data.files import MissingEverywhere, Unavailable
from pipeline.data.local import PUBLISHED_FILES, local_files
from pipeline.data.published import TEST, TRAIN, IdxSet, missing_files
from pipeline.data.status import DataStatus, data_status
from pipeline.errors import ConfigError, DataError, StoreError
from pipeline.store import manifest
from pipeline.store.reader import open_store, verify
from pipeline.store.writer import write_dataset

TRAIN_SAMPLES, TEST_SAMPLES = 6, 8200  # of the made-up set; the substitute trains on 8192
ENTRY: dict[str, Any] = {
    "loader": "pipeline.data.idx:kmnist",
    "samples": {"train": TRAIN_SAMPLES, "test": TEST_SAMPLES},
    "shape": [2, 1],
    "optional": True,
}
PLACE = "KMNIST/raw"
STAND_IN = "the published test images, divided into training and test set"


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(11)
    sizes = {TRAIN: TRAIN_SAMPLES, TEST: TEST_SAMPLES}
    return {
        file: random.integers(0, 10, shape, dtype=np.uint8)
        for files, size in sizes.items()
        for file, shape in zip(files, ((size, 2, 1), (size,)), strict=True)
    }


@pytest.fixture
def kmnist(arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> IdxSet:
    """A made-up set in KMNIST's place, its mirror dead."""
    import hashlib

    contents = {
        file: published_files.packed(published_files.idx_bytes(a)) for file, a in arrays.items()
    }
    made_up = IdxSet(
        name="kmnist",
        torchvision_class="KMNIST",
        md5={f: hashlib.md5(c, usedforsecurity=False).hexdigest() for f, c in contents.items()},
        sha256={f: hashlib.sha256(arrays[f].tobytes()).hexdigest() for f in TEST},
        substitute="kmnist_test_as_train",
    )

    def dead(url: str, *_: object) -> None:
        raise Unavailable(f"{url}: no answer in 4 s")

    monkeypatch.setattr(idx, "KMNIST", made_up)
    monkeypatch.setattr(idx, "download", dead)
    monkeypatch.setattr(idx, "torchvision_attribute", lambda *_: ["http://dead/"])
    return made_up


def place(root: Path, arrays: dict[str, np.ndarray], *files: str) -> Path:
    chosen = {file: arrays[file] for file in files}
    return published_files.place(root / PLACE, chosen, gz=True)


def stored(folder: Path, entry: dict[str, Any], root: Path) -> DataStatus:
    """The status of what ``prepare`` gives, once through a store that is whole."""
    write_dataset(datasets.prepare(entry, root), folder, {})
    assert verify(folder) == []
    return data_status(folder)


# --- the three statuses -------------------------------------------------------------------------


def test_complete(tmp_path: Path, kmnist: IdxSet, arrays: dict[str, np.ndarray]) -> None:
    place(tmp_path, arrays, *TRAIN, *TEST)
    status = stored(tmp_path / "store", ENTRY, tmp_path)
    assert status == DataStatus("complete", "", TRAIN_SAMPLES, TEST_SAMPLES)
    found = open_store(tmp_path / "store", lazy=False)
    np.testing.assert_array_equal(found["images"][:TRAIN_SAMPLES], arrays[TRAIN[0]])


def test_complete_form_is_still_held_against_the_entry(
    tmp_path: Path, kmnist: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    place(tmp_path, arrays, *TRAIN, *TEST)
    with pytest.raises(ConfigError, match="states samples"):
        datasets.prepare({**ENTRY, "samples": {"train": 8192, "test": 8}}, tmp_path)


def test_substituted(
    tmp_path: Path,
    kmnist: IdxSet,
    arrays: dict[str, np.ndarray],
    caplog: pytest.LogCaptureFixture,
) -> None:
    place(tmp_path, arrays, *TEST)
    status = stored(tmp_path / "store", ENTRY, tmp_path)
    sentence = (
        "kmnist_test_as_train stands in for kmnist, which was not found in any source: "
        f"8192 training and 8 test samples ({STAND_IN})."
    )
    assert status == DataStatus("substituted", sentence, 8192, 8)
    assert sentence in caplog.text
    found = open_store(tmp_path / "store", lazy=False)
    assert found.attrs["name"] == "kmnist_test_as_train"
    np.testing.assert_array_equal(found["images"], arrays[TEST[0]])
    np.testing.assert_array_equal(found["labels"], arrays[TEST[1]])
    assert found["split"].values.tolist() == [0] * 8192 + [1] * 8
    with pytest.raises(ConfigError, match=r"states shape: \[3, 3\]"):
        datasets.prepare({**ENTRY, "shape": [3, 3]}, tmp_path)


@pytest.mark.parametrize("present", [(), TRAIN, TEST[:1]])
def test_unavailable(
    tmp_path: Path,
    kmnist: IdxSet,
    arrays: dict[str, np.ndarray],
    present: tuple[str, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    place(tmp_path, arrays, *present)
    status = stored(tmp_path / "store", ENTRY, tmp_path)
    assert (status.status, status.train_samples, status.test_samples) == ("unavailable", 0, 0)
    assert status.reason.startswith(
        "kmnist was not found in any source (tried: folder, mirror, registry): put its files "
        f"into {PLACE} below data.root and run again"
    )
    assert "no answer in 4 s" in caplog.text
    found = open_store(tmp_path / "store")
    assert dict(found.variables) == {}
    assert found.attrs["name"] == "kmnist"
    assert manifest.read(tmp_path / "store")["arrays"] == {}


def test_unavailable_is_the_same_wherever_and_whatever_was_answered(
    tmp_path: Path, kmnist: IdxSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store's attributes get into a manifest, which holds no paths and no circumstances."""
    first = datasets.prepare(ENTRY, tmp_path / "one").attrs

    def refused(url: str, *_: object) -> None:
        raise Unavailable(f"{url}: connection refused")

    monkeypatch.setattr(idx, "download", refused)
    second = datasets.prepare(ENTRY, tmp_path / "two").attrs
    assert "no answer in 4 s" in first.pop("origin")["answers"]
    assert "connection refused" in second.pop("origin")["answers"]
    assert first == second


def test_script_stores_what_is_unavailable(tmp_path: Path, kmnist: IdxSet) -> None:
    import json
    import runpy

    folder = tmp_path / "results"
    call = test_data_script.fake_snakemake(folder, ENTRY, tmp_path)
    runpy.run_path(str(test_data_script.SCRIPT))["main"](call)
    assert data_status(folder).status == "unavailable"
    assert "origin" not in open_store(folder).attrs
    written = json.loads((folder / "store" / "provenance.json").read_text())
    assert "kmnist was not found" in written["origin"]["answers"]


@pytest.mark.parametrize("optional", [False, None])
def test_what_is_not_optional_fails(tmp_path: Path, kmnist: IdxSet, optional: bool | None) -> None:
    entry = {key: value for key, value in ENTRY.items() if key != "optional"}
    if optional is not None:
        entry["optional"] = optional
    with pytest.raises(MissingEverywhere, match="or take kmnist_test_as_train"):
        datasets.prepare(entry, tmp_path)


def test_optional_is_true_or_false(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"optional is 'no' .*valid are true and false"):
        datasets.prepare({**ENTRY, "optional": "no"}, tmp_path)


# --- errors that stay errors --------------------------------------------------------------------


@pytest.mark.parametrize("file", TRAIN + TEST)
@pytest.mark.parametrize("alone", [False, True])
def test_altered_file_is_never_passed_over(
    tmp_path: Path, kmnist: IdxSet, arrays: dict[str, np.ndarray], file: str, alone: bool
) -> None:
    """Also where the other files are missing, so that the set is not complete anyway."""
    folder = place(tmp_path, arrays, *([file] if alone else TRAIN + TEST))
    path = folder / f"{file}.gz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=rf"{file}\.gz is altered or truncated"):
        datasets.prepare(ENTRY, tmp_path)


def test_read_only_root_is_no_failure_of_an_optional_set(
    tmp_path: Path, kmnist: IdxSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staging(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(idx, "staging", staging)
    found = datasets.prepare(ENTRY, tmp_path)
    assert found.attrs["status"] == "unavailable"
    assert f"mirror: {tmp_path / PLACE}: Permission denied" in found.attrs["origin"]["answers"]


def test_full_disk_is_an_error(
    tmp_path: Path, kmnist: IdxSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def staging(folder: Path) -> None:
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(idx, "staging", staging)
    with pytest.raises(DataError, match=r"cannot be read or written .No space left"):
        datasets.prepare(ENTRY, tmp_path)


def test_dead_mirror_is_asked_for_two_files_at_most(
    tmp_path: Path, kmnist: IdxSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One wait for the set and one for its substitute, each bounded by mirrors.ANSWER_SECONDS."""
    asked: list[str] = []

    def dead(url: str, *_: object) -> None:
        asked.append(url)
        raise Unavailable("no answer")

    monkeypatch.setattr(idx, "download", dead)
    datasets.prepare(ENTRY, tmp_path)
    assert asked == [f"http://dead/{TRAIN[0]}.gz", f"http://dead/{TEST[0]}.gz"]
    assert mirrors.ANSWER_SECONDS * len(asked) < 10


# --- reading the status -------------------------------------------------------------------------


@pytest.mark.parametrize("attrs", [{}, {"status": "half"}, {"status": "substituted"}])
def test_store_without_a_status(tmp_path: Path, attrs: dict[str, str]) -> None:
    import xarray as xr

    counts = {"train_samples": 1, "test_samples": 1}
    write_dataset(xr.Dataset(attrs={**attrs, **counts}), tmp_path, {})
    with pytest.raises(StoreError, match=r"does not say .* snakemake --cores all"):
        data_status(tmp_path)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        data_status(tmp_path)


def test_damage_of_a_store_without_arrays_is_noticed(tmp_path: Path, kmnist: IdxSet) -> None:
    folder = tmp_path / "store"
    stored(folder, ENTRY, tmp_path)
    (manifest.zarr_path(folder) / "zarr.json").unlink()
    assert "zarr.json is missing" in verify(folder)[0]
    with pytest.raises(StoreError, match="is not whole"):
        open_store(folder)


# --- local files --------------------------------------------------------------------------------


def test_local_files_notice_what_is_put_there(
    tmp_path: Path, arrays: dict[str, np.ndarray]
) -> None:
    assert local_files(ENTRY, tmp_path / "nowhere") == []
    place(tmp_path, arrays, *TEST)
    assert local_files(ENTRY, tmp_path) == list(TEST)
    published_files.place(tmp_path / PLACE, {TRAIN[1]: arrays[TRAIN[1]]}, gz=False)
    (tmp_path / PLACE / "origin.json").write_text("{}")
    assert local_files(ENTRY, str(tmp_path)) == [TRAIN[1], *TEST]


def test_every_published_loader_has_its_files_listed(tmp_path: Path) -> None:
    made_up = {datasets.LOADERS[name] for name in ("generated", "generated_colour", "spheres")}
    assert set(PUBLISHED_FILES) == set(datasets.LOADERS.values()) - made_up
    for loader in made_up:
        assert local_files({"loader": loader}, tmp_path) == []


def test_asking_imports_no_heavy_package() -> None:
    code = (
        "import sys; from pipeline.data import local, status\n"
        "heavy = {'torch', 'torchvision', 'sklearn', 'xarray', 'zarr', 'dask'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_folder_out_of_reach_has_no_files() -> None:
    assert missing_files(Path("long" * 80), ["one", "two"]) == ["one", "two"]
