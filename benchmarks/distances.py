"""Bhattacharyya distances of all pairs: ours against the plain way and the machine's bound.

    python benchmarks/distances.py [--models 2048] [--samples 500] [--rounds 3] [--stored 10080]

Prints Markdown tables: seconds and nanoseconds per unordered pair of models and sample on one thread,
the medians of rounds that take turns; time and memory of the whole way through Zarr and Dask on two
cores; and what these rates mean for 151,407 models on 50,000 samples.

The plain way is the usual one: for each chunk of samples a batched matrix product in float32, its
affinities cleaned of NaN, infinities and negative values, a logarithm of each, and their mean; chunks
of 1 to 64 samples are tried and the best is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pipeline.geometry.bhattacharyya import pairwise_distances
from pipeline.geometry.bhattacharyya.predictions import root_probabilities
from pipeline.geometry.bhattacharyya.sources import prediction_sources
from pipeline.geometry.bhattacharyya.stored import TileMatrix, measure_tiles
from pipeline.geometry.bhattacharyya.tiles import add_samples, empty_tile
from pipeline.geometry.inpca import embed_tiles
from pipeline.geometry.inpca.krylov import Sums
from pipeline.geometry.progress import geodesic, progress
from pipeline.predictors.variables import SPLITS
from pipeline.provenance import machine
from pipeline.store.writer import StoreWriter

if TYPE_CHECKING:  # the process whose memory is measured must not have torch
    import torch

CLASSES = 10
PAPER = (151_407, 50_000)  # models, samples; Mao et al., PNAS 121(12), 2024
RECORD = {"config": {}, "code": "benchmark"}
ROOTS = f"{SPLITS[0]}_root_probabilities"


def predictions(models: int, samples: int, seed: int = 0) -> NDArray[np.float32]:
    """Models on their way from ignorance to noisy labels, ten seeds in turns."""
    random = np.random.default_rng(seed)
    aim = np.eye(CLASSES)[random.integers(0, CLASSES, samples)]
    found = np.empty((models, samples, CLASSES), np.float32)
    for k in range(models):
        logits = 8 * (k / models) * aim + 0.5 * random.standard_normal((samples, CLASSES))
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        found[k] = e / e.sum(axis=1, keepdims=True)
    return found


def plain(p: NDArray[np.float32], chunk: int) -> torch.Tensor:
    """The plain way, a chunk of samples at a time."""
    import torch

    roots = torch.from_numpy(p).sqrt().permute(1, 0, 2).contiguous()
    total = torch.zeros(len(p), len(p))
    for part in roots.split(chunk):
        affinity = torch.bmm(part, part.transpose(1, 2))
        affinity[torch.isnan(affinity)] = 0
        affinity[torch.isinf(affinity)] = 1
        affinity[affinity < 0] = 0
        distance = -torch.log(affinity)
        distance[distance == float("inf")] = 100
        distance[distance < 0] = 0
        total += distance.sum(0)
    return total / p.shape[1]


def kernel(p: NDArray[np.float32]) -> None:
    """The products alone, from root probabilities, both triangles: the kernel's own rate."""
    add_samples(empty_tile(len(p), len(p)), p, p)


def sgemm_bound(pair_samples: float) -> float:
    """Seconds of the additions and multiplications alone, at the rate of a large matrix product."""
    import torch

    a = torch.rand(2048, 2048)
    a @ a
    rates = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        rates.append(2 * 2048**3 / (time.perf_counter() - start))
    return 2 * CLASSES * pair_samples / max(rates)


