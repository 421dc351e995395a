"""The documentation: links, pictures and commands are valid; every block of extending.md runs."""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline import analysis, geometry, predictors
from pipeline.config import load_config, run_parameters
from pipeline.store import variables

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "results/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SNAKEMAKE = [sys.executable, "-m", "snakemake"]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return [body for kind, body in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    text = BLOCK.sub("", page.read_text("utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}


def commands(page: Path, program: str) -> Iterator[list[str]]:
    """The words of each command line of a page that runs a program."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == [program]:
                yield words[1:]
    text = BLOCK.sub("", page.read_text("utf-8"))
    for code in re.findall(r"`([^`\n]+)`", text):
        if code.startswith(f"{program} "):
            yield shlex.split(code)[1:]


def workflow_copy(folder: Path) -> Path:
    """A copy of the workflow to run in, so that nothing of the repository is locked or written."""
    for name in ("Snakefile", "workflow", "config", "profiles"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / name)
    return folder


def snakemake(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.run(
        [*SNAKEMAKE, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


# --- what the pages refer to --------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_exist(page: Path) -> None:
    targets = LINK.findall(BLOCK.sub("", page.read_text("utf-8")))
    for target in targets:
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} refers to {target}"
        assert file.is_relative_to(ROOT)
        if anchor:
            assert anchor in anchors(file), f"{page.name} refers to {target}"


PLACE = re.compile(
    r"(?:src|workflow|config|docs|tests|profiles|slurm|benchmarks|examples)(?:/[\w.-]+)*/?"
)
NAME = re.compile(r"pipeline(?:\.\w+)+")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "config/README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_files_and_functions_that_the_text_names_exist(page: Path) -> None:
    for code in re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text("utf-8"))):
        if PLACE.fullmatch(code) and "/" in code:
            assert (ROOT / code).exists(), f"{page.name} names {code}"
        for name in NAME.findall(code):
            module, _, attribute = name.rpartition(".")
            within = hasattr(importlib.import_module(module), attribute)
            assert within or importlib.util.find_spec(name), f"{page.name} names {name}"


def test_pages_are_linked_from_the_readme() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    for page in PAGES[1:]:
        assert f"]({page.relative_to(ROOT)})" in text


def test_table_of_figures_is_the_configurations() -> None:
    config = load_config(ROOT)
    stated = re.findall(
        r"^\| `fig_(stragglers|memorization|prediction_space)_(\w+)` \| (.+?) \| (\d+) \| (\w+) \|$",
        (ROOT / "README.md").read_text("utf-8"),
        re.MULTILINE,
    )
    wanted = [
        (paper, name, figure["title"], str(figure["minutes"]))
        for paper in config["papers"]
        for name, figure in config[paper]["figures"].items()
    ]
    assert [row[:4] for row in stated] == wanted
    assert {row[4] for row in stated} <= {"done", "planned"}


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = [word for page in PAGES for words in commands(page, "make") for word in words]
    assert "test" in named
    for word in named:
        variable = re.fullmatch(r"([A-Z]+)=\w+", word)
        wanted = rf"^{variable[1]} \?=" if variable else rf"^{word}:"
        assert re.search(wanted, makefile, re.MULTILINE), f"the Makefile lacks {word}"


def test_snakemake_commands_are_valid(tmp_path: Path) -> None:
    from snakemake.cli import get_argument_parser

    listed = snakemake(workflow_copy(tmp_path), "--list-target-rules")
    assert listed.returncode == 0, listed.stderr
    rules = set(listed.stdout.split())
    readme = (ROOT / "README.md").read_text("utf-8")
    section = readme.split("\n## Targets\n")[1].split("\n## ")[0]
    documented = set(re.findall(r"^\| `(\w+)`", section, re.MULTILINE))
    assert documented <= rules
    assert {rule for rule in rules if not rule.startswith("fig_")} == documented
    config = load_config(ROOT)
    parser = get_argument_parser()
    seen = 0
    for page in PAGES:
        for words in commands(page, "snakemake"):
            chosen = parser.parse_args(words)
            for profile in chosen.profile or []:
                assert (ROOT / profile / "config.yaml").is_file()
            for target in set(chosen.targets) - rules - {"fig_stragglers_mine"}:
                found = re.fullmatch(r"results/laptop/figures/(\w+)/fig(\w+)\.png", target)
                assert found, f"{page.name}: no target {target}"
                assert found[2] in config[found[1]]["figures"]
            values = dict(entry.split("=", 1) for entry in chosen.config or [])
            if not any("path/to" in value for value in values.values()):
                load_config(ROOT, {key: yaml.safe_load(value) for key, value in values.items()})
            seen += 1
    assert seen > 15


def test_slurm_profile_takes_the_documented_keys() -> None:
    (stated,) = (yaml.safe_load(block) for block in blocks(ROOT / "README.md", "yaml"))
    profile = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text("utf-8"))
    assert set(profile["default-resources"]) <= set(stated["default-resources"])
    assert (ROOT / "slurm").resolve() == ROOT / "profiles/slurm"


def test_table_of_variables_is_current() -> None:
    for package in (analysis, geometry, predictors):  # their modules register what they give
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    stated = text.split("<!-- variables:begin -->\n")[1].split("<!-- variables:end -->")[0]
    assert stated == variables.table()


def test_rules_and_modules_are_described() -> None:
    text = (ROOT / "docs/architecture.md").read_text("utf-8")
    for path in ROOT.glob("workflow/rules/*.smk"):
        for rule in re.findall(r"^rule (\w+):", path.read_text("utf-8"), re.MULTILINE):
            assert f"`{rule}`" in text, f"rule {rule}"
    described = set(re.findall(r"`(\w+)\*?`", text.split("\n## Modules\n")[1].split("\n## ")[0]))
    for path in (ROOT / "src/pipeline").iterdir():
        if path.suffix == ".py" or (path / "__init__.py").is_file():
            name = path.stem.partition("_")[0]
            known = {name, path.stem} & described or path.stem.startswith("__")
            assert known, f"module {path.stem}"


def test_modules_of_the_engine_are_described() -> None:
    text = (ROOT / "docs/engine.md").read_text("utf-8").split("\n## Where things are\n")[1]
    modules = {path.stem for path in (ROOT / "src/pipeline/training").glob("*.py")} - {"__init__"}
    assert modules == set(re.findall(r"`(\w+)`", text)) - {"train_ensemble", "train_run"}


# --- docs/extending.md, step by step ------------------------------------------------------------


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Sections of my.yaml put together."""
    for key, value in over.items():
        inner = base.get(key)
        base[key] = merge(inner, value) if isinstance(inner, dict) else value
    return base


