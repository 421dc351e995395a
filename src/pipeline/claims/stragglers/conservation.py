"""What the stragglers paper (arXiv:2303.05161) states about Figs. 2d, S3, S5 and S6, measured.

Where z, the conservation of S(t) between networks, is largest, and which metrics of convolutional
networks invert. Thresholds are in config/stragglers.yaml.
"""

from __future__ import annotations

import numpy as np

from pipeline.analysis.pruning import inversion_error
from pipeline.claims.measurement import Measurement, share_measurement
from pipeline.errors import NotMeasurable, PipelineError
from pipeline.runs import Run, RunGroups, all_runs, convolutional_runs


def stragglers_most_conserved(data: RunGroups) -> Measurement:
    """Relative distance from phi of the training error at which z is largest: |eps_max - phi| / phi.

    The interval comes from the 95 % bootstrap over networks of eps_max; phi is taken as known (its
    standard error is far smaller). Epochs are compared in steps, so eps_max is known no better than
    their distance. Takes one run, with its curve of z-scores.
    """
    runs = all_runs(data)
    if len(runs) != 1:
        raise PipelineError(
            f"stragglers_most_conserved takes one run, but {len(runs)} were given; name one group of "
            "one run."
        )
    return _distance_from_phi(data, runs[0])


def stragglers_most_conserved_small_kernel(data: RunGroups) -> Measurement:
    """``stragglers_most_conserved`` of the convolutional run with the smallest kernel."""
    return _distance_from_phi(data, convolutional_runs(data)[0])


def _distance_from_phi(data: RunGroups, run: Run) -> Measurement:
    curve = next(
        (
            one.isel(curve=list(one.attrs["curves"]).index(run.name))
            for one in data.analyses.values()
            if "z_score" in one and run.name in one.attrs["curves"]
        ),
        None,
    )
    if curve is None:
        raise NotMeasurable(f"No analysis holds z-scores of the run {run.name}.")
    phi = float(inversion_error(run).mean())
    if phi <= 0:
        raise NotMeasurable("phi is 0: no sample is misclassified at the inversion.")
    names = ("maximum_error", "maximum_error_low", "maximum_error_high")
    at, low, high = ((float(curve[name]) - phi) / phi for name in names)
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    note = (
        f"largest z = {float(curve['maximum_z_score']):.1f} at epoch {int(curve['maximum_epoch'])}, "
        f"training error {float(curve['maximum_error']):.4f}; phi = {phi:.4f}"
    )
    interval = (min(nearest, abs(at)), max(abs(low), abs(high), abs(at)))
    return Measurement(abs(at), None, run.seeds, interval, run.substituted, note)


# --- Supplementary Fig. 5: convolutional networks -------------------------------------------------


def large_kernel_inverts(data: RunGroups) -> Measurement:
    """Share of networks with the largest kernels in which R+, R- and D all invert."""
    run = convolutional_runs(data)[-1]
    return _share(run, run.inversion["inverts"].values, "all three metrics invert")


def small_kernel_distance_inverts(data: RunGroups) -> Measurement:
    """Share of networks with the smallest kernels in which D inverts."""
    run = convolutional_runs(data)[0]
    return _share(run, run.inversion["inverts_distance"].values, "D inverts")


def small_kernel_radii_invert(data: RunGroups) -> Measurement:
    """Share of networks with the smallest kernels in which R+ or R- inverts; the paper: only D."""
    run = convolutional_runs(data)[0]
    either = run.inversion["inverts_plus"].values | run.inversion["inverts_minus"].values
    return _share(run, either, "R+ or R- inverts")


def _share(run: Run, holds: np.ndarray, what: str) -> Measurement:
    note = f"{what}, kernels {run.config['kernel']}x{run.config['kernel']}"
    return share_measurement(holds, run.substituted, note)
