"""Which jobs a configuration means, told from the configuration alone, as ``Said.jobs`` names them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from helpers_workflow import ROOT

from pipeline.config import load_config

PAPER = "stragglers"
SUMMARY = {"measure_claims", "scorecard", "all"}


def smoke_config(overrides: dict[str, Any] | None = None, root: Path = ROOT) -> dict[str, Any]:
    """The configuration at scale smoke."""
    return load_config(root, {"scale": "smoke", **(overrides or {})})


def figures(config: dict[str, Any]) -> set[str]:
    """The rules that draw figures."""
    return {f"fig_{PAPER}_{name}" for name in config[PAPER]["figures"]}


def trained_with(config: dict[str, Any], names: Iterable[str]) -> set[str]:
    """Runs that train again when those named do: a pruned one waits for its source's group."""
    runs = config[PAPER]["runs"]
    found = set(names)
    while True:
        groups = {runs[name]["group"] for name in found}
        pruned = {name: runs[run["prune_from"]] for name, run in runs.items() if run["prune_from"]}
        more = {name for name, source in pruned.items() if source["group"] in groups}
        if more <= found:
            return found
        found |= more


def jobs_after(
    config: dict[str, Any], runs: Iterable[str] = (), analyses: Iterable[str] = ()
) -> set[str]:
    """Jobs of the target all when some runs train again, or some analyses are made again."""
    paper = config[PAPER]
    trained = trained_with(config, runs)
    groups = {paper["runs"][name]["group"] for name in trained}
    shown = [*paper["figures"].values(), *paper["claims"]]
    wanted = {name for entry in shown for name in entry["analyses"]}
    made = {
        name
        for name, entry in paper["analyses"].items()
        if name in wanted and (name in set(analyses) or groups & set(entry["runs"]))
    }

    def concerned(entry: dict[str, Any]) -> bool:
        return bool(groups & set(entry["runs"]) or made & set(entry["analyses"]))

    jobs = {f"train_run/{name}" for name in trained}
    jobs |= {f"measure_geometry/{n}" for n in trained if paper["runs"][n]["stored_seeds"]}
    jobs |= {f"find_inversion/{group}" for group in groups}
    jobs |= {f"run_analysis/{name}" for name in made}
    jobs |= {f"fig_{PAPER}_{name}" for name, e in paper["figures"].items() if concerned(e)}
    jobs |= {"all"} if jobs else set()
    return jobs | (SUMMARY if any(map(concerned, paper["claims"])) else set())


def all_jobs(config: dict[str, Any]) -> set[str]:
    """Jobs of the target all in an empty folder."""
    runs = config[PAPER]["runs"]
    data = {f"prepare_data/{run['dataset']}" for run in runs.values()}
    return data | jobs_after(config, runs)


def counts(jobs: Iterable[str]) -> dict[str, int]:
    """Number of jobs by rule."""
    return dict(Counter(job.partition("/")[0] for job in jobs))
