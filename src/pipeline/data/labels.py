"""Binary labels: +1 and -1, made from class numbers."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pipeline.errors import DataError
from pipeline.registry import lookup


class LabelVariant(Protocol):
    """Class numbers (samples,) of one split (``train`` or ``test``) -> labels in {-1, +1}."""

    def __call__(
        self, classes: np.ndarray, *, split: str, generator: np.random.Generator | None
    ) -> np.ndarray: ...


def parity(
    classes: np.ndarray, *, split: str = "train", generator: np.random.Generator | None = None
) -> np.ndarray:
    """+1 for even classes, -1 for odd ones (arXiv:2303.05161v2, Methods)."""
    return (1 - 2 * (np.asarray(classes) % 2)).astype(np.int8)


def random(
    classes: np.ndarray, *, split: str = "train", generator: np.random.Generator | None = None
) -> np.ndarray:
    """Each training label +1 or -1 with probability 1/2, independently of the input (Fig. 1e, 1f).

    The test set keeps its parity labels: random labels hold no rule that test samples could follow,
    and the true ones make the test error say what was learnt about the images (chance level: 1/2).

    Raises DataError without a generator.
    """
    if split == "test":
        return parity(classes)
    if generator is None:
        raise DataError("labels 'random' need a random generator (label_generator).")
    return (1 - 2 * generator.integers(0, 2, size=len(classes))).astype(np.int8)


label_variants: dict[str, LabelVariant] = {"parity": parity, "random": random}


def binary_labels(
    variant: str,
    classes: np.ndarray,
    *,
    split: str = "train",
    generator: np.random.Generator | None = None,
) -> np.ndarray:
    """The labels (samples,) int8 in {-1, +1} of one split.

    Raises ConfigError for an unknown variant; DataError where training labels hold one value only
    (a manifold without samples has no radius).
    """
    function: LabelVariant = lookup("label variant", variant, label_variants)
    labels = np.asarray(function(classes, split=split, generator=generator), dtype=np.int8)
    if labels.shape != np.shape(classes) or not np.isin(labels, (-1, 1)).all():
        raise DataError(f"labels {variant!r} are not one of -1, +1 for each of the samples.")
    if split == "train" and len(np.unique(labels)) < 2:
        raise DataError(
            f"labels {variant!r} are {labels[0]:+d} for all {len(labels)} training samples; "
            "both -1 and +1 are needed: take more samples or another block."
        )
    return labels
