"""The form that data sets of vectors are loaded into; ``images`` has the one of images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from pipeline.data.images import check_splits
from pipeline.errors import DataError


@dataclass(frozen=True)
class PointDataset:
    """Vectors and class numbers of one data set; networks get the vectors as they are.

    Attributes
    ----------
    name: the name under which results are reported.
    train_points, test_points: float32, (samples, features), finite.
    train_labels, test_labels: int64, (samples,), class numbers from 0 on.
    provenance: JSON-able facts on the origin.

    Raises DataError where shapes, dtypes or values are others.
    """

    kind: ClassVar[str] = "points"
    dims: ClassVar[tuple[str, ...]] = ("sample", "feature")

    name: str
    train_points: np.ndarray
    train_labels: np.ndarray
    test_points: np.ndarray
    test_labels: np.ndarray
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_splits(self, _require_points)


def _require_points(what: str, points: np.ndarray) -> None:
    if points.dtype != np.float32 or points.ndim != 2:
        raise DataError(
            f"{what} are {points.dtype} of {points.ndim} dimensions; valid are "
            "float32 (samples, features)."
        )
    if not np.isfinite(points).all():
        raise DataError(f"{what} hold values that are not finite: replace them first.")
