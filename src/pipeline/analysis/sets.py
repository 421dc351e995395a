"""The sets S(t) of misclassified training samples, and the epochs at which they are taken.

Source: Ciceri et al., arXiv:2303.05161, Eq. 2 and Methods. Training jobs use this module for
pruning, so that it imports nothing but NumPy, and changes of it retrain networks.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError

MIN_EPOCHS = 3  # a fall and a way back need three points
Array = NDArray[Any]


def crossing_epoch(train_error: ArrayLike, epsilon: float) -> int | None:
    """t(eps): the first epoch at which the training error is at or below eps; None if it never is.

    Arguments
    ---------
    train_error: (epochs,) fraction misclassified, epoch 0 first.
    epsilon: the training error to cross, a fraction.
    """
    below = curve_of("train_error", train_error, least=1) <= epsilon
    return int(np.argmax(below)) if below.any() else None


def stragglers(misclassified: ArrayLike, epoch: ArrayLike, samples: int) -> Array:
    """S(t): which samples are misclassified at epoch t (Eq. 2); the stragglers for t = t*.

    Arguments
    ---------
    misclassified: (seed, epoch, sample_byte) uint8, bits packed as numpy.packbits does.
    epoch: (seed,) one epoch index per seed, or one number for all.
    samples: number of training samples.

    Returns (seed, samples) booleans. Raises GeometryError for an epoch that was not recorded or
    bits that do not fit the number of samples.
    """
    bits = np.asarray(misclassified)
    epochs = np.broadcast_to(np.asarray(epoch), bits.shape[:1])
    if bits.shape[-1] != (samples + 7) // 8:
        raise GeometryError(
            f"{bits.shape[-1]} bytes per epoch cannot be the bits of {samples} samples; "
            f"{(samples + 7) // 8} are needed."
        )
    if epochs.min() < 0 or epochs.max() >= bits.shape[1]:
        raise GeometryError(
            f"Epochs {epochs.min()} to {epochs.max()} asked for; 0 to {bits.shape[1] - 1} are "
            "recorded."
        )
    chosen = bits[np.arange(bits.shape[0]), epochs]
    return np.unpackbits(chosen, axis=-1, count=samples).astype(bool)


def curve_of(name: str, values: ArrayLike, least: int = MIN_EPOCHS) -> Array:
    """``values`` as a finite float64 vector of ``least`` epochs or more; else GeometryError."""
    curve = np.asarray(values, dtype=np.float64)
    if curve.ndim != 1 or curve.size < least:
        raise GeometryError(
            f"{name} has shape {curve.shape}; one value per epoch, at least {least}, is needed."
        )
    bad = ~np.isfinite(curve)
    if bad.any():
        raise GeometryError(
            f"{name} holds {int(bad.sum())} NaN or infinite values, the first at epoch "
            f"{int(np.argmax(bad))}; leave diverged seeds out."
        )
    return curve
