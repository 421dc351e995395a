"""Networks whose layers have names and numbers: what is recorded, rewound and differentiated layer
by layer.

A builder describes its network once: for each layer the module after whose nonlinearity it is read
(the *tap*), and the modules whose parameters and buffers it owns. Layers are numbered from 1 in the
order of the network, pooling layers counted, as in Stephenson et al., ICLR 2021; a layer's name is
its kind and number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.errors import TrainingError


@dataclass(frozen=True)
class Layer:
    """One layer of a network.

    name: kind and number, such as ``conv17``; number: from 1, pooling layers counted.
    tap: path of the module whose output is the layer's representation.
    owned: paths of the modules whose parameters and buffers belong to the layer; none for pooling.
    """

    name: str
    number: int
    tap: str
    owned: tuple[str, ...]


class LayeredNetwork(nn.Module):
    """A network with its layers' names; inputs as the builder says, outputs the logits."""

    def __init__(self, body: nn.Module, layers: Iterable[Layer]) -> None:
        super().__init__()
        self.body = body
        self.layers = {layer.name: layer for layer in layers}

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits

    def layer(self, name: str) -> Layer:
        """The layer of that name; TrainingError lists the names there are."""
        if name not in self.layers:
            raise TrainingError(
                f"{name!r} is no layer of this network; its layers are: {', '.join(self.layers)}."
            )
        return self.layers[name]

    def own_keys(self, name: str) -> list[str]:
        """Keys of the state dict that belong to one layer, in order."""
        prefixes = tuple(f"body.{path}." for path in self.layer(name).owned)
        return [key for key in self.state_dict() if key.startswith(prefixes)]

    def weight_layers(self) -> list[str]:
        """Names of the layers that have parameters, in order."""
        return [name for name, layer in self.layers.items() if layer.owned]


@torch.no_grad()
def record_layers(
    network: LayeredNetwork, x: Tensor, names: Iterable[str]
) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of a batch and the flattened representations (samples, units) of some layers.

    Arguments
    ---------
    x: inputs (samples, ...). names: of layers, in any order; TrainingError for an unknown one.
    """
    found: dict[str, Tensor] = {}
    handles = []
    for name in names:
        module = network.body.get_submodule(network.layer(name).tap)

        def keep(_: nn.Module, __: object, output: Tensor, name: str = name) -> None:
            found[name] = output.flatten(1)

        handles.append(module.register_forward_hook(keep))
    try:
        logits = network(x)
    finally:
        for handle in handles:
            handle.remove()
    return logits, found


def scaled(width: int, factor: float) -> int:
    """A layer's width times the network's width multiplier, rounded, at least 1."""
    if not factor > 0:
        raise TrainingError(f"width multiplier {factor!r} given; valid is a number above 0.")
    return max(1, round(width * factor))


def chain(parts: Iterable[tuple[str, nn.Module]]) -> LayeredNetwork:
    """A network of parts one after another.

    Arguments
    ---------
    parts: (kind, module); kind is ``conv``, ``pool`` or ``linear`` for a layer, read at the
        module's output and owner of all its parameters, and empty for what is no layer (flattening,
        dropout).
    """
    named, layers = nn.Sequential(), []
    numbers = _numbers()
    for index, (kind, module) in enumerate(parts):
        if kind:
            number = next(numbers)
            path = f"{kind}{number}"
            has_parameters = any(True for _ in module.parameters())
            layers.append(Layer(path, number, path, (path,) if has_parameters else ()))
        else:
            path = f"part{index}"
        named.add_module(path, module)
    return LayeredNetwork(named, layers)


def _numbers() -> Iterator[int]:
    number = 0
    while True:
        number += 1
        yield number
