"""The parts of the gradient: their sum is autograd's gradient, and each is what the formula says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_up_classifiers import CLASSES, FEATURES, SIDE, convolution, residual
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from pipeline.analysis.gradient_parts import (
    PARTS,
    SUMS,
    gradient_parts,
    layer_norms,
    parameter_names,
)
from pipeline.errors import GeometryError
from pipeline.models.layered import LayeredNetwork
from pipeline.models.memorization import feed_forward

SAMPLES, BATCH = 50, 16
FEW = 20  # where every sample is differentiated by itself
MODES = ("train", "eval")
Samples = tuple[Tensor, Tensor, Tensor]


def network_of(kind: str, dtype: torch.dtype = torch.float64) -> LayeredNetwork:
    torch.manual_seed(1)
    shape = (3, SIDE, SIDE)
    if kind == "feed_forward":
        network = feed_forward((FEATURES,), CLASSES, depth=2, units=8)
    else:
        network = (convolution if kind == "convolution" else residual)(shape, CLASSES)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # running statistics that are not those of a batch
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return network.to(dtype).eval()


def samples_of(kind: str, dtype: torch.dtype = torch.float64, eps: float = 0.5) -> Samples:
    random = torch.Generator().manual_seed(2)
    shape = (FEATURES,) if kind == "feed_forward" else (3, SIDE, SIDE)
    x = torch.randn((SAMPLES, *shape), generator=random, dtype=torch.float64)
    labels = torch.randint(CLASSES, (SAMPLES,), generator=random)
    permuted = torch.randperm(SAMPLES, generator=random) < round(eps * SAMPLES)
    return x.to(dtype), labels, permuted


def reference(network: LayeredNetwork, data: Samples, mode: str, size: int) -> dict[str, Tensor]:
    """Autograd's gradient of the mean cross-entropy, batch by batch, without dropout."""
    x, labels, _ = data
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train(mode == "train")
    network.zero_grad()
    for rows in torch.arange(len(x)).split(size):
        (cross_entropy(network(x[rows]), labels[rows], reduction="sum") / len(x)).backward()
    return {name: one.grad for name, one in network.named_parameters() if one.grad is not None}


def gap(found: Tensor, wanted: Tensor) -> float:
    scale = wanted.double().norm().clamp(min=1e-300)
    return float((found.double() - wanted.double()).norm() / scale)


