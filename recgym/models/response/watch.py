"""Watching live streams: visits, likes and gifts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_count, require_number
from recgym.kernel import capped_lognormal_mean, kernel, lower_gamma, normal, sigmoid, sigmoid_all
from recgym.market import LONGEST_STREAM, Market
from recgym.models.response.base import Outcome, Response
from recgym.types import BOOL, F32, F64, I32, Array, Column, Sizes, Users, copied, empty, filled, zeros

LONGEST_VISIT = 30.0  # minutes; the column `visit` stops counting there


@dataclass(frozen=True, eq=False)
class Watch(Response):
    """Live streams: the user joins or stays, watches for at most `epoch` minutes, may like and may give.

    v is the utility of the stream on screen: of the one joined or, for a user who stays, of the outside option, which
    with `Loyal` includes the inertia. The minutes watched in a step are Weibull with scale exp(stay + slope v) and
    the given shape, cut by the epoch, the end of the stream and the user's time budget. A user who watches the whole
    epoch goes on watching; any other is back to browsing. A like, once per visit, has probability
    sigmoid(like + slope v). A gift has probability sigmoid(gift + slope v + devotion ln(1 + minutes with this
    streamer)); its amount is LogN(amount, 1), cut by the wallet. A step of browsing takes `browse` minutes.

    Args:
        stay, slope, shape: of the minutes watched; shape > 0.
        epoch: most minutes of a step, in [0.001, 5].
        enjoy: log-odds of the enjoyment at v = 0.
        long: minutes after which a visit is a long one, in [0, 30]; counted once per visit.
        browse: minutes, > 0.
        like, gift: log-odds at v = 0.
        amount: log of the median gift.
        devotion: >= 0.
        fans: number of streamers whose minutes a user remembers, >= 1; the least watched is forgotten first.

    The feedback gets five more arrays: `watched_item` (B,) int32, what was on screen, -1 = nothing; `prompted` (B,)
    bool, whether something was recommended to a user who was watching; `enjoyment` (B,) float32, sigmoid(enjoy + v); `slice`
    (B,) float32, the share of the epoch that was watched, both 0 where nothing was on screen; and `heat_seen` (B, S + 1)
    float32, the heat of what was on screen in the last column, or of each position of the slate where nothing was, and -inf
    elsewhere.

    The market must have the signals `remaining` (minutes to the end / `LONGEST_STREAM`) and `heat`, the population the traits
    `budget` (minutes) and `wallet` (currency units).
    """

    stay: float = 1.0
    slope: float = 0.6
    shape: float = 1.0
    epoch: float = 3.0
    enjoy: float = 0.0
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
    extras: ClassVar[tuple[str, ...]] = ("watched_item", "prompted", "enjoyment", "slice", "heat_seen")
    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name in ("stay", "slope", "enjoy", "like", "gift", "amount"):
            require_number(f"Watch.{name}", getattr(self, name), -100, 100)
        require_number("Watch.shape", self.shape, 1e-3, 100)
        require_number("Watch.epoch", self.epoch, 1e-3, 5)
        require_number("Watch.long", self.long, 0, LONGEST_VISIT)
        require_number("Watch.browse", self.browse, 1e-3, 1e4)
        require_number("Watch.devotion", self.devotion, 0, 100)
        require_count("Watch.fans", self.fans, 1, 1000)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "watching": Column((), np.int32, -1, sizes.items - 1, -1),
            "is_watching": Column(visible=True),
            "visit": Column((), np.float32, 0.0, LONGEST_VISIT, visible=True),
            "liked": Column(visible=True),
            "fan_item": Column((self.fans,), np.int32, -1, sizes.items - 1, -1),
            "fan_minutes": Column((self.fans,), np.float32, 0.0, 1e6),
        }

    def uniforms(self, sizes: Sizes) -> int:
        return 4  # minutes, like, gift, amount

    def reads(self) -> tuple[str, ...]:
        return ("users.budget", "users.wallet", "signals.remaining", "signals.heat")

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        remaining = market.column("remaining")
        on_air = market.observe(users.watching.reshape(-1, 1), users.clock)
        # What is on screen: its item (-1 = nothing), its utility v, the minutes until it ends, and the position of the
        # slate that it was joined from (-1 = it was on screen before).
        item, v, left, joined = copied(users.watching), copied(outside), empty(B, F64), filled(B, -1, I32)
        prompted = zeros(B, BOOL)
        _on_screen(
            item, v, left, joined, prompted, slate, click, utility, signals, users.watching, on_air, remaining
        )  # fmt: skip
        heat_seen = empty((B, S + 1), F32)
        _seen(heat_seen, slate, item, joined, signals, on_air, market.column("heat"))
        minutes, enjoyment, share = zeros(B, F64), empty(B, F32), zeros(B, F32)
        _watch(
            minutes, enjoyment, share, item, v, left, users.budget,
            self.stay, self.slope, self.shape, self.epoch, self.enjoy, noise,
        )  # fmt: skip
        watching, is_watching = filled(B, -1, I32), zeros(B, F32)
        visit, long_watch = copied(users.visit), zeros(B, BOOL)
        _visit(watching, is_watching, visit, long_watch, item, joined, minutes, self.epoch, self.long)
        liked, like_now = copied(users.liked), zeros(B, BOOL)
        _like(liked, like_now, joined, v, minutes, self.epoch, self.like, self.slope, noise)
        loyalty, wallet, given = empty((B, 1), F64), copied(users.wallet), zeros(B, F64)
        _loyalty(loyalty, item.reshape(-1, 1), users.fan_item, users.fan_minutes, self.devotion)
        _give(given, wallet, v, minutes, loyalty, self.gift, self.slope, self.amount, noise)
        fan_item, fan_minutes = copied(users.fan_item), copied(users.fan_minutes)
        _remember(fan_item, fan_minutes, item, minutes)
        budget, dt = copied(users.budget), empty(B, F32)
        _spend(budget, dt, item, minutes, self.browse)
        channels, objectives = zeros((B, S, 4), F32), empty((B, 5), F32)
        _record(channels, objectives, joined, minutes, long_watch, like_now, given, self.epoch)
        return (
            dict(channels=channels, objectives=objectives, dt=dt, watched_item=item, prompted=prompted,
                 enjoyment=enjoyment, slice=share, heat_seen=heat_seen),
            dict(watching=watching, is_watching=is_watching, visit=visit, liked=liked, fan_item=fan_item,
                 fan_minutes=fan_minutes, budget=budget, wallet=wallet),
        )  # fmt: skip

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        remaining, watching = market.column("remaining"), users.watching.reshape(-1, 1)
        on_air = market.observe(watching, users.clock)
        new, unliked = np.zeros(items.shape, F32), np.zeros(items.shape, BOOL)
        given = self._expected(users, items, utility, signals[:, :, remaining], new, unliked)
        given[:, :, 0] = items >= 0
        visit, liked = users.visit.reshape(-1, 1), users.liked.reshape(-1, 1) > 0
        otherwise = self._expected(users, watching, outside.reshape(-1, 1), on_air[:, :, remaining], visit, liked)
        return given, otherwise[:, 0]

    def _expected(self, users: Users, items: Array, v: Array, remaining: Array, visit: Array, liked: Array) -> Array:
        """(B, n, 5) expected objectives of having items on screen, but not of the click; the arguments are (B, n)."""
        out, cap, loyalty = np.zeros((*items.shape, 5), F32), np.empty(items.shape), np.empty(items.shape)
        _cap(cap, items, v, remaining, users.budget, self.epoch)
        _loyalty(loyalty, items, users.fan_item, users.fan_minutes, self.devotion)
        _expected_minutes(out, cap, v, self.stay, self.slope, self.shape)
        _expected_long(out, cap, v, visit, self.stay, self.slope, self.shape, self.long)
        _expected_like(out, cap, v, liked, self.like, self.slope)
        _expected_gift(out, cap, v, loyalty, users.wallet, self.gift, self.slope, self.amount)
        return out


@kernel
def _on_screen(item, v, left, joined, prompted, slate, click, utility, signals, watching, on_air, remaining):
    """A click puts another stream on screen; else what is on screen stays, with the item and v that are given."""
    for b in range(slate.shape[0]):
        left[b] = LONGEST_STREAM * np.float64(on_air[b, 0, remaining])
        for s in range(slate.shape[1]):
            prompted[b] = prompted[b] or (watching[b] >= 0 and slate[b, s] >= 0)
            if click[b, s] and slate[b, s] != watching[b]:  # to choose what is on screen is to stay
                item[b], v[b], joined[b] = slate[b, s], utility[b, s], s
                left[b] = LONGEST_STREAM * np.float64(signals[b, s, remaining])


@kernel
def _seen(heat_seen, slate, item, joined, signals, on_air, heat):
    """The heat of what is on screen, or of the slate where nothing is; -inf elsewhere."""
    for b in range(slate.shape[0]):
        S = slate.shape[1]
        heat_seen[b, S] = -np.inf
        if item[b] >= 0:
            heat_seen[b, S] = signals[b, joined[b], heat] if joined[b] >= 0 else on_air[b, 0, heat]
        for s in range(S):
            heat_seen[b, s] = signals[b, s, heat] if slate[b, s] >= 0 and item[b] < 0 else -np.inf


@kernel
def _watch(minutes, enjoyment, share, item, v, left, budget, stay, slope, shape, epoch, enjoy, u):
    """Minutes that what is on screen is watched."""
    for b in range(minutes.shape[0]):
        enjoyment[b] = enjoy + v[b] if item[b] >= 0 else -np.inf
        if item[b] < 0:
            continue
        patience = math.exp(min(stay + slope * v[b] + math.log(-math.log(u[0, b])) / shape, 700.0))
        minutes[b] = min(min(patience, epoch), min(left[b], np.float64(budget[b])))
        share[b] = minutes[b] / epoch
    sigmoid_all(enjoyment)


@kernel
def _visit(watching, is_watching, visit, long_watch, item, joined, minutes, epoch, long):
    """Who goes on watching, and for how long this visit has lasted."""
    for b in range(item.shape[0]):
        before = visit[b] if joined[b] < 0 else np.float32(0.0)
        after = before + minutes[b]
        long_watch[b] = before < long and after >= long
        visit[b] = 0.0
        if minutes[b] >= epoch:  # neither bored, nor at the end of the stream or of the time budget
            watching[b] = item[b]
            is_watching[b] = 1.0
            visit[b] = min(after, LONGEST_VISIT)


@kernel
def _like(liked, like_now, joined, v, minutes, epoch, like, slope, u):
    """Whether the user likes the stream now, and whether a visit that goes on has been liked."""
    for b in range(liked.shape[0]):
        has_liked = joined[b] < 0 and liked[b] > 0.0
        like_now[b] = minutes[b] > 0.0 and not has_liked and u[1, b] < sigmoid(like + slope * v[b])
        liked[b] = 1.0 if minutes[b] >= epoch and (has_liked or like_now[b]) else 0.0


@kernel
def _loyalty(loyalty, items, fan_item, fan_minutes, devotion):
    """devotion ln(1 + minutes with the streamer)."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            loyalty[b, s] = 0.0
            for f in range(fan_item.shape[1]):
                if fan_item[b, f] == items[b, s]:
                    loyalty[b, s] = devotion * math.log(1.0 + fan_minutes[b, f])
                    break


