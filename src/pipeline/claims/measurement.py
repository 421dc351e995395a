"""Claims of a paper against measurements: what a measurement is, and its file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import NotMeasurable, PipelineError
from pipeline.registry import resolve
from pipeline.runs import RunGroups, all_runs, chosen
from pipeline.seeds import generator

CLAIM_VARIABLES = ("misclassified",)  # what claims may read of the trajectories beside the curves
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True)
class Measurement:
    """What was measured for one claim.

    Arguments
    ---------
    value: the statistic; spread: its standard deviation over networks (None for a single one).
    n: number of independent networks (of the smallest run, where runs are compared), or of what else
        was drawn independently, which the note then names.
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


def share_measurement(holds: NDArray[np.bool_], substituted: bool, note: str = "") -> Measurement:
    """The share of networks for which something holds, with its exact interval (Clopper-Pearson).

    k of n networks: from B(0.025; k, n - k + 1) to B(0.975; k + 1, n - k), B the quantile of the
    beta distribution; 0 and 1 where k is 0 or n. The spread is the sd of one network's 0 or 1.

    Arguments
    ---------
    holds: (networks,) booleans.
    """
    from scipy.special import betaincinv

    k, n = int(np.sum(holds)), int(np.size(holds))
    if n == 0:
        raise NotMeasurable("A share needs one network or more, but none is left.")
    tail = (1 - CONFIDENCE) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    spread = float(np.std(np.asarray(holds, float), ddof=1)) if n > 1 else None
    text = f"{k} of {n} networks" + (f"; {note}" if note else "")
    return Measurement(k / n, spread, n, (low, high), substituted, text)


def difference_measurement(
    first: NDArray[np.float64], second: NDArray[np.float64], substituted: bool, note: str = ""
) -> Measurement:
    """mean(first) - mean(second) of independent networks, with Welch's 95 % interval.

    The spread is sqrt(s_1^2 + s_2^2), that of the difference of two single networks; n counts the
    networks of the smaller group. No interval with fewer than two networks in a group.

    Arguments
    ---------
    first, second: (networks,) the statistic of each network, finite.
    """
    from scipy.special import stdtrit

    value, n = float(np.mean(first) - np.mean(second)), int(min(first.size, second.size))
    if n < 2:
        return Measurement(value, None, n, None, substituted, note)
    variances = np.array([np.var(first, ddof=1), np.var(second, ddof=1)])
    sizes = np.array([first.size, second.size])
    parts = variances / sizes
    half = 0.0
    if parts.sum() > 0:
        freedom = parts.sum() ** 2 / np.sum(parts**2 / (sizes - 1))  # Welch-Satterthwaite
        half = float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * np.sqrt(parts.sum()))
    spread = float(np.sqrt(variances.sum()))
    return Measurement(value, spread, n, (value - half, value + half), substituted, note)


def bootstrap_measurement(
    statistic: Callable[[NDArray[np.float64]], float],
    networks: int,
    substituted: bool,
    note: str = "",
) -> Measurement:
    """A statistic of all networks together, with its 95 % percentile bootstrap over them.

    Arguments
    ---------
    statistic: weights (networks,), how often each network counts (all 1: as measured) -> value;
        NaN where the networks drawn leave it open, which is left out.
    networks: how many there are.

    Raises NotMeasurable where the statistic of all networks is NaN.
    """
    value = float(statistic(np.ones(networks)))
    if not np.isfinite(value):
        raise NotMeasurable("The statistic of this claim is not defined for these runs.")
    if networks < 2:
        return Measurement(value, None, networks, None, substituted, note)
    random = generator(0, "claims", 0, "analysis")
    draws = random.multinomial(networks, np.full(networks, 1 / networks), size=RESAMPLES)
    drawn = np.array([statistic(weights.astype(np.float64)) for weights in draws])
    drawn = drawn[np.isfinite(drawn)]
    if drawn.size < 2:
        return Measurement(value, None, networks, None, substituted, note)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Measurement(value, None, networks, (float(low), float(high)), substituted, note)


def jackknife_measurement(
    value: float, lefts: NDArray[np.float64], substituted: bool, note: str = ""
) -> Measurement:
    """A statistic of all networks with its 95 % interval from those of all but one.

        value ± t_{0.975, n-1} sqrt((n-1)/n sum_i (lefts_i - mean)^2)

    Arguments
    ---------
    lefts: (networks,) the statistic without each; two or more.
    """
    from scipy.special import stdtrit

    n = lefts.size
    error = math.sqrt((n - 1) / n * float(np.sum((lefts - lefts.mean()) ** 2)))
    half = float(stdtrit(n - 1, (1 + CONFIDENCE) / 2)) * error
    return Measurement(value, None, n, (value - half, value + half), substituted, note)


def any_substituted(data: RunGroups) -> bool:
    """Whether the data of any of the runs stand in for the paper's own."""
    return any(run.substituted for run in all_runs(data))


def measure_claims(claims: Iterable[Mapping[str, Any]], data: RunGroups) -> list[dict[str, Any]]:
    """Each claim's configuration with its ``measurement``.

    It is None where a run of it is not part of the scale, and where none of the runs of a group could
    be had or the claim is NotMeasurable: ``unavailable`` then says why.
    Raises PipelineError naming the claim whose measurement is not a finite number.
    """
    measured = []
    for claim in claims:
        entry = {**claim, "measurement": None}
        if set(claim["runs"]) <= set(data) and set(claim["analyses"]) <= set(data.analyses):
            found = chosen(data, claim["runs"], claim["analyses"])
            if not all(found.values()):
                entry["unavailable"] = "; ".join(sorted(set(found.unavailable.values())))
            else:
                try:
                    result = resolve(claim["function"])(found)
                    entry["measurement"] = asdict(check(claim["id"], result))
                except NotMeasurable as error:
                    entry["unavailable"] = str(error)
        measured.append(entry)
    return measured


def check(name: str, measurement: Measurement) -> Measurement:
    """The measurement in Python's own numbers, which JSON takes, if all of them are finite; raises
    PipelineError naming the claim.
    """
    numbers = [measurement.value, measurement.spread or 0.0, *(measurement.interval or ())]
    if not np.isfinite(numbers).all():
        raise PipelineError(
            f"The claim {name} was measured as {measurement.value} ± {measurement.spread}, "
            f"interval {measurement.interval}; only finite numbers count, so look into its runs."
        )
    spread, interval = measurement.spread, measurement.interval
    return replace(
        measurement,
        value=float(measurement.value),
        spread=None if spread is None else float(spread),
        n=int(measurement.n),
        interval=None if interval is None else (float(interval[0]), float(interval[1])),
        substituted=bool(measurement.substituted),
    )


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
