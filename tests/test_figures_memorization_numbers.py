"""Numbers in the tables and summaries of the memorisation paper's figures, from made-up runs."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_figures import KEPT, RUN, clean_run, one_run, shares, widths
from made_up_memorization import (
    BEST,
    EPOCHS,
    MANIFOLDS,
    POINTS,
    capacities,
    capacity_of,
    embedded,
    given,
    run_of,
    sphere_points,
)
from test_figures_memorization import curve_of, drawn

from pipeline.analysis.memorization_results import bound, mean_of
from pipeline.errors import PipelineError
from pipeline.figures import style
from pipeline.figures.memorization.accuracy import fig2A, held
from pipeline.figures.memorization.double_descent import double_descent
from pipeline.figures.memorization.embeddings import embeddings
from pipeline.figures.memorization.layers import along_epochs, layers
from pipeline.figures.memorization.looks import (
    KIND_COLORS,
    cut_bars,
    half_width,
    model_name,
    value_limits,
)
from pipeline.figures.memorization.noise import figA8
from pipeline.figures.save import draw

# --- accuracy -------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["2A", "A3"])
def test_a_subset_has_the_same_colour_in_all_figures(name: str) -> None:
    lines = [line for axes in drawn(name).fig.axes for line in axes.get_lines()]
    found = {str(line.get_label()): line.get_color() for line in lines}
    for kind, color in {**KIND_COLORS, "train": style.BLACK}.items():
        assert found[kind] == color
    bands = [band for axes in drawn(name).fig.axes for band in axes.collections]
    heights = np.concatenate([path.vertices[:, 1] for one in bands for path in one.get_paths()])
    assert heights.min() >= 0
    assert heights.max() <= 1


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
    assert f"P = {MANIFOLDS} manifolds of M = {POINTS} points." in result.summary
    assert f"best epoch ({BEST} to {BEST})" in result.summary
    assert "Means over 3 seeds, bars: 95 % intervals" in result.summary
    assert "99 % intervals" in drawn("3A").summary
    assert set(drawn("3B").table["moment"]) == {"final"}


def test_empty_kinds_are_left_out_and_counted() -> None:
    result = drawn("A5_clean")
    assert set(result.table["kind"]) == {"unpermuted", "test"}
    assert "60 cells have no capacity and are left out" in result.summary
    assert f"M = {POINTS} points" in result.summary
    assert set(drawn("A4_epochs_clean").table["kind"]) == {"unpermuted", "test"}


def test_figures_of_different_moments_have_the_same_axes() -> None:
    stack = capacities([RUN])
    stack["mean_capacity"][0, :, 1, 4, 0] = 30.0  # at the final epoch only
    best, final = (
        draw(layers, one_run(stack=stack), {"moments": [moment]}) for moment in ("best", "final")
    )
    limits = [axes.get_ylim() for axes in final.fig.axes]
    assert [axes.get_ylim() for axes in best.fig.axes] == limits
    assert limits[0][1] > 30
    assert final.fig.axes[0].get_yscale() == "log"


def test_long_bars_do_not_set_the_axes_and_are_counted() -> None:
    stack = capacities([RUN])
    stack["center_correlation"][0, :, 0, 0, 3] = [0.01, 0.2, 0.99]  # 99 %: ± 2.9
    stack["mean_capacity"][0, :, 0, 0, 3] = [0.01, 0.2, 0.9]
    result = draw(layers, one_run(stack=stack), {"confidence": 0.99})
    for axes, metric in zip(
        result.fig.axes, ("mean_capacity", "radius", "dimension"), strict=False
    ):
        low, high = axes.get_ylim()
        rows = curve_of(result.table, quantity=metric)
        assert 0 <= low < rows["mean"].min()
        assert rows["mean"].max() < high < 3 * rows["mean"].max()
        if metric == "mean_capacity":
            assert low < bound(stack)
    low, high = result.fig.axes[3].get_ylim()
    assert (low, high) >= (0, 0)
    assert high <= 1
    assert "2 of 160 bars are longer than the axis and cut" in result.summary
    assert "bars are longer" not in drawn("A5").summary


def test_restarts_that_did_not_converge_are_counted() -> None:
    stack = capacities([RUN])
    stack["unconverged"] = stack["mean_capacity"].copy(data=np.zeros(stack["mean_capacity"].shape))
    assert "converge" not in draw(layers, one_run(stack=stack), {}).summary
    stack["unconverged"][0, 0, 0, 0, :2] = [3, 7]
    text = draw(layers, one_run(stack=stack), {}).summary
    assert "In 2 of 120 cells restarts" in text
    assert "(at most 7)" in text


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


def test_capacity_along_the_epochs_counts_the_seeds_of_its_analysis() -> None:
    groups = one_run(stack=capacities([run_of(seeds=2)], moments=KEPT))
    text = draw(along_epochs, groups, {}).summary
    assert "One line per layer and seed, of 2 of the 3 networks" in text


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


def test_widths_are_sorted_by_the_number_of_parameters() -> None:
    groups = widths()
    stack = groups.analyses["stack"]
    stack["parameters"][:] = [64000, 1000, 16000, 4000]
    stack["dimension"][:] = np.arange(4).reshape(-1, *[1] * (stack["dimension"].ndim - 1))
    result = draw(double_descent, groups, {"panel": "dimension"})
    final = curve_of(result.table, moment="final")
    assert final["parameters"].tolist() == [1000, 4000, 16000, 64000]
    assert final["mean"].tolist() == [1, 3, 2, 0]
    best, last = (bars.lines[0].get_xdata() for bars in result.fig.axes[0].containers)
    assert (best < [1000, 4000, 16000, 64000]).all()
    assert (last > [1000, 4000, 16000, 64000]).all()
    assert result.fig.axes[0].get_ylim()[0] == 0
    assert f"P = {MANIFOLDS} manifolds of M = {POINTS} points" in result.summary
    assert "manifolds" not in drawn("4C").summary


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
    assert len({axes.get_ylim() for axes in result.fig.axes[:3]}) == 1
    assert f"P = {MANIFOLDS} manifolds of M = {POINTS} points." in result.summary
    assert "2/M of the permuted manifolds (0.2)" in result.summary
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


# --- examples, embeddings, helpers ----------------------------------------------------------------


def test_wrong_labels_are_red_and_named() -> None:
    result = drawn("1A")
    assert "Shown is one network, seed 0, of the 3 trained." in result.summary
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
    assert "Features of layer conv2" in result.summary
    assert "Shown is one network, seed 0, of the 3 trained." in result.summary
    assert "5 classes" in result.summary
    with pytest.raises(PipelineError, match="'conv9' was not embedded; valid are: linear4, conv2"):
        draw(embeddings, one_run(umap=found), {"layer": "conv9"})


def test_means_and_intervals_leave_nan_out() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 2.0, np.nan]])
    np.testing.assert_array_equal(mean_of(values), [2.0, 2.0, np.nan])
    assert half_width(values)[0] == pytest.approx(12.7062, rel=1e-5)
    assert np.isnan(half_width(values)[1:]).all()


def test_limits_are_those_of_the_means_and_of_bars_near_them() -> None:
    mean, short = np.array([1.0, 3.0, np.nan]), np.array([0.1, np.nan, np.nan])
    assert value_limits(mean, short) == pytest.approx((0.9 - 0.126, 3.126))
    long = np.array([50.0, 0.1, np.nan])
    low, high = value_limits(mean, long, reach=0.5)
    assert (low, high) == pytest.approx((0.0 - 0.24, 4.24))
    assert value_limits(mean, long, 0.5, (0.0, 4.0)) == (0, 4)
    assert cut_bars(mean, long, (low, high)) == 1
    low, high = value_limits(np.array([0.1, 1.0]), np.array([5.0, 0.0]), reach=0.5, log=True)
    assert 0 < low < 0.1 / 10**0.5
    assert high > 1
    same = value_limits(np.array([2.0, 2.0]), np.zeros(2))
    assert same[0] < 2 < same[1]


def test_models_have_names() -> None:
    assert model_name(RUN) == "VGG-16, CIFAR-100"
    assert model_name(run_of(network="own", dataset="own")) == "own, own"