@kernel
def _give(given, wallet, v, minutes, loyalty, gift, slope, amount, u):
    """A gift, out of the wallet."""
    for b in range(given.shape[0]):
        if minutes[b] > 0.0 and u[2, b] < sigmoid(gift + slope * v[b] + loyalty[b, 0]):
            given[b] = min(math.exp(amount + normal(u[3, b])), np.float64(wallet[b]))
            wallet[b] = wallet[b] - given[b]


@kernel
def _remember(fan_item, fan_minutes, item, minutes):
    """Add the minutes to those with this streamer, who takes the row of the least watched one if there is none yet."""
    for b in range(item.shape[0]):
        if item[b] >= 0:
            row, least = -1, 0
            for f in range(fan_item.shape[1]):
                if fan_item[b, f] == item[b]:
                    row = f
                if fan_minutes[b, f] < fan_minutes[b, least]:
                    least = f
            if row < 0:
                row = least
                fan_item[b, row] = item[b]
                fan_minutes[b, row] = 0.0
            fan_minutes[b, row] += minutes[b]


@kernel
def _spend(budget, dt, item, minutes, browse):
    """The minutes of the step, out of the time budget."""
    for b in range(item.shape[0]):
        spent = minutes[b] if item[b] >= 0 else browse
        budget[b] = max(budget[b] - spent, 0.0)
        dt[b] = spent


