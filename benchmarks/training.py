"""Milliseconds per network and epoch of the ensemble engine, side by side with the plain way.

    python benchmarks/training.py [--threads 2] [--rounds 5] [--readme]

Every way trains on the first 8192 MNIST images (2 layers, 20 units, full batch, eta 0.2) and measures
error, misclassified samples, R+, R-, D and the test error on 10,000 images at every epoch. The ways are
timed in turn, round after round, so that a machine whose speed drifts treats them alike; medians are
reported. --readme writes the table into README.md.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import plain
import torch

from pipeline.analysis.inversion import inversion_point
from pipeline.data.datasets import load
from pipeline.data.preprocessing import standardise
from pipeline.hardware import compiler_available, compute_threads
from pipeline.models.initialise import stacked_parameters
from pipeline.provenance import machine
from pipeline.training.dense_pass import DensePass
from pipeline.training.ensemble import train_ensemble
from pipeline.training.problem import Architecture, make_problem
from pipeline.training.settings import Settings
from pipeline.training.sparse_pass import SparsePass

ROOT = Path(__file__).resolve().parent.parent
SAMPLES, WIDTH, SEEDS = 8192, 20, 32
BEGIN, END = "<!-- benchmark:begin -->", "<!-- benchmark:end -->"


def mnist():
    data = load("mnist", ROOT / "data")
    images = data.train_images[:SAMPLES].reshape(SAMPLES, -1)
    test = data.test_images.reshape(len(data.test_images), -1)
    arrays = [standardise(part)[0].astype(np.float32) for part in (images, test)]
    labels = [
        1 - 2 * (part.astype(int) % 2) for part in (data.train_labels[:SAMPLES], data.test_labels)
    ]
    return arrays[0], labels[0], arrays[1], labels[1]


def time_plain(train, tensors, epochs):
    start = time.perf_counter()
    train(plain.network(0), *tensors, epochs)
    return (time.perf_counter() - start) / epochs * 1e3


def stepper(measure, networks):
    """A function that does some full epochs (measures, gradient, update) of one pass."""
    settings = Settings(device="cpu")
    parameters = stacked_parameters(
        settings.build_network(784),
        list(range(networks)),
        root=0,
        stream="benchmark",
        scheme="uniform",
        variance=None,
        dtype=torch.float32,
    )
    gradients = [torch.zeros_like(p) for p in parameters]
    for p, g in zip(parameters, gradients, strict=True):
        p.grad = g
    optimizer = settings.build_optimizer(parameters)

    def run(epochs):
        start = time.perf_counter()
        for _ in range(epochs):
            measure(parameters, gradients)
            optimizer.step()
        return (time.perf_counter() - start) / epochs / networks * 1e3

    return run


def sgemm_rate(size=2048, repeats=10):
    """Gflop/s of this machine's float32 matrix product with the present number of threads."""
    a, b = torch.randn(size, size), torch.randn(size, size)
    a @ b
    start = time.perf_counter()
    for _ in range(repeats):
        a @ b
    return 2 * size**3 * repeats / (time.perf_counter() - start) / 1e9


