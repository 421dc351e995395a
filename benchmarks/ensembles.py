"""Milliseconds per network and epoch of ensembles of small networks on one device, by their number.

    python benchmarks/ensembles.py [--device auto] [--threads 1] [--networks 32 128 512]

Trains the stragglers' network (784-20-2, full batch) on 8192 made-up sparse images with all measures of
every epoch; two lengths of training are timed, and their difference counts, so that compiling and
reading data drop out.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
import torch

from pipeline.hardware import chosen_device
from pipeline.provenance import machine
from pipeline.training.ensemble import train_ensemble

SAMPLES, FEATURES, SHARE = 8192, 784, 0.2  # MNIST's pixels are background four times in five


def seconds(networks: int, epochs: int, device: str, precision: str, threads: int) -> float:
    """Seconds of one training."""
    random = np.random.default_rng(0)
    images = random.standard_normal((SAMPLES, FEATURES), dtype=np.float32)
    images *= random.random(images.shape) < SHARE
    labels = random.choice([-1, 1], SAMPLES)
    start = time.perf_counter()
    train_ensemble(
        images,
        labels,
        seeds=networks,
        epochs=epochs,
        device=device,
        precision=precision,
        threads=threads,
        ensemble_size=networks,
    )
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--networks", type=int, nargs="+", default=[32, 128, 512])
    parser.add_argument("--epochs", type=int, nargs=2, default=[20, 120])
    told = parser.parse_args()
    device = chosen_device(told.device)
    name = torch.cuda.get_device_name() if device == "cuda" else f"{told.threads} thread(s)"
    print(f"{machine()}, {name}, torch {torch.__version__}\n")
    print("| networks | float32 | bf16 |\n| --- | --- | --- |")
    short, long = told.epochs
    for networks in told.networks:
        each = []
        for precision in ("float32", "bf16"):
            seconds(networks, 2, device, precision, told.threads)
            taken = [
                seconds(networks, epochs, device, precision, told.threads)
                for epochs in (short, long)
            ]
            each.append((taken[1] - taken[0]) / (long - short) / networks * 1e3)
        print(f"| {networks} | " + " | ".join(f"{one:.4f}" for one in each) + " |", flush=True)


if __name__ == "__main__":
    main()
