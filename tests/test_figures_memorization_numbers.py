"""Numbers in the tables and summaries of the memorisation paper's figures, from made-up runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_up_figures import KEPT, RUN, clean_run, drawn, one_run, shares, widths
from made_up_memorization import (
    BEST,
    EPOCHS,
    MANIFOLDS,
    PARTS,
    POINTS,
    VGG16,
    capacities,
    capacity_of,
    embedded,
    given,
    gradient_norms,
    kept_epochs,
    rewound,
    run_of,
    sphere_points,
)

from pipeline.analysis.memorization_results import mean_of, shown_layers
from pipeline.errors import PipelineError
from pipeline.figures.memorization import gradients as gradient_figures
from pipeline.figures.memorization.accuracy import fig2A, held
from pipeline.figures.memorization.double_descent import double_descent
from pipeline.figures.memorization.embeddings import embeddings
from pipeline.figures.memorization.gradients import gradients
from pipeline.figures.memorization.layers import layers
from pipeline.figures.memorization.looks import half_width, model_name
from pipeline.figures.memorization.noise import figA8
from pipeline.figures.memorization.rewinding import rewinding
from pipeline.figures.save import draw

# --- accuracy -------------------------------------------------------------------------------------


def curve_of(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table)
    return table


def test_accuracies_are_means_of_seeds_that_keep_their_last_value() -> None:
    table = drawn("2A").table
    values = RUN.trajectories["accuracy"].values
    test = held(values[..., 1])
    found = curve_of(table, run="vgg16", quantity="test")
    np.testing.assert_allclose(found["mean"], test.mean(axis=0))
    np.testing.assert_allclose(found["half_width_95"], half_width(test))
    assert test[1, -1] == values[1, EPOCHS - 1, 1]
    assert set(table[table["run"] == "clean"]["quantity"]) == {"train", "test", "unpermuted"}
    assert (found["n"] == 3).all()


def test_the_accuracy_summary_has_numbers() -> None:
    text = drawn("2A_one_seed").summary
    assert "VGG-16, CIFAR-100: training accuracy" in text
    assert "restored from a maximum of" in text
    clean = draw(fig2A, clean_run(), {}).summary
    assert "restored" not in clean


def test_the_spheres_are_in_the_table() -> None:
    table = drawn("A3").table
    pair = sphere_points()
    found = curve_of(table, panel="pair")
    np.testing.assert_array_equal(found[["along", "across"]], pair["pair_points"])
    np.testing.assert_array_equal(found["class"], pair["pair_class"])
    kinds = set(curve_of(table, panel="accuracy")["quantity"])
    assert kinds == {"train", "test", "unpermuted", "permuted", "restored"}


# --- layers ---------------------------------------------------------------------------------------


def test_layers_are_means_over_seeds_and_manifolds() -> None:
    result = drawn("A5")
    for moment, kind, layer in (("best", "test", 5), ("final", "permuted", 4)):
        row = curve_of(
            result.table, moment=moment, kind=kind, layer=layer, quantity="mean_capacity"
        ).iloc[0]
        expected = [capacity_of(kind, moment, (layer - 1) / 4, seed) for seed in range(3)]
        assert row["mean"] == pytest.approx(np.mean(expected))
        half = 4.302653 * np.std(expected, ddof=1) / np.sqrt(3)
        assert row["half_width"] == pytest.approx(half, rel=1e-5)
        radius = curve_of(result.table, moment=moment, kind=kind, layer=layer, quantity="radius")
        assert radius["mean"].item() == pytest.approx(2 - np.mean(expected))
    assert "2/M = 0.2 (dotted)" in result.summary
    assert f"P = {MANIFOLDS} manifolds of M = {POINTS} to {POINTS} points" in result.summary
    assert f"best epoch ({BEST} to {BEST})" in result.summary
    assert "Means over 3 seeds, bars: 95 % intervals" in result.summary
    assert "99 % intervals" in drawn("3A").summary
    assert set(drawn("3B").table["moment"]) == {"final"}


def test_empty_kinds_are_left_out_and_counted() -> None:
    result = drawn("A5_clean")
    assert set(result.table["kind"]) == {"unpermuted", "test"}
    assert "60 cells have no capacity and are left out" in result.summary
    assert f"M = {POINTS} to {POINTS} points" in result.summary
    assert set(drawn("A4_epochs_clean").table["kind"]) == {"unpermuted", "test"}


def test_padded_seeds_are_left_out() -> None:
    runs = [run_of(seeds=2), run_of("longer", seeds=3)]
    stack = capacities(runs)
    result = draw(layers, given(runs, stack=stack), {})
    assert "Means over 2 seeds" in result.summary
    assert (result.table["n"] == 2).all()
    assert f"best epoch ({BEST} to {BEST})" in result.summary


def test_the_bound_is_that_of_the_permuted_manifolds() -> None:
    stack = capacities([RUN])
    stack["manifold_points"][..., 1] = 8
    assert "2/M = 0.25 (dotted)" in draw(layers, one_run(stack=stack), {}).summary


def test_moments_that_were_not_measured_are_refused() -> None:
    groups = one_run(stack=capacities([RUN]))
    with pytest.raises(
        PipelineError, match="'init' was not measured; the analysis has: best, final"
    ):
        draw(layers, groups, {"moments": ["init"]})


def test_capacity_along_the_epochs_is_that_of_each_seed() -> None:
    table = drawn("A4_epochs").table
    stack = capacities([RUN], moments=KEPT)
    row = curve_of(table, kind="test", seed=1, layer=3)
    np.testing.assert_array_equal(row["epoch"], stack["measured_epoch"][0, 1])
    np.testing.assert_allclose(row["capacity"], stack["mean_capacity"].values[0, 1, :, 2, 3])


# --- rewinding ------------------------------------------------------------------------------------


def test_rewound_curves_are_interpolated_between_kept_epochs() -> None:
    result = drawn("4B")
    found, epochs = rewound(RUN), kept_epochs(RUN)[0]
    grid = np.linspace(0, epochs.max(axis=1).min(), 41)
    curve = curve_of(result.table, layer="conv2", split="test")
    np.testing.assert_allclose(curve["epoch"], grid)
    rows = []
    for seed in range(3):
        there = epochs[seed] >= 0
        values = found["rewound_accuracy"].values[0, seed, there, 1, 1]
        rows.append(np.interp(grid, epochs[seed][there], values))
    np.testing.assert_allclose(curve["accuracy"], np.mean(rows, axis=0))
    assert set(result.table["layer"]) == {"conv1", "conv2"}
    assert "Rewinding conv2 alone" in result.summary
    assert "with their batch normalisation" in result.summary


def test_fewer_seeds_may_be_rewound_than_trained() -> None:
    found = rewound(RUN).isel(seed=[0, 2])
    assert "Means over 2 seeds" in draw(rewinding, one_run(found=found), {}).summary


def test_layers_that_are_rewound() -> None:
    names = [name for name in VGG16 if not name.startswith("pool")]
    assert shown_layers(names, "all") == names
    assert shown_layers(names, "hidden")[-1] == "conv17"
    assert shown_layers(names, "every_third")[-3:] == ["conv13", "conv16", "conv17"]
    assert shown_layers(["linear1", "linear2"], "hidden") == ["linear1"]
    with pytest.raises(PipelineError, match="layers = 'some' given; valid are: hidden"):
        shown_layers(names, "some")


# --- widths, noise --------------------------------------------------------------------------------


def test_double_descent_is_that_of_the_last_layer() -> None:
    table = drawn("4E").table
    assert set(table["moment"]) == {"best", "final"}
    assert sorted(set(table["parameters"])) == [1000, 4000, 16000, 64000]
    expected = np.mean([2 / capacity_of("test", "final", 0, seed) for seed in range(3)])
    np.testing.assert_allclose(curve_of(table, moment="final")["mean"], expected)
    accuracy = curve_of(drawn("4C").table, moment="best", parameters=1000)["mean"].item()
    run = next(iter(widths().values()))[0]
    values = run.trajectories["accuracy"].values[..., 1]
    assert accuracy == pytest.approx(np.nanmax(values, axis=1).mean())
    assert set(drawn("4D").table["quantity"]) == {"radius", "center_correlation"}
    with pytest.raises(PipelineError, match="panel = 'C' given; valid are: accuracy"):
        draw(double_descent, widths(), {"panel": "C"})


def test_noise_has_a_row_per_network_and_kinds_that_are_there() -> None:
    result = drawn("A8")
    assert set(result.table["network"]) == {"alexnet", "vgg16"}
    last = curve_of(result.table, layer="last layer", network="vgg16")
    assert curve_of(last, kind="permuted")["eps"].tolist() == [0.5, 1.0]
    assert curve_of(last, kind="unpermuted")["eps"].tolist() == [0.0, 0.5]
    assert curve_of(last, kind="test")["eps"].tolist() == [0.0, 0.5, 1.0]
    expected = np.mean([capacity_of("permuted", "final", 1, seed) for seed in range(3)])
    assert curve_of(last, kind="permuted", eps=0.5)["capacity"].item() == pytest.approx(expected)
    assert len(result.fig.axes) == 6
    groups = shares()
    groups.analyses["stack"].attrs["runs"][0] = "other"
    with pytest.raises(PipelineError, match=r"alexnet_1\.0 is in none of the analyses"):
        draw(figA8, groups, {})


def test_every_network_has_the_names_of_its_own_layers() -> None:
    groups = shares()
    names = groups.analyses["stack"].attrs["run_layer_names"]
    names[:3] = [["conv1", "conv4", "linear8"]] * 3  # of AlexNet
    titles = [axes.get_title("left") for axes in draw(figA8, groups, {}).fig.axes]
    assert titles[2] == "last layer (linear8)"
    assert titles[5] == "last layer (linear21)"


# --- gradients ------------------------------------------------------------------------------------


def test_gradients_are_means_of_logarithms() -> None:
    result = drawn("A12")
    table = result.table
    assert list(dict.fromkeys(table["panel"])) == list("ABCDEFG")
    grid = table["epoch"].unique()
    assert (grid[0], grid[-1]) == (0, EPOCHS - 2)  # of the shortest training
    start, fall = PARTS["total"]
    third = curve_of(table, panel="A", layer=VGG16[2])["log10"]
    np.testing.assert_allclose(third, start - fall * grid / EPOCHS - 0.2 + 0.01, atol=1e-9)
    ratio = curve_of(table, panel="F", layer=VGG16[2])["log10"]
    np.testing.assert_allclose(ratio, 1.0 - 1.8 * grid / EPOCHS, atol=1e-9)
    assert "dep, unpermuted / permuted 1.00 at first" in result.summary
    assert (
        "batch normalisation as in training, parts over the size of the whole set" in result.summary
    )


def test_parts_of_empty_subsets_are_left_out() -> None:
    result = drawn("A12_clean")
    assert set(result.table["panel"]) == {"A", "B", "D"}
    assert "permuted samples nothing, a subset is empty" in result.summary


def test_unknown_panels_are_refused() -> None:
    with pytest.raises(PipelineError, match="Panels H given; valid are: A, B"):
        draw(gradients, one_run(found=gradient_norms(RUN)), {"panels": ["A", "H"]})
    assert set(gradient_figures.PANELS) >= set("ABCDEFG")


# --- examples, embeddings, helpers ----------------------------------------------------------------


def test_wrong_labels_are_red_and_named() -> None:
    result = drawn("1A")
    assert "75 % of the permuted ones shown" in result.summary
    found = curve_of(result.table, kind="permuted")
    assert found["label"].tolist() == [2, 7, 4, 0]
    assert found["class"].tolist() == [8, 1, 4, 6]
    titles = [axes.get_title() for axes in result.fig.axes]
    assert titles[4:8] == ["bird", "horse", "deer", "aeroplane"]
    assert [axes.get_title() for axes in drawn("1A_gray").fig.axes][4] == "class 2"


def test_embedded_points_that_are_missing_are_left_out() -> None:
    result = drawn("2B")
    found = embedded()
    there = np.isfinite(found["umap"].values[0, 0, 1, 1, :, 0]) & (found["umap_kind"].values == 2)
    rows = curve_of(result.table, moment="best", kind="restored")
    np.testing.assert_allclose(
        rows[["x", "y"]], found["umap"].values[0, 0, 1, 1][there.ravel()], rtol=1e-12
    )
    assert "layer conv2 of one network (seed 0)" in result.summary
    assert "5 classes" in result.summary
    with pytest.raises(PipelineError, match="'conv9' was not embedded; valid are: linear4, conv2"):
        draw(embeddings, one_run(umap=found), {"layer": "conv9"})


def test_means_and_intervals_leave_nan_out() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan]])
    np.testing.assert_array_equal(mean_of(values), [2.0, 2.0, np.nan])
    assert half_width(values)[0] == pytest.approx(12.7062, rel=1e-5)
    assert np.isnan(half_width(values)[1:]).all()


def test_models_have_names() -> None:
    assert model_name(RUN) == "VGG-16, CIFAR-100"
    assert model_name(run_of(network="own", dataset="own")) == "own, own"
