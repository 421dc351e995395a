"""Where jobs run: GPUs are claimed one by one, SLURM is asked the way it answers, Dask's workers."""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import multiprocessing
import os
import socket
import subprocess
import sys
import time
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from pipeline.errors import PipelineError
from pipeline.execution import gpus, slurm
from pipeline.execution.dask_workers import DaskSettings, dask_settings, dask_workers
from pipeline.execution.locks import lock_sentence

# --- GPUs ---------------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("said", "found"),
    [("gpu:a100:4(S:0-1)", {"gpu"}), ("(null)", set()), ("shard:8,gpu:2", {"gpu", "shard"})],
)
def test_gpus_of_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, found: set[str]
) -> None:
    program(tmp_path, "sinfo", f"[ \"$3\" = --partition=cpu ] || echo '{said}'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert gpus.cluster_resources() == found
    assert gpus.cluster_resources("cpu") == set()
    program(tmp_path, "sinfo", "exit 1")
    assert gpus.cluster_resources() == set()


def _hold(folder: Path, jobs: int, seconds: float, queue: Any) -> None:
    with gpus.claimed_gpu("cuda", jobs, folder) as name:
        queue.put((name, os.environ["CUDA_VISIBLE_DEVICES"], time.monotonic()))
        time.sleep(seconds)


@pytest.mark.parametrize(("jobs", "waiting"), [(1, 2), (2, 0)])
def test_jobs_spread_over_gpus_and_wait_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: int, waiting: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    start = time.monotonic()
    seconds = 1.5
    workers = [
        context.Process(target=_hold, args=(tmp_path, jobs, seconds, queue)) for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    found = [queue.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert all(name == seen for name, seen, _ in found)
    assert sorted(name for name, _, _ in found) == ["4", "4", "5", "5"]
    assert sum(when - start > seconds for _, _, when in found) == waiting


def test_a_killed_job_gives_its_gpu_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    holder = context.Process(target=_hold, args=(tmp_path, 1, 600, queue))
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


# --- SLURM --------------------------------------------------------------------------------------


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_arrays_are_asked_for_by_squeue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "sacct", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = SimpleNamespace(status_command="sacct", array_jobs="train_run")
    said = slurm.choose_status_command(settings)
    assert settings.status_command == "squeue"
    assert said is not None
    assert said.startswith("Training jobs are sent as arrays")


@pytest.mark.parametrize(("body", "command"), [("exit 1", "squeue"), ("exit 0", "sacct")])
def test_squeue_is_asked_where_sacct_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, command: str
) -> None:
    program(tmp_path, "sacct", body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    settings = SimpleNamespace(status_command="sacct")
    said = slurm.choose_status_command(settings)
    assert settings.status_command == command
    assert (said is None) == (command == "sacct")


def test_other_executors_are_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no sacct at all
    assert slurm.choose_status_command(None) is None
    assert slurm.choose_status_command(SimpleNamespace()) is None
    chosen = SimpleNamespace(status_command="squeue")
    assert slurm.choose_status_command(chosen) is None
    assert slurm.choose_status_command(SimpleNamespace(status_command="sacct")) is not None


LOG = """
[Thu Nov 26 05:59:00 2026]
rule train_run:
    input: results/smoke/data/generated/manifest.json
    output: results/smoke/runs/stragglers/main/store, results/smoke/runs/stragglers/main/manifest.json
    jobid: 3
    resources: tmpdir=<TBD>, mem_mb=120, mem=120 MB, mem_mib=115, runtime=10
Job 3 has been submitted with SLURM jobid 12 (log: /somewhere/12.log).
[Thu Nov 26 06:00:00 2026]
Error in rule train_run:
    message: SLURM-job '12' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed failure reason unavailable.
    jobid: 3
    output: results/smoke/runs/stragglers/main/store, results/smoke/runs/stragglers/main/manifest.json
Trying to restart job 3.
[Thu Nov 26 06:00:10 2026]
rule train_run:
    output: results/smoke/runs/stragglers/main/store, results/smoke/runs/stragglers/main/manifest.json
    jobid: 3
    resources: tmpdir=<TBD>, mem_mb=240, mem=240 MB, mem_mib=229, runtime=20
[Thu Nov 26 06:01:00 2026]
Error in rule train_run:
    message: SLURM-job '13' failed, SLURM status is: 'OUT_OF_MEMORY'. Detailed failure reason unavailable.
    jobid: 3
    output: results/smoke/runs/stragglers/main/store, results/smoke/runs/stragglers/main/manifest.json
[Thu Nov 26 06:01:00 2026]
Error in rule measure_geometry:
    message: SLURM-job '15' failed, SLURM status is: 'FAILED'. Detailed failure reason unavailable.
    jobid: 7
    output: results/smoke/geometry/stragglers/main/store
Logfile .snakemake/slurm_logs/15.log:
slurmstepd-vm: error: *** JOB 15 ON vm CANCELLED AT 2026-11-26T06:25:10 DUE TO TIME LIMIT ***
Error in rule fig_stragglers_1a:
    message: SLURM-job '14' failed, SLURM status is: 'NODE_FAIL'.
    jobid: 5
    output: results/smoke/figures/stragglers/fig1a.png
[Thu Nov 26 06:01:00 2026]
Error in rule find_inversion:
    message: one of ours
    jobid: 6
    output: results/smoke/inversion/stragglers/main/store
"""


def array_words(commands: dict[str, str], joined: bool) -> list[str]:
    """The command of an array's first job, as Snakemake's executor writes it."""
    packed = {task: zlib.compress(text.encode(), level=9).hex() for task, text in commands.items()}
    payload = base64.b64encode(json.dumps(packed).encode()).decode()
    option = [f"{slurm.ARRAY_COMMANDS}={payload}"] if joined else [slurm.ARRAY_COMMANDS, payload]
    return ["python", "-m", "snakemake", "--target-jobs", "train_run:run=a", *option, "--nolock"]


@pytest.mark.parametrize("joined", [True, False])
def test_a_task_of_an_array_becomes_its_own_command(joined: bool) -> None:
    words = array_words({"2": "snakemake 'b c'", "3": "snakemake d"}, joined)
    first = ["python", "-m", "snakemake", "--target-jobs", "train_run:run=a", "--nolock"]
    assert slurm.own_array_command(words, {"SLURM_ARRAY_TASK_ID": "1"}) == first
    found = slurm.own_array_command(words, {"SLURM_ARRAY_TASK_ID": "2"})
    assert found == ["/bin/sh", "-c", "snakemake 'b c'"]
    # once it has become so, and in every other process
    assert slurm.own_array_command(first, {"SLURM_ARRAY_TASK_ID": "1"}) is None
    assert slurm.own_array_command(words, {}) is None


@pytest.mark.parametrize("payload", ["", "???", base64.b64encode(b'{"2": "zz"}').decode()])
def test_commands_of_an_array_that_cannot_be_read_are_one_sentence(payload: str) -> None:
    words = ["python", f"{slurm.ARRAY_COMMANDS}={payload}"]
    with pytest.raises(PipelineError, match=r"commands of an array .* requirements\.lock"):
        slurm.own_array_command(words, {"SLURM_ARRAY_TASK_ID": "2"})
    with pytest.raises(PipelineError, match="commands of an array"):
        slurm.own_array_command(["python", slurm.ARRAY_COMMANDS], {"SLURM_ARRAY_TASK_ID": "2"})


def test_an_array_asks_for_what_its_most_tried_job_needs() -> None:
    """The executor's own grouping, which takes the request of an array's first job."""
    plugin = pytest.importorskip("snakemake_executor_plugin_slurm")

    class Executor(plugin.Executor):
        _main_event_loop = None
        array_jobs: ClassVar = {"train_run"}
        max_array_size = 25
        workflow = SimpleNamespace(dag=None)
        logger = logging.getLogger("slurm")

        def __init__(self) -> None:
            self.sent: list[list[str]] = []

        def _submit_array_jobs(self, jobs: list[Any]) -> None:
            self.sent.append([job.name for job in jobs])

    rule = SimpleNamespace(name="train_run")
    jobs = [
        SimpleNamespace(name=name, rule=rule, attempt=attempt, is_group=lambda: False)
        for name, attempt in (("a", 1), ("b", 2), ("c", 1), ("d", 3))
    ]
    slurm.most_tried_first(Executor)
    executor = Executor()
    executor.run_jobs(jobs)
    assert executor.sent == [["d", "b", "a", "c"]]


def test_quotes_do_not_reach_arrays() -> None:
    quoted = ["scale=smoke", "stragglers={runs: {'main': {epochs: 3}}}"]
    arrays = SimpleNamespace(array_jobs="train_run")
    with pytest.raises(PipelineError, match=r"'main'.*--configfile"):
        slurm.check_quotes(arrays, quoted)
    slurm.check_quotes(arrays, ["scale=smoke", "stragglers={runs: {main: {epochs: 3}}}"])
    for other in (SimpleNamespace(array_jobs=None), SimpleNamespace(), None):
        slurm.check_quotes(other, quoted)


def test_why_slurm_stopped_jobs_is_one_sentence_each() -> None:
    memory, late, node = slurm.explained(LOG)
    assert "1 time for want of time" in late
    assert "--set-resources measure_geometry:runtime=MORE" in late
    assert "results/smoke/runs/stragglers/main/store" in memory
    assert "2 times for want of memory, at last with 240 MB" in memory
    assert "--set-resources train_run:mem_mb=480" in memory
    assert node.startswith("fig_stragglers_1a (results/smoke/figures/stragglers/fig1a.png)")
    assert "1 time, at last with NODE_FAIL" in node
    assert slurm.explained("Finished.") == []
    # one that ended well at last is not told of
    assert len(slurm.explained(f"{LOG}Finished jobid: 3 (Rule: train_run)\n")) == 2


def test_why_is_looked_up_in_the_jobs_own_output(tmp_path: Path) -> None:
    log = (
        "Error in rule train_run:\n    message: SLURM-job '7_2' failed, SLURM status is: 'FAILED'.\n"
        "    jobid: 3\n    output: store\n    external_jobid: 7_2\n"
        "SLURM sbatch failed. The error message was 'Memory specification can not be satisfied'.\n"
    )
    (tmp_path / "rule_train_run").mkdir()
    (tmp_path / "rule_train_run/7_2.log").write_text(
        "slurmstepd: error: Exceeded job memory limit\n"
    )
    stopped, refused = slurm.explained(log, tmp_path)
    assert "1 time for want of memory" in stopped
    assert refused == "SLURM refused a job: Memory specification can not be satisfied."


# --- locks --------------------------------------------------------------------------------------


def test_a_lock_is_explained(tmp_path: Path) -> None:
    assert lock_sentence(tmp_path) is None
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    assert lock_sentence(tmp_path) is None
    (locks / "0.output.lock").touch()
    said = lock_sentence(tmp_path)
    assert said is not None
    assert "left by a run that was killed" in said
    assert "snakemake --unlock" in said
    script = tmp_path / "snakemake"
    script.write_text("import time\ntime.sleep(60)\n")
    other = subprocess.Popen([sys.executable, str(script)], cwd=tmp_path)
    try:
        until = time.monotonic() + 20
        while f"process {other.pid}" not in (lock_sentence(tmp_path) or ""):
            assert time.monotonic() < until
            time.sleep(0.05)
    finally:
        other.kill()
        other.wait()


# --- Dask's workers -----------------------------------------------------------------------------


def test_settings_come_from_resources() -> None:
    resources = {
        "mem_mb": 100,
        "dask": "slurm",
        "dask_workers": 7,
        "dask_interface": "ib0",
        "slurm_partition": "long",
    }
    found = dask_settings(resources, threads=3)
    assert found == DaskSettings(
        kind="slurm", workers=7, interface="ib0", partition="long", threads=3
    )
    with pytest.raises(PipelineError, match="'cloud'; valid are: threads, local, slurm"):
        DaskSettings(kind="cloud")


def _whose(number: int) -> tuple[int, int, str]:
    import torch

    return number, os.getpid(), f"{torch.get_num_threads()}"


@pytest.mark.parametrize("kind", ["threads", pytest.param("local", marks=pytest.mark.slow)])
def test_tasks_run_where_they_should(kind: str) -> None:
    import dask

    with dask_workers(DaskSettings(kind=kind, workers=2, threads=1, memory_mb=1000)) as client:
        tasks = [dask.delayed(_whose)(number) for number in range(8)]
        found = dask.compute(*tasks)
        if client is not None:
            address = client.scheduler.address
            assert address.startswith("tls://127.0.0.1:")
    numbers, processes, threads = zip(*found, strict=True)
    assert numbers == tuple(range(8))
    assert (os.getpid() in processes) == (kind == "threads")
    if kind == "local":
        assert set(threads) == {"1"}


@pytest.mark.parametrize("missing", ["sbatch", "interface"])
def test_what_slurms_workers_lack_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "interface":
        program(tmp_path, "sbatch", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    settings = DaskSettings(kind="slurm", interface="ib7", folder=str(tmp_path))
    words = {
        "sbatch": "sbatch was not found",
        "interface": "dask_interface is 'ib7'; valid here are: .*lo",
    }
    with pytest.raises(PipelineError, match=words[missing]), dask_workers(settings):
        pytest.fail("there are no workers")


def test_no_worker_in_time_is_one_sentence() -> None:
    """Also where another program of this machine has the port that Dask begins with."""
    settings = DaskSettings(kind="local", workers=0, wait_seconds=1)
    other = socket.socket()
    with contextlib.suppress(OSError):  # a port that is taken already does as well
        other.bind(("127.0.0.1", 8787))
        other.listen()
    with (
        other,
        pytest.raises(PipelineError, match="No Dask worker came up within 1 s"),
        dask_workers(settings),
    ):
        pytest.fail("there are no workers")
