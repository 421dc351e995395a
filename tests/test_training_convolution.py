"""Convolutional ensembles: against single torch.nn networks, automatic differentiation, limits."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from training_helpers import direct_measures, make_images, plain_training, set_parameters

from pipeline.errors import TrainingError
from pipeline.models.convolutional import convolutional
from pipeline.models.fully_connected import fully_connected
from pipeline.models.initialise import initial_parameters, stacked_parameters
from pipeline.seeds import generator
from pipeline.training.convolution_pass import ConvolutionPass, Windows
from pipeline.training.dense_pass import DensePass
from pipeline.training.ensemble import train_ensemble
from pipeline.training.group import Engine
from pipeline.training.problem import Architecture, make_problem
from pipeline.training.settings import Settings

NAMES = ("loss", "train_error", "radius_plus", "radius_minus", "distance")
SIDE = 9


def images_and_labels(seed=7, samples=200, centred=False):
    """Sparse square images; ``centred``: only the middle is ever lit, as in images of digits."""
    images, labels = make_images(seed, samples=samples, features=SIDE * SIDE)
    if centred:
        middle = np.zeros((SIDE, SIDE), bool)
        middle[2:7, 3:6] = True
        images[:, ~middle.ravel()] = 0
    return images, labels


def own_network(kernel):
    """The same network as one's own, which goes through automatic differentiation."""

    def build(features, **keys):
        return convolutional(features, kernel=kernel, **keys)

    return build


def start_of(seeds, kernel, width, dtype=torch.float64, scheme="uniform", activation="tanh"):
    net = convolutional(SIDE * SIDE, depth=2, width=width, activation=activation, kernel=kernel)
    keys = {"root": 0, "stream": "t", "scheme": scheme, "variance": None, "dtype": dtype}
    return net, stacked_parameters(net, list(range(seeds)), **keys)


@pytest.mark.parametrize("kernel", [1, 4, 7, SIDE])
@pytest.mark.parametrize(
    ("precision", "atol"), [("float64", 1e-5), ("float32", 1e-4)], ids=["float64", "float32"]
)
def test_an_ensemble_equals_networks_alone(kernel, precision, atol):
    images, labels = images_and_labels()
    ensemble = train_ensemble(
        images,
        labels,
        seeds=[0, 3],
        width=3,
        epochs=60,
        network=convolutional,
        kernel=kernel,
        precision=precision,
    )
    assert ensemble.attrs["engine"] == ("sparse" if precision == "float32" else "dense")
    net = convolutional(SIDE * SIDE, depth=2, width=3, activation="tanh", kernel=kernel)
    net = net.to(getattr(torch, precision))
    set_parameters(net, initial_parameters(net, generator(0, "ensemble", 3, "init")))
    reference = plain_training(net, images, labels, torch.optim.SGD(net.parameters(), lr=0.2), 60)
    for quantity, expected in zip(NAMES, reference, strict=True):
        found = ensemble[quantity].sel(seed=3).values
        limit = 2 / len(labels) if quantity == "train_error" else atol
        np.testing.assert_allclose(found, expected, atol=limit, err_msg=quantity)
    # Otherwise the comparison would be of networks that learnt nothing.
    assert (ensemble.loss[:, -1] < 0.8 * ensemble.loss[:, 0]).all()


CASES = [("tanh", 3, 5), ("relu", 4, 1), ("leaky_relu", 8, 4), ("silu", 2, 3), ("identity", 7, 2)]


@pytest.mark.parametrize("kind", ["lanes", "dense"])
@pytest.mark.parametrize("centred", [False, True], ids=["all lit", "centre lit"])
@pytest.mark.parametrize(("activation", "kernel", "width"), CASES)
def test_a_pass_equals_one_network_by_the_definitions(kind, centred, activation, kernel, width):
    networks = 9  # more than one group of lanes, the last one incomplete
    images, labels = images_and_labels(3, 301, centred)
    test_images, test_labels = images_and_labels(4, 77, centred)
    rng = np.random.default_rng(5)
    weight = (rng.random((networks, 301)) < 0.8).astype(np.float32)
    problem = make_problem(images, labels, test_images, test_labels, weight, networks)
    dtype = torch.float32 if kind == "lanes" else torch.float64
    net, parameters = start_of(networks, kernel, width, dtype, "he", activation)
    gradients = [torch.full_like(p, float("nan")) for p in parameters]
    architecture = Architecture(SIDE * SIDE, 2, width, activation, (1,), kernel)
    if kind == "lanes":
        measure = ConvolutionPass(problem, architecture, networks, threads=2)
    else:
        measure = DensePass(
            problem, architecture, networks, device="cpu", precision="float64", compiled=False
        )
    found, without = measure(parameters, gradients), measure(parameters, with_test=False)
    assert np.isnan(without.test_error).all()
    atol = 2e-5 if kind == "lanes" else 1e-11
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
            np.testing.assert_allclose(gradient[r].numpy(), reference, atol=atol * scale)


