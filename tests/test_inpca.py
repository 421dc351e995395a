"""InPCA: the identities of the embedding, weights, new points, out of core, and what it is compared with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from made_up_predictions import stress, trajectory
from numpy.typing import NDArray

from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import pairwise_distances
from pipeline.geometry.inpca import (
    align,
    embed,
    embed_tiles,
    explained_distances,
    four_point_embedding,
    pca,
)
from pipeline.geometry.inpca.comparison import euclidean_distances, minkowski_distances
from pipeline.geometry.inpca.four_points import progress_mean
from pipeline.geometry.inpca.krylov import Sums, largest_eigenpairs
from pipeline.geometry.progress import progress

SEEDS = [0, 1, 2]
Array = NDArray[np.float64]


def distances(seed: int, models: int = 40) -> Array:
    """Of a trajectory and of over-confident models."""
    p, _ = trajectory(seed, models=models)
    return pairwise_distances(np.concatenate([p, stress(seed)]))


def centred(D: Array) -> Array:
    L = np.eye(len(D)) - 1 / len(D)
    found: Array = -0.5 * L @ D @ L
    return found


@pytest.mark.parametrize("seed", SEEDS)
def test_the_whole_embedding_is_isometric(seed: int) -> None:
    D = distances(seed)
    found = embed(D, len(D))
    again = minkowski_distances(found.coordinates, found.coordinates, found.signature)
    np.testing.assert_allclose(again, D, rtol=0, atol=1e-11 * D.max())
    assert {-1, 1} <= set(found.signature.tolist())
    np.testing.assert_allclose(found.explained_stress[-1], 1, atol=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_eigenpairs_are_those_of_the_centred_matrix(seed: int) -> None:
    D = distances(seed)
    W, found = centred(D), embed(D, len(D))
    ones = np.ones(len(D))
    vectors = found.coordinates[:, found.signature != 0]
    np.testing.assert_allclose(ones @ vectors, 0, atol=1e-9 * np.abs(vectors).max())  # W 1 = 0
    np.testing.assert_allclose(found.eigenvalues.sum(), D.sum() / (2 * len(D)), rtol=1e-12)
    np.testing.assert_allclose(found.norm, np.linalg.norm(W), rtol=1e-12)
    assert (np.diff(np.abs(found.eigenvalues)) <= 1e-12 * found.norm).all()
    rows, squares, size = D.mean(axis=1), (D**2).sum(), len(D)
    one_pass = 0.25 * (squares - 2 * size * rows @ rows + (size * rows.mean()) ** 2)
    assert np.sqrt(one_pass) == pytest.approx(found.norm, rel=1e-12)
    share = np.cumsum(found.eigenvalues**2) / (W**2).sum()
    np.testing.assert_allclose(found.explained_stress[:5], 1 - np.sqrt(1 - share[:5]), rtol=1e-9)
    assert (found.residuals < 1e-10 * found.norm).all()


def test_few_points() -> None:
    two = embed([[0.0, 0.6], [0.6, 0.0]], 2)
    np.testing.assert_allclose(two.eigenvalues, [0.3, 0], atol=1e-15)
    assert two.signature.tolist() == [1, 0]
    same = embed(0.6 * (1 - np.eye(5)), 5)
    np.testing.assert_allclose(same.eigenvalues, [0.3] * 4 + [0], atol=1e-15)
    nothing = embed(np.zeros((3, 3)), 2)
    np.testing.assert_array_equal(nothing.coordinates, 0)
    np.testing.assert_array_equal(nothing.transform(np.zeros((1, 3))), 0)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weighted", [False, True])
def test_an_old_point_gets_its_own_coordinates(seed: int, weighted: bool) -> None:
    D = distances(seed)
    weights = np.random.default_rng(seed).uniform(0.2, 3, len(D)) if weighted else None
    found = embed(D, 6, weights=weights)
    scale = np.abs(found.coordinates).max()
    np.testing.assert_allclose(found.transform(D), found.coordinates, atol=1e-12 * scale)
    one = found.transform(D[4])
    np.testing.assert_allclose(one[0], found.coordinates[4], atol=1e-12 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_new_point_with_all_dimensions_keeps_its_distances_to_the_old_ones(seed: int) -> None:
    """Up to one constant: what of it lies outside of the old points' span."""
    D = distances(seed)
    old, new = D[:-1, :-1], D[-1, :-1]
    found = embed(old, len(old))
    there = found.transform(new)
    again = minkowski_distances(there, found.coordinates, found.signature)[0]
    kept = new - again
    np.testing.assert_allclose(kept, kept.mean(), atol=1e-5 * D.max())


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_are_repeated_points(seed: int) -> None:
    D = distances(seed, models=20)
    times = np.random.default_rng(seed).integers(1, 4, len(D))
    places = np.repeat(np.arange(len(D)), times)
    weighted = embed(D, 5, weights=times)
    repeated = embed(D[np.ix_(places, places)], 5)
    scale = np.abs(repeated.coordinates).max()
    signs = np.sign(np.sum(weighted.coordinates[places] * repeated.coordinates, axis=0))
    np.testing.assert_allclose(
        weighted.coordinates[places] * signs, repeated.coordinates, atol=1e-10 * scale
    )
    np.testing.assert_allclose(weighted.eigenvalues * len(places), repeated.eigenvalues, rtol=1e-9)
    np.testing.assert_allclose(weighted.explained_stress, repeated.explained_stress, rtol=1e-9)
    even = embed(D, 5, weights=np.full(len(D), 7.0))
    np.testing.assert_allclose(even.coordinates, embed(D, 5).coordinates, atol=1e-10 * scale)


