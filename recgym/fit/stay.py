"""How long users stay, and who comes back: logistic regressions on a mood that logs do not show.

    logit P(stay after step k) = -level - pace ln k - fatigue F + scale mood
    logit P(come back after a session) = back + scale regard

Mood and regard are two running means of what was shown and what came of it, with weights of their own, as a user may stay for one thing
and come back for another:

    mood <- memory mood + (1 - memory) x,    x = mean over the slate of f(level + w . features of the item + effect of the item)
                                                 + c . events of the step

f is the sigmoid, so that the best that can be shown keeps users no longer than so long; or it is f(z) = z, with scale 1 and level 0, where that
explains the logs no worse, or they do not show where it ends. All of it, the memory included, is found by Fisher's scoring from the linear form on, with weights shrunken to 0. The
effects of single items, shrunken to 0, are found after that, given the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.fit.clicks import Z, sigmoid
from recgym.fit.effects import logistic
from recgym.fit.events import steps_since
from recgym.fit.outcomes import lengths
from recgym.fit.parameters import FAR, Parameter, estimate
from recgym.kernel import kernel
from recgym.models.departure import Departure, Never, Visits
from recgym.types import Array

if TYPE_CHECKING:
    from recgym.fit.events import Slates
    from recgym.fit.taste import Data, Taste

MEMORIES = (0.05, 0.3, 0.6, 0.8, 0.9, 0.95)  # where the search begins
FEWEST = 50  # sessions that end, or users who come back, below which nothing is fitted
CURVED = 4.6  # by which the sigmoid must raise the log-likelihood: half of the 99 % quantile of chi-squared with two degrees of freedom
FARTHEST = 30.0  # log-odds between the worst and the best; more is the foot of a sigmoid whose top the logs do not show
RARE = 0.001  # share of the logged steps at either end whose moods are out of bounds in the world


class MoodFit(NamedTuple):
    """A logistic regression on a running mean: logit P = base . coefficients + scale * mood.

    Args:
        memory: of the mood, with the ends of its 95 % interval.
        base: coefficients of the other columns.
        weights: (p + r,) of the features of items, within the sigmoid if `saturates`, and of the events, per unit of log-odds.
        covariance: of (base, initial, weights, logit of the memory) and, if `saturates`, (level, log of the scale).
        initial: the mood at arrival. limits: the least and the greatest mood of the logs, but for `RARE` ones.
        saturates: whether items count by a sigmoid, in which `level` is added; else the level is 0 and the scale 1.
        keep: (N,) effects of single items, among the features. tau: their spread.
        gain: by how much the log-likelihood exceeds that of the base alone.
        matters: whether that is more than chance, at the 1 % level.
    """

    memory: tuple[float, float, float]
    base: Array
    weights: Array
    covariance: Array
    initial: float
    limits: tuple[float, float]
    saturates: bool
    level: float
    scale: float
    keep: Array
    tau: float
    gain: float
    matters: bool


@kernel
def running_means(x, fresh, memory, initial):
    """(M, p) running means, after each step, of numbers (M, p); they begin at `initial` where `fresh`."""
    out = np.empty_like(x)
    for m in range(x.shape[0]):
        for k in range(x.shape[1]):
            before = initial if fresh[m] else out[m - 1, k]
            out[m, k] = memory * before + (1.0 - memory) * x[m, k]
    return out


@kernel
def _by_memory(x, mood, fresh, memory, initial):
    """(M,) derivatives of running means (M, 1) of numbers (M, 1) by the memory."""
    out = np.empty(x.shape[0])
    for m in range(x.shape[0]):
        before, slope = (initial, 0.0) if fresh[m] else (mood[m - 1, 0], out[m - 1])
        out[m] = before - x[m, 0] + memory * slope
    return out


@kernel
def _of_items(slope, weight, by_item, item, fresh, surprise, information, memory):
    """Slope and curvature of the log-likelihood by the effect of each item, from derivatives (M, S) of the inputs by it."""
    g = h = 0.0
    for m in range(item.shape[0] - 1, -1, -1):
        g = (1.0 - memory) * surprise[m] + memory * g
        h = (1.0 - memory) ** 2 * information[m] + memory * memory * h
        for s in range(item.shape[1]):
            if item[m, s] >= 0:
                slope[item[m, s]] += g * by_item[m, s]
                weight[item[m, s]] += h * by_item[m, s] ** 2
        if fresh[m]:
            g = h = 0.0


@dataclass(frozen=True, eq=False)
class _Steps:
    """M steps: what came of them, and what the mood is made of.

    The parameters are the vector (base, initial, weights of features, weights of events, logit of the memory) and, where the sigmoid is taken,
    (level, log of the scale).
    """

    y: NDArray[np.int8]
    base: Array
    fresh: NDArray[np.bool_]
    x: NDArray[np.float32]
    events: Array
    item: NDArray[np.int32]

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        return self.y >= 0

    @cached_property
    def share(self) -> Array:
        """(M, S) of each item in the mean over the slate; 0 where there is none."""
        shown = self.item >= 0
        return shown / np.maximum(shown.sum(axis=1, keepdims=True), 1)

    @cached_property
    def age(self) -> Array:
        return (steps_since(self.fresh) + 1).astype(np.float64)

    @cached_property
    def means(self) -> Array:
        return np.einsum("ms,msp->mp", self.share, self.x, dtype=np.float64)

    def split(self, theta: Array) -> tuple[Array, float, Array, Array, float, float, float]:
        """Base, initial, weights of features and of events, memory, level, scale; those of the linear form are 0 and 1."""
        q, p, r = self.base.shape[1], self.x.shape[2], self.events.shape[1]
        base, start, w, v, rest = np.split(theta, np.cumsum([q, 1, p, r]))
        level, scale = (float(rest[1]), math.exp(rest[2])) if len(rest) > 1 else (0.0, 1.0)
        return base, float(start[0]), w, v, float(sigmoid(rest[0])), level, scale

    def inputs(self, theta: Array, keep: Array) -> tuple[Array, Array]:
        """(M,) x, of which the mood is the running mean; (M, S) its derivatives by what is within the sigmoid. Both times the scale."""
        _, _, w, v, _, level, scale = self.split(theta)
        kept = keep[np.maximum(self.item, 0)]
        if self.curved(theta):
            worth = sigmoid(level + (self.x @ w.astype(np.float32)).astype(np.float64) + kept)
            return scale * (self.share * worth).sum(axis=1) + self.events @ v, scale * self.share * worth * (1 - worth)
        return self.means @ w + (self.share * kept).sum(axis=1) + self.events @ v, self.share

    def curved(self, theta: Array) -> bool:
        return len(theta) > self.base.shape[1] + 2 + self.x.shape[2] + self.events.shape[1]

    def log_odds(self, theta: Array, keep: Array) -> Array:
        """(M,) of y = 1."""
        base, initial, _, _, memory, _, scale = self.split(theta)
        x, _ = self.inputs(theta, keep)
        return self.base @ base + running_means(x[:, None], self.fresh, memory, initial * scale)[:, 0]

    def slopes(self, theta: Array, keep: Array) -> Array:
        """(M, len(theta)) derivatives of the log-odds."""
        _, initial, _, v, memory, _, scale = self.split(theta)
        x, by = self.inputs(theta, keep)
        curved = self.curved(theta)
        within = np.einsum("ms,msp->mp", by, self.x, dtype=np.float64) if curved else self.means
        inputs = [within, self.events]
        if curved:
            inputs += [by.sum(axis=1)[:, None], (x - self.events @ v)[:, None]]
        columns = running_means(np.concatenate(inputs, axis=1), self.fresh, memory, 0.0)
        n = within.shape[1] + self.events.shape[1]
        mood = running_means(x[:, None], self.fresh, memory, initial * scale)
        by_memory = memory * (1 - memory) * _by_memory(x[:, None], mood, self.fresh, memory, initial * scale)
        start = scale * memory**self.age
        parts = [self.base, start[:, None], columns[:, :n], by_memory[:, None], columns[:, n:]]
        slopes = np.concatenate(parts, axis=1)
        if curved:
            slopes[:, -1] += initial * start
        return slopes

    def likelihood(self, theta: Array, keep: Array) -> float:
        """The log of it."""
        eta = self.log_odds(theta, keep)[self.known]
        return float(np.sum((self.y[self.known] == 1) * eta - np.logaddexp(0, eta)))

    def climb(
        self, theta: Array, keep: Array, middle: Array, precision: Array, rounds: int = 50
    ) -> tuple[Array, Array]:
        """The likeliest parameters under normal priors, by Fisher's scoring from `theta` on, and their covariance."""

        def score(at: Array) -> float:
            return self.likelihood(at, keep) - 0.5 * float(np.sum(precision * (at - middle) ** 2))

        best, H = score(theta), np.diag(precision)
        for _ in range(rounds):
            J = self.slopes(theta, keep)[self.known]
            p = sigmoid(self.log_odds(theta, keep)[self.known])
            H = (J.T * (p * (1 - p))) @ J + np.diag(precision)
            move = np.linalg.solve(H, J.T @ ((self.y[self.known] == 1) - p) - precision * (theta - middle))
            size = min(1.0, 4.0 / max(np.abs(move).max(), 1e-12))
            while (after := score(theta + size * move)) < best and size > 1e-4:
                size /= 2
            gain = after - best
            if gain <= 0:
                break
            theta, best = theta + size * move, after
            if gain < 1e-3 or self.split(theta)[-1] > FARTHEST:
                break
        return theta, np.linalg.inv(H).astype(np.float64)

    def told(self, theta: Array, covariance: Array, precision: Array) -> Array:
        """The covariance again, for which the memory is told by what the weights are beyond chance.

        The more inputs have no effect, the more of the mood is noise, to which the memory was fitted as well. So its information is that
        of a mood whose weights are shrunken by what their errors explain (James and Stein 1961).
        """
        q = self.base.shape[1] + 1
        n = q + self.x.shape[2] + self.events.shape[1]
        less, w = theta.copy(), theta[q:n]
        less[q:n] *= np.maximum(1 - np.diag(covariance)[q:n] / np.maximum(w**2, 1e-12), 0)
        keep = np.zeros(int(self.item.max(initial=0)) + 1)
        J, p = self.slopes(theta, keep)[self.known], sigmoid(self.log_odds(theta, keep)[self.known])
        J[:, n] = self.slopes(less, keep)[self.known, n]
        return np.linalg.inv((J.T * (p * (1 - p))) @ J + np.diag(precision)).astype(np.float64)

    def effects(self, theta: Array, n_items: int) -> tuple[Array, float]:
        """Effects of single items, and their spread, given the rest: found together, both would grow, as the spread of what is left is not told."""
        memory, keep, tau = self.split(theta)[4], np.zeros(n_items), 0.3
        for _ in range(40):
            p = sigmoid(self.log_odds(theta, keep))
            surprise = np.where(self.known, (self.y == 1) - p, 0.0)
            information = np.where(self.known, p * (1 - p), 0.0)
            slope, weight = np.zeros_like(keep), np.zeros_like(keep)
            _, by = self.inputs(theta, keep)
            _of_items(slope, weight, by, self.item, self.fresh, surprise, information, memory)
            D = weight + tau**-2
            keep = keep + 0.5 * (slope - keep / tau**2) / D
            seen = weight > 0
            again = float(np.sqrt(np.mean((keep**2 + 1 / D)[seen]))) if seen.any() else tau
            tau = min(max(again, 1e-3), 5.0)
        return keep, tau


