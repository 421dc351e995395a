"""Errors that a user can cause and mend. Each carries one sentence: what, where, valid values, what to do."""

from __future__ import annotations


class PipelineError(ValueError):
    """Bad input of any kind; the base of every error that this package raises on purpose."""


class ConfigError(PipelineError):
    """A configuration key, value or combination that the workflow refuses."""


class DataError(PipelineError):
    """A data set that is missing, incomplete or not what was published."""


class StoreError(PipelineError):
    """A Zarr store that is missing, incomplete, damaged or of another format."""


class TrainingError(PipelineError):
    """A training request that cannot be carried out as stated."""


class NotMeasurable(PipelineError):
    """Runs that do not define a claim's statistic, as with a fit that they do not determine."""


class GeometryError(PipelineError):
    """Representations or labels whose geometry is not defined."""
