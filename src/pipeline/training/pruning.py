"""Pruned training sets: which samples each network of a run leaves out, as weights 0 and 1.

A network leaves out the samples that another network, seed for seed, misclassified at some epoch of
its own training, S(t) (arXiv:2303.05161, Eq. 2 and Results, "Non-monotonic dynamics reveals
trade-offs due to stragglers"), or as many at random. The images are not copied: a sample of weight 0
counts neither in the loss nor in the metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.sets import crossing_epoch, stragglers
from pipeline.errors import TrainingError
from pipeline.store import manifest
from pipeline.store.reader import load_arrays

Array = NDArray[Any]

# prune_epoch -> the inversion epoch t* that it means: of R+ (the paper's), or of D
EXTREMA = {"inversion": "epoch_plus", "inversion_distance": "epoch_distance"}


def pruning_weights(
    run: Mapping[str, Any],
    source: Path,
    inversions: Path,
    draws: Callable[[int], np.random.Generator],
) -> tuple[Array, list[int]]:
    """The weight of each sample for each seed of a pruned run.

    Arguments
    ---------
    run: resolved settings: prune_from, prune_epoch or prune_error, prune_random, seeds, samples.
    source: store of the run prune_from; inversions: store of the inversion points of its group.
    draws: the random generator of a seed, for prune_random.

    Returns (seeds, samples) float32, 0 for what is left out and 1 for the rest, and the seeds that
    have no set, because their network diverged or never got to the training error; their weights
    are 1. Raises TrainingError where no seed has one.
    """
    count, samples = int(run["seeds"]), int(run["samples"])
    recorded = load_arrays(source, ("misclassified", "train_error", "failed_epoch"), rows=count)
    epochs = pruning_epochs(run, recorded, inversions)
    missing = [seed for seed, epoch in enumerate(epochs) if epoch is None]
    if len(missing) == count:
        error = recorded["train_error"]
        lowest = np.nanmin(error) if np.isfinite(error).any() else np.nan
        raise TrainingError(
            f"run {run['name']}: no network of {run['prune_from']} has a set to leave out: all "
            f"diverged or none gets to prune_error = {run['prune_error']} (the lowest training "
            f"error is {lowest:.4g}); choose a larger prune_error or train the source for longer."
        )
    taken = np.array([0 if epoch is None else epoch for epoch in epochs])
    sets = stragglers(recorded["misclassified"], taken, samples)
    sets[missing] = False
    if run["prune_random"]:
        sets = np.stack(
            [random_set(draws(seed), one.sum(), samples) for seed, one in enumerate(sets)]
        )
    return 1 - sets.astype(np.float32), missing


def pruning_epochs(
    run: Mapping[str, Any], recorded: Mapping[str, Array], inversions: Path
) -> list[int | None]:
    """The epoch of each seed's set; None for a seed that has none."""
    healthy = recorded["failed_epoch"] < 0
    if run["prune_error"] is not None:
        return [
            crossing_epoch(error, run["prune_error"]) if alive else None
            for error, alive in zip(recorded["train_error"], healthy, strict=True)
        ]
    if run["prune_epoch"] not in EXTREMA:
        return [int(run["prune_epoch"]) if alive else None for alive in healthy]
    row = manifest.read(inversions)["attrs"]["runs"].index(run["prune_from"])
    extremum = EXTREMA[run["prune_epoch"]]
    found = load_arrays(inversions, (extremum, "found", "seed"))
    epoch_of = {
        int(seed): int(epoch)
        for seed, epoch, there in zip(
            found["seed"], found[extremum][row], found["found"][row], strict=True
        )
        if there
    }
    return [epoch_of.get(seed) if alive else None for seed, alive in enumerate(healthy)]


def random_set(generator: np.random.Generator, size: int, samples: int) -> Array:
    """A random set of ``size`` of ``samples`` samples, as booleans (samples,)."""
    chosen = np.zeros(samples, bool)
    chosen[generator.choice(samples, int(size), replace=False)] = True
    return chosen


def pack_kept(weights: Array) -> Array:
    """Which samples are not left out, bit-packed (seeds, ceil(samples / 8)) as numpy.packbits."""
    return np.packbits(weights > 0, axis=-1)
