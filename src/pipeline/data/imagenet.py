"""ImageNet from the user's own folder: lists of pictures, decoded one by one while they are needed.

The folder is ``imagenet/{train,val}/<class>/*.JPEG`` below the folder of all data, a class being named
like n01440764. Nothing is fetched, and pictures are never all held.

Source of the crops: Szegedy et al., CVPR 2015 (area and aspect ratio of random crops); Mao et al., PNAS
121(12), 2024, App. B.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from pipeline.data.files import Unavailable
from pipeline.data.pictures import PictureDataset, packed
from pipeline.data.sources import obtain
from pipeline.errors import DataError
from pipeline.seeds import generator

if TYPE_CHECKING:
    from PIL.Image import Image

FOLDER, SPLITS = "imagenet", ("train", "val")
SUFFIXES = (".jpeg", ".jpg")
MEAN, SD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's training pixels, over 255
AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)  # of random crops: share of the area, width over height
TRIES = 10
KEPT = 224 / 256  # share of the shorter side in the central crop
Pixels = NDArray[np.uint8]
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class PictureList:
    """Pictures of one split: their files, and their classes (pictures,), int64, numbers in ``names``."""

    files: tuple[Path, ...]
    labels: NDArray[np.int64]
    names: tuple[str, ...]


def imagenet(
    root: Path,
    *,
    seed: int = 0,
    side: int = 224,
    sources: Sequence[str] | None = None,
) -> PictureDataset:
    """ImageNet: names and classes of the pictures in the user's folder; its validation set is the test set.

    Training pictures lie there class by class: they are shuffled once, so that the first n are a random
    draw; so are those of validation.

    Arguments
    ---------
    root: the folder of all data. seed: of the orders. side: of what networks are given, in pixels.
    sources: which of folder, mirror, registry to try; only the folder has it.

    Raises MissingEverywhere where there is no such folder, DataError as ``imagenet_lists``.
    """
    root = Path(root)

    def read() -> tuple[PictureList, PictureList]:
        if lacking := [one for one in SPLITS if not (root / FOLDER / one).is_dir()]:
            raise Unavailable(f"{root / FOLDER} lacks {', '.join(lacking)}")
        return imagenet_lists(root)

    found = obtain("imagenet", root, FOLDER, read, {}, sources)
    names = [[one.relative_to(root).as_posix() for one in pictures.files] for pictures in found]
    width = max(len(name.encode()) for some in names for name in some)
    arrays: list[NDArray[Any]] = []
    for place, (some, pictures) in enumerate(zip(names, found, strict=True)):
        order = generator(seed, "imagenet", place, "data").permutation(len(some))
        arrays += [packed([some[at] for at in order], width), pictures.labels[order]]
    train, train_labels, test, test_labels = arrays
    origin = {"origin": "local folder", "seed": seed}
    shape = (side, side, 3)
    return PictureDataset("imagenet", train, train_labels, test, test_labels, shape, origin)


def imagenet_lists(root: Path | str) -> tuple[PictureList, PictureList]:
    """The training and the validation pictures, class by class, sorted by name.

    Arguments
    ---------
    root: the folder of all data.

    Classes are numbered in the order of the sorted names in train/. Raises DataError, naming the folder,
    where one is missing, is no class, or holds no picture, and where val/ has a class that train/ lacks.
    """
    folders = [Path(root) / FOLDER / split for split in SPLITS]
    names = _class_names(folders[0])
    unknown = sorted(set(_class_names(folders[1])) - set(names))
    if unknown:
        raise DataError(f"{folders[1]} holds {', '.join(unknown)}, which {folders[0]} lacks.")
    train = _listed(folders[0], names, names)
    return train, _listed(folders[1], names, _class_names(folders[1]))


def _class_names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(
            f"{folder} does not exist: it must hold one folder of JPEG files per class."
        )
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    for name in found:
        if not re.fullmatch(r"n[0-9]+", name):
            raise DataError(f"{folder / name} is no class; valid are names like n01440764.")
    if not found:
        raise DataError(f"{folder} holds no folders: it must hold one per class.")
    return found


def _listed(folder: Path, names: Sequence[str], there: Sequence[str]) -> PictureList:
    numbers = {name: number for number, name in enumerate(names)}
    files: list[Path] = []
    labels: list[int] = []
    for name in there:
        with os.scandir(folder / name) as entries:
            mine = sorted(one.name for one in entries if one.name.lower().endswith(SUFFIXES))
        if not mine:
            raise DataError(f"{folder / name} holds no picture ({', '.join(SUFFIXES)}).")
        files += [folder / name / one for one in mine]
        labels += [numbers[name]] * len(mine)
    return PictureList(tuple(files), np.array(labels, np.int64), tuple(names))


def random_crop(picture: Image, side: int, random: np.random.Generator) -> Pixels:
    """A random part of a picture at ``side`` x ``side`` pixels, mirrored half the time, (side, side, 3).

    The part has 8 % to 100 % of the area, uniform, and a width over height from 3/4 to 4/3, uniform in its
    logarithm; of 10 draws the first that fits counts, else the largest central part of a valid ratio.
    """
    found = _resized(picture, side, _random_box(*picture.size, random))
    return np.ascontiguousarray(found[:, ::-1]) if random.integers(2) else found


def _random_box(width: int, height: int, random: np.random.Generator) -> Box:
    for _ in range(TRIES):
        area = random.uniform(*AREA) * width * height
        ratio = math.exp(random.uniform(*np.log(RATIO)))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < w <= width and 0 < h <= height:
            left, top = int(random.integers(width - w + 1)), int(random.integers(height - h + 1))
            return left, top, left + w, top + h
    w, h = min(width, round(height * RATIO[1])), min(height, round(width / RATIO[0]))
    left, top = (width - w) // 2, (height - h) // 2
    return left, top, left + w, top + h


def central_crop(picture: Image, side: int) -> Pixels:
    """The central square of a picture, 224/256 of its shorter side, at ``side`` x ``side`` pixels."""
    width, height = picture.size
    part = KEPT * min(width, height)
    left, top = (width - part) / 2, (height - part) / 2
    return _resized(picture, side, (left, top, left + part, top + part))


def _resized(picture: Image, side: int, box: Box) -> Pixels:
    from PIL.Image import Resampling

    return np.asarray(picture.resize((side, side), Resampling.BILINEAR, box=box), np.uint8)


class Pictures(Dataset[tuple[Tensor, int, int]]):
    """Pictures as (pixels (side, side, 3) uint8, class, index), decoded when they are asked for.

    Central crops, or with ``augmented`` random ones, whose draws depend on (root seed, stream, seed,
    epoch, index) alone: not on the number of workers or the order.
    """

    def __init__(
        self, pictures: PictureList, side: int, augmented: tuple[int, str, int, int] | None = None
    ) -> None:
        self.pictures, self.side, self.augmented = pictures, side, augmented

    def __len__(self) -> int:
        return len(self.pictures.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        picture = _decoded(self.pictures.files[index])
        if self.augmented is None:
            pixels = central_crop(picture, self.side)
        else:
            root, stream, seed, epoch = self.augmented
            random = generator(root, stream, seed, "augmentation", epoch, index)
            pixels = random_crop(picture, self.side, random)
        return torch.from_numpy(pixels.copy()), int(self.pictures.labels[index]), index


def batches(
    pictures: Pictures, order: Sequence[int] | NDArray[np.int64], batch_size: int, workers: int = 0
) -> DataLoader[Any]:
    """Batches (pixels (batch, side, side, 3) uint8, classes, indices) of the pictures in an order.

    Arguments
    ---------
    order: indices, such as a permutation of an epoch; the last batch may be smaller. workers: processes
    that decode; 0: this one.
    """
    places = [int(one) for one in order]
    return DataLoader(pictures, batch_size, sampler=places, num_workers=workers)  # type: ignore[arg-type]


def standardised(pixels: Tensor) -> Tensor:
    """Pixels (batch, rows, columns, 3) uint8 as inputs (batch, 3, rows, columns) float32, channels last
    in memory, each channel with the training pixels' mean 0 and sd 1.
    """
    mean, sd = (torch.tensor(one, device=pixels.device) for one in (MEAN, SD))
    return ((pixels.float() / 255 - mean) / sd).permute(0, 3, 1, 2)


def _decoded(file: Path) -> Image:
    from PIL import Image

    try:
        with Image.open(
            file, formats=("JPEG", "PNG")
        ) as picture:  # one of the training files is a PNG
            return picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{file} cannot be read as a JPEG ({error}); fetch it again.") from error
