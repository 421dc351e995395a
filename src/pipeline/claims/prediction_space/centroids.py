"""What Mao et al., PNAS 121(12), 2024, state about centroids of ensembles, measured.

Source: Mao et al., PNAS 121(12), 2024, App. D.4, Fig. S13.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pipeline.claims.measurement import Measurement, jackknife_measurement
from pipeline.claims.prediction_space.stand_ins import stand_in
from pipeline.errors import NotMeasurable
from pipeline.runs import RunGroups, analysis_with

Array = NDArray[np.float64]


def harmonic_progress(data: RunGroups) -> Measurement:
    """Test progress of the harmonic mean less the highest of the other means, at the end."""
    return _harmonic(data, "progress", lambda others: others.max(axis=0), "highest")


def harmonic_error(data: RunGroups) -> Measurement:
    """Test error of the harmonic mean less the lowest of the other means, at the end."""
    return _harmonic(data, "error", lambda others: others.min(axis=0), "lowest")


def _harmonic(
    data: RunGroups, quantity: str, best: Callable[[Array], Array], word: str
) -> Measurement:
    """harmonic - best of the others, with its jackknife interval over networks."""
    found = analysis_with(data, "centroid_progress")
    kinds, test = list(found.attrs["centroids"]), found.attrs["splits"].index("test")
    if "harmonic" not in kinds or len(kinds) < 2:
        raise NotMeasurable("The harmonic mean and another one are needed.")
    own = kinds.index("harmonic")
    whole = found[f"centroid_{quantity}"].values[test, :, -1:]
    parts = found[f"left_out_{quantity}"].values[test]
    if not (np.isfinite(whole).all() and np.isfinite(parts).all()):
        raise NotMeasurable("Some of the means were not found.")

    def gap(values: Array) -> Array:
        return np.asarray(values[own] - best(np.delete(values, own, axis=0)))

    value, lefts = float(gap(whole)[0]), gap(parts)
    others = np.delete(whole[:, 0], own)
    rivals = [kind for kind in kinds if kind != "harmonic"]
    k = int(others.argmax() if word == "highest" else others.argmin())
    alone = f"networks alone {found[f'network_{quantity}'].values[test, :, -1].mean():.4f}"
    note = (
        f"harmonic {whole[own, 0]:.4f}, {word} of the others {others[k]:.4f} ({rivals[k]}), {alone}; "
        "interval: jackknife over networks"
    )
    return jackknife_measurement(value, lefts, stand_in(data), note)
