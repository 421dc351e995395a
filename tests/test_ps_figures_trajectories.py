"""Figures and claims of trajectories, starts from random labels and centroids, from made-up runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_up_models import UPDATES
from made_up_trajectories import alone, with_starts, with_trajectories

from pipeline.analysis.trajectory_results import median_distance
from pipeline.claims.measurement import Measurement, check, jackknife_measurement
from pipeline.claims.prediction_space import centroids as centroid_claims
from pipeline.claims.prediction_space import starts as start_claims
from pipeline.claims.prediction_space import trajectories as claims
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.figures.prediction_space.centroids import centroids
from pipeline.figures.prediction_space.starts import starts
from pipeline.figures.prediction_space.trajectories import (
    dendrogram,
    importance,
    merge_table,
    nearest_alike,
    trajectory_embedding,
)
from pipeline.figures.prediction_space.tubes import tubes
from pipeline.figures.save import FigureResult, caption, draw, save_figure
from pipeline.runs import RunGroups

ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec. 4"}
Figure = Callable[[RunGroups, dict[str, Any]], FigureResult]
CASES: dict[str, tuple[Figure, tuple[str, ...], dict[str, Any]]] = {
    "7a": (dendrogram, ("trajectories_train",), {}),
    "7b": (trajectory_embedding, ("trajectories_train",), {}),
    "7c": (importance, ("importance_train",), {}),
    "S5": (tubes, ("trajectories_train", "trajectories_test"), {"by": "augmentation"}),
    "S6": (tubes, ("trajectories_train", "trajectories_test"), {}),
    "10a": (starts, ("starts",), {"geodesics": False}),
    "10b": (starts, ("starts",), {"panels": ["second", "merging"]}),
    "10_one": (starts, ("starts",), {"panels": ["merging"]}),
    "S13": (centroids, ("centroids",), {}),
}
GONE = xr.Dataset(attrs={"unavailable": "too few networks trained"})


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return with_trajectories(tmp_path_factory.mktemp("grid"), largest_error=0.2)


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return with_starts(tmp_path_factory.mktemp("starts"))


def given(
    name: str, grid: RunGroups, started: RunGroups
) -> tuple[Figure, RunGroups, dict[str, Any]]:
    function, names, options = CASES[name]
    return function, alone(grid if names[0] in grid.analyses else started, *names), options


@pytest.mark.parametrize("name", CASES)
def test_every_figure_can_be_saved(
    name: str, grid: RunGroups, started: RunGroups, tmp_path: Path
) -> None:
    function, data, options = given(name, grid, started)
    result = draw(function, data, options)
    assert len(result.table)
    assert not result.table.isna().any().any()
    text = caption(ENTRY, result, data, "laptop")
    assert "nan" not in text
    assert "()" not in text
    for path in save_figure(result, tmp_path / name, text):
        assert path.stat().st_size > 0
    assert any(axes.get_xlabel() for axes in result.fig.axes)


@pytest.mark.parametrize("name", CASES)
def test_what_cannot_be_drawn_says_why(name: str, grid: RunGroups, started: RunGroups) -> None:
    function, data, options = given(name, grid, started)
    with pytest.raises(PipelineError, match="has no options colour"):
        draw(function, data, {"colour": "red"})
    empty = RunGroups(data, {"gone": GONE})
    said = draw(function, empty, options).summary
    assert said == "Nothing could be drawn: too few networks trained."
    with pytest.raises(PipelineError, match="No analysis with"):
        draw(function, RunGroups(data, {"other": xr.Dataset()}), options)
    with pytest.raises(PipelineError, match="name it in the entry's key analyses"):
        draw(function, RunGroups(data), options)


def test_the_dendrogram_holds_all_configurations_and_the_geodesic(grid: RunGroups) -> None:
    data = alone(grid, "trajectories_train")
    found, result = data.analyses["trajectories_train"], draw(dendrogram, data, {})
    leaves = [text.get_text() for text in result.fig.axes[0].get_yticklabels()]
    assert len(leaves) == found.sizes["configuration"] + 1 == 8
    assert "FC, SGD, Nesterov, augmented" in leaves
    assert "geodesic" in leaves
    distances = found["configuration_distance"].values
    everything = max(distances.max(), found["configuration_geodesic_distance"].values.max())
    assert result.table["distance"].iloc[-1] == pytest.approx(everything)  # complete linkage
    assert result.table["leaves"].iloc[-1] == 8
    assert "2 others left out" in result.summary


def test_merges_are_named() -> None:
    links = np.array([[0, 2, 0.1, 2], [1, 3, 0.5, 3]])
    table = merge_table(links, ["a", "b", "geodesic"])
    assert table[["first", "second"]].values.tolist() == [["a", "geodesic"], ["b", "merge 0"]]


def test_nearest_of_the_same_network() -> None:
    distances = np.array([[0, 1, 3, 9], [1, 0, 2, 9], [3, 2, 0, 9], [9, 9, 9, 0.0]])
    assert nearest_alike(distances, np.array(["fc", "fc", "vit", "vit"])) == (2, 4)
    assert nearest_alike(distances, np.array(["fc", "fc", "vit", "all_cnn"])) == (2, 2)
    seeds = np.array([0, 0, 1, 2])  # the first two are seeds of one configuration
    assert nearest_alike(distances, np.array(["fc", "fc", "fc", "vit"]), seeds) == (3, 3)
    assert nearest_alike(distances, np.array(["fc", "fc", "vit", "fc"]), seeds) == (1, 3)


def test_tubes_are_of_configurations_with_several_seeds(grid: RunGroups) -> None:
    data = alone(grid, "trajectories_train", "trajectories_test")
    table = draw(tubes, data, {}).table
    assert set(table["kind"]) == {"fc", "all_cnn", "conv_mixer"}  # one ViT diverged
    assert table[table["kind"] == "fc"]["n"].unique().tolist() == [4]
    both = draw(tubes, data, {"by": "augmentation"}).table
    assert both.groupby("kind")["n"].first().to_dict() == {"crop_flip": 1, "none": 1}
    with pytest.raises(PipelineError, match="by is 'seed'; valid are network and augmentation"):
        draw(tubes, data, {"by": "seed"})


def test_starts_show_all_networks(started: RunGroups) -> None:
    data = alone(started, "starts")
    result = draw(starts, data, {})
    counts = result.table.groupby("stage")[["run", "seed"]].apply(
        lambda t: len(t.drop_duplicates())
    )
    assert counts.to_dict() == {"reference": 3, "random": 2, "true": 4}
    assert result.page is not None
    assert "of 4 networks come and stay within 0.15" in result.summary
    with pytest.raises(
        PipelineError, match="panels names fourth; valid are: second, third, merging"
    ):
        draw(starts, data, {"panels": ["fourth"]})


def test_hovering_names_network_settings_and_error_of_starts(started: RunGroups) -> None:
    page = draw(starts, alone(started, "starts", "starts_models"), {}).page
    assert page is not None
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    labels = {one["name"]: one["labels"] for one in json.loads(found[1])["clouds"]}
    number = r"\d(\.\d+)?(e-\d+)?"
    ends = rf"seed 0, epoch 5, train error {number}, progress \d\.\d\d"
    for name, settings in (
        ("ensemble_0", "FC, SGD, batch 10, rate 0.1"),
        ("first_labels_1", "FC, SGD, batch 10, rate 0.1, random labelling 0"),
        ("then_true_3", "FC, SGD, batch 10, rate 0.1, after first_labels_1"),
    ):
        assert re.fullmatch(f"{settings}, {ends}", labels[name][len(UPDATES) - 1])


def test_tubes_are_compared_of_equal_configurations(grid: RunGroups) -> None:
    """Of FC only Nesterov's momentum was used with and without augmentation."""
    data = alone(grid, "trajectories_train", "trajectories_test")
    result = draw(tubes, data, {"by": "augmentation"})
    found = data.analyses["trajectories_train"]
    names = np.array(found.attrs["runs"])[found["trajectory_run"].values]
    widths = found["tube_width"].values
    for kind, run in (("none", "sgd_1"), ("crop_flip", "sgd_2")):
        mine = result.table.query(f"kind == '{kind}' and split == 'train'")
        np.testing.assert_allclose(mine["tube_width"], np.median(widths[names == run], axis=0))
    assert "trained both ways, all other settings equal: 1 configurations" in result.summary
    assert "of 2 seeds" in result.summary
    assert "fewer seeds give smaller widths" in result.summary
    assert "2 seeds each" in claims.median_tube_width(alone(grid, "trajectories_train")).note