def test_train_and_test_in_one_picture() -> None:
    """w = -1/2 [D_te(u, i) - mean_j D_tr(u, j) - mean_j D_tr(i, j) + mean D_tr]."""
    train = distances(0)
    test = train * np.linspace(1, 1.5, len(train))[:, None]
    found = embed(train, 4)
    means = train.mean(axis=1)
    w = -0.5 * (test - means[:, None] - means + means.mean())
    wanted = w @ (found.coordinates / found.eigenvalues)
    np.testing.assert_allclose(found.transform(test), wanted, atol=1e-10)
    assert np.abs(wanted - found.coordinates).max() > 0.1


@pytest.mark.parametrize("seed", SEEDS)
def test_out_of_core_is_whole(seed: int) -> None:
    D = distances(seed, models=200)
    passes = []

    def multiply(x: Array) -> Array:
        passes.append(x.shape[1])
        return D @ x

    sums = Sums(D.sum(axis=1), float((D**2).sum()))
    found, whole = embed_tiles(multiply, sums, 8, tolerance=1e-9), embed(D, 8)
    np.testing.assert_allclose(found.eigenvalues, whole.eigenvalues, rtol=1e-9)
    scale = np.abs(whole.coordinates).max()
    np.testing.assert_allclose(found.coordinates, whole.coordinates, atol=1e-6 * scale)
    assert found.norm == pytest.approx(whole.norm, rel=1e-10)
    assert len(passes) <= 14
    np.testing.assert_allclose(found.transform(D), found.coordinates, atol=1e-6 * scale)


@pytest.mark.parametrize("seed", SEEDS)
def test_weights_out_of_core(seed: int) -> None:
    D = distances(seed)
    weights = np.random.default_rng(seed).uniform(0.2, 3, len(D))
    sums = Sums(D.sum(axis=1), float((D**2).sum()))
    found = embed_tiles(lambda x: D @ x, sums, 5, weights=weights, tolerance=1e-9)
    whole = embed(D, 5, weights=weights)
    scale = np.abs(whole.coordinates).max()
    np.testing.assert_allclose(found.coordinates, whole.coordinates, atol=1e-6 * scale)
    np.testing.assert_allclose(found.eigenvalues, whole.eigenvalues, rtol=1e-8)
    assert found.norm == pytest.approx(whole.norm, rel=0.25)
    np.testing.assert_allclose(found.transform(D), found.coordinates, atol=1e-6 * scale)


