"""Response: what a click leads to. Cart and purchase, reading time, watching, likes and gifts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.errors import require, require_count, require_number
from recgym.kernel import capped_lognormal_mean, kernel, lower_gamma, normal, normal_cdf, sigmoid
from recgym.market import Market
from recgym.types import BOOL, F32, I32, Array, Column, Sizes, Users, copied, empty, filled, zeros

Outcome = tuple[dict[str, Array], dict[str, Array]]


@dataclass(frozen=True, eq=False)
class Response(Component, abstract=True):
    """Base.

    `channels` name the C numbers that each slate position yields, the click first; `objectives` name the M numbers
    that a step yields, from which rewards are made; `highs` are upper bounds of the channels, for the observation.
    """

    channels: ClassVar[tuple[str, ...]] = ("click",)
    highs: ClassVar[tuple[float, ...]] = (1.0,)
    objectives: ClassVar[tuple[str, ...]] = ("click",)
    extras: ClassVar[tuple[str, ...]] = ()  # further arrays of the feedback
    single: ClassVar[bool] = False  # needs a choice of at most one click

    def __call__(
        self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
        utility: Array, outside: Array, click: Array, noise: Array,
    ) -> Outcome:  # fmt: skip
        """Outcomes of one step.

        Args:
            slate: (B, S) int32, -1 = empty. signals: (B, S, F). utility: (B, S). outside: (B,).
            click: (B, S) bool. noise: (uniforms, B).

        Returns:
            Two dicts. For the feedback: channels (B, S, C) float32, objectives (B, M) float32, dt (B,) float32
            minutes, and anything that the dynamics read. For the users: the next values of columns that changed.
        """
        raise NotImplementedError

    def expected(
        self,
        users: Users,
        catalog: Catalog,
        market: Market,
        items: Array,
        signals: Array,
        utility: Array,
        outside: Array,
    ) -> tuple[Array, Array]:
        """Expected objectives of this step: (B, S, M) given a click on that item, and (B, M) given no click.

        Where several clicks can happen, the second must be zero: the expectation is then the sum over clicks.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Clicks(Response):
    """Nothing but clicks; a step takes `minutes`."""

    minutes: float = 1.0

    def __post_init__(self) -> None:
        require_number("Clicks.minutes", self.minutes, 0, 1e6)

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = click.shape
        channels, objectives, dt = empty((B, S, 1), F32), empty((B, 1), F32), empty(B, F32)
        _count(channels, objectives, dt, click, self.minutes)
        return dict(channels=channels, objectives=objectives, dt=dt), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        return (items >= 0)[:, :, None].astype(F32), np.zeros((len(users), 1), F32)


@dataclass(frozen=True, eq=False)
class WatchTime(Response):
    """Videos of one length and a budget of minutes that good ones refill (RecSim's interest evolution).

    A clicked item is watched for w = min(budget, length) minutes, and the budget changes by -w + bonus * w * quality.
    A step without a click costs `browse` minutes. Budgets stay within 10^7 minutes. The objective `quality` is that of the clicked item.

    Args:
        length: minutes, > 0. budget: minutes at arrival, > 0. browse: minutes, >= 0. bonus: of a unit of quality.

    The catalogue must have the attribute `quality`.
    """

    length: float = 4.0
    budget: float = 200.0
    browse: float = 0.5
    bonus: float = 0.9 / 3.4
    channels: ClassVar[tuple[str, ...]] = ("click", "watch")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "watch", "quality")
    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("WatchTime.length", self.length, 1e-3, 1e6)
        require_number("WatchTime.budget", self.budget, 1e-3, 1e6)
        require_number("WatchTime.browse", self.browse, 0, 1e6)
        require_number("WatchTime.bonus", self.bonus, -100, 100)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"budget": Column((), np.float32, -1e7, 1e7, self.budget)}

    def check(self, catalog: Catalog) -> None:
        catalog.column("quality")

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 2), F32), zeros((B, 3), F32)
        dt, budget = empty(B, F32), copied(users.budget)
        _watch_time(
            channels, objectives, dt, budget, slate, click, catalog.attributes, catalog.column("quality"),
            self.length, self.browse, self.bonus,
        )  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=dt), dict(budget=budget)

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        given = np.zeros((*items.shape, 3), np.float32)
        given[:, :, 0] = 1.0
        given[:, :, 1] = np.clip(users.budget, np.float32(0), np.float32(self.length))[:, None]
        given[:, :, 2] = catalog["quality"][items]
        given[items < 0] = 0.0
        return given, np.zeros((len(items), 3), np.float32)


