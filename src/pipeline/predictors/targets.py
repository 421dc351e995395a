"""What networks are trained towards beside plain labels: smoothed labels and mixtures of two samples.

Source: Mao et al., PNAS 121(12), 2024, App. B (0.9 for the true class); Zhang et al., "mixup", ICLR 2018.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from pipeline.errors import TrainingError

TOLD = 0.9  # probability of the true class
ALPHA = 0.2  # of the Beta distribution of mixtures, Zhang et al. for ImageNet; Mao et al. do not state theirs


def smoothed(labels: Tensor, classes: int, told: float = TOLD) -> Tensor:
    """Targets (samples, classes): ``told`` for the true class, (1 - told) / (C - 1) for each other one.

    ``cross_entropy`` takes them as they are. torch's own label_smoothing = e is told = 1 - e + e / C.
    """
    if not 0 <= told <= 1 or classes < 2:
        raise TrainingError(
            f"told is {told} of {classes} classes; valid are 0 to 1, and two classes or more."
        )
    hot = one_hot(labels, classes).to(torch.get_default_dtype())
    return hot * told + (1 - hot) * ((1 - told) / (classes - 1))


def mixed(
    images: Tensor, targets: Tensor, random: np.random.Generator, alpha: float = ALPHA
) -> tuple[Tensor, Tensor]:
    """l x_i + (1 - l) x_j and the same of the targets, l ~ Beta(alpha, alpha) once for the batch.

    Arguments
    ---------
    images: (samples, ...) floats; targets: (samples, classes). random: draws l and the partners j, a
    permutation of the batch.
    """
    if not alpha > 0:
        raise TrainingError(f"alpha is {alpha}; valid is a number above 0.")
    share = float(random.beta(alpha, alpha))
    partner = torch.from_numpy(random.permutation(len(images))).to(images.device)
    return (
        share * images + (1 - share) * images[partner],
        share * targets + (1 - share) * targets[partner],
    )