def fit_mood(
    y: NDArray[np.int8], base: Array, fresh: NDArray[np.bool_], x: NDArray[np.float32], events: Array,
    item: NDArray[np.int32], n_items: int,
) -> MoodFit:  # fmt: skip
    """Fit logit P(y = 1) = base . coefficients + scale * mood to M steps.

    Args:
        y: (M,) 1 or 0, -1 = not known. base: (M, q) columns. fresh: (M,) bool, where the mood begins anew.
        x: (M, S, p) features of the items shown, events: (M, r) of the step: the inputs of the mood. The weight of an input that varies by one
            standard deviation is, before the data are seen, N(0, 1).
        item: (M, S) int32, -1 = nothing.
    """
    steps = _Steps(y, base, fresh, x, events, item)
    known, keep = steps.known, np.zeros(n_items)
    outcome = (y[known] == 1).astype(np.float64)
    q, p, r = base.shape[1], x.shape[2], events.shape[1]
    inputs = np.concatenate([steps.means, events], axis=1)

    # From the likeliest of some memories to the linear form.
    found = (-math.inf, np.zeros(0), np.zeros(0))
    for memory in MEMORIES:
        means = running_means(inputs, fresh, memory, 0.0)
        X = np.concatenate([base, (memory**steps.age)[:, None], means], axis=1)[known]
        precision = np.r_[np.full(q, 1e-3), 0.05, np.maximum(X[:, q + 1 :].var(axis=0), 1e-6)]
        w, _, score = logistic(outcome, X, prior=precision)
        if score > found[0]:
            found = score, np.r_[w, math.log(memory / (1 - memory))], np.r_[precision, 0.25]
    theta, precision = found[1:]
    middle = np.r_[np.zeros(q + 1 + p + r), 1.4]
    theta, covariance = steps.climb(theta, keep, middle, precision)
    score = steps.likelihood(theta, keep)

    # The sigmoid, at first with the same slopes.
    shown = item >= 0
    spread = max(float((steps.x @ theta[q + 1 : q + 1 + p].astype(np.float32))[shown].std()), 1e-3)
    scale = 4 * spread
    start = np.r_[theta, 0.0, math.log(scale)]
    start[q] = 0.5 + theta[q] / scale
    start[0] -= scale / 2
    start[q + 1 : q + 1 + p] /= spread
    tight = np.r_[precision, 0.25, 0.4]
    tight[q] = 4.0
    tight[q + 1 : q + 1 + p] = np.maximum(x[shown].var(axis=0), 1e-6)
    centre = np.r_[middle, 0.0, math.log(4.0)]
    centre[q] = 0.5
    other, spreads = steps.climb(start, keep, centre, tight)
    gain = steps.likelihood(other, keep) - score
    if gain > CURVED and math.exp(other[-1]) < FARTHEST:
        theta, covariance, precision, score = other, spreads, tight, score + gain

    covariance = steps.told(theta, covariance, precision)
    plain = logistic(outcome, base[known])[2]
    freedom = len(theta) - q
    # the cube root of a chi-squared number is nearly normal (Wilson and Hilferty 1931)
    enough = 0.5 * freedom * (1 - 2 / (9 * freedom) + 2.326 * math.sqrt(2 / (9 * freedom))) ** 3
    keep, tau = steps.effects(theta, n_items)
    coefficients, initial, w, v, memory, level, scale = steps.split(theta)
    reach = Z * math.sqrt(covariance[q + 1 + p + r, q + 1 + p + r])
    low, high = (float(sigmoid(theta[q + 1 + p + r] + side * reach)) for side in (-1, 1))
    mood = (steps.log_odds(theta, keep) - base @ coefficients) / scale
    least, most = np.quantile(mood, (RARE, 1 - RARE))
    return MoodFit(
        (memory, low, high), coefficients, np.r_[w, v], covariance, initial, (min(float(least), initial), max(float(most), initial)),
        steps.curved(theta), level, scale, keep, tau, score - plain, score - plain > enough,
    )  # fmt: skip


