"""Preference: what an item is worth to a user, whatever its position and the other items of the slate.

    utility = scale * match(interest, embedding) + sum_a attributes[a] * item attribute a
            + sum_f sensitivity[f] * market signal f + sum_c topics[c] * user column c at the item's topic
            + sum_c users[c] * user column c + loyalty * log(1 + minutes with this item)

The sensitivities belong to the user (see `Population`): price or freshness matters more to some users than to others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.component import Component, float_array
from recgym.errors import require, require_number
from recgym.kernel import inlined, kernel
from recgym.lanes import dot
from recgym.market import Market
from recgym.types import F32, Array, Users, empty, filled, zeros


@dataclass(frozen=True, eq=False)
class Preference(Component, abstract=True):
    """Base of what items are worth to users."""

    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        """(B, S) float32 utility, -inf where the item is -1.

        Args:
            signals: (B, S, F) float32, the market's signals of those items.
            items: (B, S) int32 item ids, -1 = none.
        """
        raise NotImplementedError

    def outside(self, users: Users, catalog: Catalog, market: Market) -> Array:
        """(B,) float32 utility of taking nothing, to which the choice model adds its `null`; zero by default."""
        return zeros(users.t.shape, F32)


@dataclass(frozen=True, eq=False)
class _Match(Preference, abstract=True):
    """The sum of this module, with a match that subclasses choose.

    Args:
        scale: weight of the match.
        attributes: item attribute -> weight.
        topics: user column of shape (T,) -> weight, read at the item's topic.
        users: user column of shape () -> weight; it is the same for all items, as against taking nothing.
        unless: user column of shape (T,) that silences the match while any of its numbers is above 0; "" = none.
    """

    scale: float = 1.0
    attributes: dict[str, float] = field(default_factory=dict)
    topics: dict[str, float] = field(default_factory=dict)
    users: dict[str, float] = field(default_factory=dict)
    unless: str = ""
    _attribute_weights: tuple[tuple[str, float], ...] = field(init=False, repr=False)
    mode: ClassVar[int] = 0  # of the match: 0 product, 1 cosine, 2 distance

    def __post_init__(self) -> None:
        name = type(self).__name__
        for field_name in ("attributes", "topics", "users"):
            given = getattr(self, field_name)
            require(isinstance(given, dict), f"{name}.{field_name}", "must be weights by name", given)
        require_number(f"{name}.scale", self.scale, -1000, 1000)
        for attribute, weight in {**self.attributes, **self.topics, **self.users}.items():
            require_number(f"{name}[{attribute!r}]", weight, -1000, 1000)
        object.__setattr__(self, "_attribute_weights", tuple(self.attributes.items()))

    def reads(self) -> tuple[str, ...]:
        by_topic = (*self.topics, *([self.unless] if self.unless else []))
        return (*(f"topics.{name}" for name in by_topic), *(f"scalars.{name}" for name in self.users))

    def check(self, catalog: Catalog) -> None:
        catalog.weighted(self._attribute_weights)

    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        utility, silencer = empty(items.shape, F32), users.__dict__[self.unless or "exposure"]
        _utility(
            utility, items, users.interest, catalog.embedding, self.scale, self.mode, silencer, self.unless != "",
            catalog.weighted(self._attribute_weights), users.sensitivity, signals,
        )  # fmt: skip
        for name, weight in self.topics.items():
            _add_topic(utility, items, catalog.topic, users.__dict__[name], weight)
        for name, weight in self.users.items():
            _add_user(utility, items, users.__dict__[name], weight)
        return utility


@inlined
def _utility(out, items, interest, embedding, scale, mode, silencer, may_silence, appeal, sensitivity, signals):
    B, S = items.shape
    for b in range(B):
        weight = np.float32(scale)
        if may_silence:
            for z in range(silencer.shape[1]):
                weight = np.float32(0.0) if silencer[b, z] > 0.0 else weight
        own = dot(interest, b, interest, b) if mode > 0 else np.float32(0.0)
        for s in range(S):
            i = items[b, s]
            if i < 0:
                out[b, s] = -np.inf
                continue
            match = dot(interest, b, embedding, i)
            if mode > 0:
                norm = np.float64(dot(embedding, i, embedding, i))
                if mode == 1:
                    norm = math.sqrt(own * norm)
                    match = np.float32(match / norm if norm > 0.0 else 0.0)
                else:
                    match = np.float32(-math.sqrt(max(own + norm - 2.0 * match, 0.0)))
            v = weight * match + appeal[i]
            for f in range(signals.shape[2]):
                v += sensitivity[b, f] * signals[b, s, f]
            out[b, s] = v


@kernel
def _add_topic(utility, items, topic, column, weight):
    """Add a user's column at the item's topic."""
    w = np.float32(weight)
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                utility[b, s] += w * column[b, topic[items[b, s]]]


@kernel
def _add_user(utility, items, column, weight):
    """Add a number of the user to every item."""
    w = np.float32(weight)
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] >= 0:
                utility[b, s] += w * column[b]


@dataclass(frozen=True, eq=False)
class DotProduct(_Match):
    """Utility by the inner product: match = interest . embedding.

    utility = scale * match + sum_a attributes[a] * item attribute a + sum_f sensitivity[f] * market signal f
    + sum_c topics[c] * user column c at the item's topic + sum_c users[c] * user column c.

    Args:
        scale: weight of the match.
        attributes: item attribute -> weight.
        topics: user column of shape (T,) -> weight, read at the item's topic.
        users: user column of shape () -> weight; it is the same for all items, as against taking nothing.
        unless: user column of shape (T,) that silences the match while any of its numbers is above 0; "" = none.
    """


@dataclass(frozen=True, eq=False)
class Cosine(_Match):
    """As `DotProduct`, with match = interest . embedding / (|interest| |embedding|), 0 where a norm is 0."""

    mode: ClassVar[int] = 1


@dataclass(frozen=True, eq=False)
class NegativeDistance(_Match):
    """As `DotProduct`, with match = -|interest - embedding|."""

    mode: ClassVar[int] = 2


@dataclass(frozen=True, eq=False)
class Lookup(Preference):
    """One utility for each item, the same for every user: all that click logs without user features can tell.

    Args:
        table: (N,) float32 utilities.
    """

    table: NDArray[np.float32]

    def __post_init__(self) -> None:
        float_array(self, "table")

    def check(self, catalog: Catalog) -> None:
        shape = (len(catalog),)
        require(self.table.shape == shape, "Lookup.table", f"must have shape {shape}", self.table.shape)

    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        utility = empty(items.shape, F32)
        _lookup(utility, items, self.table)
        return utility


@kernel
def _lookup(out, items, table):
    B, S = items.shape
    for b in range(B):
        for s in range(S):
            out[b, s] = table[items[b, s]] if items[b, s] >= 0 else -np.inf


@dataclass(frozen=True, eq=False)
class Loyal(DotProduct):
    """A `DotProduct` plus loyalty * log(1 + minutes with this item); the item on screen is the outside option.

    The outside option of a user who is watching is to stay: it has the utility of the item on screen plus the inertia. While
    nothing is on screen it is to go on browsing, and has the utility `browsing`. The item on screen cannot be clicked: its utility in a slate is -inf.

    Reads the columns `watching` (B,) int32, `fan_item` (B, L) int32 and `fan_minutes` (B, L) float32, which a `Watch`
    response keeps.

    Args:
        loyalty: >= 0.
        browsing: utility of browsing. inertia: what staying is worth beyond the utility of the item. The choice model adds
            its `null` to both.
    """

    loyalty: float = 0.0
    browsing: float = 0.0
    inertia: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("Loyal.loyalty", self.loyalty, 0, 1000)
        require_number("Loyal.browsing", self.browsing, -1000, 1000)
        require_number("Loyal.inertia", self.inertia, -1000, 1000)

    def reads(self) -> tuple[str, ...]:
        return (*super().reads(), "users.watching", "users.fan_item", "users.fan_minutes")

    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        utility = self._worth(users, catalog, signals, items)
        _hide(utility, items, users.watching)
        return utility

    def _worth(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        utility = super().__call__(users, catalog, signals, items)
        _add_loyalty(utility, items, users.fan_item, users.fan_minutes, self.loyalty)
        return utility

    def outside(self, users: Users, catalog: Catalog, market: Market) -> Array:
        items = users.watching.reshape(-1, 1)
        utility = self._worth(users, catalog, market.observe(items, users.clock), items)
        outside = filled(len(items), self.browsing, F32)
        _stay(outside, utility, users.watching, self.inertia)
        return outside


@inlined
def _add_loyalty(utility, items, fan_item, fan_minutes, loyalty):
    for b in range(items.shape[0]):
        for f in range(fan_item.shape[1]):
            known = fan_item[b, f]
            for s in range(items.shape[1]):
                if known >= 0 and items[b, s] == known:
                    utility[b, s] += loyalty * math.log(1.0 + fan_minutes[b, f])


@kernel
def _hide(utility, items, watching):
    """-inf for what is on screen, which cannot be clicked."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] >= 0 and items[b, s] == watching[b]:
                utility[b, s] = -np.inf


@kernel
def _stay(out, utility, watching, inertia):
    for b in range(watching.shape[0]):
        if watching[b] >= 0:
            out[b] = utility[b, 0] + inertia
