"""Training ensembles of small networks from Python."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.errors import TrainingError
from pipeline.hardware import compute_threads
from pipeline.training.group import train_group
from pipeline.training.problem import Problem, make_problem
from pipeline.training.progress import Progress
from pipeline.training.settings import Settings

if TYPE_CHECKING:
    import xarray as xr

DEFAULT_BATCH = 32  # the paper's batch size (Methods, "Identity of stragglers")
SERIES = ("train_error", "test_error", "loss")
GEOMETRY = ("radius_plus", "radius_minus", "distance")


def split_groups(networks: int, ensemble_size: int) -> list[slice]:
    """Consecutive groups of ``ensemble_size`` networks, the last one smaller where they do not fit."""
    starts = range(0, networks, ensemble_size)
    return [slice(start, min(start + ensemble_size, networks)) for start in starts]


def train_ensemble(
    images: Any,
    labels: Any,
    *,
    test_images: Any = None,
    test_labels: Any = None,
    seeds: int | Sequence[int] = 8,
    depth: int = 2,
    width: int = 20,
    activation: str = "tanh",
    optimizer: str = "gd",
    learning_rate: float = 0.2,
    epochs: int = 500,
    sample_weight: Any = None,
    device: str = "auto",
    precision: str = "float32",
    layers: int | Sequence[int] = 1,
    checkpoints: Sequence[int] = (),
    stored_seeds: int | None = None,
    parameters: Sequence[np.ndarray] | None = None,
    progress: bool = False,
    **settings: Any,
) -> xr.Dataset:
    """Train many networks at once on one set of images and measure them at every epoch.

    Arguments
    ---------
    images: (samples, features) floats, standardised. labels: (samples,) in {-1, +1}.
    test_images, test_labels: the same for the test set; without them test_error is NaN.
    seeds: number of networks, or their seed numbers.
    depth, width, activation: the network (see models.fully_connected).
    optimizer: gd (full batch), sgd (minibatches of ``batch_size``, 32 by default) or adam (full batch);
        learning_rate: its step.
    epochs: one epoch is one update (full batch) or one pass through the set (minibatches).
    sample_weight: (samples,) or (seeds, samples), >= 0; a sample of weight 0 is left out of that
        network's loss, training error, radii and distance (pruning without copying the data).
    device: auto, cpu or cuda. precision: float32, float64 or bf16 (matrix products only).
    layers: hidden layer, or layers, whose geometry is measured; a list adds a dimension ``layer``.
    checkpoints: epochs at which activations, predictions and weights of the first ``stored_seeds``
        networks (all by default) are kept.
    parameters: initial weights stacked along the seeds, instead of drawn ones.
    settings: further fields of training.settings.Settings: momentum, weight_decay, batch_size,
        shared_order, shared_init, init, init_variance, network, kernel (side of the kernels of
        models.convolutional), test_epochs ("all", or "last": test_error is NaN before the last epoch),
        final_weights, compile, threads, ensemble_size, root_seed, stream.

    Returns
    -------
    Dataset with dims (seed, epoch), epoch 0 being the initial weights: train_error, test_error, loss,
    radius_plus, radius_minus (paper, Eq. 8), distance (Eq. 9), float64; failed_epoch (seed), -1 where
    training stayed finite; misclassified (seed, epoch, sample_byte), bit-packed as numpy.packbits;
    with final_weights=True, final_weights (seed, parameter) float32, NaN for networks that diverged.

    Raises TrainingError (a ValueError) for unusable inputs.
    """
    known = {f.name for f in fields(Settings)}
    if unknown := sorted(set(settings) - known):
        raise TrainingError(
            f"unknown setting {unknown[0]!r}; known are: {', '.join(sorted(known))}."
        )
    names = _seed_numbers(seeds)
    single = isinstance(layers, numbers.Integral)
    if optimizer == "sgd":
        settings.setdefault("batch_size", DEFAULT_BATCH)
    chosen = Settings(
        depth=depth,
        width=width,
        activation=activation,
        optimizer=optimizer,
        learning_rate=learning_rate,
        epochs=epochs,
        device=device,
        precision=precision,
        layers=_layer_numbers(layers),
        **settings,
    )
    for epoch in checkpoints:
        if not isinstance(epoch, numbers.Integral) or not 0 <= int(epoch) <= epochs:
            raise TrainingError(
                f"checkpoints must be integers between 0 and {epochs}, not {epoch!r}."
            )
    dtype = np.float64 if precision == "float64" else np.float32
    problem = make_problem(
        images, labels, test_images, test_labels, sample_weight, len(names), dtype
    )
    if sample_weight is not None and chosen.batch_size is not None:
        raise TrainingError(
            "sample_weight goes with full-batch training only: a minibatch would weigh its few kept "
            "samples as much as a full one; use optimizer gd or adam, or prune the images."
        )
    count = len(names) if stored_seeds is None else stored_seeds
    if not isinstance(count, numbers.Integral) or not 0 <= int(count) <= len(names):
        raise TrainingError(f"stored_seeds must lie between 0 and {len(names)}, not {count!r}.")
    stored = names[:count]
    epochs_kept = sorted({int(epoch) for epoch in checkpoints})
    _check_parameters(parameters, chosen, problem, len(names))
    arrays, engine = _train(problem, names, chosen, epochs_kept, stored, parameters, progress)
    dataset = label_arrays(arrays, names, chosen, epochs_kept, stored).assign_attrs(engine)
    return dataset.isel(layer=0) if single else dataset


def _seed_numbers(seeds: Any) -> list[int]:
    """The seed numbers that ``seeds`` means; raises TrainingError."""
    if isinstance(seeds, numbers.Integral) and not isinstance(seeds, bool):
        names = list(range(int(seeds)))
    elif isinstance(seeds, Iterable) and not isinstance(seeds, str):
        listed = list(seeds)
        whole = all(isinstance(seed, numbers.Integral) and int(seed) >= 0 for seed in listed)
        names = [int(seed) for seed in listed] if whole else []
    else:
        names = []
    if not names or len(set(names)) != len(names):
        raise TrainingError(
            f"seeds must be a positive integer or distinct integers from 0 on, not {seeds!r}."
        )
    return names


def _layer_numbers(layers: Any) -> tuple[int, ...]:
    """The hidden layers that ``layers`` means, as integers; raises TrainingError."""
    iterable = isinstance(layers, Iterable) and not isinstance(layers, str)
    found = list(layers) if iterable else [layers]
    whole = all(isinstance(layer, numbers.Integral) for layer in found)
    if not found or not whole or len(set(found)) != len(found):
        raise TrainingError(f"layers must be a layer number or distinct ones, not {layers!r}.")
    return tuple(int(layer) for layer in found)


def _check_parameters(
    parameters: Sequence[np.ndarray] | None, settings: Settings, problem: Problem, networks: int
) -> None:
    """Raise TrainingError unless ``parameters`` are initial weights of these networks."""
    if parameters is None:
        return
    network = settings.build_network(problem.train_images.shape[1])
    wanted = [(networks, *p.shape) for p in network.parameters()]
    found = [tuple(np.shape(p)) for p in parameters]
    if found != wanted:
        raise TrainingError(f"parameters must have the shapes {wanted}, not {found}.")


def _train(
    problem: Problem,
    seeds: list[int],
    settings: Settings,
    checkpoints: list[int],
    stored: list[int],
    parameters: Sequence[np.ndarray] | None,
    progress: bool,
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    groups = split_groups(len(seeds), settings.ensemble_size)
    engine: dict[str, Any] = {}
    report = Progress("ensemble", len(groups), settings.epochs) if progress else None
    parts = []
    with compute_threads(settings.threads):
        for group in groups:
            own = seeds[group]
            part, engine = train_group(
                problem.of_networks(group),
                own,
                settings,
                checkpoints=checkpoints,
                stored=[seed for seed in stored if seed in own],
                progress=report,
                parameters=None if parameters is None else [p[group] for p in parameters],
            )
            parts.append(part)
    names = {name for part in parts for name in part}
    axis = {name: 1 if is_checkpoint_variable(name) else 0 for name in names}
    arrays = {
        name: np.concatenate([part[name] for part in parts if name in part], axis=axis[name])
        for name in sorted(names)
    }
    return arrays, engine


def is_checkpoint_variable(name: str) -> bool:
    """Whether an array of train_group has the axes (checkpoint, stored seed, ...)."""
    return name in ("predictions", "weights") or name.startswith("activations_")


def dimensions(name: str) -> tuple[str, ...]:
    """The named dimensions of an array of train_group."""
    if name.startswith("activations_"):
        return ("checkpoint", "stored_seed", "sample", f"unit_{name.removeprefix('activations_')}")
    return {
        "predictions": ("checkpoint", "stored_seed", "sample"),
        "weights": ("checkpoint", "stored_seed", "parameter"),
        "misclassified": ("seed", "epoch", "sample_byte"),
        "failed_epoch": ("seed",),
        "final_weights": ("seed", "parameter"),
        **{series: ("seed", "epoch") for series in SERIES},
        **{series: ("seed", "epoch", "layer") for series in GEOMETRY},
    }[name]


def label_arrays(
    arrays: dict[str, np.ndarray],
    seeds: list[int],
    settings: Settings,
    checkpoints: list[int],
    stored: list[int],
) -> xr.Dataset:
    """The arrays of train_group as a Dataset with named dimensions and coordinates."""
    import xarray as xr

    coordinates: dict[str, Any] = {
        "seed": np.asarray(seeds, np.int64),
        "epoch": np.arange(settings.epochs + 1, dtype=np.int64),
        "layer": np.asarray(settings.layers, np.int64),
    }
    if stored and checkpoints:
        coordinates["checkpoint_epoch"] = ("checkpoint", np.asarray(checkpoints, np.int64))
        coordinates["stored_seed"] = np.asarray(stored, np.int64)
    variables = {name: (dimensions(name), values) for name, values in arrays.items()}
    return xr.Dataset(variables, coords=coordinates)
