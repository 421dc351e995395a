"""Made-up pruning experiments with the shape of Fig. 2, for tests of its figures and claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from made_up_runs import CONFIG, make_trajectories

from pipeline.analysis.inversion import find_inversions
from pipeline.analysis.stability import stability_curve
from pipeline.runs import Run, RunGroups, make_run

SIGMAS = np.array([0.0, 0.5, 1.5])
ERRORS = (0.05, 0.1, 0.2, 0.3, 0.4)  # of the sweep; phi of the made-up runs is 0.12
NETWORK: dict[str, Any] = {
    "network": "fully_connected",
    "depth": 2,
    "width": 20,
    "kernel": None,
    "activation": "tanh",
    "prune_from": None,
    "prune_epoch": None,
    "prune_error": None,
    "prune_random": False,
}


def run_with(
    name: str, seeds: int = 4, inverts: bool = True, shift: float = 0.0, **changes: Any
) -> Run:
    """A run whose metrics invert or not; ``shift`` lowers its radii and raises D at the end."""
    trajectories = make_trajectories(seeds)
    t = np.arange(trajectories.sizes["epoch"])
    for metric, sign in (("radius_plus", -1), ("radius_minus", -1), ("distance", 1)):
        values = trajectories[metric].values
        if not inverts:  # on to the end of training, at a rate of its own in each network
            rate = np.linspace(0.98, 1.02, seeds)[:, None]
            values[..., 0] = 1 + sign * 0.3 * (1 - np.exp(-rate * t / 10)) + sign * 1e-4 * t
        values += sign * shift * (t / t.max())[:, None]
    config = CONFIG | NETWORK | changes
    return make_run(name, config, trajectories, find_inversions(trajectories))


def experiment(
    source: str = "main",
    seeds: int = 4,
    spared: int = 0,
    random_kills: bool = False,
    flat: bool = True,
    prefix: str = "",
    **changes: Any,
) -> dict[str, list[Run]]:
    """Runs of one experiment by group; ``spared`` networks invert without their stragglers.

    ``flat``: the metrics at the end do not depend on eps above phi.
    """

    def pruned(name: str, inverts: bool, shift: float = 0.0, **keys: Any) -> Run:
        keys = {"prune_from": source, **keys}
        return run_with(f"{prefix}{name}", seeds, inverts, shift, **(changes | keys))

    full = run_with(source, seeds, **changes)
    without = pruned("pruned_inversion", False, prune_epoch="inversion")
    if spared:
        curves = without.trajectories["radius_plus"].values
        curves[:spared] = full.trajectories["radius_plus"].values[:spared]
        again = find_inversions(without.trajectories)
        without = make_run(without.name, without.config, without.trajectories, again)
    shifts = [0.05, 0.1, 0.3, 0.3, 0.3] if flat else [0.05, 0.1, 0.3, 0.5, 0.7]
    sweep = [
        pruned(f"sweep_{eps:g}", False, shift, prune_error=eps)
        for eps, shift in zip(ERRORS, shifts, strict=True)
    ]
    return {
        source: [full],
        f"{prefix}pruned": [
            without,
            pruned("pruned_40", True, 0.02, prune_epoch=40),
            pruned("pruned_3", False, 0.1, prune_epoch=3),
        ],
        f"{prefix}pruned_random": [
            pruned("random", not random_kills, 0.001, prune_epoch="inversion", prune_random=True)
        ],
        f"{prefix}sweep": sweep,
        f"{prefix}sweep_random": [
            pruned(f"random_{eps:g}", True, prune_error=eps, prune_random=True) for eps in ERRORS
        ],
    }


def noise_of(groups: dict[str, list[Run]], helps: bool = True) -> xr.Dataset:
    """What ``noisy_test`` would find: S costs eps / 4 at sigma 0; at sigma 1.5 it helps, or not."""
    runs = [run for group in groups.values() for run in group]
    seeds = max(run.seeds for run in runs)
    errors = np.full((len(runs), seeds, SIGMAS.size), np.nan)
    jitter = 1e-3 * np.random.default_rng(3).normal(size=(seeds, 1))
    for row, run in enumerate(runs):
        eps = run.config["prune_error"] or 0.0
        gain = np.array([eps / 4, eps / 10, -eps / 5 if helps else eps / 5])
        if run.config["prune_random"]:
            gain = np.full(3, eps / 50)
        errors[row, : run.seeds] = (0.05 + SIGMAS / 5 + gain + jitter)[: run.seeds]
    attrs = {"runs": [run.name for run in runs], "draws": 2}
    coords = {"run": np.arange(len(runs)), "seed": np.arange(seeds), "sigma": SIGMAS}
    return xr.Dataset({"test_error_noisy": (("run", "seed", "sigma"), errors)}, coords, attrs)


def pruning_data(**options: Any) -> RunGroups:
    """Groups and noise analysis of one experiment; options as for ``experiment``."""
    helps = options.pop("helps", True)
    groups = experiment(**options)
    return RunGroups(groups, {"noise": noise_of(groups, helps)})


def stability_data(names: tuple[str, ...] = ("main",), seeds: int = 5) -> RunGroups:
    """Runs with z-scores of the real analysis on made-up sets, one data set each."""
    datasets = ("mnist", "kmnist", "fashion_mnist")
    groups = {
        name: [run_with(name, seeds, dataset=dataset)]
        for name, dataset in zip(names, datasets, strict=False)
    }
    data = RunGroups(groups)
    for runs in groups.values():
        scramble(runs[0])
    options = {"epochs": [3, 6, 9, 12, 16, 20, 30], "resamples": 50}
    return RunGroups(data, {"stability": stability_curve(data, options)})


def scramble(run: Run) -> None:
    """Sets that networks have partly in common, most of them near the middle of training."""
    random = np.random.default_rng(5)
    bits = run.trajectories["misclassified"].values
    samples = int(run.config["samples"])
    order = random.permutation(samples)
    for seed in range(bits.shape[0]):
        for epoch in range(bits.shape[1]):
            size = int(np.unpackbits(bits[seed, epoch]).sum())
            swaps = 1 + abs(epoch - 12) // 3 + random.integers(2)
            own = order.copy()
            out = random.choice(size, min(swaps, size), replace=False)
            place = random.choice(np.arange(size, samples), out.size, replace=False)
            own[out], own[place] = order[place], order[out]
            chosen = np.zeros(samples, np.uint8)
            chosen[own[:size]] = 1
            bits[seed, epoch] = np.packbits(chosen)
