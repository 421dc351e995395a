"""Loading, merging and resolving the configuration."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_config, run_parameters
from pipeline.config_docs import readme
from pipeline.config_files import dotted, has
from pipeline.errors import ConfigError

ROOT = Path(__file__).parents[1]
SCALES = ("paper", "laptop", "smoke")

RUN_KEYS = {
    *("dataset", "samples", "block", "statistics", "grey", "labels"),
    *("network", "depth", "width", "activation", "init", "init_variance", "init_stream"),
    *("optimizer", "learning_rate", "momentum", "weight_decay", "batch_size", "shared_order"),
    *("epochs", "seeds", "layers", "checkpoints", "stored_seeds", "precision", "kernel"),
    *("updates_per_epoch", "shared_init", "test_epochs", "final_weights"),
    *("prune_from", "prune_epoch", "prune_error", "prune_random"),
    *("name", "paper", "group"),
}


@pytest.mark.parametrize("scale", SCALES)
def test_every_scale_resolves_every_run_completely(scale):
    config = load_config(ROOT, {"scale": scale})
    assert config["scale"] == scale
    runs = config["stragglers"]["runs"]
    for name, run in runs.items():
        assert set(run) == RUN_KEYS
        assert set(run["checkpoints"]) == {"schedule", "count", "epochs"}
        assert (run["name"], run["paper"]) == (name, "stragglers")
        if run["prune_from"] is None:
            assert run["init_stream"] == name
        elif not name.endswith("_fc"):  # these start as another run than the one they prune by
            assert run["init_stream"] == run["prune_from"]
    json.dumps(config, allow_nan=False)  # plain and finite throughout


FIGURE_1 = (
    *("main", "blocks", "adam_0001", "adam_0005", "weight_decay_001", "weight_decay_005"),
    *("momentum_05", "momentum_09", "random_labels"),
)


def test_paper_scale_has_the_numbers_of_the_paper():
    stragglers = load_config(ROOT, {"scale": "paper"})["stragglers"]
    runs, groups = stragglers["runs"], stragglers["groups"]
    assert runs["main"]["seeds"] == 1000
    first = [name for group in FIGURE_1 for name in groups[group]]
    assert {runs[name]["seeds"] for name in first if name != "main"} == {20}
    assert {runs[name]["samples"] for name in first} == {8192}
    chosen = {
        name: (run["optimizer"], run["learning_rate"], run["weight_decay"], run["momentum"])
        for name, run in runs.items()
    }
    assert chosen["adam_0001"] == ("adam", 0.001, 0.0, 0.0)
    assert chosen["adam_0005"] == ("adam", 0.005, 0.0, 0.0)
    assert chosen["weight_decay_001"] == ("gd", 0.2, 0.01, 0.0)
    assert chosen["weight_decay_005"] == ("gd", 0.2, 0.05, 0.0)
    assert chosen["momentum_05"] == ("gd", 0.5, 0.0, 0.5)
    assert chosen["momentum_09"] == ("gd", 0.2, 0.0, 0.9)
    assert [runs[name]["prune_epoch"] for name in groups["pruned"]] == ["inversion", 100, 10]
    cifar = runs["cifar10"]
    assert (cifar["depth"], cifar["learning_rate"], cifar["seeds"]) == (8, 0.02, 20)
    wide = [*groups["architectures"], *groups["architectures_wide"]]
    shapes = {tuple(runs[name][key] for key in ("depth", "width", "samples")) for name in wide}
    widths, sizes = (10, 20, 40, 80), (4096, 8192, 16384, 32768)
    assert shapes == {(d, w, p) for d in (2, 4, 8) for w in widths for p in sizes}
    assert {runs[name]["seeds"] for name in (*wide, *groups["scaling_mnist"])} == {100}
    assert runs["sgd_shuffles"]["batch_size"] == 32
    assert runs["sgd_shuffles"]["shared_init"] is True


# What fewer networks and shorter training change: of the CIFAR-10 run also the arithmetic.
FEWER = {"seeds", "epochs", "precision"}


def test_laptop_scale_is_the_same_experiments_with_fewer_seeds():
    paper = load_config(ROOT, {"scale": "paper"})["stragglers"]
    laptop = load_config(ROOT, {"scale": "laptop"})["stragglers"]
    assert list(laptop["groups"]) == list(paper["groups"])
    # Coarser grids of training errors in the supplement.
    others = {laptop["runs"][name]["group"] for name in set(laptop["runs"]) - set(paper["runs"])}
    assert others <= {"under_sweep", "over_sweep", "cnn_4_sweep", "cnn_24_sweep"}
    for name in set(laptop["runs"]) & set(paper["runs"]):
        ours, theirs = laptop["runs"][name], paper["runs"][name]
        changed = {key for key in theirs if ours[key] != theirs[key]}
        assert changed <= (FEWER if name == "cifar10" else FEWER - {"precision"}), name
        assert ours["seeds"] <= theirs["seeds"]
        assert ours["epochs"] <= theirs["epochs"]
        # A pruned run takes seeds of its source.
        assert ours["seeds"] <= laptop["runs"][ours["prune_from"] or name]["seeds"]
    for name in ("figures", "claims", "analyses"):
        assert laptop[name] == paper[name]


def test_smoke_scale_is_small_and_generated():
    config = load_config(ROOT, {"scale": "smoke"})
    stragglers = config["stragglers"]
    assert stragglers["groups"]["blocks"] == ["blocks_0", "blocks_1"]
    main = stragglers["runs"]["main"]
    assert (main["dataset"], main["samples"], main["epochs"]) == ("generated", 512, 120)
    for run in stragglers["runs"].values():
        assert run["dataset"] == "generated"
        assert run["samples"] <= 1024
        assert run["epochs"] <= 400
        assert 2 <= run["seeds"] <= 6
    entry = config["datasets"]["generated"]
    assert entry["options"] == {f"{split}_samples": n for split, n in entry["samples"].items()}


def test_grid_expands_to_named_runs_of_one_group():
    grid = {"block": [1, 0], "learning_rate": [0.5], "labels": ["random"]}
    over = {"stragglers": {"runs": {"blocks": {"grid": grid}}}}
    stragglers = load_config(ROOT, over)["stragglers"]
    names = ["blocks_1_0.5_random", "blocks_0_0.5_random"]
    assert stragglers["groups"]["blocks"] == names
    run = stragglers["runs"][names[0]]
    assert (run["block"], run["learning_rate"], run["labels"]) == (1, 0.5, "random")
    assert run["group"] == "blocks"
    assert run["init_stream"] == names[0]


def test_command_line_wins_over_scale_and_file():
    stragglers = {"defaults": {"seeds": 5}, "runs": {"main": {"seeds": 70}}}
    runs = load_config(ROOT, {"stragglers": stragglers})["stragglers"]["runs"]
    assert runs["adam_0001"]["seeds"] == 5
    assert runs["main"]["seeds"] == 70
    assert runs["blocks_0"]["seeds"] == 8  # set by the scale for this run itself


def test_text_from_the_command_line_gets_its_type():
    over = {
        "seed": "8",
        "compute.compile": "true",
        "compute": {"state_seconds": "1e-3"},
        "stragglers": {"defaults": {"init_stream": "shared", "batch_size": "null"}},
    }
    config = load_config(ROOT, over)
    assert config["seed"] == 8
    assert config["compute"]["compile"] is True
    assert config["compute"]["state_seconds"] == 0.001
    run = config["stragglers"]["runs"]["main"]
    assert (run["init_stream"], run["batch_size"]) == ("shared", None)


def test_whole_and_decimal_spelling_of_a_number_are_the_same_setting():
    spellings = [
        load_config(ROOT, {"stragglers": {"runs": {"main": {"learning_rate": value}}}})
        for value in (1, 1.0, "1")
    ]
    texts = {json.dumps(run_parameters(config, "stragglers", "main")) for config in spellings}
    assert len(texts) == 1


def test_run_precision_defaults_to_compute():
    over = {
        "compute": {"precision": "bf16"},
        "stragglers": {"runs": {"main": {"precision": "float64"}}},
    }
    runs = load_config(ROOT, over)["stragglers"]["runs"]
    assert (runs["main"]["precision"], runs["blocks_0"]["precision"]) == ("float64", "bf16")


def test_a_list_of_checkpoints_replaces_the_schedule_of_the_defaults():
    checkpoints = {"schedule": "list", "epochs": [10, 0]}
    over = {"stragglers": {"runs": {"main": {"checkpoints": checkpoints}}}}
    run = load_config(ROOT, over)["stragglers"]["runs"]["main"]
    assert run["checkpoints"] == {"schedule": "list", "count": None, "epochs": [0, 10]}
    defaults = {"defaults": {"checkpoints": checkpoints}}
    over = {"stragglers": defaults | {"runs": {"main": {"checkpoints": {"schedule": "log"}}}}}
    run = load_config(ROOT, over)["stragglers"]["runs"]["main"]
    assert run["checkpoints"] == {"schedule": "log", "count": 24, "epochs": None}


CHANGES_TRAINING = [
    {"seed": 1},
    {"compute": {"threads": 2}},
    {"compute": {"device": "cpu"}},
    {"compute": {"compile": False}},
    {"compute": {"ensemble_size": 8}},
    {"compute": {"precision": "float64"}},
    {"stragglers": {"runs": {"main": {"seeds": 90}}}},
    {"stragglers": {"defaults": {"epochs": 600}}},
    {"networks": {"fully_connected": {"builder": "pipeline.errors:PipelineError"}}},
    {"networks": {"fully_connected": {"options": {"bias": False}}}},
    {"optimizers": {"gd": {"builder": "pipeline.errors:PipelineError"}}},
]
LEAVES_TRAINING = [
    {"compute": {"state_seconds": 5}},
    {"compute": {"memory_mb": 9000}},
    {"data": {"root": "elsewhere"}},
    {"optimizers": {"adam": {"builder": "pipeline.errors:PipelineError"}}},
    {"stragglers": {"runs": {"blocks": {"seeds": 9}}}},
    {"stragglers": {"figures": {"1a": {"options": {"bins": 9}}}}},
    {"stragglers": {"claims": {"straggler_count": {"value": 801}}}},
    {"stragglers": {"runs": {"main": {"precision": "float32"}}}},
]


@pytest.mark.parametrize("over", CHANGES_TRAINING, ids=json.dumps)
def test_run_parameters_hold_what_training_depends_on(over):
    before = run_parameters(load_config(ROOT), "stragglers", "main")
    assert run_parameters(load_config(ROOT, over), "stragglers", "main") != before


@pytest.mark.parametrize("over", LEAVES_TRAINING, ids=json.dumps)
def test_run_parameters_hold_nothing_else(over):
    before = run_parameters(load_config(ROOT), "stragglers", "main")
    assert run_parameters(load_config(ROOT, over), "stragglers", "main") == before


def test_run_parameters_ignore_the_default_precision_of_a_run_with_its_own():
    own = {"stragglers": {"runs": {"main": {"precision": "float64"}}}}
    first, second = (
        run_parameters(
            load_config(ROOT, {**own, "compute": {"precision": p}}), "stragglers", "main"
        )
        for p in ("bf16", "float32")
    )
    assert first == second
    assert first["compute"]["precision"] == "float64"


def test_run_parameters_name_the_valid_papers_and_runs():
    config = load_config(ROOT)
    with pytest.raises(ConfigError, match=r"'mian' is no run of stragglers .*did you mean 'main'"):
        run_parameters(config, "stragglers", "mian")
    with pytest.raises(ConfigError, match="valid is memorization, prediction_space, stragglers"):
        run_parameters(config, "straglers", "main")


def test_scales_change_only_keys_that_the_file_has():
    values = yaml.safe_load((ROOT / "config/stragglers.yaml").read_text())["stragglers"]
    changed = [(scale, path) for scale in SCALES for path in leaf_paths(values["scales"][scale])]
    assert changed
    for scale, path in changed:
        inherited = ("defaults", *path[2:]) if path[0] == "runs" else path
        assert has(values, path) or has(values, inherited), f"{scale}: {dotted(path)}"
    assert values["scales"]["paper"] == {}


def leaf_paths(tree, path=()):
    if not isinstance(tree, dict):
        return [path]
    return [leaf for key, value in tree.items() for leaf in leaf_paths(value, (*path, key))]


def test_every_figure_and_claim_of_the_paper_is_there():
    stragglers = load_config(ROOT)["stragglers"]
    panels = [
        f"{n}{letter}"
        for n, letters in ((1, "abcdef"), (2, "abcd"), (3, "abcde"))
        for letter in letters
    ]
    supplement = [f"S{n}" for n in range(1, 7)]
    assert set(stragglers["figures"]) >= {*panels, *supplement, "T1", "T2", "L1"}
    ids = [claim["id"] for claim in stragglers["claims"]]
    assert len(ids) == len(set(ids))
    for claim in stragglers["claims"]:
        assert claim["function"].startswith("pipeline.claims.stragglers.")
        assert claim["figure"] in stragglers["figures"]
    values = {c["id"]: (c.get("value"), c.get("spread")) for c in stragglers["claims"]}
    assert values["straggler_overlap"] == (680, 10)
    assert values["straggler_overlap_null"] == (70, 8)
    assert values["straggler_count"] == (800, None)


def test_readme_is_current():
    current = (ROOT / "config/README.md").read_text(encoding="utf-8")
    assert current == readme(ROOT), "run: python -m pipeline.config docs"


def test_the_entries_that_the_readme_shows_are_valid(tmp_path, monkeypatch):
    blocks = readme(ROOT).split("```yaml\n")[1:]
    over = {}
    for block in blocks:
        over |= yaml.safe_load(block.split("```")[0])
    assert set(over) == {"datasets", "networks", "stragglers"}
    monkeypatch.chdir(tmp_path)  # where the user's own files are
    with pytest.raises(
        ConfigError, match=r"datasets\.mine\.loader = .* names the file .*plugins/mine\.py, "
    ):
        load_config(ROOT, over)
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins/mine.py").write_text(
        "def load(): ...\ndef build(): ...\ndef draw(): ...\n"
    )
    config = load_config(ROOT, over)
    assert config["stragglers"]["runs"]["mine"]["dataset"] == "mine"
    assert config["datasets"]["mine"]["options"] == {}


def test_loading_imports_nothing_heavy():
    code = (
        "import sys; from pipeline.config import load_config; load_config(sys.argv[1]); "
        "heavy = {'torch', 'numpy', 'xarray', 'zarr', 'scipy', 'pandas', 'snakemake'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code, str(ROOT)]
    environment = {"PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_docs_command_writes_the_readme(tmp_path):
    from pipeline.config import main

    for folder in ("config", "workflow/schemas"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    assert main(["docs", str(tmp_path)]) == 0
    assert (tmp_path / "config/README.md").read_text() == readme(ROOT)
    assert main(["dcos"]) == 2