@dataclass(frozen=True, eq=False)
class Engagement(Response):
    """Log-normal engagement with the clicked item (RecSim's long-term satisfaction).

    log engagement ~ N((choc c + kale (1 - c)) satisfaction, sd), c being the item's clickbait.

    Args:
        choc, kale: means at satisfaction 1 of items that are all clickbait, and not at all. sd: > 0.
        high: engagement that an observation shows as 1, > 0; it shows at most 1000 times as much.

    The catalogue must have the attribute `clickbait`, in [0, 1], a dynamics the column `satisfaction`.
    """

    choc: float = 5.0
    kale: float = 4.0
    sd: float = 1.0
    high: float = 50.0
    channels: ClassVar[tuple[str, ...]] = ("click", "engagement")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1000.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "engagement")

    def __post_init__(self) -> None:
        require_number("Engagement.choc", self.choc, -20, 20)
        require_number("Engagement.kale", self.kale, -20, 20)
        require_number("Engagement.sd", self.sd, 1e-6, 10)
        require_number("Engagement.high", self.high, 1e-6, 1e9)

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction",)

    def check(self, catalog: Catalog) -> None:
        c = catalog["clickbait"]
        within = c.min() >= 0 and c.max() <= 1
        require(
            within,
            "catalog.attributes",
            "must have clickbait in [0, 1] for Engagement",
            (float(c.min()), float(c.max())),
        )

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 2), F32), zeros((B, 2), F32)
        _engagement(
            channels, objectives, slate, click, catalog.attributes, catalog.column("clickbait"), users.satisfaction,
            self.choc, self.kale, self.sd, self.high, noise,
        )  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=filled(B, 1.0, F32)), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        c = catalog["clickbait"][items].astype(np.float64)
        mean = (self.choc * c + self.kale * (1 - c)) * users.satisfaction[:, None] + 0.5 * self.sd**2
        given = np.stack([np.ones(items.shape), np.exp(mean)], axis=2).astype(np.float32)
        given[items < 0] = 0.0
        return given, np.zeros((len(items), 2), np.float32)


