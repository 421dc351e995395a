"""What is missing: data sets that cannot be had, and runs that a scale leaves out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from conftest import finished_copy
from expected_jobs import PAPER, SUMMARY, figures, jobs_after, smoke_config
from helpers_workflow import dry_run, edited, settings, snakemake

pytestmark = pytest.mark.slow

RESULTS = Path("results/smoke")
KMNIST = {"kmnist": {"dataset": "kmnist", "samples": 512}}
REASON = "kmnist was not found in any source"


def made_of(project: Path, *names: str) -> tuple[str, ...]:
    """Settings under which some data sets are looked for in an empty folder, and made so."""
    empty = project / "nothing"
    empty.mkdir(exist_ok=True)
    config = (
        f"data={{root: {empty}, sources: [folder]}}",
        "datasets={fashion_mnist: {optional: true}}",
    )
    known = smoke_config()
    made_up = {run["dataset"] for paper in known["papers"] for run in known[paper]["runs"].values()}
    targets = [f"{RESULTS}/data/{name}/manifest.json" for name in (*sorted(made_up), *names)]
    said = snakemake(project, *targets, config=config)
    assert said.status == 0, said.text
    assert said.counts == {"prepare_data": len(targets)}
    return config


def verdicts(project: Path) -> dict[str, tuple[str, str]]:
    """(verdict, rule applied) of each claim on the scorecard."""
    with open(project / RESULTS / "scorecard/scorecard.csv") as file:
        return {row["id"]: (row["verdict"], row["rule"]) for row in csv.DictReader(file)}


def claims_of(config: dict[str, Any], group: str) -> set[str]:
    return {claim["id"] for claim in config[PAPER]["claims"] if group in claim["runs"]}


def needed_runs(config: dict[str, Any]) -> set[str]:
    """The runs of all figures, of the claims that can be measured, and what they are pruned by."""
    paper = config[PAPER]
    runs, groups, analyses = paper["runs"], paper["groups"], paper["analyses"]
    shown = [*paper["figures"].values()]
    shown += [
        claim
        for claim in paper["claims"]
        if {*claim["runs"]} <= {*groups} and {*claim["analyses"]} <= {*analyses}
    ]
    shown += [analyses[name] for entry in shown for name in entry["analyses"]]
    needed = {run for entry in shown for group in entry["runs"] for run in groups[group]}
    for _ in runs:
        sources = {runs[name]["prune_from"] for name in needed} - {None}
        needed |= {member for name in sources for member in groups[runs[name]["group"]]}
    return needed


def caption(project: Path, figure: str) -> str:
    """A figure's caption without the marks that protect its text."""
    text = (project / RESULTS / f"figures/{PAPER}/fig{figure}.rst").read_text()
    return text.replace("\\", "")


