"""Predictions as probabilities, checked, and their square roots: what all distances start from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.kernel_cache import REORDERED, compiler

compiled = compiler(__file__, fastmath=REORDERED)

SUM_TOLERANCE = 1e-3  # of the sum of a sample's probabilities; float16 stays within it
BLOCK_VALUES = 1 << 24  # probabilities handled in float64 at a time
Roots = NDArray[np.float32]


def check_predictions(values: ArrayLike, name: str = "p") -> NDArray[Any]:
    """Predictions (models, samples, classes) as an array of floats; a matrix is one model.

    Raises GeometryError for another shape, values that are not probabilities, and sums over classes
    that are not 1 to 1e-3.
    """
    array = np.asarray(values)
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape or array.shape[2] < 2 or array.dtype.kind not in "fiu":
        raise GeometryError(
            f"{name} has shape {array.shape} and dtype {array.dtype}; probabilities (models, samples, "
            "classes) with at least one model and sample and two classes are needed."
        )
    model, sample = first_bad_sample(array)
    if model >= 0:
        total = float(array[model, sample].astype(np.float64).sum())
        raise GeometryError(
            f"{name}[{model}, {sample}] is no probability distribution (its sum is {total:.6g}); give "
            "values from 0 to 1 that sum to 1 over the classes."
        )
    return array


def first_bad_sample(values: NDArray[Any], *, rooted: bool = False) -> tuple[int, int]:
    """(model, sample) of the first sample of (models, samples, classes) that is no distribution;
    (-1, -1) where there is none.

    Arguments
    ---------
    rooted: the values are roots of probabilities.
    """
    for start, stop in _blocks(values):
        block = values[start:stop] if _native(values) else values[start:stop].astype(np.float64)
        model, sample = _first_bad(block, SUM_TOLERANCE, rooted)
        if model >= 0:
            return start + int(model), int(sample)
    return -1, -1


@compiled
def _first_bad(values: Any, tolerance: float, rooted: bool) -> tuple[int, int]:
    models, samples, classes = values.shape
    for i in range(models):
        for n in range(samples):
            total, bad = 0.0, 0
            for c in range(classes):
                value = np.float64(values[i, n, c])
                bad += 0 if value >= 0 else 1  # NaN is not
                total += value * value if rooted else value
            if bad or not abs(total - 1) <= tolerance:
                return i, n
    return -1, -1


def root_probabilities(p: NDArray[Any], dtype: Any = np.float32) -> NDArray[Any]:
    """sqrt(p) of predictions (models, samples, classes), normalised in float64, as ``dtype``."""
    roots = np.empty(p.shape, dtype)
    for start, stop in _blocks(p):
        block = p[start:stop] if _native(p) else p[start:stop].astype(np.float64)
        _take_roots(block, roots[start:stop])
    return roots


@compiled
def _take_roots(values: Any, roots: Any) -> None:
    models, samples, classes = values.shape
    for i in range(models):
        for n in range(samples):
            total = 0.0
            for c in range(classes):
                total += np.float64(values[i, n, c])
            inverse = 1 / total
            for c in range(classes):
                roots[i, n, c] = math.sqrt(np.float64(values[i, n, c]) * inverse)


def _native(values: NDArray[Any]) -> bool:
    """Whether compiled functions take the dtype as it is."""
    return values.dtype in (np.float32, np.float64) and values.dtype.isnative


def ignorance(samples: int, classes: int) -> NDArray[np.float64]:
    """P0 (samples, classes): 1/C everywhere."""
    return np.full((samples, classes), 1 / classes)


def truth(labels: ArrayLike, classes: int) -> NDArray[np.float64]:
    """P* (samples, classes): one-hot labels. Raises GeometryError as ``check_labels`` does."""
    return np.eye(classes)[check_labels(labels, None, classes)]


def check_labels(labels: ArrayLike, samples: int | None, classes: int) -> NDArray[np.int64]:
    """Labels (samples,) in 0..classes-1 as int64; GeometryError for others."""
    y = np.asarray(labels)
    if y.ndim != 1 or y.dtype.kind not in "iu" or (samples is not None and y.size != samples):
        wanted = "(samples,)" if samples is None else f"({samples},)"
        raise GeometryError(
            f"Labels of shape {y.shape} and dtype {y.dtype} given; integers {wanted} are needed."
        )
    if y.size and not 0 <= y.min() <= y.max() < classes:
        raise GeometryError(
            f"Labels from {y.min()} to {y.max()} given; valid are 0 to {classes - 1}."
        )
    return y.astype(np.int64)


def check_alike(p: NDArray[Any], q: NDArray[Any]) -> None:
    """Raise GeometryError where two sets of predictions have other samples or classes."""
    if p.shape[1:] != q.shape[1:]:
        raise GeometryError(
            f"p has {p.shape[1]} samples and {p.shape[2]} classes, q has {q.shape[1]} and "
            f"{q.shape[2]}; both must be predictions of the same samples."
        )


def _blocks(array: NDArray[Any]) -> list[tuple[int, int]]:
    step = max(1, BLOCK_VALUES // max(1, array.shape[1] * array.shape[2]))
    return [(start, min(start + step, len(array))) for start in range(0, len(array), step)]
