"""The market: what an item costs, how fresh or popular it is, and when it is available.

All of it is a function of the item and the clock alone: no user moves the market, so that the state of a user stays
small and a million items and 4096 users fit into memory together. Calendars are periodic, those that are drawn after
`WEEKS` weeks. Each time slot has a list of the items that are available; items come and go where one slot ends and the
next begins.

What a platform knows of its items, how often each was shown and clicked, is a function of the item and the clock as well:
it was logged by a policy of the past (`logged`), not by the agent.
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
from recgym.population import HOURS, MOST_WEEKS
from recgym.types import F32, Array, empty, zeros

WHOLE = 1.5 * 2**52  # x + WHOLE - WHOLE is the integer nearest to a float64 |x| < 2^51
DAY, WEEK = 1440.0, 10_080.0  # minutes
WEEKS = 12  # of the calendars that are drawn
PSEUDO_CLICKS = 5.0  # which draw a click rate of few views to the mean
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
        if isinstance(cls.signals, tuple):  # else they are those of each market, see `LoggedMarket`
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
        ascends = _ascends(self.listed, self.offsets)
        require(ascends, "market.listed", "must ascend within a slot", "an item twice or out of order")
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


@kernel
def _part(minute, length, parts):
    """Which of the parts of the calendar, each of a length in minutes, a minute lies in."""
    return min(int(minute / length), parts - 1)


@kernel
def _ascends(listed, offsets):
    """Whether the items of each slot ascend."""
    for s in range(len(offsets) - 1):
        for j in range(offsets[s] + 1, offsets[s + 1]):
            if listed[j] <= listed[j - 1]:
                return False
    return True


def listing(
    slots: int, first: NDArray[np.int64], length: NDArray[np.int64], runs: NDArray[np.int64], every: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """`offsets` and `listed` of a market, whose calendar wraps around.

    Args:
        slots: of the calendar. first, length, runs: (N,) int64: item i is available for `runs[i]` times `length[i]`
            slots, from slot `first[i]` on. every: slots from the beginning of one run to that of the next.
    """
    offsets = np.zeros(slots + 1, np.int64)
    _count(offsets[1:], first, length, runs, every)
    np.cumsum(offsets, out=offsets)
    listed = np.empty(offsets[-1], np.int32)
    _list(listed, offsets[:-1].copy(), first, length, runs, every)
    return offsets, listed


@kernel
def _count(counts, first, length, runs, every):
    """Add 1 to the count of each slot for each item that is available in it."""
    for i in range(len(first)):
        for r in range(runs[i]):
            s = (first[i] + r * every) % len(counts)
            for _ in range(length[i]):
                counts[s] += 1
                s = s + 1 if s + 1 < len(counts) else 0


@kernel
def _list(listed, place, first, length, runs, every):
    """Write the items into the places of their slots, the lowest first; `place` is the next free one of each slot."""
    for i in range(len(first)):
        for r in range(runs[i]):
            s = (first[i] + r * every) % len(place)
            for _ in range(length[i]):
                listed[place[s]] = i
                place[s] += 1
                s = s + 1 if s + 1 < len(place) else 0


def draw_lives(
    rng: np.random.Generator, n: int, weeks: int, life: float, ticks: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Births (N,), uniform over a calendar that wraps around, and lengths (N,) of lives, in ticks, int64.

    A life is one week and an exponential time, `life` weeks on average, and ends two weeks before the next birth of the
    item at the latest, so that nobody remembers it.

    Args:
        weeks: of the calendar, 3 to 52. life: weeks, in [1, 52]. ticks: of a week.
    """
    require_count("weeks", weeks, 3, MOST_WEEKS)
    require_number("life", life, 1, MOST_WEEKS)
    length = np.minimum(1.0 + (life - 1.0) * rng.exponential(size=n), weeks - 2.0)
    return rng.integers(0, weeks * ticks, n), np.round(length * ticks).astype(np.int64)


def alive(birth: NDArray[Any], length: NDArray[Any], periods: int) -> NDArray[np.float32]:
    """(N, P) float32: the share of each period of the calendar in which an item is alive.

    Args:
        birth, length: (N,) of its life, in periods; 0 <= birth < P and length <= P. The calendar wraps around.
    """
    share = np.zeros((len(birth), periods), np.float32)
    for p in range(2 * periods):
        share[:, p % periods] += np.clip(np.minimum(birth + length, p + 1) - np.maximum(birth, p), 0, None)
    return share


