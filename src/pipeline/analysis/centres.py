"""Where stragglers lie in the data set: far from their class centre, near the class boundary.

Source: Ciceri et al., arXiv:2303.05161, Results, "Specificity of stragglers within the data set",
and Supplementary Fig. 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike, NDArray

from pipeline.analysis.inversion import misclassified_at
from pipeline.data.preprocessing import run_arrays
from pipeline.errors import GeometryError, PipelineError
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

NEIGHBOURS = 10
PERPLEXITY = 30.0
COMPONENTS = 50  # of the principal components that t-SNE is given
PIXELS = ("standardised", "grey")
Array = NDArray[Any]


def _register_all() -> None:
    sample, seed = ("sample",), ("seed",)
    centre = "distance of the sample's image to the centre of its class"
    register("centre_distance", sample, "float64", centre)
    conserved = "share of the networks of which the sample is a straggler"
    register("conserved", sample, "float64", conserved)
    effects = {
        "effect_size": "Cohen's d of the distance of stragglers and others to their class centre",
        "probability_farther": "probability that a straggler is farther from its class centre",
        "rank_p_value": "two-sided p of the Mann-Whitney test of that distance",
    }
    for name, meaning in effects.items():
        register(name, seed, "float64", meaning)
        register(f"{name}_within", seed, "float64", f"{meaning}, relative to the class")
    register("embedding", ("sample", "axis"), "float32", "t-SNE embedding of the image")
    opposite = "share of the nearest neighbours in the embedding with the opposite label"
    register("opposite_share", sample, "float64", opposite)
    register("opposite_share_stragglers", seed, "float64", f"{opposite}, mean over stragglers")
    register("opposite_share_others", seed, "float64", f"{opposite}, mean over the others")


_register_all()


@dataclass(frozen=True)
class DistanceComparison:
    """Stragglers against the other samples, each array (networks,) float64.

    ``effect_size`` is Cohen's d, ``probability_farther`` the probability that a random straggler
    has the larger distance of the two, ``p_value`` that of the two-sided Mann-Whitney test.
    """

    effect_size: Array
    probability_farther: Array
    p_value: Array


def centre_distances(images: ArrayLike, classes: ArrayLike) -> Array:
    """Distance of every sample to the mean of its class: |x - mean of class(x)|, (samples,) float64.

    Arguments
    ---------
    images: (samples, features), standardised pixels. classes: (samples,) original class numbers.

    Raises GeometryError for shapes that do not fit and values that are not finite.
    """
    x, members = _images_and_labels(images, classes, "classes")
    distances = np.empty(len(x))
    for value in np.unique(members):
        rows = np.flatnonzero(members == value)
        centre = x[rows].mean(axis=0, dtype=np.float64)
        distances[rows] = np.linalg.norm(x[rows] - centre, axis=1)
    return distances


def within_class(distances: ArrayLike, classes: ArrayLike) -> Array:
    """Distances relative to their class: (d - mean) / sd of the class, (samples,) float64.

    Compared by these, stragglers do not differ only because they are mostly of classes that spread
    widely. A class whose distances are all the same becomes 0.

    Arguments
    ---------
    distances: (samples,). classes: (samples,).
    """
    values, members = np.asarray(distances, dtype=np.float64), np.asarray(classes)
    result = np.zeros(values.shape)
    for value in np.unique(members):
        rows = members == value
        own = values[rows]
        if np.ptp(own) > 0:
            result[rows] = (own - own.mean()) / own.std()
    return result


def compare_distances(distances: ArrayLike, stragglers: ArrayLike) -> DistanceComparison:
    """How much farther stragglers are than the other samples, network by network.

        d = (mean_S - mean_O) / s,   s^2 = ((n-1) var_S + (m-1) var_O) / (n + m - 2)   (Cohen)
        P(farther) = U / (n m), ties counted half

    The p-value of the rank test is asymptotic (with ties corrected). The networks' stragglers are
    mostly the same samples, so their p-values are not independent.

    Arguments
    ---------
    distances: (samples,), or relative to the class as ``within_class`` gives them.
    stragglers: (networks, samples) booleans.

    Raises GeometryError for shapes that do not fit, a network with fewer than 2 stragglers or fewer
    than 2 others, and distances that are all the same.
    """
    from scipy.stats import mannwhitneyu

    values, sets = np.asarray(distances, dtype=np.float64), _sets(stragglers, np.size(distances))
    rows = []
    for network, members in enumerate(sets):
        inside, outside = values[members], values[~members]
        n, m = inside.size, outside.size
        if min(n, m) < 2:
            raise GeometryError(
                f"Network {network} has {n} stragglers and {m} other samples; both must be 2 or more."
            )
        variance = ((n - 1) * inside.var(ddof=1) + (m - 1) * outside.var(ddof=1)) / (n + m - 2)
        if not variance > 0:
            raise GeometryError(
                f"The distances of the stragglers of network {network} and of the others do not "
                "vary or are not finite, so they have no effect size."
            )
        test = mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic")
        effect = (inside.mean() - outside.mean()) / np.sqrt(variance)
        rows.append((effect, test.statistic / (n * m), test.pvalue))
    return DistanceComparison(*np.array(rows, dtype=np.float64).T)


def embed_tsne(
    images: ArrayLike,
    seed: int,
    *,
    components: int = COMPONENTS,
    perplexity: float = PERPLEXITY,
) -> Array:
    """t-SNE embedding in the plane of the first principal components, (samples, 2) float32.

    scikit-learn's PCA by full decomposition, then its TSNE (Barnes-Hut), started from the principal
    components. One thread is used, so that sums have one order and the same input and seed give
    the same bits on one machine.

    Arguments
    ---------
    images: (samples, features). seed: of scikit-learn's random numbers.
    components: how many principal components are kept at most. perplexity: below the samples.

    Raises GeometryError for images that are not finite or fewer than perplexity + 1 samples.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = np.asarray(images, dtype=np.float64)
    if x.ndim != 2 or not np.isfinite(x).all() or len(x) <= perplexity:
        raise GeometryError(
            f"t-SNE of images of shape {x.shape} with perplexity {perplexity:g}: finite images "
            "(samples, features) with more samples than the perplexity are needed."
        )
    with threadpool_limits(limits=1):
        kept = min(components, len(x) - 1, x.shape[1])
        reduced = PCA(kept, svd_solver="full").fit_transform(x)
        plane = TSNE(
            2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed, n_jobs=1
        ).fit_transform(reduced)
    return np.asarray(plane, dtype=np.float32)


