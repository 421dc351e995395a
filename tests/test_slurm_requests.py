"""What training asks SLURM for at every scale, how jobs are put into arrays, and what arrays cannot hold."""

from __future__ import annotations

import base64
import json
import logging
import random
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.config import load_config
from pipeline.errors import PipelineError
from pipeline.estimate import Estimate
from pipeline.execution import slurm_requests as slurm
from pipeline.plan import job_estimate

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_no_run_asks_for_more_than_twice_what_it_needs(scale: str) -> None:
    config = load_config(ROOT, {"scale": scale})
    asked = []
    for paper in config["papers"]:
        for name in config[paper]["runs"]:
            cost = job_estimate(config, paper, name)
            memory, minutes = slurm.training_request(cost)
            assert cost.memory_mb <= memory < 2 * cost.memory_mb
            assert cost.minutes <= minutes < 2 * cost.minutes
            asked.append((memory, minutes))
    assert len(set(asked)) < len(asked) / 2  # so that there are arrays


def test_a_gpu_needs_less_time() -> None:
    cost = Estimate(seconds=360_000.0, memory_mb=3000, disk_mb=1.0)
    assert slurm.training_request(cost) == (4096, 32768)
    assert slurm.training_request(cost, speedup=50.0) == (4096, 512)
    assert slurm.training_request(cost._replace(seconds=1.0, memory_mb=512)) == (512, 16)


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


class Plugin:
    """The executor's own way to put jobs into arrays, without SLURM."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plugin = pytest.importorskip("snakemake_executor_plugin_slurm")
        monkeypatch.setattr(plugin, "pending_jobs_for_rule", lambda dag, rule: 50)  # more are ready
        sent: list[list[str]] = []

        class Executor(plugin.Executor):
            _main_event_loop = None
            array_jobs = frozenset({"train_run"})
            max_array_size = 25
            workflow = SimpleNamespace(dag=object())
            logger = logging.getLogger("slurm")

            def __init__(self) -> None:
                pass

            def _submit_job(self, job: Any) -> None:
                sent.append([job.name])

            def _submit_array_jobs(self, jobs: list[Any]) -> None:
                sent.append([job.name for job in jobs])

        monkeypatch.setattr(plugin, "Executor", Executor)
        self.module, self.sent = plugin, sent

    def run(self, jobs: list[Any]) -> list[list[str]]:
        self.sent.clear()
        self.module.Executor().run_jobs(jobs)
        return self.sent


def made_up_job(name: str, rule: str = "train_run", group: bool = False, **resources: Any) -> Any:
    asked = {"tmpdir": f"/tmp/{name}", "mem_mb": 512, "runtime": 16} | resources  # noqa: S108
    return SimpleNamespace(
        name=name, rule=SimpleNamespace(name=rule), resources=asked, is_group=lambda: group
    )


def test_arrays_hold_jobs_that_ask_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = [
        made_up_job("a"),
        made_up_job("b", mem_mb=1024),  # tried again with more
        made_up_job("c"),
        made_up_job("d", runtime=32),
        made_up_job("e", mem_mb=1024),
        made_up_job("f", rule="find_inversion"),
        made_up_job("g", group=True),
        made_up_job("h", gres="shard:1"),
    ]
    plugin = Plugin(monkeypatch)
    # by itself the executor waits for more where fewer than an array's worth are there
    assert plugin.run(jobs[:3]) == []
    slurm.send_by_request(plugin.module, arrays=True)
    assert plugin.run(jobs) == [["a", "c"], ["b", "e"], ["d"], ["f"], ["g"], ["h"]]


def test_without_arrays_all_are_sent_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin(monkeypatch)
    slurm.send_by_request(plugin.module, arrays=False)
    assert plugin.run([made_up_job(name) for name in "abc"]) == [["a"], ["b"], ["c"]]


def test_an_executor_of_another_kind_is_refused() -> None:
    with pytest.raises(
        PipelineError, match=r"snakemake-executor-plugin-slurm .*requirements\.lock"
    ):
        slurm.send_by_request(SimpleNamespace(), arrays=True)


@pytest.mark.parametrize("value", ["{'main': 1}", '{"main": 1}', "{a: $HOME}", "{a: `b`}", "a\\b"])
def test_what_a_shell_changes_does_not_reach_arrays(value: str) -> None:
    arrays = SimpleNamespace(array_jobs="train_run", array_limit=25)
    with pytest.raises(PipelineError, match=r"within a value does not reach .*--configfile"):
        slurm.check_values(arrays, ["scale=smoke", f"stragglers={value}"])
    slurm.check_values(arrays, ["scale=smoke", "stragglers={runs: {main: {epochs: 3}}}"])
    slurm.check_values(SimpleNamespace(array_jobs=None), [f"stragglers={value}"])


def test_too_much_for_one_argument_is_refused() -> None:
    arrays = SimpleNamespace(array_jobs="train_run", array_limit=25)
    letters = "".join(random.Random(0).choices("abcdefghijklmnopqrstuvwxyz", k=3000))  # noqa: S311
    with pytest.raises(PipelineError, match="too much in it for the commands of 25 jobs"):
        slurm.check_values(arrays, [f"stragglers={{note: {letters}}}"])
    slurm.check_values(arrays, [f"stragglers={{note: {letters[:600]}}}"])
    few = SimpleNamespace(array_jobs="train_run", array_limit=10)
    slurm.check_values(few, [f"stragglers={{note: {letters}}}"])
