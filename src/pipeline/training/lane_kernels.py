"""One epoch of LANES fully connected networks at once, on sparse images, on one core.

Everything that belongs to one unit of all LANES networks lies side by side in memory ("lanes"), so each
sum over samples, units or weights is a plain loop over vectors with no sum across a vector: the result
of a network does not depend on which networks share its vectors, nor on the number of threads.

One pass yields, for the weights of epoch t, the errors and the class sums behind R+, R- and D, and the
gradient that leads to epoch t + 1 (the forward pass is shared).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from pipeline.models.fully_connected import LEAKY_SLOPE as SLOPE
from pipeline.training import lane_math
from pipeline.training.kernel_cache import cache_folder, kernels_cached_in
from pipeline.training.lane_math import (
    FASTMATH,
    LANES,
    MEMBERS,
    add_lane_products,
    add_scaled_lanes,
    add_sparse_rows,
    exp32,
    f32,
    log1p32,
    multiply_lanes,
    tanh32,
)

ACTIVATIONS = {"tanh": 0, "relu": 1, "leaky_relu": 2, "silu": 3, "identity": 4}
LEAKY_SLOPE = f32(SLOPE)
ONE, HALF, ZERO = f32(1), f32(0.5), f32(0)

CACHE = cache_folder(__file__, lane_math.__file__)


def compiled(function: Callable[..., Any]) -> Any:
    """The function compiled by numba at its first call, or read from the cache of an earlier job."""
    with kernels_cached_in(CACHE):
        return njit(fastmath=FASTMATH, nogil=True, error_model="numpy", cache=True)(function)


@compiled
def _copy(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] = y[j]


@compiled
def _multiply(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] *= y[j]


@compiled
def _add(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] += y[j]


@compiled
def _activate(z, a, slope, kind):  # type: ignore[no-untyped-def]
    """a = activation(z) and slope = its derivative, elementwise over flat arrays."""
    # z and a may be the same array, so each element is read before it is written.
    if kind == 0:
        for j in range(z.size):
            t = tanh32(z[j])
            a[j] = t
            slope[j] = ONE - t * t
    elif kind == 1:
        for j in range(z.size):
            rate = ONE if z[j] > ZERO else ZERO
            a[j] = z[j] * rate
            slope[j] = rate
    elif kind == 2:
        for j in range(z.size):
            rate = ONE if z[j] > ZERO else LEAKY_SLOPE
            a[j] = z[j] * rate
            slope[j] = rate
    elif kind == 3:
        for j in range(z.size):
            x = z[j]
            e = exp32(-abs(x))
            t = ONE / (ONE + e)
            s = t if x > ZERO else e * t
            a[j] = x * s
            slope[j] = s * (ONE + x * (ONE - s))
    else:
        for j in range(z.size):
            a[j] = z[j]
            slope[j] = ONE


@compiled
def _forward(z, hidden, bias, readout, readout_bias, kind, a, slope, field):  # type: ignore[no-untyped-def]
    """Representations a (layers, H, LANES) and logit difference ``field`` from first-layer inputs z."""
    layers, width, _ = a.shape
    _activate(z, a[0].reshape(-1), slope[0].reshape(-1), kind)
    for layer in range(1, layers):
        above = a[layer]
        _copy(above.reshape(-1), bias[layer - 1].reshape(-1))
        below = a[layer - 1].ctypes.data
        for i in range(width):
            add_lane_products(above[i].ctypes.data, hidden[layer - 1, i].ctypes.data, below, width)
        flat = above.reshape(-1)
        _activate(flat, flat, slope[layer].reshape(-1), kind)
    _copy(field, readout_bias)
    add_lane_products(field.ctypes.data, readout.ctypes.data, a[layers - 1].ctypes.data, width)


@compiled
def _loss(field, y, weight, loss, delta, wrong):  # type: ignore[no-untyped-def]
    """loss += w log(1 + exp(-y f)); delta = w (sigmoid(f) - (1 + y)/2), its derivative by f."""
    target = (y + ONE) * HALF
    for r in range(LANES):
        f = field[r]
        e = exp32(-abs(f))
        t = ONE / (ONE + e)
        positive = t if f > ZERO else e * t
        delta[r] = weight[r] * (positive - target)
        loss[r] += weight[r] * (log1p32(e) + max(-y * f, ZERO))
        wrong[r] = (f > ZERO) != (y > ZERO)


@compiled
def _project(a, weight, total, directed, square, scale):  # type: ignore[no-untyped-def]
    """Add h/|h| of the networks in which the sample has weight to its class's sums.

    |h| = 0 has no direction and stays at the origin. square and scale (LANES,) are work space.
    """
    for r in range(LANES):
        square[r] = ZERO
    rows = a.ctypes.data
    add_lane_products(square.ctypes.data, rows, rows, a.shape[0])
    for r in range(LANES):
        inside = ONE if (square[r] > ZERO and weight[r] > ZERO) else ZERO
        scale[r] = inside / np.sqrt(square[r] if square[r] > ZERO else ONE)
        directed[r] += inside
    add_scaled_lanes(total.ctypes.data, scale.ctypes.data, rows, a.shape[0])


@compiled
def _backward(a, slope, hidden, readout, delta, gradients, g):  # type: ignore[no-untyped-def]
    """Add this sample's gradient of all layers but the first; leaves dL/dz of layer 1 in g[0]."""
    g_hidden, g_bias, g_readout, g_field = gradients
    layers, width, _ = a.shape
    top = layers - 1
    rate = delta.ctypes.data
    _add(g_field, delta)
    add_scaled_lanes(g_readout.ctypes.data, rate, a[top].ctypes.data, width)
    multiply_lanes(g[top].ctypes.data, rate, readout.ctypes.data, slope[top].ctypes.data, width)
    for layer in range(top, 0, -1):
        below = layer - 1
        g[below] = ZERO
        for i in range(width):
            factor = g[layer, i].ctypes.data
            add_scaled_lanes(g_hidden[below, i].ctypes.data, factor, a[below].ctypes.data, width)
            add_scaled_lanes(g[below].ctypes.data, factor, hidden[below, i].ctypes.data, width)
        _multiply(g[below].reshape(-1), slope[below].reshape(-1))
    _add(g_bias.reshape(-1), g.reshape(-1))


