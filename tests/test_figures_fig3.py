"""Figure 3 from made-up runs: numbers, missing data sets, fits that are not determined."""

from __future__ import annotations

import numpy as np
import pytest
from made_up_stragglers import (
    REASON,
    SIZES,
    architecture_runs,
    cifar_runs,
    scaling_runs,
    straggler_run,
)

from pipeline.errors import PipelineError
from pipeline.figures.curves import each_over_error
from pipeline.figures.save import FigureResult, caption, draw, save_figure
from pipeline.figures.stragglers.data_sets import dataset_looks, fig3a, fig3c, fig3d
from pipeline.figures.stragglers.scaling import fig3b, fig3e, parameter_count
from pipeline.runs import RunGroups, analysis_with

LIMITS = {"mnist": 0.11, "kmnist": 0.2, "fashion_mnist": 0.04}
FITS = scaling_runs(LIMITS)
ARCHITECTURES = architecture_runs(lambda depth, width: 0.11 + 0.002 * depth)
CIFAR = cifar_runs()


def datasets(seeds: int = 3) -> RunGroups:
    turns = {"mnist": 12, "kmnist": 6, "fashion_mnist": 25}
    return RunGroups(
        {
            name: [straggler_run(name, seeds, dataset=name, turn=turn)]
            for name, turn in turns.items()
        }
    )


def usable(result: FigureResult) -> FigureResult:
    """A result with a table without NaN and axes with labels."""
    assert len(result.table)
    assert not result.table.isna().any().any()
    for axes in result.fig.axes:
        assert axes.get_xlabel()
        assert axes.get_ylabel()
    return result


def test_each_over_error_is_the_value_at_the_first_crossing():
    error = np.array([[0.5, 0.3, 0.35, 0.1], [0.5, 0.4, 0.2, 0.2]])
    values = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]])
    found = each_over_error(error, values, np.array([0.6, 0.32, 0.2, 0.1]))
    np.testing.assert_array_equal(found, [[0, 1, 3, 3], [4, 6, 6, np.nan]])


def test_3a_holds_every_network_and_the_mean():
    result = usable(draw(fig3a, datasets(), {"networks": 2}))
    table = result.table
    assert set(table["network"]) == {"mean", "seed 0", "seed 1"}
    assert set(table["dataset"]) == {"MNIST", "KMNIST", "Fashion-MNIST"}
    run = datasets()["kmnist"][0]
    error, radius = run.curves("train_error"), run.curves("radius_plus")
    rows = table[(table["run"] == "kmnist") & (table["quantity"] == "radius_plus")]
    for name, networks in (("mean", [0, 1, 2]), ("seed 1", [1])):
        for _, row in rows[rows["network"] == name].iloc[::23].iterrows():
            first = [np.argmax(error[i] <= row["train_error"]) for i in networks]
            assert row["value"] == pytest.approx(radius[networks, first].mean())
    assert f"KMNIST {run.inversion['phi'].values.mean():.4f}" in result.summary


def test_3a_with_one_seed_and_a_data_set_missing():
    data = datasets(seeds=1)
    data["kmnist"] = []
    data.unavailable["kmnist"] = REASON
    result = usable(draw(fig3a, data, {}))
    assert set(result.table["run"]) == {"mnist", "fashion_mnist"}
    assert "Missing, as their data could not be had: kmnist." in result.summary


def test_data_sets_are_told_apart_and_stand_ins_named():
    runs = [straggler_run(name, dataset="generated") for name in ("main", "kmnist")]
    looks = dataset_looks(runs)
    assert [label for label, _ in looks] == [
        "generated data, main (substituted)",
        "generated data, kmnist (substituted)",
    ]
    assert len({color for _, color in looks}) == 2
    assert dataset_looks([straggler_run()])[0][0] == "MNIST"


@pytest.mark.parametrize("function", [fig3a, fig3b, fig3c, fig3d, fig3e])
def test_nothing_at_hand_is_an_empty_frame(function, tmp_path):
    data = RunGroups({"kmnist": []}, unavailable={"kmnist": REASON})
    result = draw(function, data, {})
    assert (
        "Nothing could be drawn: The training files of KMNIST are on no mirror." in result.summary
    )
    text = caption({"title": "T", "paper": "P"}, result, data, "laptop")
    assert "the data of kmnist could not be had" in text
    assert all(path.exists() for path in save_figure(result, tmp_path / "fig", text))
    [words] = [one.get_text() for one in result.fig.axes[0].texts]
    assert "no mirror" in " ".join(words.split())


def test_3b_holds_phi_and_the_fits():
    result = usable(draw(fig3b, FITS, {}))
    table = result.table.set_index(["curve", "quantity", "samples"])["value"]
    for label, dataset in (("MNIST", "mnist"), ("KMNIST", "kmnist")):
        for run in FITS[f"scaling_{dataset}"]:
            size = str(run.config["samples"])
            phi = run.inversion["phi"].values
            assert table[label, "phi_mean", size] == pytest.approx(phi.mean())
            assert table[label, "phi_sd", size] == pytest.approx(phi.std(ddof=1))
            assert table[label, "networks", size] == 5
        assert table[label, "fit_phi_inf", "all"] == pytest.approx(LIMITS[dataset], rel=1e-4)
    assert "MNIST 0.1100 ±" in result.summary
    styles = [line.get_linestyle() for line in result.fig.axes[0].get_lines()]
    assert styles.count("--") == 3


