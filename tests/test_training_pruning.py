"""Pruned runs: which samples are left out, and that training is that on the images that are kept."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from made_up_jobs import EPOCHS, MADE, SAMPLES, SEEDS, small_config, train, write_data
from made_up_jobs import write_inversions as write_points
from made_up_runs import CONFIG, make_trajectories
from made_up_runs import SAMPLES as MADE_UP_SAMPLES

from pipeline.analysis.inversion import (
    crossing_epoch,
    find_inversions,
    group_inversions,
    misclassified_at,
    stragglers,
)
from pipeline.config import run_parameters
from pipeline.errors import StoreError, TrainingError
from pipeline.geometry.trajectories import measure_geometry
from pipeline.run_texts import count_text
from pipeline.runs import make_run
from pipeline.seeds import generator
from pipeline.store.reader import open_store
from pipeline.store.writer import write_dataset
from pipeline.training import run as jobs
from pipeline.training.group import train_group
from pipeline.training.problem import make_problem
from pipeline.training.pruning import pruning_weights, random_set
from pipeline.training.run import load_problem, settings_of

# --- which samples: weights from made-up trajectories ------------------------------------------------

FAILED = 1


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> tuple[xr.Dataset, Path, Path]:
    """Trajectories of 5 seeds (seed 1 diverged, seed 3 never gets below 0.1), and their stores."""
    folder = tmp_path_factory.mktemp("made_up")
    found = make_trajectories(5, failed=(FAILED,))
    error = found["train_error"].values
    error[3] = np.maximum(error[3], 0.1)
    write_dataset(found, folder / "run", MADE)
    points = {
        "other": find_inversions(make_trajectories(3, turn=20)),
        "main": find_inversions(found),
    }
    write_dataset(group_inversions(points), folder / "points", MADE)
    return found, folder / "run", folder / "points"


def draws(seed: int) -> np.random.Generator:
    return generator(0, "stragglers/pruned_random", seed, "pruning")


def weights_of(made_up: Any, **changes: Any) -> tuple[np.ndarray, list[int]]:
    run = {"name": "pruned", "prune_from": "main", "seeds": 5, "samples": MADE_UP_SAMPLES}
    keys = {"prune_epoch": None, "prune_error": None, "prune_random": False}
    return pruning_weights(run | keys | changes, made_up[1], made_up[2], draws)


def sets_at(found: xr.Dataset, epochs: Any) -> np.ndarray:
    return stragglers(found["misclassified"].values, epochs, MADE_UP_SAMPLES)


HEALTHY = [0, 2, 3, 4]


def test_the_set_of_an_epoch_is_left_out(made_up: Any) -> None:
    weights, missing = weights_of(made_up, prune_epoch=7)
    assert missing == [FAILED]
    assert (weights.dtype, weights.shape) == (np.float32, (5, MADE_UP_SAMPLES))
    np.testing.assert_array_equal(weights[HEALTHY], 1 - sets_at(made_up[0], 7)[HEALTHY])
    assert (weights[FAILED] == 1).all()


@pytest.mark.parametrize(
    ("name", "epochs"), [("inversion", "epoch_plus"), ("inversion_distance", "epoch_distance")]
)
def test_the_stragglers_of_each_seed_are_left_out(made_up: Any, name: str, epochs: str) -> None:
    weights, missing = weights_of(made_up, prune_epoch=name)
    assert missing == [FAILED]
    points = find_inversions(made_up[0])
    at = np.zeros(5, int)
    at[HEALTHY] = points[epochs].values
    np.testing.assert_array_equal(weights[HEALTHY], 1 - sets_at(made_up[0], at)[HEALTHY])
    assert (weights[HEALTHY] == 0).sum(1).min() > 0


def test_the_set_at_a_training_error_is_left_out_where_it_is_reached(made_up: Any) -> None:
    found = made_up[0]
    weights, missing = weights_of(made_up, prune_error=0.06)
    assert missing == [FAILED, 3]
    for seed in (0, 2, 4):
        epoch = crossing_epoch(found["train_error"].values[seed], 0.06)
        expected = misclassified_at(found.isel(seed=[seed]), [epoch], MADE_UP_SAMPLES)
        np.testing.assert_array_equal(weights[[seed]], 1 - expected)
    assert (weights[missing] == 1).all()


def test_the_first_seeds_of_the_source_are_taken(made_up: Any) -> None:
    few, missing = weights_of(made_up, prune_epoch=7, seeds=1)
    assert (few.shape, missing) == ((1, MADE_UP_SAMPLES), [])
    np.testing.assert_array_equal(few[0], weights_of(made_up, prune_epoch=7)[0][0])


def test_random_sets_have_the_sizes_of_the_sets_and_can_be_drawn_again(made_up: Any) -> None:
    own, _ = weights_of(made_up, prune_epoch=7)
    found, missing = weights_of(made_up, prune_epoch=7, prune_random=True)
    assert missing == [FAILED]
    np.testing.assert_array_equal(found.sum(1), own.sum(1))
    assert all(
        (one != other).any() for one, other in zip(found[HEALTHY], own[HEALTHY], strict=True)
    )
    again, _ = weights_of(made_up, prune_epoch=7, prune_random=True)
    np.testing.assert_array_equal(found, again)
    # Each seed's set is drawn for itself: fewer seeds leave the others' sets as they are.
    few, _ = weights_of(made_up, prune_epoch=7, prune_random=True, seeds=3)
    np.testing.assert_array_equal(few, found[:3])
    assert (found[0] != found[2]).any()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_random_sets_are_uniform(seed: int) -> None:
    random = np.random.default_rng(seed)
    counts = sum(random_set(random, 5, 20).astype(int) for _ in range(2000))
    assert counts.sum() == 5 * 2000
    # Binomial, 2000 draws of probability 1/4: 5 standard deviations
    assert np.abs(counts - 500).max() < 5 * np.sqrt(2000 * 3 / 16)
    assert random_set(random, 0, 20).sum() == 0
    assert random_set(random, 20, 20).all()


def test_no_seed_with_a_set_is_one_sentence(made_up: Any) -> None:
    with pytest.raises(
        TrainingError, match=r"no network of main has a set .*lowest .* is 0\.03"
    ) as e:
        weights_of(made_up, prune_error=0.001)
    assert "\n" not in str(e.value)
    assert "prune_error = 0.001" in str(e.value)


def test_no_healthy_seed_is_one_sentence(made_up: Any, tmp_path: Path) -> None:
    lost = make_trajectories(2, failed=(0, 1))
    for name in ("train_error", "test_error", "radius_plus", "radius_minus", "distance"):
        lost[name][:] = np.nan  # diverged at once
    write_dataset(lost, tmp_path, MADE)
    with pytest.raises(TrainingError, match="no network of main has a set to leave out"):
        weights_of((lost, tmp_path, made_up[2]), prune_epoch=7, seeds=2)


# --- training ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return small_config()


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> Path:
    """Data, the run ``main`` and its inversion points."""
    root = tmp_path_factory.mktemp("results")
    write_data(root / "data", config)
    train(run_parameters(config, "stragglers", "main"), root / "data", root / "main")
    write_points(root / "points", {"main": root / "main"})
    return root


def train_pruned(
    config: dict[str, Any], results: Path, name: str, source: Path | None = None
) -> Path:
    """A pruned run's folder, trained once."""
    folder = results / (name if source is None else f"{name}_{source.name}")
    if not (folder / "manifest.json").is_file():
        parameters = run_parameters(config, "stragglers", name)
        source = results / "main" if source is None else source
        train(parameters, results / "data", folder, source=source, inversions=results / "points")
    return folder


