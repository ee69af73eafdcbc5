"""Candidate generation: which K items the agent may choose from at this step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.errors import require, require_count
from recgym.kernel import dot, kernel
from recgym.market import Market
from recgym.types import I32, Array, Sizes, Users


@dataclass(frozen=True, eq=False)
class CandidateSource(Component, abstract=True):
    """Base: ``(users, catalog, market, noise) -> (B, K) int32`` item ids, -1 = none; no item twice."""

    def count(self, n_items: int) -> int:
        """K, given the number of items."""
        raise NotImplementedError

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Retrieval(CandidateSource):
    """A noisy two-tower stage: K disjoint random pools of available items, of each the best match to the profile.

    The score is ``profile . embedding``, what the platform knows, not the user's interest; users without a profile
    get random items. Cost O(K pool d), whatever the size of the catalogue.

    Args:
        candidates: K >= 1.
        pool: items a candidate is chosen from, >= 1. Where fewer than K pool items are available, pools shrink;
            where fewer than K, the rest of the candidates are -1.
    """

    candidates: int = 20
    pool: int = 4

    def __post_init__(self) -> None:
        require_count("candidates", self.candidates, 1, 1_000_000)
        require_count("candidates.pool", self.pool, 1, 1_000_000)

    def count(self, n_items: int) -> int:
        return self.candidates

    def uniforms(self, sizes: Sizes) -> int:
        return 2

    def check(self, catalog: Catalog) -> None:
        require(
            self.candidates <= len(catalog), "candidates", f"must be at most the {len(catalog)} items", self.candidates
        )

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        out = np.empty((noise.shape[1], self.candidates), I32)
        _retrieve(
            out, noise, users.clock, users.profile, catalog.embedding,
            market.slot, market.offsets, market.listed, self.pool,
        )  # fmt: skip
        return out


@dataclass(frozen=True, eq=False)
class Uniform(CandidateSource):
    """K available items at random, without replacement.

    Args:
        candidates: K >= 1.
    """

    candidates: int = 20

    def __post_init__(self) -> None:
        require_count("candidates", self.candidates, 1, 1_000_000)

    def count(self, n_items: int) -> int:
        return self.candidates

    def uniforms(self, sizes: Sizes) -> int:
        return 2

    def check(self, catalog: Catalog) -> None:
        require(
            self.candidates <= len(catalog), "candidates", f"must be at most the {len(catalog)} items", self.candidates
        )

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        out = np.empty((noise.shape[1], self.candidates), I32)
        _retrieve(
            out, noise, users.clock, users.profile, catalog.embedding,
            market.slot, market.offsets, market.listed, 1,
        )  # fmt: skip
        return out


@dataclass(frozen=True, eq=False)
class All(CandidateSource):
    """The whole catalogue: K = N, candidate i is item i, or -1 while it is not available."""

    def count(self, n_items: int) -> int:
        return n_items

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        return _all(users.clock, len(catalog), market.slot, market.offsets, market.listed)


@kernel
def _retrieve(out, noise, clock, profile, embedding, slot, offsets, listed, pool):
    B, K = out.shape
    slots = offsets.shape[0] - 1
    for b in range(B):
        out[b] = -1
        s = int(math.floor(clock[b] / slot)) % slots
        first = offsets[s]
        n = offsets[s + 1] - first
        if n == 0:
            continue
        # A walk start + j * stride (mod n) with gcd(stride, n) = 1 visits each available item once.
        start = int(noise[0, b] * n)
        stride = 1 + int(noise[1, b] * (n - 1))
        while math.gcd(stride, n) != 1:
            stride = stride % n + 1
        size = max(min(pool, n // K), 1)
        position = start
        for k in range(min(K, n)):
            best, pick = np.float32(-np.inf), np.int32(-1)
            for _ in range(size):  # no branches: which score wins cannot be predicted
                i = listed[first + position]
                position += stride
                position -= n if position >= n else 0
                score = dot(profile, b, embedding, i)
                better = score > best
                pick = i if better else pick
                best = score if better else best
            out[b, k] = pick


@kernel
def _all(clock, n_items, slot, offsets, listed):
    B = clock.shape[0]
    out = np.full((B, n_items), -1, np.int32)
    for b in range(B):
        s = int(math.floor(clock[b] / slot)) % (offsets.shape[0] - 1)
        for j in range(offsets[s], offsets[s + 1]):
            out[b, listed[j]] = listed[j]
    return out
