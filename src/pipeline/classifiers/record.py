"""Activations of all layers for chosen samples, at the first, the best and the last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.classifiers.evaluate import BATCH, batches, precise
from pipeline.data.labels import MANIFOLD_KINDS
from pipeline.errors import TrainingError
from pipeline.models.layered import LayeredNetwork, record_layers

ABSENT = -1  # sample of a point that there is not


@dataclass(frozen=True)
class Points:
    """The recorded points of one seed: (points,) int64 each.

    kind: index of ``MANIFOLD_KINDS``; manifold: class in that kind; sample: training sample, of the
    kind test a test sample, ``ABSENT`` where a manifold has fewer samples.
    """

    kind: NDArray[np.int64]
    manifold: NDArray[np.int64]
    sample: NDArray[np.int64]


def choose_points(
    classes: Mapping[str, NDArray[np.int64]],
    training: int,
    manifolds: int,
    points: int,
    random: np.random.Generator,
) -> Points:
    """``points`` random samples of each of the first ``manifolds`` manifolds of every kind.

    Arguments
    ---------
    classes: as ``labels.manifold_classes`` gives them; training: number of training samples.
    """
    kinds, owners, samples = [], [], []
    for number, kind in enumerate(MANIFOLD_KINDS):
        first = training if kind == "test" else 0
        for manifold in range(manifolds):
            found = np.flatnonzero(classes[kind] == manifold)
            drawn = np.full(points, ABSENT, dtype=np.int64)
            chosen = np.sort(random.permutation(found)[:points])
            drawn[: chosen.size] = chosen - first
            kinds.append(np.full(points, number))
            owners.append(np.full(points, manifold))
            samples.append(drawn)
    every = (np.concatenate(one).astype(np.int64) for one in (kinds, owners, samples))
    return Points(*every)


def point_inputs(points: Points, train: Tensor, test: Tensor) -> Tensor:
    """Inputs of all points, zeros where there is none."""
    x = torch.zeros((points.sample.size, *train.shape[1:]), dtype=train.dtype, device=train.device)
    of_test = points.kind == MANIFOLD_KINDS.index("test")
    there = points.sample != ABSENT
    for source, mine in ((train, ~of_test & there), (test, of_test & there)):
        rows = torch.from_numpy(np.flatnonzero(mine)).to(train.device)
        x[rows] = source[torch.from_numpy(points.sample[mine]).to(train.device)]
    return x


@torch.no_grad()
def activations(
    network: LayeredNetwork, x: Tensor, layers: list[str], batch_size: int = BATCH
) -> dict[int, NDArray[np.float32]]:
    """Layer number -> (samples, units) float32 representations, in eval mode and float32."""
    network.eval()
    found: dict[str, list[Tensor]] = {name: [] for name in layers}
    for rows in batches(len(x), batch_size):
        with precise("float32", x.device.type):
            _, of_batch = record_layers(network, x[rows], layers)
        for name, values in of_batch.items():
            found[name].append(values.float().cpu())
    return {network.layer(name).number: torch.cat(found[name]).numpy() for name in layers}


def recorded_layers(
    network: nn.Module, names: list[str] | None
) -> tuple[LayeredNetwork, list[str]]:
    """The network and the names of the layers asked for (None: all).

    Raises TrainingError for a network without named layers, and for an unknown name.
    """
    if not isinstance(network, LayeredNetwork):
        raise TrainingError(
            "Activations can be recorded of networks with named layers only; set recorded_seeds to 0, "
            "or build the network with pipeline.models.layered."
        )
    chosen = list(network.layers) if names is None else list(names)
    for name in chosen:
        network.layer(name)
    return network, chosen
