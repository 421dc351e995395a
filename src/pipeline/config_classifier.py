"""What is impossible in a run of classifiers: networks of several classes, trained one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipeline.config_checks import (
    Refusal,
    dataset_refusals,
    optimizer_refusals,
    span,
    unknown_names,
)
from pipeline.config_schema import names

# Networks of ours: sides of the images that they take; none of those that take vectors.
SIDES: dict[str, tuple[int, ...]] = {
    "pipeline.models.memorization:feed_forward": (),
    "pipeline.models.memorization:alexnet": (32,),
    "pipeline.models.memorization:vgg16": (32,),
    "pipeline.models.memorization:resnet18": (32, 64),
}


def refusals(
    run: dict[str, Any], runs: dict[str, dict[str, Any]], config: dict[str, Any]
) -> Iterator[Refusal]:
    """What is impossible in one resolved run of ``runs``."""
    unknown = list(unknown_names(run, config, "classifier"))
    yield from unknown
    refused = {refusal.path[0] for refusal in unknown}
    if "dataset" not in refused:
        yield from dataset_refusals(run, config, {"batch_size": 1, "statistics_samples": 0})
        yield from _class_refusals(run, config)
    if not refused & {"dataset", "network"}:
        yield from _shape_refusals(run, config)
    if "optimizer" not in refused:
        yield from _optimizer_refusals(run, config["optimizers"][run["optimizer"]])
    yield from _seed_refusals(run)


def _class_refusals(run: dict[str, Any], config: dict[str, Any]) -> Iterator[Refusal]:
    name = run["dataset"]
    dataset = config["datasets"][name]
    if "classes" not in dataset:
        return  # refused already
    if run["recorded_classes"] > dataset["classes"]:
        reason = f"is more than the {dataset['classes']} classes of {name}"
        valid = span(1, dataset["classes"])
        yield Refusal(("recorded_classes",), run["recorded_classes"], reason, valid, ("dataset",))


def _shape_refusals(run: dict[str, Any], config: dict[str, Any]) -> Iterator[Refusal]:
    """A network of ours goes with vectors, or with images of its sides."""
    shape = tuple(config["datasets"][run["dataset"]]["shape"])
    sides = SIDES.get(config["networks"][run["network"]]["builder"])
    if sides is None or _fits(shape, sides):
        return
    takes = "images of " + " or ".join(f"{side} x {side}" for side in sides) if sides else "vectors"
    name, network = run["dataset"], run["network"]
    reason = (
        f"does not fit dataset = {name}: it takes {takes} (networks.{network}.builder, "
        f"datasets.{name}.shape = {list(shape)})"
    )
    fit = [
        name
        for name, entry in config["networks"].items()
        if _fits(shape, SIDES.get(entry["builder"]))
    ]
    valid = f"valid is {names(fit)}" if fit else "none of these networks takes that data set"
    yield Refusal(("network",), run["network"], reason, valid, ("dataset",))


def _fits(shape: tuple[int, ...], sides: tuple[int, ...] | None) -> bool:
    """Whether a network of ours with these sides takes inputs of that shape."""
    if sides is None:
        return False
    if not sides:
        return len(shape) == 1
    return len(shape) > 1 and shape[0] == shape[1] and shape[0] in sides


def _optimizer_refusals(run: dict[str, Any], optimizer: dict[str, Any]) -> Iterator[Refusal]:
    if optimizer["batches"] == "full":
        name = run["optimizer"]
        reason = f"uses the full batch (optimizers.{name}.batches); classifiers are trained in minibatches"
        yield Refusal(("optimizer",), name, reason, "choose one with batches: mini")
    yield from optimizer_refusals(run, optimizer)


def _seed_refusals(run: dict[str, Any]) -> Iterator[Refusal]:
    for key, limit in (("stored_seeds", "seeds"), ("recorded_seeds", "stored_seeds")):
        if run[key] > run[limit]:
            reason = f"is more than the run's {limit} = {run[limit]}"
            yield Refusal((key,), run[key], reason, span(0, run[limit]), (limit,))
