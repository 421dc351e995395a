"""What an ensemble is trained on and as what: the inputs that every training pass shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pipeline.errors import TrainingError


@dataclass(frozen=True)
class Problem:
    """Training and test set, shared by all networks, and the weight of each sample for each network."""

    train_images: np.ndarray  # (P, N) float, standardised
    train_labels: np.ndarray  # (P,) int8, -1 or +1
    test_images: np.ndarray | None  # (Q, N)
    test_labels: np.ndarray | None  # (Q,)
    sample_weight: np.ndarray | None = None  # (networks, P) float32, >= 0; None: all 1

    def of_networks(self, chosen: slice) -> Problem:
        """The same problem for a part of the networks."""
        weight = None if self.sample_weight is None else self.sample_weight[chosen]
        return Problem(
            self.train_images, self.train_labels, self.test_images, self.test_labels, weight
        )


@dataclass(frozen=True)
class Architecture:
    """A fully connected or convolutional network, for the passes that are written for them.

    A convolution is one small weight matrix (channels, k k) applied at every position; fully connected
    networks have one position.
    """

    features: int
    depth: int
    width: int
    activation: str
    measured: tuple[int, ...]  # hidden layers (1 is the first) whose geometry is measured
    kernel: int | None = None  # side of the convolution's kernels; None: fully connected

    @property
    def positions(self) -> int:
        """Places at which the first layer's weights are applied."""
        if self.kernel is None:
            return 1
        return (math.isqrt(self.features) - self.kernel + 1) ** 2

    @property
    def units(self) -> int:
        """Units of the first hidden layer."""
        return self.width * self.positions


def _checked_set(
    images: object, labels: object, what: str, dtype: type
) -> tuple[np.ndarray, np.ndarray]:
    x = np.ascontiguousarray(images)
    y = np.asarray(labels)
    if x.ndim != 2 or x.shape[0] == 0 or x.shape[1] == 0:
        raise TrainingError(f"{what} images must be (samples, features), not {x.shape}.")
    if not np.issubdtype(x.dtype, np.floating):
        raise TrainingError(f"{what} images must be standardised floats, not {x.dtype}.")
    if not np.isfinite(x).all():
        raise TrainingError(f"{what} images hold {int((~np.isfinite(x)).sum())} NaN or Inf values.")
    if y.shape != (x.shape[0],) or not np.isin(y, (-1, 1)).all():
        raise TrainingError(
            f"{what} labels must be {x.shape[0]} values, each -1 or +1; got shape {y.shape} with "
            f"values {np.unique(y)[:6].tolist()}."
        )
    return x.astype(dtype, copy=False), y.astype(np.int8)


def make_problem(
    images: object,
    labels: object,
    test_images: object | None,
    test_labels: object | None,
    sample_weight: object | None,
    networks: int,
    dtype: type = np.float32,
) -> Problem:
    """A checked Problem with images of ``dtype``; raises TrainingError naming what is wrong where."""
    x, y = _checked_set(images, labels, "training", dtype)
    if (test_images is None) != (test_labels is None):
        raise TrainingError("test_images and test_labels must be given together.")
    tx = ty = None
    if test_images is not None:
        tx, ty = _checked_set(test_images, test_labels, "test", dtype)
        if tx.shape[1] != x.shape[1]:
            raise TrainingError(
                f"test images have {tx.shape[1]} features, training images {x.shape[1]}."
            )
    weight = None if sample_weight is None else _checked_weight(sample_weight, networks, len(x))
    kept = np.ones((1, len(x)), bool) if weight is None else weight > 0
    for label in (1, -1):
        if not (kept & (y == label)).any(axis=1).all():
            raise TrainingError(f"every network needs a training sample with label {label:+d}.")
    return Problem(x, y, tx, ty, weight)


def _checked_weight(sample_weight: object, networks: int, samples: int) -> np.ndarray:
    weight = np.asarray(sample_weight, dtype=np.float32)
    if weight.shape == (samples,):
        weight = np.broadcast_to(weight, (networks, samples))
    if weight.shape != (networks, samples):
        raise TrainingError(
            f"sample_weight must be (samples,) = ({samples},) or (seeds, samples) = "
            f"({networks}, {samples}), not {weight.shape}."
        )
    if not np.isfinite(weight).all() or (weight < 0).any():
        raise TrainingError("sample_weight must be finite and not negative.")
    return np.ascontiguousarray(weight)
