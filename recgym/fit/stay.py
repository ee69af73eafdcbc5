"""How long users stay: the hazard of leaving, as a function of what was shown and what came of it.

    logit P(leave after step k) = level + pace ln k - mood
    mood <- memory mood + (1 - memory) x,    x = mean over the slate of (w . features of the item + effect of the item) + c . events of the step

Given the memory, all of it is linear, and a logistic regression. The memory is found by its likelihood on a grid. The effects of single
items, shrunken to 0, are found after that, given the rest.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.fit.clicks import sigmoid
from recgym.fit.effects import logistic
from recgym.fit.events import steps_since
from recgym.kernel import kernel

Array = NDArray[np.float64]
MEMORIES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)


class Hazard(NamedTuple):
    """A fitted hazard.

    Args:
        memory: of the mood, and where its likelihood falls below that of a 95 % interval, low and high.
        level, pace: coefficients. mood: (n,) of the mood's inputs, by the order in which they were given, in log-odds of staying.
        initial: the mood at arrival.
        covariance: of (level, pace, initial, mood ...), given the memory.
        keep: (N,) effects of single items on the mood. tau: their spread.
        gain: by how much the log-likelihood exceeds that of a hazard of ln k alone, per session end.
    """

    memory: tuple[float, float, float]
    level: float
    pace: float
    initial: float
    mood: Array
    covariance: Array
    keep: Array
    tau: float
    gain: float


@kernel
def running_means(x, fresh, memory):
    """(M, p) running means, after each step, of numbers (M, p); they begin at 0 where `fresh`."""
    out = np.empty_like(x)
    for m in range(x.shape[0]):
        for k in range(x.shape[1]):
            before = 0.0 if fresh[m] else out[m - 1, k]
            out[m, k] = memory * before + (1.0 - memory) * x[m, k]
    return out


@kernel
def _effects(mood, slope, weight, item, fresh, surprise, information, keep, memory):
    """The part of the mood that items have by their effects, and by `keep`: slope and curvature of the log-likelihood."""
    M, S = item.shape
    for m in range(M):
        n, x = 0, 0.0
        for s in range(S):
            if item[m, s] >= 0:
                n += 1
                x += keep[item[m, s]]
        before = 0.0 if fresh[m] else mood[m - 1]
        mood[m] = memory * before + (1.0 - memory) * x / max(n, 1)
    g = h = 0.0
    for m in range(M - 1, -1, -1):
        g = (1.0 - memory) * surprise[m] + memory * g
        h = (1.0 - memory) ** 2 * information[m] + memory * memory * h
        n = 0
        for s in range(S):
            if item[m, s] >= 0:
                n += 1
        for s in range(S):
            if item[m, s] >= 0:
                slope[item[m, s]] += g / n
                weight[item[m, s]] += h / (n * n)
        if fresh[m]:
            g = h = 0.0


def fit_hazard(
    left: NDArray[np.int8], step: NDArray[np.int32], fresh: NDArray[np.bool_], x: Array,
    item: NDArray[np.int32], n_items: int, memories: tuple[float, ...] = MEMORIES,
) -> Hazard:  # fmt: skip
    """Fit the hazard to M steps.

    Args:
        left: (M,) 1 = the user left after the step, 0 = not, -1 = not known. step: (M,) steps since the session began.
        fresh: (M,) bool, where the mood begins anew. x: (M, p) inputs of the mood.
        item: (M, S) int32, -1 = nothing.
    """
    known = left >= 0
    y = (left[known] == 1).astype(np.float64)
    log_step = np.log1p(step.astype(np.float64))
    age = steps_since(fresh) + 1

    def design(memory: float) -> Array:
        rest = memory**age
        columns = [np.ones(len(step)), log_step, -rest, *(-running_means(x, fresh, memory)).T]
        return np.stack(columns, 1)[known]

    scores = []
    for memory in memories:
        scores.append(logistic(y, design(memory))[2])
    best = int(np.argmax(scores))
    memory = _peak(memories, scores, best)
    X = design(memory)
    w, covariance, score = logistic(y, X)
    plain = logistic(y, X[:, :2])[2]
    inside = [m for m, s in zip(memories, scores, strict=True) if s > max(scores) - 1.92]
    keep, tau = np.zeros(n_items), 0.3
    eta = np.zeros(len(step))
    eta[known] = X @ w
    mood = np.zeros(len(step))
    for _ in range(40):
        total = eta - mood
        p = sigmoid(total)
        surprise = np.where(known, -((left == 1) - p), 0.0)  # of the mood, which keeps
        information = np.where(known, p * (1 - p), 0.0)
        slope, weight = np.zeros(n_items), np.zeros(n_items)
        _effects(mood, slope, weight, item, fresh, surprise, information, keep, memory)
        D = weight + tau**-2
        keep = keep + 0.5 * (slope - keep / tau**2) / D
        seen = weight > 0
        fresh_tau = float(np.sqrt(np.mean((keep**2 + 1 / D)[seen]))) if seen.any() else tau
        tau = min(max(fresh_tau, 1e-3), 5.0)
    return Hazard(
        (memory, min(inside), max(inside)), float(w[0]), float(w[1]), float(w[2]), w[3:], covariance, keep, tau,
        (score - plain) / max(float(y.sum()), 1.0),
    )  # fmt: skip


def _peak(x: tuple[float, ...], y: list[float], best: int) -> float:
    """The peak of the parabola through the best point of a grid and its neighbours."""
    if best in (0, len(x) - 1):
        return x[best]
    a, b, _ = np.polyfit(np.array(x[best - 1 : best + 2]) - x[best], np.array(y[best - 1 : best + 2]) - y[best], 2)
    if a >= 0 or not math.isfinite(a):
        return x[best]
    return float(np.clip(x[best] - b / (2 * a), x[best - 1], x[best + 1]))