def logged(
    rng: np.random.Generator, rate: NDArray[Any], alive: NDArray[Any],
    impressions: float = 100.0, herd: float = 2.0, explore: float = 0.1,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:  # fmt: skip
    """Views and clicks (N, P) int32 of each item in its present life, as known before each period begins.

    The policy that shows the items favours what did well: the share of item i in the impressions of a period is
    proportional to alive_i (explore + r_i^herd), where r_i is its click rate so far over the mean rate, shrunk as in
    `click_rates`. Its views are Poisson, and each is clicked with probability rate_i. A life ends in a period in which
    the item is not alive at all; nothing is known of the next one.

    Args:
        rate: (N,) probability of a click. alive: (N, P) share of each period in which an item is alive.
        impressions: mean of an item that is alive for a whole period.
    """
    n, periods = alive.shape
    views, clicks = np.zeros((n, periods), np.int32), np.zeros((n, periods), np.int32)
    mean, viewed, clicked = float(rate.mean()), np.zeros(n), np.zeros(n)
    for p in range(periods):
        here = alive[:, p]
        viewed[here == 0], clicked[here == 0] = 0.0, 0.0
        views[:, p], clicks[:, p] = viewed, clicked
        weight = here * (explore + _relative(viewed, clicked, mean) ** herd)
        expected = weight * (impressions * here.sum() / max(weight.sum(), 1e-30))
        fresh = rng.poisson(rate * expected)  # Poisson views, of which each is clicked or not, are two Poisson numbers
        clicked += fresh
        viewed += fresh + rng.poisson((1 - rate) * expected)
    return views, clicks


def _relative(views: NDArray[Any], clicks: NDArray[Any], mean: float) -> NDArray[Any]:
    """Click rates over the mean rate, shrunk to 1 by `PSEUDO_CLICKS`."""
    return (clicks + PSEUDO_CLICKS) / (views * mean + PSEUDO_CLICKS)


def click_rates(views: NDArray[Any], clicks: NDArray[Any], mean: float) -> NDArray[np.float32]:
    """The signal `click_rate`, float32 of the shape of views: ln((clicks + m) / ((views + m / mean) mean)) / 2.

    m = `PSEUDO_CLICKS`; the result is clipped to [-1, 1], and 0 where nothing was shown.
    """
    return np.clip(0.5 * np.log(_relative(views, clicks, mean)), -1, 1).astype(np.float32)


def weekly(
    rng: np.random.Generator, rate: NDArray[Any], birth: NDArray[Any], length: NDArray[Any], weeks: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`logged` in the weeks of a calendar that wraps around; birth and length of the lives in weeks."""
    views, clicks = logged(rng, rate, np.tile(alive(birth, length, weeks), 2))
    return views[:, weeks:], clicks[:, weeks:]


@dataclass(frozen=True, eq=False)
class StaticMarket(Market):
    """Every item is available at all times; no signals."""

    @classmethod
    def of(cls, n_items: int) -> Self:
        """The market of a catalogue of n items."""
        return cls(1440.0, np.array([0, n_items]), np.arange(n_items, dtype=np.int32))


@dataclass(frozen=True, eq=False)
class LoggedMarket(Market):
    """What logs say of each item over time: prices, freshness, popularity, whatever was known when it was shown.

    The calendar has equal parts. The record of item i begins with part `first[i]`, and holds its last value from its end to the end of the
    calendar, where all begins anew.

    Args:
        table: (N, L, F) float32, the F signals of each item in L parts.
        first: (N,) int32, the part in which the record of each item begins, in [0, P).
        part: minutes of a part, > 0; the calendar must have a whole number P of parts.
        known: names of the F signals. visible: whether the observation shows each of them.
    """

    table: Array
    first: Array
    part: float
    known: tuple[str, ...]
    visible: tuple[bool, ...]
    per_item: ClassVar[tuple[str, ...]] = ("table", "first")

    def __post_init__(self) -> None:
        super().__post_init__()
        float_array(self, "table")
        int_array(self, "first", np.int32)
        require_number("market.part", self.part, 1e-3, 1e9)
        shape = self.table.shape
        fits = len(shape) == 3 and shape[0] == self.first.size and shape[1] >= 1 and shape[2] == len(self.known)
        require(fits, "market.table", f"must be (N, L, {len(self.known)}) for {self.first.size} items", shape)
        require(len(set(self.known)) == len(self.known), "market.known", "must not repeat a name", self.known)
        same = len(self.visible) == len(self.known)
        require(same, "market.visible", f"must have {len(self.known)} values", self.visible)
        parts = self.period / self.part
        require(
            parts == int(parts), "market.part", f"must divide the {self.period:g} minutes of the calendar", self.part
        )
        low, high = int(self.first.min()), int(self.first.max())
        require(low >= 0 and high < parts, "market.first", f"must lie in [0, {int(parts)})", (low, high))

    @cached_property
    def signals(self) -> tuple[Signal, ...]:  # type: ignore[override]
        low, high = self.table.min(axis=(0, 1), initial=0.0), self.table.max(axis=(0, 1), initial=0.0)
        return tuple(map(Signal, self.known, low.tolist(), high.tolist(), self.visible))

    @property
    def names(self) -> tuple[str, ...]:  # type: ignore[override]
        return self.known

    @cached_property
    def _columns(self) -> dict[str, int]:  # type: ignore[override]
        return {name: j for j, name in enumerate(self.known)}

    def write(self, out: Array, items: Array, clock: Array) -> None:
        _logged_signals(out, items, clock, self.period, self.part, self.table, self.first)


@kernel
def _logged_signals(out, items, clock, period, part, table, first):
    parts, length = int(period / part), table.shape[1]
    for b in range(items.shape[0]):
        now = _part(_minute(clock[b], period), part, parts)
        for s in range(items.shape[1]):
            i = items[b, s]
            if i >= 0:
                age = now - first[i]
                age = min(age + parts if age < 0 else age, length - 1)
                for f in range(table.shape[2]):
                    out[b, s, f] = table[i, age, f]


@dataclass(frozen=True, eq=False)
class ShopMarket(Market):
    """Prices with promotions; items are born and die, and are out of stock for whole slots.

    Signals: `log_price`, the log of the discounted price over the reference price of the category; `discount`; `price`,
    the discounted price in hundreds of currency units; `popularity`, ln(1 + views) over that of the most viewed item, and
    `click_rate`, see `click_rates`: both as known when the week began.

    Args:
        log_price: (N,) float32, log of the undiscounted price over the reference price of the category.
        price: (N,) float32, the undiscounted price in currency units, in [0, 10,000].
        promotion: (N, W, 3) float32: start and end, in minutes of the week, and discount, in [0, 0.9], of the promotion of
            each item in each of the W weeks (or other equal parts) of the calendar.
        popularity, click_rate: (N, W) float32, the signals in each week.
    """

    log_price: Array
    price: Array
    promotion: Array
    popularity: Array
    click_rate: Array
    signals: ClassVar[tuple[Signal, ...]] = (
        Signal("log_price", -4.0, 2.0), Signal("discount", 0.0, 0.9), Signal("price", 0.0, 100.0),
        Signal("popularity", 0.0, 1.0), Signal("click_rate", -1.0, 1.0),
    )  # fmt: skip
    per_item: ClassVar[tuple[str, ...]] = ("log_price", "price", "promotion", "popularity", "click_rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.per_item:
            float_array(self, name)
        n = len(np.atleast_1d(self.log_price))
        require(self.log_price.shape == (n,), "market.log_price", f"must have shape ({n},)", self.log_price.shape)
        require(self.price.shape == (n,), "market.price", f"must have shape ({n},)", self.price.shape)
        shape = self.promotion.shape
        fits = len(shape) == 3 and shape[0] == n and shape[1] > 0 and shape[2] == 3
        require(fits, "market.promotion", f"must be ({n}, W, 3) with W >= 1", shape)
        in_range = (np.abs(self.log_price) <= 1.69).all()  # log 0.1 more at the deepest discount stays above -4
        require(in_range, "market.log_price", "must lie in [-1.69, 1.69]", float(np.abs(self.log_price).max()))
        in_range = ((self.price >= 0) & (self.price <= 10_000)).all()
        require(in_range, "market.price", "must lie in [0, 10000]", "other")
        discount = self.promotion[:, :, 2]
        require(
            ((discount >= 0) & (discount <= 0.9)).all(), "market.promotion discount", "must lie in [0, 0.9]", "other"
        )
        _check_table("popularity", self.popularity, shape[:2], 0.0)
        _check_table("click_rate", self.click_rate, shape[:2], -1.0)

    @cached_property
    def _offers(self) -> Array:
        """(N, W, 8) float32: all that the signals of an item in a week are made of, as one look into memory brings it.

        Start, end and discount of the promotion, what it adds to the log price; then log price, price in hundreds,
        popularity and click rate.
        """
        table = np.empty((*self.promotion.shape[:2], 8), F32)
        table[:, :, :3] = self.promotion
        table[:, :, 3] = np.log1p(-self.promotion[:, :, 2])
        table[:, :, 4] = self.log_price[:, None]
        table[:, :, 5] = self.price[:, None] / 100
        table[:, :, 6], table[:, :, 7] = self.popularity, self.click_rate
        return table

    def write(self, out: Array, items: Array, clock: Array) -> None:
        _shop_signals(out, items, clock, self.period, self._offers)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, log_price: NDArray[np.float64], price: NDArray[np.float64],
        rate: NDArray[np.float64], weeks: int = WEEKS, life: float = 4.0, promotions: float = 1.0, discount: float = 0.3,
        stock_outs: float = 0.05, slot: float = 720.0,
    ) -> Self:  # fmt: skip
        """A seeded calendar.

        Items live `life` weeks on average (`draw_lives`), and are out of stock in a share of the slots. In a share
        `promotions` of the weeks an item has a promotion of 12 to 48 hours. Clicks have the probability `rate` (N,).
        """
        require_number("promotions", promotions, 0, 1)
        require_number("discount", discount, 0, 0.9)
        require_number("stock_outs", stock_outs, 0, 1)
        require_number("slot", slot, 1.0, WEEK)
        require(WEEK % slot == 0, "slot", f"must divide the {WEEK:g} minutes of a week", slot)
        n, ticks = len(log_price), int(WEEK // slot)
        birth, length = draw_lives(rng, n, weeks, life, ticks)
        offsets, listed = listing(weeks * ticks, birth, length, np.ones(n, np.int64))
        in_stock = rng.random(len(listed), np.float32) >= stock_outs
        offsets = np.concatenate([[0], np.cumsum(in_stock, dtype=np.int64)])[offsets]
        promotion = np.empty((n, weeks, 3), np.float32)
        promotion[:, :, 0] = rng.uniform(0, WEEK - 2880.0, (n, weeks))
        promotion[:, :, 1] = promotion[:, :, 0] + rng.uniform(720.0, 2880.0, (n, weeks))
        depth = np.minimum(discount * rng.exponential(size=(n, weeks)), 0.7)
        promotion[:, :, 2] = np.where(rng.random((n, weeks)) < promotions, depth, 0.0)
        views, clicks = weekly(rng, rate, birth / ticks, length / ticks, weeks)
        popularity = np.log1p(views, dtype=F32)
        popularity /= np.maximum(popularity.max(axis=0), 1e-9)
        return cls(
            slot, offsets, listed[in_stock], np.clip(log_price, -1.69, 1.69), price, promotion, popularity,
            click_rates(views, clicks, float(rate.mean())),
        )  # fmt: skip


def _check_table(name: str, table: Array, shape: tuple[int, ...], low: float) -> None:
    """Require a signal's table to have a shape, and numbers in [low, 1]."""
    require(table.shape == shape, f"market.{name}", f"must have shape {shape}", table.shape)
    in_range = not table.size or (table.min() >= low and table.max() <= 1)
    require(in_range, f"market.{name}", f"must lie in [{low:g}, 1]", "other")


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
def _shop_signals(out, items, clock, period, offers):
    B, S = items.shape
    week = period / offers.shape[1]
    for b in range(B):
        minute = _minute(clock[b], period)
        w = _part(minute, week, offers.shape[1])
        minute = np.float32(minute - w * week)
        for s in range(S):
            i = items[b, s]
            if i < 0:
                continue
            discount, change = offers[i, w, 2], offers[i, w, 3]
            on = (offers[i, w, 0] <= minute) & (minute < offers[i, w, 1])  # no branches: it cannot be predicted
            discount = discount if on else np.float32(0.0)
            change = change if on else np.float32(0.0)
            out[b, s, 0] = offers[i, w, 4] + change
            out[b, s, 1] = discount
            out[b, s, 2] = offers[i, w, 5] * (np.float32(1.0) - discount)
            out[b, s, 3] = offers[i, w, 6]
            out[b, s, 4] = offers[i, w, 7]


@dataclass(frozen=True, eq=False)
class NewsMarket(Market):
    """Articles that appear, age and trend.

    Signals: `freshness`, exp(-ln 2 age / half_life); `popularity`, log(1 + level) / 4; `age`, as a share of the L slots
    of an article's life; `click_rate`, see `click_rates`, as known when the slot began.

    Args:
        published: (N,) float32, minute of publication, where a slot begins.
        half_life: (N,) float32 minutes, > 0.
        popularity: (N, L) float32, level in each slot of an article's life, in [0, e^4 - 1].
        click_rate: (N, L) float32, the signal in each slot of an article's life.
    """

    published: Array
    half_life: Array
    popularity: Array
    click_rate: Array
    signals: ClassVar[tuple[Signal, ...]] = (
        Signal("freshness", 0.0, 1.0), Signal("popularity", 0.0, 1.0), Signal("age", 0.0, 1.0),
        Signal("click_rate", -1.0, 1.0),
    )  # fmt: skip
    per_item: ClassVar[tuple[str, ...]] = ("published", "half_life", "popularity", "click_rate")

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
        _check_table("click_rate", self.click_rate, self.popularity.shape, -1.0)

    @cached_property
    def _fading(self) -> Array:
        """(N, 2) float32: minute of the calendar at which an article appears, and what a minute adds to log freshness."""
        return np.stack([self.published % self.period, -math.log(2) / np.maximum(self.half_life, 1e-30)], axis=1)

    @cached_property
    def _levels(self) -> Array:
        """(N, L, 2) float32: the signals popularity and click rate side by side, so that a step takes no logarithm."""
        table = np.empty((*self.popularity.shape, 2), F32)
        np.log1p(self.popularity, out=table[:, :, 0])
        table[:, :, 0] *= 0.25
        table[:, :, 1] = self.click_rate
        return table

    def write(self, out: Array, items: Array, clock: Array) -> None:
        freshness = empty(items.shape, F32)
        _news_signals(out, freshness, items, clock, self.period, self.slot, self._fading, self._levels)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, topic: NDArray[np.int32], appeal: NDArray[np.float64], n_topics: int,
        rate: NDArray[np.float64], weeks: int = WEEKS, limit: float = 2880.0, slot: float = 30.0, breaking: int = 10,
        readers: float = 2.0,
    ) -> Self:  # fmt: skip
        """A seeded calendar of news.

        Publication: Poisson with the day's intensity (given N, independent draws). Half-lives 2 to 24 h by topic.
        Popularity: exp of an AR(1) around `appeal`, plus a self-exciting count (each reader brings 0.7 more, decaying
        over 2 h; Hawkes 1971), plus `breaking` events per week that lift one topic by 5 to 20 and halve every 3 h. In each
        slot an article has Poisson(readers * popularity) views, which are clicked with probability `rate` (N,).
        """
        require_count("weeks", weeks, 1, MOST_WEEKS)
        require_number("slot", slot, 1.0, 60.0)
        require(
            60 % slot == 0 and limit % slot == 0,
            "slot",
            f"must divide an hour and the {limit:g} minutes of a life",
            slot,
        )
        require_number("limit", limit, slot, weeks * WEEK)
        n, period, life = len(topic), weeks * WEEK, int(limit // slot)
        weights = np.repeat(np.roll(HOURS, -2), round(60 / slot))  # newsrooms are two hours ahead of readers
        slot_of_day = rng.choice(len(weights), n, p=weights / weights.sum())
        first = np.sort(rng.integers(0, 7 * weeks, n) * len(weights) + slot_of_day)
        half_life = np.exp(rng.uniform(math.log(120.0), math.log(1440.0), n_topics))[topic]
        level, excitement = 0.3 * rng.standard_normal(n), np.zeros(n)
        decay = math.exp(-slot / 120.0)
        popularity = np.empty((n, life), F32)
        for s in range(life):
            level = 0.95 * level + 0.1 * rng.standard_normal(n)
            base = np.exp(0.5 * appeal + level)
            arrivals = rng.poisson(np.minimum(0.2 * base + 0.7 * (1 - decay) * excitement, 50.0))
            excitement = decay * excitement + arrivals
            popularity[:, s] = base + excitement
        for _ in range(breaking * weeks):
            event_topic, event, size = rng.integers(n_topics), rng.uniform(0, period), rng.uniform(5, 20)
            there = (topic == event_topic) & ((event - slot * first) % period < limit)
            there |= (topic == event_topic) & ((slot * first - event) % period < DAY)
            lifted = np.flatnonzero(there)
            since = (slot * (first[lifted, None] + np.arange(life)) - event) % period
            popularity[lifted] += size * np.exp(-math.log(2) * since / 180.0) * (since < DAY)
        np.minimum(popularity, math.e**4 - 1, out=popularity)
        views, clicks, mean = np.zeros(n), np.zeros(n), float(rate.mean())
        click_rate = np.empty((n, life), F32)
        for s in range(life):
            click_rate[:, s] = click_rates(views, clicks, mean)
            fresh = rng.poisson(readers * rate * popularity[:, s])
            clicks += fresh
            views += fresh + rng.poisson(readers * (1 - rate) * popularity[:, s])
        offsets, listed = listing(int(period // slot), first, np.full(n, life), np.ones(n, np.int64))
        return cls(slot, offsets, listed, slot * first, half_life, popularity, click_rate)


@kernel
def _news_signals(out, freshness, items, clock, period, slot, fading, levels):
    B, S = items.shape
    life = levels.shape[1]
    share = np.float32(1.0 / (life * slot))
    for b in range(B):
        minute = _minute(clock[b], period)
        for s in range(S):
            i = items[b, s]
            freshness[b, s] = 0.0
            if i >= 0:
                age = _since(fading[i, 0], minute, period)
                freshness[b, s] = age * fading[i, 1]
                now = min(np.int32(age / slot), life - 1)
                out[b, s, 1] = levels[i, now, 0]
                out[b, s, 2] = min(age * share, np.float32(1.0))
                out[b, s, 3] = levels[i, now, 1]
    exp_all(freshness)
    for b in range(B):
        for s in range(S):
            if items[b, s] >= 0:
                out[b, s, 0] = freshness[b, s]


@dataclass(frozen=True, eq=False)
class LiveMarket(Market):
    """Streams that go on and off air once a day, on the days of the streamers' lives; a calendar has whole days.

    Signals: `heat` in [0, 1], audience x ramp-up x highlight; `age`, minutes on air / `LONGEST_STREAM`; hidden `content`
    in [-1, 1], how good this moment is; hidden `remaining`, minutes to the end / `LONGEST_STREAM`; `click_rate`, see
    `click_rates`, as known when the week began.

    Args:
        start: (N,) float32, minute of the day at which the stream starts, where a slot begins.
        duration: (N,) float32 minutes, a multiple of the slot, in (0, `LONGEST_STREAM`].
        audience: (N,) float32, size of the following, in [0, 1].
        rhythm: (N, 2) float32, period in minutes and phase in radians of the content.
        highlight: (N,) float32, minute of the stream at which its highlight starts; it lasts 15 minutes.
        click_rate: (N, W) float32, the signal in each of the W weeks (or other equal parts) of the calendar.
    """

    start: Array
    duration: Array
    audience: Array
    rhythm: Array
    highlight: Array
    click_rate: Array
    signals: ClassVar[tuple[Signal, ...]] = (
        Signal("heat", 0.0, 1.0), Signal("age", 0.0, 1.0),
        Signal("content", -1.0, 1.0, visible=False), Signal("remaining", 0.0, 1.0, visible=False),
        Signal("click_rate", -1.0, 1.0),
    )  # fmt: skip
    per_item: ClassVar[tuple[str, ...]] = ("start", "duration", "audience", "rhythm", "highlight", "click_rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        n = len(np.atleast_1d(self.start))
        for name in self.per_item:
            float_array(self, name)
            given = getattr(self, name).shape
            shape = {"rhythm": (n, 2), "click_rate": (n, max([1, *given[1:]]))}.get(name, (n,))
            require(given == shape, f"market.{name}", f"must have shape {shape}", given)
        require(
            (self.rhythm[:, 0] > 0).all(), "market.rhythm", "must have positive periods", float(self.rhythm[:, 0].min())
        )
        in_range = self.duration.min() > 0 and self.duration.max() <= LONGEST_STREAM
        require(in_range, "market.duration", "must lie in (0, 600]", float(self.duration.max()))
        in_range = self.audience.min() >= 0 and self.audience.max() <= 1
        require(in_range, "market.audience", "must lie in [0, 1]", float(self.audience.max()))
        _check_table("click_rate", self.click_rate, self.click_rate.shape, -1.0)
        require(
            self.period % DAY == 0, "market.offsets", "must make a calendar of whole days", f"{self.period:g} minutes"
        )

    @cached_property
    def _streams(self) -> Array:
        """(N, 6 + W) float32: the fields of each stream side by side, as one look into memory brings them all."""
        start, phase = self.start % DAY, self.rhythm[:, 1]
        columns = [start, self.duration, self.audience, self.highlight, self.rhythm[:, 0], phase]
        return np.concatenate([np.stack(columns, axis=1), self.click_rate], axis=1, dtype=F32)

    def write(self, out: Array, items: Array, clock: Array) -> None:
        ramp, wave = empty(items.shape, F32), empty(items.shape, F32)
        _live_signals(out, ramp, wave, items, clock, self.period, self._streams)

    @classmethod
    def draw(
        cls, rng: np.random.Generator, appeal: NDArray[np.float64], rate: NDArray[np.float64],
        weeks: int = WEEKS, life: float = 4.0, slot: float = 5.0,
    ) -> Self:  # fmt: skip
        """A seeded calendar.

        Streamers live `life` weeks on average (`draw_lives`), in whole days. Starts follow the hours of the audience,
        durations are log-normal around two hours. Clicks have the probability `rate` (N,).
        """
        n = len(appeal)
        require_number("slot", slot, 1.0, 60.0)
        require(60 % slot == 0, "slot", "must divide an hour", slot)
        birth, days = draw_lives(rng, n, weeks, life, 7)
        weights = np.repeat(HOURS, round(60 / slot))
        start = rng.choice(len(weights), n, p=weights / weights.sum())
        duration = np.round(np.clip(120.0 * np.exp(0.6 * rng.standard_normal(n)), 20.0, LONGEST_STREAM) / slot)
        audience = 1.0 / (1.0 + np.exp(-1.2 * appeal))
        rhythm = np.stack([rng.uniform(20.0, 60.0, n), rng.uniform(0, 2 * math.pi, n)], axis=1)
        highlight = rng.uniform(0, 1, n) * slot * duration
        per_day = len(weights)
        offsets, listed = listing(
            7 * weeks * per_day, birth * per_day + start, duration.astype(np.int64), days, every=per_day
        )
        views, clicks = weekly(rng, rate, birth / 7, days / 7, weeks)
        click_rate = click_rates(views, clicks, float(rate.mean()))
        return cls(slot, offsets, listed, slot * start, slot * duration, audience, rhythm, highlight, click_rate)


@kernel
def _live_signals(out, ramp, wave, items, clock, period, streams):
    B, S = items.shape
    one, share = np.float32(1.0), np.float32(1.0 / LONGEST_STREAM)
    weeks = streams.shape[1] - 6
    for b in range(B):
        minute = _minute(clock[b], DAY)
        week = _part(_minute(clock[b], period), period / weeks, weeks)
        for s in range(S):
            i = items[b, s]
            ramp[b, s] = wave[b, s] = 0.0
            if i >= 0:
                age = _since(streams[i, 0], minute, DAY)
                lit = streams[i, 3] <= age and age < streams[i, 3] + np.float32(15.0)
                ramp[b, s] = age
                turns = age / np.float64(streams[i, 4]) + streams[i, 5] * 0.15915494309189535
                wave[b, s] = turns - ((turns + WHOLE) - WHOLE)
                out[b, s, 0] = streams[i, 2] * (one if lit else np.float32(0.7))
                out[b, s, 1] = min(age * share, one)
                out[b, s, 2] = np.float32(0.6) if lit else np.float32(0.0)
                out[b, s, 3] = max(streams[i, 1] - age, np.float32(0.0)) * share
                out[b, s, 4] = streams[i, 6 + week]
    minutes, turns = ramp.reshape(-1), wave.reshape(-1)  # all at once, in vector lanes
    for j in range(minutes.size):
        minutes[j] = one - np.float32(0.7) * exp32(minutes[j] * np.float32(-0.05))
        turns[j] = np.float32(0.7) * sine32(turns[j])
    for b in range(B):
        for s in range(S):
            if items[b, s] >= 0:
                out[b, s, 0] *= ramp[b, s]
                out[b, s, 2] = min(out[b, s, 2] + wave[b, s], one)
