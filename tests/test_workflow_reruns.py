"""What a change reruns: dry runs in a finished project."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from drills.kills import kill_all
from expected_jobs import PAPER, SUMMARY, all_jobs, figures, jobs_after, smoke_config
from helpers_workflow import dry_run, edited, settings, snakemake, start_snakemake

pytestmark = pytest.mark.slow

OPTIMIZERS = Path("src/pipeline/training/optimizers.py")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return smoke_config()


def would_run(project: Path, *changes: str) -> set[str]:
    said = dry_run(project, config=changes)
    assert said.status == 0, said.text[-2000:]
    return said.jobs


def of_rule(jobs: Iterable[str], rule: str) -> set[str]:
    return {job.partition("/")[2] for job in jobs if job.partition("/")[0] == rule}


def touch(paths: Iterable[Path]) -> None:
    for path in paths:
        if path.is_file():
            os.utime(path)


# --- what the configuration changes -------------------------------------------------------------


def test_a_figures_entry_redraws_that_figure_only(shared_project: Path) -> None:
    changes = {
        "1a": "{title: Another title}",
        "1b": "{options: {}, section: Elsewhere}",
        "3a": "{options: {networks: 2}}",
    }
    entries = ", ".join(f"{name}: {entry}" for name, entry in changes.items())
    jobs = would_run(shared_project, f"stragglers={{figures: {{{entries}}}}}")
    assert jobs == {f"fig_stragglers_{name}" for name in changes} | {"all"}


def test_an_analysis_entry_makes_it_again_and_what_uses_it(
    shared_project: Path, config: dict[str, Any]
) -> None:
    plugin = shared_project / "plugin.py"
    plugin.write_text("def other(data, options): ...\n")
    changed = "{stability: {options: {epochs: [5, 10]}}, sharpness: {function: 'plugin.py:other'}}"
    jobs = would_run(shared_project, f"stragglers={{analyses: {changed}}}")
    plugin.unlink()
    drawn = {f"fig_stragglers_{figure}" for figure in ("2d", "3c", "3d")}
    assert jobs == {"run_analysis/stability", "run_analysis/sharpness"} | drawn | SUMMARY
    assert jobs == jobs_after(config, analyses=["stability", "sharpness"])


def test_a_key_of_one_run_retrains_that_run_and_what_shows_it(
    shared_project: Path, config: dict[str, Any]
) -> None:
    jobs = would_run(shared_project, settings(adam_0001={"learning_rate": 0.002}))
    made = {f"{rule}/adam_0001" for rule in ("train_run", "find_inversion", "measure_geometry")}
    assert jobs == made | {"fig_stragglers_1d"} | SUMMARY
    assert jobs == jobs_after(config, ["adam_0001"])


def test_a_key_of_a_group_retrains_its_runs(shared_project: Path, config: dict[str, Any]) -> None:
    jobs = would_run(shared_project, settings(blocks={"seeds": 4}))
    assert of_rule(jobs, "train_run") == {"blocks_0", "blocks_1"}
    assert of_rule(jobs, "find_inversion") == {"blocks"}
    assert jobs == jobs_after(config, ["blocks_0", "blocks_1"])


def test_a_key_of_a_source_retrains_what_is_pruned_by_it(
    shared_project: Path, config: dict[str, Any]
) -> None:
    jobs = would_run(shared_project, settings(main={"seeds": 5}))
    pruned = {n for n, run in config[PAPER]["runs"].items() if run["prune_from"] == "main"}
    assert pruned >= {"pruned_inversion", "sweep_0.1", "sweep_random_0.2", "cnn_4_pruned_fc"}
    assert of_rule(jobs, "train_run") == {"main"} | pruned
    assert jobs == jobs_after(config, ["main"])
    assert not {"fig_stragglers_1c", "fig_stragglers_1d", "fig_stragglers_3b"} & jobs


def test_a_new_value_of_a_grid_trains_its_own_run_only(shared_project: Path) -> None:
    changes = {"stragglers": {"runs": {"sweep": {"grid": {"prune_error": [0.1, 0.15, 0.2]}}}}}
    wider = smoke_config(changes)
    jobs = would_run(shared_project, f"stragglers={changes['stragglers']!r}")
    assert of_rule(jobs, "train_run") == {"sweep_0.15"}
    assert of_rule(jobs, "find_inversion") == {"sweep"}
    assert of_rule(jobs, "run_analysis") == {"noise"}
    assert jobs == jobs_after(wider, ["sweep_0.15"])


def test_a_value_less_in_a_grid_trains_nothing(shared_project: Path) -> None:
    jobs = would_run(shared_project, settings(sweep={"grid": {"prune_error": [0.2]}}))
    assert of_rule(jobs, "find_inversion") == {"sweep"}
    assert of_rule(jobs, "train_run") == set()


def test_a_claims_threshold_measures_claims_again_only(shared_project: Path) -> None:
    change = "stragglers={claims: {block_invariance: {threshold: 0.03}}}"
    assert would_run(shared_project, change) == SUMMARY


def test_what_no_result_depends_on_reruns_nothing(shared_project: Path) -> None:
    stragglers = {
        "figures": {"1a": {"minutes": 99}},
        "analyses": {"tsne": {"memory_mb": 2500}},
        "runs": {"adam_0001": {"learning_rate": "1e-3"}},  # another spelling of the same number
    }
    changes = [
        "compute={state_seconds: 1, memory_mb: 2500}",
        f"stragglers={stragglers}",
        "datasets={mnist: {samples: {train: 60000, test: 9999}}}",
        "optimizers={other: {builder: 'pipeline.training.optimizers:gd', parameters: [], batches: full}}",
    ]
    assert would_run(shared_project, *changes) == set()


@pytest.mark.parametrize("change", ["seed=7", "compute={threads: 2}"])
def test_another_root_seed_or_thread_count_makes_everything_again_but_data(
    shared_project: Path, config: dict[str, Any], change: str
) -> None:
    wanted = {job for job in all_jobs(config) if not job.startswith("prepare_data/")}
    assert would_run(shared_project, change) == wanted


# --- what code changes --------------------------------------------------------------------------


def test_comments_docstrings_layout_and_touching_rerun_nothing(shared_project: Path) -> None:
    training = (shared_project / OPTIMIZERS).parent
    script = shared_project / "workflow/scripts/train_run.py"
    with (
        edited(training / "group.py", '"""Training one group', '# a comment\n\n"""One group'),
        edited(training / "optimizers.py", "def gd(", "\n\n\n# plain\ndef gd("),
        edited(script, '"""Rule script: trains', '"""Another docstring: trains'),
    ):
        # as a switch to another branch and back leaves it: all files are newer than all results
        touch((shared_project / "src").rglob("*.py"))
        touch((shared_project / "workflow").rglob("*"))
        touch((shared_project / "config").rglob("*"))
        touch([shared_project / "Snakefile"])
        assert would_run(shared_project) == set()


