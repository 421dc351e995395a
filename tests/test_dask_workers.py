"""Where Dask's tasks run, and what is said where its workers do not come up."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
from pathlib import Path

import psutil
import pytest
from helpers_programs import program

from pipeline.errors import PipelineError
from pipeline.execution.dask_workers import DaskSettings, dask_settings, dask_workers


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


def _listening() -> set[str]:
    """Addresses at which this process and those that it started take TCP connections."""
    me = psutil.Process()
    return {
        one.laddr.ip
        for process in (me, *me.children(recursive=True))
        for one in process.net_connections("tcp")
        if one.status == psutil.CONN_LISTEN
    }


@pytest.mark.parametrize("kind", ["threads", pytest.param("local", marks=pytest.mark.slow)])
def test_tasks_run_where_they_should(kind: str) -> None:
    import dask

    with dask_workers(DaskSettings(kind=kind, workers=2, threads=1, memory_mb=1000)) as client:
        tasks = [dask.delayed(_whose)(number) for number in range(8)]
        found = dask.compute(*tasks)
        if client is not None:
            address = client.scheduler.address
            assert address.startswith("tls://127.0.0.1:")
            assert _listening() == {"127.0.0.1"}
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


def test_loopback_is_refused_where_slurm_has_several_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    program(tmp_path, "sbatch", "echo no such account >&2; exit 1")
    program(tmp_path, "sinfo", 'echo "$@" > "$0.said"; echo node1; echo node2; echo node1')
    settings = DaskSettings(kind="slurm", partition="long", folder=str(tmp_path), wait_seconds=60)
    words = "dask_interface is 'lo', which reaches this machine only, .* 2 nodes"
    with pytest.raises(PipelineError, match=words), dask_workers(settings):
        pytest.fail("there are no workers")
    assert "--partition=long" in (tmp_path / "sinfo.said").read_text()


@pytest.mark.slow
def test_what_slurm_refuses_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where only one of the workers is refused, which are then fewer."""
    monkeypatch.setenv("PATH", str(tmp_path))
    # as many minutes as the partition allows
    program(
        tmp_path, "sinfo", 'case "$*" in *%P*) echo "long*|30:00|(null)";; *) echo node1;; esac'
    )
    error = "sbatch: error: invalid partition specified: long"
    program(tmp_path, "sbatch", f"echo {error} >&2; exit 1")
    settings = DaskSettings(kind="slurm", folder=str(tmp_path), wait_seconds=300)
    words = f"could not be started. SLURM refused 2 of their jobs: {error}. Mend"
    with pytest.raises(PipelineError, match=words), dask_workers(settings):
        pytest.fail("there are no workers")
    assert "Traceback" not in caplog.text

    program(tmp_path, "scancel", "")
    first = '(set -C; : > "$0.once") 2> /dev/null'  # of the two that come at once
    copied = 'while IFS= read -r line; do echo "$line"; done < "$1" > "$0.script"'
    sent = f"{copied}; echo Submitted batch job 7"
    body = f"if {first}; then {sent}; else echo {error} >&2; exit 1; fi"
    program(tmp_path, "sbatch", body)
    settings = DaskSettings(kind="slurm", folder=str(tmp_path), wait_seconds=3)
    words = f"No Dask worker came up within 3 s; .* SLURM refused 1 of their jobs: {error}.$"
    with pytest.raises(PipelineError, match=words), dask_workers(settings):
        pytest.fail("there are no workers")
    assert "#SBATCH -t 00:30:00" in (tmp_path / "sbatch.script").read_text()
    assert not list((tmp_path / "dask").iterdir())  # no keys are left
    gc.collect()


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