def compare(threads, rounds, epochs):
    x, y, test_x, test_y = mnist()
    problem = make_problem(x, y, test_x, test_y, None, SEEDS)
    wide = make_problem(x, y, test_x, test_y, None, 2 * SEEDS)
    architecture = Architecture(784, 2, WIDTH, "tanh", (1,))
    tensors = [torch.from_numpy(a) for a in (x, (y + 1) // 2, test_x, (test_y + 1) // 2)]

    def dense(problem, networks, precision, compiled):
        return DensePass(
            problem, architecture, networks, device="cpu", precision=precision, compiled=compiled
        )

    ways = {
        "plain torch.nn loop, as usually written": lambda n: time_plain(
            plain.train_as_usual, tensors, n
        ),
        "plain torch.nn loop, one forward pass for step and measures": lambda n: time_plain(
            plain.train_sharing_the_forward_pass, tensors, n
        ),
        f"ensemble, float32, {SEEDS} seeds (sparse pass; no compiler needed)": stepper(
            SparsePass(problem, architecture, SEEDS, threads), SEEDS
        ),
        f"dense pass, float32, {SEEDS} seeds, eager": stepper(
            dense(problem, SEEDS, "float32", False), SEEDS
        ),
    }
    if compiler_available():
        ways[f"dense pass, float32, {SEEDS} seeds, compiled"] = stepper(
            dense(problem, SEEDS, "float32", True), SEEDS
        )
        ways[f"dense pass, bf16, {2 * SEEDS} seeds, compiled"] = stepper(
            dense(wide, 2 * SEEDS, "bf16", True), 2 * SEEDS
        )
    for run in ways.values():
        run(2)
    times = {name: [] for name in ways}
    rates = []
    for _ in range(rounds):
        rates.append(sgemm_rate())
        for name, run in ways.items():
            times[name].append(run(epochs))
    return times, statistics.median(rates)


def phi_of_precisions(threads, epochs=150):
    """phi of 32 networks in float32 and bf16 from the same initial weights."""
    x, y, *_ = mnist()
    found = {}
    for precision in ("float32", "bf16"):
        runs = train_ensemble(
            x, y, seeds=SEEDS, epochs=epochs, precision=precision, threads=threads, device="cpu"
        )
        curves = [runs[k] for k in ("train_error", "radius_plus", "radius_minus", "distance")]
        points = [inversion_point(*(c[s].values for c in curves)) for s in range(SEEDS)]
        found[precision] = [point.phi for point in points]
    return {name: (float(np.mean(phi)), float(np.std(phi, ddof=1))) for name, phi in found.items()}


def peak_memory():
    """Peak resident memory (MB) of a process that trains 100 networks for 20 epochs."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory"], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def train_for_memory():
    x, y, test_x, test_y = mnist()
    train_ensemble(x, y, test_images=test_x, test_labels=test_y, seeds=100, epochs=20)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def table(times, rate, phi, memory, threads, rounds):
    median = {name: statistics.median(values) for name, values in times.items()}
    usual, sharing = list(median)[:2]
    flops = 2 * 784 * WIDTH * (2 * SAMPLES + 10_000)
    hardware = machine()
    lines = [
        f"Measured with `python benchmarks/training.py --threads {threads} --rounds {rounds}` on "
        f"{threads} threads of {hardware['cpu']} ({', '.join(hardware['simd'])}), torch "
        f"{torch.__version__}; medians of {rounds} rounds, in brackets the smallest and largest. "
        "One epoch includes the gradient step and all measures, the test error too.",
        "",
        "| way | ms per network and epoch | times faster than the usual loop | than the loop "
        "that shares its forward pass | share of the sgemm rate |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, value in median.items():
        share = flops / (value * 1e-3) / 1e9 / rate
        low, high = min(times[name]), max(times[name])
        lines.append(
            f"| {name} | {value:.2f} [{low:.2f}, {high:.2f}] | {median[usual] / value:.1f} | "
            f"{median[sharing] / value:.1f} | {100 * share:.0f} % |"
        )
    lines += [
        "",
        f"The share counts the products of dense matrices (784 pixels) against this machine's float32 "
        f"matrix product, {rate:.0f} Gflop/s; the sparse pass exceeds 100 % because it skips the "
        "background pixels.",
    ]
    if phi:
        (a, sa), (b, sb) = phi["float32"], phi["bf16"]
        lines.append(
            f"phi of {SEEDS} networks (mean ± sd): {a:.5f} ± {sa:.5f} in float32, {b:.5f} ± {sb:.5f} "
            f"in bf16 (difference of the means {abs(a - b):.5f})."
        )
    lines.append(f"Peak memory of a job of 100 networks: {memory:.0f} MB.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=6, help="epochs per round and way")
    parser.add_argument("--readme", action="store_true", help="write the table into README.md")
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        return train_for_memory()
    with compute_threads(options.threads):
        times, rate = compare(options.threads, options.rounds, options.epochs)
    phi = phi_of_precisions(options.threads)
    text = table(times, rate, phi, peak_memory(), options.threads, options.rounds)
    print(text)
    print(json.dumps({"times_ms": times, "sgemm_gflops": rate, "phi": phi}))
    if options.readme:
        readme = ROOT / "README.md"
        before, rest = readme.read_text().split(BEGIN)
        _, after = rest.split(END)
        readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")


if __name__ == "__main__":
    main()
