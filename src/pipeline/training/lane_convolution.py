"""One epoch of LANES convolutional networks at once (one convolution, a read-out), on sparse images.

Windows lie in tiles (see lane_windows). In most images many tiles see background only; their units then
have one value per network, the same for all such samples. These values and what follows from them are
computed once per epoch, and such a tile costs a sample a few additions. Sums over samples are those of
the samples that the tile is *lit* for, plus the background's value times the sum of the others' factors.
"""

from __future__ import annotations

import numpy as np

from pipeline.kernel_cache import compiler
from pipeline.models import fully_connected
from pipeline.training import lane_kernels, lane_math, lane_matrices, lane_windows, sparse
from pipeline.training.lane_kernels import ONE, ZERO, activate, add_loss, add_values, copy_values
from pipeline.training.lane_math import FASTMATH, LANES, add_scaled_lanes
from pipeline.training.lane_windows import (
    add_many_lane_products,
    add_window_gradients,
    back_through_units,
    set_windows,
)

compiled = compiler(
    __file__,
    lane_windows.__file__,
    lane_kernels.__file__,
    lane_matrices.__file__,
    lane_math.__file__,
    sparse.__file__,
    fully_connected.__file__,
    fastmath=FASTMATH,
)


@compiled
def _list_cells(lit, tile, kernel, pitch, cell, pixel, count):  # type: ignore[no-untyped-def]
    """Append the cells of the kernel that meet a lit pixel in a tile; the new number of entries."""
    row, column = tile[0], tile[1]
    for a in range(kernel):
        for b in range(kernel):
            cell[count] = a * kernel + b
            pixel[count] = (row + a) * pitch + column + b
            count += lit[row + a, column + b]
    return count


@compiled
def _field(image, lit, tiles, kernel, weights, background, readout, kind, entries, store, field):  # type: ignore[no-untyped-def]
    """Add the read-out of one sample to field and |h|^2 to store's square; the number of lit tiles.

    lit (side, side) bool: whether any of image[y, x : x + TILE] is not 0.
    entries: (cell, pixel, first (tiles + 1), lit tiles (tiles,)), set.
    store: (z of one tile, a, slope (tiles, TILE H LANES) of the lit tiles in turn, square (LANES,)).
    """
    cell, pixel, first, lit_tiles = entries
    z, a, slope, square = store
    inputs, products, squares = background
    channels = weights.shape[1]
    found, count = 0, 0
    first[0] = 0
    for t in range(tiles.shape[0]):
        stop = _list_cells(lit, tiles[t], kernel, image.shape[1], cell, pixel, count)
        if stop == count:
            add_values(field, products[t])
            add_values(square, squares[t])
            continue
        set_windows(
            z.ctypes.data,
            weights.ctypes.data,
            channels,
            cell.ctypes.data,
            pixel.ctypes.data,
            image.ctypes.data,
            count,
            stop,
            inputs[t].ctypes.data,
        )
        size = tiles[t, 2] * channels
        h = a[found]
        activate(z[:size], h[:size], slope[found][:size], kind)
        units = size // LANES
        add_many_lane_products(field.ctypes.data, h.ctypes.data, readout[t].ctypes.data, units)
        add_many_lane_products(square.ctypes.data, h.ctypes.data, h.ctypes.data, units)
        lit_tiles[found] = t
        found += 1
        first[found] = stop
        count = stop
    return found


@compiled
def _backward(image, tiles, factors, readout, entries, store, found, total, gradients):  # type: ignore[no-untyped-def]
    """Add one sample to the class sums and to the gradients of its lit tiles."""
    scale, delta = factors
    cell, pixel, first, lit_tiles = entries
    _, a, slope, _ = store
    g_weights, g_units, g_readout = gradients
    channels = g_weights.shape[1]
    for i in range(found):
        t = lit_tiles[i]
        size = tiles[t, 2] * channels
        back_through_units(
            a[i].ctypes.data,
            slope[i].ctypes.data,
            readout[t].ctypes.data,
            scale.ctypes.data,
            delta.ctypes.data,
            total[t].ctypes.data,
            g_readout[t].ctypes.data,
            g_units[t].ctypes.data,
            size // LANES,
        )
        slope[i, size:] = ZERO
        add_window_gradients(
            slope[i].ctypes.data,
            g_weights.ctypes.data,
            channels,
            cell.ctypes.data,
            pixel.ctypes.data,
            image.ctypes.data,
            first[i],
            first[i + 1],
        )


@compiled
def _add_to_dark_tiles(factor, entries, found, sums):  # type: ignore[no-untyped-def]
    """sums[t] += factor for the tiles t that are not lit."""
    lit_tiles = entries[3]
    position = 0
    for t in range(sums.shape[0]):
        if position < found and lit_tiles[position] == t:
            position += 1
        else:
            for r in range(LANES):
                sums[t, r] += factor[r]


@compiled
def train_block(  # type: ignore[no-untyped-def]
    images,
    lit,
    y,
    weight,
    network,
    tiles,
    kernel,
    kind,
    sums,
    gradients,
    with_gradient,
    wrong,
    work,
):
    """One block of samples: errors, class sums and gradients, lit tiles and factors of dark ones apart."""
    weights, background, readout, readout_bias = network
    total, dark_total, directed, loss = sums
    g_weights, g_units, g_readout, g_field, dark_delta = gradients
    entries, store = work
    field, delta, scale = np.empty((3, LANES), np.float32)
    square, lit_tiles = store[3], entries[3]
    for s in range(y.shape[0]):
        copy_values(field, readout_bias)
        square[:] = ZERO
        found = _field(
            images[s],
            lit[s],
            tiles,
            kernel,
            weights,
            background,
            readout,
            kind,
            entries,
            store,
            field,
        )
        w = weight[s if weight.shape[0] > 1 else 0]
        add_loss(field, y[s], w, loss, delta, wrong[s])
        side = 0 if y[s] > ZERO else 1
        for r in range(LANES):
            inside = ONE if (square[r] > ZERO and w[r] > ZERO) else ZERO
            scale[r] = inside / np.sqrt(square[r] if square[r] > ZERO else ONE)
            directed[side, r] += inside
        _add_to_dark_tiles(scale, entries, found, dark_total[side])
        if not with_gradient:
            for i in range(found):
                add_scaled_lanes(
                    total[side, lit_tiles[i]].ctypes.data,
                    scale.ctypes.data,
                    store[1][i].ctypes.data,
                    tiles[lit_tiles[i], 2] * weights.shape[1] // LANES,
                )
            continue
        add_values(g_field, delta)
        _add_to_dark_tiles(delta, entries, found, dark_delta)
        _backward(
            images[s],
            tiles,
            (scale, delta),
            readout,
            entries,
            store,
            found,
            total[side],
            (g_weights, g_units, g_readout),
        )


@compiled
def count_errors(images, lit, y, network, tiles, kernel, kind, errors, work):  # type: ignore[no-untyped-def]
    """errors (LANES,) int64 += number of misclassified samples (of the test set)."""
    weights, background, readout, readout_bias = network
    entries, store = work
    field = np.empty(LANES, np.float32)
    for s in range(y.shape[0]):
        copy_values(field, readout_bias)
        _field(
            images[s],
            lit[s],
            tiles,
            kernel,
            weights,
            background,
            readout,
            kind,
            entries,
            store,
            field,
        )
        for r in range(LANES):
            errors[r] += (field[r] > ZERO) != (y[s] > ZERO)
