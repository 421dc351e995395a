"""Example images of unpermuted, permuted and restored samples with the labels that count for them.

Source: Stephenson et al., ICLR 2021, Fig. 1A.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.kept_networks import whole_number
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, all_runs, check_options
from pipeline.seeds import generator
from pipeline.store import manifest
from pipeline.store.reader import load_arrays
from pipeline.store.variables import register

KINDS = ("unpermuted", "permuted", "restored")
COUNT = 4

register(
    "example_images",
    ("kind", "example", "row", "column"),
    "uint8",
    "image of the example",
    optional_dims=("channel",),
)
register("example_label", ("kind", "example"), "int64", "label that counts for the example")
register("example_class", ("kind", "example"), "int64", "true class of the example")


def label_examples(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """A few training images of the first seed of the first run, as one row of each kind.

    Arguments
    ---------
    data: runs with noisy_labels and permuted, of a data set of images.
    options: ``count`` (4), images of each kind; ``seed``.

    Restored are the permuted images with their true labels. Of permuted ones those are preferred whose
    label is not the true one. Raises PipelineError where there are too few samples of a kind, and for
    data sets without images.
    """
    check_options("label_examples", options, ("count",))
    run = all_runs(data)[0]
    whole_number("count", options.get("count"), 1)
    count = int(options.get("count") or COUNT)
    if "images" not in manifest.read(run.data_folder)["arrays"]:
        raise PipelineError(
            f"Run {run.name} is on {run.config['dataset']}, which holds no images; name a run on images."
        )
    labels = run.trajectories["noisy_labels"][0].values
    permuted = run.trajectories["permuted"][0].values
    stored = load_arrays(run.data_folder, ("images", "labels", "split"))
    rows = np.flatnonzero(stored["split"] == 0)[: len(labels)]
    images, classes = stored["images"][rows], stored["labels"][rows].astype(np.int64)
    random = generator(int(options.get("seed", 0)), "label examples", 0, "analysis")
    order = random.permutation(len(labels))
    untouched = order[~permuted[order]]
    drawn = order[permuted[order]]
    wrong = labels[drawn] != classes[drawn]
    changed = np.concatenate([drawn[wrong], drawn[~wrong]])
    if min(len(untouched), len(changed)) < count:
        raise PipelineError(
            f"Run {run.name} has {len(untouched)} unpermuted and {len(changed)} permuted samples; "
            f"{count} of each are needed: choose another label_noise or a smaller count."
        )
    untouched, changed = untouched[:count], changed[:count]
    chosen = np.stack([untouched, changed, changed])
    told = np.stack([classes[untouched], labels[changed], classes[changed]]).astype(np.int64)
    dims = ("kind", "example", "row", "column", "channel")[: images.ndim + 1]
    return xr.Dataset(
        {
            "example_images": (dims, images[chosen]),
            "example_label": (("kind", "example"), told),
            "example_class": (("kind", "example"), classes[chosen]),
        },
        attrs={"kinds": list(KINDS), "dataset": run.config["dataset"], "run": run.name},
    )
