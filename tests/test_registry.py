"""References to functions by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.registry import lookup, resolve, source_file, split_reference


def test_references_are_split_at_the_last_colon() -> None:
    assert split_reference("a.b:c") == ("a.b", "c")
    assert split_reference("C:/plugins/mine.py:draw") == ("C:/plugins/mine.py", "draw")


@pytest.mark.parametrize("text", ["", "module", "module:", ":function", "a.b:two words", "a.b:1a"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"write package.module:function or"):
        split_reference(text)


def test_modules_and_files_give_the_function(tmp_path: Path) -> None:
    import pipeline.seeds

    assert resolve("pipeline.seeds:generator") is pipeline.seeds.generator
    assert source_file("pipeline.seeds:generator") == Path(pipeline.seeds.__file__)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "mine.py").write_text("def draw(data):\n    return data + 1\n")
    assert resolve("own/mine.py:draw", tmp_path)(1) == 2
    assert resolve(f"{tmp_path}/own/mine.py:draw")(1) == 2
    assert source_file("own/mine.py:draw", tmp_path) == tmp_path / "own" / "mine.py"


def test_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "mine.py").write_text(f"def number():\n    return {number}\n")
    assert [resolve(f"{n}/mine.py:number", tmp_path)() for n in (1, 2, 1)] == [1, 2, 1]


def test_relative_files_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here.py").write_text("def there():\n    return 'there'\n")
    monkeypatch.chdir(tmp_path)
    assert resolve("here.py:there")() == "there"


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("pipeline.nothing:f", "names the module pipeline.nothing, which cannot be imported"),
        ("nothing.at.all:f", "names the module nothing.at.all, which cannot be imported"),
        ("pipeline.seeds.deeper:f", "which cannot be imported"),
        ("missing.py:f", "names the file .*missing.py, which does not exist"),
        ("pipeline.seeds:genrator", "has no function 'genrator'; it has: .*generator"),
        ("pipeline.seeds:PURPOSES", "has no function 'PURPOSES'"),
    ],
)
def test_what_cannot_be_found_is_named(reference: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(reference, tmp_path)


def test_lookup_lists_the_known_names() -> None:
    assert lookup("network", "a", {"a": 1, "b": 2}) == 1
    with pytest.raises(ConfigError, match="'c' is no known network; known are: a, b"):
        lookup("network", "c", {"b": 2, "a": 1})
