"""The synthetic task: choice of trajectories, embeddings at moments, spectra, and their figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up_models import SAMPLES, UPDATES, made_up_runs
from made_up_predictions import plain_distances

from pipeline.analysis.corners import corners, trajectory_sets
from pipeline.analysis.distances import distances
from pipeline.analysis.embedding import embedding
from pipeline.analysis.spectra import spectra
from pipeline.analysis.stored_models import stored_models, stored_predictions
from pipeline.analysis.synthetic_results import corner_groups, corner_results, embedding_of_group
from pipeline.data.sloppy import eigenvalues
from pipeline.errors import PipelineError
from pipeline.figures.prediction_space.synthetic import figS14, figS15, figS16, figS17
from pipeline.figures.save import caption, draw, save_figure
from pipeline.geometry.inpca import embed
from pipeline.runs import Place, RunGroups

ENTRY = {"title": "Title", "paper": "What the paper shows.", "section": "Sec."}
MODELS = len(UPDATES)
STUDENTS = [{"network": "student"}, {"network": "deep_student", "optimizer": "nesterov"}]
CORNERS = [
    {"network": "student", "corner": corner, "optimizer": optimizer}
    for corner in (0, 1, 2)
    for optimizer in ("sgd_minibatch", "nesterov")
]


def place(folder: Path) -> Place:
    return Place(folder / "matrix", folder / "cache", {"config": {}, "code": "test"}, 1)


@pytest.fixture(scope="module")
def starts(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return made_up_runs(tmp_path_factory.mktemp("corners"), {"corners": CORNERS})


@pytest.fixture(scope="module")
def from_corners(starts: RunGroups, tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    there = place(tmp_path_factory.mktemp("place"))
    options = {"seed": 0, "components": 8, "moments": [0.0, 0.3]}
    found = {
        f"corners_{count}": corners(starts, {**options, "corners": count}, there)
        for count in (1, 2, 5)
    }
    return RunGroups(starts, found)


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    folder = tmp_path_factory.mktemp("tasks")
    groups = {"sloppy": STUDENTS, "not_sloppy": STUDENTS}
    data = made_up_runs(folder / "runs", groups)
    for group in groups:
        for split in ("train", "test"):
            there = place(folder / f"{group}_{split}")
            mine = RunGroups({group: data[group]}, folders={"distances": there.folder})
            distances(mine, {"seed": 0, "split": split}, there)
            made = embedding(mine, {"seed": 0, "components": 12, "points": 5})
            data.analyses[f"embedding_{group}_{split}"] = made
    return data


# --- which trajectories ---------------------------------------------------------------------------


def chosen(starts: RunGroups, count: int) -> list[list[tuple[int, str, int]]]:
    """(corner, optimiser, seed) of the trajectories of each set."""
    models = stored_models(starts)
    found = []
    for trajectories in trajectory_sets(models, count):
        found.append([])
        for one in trajectories:
            assert models.update[one].tolist() == list(UPDATES)
            config = models.runs[models.run[one[0]]].config
            found[-1].append((config["corner"], config["optimizer"], int(models.seed[one[0]])))
    return found


def test_all_trajectories_are_in_one_set_each_of_as_many(starts: RunGroups) -> None:
    every = {(k, o, s) for k in range(3) for o in ("nesterov", "sgd_minibatch") for s in (0, 1)}
    for count, sets in ((1, 3), (3, 3), (10, 3)):
        found = chosen(starts, count)
        assert [len(one) for one in found] == [4] * sets
        together = [one for some in found for one in some]
        assert len(together) == len(every)
        assert set(together) == every
    assert [{corner for corner, _, _ in one} for one in chosen(starts, 1)] == [{0}, {1}, {2}]
    assert chosen(starts, 10) == chosen(starts, 3)


def test_the_corners_take_turns(starts: RunGroups) -> None:
    two, three = chosen(starts, 2), chosen(starts, 3)
    assert [sorted(corner for corner, _, _ in one) for one in two] == [[0, 0, 1, 1]] * 2
    assert len({*two[0], *two[1]}) == 8  # corner 2 has no partner: it is left out
    counts = [sorted(np.bincount([corner for corner, _, _ in one])) for one in three]
    assert counts == [[1, 1, 2]] * 3
    assert {len({optimizer for _, optimizer, _ in one}) for one in [*two, *three]} == {2}


def test_few_trajectories_are_out_of_as_many_corners(tmp_path: Path) -> None:
    data = made_up_runs(
        tmp_path, {"corners": [{"corner": k, "seeds": 2, "failed": (1,)} for k in range(3)]}
    )
    assert [[corner for corner, _, _ in one] for one in chosen(data, 3)] == [[0], [1], [2]]
    data = made_up_runs(tmp_path / "two", {"corners": [{"corner": k} for k in range(5)]})
    found = chosen(data, 5)
    assert [len({corner for corner, _, _ in one}) for one in found] == [2] * 5
    options = {"seed": 0, "corners": 5, "components": 4}
    made = corners(data, options, place(tmp_path))
    assert made["set_corners"].values.tolist() == [2] * 5
    result = draw(figS16, RunGroups(data, {"five": made}), {})
    assert "Sloppy inputs, 5 sets of 2 trajectories each, none in two of them" in result.summary
    assert "2 of 5 corners" in result.summary


@pytest.mark.parametrize("count", [0, True, "two", 1.5])
def test_corners_are_whole_numbers(starts: RunGroups, count: Any, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="valid is a whole number from 1 on"):
        corners(starts, {"seed": 0, "corners": count}, place(tmp_path))


def test_runs_without_a_corner_are_refused(tasks: RunGroups, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"sloppy_0, .* begin near no corner"):
        corners(RunGroups({"sloppy": tasks["sloppy"]}), {"seed": 0}, place(tmp_path))
    with pytest.raises(PipelineError, match="no options typo"):
        corners(tasks, {"seed": 0, "typo": 1}, place(tmp_path))


# --- what is measured -----------------------------------------------------------------------------


def probabilities(starts: RunGroups) -> np.ndarray:
    """All models of all runs, (models, samples, classes)."""
    parts = [
        stored_predictions(run, "train")["root_probabilities"].values.astype(float) ** 2
        for run in starts["corners"]
    ]
    p = np.concatenate(parts)
    return p / p.sum(axis=2, keepdims=True)


def own_distances(p: np.ndarray) -> np.ndarray:
    found = plain_distances(p, p)
    np.fill_diagonal(found, 0)  # rounding
    return found


def test_the_embedding_is_that_of_the_chosen_models(
    starts: RunGroups, from_corners: RunGroups
) -> None:
    found, models = from_corners.analyses["corners_2"], stored_models(starts)
    first, second = trajectory_sets(models, 2)
    rows = np.sort(np.concatenate(first))
    assert found.sizes["model"] == rows.size == 4 * MODELS
    np.testing.assert_array_equal(found["model_run"], models.run[rows])
    p = probabilities(starts)[rows]
    plain = embed(own_distances(p), 8)
    np.testing.assert_allclose(found["eigenvalue"], plain.eigenvalues, atol=1e-5)
    np.testing.assert_allclose(found["explained_stress"], plain.explained_stress, atol=1e-5)
    np.testing.assert_allclose(found["set_stress"][0], plain.explained_stress, atol=1e-5)
    p = probabilities(starts)[np.sort(np.concatenate(second))]
    np.testing.assert_allclose(
        found["set_stress"][1], embed(own_distances(p), 8).explained_stress, atol=1e-5
    )
    assert (found.attrs["corners"], found.attrs["trajectories"], found.attrs["networks"]) == (
        2,
        4,
        8,
    )
    assert from_corners.analyses["corners_5"].attrs["corners"] == 3


def test_models_at_a_moment_are_one_of_each_trajectory(
    starts: RunGroups, from_corners: RunGroups
) -> None:
    found, models = from_corners.analyses["corners_1"], stored_models(starts)
    p = probabilities(starts)
    for row, place_of in enumerate((0, 3)):  # epoch 0.3 * 5 = 1.5: the model of epoch 2
        for number, trajectories in enumerate(trajectory_sets(models, 1)):
            rows = [one[place_of] for one in trajectories]
            assert set(models.epoch[rows]) == {(0.0, 2.0)[row]}
            plain = embed(own_distances(p[rows]), 4).explained_stress
            np.testing.assert_allclose(found["moment_stress"][number, row], plain, atol=1e-4)
            expected = p[rows].max(axis=2).mean()
            assert float(found["moment_largest"][number, row]) == pytest.approx(expected)


class DataFolder:
    """Arrays in the place of a data set's store."""

    def __init__(self, points: np.ndarray, labels: np.ndarray) -> None:
        self.train, self.train_classes, self.class_count = points, labels, 3


