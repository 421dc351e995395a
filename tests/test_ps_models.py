"""Figures of the metrics of all models: known tables, labels, missing networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from made_up_models import CLASSES, UPDATES, labels_of, made_up_runs
from made_up_predictions import plain_distances

from pipeline.analysis.model_table import (
    away_models,
    end_models,
    model_table,
    paired_progress,
)
from pipeline.analysis.models import metric, models
from pipeline.analysis.stored_models import stored_predictions
from pipeline.claims.prediction_space.models import away_come_back
from pipeline.errors import PipelineError
from pipeline.figures.prediction_space.advance import correlation, fig8, fig9a, fig9b
from pipeline.figures.prediction_space.away import fig4a, fig4b
from pipeline.figures.prediction_space.networks import figS1, figS2, figT1
from pipeline.figures.save import FigureResult, caption, draw, save_figure
from pipeline.geometry.progress import geodesic, geodesic_distances
from pipeline.runs import RunGroups, all_runs

IMAGENET = Path(__file__).parents[1] / "config/prediction_space/imagenet.yaml"
ADAM = {"optimizer": "adam_minibatch"}
GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [
        {"network": "fc"},
        {"network": "small_resnet", "reach": 3.0},
        {"network": "large_resnet", "failed": (1,), "seeds": 3},
        {"network": "vit", "optimizer": "nesterov", "batch_size": 1000},
    ],
    "adam": [{**ADAM, "network": "small_resnet"}, {**ADAM, "network": "vit", "failed": (0,)}],
}
FIGURES: dict[str, Callable[[RunGroups, dict[str, Any]], FigureResult]] = {
    "T1": figT1,
    "4a": fig4a,
    "4b": fig4b,
    "8": fig8,
    "9a": fig9a,
    "9b": fig9b,
    "S1": figS1,
}
ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec."}
MODELS = len(UPDATES)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    found = made_up_runs(tmp_path_factory.mktemp("runs"), GROUPS)
    found.analyses["models"] = models(found, {"seed": 0})
    return found


@pytest.fixture(scope="module")
def initial(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    runs = [{"statistics": one, "network": "fc"} for one in ("running", "initial")]
    found = made_up_runs(tmp_path_factory.mktemp("runs"), {"batch_norm": runs})
    found.analyses["models_batch_norm"] = models(found, {"seed": 0})
    return found


@pytest.fixture
def table(data: RunGroups) -> pd.DataFrame:
    return model_table(data.analyses["models"], all_runs(data))


def moved_away(data: RunGroups, run: int, count: int) -> RunGroups:
    """The same with dB to the truth of the first models of a run raised to 3, on train samples."""
    found = data.analyses["models"].copy(deep=True)
    mine = np.flatnonzero(found["model_run"].values == run)[:count]
    found["model_metrics"].values[1, 0, mine] = 3.0
    return RunGroups(data, {"models": found})


# --- the table ------------------------------------------------------------------------------------


def test_the_table_has_each_models_settings_and_metrics(
    data: RunGroups, table: pd.DataFrame
) -> None:
    found = data.analyses["models"]
    assert len(table) == found.sizes["model"] == 11 * MODELS
    for split in ("train", "test"):
        for name in ("error", "progress", "truth_distance", "ignorance_distance"):
            np.testing.assert_array_equal(table[f"{split}_{name}"], metric(found, name, split))
    assert table["network"].value_counts().to_dict() == {
        "small_resnet": 4 * MODELS,
        "vit": 3 * MODELS,
        "fc": 2 * MODELS,
        "large_resnet": 2 * MODELS,
    }
    assert set(table["learning_rate"]) == {0.1}
    ends = end_models(table)
    assert (ends["update"] == UPDATES[-1]).all()
    assert len(ends) == 11


def test_runs_of_the_analysis_must_be_given(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="holds the runs adam_4, adam_5, which are not given"):
        model_table(data.analyses["models"], data["sgd"])


def test_learning_rates_per_sample_count_by_batch(data: RunGroups) -> None:
    run = data["sgd"][0]
    config = {**run.config, "learning_rate": None, "learning_rate_per_sample": 5e-4}
    runs = [type(run)(run.name, config, run.trajectories, run.inversion), *all_runs(data)[1:]]
    found = model_table(data.analyses["models"], runs)
    assert found["learning_rate"].iloc[0] == pytest.approx(0.005)


def test_distances_to_the_geodesic_are_those_to_its_point_of_equal_progress(
    data: RunGroups, table: pd.DataFrame
) -> None:
    y = labels_of("train")
    flat, told = np.full((y.size, CLASSES), 1 / CLASSES), np.eye(CLASSES)[y]
    points = geodesic(flat, told, np.linspace(0, 1, 1001))
    run = data["sgd"][0]
    p = np.square(stored_predictions(run, "train")["root_probabilities"].values.astype(float))
    roots = np.einsum("inc,jnc->ijn", np.sqrt(p), np.sqrt(points))
    nearest = points[np.arccos(np.clip(roots, 0, 1)).mean(axis=2).argmin(axis=1)]
    expected = np.diag(plain_distances(p, nearest))
    found = table[table["run"] == run.name]["train_geodesic_distance"]
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert (found > 1e-4).all()
    assert geodesic_distances(points[::200], y) == pytest.approx(0, abs=1e-9)


def test_the_larger_network_is_paired_by_configuration_seed_and_update(
    table: pd.DataFrame,
) -> None:
    paired = paired_progress(table, "small_resnet", "large_resnet", "train")
    assert paired["seed"].unique().tolist() == [0]  # 1 failed, 2 is not the smaller network's
    assert paired["update"].tolist() == list(UPDATES)
    assert set(paired["optimizer"]) == {"sgd_minibatch"}
    one = table[(table["network"] == "large_resnet") & (table["seed"] == 0)]
    np.testing.assert_array_equal(paired["larger"], one["train_progress"])
    assert paired_progress(table, "conv_mixer", "large_resnet", "train").empty


# --- figures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_saved(name: str, data: RunGroups, tmp_path: Path) -> None:
    result = draw(FIGURES[name], data, {})
    assert len(result.table)
    text = caption(ENTRY, result, data, "laptop")
    assert "nan" not in text
    assert all(axes.get_ylabel() or axes.get_xlabel() for axes in result.fig.axes)
    paths = save_figure(result, tmp_path / name, text)
    assert all(path.stat().st_size > 0 for path in paths)
    with pytest.raises(PipelineError, match="has no options colour; valid are: "):
        draw(FIGURES[name], data, {"colour": "red"})


@pytest.mark.parametrize("name", ["T1", "4a", "4b", "8", "9a", "9b"])
def test_without_its_analysis_a_figure_is_refused(name: str, data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="No analysis with model_metrics"):
        draw(FIGURES[name], RunGroups(data), {})


def test_table_1_has_medians_and_ranges_beside_the_papers(
    data: RunGroups, table: pd.DataFrame
) -> None:
    paper = {"vit": {"test": [32.7, 21.7, 36.2]}}
    found = draw(figT1, data, {"paper": paper}).table.set_index(["split", "network"])
    errors = 100 * end_models(table).query("network == 'small_resnet'")["test_error"]
    row = found.loc[("test", "small_resnet")]
    assert (row["median"], row["low"], row["high"]) == (
        errors.median(),
        errors.min(),
        errors.max(),
    )
    assert row["n"] == 4
    assert np.isnan(row["paper_median"])
    assert found.loc[("test", "vit"), "paper_high"] == 36.2
    assert np.isnan(found.loc[("train", "vit"), "paper_median"])
    assert list(found.index.get_level_values(1)[:4]) == [
        "fc",
        "small_resnet",
        "large_resnet",
        "vit",
    ]


def test_table_1_has_a_half_for_imagenet(tmp_path: Path) -> None:
    entry = yaml.safe_load(IMAGENET.read_text("utf-8"))["prediction_space"]["figures"][
        "T1_imagenet"
    ]
    assert entry["function"].endswith("networks:figT1")
    configs = [{"network": one} for one in ("blur_resnet18", "blur_resnet50")]
    runs = made_up_runs(tmp_path, {"imagenet": configs, "imagenet_vit": [{"network": "vit_small"}]})
    runs.analyses["models_all_imagenet"] = models(runs, {"seed": 0})
    result = draw(figT1, runs, entry["options"])
    found = result.table.set_index(["split", "network"])
    assert found.loc[("test", "vit_small"), "paper_high"] == 42.2
    assert found["paper_median"].tolist() == [22.7, 15.8, 16.6, 31.9, 25.2, 41.5]
    assert "ResNet-18 (n = 2) train" in result.summary
    gone = RunGroups({"imagenet": []}, {}, {"blur_resnet18": "no folder of ImageNet"})
    assert "no folder of ImageNet" in draw(figT1, gone, entry["options"]).summary


def test_models_away_are_counted_by_network_and_optimiser(data: RunGroups) -> None:
    nothing = draw(fig4a, data, {})
    assert "no network leaves the manifold" in nothing.summary
    assert nothing.table["away"].sum() == 0
    there = moved_away(moved_away(data, 3, 5), 4, 2)  # ViT with Nesterov, Small ResNet with Adam
    result = draw(fig4a, there, {})
    found = result.table.set_index(["network", "optimizer"])
    assert found.loc[("vit", "nesterov"), "away"] == 5
    assert found.loc[("vit", "nesterov"), "away_batch_above_500"] == 5
    assert found.loc[("small_resnet", "adam_minibatch"), "away"] == 2
    assert found["away"].sum() == 7
    assert found["models"].sum() == 11 * MODELS
    assert "Small ResNet 2, 2 of them with Adam" in result.summary
    bins = draw(fig4b, there, {})
    counts = bins.table.groupby("from_epoch")["away"].sum().to_dict()
    # updates 0, 2, 4, 8, 12 and 0, 2, of 4 an epoch
    assert counts == {0: 4, 1: 1, 2: 2, 5: 0}
    assert "Adam has 29 % of them, at epoch 0.25" in bins.summary
    assert "SGD with batches above 500 71 %, at epoch 1" in bins.summary


def test_training_errors_of_at_most_one_per_cent_count_as_zero(data: RunGroups) -> None:
    there = moved_away(moved_away(data, 3, 5), 4, 2)
    found = there.analyses["models"]
    last = found["model_update"].values == UPDATES[-1]
    errors = found["model_metrics"].values[0, 0]
    errors[last & (found["model_run"].values == 3)] = 0.01
    errors[last & (found["model_run"].values == 4)] = 0.011
    summary = draw(fig4a, there, {}).summary
    assert "1 of these 2 networks end with a training error of at most 1 %" in summary
    share = away_come_back(there)
    assert share.value == pytest.approx(0.5)


def test_models_at_initialisation_alone_have_no_lead(data: RunGroups) -> None:
    found = data.analyses["models"]
    only = found.isel(model=np.flatnonzero(found["model_update"].values == 0))
    for figure in (fig9a, fig9b):
        summary = draw(figure, RunGroups(data, {"models": only}), {}).summary
        assert "nan" not in summary
        assert "recorded of both at initialisation only" in summary


def test_correlations(table: pd.DataFrame) -> None:
    line = pd.DataFrame({"x": [0.0, 1, 2], "y": [1.0, 0, -1], "flat": 1.0})
    assert correlation(line, "x", "y") == pytest.approx(-1)
    assert np.isnan(correlation(line, "x", "flat"))
    assert correlation(table, "train_progress", "train_error") < -0.5


def test_the_larger_network_against_the_smaller(data: RunGroups, table: pd.DataFrame) -> None:
    result = draw(fig9a, data, {"larger": "vit"})
    assert "ViT against Small ResNet" in result.summary
    paired = paired_progress(table, "small_resnet", "vit", "train")
    mine = result.table[result.table["split"] == "train"]
    np.testing.assert_allclose(mine["larger"], paired["larger"])  # one seed: means are its values
    empty = draw(fig9b, data, {"smaller": "conv_mixer"})
    assert empty.summary.startswith("Nothing could be drawn: ConvMixer and Large ResNet have no")


def test_failed_networks_are_counted(data: RunGroups) -> None:
    result = draw(figS1, data, {})
    found = result.table.set_index("network")
    assert found["failed"].to_dict() == {"fc": 0, "small_resnet": 0, "large_resnet": 1, "vit": 1}
    assert found["started"].to_dict() == {"fc": 2, "small_resnet": 4, "large_resnet": 3, "vit": 4}
    assert result.summary.startswith("2 of 13 networks (15.4 %) did not finish")
    whole = RunGroups({"sgd": data["sgd"][:2]})
    assert draw(figS1, whole, {}).summary.startswith("All 4 networks finished")


def test_initial_distances_are_in_units_of_the_whole_way(initial: RunGroups) -> None:
    result = draw(figS2, initial, {})
    found = metric(initial.analyses["models_batch_norm"], "ignorance_distance", "train")
    expected = found[::MODELS] / (np.log(CLASSES) / 2)
    np.testing.assert_allclose(result.table["train_relative"], expected)
    assert result.table["statistics"].tolist() == ["running"] * 2 + ["initial"] * 2
    assert "FC" in result.summary
    assert "The two kinds have different random weights" in result.summary


def test_one_network_of_each_kind_is_enough(data: RunGroups, tmp_path: Path) -> None:
    only = RunGroups({"sgd": data["sgd"][:1]})
    only.analyses["models"] = models(only, {"seed": 0})
    for name, function in FIGURES.items():
        result = draw(function, only, {})
        assert "nan" not in result.summary
        save_figure(result, tmp_path / name, caption(ENTRY, result, only, "smoke"))


def test_away_is_above_two() -> None:
    found = pd.DataFrame({"train_truth_distance": [1.9, 2.0, 2.1]})
    assert away_models(found)["train_truth_distance"].tolist() == [2.1]
