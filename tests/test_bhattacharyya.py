"""Bhattacharyya distances against plain float64, closed forms, invariances and the rules for zeros."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_predictions import plain_distances, softmax, stress, trajectory

import pipeline
from pipeline.errors import GeometryError
from pipeline.geometry.bhattacharyya import (
    ignorance,
    log_distances,
    pairwise_distances,
    products,
    truth,
    truth_distances,
)
from pipeline.geometry.bhattacharyya.products import accumulate, as_columns, as_rows, class_block
from pipeline.geometry.bhattacharyya.tiles import Tile, add_samples, empty_tile
from pipeline.geometry.bhattacharyya.torch_products import batched_products, normalise

SEEDS = [0, 1, 2]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("classes", [2, 5, 10, 11, 37])
def test_distances_are_those_of_the_formula(seed: int, classes: int) -> None:
    p, _ = trajectory(seed, models=37, classes=classes)
    q, _ = trajectory(seed + 10, models=23, classes=classes)
    np.testing.assert_allclose(pairwise_distances(p, q), plain_distances(p, q), rtol=0, atol=1e-7)
    own = pairwise_distances(p)
    np.testing.assert_allclose(own, plain_distances(p, p), rtol=0, atol=1e-7)
    np.testing.assert_array_equal(own, own.T)
    np.testing.assert_array_equal(np.diag(own), 0)


@pytest.mark.parametrize("models", [255, 256, 300])
def test_every_tile_is_there(models: int) -> None:
    p, _ = trajectory(3, models=models, samples=9, classes=3)
    np.testing.assert_allclose(pairwise_distances(p), plain_distances(p, p), rtol=0, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_zero_affinities_count_exactly_100(seed: int) -> None:
    p = stress(seed)
    found, plain = pairwise_distances(p), plain_distances(p, p)
    np.fill_diagonal(plain, 0)
    assert plain.max() > 90
    np.testing.assert_allclose(found, plain, rtol=0, atol=1e-7)
    assert np.isfinite(found).all()
    one, two = np.eye(10)[[[0] * 60]], np.eye(10)[[[1] * 60]]
    assert pairwise_distances(one, two)[0, 0] == pytest.approx(100, abs=1e-12)


def test_a_few_impossible_samples_among_many() -> None:
    """The wrong class once in 400 samples: 100/400 more than without it."""
    labels = np.random.default_rng(0).integers(0, 10, 400)
    other = labels.copy()
    other[7] = (labels[7] + 1) % 10
    distance = pairwise_distances(truth(labels, 10)[None], truth(other, 10)[None])
    assert distance[0, 0] == pytest.approx(100 / 400, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-3, 1e-12, 1e-30, 1e-37, 1e-44])
def test_tiny_affinities_lose_no_digits(scale: float) -> None:
    """Products that would be denormal: -log a is that of the formula down to the floor e^-100."""
    p, q = np.zeros((1, 64, 3)), np.zeros((1, 64, 3))
    p[..., 0], p[..., 1] = 1 - scale**2, scale**2
    q[..., 1], q[..., 2] = 0.5, 0.5
    wanted = min(-math.log(scale * math.sqrt(0.5)), 100)
    assert pairwise_distances(p, q)[0, 0] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_closed_forms(classes: int) -> None:
    labels = np.arange(50) % classes
    flat, told = ignorance(50, classes)[None], truth(labels, classes)[None]
    assert pairwise_distances(flat, told)[0, 0] == pytest.approx(math.log(classes) / 2, abs=1e-7)
    p, y = trajectory(1, classes=classes)
    cross_entropy = -np.log(p[:, np.arange(60), y]).mean(axis=1)
    np.testing.assert_allclose(truth_distances(p, y), cross_entropy / 2, rtol=1e-12)
    np.testing.assert_allclose(
        pairwise_distances(p, truth(y, classes)[None])[:, 0], cross_entropy / 2, atol=1e-7
    )


def test_log_likelihoods_keep_what_probabilities_cannot_hold() -> None:
    logs = np.array([[-300.0, -10.0], [-0.0, -0.0], [-150.0, -np.inf]])
    np.testing.assert_array_equal(log_distances(logs), [(100 + 5) / 2, 0, (75 + 100) / 2])


@pytest.mark.parametrize("seed", SEEDS)
def test_what_distances_do_not_depend_on(seed: int) -> None:
    p, _ = trajectory(seed, models=30)
    random = np.random.default_rng(seed)
    found = pairwise_distances(p)
    order = random.permutation(30)
    np.testing.assert_array_equal(pairwise_distances(p[order]), found[np.ix_(order, order)])
    shuffled = p[:, random.permutation(60)]
    np.testing.assert_allclose(pairwise_distances(shuffled), found, atol=5e-8)
    classes = np.argsort(random.random((60, 10)), axis=1)
    swapped = np.take_along_axis(p, classes[None], axis=2)
    np.testing.assert_allclose(pairwise_distances(swapped), found, atol=5e-8)
    np.testing.assert_array_equal(
        pairwise_distances(p, threads=1), pairwise_distances(p, threads=3)
    )
    np.testing.assert_allclose(pairwise_distances(p * 1.0001), found, atol=5e-8)  # normalised
    assert (found >= 0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_distances_are_at_least_half_the_squared_angle(seed: int) -> None:
    p, _ = trajectory(seed, models=20)
    affinity = np.einsum("inc,jnc->ijn", np.sqrt(p), np.sqrt(p))
    angles = np.arccos(np.minimum(affinity, 1))
    assert (pairwise_distances(p) >= (angles**2).mean(axis=2) / 2 - 1e-7).all()


def test_equal_models_have_distance_0_up_to_rounding() -> None:
    p = stress(0)
    assert pairwise_distances(p)[15, 25] == 0  # a duplicate of a one-hot model
    assert pairwise_distances(p)[27, 37] <= 1e-7


@pytest.mark.parametrize("samples", [1, 2, 7, 8, 9, 65])
@pytest.mark.parametrize("rows", [1, 3, 4, 6])
@pytest.mark.parametrize("classes", [3, 23])
def test_kernels_take_any_shape(samples: int, rows: int, classes: int) -> None:
    p, _ = trajectory(5, models=rows, samples=samples, classes=classes)
    q, _ = trajectory(6, models=5, samples=samples, classes=classes)
    left, right = np.sqrt(p).astype(np.float32), np.sqrt(q).astype(np.float32)
    mantissas, exponents = np.ones((rows, 5), np.float32), np.zeros((rows, 5), np.int32)
    accumulate(mantissas, exponents, as_rows(left), as_columns(right), classes, 4)
    assert ((mantissas >= 1) & (mantissas < 2)).all()
    found = Tile(mantissas, exponents).negative_logs() / samples
    np.testing.assert_allclose(found, plain_distances(p, q), atol=1e-6)


def test_classes_are_summed_in_blocks_with_little_padding() -> None:
    assert [class_block(classes) for classes in (2, 10, 11, 100, 1000)] == [2, 10, 6, 10, 10]


def test_samples_in_blocks_are_samples_at_once() -> None:
    p, q = stress(1), trajectory(1)[0]
    left, right = np.sqrt(p).astype(np.float32), np.sqrt(q).astype(np.float32)
    whole, parts = empty_tile(len(p), len(q)), empty_tile(len(p), len(q))
    add_samples(whole, left, right)
    for start in range(0, 60, 17):
        add_samples(parts, left[:, start : start + 17], right[:, start : start + 17])
    assert parts.samples == whole.samples == 60
    np.testing.assert_array_equal(parts.mantissas == 0, whole.mantissas == 0)
    kept = np.isfinite(whole.negative_logs())
    np.testing.assert_allclose(
        parts.negative_logs()[kept], whole.negative_logs()[kept], rtol=0, atol=1e-4
    )


def test_products_of_torch_are_those_of_numba() -> None:
    import torch

    p, q = np.concatenate([stress(2), trajectory(2)[0]]), trajectory(4)[0]
    left, right = np.sqrt(p).astype(np.float32), np.sqrt(q).astype(np.float32)
    ours = empty_tile(len(p), len(q))
    add_samples(ours, left, right)
    by_sample = torch.from_numpy(left).transpose(0, 1).contiguous()
    columns = torch.from_numpy(right).permute(1, 2, 0).contiguous()
    mantissas, exponents = batched_products(by_sample, columns)
    theirs = Tile(mantissas.numpy(), exponents.numpy(), 60).negative_logs()
    kept = np.isfinite(theirs)
    assert kept[len(stress(2)) :].all()
    np.testing.assert_allclose(theirs[kept], ours.negative_logs()[kept], atol=6e-6)  # 1e-7 of D


def test_torch_loses_what_is_tiny() -> None:
    import torch

    mantissas = torch.tensor([1.5, 2.0**-100, 2.0**-101, 0.0, 2.0**100])
    exponents = torch.zeros(5, dtype=torch.int32)
    normalise(mantissas, exponents)
    assert mantissas.tolist() == [1.5, 1.0, 0.0, 0.0, 1.0]
    assert exponents.tolist() == [0, -100, 0, 0, 100]


@pytest.mark.gpu
@pytest.mark.parametrize("seed", SEEDS)
def test_a_gpu_gives_the_same_distances(seed: int) -> None:
    p = np.concatenate([stress(seed), trajectory(seed)[0]])
    ours = pairwise_distances(p)
    np.testing.assert_allclose(pairwise_distances(p, device="cuda"), ours, atol=1e-7)


GOOD = softmax(np.zeros((2, 4, 3)))
BAD: list[tuple[Any, Any, str]] = [
    (np.zeros((2, 4, 3)), None, r"p\[0, 0\] is no probability distribution \(its sum is 0\)"),
    (np.full((2, 4, 3), np.nan), None, "is no probability distribution"),
    (np.full((1, 4, 3), [1.5, -0.5, 0.0]), None, "is no probability distribution"),
    (np.ones((4,)), None, r"p has shape \(4,\)"),
    (np.ones((2, 4, 1)), None, "at least one model and sample and two classes"),
    (GOOD, GOOD[:, :3], "p has 4 samples and 3 classes, q has 3 and 3"),
    (GOOD, softmax(np.zeros((2, 4, 5))), "q has 4 and 5"),
    ([["a"]], None, "dtype"),
]


@pytest.mark.parametrize(("p", "q", "text"), BAD)
def test_what_is_no_prediction_is_refused(p: Any, q: Any, text: str) -> None:
    with pytest.raises(GeometryError, match=text):
        pairwise_distances(p, q)


@pytest.mark.parametrize("labels", [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, -1], [0.0, 1, 2, 1]])
def test_labels_that_are_no_classes_are_refused(labels: list[float]) -> None:
    with pytest.raises(GeometryError, match="Labels"):
        truth_distances(GOOD, labels)


def test_a_model_is_a_matrix() -> None:
    assert pairwise_distances(GOOD[0]).shape == (1, 1)


@pytest.mark.parametrize("flushed", [False, True])
def test_denormals_do_not_matter(flushed: bool) -> None:
    """Eight terms just below the smallest normal number, one just above: a processor that flushes them
    to zero must not be believed.
    """
    import torch

    tiny = 2.0**-126
    p, q = np.full((1, 3, 10), 0.1), np.full((1, 3, 10), 0.1)
    p[0, 1], q[0, 1] = 0, 0
    p[0, 1, :9] = [0.98 * tiny] * 8 + [1.02 * tiny]
    p[0, 1, :9] **= 2
    p[0, 1, 9] = 1 - p[0, 1, :9].sum()
    q[0, 1, :9] = 1 / 9
    wanted = plain_distances(p, q)
    torch.set_flush_denormal(flushed)
    try:
        found = pairwise_distances(p, q, threads=1)
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_allclose(found, wanted, atol=1e-7)


def test_many_classes() -> None:
    p, _ = trajectory(0, models=12, samples=200, classes=1000)
    np.testing.assert_allclose(pairwise_distances(p), plain_distances(p, p), atol=2e-7)


def test_few_models_against_many() -> None:
    p, q = trajectory(0, models=300, samples=11)[0], trajectory(1, models=3, samples=11)[0]
    found = pairwise_distances(p, q)
    assert found.shape == (300, 3)
    np.testing.assert_allclose(found, plain_distances(p, q), atol=2e-7)
    np.testing.assert_array_equal(found, pairwise_distances(q, p).T)


def test_compiled_kernels_are_kept_between_processes(tmp_path: Path) -> None:
    """The second process reads what the first one compiled, even from another copy of the library."""
    copy = shutil.copytree(
        Path(pipeline.__file__).parent,
        tmp_path / "src/pipeline",
        ignore=shutil.ignore_patterns("__pycache__"),
    ).parent
    script = (
        "import numpy as np\n"
        "from pipeline.geometry.bhattacharyya import pairwise_distances, products\n"
        "pairwise_distances(np.full((5, 9, 4), 0.25))\n"
        "pairwise_distances(np.full((5, 9, 20), 0.05))\n"
        "for kernel in (products._one_block(4), products._several_blocks(10)):\n"
        "    print(sum(kernel.stats.cache_hits.values()))\n"
        "print(products.__file__)\n"
    )
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    said = [
        subprocess.run(
            [sys.executable, "-c", script],
            env=environment | more,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.split()
        for more in ({}, {"PYTHONPATH": str(copy)})
    ]
    assert said == [
        ["0", "0", products.__file__],
        ["1", "1", str(copy / "pipeline/geometry/bhattacharyya/products.py")],
    ]


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_are_at_least_one(threads: int) -> None:
    with pytest.raises(GeometryError, match="threads is"):
        pairwise_distances(GOOD, threads=threads)


@pytest.mark.parametrize("logs", [[[np.nan]], [[1.0]], [-1.0]])
def test_log_likelihoods_that_are_none_are_refused(logs: Any) -> None:
    with pytest.raises(GeometryError, match="Log-likelihoods"):
        log_distances(logs)


def test_the_fused_kernel_in_tritons_interpreter() -> None:
    pytest.importorskip("triton")
    script = (
        "import numpy as np, torch\n"
        "from pipeline.geometry.bhattacharyya.torch_products import batched_products\n"
        "from pipeline.geometry.bhattacharyya.triton_products import fused_products\n"
        "p = np.random.default_rng(0).dirichlet(np.ones(10), (70, 20)) ** 0.5\n"
        "left = torch.from_numpy(p).float().transpose(0, 1).contiguous()\n"
        "right = torch.from_numpy(p[:45]).float().permute(1, 2, 0).contiguous()\n"
        "logs = [m.double().log() + e * np.log(2) for m, e in (\n"
        "    batched_products(left, right), fused_products(left, right))]\n"
        "assert (logs[0] - logs[1]).abs().max() < 5e-6\n"
    )
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
