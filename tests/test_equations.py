"""What the docstrings of the three environments state is what they compute.

Each domain's equations are written here a second time, in NumPy and float64, from the docstring alone: `Shop`, `News` and
`Live`. Users take random steps with forced clicks, and after each everything is compared. Every constant used has a phrase
beside it that must stand in the docstring. What an item is (its attributes, prices, freshness, heat) is taken as given;
tests/test_market.py and tests/test_items.py are about it. So are the uniform random numbers, one row for each decision.
"""

from __future__ import annotations

import re
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import recgym
from recgym import Feedback, Users, World
from recgym.envs import RecEnv
from recgym.noise import mix
from recgym.types import Array

B, STEPS = 150, 14
NORMAL = np.vectorize(NormalDist().inv_cdf)

# Name -> value, and the words of the docstring that state it.
Stated = dict[str, tuple[float, str]]
SHOP: Stated = dict(
    match=(2.5, "2.5 u.x"), quality=(0.2, "0.2 q"), brand=(1.2, "1.2 brand"), level=(2.0, "2 level"),
    satiation=(-1.0, "- satiation[topic]"), tired=(-0.5, "- 0.5 fatigue[topic]"),
    b=(2.3, "b = 2.3 exp(0.2 n - 0.02)"), b_sd=(0.2, "b = 2.3 exp(0.2 n - 0.02)"),
    c=(0.5, "c = 0.5 exp(0.3 n - 0.045)"), c_sd=(0.3, "c = 0.5 exp(0.3 n - 0.045)"),
    null=(4.9, "exp(4.9)"), decay=(0.5, "exp(v_k - 0.5 ln k)"),
    cart=(6.5, "sigmoid(v - 6.5)"), buy=(6.8, "sigmoid(v - 6.8 - p)"), later=(0.008, "with probability 0.008"),
    minutes=(0.5, "half a minute"), pull=(0.02, "0.98 u + 0.02 x"),
    adapt=(0.8, "level <- 0.8 level + 0.2"), most_level=(2.0, "within +-2."), memory=(0.85, "s <- 0.85 s + 0.15"),
    content=(-0.3, "sigmoid(-0.3 + 2 q + 0.5 u.x - p)"), good=(2.0, "sigmoid(-0.3 + 2 q + 0.5 u.x - p)"),
    fit=(0.5, "sigmoid(-0.3 + 2 q + 0.5 u.x - p)"), regret=(0.2, "0.2 sigmoid(-2 q)"), bad=(2.0, "0.2 sigmoid(-2 q)"),
    leave=(-1.0, "sigmoid(-1 - 5.5 s + 0.05 F)"), stay=(5.5, "sigmoid(-1 - 5.5 s + 0.05 F)"),
    bored=(0.05, "sigmoid(-1 - 5.5 s + 0.05 F)"),
    sated_half=(60.0, "halves every 60 minutes"), sated=(2.0, "adds 2 to its topic"), other=(0.7, "takes 0.7 from"),
    most_sated=(4.0, "within +-4."), half=(5.0, "Fatigue halves every 5 minutes"), ignored=(0.1, "adds 0.1 to its topic"),
    most=(3.0, "up to 3."), level_0=(0.0, "level 0, "), s_0=(0.5, "satisfaction 0.5"),
    click=(1.0, "1 for a click and 10"), purchase=(10.0, "10 for a purchase"),
)  # fmt: skip
NEWS: Stated = dict(
    match=(3.0, "3 u.x"), bait=(2.5, "2.5 clickbait"), tired=(-1.0, "- fatigue[topic]"),
    f=(1.0, "f = exp(0.3 n - 0.045)"), f_sd=(0.3, "f = exp(0.3 n - 0.045)"),
    g=(1.0, "g = exp(0.3 n - 0.045)"), g_sd=(0.3, "g = exp(0.3 n - 0.045)"),
    threshold=(6.0, "a = sigmoid(v - 6)"), on=(0.8, "with probability 0.8,"), after=(0.48, "0.48 after a click"),
    mu=(-0.6, "-0.6 + 0.4 q - 0.8 clickbait + 0.5 (s - 0.5)"), hold=(0.4, "-0.6 + 0.4 q - 0.8 clickbait"),
    gap=(0.8, "0.4 q - 0.8 clickbait"), mood=(0.5, "0.5 (s - 0.5)"), sigma=(1.4, "standard deviation 1.4"),
    longest=(15.0, "at most 15."), enough=(0.5, "more than 0.5 minutes"),
    share=(-3.0, "sigmoid(-3 + 0.4 q)"), share_q=(0.4, "sigmoid(-3 + 0.4 q)"), page=(0.25, "takes 0.25 minutes"),
    memory=(0.65, "s <- 0.65 s + 0.35"), content=(1.0, "sigmoid(1 + 1.5 q - 4 clickbait)"),
    good=(1.5, "sigmoid(1 + 1.5 q - 4 clickbait)"), bad=(4.0, "sigmoid(1 + 1.5 q - 4 clickbait)"),
    cost=(1.0, "Each step costs 1 of"), restore=(0.5, "satisfied click gives 0.5 back"), back=(0.95, "probability 0.95 s^2"),
    soonest=(60.0, "60 to 360 minutes later"), latest=(360.0, "60 to 360 minutes later"), pages=(50.0, "at most 50)"),
    fast=(0.1, "normalise(0.9 fast + 0.1 x)"), slow=(0.01, "normalise(0.99 slow + 0.01 x)"),
    blend=(0.5, "normalise(0.5 fast + 0.5 slow)"), half=(20.0, "halves every 20 minutes"),
    ignored=(0.1, "adds 0.1 to its topic"), clicked=(0.3, "or 0.3 if it is clicked"), most=(3.0, "up to 3."),
    s_0=(0.5, "satisfaction 0.5"), stamina=(18.0, "median 18"), stamina_sd=(0.2, "spread 0.2, within [5, 50]"),
    stamina_low=(5.0, "within [5, 50]"), stamina_high=(50.0, "within [5, 50]"),
    click=(1.0, "1 for a click"), dwell=(0.5, "0.5 per minute"),
)  # fmt: skip
LIVE: Stated = dict(
    match=(3.0, "3 u.x"), quality=(0.3, "0.3 q"), level=(-6.0, "- 6 level"), tired=(-0.5, "- 0.5 fatigue[topic]"),
    loyal=(0.3, "0.3 ln(1 + minutes with this streamer)"), h=(6.0, "h = 6 exp(0.2 n - 0.02)"),
    h_sd=(0.2, "h = 6 exp(0.2 n - 0.02)"), c=(0.7, "c = 0.7 exp(0.3 n - 0.045)"), c_sd=(0.3, "c = 0.7 exp(0.3 n - 0.045)"),
    fans=(4, "of 4 streamers"), decay=(0.5, "exp(v_k - 0.5 ln k)"), browsing=(3.0, "browsing has o = 3;"),
    inertia=(1.0, "o = v + 1 "), epoch=(3.0, "cut at 3,"), mean=(-0.5, "exp(-0.5 + 0.8 w)"), slope=(0.8, "exp(-0.5 + 0.8 w)"),
    like=(-7.6, "sigmoid(-7.6 + 0.8 w)"), gift=(-9.5, "sigmoid(-9.5 + 0.8 w + 0.3 ln(1 + minutes with this streamer))"),
    devoted=(0.3, "+ 0.3 ln(1 + minutes with this streamer))"), amount=(1.0, "median 1 and spread 1,"),
    amount_sd=(1.0, "median 1 and spread 1,"), browse=(1.0, "browsing takes 1 minute"),
    adapt=(0.7, "level <- 0.7 level + 0.3"), most_level=(1.0, "within +-1;"), prompt=(1.0, "who is watching costs 1 of it"),
    wait=(1.0, "a step of browsing costs 1,"), recover=(2.0, "2 (minutes / 3) sigmoid(w - 3)"),
    enjoy=(-3.0, "sigmoid(w - 3)"), pull=(0.02, "0.98 u + 0.02 x"), half=(20.0, "halves every 20 minutes"),
    ignored=(0.1, "adds 0.1 to its topic"), most=(3.0, "up to 3."), level_0=(0.4, "level 0.4"), long=(5.0, "reaches 5 minutes"),
    stamina=(10.0, "with median 10 and spread 0.3"), stamina_sd=(0.3, "median 10 and spread 0.3"),
    stamina_low=(2.0, "[2, 40]"), stamina_high=(40.0, "[2, 40]"), budget=(240.0, "median 240 minutes and spread 0.3"),
    budget_sd=(0.3, "median 240 minutes and spread 0.3"), budget_low=(30.0, "[30, 900]"), budget_high=(900.0, "[30, 900]"),
    wallet=(10.0, "median 10 currency units and spread 1"), wallet_sd=(1.0, "median 10 currency units and spread 1,"),
    wallet_low=(0.0, "[0, 1000]"), wallet_high=(1000.0, "[0, 1000]"),
    watch=(0.1, "0.1 per minute of watching"), liked=(1.0, "1 for a like"), given=(2.0, "2 per currency unit"),
)  # fmt: skip


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.asarray(x, np.float64)))


