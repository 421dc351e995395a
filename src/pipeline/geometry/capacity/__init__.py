"""Manifold capacity: the replica mean-field analysis of class manifolds, and its check by simulation.

Source: Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018); Cohen et al., Nature
Communications 11, 746 (2020); Stephenson et al., ICLR 2021.
"""

from pipeline.geometry.capacity.anchors import AnchorGeometry, anchor_geometry
from pipeline.geometry.capacity.balls import ball_capacity
from pipeline.geometry.capacity.dimensions import TotalDimension, total_dimension
from pipeline.geometry.capacity.empirical import EmpiricalCapacity, empirical_capacity
from pipeline.geometry.capacity.generated import generated_manifolds
from pipeline.geometry.capacity.manifolds import ManifoldCapacity, manifold_capacity
from pipeline.geometry.capacity.stacks import measure_capacity

__all__ = [
    "AnchorGeometry",
    "EmpiricalCapacity",
    "ManifoldCapacity",
    "TotalDimension",
    "anchor_geometry",
    "ball_capacity",
    "empirical_capacity",
    "generated_manifolds",
    "manifold_capacity",
    "measure_capacity",
    "total_dimension",
]