NAMES = ("pruned_inversion", "pruned_3", "pruned_random", "sweep_0.2")


@pytest.mark.parametrize("name", NAMES)
def test_pruned_training_is_training_on_the_images_that_are_kept(
    config: dict[str, Any], results: Path, name: str
) -> None:
    found = open_store(train_pruned(config, results, name))
    kept = np.unpackbits(found["kept_samples"].values, axis=-1, count=SAMPLES).astype(bool)
    parameters = run_parameters(config, "stragglers", name)
    settings = settings_of(parameters)
    whole = load_problem(parameters, results / "data", 1)
    removed = (~kept).sum(1)
    assert ((removed > 0) & (removed < SAMPLES / 2)).all()
    for seed in range(SEEDS):
        rows = kept[seed]
        problem = make_problem(
            whole.train_images[rows],
            whole.train_labels[rows],
            whole.test_images,
            whole.test_labels,
            None,
            1,
            np.float64,
        )
        plain, _ = train_group(problem, [seed], settings, checkpoints=[], stored=[])
        for quantity in ("loss", "train_error", "test_error"):
            np.testing.assert_allclose(
                found[quantity].values[seed], plain[quantity][0], rtol=0, atol=1e-9
            )
        for quantity in ("radius_plus", "radius_minus", "distance"):
            np.testing.assert_allclose(
                found[quantity].values[seed], plain[quantity][0], rtol=0, atol=1e-9
            )
        # The kept samples' bits are those of the smaller set.
        bits = np.unpackbits(found["misclassified"].values[seed], axis=-1, count=SAMPLES)
        own = np.unpackbits(plain["misclassified"][0], axis=-1, count=int(rows.sum()))
        np.testing.assert_array_equal(bits[:, rows], own)


