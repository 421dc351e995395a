"""Milliseconds per network and epoch of convolutional ensembles, side by side with the plain way.

    python benchmarks/convolution.py [--kernels 4 24] [--channels 8] [--rounds 3]

Networks of one convolution (k x k, no padding) and a read-out train on 8192 images of 28 x 28 pixels, full
batch, on one thread. An epoch is the gradient step with error, misclassified samples, R+, R- and D of the
training set. The images are the first of MNIST if data/ holds them, else made up with as many lit pixels.
"""

import argparse
import statistics
import time

import numpy as np
import torch
import torch.nn.functional as F
from plain import geometry
from training import ROOT

from pipeline.data.datasets import load
from pipeline.data.preprocessing import standardise
from pipeline.errors import PipelineError
from pipeline.hardware import compute_threads
from pipeline.models.convolutional import convolutional
from pipeline.models.initialise import stacked_parameters
from pipeline.training.convolution_pass import ConvolutionPass
from pipeline.training.dense_pass import DensePass
from pipeline.training.module_pass import ModulePass
from pipeline.training.problem import Architecture, make_problem
from pipeline.training.settings import Settings

SAMPLES, SIDE, NETWORKS = 8192, 28, 8


def made_up_images():
    """Bright strokes in the middle: half of the 20 x 20 middle pixels of each image are lit."""
    rng = np.random.default_rng(0)
    images = np.zeros((SAMPLES, SIDE, SIDE))
    coarse = rng.random((SAMPLES, 10, 10)) < 0.35
    images[:, 4:24, 4:24] = np.kron(coarse, np.ones((2, 2))) * rng.integers(1, 256, (20, 20))
    return images.reshape(SAMPLES, -1), rng.integers(0, 2, SAMPLES) * 2 - 1


def training_set():
    try:
        data = load("mnist", ROOT / "data")
    except (PipelineError, OSError):
        images, labels = made_up_images()
        return standardise(images)[0].astype(np.float32), labels, "made-up images"
    images = data.train_images[:SAMPLES].reshape(SAMPLES, -1)
    labels = 1 - 2 * (data.train_labels[:SAMPLES].astype(int) % 2)
    return standardise(images)[0].astype(np.float32), labels, "MNIST"


def stepper(measure, settings, networks):
    """A function that times full epochs (measures, gradient, update) of one pass."""
    keys = {"root": 0, "stream": "benchmark", "scheme": "uniform", "variance": None}
    network = settings.build_network(SIDE * SIDE)
    parameters = stacked_parameters(network, list(range(networks)), dtype=torch.float32, **keys)
    gradients = [torch.zeros_like(p) for p in parameters]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g
    optimizer = settings.build_optimizer(parameters)

    def run(epochs):
        start = time.perf_counter()
        for _ in range(epochs):
            measure(parameters, gradients, with_test=False)
            optimizer.step()
        return (time.perf_counter() - start) / epochs / networks * 1e3

    return run


def plain_loop(images, labels, kernel, channels):
    """One torch.nn network, its measures from the training step's forward pass, in blocks of 1024."""
    x, y = torch.from_numpy(images), torch.from_numpy((labels + 1) // 2)
    net = convolutional(SIDE * SIDE, depth=2, width=channels, activation="tanh", kernel=kernel)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.2)

    def run(epochs):
        start = time.perf_counter()
        for _ in range(epochs):
            optimizer.zero_grad()
            hidden, wrong = [], []
            for first in range(0, SAMPLES, 1024):
                part = slice(first, first + 1024)
                h = net[0](x[part])
                out = net[1](h)
                (F.cross_entropy(out, y[part], reduction="sum") / SAMPLES).backward()
                hidden.append(h.detach())
                wrong.append(out.detach().argmax(1) != y[part])
            geometry(torch.cat(hidden), y)
            torch.cat(wrong).float().mean().item()
            optimizer.step()
        return (time.perf_counter() - start) / epochs * 1e3

    return run


def ways(images, labels, kernel, channels):
    settings = Settings(network=convolutional, kernel=kernel, width=channels, device="cpu")
    architecture = Architecture(SIDE * SIDE, 2, channels, "tanh", (1,), kernel)
    problem = make_problem(images, labels, None, None, None, NETWORKS)
    common = {"device": "cpu", "precision": "float32"}
    lanes = ConvolutionPass(problem, architecture, NETWORKS, 1)
    dense = DensePass(problem, architecture, NETWORKS, compiled=False, **common)
    network = settings.build_network(SIDE * SIDE)
    module = ModulePass(problem, network, (1,), NETWORKS, **common)
    return {
        "lanes": stepper(lanes, settings, NETWORKS),
        "dense": stepper(dense, settings, NETWORKS),
        "automatic differentiation, all networks at once": stepper(module, settings, NETWORKS),
        "plain torch.nn loop": plain_loop(images, labels, kernel, channels),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", type=int, nargs="+", default=[4, 24])
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    images, labels, name = training_set()
    print(f"{name}, {SAMPLES} samples, {options.channels} channels, {NETWORKS} networks, 1 thread")
    print("| kernel | way | ms per network and epoch (median) |\n| --- | --- | --- |")
    with compute_threads(1):
        for kernel in options.kernels:
            runs = ways(images, labels, kernel, options.channels)
            times = {way: [] for way in runs}
            runs["lanes"](1)  # reads or makes the compiled kernels
            for _ in range(options.rounds):
                for way, run in runs.items():
                    times[way].append(run(1))
            for way, found in times.items():
                print(f"| {kernel} | {way} | {statistics.median(found):.1f} |", flush=True)


if __name__ == "__main__":
    main()
