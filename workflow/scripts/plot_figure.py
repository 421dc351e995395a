"""Rule script: one figure as PNG and SVG, its numbers as CSV, its caption as reStructuredText."""

from pathlib import Path
from typing import Any


def main(snakemake: Any) -> None:
    from pipeline.figures.runs import chosen, load_runs
    from pipeline.figures.save import caption, draw, save_figure
    from pipeline.registry import resolve

    params = snakemake.params
    entry = params.figure
    data = chosen(load_runs(params.runs), entry["runs"])
    result = draw(resolve(entry["function"]), data, entry.get("options") or {})
    base = Path(str(snakemake.output.png)).with_suffix("")
    save_figure(result, base, caption(entry, result, data, params.scale))


if "snakemake" in globals():
    from pipeline.scripting import run

    run(snakemake, main)