def opposite_neighbours(points: ArrayLike, labels: ArrayLike, k: int = NEIGHBOURS) -> Array:
    """Share of each sample's k nearest neighbours that have another label, (samples,) float64.

    Arguments
    ---------
    points: (samples, dimensions), such as an embedding. labels: (samples,).

    Raises GeometryError for shapes that do not fit and k outside 1 to samples - 1.
    """
    from scipy.spatial import cKDTree

    x, y = _images_and_labels(points, labels, "labels")
    if not 1 <= k < len(x):
        raise GeometryError(f"k is {k}; it must be from 1 to {len(x) - 1}, the other samples.")
    _, index = cKDTree(x).query(x, k=k + 1)
    own = index == np.arange(len(x))[:, None]
    own[~own.any(axis=1), -1] = True  # more than k samples at the same point: drop the last
    others = index[~own].reshape(len(x), k)
    return np.mean(y[others] != y[:, None], axis=1)


def class_centres(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Distances of stragglers and other samples to their class centre, one run (S4).

    Options
    -------
    pixels: ``standardised`` (default), what the networks see, or ``grey``, the stored values as
        fractions of white; the paper does not say which. Standardised, a pixel that is rarely on
        counts for tens of standard deviations in the few images that have it, and such images
        dominate the distances.
    seed: the workflow's root seed, for random labels only (default 0).

    Returns ``centre_distance`` and ``conserved`` (share of the networks of which the sample is a
    straggler), class and label by sample, and by network effect_size, probability_farther and
    rank_p_value, also within classes (``*_within``). A network with fewer than 2 stragglers has
    NaN and is listed in the attribute ``too_few_stragglers``.
    """
    check_options("class_centres", options, ("pixels",))
    run = _only_run(data)
    pixels = str(options.get("pixels", PIXELS[0]))
    images, classes, labels = _training_set(run, options, pixels)
    sets = _stragglers(run)
    usable = _usable(run, sets)
    distances = centre_distances(images, classes)
    values: dict[str, Any] = {"centre_distance": ("sample", distances)}
    for suffix, compared in (("", distances), ("_within", within_class(distances, classes))):
        effect = compare_distances(compared, sets[usable])
        values[f"effect_size{suffix}"] = _spread(effect.effect_size, usable)
        values[f"probability_farther{suffix}"] = _spread(effect.probability_farther, usable)
        values[f"rank_p_value{suffix}"] = _spread(effect.p_value, usable)
    found = _by_sample(run, values, sets, classes, labels)
    return found.assign_attrs(pixels=pixels)


def tsne(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """t-SNE embedding of the training set, and how near the boundary stragglers are, one run (S4).

    Options
    -------
    samples: how many samples, the first ones (default all). seed: of t-SNE and of random labels
    (default 0). perplexity (default 30). neighbours: k (default 10).

    Returns ``embedding`` (sample, axis), by sample ``opposite_share``, the share of its k nearest
    neighbours in the embedding with the opposite label, ``conserved``, class and label, and by
    network the mean of opposite_share over stragglers and over the others (NaN as in
    ``class_centres``).
    """
    check_options("tsne", options, ("samples", "perplexity", "neighbours"))
    run = _only_run(data)
    images, classes, labels = _training_set(run, options)
    count = int(options.get("samples", len(images)))
    sets = _stragglers(run)[:, :count]
    images, classes, labels = images[:count], classes[:count], labels[:count]
    perplexity = float(options.get("perplexity", PERPLEXITY))
    plane = embed_tsne(images, int(options.get("seed", 0)), perplexity=perplexity)
    shares = opposite_neighbours(plane, labels, int(options.get("neighbours", NEIGHBOURS)))
    usable = _usable(run, sets)
    inside, outside = (one[usable] @ shares / one[usable].sum(axis=1) for one in (sets, ~sets))
    values = {
        "embedding": (("sample", "axis"), plane),
        "opposite_share": ("sample", shares),
        "opposite_share_stragglers": _spread(inside, usable),
        "opposite_share_others": _spread(outside, usable),
    }
    return _by_sample(run, values, sets, classes, labels)


def _usable(run: Run, sets: Array) -> Array:
    """Networks (networks,) with 2 stragglers and 2 others at least; GeometryError for none."""
    counts = sets.sum(axis=1)
    usable = (counts >= 2) & (sets.shape[1] - counts >= 2)
    if not usable.any():
        raise GeometryError(
            f"Run {run.name}: no network has 2 stragglers and 2 other samples among "
            f"{sets.shape[1]}; give more samples or another run."
        )
    return usable


def _spread(values: Array, usable: Array) -> tuple[str, Array]:
    """Values of the usable networks as a variable over all of them, NaN elsewhere."""
    result = np.full(usable.size, np.nan)
    result[usable] = values
    return "seed", result


def _by_sample(
    run: Run, values: dict[str, Any], sets: Array, classes: Array, labels: Array
) -> xr.Dataset:
    left_out = run.trajectories["seed"].values[~_usable(run, sets)]
    values |= {
        "conserved": ("sample", sets.mean(axis=0)),
        "labels": ("sample", classes.astype(np.int64)),
        "binary_labels": ("sample", labels.astype(np.int8)),
    }
    attrs = {"runs": [run.name], "too_few_stragglers": [int(seed) for seed in left_out]}
    coordinates = {
        "sample": np.arange(classes.size, dtype=np.int64),
        "seed": run.trajectories["seed"].values,
    }
    return xr.Dataset(values, coords=coordinates, attrs=attrs)


def _only_run(data: RunGroups) -> Run:
    runs = all_runs(data)
    if len(runs) > 1:
        raise PipelineError(
            f"The places of stragglers are looked at in one run; given are "
            f"{', '.join(run.name for run in runs)}."
        )
    return runs[0]


def _training_set(
    run: Run, options: dict[str, Any], pixels: str = PIXELS[0]
) -> tuple[Array, Array, Array]:
    """(images, classes, labels) that the run was trained on, standardised as it was or grey."""
    arrays = run_arrays(run.config, run.data_folder, int(options.get("seed", 0)))
    images = arrays.train_images
    if pixels != PIXELS[0]:
        if pixels not in PIXELS or arrays.train_pixels is None:
            raise PipelineError(
                f"The option pixels is {pixels!r}; valid are {', '.join(PIXELS)}, the latter for "
                f"images of one channel only (run {run.name}, data set {run.config['dataset']})."
            )
        images = arrays.train_pixels / 255.0
    return images, arrays.train_classes, arrays.train_labels


def _stragglers(run: Run) -> Array:
    epochs = run.inversion["epoch_plus"].values
    return misclassified_at(run.trajectories, epochs, int(run.config["samples"]))


def _images_and_labels(images: ArrayLike, labels: ArrayLike, name: str) -> tuple[Array, Array]:
    x, y = np.asarray(images), np.asarray(labels)
    if x.ndim != 2 or y.shape != x.shape[:1] or not len(x):
        raise GeometryError(
            f"Samples of shape {x.shape} and {name} of shape {y.shape} do not fit; (samples, "
            "features) and (samples,) are needed."
        )
    if not np.isfinite(x).all():
        raise GeometryError("The samples hold values that are not finite: replace them first.")
    return x, y


def _sets(stragglers: ArrayLike, samples: int) -> Array:
    sets = np.asarray(stragglers)
    if sets.ndim != 2 or sets.dtype != np.bool_ or sets.shape[1] != samples:
        raise GeometryError(
            f"stragglers have shape {sets.shape} and dtype {sets.dtype}; booleans (networks, "
            f"{samples}) are needed."
        )
    return sets
