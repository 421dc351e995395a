"""Predictions of made-up trainings, and plain float64 formulas, for tests of prediction space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.predictors.variables import SPLITS
from pipeline.store.writer import StoreWriter

Array = NDArray[np.float64]
RECORD = {"config": {}, "code": "test"}
ROOTS = f"{SPLITS[1]}_root_probabilities"


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    found: Array = shifted / shifted.sum(axis=-1, keepdims=True)
    return found


def trajectory(
    seed: int, models: int = 40, samples: int = 60, classes: int = 10, steepness: float = 4.0
) -> tuple[Array, NDArray[np.int64]]:
    """Predictions (models, samples, classes) from near ignorance towards noisy labels, and the labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, samples)
    aim = np.eye(classes)[labels] + 0.3 * random.standard_normal((samples, classes))
    noise = 0.2 * random.standard_normal((models, samples, classes))
    steps = np.linspace(0, steepness, models)[:, None, None]
    return softmax(steps * aim + noise), labels


def stress(seed: int, samples: int = 60, classes: int = 10) -> Array:
    """Over-confident wrong models, one-hot ones, ones with zeros, duplicates, ignorance."""
    random = np.random.default_rng(seed)
    confident = softmax(200 * random.standard_normal((15, samples, classes)))
    hot = np.eye(classes)[random.integers(0, classes, (10, samples))]
    holed = random.dirichlet(np.ones(classes), (10, samples))
    holed[:, :, :4] = 0
    holed /= holed.sum(axis=2, keepdims=True)
    flat = np.full((1, samples, classes), 1 / classes)
    near = softmax(60 * random.standard_normal((10, samples, classes)))
    return np.concatenate([confident, hot, hot[:2], holed, holed[:1], near, flat])


def plain_distances(p: Array, q: Array) -> Array:
    """dB by its formula in float64: a logarithm per sample, -log of an affinity at most 100."""
    found = np.empty((len(p), len(q)))
    for i, one in enumerate(p):
        affinity = np.einsum("nc,jnc->jn", np.sqrt(one), np.sqrt(q))
        with np.errstate(divide="ignore"):
            found[i] = np.minimum(-np.log(affinity), 100).mean(axis=1)
    return np.maximum(found, 0)


def prediction_store(folder: Path, p: Array, samples: int = 20) -> Path:
    """A store of root probabilities, some samples in each chunk."""
    roots = np.sqrt(p).astype(np.float32)
    writer = StoreWriter(folder)
    writer.create(ROOTS, roots.shape, chunks={"model": 16, "test_sample": samples})
    writer.write(ROOTS, roots)
    writer.close(RECORD)
    return folder
