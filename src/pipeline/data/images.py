"""The one form that every data set is loaded into."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pipeline.errors import DataError


@dataclass(frozen=True)
class ImageDataset:
    """Images and class numbers of one data set, in their published order.

    Attributes
    ----------
    name: the name under which results are reported (a substitution is part of the name).
    train_images, test_images: uint8, (samples, rows, columns) or (..., columns, channels).
    train_labels, test_labels: int64, (samples,), class numbers from 0 on.
    provenance: JSON-able facts on the origin; the same whichever source the files came through.

    Raises DataError where shapes, dtypes or label values are others.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for split in ("train", "test"):
            images = np.asarray(getattr(self, f"{split}_images"))
            labels = np.asarray(getattr(self, f"{split}_labels"))
            _check_split(self.name, split, images, labels)
            object.__setattr__(self, f"{split}_images", images)
            object.__setattr__(self, f"{split}_labels", labels.astype(np.int64))
        if self.train_images.shape[1:] != self.test_images.shape[1:]:
            raise DataError(
                f"{self.name}: training images are {_shape(self.train_images)} and test images "
                f"{_shape(self.test_images)}; both must have the same size."
            )


def _check_split(name: str, split: str, images: np.ndarray, labels: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{name}: {split}_images are {images.dtype} of {images.ndim} dimensions; valid are "
            "uint8 (samples, rows, columns) or (samples, rows, columns, channels)."
        )
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{name}: {split}_labels are {labels.dtype} of {labels.ndim} dimensions; "
            "valid are integers (samples,)."
        )
    if len(images) != len(labels):
        raise DataError(f"{name}: {len(images)} {split}_images but {len(labels)} {split}_labels.")
    if images.size == 0:
        raise DataError(f"{name}: there are no {split} images; at least one is needed.")
    if labels.min() < 0:
        raise DataError(f"{name}: {split}_labels hold {labels.min()}; classes count from 0.")


def _shape(images: np.ndarray) -> str:
    return " x ".join(str(length) for length in images.shape[1:])