def unit(x: Array) -> Array:
    return x / np.linalg.norm(x)


def fade(x: Array, minutes: float, half_life: float) -> Array:
    return x * 2 ** (-minutes / half_life)


def at_most_one(v: Array, nothing: float, decay: float) -> Array:
    """P(k) of a slate whose empty positions have v = -inf."""
    weight = np.exp(v - decay * np.log(np.arange(1, len(v) + 1)))
    return weight / (np.exp(nothing) + weight.sum())


def close(name: str, got: Any, want: Any) -> None:
    assert np.asarray(got, np.float64) == pytest.approx(np.asarray(want, np.float64), rel=1e-5, abs=2e-5), name


def decided(name: str, got: bool, u: float, p: float) -> None:
    """What happens with probability p happens where the uniform number is below p."""
    assert abs(u - p) < 1e-5 or bool(got) == (u < p), (name, got, u, p)


class Step(SimpleNamespace):
    """One step of one user: what was before, what came of it, and the items of the slate."""

    before: Users
    after: Users
    feedback: Feedback
    world: World
    b: int
    noise: dict[str, Array]  # part -> uniforms of this user
    slate: list[int]  # item of each position, -1 = none
    k: SimpleNamespace  # the constants

    def old(self, name: str) -> Array:
        return np.asarray(self.before[name][self.b], np.float64)

    def new(self, name: str) -> Array:
        return np.asarray(self.after[name][self.b], np.float64)

    def fed(self, name: str) -> Array:
        return np.asarray(self.feedback[name][self.b])

    def attribute(self, name: str, item: int) -> float:
        return float(self.world.catalog[name][item])

    def x(self, item: int) -> Array:
        return self.world.catalog.embedding[item].astype(np.float64)

    def topic(self, item: int) -> int:
        return int(self.world.catalog.topic[item])

    def signal(self, name: str, item: int) -> float:
        market = self.world.market
        row = market.observe(np.array([[item]], np.int32), self.before.clock[self.b : self.b + 1])
        return float(row[0, 0, market.column(name)])

    def weight(self, name: str) -> float:
        """The user's own coefficient of a signal."""
        return float(self.old("sensitivity")[self.world.market.column(name)])

    def shown(self) -> list[int]:
        return [i for i in self.slate if i >= 0]

    def clicks(self) -> list[int]:
        return [i for i, click in zip(self.slate, self.fed("click"), strict=True) if click]

    def pulled(self, interest: Array, rate: float) -> Array:
        for i in self.clicks():
            interest = unit((1 - rate) * interest + rate * self.x(i))
        return interest

    def tired(self, clicked: float, after_minutes: float) -> Array:
        fatigue = fade(self.old("fatigue"), after_minutes, self.k.half)
        for i, click in zip(self.slate, self.fed("click"), strict=True):
            if i >= 0:
                z = self.topic(i)
                fatigue[z] = min(fatigue[z] + (clicked if click else self.k.ignored), self.k.most)
        return fatigue