@dataclass(frozen=True, eq=False)
class Funnel(Response):
    """Click, cart, purchase: the e-commerce hurdles.

    A clicked item goes into the cart with probability sigmoid(cart + v). It is bought at once with probability
    sigmoid(purchase + v - price_weight * log_price), else it stays in the cart (a ring of `places`, the oldest falls out)
    and is bought later with probability `hazard` a step, at the price it had. v is the utility of the item.

    Args:
        cart, purchase: log-odds at v = 0.
        price_weight: how much a high relative price deters from buying, >= 0.
        places: size of the cart, >= 1.
        hazard: chance a step and place of a later purchase, in [0, 1].
        minutes: length of a step.

    The catalogue must have the attribute `price` (currency units, >= 0), the market the signals `log_price`, `discount`,
    and a dynamics the column `satisfaction`, which is paid out at a purchase.
    """

    cart: float = -1.0
    purchase: float = -0.5
    price_weight: float = 1.0
    places: int = 5
    hazard: float = 0.03
    minutes: float = 0.5
    channels: ClassVar[tuple[str, ...]] = ("click", "cart", "purchase")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "cart", "purchase", "revenue", "satisfaction")
    extras: ClassVar[tuple[str, ...]] = ("bought",)

    def __post_init__(self) -> None:
        require_number("Funnel.cart", self.cart, -100, 100)
        require_number("Funnel.purchase", self.purchase, -100, 100)
        require_number("Funnel.price_weight", self.price_weight, 0, 100)
        require_count("Funnel.places", self.places, 1, 1000)
        require_number("Funnel.hazard", self.hazard, 0, 1)
        require_number("Funnel.minutes", self.minutes, 0, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "cart_item": Column((self.places,), np.int32, -1, sizes.items - 1, -1),
            "cart_price": Column((self.places,), np.float32, 0.0, 1e9),
            "cart_size": Column((), np.float32, 0.0, self.places, visible=True),
        }

    def uniforms(self, sizes: Sizes) -> int:
        return 2 * sizes.slate + self.places

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction", "signals.log_price", "signals.discount")

    def check(self, catalog: Catalog) -> None:
        lowest = float(catalog["price"].min())
        require(lowest >= 0, "catalog.attributes", "must have a price >= 0 for Funnel", lowest)

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 3), F32), zeros((B, 5), F32)
        bought = empty((B, S + self.places), I32)  # from the slate and from the cart, -1 = none
        cart_item, cart_price, cart_size = copied(users.cart_item), copied(users.cart_price), empty(B, F32)
        dt = empty(B, F32)
        _funnel(
            channels, objectives, dt, bought, cart_item, cart_price, cart_size, slate, catalog.attributes,
            catalog.column("price"), market.column("log_price"), market.column("discount"), signals, utility, click, users.satisfaction, users.cart_item, users.cart_price,
            self.cart, self.purchase, self.price_weight, self.hazard, self.minutes, noise,
        )  # fmt: skip
        return (dict(channels=channels, objectives=objectives, dt=dt, bought=bought),
                dict(cart_item=cart_item, cart_price=cart_price, cart_size=cart_size))  # fmt: skip

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        return _expected_funnel(
            items, catalog.attributes, catalog.column("price"), market.column("log_price"), market.column("discount"),
            signals, utility, users.satisfaction,
            users.cart_item, users.cart_price, self.cart, self.purchase, self.price_weight, self.hazard,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Dwell(Response):
    """Reading: minutes on a clicked article ~ LogN(mu + quality q - gap b + ..., sigma), at most `longest`.

    mu_i = level + quality * q_i - gap * clickbait_i + mood * (satisfaction - 1/2). A click is satisfied when the
    reader stays longer than half a minute; a satisfied reader shares with probability sigmoid(share + quality * q_i).

    Args:
        level, quality, gap, mood: coefficients of mu. sigma: its spread, > 0.
        longest: minutes, > 0. scan: minutes to look through a slate, >= 0. share: log-odds.

    The catalogue must have `quality` and `clickbait`, a dynamics the column `satisfaction`.
    """

    level: float = -0.3
    quality: float = 0.5
    gap: float = 1.0
    mood: float = 0.0
    sigma: float = 0.7
    longest: float = 15.0
    scan: float = 0.25
    share: float = -3.0
    channels: ClassVar[tuple[str, ...]] = ("click", "dwell", "satisfied_click", "share")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "dwell", "satisfied_click", "share")
    extras: ClassVar[tuple[str, ...]] = ("satisfied",)

    def __post_init__(self) -> None:
        for name in ("level", "quality", "gap", "mood", "share"):
            require_number(f"Dwell.{name}", getattr(self, name), -100, 100)
        require_number("Dwell.sigma", self.sigma, 1e-6, 10)
        require_number("Dwell.longest", self.longest, 0.5, 1e4)
        require_number("Dwell.scan", self.scan, 0, 1e4)

    def uniforms(self, sizes: Sizes) -> int:
        return 2 * sizes.slate

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction",)

    def check(self, catalog: Catalog) -> None:
        self._location(catalog)

    def _location(self, catalog: Catalog) -> Array:
        return catalog.weights((("quality", self.quality), ("clickbait", -self.gap)))

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 4), F32), zeros((B, 4), F32)
        dt, satisfied = filled(B, self.scan, F32), zeros(B, F32)
        _dwell(
            channels, objectives, dt, satisfied, slate, catalog.attributes, self._location(catalog), catalog.column("quality"), click, users.satisfaction,
            self.level, self.quality, self.mood, self.sigma, self.longest, self.share, noise,
        )  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=dt, satisfied=satisfied), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        given = _expected_dwell(
            items, catalog.attributes, self._location(catalog), catalog.column("quality"), users.satisfaction,
            self.level, self.quality, self.mood, self.sigma, self.longest, self.share,
        )  # fmt: skip
        return given, np.zeros((len(users), 4), F32)


