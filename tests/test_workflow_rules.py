"""How the rules are written: what each must have, formatting, the linter, profiles, environments."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from helpers_workflow import ROOT, command, dry_run, environment

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
    assert len(WORKING) >= 14
    assert sum("output" in block for block in WORKING.values()) >= 7


@pytest.mark.parametrize("where", WORKING)
def test_a_rule_with_a_script_has_all_that_belongs_to_it(where: str) -> None:
    block = WORKING[where]
    assert {"log", "threads", "resources", "params", "conda"} <= set(block), sorted(block)
    assert "mem_mb" in block["resources"]
    assert "code=" in block["params"]
    # without outputs, a benchmark file would be the only one, and the target done once it exists
    assert ("benchmark" in block) == ("output" in block)


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


def test_default_profile_leaves_the_executor_to_others() -> None:
    profile = yaml.safe_load((ROOT / "profiles" / "default" / "config.yaml").read_text())
    assert not {"executor", "cores", "jobs", "default-resources", "keep-incomplete"} & set(profile)
    assert sorted(profile["rerun-triggers"]) == ["input", "mtime", "params", "software-env"]
    assert profile["rerun-incomplete"] is True


def test_formatting_is_snakefmts() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "snakefmt", "--check", *map(str, SMK)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_linter_has_nothing_to_say(source_project: Path) -> None:
    line = [part for part in command([], [], ["--lint"]) if part != "--"]
    done = subprocess.run(
        line, cwd=source_project, env=environment(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_slurm_profile_is_found_from_the_root(source_project: Path) -> None:
    pytest.importorskip("snakemake_executor_plugin_slurm")
    said = dry_run(source_project, options=("--profile", "slurm", "--cores", "1"))
    assert said.status == 0, said.text
    assert said.counts["train_run"] == 10
    assert "runtime" in said.text
