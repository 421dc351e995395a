"""Checks that no schema can express: names, limits set elsewhere, impossible combinations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.config_files import COMMAND_LINE, KeyPath, Layer, has, locate, merge
from pipeline.config_schema import names, sentence, show, suggestion

# What a claim of each kind holds; the other keys of this table have no place in it.
CLAIM_KEYS = {
    "value": ("value", "spread"),
    "about": ("value",),
    "range": ("low", "high"),
    "claim": ("side", "threshold"),
}


# Sections whose entries name runs.
ENTRIES = ("analyses", "figures", "claims")


@dataclass(frozen=True)
class Refusal:
    """A refused key of a run, why, what is valid, and the other keys that it was refused for."""

    path: KeyPath
    value: Any
    reason: str
    valid: str
    others: tuple[str, ...] = ()


class Checks(Protocol):
    """What is impossible in one resolved run of ``runs``: the function that a trainer's entry names."""

    def __call__(
        self, run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
    ) -> Iterator[Refusal]: ...


def unknown_names(run: dict[str, Any], config: dict[str, Any], trainer: str) -> Iterator[Refusal]:
    """Data sets, networks and optimisers that there are not, or that another trainer has."""
    sections = {"dataset": "datasets", "network": "networks", "optimizer": "optimizers"}
    for key, section in sections.items():
        name, entries = run[key], config[section]
        fit = [one for one, entry in entries.items() if trainer in _made_for(entry, trainer)]
        if name not in entries:
            reason = f"is no entry of {section}{suggestion(name, fit)}"
            yield Refusal((key,), name, reason, f"valid is {names(fit)}")
        elif name not in fit:
            made_for = " and ".join(_made_for(entries[name], trainer))
            reason = f"is made for the trainer {made_for}, not for {trainer}"
            yield Refusal((key,), name, reason, f"valid is {names(fit)}")


def _made_for(entry: dict[str, Any], trainer: str) -> list[str]:
    """The trainers that an entry is made for; any where it names none."""
    made_for = entry.get("trainer", trainer)
    return made_for if isinstance(made_for, list) else [made_for]


def dataset_refusals(
    run: dict[str, Any], config: dict[str, Any], limited: Mapping[str, int]
) -> Iterator[Refusal]:
    """More samples than a data set has, and one without classes, for networks of several classes.

    Arguments
    ---------
    limited: keys that may not exceed the run's training samples -> their least value; null is allowed.
    """
    name = run["dataset"]
    dataset = config["datasets"][name]
    if "classes" not in dataset:
        known = [one for one, entry in config["datasets"].items() if "classes" in entry]
        reason = f"does not state its number of classes (datasets.{name}.classes)"
        yield Refusal(("dataset",), name, reason, f"valid is {names(known)}")
        return
    for key, split, least in (("samples", "train", 2), ("test_samples", "test", 1)):
        total = dataset["samples"][split]
        if run[key] is not None and run[key] > total:
            reason = f"is more than the {total} {split} samples of {name}"
            yield Refusal((key,), run[key], reason, span(least, total), ("dataset",))
    for key, least in limited.items():
        if run[key] is not None and run[key] > run["samples"]:
            reason = f"is more than the run's samples = {run['samples']}"
            yield Refusal((key,), run[key], reason, span(least, run["samples"]), ("samples",))


def optimizer_refusals(run: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Refusal]:
    """Momentum and weight decay that the run's optimiser does not use."""
    for key in ("momentum", "weight_decay"):
        if run[key] != 0 and key not in optimizer["parameters"]:
            used = ", ".join(optimizer["parameters"]) or "none"
            reason = f"does not fit optimizer = {run['optimizer']}, whose parameters are: {used}"
            yield Refusal((key,), run[key], reason, "valid is 0", ("optimizer",))


def span(low: int, high: int) -> str:
    """The whole numbers that are valid, in words."""
    return f"valid is {low}" if high <= low else f"valid is {low} to {high}"


