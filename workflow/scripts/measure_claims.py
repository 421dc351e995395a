"""Rule script: what was measured for each claim of one paper, as JSON."""

from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.claims.measurement import CLAIM_VARIABLES, measure_claims, write_claims
    from pipeline.runs import load_runs

    params = snakemake.params
    data = load_runs(params.runs, CLAIM_VARIABLES, dict(params.analyses))
    measured = measure_claims(params.claims, data)
    write_claims(str(snakemake.output[0]), snakemake.wildcards.paper, params.scale, measured)


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
