"""Which jobs a configuration means, told from the configuration alone, as ``Said.jobs`` names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers_workflow import ROOT

from pipeline.config import load_config

PAPER = "stragglers"  # whose runs the tests change
SUMMARY = {f"measure_claims/{PAPER}", "scorecard", "all"}


def smoke_config(overrides: dict[str, Any] | None = None, root: Path = ROOT) -> dict[str, Any]:
    """The configuration at scale smoke."""
    return load_config(root, {"scale": "smoke", **(overrides or {})})


def figures(config: dict[str, Any], *papers: str) -> set[str]:
    """The rules that draw figures, of all papers by default."""
    chosen = papers or config["papers"]
    return {f"fig_{paper}_{name}" for paper in chosen for name in config[paper]["figures"]}


def trained_with(runs: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Runs that train again when those named do: a pruned one waits for its source's group."""
    found = set(names)
    while True:
        groups = {runs[name]["group"] for name in found}
        sources = {name: run.get("prune_from") for name, run in runs.items()}
        pruned = {name: runs[source] for name, source in sources.items() if source}
        more = {name for name, source in pruned.items() if source["group"] in groups}
        if more <= found:
            return found
        found |= more


def jobs_after(
    config: dict[str, Any],
    runs: Iterable[str] = (),
    analyses: Iterable[str] = (),
    of: str = PAPER,
) -> set[str]:
    """Jobs of the target all when some runs of a paper train again, or some analyses are made again."""
    paper = config[of]
    trained = trained_with(paper["runs"], runs)
    groups = {paper["runs"][name]["group"] for name in trained}
    shown = [*paper["figures"].values(), *paper["claims"]]
    wanted = {name for entry in shown for name in entry["analyses"]}
    for name, entry in reversed(paper["analyses"].items()):  # what one needs stands before it
        wanted |= set(entry["analyses"]) if name in wanted else set()
    made: set[str] = set()
    for name, entry in paper["analyses"].items():
        again = (
            name in set(analyses) or groups & set(entry["runs"]) or made & set(entry["analyses"])
        )
        made |= {name} if name in wanted and again else set()

    def concerned(entry: dict[str, Any]) -> bool:
        return bool(groups & set(entry["runs"]) or made & set(entry["analyses"]))

    jobs = {f"train_run/{name}" for name in trained}
    if config["trainers"][paper["trainer"]]["inversion"]:
        jobs |= {f"measure_geometry/{n}" for n in trained if paper["runs"][n]["stored_seeds"]}
        jobs |= {f"find_inversion/{group}" for group in groups}
    jobs |= {f"run_analysis/{name}" for name in made}
    jobs |= {f"fig_{of}_{name}" for name, e in paper["figures"].items() if concerned(e)}
    jobs |= {"all"} if jobs else set()
    summary = {f"measure_claims/{of}", "scorecard", "all"}
    return jobs | (summary if any(map(concerned, paper["claims"])) else set())


def all_jobs(config: dict[str, Any]) -> set[str]:
    """Jobs of the target all in an empty folder."""
    jobs = set()
    for name in config["papers"]:
        paper = config[name]
        jobs |= {f"prepare_data/{run['dataset']}" for run in paper["runs"].values()}
        jobs |= jobs_after(config, paper["runs"], paper["analyses"], name)
    return jobs


def counts(jobs: Iterable[str]) -> dict[str, int]:
    """Number of jobs by rule."""
    return dict(Counter(job.partition("/")[0] for job in jobs))