def run_problems(
    runs: dict[str, dict[str, Any]],
    config: dict[str, Any],
    layers: list[Layer],
    refusals: Checks,
) -> Iterator[str]:
    """One sentence for each key that resolved runs are refused for, naming these runs.

    Arguments
    ---------
    refusals: what is impossible in one run, by its trainer.
    """
    found: dict[tuple[str, ...], list[str]] = {}
    for run in runs.values():
        for refusal in refusals(run, runs, config):
            where, key = _run_key(run, refusal.path, runs, layers)
            blamed = [
                f"{other_key} comes from the {COMMAND_LINE}"
                for other in refusal.others
                for other_where, other_key in [_run_key(run, tuple(other.split(".")), runs, layers)]
                if COMMAND_LINE == other_where != where
            ]
            values = (refusal.reason, refusal.valid, "".join(f"; {text}" for text in blamed))
            found.setdefault((where, key, show(refusal.value), *values), []).append(run["name"])
    for (where, key, value, reason, valid, blame), users in found.items():
        some = ", ".join(users[:3]) + (f" and {len(users) - 3} more" if len(users) > 3 else "")
        yield f"{where}: {key} = {value} {reason} (run {some}{blame}); {valid}."


def _run_key(
    run: dict[str, Any], path: KeyPath, runs: dict[str, dict[str, Any]], layers: list[Layer]
) -> tuple[str, str]:
    """Where the value of a run's key comes from: its entry, that of its source, or the defaults."""
    source = runs.get(run.get("prune_from") or "")
    entries = [run["group"], *([source["group"]] if source else [])]
    places: list[KeyPath] = [
        ("runs", entry, *grid, *path) for entry in entries for grid in (("grid",), ())
    ]
    for place in [*places, ("defaults", *path)]:
        if any(has(layer.tree, place) for layer in layers):
            return locate(layers, place)
    return locate(layers, ("runs", run["group"], *path))


def paper_problems(
    merged: dict[str, Any], groups: dict[str, list[str]], layers: list[Layer]
) -> Iterator[str]:
    """Sentences about a paper's figures, claims and the names that tie them to its runs."""
    known: dict[str, Iterable[str]] = {"runs": groups, "analyses": merged["analyses"]}
    yield from _analysis_problems(merged["analyses"], layers)
    for section in ENTRIES:
        for name, entry in merged[section].items():
            for kind, valid in known.items():
                for i, used in enumerate(entry.get(kind, [])):
                    if used not in valid:
                        where, key = locate(layers, (section, name, kind, i))
                        reason = f"is no entry of {kind}{suggestion(used, valid)}"
                        yield sentence(where, key, used, reason, f"valid is {names(valid)}")
    for name, claim in merged["claims"].items():
        yield from _claim_problems(name, claim, merged["figures"], layers)


def _analysis_problems(analyses: dict[str, Any], layers: list[Layer]) -> Iterator[str]:
    """Analyses that need each other in a circle: what each needs must stand before it."""
    earlier: list[str] = []
    for name, entry in analyses.items():
        for i, used in enumerate(entry.get("analyses", [])):
            if used in analyses and used not in earlier:
                where, key = locate(layers, ("analyses", name, "analyses", i))
                reason = "does not stand before it"
                yield sentence(where, key, used, reason, f"valid is {names(earlier) or 'none'}")
        earlier.append(name)


def only_problems(merged: dict[str, Any], layers: list[Layer]) -> Iterator[str]:
    """Restrictions to values that no run sets."""
    for key, wanted in merged.get("only", {}).items():
        known = [run[key] for run in merged["runs"].values() if key in run]
        known += [
            one for run in merged["runs"].values() for one in run.get("grid", {}).get(key, [])
        ]
        for i, value in enumerate(wanted):
            if value not in known:
                where, full = locate(layers, ("only", key, i))
                reason = f"is no value of {key} in the grid or the settings of any run"
                valid = f"valid is {names({show(one) for one in known})}"
                yield sentence(where, full, value, reason, valid)


