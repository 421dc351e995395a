"""What Stephenson et al., ICLR 2021, state about the parts of the gradient near initialisation.

Near initialisation are the kept epochs from 1 to half the best epoch, of a network without one the
first kept epoch after 0. A statistic is the geometric mean over layers and these epochs of a ratio of
norms, per network. The note lists the epochs: weights are kept in even steps, so that of a long
training few sets, or one, lie that early.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.analysis.memorization_results import first_run, log_ratio, mean_of
from pipeline.claims.measurement import Measurement, any_substituted, mean_measurement
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, all_runs, analysis_with

Array = NDArray[np.float64]


def dep_unpermuted_over_permuted(data: RunGroups) -> Measurement:
    """Label-dependent part, unpermuted over permuted samples."""
    return _early_ratio(data, "dep_unpermuted", "dep_permuted")


def dep_over_ind_unpermuted(data: RunGroups) -> Measurement:
    """Label-dependent over independent part, unpermuted samples."""
    return _early_ratio(data, "dep_unpermuted", "ind_unpermuted")


def dep_over_ind_permuted(data: RunGroups) -> Measurement:
    """Label-dependent over independent part, permuted samples."""
    return _early_ratio(data, "dep_permuted", "ind_permuted")


def ind_unpermuted_over_permuted(data: RunGroups) -> Measurement:
    """Label-independent part, unpermuted over permuted samples."""
    return _early_ratio(data, "ind_unpermuted", "ind_permuted")


def early_epochs(epochs: NDArray[np.int64], best: int) -> NDArray[np.bool_]:
    """Which kept epochs (kept,) count as near initialisation; -1 marks none."""
    early = (epochs >= 1) & (epochs <= best / 2)
    if not early.any():
        after = epochs[epochs >= 1]
        if not after.size:
            raise NotMeasurable("No weights were kept after the first epoch; keep more of them.")
        early = epochs == after.min()
    return early


def _early_ratio(data: RunGroups, part: str, divisor: str) -> Measurement:
    one = first_run(analysis_with(data, "gradient_norm"), "gradient_epoch")
    run = all_runs(data)[0]
    best = dict(
        zip(
            run.trajectories["seed"].values.tolist(),
            run.trajectories["best_epoch"].values.tolist(),
            strict=True,
        )
    )
    logs, epochs = log_ratio(one, part, divisor), one["gradient_epoch"].values
    found: list[float] = []
    used: dict[int, list[int]] = {}
    for row, seed in enumerate(one["seed"].values.tolist()):
        early = early_epochs(epochs[row], best[seed])
        mean = float(mean_of(logs[row, early].ravel()))
        if not np.isfinite(mean):
            raise NotMeasurable("A part of the gradient is 0 early in training: a subset is empty.")
        found.append(10.0**mean)
        used[seed] = epochs[row, early].tolist()
    return mean_measurement(np.array(found), any_substituted(data), epochs_text(used))


def epochs_text(used: dict[int, list[int]]) -> str:
    """The epochs of each seed in words, seeds with the same ones together."""
    seeds_of: dict[str, list[str]] = {}
    for seed, epochs in used.items():
        seeds_of.setdefault(", ".join(map(str, epochs)), []).append(str(seed))
    if len(seeds_of) == 1:
        return f"epochs used: {next(iter(seeds_of))} (every seed)"
    texts = [
        f"{epochs} (seed{'s' if len(seeds) > 1 else ''} {', '.join(seeds)})"
        for epochs, seeds in seeds_of.items()
    ]
    return f"epochs used: {'; '.join(texts)}"
