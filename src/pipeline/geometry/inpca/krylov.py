"""InPCA out of core: eigenpairs of the largest magnitude from passes over tiles of D.

W is never formed. With the row means r and the grand mean g of D,

    W x = -1/2 [D x - r (1.x) - 1 (r.x) + g 1 (1.x)],   |W|^2 = 1/4 (sum D^2 - 2 m |r|^2 + m^2 g^2),

so that a pass over D multiplies a block of vectors. A block Krylov space of such products holds the
extreme eigenvectors after few passes; the residuals |W v - lambda v| say when.

Source: Golub & Van Loan, Matrix Computations, ch. 10 (block Lanczos); Halko, Martinsson & Tropp, SIAM
Rev. 53, 217 (2011).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.inpca.embedding import Embedding, check_weights, finish

EXTRA = 6  # vectors of a block beyond the components asked for
LEAST = 16  # vectors of a block at least
TOLERANCE = 1e-7  # on residuals, relative to the largest eigenvalue
PASSES = 60  # at most
PROBES = 64  # random vectors for the norm of a weighted matrix
KEPT = 12  # blocks of the space that are held; then it starts again from the best vectors
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Sums:
    """What one pass over D gives: row sums (m,) and the sum of all squares."""

    rows: Array
    squares: float


def embed_tiles(
    multiply: Callable[[Array], Array],
    sums: Sums,
    n_components: int = 3,
    *,
    weights: ArrayLike | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> Embedding:
    """Embed models whose distances are read in passes.

    Arguments
    ---------
    multiply: X (m, block) -> D X, one pass; sums: row sums of D and sum of D^2.
    weights: (m,) multiplicities, as for ``embed``. With them |W| is not known from the sums: it is
        estimated from 64 random vectors, with a relative standard error of about 10 % / sqrt(rank).
    tolerance: of the residuals |W v - lambda v|, relative to the largest |lambda|.
    seed: of the start block.

    Raises GeometryError for sums that are not finite and where the residuals stay above the tolerance.
    """
    size = len(sums.rows)
    if not np.isfinite(sums.rows).all() or not np.isfinite(sums.squares):
        raise GeometryError(
            "Row sums of D are not finite; leave out the models that have no distance."
        )
    if not 1 <= n_components <= size:
        raise GeometryError(
            f"n_components is {n_components}; valid are 1 to {size} for {size} models."
        )
    multiplicities = check_weights(weights, size)
    shares = multiplicities / multiplicities.sum()
    root = np.sqrt(multiplicities)[:, None]
    means = sums.rows / size if weights is None else multiply(shares[:, None])[:, 0]
    grand = float(shares @ means)

    def centred(x: Array) -> Array:
        y = root * x  # sqrt(omega) W sqrt(omega), symmetric
        ones = y.sum(axis=0)
        found: Array = multiply(y) - np.outer(means, ones) - means @ y + grand * ones
        return -0.5 * root * found

    if weights is None:
        square = 0.25 * (sums.squares - 2 * size * float(means @ means) + (size * grand) ** 2)
    else:
        probes = np.random.default_rng(seed).choice([-1.0, 1.0], (size, PROBES))
        square = float(np.sum(centred(probes) ** 2)) / PROBES
    values, vectors, residuals = largest_eigenpairs(
        centred, size, n_components, tolerance=tolerance, seed=seed
    )
    square = max(square, float(np.sum(values**2)))  # rounding, or too small an estimate
    return finish(
        values, vectors / root, float(np.sqrt(square)), (means, shares), multiplicities, residuals
    )


def largest_eigenpairs(
    multiply: Callable[[Array], Array],
    size: int,
    count: int,
    *,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> tuple[Array, Array, Array]:
    """The eigenpairs of largest magnitude of a symmetric matrix: values (count,), unit vectors (m,
    count), residuals (count,).

    Arguments
    ---------
    multiply: X (m, block) -> A X.
    """
    block = min(size, max(LEAST, count + EXTRA))
    draw = np.random.default_rng(seed)
    basis = np.linalg.qr(draw.standard_normal((size, block)))[0]
    image = multiply(basis)
    for _ in range(PASSES):
        values, combos = _ritz(basis, image)
        top = combos[:, :count]
        vectors = basis @ top
        residuals = np.linalg.norm(image @ top - vectors * values[:count], axis=0)
        scale = np.abs(values).max(initial=0.0)
        if basis.shape[1] >= size or residuals.max() <= tolerance * scale or scale == 0:
            return values[:count], vectors, residuals
        best = combos[:, :block]
        rest = image @ best - basis @ best * values[:block]  # spans what the space lacks
        if basis.shape[1] + block > KEPT * block:
            best = combos[:, : 2 * block]
            basis, image = basis @ best, image @ best
        fresh = _orthogonal(rest, basis)
        if not fresh.shape[1]:
            return values[:count], vectors, residuals
        basis = np.hstack([basis, fresh])
        image = np.hstack([image, multiply(fresh)])
    raise GeometryError(
        f"After {PASSES} passes the residuals are {residuals.max():.1e}, above {tolerance:.1e} of the "
        "largest eigenvalue; ask for fewer components, or raise the tolerance."
    )


def _ritz(basis: Array, image: Array) -> tuple[Array, Array]:
    """Ritz values by falling magnitude, and their coefficients in the basis."""
    small = basis.T @ image
    values, combos = np.linalg.eigh((small + small.T) / 2)
    order = np.argsort(-np.abs(values), kind="stable")
    return values[order], combos[:, order]


def _orthogonal(candidates: Array, basis: Array) -> Array:
    """Orthonormal directions of the candidates that the basis has not."""
    rest = candidates
    for _ in range(2):  # twice is enough
        rest = rest - basis @ (basis.T @ rest)
    left, sizes, _ = np.linalg.svd(rest, full_matrices=False)
    there = sizes > 1e-12 * max(np.linalg.norm(candidates), np.finfo(float).tiny)
    fresh = left[:, there]
    fresh = fresh - basis @ (basis.T @ fresh)
    return np.linalg.qr(fresh)[0] if fresh.shape[1] else fresh
