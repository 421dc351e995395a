"""Anchor points of one manifold: its capacity, radius and dimension (kernels).

For a Gaussian vector T = (t, t0) the solution vector of the mean-field theory is

    V = argmin |V - T|^2   with   V.s_i <= -kappa   for all points s_i,

the projection of T on a polyhedral cone. Since the last coordinate of every s_i is 1, kappa only
shifts t0, and by Moreau's decomposition T - V = S a with

    a = argmin_{a >= 0} |S a - (T + kappa e)|,   e the last unit vector.

The anchor point of T is s = S a / sum(a), a point of the manifold's convex hull; where a = 0 (T is
in the polar cone) it is the point of the largest s_i.(T + kappa e).

Source: Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018); Stephenson et al., ICLR 2021, App.
A.1, "Mean-Field-Theory (MFT) Manifold Capacity".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.checks import EXTREME, is_number, real_matrix
from pipeline.geometry.capacity.nnls import nonnegative_least_squares

TOLERANCE = 1e-10  # on V.s_i + kappa, relative to the longest s_i
Array = NDArray[np.float64]


@dataclass(frozen=True)
class AnchorGeometry:
    """Mean-field geometry of one manifold; means are over the Gaussian vectors T = (t, t0).

    capacity: alpha, 1/alpha = <|S a|^2> = <[t0 + t.s + kappa]_+^2 / (1 + |s|^2)>; infinite where no
        T touches the manifold.
    radius: R, R^2 = <|s - <s>|^2>, in units of the distance of the manifold's centre (the authors'
        programme).
    dimension: D <t^.s^>^2, t^ and s^ of unit length (the authors' programme).
    radius_paper: R^2 = <|s|^2> (Stephenson et al., ICLR 2021).
    dimension_paper: <(t.s^)^2> (Stephenson et al., ICLR 2021).
    resolved: number of T solved again on S itself, its Gram matrix being too inaccurate.
    """

    capacity: float
    radius: float
    dimension: float
    radius_paper: float
    dimension_paper: float
    resolved: int


def anchor_geometry(S: ArrayLike, t: ArrayLike, kappa: float = 0.0) -> AnchorGeometry:
    """Capacity, radius and dimension of one manifold from given Gaussian vectors.

    Arguments
    ---------
    S: (D+1, m) points of the manifold about its centre, in units of the centre's distance; last row
        ones.
    t: (D+1, n_t) Gaussian vectors T, the last row t0.
    kappa: margin, in the same units.

    float64. Raises GeometryError (a ValueError) for other shapes, another last row, NaN and
    infinities, and where no solution to 1e-10 is found.
    """
    s, vectors = _check(S, t, kappa)
    anchors, lengths, resolved = anchor_points(s, vectors, kappa)
    directions, projections = vectors[:-1], anchors[:-1]
    overlap = np.einsum("dn,dn->n", directions, _unit(projections))
    norms = np.linalg.norm(directions, axis=0)
    cosines = overlap / np.where(norms > 0, norms, 1)
    deviations = projections - projections.mean(axis=1, keepdims=True)
    inverse = float(np.mean(lengths))
    return AnchorGeometry(
        capacity=1 / inverse if inverse > 0 else np.inf,
        radius=float(np.sqrt(np.mean(np.sum(deviations**2, axis=0)))),
        dimension=float(len(directions) * np.mean(cosines) ** 2),
        radius_paper=float(np.sqrt(np.mean(np.sum(projections**2, axis=0)))),
        dimension_paper=float(np.mean(overlap**2)),
        resolved=resolved,
    )


def anchor_points(s: Array, t: Array, kappa: float) -> tuple[Array, Array, int]:
    """Anchor points (D+1, n_t), squared lengths |S a|^2 (n_t,) and how many T were solved again on
    S.

    Arguments
    ---------
    s: (D+1, m), t: (D+1, n_t), float64, as in ``anchor_geometry``.
    """
    shifted = t.copy()
    shifted[-1] += kappa
    overlaps = np.ascontiguousarray(shifted.T @ s)  # b: (n_t, m)
    coefficients = nonnegative_least_squares(s.T @ s, overlaps)
    points = s @ coefficients.T
    wrong = np.flatnonzero(~(_violation(s, shifted, coefficients, points) <= TOLERANCE))
    if wrong.size:
        coefficients[wrong] = _solve_again(s, shifted[:, wrong])
        points = s @ coefficients.T
        _refuse_inaccurate(_violation(s, shifted, coefficients, points))
    weights = coefficients.sum(axis=1)
    touched = weights > 0
    anchors = points / np.where(touched, weights, 1)
    anchors[:, ~touched] = s[:, np.argmax(overlaps[~touched], axis=1)]
    return anchors, np.sum(points**2, axis=0), int(wrong.size)


def _violation(s: Array, shifted: Array, coefficients: Array, points: Array) -> Array:
    """Largest violation of the optimality of each T: V.s_i + kappa must be <= 0, and 0 where a_i >
    0.
    """
    slack = (shifted - points).T @ s
    wrong = np.where(coefficients > 0, np.abs(slack), slack)
    return np.max(wrong, axis=1, initial=0) / np.max(np.linalg.norm(s, axis=0))


def _solve_again(s: Array, shifted: Array) -> Array:
    """Coefficients (problems, m) by orthogonal transformations of S, which keep its condition
    number.
    """
    from scipy.optimize import nnls

    try:
        return np.stack([nnls(s, target)[0] for target in shifted.T])
    except RuntimeError as error:
        raise GeometryError(
            f"The anchor points of a manifold of {s.shape[1]} points were not found ({error}); "
            "leave repeated and nearly equal points out."
        ) from error


def _refuse_inaccurate(violation: Array) -> None:
    largest = float(np.max(violation))
    if not largest <= TOLERANCE:
        raise GeometryError(
            f"The anchor points of a manifold were found to {largest:.1e} only ({TOLERANCE:g} is "
            "needed); its points differ too much in length: scale them or leave extreme ones out."
        )


def _unit(columns: Array) -> Array:
    length = np.linalg.norm(columns, axis=0)
    return columns / np.where(length > 0, length, 1)


def _check(S: ArrayLike, t: ArrayLike, kappa: float) -> tuple[Array, Array]:
    s, vectors = _real("S", S), _real("t", t)
    if s.shape[0] != vectors.shape[0]:
        raise GeometryError(
            f"S of shape {s.shape} and t of shape {vectors.shape} given; both need D+1 rows."
        )
    if not np.all(s[-1] == 1):
        raise GeometryError(
            "The last row of S is not all ones; append the centre's direction to the points as a row of ones."
        )
    if not is_number(kappa):
        raise GeometryError(f"kappa = {kappa!r} given; the margin is a finite number.")
    return s, vectors


def _real(name: str, values: ArrayLike) -> Array:
    array = real_matrix(name, values, "(D+1, columns)").astype(np.float64)
    if np.max(np.abs(array)) > EXTREME:
        raise GeometryError(
            f"{name} holds values beyond {EXTREME:g}, whose squares are not finite; its unit is the "
            "distance of the centre."
        )
    return array
