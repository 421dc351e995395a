"""Where Dask's tasks run: threads of the job itself, processes beside it, or jobs of SLURM.

Which of them it is changes no bit of a result: every task computes on ``threads`` threads, and results are
put together in the order of the tasks.

Scheduler and workers listen on one network interface only, loopback by default, and speak TLS
with certificates made for this one cluster; so nobody without them can send it tasks, which are code. There
is no dashboard; Dask's pages of the cluster's state are on loopback only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import PipelineError
from pipeline.execution.slurm_cluster import partition

KINDS = ("threads", "local", "slurm")
LOOPBACK = "127.0.0.1"
# No dashboard; what pages a scheduler has all the same are on any free port, not on one that only the first
# of several jobs of a machine gets.
SCHEDULER_PAGES = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
MEGABYTE = 10**6
SINFO_SECONDS = 30
LIBRARY = Path(__file__).resolve().parents[2]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DaskSettings:
    """Where tasks run.

    kind: threads, local or slurm. workers: processes or SLURM jobs, of local and slurm. threads: of each
    task, and for kind threads also tasks at a time. memory_mb: of one worker.
    interface: network interface that scheduler and workers of slurm listen on; "lo" reaches workers on
    this machine only. wait_seconds: for the first worker. partition, account: of SLURM; "" is its default.
    minutes: that a worker may live. folder: where logs, certificates and job scripts go, seen by all nodes.
    """

    kind: str = "threads"
    workers: int = 2
    threads: int = 1
    memory_mb: int = 4000
    interface: str = "lo"
    wait_seconds: int = 600
    minutes: int = 60
    partition: str = ""
    account: str = ""
    folder: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise PipelineError(f"dask is {self.kind!r}; valid are: {', '.join(KINDS)}.")


def dask_settings(resources: Mapping[str, Any], **more: Any) -> DaskSettings:
    """Settings from a job's resources, which name them ``dask`` (the kind) and ``dask_<name>``."""
    named = {"kind": "dask", "partition": "slurm_partition", "account": "slurm_account"}
    found = {}
    for field in fields(DaskSettings):
        value = resources.get(named.get(field.name, f"dask_{field.name}"))
        if value is not None and field.name not in more:
            found[field.name] = value
    return DaskSettings(**found, **more)


@contextlib.contextmanager
def dask_workers(settings: DaskSettings) -> Iterator[Any]:
    """Within: ``dask.compute`` uses the workers that ``settings`` ask for. Yields the client, or None.

    Raises PipelineError where a package is missing, SLURM refuses the workers' jobs, or no worker comes up
    in time.
    """
    import dask

    if settings.kind == "threads":
        with dask.config.set(scheduler="threads", num_workers=settings.threads):
            yield None
        return
    refused: list[str] = []
    with contextlib.ExitStack() as stack:
        try:
            if settings.kind == "local":
                cluster = stack.enter_context(_local(settings, stack))
            else:
                cluster = stack.enter_context(_slurm(settings, refused, stack))
            from distributed import Client
        except ImportError as error:
            raise PipelineError(
                f"dask is {settings.kind}, but {error.name or 'a package'} is not installed ({error}); "
                "install the extra slurm (pip install -e '.[slurm]'), or set compute.dask to threads."
            ) from error
        except RuntimeError as error:  # a command that failed, or a cluster that did not start
            reason = " ".join(str(error).split())
            raise PipelineError(f"Dask's workers could not be started: {reason}") from error
        client = stack.enter_context(Client(cluster, set_as_default=True))
        _wait(client, settings, refused, cluster.scheduler_address)
        log.info("Dask scheduler at %s, %d workers", cluster.scheduler_address, settings.workers)
        yield client


def _wait(client: Any, settings: DaskSettings, refused: list[str], address: str) -> None:
    """Return once there is a worker; PipelineError where none comes, at once where all were refused."""
    until = time.monotonic() + settings.wait_seconds
    while True:
        with contextlib.suppress(TimeoutError):
            left = until - time.monotonic()
            client.wait_for_workers(1, timeout=max(0.1, min(1.0, left)))
            return
        reason = f" SLURM refused {len(refused)} of their jobs: {refused[-1]}." if refused else ""
        if refused and len(refused) >= settings.workers:
            raise PipelineError(
                f"Dask's workers could not be started.{reason} Mend what it names (slurm_partition and "
                "slurm_account of the profile, compute.dask_memory_mb), or set compute.dask to threads."
            )
        if time.monotonic() > until:
            raise PipelineError(
                f"No Dask worker came up within {settings.wait_seconds} s; the queue may be full, or the "
                f"nodes cannot reach the scheduler at {address} (compute.dask_interface).{reason}"
            )


def _environment(settings: DaskSettings) -> dict[str, str]:
    """The environment of a worker: as many threads for sums as a job has, and this library."""
    count = str(settings.threads)
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    path = os.pathsep.join(filter(None, [str(LIBRARY), os.environ.get("PYTHONPATH")]))
    return {**dict.fromkeys(names, count), "PYTHONPATH": path}


