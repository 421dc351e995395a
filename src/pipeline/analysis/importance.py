"""Which settings of two configurations tell how far apart their trajectories are.

A random forest predicts the distance of two configurations from the settings of both (categories) and
their distances to the geodesic (numbers). The importance of a covariate is what the prediction of pairs
that the forest has not seen loses when its values, those of both configurations together, are permuted
among them:

    [mean (d - f(permuted))^2 - mean (d - f)^2] / variance of d

Source: Mao et al., PNAS 121(12), 2024, Fig. 7c, S9. The measure, the folds and the forest are ours: the
paper states a permutation test with a random forest.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import Place, RunGroups, all_runs, check_options
from pipeline.seeds import generator
from pipeline.store.reader import open_store
from pipeline.store.variables import register

OPTIONS = ("trees", "folds", "repeats")
SETTINGS = ("network", "optimizer", "batch_size", "weight_decay", "augmentation")
GEODESIC = "geodesic_distance"
FEWEST = 5  # configurations: 10 pairs
Array = NDArray[np.float64]


def _register_all() -> None:
    loss = "share of the variance of distances that predictions lose with the covariate permuted"
    register("covariate_importance", ("draw", "covariate"), "float64", loss)
    score = "share of the variance of distances that the forest predicts for pairs it has not seen"
    register("forest_score", ("draw",), "float64", score)


_register_all()


def importance(data: RunGroups, options: dict[str, Any], place: Place) -> xr.Dataset:
    """Importance of settings for the distance of trajectories; needs one analysis ``trajectories``.

    Options
    -------
    trees: of a forest (default 200). folds: parts of the pairs that are predicted in turn by a forest of
    the others (default 5). repeats: permutations of each covariate (default 10).

    Returns ``covariate_importance`` (draw, covariate) and ``forest_score`` (draw,): draw 0 is of distances
    averaged over pairs of seeds, then one of each seed's trajectories alone. Attributes covariates,
    varied (those with several values), seeds (of the draws after the first), split. Raises
    NotMeasurable with fewer than five configurations, and where all are equally far apart.
    """
    check_options("importance", options, OPTIONS)
    if len(data.folders) != 1:
        raise PipelineError(
            f"importance needs one analysis of trajectories, but given are: "
            f"{', '.join(data.folders) or 'none'}; set the entry's key analyses."
        )
    name, folder = next(iter(data.folders.items()))
    if name in data.unavailable:
        raise NotMeasurable(data.unavailable[name])
    found = open_store(folder, lazy=False)
    if found.sizes["configuration"] < FEWEST:
        raise NotMeasurable(
            f"{found.sizes['configuration']} configurations trained, too few for a random forest."
        )
    configs = {run.name: run.config for run in all_runs(data)}
    settings = [configs[name] for name in found.attrs["runs"]]
    rows, seeds = [], []
    for seed, distances, far, runs in draws_of(found):
        if not np.ptp(distances[np.triu_indices(len(distances), 1)]) > 0:
            if seed is not None:
                continue
            raise NotMeasurable(
                "all configurations are equally far apart, so that no setting can be important."
            )
        random = generator(options["seed"], "forest", 0 if seed is None else seed + 1, "analysis")
        blocks = covariates([settings[run] for run in runs], far)
        rows.append(_importance(distances, blocks, options, random, place.threads))
        seeds += [] if seed is None else [seed]
    names = [*SETTINGS, GEODESIC]
    used = [settings[run] for run in found["configuration_run"].values]
    return xr.Dataset(
        {
            "covariate_importance": (("draw", "covariate"), np.stack([one for one, _ in rows])),
            "forest_score": (("draw",), np.array([score for _, score in rows])),
        },
        attrs={
            "covariates": names,
            "varied": [key for key in SETTINGS if len({str(one[key]) for one in used}) > 1],
            "seeds": seeds,
            "split": found.attrs["split"],
        },
    )


def draws_of(found: xr.Dataset) -> Iterator[tuple[int | None, Array, Array, NDArray[np.int64]]]:
    """(seed, distances, distances to the geodesic, runs) of all configurations: first with the seed None of
    means over seeds, then of each seed that five of them or more have.
    """
    runs = found["configuration_run"].values
    far = found["configuration_geodesic_distance"].values
    yield None, found["configuration_distance"].values, far, runs
    gaps = found["trajectory_geodesic_distance"].values.mean(axis=1)
    for seed in np.unique(found["trajectory_seed"].values):
        mine = np.flatnonzero(found["trajectory_seed"].values == seed)
        if mine.size >= FEWEST:
            distances = found["trajectory_distance"].values[np.ix_(mine, mine)]
            yield int(seed), distances, gaps[mine], found["trajectory_run"].values[mine]


def covariates(settings: list[dict[str, Any]], far: Array) -> list[Array]:
    """A block (configurations, columns) of each covariate: one column per value, or the number."""
    blocks = []
    for key in SETTINGS:
        values = [str(one[key]) for one in settings]
        blocks.append(np.array([[float(v == w) for w in sorted(set(values))] for v in values]))
    return [*blocks, np.asarray(far)[:, None]]


def _importance(
    distances: Array,
    blocks: list[Array],
    options: dict[str, Any],
    random: np.random.Generator,
    threads: int,
) -> tuple[Array, float]:
    """(covariates,) and the forest's score, from pairs in folds."""
    first, second = np.triu_indices(len(distances), 1)
    y = distances[first, second]
    variance = float(np.var(y))
    folds = int(options.get("folds", 5))
    fold = random.permutation(np.arange(y.size) % folds)
    repeats = int(options.get("repeats", 10))
    losses, missed = np.zeros(len(blocks)), 0.0
    for part in range(folds):
        seen, held = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        # Both orders of a pair: the distance is symmetric, and the forest is to know it.
        ahead = _columns(blocks, first[seen], second[seen])
        back = _columns(blocks, second[seen], first[seen])
        forest = _forest(options, random, threads)
        forest.fit(
            np.hstack([np.concatenate(pair) for pair in zip(ahead, back, strict=True)]),
            np.tile(y[seen], 2),
        )
        forest.n_jobs = 1  # its sums would depend on the order in which threads end
        given = _columns(blocks, first[held], second[held])

        def error(columns: list[Array], held: Any = held, forest: Any = forest) -> float:
            return float(np.sum((y[held] - forest.predict(np.hstack(columns))) ** 2))

        plain = error(given)
        missed += plain
        for k, block in enumerate(given):
            if (block == block[0]).all():
                continue  # nothing to permute
            for _ in range(repeats):
                moved = [*given[:k], block[random.permutation(held.size)], *given[k + 1 :]]
                losses[k] += (error(moved) - plain) / repeats
    return losses / y.size / variance, 1 - missed / y.size / variance


def _columns(blocks: list[Array], one: NDArray[np.int64], two: NDArray[np.int64]) -> list[Array]:
    """Of each covariate the columns of both configurations of pairs."""
    return [np.hstack([block[one], block[two]]) for block in blocks]


def _forest(options: dict[str, Any], random: np.random.Generator, threads: int) -> Any:
    from sklearn.ensemble import RandomForestRegressor

    return RandomForestRegressor(
        n_estimators=int(options.get("trees", 200)),
        random_state=int(random.integers(2**31)),
        n_jobs=threads,
    )
