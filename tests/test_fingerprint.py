"""Fingerprints of code: what changes them and what does not."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline import fingerprint, scan_cache
from pipeline.errors import ConfigError
from pipeline.fingerprint import code_fingerprint, modules_of

SOURCES = {
    "workflow/scripts/train.py": '''
"""Train one run."""
from pipeline.training import ensemble

def main():
    from pipeline.store.writer import write  # only here
    return write(ensemble.train())

main()
''',
    "src/pipeline/__init__.py": '"""The package."""\n',
    "src/pipeline/errors.py": "class Failure(ValueError):\n    pass\n",
    "src/pipeline/unused.py": "ANSWER = 42\n",
    "src/pipeline/registry.py": "def entry():\n    import pipeline.errors as e\n    return e\n",
    "src/pipeline/training/__init__.py": "",
    "src/pipeline/training/ensemble.py": '''
"""Ensembles."""
import numpy as np
from typing import TYPE_CHECKING

from .schedule import EPOCHS

if TYPE_CHECKING:
    from pipeline.unused import ANSWER


def train(rate: float = 0.2) -> int:
    """Train.

    At the rate ``rate``.
    """
    # a comment
    return EPOCHS
''',
    "src/pipeline/training/schedule.py": "EPOCHS = 500\n",
    "src/pipeline/store/__init__.py": "",
    "src/pipeline/store/writer.py": "from ..errors import Failure\ndef write(x):\n    return x\n",
}
TRAINING = [
    "pipeline",
    "pipeline.errors",
    "pipeline.store",
    "pipeline.store.writer",
    "pipeline.training",
    "pipeline.training.ensemble",
    "pipeline.training.schedule",
    "train.py",
]


class Tree:
    """A small repository whose files can be edited."""

    def __init__(self, root: Path) -> None:
        self.root, self.script = root, root / "workflow/scripts/train.py"
        self.sources = root / "src"
        for path, text in SOURCES.items():
            self.write(path, text)

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def replace(self, path: str, old: str, new: str) -> None:
        text = (self.root / path).read_text()
        assert text.count(old) == 1
        self.write(path, text.replace(old, new))

    def code(self, *references: str) -> str:
        return code_fingerprint(self.script, references, self.sources, self.root)

    def modules(self, *references: str) -> list[str]:
        return modules_of(self.script, references, self.sources, self.root)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "repository")


def add_neighbour(tree: Tree) -> None:
    tree.write("workflow/scripts/common.py", "A = 1\n")
    tree.replace("workflow/scripts/train.py", "\nmain()", "\nimport common\nmain()")


ENSEMBLE = "src/pipeline/training/ensemble.py"
SCHEDULE = "src/pipeline/training/schedule.py"

KEEPS: dict[str, Callable[[Tree], None]] = {
    "comment": lambda t: t.replace(ENSEMBLE, "# a comment", "# another"),
    "comment removed": lambda t: t.replace(ENSEMBLE, "    # a comment\n", ""),
    "docstring": lambda t: t.replace(ENSEMBLE, "At the rate", "Using the rate"),
    "docstring added": lambda t: t.replace(SCHEDULE, "EPOCHS", '"""Epochs."""\nEPOCHS'),
    "string below a constant": lambda t: t.replace(SCHEDULE, "500", '500\n"""Epochs."""'),
    "class docstring": lambda t: t.replace("src/pipeline/errors.py", "pass", '"""Fails."""'),
    "layout": lambda t: t.replace(ENSEMBLE, "(rate: float = 0.2)", "(\n    rate: float=.2,\n)"),
    "quotes": lambda t: t.replace("workflow/scripts/train.py", '"""Train one run."""', "''"),
    "module not imported": lambda t: t.replace("src/pipeline/unused.py", "42", "43"),
    "new module not imported": lambda t: t.write("src/pipeline/more.py", "A = 1\n"),
    "times": lambda t: [os.utime(p, (1, 1)) for p in t.root.rglob("*.py")] and None,
    "another place": lambda t: shutil.copytree(t.root, t.root / "copy") and None,
}
CHANGES: dict[str, Callable[[Tree], None]] = {
    "constant": lambda t: t.replace(SCHEDULE, "500", "501"),
    "type of a constant": lambda t: t.replace(SCHEDULE, "500", "500.0"),
    "default": lambda t: t.replace(ENSEMBLE, "0.2", "0.3"),
    "name of a function": lambda t: t.replace("src/pipeline/store/writer.py", "write(x)", "w(x)"),
    "script": lambda t: t.replace("workflow/scripts/train.py", "\nmain()", "\nmain(), 1"),
    "module imported by an imported one": lambda t: t.replace(
        "src/pipeline/errors.py", "ValueError", "Exception"
    ),
    "package": lambda t: t.write("src/pipeline/training/__init__.py", "LOUD = True\n"),
    "the package": lambda t: t.replace("src/pipeline/__init__.py", '."""', '."""\nA = 1'),
    "statement instead of a docstring": lambda t: t.replace(
        ENSEMBLE, '"""Ensembles."""', "print('Ensembles.')"
    ),
    "neighbour of the script": add_neighbour,
}


@pytest.mark.parametrize("edit", KEEPS.values(), ids=KEEPS.keys())
def test_what_keeps_the_fingerprint(tree: Tree, edit: Callable[[Tree], None]) -> None:
    before = tree.code()
    edit(tree)
    assert tree.code() == before


@pytest.mark.parametrize("edit", CHANGES.values(), ids=CHANGES.keys())
def test_what_changes_the_fingerprint(tree: Tree, edit: Callable[[Tree], None]) -> None:
    before = tree.code()
    assert len(before) == 16
    edit(tree)
    assert tree.code() != before


def test_modules_found(tree: Tree) -> None:
    assert tree.modules() == TRAINING


def test_place_does_not_count(tree: Tree, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere" / "deep"
    shutil.copytree(tree.root, other)
    assert code_fingerprint(other / "workflow/scripts/train.py", (), other / "src") == tree.code()


def test_switching_branches_and_back(tree: Tree) -> None:
    before = tree.code()
    tree.replace(SCHEDULE, "500", "100")
    assert tree.code() != before
    tree.replace(SCHEDULE, "100", "500")
    assert tree.code() == before


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("import pipeline.unused", {"pipeline.unused"}),
        ("import pipeline.unused as u, numpy", {"pipeline.unused"}),
        ("from pipeline import unused, __name__", {"pipeline.unused"}),
        ("def f():\n    def g():\n        from pipeline.unused import ANSWER", {"pipeline.unused"}),
        ("import importlib\nimportlib.import_module('pipeline.unused')", {"pipeline.unused"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    import pipeline.unused", set()),
        (
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import numpy\n"
            "else:\n    import pipeline.unused",
            {"pipeline.unused"},
        ),
        ("import unused", set()),
        (
            "from pipeline.training import *",
            {"pipeline.training", "pipeline.training.ensemble", "pipeline.training.schedule"},
        ),
    ],
)
def test_forms_of_import(tree: Tree, statement: str, found: set[str]) -> None:
    tree.write("workflow/scripts/train.py", statement + "\n")
    expected = {"train.py", *found} | ({"pipeline"} if found else set())
    assert set(tree.modules()) == expected


def test_name_that_becomes_a_module_is_noticed(tree: Tree) -> None:
    tree.write("workflow/scripts/train.py", "from pipeline.training import extra\n")
    before = tree.code()
    assert "pipeline.training.extra" not in tree.modules()
    tree.write("src/pipeline/training/extra.py", "A = 1\n")
    assert "pipeline.training.extra" in tree.modules()
    assert tree.code() != before


def test_circular_imports_end(tree: Tree) -> None:
    tree.replace(SCHEDULE, "EPOCHS", "import pipeline.training.ensemble\nEPOCHS")
    assert tree.modules() == TRAINING


# --- references ----------------------------------------------------------------------------------


def test_references_add_their_modules(tree: Tree) -> None:
    tree.write("mine/nets.py", "import helper\nfrom pipeline.unused import ANSWER\n")
    tree.write("mine/helper.py", "A = 1\n")
    reference = "mine/nets.py:build"
    assert set(tree.modules(reference)) == {*TRAINING, "nets.py", "helper.py", "pipeline.unused"}
    assert tree.modules("pipeline.registry:entry") == sorted([*TRAINING, "pipeline.registry"])
    before, without = tree.code(reference), tree.code()
    assert before != without
    tree.write("mine/helper.py", "A = 1  # one\n")
    assert tree.code(reference) == before
    tree.write("mine/helper.py", "A = 2\n")
    assert tree.code(reference) != before
    assert tree.code() == without


def test_order_of_references_does_not_count(tree: Tree) -> None:
    references = ["pipeline.registry:entry", "pipeline.unused:f"]
    assert tree.code(*references) == tree.code(*reversed(references))


def test_module_of_another_package(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tree.root / "site-packages"
    tree.write("site-packages/othernets/__init__.py", "raise RuntimeError('imported')\n")
    tree.write("site-packages/othernets/deep.py", "from . import layers\nimport numpy, lonely\n")
    tree.write("site-packages/othernets/layers.py", "import othernets.more\nA = 1\n")
    tree.write("site-packages/othernets/more.py", "")
    tree.write("site-packages/lonely.py", "")
    monkeypatch.syspath_prepend(place)
    found = tree.modules("othernets.deep:build")
    added = ["__init__.py", "deep.py", "layers.py", "more.py"]
    assert found == sorted([*TRAINING, *added])
    assert "othernets" not in sys.modules
    assert tree.modules("lonely:build") == sorted([*TRAINING, "lonely.py"])


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nonsense", "does not name a function"),
        ("mine/missing.py:f", "missing.py, which does not exist"),
        ("pipeline.missing:f", "module pipeline.missing, which cannot be found"),
        ("no_such_package_anywhere.x:f", "cannot be found"),
        ("sys:f", "cannot be found"),
    ],
)
def test_references_that_name_nothing(tree: Tree, reference: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tree.code(reference)


# --- faults and speed ----------------------------------------------------------------------------


def test_faults_name_file_and_line(tree: Tree) -> None:
    tree.write(SCHEDULE, "EPOCHS = 500\n\n\ndef f(:\n")
    with pytest.raises(ConfigError, match=r"schedule\.py, line 4, has a syntax error"):
        tree.code()
    tree.write(SCHEDULE, "A = 1\nfrom pipeline.missing import EPOCHS\n")
    with pytest.raises(ConfigError, match=r"schedule\.py, line 2, imports pipeline\.missing"):
        tree.code()
    tree.write(SCHEDULE, "A = '\0'\n")
    with pytest.raises(ConfigError, match=r"schedule\.py"):
        tree.code()
    with pytest.raises(ConfigError, match=r"absent\.py cannot be read"):
        code_fingerprint(tree.root / "absent.py", (), tree.sources)


def test_files_with_warnings_are_scanned_quietly(tree: Tree) -> None:
    tree.write(SCHEDULE, "EPOCHS = '\\d'\n")
    assert tree.modules() == TRAINING


def test_nothing_is_imported() -> None:
    package = Path(code_fingerprint.__code__.co_filename).parent
    code = (
        "import sys; from pathlib import Path; from pipeline.fingerprint import modules_of;"
        f"found = modules_of(Path({str(package / 'store' / 'writer.py')!r}));"
        "print('pipeline.store.variables' in found, 'zarr' in sys.modules,"
        "'numpy' in sys.modules, 'pipeline.store' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False", "False"]


def test_asked_hundreds_of_times() -> None:
    package = Path(code_fingerprint.__code__.co_filename).parent
    script = package / "store" / "writer.py"
    references = ("pipeline.store.reader:open_store", "pipeline.seeds:generator")
    first = code_fingerprint(script, references)
    start = time.process_time()
    assert {code_fingerprint(script, references) for _ in range(500)} == {first}
    assert time.process_time() - start < 0.5


@pytest.fixture(autouse=True)
def kept_scans(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of the test's own for what processes parsed; nothing is written at the end of this one."""
    monkeypatch.setattr(fingerprint, "_scans_file", lambda: tmp_path / "scans.json")
    monkeypatch.setattr(fingerprint, "_new_scans", {})
    monkeypatch.setattr(atexit, "register", lambda function: function)
    fingerprint._kept_scans.cache_clear()
    yield tmp_path / "scans.json"
    fingerprint._kept_scans.cache_clear()


