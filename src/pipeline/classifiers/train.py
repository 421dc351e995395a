"""Training one network: epochs of minibatches, what is measured after each, and how it resumes."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classifiers.batches import DeviceArrays, inputs, minibatches
from pipeline.classifiers.evaluate import precise, predict
from pipeline.classifiers.keep import KeptWeights
from pipeline.classifiers.normalisation import renew_statistics
from pipeline.classifiers.optimizers import NetworkOptimizer
from pipeline.classifiers.settings import Settings
from pipeline.classifiers.variables import SUBSETS
from pipeline.classifiers.weights import pack
from pipeline.hardware import compiled, float32_products
from pipeline.seeds import generator
from pipeline.training.resume import StateFile

log = logging.getLogger(__name__)

NEVER = -1  # an epoch that there was not


@dataclass
class History:
    """What was measured of one network, epoch 0 first.

    accuracy: rows of one share per subset; loss: mean cross-entropy on the told labels.
    best_epoch: of the highest test accuracy; failed_epoch: at which training diverged, else -1.
    best_weights: the weight set of the best epoch.
    """

    accuracy: list[list[float]] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    best_epoch: int = 0
    failed_epoch: int = NEVER
    best_weights: NDArray[np.float32] | None = None

    @property
    def last_epoch(self) -> int:
        """The last epoch that was measured."""
        return len(self.loss) - 1

    def state(self) -> dict[str, Any]:
        """As plain values and tensors."""
        best = None if self.best_weights is None else torch.from_numpy(self.best_weights)
        return {
            "accuracy": torch.tensor(self.accuracy, dtype=torch.float64),
            "loss": torch.tensor(self.loss, dtype=torch.float64),
            "best_epoch": self.best_epoch,
            "failed_epoch": self.failed_epoch,
            "best_weights": best,
        }

    @classmethod
    def of_state(cls, state: dict[str, Any]) -> History:
        """The history that ``state`` gave."""
        best = state["best_weights"]
        return cls(
            state["accuracy"].tolist(),
            state["loss"].tolist(),
            state["best_epoch"],
            state["failed_epoch"],
            None if best is None else best.numpy(),
        )


def initial_network(
    settings: Settings, shape: tuple[int, ...], outputs: int, seed: int
) -> nn.Module:
    """A network with torch's default random weights, from the seed's stream ``init``.

    The weights are drawn on the CPU, so that they are the same whatever the device.
    """
    draw = generator(settings.root_seed, settings.stream, seed, "init")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(draw.integers(2**63)))
        return settings.build_network(shape, outputs)


def measure(network: nn.Module, data: DeviceArrays, precision: str) -> tuple[list[float], float]:
    """(accuracy of each subset, in eval mode, NaN of an empty one; mean cross-entropy)."""
    logits = predict(network, inputs(data.train), precision=precision)
    loss = float(cross_entropy(logits.double(), data.labels))
    answers = logits.argmax(dim=1)
    told, true = answers == data.labels, answers == data.classes
    tests = predict(network, inputs(data.test), precision=precision).argmax(dim=1)
    found = {
        "train": told,
        "test": tests == data.test_classes,
        "unpermuted": told[~data.permuted],
        "permuted": told[data.permuted],
        "restored": true[data.permuted],
    }
    shares = [found[subset].double().mean().item() for subset in SUBSETS]
    return shares, loss


def train_network(
    network: nn.Module,
    data: DeviceArrays,
    seed: int,
    settings: Settings,
    kept: KeptWeights,
    state: StateFile,
    progress: Callable[[int, float], None],
) -> History:
    """Train one network until its last epoch and return what was measured; its weight sets are kept.

    Files of sets that are not kept stay: ``kept.purge`` once the history is saved.

    An epoch is one pass through all samples in an order of its own (stream ``order``, the epoch as
    counter); what drops out comes from the stream ``noise``. A job that was killed continues from
    ``state`` to the same bits. A network whose loss is no longer finite is recorded as failed at
    that epoch and trained no further.

    Arguments
    ---------
    network: the initial network, on the data's device; it is trained in place.
    progress: told (epoch, training error).
    """
    optimizer = settings.build_optimizer(network)
    step = compiled(network, settings.compile, data.train.device.type)
    history = _resumed(network, optimizer, kept, state)
    if history is None:
        history = History()
        kept.epochs = []
        _record(network, data, settings, history, kept)
    progress(history.last_epoch, 1 - history.accuracy[-1][0])
    while not _finished(history, settings):
        epoch = history.last_epoch + 1
        with _epoch_streams(settings, seed, epoch, data.labels) as order:
            _train_epoch(network, step, optimizer, data, settings, order)
        _record(network, data, settings, history, kept)
        progress(epoch, 1 - history.accuracy[-1][0])
        if state.due():
            kept.sync()
            state.save(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "history": history.state(),
                    "kept": list(kept.epochs),
                }
            )
            kept.purge()
    if history.failed_epoch == NEVER:
        if history.best_weights is not None:
            kept.add(history.best_epoch, history.best_weights)
        kept.add(history.last_epoch, pack(network))
    history.best_weights = None  # it is among the kept sets
    return history


def _finished(history: History, settings: Settings) -> bool:
    stop = settings.stop_accuracy
    reached = stop is not None and history.last_epoch > 0 and history.accuracy[-1][0] > stop
    return reached or history.failed_epoch != NEVER or history.last_epoch >= settings.epochs


def _record(
    network: nn.Module, data: DeviceArrays, settings: Settings, history: History, kept: KeptWeights
) -> None:
    """Measure the network as it is and keep its weights, if it has not diverged."""
    if settings.statistics_samples:
        x = inputs(data.train[: settings.statistics_samples])
        renew_statistics(network, x, precision=settings.precision)
    shares, loss = measure(network, data, settings.precision)
    epoch = len(history.loss)
    history.accuracy.append(shares)
    history.loss.append(loss)
    if not math.isfinite(loss):
        log.warning("training diverged: the loss of epoch %d is %s", epoch, loss)
        history.failed_epoch = epoch
        return
    test = SUBSETS.index("test")
    best = epoch == 0 or shares[test] > history.accuracy[history.best_epoch][test]
    weights = pack(network) if kept.most else None
    if weights is not None:
        kept.offer(epoch, weights)
    if best:
        history.best_epoch, history.best_weights = epoch, weights


def _train_epoch(
    network: nn.Module,
    step: Callable[[Tensor], Tensor],
    optimizer: NetworkOptimizer,
    data: DeviceArrays,
    settings: Settings,
    order: Tensor,
) -> None:
    network.train()
    device = data.train.device.type
    with float32_products(settings.precision, device):
        for x, labels in minibatches(data, settings.batch_size, order):
            optimizer.zero_grad(set_to_none=True)
            with precise(settings.precision, device):
                loss = cross_entropy(step(x), labels)
            loss.backward()
            optimizer.step()


@contextlib.contextmanager
def _epoch_streams(settings: Settings, seed: int, epoch: int, labels: Tensor) -> Iterator[Tensor]:
    """The order of an epoch's samples, on the device; within, torch's own stream is the epoch's."""
    name = (settings.root_seed, settings.stream, seed)
    order = generator(*name, "order", epoch).permutation(len(labels))
    noise = int(generator(*name, "noise", epoch).integers(2**63))
    devices = [torch.cuda.current_device()] if labels.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(noise)
        yield torch.from_numpy(order).to(labels.device)


def _resumed(
    network: nn.Module, optimizer: NetworkOptimizer, kept: KeptWeights, state: StateFile
) -> History | None:
    """The history of a saved state, with network and optimiser set to it; None where there is none."""
    saved = state.load()
    if saved is None:
        return None
    kept.epochs = list(saved["kept"])
    if not kept.complete():
        log.warning("kept weights of a saved state are missing; starting afresh")
        return None
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return History.of_state(saved["history"])
