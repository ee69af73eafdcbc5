"""Preference, response, dynamics, departure and reward against formulas worked by hand."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from recgym import Catalog, Component, ConfigError, Users, load_world
from recgym.market import LiveMarket, ShopMarket, StaticMarket
from recgym.models.departure import Budget, Hazard, Never, Sessions
from recgym.models.dynamics import (
    Adaptation,
    Fatigue,
    InterestDrift,
    Mood,
    NetExposure,
    Satiation,
    Satisfaction,
    TwoSpeedDrift,
)
from recgym.models.preference import Cosine, DotProduct, Lookup, Loyal, NegativeDistance, Preference
from recgym.models.response import Clicks, Dwell, Funnel, Watch
from recgym.models.reward import LikeDislike, Weighted, pay
from recgym.testing import check_component
from recgym.types import Array, Feedback, Sizes

SURE, NEVER = 2.0**-24, 1 - 2.0**-24  # the smallest and the largest uniform
SIZES = Sizes(slate=2, candidates=5, items=12, dimensions=3, topics=4, signals=0)


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def record(columns: dict[str, Any], B: int = 1, **more: Any) -> Users:
    return Users(**{name: np.asarray(value) for name, value in {**columns, **more}.items()})


def initial(component: Component, B: int = 1, **more: Any) -> Users:
    """Users with the columns of one part as on arrival."""
    columns = {n: np.full((B, *c.shape), c.initial, c.dtype) for n, c in component.columns(SIZES).items()}
    return record({**columns, **more})


# --- contracts of every built-in part that the domains do not hold (theirs are in test_world)


@pytest.mark.parametrize(
    "part",
    [
        Cosine(2.0, {"quality": 0.5}),
        NegativeDistance(3.0),
        Lookup(np.linspace(-2, 2, 6000)),
        Never(),
        Clicks(2.0),
        Hazard(-1.0, 0.0, 0.0),
        TwoSpeedDrift(0.3, 0.0, 1.0),
        LikeDislike(),
        Weighted({"click": -1.0}),
        Funnel(hazard=0.4, cart=2.0, purchase=0.0),
        Dwell(mood=2.0, sigma=1.5),
        NetExposure(0.5, 0.1, 1.0, 2.0, 3.0),
    ],
    ids=lambda part: type(part).__name__,
)
def test_contract(part: Component) -> None:
    check_component(part)


@pytest.mark.parametrize("shape", [0.6, 1.0, 2.5])
def test_contract_of_watch(shape: float) -> None:
    check_component(Watch(shape=shape, like=-0.5, gift=-1.0, long=2.0), load_world("livestream"))


# --- preference


def reader(catalog: Catalog, B: int, rng: np.random.Generator) -> dict[str, Array]:
    return dict(
        interest=rng.normal(size=(B, 3)).astype(np.float32),
        sensitivity=rng.normal(size=(B, 2)).astype(np.float32),
        exposure=rng.random((B, 4), np.float32),
        fatigue=rng.random((B, 4), np.float32),
        satiation=rng.normal(size=(B, 4)).astype(np.float32),
    )


@pytest.mark.parametrize("kind", [DotProduct, Cosine, NegativeDistance])
def test_utility_is_the_documented_sum(small_catalog: Catalog, rng: np.random.Generator, kind: type[Any]) -> None:
    model = kind(
        2.5, {"quality": 0.7, "price": -0.1}, {"fatigue": -1.5, "satiation": 0.4}, {"level": 0.8, "mood": -2.0}
    )
    users = record(reader(small_catalog, 6, rng), level=rng.normal(size=6), mood=rng.normal(size=6))
    items = rng.integers(-1, 12, (6, 4)).astype(np.int32)
    signals = rng.normal(size=(6, 4, 2)).astype(np.float32)
    got = model(users, small_catalog, signals, items)
    for b in range(6):
        for s in range(4):
            i = items[b, s]
            if i < 0:
                assert got[b, s] == -np.inf
                continue
            u, x, z = users.interest[b].astype(float), small_catalog.embedding[i].astype(float), small_catalog.topic[i]
            match = {
                DotProduct: u @ x,
                Cosine: u @ x / (np.linalg.norm(u) * np.linalg.norm(x)),
                NegativeDistance: -np.linalg.norm(u - x),
            }[kind]
            want = 2.5 * match + 0.7 * small_catalog["quality"][i] - 0.1 * small_catalog["price"][i]
            want += users.sensitivity[b] @ signals[b, s] - 1.5 * users.fatigue[b, z] + 0.4 * users.satiation[b, z]
            want += 0.8 * users.level[b] - 2.0 * users.mood[b]
            assert got[b, s] == pytest.approx(want, rel=1e-4, abs=2e-3)


def test_cosine_of_nothing_is_zero(small_catalog: Catalog, rng: np.random.Generator) -> None:
    columns = reader(small_catalog, 2, rng) | {"interest": np.zeros((2, 3), np.float32)}
    signals = np.zeros((2, 2, 0), np.float32)
    got = Cosine(3.0)(record(columns), small_catalog, signals, np.array([[0, 1], [2, 3]], np.int32))
    assert not got.any()


def test_distance_of_an_item_to_itself_is_zero(small_catalog: Catalog, rng: np.random.Generator) -> None:
    columns = reader(small_catalog, 12, rng) | {"interest": small_catalog.embedding}
    items = np.arange(12, dtype=np.int32)[:, None]
    got = NegativeDistance()(record(columns), small_catalog, np.zeros((12, 1, 0), np.float32), items)
    assert got[:, 0] == pytest.approx(0, abs=1e-3)


def test_lookup(small_catalog: Catalog) -> None:
    table = np.linspace(-1, 1, 12)
    items = np.array([[3, -1, 11]], np.int32)
    got = Lookup(table)(record({"t": f32(0)}), small_catalog, np.zeros((1, 3, 0), np.float32), items)
    assert got[0].tolist() == [np.float32(table[3]), -np.inf, 1.0]


def test_utility_does_not_depend_on_the_position(small_catalog: Catalog, rng: np.random.Generator) -> None:
    users = record(reader(small_catalog, 5, rng))
    items = np.array([[0, 3, -1, 7]] * 5, np.int32)
    signals = rng.normal(size=(5, 4, 2)).astype(np.float32)
    order = [2, 0, 3, 1]
    for model in (DotProduct(2.0, {"quality": 1.0}, {"fatigue": 1.0}), Cosine(), NegativeDistance()):
        model: Preference
        a, b = (
            model(users, small_catalog, signals, items)[:, order],
            model(users, small_catalog, signals[:, order], items[:, order]),
        )
        assert np.array_equal(a, b)


def test_loyalty_and_the_outside_option(small_catalog: Catalog, rng: np.random.Generator) -> None:
    users = record(
        reader(small_catalog, 2, rng),
        clock=f32(0, 0),
        watching=np.array([4, -1], np.int32),
        fan_item=np.array([[4, 9], [9, -1]], np.int32),
        fan_minutes=f32([3.0, 8.0], [1.0, 0.0]),
    )
    plain, model = DotProduct(2.0), Loyal(2.0, loyalty=0.5, browsing=1.75, inertia=0.25)
    items = np.array([[4, 9, 1], [9, 4, -1]], np.int32)
    signals = np.zeros((2, 3, 0), np.float32)
    more = model(users, small_catalog, signals, items) - np.where(
        items < 0, 0, plain(users, small_catalog, signals, items)
    )
    assert more[0, 0] == -np.inf  # on screen: nothing to click
    want = [0.5 * math.log(9), 0.0, 0.5 * math.log(2), 0.0]
    assert more[[0, 0, 1, 1], [1, 2, 0, 1]] == pytest.approx(np.array(want), abs=1e-5)
    assert more[1, 2] == -np.inf
    outside = model.outside(users, small_catalog, StaticMarket.of(12))
    own = plain(users, small_catalog, signals, items)[0, 0] + 0.5 * math.log(4)
    assert outside.tolist() == pytest.approx([own + 0.25, 1.75], abs=1e-5)  # staying has nothing of browsing


# --- Funnel


def shop(n: int = 12) -> ShopMarket:
    none = np.zeros((n, 1), np.float32)
    every = (1440.0, np.array([0, n]), np.arange(n, dtype=np.int32))
    return ShopMarket(*every, none[:, 0], none[:, 0], np.zeros((n, 1, 3), np.float32), none, none)


def funnel_step(
    model: Funnel,
    users: Users,
    catalog: Catalog,
    item: int,
    *,
    cart: float = NEVER,
    buy: float = NEVER,
    convert: float = NEVER,
    utility: float = 0.0,
    log_price: float = 0.0,
    discount: float = 0.0,
    click: bool = True,
) -> tuple[dict[str, Array], Users]:
    noise = np.full((2 + model.places, 1), convert, np.float32)
    noise[0], noise[1] = cart, buy
    slate = np.array([[item]], np.int32)
    signals = f32([[log_price, discount, catalog["price"][item] * (1 - discount) / 100, 0.0, 0.0]])
    outcome, changes = model(users, catalog, shop(), slate, signals, f32([utility]), f32(0), np.array([[click]]), noise)
    return outcome, users.replace(**changes)


def test_funnel_thresholds(small_catalog: Catalog) -> None:
    """cart at sigmoid(cart + v), purchase at sigmoid(purchase + v - price_weight log_price)."""
    model = Funnel(cart=-1.0, purchase=-0.5, price_weight=2.0)
    users = initial(model, satisfaction=f32(0.7))
    to_cart, to_buy = sigmoid(-1.0 + 0.3), sigmoid(-0.5 + 0.3 - 2.0 * 0.4)
    for above in (False, True):
        e = 1e-4 if above else -1e-4
        args: dict[str, Any] = dict(utility=0.3, log_price=0.4, discount=0.25)
        outcome, after = funnel_step(model, users, small_catalog, 5, cart=to_cart + e, buy=SURE, **args)
        assert outcome["channels"][0, 0].tolist() == [1.0, float(not above), float(not above)]
        assert outcome["objectives"][0, 1] == float(not above)
        outcome, after = funnel_step(model, users, small_catalog, 5, cart=SURE, buy=to_buy + e, **args)
        assert outcome["channels"][0, 0].tolist() == [1.0, 1.0, float(not above)]
        price = small_catalog["price"][5] * 0.75
        want = [1.0, 1.0, 0.0, 0.0, 0.7] if above else [1.0, 1.0, 1.0, price, 0.7]
        assert outcome["objectives"][0].tolist() == pytest.approx(want, rel=1e-6)
        assert after.cart_item[0].tolist() == ([5, -1, -1, -1, -1] if above else [-1] * 5)
        assert outcome["bought"][0].tolist() == ([-1] * 6 if above else [5] + [-1] * 5)


def test_no_click_no_funnel(small_catalog: Catalog) -> None:
    model = Funnel(minutes=0.75)
    outcome, after = funnel_step(
        model, initial(model, satisfaction=f32(1)), small_catalog, 5, cart=SURE, buy=SURE, click=False
    )
    assert not outcome["channels"].any()
    assert outcome["objectives"][0].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]  # the satisfaction, whatever happens
    assert after.cart_item[0].tolist() == [-1] * 5
    assert outcome["dt"].tolist() == [0.75]


def test_the_cart_is_a_ring_of_five_and_the_oldest_falls_out(small_catalog: Catalog) -> None:
    model = Funnel()
    users = initial(model, satisfaction=f32(0.5))
    for n, item in enumerate([0, 1, 2, 3, 4, 5, 6]):
        _, users = funnel_step(model, users, small_catalog, item, cart=SURE)
        assert users.cart_size[0] == min(n + 1, 5)
    assert users.cart_item[0].tolist() == [6, 5, 4, 3, 2]
    assert users.cart_price[0].tolist() == pytest.approx(small_catalog["price"][[6, 5, 4, 3, 2]].tolist())
    _, users = funnel_step(model, users, small_catalog, 9, click=False)
    assert users.cart_item[0].tolist() == [6, 5, 4, 3, 2]


def test_a_later_purchase_pays_the_price_it_had(small_catalog: Catalog) -> None:
    model = Funnel()
    users = initial(model, satisfaction=f32(0.5))
    _, users = funnel_step(model, users, small_catalog, 2, cart=SURE, discount=0.5)
    _, users = funnel_step(model, users, small_catalog, 7, cart=SURE, discount=0.0)
    outcome, after = funnel_step(model, users, small_catalog, 1, convert=SURE, click=False)
    price = small_catalog["price"]
    want = [0.0, 0.0, 2.0, 0.5 * price[2] + price[7], 0.5]
    assert outcome["objectives"][0].tolist() == pytest.approx(want, rel=1e-6)
    assert sorted(i for i in outcome["bought"][0].tolist() if i >= 0) == [2, 7]
    assert after.cart_item[0].tolist() == [-1] * 5
    assert after.cart_size[0] == 0
    assert not after.cart_price.any()
    assert not outcome["channels"].any()  # a delayed reward belongs to no slot


def test_offers_are_the_prices_of_what_is_shown(small_catalog: Catalog) -> None:
    model = Funnel()
    users = initial(model, satisfaction=f32(0.5))
    for click in (False, True):
        got, _ = funnel_step(model, users, small_catalog, 2, log_price=-0.3, click=click)
        assert got["offers"].tolist() == pytest.approx(f32([-0.3]))
    got, _ = funnel_step(model, users, small_catalog, -1, log_price=-0.3, click=False)
    assert got["offers"].tolist() == [[-np.inf]]


def test_cart_hazard_frequency(small_catalog: Catalog, rng: np.random.Generator) -> None:
    model, B = Funnel(hazard=0.07), 20_000
    users = initial(model, B, satisfaction=np.full(B, 0.5, np.float32))
    carts = np.tile(np.array([3, 4, 5, -1, -1], np.int32), (B, 1))
    users = users.replace(cart_item=carts, cart_price=np.where(carts >= 0, 2.0, 0.0).astype(np.float32))
    noise = rng.random((7, B), np.float32)
    empty = np.full((B, 1), -1, np.int32)
    outcome, changes = model(
        users,
        small_catalog,
        shop(),
        empty,
        np.zeros((B, 1, 5), np.float32),
        np.full((B, 1), -np.inf, np.float32),
        np.zeros(B, np.float32),
        np.zeros((B, 1), bool),
        noise,
    )
    bought = outcome["objectives"][:, 2]
    assert bought.mean() == pytest.approx(0.21, abs=5 * math.sqrt(3 * 0.07 * 0.93 / B))
    assert (changes["cart_size"] == 3 - bought).all()
    assert outcome["objectives"][:, 3] == pytest.approx(2.0 * bought)


def test_what_has_faded_away_is_zero(small_catalog: Catalog) -> None:
    """No mood lingers at numbers below 1e-38, with which a processor computes slowly."""
    users = record({"fatigue": f32([2.0, 1e-29, 0.0, 3.0]), "satiation": f32([-2.0, -1e-29, 0.0, 4.0])})
    for part, name in ((Fatigue(half_life=5.0), "fatigue"), (Satiation(half_life=5.0), "satiation")):
        short = part.rest(users, f32(50.0))[name]
        assert short[0].tolist() == pytest.approx((users[name][0] / 1024 * [1, 0, 0, 1]).tolist(), rel=1e-6)
        assert short[0, 1] == 0.0
        assert not part.rest(users, f32(1000.0))[name].any()
        assert np.array_equal(part.rest(users, f32(0.0))[name], users[name])


# --- Dwell


def dwell_step(
    model: Dwell, catalog: Catalog, items: list[int], u: list[float], share: float = NEVER, s: float = 0.5
) -> dict[str, Array]:
    noise = np.concatenate([f32(*u), np.full(len(u), share, np.float32)])[:, None]
    slate = np.array([items], np.int32)
    click = slate >= 0
    utility = np.zeros(slate.shape, np.float32)
    users = record({"satisfaction": f32(s)})
    return model(
        users,
        catalog,
        StaticMarket.of(12),
        slate,
        np.zeros((1, len(items), 0), np.float32),
        utility,
        f32(0),
        click,
        noise,
    )[0]


def test_dwell_by_hand(small_catalog: Catalog) -> None:
    model = Dwell(level=0.2, quality=0.4, gap=1.5, mood=0.8, sigma=0.6, longest=9.0, scan=0.3, share=-1.0)
    q, b = small_catalog["quality"].astype(float), small_catalog["clickbait"].astype(float)
    u = [0.5, 0.9]  # the quantile of 0.9 is 1.2815515655
    got = dwell_step(model, small_catalog, [3, 8], u, s=0.9)
    minutes = [
        min(math.exp(0.2 + 0.4 * q[i] - 1.5 * b[i] + 0.8 * 0.4 + 0.6 * z), 9.0)
        for i, z in ((3, 0.0), (8, 1.2815515655))
    ]
    satisfied = [float(m > 0.5) for m in minutes]
    assert got["objectives"][0].tolist() == pytest.approx([2.0, sum(minutes), sum(satisfied), 0.0], rel=1e-5)
    assert got["dt"][0] == pytest.approx(0.3 + sum(minutes), rel=1e-5)
    assert got["channels"][0, :, 1].tolist() == pytest.approx([m / 9.0 for m in minutes], rel=1e-5)
    assert got["channels"][0, :, 2].tolist() == satisfied


def test_dwell_is_cut_and_a_short_read_is_neither_satisfied_nor_shared(small_catalog: Catalog) -> None:
    long = dwell_step(Dwell(level=9.0, longest=4.0), small_catalog, [3], [0.5], share=SURE)
    assert long["objectives"][0].tolist() == pytest.approx([1.0, 4.0, 1.0, 1.0])
    short = dwell_step(Dwell(level=-9.0), small_catalog, [3], [0.5], share=SURE)
    assert short["objectives"][0, 2:].tolist() == [0.0, 0.0]
    assert short["objectives"][0, 0] == 1.0


def test_clickbait_shortens_dwell(small_catalog: Catalog) -> None:
    by_bait = np.argsort(small_catalog["clickbait"])
    model = Dwell(quality=0.0, gap=2.0)
    minutes = [dwell_step(model, small_catalog, [int(i)], [0.5])["objectives"][0, 1] for i in by_bait]
    assert (np.diff(minutes) < 0).all()


# --- Watch


def studio(remaining: float = 600.0, n: int = 12) -> LiveMarket:
    """Streams on air since midnight, for `remaining` minutes from midnight on."""
    one = np.ones(n, np.float32)
    return LiveMarket(
        1440.0,
        np.array([0, n]),
        np.arange(n),
        0 * one,
        remaining * one,
        0.5 * one,
        np.ones((n, 2)),
        0 * one,
        np.zeros((n, 1)),
    )  # type: ignore[arg-type]


def viewer(model: Watch, **more: Any) -> Users:
    columns = dict(clock=f32(0), budget=f32(100.0), wallet=f32(50.0))
    return initial(model, **{**columns, **more})


def watch_step(
    model: Watch,
    users: Users,
    catalog: Catalog,
    item: int = -1,
    *,
    u: float = SURE,
    like: float = NEVER,
    gift: float = NEVER,
    amount: float = 0.5,
    click: bool | None = None,
    v: float = 0.0,
    outside: float = 0.0,
    market: LiveMarket | None = None,
) -> tuple[dict[str, Array], Users]:
    """One step; u = SURE means a patience without end."""
    market = market or studio()
    slate = np.array([[item]], np.int32)
    clicked = np.array([[item >= 0 if click is None else click]])
    noise = f32([u], [like], [gift], [amount])
    signals = market.observe(slate, users.clock)
    outcome, changes = model(users, catalog, market, slate, signals, f32([v]), f32(outside), clicked, noise)
    return outcome, users.replace(**changes, clock=users.clock + outcome["dt"])


def test_a_slice_is_weibull(small_catalog: Catalog) -> None:
    model = Watch(stay=0.2, slope=0.5, shape=1.7, epoch=5.0, enjoy=-1.3)
    for u in (0.3, 0.6, 0.95):
        got, _ = watch_step(model, viewer(model), small_catalog, 3, u=u, v=0.8)
        want = math.exp(0.2 + 0.5 * 0.8) * (-math.log(u)) ** (1 / 1.7)
        assert got["objectives"][0, 1] == pytest.approx(want, rel=1e-5)
        assert got["dt"][0] == pytest.approx(want, rel=1e-5)
        assert got["slice"][0] == pytest.approx(want / 5.0, rel=1e-5)
        assert got["enjoyment"][0] == pytest.approx(sigmoid(-1.3 + 0.8), rel=1e-5)


def test_the_heat_that_is_seen(small_catalog: Catalog) -> None:
    """That of what is on screen, whether it was joined now or before; else that of the slate."""
    model, market = Watch(), studio()

    def heat(item: int, clock: float) -> float:
        return float(market.observe(np.array([[item]], np.int32), f32(clock))[0, 0, market.column("heat")])

    got, users = watch_step(model, viewer(model), small_catalog, 7)
    assert got["heat_seen"][0].tolist() == [-np.inf, heat(7, 0.0)]
    now = float(users.clock[0])
    got, _ = watch_step(model, users, small_catalog, 4, click=False)  # stays, and does not look at the slate
    assert got["heat_seen"][0].tolist() == [-np.inf, heat(7, now)]
    got, _ = watch_step(model, viewer(model), small_catalog, 4, click=False)
    assert got["heat_seen"][0].tolist() == [heat(4, 0.0), -np.inf]
    got, _ = watch_step(model, viewer(model), small_catalog)
    assert got["heat_seen"][0].tolist() == [-np.inf, -np.inf]


def test_a_full_slice_leaves_the_user_watching(small_catalog: Catalog) -> None:
    model = Watch(epoch=3.0)
    got, users = watch_step(model, viewer(model), small_catalog, 7)
    assert (int(users.watching[0]), float(users.is_watching[0]), float(users.visit[0])) == (7, 1.0, 3.0)
    assert got["objectives"][0, :2].tolist() == [1.0, 3.0]
    got, users = watch_step(model, users, small_catalog, click=False)
    assert got["objectives"][0, :2].tolist() == [0.0, 3.0]  # watching on is no click
    assert float(users.visit[0]) == 6.0
    got, users = watch_step(model, users, small_catalog, u=0.99)
    assert 0 < got["objectives"][0, 1] < 3.0
    assert (int(users.watching[0]), float(users.is_watching[0]), float(users.visit[0])) == (-1, 0.0, 0.0)


@pytest.mark.parametrize(
    ("left", "budget", "want"), [(2.0, 100.0, 2.0), (100.0, 1.5, 1.5), (1.0, 0.5, 0.5), (100.0, 100.0, 3.0)]
)
def test_a_slice_is_cut_by_the_end_of_the_stream_and_the_time_budget(
    small_catalog: Catalog, left: float, budget: float, want: float
) -> None:
    model = Watch(epoch=3.0)
    got, users = watch_step(model, viewer(model, budget=f32(budget)), small_catalog, 3, market=studio(left))
    assert got["objectives"][0, 1] == pytest.approx(want, rel=1e-5)
    assert int(users.watching[0]) == (3 if want == 3.0 else -1)
    assert users.budget[0] == pytest.approx(budget - want, abs=1e-5)


def test_a_stream_that_has_ended_gives_nothing(small_catalog: Catalog) -> None:
    """Watched to its very end: what follows sends the user back, without a like or a gift from an empty screen."""
    model = Watch()
    users = viewer(model, watching=np.array([3], np.int32), is_watching=f32(1), visit=f32(3), clock=f32(30.0))
    got, users = watch_step(model, users, small_catalog, like=SURE, gift=SURE, market=studio(30.0))
    assert int(users.watching[0]) == -1
    assert got["objectives"][0].tolist() == [0.0] * 5


def test_browsing_takes_its_time(small_catalog: Catalog) -> None:
    model = Watch(browse=0.8)
    got, users = watch_step(model, viewer(model, budget=f32(2.0)), small_catalog, 5, click=False)
    assert not got["objectives"].any()
    assert got["dt"].tolist() == pytest.approx([0.8])
    assert got["watched_item"].tolist() == [-1]
    assert users.budget.tolist() == pytest.approx([1.2])


def test_long_watch_once_a_visit(small_catalog: Catalog) -> None:
    model = Watch(epoch=3.0, long=5.0)
    users, seen = viewer(model), []
    for step in range(5):
        got, users = watch_step(model, users, small_catalog, 4 if step == 0 else -1)
        seen.append(float(got["objectives"][0, 2]))
    assert seen == [0.0, 1.0, 0.0, 0.0, 0.0]


def test_a_visit_to_another_stream_counts_again(small_catalog: Catalog) -> None:
    model = Watch(epoch=3.0, long=5.0)
    users, seen = viewer(model), []
    for item in (4, -1, 8, -1, -1):
        got, users = watch_step(model, users, small_catalog, item, like=SURE)
        seen.append(got["objectives"][0, 2:4].tolist())
    assert seen == [[0, 1], [1, 0], [0, 1], [1, 0], [0, 0]]
    assert int(users.watching[0]) == 8


def test_one_like_a_visit(small_catalog: Catalog) -> None:
    model = Watch(epoch=3.0)
    users, likes = viewer(model), []
    for step, like in enumerate([NEVER, SURE, SURE, SURE]):
        got, users = watch_step(model, users, small_catalog, 4 if step == 0 else -1, like=like)
        likes.append(float(got["objectives"][0, 3]))
    assert likes == [0.0, 1.0, 0.0, 0.0]
    assert users.liked.tolist() == [1.0]


def test_clicking_on_what_one_watches_begins_no_new_visit(small_catalog: Catalog) -> None:
    """Else an agent earns a like or a long watch as often as it recommends the stream that is on screen."""
    model = Watch(epoch=3.0, long=5.0)
    users, seen = viewer(model), []
    for _ in range(4):
        got, users = watch_step(model, users, small_catalog, 4, like=SURE)
        seen.append(got["objectives"][0, 2:4].tolist())
    assert np.sum(seen, axis=0).tolist() == [1.0, 1.0]


def test_like_threshold(small_catalog: Catalog) -> None:
    model = Watch(like=-1.0, slope=0.5)
    p = sigmoid(-1.0 + 0.5 * 0.8)
    for e, want in ((-1e-4, 1.0), (1e-4, 0.0)):
        got, _ = watch_step(model, viewer(model), small_catalog, 4, like=p + e, v=0.8)
        assert got["objectives"][0, 3] == want


def test_gifts_are_cut_by_the_wallet(small_catalog: Catalog) -> None:
    model = Watch(amount=1.0)
    got, users = watch_step(model, viewer(model), small_catalog, 4, gift=SURE, amount=0.5)
    assert got["objectives"][0, 4] == pytest.approx(math.e, rel=1e-5)
    assert got["channels"][0, 0, 3] == 1.0
    assert users.wallet[0] == pytest.approx(50 - math.e, rel=1e-5)
    got, users = watch_step(model, viewer(model, wallet=f32(2.0)), small_catalog, 4, gift=SURE, amount=0.99)
    assert got["objectives"][0, 4] == 2.0
    assert users.wallet[0] == 0.0
    got, users = watch_step(model, users, small_catalog, gift=SURE)
    assert got["objectives"][0, 4] == 0.0


def test_devotion_makes_gifts_likelier(small_catalog: Catalog) -> None:
    model = Watch(gift=-2.0, devotion=0.9)
    fan = viewer(model, fan_item=np.array([[4, -1, -1, -1]], np.int32), fan_minutes=f32([9.0, 0, 0, 0]))
    p = sigmoid(-2.0 + 0.9 * math.log(10))
    for e, want in ((-1e-4, True), (1e-4, False)):
        got, _ = watch_step(model, fan, small_catalog, 4, gift=p + e)
        assert (got["objectives"][0, 4] > 0) == want
    got, _ = watch_step(model, viewer(model), small_catalog, 4, gift=p - 1e-4)
    assert got["objectives"][0, 4] == 0


def test_fans_forget_the_least_watched_first(small_catalog: Catalog) -> None:
    model = Watch(epoch=3.0, fans=2)
    users = viewer(model)
    for item, steps in ((4, 2), (8, 1), (9, 1)):
        for step in range(steps):
            _, users = watch_step(model, users, small_catalog, item if step == 0 else -1)
    kept = dict(zip(users.fan_item[0].tolist(), users.fan_minutes[0].tolist(), strict=True))
    assert kept == pytest.approx({4: 6.0, 9: 3.0})


def test_prompted_means_shown_something_while_watching(small_catalog: Catalog) -> None:
    model = Watch()
    got, users = watch_step(model, viewer(model), small_catalog, 4)
    assert not got["prompted"][0]
    got, _ = watch_step(model, users, small_catalog, 5, click=False)
    assert got["prompted"][0]
    assert got["watched_item"][0] == 4
    got, _ = watch_step(model, users, small_catalog)
    assert not got["prompted"][0]


@pytest.mark.parametrize("v", [-8.0, -4.0, 0.0, 4.0])
def test_expected_minutes_against_the_closed_form(small_catalog: Catalog, v: float) -> None:
    """E[min(T, c)] = scale (1 - exp(-c / scale)) where the Weibull is an exponential."""
    model = Watch(stay=1.0, slope=0.6, shape=1.0, epoch=3.0)
    users, items = viewer(model), np.array([[4]], np.int32)
    market = studio()
    given, _ = model.expected(users, small_catalog, market, items, market.observe(items, users.clock), f32([v]), f32(0))
    scale = math.exp(1.0 + 0.6 * v)
    assert given[0, 0, 1] == pytest.approx(scale * (1 - math.exp(-3.0 / scale)), rel=2e-3)


# --- dynamics


def feedback(slate: list[list[int]], click: list[list[bool]], dt: float = 1.0, **more: Any) -> Feedback:
    return Feedback(
        slate=np.array(slate, np.int32),
        click=np.array(click),
        dt=np.full(len(slate), dt, np.float32),
        **{k: np.asarray(v) for k, v in more.items()},
    )


NOTHING = np.empty((0, 1), np.float32)


def unit(*values: float) -> Array:
    v = np.array(values, np.float64)
    return (v / np.linalg.norm(v)).astype(np.float32)


def test_drift_by_hand(small_catalog: Catalog) -> None:
    u = unit(1.0, 2.0, -1.0)
    got = InterestDrift(0.3)(
        record({"interest": u[None]}), small_catalog, feedback([[5, 2]], [[True, False]]), NOTHING
    )["interest"][0]
    want = 0.7 * u.astype(float) + 0.3 * small_catalog.embedding[5]
    assert got == pytest.approx(want / np.linalg.norm(want), abs=1e-6)


@pytest.mark.parametrize("kind", ["drift", "two speeds"])
def test_drift_is_towards_what_was_clicked(small_catalog: Catalog, rng: np.random.Generator, kind: str) -> None:
    """Towards each clicked item in direction, keeping the norm: not a constant, not a mean over the wrong axis."""
    B = 200
    interest = rng.normal(size=(B, 3))
    interest = (interest / np.linalg.norm(interest, axis=1, keepdims=True)).astype(np.float32)
    slate = rng.integers(0, 12, (B, 1)).astype(np.int32)
    model: Any = InterestDrift(0.1) if kind == "drift" else TwoSpeedDrift(0.2, 0.05, 0.5)
    users = initial(model, B, interest=interest)
    after = model(users, small_catalog, feedback(slate.tolist(), [[True]] * B), NOTHING)["interest"]
    x = small_catalog.embedding[slate[:, 0]]
    before_cos, after_cos = np.einsum("bd,bd->b", interest, x), np.einsum("bd,bd->b", after, x)
    assert (after_cos > before_cos - 1e-6).all()
    assert (after_cos > before_cos)[before_cos < 0.99].all()
    assert np.linalg.norm(after, axis=1) == pytest.approx(1, abs=1e-5)
    moves = after - interest
    assert moves.std(axis=0).min() > 0.02  # different users move differently, in every dimension
    other = model(users, small_catalog, feedback(((slate + 1) % 12).tolist(), [[True]] * B), NOTHING)["interest"]
    assert (other != after).any(axis=1).all()


@pytest.mark.parametrize("model", [InterestDrift(0.3), TwoSpeedDrift()])
def test_no_click_no_drift(small_catalog: Catalog, model: Any) -> None:
    u = unit(1.0, 2.0, -1.0)[None]
    got = model(initial(model, interest=u), small_catalog, feedback([[5, -1]], [[False, False]]), NOTHING)
    assert np.array_equal(got["interest"], u)


def test_two_clicks_pull_twice(small_catalog: Catalog) -> None:
    u, model = unit(1.0, 0.0, 0.0)[None], InterestDrift(0.2)
    both = model(record({"interest": u}), small_catalog, feedback([[5, 2]], [[True, True]]), NOTHING)["interest"]
    one = model(record({"interest": u}), small_catalog, feedback([[5]], [[True]]), NOTHING)["interest"]
    two = model(record({"interest": one}), small_catalog, feedback([[2]], [[True]]), NOTHING)["interest"]
    assert np.array_equal(both, two)


def test_two_speeds_by_hand(small_catalog: Catalog) -> None:
    model = TwoSpeedDrift(0.4, 0.1, 0.7)
    u = unit(1.0, 2.0, -1.0)
    users = initial(model, interest=u[None])
    users = users.replace(**model.begin(users, small_catalog, NOTHING))
    short = long = u.astype(float)
    for item in (5, 9, 5):
        users = users.replace(**model(users, small_catalog, feedback([[item]], [[True]]), NOTHING))
        x = small_catalog.embedding[item].astype(float)
        short, long = 0.6 * short + 0.4 * x, 0.9 * long + 0.1 * x
        short, long = short / np.linalg.norm(short), long / np.linalg.norm(long)
        mixed = 0.7 * short + 0.3 * long
        assert users.short_term[0] == pytest.approx(short, abs=1e-5)
        assert users.long_term[0] == pytest.approx(long, abs=1e-5)
        assert users.interest[0] == pytest.approx(mixed / np.linalg.norm(mixed), abs=1e-5)


def test_fatigue_by_hand(small_catalog: Catalog) -> None:
    """Items 0..11 have topics 0, 1, 2, 3, 0, ...: decay first, then each impression."""
    model = Fatigue(ignored=0.3, clicked=0.1, half_life=5.0, limit=1.0)
    users = initial(model).replace(fatigue=f32([0.8, 0.4, 0.0, 0.2]))
    got = model(users, small_catalog, feedback([[0, 4, 3, -1]], [[False, True, False, False]], dt=10.0), NOTHING)[
        "fatigue"
    ]
    assert got[0].tolist() == pytest.approx([0.2 + 0.3 + 0.1, 0.1, 0.0, 0.05 + 0.3], rel=1e-5)
    got = model(users, small_catalog, feedback([[0, 4]], [[False, False]], dt=0.0), NOTHING)["fatigue"]
    assert got[0, 0] == 1.0  # the limit


@pytest.mark.parametrize("half_life", [0.5, 5.0, 300.0])
def test_half_lives_are_exact(small_catalog: Catalog, half_life: float) -> None:
    nothing: dict[str, Any] = dict(slate=[[-1]], click=[[False]])
    users = initial(Fatigue()).replace(fatigue=f32([1.0, 0.5, 2.0, 0.0]), satiation=f32([1.0, -0.5, 2.0, 0.0]))
    for model, name in ((Fatigue(half_life=half_life), "fatigue"), (Satiation(half_life=half_life), "satiation")):
        got = model(users, small_catalog, feedback(**nothing, dt=half_life, bought=[[-1]]), NOTHING)[name]
        assert got == pytest.approx(users[name] / 2, rel=1e-6)
        in_thirds = users
        for _ in range(3):
            in_thirds = in_thirds.replace(
                **model(in_thirds, small_catalog, feedback(**nothing, dt=half_life / 3, bought=[[-1]]), NOTHING)
            )
        assert in_thirds[name] == pytest.approx(users[name] / 2, rel=1e-5)


def test_satiation_and_its_complement(small_catalog: Catalog) -> None:
    model = Satiation(gain=2.0, complement=0.5, half_life=1e9, limit=3.0)
    users = initial(model)
    for item, want in (
        (0, [2.0, -0.5, 0, 0]),
        (3, [2.0, -0.5, -0.5, 2.0]),
        (5, [1.5, 1.5, -0.5, 2.0]),
        (7, [1.5, 1.5, -1.0, 3.0]),
    ):
        users = users.replace(
            **model(users, small_catalog, feedback([[-1]], [[False]], bought=np.array([[-1, item]], np.int32)), NOTHING)
        )
        assert users.satiation[0].tolist() == pytest.approx(want, rel=1e-5)


def test_an_odd_last_topic_has_no_complement() -> None:
    catalog = Catalog(np.eye(3), np.arange(3), np.zeros((3, 0)), (), 3)
    model = Satiation(half_life=1e9)
    users = record({"satiation": np.zeros((1, 3), np.float32)})
    got = model(users, catalog, feedback([[-1]], [[False]], bought=np.array([[2]], np.int32)), NOTHING)["satiation"]
    assert got[0].tolist() == pytest.approx([0.0, 0.0, 2.0])


def test_adaptation_by_hand() -> None:
    """level <- memory level + (1 - memory) mean of what was seen, where anything was, within the limit."""
    model = Adaptation("offers", memory=0.7, limit=1.0, initial=0.4)
    users, level = initial(model, B=2), [0.4, 0.4]
    assert users.level.tolist() == pytest.approx(level)
    nothing = -np.inf
    for seen in ([[0.5, -0.1], [nothing, -0.6]], [[nothing, nothing], [3.0, 1.0]], [[0.3, nothing], [9.0, 9.0]]):
        given = feedback([[0, 1]] * 2, [[False, False]] * 2, offers=f32(*seen))
        users = users.replace(**model(users, given, given, NOTHING))
        for b in range(2):
            there = [x for x in seen[b] if x > nothing]
            if there:
                level[b] = min(0.7 * level[b] + 0.3 * sum(there) / len(there), 1.0)
        assert users.level.tolist() == pytest.approx(level, abs=1e-6)
    assert level[1] == 1.0


def test_adaptation_closed_form() -> None:
    """Shown x over and over, the level is x + memory^n (initial - x) after n steps."""
    model = Adaptation("heat_seen", memory=0.8, limit=2.0)
    users = initial(model)
    for _ in range(9):
        given = feedback([[0]], [[False]], heat_seen=f32([-1.5]))
        users = users.replace(**model(users, given, given, NOTHING))
    assert float(users.level[0]) == pytest.approx(-1.5 * (1 - 0.8**9), abs=1e-6)


def test_satisfaction_by_hand(small_catalog: Catalog) -> None:
    attributes = {"quality": 1.2, "clickbait": -0.9}
    model = Satisfaction(memory=0.8, level=0.1, attributes=attributes, match=0.7, price=0.6, regret=0.3)
    u = unit(1.0, 2.0, -1.0)
    users = initial(model, interest=u[None])
    assert users.satisfaction.tolist() == [0.5]
    q, c, s = small_catalog["quality"].astype(float), small_catalog["clickbait"].astype(float), 0.5
    price = np.linspace(-0.8, 1.1, 12)
    for items, bought in (([3, 8], []), ([1, -1], [4]), ([-1, -1], []), ([2, 5], [2, 9])):
        purchases = np.array([(bought + [-1, -1])[:2]], np.int32)
        offers = f32([price[i] if i >= 0 else -np.inf for i in items])
        given = feedback([items], [[False, False]], bought=purchases, offers=offers)
        users = users.replace(**model(users, small_catalog, given, NOTHING))
        worth = 0.1 + 1.2 * q - 0.9 * c + 0.7 * (small_catalog.embedding.astype(float) @ u) - 0.6 * price
        shown = [sigmoid(worth[i]) for i in items if i >= 0]
        s = 0.8 * s + 0.2 * sum(shown) / len(shown) if shown else s
        s = min(max(s - sum(0.3 * sigmoid(-2 * q[i]) for i in bought), 0.0), 1.0)
        assert users.satisfaction[0] == pytest.approx(s, abs=1e-5)


@pytest.mark.parametrize("saturates", [False, True])
def test_mood_by_hand(small_catalog: Catalog, saturates: bool) -> None:
    weights = {"quality": 1.2, "clickbait": -0.9}
    model = Mood(0.8, weights, 0.7, 0.6, 0.3, 0.2, 0.1, (-0.5, 0.6), level=0.4, saturates=saturates)
    u, mood, price = unit(1.0, 2.0, -1.0), 0.1, np.linspace(-0.8, 1.1, 12)
    users = initial(model, interest=u[None])
    q, c = small_catalog["quality"].astype(float), small_catalog["clickbait"].astype(float)
    worth = 0.4 + 1.2 * q - 0.9 * c + 0.7 * (small_catalog.embedding.astype(float) @ u) - 0.6 * price
    for items, click in (
        ([3, 8], [True, False]),
        ([1, -1], [False, False]),
        ([-1, -1], [False, False]),
        ([2, 5], [True, True]),
    ):
        offers = f32([price[i] if i >= 0 else -np.inf for i in items])
        users = users.replace(**model(users, small_catalog, feedback([items], [click], 2.0, offers=offers), NOTHING))
        shown = [sigmoid(worth[i]) if saturates else worth[i] for i in items if i >= 0]
        x = sum(shown) / max(len(shown), 1) + 0.3 * sum(click) + 0.2 * math.log(3.0)
        mood = min(max(0.8 * mood + 0.2 * x, -0.5), 0.6)
        assert users.mood[0] == pytest.approx(mood, abs=1e-5)


def test_net_exposure_by_hand(small_catalog: Catalog) -> None:
    model = NetExposure(memory=0.7, quality=1.1, gap=2.0, sensitivity=0.4, limit=2.5)
    users = initial(model)
    x = 0.0
    q, b = small_catalog["quality"].astype(float), small_catalog["clickbait"].astype(float)
    for items, click in (
        ([3, 8], [True, False]),
        ([1, 4], [True, True]),
        ([0, 2], [False, False]),
        ([6, 7], [True, True]),
    ):
        users = users.replace(**model(users, small_catalog, feedback([items], [click]), NOTHING))
        x = 0.7 * x + sum(1.1 * q[i] - 2.0 * b[i] for i, c in zip(items, click, strict=True) if c)
        x = min(max(x, -2.5), 2.5)
        assert users.net_exposure[0] == pytest.approx(x, abs=1e-5)
        assert users.satisfaction[0] == pytest.approx(sigmoid(0.4 * x), abs=1e-5)


# --- departure


def test_hazard_frequency(rng: np.random.Generator) -> None:
    B = 40_000
    model = Hazard(level=-1.0, satisfaction=2.0, fatigue=0.3)
    users = record({"satisfaction": np.full(B, 0.6, np.float32), "fatigue": np.tile(f32(0.5, 1.0), (B, 1))})
    left = model(users, feedback([[-1]] * B, [[False]] * B), rng.random((1, B), np.float32))["left"]
    p = sigmoid(-1.0 - 2.0 * 0.6 + 0.3 * 1.5)
    assert left.mean() == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / B))


def sessions_step(
    model: Sessions, spent: float, satisfied: float, s: float, u: tuple[float, float]
) -> dict[str, Array]:
    users = record({"spent": f32(spent), "pages": f32(6.0), "stamina": f32(4.0), "satisfaction": f32(s)})
    return model(users, feedback([[-1]], [[False]], satisfied=f32(satisfied)), f32([u[0]], [u[1]]))


def test_sessions_by_hand() -> None:
    model = Sessions(restore=0.75, loyalty=0.8)
    got = sessions_step(model, 1.0, 0.0, 0.5, (0.5, 0.5))
    assert (float(got["spent"][0]), bool(got["left"][0]), float(got["away"][0])) == (2.0, False, 0.0)
    assert float(sessions_step(model, 1.0, 2.0, 0.5, (0.5, 0.5))["spent"][0]) == pytest.approx(0.5)
    assert float(sessions_step(model, 0.0, 2.0, 0.5, (0.5, 0.5))["spent"][0]) == 0.0
    p = 0.8 * 0.5**2
    gone = sessions_step(model, 3.0, 0.0, 0.5, (p + 1e-4, 0.5))
    assert gone["left"][0]
    assert gone["objectives"][0].tolist() == [0.0]
    back = sessions_step(model, 3.0, 0.0, 0.5, (p - 1e-4, 0.25))
    assert not back["left"][0]
    assert back["objectives"][0].tolist() == [1.0]
    assert float(back["spent"][0]) == 0.0
    assert float(back["away"][0]) == pytest.approx(60.0 + 75.0)  # 1 to 6 hours
    pages = [float(step["pages"][0]) for step in (got, gone, back)]
    assert pages == [7.0, 7.0, 0.0]  # a new session begins at 0
    short = dataclasses.replace(model, longest=6.5)
    assert float(sessions_step(short, 1.0, 0.0, 0.5, (0.5, 0.5))["pages"][0]) == 6.5


def test_budget_by_hand() -> None:
    model = Budget(prompt=1.5, browse=0.5, recovery=0.4)

    def step(spent: float, watched: int, prompted: bool, budget: float = 9.0) -> tuple[float, bool]:
        users = record({"spent": f32(spent), "stamina": f32(4.0), "budget": f32(budget)})
        given = feedback(
            [[-1]],
            [[False]],
            watched_item=np.array([watched], np.int32),
            prompted=[prompted],
            enjoyment=f32(0.5),
            slice=f32(0.8),
        )
        out = model(users, given, NOTHING)
        return pytest.approx(float(out["spent"][0]), abs=1e-6), bool(out["left"][0])

    assert step(1.0, -1, False) == (1.5, False)
    assert step(1.0, 3, False) == (1.0 - 0.4 * 0.8 * 0.5, False)
    assert step(1.0, 3, True) == (2.5 - 0.16, False)
    assert step(0.0, 3, False) == (0.0, False)
    assert step(3.5, -1, False) == (4.0, True)
    assert step(0.0, 3, False, budget=0.0) == (0.0, True)


# --- reward


def test_weighted_pays_by_name(rng: np.random.Generator) -> None:
    weights, shown = Weighted({"b": 2.0, "a": -1.0}).weights(("a", "b", "c"))
    assert weights.tolist() == [-1.0, 2.0, 0.0]
    objectives = rng.normal(size=(5, 3)).astype(np.float32)
    slate = np.zeros((5, 2), np.int32)
    assert pay(objectives, slate, weights, shown) == pytest.approx(objectives.astype(float) @ weights)


def test_like_dislike_pays_plus_and_minus_one() -> None:
    weights, shown = LikeDislike().weights(("watch", "click"))
    slate = np.array([[3, 4, -1], [3, 4, 5], [-1, -1, -1]], np.int32)
    objectives = f32([9.0, 1.0], [9.0, 0.0], [9.0, 0.0])
    assert pay(objectives, slate, weights, shown).tolist() == [
        0.0,
        -3.0,
        0.0,
    ]  # one liked and one not; three not; nothing


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: DotProduct(scale=math.inf), r"DotProduct.scale: .*got inf"),
        (lambda: DotProduct(attributes={"quality": "1"}), r"DotProduct\['quality'\]: .*got '1'"),
        (lambda: DotProduct(attributes=["quality"]), r"DotProduct.attributes.*quality"),
        (lambda: Loyal(loyalty=-1.0), r"Loyal.loyalty: .*got -1"),
        (lambda: Lookup([1.0, math.nan]), r"Lookup.table: must be finite"),
        (lambda: Lookup("abc"), r"Lookup.table: must be an array of numbers, got 'abc'"),
        (lambda: Clicks(minutes=-1), r"Clicks.minutes: .*got -1"),
        (lambda: Funnel(places=0), r"Funnel.places: must be an integer in \[1, 1000\], got 0"),
        (lambda: Funnel(places=2.0), r"Funnel.places: .*got 2.0"),
        (lambda: Funnel(hazard=1.1), r"Funnel.hazard: must be a number in \[0, 1\], got 1.1"),
        (lambda: Dwell(sigma=0), r"Dwell.sigma: .*got 0"),
        (lambda: Dwell(longest=0.1), r"Dwell.longest: .*got 0.1"),
        (lambda: Watch(epoch=6), r"Watch.epoch: must be a number in \[0.001, 5\], got 6"),
        (lambda: Watch(epoch="3"), r"Watch.epoch: .*got '3'"),
        (lambda: Watch(fans=0), r"Watch.fans: .*got 0"),
        (lambda: InterestDrift(rate=1.5), r"InterestDrift.rate: .*got 1.5"),
        (lambda: Fatigue(half_life=0), r"Fatigue.half_life: .*got 0"),
        (lambda: Satiation(limit=0), r"Satiation.limit: .*got 0"),
        (lambda: Satisfaction(memory=2), r"Satisfaction.memory: .*got 2"),
        (lambda: Mood(limit=(0.5, 0.4), initial=0.5), r"Mood.limit\[1\]: .*got 0.4"),
        (lambda: Mood(limit=(0.5, 0.8)), r"Mood.initial: .*got 0"),
        (lambda: NetExposure(limit=-1), r"NetExposure.limit: .*got -1"),
        (lambda: Sessions(loyalty=1.2), r"Sessions.loyalty: .*got 1.2"),
        (lambda: Budget(prompt=-0.1), r"Budget.prompt: .*got -0.1"),
        (lambda: Weighted({}), r"reward: must be weights by objective, at least one, got \{\}"),
        (lambda: Weighted({"click": math.nan}), r"reward\['click'\]: .*got nan"),
    ],
)
def test_bad_parameters(make: Any, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()
