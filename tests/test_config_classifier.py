"""The configuration of classifiers: what is refused, and trainers of one's own."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from helpers_workflow import ROOT

from pipeline.config import (
    CONFIG_FILE,
    build_config,
    load_config,
    read_paper,
    run_parameters,
    stated_dataset,
)
from pipeline.config_classifier import SIDES
from pipeline.config_files import read_yaml
from pipeline.config_schema import load_schemas
from pipeline.errors import ConfigError, PipelineError, TrainingError
from pipeline.plan import job_count, job_estimate, measures_inversion
from pipeline.registry import resolve

RUN = "vgg16"


def refused(over: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as error:
        load_config(ROOT, copy.deepcopy(over))
    return str(error.value)


def run(name: str = RUN, **values: Any) -> dict[str, Any]:
    return {"memorization": {"runs": {name: values}}}


WRONG = [
    (run(dataset="spheres"), 'network = "vgg16" does not fit dataset', "valid is feed_forward"),
    (run("spheres", network="vgg16"), "it takes images", "valid is feed_forward"),
    (run("spheres", dataset="cifar10"), "it takes vectors", "valid is alexnet, resnet18, vgg16"),
    (run(network="fully_connected"), "is made for the trainer ensemble", "valid is alexnet"),
    (run(optimizer="sgd"), "is made for the trainer ensemble", "valid is adam_minibatch"),
    (
        run(samples=50001),
        "samples = 50001 is more than the 50000 train samples",
        "valid is 2 to 50000",
    ),
    (run(test_samples=10001), "is more than the 10000 test samples", "valid is 1 to 10000"),
    (run(batch_size=2001), "batch_size = 2001 is more than the run's samples = 2000", "1 to 2000"),
    (run(statistics_samples=2001), "is more than the run's samples = 2000", "0 to 2000"),
    (run(dataset="mnist"), "it takes images of 32 x 32", "none of these networks"),
    (run(dataset="tiny_imagenet"), "it takes images of 32 x 32", "valid is resnet18"),
    (run(stored_seeds=4), "stored_seeds = 4 is more than the run's seeds = 3", "valid is 0 to 3"),
    (run(recorded_seeds=4), "recorded_seeds = 4 is more than the run's stored_seeds", "0 to 3"),
    (run(recorded_classes=11), "is more than the 10 classes of cifar10", "valid is 1 to 10"),
    (run(momentum=0.9), "momentum = 0.9 does not fit optimizer = adam_minibatch", "valid is 0"),
    (run(label_noise=1.5), "label_noise", "1"),
    (run(stop_accuracy=0), "stop_accuracy", "0"),
    (run(kept_weights=2), "kept_weights", "3"),
    (run(depth=3), "memorization.runs.vgg16.depth = 3 is an unknown key", "valid"),
    ({"memorization": {"trainer": "clasifier"}}, 'trainer = "clasifier"', "mean 'classifier'"),
    ({"memorization": {"trainer": "mine"}}, 'trainer = "mine" is no entry of trainers', "ensemble"),
]


@pytest.mark.parametrize(("over", "key", "valid"), WRONG, ids=[row[1][:40] for row in WRONG])
def test_what_is_impossible_is_refused(over: dict[str, Any], key: str, valid: str) -> None:
    message = refused(over)
    assert key in message
    assert valid in message
    assert "Traceback" not in message


def test_a_data_set_must_state_its_classes() -> None:
    mine = {"loader": "pipeline.data.cifar:cifar10", "shape": [32, 32, 3]}
    mine |= {"samples": {"train": 50000, "test": 10000}}
    message = refused({"datasets": {"mine": mine}, **run(dataset="mine")})
    assert 'dataset = "mine" does not state its number of classes' in message
    assert load_config(ROOT, {"datasets": {"mine": {**mine, "classes": 10}}, **run(dataset="mine")})


def test_an_optimiser_of_full_batches_is_refused() -> None:
    mine = {
        "builder": "pipeline.classifiers.optimizers:adam",
        "parameters": ["learning_rate"],
        "batches": "full",
    }
    message = refused({"optimizers": {"mine": mine}, **run(optimizer="mine")})
    assert (
        "uses the full batch (optimizers.mine.batches); classifiers are trained in minibatches"
        in message
    )


@pytest.mark.parametrize("scale", ["smoke", "laptop", "paper"])
def test_every_run_has_parameters_and_an_estimate(scale: str) -> None:
    config = load_config(ROOT, {"scale": scale})
    for name in config["memorization"]["runs"]:
        found = run_parameters(config, "memorization", name)
        assert found["compute"].keys() == {"threads", "device", "compile", "precision"}
        assert found["pruned"] is None
        assert job_estimate(config, "memorization", name).seconds > 0


def test_the_paper_scale_is_the_papers() -> None:
    paper = load_config(ROOT, {"scale": "paper"})["memorization"]["runs"]
    main = paper["vgg16"]
    wanted = {"label_noise": 0.5, "learning_rate": 1e-4, "batch_size": 1024, "epochs": 1000}
    wanted |= {"stop_accuracy": 0.99, "seeds": 10, "width": 1.0, "dataset": "cifar100"}
    assert {key: main[key] for key in wanted} == wanted
    assert paper["resnet18_tiny"]["dataset"] == "tiny_imagenet"
    assert {run["label_noise"] for name, run in paper.items() if "descent" in name} == {0.1}


def test_a_change_of_the_ensembles_compute_does_not_retrain_classifiers() -> None:
    before = run_parameters(load_config(ROOT), "memorization", RUN)
    other = load_config(ROOT, {"compute": {"ensemble_size": 7}})
    assert run_parameters(other, "memorization", RUN) == before
    threads = load_config(ROOT, {"compute": {"threads": 2}})
    assert run_parameters(threads, "memorization", RUN) != before


def test_a_trainer_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checks and its estimate are asked, from a file of the user's."""
    (tmp_path / "mine.py").write_text(
        "from pipeline.config_checks import Refusal\n"
        "from pipeline.estimate import Estimate\n"
        "def train(parameters, data_folder, folder, state_folder, *, code, state_seconds): ...\n"
        "def refusals(run, runs, config):\n"
        "    if run['seeds'] > 5:\n"
        "        yield Refusal(('seeds',), run['seeds'], 'is too many', 'valid is 1 to 5')\n"
        "def estimate(run, config):\n"
        "    return Estimate(60.0 * run['seeds'], 100, 1.0)\n"
    )
    monkeypatch.chdir(tmp_path)
    keys = {"function": "train", "checks": "refusals", "estimate": "estimate"}
    entry: dict[str, Any] = {key: f"mine.py:{name}" for key, name in keys.items()}
    over = {"trainers": {"mine": entry | {"inversion": False}}, "memorization": {"trainer": "mine"}}
    assert "memorization.runs.spheres.seeds = 10 is too many" in refused(over).replace(
        "scales.laptop.", ""
    )
    over["memorization"]["runs"] = {"spheres": {"seeds": 5, "stored_seeds": 5}}
    config = load_config(ROOT, over)
    assert job_estimate(config, "memorization", RUN).seconds == 180.0


