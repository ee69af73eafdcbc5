"""How long users stay, and who comes back: logistic regressions on a mood that logs do not show.

    logit P(stay after step k) = -level - pace ln k + mood
    logit P(come back after a session) = back + regard

Mood and regard are two running means of what was shown and what came of it, with weights of their own, as a user may stay for one thing
and come back for another:

    mood <- memory mood + (1 - memory) x,    x = mean over the slate of (w . features of the item + effect of the item) + c . events of the step

Given the memory, all of it is linear, and a logistic regression in which weights are shrunken to 0. The memory is found by its likelihood on a
grid. The effects of single items, shrunken to 0, are found after that, given the rest.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.fit.clicks import Z, sigmoid
from recgym.fit.effects import logistic
from recgym.fit.events import steps_since
from recgym.fit.outcomes import scan
from recgym.fit.parameters import Parameter, estimate
from recgym.kernel import kernel
from recgym.models.departure import Departure, Never, Visits
from recgym.types import Array

if TYPE_CHECKING:
    from recgym.fit.events import Slates
    from recgym.fit.taste import Data, Taste

MEMORIES = (0.0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
FEWEST = 50  # sessions that end, or users who come back, below which nothing is fitted
CRITICAL = 1.92  # half of the 95 % quantile of chi-squared with one degree of freedom


class MoodFit(NamedTuple):
    """A logistic regression on a running mean.

    Args:
        memory: of the mood, with the ends of its 95 % interval.
        base: coefficients of the other columns. initial: the mood at arrival. weights: (p,) of the mood's inputs.
        covariance: of (base, initial, weights), given the memory.
        keep: (N,) effects of single items on the mood. tau: their spread.
        gain: by how much the log-likelihood exceeds that of the base alone.
        matters: whether that is more than chance, at the 1 % level.
    """

    memory: tuple[float, float, float]
    base: Array
    initial: float
    weights: Array
    covariance: Array
    keep: Array
    tau: float
    gain: float
    matters: bool


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
    """The part of the mood that items have by their effects, `keep`: slope and curvature of the log-likelihood."""
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


def fit_mood(
    y: NDArray[np.int8], base: Array, fresh: NDArray[np.bool_], x: Array, item: NDArray[np.int32], n_items: int,
    memories: tuple[float, ...] = MEMORIES,
) -> MoodFit:  # fmt: skip
    """Fit logit P(y = 1) = base . coefficients + mood to M steps.

    Args:
        y: (M,) 1 or 0, -1 = not known. base: (M, q) columns. fresh: (M,) bool, where the mood begins anew.
        x: (M, p) inputs of the mood; the weight of an input that varies by one standard deviation is, before the data are seen, N(0, 1).
        item: (M, S) int32, -1 = nothing.
    """
    known = y >= 0
    outcome = (y[known] == 1).astype(np.float64)
    q = base.shape[1]
    age = steps_since(fresh) + 1

    def design(memory: float) -> tuple[Array, Array]:
        X = np.concatenate([base, (memory**age)[:, None], running_means(x, fresh, memory)], axis=1)[known]
        return X, np.r_[np.full(q, 1e-3), 0.05, np.maximum(X[:, q + 1 :].var(axis=0), 1e-6)]

    scores = []
    for memory in memories:
        X, prior = design(memory)
        scores.append(logistic(outcome, X, prior=prior)[2])
    memory = _peak(memories, scores)
    X, prior = design(memory[0])
    w, covariance, score = logistic(outcome, X, prior=prior)
    plain = logistic(outcome, X[:, :q])[2]
    freedom = X.shape[1] - q + 1  # the memory is one more
    # the cube root of a chi-squared number is nearly normal (Wilson and Hilferty 1931)
    enough = 0.5 * freedom * (1 - 2 / (9 * freedom) + 2.326 * math.sqrt(2 / (9 * freedom))) ** 3
    keep, tau = np.zeros(n_items), 0.3
    eta = np.zeros(len(y))
    eta[known] = X @ w
    mood = np.zeros(len(y))
    for _ in range(40):
        p = sigmoid(eta + mood)
        surprise = np.where(known, (y == 1) - p, 0.0)
        information = np.where(known, p * (1 - p), 0.0)
        slope, weight = np.zeros(n_items), np.zeros(n_items)
        _effects(mood, slope, weight, item, fresh, surprise, information, keep, memory[0])
        D = weight + tau**-2
        keep = keep + 0.5 * (slope - keep / tau**2) / D
        seen = weight > 0
        again = float(np.sqrt(np.mean((keep**2 + 1 / D)[seen]))) if seen.any() else tau
        tau = min(max(again, 1e-3), 5.0)
    return MoodFit(
        memory, w[:q], float(w[q]), w[q + 1 :], covariance, keep, tau, float(score - plain), score - plain > enough
    )


def _peak(x: tuple[float, ...], y: list[float]) -> tuple[float, float, float]:
    """Where log-likelihoods on a grid peak, and a 95 % interval: by the parabola through the best point and its neighbours.

    At an end of the grid it is that point, and those where the likelihood is hardly lower.
    """
    best = int(np.argmax(y))
    inside = [a for a, b in zip(x, y, strict=True) if b > y[best] - CRITICAL]
    found = x[best], min(inside), max(inside)
    if best in (0, len(x) - 1):
        return found
    a, b, _ = np.polyfit(np.array(x[best - 1 : best + 2]) - x[best], np.array(y[best - 1 : best + 2]) - y[best], 2)
    if a >= 0 or not math.isfinite(a):
        return found
    peak = float(np.clip(x[best] - b / (2 * a), x[best - 1], x[best + 1]))
    reach = Z * math.sqrt(-1 / (2 * a))
    return peak, max(peak - reach, 0.0), min(peak + reach, 1.0)


class Leaving(NamedTuple):
    """Who leaves and who comes back: the part of the world, the moods it reads (None: it reads none), and what they are fed with."""

    departure: Departure
    mood: MoodFit | None
    regard: MoodFit | None
    words: tuple[str, ...]


def fit_leaving(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32], unknown: list[str]
) -> tuple[Leaving, list[Parameter]]:
    """The hazard of leaving and the chance of coming back; `unknown` gets a sentence for what the logs do not tell."""
    stays = Leaving(Never(), None, None, ())
    if len(slates) < 2 * slates.n_users and not (slates.step > 0).any():
        unknown.append("Sessions: the logs show single steps; nobody leaves before the horizon of the world.")
        return stays, []
    ended = int((slates.ends == 1).sum())
    if ended < FEWEST:
        unknown.append(
            f"Sessions: {ended} ends are too few to tell when users leave; nobody leaves before the horizon."
        )
        return stays, []
    x, words = mood_inputs(slates, model, data, interest)
    first_of_user = np.r_[True, np.diff(slates.user) != 0]
    comes = _returns(slates, first_of_user)
    fresh = first_of_user if comes is not None else slates.step == 0
    stay = np.where(slates.ends < 0, -1, slates.ends == 0).astype(np.int8)
    log_step = np.log1p(slates.step.astype(np.float64))
    base = np.stack([np.ones(len(stay)), log_step], axis=1)
    mood = fit_mood(stay, base, fresh, x, slates.item, slates.n_items)
    if not mood.matters:
        unknown.append(
            "Mood: whether users stay does not differ, beyond chance, by what they were shown; only time makes them leave."
        )
    error = np.sqrt(np.diag(mood.covariance))
    told = stay >= 0
    w = mood.base if mood.matters else logistic((stay[told] == 1).astype(np.float64), base[told])[0]
    level, pace = -float(w[0]), -float(w[1])
    found = [
        estimate("leaving, log-odds", level, float(error[0]), "of leaving after the first step, at mood 0"),
        estimate("leaving, pace", pace, float(error[1]), "of leaving, per unit of ln(step)"),
    ]
    if mood.matters:
        found += _mood_parameters("mood", mood, words, "of staying")
    longest = float(max(slates.step.max() + 1, 10))
    if comes is None:
        unknown.append("Returns: next to no user of the logs comes back after a session; nobody does in the world.")
        return Leaving(
            Visits(level=level, pace=pace, mood=float(mood.matters), longest=longest), mood if mood.matters else None, None, words
        ), found  # fmt: skip
    y, gaps = comes
    regard = fit_mood(y, np.ones((len(y), 1)), fresh, x, slates.item, slates.n_items)
    rate = (y == 1).sum() / (y >= 0).sum()
    back = float(regard.base[0]) if regard.matters else math.log(rate / (1 - rate))
    wide = (
        float(np.sqrt(regard.covariance[0, 0])) if regard.matters else 1 / math.sqrt((y >= 0).sum() * rate * (1 - rate))
    )
    found.append(estimate("return, log-odds", back, wide, "of coming back after a session, at regard 0"))
    if regard.matters:
        found += _mood_parameters("regard", regard, words, "of coming back")
    else:
        unknown.append("Regard: whether users come back does not differ, beyond chance, by what they were shown.")
    log_gap = np.log(np.clip(gaps, 1, 1e5))
    departure = Visits(
        level=level, pace=pace, mood=float(mood.matters), longest=longest, back=back, regard=float(regard.matters),
        away=float(np.exp(np.median(log_gap))), away_spread=float(log_gap.std()),
    )  # fmt: skip
    return Leaving(departure, mood if mood.matters else None, regard if regard.matters else None, words), found


def _mood_parameters(name: str, fit: MoodFit, words: tuple[str, ...], what: str) -> list[Parameter]:
    error = np.sqrt(np.diag(fit.covariance))[len(fit.base) + 1 :]
    found = [Parameter(f"{name}, memory", *fit.memory, f"of the {name}, per step")]
    for word, value, spread in zip(words, fit.weights, error, strict=True):
        meaning = f"log-odds {what}, per unit of the running mean of {word}"
        found.append(estimate(f"{name}, {word}", float(value), float(spread), meaning))
    return found


def mood_inputs(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32]
) -> tuple[Array, tuple[str, ...]]:
    """(M, p) inputs of the moods, and what they are: attributes of the items shown, match, price, clicks, minutes."""
    item = np.maximum(slates.item, 0)
    attributes = data.attributes.numpy().astype(np.float64)
    columns = [slates.mean(attributes[item, a]) for a in range(attributes.shape[1])]
    words = [*data.names]
    columns.append(slates.mean(model.item_mean.detach().numpy().astype(np.float64)[item]))
    words.append("item effect")
    embedding = model.x.detach().numpy()
    match = np.zeros(item.shape)
    for some in np.array_split(np.arange(len(slates)), max(len(slates) // 50_000, 1)):
        match[some] = np.einsum("md,msd->ms", interest[0, slates.user[some], : model.d], embedding[item[some]])
    columns.append(slates.mean(match))
    words.append("match")
    if "log_price" in slates.signals:
        columns.append(slates.mean(slates.signal[..., slates.signals.index("log_price")].astype(np.float64)))
        words.append("log price")
    clicks = (slates.click & slates.shown).sum(axis=1).astype(np.float64)
    if clicks.var() > 0:
        columns.append(clicks)
        words.append("clicks")
    if "dwell" in slates.outcome:
        minutes = slates.outcome["dwell"].sum(axis=1).astype(np.float64)
        columns.append(np.log1p(scan(slates) + minutes))  # of the whole step, as `Mood` takes them
        words.append("log minutes")
    return np.stack(columns, 1), tuple(words)


def _returns(slates: Slates, first_of_user: NDArray[np.bool_]) -> tuple[NDArray[np.int8], NDArray[np.float64]] | None:
    """(M,) whether the user came back after a slate that ended a session, -1 = no such slate or too late in the logs to tell; and the gaps.

    None where next to nobody does.
    """
    last = np.flatnonzero(slates.ends == 1)
    follows = np.r_[~first_of_user[1:], False][last]
    gap = np.r_[slates.gap[1:], 0.0][last]
    if follows.sum() < FEWEST or follows.mean() < 0.005:
        return None
    span = slates.clock.max() - slates.clock.min()
    wait = min(float(np.quantile(gap[follows], 0.9)), span / 3)
    early = slates.clock[last] < slates.clock.max() - wait
    back = follows & (gap <= wait)
    y = np.full(len(slates), -1, np.int8)
    y[last[early]] = back[early]
    return (y, gap[early & back]) if early.sum() >= FEWEST and 0 < back[early].mean() < 1 else None