@pytest.mark.parametrize("extra", [{}, {"optimizer": "sgd", "learning_rate": 0.05}])
def test_it_trains_as_through_automatic_differentiation(extra):
    images, labels = images_and_labels()
    keys = {"seeds": 3, "width": 4, "epochs": 8, "precision": "float64", "final_weights": True}
    keys |= {"test_images": images[:50], "test_labels": labels[:50]} | extra
    fast = train_ensemble(images, labels, network=convolutional, kernel=3, **keys)
    slow = train_ensemble(images, labels, network=own_network(3), **keys)
    assert (fast.attrs["engine"], slow.attrs["engine"]) == ("dense", "module")
    for quantity in (*NAMES, "test_error"):
        np.testing.assert_allclose(fast[quantity], slow[quantity], atol=1e-9)
    np.testing.assert_allclose(fast.final_weights, slow.final_weights, atol=1e-6)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_kernel_as_large_as_the_image_is_fully_connected(precision):
    images, labels = images_and_labels()
    _, start = start_of(3, SIDE, 6)
    flat = [start[0].flatten(2), *start[1:]]
    keys = {"seeds": 3, "width": 6, "epochs": 30, "precision": precision}
    one = train_ensemble(
        images,
        labels,
        network=convolutional,
        kernel=SIDE,
        parameters=[p.numpy() for p in start],
        **keys,
    )
    other = train_ensemble(
        images,
        labels,
        network=fully_connected,
        parameters=[p.numpy() for p in flat],
        **keys,
    )
    assert one.attrs["engine"] == other.attrs["engine"]
    for quantity in NAMES:
        np.testing.assert_array_equal(one[quantity], other[quantity])


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_zero_weights_are_a_pruned_training_set(precision):
    images, labels = images_and_labels(centred=True)
    weight = (np.random.default_rng(0).random((3, len(labels))) < 0.7).astype(np.float32)
    keys = {"network": convolutional, "kernel": 3, "width": 4, "epochs": 30}
    keys["precision"] = precision
    pruned = train_ensemble(images, labels, seeds=3, sample_weight=weight, **keys)
    kept = weight[2] > 0
    direct = train_ensemble(images[kept], labels[kept], seeds=[2], **keys)
    atol = 1e-9 if precision == "float64" else 2e-6
    for quantity in NAMES:
        expected = direct[quantity].sel(seed=2)
        np.testing.assert_allclose(pruned[quantity].sel(seed=2), expected, atol=atol)


def test_a_network_does_not_depend_on_its_neighbours_or_on_threads():
    images, labels = images_and_labels(centred=True)
    keys = {"network": convolutional, "kernel": 4, "width": 3, "epochs": 10}
    many = train_ensemble(images, labels, seeds=11, ensemble_size=10, threads=2, **keys)
    one = train_ensemble(images, labels, seeds=[9], **keys)
    for quantity in NAMES:
        np.testing.assert_array_equal(many[quantity].sel(seed=9), one[quantity].sel(seed=9))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_diverged_network_is_recorded_and_the_others_go_on(precision):
    images, labels = images_and_labels()
    _, start = start_of(3, 4, 3, getattr(torch, precision), activation="relu")
    keys = {"seeds": 3, "network": convolutional, "kernel": 4, "width": 3, "activation": "relu"}
    keys |= {"epochs": 10, "precision": precision, "final_weights": True}
    sound = train_ensemble(images, labels, parameters=[p.numpy() for p in start], **keys)
    broken = [p.clone() for p in start]
    for p in broken:
        p[1] *= 1e30 if precision == "float32" else 1e200
    found = train_ensemble(images, labels, parameters=[p.numpy() for p in broken], **keys)
    assert 0 <= int(found.failed_epoch[1]) <= 10
    assert list(found.failed_epoch.values[[0, 2]]) == [-1, -1]
    assert np.isnan(found.final_weights[1]).all()
    for quantity in (*NAMES, "final_weights"):
        np.testing.assert_array_equal(found[quantity][[0, 2]], sound[quantity][[0, 2]])


