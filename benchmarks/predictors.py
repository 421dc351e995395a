"""Milliseconds of an update of predictors at the published sizes: precisions against torch's plain loop.

    python benchmarks/predictors.py [--device auto] [--threads 1] [--width 1] [--samples 4000] [--rounds 3]

Prints a Markdown table: milliseconds per update of 200 augmented images (crops and mirror images), the
median of rounds that take turns. The plain loop is the usual one: a DataLoader that crops and mirrors
images one by one, torch's unfused optimiser, float32.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy, pad
from torch.utils.data import DataLoader, Dataset

from pipeline.classifiers.arrays import ClassArrays
from pipeline.classifiers.optimizers import sgd
from pipeline.hardware import chosen_device, compiled, compute_threads
from pipeline.predictors.samples import device_data
from pipeline.predictors.settings import Settings
from pipeline.predictors.train import Course, _train_epoch, as_trained, initial_network
from pipeline.provenance import machine
from pipeline.training.resume import PartFiles

CLASSES = 10
NETWORKS = {
    "FC": ("prediction_space:fc", {}),
    "AllCNN": ("prediction_space:all_cnn", {}),
    "Small ResNet": ("wide_residual:wide_resnet", {}),
    "Large ResNet": ("wide_residual:wide_resnet", {"depth": 16, "base": 64}),
    "ConvMixer": ("prediction_space:conv_mixer", {}),
    "ViT": ("prediction_space:vit", {}),
}


def arrays(samples: int) -> ClassArrays:
    """Random images: timings do not depend on what they show."""
    random = np.random.default_rng(0)
    x = random.standard_normal((samples, 3, 32, 32), dtype=np.float32)
    classes = random.integers(0, CLASSES, samples)
    return ClassArrays(x, x[:10], classes, classes[:10], CLASSES)


def settings_of(name: str, width: float, precision: str, built: bool) -> Settings:
    """SGD with Nesterov's momentum and augmentation, as a run of the paper's grid."""
    builder, options = NETWORKS[name]
    return Settings(
        {"builder": f"pipeline.models.{builder}", "options": options},
        lambda parameters, run: sgd(parameters, run, nesterov=True),
        width=width,
        momentum=0.9,
        augmentation="crop_flip",
        precision=precision,
        compile=built,
    )


def ours(data: ClassArrays, settings: Settings, device: str) -> Callable[[], None]:
    """One epoch of ours without records, warmed up."""
    on_device = device_data(data, settings, device)
    network = as_trained(initial_network(settings, data.shape, CLASSES, 0), settings, device)
    optimizer = settings.build_optimizer(network)
    step = compiled(network, settings.compile, device)
    records = PartFiles(Path(tempfile.gettempdir()) / "never_written", "record", "benchmark")

    def epoch() -> None:
        _train_epoch(
            network, step, optimizer, on_device, settings, 0, set(), Course(), records
        )  # it reads the error, and so waits for the device

    epoch()
    return epoch


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Images that are cropped and mirrored when they are asked for."""

    def __init__(self, data: ClassArrays) -> None:
        self.images, self.classes = torch.from_numpy(data.train), data.train_classes

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        row, column, mirrored = torch.randint(9, (3,)).tolist()
        image = pad(self.images[i], (4, 4, 4, 4))[:, row : row + 32, column : column + 32]
        return image.flip(2) if mirrored % 2 else image, int(self.classes[i])


def plain(data: ClassArrays, settings: Settings, device: str) -> Callable[[], None]:
    """One epoch of the usual loop, warmed up."""
    network = initial_network(settings, data.shape, CLASSES, 0).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    loader = DataLoader(Pictures(data), batch_size=settings.batch_size, shuffle=True)

    def epoch() -> None:
        network.train()
        for images, classes in loader:
            optimizer.zero_grad()
            loss = cross_entropy(network(images.to(device)), classes.to(device))
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    epoch()
    return epoch


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--samples", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="time compiled networks too")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    told = parser.parse_args()
    device = chosen_device(told.device)
    precisions = ["float32", "bf16"] + (["tf32"] if device == "cuda" else [])
    modes = [(one, built) for built in (False, True)[: 1 + told.compile] for one in precisions]
    titles = ["plain loop", *(f"{one}{', compiled' if built else ''}" for one, built in modes)]
    name = torch.cuda.get_device_name() if device == "cuda" else f"{told.threads} thread(s)"
    print(f"{machine()}, {name}, torch {torch.__version__}; widths x {told.width}\n")
    print("| network | " + " | ".join(titles) + " |")
    print("| --- |" + " --- |" * len(titles))
    data = arrays(told.samples)
    with compute_threads(told.threads):
        for network in told.networks:
            settings = [settings_of(network, told.width, *mode) for mode in modes]
            epochs = [plain(data, settings[0], device)]
            epochs += [ours(data, one, device) for one in settings]
            taken: list[list[float]] = [[] for _ in epochs]
            for _ in range(told.rounds):
                for times, epoch in zip(taken, epochs, strict=True):
                    start = time.perf_counter()
                    epoch()
                    times.append(time.perf_counter() - start)
            updates = told.samples / settings[0].batch_size
            each = [statistics.median(times) * 1e3 / updates for times in taken]
            print(f"| {network} | " + " | ".join(f"{one:.2f}" for one in each) + " |", flush=True)


if __name__ == "__main__":
    main()