def test_code_of_training_retrains(shared_project: Path, config: dict[str, Any]) -> None:
    with edited(shared_project / OPTIMIZERS, "", "\nANYTHING = 1\n"):
        assert would_run(shared_project) == jobs_after(config, config[PAPER]["runs"])


def test_code_of_figures_redraws_figures_only(shared_project: Path, config: dict[str, Any]) -> None:
    path = shared_project / "src/pipeline/figures/style.py"
    with edited(path, "", "\nANYTHING = 1\n"):
        assert would_run(shared_project) == figures(config) | {"all"}


def test_code_of_an_analysis_makes_that_again(shared_project: Path) -> None:
    path = shared_project / "src/pipeline/analysis/centres.py"
    with edited(path, "", "\nANYTHING = 1\n"):
        jobs = would_run(shared_project)
    assert of_rule(jobs, "run_analysis") == {"class_centres", "class_centres_grey", "tsne"}
    assert "fig_stragglers_S4" in jobs
    assert not {"train_run", "find_inversion"} & {job.partition("/")[0] for job in jobs}


def test_a_rules_script_reruns_that_rule(shared_project: Path) -> None:
    path = shared_project / "workflow/scripts/make_scorecard.py"
    with edited(path, "    write_csv(", "    rows = list(rows)\n    write_csv("):
        assert would_run(shared_project) == {"scorecard", "all"}