@pytest.mark.parametrize("kind", ["feed_forward", "convolution", "residual"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("biases", [False, True])
def test_all_parts_add_up_to_the_gradient(
    kind: str, mode: str, dtype: torch.dtype, limit: float, biases: bool
) -> None:
    network, data = network_of(kind, dtype), samples_of(kind, dtype)
    parts = gradient_parts(network, *data, batch_size=BATCH, batch_norm=mode, biases=biases)
    wanted = reference(network_of(kind), samples_of(kind), mode, BATCH)
    names = parameter_names(network, biases)
    assert list(parts["dep_permuted"]) == [name for own in names.values() for name in own]
    for name in parts["dep_permuted"]:
        whole = sum(parts[part][name] for part in PARTS)
        assert gap(whole, wanted[name]) < limit, name


@pytest.mark.parametrize("kind", ["feed_forward", "residual"])
def test_parts_are_those_of_the_formula(kind: str) -> None:
    """Every g_c(x) by itself, then Eq. 15 as it is written."""
    network = network_of(kind)
    x, labels, permuted = (values[:FEW] for values in samples_of(kind))
    names = [name for own in parameter_names(network).values() for name in own]
    weights = [dict(network.named_parameters())[name] for name in names]
    logits = network(x)
    model = torch.softmax(logits, 1).detach()
    jacobian = torch.stack(
        [
            torch.cat(
                [
                    one.flatten()
                    for one in torch.autograd.grad(logits[i, c], weights, retain_graph=True)
                ]
            )
            for i in range(FEW)
            for c in range(CLASSES)
        ]
    ).reshape(FEW, CLASSES, -1)
    deviation = jacobian - jacobian.mean(dim=(0, 1))
    dep = -deviation[torch.arange(FEW), labels] / FEW
    ind = (model[..., None] * deviation).sum(dim=1) / FEW
    parts = gradient_parts(network, x, labels, permuted, batch_size=BATCH, batch_norm="eval")
    for part, own in (("dep", dep), ("ind", ind)):
        for subset, rows in (("unpermuted", ~permuted), ("permuted", permuted)):
            found = torch.cat([parts[f"{part}_{subset}"][name].flatten() for name in names])
            assert gap(found, own[rows].sum(dim=0)) < 1e-11


def test_last_layer_of_balanced_classes_is_the_closed_form() -> None:
    """Eq. 2 holds for the read-out where the classes are balanced; Eq. 15 always."""
    network, (x, _, permuted) = network_of("feed_forward"), samples_of("feed_forward")
    x, permuted = x[:48], permuted[:48]
    phi = network.body[1](network.body[0](x)).detach()
    name = "body.linear3.weight"

    def found_and_closed(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = gradient_parts(network, x, labels, permuted, batch_size=BATCH)
        told = torch.nn.functional.one_hot(labels, CLASSES).double()
        closed = -told.T @ (phi - phi.mean(dim=0)) / len(x)
        ours = -(told.T @ phi / len(x) - phi.mean(dim=0) / CLASSES)  # Eq. 15
        return parts["dep_unpermuted"][name] + parts["dep_permuted"][name], closed, ours

    found, closed, ours = found_and_closed(torch.arange(48) % CLASSES)
    assert gap(found, closed) < 1e-12
    assert gap(found, ours) < 1e-12
    found, closed, ours = found_and_closed((torch.arange(48) % 7).clamp(max=CLASSES - 1))
    assert gap(found, closed) > 1e-2
    assert gap(found, ours) < 1e-12


def test_a_uniform_model_has_no_independent_part() -> None:
    network, data = network_of("convolution"), samples_of("convolution")
    nn.init.zeros_(network.body.linear5.weight)
    nn.init.zeros_(network.body.linear5.bias)
    parts = gradient_parts(network, *data, batch_size=BATCH)
    norms = layer_norms(parts, network)
    assert norms["ind"].max() < 1e-15
    assert norms["dep"][-1] > 1e-2
    np.testing.assert_allclose(norms["total"], norms["dep"], atol=1e-15)


def test_the_dependent_part_does_not_depend_on_the_outputs() -> None:
    """Equal shifts of single logits change P_M and nothing else."""
    network, data = network_of("feed_forward"), samples_of("feed_forward")
    before = gradient_parts(network, *data)
    network.body.linear3.bias.data += torch.linspace(-2, 2, CLASSES)
    after = gradient_parts(network, *data)
    for part in PARTS:
        same = all(torch.equal(before[part][name], after[part][name]) for name in before[part])
        assert same == part.startswith("dep")


@pytest.mark.parametrize("mode", MODES)
def test_order_and_batches_do_not_matter_without_batch_statistics(mode: str) -> None:
    kind = "convolution" if mode == "eval" else "feed_forward"
    network, data = network_of(kind), samples_of(kind)
    order = torch.randperm(SAMPLES, generator=torch.Generator().manual_seed(0))
    first = gradient_parts(network, *data, batch_size=BATCH, batch_norm=mode)
    shuffled = [values[order] for values in data]
    second = gradient_parts(network, *shuffled, batch_size=7, batch_norm=mode)
    for part in PARTS:
        for name in first[part]:
            assert gap(second[part][name], first[part][name]) < 1e-12


def test_batch_statistics_depend_on_the_batch_and_leave_the_network_as_it_was() -> None:
    network, data = network_of("convolution"), samples_of("convolution")
    network.body.linear4.train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    train = layer_norms(gradient_parts(network, *data, batch_size=BATCH), network)
    other = layer_norms(gradient_parts(network, *data, batch_size=25), network)
    still = layer_norms(gradient_parts(network, *data, batch_norm="eval"), network)
    assert abs(train["total"] - other["total"]).min() > 1e-6
    assert abs(train["total"] - still["total"]).min() > 1e-6
    assert [module.training for module in network.modules()] == modes
    assert all(module.track_running_stats for module in network.modules() if hasattr(module, "eps"))
    for key, value in network.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("kind", ["feed_forward", "convolution"])
@pytest.mark.parametrize(("eps", "empty"), [(0.0, "permuted"), (1.0, "unpermuted")])
def test_an_empty_subset_has_parts_of_zero(kind: str, eps: float, empty: str) -> None:
    network, data = network_of(kind), samples_of(kind, eps=eps)
    parts = gradient_parts(network, *data, batch_size=BATCH)
    norms = layer_norms(parts, network)
    assert not norms[empty].any()
    assert not norms[f"dep_{empty}"].any()
    wanted = reference(network_of(kind), data, "train", BATCH)
    for name in parts["dep_permuted"]:
        assert gap(sum(parts[part][name] for part in PARTS), wanted[name]) < 1e-10
    share = layer_norms(parts, network, permuted_share=eps)
    assert np.isnan(share[empty]).all()
    np.testing.assert_array_equal(share["total"], norms["total"])


def test_norms_of_a_subset_s_own_mean_are_divided_by_its_share() -> None:
    network, data = network_of("feed_forward"), samples_of("feed_forward", eps=0.2)
    parts = gradient_parts(network, *data)
    whole, own = (layer_norms(parts, network, permuted_share=share) for share in (None, 0.2))
    for part in ("dep_permuted", "ind_permuted", "permuted"):
        np.testing.assert_allclose(own[part], whole[part] / 0.2)
    for part in ("dep_unpermuted", "ind_unpermuted", "unpermuted"):
        np.testing.assert_allclose(own[part], whole[part] / 0.8)
    for part in ("dep", "ind", "total"):
        np.testing.assert_array_equal(own[part], whole[part])


def test_norms_are_those_of_the_parameters_of_each_layer() -> None:
    network, data = network_of("residual"), samples_of("residual")
    parts = gradient_parts(network, *data, biases=True)
    norms = layer_norms(parts, network, biases=True)
    assert set(norms) == {*PARTS, *SUMS}
    layers = network.weight_layers()
    for part, members in (("dep_permuted", ("dep_permuted",)), ("total", PARTS)):
        for row in (0, 3, len(layers) - 1):
            own = parameter_names(network, biases=True)[layers[row]]
            values = torch.cat([sum(parts[m][name] for m in members).flatten() for name in own])
            np.testing.assert_allclose(norms[part][row], float(values.norm()), rtol=1e-12)
    assert len(parameter_names(network, biases=True)["conv1"]) == 3
    assert parameter_names(network)["conv1"] == ["body.stem.0.weight"]


def test_many_batches_lose_no_digits() -> None:
    """The sums over batches are held in float64: 1 + 1e-8 + 1e-8 + ... is not 1."""
    network = feed_forward((1,), 2, depth=1, units=1)
    for value in network.parameters():
        nn.init.constant_(value, 0.5)
    x = torch.full((2001, 1), 1e-4)
    x[0] = 1e4
    labels = torch.zeros(2001, dtype=torch.int64)
    permuted = torch.zeros(2001, dtype=torch.bool)
    single = gradient_parts(network, x, labels, permuted, batch_size=1)
    exact = gradient_parts(network.double(), x.double(), labels, permuted)
    for part in ("dep_unpermuted", "ind_unpermuted"):
        for name in exact[part]:
            assert gap(single[part][name], exact[part][name]) < 1e-6


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"labels": torch.full((SAMPLES,), CLASSES)}, "valid are 0 to 3"),
        ({"labels": torch.full((SAMPLES,), -1)}, "from 0 on"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, "are needed"),
        ({"permuted": torch.zeros(SAMPLES)}, "are needed"),
        ({"x": torch.full((SAMPLES, FEATURES), float("nan"), dtype=torch.float64)}, "not finite"),
        ({"batch_norm": "none"}, "train or eval"),
        ({"batch_size": 0}, "from 1 on"),
    ],
)
def test_what_cannot_be_differentiated_is_said(change: dict[str, object], text: str) -> None:
    names = ("x", "labels", "permuted")
    given = dict(zip(names, samples_of("feed_forward"), strict=True)) | change
    with pytest.raises(GeometryError, match=text):
        gradient_parts(network_of("feed_forward"), **given)


def test_a_last_batch_of_one_sample_has_no_statistics() -> None:
    network, data = network_of("convolution"), samples_of("convolution")
    with pytest.raises(GeometryError, match="batch of one sample"):
        gradient_parts(network, *data, batch_size=49)
    gradient_parts(network, *data, batch_size=49, batch_norm="eval")


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["feed_forward", "residual"])
def test_a_cuda_device_gives_the_same_parts(kind: str) -> None:
    network, data = network_of(kind), samples_of(kind)
    here = gradient_parts(network, *data, batch_size=BATCH)
    there = gradient_parts(network.cuda(), *(values.cuda() for values in data), batch_size=BATCH)
    for part in PARTS:
        for name in here[part]:
            assert gap(there[part][name].cpu(), here[part][name]) < 1e-9
