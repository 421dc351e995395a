"""Figures and claims of embeddings, from made-up runs through all their analyses."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_up_embeddings import analysed, chosen_of

from pipeline.analysis.models import metric
from pipeline.claims.measurement import measure_claims
from pipeline.claims.prediction_space import embeddings as claims
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.figures.prediction_space.pairwise import PAIRS, pairwise
from pipeline.figures.prediction_space.samples import turned
from pipeline.figures.save import FigureResult, caption, draw, save_figure
from pipeline.registry import resolve
from pipeline.runs import RunGroups
from pipeline.scorecard import decide

CONFIG = Path(__file__).parents[1] / "config/prediction_space/embeddings.yaml"
ENTRIES = yaml.safe_load(CONFIG.read_text("utf-8"))["prediction_space"]
FIGURES: dict[str, dict[str, Any]] = ENTRIES["figures"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> RunGroups:
    return analysed(tmp_path_factory.mktemp("embeddings"))


def drawn(data: RunGroups, name: str) -> FigureResult:
    entry = FIGURES[name]
    given = chosen_of(data, *entry["analyses"])
    return draw(resolve(entry["function"]), given, entry.get("options", {}))


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_can_be_saved(data: RunGroups, name: str, tmp_path: Path) -> None:
    entry, result = FIGURES[name], drawn(data, name)
    text = caption(entry, result, data, "laptop")
    assert "nan" not in text
    assert len(result.table)
    page = bool(entry.get("interactive"))
    paths = save_figure(result, tmp_path / name, text, interactive=page)
    assert all(path.stat().st_size > 0 for path in paths)
    assert (tmp_path / f"{name}.html").exists() == page == (result.page is not None)
    assert any(axes.get_xlabel() for axes in result.fig.axes)


@pytest.mark.parametrize("name", ["2a", "2b", "3a", "6a", "6b", "S3", "S11"])
def test_unknown_options_are_refused(data: RunGroups, name: str) -> None:
    with pytest.raises(PipelineError, match="has no options colour; valid are: "):
        draw(resolve(FIGURES[name]["function"]), data, {"colour": "red"})


def test_a_picture_shows_the_stored_coordinates(data: RunGroups) -> None:
    result, found = drawn(data, "2a"), data.analyses["embedding_train"]
    models = result.table[result.table["network"] != "geodesic"]
    np.testing.assert_array_equal(models[["pc1", "pc2", "pc3"]], found["inpca"].values[:, :3])
    axes: Any = result.fig.axes[0]
    points = np.concatenate([np.transpose(part._offsets3d) for part in axes.collections])
    assert len(points) == len(models)
    labels = [axes.get_xlabel(), axes.get_ylabel(), axes.get_zlabel()]
    marks = {1: "+", -1: "−"}
    assert labels == [
        f"PC {k + 1} ({marks[s]})" for k, s in enumerate(found["signature"].values[:3])
    ]
    assert f"{100 * float(found['explained_stress'][2]):.1f} %" in result.summary


def test_pairs_are_coloured_by_what_they_are(data: RunGroups) -> None:
    result = drawn(data, "S8")
    panels = result.fig.axes[: 4 * len(PAIRS)]
    assert [axes.get_xlabel()[:4] for axes in panels[:3]] == ["PC 1", "PC 1", "PC 2"]
    assert [axes.get_ylabel()[:4] for axes in panels[:3]] == ["PC 2", "PC 3", "PC 3"]
    legend = panels[-1].get_legend()
    assert legend is not None
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["further away", "A: FC, augmented", "B: ViT"]
    close = data.analyses["closeness_test"]["target_distance"].values
    told = result.table["nearest_ends"].dropna().to_numpy()
    for letter, distances in zip("AB", close[3:], strict=True):
        assert (distances[told == letter] < 0.45).all()
    assert (close[3:][:, told == "none"] >= 0.45).all()
    assert {"A", "none"} <= set(told)
    assert " No run is ViT, augmented." in result.summary


def test_rows_of_pairs_that_make_no_sense(data: RunGroups) -> None:
    for row in ({"by": "colour"}, {"by": "closeness", "targets": "geodesic"}, "loss"):
        with pytest.raises(PipelineError, match="The option rows has"):
            pairwise(data, {"rows": [row]})
    rows = [{"by": "closeness", "targets": "ends", "radius": 1}]
    with pytest.raises(PipelineError, match="are of other models"):
        pairwise(chosen_of(data, "embedding_train", "closeness_test"), {"rows": rows})
    given = chosen_of(data, "embedding_train", "closeness_train")
    result = pairwise(given, {"rows": rows})
    assert "No run is a target of kind ends." in result.summary


def test_the_symmetrised_divergence_leaves_out_the_truth(data: RunGroups) -> None:
    result = drawn(data, "S11")
    assert "truth is infinitely far" in result.summary
    table = result.table[result.table["network"] == "geodesic"]
    last = table.groupby("embedding")["progress"].max()
    assert last["symmetrised KL, train"] < 1 == last["geodesic, train"]


def test_signs_of_coordinates_are_turned_to_agree() -> None:
    points = np.random.default_rng(0).standard_normal((9, 3))
    noisy = points * [1, -1, -1] + 0.01
    np.testing.assert_allclose(turned(noisy, points), points + np.array([0.01, -0.01, -0.01]))


def test_the_page_holds_all_models_and_reaches_for_nothing(data: RunGroups) -> None:
    page = drawn(data, "2a").page
    assert page is not None
    assert not re.search(r"https?://|\bimport\b|\bfetch\b|src=", page)
    found = re.search(r'id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    content = json.loads(found[1])
    assert sum(len(cloud["points"]) for cloud in content["clouds"]) == 56
    assert [cloud["name"] for cloud in content["clouds"]] == ["FC", "ConvMixer", "ViT"]
    label = content["clouds"][2]["labels"][-1]
    assert re.fullmatch(
        r"ViT, SGD, batch 10, rate 0.1, seed 2, epoch 5, train error 0(\.\d+)?", label
    )
    assert [mark["text"][:2] for mark in content["marks"]] == ["P₀", "P*"]


@pytest.mark.parametrize("name", ["2a", "5a"])
def test_without_first_records_hovering_still_shows_the_error(data: RunGroups, name: str) -> None:
    given = chosen_of(data, *FIGURES[name]["analyses"])
    result = draw(resolve(FIGURES[name]["function"]), given, {"first": False})
    found = re.search(r'id="data">(.*?)</script>', str(result.page), re.DOTALL)
    assert found is not None
    clouds = json.loads(found[1])["clouds"]
    told = [label for cloud in clouds for label in cloud["labels"]]
    assert len(told) == 56 - 8
    split, measured = ("train", "test")[name == "5a"], data.analyses["models"]
    wanted = metric(measured, "error", split)[measured["model_update"].values > 0]
    shown = sorted(float(label.rsplit(f", {split} error ", 1)[1]) for label in told)
    np.testing.assert_allclose(shown, np.sort(wanted), rtol=5e-3)
    vit = next(cloud["labels"] for cloud in clouds if cloud["name"] == "ViT")
    mine = measured["model_update"].values > 0
    mine &= measured["model_run"].values == 1
    for label, error in zip(vit, metric(measured, "error", split)[mine], strict=True):
        assert label.endswith(f"error {error:.3g}")


# ---- claims


def test_all_claims_are_measured_or_say_why_not(data: RunGroups) -> None:
    entries = [{"analyses": [], **claim, "id": name} for name, claim in ENTRIES["claims"].items()]
    rows = {row["id"]: row for row in measure_claims(entries, data)}
    gone = {name for name, row in rows.items() if row["measurement"] is None}
    assert gone == {"stress_50_test", "few_samples_train", "few_samples_test"}  # too few are stored
    assert "Only 20 dimensions" in rows["stress_50_test"]["unavailable"]
    assert "100 test samples" in rows["few_samples_test"]["unavailable"]
    for row in rows.values():
        decide(row)
    found = data.analyses["embedding_train"]
    stress = rows["stress_3_train"]["measurement"]
    assert stress["value"] == float(found["explained_stress"][2])
    assert stress["n"] == 8
    assert rows["signs_train"]["measurement"]["value"] == 3
    joint = data.analyses["joint"]["joint_explained_distance"].values[1, 9]
    assert rows["joint_distance"]["measurement"]["value"] == joint
    own = float(data.analyses["embedding_test"]["explained_distance"][9])
    assert rows["joint_ratio"]["measurement"]["value"] == pytest.approx(joint / own)
    variance = float(data.analyses["pca_test"]["explained_variance"][2])
    assert rows["variance_test"]["measurement"]["value"] == variance


def test_few_samples_are_compared_with_all(
    data: RunGroups, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "FEW", 10)
    measured = claims.few_samples_test(chosen_of(data, "subsets_test", "embedding_test"))
    values = data.analyses["subsets_test"]["subset_explained_distance"].values[1, :, 2]
    whole = float(data.analyses["embedding_test"]["explained_distance"][2])
    assert measured.value == pytest.approx(values.mean() / whole)
    assert measured.n == 3
    assert measured.interval is not None
    assert measured.interval[0] < measured.value < measured.interval[1]


def test_what_is_not_given_is_named(data: RunGroups) -> None:
    with pytest.raises(PipelineError, match="No embedding of test samples by euclidean distances"):
        claims.variance_test(chosen_of(data, "embedding_test"))
    with pytest.raises(PipelineError, match="No embedding was given"):
        claims.stress_3_train(chosen_of(data, "models"))
    with pytest.raises(NotMeasurable, match="No embedding was made of 100 train samples"):
        claims.few_samples_train(chosen_of(data, "subsets_test", "embedding_train"))
