"""Rewinding one layer: the fast way is the plain way, and the ends are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers_devices import check_device
from made_up_classifiers import (
    CONVOLUTION,
    FEED_FORWARD,
    RESIDUAL,
    TEST,
    TRAIN,
    made_up_classifiers,
)
from torch import Tensor, nn

from pipeline.analysis import rewinding as module
from pipeline.analysis.rewinding import rewinding, rewound_correct, rewound_keys
from pipeline.classifiers.arrays import classifier_arrays
from pipeline.classifiers.evaluate import predict
from pipeline.classifiers.variables import SUBSETS
from pipeline.classifiers.weights import network_of, pack, unpack
from pipeline.errors import PipelineError
from pipeline.models.layered import LayeredNetwork
from pipeline.runs import Run, RunGroups, chosen
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset

ENTRIES = {"main": FEED_FORWARD, "images": CONVOLUTION, "skips": RESIDUAL}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("runs")
    settings = {"epochs": 8, "kept_weights": 6, "learning_rate": 1e-2}
    runs = {name: settings | {"entry": entry} for name, entry in ENTRIES.items()}
    runs["skips"]["kept_weights"] = 4  # the slowest to run
    found = made_up_classifiers(folder, runs)
    for (run,) in found.values():
        run.trajectories.load()  # read once
    return found


def of(data: RunGroups, *groups: str) -> RunGroups:
    return chosen(data, groups)


def network_at(run: Run, row: int, column: int) -> LayeredNetwork:
    network = network_of(run.trajectories)
    unpack(network, run.trajectories.kept_weights.values[row, column])
    return network


def samples(run: Run, row: int) -> list[tuple[Tensor, Tensor]]:
    arrays = classifier_arrays(run.config, run.data_folder)
    told = run.trajectories.noisy_labels.values[row]
    pairs = ((arrays.train, told), (arrays.test, arrays.test_classes))
    return [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in pairs]


def shares(network: nn.Module, pairs: list[tuple[Tensor, Tensor]]) -> list[float]:
    return [float((predict(network, x).argmax(1) == y).double().mean()) for x, y in pairs]


@pytest.mark.parametrize("name", ENTRIES)
@pytest.mark.parametrize("batch_norm", ["with", "without"])
def test_the_fast_way_is_the_plain_way(data: RunGroups, name: str, batch_norm: str) -> None:
    """A layer's tensors are copied by hand into the final network, which is then run whole."""
    run = data[name][0]
    found = rewinding(of(data, name), {"batch_norm": batch_norm, "seed": 0})
    for row in range(2):
        epochs = run.trajectories.kept_epoch.values[row]
        last, pairs = int((epochs >= 0).sum()) - 1, samples(run, row)
        np.testing.assert_array_equal(found.rewound_epoch[0, row], epochs)
        final = network_at(run, row, last)
        state, weights = final.state_dict(), pack(final)
        for column in range(last + 1):
            earlier = network_at(run, row, column).state_dict()
            for number, layer in enumerate(found.attrs["weight_layers"]):
                for key in final.own_keys(layer):
                    if batch_norm == "with" or "norm" not in key_kind(final, key):
                        state[key].copy_(earlier[key])
                accuracy = found.rewound_accuracy[0, row, column, number]
                assert accuracy.values.tolist() == shares(final, pairs)
                unpack(final, weights)
        assert np.isnan(found.rewound_accuracy[0, row, last + 1 :]).all()


def key_kind(network: nn.Module, key: str) -> str:
    return type(network.get_submodule(key.rpartition(".")[0])).__name__.lower()


@pytest.mark.parametrize("name", ENTRIES)
def test_the_last_epoch_is_the_final_network_as_it_was_measured(data: RunGroups, name: str) -> None:
    run = data[name][0]
    found = rewinding(of(data, name), {})
    last = run.trajectories.last_epoch.values
    for row in range(2):
        measured = run.trajectories.accuracy.values[row, last[row]]
        wanted = [measured[SUBSETS.index(split)] for split in ("train", "test")]
        np.testing.assert_allclose(found.final_accuracy[0, row], wanted, rtol=1e-12)
        place = found.rewound_epoch.values[0, row].tolist().index(last[row])
        for accuracy in found.rewound_accuracy.values[0, row, place]:
            np.testing.assert_array_equal(accuracy, found.final_accuracy[0, row])


def test_the_last_set_is_not_run_again_but_would_give_the_same(data: RunGroups) -> None:
    run = data["skips"][0]
    network, ((x, labels), _) = network_at(run, 0, 0), samples(run, 0)
    owned = {name: rewound_keys(network, name) for name in network.weight_layers()}
    correct, counts = rewound_correct(network, [network.state_dict()], owned, x, labels)
    assert (counts == correct).all()


def test_all_layers_rewound_are_the_network_of_that_epoch(data: RunGroups) -> None:
    """A chain has no parameters beside its layers': what goes back is all there is."""
    for name in ("main", "images"):
        run = data[name][0]
        final, earlier = network_at(run, 0, 2), network_at(run, 0, 1)
        assert not np.array_equal(pack(final), pack(earlier))
        state, before = final.state_dict(), earlier.state_dict()
        for layer in final.weight_layers():
            for key in rewound_keys(final, layer):
                state[key].copy_(before[key])
        np.testing.assert_array_equal(pack(final), pack(earlier))
        pairs = samples(run, 0)
        assert shares(final, pairs) == shares(earlier, pairs)


