"""The market: what an item costs, how fresh or popular it is, and when it is available.

All of it is a function of the item and the clock alone: no user moves the market, so that the state of a user stays
small and a million items and 4096 users fit into memory together. Calendars are periodic. Each time slot has a list of
the items that are available; items come and go where one slot ends and the next begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.component import Component, float_array, int_array
from recgym.errors import require, require_count, require_number, unknown
from recgym.kernel import exp32, exp_all, inlined, kernel, sine32
from recgym.population import HOURS
from recgym.types import F32, Array, empty, zeros

WHOLE = 1.5 * 2**52  # x + WHOLE - WHOLE is the integer nearest to a float64 |x| < 2^51
LONGEST_STREAM = 600.0  # minutes; the signals `age` and `remaining` of live streams are shares of it


class Signal(NamedTuple):
    """A property of an item that changes over time: name, inclusive range, and whether the observation shows it."""

    name: str
    low: float
    high: float
    visible: bool = True


@dataclass(frozen=True, eq=False)
class Market(Component, abstract=True):
    """Base of markets. `listed[offsets[s]:offsets[s + 1]]` are the items available in slot s.

    Args:
        slot: length of a slot in minutes, > 0.
        offsets: (slots + 1,) int64, ascending from 0; the calendar repeats after `slots` slots.
        listed: int32 item ids, ascending within each slot.
    """

    slot: float
    offsets: NDArray[np.int64]
    listed: NDArray[np.int32]
    signals: ClassVar[tuple[Signal, ...]] = ()
    per_item: ClassVar[tuple[str, ...]] = ()  # fields with a row for each item
    names: ClassVar[tuple[str, ...]] = ()  # of the signals
    _columns: ClassVar[dict[str, int]] = {}

    def __post_init__(self) -> None:
        require_number("market.slot", self.slot, 1e-6, 1e9)
        int_array(self, "offsets", np.int64)
        int_array(self, "listed", np.int32)
        fits = (
            self.offsets.ndim == self.listed.ndim == 1
            and len(self.offsets) >= 2
            and self.offsets[0] == 0
            and self.offsets[-1] == len(self.listed)
        )
        require(
            fits and (np.diff(self.offsets) >= 0).all(), "market.offsets", "must ascend from 0 to len(listed)", "other"
        )

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(abstract=abstract, **kwargs)
        cls.names = tuple(signal.name for signal in cls.signals)
        cls._columns = {name: j for j, name in enumerate(cls.names)}

    def column(self, signal: str) -> int:
        """Index of a signal in `signals`."""
        if signal not in self._columns:
            unknown("market signal", signal, self._columns)
        return self._columns[signal]

    @cached_property
    def period(self) -> float:
        """Minutes after which the calendar repeats."""
        return self.slot * (len(self.offsets) - 1)

    @cached_property
    def factors(self) -> NDArray[np.uint32]:
        """(slots, P) uint32: the different primes that divide the number of available items, filled up with that number + 1."""
        counts = np.diff(self.offsets)
        primes = {n: prime_factors(n) for n in {*counts.tolist()}}
        table = np.repeat(counts[:, None] + 1, max(1, *map(len, primes.values())), axis=1).astype(np.uint32)
        for row, n in zip(table, counts.tolist(), strict=True):
            row[: len(primes[n])] = primes[n]
        return table

    def available(self, clock: float) -> Array:
        """Ids of the items that are available at a minute of the clock, ascending."""
        s = int(clock // self.slot) % (len(self.offsets) - 1)
        return self.listed[self.offsets[s] : self.offsets[s + 1]]

    def observe(self, items: Array, clock: Array) -> Array:
        """Signals of items.

        Args:
            items: (B, S) int32, -1 = none.
            clock: (B,) float32 minutes.

        Returns:
            (B, S, F) float32 within the ranges of `signals`; zero for -1.
        """
        out = zeros((*items.shape, len(self.signals)), F32)
        if self.signals:
            self.write(out, items, clock)
        return out

    def write(self, out: Array, items: Array, clock: Array) -> None:
        """Fill a zero array with what `observe` returns."""

    def check(self, catalog: Catalog) -> None:
        for name in self.per_item:
            rows = len(getattr(self, name))
            require(rows == len(catalog), f"market.{name}", f"must have a row for each of {len(catalog)} items", rows)
        step = np.diff(self.listed)
        step[self.offsets[(self.offsets > 0) & (self.offsets < len(self.listed))] - 1] = 1  # from one slot to the next
        require((step > 0).all(), "market.listed", "must ascend within a slot", "an item twice or out of order")
        require(len(self.listed) > 0, "market.listed", "must name at least one item", "none")
        highest = int(self.listed.max())
        require(
            highest < len(catalog) and self.listed.min() >= 0,
            "market.listed",
            f"must lie in [0, {len(catalog)})",
            highest,
        )


@kernel
def _minute(clock, period):
    """Minute of the calendar, in [0, period), as float32."""
    return np.float32(clock - period * math.floor(clock / period))


@kernel
def _since(start, minute, period):
    """Minutes from one float32 minute of the calendar to another, in [0, period)."""
    passed = minute - start
    return passed + np.float32(period) if passed < np.float32(0.0) else passed


@dataclass(frozen=True, eq=False)
class StaticMarket(Market):
    """Every item is available at all times; no signals."""

    @classmethod
    def of(cls, n_items: int) -> Self:
        """The market of a catalogue of n items."""
        return cls(1440.0, np.array([0, n_items]), np.arange(n_items, dtype=np.int32))


@dataclass(frozen=True, eq=False)
class ShopMarket(Market):
    """Prices with promotions; items are out of stock for whole slots.

    Signals: `log_price`, the log of the discounted price over the reference price of the category, and `discount`.

    Args:
        log_price: (N,) float32, log of the undiscounted price over the reference price of the category.
        promotion: (N, P, 3) float32: start minute, end minute and discount in [0, 0.9] of the P promotions of each
            item, which do not overlap.
    """

    log_price: Array
    promotion: Array
    signals: ClassVar[tuple[Signal, ...]] = (Signal("log_price", -4.0, 2.0), Signal("discount", 0.0, 0.9))
    per_item: ClassVar[tuple[str, ...]] = ("log_price", "promotion")

    def __post_init__(self) -> None:
        super().__post_init__()
        float_array(self, "log_price")
        float_array(self, "promotion")
        n = len(np.atleast_1d(self.log_price))
        require(self.log_price.shape == (n,), "market.log_price", f"must have shape ({n},)", self.log_price.shape)
        shape_fits = self.promotion.ndim == 3 and self.promotion.shape[0] == n and self.promotion.shape[2] == 3
        require(shape_fits, "market.promotion", f"must be ({n}, P, 3)", self.promotion.shape)
        in_range = (np.abs(self.log_price) <= 1.69).all()  # log 0.1 more at the deepest discount stays above -4
        require(in_range, "market.log_price", "must lie in [-1.69, 1.69]", float(np.abs(self.log_price).max()))
        discount = self.promotion[:, :, 2]
        require(
            ((discount >= 0) & (discount <= 0.9)).all(), "market.promotion discount", "must lie in [0, 0.9]", "other"
        )

    @cached_property
    def _offers(self) -> Array:
        """(N, P, 4) float32: start, end and discount of each promotion, and what it adds to the log price."""
        return np.concatenate([self.promotion, np.log1p(-self.promotion[:, :, 2:])], axis=2)

    def write(self, out: Array, items: Array, clock: Array) -> None:
        _shop_signals(out, items, clock, self.period, self.log_price, self._offers)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, log_price: NDArray[np.float64],
        promotions: int = 1, discount: float = 0.3, stock_outs: float = 0.05, days: int = 7, slot: float = 720.0,
    ) -> Self:  # fmt: skip
        """A seeded week: each item has `promotions` of 12 to 48 hours, and is out of stock in a share of the slots."""
        require_count("promotions", promotions, 0, 10_000)
        require_number("discount", discount, 0, 0.9)
        require_number("stock_outs", stock_outs, 0, 1)
        n, period = len(log_price), days * 1440.0
        require(period % slot == 0, "slot", f"must divide the {period:g} minutes of the calendar", slot)
        width = period / max(promotions, 1)
        require(width >= 720.0, "promotions", f"must be at most {int(period // 720)}, each of half a day", promotions)
        start = rng.uniform(0, 1, (n, promotions)) * (width - min(2880.0, width)) + width * np.arange(promotions)
        end = start + rng.uniform(720.0, min(2880.0, width), (n, promotions))
        depth = (
            np.minimum(rng.exponential(discount, (n, promotions)), 0.7) if discount > 0 else np.zeros((n, promotions))
        )
        promotion = np.stack([start, end, depth], axis=2)
        slots = int(period // slot)
        in_stock = rng.uniform(size=(slots, n)) >= stock_outs
        offsets = np.concatenate([[0], np.cumsum(in_stock.sum(axis=1))])
        return cls(slot, offsets, np.nonzero(in_stock)[1].astype(np.int32), np.clip(log_price, -1.69, 1.69), promotion)


def prime_factors(n: int) -> list[int]:
    """The different primes that divide n >= 0, in ascending order; none of 0 and 1."""
    primes, p = [], 2
    while p * p <= n:
        if n % p == 0:
            primes.append(p)
            while n % p == 0:
                n //= p
        p += 1
    return [*primes, n] if n > 1 else primes


@inlined
def _shop_signals(out, items, clock, period, log_price, offers):
    B, S = items.shape
    for b in range(B):
        minute = _minute(clock[b], period)
        for s in range(S):
            i = items[b, s]
            if i < 0:
                continue
            price, discount = log_price[i], np.float32(0.0)
            for p in range(offers.shape[1]):  # no branches: which item is on sale cannot be predicted
                on = offers[i, p, 0] <= minute and minute < offers[i, p, 1]
                price += offers[i, p, 3] if on else np.float32(0.0)
                discount += offers[i, p, 2] if on else np.float32(0.0)
            out[b, s, 0] = price
            out[b, s, 1] = discount


@dataclass(frozen=True, eq=False)
class NewsMarket(Market):
    """Articles that appear, age and trend.

    Signals: `freshness`, exp(-ln 2 age / half_life); `popularity`, log(1 + level) / 4; `age`, as a share of the L slots
    of an article's life.

    Args:
        published: (N,) float32, minute of publication, where a slot begins.
        half_life: (N,) float32 minutes, > 0.
        popularity: (N, L) float32, level in each slot of an article's life, in [0, e^4 - 1].
    """

    published: Array
    half_life: Array
    popularity: Array
    signals: ClassVar[tuple[Signal, ...]] = (
        Signal("freshness", 0.0, 1.0), Signal("popularity", 0.0, 1.0), Signal("age", 0.0, 1.0),
    )  # fmt: skip
    per_item: ClassVar[tuple[str, ...]] = ("published", "half_life", "popularity")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.per_item:
            float_array(self, name)
        n = len(np.atleast_1d(self.published))
        require(self.published.shape == (n,), "market.published", f"must have shape ({n},)", self.published.shape)
        fits = (
            self.half_life.shape == (n,)
            and self.popularity.ndim == 2
            and len(self.popularity) == n
            and self.popularity.size
        )
        require(fits, "market.half_life, market.popularity", f"must have {n} rows, as published", self.half_life.shape)
        in_range = self.popularity.min() >= 0 and self.popularity.max() <= math.e**4 - 1
        require(in_range, "market.popularity", "must lie in [0, e^4 - 1]", float(self.popularity.max()))
        require(self.half_life.min() > 0, "market.half_life", "must be > 0", float(self.half_life.min()))

    @cached_property
    def _fading(self) -> Array:
        """(N, 2) float32: minute of the calendar at which an article appears, and what a minute adds to log freshness."""
        return np.stack([self.published % self.period, -math.log(2) / np.maximum(self.half_life, 1e-30)], axis=1)

    @cached_property
    def _popularity(self) -> Array:
        """(N, L) float32, the signal: it takes as much memory as the levels, and no logarithm in a step."""
        signal = np.log1p(self.popularity)
        signal *= 0.25
        return signal

    def write(self, out: Array, items: Array, clock: Array) -> None:
        freshness = empty(items.shape, F32)
        _news_signals(out, freshness, items, clock, self.period, self.slot, self._fading, self._popularity)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, topic: NDArray[np.int32], appeal: NDArray[np.float64], n_topics: int,
        limit: float = 2880.0, days: int = 7, slot: float = 30.0, breaking: int = 10,
    ) -> Self:  # fmt: skip
        """A seeded week of news.

        Publication: Poisson with the day's intensity (given N, independent draws). Half-lives 2 to 24 h by topic.
        Popularity: exp of an AR(1) around `appeal`, plus a self-exciting count (each reader brings 0.7 more, decaying
        over 2 h; Hawkes 1971), plus `breaking` events per week that lift one topic by 5 to 20 and halve every 3 h.
        """
        n, period = len(topic), days * 1440.0
        require(
            60 % slot == 0 and limit % slot == 0,
            "slot",
            f"must divide an hour and the {limit:g} minutes of a life",
            slot,
        )
        weights = np.repeat(np.roll(HOURS, -2), round(60 / slot))  # newsrooms are two hours ahead of readers
        slot_of_day = rng.choice(len(weights), n, p=weights / weights.sum())
        published = np.sort(rng.integers(0, days, n) * 1440.0 + slot_of_day * slot)
        half_life = np.exp(rng.uniform(math.log(120.0), math.log(1440.0), n_topics))[topic]
        life = int(limit // slot)
        level, excitement = 0.3 * rng.standard_normal(n), np.zeros(n)
        decay = math.exp(-slot / 120.0)
        popularity = np.empty((n, life))
        for s in range(life):
            level = 0.95 * level + 0.1 * rng.standard_normal(n)
            base = np.exp(0.5 * appeal + level)
            arrivals = rng.poisson(np.minimum(0.2 * base + 0.7 * (1 - decay) * excitement, 50.0))
            excitement = decay * excitement + arrivals
            popularity[:, s] = base + excitement
        time = published[:, None] + slot * np.arange(life)
        for _ in range(breaking):
            event_topic, event, size = rng.integers(n_topics), rng.uniform(0, period), rng.uniform(5, 20)
            since = (time - event) % period
            lift = size * np.exp(-math.log(2) * since / 180.0) * (since < 1440.0)
            popularity += lift * (topic == event_topic)[:, None]
        slots = int(period // slot)
        ages = (slot * np.arange(slots)[:, None] - published[None, :]) % period
        offsets = np.concatenate([[0], np.cumsum((ages < limit).sum(axis=1))])
        listed = np.nonzero(ages < limit)[1].astype(np.int32)
        return cls(slot, offsets, listed, published, half_life, np.minimum(popularity, math.e**4 - 1))


@kernel
def _news_signals(out, freshness, items, clock, period, slot, fading, popularity):
    B, S = items.shape
    life = popularity.shape[1]
    share = np.float32(1.0 / (life * slot))
    for b in range(B):
        minute = _minute(clock[b], period)
        for s in range(S):
            i = items[b, s]
            freshness[b, s] = 0.0
            if i >= 0:
                age = _since(fading[i, 0], minute, period)
                freshness[b, s] = age * fading[i, 1]
                out[b, s, 1] = popularity[i, min(np.int32(age / slot), life - 1)]
                out[b, s, 2] = min(age * share, np.float32(1.0))
    exp_all(freshness)
    for b in range(B):
        for s in range(S):
            if items[b, s] >= 0:
                out[b, s, 0] = freshness[b, s]


@dataclass(frozen=True, eq=False)
class LiveMarket(Market):
    """Streams that go on and off air once a day.

    Signals: `heat` in [0, 1], audience x ramp-up x highlight; `age`, minutes on air / `LONGEST_STREAM`; hidden `content`
    in [-1, 1], how good this moment is; hidden `remaining`, minutes to the end / `LONGEST_STREAM`.

    Args:
        start: (N,) float32, minute of the day at which the stream starts, where a slot begins.
        duration: (N,) float32 minutes, a multiple of the slot, in (0, `LONGEST_STREAM`].
        audience: (N,) float32, size of the following, in [0, 1].
        rhythm: (N, 2) float32, period in minutes and phase in radians of the content.
        highlight: (N,) float32, minute of the stream at which its highlight starts; it lasts 15 minutes.
    """

    start: Array
    duration: Array
    audience: Array
    rhythm: Array
    highlight: Array
    signals: ClassVar[tuple[Signal, ...]] = (
        Signal("heat", 0.0, 1.0), Signal("age", 0.0, 1.0),
        Signal("content", -1.0, 1.0, visible=False), Signal("remaining", 0.0, 1.0, visible=False),
    )  # fmt: skip
    per_item: ClassVar[tuple[str, ...]] = ("start", "duration", "audience", "rhythm", "highlight")

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(np.atleast_1d(self.start))
        for name in self.per_item:
            float_array(self, name)
            shape = (n, 2) if name == "rhythm" else (n,)
            given = getattr(self, name).shape
            require(given == shape, f"market.{name}", f"must have shape {shape}", given)
        require(
            (self.rhythm[:, 0] > 0).all(), "market.rhythm", "must have positive periods", float(self.rhythm[:, 0].min())
        )
        in_range = self.duration.min() > 0 and self.duration.max() <= LONGEST_STREAM
        require(in_range, "market.duration", "must lie in (0, 600]", float(self.duration.max()))
        in_range = self.audience.min() >= 0 and self.audience.max() <= 1
        require(in_range, "market.audience", "must lie in [0, 1]", float(self.audience.max()))

    @cached_property
    def _streams(self) -> Array:
        """(N, 6) float32: the fields of each stream side by side, as one look into memory brings them all."""
        start, phase = self.start % self.period, self.rhythm[:, 1]
        columns = [start, self.duration, self.audience, self.highlight, self.rhythm[:, 0], phase]
        return np.stack(columns, axis=1)

    def write(self, out: Array, items: Array, clock: Array) -> None:
        ramp, wave = empty(items.shape, F32), empty(items.shape, F32)
        _live_signals(out, ramp, wave, items, clock, self.period, self._streams)

    @classmethod
    def draw(cls, rng: np.random.Generator, appeal: NDArray[np.float64], slot: float = 5.0) -> Self:
        """A seeded day: starts follow the hours of the audience, durations are log-normal around two hours."""
        n = len(appeal)
        require(60 % slot == 0, "slot", "must divide an hour", slot)
        weights = np.repeat(HOURS, round(60 / slot))
        start = rng.choice(len(weights), n, p=weights / weights.sum()) * slot
        duration = slot * np.round(np.clip(120.0 * np.exp(0.6 * rng.standard_normal(n)), 20.0, LONGEST_STREAM) / slot)
        audience = 1.0 / (1.0 + np.exp(-1.2 * appeal))
        rhythm = np.stack([rng.uniform(20.0, 60.0, n), rng.uniform(0, 2 * math.pi, n)], axis=1)
        slots = int(1440.0 // slot)
        on_air = (slot * np.arange(slots)[:, None] - start[None, :]) % 1440.0 < duration
        offsets = np.concatenate([[0], np.cumsum(on_air.sum(axis=1))])
        listed = np.nonzero(on_air)[1].astype(np.int32)
        return cls(slot, offsets, listed, start, duration, audience, rhythm, rng.uniform(0, 1, n) * duration)


@kernel
def _live_signals(out, ramp, wave, items, clock, period, streams):
    B, S = items.shape
    one, share = np.float32(1.0), np.float32(1.0 / LONGEST_STREAM)
    for b in range(B):
        minute = _minute(clock[b], period)
        for s in range(S):
            i = items[b, s]
            ramp[b, s] = wave[b, s] = 0.0
            if i >= 0:
                age = _since(streams[i, 0], minute, period)
                lit = streams[i, 3] <= age and age < streams[i, 3] + np.float32(15.0)
                ramp[b, s] = age
                turns = age / np.float64(streams[i, 4]) + streams[i, 5] * 0.15915494309189535
                wave[b, s] = turns - ((turns + WHOLE) - WHOLE)
                out[b, s, 0] = streams[i, 2] * (one if lit else np.float32(0.7))
                out[b, s, 1] = min(age * share, one)
                out[b, s, 2] = np.float32(0.6) if lit else np.float32(0.0)
                out[b, s, 3] = max(streams[i, 1] - age, np.float32(0.0)) * share
    minutes, turns = ramp.reshape(-1), wave.reshape(-1)  # all at once, in vector lanes
    for j in range(minutes.size):
        minutes[j] = one - np.float32(0.7) * exp32(minutes[j] * np.float32(-0.05))
        turns[j] = np.float32(0.7) * sine32(turns[j])
    for b in range(B):
        for s in range(S):
            if items[b, s] >= 0:
                out[b, s, 0] *= ramp[b, s]
                out[b, s, 2] = min(out[b, s, 2] + wave[b, s], one)