def test_the_centroids_of_all_kinds_are_drawn(started: RunGroups) -> None:
    result = draw(centroids, alone(started, "centroids"), {})
    ends: pd.DataFrame = result.table[result.table["split"] == "test"].groupby("of").last()
    assert len(ends) == 7
    assert "The harmonic mean has" in result.summary
    assert f"harmonic mean {ends.loc['harmonic', 'progress']:.3f}" in result.summary


# --- claims ---------------------------------------------------------------------------------------

CLAIMS: dict[str, tuple[Callable[[RunGroups], Measurement], str]] = {
    "network_importance": (claims.network_importance, "importance_train"),
    "optimisation_importance": (claims.optimisation_importance, "importance_train"),
    "tube_width": (claims.median_tube_width, "trajectories_train"),
    "convolutional_diameter": (claims.convolutional_diameter, "trajectories_train"),
    "other_diameter": (claims.other_diameter, "trajectories_train"),
    "geodesic_distance": (claims.geodesic_distance_ratio, "trajectories_train"),
    "starts_stress": (start_claims.starts_stress, "starts"),
    "starts_merging": (start_claims.merging_progress, "starts"),
    "starts_ignorance": (start_claims.least_ignorance_distance, "starts"),
    "harmonic_progress": (centroid_claims.harmonic_progress, "centroids"),
    "harmonic_error": (centroid_claims.harmonic_error, "centroids"),
}
WITHOUT_INTERVAL = ("convolutional_diameter", "other_diameter", "starts_stress")


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_finite_numbers(name: str, grid: RunGroups, started: RunGroups) -> None:
    function, analysis = CLAIMS[name]
    data = alone(grid if analysis in grid.analyses else started, analysis)
    found = check(name, function(data))
    assert found.note
    assert found.n > 1
    if name in WITHOUT_INTERVAL:
        assert found.interval is None
    else:
        assert found.interval is not None
        assert found.interval[0] <= found.value <= found.interval[1]
    with pytest.raises(NotMeasurable, match="too few networks trained"):
        function(RunGroups(data, {"gone": GONE}))


