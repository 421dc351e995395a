"""What one training job is estimated to cost."""

from __future__ import annotations

import math
from typing import NamedTuple

START_SECONDS = 8.0  # start of a training job: imports, kernels, packing the images
BYTES = 4
BASE_MEMORY_MB = 700


class Estimate(NamedTuple):
    """Estimated cost of one training job."""

    seconds: float  # on the compute threads that the config gives one job
    memory_mb: int
    disk_mb: float
    lower: str = "the run's size"  # the settings that lower the memory, in words

    @property
    def minutes(self) -> int:
        """A time limit with a margin of 3, at least 10 minutes."""
        return max(10, math.ceil(3 * self.seconds / 60))
