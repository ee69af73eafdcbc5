"""Statistics of benchmark scores: small pure functions, randomness an argument.

IQM and stratified bootstrap follow Agarwal et al., "Deep reinforcement learning at the edge of the statistical
precipice", NeurIPS 2021 (arXiv 2108.13264).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recgym.errors import require

Array = NDArray[np.float64]
Statistic = Callable[[Array], Any]  # reduces the last axis


def normalised(score: ArrayLike, random: float, planner: float) -> Array:
    """(score - random) / (planner - random): 0 plays like the random agent, 1 like the planner.

    Raises:
        ConfigError: the planner is not above the random agent, so that the scale means nothing.
    """
    require(planner > random, "planner score", f"must be above the random score {random:g}", planner)
    return (np.asarray(score, np.float64) - random) / (planner - random)


def mean(scores: ArrayLike) -> Array:
    """Mean over the last axis."""
    return np.mean(np.asarray(scores, np.float64), axis=-1)


def iqm(scores: ArrayLike) -> Array:
    """Interquartile mean over the last axis: of n scores the floor(n / 4) lowest and highest are left out."""
    ordered = np.sort(np.asarray(scores, np.float64), axis=-1)
    cut = ordered.shape[-1] // 4
    return ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)


def standard_error(scores: ArrayLike) -> float:
    """Standard error of the mean of n scores; 0 for one score, which says nothing of its spread."""
    scores = np.asarray(scores, np.float64)
    return float(scores.std(ddof=1) / math.sqrt(scores.size)) if scores.size > 1 else 0.0


def bootstrap_interval(
    runs: Sequence[ArrayLike],
    statistic: Statistic,
    rng: np.random.Generator,
    errors: Sequence[float] | None = None,
    resamples: int = 2000,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval, stratified: each task's runs are resampled among themselves.

    Args:
        runs: for each task the (n,) scores of its runs.
        statistic: reduces the last axis of an array, such as `iqm`.
        rng: draws the resamples.
        errors: for each task the standard error that its runs have in common, as the same users score them, which
            resampling the runs cannot show: normal noise, drawn once a task and resample. None: no such error.
        resamples: how many. level: coverage, in (0, 1).

    Returns:
        Lower and upper end.
    """
    samples = []
    for task, scores in enumerate(runs):
        scores = np.asarray(scores, np.float64)
        picked = rng.integers(len(scores), size=(resamples, len(scores)))
        common = rng.standard_normal((resamples, 1)) * (errors[task] if errors else 0.0)
        samples.append(scores[picked] + common)
    low, high = np.quantile(statistic(np.concatenate(samples, axis=1)), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def ratio(a: float, a_error: float, b: float, b_error: float) -> tuple[float, float]:
    """a / b and its standard error by the delta method for independent a and b; b is not 0.

    Where the same users gave both numbers they mostly rise and fall together, and the true error is smaller.
    """
    return a / b, math.hypot(a_error, a * b_error / b) / abs(b)
