"""How classifiers are trained: every choice that changes a network, in one place, checked."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, isfinite
from typing import Any

from torch import nn

from pipeline.classifiers.weights import build_network
from pipeline.errors import TrainingError
from pipeline.hardware import DEVICES

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
    optimizer: a function (parameters, settings as a mapping) -> torch.optim.Optimizer.
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
            if getattr(self, key) not in valid:
                text = ", ".join(str(choice) for choice in valid)
                raise TrainingError(f"{key} is {getattr(self, key)!r}; valid are: {text}.")
        for key, least in LEAST.items():
            value = getattr(self, key)
            whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
            if not whole or value < least:
                raise TrainingError(f"{key} must be an integer of at least {least}, not {value!r}.")
        spans = {
            "width": inf,
            "label_noise": 1.0,
            "learning_rate": inf,
            "momentum": 1.0,
            "weight_decay": inf,
        }
        for key, most in spans.items():
            value = getattr(self, key)
            real = isinstance(value, numbers.Real) and not isinstance(value, bool)
            above = value > 0 if key == "width" else value >= 0
            if not (real and above and value <= most and isfinite(value)):
                span = "above 0" if key == "width" else f"from 0 to {most}"
                raise TrainingError(f"{key} must be a finite number {span}, not {value!r}.")
        stop = self.stop_accuracy
        number = isinstance(stop, numbers.Real) and not isinstance(stop, bool)
        if stop is not None and not (number and 0 < stop <= 1):
            raise TrainingError(
                f"stop_accuracy must be a number above 0 and up to 1, or None, not {stop!r}."
            )

    def build_network(self, shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A fresh network for inputs of that shape."""
        return build_network(self.network, shape, outputs, self.width)

    def build_optimizer(self, network: nn.Module) -> Any:
        """The optimiser over a network's parameters."""
        keys = ("learning_rate", "momentum", "weight_decay")
        return self.optimizer(list(network.parameters()), {key: getattr(self, key) for key in keys})
