"""What the claims measure: definitions on made-up runs, intervals, files, faults."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from made_up_runs import SAMPLES, made_up_run

from pipeline.claims.measurement import (
    Measurement,
    mean_measurement,
    measure_claims,
    read_claims,
    write_claims,
)
from pipeline.claims.stragglers import dynamics as claims
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups

MAIN = RunGroups({"main": [made_up_run("main", seeds=6, failed=(2,))]})
RANDOM = {"random_labels": [made_up_run("random_labels", labels="random")]}
BLOCKS = {"blocks": [made_up_run(f"blocks_{k}", seeds=3, turn=10 + 2 * k) for k in range(3)]}
RUN = MAIN["main"][0]


def sets(run):
    """S(t*_R+) of each network as Python sets."""
    found = []
    for seed in range(run.seeds):
        epoch = int(run.inversion["epoch_plus"][seed])
        bits = run.trajectories["misclassified"].values[seed, epoch]
        found.append(set(np.flatnonzero(np.unpackbits(bits, count=SAMPLES))))
    return found


def test_mean_and_student_interval():
    found = mean_measurement(np.array([1.0, 2.0, 3.0, 6.0]), False)
    assert (found.value, found.n) == (3.0, 4)
    assert found.spread == pytest.approx(np.sqrt(14 / 3))
    half = 3.182446305284263 * np.sqrt(14 / 3) / 2  # t_{0.975} with 3 degrees of freedom
    assert found.interval == pytest.approx((3 - half, 3 + half))
    alone = mean_measurement(np.array([1.0]), True)
    assert (alone.spread, alone.interval, alone.n, alone.substituted) == (None, None, 1, True)


@pytest.mark.parametrize(
    ("name", "metric", "sign"),
    [
        ("training_compacts_radius_plus", "radius_plus", -1),
        ("training_compacts_radius_minus", "radius_minus", -1),
        ("training_separates", "distance", 1),
    ],
)
def test_change_by_training(name, metric, sign):
    found = getattr(claims, name)(MAIN)
    curves = RUN.curves(metric)
    assert found.value == pytest.approx(np.mean(curves[:, -1] - curves[:, 0]))
    assert sign * found.value > 0
    assert found.n == 5
    assert "5 of 5 networks" in found.note


def test_inversion_epoch_and_straggler_count():
    found = claims.inversion_epoch(MAIN)
    names = ("epoch_plus", "epoch_minus", "epoch_distance")
    each = np.mean([RUN.inversion[name].values for name in names], axis=0)
    assert (found.value, found.spread) == (
        pytest.approx(each.mean()),
        pytest.approx(each.std(ddof=1)),
    )
    count = claims.straggler_count(MAIN)
    assert count.value == np.mean([len(one) for one in sets(RUN)])


def test_overlap_over_all_pairs():
    pairs = list(combinations(sets(RUN), 2))
    common = np.array([len(one & two) for one, two in pairs])
    found = claims.straggler_overlap(MAIN)
    assert found.value == pytest.approx(common.mean())
    assert found.spread == pytest.approx(common.std(ddof=1))
    assert (found.n, found.interval) == (5, None)
    assert "all 10 pairs of 5 networks (pairs are not independent)" in found.note
    shares = [len(one & two) / ((len(one) + len(two)) / 2) for one, two in pairs]
    assert claims.conserved_share(MAIN).value == pytest.approx(np.mean(shares))
    assert 0.5 < found.value / claims.straggler_count(MAIN).value < 1


def test_null_is_hypergeometric():
    found = claims.straggler_overlap_null(MAIN)
    random = np.random.default_rng(0)
    sizes = [len(one) for one in sets(RUN)]
    drawn = [
        np.intersect1d(
            random.choice(SAMPLES, one, replace=False), random.choice(SAMPLES, two, replace=False)
        ).size
        for one, two in combinations(sizes, 2)
        for _ in range(400)
    ]
    assert found.value == pytest.approx(np.mean(drawn), abs=4 * np.std(drawn) / np.sqrt(4000))
    assert found.spread == pytest.approx(np.std(drawn), rel=0.08)


@pytest.mark.parametrize(
    ("name", "metric", "epoch", "furthest", "side"),
    [
        ("radius_plus_not_back", "radius_plus", "epoch_plus", max, -1),
        ("radius_minus_not_back", "radius_minus", "epoch_minus", max, -1),
        ("distance_not_back", "distance", "epoch_distance", min, 1),
    ],
)
def test_not_back(name, metric, epoch, furthest, side):
    found = getattr(claims, name)(MAIN)
    curves, epochs = RUN.curves(metric), RUN.inversion[epoch].values
    each = [furthest(one[t:]) / one[0] for one, t in zip(curves, epochs, strict=True)]
    assert found.value == pytest.approx(np.mean(each))
    assert side * (found.value - 1) > 0
    assert "0 of 5 networks come back" in found.note


def test_block_invariance():
    found = claims.block_invariance(BLOCKS)
    phis = [float(run.inversion["phi"].mean()) for run in BLOCKS["blocks"]]
    assert found.value == pytest.approx(max(abs(phi - np.mean(phis)) for phi in phis))
    assert found.n == 3
    low, high = found.interval
    assert low <= found.value * 1.05
    assert high >= found.value
    assert claims.block_invariance(BLOCKS) == found


def test_optimizer_invariance_compares_with_plain_descent():
    data = {
        "main": [made_up_run("main", seeds=3)],
        "adam": [made_up_run("adam", seeds=3, turn=14, optimizer="adam")],
        "decay": [made_up_run("decay", seeds=3, turn=11, weight_decay=0.1)],
    }
    found = claims.optimizer_invariance(data)
    phi = {name: float(runs[0].inversion["phi"].mean()) for name, runs in data.items()}
    assert found.value == pytest.approx(max(abs(phi[name] - phi["main"]) for name in phi))
    with pytest.raises(PipelineError, match="one run of plain gradient descent"):
        claims.optimizer_invariance({name: data[name] for name in ("adam", "decay")})
    with pytest.raises(PipelineError, match="at least one other"):
        claims.optimizer_invariance({"main": data["main"]})
    with pytest.raises(PipelineError, match="two blocks or more"):
        claims.block_invariance({"main": data["main"]})


def test_random_labels():
    assert claims.random_labels_distance_rises(RANDOM).value == pytest.approx(1)
    plus = claims.random_labels_radius_plus_constant(RANDOM)
    minus = claims.random_labels_radius_minus_constant(RANDOM)
    assert (plus.value, minus.value) == (pytest.approx(6e-4), pytest.approx(1.2e-3))
    assert claims.random_labels_distance_rises(MAIN).value < 0.5  # true labels: D turns back
    assert claims.random_labels_radius_plus_constant(MAIN).value == pytest.approx(0.2, abs=0.01)


def test_rank_correlation_equals_scipys():
    from scipy.stats import spearmanr

    expected = [spearmanr(np.arange(one.size), one).statistic for one in RUN.curves("distance")]
    assert claims.random_labels_distance_rises(MAIN).value == pytest.approx(np.mean(expected))


def test_constant_distance_is_no_silent_nan():
    run = RANDOM["random_labels"][0]
    still = replace(
        run, trajectories=run.trajectories.assign(distance=run.trajectories["distance"] * 0)
    )
    with pytest.raises(PipelineError, match="never changes"):
        claims.random_labels_distance_rises({"random_labels": [still]})


def test_substituted_data_are_marked():
    data = {"main": [made_up_run("main", dataset="generated")]}
    names = ("inversion_epoch", "straggler_overlap", "straggler_overlap_null", "conserved_share")
    for name in names:
        assert getattr(claims, name)(data).substituted
        assert not getattr(claims, name)(MAIN).substituted


def test_one_network_has_no_pairs():
    with pytest.raises(PipelineError, match="2 or more"):
        claims.straggler_overlap({"main": [made_up_run("main", seeds=1)]})
    other = [made_up_run("main"), replace(made_up_run("b"), config=RUN.config | {"samples": 8})]
    with pytest.raises(PipelineError, match="different sizes"):
        claims.straggler_overlap({"main": other})


def nan_claim(data):
    return Measurement(float("nan"), None, 3, None, False, "")


def entry(name, runs, module="pipeline.claims.stragglers.dynamics", analyses=()):
    function = f"{module}:{name}"
    about = {"kind": "about", "value": 1.0}
    return {"id": name, "function": function, "runs": runs, "analyses": list(analyses)} | about


def test_claims_of_absent_runs_are_not_measured():
    entries = [entry("inversion_epoch", ["main"]), entry("block_invariance", ["blocks"])]
    first, second = measure_claims(entries, MAIN)
    assert first["measurement"]["n"] == 5
    assert second["measurement"] is None
    with pytest.raises(PipelineError, match="The claim nan_claim was measured as nan"):
        measure_claims([entry("nan_claim", ["main"], __file__)], MAIN)


def test_file_round_trip(tmp_path):
    measured = measure_claims([entry("inversion_epoch", ["main"])], MAIN)
    path = tmp_path / "claims" / "stragglers.json"
    write_claims(path, "stragglers", "smoke", measured)
    found = read_claims(path)
    assert found == json.loads(json.dumps({"paper": "stragglers", "scale": "smoke"})) | {
        "claims": json.loads(json.dumps(measured))
    }
    path.write_text("[]")
    with pytest.raises(PipelineError, match="holds no claims"):
        read_claims(path)
    path.write_text("{")
    with pytest.raises(PipelineError, match="holds no claims"):
        read_claims(path)
