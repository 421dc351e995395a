"""Bhattacharyya distances of models: predictions of many networks on the same samples.

Source: Mao et al., PNAS 121(12), 2024.
"""

from pipeline.geometry.bhattacharyya.pairwise import (
    log_distances,
    pairwise_distances,
    truth_distances,
)
from pipeline.geometry.bhattacharyya.predictions import ignorance, truth

__all__ = ["ignorance", "log_distances", "pairwise_distances", "truth", "truth_distances"]
