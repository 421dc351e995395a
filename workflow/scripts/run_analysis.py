"""Rule script: one analysis, from the trajectories of its runs to a store of results."""

import inspect
import os
from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    import xarray as xr
    from threadpoolctl import threadpool_limits

    from pipeline.errors import NotMeasurable
    from pipeline.execution.dask_workers import dask_settings
    from pipeline.provenance import provenance
    from pipeline.registry import resolve
    from pipeline.runs import Place, load_runs
    from pipeline.store.writer import write_dataset

    params = snakemake.params
    entry = params.config["analysis"]
    # Torch is asked for its threads only where the analysis brings it along.
    os.environ["OMP_NUM_THREADS"] = str(int(params.threads))
    folder, threads = Path(str(snakemake.output.manifest)).parent, int(params.threads)
    record = provenance(config=params.config, code=params.code, threads=threads)
    data = load_runs(params.runs, entry["variables"], folders=dict(params.analyses))
    options = {"seed": params.config["seed"], **entry["options"]}
    if data.unavailable and not any(data.values()):
        reasons = "; ".join(sorted(set(data.unavailable.values())))
        result = xr.Dataset(attrs={"unavailable": reasons})
    else:
        function, more = resolve(entry["function"]), {}
        if "place" in inspect.signature(function).parameters:
            resources = dict(snakemake.resources.items())
            logs = Path(str(snakemake.log[0])).parent
            dask = dask_settings(
                resources, threads=threads, folder=str(logs), minutes=int(resources["runtime"])
            )
            more["place"] = Place(folder, Path(params.cache), record, threads, dask)
        try:
            with threadpool_limits(threads):
                result = function(data, options, **more)
        except NotMeasurable as reason:
            result = xr.Dataset(attrs={"unavailable": str(reason).rstrip(".")})
    if result is not None:  # else it wrote its store itself
        write_dataset(result, folder, record)


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
