"""Rule script: the inversion points of every seed of every run of one group."""

from pathlib import Path
from typing import Any

VARIABLES = (
    *("train_error", "radius_plus", "radius_minus", "distance"),
    *("misclassified", "failed_epoch"),
)


def main(snakemake: Any) -> None:
    from pipeline.analysis.inversion import find_inversions, group_inversions
    from pipeline.provenance import provenance
    from pipeline.store import manifest
    from pipeline.store.reader import open_store
    from pipeline.store.writer import write_dataset

    params, found = snakemake.params, {}
    for path in snakemake.input.manifests:
        source = Path(str(path)).parent
        content = manifest.read(source)
        if not content["attrs"].get("unavailable"):
            of_pruned = [name for name in ("kept_samples",) if name in content["arrays"]]
            trajectories = open_store(source, [*VARIABLES, *of_pruned], lazy=False)
            found[source.name] = find_inversions(trajectories, layer=params.config["layer"])
    folder = Path(str(snakemake.output.manifest)).parent
    record = provenance(config=params.config, code=params.code)
    write_dataset(group_inversions(found), folder, record)


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
