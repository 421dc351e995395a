"""One's own images: an npz file, or a folder of pictures sorted by class."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from pipeline.data.images import ImageDataset
from pipeline.errors import DataError

ARRAYS = ("train_images", "train_labels", "test_images", "test_labels")
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
MODES = {"grey": "L", "rgb": "RGB"}


def npz_dataset(root: Path, *, path: str, name: str | None = None) -> ImageDataset:
    """Arrays ``train_images``, ``train_labels``, ``test_images``, ``test_labels`` of one .npz file.

    Arguments
    ---------
    root, path: the file is ``root/path``, or ``path`` if that is absolute.
    name: of the data set (default: the file's name without its suffix).

    Images are uint8 (samples, rows, columns[, channels]), labels integers from 0 on. Nothing is
    unpickled. Raises DataError, naming the file, where it is missing, damaged or something else.
    """
    file = Path(root) / Path(path).expanduser()
    if not file.is_file():
        raise DataError(f"{file} does not exist: give the path of an .npz file, from data.root on.")
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            missing = [key for key in ARRAYS if key not in content]
            if missing:
                raise DataError(
                    f"{file} lacks {', '.join(missing)}; it must hold {', '.join(ARRAYS)}."
                )
            arrays = {key: content[key] for key in ARRAYS}
    except DataError:
        raise
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{file} cannot be read as an .npz file of plain arrays: {error}"
        ) from error
    return ImageDataset(name or file.stem, **arrays, provenance={"origin": f"npz file {file.name}"})


def image_folder(
    root: Path, *, path: str, name: str | None = None, colour: str = "grey"
) -> ImageDataset:
    """Pictures in ``path/train/<class>/`` and ``path/test/<class>/``, all of one size.

    Arguments
    ---------
    root, path: the folder is ``root/path``, or ``path`` if that is absolute.
    name: of the data set (default: the folder's name).
    colour: ``grey`` or ``rgb``: what every picture is converted to.

    Classes are numbered in the order of their sorted names in train/, pictures taken in the
    order of theirs. Raises DataError, naming the file or folder at fault.
    """
    folder = Path(root) / Path(path).expanduser()
    if colour not in MODES:
        raise DataError(f"{colour!r} is no colour; valid are: {', '.join(MODES)}.")
    classes = _classes(folder / "train")
    unknown = sorted(set(_classes(folder / "test")) - set(classes))
    if unknown:
        raise DataError(f"{folder / 'test'} holds {', '.join(unknown)}, which train/ lacks.")
    train = _read_split(folder / "train", classes, MODES[colour])
    test = _read_split(folder / "test", classes, MODES[colour])
    provenance = {"origin": f"image folder {folder.name}", "classes": classes}
    return ImageDataset(name or folder.name, *train, *test, provenance)


def _classes(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder} does not exist: it must hold one folder of pictures per class.")
    classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if not classes:
        raise DataError(f"{folder} holds no folders: it must hold one per class.")
    return classes


def _read_split(folder: Path, classes: list[str], mode: str) -> tuple[np.ndarray, np.ndarray]:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        directory = folder / name
        entries = directory.iterdir() if directory.is_dir() else iter(())
        for file in sorted(entry for entry in entries if entry.suffix.lower() in PICTURES):
            image = _read_picture(file, mode)
            if images and image.shape != images[0].shape:
                raise DataError(
                    f"{file} is {image.shape[0]} x {image.shape[1]} pixels and the pictures before "
                    f"it {images[0].shape[0]} x {images[0].shape[1]}; all must have one size."
                )
            images.append(image)
            labels.append(label)
    if not images:
        raise DataError(f"{folder} holds no pictures; known suffixes: {', '.join(PICTURES)}.")
    return np.stack(images), np.array(labels, dtype=np.int64)


def _read_picture(file: Path, mode: str) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as picture:
            return np.asarray(picture.convert(mode), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as a picture: {error}") from error
