"""Products of matrices whose elements are LANES numbers, one per network (compiled by numba).

Tiles of the result stay in registers, so that weights are read once for several samples. Each sum runs in
the order of its terms, whatever the tiles are.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from pipeline.training.lane_math import FASTMATH, LANES, LENGTH, REAL

# A tile and the operands that it meets fill 24 of AVX-512's 32 vector registers, or 15 of 16.
TILE = 4 if llvm.get_host_cpu_features().get("avx512vl", False) else 3
BYTES = 4 * LANES


def _tile_kernel(rows: int, columns: int) -> Any:
    """The sums of one tile of rows x columns, as an intrinsic."""

    @intrinsic
    def add_tile(typing_context, out, left, right, strides, count):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            vector = ir.VectorType(REAL, LANES)
            out, left, right = (builder.inttoptr(p, vector.as_pointer()) for p in arguments[:3])
            steps = [builder.extract_value(arguments[3], i) for i in range(6)]

            def offsets(step, number):  # type: ignore[no-untyped-def]
                return [builder.mul(step, ir.Constant(LENGTH, i)) for i in range(number)]

            cells = [
                builder.gep(out, [builder.add(i, j)])
                for i in offsets(steps[0], rows)
                for j in offsets(steps[1], columns)
            ]
            lefts, rights = offsets(steps[2], rows), offsets(steps[4], columns)
            sums = [cgutils.alloca_once(builder, vector) for _ in cells]
            for total, cell in zip(sums, cells, strict=True):
                builder.store(builder.load(cell, align=4), total)
            with cgutils.for_range(builder, arguments[4], intp=LENGTH) as loop:

                def term(array, offset, step):  # type: ignore[no-untyped-def]
                    place = builder.add(offset, builder.mul(step, loop.index))
                    return builder.load(builder.gep(array, [place]), align=4)

                x = [term(left, offset, steps[3]) for offset in lefts]
                y = [term(right, offset, steps[5]) for offset in rights]
                for position, total in enumerate(sums):
                    i, j = divmod(position, columns)
                    product = builder.fmul(x[i], y[j], flags=("contract",))
                    found = builder.fadd(builder.load(total), product, flags=("contract",))
                    builder.store(found, total)
            for total, cell in zip(sums, cells, strict=True):
                builder.store(builder.load(total), cell, align=4)
            return context.get_dummy_value()

        steps = types.UniTuple(types.intp, 6)  # type: ignore[attr-defined]
        return types.void(types.intp, types.intp, types.intp, steps, types.intp), codegen

    return add_tile


_whole, _row = _tile_kernel(TILE, TILE), _tile_kernel(1, TILE)
_column, _single = _tile_kernel(TILE, 1), _tile_kernel(1, 1)


@njit(fastmath=FASTMATH, error_model="numpy")
def add_matrix_product(out, left, right, strides, rows, columns, count):  # type: ignore[no-untyped-def]
    """out[i, j] += sum_{k < count} left[i, k] right[j, k] for i < rows, j < columns, lane by lane.

    out, left, right: addresses (intp) of float32 matrices with LANES numbers per element; strides, in
    elements: of out along i and j, of left along i and k, of right along j and k.
    """
    out_i, out_j, left_i, _, right_j, _ = strides
    for i in range(0, rows, TILE):
        for j in range(0, columns, TILE):
            if i + TILE <= rows and j + TILE <= columns:
                _whole(
                    out + (i * out_i + j * out_j) * BYTES,
                    left + i * left_i * BYTES,
                    right + j * right_j * BYTES,
                    strides,
                    count,
                )
            elif j + TILE <= columns:
                for r in range(i, rows):
                    _row(
                        out + (r * out_i + j * out_j) * BYTES,
                        left + r * left_i * BYTES,
                        right + j * right_j * BYTES,
                        strides,
                        count,
                    )
            else:
                for c in range(j, columns):
                    if i + TILE <= rows:
                        _column(
                            out + (i * out_i + c * out_j) * BYTES,
                            left + i * left_i * BYTES,
                            right + c * right_j * BYTES,
                            strides,
                            count,
                        )
                    else:
                        for r in range(i, rows):
                            _single(
                                out + (r * out_i + c * out_j) * BYTES,
                                left + r * left_i * BYTES,
                                right + c * right_j * BYTES,
                                strides,
                                count,
                            )
