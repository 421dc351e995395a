"""GPUs: how many there are, what a training job asks SLURM for, and who computes on which.

Snakemake counts GPUs but does not say which one a job may use. Here a job claims a place on one with a
file lock, which the operating system takes back from a job that ends or is killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from pipeline.errors import PipelineError

DEVICES = "/dev"
POLL_SECONDS = 0.5
HIDDEN = ("-1", "NoDevFiles")  # what CUDA_VISIBLE_DEVICES holds where there is none


def visible_gpus(devices: str = DEVICES) -> list[str]:
    """Names of the GPUs that a job of this machine may use: CUDA_VISIBLE_DEVICES, else those in /dev.

    An empty CUDA_VISIBLE_DEVICES hides all. Torch is not asked: a parse of the workflow would wait for it.
    """
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        names = [name.strip() for name in chosen.split(",")]
        return [name for name in names if name and name not in HIDDEN]
    numbers = [path.name.removeprefix("nvidia") for path in Path(devices).glob("nvidia[0-9]*")]
    return sorted((number for number in numbers if number.isdigit()), key=int)


def asked_for(device: str, jobs_per_gpu: int, there: set[str]) -> dict[str, int | str]:
    """What a training job asks SLURM for: ``gpu`` 1 and no ``gres``, or a share of one, or none of either.

    device: auto, cpu or cuda. jobs_per_gpu: training jobs on one GPU at a time; more than one asks for
    ``gres`` "shard:1", SLURM's name for a part of a GPU (SLURM's own configuration says how many a GPU has).
    there: what was found, of gpu and shard. Raises PipelineError where shards are wanted and there are none.
    """
    if device == "cpu" or (device == "auto" and "gpu" not in there):
        return {"gpu": 0, "gres": ""}
    if jobs_per_gpu > 1:
        if "shard" not in there:
            raise PipelineError(
                f"compute.jobs_per_gpu = {jobs_per_gpu}, but the cluster names no shards among its generic "
                "resources; set it to 1, or have shards configured (gres.conf)."
            )
        return {"gpu": 0, "gres": "shard:1"}
    return {"gpu": 1, "gres": ""}


def gpu_places(device: str, jobs_per_gpu: int) -> int | None:
    """Training jobs that the GPUs of this machine take at a time; None where jobs use none.

    Further ones would each hold a core while they wait. Asks torch where there is a GPU.
    """
    names = [] if device == "cpu" else visible_gpus()
    if not names or (device == "auto" and not _usable()):
        return None
    return len(names) * jobs_per_gpu


@contextlib.contextmanager
def claimed_gpu(device: str, jobs_per_gpu: int, folder: Path | None = None) -> Iterator[str | None]:
    """Within: the name of the one GPU that this job may use, also in CUDA_VISIBLE_DEVICES; None without.

    Waits until one of the ``jobs_per_gpu`` places of a GPU is free; emptier GPUs come first. A job that
    SLURM gave a GPU to uses that. To be entered before torch looks for devices.

    folder: of the locks, the same for all jobs of a machine.
    """
    names = [] if device == "cpu" else visible_gpus()
    if not names or ("SLURM_JOB_ID" in os.environ and len(names) == 1):
        yield names[0] if names else None
        return
    if device == "auto" and not _usable():
        yield None  # a GPU that torch was not built for, or whose driver does not fit: nothing to wait for
        return
    lock, name = _claim(names, jobs_per_gpu, folder or _lock_folder())
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    os.environ["CUDA_VISIBLE_DEVICES"] = name
    try:
        yield name
    finally:
        lock.close()
        os.environ.pop("CUDA_VISIBLE_DEVICES")
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before


def _usable() -> bool:
    """Whether torch computes on GPUs; asked without starting CUDA, so that a choice of GPU still counts."""
    import torch

    return torch.backends.cuda.is_built() and torch.cuda.device_count() > 0


def _lock_folder() -> Path:
    """A folder of this user on this machine."""
    return Path(tempfile.gettempdir()) / f"manifold-trajectories-gpus-{os.getuid()}"


def _claim(names: list[str], places: int, folder: Path) -> tuple[IO[bytes], str]:
    """An open, locked file and the GPU that it stands for."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        for place in range(places):
            for name in names:
                lock = open(folder / f"{name}.{place}", "ab")  # noqa: SIM115
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    lock.close()
                else:
                    return lock, name
        time.sleep(POLL_SECONDS)
