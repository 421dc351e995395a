"""What a scale costs: jobs, CPU hours and disk, from measured rates; refusing to start on a full disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pipeline.errors import PipelineError
from pipeline.store.usage import table_of_stores
from pipeline.training.schedule import checkpoint_epochs

# Measured on one thread of Intel Xeon (AVX-512, AMX) and AMD EPYC (Zen 4) cores, the slower counting, unless
# marked as assumed. Products of the first layer, counted as if dense, in flop/s per core: grey images such as
# MNIST are mostly background, which float32 skips (the sparse pass); colour images are dense.
FLOPS_PER_SECOND = {"float32": 190e9, "bf16": 150e9, "float64": 35e9}  # float64: assumed
DENSE_FLOPS_PER_SECOND = 65e9  # float32 on dense images
HIDDEN_FLOPS_PER_SECOND = 60e9  # products of the hidden layers
UNIT_SECONDS = 2e-10  # the nonlinearity of one unit on one sample and what else is done to it
UPDATE_SECONDS = 5e-5  # of one network's minibatch, beside its products
GPU_SPEEDUP = 20.0  # of a GPU over one core; an assumption, until a GPU was measured
START_SECONDS = 8.0  # start of a training job: imports, kernels, packing the images
SMALL_JOB_SECONDS = 3.0  # a job that trains nothing
BYTES = 4
BASE_MEMORY_MB = 700


class Estimate(NamedTuple):
    """Estimated cost of one training job."""

    seconds: float  # on the compute threads that the config gives one job
    memory_mb: int
    disk_mb: float

    @property
    def minutes(self) -> int:
        """A time limit with a margin of 3, at least 10 minutes."""
        return max(10, math.ceil(3 * self.seconds / 60))


def job_estimate(config: dict[str, Any], paper: str, name: str) -> Estimate:
    """Time, memory and disk of training one run.

    On disk the saved state holds the arrays a second time until the store is complete. Raises
    PipelineError where a job needs more memory than compute.memory_mb.
    """
    run = config[paper]["runs"][name]
    dataset = config["datasets"][run["dataset"]]
    features = int(np.prod(dataset["shape"][:2]))
    test = dataset["samples"]["test"]
    units, parameters = _network_size(run, dataset["shape"][:2])
    threads = config["compute"]["threads"]
    epoch = _epoch_seconds(run, dataset, units)
    seconds = START_SECONDS + run["seeds"] * run["epochs"] * epoch / threads
    size = min(run["seeds"], config["compute"]["ensemble_size"])
    checkpoints = len(checkpoint_epochs(run["checkpoints"], run["epochs"]))
    hidden = len(run["layers"]) * run["samples"] * units
    stored = run["stored_seeds"] * checkpoints * (hidden + run["samples"] + parameters) * BYTES
    stored += run["seeds"] * parameters * BYTES if run["final_weights"] else 0
    series = run["seeds"] * (run["epochs"] + 1) * (run["samples"] / 8 + 6 * 8)
    images = (run["samples"] + test) * features * BYTES
    # Of a convolution, a block of samples holds the inputs of all its units.
    block = size * units * 256 * BYTES if run["kernel"] is not None else 0
    memory = 6 * images + 4 * size * parameters * BYTES + 2 * stored + block
    memory += 3 * series * size / run["seeds"]
    needed, limit = BASE_MEMORY_MB + int(memory / 1e6), config["compute"]["memory_mb"]
    if needed > limit:
        raise PipelineError(
            f"run {name} of {paper} needs about {needed} MB of memory, more than compute.memory_mb = "
            f"{limit}: raise it, or lower the run's stored_seeds or checkpoints, or "
            "compute.ensemble_size."
        )
    return Estimate(seconds, needed, 2 * (stored + series) / 1e6)


def _network_size(run: dict[str, Any], shape: list[int]) -> tuple[int, int]:
    """(units of the first layer, parameters of the network without biases)."""
    width, kernel = run["width"], run["kernel"]
    if kernel is not None:
        units = width * (shape[0] - kernel + 1) * (shape[1] - kernel + 1)
        return units, width * kernel**2 + 2 * units
    hidden = (run["depth"] - 2) * width**2
    return width, int(np.prod(shape)) * width + hidden + 2 * width


def _epoch_seconds(run: dict[str, Any], dataset: dict[str, Any], units: int) -> float:
    """Seconds of one core for one epoch of one network: the measures, and what trains it.

    Measuring is a forward pass over the training set, and over the test set where that is measured
    at every epoch; a full batch adds the gradient, as many products again on the training set.
    """
    dense = run["precision"] == "float32" and len(dataset["shape"]) == 3
    rate = DENSE_FLOPS_PER_SECOND if dense else FLOPS_PER_SECOND[run["precision"]]
    inputs = run["kernel"] ** 2 if run["kernel"] else int(np.prod(dataset["shape"][:2]))
    above = (run["depth"] - 2) * run["width"] ** 2
    each = 2 * inputs * units / rate + 2 * above / HIDDEN_FLOPS_PER_SECOND
    each += (units + (run["depth"] - 2) * run["width"]) * UNIT_SECONDS
    passes = run["samples"] + (dataset["samples"]["test"] if run["test_epochs"] == "all" else 0)
    if run["batch_size"] is None:
        return each * (passes + run["samples"])
    updates = run["updates_per_epoch"] or math.ceil(run["samples"] / run["batch_size"])
    return each * passes + updates * (UPDATE_SECONDS + 4 * each * run["batch_size"])


def plan_table(config: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per training run of all papers: seeds, epochs, CPU hours, memory and disk."""
    rows = []
    for paper in config["papers"]:
        for name, run in config[paper]["runs"].items():
            cost = job_estimate(config, paper, name)
            hours = cost.seconds * config["compute"]["threads"] / 3600
            rows.append(
                {
                    "paper": paper,
                    "run": name,
                    "dataset": run["dataset"],
                    "seeds": run["seeds"],
                    "epochs": run["epochs"],
                    "cpu_hours": round(hours, 3),
                    "gpu_hours": round(hours / GPU_SPEEDUP, 4),
                    "memory_mb": cost.memory_mb,
                    "disk_gb": round(cost.disk_mb / 1e3, 3),
                }
            )
    return rows


