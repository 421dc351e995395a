"""From a data store to the arrays that classifiers are trained and tested on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import DataError
from pipeline.store import manifest
from pipeline.store.reader import load_arrays


@dataclass(frozen=True)
class ClassArrays:
    """What a classifier is trained and tested on.

    train, test: float32, (samples, features), or (samples, channels, rows, columns) of images.
    train_classes, test_classes: int64, (samples,), true class numbers from 0 on.
    class_count: C, the classes of the whole data set.
    """

    train: NDArray[np.float32]
    test: NDArray[np.float32]
    train_classes: NDArray[np.int64]
    test_classes: NDArray[np.int64]
    class_count: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.train.shape[1:])


def classifier_arrays(run: Mapping[str, Any], folder: Path | str) -> ClassArrays:
    """The first ``samples`` training and ``test_samples`` test samples of a run.

    Images are scaled to [0, 1] and standardised per channel with the mean and standard deviation of
    these training samples (inferred: the paper states no preprocessing); vectors stay as they are.

    Arguments
    ---------
    run: resolved configuration, of which dataset, samples and test_samples are used (test_samples
        None: all). folder: of the data set's store.

    Raises DataError where the store holds fewer samples than asked for.
    """
    kind = "points" if "points" in manifest.read(folder)["arrays"] else "images"
    stored = load_arrays(folder, (kind, "labels", "split"))
    rows = []
    for split, key in ((0, "samples"), (1, "test_samples")):
        found = np.flatnonzero(stored["split"] == split)
        wanted = found.size if run[key] is None else int(run[key])
        if not 1 <= wanted <= found.size:
            raise DataError(
                f"{key} = {wanted} asked for, but {run['dataset']} holds {found.size}; "
                f"valid is 1 to {found.size}."
            )
        rows.append(found[:wanted])
    train, test = (stored[kind][chosen] for chosen in rows)
    train_classes, test_classes = (stored["labels"][chosen].astype(np.int64) for chosen in rows)
    if kind == "images":
        train, test = _standardised(train, test)
    return ClassArrays(
        np.ascontiguousarray(train, dtype=np.float32),
        np.ascontiguousarray(test, dtype=np.float32),
        train_classes,
        test_classes,
        class_count=int(stored["labels"].max()) + 1,
    )


def _standardised(
    train: NDArray[Any], test: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Images (samples, rows, columns[, channels]) uint8 as (samples, channels, rows, columns)."""
    train, test = (one[..., None] if one.ndim == 3 else one for one in (train, test))
    axes = (0, 1, 2)
    mean = (train.mean(axis=axes, dtype=np.float64) / 255).astype(np.float32)
    std = (train.std(axis=axes, dtype=np.float64) / 255).astype(np.float32)
    std = np.where(std > 0, std, np.float32(1))  # a channel that never changes becomes 0

    def scaled(images: NDArray[Any]) -> NDArray[np.float32]:
        values = (images.astype(np.float32) / 255 - mean) / std
        return np.moveaxis(values, 3, 1)

    return scaled(train), scaled(test)
