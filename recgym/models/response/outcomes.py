"""What follows a click, as logs tell it: events that happen or not, and minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require, require_number, require_option
from recgym.kernel import capped_lognormal_mean, kernel, normal, sigmoid
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, Array, Sizes, Users, empty, zeros


@dataclass(frozen=True, eq=False)
class Outcomes(Response):
    """Events that follow a click, such as cart, purchase, like or share, and the minutes on a clicked item.

    Event e of a clicked item has probability sigmoid(level_e + slope_e v - price_e p + a_e), if what it follows has happened: the click, or
    another event, as a purchase follows a cart. v is the utility of the item, p its relative log price and a_e the item attribute that
    `attributes` names. The minutes on a clicked item are log-normal, their logarithm has the mean level + slope v + a and
    the standard deviation `sigma`, and they are at most `longest`.

    Args:
        events: names, each after that which it follows.
        level, slope, price: event, or "dwell" for the minutes -> number; a missing slope or price is 0.
        attributes: event, or "dwell" -> item attribute.
        after: event -> the event that it follows; the click, where it names none.
        sigma: of the log of the minutes, > 0; 0 = clicks take no time, and there is no objective `dwell`.
        longest: minutes on an item, > 0. scan: minutes of a step, besides, >= 0.
        revenue: whether the objective `revenue` sums the prices, 100 times the market signal `price`, of the items
            whose event `purchase` happened.

    The objectives are click, the events, `dwell` (minutes) and `revenue`, as far as they are there. The feedback gets `offers`
    (B, S) float32, the market signal `log_price` of what was shown, -inf where a position is empty, 0 where the market has none.
    """

    events: tuple[str, ...] = ()
    level: dict[str, float] = field(default_factory=dict)
    slope: dict[str, float] = field(default_factory=dict)
    price: dict[str, float] = field(default_factory=dict)
    attributes: dict[str, str] = field(default_factory=dict)
    after: dict[str, str] = field(default_factory=dict)
    sigma: float = 0.0
    longest: float = 30.0
    scan: float = 0.5
    revenue: bool = False
    _memo: dict[tuple[str, ...], Array] = field(default_factory=dict, init=False, repr=False)
    extras: ClassVar[tuple[str, ...]] = ("offers",)

    def __post_init__(self) -> None:
        known = [*self.events, "dwell"]
        rule = "must be different names other than click, dwell and revenue"
        fits = len({*self.events, "click", "dwell", "revenue"}) == len(self.events) + 3
        require(fits, "Outcomes.events", rule, self.events)
        for name in ("level", "slope", "price"):
            for event, number in getattr(self, name).items():
                require_option(f"Outcomes.{name}", event, known)
                require_number(f"Outcomes.{name}[{event!r}]", number, -100, 100)
        for event in self.events:
            require(event in self.level, "Outcomes.level", f"must have the event {event!r}", sorted(self.level))
        for event in self.attributes:
            require_option("Outcomes.attributes", event, known)
        for event, before in self.after.items():
            require_option("Outcomes.after", event, list(self.events))
            require_option(f"Outcomes.after[{event!r}]", before, list(self.events[: self.events.index(event)]))
        require_number("Outcomes.sigma", self.sigma, 0, 10)
        require_number("Outcomes.longest", self.longest, 1e-3, 1e5)
        require_number("Outcomes.scan", self.scan, 0, 1e5)
        sold = not self.revenue or "purchase" in self.events
        require(sold, "Outcomes.revenue", "needs the event 'purchase'", self.events)

    @cached_property
    def channels(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("click", *self.events, *(("dwell",) if self.sigma > 0 else ()))

    @cached_property
    def highs(self) -> tuple[float, ...]:  # type: ignore[override]
        return (1.0,) * len(self.channels)

    @cached_property
    def objectives(self) -> tuple[str, ...]:  # type: ignore[override]
        return (*self.channels, *(("revenue",) if self.revenue else ()))

    @property
    def _bought(self) -> int:
        """The channel of purchases that bring revenue, -1 = none."""
        return 1 + self.events.index("purchase") if self.revenue else -1

    def _laws(self, catalog: Catalog) -> Array:
        """(E + 1, 5) float64, of the events and of the minutes; made once.

        Level, slope, price, channel of what it follows, and column of the item attribute (-1 = none).
        """
        if catalog.names not in self._memo:
            rows = [
                (
                    self.level.get(e, 0.0),
                    self.slope.get(e, 0.0),
                    self.price.get(e, 0.0),
                    1 + self.events.index(self.after[e]) if e in self.after else 0,
                    catalog.column(self.attributes[e]) if e in self.attributes else -1,
                )
                for e in (*self.events, "dwell")
            ]
            self._memo[catalog.names] = np.array(rows, np.float64)
        return self._memo[catalog.names]

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate * (len(self.events) + 1)

    def reads(self) -> tuple[str, ...]:
        priced = ("signals.log_price",) if any(self.price.values()) else ()
        return (*priced, "signals.price") if self.revenue else priced

    def check(self, catalog: Catalog) -> None:
        self._laws(catalog)

    def _columns(self, market: Market) -> tuple[int, int]:
        """Columns of log price and price among the signals, -1 where there is none."""
        names = market.names
        return tuple(names.index(name) if name in names else -1 for name in ("log_price", "price"))  # type: ignore[return-value]

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        log_price, price = self._columns(market)
        channels, objectives = zeros((B, S, len(self.channels)), F32), zeros((B, len(self.objectives)), F32)
        dt, offers = empty(B, F32), empty((B, S), F32)
        _happen(channels, objectives, dt, offers, slate, signals, utility, click, self._laws(catalog), catalog.attributes,
                log_price, price, self.sigma, self.longest, self.scan, self._bought, noise)  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=dt, offers=offers), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        given = np.zeros((*items.shape, len(self.objectives)), F32)
        _expected(given, items, signals, utility, self._laws(catalog), catalog.attributes, *self._columns(market), self.sigma,
                  self.longest, self._bought)  # fmt: skip
        return given, np.zeros((len(items), len(self.objectives)), F32)


@kernel
def _location(laws, e, v, p, attributes, i):
    """level + slope v - price p, and what item i itself adds."""
    column = laws[e, 4]
    own = np.float64(attributes[i, int(column)]) if column >= 0.0 else 0.0
    return laws[e, 0] + laws[e, 1] * v - laws[e, 2] * p + own


@kernel
def _happen(channels, objectives, dt, offers, slate, signals, utility, click, laws, attributes, log_price, price, sigma,
            longest, scan, bought, u):  # fmt: skip
    B, S = slate.shape
    E = laws.shape[0] - 1
    for b in range(B):
        dt[b] = scan
        for s in range(S):
            i = slate[b, s]
            offers[b, s] = -np.inf
            if i < 0:
                continue
            p = np.float64(signals[b, s, log_price]) if log_price >= 0 else 0.0
            offers[b, s] = p
            if not click[b, s]:
                continue
            v = np.float64(utility[b, s])
            channels[b, s, 0] = 1.0
            objectives[b, 0] += 1.0
            for e in range(E):
                chance = sigmoid(_location(laws, e, v, p, attributes, i))
                if channels[b, s, int(laws[e, 3])] > 0.0 and u[e * S + s, b] < chance:
                    channels[b, s, 1 + e] = 1.0
                    objectives[b, 1 + e] += 1.0
            if sigma > 0.0:
                mu = _location(laws, E, v, p, attributes, i)
                minutes = min(math.exp(mu + sigma * normal(u[E * S + s, b])), longest)
                channels[b, s, 1 + E] = minutes / longest
                objectives[b, 1 + E] += minutes
                dt[b] += minutes
            if bought >= 0 and channels[b, s, bought] > 0.0:
                objectives[b, objectives.shape[1] - 1] += 100.0 * signals[b, s, price]


@kernel
def _expected(given, items, signals, utility, laws, attributes, log_price, price, sigma, longest, bought):
    """Probabilities of the events, expected minutes and revenue, given a click."""
    E = laws.shape[0] - 1
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            i = items[b, s]
            if i < 0:
                continue
            v = max(np.float64(utility[b, s]), -1e30)  # of an item that cannot be clicked it is -inf
            p = np.float64(signals[b, s, log_price]) if log_price >= 0 else 0.0
            given[b, s, 0] = 1.0
            for e in range(E):
                chance = sigmoid(_location(laws, e, v, p, attributes, i))
                given[b, s, 1 + e] = given[b, s, int(laws[e, 3])] * chance
            if sigma > 0.0:
                mu = _location(laws, E, v, p, attributes, i)
                given[b, s, 1 + E] = capped_lognormal_mean(mu, sigma, longest)
            if bought >= 0:
                given[b, s, given.shape[2] - 1] = given[b, s, bought] * 100.0 * signals[b, s, price]