@pytest.mark.parametrize(
    ("key", "function"),
    [("checks", "pipeline.seeds:generator"), ("estimate", "pipeline.errors:PipelineError")],
)
def test_functions_of_a_trainer_that_are_of_another_kind(key: str, function: str) -> None:

    def cost() -> object:
        config = load_config(ROOT, {"trainers": {"classifier": {key: function}}})
        return job_estimate(config, "memorization", RUN)

    with pytest.raises(PipelineError, match=rf"trainers\.classifier\.{key} = .?{function}.? "):
        cost()


def bare_paper(*, runs: bool = False, **changes: Any) -> dict[str, Any]:
    """The configuration of a paper with one analysis and one figure, without runs or with one."""
    base = read_yaml(ROOT, CONFIG_FILE) | {"papers": ["memorization"]}
    schemas = load_schemas(ROOT, ["config", "memorization"])
    schema = schemas["memorization"]
    schema["required"].remove("trainer")
    del schema["properties"]["runs"]["minProperties"]
    paper = {}
    for content in read_paper(ROOT, "memorization").values():
        paper |= content["memorization"]
    paper |= {"runs": {"vgg16": {}} if runs else {}, "claims": {}}
    paper |= {"analyses": {"capacity_check": paper["analyses"]["capacity_check"]}}
    paper |= {"figures": {"1B": paper["figures"]["1B"]}}
    paper |= {"scales": {"paper": {}, "laptop": {}, "smoke": {}}}
    del paper["trainer"]
    files = {CONFIG_FILE: base, "config/memorization.yaml": {"memorization": paper | changes}}
    return build_config(files, schemas, {})


@pytest.mark.parametrize("trainer", [{}, {"trainer": "classifier"}, {"trainer": "ensemble"}])
def test_a_paper_without_runs_needs_no_trainer(trainer: dict[str, str]) -> None:
    config = bare_paper(**trainer)
    assert config["memorization"]["runs"] == config["memorization"]["groups"] == {}
    assert measures_inversion(config, "memorization") == (trainer.get("trainer") == "ensemble")
    assert job_count(config) == 4  # analysis, figure, claims, scorecard


def test_a_paper_with_runs_needs_a_trainer() -> None:
    message = (
        r"memorization.yaml: memorization.trainer is missing; "
        r"set it to one of classifier, ensemble, predictor\."
    )
    with pytest.raises(ConfigError, match=message):
        bare_paper(runs=True)
    assert bare_paper(runs=True, trainer="classifier")["memorization"]["runs"]


def test_sides_of_images_are_those_that_the_builders_take() -> None:
    for path, sides in SIDES.items():
        build = resolve(path)
        for shape in ((12,), (3, 28, 28), (3, 32, 32), (3, 64, 64)):
            fits = len(shape) == 1 if not sides else len(shape) == 3 and shape[-1] in sides
            if fits:
                build(shape, 10, 1 / 16)
            else:
                with pytest.raises(TrainingError):
                    build(shape, 10, 1 / 16)


def test_the_papers_data_set_of_a_run_that_only_this_scale_has() -> None:
    config, stated = load_config(ROOT, {"scale": "laptop"}), load_config(ROOT, {"scale": "paper"})
    of = {name: stated_dataset(stated, config, "memorization", name) for name in (RUN, "spheres")}
    assert of == {RUN: "cifar100", "spheres": "spheres"}
    only_here = "noise_feed_forward_0.5"
    assert only_here not in stated["memorization"]["runs"]
    assert stated_dataset(stated, config, "memorization", only_here) == "cifar100"
    assert stated_dataset({"papers": []}, config, "memorization", RUN) is None
