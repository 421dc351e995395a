"""Two classes of the synthetic spheres with opposite centres, along the centres' axis and across it.

Both centres lie on one coordinate axis, so that the axis need not be estimated from noisy means.

Source: Stephenson et al., ICLR 2021, Fig. A.3 (left).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.classifiers.arrays import classifier_arrays
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, all_runs, check_options
from pipeline.store.variables import register

PAIR = (0, 1)  # the classes shown

register(
    "pair_points",
    ("pair_point", "axis"),
    "float64",
    "coordinates along and across the centres' axis",
)
register("pair_class", ("pair_point",), "int64", "class of the point")


def sphere_pairs(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Training points of classes 0 and 1 of the first run: coordinates (pair_point, 2).

    The first is the coordinate in which the class means differ most, towards class 0. The second lies
    across it, half way between the directions in which each class varies most: the classes have
    subspaces of their own, and along the direction of one of them the other is a point.

    Arguments
    ---------
    data: a run on vectors; options: none but ``seed``, which is not used.

    Raises PipelineError where a class has no training sample.
    """
    check_options("sphere_pairs", options, ())
    run = all_runs(data)[0]
    arrays = classifier_arrays(run.config, run.data_folder)
    members = [arrays.train[arrays.train_classes == label].astype(np.float64) for label in PAIR]
    if not all(len(points) for points in members):
        raise PipelineError(f"Run {run.name} has no training samples of the classes 0 and 1.")
    axis = members[0].mean(axis=0) - members[1].mean(axis=0)
    place = np.argmax(np.abs(axis))
    along = np.zeros(axis.size)
    along[place] = np.sign(axis[place])
    own = [_widest(one - np.outer(one @ along, along)) for one in members]
    across = own[0] + (1.0 if own[0] @ own[1] >= 0 else -1.0) * own[1]
    across /= np.linalg.norm(across)
    points = np.concatenate(members)
    classes = np.repeat(PAIR, [len(one) for one in members]).astype(np.int64)
    return xr.Dataset(
        {
            "pair_points": (
                ("pair_point", "axis"),
                np.stack([points @ along, points @ across], axis=1),
            ),
            "pair_class": (("pair_point",), classes),
        }
    )


def _widest(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The unit direction in which points (samples, features) vary most."""
    found: NDArray[np.float64] = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)[2]
    return found[0]