def timed(function: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def compare(models: int, samples: int, rounds: int) -> dict[str, float]:
    """Nanoseconds per unordered pair and sample of each way, one thread; prints the table."""
    from pipeline.hardware import compute_threads

    p = predictions(models, samples)
    roots = root_probabilities(p)
    pair_samples = models * (models - 1) / 2 * samples
    with compute_threads(1):
        small = p[:, : min(samples, 128)]
        pairwise_distances(p[:300], threads=1)
        chunks = {size: timed(lambda size=size: plain(small, size)) for size in (1, 4, 16, 64)}
        best = min(chunks, key=lambda size: chunks[size])
        ways: dict[str, Callable[[], object]] = {
            f"plain way, {best} samples at a time": lambda: plain(p, best),
            "ours, probabilities to distances": lambda: pairwise_distances(p, threads=1),
            "ours, products alone, both triangles": lambda: kernel(roots),
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        bounds = []
        for _ in range(rounds):
            for name, way in ways.items():
                seconds[name].append(timed(way))
            bounds.append(sgemm_bound(pair_samples))
        bound = min(bounds)
        error = np.abs(pairwise_distances(p[:200]) - exact(p[:200])).max()
    print(
        f"\n{models} models, {samples} samples, {CLASSES} classes, one thread; largest error {error:.1e}\n"
    )
    print(
        "| way | s | ns per pair and sample | times faster than plain | share of the sgemm bound |"
    )
    print("| --- | --- | --- | --- | --- |")
    rates = {}
    first = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        middle = statistics.median(values)
        count = pair_samples if "triangles" not in name else float(models) ** 2 * samples
        rates[name] = middle / count * 1e9
        faster = first / pair_samples * 1e9 / rates[name]
        share = bound / pair_samples * 1e9 / rates[name]
        print(f"| {name} | {middle:.2f} | {rates[name]:.3f} | {faster:.1f} | {share:.2f} |")
    print(
        f"| bound: 20 flop at sgemm's rate | {bound:.2f} | {bound / pair_samples * 1e9:.3f} | | 1 |"
    )
    return rates


def exact(p: NDArray[np.float32]) -> NDArray[np.float64]:
    """Float64, a logarithm per sample."""
    roots = root_probabilities(p, np.float64)
    found = np.array([-np.log(np.einsum("nc,jnc->jn", one, roots)).mean(axis=1) for one in roots])
    np.fill_diagonal(found, 0)
    return np.maximum(found, 0)


def stored(models: int, samples: int, workers: int) -> None:
    """Through Zarr and Dask in a process of its own, so that its memory is its own."""
    with tempfile.TemporaryDirectory() as folder:
        roots = root_probabilities(predictions(models, samples))
        writer = StoreWriter(Path(folder) / "predictions")
        writer.create(ROOTS, roots.shape, chunks={"model": 256, "train_sample": 100})
        writer.write(ROOTS, roots)
        writer.close(RECORD)
        command = [sys.executable, __file__, "--child", folder, "--workers", str(workers)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    whole = models**2 * 4 / 1e6
    print(
        f"\n{models} models, {samples} samples through Zarr and Dask, {workers} workers: distances "
        f"{found['distances']:.1f} s, ten components {found['embedding']:.1f} s in {found['passes']} "
        f"passes; {found['rss_mb']:.0f} MB at most for the distances, {found['import_mb']:.0f} MB of it "
        f"before the first task, {found['end_mb']:.0f} MB at most in all (the matrix whole: {whole:.0f} MB "
        "in float32)."
    )


def peak_mb() -> float:
    """The largest resident memory of this process so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return float("nan")


def child(folder: Path, workers: int) -> None:
    """Distances and embedding of a stored set; prints times and memory as JSON."""
    import dask

    sources = prediction_sources([folder / "predictions"], ROOTS)
    before = peak_mb()
    with threadpool_limits(1), dask.config.set(scheduler="threads", num_workers=workers):
        start = time.perf_counter()
        measure_tiles(sources, folder / "D", RECORD)
        middle, largest = time.perf_counter(), peak_mb()
        matrix, passes = TileMatrix(folder / "D", workers), []

        def multiply(x: NDArray[np.float64]) -> NDArray[np.float64]:
            passes.append(1)
            return matrix.multiply(x)

        embed_tiles(multiply, Sums(matrix.rows, matrix.squares), 10)
        end = time.perf_counter()
    result = {"distances": middle - start, "embedding": end - middle, "passes": len(passes)}
    print(json.dumps(result | {"rss_mb": largest, "end_mb": peak_mb(), "import_mb": before}))


def progress_rates(models: int = 2000, samples: int = 1000) -> None:
    """Progress against a scalar minimisation per model, one thread."""
    from scipy.optimize import minimize_scalar

    p, labels = predictions(models, samples), np.random.default_rng(0).integers(0, CLASSES, samples)
    flat, told = np.full((samples, CLASSES), 1 / CLASSES), np.eye(CLASSES)[labels]

    def plain_progress(model: NDArray[np.float32]) -> float:
        roots = np.sqrt(model)

        def distance(value: float) -> float:
            affinity = (roots * np.sqrt(geodesic(flat, told, [value])[0])).sum(axis=1)
            return float(np.arccos(np.minimum(affinity, 1)).mean())

        return float(minimize_scalar(distance, bounds=(0, 1), method="bounded").x)

    progress(p[:5], labels, threads=1)
    ours = (
        statistics.median(timed(lambda: progress(p, labels, threads=1)) for _ in range(3)) / models
    )
    some = p[:: models // 20]
    theirs = statistics.median(timed(lambda k=k: plain_progress(some[k])) for k in range(len(some)))
    found = progress(some, labels)
    gap = max(abs(plain_progress(one) - value) for one, value in zip(some, found, strict=True))
    print(
        f"\nProgress, {samples} samples, one thread: {ours * 1e3:.2f} ms a model, scalar minimisation "
        f"{theirs * 1e3:.1f} ms ({theirs / ours:.0f} times longer); largest difference {gap:.1e}."
    )


def extrapolate(rates: dict[str, float]) -> None:
    """What the measured rates mean at the paper's size."""
    models, samples = PAPER
    pair_samples = models * (models - 1) / 2 * samples
    print(
        f"\n{models:,} models x {samples:,} samples, {pair_samples:.1e} pairs and samples, extrapolated\n"
    )
    print("| way | 2 cores | 64 cores |")
    print("| --- | --- | --- |")
    for name, rate in rates.items():
        hours = rate * pair_samples * 1e-9 / 3600
        print(f"| {name} | {hours / 2:,.0f} h | {hours / 64:,.1f} h |")
    from pipeline.hardware import chosen_device

    if chosen_device("auto") == "cuda":
        gpu(pair_samples)


def gpu(pair_samples: float) -> None:
    """The rate of the GPU's path, and what it means."""
    import torch

    p = predictions(8192, 500)
    pairwise_distances(p[:5000], device="cuda")
    seconds = statistics.median(
        timed(lambda: pairwise_distances(p, device="cuda")) for _ in range(3)
    )
    rate = seconds / (len(p) * (len(p) - 1) / 2 * 500)
    print(
        f"\n{torch.cuda.get_device_name()}: {rate * 1e9:.4f} ns, {rate * pair_samples / 3600:.2f} h"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, default in (("models", 2048), ("samples", 500), ("rounds", 3), ("stored", 10_080)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.child:
        child(told.child, told.workers)
        return
    print(machine())
    rates = compare(told.models, told.samples, told.rounds)
    progress_rates()
    if told.stored:
        stored(told.stored, 500, told.workers)
    extrapolate(rates)


if __name__ == "__main__":
    main()