@dataclass(frozen=True, eq=False)
class Watch(Response):
    """Live watching: join or stay, watch a slice of at most `epoch` minutes, like once a visit, perhaps give.

    The slice is Weibull with scale `exp(stay + slope v)` minutes and the given shape, cut by the epoch, the end of
    the stream and the time budget. A slice that fills the epoch leaves the user watching; any shorter one sends the
    user back to browsing. Like: sigmoid(like + slope v), once a visit. Gift: sigmoid(gift + slope v + devotion ln(1 + minutes
    with this streamer)), amount LogN(amount, 1), cut by the wallet. For who stays v is the utility of the
    outside option, with `Loyal` the inertia included. Browsing without joining takes `browse` minutes.

    Args:
        stay, slope, shape: of the watching time; shape > 0.
        epoch: longest slice in minutes, in [0.001, 5]. long: minutes of a long visit, counted once a visit, at most 30.
        browse: minutes, > 0. like, gift: log-odds at v = 0. amount: log of the median gift. devotion: >= 0.
        fans: streamers whose minutes a user remembers, >= 1; the least watched is forgotten first.

    Feedback besides: `watched_item` (B,) int32, who was on screen; `prompted` (B,) bool, something was recommended to
    a watching user; `enjoyment` sigmoid(v) and `slice`, the share of the epoch watched, (B,) float32.
    The market must have the signal `remaining` (hours to the end / 10); the population the traits `budget` (minutes)
    and `wallet` (currency units).
    """

    stay: float = 1.0
    slope: float = 0.6
    shape: float = 1.0
    epoch: float = 3.0
    long: float = 5.0
    browse: float = 1.0
    like: float = -2.5
    gift: float = -5.0
    amount: float = 0.0
    devotion: float = 0.3
    fans: int = 4
    channels: ClassVar[tuple[str, ...]] = ("click", "watch", "like", "gift")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "watch", "long_watch", "like", "gift")
    extras: ClassVar[tuple[str, ...]] = ("watched_item", "prompted", "enjoyment", "slice")
    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("stay", "slope", "like", "gift", "amount"):
            require_number(f"Watch.{name}", getattr(self, name), -100, 100)
        require_number("Watch.shape", self.shape, 1e-3, 100)
        require_number("Watch.epoch", self.epoch, 1e-3, 5)
        require_number("Watch.long", self.long, 0, 30)
        require_number("Watch.browse", self.browse, 1e-3, 1e4)
        require_number("Watch.devotion", self.devotion, 0, 100)
        require_count("Watch.fans", self.fans, 1, 1000)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "watching": Column((), np.int32, -1, sizes.items - 1, -1),
            "is_watching": Column(visible=True),
            "visit": Column((), np.float32, 0.0, 30.0, visible=True),
            "liked": Column(visible=True),
            "fan_item": Column((self.fans,), np.int32, -1, sizes.items - 1, -1),
            "fan_minutes": Column((self.fans,), np.float32, 0.0, 1e6),
        }

    def uniforms(self, sizes: Sizes) -> int:
        return 4

    def reads(self) -> tuple[str, ...]:
        return ("users.budget", "users.wallet", "signals.remaining")

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        remaining = market.column("remaining")
        watched = market.observe(users.watching.reshape(-1, 1), users.clock)
        B, S = slate.shape
        outcome = dict(
            channels=zeros((B, S, 4), F32), objectives=zeros((B, 5), F32),
            dt=filled(B, self.browse, F32), watched_item=filled(B, -1, I32), prompted=zeros(B, BOOL),
            enjoyment=zeros(B, F32), slice=zeros(B, F32),
        )  # fmt: skip
        changes = dict(
            watching=filled(B, -1, I32), is_watching=zeros(B, F32), visit=zeros(B, F32),
            liked=zeros(B, F32), fan_item=copied(users.fan_item), fan_minutes=copied(users.fan_minutes),
            budget=copied(users.budget), wallet=copied(users.wallet),
        )  # fmt: skip
        _watch(
            *outcome.values(), *changes.values(), slate, signals, remaining, watched, utility, outside, click, users.watching, users.visit, users.liked,
            users.fan_item, users.fan_minutes, users.budget, users.wallet,
            self.stay, self.slope, self.shape, self.epoch, self.long, self.browse, self.like, self.gift, self.amount,
            self.devotion, noise,
        )  # fmt: skip
        return outcome, changes

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        remaining = market.column("remaining")
        watched = market.observe(users.watching.reshape(-1, 1), users.clock)
        return _expected_watch(
            items, signals, remaining, watched, utility, outside, users.watching, users.visit, users.liked,
            users.fan_item, users.fan_minutes, users.budget, users.wallet,
            self.stay, self.slope, self.shape, self.epoch, self.long, self.like, self.gift, self.amount, self.devotion,
        )  # fmt: skip


