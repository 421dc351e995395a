"""Running products of affinities in one kernel of Triton: mantissas and exponents stay in registers.

``fused_products`` is called only where Triton is installed (``torch_products.triton_available``).
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


ROWS, COLUMNS = 64, 64  # models of a program
EVERY = 8  # samples between two normalisations


@compiled
def _normalised(mantissas: Any, exponents: Any) -> Any:
    bits = mantissas.to(tl.int32, bitcast=True)
    power = bits >> 23
    there = power >= 27  # 2^-100, as in ``products``
    exponents += tl.where(there, power - 127, 0)
    bits = tl.where(there, (bits & 0x007FFFFF) | 0x3F800000, 0)
    return bits.to(tl.float32, bitcast=True), exponents


@compiled
def _products(
    left: Any,
    right: Any,
    mantissas: Any,
    exponents: Any,
    rows: Any,
    columns: Any,
    samples: Any,
    classes: tl.constexpr,
    every: tl.constexpr,
    height: tl.constexpr,
    width: tl.constexpr,
) -> None:
    i = tl.program_id(0) * height + tl.arange(0, height)
    j = tl.program_id(1) * width + tl.arange(0, width)
    inside_i, inside_j = i < rows, j < columns
    product = tl.full((height, width), 1.0, tl.float32)
    power = tl.zeros((height, width), tl.int32)
    start = tl.zeros((), tl.int64)  # offsets beyond 2^31 are of this type
    for n in range(samples):
        affinity = tl.zeros((height, width), tl.float32)
        for c in range(classes):
            place = (start + n) * classes + c
            x = tl.load(left + place * rows + i, mask=inside_i, other=0.0)
            y = tl.load(right + place * columns + j, mask=inside_j, other=0.0)
            affinity += x[:, None] * y[None, :]
        product *= affinity
        if n % every == every - 1:
            product, power = _normalised(product, power)
    product, power = _normalised(product, power)
    place = i.to(tl.int64)[:, None] * columns + j[None, :]
    inside = inside_i[:, None] & inside_j[None, :]
    tl.store(mantissas + place, product, mask=inside)
    tl.store(exponents + place, power, mask=inside)


def fused_products(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """Products (left, right) over all samples, as ``torch_products.running_products``."""
    samples, rows, classes = left.shape
    columns = right.shape[2]
    by_class = left.transpose(1, 2).contiguous()  # (samples, classes, models), as the right side is
    mantissas = torch.empty((rows, columns), dtype=torch.float32, device=left.device)
    exponents = torch.empty((rows, columns), dtype=torch.int32, device=left.device)
    grid = (triton.cdiv(rows, ROWS), triton.cdiv(columns, COLUMNS))
    _products[grid](
        by_class, right, mantissas, exponents, rows, columns, samples, classes, EVERY, ROWS, COLUMNS
    )
    return mantissas, exponents
