"""Plain torch.nn training, one network at a time: what the ensemble engine must equal."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# Small networks are slower on many threads, and much slower beside other jobs.
torch.set_num_threads(1)

ACTIVATIONS = ("tanh", "relu", "leaky_relu", "silu", "identity")


def make_images(seed, samples=200, features=30, density=0.3):
    """Standardised sparse images with class structure, float32, and labels -1, +1."""
    rng = np.random.default_rng(seed)
    labels = np.where(rng.random(samples) < 0.5, 1, -1)
    prototypes = np.random.default_rng(99).random((2, features)) < density
    pixels = prototypes[(labels + 1) // 2] ^ (rng.random((samples, features)) < 0.15)
    pixels = pixels * rng.integers(1, 256, (samples, features))
    std = pixels.std(axis=0)
    images = np.where(std > 0, (pixels - pixels.mean(axis=0)) / np.where(std > 0, std, 1), 0)
    return images.astype(np.float32), labels


def set_parameters(net: nn.Module, values) -> None:
    with torch.no_grad():
        for p, value in zip(net.parameters(), values, strict=True):
            p.copy_(torch.as_tensor(np.asarray(value)))


def direct_geometry(h, y):
    """R+, R-, D and number of zero rows by the definitions, from representations (samples, units)."""
    unit = F.normalize(h)
    plus, minus = unit[y > 0], unit[y < 0]

    def radius(m):
        return ((m[:, None] - m[None]) ** 2).sum(-1).mean().div(2).sqrt().item()

    distance = (plus.mean(0) - minus.mean(0)).norm().item()
    return radius(plus), radius(minus), distance, int((h.norm(dim=1) == 0).sum())


def direct_measures(net, values, problem, weight, network):
    """All measures and gradients of one network, in float64, by autograd and the definitions."""
    net = net.double()
    set_parameters(net, values)
    net.zero_grad()
    x = torch.from_numpy(problem.train_images).double()
    y = torch.from_numpy(problem.train_labels).double()
    w = (
        torch.ones(len(y)).double()
        if weight is None
        else torch.from_numpy(weight[network]).double()
    )
    hidden = []
    h = x
    for layer in net[:-1]:
        h = layer(h)
        hidden.append(h.detach())
    out = net[-1](h)
    target = (y > 0).long()
    loss = (F.cross_entropy(out, target, reduction="none") * w).sum() / w.sum()
    loss.backward()
    wrong = (out[:, 1] > out[:, 0]) != (y > 0)
    kept = w > 0
    geometry = [direct_geometry(h[kept], y[kept]) for h in hidden]
    result = {
        "loss": loss.item(),
        "wrong": wrong.numpy(),
        "train_error": (wrong & kept).sum().item() / kept.sum().item(),
        "radius_plus": [g[0] for g in geometry],
        "radius_minus": [g[1] for g in geometry],
        "distance": [g[2] for g in geometry],
        "zeros": geometry[0][3],
        "gradients": [p.grad.numpy().copy() for p in net.parameters()],
    }
    if problem.test_images is not None:
        out = net(torch.from_numpy(problem.test_images).double()).detach()
        missed = (out[:, 1] > out[:, 0]).numpy() != (problem.test_labels > 0)
        result["test_error"] = missed.sum() / len(missed)
    return result


def plain_training(net, images, labels, optimizer, epochs, *, batches=None, weight=None):
    """Train one torch.nn network as anyone would; returns (loss, error, R+, R-, D) per epoch.

    batches: function epoch -> list of index arrays, for minibatches; None: the full set.
    """
    dtype = next(net.parameters()).dtype
    x = torch.from_numpy(images).to(dtype)
    y = torch.from_numpy((np.asarray(labels) > 0).astype(np.int64))
    w = torch.ones(len(y), dtype=dtype) if weight is None else torch.from_numpy(weight).to(dtype)
    kept = w > 0
    records = []
    for epoch in range(epochs + 1):
        with torch.no_grad():
            h = net[0](x)
            out = net(x)
            loss = (F.cross_entropy(out, y, reduction="none") * w).sum() / w.sum()
            unit = F.normalize(h)
            plus, minus = unit[kept & (y == 1)], unit[kept & (y == 0)]
            centre = plus.mean(0), minus.mean(0)
            records.append(
                (
                    loss.item(),
                    ((out.argmax(1) != y) & kept).sum().item() / kept.sum().item(),
                    (1 - centre[0].square().sum()).sqrt().item(),
                    (1 - centre[1].square().sum()).sqrt().item(),
                    (centre[0] - centre[1]).norm().item(),
                )
            )
        if epoch == epochs:
            break
        for index in [slice(None)] if batches is None else batches(epoch):
            optimizer.zero_grad()
            losses = F.cross_entropy(net(x[index]), y[index], reduction="none")
            ((losses * w[index]).sum() / w[index].sum()).backward()
            optimizer.step()
    return np.array(records).T
