"""The networks of Mao et al., PNAS 121(12), 2024 (wide residual ones apart), each with a width multiplier.

Inputs are (samples, channels, rows, columns), of ``student`` (samples, features); images that a fully
connected network is given are flattened.
"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from pipeline.errors import TrainingError
from pipeline.models.layered import scaled

HIDDEN = (1024, 512, 256, 128)


def fc(
    shape: Sequence[int], outputs: int, width: float = 1.0, hidden: Sequence[int] = HIDDEN
) -> nn.Module:
    """Linear layers with ReLU, then batch normalisation without scale and shift; a linear read-out."""
    sizes = [math.prod(shape), *(scaled(size, width) for size in hidden)]
    body = nn.Sequential(nn.Flatten())
    for below, above in itertools.pairwise(sizes):
        body.extend([nn.Linear(below, above), nn.ReLU(), nn.BatchNorm1d(above, affine=False)])
    body.append(nn.Linear(sizes[-1], outputs))
    return body


def student(
    shape: Sequence[int], outputs: int, width: float = 1.0, depth: int = 1, units: int = 512
) -> nn.Module:
    """The student of the synthetic task: ``depth`` hidden layers of ``units`` units, as ``fc``."""
    return fc(shape, outputs, width, [units] * depth)


def all_cnn(shape: Sequence[int], outputs: int, width: float = 1.0) -> nn.Module:
    """Four 3 x 3 convolutions (the second and fourth with stride 2) and a 1 x 1 one, each with ReLU, then
    batch normalisation; average pooling (the authors' programme; their text has other widths).
    """
    inputs = _channels("all_cnn", shape)
    body = nn.Sequential()
    layers = ((96, 1), (96, 2), (144, 1), (144, 2))
    for maps, stride in ((scaled(maps, width), stride) for maps, stride in layers):
        layer = nn.Conv2d(inputs, maps, 3, stride=stride, padding=1)
        body.extend([layer, nn.ReLU(), nn.BatchNorm2d(maps)])
        inputs = maps
    body.extend([nn.Conv2d(inputs, outputs, 1), nn.ReLU(), nn.BatchNorm2d(outputs)])
    body.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten()])
    return body


class Residual(nn.Module):
    """x + inner(x)."""

    def __init__(self, *inner: nn.Module) -> None:
        super().__init__()
        self.inner = nn.Sequential(*inner)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.inner(x)
        return out


def conv_mixer(
    shape: Sequence[int],
    outputs: int,
    width: float = 1.0,
    dim: int = 256,
    depth: int = 8,
    kernel: int = 5,
    patch: int = 2,
) -> nn.Module:
    """Patches, then ``depth`` times a depthwise convolution with a shortcut and a 1 x 1 convolution, each
    with GELU, then batch normalisation; average pooling; a linear read-out.
    """
    channels, maps = _channels("conv_mixer", shape), scaled(dim, width)
    _divisible("conv_mixer", shape, patch)

    def activated(layer: nn.Module) -> list[nn.Module]:
        return [layer, nn.GELU(), nn.BatchNorm2d(maps)]

    body = nn.Sequential(*activated(nn.Conv2d(channels, maps, patch, stride=patch)))
    for _ in range(depth):
        depthwise = nn.Conv2d(maps, maps, kernel, groups=maps, padding=kernel // 2)
        body.append(Residual(*activated(depthwise)))
        body.extend(activated(nn.Conv2d(maps, maps, 1)))
    body.extend([nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(maps, outputs)])
    return body


def _repeatable(x: Tensor) -> contextlib.AbstractContextManager[None]:
    """Within: where deterministic algorithms are asked for on CUDA, attention by plain products, as the
    fused kernels have backward passes whose bits change (torch only warns).
    """
    if x.is_cuda and torch.are_deterministic_algorithms_enabled():
        return sdpa_kernel(SDPBackend.MATH)
    return contextlib.nullcontext()


class Attention(nn.Module):
    """Attention of all tokens to all, with ``heads`` heads; queries, keys and values without bias."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.inputs = nn.Linear(dim, 3 * heads * head_dim, bias=False)
        self.outputs = nn.Linear(heads * head_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        samples, tokens, _ = x.shape
        parts = self.inputs(x).view(samples, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        with _repeatable(x):
            mixed = scaled_dot_product_attention(parts[0], parts[1], parts[2])
        out: Tensor = self.outputs(mixed.transpose(1, 2).reshape(samples, tokens, -1))
        return out


class VisionTransformer(nn.Module):
    """Patches and a class token with learned positions, blocks with normalisation first, a read-out of
    the class token.
    """

    def __init__(
        self, shape: Sequence[int], outputs: int, patch: int, dim: int, depth: int, heads: int,
        head_dim: int, mlp: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.patch = patch
        tokens = (shape[1] // patch) * (shape[2] // patch)
        self.embed = nn.Linear(shape[0] * patch**2, dim)
        self.token = nn.Parameter(torch.randn(1, 1, dim))
        self.positions = nn.Parameter(torch.randn(1, tokens + 1, dim))
        blocks: list[nn.Module] = []
        for _ in range(depth):
            blocks.append(Residual(nn.LayerNorm(dim), Attention(dim, heads, head_dim)))
            inner = (nn.LayerNorm(dim), nn.Linear(dim, mlp), nn.GELU(), nn.Linear(mlp, dim))
            blocks.append(Residual(*inner))
        self.blocks = nn.Sequential(*blocks)
        self.read_out = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, outputs))

    def forward(self, x: Tensor) -> Tensor:
        samples, channels, rows, columns = x.shape
        side = self.patch
        parts = x.reshape(samples, channels, rows // side, side, columns // side, side)
        patches = parts.permute(0, 2, 4, 3, 5, 1).reshape(samples, -1, channels * side**2)
        tokens = torch.cat([self.token.expand(samples, -1, -1), self.embed(patches)], dim=1)
        out: Tensor = self.read_out(self.blocks(tokens + self.positions)[:, 0])
        return out


def vit(
    shape: Sequence[int],
    outputs: int,
    width: float = 1.0,
    patch: int = 4,
    dim: int = 512,
    depth: int = 6,
    heads: int = 8,
    head_dim: int = 64,
    mlp: int = 512,
) -> nn.Module:
    """A vision transformer; ``width`` multiplies the sizes of tokens, heads and hidden layers."""
    _channels("vit", shape)
    _divisible("vit", shape, patch)
    sizes = (scaled(size, width) for size in (dim, head_dim, mlp))
    tokens, of_head, hidden = sizes
    return VisionTransformer(shape, outputs, patch, tokens, depth, heads, of_head, hidden)


def _channels(name: str, shape: Sequence[int]) -> int:
    if len(shape) != 3:
        raise TrainingError(
            f"{name} takes images (channels, rows, columns), not inputs of shape {tuple(shape)}."
        )
    return int(shape[0])


def _divisible(name: str, shape: Sequence[int], patch: int) -> None:
    if patch < 1 or shape[1] % patch or shape[2] % patch:
        raise TrainingError(
            f"{name} with patch = {patch} takes images whose sides are multiples of it, not "
            f"{shape[1]} x {shape[2]}; choose a patch that divides both."
        )
