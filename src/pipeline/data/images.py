"""The form that data sets of images are loaded into; ``points`` has the one of vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

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

    kind: ClassVar[str] = "images"
    dims: ClassVar[tuple[str, ...]] = ("sample", "row", "column", "channel")

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_splits(self, _require_images)


def check_splits(dataset: Any, require_inputs: Callable[[str, np.ndarray], None]) -> None:
    """Check both splits of a new data set of either form, and make its labels int64.

    Arguments
    ---------
    dataset: with ``name``, ``kind``, ``train_<kind>``, ``train_labels`` and the same of ``test``.
    require_inputs: function of a description and an array that raises DataError unless dtype and
        dimensions are those of the form.
    """
    name, kind = dataset.name, dataset.kind
    for split in ("train", "test"):
        inputs = np.asarray(getattr(dataset, f"{split}_{kind}"))
        labels = np.asarray(getattr(dataset, f"{split}_labels"))
        require_inputs(f"{name}: {split}_{kind}", inputs)
        _require_labels(name, split, labels)
        if len(inputs) != len(labels):
            raise DataError(
                f"{name}: {len(inputs)} {split}_{kind} but {len(labels)} {split}_labels."
            )
        if inputs.size == 0:
            raise DataError(f"{name}: there are no {split} {kind}; at least one is needed.")
        if labels.min() < 0:
            raise DataError(f"{name}: {split}_labels hold {labels.min()}; classes count from 0.")
        object.__setattr__(dataset, f"{split}_{kind}", inputs)
        object.__setattr__(dataset, f"{split}_labels", labels.astype(np.int64))
    train, test = (getattr(dataset, f"{split}_{kind}").shape[1:] for split in ("train", "test"))
    if train != test:
        raise DataError(
            f"{name}: training {kind} are {_shape(train)} and test {kind} {_shape(test)}; "
            "both must have the same size."
        )


def _require_images(what: str, images: np.ndarray) -> None:
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{what} are {images.dtype} of {images.ndim} dimensions; valid are "
            "uint8 (samples, rows, columns) or (samples, rows, columns, channels)."
        )


def _require_labels(name: str, split: str, labels: np.ndarray) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{name}: {split}_labels are {labels.dtype} of {labels.ndim} dimensions; "
            "valid are integers (samples,)."
        )


def _shape(lengths: tuple[int, ...]) -> str:
    return " x ".join(str(length) for length in lengths)
