"""Alignment of one embedding with another: the rigid motion with the least squared deviation.

Source: Kabsch, Acta Cryst. A 32, 922 (1976); Umeyama, IEEE TPAMI 13, 376 (1991), without scaling and
with reflections allowed, as the signs of embeddings are arbitrary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """x -> x rotation + shift; rmsd: root mean squared deviation after it, per point."""

    rotation: Array
    shift: Array
    rmsd: float

    def apply(self, points: ArrayLike) -> Array:
        """Moved points (points, axes)."""
        moved: Array = np.asarray(points, dtype=np.float64) @ self.rotation + self.shift
        return moved


def align(points: ArrayLike, reference: ArrayLike, *, reflections: bool = True) -> Alignment:
    """The translation and rotation of points that bring them nearest to a reference.

        min over R, t of sum_i |x_i R + t - y_i|^2,  R R^T = 1

    Arguments
    ---------
    points, reference: (points, axes) coordinates of the same models. reflections: R may have
        determinant -1.

    Raises GeometryError for other shapes and values that are not finite.
    """
    x, y = (np.asarray(one, dtype=np.float64) for one in (points, reference))
    if x.shape != y.shape or x.ndim != 2 or not x.size:
        raise GeometryError(
            f"Points of shape {x.shape} and a reference of shape {y.shape} given; both must be "
            "(points, axes) of the same models."
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise GeometryError("Coordinates that are not finite given; leave these models out.")
    centre_x, centre_y = x.mean(axis=0), y.mean(axis=0)
    left, _, right = np.linalg.svd((x - centre_x).T @ (y - centre_y))
    if not reflections and np.linalg.det(left @ right) < 0:
        left[:, -1] *= -1
    rotation = left @ right
    shift = centre_y - centre_x @ rotation
    deviation = x @ rotation + shift - y
    return Alignment(rotation, shift, float(np.sqrt(np.mean(np.sum(deviation**2, axis=1)))))
