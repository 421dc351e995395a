"""Where stragglers lie: distances to class centres, t-SNE, neighbours across the boundary."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from made_up_runs import SAMPLES, made_up_run

from pipeline.analysis.centres import (
    centre_distances,
    class_centres,
    compare_distances,
    embed_tsne,
    opposite_neighbours,
    tsne,
    within_class,
)
from pipeline.analysis.inversion import misclassified_at
from pipeline.data import datasets
from pipeline.data.preprocessing import training_arrays
from pipeline.errors import GeometryError, PipelineError
from pipeline.runs import RunGroups
from pipeline.store.reader import load_arrays
from pipeline.store.variables import validate
from pipeline.store.writer import write_dataset


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("centres")
    options = {"train_samples": SAMPLES + 20, "test_samples": 10}
    entry = {"loader": "pipeline.data.generated:generated", "options": options}
    write_dataset(datasets.prepare(entry, folder), folder, {})
    made = made_up_run("main", seeds=5, failed=(1,), statistics="own", grey=None)
    return replace(made, data_folder=folder)


# --- distances -----------------------------------------------------------------------------------


def test_distances_of_a_small_example():
    images = np.array([[0.0, 0], [6, 8], [1, 1], [1, 1], [7, 7]])
    found = centre_distances(images, [0, 0, 4, 4, 9])
    np.testing.assert_allclose(found, [5, 5, 0, 0, 0])


@pytest.mark.parametrize("seed", range(3))
def test_distances_do_not_change_under_rotation_and_shift(seed):
    random = np.random.default_rng(seed)
    images, classes = random.normal(size=(60, 8)), random.integers(0, 10, size=60)
    turn, _ = np.linalg.qr(random.normal(size=(8, 8)))
    moved = images @ turn + random.normal(size=8)
    np.testing.assert_allclose(
        centre_distances(moved, classes), centre_distances(images, classes), rtol=1e-10, atol=1e-12
    )
    order = random.permutation(60)
    np.testing.assert_allclose(
        centre_distances(images[order], classes[order]), centre_distances(images, classes)[order]
    )


def test_mean_square_distance_is_the_variance():
    images = np.random.default_rng(0).normal(size=(500, 20))
    found = centre_distances(images, np.zeros(500, int))
    assert np.mean(found**2) == pytest.approx(images.var(axis=0).sum(), rel=1e-12)


def test_within_class_has_no_mean_and_unit_spread():
    random = np.random.default_rng(0)
    classes = random.integers(0, 3, size=90)
    found = within_class(random.gamma(3, size=90) * (1 + classes), classes)
    for value in range(3):
        assert found[classes == value].mean() == pytest.approx(0, abs=1e-12)
        assert found[classes == value].std() == pytest.approx(1)
    assert within_class([1.0, 2.0, 2.0], [0, 1, 1]).tolist() == [0, 0, 0]


# --- comparison ----------------------------------------------------------------------------------


def test_effects_by_counting():
    distances = np.array([1.0, 2, 3, 4, 5, 5])
    stragglers = np.array([[False, False, False, True, False, True]])
    found = compare_distances(distances, stragglers)
    inside, outside = distances[stragglers[0]], distances[~stragglers[0]]
    wins = np.mean([(a > b) + 0.5 * (a == b) for a in inside for b in outside])
    pooled = (0.5 * 1 + (outside.size - 1) * outside.var(ddof=1)) / 4
    assert found.probability_farther == pytest.approx([wins])
    assert found.effect_size == pytest.approx([(4.5 - 2.75) / np.sqrt(pooled)])


def test_equal_samples_have_no_effect_and_uniform_p():
    random = np.random.default_rng(0)
    distances = random.normal(size=400)
    stragglers = random.random((300, 400)).argsort(axis=1) < 40
    found = compare_distances(distances, stragglers)
    assert found.effect_size.mean() == pytest.approx(0, abs=4 * found.effect_size.std() / 17)
    assert found.probability_farther.mean() == pytest.approx(0.5, abs=0.015)
    assert np.mean(found.p_value < 0.05) == pytest.approx(0.05, abs=0.05)


def test_normal_shift_gives_its_size():
    random = np.random.default_rng(1)
    stragglers = np.arange(20_000) < 4000
    found = compare_distances(random.normal(size=20_000) + 0.8 * stragglers, stragglers[None])
    assert found.effect_size == pytest.approx([0.8], abs=0.07)
    assert found.probability_farther == pytest.approx([0.7142], abs=0.02)  # Phi(0.8 / sqrt 2)
    assert found.p_value[0] < 1e-100


def test_class_composition_is_not_taken_for_an_effect():
    """Stragglers drawn at random from the wide class are farther overall, not within it."""
    random = np.random.default_rng(2)
    classes = np.repeat([0, 1], 2000)
    distances = random.normal(loc=np.where(classes == 1, 12, 10), size=4000)
    stragglers = (classes == 1) & (random.random((20, 4000)) < 0.2)
    plain = compare_distances(distances, stragglers)
    within = compare_distances(within_class(distances, classes), stragglers)
    assert plain.effect_size.min() > 0.5
    assert abs(within.effect_size.mean()) < 0.03


@pytest.mark.parametrize(
    ("distances", "stragglers", "sentence"),
    [
        (np.ones(4), np.ones((1, 3), bool), r"booleans \(networks, 4\)"),
        (np.ones(4), np.ones((1, 4)), "dtype float64"),
        (np.arange(4.0), np.eye(4, dtype=bool), "Network 0 has 1 stragglers and 3 other"),
        (np.arange(4.0), np.arange(4)[None] < 3, "3 stragglers and 1 other"),
        (np.ones(4), np.arange(4)[None] < 2, "do not vary"),
        (np.array([1, 2, np.nan, 4]), np.arange(4)[None] < 2, "not finite"),
    ],
)
def test_comparison_faults(distances, stragglers, sentence):
    with pytest.raises(GeometryError, match=sentence):
        compare_distances(distances, stragglers)


def test_distance_faults():
    with pytest.raises(GeometryError, match="do not fit"):
        centre_distances(np.ones((3, 2)), [0, 1])
    with pytest.raises(GeometryError, match="not finite"):
        centre_distances([[np.nan, 1.0]], [0])


# --- embedding -----------------------------------------------------------------------------------


def test_neighbours_on_a_line():
    points, labels = np.arange(8.0)[:, None], np.array([1, 1, 1, 1, -1, -1, -1, -1])
    found = opposite_neighbours(points, labels, k=1)
    assert found[[0, 1, 2, 5, 6, 7]].tolist() == [0] * 6
    wide = opposite_neighbours(points, labels, k=7)
    np.testing.assert_allclose(wide, 4 / 7)


def test_neighbours_at_the_same_point():
    labels = np.array([1] * 6 + [-1] * 6)
    found = opposite_neighbours(np.zeros((12, 2)), labels, k=3)
    assert ((found >= 0) & (found <= 1)).all()
    apart = opposite_neighbours(np.repeat([[0.0, 0], [9, 9]], 6, axis=0), labels, k=3)
    assert apart.tolist() == [0] * 12  # no sample is its own neighbour, nor one of the other point


def test_embedding_keeps_clusters_apart_and_repeats_its_bits():
    random = np.random.default_rng(0)
    clusters = np.repeat([0, 1], 60)
    images = random.normal(size=(120, 70)) + 8 * clusters[:, None]
    first = embed_tsne(images, 3, perplexity=10)
    assert (first.shape, first.dtype) == ((120, 2), np.float32)
    np.testing.assert_array_equal(first, embed_tsne(images, 3, perplexity=10))
    assert opposite_neighbours(first, clusters).max() == 0


def test_embedding_faults():
    with pytest.raises(GeometryError, match=r"shape \(20, 3\) with perplexity 30"):
        embed_tsne(np.ones((20, 3)), 0)
    with pytest.raises(GeometryError, match="finite images"):
        embed_tsne(np.full((40, 3), np.nan), 0)
    with pytest.raises(GeometryError, match="k is 5; it must be from 1 to 3"):
        opposite_neighbours(np.ones((4, 2)), np.ones(4), k=5)


# --- of runs -------------------------------------------------------------------------------------


def arrays_of(run):
    arrays = load_arrays(run.data_folder, ("images", "labels", "split"))
    return training_arrays(arrays, samples=SAMPLES)


def sets_of(run):
    return misclassified_at(run.trajectories, run.inversion["epoch_plus"].values, SAMPLES)


def test_class_centres_of_a_run(run):
    found = class_centres(RunGroups({"main": [run]}), {})
    validate(found)
    arrays, sets = arrays_of(run), sets_of(run)
    distances = centre_distances(arrays.train_images, arrays.train_classes)
    np.testing.assert_array_equal(found["centre_distance"], distances)
    compared = compare_distances(distances, sets)
    np.testing.assert_array_equal(found["effect_size"], compared.effect_size)
    within = compare_distances(within_class(distances, arrays.train_classes), sets)
    np.testing.assert_array_equal(found["rank_p_value_within"], within.p_value)
    np.testing.assert_allclose(found["conserved"], sets.mean(axis=0))
    np.testing.assert_array_equal(found["labels"], arrays.train_classes)
    assert found["seed"].values.tolist() == [0, 2, 3, 4]
    assert found.attrs == {"runs": ["main"], "too_few_stragglers": [], "pixels": "standardised"}


def test_class_centres_of_grey_pixels(run):
    found = class_centres(RunGroups({"main": [run]}), {"pixels": "grey"})
    arrays = arrays_of(run)
    distances = centre_distances(arrays.train_pixels / 255, arrays.train_classes)
    np.testing.assert_allclose(found["centre_distance"], distances)
    assert found.attrs["pixels"] == "grey"
    with pytest.raises(PipelineError, match="pixels is 'blue'; valid are standardised, grey"):
        class_centres(RunGroups({"main": [run]}), {"pixels": "blue"})


def test_tsne_of_a_run(run):
    options = {"perplexity": 10, "seed": 1, "neighbours": 5}
    found = tsne(RunGroups({"main": [run]}), options)
    validate(found)
    arrays, sets = arrays_of(run), sets_of(run)
    plane = embed_tsne(arrays.train_images, 1, perplexity=10)
    np.testing.assert_array_equal(found["embedding"], plane)
    shares = opposite_neighbours(plane, arrays.train_labels, 5)
    np.testing.assert_array_equal(found["opposite_share"], shares)
    for seed, members in enumerate(sets):
        inside, outside = shares[members].mean(), shares[~members].mean()
        assert float(found["opposite_share_stragglers"][seed]) == pytest.approx(inside)
        assert float(found["opposite_share_others"][seed]) == pytest.approx(outside)
    part = tsne(RunGroups({"main": [run]}), options | {"samples": 60})
    assert part.sizes["sample"] == 60
    np.testing.assert_allclose(part["conserved"], sets[:, :60].mean(axis=0))


def test_networks_without_stragglers_are_left_out_and_listed(run):
    bits = run.trajectories["misclassified"].copy(deep=True)
    bits[1] = 0
    less = replace(run, trajectories=run.trajectories.assign(misclassified=bits))
    found = class_centres(RunGroups({"main": [less]}), {})
    assert found.attrs["too_few_stragglers"] == [2]
    assert np.isnan(found["effect_size"]).values.tolist() == [False, True, False, False]
    none = replace(run, trajectories=run.trajectories.assign(misclassified=0 * bits))
    with pytest.raises(GeometryError, match="Run main: no network has 2 stragglers"):
        class_centres(RunGroups({"main": [none]}), {})


def test_one_run_only(run):
    with pytest.raises(PipelineError, match="given are main, main"):
        class_centres(RunGroups({"a": [run], "b": [run]}), {})


def test_random_labels_do_not_change_the_classes(run):
    random = replace(run, config=run.config | {"labels": "random", "paper": "stragglers"})
    found = class_centres(RunGroups({"main": [random]}), {"seed": 4})
    plain = class_centres(RunGroups({"main": [run]}), {})
    xr.testing.assert_identical(found["centre_distance"], plain["centre_distance"])
    assert (found["binary_labels"] != plain["binary_labels"]).any()
