"""What a scale costs: jobs, CPU hours and disk, from measured rates; refusing to start on a full disk."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.estimate import Estimate
from pipeline.registry import resolve
from pipeline.store.usage import folder_bytes

NAME_BYTES = 300  # a path and its class
DISK_MARGIN = 1.2  # for what is written beside trajectories
GPU_SPEEDUP = 50.0  # of a GPU over one core: of ensembles, README.md and docs/hardware.md


def job_estimate(config: dict[str, Any], paper: str, name: str) -> Estimate:
    """Time, memory and disk of training one run, as its trainer estimates them.

    Raises PipelineError where a job needs more memory than compute.memory_mb, and for options of a network
    from which no size follows.
    """
    trainer = config["trainers"][config[paper]["trainer"]]
    run = config[paper]["runs"][name]
    try:
        estimate = resolve(trainer["estimate"])
    except Exception as error:  # of any kind, where its module is a user's own
        raise PipelineError(
            f"trainers.{config[paper]['trainer']}.estimate = {trainer['estimate']!r} cannot be imported "
            f"({type(error).__name__}: {error}); name another function, or mend its module."
        ) from error
    try:
        found = estimate(run, config)
    except PipelineError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError) as error:
        network = run["network"]
        options = {
            **config["networks"][network].get("options", {}),
            **run.get("network_options", {}),
        }
        raise PipelineError(
            f"run {name} of {paper}: networks.{network}.options = {options} (with the run's network_options) "
            f"do not fit the network ({error}); see its builder, {config['networks'][network]['builder']}."
        ) from error
    if not isinstance(found, Estimate):
        raise PipelineError(
            f"trainers.{config[paper]['trainer']}.estimate = {trainer['estimate']!r} gives no "
            "pipeline.estimate.Estimate of a run; name another function."
        )
    limit = config["compute"]["memory_mb"]
    if found.memory_mb > limit:
        raise PipelineError(
            f"run {name} of {paper} needs about {found.memory_mb} MB of memory, more than "
            f"compute.memory_mb = {limit}: raise it, or lower {found.lower}."
        )
    return found


def preparation_memory(entry: dict[str, Any]) -> int:
    """MB that preparing a data set of the configuration needs.

    Samples are held twice while they are joined, or the names of files that stay in place.
    """
    each = NAME_BYTES if entry.get("in_place") else math.prod(entry["shape"])
    return 1500 + round(2.5 * each * sum(entry["samples"].values()) / 1e6)


def check_memory(jobs: Iterable[tuple[str, str, int]], machine_mb: float) -> None:
    """Raise PipelineError where a job needs more memory than the machine that it is to run on has.

    jobs: rule, first output and memory (MB) of each. machine_mb: that there are here.
    """
    for rule, output, memory_mb in jobs:
        if memory_mb > machine_mb:
            lower = (
                ", or lower the run's size (`snakemake plan` lists them)" if "train" in rule else ""
            )
            raise PipelineError(
                f"{rule} ({output}) needs about {memory_mb} MB of memory, but there are "
                f"{machine_mb:.0f} MB here: run it elsewhere (--profile slurm){lower}."
            )


def memory_together(jobs: Iterable[tuple[int, int]], cores: int, machine_mb: float) -> str | None:
    """A sentence where the largest jobs that may run side by side need more memory than the machine has.

    jobs: memory (MB) and threads of each. cores: that jobs share. None where all fits.
    """
    most = [0] * (cores + 1)  # memory by how many cores are used at most
    for memory_mb, threads in jobs:
        for used in range(cores, threads - 1, -1):
            most[used] = max(most[used], most[used - threads] + memory_mb)
    memory = most[cores]
    if memory <= machine_mb:
        return None
    return (
        f"The largest jobs that may run side by side on {cores} cores need {memory} MB of memory, but "
        f"there are {int(machine_mb)} MB here: with --resources mem_mb={int(machine_mb)} no more are started "
        "at a time than fit into it."
    )


def plan_row(config: dict[str, Any], paper: str, name: str) -> dict[str, Any]:
    """Seeds, epochs, CPU hours, memory and disk of a training run."""
    run, cost = config[paper]["runs"][name], job_estimate(config, paper, name)
    hours = cost.seconds * config["compute"]["threads"] / 3600
    return {
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


def plan_table(config: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per training run of all papers."""
    return [
        plan_row(config, paper, name)
        for paper in config["papers"]
        for name in config[paper]["runs"]
    ]


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


