"""Progress of models, trajectories at equal progress, and means of ensembles.

Source: Mao et al., PNAS 121(12), 2024.
"""

from pipeline.geometry.progress.centroids import CENTROIDS, centroid
from pipeline.geometry.progress.geodesics import at_progress, geodesic
from pipeline.geometry.progress.projection import geodesic_distances, progress, project
from pipeline.geometry.progress.trajectories import (
    paired_distances,
    trajectory_distance,
    trajectory_distances,
    tube_widths,
)

__all__ = [
    "CENTROIDS",
    "at_progress",
    "centroid",
    "geodesic",
    "geodesic_distances",
    "paired_distances",
    "progress",
    "project",
    "trajectory_distance",
    "trajectory_distances",
    "tube_widths",
]