def format_plan(rows: list[dict[str, Any]], summary: str) -> str:
    """The plan as a table for a terminal, with the summary line last."""
    if not rows:
        return summary
    titles = list(rows[0])
    cells = [titles, *([f"{row[title]}" for title in titles] for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(titles))]
    lines = [
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in cells
    ]
    return "\n".join([*lines, summary])


def small_jobs(config: dict[str, Any]) -> int:
    """Number of jobs that train nothing: data, geometry, inversions, analyses, figures, claims, scorecard."""
    datasets = {run["dataset"] for paper in config["papers"] for run in _runs(config, paper)}
    kinds = ("groups", "figures")
    jobs = sum(len(config[paper][kind]) for paper in config["papers"] for kind in kinds)
    jobs += sum(len(_used_analyses(config[paper])) for paper in config["papers"])
    geometry = sum(
        run["stored_seeds"] > 0 for paper in config["papers"] for run in _runs(config, paper)
    )
    return len(datasets) + geometry + jobs + len(config["papers"]) + 1


def _used_analyses(paper: dict[str, Any]) -> set[str]:
    """The analyses that a figure or a claim names: the others are made when asked for by path."""
    entries = [*paper["figures"].values(), *paper["claims"]]
    return {name for entry in entries for name in entry["analyses"] if name in paper["analyses"]}


def _runs(config: dict[str, Any], paper: str) -> Iterable[dict[str, Any]]:
    return config[paper]["runs"].values()


def totals(config: dict[str, Any]) -> dict[str, float]:
    """Jobs, CPU hours, GPU hours and GB of disk of a whole scale."""
    rows = plan_table(config)
    small = small_jobs(config)
    return {
        "jobs": len(rows) + small,
        "cpu_hours": sum(row["cpu_hours"] for row in rows) + small * SMALL_JOB_SECONDS / 3600,
        "gpu_hours": sum(row["gpu_hours"] for row in rows),
        "disk_gb": sum(row["disk_gb"] for row in rows),
    }


def run_summary(config: dict[str, Any], root: Path) -> str:
    """One line on what a scale costs from an empty folder, and where the results go."""
    total = totals(config)
    return (
        f"scale {config['scale']}: {total['jobs']:.0f} jobs, about {total['cpu_hours']:.2f} CPU hours "
        f"and {total['disk_gb']:.2f} GB in {Path(root) / 'results' / config['scale']} from an empty "
        "folder; finished jobs are not repeated"
    )


def check_disk(config: dict[str, Any], root: Path) -> None:
    """Raise PipelineError where the disk has less free space than the scale still needs."""
    folder = Path(root) / "results" / config["scale"]
    used = sum(size for _, size, _ in table_of_stores(folder))
    needed = max(totals(config)["disk_gb"] * 1.2 - used / 1e9, 0.0)
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < needed:
        raise PipelineError(
            f"scale {config['scale']} needs about {needed:.1f} GB more in {folder}, but the disk has "
            f"{free:.1f} GB free: free some space or choose a smaller scale (--config scale=smoke)."
        )
