"""What is impossible in a run of an ensemble: many small networks of two classes, one batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.config_checks import Refusal, optimizer_refusals, span, unknown_names
from pipeline.config_schema import names, show, suggestion


def refusals(
    run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
) -> Iterator[Refusal]:
    """What is impossible in one resolved run of ``runs``."""
    unknown = list(unknown_names(run, config, "ensemble"))
    yield from unknown
    refused = {refusal.path[0] for refusal in unknown}
    if "dataset" not in refused:
        dataset = config["datasets"][run["dataset"]]
        if len(dataset["shape"]) == 1:
            reason = f"holds vectors, not images (datasets.{run['dataset']}.shape)"
            images = [name for name, one in config["datasets"].items() if len(one["shape"]) > 1]
            yield Refusal(("dataset",), run["dataset"], reason, f"valid is {names(images)}")
            refused.add("dataset")
        else:
            yield from _sample_refusals(run, dataset)
    if "optimizer" not in refused:
        yield from _optimizer_refusals(run, config["optimizers"][run["optimizer"]])
    if not refused & {"dataset", "network"}:
        yield from _kernel_refusals(run, config["datasets"][run["dataset"]])
    yield from _network_refusals(run)
    yield from _checkpoint_refusals(run)
    yield from _prune_refusals(run, runs)


def _sample_refusals(run: dict[str, Any], dataset: dict[str, Any]) -> Iterator[Refusal]:
    name, total = run["dataset"], dataset["samples"]["train"]
    samples, block, size = run["samples"], run["block"], run["batch_size"]
    if samples > total:
        reason = f"is more than the {total} training samples of {name}"
        yield Refusal(("samples",), samples, reason, span(2, total), ("dataset",))
    elif (block + 1) * samples > total:
        reason = f"lies beyond the {total} training samples of {name} in blocks of {samples}"
        valid = span(0, total // samples - 1)
        yield Refusal(("block",), block, reason, valid, ("dataset", "samples"))
    if size is not None and size > samples:
        reason = f"is more than the run's samples = {samples}"
        yield Refusal(("batch_size",), size, reason, span(1, samples), ("samples",))
    if run["grey"] == "sum_after" and len(dataset["shape"]) == 2:
        reason = f"needs colour images, but {name} is grey (datasets.{name}.shape)"
        yield Refusal(("grey",), run["grey"], reason, "valid is mean", ("dataset",))


def _optimizer_refusals(run: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Refusal]:
    name, size = run["optimizer"], run["batch_size"]
    if optimizer["batches"] == "mini" and size is None:
        reason = (
            f"does not fit optimizer = {name}, which uses minibatches (optimizers.{name}.batches)"
        )
        yield Refusal(("batch_size",), size, reason, span(1, run["samples"]), ("optimizer",))
    if optimizer["batches"] == "full" and size is not None:
        reason = f"does not fit optimizer = {name}, which uses the full batch (optimizers.{name}.batches)"
        yield Refusal(("batch_size",), size, reason, "valid is null", ("optimizer",))
    if run["updates_per_epoch"] is not None and run["batch_size"] is None:
        reason = "does not fit a full batch, whose epoch is one update"
        value = run["updates_per_epoch"]
        yield Refusal(("updates_per_epoch",), value, reason, "valid is null", ("batch_size",))
    if run["shared_init"] and (run["batch_size"] is None or run["shared_order"]):
        reason = "makes all networks the same: nothing else differs between the seeds"
        valid = "valid is false, or true with minibatches and shared_order false"
        yield Refusal(("shared_init",), True, reason, valid, ("batch_size", "shared_order"))
    yield from optimizer_refusals(run, optimizer)


def _kernel_refusals(run: dict[str, Any], dataset: dict[str, Any]) -> Iterator[Refusal]:
    kernel, side = run["kernel"], min(dataset["shape"][:2])
    if run["network"] == "convolutional" and kernel is None:
        reason = "does not fit network = convolutional"
        yield Refusal(("kernel",), kernel, reason, span(1, side), ("network",))
    if run["network"] == "fully_connected" and kernel is not None:
        reason = "does not fit network = fully_connected"
        yield Refusal(("kernel",), kernel, reason, "valid is null", ("network",))
    if kernel is not None and kernel > side:
        reason = f"is larger than the images of {run['dataset']} (datasets.{run['dataset']}.shape)"
        yield Refusal(("kernel",), kernel, reason, span(1, side), ("dataset",))
    if run["network"] == "convolutional" and run["depth"] != 2:
        reason = "does not fit network = convolutional: a convolution and a read-out"
        yield Refusal(("depth",), run["depth"], reason, "valid is 2", ("network",))


def _network_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    hidden, init, variance = run["depth"] - 1, run["init"], run["init_variance"]
    if max(run["layers"]) > hidden:
        reason = f"names a hidden layer that a network of depth = {run['depth']} does not have"
        yield Refusal(("layers",), run["layers"], reason, span(1, hidden), ("depth",))
    if init == "normal" and variance is None:
        reason = "does not fit init = normal"
        yield Refusal(("init_variance",), variance, reason, "valid is a number above 0", ("init",))
    if init != "normal" and variance is not None:
        reason = f"does not fit init = {init}"
        valid = "valid is null, or a number with init normal"
        yield Refusal(("init_variance",), variance, reason, valid, ("init",))
    if run["stored_seeds"] > run["seeds"]:
        reason = f"is more than the run's seeds = {run['seeds']}"
        valid = span(1, run["seeds"])
        yield Refusal(("stored_seeds",), run["stored_seeds"], reason, valid, ("seeds",))


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
        yield Refusal(("checkpoints", "epochs"), epochs, beyond, span(0, last), ("epochs",))
    elif schedule != "list" and epochs is not None:
        valid = "valid is null, or a list with schedule list"
        yield Refusal(("checkpoints", "epochs"), epochs, reason, valid, ("checkpoints.schedule",))
    elif schedule != "list" and count is None:
        valid = "valid is a whole number of at least 2"
        yield Refusal(("checkpoints", "count"), None, reason, valid, ("checkpoints.schedule",))


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
        reason = f"goes beyond the epochs of {name}, {source['epochs']}"
        yield Refusal(("prune_epoch",), epoch, reason, span(0, source["epochs"]), ("prune_from",))
    if run["batch_size"] is not None:
        reason = "does not fit prune_from: a pruned set is trained as a full batch"
        yield Refusal(("batch_size",), run["batch_size"], reason, "valid is null", ("prune_from",))
    if run["seeds"] > source["seeds"]:
        reason = f"is more than the seeds of {name}, whose sets are left out"
        yield Refusal(("seeds",), run["seeds"], reason, span(1, source["seeds"]), ("prune_from",))
    for key in SAME_AS_SOURCE:
        if run[key] != source[key]:
            reason = f"differs from {key} = {show(source[key])} of {name}, whose sets are left out"
            valid = f"valid is {show(source[key])}"
            yield Refusal((key,), run[key], reason, valid, ("prune_from",))
    if run["labels"] == source["labels"] == "random":
        reason = f"are drawn for each run, so that the sets of {name} are of other labels"
        yield Refusal(("labels",), "random", reason, "valid is parity", ("prune_from",))
