"""The runs of a paper: grids expanded and restricted, settings completed, what is left out taken away."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Mapping
from typing import Any

from pipeline.config_files import merge

SOURCES = ("prune_from", "start_from")  # keys that name another run, without which a run is nothing
Changes = dict[str, Any]


def expanded_runs(paper: Mapping[str, Any]) -> dict[str, list[tuple[str, Changes]]]:
    """(name, changes) of each run that the entries of a paper stand for.

    Under ``only`` a run is left out where one of these keys is in its grid or set by its entry to another
    value than those wanted, and where what it starts from is left out.
    """
    every = {entry: _expanded(entry, changes) for entry, changes in paper["runs"].items()}
    only = paper.get("only", {})
    if not only:
        return every
    gone = {
        name
        for found in every.values()
        for name, changes in found
        if any(key in changes and changes[key] not in wanted for key, wanted in only.items())
    }
    while True:
        lost = {
            name
            for found in every.values()
            for name, changes in found
            if name not in gone and any(changes.get(key) in gone for key in SOURCES)
        }
        if not lost:
            break
        gone |= lost
    return {
        entry: [(name, changes) for name, changes in found if name not in gone]
        for entry, found in every.items()
    }


def _expanded(entry: str, changes: Mapping[str, Any]) -> list[tuple[str, Changes]]:
    """(name, changes) of each run of one entry: the combinations of its grid but those of ``except``."""
    fixed = {key: value for key, value in changes.items() if key not in ("grid", "except")}
    grid = changes.get("grid")
    if not grid:
        return [(entry, fixed)]
    found = []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        left_out = changes.get("except", [])
        if any(all(point.get(key) in some for key, some in one.items()) for one in left_out):
            continue
        words = [value if isinstance(value, str) else json.dumps(value) for value in values]
        found.append(("_".join([entry, *words]), {**fixed, **point}))
    return found


def resolve_run(
    paper: dict[str, Any],
    changes: dict[str, Any],
    compute: dict[str, Any],
    settings: dict[str, Any],
) -> dict[str, Any]:
    """All settings of a run: the defaults, over them those of its cases, over these its own ``changes``.

    Arguments
    ---------
    paper: the merged configuration of its paper; settings: the schema's properties of a run.
    """
    defaults = paper.get("defaults", {})
    whole = merge(defaults, changes)
    for case in paper.get("cases", []):
        if all(whole.get(key) in values for key, values in case["where"].items()):
            defaults = merge(defaults, case["set"])
    run = copy.deepcopy(merge(defaults, changes))
    run.pop("grid", None)  # of a source
    for key, value in run.items():
        # 1 and 1.0 are the same setting: one spelling, so that neither retrains the other.
        if "number" in settings.get(key, {}).get("type", ()) and isinstance(value, int):
            run[key] = float(value)
    run["precision"] = run["precision"] or compute["precision"]
    if "checkpoints" in run:
        _complete_ensemble(run, changes)
    return run


def _complete_ensemble(run: dict[str, Any], changes: dict[str, Any]) -> None:
    """Layers and checkpoints of an ensemble's run in one spelling."""
    run["layers"] = sorted(run["layers"])
    checkpoints = {"schedule": None, "count": None, "epochs": None, **run["checkpoints"]}
    if checkpoints["schedule"] == "list":
        checkpoints["count"] = None  # the default's count; a list has its own length
        checkpoints["epochs"] = sorted(checkpoints["epochs"]) if checkpoints["epochs"] else None
    elif "epochs" not in changes.get("checkpoints", {}) and "schedule" in changes.get(
        "checkpoints", {}
    ):
        checkpoints["epochs"] = None  # the default's list
    run["checkpoints"] = checkpoints


def leave_out(resolved: dict[str, Any], without: set[str]) -> dict[str, Any]:
    """A resolved paper without some groups of runs and without groups that have none, and without all that
    needs a group of the former, or has none left, but claims.
    """
    runs = resolved["runs"]
    gone = {name for name, run in runs.items() if run["group"] in without}
    for key in SOURCES:
        gone |= {name for name, run in runs.items() if run.get(key) in gone}
    empty = {group for group, names in resolved["groups"].items() if not names}
    if not gone and not empty:
        return resolved
    groups = {
        group: names
        for group, names in resolved["groups"].items()
        if group not in empty and not gone & set(names)
    }

    def left(entry: dict[str, Any]) -> dict[str, Any]:
        rest = [group for group in entry["runs"] if group not in empty]
        return entry | {"runs": rest or entry["runs"]}

    analyses: dict[str, Any] = {}
    for name, entry in resolved["analyses"].items():  # what one needs stands before it
        one = left(entry)
        if set(one["runs"]) <= set(groups) and set(one["analyses"]) <= set(analyses):
            analyses[name] = one
    figures = {name: left(entry) for name, entry in resolved["figures"].items()}
    kept = {name for names in groups.values() for name in names}
    return resolved | {
        "runs": {name: run for name, run in runs.items() if name in kept},
        "groups": groups,
        "analyses": analyses,
        "figures": {
            name: entry
            for name, entry in figures.items()
            if set(entry["runs"]) <= set(groups) and set(entry["analyses"]) <= set(analyses)
        },
        "claims": [left(claim) for claim in resolved["claims"]],
    }