@compiled
def _first_layer(first, index, value, group, weights, bias, z):  # type: ignore[no-untyped-def]
    """z (MEMBERS, H LANES) = bias + S W^T of one group of samples (the offset is in the bias)."""
    for member in range(MEMBERS):
        _copy(z[member], bias)
    add_sparse_rows(
        z.ctypes.data,
        weights.ctypes.data,
        weights.shape[1],
        index.ctypes.data,
        value.ctypes.data,
        first[group],
        first[group + 1],
    )


@compiled
def train_block(rows, start, y, weight, network, kind, measured, sums, gradients, wrong, z):  # type: ignore[no-untyped-def]
    """One block of samples: first-layer inputs, errors, class sums and all gradients but the first's.

    rows: (first, index, value) of the packed samples; start: first sample (even); y (block,) float32;
    weight (block or 1, LANES) float32, the sample weights divided by their sum; network: (W (N, H LANES),
    bias (H LANES,), hidden (L-2, H, H, LANES), hidden bias (L-2, H, LANES), read-out (H, LANES), read-out
    bias (LANES,)); measured (L-1,) bool; sums: (sum of h/|h| (2 classes, L-1, H, LANES), number of h != 0
    (2, L-1, LANES), loss (LANES,)) float32, added to, class 0 being +1; gradients: (hidden, bias (L-1, H,
    LANES), read-out, read-out bias) float32, added to, or read-out of length 0 when none are wanted;
    wrong (block, LANES) bool, set; z (block, H LANES) float32, set to dL/dz of layer 1.
    """
    first, index, value = rows
    weights, bias, hidden, hidden_bias, readout, readout_bias = network
    total, directed, loss = sums
    layers = hidden.shape[0] + 1
    a = np.empty((layers, readout.shape[0], LANES), np.float32)
    slope = np.empty_like(a)
    g = np.empty_like(a)
    field, delta, square, scale = np.empty((4, LANES), np.float32)
    wants_gradient = gradients[2].shape[0] > 0
    for s in range(y.shape[0]):
        if s % MEMBERS == 0:
            group = (start + s) // MEMBERS
            _first_layer(first, index, value, group, weights, bias, z[s : s + MEMBERS])
        w = weight[s if weight.shape[0] > 1 else 0]
        side = 0 if y[s] > ZERO else 1
        _forward(z[s], hidden, hidden_bias, readout, readout_bias, kind, a, slope, field)
        _loss(field, y[s], w, loss, delta, wrong[s])
        for layer in range(layers):
            if measured[layer]:
                _project(a[layer], w, total[side, layer], directed[side, layer], square, scale)
        if wants_gradient:
            _backward(a, slope, hidden, readout, delta, gradients, g)
            _copy(z[s], g[0].reshape(-1))


@compiled
def first_layer_gradient(columns, z, gradient):  # type: ignore[no-untyped-def]
    """gradient (N, H LANES) += S^T dL/dz for one block; columns: the block's packed features.

    N is rounded up to a multiple of MEMBERS.
    """
    first, index, value = columns
    for group in range(first.shape[0] - 1):
        feature = group * MEMBERS
        add_sparse_rows(
            gradient[feature].ctypes.data,
            z.ctypes.data,
            z.shape[1],
            index.ctypes.data,
            value.ctypes.data,
            first[group],
            first[group + 1],
        )


@compiled
def count_errors(rows, y, network, kind, errors):  # type: ignore[no-untyped-def]
    """errors (LANES,) int64 += number of misclassified samples of a packed set (the test set)."""
    first, index, value = rows
    weights, bias, hidden, hidden_bias, readout, readout_bias = network
    width = readout.shape[0]
    a = np.empty((hidden.shape[0] + 1, width, LANES), np.float32)
    slope = np.empty_like(a)
    field = np.empty(LANES, np.float32)
    z = np.empty((MEMBERS, weights.shape[1]), np.float32)
    for s in range(y.shape[0]):
        if s % MEMBERS == 0:
            _first_layer(first, index, value, s // MEMBERS, weights, bias, z)
        _forward(z[s % MEMBERS], hidden, hidden_bias, readout, readout_bias, kind, a, slope, field)
        for r in range(LANES):
            errors[r] += (field[r] > ZERO) != (y[s] > ZERO)
