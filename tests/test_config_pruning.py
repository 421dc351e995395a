"""Pruned runs, analyses, what a scale leaves out and several files per paper."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipeline.claims.measurement import measure_claims
from pipeline.config import CONFIG_FILE, build_config, load_config, read_paper, run_parameters
from pipeline.config_files import command_line_values, read_yaml
from pipeline.config_schema import load_schemas
from pipeline.errors import ConfigError
from pipeline.runs import RunGroups
from pipeline.scorecard import NOT_RUN, decide

ROOT = Path(__file__).parents[1]
PAPER_FILE, FIGURES_FILE = "config/stragglers.yaml", "config/stragglers/figures.yaml"
BASE = read_yaml(ROOT, CONFIG_FILE)
SCHEMAS = load_schemas(ROOT, ["config", *BASE["papers"]])
FILES = {CONFIG_FILE: BASE}
for paper in BASE["papers"]:
    FILES |= read_paper(ROOT, paper)


def built(over: dict[str, Any] | None = None, files: dict[str, Any] | None = None) -> dict:
    chosen = copy.deepcopy(FILES) if files is None else files
    return build_config(chosen, SCHEMAS, command_line_values(over))


def refused(over: dict[str, Any] | None = None, files: dict[str, Any] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        built(over, files)
    return str(caught.value)


def of_runs(name: str, **changes: Any) -> dict[str, Any]:
    return {"stragglers": {"runs": {name: changes}}}


# pruned_random prunes by main at its inversion: 20 of main's 100 seeds at scale laptop
PRUNED = [
    ({"prune_from": "mian"}, "prune_from = \"mian\" is no run (did you mean 'main'?)", "main, "),
    ({"prune_from": "pruned_10"}, 'prune_from = "pruned_10" is a pruned run', "on all samples"),
    ({"prune_from": "pruned_random"}, 'prune_from = "pruned_random"', "on all samples"),
    ({"prune_epoch": None}, "prune_epoch = null does not say which samples", "set one of"),
    ({"prune_error": 0.1}, 'prune_epoch = "inversion" is set beside prune_error', "set one of"),
    ({"prune_epoch": 501}, "prune_epoch = 501 goes beyond the epochs of main", "valid is 0 to 500"),
    ({"prune_epoch": "inversions"}, 'prune_epoch = "inversions"', "inversion, inversion_distance"),
    ({"prune_epoch": -1}, "prune_epoch = -1", "an epoch, inversion"),
    ({"prune_epoch": None, "prune_error": 0}, "prune_error = 0", "above 0"),
    ({"prune_epoch": None, "prune_error": 1}, "prune_error = 1", "below 1"),
    ({"prune_random": 1}, "prune_random = 1", "true or false"),
    ({"seeds": 101}, "seeds = 101 is more than the seeds of main", "valid is 1 to 100"),
    ({"optimizer": "sgd", "batch_size": 8}, "batch_size = 8 does not fit prune_from", "is null"),
    ({"block": 1}, "block = 1 differs from block = 0 of main", "valid is 0"),
    ({"samples": 512}, "samples = 512 differs from samples = 8192 of main", "valid is 8192"),
    ({"dataset": "kmnist"}, 'dataset = "kmnist" differs from dataset = "mnist"', '"mnist"'),
    ({"labels": "random"}, 'labels = "random" differs from labels = "parity"', '"parity"'),
    (
        {"prune_from": "random_labels", "seeds": 8},
        'labels = "random" are drawn for each run, so that the sets of random_labels are of other',
        "valid is parity",
    ),
]


@pytest.mark.parametrize(("changes", "key", "valid"), PRUNED, ids=[row[1][:40] for row in PRUNED])
def test_what_a_pruned_run_may_not_be(changes: dict[str, Any], key: str, valid: str) -> None:
    (line,) = refused(of_runs("pruned_random", **changes)).splitlines()
    assert f".{key}" in line
    assert valid in line.split(";")[-1]


OTHERS = [
    ("adam_0001", {"prune_epoch": 5}, "prune_epoch = 5 needs prune_from", "valid is null"),
    ("adam_0001", {"prune_error": 0.1}, "prune_error = 0.1 needs prune_from", "valid is null"),
    ("adam_0001", {"prune_random": True}, "prune_random = true needs prune_from", "is false"),
    (
        "adam_0001",
        {"prune_from": "adam_0001", "prune_epoch": 5},
        'prune_from = "adam_0001" is a pruned run itself',
        "on all samples",
    ),
    ("deep_4", {"kernel": 4}, "kernel = 4 does not fit network = fully_connected", "is null"),
    ("cnn", {"grid": {"kernel": [4, 24, None]}}, "grid.kernel = null does not fit", "1 to 28"),
    ("cnn", {"grid": {"kernel": [4, 24, 29]}}, "grid.kernel = 29 is larger", "valid is 1 to 28"),
    ("cnn", {"depth": 3}, "depth = 3 does not fit network = convolutional", "valid is 2"),
    ("adam_0001", {"updates_per_epoch": 1}, "updates_per_epoch = 1 does not fit a full", "null"),
    ("sgd", {"updates_per_epoch": 0}, "updates_per_epoch = 0", "at least 1"),
    ("adam_0001", {"shared_init": True}, "shared_init = true makes all networks", "minibatches"),
    ("sgd_shuffles", {"shared_order": True}, "shared_init = true makes", "shared_order false"),
    ("main", {"test_epochs": "lst"}, 'test_epochs = "lst"', "one of all, last"),
    ("main", {"final_weights": 1}, "final_weights = 1", "true or false"),
]


@pytest.mark.parametrize(
    ("name", "changes", "key", "valid"), OTHERS, ids=[row[2][:40] for row in OTHERS]
)
def test_what_other_runs_may_not_be(
    name: str, changes: dict[str, Any], key: str, valid: str
) -> None:
    (line,) = refused(of_runs(name, **changes)).splitlines()
    assert f"stragglers.runs.{name}.{key}" in line
    assert valid in line.split(";")[-1]


def test_a_wrong_value_of_a_source_is_reported_once_where_it_stands() -> None:
    (line,) = refused(of_runs("cnn", network="cmm")).splitlines()
    assert 'stragglers.runs.cnn.network = "cmm"' in line
    assert "(run cnn_4, cnn_24, cnn_4_pruned and " in line


SECTIONS = [
    ({"figures": {"2d": {"analyses": ["stabilty"]}}}, "did you mean 'stability'"),
    ({"claims": {"straggler_count": {"analyses": ["noisee"]}}}, "did you mean 'noise'"),
    ({"analyses": {"noise": {"runs": ["mian"]}}}, "did you mean 'main'"),
    ({"analyses": {"noise": {"variables": ["weihts"]}}}, "did you mean 'weights'"),
    ({"analyses": {"noise": {"memory_mb": 0}}}, "at least 100"),
    ({"analyses": {"mine": {"runs": ["main"], "variables": []}}}, "function is missing"),
]


@pytest.mark.parametrize(("over", "expected"), SECTIONS, ids=[row[1] for row in SECTIONS])
def test_names_of_analyses_and_their_keys(over: dict[str, Any], expected: str) -> None:
    ((section, entry),) = over.items()
    (line,) = refused({"stragglers": over}).splitlines()
    assert f"stragglers.{section}.{next(iter(entry))}." in line
    assert expected in line


# --- a pruned run is like its source where it does not say otherwise -------------------------------


def test_a_pruned_run_takes_what_it_does_not_set_from_its_source() -> None:
    over = of_runs("under", width=7, checkpoints={"schedule": "linear", "count": 9})
    over["stragglers"]["runs"]["under_random"] = {"checkpoints": {"count": 5}}
    runs = built(over)["stragglers"]["runs"]
    source, pruned = runs["under"], runs["under_random"]
    own = {"name", "group", "epochs", "checkpoints"}
    own |= {"prune_from", "prune_epoch", "prune_random"}
    assert {key for key in source if source[key] != pruned[key]} == own
    assert (pruned["width"], pruned["samples"], pruned["seeds"]) == (7, 32768, source["seeds"])
    assert pruned["checkpoints"] == {"schedule": "linear", "count": 5, "epochs": None}
    assert (pruned["group"], pruned["epochs"]) == ("under_random", 300)


def test_a_pruned_run_starts_from_the_weights_of_its_source() -> None:
    runs = built()["stragglers"]["runs"]
    assert runs["main"]["init_stream"] == "main"
    assert {runs[f"pruned_{t}"]["init_stream"] for t in ("inversion", 100, 10)} == {"main"}
    assert runs["cnn_4_sweep_0.1"]["init_stream"] == "cnn_4"
    assert runs["cnn_4_pruned_fc"]["init_stream"] == "cnn_4"  # though pruned by main
    named = built(of_runs("main", init_stream="mine"))["stragglers"]["runs"]
    assert named["pruned_10"]["init_stream"] == "mine"


def test_training_of_a_pruned_run_depends_on_that_of_its_source() -> None:
    config = built()
    source = run_parameters(config, "stragglers", "main")
    pruned = run_parameters(config, "stragglers", "pruned_10")
    assert source["pruned"] is None
    assert pruned["pruned"] == source
    longer = built(of_runs("main", epochs=600))
    assert run_parameters(longer, "stragglers", "pruned_10")["pruned"]["run"]["epochs"] == 600
    other = built(of_runs("deep_4", epochs=600))
    assert run_parameters(other, "stragglers", "pruned_10") == pruned


# --- what a scale leaves out ----------------------------------------------------------------------


def without(*names: str, scale: str = "laptop") -> dict[str, Any]:
    files = copy.deepcopy(FILES)
    files[PAPER_FILE]["stragglers"]["scales"][scale]["without"] = list(names)
    return files


def test_without_leaves_out_runs_and_all_that_needs_them() -> None:
    whole = built()["stragglers"]
    less = built(files=without("cnn"))["stragglers"]
    gone = [name for name in whole["runs"] if name not in less["runs"]]
    by_cnn = [
        name for name, run in whole["runs"].items() if run["prune_from"] in ("cnn_4", "cnn_24")
    ]
    assert sorted(gone) == sorted(["cnn_4", "cnn_24", *by_cnn])
    # These start as cnn_4 does but are pruned by main, which is there.
    assert "cnn_4_pruned_fc" in less["runs"]
    members = [name for names in less["groups"].values() for name in names]
    assert sorted(members) == sorted(less["runs"])
    assert set(whole["analyses"]) - set(less["analyses"]) == {"stability_cnn", "noise_cnn"}
    for section in ("analyses", "figures"):
        kept = less[section]
        assert {name: whole[section][name] for name in kept} == kept
        for entry in kept.values():
            assert set(entry["runs"]) <= set(less["groups"])
            assert set(entry.get("analyses", [])) <= set(less["analyses"])
    assert "S6" in whole["figures"]
    assert "S6" not in less["figures"]
    assert "1a" in less["figures"]


def test_claims_of_what_is_left_out_stay_and_are_not_run() -> None:
    whole, less = (built(files=files)["stragglers"] for files in (None, without("cnn")))
    assert less["claims"] == whole["claims"]
    lost = [claim for claim in less["claims"] if not set(claim["runs"]) <= set(less["groups"])]
    assert lost
    for row in measure_claims(lost, RunGroups({name: [] for name in less["groups"]})):
        assert "unavailable" not in row
        assert decide(row)[0] == NOT_RUN


def test_without_concerns_its_own_scale_and_names_entries() -> None:
    files = without("cnn", scale="smoke")
    assert built(files=copy.deepcopy(files)) == built()
    assert "cnn_4" not in built({"scale": "smoke"}, files)["stragglers"]["runs"]
    message = refused(files=without("main", "cnnn"))
    assert f'{PAPER_FILE}: stragglers.scales.laptop.without[1] = "cnnn"' in message
    assert "did you mean 'cnn'" in message
    # A single run of a grid is no entry.
    assert 'without[0] = "cnn_4"' in refused(files=without("cnn_4"))


def test_a_scale_may_not_name_an_analysis_that_the_file_lacks() -> None:
    files = copy.deepcopy(FILES)
    files[PAPER_FILE]["stragglers"]["scales"]["smoke"]["analyses"] = {"noies": {"memory_mb": 500}}
    assert "scales.smoke.analyses.noies" in refused(files=files)


# --- several files per paper ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "name", "entry"),
    [("figures", "1a", {}), ("claims", "straggler_count", {}), ("analyses", "noise", {})],
)
def test_an_entry_in_two_files_is_refused(section: str, name: str, entry: dict) -> None:
    files = copy.deepcopy(FILES)
    files[PAPER_FILE]["stragglers"][section] = {name: entry}
    (line,) = refused(files=files).splitlines()
    assert f"stragglers.{section}.{name} is in {PAPER_FILE} too; keep one of them." in line


@pytest.mark.parametrize("section", ["defaults", "scales"])
def test_a_section_without_entries_is_in_one_file_only(section: str) -> None:
    files = copy.deepcopy(FILES)
    files[FIGURES_FILE]["stragglers"][section] = {}
    message = refused(files=files)
    assert message.startswith(f"{FIGURES_FILE}: stragglers.{section} is in {PAPER_FILE} too")


def test_a_file_of_its_own_adds_runs_and_figures(tmp_path: Path) -> None:
    for folder in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    added = tmp_path / "config/stragglers/mine.yaml"
    function = "pipeline.seeds:generator"
    entry = f"title: t\n      function: '{function}'\n      runs: [mine]\n      paper: p\n      section: s"
    added.write_text(
        "stragglers:\n  runs:\n    mine: {prune_from: main, prune_epoch: 7, seeds: 2}\n"
        f"  figures:\n    m1:\n      {entry}\n      minutes: 1\n"
    )
    stragglers = load_config(tmp_path)["stragglers"]
    assert stragglers["runs"]["mine"]["prune_epoch"] == 7
    assert stragglers["runs"]["mine"]["final_weights"] is True  # as main
    assert stragglers["figures"]["m1"]["analyses"] == []
    added.write_text(added.read_text().replace("prune_epoch: 7", "prune_epoch: 777"))
    with pytest.raises(
        ConfigError, match=r"config/stragglers/mine.yaml: .*mine\.prune_epoch = 777"
    ):
        load_config(tmp_path)
    added.write_text("runs: {}\n")
    with pytest.raises(ConfigError, match=r"mine.yaml: its only top key must be 'stragglers'"):
        load_config(tmp_path)
