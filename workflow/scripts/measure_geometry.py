"""Rule script: R+, R- and D recomputed from the stored activations of one run."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    import dask
    import xarray as xr

    from pipeline.geometry.trajectories import measure_geometry
    from pipeline.provenance import provenance
    from pipeline.store import manifest
    from pipeline.store.reader import open_store
    from pipeline.store.writer import write_dataset

    params = snakemake.params
    source = Path(str(snakemake.input.manifest)).parent
    content = manifest.read(source)
    config = content["provenance"]["config"]
    if reason := content["attrs"].get("unavailable"):
        dataset = xr.Dataset(attrs={"unavailable": reason})
    else:
        with dask.config.set(scheduler="threads", num_workers=int(params.workers)):
            dataset = measure_geometry(open_store(source), precision=config["run"]["precision"])
    folder = Path(str(snakemake.output.manifest)).parent
    write_dataset(dataset, folder, provenance(config=config, code=params.code))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
