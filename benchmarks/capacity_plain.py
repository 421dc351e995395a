"""The plain way of manifold capacity: one restart, one manifold and one vector T after another.

What a physicist writes from the papers with NumPy and a solver of quadratic programs; it measures what
``pipeline.geometry.capacity`` measures. Sources: Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018);
Cohen et al., Nature Communications 11, 746 (2020); Stephenson et al., ICLR 2021.
"""

import time
from collections import Counter

import cvxopt
import numpy as np

cvxopt.solvers.options |= {
    "show_progress": False,
    "abstol": 1e-10,
    "reltol": 1e-10,
    "feastol": 1e-10,
}

GRADIENT = 1e-6  # norm at which a descent has ended
ITERATIONS = 1000  # most of one descent
SHORTEST_STEP = 1e-12


def manifold_capacity(manifolds, draw_start, draw_vectors, kappa=0.0, restarts=10, conjugate=True):
    """Capacity, radius and dimension of each manifold, after removal of the centres' common structure.

    manifolds: arrays (features, points). draw_start(n, k): a start (n, k) of one restart.
    draw_vectors(rows): Gaussian vectors (rows, n_t) of one manifold. conjugate: whether descents use
    conjugate gradients, or the gradient alone. Also returned: what was found on
    the way, iterations of all descents, and the seconds of the three stages.
    """
    seconds, clock = Counter(), time.perf_counter()
    origin = np.hstack(manifolds).mean(axis=1, keepdims=True)
    manifolds = [points - origin for points in manifolds]
    centres = np.stack([points.mean(axis=1) for points in manifolds], axis=1)
    most = most_directions(centres)
    seconds["singular values of the centres"] = time.perf_counter() - clock

    clock = time.perf_counter()
    removed, correlations, iterations = common_structure(
        centres, most, draw_start, restarts, conjugate
    )
    seconds["search for their structure"] = time.perf_counter() - clock

    clock = time.perf_counter()
    rows = []
    for points in manifolds:
        s = reduce_manifold(points - removed @ (removed.T @ points))
        rows.append(geometry(s, draw_vectors(len(s)), kappa))
    capacity, radius, dimension = np.array(rows).T
    seconds["anchor points"] = time.perf_counter() - clock
    return {
        "capacity": capacity,
        "radius": radius,
        "dimension": dimension,
        "mean_capacity": 1 / np.mean(1 / capacity),
        "center_correlation": correlations[0],
        "K": removed.shape[1],
        "searched": len(correlations) - 1,
        "iterations": iterations,
        "seconds": dict(seconds),
    }


def most_directions(centres):
    """K_max: 9 more than the components that hold 95 % of the variance, at most P - 2."""
    centred = centres - centres.mean(axis=1, keepdims=True)
    _, singular, _ = np.linalg.svd(centred, full_matrices=True)
    needed = np.argmax(np.cumsum(singular**2) >= 0.95 * np.sum(singular**2)) + 1
    return min(11 if needed == 1 else needed + 9, centres.shape[1] - 2)


def common_structure(centres, most, draw_start, restarts, conjugate):
    """Directions (features, K) to remove, mean |correlation| left for each K tried, iterations."""
    centred = centres - centres.mean(axis=1, keepdims=True)
    basis, upper = np.linalg.qr(centred)
    basis, x = basis[:, :-1], upper[:-1].T
    gram, norms = x @ x.T, np.linalg.norm(x, axis=1)
    correlations, found, iterations = [mean_correlation(x)], [], 0
    for k in range(1, most + 1):
        steadiest = -1.0
        for _ in range(restarts):
            v, done = descend(x, gram, draw_start(len(x) - 1, k), conjugate)
            iterations += done
            left = np.min(np.linalg.norm(x - x @ v @ v.T, axis=1) / norms)
            if left > steadiest:
                steadiest, best = left, v
        found.append(best)
        correlations.append(mean_correlation(x - x @ best @ best.T))
        if k >= 5 and np.all(np.diff(correlations[-4:]) > 0):
            break
    return basis @ found[np.argmin(correlations[1:])], correlations, iterations


