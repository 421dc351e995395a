"""Ensembles against networks trained alone, and what they record."""

import numpy as np
import pytest
import torch
from torch import nn
from training_helpers import make_images, plain_training, set_parameters

from pipeline.models.fully_connected import fully_connected
from pipeline.models.initialise import initial_parameters, stacked_parameters
from pipeline.seeds import generator
from pipeline.training.ensemble import train_ensemble
from pipeline.training.settings import Settings

NAMES = ("loss", "train_error", "radius_plus", "radius_minus", "distance")


OPTIMIZERS = {
    "gd": {"optimizer": "gd", "learning_rate": 0.2},
    "weight_decay": {"optimizer": "gd", "learning_rate": 0.2, "weight_decay": 0.05},
    # (mu, eta) = (0.9, 0.2) at depth 8 is chaotic even in float64: two plain loops that sum the samples
    # in another order are 5e-5 apart after 100 epochs.
    "momentum": {"optimizer": "gd", "learning_rate": 0.5, "momentum": 0.5},
    "adam": {"optimizer": "adam", "learning_rate": 0.005, "weight_decay": 0.01},
}


def torch_optimizer(parameters, keys):
    if keys["optimizer"] == "adam":
        return torch.optim.Adam(
            parameters, lr=keys["learning_rate"], weight_decay=keys["weight_decay"]
        )
    rest = {key: keys.get(key, 0.0) for key in ("momentum", "weight_decay")}
    return torch.optim.SGD(parameters, lr=keys["learning_rate"], **rest)


def alone(keys, depth, dtype, seed, stream="ensemble", epochs=100, batches=None, weight=None):
    """One torch.nn network from the ensemble's initial weights, trained alone."""
    images, labels = make_images(7)
    net = fully_connected(images.shape[1], depth=depth, width=10, activation="tanh").to(dtype)
    set_parameters(net, initial_parameters(net, generator(0, stream, seed, "init")))
    optimizer = torch_optimizer(net.parameters(), keys)
    return plain_training(net, images, labels, optimizer, epochs, batches=batches, weight=weight)


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("depth", [2, 4, 8])
def test_full_batch_ensemble_equals_networks_alone_in_float64(name, depth):
    images, labels = make_images(7)
    ensemble = train_ensemble(
        images,
        labels,
        seeds=[0, 3, 5],
        depth=depth,
        width=10,
        epochs=100,
        precision="float64",
        **OPTIMIZERS[name],
    )
    for seed in (0, 5):
        reference = alone(OPTIMIZERS[name], depth, torch.float64, seed)
        for quantity, expected in zip(NAMES, reference, strict=True):
            found = ensemble[quantity].sel(seed=seed).values
            np.testing.assert_allclose(found, expected, atol=1e-5, err_msg=quantity)
    # Otherwise the comparison would be of networks that learnt nothing.
    assert depth > 2 or bool((ensemble.loss[:, -1] < 0.8 * ensemble.loss[:, 0]).all())


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("depth", [2, 4])
def test_full_batch_ensemble_equals_networks_alone_in_float32(name, depth):
    images, labels = make_images(7)
    ensemble = train_ensemble(
        images, labels, seeds=[0, 3, 5], depth=depth, width=10, epochs=100, **OPTIMIZERS[name]
    )
    assert ensemble.attrs["engine"] == "sparse"
    reference = alone(OPTIMIZERS[name], depth, torch.float32, 5)
    for quantity, expected in zip(NAMES, reference, strict=True):
        atol = 2 / len(labels) if quantity == "train_error" else 1e-4
        found = ensemble[quantity].sel(seed=5).values
        np.testing.assert_allclose(found, expected, atol=atol, err_msg=quantity)


@pytest.mark.parametrize("depth", [2, 4, 8])
@pytest.mark.parametrize("size", [32, 60])  # the second does not divide the number of samples
def test_minibatch_ensemble_equals_networks_alone_in_float64(depth, size):
    images, labels = make_images(7)
    keys = {"optimizer": "sgd", "learning_rate": 0.05}

    def batches(epoch):
        order = generator(0, "ensemble", 3, "order", epoch).permutation(len(labels))
        return [order[start : start + size] for start in range(0, len(order), size)]

    ensemble = train_ensemble(
        images,
        labels,
        seeds=[0, 3],
        depth=depth,
        width=10,
        epochs=10,
        precision="float64",
        batch_size=size,
        **keys,
    )
    reference = alone(keys, depth, torch.float64, 3, epochs=10, batches=batches)
    for quantity, expected in zip(NAMES, reference, strict=True):
        np.testing.assert_allclose(ensemble[quantity].sel(seed=3).values, expected, atol=1e-5)


