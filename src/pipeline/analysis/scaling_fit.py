"""The fit of phi(P), the fraction of stragglers against the size P of the training set (Eq. 12).

Source: Ciceri et al., arXiv:2303.05161, Methods, "Scaling with training set size", Eq. 12. Kernels take
plain arrays; what the workflow calls is in ``analysis.scaling``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline import seeds
from pipeline.errors import PipelineError

PARAMETERS = 3
GAMMAS = (1e-3, 20.0)  # beyond, P^-gamma is a constant or 0 at every size
LEAST_LN_P0 = -100.0  # relative to the smallest size; Eq. 12 is then flat for any usable gamma
GRID = 400  # exponents at which the two other parameters are solved for, to start from
STARTS = 3
ROUNDING = 1e-12  # relative to phi: a rise below this is none
LARGEST_SE = 0.2  # of phi_inf: with a larger standard error the data do not fix it
RESAMPLES = 200
TAILS = (0.025, 0.975)
Array = NDArray[Any]


@dataclass(frozen=True)
class ScalingFit:
    """phi(P) = phi_inf [1 - (P/P0)^-gamma], fitted (Eq. 12).

    ``*_se`` are standard errors, NaN where there are none. ``determined`` is False where the data
    do not fix phi_inf; ``reason`` says why, and the numbers, as far as there are any (else NaN),
    describe the curve but are no estimate of the limit.
    """

    phi_inf: float
    P0: float
    gamma: float
    phi_inf_se: float
    P0_se: float
    gamma_se: float
    determined: bool
    reason: str
    chi2: float = float("nan")
    degrees: int = 0


def scaling_form(P: ArrayLike, phi_inf: float, P0: float, gamma: float) -> Array:
    """phi(P) = phi_inf [1 - (P/P0)^-gamma] (Eq. 12), float64 of the shape of P.

    Arguments
    ---------
    P: sizes of training sets, above 0. phi_inf: the limit. P0: the size at which phi is 0.
    gamma: the exponent.
    """
    return phi_inf * (1 - (np.asarray(P, dtype=np.float64) / P0) ** -gamma)


def fit_phi(P: ArrayLike, phi: ArrayLike, sigma: ArrayLike | None = None) -> ScalingFit:
    """Least-squares fit of Eq. 12 with 0 < phi_inf <= 1, P0 > 0 and gamma > 0.

    For a given gamma the form is linear in the two others, so a grid of gammas gives the starts,
    and the best is refined in phi_inf, ln P0 and ln gamma. Standard errors come from the Jacobian J
    at the solution, cov = (J^T J)^-1, with J in units of sigma, and are carried over from the
    logarithms to first order; without sigma, cov is multiplied by the residual variance,
    chi2 / (points - 3).

    ``determined`` is False for fewer than 3 sizes, for no more than 3 points without sigma (no
    residual to judge by), phi that does not rise with P (phi_inf is then its mean), a parameter at
    its bound, a singular Jacobian, no convergence, and a standard error of phi_inf above a fifth of
    it. ``chi2`` is the sum of the squared residuals in units of sigma, ``degrees`` points - 3.

    Arguments
    ---------
    P: (points,) sizes of training sets. phi: (points,) fractions of stragglers.
    sigma: (points,) or one number, standard errors of phi, absolute.

    Raises PipelineError for shapes that differ, values that are not finite, and P or sigma that are
    not positive.
    """
    sizes, values, weights = _checked(P, phi, sigma)
    distinct = np.unique(sizes).size
    if distinct < PARAMETERS:
        reason = f"{distinct} sizes cannot fix {PARAMETERS} parameters; give 3 sizes or more."
        return _no_fit(float("nan"), reason)
    starts = _starts(np.log(sizes), values, weights)
    if not starts:
        mean = float(np.average(values, weights=weights**2))
        return _no_fit(mean, "phi does not rise with P, so there is no approach to a limit to fit.")
    found, problem = _best_fit(starts, np.log(sizes), values, weights)
    phi_inf, ln_p0, ln_gamma = found.x
    P0, gamma = float(np.exp(ln_p0)), float(np.exp(ln_gamma))
    degrees, chi2 = values.size - PARAMETERS, 2 * float(found.cost)
    scale = chi2 / degrees if degrees else float("nan")
    if sigma is not None:
        scale = 1.0
    errors = _standard_errors(found.jac, scale)
    reason = problem or _undetermined(float(phi_inf), errors, degrees if sigma is None else 1)
    return ScalingFit(
        phi_inf=float(phi_inf),
        P0=P0,
        gamma=gamma,
        phi_inf_se=float(errors[0]),
        P0_se=float(P0 * errors[1]),
        gamma_se=float(gamma * errors[2]),
        determined=not reason,
        reason=reason,
        chi2=chi2,
        degrees=degrees,
    )


def with_misfit(fit: ScalingFit) -> ScalingFit:
    """A fit with sigma whose standard errors allow for what Eq. 12 leaves out (terms of higher order).

    Where points lie off the curve by more than their errors, chi2 / degrees > 1, the standard errors
    are multiplied by its square root; a fit that then no longer fixes phi_inf is not determined.
    """
    factor = float(np.sqrt(max(fit.chi2 / fit.degrees, 1.0))) if fit.degrees else 1.0
    if not np.isfinite(factor) or factor == 1:
        return fit
    errors = {name: factor * getattr(fit, name) for name in ("phi_inf_se", "P0_se", "gamma_se")}
    reason = fit.reason
    if not reason and errors["phi_inf_se"] > LARGEST_SE * fit.phi_inf:
        reason = f"The curve misses its points by {factor:.2g} times their errors, and so phi_inf."
    return replace(fit, **errors, determined=not reason, reason=reason)


def bootstrap_phi_inf(
    P: ArrayLike,
    phi: Sequence[ArrayLike],
    resamples: int = RESAMPLES,
    *,
    generator: np.random.Generator | None = None,
) -> tuple[float, float, float]:
    """95 % interval of phi_inf, and the share of resamples whose fit was determined.

    At every size the networks are drawn with replacement, their mean phi is fitted with the
    standard errors of all networks as weights, and the quantiles are taken over all resamples,
    whether determined or not: what the data do not fix has a wide interval.

    Arguments
    ---------
    P: (sizes,). phi: one array of networks for each size, any lengths.
    generator: a fixed named stream by default.

    Returns (low, high, share); NaN bounds where there are fewer than 3 sizes.
    """
    random = generator or seeds.generator(0, "stragglers/scaling", 0, "analysis")
    groups = [np.asarray(one, dtype=np.float64) for one in phi]
    sigma = standard_errors(groups)
    if resamples < 1 or any(one.size == 0 for one in groups):
        raise PipelineError(
            f"The bootstrap of phi_inf has {resamples} resamples and networks "
            f"{[one.size for one in groups]}; both must be 1 or more, at every size."
        )
    fits = []
    for _ in range(resamples):
        means = [np.mean(one[random.integers(one.size, size=one.size)]) for one in groups]
        fits.append(fit_phi(P, means, sigma))
    limits = np.array([fit.phi_inf for fit in fits])
    share = float(np.mean([fit.determined for fit in fits]))
    if np.isnan(limits).any():
        return float("nan"), float("nan"), share
    low, high = np.quantile(limits, TAILS)
    return float(low), float(high), share


def standard_errors(groups: Sequence[Array]) -> Array | None:
    """sd / sqrt(n) of each group (ddof 1); None where a group has no positive one."""
    if any(one.size < 2 for one in groups):
        return None
    errors = np.array([np.std(one, ddof=1) / np.sqrt(one.size) for one in groups])
    return errors if errors.all() else None


def _no_fit(phi_inf: float, reason: str) -> ScalingFit:
    nan = float("nan")
    return ScalingFit(phi_inf, nan, nan, nan, nan, nan, False, reason)


def _checked(P: ArrayLike, phi: ArrayLike, sigma: ArrayLike | None) -> tuple[Array, Array, Array]:
    try:
        sizes, values = np.asarray(P, dtype=np.float64), np.asarray(phi, dtype=np.float64)
        errors = np.asarray(1.0 if sigma is None else sigma, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise PipelineError(f"P, phi and sigma must be numbers, one per point: {error}.") from error
    if sizes.ndim != 1 or sizes.shape != values.shape:
        raise PipelineError(
            f"P has shape {sizes.shape} and phi {values.shape}; one phi for each P is needed."
        )
    if errors.shape not in ((), sizes.shape):
        raise PipelineError(
            f"sigma has shape {errors.shape}; one number, or one for each of {sizes.size} points."
        )
    for name, array in (("P", sizes), ("phi", values), ("sigma", errors)):
        if not np.isfinite(array).all() or (name != "phi" and not (array > 0).all()):
            valid = "finite" if name == "phi" else "finite and above 0"
            raise PipelineError(f"{name} must be {valid}, but is {array.tolist()}.")
    return sizes, values, np.broadcast_to(1 / errors, sizes.shape)


def _best_fit(
    starts: list[Array], ln_sizes: Array, values: Array, weights: Array
) -> tuple[Any, str]:
    """scipy's result in (phi_inf, ln P0, ln gamma), in units of sigma, and what is wrong with it."""
    from scipy.optimize import least_squares

    low = np.array([1e-12, ln_sizes.min() + LEAST_LN_P0, np.log(GAMMAS[0])])
    high = np.array([1.0, ln_sizes.max(), np.log(GAMMAS[1])])

    def residuals(theta: Array) -> Array:
        power = np.exp(-np.exp(theta[2]) * (ln_sizes - theta[1]))
        return (theta[0] * (1 - power) - values) * weights

    def jacobian(theta: Array) -> Array:
        gamma, way = np.exp(theta[2]), ln_sizes - theta[1]
        power = np.exp(-gamma * way)
        columns = (1 - power, -theta[0] * gamma * power, theta[0] * gamma * way * power)
        return np.stack(columns, axis=1) * weights[:, None]

    limits = {"ftol": 1e-14, "xtol": 1e-14, "gtol": None, "max_nfev": 500}
    with np.errstate(all="ignore"):  # steps along directions that the data do not fix
        results = [
            least_squares(residuals, start, jacobian, bounds=(low, high), x_scale="jac", **limits)
            for start in np.clip(starts, low + 1e-9, high - 1e-9)
        ]
    best = min(results, key=lambda result: result.cost)
    if best.status <= 0:
        return best, "The fit did not converge."
    slack = 1e-4 * (high - low)
    at_bound = (best.x < low + slack) | (best.x > high - slack)
    if at_bound.any():
        names = [n for n, hit in zip(("phi_inf", "P0", "gamma"), at_bound, strict=True) if hit]
        return best, f"The best fit has {' and '.join(names)} at a bound."
    return best, ""


