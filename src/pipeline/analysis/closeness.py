"""How near each model is to points of the geodesic and to the ends of some trajectories.

Source: Mao et al., PNAS 121(12), 2024, Figs. 3d and S8.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.analysis.embedding import matrix_of, point_distances
from pipeline.analysis.stored_models import Models, check_split, described, stored_models
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, check_options
from pipeline.store.variables import register

OPTIONS = ("split", "progress", "ends")


def _register_all() -> None:
    register(
        "target_distance",
        ("target", "model"),
        "float64",
        "Bhattacharyya distance of the model to the target",
    )
    register(
        "target_model", ("target",), "int64", "model that the target is; -1: point of the geodesic"
    )
    at = "progress of the target on the geodesic, NaN where it is a model"
    register("target_progress", ("target",), "float64", at)


_register_all()


def closeness(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Distances of all models to targets: points of the geodesic, then last models of trajectories.

    Options
    -------
    split: train or test. progress: of the points (default none).
    ends: mappings from settings of a run to their values, such as {network: fc, augmentation: none}
        (default none): the target is the last model of the first network with these settings. Of
        settings that no run has there is none. They need the one analysis with the distances.

    Returns ``target_distance`` (target, model), ``target_model``, ``target_progress`` (target) and the
    models' coordinates; attributes split, runs, targets, their descriptions, and absent, those of ends that
    no run has. Raises PipelineError where no target is left.
    """
    check_options("closeness", options, OPTIONS)
    split, models = check_split(options.get("split")), stored_models(data)
    values = np.asarray(options.get("progress", []), dtype=np.float64)
    ends = [(where, end_of(models, where)) for where in options.get("ends", [])]
    there = [(where, end) for where, end in ends if end >= 0]
    rows = []
    if values.size:
        rows.append(point_distances(models, split, "bhattacharyya", values))
    if there:
        rows.append(_end_distances(data, models, split, [end for _, end in there]))
    if not rows:
        raise PipelineError("closeness has no target; give the options progress or ends.")
    names = [f"progress {value:g}" for value in values]
    absent = [", ".join(map(str, where.values())) for where, end in ends if end < 0]
    names += [", ".join(map(str, where.values())) for where, _ in there]
    found = [-1] * len(values) + [end for _, end in there]
    at = np.concatenate([values, np.full(len(there), np.nan)])
    return xr.Dataset(
        {
            "target_distance": (("target", "model"), np.concatenate(rows)),
            "target_model": (("target",), np.array(found, dtype=np.int64)),
            "target_progress": (("target",), at),
        },
        coords=models.coordinates(),
        attrs={"split": split, "targets": names, "absent": absent, **described(models.runs)},
    )


def _end_distances(
    data: RunGroups, models: Models, split: str, ends: list[int]
) -> NDArray[np.float64]:
    """Distances (ends, models) of all models to some of them, from the matrix given."""
    matrix = matrix_of(data, models)
    attrs = matrix.store.attrs
    if (attrs["split"], attrs["kind"]) != (split, "bhattacharyya"):
        raise PipelineError(
            f"closeness needs Bhattacharyya distances of {split} samples, but its key analyses names "
            f"{attrs['kind']} distances of {attrs['split']} samples."
        )
    columns = np.zeros((len(models), len(ends)))
    columns[ends, np.arange(len(ends))] = 1
    return matrix.multiply(columns).T


def end_of(models: Models, where: Mapping[str, Any]) -> int:
    """The last model of the first network whose run has some settings; -1 where none has.

    Raises PipelineError for a setting that runs do not have.
    """
    if unknown := [key for key in where if key not in models.runs[0].config]:
        raise PipelineError(f"closeness: ends has {unknown[0]!r}, which is no setting of a run.")
    for place, _, found in models.trajectories():
        config = models.runs[place].config
        if all(config[key] == value for key, value in where.items()):
            return int(found[-1])
    return -1
