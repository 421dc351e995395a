"""Rule script: one analysis, from the trajectories of its runs to a store of results."""

import os
from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    import xarray as xr
    from threadpoolctl import threadpool_limits

    from pipeline.provenance import provenance
    from pipeline.registry import resolve
    from pipeline.runs import load_runs
    from pipeline.store.writer import write_dataset

    params = snakemake.params
    entry = params.config["analysis"]
    # Torch is asked for its threads only where the analysis brings it along.
    os.environ["OMP_NUM_THREADS"] = str(int(params.threads))
    data = load_runs(params.runs, entry["variables"])
    options = {"seed": params.config["seed"], **entry["options"]}
    if data.unavailable and not any(data.values()):
        reasons = "; ".join(sorted(set(data.unavailable.values())))
        result = xr.Dataset(attrs={"unavailable": reasons})
    else:
        with threadpool_limits(int(params.threads)):
            result = resolve(entry["function"])(data, options)
    folder = Path(str(snakemake.output.manifest)).parent
    record = provenance(config=params.config, code=params.code, threads=int(params.threads))
    write_dataset(result, folder, record)


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
