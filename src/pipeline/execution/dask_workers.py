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
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import psutil

from pipeline.errors import PipelineError

KINDS = ("threads", "local", "slurm")
LOOPBACK = "127.0.0.1"
# No dashboard; what pages a scheduler has all the same are on any free port, not on one that only the first
# of several jobs of a machine gets.
SCHEDULER_PAGES = {"dashboard": False, "dashboard_address": f"{LOOPBACK}:0"}
MEGABYTE = 10**6
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

    Raises PipelineError where a package is missing or no worker comes up in time.
    """
    import dask

    if settings.kind == "threads":
        with dask.config.set(scheduler="threads", num_workers=settings.threads):
            yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            make = {"local": _local, "slurm": _slurm}[settings.kind]
            cluster = stack.enter_context(make(settings, stack))
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
        try:
            client.wait_for_workers(1, timeout=settings.wait_seconds)
        except TimeoutError as error:
            raise PipelineError(
                f"No Dask worker came up within {settings.wait_seconds} s; the queue may be full, or the "
                f"nodes cannot reach the scheduler at {cluster.scheduler_address} (compute.dask_interface)."
            ) from error
        log.info("Dask scheduler at %s, %d workers", cluster.scheduler_address, settings.workers)
        yield client


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


def _slurm(settings: DaskSettings, stack: contextlib.ExitStack) -> Any:
    """Workers that are jobs of SLURM."""
    from dask_jobqueue import SLURMCluster
    from distributed.security import Security

    _check_slurm(settings)
    folder = Path(settings.folder or tempfile.gettempdir()).resolve() / "dask"
    (folder / "certificates").mkdir(mode=0o700, parents=True, exist_ok=True)
    exports = [f"export {key}={value!r}" for key, value in _environment(settings).items()]
    cluster = SLURMCluster(
        cores=1,
        processes=1,
        job_cpu=settings.threads,
        memory=f"{settings.memory_mb}MB",
        walltime=f"{settings.minutes // 60:02d}:{settings.minutes % 60:02d}:00",
        queue=settings.partition or None,
        account=settings.account or None,
        interface=settings.interface,
        protocol="tls://",
        security=Security.temporary(),
        shared_temp_directory=str(folder / "certificates"),
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
    # A worker whose job ends, by its time limit or with its node, is replaced.
    cluster.adapt(minimum_jobs=settings.workers, maximum_jobs=settings.workers)
    return cluster


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