def test_many_equal_models_are_one_point() -> None:
    found = embed(np.zeros((1600, 1600)), 2)
    np.testing.assert_array_equal(found.coordinates, 0)
    assert found.signature.tolist() == [0, 0]


def test_the_iterative_solver_finds_both_ends_of_the_spectrum() -> None:
    random = np.random.default_rng(0)
    basis = np.linalg.qr(random.standard_normal((300, 300)))[0]
    values = np.concatenate([[5.0, -4.0, 3.0, -2.9], random.uniform(-1, 1, 296)])
    A = (basis * values) @ basis.T
    found, vectors, residuals = largest_eigenpairs(lambda x: A @ x, 300, 4, tolerance=1e-10)
    np.testing.assert_allclose(found, [5, -4, 3, -2.9], atol=1e-9)
    np.testing.assert_allclose(np.abs(np.sum(vectors * basis[:, :4], axis=0)), 1, atol=1e-9)
    assert residuals.max() < 1e-9


def test_what_does_not_settle_is_said() -> None:
    flat = np.linspace(1, 1.0001, 3000)
    with pytest.raises(GeometryError, match="After 60 passes the residuals are"):
        largest_eigenpairs(lambda x: (flat * x.T).T, 3000, 3, tolerance=1e-15)


def test_many_models_go_through_the_iterative_solver_alike() -> None:
    x = np.random.default_rng(0).standard_normal((1600, 3)) * [3, 2, 1]
    D = np.sum((x[:, None] - x) ** 2, axis=2)
    found = embed(D, 3)
    assert found.explained_stress[-1] == pytest.approx(1, abs=1e-6)
    again = minkowski_distances(found.coordinates, found.coordinates, found.signature)
    np.testing.assert_allclose(again, D, atol=1e-8)


def test_explained_distances() -> None:
    D = distances(0)
    found = embed(D, len(D))
    explained = explained_distances(D, found.coordinates, found.signature)
    assert explained[-1] == pytest.approx(1, abs=1e-10)
    for k in (1, 3):
        x, signs = found.coordinates[:, :k], found.signature[:k]
        part = minkowski_distances(x, x, signs)
        assert explained[k - 1] == pytest.approx(1 - np.abs(D - part).sum() / D.sum(), abs=1e-12)
    line = np.arange(5.0)[:, None]
    assert explained_distances((line - line.T) ** 2, line)[0] == pytest.approx(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_pca_is_that_of_the_probabilities(seed: int) -> None:
    p, _ = trajectory(seed)
    flat = p.reshape(len(p), -1)
    flat = flat - flat.mean(axis=0)
    values = np.linalg.svd(flat, compute_uv=False) ** 2 / 60
    found, explained = pca(p, 4)
    np.testing.assert_allclose(found.eigenvalues, values[:4], rtol=1e-9)
    np.testing.assert_allclose(explained, np.cumsum(values)[:4] / values.sum(), rtol=1e-9)
    direct = np.mean(np.sum((p[:, None] - p[None]) ** 2, axis=3), axis=2)
    np.testing.assert_allclose(euclidean_distances(p), direct, atol=1e-12)


def test_pca_of_the_authors_programme() -> None:
    p, _ = trajectory(0, models=12)
    norms = np.linalg.norm(p[:, None] - p[None], axis=3).mean(axis=2)
    D = norms**2
    W = -0.5 * (D - D[0][:, None] - D[0])
    values = np.linalg.eigvalsh(W)
    values = values[np.argsort(-np.abs(values))]
    found, explained = pca(p, 3, public_code=True)
    np.testing.assert_allclose(found.eigenvalues, values[:3], rtol=1e-9)
    np.testing.assert_allclose(explained, np.cumsum(values[:3]) / np.trace(W), rtol=1e-9)
    np.testing.assert_allclose(found.transform(D), found.coordinates, atol=1e-10)
    for count in (0, 13):
        with pytest.raises(GeometryError, match="valid are 1 to 12"):
            pca(p, count)
    with pytest.raises(GeometryError, match="All models are equal"):
        pca(np.repeat(p[:1], 3, axis=0), 2)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("mirrored", [False, True])
def test_alignment_undoes_a_rigid_motion(seed: int, mirrored: bool) -> None:
    random = np.random.default_rng(seed)
    x = random.standard_normal((30, 3)) * [3, 2, 1]
    turn = np.linalg.qr(random.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    if mirrored:
        turn[:, 0] *= -1
    moved = x @ turn + [1, -2, 3]
    found = align(moved, x)
    assert found.rmsd < 1e-12
    np.testing.assert_allclose(found.apply(moved), x, atol=1e-12)
    rigid = align(moved, x, reflections=False)
    assert (rigid.rmsd > 0.5) == mirrored
    assert np.linalg.det(rigid.rotation) == pytest.approx(1)


def test_alignment_reports_what_is_left() -> None:
    x = np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]])
    assert align(2 * x, x).rmsd == pytest.approx(np.sqrt(0.5))  # no scaling