def shop(step: Step) -> None:
    k, S = step.k, len(step.slate)
    u, level, s = step.old("interest"), float(step.old("level")), float(step.old("satisfaction"))
    price = {i: step.signal("log_price", i) for i in step.shown()}
    v = np.full(S, -np.inf)
    for n, i in enumerate(step.slate):
        if i >= 0:
            z = step.topic(i)
            v[n] = (
                k.match * (u @ step.x(i)) + k.quality * step.attribute("quality", i)
                + k.brand * step.attribute("brand", i) + step.weight("log_price") * price[i] + k.level * level
                + step.weight("popularity") * step.signal("popularity", i)
                + k.satiation * step.old("satiation")[z] + k.tired * step.old("fatigue")[z]
            )  # fmt: skip
    close("utility", step.fed("utility"), v)
    close("clicks", step.fed("probability"), at_most_one(v, k.null, k.decay))
    noise, places = step.noise["response"], len(step.old("cart_item"))
    channels, revenue = step.fed("channels"), 0.0
    for n, i in enumerate(step.slate):
        if step.fed("click")[n]:
            decided("cart", channels[n, 1], noise[n], sigmoid(v[n] - k.cart))
            if channels[n, 1]:
                decided("purchase", channels[n, 2], noise[S + n], sigmoid(v[n] - k.buy - price[i]))
            if channels[n, 2]:
                revenue += 100 * step.signal("price", i)
    bought = [i for i, channel in zip(step.slate, channels, strict=True) if channel[2]]
    for c, i in enumerate(step.before.cart_item[step.b]):
        now = step.fed("bought")[S + c] >= 0
        if i >= 0:
            decided("later", now, noise[2 * S + c], k.later)
        if i >= 0 and now:
            bought.append(int(i))
            revenue += step.old("cart_price")[c]
    assert sorted(bought) == sorted(i for i in step.fed("bought") if i >= 0)
    cart = [i for i, channel in zip(step.slate, channels, strict=True) if channel[1] > channel[2]]
    cart += [i for c, i in enumerate(step.before.cart_item[step.b]) if i >= 0 and step.fed("bought")[S + c] < 0]
    assert [i for i in step.after.cart_item[step.b] if i >= 0] == cart[:places]
    close("objectives", step.fed("objectives"), [channels[:, 0].sum(), channels[:, 1].sum(), len(bought), revenue, s])
    u = step.pulled(u, k.pull)
    close("interest", step.new("interest"), u)
    satiation = fade(step.old("satiation"), k.minutes, k.sated_half)
    for i in (int(i) for i in step.fed("bought") if i >= 0):
        z = step.topic(i)
        other = z + 1 if z % 2 == 0 else z - 1
        satiation[z] = min(satiation[z] + k.sated, k.most_sated)
        satiation[other] = max(satiation[other] - k.other, -k.most_sated)
    close("satiation", step.new("satiation"), satiation)
    fatigue = step.tired(0.0, k.minutes)
    close("fatigue", step.new("fatigue"), fatigue)
    if step.shown():
        level = k.adapt * level + (1 - k.adapt) * np.min([price[i] for i in step.shown()])
        level = min(max(level, -k.most_level), k.most_level)
        worth = [
            k.content + k.good * step.attribute("quality", i) + k.fit * (u @ step.x(i)) - price[i] for i in step.shown()
        ]
        s = k.memory * s + (1 - k.memory) * sigmoid(worth).mean()
    s = max(s - sum(k.regret * sigmoid(-k.bad * step.attribute("quality", i)) for i in bought), 0.0)
    close("level", step.new("level"), level)
    close("satisfaction", step.new("satisfaction"), s)
    leave = sigmoid(k.leave - k.stay * s + k.bored * fatigue.sum())
    decided("leaving", step.fed("left"), step.noise["departure"][0], leave)
    close("clock", step.fed("dt"), k.minutes)