def _local(settings: DaskSettings, stack: contextlib.ExitStack) -> Any:
    """Worker processes on this machine."""
    from distributed import LocalCluster
    from distributed.security import Security

    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dask-"))
    return LocalCluster(
        n_workers=settings.workers,
        threads_per_worker=1,
        memory_limit=settings.memory_mb * MEGABYTE,
        host=LOOPBACK,
        protocol="tls://",
        security=Security.temporary(),
        scheduler_kwargs=SCHEDULER_PAGES,
        local_directory=folder,
        env=_environment(settings),
    )


def _slurm(settings: DaskSettings, refused: list[str], stack: contextlib.ExitStack) -> Any:
    """Workers that are jobs of SLURM; what SLURM says of those that it does not take goes to ``refused``."""
    from dask_jobqueue import SLURMCluster
    from distributed.security import Security

    _check_slurm(settings)
    folder = Path(settings.folder or tempfile.gettempdir()).resolve() / "dask"
    folder.mkdir(parents=True, exist_ok=True)
    # Seen by all nodes and by this user only; gone with the cluster.
    certificates = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="certificates-", dir=folder)
    )
    # A job that asks for more than its partition allows would wait for ever.
    limit = partition(settings.partition).minutes
    minutes = settings.minutes if limit is None else min(settings.minutes, limit)
    exports = [f"export {key}={value!r}" for key, value in _environment(settings).items()]
    cluster = SLURMCluster(
        job_cls=_told_job(refused),
        cores=1,
        processes=1,
        job_cpu=settings.threads,
        memory=f"{settings.memory_mb}MB",
        walltime=f"{minutes // 60:02d}:{minutes % 60:02d}:00",
        queue=settings.partition or None,
        account=settings.account or None,
        interface=settings.interface,
        protocol="tls://",
        security=Security.temporary(),
        shared_temp_directory=certificates,
        scheduler_options={
            "interface": settings.interface,
            **SCHEDULER_PAGES,
        },
        python=sys.executable,
        job_script_prologue=exports,
        log_directory=str(folder),
        local_directory="${TMPDIR:-/tmp}",  # of the worker's node
        job_name="manifold-trajectories-dask",
        # Else a worker would serve pages to everybody, in plain text.
        worker_extra_args=["--no-dashboard", "--dashboard-address", f"{LOOPBACK}:0"],
        # A worker that lost its scheduler ends by itself.
        death_timeout=60,
    )
    stack.callback(_close_keys, cluster)
    # A worker whose job ends, by its time limit or with its node, is replaced.
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)
    return cluster


def _close_keys(cluster: Any) -> None:
    """Delete the files of a cluster's keys, which it would do when Python takes it apart."""
    for name, file in vars(cluster).items():
        if name.startswith("_job_") and hasattr(file, "close"):
            file.close()


def _told_job(refused: list[str]) -> Any:
    """A kind of job whose refusal is told in ``refused``: Dask itself would try no more, and wait."""
    from dask_jobqueue.slurm import SLURMJob
    from distributed.deploy import ProcessInterface

    class ToldJob(SLURMJob):
        async def start(self) -> None:
            try:
                await super().start()
            except (OSError, RuntimeError, ValueError) as error:
                # Of what sbatch printed the part that says why; Dask's error holds its command, too.
                reason = " ".join(str(error).rpartition("stderr:")[2].split()) or "sbatch failed"
                log.warning("SLURM refused the job of a Dask worker: %s", reason)
                refused.append(reason.rstrip("."))
                await ProcessInterface.start(self)  # counts as sent

    return ToldJob


def _check_slurm(settings: DaskSettings) -> None:
    """Raise PipelineError where no job can be sent, or the interface does not exist."""
    if shutil.which("sbatch") is None:
        raise PipelineError(
            "dask is slurm, but sbatch was not found; run on a machine that may send jobs, or set "
            "compute.dask to local or threads."
        )
    interfaces = sorted(psutil.net_if_addrs())
    if settings.interface not in interfaces:
        raise PipelineError(
            f"compute.dask_interface is {settings.interface!r}; valid here are: {', '.join(interfaces)}."
        )
    if _is_loopback(settings.interface) and (count := len(_nodes(settings.partition))) > 1:
        others = ", ".join(name for name in interfaces if not _is_loopback(name)) or "none here"
        raise PipelineError(
            f"compute.dask_interface is {settings.interface!r}, which reaches this machine only, but SLURM "
            f"has {count} nodes for workers; set it to a network interface that all have ({others})."
        )


def _is_loopback(interface: str) -> bool:
    """Whether a network interface of this machine reaches nothing but this machine."""
    return "loopback" in psutil.net_if_stats()[interface].flags.split(",")


def _nodes(partition: str) -> set[str]:
    """Names of the nodes of a partition, of all where it is ""; empty where SLURM does not answer."""
    command = ["sinfo", "--noheader", "--Node", "--format=%N"]
    command += [f"--partition={partition}"] if partition else []
    try:
        said = subprocess.run(
            command, capture_output=True, text=True, timeout=SINFO_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return set()
    return set(said.stdout.split())
