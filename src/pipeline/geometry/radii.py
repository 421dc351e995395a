"""Gyration radii of the two class manifolds and the distance of their centres (kernels).
kernels).

A manifold M_y is the set of the representations of one class, each projected on the unit sphere.
The kernels keep, per class, the number of samples n, the centroid c and the scatter S = sum |a -
c|^2; two such triples of different samples merge exactly, so a measurement over blocks of samples
equals the measurement over all of them.

Source: Ciceri et al., arXiv:2303.05161, Methods, Eq. 8 (radii) and Eq. 9 (distance).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from pipeline.errors import GeometryError

METRICS = ("radius_plus", "radius_minus", "distance")
CLASSES = (1, -1)  # order of the class axis everywhere in this module: + first
Array = NDArray[Any]


def project_on_sphere(h: Array, dtype: DTypeLike = np.float64) -> Array:
    """Each row divided by its length: a = h / |h|.

    A row of zeros has no direction and stays at the origin. Rows are scaled by their largest
    element first, so that the squares of elements such as 1e200 or 1e-200 neither overflow nor
    vanish.

    Arguments
    ---------
    h: (..., samples, units), finite, any real dtype.
    dtype: floating dtype of the result and of the sums behind it.
    """
    wide = np.result_type(h.dtype, np.dtype(dtype))  # scale before any narrowing cast
    largest = np.max(np.abs(h.astype(wide)), axis=-1, keepdims=True, initial=0)
    rows = (h / np.where(largest > 0, largest, 1)).astype(dtype)
    length = np.sqrt(np.sum(rows * rows, axis=-1, keepdims=True))
    return rows / np.where(length > 0, length, 1)


def manifold_sums(h: Array, y: Array, dtype: DTypeLike = np.float64) -> Array:
    """What the geometry needs to know of a block of samples: (..., 2, 2 + units).

    Per class (+ first): n, S = sum |a - c|^2 and the centroid c = sum a / n of the projected rows a
    (c = 0 where the block holds no sample of the class).

    Arguments
    ---------
    h: (..., samples, units) activations, finite.
    y: (samples,) labels in {-1, +1}.
    dtype: floating dtype of the computation.

    Raises GeometryError for shapes that do not fit, labels other than -1 and +1, NaN and
    infinities.
    """
    h, y = check_representation(h, y)
    rows = project_on_sphere(h, dtype)
    sums = np.zeros((*h.shape[:-2], 2, 2 + h.shape[-1]), dtype=dtype)
    for index, label in enumerate(CLASSES):
        members = rows[..., y == label, :]
        count = members.shape[-2]
        if count:
            centroid = np.mean(members, axis=-2)
            sums[..., index, 0] = count
            sums[..., index, 1] = np.sum((members - centroid[..., None, :]) ** 2, axis=(-2, -1))
            sums[..., index, 2:] = centroid
    return sums


def merge_sums(first: Array, second: Array) -> Array:
    """The sums of the union of two disjoint blocks of samples.

    With n = n1 + n2 and d = c2 - c1: c = c1 + d n2/n and S = S1 + S2 + |d|^2 n1 n2 / n.

    Arguments
    ---------
    first, second: (..., 2, 2 + units), results of ``manifold_sums``.
    """
    n1, n2 = first[..., :1], second[..., :1]
    n = np.maximum(n1 + n2, 1)  # an empty class in both blocks stays all zero
    step = second[..., 2:] - first[..., 2:]
    centroid = np.where(n1 > 0, first[..., 2:] + step * (n2 / n), second[..., 2:])
    between = np.sum(step * step, axis=-1, keepdims=True) * (n1 * n2 / n)
    scatter = first[..., 1:2] + second[..., 1:2] + between
    return np.concatenate([n1 + n2, scatter, centroid], axis=-1)


def geometry_from_sums(sums: Array) -> dict[str, Array]:
    """R+, R- and D from accumulated sums: R_y = sqrt(S_y / n_y), D = |c_+ - c_-|.

    Arguments
    ---------
    sums: (..., 2, 2 + units), result of ``manifold_sums`` or ``merge_sums`` over all samples.

    Returns a dict of arrays of shape (...), keys ``radius_plus``, ``radius_minus``, ``distance``.
    Raises GeometryError if a class has no sample.
    """
    for index, label in enumerate(CLASSES):
        if np.any(sums[..., index, 0] == 0):
            raise GeometryError(
                f"The class with label {label:+d} has no sample, so its manifold has no radius; "
                "give samples of both classes, +1 and -1."
            )
    radii = np.sqrt(sums[..., 1] / sums[..., 0])
    distance = np.sqrt(np.sum((sums[..., 0, 2:] - sums[..., 1, 2:]) ** 2, axis=-1))
    return {"radius_plus": radii[..., 0], "radius_minus": radii[..., 1], "distance": distance}


def class_manifold_geometry(h: Array, y: Array, dtype: DTypeLike = np.float64) -> dict[str, float]:
    """Radii and distance of the two class manifolds of one representation.

    R_y^2 = 1/(2 n_y^2) sum_{a,b in M_y} |a - b|^2 = mean_a |a|^2 - |c_y|^2   (Eq. 8)
    D = |c_+ - c_-|                                                           (Eq. 9)

    with a = h/|h| (projection on the unit sphere, done here) and c_y the centroid of M_y. All rows
    being of length 1, R_y^2 = 1 - |c_y|^2. A row of zeros has no direction and stays at the origin;
    the first identity still holds then. It is computed as the equal, and for small manifolds more
    accurate, mean |a - c_y|^2. A class of one sample has radius 0. No units: all are lengths on the
    unit sphere, 0 <= R <= 1 and 0 <= D <= 2.

    Arguments
    ---------
    h: (samples, units), finite; any scale of the rows, 1e200 and 1e-200 included.
    y: (samples,) labels in {-1, +1}, both present.
    dtype: floating dtype of the computation, float64 by default.

    Returns ``{"radius_plus": R_+, "radius_minus": R_-, "distance": D}`` as floats.
    Raises GeometryError (a ValueError) for other shapes, labels, NaN, infinities, an empty class.
    """
    if np.ndim(h) != 2:
        raise GeometryError(
            f"Activations of shape {np.shape(h)} given; (samples, units) is needed, one row a "
            "sample."
        )
    geometry = geometry_from_sums(manifold_sums(h, y, dtype))
    return {name: float(value) for name, value in geometry.items()}


def check_representation(h: Array, y: Array) -> tuple[Array, Array]:
    """``h`` and ``y`` as arrays, if their geometry is defined; GeometryError otherwise."""
    h, y = np.asarray(h), check_labels(y)
    if h.ndim < 2 or h.shape[-1] == 0:
        raise GeometryError(
            f"Activations of shape {h.shape} given; (samples, units) with at least one unit is "
            "needed."
        )
    if h.shape[-2] != y.shape[0]:
        raise GeometryError(
            f"{h.shape[-2]} samples of activations but {y.shape[0]} labels given; "
            "give one label per sample."
        )
    if h.dtype.kind not in "fiub":
        raise GeometryError(f"Activations of dtype {h.dtype} given; real numbers are needed.")
    bad = ~np.isfinite(h)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise GeometryError(
            f"The activations hold {int(bad.sum())} NaN or infinite values, the first at index "
            f"{first} of shape {h.shape}; leave diverged networks out."
        )
    return h, y


def check_labels(y: Array) -> Array:
    """``y`` as a 1-D array of -1 and +1; raises GeometryError otherwise."""
    y = np.asarray(y)
    if y.ndim != 1:
        raise GeometryError(f"Labels of shape {y.shape} given; (samples,) is needed.")
    wrong = ~np.isin(y, CLASSES)
    if wrong.any():
        first = int(np.argmax(wrong))
        raise GeometryError(
            f"{int(wrong.sum())} labels are neither -1 nor +1, the first is {y[first]!s} at sample "
            f"{first}; binarise the labels."
        )
    return y
