"""Train and test predictions of the same models in one embedding.

Source: Mao et al., PNAS 121(12), 2024, Eq. 10, Fig. 6a.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.embedding import POINTS, matrix_of, point_distances
from pipeline.analysis.stored_models import Models, described, stored_models
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.predictors.variables import SPLITS
from pipeline.runs import RunGroups, check_options
from pipeline.store.reader import open_store
from pipeline.store.variables import register

OPTIONS = ("components",)
COMPONENTS = 10


def _register_all() -> None:
    where = "coordinate of the model's predictions in the embedding of the train predictions"
    register("joint_inpca", ("split", "model", "component"), "float64", where)
    what = "pairwise distance of the split explained by this and all earlier of these coordinates"
    register("joint_explained_distance", ("split", "component"), "float64", what)
    point = "coordinate of the point on the split's geodesic from ignorance to truth"
    register("joint_point_inpca", ("split", "point", "component"), "float64", point)


_register_all()


def joint(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """InPCA of train predictions, and the test predictions of the same models put into it.

        w_i(u) = -1/2 [D_te(u,i) - mean_j D_tr(u,j) - mean_j D_tr(i,j) + mean D_tr]

    The second mean has no effect on coordinates (see ``Embedding.transform``).

    Options
    -------
    components: how many (default 10, at most all). Two analyses are needed: the distances of train and of
    test samples.

    Returns ``joint_inpca`` (split, model, component), ``joint_explained_distance`` (split, component),
    ``joint_point_inpca`` (split, point, component), ``point_progress`` (point), ``eigenvalue``,
    ``signature`` (component) and the models' coordinates; attributes splits and runs.
    """
    check_options("joint", options, OPTIONS)
    models = stored_models(data)
    train, test = (matrix_of_split(data, models, split) for split in SPLITS)
    count = min(int(options.get("components", COMPONENTS)), train.models)
    made = train.embed(count, seed=options["seed"])
    both = [made.coordinates, made.transform_tiles(test.multiply)]
    shares = [
        matrix.explained_distances(coordinates, made.signature)
        for matrix, coordinates in zip((train, test), both, strict=True)
    ]
    values = np.linspace(0, 1, POINTS)
    points = [
        made.transform(point_distances(models, split, "bhattacharyya", values)) for split in SPLITS
    ]
    return xr.Dataset(
        {
            "joint_inpca": (("split", "model", "component"), np.stack(both)),
            "joint_explained_distance": (("split", "component"), np.stack(shares)),
            "joint_point_inpca": (("split", "point", "component"), np.stack(points)),
            "point_progress": (("point",), values),
            "eigenvalue": (("component",), made.eigenvalues),
            "signature": (("component",), made.signature),
        },
        coords=models.coordinates(),
        attrs={"splits": list(SPLITS), **described(models.runs)},
    )


def matrix_of_split(data: RunGroups, models: Models, split: str) -> TileMatrix:
    """The Bhattacharyya distances of a split among the analyses given; PipelineError where there is none."""
    for name, folder in data.folders.items():
        attrs = open_store(folder).attrs
        if (attrs.get("split"), attrs.get("kind")) == (split, "bhattacharyya"):
            return matrix_of(data, models, name)
    raise PipelineError(
        f"Bhattacharyya distances of {split} samples are needed, but given are: "
        f"{', '.join(data.folders) or 'none'}; set the entry's key analyses."
    )
