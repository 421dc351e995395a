"""What is impossible in a run of predictors: networks whose predictions are recorded along training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.config_checks import (
    Refusal,
    dataset_refusals,
    optimizer_refusals,
    unknown_names,
)
from pipeline.config_schema import names, suggestion
from pipeline.errors import TrainingError
from pipeline.predictors.schedules import spaced_updates

# Networks of ours that take vectors too; the others take images of any side.
OF_VECTORS = ("pipeline.models.prediction_space:fc", "pipeline.models.prediction_space:student")
PATCH = 16  # pixels of ViT-S
OF_FILES = ("pipeline.data.imagenet:imagenet",)
SAME = ("network", "width", "network_options")  # of a run and the one that it starts from


def refusals(
    run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
) -> Iterator[Refusal]:
    """What is impossible in one resolved run of ``runs``."""
    unknown = list(unknown_names(run, config, "predictor"))
    yield from unknown
    refused = {refusal.path[0] for refusal in unknown}
    if "dataset" not in refused:
        limited = {"batch_size": 1, "statistics_samples": 1, "record_samples": 1}
        yield from dataset_refusals(run, config, limited)
        if "network" not in refused:
            yield from _file_refusals(run, config)
    if not refused & {"dataset", "network"}:
        yield from _shape_refusals(run, config)
    if "optimizer" not in refused:
        optimizer = config["optimizers"][run["optimizer"]]
        yield from optimizer_refusals(run, optimizer)
        options = optimizer.get("options", {})
        if options.get("nesterov") and not (options.get("momentum") or run["momentum"]):
            yield _nesterov_refusal(run, optimizer)
    yield from _learning_rate_refusals(run)
    yield from _record_refusals(run)
    yield from _start_refusals(run, runs, config)


def _nesterov_refusal(run: dict[str, Any], optimizer: dict[str, Any]) -> Refusal:
    """Nesterov's momentum is a number above 0: of the run, or fixed among the optimiser's options."""
    name = run["optimizer"]
    reason = f"does not fit optimizer = {name}, which uses Nesterov's momentum"
    if "momentum" in optimizer["parameters"]:
        valid = "valid is a number above 0 and below 1"
    else:
        valid = f"set optimizers.{name}.options.momentum to a number above 0 and below 1"
    return Refusal(("momentum",), run["momentum"], reason, valid, ("optimizer",))


def _shape_refusals(run: dict[str, Any], config: dict[str, Any]) -> Iterator[Refusal]:
    """Networks of images do not go with vectors, nor does augmentation."""
    if len(config["datasets"][run["dataset"]]["shape"]) > 1:
        return
    vectors = f"dataset = {run['dataset']} does not hold (datasets.{run['dataset']}.shape)"
    builder = config["networks"][run["network"]]["builder"]
    if builder.startswith("pipeline.models.") and builder not in OF_VECTORS:
        fit = [name for name, one in config["networks"].items() if one["builder"] in OF_VECTORS]
        reason = f"takes images, which {vectors}"
        yield Refusal(("network",), run["network"], reason, f"valid is {names(fit)}", ("dataset",))
    if run["augmentation"] != "none":
        reason = f"is for images, which {vectors}"
        yield Refusal(("augmentation",), run["augmentation"], reason, "valid is none", ("dataset",))


def _file_refusals(run: dict[str, Any], config: dict[str, Any]) -> Iterator[Refusal]:
    """What goes with files of pictures alone, or not with them."""
    name, augmentation = run["dataset"], run["augmentation"]
    files = config["datasets"][name]["loader"] in OF_FILES
    wrong = "crop_flip" if files else "random_crop"
    if augmentation == wrong:
        holds = "files of pictures" if files else "no files of pictures"
        valid = "valid is none, " + ("random_crop" if files else "crop_flip")
        reason = f"does not go with dataset = {name}, which holds {holds} (datasets.{name}.loader)"
        yield Refusal(("augmentation",), augmentation, reason, valid, ("dataset",))
    if run["sides"] is not None and not files:
        reason = f"is for files of pictures, which dataset = {name} does not hold (datasets.{name}.loader)"
        yield Refusal(("sides",), run["sides"], reason, "valid is null", ("dataset",))
    uneven = [side for _, side in run["sides"] or () if side % PATCH]
    if uneven and config["networks"][run["network"]]["builder"].endswith(":vit_small"):
        reason = f"does not fit network = {run['network']}: {uneven[0]} is no multiple of {PATCH}"
        valid = f"valid are multiples of {PATCH}"
        yield Refusal(("sides",), run["sides"], reason, valid, ("network",))
    if files and run["record_augmented"]:
        reason = "does not go with files of pictures"
        yield Refusal(("record_augmented",), True, reason, "valid is false", ("dataset",))


def _learning_rate_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    keys = ("learning_rate", "learning_rate_per_sample")
    given = [key for key in keys if run[key] is not None]
    if len(given) == 1:
        return
    reason = "is missing" if not given else f"is set beside {keys[0]} = {run[keys[0]]}"
    yield Refusal((keys[1],), run[keys[1]], reason, "set one of the two, null the other", keys[:1])


def _record_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    """The schedule of 61 records needs as many updates, and more than five epochs."""
    if run["records"] != "spaced":
        return
    updates = -(-run["samples"] // run["batch_size"])
    try:
        spaced_updates(run["epochs"], updates)
    except TrainingError as error:
        reason = f"does not fit: {str(error).rstrip('.').split(';')[0]}"
        valid = "valid is authors, or spaced with more epochs or smaller batches"
        yield Refusal(("records",), "spaced", reason, valid, ("epochs", "batch_size", "samples"))


def _start_refusals(
    run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
) -> Iterator[Refusal]:
    """A run starts from a run before it, whose final networks are kept and have its shape."""
    start = run["start_from"]
    if start is None:
        return

    def refused(reason: str, valid: str) -> Refusal:
        return Refusal(("start_from",), start, reason, valid)

    kept = [name for name, one in runs.items() if one["final_weights"] and one is not run]
    source = runs.get(start)
    if source is None:
        yield refused(f"is no run{suggestion(start, kept)}", f"valid is {names(kept)}")
        return
    if not source["final_weights"]:
        yield refused("keeps no final weights", "set final_weights of that run to true")
    for key in SAME:
        if source[key] != run[key]:
            reason = f"has {key} = {source[key]}, not {run[key]}"
            yield refused(reason, "both runs need the same network")
    inputs = [config["datasets"].get(one["dataset"], {}) for one in (source, run)]
    if len({str((one.get("shape"), one.get("classes"))) for one in inputs}) > 1:
        yield refused("learns inputs of another shape or number of classes", "choose another run")
    seen = [run["name"]]
    while source is not None:
        seen.append(source["name"])
        if source["start_from"] == run["name"]:
            yield refused(f"starts from this run again ({' from '.join(seen)})", "break the circle")
            return
        source = runs.get(source["start_from"] or "") if len(seen) <= len(runs) else None