class Leaving(NamedTuple):
    """Who leaves and who comes back: the part of the world, the moods it reads (None: it reads none), and what they are fed with."""

    departure: Departure
    mood: MoodFit | None
    regard: MoodFit | None
    words: tuple[str, ...]


def fit_leaving(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32], unknown: list[str], fatigue: Array | None = None
) -> tuple[Leaving, list[Parameter]]:  # fmt: skip
    """The hazard of leaving and the chance of coming back; `unknown` gets a sentence for what the logs do not tell.

    Args:
        fatigue: (M,) the sum over topics of the users' fatigue after each slate, as the world will have it; None: there is none. It counts
            only where it makes users leave, beyond chance.
    """
    stays = Leaving(Never(), None, None, ())
    if len(slates) < 2 * slates.n_users and not (slates.step > 0).any():
        unknown.append("Sessions: the logs show single steps; nobody leaves before the horizon of the world.")
        return stays, []
    # At the longest a session, or all that a user did, ever got, all end: be it that they leave or that the logs go no further.
    count = np.arange(len(slates)) - slates.first[slates.user]
    cut = (slates.step == max(slates.step.max(), 1)) | (count == max(count.max(), 1))
    stay = np.where((slates.ends < 0) | cut, -1, slates.ends == 0).astype(np.int8)
    ended = int((stay == 0).sum())
    if ended < FEWEST:
        unknown.append(
            f"Sessions: {ended} ends are too few to tell when users leave; nobody leaves before the horizon."
        )
        return stays, []
    x, events, words = mood_inputs(slates, model, data, interest)
    first_of_user = np.r_[True, np.diff(slates.user) != 0]
    comes = _returns(slates, first_of_user)
    fresh = first_of_user if comes is not None else slates.step == 0
    log_step = np.log1p(slates.step.astype(np.float64))
    plain = np.stack([np.ones(len(stay)), log_step], axis=1)
    base = plain if fatigue is None else np.c_[plain, -fatigue]

    def fit(base: Array) -> tuple[MoodFit, Array, Array]:
        """The mood, and the coefficients of `base` with their errors: beside it if it matters, else alone."""
        mood = fit_mood(stay, base, fresh, x, events, slates.item, slates.n_items)
        w, covariance = mood.base, mood.covariance
        if not mood.matters:
            told = stay >= 0
            w, covariance, _ = logistic((stay[told] == 1).astype(np.float64), base[told])
        return mood, w, np.sqrt(np.diag(covariance))

    mood, w, error = fit(base)
    if fatigue is not None and w[2] < Z * error[2]:
        unknown.append("Fatigue: no effect on who leaves beyond its interval; in the world there is none.")
        mood, w, error = fit(plain)
    if not mood.matters:
        unknown.append(
            "Mood: whether users stay does not differ, beyond chance, by what they were shown; only time makes them leave."
        )
    level, pace, tires = -float(w[0]), -float(w[1]), float(w[2]) if len(w) > 2 else 0.0
    found = [
        estimate("leaving, log-odds", level, float(error[0]), "of leaving after the first step, at mood 0"),
        estimate("leaving, pace", pace, float(error[1]), "of leaving, per unit of ln(step)"),
    ]
    if tires:
        found.append(estimate("leaving, fatigue", tires, float(error[2]), "of leaving, per unit of fatigue, over all topics"))  # fmt: skip
    if mood.matters:
        found += _mood_parameters("mood", mood, words, "of staying")
    longest = float(max(slates.step.max() + 1, 10))
    if comes is None:
        unknown.append("Returns: next to no user of the logs comes back after a session; nobody does in the world.")
        return Leaving(
            Visits(level=level, pace=pace, mood=mood.scale if mood.matters else 0.0, fatigue=tires, longest=longest),
            mood if mood.matters else None, None, words,
        ), found  # fmt: skip
    y, gaps = comes
    y[cut] = -1
    regard = fit_mood(y, np.ones((len(y), 1)), fresh, x, events, slates.item, slates.n_items)
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
        level=level, pace=pace, mood=mood.scale if mood.matters else 0.0, fatigue=tires, longest=longest, back=back,
        regard=regard.scale if regard.matters else 0.0,
        away=float(np.exp(np.median(log_gap))), away_spread=float(log_gap.std()),
    )  # fmt: skip
    return Leaving(departure, mood if mood.matters else None, regard if regard.matters else None, words), found