def _claim_problems(
    name: str, claim: dict[str, Any], figures: Iterable[str], layers: list[Layer]
) -> Iterator[str]:
    def at(key: str, reason: str, valid: str) -> str:
        where, full = locate(layers, ("claims", name, key))
        if where != COMMAND_LINE and has(layers[-1].tree, ("claims", name)):
            reason += f" ({', '.join(layers[-1].tree['claims'][name])} from the {COMMAND_LINE})"
        return sentence(where, full, claim.get(key), reason, valid)

    kind, needed = claim["kind"], CLAIM_KEYS[claim["kind"]]
    needs = f"kind {kind} needs {names(needed)}"
    if claim["figure"] not in figures:
        yield at("figure", "is no entry of figures", f"valid is {names(figures)}")
    for key in sorted({key for keys in CLAIM_KEYS.values() for key in keys}):
        if key in needed and key not in claim:
            yield at(key, "is missing", needs)
        elif key in claim and key not in needed:
            yield at(key, f"has no place in a claim of kind = {kind}", needs)
    if kind == "range" and "low" in claim and "high" in claim and claim["low"] > claim["high"]:
        yield at("low", f"is above high = {show(claim['high'])}", "low is the smaller end")


def layer_problems(merged: dict[str, Any], layers: list[Layer]) -> Iterator[str]:
    """Entries that a scale changes but the file lacks, and runs that only the command line has.

    ``layers`` are the paper's files, the chosen scale and the command line, in this order.
    """
    *files, _, command_line = layers
    file, paper = files[0], files[0].prefix[0]
    written: dict[str, Any] = {}
    for layer in files:
        written = merge(written, layer.tree)
    for scale, overlay in merged["scales"].items():
        for i, name in enumerate(overlay.get("without", [])):
            known = _section(written, "runs")
            if name not in known:
                key = f"{paper}.scales.{scale}.without[{i}]"
                reason = f"is no entry of runs{suggestion(name, known)}"
                yield sentence(file.where, key, name, reason, f"valid is {names(known)}")
        for section in ("runs", "analyses", "figures"):
            known = _section(written, section)
            for name, value in overlay.get(section, {}).items():
                if name not in known:
                    key = f"{paper}.scales.{scale}.{section}.{name}"
                    reason = f"changes what the file does not have{suggestion(name, known)}"
                    yield sentence(file.where, key, value, reason, f"valid is {names(known)}")
    if "scales" in _section({"over": command_line.tree}, "over"):
        value = command_line.tree["scales"]
        reason = "cannot be changed there"
        yield sentence(COMMAND_LINE, f"{paper}.scales", value, reason, "set the keys themselves")
    entries = [entry for section in ENTRIES for entry in merged[section].values()]
    used = {group for entry in entries for group in entry.get("runs", [])}
    used |= {run.get("prune_from") for run in merged["runs"].values()}
    known = _section(written, "runs")
    for name, value in _section(command_line.tree, "runs").items():
        if name not in known and name not in used:
            reason = f"is a run that no figure or claim uses{suggestion(name, known)}"
            valid = f"valid is {names(known)}"
            yield sentence(COMMAND_LINE, f"{paper}.runs.{name}", value, reason, valid)


def entries_of(layer: Layer) -> set[str]:
    """``section`` and, of sections that hold entries by name, ``section.entry`` of one paper's file."""
    tree = layer.tree if isinstance(layer.tree, dict) else {}
    named = {
        f"{section}.{name}" for section in ("runs", *ENTRIES) for name in _section(tree, section)
    }
    return named | (set(tree) - {"runs", *ENTRIES})


def _section(tree: Any, key: str) -> dict[str, Any]:
    """A mapping inside one layer, which alone need not be valid: nothing where it is none."""
    value = tree.get(key) if isinstance(tree, dict) else None
    return value if isinstance(value, dict) else {}