def test_equal_weights_give_equal_accuracies(data: RunGroups) -> None:
    run = data["images"][0]
    sets = run.trajectories.kept_weights.load()
    last = int((run.trajectories.kept_epoch.values[0] >= 0).sum()) - 1
    same = sets.copy(data=np.broadcast_to(sets.values[:, [last]], sets.shape).copy())
    flat = replace(run, trajectories=run.trajectories.assign(kept_weights=same))
    found = rewinding(RunGroups({"images": [flat]}), {"seeds": 1})
    for kept in range(last + 1):
        for accuracy in found.rewound_accuracy.values[0, 0, kept]:
            np.testing.assert_array_equal(accuracy, found.final_accuracy.values[0, 0])


def test_batch_normalisation_goes_back_or_stays(data: RunGroups) -> None:
    network = network_of(data["images"][0].trajectories)
    assert rewound_keys(network, "conv1", "without") == ["body.conv1.0.weight"]
    kept = [key.split(".")[-1] for key in rewound_keys(network, "conv1")]
    assert kept == ["weight", "weight", "bias", "running_mean", "running_var"]
    for name, differs in (("images", True), ("main", False)):
        one, other = (
            rewinding(of(data, name), {"batch_norm": choice}).rewound_accuracy.values
            for choice in ("with", "without")
        )
        assert np.array_equal(one, other, equal_nan=True) != differs


def test_few_sets_are_held_at_a_time(data: RunGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rewinding(of(data, "images"), {})
    monkeypatch.setattr(module, "HELD_BYTES", 1)
    assert rewinding(of(data, "images"), {}).equals(whole)


def test_batches_do_not_matter(data: RunGroups) -> None:
    run = data["images"][0]
    network, pairs = network_at(run, 0, 2), samples(run, 0)
    sets = [network_at(run, 0, column).state_dict() for column in (0, 1)]
    owned = {name: rewound_keys(network, name) for name in network.weight_layers()}
    first, second = (
        rewound_correct(network, sets, owned, *pairs[0], batch_size=size) for size in (1000, 7)
    )
    assert first[0] == second[0]
    np.testing.assert_array_equal(first[1], second[1])


def test_a_body_that_is_no_sequence_is_run_whole(data: RunGroups) -> None:
    class Body(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            for name, child in inner.named_children():
                self.add_module(name, child)

        def forward(self, x: Tensor) -> Tensor:
            for child in self.children():
                x = child(x)
            return x

    run = data["main"][0]
    network, other = (network_at(run, 0, column) for column in (2, 0))
    whole = LayeredNetwork(Body(network.body), network.layers.values()).eval()
    owned = {name: rewound_keys(network, name) for name in network.weight_layers()}
    x, labels = samples(run, 0)[0]
    first, second = (
        rewound_correct(one, [other.state_dict()], owned, x, labels) for one in (network, whole)
    )
    np.testing.assert_array_equal(first[1], second[1])


def test_options_choose_what_is_evaluated(data: RunGroups, tmp_path: Path) -> None:
    whole = rewinding(of(data, "images"), {})
    options = {"layers": ["linear4", "conv3"], "seeds": 1, "kept": 3, "train_samples": 20}
    found = rewinding(of(data, "images"), options)
    assert found.attrs["weight_layers"] == ["conv3", "linear4"]
    assert found.attrs["splits"] == ["train", "test"]
    assert found.rewound_accuracy.shape == (1, 1, 3, 2, 2)
    places = [whole.rewound_epoch.values[0, 0].tolist().index(e) for e in found.rewound_epoch[0, 0]]
    np.testing.assert_array_equal(
        found.rewound_accuracy[0, 0, :, :, 1], whole.rewound_accuracy[0, 0, places, 1:3, 1]
    )
    counts = found.rewound_accuracy.values[..., 0] * 20
    np.testing.assert_allclose(counts, counts.round(), atol=1e-9)
    write_dataset(found, tmp_path, {"config": {}, "code": "test"})
    assert open_store(tmp_path, lazy=False).equals(found)


def test_half_precision_gives_nearly_the_same(data: RunGroups) -> None:
    exact, rough = (
        rewinding(of(data, "images"), {"precision": precision}).rewound_accuracy
        for precision in (None, "bf16")
    )
    assert float(abs(exact - rough).max()) <= 5 / min(TRAIN, TEST)
    assert float(abs(exact - rough).mean()) < 0.01


def test_a_gpu_is_used_claimed_and_told_of_where_it_is_asked_for(
    data: RunGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_device(rewinding, of(data, "main"), monkeypatch)


def test_what_was_trained_in_tf32_is_rewound_on_a_cpu(data: RunGroups) -> None:
    (run,) = data["main"]
    there = {"main": [replace(run, config=run.config | {"precision": "tf32"})]}
    assert rewinding(RunGroups(there), {}).equals(rewinding(of(data, "main"), {}))
    with pytest.raises(PipelineError, match="only CUDA devices have"):
        rewinding(of(data, "main"), {"precision": "tf32"})


@pytest.mark.parametrize(
    ("groups", "options", "text"),
    [
        (("main",), {"epochs": 3}, "no options epochs"),
        (("main",), {"kept": 1}, "option kept is 1"),
        (("main",), {"layers": ["pool2"]}, "valid are null or a list of: linear1, linear2"),
        (("main",), {"layers": []}, "option layers"),
        (("main",), {"batch_norm": "no"}, "valid are: with, without"),
        (("main",), {"precision": "float16"}, "valid are: float32, float64, bf16, tf32"),
        (("main",), {"train_samples": 0}, "option train_samples is 0"),
        (("main", "images"), {}, "different layers"),
    ],
)
def test_bad_options_and_runs_are_refused(
    data: RunGroups, groups: tuple[str, ...], options: dict[str, Any], text: str
) -> None:
    with pytest.raises(PipelineError, match=text):
        rewinding(of(data, *groups), options)
