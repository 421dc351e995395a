"""SLURM is asked for the state of jobs the way it answers, and what its partitions allow."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest
from helpers_programs import program

from pipeline.errors import PipelineError
from pipeline.execution.slurm_cluster import Partition, choose_status_command, partition

pytest.importorskip("snakemake_executor_plugin_slurm")


def cluster(
    folder: Path, monkeypatch: pytest.MonkeyPatch, *, accounts: bool, seconds: int | None
) -> None:
    """A SLURM that keeps accounts or not, and remembers ended jobs for so long."""
    program(folder, "sacct", "exit 0" if accounts else "exit 1")
    said = "exit 1" if seconds is None else f"echo 'MinJobAge               = {seconds} sec'"
    program(folder, "scontrol", said)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("accounts", "arrays", "seconds", "command", "sent", "words"),
    [
        (True, None, 2, "sacct", False, None),
        (True, "train_run", 300, "squeue", True, "Training jobs are sent as arrays"),
        (True, "train_run", 60, "sacct", False, "forgets ended jobs too soon here (MinJobAge 60 s"),
        (True, "train_run", None, "sacct", False, "one by one, not as arrays"),
        (False, "train_run", 3600, "squeue", True, "SLURM keeps no accounts here (sacct fails)"),
        (False, None, 300, "squeue", False, "SLURM keeps no accounts here (sacct fails)"),
    ],
)
def test_slurm_is_asked_as_it_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    accounts: bool,
    arrays: str | None,
    seconds: int | None,
    command: str,
    sent: bool,
    words: str | None,
) -> None:
    cluster(tmp_path, monkeypatch, accounts=accounts, seconds=seconds)
    settings = SimpleNamespace(
        status_command="sacct", array_jobs=arrays, init_seconds_before_status_checks=10
    )
    said, may_be_arrays = choose_status_command(settings)
    assert settings.status_command == command
    assert may_be_arrays == sent
    assert (said is None) == (words is None)
    assert words is None or words in str(said)


def test_a_late_first_look_needs_a_longer_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor itself goes back to sacct where MinJobAge is less than three times its first wait."""
    cluster(tmp_path, monkeypatch, accounts=True, seconds=300)
    for first, command in ((100, "squeue"), (101, "sacct")):
        settings = SimpleNamespace(
            status_command="sacct", array_jobs="train_run", init_seconds_before_status_checks=first
        )
        said, arrays = choose_status_command(settings)
        assert (settings.status_command, arrays) == (command, command == "squeue")
    assert "MinJobAge 300 s, 303 are needed" in str(said)


@pytest.mark.parametrize("seconds", [60, None])
def test_slurm_that_forgets_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: int | None
) -> None:
    cluster(tmp_path, monkeypatch, accounts=False, seconds=seconds)
    settings = SimpleNamespace(status_command="squeue", array_jobs=None)
    with pytest.raises(PipelineError, match="ask for a MinJobAge of at least 240 s"):
        choose_status_command(settings)


NODES = """cpu*|2-00:00:00|(null)
gpu|1:30:00|gpu:a100:4(S:0-1)
gpu|1:30:00|shard:8,gpu:2
short|30:00|(null)
free|infinite|(null)
"""


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("", Partition(2880, frozenset())),  # the default one alone
        ("gpu", Partition(90, frozenset({"gpu", "shard"}))),
        ("short", Partition(30, frozenset())),
        ("free", Partition(None, frozenset())),
        ("gpu,free", Partition(90, frozenset({"gpu", "shard"}))),
        ("other", Partition(None, frozenset())),
    ],
)
def test_what_partitions_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: Partition
) -> None:
    program(tmp_path, "sinfo", f"cat <<'END'\n{NODES}END")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert partition(name) == found


def test_where_no_partition_is_the_default_all_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "sinfo", f"cat <<'END'\n{NODES.replace('*', '')}END")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert partition() == Partition(30, frozenset({"gpu", "shard"}))
    for body in ("exit 1", "echo unknown", "echo 'a*|soon|gpu:1'"):
        program(tmp_path, "sinfo", body)
        assert partition().minutes is None
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert partition() == Partition(None, frozenset())
