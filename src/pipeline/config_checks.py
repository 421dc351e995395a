"""Checks that no schema can express: names, limits set elsewhere, impossible combinations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

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


def run_refusals(
    run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
) -> Iterator[Refusal]:
    """What is impossible in one resolved run of ``runs``."""
    unknown = list(_unknown_names(run, config))
    yield from unknown
    refused = {refusal.path[0] for refusal in unknown}
    if "dataset" not in refused:
        yield from _sample_refusals(run, config["datasets"][run["dataset"]])
    if "optimizer" not in refused:
        yield from _optimizer_refusals(run, config["optimizers"][run["optimizer"]])
    if not refused & {"dataset", "network"}:
        yield from _kernel_refusals(run, config["datasets"][run["dataset"]])
    yield from _network_refusals(run)
    yield from _checkpoint_refusals(run)
    yield from _prune_refusals(run, runs)


def _unknown_names(run: dict[str, Any], config: dict[str, Any]) -> Iterator[Refusal]:
    sections = {"dataset": "datasets", "network": "networks", "optimizer": "optimizers"}
    for key, section in sections.items():
        name, entries = run[key], config[section]
        if name not in entries:
            reason = f"is no entry of {section}{suggestion(name, entries)}"
            yield Refusal((key,), name, reason, f"valid is {names(entries)}")


def _sample_refusals(run: dict[str, Any], dataset: dict[str, Any]) -> Iterator[Refusal]:
    name, total = run["dataset"], dataset["samples"]["train"]
    samples, block, size = run["samples"], run["block"], run["batch_size"]
    if samples > total:
        reason = f"is more than the {total} training samples of {name}"
        yield Refusal(("samples",), samples, reason, _span(2, total), ("dataset",))
    elif (block + 1) * samples > total:
        reason = f"lies beyond the {total} training samples of {name} in blocks of {samples}"
        valid = _span(0, total // samples - 1)
        yield Refusal(("block",), block, reason, valid, ("dataset", "samples"))
    if size is not None and size > samples:
        reason = f"is more than the run's samples = {samples}"
        yield Refusal(("batch_size",), size, reason, _span(1, samples), ("samples",))
    if run["grey"] == "sum_after" and len(dataset["shape"]) == 2:
        reason = f"needs colour images, but {name} is grey"
        yield Refusal(("grey",), run["grey"], reason, "valid is mean", ("dataset",))


def _optimizer_refusals(run: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Refusal]:
    name, size = run["optimizer"], run["batch_size"]
    if optimizer["batches"] == "mini" and size is None:
        reason = f"does not fit optimizer = {name}, which uses minibatches"
        yield Refusal(("batch_size",), size, reason, _span(1, run["samples"]), ("optimizer",))
    if optimizer["batches"] == "full" and size is not None:
        reason = f"does not fit optimizer = {name}, which uses the full batch"
        yield Refusal(("batch_size",), size, reason, "valid is null", ("optimizer",))
    if run["updates_per_epoch"] is not None and run["batch_size"] is None:
        reason = "does not fit a full batch, whose epoch is one update"
        value = run["updates_per_epoch"]
        yield Refusal(("updates_per_epoch",), value, reason, "valid is null", ("batch_size",))
    if run["shared_init"] and (run["batch_size"] is None or run["shared_order"]):
        reason = "makes all networks the same: nothing else differs between the seeds"
        valid = "valid is false, or true with minibatches and shared_order false"
        yield Refusal(("shared_init",), True, reason, valid, ("batch_size", "shared_order"))
    for key in ("momentum", "weight_decay"):
        if run[key] != 0 and key not in optimizer["parameters"]:
            used = ", ".join(optimizer["parameters"]) or "none"
            reason = f"does not fit optimizer = {name}, whose parameters are: {used}"
            yield Refusal((key,), run[key], reason, "valid is 0", ("optimizer",))


def _network_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    hidden, init, variance = run["depth"] - 1, run["init"], run["init_variance"]
    if max(run["layers"]) > hidden:
        reason = f"names a hidden layer that a network of depth = {run['depth']} does not have"
        yield Refusal(("layers",), run["layers"], reason, _span(1, hidden), ("depth",))
    if init == "normal" and variance is None:
        reason = "does not fit init = normal"
        yield Refusal(("init_variance",), variance, reason, "valid is a number above 0", ("init",))
    if init != "normal" and variance is not None:
        reason = f"does not fit init = {init}"
        valid = "valid is null, or a number with init normal"
        yield Refusal(("init_variance",), variance, reason, valid, ("init",))
    if run["stored_seeds"] > run["seeds"]:
        reason = f"is more than the run's seeds = {run['seeds']}"
        valid = _span(1, run["seeds"])
        yield Refusal(("stored_seeds",), run["stored_seeds"], reason, valid, ("seeds",))


def _kernel_refusals(run: dict[str, Any], dataset: dict[str, Any]) -> Iterator[Refusal]:
    kernel, side = run["kernel"], min(dataset["shape"][:2])
    if run["network"] == "convolutional" and kernel is None:
        reason = "does not fit network = convolutional"
        yield Refusal(("kernel",), kernel, reason, _span(1, side), ("network",))
    if run["network"] == "fully_connected" and kernel is not None:
        reason = "does not fit network = fully_connected"
        yield Refusal(("kernel",), kernel, reason, "valid is null", ("network",))
    if kernel is not None and kernel > side:
        reason = f"is larger than the images of {run['dataset']}"
        yield Refusal(("kernel",), kernel, reason, _span(1, side), ("dataset",))
    if run["network"] == "convolutional" and run["depth"] != 2:
        reason = "does not fit network = convolutional: a convolution and a read-out"
        yield Refusal(("depth",), run["depth"], reason, "valid is 2", ("network",))


# What a pruned run shares with its source: the samples that the sets are of.
SAME_AS_SOURCE = ("dataset", "samples", "block", "labels")


def _prune_refusals(run: dict[str, Any], runs: dict[str, dict[str, Any]]) -> Iterator[Refusal]:
    name, epoch, error = (run[f"prune_{key}"] for key in ("from", "epoch", "error"))
    if name is None:
        unused = {"prune_epoch": None, "prune_error": None, "prune_random": False}
        for key, default in unused.items():
            if run[key] != default:
                reason = "needs prune_from, the run whose samples are left out"
                only = f"valid is {show(default)}"
                yield Refusal((key,), run[key], reason, only, ("prune_from",))
        return
    if name not in runs:
        reason = f"is no run{suggestion(name, runs)}"
        yield Refusal(("prune_from",), name, reason, f"valid is {names(runs)}")
        return
    source = runs[name]
    if source["prune_from"] is not None or source is run:
        reason = "is a pruned run itself"
        yield Refusal(
            ("prune_from",), name, reason, "valid is a run that is trained on all samples"
        )
    if (epoch is None) == (error is None):
        reason = "does not say which samples" if epoch is None else "is set beside prune_error"
        yield Refusal(("prune_epoch",), epoch, reason, "set one of prune_epoch and prune_error")
    if isinstance(epoch, int) and epoch > source["epochs"]:
        reason = f"goes beyond the epochs of {name}"
        yield Refusal(("prune_epoch",), epoch, reason, _span(0, source["epochs"]), ("prune_from",))
    if run["batch_size"] is not None:
        reason = "does not fit prune_from: a pruned set is trained as a full batch"
        yield Refusal(("batch_size",), run["batch_size"], reason, "valid is null", ("prune_from",))
    if run["seeds"] > source["seeds"]:
        reason = f"is more than the seeds of {name}, whose sets are left out"
        yield Refusal(("seeds",), run["seeds"], reason, _span(1, source["seeds"]), ("prune_from",))
    for key in SAME_AS_SOURCE:
        if run[key] != source[key]:
            reason = f"differs from {key} = {show(source[key])} of {name}, whose sets are left out"
            valid = f"valid is {show(source[key])}"
            yield Refusal((key,), run[key], reason, valid, ("prune_from",))
    if run["labels"] == source["labels"] == "random":
        reason = f"are drawn for each run, so that the sets of {name} are of other labels"
        yield Refusal(("labels",), "random", reason, "valid is parity", ("prune_from",))


def _checkpoint_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    checkpoints, last = run["checkpoints"], run["epochs"]
    schedule, count, epochs = (checkpoints[key] for key in ("schedule", "count", "epochs"))
    reason = f"does not fit schedule = {schedule}"
    if schedule is None:
        valid = "valid is one of log, linear, list"
        yield Refusal(("checkpoints", "schedule"), None, "is missing", valid)
    elif schedule == "list" and epochs is None:
        valid = "valid is a list of epochs"
        yield Refusal(("checkpoints", "epochs"), None, reason, valid, ("checkpoints.schedule",))
    elif schedule == "list" and max(epochs) > last:
        beyond = f"goes beyond the run's epochs = {last}"
        yield Refusal(("checkpoints", "epochs"), epochs, beyond, _span(0, last), ("epochs",))
    elif schedule != "list" and epochs is not None:
        valid = "valid is null, or a list with schedule list"
        yield Refusal(("checkpoints", "epochs"), epochs, reason, valid, ("checkpoints.schedule",))
    elif schedule != "list" and count is None:
        valid = "valid is a whole number of at least 2"
        yield Refusal(("checkpoints", "count"), None, reason, valid, ("checkpoints.schedule",))


def _span(low: int, high: int) -> str:
    return f"valid is {low}" if high <= low else f"valid is {low} to {high}"


def run_problems(
    runs: dict[str, dict[str, Any]], config: dict[str, Any], layers: list[Layer]
) -> Iterator[str]:
    """One sentence for each key that resolved runs are refused for, naming these runs."""
    found: dict[tuple[str, ...], list[str]] = {}
    for run in runs.values():
        for refusal in run_refusals(run, runs, config):
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
    source = runs.get(run["prune_from"] or "")
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
