"""Samples that are picture files: decoded batch by batch, augmented while they are, never all held."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.imagenet import PictureList, Pictures, standardised
from pipeline.data.imagenet import batches as decoded
from pipeline.data.pictures import unpacked
from pipeline.errors import DataError
from pipeline.predictors.imagenet_schedules import side_at
from pipeline.predictors.samples import Batches, learnt_labels
from pipeline.predictors.settings import Settings
from pipeline.store import manifest
from pipeline.store.reader import load_arrays

EVALUATED = 100  # pictures evaluated at a time


@dataclass(frozen=True)
class PictureSamples:
    """Pictures of a folder.

    train, test: lists of pictures with their true classes; learnt: the former with the labels that are
    learnt; side: of recorded pictures, pixels; outputs: number of classes.
    """

    train: PictureList
    test: PictureList
    learnt: PictureList
    side: int
    outputs: int
    device: str
    dtype: torch.dtype
    workers: int

    @property
    def size(self) -> int:
        return len(self.train.files)

    @property
    def shape(self) -> tuple[int, ...]:
        return (3, self.side, self.side)

    def epoch(
        self, order: NDArray[np.int64], settings: Settings, seed: int, epoch: int, noise: int
    ) -> Batches:
        side = self.side if settings.sides is None else side_at(epoch, settings.sides)
        name = (settings.root_seed, settings.stream, seed, epoch)
        random = None if settings.augmentation == "none" else name
        yield from self._batches(Pictures(self.learnt, side, random), order, settings.batch_size)

    def recorded(self, split: str, settings: Settings, noise: int) -> Batches:
        pictures = self.test if split == "test" else self.train
        order = np.arange(len(self.recorded_classes(split, settings)))
        yield from self._batches(Pictures(pictures, self.side), order, EVALUATED)

    def recorded_classes(self, split: str, settings: Settings) -> NDArray[np.int64]:
        return self.test.labels if split == "test" else self.train.labels[: settings.record_samples]

    def first(self, count: int) -> Tensor:
        order = np.arange(min(count, self.size))
        return torch.cat(
            [x for x, _ in self._batches(Pictures(self.train, self.side), order, EVALUATED)]
        )

    def _batches(self, pictures: Pictures, order: NDArray[np.int64], size: int) -> Batches:
        for pixels, classes, _ in decoded(pictures, order, size, self.workers):
            x = standardised(pixels.to(self.device)).to(self.dtype)
            yield x, classes.to(self.device)


def picture_samples(
    run: dict[str, Any],
    settings: Settings,
    data_folder: Path,
    root: Path | None,
    device: str,
) -> PictureSamples:
    """The first ``samples`` training and ``test_samples`` test pictures of a run.

    Arguments
    ---------
    data_folder: the data set's store, which holds names; root: the folder of all data, where they are.

    Raises DataError where root is not given, and where there are fewer pictures than asked for.
    """
    if root is None:
        raise DataError(f"run {run['name']} is trained on files and needs the folder of all data.")
    stored = load_arrays(data_folder, ("pictures", "labels", "split"))
    lists = []
    for split, key in ((0, "samples"), (1, "test_samples")):
        found = np.flatnonzero(stored["split"] == split)
        wanted = found.size if run[key] is None else int(run[key])
        if not 1 <= wanted <= found.size:
            raise DataError(
                f"{key} = {wanted} asked for, but {run['dataset']} holds {found.size}; valid is 1 to "
                f"{found.size}."
            )
        files = tuple(root / name for name in unpacked(stored["pictures"][found[:wanted]]))
        labels = stored["labels"][found[:wanted]].astype(np.int64)
        lists.append(PictureList(files, labels, ()))
    if settings.augmentation == "crop_flip" or settings.record_augmented:
        raise DataError(
            f"run {run['name']} is trained on files, whose augmentation is none or random_crop, and "
            "which are recorded as they are."
        )
    train, test = lists
    outputs, side = (
        int(stored["labels"].max()) + 1,
        int(manifest.read(data_folder)["attrs"]["shape"][0]),
    )
    labels = learnt_labels(train.labels, outputs, settings.labelling, settings.root_seed)
    learnt = PictureList(train.files, labels, ())
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    workers = settings.threads if settings.threads > 1 else 0
    return PictureSamples(train, test, learnt, side, outputs, device, dtype, workers)