def _mood_parameters(name: str, fit: MoodFit, words: tuple[str, ...], what: str) -> list[Parameter]:
    error = np.sqrt(np.diag(fit.covariance))
    found = [Parameter(f"{name}, memory", *fit.memory, f"of the {name}, per step")]
    if fit.saturates:
        reach = math.exp(min(Z * error[-1], FAR))
        meaning = f"log-odds {what}, between the worst and the best that can be shown"
        found.append(Parameter(f"{name}, scale", fit.scale, fit.scale / reach, fit.scale * reach, meaning))
        found.append(estimate(f"{name}, level", fit.level, float(error[-2]), "of an item, within the sigmoid"))
    for k, (word, value) in enumerate(zip(words, fit.weights, strict=True)):
        within = fit.saturates and word not in EVENTS
        meaning = (
            f"of an item, within the sigmoid, per unit of {word}"
            if within
            else f"log-odds {what}, per unit of the running mean of {word}"
        )
        found.append(estimate(f"{name}, {word}", float(value), float(error[len(fit.base) + 1 + k]), meaning))
    return found


EVENTS = ("clicks", "log minutes")  # inputs of a mood that are not of single items


def mood_inputs(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32]
) -> tuple[NDArray[np.float32], Array, tuple[str, ...]]:
    """(M, S, p) of the items shown: attributes, match, price; (M, r) of the step: clicks, minutes; and what the p + r are."""
    item = np.maximum(slates.item, 0)
    own = np.c_[data.attributes.numpy(), model.item_mean.detach().numpy()].astype(np.float32)
    words = [*data.names, "item effect", "match"]
    embedding = model.x.detach().numpy()
    match = np.zeros((*item.shape, 1), np.float32)
    user = interest[..., : model.d].mean(axis=0)
    for some in np.array_split(np.arange(len(slates)), max(len(slates) // 50_000, 1)):
        match[some, :, 0] = np.einsum("md,msd->ms", user[slates.user[some]], embedding[item[some]])
    columns, events = [own[item], match], []
    if "log_price" in slates.signals:
        columns.append(slates.signal[..., [slates.signals.index("log_price")]])
        words.append("log price")
    clicks = (slates.click & slates.shown).sum(axis=1).astype(np.float64)
    if clicks.var() > 0:
        events.append(clicks)
        words.append(EVENTS[0])
    if "dwell" in slates.outcome:
        events.append(np.log1p(lengths(slates)))  # of the whole step, as `Mood` takes them
        words.append(EVENTS[1])
    return np.concatenate(columns, axis=2), np.stack(events, 1) if events else np.zeros((len(slates), 0)), tuple(words)


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
