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
from recgym.types import I32, Array, Sizes, Users, empty


@dataclass(frozen=True, eq=False)
class CandidateSource(Component, abstract=True):
    """Base: ``(users, catalog, market, noise) -> (B, K) int32`` item ids, -1 = none; no item twice."""

    def count(self, n_items: int) -> int:
        """K, given the number of items."""
        raise NotImplementedError

    def static(self, market: Market, n_items: int) -> bool:
        """Whether the candidates are all items, always."""
        return False

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class _Some(CandidateSource, abstract=True):
    """Base of those that walk through the available items, see `_walk`: K of them, whatever the size of the catalogue."""

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


@dataclass(frozen=True, eq=False)
class Retrieval(_Some):
    """A noisy two-tower stage: K disjoint random pools of available items, of each the best match to the profile.

    The score is ``profile . embedding``, what the platform knows, not the user's interest; users without a profile
    get random items. Cost O(K pool d), whatever the size of the catalogue.

    Args:
        candidates: K >= 1.
        pool: items a candidate is chosen from, >= 1. Where fewer than K pool items are available, pools shrink;
            where fewer than K, the rest of the candidates are -1.
    """

    pool: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("candidates.pool", self.pool, 1, 1_000_000)

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        out = empty((noise.shape[1], self.candidates), I32)
        _retrieve(
            out, noise, users.clock, users.profile, catalog.embedding,
            market.slot, market.offsets, market.listed, self.pool,
        )  # fmt: skip
        return out


@dataclass(frozen=True, eq=False)
class Uniform(_Some):
    """K available items at random, without replacement.

    Args:
        candidates: K >= 1.
    """

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        out = empty((noise.shape[1], self.candidates), I32)
        _uniform(out, noise, users.clock, market.slot, market.offsets, market.listed)
        return out


@dataclass(frozen=True, eq=False)
class All(CandidateSource):
    """The whole catalogue: K = N, candidate i is item i, or -1 while it is not available."""

    def static(self, market: Market, n_items: int) -> bool:
        return len(market.offsets) == 2 and len(market.listed) == n_items

    def count(self, n_items: int) -> int:
        return n_items

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        if len(market.offsets) == 2 and "candidates" in users.__dict__:
            return users.candidates  # nothing comes or goes
        out = empty((noise.shape[1], len(catalog)), I32)
        _all(out, users.clock, market.slot, market.offsets, market.listed)
        return out


@kernel
def _available(clock, slot, offsets):
    """Where the list of the items available at a time begins, and how many they are."""
    s = int(math.floor(clock / slot)) % (offsets.shape[0] - 1)
    return offsets[s], offsets[s + 1] - offsets[s]


@kernel
def _walk(u, v, n):
    """A walk start + j * stride (mod n) with gcd(stride, n) = 1 visits each of n places once."""
    start = int(u * n)
    stride = 1 + int(v * (n - 1))
    while math.gcd(stride, n) != 1:
        stride = stride % n + 1
    return start, stride


@kernel
def _uniform(out, noise, clock, slot, offsets, listed):
    B, K = out.shape
    for b in range(B):
        out[b] = -1
        first, n = _available(clock[b], slot, offsets)
        if n == 0:
            continue
        position, stride = _walk(noise[0, b], noise[1, b], n)
        for k in range(min(K, n)):
            out[b, k] = listed[first + position]
            position += stride
            position -= n if position >= n else 0


@kernel
def _retrieve(out, noise, clock, profile, embedding, slot, offsets, listed, pool):
    B, K = out.shape
    for b in range(B):
        out[b] = -1
        first, n = _available(clock[b], slot, offsets)
        if n == 0:
            continue
        position, stride = _walk(noise[0, b], noise[1, b], n)
        size = max(min(pool, n // K), 1)
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
def _all(out, clock, slot, offsets, listed):
    for b in range(clock.shape[0]):
        out[b] = -1
        first, n = _available(clock[b], slot, offsets)
        for j in range(first, first + n):
            out[b, listed[j]] = listed[j]
