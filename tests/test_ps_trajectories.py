"""Trajectories of runs at equal progress, and the importance of settings for their distances."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_models import labels_of, made_up_runs
from made_up_trajectories import PLACE, given

from pipeline.analysis.importance import SETTINGS, importance
from pipeline.analysis.models import models
from pipeline.analysis.stored_models import stored_predictions
from pipeline.analysis.trajectories import between_configurations, trajectories
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.geometry.inpca import embed
from pipeline.geometry.progress import at_progress, progress, trajectory_distances, tube_widths
from pipeline.runs import RunGroups
from pipeline.store.reader import open_store
from pipeline.store.variables import validate

GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"network": "vit", "failed": (0,), "seeds": 2}],
    "adam": [{"optimizer": "adam_minibatch"}, {"network": "vit", "reach": 0.01}],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs = made_up_runs(tmp_path_factory.mktemp("runs"), GROUPS)
    return given(runs, tmp_path_factory.mktemp("results"), models=models(runs, {"seed": 0}))


@pytest.fixture(scope="module")
def found(data: RunGroups) -> xr.Dataset:
    result = trajectories(data, {"seed": 0, "split": "test", "values": 10}, PLACE)
    validate(result)
    return result


def moved(data: RunGroups) -> list[np.ndarray]:
    """The five trajectories that trained, at equal progress."""
    y, found = labels_of("test"), []
    for run in [*data["sgd"], data["adam"][0]]:
        p = np.square(stored_predictions(run, "test")["root_probabilities"].values.astype(float))
        for part in np.split(p, run.seeds):
            found.append(at_progress(part, progress(part, y), 10))
    return found


def test_only_networks_that_trained_are_compared(found: xr.Dataset) -> None:
    assert found["trajectory_run"].values.tolist() == [0, 0, 1, 2, 2]
    assert found["trajectory_seed"].values.tolist() == [0, 1, 1, 0, 1]
    assert found["configuration_run"].values.tolist() == [0, 1, 2]
    assert found.attrs["left_out"] == 2
    assert (found.attrs["split"], found.attrs["failed_seeds"]) == ("test", [0, 1, 0, 0])


def test_they_are_those_of_the_kernels(data: RunGroups, found: xr.Dataset) -> None:
    plain = trajectory_distances(moved(data))
    np.testing.assert_allclose(found["trajectory_distance"], plain, atol=1e-6)
    widths = tube_widths(moved(data)[:2])
    np.testing.assert_allclose(found["tube_width"][:2], widths, atol=1e-6)
    assert np.isnan(found["tube_width"].values[2]).all()  # a single seed has no tube
    other = embed(plain, 3)
    np.testing.assert_allclose(found["eigenvalue"][:3], other.eigenvalues, atol=1e-5)
    means = found["configuration_distance"].values
    assert means[0, 2] == pytest.approx(plain[:2, 3:].mean(), abs=1e-6)
    assert not means.diagonal().any()
    own = found["seed_distance"].values
    assert own[0] == pytest.approx(plain[0, 1], abs=1e-6)
    assert np.isnan(own[1])


def test_means_over_pairs_of_seeds() -> None:
    distances = np.array([[0.0, 1, 2, 6], [1, 0, 4, 8], [2, 4, 0, 3], [6, 8, 3, 0]])
    means, own = between_configurations(distances, np.array([3, 3, 3, 7]))
    np.testing.assert_allclose(means, [[0, 17 / 3], [17 / 3, 0]])
    np.testing.assert_allclose(own, [7 / 3, np.nan])


def test_too_few_that_trained_say_so(data: RunGroups, tmp_path: Path) -> None:
    options = {"seed": 0, "split": "train", "largest_error": -1.0}
    reason = "0 of 7 networks have a last train error of at most -1"
    with pytest.raises(NotMeasurable, match=reason):
        trajectories(data, options, PLACE)
    nothing = xr.Dataset(attrs={"unavailable": reason})
    with pytest.raises(NotMeasurable, match=reason):
        importance(given(data, tmp_path, trajectories=nothing), {"seed": 0}, PLACE)


@pytest.mark.parametrize(
    ("options", "text"),
    [({}, "split is None"), ({"split": "train", "typo": 1}, "has no options typo")],
)
def test_options_that_make_no_sense(data: RunGroups, options: dict[str, Any], text: str) -> None:
    with pytest.raises(PipelineError, match=text):
        trajectories(data, {"seed": 0, **options}, PLACE)
    with pytest.raises(PipelineError, match="No analysis with model_metrics"):
        trajectories(RunGroups(data), {"seed": 0, "split": "train"}, PLACE)


# --- importance -----------------------------------------------------------------------------------


def made_up(weights: dict[str, float], folder: Path) -> RunGroups:
    """16 configurations of 2 seeds, whose distances are sums of what their settings differ in."""
    configs = [
        {"network": network, "optimizer": optimizer, "batch_size": batch}
        for network in ("fc", "vit", "all_cnn", "conv_mixer")
        for optimizer in ("nesterov", "adam_minibatch")
        for batch in (10, 20)
    ]
    runs = made_up_runs(folder / "runs", {"sgd": [{"seeds": 1}]})
    base = runs["sgd"][0]
    group = [
        type(base)(**{**vars(base), "name": f"run_{k}", "config": {**base.config, **one}})
        for k, one in enumerate(configs)
    ]
    which = np.repeat(np.arange(len(configs)), 2)
    noise = np.abs(np.random.default_rng(1).normal(0, 0.01, (which.size, which.size)))
    distances = noise + noise.T
    for key, weight in weights.items():
        values = np.array([str(one[key]) for one in configs])[which]
        distances += weight * (values[:, None] != values)
    np.fill_diagonal(distances, 0)
    means, own = between_configurations(distances, which)
    result = xr.Dataset(
        {
            "trajectory_distance": (("trajectory", "other_trajectory"), distances),
            "trajectory_geodesic_distance": (
                ("trajectory", "progress_value"),
                np.full((which.size, 3), 0.3),
            ),
            "configuration_distance": (("configuration", "other_configuration"), means),
            "configuration_geodesic_distance": (("configuration",), np.full(len(configs), 0.3)),
            "seed_distance": (("configuration",), own),
        },
        coords={
            "trajectory_run": (("trajectory",), which),
            "trajectory_seed": (("trajectory",), np.tile([0, 1], len(configs))),
            "configuration_run": (("configuration",), np.arange(len(configs))),
        },
        attrs={"split": "train", "runs": [run.name for run in group]},
    )
    return given(RunGroups({"sgd": group}), folder, trajectories=result)


def test_the_setting_that_makes_distances_is_the_important_one(tmp_path: Path) -> None:
    data = made_up({"network": 1.0, "optimizer": 0.4}, tmp_path)
    options = {"seed": 0, "trees": 30, "folds": 3, "repeats": 3}
    found = importance(data, options, PLACE)
    validate(found)
    assert found.attrs["covariates"] == [*SETTINGS, "geodesic_distance"]
    assert found.attrs["varied"] == ["network", "optimizer", "batch_size"]
    assert found.attrs["seeds"] == [0, 1]
    for values in found["covariate_importance"].values:
        network, optimizer, batch, *rest = values
        assert network > optimizer > 0.1 > abs(batch)
        np.testing.assert_array_equal(rest, 0)  # they do not vary
    assert found["forest_score"].values.min() > 0.5
    again = importance(data, options, PLACE)
    np.testing.assert_array_equal(again["covariate_importance"], found["covariate_importance"])


def test_equal_distances_have_no_important_setting(tmp_path: Path) -> None:
    data = made_up({}, tmp_path / "made_up")
    found = open_store(data.folders["trajectories"], lazy=False)
    count = found.sizes["configuration"]
    equal = found["configuration_distance"] * 0 + 1 - np.eye(count)
    with_equal = given(data, tmp_path, trajectories=found.assign(configuration_distance=equal))
    with pytest.raises(NotMeasurable, match="all configurations are equally far apart"):
        importance(with_equal, {"seed": 0}, PLACE)
    seed = found["trajectory_seed"].values == 1
    apart = found["trajectory_distance"].copy(deep=True)
    apart.values[np.ix_(seed, seed)] = 1
    one = given(data, tmp_path / "one", trajectories=found.assign(trajectory_distance=apart))
    assert importance(one, {"seed": 0, "trees": 2, "folds": 2}, PLACE).attrs["seeds"] == [0]


def test_few_configurations_have_no_forest(
    data: RunGroups, found: xr.Dataset, tmp_path: Path
) -> None:
    with pytest.raises(
        NotMeasurable, match="3 configurations trained, too few for a random forest"
    ):
        importance(given(data, tmp_path, trajectories=found), {"seed": 0}, PLACE)
    with pytest.raises(PipelineError, match="needs one analysis of trajectories"):
        importance(RunGroups(data), {"seed": 0}, PLACE)
