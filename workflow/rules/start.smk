# What is looked at, refused and noted when a run starts. No rules here.
from pipeline.execution.gpus import gpu_places
from pipeline.execution.locks import (
    check_not_running,
    check_unused,
    locks_of_others,
)
from pipeline.execution.memory import memory_limit
from pipeline.execution.shared_cache import drop_half_entries
from pipeline.execution.slurm_cluster import choose_status_command
from pipeline.execution.slurm_requests import check_values, send_by_request
from pipeline.interrupted import gone, gone_sentence, note
from pipeline.plan import check_disk, check_memory, memory_together, start_summary

# Targets that compute no results, and so need no room for them (clean_<paper> makes some).
MAINTENANCE = {"plan", "verify", "disk_use", "benchmark", "rulegraph"}


def interrupted_stores():
    """Manifests that an earlier run was to make again and that are gone, with the time when that run began.

    None while the folder is locked: that run may still make them. None of what is shared between folders: its
    key there is made of the requests, too, and it is taken from there where it is needed.
    """
    if any(Path(".snakemake/locks").glob("*.lock")):
        return {}
    shared = (f"{RESULTS}/data/", f"{RESULTS}/runs/") if SHARED else ()
    found = answered(gone, Path(REPLACED))
    return {path: began for path, began in found.items() if not path.startswith(shared)}


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


def alone():
    """Whether no other run has this folder locked, once this one is at work."""
    return not locks_of_others(workflow.persistence)


def schedule_when_jobs_end():
    """Take back Snakemake's own limit of 100 jobs started in a second; any other, which somebody asked for, stays.

    For it, Snakemake sets a timer after each look at the waiting jobs, and at its end waits for the timers. As
    each sets the next, their number grows with the jobs: with hundreds they keep a core busy. Jobs that end
    have it look at once.
    """
    limiter = getattr(workflow.scheduler, "job_rate_limiter", None)
    if limiter and (limiter.max_jobs, limiter.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def limit_gpu_jobs():
    """Start no more training jobs at a time than this machine's GPUs take, unless --resources says how many."""
    if "gpu" in workflow.global_resources:
        return
    compute = CONFIG["compute"]
    if places := gpu_places(compute["device"], compute["jobs_per_gpu"]):
        workflow.register_resource("gpu", places)
        # The former changes how many are free, but not what is counted once Snakemake schedules jobs.
        getattr(workflow.scheduler, "global_resources", {})["gpu"] = places


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
        answered(check_unused, Path.cwd(), Path(LOGS), not alone())
    if on_slurm():
        prepare_slurm()
    if targets and not targets - MAINTENANCE - deleting:
        return
    if SHARED:
        for said in drop_half_entries(shared_folder()):
            print(said, file=sys.stderr)
    jobs = jobs_ahead()
    runs = runs_ahead(jobs)
    print(costs(start_summary, runs, len(jobs), Path.cwd()), file=sys.stderr)
    if on_slurm():
        say_long_runs(runs)
    else:
        check_memory_of(jobs)
        if runs:
            limit_gpu_jobs()
    costs(check_disk, runs, Path.cwd())
    answered(note, Path(REPLACED), manifests_of(jobs), alone=alone())