@kernel
def _record(channels, objectives, joined, minutes, long_watch, like_now, given, epoch):
    for b in range(joined.shape[0]):
        objectives[b, 0] = 1.0 if joined[b] >= 0 else 0.0
        objectives[b, 1] = minutes[b]
        objectives[b, 2] = 1.0 if long_watch[b] else 0.0
        objectives[b, 3] = 1.0 if like_now[b] else 0.0
        objectives[b, 4] = given[b]
        if joined[b] >= 0:
            channels[b, joined[b], 0] = 1.0
            channels[b, joined[b], 1] = minutes[b] / epoch
            channels[b, joined[b], 2] = objectives[b, 3]
            channels[b, joined[b], 3] = 1.0 if given[b] > 0.0 else 0.0


@kernel
def _cap(cap, items, v, remaining, budget, epoch):
    """Most minutes that items can be watched in this step; 0 where there is no item."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            left = min(LONGEST_STREAM * remaining[b, s], np.float64(budget[b]))
            cap[b, s] = min(epoch, left) if items[b, s] >= 0 and v[b, s] > -np.inf else 0.0


@kernel
def _expected_minutes(out, cap, v, stay, slope, shape):
    for b in range(cap.shape[0]):
        for s in range(cap.shape[1]):
            if cap[b, s] > 0.0:
                # E[min(T, cap)] = scale * integral_0^(cap / scale) exp(-x^shape) dx, by t = x^shape an incomplete gamma
                scale = math.exp(stay + slope * np.float64(v[b, s]))
                part = (cap[b, s] / scale) ** shape
                out[b, s, 1] = cap[b, s] if scale == np.inf else scale / shape * lower_gamma(1.0 / shape, part)


@kernel
def _expected_long(out, cap, v, visit, stay, slope, shape, long):
    """The chance that the visit becomes a long one in this step: that its missing minutes are watched."""
    for b in range(cap.shape[0]):
        for s in range(cap.shape[1]):
            missing = long - visit[b, s]
            if 0.0 < missing <= cap[b, s]:
                scale = math.exp(stay + slope * np.float64(v[b, s]))
                out[b, s, 2] = math.exp(-((missing / scale) ** shape))


@kernel
def _expected_like(out, cap, v, liked, like, slope):
    for b in range(cap.shape[0]):
        for s in range(cap.shape[1]):
            if cap[b, s] > 0.0 and not liked[b, s]:
                out[b, s, 3] = sigmoid(like + slope * np.float64(v[b, s]))


@kernel
def _expected_gift(out, cap, v, loyalty, wallet, gift, slope, amount):
    for b in range(cap.shape[0]):
        money = np.float64(wallet[b])
        mean = capped_lognormal_mean(amount, 1.0, money) if money > 0.0 else 0.0
        for s in range(cap.shape[1]):
            if cap[b, s] > 0.0:
                out[b, s, 4] = sigmoid(gift + slope * np.float64(v[b, s]) + loyalty[b, s]) * mean
