"""Candidates: which K items the agent may choose from in a step."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.errors import require, require_count
from recgym.kernel import inlined, kernel
from recgym.lanes import dot
from recgym.market import Market
from recgym.types import F32, I32, Array, Sizes, Users, empty


@dataclass(frozen=True, eq=False)
class CandidateSource(Component, abstract=True):
    """Base of which items the agent may choose from."""

    def count(self, n_items: int) -> int:
        """K, given the number of items."""
        raise NotImplementedError

    def static(self, market: Market, n_items: int) -> bool:
        """Whether the candidates are all items at all times; False by default."""
        return False

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        """(B, K) int32 ids of available items, none twice; -1 = none. `noise` is (uniforms, B) float32 in (0, 1)."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class _Some(CandidateSource, abstract=True):
    """Base of sources of K candidates that walk through the available items, see `_walk`; no cost grows with N."""

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
    """The best match in each of K disjoint random pools of available items, the best of all first: a noisy two-tower stage.

    The score of an item is ``query . embedding``, where the query is the profile plus the mean embedding of the clicked items
    that the platform remembers: what it knows, not the user's interest. Users of whom it knows neither get random items in
    random order. The cost is O(K (pool d + log K)), whatever the size of the catalogue.

    Args:
        candidates: K >= 1.
        pool: size of a pool, >= 1. Pools shrink where fewer than K * pool items are available; where fewer than K are,
            the last candidates are -1. Of equal scores, the item that was drawn first comes first.
    """

    pool: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count("candidates.pool", self.pool, 1, 1_000_000)

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        shape = (noise.shape[1], self.candidates)
        out, score = empty(shape, I32), empty(shape, F32)
        query = empty(users.profile.shape, F32)
        mean_of_history(query, users.history, catalog.embedding)
        _add(query, users.profile)
        _retrieve(
            out, score, noise, users.clock, query, catalog.embedding,
            market.slot, market.offsets, market.listed, market.factors, self.pool,
        )  # fmt: skip
        _sort(out, score, empty(shape, I32), empty(shape, F32), empty(shape, I32))
        return out


@inlined
def mean_of_history(mean, history, embedding):
    """The mean embedding (B, d) of the items in the history; 0 where it is empty."""
    B, d = mean.shape
    for b in range(B):
        clicked = 0
        for k in range(d):
            mean[b, k] = 0.0
        for h in range(history.shape[1]):
            i = history[b, h]
            if i >= 0:
                clicked += 1
                for k in range(d):
                    mean[b, k] += embedding[i, k]
        for k in range(d):
            mean[b, k] /= np.float32(max(clicked, 1))


@kernel
def _add(query, profile):
    """query <- query + profile."""
    for b in range(query.shape[0]):
        for k in range(query.shape[1]):
            query[b, k] += profile[b, k]


