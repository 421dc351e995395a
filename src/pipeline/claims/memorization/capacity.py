"""What Stephenson et al., ICLR 2021, state about theory and simulation of capacity, measured.

Each function takes the analysis ``capacity_check`` and gives a Measurement whose n counts settings:
the generated manifolds stand on their own, whatever the paper's representations are.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from pipeline.analysis.capacity_check import correlation, pairs_of, relative_differences
from pipeline.claims.measurement import Measurement, bootstrap_measurement
from pipeline.runs import RunGroups, analysis_with


def capacity_correlation(data: RunGroups) -> Measurement:
    """Pearson's correlation of theory and simulation; interval: bootstrap over settings."""
    check = analysis_with(data, "simulated_capacity")
    logarithms = correlation(*(np.log(one) for one in pairs_of(check)))
    return bootstrap_measurement(
        lambda weights: correlation(*pairs_of(check, weights)),
        check.sizes["setting"],
        True,  # generated manifolds in the place of the paper's representations
        f"of the logarithms {logarithms:.4f}; {_drawn(check)}",
    )


def capacity_error(data: RunGroups) -> Measurement:
    """Median |theory - simulation| / simulation; interval: bootstrap over settings."""
    check = analysis_with(data, "simulated_capacity")
    largest = relative_differences(*pairs_of(check)).max()
    return bootstrap_measurement(
        lambda weights: float(np.median(relative_differences(*pairs_of(check, weights)))),
        check.sizes["setting"],
        True,  # generated manifolds in the place of the paper's representations
        f"largest {largest:.3f}; {_drawn(check)}",
    )


def _drawn(check: xr.Dataset) -> str:
    return (
        f"n counts settings of generated manifolds, {check.sizes['draw']} draws each; the paper's are "
        "representations of its networks"
    )
