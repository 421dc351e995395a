"""What the results of embeddings hold, as figures and claims read them: nothing is measured here.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, not_given

KIND_NAMES = {
    "bhattacharyya": "Bhattacharyya",
    "symmetrised_kl": "symmetrised KL",
    "geodesic": "geodesic",
    "euclidean": "Euclidean",
    "hellinger": "Hellinger",
}


def embeddings_of(data: RunGroups) -> list[xr.Dataset]:
    """The results with coordinates of models among the analyses given, in their order.

    Raises the error of ``not_given`` where there is none.
    """
    found = [one for one in data.analyses.values() if "inpca" in one and "split" in one.attrs]
    if not found:
        raise not_given(data, "embedding")
    return found


def embedding_with(data: RunGroups, split: str, kind: str = "bhattacharyya") -> xr.Dataset:
    """The embedding of a split by a kind of distance; the error of ``not_given`` where none is."""
    for one in embeddings_of(data):
        if one.attrs["split"] == split and one.attrs["kind"] == kind:
            return one
    raise not_given(data, f"embedding of {split} samples by {kind} distances")


def network_count(found: xr.Dataset) -> int:
    """Number of networks whose models a result holds."""
    pairs = np.stack([found["model_run"].values, found["model_seed"].values])
    return int(np.unique(pairs, axis=1).shape[1])


def explained(found: xr.Dataset, components: int, variable: str = "explained_stress") -> float:
    """What the first components explain together; NotMeasurable where fewer are stored."""
    values = found[variable].values
    if components > len(values):
        raise NotMeasurable(
            f"Only {len(values)} dimensions of the embedding are stored, but {components} are needed."
        )
    return float(values[components - 1])


def signs(found: xr.Dataset, components: int = 3) -> str:
    """The signs of the first eigenvalues, such as ``+ − +``."""
    marks = {1: "+", -1: "−", 0: "0"}
    return " ".join(marks[int(one)] for one in found["signature"].values[:components])


def geodesic_gap(found: xr.Dataset) -> NDArray[np.float64]:
    """(models,) distance of each model to the nearest of the geodesic's points."""
    return np.asarray(found["point_distance"].values.min(axis=0))
