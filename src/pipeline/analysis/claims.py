"""Claims of a paper against measurements: what a measurement is, and its file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import PipelineError
from pipeline.figures.runs import CURVES, RunGroups, chosen
from pipeline.registry import resolve

CLAIM_VARIABLES = (*CURVES, "misclassified")  # what claims may read of the trajectories
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measurement:
    """What was measured for one claim.

    Arguments
    ---------
    value: the statistic; spread: its standard deviation over networks (None for a single one).
    n: number of independent networks (of the smallest run, where runs are compared).
    interval: 95 % confidence interval of the value, None where there is none.
    substituted: whether the data stand in for the paper's own.
    note: how it was obtained, for people.
    """

    value: float
    spread: float | None
    n: int
    interval: tuple[float, float] | None
    substituted: bool
    note: str


def mean_measurement(values: NDArray[np.float64], substituted: bool, note: str = "") -> Measurement:
    """The mean over networks, its sd and its 95 % interval: mean ± t_{0.975, n-1} sd / sqrt(n).

    Arguments
    ---------
    values: (networks,) the statistic of each network, finite.
    """
    from scipy.special import stdtrit

    mean, n = float(np.mean(values)), int(values.size)
    if n < 2:
        return Measurement(mean, None, n, None, substituted, note)
    sd = float(np.std(values, ddof=1))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * sd / math.sqrt(n)
    return Measurement(mean, sd, n, (mean - half, mean + half), substituted, note)


def measure_claims(claims: Iterable[Mapping[str, Any]], data: RunGroups) -> list[dict[str, Any]]:
    """Each claim's configuration with its ``measurement``; None where a run of it does not exist.

    Raises PipelineError naming the claim whose measurement is not a finite number.
    """
    measured = []
    for claim in claims:
        if set(claim["runs"]) <= set(data):
            result = resolve(claim["function"])(chosen(data, claim["runs"]))
            measured.append({**claim, "measurement": asdict(check(claim["id"], result))})
        else:
            measured.append({**claim, "measurement": None})
    return measured


def check(name: str, measurement: Measurement) -> Measurement:
    """The measurement, if all its numbers are finite; raises PipelineError naming the claim."""
    numbers = [measurement.value, measurement.spread or 0.0, *(measurement.interval or ())]
    if not np.isfinite(numbers).all():
        raise PipelineError(
            f"The claim {name} was measured as {measurement.value} ± {measurement.spread}, "
            f"interval {measurement.interval}; only finite numbers count, so look into its runs."
        )
    return measurement


def write_claims(path: Path | str, paper: str, scale: str, measured: list[dict[str, Any]]) -> None:
    """Write the measured claims of one paper as JSON, whole or not at all."""
    content = {"paper": paper, "scale": scale, "claims": measured}
    text = json.dumps(content, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    replace_text(path, text + "\n")


def read_claims(path: Path | str) -> dict[str, Any]:
    """What ``write_claims`` wrote; raises PipelineError where the file is something else."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise PipelineError(f"{path} holds no claims ({error}); delete it.") from error
    if not isinstance(content, dict) or set(content) != {"paper", "scale", "claims"}:
        raise PipelineError(f"{path} holds no claims; delete it and run the workflow again.")
    return content


def replace_text(path: Path | str, text: str) -> None:
    """Write a text file that appears whole or not at all; its folder is made where missing."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8", newline="\n")
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