def in_a_new_process(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Forget all that this process knows; returns what tells the files that are parsed from then on."""
    for cached in (
        *(fingerprint._scan, fingerprint._kept_scans, fingerprint._read),
        fingerprint._located_in_package,
    ):
        cached.cache_clear()
    fingerprint._closures.clear()
    monkeypatch.setattr(fingerprint, "_new_scans", {})
    parsed: list[str] = []
    parse = fingerprint._parse

    def counted(path: Path, source: bytes) -> tuple[str, list[fingerprint.Import]]:
        parsed.append(path.name)
        return parse(path, source)

    monkeypatch.setattr(fingerprint, "_parse", counted)
    return lambda: sorted(parsed)


def test_another_process_parses_changed_files_only(
    tree: Tree, kept_scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parsed = in_a_new_process(monkeypatch)
    first = tree.code()
    assert {"train.py", "schedule.py", "writer.py"} <= set(parsed())
    scan_cache.add(kept_scans, fingerprint._new_scans)
    parsed = in_a_new_process(monkeypatch)
    assert tree.code() == first
    assert parsed() == []
    tree.write(SCHEDULE, "EPOCHS = 501\n")
    assert tree.code() != first
    assert parsed() == ["schedule.py"]


@pytest.mark.parametrize("damage", ["cut", "digest", "list"])
def test_damaged_scans_do_not_count(
    tree: Tree, kept_scans: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    in_a_new_process(monkeypatch)
    first = tree.code()
    scan_cache.add(kept_scans, fingerprint._new_scans)
    content = json.loads(kept_scans.read_text())
    if damage == "digest":
        content["scans"] = {key: ["0" * 64, []] for key in content["scans"]}
    text = json.dumps([] if damage == "list" else content)
    kept_scans.write_text(text[:50] if damage == "cut" else text)
    in_a_new_process(monkeypatch)
    assert tree.code() == first
