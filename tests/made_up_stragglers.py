"""Made-up runs and analyses for the figures and claims on data sets, architectures and layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from made_up_runs import made_up_run

from pipeline.analysis.scaling import scaling_fits
from pipeline.analysis.scaling_fit import scaling_form
from pipeline.analysis.sharpness import sharpness
from pipeline.analysis.stability import stability_pairs_table
from pipeline.runs import Run, RunGroups

SETTINGS: dict[str, Any] = {
    "depth": 2,
    "width": 20,
    "activation": "tanh",
    "init": "uniform",
    "init_variance": None,
    "batch_size": None,
}
SIZES = (512, 1024, 2048, 4096, 8192)
REASON = "The training files of KMNIST are on no mirror."


def straggler_run(name: str = "main", seeds: int = 4, **changes: Any) -> Run:
    """``made_up_run`` with the settings of a network as well."""
    return made_up_run(name, seeds, **(SETTINGS | changes))


def with_phi(run: Run, mean: float, sd: float = 0.002) -> Run:
    """The run with phi of exactly this mean and standard deviation over its networks."""
    steps = np.linspace(-1.0, 1.0, run.seeds) if run.seeds > 1 else np.zeros(1)
    scaled = steps / np.std(steps, ddof=1) if run.seeds > 1 else steps
    return replace(run, inversion=run.inversion.assign(phi=("seed", mean + sd * scaled)))


def with_radius(run: Run, radius_plus: np.ndarray, inverts: bool) -> Run:
    """The run with another R+ (seed, epoch), which inverts or not."""
    trajectories = run.trajectories.assign(
        radius_plus=(("seed", "epoch", "layer"), radius_plus[..., None])
    )
    said = {name: ("seed", np.full(run.seeds, inverts)) for name in ("inverts", "inverts_plus")}
    return replace(run, trajectories=trajectories, inversion=run.inversion.assign(said))


def scaling_runs(limits: dict[str, float], seeds: int = 5, **changes: Any) -> RunGroups:
    """Runs of each data set at several P with phi on Eq. 12 (P0 = 60, gamma = 0.8), and the fits."""
    groups = {}
    for dataset, limit in limits.items():
        groups[f"scaling_{dataset}"] = [
            with_phi(
                straggler_run(f"{dataset}_{size}", seeds, dataset=dataset, samples=size, **changes),
                float(scaling_form(size, limit, 60.0, 0.8)),
                0.01 * limit,
            )
            for size in SIZES
        ]
    data = RunGroups(groups)
    data.analyses["scaling"] = scaling_fits(data, {"by": ["dataset"], "resamples": 5})
    return data


def architecture_runs(
    limit: Any,
    depths: tuple[int, ...] = (2, 4),
    widths: tuple[int, ...] = (10, 20),
    sizes: Any = SIZES,
) -> RunGroups:
    """Runs of depths x widths x sizes with phi_inf = limit(depth, width), and the fits."""
    runs = [
        with_phi(
            straggler_run(f"a_{depth}_{width}_{size}", 5, depth=depth, width=width, samples=size),
            float(scaling_form(size, limit(depth, width), 60.0, 0.8)),
            0.001,
        )
        for depth in depths
        for width in widths
        for size in sizes
    ]
    data = RunGroups({"architectures": runs})
    options = {"by": ["depth", "width"], "resamples": 5}
    data.analyses["scaling_architectures"] = scaling_fits(data, options)
    return data


def pair_runs(seeds: int = 5) -> RunGroups:
    """Networks of two depths and of minibatches, and the z-scores of some pairs of them."""
    data = RunGroups(
        {
            "main": [straggler_run("main", seeds)],
            "deep_4": [straggler_run("deep_4", seeds + 1, depth=4, turn=13)],
            "sgd_shuffles": [straggler_run("sgd_shuffles", seeds, batch_size=32, turn=14)],
        }
    )
    pairs = [["main", "deep_4"], ["deep_4", "deep_4"], ["sgd_shuffles", "sgd_shuffles"]]
    data.analyses["stability_pairs"] = stability_pairs_table(
        data, {"pairs": pairs, "resamples": 50}
    )
    return data


def cifar_runs(seeds: int = 6, jitter: float = 0.3) -> RunGroups:
    """Networks whose curves are one function of the training error, at different speeds."""
    epochs, random = 200, np.random.default_rng(1)
    t = np.arange(epochs + 1)
    speed = np.exp(jitter * random.normal(size=(seeds, 1)))
    error = 0.05 + 0.45 / (1 + (t * speed / 30) ** 2)
    radius = 1 - 0.3 * np.exp(-((np.log(error / 0.2)) ** 2) / 0.6)
    radius += 1e-4 * random.normal(size=radius.shape)
    base = straggler_run("cifar10", seeds, dataset="cifar10", depth=8, learning_rate=0.02)
    layered = ("seed", "epoch", "layer")
    trajectories = xr.Dataset(
        {
            "train_error": (("seed", "epoch"), error),
            "radius_plus": (layered, radius[..., None]),
            "radius_minus": (layered, radius[..., None] - 0.01),
            "distance": (layered, 2 - radius[..., None]),
        },
        coords={"seed": np.arange(seeds), "epoch": t, "layer": [1]},
    )
    at = radius.argmin(axis=1)
    errors = error[np.arange(seeds), at]
    inversion = base.inversion.assign(
        epoch_plus=("seed", at), error_plus=("seed", errors), phi=("seed", errors)
    )
    data = RunGroups({"cifar10": [replace(base, trajectories=trajectories, inversion=inversion)]})
    data.analyses["sharpness"] = sharpness(data, {"resamples": 100})
    return data


def place_runs(samples: int = 400, farther: float = 1.0, networks: int = 5) -> RunGroups:
    """Samples of ten classes on a circle; stragglers are ``farther`` sd from the centres."""
    random = np.random.default_rng(3)
    classes = np.arange(samples) % 10
    stragglers = random.random((networks, samples)) < 0.03
    stragglers[:, :40] = True
    conserved = stragglers.mean(axis=0)
    distances = 20 + classes + random.normal(size=samples) + farther * (conserved >= 0.5)
    angle = 2 * np.pi * classes / 10
    spread = 0.9 + 0.9 * (conserved >= 0.5)[:, None]
    plane = 5 * np.stack([np.cos(angle), np.sin(angle)], 1)
    plane = plane + spread * random.normal(size=(samples, 2))
    effect = farther * (1 + 0.05 * np.linspace(-1, 1, networks))
    by_sample = {
        "conserved": ("sample", conserved),
        "labels": ("sample", classes.astype(np.int64)),
        "binary_labels": ("sample", (1 - 2 * (classes % 2)).astype(np.int8)),
    }
    coords = {"sample": np.arange(samples), "seed": np.arange(networks)}
    by_network = {
        "effect_size": effect * 0.8,
        "effect_size_within": effect,
        "probability_farther": 0.5 + 0.2 * effect,
        "probability_farther_within": 0.5 + 0.25 * effect,
        "rank_p_value": np.full(networks, 1e-8),
        "rank_p_value_within": np.full(networks, 1e-9),
    }
    seeded = {name: ("seed", values) for name, values in by_network.items()}
    centres = xr.Dataset(by_sample | seeded | {"centre_distance": ("sample", distances)}, coords)
    opposite = {
        "embedding": (("sample", "axis"), plane.astype(np.float32)),
        "opposite_share": ("sample", random.random(samples)),
        "opposite_share_stragglers": ("seed", 0.3 * farther + 0.01 * np.arange(networks)),
        "opposite_share_others": ("seed", 0.1 + 0.001 * np.arange(networks)),
    }
    embedded = xr.Dataset(by_sample | opposite, coords)
    analyses = {"class_centres": centres, "tsne": embedded}
    return RunGroups({"main": [straggler_run("main", networks)]}, analyses)


def layer_run(layers: int = 4, seeds: int = 4, alike: int = 2) -> Run:
    """A deep network whose first ``alike`` layers invert and whose others only contract."""
    base = straggler_run("deep_8", seeds, depth=layers + 1, layers=list(range(1, layers + 1)))
    parts = []
    for layer in range(1, layers + 1):
        one = base.trajectories.copy()
        if layer > alike:
            falling = 1 - 0.5 * (1 - np.exp(-np.arange(one.sizes["epoch"]) / 30))
            rising = 2.3 - 2 * falling
            for name, curve in zip(
                ("radius_plus", "radius_minus", "distance"), (falling, falling, rising), strict=True
            ):
                one[name] = one[name] * 0 + xr.DataArray(curve, dims="epoch")
        scale = 0.97 ** (layer - 1)
        for name in ("radius_plus", "radius_minus"):
            one[name] = one[name] * scale
        parts.append(one[["radius_plus", "radius_minus", "distance"]].assign_coords(layer=[layer]))
    metrics = xr.concat(parts, dim="layer").transpose("seed", "epoch", "layer")
    rest = base.trajectories.drop_vars([*map(str, metrics), "layer"])
    return replace(base, trajectories=rest.merge(metrics))


def variance_runs(seeds: int = 4, vanishes: bool = True) -> RunGroups:
    """Normal initial weights: the larger the variance, the shallower the minimum, then none."""
    variances, runs = (1e-3, 1e-2, 1e-1, 1.0, 10.0), []
    t = np.arange(straggler_run().trajectories.sizes["epoch"])
    for place, variance in enumerate(variances):
        run = straggler_run(f"variance_{place}", seeds, init="normal", init_variance=variance)
        inverts = place < 4 or not vanishes
        depth = 0.2 / (1 + place)
        shape = np.exp(-((np.log((t + 1) / 12)) ** 2)) if inverts else t / t[-1]
        scale = 1 + 0.01 * np.linspace(-1, 1, seeds)[:, None]
        radius = 1 - 0.01 * (5 - place) - scale * depth * shape
        runs.append(with_phi(with_radius(run, radius, inverts), 0.1 + 0.001 * place))
    groups = {
        "variance": runs,
        "inits": [
            with_phi(straggler_run(f"inits_{init}", seeds, init=init), phi)
            for init, phi in (("he", 0.101), ("xavier", 0.098))
        ],
        "main": [with_phi(straggler_run("main", seeds), 0.1)],
    }
    return RunGroups(groups)
