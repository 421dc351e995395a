"""The scorecard: each number or claim of the papers against what was measured.

One function, ``decide``, gives the verdict. Its thresholds are constants here and claims' sides and
thresholds are configuration, all of them committed before the first run.
"""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.claims.measurement import replace_text
from pipeline.errors import PipelineError

AGREES, DIFFERS = "agrees", "differs"
INDICATIVE, NOT_RUN, NO_DATA = "indicative", "not run at this scale", "no data"
SPREADS = 2.0  # a value agrees within so many combined spreads
ABOUT = 0.10  # "about x" means within this share of x
MIN_RUNS = 3  # with fewer networks a result is indicative only
SLACK = 1 + 1e-9  # a value on the boundary agrees, whatever its last bit

COLUMNS = (
    *("id", "paper", "figure", "section", "quantity", "unit", "paper_value", "paper_spread"),
    *("ours", "ours_spread", "interval_low", "interval_high", "n", "scale"),
    *("verdict", "rule", "note"),
)
HTML_COLUMNS = {
    "id": "id",
    "paper": "paper",
    "figure": "figure",
    "quantity": "quantity",
    "theirs": "the paper's value",
    "ours": "ours",
    "n": "n",
    "scale": "scale",
    "verdict": "verdict",
    "rule": "rule applied",
    "note": "note",
}


def decide(row: Mapping[str, Any]) -> tuple[str, str]:
    """(verdict, rule applied) of one claim. The rules, the first that applies:

    - nothing measured: "no data" where these could not be had, else "not run at this scale";
    - fewer than 3 networks, or substituted data: "indicative";
    - kind value (x ± s_p): agrees if |ours - x| <= 2 sqrt(s_p^2 + s_o^2), s the spread over
    networks; - kind about x: agrees if |ours - x| <= 0.1 |x|;
    - kind range: agrees if low <= ours <= high;
    - kind claim (in words): agrees if the 95 % interval of the named statistic lies wholly on the
      claimed side of the threshold;
    - otherwise: "differs".

    Arguments
    ---------
    row: ``kind`` with ``value`` and ``spread``, or ``low`` and ``high``, or ``side`` (above, below)
        and ``threshold``; ``measurement``: None, or value, spread, n, interval, substituted.

    Raises PipelineError for numbers that are missing or not finite, and for an unknown kind or
    side.
    """
    measured = row["measurement"]
    name = row.get("id", row["kind"])
    if measured is None and row.get("unavailable"):
        return NO_DATA, f"not measured: {row['unavailable']}"
    if measured is None:
        return NOT_RUN, "no run of it at this scale"
    ours = _number(name, "the measured value", measured["value"])
    holds, rule = _compare(name, row, ours, measured)
    if measured["substituted"]:
        return INDICATIVE, f"substituted data (otherwise: {rule})"
    if measured["n"] < MIN_RUNS:
        return INDICATIVE, f"n < {MIN_RUNS} (otherwise: {rule})"
    return (AGREES if holds else DIFFERS), rule


def _compare(
    name: str, row: Mapping[str, Any], ours: float, measured: Mapping[str, Any]
) -> tuple[bool, str]:
    """Whether the measurement agrees, and the rule in words."""
    kind = row["kind"]
    few = measured["n"] < MIN_RUNS or measured["substituted"]
    if kind == "value":
        theirs = _number(name, "the paper's value", row["value"])
        spread = _number(name, "the paper's spread", row["spread"])
        own = 0.0 if few and measured["spread"] is None else measured["spread"]
        limit = SPREADS * math.hypot(spread, _number(name, "the measured spread", own))
        return abs(ours - theirs) <= limit * SLACK, (
            f"|ours - paper| = {abs(ours - theirs):.3g}, allowed: 2 sqrt(s_p² + s_o²) = {limit:.3g}"
        )
    if kind == "about":
        theirs = _number(name, "the paper's value", row["value"])
        limit = ABOUT * abs(theirs)
        return abs(ours - theirs) <= limit * SLACK, (
            f"|ours - paper| = {abs(ours - theirs):.3g}, allowed: 10 % of the paper's = {limit:.3g}"
        )
    if kind == "range":
        low, high = (_number(name, key, row[key]) for key in ("low", "high"))
        return low <= ours <= high, f"our mean must lie within {low:g} to {high:g}"
    if kind == "claim":
        return _compare_interval(name, row, measured["interval"], few)
    raise PipelineError(
        f"The claim {name} is of kind {kind!r}; valid are value, about, range and claim."
    )


def _compare_interval(
    name: str, row: Mapping[str, Any], interval: Any, few: bool
) -> tuple[bool, str]:
    threshold, side = _number(name, "the threshold", row["threshold"]), row["side"]
    if side not in ("above", "below"):
        raise PipelineError(f"The claim {name} has side {side!r}; valid are above and below.")
    rule = f"95 % interval must lie wholly {side} {threshold:g}"
    if interval is None:
        if few:
            return False, rule
        raise PipelineError(f"The claim {name} has no 95 % interval, which its kind needs.")
    low, high = (_number(name, "an end of the interval", end) for end in interval)
    return (low > threshold if side == "above" else high < threshold), rule


