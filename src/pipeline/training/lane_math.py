"""Vector arithmetic for the lane kernels: elementary functions and sparse row sums that compile to SIMD code.

Numba (LLVM) vectorises a loop over networks only if everything in it is plain arithmetic, so exp, tanh
and log1p are written here as polynomials in float32 (absolute error below 2e-7, checked by tests), and
the sparse row sum is emitted as explicit vector instructions.
"""

from __future__ import annotations

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from pipeline.training.sparse import MEMBERS

f32 = np.float32
# 'contract' (fused multiply-add) and 'nsz' do not reorder sums and keep NaN and Inf meaningful.
FASTMATH = {"contract", "nsz"}

LOG2_E = f32(1.4426950408889634)
# Cody-Waite split of ln 2: the first part has few bits, so that k * LN2_HIGH is exact.
LN2_HIGH = f32(0.693359375)
LN2_LOW = f32(np.log(2.0) - 0.693359375)
TANH_LIMIT = f32(9.0)  # tanh(9) rounds to 1 in float32
EXP_LIMIT = f32(-87.0)  # exp(-87) is the smallest normal float32


def _log1p_coefficients(degree: int = 9) -> tuple[np.float32, ...]:
    """Near-minimax polynomial q with log(1 + e) = e q(e) on [0, 1], lowest order first."""
    nodes = (np.cos(np.pi * (np.arange(400) + 0.5) / 400) + 1) / 2
    fit = np.polynomial.chebyshev.Chebyshev.fit(
        nodes, np.log1p(nodes) / nodes, degree, domain=[0, 1]
    )
    return tuple(f32(c) for c in fit.convert(kind=np.polynomial.Polynomial).coef)


Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9 = _log1p_coefficients()
E2, E3, E4, E5, E6, E7 = (f32(1 / f) for f in (2, 6, 24, 120, 720, 5040))


