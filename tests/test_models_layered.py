"""Networks with named layers: numbers as in the paper, taps after nonlinearities, owned parameters."""

import pytest
import torch

from pipeline.errors import TrainingError
from pipeline.models.layered import record_layers
from pipeline.models.memorization import alexnet, feed_forward, resnet18, vgg16

NETWORKS = {
    "feed_forward": (feed_forward, (1024,), 100),
    "alexnet": (alexnet, (3, 32, 32), 100),
    "vgg16": (vgg16, (3, 32, 32), 100),
    "resnet18": (resnet18, (3, 32, 32), 100),
    "resnet18_large": (resnet18, (3, 64, 64), 200),
}


def built(name, width=0.125):
    builder, shape, outputs = NETWORKS[name]
    torch.manual_seed(0)
    network = builder(shape, outputs, width=width)
    return network, torch.randn(4, *shape)


def test_layers_are_numbered_as_in_the_paper():
    """VGG-16: the last convolution is layer 17, the linear layers are 19 to 21."""
    names = list(built("vgg16")[0].layers)
    assert names[16] == "conv17"
    assert names[18:] == ["linear19", "linear20", "linear21"]
    assert [name for name in names if name.startswith("pool")] == [
        "pool3",
        "pool6",
        "pool10",
        "pool14",
        "pool18",
    ]
    names = list(built("alexnet")[0].layers)
    assert names == [
        "conv1",
        "pool2",
        "conv3",
        "pool4",
        "conv5",
        "conv6",
        "conv7",
        "pool8",
        "linear9",
    ]
    assert list(built("feed_forward")[0].layers) == [f"linear{n}" for n in range(1, 7)]
    assert list(built("resnet18")[0].layers)[-3:] == ["conv17", "pool18", "linear19"]
    assert list(built("resnet18_large")[0].layers)[:3] == ["conv1", "pool2", "conv3"]


@pytest.mark.parametrize(
    ("name", "millions"),
    [("feed_forward", 5.35), ("alexnet", 4.34), ("vgg16", 34.0), ("resnet18", 11.2)],
)
def test_numbers_of_parameters_at_full_width(name, millions):
    network, _ = built(name, width=1.0)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(millions, rel=0.01)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_layers_are_recorded_after_their_nonlinearity(name):
    network, x = built(name)
    network.eval()
    logits, found = record_layers(network, x, network.layers)
    assert list(logits.shape) == [4, NETWORKS[name][2]]
    assert set(found) == set(network.layers)
    torch.testing.assert_close(logits, network(x))
    *hidden, last = network.layers
    torch.testing.assert_close(found[last], logits)
    for layer in hidden:
        assert found[layer].shape[0] == 4
        assert found[layer].ndim == 2
        assert found[layer].min() >= 0
    assert not any(module._forward_hooks for module in network.modules())


def test_a_block_is_recorded_after_its_shortcut_was_added():
    network, x = built("resnet18")
    network.eval()
    _, found = record_layers(network, x, ["conv1", "conv2", "conv3"])
    block = network.body.get_submodule("stage1block1")
    stem = network.body.get_submodule("stem")(x)
    torch.testing.assert_close(found["conv3"], block(stem).flatten(1))
    torch.testing.assert_close(found["conv2"], block.norm1(block.conv1(stem)).relu().flatten(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_each_parameter_belongs_to_at_most_one_layer(name):
    network, _ = built(name)
    owned = [key for layer in network.layers for key in network.own_keys(layer)]
    assert len(owned) == len(set(owned))
    others = set(network.state_dict()) - set(owned)
    assert all(".shortcut." in key for key in others)
    assert ("resnet" in name) == bool(others)
    assert network.weight_layers() == [n for n in network.layers if not n.startswith("pool")]
    assert not any(network.own_keys(n) for n in network.layers if n.startswith("pool"))


def test_names_that_begin_alike_are_told_apart():
    network, _ = built("vgg16")
    assert all(key.startswith("body.conv1.") for key in network.own_keys("conv1"))
    assert (
        len(network.own_keys("conv1")) == 6
    )  # weight; weight, bias, mean, variance, count of the normalisation


@pytest.mark.parametrize("name", NETWORKS)
def test_the_width_multiplier_scales_all_hidden_layers(name):
    full, x = built(name, width=0.5)
    half, _ = built(name, width=0.25)
    for layer in list(full.layers)[:-1]:
        _, one = record_layers(full, x, [layer])
        _, other = record_layers(half, x, [layer])
        assert one[layer].shape[1] == 2 * other[layer].shape[1]


@pytest.mark.parametrize(
    ("builder", "shape", "width", "message"),
    [
        (feed_forward, (3, 32, 32), 1.0, "features"),
        (alexnet, (1024,), 1.0, "32 x 32 images"),
        (vgg16, (3, 64, 64), 1.0, "32 x 32 images"),
        (resnet18, (3, 28, 28), 1.0, "32 x 32 images"),
        (alexnet, (3, 32, 32), 0.0, "width multiplier"),
        (vgg16, (3, 32, 32), float("nan"), "width multiplier"),
    ],
)
def test_what_a_network_is_not_made_for_is_refused(builder, shape, width, message):
    with pytest.raises(TrainingError, match=message):
        builder(shape, 10, width=width)


def test_an_unknown_layer_is_refused_with_the_names_there_are():
    network, x = built("alexnet")
    with pytest.raises(TrainingError, match="conv1, pool2"):
        record_layers(network, x, ["conv2"])
