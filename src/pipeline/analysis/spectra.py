"""Spectra of the inputs of data sets of vectors.

Source: Mao et al., PNAS 121(12), 2024, App. E, Fig. S14.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from pipeline.classifiers.arrays import classifier_arrays
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, all_runs, check_options
from pipeline.store.variables import register


def _register_all() -> None:
    spectrum = "eigenvalue of the covariance of the training inputs, by falling size"
    register("input_eigenvalue", ("data_set", "input_component"), "float64", spectrum)
    shares = "share of the training samples that are of the class"
    register("class_share", ("data_set", "task_class"), "float64", shares)


_register_all()


def spectra(data: RunGroups, options: dict[str, Any]) -> xr.Dataset:
    """Eigenvalues of the covariance of the training inputs, (1/N) sum_n (x - mean)(x - mean)^T, of the
    first run of each group, and the shares of its classes.

    Returns ``input_eigenvalue`` (data_set, input_component) and ``class_share`` (data_set, task_class),
    NaN where a data set has fewer of them than others; attributes groups, datasets.

    Raises PipelineError for a data set that is not of vectors.
    """
    check_options("spectra", options, ())
    all_runs(data)
    groups = [name for name, runs in data.items() if runs]
    values, shares = [], []
    for name in groups:
        run = data[name][0]
        arrays = classifier_arrays(run.config, run.data_folder)
        if arrays.train.ndim != 2:
            raise PipelineError(
                f"Run {run.name} learns images; spectra are taken of data sets of vectors."
            )
        covariance = np.cov(arrays.train.astype(np.float64), rowvar=False, bias=True)
        values.append(np.maximum(np.linalg.eigvalsh(np.atleast_2d(covariance))[::-1], 0))
        counts = np.bincount(arrays.train_classes, minlength=arrays.class_count)
        shares.append(counts / counts.sum())
    return xr.Dataset(
        {
            "input_eigenvalue": (("data_set", "input_component"), _padded(values)),
            "class_share": (("data_set", "task_class"), _padded(shares)),
        },
        attrs={"groups": groups, "datasets": [data[one][0].config["dataset"] for one in groups]},
    )


def _padded(rows: list[Any]) -> Any:
    found = np.full((len(rows), max(len(row) for row in rows)), np.nan)
    for place, row in enumerate(rows):
        found[place, : len(row)] = row
    return found
