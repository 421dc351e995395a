"""Linear dimension of all points together (kernel).

With l_1 >= l_2 >= ... the variances along the principal components:

    participation ratio   (sum_k l_k)^2 / sum_k l_k^2
    explained dimension   the least k with  l_1 + ... + l_k >= share * sum_k l_k

Source: Stephenson et al., ICLR 2021, Appendix ("total dimension").
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from pipeline.errors import GeometryError


class TotalDimension(NamedTuple):
    """Participation ratio and number of components that explain a share of the variance."""

    participation_ratio: float
    explained_dimension: int


def total_dimension(points: ArrayLike, share: float = 0.9) -> TotalDimension:
    """Participation ratio and explained dimension of a set of points about their mean.

    Arguments
    ---------
    points: (features, points), finite; both dimensions are those of a spectrum of min(features,
        points) variances.
    share: of the variance, above 0 and at most 1.

    Points that are all the same have no variance: both are 0. float64. Raises GeometryError for
    other shapes, NaN, infinities and another share.
    """
    x = np.asarray(points)
    if x.ndim != 2 or 0 in x.shape or x.dtype.kind not in "fiub":
        raise GeometryError(
            f"Points of shape {x.shape} and dtype {x.dtype} given; real numbers (features, points) "
            "are needed."
        )
    if not np.isfinite(x).all():
        raise GeometryError("The points hold NaN or infinite values; leave diverged networks out.")
    if not 0 < share <= 1:
        raise GeometryError(f"share = {share} given; valid is a number above 0 and at most 1.")
    largest = float(np.max(np.abs(x))) or 1.0
    scaled = x.astype(np.float64) / largest  # squares of 1e200 would overflow
    scaled -= scaled.mean(axis=1, keepdims=True)
    gram = scaled @ scaled.T if x.shape[0] <= x.shape[1] else scaled.T @ scaled
    variances = np.maximum(np.linalg.eigvalsh(gram)[::-1], 0)
    total = variances.sum()
    if total <= len(gram) * np.finfo(float).eps:
        return TotalDimension(0.0, 0)
    reached = np.cumsum(variances) >= share * total * (1 - 1e-12)
    return TotalDimension(float(total**2 / np.sum(variances**2)), int(np.argmax(reached)) + 1)
