"""A result of ``analysis.models`` as a table of models, for figures and claims, and what is read off it.

Source: Mao et al., PNAS 121(12), 2024.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.predictors.variables import SPLITS
from pipeline.runs import Run, RunGroups, all_runs, analysis_with

FAR = 2.0  # a model with a larger dB to the truth is away from the manifold, Fig. 4
LARGE_BATCH = 500  # a larger batch is a large one, Fig. 4
FITTED = 0.01  # training error that counts as zero: ours, one picture of a hundred
NETWORK = ["run", "seed"]  # columns that name one trained network
CONFIGURATION = ("optimizer", "learning_rate", "batch_size", "weight_decay", "augmentation")


def model_table(found: xr.Dataset, runs: Iterable[Run]) -> pd.DataFrame:
    """One row per model: run, seed, update, epoch, network, ``CONFIGURATION`` of its run, and each
    metric of each split, as ``train_error`` or ``test_progress``.

    ``learning_rate`` is that of the first update.

    Arguments
    ---------
    found: a result of ``models``; runs: at least those that it holds.

    Raises PipelineError where a run of the result is not given.
    """
    configs = {run.name: run.config for run in runs}
    names = [str(name) for name in found.attrs["runs"]]
    if missing := [name for name in names if name not in configs]:
        raise PipelineError(
            f"The analysis of all models holds the runs {', '.join(missing)}, which are not given; give "
            "the entry the same key runs as the analysis."
        )
    place = found["model_run"].values
    columns: dict[str, NDArray[np.generic]] = {"run": np.asarray(names, dtype=object)[place]}
    for name in ("seed", "update", "epoch"):
        columns[name] = found[f"model_{name}"].values
    for key in ("network", *CONFIGURATION):
        settings = [setting(configs[name], key) for name in names]
        columns[key] = np.asarray(settings)[place]
    for row, metric in enumerate(found.attrs["metrics"]):
        for column, split in enumerate(found.attrs["splits"]):
            columns[f"{split}_{metric}"] = found["model_metrics"].values[row, column]
    return pd.DataFrame(columns)


def setting(config: Mapping[str, Any], key: str) -> object:
    """A setting of a run; ``learning_rate`` is that of the first update, however it is given."""
    return learning_rate(config) if key == "learning_rate" else config[key]


def learning_rate(config: Mapping[str, Any]) -> float:
    """Learning rate of a run's first update."""
    if config.get("learning_rate") is not None:
        return float(config["learning_rate"])
    return float(config["learning_rate_per_sample"]) * int(config["batch_size"])


def end_models(table: pd.DataFrame) -> pd.DataFrame:
    """The last model of each network, in the order of the table."""
    last = table.groupby(NETWORK, sort=False)["update"].idxmax()
    return table.loc[last].reset_index(drop=True)


def away_models(table: pd.DataFrame) -> pd.DataFrame:
    """The models that are away from the manifold: dB to the truth above 2 on train samples."""
    return table[table["train_truth_distance"] > FAR]


def paired_progress(table: pd.DataFrame, smaller: str, larger: str, split: str) -> pd.DataFrame:
    """Progress of two networks after the same updates of the same configuration and seed.

    Returns a table of ``CONFIGURATION``, seed, update, epoch, ``smaller`` and ``larger``, of what both
    have recorded, by rising update; empty where one of them is missing.
    """
    keys = [*CONFIGURATION, "seed", "update"]
    parts = [
        table[table["network"] == one][[*keys, "epoch", f"{split}_progress"]].rename(
            columns={f"{split}_progress": name}
        )
        for one, name in ((smaller, "smaller"), (larger, "larger"))
    ]
    joined = parts[0].merge(parts[1].drop(columns="epoch"), on=keys)
    return joined.sort_values(keys, kind="stable").reset_index(drop=True)


def initial_distances(data: RunGroups) -> pd.DataFrame:
    """Models before the first update: run, network, seed, statistics, and dB to ignorance on train and
    test samples over dB(P0, P*) = log(C) / 2, as ``train_relative`` and ``test_relative``.
    """
    runs = {run.name: run for run in all_runs(data)}
    table = model_table(analysis_with(data, "model_metrics"), runs.values())
    table = table[table["update"] == 0]
    columns: dict[str, Any] = {name: table[name] for name in ("run", "network", "seed", "update")}
    columns["statistics"] = [str(runs[name].config["statistics"]) for name in table["run"]]
    classes = [1 + int(runs[name].trajectories["train_labels"].max()) for name in table["run"]]
    for split in SPLITS:
        whole = np.log(np.maximum(classes, 2)) / 2
        columns[f"{split}_relative"] = table[f"{split}_ignorance_distance"] / whole
    return pd.DataFrame(columns).reset_index(drop=True)
