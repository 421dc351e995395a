"""Distances of trajectories to the geodesic at equal progress: Fig. S7 and the claims about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from made_up_models import made_up_runs
from made_up_trajectories import GRID, alone, with_trajectories

from pipeline.analysis.trajectory_results import geodesic_distances_of
from pipeline.claims.measurement import check
from pipeline.claims.prediction_space import progress as claims
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.figures.prediction_space.advance import figS7
from pipeline.figures.save import caption, draw, save_figure
from pipeline.runs import RunGroups, all_runs

NAMES = ("trajectories_train", "trajectories_test")
ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec."}
GONE = xr.Dataset(attrs={"unavailable": "too few networks trained"})
CLAIMS = {
    "geodesic_far": claims.geodesic_far,
    "all_cnn_closest": claims.all_cnn_closest,
    "farther_on_test": claims.farther_on_test,
}
NETWORKS = ("fc", "all_cnn", "large_resnet")


@pytest.fixture(scope="module")
def grid(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return with_trajectories(tmp_path_factory.mktemp("grid"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    configs = [{"network": one, "batch_size": 200 if one != "fc" else 500} for one in NETWORKS]
    return made_up_runs(tmp_path_factory.mktemp("runs"), {"sgd": configs})


def known(runs: RunGroups, **distances: np.ndarray) -> RunGroups:
    """Two seeds of each network with given distances (6, 4) to the geodesic, at progress 0.25 to 1.

    The last trajectory reaches 0.6 only.
    """
    results = {}
    for split, values in distances.items():
        of_trajectory = ("trajectory",)
        results[f"trajectories_{split}"] = xr.Dataset(
            {
                "compared_progress": (("progress_value",), np.arange(1, 5) / 4),
                "trajectory_geodesic_distance": (("trajectory", "progress_value"), values),
                "trajectory_reached": (of_trajectory, np.array([1.0] * 5 + [0.6])),
            },
            coords={
                "trajectory_run": (of_trajectory, np.repeat(np.arange(3), 2)),
                "trajectory_seed": (of_trajectory, np.tile([0, 1], 3)),
            },
            attrs={
                "split": split,
                "largest_error": 0.1,
                "left_out": 4,
                "runs": [run.name for run in all_runs(runs)],
            },
        )
    return RunGroups(runs, results)


def ways() -> np.ndarray:
    peaks = np.array([0.3, 0.5, 0.08, 0.12, 0.6, 0.4])
    return np.outer(peaks, [0.5, 1.0, 0.2, 9.0]) * ([[1, 1, 1, 0.01]] * 5 + [[1, 1, 9, 9]])


@pytest.mark.parametrize("name", CLAIMS)
def test_every_claim_has_finite_numbers(name: str, grid: RunGroups) -> None:
    data = alone(grid, *NAMES)
    found = check(name, CLAIMS[name](data))
    assert found.interval is not None
    assert "2 others left out" in found.note
    with pytest.raises(NotMeasurable, match="too few networks trained"):
        CLAIMS[name](RunGroups(data, {"gone": GONE}))


def test_networks_that_did_not_train_do_not_count(grid: RunGroups) -> None:
    """One of the two ViTs stays near ignorance, and hence near the geodesic."""
    data = alone(grid, *NAMES)
    assert GRID["adam"][2]["reach"] < 0.1
    assert claims.geodesic_far(data).n == 13
    table = draw(figS7, data, {}).table
    assert table[table["network"] == "vit"]["n"].max() == 1
    assert table[table["network"] == "fc"]["n"].max() == 4


def test_beyond_what_it_reached_a_trajectory_has_no_distance(runs: RunGroups) -> None:
    found = known(runs, train=ways()).analyses["trajectories_train"]
    gone = np.isnan(geodesic_distances_of(found))
    assert gone.sum() == 2
    assert gone[5, 2:].all()


def test_peaks_are_the_largest_distances_at_equal_progress(runs: RunGroups) -> None:
    data = known(runs, train=ways())
    far = claims.geodesic_far(data)
    assert (far.value, far.n) == (pytest.approx(5 / 6), 6)
    assert "median 0.350, smallest 0.080" in far.note
    assert "6 networks with a train error of at most 0.1 at the end, 4 others left out" in far.note
    closest = claims.all_cnn_closest(data)
    assert closest.value == pytest.approx(0.1 - 0.4)
    assert closest.note.startswith("AllCNN 0.100; FC 0.400")
    assert claims.large_resnet_farthest(data).value == pytest.approx(0.5 - 0.4)
    fewer = RunGroups(runs, {"one": data.analyses["trajectories_train"].isel(trajectory=[0, 1])})
    with pytest.raises(NotMeasurable, match="Large ResNet and another architecture that trained"):
        claims.large_resnet_farthest(fewer)


def test_test_trajectories_against_training_ones(runs: RunGroups) -> None:
    data = known(runs, train=ways(), test=ways() + 0.25)
    found = claims.farther_on_test(data)
    assert (found.value, found.n) == (pytest.approx(0.25), 6)
    some = data.analyses["trajectories_test"].isel(trajectory=[5, 2])
    fewer = RunGroups(runs, {**data.analyses, "trajectories_test": some})
    assert claims.farther_on_test(fewer).n == 2  # matched by run and seed
    with pytest.raises(NotMeasurable, match="No trajectories of test samples were given"):
        claims.farther_on_test(known(runs, train=ways()))


def test_the_figure_shows_means_over_networks_of_one_batch_size(runs: RunGroups) -> None:
    result = draw(figS7, known(runs, train=ways(), test=ways() + 0.25), {})
    assert set(result.table["network"]) == {"all_cnn", "large_resnet"}
    train = result.table[result.table["split"] == "train"].set_index("network")
    np.testing.assert_allclose(train.loc["all_cnn", "distance"], ways()[2:4].mean(axis=0))
    resnet = train.loc["large_resnet"]
    assert resnet["n"].tolist() == [2, 2, 1, 1]
    np.testing.assert_allclose(resnet["distance"][:2], ways()[4:, :2].mean(axis=0))
    np.testing.assert_allclose(resnet["distance"][2:], ways()[4, 2:])
    assert "batches of 200: training: AllCNN 0.100" in result.summary
    assert [axes.get_title() for axes in result.fig.axes] == ["training", "test"]
    other = draw(figS7, known(runs, train=ways()), {"batch_size": 500})
    assert set(other.table["network"]) == {"fc"}
    whole = draw(figS7, known(runs, train=ways()), {"batch_size": 50})
    assert "all batch sizes (none has 50)" in whole.summary
    assert len(whole.fig.axes) == 1


def test_the_figure_can_be_saved_or_says_why_not(grid: RunGroups, tmp_path: Path) -> None:
    data = alone(grid, *NAMES)
    result = draw(figS7, data, {})
    text = caption(ENTRY, result, data, "laptop")
    assert "nan" not in text
    assert all(path.stat().st_size > 0 for path in save_figure(result, tmp_path / "S7", text))
    said = draw(figS7, RunGroups(data, {"gone": GONE}), {}).summary
    assert said == "Nothing could be drawn: too few networks trained."
    with pytest.raises(PipelineError, match="No analysis with trajectory_geodesic_distance"):
        draw(figS7, RunGroups(data, {"other": xr.Dataset()}), {})
    with pytest.raises(PipelineError, match="figS7 has no options colour; valid are: batch_size"):
        draw(figS7, data, {"colour": "red"})
