"""The workflow on a real SLURM of one node, and what happens when SLURM stops jobs or loses the node.

`make test-slurm` runs all of it; with SLURM_TESTS=short only what is marked so. Needs root and Debian's
packages (tests/slurm_node.py installs them).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import slurm_node
from drills.outcome import arrays_of, differing, digests
from helpers_workflow import SMOKE, Said, copy_project, environment, settings, snakemake
from slurm_conf import SHORT_MINUTES
from slurm_node import NoSlurm, SlurmNode

SHORT = os.environ.get("SLURM_TESTS") == "short"
pytestmark = [pytest.mark.cluster]
long_only = pytest.mark.skipif(SHORT, reason="SLURM_TESTS=short: part of make test-slurm only")

RESULTS = Path("results/smoke")
RUN = RESULTS / "runs/stragglers/main"
TARGET = str(RUN / "manifest.json")
LOCAL_RULES = {"all", "scorecard"}
# Long enough to be stopped; a state is saved all the time.
LONG = (settings(main={"epochs": 1500}), "compute={state_seconds: 0}")


def started(folder: Path, accounts: bool, gpus: bool = False) -> Iterator[SlurmNode]:
    """A node for some tests; skips, and says why, where there can be none."""
    try:
        slurm_node.install(accounts)
        node = slurm_node.start(folder, accounts, gpus)
    except NoSlurm as reason:
        if SHORT:
            pytest.skip(f"SLURM was not tested: {reason}")
        raise
    try:
        yield node
    finally:  # also where a test closes it
        node.stop()
        if left := [name for name in slurm_node.DAEMONS if node.daemon(name)]:
            raise RuntimeError(f"still running: {left}")


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmNode]:
    """With an accounting database; without one in the short version."""
    yield from started(tmp_path_factory.mktemp("slurm"), accounts=not SHORT)


def on_slurm(
    node: SlurmNode,
    project: Path,
    *targets: str,
    config: tuple[str, ...] = (),
    options: tuple[str, ...] = (),
    timeout: float = 3600,
) -> Said:
    """Run ``snakemake --profile slurm`` at scale smoke in ``project``."""
    begun = time.monotonic()
    quick = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "10")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "snakemake", "--profile", "slurm", *quick, *options),
            *("--config", SMOKE, *config, "--", *targets),
        ],
        cwd=project,
        env={**environment(), **node.environment()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    return Said(done.returncode, done.stdout, time.monotonic() - begun)


def run_name(said: Said) -> str:
    """The name that SLURM knows all jobs of a run by."""
    found = re.search(r"SLURM run ID: (\S+)", said.text)
    if found is None:
        raise ValueError(said.text[-2000:])
    return found[1]


def states(node: SlurmNode, said: Said) -> Counter[str]:
    """How many jobs of a run ended how, by SLURM's own records."""
    name = run_name(said)
    return Counter(one["state"].split()[0] for one in node.completed() if one["name"] == name)


def submitted(said: Said) -> int:
    """How many jobs Snakemake planned to send."""
    return sum(number for rule, number in said.counts.items() if rule not in LOCAL_RULES)


def local_run(folder: Path, *targets: str, config: tuple[str, ...] = ()) -> Path:
    """A project in which targets were made without SLURM."""
    project = copy_project(folder)
    said = snakemake(project, *targets, config=config)
    assert said.status == 0, said.text[-3000:]
    return project


