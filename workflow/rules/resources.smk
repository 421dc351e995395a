# What jobs ask for: time, memory, GPUs, Dask's workers; and what is refused before any starts. No rules here.
import re
from functools import cache

from psutil import virtual_memory

from pipeline.execution.gpus import (
    asked_for,
    cluster_resources,
    gpu_places,
    visible_gpus,
)
from pipeline.execution.slurm import (
    check_quotes,
    choose_status_command,
    most_tried_first,
)
from pipeline.plan import (
    check_disk,
    check_memory,
    job_estimate,
    memory_together,
    preparation_memory,
    start_summary,
    training_sizes,
)

# Targets that compute no results, and so need no room for them (clean_<paper> makes some).
MAINTENANCE = {"plan", "verify", "disk_use", "benchmark", "rulegraph"}


def data_memory(name):
    """MB that preparing a data set needs; 0 for an unknown one, which is refused where its entry is looked up."""
    entry = CONFIG["datasets"].get(name)
    return 0 if entry is None else preparation_memory(entry)


def estimate(wildcards):
    """Estimated seconds, memory and disk of training one run (see `snakemake plan`)."""
    run_of(wildcards)
    return costs(job_estimate, wildcards.paper, wildcards.run)


def costs(function, *arguments):
    """What a function of pipeline.plan says of the configuration, its errors as one sentence."""
    return answered(function, CONFIG, *arguments)


SIZES = training_sizes(CONFIG)


def runs_of_size(size):
    """Pattern of the names of all runs of a size; one that nothing matches where there are none."""
    found = dict.fromkeys(job.partition("/")[2] for job in SIZES[size])
    return "|".join(map(re.escape, found)) or "(?!)"


def training_request(wildcards, size):
    """(MB, minutes) that training one run asks for: in an array of jobs those of its largest."""
    cost = estimate(wildcards)
    arrays = getattr(workflow.executor_settings, "array_jobs", None) or ""
    if not {"all", f"train_run_{size}".rstrip("_")} & set(re.split(r"[,; ]+", arrays)):
        return cost.memory_mb, cost.minutes
    costs_of_size = [cost, *SIZES[size].values()]
    return (
        max(one.memory_mb for one in costs_of_size),
        max(one.minutes for one in costs_of_size),
    )


def training_priority(wildcards):
    """Priority of a training job: its seconds, with those of the runs that wait for it."""
    runs = CONFIG[wildcards.paper]["runs"]
    waiting = [
        name
        for name, run in runs.items()
        if wildcards.run in (run.get("prune_from"), run.get("start_from"))
    ]
    names = [wildcards.run, *waiting]
    return round(
        sum(costs(job_estimate, wildcards.paper, name).seconds for name in names)
    )


def growing(value):
    """A resource that grows with every try of a job: ``value``, twice, three times as much."""
    return lambda wildcards, attempt: attempt * value


def on_slurm():
    """Whether jobs go to SLURM; known when jobs are made, not when this file is read."""
    return hasattr(workflow.executor_settings, "status_command")


def default_partition():
    """The partition that the profile names; empty where it names none."""
    defaults = workflow.resource_settings.default_resources or {}
    if "slurm_partition" not in defaults:
        return ""
    found = defaults["slurm_partition"]
    return str(getattr(found, "raw", found))


@cache
def gpu_resources():
    """What a training job asks for of GPUs, see pipeline.execution.gpus; here, one of the places on them."""
    compute = CONFIG["compute"]
    if not on_slurm():
        return {
            "gpu": int(compute["device"] != "cpu" and bool(visible_gpus())),
            "gres": "",
        }
    there = cluster_resources(default_partition())
    return answered(asked_for, compute["device"], compute["jobs_per_gpu"], there)


def limit_gpu_jobs():
    """Start no more training jobs at a time than this machine's GPUs take, unless --resources says how many."""
    if "gpu" in workflow.global_resources:
        return
    compute = CONFIG["compute"]
    if places := gpu_places(compute["device"], compute["jobs_per_gpu"]):
        workflow.register_resource("gpu", places)
        # which is compared with from now on, but not counted down once Snakemake schedules jobs
        getattr(workflow.scheduler, "global_resources", {})["gpu"] = places


def place_resources():
    """What training is told that changes no result, and so is no parameter: GPUs, how often the resume state is
    saved, where the data lies."""
    return {
        "gpu": lambda w: gpu_resources()["gpu"],
        "gres": lambda w: gpu_resources()["gres"],
        # As text: Snakemake makes whole numbers of fractions.
        "state_seconds": str(CONFIG["compute"]["state_seconds"]),
        "data_root": CONFIG["data"]["root"],
        "jobs_per_gpu": CONFIG["compute"]["jobs_per_gpu"],
    }


# Worker processes beside an analysis are part of its job.
LOCAL_WORKERS_MB = (
    CONFIG["compute"]["dask_workers"] * CONFIG["compute"]["dask_memory_mb"]
    if CONFIG["compute"]["dask"] == "local"
    else 0
)


def dask_resources():
    """Where the tasks of an analysis run, see pipeline.execution.dask_workers; no result depends on it, so that
    these are no parameters."""
    keys = ("dask", "dask_workers", "dask_memory_mb", "dask_interface")
    return {key: CONFIG["compute"][key] for key in keys}


def jobs_ahead():
    """The jobs that are to run; not targets that only name others."""
    return [job for job in workflow.dag.needrun_jobs() if job.output]


def runs_ahead(jobs):
    """(paper, run) of those that some jobs train."""
    return [
        (job.wildcards.paper, job.wildcards.run)
        for job in jobs
        if job.rule.name.startswith("train_run")
    ]


def check_memory_of(jobs):
    """Refuse a job that needs more memory than this machine has; say so where jobs side by side may do.

    Where --resources limits memory already, nothing is said of the latter.
    """
    machine_mb = virtual_memory().total / 1e6
    known = [job for job in jobs if isinstance(job.resources.get("mem_mb"), int)]
    answered(
        check_memory,
        [(job.rule.name, str(job.output[0]), job.resources["mem_mb"]) for job in known],
        machine_mb,
    )
    limited = {"mem", "mem_mb", "mem_mib"} & set(workflow.resource_settings.resources)
    cores = workflow.resource_settings.cores
    if limited or cores is None:
        return
    sizes = [(job.resources["mem_mb"], job.threads) for job in known]
    if told := memory_together(sizes, cores, machine_mb):
        print(told, file=sys.stderr)


def check_start():
    """One line on what is ahead; refuse what memory or disk cannot hold; ask SLURM the way it answers."""
    answered(
        check_quotes,
        workflow.executor_settings,
        workflow.config_settings.config_args or (),
    )
    if changed := choose_status_command(workflow.executor_settings):
        print(changed, file=sys.stderr)
    if on_slurm():
        from snakemake_executor_plugin_slurm import Executor

        most_tried_first(Executor)
    targets = set(workflow.dag_settings.targets)
    maintenance = MAINTENANCE | {f"clean_{paper}" for paper in CONFIG["papers"]}
    if targets and not targets - maintenance:
        return
    jobs = jobs_ahead()
    runs = runs_ahead(jobs)
    print(costs(start_summary, runs, len(jobs), Path.cwd()), file=sys.stderr)
    if not on_slurm():
        check_memory_of(jobs)
        if runs:
            limit_gpu_jobs()
    costs(check_disk, runs, Path.cwd())
