"""Configurations that are changed at random: each is valid, or refused with a sentence that names what was
changed.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

from helpers_workflow import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drills.outcome import Outcome
from pipeline.config import CONFIG_FILE, build_config, read_paper
from pipeline.config_files import command_line_values, dotted, read_yaml
from pipeline.config_schema import load_schemas
from pipeline.errors import PipelineError
from pipeline.plan import plan_table

Path = tuple[str, ...]
SCALES = ("smoke", "laptop", "paper")
# Keys that a sentence about another one may name in words of its own, and these words.
IN_WORDS = (
    (r"(?:networks|optimizers)\.(\w+)\.trainer", r' = "\1" is made for the trainer '),
    (r"optimizers\.(\w+)\.parameters", r" optimizer = \1, whose parameters are: "),
    (r"datasets\.(\w+)\.samples\.(\w+)", r" the [0-9]+ \2(ing)? samples of \1 "),
    (r"datasets\.(\w+)\.classes", r" the [0-9]+ classes of \1 "),
    (r"\w+\.(?:defaults|runs\.\w+)\.(\w+)", r" the \1 of [a-z]"),  # of the run before
    (r"(\w+\.claims\.\w+)\.(\w+)", r"\1\..* [(]([a-z]+, )*\2(, [a-z]+)* from the command line "),
)
# What a hand that slips writes, and what nobody would.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.integers(-3, 12),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=12),
    st.sampled_from(
        [
            "main",
            "mnist",
            "adam",
            "auto",
            "smoke",
            "1e-3",
            "-1",
            "[]",
            "inversion",
            "null",
            "generated",
            "pipeline.seeds:generator",
            "pipeline.seeds:nothing",
            "pipeline.nothing:generator",
            "nothing.py:generator",
            "sys:exit",
            "__main__:f",
        ]
    ),
    st.lists(st.one_of(st.integers(-2, 9), st.text(max_size=4)), max_size=3),
    st.dictionaries(st.text(max_size=6), st.integers(-2, 9), max_size=2),
)


def parsed_files() -> tuple[dict[str, Any], dict[str, Any]]:
    """The configuration's files by name, and the schemas."""
    base = read_yaml(ROOT, CONFIG_FILE)
    files = {CONFIG_FILE: base}
    for paper in base["papers"]:
        files |= read_paper(ROOT, paper)
    return files, load_schemas(ROOT, ["config", *base["papers"]])


def places(tree: Any, path: Path = ()) -> list[Path]:
    """The keys of a tree, all levels."""
    found = [path] if path else []
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += places(value, (*path, str(key)))
    return found


def changed(values: dict[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """What the command line would say to set one key."""
    for key in reversed(path):
        value = {key: value}
    merged = copy.deepcopy(values)
    _merge(merged, value)
    return merged


def _merge(into: dict[str, Any], more: dict[str, Any]) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def set_places(place: Path, value: Any) -> list[Path]:
    """The keys that one change sets: its own, and those of a mapping that is its value."""
    first = place[0].split(".")  # as on the command line
    return [(*first, *place[1:], *inner) for inner in ((), *places(value))]


def names_place(line: str, place: Path) -> bool:
    """Whether a sentence tells that this key is meant: in full, as what is refused or what is to blame; in
    the value of a key above it; or in words of its own.
    """
    # A key of one part may be a word of any sentence, so it has to be what is refused.
    said = " = | is missing" if len(place) == 1 else r"(?!\w|\.\w)"
    if re.search(rf"{_key(place)}(\[\d+\])*({said})", line):
        return True
    leaf = re.escape(dotted(place[-1:]))
    for end in range(1, len(place)):
        above = re.search(_key(place[:end]) + " = ", line)
        if above and re.search(rf"""["']{leaf}["']: """, line[above.end() :]):
            return True
    if place[1:2] == ("scales",):  # nothing below it can be changed
        return f"{place[0]}.scales = " in line and "cannot be changed there" in line
    found = [(re.fullmatch(key, dotted(place)), words) for key, words in IN_WORDS]
    return any(key is not None and re.search(key.expand(words), line) for key, words in found)


def _key(place: Path) -> str:
    return rf"(?<![\w.]){re.escape(dotted(place))}"


def _problem(over: dict[str, Any], changes: list[Path], text: str) -> str | None:
    """What is wrong with how a configuration is refused."""
    lines = text.split("\n")
    for line in lines:
        if not line.endswith(".") or (" = " not in line and " is missing" not in line):
            return f"{over!r} is refused without a key: {line}"
    if not any(names_place(line, place) for line in lines for place in changes):
        return f"{over!r} is refused, but not by what was changed: {text}"
    return None


def try_one(
    files: dict[str, Any], schemas: dict[str, Any], over: dict[str, Any], changes: list[Path]
) -> tuple[bool, str | None]:
    """(refused, what is wrong with how): None where it is valid or refused as it should be.

    over: the values of the command line; changes: the keys that they set.
    """
    try:
        config = build_config(copy.deepcopy(files), schemas, command_line_values(over))
    except PipelineError as error:
        return True, _problem(over, changes, str(error))
    except Exception as error:  # what a user would see as a traceback
        return True, f"{over!r} raises {type(error).__name__}: {error}"
    try:  # what every start asks of a configuration
        plan_table(config)
    except PipelineError as error:
        # All that makes a run large adds to its memory: the limit is the key that is named.
        limited = re.search(r" MB of memory, more than compute\.memory_mb = \d+: .*\.$", str(error))
        return True, None if limited else _problem(over, changes, str(error))
    except Exception as error:  # what a user would see as a traceback
        return True, f"{over!r} raises {type(error).__name__}: {error}"
    return False, None


def config_drill(count: int, seed: int, progress: Callable[[int], None] | None = None) -> Outcome:
    """Change ``count`` configurations, one to three keys each: known ones, or with a letter wrong."""
    files, schemas = parsed_files()
    known = [path for content in files.values() for path in places(content)]
    wrong: list[str] = []
    tally = {"tried": 0, "refused": 0}

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(
        st.lists(
            st.tuples(st.sampled_from(known), VALUES, st.integers(0, 9), st.text(max_size=2)),
            min_size=1,
            max_size=3,
        ),
        st.sampled_from(SCALES),
    )
    def run(changes: list[tuple[Path, Any, int, str]], scale: str) -> None:
        over: dict[str, Any] = {"scale": scale}
        places_set: list[Path] = []
        for path, value, kind, letters in changes:
            place = (*path[:-1], path[-1] + letters) if kind == 0 else path
            over = changed(over, place, value)
            places_set += set_places(place, value)
        refused, problem = try_one(files, schemas, over, places_set)
        tally["tried"] += 1
        tally["refused"] += refused
        if problem:
            wrong.append(problem)
        if progress:
            progress(tally["tried"])

    run = _seeded(run, seed)
    run()
    if wrong:
        print("\n".join(wrong[:20]))
    tried, refused = tally["tried"], tally["refused"]
    return Outcome(
        *("a configuration changed at random", tried, tried - len(wrong), 0),
        f"{refused} refused with sentences that name the keys, {tried - refused} valid; no traceback",
    )


def _seeded(test: Any, seed: int) -> Any:
    from hypothesis import seed as seeded

    return seeded(seed)(test)
