"""Parts of the gradient along training, layer by layer, as an analysis of the workflow.

Source: Stephenson et al., ICLR 2021, Figs. 5, A.1 and A.12 to A.14; Appendix A.2. The decomposition is
in ``analysis.gradient_parts``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.gradient_parts import (
    BATCH_NORMS,
    PARTS,
    SUMS,
    gradient_parts,
    layer_norms,
)
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
from pipeline.classifiers.weights import unpack
from pipeline.errors import PipelineError
from pipeline.execution.gpus import claimed_gpu
from pipeline.hardware import chosen_device, deterministic
from pipeline.models.layered import LayeredNetwork
from pipeline.runs import Run, RunGroups, all_runs, check_options
from pipeline.store.variables import register

OPTIONS = ("seeds", "kept", "batch_size", "batch_norm", "biases", "mean", "device")
MEANS = ("whole", "subset")
COLUMNS = (*PARTS, *SUMS)  # the dimension part


def _register_all() -> None:
    norms = ("run", "seed", "kept", "weight_layer", "part")
    meaning = "L2 norm of the gradient, or a part of it, with respect to the layer's weights"
    register("gradient_norm", norms, "float64", meaning)
    epoch = "epoch of the weight set that was differentiated; -1: none"
    register("gradient_epoch", ("run", "seed", "kept"), "int64", epoch, "epochs")


_register_all()


def gradients(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Norms of the parts of the gradient, of every weight layer and kept weight set of every run.

    Options
    -------
    seeds: how many stored seeds (default null, all). kept: how many weight sets of a seed at most,
        evenly chosen, with the first, the best and the last (default null, all).
    batch_size: default null, that of the run's training. batch_norm: ``train`` (default) or
        ``eval``. biases: default false. These three as in ``gradient_parts``.
    mean: ``whole`` (default), parts divided by the size of the whole training set, so that they
        add up to the gradient; ``subset``, by that of their own subset.
    device: cpu (default, so that no bit depends on whether there is a GPU), cuda, or auto, which is cuda
        where there is one. The latter two claim a place on a GPU of this machine, as training jobs do, but
        none is asked of SLURM; the options in the result then tell the device that was used.

    Returns ``gradient_norm`` (run, seed, kept, weight_layer, part) and ``gradient_epoch`` (run, seed,
    kept), with the attributes runs, weight_layers, parts and options. NaN where a seed has no such
    set and, with mean ``subset``, for empty subsets. A part that is 0 has norm 0. The runs given must
    have the same layers.
    """
    check_options("gradients", options, OPTIONS)
    runs = all_runs(data)
    chosen = _checked(options)
    told = {name: value for name, value in chosen.items() if name != "device"}
    used, norms = [], []
    with claimed_gpu(chosen["device"], 1):
        device = chosen_device(chosen["device"])
        if chosen["device"] != "cpu":
            told["device"] = device
        networks = {run.name: layered_network(run, device) for run in runs}
        layers = same_layers(networks)
        with deterministic(device):
            for run in runs:
                used.append(kept_seeds(run, chosen["seeds"], chosen["kept"]))
                norms.append(_of_run(run, networks[run.name], used[-1], chosen))
    result = by_seed(used, {"gradient_norm": norms}, "gradient_epoch", ("weight_layer", "part"))
    return result.assign_attrs(
        runs=[run.name for run in runs],
        weight_layers=layers,
        parts=list(COLUMNS),
        options=told,
    )


def _checked(options: dict[str, Any]) -> dict[str, Any]:
    """All options but the root seed, defaults included; PipelineError for values out of range."""
    chosen = {name: options.get(name) for name in ("seeds", "kept", "batch_size")}
    whole_number("batch_size", chosen["batch_size"], 1)
    chosen["batch_norm"] = one_of("batch_norm", options.get("batch_norm", "train"), BATCH_NORMS)
    chosen["mean"] = one_of("mean", options.get("mean", "whole"), MEANS)
    chosen["biases"] = options.get("biases", False)
    if not isinstance(chosen["biases"], bool):
        raise PipelineError(f"The option biases is {chosen['biases']!r}; valid are true and false.")
    return chosen | {"device": str(options.get("device", "cpu"))}


def _of_run(
    run: Run, network: LayeredNetwork, used: list[KeptSeed], chosen: dict[str, Any]
) -> list[NDArray[np.float64]]:
    """Norms (kept, weight layers, parts) of each seed of one run."""
    device = next(network.parameters()).device
    x = on_device(classifier_arrays(run.config, run.data_folder).train, str(device))
    found = []
    for one in used:
        rows = []
        for column in one.columns.tolist():
            unpack(network, kept_weights(run, one, column))
            rows.append(_norms(network, x, one, run, chosen))
        found.append(np.stack(rows))
    return found


def _norms(
    network: LayeredNetwork, x: torch.Tensor, one: KeptSeed, run: Run, chosen: dict[str, Any]
) -> NDArray[np.float64]:
    """Norms (weight layers, parts) of the network as it is, on the labels of one seed."""
    parts = gradient_parts(
        network,
        x,
        torch.from_numpy(one.labels).to(x.device),
        torch.from_numpy(one.permuted).to(x.device),
        batch_size=int(chosen["batch_size"] or run.config["batch_size"]),
        batch_norm=chosen["batch_norm"],
        biases=chosen["biases"],
    )
    share = float(one.permuted.mean()) if chosen["mean"] == "subset" else None
    found = layer_norms(parts, network, biases=chosen["biases"], permuted_share=share)
    return np.stack([found[part] for part in COLUMNS], axis=1)
