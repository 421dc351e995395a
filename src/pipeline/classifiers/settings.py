"""How classifiers are trained: every choice that changes a network, in one place, checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.classifiers.optimizers import NetworkOptimizer
from pipeline.classifiers.weights import build_network
from pipeline.hardware import DEVICES
from pipeline.training.values import number, one_of, whole

PRECISIONS = ("float32", "float64", "bf16", "tf32")
COMPILE = ("auto", True, False)
LEAST = {"batch_size": 1, "epochs": 1, "statistics_samples": 0, "kept_weights": 3, "threads": 1}


@dataclass(frozen=True)
class Settings:
    """Settings of one run; the defaults are those of Stephenson et al., ICLR 2021 (Sec. A).

    Attributes
    ----------
    network: the configuration entry ``{builder, options}``; width: its width multiplier.
    label_noise: eps, the share of training samples with a random label.
    optimizer: a function (parameters, settings as a mapping) -> NetworkOptimizer.
    epochs: most epochs; stop_accuracy: training stops after the first epoch whose training accuracy
        is above it (None: never).
    statistics_samples: training samples, the first ones, from which the statistics of batch
        normalisation are estimated anew before a network is measured; 0: the running averages.
    kept_weights: most weight sets kept per seed.
    precision: of products, see ``evaluate.precise``. Weights are in float32, with float64 in float64;
        kept weight sets are rounded to float32.
    root_seed, stream: name the random streams.
    """

    network: Mapping[str, Any]
    optimizer: Callable[..., Any]
    width: float = 1.0
    label_noise: float = 0.5
    learning_rate: float = 1e-4
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 1024
    epochs: int = 1000
    stop_accuracy: float | None = 0.99
    statistics_samples: int = 0
    kept_weights: int = 20
    precision: str = "float32"
    compile: bool | str = "auto"
    device: str = "auto"
    threads: int = 1
    root_seed: int = 0
    stream: str = "classifier"

    def __post_init__(self) -> None:
        choices = {"precision": PRECISIONS, "device": DEVICES, "compile": COMPILE}
        for key, valid in choices.items():
            one_of(key, getattr(self, key), valid)
        for key, least in LEAST.items():
            whole(key, getattr(self, key), least)
        number("width", self.width, above_zero=True)
        for key in ("learning_rate", "weight_decay"):
            number(key, getattr(self, key))
        for key in ("label_noise", "momentum"):
            number(key, getattr(self, key), 1.0)
        if self.stop_accuracy is not None:
            number("stop_accuracy", self.stop_accuracy, 1.0, above_zero=True)

    def build_network(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A fresh network for inputs of that shape."""
        return build_network(self.network, shape, outputs, self.width)

    def build_optimizer(self, network: nn.Module) -> NetworkOptimizer:
        """The optimiser over a network's parameters."""
        keys = ("learning_rate", "momentum", "weight_decay")
        return self.optimizer(list(network.parameters()), {key: getattr(self, key) for key in keys})
