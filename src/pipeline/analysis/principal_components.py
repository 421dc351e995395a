"""Principal components of the models of some runs, for comparison with InPCA.

Source: Mao et al., PNAS 121(12), 2024, App. D.3, Fig. S12.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.embedding import embedding, matrix_of
from pipeline.analysis.stored_models import stored_models
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups
from pipeline.store.variables import register

KIND = "euclidean"


def _register_all() -> None:
    explained = "explained variance of this and all earlier components"
    register("explained_variance", ("component",), "float64", explained)


_register_all()


def principal_components(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """``embedding`` of squared Euclidean distances, which is PCA, with its explained variance.

        D_uv = (1/N) sum_n |p_n(u) - p_n(v)|^2,  sum_{k<=K} lambda_k / trace W,  trace W = sum_uv D_uv / 2m

    Options as for ``embedding``; the one analysis given must hold Euclidean distances, else PipelineError.
    Returns what ``embedding`` does and ``explained_variance`` (component).
    """
    matrix = matrix_of(data, stored_models(data))
    if matrix.store.attrs["kind"] != KIND:
        raise PipelineError(
            f"Principal components need {KIND} distances, but the analysis given holds "
            f"{matrix.store.attrs['kind']} ones; set the entry's key analyses."
        )
    trace = float(matrix.rows.sum()) / (2 * matrix.models)
    if not trace > 0:
        raise PipelineError("All models are equal: there is no variance to be explained.")
    found = embedding(data, options)
    share = np.cumsum(found["eigenvalue"].values) / trace
    return found.assign(explained_variance=(("component",), share))
