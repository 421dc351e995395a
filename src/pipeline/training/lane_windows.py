"""Vector arithmetic of convolutions on sparse images: sums over the pixels of a tile of windows.

A *tile* is ``TILE`` windows side by side in one row of positions. Cell (a, b) of the kernel meets TILE
neighbouring pixels there, so one load of its weights serves TILE windows, and a cell whose TILE pixels
are all background is left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from pipeline.training.lane_math import INDEX, LANES, LENGTH, REAL

TILE = 5
ACCUMULATORS = 4  # sums that run side by side, since each addition waits for the one before


def _column_plan() -> list[tuple[int, int]]:
    """(vector width, vectors): TILE sums of so many columns, and one row, stay in registers."""
    wide = bool(llvm.get_host_cpu_features().get("avx512f", False))
    return [(16, 4), (16, 2), (16, 1), (8, 1)] if wide else [(8, 2), (8, 1)]


def _pointer(builder, base, offset, lanes: int):  # type: ignore[no-untyped-def]
    vector = ir.VectorType(REAL, lanes)
    return builder.bitcast(builder.gep(base, [offset]), vector.as_pointer())


def _spread(builder, address, lanes: int):  # type: ignore[no-untyped-def]
    """A vector of ``lanes`` copies of the float at ``address``."""
    undefined = ir.Constant(ir.VectorType(REAL, lanes), ir.Undefined)
    zeros = ir.Constant(ir.VectorType(INDEX, lanes), [0] * lanes)
    single = builder.insert_element(undefined, builder.load(address), ir.Constant(INDEX, 0))
    return builder.shuffle_vector(single, undefined, zeros)


def _multiply_add(builder, total, x, y):  # type: ignore[no-untyped-def]
    product = builder.fmul(x, y, flags=("contract",))
    return builder.fadd(total, product, flags=("contract",))


def _for_column_chunks(builder, width, emit: Callable[..., None]) -> None:  # type: ignore[no-untyped-def]
    """Emit loops over the columns 0 .. width - 1 in the chunks of the plan."""
    column = cgutils.alloca_once_value(builder, ir.Constant(LENGTH, 0))
    for lanes, vectors in _column_plan():
        step = ir.Constant(LENGTH, lanes * vectors)
        check, body, done = (builder.append_basic_block(name) for name in ("check", "body", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        fits = builder.icmp_signed("<=", builder.add(builder.load(column), step), width)
        builder.cbranch(fits, body, done)
        builder.position_at_end(body)
        first = builder.load(column)
        emit(first, lanes, vectors)
        builder.store(builder.add(first, step), column)
        builder.branch(check)
        builder.position_at_end(done)


def _operands(builder, arguments: Any) -> tuple[Any, ...]:  # type: ignore[no-untyped-def]
    windows, weights, width, cell, pixel, image, start, stop = arguments[:8]
    floats, integers = REAL.as_pointer(), INDEX.as_pointer()
    windows, weights, image = (builder.inttoptr(p, floats) for p in (windows, weights, image))
    cell, pixel = (builder.inttoptr(p, integers) for p in (cell, pixel))
    return windows, weights, width, cell, pixel, image, start, stop


def _slots(builder, base, width, first, lanes: int, vectors: int) -> dict[tuple[int, int], Any]:  # type: ignore[no-untyped-def]
    """Pointers to the vectors of a chunk of columns of (TILE, width), by (row, vector)."""
    slots = {}
    for member in range(TILE):
        row = builder.add(first, builder.mul(width, ir.Constant(LENGTH, member)))
        for part in range(vectors):
            offset = builder.add(row, ir.Constant(LENGTH, part * lanes))
            slots[member, part] = _pointer(builder, base, offset, lanes)
    return slots


def _weights_row(builder, base, width, row, first, lanes: int, vectors: int) -> list[Any]:  # type: ignore[no-untyped-def]
    offset = builder.add(builder.mul(row, width), first)
    parts = (builder.add(offset, ir.Constant(LENGTH, part * lanes)) for part in range(vectors))
    return [_pointer(builder, base, part, lanes) for part in parts]


def _pixels(builder, image, pixel, lanes: int) -> list[Any]:  # type: ignore[no-untyped-def]
    members = (builder.add(pixel, ir.Constant(LENGTH, member)) for member in range(TILE))
    return [_spread(builder, builder.gep(image, [member]), lanes) for member in members]


def _entry(builder, array, k):  # type: ignore[no-untyped-def]
    return builder.zext(builder.load(builder.gep(array, [k])), LENGTH)


@intrinsic
def set_windows(  # type: ignore[no-untyped-def]
    typing_context, windows, weights, width, cell, pixel, image, start, stop, dark
):
    """windows[m, j] = dark[m, j] + sum_{start <= k < stop} image[pixel[k] + m] weights[cell[k], j].

    Addresses (intp) of float32 windows and dark (TILE, width), weights (cells, width) and image (flat),
    of int32 cell and pixel, and the integers width (a multiple of LANES), start, stop.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        windows, weights, width, cell, pixel, image, start, stop = _operands(builder, arguments)
        dark = builder.inttoptr(arguments[8], REAL.as_pointer())

        def emit(first, lanes, vectors):  # type: ignore[no-untyped-def]
            targets = _slots(builder, windows, width, first, lanes, vectors)
            vector = ir.VectorType(REAL, lanes)
            sums = {slot: cgutils.alloca_once(builder, vector) for slot in targets}
            for slot, source in _slots(builder, dark, width, first, lanes, vectors).items():
                builder.store(builder.load(source, align=4), sums[slot])
            one = ir.Constant(LENGTH, 1)
            with cgutils.for_range_slice(builder, start, stop, one, intp=LENGTH) as (k, _):
                row = _entry(builder, cell, k)
                pointers = _weights_row(builder, weights, width, row, first, lanes, vectors)
                terms = [builder.load(p, align=4) for p in pointers]
                for member, x in enumerate(
                    _pixels(builder, image, _entry(builder, pixel, k), lanes)
                ):
                    for part, term in enumerate(terms):
                        total = sums[member, part]
                        builder.store(_multiply_add(builder, builder.load(total), x, term), total)
            for slot, target in targets.items():
                builder.store(builder.load(sums[slot]), target, align=4)

        _for_column_chunks(builder, width, emit)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 9)), codegen