def news(step: Step) -> None:
    k, S = step.k, len(step.slate)
    u, s = step.old("interest"), float(step.old("satisfaction"))
    v = np.full(S, -np.inf)
    for n, i in enumerate(step.slate):
        if i >= 0:
            v[n] = (
                k.match * (u @ step.x(i)) + k.bait * step.attribute("clickbait", i)
                + step.weight("freshness") * step.signal("freshness", i)
                + step.weight("popularity") * step.signal("popularity", i)
                + k.tired * step.old("fatigue")[step.topic(i)]
            )  # fmt: skip
    close("utility", step.fed("utility"), v)
    a, looks = sigmoid(v - k.threshold), 1.0
    for n in range(S):
        close("clicks", step.fed("probability")[n], looks * a[n])
        looks *= a[n] * k.after + (1 - a[n]) * k.on
    noise, channels = step.noise["response"], step.fed("channels")
    total, satisfied = 0.0, 0
    for n, i in enumerate(step.slate):
        if step.fed("click")[n]:
            q, bait = step.attribute("quality", i), step.attribute("clickbait", i)
            mean = k.mu + k.hold * q - k.gap * bait + k.mood * (s - 0.5)
            minutes = min(np.exp(mean + k.sigma * NORMAL(float(noise[n]))), k.longest)
            close("minutes", channels[n, 1] * k.longest, minutes)
            assert abs(minutes - k.enough) < 1e-4 or bool(channels[n, 2]) == (minutes > k.enough)
            if channels[n, 2]:
                decided("share", channels[n, 3], noise[S + n], sigmoid(k.share + k.share_q * q))
            total, satisfied = total + minutes, satisfied + int(channels[n, 2])
    close("minutes", step.fed("objectives")[1], total)
    close("time", step.fed("dt"), k.page + total)
    fast, slow = step.pulled(step.old("short_term"), k.fast), step.pulled(step.old("long_term"), k.slow)
    close("fast", step.new("short_term"), fast)
    close("slow", step.new("long_term"), slow)
    close("interest", step.new("interest"), unit(k.blend * fast + (1 - k.blend) * slow) if step.clicks() else u)
    if step.shown():
        worth = [
            k.content + k.good * step.attribute("quality", i) - k.bad * step.attribute("clickbait", i)
            for i in step.shown()
        ]
        s = k.memory * s + (1 - k.memory) * sigmoid(worth).min()
    close("satisfaction", step.new("satisfaction"), s)
    stamina, spent = float(step.old("stamina")), max(float(step.old("spent")) + k.cost - k.restore * satisfied, 0.0)
    fatigue, pages, away = step.tired(k.clicked, k.page + total), min(float(step.old("pages")) + 1, k.pages), 0.0
    leaving, u_return, u_away = spent >= stamina, *step.noise["departure"]
    returned = bool(step.fed("objectives")[4])
    assert bool(step.fed("left")) == (leaving and not returned)
    if leaving:
        decided("return", returned, u_return, k.back * s**2)
    if returned:
        away = k.soonest + (k.latest - k.soonest) * u_away
        spent = pages = 0.0
        fatigue = fade(fatigue, away, k.half)
    close("patience", step.new("spent"), spent)
    close("pages", step.new("pages"), pages)
    close("fatigue", step.new("fatigue"), fatigue)
    assert float(step.new("clock") - step.old("clock")) == pytest.approx(k.page + total + away, abs=0.02)


