"""Markets and candidate sources against brute force from their own arrays."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recgym import Catalog, ConfigError, load_world, mix
from recgym.market import (
    LiveMarket,
    Market,
    NewsMarket,
    ShopMarket,
    StaticMarket,
    alive,
    click_rates,
    draw_lives,
    logged,
    prime_factors,
)
from recgym.models.candidates import All, CandidateSource, Retrieval, Uniform, _sort
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Never
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import Population, TopicMixture
from recgym.testing import check_component, random_slates
from recgym.types import Array
from recgym.world import World

WorldOf = Callable[..., World]
MINUTES = [0.0, 0.5, 29.75, 30.0, 719.875, 720.0, 1439.5, 1440.0, 5000.25, 10_079.75, 10_080.0, 113_000.5, 120_959.875]


def observe(market: Market, minute: float) -> Array:
    """(N, F) signals of all items at one time."""
    n = int(market.listed.max()) + 1
    items = np.arange(n, dtype=np.int32)[None]
    return market.observe(items, np.array([minute], np.float32))[0]


def market_of(world: World, kind: type[Any]) -> Any:
    assert isinstance(world.market, kind)
    return world.market


@pytest.mark.parametrize("minute", MINUTES)
def test_shop_signals_by_hand(world_of: WorldOf, minute: float) -> None:
    market = market_of(world_of("ecommerce"), ShopMarket)
    got, week = observe(market, minute), int(minute // 10_080)
    on_sale = 0
    for i in range(0, len(got), 10):
        start, end, depth = market.promotion[i, week]
        discount = float(depth) if start <= minute % 10_080 < end else 0.0
        on_sale += discount > 0
        assert got[i, 0] == pytest.approx(float(market.log_price[i]) + math.log(1 - discount), abs=1e-6)
        assert got[i, 1] == pytest.approx(discount)
        assert got[i, 2] == pytest.approx(float(market.price[i]) * (1 - discount) / 100)
        assert got[i, 3] == market.popularity[i, week]
        assert got[i, 4] == market.click_rate[i, week]
    assert not 700 < minute % 10_080 < 10_000 or on_sale > 0


def shop(**fields: Any) -> ShopMarket:
    """One item in one part of the calendar."""
    one: dict[str, Any] = dict(
        slot=1440.0, offsets=[0, 1], listed=[0], log_price=[0.25], price=[20.0], promotion=[[[100.0, 200.0, 0.5]]],
        popularity=[[0.5]], click_rate=[[-0.5]],
    )  # fmt: skip
    return ShopMarket(**one | fields)


def test_a_promotion_begins_and_ends_to_the_minute() -> None:
    market = shop()
    discount = [float(observe(market, minute)[0, 1]) for minute in (99.0, 100.0, 199.0, 200.0, 1540.0)]
    assert discount == [0.0, 0.5, 0.5, 0.0, 0.5]  # and again a period later
    assert observe(market, 150.0)[0].tolist() == pytest.approx([0.25 + math.log(0.5), 0.5, 0.1, 0.5, -0.5])


def draw_shop(rng: np.random.Generator, n: int, **options: Any) -> ShopMarket:
    log_price = rng.normal(0, 0.3, n)
    return ShopMarket.draw(rng, log_price, 30 * np.exp(log_price), np.full(n, 0.04), **options)


@pytest.mark.parametrize("promotions", [0.0, 0.3, 1.0])
def test_promotions_lie_inside_their_weeks(rng: np.random.Generator, promotions: float) -> None:
    market = draw_shop(rng, 200, promotions=promotions)
    start, end, discount = np.moveaxis(market.promotion, 2, 0)
    assert start.shape == (200, 12)
    assert (start >= 0).all()
    assert ((end - start >= 719) & (end - start <= 2881)).all()
    assert (end <= 10_080).all()
    assert (discount > 0).mean() == pytest.approx(promotions, abs=0.05)


@pytest.mark.parametrize(
    "options",
    [
        {"promotions": 30}, {"promotions": -1}, {"discount": -0.5}, {"stock_outs": 1.5}, {"slot": 1000.0}, {"slot": 0},
        {"weeks": 2}, {"weeks": 53}, {"weeks": 3.5}, {"life": 0.5}, {"life": 53},
    ],
)  # fmt: skip
def test_shop_draw_says_what_makes_no_sense(rng: np.random.Generator, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        draw_shop(rng, 50, **options)


def test_shop_stock_outs(rng: np.random.Generator) -> None:
    full, market = (draw_shop(np.random.default_rng(3), 4000, stock_outs=x) for x in (0.0, 0.25))
    assert len(market.listed) / len(full.listed) == pytest.approx(0.75, abs=0.01)
    for minute in MINUTES:
        assert np.isin(market.available(minute), full.available(minute)).all()
    for weeks in (3, 52):
        assert draw_shop(rng, 10, weeks=weeks).period == weeks * 10_080


def test_shop_without_promotions(rng: np.random.Generator) -> None:
    for options in ({"promotions": 0.0}, {"discount": 0.0}):
        market = draw_shop(rng, 10, **options)
        assert not np.concatenate([observe(market, minute)[:, 1] for minute in MINUTES]).any()


# --- births, deaths and what is known of an item


def lives(market: Market, items: int) -> list[Array]:
    """The slots in which each item is available, in the order of its life: the longest gap comes before it."""
    slots = len(market.offsets) - 1
    slot = np.repeat(np.arange(slots), np.diff(market.offsets))
    found = []
    for i in range(items):
        there = slot[market.listed == i]
        gap = np.diff(there, append=there[:1] + slots)
        found.append(np.roll(there, -1 - int(gap.argmax())))
    return found


@pytest.mark.parametrize("name", ["ecommerce", "livestream"])
def test_items_live_weeks_and_are_listed_only_in_their_lives(name: str) -> None:
    """A life is a week at least, four on average and ten at most; each item is unavailable for more than a week in a row."""
    world = load_world(name, items=600, candidates=5)
    market = world.market
    week = round(10_080 / market.slot)
    length = np.array([(x[-1] - x[0]) % (12 * week) for x in lives(market, 600)]) / week
    assert 5 / 7 < length.min() < 1.2
    assert 9 < length.max() <= 10
    assert length.mean() == pytest.approx(3.8, abs=0.4)
    by_week = np.diff(market.offsets[::week])
    assert by_week.max() < 1.5 * by_week.min()


def test_a_streamer_is_on_air_at_the_same_time_on_each_day_of_its_life() -> None:
    market = market_of(load_world("livestream", items=100, candidates=5), LiveMarket)
    for i, there in enumerate(lives(market, 100)):
        minute = (market.slot * there - market.start[i]) % market.period
        assert (minute % 1440 < market.duration[i]).all()
        per_day = np.unique(minute // 1440, return_counts=True)
        assert (per_day[1] == market.duration[i] / market.slot).all()
        days = np.sort((per_day[0] - per_day[0][np.diff(per_day[0], prepend=per_day[0][-1] - 84).argmax()]) % 84)
        assert (days == np.arange(len(days))).all()
        assert 7 <= len(days) <= 70


def test_about_as_many_items_are_available_at_any_time() -> None:
    """2000 of the shop, 285 articles; of the streamers more in the evening."""
    for name, low, high in (("ecommerce", 1700, 2000), ("news", 220, 340), ("livestream", 20, 450)):
        counts = np.diff(load_world(name).market.offsets)
        assert low < counts.min() < counts.max() < high


@pytest.mark.parametrize("name", ["ecommerce", "news", "livestream"])
@pytest.mark.parametrize("items", [1, 5, 25])
def test_few_items_make_a_world(name: str, items: int) -> None:
    """Also where nothing is available at times."""
    world = load_world(name, items=items, candidates=1, weeks=(0, 12))
    users = world.arrive(mix(range(2000)))
    empty = users.candidates[:, 0] < 0
    there = np.array([len(world.market.available(float(clock))) > 0 for clock in users.clock])
    assert (empty == ~there).all()
    assert there.any()
    for _ in range(5):
        users, feedback = world.step(users, users.candidates, world.noise(users))
        assert not feedback.click[feedback.slate < 0].any()


@pytest.mark.parametrize("kind", [ShopMarket, LiveMarket])
def test_nothing_is_known_of_a_newborn(kind: type[Any]) -> None:
    """In the week of its birth; later, of most."""
    n, rng = 500, np.random.default_rng(5)
    rate = np.clip(0.04 * np.exp(0.7 * rng.standard_normal(n)), 0.001, 0.5)
    if kind is ShopMarket:
        market: Any = ShopMarket.draw(rng, np.zeros(n), np.full(n, 9.0), rate, stock_outs=0.0)
    else:
        market = LiveMarket.draw(rng, np.zeros(n), rate)
    week = round(10_080 / market.slot)
    known, score, truth = [], [], []
    for i, there in enumerate(lives(market, n)):
        birth, age = int(there[0] // week), (there[-1] - there[0]) % (12 * week) / week
        assert market.click_rate[i, birth] == 0
        if kind is ShopMarket:
            assert market.popularity[i, birth] == 0
            assert market.popularity[i, (birth - 1) % 12] == 0, "nothing before the birth either"
        if age > 4:
            last = (birth + 4) % 12
            known.append(market.click_rate[i, last] != 0)
            score.append(market.click_rate[i, last])
            truth.append(math.log(rate[i]))
    assert len(known) > 100
    assert np.mean(known) > 0.99
    assert np.corrcoef(score, truth)[0, 1] > 0.7


def test_nothing_is_known_of_a_new_article_and_much_of_an_old_one(rng: np.random.Generator) -> None:
    n = 400
    appeal = rng.standard_normal(n)
    rate = np.clip(0.04 * np.exp(0.7 * appeal), 0.001, 0.5)
    market = NewsMarket.draw(rng, np.zeros(n, np.int32), appeal, 1, rate)
    assert not market.click_rate[:, 0].any()
    of_age = [np.corrcoef(market.click_rate[:, s], np.log(rate))[0, 1] for s in (4, 20, 95)]
    assert 0 < of_age[0] < of_age[1] < of_age[2]
    assert of_age[2] > 0.85
    dull = NewsMarket.draw(rng, np.zeros(n, np.int32), appeal, 1, np.full(n, 0.04))
    assert np.corrcoef(dull.click_rate[:, 95], appeal)[0, 1] == pytest.approx(0, abs=0.2)  # views are no clicks


def population_of_items(n: int = 2000, periods: int = 12, seed: int = 4) -> tuple[Array, Array]:
    """Click rates and the shares of the periods in which the items are alive."""
    rng = np.random.default_rng(seed)
    birth, length = draw_lives(rng, n, periods, 4.0, 7)
    return np.clip(0.04 * np.exp(0.7 * rng.standard_normal(n)), 0.001, 0.5), alive(birth / 7, length / 7, periods)


def test_shares_of_periods_by_hand() -> None:
    share = alive(np.array([0.0, 1.5, 3.25]), np.array([2.0, 1.25, 1.5]), 4)
    assert share.tolist() == [[1, 1, 0, 0], [0, 0.5, 0.75, 0], [0.75, 0, 0, 0.75]]


def test_statistics_do_not_depend_on_what_comes_after() -> None:
    rate, share = population_of_items()
    views, clicks = logged(np.random.default_rng(1), rate, share)
    for w in (1, 5, 11):
        other = share.copy()
        other[:, w:] = np.random.default_rng(2).random((len(rate), 12 - w))
        found = logged(np.random.default_rng(1), rate, other)
        assert np.array_equal(found[0][:, :w], views[:, :w])
        assert np.array_equal(found[1][:, :w], clicks[:, :w])
    again = logged(np.random.default_rng(1), rate, share)
    assert np.array_equal(again[0], views)
    assert not np.array_equal(logged(np.random.default_rng(2), rate, share)[0], views)


def test_statistics_grow_through_a_life_and_end_with_it() -> None:
    rate, share = population_of_items()
    views, clicks = logged(np.random.default_rng(1), rate, share)
    assert (clicks <= views).all()
    assert not views[:, 0].any()
    assert not views[share == 0].any()
    newborn = (share[:, :-1] == 0) & (share[:, 1:] > 0)
    assert newborn.any()
    assert not views[:, 1:][newborn].any()
    living = (share[:, :-1] > 0) & (share[:, 1:] > 0)
    assert (np.diff(views, axis=1)[living] >= 0).all()
    assert (np.diff(clicks, axis=1)[living] >= 0).all()
    shown = np.diff(views, axis=1)[living].sum() / share[:, :-1][living].sum()
    assert shown == pytest.approx(100, rel=0.15)  # impressions of an item that is alive for a period
    assert clicks[:, -1].sum() / (rate * views[:, -1]).sum() == pytest.approx(1, abs=0.05)


def gini(x: Array) -> float:
    x = np.sort(x.astype(np.float64))
    n = len(x)
    return float((2 * np.arange(1, n + 1) - n - 1) @ x / (n * x.sum()))


def test_success_feeds_on_itself() -> None:
    """Views are more unequal than the click rates that they follow, and items of one rate part as well."""
    n = 1000
    rate, everything = population_of_items(n)[0], np.ones((n, 12))
    fair, herding = (logged(np.random.default_rng(1), rate, everything, herd=h)[0][:, -1] for h in (0.0, 2.0))
    assert gini(fair) < 0.1
    assert gini(herding) > gini(rate) + 0.1
    same = np.full(n, 0.04)
    apart = [gini(logged(np.random.default_rng(1), same, everything, herd=h)[0][:, -1]) for h in (0.0, 2.0)]
    assert apart[1] > 5 * apart[0]


def test_click_rates_by_hand() -> None:
    views, clicks = np.array([0, 100, 1000, 1000, 5]), np.array([0, 4, 400, 0, 0])
    got = click_rates(views, clicks, 0.04)
    want = [0, 0, math.log(405 / 45) / 2, math.log(5 / 45) / 2, math.log(5 / 5.2) / 2]
    assert got.tolist() == pytest.approx(np.clip(want, -1, 1).tolist(), abs=1e-6)
    assert got.dtype == np.float32


def test_a_period_without_items_is_survived() -> None:
    share = np.zeros((3, 4), np.float32)
    share[:, 2] = 1
    views, clicks = logged(np.random.default_rng(0), np.full(3, 0.1), share)
    assert not views.any()
    assert not clicks.any()


# --- news and live streams


@pytest.mark.parametrize("minute", MINUTES)
def test_news_signals_and_list_by_hand(world_of: WorldOf, minute: float) -> None:
    market = market_of(world_of("news"), NewsMarket)
    got, life = observe(market, minute), market.popularity.shape[1]
    assert got[:, 2].min() < 1
    available = []
    for i in range(0, len(got), 20):
        age = (minute - float(market.published[i])) % market.period
        slot = min(int(age // market.slot), life - 1)
        level = float(market.popularity[i, slot])
        assert got[i, 0] == pytest.approx(0.5 ** (age / float(market.half_life[i])), rel=1e-5, abs=1e-7)
        assert got[i, 1] == pytest.approx(math.log(1 + level) / 4, rel=1e-5)
        assert got[i, 2] == pytest.approx(min(age / (life * market.slot), 1), abs=1e-6)
        assert got[i, 3] == market.click_rate[i, slot]
        slot_age = (math.floor(minute / market.slot) * market.slot - float(market.published[i])) % market.period
        if slot_age < life * market.slot:
            available.append(i)
    listed = market.available(minute)
    assert listed[listed % 20 == 0].tolist() == available
    assert 0 < len(available) < len(got) / 20


def test_news_is_published_on_slot_boundaries_and_mostly_by_day(world_of: WorldOf) -> None:
    market = market_of(world_of("news"), NewsMarket)
    assert (market.published % market.slot == 0).all()
    hour = (market.published % 1440) // 60
    assert ((hour >= 8) & (hour < 20)).mean() > 2 * ((hour >= 22) | (hour < 4)).mean()


def test_breaking_news_lifts_a_topic(rng: np.random.Generator) -> None:
    topic = np.repeat(np.arange(4, dtype=np.int32), 100)
    rate = np.full(400, 0.04)
    calm = NewsMarket.draw(np.random.default_rng(1), topic, np.zeros(400), 4, rate, weeks=1, breaking=0)
    loud = NewsMarket.draw(np.random.default_rng(1), topic, np.zeros(400), 4, rate, weeks=1, breaking=5)
    lift = loud.popularity - calm.popularity
    assert (lift >= -1e-4).all()
    assert lift.max() > 2.0
    by_topic = [lift[topic == z].max() for z in range(4)]
    assert min(by_topic) < max(by_topic)
    # Of 19 or less in the minute of the event, and a 256th of that a day later; all articles of the topic at one time alike.
    shown = calm.published[:, None] + 30 * np.arange(96)
    free = loud.popularity < 50
    for z in range(4):
        here = (topic == z)[:, None] & free
        by_time = [lift[here & (shown % 10_080 == t)] for t in np.unique(shown[here] % 10_080)]
        assert max(float(np.ptp(x)) for x in by_time) < 1e-3


@pytest.mark.parametrize("minute", MINUTES)
def test_live_signals_and_list_by_hand(world_of: WorldOf, minute: float) -> None:
    market = market_of(world_of("livestream"), LiveMarket)
    got = observe(market, minute)
    on_air = []
    for i in range(0, len(got), 10):
        age = (minute - float(market.start[i])) % 1440
        week = int(minute // 10_080)
        duration, highlight = float(market.duration[i]), float(market.highlight[i])
        lit = highlight <= age < highlight + 15
        heat = float(market.audience[i]) * (1 - 0.7 * math.exp(-age / 20)) * (1.0 if lit else 0.7)
        period, phase = map(float, market.rhythm[i])
        content = min(0.7 * math.sin(2 * math.pi * age / period + phase) + 0.6 * lit, 1.0)
        want = [heat, min(age / 600, 1), content, max(duration - age, 0) / 600, market.click_rate[i, week]]
        assert got[i].tolist() == pytest.approx(want, abs=2e-4)
        if (math.floor(minute / market.slot) * market.slot - float(market.start[i])) % 1440 < duration:
            on_air.append(i)
    listed = market.available(minute)
    listed = listed[listed % 10 == 0]
    assert np.isin(listed, on_air).all()
    assert 0.2 * len(on_air) < len(listed) < 0.5 * len(on_air)  # the others have not begun, or have ended


def test_whoever_is_on_air_has_time_left(world_of: WorldOf) -> None:
    market = market_of(world_of("livestream"), LiveMarket)
    for minute in np.arange(80 * 1440, 81 * 1440, 2.5):
        listed = market.available(float(minute))
        remaining = market.observe(listed[None], np.array([minute], np.float32))[0, :, 3]
        assert (remaining > 0).all()


def test_contracts(world: World) -> None:
    check_component(world.market, world)
    for source in (Retrieval(), Retrieval(30, 1), Uniform(7), All()):
        check_component(source, world)


def test_signals_against_float64_at_any_time(world: World, rng: np.random.Generator) -> None:
    """The formulas of the docstrings in float64: the signals differ from them in their last bits."""
    market, items = world.market, rng.integers(0, len(world.catalog), (300, 7)).astype(np.int32)
    clock = (rng.integers(0, int(24 * market.period), 300) / 8).astype(np.float32)  # ages are then exact in float32
    clock[:100] = rng.integers(11 * 80_640, 12 * 80_640, 100) / 8  # in the last week of the calendar
    minute = clock.astype(np.float64)[:, None] % market.period
    week = (minute // 10_080).astype(int)
    if isinstance(market, ShopMarket):
        start, end, depth = np.moveaxis(market.promotion[items, week].astype(np.float64), 2, 0)
        discount = depth * ((start <= minute % 10_080) & (minute % 10_080 < end))
        want = [
            market.log_price[items] + np.log1p(-discount), discount, market.price[items] * (1 - discount) / 100,
            market.popularity[items, week], market.click_rate[items, week],
        ]  # fmt: skip
    elif isinstance(market, NewsMarket):
        age = (minute - market.published[items]) % market.period
        life = market.popularity.shape[1]
        slot = np.minimum(age // market.slot, life - 1).astype(int)
        level = market.popularity[items, slot].astype(np.float64)
        want = [
            np.exp2(-age / market.half_life[items]), np.log1p(level) / 4, np.minimum(age / (life * market.slot), 1),
            market.click_rate[items, slot],
        ]  # fmt: skip
    else:
        assert isinstance(market, LiveMarket)
        age = (minute - market.start[items]) % 1440
        highlight, (period, phase) = market.highlight[items], np.moveaxis(market.rhythm[items].astype(np.float64), 2, 0)
        lit = (highlight <= age) & (age < highlight + 15)
        heat = market.audience[items] * (1 - 0.7 * np.exp(-age / 20)) * (0.7 + 0.3 * lit)
        content = np.minimum(0.7 * np.sin(2 * np.pi * age / period + phase) + 0.6 * lit, 1)
        remaining = np.maximum(market.duration[items] - age, 0) / 600
        want = [heat, np.minimum(age / 600, 1), content, remaining, market.click_rate[items, week]]
    got = market.observe(items, clock)
    for f, signal in enumerate(market.signals):
        np.testing.assert_allclose(got[:, :, f], want[f], rtol=1e-6, atol=5e-7, err_msg=signal.name)


def test_signals_of_a_batch_are_those_of_single_users(world: World, rng: np.random.Generator) -> None:
    """Vector lanes or one number at a time: the same bits."""
    items = rng.integers(-1, len(world.catalog), (50, 7)).astype(np.int32)
    clock = rng.uniform(0, world.market.period, 50).astype(np.float32)
    together = world.market.observe(items, clock)
    for b in range(50):
        assert together[b].tobytes() == world.market.observe(items[b : b + 1], clock[b : b + 1]).tobytes()
        assert together[b, 3].tobytes() == world.market.observe(items[b : b + 1, 3:4], clock[b : b + 1]).tobytes()


def test_popularity_changes_to_the_minute_where_a_slot_begins() -> None:
    """Also for slots whose inverse is no float32; just before, the level is that of the slot before."""
    for slot in (7.0, 30.0, 49.0, 0.1):
        n = 200
        level = np.arange(n, dtype=np.float64)[None] / 4
        market = NewsMarket(slot, np.array([0] * n + [1]), np.array([0]), [0.0], [60.0], level, 0 * level)  # type: ignore[arg-type]
        starts = (slot * np.arange(1, n)).astype(np.float32)
        for clock in (starts, np.nextafter(starts, np.float32(0)), np.nextafter(starts, np.float32(1e9))):
            got = market.observe(np.zeros((n - 1, 1), np.int32), clock)[:, 0, 1]
            want = np.log1p(np.floor(clock.astype(np.float64) / slot) / 4) / 4
            np.testing.assert_allclose(got, want, rtol=1e-6)


def test_times_outside_the_calendar_and_tiny_periods() -> None:
    """Publication before the first or after the last minute counts modulo the calendar; no number overflows."""
    offsets, listed = np.array([0, 4, 4]), np.arange(4)
    for published in (90.0, -110.0, 290.0, 10_090.0):
        times = np.full(4, published)
        half_life = np.array([1e-40, 1e-3, 60.0, 1e9])
        market = NewsMarket(100.0, offsets, listed, times, half_life, np.ones((4, 2)), np.ones((4, 2)))  # type: ignore[arg-type]
        got = market.observe(np.arange(4, dtype=np.int32)[None], np.array([120.0], np.float32))[0]
        assert got[:, 2].tolist() == pytest.approx([30 / 200] * 4)
        assert got[:, 0].tolist() == pytest.approx([0, 0, 2**-0.5, 1])
    for start in (90.0, 90.0 - 1440, 90.0 + 3 * 1440):
        market = LiveMarket(
            1440.0, offsets, listed, np.full(4, start), np.full(4, 60.0), np.ones(4), np.full((4, 2), 1e-40), np.zeros(4),
            np.zeros((4, 1)),
        )  # fmt: skip
        got = market.observe(np.arange(4, dtype=np.int32)[None], np.array([120.0], np.float32))[0]
        assert got[:, 3].tolist() == pytest.approx([30 / 600] * 4)
        assert (np.abs(got[:, 2]) <= 1).all()


def test_the_market_does_not_see_the_users(world: World) -> None:
    """Signals and availability are functions of (item, clock): the same before and after users have acted."""
    items = np.arange(50, dtype=np.int32)[None]
    clock = np.array([777.0], np.float32)
    before = world.market.observe(items, clock)
    users = world.arrive(mix(range(4)))
    for _ in range(10):
        users, _ = world.step(users, users.candidates[:, :3].copy(), world.noise(users))
    assert np.array_equal(before, world.market.observe(items, clock))


# --- candidates


def sample(source: CandidateSource, world: World, users: int, seed: int = 0) -> tuple[Array, Any]:
    rng = np.random.default_rng(seed)
    arrived = world.arrive(mix(range(users)))
    noise = rng.random((2, users), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    return source(arrived, world.catalog, world.market, noise), arrived


@pytest.mark.parametrize("source", [Retrieval(), Retrieval(50, 40), Retrieval(20, 1), Uniform(20), Uniform(100)])
def test_retrieval_offers_distinct_available_items(world: World, source: CandidateSource) -> None:
    found, users = sample(source, world, 300)
    assert found.shape == (300, source.count(len(world.catalog)))
    for row, clock in zip(found, users.clock, strict=True):
        listed = world.market.available(float(clock))
        offered = row[row >= 0]
        assert len(offered) == len(set(offered.tolist())) == min(len(row), len(listed))
        assert np.isin(offered, listed).all()


def test_all_offers_each_available_item_at_its_own_place(world: World) -> None:
    found, users = sample(All(), world, 20)
    for row, clock in zip(found, users.clock, strict=True):
        assert np.flatnonzero(row >= 0).tolist() == world.market.available(float(clock)).tolist()
        assert (row[row >= 0] == np.flatnonzero(row >= 0)).all()


@pytest.mark.parametrize("n", [1, 2, 3, 7, 12, 30])
@pytest.mark.parametrize("source", [Retrieval(7, 4), Uniform(7)])
def test_every_available_item_can_be_reached(world_of: WorldOf, n: int, source: CandidateSource) -> None:
    """Whatever the number of available items, each is offered sometimes, and the right number of them."""
    world = world_of("ecommerce")
    listed = np.arange(5, 5 + 3 * n, 3)
    world = world.replace(
        market=StaticMarket(1440.0, np.array([0, n]), listed),
        candidates=source,
        population=no_sensitivity(world.population),
        **PLAIN,
    )
    found, _ = sample(source, world, 3000)
    assert (np.sort(np.unique(found[found >= 0])) == listed).all()
    assert ((found >= 0).sum(axis=1) == min(n, 7)).all()
    counts = np.bincount(found[found >= 0], minlength=5 + 3 * n)[listed]
    if isinstance(source, Uniform):
        assert counts.max() < 1.3 * counts.min() + 100


PLAIN: dict[str, Any] = dict(
    preference=DotProduct(4.0), response=Clicks(), dynamics=(), departure=Never(), reward=Weighted()
)  # nothing that reads prices


def no_sensitivity(population: Population) -> Population:
    return dataclasses.replace(population, sensitivity={})


def test_uniform_places_are_uniform(world_of: WorldOf) -> None:
    world = world_of("ecommerce").replace(candidates=Uniform(5))
    n = 25
    world = world.replace(market=StaticMarket.of(n), population=no_sensitivity(world.population), **PLAIN)
    found, _ = sample(Uniform(5), world, 20_000)
    for k in range(5):
        counts = np.bincount(found[:, k], minlength=n)
        chi = ((counts - 800) ** 2 / 800).sum()
        assert chi < 24 + 6 * math.sqrt(48)


def test_retrieval_matches_the_profile_better_than_chance(world: World) -> None:
    def match(source: CandidateSource) -> float:
        found, users = sample(source, world, 500)
        known = users.known > 0
        return float(np.einsum("bkd,bd->bk", world.catalog.embedding[found[known]], users.profile[known]).mean())

    random, two, eight = match(Uniform(20)), match(Retrieval(20, 2)), match(Retrieval(20, 8))
    _, users = sample(Uniform(20), world, 500)
    level = float(mean_match(world, users)[users.known > 0].mean())
    assert random == pytest.approx(level, abs=0.012)  # 10,000 draws of a standard deviation of 0.25, not independent
    assert random + 0.05 < two < eight - 0.05


def mean_match(world: World, users: Any) -> Array:
    """(B,) match of each user's profile to all items available at the time."""
    mean = [world.catalog.embedding[world.market.available(float(clock))].mean(axis=0) for clock in users.clock]
    return np.einsum("bd,bd->b", np.array(mean), users.profile)


