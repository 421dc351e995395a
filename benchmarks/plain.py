"""The plain way: one torch.nn network at a time, measuring what the ensemble engine measures."""

import torch
import torch.nn.functional as F
from torch import nn


def network(seed: int, features: int = 784, width: int = 20) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(features, width), nn.Tanh(), nn.Linear(width, 2))


def geometry(h: torch.Tensor, y: torch.Tensor) -> tuple[float, float, float]:
    """R+, R- and D by their short formulas."""
    unit = F.normalize(h)
    plus, minus = unit[y == 1].mean(0), unit[y == 0].mean(0)
    return (
        (1 - plus.square().sum()).sqrt().item(),
        (1 - minus.square().sum()).sqrt().item(),
        (plus - minus).norm().item(),
    )


@torch.no_grad()
def measure(net, x, y, test_x, test_y):
    """Error, misclassified samples and geometry on the training set, error on the test set."""
    h = net[1](net[0](x))
    wrong = net[2](h).argmax(1) != y
    test_error = (net(test_x).argmax(1) != test_y).float().mean().item()
    return wrong.float().mean().item(), wrong, geometry(h, y), test_error


def train_as_usual(net, x, y, test_x, test_y, epochs, learning_rate=0.2):
    """A training step, then a measurement: two forward passes on the training set per epoch."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    records = []
    for _ in range(epochs):
        optimizer.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        optimizer.step()
        records.append((loss.item(), measure(net, x, y, test_x, test_y)))
    return records


def train_sharing_the_forward_pass(net, x, y, test_x, test_y, epochs, learning_rate=0.2):
    """The same with the measures taken from the forward pass of the training step."""
    optimizer = torch.optim.SGD(net.parameters(), lr=learning_rate)
    records = []
    for _ in range(epochs):
        optimizer.zero_grad()
        h = net[1](net[0](x))
        out = net[2](h)
        loss = F.cross_entropy(out, y)
        with torch.no_grad():
            wrong = out.argmax(1) != y
            test_error = (net(test_x).argmax(1) != test_y).float().mean().item()
            found = (wrong.float().mean().item(), wrong, geometry(h.detach(), y), test_error)
        loss.backward()
        optimizer.step()
        records.append((loss.item(), found))
    return records
