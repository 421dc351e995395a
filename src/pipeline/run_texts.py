"""What captions say of the runs behind a figure: how many networks, which data, which settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pipeline.runs import Run

UNNORMALISED = (
    "feed_forward",
    "alexnet",
    "vit",
    "vit_small",
)  # networks without batch normalisation
NETWORK_NAMES = {
    "feed_forward": "feed-forward",
    "alexnet": "AlexNet",
    "vgg16": "VGG-16",
    "resnet18": "ResNet-18",
    "fc": "FC",
    "all_cnn": "AllCNN",
    "small_resnet": "Small ResNet",
    "large_resnet": "Large ResNet",
    "conv_mixer": "ConvMixer",
    "vit": "ViT",
    "blur_resnet18": "ResNet-18",
    "blur_resnet50": "ResNet-50",
    "vit_small": "ViT-S",
    "student": "1 hidden layer",
    "deep_student": "2 hidden layers",
}
DATASET_NAMES = {
    "mnist": "MNIST",
    "kmnist": "KMNIST",
    "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "tiny_imagenet": "Tiny ImageNet",
    "imagenet": "ImageNet",
    "spheres": "synthetic spheres",
    "sloppy": "the synthetic task with sloppy inputs",
    "not_sloppy": "the synthetic task with inputs that are not sloppy",
    "generated_sloppy": "a small synthetic task",
    "generated_colour": "generated colour images",
    "generated_spheres": "generated spheres",
    "generated": "generated data",
}


def network_name(network: str) -> str:
    """A network's name in words."""
    return NETWORK_NAMES.get(network, network.replace("_", " "))


def count_text(runs: list[Run]) -> str:
    """How many networks the runs hold and how many are left out, in words."""
    kept = sum(run.seeds for run in runs)
    failed = sum(len(run.failed_seeds) for run in runs)
    sizes = sorted({run.seeds for run in runs})
    each = f"{sizes[0]}" if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
    split = f" ({len(runs)} runs of {each})" if len(runs) > 1 else ""
    if any(run.config.get("prune_from") for run in runs):
        lost = "diverged, or had no set to leave out" if failed else "none diverged"
    else:
        lost = "diverged" if failed else "none diverged"
    more = f"{failed} more {lost} and are left out" if failed else lost
    # Pruned runs are the same initial weights again.
    kind = (
        "networks" if any(run.config.get("prune_from") for run in runs) else "independent networks"
    )
    return f"n = {kept} {kind}{split}; {more}"


def data_text(runs: list[Run], unavailable: Mapping[str, str] | None = None) -> str:
    """The data behind the runs; substituted and unavailable data are named as such."""
    names = sorted({run.config["dataset"] for run in runs})
    samples = sorted({int(run.config["samples"]) for run in runs})
    shown = ", ".join(DATASET_NAMES.get(name, name) for name in names)
    text = f"{shown}, {' or '.join(map(str, samples))} training samples"
    text += _settings_text(runs)
    if any(run.substituted and run.substitution is None for run in runs):
        text = f"substituted: {text}; the numbers say nothing about the paper's"
    stand_ins = sorted({run.substitution for run in runs if run.substitution})
    left_out = sorted(set((unavailable or {}).values()))
    parts = [text, *(f"substituted: {one}" for one in stand_ins)]
    if left_out:
        count = len(unavailable or {})
        parts.append(f"{count} run{'s' if count > 1 else ''} left out: {'; '.join(left_out)}")
    return ". ".join(part.rstrip(".") for part in parts)


def _settings_text(runs: list[Run]) -> str:
    """Settings of single networks that differ between scales: recorded and test samples, width, patches,
    minibatches, epochs, precision, and where the statistics of batch normalisation come from.
    """
    configs = [run.config for run in runs if "statistics_samples" in run.config]
    if not configs:
        return ""
    tests = _different(configs, "test_samples")
    text = f", {_or(tests)} test samples" if tests and None not in tests else ""
    text += _records_text(configs)
    widths = [f"{width:g}" for width in _different(configs, "width")]
    if widths != ["1"]:
        some = _or(widths) if len(widths) < 3 else f"{widths[0]} to {widths[-1]}"
        text += f"; width multiplier {some}"
    for options in _different(configs, "network_options"):
        mine = [one["network"] for one in configs if one.get("network_options") == options]
        told = ", ".join(f"{key} {value}" for key, value in options.items())
        text += f"; {told} in {', '.join(dict.fromkeys(mine))}" if options else ""
    text += f"; batches of {_or(_different(configs, 'batch_size'))}"
    most = "at most " if any(one.get("stop_accuracy") for one in configs) else ""
    text += f", {most}{_or(_different(configs, 'epochs'))} epochs"
    precisions = _different(configs, "precision")
    if precisions != ["float32"]:
        text += f"; products in {_or(precisions)}"
    return text + _statistics_text(configs)


def _records_text(configs: list[dict[str, Any]]) -> str:
    """Of how many training samples predictions are kept, and of which records, where not of all."""
    fewer = [
        one for one in configs if (one.get("record_samples") or one["samples"]) < one["samples"]
    ]
    thinned = [one for one in configs if one.get("record_every", 1) > 1]
    kept = f"of {_or(_different(fewer, 'record_samples'))} of the training samples" if fewer else ""
    when = f"at one record in {_or(_different(thinned, 'record_every'))}" if thinned else ""
    told = ", ".join(one for one in (kept, when) if one)
    return f" (predictions kept {told})" if told else ""


def _statistics_text(configs: list[dict[str, Any]]) -> str:
    """From how many training samples statistics of batch normalisation are estimated anew, and when."""
    found = ""
    for when, words in (("", ""), ("initial", " before the first record"), ("always", "")):
        mine = [
            one
            for one in configs
            if one.get("statistics", "") == when
            and one["statistics_samples"]
            and one["network"] not in UNNORMALISED
        ]
        if mine:
            samples = _or(_different(mine, "statistics_samples"))
            found += f"; batch-normalisation statistics re-estimated from {samples} training samples{words}"
    return found


def _different(configs: list[dict[str, Any]], key: str) -> list[Any]:
    """The values of a setting, each once, in order where they have one."""
    values = [one[key] for one in configs if key in one]
    found = [value for place, value in enumerate(values) if value not in values[:place]]
    try:
        return sorted(found)
    except TypeError:  # null among numbers, or mappings
        return found


def _or(values: Iterable[Any]) -> str:
    return " or ".join(map(str, values))
