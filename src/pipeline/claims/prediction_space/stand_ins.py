"""Whether runs stand in for the paper's own: then a row of the scorecard is indicative."""

from __future__ import annotations

from pipeline.claims.measurement import any_substituted
from pipeline.runs import RunGroups, all_runs

SAMPLES = {"cifar10": 50_000, "imagenet": 1_281_167}  # training samples of the paper's networks
CORNER_SEEDS = 50  # networks per corner and setting: fewer are embedded in smaller sets


def stand_in(data: RunGroups) -> bool:
    """Whether runs have other data than the paper's, fewer samples or other widths, or fewer start in a
    corner, so that their numbers say little about its.
    """
    configs = [run.config for run in all_runs(data)]
    smaller = any(
        float(one["width"]) != 1
        or int(one["samples"]) < SAMPLES.get(one["dataset"], 0)
        or (one.get("corner") is not None and int(one["seeds"]) < CORNER_SEEDS)
        for one in configs
    )
    return smaller or any_substituted(data)
