"""What Mao et al., PNAS 121(12), 2024, state about errors, distances to the truth and the models away
from the manifold, measured.

Each function takes the runs and the analysis ``models``. Networks are independent; models of one network
are not, so intervals are bootstraps over networks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.analysis.model_table import (
    FITTED,
    LARGE_BATCH,
    NETWORK,
    away_models,
    end_models,
    model_table,
)
from pipeline.claims.measurement import (
    Measurement,
    bootstrap_measurement,
    share_measurement,
)
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.run_texts import network_name
from pipeline.runs import RunGroups, all_runs, analysis_with

TRAINED = (
    0.1  # training error below which a network counts as trained, "Predictions on the test data"
)
Array = NDArray[np.float64]


def table_of(data: RunGroups) -> pd.DataFrame:
    """All models of the runs given, see ``model_table``."""
    return model_table(analysis_with(data, "model_metrics"), all_runs(data))


def final_errors(network: str, split: str, data: RunGroups) -> Array:
    """Errors (networks,) of the last models of a network, in %; NotMeasurable where there is none."""
    ends = end_models(table_of(data))
    errors = 100 * ends[f"{split}_error"][ends["network"] == network].to_numpy(dtype=np.float64)
    if not errors.size:
        raise NotMeasurable(f"No {network_name(network)} is among the runs.")
    return errors


def median_error(network: str, split: str, data: RunGroups) -> Measurement:
    """Median over networks of the last model's error, in %, with the sd over networks."""
    errors = final_errors(network, split, data)
    spread = float(errors.std(ddof=1)) if errors.size > 1 else None
    note = f"median; range over networks {errors.min():.1f} to {errors.max():.1f} %"
    return Measurement(float(np.median(errors)), spread, errors.size, None, stand_in(data), note)


fc_train_error = partial(median_error, "fc", "train")
fc_test_error = partial(median_error, "fc", "test")
all_cnn_train_error = partial(median_error, "all_cnn", "train")
all_cnn_test_error = partial(median_error, "all_cnn", "test")
small_resnet_train_error = partial(median_error, "small_resnet", "train")
small_resnet_test_error = partial(median_error, "small_resnet", "test")
large_resnet_train_error = partial(median_error, "large_resnet", "train")
large_resnet_test_error = partial(median_error, "large_resnet", "test")
conv_mixer_train_error = partial(median_error, "conv_mixer", "train")
conv_mixer_test_error = partial(median_error, "conv_mixer", "test")
vit_train_error = partial(median_error, "vit", "train")
vit_test_error = partial(median_error, "vit", "test")


def _largest_distance(split: str, data: RunGroups) -> Measurement:
    """Largest dB to the truth of last models, of networks with a training error below 10 %; as the
    largest of n, without interval.
    """
    ends = end_models(table_of(data))
    good = ends[ends["train_error"] < TRAINED]
    if not len(good):
        raise NotMeasurable(f"No network ends with a training error below {100 * TRAINED:.0f} %.")
    distances = good[f"{split}_truth_distance"].to_numpy()
    which = network_name(str(good["network"].iloc[int(distances.argmax())]))
    note = (
        f"of {len(good)} of {len(ends)} networks, the others end with a training error of "
        f"{100 * TRAINED:.0f} % or more; the largest is {which}'s, the median {np.median(distances):.3g}"
    )
    return Measurement(float(distances.max()), None, len(good), None, stand_in(data), note)


largest_train_distance = partial(_largest_distance, "train")
largest_test_distance = partial(_largest_distance, "test")


def unfinished(data: RunGroups) -> Measurement:
    """Share of networks that did not finish training for numerical errors."""
    runs = all_runs(data)
    failed = sum(len(run.failed_seeds) for run in runs)
    kept = sum(run.seeds for run in runs)
    return share_measurement(np.repeat([True, False], [failed, kept]), stand_in(data))


# --- the models away from the manifold ------------------------------------------------------------


def adam_away(data: RunGroups) -> Measurement:
    """Share of Adam among the models away from the manifold."""
    table = table_of(data)
    return _share_of_away(data, table, table["optimizer"] == "adam_minibatch")


def large_batch_away(data: RunGroups) -> Measurement:
    """Share of SGD, with or without Nesterov's momentum, with batches above 500 among them."""
    table = table_of(data)
    large = table["batch_size"] > LARGE_BATCH
    if not large.any():
        raise NotMeasurable(f"No network was trained with batches above {LARGE_BATCH}.")
    return _share_of_away(data, table, large & (table["optimizer"] != "adam_minibatch"))


def adam_away_of_residual(data: RunGroups) -> Measurement:
    """The share of Adam among those of ConvMixer and the residual networks."""
    table = table_of(data)
    table = table[table["network"].isin(("conv_mixer", "small_resnet", "large_resnet"))]
    return _share_of_away(data, table, table["optimizer"] == "adam_minibatch")


def all_cnn_away(data: RunGroups) -> Measurement:
    """Share of AllCNN's models that are away from the manifold."""
    table = table_of(data)
    mine = table[table["network"] == "all_cnn"]
    if not len(mine):
        raise NotMeasurable("No AllCNN is among the runs.")
    away, networks = len(away_models(mine)), len(mine[NETWORK].drop_duplicates())
    note = f"{away} of {len(mine)} models of AllCNN"
    return Measurement(away / len(mine), None, networks, None, stand_in(data), note)


def away_come_back(data: RunGroups) -> Measurement:
    """Share of the networks with models away from the manifold that end with training error 0 (at most
    1 %, ours).
    """
    table = table_of(data)
    gone = away_models(table)[NETWORK].drop_duplicates()
    if not len(gone):
        raise NotMeasurable("No model is away from the manifold (dB to the truth above 2).")
    ends = end_models(table).merge(gone, on=NETWORK)
    return share_measurement((ends["train_error"] <= FITTED).to_numpy(), stand_in(data))


def _share_of_away(data: RunGroups, table: pd.DataFrame, kind: pd.Series) -> Measurement:
    """Share of the models away from the manifold that are of some kind: bootstrap over networks."""
    away = away_models(table.assign(kind=kind))
    if not len(away):
        raise NotMeasurable("No model is away from the manifold (dB to the truth above 2).")
    groups = away.groupby(NETWORK, sort=False)["kind"]
    counts, mine = groups.size().to_numpy(dtype=float), groups.sum().to_numpy(dtype=float)
    note = (
        f"{int(mine.sum())} of {len(away)} models of {len(counts)} networks that are away; median epoch "
        f"{_median(away['epoch'][away['kind']])}, of the others {_median(away['epoch'][~away['kind']])}"
    )
    return bootstrap_measurement(
        lambda weights: _ratio(weights @ mine, weights @ counts), len(counts), stand_in(data), note
    )


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


def _median(values: Sequence[float] | pd.Series) -> str:
    return f"{np.median(values):.3g}" if len(values) else "none"
