"""Rewinding: the final network with the parameters of one layer set back to an earlier epoch.

Source: Stephenson et al., ICLR 2021, Figs. 4, A.9 to A.11.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from pipeline.analysis.kept_networks import (
    KeptSeed,
    by_seed,
    kept_seeds,
    kept_weights,
    layered_network,
    on_device,
    one_of,
    same_layers,
    whole_number,
)
from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.evaluate import BATCH, batches, precise
from pipeline.classifiers.settings import PRECISIONS
from pipeline.classifiers.weights import state_tensors, unpack
from pipeline.errors import PipelineError
from pipeline.execution.gpus import claimed_gpu
from pipeline.hardware import chosen_device, deterministic
from pipeline.models.layered import LayeredNetwork
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

OPTIONS = ("seeds", "kept", "layers", "batch_norm", "train_samples", "precision", "device")
BATCH_NORMS = ("with", "without")
SPLITS = ("train", "test")
HELD_BYTES = 500_000_000  # of weight sets that are held at a time
Sets = Sequence[Mapping[str, Tensor]]


def _register_all() -> None:
    rewound = ("run", "seed", "kept", "weight_layer", "split")
    share = "share of correct answers (training samples: of the told labels)"
    meaning = f"{share} of the final network with one layer set back to the epoch"
    register("rewound_accuracy", rewound, "float64", meaning)
    epoch = "epoch that a layer is set back to; -1: none"
    register("rewound_epoch", ("run", "seed", "kept"), "int64", epoch, "epochs")
    final = f"{share} of the final network"
    register("final_accuracy", ("run", "seed", "split"), "float64", final)


_register_all()


def rewinding(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Accuracy of the final network of every run with one weight layer set back to each kept epoch.

    Options
    -------
    seeds: how many stored seeds (default null, all). kept: how many weight sets of a seed at most,
        evenly chosen, with the first, the best and the last (default null, all).
    layers: names of the weight layers to set back (default null, all).
    batch_norm: ``with`` (default, inferred: the paper does not say), the scales, shifts and running
        statistics of the layer's batch normalisation go back too; ``without``, they stay.
    train_samples: how many training samples are evaluated, the first ones (default null, all).
    precision: of products, float32, float64, bf16 or tf32 (default null, that of the run; a CPU takes
        float32 for its tf32).
    device: cpu (default, so that no bit depends on whether there is a GPU), cuda, or auto, which is cuda
        where there is one. The latter two claim a place on a GPU of this machine, as training jobs do, but
        none is asked of SLURM; the options in the result then tell the device that was used.

    Returns ``rewound_accuracy`` (run, seed, kept, weight_layer, split), ``rewound_epoch`` (run, seed,
    kept) and ``final_accuracy`` (run, seed, split), with the attributes runs, weight_layers, splits and
    options; NaN where a seed has no such set. Set back to the last epoch a layer gives the final
    accuracy. The runs given must have the same layers.
    """
    check_options("rewinding", options, OPTIONS)
    runs = all_runs(data)
    chosen = _checked(options)
    told = {name: value for name, value in chosen.items() if name != "device"}
    used, rewound, final = [], [], []
    with claimed_gpu(chosen["device"], 1):
        device = chosen_device(chosen["device"])
        if chosen["device"] != "cpu":
            told["device"] = device
        networks = {run.name: layered_network(run, device) for run in runs}
        layers = _chosen_layers(same_layers(networks), chosen["layers"])
        with deterministic(device):
            for run in runs:
                used.append(kept_seeds(run, chosen["seeds"], chosen["kept"]))
                found = _of_run(run, networks[run.name], used[-1], layers, chosen)
                rewound.append([one for one, _ in found])
                final.append([one for _, one in found])
    dims = ("weight_layer", "split")
    result = by_seed(used, {"rewound_accuracy": rewound}, "rewound_epoch", dims)
    finals = np.full((len(runs), result.sizes["seed"], len(SPLITS)), np.nan)
    for row, of_run in enumerate(used):
        places = np.searchsorted(result["seed"].values, [one.seed for one in of_run])
        finals[row, places] = final[row]
    return result.assign(final_accuracy=(("run", "seed", "split"), finals)).assign_attrs(
        runs=[run.name for run in runs],
        weight_layers=layers,
        splits=list(SPLITS),
        options=told,
    )


@torch.no_grad()
def rewound_correct(
    network: LayeredNetwork,
    sets: Sets,
    owned: Mapping[str, Sequence[str]],
    x: Tensor,
    labels: Tensor,
    *,
    batch_size: int = BATCH,
    precision: str = "float32",
) -> tuple[int, NDArray[np.int64]]:
    """Correct answers of a network as it is, and with one layer's tensors taken from each set.

    Of a network whose body is a sequence only the part from the rewound layer on is computed again:
    what enters it is the same for all sets.

    Arguments
    ---------
    network: in eval mode. sets: tensors by state key, on the network's device.
    owned: layer -> state keys that go back. x: inputs (samples, ...); labels: (samples,).

    Returns the number of correct answers, and those of the rewound networks (sets, layers).
    """
    stages = _stages(network)
    places = {layer: _first_stage(stages, keys) for layer, keys in owned.items()}
    correct, counts = 0, np.zeros((len(sets), len(owned)), dtype=np.int64)
    for rows in batches(len(x), batch_size):
        entering, told = x[rows], labels[rows]
        with precise(precision, x.device.type):
            for number in range(len(stages)):
                tail = _tail(network, stages[number:])
                for column, (layer, keys) in enumerate(owned.items()):
                    if places[layer] != number:
                        continue
                    for row, values in enumerate(sets):
                        tensors = {key.removeprefix("body."): values[key] for key in keys}
                        logits = functional_call(tail, tensors, (entering,))
                        counts[row, column] += _hits(logits, told)
                entering = stages[number][1](entering)
        correct += _hits(entering, told)
    return correct, counts