def live(step: Step) -> None:
    k, S = step.k, len(step.slate)
    u, level, watching = step.old("interest"), float(step.old("level")), int(step.old("watching"))
    minutes_with = dict(zip(step.before.fan_item[step.b].tolist(), step.old("fan_minutes"), strict=True))

    def worth(i: int) -> float:
        return (
            k.match * (u @ step.x(i)) + k.quality * step.attribute("quality", i)
            + step.weight("heat") * step.signal("heat", i) + step.weight("content") * step.signal("content", i)
            + k.level * level + k.tired * step.old("fatigue")[step.topic(i)]
            + k.loyal * np.log(1 + minutes_with.get(i, 0.0))
        )  # fmt: skip

    v = np.array([worth(i) if i >= 0 and i != watching else -np.inf for i in step.slate])
    o = worth(watching) + k.inertia if watching >= 0 else k.browsing
    close("utility", step.fed("utility"), v)
    close("as before", step.fed("outside"), o)
    close("clicks", step.fed("probability"), at_most_one(v, o, k.decay))
    joined = [n for n in range(S) if step.fed("click")[n]]
    item, w = (step.slate[joined[0]], v[joined[0]]) if joined else (watching, o)
    u_minutes, u_like, u_gift, u_amount = step.noise["response"]
    time, wallet, spent = float(step.old("budget")), float(step.old("wallet")), float(step.old("spent"))
    minutes = liked = gift = enjoyment = 0.0
    if item >= 0:
        left = 600 * step.signal("remaining", item)
        minutes = min(-np.log(u_minutes) * np.exp(k.mean + k.slope * w), k.epoch, left, time)
        liked_before = not joined and step.old("liked") > 0
        liked = bool(step.fed("objectives")[3])
        if liked_before or minutes == 0:
            assert not liked
        else:
            decided("like", bool(liked), u_like, sigmoid(k.like + k.slope * w))
        if minutes > 0:
            devoted = k.devoted * np.log(1 + minutes_with.get(item, 0.0))
            p = sigmoid(k.gift + k.slope * w + devoted)
            decided("gift", step.fed("objectives")[4] > 0 or (wallet == 0 and u_gift < p), u_gift, p)
        if step.fed("objectives")[4] > 0:
            gift = min(k.amount * np.exp(k.amount_sd * NORMAL(float(u_amount))), wallet)
        enjoyment = sigmoid(k.enjoy + w)
    goes_on = item >= 0 and minutes >= k.epoch
    visit = (0.0 if joined else float(step.old("visit"))) + minutes
    long = visit >= k.long and visit - minutes < k.long
    close("objectives", step.fed("objectives"), [len(joined), minutes, long, liked, gift])
    assert int(step.new("watching")) == (item if goes_on else -1)
    close("time", step.new("budget"), time - (minutes if item >= 0 else k.browse))
    close("clock", step.fed("dt"), minutes if item >= 0 else k.browse)
    close("wallet", step.new("wallet"), wallet - gift)
    if item >= 0:
        minutes_with[item] = minutes_with.get(item, 0.0) + minutes
        known = {i: m for i, m in minutes_with.items() if i >= 0}
        if len(known) > k.fans:
            del known[min((i for i in known if i != item), key=lambda i: known[i])]
        now = dict(zip(step.after.fan_item[step.b].tolist(), step.new("fan_minutes"), strict=True))
        assert {i for i in now if i >= 0} == set(known)
        close("fan", [now[i] for i in known], [*known.values()])
    close("interest", step.new("interest"), step.pulled(u, k.pull))
    close("fatigue", step.new("fatigue"), step.tired(0.0, float(step.fed("dt"))))
    seen = [item] if item >= 0 else step.shown()
    if seen:
        level = k.adapt * level + (1 - k.adapt) * np.max([step.signal("heat", i) for i in seen])
        level = min(max(level, -k.most_level), k.most_level)
    close("level", step.new("level"), level)
    spent += k.prompt * (watching >= 0 and len(step.shown()) > 0)
    spent += k.wait if item < 0 else -k.recover * minutes / k.epoch * enjoyment
    spent = max(spent, 0.0)
    close("patience", step.new("spent"), spent)
    gone = spent >= step.old("stamina") or time - (minutes if item >= 0 else k.browse) <= 0
    assert abs(spent - step.old("stamina")) < 1e-4 or bool(step.fed("left")) == gone


