"""How an ensemble is trained: every choice that changes a network, in one place, checked."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass, fields
from math import inf
from typing import Any

import torch
from torch import nn

from pipeline.errors import TrainingError
from pipeline.hardware import DEVICES
from pipeline.models.convolutional import convolutional
from pipeline.models.fully_connected import ACTIVATIONS, fully_connected
from pipeline.models.initialise import SCHEMES
from pipeline.training import optimizers

OPTIMIZERS: dict[str, Callable[..., optimizers.Optimizer]] = {
    "gd": optimizers.gd,
    "sgd": optimizers.sgd,
    "adam": optimizers.adam,
}
PRECISIONS = ("float32", "float64", "bf16")
COMPILE = ("auto", True, False)
TEST_EPOCHS = ("all", "last")


@dataclass(frozen=True)
class Settings:
    """Settings of one run; the defaults are those of the stragglers paper (Methods)."""

    depth: int = 2
    width: int = 20
    activation: str = "tanh"
    network: Callable[..., nn.Sequential] = fully_connected
    kernel: int | None = None  # side k of the k x k kernels of the convolutional network
    init: str = "uniform"
    init_variance: float | None = None
    optimizer: str | Callable[..., optimizers.Optimizer] = "gd"
    learning_rate: float = 0.2
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int | None = None  # None: the full set, one update per epoch
    updates_per_epoch: int | None = (
        None  # of minibatches; None: as many as one pass through the set
    )
    shared_order: bool = False  # minibatches in the same order for all seeds
    shared_init: bool = False  # all seeds start from the weights of seed 0
    epochs: int = 500
    layers: tuple[int, ...] = (1,)  # hidden layers whose geometry is measured
    test_epochs: str = "all"  # "last": the test error of the last epoch only, NaN before it
    final_weights: bool = False  # keep all parameters of every network at the last epoch
    precision: str = "float32"
    device: str = "auto"
    compile: bool | str = "auto"
    threads: int = 1
    ensemble_size: int = 32  # networks trained as one batch
    root_seed: int = 0
    stream: str = "ensemble"  # names the random streams of order and labels
    init_stream: str | None = None  # names the stream of initial weights; None: ``stream``

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()

    def _check_choices(self) -> None:
        choices: dict[str, tuple[Any, ...]] = {
            "activation": tuple(ACTIVATIONS),
            "init": SCHEMES,
            "precision": PRECISIONS,
            "device": DEVICES,
            "compile": COMPILE,
            "test_epochs": TEST_EPOCHS,
            "final_weights": (True, False),
        }
        if not callable(self.optimizer):
            choices["optimizer"] = tuple(OPTIMIZERS)
        for key, valid in choices.items():
            value = getattr(self, key)
            if value not in valid:
                choices_text = ", ".join(str(choice) for choice in valid)
                raise TrainingError(f"{key} is {value!r}; valid are: {choices_text}.")
        # Of a function, the configuration knows whether it takes minibatches (its key batches).
        named = isinstance(self.optimizer, str)
        if named and (self.optimizer == "sgd") != (self.batch_size is not None):
            raise TrainingError(
                f"batch_size goes with optimizer sgd and only with it; optimizer is "
                f"{self.optimizer!r}, batch_size {self.batch_size!r}."
            )

    def _check_numbers(self) -> None:
        integers = {
            "depth": 2,
            "width": 1,
            "epochs": 1,
            "threads": 1,
            "ensemble_size": 1,
            "batch_size": 1,
            "updates_per_epoch": 1,
            "kernel": 1,
        }
        for key, least in integers.items():
            value = getattr(self, key)
            if value is None and key in ("batch_size", "kernel", "updates_per_epoch"):
                continue
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if not whole or value < least:
                raise TrainingError(f"{key} must be an integer of at least {least}, not {value!r}.")
            object.__setattr__(self, key, int(value))
        for key, limit in (("learning_rate", inf), ("momentum", 1.0), ("weight_decay", inf)):
            value = getattr(self, key)
            real = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not real or not 0 <= value < limit:
                raise TrainingError(
                    f"{key} must be a number from 0 to below {limit}, not {value!r}."
                )
            object.__setattr__(self, key, float(value))
        if self.optimizer == "adam" and self.momentum:
            raise TrainingError("momentum goes with gd and sgd, not with adam.")
        if not self.layers or min(self.layers) < 1:
            raise TrainingError(f"layers must name hidden layers from 1 on, not {self.layers!r}.")
        if self.built_in and (self.network is convolutional) != (self.kernel is not None):
            raise TrainingError(
                f"kernel goes with the convolutional network and only with it; network is "
                f"{self.network.__name__}, kernel {self.kernel!r}."
            )
        if self.built_in and max(self.layers) > self.depth - 1:
            raise TrainingError(
                f"layers {list(self.layers)} are asked for, but a network of depth {self.depth} has "
                f"the hidden layers 1 to {self.depth - 1}."
            )

    @property
    def built_in(self) -> bool:
        """Whether the fast passes know the network (fully connected or convolutional)."""
        return self.network in (fully_connected, convolutional)

    def build_network(self, features: int) -> nn.Sequential:
        """A fresh network for inputs of ``features`` values."""
        more = {} if self.kernel is None else {"kernel": self.kernel}
        return self.network(
            features, depth=self.depth, width=self.width, activation=self.activation, **more
        )

    def build_optimizer(self, parameters: list[torch.Tensor]) -> optimizers.Optimizer:
        """The optimiser over stacked parameters."""
        build = self.optimizer if callable(self.optimizer) else OPTIMIZERS[self.optimizer]
        return build(parameters, {f.name: getattr(self, f.name) for f in fields(self)})
