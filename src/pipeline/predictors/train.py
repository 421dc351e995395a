"""Training one network by updates: its schedule, its records, and how it resumes."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.classifiers.evaluate import precise
from pipeline.classifiers.normalisation import renew_statistics
from pipeline.classifiers.optimizers import NetworkOptimizer
from pipeline.hardware import compiled, float32_products
from pipeline.predictors.record import predictions
from pipeline.predictors.samples import Samples
from pipeline.predictors.schedules import annealing
from pipeline.predictors.settings import Settings
from pipeline.predictors.targets import mixed, smoothed
from pipeline.predictors.variables import SPLITS
from pipeline.seeds import generator
from pipeline.training.resume import PartFiles, StateFile

log = logging.getLogger(__name__)

NEVER = -1  # an update that there was not


@dataclass
class Course:
    """How far one network is: updates at which it was recorded, and where it failed."""

    recorded: list[int] = field(default_factory=list)
    failed_update: int = NEVER
    epoch: int = 0


def initial_network(
    settings: Settings, shape: tuple[int, ...], outputs: int, seed: int
) -> nn.Module:
    """A network with torch's default random weights, from the seed's stream ``init``, drawn on the CPU;
    with ``corner``, plus standard normal weights of all linear layers that all seeds share.
    """
    with _torch_stream(settings, settings.stream, seed):
        network = settings.build_network(shape, outputs)
    if settings.corner is not None:
        with _torch_stream(settings, "corner", settings.corner), torch.no_grad():
            for one in network.modules():
                if isinstance(one, nn.Linear):
                    one.weight += torch.randn(one.weight.shape)
    return network


def as_trained(network: nn.Module, settings: Settings, device: str) -> nn.Module:
    """A network on its device in the number type of its precision, kernels with their channels last, as
    images are held.
    """
    dtype = torch.float64 if settings.precision == "float64" else torch.float32
    network = network.to(device=device, dtype=dtype)
    return network.to(memory_format=torch.channels_last)  # type: ignore[no-any-return, call-overload]


@contextlib.contextmanager
def _torch_stream(settings: Settings, stream: str, seed: int) -> Iterator[None]:
    draws = generator(settings.root_seed, stream, seed, "init")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(draws.integers(2**63)))
        yield


def train_network(
    network: nn.Module,
    data: Samples,
    seed: int,
    settings: Settings,
    records: PartFiles,
    state: StateFile,
    progress: Callable[[int, float], None],
) -> Course:
    """Train one network, record its predictions on the way, and return its course.

    An epoch is one pass through all samples in an order of its own (stream ``order``, the epoch as
    counter); what drops out and what is augmented come from the stream ``noise``. A job that was killed
    continues from the last epoch that was saved, to the same bits. A network whose
    predictions are not finite at a record is recorded as failed at that update and trained no further.

    Arguments
    ---------
    network: the initial network, on the data's device; it is trained in place.
    progress: told (epoch, training error) after each epoch.
    """
    batches = math.ceil(data.size / settings.batch_size)
    wanted = set(settings.record_updates(batches))
    optimizer = settings.build_optimizer(network)
    step = compiled(network, settings.compile, data.device)
    course = _resumed(network, optimizer, records, state)
    if course is None:
        course = Course()
        record(network, data, settings, seed, 0, course, records)
    while course.epoch < settings.epochs and course.failed_update == NEVER:
        error = _train_epoch(
            network, step, optimizer, data, settings, seed, wanted, course, records
        )
        progress(course.epoch, error)
        if state.due():
            records.sync()
            state.save(
                {
                    "network": network.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "recorded": list(course.recorded),
                    "epoch": course.epoch,
                    "failed_update": course.failed_update,
                }
            )
    return course


def _train_epoch(
    network: nn.Module,
    step: Callable[[Tensor], Tensor],
    optimizer: NetworkOptimizer,
    data: Samples,
    settings: Settings,
    seed: int,
    wanted: set[int],
    course: Course,
    records: PartFiles,
) -> float:
    """One epoch with its records; returns the share of samples that were wrong while it was trained."""
    factor = annealing(settings.annealing)
    device = data.device
    batches = math.ceil(data.size / settings.batch_size)
    updates = settings.epochs * batches
    name = (settings.root_seed, settings.stream, seed)
    order = generator(*name, "order", course.epoch).permutation(data.size)
    noise = int(generator(*name, "noise", course.epoch).integers(2**63))
    mixing = generator(*name, "augmentation", course.epoch)
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    wrong: list[Tensor] = []
    with torch.random.fork_rng(devices=devices), float32_products(settings.precision, device):
        torch.manual_seed(noise)
        minibatches = data.epoch(order, settings, seed, course.epoch, noise)
        network.train()  # a record leaves the mode as it was
        for i, (x, labels) in enumerate(minibatches):
            update = course.epoch * batches + i
            for group in optimizer.param_groups:
                group["lr"] = settings.first_learning_rate * factor(update, updates)
            optimizer.zero_grad(set_to_none=True)
            targets = labels
            if settings.told_probability < 1 or settings.mixup:
                targets = smoothed(labels, data.outputs, settings.told_probability).to(x.dtype)
            if settings.mixup:
                x, targets = mixed(x, targets, mixing, settings.mixup)
            with precise(settings.precision, device):
                logits = step(x)
                loss = cross_entropy(logits, targets)
            loss.backward()
            optimizer.step()
            wrong.append(logits.detach().argmax(dim=1) != labels)
            if update + 1 in wanted:
                record(network, data, settings, seed, update + 1, course, records)
                if course.failed_update != NEVER:
                    break
    course.epoch += 1
    return float(torch.cat(wrong).sum()) / data.size


def record(
    network: nn.Module,
    data: Samples,
    settings: Settings,
    seed: int,
    update: int,
    course: Course,
    records: PartFiles,
) -> None:
    """Record a network's predictions; if they are not finite, that it failed."""
    first = update == 0 and settings.start_from is None
    if settings.statistics == "always" or (settings.statistics == "initial" and first):
        x = data.first(settings.statistics_samples)
        renew_statistics(network, x, precision=settings.precision)
    noise = generator(settings.root_seed, settings.stream, seed, "analysis", update)
    draw = int(noise.integers(2**63))
    found: dict[str, Tensor] = {}
    for split in SPLITS:
        batches = data.recorded(split, settings, draw)
        roots, told = predictions(network, batches, settings.precision)
        found |= {f"{split}_root_probabilities": roots, f"{split}_log_likelihood": told}
    if not all(bool(torch.isfinite(value).all()) for value in found.values()):
        log.warning("training diverged: predictions after %d updates are not finite", update)
        course.failed_update = update
        return
    records.write(update, {name: value.contiguous() for name, value in found.items()})
    course.recorded.append(update)


def _resumed(
    network: nn.Module, optimizer: NetworkOptimizer, records: PartFiles, state: StateFile
) -> Course | None:
    """The course of a saved state, with network and optimiser set to it; None where there is none."""
    saved = state.load()
    if saved is None:
        return None
    if not records.complete(saved["recorded"]):
        log.warning("records of a saved state are missing; starting afresh")
        return None
    network.load_state_dict(saved["network"])
    optimizer.load_state_dict(saved["optimizer"])
    return Course(list(saved["recorded"]), saved["failed_update"], saved["epoch"])
