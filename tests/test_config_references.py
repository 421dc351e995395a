"""Functions that a configuration names: there, or refused by the key that names them."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers_workflow import ROOT

from pipeline.config import load_config
from pipeline.errors import ConfigError, PipelineError
from pipeline.plan import plan_table


@pytest.mark.parametrize(
    ("reference", "reason"),
    [
        ("pipeline.nothing:f", "names the module pipeline.nothing, which cannot be found"),
        ("pipeline.seeds:genrator", "names genrator in .*seeds.py, which has no such function"),
        ("nothing.py:f", "names the file .*nothing.py, which does not exist"),
        ("sys:exit", "names the module sys, which cannot be found"),  # is no file
        ("__main__:f", "names the module __main__, which cannot be found"),
    ],
)
def test_a_function_that_is_not_there_is_refused_by_its_key(reference: str, reason: str) -> None:
    over = {"stragglers": {"figures": {"1a": {"function": reference}}}}
    told = rf'stragglers\.figures\.1a\.function = "{reference}" {reason}; valid is a function'
    with pytest.raises(ConfigError, match=told):
        load_config(ROOT, over)


def test_a_file_that_cannot_be_looked_for_is_told_as_such() -> None:
    over = {"stragglers": {"figures": {"1a": {"function": f"{'long' * 80}.py:f"}}}}
    with pytest.raises(
        ConfigError, match=r"1a\.function = .* cannot be read \(File name too long\)"
    ):
        load_config(ROOT, over)


@pytest.mark.parametrize("key", ["checks", "estimate"])
def test_a_module_that_cannot_be_imported_is_told_by_its_key(tmp_path: Path, key: str) -> None:
    module = tmp_path / "broken.py"
    module.write_text("import nothing_of_this_name\n\ndef f(): ...\n")
    over = {"trainers": {"ensemble": {key: f"{module}:f"}}}
    told = rf"trainers\.ensemble\.{key} = .* cannot be imported \(ModuleNotFoundError: "
    with pytest.raises(PipelineError, match=told):
        plan_table(load_config(ROOT, over))
