"""What the stragglers paper (arXiv:2303.05161) states about S1, S4 and our T1 and T2, measured.

Functions as in ``data_sets``.
"""

from __future__ import annotations

import numpy as np

from pipeline.claims.measurement import (
    Measurement,
    NotMeasurable,
    any_substituted,
    mean_measurement,
)
from pipeline.claims.stragglers.data_sets import compare_phi
from pipeline.errors import PipelineError
from pipeline.runs import RunGroups, all_runs, analysis_with

# --- S1: minibatches -----------------------------------------------------------------------------


def sgd_shift(data: RunGroups) -> Measurement:
    """phi of the smallest minibatches minus phi of the full batch; the paper: slightly below 0."""
    runs = all_runs(data)
    full = [run for run in runs if not run.config["batch_size"]]
    batches = [run for run in runs if run.config["batch_size"]]
    if not full or not batches:
        raise PipelineError(
            "sgd_shift compares minibatches with the full batch; give runs with a batch_size and "
            "one without."
        )
    smallest = min(int(run.config["batch_size"]) for run in batches)
    return compare_phi(data, [run for run in batches if run.config["batch_size"] == smallest], full)


# --- S4: places of the stragglers ----------------------------------------------------------------


def stragglers_farther(data: RunGroups) -> Measurement:
    """Cohen's d of the distance to the class centre, stragglers against others, within classes.

    The paper: stragglers are significantly farther, so above 0.
    """
    found = analysis_with(data, "effect_size_within")
    values = found["effect_size_within"].values
    kept = np.isfinite(values)
    raw = found["effect_size"].values[kept].mean()
    worst = found["rank_p_value_within"].values[kept].max()
    note = (
        f"not relative to the class: {raw:.3f}; largest p of the rank test within classes "
        f"{worst:.2g}; the networks' stragglers are mostly the same samples"
    )
    return mean_measurement(values[kept].astype(np.float64), any_substituted(data), note)


def stragglers_near_boundary(data: RunGroups) -> Measurement:
    """Share of nearest t-SNE neighbours with the opposite label, stragglers minus others.

    The paper: stragglers lie close to the class boundaries, so above 0.
    """
    found = analysis_with(data, "opposite_share_stragglers")
    inside, outside = (found[f"opposite_share_{name}"].values for name in ("stragglers", "others"))
    kept = np.isfinite(inside) & np.isfinite(outside)
    note = (
        f"stragglers {inside[kept].mean():.3f}, others {outside[kept].mean():.3f}; the interval is over "
        "networks, whose stragglers are mostly the same samples of one training set"
    )
    return mean_measurement((inside - outside)[kept].astype(float), any_substituted(data), note)


# --- T1: activations -----------------------------------------------------------------------------


def phi_tanh(data: RunGroups) -> Measurement:
    """phi of networks with tanh units, mean and sd over networks."""
    return _phi_of(data, "tanh")


def phi_relu(data: RunGroups) -> Measurement:
    """phi of networks with rectified linear units, mean and sd over networks."""
    return _phi_of(data, "relu")


def phi_leaky_relu(data: RunGroups) -> Measurement:
    """phi of networks with leaky rectified linear units, mean and sd over networks."""
    return _phi_of(data, "leaky_relu")


def phi_silu(data: RunGroups) -> Measurement:
    """phi of networks with SiLU units, mean and sd over networks."""
    return _phi_of(data, "silu")


def phi_identity(data: RunGroups) -> Measurement:
    """phi of linear networks, mean and sd over networks."""
    return _phi_of(data, "identity")


def _phi_of(data: RunGroups, activation: str) -> Measurement:
    runs = [run for run in all_runs(data) if run.config["activation"] == activation]
    if not runs:
        raise NotMeasurable(f"no run with the activation {activation} was given")
    phi = np.concatenate([run.inversion["phi"].values for run in runs]).astype(np.float64)
    inverts = np.concatenate([run.inversion["inverts"].values for run in runs])
    note = f"{int(inverts.sum())} of {phi.size} networks invert"
    return mean_measurement(phi, any(run.substituted for run in runs), note)


# --- T2: z-scores --------------------------------------------------------------------------------


def straggler_zscore(data: RunGroups) -> Measurement:
    """z of the stragglers (Eq. 11) of the networks of one group, or of one group against another.

    Without the bias of few networks (jackknife) where that is defined; spread and interval are the
    bootstrap's over networks.
    """
    groups = list(data)
    wanted = {groups[0], groups[-1]}
    found = analysis_with(data, "pair_z_score")
    pairs = [set(pair) for pair in found.attrs["pairs"]]
    if wanted not in pairs:
        raise PipelineError(
            f"The stability analysis has no pair of {' and '.join(groups)}; name it in its option "
            "pairs."
        )
    index = pairs.index(wanted)
    one = found.isel(pair=index)
    plain, corrected, sd, low, high = (
        float(one[f"pair_z_score{suffix}"]) for suffix in ("", "_corrected", "_sd", "_low", "_high")
    )
    if not np.isfinite(plain):
        name = ", ".join(found.attrs["pairs"][index])
        why = str(found.attrs["undefined"].get(name, "")).rstrip(".")
        raise NotMeasurable(f"the z-score is not defined: {why}")
    value = corrected if np.isfinite(corrected) else plain
    note = (
        f"{int(one['pair_pairs'])} pairs (not independent); z {plain:.1f} with the bias of few "
        f"networks; M {float(one['pair_mean_common']):.0f} ± {float(one['pair_std_common']):.1f}, "
        f"random sets {float(one['pair_mean_null']):.0f}"
    )
    n = min(sum(run.seeds for run in data[group]) for group in groups)
    spread = sd if np.isfinite(sd) else None
    interval = (low, high) if np.isfinite([low, high]).all() else None
    return Measurement(value, spread, n, interval, any_substituted(data), note)