def test_orders_differ_between_seeds_unless_shared():
    images, labels = make_images(7)
    common = {"optimizer": "sgd", "batch_size": 32, "learning_rate": 0.05, "epochs": 3}
    network = fully_connected(30, depth=2, width=20, activation="tanh")
    start = [np.stack([v, v]) for v in initial_parameters(network, generator(0, "x", 0, "init"))]
    own = train_ensemble(images, labels, seeds=2, parameters=start, **common)
    shared = train_ensemble(images, labels, seeds=2, parameters=start, shared_order=True, **common)
    assert (own.loss[0, 1:] != own.loss[1, 1:]).all()
    np.testing.assert_array_equal(shared.loss[0], shared.loss[1])
    apart = train_ensemble(
        images, labels, seeds=2, parameters=start, shared_order=True, ensemble_size=1, **common
    )
    np.testing.assert_array_equal(shared.loss, apart.loss)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_zero_weights_are_a_pruned_training_set(precision):
    images, labels = make_images(7)
    rng = np.random.default_rng(0)
    weight = (rng.random((3, len(labels))) < 0.7).astype(np.float32)
    pruned = train_ensemble(
        images, labels, seeds=3, epochs=50, sample_weight=weight, precision=precision
    )
    kept = weight[2] > 0
    direct = train_ensemble(images[kept], labels[kept], seeds=[2], epochs=50, precision=precision)
    atol = 1e-9 if precision == "float64" else 2e-6
    for quantity in NAMES:
        expected = direct[quantity].sel(seed=2)
        np.testing.assert_allclose(pruned[quantity].sel(seed=2), expected, atol=atol)


def test_dense_images_take_the_dense_pass_and_agree_with_the_sparse_one():
    images, labels = make_images(7)
    sparse = train_ensemble(images, labels, seeds=2, epochs=30)
    # A rotation of the inputs and of the initial weights changes nothing but the sparsity.
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((30, 30)))
    network = fully_connected(30, depth=2, width=20, activation="tanh")
    start = stacked_parameters(
        network,
        [0, 1],
        root=0,
        stream="ensemble",
        scheme="uniform",
        variance=None,
        dtype=torch.float64,
    )
    start[0] = start[0] @ torch.from_numpy(rotation)
    turned = (images @ rotation).astype(np.float32)
    dense = train_ensemble(
        turned, labels, seeds=2, epochs=30, parameters=[p.numpy() for p in start]
    )
    assert (sparse.attrs["engine"], dense.attrs["engine"]) == ("sparse", "dense")
    for quantity in ("loss", "radius_plus", "radius_minus", "distance"):
        np.testing.assert_allclose(sparse[quantity], dense[quantity], atol=1e-5)


def test_bf16_follows_float32():
    images, labels = make_images(7)
    exact = train_ensemble(images, labels, seeds=4, epochs=100)
    rounded = train_ensemble(images, labels, seeds=4, epochs=100, precision="bf16", compile=False)
    assert rounded.attrs["engine"] == "dense"
    for quantity in ("radius_plus", "radius_minus", "distance"):
        difference = np.abs(exact[quantity] - rounded[quantity])
        assert 0 < float(difference.max()) < 0.02


@pytest.mark.slow
def test_compiled_equals_eager_within_rounding():
    from pipeline.hardware import compiler_available

    if not compiler_available():
        pytest.skip("no C++ compiler")
    images, labels = make_images(7)
    keys = {"seeds": 3, "epochs": 20, "precision": "bf16"}
    eager = train_ensemble(images, labels, compile=False, **keys)
    compiled = train_ensemble(images, labels, compile=True, **keys)
    assert compiled.attrs["compiled"]
    assert not eager.attrs["compiled"]
    for quantity in ("loss", "radius_plus", "distance"):
        np.testing.assert_allclose(eager[quantity], compiled[quantity], atol=1e-3)


def test_a_network_of_ones_own_is_trained_through_autograd():
    def build(features, *, depth, width, activation):
        first = nn.Sequential(nn.Linear(features, width), nn.Tanh())
        return nn.Sequential(first, nn.Linear(width, 2))

    images, labels = make_images(7)
    own = train_ensemble(images, labels, seeds=3, epochs=30, network=build, precision="float64")
    built_in = train_ensemble(images, labels, seeds=3, epochs=30, precision="float64")
    assert own.attrs["engine"] == "module"
    for quantity in NAMES:
        np.testing.assert_allclose(own[quantity], built_in[quantity], atol=1e-9)


def test_same_seed_same_bits_whatever_the_ensemble():
    images, labels = make_images(7)
    many = train_ensemble(images, labels, seeds=11, epochs=20, ensemble_size=4, threads=2)
    one = train_ensemble(images, labels, seeds=[9], epochs=20)
    for quantity in NAMES:
        np.testing.assert_array_equal(many[quantity].sel(seed=9), one[quantity].sel(seed=9))