def test_the_four_point_embedding() -> None:
    p, labels = trajectory(0, steepness=12)
    told = progress(p, labels)
    embedding, found = four_point_embedding(p, labels, told)
    assert embedding.coordinates.shape == (4, 3)
    assert found.shape == (len(p), 3)
    flat, certain = embedding.coordinates[0], embedding.coordinates[1]
    assert np.linalg.norm(found[0] - flat) < np.linalg.norm(found[0] - certain)
    weights = np.exp(-((told - 0.3) ** 2) / (2 * 0.05**2))
    mean = np.tensordot(weights / weights.sum(), p, axes=1)
    np.testing.assert_allclose(progress_mean(p, told, 0.3), mean, rtol=1e-12)
    with pytest.raises(GeometryError, match="No model has a progress near 5"):
        progress_mean(p, told, 5.0)


BAD: list[tuple[Any, dict[str, Any], str]] = [
    (np.zeros((2, 3)), {}, r"D has shape \(2, 3\)"),
    ([[0, 1], [2, 0]], {}, "not symmetric"),
    ([[1, 1], [1, 1]], {}, "not 0 on its diagonal"),
    ([[0, np.inf], [np.inf, 0]], {}, "not finite"),
    ([[0, 1], [1, 0]], {"n_components": 3}, "valid are 1 to 2"),
    ([[0, 1], [1, 0]], {"n_components": 1, "weights": [1, 0]}, "one finite weight above 0"),
    ([[0, 1], [1, 0]], {"n_components": 1, "weights": [1]}, "weights of shape"),
]


@pytest.mark.parametrize(("D", "options", "text"), BAD)
def test_what_is_no_matrix_of_distances_is_refused(
    D: Any, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(GeometryError, match=text):
        embed(D, **options)


def test_other_bad_input_is_refused() -> None:
    found = embed([[0, 1], [1, 0]], 1)
    for wrong in ([[1, 2, 3]], [[np.nan, 1]]):
        with pytest.raises(GeometryError, match="finite distances"):
            found.transform(wrong)
    with pytest.raises(GeometryError, match="both must be"):
        align(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(GeometryError, match="do not fit"):
        explained_distances(np.zeros((3, 3)), np.zeros((4, 2)))
    with pytest.raises(GeometryError, match="not finite"):
        explained_distances(np.ones((3, 3)), np.full((3, 2), np.nan))
    with pytest.raises(GeometryError, match=r"finite values \(models,\) are needed"):
        progress_mean(trajectory(0, models=2)[0], [0.1, np.nan], 0.3)
    with pytest.raises(GeometryError, match="All distances are 0"):
        explained_distances(np.zeros((3, 3)), np.zeros((3, 2)))
