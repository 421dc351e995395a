"""Trajectories of class manifolds: training ensembles, recording them, measuring their geometry."""

__version__ = "0.1.0"