def test_the_samples_left_out_are_the_misclassified_of_the_same_seed(
    config: dict[str, Any], results: Path
) -> None:
    source = open_store(results / "main", lazy=False)
    epochs = {
        "pruned_inversion": find_inversions(source)["epoch_plus"].values,
        "pruned_inversion_distance": find_inversions(source)["epoch_distance"].values,
        "pruned_3": np.full(SEEDS, 3),
        "sweep_0.2": [crossing_epoch(error, 0.2) for error in source["train_error"].values],
    }
    for name, at in epochs.items():
        bits = open_store(train_pruned(config, results, name))["kept_samples"].values
        kept = np.unpackbits(bits, axis=-1, count=SAMPLES).astype(bool)
        np.testing.assert_array_equal(~kept, misclassified_at(source, at, SAMPLES), err_msg=name)


def test_pruned_networks_start_from_the_weights_of_their_source(
    config: dict[str, Any], results: Path
) -> None:
    source = open_store(results / "main")["weights"].isel(checkpoint=0).values
    found = open_store(train_pruned(config, results, "pruned_3"))["weights"]
    np.testing.assert_array_equal(found.isel(checkpoint=0).values, source)
    assert (found.isel(checkpoint=-1).values != found.isel(checkpoint=0).values).any()


def test_geometry_of_a_pruned_run_is_over_its_kept_samples(
    config: dict[str, Any], results: Path
) -> None:
    found = open_store(train_pruned(config, results, "pruned_3"))
    measured = measure_geometry(found, precision="float64")
    assert measured.sizes["seed"] == 2
    assert measured.attrs["max_difference"] < 1e-6
    with pytest.raises(StoreError, match="differ by"):
        measure_geometry(found.drop_vars("kept_samples"), precision="float64")


def source_without(results: Path, folder: Path, seeds: list[int]) -> Path:
    """``main`` with the training errors of some seeds raised above any that is asked for."""
    changed = open_store(results / "main", lazy=False)
    changed["train_error"].values[seeds] = 0.5
    write_dataset(changed, folder, MADE)
    return folder