def test_3b_says_which_fit_is_not_determined():
    falling = scaling_runs({"mnist": 0.11})
    fits = falling.analyses["scaling"]
    falling.analyses["scaling"] = fits.assign(fit_determined=("curve", [False])).assign_attrs(
        reasons=["The best fit has phi_inf at a bound."]
    )
    result = usable(draw(fig3b, falling, {}))
    assert "MNIST: not determined (The best fit has phi_inf at a bound)" in result.summary
    styles = [line.get_linestyle() for line in result.fig.axes[0].get_lines()]
    assert ":" in styles
    assert "--" not in styles


@pytest.mark.parametrize("seeds", [1, 2])
def test_3b_with_two_sizes_draws_points_only(seeds):
    from pipeline.analysis.scaling import scaling_fits

    runs = [straggler_run(f"m_{size}", seeds, samples=size) for size in SIZES[:2]]
    data = RunGroups({"scaling_mnist": runs})
    data.analyses["scaling"] = scaling_fits(data, {"by": ["dataset"], "resamples": 2})
    result = usable(draw(fig3b, data, {}))
    assert "not determined" in result.summary
    assert set(result.table["quantity"]) >= {"phi_mean", "networks"}


@pytest.mark.parametrize("seeds", [1, 6])
def test_3c_and_3d_draw_every_network(seeds):
    data = cifar_runs(seeds) if seeds > 1 else RunGroups({"cifar10": [straggler_run(seeds=1)]})
    run = data["cifar10"][0]
    by_error = usable(draw(fig3c, data, {}))
    by_epoch = usable(draw(fig3d, data, {"points": 50}))
    for table in (by_error.table, by_epoch.table):
        assert set(table["network"]) == {"mean", *(f"seed {seed}" for seed in range(seeds))}
    rows = by_epoch.table[by_epoch.table["network"] == "seed 0"]
    epochs = rows["epoch"].to_numpy(dtype=int)
    assert (epochs[0], epochs[-1]) == (0, run.trajectories.sizes["epoch"] - 1)
    assert len(epochs) <= 51
    np.testing.assert_array_equal(rows["value"], run.curves("radius_plus")[0, epochs])
    assert f"{run.inversion['error_plus'].values.mean():.4f}" in by_error.summary
    if seeds > 1:
        ratio = float(data.analyses["sharpness"]["scatter_ratio"][0])
        assert f"ratio {ratio:.2f} (95 % interval" in by_epoch.summary
        assert ratio < 0.5


def test_3c_says_that_the_scatter_is_not_defined():
    data = cifar_runs()
    nothing = data.analyses["sharpness"]["scatter_ratio"] * np.nan
    data.analyses["sharpness"] = data.analyses["sharpness"].assign(scatter_ratio=nothing)
    assert "is not defined" in usable(draw(fig3c, data, {})).summary


def test_3e_holds_limits_by_parameters():
    result = usable(draw(fig3e, ARCHITECTURES, {"features": 784, "paper": [0.11, 0.13]}))
    table = result.table.set_index(["depth", "width"])
    assert len(table) == 4
    for (depth, width), row in table.iterrows():
        assert row["value"] == pytest.approx(0.11 + 0.002 * depth, rel=1e-4)
        assert row["parameters"] == parameter_count(784, depth, width)
    assert (table["quantity"] == "phi_inf").all()
    assert "Grey: the paper's range" in result.summary
    labels = [text.get_text() for text in result.fig.legends[0].get_texts()]
    assert labels == ["depth 2", "depth 4", "width 10", "width 20"]


def test_3e_draws_phi_where_the_limit_is_not_determined():
    data = architecture_runs(lambda depth, width: 0.12, sizes=SIZES[:2])
    result = usable(draw(fig3e, data, {}))
    assert set(result.table["quantity"]) == {f"phi at P = {SIZES[1]}"}
    run = data["architectures"][1]
    assert result.table["value"][0] == pytest.approx(run.inversion["phi"].values.mean())
    assert "No fit of Eq. 12 determines phi_inf. 4 of 4 fits" in result.summary


@pytest.mark.parametrize(("depth", "width"), [(2, 20), (4, 10), (8, 3)])
def test_parameters_are_those_of_the_network(depth, width):
    from pipeline.models.fully_connected import fully_connected

    network = fully_connected(50, depth=depth, width=width, activation="tanh")
    assert parameter_count(50, depth, width) == sum(p.numel() for p in network.parameters())


def test_an_analysis_that_is_not_given_is_named():
    with pytest.raises(PipelineError, match=r"fit_phi_inf was given \(given: sharpness\)"):
        draw(fig3b, RunGroups(CIFAR, CIFAR.analyses), {})
    assert analysis_with(CIFAR, "scatter_ratio") is CIFAR.analyses["sharpness"]


@pytest.mark.parametrize(("function", "data"), [(fig3b, FITS), (fig3d, CIFAR)])
def test_the_same_bytes_twice(function, data, tmp_path):
    one, two = (save_figure(draw(function, data, {}), tmp_path / n / "fig", "") for n in "ab")
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
