"""The four-point embedding: a map from ignorance, truth and two points between, which all models then
enter as new points.

Source: Mao et al., PNAS 121(12), 2024, Figs. 11 and 12.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya.pairwise import pairwise_distances
from pipeline.geometry.bhattacharyya.predictions import (
    check_labels,
    check_predictions,
    ignorance,
    truth,
)
from pipeline.geometry.inpca.embedding import Embedding, embed

WIDTH = 0.05  # of the weights along progress
AT = (0.3, 0.7)
Array = NDArray[np.float64]


def progress_weights(progress: ArrayLike, at: float, width: float = WIDTH) -> Array:
    """exp(-(progress - at)^2 / (2 width^2)) over their sum, (models,).

    Raises GeometryError for progress that is not finite, a width that is not above 0, and where no model
    is near: all weights are below 1e-6 before they are divided by their sum.
    """
    s = np.asarray(progress, dtype=np.float64)
    if s.ndim != 1 or not s.size or not np.isfinite(s).all():
        raise GeometryError(
            f"progress of shape {s.shape} given; finite values (models,) are needed, one at least."
        )
    if not width > 0:
        raise GeometryError(f"width is {width}; valid is a number above 0.")
    weights = np.exp(-((s - at) ** 2) / (2 * width**2))
    if not weights.max() > 1e-6:
        raise GeometryError(
            f"No model has a progress near {at} (nearest: {s[np.argmin(np.abs(s - at))]:.3g}); choose "
            "another point, or more checkpoints."
        )
    found: Array = weights / weights.sum()
    return found


def progress_mean(p: ArrayLike, progress: ArrayLike, at: float, width: float = WIDTH) -> Array:
    """The mean of models weighted by exp(-(progress - at)^2 / (2 width^2)), (samples, classes).

    Arguments
    ---------
    p: probabilities (models, samples, classes); progress: (models,).

    Raises GeometryError as ``progress_weights`` does.
    """
    models = check_predictions(p, "p")
    s = np.asarray(progress, dtype=np.float64)
    if s.shape != (len(models),):
        raise GeometryError(
            f"progress of shape {s.shape} given; one finite value for each of the {len(models)} models "
            "is needed."
        )
    found: Array = np.tensordot(progress_weights(s, at, width), models, axes=1)
    return found / found.sum(axis=1, keepdims=True)


def four_point_embedding(
    p: ArrayLike,
    labels: ArrayLike,
    progress: ArrayLike,
    *,
    at: tuple[float, float] = AT,
    width: float = WIDTH,
    threads: int | None = None,
) -> tuple[Embedding, Array]:
    """InPCA of ignorance, truth and two progress means, and the coordinates (models, 3) of all models in it.

    Arguments
    ---------
    p: probabilities (models, samples, classes), of models near the manifold; labels: (samples,);
        progress: (models,). at, width: where the two means are taken, and how wide.
    """
    models = check_predictions(p, "p")
    _, samples, classes = models.shape
    y = check_labels(labels, samples, classes)
    middle = [progress_mean(models, progress, one, width) for one in at]
    points = np.stack([ignorance(samples, classes), truth(y, classes), *middle])
    embedding = embed(pairwise_distances(points, threads=threads), 3)
    return embedding, embedding.transform(pairwise_distances(models, points, threads=threads))