@long_only
def test_the_smoke_scale_of_all_papers_runs_on_slurm(
    node: SlurmNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    project = copy_project(tmp_path_factory.mktemp("all") / "project")
    said = on_slurm(node, project, timeout=7200)
    assert said.status == 0, said.text[-3000:]
    # SLURM's own records: each job but the local ones ran there, and none otherwise
    assert states(node, said) == {"COMPLETED": submitted(said)}
    comments = {one["comment"] for one in node.completed() if one["name"] == run_name(said)}
    assert any(comment.startswith("rule_fig_prediction_space_2a") for comment in comments)
    assert any(comment.startswith("rule_train_run") for comment in comments)
    arrays = [one for one in node.completed() if one["name"] == run_name(said) and "_" in one["id"]]
    assert len(arrays) > 50  # training was sent as arrays
    assert snakemake(project, options=("-n",)).counts == {}
    assert snakemake(project, "verify").status == 0
    print(f"smoke scale on SLURM: {submitted(said)} jobs, {said.seconds:.0f} s")
    # the same bits as without SLURM, of all stores, tables and pictures
    reference = local_run(tmp_path_factory.mktemp("local") / "project")
    assert differing(digests(project / RESULTS), digests(reference / RESULTS)) == []


def test_a_figure_runs_on_slurm_with_the_same_bits(
    node: SlurmNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    target = "fig_stragglers_1b" if SHORT else "fig_stragglers_2a"
    project = copy_project(tmp_path_factory.mktemp("figure") / "project")
    said = on_slurm(node, project, target)
    assert said.status == 0, said.text[-3000:]
    assert states(node, said) == {"COMPLETED": submitted(said)}
    if not node.accounts:
        assert "SLURM keeps no accounts here" in said.text
    reference = local_run(tmp_path_factory.mktemp("local") / "project", target)
    assert differing(digests(reference / RESULTS), digests(project / RESULTS)) == []


@long_only
def test_tasks_of_an_array_end_on_their_own(
    node: SlurmNode, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One task takes far longer than the others wait for files: those must not look for its."""
    project = copy_project(tmp_path_factory.mktemp("array") / "project")
    names = ("main", "blocks_0", "blocks_1", "adam_0001")
    targets = [str(RESULTS / f"runs/stragglers/{name}/manifest.json") for name in names]
    said = on_slurm(node, project, *targets, config=(settings(main={"epochs": 20_000}),))
    assert said.status == 0, said.text[-3000:]
    assert states(node, said) == {"COMPLETED": submitted(said)}
    tasks = [one for one in node.completed() if one["name"] == run_name(said) and "_" in one["id"]]
    assert len(tasks) == len(names)
    assert snakemake(project, "verify").status == 0


@long_only
def test_without_an_accounting_database(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("plain")
    nodes = started(folder / "slurm", accounts=False)
    plain = next(nodes)
    try:
        project = copy_project(folder / "project")
        said = on_slurm(plain, project, TARGET)
        assert said.status == 0, said.text[-3000:]
        assert "SLURM keeps no accounts here" in said.text
        assert states(plain, said) == {"COMPLETED": submitted(said)}
    finally:
        nodes.close()


@long_only
@pytest.mark.parametrize(
    ("shared", "asked"),
    [("jobs_per_gpu: 1", "TresPerJob=gres:gpu:1"), ("jobs_per_gpu: 4", "TresPerNode=gres:shard:1")],
)
def test_training_has_a_gpu_or_a_part_of_one(
    tmp_path_factory: pytest.TempPathFactory, shared: str, asked: str
) -> None:
    """Of a GPU in name only; and for no longer than the partition allows."""
    folder = tmp_path_factory.mktemp("gpu")
    nodes = started(folder / "slurm", accounts=False, gpus=True)
    node = next(nodes)
    try:
        project = copy_project(folder / "project")
        said = on_slurm(node, project, TARGET, config=(f"compute={{{shared}}}",))
        assert said.status == 0, said.text[-3000:]
        assert states(node, said) == {"COMPLETED": submitted(said)}
        jobs = node.command("scontrol", "show", "jobs").split("\n\n")
        (training,) = [job for job in jobs if "rule_train_run" in job]
        assert asked in training
        assert f"TimeLimit=00:{SHORT_MINUTES}:00" in training
        assert [job for job in jobs if "gres" in job] == [training]
    finally:
        nodes.close()
    reference = local_run(folder / "local", TARGET)
    assert arrays_of(project / TARGET) == arrays_of(reference / TARGET)


@long_only
def test_few_jobs_at_a_time_one_by_one_by_accounts_and_what_slurm_refuses(
    node: SlurmNode, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    names = ("main", "blocks_0", "blocks_1", "adam_0001", "adam_0005")
    targets = [str(RESULTS / f"runs/stragglers/{name}/manifest.json") for name in names]
    # as arrays, though Snakemake hands out two at a time: none is left unsent
    said = on_slurm(node, project, *targets[:3], options=("--jobs", "2"))
    assert said.status == 0, said.text[-3000:]
    assert states(node, said) == {"COMPLETED": submitted(said)}
    # without arrays the accounts are asked
    said = on_slurm(node, project, *targets, options=("--slurm-array-jobs", ""))
    assert said.status == 0, said.text[-3000:]
    assert "the state of jobs comes from" not in said.text
    assert states(node, said) == {"COMPLETED": submitted(said)}
    # more than the node has: as an array and alone
    for number in (2, 1):
        more = ("--set-resources", "train_run:mem_mb=99999999", "--retries", "1", "--forcerun")
        said = on_slurm(node, project, *targets[:number], options=(*more, *targets[:number]))
        assert said.status == 1
        told = [line for line in said.text.splitlines() if line.startswith("SLURM refused a job: ")]
        assert len(told) == 1, said.text[-3000:]
        assert "emory" in told[0]


@long_only
def test_a_job_killed_for_memory_gets_more_and_then_fails_with_a_sentence(
    node: SlurmNode, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    more = ("--set-resources", "train_run:mem_mb=attempt*attempt*120")
    said = on_slurm(node, project, TARGET, options=more)
    assert said.status == 0, said.text[-3000:]
    ended = states(node, said)
    assert ended["COMPLETED"] == submitted(said)
    assert ended["OUT_OF_MEMORY"] + ended["CANCELLED"] + ended["FAILED"] >= 1, ended
    log = "".join(path.read_text() for path in (project / ".snakemake/slurm_logs").rglob("*.log"))
    assert "exceeded memory limit" in log
    assert snakemake(project, "verify").status == 0

    few = ("--set-resources", "train_run:mem_mb=120", "--retries", "1", "--forcerun", TARGET)
    said = on_slurm(node, project, TARGET, options=few)
    assert said.status == 1
    told = [line for line in said.text.splitlines() if "for want of memory" in line]
    assert len(told) == 1, said.text[-3000:]
    assert "2 times" in told[0]
    assert "train_run:mem_mb=" in told[0]
    assert not (project / TARGET).exists()


@long_only
def test_a_job_stopped_for_time_gets_more_and_goes_on_from_its_state(
    node: SlurmNode, tmp_path: Path
) -> None:
    project = copy_project(tmp_path / "project")
    config = (settings(main={"epochs": 40_000}), "compute={state_seconds: 1.5}")
    more = ("--set-resources", "train_run:runtime=attempt")
    said = on_slurm(node, project, TARGET, config=config, options=more)
    assert said.status == 0, said.text[-3000:]
    assert states(node, said)["TIMEOUT"] >= 1
    log = (project / RESULTS / "logs/train_run/stragglers/main.log").read_text()
    assert "resuming at epoch" in log

    # where no try gets more: one sentence after the last
    config = (settings(main={"epochs": 400_000}), config[1])
    more = ("--set-resources", "train_run:runtime=1", "--retries", "0")
    said = on_slurm(node, project, TARGET, config=config, options=more)
    assert said.status == 1
    told = [line for line in said.text.splitlines() if "for want of time" in line]
    assert len(told) == 1, said.text[-3000:]
    assert (
        "1 time for want of time, at last with 1 minutes; the same command goes on from" in told[0]
    )


@long_only
def test_a_lost_node_gives_its_job_back_and_training_goes_on(
    node: SlurmNode, tmp_path: Path
) -> None:
    reference = local_run(tmp_path / "whole", TARGET, config=LONG)
    project = copy_project(tmp_path / "project")
    main = subprocess.Popen(
        [
            *(sys.executable, "-m", "snakemake", "--profile", "slurm"),
            *("--slurm-init-seconds-before-status-checks", "2"),
            *("--config", SMOKE, *LONG, "--", TARGET),
        ],
        cwd=project,
        env={**environment(), **node.environment()},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        state = project / RESULTS / "state/stragglers/main"
        until = time.monotonic() + 180
        while not any(state.glob("*.pt")):
            assert time.monotonic() < until, "no state was saved"
            assert main.poll() is None
            time.sleep(0.1)
        node.lose_node()
        time.sleep(5)
        assert not [
            one for one in psutil.process_iter(["name"]) if one.info["name"] == "slurmstepd"
        ]
        time.sleep(15)  # SlurmdTimeout, after which the node counts as lost
        slurm_node.start_slurmd(node)
        assert main.wait(timeout=600) == 0
    finally:
        if main.poll() is None:
            main.kill()
    log = (project / RESULTS / "logs/train_run/stragglers/main.log").read_text()
    assert "resuming at epoch" in log
    # SLURM itself gave the job back
    restarts = re.findall(r"Restarts=(\d+)", node.command("scontrol", "show", "jobs"))
    assert "1" in restarts, restarts
    assert arrays_of(project / TARGET) == arrays_of(reference / TARGET)


@long_only
@pytest.mark.parametrize(
    "target",
    [
        "analyses/prediction_space/distances_train/manifest.json",
        "analyses/memorization/capacity_vgg16/manifest.json",
    ],
)
def test_dask_workers_that_are_jobs_of_slurm(node: SlurmNode, tmp_path: Path, target: str) -> None:
    path = str(RESULTS / target)
    project = local_run(tmp_path / "project", path)
    before = (project / path).read_bytes()
    config = ("compute={dask: slurm, dask_workers: 1, dask_memory_mb: 1500}",)
    again = ("--forcerun", path, "--set-resources", "run_analysis:mem_mb=1500")
    if (cache := project / RESULTS / "cache").exists():  # else the tiles would come from there
        subprocess.run(["rm", "-r", str(cache)], check=True)
    name = "manifold-trajectories-dask"
    earlier = {one["id"] for one in node.completed() if one["name"] == name}
    said = on_slurm(node, project, path, config=config, options=again)
    assert said.status == 0, said.text[-3000:]
    assert (project / path).read_bytes() == before
    assert {one["id"] for one in node.completed() if one["name"] == name} - earlier
    # in a job of its own: the scheduler, on loopback and with TLS
    log = next((project / RESULTS / "logs/run_analysis").rglob(f"{Path(target).parent.name}.log"))
    assert "Dask scheduler at tls://127.0.0.1:" in log.read_text()
