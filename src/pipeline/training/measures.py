"""What is measured at every epoch, and how it follows from sums over the training set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


class EpochMeasures(NamedTuple):
    """Measures of one epoch for R networks and the measured layers."""

    loss: np.ndarray  # (R,) float64
    train_error: np.ndarray  # (R,) float64
    test_error: np.ndarray  # (R,) float64, NaN without a test set
    radius_plus: np.ndarray  # (R, layers) float64
    radius_minus: np.ndarray  # (R, layers) float64
    distance: np.ndarray  # (R, layers) float64
    misclassified: np.ndarray  # (R, ceil(P / 8)) uint8, bit-packed


@dataclass(frozen=True)
class ClassSums:
    """Sums over the training samples of non-zero weight, per network and measured layer, float64.

    With u = h/|h| the projected representation, per class (first axis: +1, then -1): total = sum u,
    (2, R, layers, units); directed = sum |u|^2 = number of samples with h != 0, (2, R, layers).
    """

    total: np.ndarray
    directed: np.ndarray


def class_counts(labels: np.ndarray, sample_weight: np.ndarray | None, networks: int) -> np.ndarray:
    """n_+ and n_- of every network, (2, R): training samples of non-zero weight in each class."""
    plus = labels > 0
    if sample_weight is None:
        return np.repeat([[plus.sum()], [(~plus).sum()]], networks, axis=1).astype(float)
    inside = sample_weight > 0
    return np.stack([(inside & plus).sum(axis=1), (inside & ~plus).sum(axis=1)]).astype(float)


def radii_and_distance(
    sums: ClassSums, counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """R+, R- and D of every network and layer, each (R, layers), from class sums.

    R_y^2 = <|u|^2>_y - |c_y|^2 and D = |c_+ - c_-| with the centroids c_y (paper, Eqs. 8 and 9); the
    first term is 1 unless a representation is exactly zero, which has no direction and stays at 0.
    """
    size = counts[:, :, None]
    # Contiguous, because the order of NumPy's sums follows the memory layout.
    centre = np.ascontiguousarray(sums.total) / size[..., None]
    square = np.clip(sums.directed / size - (centre**2).sum(-1), 0, None)
    radius_plus, radius_minus = np.sqrt(square)
    return radius_plus, radius_minus, np.sqrt(((centre[0] - centre[1]) ** 2).sum(-1))


def pack_misclassified(wrong: np.ndarray) -> np.ndarray:
    """Bit-pack (R, P) booleans along the samples (big-endian, as numpy.packbits)."""
    return np.packbits(wrong.astype(bool), axis=-1)
