"""Every figure of the memorisation paper: saved with its caption, options, missing data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from made_up_figures import CASES, RUN, Figure, one_run
from made_up_memorization import REASON, capacities, given, run_of, unavailable

from pipeline.errors import PipelineError
from pipeline.figures.memorization.accuracy import fig2A
from pipeline.figures.memorization.layers import layers
from pipeline.figures.save import FigureResult, caption, draw, save_figure
from pipeline.runs import RunGroups

BATCH_NORM = "batch-normalisation statistics re-estimated from 1000 training samples"
ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec. 4"}


def case(name: str) -> tuple[Figure, RunGroups, dict[str, Any]]:
    """A figure's function, data and options; rewinding has the final network's accuracies too."""
    function, data, options = CASES[name]
    groups = data()
    for key, found in groups.analyses.items():
        if "rewound_accuracy" in found:
            last = found["rewound_epoch"].argmax("kept")
            final = found["rewound_accuracy"][..., 0, :].isel(kept=last)
            groups.analyses[key] = found.assign(final_accuracy=final)
    return function, groups, options


def drawn(name: str) -> FigureResult:
    function, groups, options = case(name)
    return draw(function, groups, options)


def curve_of(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table)
    return table


@pytest.mark.parametrize("name", CASES)
def test_every_figure_can_be_saved(name: str, tmp_path: Path) -> None:
    function, groups, options = case(name)
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


def test_the_run_that_is_left_out_is_named_and_the_others_are_drawn() -> None:
    groups = given([RUN])
    groups["tiny"] = []
    groups.unavailable["tiny"], groups.group_of["tiny"] = REASON, "tiny"
    result = draw(fig2A, groups, {})
    assert result.summary.endswith(f"Left out: tiny, as {REASON}.")
    assert set(result.table["run"]) == {"vgg16"}


@pytest.mark.parametrize(
    ("settings", "before", "after"),
    [
        ({}, "", ""),
        ({"width": 1.0, "precision": "float32", "statistics_samples": 0}, "", ""),
        ({"width": 0.25}, "; width multiplier 0.25", ""),
        ({"test_samples": 90}, ", 90 test samples", ""),
        ({"record_samples": 100}, " (predictions kept of 100 of the training samples)", ""),
        ({"record_every": 1}, "", ""),
        ({"record_every": 2}, " (predictions kept at one record in 2)", ""),
        ({"precision": "bf16"}, "", "; products in bf16"),
        ({"statistics_samples": 1000}, "", f"; {BATCH_NORM}"),
        ({"statistics_samples": 1000, "network": "alexnet"}, "", ""),  # has no batch normalisation
        (
            {"width": 0.5, "precision": "bf16", "statistics_samples": 1000},
            "; width multiplier 0.5",
            f"; products in bf16; {BATCH_NORM}",
        ),
    ],
)
def test_the_caption_names_settings_that_are_not_the_papers(
    settings: dict[str, Any], before: str, after: str
) -> None:
    groups = given([run_of(**settings)])
    text = caption(ENTRY, draw(fig2A, groups, {}), groups, "laptop")
    size, epochs = (RUN.config[key] for key in ("batch_size", "epochs"))
    trained = f"; batches of {size}, at most {epochs} epochs"
    assert f"Data: CIFAR-100, 500 training samples{before}{trained}{after}.\n" in text


def test_the_caption_names_the_widths_of_all_runs() -> None:
    def text(*widths: float) -> str:
        groups = given([run_of(f"run{width}", width=width) for width in widths])
        return caption(ENTRY, draw(fig2A, groups, {}), groups, "laptop")

    assert "width multiplier 0.25 or 1;" in text(1.0, 0.25)
    assert "width multiplier 0.1 to 0.5;" in text(0.2, 0.5, 0.1)
