"""S1, S4, T1, T2, L1 and init_variance from made-up runs: numbers, gaps, labels."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_stragglers import (
    REASON,
    layer_run,
    pair_runs,
    place_runs,
    straggler_run,
    variance_runs,
    with_phi,
)

from pipeline.analysis.centres import within_class
from pipeline.analysis.inversion import extremum
from pipeline.figures.save import FigureResult, draw, save_figure
from pipeline.figures.stragglers.initial_weights_and_layers import figL1, init_variance
from pipeline.figures.stragglers.supplement import class_colors, densest_point, figS1, figS4
from pipeline.figures.stragglers.tables import figT1, figT2
from pipeline.runs import RunGroups

PAPER_PHI = {"tanh": [0.098, 0.002], "relu": [0.089, 0.009]}
PAPER_Z = [["main", "deep_4", 50], ["sgd_shuffles", "sgd_shuffles", 11]]
PAIRS = pair_runs()
PLACES = place_runs()
VARIANCES = variance_runs()


def usable(result: FigureResult) -> FigureResult:
    """A result with a table without NaN and axes with labels."""
    assert len(result.table)
    assert not result.table.isna().any().any()
    for axes in result.fig.axes:
        assert axes.get_xlabel() or axes.get_ylabel()
    return result


def batches(seeds: int = 3) -> RunGroups:
    small = [
        with_phi(straggler_run(f"sgd_{size}", seeds, optimizer="sgd", batch_size=size), phi)
        for size, phi in ((32, 0.08), (512, 0.095))
    ]
    return RunGroups({"main": [with_phi(straggler_run("main", seeds), 0.1)], "sgd": small})


def activations() -> RunGroups:
    runs = [
        with_phi(straggler_run(f"activations_{name}", activation=name), phi, 0.008)
        for name, phi in (("silu", 0.097), ("relu", 0.087))
    ]
    deep = [with_phi(straggler_run("deep_4", depth=4), 0.0975)]
    return RunGroups({"deep_4": deep, "activations": runs})


# --- S1 ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 3])
def test_s1_compares_batches_with_the_full_batch(seeds):
    result = usable(draw(figS1, batches(seeds), {}))
    labels = [text.get_text() for text in result.fig.legends[0].get_texts()]
    assert labels == ["GD, full batch", "SGD, batch 512", "SGD, batch 32"]
    assert "-0.0050 (batch 512), -0.0200 (batch 32)" in result.summary
    assert set(result.table["run"]) == {"main", "sgd_32", "sgd_512"}


def test_s1_without_the_full_batch():
    data = batches()
    data["main"] = []
    result = usable(draw(figS1, data, {}))
    assert "minus phi of the full batch" not in result.summary
    assert set(result.table["run"]) == {"sgd_32", "sgd_512"}


# --- S4 ------------------------------------------------------------------------------------------


def test_s4_holds_places_and_effects():
    result = usable(draw(figS4, PLACES, {"bins": 20}))
    centres, embedded = PLACES.analyses["class_centres"], PLACES.analyses["tsne"]
    values = result.table.set_index(["quantity", "of"])["value"]
    for seed, effect in enumerate(centres["effect_size_within"].values):
        assert values["effect_size_within, standardised pixels", str(seed)] == effect
    np.testing.assert_allclose(values["t-SNE axis 2"], embedded["embedding"].values[:, 1])
    marked = embedded["conserved"].values >= 0.5
    assert values["straggler"].sum() == marked.sum() == 40
    relative = within_class(centres["centre_distance"].values, centres["labels"].values)
    low, high = np.quantile(relative, [0.001, 0.99])
    widths = np.full(20, (high - low) / 20)
    for name in ("others", "stragglers"):
        assert np.sum(values[f"density, {name}"].to_numpy() * widths) == pytest.approx(1)
    assert f"{centres['effect_size_within'].values.mean():.3f} ±" in result.summary
    assert "0.320 ± 0.016 for stragglers, 0.102 ± 0.002 for the others" in result.summary


def test_s4_leaves_out_a_network_without_an_effect():
    data = place_runs(networks=3)
    centres = data.analyses["class_centres"].copy(deep=True)
    for name in ("effect_size", "effect_size_within"):
        centres[name][1] = np.nan
    data.analyses["class_centres"] = centres
    result = usable(draw(figS4, data, {}))
    assert list(
        result.table[result.table["quantity"] == "effect_size, standardised pixels"]["of"]
    ) == ["0", "2"]
    assert "(2 networks" in result.summary


def test_the_number_of_a_class_stands_in_a_cluster():
    random = np.random.default_rng(0)
    far, near = random.normal(-5, 0.5, (30, 2)), random.normal(5, 0.1, (40, 2))
    found = densest_point(np.concatenate([far, near]))
    assert np.abs(found - 5).max() < 0.5
    np.testing.assert_array_equal(densest_point(far[:1]), far[0])


def test_classes_have_colours_of_their_parity():
    colors = class_colors(np.array([0, 1, 2, 3, 9]))
    assert sorted(colors) == [0, 1, 2, 3, 9]
    assert len(set(colors.values())) == 5
    for value, (red, _, blue, _) in colors.items():
        assert (red > blue) == (value % 2 == 1)


# --- T1, T2 --------------------------------------------------------------------------------------


def test_t1_is_a_table_of_activations():
    result = usable(draw(figT1, activations(), {"paper": PAPER_PHI | {"silu": [0.097, 0.014]}}))
    assert list(result.table["row"]) == ["tanh", "ReLU", "SiLU"]
    relu = result.table.iloc[1]
    assert relu["value"] == pytest.approx(0.087)
    assert relu["high"] - relu["value"] == pytest.approx(0.008)
    assert (relu["paper_value"], relu["paper_spread"], relu["n"]) == (0.089, 0.009, 4)
    assert "ReLU 0.0870 ± 0.0080 (paper: 0.089 ± 0.009)" in result.summary


def test_t1_without_most_activations_and_with_one_seed():
    data = RunGroups(
        {"deep_4": [straggler_run("deep_4", 1)], "activations": []}, unavailable={"relu": REASON}
    )
    result = usable(draw(figT1, data, {"paper": PAPER_PHI}))
    assert list(result.table["row"]) == ["tanh"]
    assert "Missing, as their data could not be had: relu." in result.summary


def test_t2_is_a_table_of_pairs():
    result = draw(figT2, PAIRS, {"paper": PAPER_Z})
    table = result.table
    assert list(table["row"]) == ["2/20 – 4/20", "4/20 – 4/20", "2/20,\nSGD batch 32"]
    found = PAIRS.analyses["stability_pairs"]
    np.testing.assert_array_equal(table["value"], found["pair_z_score_corrected"].values)
    np.testing.assert_array_equal(table["high"], found["pair_z_score_high"].values)
    assert list(table["pairs"]) == [30, 15, 10]
    np.testing.assert_array_equal(table["paper_value"], [50, np.nan, 11])
    assert f"2/20, SGD batch 32 {table['value'][2]:.1f}" in result.summary
    assert "(paper: 11)" in result.summary


def test_t2_names_pairs_without_a_score():
    data = pair_runs(seeds=2)  # one pair of networks has no standard deviation
    data["deep_4"] = []
    data.analyses["stability_pairs"]["pair_z_score_corrected"][:] = np.nan
    result = draw(figT2, data, {"paper": PAPER_Z})
    assert "No z-score for 2/20, SGD batch 32" in result.summary
    assert list(result.table["row"]) == ["2/20 – deep_4", "deep_4 – deep_4"]
    assert np.isfinite(result.table["value"]).all()


# --- L1, init_variance ---------------------------------------------------------------------------


@pytest.mark.parametrize("seeds", [1, 4])
def test_l1_holds_every_layer(seeds):
    run = layer_run(layers=4, seeds=seeds, alike=2)
    result = usable(draw(figL1, RunGroups({"deep_8": [run]}), {}))
    table = result.table
    assert set(table["layer"]) == {1, 2, 3, 4}
    rows = table[(table["layer"] == 3) & (table["quantity"] == "distance")]
    by_epoch = rows[rows["against"] == "epoch"]
    np.testing.assert_allclose(by_epoch["mean"], run.curves("distance", 3).mean(axis=0))
    assert f"layer 2 at training error 0.120 ± 0.000, rise from it 0.106 ± 0.000, {seeds} of" in (
        result.summary
    )
    assert f"0 of {seeds} networks invert." in result.summary
    assert [extremum(one).inverts for one in run.curves("radius_plus", 4)] == [False] * seeds


def test_init_variance_holds_radii_and_depths():
    result = usable(draw(init_variance, VARIANCES, {}))
    table = result.table.set_index(["run", "quantity"])
    for run in VARIANCES["variance"]:
        radius = run.curves("radius_plus")
        at = table.loc[(run.name, "radius_plus at t*")]
        assert at["mean"] == pytest.approx(radius.min(axis=1).mean())
        assert at["sd"] == pytest.approx(radius.min(axis=1).std(ddof=1))
        depth = radius[:, -1] - radius.min(axis=1)
        assert table["mean"][run.name, "depth"] == pytest.approx(depth.mean(), abs=1e-12)
        assert table["weights"][run.name, "depth"].startswith("normal, variance")
    assert table["mean"]["variance_4", "share inverts_plus"] == 0
    assert ("variance_4", "phi") not in table.index
    assert table["mean"]["inits_he", "phi"] == pytest.approx(0.101)
    assert "10: smallest R+" in result.summary
    assert "0 of 4 networks invert in R+, no minimum" in result.summary
    lines = result.fig.axes[0].get_lines()
    assert any(list(line.get_xdata()) == [0.05, 0.05] for line in lines)  # 1/H


def test_init_variance_with_gaps_and_one_seed():
    data = variance_runs(seeds=1)
    data["inits"] = []
    result = usable(draw(init_variance, data, {}))
    assert set(result.table["weights"]) >= {"uniform", "normal, variance 10"}
    data["variance"] = []
    assert set(usable(draw(init_variance, data, {})).table["run"]) == {"main"}


@pytest.mark.parametrize(("function", "data"), [(figS4, PLACES), (figT2, PAIRS)])
def test_the_same_bytes_twice(function, data, tmp_path):
    one, two = (save_figure(draw(function, data, {}), tmp_path / n / "fig", "") for n in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]


@pytest.mark.parametrize("function", [figS1, figS4, figT1, figT2, figL1, init_variance])
def test_nothing_at_hand_is_an_empty_frame(function):
    data = RunGroups({"main": []}, unavailable={"main": REASON})
    assert "Nothing could be drawn" in draw(function, data, {}).summary
