"""How networks are trained whose predictions are recorded: every choice that changes a network, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.classifiers.optimizers import NetworkOptimizer
from pipeline.classifiers.settings import COMPILE, PRECISIONS
from pipeline.classifiers.weights import build_network
from pipeline.errors import TrainingError
from pipeline.hardware import DEVICES
from pipeline.predictors.augmentation import AUGMENTATIONS
from pipeline.predictors.imagenet_schedules import decaying_groups
from pipeline.predictors.schedules import ANNEALING, record_updates, spaced_updates, thinned
from pipeline.training.values import number, one_of, whole

STATISTICS = ("running", "initial", "always")
RECORDS: dict[str, Callable[[int, int], list[int]]] = {
    "authors": record_updates,
    "spaced": spaced_updates,
}


@dataclass(frozen=True)
class Settings:
    """Settings of one run; the defaults are those of Mao et al., PNAS 121(12), 2024 (App. B).

    Attributes
    ----------
    network: the configuration entry ``{builder, options}``; width: its width multiplier.
    learning_rate: of the first update; None: learning_rate_per_sample times batch_size.
    optimizer: a function (parameters, settings as a mapping) -> NetworkOptimizer.
    annealing: how the learning rate falls, by update (``schedules.ANNEALING``).
    augmentation: of training images, anew at every epoch; record_augmented: train predictions are
        recorded on augmented images too, as in the authors' programme.
    statistics: of batch normalisation while predictions are recorded: ``running`` averages;
        ``initial``: estimated anew from ``statistics_samples`` training samples before the first
        record of random weights; ``always``: before each.
    records: when predictions are recorded (``RECORDS``); record_every: each so many-th of these records
        is kept, and the last; record_samples: on how many training samples, the first ones; None: all.
    told_probability: of the true class in what is learnt, the rest spread evenly; mixup: alpha of the
        Beta distribution by which pairs of samples are mixed, 0 for none.
    normalisation_decay: whether weight decay acts on batch normalisation too.
    sides: of pictures that are decoded, (first epoch, pixels); None: that of the network's inputs.
    corner: the initial weights of linear layers are torch's own plus draw number ``corner`` of
        standard normal ones, the same for all seeds; None: torch's own.
    labelling: the number of a random labelling of the training samples that is learnt; None: their
        own labels.
    start_from: the run whose final networks are the initial ones; None: random weights.
    precision: of products, see ``evaluate.precise``. root_seed, stream: name the random streams.
    """

    network: Mapping[str, Any]
    optimizer: Callable[..., Any]
    width: float = 1.0
    learning_rate: float | None = 0.1
    learning_rate_per_sample: float | None = None
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 200
    epochs: int = 200
    annealing: str = "cosine"
    augmentation: str = "none"
    record_augmented: bool = False
    statistics: str = "initial"
    statistics_samples: int = 1000
    records: str = "authors"
    record_every: int = 1
    record_samples: int | None = None
    told_probability: float = 1.0
    mixup: float = 0.0
    normalisation_decay: bool = True
    sides: tuple[tuple[int, int], ...] | None = None
    corner: int | None = None
    labelling: int | None = None
    start_from: str | None = None
    precision: str = "float32"
    compile: bool | str = "auto"
    device: str = "auto"
    threads: int = 1
    root_seed: int = 0
    stream: str = "predictor"

    def __post_init__(self) -> None:
        choices = {
            "annealing": tuple(ANNEALING),
            "augmentation": AUGMENTATIONS,
            "statistics": STATISTICS,
            "precision": PRECISIONS,
            "compile": COMPILE,
            "device": DEVICES,
            "record_augmented": (True, False),
            "records": tuple(RECORDS),
            "normalisation_decay": (True, False),
        }
        for key, valid in choices.items():
            one_of(key, getattr(self, key), valid)
        for key in ("batch_size", "epochs", "statistics_samples", "record_every", "threads"):
            whole(key, getattr(self, key), 1)
        for key, least in (("corner", 0), ("labelling", 0), ("record_samples", 1)):
            if getattr(self, key) is not None:
                whole(key, getattr(self, key), least)
        if self.sides is not None:
            object.__setattr__(self, "sides", tuple((int(e), int(s)) for e, s in self.sides))
        number("told_probability", self.told_probability, above_zero=True)
        number("mixup", self.mixup)
        number("width", self.width, above_zero=True)
        if (self.learning_rate is None) == (self.learning_rate_per_sample is None):
            raise TrainingError(
                f"learning_rate is {self.learning_rate} and learning_rate_per_sample "
                f"{self.learning_rate_per_sample}; give one of them and set the other to null."
            )
        number("learning_rate", self.first_learning_rate)
        number("momentum", self.momentum, 1.0)
        number("weight_decay", self.weight_decay)

    @property
    def first_learning_rate(self) -> float:
        """Learning rate of the first update."""
        if self.learning_rate is not None:
            return self.learning_rate
        return (self.learning_rate_per_sample or 0.0) * self.batch_size

    def build_network(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A fresh network for inputs of that shape."""
        return build_network(self.network, shape, outputs, self.width)

    def build_optimizer(self, network: nn.Module) -> NetworkOptimizer:
        """The optimiser over a network's parameters."""
        values = {
            "learning_rate": self.first_learning_rate,
            "momentum": self.momentum,
            "weight_decay": self.weight_decay,
        }
        if self.normalisation_decay:
            return self.optimizer(list(network.parameters()), values)
        return self.optimizer(decaying_groups(network, self.weight_decay), values)

    def record_updates(self, batches: int) -> list[int]:
        """Numbers of updates done at which predictions are recorded, of epochs of ``batches`` updates."""
        return thinned(RECORDS[self.records](self.epochs, batches), self.record_every)
