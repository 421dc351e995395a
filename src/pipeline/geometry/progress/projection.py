"""Progress: where a model's nearest point lies on the geodesic from ignorance to truth.

With s = sqrt(p), C classes and the true class y, a sample's affinity with the point of the geodesic at
the angle psi = psi0 + lambda (pi/2 - psi0), sin(psi0) = 1/sqrt(C), is

    a = b sin(psi) + w cos(psi),  b = s_y,  w = sum_{c != y} s_c / sqrt(C - 1),

and 1 - a^2 = u^2 + h^2 with u = w sin(psi) - b cos(psi), h^2 = sum_{c != y} (s_c - their mean)^2. So

    d/dpsi sum_n arccos(a_n) = sum_n u_n / sqrt(u_n^2 + h_n^2),

which rises with psi: its zero is the global minimum. It is found by Newton steps within a shrinking
bracket, without an arccos, which loses half of the digits near 1.

Source: Mao et al., PNAS 121(12), 2024, Eq. 4.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.geometry.bhattacharyya import products, tiles
from pipeline.geometry.bhattacharyya.pairwise import in_threads
from pipeline.geometry.bhattacharyya.predictions import check_labels, check_predictions
from pipeline.geometry.bhattacharyya.tiles import FLOOR
from pipeline.kernel_cache import REORDERED, compiler

compiled = compiler(__file__, tiles.__file__, products.__file__, fastmath=REORDERED)

STEPS = 200  # Newton and bisection steps at most; about 6 are needed
PRECISION = 1e-13  # of psi
MODELS = 64  # models of a task
Array = NDArray[np.float64]


@compiled
def _sample_numbers(p: Any, labels: Any, numbers: Any) -> None:
    """b, w and h^2 of each sample of one model (samples, classes) into ``numbers`` (3, samples)."""
    samples, classes = p.shape
    others = classes - 1
    scale = 1 / math.sqrt(others)
    roots = np.empty(classes)
    for n in range(samples):
        total = 0.0
        for c in range(classes):
            total += np.float64(p[n, c])
        inverse, squares = 1 / total, 0.0
        for c in range(classes):
            roots[c] = math.sqrt(np.float64(p[n, c]) * inverse)
        y = labels[n]
        own, sum_s = roots[y], 0.0
        for c in range(classes):  # without the true class: a difference would lose its digits
            sum_s += roots[c] if c != y else 0.0
        mean = sum_s / others
        for c in range(classes):
            rest = roots[c] - mean if c != y else 0.0
            squares += rest * rest
        numbers[0, n] = own
        numbers[1, n] = sum_s * scale
        numbers[2, n] = squares


@compiled
def _slope(numbers: Any, psi: float) -> tuple[float, float]:
    """The derivative of the summed distance by psi, and the second one."""
    sine, cosine = math.sin(psi), math.cos(psi)
    first = second = 0.0
    for n in range(numbers.shape[1]):
        b, w, h2 = numbers[0, n], numbers[1, n], numbers[2, n]
        u = w * sine - b * cosine
        square = u * u + h2
        inverse = 1 / math.sqrt(square) if square > 0 else 0.0
        first += u * inverse
        second += (w * cosine + b * sine) * h2 * inverse * inverse * inverse
    return first, second


@compiled
def _zero(numbers: Any, low: float, high: float) -> float:
    """The psi in [low, high] at which the slope is 0; an end where it keeps its sign."""
    if _slope(numbers, low)[0] >= 0:
        return low
    if _slope(numbers, high)[0] <= 0:
        return high
    psi = 0.5 * (low + high)
    for _ in range(STEPS):
        first, second = _slope(numbers, psi)
        if first > 0:
            high = psi
        else:
            low = psi
        if first == 0 or high - low <= PRECISION:
            break
        step = psi - first / second if second > 0 else low
        inside = low < step < high
        new = step if inside else 0.5 * (low + high)
        if inside and abs(new - psi) <= PRECISION:
            psi = new
            break
        psi = new
    return psi


@compiled
def _project(p: Any, labels: Any, results: Any) -> None:
    """Progress and the distance -sum log a at it, of models (models, samples, classes), into
    ``results`` (models, 2).
    """
    models, samples, classes = p.shape
    numbers = np.empty((3, samples))
    start = math.asin(1 / math.sqrt(classes))
    end = math.pi / 2
    lowest = math.exp(-FLOOR)
    for k in range(models):
        _sample_numbers(p[k], labels, numbers)
        psi = _zero(numbers, start, end)
        sine, cosine, total = math.sin(psi), math.cos(psi), 0.0
        if psi == end:
            sine, cosine = 1.0, 0.0
        for n in range(samples):
            total -= math.log(max(numbers[0, n] * sine + numbers[1, n] * cosine, lowest))
        results[k, 0] = (psi - start) / (end - start)
        results[k, 1] = max(total / samples, 0.0)


def progress(
    p: ArrayLike, labels: ArrayLike, *, threads: int | None = None, device: str = "cpu"
) -> Array:
    """Progress (models,) of models, from 0 (ignorance) to 1 (truth).

        argmin over lambda in [0, 1] of (1/N) sum_n arccos sum_c sqrt(p[n,c] p_lambda[n,c])

    Arguments
    ---------
    p: probabilities (models, samples, classes), any float dtype; labels: (samples,) true classes.
    threads: number of threads (None: all processors); the result does not depend on it.
    device: cpu (compiled), cuda, or auto (cuda where there is one).

    float64. Raises GeometryError for what are no probabilities and for labels that are no classes,
    TrainingError for a device that there is not.
    """
    if device != "cpu":
        from pipeline.geometry.progress.torch_projection import device_progress
        from pipeline.hardware import chosen_device

        if (chosen := chosen_device(device)) != "cpu":
            models = check_predictions(p, "p")
            y = check_labels(labels, models.shape[1], models.shape[2])
            return device_progress(models, y, chosen)
    return project(p, labels, threads=threads)[:, 0]


def geodesic_distances(p: ArrayLike, labels: ArrayLike, *, threads: int | None = None) -> Array:
    """Bhattacharyya distance (models,) of each model to the geodesic's point at its progress.

    Arguments as for ``progress``.
    """
    return project(p, labels, threads=threads)[:, 1]


def project(p: ArrayLike, labels: ArrayLike, *, threads: int | None = None) -> Array:
    """Progress and distance to the geodesic (models, 2) of each model, from one projection.

    Arguments as for ``progress``.
    """
    models = check_predictions(p, "p")
    y = check_labels(labels, models.shape[1], models.shape[2])
    if models.dtype not in (np.float32, np.float64):
        models = models.astype(np.float64)
    results = np.empty((len(models), 2))

    def some(start: int) -> None:
        _project(models[start : start + MODELS], y, results[start : start + MODELS])

    in_threads(some, range(0, len(models), MODELS), threads)
    return results
