"""Random mixtures of classes: predictions over many classes as predictions over fewer.

Source: Mao et al., PNAS 121(12), 2024, text to Fig. 6b: embeddings of ImageNet look
alike when class probabilities are first multiplied by a random matrix whose columns sum to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.predictions import check_predictions

TOLERANCE = 1e-6  # of a column's sum
Array = NDArray[np.float64]


def random_mixture(
    classes: int, count: int, random: np.random.Generator | int, concentration: float = 1.0
) -> Array:
    """A matrix (count, classes) whose columns are drawn from a symmetric Dirichlet distribution.

    The paper does not state the distribution. With concentration 1 a column is uniform on the simplex and
    all classes become alike; towards 0 each class falls into one of the ``count`` new ones, at random.

    Arguments
    ---------
    classes: of the predictions; count: new classes, from 2 on. random: a generator or a seed.

    Raises GeometryError for numbers out of range.
    """
    if classes < 2 or count < 2 or not concentration > 0:
        raise GeometryError(
            f"{count} mixtures of {classes} classes with concentration {concentration} asked for; valid "
            "are two classes or more of both and a concentration above 0."
        )
    draws = np.random.default_rng(random)
    return np.ascontiguousarray(draws.dirichlet(np.full(count, concentration), classes).T)


def mixed_classes(p: ArrayLike, mixture: ArrayLike) -> Array:
    """Predictions over mixed classes, q[n, k] = sum_c M[k, c] p[n, c], (models, samples, count).

    Rows stay probabilities. No Bhattacharyya distance grows, as sqrt(p q) mixed is at most the root of
    the mixed (Cauchy and Schwarz): what is lost is what the mixture cannot tell apart.

    Arguments
    ---------
    p: probabilities (models, samples, classes), normalised here in float64.
    mixture: (count, classes), its columns of sum 1.

    Raises GeometryError for what is no mixture of these classes, and as ``check_predictions`` does.
    """
    models = check_predictions(p, "p").astype(np.float64)
    matrix = np.asarray(mixture, dtype=np.float64)
    if matrix.ndim != 2 or len(matrix) < 2 or matrix.shape[1] != models.shape[2]:
        raise GeometryError(
            f"A mixture of shape {matrix.shape} given; (count, {models.shape[2]}) with a count of 2 or "
            "more is needed."
        )
    if not (matrix >= 0).all() or not (np.abs(matrix.sum(axis=0) - 1) <= TOLERANCE).all():
        raise GeometryError("The mixture's columns must be probabilities: at least 0, of sum 1.")
    models /= models.sum(axis=2, keepdims=True)
    found: Array = models @ matrix.T
    return found
