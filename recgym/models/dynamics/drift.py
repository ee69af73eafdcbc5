"""How clicks move the interest of a user."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require, require_number
from recgym.kernel import kernel
from recgym.lanes import dot
from recgym.models.dynamics.base import Dynamics
from recgym.types import F64, Array, Column, Feedback, Sizes, Users, copied, empty


@dataclass(frozen=True, eq=False)
class InterestDrift(Dynamics):
    """Each clicked item pulls: interest <- normalise((1 - rate) interest + rate embedding).

    Args:
        rate: in [0, 1].
    """

    rate: float = 0.02

    def __post_init__(self) -> None:
        require_number("InterestDrift.rate", self.rate, 0, 1)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        _drift(interest, catalog.embedding, feedback.slate, feedback.click, self.rate)
        return {"interest": interest}


@kernel
def _drift(interest, embedding, slate, click, rate):
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if click[b, s]:
                _pull(interest, b, embedding, slate[b, s], rate)


@dataclass(frozen=True, eq=False)
class TwoSpeedDrift(Dynamics):
    """A fast short-term and a slow long-term interest; the interest is their mix.

    Each clicked item pulls both as in `InterestDrift`, the column `short_term` with rate `fast` and the column
    `long_term` with rate `slow`; interest = normalise(mix short_term + (1 - mix) long_term). Both begin as the interest
    at arrival.

    Args:
        fast, slow, mix: in [0, 1].
    """

    fast: float = 0.1
    slow: float = 0.01
    mix: float = 0.5

    def __post_init__(self) -> None:
        for name in ("fast", "slow", "mix"):
            require_number(f"TwoSpeedDrift.{name}", getattr(self, name), 0, 1)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        profile = Column((sizes.dimensions,), np.float32, -100.0, 100.0)  # an interest need not be of norm 1 at arrival
        return {"short_term": profile, "long_term": profile}

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        return {"short_term": users.interest, "long_term": users.interest}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        short, long, interest = copied(users.short_term), copied(users.long_term), copied(users.interest)
        _two_speeds(
            short, long, interest, catalog.embedding, feedback.slate, feedback.click, self.fast, self.slow, self.mix
        )
        return {"short_term": short, "long_term": long, "interest": interest}


@kernel
def _two_speeds(short, long, interest, embedding, slate, click, fast, slow, mix):
    for b in range(slate.shape[0]):
        clicked = False
        for s in range(slate.shape[1]):
            if click[b, s]:
                _pull(short, b, embedding, slate[b, s], fast)
                _pull(long, b, embedding, slate[b, s], slow)
                clicked = True
        if clicked:
            for k in range(interest.shape[1]):
                interest[b, k] = np.float32(mix) * short[b, k] + np.float32(1.0 - mix) * long[b, k]
            _normalise(interest, b)


@kernel
def _pull(profile, b, embedding, i, rate):
    """profile[b] <- normalise((1 - rate) profile[b] + rate embedding[i]), in place."""
    for k in range(profile.shape[1]):
        profile[b, k] += np.float32(rate) * (embedding[i, k] - profile[b, k])
    _normalise(profile, b)


@kernel
def _normalise(profile, b):
    """profile[b] <- profile[b] / |profile[b]|, in place."""
    scale = np.float32(1.0 / math.sqrt(np.float64(dot(profile, b, profile, b)) + 1e-12))
    for k in range(profile.shape[1]):
        profile[b, k] *= scale


@dataclass(frozen=True, eq=False)
class Attraction(Dynamics):
    """Clicked items attract for a while: pull <- memory pull + rate * sum of the clicked embeddings; interest = taste + pull.

    The taste is the interest at arrival, and the pull, a column (d,) within +-10 in each coordinate, is 0 then. Unlike
    `InterestDrift` it changes the strength of an interest, too, and it passes.

    Args:
        rate: in [-10, 10]; below 0 clicked items satiate.
        memory: in [0, 1].
    """

    rate: float = 0.1
    memory: float = 0.8
    reach: ClassVar[float] = 1000.0

    def __post_init__(self) -> None:
        require_number("Attraction.rate", self.rate, -10, 10)
        require_number("Attraction.memory", self.memory, 0, 1)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"pull": Column((sizes.dimensions,), np.float32, -10.0, 10.0)}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        pull, interest = copied(users.pull), copied(users.interest)
        _attract(pull, interest, catalog.embedding, feedback.slate, feedback.click, self.rate, self.memory)
        return {"pull": pull, "interest": interest}


@kernel
def _attract(pull, interest, embedding, slate, click, rate, memory):
    for b in range(pull.shape[0]):
        for k in range(pull.shape[1]):
            before, now = pull[b, k], np.float32(memory) * pull[b, k]
            for s in range(slate.shape[1]):
                if click[b, s]:
                    now += np.float32(rate) * embedding[slate[b, s], k]
            now = min(max(now, np.float32(-10.0)), np.float32(10.0))
            pull[b, k] = now
            interest[b, k] += now - before


@dataclass(frozen=True, eq=False)
class SignedDrift(Dynamics):
    """Each clicked item attracts or repels the interest (RecSim's interest evolution, Ie et al. 2019).

    I <- clip(I +- rate (1 - |I|) x (x - I), -1, 1) in each coordinate, where I is the interest and x the embedding of
    the item; the sign is + with probability (x . I + 1) / 2.

    Args:
        rate: in [0, 1].
    """

    rate: float = 0.3

    def __post_init__(self) -> None:
        require_number("SignedDrift.rate", self.rate, 0, 1)

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        _signed_drift(interest, catalog.embedding, feedback.slate, feedback.click, self.rate, noise)
        return {"interest": interest}


@kernel
def _signed_drift(interest, embedding, slate, click, rate, u):
    d = interest.shape[1]
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if not click[b, s]:
                continue
            i = slate[b, s]
            sign = 1.0 if u[s, b] < 0.5 * (1.0 + dot(interest, b, embedding, i)) else -1.0
            for k in range(d):
                x, now = np.float64(embedding[i, k]), np.float64(interest[b, k])
                now += sign * rate * (1.0 - abs(now)) * x * (x - now)
                interest[b, k] = min(max(now, -1.0), 1.0)


@dataclass(frozen=True, eq=False)
class MeanDrift(Dynamics):
    """The mean of the clicked embeddings pulls: interest <- normalise((1 - rate) interest + rate mean) (SARDINE).

    Args:
        rate: in [0, 1].
        scalar: take the mean over the coordinates too, as sardine-rec 1.0.8 does: one number that stands for every
            coordinate, so that every click pulls towards the vector of ones.
    """

    rate: float = 0.05
    scalar: bool = False

    def __post_init__(self) -> None:
        require_number("MeanDrift.rate", self.rate, 0, 1)
        require(isinstance(self.scalar, bool), "MeanDrift.scalar", "must be True or False", self.scalar)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        mean = empty(interest.shape, F64)
        _mean_drift(interest, mean, catalog.embedding, feedback.slate, feedback.click, self.rate, self.scalar)
        return {"interest": interest}


@kernel
def _mean_drift(interest, mean, embedding, slate, click, rate, scalar):
    d = interest.shape[1]
    for b in range(slate.shape[0]):
        for k in range(d):
            mean[b, k] = 0.0
        clicks = 0
        for s in range(slate.shape[1]):
            if click[b, s]:
                clicks += 1
                for k in range(d):
                    mean[b, k] += embedding[slate[b, s], k]
        if clicks == 0:
            continue
        if scalar:
            total = 0.0
            for k in range(d):
                total += mean[b, k]
            for k in range(d):
                mean[b, k] = total / d
        norm = 1e-24
        for k in range(d):
            interest[b, k] = (1.0 - rate) * interest[b, k] + rate * mean[b, k] / clicks
            norm += np.float64(interest[b, k]) ** 2
        for k in range(d):
            interest[b, k] /= math.sqrt(norm)