@pytest.fixture(scope="module")
def lacking(smoke: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A project whose KMNIST cannot be had, run to the end; and its settings."""
    project = finished_copy(smoke, tmp_path_factory.mktemp("lacking") / "project")
    config = (*made_of(project, "kmnist"), settings(**KMNIST))
    said = snakemake(project, config=config)
    assert said.status == 0, said.text[-3000:]
    assert sum(said.counts.values()) == len(jobs_after(smoke_config(), ["kmnist"]))
    return project, config


def test_the_workflow_goes_on_and_is_finished(lacking: tuple[Path, tuple[str, ...]]) -> None:
    project, config = lacking
    assert dry_run(project, config=config).jobs == set()
    said = snakemake(project, "verify", config=config)
    assert said.status == 0, said.text


def test_logs_say_what_is_missing(lacking: tuple[Path, tuple[str, ...]]) -> None:
    for job in ("prepare_data/kmnist", f"train_run/{PAPER}/kmnist"):
        log = (lacking[0] / RESULTS / f"logs/{job}.log").read_text()
        assert REASON in log
        assert "Traceback" not in log


def test_captions_say_what_is_missing(lacking: tuple[Path, tuple[str, ...]]) -> None:
    for figure, drawn in (("3a", 10), ("S3", 4)):
        text = caption(lacking[0], figure)
        assert f"1 run left out: {REASON}" in text
        assert f"n = {drawn} independent networks" in text
        for suffix in (".png", ".svg", ".csv"):
            path = lacking[0] / RESULTS / f"figures/{PAPER}/fig{figure}{suffix}"
            assert path.stat().st_size > 100
    assert "left out" not in caption(lacking[0], "1b")


def test_claims_on_missing_data_are_no_data(lacking: tuple[Path, tuple[str, ...]]) -> None:
    found, without = verdicts(lacking[0]), claims_of(smoke_config(), "kmnist")
    assert without
    for name in without:
        assert found[name][0] == "no data"
        assert REASON in found[name][1]
    assert not [name for name in set(found) - without if REASON in found[name][1]]


def test_files_that_are_put_there_later_are_noticed(
    lacking: tuple[Path, tuple[str, ...]],
) -> None:
    project, config = lacking
    place = project / "nothing/KMNIST/raw/t10k-images-idx3-ubyte"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"KMNIST")
    try:
        jobs = dry_run(project, config=config).jobs
    finally:
        place.unlink()
    assert "prepare_data/kmnist" in jobs
    assert "train_run/kmnist" in jobs
    assert {job for job in jobs if job.startswith("prepare_data/")} == {"prepare_data/kmnist"}


@pytest.mark.long
def test_what_is_pruned_by_a_missing_run_is_missing_too(project: Path) -> None:
    data = {"dataset": "fashion_mnist", "samples": 512}
    runs = settings(under=data, fashion_mnist=data, kmnist=data)
    config = (*made_of(project, "fashion_mnist"), runs)
    drawn = [f"fig_{PAPER}_{figure}" for figure in ("S2", "S3")]
    said = snakemake(project, *drawn, str(RESULTS / f"export/{PAPER}/figS2.nc"), config=config)
    assert said.status == 0, said.text[-3000:]
    # half of the figure is there, and of the other figure nothing
    text = caption(project, "S2")
    configured = smoke_config()[PAPER]["runs"].items()
    gone = [name for name, run in configured if "under" in (name, run["prune_from"])]
    assert len(gone) > 5
    assert f"{len(gone)} runs left out: fashion_mnist was not found in any source" in text
    text = caption(project, "S3")
    assert "Nothing could be drawn: fashion_mnist was not found in any source" in text
    assert "No runs: the data of kmnist, fashion_mnist could not be had" in text


@pytest.mark.parametrize("group", ["cnn", "main"])
def test_a_run_that_the_scale_leaves_out_takes_its_figures_along(
    source_project: Path, group: str
) -> None:
    path = source_project / "config/stragglers.yaml"
    without = f"    smoke: # generated\n      without: [{group}]\n      # data"
    with edited(path, "    smoke: # generated data", without):
        config = smoke_config(root=source_project)
        said = dry_run(source_project)
        refused = dry_run(source_project, f"fig_{PAPER}_{'S5' if group == 'cnn' else '1b'}")
    assert said.status == 0, said.text
    full = smoke_config()
    runs = full[PAPER]["runs"]
    gone = {name for name, run in runs.items() if group in (run["group"], run["prune_from"])}
    lost = {runs[name]["group"] for name in gone}
    kept = {f for f, e in full[PAPER]["figures"].items() if not lost & set(e["runs"])}
    assert set(config[PAPER]["figures"]) == kept
    assert {job for job in said.jobs if job.startswith("fig_")} == figures(config)
    assert not {f"train_run/{name}" for name in gone} & said.jobs
    # nor is anything trained for a claim that needs what is gone
    trained = {job.partition("/")[2] for job in said.jobs if job.startswith("train_run/")}
    trained -= {
        run for other in config["papers"] if other != PAPER for run in config[other]["runs"]
    }
    stored = {name for name, run in config[PAPER]["runs"].items() if run["stored_seeds"]}
    assert trained == needed_runs(config) | stored

    assert refused.status == 1
    last = [line for line in refused.text.splitlines() if line.strip()][-1]
    name = "S5" if group == "cnn" else "1b"
    assert last.startswith(f"'{name}' is no figure of {PAPER} at scale smoke; its figures are: ")
    assert "3e" in last


def test_claims_on_what_the_scale_leaves_out_are_not_run(project: Path) -> None:
    path = project / "config/stragglers.yaml"
    with edited(path, "    smoke: #", "    smoke:\n      without: [cnn]\n      #"):
        assert dry_run(project).jobs == SUMMARY
        said = snakemake(project, "scorecard")
    assert said.status == 0, said.text
    found, without = verdicts(project), claims_of(smoke_config(), "cnn")
    assert without
    assert {found[name][0] for name in without} == {"not run at this scale"}
    config = smoke_config()
    ids = {claim["id"] for paper in config["papers"] for claim in config[paper]["claims"]}
    assert found.keys() == ids