def mean_correlation(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = np.abs(unit @ unit.T)
    return (cosines.sum() - np.trace(cosines)) / (len(x) * (len(x) - 1))


def cost(x, gram, v):
    """Half the squared correlations of what v leaves, diagonal included, and their tangent gradient."""
    c = x @ v
    b = gram - c @ c.T
    d = np.diag(b)
    w = b / np.outer(d, d)
    squares = b * w
    gradient = 2 * x.T @ ((squares.sum(axis=1) / d)[:, None] * c - w @ c)
    return squares.sum() / 2, tangent(v, gradient)


def tangent(v, direction):
    return direction - v @ (v.T @ direction)


def orthonormal(v):
    q, r = np.linalg.qr(v)
    return q * np.where(np.diag(r) < 0, -1, 1)


def descend(x, gram, start, conjugate):
    """Gradient descent on the Grassmann manifold, QR retraction, backtracking with interpolation."""
    v = orthonormal(start)
    value, gradient = cost(x, gram, v)
    direction, step = -gradient, 1 / np.linalg.norm(gradient)
    for iteration in range(ITERATIONS):
        if np.linalg.norm(gradient) < GRADIENT:
            return v, iteration
        slope = np.sum(gradient * direction)
        if slope >= 0:
            direction, slope = -gradient, -np.sum(gradient**2)
        while True:
            moved = orthonormal(v + step * direction)
            lower, steepest = cost(x, gram, moved)
            if lower <= value + 1e-4 * step * slope + 1e-15 * value:
                break
            parabola = -slope * step**2 / (2 * (lower - value - slope * step))
            step = np.clip(parabola, step / 10, step / 2)
            if step * np.linalg.norm(direction) < SHORTEST_STEP:
                return v, iteration
        direction, change = tangent(moved, direction), steepest - tangent(moved, gradient)
        curvature = np.sum(direction * change)
        factor = max(0, np.sum(steepest * change) / curvature) if curvature > 0 else 0
        direction = factor * conjugate * direction - steepest  # Hestenes & Stiefel
        v, value, gradient, step = moved, lower, steepest, 2 * step
    return v, ITERATIONS


def reduce_manifold(points):
    """The manifold about its centre in units of the centre's distance, (D+1, points), last row ones."""
    centre = points.mean(axis=1, keepdims=True)
    deviations = (points - centre) / np.linalg.norm(centre)
    if deviations.shape[0] > deviations.shape[1]:
        axes, _ = np.linalg.qr(deviations)
        deviations = axes.T @ deviations
    return np.vstack([deviations, np.ones((1, points.shape[1]))])


def geometry(s, t, kappa):
    """Capacity, radius and dimension of one manifold from the anchor points of all T."""
    anchors = np.stack([anchor(s, vector, kappa) for vector in t.T], axis=1)
    fields = t[-1] + np.sum(t[:-1] * anchors, axis=0) + kappa
    inverse = np.mean(np.maximum(fields, 0) ** 2 / (1 + np.sum(anchors**2, axis=0)))
    deviations = anchors - anchors.mean(axis=1, keepdims=True)
    radius = np.sqrt(np.mean(np.sum(deviations**2, axis=0)))
    lengths = np.linalg.norm(t[:-1], axis=0) * np.linalg.norm(anchors, axis=0)
    cosines = np.sum(t[:-1] * anchors, axis=0) / lengths
    return 1 / inverse, radius, len(anchors) * np.mean(cosines) ** 2


def anchor(s, t, kappa):
    """Anchor point (D,) of one T."""
    pushed = t - project(s, t, kappa)
    if not pushed.any():
        return s[:-1, np.argmax(t @ s)]
    return pushed[:-1] / pushed[-1]


def project(s, t, kappa):
    """V = argmin |V - T|^2 with s_i.V <= -kappa for all points s_i, as a quadratic program."""
    if np.max(t @ s) < -kappa:
        return t
    rows, points = s.shape
    found = cvxopt.solvers.qp(
        cvxopt.matrix(np.eye(rows)),
        cvxopt.matrix(-t),
        cvxopt.matrix(s.T.copy()),
        cvxopt.matrix(np.full(points, -float(kappa))),
    )
    return np.array(found["x"]).ravel()
