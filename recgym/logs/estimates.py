"""Estimates from rows that come in clusters, such as the rows of one user: rates, means, survival, concentration, groups.

Rows of one user resemble each other, so that a thousand rows of ten users say less than a thousand rows of a thousand.
Every interval here is at 95 % and takes users, not rows, as what was drawn: variances are those of sums over users
(linearisation, in which each user's total residual is squared), and quantiles are Student's with one degree of freedom
less than the effective number of users, (sum n)^2 / sum n^2 with the rows n of each (Kish 1965). In simulations they cover
the truth in 92 to 97 % of cases; in 89 % where rates are rare and a few dozen users differ so much that most never click.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Z = 1.959963984540054  # of the normal distribution at 97.5 %


class Interval(NamedTuple):
    """Estimates and the ends of their intervals; NaN where there is nothing to estimate, or no interval for it."""

    value: Array
    low: Array
    high: Array


def student(freedom: ArrayLike) -> Array:
    """The 97.5 % quantile of Student's t, of degrees of freedom >= 1; within a factor of 1.002 from 3 on.

    By the expansion of Cornish and Fisher about the normal quantile; below 3 between those of whole numbers.
    """
    v = np.asarray(freedom, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (Z + (Z**3 + Z) / (4 * v)
                 + (5 * Z**5 + 16 * Z**3 + 3 * Z) / (96 * v**2)
                 + (3 * Z**7 + 19 * Z**5 + 17 * Z**3 - 15 * Z) / (384 * v**3)
                 + (79 * Z**9 + 776 * Z**7 + 1482 * Z**5 - 1920 * Z**3 - 945 * Z) / (92160 * v**4))  # fmt: skip
    exact = {1: math.tan(math.pi * 0.475), 2: 0.95 * math.sqrt(2 / (1 - 0.95**2)), 3: 3.182446}
    few = np.exp(np.interp(v, [*exact], np.log([*exact.values()])))
    return np.where(v >= 3, found, np.where(v >= 1, few, np.nan))


def ratio(numerator: ArrayLike, denominator: ArrayLike, squares: ArrayLike, products: ArrayLike,
          denominator_squares: ArrayLike, clusters: ArrayLike, share: bool = False) -> Interval:  # fmt: skip
    """Ratios of two sums over clusters, by linearisation.

    Of a cluster with sums y and n, the residual is y - R n with the ratio R = sum y / sum n; the variance of R is
    m / (m - 1) sum (y - R n)^2 / (sum n)^2 with the number m of clusters. A ratio that is a share of rows gets Wilson's
    interval at the number of independent rows that have this variance, at most the rows there are; where no row or
    every row counts, and the variance says nothing, at the effective number of clusters. A "share" above 1, as that of purchases
    over carts where some were bought without, gets a plain interval.

    Args:
        numerator, denominator: sum y and sum n, of each ratio.
        squares, products, denominator_squares: sum y^2, sum y n and sum n^2 over clusters.
        clusters: m, how many have rows. share: whether the ratio is a share of n rows.
    """
    y, n, yy, yn, nn, m = (
        np.asarray(a, np.float64) for a in (numerator, denominator, squares, products, denominator_squares, clusters)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        value = y / n
        variance = m / (m - 1) * np.maximum(yy - 2 * value * yn + value**2 * nn, 0) / n**2
        effective = n * n / nn
        quantile = student(np.where(m > 1, np.maximum(effective - 1, 1), np.nan))
        reach = quantile * np.sqrt(variance)
        plain = Interval(value, value - reach, value + reach)
        if not share:
            return plain
        spread = value * (1 - value)
        rows = np.where(spread <= 0, effective, np.where(variance > 0, np.minimum(spread / variance, n), n))
        bounded = wilson(value, rows, quantile)
        return Interval(*(np.where(value > 1, a, b) for a, b in zip(plain, bounded)))


def wilson(value: ArrayLike, rows: ArrayLike, quantile: ArrayLike = Z) -> Interval:
    """Wilson's score interval (1927) of shares of so many independent rows, which need not be whole."""
    p, n, q = (np.asarray(a, np.float64) for a in (value, rows, quantile))
    with np.errstate(divide="ignore", invalid="ignore"):
        t = q * q / n
        centre = (p + t / 2) / (1 + t)
        reach = np.sqrt(p * (1 - p) * t + t * t / 4) / (1 + t)
    return Interval(p, np.maximum(centre - reach, 0.0), np.minimum(centre + reach, 1.0))


class Survival(NamedTuple):
    """A survival curve at some times: estimate, interval, and how many were still at risk just before."""

    time: Array
    value: Array
    low: Array
    high: Array
    at_risk: NDArray[np.int64]


