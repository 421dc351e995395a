"""Labels made from class numbers: binary ones, +1 and -1, and those of several classes, a part of
them noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

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


# --- labels of several classes, a part of them noise -----------------------------------------------

MANIFOLD_KINDS = ("unpermuted", "permuted", "restored", "test")
NO_MANIFOLD = -1  # class of a sample that belongs to no manifold of a kind


@dataclass(frozen=True)
class NoisyLabels:
    """Labels that a network is trained on (Stephenson et al., ICLR 2021, Sec. 3.1).

    labels: (samples,) int64, what the network is told; classes: (samples,) int64, what is true.
    permuted: (samples,) bool, whether the label was drawn at random. It may have hit the true
        class: such a sample is permuted all the same, or its label would say something about the
            image.
    """

    labels: NDArray[np.int64]
    classes: NDArray[np.int64]
    permuted: NDArray[np.bool_]


def permute_labels(
    classes: ArrayLike, fraction: float, class_count: int, generator: np.random.Generator
) -> NoisyLabels:
    """Give a fraction of the samples a label drawn uniformly from all classes.

    Arguments
    ---------
    classes: (samples,) class numbers 0 .. class_count - 1.
    fraction: eps, from 0 to 1; of n samples round(eps n) are permuted, which ones is drawn too.
    generator: the run's stream of the purpose ``labels``; two draws, whatever the fraction, so that
        sets of permuted samples of one stream grow with it and keep their labels.

    Raises DataError for another fraction or class numbers out of range.
    """
    true = np.asarray(classes)
    if true.ndim != 1 or true.dtype.kind not in "iu" or not true.size:
        raise DataError(
            f"classes of shape {true.shape} and dtype {true.dtype} given; whole numbers, one a sample, "
            "are needed."
        )
    if true.min() < 0 or true.max() >= class_count:
        raise DataError(
            f"classes from {true.min()} to {true.max()} given; valid are 0 to {class_count - 1}."
        )
    if not 0 <= fraction <= 1:
        raise DataError(f"fraction = {fraction!r} of permuted labels given; valid is 0 to 1.")
    order = generator.permutation(true.size)
    drawn = generator.integers(0, class_count, size=true.size)
    permuted = np.zeros(true.size, dtype=bool)
    permuted[order[: round(fraction * true.size)]] = True
    true = true.astype(np.int64)
    return NoisyLabels(np.where(permuted, drawn, true), true, permuted)


def manifold_classes(noisy: NoisyLabels, test_classes: ArrayLike) -> dict[str, NDArray[np.int64]]:
    """Which manifold of each kind a sample belongs to: kind -> (training samples + test samples,).

    unpermuted: training samples with their true label, by class. permuted: those with a random
        label,
    by that label. restored: the same samples by their true class. test: test samples, by class.
    ``NO_MANIFOLD`` where a sample belongs to none. With eps = 1 unpermuted is empty, with eps = 0
    permuted and restored are.
    """
    test = np.asarray(test_classes, dtype=np.int64)
    nowhere = np.full(noisy.classes.size, NO_MANIFOLD, dtype=np.int64)
    training = {
        "unpermuted": np.where(noisy.permuted, NO_MANIFOLD, noisy.classes),
        "permuted": np.where(noisy.permuted, noisy.labels, NO_MANIFOLD),
        "restored": np.where(noisy.permuted, noisy.classes, NO_MANIFOLD),
        "test": nowhere,
    }
    absent = np.full(test.size, NO_MANIFOLD, dtype=np.int64)
    return {
        kind: np.concatenate([values, test if kind == "test" else absent])
        for kind, values in training.items()
    }
