"""What the results on the synthetic task hold, as figures and claims read them.

Source: Mao et al., PNAS 121(12), 2024, App. E.
"""

from __future__ import annotations

import xarray as xr

from pipeline.analysis.embedding_results import embeddings_of
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, not_given


def task_of(group: str) -> str:
    """The task of a group of runs in words: ``sloppy`` or ``not sloppy``."""
    return "not sloppy" if "not_sloppy" in group else "sloppy"


def group_of(data: RunGroups, found: xr.Dataset) -> str:
    """The group whose runs an embedding holds; PipelineError where they are not given."""
    name = str(found.attrs["runs"][0])
    for group, runs in data.items():
        if any(run.name == name for run in runs):
            return group
    raise PipelineError(
        f"The embedding holds the run {name}, which is not given; give the entry the same key runs."
    )


def embedding_of_group(data: RunGroups, group: str, split: str) -> xr.Dataset:
    """The embedding of one group and split; PipelineError where none is given."""
    for one in embeddings_of(data):
        if one.attrs["split"] == split and group_of(data, one) == group:
            return one
    raise not_given(data, f"embedding of the runs {group} on {split} samples")


def corner_results(data: RunGroups, group: str | None = None) -> list[xr.Dataset]:
    """The results of ``analysis.corners`` given, by number of corners; of the same number the first.

    Arguments
    ---------
    group: whose runs they hold; None: the first of ``corner_groups``.

    Raises PipelineError where there is none.
    """
    wanted = corner_groups(data)[0] if group is None else group
    found: dict[int, xr.Dataset] = {}
    for one in data.analyses.values():
        if "moment_stress" in one and group_of(data, one) == wanted:
            found.setdefault(int(one.attrs["corners"]), one)
    return [found[count] for count in sorted(found)]


def corner_groups(data: RunGroups) -> list[str]:
    """The groups whose trajectories out of corners are among the analyses given, in their order.

    Raises PipelineError where there is none.
    """
    found = [group_of(data, one) for one in data.analyses.values() if "moment_stress" in one]
    if not found:
        raise not_given(data, "analysis of corners")
    return list(dict.fromkeys(found))
