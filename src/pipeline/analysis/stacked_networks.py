"""Many networks of one architecture as one: their first layers side by side, then all at once.

Layouts are (networks, units, samples); the fields f = f+ - f- are (networks, samples).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

UNITS_AT_ONCE = 1 << 15  # first-layer units, of all networks that are worked together
ELEMENTWISE = (nn.Tanh, nn.ReLU, nn.LeakyReLU, nn.SiLU, nn.Identity)

Map = Callable[[Tensor], Tensor]
# z(x + sigma n) = linear(x) + offset + sigma linear(n), and the fields f (networks, samples) above it
Split = tuple[Map, Tensor, Map]


def split_network(network: nn.Sequential, stack: Tensor, features: int) -> Split:
    """All networks of ``stack`` (networks, parameters) as a linear map, its offset and the rest.

    ``linear`` takes (samples, ``features``); the rest may overwrite what it is given, and returns fields
    f = f+ - f- (networks, samples). Any network will do: one that does not begin with a Linear or
    Conv2d, or goes on with other layers than Linear and the usual activations, is all rest.
    """
    leaves = _leaves(network)
    first = next(i for i, leaf in enumerate(leaves) if list(leaf.parameters()))
    before, layer, after = leaves[:first], leaves[first], leaves[first + 1 :]
    if not _is_stackable(network, before, layer, after):
        return _unchanged, torch.zeros((), dtype=stack.dtype), _any_fields(network, stack)
    parameters = _parameters(network, stack)
    weight = next(parameters).flatten(0, 1)
    bias = None if layer.bias is None else next(parameters)
    linear: Map = partial(_multiply, weight, len(stack))
    if isinstance(layer, nn.Conv2d):
        linear = partial(_convolve, nn.Sequential(*before), layer, weight, len(stack))
    offset = torch.zeros((), dtype=stack.dtype)
    if bias is not None:
        units = linear(torch.zeros(1, features, dtype=stack.dtype)).shape[1]
        offset = bias.repeat_interleave(units // bias.shape[1], dim=1)[:, :, None]
    return linear, offset, partial(_fields, _layers_up(after, parameters))


def _unchanged(x: Tensor) -> Tensor:
    return x


def _multiply(weight: Tensor, networks: int, x: Tensor) -> Tensor:
    """Products (networks, units, samples) of the first layers of all networks, side by side."""
    return (weight @ x.T).view(networks, -1, len(x))


def _convolve(
    image: nn.Module, layer: nn.Conv2d, weight: Tensor, networks: int, x: Tensor
) -> Tensor:
    """The same for a convolution; its units are (channel, row, column), flattened."""
    z = nn.functional.conv2d(
        image(x), weight, stride=layer.stride, padding=layer.padding, dilation=layer.dilation
    )
    return z.reshape(len(x), -1).T.reshape(networks, -1, len(x))


def _layers_up(after: list[nn.Module], parameters: Iterator[Tensor]) -> list[Map]:
    """What follows on the first layer's z, each (networks, units, samples) -> the same; the read-out
    gives the difference of its two outputs as its one unit."""
    layers: list[Map] = []
    for leaf in after:
        if isinstance(leaf, nn.Linear):
            weight = next(parameters)
            shape = (len(weight), leaf.out_features)
            bias = weight.new_zeros(shape) if leaf.bias is None else next(parameters)
            if leaf is after[-1]:
                weight, bias = weight[:, 1:] - weight[:, :1], bias[:, 1:] - bias[:, :1]
            layers.append(partial(_affine, weight, bias[:, :, None]))
        elif isinstance(leaf, nn.Tanh):
            layers.append(torch.tanh_)
        elif isinstance(leaf, ELEMENTWISE):
            layers.append(leaf)
    return layers


def _affine(weight: Tensor, bias: Tensor, h: Tensor) -> Tensor:
    return torch.baddbmm(bias, weight, h)


def _fields(layers: list[Map], h: Tensor) -> Tensor:
    for layer in layers:
        h = layer(h)
    return h[:, 0]


def _any_fields(network: nn.Sequential, stack: Tensor) -> Map:
    """Fields (networks, samples) of any network, all networks at once through torch.func."""
    names = [name for name, _ in network.named_parameters()]
    named = dict(zip(names, _parameters(network, stack), strict=True))
    outputs = vmap(lambda own, x: functional_call(network, own, (x,)), in_dims=(0, None))

    def fields(x: Tensor) -> Tensor:
        out = outputs(named, x)
        return out[..., 1] - out[..., 0]

    return fields


def _is_stackable(
    network: nn.Sequential, before: list[nn.Module], layer: nn.Module, after: list[nn.Module]
) -> bool:
    """Whether ``_layers_up`` does what the network does."""
    leaves = [*before, layer, *after]
    own = [id(p) for leaf in leaves for p in leaf.parameters()]
    last, valid = leaves[-1], (nn.Flatten, nn.Linear, *ELEMENTWISE)
    if own != [id(p) for p in network.parameters()] or any(type(m) not in valid for m in after):
        return False
    if layer is last or not isinstance(last, nn.Linear) or last.out_features != 2:
        return False
    if isinstance(layer, nn.Linear):
        return not before
    if not isinstance(layer, nn.Conv2d) or layer.groups != 1 or layer.padding_mode != "zeros":
        return False
    flat = next((i for i, m in enumerate(after) if isinstance(m, nn.Flatten)), len(after))
    return all(type(m) in (nn.Unflatten, nn.Identity) for m in before) and not any(
        isinstance(m, nn.Linear) for m in after[: flat + 1]
    )


def _leaves(network: nn.Sequential) -> list[nn.Module]:
    """The modules of nested Sequentials, in the order in which they are applied."""
    nested = [_leaves(m) if isinstance(m, nn.Sequential) else [m] for m in network]
    return [leaf for leaves in nested for leaf in leaves]


def _parameters(network: nn.Module, stack: Tensor) -> Iterator[Tensor]:
    """The parameters of all networks, (networks, ...) each, from their flattened form."""
    shapes = [parameter.shape for parameter in network.parameters()]
    parts = stack.split([shape.numel() for shape in shapes], dim=1)
    return (part.reshape(-1, *shape) for part, shape in zip(parts, shapes, strict=True))


def network_parts(network: nn.Sequential, networks: int, x: Tensor) -> Iterator[slice]:
    """Networks that are worked together, so few that memory does not grow with their number."""
    h, largest = x.to(next(network.parameters()).dtype), 1
    for leaf in _leaves(network):
        h = leaf(h)
        largest = max(largest, h.numel())
    size = max(1, UNITS_AT_ONCE // largest)
    return (slice(start, min(start + size, networks)) for start in range(0, networks, size))
