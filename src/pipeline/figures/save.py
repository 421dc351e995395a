"""Figures on disk: PNG, SVG, the plotted numbers as CSV, the caption, and of some a page to turn and
zoom; all byte for byte the same whenever the data are the same."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import NotMeasurable, PipelineError
from pipeline.figures.scatter_page import sentence_page
from pipeline.figures.style import COLUMN, new_figure, paper_style, settle_layout
from pipeline.run_texts import count_text, data_text
from pipeline.runs import RunGroups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".csv", ".rst")
PAGE_SUFFIX = ".html"  # of figures whose entry says interactive
_MARKUP = re.compile(r"([\\*`|_{}<>\[\]]|(?<=\{)[%#])")


@dataclass(frozen=True)
class FigureResult:
    """A drawn figure.

    Arguments
    ---------
    fig: the matplotlib figure.
    table: the plotted numbers, long form.
    summary: what we got, in one or two sentences with numbers.
    page: the same to turn and zoom, as a self-contained HTML page; None: there is none.
    """

    fig: Figure
    table: pd.DataFrame
    summary: str
    page: str | None = None


def known_options(figure: str, options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Raise PipelineError for an option that a figure does not have."""
    if unknown := sorted(set(options) - set(known)):
        valid = ", ".join(known) or "none"
        raise PipelineError(f"{figure} has no options {', '.join(unknown)}; valid are: {valid}.")


def draw(
    function: Callable[[RunGroups, dict[str, Any]], FigureResult],
    data: RunGroups,
    options: Mapping[str, Any],
) -> FigureResult:
    """Call a figure function within the common style; refuses a table with infinite numbers.

    Where every run of the figure is unavailable an empty frame says so, and it is not called; where it
    raises NotMeasurable, an empty frame gives the reason.
    """
    with paper_style():
        nothing = bool(data) and not any(data.values())
        try:
            result = empty_figure(data) if nothing else function(data, dict(options))
        except NotMeasurable as reason:
            result = empty_figure(data, str(reason))
    numbers = result.table.select_dtypes("number").to_numpy(dtype=float)
    if abs(numbers[numbers == numbers]).max(initial=0) == float("inf"):
        raise PipelineError("The figure's table holds infinite numbers; leave diverged seeds out.")
    return result


def empty_figure(data: RunGroups, reason: str = "") -> FigureResult:
    """An empty frame with the reason, or the reasons why none of its runs or analyses could be had."""
    import pandas as pd

    found = {*data.unavailable.values()} | {
        str(one.attrs["unavailable"])
        for one in data.analyses.values()
        if "unavailable" in one.attrs
    }
    reasons = reason or "; ".join(sorted(found)) or "its runs hold no networks"
    sentence = f"Nothing could be drawn: {reasons.rstrip('.')}."
    fig = new_figure(COLUMN, 2.0)
    axes = fig.subplots()
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(sentence, 52), ha="center", va="center", fontsize=7)
    table = pd.DataFrame({"run": list(data.unavailable), "reason": list(data.unavailable.values())})
    return FigureResult(fig, table, sentence, sentence_page(sentence))


def save_figure(
    result: FigureResult, base_path: Path | str, caption: str, *, interactive: bool = False
) -> list[Path]:
    """Write ``<base_path>.png``, ``.svg``, ``.csv`` and ``.rst``; returns the paths.

    Each file appears whole or not at all. No dates and no random ids are written.

    Arguments
    ---------
    base_path: path without suffix; its folder is made where missing.
    caption: reStructuredText, as ``caption`` makes it.
    interactive: write ``<base_path>.html`` too, the result's page; PipelineError where it has none.
    """
    if interactive and result.page is None:
        raise PipelineError(
            "The figure has no page to turn and zoom; leave out its entry's key interactive."
        )
    base = Path(base_path)
    base.parent.mkdir(parents=True, exist_ok=True)

    def image(kind: str, metadata: dict[str, None]) -> Callable[[Path], None]:
        return lambda path: result.fig.savefig(path, format=kind, metadata=metadata)

    def text(content: str) -> Callable[[Path], Any]:
        return lambda path: path.write_text(content, encoding="utf-8", newline="\n")

    def table(path: Path) -> None:
        result.table.to_csv(path, index=False, float_format="%.9g", lineterminator="\n")

    writers: dict[str, Callable[[Path], Any]] = {
        ".png": image("png", {"Software": None}),
        ".svg": image("svg", {"Date": None, "Creator": None}),
        ".csv": table,
        ".rst": text(caption),
        PAGE_SUFFIX: text(result.page or ""),
    }
    suffixes = (*SUFFIXES, PAGE_SUFFIX) if interactive else SUFFIXES
    paths = [base.with_name(base.name + suffix) for suffix in suffixes]
    with paper_style():
        settle_layout(result.fig)
        for path in paths:
            part = path.with_name(f".{path.name}.{os.getpid()}.part")
            try:
                writers[path.suffix](part)
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
    return paths


def caption(entry: Mapping[str, Any], result: FigureResult, data: RunGroups, scale: str) -> str:
    """The caption of a figure in reStructuredText: the paper, what we got, n, scale and data.

    Arguments
    ---------
    entry: the figure's configuration: title, paper, section.
    data: the runs and analyses that were drawn; scale: smoke, laptop or paper.
    """
    where = f" ({escape(entry['section'])})" if entry.get("section") else ""
    parts = [
        f"**{escape(entry['title'])}.**",
        f"**The paper{where}:** {escape(entry['paper'])}",
        f"**Measured here:** {escape(result.summary)}",
        f"**Made from:** {escape(_made_from(data, scale))}",
    ]
    return "\n\n".join(parts) + "\n"


def _made_from(data: RunGroups, scale: str) -> str:
    """n, scale and data of the runs; of a figure without runs, as its analyses state them in their
    attributes ``count`` and ``data``.
    """
    runs = [run for group in data.values() for run in group]
    gone = getattr(data, "unavailable", {})
    if runs:
        return f"{count_text(runs)}. Scale {scale}. Data: {data_text(runs, gone)}."
    stated = [found.attrs for found in getattr(data, "analyses", {}).values()]
    if not data and stated:
        count, made = ("; ".join(str(attrs[key]) for attrs in stated) for key in ("count", "data"))
        return f"{count}. Scale {scale}. Data: {made}."
    return f"Scale {scale}. No runs: the data of {', '.join(gone)} could not be had."


def escape(text: str) -> str:
    """Plain text as reStructuredText in one line, its markup (and that of Jinja) made harmless."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))
