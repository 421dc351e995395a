"""The analysis of gradients: every run, seed and kept set, and which sets are chosen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_devices import check_device
from made_up_classifiers import CONVOLUTION, RESIDUAL, made_up_classifiers
from torch.nn.functional import cross_entropy

from pipeline.analysis.gradient_parts import PARTS, gradient_parts, layer_norms
from pipeline.analysis.gradients import COLUMNS, gradients
from pipeline.analysis.kept_networks import chosen_columns, kept_seeds
from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.weights import network_of, unpack
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, chosen
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("runs")
    runs: dict[str, dict[str, Any]] = {
        "main": {"epochs": 8, "kept_weights": 6, "stored_seeds": 2, "seeds": 3},
        "clean": {"label_noise": 0.0, "seeds": 1, "stored_seeds": 1},
        "images": {"entry": CONVOLUTION},
        "skips": {"entry": RESIDUAL, "epochs": 3},
        "bare": {"stored_seeds": 0},
    }
    return made_up_classifiers(folder, runs)


def of(data: RunGroups, *groups: str) -> RunGroups:
    return chosen(data, groups)


def test_norms_are_those_of_the_kept_networks(data: RunGroups) -> None:
    found = gradients(of(data, "images"), {"seed": 0})
    run = data["images"][0]
    assert found.attrs["runs"] == ["images"]
    assert found.attrs["weight_layers"] == ["conv1", "conv3", "linear4", "linear5"]
    assert found.attrs["parts"] == list(COLUMNS)
    np.testing.assert_array_equal(found.gradient_epoch[0], run.trajectories.kept_epoch)
    assert (np.isfinite(found.gradient_norm[0]).all(("weight_layer", "part"))).equals(
        found.gradient_epoch[0] >= 0
    )
    x = torch.from_numpy(classifier_arrays(run.config, run.data_folder).train)
    labels, permuted = (
        torch.from_numpy(run.trajectories[name].values[1]) for name in ("noisy_labels", "permuted")
    )
    network = network_of(run.trajectories)
    unpack(network, run.trajectories.kept_weights.values[1, 1])
    parts = gradient_parts(network, x, labels, permuted, batch_size=run.config["batch_size"])
    for number, part in enumerate(COLUMNS):
        norms = layer_norms(parts, network)[part]
        np.testing.assert_allclose(found.gradient_norm[0, 1, 1, :, number], norms, rtol=1e-5)


def test_the_total_is_the_gradient_of_the_loss(data: RunGroups) -> None:
    found = gradients(of(data, "main"), {"kept": 3, "seeds": 1})
    run = data["main"][0]
    assert found.gradient_norm.shape == (1, 1, 3, 3, len(COLUMNS))
    epochs = found.gradient_epoch.values[0, 0]
    assert epochs[0] == 0
    assert epochs[-1] == run.trajectories.last_epoch[0]
    assert run.trajectories.best_epoch.values[0] in epochs
    network = network_of(run.trajectories)
    kept = run.trajectories.kept_epoch.values[0].tolist()
    unpack(network, run.trajectories.kept_weights.values[0, kept.index(epochs[1])])
    x = torch.from_numpy(classifier_arrays(run.config, run.data_folder).train)
    labels = torch.from_numpy(run.trajectories.noisy_labels.values[0])
    cross_entropy(network(x), labels).backward()
    norms = [float(network.body[layer][0].weight.grad.norm()) for layer in (0, 1)]
    total = found.gradient_norm[0, 0, 1, :, COLUMNS.index("total")]
    np.testing.assert_allclose(total[:2], norms, rtol=1e-5)


def test_runs_of_the_same_layers_go_together(data: RunGroups) -> None:
    found = gradients(of(data, "clean", "main"), {"kept": 3})
    assert found.seed.values.tolist() == [0, 1]
    assert (found.gradient_epoch.values[0, 1] == -1).all()
    assert np.isnan(found.gradient_norm.values[0, 1]).all()
    clean = found.gradient_norm.isel(run=0, seed=0)
    assert not clean.isel(part=PARTS.index("dep_permuted")).any()
    assert (clean.isel(part=PARTS.index("dep_unpermuted")) > 0).all()
    own = gradients(of(data, "clean"), {"kept": 3, "mean": "subset"}).gradient_norm.isel(run=0)
    assert np.isnan(own.isel(part=PARTS.index("dep_permuted"))).all()
    np.testing.assert_array_equal(own[0, ..., 0], clean[..., 0])


def test_options_change_what_they_say(data: RunGroups) -> None:
    runs = of(data, "images")
    plain = gradients(runs, {"seeds": 1, "kept": 3}).gradient_norm.isel(run=0, seed=0)
    others = {
        "batch_norm": "eval",
        "biases": True,
        "mean": "subset",
        "batch_size": 30,
    }
    for name, value in others.items():
        options = {"seeds": 1, "kept": 3, name: value}
        found = gradients(runs, options)
        assert found.attrs["options"][name] == value
        assert not np.allclose(found.gradient_norm.isel(run=0, seed=0), plain, rtol=1e-4)


def test_results_can_be_stored(data: RunGroups, tmp_path: Path) -> None:
    found = gradients(of(data, "skips"), {"kept": 3})
    write_dataset(found, tmp_path, {"config": {}, "code": "test"})
    stored = open_store(tmp_path, lazy=False)
    np.testing.assert_array_equal(stored.gradient_norm, found.gradient_norm)
    assert stored.attrs["weight_layers"] == found.attrs["weight_layers"]
    assert stored.attrs["weight_layers"][-1] == "linear11"


def test_a_gpu_is_used_claimed_and_told_of_where_it_is_asked_for(
    data: RunGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_device(gradients, of(data, "main"), monkeypatch)


@pytest.mark.parametrize(
    ("groups", "options", "text"),
    [
        (("main",), {"epochs": 3}, "no options epochs"),
        (("main",), {"kept": 2}, "option kept is 2; valid are whole numbers from 3 on"),
        (("main",), {"seeds": 0}, "option seeds is 0"),
        (("main",), {"batch_size": 1.5}, "option batch_size is 1.5"),
        (("main",), {"batch_norm": "off"}, "valid are: train, eval"),
        (("main",), {"mean": "all"}, "valid are: whole, subset"),
        (("main",), {"biases": 1}, "true and false"),
        (("bare",), {}, "Run bare has no kept_epoch, kept_weights"),
        (("main", "images"), {}, "different layers"),
    ],
)
def test_bad_options_and_runs_are_refused(
    data: RunGroups, groups: tuple[str, ...], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(PipelineError, match=text):
        gradients(of(data, *groups), options)


@pytest.mark.parametrize(
    ("best", "most", "wanted"),
    [
        (4, None, [0, 1, 2, 3, 4, 5]),
        (4, 9, [0, 1, 2, 3, 4, 5]),
        (2, 3, [0, 1, 5]),
        (16, 3, [0, 4, 5]),
        (0, 4, [0, 2, 3, 5]),
        (32, 4, [0, 2, 3, 5]),
        (2, 4, [0, 1, 3, 5]),
    ],
)
def test_chosen_sets_hold_the_first_the_best_and_the_last(
    best: int, most: int | None, wanted: list[int]
) -> None:
    """Epochs 0, 2, 4, 8, 16, 32 are kept, and two places are empty."""
    epochs = np.array([0, 2, 4, 8, 16, 32, -1, -1])
    assert chosen_columns(epochs, best, most).tolist() == wanted


def test_seeds_that_diverged_are_left_out_of_the_stored_ones(data: RunGroups) -> None:
    run = data["main"][0]
    healthy = run.trajectories.isel(seed=[1, 2], stored_seed=[1])
    left = type(run)(run.name, run.config, healthy, run.inversion, data_folder=run.data_folder)
    (one,) = kept_seeds(left)
    assert (one.seed, one.row) == (1, 0)
    np.testing.assert_array_equal(one.labels, run.trajectories.noisy_labels[1])
    np.testing.assert_array_equal(one.permuted, run.trajectories.permuted[1])
