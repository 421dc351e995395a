"""Claims of prediction space on made-up results whose numbers are known, so that nothing can be swapped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from made_up_models import CONFIG, UPDATES, made_up_runs

from pipeline.analysis.importance import GEODESIC, SETTINGS
from pipeline.analysis.models import models
from pipeline.claims.measurement import Measurement, check
from pipeline.claims.prediction_space import centroids, imagenet, progress, starts, trajectories
from pipeline.errors import NotMeasurable
from pipeline.runs import Run, RunGroups

Claim = Callable[[RunGroups], Measurement]
T = {1: 12.7062047, 3: 3.1824463, 8: 2.3060041}  # quantiles 0.975 of Student's t


def run_of(network: str, number: int = 0) -> Run:
    """A run of which nothing but its settings is known."""
    return Run(f"run_{number}", {**CONFIG, "network": network}, xr.Dataset(), xr.Dataset())


def given(runs: list[Run] | None = None, **results: xr.Dataset) -> RunGroups:
    """Results of analyses and their runs, one of FC where it does not matter which."""
    return RunGroups({"group": runs or [run_of("fc")]}, results)


# --- centroids ------------------------------------------------------------------------------------


def of_means(quantity: str, ends: list[float]) -> RunGroups:
    """The arithmetic, harmonic and geometric mean of two networks, with a quantity of the last test models;
    that of train and of earlier ones is in the opposite order, the other quantity the same of all.
    """
    last = np.array(ends)
    variables = {}
    for one in ("progress", "error"):
        whole, left = np.full((2, 3, 2), 0.5), np.full((2, 3, 2), 0.5)
        if one == quantity:
            whole[:] = (1 - last)[:, None]
            whole[1, :, -1] = last
            left[1] = last[:, None]
            left[1, 1] += [-0.01, 0.01]
        variables[f"centroid_{one}"] = (("split", "centroid", "record"), whole)
        variables[f"left_out_{one}"] = (("split", "centroid", "network"), left)
        variables[f"network_{one}"] = (("split", "network", "record"), np.full((2, 2, 2), 0.5))
    attrs = {"splits": ["train", "test"], "centroids": ["arithmetic", "harmonic", "geometric"]}
    return given(centroids=xr.Dataset(variables, attrs=attrs))


@pytest.mark.parametrize(
    ("quantity", "ends", "value", "rival"),
    [
        ("progress", [0.5, 0.7, 0.6], 0.1, "0.6000 (geometric)"),  # the harmonic mean is the best
        ("progress", [0.8, 0.6, 0.5], -0.2, "0.8000 (arithmetic)"),
        ("error", [0.3, 0.1, 0.2], -0.1, "0.2000 (geometric)"),
        ("error", [0.1, 0.25, 0.3], 0.15, "0.1000 (arithmetic)"),
    ],
)
def test_the_harmonic_mean_less_the_best_of_the_others(
    quantity: str, ends: list[float], value: float, rival: str
) -> None:
    found = getattr(centroids, f"harmonic_{quantity}")(of_means(quantity, ends))
    assert found.value == pytest.approx(value)
    half = T[1] * 0.01  # of two networks that differ by 0.02
    assert found.interval == pytest.approx((value - half, value + half))
    assert rival in found.note


# --- importance, diameters, starts ----------------------------------------------------------------


def importances(network: tuple[float, float], *constant: str) -> RunGroups:
    """Importances from the trajectories of two seeds, after those of all (0); some settings are constant."""
    rows = [
        [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [network[0], 0.2, 0.3, 0.1, 0.05, 0.9],
        [network[1], 0.3, 0.1, 0.05, 0.2, 0.9],
    ]
    varied = [name for name in SETTINGS if name not in constant]
    attrs = {"covariates": [*SETTINGS, GEODESIC], "varied": varied, "seeds": [0, 1]}
    found = {"covariate_importance": (("draw", "covariate"), np.array(rows))}
    return given(importance=xr.Dataset(found, attrs=attrs))


@pytest.mark.parametrize(
    ("claim", "data", "gaps"),
    [
        (trajectories.network_importance, importances((0.5, 0.7)), (0.2, 0.4)),
        (trajectories.network_importance, importances((0.1, 0.0)), (-0.2, -0.3)),
        (trajectories.optimisation_importance, importances((0.5, 0.7)), (0.2, 0.1)),
        (trajectories.optimisation_importance, importances((0.5, 0.7), "optimizer"), (0.2, -0.1)),
    ],
)
def test_gaps_of_importance(claim: Claim, data: RunGroups, gaps: tuple[float, float]) -> None:
    found = claim(data)
    mean, half = np.mean(gaps), T[1] * abs(gaps[0] - gaps[1]) / 2
    assert found.value == pytest.approx(mean)
    assert found.n == 2
    assert found.interval == pytest.approx((mean - half, mean + half))


def test_diameters_are_of_one_kind_of_networks() -> None:
    """Configurations on a line: FC 0, AllCNN 10, ViT 2, ConvMixer 13, FC 5; the fifth run did not train."""
    kinds = ["vit", "fc", "conv_mixer", "all_cnn", "small_resnet", "fc"]
    runs = [run_of(kind, k) for k, kind in enumerate(kinds)]
    line = np.array([0.0, 10, 2, 13, 5])
    found = xr.Dataset(
        {"configuration_distance": (("configuration", "other"), abs(line[:, None] - line))},
        coords={"configuration_run": (("configuration",), [5, 3, 0, 2, 1])},
        attrs={"runs": [run.name for run in runs]},
    )
    other = trajectories.other_diameter(given(runs, trajectories=found))
    assert (other.value, other.n, other.interval) == (5.0, 3, None)
    convolutional = trajectories.convolutional_diameter(given(runs, trajectories=found))
    assert (convolutional.value, convolutional.n, convolutional.interval) == (3.0, 2, None)


def of_starts(components: int) -> RunGroups:
    """Four networks that start from random labels, one of which does not come near the others."""
    variables: dict[str, Any] = {
        "nearest_distance": (("model",), np.zeros(7)),
        "explained_stress": (("component",), np.array([0.5, 0.7, 0.88, 0.95])[:components]),
        "least_ignorance_distance": (("start",), np.array([0.1, 0.6, 0.2, 0.3])),
        "merging_progress": (("start",), np.array([0.2, np.nan, 0.4, 0.9])),
        "merging_epoch": (("start",), np.array([1.0, np.nan, 2.0, 6.0])),
    }
    return given(starts=xr.Dataset(variables, attrs={"near": 0.15}))


def test_starts_from_random_labels() -> None:
    data = of_starts(4)
    stress = starts.starts_stress(data)
    assert (stress.value, stress.n, stress.interval) == (0.88, 4, None)
    with pytest.raises(NotMeasurable, match="fewer than 3 dimensions"):
        starts.starts_stress(of_starts(2))
    least = starts.least_ignorance_distance(data)
    half = T[3] * np.sqrt(0.14 / 3 / 4)
    assert (least.value, least.n) == (pytest.approx(0.3), 4)
    assert least.interval == pytest.approx((0.3 - half, 0.3 + half))
    for claim, value in ((starts.merging_progress, 0.5), (starts.merging_epoch, 3.0)):
        merging = claim(data)
        assert (merging.value, merging.n) == (pytest.approx(value), 3)


# --- ImageNet -------------------------------------------------------------------------------------

ERRORS = {  # of the last models of three seeds, train and test: medians are not the means
    "blur_resnet18": ([0.6, 0.1, 0.2], [0.7, 0.35, 0.3]),
    "blur_resnet50": ([0.05, 0.4, 0.15], [0.2, 0.25, 0.9]),
    "vit_small": ([0.9, 0.01, 0.11], [0.45, 0.8, 0.4]),
}
MEDIANS = {"blur_resnet18": (20, 35), "blur_resnet50": (15, 25), "vit_small": (11, 45)}
PROGRESS = [0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9, 0.0]  # the mean is 0.8


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    """Runs on ImageNet; of their metrics those of last models are known, all others 0.99."""
    full = {"dataset": "imagenet", "samples": 1_281_167, "seeds": 3}
    runs = [{"network": network, **full} for network in ERRORS]
    groups = {"imagenet": runs[:2], "imagenet_vit": runs[2:]}
    data = made_up_runs(tmp_path_factory.mktemp("imagenet"), groups)
    found = models(data, {"seed": 0})
    values, last = found["model_metrics"].values, found["model_update"].values == UPDATES[-1]
    values[:] = 0.99
    row = found.attrs["metrics"].index
    for split in (0, 1):
        values[row("error"), split, last] = np.concatenate([one[split] for one in ERRORS.values()])
    values[row("progress"), 0, last] = PROGRESS
    return RunGroups(data, {"models": found})


@pytest.mark.parametrize("network", MEDIANS)
@pytest.mark.parametrize("split", ["train", "test"])
def test_errors_on_imagenet_are_medians(network: str, split: str, pictures: RunGroups) -> None:
    found = getattr(imagenet, f"{split}_error_{network}")(pictures)
    assert found.value == pytest.approx(MEDIANS[network][split == "test"])
    assert (found.n, found.substituted) == (3, False)


def test_final_progress_on_imagenet_is_a_mean(pictures: RunGroups) -> None:
    found = imagenet.final_progress(pictures)
    half = T[8] * 0.3 / 3
    assert (found.value, found.n) == (pytest.approx(0.8), 9)
    assert found.interval == pytest.approx((0.8 - half, 0.8 + half))


def test_stress_and_signs_on_imagenet() -> None:
    def embedded(split: str, stress: np.ndarray, signature: list[int]) -> xr.Dataset:
        variables: dict[str, Any] = {
            "inpca": (("model", "component"), np.zeros((3, stress.size))),
            "explained_stress": (("component",), stress),
            "signature": (("component",), signature + [1] * (stress.size - len(signature))),
        }
        networks = {"model_run": (("model",), [0, 0, 1]), "model_seed": (("model",), [0, 0, 0])}
        attrs = {"kind": "bhattacharyya", "split": split}
        return xr.Dataset(variables, networks, attrs)

    stress = np.arange(1, 53) / 100
    test = embedded("test", 1 - stress, [1, 1, 1])
    data = given(test=test, train=embedded("train", stress, [1, -1, 1]))
    for claim, value in (
        (imagenet.stress_3, 0.03),
        (imagenet.stress_50, 0.5),
        (imagenet.signs, 2.0),
    ):
        found = claim(data)
        assert (found.value, found.n, found.interval) == (value, 2, None)
    short = given(train=embedded("train", stress[:49], [1]))
    with pytest.raises(NotMeasurable, match="Only 49 dimensions"):
        imagenet.stress_50(short)


def test_fresh_statistics_are_of_resnet_50_where_it_is_among_the_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks = ["small_resnet", "blur_resnet50", "blur_resnet50", "fc"]
    values = {
        "statistics": ["running"] * 4,
        "network": networks,
        "train_relative": [0.9, 0.1, 0.4, 1],
    }
    table = pd.DataFrame(values)
    monkeypatch.setattr(progress, "initial_distances", lambda data: table)
    found = progress.running_statistics(given())
    assert (found.value, found.n, found.substituted) == (0.4, 2, True)
    table = table[table["network"] != "blur_resnet50"]
    assert progress.running_statistics(given()).value == 0.9


def test_measured_numbers_are_pythons_own() -> None:
    numbers = np.float32(0.5), np.float64(1), np.int64(3), (np.float32(0), np.float64(2))
    found = check("any", Measurement(*numbers, np.bool_(True), ""))
    assert json.loads(json.dumps(asdict(found)))["n"] == 3
    assert [type(one) for one in (found.value, found.n, found.substituted)] == [float, int, bool]