@inlined
def _retrieve(out, score, noise, clock, query, embedding, slot, offsets, listed, factors, pool):
    B, K = out.shape
    for b in range(B):
        for k in range(K):
            out[b, k], score[b, k] = -1, -np.inf
        s, first, n = _available(clock[b], slot, offsets)
        if n == 0:
            continue
        position, stride = _walk(noise[0, b], noise[1, b], n, factors[s])
        size = max(min(pool, n // K), 1)
        for k in range(min(K, n)):
            best, pick = np.float32(-np.inf), np.int32(-1)
            for _ in range(size):  # no branches: which score wins cannot be predicted
                i = listed[np.uint64(first) + position]
                position += stride
                position = position - np.uint64(n) if position >= np.uint64(n) else position
                match = dot(query, b, embedding, i)
                better = match > best
                pick = i if better else pick
                best = match if better else best
            out[b, k], score[b, k] = pick, best


@kernel
def _sort(items, score, spare, spare_score, place):
    """Sorts each row of items by score, the highest first, equal ones in their order.

    In runs of 32, the place of an item is the number of those that come before it; each pair is compared once, without
    branches, as which is the higher cannot be predicted. Runs are then merged two by two.
    """
    B, K = items.shape
    for b in range(B):
        run = 32
        for start in range(0, K, run):
            value, before = score[b, start : start + run], place[b, start : start + run]
            for j in range(value.shape[0]):
                ahead = np.int32(0)
                for i in range(j):
                    first = np.int32(value[i] >= value[j])
                    ahead += first
                    before[i] += np.int32(1) - first
                before[j] = ahead
            for j in range(value.shape[0]):
                k = start + before[j]
                spare[b, k], spare_score[b, k] = items[b, start + j], value[j]
        for k in range(K):
            items[b, k], score[b, k] = spare[b, k], spare_score[b, k]
        while run < K:
            for start in range(0, K, 2 * run):
                middle, end = min(start + run, K), min(start + 2 * run, K)
                left, right = start, middle
                for k in range(start, end):
                    if right >= end or (left < middle and score[b, left] >= score[b, right]):
                        spare[b, k], spare_score[b, k] = items[b, left], score[b, left]
                        left += 1
                    else:
                        spare[b, k], spare_score[b, k] = items[b, right], score[b, right]
                        right += 1
            for k in range(K):
                items[b, k], score[b, k] = spare[b, k], spare_score[b, k]
            run *= 2


@dataclass(frozen=True, eq=False)
class Uniform(_Some):
    """K available items at random, none twice.

    Args:
        candidates: K >= 1.
    """

    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        out = empty((noise.shape[1], self.candidates), I32)
        _uniform(out, noise, users.clock, market.slot, market.offsets, market.listed, market.factors)
        return out


@kernel
def _uniform(out, noise, clock, slot, offsets, listed, factors):
    B, K = out.shape
    for b in range(B):
        for k in range(K):
            out[b, k] = -1
        s, first, n = _available(clock[b], slot, offsets)
        if n == 0:
            continue
        position, stride = _walk(noise[0, b], noise[1, b], n, factors[s])
        for k in range(min(K, n)):
            out[b, k] = listed[np.uint64(first) + position]
            position += stride
            position = position - np.uint64(n) if position >= np.uint64(n) else position


@dataclass(frozen=True, eq=False)
class All(CandidateSource):
    """The whole catalogue: K = N, and candidate i is item i, or -1 while it is not available."""

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
def _all(out, clock, slot, offsets, listed):
    for b in range(clock.shape[0]):
        for i in range(out.shape[1]):
            out[b, i] = -1
        _, first, n = _available(clock[b], slot, offsets)
        for j in range(first, first + n):
            out[b, listed[j]] = listed[j]


@kernel
def _available(clock, slot, offsets):
    """The slot of a time, where the list of the items that are available in it begins, and how many there are."""
    s = int(math.floor(clock / slot)) % (offsets.shape[0] - 1)
    return s, offsets[s], offsets[s + 1] - offsets[s]


@kernel
def _walk(u, v, n, factors):
    """Start and stride of a walk start + j * stride (mod n), which visits each of n items once: gcd(stride, n) = 1.

    `factors` are the primes that divide n, and numbers above n.
    """
    start, stride = int(u * n), np.uint32(1 + int(v * (n - 1)))
    divides = True
    while divides:
        divides = False
        for f in range(factors.shape[0]):
            divides |= stride % factors[f] == 0
        if divides:
            stride = np.uint32(stride % n + 1)
    return np.uint64(start), np.uint64(stride)  # indices without a sign cost a third: none can count from the end


def source_of(value: Any, default: CandidateSource) -> CandidateSource:
    """Candidates by a number K, of the default source where it has one, "all", or a component (also in JSON form)."""
    if isinstance(value, str) and value == "all":
        return All()
    if isinstance(value, numbers.Integral) and not isinstance(value, bool):
        if isinstance(default, All):
            return Uniform(int(value))
        return CandidateSource.from_dict({**default.to_dict(), "candidates": int(value)}, where="candidates")
    if isinstance(value, dict):
        return CandidateSource.from_dict(value, where="candidates")
    require(isinstance(value, CandidateSource), "candidates", 'must be a number, "all" or a CandidateSource', value)
    assert isinstance(value, CandidateSource)
    return value
