"""Analyses of all models: metrics, matrices of distances, embeddings with the geodesic."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_models import CLASSES, SAMPLES, UPDATES, labels_of, made_up_runs
from made_up_predictions import plain_distances

from pipeline.analysis.distances import distances
from pipeline.analysis.embedding import embedding
from pipeline.analysis.models import metric, models
from pipeline.analysis.stored_models import stored_models, stored_predictions
from pipeline.errors import PipelineError
from pipeline.geometry.bhattacharyya.stored import TileMatrix
from pipeline.geometry.inpca import embed
from pipeline.geometry.progress import progress
from pipeline.runs import Place, RunGroups

GROUPS: dict[str, list[dict[str, Any]]] = {
    "sgd": [{}, {"network": "vit", "failed": (0,), "seeds": 3}],
    "adam": [{"optimizer": "adam_minibatch", "reach": 2.0}],
}
MODELS = 6 * len(UPDATES)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return made_up_runs(tmp_path_factory.mktemp("runs"), GROUPS)


def place(folder: Path) -> Place:
    return Place(folder / "matrix", folder / "cache", {"config": {}, "code": "test"}, 1)


def probabilities(runs: RunGroups, split: str) -> np.ndarray:
    parts = [
        stored_predictions(run, split)["root_probabilities"].values.astype(float) ** 2
        for group in runs.values()
        for run in group
    ]
    return np.concatenate(parts)


def test_models_of_seeds_that_diverged_are_left_out(runs: RunGroups) -> None:
    found = stored_models(runs)
    assert len(found) == MODELS
    assert found.seed[found.run == 1].tolist() == [1] * len(UPDATES) + [2] * len(UPDATES)
    assert found.update[found.ends()].tolist() == [UPDATES[-1]] * 6
    assert found.config("network").tolist().count("vit") == 2 * len(UPDATES)
    assert [place for place, _, _ in found.trajectories()] == [0, 0, 1, 1, 2, 2]


def test_a_run_that_diverged_in_all_seeds_is_left_out_and_counted(tmp_path: Path) -> None:
    runs = made_up_runs(tmp_path, {"sgd": [{}, {"failed": (0, 1)}]})
    gone = runs["sgd"][1]
    assert (gone.seeds, gone.failed_seeds) == (0, [0, 1])
    found = models(runs, {"seed": 0})
    assert found.attrs["runs"] == [runs["sgd"][0].name]
    assert found.sizes["model"] == 2 * len(UPDATES)


@pytest.mark.parametrize("split", ["train", "test"])
def test_metrics_are_those_of_the_kernels(runs: RunGroups, split: str) -> None:
    found, p, y = models(runs, {"seed": 0}), probabilities(runs, split), labels_of(split)
    np.testing.assert_allclose(metric(found, "progress", split), progress(p, y), atol=1e-7)
    wrong = (p.argmax(axis=2) != y).mean(axis=1)
    np.testing.assert_array_equal(metric(found, "error", split), wrong)
    flat = np.full((1, SAMPLES[split], CLASSES), 1 / CLASSES)
    apart = plain_distances(p, flat)[:, 0]
    np.testing.assert_allclose(metric(found, "ignorance_distance", split), apart, atol=1e-7)
    assert found.attrs["failed_seeds"] == [0, 1, 0]


def test_the_embedding_is_that_of_the_plain_matrix(runs: RunGroups, tmp_path: Path) -> None:
    there = place(tmp_path)
    distances(runs, {"seed": 0, "split": "test", "side": 16}, there)
    given = RunGroups(runs, folders={"distances": there.folder})
    found = embedding(given, {"seed": 0, "components": 8, "points": 3})
    p, y = probabilities(runs, "test"), labels_of("test")
    plain = embed(plain_distances(p, p), 8)
    np.testing.assert_allclose(found["eigenvalue"], plain.eigenvalues, atol=1e-5)
    np.testing.assert_allclose(found["explained_stress"], plain.explained_stress, atol=1e-5)
    ends = np.stack([np.full((y.size, CLASSES), 1 / CLASSES), np.eye(CLASSES)[y]])
    to_ends = plain_distances(ends, p)
    np.testing.assert_allclose(found["point_distance"].values[[0, 2]], to_ends, atol=1e-6)
    again = plain.transform(to_ends)[:, :3] * plain.signature[:3] ** 2
    np.testing.assert_allclose(np.abs(found["point_inpca"][[0, 2], :3]), np.abs(again), atol=1e-4)
    assert found.attrs["split"] == "test"


def test_samples_are_drawn_and_new_runs_cost_new_tiles(runs: RunGroups, tmp_path: Path) -> None:
    there = place(tmp_path)
    distances(runs, {"seed": 0, "split": "train", "samples": 7, "side": 16}, there)
    kept = {path.name for path in (there.cache / "tiles").iterdir()}
    p = probabilities(runs, "train")
    matrix = TileMatrix(there.folder).multiply(np.eye(MODELS))
    assert np.abs(matrix - plain_distances(p, p)).max() > 1e-3  # of fewer samples
    fewer = RunGroups({"sgd": runs["sgd"]})
    distances(fewer, {"seed": 0, "split": "train", "samples": 7, "side": 14}, there)
    distances(runs, {"seed": 0, "split": "train", "samples": 7, "side": 16}, there)
    again = {path.name for path in (there.cache / "tiles").iterdir()}
    assert kept < again
    np.testing.assert_array_equal(TileMatrix(there.folder).multiply(np.eye(MODELS)), matrix)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "split is None; valid is one of: train, test"),
        ({"split": "train", "samples": 41}, "samples is 41; valid are null and 1 to 40"),
        ({"split": "train", "typo": 1}, "no options typo"),
    ],
)
def test_options_that_make_no_sense(
    runs: RunGroups, tmp_path: Path, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(PipelineError, match=text):
        distances(runs, {"seed": 0, **options}, place(tmp_path))


def test_a_matrix_of_other_runs_is_refused(runs: RunGroups, tmp_path: Path) -> None:
    there = place(tmp_path)
    distances(RunGroups({"adam": runs["adam"]}), {"seed": 0, "split": "train"}, there)
    with pytest.raises(PipelineError, match="holds the distances of other runs"):
        embedding(RunGroups(runs, folders={"distances": there.folder}), {"seed": 0})
    with pytest.raises(PipelineError, match="given: none"):
        embedding(runs, {"seed": 0})
