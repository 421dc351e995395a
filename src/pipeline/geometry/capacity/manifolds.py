"""Capacity, radius and dimension of a set of manifolds by the mean-field theory (kernel).

1. The global mean is removed; the correlation of the centres is measured.
2. The low-rank structure of the centres is found and removed from all points (``centres``).
3. Each manifold is centred and scaled by the distance of its centre; where there are more features
   than points a QR factorisation leaves as many coordinates as points; a constant 1, the centre's
   axis, is appended.
4. Its anchor points for n_t Gaussian vectors T give its capacity, radius and dimension
   (``anchors``).
5. The capacity of the set is the inverse mean, 1 / <1/alpha>.

Source: Cohen et al., Nature Communications 11, 746 (2020); Stephenson et al., ICLR 2021,
Sec. 3.2 and App. A.1.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.anchors import AnchorGeometry, anchor_geometry
from pipeline.geometry.capacity.centres import RESTARTS, SELECT, STARTS, centre_structure
from pipeline.geometry.capacity.checks import check_manifolds, check_whole, is_number
from pipeline.geometry.capacity.projection import DIRECTIONS, project_points
from pipeline.seeds import generator

VECTORS = 200  # n_t
PANEL = 16  # columns that the QR factorisation takes at a time
ROUNDING = 4 * np.finfo(np.float64).eps  # of a mean, relative
SAME = 1e-10  # centres closer than that, relative to their size, are the same
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ManifoldCapacity:
    """Mean-field geometry of P manifolds.

    capacity, radius, dimension, radius_paper, dimension_paper: (P,), as in ``AnchorGeometry``.
    mean_capacity: inverse mean of the capacities, 1 / <1/alpha>.
    center_correlation: mean |cos| of the centred centres, over pairs, before anything is removed.
    residual_correlation: the same after K directions are removed.
    K: number of directions of common structure of the centres that are removed.
    points: (P,) points of each manifold.
    resolved: problems solved again with higher accuracy; unconverged: restarts of the search for
        the centre structure that had not converged.
    """

    capacity: Array
    radius: Array
    dimension: Array
    radius_paper: Array
    dimension_paper: Array
    mean_capacity: float
    center_correlation: float
    residual_correlation: float
    K: int
    points: NDArray[np.int64]
    resolved: int
    unconverged: int


def manifold_capacity(
    manifolds: Sequence[ArrayLike],
    kappa: float = 0.0,
    n_t: int = VECTORS,
    seed: Any = 0,
    select: str = "stability",
    restarts: int = RESTARTS,
    starts: str = "random",
    directions: int = DIRECTIONS,
) -> ManifoldCapacity:
    """Capacity, radius and dimension of manifolds, their common centre structure removed.

    Two points M = 2 have a dimension near 0.8 and not 1, since the QR factorisation of M centred
    points of rank M - 1 leaves one coordinate that is zero (and is counted, as in the authors'
    programme). Points that are all the same have radius and dimension 0. More points than features
    are used as they are.

    Arguments
    ---------
    manifolds: P at least 2 arrays (features, points) of real numbers, the points of one class each;
        float32 is computed with in float64 manifold by manifold.
    kappa: margin, in units of the distance of each centre.
    n_t: number of Gaussian vectors T per manifold, see docs/capacity.md for the noise they leave.
    seed: of the streams of the projection, the restarts and the T (one stream per manifold). A
        numpy RandomState or Generator instead is drawn from in the order of the authors' programme.
    select, restarts, starts: search for the centre structure, see ``centre_structure``. The least
        cost of 50 restarts is repeatable, the most stable of 10 is not quite.
    directions: representations of more features are projected on as many random unit directions.

    Raises GeometryError (a ValueError) for fewer than two manifolds, ragged features, NaN and
    infinities, equal centres, a centre at the mean of all, and options out of range.
    """
    sets = check_manifolds(manifolds)
    check_options(
        kappa=kappa, n_t=n_t, select=select, restarts=restarts, starts=starts, directions=directions
    )
    random, vectors = _streams(seed)
    if sets[0].shape[0] > directions:
        number = seed if isinstance(seed, int | np.integer) else 0
        ends = np.cumsum([one.shape[1] for one in sets])[:-1]
        sets = np.split(project_points(sets, directions, int(number)), ends, axis=1)
    counts = np.array([one.shape[1] for one in sets])
    means = np.stack([one.mean(axis=1, dtype=np.float64) for one in sets], axis=1)
    origin = means @ (counts / counts.sum())
    centres = means - origin[:, None]
    _refuse_equal(centres)
    structure = centre_structure(centres, random, select, restarts, starts)
    found = []
    for index, points in enumerate(sets):
        reduced = _reduced(points, means[:, index], centres[:, index], structure.directions, index)
        t = vectors(index).standard_normal((len(reduced), n_t))
        found.append(anchor_geometry(reduced, t, kappa))
    return _collect(found, counts, structure)


def _collect(
    found: list[AnchorGeometry], counts: NDArray[np.int64], structure: Any
) -> ManifoldCapacity:
    columns = {
        name: np.array([getattr(one, name) for one in found])
        for name in ("capacity", "radius", "dimension", "radius_paper", "dimension_paper")
    }
    inverse = float(np.mean(1 / columns["capacity"]))
    return ManifoldCapacity(
        **columns,
        mean_capacity=1 / inverse if inverse > 0 else np.inf,
        center_correlation=structure.correlation,
        residual_correlation=float(structure.residual[structure.K]),
        K=structure.K,
        points=counts,
        resolved=sum(one.resolved for one in found),
        unconverged=structure.unconverged,
    )


def _reduced(points: NDArray[Any], mean: Array, centre: Array, removed: Array, index: int) -> Array:
    """One manifold as the S of ``anchor_geometry``: (D+1, M), D the lesser of features and
    points.
    """
    from scipy.linalg.blas import dgemm
    from scipy.linalg.lapack import dgeqrt

    deviations = np.subtract(points, mean[:, None], dtype=np.float64, order="F")
    axis = centre
    if removed.shape[1]:
        along = removed.T @ deviations
        deviations = dgemm(-1.0, removed, along, beta=1.0, c=deviations, overwrite_c=1)
        axis = centre - removed @ (removed.T @ centre)
    features, count = deviations.shape
    coordinates: Array = deviations
    if features > count:  # numpy's QR takes twice as long for tall matrices
        factors = dgeqrt(min(PANEL, count), deviations, overwrite_a=1)[0]
        coordinates = np.triu(factors[:count])
    size = float(np.linalg.norm(coordinates))
    if size <= ROUNDING * np.sqrt(count) * float(np.linalg.norm(mean)):
        size, coordinates = 0.0, np.zeros_like(coordinates)  # one repeated point has no extent
    distance = float(np.linalg.norm(axis))
    extent = max(float(np.linalg.norm(centre)), size)
    if distance <= SAME * extent:
        raise GeometryError(
            f"The centre of manifold {index} coincides with the mean of all centres, so it has no "
            "direction; leave that manifold out or give more of them."
        )
    return np.vstack([coordinates / distance, np.ones((1, count))])


def check_options(**options: Any) -> None:
    """Raise GeometryError for an option that ``manifold_capacity`` lacks, or a value out of range."""
    valid = [*inspect.signature(manifold_capacity).parameters][1:]
    if unknown := sorted(set(options) - set(valid)):
        raise GeometryError(
            f"The capacity of manifolds has no options {', '.join(unknown)}; valid are: "
            f"{', '.join(valid)}."
        )
    if not is_number(kappa := options.get("kappa", 0.0)):
        raise GeometryError(f"kappa = {kappa!r} given; the margin is a finite number.")
    for name in ("n_t", "directions", "restarts"):
        check_whole(name, options.get(name, 1))
    for name, choices in (("select", SELECT), ("starts", STARTS)):
        if not isinstance(choice := options.get(name, choices[0]), str) or choice not in choices:
            raise GeometryError(f"{name} = {choice!r} given; valid are: {', '.join(choices)}.")


def _streams(seed: Any) -> tuple[Any, Callable[[int], Any]]:
    """What draws the restarts, and what draws the T of a manifold."""
    if isinstance(seed, np.random.RandomState | np.random.Generator):
        return seed, lambda _: seed
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer):
        raise GeometryError(
            f"seed = {seed!r} given; valid is a whole number, or a numpy RandomState or Generator."
        )
    return (
        generator(int(seed), "capacity centres", 0, "analysis"),
        lambda index: generator(int(seed), "capacity vectors", 0, "analysis", index),
    )


def _refuse_equal(centres: Array) -> None:
    """Raise GeometryError where two manifolds share a centre, so that no hyperplane tells them
    apart.
    """
    gram = centres.T @ centres
    squares = np.diagonal(gram)
    distances = squares[:, None] + squares - 2 * gram
    near = np.argwhere(np.triu(distances <= 1e-6 * np.max(squares), 1))
    for first, second in near:  # the difference of squares is too coarse to decide
        difference = np.linalg.norm(centres[:, first] - centres[:, second])
        if difference <= SAME * np.sqrt(np.max(squares)):
            raise GeometryError(
                f"Manifolds {first} and {second} have the same centre, so that no direction tells "
                "them apart; give each class once, and leave out layers whose units are all silent."
            )
