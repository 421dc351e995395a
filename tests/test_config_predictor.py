"""The configuration of predictors: grids, cases, restrictions, runs that start from others, refusals."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import load_config, run_parameters
from pipeline.errors import ConfigError
from pipeline.plan import job_estimate

ROOT = Path(__file__).parents[1]
PAPER = "prediction_space"


def loaded(scale: str = "laptop", **paper: Any) -> dict[str, Any]:
    over: dict[str, Any] = {"scale": scale, PAPER: paper} if paper else {"scale": scale}
    return load_config(ROOT, copy.deepcopy(over))


def runs(**changes: Any) -> dict[str, Any]:
    return {"runs": changes}


def test_the_grid_is_the_papers() -> None:
    paper = loaded("paper")[PAPER]
    names = [*paper["groups"]["sgd"], *paper["groups"]["adam"]]
    grid = [paper["runs"][name] for name in names]
    assert len(names) == 6 * 52
    assert sum(run["seeds"] for run in grid) == 3120
    assert {run["epochs"] for run in grid if run["network"] != "fc"} == {200}
    augmented = {run["epochs"] for run in grid if run["augmentation"] != "none"}
    assert augmented == {200, 300}
    assert all(
        run["epochs"] == (300 if run["augmentation"] == "crop_flip" else 200)
        for run in grid
        if run["network"] == "fc"
    )
    rates: dict[str, set[tuple[int, float, float]]] = {}
    for run in grid:
        rate = run["learning_rate_per_sample"] * run["batch_size"]
        entry = (run["batch_size"], round(rate, 9), run["weight_decay"])
        rates.setdefault(run["optimizer"], set()).add(entry)
    decays = {200: (0.0, 1e-3, 1e-5), 500: (0.0, 1e-3), 1000: (0.0, 1e-3)}
    steps = {200: 0.1, 500: 0.25, 1000: 0.5}
    sgd = {(size, steps[size], decay) for size, some in decays.items() for decay in some}
    assert rates["sgd_minibatch"] == rates["nesterov"] == sgd
    adam = {200: (1e-3, 5e-4), 500: (2.5e-3, 1.25e-3), 1000: (5e-3, 2.5e-3)}
    wanted = {(size, rate, decay) for size in adam for rate in adam[size] for decay in (0.0, 1e-5)}
    assert rates["adam_minibatch"] == wanted


def test_the_laptop_grid_is_six_networks_and_three_optimisers() -> None:
    paper = loaded()[PAPER]
    plain = [
        paper["runs"][name]
        for group in ("sgd", "adam")
        for name in paper["groups"][group]
        if paper["runs"][name]["augmentation"] == "none"
    ]
    pairs = {(run["network"], run["optimizer"]) for run in plain}
    assert len(plain) == len(pairs) == 18
    told = {run["network"]: (run["width"], run["network_options"]) for run in plain}
    assert told["large_resnet"] == (0.125, {})
    assert told["all_cnn"] == told["fc"] == told["small_resnet"] == (0.25, {})
    assert told["conv_mixer"] == (0.25, {"patch": 4})
    assert told["vit"] == (0.25, {"patch": 8})
    assert {
        (run["seeds"], run["samples"], run["test_samples"], run["epochs"]) for run in plain
    } == {(2, 2000, 1000, 40)}
    sloppy = [paper["runs"][name] for name in paper["groups"]["sloppy"]]
    assert {(run["width"], run["epochs"], run["samples"]) for run in sloppy} == {(1.0, 200, 5000)}
    assert sum(paper["runs"][name]["seeds"] for name in paper["groups"]["corners"]) == 80


def test_network_options_reach_the_builder_and_the_estimate() -> None:
    config = loaded()
    name = "sgd_vit_none_nesterov_200_0.0"
    assert run_parameters(config, PAPER, name)["network"]["options"] == {"patch": 8}
    same = {"width": 0.25, "precision": "float32"}
    fine = loaded(cases=[{"where": {"network": ["vit"]}, "set": same}])
    assert run_parameters(fine, PAPER, name)["network"]["options"] == {}
    costs = [job_estimate(one, PAPER, name).seconds for one in (config, fine)]
    assert costs[1] > 2 * costs[0]


def test_a_runs_own_settings_go_before_those_of_its_case() -> None:
    changes = {"corners": {"epochs": 7}}
    paper = loaded(**runs(**changes))[PAPER]
    assert {paper["runs"][name]["epochs"] for name in paper["groups"]["corners"]} == {7}
    assert {paper["runs"][name]["epochs"] for name in paper["groups"]["sloppy"]} == {200}


def counts(**only: list[Any]) -> dict[str, int]:
    groups = loaded("paper", only=only)[PAPER]["groups"]
    return {name: len(groups.get(name, [])) for name in ("sgd", "adam", "ensemble", "corners")}


def test_only_restricts_by_any_factor() -> None:
    assert counts(network=["vit"], batch_size=[500]) == {
        "sgd": 2 * 2 * 2,  # augmentation, optimiser, weight decay
        "adam": 2 * 2 * 2,
        "ensemble": 1,  # sets neither
        "corners": 0,
    }
    assert counts(optimizer=["adam_minibatch"])["sgd"] == 0
    assert counts(optimizer=["nesterov"]) == {"sgd": 84, "adam": 0, "ensemble": 1, "corners": 20}
    assert counts(weight_decay=[0]) == {"sgd": 72, "adam": 72, "ensemble": 1, "corners": 20}
    assert counts(weight_decay=[0.001])["adam"] == 0


def test_what_has_no_run_left_is_left_out_with_it() -> None:
    paper = loaded("paper", only={"optimizer": ["adam_minibatch"]})[PAPER]
    assert "sloppy" not in paper["groups"]
    assert "S14" not in paper["figures"]
    assert paper["figures"]["2a"]["runs"] == paper["analyses"]["models"]["runs"] == ["adam"]
    groups = loaded("paper", only={"labelling": [0]})[PAPER]["groups"]
    assert groups["then_true"] == ["then_true_first_labels_0"]


def test_what_a_run_starts_from_is_part_of_its_parameters() -> None:
    config = loaded()
    found = run_parameters(config, PAPER, "then_true_first_labels_1")
    assert found["started"] == run_parameters(config, PAPER, "first_labels_1")
    assert found["started"]["run"]["labelling"] == 1
    assert found["run"]["labelling"] is None
    assert "started" not in found["started"]


VIT = "sgd_vit_none_nesterov_200_0.0"
WRONG = [
    (runs(ensemble={"network": "vgg16"}), "is made for the trainer classifier", "valid is all_cnn"),
    (runs(ensemble={"optimizer": "gd"}), "is made for the trainer ensemble", "nesterov"),
    (runs(ensemble={"samples": 50001}), "is more than the 50000 train samples", "2 to 50000"),
    (runs(ensemble={"batch_size": 2001}), "is more than the run's samples = 2000", "1 to 2000"),
    (runs(ensemble={"dataset": "sloppy"}), "takes images, which dataset = sloppy", "student"),
    (
        runs(corners={"augmentation": "crop_flip"}),
        "is for images, which dataset = sloppy does not hold",
        "valid is none",
    ),
    (
        runs(ensemble={"learning_rate": 0.1}),
        "is set beside learning_rate = 0.1",
        "null the other",
    ),
    (runs(ensemble={"learning_rate_per_sample": None}), "is missing", "set one of the two"),
    (runs(ensemble={"start_from": "first_label_0"}), "is no run", "did you mean 'first_labels_0'"),
    (runs(ensemble={"start_from": VIT}), "keeps no final weights", "final_weights"),
    (
        runs(ensemble={"start_from": "first_labels_0", "width": 0.5}),
        "width = 0.25, not 0.5",
        "same",
    ),
    (
        runs(
            ensemble={"final_weights": True, "start_from": "first_labels_0"},
            first_labels={"grid": {"labelling": [0]}, "start_from": "ensemble"},
            then_true={"grid": {"start_from": ["first_labels_0"]}},
        ),
        "starts from this run again",
        "break the circle",
    ),
    ({"only": {"network": ["vgg16"]}}, "is no value of network in the grid or the settings", "fc"),
    (
        runs(ensemble={"records": "spaced", "epochs": 5}),
        'records = "spaced" does not fit',
        "valid is authors, or spaced with more epochs",
    ),
    (runs(ensemble={"sides": [[0, 32]]}), "is for files of pictures", "valid is null"),
    (
        runs(ensemble={"augmentation": "random_crop"}),
        "does not go with dataset = cifar10, which holds no files",
        "valid is none, crop_flip",
    ),
    (
        runs(imagenet_vit={"sides": [[0, 196]]}),
        "196 is no multiple of 16",
        "valid are multiples of 16",
    ),
    ({"only": {"depth": [2]}}, "prediction_space.only.depth = [2] is an unknown key", "network"),
    (
        {"cases": [{"where": {"network": ["fc"]}, "set": {"epoch": 3}}]},
        "prediction_space.cases[0].set.epoch = 3 is an unknown key",
        "did you mean 'epochs'",
    ),
]


@pytest.mark.parametrize(("paper", "reason", "valid"), WRONG, ids=[row[1][:40] for row in WRONG])
def test_what_is_impossible_is_refused(paper: dict[str, Any], reason: str, valid: str) -> None:
    with pytest.raises(ConfigError) as error:
        loaded(**paper)
    message = str(error.value)
    assert reason in message
    assert valid in message


def test_an_optimiser_with_nesterov_needs_a_momentum() -> None:
    mine = {"builder": "pipeline.classifiers.optimizers:sgd", "trainer": "predictor"}
    mine |= {"options": {"nesterov": True}, "parameters": ["learning_rate", "momentum"]}
    entry = {**mine, "batches": "mini"}
    over = {"optimizers": {"mine": entry}, PAPER: runs(ensemble={"optimizer": "mine"})}
    with pytest.raises(ConfigError, match=r"momentum = 0\.0 does not fit optimizer = mine"):
        load_config(ROOT, copy.deepcopy(over))
    over[PAPER] = runs(ensemble={"optimizer": "mine", "momentum": 0.9})
    assert load_config(ROOT, over)[PAPER]["runs"]["ensemble"]["momentum"] == 0.9


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_run_has_parameters_and_an_estimate(scale: str) -> None:
    config = loaded(scale)
    for name in config[PAPER]["runs"]:
        assert run_parameters(config, PAPER, name)["compute"]["threads"] == 1
        assert job_estimate(config, PAPER, name).seconds > 0
