# What jobs ask for: time, memory, GPUs, Dask's workers; and what is refused before any starts. No rules here.
import re
from functools import cache

from pipeline.execution.gpus import asked_for, gpu_places, visible_gpus
from pipeline.execution.locks import check_not_running, check_unused
from pipeline.execution.memory import memory_limit
from pipeline.execution.shared_cache import drop_half_entries
from pipeline.execution.slurm_cluster import choose_status_command, partition
from pipeline.execution.slurm_requests import (
    check_values,
    send_by_request,
    training_request,
)
from pipeline.plan import (
    GPU_SPEEDUP,
    check_disk,
    check_memory,
    job_estimate,
    memory_together,
    preparation_memory,
    start_summary,
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
    limit = slurm_partition(rule).minutes if on_slurm() else None
    return minutes if limit is None else min(minutes, limit)


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


def limit_gpu_jobs():
    """Start no more training jobs at a time than this machine's GPUs take, unless --resources says how many."""
    if "gpu" in workflow.global_resources:
        return
    compute = CONFIG["compute"]
    if places := gpu_places(compute["device"], compute["jobs_per_gpu"]):
        workflow.register_resource("gpu", places)
        # The former changes how many are free, but not what is counted once Snakemake schedules jobs.
        getattr(workflow.scheduler, "global_resources", {})["gpu"] = places


def schedule_when_jobs_end():
    """Take back Snakemake's own limit of 100 jobs started in a second; any other, which somebody asked for, stays.

    For it, Snakemake sets a timer after each look at the waiting jobs, and at its end waits for the timers. As
    each sets the next, their number grows with the jobs: with hundreds they keep a core busy. Jobs that end
    have it look at once.
    """
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


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


def manifests_of(jobs):
    """Manifests of the stores that jobs make."""
    return [str(job.output.manifest) for job in jobs if "manifest" in job.output.keys()]


def check_memory_of(jobs):
    """Refuse a job that needs more memory than there is here; say so where jobs side by side may do.

    Where --resources limits memory already, nothing is said of the latter.
    """
    machine_mb = memory_limit() / 1e6
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


def prepare_slurm():
    """Ask SLURM the way it answers, and send it jobs as it can take them; refuse where neither goes."""
    import snakemake_executor_plugin_slurm

    settings = workflow.executor_settings
    said, arrays = answered(choose_status_command, settings)
    if said:
        print(said, file=sys.stderr)
    if arrays:
        given = workflow.config_settings.config_args or ()
        answered(check_values, settings, [str(one) for one in given])
    answered(send_by_request, snakemake_executor_plugin_slurm, arrays)


def say_long_runs(runs):
    """Tell of training that is expected to take longer than SLURM allows a job."""
    limit = slurm_partition("train_run").minutes
    long = [
        run
        for run in runs
        if limit and costs(job_estimate, *run).seconds / gpu_speedup() > 60 * limit
    ]
    if long:
        print(
            f"{len(long)} of the runs that are to be trained are expected to take longer than the {limit} "
            f"minutes that SLURM's partition allows a job ({long[0][1]} is one): they go on from their saved "
            "state when they are tried again (retries), or by the same command.",
            file=sys.stderr,
        )


def check_start():
    """One line on what is ahead; refuse what memory or disk cannot hold; ask SLURM the way it answers."""
    logs = [Path(str(job.log[0])) for job in workflow.dag.needrun_jobs() if job.log]
    answered(check_not_running, logs)
    schedule_when_jobs_end()
    deleting = {f"clean_{paper}" for paper in CONFIG["papers"]}
    targets = set(workflow.dag_settings.targets)
    if targets & deleting:
        own = {Path(path).resolve() for path in workflow.persistence._lockfile.values()}
        answered(check_unused, Path.cwd(), Path(LOGS), own)
    if on_slurm():
        prepare_slurm()
    if targets and not targets - MAINTENANCE - deleting:
        return
    if SHARED:
        for said in drop_half_entries(Path(os.environ["SNAKEMAKE_OUTPUT_CACHE"])):
            print(said, file=sys.stderr)
    jobs = jobs_ahead()
    answered(note, Path(REPLACED), manifests_of(jobs))
    runs = runs_ahead(jobs)
    print(costs(start_summary, runs, len(jobs), Path.cwd()), file=sys.stderr)
    if on_slurm():
        say_long_runs(runs)
    else:
        check_memory_of(jobs)
        if runs:
            limit_gpu_jobs()
    costs(check_disk, runs, Path.cwd())