def test_dense_images_and_bf16_take_the_dense_pass():
    images, labels = images_and_labels()
    noise = np.random.default_rng(0).standard_normal(images.shape).astype(np.float32)
    keys = {"network": convolutional, "kernel": 4, "width": 3, "epochs": 20, "compile": False}
    dense = train_ensemble(images + 0.1 * noise, labels, seeds=2, **keys)
    rounded = train_ensemble(images, labels, seeds=2, precision="bf16", **keys)
    exact = train_ensemble(images, labels, seeds=2, **keys)
    assert [d.attrs["engine"] for d in (dense, rounded, exact)] == ["dense", "dense", "sparse"]
    assert 0 < float(np.abs(exact.radius_plus - rounded.radius_plus).max()) < 0.02


@pytest.mark.parametrize("side", [5, 9, 28])
def test_windows_are_what_a_convolution_sees(side):
    image = np.arange(side * side, dtype=np.float32)
    for kernel in (1, 2, side // 2, side):
        windows = Windows(side, kernel)
        columns = nn.functional.unfold(torch.from_numpy(image).view(1, 1, side, side), kernel)
        np.testing.assert_array_equal(windows.of_image(image), columns[0].T.numpy())
        assert windows.tiles()[:, 2].sum() == windows.across**2


def test_the_hidden_layer_is_a_valid_convolution_with_the_papers_bounds():
    net = convolutional(784, depth=2, width=6, activation="tanh", kernel=4)
    values = initial_parameters(net, generator(0, "s", 0, "init"))
    assert [v.shape for v in values] == [(6, 1, 4, 4), (6,), (2, 6 * 625), (2,)]
    assert np.abs(values[0]).max() <= 1 / 4
    assert np.abs(values[0]).max() > 0.9 / 4
    assert np.abs(values[2]).max() <= 1 / math.sqrt(6 * 625)
    set_parameters(net, values)
    x = torch.randn(3, 784)
    expected = torch.tanh(
        nn.functional.conv2d(x.view(3, 1, 28, 28), net[0][1].weight, net[0][1].bias)
    )
    assert torch.equal(net[0](x), expected.flatten(1))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kernel": None}, "kernel"),
        ({"kernel": 10}, "between 1 and the image's side 9"),
        ({"kernel": 0}, "kernel"),
        ({"kernel": 2.5}, "kernel"),
        ({"depth": 3}, "depth 2"),
        ({"network": fully_connected}, "kernel goes with"),
        ({"layers": 2}, "hidden layers 1 to 1"),
        ({"test_epochs": "first"}, "all, last"),
        ({"final_weights": "yes"}, "True, False"),
    ],
)
def test_bad_settings_are_refused_in_one_sentence(change, words):
    images, labels = images_and_labels()
    keys = {"network": convolutional, "kernel": 3} | change
    with pytest.raises(TrainingError, match=words):
        train_ensemble(images, labels, **keys)


def test_images_that_are_no_square_are_refused():
    images, labels = make_images(0, features=30)
    with pytest.raises(TrainingError, match="square"):
        train_ensemble(images, labels, network=convolutional, kernel=3)


def test_the_fast_passes_are_chosen():
    images, labels = images_and_labels()
    problem = make_problem(images, labels, None, None, None, 2)
    engine = Engine(problem, Settings(network=convolutional, kernel=3, device="cpu"), 2)
    assert isinstance(engine.measure, ConvolutionPass)
    minibatch = Settings(
        network=convolutional, kernel=3, device="cpu", optimizer="sgd", batch_size=8
    )
    assert isinstance(Engine(problem, minibatch, 2).batches, DensePass)


@pytest.mark.gpu
def test_gpu_equals_cpu():
    images, labels = images_and_labels()
    keys = {"seeds": 5, "epochs": 30, "network": convolutional, "kernel": 4, "width": 3}
    keys["precision"] = "float64"
    on_cpu = train_ensemble(images, labels, device="cpu", **keys)
    on_gpu = train_ensemble(images, labels, device="cuda", **keys)
    for quantity in NAMES:
        np.testing.assert_allclose(on_cpu[quantity], on_gpu[quantity], atol=1e-6)
