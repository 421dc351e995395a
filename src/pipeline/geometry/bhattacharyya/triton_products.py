"""Running products of affinities in one kernel of Triton: mantissas and exponents stay in registers.

``fused_products`` is called only where Triton is installed (``torch_products.triton_available``).
Triton reads the annotations of a kernel's arguments as code, so only constants have one.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

try:
    import triton  # type: ignore[import-not-found, unused-ignore]
    import triton.language as tl  # type: ignore[import-not-found, unused-ignore]

    compiled = triton.jit
except ImportError:  # this module can be read all the same

    def compiled(function: Any) -> Any:
        """Nothing."""
        return function


ROWS, COLUMNS, WARPS = 64, 64, 4  # models of a program, and its warps
CLASSES = 16  # of a product of matrices, the fewest that Triton takes
EVERY = 8  # samples between two normalisations


@compiled
def _normalised(mantissas, exponents):  # type: ignore[no-untyped-def]
    bits = mantissas.to(tl.int32, bitcast=True)
    power = bits >> 23
    there = power >= 27  # 2^-100, as in ``products``
    exponents += tl.where(there, power - 127, 0)
    bits = tl.where(there, (bits & 0x007FFFFF) | 0x3F800000, 0)
    return bits.to(tl.float32, bitcast=True), exponents


@compiled
def _products(  # type: ignore[no-untyped-def]
    left,
    right,
    mantissas,
    exponents,
    rows,
    columns,
    samples,
    classes: tl.constexpr,
    every: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
    depth: tl.constexpr,
):
    i = tl.program_id(0) * height + tl.arange(0, height)
    j = tl.program_id(1) * width + tl.arange(0, width)
    k = tl.arange(0, depth)
    inside_i, inside_j = i < rows, j < columns
    of_left = left + i[:, None] + k[None, :] * rows
    of_right = right + j[None, :] + k[:, None] * columns
    product = tl.full((height, width), 1.0, tl.float32)
    power = tl.zeros((height, width), tl.int32)
    for n in range(samples):
        affinity = tl.zeros((height, width), tl.float32)
        for first in tl.static_range(0, classes, depth):
            there = k < classes - first
            x_there, y_there = (
                inside_i[:, None] & there[None, :],
                inside_j[None, :] & there[:, None],
            )
            x = tl.load(of_left + first * rows, mask=x_there, other=0.0)
            y = tl.load(of_right + first * columns, mask=y_there, other=0.0)
            affinity = tl.dot(x, y, acc=affinity, input_precision="ieee")
        product *= affinity
        of_left += classes * rows  # pointers are of 64 bits, whatever the size
        of_right += classes * columns
        if n % every == every - 1:
            product, power = _normalised(product, power)
    product, power = _normalised(product, power)
    place = i.to(tl.int64)[:, None] * columns + j[None, :]
    inside = inside_i[:, None] & inside_j[None, :]
    tl.store(mantissas + place, product, mask=inside)
    tl.store(exponents + place, power, mask=inside)


def fused_products(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Products (left, right) over all samples, as ``torch_products.running_products``.

    Affinities are sums in float32, not in TF32: an error of 1e-3 in each would be one of 1e-3 in D.
    """
    samples, rows, classes = left.shape
    columns = right.shape[2]
    by_class = left.transpose(1, 2).contiguous()  # (samples, classes, models), as the right side is
    mantissas = torch.empty((rows, columns), dtype=torch.float32, device=left.device)
    exponents = torch.empty((rows, columns), dtype=torch.int32, device=left.device)
    grid = (triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS))
    sizes = (rows, columns, samples, classes, EVERY, ROWS, COLUMNS, CLASSES)
    _products[grid](by_class, right, mantissas, exponents, *sizes, num_warps=WARPS)
    return mantissas, exponents