@intrinsic
def _bits_to_float(typing_context, bits):  # type: ignore[no-untyped-def]
    """Reinterpret an int32 as a float32."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.int32), codegen


@njit(fastmath=FASTMATH, inline="always", error_model="numpy")
def _expm1_and_scale(x):  # type: ignore[no-untyped-def]
    """(exp(r) - 1, 2^k) with x = k ln 2 + r, |r| <= ln(2)/2."""
    k = np.floor(x * LOG2_E + f32(0.5))
    r = x - k * LN2_HIGH
    r = r - k * LN2_LOW
    p = ((((E7 * r + E6) * r + E5) * r + E4) * r + E3) * r + E2
    scale = _bits_to_float((np.int32(k) + np.int32(127)) << np.int32(23))
    return p * r * r + r, scale


@njit(fastmath=FASTMATH, inline="always", error_model="numpy")
def exp32(x):  # type: ignore[no-untyped-def]
    """exp(x) in float32 for x <= 80 (smaller than -87: the smallest normal number)."""
    p, scale = _expm1_and_scale(max(x, EXP_LIMIT))
    return scale * p + scale


@njit(fastmath=FASTMATH, inline="always", error_model="numpy")
def tanh32(x):  # type: ignore[no-untyped-def]
    """tanh(x) = e / (e + 2), e = exp(2x) - 1, in float32 with a relative error below 3e-7."""
    clamped = min(max(x, -TANH_LIMIT), TANH_LIMIT)
    p, scale = _expm1_and_scale(clamped + clamped)
    e = scale * p + (scale - f32(1))
    return e / (e + f32(2))


@njit(fastmath=FASTMATH, inline="always", error_model="numpy")
def log1p32(e):  # type: ignore[no-untyped-def]
    """log(1 + e) in float32 for e in [0, 1]."""
    q = ((((Q9 * e + Q8) * e + Q7) * e + Q6) * e + Q5) * e + Q4
    return ((((q * e + Q3) * e + Q2) * e + Q1) * e + Q0) * e


LANES = 8  # networks side by side
INDEX, LENGTH, REAL = ir.IntType(32), ir.IntType(64), ir.FloatType()


def _vector_plan() -> list[tuple[int, int]]:
    """(vector width, vectors per row kept in registers), tried in turn on what is left of a row."""
    wide = bool(llvm.get_host_cpu_features().get("avx512f", False))
    return [(16, 10), (16, 4), (16, 1), (8, 1), (1, 1)] if wide else [(8, 5), (8, 1), (1, 1)]


@intrinsic
def add_sparse_rows(typing_context, out, rows, width, index, value, start, stop):  # type: ignore[no-untyped-def]
    """out[m, j] += sum_{k = start}^{stop - 1} value[k, m] rows[index[k], j], j < width, m < MEMBERS.

    Arguments are the addresses (intp) of float32 out (MEMBERS, width) and rows (any, width), of int32
    index and float32 value (any, MEMBERS), and the integers width, start, stop. The sums stay in vector
    registers and run in the order of k, so their bits do not depend on width.
    """
    return types.void(*([types.intp] * 7)), _emit_add_sparse_rows


def _emit_add_sparse_rows(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
    out, rows, width, index, value, start, stop = arguments
    floats = REAL.as_pointer()
    out, rows, value = (builder.inttoptr(pointer, floats) for pointer in (out, rows, value))
    operands = (out, rows, width, builder.inttoptr(index, INDEX.as_pointer()), value, start, stop)
    column = cgutils.alloca_once_value(builder, ir.Constant(LENGTH, 0))
    for lanes, vectors in _vector_plan():
        step = ir.Constant(LENGTH, lanes * vectors)
        check, body, done = (builder.append_basic_block(name) for name in ("check", "body", "done"))
        builder.branch(check)
        builder.position_at_end(check)
        fits = builder.icmp_signed("<=", builder.add(builder.load(column), step), width)
        builder.cbranch(fits, body, done)
        builder.position_at_end(body)
        first = builder.load(column)
        _emit_columns(builder, operands, first, lanes, vectors)
        builder.store(builder.add(first, step), column)
        builder.branch(check)
        builder.position_at_end(done)
    return context.get_dummy_value()


def _emit_columns(builder, operands, first, lanes: int, vectors: int) -> None:  # type: ignore[no-untyped-def]
    """The sums of ``vectors`` vectors of ``lanes`` columns from column ``first``, held in registers."""
    out, rows, width, index, value, start, stop = operands
    vector = ir.VectorType(REAL, lanes)
    zeros = ir.Constant(ir.VectorType(INDEX, lanes), [0] * lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    slots = [(member, part) for member in range(MEMBERS) for part in range(vectors)]

    def pointer(base, offset, part):  # type: ignore[no-untyped-def]
        address = builder.gep(base, [builder.add(offset, ir.Constant(LENGTH, part * lanes))])
        return builder.bitcast(address, vector.as_pointer())

    def target(member, part):  # type: ignore[no-untyped-def]
        return pointer(
            out, builder.add(first, builder.mul(width, ir.Constant(LENGTH, member))), part
        )

    sums = {slot: cgutils.alloca_once(builder, vector) for slot in slots}
    for slot, total in sums.items():
        builder.store(builder.load(target(*slot), align=4), total)
    with cgutils.for_range_slice(builder, start, stop, ir.Constant(LENGTH, 1), intp=LENGTH) as (
        k,
        _,
    ):
        row = builder.zext(builder.load(builder.gep(index, [k])), LENGTH)
        offset = builder.add(builder.mul(row, width), first)
        terms = [builder.load(pointer(rows, offset, part), align=4) for part in range(vectors)]
        entry = builder.mul(k, ir.Constant(LENGTH, MEMBERS))
        for member in range(MEMBERS):
            scalar = builder.load(
                builder.gep(value, [builder.add(entry, ir.Constant(LENGTH, member))])
            )
            single = builder.insert_element(undefined, scalar, ir.Constant(INDEX, 0))
            spread = builder.shuffle_vector(single, undefined, zeros)
            for part, term in enumerate(terms):
                total = sums[member, part]
                product = builder.fmul(spread, term, flags=("contract",))
                builder.store(
                    builder.fadd(builder.load(total), product, flags=("contract",)), total
                )
    for slot, total in sums.items():
        builder.store(builder.load(total), target(*slot), align=4)


def _lane_pointers(builder, addresses):  # type: ignore[no-untyped-def]
    vector = ir.VectorType(REAL, LANES)
    return [builder.inttoptr(address, vector.as_pointer()) for address in addresses]


@intrinsic
def add_lane_products(typing_context, out, left, right, count):  # type: ignore[no-untyped-def]
    """out[r] += sum_{i < count} left[i, r] right[i, r] for r < LANES, in the order of i.

    Addresses (intp) of float32 out (LANES,), left and right (count, LANES).
    """

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        out, left, right = _lane_pointers(builder, arguments[:3])
        total = cgutils.alloca_once_value(builder, builder.load(out, align=4))
        with cgutils.for_range(builder, arguments[3], intp=LENGTH) as loop:
            x = builder.load(builder.gep(left, [loop.index]), align=4)
            y = builder.load(builder.gep(right, [loop.index]), align=4)
            product = builder.fmul(x, y, flags=("contract",))
            builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
        builder.store(builder.load(total), out, align=4)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 4)), codegen


@intrinsic
def add_scaled_lanes(typing_context, out, scale, values, count):  # type: ignore[no-untyped-def]
    """out[i, r] += scale[r] values[i, r] for i < count, r < LANES (addresses, as above)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        out, scale, values = _lane_pointers(builder, arguments[:3])
        factor = builder.load(scale, align=4)
        with cgutils.for_range(builder, arguments[3], intp=LENGTH) as loop:
            target = builder.gep(out, [loop.index])
            value = builder.load(builder.gep(values, [loop.index]), align=4)
            product = builder.fmul(factor, value, flags=("contract",))
            total = builder.fadd(builder.load(target, align=4), product, flags=("contract",))
            builder.store(total, target, align=4)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 4)), codegen


@intrinsic
def multiply_lanes(typing_context, out, scale, left, right, count):  # type: ignore[no-untyped-def]
    """out[i, r] = scale[r] left[i, r] right[i, r] for i < count, r < LANES (addresses, as above)."""

    def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        out, scale, left, right = _lane_pointers(builder, arguments[:4])
        factor = builder.load(scale, align=4)
        with cgutils.for_range(builder, arguments[4], intp=LENGTH) as loop:
            x = builder.load(builder.gep(left, [loop.index]), align=4)
            y = builder.load(builder.gep(right, [loop.index]), align=4)
            product = builder.fmul(builder.fmul(factor, x), y)
            builder.store(product, builder.gep(out, [loop.index]), align=4)
        return context.get_dummy_value()

    return types.void(*([types.intp] * 5)), codegen
