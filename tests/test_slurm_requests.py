"""SLURM is asked the way it answers, arrays of jobs, and what is said of jobs that it stopped."""

from __future__ import annotations

import base64
import json
import logging
import os
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from helpers_programs import program

from pipeline.errors import PipelineError
from pipeline.execution import slurm


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
