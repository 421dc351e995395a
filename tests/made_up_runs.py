"""Made-up trajectories with the shape of real ones, for tests of analysis, figures and claims."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.inversion import find_inversions
from pipeline.runs import Run, make_run

SAMPLES, EPOCHS = 100, 60
CONFIG: dict[str, Any] = {
    "dataset": "mnist",
    "samples": SAMPLES,
    "block": 0,
    "labels": "parity",
    "optimizer": "gd",
    "learning_rate": 0.2,
    "momentum": 0.0,
    "weight_decay": 0.0,
    "layers": [1],
    "epochs": EPOCHS,
    "precision": "float32",
}


def dip(turn: float, depth: float, back: float) -> np.ndarray:
    """1 at epoch 0, a smooth minimum of 1 - depth at ``turn``, back by ``back`` * depth at most."""
    t = np.arange(EPOCHS + 1) / turn
    way = t * np.exp(1 - t)
    return 1 - depth * np.where(t < 1, way, 1 - back * (1 - way))


def make_trajectories(
    seeds: int = 4, failed: tuple[int, ...] = (), random: bool = False, turn: float = 12
) -> xr.Dataset:
    """Trajectories (seed, epoch, layer) that turn near ``turn``; with random labels they do not."""
    generator = np.random.default_rng(seeds)
    names = ("train_error", "test_error", "radius_plus", "radius_minus", "distance")
    curves = {name: np.empty((seeds, EPOCHS + 1)) for name in names}
    t = np.arange(EPOCHS + 1)
    for seed in range(seeds):
        scale = 1 + 0.01 * generator.normal()
        wrong = np.maximum(50 / (1 + t / (4 * scale)), 2).astype(int)
        curves["train_error"][seed] = wrong / SAMPLES
        curves["test_error"][seed] = wrong / SAMPLES + 0.01
        curves["radius_plus"][seed] = 1 - 1e-5 * t if random else dip(turn * scale, 0.2, 0.6)
        curves["radius_minus"][seed] = (
            1 - 2e-5 * t if random else 0.99 * dip(turn, 0.25 * scale, 0.6)
        )
        curves["distance"][seed] = 0.02 + 1e-3 * t if random else 2.3 - 2 * dip(turn, 0.4, 0.5)
    bits = np.zeros((seeds, EPOCHS + 1, SAMPLES), np.uint8)
    for seed in range(seeds):
        order = np.roll(np.arange(SAMPLES), seed)
        for epoch in range(EPOCHS + 1):
            bits[seed, epoch, order[: round(curves["train_error"][seed, epoch] * SAMPLES)]] = 1
    failed_epoch = np.full(seeds, -1)
    for seed in failed:
        failed_epoch[seed] = 5
        for values in curves.values():
            values[seed, 5:] = np.nan
    metrics = {"radius_plus", "radius_minus", "distance"}
    data: dict[str, Any] = {
        name: (("seed", "epoch", "layer"), values[..., None])
        if name in metrics
        else (("seed", "epoch"), values)
        for name, values in curves.items()
    }
    data["misclassified"] = (("seed", "epoch", "sample_byte"), np.packbits(bits, axis=-1))
    data["failed_epoch"] = ("seed", failed_epoch)
    coords = {"seed": np.arange(seeds), "epoch": t, "layer": np.array([1])}
    return xr.Dataset(data, coords=coords)


def made_up_run(name: str = "main", seeds: int = 4, **changes: Any) -> Run:
    """A Run on ``make_trajectories``; other keywords change its configuration."""
    arguments = {key: changes.pop(key) for key in ("failed", "turn") if key in changes}
    config = CONFIG | {"paper": "made_up", "name": name} | changes
    trajectories = make_trajectories(seeds, random=config["labels"] == "random", **arguments)
    return make_run(name, config, trajectories, find_inversions(trajectories))