def test_checkpoints_hold_what_the_measures_were_computed_from():
    images, labels = make_images(7)
    found = train_ensemble(
        images,
        labels,
        seeds=3,
        epochs=20,
        depth=3,
        layers=[1, 2],
        checkpoints=[0, 20],
        stored_seeds=2,
    )
    assert found.activations_2.dims == ("checkpoint", "stored_seed", "sample", "unit_2")
    wrong = (found.predictions.values > 0) != (labels > 0)
    errors = found.train_error.sel(seed=[0, 1], epoch=[0, 20]).values.T
    np.testing.assert_allclose(wrong.mean(axis=2), errors)
    h = torch.from_numpy(found.activations_2.values[1, 1]).double()
    unit = torch.nn.functional.normalize(h)[torch.from_numpy(labels > 0)]
    radius = (1 - unit.mean(0).square().sum()).sqrt().item()
    assert abs(radius - float(found.radius_plus.sel(seed=1, epoch=20, layer=2))) < 1e-6


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("extra", [{}, {"optimizer": "sgd"}, {"depth": 4, "layers": [1, 3]}])
def test_test_epochs_last_changes_nothing_but_the_epochs_left_out(precision, extra):
    images, labels = make_images(7)
    test_images, test_labels = make_images(8, samples=77)
    keys = {"test_images": test_images, "test_labels": test_labels, "seeds": 3, "epochs": 5}
    keys |= {"precision": precision} | extra
    every = train_ensemble(images, labels, **keys)
    last = train_ensemble(images, labels, test_epochs="last", **keys)
    assert np.isnan(last.test_error[:, :-1]).all()
    np.testing.assert_array_equal(last.test_error[:, -1], every.test_error[:, -1])
    for quantity in NAMES:
        np.testing.assert_array_equal(last[quantity], every[quantity])


def test_final_weights_are_those_of_the_last_checkpoint():
    images, labels = make_images(7)
    keys = {"seeds": 5, "depth": 3, "epochs": 6, "ensemble_size": 2, "final_weights": True}
    found = train_ensemble(images, labels, checkpoints=[6], **keys)
    assert found.final_weights.dims == ("seed", "parameter")
    np.testing.assert_array_equal(found.final_weights, found.weights[0])
    network = fully_connected(30, depth=3, width=20, activation="tanh")
    nn.utils.vector_to_parameters(
        torch.from_numpy(found.final_weights.values[4]), network.parameters()
    )
    outputs = network(torch.from_numpy(images)).argmax(1).numpy() * 2 - 1
    assert (outputs != labels).mean() == pytest.approx(float(found.train_error[4, -1]))


def test_misclassified_bits_give_the_training_error():
    images, labels = make_images(7)
    found = train_ensemble(images, labels, seeds=3, epochs=5)
    bits = np.unpackbits(found.misclassified.values, axis=-1, count=len(labels))
    np.testing.assert_allclose(bits.mean(axis=-1), found.train_error)


@pytest.mark.gpu
def test_gpu_equals_cpu():
    images, labels = make_images(7)
    keys = {"seeds": 5, "epochs": 50, "depth": 3, "precision": "float64"}
    on_cpu = train_ensemble(images, labels, device="cpu", **keys)
    on_gpu = train_ensemble(images, labels, device="cuda", **keys)
    for quantity in NAMES:
        np.testing.assert_allclose(on_cpu[quantity], on_gpu[quantity], atol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_are_torchs_own_step_by_step(name):
    rng = np.random.default_rng(0)
    keys = OPTIMIZERS[name]
    ours = [torch.from_numpy(rng.standard_normal((3, 4))).requires_grad_() for _ in range(2)]
    theirs = [p.detach().clone().requires_grad_() for p in ours]
    settings = Settings(**keys)
    optimizer, reference = settings.build_optimizer(ours), torch_optimizer(theirs, keys)
    for step in range(6):
        if step == 3:  # continue from a saved state
            saved = {k: [t.clone() for t in v] for k, v in optimizer.state_dict().items()}
            optimizer = settings.build_optimizer(ours)
            optimizer.load_state_dict(saved)
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.from_numpy(rng.standard_normal((3, 4)))
            q.grad = p.grad.clone()
        optimizer.step()
        reference.step()
        for p, q in zip(ours, theirs, strict=True):
            assert torch.equal(p, q)


def test_a_training_job_does_not_import_torchs_compiler():
    import subprocess
    import sys

    code = (
        "import sys, numpy as np\n"
        "from pipeline.training.ensemble import train_ensemble\n"
        "x = np.eye(6, dtype=np.float32)\n"
        "for name in ('gd', 'adam'):\n"
        "    train_ensemble(x, [1, -1] * 3, seeds=1, epochs=1, optimizer=name)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