def with_clicks(world: World, users: Any, seed: int = 0) -> Any:
    """The users with 0 to 10 clicked items each, at random."""
    rng = np.random.default_rng(seed)
    history = rng.integers(0, len(world.catalog), users.history.shape, dtype=np.int32)
    return users.replace(history=np.where(np.arange(10) < rng.integers(0, 11, (len(history), 1)), history, -1))


def query_of(world: World, users: Any) -> Array:
    """(B, d) profile plus mean embedding of the history."""
    rows = [world.catalog.embedding[row[row >= 0]] for row in users.history]
    zero = np.zeros(users.profile.shape[1])
    return users.profile + np.array([row.mean(axis=0, dtype=np.float64) if len(row) else zero for row in rows])


@pytest.mark.parametrize("source", [Retrieval(), Retrieval(33, 8), Retrieval(500, 1)])
def test_retrieval_gives_the_best_match_first(world: World, source: Retrieval) -> None:
    """The same items as the walk finds, in the order of the match to profile and history."""
    users = with_clicks(world, world.arrive(mix(range(200))))
    noise = np.random.default_rng(1).random((2, 200), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    found = source(users, world.catalog, world.market, noise)
    match = np.einsum("bkd,bd->bk", world.catalog.embedding[found], query_of(world, users))
    for row, score in zip(found, match, strict=True):
        n = int((row >= 0).sum())
        assert (row[n:] == -1).all()
        assert (np.diff(score[:n]) <= 1e-6).all()
    if source.pool == 1:  # then the query decides the order alone
        unsorted = Uniform(source.candidates)(users, world.catalog, world.market, noise)
        np.testing.assert_array_equal(np.sort(found, axis=1), np.sort(unsorted, axis=1))


def test_retrieval_keeps_the_order_of_equal_matches(world: World) -> None:
    users = world.arrive(mix(range(200)))
    users = users.replace(profile=np.zeros_like(users.profile))  # nothing is known, and all scores are 0
    noise = np.random.default_rng(1).random((2, 200), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    found, drawn = (source(users, world.catalog, world.market, noise) for source in (Retrieval(50, 1), Uniform(50)))
    np.testing.assert_array_equal(found, drawn)


def test_clicks_bring_users_without_a_profile_what_they_click(world: World) -> None:
    users = world.arrive(mix(range(1000)))
    users = users.rows(users.known == 0)
    topic = world.catalog.topic
    liked = np.random.default_rng(0).integers(0, world.catalog.n_topics, len(users))
    history = users.history.copy()
    history[:, :3] = [np.flatnonzero(topic == z)[:3] for z in liked]
    noise = np.random.default_rng(1).random((2, len(users)), np.float32).clip(2.0**-24, 1 - 2.0**-24)
    shares = []
    for one in (users, users.replace(history=history)):
        found = Retrieval()(one, world.catalog, world.market, noise)
        shares.append(float((topic[found[:, :5]] == liked[:, None]).mean()))
    assert shares[0] < 0.1
    assert shares[1] > 0.4


def test_sorting_many_candidates_takes_no_square_of_their_number() -> None:
    K = 300_000  # of which insertion would move 2 * 10^10 numbers
    rng = np.random.default_rng(0)
    score = rng.integers(0, 1000, (2, K)).astype(np.float32)
    items = np.tile(np.arange(K, dtype=np.int32), (2, 1))
    order = np.argsort(-score, axis=1, kind="stable")
    _sort(items, score, items.copy(), score.copy(), items.copy())
    np.testing.assert_array_equal(items, order)


def test_users_without_a_profile_get_random_items(world_of: WorldOf) -> None:
    world = world_of("ecommerce")
    found, users = sample(Retrieval(20, 8), world, 3000)
    cold = users.known == 0
    assert 100 < cold.sum() < 600
    match = np.einsum("bkd,bd->bk", world.catalog.embedding[found[cold]], users.interest[cold]).mean()
    level = mean_match(world, users.replace(profile=users.interest))[cold].mean()
    assert match == pytest.approx(level, abs=0.015)


@pytest.mark.parametrize("slot", [7.0, 45.0])
def test_slots_that_do_not_fit_the_hour(rng: np.random.Generator, slot: float) -> None:
    with pytest.raises(ConfigError, match=f"slot: must divide an hour.*got {slot}"):
        LiveMarket.draw(rng, np.zeros(3), np.full(3, 0.1), slot=slot)
    with pytest.raises(ConfigError, match=f"slot: must divide an hour.*got {slot}"):
        NewsMarket.draw(rng, np.zeros(3, np.int32), np.zeros(3), 1, np.full(3, 0.1), slot=slot)


def test_an_empty_slot_offers_nothing(world_of: WorldOf) -> None:
    world = world_of("ecommerce")
    market = StaticMarket(720.0, np.array([0, 0, 3]), np.array([1, 2, 3]))
    world = world.replace(market=market, candidates=Retrieval(5), population=no_sensitivity(world.population), **PLAIN)
    users = world.arrive(mix(range(200)))
    morning = users.clock % 1440 < 720
    assert 20 < morning.sum() < 180
    assert (users.candidates[morning] == -1).all()
    assert ((users.candidates[~morning] >= 0).sum(axis=1) == 3).all()


def test_a_million_items_and_4096_users() -> None:
    """State per user does not grow with the catalogue, and item ids pass 16 bits (and 2**23 draws pass 2**20 items)."""
    n, d, T = 1_000_000, 4, 8
    rng = np.random.default_rng(0)
    embedding = rng.standard_normal((n, d)).astype(np.float32)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    catalog = Catalog(embedding, rng.integers(0, T, n), np.zeros((n, 0), np.float32), (), T)
    world = World(
        catalog=catalog,
        population=TopicMixture(rng.standard_normal((T, d)).astype(np.float32)),
        market=StaticMarket.of(n),
        candidates=Retrieval(10, 4),
        preference=DotProduct(4.0),
        choice=MultinomialLogit(null=0.0),
        response=Clicks(),
        dynamics=(),
        departure=Never(),
        reward=Weighted({"click": 1.0}),
    )
    users = world.arrive(mix(range(4096)))
    size = sum(users[name].nbytes for name in users)
    assert size < 4096 * 1000, "state per user must not depend on the number of items"
    seen = [users.candidates]
    for _ in range(5):
        slate = random_slates(rng, users.candidates, 1, empty=0.0)
        users, feedback = world.step(users, slate, world.noise(users))
        seen.append(users.candidates)
    items = np.concatenate(seen).ravel()
    assert items.max() > 0.999 * n
    assert items.min() >= 0
    assert len(np.unique(items)) > 0.85 * items.size
    assert (users.history[:, 0] > 2**15).sum() > 1000
    assert feedback.click.any()
    # Clicked items come back as themselves, so the signals and embeddings read are those of the item.
    clicked = np.flatnonzero(feedback.click[:, 0])
    assert (users.history[clicked, 0] == feedback.slate[clicked, 0]).all()
    want = 4.0 * np.einsum("bd,bd->b", embedding[feedback.slate[:, 0]], np.asarray(users.interest))
    np.testing.assert_allclose(feedback.utility[:, 0], want, rtol=1e-4, atol=1e-5)


def news(**fields: Any) -> NewsMarket:
    """One article."""
    one: dict[str, Any] = dict(
        slot=1.0, offsets=[0, 1], listed=[0], published=[0.0], half_life=[9.0], popularity=[[1.0]], click_rate=[[0.0]]
    )
    return NewsMarket(**one | fields)


def live(**fields: Any) -> LiveMarket:
    """One streamer."""
    one: dict[str, Any] = dict(
        slot=1440.0, offsets=[0, 1], listed=[0], start=[0.0], duration=[60.0], audience=[0.5], rhythm=[[9.0, 0.0]],
        highlight=[0.0], click_rate=[[0.0]],
    )  # fmt: skip
    return LiveMarket(**one | fields)


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: StaticMarket(0.0, [0, 1], [0]), r"market.slot: must be a number in .*got 0"),
        (lambda: StaticMarket(1.0, [0, 2], [0]), r"market.offsets: must ascend from 0 to len\(listed\)"),
        (lambda: StaticMarket(1.0, [0], [0]), r"market.offsets"),
        (lambda: StaticMarket(1.0, [0, 2, 1], [0]), r"market.offsets"),
        (lambda: shop(promotion=[[0, 1, 0.5]]), r"market.promotion: must be \(1, W, 3\) with W >= 1, got"),
        (lambda: shop(promotion=np.zeros((1, 0, 3))), r"market.promotion: must be \(1, W, 3\) with W >= 1, got"),
        (lambda: shop(promotion=[[[0, 1, 0.95]]]), r"market.promotion discount.*\[0, 0.9\]"),
        (lambda: shop(log_price=[2.0]), r"market.log_price: must lie in .*got 2.0"),
        (lambda: shop(log_price=[math.nan]), r"ShopMarket.log_price: must be finite"),
        (lambda: shop(price=[-1.0]), r"market.price: must lie in \[0, 10000\]"),
        (lambda: shop(price=[1.0, 2.0]), r"market.price: must have shape \(1,\)"),
        (lambda: shop(popularity=[[1.5]]), r"market.popularity: must lie in \[0, 1\]"),
        (lambda: shop(click_rate=[[0.5, 0.5]]), r"market.click_rate: must have shape \(1, 1\), got \(1, 2\)"),
        (lambda: news(half_life=[0.0]), r"market.half_life: must be > 0, got 0.0"),
        (lambda: news(popularity=[[-1.0]]), r"market.popularity: must lie in"),
        (lambda: news(published=[0.0, 1.0]), r"market.(published|half_life)"),
        (lambda: news(click_rate=[[-2.0]]), r"market.click_rate: must lie in \[-1, 1\]"),
        (lambda: live(duration=[601.0]), r"market.duration.*got 601"),
        (lambda: live(audience=[1.5]), r"market.audience.*got 1.5"),
        (lambda: live(rhythm=[[0.0, 0.0]]), r"market.rhythm"),
        (lambda: live(rhythm=[9.0]), r"market.rhythm"),
        (lambda: live(click_rate=[0.0]), r"market.click_rate: must have shape"),
        (lambda: live(click_rate=np.zeros((1, 0))), r"market.click_rate: must have shape"),
        (lambda: live(slot=1000.0), r"market.offsets: must make a calendar of whole days, got '1000 minutes'"),
    ],
)
def test_bad_markets(make: Callable[[], Market], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()


@pytest.mark.parametrize(
    ("market", "fragment"),
    [
        (StaticMarket(1.0, np.array([0, 1]), np.array([6000])), r"market.listed: must lie in \[0, 6000\), got 6000"),
        (StaticMarket(1.0, np.array([0, 1]), np.array([-1])), r"market.listed: must lie in \[0, 6000\), got -1"),
        (StaticMarket(1.0, np.array([0, 0]), np.array([], np.int32)), r"market.listed: must name at least one item"),
        (StaticMarket(1.0, np.array([0, 2]), np.array([7, 7])), r"market.listed.*(ascend|twice)"),
        (shop(), r"market.*6000"),
    ],
)
def test_markets_that_do_not_fit_the_catalogue(world_of: WorldOf, market: Market, fragment: str) -> None:
    """A calendar for fewer items than the catalogue has would be read beyond its end by the kernels."""
    with pytest.raises(ConfigError, match=fragment):
        world_of("ecommerce").replace(market=market)


def test_prime_factors() -> None:
    assert [prime_factors(n) for n in (0, 1, 2, 12, 97, 1900, 999_983)] == [
        [],
        [],
        [2],
        [2, 3],
        [97],
        [2, 5, 19],
        [999_983],
    ]


def test_factors_tell_which_strides_are_coprime() -> None:
    market = StaticMarket(60.0, np.array([0, 12, 12, 13, 13 + 35]), np.array([*range(12), 3, *range(35)], np.int32))
    for row, n in zip(market.factors, (12, 0, 1, 35), strict=True):
        for stride in range(1, n + 1):
            assert all(stride % int(p) for p in row) == (math.gcd(stride, n) == 1 or n == 1)