def rewound_keys(network: LayeredNetwork, layer: str, batch_norm: str = "with") -> list[str]:
    """State keys of a layer that go back; ``without``: not those of its batch normalisation."""
    tensors = state_tensors(network)
    return [
        key
        for key in network.own_keys(layer)
        if key in tensors
        and (
            batch_norm == "with"
            or not isinstance(network.get_submodule(key.rpartition(".")[0]), _BatchNorm)
        )
    ]


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """All options but the root seed, defaults included; PipelineError for values out of range."""
    chosen = {name: options.get(name) for name in ("seeds", "kept", "layers", "train_samples")}
    whole_number("train_samples", chosen["train_samples"], 1)
    chosen["batch_norm"] = one_of("batch_norm", options.get("batch_norm", "with"), BATCH_NORMS)
    chosen["precision"] = options.get("precision")
    if chosen["precision"] is not None:
        one_of("precision", chosen["precision"], PRECISIONS)
    return chosen | {"device": str(options.get("device", "cpu"))}


def _chosen_layers(names: list[str], asked: Sequence[str] | None) -> list[str]:
    if asked is None:
        return names
    unknown = [str(name) for name in asked if name not in names]
    if isinstance(asked, str) or unknown or not asked:
        raise PipelineError(
            f"The option layers is {asked!r}; valid are null or a list of: {', '.join(names)}."
        )
    return [name for name in names if name in asked]


def _of_run(
    run: Run,
    network: LayeredNetwork,
    used: list[KeptSeed],
    layers: list[str],
    chosen: dict[str, Any],
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """(rewound (kept, layers, splits), final (splits,)) accuracies of each seed of one run."""
    device = next(network.parameters()).device
    arrays = classifier_arrays(run.config, run.data_folder)
    count = chosen["train_samples"]
    inputs = [on_device(one, str(device)) for one in (arrays.train[:count], arrays.test)]
    owned = {layer: rewound_keys(network, layer, chosen["batch_norm"]) for layer in layers}
    precision = chosen["precision"] or run.config["precision"]
    if chosen["precision"] is None and precision == "tf32" and device.type == "cpu":
        precision = "float32"  # of a run that was trained on a GPU
    found = []
    for one in used:
        labels = [
            torch.from_numpy(values).to(device)
            for values in (one.labels[:count], arrays.test_classes)
        ]
        unpack(network, kept_weights(run, one, int(one.columns[-1])))
        rewound = np.empty((one.columns.size, len(layers), len(SPLITS)))
        final = np.empty(len(SPLITS))
        for rows, sets in _groups(run, one, network, owned):
            for split, (x, told) in enumerate(zip(inputs, labels, strict=True)):
                right, counts = rewound_correct(network, sets, owned, x, told, precision=precision)
                final[split] = right / len(x)
                rewound[rows, :, split] = counts / len(x)
        rewound[-1] = final  # the last set is the final network itself
        found.append((rewound, final))
    return found


def _groups(
    run: Run, one: KeptSeed, network: LayeredNetwork, owned: Mapping[str, Sequence[str]]
) -> Iterator[tuple[slice, Sets]]:
    """The kept sets before the last, as many at a time as may be held; at least one, empty, group."""
    values = sum(tensor.numel() for tensor in state_tensors(network).values())
    size = max(1, HELD_BYTES // (4 * values))
    earlier = one.columns[:-1].tolist()
    for start in range(0, max(1, len(earlier)), size):
        columns = earlier[start : start + size]
        sets = [_tensors(network, kept_weights(run, one, column), owned) for column in columns]
        yield slice(start, start + len(columns)), sets


def _tensors(
    network: LayeredNetwork, weights: NDArray[np.float32], owned: Mapping[str, Sequence[str]]
) -> dict[str, Tensor]:
    """The tensors of a weight set that go back, by state key, on the network's device."""
    wanted = {key for keys in owned.values() for key in keys}
    found, start = {}, 0
    for key, tensor in state_tensors(network).items():
        if key in wanted:
            values = torch.from_numpy(weights[start : start + tensor.numel()].copy())
            shaped = torch.empty_like(tensor)  # in the memory format of the network's own
            found[key] = shaped.copy_(values.reshape(tensor.shape))
        start += tensor.numel()
    return found


def _stages(network: LayeredNetwork) -> list[tuple[str, nn.Module]]:
    """The children of a body that is a sequence, else the body as one stage."""
    if isinstance(network.body, nn.Sequential):
        return list(network.body.named_children())
    return [("", network.body)]


def _tail(network: LayeredNetwork, stages: list[tuple[str, nn.Module]]) -> nn.Module:
    """The stages as one module, whose state keys are those of the body."""
    if isinstance(network.body, nn.Sequential):
        return nn.Sequential(OrderedDict(stages))
    return network.body


def _first_stage(stages: list[tuple[str, nn.Module]], keys: Sequence[str]) -> int:
    """Number of the first stage that holds one of the state keys."""
    names = [name for name, _ in stages]
    if names == [""]:
        return 0
    return min(names.index(key.split(".")[1]) for key in keys)


def _hits(logits: Tensor, labels: Tensor) -> int:
    return int((logits.argmax(dim=1) == labels).sum())
