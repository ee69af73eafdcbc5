"""Regressions with a random intercept for each item, and their intervals by Laplace's approximation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.fit.clicks import sigmoid

Array = NDArray[np.float64]


class Regression(NamedTuple):
    """Coefficients (p,) and their covariance (p, p); item effects (n,) and their spread; residual spread of minutes."""

    coefficient: Array
    covariance: Array
    effect: Array
    tau: float
    sigma: float


def random_intercepts(
    y: Array, X: Array, group: NDArray[np.int64], groups: int, logistic: bool = True, rounds: int = 30,
    start: Regression | None = None, weights: Array | None = None,
) -> Regression:  # fmt: skip
    """y ~ X w + effect of the group, effect ~ N(0, tau^2): logistic, or normal with spread sigma.

    The spread tau is found by expectation and maximisation, in which Laplace's approximation stands for the expectation.
    Given it, Newton's method solves for coefficients and effects together: their Hessian is diagonal in the effects.

    Args:
        y: (n,), 0 or 1 if logistic. X: (n, p), with a column of ones. group: (n,) in [0, groups).
        start: where to begin. weights: (n,) of the rows, 1 by default.
    """
    p = X.shape[1]
    w, z, tau, sigma = np.zeros(p), np.zeros(groups), 0.3, 1.0
    if logistic:
        rate = np.clip(y.mean(), 1e-6, 1 - 1e-6)
        w[0] = np.log(rate / (1 - rate))
    else:
        w[0], sigma = y.mean(), max(float(y.std()), 1e-6)
    if start is not None:
        w, z, tau, sigma = start.coefficient, start.effect, start.tau, start.sigma
    share = np.ones(len(y)) if weights is None else weights
    ridge, D, schur = 1e-6, np.ones(groups), np.eye(p)
    for step in range(rounds):
        for _ in range(8 if step == 0 else 2):
            eta = X @ w + z[group]
            mean = sigmoid(eta) if logistic else eta
            weight = share * (np.maximum(mean * (1 - mean), 1e-9) if logistic else 1 / sigma**2)
            surprise = share * (y - mean) / (1.0 if logistic else sigma**2)
            D = np.bincount(group, weight, groups) + tau**-2
            slope_z = np.bincount(group, surprise, groups) - z / tau**2
            coupling = np.stack([np.bincount(group, weight * X[:, k], groups) for k in range(p)], 1)
            schur = (X.T * weight) @ X + ridge * np.eye(p) - coupling.T @ (coupling / D[:, None])
            move = np.linalg.solve(schur, X.T @ surprise - ridge * w - coupling.T @ (slope_z / D))
            shift = (slope_z - coupling @ move) / D
            largest = max(np.abs(move).max(), np.abs(shift).max(), 1e-12)
            size = min(1.0, 4.0 / largest)
            w, z = w + size * move, z + size * shift
        before = tau
        seen = np.bincount(group, share, groups) > 0
        tau = float(np.sqrt(np.mean((z**2 + 1 / D)[seen]))) if seen.any() else tau
        tau = max(tau, 1e-3)
        if not logistic:
            sigma = max(float(np.sqrt(np.average((y - X @ w - z[group]) ** 2, weights=share))), 1e-6)
        if abs(np.log(tau / before)) < 1e-3:
            break
    return Regression(w, np.linalg.inv(schur).astype(np.float64), z, tau, sigma)


def given_draws(
    y: Array, v: Array, X: Array, group: NDArray[np.int64], groups: int, logistic: bool = True, rounds: int = 6
) -> Regression:
    """`random_intercepts` on a regressor that is known by draws only: y ~ w0 + w1 v + X w + effect.

    By expectation and maximisation: each draw has the weight with which it explains y.

    Args:
        v: (K, n) draws of the regressor. X: (n, p) of the others.
    """
    K, n = v.shape
    y_all, group_all = np.tile(y, K), np.tile(group, K)
    design = np.concatenate([np.ones((K * n, 1)), v.reshape(-1, 1), np.tile(X, (K, 1))], axis=1)
    weight = np.full((K, n), 1.0 / K)
    fit = None
    for _ in range(rounds):
        fit = random_intercepts(y_all, design, group_all, groups, logistic, 5, fit, weight.reshape(-1))
        eta = (design @ fit.coefficient + fit.effect[group_all]).reshape(K, n)
        if logistic:
            score = y * eta - np.logaddexp(0, eta)
        else:
            score = -0.5 * ((y - eta) / fit.sigma) ** 2
        weight = np.exp(score - score.max(axis=0))
        weight /= weight.sum(axis=0)
    assert fit is not None
    return fit


def logistic(y: Array, X: Array, rounds: int = 25, prior: float | Array = 1e-3) -> tuple[Array, Array, float]:
    """Logistic regression by Newton's method: coefficients, covariance (p, p), log-likelihood.

    Args:
        y: (n,), 0 or 1. X: (n, p), the first column ones. prior: precision of the coefficients, one or (p,).
    """
    w = np.zeros(X.shape[1])
    rate = np.clip(y.mean(), 1e-6, 1 - 1e-6)
    w[0] = np.log(rate / (1 - rate))
    H = np.eye(len(w))
    for _ in range(rounds):
        mean = sigmoid(X @ w)
        H = (X.T * (mean * (1 - mean))) @ X + np.diag(np.broadcast_to(prior, w.shape))
        move = np.linalg.solve(H, X.T @ (y - mean) - prior * w)
        size = min(1.0, 4.0 / max(np.abs(move).max(), 1e-12))
        w = w + size * move
        if np.abs(move).max() < 1e-7:
            break
    eta = X @ w
    return w, np.linalg.inv(H).astype(np.float64), float(np.sum(y * eta - np.logaddexp(0, eta)))