DOMAINS = {"Ecommerce": (SHOP, shop), "News": (NEWS, news), "LiveStream": (LIVE, live)}
IDS = [(f"recgym/{name}{suffix}-v0", name) for name in DOMAINS for suffix in ("", "Slate")]


def env_of(id: str) -> RecEnv:
    env = gym.make(id).unwrapped
    assert isinstance(env, RecEnv)
    return env


def constants(name: str) -> SimpleNamespace:
    return SimpleNamespace(**{key: value for key, (value, _) in DOMAINS[name][0].items()})


def random_slates(rng: np.random.Generator, candidates: Array, size: int) -> Array:
    """Different candidates in random order; a position is left empty now and then, at times all of them."""
    order = np.argsort(rng.random(candidates.shape), axis=1)[:, :size]
    slate = np.take_along_axis(candidates, order, axis=1)
    empty = (rng.random(slate.shape) < 0.15) | (rng.random((len(slate), 1)) < 0.05)
    return np.where(empty, -1, slate).astype(np.int32)


def forced(rng: np.random.Generator, slate: Array, single: bool) -> Array:
    """Clicks on about a third of the slates: on one position, or on several where the choice allows it."""
    click = rng.random(slate.shape) < 0.4
    if single:
        click &= np.arange(slate.shape[1]) == rng.integers(0, slate.shape[1], (len(slate), 1))
    return click & (slate >= 0)


@pytest.mark.parametrize(("id", "name"), IDS)
def test_a_step_is_what_the_docstring_says(id: str, name: str) -> None:
    world, check, k = env_of(id).world, DOMAINS[name][1], constants(name)
    rng, users = np.random.default_rng(5), world.arrive(mix(range(B)))
    blocks = {"response": world.blocks.response, "departure": world.blocks.departure}
    happened = np.zeros(len(world.objectives))
    left = 0
    for t in range(STEPS):
        if t % 5 == 1:  # moods that random steps hardly bring about
            users = users.replace(fatigue=(users.fatigue + rng.uniform(0, 1.5, users.fatigue.shape)).astype(np.float32))
            if "level" in users.__dict__:
                most = world.owned["level"].high
                users = users.replace(level=rng.uniform(-most, most, B).astype(np.float32))
            else:
                users = users.replace(spent=(users.stamina - rng.uniform(0, 3, B)).astype(np.float32))
        slate, noise = random_slates(rng, users.candidates, world.slate_size), world.noise(users)
        # The utility makes many outcomes rare: half of them are drawn from uniforms near 0, where they happen.
        rows = blocks["response"]
        near = rng.random((rows.stop - rows.start, B)) < 0.5
        noise[rows] = np.where(near, np.maximum(noise[rows] * rng.choice([0.02, 0.002], near.shape), 1e-6), noise[rows])
        after, feedback = world.step(users, slate, noise, forced(rng, slate, world.choice.single))
        for b in range(B):
            parts = {part: noise[rows, b].astype(np.float64) for part, rows in blocks.items()}
            check(Step(before=users, after=after, feedback=feedback, world=world, b=b, noise=parts,
                       slate=slate[b].tolist(), k=k))  # fmt: skip
        happened += feedback.objectives.sum(axis=0)
        left += int(feedback.left.sum())
        users = after
    assert (happened > 0).all(), dict(zip(world.objectives, happened, strict=True))
    assert left > 0


