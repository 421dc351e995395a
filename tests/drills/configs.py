"""Configurations that are changed at random: each is valid, or refused with a sentence that names a key."""

from __future__ import annotations

import copy
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
from pipeline.plan import plan_table, training_sizes

Path = tuple[str, ...]
SCALES = ("smoke", "laptop", "paper")
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


def shown(key: str) -> str:
    """A key as sentences show it."""
    return dotted((key,))


def _changed_places(over: dict[str, Any]) -> list[Path]:
    """The keys that were changed; the scale counts where it is none of the known ones."""
    return [path for path in places(over) if path != ("scale",) or over["scale"] not in SCALES]


def try_one(
    files: dict[str, Any], schemas: dict[str, Any], over: dict[str, Any]
) -> tuple[bool, str | None]:
    """(refused, what is wrong with how): None where it is valid or refused as it should be."""
    try:
        config = build_config(copy.deepcopy(files), schemas, command_line_values(over))
    except PipelineError as error:
        text = str(error)
        for line in text.split("\n"):
            if not line.endswith(".") or (" = " not in line and " is missing" not in line):
                return True, f"{over!r} is refused without a key: {line}"
        if not any(shown(path[-1]) in text for path in _changed_places(over)):
            return True, f"{over!r} is refused, but not by what was changed: {text}"
        return True, None
    except Exception as error:  # what a user would see as a traceback
        return True, f"{over!r} raises {type(error).__name__}: {error}"
    try:  # what every start asks of a configuration
        training_sizes(config)
        plan_table(config)
    except PipelineError:
        return True, None
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
        for path, value, kind, letters in changes:
            place = (*path[:-1], path[-1] + letters) if kind == 0 else path
            over = changed(over, place, value)
        refused, problem = try_one(files, schemas, over)
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
