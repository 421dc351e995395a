"""Test errors on noisy test sets (Ciceri et al., arXiv:2303.05161, Fig. 2c and Methods).

    eps_test(sigma) = share of the test samples with sign f(x + sigma n) != y,   n ~ N(0, 1)

independently for every sample and every standardised pixel. Noisy sets are never stored: they are made
block by block. One array n per draw serves all networks and all sigmas (common random numbers, so that
differences between networks and between sigmas are less noisy than the errors themselves).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.analysis.stacked_networks import Split, network_parts, split_network
from pipeline.data.preprocessing import run_arrays
from pipeline.errors import ConfigError, DataError, TrainingError
from pipeline.registry import lookup, resolve
from pipeline.seeds import generator
from pipeline.store.variables import register

if TYPE_CHECKING:
    import xarray as xr

    from pipeline.runs import Run, RunGroups

SIGMAS = (0.0, 0.5, 0.75, 1.0, 1.2, 1.5)  # Fig. 2c
DRAWS = 20
NETWORKS = {
    "fully_connected": "pipeline.models.fully_connected:fully_connected",
    "convolutional": "pipeline.models.convolutional:convolutional",
}
OPTIONS = ("sigmas", "draws", "seed", "networks")
BLOCK = 64  # samples at once: what hundreds of networks make of them stays in a processor's cache

register(
    "sigma",
    ("sigma",),
    "float64",
    "standard deviation of the noise, in units of a standardised pixel",
    coordinate=True,
)
register(
    "test_error_noisy",
    ("run", "seed", "sigma"),
    "float64",
    "share of test samples misclassified at convergence, with noise; mean over noisy sets",
)


def noisy_test_errors(
    network: nn.Sequential,
    weights: NDArray[Any],
    images: NDArray[Any],
    labels: NDArray[Any],
    sigmas: Sequence[float],
    draws: int,
    generator_of_draw: Callable[[int], np.random.Generator],
    *,
    block: int = BLOCK,
) -> NDArray[np.float64]:
    """Test errors of many networks on noisy copies of a test set, (networks, sigmas, draws) float64.

    A sample is read as +1 where f = f+ - f- > 0. Where the network begins with a Linear or Conv2d,
    whose z is linear but for its bias, z(x + sigma n) = z(x) + sigma z(n): one product of all
    networks per draw serves all sigmas. At sigma 0 every draw is the plain test error, found once.

    Arguments
    ---------
    network: the architecture, (samples, features) -> (samples, 2); its own weights are not used.
    weights: (networks, parameters), each as torch.nn.utils.parameters_to_vector orders them.
    images: (samples, features), standardised; float32 or float64, which is also computed in.
    labels: (samples,), each -1 or +1.
    sigmas: standard deviations of the noise, in units of a standardised pixel (no unit).
    draws: number of noisy sets, >= 1.
    generator_of_draw: draw -> random generator; n is drawn from it sample by sample, in float32
        whatever the images' dtype, so that no number depends on ``block`` but by rounding.

    Raises TrainingError for weights of another number or not finite; DataError for images or labels of
    another form; ConfigError for sigmas or draws that are none.
    """
    _check_weights(network, weights)
    _check_test_set(images, labels)
    _check_noise(sigmas, draws)
    x = torch.from_numpy(np.ascontiguousarray(images))
    positive = torch.from_numpy(np.asarray(labels) > 0)
    stack = torch.from_numpy(np.ascontiguousarray(weights, dtype=images.dtype))
    wrong = np.zeros((len(stack), len(sigmas), draws), np.int64)
    with torch.no_grad():
        for networks in network_parts(network, len(stack), x[:1]):
            split = split_network(network, stack[networks], x.shape[1])
            noise = [generator_of_draw(draw) for draw in range(draws)] if any(sigmas) else []
            for start in range(0, len(x), block):
                part, side = x[start : start + block], positive[start : start + block]
                for draw, sigma, field in _noisy_fields(split, part, sigmas, noise):
                    missed = ((field > 0) != side).sum(1).numpy()
                    wrong[networks, sigma, draw] += missed[:, None]
    return wrong / len(x)


def _noisy_fields(
    split: Split, x: Tensor, sigmas: Sequence[float], noise: list[np.random.Generator]
) -> Iterator[tuple[slice, int, Tensor]]:
    """(draws, index of sigma, fields (networks, samples)) of one block of samples."""
    linear, offset, upper = split
    z = linear(x) + offset
    for index, sigma in enumerate(sigmas):
        if sigma == 0:
            yield slice(None), index, upper(z.clone())
    noisy = torch.empty_like(z)
    for draw, rng in enumerate(noise):
        n = torch.from_numpy(rng.standard_normal(tuple(x.shape), dtype=np.float32)).to(x.dtype)
        z_of_noise = linear(n)
        for index, sigma in enumerate(sigmas):
            if sigma > 0:
                torch.add(z, z_of_noise, alpha=sigma, out=noisy)
                yield slice(draw, draw + 1), index, upper(noisy)


def _check_weights(network: nn.Sequential, weights: NDArray[Any]) -> None:
    if not isinstance(network, nn.Sequential) or not list(network.parameters()):
        raise TrainingError(
            "a network must be a torch.nn.Sequential with parameters; this one is a "
            f"{type(network).__name__}."
        )
    parameters = sum(parameter.numel() for parameter in network.parameters())
    if weights.ndim != 2 or weights.shape[1] != parameters or len(weights) == 0:
        raise TrainingError(
            f"weights have the shape {weights.shape}; valid is (networks, {parameters}), all "
            "parameters of each network: check the run's depth, width and kernel."
        )
    if not np.isfinite(weights).all():
        lost = np.flatnonzero(~np.isfinite(weights).all(axis=1)).tolist()
        raise TrainingError(f"the weights of the networks {lost} are not finite: leave them out.")


def _check_test_set(images: NDArray[Any], labels: NDArray[Any]) -> None:
    if images.ndim != 2 or images.dtype not in (np.float32, np.float64) or len(images) == 0:
        raise DataError(
            f"test images are {images.dtype} of shape {images.shape}; valid are float32 or float64 "
            "of (samples, features), standardised."
        )
    if not np.isfinite(images).all():
        raise DataError("test images hold values that are not finite: replace them first.")
    if np.shape(labels) != (len(images),) or not np.isin(labels, (-1, 1)).all():
        raise DataError(f"test labels must be {len(images)} values, each -1 or +1.")


def _check_noise(sigmas: Sequence[float], draws: int) -> None:
    if not len(sigmas) or not all(math.isfinite(sigma) and sigma >= 0 for sigma in sigmas):
        raise ConfigError(f"sigmas are {list(sigmas)}; valid are finite numbers from 0 on.")
    if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
        raise ConfigError(f"draws is {draws!r}; valid are whole numbers from 1 on.")


# --- all runs of an analysis ----------------------------------------------------------------------


def noisy_test(data: RunGroups, options: Mapping[str, Any]) -> xr.Dataset:
    """Test errors at convergence on noisy test sets, of every run and seed (Fig. 2c).

    Every run of a data set meets the same noisy sets: their random stream is named by paper, data set
    and draw. The test set is standardised as in training.

    Arguments
    ---------
    data: runs with the variable ``final_weights``; one that is in several groups counts once.
    options: ``sigmas`` and ``draws`` (default: Fig. 2c's six, and 20), ``seed`` (the root seed, 0),
        ``networks`` (name -> reference of its builder, beside those of this package).

    Returns ``test_error_noisy`` (run, seed, sigma) float64, the mean over the draws; NaN where a run
    lacks a seed. Attributes: ``runs`` (names, in order), ``evaluated`` and ``diverged`` (number of
    networks of each run), ``draws``. Without any run (their data could not be had) it has no variable.

    Raises ConfigError for an unknown option, network or value; DataError, TrainingError as the kernel.
    """
    import xarray as xr

    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ConfigError(f"noisy_test has no options {unknown}; valid are: {', '.join(OPTIONS)}.")
    sigmas = [float(sigma) for sigma in options.get("sigmas", SIGMAS)]
    draws, root = options.get("draws", DRAWS), int(options.get("seed", 0))
    _check_noise(sigmas, draws)
    builders = NETWORKS | dict(options.get("networks") or {})
    runs = list({run.name: run for group in data.values() for run in group}.values())
    attrs = {
        "runs": [run.name for run in runs],
        "evaluated": [run.seeds for run in runs],
        "diverged": [len(run.failed_seeds) for run in runs],
        "draws": draws,
    }
    if not runs:
        return xr.Dataset(attrs=attrs)
    seeds = sorted({seed for run in runs for seed in (*_seeds(run), *run.failed_seeds)})
    place = {run.name: index for index, run in enumerate(runs)}
    errors = np.full((len(runs), len(seeds), len(sigmas)), np.nan)
    for together in _alike(runs, _test_set_key):
        arrays = run_arrays(together[0].config, together[0].data_folder, root)
        images, labels = arrays.test_images, arrays.test_labels
        for alike in _alike(together, _network_key):
            found = noisy_test_errors(
                _network(alike[0], images.shape[1], builders),
                np.concatenate([_final_weights(run) for run in alike]),
                images,
                labels,
                sigmas,
                draws,
                partial(_noise_generator, alike[0], root),
            ).mean(axis=2)
            ends = np.cumsum([run.seeds for run in alike])
            for run, own in zip(alike, np.split(found, ends[:-1]), strict=True):
                errors[place[run.name], [seeds.index(seed) for seed in _seeds(run)]] = own
    return xr.Dataset(
        {"test_error_noisy": (("run", "seed", "sigma"), errors)},
        coords={
            "run": np.arange(len(runs), dtype=np.int64),
            "seed": np.asarray(seeds, np.int64),
            "sigma": np.asarray(sigmas, np.float64),
        },
        attrs=attrs,
    )


def _seeds(run: Run) -> list[int]:
    return [int(seed) for seed in run.trajectories["seed"].values]


def _final_weights(run: Run) -> NDArray[Any]:
    if "final_weights" not in run.trajectories:
        raise ConfigError(
            f"run {run.name} stores no final weights: set final_weights: true for it, and name "
            "final_weights among the analysis's variables."
        )
    return run.trajectories["final_weights"].transpose("seed", "parameter").values


def _noise_generator(run: Run, root: int, draw: int) -> np.random.Generator:
    return generator(root, f"{run.config['paper']}/noise/{run.config['dataset']}", draw, "noise")


def _alike(runs: list[Run], key: Callable[[Run], tuple[Any, ...]]) -> list[list[Run]]:
    """The runs in lists of equal keys."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        groups.setdefault(key(run), []).append(run)
    return list(groups.values())


def _test_set_key(run: Run) -> tuple[Any, ...]:
    """What the standardised test set and its noise depend on."""
    of_training_set = ("samples", "block") if run.config["statistics"] == "train" else ()
    names = ("paper", "dataset", "statistics", "grey", "precision", *of_training_set)
    return run.data_folder, *(run.config[name] for name in names)


def _network_key(run: Run) -> tuple[Any, ...]:
    return tuple(
        run.config.get(name) for name in ("network", "depth", "width", "activation", "kernel")
    )


def _network(run: Run, features: int, builders: dict[str, str]) -> nn.Sequential:
    config = run.config
    shape = {name: config[name] for name in ("depth", "width", "activation")}
    if config.get("kernel") is not None:
        shape["kernel"] = config["kernel"]
    return resolve(lookup("network", config["network"], builders))(features, **shape)