@pytest.mark.parametrize("name", DOMAINS)
def test_users_arrive_as_the_docstring_says(name: str) -> None:
    world, k, n = env_of(f"recgym/{name}-v0").world, constants(name), 20_000
    users = world.arrive(mix(range(n)))
    signals = {"Ecommerce": {"log_price": "b", "popularity": "c"}, "News": {"freshness": "f", "popularity": "g"},
               "LiveStream": {"heat": "h", "content": "c"}}[name]  # fmt: skip
    for signal, letter in signals.items():
        coefficient = np.abs(users.sensitivity[:, world.market.column(signal)].astype(np.float64))
        mean, spread = getattr(k, letter), getattr(k, f"{letter}_sd")
        assert np.log(coefficient).std() == pytest.approx(spread, rel=0.03)
        assert np.log(coefficient).mean() == pytest.approx(np.log(mean) - spread**2 / 2, abs=5 * spread / np.sqrt(n))
    for trait in ("stamina", "budget", "wallet"):
        if hasattr(k, trait):
            values = users[trait].astype(np.float64)
            low, high, spread = (getattr(k, f"{trait}_{what}") for what in ("low", "high", "sd"))
            assert values.min() >= low
            assert values.max() <= high
            assert world.population.traits[trait][2:] == (low, high)  # type: ignore[attr-defined]
            assert np.median(values) == pytest.approx(getattr(k, trait), rel=8 * spread / np.sqrt(n))
            middle = np.log(np.quantile(values, 0.8413) / np.quantile(values, 0.1587)) / 2
            assert middle == pytest.approx(spread, rel=0.05)
    for column, most in (("level", "most_level"), ("fatigue", "most"), ("satiation", "most_sated"), ("pages", "pages")):
        if hasattr(k, most):  # ranges, whose ends random steps do not reach
            assert world.owned[column].high == getattr(k, most)
    for column, initial in (("level", "level_0"), ("satisfaction", "s_0")):
        if hasattr(k, initial):
            assert (users[column] == np.float32(getattr(k, initial))).all()


@pytest.mark.parametrize("name", DOMAINS)
def test_rewards_are_those_of_the_docstring(name: str) -> None:
    k = constants(name)
    want = {
        "Ecommerce": lambda k: {"click": k.click, "purchase": k.purchase},
        "News": lambda k: {"click": k.click, "dwell": k.dwell},
        "LiveStream": lambda k: {"watch": k.watch, "like": k.liked, "gift": k.given},
    }[name](k)
    for env in (env_of(f"recgym/{name}-v0"), env_of(f"recgym/{name}Slate-v0")):
        names = env.world.objectives
        weights, shown = env.world.reward.weights(names)
        assert {n: w for n, w in zip(names, weights, strict=True) if w} == pytest.approx(want)
        assert shown == 0


@pytest.mark.parametrize("name", DOMAINS)
def test_the_constants_stand_in_the_docstring(name: str) -> None:
    """Each constant that the tests above use is in the words beside it, and these are in the docstring."""
    text = " ".join((getattr(recgym, f"{name}Env", None) or type(env_of(f"recgym/{name}-v0"))).__doc__.split())
    implied = {"half a minute": 0.5, "- satiation[topic]": -1.0, "- fatigue[topic]": -1.0, "f = exp(0.3 n - 0.045)": 1.0,
               "g = exp(0.3 n - 0.045)": 1.0}  # fmt: skip
    for key, (value, words) in DOMAINS[name][0].items():
        assert words in text, (key, words)
        number = f"{abs(value):g}"
        found = re.search(rf"(?<![\d.]){re.escape(number)}(?![\d]|\.\d)", words)
        assert found or implied.get(words) == value, (key, value, words)
        if key in ("b", "c", "h", "f", "g"):  # a log-normal number with that mean
            spread = DOMAINS[name][0][f"{key}_sd"][0]
            assert f"exp({spread:g} n - {spread**2 / 2:g})" in words, (key, words)


