"""The click model: a logistic regression with shrunken item effects (a random intercept for each item).

logit P(click | item i, position p) = level + item_i + position_p,    item_i ~ N(0, spread^2),  position_0 = 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.errors import FitError, require_number
from recgym.logs import estimates
from recgym.logs.estimates import Z

Array = NDArray[np.float64]

POSITION_SPREAD = 2.0  # standard deviation of the prior of position effects: odds within a factor 50 of each other
LARGEST_SPREAD = 5.0  # of item effects
FALL = 1.920729410347062  # by which a log-likelihood falls from its peak to the ends of a 95 % interval: Z^2 / 2


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ClickModel:
    """A fitted click model and the curvature of its posterior (Laplace's approximation).

    Args:
        level: log-odds of a click on an average item in the first position.
        item: (N,) posterior modes of the item effects.
        position: (P,) effects of the positions; the first is 0.
        spread: standard deviation of the item effects, which is taken as known.
        log_marginal: log of the marginal likelihood at that spread, up to a constant that depends on the data alone.
        covariance: (P, P) posterior covariance of (level, position_1, ...).
        item_precision: (N,) posterior precision of the standardised item effects, given (level, position_1, ...).
        item_coupling: (N, P) entries of the Hessian between those effects and (level, position_1, ...).
    """

    level: float
    item: Array
    position: Array
    spread: float
    log_marginal: float
    covariance: Array
    item_precision: Array
    item_coupling: Array

    @property
    def probability(self) -> Array:
        """(N, P) click probabilities."""
        return sigmoid(self.level + self.item[:, None] + self.position)

    def rate(self, weights: Array) -> Estimate:
        """Mean click probability over items and positions with (N, P) weights."""
        P = self.probability
        mean = (weights * P).sum() / weights.sum()
        share = weights * P * (1 - P) / (weights.sum() * mean * (1 - mean))  # of d logit(mean) in each log-odds
        item = share.sum(axis=1)
        rest = share.sum(axis=0) @ _design(len(self.position))
        rest = rest - self.spread * (item / self.item_precision) @ self.item_coupling
        variance = self.spread**2 * (item**2 / self.item_precision).sum() + rest @ self.covariance @ rest
        logit, reach = math.log(mean / (1 - mean)), Z * math.sqrt(variance)
        return Estimate(float(mean), *(1 / (1 + math.exp(-x)) for x in (logit - reach, logit + reach)))

    def contrast(self, p: int, q: int) -> Estimate:
        """Difference of two position effects, position_p - position_q."""
        x = _design(len(self.position))[p] - _design(len(self.position))[q]
        value, reach = float(self.position[p] - self.position[q]), Z * math.sqrt(x @ self.covariance @ x)
        return Estimate(value, value - reach, value + reach)


def fit_clicks(impressions: Array, clicks: Array, spread: float | None = None) -> ClickModel:
    """Fit the click model: its posterior mode, by Newton's method on item effects in units of the spread.

    Args:
        impressions, clicks: (N, P) counts by item and position.
        spread: of the item effects; None estimates it, see `best_spread`.

    Raises:
        FitError: more clicks than impressions, no click, or nothing but clicks.
        ConfigError: a spread outside [0, 100].
    """
    alike = impressions.ndim == 2 and impressions.shape == clicks.shape
    if not (alike and ((clicks >= 0) & (clicks <= impressions)).all()):
        raise FitError("clicks: must have the shape (N, P) of impressions and lie between 0 and them")
    if not 0 < clicks.sum() < impressions.sum():
        raise FitError(f"clicks: must be some, but not all impressions, got {clicks.sum():g} of {impressions.sum():g}")
    spread = best_spread(impressions, clicks) if spread is None else spread
    require_number("spread", spread, 0, 100)
    N, P = impressions.shape
    X = _design(P)
    precision = np.r_[0.0, np.full(P - 1, POSITION_SPREAD**-2)]  # of the priors; the level has none

    def objective(beta: Array, z: Array) -> float:
        eta = spread * z[:, None] + X @ beta
        return float((clicks * eta - impressions * np.logaddexp(0, eta)).sum() - (z @ z + precision @ beta**2) / 2)

    rate = clicks.sum() / impressions.sum()
    beta, z = np.r_[math.log(rate / (1 - rate)), np.zeros(P - 1)], np.zeros(N)
    value = objective(beta, z)
    while True:
        p = sigmoid(spread * z[:, None] + X @ beta)
        surprise, weight = clicks - impressions * p, impressions * p * (1 - p)
        slope_z, slope_beta = spread * surprise.sum(axis=1) - z, X.T @ surprise.sum(axis=0) - precision * beta
        # The Hessian is diagonal in z, so its Schur complement in beta, P x P, is all there is to solve.
        D = 1 + spread**2 * weight.sum(axis=1)
        coupling = spread * weight @ X
        schur = (X.T * weight.sum(axis=0)) @ X + np.diag(precision) - coupling.T @ (coupling / D[:, None])
        step_beta = np.linalg.solve(schur, slope_beta - coupling.T @ (slope_z / D))
        step_z = (slope_z - coupling @ step_beta) / D
        gain = float(slope_z @ step_z + slope_beta @ step_beta)
        if not gain > 1e-16 * abs(value):
            break
        size = 1.0  # the objective is concave: halving the step is enough to make any start converge
        while (new := objective(beta + size * step_beta, z + size * step_z)) < value and size > 1e-9:
            size /= 2
        if new <= value:
            break
        beta, z, value = beta + size * step_beta, z + size * step_z, new
    log_marginal = value - (np.log(D).sum() + np.linalg.slogdet(schur)[1]) / 2
    return ClickModel(
        float(beta[0]), spread * z, X[:, 1:] @ beta[1:], spread, float(log_marginal), np.linalg.inv(schur), D, coupling
    )


def best_spread(impressions: Array, clicks: Array, penalty: float = 1.0) -> float:
    """Spread of the item effects by empirical Bayes: where spread^penalty * marginal likelihood is largest.

    The marginal likelihood is Laplace's approximation. With too few clicks to tell the items apart it is largest at
    spread 0 (penalty 0), which would claim that all items are the same. The factor spread^1 is the weakest prior that
    keeps the estimate off that boundary. It moves the estimate by a standard error at most, and by nothing if there are
    many clicks (Chung, Rabe-Hesketh, Dorie, Gelman and Liu, Psychometrika 78, 2013).
    """

    def objective(spread: float) -> float:
        log_marginal = fit_clicks(impressions, clicks, spread).log_marginal
        return log_marginal + (penalty * math.log(spread) if penalty else 0.0)

    # Three decimals are far finer than its error, and all that machines with different rounding agree on.
    return round(_maximise(objective, 1e-6 if penalty else 0.0, LARGEST_SPREAD), 3)


def spread_interval(impressions: Array, clicks: Array) -> tuple[float, float]:
    """95 % interval of the spread by the marginal likelihood alone; it begins at 0 if the data cannot exclude 0."""
    peak = best_spread(impressions, clicks, penalty=0.0)
    floor = fit_clicks(impressions, clicks, peak).log_marginal - FALL

    def above(spread: float) -> float:
        return fit_clicks(impressions, clicks, spread).log_marginal - floor

    return _crossing(above, 0.0, peak), _crossing(above, LARGEST_SPREAD, peak)


def wilson(clicks: float, impressions: float) -> Estimate:
    """A binomial rate with Wilson's score interval (1927)."""
    if impressions == 0:
        return Estimate(0.0, 0.0, 1.0)
    return Estimate(*(float(x) for x in estimates.wilson(clicks / impressions, impressions)))


def _design(P: int) -> Array:
    """(P, P) whose row p says which of (level, position_1, ...) add up to the log-odds at position p."""
    return np.eye(P) + np.outer(np.arange(P) > 0, np.arange(P) == 0)


def sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)), without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def _maximise(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f is largest: a grid of 25 points, finer near `low`, then golden sections around the best."""
    grid = low + (high - low) * np.linspace(0, 1, 25) ** 2
    best = int(np.argmax([f(x) for x in grid]))
    a, b = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 24)])
    golden = (math.sqrt(5) - 1) / 2
    x, y = b - golden * (b - a), a + golden * (b - a)
    fx, fy = f(x), f(y)
    while b - a > 1e-5:
        if fx >= fy:
            b, y, fy = y, x, fx
            x = b - golden * (b - a)
            fx = f(x)
        else:
            a, x, fx = x, y, fy
            y = a + golden * (b - a)
            fy = f(y)
    return (a + b) / 2


def _crossing(f: Callable[[float], float], outside: float, inside: float) -> float:
    """Where f changes sign between a point outside (f < 0) and one inside; `outside` itself where it does not."""
    if f(outside) >= 0:
        return outside
    for _ in range(40):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if f(middle) < 0 else (outside, middle)
    return (outside + inside) / 2
