# What jobs ask for: time, memory, GPUs, Dask's workers. No rules here.
from functools import cache

from pipeline.execution.gpus import asked_for, visible_gpus
from pipeline.execution.slurm_cluster import partition
from pipeline.execution.slurm_requests import training_request
from pipeline.plan import GPU_SPEEDUP, job_estimate, preparation_memory


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


def asked_memory(wildcards, attempt):
    """MB that training a run asks for at a try."""
    cost = estimate(wildcards)
    memory = training_request(cost)[0] if on_slurm() else cost.memory_mb
    return attempt * memory


def asked_minutes(wildcards, attempt):
    """Minutes that training a run asks for at a try."""
    cost = estimate(wildcards)
    if not on_slurm():
        return attempt * cost.minutes
    return allowed_minutes(
        attempt * training_request(cost, gpu_speedup())[1], "train_run"
    )


def allowed_minutes(minutes, rule):
    """No more than a rule's job of SLURM may take: one that asks for more would wait for ever."""
    limit = partition_minutes(rule)
    return minutes if limit is None else min(minutes, limit)


def partition_minutes(rule):
    """Minutes that SLURM's partition allows a job of a rule; None: any, or not on SLURM."""
    return slurm_partition(rule).minutes if on_slurm() else None


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


def growing_minutes(value, rule):
    """The same of a time limit of a rule's jobs."""
    return lambda wildcards, attempt: allowed_minutes(attempt * value, rule)


def on_slurm():
    """Whether jobs go to SLURM; known when jobs are made, not when this file is read."""
    return hasattr(workflow.executor_settings, "status_command")


partition_named = cache(partition)


def slurm_partition(rule):
    """What SLURM says of the partition of a rule's jobs: of --set-resources, of the profile, else its default."""
    settings = workflow.resource_settings
    own = (settings.overwrite_resources or {}).get(rule, {})
    for given in (own, settings.default_resources or {}):
        if "slurm_partition" in given:
            found = given["slurm_partition"]
            return partition_named(str(getattr(found, "raw", found)))
    return partition_named("")


@cache
def gpu_resources():
    """What a training job asks for of GPUs: of SLURM, see pipeline.execution.gpus, or one of the places here."""
    compute = CONFIG["compute"]
    if on_slurm():
        there = slurm_partition("train_run").generic
        return answered(asked_for, compute["device"], compute["jobs_per_gpu"], there)
    if workflow.is_main_process:
        places = compute["device"] != "cpu" and bool(visible_gpus())
    else:
        # In a job of SLURM, whose executor asks for no more than the job was given.
        places = "SLURM_GPUS" in os.environ
    return {"gpu": int(places), "gres": ""}


def gpu_speedup():
    """How much faster training is on what it asks for than on the CPU that estimates are made for."""
    return GPU_SPEEDUP if any(gpu_resources().values()) else 1.0


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
