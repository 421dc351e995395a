"""How the rules are written: what each must have, profiles, environments (`make lint` has the linters)."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from expected_jobs import all_jobs, smoke_config
from helpers_programs import program
from helpers_workflow import ROOT, copy_project, dry_run, snakemake

from pipeline.figures.rulegraph import (
    BENDS,
    HALF_BOX,
    backward_edges,
    bend,
    layer_numbers,
    parse_edges,
)

SMK = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))


def rule_blocks() -> dict[str, dict[str, str]]:
    """Directives of every rule with their text, by file and line."""
    blocks = {}
    for path in SMK:
        lines = path.read_text().splitlines()
        for number, line in enumerate(lines):
            head = re.match(r"( *)(?:rule|checkpoint)(?: \w+)?:$", line)
            if not head:
                continue
            depth = len(head[1]) + 4
            directives: dict[str, str] = {}
            for own in lines[number + 1 :]:
                if own.strip() and len(own) - len(own.lstrip()) < depth:
                    break
                start = re.match(rf" {{{depth}}}(\w+):(.*)$", own)
                if start:
                    name = start[1]
                    directives[name] = start[2]
                elif own.strip() and not own.lstrip().startswith("#"):
                    directives[name] += own.strip() + "\n"
            blocks[f"{path.name}:{number + 1}"] = directives
    return blocks


BLOCKS = rule_blocks()
WORKING = {where: block for where, block in BLOCKS.items() if "script" in block}


def test_the_rules_were_found() -> None:
    assert len(WORKING) == len(SCRIPTS)
    assert sum("output" in block for block in WORKING.values()) >= 9


@pytest.mark.parametrize("where", WORKING)
def test_a_rule_with_a_script_has_all_that_belongs_to_it(where: str) -> None:
    block = WORKING[where]
    assert {"log", "threads", "resources", "params", "conda"} <= set(block), sorted(block)
    assert "mem_mb" in block["resources"]
    assert "code=" in block["params"]
    # without outputs, a benchmark file would be the only one, and the target done once it exists
    assert ("benchmark" in block) == ("output" in block)
    for place, root in (("log", "LOGS"), ("benchmark", "BENCHMARKS")):
        assert f"{{{root}}}/" in block.get(place, f"{{{root}}}/"), f"{place}: {block[place]}"
    # names that tell apart what the outputs tell apart
    names = set(re.findall(r"\{\{(\w+)\}\}", block.get("output", "")))
    for place in {"log", "benchmark"} & set(block):
        assert names == set(re.findall(r"\{\{(\w+)\}\}", block[place])), place


STORED = {where: block for where, block in WORKING.items() if "store=" in block.get("output", "")}


@pytest.mark.parametrize("where", STORED)
def test_a_rule_with_a_store_has_a_manifest_and_a_request(where: str) -> None:
    block = STORED[where]
    # Snakemake deletes in this order what a job makes again: no manifest of a store that is partly gone
    manifest, store = block["output"].splitlines()
    assert re.fullmatch(r'manifest=f".*/manifest.json",', manifest)
    assert re.fullmatch(r'store=directory\(f".*/store"\),', store)
    # the request notices another configuration or code when Snakemake's records are lost
    assert "{RESULTS}/requests/" in block["input"]


def test_every_kind_of_store_is_stored_and_cleaned() -> None:
    common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
    kinds = set(re.findall(r'expected\(\s*"(\w+)"', common))
    made = {re.search(r"\{RESULTS\}/(\w+)/", block["output"])[1] for block in STORED.values()}
    assert kinds == made
    cleaned = re.search(r"RESULT_KINDS = \((.*?)\n\)", common, re.DOTALL)
    assert made - {"data"} <= set(re.findall(r'"(\w+)"', cleaned[1]))


@pytest.mark.parametrize("where", BLOCKS)
def test_no_rule_runs_python_or_shell_inline(where: str) -> None:
    assert not {"run", "shell", "notebook"} & set(BLOCKS[where])


@pytest.mark.parametrize("where", WORKING)
def test_the_fingerprint_is_of_the_rules_own_script(where: str) -> None:
    block = WORKING[where]
    script = re.search(r"scripts/(\w+\.py)", block["script"])
    source = re.search(r"\bcode=.*?\b(\w+_code|code_of)\(", block["params"], re.DOTALL)
    assert script is not None
    assert source is not None
    text = block["params"]
    if source[1] != "code_of":  # a function of common.smk that calls it
        common = (ROOT / "workflow" / "rules" / "common.smk").read_text()
        text = common.split(f"\ndef {source[1]}(")[1].split("\ndef ")[0]
    assert re.search(rf'code_of\(\s*"{script[1]}"', text)


def test_rules_and_scripts_match() -> None:
    used = {Path(re.findall(r'"(.*)"', block["script"])[0]).name for block in WORKING.values()}
    assert used == {path.name for path in SCRIPTS}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_a_script_survives_snakemakes_preamble(path: Path) -> None:
    text = path.read_text()
    assert "from __future__" not in text  # must come first in a file, where the preamble goes
    assert re.search(r'^if "snakemake" in globals\(\):$', text, re.MULTILINE)
    compile("import snakemake_preamble\n" + text, str(path), "exec")


def test_job_environment_states_what_pyproject_states() -> None:
    content = yaml.safe_load((ROOT / "workflow" / "envs" / "pipeline.yml").read_text())
    stated = next(entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert stated == project["dependencies"]
    assert f"python={project['requires-python'].lstrip('>=')}" in content["dependencies"]


def test_seconds_between_states_may_be_fractions(source_project: Path) -> None:
    target = "results/smoke/runs/stragglers/blocks_1/manifest.json"
    said = dry_run(source_project, target, config=("compute={state_seconds: 0.5}",))
    assert "state_seconds=0.5" in said.text


def test_default_profile_leaves_the_executor_to_others() -> None:
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    assert not {"executor", "cores", "jobs", "default-resources", "keep-incomplete"} & set(profile)
    assert sorted(profile["rerun-triggers"]) == ["input", "mtime", "params", "software-env"]
    assert profile["rerun-incomplete"] is True


def test_rule_graph_puts_a_rule_of_a_circle_below_what_it_needs_first() -> None:
    edges = {("prepare", "train"), ("train", "invert"), ("invert", "train")}  # pruned runs
    edges |= {("train", "draw"), ("invert", "draw")}
    assert backward_edges(edges) == {("invert", "train")}
    assert layer_numbers(edges) == {"prepare": 0, "train": 1, "invert": 2, "draw": 3}
    assert backward_edges(edges - {("invert", "train")}) == set()


def test_rule_graph_has_one_box_for_the_figures_of_a_paper() -> None:
    names = ("train_run", "fig_stragglers_1a", "fig_stragglers_init_variance")
    dot = "".join(f'{i}[label = "{name}"]\n' for i, name in enumerate(names)) + "0 -> 1\n0 -> 2\n"
    assert parse_edges(dot) == {("train_run", "fig_stragglers_...")}


def test_an_arrow_of_the_rule_graph_passes_beside_other_boxes() -> None:
    places = {"a": (0.0, 0.0), "b": (0.0, -1.0), "c": (0.0, -2.0), "d": (2.0, -1.0)}
    inches = {name: np.array(place) for name, place in places.items()}
    assert bend("a", "b", inches) == bend("a", "d", inches) == 0
    rad = bend("a", "c", inches)
    # in the middle it is aside by rad times half the distance
    assert abs(rad) > HALF_BOX[0]
    assert rad == min((one for one in BENDS if abs(one) > HALF_BOX[0]), key=abs)
    aside = inches | {"b": np.array([0.3, -1.0])}
    assert 0 < abs(bend("a", "c", aside)) < abs(rad)
    assert bend("a", "c", inches | {"b": np.array([1.0, -1.0])}) == 0


@pytest.mark.slow
def test_slurm_profile_is_found_from_the_root(source_project: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    said = dry_run(source_project, options=("--profile", "slurm", "--cores", "1"))
    assert said.status == 0, said.text
    assert said.jobs == all_jobs(smoke_config())
    assert "runtime" in said.text


@pytest.mark.slow
def test_time_is_that_of_the_partition_that_a_rule_goes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = copy_project(tmp_path / "project")
    with open(project / "Snakefile", "a") as snakefile:  # a dry run sends nothing anywhere
        snakefile.write("\n\ndef on_slurm():\n    return True\n")
    program(tmp_path, "sinfo", "printf 'cpu*|20:00|(null)\\ngpu|5:00|gpu:2\\n'")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    options = ("--set-resources", "train_run:slurm_partition=gpu")
    said = dry_run(project, "fig_stragglers_1b", options=options)
    found = re.findall(r"^rule (\w+):.*?runtime=(\d+)", said.text, re.MULTILINE | re.DOTALL)
    assert dict(found) == {
        "prepare_data": "20",
        "train_run": "5",
        "find_inversion": "10",
        "fig_stragglers_1b": "10",
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("asked", "limit"), [((), "None"), (("7/2s",), "7 in 2"), (("100/2s",), "100 in 2")]
)
def test_jobs_start_at_any_rate_but_one_that_is_asked_for(
    asked: tuple[str, ...], limit: str, tmp_path: Path
) -> None:
    """Snakemake's own rate costs a timer per look at the jobs; see ``schedule_when_jobs_end``."""
    project = copy_project(tmp_path / "project")
    with open(project / "Snakefile", "a") as snakefile:
        snakefile.write(
            "\n\nonsuccess:\n"
            "    one = workflow.scheduler.job_rate_limiter\n"
            "    print('limit', one and f'{one.max_jobs} in {one.timespan:g}', file=sys.stderr)\n"
        )
    options = tuple(f"--max-jobs-per-timespan={rate}" for rate in asked)
    said = snakemake(project, "disk_use", options=options)
    assert said.status == 0, said.text
    assert f"\nlimit {limit}\n" in said.text