@kernel
def _count(channels, objectives, dt, click, minutes):
    for b in range(click.shape[0]):
        objectives[b, 0] = 0.0
        dt[b] = minutes
        for s in range(click.shape[1]):
            channels[b, s, 0] = 1.0 if click[b, s] else 0.0
            objectives[b, 0] += channels[b, s, 0]


@kernel
def _watch_time(channels, objectives, dt, budget, slate, click, attributes, quality_column, length, browse, bonus):
    B, S = slate.shape
    for b in range(B):
        before = np.float64(budget[b])
        after, dt[b] = before - browse, browse
        for s in range(S):
            if click[b, s]:
                quality = np.float64(attributes[slate[b, s], quality_column])
                minutes = min(max(before, 0.0), length)
                after, dt[b] = before - minutes + bonus * minutes * quality, minutes
                channels[b, s, 0] = 1.0
                channels[b, s, 1] = minutes / length
                objectives[b, 0] = 1.0
                objectives[b, 1] = minutes
                objectives[b, 2] = quality
        budget[b] = min(max(after, -1e7), 1e7)


@kernel
def _engagement(
    channels, objectives, slate, click, attributes, clickbait_column, satisfaction, choc, kale, sd, high, u
):
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            if click[b, s]:
                c = np.float64(attributes[slate[b, s], clickbait_column])
                engagement = math.exp((choc * c + kale * (1.0 - c)) * satisfaction[b] + sd * normal(u[s, b]))
                channels[b, s, 0] = 1.0
                channels[b, s, 1] = min(engagement / high, 1000.0)
                objectives[b, 0] += 1.0
                objectives[b, 1] += engagement


@kernel
def _funnel(
    channels, objectives, dt, bought, new_item, new_price, size, slate, attributes, price_column, log_price, discount, signals,
    utility, click,
    satisfaction, cart_item, cart_price, cart, purchase, price_weight, hazard, minutes, u,
):  # fmt: skip
    B, S = slate.shape
    places = cart_item.shape[1]
    for b in range(B):
        dt[b] = minutes
        bought[b] = -1
        kept = 0
        for s in range(S):  # what goes into the cart today comes first
            if not click[b, s]:
                continue
            channels[b, s, 0] = 1.0
            objectives[b, 0] += 1.0
            i = slate[b, s]
            v = utility[b, s]
            if u[s, b] < sigmoid(cart + v):
                channels[b, s, 1] = 1.0
                objectives[b, 1] += 1.0
                price = attributes[i, price_column] * (1.0 - signals[b, s, discount])
                if u[S + s, b] < sigmoid(purchase + v - price_weight * signals[b, s, log_price]):
                    channels[b, s, 2] = 1.0
                    objectives[b, 2] += 1.0
                    objectives[b, 3] += price
                    objectives[b, 4] += satisfaction[b]
                    bought[b, s] = i
                elif kept < places:
                    new_item[b, kept] = i
                    new_price[b, kept] = price
                    kept += 1
        for c in range(places):
            i = cart_item[b, c]
            if i < 0:
                continue
            if u[2 * S + c, b] < hazard:
                objectives[b, 2] += 1.0
                objectives[b, 3] += cart_price[b, c]
                objectives[b, 4] += satisfaction[b]
                bought[b, S + c] = i
            elif kept < places:
                new_item[b, kept] = i
                new_price[b, kept] = cart_price[b, c]
                kept += 1
        size[b] = kept
        for c in range(kept, places):
            new_item[b, c] = -1
            new_price[b, c] = 0.0


@kernel
def _expected_funnel(
    items, attributes, price_column, log_price, discount, signals, utility, satisfaction, cart_item, cart_price,
    cart, purchase, price_weight, hazard,
):  # fmt: skip
    B, S = items.shape
    given = np.zeros((B, S, 5), np.float32)
    otherwise = np.zeros((B, 5), np.float32)
    for b in range(B):
        for c in range(cart_item.shape[1]):
            if cart_item[b, c] >= 0:
                otherwise[b, 2] += hazard
                otherwise[b, 3] += hazard * cart_price[b, c]
                otherwise[b, 4] += hazard * satisfaction[b]
        for s in range(S):
            i = items[b, s]
            if i < 0:
                continue
            to_cart = sigmoid(cart + utility[b, s])
            to_buy = to_cart * sigmoid(purchase + utility[b, s] - price_weight * signals[b, s, log_price])
            given[b, s, 0] = 1.0
            given[b, s, 1] = to_cart
            given[b, s, 2] = to_buy + otherwise[b, 2]
            given[b, s, 3] = to_buy * attributes[i, price_column] * (1.0 - signals[b, s, discount]) + otherwise[b, 3]
            given[b, s, 4] = to_buy * satisfaction[b] + otherwise[b, 4]
    return given, otherwise


