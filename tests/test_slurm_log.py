"""What is said of jobs that SLURM ended or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.execution.slurm_log import explained

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


def test_why_slurm_stopped_jobs_is_one_sentence_each() -> None:
    memory, late, node = explained(LOG)
    assert "1 time for want of time" in late
    assert "--set-resources measure_geometry:runtime=MORE" in late
    assert "results/smoke/runs/stragglers/main/store" in memory
    assert "2 times for want of memory, at last with 240 MB" in memory
    assert "--set-resources train_run:mem_mb=480" in memory
    assert node.startswith("fig_stragglers_1a (results/smoke/figures/stragglers/fig1a.png)")
    assert "1 time, at last with NODE_FAIL" in node
    assert explained("Finished.") == []
    # one that ended well at last is not told of
    assert len(explained(f"{LOG}Finished jobid: 3 (Rule: train_run)\n")) == 2


@pytest.mark.parametrize(
    ("rule", "allowed", "words"),
    [
        (
            "train_run",
            None,
            "saved last; or give it more with --set-resources train_run:runtime=240.",
        ),
        (
            "train_run",
            240,
            "saved last; or give it more with --set-resources train_run:runtime=240.",
        ),
        (
            "find_inversion",
            200,
            "; the partition allows 200 minutes: give it these with --set-resources find_inversion:",
        ),
        (
            "find_inversion",
            120,
            "; the partition allows 120 minutes; name one that allows more (slurm_part",
        ),
        (
            "train_run",
            120,
            "the same command goes on from the state that was saved last; or the part",
        ),
    ],
)
def test_no_more_time_is_advised_than_the_partition_allows(
    rule: str, allowed: int | None, words: str
) -> None:
    log = (
        f"rule {rule}:\n    jobid: 3\n    resources: mem_mb=1, runtime=120\n"
        f"Error in rule {rule}:\n    message: SLURM status is: 'TIMEOUT'.\n    jobid: 3\n"
    )
    (told,) = explained(log, None, {rule: allowed}.__getitem__)
    assert "1 time for want of time, at last with 120 minutes; " in told
    assert words in told


def test_why_is_looked_up_in_the_jobs_own_output(tmp_path: Path) -> None:
    log = (
        "Error in rule train_run:\n    message: SLURM-job '7_2' failed, SLURM status is: 'FAILED'.\n"
        "    jobid: 3\n    output: store\n    external_jobid: 7_2\n"
    )
    (tmp_path / "rule_train_run").mkdir()
    output = tmp_path / "rule_train_run/7_2.log"
    output.write_bytes(b"slurmstepd: error: Exceeded job memory limit \xff\n")
    (stopped,) = explained(log, tmp_path)
    assert "1 time for want of memory" in stopped
    # a job that failed by itself has told why
    output.write_text("train_run: The data set was not found.\n")
    assert explained(log, tmp_path) == []


REFUSALS = {  # as the executor writes them
    "a job": (
        "Error in rule train_run:\n"
        "    message: SLURM sbatch failed. The error message was '{}'.\n"
        "    sbatch call:\n        sbatch --mem 9 'x'\n\n    jobid: 3\n    output: store\n"
    ),
    "an array": (
        "SLURM sbatch failed for array job submission (tasks 1-25). The error message was '{}'.\n"
        "    sbatch call:\n        sbatch --array=1-25 'x'\n\n"
        "Error in rule train_run:\n"
        "    message: Part of failed array sbatch submission (tasks 1-25); see log for details.\n"
    ),
}


@pytest.mark.parametrize("kind", REFUSALS)
def test_what_slurm_refused_is_one_sentence(kind: str) -> None:
    reason = (
        "sbatch: error: Memory specification can not be satisfied\n"
        "sbatch: error: Batch job submission failed: Requested node configuration is not available"
    )
    (told,) = explained(3 * REFUSALS[kind].format(reason))  # tried three times
    assert told == f"SLURM refused a job: {' '.join(reason.split())}."
