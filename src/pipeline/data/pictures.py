"""The form that data sets of picture files are loaded into: names and labels; the files stay in place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipeline.data.images import check_splits
from pipeline.errors import DataError
from pipeline.store.variables import register


def _register_all() -> None:
    name = "name of the picture's file below the folder of all data, UTF-8, zeros after its end"
    register("pictures", ("sample", "byte"), "uint8", name)


_register_all()


@dataclass(frozen=True)
class PictureDataset:
    """Names of picture files and class numbers of one data set.

    Attributes
    ----------
    name: the name under which results are reported.
    train_pictures, test_pictures: uint8, (samples, bytes), as ``packed`` makes them.
    train_labels, test_labels: int64, (samples,), class numbers from 0 on.
    shape: (rows, columns, channels) of what networks are given.
    provenance: JSON-able facts on the origin.

    Raises DataError where shapes, dtypes or values are others.
    """

    kind: ClassVar[str] = "pictures"
    dims: ClassVar[tuple[str, ...]] = ("sample", "byte")

    name: str
    train_pictures: np.ndarray
    train_labels: np.ndarray
    test_pictures: np.ndarray
    test_labels: np.ndarray
    shape: tuple[int, int, int]
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_splits(self, _require_names)


def packed(names: Sequence[str], width: int) -> NDArray[np.uint8]:
    """Names as (names, width) bytes."""
    found = np.zeros((len(names), width), np.uint8)
    for row, name in zip(found, names, strict=True):
        content = name.encode()
        row[: len(content)] = np.frombuffer(content, np.uint8)
    return found


def unpacked(values: NDArray[np.uint8]) -> list[str]:
    """The names that ``packed`` made (names, width) bytes of."""
    return [row.tobytes().rstrip(b"\0").decode() for row in values]


def _require_names(what: str, values: np.ndarray) -> None:
    if values.dtype != np.uint8 or values.ndim != 2:
        raise DataError(
            f"{what} are {values.dtype} of {values.ndim} dimensions; valid are uint8 (samples, bytes)."
        )
    if not values.any(axis=1).all():
        raise DataError(f"{what} hold a name without letters.")
