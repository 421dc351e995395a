"""Every figure of the memorisation paper: saved with its caption, options, missing data."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_up_figures import CASES, RUN, one_run
from made_up_memorization import (
    REASON,
    capacities,
    unavailable,
)

from pipeline.errors import PipelineError
from pipeline.figures.memorization.layers import layers
from pipeline.figures.save import caption, draw, save_figure
from pipeline.runs import RunGroups

ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec. 4"}


@pytest.mark.parametrize("name", CASES)
def test_every_figure_can_be_saved(name: str, tmp_path: Path) -> None:
    function, data, options = CASES[name]
    groups = data()
    result = draw(function, groups, options)
    assert len(result.table)
    numbers = result.table.select_dtypes("number")
    seeds = min(run.seeds for runs in groups.values() for run in runs)
    bars = [column for column in numbers if column.startswith("half_width")]
    if name != "A3":  # of which the panels have columns of their own
        assert not numbers.drop(columns=bars if seeds == 1 else []).isna().any().any()
    text = caption(ENTRY, result, groups, "laptop")
    assert "nan" not in text
    assert "()" not in text
    paths = save_figure(result, tmp_path / name, text)
    assert all(path.stat().st_size > 0 for path in paths)
    assert any(axes.get_xlabel() or axes.get_title() for axes in result.fig.axes)


@pytest.mark.parametrize("name", CASES)
def test_unknown_options_are_refused(name: str) -> None:
    function, data, _ = CASES[name]
    with pytest.raises(PipelineError, match="has no options colour; valid are: "):
        draw(function, data(), {"colour": "red"})


@pytest.mark.parametrize("name", ["A5", "A4_epochs", "A9", "4C", "A12", "A8"])
def test_an_analysis_without_data_leaves_an_empty_figure(name: str, tmp_path: Path) -> None:
    function, data, options = CASES[name]
    groups = data()
    groups.analyses = {"gone": unavailable()}
    result = draw(function, groups, options)
    assert result.summary == f"Nothing could be drawn: {REASON}."
    save_figure(result, tmp_path / name, caption(ENTRY, result, groups, "laptop"))
    runs = RunGroups({name: []}, groups.analyses, {name: REASON}, {name: name})
    assert draw(function, runs, options).summary == f"Nothing could be drawn: {REASON}."


@pytest.mark.parametrize("name", ["1A", "2B", "A3"])
def test_without_its_analysis_a_figure_is_refused(name: str) -> None:
    function, data, options = CASES[name]
    groups = data()
    groups.analyses = {}
    with pytest.raises(PipelineError, match="No analysis with"):
        draw(function, groups, options)


def test_what_is_left_out_is_named() -> None:
    groups = one_run(stack=capacities([RUN]), gone=unavailable())
    assert draw(layers, groups, {}).summary.endswith(f"Left out: {REASON}.")
