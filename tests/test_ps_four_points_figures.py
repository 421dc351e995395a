"""Figures and claims of the four-point embedding, from made-up runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_models import made_up_runs
from test_ps_four_points import RECORD, written

from pipeline.analysis.distances import distances
from pipeline.analysis.four_points import four_points
from pipeline.analysis.models import models
from pipeline.claims.prediction_space import four_points as claims
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.figures.prediction_space.four_points import explained, picture, projections
from pipeline.figures.save import caption, draw, save_figure
from pipeline.runs import Place, RunGroups

FIGURES = {"11": explained, "12a": picture, "12b": projections}
ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Discussion"}
GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"network": "all_cnn", "reach": 5.0},
        {"network": "small_resnet"},
        {"network": "conv_mixer", "failed": (0,), "seeds": 3},
        {"network": "fc"},
    ],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("figures")
    runs = made_up_runs(folder, GROUPS)
    matrix = Place(folder / "matrix", folder / "cache", RECORD, 1)
    distances(runs, {"seed": 0, "split": "train", "side": 64}, matrix)
    metrics = written(folder / "models", models(runs, {"seed": 0}))
    runs.folders = {"models": metrics, "distances_train": matrix.folder}
    found = four_points(runs, {"seed": 0, "at": [[0.4, 0.7], [0.3, 0.6]]})
    return RunGroups(runs, {"four_points": found})


def changed(data: RunGroups, found: xr.Dataset) -> RunGroups:
    return RunGroups(data, {"four_points": found})


def undefined(data: RunGroups) -> RunGroups:
    """The same where no model was near the points."""
    found = data.analyses["four_points"]
    names = ("rmsd", "inpca", "place", "eigenvalue", "explained", "reached")
    gone = {f"four_point_{name}": found[f"four_point_{name}"] * np.nan for name in names}
    attrs = {"undefined": ["No model has a progress near 0.4."] * 2}
    return changed(data, found.assign(gone).assign_attrs(attrs))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_saved(name: str, data: RunGroups, tmp_path: Path) -> None:
    result = draw(FIGURES[name], data, {})
    assert not result.table.select_dtypes("number").isna().any().any()
    text = caption(ENTRY, result, data, "laptop")
    assert "nan" not in text
    paths = save_figure(result, tmp_path / name, text, interactive=name == "12a")
    assert all(path.stat().st_size for path in paths)
    if name == "12a":
        assert "Small ResNet" in str(result.page)


@pytest.mark.parametrize("name", FIGURES)
def test_without_models_near_they_say_so(name: str, data: RunGroups, tmp_path: Path) -> None:
    result = draw(FIGURES[name], undefined(data), {})
    assert "No model has a progress near 0.4." in result.summary
    text = caption(ENTRY, result, data, "laptop")
    save_figure(result, tmp_path / name, text, interactive=name == "12a")


def test_the_curves_are_what_was_measured(data: RunGroups) -> None:
    found, result = data.analyses["four_points"], draw(explained, data, {})
    table = result.table.set_index("embedding")["explained"]
    np.testing.assert_array_equal(table["all models"], found["explained_distance"].values[:10])
    for choice, name in enumerate(("four points, s = 0.4, 0.7", "four points, s = 0.3, 0.6")):
        np.testing.assert_array_equal(table[name], found["four_point_explained"].values[choice])
    axes = result.fig.axes[0]
    assert axes.get_xlabel() == "dimensions"
    assert axes.get_ylabel() == "explained pairwise distance"
    assert (
        "4 runs (AllCNN, SGD, batch 10, rate 0.1; Small ResNet, SGD, batch 10, rate 0.1; Conv"
        in result.summary
    )
    assert "both embeddings are of these models alone" in result.summary


def test_open_markers_are_time_like(data: RunGroups) -> None:
    found = data.analyses["four_points"].copy(deep=True)
    found["signature"].values[:3] = [1, -1, 1]
    lines = draw(explained, changed(data, found), {}).fig.axes[0].get_lines()
    hollow = next(line for line in lines if line.get_markerfacecolor() == "white")
    assert 2 in hollow.get_xdata()  # of all models, drawn first
    assert 1 not in hollow.get_xdata()


def test_the_planes_hold_all_models_of_both(data: RunGroups) -> None:
    found, result = data.analyses["four_points"], draw(projections, data, {})
    for name, wanted in (
        ("all models", found["inpca"].values[:, :3]),
        ("four points", found["four_point_inpca"].values[0]),
    ):
        mine = result.table[result.table["embedding"] == name]
        np.testing.assert_array_equal(mine[["pc1", "pc2", "pc3"]], wanted)
    assert [axes.get_xlabel() for axes in result.fig.axes[3:]] == ["PC 1", "PC 1", "PC 2"]
    assert f"RMSD after alignment {float(found['four_point_rmsd'][0]):.3f}" in result.summary


@pytest.mark.parametrize("name", FIGURES)
def test_without_a_result_they_say_why(name: str, data: RunGroups) -> None:
    gone = xr.Dataset(attrs={"unavailable": "no run of this scale has network all_cnn"})
    summary = draw(FIGURES[name], RunGroups(data, {"four_points": gone}), {}).summary
    assert summary == "Nothing could be drawn: no run of this scale has network all_cnn."
    with pytest.raises(NotMeasurable, match="no run of this scale has"):
        claims.rmsd(RunGroups(data, {"four_points": gone}))


def test_hovering_shows_settings_and_error(data: RunGroups) -> None:
    known = models(RunGroups(data), {"seed": 0})
    page = draw(picture, RunGroups(data, {**data.analyses, "models": known}), {}).page
    assert page is not None
    told = re.findall(r'"(AllCNN, SGD, batch 10, rate 0.1, seed \d, epoch [^"]*)"', page)
    assert told
    assert all(re.search(r"train error \d", label) for label in told)


@pytest.mark.parametrize("name", FIGURES)
def test_unknown_options_are_refused(name: str, data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="has no options colour; valid are: none"):
        draw(FIGURES[name], data, {"colour": "red"})


def test_the_deviation_and_its_interval(data: RunGroups) -> None:
    found, measured = data.analyses["four_points"], claims.rmsd(data)
    assert measured.value == pytest.approx(float(found["four_point_rmsd"][0]))
    assert measured.n == 8
    assert measured.interval is not None
    assert measured.interval[0] <= measured.value <= measured.interval[1]


def test_gaps_and_signs(data: RunGroups) -> None:
    found = data.analyses["four_points"].copy(deep=True)
    found["explained_distance"].values[2] = 0.9
    found["four_point_explained"].values[0, 2] = 0.7
    found["signature"].values[:3] = [1, -1, 1]
    found["four_point_signature"].values[0] = [1, -1, -1]
    assert claims.explained_gap(changed(data, found)).value == pytest.approx(0.2)
    assert claims.same_signs(changed(data, found)).value == pytest.approx(2 / 3)


def test_residual_networks_near_the_mixer(data: RunGroups) -> None:
    """Networks at places of their own: Small ResNet 1 from ConvMixer, 4 from FC."""
    found = data.analyses["four_points"].copy(deep=True)
    run = found["model_run"].values
    for number, place in enumerate([7.0, 0.0, 1.0, -4.0]):
        found["four_point_inpca"].values[0][run == number] = [place, 0.0, 0.0]
    measured = claims.residual_near_mixer(changed(data, found))
    assert measured.value == pytest.approx(0.25)
    assert measured.interval == pytest.approx((0.25, 0.25))
    fewer = RunGroups({"sgd": data["sgd"][:3]}, {"four_points": found})
    with pytest.raises(NotMeasurable, match="one is missing"):
        claims.residual_near_mixer(fewer)


@pytest.mark.parametrize("name", ["rmsd", "explained_gap", "same_signs", "residual_near_mixer"])
def test_claims_without_points_are_not_measurable(name: str, data: RunGroups) -> None:
    with pytest.raises(NotMeasurable, match="No model has a progress near"):
        getattr(claims, name)(undefined(data))
