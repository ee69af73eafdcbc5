"""Choice: which items of a slate are clicked. Each model samples clicks and states their probabilities.

Shapes: `utility` (B, S) float32, -inf where a position is empty; `outside` (B,) float32, the utility of taking
nothing; clicks (B, S) bool; probabilities (B, S) float32, marginal over the clicks on all other positions.
"""

from __future__ import annotations

import numbers
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from recgym.component import Component
from recgym.errors import require, require_number
from recgym.kernel import exp_all, inlined, kernel, sigmoid, sigmoid32
from recgym.types import BOOL, F32, Array, Sizes, empty, zeros


@dataclass(frozen=True, eq=False)
class Choice(Component, abstract=True):
    """Base of which items are clicked. `single` says that a slate gets at most one click."""

    single: ClassVar[bool] = False

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        """Clicks and their marginal probabilities, given (uniforms, B) float32 noise in (0, 1)."""
        raise NotImplementedError

    def probability(self, utility: Array, outside: Array) -> Array:
        """Marginal click probability of each position."""
        return self.sample(utility, outside, np.empty((0, len(utility)), F32))[1]

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        """(B,) float64 log-probability of a whole click pattern; -inf where it cannot happen."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class MultinomialLogit(Choice):
    """At most one click, by a multinomial logit (McFadden 1974).

    P(s) = exp(v_s - decay ln(1 + s)) / (exp(null + outside) + sum_j exp(v_j - decay ln(1 + j))), for s = 0, 1, ...

    Args:
        null: utility of not clicking; larger means fewer clicks.
        decay: how fast attention falls with the position, >= 0.
    """

    null: float = 2.0
    decay: float = 0.0
    single: ClassVar[bool] = True
    _memo: dict[int, Array] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        require_number("MultinomialLogit.null", self.null, -1000, 1000)
        require_number("MultinomialLogit.decay", self.decay, 0, 1000)

    def uniforms(self, sizes: Sizes) -> int:
        return 1

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click, probability = zeros(utility.shape, BOOL), zeros(utility.shape, F32)
        nothing = empty(outside.shape, F32)
        _logit(click, probability, nothing, utility, outside, self.null, self._penalty(utility.shape[1]), noise)
        return click, probability

    def _penalty(self, n: int) -> Array:
        """(n,) float32, decay ln(1 + s); made once."""
        if n not in self._memo:
            self._memo[n] = (self.decay * np.log1p(np.arange(n))).astype(F32)
        return self._memo[n]

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        v = utility.astype(np.float64) - self._penalty(utility.shape[1])
        zero = self.null + outside.astype(np.float64)
        total = np.logaddexp.reduce(np.concatenate([zero[:, None], v], axis=1), axis=1)
        count = click.sum(axis=1)
        chosen = np.where(count == 0, zero, np.where(click, v, -np.inf).max(axis=1))
        return np.where(count <= 1, chosen - total, -np.inf)


@kernel
def _logit(click, probability, nothing, utility, outside, null, penalty, u):
    B, S = utility.shape
    for b in range(B):  # values relative to the highest, which exp brings to (0, 1]
        top = zero = np.float32(null + outside[b])
        for s in range(S):
            probability[b, s] = utility[b, s] - penalty[s]
            top = max(top, probability[b, s])
        nothing[b] = zero - top
        for s in range(S):
            probability[b, s] -= top
    exp_all(nothing)
    exp_all(probability)
    for b in range(B):
        total = nothing[b]
        for s in range(S):
            total += probability[b, s]
        share = np.float32(1.0) / total
        # The null comes first in the cumulative sum: a user who clicks nothing at u clicks nothing at any u' < u.
        level = nothing[b] * share
        for s in range(S):
            probability[b, s] *= share
            if u.shape[0] > 0:
                before = level
                level += probability[b, s]
                click[b, s] = (before <= u[0, b]) & (u[0, b] < level)


@dataclass(frozen=True, eq=False)
class PositionBased(Choice):
    """Independent clicks by position: P(s) = examination_s * sigmoid(v_s - threshold).

    Richardson, Dominowska and Ragno 2007.

    Args:
        examination: a number e in [0, 1], with which position s is examined with probability e^s; or a probability for
            each position.
        threshold: utility at which half of the users who examine an item click it.
    """

    examination: float | tuple[float, ...] = 0.85
    threshold: float = 0.0
    _memo: dict[int, Array] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        require_number("PositionBased.threshold", self.threshold, -1000, 1000)
        if isinstance(self.examination, numbers.Real):
            require_number("PositionBased.examination", self.examination, 0, 1)
        else:
            given: Any = self.examination
            rule = "must be a number or a sequence of numbers in [0, 1]"
            require(
                isinstance(given, (list, tuple, np.ndarray)) and len(given) > 0,
                "PositionBased.examination",
                rule,
                given,
            )
            for e in given:
                require_number("PositionBased.examination", e, 0, 1)
            object.__setattr__(self, "examination", tuple(float(e) for e in given))

    def uniforms(self, sizes: Sizes) -> int:
        known = len(self.examination) if isinstance(self.examination, tuple) else sizes.slate
        rule = f"must be at most the {known} positions of PositionBased.examination"
        require(known >= sizes.slate, "slate_size", rule, sizes.slate)
        return sizes.slate

    def _examination(self, n: int) -> Array:
        """(n,) float64 probabilities that each position is examined; made once."""
        if n not in self._memo:
            given = self.examination
            self._memo[n] = np.array(given[:n]) if isinstance(given, tuple) else float(given) ** np.arange(n)
        return self._memo[n]

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        examination = self._examination(utility.shape[1])
        click, probability = zeros(utility.shape, BOOL), zeros(utility.shape, F32)
        _independent(click, probability, utility, examination, self.threshold, noise)
        return click, probability

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        e = self._examination(utility.shape[1])
        v = utility.astype(np.float64) - self.threshold
        with np.errstate(divide="ignore"):
            return np.where(click, np.log(e * _sigmoid(v)), np.log((1 - e) + e * _sigmoid(-v))).sum(axis=1)


@kernel
def _independent(click, probability, utility, examination, threshold, u):
    B, S = utility.shape
    _attract(probability, utility, threshold)
    for b in range(B):
        for s in range(S):
            probability[b, s] *= examination[s]
            if u.shape[0] > 0:
                click[b, s] = u[s, b] < probability[b, s]


@kernel
def _attract(probability, utility, threshold):
    """sigmoid(v - threshold); 0 where a position is empty."""
    p, v, least = probability.reshape(-1), utility.reshape(-1), np.float32(threshold)
    for j in range(v.size):
        p[j] = sigmoid32(v[j] - least)


@dataclass(frozen=True, eq=False)
class Cascade(Choice):
    """The user reads from the top and may click several times (Craswell et al. 2008; Guo, Liu and Wang 2009, DCM).

    An examined item is clicked with probability sigmoid(v_s - threshold). The next position is then examined with
    probability attention, or attention * continuation after a click.

    Args:
        attention: probability of reading on, in [0, 1].
        continuation: factor on it after a click, in [0, 1]; 0 is the classic cascade of one click.
        threshold: utility at which half of the users who examine an item click it.
    """

    attention: float = 0.9
    continuation: float = 0.6
    threshold: float = 0.0

    def __post_init__(self) -> None:
        require_number("Cascade.attention", self.attention, 0, 1)
        require_number("Cascade.continuation", self.continuation, 0, 1)
        require_number("Cascade.threshold", self.threshold, -1000, 1000)

    def uniforms(self, sizes: Sizes) -> int:
        return 2 * sizes.slate

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click, probability = zeros(utility.shape, BOOL), zeros(utility.shape, F32)
        _cascade(click, probability, utility, self.attention, self.continuation, self.threshold, noise)
        return click, probability

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        v = utility.astype(np.float64) - self.threshold
        attraction, other = _sigmoid(v), _sigmoid(-v)
        # reading: P(pattern so far, position s is examined); stopped: P(pattern so far, reading has ended).
        reading, stopped = np.ones(len(utility)), np.zeros(len(utility))
        for s in range(utility.shape[1]):
            c = click[:, s]
            reading, stopped = reading * np.where(c, attraction[:, s], other[:, s]), np.where(c, 0.0, stopped)
            if s + 1 < utility.shape[1]:
                on = self.attention * np.where(c, self.continuation, 1.0)
                reading, stopped = reading * on, stopped + reading * (1 - on)
        with np.errstate(divide="ignore"):
            return np.log(reading + stopped)


@inlined
def _cascade(click, probability, utility, attention, continuation, threshold, u):
    B, S = utility.shape
    _attract(probability, utility, threshold)
    for b in range(B):
        examined = 1.0
        reading = True
        for s in range(S):
            a = probability[b, s]
            probability[b, s] = examined * a
            examined *= attention * (1.0 - a * (1.0 - continuation))
            if u.shape[0] > 0:  # no branches: who clicks and who reads on cannot be predicted
                clicked = reading & (u[s, b] < a)
                click[b, s] = clicked
                reading &= u[S + s, b] < (attention * continuation if clicked else attention)


@dataclass(frozen=True, eq=False)
class Proportional(Choice):
    """At most one click: P(s) = w_s / (null + sum_j w_j), where w = max(v + shift, 0) (RecSim, Ie et al. 2019).

    Args:
        null: weight of not clicking, > 0.
        shift: added to each utility.
    """

    null: float = 2.0
    shift: float = 1.0
    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("Proportional.null", self.null, 1e-9, 1e9)
        require_number("Proportional.shift", self.shift, -1e6, 1e6)

    def uniforms(self, sizes: Sizes) -> int:
        return 1

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click, probability = zeros(utility.shape, BOOL), empty(utility.shape, F32)
        _proportional(click, probability, utility, self.null, self.shift, noise)
        return click, probability

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        w = np.maximum(utility.astype(np.float64) + self.shift, 0.0)
        count = click.sum(axis=1)
        chosen = np.where(count == 0, self.null, (w * click).sum(axis=1))
        with np.errstate(divide="ignore"):
            return np.where(count <= 1, np.log(chosen) - np.log(self.null + w.sum(axis=1)), -np.inf)


@kernel
def _proportional(click, probability, utility, null, shift, u):
    B, S = utility.shape
    for b in range(B):
        total = null
        for s in range(S):
            total += max(np.float64(utility[b, s]) + shift, 0.0)
        level = null / total
        for s in range(S):
            p = max(np.float64(utility[b, s]) + shift, 0.0) / total
            probability[b, s] = p
            if u.shape[0] > 0:
                click[b, s] = level <= u[0, b] and u[0, b] < level + p
            level += p


@dataclass(frozen=True, eq=False)
class FirstItem(Choice):
    """One click, on the item in the first position, whatever it is."""

    single: ClassVar[bool] = True

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click = zeros(utility.shape, BOOL)
        probability = zeros(utility.shape, F32)
        _first(click, probability, utility)
        return click, probability

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        return np.where((click == self.sample(utility, outside, utility)[0]).all(axis=1), 0.0, -np.inf)


@kernel
def _first(click, probability, utility):
    for b in range(utility.shape[0]):
        click[b, 0] = utility[b, 0] > -np.inf
        probability[b, 0] = 1.0 if click[b, 0] else 0.0


@dataclass(frozen=True, eq=False)
class RareClick(Choice):
    """Independent clicks, as rare as on advertisements (RecoGym).

    P(s) = sigmoid(5 sigmoid(2 sigmoid(0.3 v_s) - 2) - 6), which lies in (0.0045, 0.0293).
    """

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        click, probability = zeros(utility.shape, BOOL), zeros(utility.shape, F32)
        _rare(click, probability, utility, noise)
        return click, probability

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        p = _sigmoid(5.0 * _sigmoid(2.0 * _sigmoid(0.3 * utility.astype(np.float64)) - 2.0) - 6.0)
        p = np.where(utility > -np.inf, p, 0.0)
        with np.errstate(divide="ignore"):
            return np.where(click, np.log(p), np.log1p(-p)).sum(axis=1)


@kernel
def _rare(click, probability, utility, u):
    B, S = utility.shape
    for b in range(B):
        for s in range(S):
            if utility[b, s] > -np.inf:
                probability[b, s] = sigmoid(5.0 * sigmoid(2.0 * sigmoid(0.3 * utility[b, s]) - 2.0) - 6.0)
                if u.shape[0] > 0:
                    click[b, s] = u[s, b] < probability[b, s]


def _sigmoid(x: Array) -> Array:
    """1 / (1 + exp(-x)) of float64, without overflow; 0 at -inf."""
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, e) / (1.0 + e)
