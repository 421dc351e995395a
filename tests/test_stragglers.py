"""The z-score of the conservation of misclassified sets (Eq. 11): kernels on plain arrays."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from scipy.stats import hypergeom

from pipeline.analysis import stability_bootstrap, stragglers
from pipeline.analysis.stability_bootstrap import bootstrap_zscore, stability_over_epochs
from pipeline.analysis.stragglers import (
    common_counts,
    hypergeometric_null,
    pair_overlaps,
    stability_zscore,
)
from pipeline.errors import GeometryError

SAMPLES = 300


def noisy_sets(runs: int, seed: int, threshold: float = 1.0, samples: int = SAMPLES) -> np.ndarray:
    """Samples of fixed difficulty, seen by each run with noise: the hard ones are misclassified."""
    difficulty = np.random.default_rng(99).normal(size=samples)
    noise = np.random.default_rng(seed).normal(size=(runs, samples))
    return difficulty + 0.5 * noise > threshold


def as_sets(rows: np.ndarray) -> list[set[int]]:
    return [set(np.flatnonzero(row).tolist()) for row in rows]


# --- Eq. 11 --------------------------------------------------------------------------------------


def test_closed_form_of_three_small_sets():
    rows = np.zeros((3, 10), bool)
    rows[0, :4] = rows[1, 1:5] = rows[2, 3:5] = True  # M = 3, 1, 2; sizes 4, 4, 2
    found = stability_zscore(rows)
    assert (found.mean_common, found.std_common, found.pairs, found.runs) == (2.0, 1.0, 3, 3)
    null = (16 + 8 + 8) / 10 / 3
    assert found.mean_null == pytest.approx(null, rel=1e-14)
    assert found.z == pytest.approx(2.0 - null, rel=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_all_pairs_as_sets_of_python(seed):
    rows = noisy_sets(7, seed)
    pairs = list(combinations(as_sets(rows), 2))
    common = np.array([len(one & two) for one, two in pairs])
    null = np.mean([len(one) * len(two) / SAMPLES for one, two in pairs])
    found = stability_zscore(rows)
    assert found.z == pytest.approx((common.mean() - null) / common.std(ddof=1), rel=1e-13)
    assert found.pairs == 21


def test_two_groups_pair_every_run_with_every_run():
    a, b = noisy_sets(3, 0), noisy_sets(4, 1, threshold=1.2)
    common = np.array([len(one & two) for one, two in product(as_sets(a), as_sets(b))])
    found = stability_zscore(a, b)
    assert (found.mean_common, found.pairs, found.runs) == (common.mean(), 12, 7)
    assert found.std_common == pytest.approx(common.std(ddof=1), rel=1e-13)
    swapped = stability_zscore(b, a)
    assert swapped.z == pytest.approx(found.z, rel=1e-13)


def test_independent_pairs_are_disjoint():
    a, b = noisy_sets(7, 0), noisy_sets(5, 1)
    one, two = as_sets(a), as_sets(b)
    alone = pair_overlaps(a, pairs="independent")
    assert alone.common.tolist() == [len(one[i] & one[i + 1]) for i in (0, 2, 4)]
    assert alone.first.tolist() == [len(one[i]) for i in (0, 2, 4)]
    both = pair_overlaps(a, b, pairs="independent")
    assert both.common.tolist() == [len(one[i] & two[i]) for i in range(5)]
    assert stability_zscore(a, b, pairs="independent").pairs == 5


@pytest.mark.parametrize("seed", range(3))
def test_order_of_samples_and_runs_does_not_matter(seed):
    random = np.random.default_rng(seed)
    rows = noisy_sets(6, seed)
    found = stability_zscore(rows)
    moved = stability_zscore(rows[random.permutation(6)][:, random.permutation(SAMPLES)])
    assert moved.z == pytest.approx(found.z, rel=1e-12)


def test_random_sets_have_no_conservation():
    random = np.random.default_rng(0)
    rows = random.random((200, 400)).argsort(axis=1) < 60  # 60 of 400 in each
    found = stability_zscore(rows, pairs="independent")
    assert abs(found.mean_common - found.mean_null) < 4 * found.std_null / np.sqrt(100)
    assert found.std_common == pytest.approx(found.std_null, rel=0.25)
    assert abs(found.z) < 0.5


@pytest.mark.parametrize(("one", "two", "samples"), [(80, 70, 500), (1, 499, 500)])
def test_null_equals_scipys_hypergeometric(one, two, samples):
    mean, sd = hypergeometric_null(np.array([float(one)]), np.array([float(two)]), samples)
    assert mean == pytest.approx(hypergeom.mean(samples, one, two), rel=1e-12)
    assert sd == pytest.approx(hypergeom.std(samples, one, two), rel=1e-12, abs=1e-12)


def test_null_of_full_and_of_single_samples_does_not_vary():
    for size, samples in ((30.0, 30), (1.0, 1)):
        assert hypergeometric_null(np.array([size]), np.array([size]), samples) == (size, 0.0)


def test_null_of_several_pairs_is_their_mixture():
    first, second = np.array([50.0, 90.0]), np.array([60.0, 20.0])
    mean, sd = hypergeometric_null(first, second, 200)
    random = np.random.default_rng(1)
    drawn = np.concatenate(
        [
            random.hypergeometric(n, 200 - n, m, 50_000)
            for n, m in zip((50, 90), (60, 20), strict=True)
        ]
    )
    assert mean == pytest.approx(drawn.mean(), abs=0.1)
    assert sd == pytest.approx(drawn.std(), rel=0.02)


def test_numbers_of_the_paper_are_consistent():
    # arXiv:2303.05161, Methods: |S| about 800 of 8192, null mean about 70 and sd about 8
    mean, sd = hypergeometric_null(np.array([800.0]), np.array([800.0]), 8192)
    assert mean == pytest.approx(78.1, abs=0.1)
    assert sd == pytest.approx(8.0, abs=0.1)


def test_counts_are_exact_beyond_float32(monkeypatch):
    rows = noisy_sets(4, 0)
    exact, *_ = common_counts(rows)
    monkeypatch.setattr(stragglers, "EXACT_FLOAT32", SAMPLES - 1)
    again, sizes, _ = common_counts(rows)
    assert again.dtype == np.float64
    np.testing.assert_array_equal(again, exact)
    np.testing.assert_array_equal(np.diag(again), sizes)


def test_all_pairs_underestimate_the_variance_as_documented():
    """E[std_common^2] = sigma^2 - 4 zeta / (K + 1), over many experiments with K = 5 runs."""
    runs, repeats = 5, 400
    rows = noisy_sets(runs * repeats, 3)
    counts, *_ = common_counts(rows)
    below = np.tril_indices(len(rows), k=-1)
    sigma2 = counts[below].var()
    others = counts - np.diag(np.diag(counts))
    zeta = np.var(others.sum(axis=1) / (len(rows) - 1))  # variance of E[M | one run]
    found = [stability_zscore(one).std_common ** 2 for one in np.split(rows, repeats)]
    expected = sigma2 - 4 * zeta / (runs + 1)
    assert np.mean(found) == pytest.approx(expected, abs=4 * np.std(found) / np.sqrt(repeats))
    assert np.mean(found) < sigma2


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "pairs", "sentence"),
    [
        (np.zeros((3, 4)), None, "all", "shape \\(3, 4\\) and dtype float64; booleans"),
        (np.zeros(4, bool), None, "all", "misclassified_a has shape \\(4,\\)"),
        (np.zeros((3, 0), bool), None, "all", "booleans \\(runs, samples\\) are needed"),
        (np.ones((3, 4), bool), np.ones((3, 5), bool), "all", "4 and 5 samples"),
        (np.ones((3, 4), bool), np.ones((3, 4)), "all", "misclassified_b has shape"),
        (np.ones((1, 4), bool), None, "all", "set seeds to 2 or more"),
        (np.ones((2, 4), bool), None, "all", "2 runs make 1 pair"),
        (np.ones((1, 4), bool), np.ones((1, 4), bool), "all", "2 runs make 1 pair"),
        (np.ones((3, 4), bool), None, "independent", "3 runs make 1 pair"),
        (np.ones((4, 4), bool), None, "some", "pairs is 'some'; valid are: all, independent"),
        (np.zeros((3, 4), bool), None, "all", "are empty, so z is undefined"),
        (np.ones((3, 4), bool), None, "all", "sigma_M = 0 and z is undefined"),
    ],
)
def test_faults_are_one_sentence(a, b, pairs, sentence):
    with pytest.raises(GeometryError, match=sentence):
        stability_zscore(a, b, pairs)


# --- uncertainty ---------------------------------------------------------------------------------


def test_bootstrap_draws_pairs_of_runs():
    """Resampling by multiplicities equals a loop over drawn runs without self-pairs."""
    a, b = noisy_sets(4, 0), noisy_sets(3, 1)
    for other in (None, b):
        counted = common_counts(a, other)
        sizes = None if other is None else len(other)
        weights = stability_bootstrap.draw_weights(len(a), sizes, 20, np.random.default_rng(2))
        found = stability_bootstrap._resampled_z(counted, SAMPLES, *weights)
        for row in range(20):
            drawn = np.repeat(np.arange(len(a)), weights[0][row].astype(int))
            if weights[1] is None:
                pairs = [(i, j) for i, j in combinations(drawn, 2) if i != j]
            else:
                pairs = list(product(drawn, np.repeat(np.arange(3), weights[1][row].astype(int))))
            common = np.array([counted[0][i, j] for i, j in pairs])
            if len(set(common)) < 2:
                assert np.isnan(found[row])
            else:
                null = np.mean([counted[1][i] * counted[2][j] / SAMPLES for i, j in pairs])
                z = (common.mean() - null) / common.std(ddof=1)
                assert found[row] == pytest.approx(z, rel=1e-11)


def test_bootstrap_is_repeatable_and_shrinks_with_runs():
    rows = noisy_sets(40, 0)
    first = bootstrap_zscore(rows)
    assert first == bootstrap_zscore(rows)
    assert first != bootstrap_zscore(rows, generator=np.random.default_rng(1))
    few = bootstrap_zscore(rows[:10])
    assert few.sd > first.sd > 0
    assert first.low < first.corrected < first.high
    assert first.corrected < stability_zscore(rows).z  # few runs make z too large


def test_interval_covers_and_correction_takes_the_bias_off():
    """Over 150 experiments of 8 runs; the value is that of 1,500 runs."""
    expected = stability_zscore(noisy_sets(1500, 1)).z
    groups = np.split(noisy_sets(8 * 150, 2), 150)
    found = [bootstrap_zscore(one, resamples=200) for one in groups]
    covered = np.mean([one.low <= expected <= one.high for one in found])
    assert 0.82 < covered <= 1  # nominally 0.95; percentiles would give about 0.7
    plain = np.median([stability_zscore(one).z for one in groups])
    corrected = np.median([one.corrected for one in found])
    assert abs(corrected / expected - 1) < 0.06 < plain / expected - 1


def test_too_few_runs_have_no_interval():
    found = bootstrap_zscore(noisy_sets(3, 0))  # z only where each run is drawn once
    assert np.isnan([found.sd, found.low, found.high, found.corrected]).all()
    assert 100 < found.used < 400  # 3!/3^3 = 22 % of 1000
    four = bootstrap_zscore(noisy_sets(4, 0))
    assert four.low < four.high


def test_negative_z_has_an_interval():
    rows = np.zeros((6, 60), bool)
    for run in range(6):  # sets that avoid each other
        rows[run, 10 * run : 10 * run + 10 + run % 3] = True
    found = stability_zscore(rows)
    spread = bootstrap_zscore(rows)
    assert found.z < 0
    assert np.isfinite([spread.sd, spread.low, spread.high, spread.corrected]).all()
    assert spread.low < spread.high


def test_bootstrap_faults():
    with pytest.raises(GeometryError, match="sigma_M = 0"):
        bootstrap_zscore(np.ones((3, 4), bool))
    with pytest.raises(GeometryError, match="resamples is 0"):
        bootstrap_zscore(noisy_sets(4, 0), resamples=0)
    with pytest.raises(GeometryError, match="of 1 resamples"):
        bootstrap_zscore(noisy_sets(4, 0), resamples=1)


# --- along training ------------------------------------------------------------------------------


def packed(thresholds: list[float], runs: int = 8, seed: int = 0) -> np.ndarray:
    """(runs, epochs, bytes): the same noise at every epoch, the threshold rises."""
    rows = np.stack([noisy_sets(runs, seed, one) for one in thresholds], axis=1)
    return np.packbits(rows, axis=-1)


def test_curve_is_the_kernel_at_every_epoch():
    thresholds = [0.0, 0.5, 1.0, 1.5]
    bits = packed(thresholds)
    found = stability_over_epochs(bits, None, SAMPLES, [0, 2, 3], resamples=50)
    for point, epoch in enumerate((0, 2, 3)):
        rows = noisy_sets(8, 0, thresholds[epoch])
        one = stability_zscore(rows)
        assert found.z[point] == one.z
        assert found.error[point] == pytest.approx(rows.mean())
        assert found.mean_common[point] == one.mean_common
        assert found.std_null[point] == one.std_null
    assert found.z[found.maximum] == found.z.max()
    assert found.maximum_error == found.error[found.maximum]
    assert found.maximum_low <= found.maximum_high
    assert found.undefined == ()


def test_each_run_may_have_its_own_epochs():
    bits = packed([0.0, 0.5, 1.0])
    own = np.arange(8) % 3
    found = stability_over_epochs(bits, None, SAMPLES, own[:, None], resamples=20)
    rows = np.stack([noisy_sets(8, 0, [0.0, 0.5, 1.0][t])[run] for run, t in enumerate(own)])
    assert found.z[0] == stability_zscore(rows).z


def test_two_groups_along_training():
    a, b = packed([0.5, 1.0]), packed([1.0, 1.2], runs=5, seed=3)
    found = stability_over_epochs(a, b, SAMPLES, [0, 1], [1, 0], resamples=30)
    expected = stability_zscore(noisy_sets(8, 0, 0.5), noisy_sets(5, 3, 1.2))
    assert found.z[0] == expected.z
    both = np.concatenate([noisy_sets(8, 0, 0.5), noisy_sets(5, 3, 1.2)])
    assert found.error[0] == pytest.approx(both.mean())


def test_maximum_of_z_is_found_with_its_interval():
    """Noise that is smallest at one epoch: sets are conserved best there."""
    difficulty = np.random.default_rng(0).normal(size=800)
    noise = np.random.default_rng(1).normal(size=(12, 800))
    widths, thresholds = [0.8, 0.4, 0.05, 0.4, 0.8], [0.2, 0.6, 1.0, 1.4, 1.8]
    rows = [difficulty + w * noise > t for w, t in zip(widths, thresholds, strict=True)]
    bits = np.packbits(np.stack(rows, axis=1), axis=-1)
    found = stability_over_epochs(bits, None, 800, np.arange(5), resamples=100)
    assert found.maximum == 2
    assert found.maximum_low <= found.maximum_error <= found.maximum_high
    assert found.error[1] > found.maximum_high
    assert found.error[3] < found.maximum_low


def test_epochs_without_a_z_are_nan_and_said():
    bits = packed([0.5, 50.0])  # nothing is misclassified at the second
    found = stability_over_epochs(bits, None, SAMPLES, [0, 1], resamples=20)
    assert np.isfinite(found.z[0])
    assert np.isnan([found.z[1], found.z_sd[1], found.mean_null[1]]).all()
    assert found.error[1] == 0
    assert len(found.undefined) == 1
    assert "Point 1: All sets of misclassified samples are empty" in found.undefined[0]
    with pytest.raises(GeometryError, match="No epoch has a z-score; the first: Point 0: All sets"):
        stability_over_epochs(bits, None, SAMPLES, [1], resamples=20)
    with pytest.raises(GeometryError, match="0 to 1 are recorded"):
        stability_over_epochs(bits, None, SAMPLES, [2], resamples=20)