@kernel
def _location(attributes, i, weights, level, mood, satisfaction):
    mu = level + mood * (satisfaction - 0.5)
    for a in range(weights.shape[0]):
        mu += weights[a] * attributes[i, a]
    return mu


@kernel
def _dwell(
    channels, objectives, dt, satisfied, slate, attributes, weights, quality_column, click, satisfaction,
    level, quality, mood, sigma, longest, share, u,
):  # fmt: skip
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            if not click[b, s]:
                continue
            i = slate[b, s]
            mu = _location(attributes, i, weights, level, mood, satisfaction[b])
            minutes = min(math.exp(mu + sigma * normal(u[s, b])), longest)
            dt[b] += minutes
            content = minutes > 0.5
            shared = content and u[S + s, b] < sigmoid(share + quality * attributes[i, quality_column])
            channels[b, s, 0] = 1.0
            channels[b, s, 1] = minutes / longest  # the observation wants numbers of about 1
            channels[b, s, 2] = 1.0 if content else 0.0
            channels[b, s, 3] = 1.0 if shared else 0.0
            objectives[b, 0] += 1.0
            objectives[b, 1] += minutes
            objectives[b, 2] += channels[b, s, 2]
            objectives[b, 3] += channels[b, s, 3]
            satisfied[b] += channels[b, s, 2]


@kernel
def _expected_dwell(
    items, attributes, weights, quality_column, satisfaction, level, quality, mood, sigma, longest, share
):
    B, S = items.shape
    given = np.zeros((B, S, 4), np.float32)
    for b in range(B):
        for s in range(S):
            i = items[b, s]
            if i < 0:
                continue
            mu = _location(attributes, i, weights, level, mood, satisfaction[b])
            satisfied = normal_cdf((mu - math.log(0.5)) / sigma)
            given[b, s, 0] = 1.0
            given[b, s, 1] = capped_lognormal_mean(mu, sigma, longest)
            given[b, s, 2] = satisfied
            given[b, s, 3] = satisfied * sigmoid(share + quality * attributes[i, quality_column])
    return given


@kernel
def _minutes_with(fan_item, fan_minutes, b, i):
    for f in range(fan_item.shape[1]):
        if fan_item[b, f] == i:
            return fan_minutes[b, f]
    return np.float32(0.0)


