"""Tiny ImageNet: from the user's own folder of pictures, as its archive unpacks."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.data.files import Unavailable
from pipeline.data.images import ImageDataset
from pipeline.data.published import TINY_IMAGENET, TINY_IMAGENET_LISTS
from pipeline.data.sources import obtain
from pipeline.errors import DataError
from pipeline.seeds import generator

SIZE = 64
SUFFIX = ".JPEG"
NEEDED = (*TINY_IMAGENET_LISTS, "train", "val/images")
REMEDY = "unpack the archive tiny-imagenet-200.zip again"

Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def tiny_imagenet(
    root: Path, *, seed: int = 0, sources: Sequence[str] | None = None
) -> ImageDataset:
    """Tiny ImageNet: 100,000 + 10,000 photographs of 200 classes, 64 x 64 x 3.

    Read from ``tiny-imagenet-200`` below the folder of all data (which may be a link; nothing in it
    may): ``wnids.txt``, ``train/<class>/images/*.JPEG``, ``val/images/*.JPEG`` and
    ``val/val_annotations.txt``. Nothing is fetched, and no checksum is published.

    Classes are numbered in the order of wnids.txt. The validation set, in the order of its
    annotations, is the test set (the labels of ``test`` are not published). Training pictures lie
    there class by class: they are shuffled once, so that the first n are a random draw. Grey
    pictures become RGB. Decoded values may differ by one between versions of the JPEG library.

    Arguments
    ---------
    root: the folder of all data.
    seed: of the order of the training pictures.
    sources: which of folder, mirror, registry to try; only the folder has it.

    Raises MissingEverywhere where there is no such folder or it lacks one of its parts; DataError,
    naming the file, where lists and pictures disagree, or a file is a link or no picture.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise DataError(f"tiny_imagenet: seed is {seed!r}; valid are whole numbers from 0 on.")
    root = Path(root)
    read = partial(_read, root / TINY_IMAGENET, seed)
    train, test = obtain("tiny_imagenet", root, TINY_IMAGENET, read, {}, sources)
    provenance: dict[str, Any] = {"origin": "local folder", "seed": seed}
    return ImageDataset("tiny_imagenet", *train, *test, provenance)


def _read(folder: Path, seed: int) -> tuple[Split, Split]:
    lacking = [part for part in NEEDED if not (folder / part).exists()]
    if lacking:
        raise Unavailable(f"{folder} lacks {', '.join(lacking)}")
    numbers = {name: number for number, name in enumerate(_class_names(folder / "wnids.txt"))}
    train = _train_files(folder, numbers)
    order = generator(seed, "tiny_imagenet", 0, "data").permutation(len(train))
    test = _test_files(folder, numbers)
    return _decode([train[at] for at in order]), _decode(test)


def _class_names(path: Path) -> list[str]:
    names = _lines(path)
    for name in names:
        if not re.fullmatch(r"n[0-9]+", name):
            raise DataError(
                f"{path} names the class {name!r}; valid are names like n01443537: {REMEDY}."
            )
    if not names or len(set(names)) < len(names):
        what = "names a class twice" if names else "names no class"
        raise DataError(f"{path} {what}: {REMEDY}.")
    return names


def _train_files(folder: Path, numbers: Mapping[str, int]) -> list[tuple[Path, int]]:
    """The training pictures and their class numbers, class by class."""
    found = {name: _pictures(folder, "train", name, "images") for name in numbers}
    most = max(len(files) for files in found.values())
    for name, files in found.items():
        if len(files) < max(most, 1):
            raise DataError(
                f"{folder / 'train' / name / 'images'} holds {len(files)} pictures (*{SUFFIX}), "
                f"and other classes up to {most}; all must have as many: {REMEDY}."
            )
    return [(file, numbers[name]) for name, files in found.items() for file in files]


def _test_files(folder: Path, numbers: Mapping[str, int]) -> list[tuple[Path, int]]:
    """The validation pictures and their class numbers, in the order of the annotations."""
    files = {file.name: file for file in _pictures(folder, "val", "images")}
    lists = folder / "val" / "val_annotations.txt"
    chosen: dict[str, int] = {}
    for number, line in enumerate(_lines(lists), start=1):
        name, class_name = (*line.split("\t"), "", "")[:2]
        if name not in files or class_name not in numbers or name in chosen:
            raise DataError(
                f"line {number} of {lists} gives the picture {name!r} the class {class_name!r}; "
                f"valid are a picture of val/images, once, and a class of wnids.txt, "
                f"separated by a tab: {REMEDY}."
            )
        chosen[name] = numbers[class_name]
    without = sorted(set(files) - set(chosen))
    if without or not chosen:
        raise DataError(
            f"{lists} gives no class to {without[0] if without else 'any picture'}: {REMEDY}."
        )
    return [(files[name], number) for name, number in chosen.items()]


def _pictures(folder: Path, *parts: str) -> list[Path]:
    """The pictures in a folder below ``folder``, sorted by name; nothing is reached through a link."""
    for part in parts:
        folder = folder / part
        if folder.is_symlink() or not folder.is_dir():
            raise DataError(f"{folder} is no folder, or a link to one: {REMEDY}.")
    with os.scandir(folder) as entries:
        chosen = [entry for entry in entries if entry.name.endswith(SUFFIX)]
    for entry in chosen:
        if not entry.is_file(follow_symlinks=False):
            raise DataError(f"{entry.path} is a link or no file; put the picture itself there.")
    return sorted(folder / entry.name for entry in chosen)


def _lines(path: Path) -> list[str]:
    if path.is_symlink() or not path.is_file():
        raise DataError(f"{path} is a link or no file: {REMEDY}.")
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text ({error}): {REMEDY}.") from error


def _decode(files: Sequence[tuple[Path, int]]) -> Split:
    """Pictures (samples, 64, 64, 3) and class numbers (samples,) of ``files``, in their order."""
    from PIL import Image

    images = np.empty((len(files), SIZE, SIZE, 3), np.uint8)
    for at, (file, _) in enumerate(files):
        try:
            with Image.open(file, formats=("JPEG",)) as picture:
                size = picture.size
                if size == (SIZE, SIZE):
                    images[at] = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file} cannot be read as a JPEG ({error}): {REMEDY}.") from error
        if size != (SIZE, SIZE):
            raise DataError(
                f"{file} has {size[1]} x {size[0]} pixels; valid are {SIZE} x {SIZE}: {REMEDY}."
            )
    return images, np.array([number for _, number in files], np.int64)
