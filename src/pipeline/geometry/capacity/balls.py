"""Exact capacity of balls (kernel).

For a ball of radius R in D dimensions at unit distance, T = (t, t0), u = t0 + kappa, the projection
of T + kappa e on the cone of half angle arctan R around the centre's axis has the squared length

    0                        u <= -R |t|             (no point touches)
    (u + R |t|)^2/(1 + R^2)  -R |t| < u < |t| / R    (one point of the surface)
    u^2 + |t|^2              u >= |t| / R            (the whole ball)

and 1/alpha is its mean. The mean over t0 is elementary, that over |t|, chi-distributed with D
degrees of freedom, an integral. For R sqrt(D) of order 1 and large D it becomes the large-D formula

    1/alpha = int_{-inf}^{R sqrt D} Dt0 (R sqrt D - t0)^2 / (R^2 + 1)        (kappa = 0)

Source: Chung, Lee & Sompolinsky, Phys. Rev. X 8, 031003 (2018) and Phys. Rev. E 93,
060301 (2016).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from pipeline.errors import GeometryError
from pipeline.geometry.capacity.checks import is_number

REACH = 12.0  # of |t| from where it is: standard deviations, and more
NORMAL = 1e6  # D above which |t| is taken as normal


def ball_capacity(radius: float, dimension: float, kappa: float = 0.0) -> float:
    """Capacity alpha of balls of one radius and dimension with random centres, exact.

    To a relative 1e-9 or better.

    A radius or a dimension of 0 is a point; dimension 1 is a segment, in effect its two end points.

    Arguments
    ---------
    radius: in units of the distance of the centre, finite, at least 0.
    dimension: at least 0; need not be whole.
    kappa: margin in the same units.

    Raises GeometryError for other values.
    """
    numbers = is_number(radius) and is_number(dimension) and is_number(kappa)
    if not numbers or radius < 0 or dimension < 0:
        raise GeometryError(
            f"radius = {radius!r}, dimension = {dimension!r}, kappa = {kappa!r} given; valid are finite "
            "numbers, radius and dimension at least 0."
        )
    from scipy.integrate import quad

    radius, dimension, kappa = float(radius), float(dimension), float(kappa)
    point = _squared_length(0.0, radius, kappa)
    if radius == 0 or dimension == 0:
        return _inverse(point)
    centre, density = _length_distribution(dimension)

    def weighted(length: float) -> float:
        # less the point's, since for small D nearly all |t| are 0, where the density is infinite
        return density(length) * (_squared_length(length, radius, kappa) - point)

    ends = max(0.0, centre - REACH), centre + REACH
    precision = {"epsabs": 1e-13 * point, "epsrel": 1e-11, "limit": 400}
    integral, _ = quad(weighted, *ends, points=[centre], **precision)
    return _inverse(point + float(integral))


def _length_distribution(dimension: float) -> tuple[float, Callable[[float], float]]:
    """Where |t| is, roughly, and its density: chi, or for large D the normal that it becomes.

    The normal has the mean sqrt(D - 1/2) and the variance 1/2, both right to relative order 1/D^2.
    """
    if dimension > NORMAL:
        centre = math.sqrt(dimension - 0.5)
        return centre, lambda length: math.exp(-((length - centre) ** 2)) / math.sqrt(math.pi)
    constant = (dimension / 2 - 1) * math.log(2) + math.lgamma(dimension / 2)

    def density(length: float) -> float:
        return math.exp((dimension - 1) * math.log(length) - length * length / 2 - constant)

    return max(math.sqrt(dimension), 0.5), density


def _inverse(value: float) -> float:
    return 1 / value if value > 0 else math.inf


def _squared_length(length: float, radius: float, kappa: float) -> float:
    """Mean over t0 of the squared length of the projection, at |t| = length."""
    low = -radius * length
    high = length / radius if radius > 0 else 0.0
    touching = _moment(low, high, kappa, -low, 1 / math.hypot(1, radius))
    whole = _moment(high, math.inf, kappa, 0.0, 1.0) + length * length * _tail(high - kappa)
    return touching + whole


def _moment(low: float, high: float, mean: float, shift: float, factor: float) -> float:
    """int_low^high (factor (u + shift))^2 phi(u - mean) du; the factor keeps large shifts finite."""
    m = factor * (mean + shift)

    def upper(x: float) -> float:
        # int_x^inf with x relative to the mean: (factor z + m)^2 phi(z) dz
        if math.isinf(x):
            return 0.0
        density = math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
        return (factor * factor + m * m) * _tail(x) + factor * (factor * x + 2 * m) * density

    return upper(low - mean) - upper(high - mean)


def _tail(x: float) -> float:
    return math.erfc(x / math.sqrt(2)) / 2
