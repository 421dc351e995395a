"""One epoch of LANES fully connected networks at once, on sparse images, on one core.

Everything that belongs to one unit of all LANES networks lies side by side in memory ("lanes"), so each
sum over samples, units or weights is a plain loop over vectors with no sum across a vector: the result
of a network does not depend on which networks share its vectors, nor on the number of threads.

One pass yields, for the weights of epoch t, the errors and the class sums behind R+, R- and D, and the
gradient that leads to epoch t + 1 (the forward pass is shared).
"""

from __future__ import annotations

import numpy as np

from pipeline.kernel_cache import compiler
from pipeline.models import fully_connected
from pipeline.models.fully_connected import LEAKY_SLOPE as SLOPE
from pipeline.training import lane_math, lane_matrices, sparse
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
from pipeline.training.lane_matrices import add_matrix_product

ACTIVATIONS = {"tanh": 0, "relu": 1, "leaky_relu": 2, "silu": 3, "identity": 4}
LEAKY_SLOPE = f32(SLOPE)
ONE, HALF, ZERO = f32(1), f32(0.5), f32(0)

CHUNK = 8  # samples that go through the hidden layers together, a multiple of MEMBERS

compiled = compiler(
    __file__,
    lane_math.__file__,
    lane_matrices.__file__,
    sparse.__file__,
    fully_connected.__file__,
    fastmath=FASTMATH,
)


@compiled
def copy_values(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] = y[j]


@compiled
def _multiply(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] *= y[j]


@compiled
def add_values(x, y):  # type: ignore[no-untyped-def]
    for j in range(x.size):
        x[j] += y[j]


@compiled
def activate(z, a, slope, kind):  # type: ignore[no-untyped-def]
    """a = activation(z) and slope = its derivative, elementwise over flat arrays (three different ones)."""
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
def _forward(z, hidden, bias, readout, readout_bias, kind, a, slope, inputs, field):  # type: ignore[no-untyped-def]
    """Representations and logit differences of some samples from their first-layer inputs z.

    z (samples, H LANES); a and slope (layers, CHUNK, H, LANES) and field (CHUNK, LANES), set; inputs
    (CHUNK, H, LANES): work space.
    """
    layers, _, width, _ = a.shape
    samples = z.shape[0]
    size = samples * width * LANES
    activate(z.reshape(-1), a[0].reshape(-1)[:size], slope[0].reshape(-1)[:size], kind)
    for layer in range(1, layers):
        for s in range(samples):
            copy_values(inputs[s].reshape(-1), bias[layer - 1].reshape(-1))
        add_matrix_product(
            inputs.ctypes.data,
            hidden[layer - 1].ctypes.data,
            a[layer - 1].ctypes.data,
            (1, width, width, 1, width, 1),
            width,
            samples,
            width,
        )
        # Not in place: only loops over different arrays become vector instructions.
        flat = inputs.reshape(-1)[:size]
        activate(flat, a[layer].reshape(-1)[:size], slope[layer].reshape(-1)[:size], kind)
    for s in range(samples):
        copy_values(field[s], readout_bias)
        above = a[layers - 1, s].ctypes.data
        add_lane_products(field[s].ctypes.data, readout.ctypes.data, above, width)


@compiled
def add_loss(field, y, weight, loss, delta, wrong):  # type: ignore[no-untyped-def]
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
def _backward(a, slope, hidden, readout, delta, gradients, g, samples):  # type: ignore[no-untyped-def]
    """Add the samples' gradients of all layers but the first; leaves dL/dz of layer 1 in g[0].

    a, slope, g: (layers, CHUNK, H, LANES); delta (CHUNK, LANES).
    """
    g_hidden, g_bias, g_readout, g_field = gradients
    layers, _, width, _ = a.shape
    top = layers - 1
    for s in range(samples):
        rate = delta[s].ctypes.data
        add_values(g_field, delta[s])
        add_scaled_lanes(g_readout.ctypes.data, rate, a[top, s].ctypes.data, width)
        slopes = slope[top, s].ctypes.data
        multiply_lanes(g[top, s].ctypes.data, rate, readout.ctypes.data, slopes, width)
    for layer in range(top, 0, -1):
        below = layer - 1
        rates = g[layer].ctypes.data
        add_matrix_product(
            g_hidden[below].ctypes.data,
            rates,
            a[below].ctypes.data,
            (width, 1, 1, width, 1, width),
            width,
            width,
            samples,
        )
        g[below] = ZERO
        add_matrix_product(
            g[below].ctypes.data,
            hidden[below].ctypes.data,
            rates,
            (1, width, 1, width, width, 1),
            width,
            samples,
            width,
        )
        _multiply(g[below].reshape(-1), slope[below].reshape(-1))
    for layer in range(layers):
        for s in range(samples):
            add_values(g_bias[layer].reshape(-1), g[layer, s].reshape(-1))


@compiled
def _first_layer(first, index, value, group, weights, bias, z):  # type: ignore[no-untyped-def]
    """z (MEMBERS, H LANES) = bias + S W^T of one group of samples (the offset is in the bias)."""
    for member in range(MEMBERS):
        copy_values(z[member], bias)
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
def _work_space(layers, width):  # type: ignore[no-untyped-def]
    """Representations and slopes (layers, CHUNK, H, LANES), and inputs of one layer."""
    a = np.empty((layers, CHUNK, width, LANES), np.float32)
    slope = np.zeros_like(a)
    return a, slope, np.empty((CHUNK, width, LANES), np.float32)


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
    a, slope, inputs = _work_space(layers, readout.shape[0])
    g = np.zeros_like(a)
    field, delta = np.empty((2, CHUNK, LANES), np.float32)
    square, scale = np.empty((2, LANES), np.float32)
    wants_gradient = gradients[2].shape[0] > 0
    for c in range(0, y.shape[0], CHUNK):
        samples = min(CHUNK, y.shape[0] - c)
        for s in range(c, c + samples, MEMBERS):
            group = (start + s) // MEMBERS
            _first_layer(first, index, value, group, weights, bias, z[s : s + MEMBERS])
        chunk = z[c : c + samples]
        _forward(chunk, hidden, hidden_bias, readout, readout_bias, kind, a, slope, inputs, field)
        for i in range(samples):
            s = c + i
            w = weight[s if weight.shape[0] > 1 else 0]
            side = 0 if y[s] > ZERO else 1
            add_loss(field[i], y[s], w, loss, delta[i], wrong[s])
            for layer in range(layers):
                if measured[layer]:
                    sums_of = total[side, layer], directed[side, layer]
                    _project(a[layer, i], w, sums_of[0], sums_of[1], square, scale)
        if wants_gradient:
            _backward(a, slope, hidden, readout, delta, gradients, g, samples)
            copy_values(chunk.reshape(-1), g[0].reshape(-1))


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
    a, slope, inputs = _work_space(hidden.shape[0] + 1, readout.shape[0])
    field = np.empty((CHUNK, LANES), np.float32)
    z = np.empty((CHUNK, weights.shape[1]), np.float32)
    for c in range(0, y.shape[0], CHUNK):
        samples = min(CHUNK, y.shape[0] - c)
        for s in range(0, samples, MEMBERS):
            group = (c + s) // MEMBERS
            _first_layer(first, index, value, group, weights, bias, z[s : s + MEMBERS])
        chunk = z[:samples]
        _forward(chunk, hidden, hidden_bias, readout, readout_bias, kind, a, slope, inputs, field)
        for i in range(samples):
            for r in range(LANES):
                errors[r] += (field[i, r] > ZERO) != (y[c + i] > ZERO)