@intrinsic
def add_window_gradients(typing_context, windows, weights, width, cell, pixel, image, start, stop):  # type: ignore[no-untyped-def]
    """weights[cell[k], j] += sum_{m < TILE} image[pixel[k] + m] windows[m, j], start <= k < stop.

    The transpose of ``set_windows``: windows holds dL/dz, weights the gradient.
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        windows, weights, width, cell, pixel, image, start, stop = _operands(builder, arguments)

        def emit(first, lanes, vectors):  # type: ignore[no-untyped-def]
            sources = _slots(builder, windows, width, first, lanes, vectors)
            dz = {slot: builder.load(source, align=4) for slot, source in sources.items()}
            one = ir.Constant(LENGTH, 1)
            with cgutils.for_range_slice(builder, start, stop, one, intp=LENGTH) as (k, _):
                row = _entry(builder, cell, k)
                pointers = _weights_row(builder, weights, width, row, first, lanes, vectors)
                totals = [builder.load(p, align=4) for p in pointers]
                for member, x in enumerate(
                    _pixels(builder, image, _entry(builder, pixel, k), lanes)
                ):
                    for part in range(vectors):
                        totals[part] = _multiply_add(builder, totals[part], x, dz[member, part])
                for pointer, total in zip(pointers, totals, strict=True):
                    builder.store(total, pointer, align=4)

        _for_column_chunks(builder, width, emit)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 8)), codegen


@intrinsic
def add_many_lane_products(typing_context, out, left, right, count):  # type: ignore[no-untyped-def]
    """out[r] += sum_{i < count} left[i, r] right[i, r], r < LANES, as ACCUMULATORS sums side by side.

    Addresses (intp) of float32 out (LANES,), left and right (count, LANES).
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(REAL, LANES)
        out, left, right = (builder.inttoptr(p, vector.as_pointer()) for p in arguments[:3])
        zero = ir.Constant(vector, [0.0] * LANES)
        sums = [cgutils.alloca_once(builder, vector) for _ in range(ACCUMULATORS)]
        for total in sums:
            builder.store(zero, total)

        def add(i, total):  # type: ignore[no-untyped-def]
            x = builder.load(builder.gep(left, [i]), align=4)
            y = builder.load(builder.gep(right, [i]), align=4)
            builder.store(_multiply_add(builder, builder.load(total), x, y), total)

        step = ir.Constant(LENGTH, ACCUMULATORS)
        whole = builder.mul(builder.sdiv(arguments[3], step), step)
        start = ir.Constant(LENGTH, 0)
        with cgutils.for_range_slice(builder, start, whole, step, intp=LENGTH) as (k, _):
            for offset, total in enumerate(sums):
                add(builder.add(k, ir.Constant(LENGTH, offset)), total)
        one = ir.Constant(LENGTH, 1)
        with cgutils.for_range_slice(builder, whole, arguments[3], one, intp=LENGTH) as (k, _):
            add(k, sums[0])
        found = builder.load(out, align=4)
        for total in sums:
            found = builder.fadd(found, builder.load(total))
        builder.store(found, out, align=4)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 4)), codegen


@intrinsic
def back_through_units(  # type: ignore[no-untyped-def]
    typing_context, a, slope, readout, scale, delta, total, g_readout, g_units, count
):
    """The sums of one sample over ``count`` units, and dL/dz of each, which replaces ``slope``.

    total[i, r] += scale[r] a[i, r]; g_readout[i, r] += delta[r] a[i, r];
    slope[i, r] = delta[r] readout[i, r] slope[i, r], added to g_units[i, r] as well.
    Addresses (intp) of float32 arrays (count, LANES), scale and delta (LANES,).
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        pointer = ir.VectorType(REAL, LANES).as_pointer()
        a, slope, readout, scale, delta, total, g_readout, g_units = (
            builder.inttoptr(p, pointer) for p in arguments[:8]
        )
        scale, delta = builder.load(scale, align=4), builder.load(delta, align=4)
        with cgutils.for_range(builder, arguments[8], intp=LENGTH) as loop:

            def at(array):  # type: ignore[no-untyped-def]
                return builder.gep(array, [loop.index])

            def add(target, x, y):  # type: ignore[no-untyped-def]
                value = _multiply_add(builder, builder.load(at(target), align=4), x, y)
                builder.store(value, at(target), align=4)

            value = builder.load(at(a), align=4)
            rate = builder.fmul(delta, builder.load(at(readout), align=4))
            dz = builder.fmul(rate, builder.load(at(slope), align=4))
            add(total, scale, value)
            add(g_readout, delta, value)
            builder.store(
                builder.fadd(builder.load(at(g_units), align=4), dz), at(g_units), align=4
            )
            builder.store(dz, at(slope), align=4)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 9)), codegen
