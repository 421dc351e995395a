"""GPUs are claimed one by one, and no more training jobs start than they take."""

from __future__ import annotations

import multiprocessing
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
from helpers_workflow import copy_project, snakemake

from pipeline.errors import PipelineError
from pipeline.execution import gpus


@pytest.fixture(autouse=True)
def _outside_of_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """SLURM hands out GPUs itself: in a job of it, a single one is taken without a lock."""
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def test_visible_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null"):
        (tmp_path / name).touch()
    assert gpus.visible_gpus(str(tmp_path)) == ["0", "2", "10"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, GPU-7")
    assert gpus.visible_gpus(str(tmp_path)) == ["3", "GPU-7"]
    for nothing in ("", "-1", "NoDevFiles"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert gpus.visible_gpus(str(tmp_path)) == []


@pytest.mark.parametrize(
    ("device", "jobs", "there", "gpu", "gres"),
    [
        ("cpu", 1, {"gpu"}, 0, ""),
        ("auto", 1, set(), 0, ""),
        ("auto", 1, {"gpu"}, 1, ""),
        ("auto", 4, {"gpu", "shard"}, 0, "shard:1"),
        ("cuda", 1, set(), 1, ""),
    ],
)
def test_what_a_job_asks_for(device: str, jobs: int, there: set[str], gpu: int, gres: str) -> None:
    assert gpus.asked_for(device, jobs, there) == {"gpu": gpu, "gres": gres}


def test_places_on_the_gpus_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
    monkeypatch.setattr(gpus, "_usable", lambda: True)
    assert gpus.gpu_places("auto", 1) == 2
    assert gpus.gpu_places("cuda", 4) == 8
    assert gpus.gpu_places("cpu", 4) is None
    monkeypatch.setattr(
        gpus, "_usable", lambda: False
    )  # jobs compute on the CPU, as many as it has cores
    assert gpus.gpu_places("auto", 1) is None
    assert gpus.gpu_places("cuda", 1) == 2
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.gpu_places("auto", 1) is None


def test_shards_that_a_cluster_lacks_are_refused() -> None:
    with pytest.raises(PipelineError, match="jobs_per_gpu = 4, but the cluster names no shards"):
        gpus.asked_for("auto", 4, {"gpu"})


def _hold(folder: Path, jobs: int, seconds: float, queue: Any, together: Any) -> None:
    together.wait()  # for all that are to claim at once: forking may take its time
    with gpus.claimed_gpu("cuda", jobs, folder) as name:
        queue.put((name, os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic()))
        time.sleep(seconds)


@pytest.mark.parametrize(("jobs", "waiting"), [(1, 2), (2, 0)])
def test_jobs_spread_over_gpus_and_wait_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, waiting: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    seconds = 1.5
    arguments = (tmp_path, jobs, seconds, queue, context.Barrier(4, timeout=30))
    workers = [context.Process(target=_hold, args=arguments) for _ in range(4)]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(name == seen for name, seen, _ in found)
    assert sorted(name for name, _, _ in found) == ["4", "4", "5", "5"]
    # One that waited has its place once another one's seconds, which begin with a claim, are over.
    first = min(when for _, _, when in found)
    assert sum(when - first >= seconds for _, _, when in found) == waiting


def test_a_killed_job_gives_its_gpu_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    holder = context.Process(target=_hold, args=(tmp_path, 1, 600, queue, context.Barrier(1)))
    holder.start()
    queue.get(timeout=30)
    holder.kill()
    holder.join()
    with gpus.claimed_gpu("cuda", 1, tmp_path) as name:
        assert name == "0"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "0"


def test_without_gpus_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with gpus.claimed_gpu("auto", 1, tmp_path / "locks") as name:
        assert name is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    with gpus.claimed_gpu("cpu", 1, tmp_path / "locks") as name:
        assert name is None
    monkeypatch.setattr(gpus, "_usable", lambda: False)  # torch was not built for it
    with gpus.claimed_gpu("auto", 1, tmp_path / "locks") as name:
        assert name is None
    assert not (tmp_path / "locks").exists()


@pytest.mark.slow
def test_no_more_training_jobs_start_than_gpus_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a GPU that is not there, so that the jobs fail; one at a time, though there are two cores."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "99")
    targets = [f"results/smoke/runs/stragglers/blocks_{n}/manifest.json" for n in (0, 1)]
    options = ("--keep-going", "--verbose")
    project = copy_project(tmp_path / "project")
    said = snakemake(project, *targets, config=("compute={device: cuda}",), options=options)
    assert said.status == 1
    assert said.text.count("train_run: device is cuda, but torch finds no CUDA device") == 2
    assert "Execute 2 jobs" not in said.text
    left = re.findall(r"after job selection: .*'gpu': (-?\d+)", said.text)
    # The scheduler may look again while the one job runs: then it says 0 once more.
    assert left.count("0") >= 2
    assert set(left) <= {"0", "1"}