def test_numbers_of_claims_are_those_of_the_results(grid: RunGroups, started: RunGroups) -> None:
    data = alone(grid, "trajectories_train")
    found = data.analyses["trajectories_train"]
    widths = found["tube_width"].values
    assert claims.median_tube_width(data).value == pytest.approx(np.nanmedian(widths))
    distances = found["configuration_distance"].values
    assert claims.convolutional_diameter(data).value == distances[3, 4]
    far = found["configuration_geodesic_distance"].values
    ratio = far.min() / median_distance(distances)
    assert claims.geodesic_distance_ratio(data).value == pytest.approx(ratio)
    some = started.analyses["starts"]["merging_progress"].values
    value = start_claims.merging_progress(alone(started, "starts")).value
    assert value == pytest.approx(np.nanmean(some))


def test_settings_that_do_not_vary_are_not_measured(grid: RunGroups) -> None:
    data = alone(grid, "importance_train")
    one = data.analyses["importance_train"].assign_attrs(varied=["network", "optimizer"])
    with pytest.raises(NotMeasurable, match="differ in weight_decay, augmentation"):
        claims.optimisation_importance(RunGroups(data, {"importance": one}))


@pytest.mark.parametrize(
    ("values", "weights", "middle"),
    [
        ([3.0, 1, 2], [1.0, 1, 1], 2.0),
        ([3.0, 1, 2, 4], [1.0, 1, 1, 1], 2.5),
        ([3.0, 1, 2], [0.0, 3, 1], 1.0),
        ([5.0, 1], [2.0, 2], 3.0),
    ],
)
def test_weighted_median(values: list[float], weights: list[float], middle: float) -> None:
    repeated = np.repeat(values, np.array(weights, dtype=int))
    assert np.median(repeated) == middle
    assert claims.weighted_median(np.array(values), np.array(weights)) == middle


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    values = np.array([1.0, 2, 4, 9])
    lefts = np.array([np.delete(values, k).mean() for k in range(4)])
    found = jackknife_measurement(values.mean(), lefts, False, "")
    assert found.interval is not None
    half = 3.1824463 * values.std(ddof=1) / 2
    assert found.interval[1] - found.value == pytest.approx(half)
