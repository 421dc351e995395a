"""The passes against one torch.nn network, and the vector arithmetic against NumPy."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from numba import njit
from training_helpers import ACTIVATIONS, direct_measures, make_images

import pipeline
from pipeline.models.fully_connected import fully_connected
from pipeline.models.initialise import stacked_parameters
from pipeline.training import lane_math, sparse
from pipeline.training.dense_pass import DensePass
from pipeline.training.lane_matrices import add_matrix_product
from pipeline.training.module_pass import ModulePass
from pipeline.training.problem import Architecture, make_problem
from pipeline.training.sparse_pass import SparsePass

TOLERANCE = {"sparse": 2e-5, "dense": 2e-5, "module": 2e-5, "dense64": 1e-11, "module64": 1e-11}


def elementwise(function):
    @njit
    def over(x):
        out = np.empty_like(x)
        for i in range(x.size):
            out[i] = function(x[i])
        return out

    return over


@pytest.mark.parametrize(
    ("function", "reference", "low", "high"),
    [
        (lane_math.tanh32, np.tanh, -12, 12),
        (lane_math.exp32, np.exp, -80, 2),
        (lane_math.log1p32, np.log1p, 0, 1),
    ],
)
def test_elementary_functions_are_float32_accurate(function, reference, low, high):
    x = np.linspace(low, high, 100_001).astype(np.float32)
    exact = reference(x.astype(np.float64))
    assert np.abs(elementwise(function)(x) - exact).max() < 4e-7


def test_tanh_is_accurate_near_zero_and_saturates():
    x = np.array([0, 1e-8, -1e-4, 30, -3e38], np.float32)
    found = elementwise(lane_math.tanh32)(x)
    np.testing.assert_allclose(found, np.tanh(x.astype(np.float64)), rtol=3e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("width", [1, 7, 8, 24, 160, 300])
def test_sparse_row_sums_are_a_matrix_product(seed, width):
    rng = np.random.default_rng(seed)
    matrix = rng.random((31, 40)) * (rng.random((31, 40)) < 0.3)
    matrix = matrix.astype(np.float32)
    packed = sparse.pack_rows(matrix)
    rows = rng.standard_normal((40, width)).astype(np.float32)
    out = np.zeros((32, width), np.float32)

    @njit
    def add_all(first, index, value, rows, out):
        for g in range(first.size - 1):
            target = out[2 * g :].ctypes.data
            lane_math.add_sparse_rows(
                target,
                rows.ctypes.data,
                rows.shape[1],
                index.ctypes.data,
                value.ctypes.data,
                first[g],
                first[g + 1],
            )

    add_all(packed.first, packed.index, packed.value, rows, out)
    np.testing.assert_allclose(out[:31], matrix @ rows, rtol=0, atol=1e-5)
    assert not out[31].any()


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 1), (4, 4, 3), (5, 8, 7), (9, 6, 2), (20, 20, 8)])
def test_products_of_lane_matrices_are_matrix_products_lane_by_lane(seed, shape):
    rows, columns, count = shape
    rng = np.random.default_rng(seed)

    def matrix(*size):
        return rng.standard_normal((*size, lane_math.LANES)).astype(np.float32)

    left, right, out = matrix(rows, count), matrix(count, columns), matrix(columns, rows)
    expected = out + np.einsum("ikr,kjr->jir", left, right)

    @njit
    def add(out, left, right, strides, rows, columns, count):
        addresses = out.ctypes.data, left.ctypes.data, right.ctypes.data
        add_matrix_product(*addresses, strides, rows, columns, count)

    # The result and the right factor are stored transposed.
    add(out, left, right, (1, rows, count, 1, 1, columns), rows, columns, count)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2e-5)


def test_the_order_of_packed_rows_does_not_change_their_sums():
    images, labels = make_images(3, samples=301)
    test_images, test_labels = make_images(4, samples=77)
    problem = make_problem(images, labels, test_images, test_labels, None, 2)
    net = fully_connected(30, depth=2, width=5, activation="tanh")
    keys = {"root": 0, "stream": "t", "scheme": "he", "variance": None, "dtype": torch.float32}
    parameters = stacked_parameters(net, [0, 1], **keys)
    architecture = Architecture(30, 2, 5, "tanh", (1,))
    found = [
        SparsePass(problem, architecture, 2, 1, test_once=once)(parameters)
        for once in (True, False)
    ]
    np.testing.assert_array_equal(found[0].test_error, found[1].test_error)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_similar_order_is_a_permutation_with_more_overlap(seed):
    images, _ = make_images(seed, samples=301)
    matrix = images - images.min(axis=0)
    order = sparse.similar_order(matrix)
    assert sorted(order) == list(range(301))

    def entries(rows):
        return len(sparse.pack_rows(rows).index)

    assert entries(matrix[order]) <= entries(matrix)


def build_pass(kind, problem, depth, width, activation, layers, networks):
    precision = "float64" if kind.endswith("64") else "float32"
    if kind.startswith("module"):
        net = fully_connected(
            problem.train_images.shape[1], depth=depth, width=width, activation=activation
        )
        return ModulePass(problem, net, layers, networks, device="cpu", precision=precision)
    architecture = Architecture(problem.train_images.shape[1], depth, width, activation, layers)
    if kind == "sparse":
        return SparsePass(problem, architecture, networks, threads=2)
    return DensePass(
        problem, architecture, networks, device="cpu", precision=precision, compiled=False
    )


CASES = [
    ("tanh", 2, 20, False),
    ("relu", 4, 5, True),
    ("leaky_relu", 3, 8, False),
    ("silu", 4, 3, True),
    ("identity", 3, 1, False),
]


@pytest.mark.parametrize("kind", sorted(TOLERANCE))
@pytest.mark.parametrize(("activation", "depth", "width", "pruned"), CASES)
def test_pass_equals_one_network_alone(kind, activation, depth, width, pruned):
    networks = 9  # more than one group of lanes, the last one incomplete
    images, labels = make_images(3, samples=301)
    test_images, test_labels = make_images(4, samples=77)
    rng = np.random.default_rng(5)
    weight = (rng.random((networks, 301)) < 0.8).astype(np.float32) if pruned else None
    if pruned:
        weight *= rng.random((networks, 301)) + 0.5
    layers = tuple(range(1, depth))
    problem = make_problem(images, labels, test_images, test_labels, weight, networks)
    dtype = torch.float64 if kind.endswith("64") else torch.float32
    net = fully_connected(images.shape[1], depth=depth, width=width, activation=activation)
    parameters = stacked_parameters(
        net, list(range(networks)), root=0, stream="t", scheme="he", variance=None, dtype=dtype
    )
    gradients = [torch.full_like(p, float("nan")) for p in parameters]
    measure = build_pass(kind, problem, depth, width, activation, layers, networks)
    found = measure(parameters, gradients)
    without = measure(parameters)
    atol = TOLERANCE[kind]
    for r in (0, networks - 1):
        exact = direct_measures(net, [p[r] for p in parameters], problem, weight, r)
        for name in ("loss", "radius_plus", "radius_minus", "distance"):
            np.testing.assert_allclose(getattr(found, name)[r], exact[name], atol=atol)
            np.testing.assert_allclose(getattr(without, name)[r], exact[name], atol=atol)
        assert found.train_error[r] == exact["train_error"]
        assert found.test_error[r] == exact["test_error"]
        bits = np.unpackbits(found.misclassified[r], count=301).astype(bool)
        np.testing.assert_array_equal(bits, exact["wrong"])
        for gradient, reference in zip(gradients, exact["gradients"], strict=True):
            scale = np.abs(reference).max()
            np.testing.assert_allclose(gradient[r].numpy(), reference, atol=atol * scale + 1e-12)


def test_a_representation_of_zeros_stays_at_the_origin():
    """With all biases and half the weights negative, relu leaves many samples without direction."""
    images, labels = make_images(0, samples=120)
    problem = make_problem(images, labels, None, None, None, 2)
    net = fully_connected(images.shape[1], depth=2, width=2, activation="relu")
    parameters = stacked_parameters(
        net, [0, 1], root=0, stream="t", scheme="uniform", variance=None, dtype=torch.float32
    )
    parameters[1] -= 0.3
    for kind in ("sparse", "dense", "module"):
        found = build_pass(kind, problem, 2, 2, "relu", (1,), 2)(parameters)
        exact = direct_measures(net, [p[0] for p in parameters], problem, None, 0)
        assert exact["zeros"] > 5
        np.testing.assert_allclose(found.radius_plus[0], exact["radius_plus"], atol=1e-6)
        np.testing.assert_allclose(found.distance[0], exact["distance"], atol=1e-6)
        assert np.isfinite(found.radius_minus).all()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_networks_do_not_depend_on_their_neighbours_or_on_threads(activation):
    images, labels = make_images(1, samples=200)
    net = fully_connected(images.shape[1], depth=3, width=6, activation=activation)
    names = list(range(11))
    parameters = stacked_parameters(
        net, names, root=0, stream="t", scheme="uniform", variance=None, dtype=torch.float32
    )

    def measure(chosen, threads):
        problem = make_problem(images, labels, None, None, None, len(chosen))
        architecture = Architecture(images.shape[1], 3, 6, activation, (1, 2))
        own = [p[chosen].contiguous() for p in parameters]
        gradients = [torch.zeros_like(p) for p in own]
        return SparsePass(problem, architecture, len(chosen), threads)(own, gradients), gradients

    together, gradients = measure(names, 2)
    alone, own = measure([10], 1)
    np.testing.assert_array_equal(together.radius_plus[10], alone.radius_plus[0])
    np.testing.assert_array_equal(together.loss[10], alone.loss[0])
    for many, one in zip(gradients, own, strict=True):
        np.testing.assert_array_equal(many[10].numpy(), one[0].numpy())


def imported_constants(path: Path) -> set[str]:
    """Modules of ours from which a file takes constants, by their last name."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        ours = isinstance(node, ast.ImportFrom) and str(node.module).startswith("pipeline.")
        if ours and any(alias.name.isupper() for alias in node.names):
            found.add(str(node.module).rpartition(".")[2])
    return found - {"kernel_cache"}


def test_the_kernel_cache_knows_where_constants_come_from():
    root = Path(pipeline.__file__).parent
    files = {path.stem: path for path in root.rglob("*.py") if path.stem != "__init__"}
    checked = 0
    for path in root.rglob("*.py"):
        listed = re.search(r"^compiled = compiler\(([^)]*)\)", path.read_text(), re.MULTILINE)
        if listed is None:
            continue
        modules = set(re.findall(r"(\w+)\.__file__", listed[1]))
        wanted = set().union(*(imported_constants(files[name]) for name in (path.stem, *modules)))
        assert wanted - {path.stem} <= modules, path
        checked += 1
    assert checked == 9


def test_the_kernel_cache_follows_the_content_of_its_files(tmp_path, monkeypatch):
    from pipeline.kernel_cache import cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, two = tmp_path / "one.py", tmp_path / "two.py"
    one.write_text("a")
    two.write_text("b")
    before = cache_folder(str(one), str(two))
    assert before == cache_folder(str(one), str(two))
    two.write_text("c")
    assert before != cache_folder(str(one), str(two))
    assert cache_folder(str(one)) != cache_folder(str(one), fastmath={"contract"})
    assert before.parent == tmp_path / "manifold-trajectories"