def test_seeds_without_a_set_are_recorded_as_failed_and_counted(
    config: dict[str, Any], results: Path, tmp_path: Path
) -> None:
    source = source_without(results, tmp_path / "lacking", [1])
    found = open_store(train_pruned(config, results, "sweep_0.2", source), lazy=False)
    whole = open_store(train_pruned(config, results, "sweep_0.2"), lazy=False)
    assert found.attrs["seeds_without_set"] == [1]
    assert "seeds_without_set" not in whole.attrs
    assert found["failed_epoch"].values.tolist() == [-1, 0, -1]
    for name in ("loss", "train_error", "test_error", "radius_plus", "final_weights"):
        assert np.isnan(found[name].values[1]).all()
        np.testing.assert_allclose(found[name].values[[0, 2]], whole[name].values[[0, 2]])
    assert not found["misclassified"].values[1].any()
    stored = found["stored_seed"].values.tolist()
    assert stored == [0, 1]
    for name in ("activations_1", "predictions", "weights"):
        assert np.isnan(found[name].values[:, 1]).all()
        assert np.isfinite(found[name].values[:, 0]).all()
    points = find_inversions(found)
    assert points["seed"].values.tolist() == [0, 2]
    run = make_run("sweep_0.2", CONFIG | {"prune_from": "main"}, found, points)
    text = "n = 2 networks; 1 more diverged, or had no set to leave out and are left out"
    assert count_text([run]) == text


def test_a_job_without_any_set_is_one_sentence(
    config: dict[str, Any], results: Path, tmp_path: Path
) -> None:
    source = source_without(results, tmp_path / "none", list(range(SEEDS)))
    with pytest.raises(
        TrainingError, match=r"run sweep_0.2: no network of main has a set"
    ) as caught:
        train_pruned(config, results, "sweep_0.2", source)
    assert "\n" not in str(caught.value)


def test_a_pruned_run_needs_its_source(
    config: dict[str, Any], results: Path, tmp_path: Path
) -> None:
    parameters = run_parameters(config, "stragglers", "pruned_3")
    with pytest.raises(TrainingError, match="run pruned_3 is pruned and needs its source"):
        train(parameters, results / "data", tmp_path)


def test_an_interrupted_pruned_run_continues_to_the_same_bits(
    config: dict[str, Any],
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Killed(Exception):
        pass

    class Killer:
        def __init__(self, *_: Any) -> None:
            pass

        def __call__(self, epoch: int, error: float) -> None:
            if epoch == EPOCHS // 2:
                raise Killed

    parameters = run_parameters(config, "stragglers", "pruned_random")
    more = {"source": results / "main", "inversions": results / "points", "state_seconds": 0}
    with monkeypatch.context() as patch:
        patch.setattr(jobs, "Progress", Killer)
        with pytest.raises(Killed):
            train(parameters, results / "data", tmp_path, **more)
    with caplog.at_level("INFO"):
        again = train(parameters, results / "data", tmp_path, **more)
    assert f"resuming at epoch {EPOCHS // 2}" in caplog.text
    assert not (tmp_path / "state").exists()
    whole = open_store(train_pruned(config, results, "pruned_random"))
    assert {name: entry["sha256"] for name, entry in again["arrays"].items()}
    xr.testing.assert_identical(open_store(tmp_path).load(), whole.load())


def test_a_state_belongs_to_its_source(
    config: dict[str, Any], results: Path, tmp_path: Path
) -> None:
    parameters = run_parameters(config, "stragglers", "pruned_3")
    other = source_without(results, tmp_path / "other", [1])
    inputs = [results / "data", results / "main", results / "points"]
    keys = {
        jobs.state_key(parameters, places, "c")
        for places in (inputs, [results / "data", other, results / "points"], inputs[:2])
    }
    assert len(keys) == 3
    changed = copy.deepcopy(parameters)
    changed["pruned"]["run"]["epochs"] += 1
    assert jobs.state_key(changed, inputs, "c") != jobs.state_key(parameters, inputs, "c")
