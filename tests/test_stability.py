"""Stability of stragglers as analyses: made-up runs in, registered variables out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from made_up_runs import SAMPLES, made_up_run

from pipeline.analysis.inversion import misclassified_at
from pipeline.analysis.stability import stability_curve, stability_pairs_table
from pipeline.analysis.stragglers import stability_zscore
from pipeline.errors import GeometryError, PipelineError
from pipeline.runs import RunGroups
from pipeline.store.reader import open_store
from pipeline.store.variables import validate
from pipeline.store.writer import write_dataset

MAIN = made_up_run("main", seeds=6, failed=(2,))
DEEP = made_up_run("deep4", seeds=4, turn=15)
FEW = made_up_run("few", seeds=2)
DATA = RunGroups({"main": [MAIN], "deep4": [DEEP], "few": [FEW], "none": []})
FAST = {"resamples": 40}


def at_inversion(run):
    return misclassified_at(run.trajectories, run.inversion["epoch_plus"].values, SAMPLES)


def test_curve_of_every_run():
    found = stability_curve(RunGroups({"a": [MAIN], "b": [DEEP]}), FAST)
    validate(found)
    assert found.attrs["curves"] == ["main", "deep4"]
    assert found["epoch"].values.tolist() == list(range(5, 70, 5))
    for curve, run in enumerate((MAIN, DEEP)):
        for point in (0, 7):
            epoch = int(found["epoch"][point])
            sets = misclassified_at(run.trajectories, np.full(run.seeds, epoch), SAMPLES)
            expected = stability_zscore(sets)
            assert float(found["z_score"][curve, point]) == expected.z
            assert float(found["mean_common"][curve, point]) == expected.mean_common
            assert float(found["mean_error"][curve, point]) == pytest.approx(sets.mean())
            index = list(run.trajectories["epoch"].values).index(epoch)
            recorded = run.curves("train_error")[:, index].mean()
            assert float(found["mean_error"][curve, point]) == pytest.approx(recorded)
        assert float(found["straggler_z_score"][curve]) == stability_zscore(at_inversion(run)).z
        phi = run.inversion["phi"].values
        assert float(found["phi_mean"][curve]) == phi.mean()
        assert float(found["phi_sd"][curve]) == pytest.approx(phi.std(ddof=1))
        assert int(found["networks"][curve]) == run.seeds


def test_largest_z_and_what_was_not_recorded():
    found = stability_curve(RunGroups({"main": [MAIN]}), FAST)
    z = found["z_score"].values[0]
    assert np.isnan(z[-1])  # epoch 65 of 60
    assert found.attrs["undefined"]["main"][-1] == "Epochs [65] were not recorded."
    best = int(np.nanargmax(z))
    assert int(found["maximum_epoch"][0]) == int(found["epoch"][best])
    assert float(found["maximum_z_score"][0]) == z[best]
    assert float(found["maximum_error"][0]) == float(found["mean_error"][0, best])
    assert float(found["maximum_error_low"][0]) <= float(found["maximum_error_high"][0])


def test_curve_survives_a_store(tmp_path):
    found = stability_curve(RunGroups({"main": [MAIN]}), FAST | {"epochs": [5, 10]})
    write_dataset(found, tmp_path, {"config": {}})
    again = open_store(tmp_path, lazy=False)
    xr.testing.assert_equal(again, found)
    assert again.attrs["curves"] == ["main"]
    assert again.attrs["undefined"] == {}


def test_same_data_same_bits():
    data = RunGroups({"main": [MAIN]})
    xr.testing.assert_identical(stability_curve(data, FAST), stability_curve(data, FAST))


def test_curve_faults_name_the_run():
    with pytest.raises(GeometryError, match=r"Run main: none of the epochs \[99\] was recorded"):
        stability_curve(RunGroups({"main": [MAIN]}), {"epochs": [99]})
    with pytest.raises(GeometryError, match="Run few: No epoch has a z-score"):
        stability_curve(RunGroups({"few": [FEW]}), FAST)


def test_pairs_of_groups():
    options = FAST | {
        "pairs": [["main", "main"], ["main", "deep4"], ["few", "few"], ["main", "none"]]
    }
    found = stability_pairs_table(DATA, options)
    validate(found)
    assert found.attrs["pairs"] == options["pairs"]
    same = stability_zscore(at_inversion(MAIN))
    cross = stability_zscore(at_inversion(MAIN), at_inversion(DEEP))
    assert found["pair_z_score"].values[:2].tolist() == [same.z, cross.z]
    assert found["pair_pairs"].values.tolist() == [10, 20, 0, 0]
    assert found["pair_networks"].values.tolist() == [5, 9, 0, 0]
    assert np.isnan(found["pair_z_score"].values[2:]).all()
    low, high = (found[f"pair_z_score_{end}"].values[:2] for end in ("low", "high"))
    assert (low < high).all()
    assert set(found.attrs["undefined"]) == {"few, few", "main, none"}
    assert "2 runs make 1 pair" in found.attrs["undefined"]["few, few"]
    assert found.attrs["undefined"]["main, none"] == "The group none has no runs."


def test_networks_of_all_runs_of_a_group_take_part():
    data = RunGroups({"both": [MAIN, made_up_run("again", seeds=3)]})
    found = stability_pairs_table(data, FAST | {"pairs": [["both", "both"]]})
    assert found["pair_networks"].values.tolist() == [8]


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (None, "option pairs is None"),
        ([["main"]], "must be a list of pairs of groups"),
        ([["main", "other"]], "runs other are needed but not given"),
        ([["main", "wide"]], "different training sets \\(samples 100, 8\\)"),
        ([["main", "block"]], "different training sets \\(block 0, 1\\)"),
    ],
)
def test_pair_faults(pairs, sentence):
    other = {
        "wide": [replace(DEEP, config=DEEP.config | {"samples": 8})],
        "block": [replace(DEEP, config=DEEP.config | {"block": 1})],
    }
    options = {} if pairs is None else {"pairs": pairs}
    with pytest.raises(PipelineError, match=sentence):
        stability_pairs_table(RunGroups(DATA | other), FAST | options)