def _number(name: str, what: str, value: Any) -> float:
    if value is None or not math.isfinite(value):
        raise PipelineError(f"In the claim {name}, {what} is {value}; a finite number is needed.")
    return float(value)


def scorecard_rows(papers: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """All rows of the scorecard, decided, in the order of the configuration.

    Arguments
    ---------
    papers: each with ``paper``, ``scale`` and ``claims`` (configuration and ``measurement``).
    """
    rows = []
    for content in papers:
        for claim in content["claims"]:
            verdict, rule = decide(claim)
            measured = claim["measurement"] or {}
            low, high = measured.get("interval") or (None, None)
            rows.append(
                {key: claim.get(key, "") for key in COLUMNS}
                | {
                    "paper": content["paper"],
                    "paper_value": paper_value(claim),
                    "paper_spread": claim.get("spread"),
                    "ours": measured.get("value"),
                    "ours_spread": measured.get("spread"),
                    "interval_low": low,
                    "interval_high": high,
                    "n": measured.get("n", 0),
                    "scale": content["scale"],
                    "verdict": verdict,
                    "rule": rule,
                    "note": measured.get("note", ""),
                }
            )
    return rows


def paper_value(claim: Mapping[str, Any]) -> str:
    """What the paper states, in words: ``680``, ``about 800``, ``30 to 40``, ``below 0.02``."""
    if claim["kind"] == "range":
        return f"{claim['low']:g} to {claim['high']:g}"
    if claim["kind"] == "claim":
        return f"{claim['side']} {claim['threshold']:g}"
    return ("about " if claim["kind"] == "about" else "") + f"{claim['value']:g}"


def write_csv(rows: Iterable[Mapping[str, Any]], path: Path | str) -> None:
    """Write the scorecard as CSV, its columns those of ``COLUMNS``; empty: not measured."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _plain(row[key]) for key in COLUMNS} for row in rows)
    replace_text(path, text.getvalue())


def write_html(rows: Iterable[Mapping[str, Any]], path: Path | str) -> None:
    """Write the scorecard as one self-contained HTML page."""
    rows = list(rows)
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in VERDICT_MARKS}
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
    head = "".join(f"<th>{html.escape(title)}</th>" for title in HTML_COLUMNS.values())
    body = "\n".join(_html_row(row) for row in rows)
    page = PAGE.replace("@SUMMARY@", html.escape(summary or "no claims"))
    replace_text(path, page.replace("@HEAD@", head).replace("@BODY@", body))


def _html_row(row: Mapping[str, Any]) -> str:
    unit = "" if row["unit"] in ("", "1") else f" {row['unit']}"
    ours = _with_spread(row["ours"], row["ours_spread"], unit)
    if row["interval_low"] is not None:
        ours += f" (95 %: {_plain(row['interval_low'])} to {_plain(row['interval_high'])})"
    theirs = _with_spread(row["paper_value"], row["paper_spread"], unit)
    shown = {**row, "ours": ours, "theirs": theirs}
    cells = []
    for key in HTML_COLUMNS:
        text, style = html.escape(_plain(shown[key])), key
        if key == "verdict":
            mark, style = VERDICT_MARKS[row[key]]
            text = f"{mark} {text}"
        cells.append(f'<td class="{style}">{text}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _with_spread(value: Any, spread: Any, unit: str) -> str:
    if value is None:
        return ""
    return _plain(value) + (f" ± {_plain(spread)}" if spread is not None else "") + unit


def _plain(value: Any) -> str:
    """A cell as text: numbers with four significant digits, nothing for None."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


VERDICT_MARKS = {
    AGREES: ("✓", "agrees"),
    DIFFERS: ("✗", "differs"),
    INDICATIVE: ("~", "indicative"),
    NOT_RUN: ("–", "not_run"),
    NO_DATA: ("∅", "not_run"),
}
# colours told apart with any colour vision; the mark says the same
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Scorecard</title>
<style>
body { font: 14px/1.4 "DejaVu Sans", Verdana, sans-serif; margin: 1.5rem; color: #111; }
table { border-collapse: collapse; }
th, td { padding: .35rem .6rem; border-bottom: 1px solid #ccc; text-align: left; vertical-align:
top; } th { position: sticky; top: 0; background: #f4f4f4; }
td.agrees { background: #cfe6f5; white-space: nowrap; }
td.differs { background: #f8d3bd; font-weight: bold; white-space: nowrap; }
td.indicative { background: #fbf3c0; white-space: nowrap; }
td.not_run { background: #eee; color: #555; }
td.theirs, td.n { white-space: nowrap; }
td.quantity, td.rule, td.note { min-width: 14rem; }
</style>
</head>
<body>
<h1>Scorecard</h1>
<p>@SUMMARY@. Spreads (±): standard deviation over networks; n: independent networks.</p>
<table>
<thead><tr>@HEAD@</tr></thead>
<tbody>
@BODY@
</tbody>
</table>
</body>
</html>
"""
