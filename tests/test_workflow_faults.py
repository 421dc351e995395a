"""Killed jobs, damaged states and stores, diverging networks."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from helpers_workflow import (
    TRACEBACK,
    chunk,
    copy_project,
    flip_bit,
    settings,
    snakemake,
    start_snakemake,
)

pytestmark = pytest.mark.slow

RUN = "blocks_1"
FOLDER = Path("results/smoke/runs/stragglers") / RUN
MANIFEST = str(FOLDER / "manifest.json")
STATE = Path("results/smoke/state/stragglers") / RUN
LOG = Path("results/smoke/logs/train_run/stragglers") / f"{RUN}.log"
# Long enough to be killed three times; a state is saved at almost every epoch.
LONG = (
    settings(blocks={"epochs": 500, "checkpoints": {"count": 6}}),
    "compute={state_seconds: 0}",
)


def start_and_wait_for_a_state(project: Path) -> tuple[psutil.Popen, psutil.Process]:
    """Snakemake in the background, and its training job once that has saved a new state."""
    path = project / STATE / "group_0_epoch.pt"
    before = path.stat().st_mtime_ns if path.exists() else 0
    main = start_snakemake(project, [MANIFEST], LONG, ["--cores", "1"])
    until = time.monotonic() + 120
    while not path.exists() or path.stat().st_mtime_ns == before:
        if main.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"no state was saved; Snakemake ended with {main.poll()}")
        time.sleep(0.02)
    jobs = main.children(recursive=True)
    (job,) = [one for one in jobs if "train_run.py" in " ".join(one.cmdline()[1:2])]
    return main, job


def check_that_an_orphan_is_let_alone(project: Path, job: psutil.Process) -> None:
    """The same command is refused while a training job goes on that outlived its Snakemake."""
    state = project / STATE / "group_0_epoch.pt"
    job.suspend()  # so that it does not end meanwhile
    assert snakemake(project, options=("--unlock",)).status == 0
    before = state.stat().st_mtime_ns
    said = snakemake(project, MANIFEST, config=LONG, options=("--cores", "1"))
    assert said.status == 1
    told = [line for line in said.text.splitlines() if f"process {job.pid} on " in line]
    assert len(told) == 1, said.text
    assert "wait until it has ended, or stop it, then run the same command again." in told[0]
    assert not [word for word in TRACEBACK if word in said.text]
    assert state.stat().st_mtime_ns == before
    job.resume()
    until = time.monotonic() + 60
    while state.stat().st_mtime_ns == before:
        assert job.is_running()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_killed_training_resumes_to_the_same_bits(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    generator = random.Random(2303)  # noqa: S311
    for killed in ("all", "snakemake", "job"):
        main, job = start_and_wait_for_a_state(project)
        time.sleep(generator.uniform(0.0, 0.4))
        if killed == "all":
            os.killpg(main.pid, signal.SIGKILL)
            if job.is_running():
                job.kill()
            main.wait()
            assert snakemake(project, options=("--unlock",)).status == 0
        elif killed == "snakemake":
            main.kill()
            main.wait()
            try:
                check_that_an_orphan_is_let_alone(project, job)
            finally:
                job.kill()
                job.wait(60)
        else:
            job.kill()
            assert main.wait() == 1
        assert not (project / MANIFEST).exists()
        assert (project / STATE / "group_0_epoch.pt").is_file()
    said = snakemake(project, MANIFEST, config=LONG)  # two cores
    assert said.status == 0, said.text
    log = (project / LOG).read_text()
    assert "resuming at epoch" in log
    assert " epoch 0 of" not in log
    assert not (project / STATE).exists()
    assert {path.suffix for path in (project / LOG).parent.iterdir()} == {".log"}
    resumed = (project / MANIFEST).read_bytes()

    # damaged: ignored with a line in the log, and the same bits without interruption on one core
    (project / STATE).mkdir(parents=True)
    (project / STATE / "group_0_epoch.pt").write_bytes(b"PK\x03\x04 this was a state")
    said = snakemake(project, MANIFEST, config=LONG, options=("--force", "--cores", "1"))
    assert said.status == 0, said.text
    log = (project / LOG).read_text()
    assert "is unreadable" in log
    assert "starting afresh" in log
    assert " epoch 0 of" in log
    assert (project / MANIFEST).read_bytes() == resumed


DAMAGED = {  # store and array: the target that reads it, its rule and its log
    ("runs/stragglers/blocks_1", "train_error"): (
        *("fig_stragglers_1c", "fig_stragglers_1c", "plot_figure/stragglers/fig1c"),
    ),
    ("analyses/stragglers/stability", "z_score"): (
        *("fig_stragglers_2d", "fig_stragglers_2d", "plot_figure/stragglers/fig2d"),
    ),
    ("runs/stragglers/main", "misclassified"): (
        "results/smoke/runs/stragglers/pruned_random/manifest.json",
        *("train_run", "train_run/stragglers/pruned_random"),
    ),
}


def test_damaged_stores_stop_what_reads_them_by_name(project: Path) -> None:
    results = project / "results/smoke"
    for folder, array in DAMAGED:
        flip_bit(chunk(results / folder, array))
    targets = [target for target, _, _ in DAMAGED.values()]
    said = snakemake(project, *targets, options=("--force",))
    assert said.status == 1
    for (folder, array), (_, rule, name) in DAMAGED.items():
        told = [line for line in said.text.splitlines() if line.startswith(f"{rule}: ")]
        assert len(told) == 1, said.text
        log = (results / f"logs/{name}.log").read_text()
        for text in (told[0], log):
            assert f"results/smoke/{folder}" in text
            assert array in text
            assert not [word for word in TRACEBACK if word in text]
    for figure in ("1c", "2d"):
        assert not (results / f"figures/stragglers/fig{figure}.png").exists()

    said = snakemake(project, "verify")
    assert said.status == 1
    assert "Traceback" not in said.text
    for folder, array in DAMAGED:
        assert f"results/smoke/{folder}" in said.text
        assert array in said.text


def test_a_seed_that_diverges_is_left_out_and_counted(project: Path) -> None:
    from pipeline.store.reader import open_store

    wild = {"activation": "relu", "depth": 4, "init": "he", "learning_rate": 2.0, "epochs": 60}
    wild |= {"seeds": 6}
    # and two jobs side by side that ask for more memory than there is are told of beforehand
    more = ("--set-resources", f"train_run:mem_mb={0.6 * psutil.virtual_memory().total / 1e6:.0f}")
    said = snakemake(project, "fig_stragglers_1c", config=(settings(blocks=wild),), options=more)
    assert "The largest jobs that may run side by side on 2 cores need " in said.text
    results = project / "results/smoke"
    runs = [f"runs/stragglers/{name}" for name in ("blocks_0", "blocks_1")]
    failed = np.array([open_store(results / run)["failed_epoch"].values for run in runs]) >= 0
    assert 0 < failed.sum() < failed.size, failed
    inversion = open_store(results / "inversion/stragglers/blocks")
    assert (np.isfinite(inversion["phi"].values).sum(axis=1) <= (~failed).sum(axis=1)).all()
    assert said.status == 0, said.text
    caption = (results / "figures/stragglers/fig1c.rst").read_text()
    kept, lost = (~failed).sum(), failed.sum()
    assert f"n = {kept} independent networks" in caption
    assert f"; {lost} more diverged and are left out" in caption


def test_a_run_that_diverges_wholly_is_one_sentence(project: Path) -> None:
    wild = {"activation": "relu", "depth": 2, "learning_rate": 1e6, "epochs": 20}
    shutil.rmtree(project / "results/smoke/inversion/stragglers/blocks")
    said = snakemake(project, "fig_stragglers_1c", config=(settings(blocks=wild),))
    assert said.status == 1
    told = [line for line in said.text.splitlines() if line.startswith("find_inversion: ")]
    assert len(told) == 1, said.text
    assert "3" in told[0]
    log = (project / "results/smoke/logs/find_inversion/stragglers/blocks.log").read_text()
    assert len(log.splitlines()) == 1
    assert not [word for word in TRACEBACK if word in log]
