"""Seconds of a training step of classifiers: precisions, compiled or not, against torch's plain loop.

    python benchmarks/classifiers.py [--threads 1] [--width 0.25] [--samples 1000] [--rounds 3]

Prints a Markdown table: seconds per 1000 images of forward, backward and update, the median of rounds
that take turns. The plain loop is the usual one: a DataLoader over a TensorDataset in channels-first
order, torch's unfused Adam, float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset

from pipeline.classifiers.arrays import ClassArrays
from pipeline.classifiers.batches import on_device
from pipeline.classifiers.optimizers import adam
from pipeline.classifiers.settings import Settings
from pipeline.classifiers.train import _train_epoch, initial_network
from pipeline.data.labels import permute_labels
from pipeline.hardware import chosen_device, compiled, compiler_available, compute_threads
from pipeline.provenance import machine

NETWORKS = ("feed_forward", "alexnet", "vgg16", "resnet18")
CLASSES, BATCH, FEATURES = 10, 250, 1024


def arrays(name: str, samples: int) -> ClassArrays:
    """Random inputs of the right shape: timings do not depend on what they show."""
    random = np.random.default_rng(0)
    shape = (FEATURES,) if name == "feed_forward" else (3, 32, 32)
    x = random.standard_normal((samples, *shape), dtype=np.float32)
    classes = random.integers(0, CLASSES, samples)
    return ClassArrays(x, x[:10], classes, classes[:10], CLASSES)


def ours(data: ClassArrays, settings: Settings, device: str) -> Callable[[], None]:
    """One epoch of ours, warmed up."""
    noisy = permute_labels(data.train_classes, 0.5, CLASSES, np.random.default_rng(1))
    held = on_device(data, noisy, device)
    network = initial_network(settings, data.shape, CLASSES, 0).to(device)
    optimizer = settings.build_optimizer(network)
    step = compiled(network, settings.compile, device)
    order = torch.randperm(len(data.train), device=device)

    def epoch() -> None:
        _train_epoch(network, step, optimizer, held, settings, order)
        if device == "cuda":
            torch.cuda.synchronize()

    epoch()
    return epoch


def plain(data: ClassArrays, settings: Settings, device: str) -> Callable[[], None]:
    """One epoch of the usual loop, warmed up."""
    network = initial_network(settings, data.shape, CLASSES, 0).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=settings.learning_rate)
    x, labels = torch.from_numpy(data.train), torch.from_numpy(data.train_classes)
    loader = DataLoader(TensorDataset(x, labels), batch_size=BATCH, shuffle=True)

    def epoch() -> None:
        network.train()
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = cross_entropy(network(inputs.to(device)), targets.to(device))
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    epoch()
    return epoch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=float, default=0.25)
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--eager", action="store_true", help="leave out compiled networks")
    options = parser.parse_args()
    device = chosen_device(options.device)
    precisions = ["float32", "bf16"] + (["tf32"] if device == "cuda" else [])
    modes = [(one, False) for one in precisions]
    if not options.eager and (device == "cuda" or compiler_available()):
        modes += [(one, True) for one in precisions]
    titles = ["plain loop", *(f"{one}{', compiled' if built else ''}" for one, built in modes)]
    print(f"{machine()}, {options.threads} thread(s), {device}; widths x {options.width}\n")
    print("| network | " + " | ".join(titles) + " |")
    print("| --- |" + " --- |" * len(titles))
    with compute_threads(options.threads):
        for name in NETWORKS:
            data = arrays(name, options.samples)
            entry = {"builder": f"pipeline.models.memorization:{name}"}
            width = 1.0 if name == "feed_forward" else options.width

            def settings(
                precision: str, built: bool, entry: dict[str, str] = entry, width: float = width
            ) -> Settings:
                more = {"precision": precision, "compile": built, "batch_size": BATCH}
                return Settings(entry, adam, width=width, **more)  # type: ignore[arg-type]

            epochs = [plain(data, settings("float32", False), device)]
            epochs += [ours(data, settings(*mode), device) for mode in modes]
            taken: list[list[float]] = [[] for _ in epochs]
            for _ in range(options.rounds):
                for times, epoch in zip(taken, epochs, strict=True):
                    start = time.perf_counter()
                    epoch()
                    times.append(time.perf_counter() - start)
            each = [statistics.median(times) * 1000 / options.samples for times in taken]
            print(f"| {name} | " + " | ".join(f"{one:.3f}" for one in each) + " |", flush=True)


if __name__ == "__main__":
    main()