def job_count(config: dict[str, Any]) -> int:
    """Jobs of a whole scale: training, data, geometry, inversions, analyses, figures, claims, scorecard."""
    datasets = {run["dataset"] for paper in config["papers"] for run in _runs(config, paper)}
    jobs = sum(len(config[paper]["runs"]) for paper in config["papers"])
    jobs += sum(len(config[paper]["figures"]) for paper in config["papers"])
    jobs += sum(len(_used_analyses(config[paper])) for paper in config["papers"])
    inverted = [paper for paper in config["papers"] if measures_inversion(config, paper)]
    jobs += sum(len(config[paper]["groups"]) for paper in inverted)
    geometry = sum(run["stored_seeds"] > 0 for paper in inverted for run in _runs(config, paper))
    return len(datasets) + geometry + jobs + len(config["papers"]) + 1


def measures_inversion(config: dict[str, Any], paper: str) -> bool:
    """Whether recomputed geometry and inversion points follow the runs of a paper."""
    trainer = config[paper]["trainer"]  # None for a paper without runs
    return trainer is not None and bool(config["trainers"][trainer]["inversion"])


def _used_analyses(paper: dict[str, Any]) -> set[str]:
    """The analyses that a figure or a claim names: the others are made when asked for by path."""
    entries = [*paper["figures"].values(), *paper["claims"]]
    used = {name for entry in entries for name in entry["analyses"] if name in paper["analyses"]}
    for name, entry in reversed(paper["analyses"].items()):  # what one needs stands before it
        if name in used:
            used |= set(entry["analyses"])
    return used


def _runs(config: dict[str, Any], paper: str) -> Iterable[dict[str, Any]]:
    return config[paper]["runs"].values()


def run_summary(config: dict[str, Any], root: Path) -> str:
    """One line on what a scale costs from an empty folder, and where the results go."""
    text = _costs_of(config, plan_table(config), job_count(config), root)
    return f"{text} from an empty folder; finished jobs are not repeated"


def start_summary(
    config: dict[str, Any], runs: Iterable[tuple[str, str]], jobs: int, root: Path
) -> str:
    """One line on what the jobs cost that are about to run, and where the results go.

    runs: (paper, run) of those that are to be trained. jobs: how many jobs there are in all.
    """
    return _costs_of(config, [plan_row(config, *run) for run in runs], jobs, root)


def _costs_of(config: dict[str, Any], rows: list[dict[str, Any]], jobs: int, root: Path) -> str:
    hours, disk_gb = (sum(row[key] for row in rows) for key in ("cpu_hours", "disk_gb"))
    return (
        f"scale {config['scale']}: {jobs} job{'s' * (jobs != 1)}, about {hours:.2f} CPU hours of training "
        f"(less where it stops early) and {disk_gb:.2f} GB in {_results(config, root)}"
    )


def _results(config: dict[str, Any], root: Path) -> Path:
    return Path(root) / "results" / config["scale"]


def check_disk(config: dict[str, Any], runs: Iterable[tuple[str, str]], root: Path) -> None:
    """Raise PipelineError where the disk has less free space than runs need that are to be trained.

    What such runs hold already, an old store or a saved state, counts as free. Data sets and analyses
    have no estimate: beside runs a margin is asked for them, without runs nothing.

    runs: (paper, run) of each.
    """
    folder = _results(config, root)
    needed = 0.0
    for paper, name in runs:
        held = sum(folder_bytes(folder / kind / paper / name) for kind in ("runs", "state"))
        needed += DISK_MARGIN * job_estimate(config, paper, name).disk_mb / 1e3 - held / 1e9
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free < needed:
        raise PipelineError(
            f"What is to run at scale {config['scale']} needs about {needed:,.3f} GB in {folder}, but the "
            f"disk has {free:,.3f} GB free: free some space, ask for fewer figures or choose a smaller "
            "scale (--config scale=smoke)."
        )
