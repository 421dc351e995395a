"""Random projection of representations with many features (kernel).

y_k = g_k.x / |g_k|, g_k Gaussian: the coordinates of x along random unit directions, which keep the
geometry of a few thousand points. The directions are made block by block from a counter-based
stream, used and forgotten: they would not fit into memory for the first layers of large networks.

Source: Cohen et al., Nature Communications 11, 746 (2020), Methods; 5000 directions as in the
    authors' programme.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.seeds import generator

DIRECTIONS = 5000  # number of directions; representations with no more features stay as they are
BLOCK = 1024  # features whose directions are held at a time: 20 MB


def project_points(
    pieces: Sequence[NDArray[Any]], directions: int = DIRECTIONS, seed: int = 0
) -> NDArray[Any]:
    """Coordinates along ``directions`` random unit directions, the same for all points.

    Arguments
    ---------
    pieces: arrays (features, points), side by side the points that are projected; only slices are
        read.
    directions: their number; seed: of their stream. The directions depend on both and on the number
        of features, not on the points, the pieces or the dtype.

    Returns (directions, all points): float32 where all pieces are float32, else float64.
    """
    features = pieces[0].shape[0]
    dtype: Any = np.float32 if all(piece.dtype == np.float32 for piece in pieces) else np.float64
    total = sum(piece.shape[1] for piece in pieces)
    projected = np.zeros((directions, total), dtype=dtype)
    squares = np.zeros(directions)
    for number, start in enumerate(range(0, features, BLOCK)):
        rows = slice(start, min(start + BLOCK, features))
        random = generator(seed, "projection", 0, "analysis", directions, number)
        # float32 draws: half the time, and as good as any directions
        block = random.standard_normal((rows.stop - rows.start, directions), dtype=np.float32)
        squares += np.einsum("ij,ij->j", block, block, dtype=np.float64)
        points = np.concatenate([piece[rows] for piece in pieces], axis=1).astype(dtype, copy=False)
        projected += np.matmul(block.astype(dtype, copy=False).T, points)
    projected /= np.sqrt(squares)[:, None].astype(dtype)
    return projected