def _starts(ln_sizes: Array, values: Array, weights: Array) -> list[Array]:
    """(phi_inf, ln P0, ln gamma) at the lowest minima over gamma of the sum of squares.

    With phi_inf and c = phi_inf P0^gamma the form phi_inf - c P^-gamma is linear. There is no start
    where c > 0 for no gamma: a constant then fits best.
    """
    middle = ln_sizes.mean()  # powers relative to it do not overflow
    ln_gammas = np.linspace(np.log(GAMMAS[0]), np.log(GAMMAS[1]), GRID)
    power = np.exp(-np.exp(ln_gammas)[:, None] * (ln_sizes - middle))
    squares = weights**2
    total = squares.sum()
    mean_power = power @ squares / total
    mean_value = squares @ values / total
    centred = power - mean_power[:, None]
    spread = np.maximum((centred**2) @ squares, 1e-300)
    slope = np.minimum((centred * (values - mean_value)) @ squares / spread, 0.0)  # -c, c >= 0
    limit = mean_value - slope * mean_power
    cost = ((limit[:, None] + slope[:, None] * power - values) ** 2) @ squares
    rises = (slope < 0) & (slope**2 * spread > total * (ROUNDING * mean_value) ** 2)
    cost[~rises] = np.inf  # the constant: no start
    edges = np.concatenate([[np.inf], cost, [np.inf]])
    minima = np.flatnonzero(rises & (cost <= edges[:-2]) & (cost <= edges[2:]))
    minima = minima[np.argsort(cost[minima], kind="stable")][:STARTS]
    starts = []
    for index in minima:
        phi_inf = np.clip(limit[index], 1e-6, 1.0)
        ratio = max(-slope[index] / phi_inf, 1e-40)
        starts.append(
            np.array([phi_inf, middle + np.log(ratio) / np.exp(ln_gammas[index]), ln_gammas[index]])
        )
    return starts


def _standard_errors(jacobian: Array, scale: float) -> Array:
    """sqrt of the diagonal of scale (J^T J)^-1; NaN where J is singular."""
    norms = np.linalg.norm(jacobian, axis=0)
    if not norms.all() or not np.isfinite(scale):
        return np.full(PARAMETERS, np.nan)
    _, singular, rotation = np.linalg.svd(jacobian / norms, full_matrices=False)
    if singular[-1] <= 1e-10 * singular[0]:
        return np.full(PARAMETERS, np.nan)
    return np.sqrt(scale * np.sum((rotation / singular[:, None]) ** 2, axis=0)) / norms


def _undetermined(phi_inf: float, errors: Array, degrees: int) -> str:
    if not degrees:
        return "3 points without standard errors leave no residual to judge the fit by."
    if np.isnan(errors).any():
        return "The data do not tell the parameters apart (singular Jacobian)."
    if errors[0] > LARGEST_SE * phi_inf:
        return f"The standard error of phi_inf, {errors[0]:.2g}, is above a fifth of {phi_inf:.2g}."
    return ""
