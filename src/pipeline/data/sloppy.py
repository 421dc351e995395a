"""The synthetic task with sloppy inputs: Gaussian vectors of a falling spectrum, labelled by a teacher.

Source: Mao et al., PNAS 121(12), 2024, App. E.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.data.points import PointDataset
from pipeline.errors import DataError
from pipeline.seeds import generator


def eigenvalues(dimension: int, decay: float) -> NDArray[np.float64]:
    """Eigenvalues of the inputs' covariance, (1/d) b exp(-c i), i = 0..d-1, with b = 50 c (1 for c = 0).

    Arguments
    ---------
    dimension: d; decay: c.
    """
    scale = 50 * decay if decay > 0 else 1.0
    found: NDArray[np.float64] = scale * np.exp(-decay * np.arange(dimension)) / dimension
    return found


def sloppy(
    root: Path,
    *,
    decay: float,
    classes: int = 5,
    train_points: int = 5000,
    test_points: int = 1000,
    dimension: int = 200,
    hidden: int = 50,
    seed: int = 0,
) -> PointDataset:
    """Inputs x ~ N(0, diag(lambda)), labels argmax of B tanh(A x), A and B Gaussian of variance 1 / fan-in.

    The teacher has no biases; that its weights are Gaussian is inferred. The same seed gives the same
    teacher and the same normal deviates whatever the decay, so that tasks differ by their spectrum.

    Arguments
    ---------
    root: not used (nothing is read or written). decay: c of the spectrum, 0.001 (not sloppy) or 0.5
        (sloppy) in the paper. classes, hidden, dimension: sizes of the teacher. seed: of all draws.

    Raises DataError for an option outside its range.
    """
    sizes = {
        "train_points": (train_points, 1),
        "test_points": (test_points, 1),
        "dimension": (dimension, 1),
        "hidden": (hidden, 1),
        "classes": (classes, 2),
    }
    for name, (value, least) in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise DataError(
                f"sloppy: {name} is {value!r}; valid is a whole number from {least} on."
            )
    if not 0 <= decay <= 10:
        raise DataError(f"sloppy: decay is {decay!r}; valid is a number from 0 to 10.")
    teacher = generator(seed, "sloppy", 0, "init")
    first = teacher.standard_normal((hidden, dimension)) / np.sqrt(dimension)
    second = teacher.standard_normal((classes, hidden)) / np.sqrt(hidden)
    spread = np.sqrt(eigenvalues(dimension, decay))

    def drawn(count: int, split: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        x = generator(seed, "sloppy", split, "data").standard_normal((count, dimension)) * spread
        labels = np.argmax(np.tanh(x @ first.T) @ second.T, axis=1)
        return x.astype(np.float32), labels.astype(np.int64)

    train, train_labels = drawn(train_points, 0)
    test, test_labels = drawn(test_points, 1)
    provenance = {
        "origin": "generated",
        "decay": float(decay),
        "classes": classes,
        "train_points": train_points,
        "test_points": test_points,
        "dimension": dimension,
        "hidden": hidden,
        "seed": seed,
    }
    return PointDataset("sloppy", train, train_labels, test, test_labels, provenance)