def run_python(folder: Path, script: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A copy of the workflow with every file of the page in it, and my.yaml's content."""
    folder = workflow_copy(tmp_path_factory.mktemp("extending"))
    (folder / "data").mkdir()
    page = ROOT / "docs/extending.md"
    written = []
    for body in blocks(page, "python"):
        name = body.splitlines()[0].removeprefix("# ")
        assert name.endswith(".py")
        assert name not in written
        written.append(name)
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(body, encoding="utf-8")
    mine: dict[str, Any] = {}
    for body in blocks(page, "yaml"):
        assert body.startswith("# my.yaml\n")
        merge(mine, yaml.safe_load(body))
    (folder / "my.yaml").write_text(yaml.safe_dump(mine), encoding="utf-8")
    assert set(re.findall(r"[\w/]+\.py(?=:)", str(mine))) <= set(written)
    run_python(folder, "make_squares.py")
    run_python(folder, "make_pictures.py")
    return folder, mine


def test_ones_own_network_takes_ten_lines() -> None:
    (network,) = (b for b in blocks(ROOT / "docs/extending.md", "python") if "plugins/network" in b)
    lines = [line for line in network.splitlines() if line and not line.startswith("#")]
    assert len(lines) <= 10


@pytest.mark.parametrize("name", ["squares", "pictures", "stripes"])
def test_ones_own_data_are_loaded_by_their_entry(
    followed: tuple[Path, dict[str, Any]], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.data.datasets import load_entry

    folder, mine = followed
    monkeypatch.chdir(folder)
    entry = load_config(folder, {"scale": "smoke", **mine})["datasets"][name]
    dataset = load_entry(entry, root=Path("data"))
    assert dataset.name == name
    assert dataset.train_images.shape == (200, 12, 12)
    assert set(dataset.train_labels) == {0, 1}
    if name == "pictures":
        squares = load_entry(mine["datasets"]["squares"], root=Path("data"))
        assert sorted(image.tobytes() for image in dataset.test_images) == sorted(
            image.tobytes() for image in squares.test_images
        )


def test_ones_own_network_and_optimizer_train_from_the_configuration(
    followed: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.training.run import settings_of

    folder, mine = followed
    monkeypatch.chdir(folder)
    config = load_config(folder, {"scale": "smoke", **mine})
    settings = settings_of(run_parameters(config, "stragglers", "mine"))
    network = settings.build_network(144)
    assert [len(list(layer.parameters())) for layer in network] == [2, 2, 2]
    assert network[0][1].kernel_size == (4, 4)
    optimizer = settings.build_optimizer(list(network.parameters()))
    assert type(optimizer).__name__ == "RMSprop"
    assert optimizer.defaults["lr"] == 0.001


def test_the_page_trains_from_python(followed: tuple[Path, dict[str, Any]]) -> None:
    distances = np.fromstring(run_python(followed[0], "train_mine.py").strip(" []\n"), sep=" ")
    assert distances.shape == (2,)
    assert (distances > 0.1).all()


@pytest.mark.slow
def test_the_page_draws_a_figure_and_decides_a_claim(
    followed: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.claims.measurement import CLAIM_VARIABLES, measure_claims
    from pipeline.runs import load_runs
    from pipeline.scorecard import decide
    from pipeline.store.reader import open_store

    folder, mine = followed
    (arguments,) = commands(ROOT / "docs/extending.md", "snakemake")
    done = snakemake(folder, *("2" if word == "all" else word for word in arguments))
    assert done.returncode == 0, done.stdout + done.stderr
    base = folder / "results/smoke/figures/stragglers/figmine"
    for suffix in (".png", ".svg", ".csv", ".rst"):
        assert base.with_suffix(suffix).stat().st_size > 100
    table = pd.read_csv(base.with_suffix(".csv"))
    assert list(table["epoch"]) == list(range(21))
    caption = base.with_suffix(".rst").read_text("utf-8")
    assert "n = 3 independent networks" in caption
    run = open_store(folder / "results/smoke/runs/stragglers/mine")
    result = open_store(folder / "results/smoke/analyses/stragglers/growth")
    rises = run["distance"].isel(layer=0).values
    grown = (rises - rises[:, :1]) / (rises[:, -1:] - rises[:, :1])
    for curve, epoch in zip(grown, result["growth_epoch"].values, strict=True):
        assert curve[epoch] >= 0.5
        assert (curve[:epoch] < 0.5).all()
    assert f"half of it by {result['growth_epoch'].values.mean():.1f}." in caption
    assert snakemake(folder, "--cores", "1", "verify", "--config", "scale=smoke").returncode == 0

    monkeypatch.chdir(folder)
    config = load_config(folder, {"scale": "smoke", **mine})["stragglers"]
    entry = {
        "group": "mine",
        "name": "mine",
        "config": config["runs"]["mine"],
        "trajectories": "results/smoke/runs/stragglers/mine",
        "inversion": "results/smoke/inversion/stragglers/mine",
    }
    claims = [claim for claim in config["claims"] if claim["id"] == "mine"]
    (row,) = measure_claims(claims, load_runs([entry], CLAIM_VARIABLES))
    grown = table["mean"].iloc[-1] - table["mean"].iloc[0]
    assert row["measurement"]["value"] == pytest.approx(grown, abs=1e-6)
    assert row["measurement"]["n"] == 3
    assert decide(row)[0] in ("agrees", "differs")
