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
from pipeline.geometry.capacity.checks import is_number, real_matrix

BLOCK = 1024  # columns of the points that are widened to float64 at a time


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
    x = real_matrix("points", points, "(features, points)")
    if not is_number(share) or not 0 < share <= 1:
        raise GeometryError(f"share = {share!r} given; valid is a number above 0 and at most 1.")
    from scipy.linalg import eigvalsh
    from scipy.linalg.blas import dsyrk

    largest = max(float(np.max(x)), -float(np.min(x))) or 1.0
    rows = x if x.shape[0] <= x.shape[1] else x.T
    gram = np.zeros((len(rows), len(rows)), order="F")
    mean = x.mean(axis=1, dtype=np.float64, keepdims=True)
    for start in range(0, rows.shape[1], BLOCK):  # a whole copy of wide layers would not fit
        columns = slice(start, start + BLOCK)
        centred = (x[:, columns] - mean) if rows is x else (x[columns] - mean[columns]).T
        centred = np.asfortranarray((centred / largest).T)  # squares of 1e200 would overflow
        gram = dsyrk(1.0, centred, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
    eigenvalues = eigvalsh(gram, overwrite_a=True, check_finite=False)
    variances = np.maximum(eigenvalues[::-1], 0)
    total = variances.sum()
    if total <= len(rows) * np.finfo(float).eps:
        return TotalDimension(0.0, 0)
    reached = np.cumsum(variances) >= share * total * (1 - 1e-12)
    return TotalDimension(float(total**2 / np.sum(variances**2)), int(np.argmax(reached)) + 1)