def kaplan_meier(duration: ArrayLike, ended: ArrayLike, cluster: ArrayLike, at: ArrayLike) -> Survival:
    """The survival curve of Kaplan and Meier (1958), with intervals on the scale of log(-log S).

    The variance of log S is the sum over clusters of the squared sum of the influence of their spells (the infinitesimal
    jackknife). Where every cluster has one spell it is Greenwood's (1926) to the last digit.

    Args:
        duration: (n,) of the spells. ended: (n,) bool, whether the spell ended then; otherwise it was still going on when
            it was last seen. cluster: (n,) int, whose spell. at: (k,) times, rising, at which the curve is asked for.
    """
    duration, ended = np.asarray(duration, np.float64), np.asarray(ended, np.bool_)
    _, cluster = np.unique(np.asarray(cluster), return_inverse=True)
    at = np.asarray(at, np.float64)
    times, place = np.unique(duration, return_inverse=True)
    deaths = np.bincount(place, ended, len(times))
    risk = np.bincount(place, minlength=len(times))[::-1].cumsum()[::-1].astype(np.float64)
    survivors = risk - deaths
    value = np.cumprod(survivors / risk)
    with np.errstate(divide="ignore", invalid="ignore"):
        hazard = np.where(survivors > 0, deaths / risk / survivors, np.inf).cumsum()
        own = np.where(ended, 1 / survivors[place], 0.0)  # of the spell's own end
    where = np.searchsorted(times, at, side="right") - 1  # the last of the times that is not after
    curve = np.where(where >= 0, value[where], 1.0)
    variance = np.zeros(len(at))
    size = int(cluster.max()) + 1 if len(cluster) else 0
    for k, last in enumerate(where):
        if last < 0 or not value[last] > 0 or value[last] == 1:
            continue
        influence = hazard[np.minimum(place, last)] - np.where(place <= last, own, 0.0)
        variance[k] = np.square(np.bincount(cluster, influence, size)).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.exp(Z * np.sqrt(variance) / np.abs(np.log(curve)))
        low, high = curve**reach, curve ** (1 / reach)
    sure = (curve >= 1) | (curve <= 0)
    first = np.searchsorted(times, at, side="left")
    at_risk = np.where(first < len(times), risk[np.minimum(first, len(times) - 1)], 0).astype(np.int64)
    return Survival(at, curve, np.where(sure, curve, low), np.where(sure, curve, high), at_risk)


def gini(amounts: ArrayLike) -> float:
    """The Gini coefficient of amounts >= 0: 0 where all are the same, close to 1 where one has all; NaN if all are 0."""
    ordered = np.sort(np.asarray(amounts, np.float64))
    n, total = len(ordered), ordered.sum()
    return float((2 * np.arange(1, n + 1) - n - 1) @ ordered / (n * total)) if total > 0 else math.nan


def top_share(amounts: ArrayLike, share: float) -> float:
    """The share that the largest amounts have of all, so many of them as the given share of their number, at least one."""
    ordered = np.sort(np.asarray(amounts, np.float64))[::-1]
    total = ordered.sum()
    return float(ordered[: max(1, round(share * len(ordered)))].sum() / total) if total > 0 else math.nan


class Clusters(NamedTuple):
    """Groups of points: (n,) which, (k, d) centres, and the sum of squared distances to them."""

    label: NDArray[np.int64]
    centre: Array
    cost: float


def k_means(points: Array, k: int, rng: np.random.Generator, starts: int = 5, rounds: int = 60) -> Clusters:
    """The best of some runs of Lloyd's algorithm (1982), each begun by k-means++ (Arthur and Vassilvitskii 2007).

    Args:
        points: (n, d), n >= k. k: groups. rng: draws the starts. starts: how many. rounds: of each, at most.
    """
    best: Clusters | None = None
    for _ in range(starts):
        centre = _seeded(points, k, rng)
        label = np.full(len(points), -1)
        for _ in range(rounds):
            before, label = label, nearest(points, centre)
            if np.array_equal(before, label):
                break
            count = np.bincount(label, minlength=k)
            for j in np.flatnonzero(count):  # a group that has lost all its points keeps its centre
                centre[j] = points[label == j].mean(axis=0)
        cost = float(np.square(points - centre[label]).sum())
        if best is None or cost < best.cost:
            best = Clusters(label, centre, cost)
    assert best is not None
    return best


def nearest(points: Array, centre: Array) -> NDArray[np.int64]:
    """(n,) the nearest of (k, d) centres to each of (n, d) points."""
    distance = -2 * points @ centre.T + np.square(centre).sum(axis=1)
    return distance.argmin(axis=1)


def _seeded(points: Array, k: int, rng: np.random.Generator) -> Array:
    chosen = [int(rng.integers(len(points)))]
    distance = np.square(points - points[chosen[0]]).sum(axis=1)
    while len(chosen) < k:
        total = distance.sum()
        pick = int(rng.choice(len(points), p=distance / total)) if total > 0 else int(rng.integers(len(points)))
        chosen.append(pick)
        distance = np.minimum(distance, np.square(points - points[pick]).sum(axis=1))
    return points[chosen].copy()


def silhouette(points: Array, label: NDArray[Any]) -> float:
    """Mean silhouette width (Rousseeuw 1987) of n grouped points, -1 to 1; a point alone in its group counts 0."""
    groups, label = np.unique(label, return_inverse=True)
    squares = np.square(points).sum(axis=1)
    distance = np.sqrt(np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0))
    np.fill_diagonal(distance, 0.0)
    member = np.eye(len(groups))[label]
    sums, count = distance @ member, member.sum(axis=0)
    own = count[label]
    rows = np.arange(len(points))
    within = sums[rows, label] / np.maximum(own - 1, 1)
    other = sums / count
    other[rows, label] = np.inf
    between = other.min(axis=1)
    width = np.where(own > 1, (between - within) / np.maximum(np.maximum(between, within), 1e-300), 0.0)
    return float(width.mean())