def test_spectra_are_those_of_the_inputs(tasks: RunGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = eigenvalues(6, 0.5)
    x = np.random.default_rng(0).standard_normal((400, 6))
    x -= x.mean(axis=0)
    x = np.linalg.svd(x, full_matrices=False)[0] * np.sqrt(400)  # covariance exactly 1
    both = iter([x * np.sqrt(wanted), x[:, :4] + 7.0])

    def arrays(config: dict[str, Any], folder: Path) -> DataFolder:
        return DataFolder(next(both), np.array([0, 1, 1, 2]))

    monkeypatch.setattr("pipeline.analysis.spectra.classifier_arrays", arrays)
    found = spectra(RunGroups(tasks), {"seed": 0})
    np.testing.assert_allclose(found["input_eigenvalue"][0], wanted, rtol=1e-9)
    np.testing.assert_allclose(found["input_eigenvalue"][1, :4], 1, rtol=1e-9)
    assert np.isnan(found["input_eigenvalue"][1, 4:]).all()
    assert found["class_share"].values[0].tolist() == [0.25, 0.5, 0.25]
    assert found.attrs["groups"] == ["sloppy", "not_sloppy"]
    result = draw(figS14, RunGroups(tasks, {"spectra": found}), {})
    assert "falling by a factor exp(0.5) each" in result.summary
    assert result.table["task"].value_counts().to_dict() == {"sloppy": 6, "not sloppy": 4}
    assert result.fig.axes[0].get_yscale() == "log"


def test_images_have_no_such_spectrum(tasks: RunGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    def arrays(config: dict[str, Any], folder: Path) -> DataFolder:
        return DataFolder(np.zeros((4, 1, 2, 2)), np.zeros(4, int))

    monkeypatch.setattr("pipeline.analysis.spectra.classifier_arrays", arrays)
    with pytest.raises(PipelineError, match="sloppy_0 learns images"):
        spectra(RunGroups(tasks), {"seed": 0})


# --- figures --------------------------------------------------------------------------------------


def test_both_tasks_are_drawn(tasks: RunGroups, tmp_path: Path) -> None:
    result = draw(figS15, tasks, {})
    text = caption(ENTRY, result, tasks, "laptop")
    assert "nan" not in text
    assert [axes.get_title() for axes in result.fig.axes] == ["", "sloppy", "not sloppy"]
    curves = result.table[result.table["dimensions"].notna()]
    test = curves.query("task == 'not sloppy' and split == 'test'")
    stress = tasks.analyses["embedding_not_sloppy_test"]["explained_stress"]
    np.testing.assert_allclose(test["explained_stress"], stress)
    assert f"not sloppy, test {100 * float(stress[2]):.1f} % and" in result.summary
    assert len(result.table) == 4 * 12 + 2 * 4 * MODELS
    save_figure(result, tmp_path / "S15", text)


def test_corners_are_drawn(from_corners: RunGroups, tmp_path: Path) -> None:
    result = draw(figS16, from_corners, {})
    titles = [axes.get_title() for axes in result.fig.axes]
    assert titles == ["sloppy inputs", "1 corner", "3 corners"]
    assert len(result.fig.axes[1].lines) == 2 * 4  # trajectories and their starts
    stress = from_corners.analyses["corners_2"]["set_stress"].values
    curve = result.table.query("corners == 2 and dimensions.notna()")
    np.testing.assert_allclose(curve["explained_stress"], stress.mean(axis=0))
    np.testing.assert_allclose(curve["sd_over_sets"], stress.std(axis=0, ddof=1))
    assert "3, 2, 3 sets of 4 trajectories each" in result.summary
    save_figure(result, tmp_path / "S16", caption(ENTRY, result, from_corners, "laptop"))
    drawn = draw(figS17, from_corners, {})
    assert [axes.get_title() for axes in drawn.fig.axes] == [
        "sloppy inputs, at initialisation",
        "sloppy inputs, after 30 % of the epochs",
    ]
    curve = drawn.table.query("corners == 2 and share == 0.3")
    expected = from_corners.analyses["corners_2"]["moment_stress"].values[:, 1]
    np.testing.assert_allclose(curve["explained_stress"], expected.mean(axis=0))
    save_figure(drawn, tmp_path / "S17", caption(ENTRY, drawn, from_corners, "laptop"))


def test_inputs_that_are_not_sloppy_have_a_row_where_they_are_there(tmp_path: Path) -> None:
    groups = {"corners": CORNERS[:4], "corners_not_sloppy": CORNERS[:4]}
    data = made_up_runs(tmp_path / "runs", groups)
    for group in groups:
        for count in (1, 2):
            options = {"seed": 0, "corners": count, "components": 4}
            only = RunGroups({group: data[group]})
            data.analyses[f"{group}_{count}"] = corners(only, options, place(tmp_path))
    result = draw(figS16, data, {})
    assert [axes.get_title() for axes in result.fig.axes] == [
        *("sloppy inputs", "1 corner", "2 corners"),
        *("not sloppy inputs", "1 corner", "2 corners"),
    ]
    save_figure(result, tmp_path / "S16", caption(ENTRY, result, data, "paper"))
    drawn = draw(figS17, data, {})
    curve = drawn.table.query("task == 'not sloppy' and corners == 2 and share == 0")
    expected = data.analyses["corners_not_sloppy_2"]["moment_stress"].values[:, 0].mean(axis=0)
    np.testing.assert_allclose(curve["explained_stress"], expected)
    assert corner_groups(data) == list(groups)
    mine = corner_results(data, "corners_not_sloppy")
    assert [one.attrs["runs"][0] for one in mine] == [data["corners_not_sloppy"][0].name] * 2


def test_one_number_of_corners_is_enough(from_corners: RunGroups, tmp_path: Path) -> None:
    only = RunGroups(from_corners, {"corners_1": from_corners.analyses["corners_1"]})
    for name, function in (("S16", figS16), ("S17", figS17)):
        result = draw(function, only, {})
        save_figure(result, tmp_path / name, caption(ENTRY, result, only, "smoke"))


def test_what_is_not_given_is_named(tasks: RunGroups, from_corners: RunGroups) -> None:
    for function in (figS16, figS17):
        with pytest.raises(PipelineError, match="No analysis of corners was given"):
            draw(function, tasks, {})
    with pytest.raises(PipelineError, match="No embedding of the runs sloppy on valid samples"):
        embedding_of_group(tasks, "sloppy", "valid")
    found = tasks.analyses["embedding_sloppy_test"]
    assert embedding_of_group(tasks, "sloppy", "test") is found
    other = RunGroups({"sloppy": tasks["not_sloppy"]}, tasks.analyses)
    with pytest.raises(PipelineError, match="holds the run sloppy_0, which is not given"):
        draw(figS15, other, {})
    assert [one.attrs["corners"] for one in corner_results(from_corners)] == [1, 2, 3]
    assert SAMPLES["train"] == from_corners["corners"][0].trajectories.sizes["train_sample"]