# --- what files say -----------------------------------------------------------------------------


def test_without_snakemakes_records_the_manifests_say_what_is_stale(
    project: Path, config: dict[str, Any]
) -> None:
    shutil.rmtree(project / ".snakemake")
    assert would_run(project) == set()
    jobs = would_run(project, settings(adam_0001={"learning_rate": 0.002}))
    assert jobs == jobs_after(config, ["adam_0001"])
    jobs = would_run(project, "stragglers={analyses: {stability: {options: {epochs: [5]}}}}")
    assert jobs == jobs_after(config, analyses=["stability"])
    with edited(project / OPTIMIZERS, "", "\nANYTHING = 1\n"):
        assert would_run(project) == jobs_after(config, config[PAPER]["runs"])
    with edited(project / OPTIMIZERS, "", "\n# a comment\n"):
        assert would_run(project) == set()


@pytest.mark.parametrize("kind", ["data/generated", "inversion/stragglers/main"])
def test_what_is_made_again_identically_retrains_nothing(
    project: Path, config: dict[str, Any], kind: str
) -> None:
    manifest = project / f"results/smoke/{kind}/manifest.json"
    before = manifest.read_bytes(), manifest.stat().st_mtime_ns
    said = snakemake(project, f"results/smoke/{kind}/manifest.json", options=("--force",))
    assert said.status == 0, said.text
    assert sum(said.counts.values()) == 1
    assert manifest.read_bytes() == before[0]
    assert manifest.stat().st_mtime_ns > before[1]
    assert would_run(project) == set()
    touch((project / "results/smoke").rglob("store/**/*"))
    assert would_run(project) == set()
    manifest.write_bytes(before[0].replace(b"sha256", b"SHA256", 1))
    runs = config[PAPER]["runs"]
    if kind == "data/generated":
        assert would_run(project) == jobs_after(config, runs)
    else:
        pruned = {name for name, run in runs.items() if run["prune_from"] == "main"}
        assert of_rule(would_run(project), "train_run") == pruned


def test_a_missing_store_is_made_again(project: Path) -> None:
    shutil.rmtree(project / "results/smoke/runs/stragglers/adam_0005/store")
    assert "train_run/adam_0005" in would_run(project, "stragglers={figures: {1d: {title: T}}}")
    assert would_run(project) == set()  # nothing asked for needs it


def test_what_a_killed_run_was_to_replace_is_made_again(project: Path) -> None:
    """Also where figures that were drawn before need nothing; see ``pipeline.interrupted``."""
    name = "results/smoke/inversion/stragglers/main/manifest.json"
    manifest, record = project / name, project / "results/smoke/requests/replaced.json"
    before = manifest.read_bytes()
    main = start_snakemake(project, [name], options=["--forcerun", name])
    try:
        until = time.monotonic() + 120
        while manifest.exists():
            assert main.poll() is None
            assert time.monotonic() < until
            time.sleep(0.005)
    finally:
        kill_all(main)
    snakemake(project, options=("--unlock",))
    assert not manifest.exists()
    assert record.exists()
    said = dry_run(project)
    ahead = said.jobs
    assert f"had made these again: {name}. Where" in said.text
    assert {"find_inversion/main", "fig_stragglers_2a"} <= ahead
    assert would_run(project) == ahead
    assert "main" not in of_rule(ahead, "train_run")
    said = snakemake(project, name)
    assert said.status == 0, said.text
    assert manifest.read_bytes() == before
    assert not record.exists()
    assert would_run(project) == set()