@pytest.mark.parametrize("name", DOMAINS)
def test_expected_objectives_are_those_of_the_docstring(name: str) -> None:
    """The mean of what a click leads to, and of what happens without one, from the same equations in closed form."""
    world, k, rng = env_of(f"recgym/{name}Slate-v0").world, constants(name), np.random.default_rng(3)
    users = world.arrive(mix(range(400)))
    for _ in range(6):
        slate = random_slates(rng, users.candidates, world.slate_size)
        users = world.step(users, slate, world.noise(users), forced(rng, slate, world.choice.single))[0]
    items = users.candidates[:, :5]
    v, outside, given, otherwise = world.appraise(users, items)
    v, outside = v.astype(np.float64), outside.astype(np.float64)
    signals = world.market.observe(items, users.clock).astype(np.float64)
    quality = world.catalog["quality"][items].astype(np.float64)
    if name == "Ecommerce":
        s, full = users.satisfaction[:, None].astype(np.float64), users.cart_item >= 0
        later, paid = k.later * full.sum(axis=1), k.later * (full * users.cart_price.astype(np.float64)).sum(axis=1)
        cart = sigmoid(v - k.cart)
        buy = cart * sigmoid(v - k.buy - signals[:, :, world.market.column("log_price")])
        price = 100 * signals[:, :, world.market.column("price")]
        zero = np.zeros(len(users))
        want = np.stack([0 * v + 1, cart, buy + later[:, None], buy * price + paid[:, None], 0 * v + s], axis=2)
        assert otherwise == pytest.approx(np.stack([zero, zero, later, paid, s[:, 0]], axis=1), rel=1e-4, abs=1e-7)
        assert full.any()
    elif name == "News":
        bait = world.catalog["clickbait"][items].astype(np.float64)
        mean = k.mu + k.hold * quality - k.gap * bait + k.mood * (users.satisfaction[:, None] - 0.5)
        cdf = np.vectorize(NormalDist().cdf)
        end = np.log(k.longest)
        minutes = np.exp(mean + k.sigma**2 / 2) * cdf((end - mean - k.sigma**2) / k.sigma)
        minutes += k.longest * cdf((mean - end) / k.sigma)
        content = cdf((mean - np.log(k.enough)) / k.sigma)
        want = np.stack([0 * v + 1, minutes, content, content * sigmoid(k.share + k.share_q * quality), 0 * v], axis=2)
        assert not otherwise.any()
    else:
        on_screen = users.watching[:, None]
        w = np.concatenate([v, outside[:, None]], axis=1)
        shown = np.concatenate([items, on_screen], axis=1)
        there = (shown >= 0) & (w > -np.inf)
        now = world.market.observe(shown, users.clock).astype(np.float64)
        most = np.minimum(600 * now[:, :, world.market.column("remaining")], users.budget[:, None].astype(np.float64))
        most, mean = np.minimum(most, k.epoch), np.exp(k.mean + k.slope * np.where(there, w, 0.0))
        minutes = mean * (1 - np.exp(-most / mean))
        before = np.zeros(shown.shape)
        before[:, -1] = users.visit
        reaches = (before < k.long) & (k.long - before <= most)
        long = np.where(reaches, np.exp(-np.maximum(k.long - before, 0) / mean), 0.0)
        free = np.ones(shown.shape)
        free[:, -1] = users.liked == 0
        like = free * sigmoid(k.like + k.slope * np.where(there, w, 0.0))
        same = (users.fan_item[:, None] == shown[:, :, None]) & (shown >= 0)[:, :, None]
        together = (same * users.fan_minutes[:, None].astype(np.float64)).sum(axis=2)
        cdf = np.vectorize(NormalDist().cdf)
        wallet, middle = users.wallet[:, None].astype(np.float64), np.log(k.amount)
        end = (np.log(wallet) - middle) / k.amount_sd
        money = np.exp(middle + k.amount_sd**2 / 2) * cdf(end - k.amount_sd) + wallet * cdf(-end)
        gift = money * sigmoid(k.gift + k.slope * np.where(there, w, 0.0) + k.devoted * np.log(1 + together))
        joins = np.ones(shown.shape)
        joins[:, -1] = 0.0
        every = np.where(
            (there & (most > 0))[:, :, None], np.stack([0 * minutes, minutes, long, like, gift], axis=2), 0.0
        )
        every[:, :, 0] = joins
        want = every[:, :-1]
        assert otherwise == pytest.approx(every[:, -1], rel=1e-4, abs=1e-7)
        assert (on_screen >= 0).any()
        assert long[:, -1].any()
        assert together.any()
    there = items >= 0
    assert given[there] == pytest.approx(want[there], rel=1e-4, abs=1e-7)