@kernel
def _watch(
    channels, objectives, dt, watched_item, prompted, enjoyment, slices,
    new_watching, is_watching, new_visit, new_liked, new_fan_item, new_fan_minutes, new_budget, new_wallet,
    slate, signals, remaining, watched, utility, outside, click, watching, visit, liked, fan_item, fan_minutes,
    budget, wallet, stay, slope, shape, epoch, long, browse, like, gift, amount, devotion, u,
):  # fmt: skip
    B, S = slate.shape
    for b in range(B):
        item, v, left, position = watching[b], outside[b], 600.0 * watched[b, 0, remaining], -1
        before, has_liked = visit[b], liked[b] > 0.0
        for s in range(S):
            prompted[b] = prompted[b] or (watching[b] >= 0 and slate[b, s] >= 0)
            if click[b, s] and slate[b, s] != watching[b]:  # to choose what is on screen is to stay
                item, v, left, position = slate[b, s], utility[b, s], 600.0 * signals[b, s, remaining], s
                before, has_liked = np.float32(0.0), False
                objectives[b, 0] = 1.0
                channels[b, s, 0] = 1.0
        if item < 0:
            new_budget[b] = max(budget[b] - browse, 0.0)
            continue
        patience = math.exp(stay + slope * v) * (-math.log(u[0, b])) ** (1.0 / shape)
        if not patience >= 0.0:  # 0 times infinity: one factor decides, and its logarithm tells which
            patience = math.exp(min(stay + slope * v + math.log(-math.log(u[0, b])) / shape, 700.0))
        minutes = min(min(patience, epoch), min(left, np.float64(budget[b])))
        after = before + minutes
        if minutes >= epoch:  # neither bored, nor at the end of the stream or of the time budget
            new_watching[b] = item
            is_watching[b] = 1.0
            new_visit[b] = min(after, 30.0)
        long_watch = before < long and after >= long
        on_screen = minutes > 0.0
        like_now = on_screen and not has_liked and u[1, b] < sigmoid(like + slope * v)
        new_liked[b] = 1.0 if minutes >= epoch and (has_liked or like_now) else 0.0
        loyal = math.log(1.0 + _minutes_with(fan_item, fan_minutes, b, item))
        given = 0.0
        if on_screen and u[2, b] < sigmoid(gift + slope * v + devotion * loyal):
            given = min(math.exp(amount + normal(u[3, b])), np.float64(wallet[b]))
        objectives[b, 1] = minutes
        objectives[b, 2] = 1.0 if long_watch else 0.0
        objectives[b, 3] = 1.0 if like_now else 0.0
        objectives[b, 4] = given
        if position >= 0:
            channels[b, position, 1] = minutes / epoch
            channels[b, position, 2] = objectives[b, 3]
            channels[b, position, 3] = 1.0 if given > 0.0 else 0.0
        place, least = -1, 0
        for f in range(fan_item.shape[1]):
            if fan_item[b, f] == item:
                place = f
            if fan_minutes[b, f] < fan_minutes[b, least]:
                least = f
        if place < 0:
            place = least
            new_fan_item[b, place] = item
            new_fan_minutes[b, place] = 0.0
        new_fan_minutes[b, place] += minutes
        new_budget[b] = max(budget[b] - minutes, 0.0)
        new_wallet[b] = wallet[b] - given
        dt[b] = minutes
        watched_item[b] = item
        enjoyment[b] = sigmoid(v)
        slices[b] = minutes / epoch


@kernel
def _expected_slice(
    out, b, s, v, left, before, liked, loyal, wallet, stay, slope, shape, epoch, long, like, gift, amount
):
    """Writes watch, long_watch, like and gift into out[b, s, 1:]; `left` already holds the time budget too."""
    scale = math.exp(stay + slope * v)
    cap = min(epoch, left)
    if cap <= 0.0 or v == -np.inf:
        return
    # E[min(T, cap)] = scale * integral_0^(cap / scale) exp(-x^shape) dx, by t = x^shape an incomplete gamma function
    out[b, s, 1] = cap if scale == np.inf else scale / shape * lower_gamma(1.0 / shape, (cap / scale) ** shape)
    missing = long - before
    out[b, s, 2] = math.exp(-((missing / scale) ** shape)) if missing > 0.0 and missing <= cap else 0.0
    out[b, s, 3] = 0.0 if liked else sigmoid(like + slope * v)
    out[b, s, 4] = sigmoid(gift + slope * v + loyal) * (
        capped_lognormal_mean(amount, 1.0, wallet) if wallet > 0.0 else 0.0
    )


@kernel
def _expected_watch(
    items, signals, remaining, watched, utility, outside, watching, visit, liked, fan_item, fan_minutes, budget, wallet,
    stay, slope, shape, epoch, long, like, gift, amount, devotion,
):  # fmt: skip
    B, S = items.shape
    given = np.zeros((B, S, 5), np.float32)
    otherwise = np.zeros((B, 1, 5), np.float32)
    for b in range(B):
        for s in range(S):
            i = items[b, s]
            if i < 0:
                continue
            given[b, s, 0] = 1.0
            left = min(600.0 * signals[b, s, remaining], np.float64(budget[b]))
            loyal = devotion * math.log(1.0 + _minutes_with(fan_item, fan_minutes, b, i))
            _expected_slice(given, b, s, np.float64(utility[b, s]), left, 0.0, False, loyal, np.float64(wallet[b]),
                            stay, slope, shape, epoch, long, like, gift, amount)  # fmt: skip
        if watching[b] >= 0:
            left = min(600.0 * watched[b, 0, remaining], np.float64(budget[b]))
            loyal = devotion * math.log(1.0 + _minutes_with(fan_item, fan_minutes, b, watching[b]))
            _expected_slice(otherwise, b, 0, np.float64(outside[b]), left, np.float64(visit[b]), liked[b] > 0.0, loyal,
                            np.float64(wallet[b]), stay, slope, shape, epoch, long, like, gift, amount)  # fmt: skip
    return given, otherwise[:, 0]
