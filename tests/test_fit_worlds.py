"""Worlds fitted to logs: the likelihoods are those of the choice models, and what was planted in a world is found in its logs."""

from __future__ import annotations

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest

pytest.importorskip("polars")
pytest.importorskip("torch")

import torch

import recgym
from baselines import make_agent
from recgym.errors import ConfigError, FitError
from recgym.fit.checkpoint import Checkpoints
from recgym.fit.effects import given_draws, logistic, random_intercepts
from recgym.fit.events import Slates, slates_of
from recgym.fit.inputs import data_of
from recgym.fit.likelihood import CHOICES, examination
from recgym.fit.outcomes import scan
from recgym.fit.past import Habit, habits_of, replayed_fatigue, worth_keeping
from recgym.fit.stay import fit_leaving, fit_mood, mood_inputs, running_means
from recgym.fit.taste import Data, Taste, batches, fit_taste, polish
from recgym.fit.worlds import fit_world
from recgym.logs import Logs, simulate
from recgym.market import LoggedMarket, Market, StaticMarket
from recgym.models.candidates import Retrieval, Uniform
from recgym.models.choice import Cascade, MultinomialLogit, PositionBased
from recgym.models.departure import Visits
from recgym.models.dynamics import Adaptation, Attraction, Fatigue, Mood
from recgym.models.preference import DotProduct
from recgym.models.response import Outcomes
from recgym.models.reward import Weighted
from recgym.population import Empirical
from recgym.testing import check_component, check_world
from recgym.world import World

D, N = 4, 120


@pytest.fixture(scope="module")
def planted() -> World:
    """A world of the parts that a fit makes, with known coefficients."""
    rng = np.random.default_rng(0)
    base = recgym.load_world("ecommerce", items=N, topics=6, dimensions=D)
    prices = np.clip(0.4 * rng.standard_normal((N, 6)), -1, 1)
    table = np.stack([prices, 0.5 * np.exp(prices)], axis=2).astype(np.float32)
    market = LoggedMarket(1440.0 * 6, np.array([0, N]), np.arange(N), table, np.zeros(N, np.int32), 1440.0,
                          ("log_price", "price"), (True, True))  # fmt: skip
    taste = rng.standard_normal((400, D)) / math.sqrt(D)
    profile = taste / np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1)
    appeal = -1.5 + 0.5 * rng.standard_normal(N)
    keep = 0.8 * rng.standard_normal(N)
    attributes = np.stack([appeal, keep, rng.uniform(-1, 1, N)], axis=1).astype(np.float32)
    catalog = recgym.Catalog(
        base.catalog.embedding, base.catalog.topic, attributes, ("appeal", "keep", "shown"), 6, ("shown",)
    )
    return World(
        catalog=catalog,
        population=Empirical(2.0 * taste, profile, rng.uniform(0, 8000, 400), {"log_price": (-1.5, 0.0)}),
        market=market, candidates=Uniform(10), preference=DotProduct(1.0, {"appeal": 1.0}, {"fatigue": -1.0}),
        choice=PositionBased((0.3, 1.0, 0.6)),
        response=Outcomes(("cart", "purchase"), {"cart": 0.2, "purchase": -0.5, "dwell": -1.0}, {"cart": 0.5, "dwell": 0.2},
                          {"purchase": 1.0}, {}, {"purchase": "cart"}, 0.7, 20.0, 0.5, True),
        dynamics=(Fatigue(0.1, 0.3, 20.0, 1e3), Mood(0.8, {"keep": 1.0}, limit=50.0)), departure=Visits(-2.5, 0.2, 1.0),
        reward=Weighted({"click": 1.0, "purchase": 2.0}), slate_size=3, embeddings=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def logs(planted: World) -> Logs:
    return simulate(planted, users=4000, batch=4000)


@pytest.mark.parametrize("index", range(5))
def test_the_parts_keep_their_contracts(planted: World, index: int) -> None:
    parts = [planted.population, planted.market, planted.response, planted.dynamics[1],
             Visits(-2.0, 0.1, 1.0, 0.0, -1.0, 0.0, 600.0, 1.0)]  # fmt: skip
    check_component(parts[index], planted)


def test_who_has_just_clicked_is_busy(planted: World) -> None:
    """A world in which a click takes 2 from all utilities of the next step, a memory of 0.5 of that in the one after."""
    part = Adaptation("click", memory=0.5, limit=1.0, name="busy")
    check_component(part, planted)
    prefer = DotProduct(1.0, {"appeal": 1.0}, users={"busy": -12.0})
    world = planted.replace(dynamics=(part, planted.dynamics[1]), preference=prefer)
    check_world(world.replace(departure=Visits(-2.5, 0.2, 1.0, back=0.0)))
    users = world.arrive(recgym.mix([1]))
    click = np.array([[True, False, True]])
    after, _ = world.step(users, users.candidates[:, :3], world.noise(users), click)
    assert after.busy[0] == pytest.approx(0.5 * 2 / 3)
    fitted = fit_world(simulate(world, users=1000, batch=1000), candidates=10, steps=200, choice="position-based")
    found = {p.name: p for p in fitted.parameters}
    assert found["busy"].value == pytest.approx(12.0, rel=0.25)
    assert found["busy"].low > 0
    assert found["busy, memory"].low < 0.5 < found["busy, memory"].high
    (fitted_part,) = (part for part in fitted.world.dynamics if isinstance(part, Adaptation) and part.name == "busy")
    assert fitted_part.memory == pytest.approx(0.5, abs=0.1)


def test_habits_are_replayed_as_the_world_has_them(planted: World) -> None:
    """Fatigue, reference price, business and pull of a world, step by step, and what a fit computes of its slates and clicks."""
    parts = (
        Fatigue(0.1, 0.3, 5.0, 0.6), Adaptation("offers", "least", memory=0.7, initial=0.3),
        Adaptation("click", memory=0.5, limit=1.0, name="busy"), Attraction(0.4, 0.6), planted.dynamics[1],
    )  # fmt: skip
    prefer = DotProduct(1.0, {"appeal": 1.0}, {"fatigue": -1.0}, {"level": 1.0, "busy": -1.0})
    world = planted.replace(dynamics=parts, preference=prefer, departure=Visits(-30.0))
    B, K = 40, 30
    users = world.arrive(recgym.mix(range(B)))
    taste, rows = users.interest, []
    for _ in range(K):
        slate = users.candidates[:, :3]
        after, feedback = world.step(users, slate, world.noise(users))
        tired = np.take_along_axis(users.fatigue, world.catalog.topic[slate], axis=1)
        pull = np.einsum("bd,bsd->bs", users.interest - taste, world.catalog.embedding[slate])
        prices = world.market.observe(slate, users.clock)
        rows.append(
            (
                slate,
                feedback.click,
                prices,
                users.clock,
                feedback.dt,
                tired,
                after.fatigue.sum(1),
                users.level,
                users.busy,
                pull,
            )
        )
        users = after
    item, click, signal, clock, dt, tired, total, level, busy, pull = (
        np.stack(column, 1).reshape(B * K, *np.shape(column[0])[1:]) for column in zip(*rows, strict=True)
    )
    assert tired.max() == pytest.approx(0.6)
    assert click.sum() > 100
    step = np.tile(np.arange(K, dtype=np.int32), B)
    gap = np.where(step > 0, np.r_[0.0, dt[:-1]], 0.0)
    user = np.repeat(np.arange(B, dtype=np.int32), K)
    minutes = np.where(np.arange(3) == 0, (dt - world.response.scan)[:, None], 0.0).astype(np.float32)
    slates = Slates(item, click, signal, ("log_price", "price"), {"dwell": minutes}, user, clock.astype(float), gap, step,
                    np.zeros(B * K, np.int8), np.arange(0, B * K + 1, K), world.catalog.topic, 6, np.datetime64("2026-01-05"))  # fmt: skip
    got, after_step = replayed_fatigue(slates, 0.1, 0.3, 5.0, 0.6)
    np.testing.assert_allclose(got, tired, atol=1e-5)
    np.testing.assert_allclose(
        after_step, total, atol=1e-5
    )  # also at the end, of which no next slate tells how long it took
    data = data_of(logs_of(world), slates, [])
    model = fit_taste(data, "position-based", D, steps=10, size=1000, seed=0)
    found = {habit.name: habit for habit in habits_of(data, slates, model)}
    assert [*found] == ["fatigue", "level", "busy", "pull"]
    np.testing.assert_allclose(found["level"].utility(1.0, 0.7, 0.3, 1.0), np.repeat(level[:, None], 3, 1), atol=1e-5)
    np.testing.assert_allclose(found["busy"].utility(1.0, 0.5), np.repeat(-busy[:, None], 3, 1), atol=1e-5)
    np.testing.assert_allclose(found["pull"].utility(0.4, 0.6), pull, atol=1e-5)


def logs_of(world: World) -> Logs:
    """Some logs of a world, for what they tell of its items and users."""
    return simulate(world, users=40, batch=40)


def test_numbers_of_habits_move_no_further_than_told_and_those_without_effect_go() -> None:
    def line(strength: float, memory: float) -> np.ndarray:
        return np.full((3, 2), strength * memory)

    habit = Habit(
        "pull", ("strength", "memory"), ("plain", "logit"), np.array([2.0, 0.0]), np.array([True, True]), line, (0,)
    )
    here, (by_strength, by_memory) = habit.derivatives()
    np.testing.assert_allclose(here, 1.0)
    np.testing.assert_allclose(by_strength, 0.5, rtol=1e-6)
    np.testing.assert_allclose(by_memory, 2.0 * 0.25, rtol=0.02)
    assert habit.moved(np.array([-0.5, 7.0])).values == pytest.approx((1.5, 1 / (1 + math.exp(-1.0))))
    assert worth_keeping([habit], [np.array([0.9, 0.3])])[0].values == habit.values
    assert worth_keeping([habit], [np.array([1.1, 0.3])]) == []  # its interval holds 0
    assert (
        worth_keeping([habit.moved(np.array([-1.0, 0.0])).moved(np.array([-1.0, 0.0]))], [np.array([0.1, 0.3])]) == []
    )


def test_attraction_keeps_its_contract_and_passes(planted: World) -> None:
    part = Attraction(0.5, 0.5)
    check_component(part, planted)
    world = planted.replace(dynamics=(part, *planted.dynamics), departure=Visits(-2.5, 0.2, 1.0, back=0.0))
    check_world(world)
    users = world.arrive(recgym.mix([1]))
    slate = users.candidates[:, :3]
    click = np.array([[True, False, False]])
    after, _ = world.step(users, slate, world.noise(users), click)
    pull = 0.5 * world.catalog.embedding[slate[0, 0]]
    np.testing.assert_allclose(after.interest[0] - users.interest[0], pull, atol=1e-6)
    later, _ = world.step(after, after.candidates[:, :3], world.noise(after), ~click & False)
    np.testing.assert_allclose(later.interest[0] - users.interest[0], pull / 2, atol=1e-6)


def test_logged_markets_say_what_was_logged_and_refuse_what_does_not_fit(planted: World) -> None:
    market = planted.market
    assert isinstance(market, LoggedMarket)
    seen = market.observe(np.array([[7, -1]], np.int32), np.array([2.5 * 1440], np.float32))
    np.testing.assert_array_equal(seen[0], [market.table[7, 2], [0, 0]])
    assert Market.signals == ()
    assert StaticMarket.names == ()
    with pytest.raises(ConfigError, match=r"market\.part: must divide"):
        LoggedMarket(
            1440.0, market.offsets, market.listed, market.table, market.first, 1000.0, market.known, (True, True)
        )


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("position-based", lambda e, t: PositionBased(tuple(e), 0.0)),
        ("cascade", lambda e, t: Cascade(t[0], t[1], 0.0)),
        ("multinomial logit", lambda e, t: MultinomialLogit(0.0, t[0])),
        ("independent", lambda e, t: PositionBased((1.0,) * 4, 0.0)),
    ],
)
def test_likelihoods_are_those_of_the_choice_models(name, model) -> None:
    rng = np.random.default_rng(1)
    likelihood, start = CHOICES[name]
    theta = torch.tensor([x + 0.3 * k for k, x in enumerate(start(4))], dtype=torch.float64)
    e = examination(theta).tolist() if name == "position-based" else []
    shape = torch.nn.functional.softplus(theta) if name == "multinomial logit" else torch.sigmoid(theta)
    v, click = rng.normal(size=(200, 4)).astype(np.float32), rng.random((200, 4)) < 0.3
    if name == "multinomial logit":
        click &= np.cumsum(click, axis=1) == 1
    v[:20, 3], click[:20, 3] = -np.inf, False
    want = model(e, shape.tolist()).log_prob(v, np.zeros(200, np.float32), click)
    there = torch.from_numpy(v > -np.inf)
    finite = torch.from_numpy(np.where(v > -np.inf, v, 0.0)).double()
    got = likelihood(finite, there, torch.from_numpy(click), theta)
    np.testing.assert_allclose(got.numpy(), want, atol=2e-6)


def test_propensities_are_the_shares_with_which_items_are_shown() -> None:
    world = recgym.load_world("ecommerce", items=50, slate_size=2, candidates=5)
    logs = simulate(world, {"popularity": make_agent("popularity")}, 500, explore=0.4, batch=500)
    p = logs.events["propensity"].to_numpy()
    values, counts = np.unique(p.round(6), return_counts=True)
    np.testing.assert_allclose(values, [0.08, 0.68], atol=1e-6)
    assert (counts[1] / len(p)) == pytest.approx(0.68, abs=0.02)  # the popular item is shown with that probability
    assert (1 / p).sum() / 5 == pytest.approx(len(p), rel=0.03)  # weighted by these, all five are shown alike


def test_simulated_clicks_are_those_of_the_world(planted: World, logs: Logs) -> None:
    """The same users and slates, stepped again by hand."""
    import polars as pl

    first = logs.events.filter(pl.col("slate") == pl.col("slate").min().over("user"))
    users = planted.arrive(recgym.mix(range(4000)))
    slate = np.full((4000, 3), -1, np.int32)
    slate[first["user"].to_numpy(), first["position"].to_numpy()] = first["item"].to_numpy()
    _, feedback = planted.step(users, slate, planted.noise(users))
    np.testing.assert_array_equal(feedback.click[first["user"], first["position"]], first["click"].to_numpy())


def test_prices_are_relative_to_items_and_not_to_what_was_shown(logs: Logs) -> None:
    """The price that is usual in a topic hardly changes when dear items are shown a tenth as often."""
    events = logs.events.drop("feature_log_price")
    item, price = events["item"].to_numpy(), events["price"].to_numpy()
    mean = np.bincount(item, price, N) / np.bincount(item, minlength=N)
    dear = (mean > np.median(mean))[item]
    some = events.filter(~dear | (np.arange(len(events)) % 10 == 0))

    def usual(table) -> np.ndarray:
        slates = slates_of(dataclasses.replace(logs, events=table))
        relative, price = (slates.signal[..., slates.signals.index(name)] for name in ("log_price", "price"))
        topic = slates.topic[np.maximum(slates.item, 0)]
        there = [slates.shown & (topic == z) for z in range(6)]
        return np.array([np.mean(np.log(100 * price[rows]) - relative[rows]) for rows in there])

    np.testing.assert_allclose(usual(some), usual(events), atol=0.05)
    own = slates_of(logs)  # the platform's own relative price, where it is logged
    relative, price = own.signal[own.shown][:, :2].T
    assert np.ptp(np.log(100 * price) - relative) < 1e-3


def test_item_effects_and_coefficients_are_found() -> None:
    rng = np.random.default_rng(3)
    effect, group = 0.7 * rng.standard_normal(200), rng.integers(0, 200, 20_000)
    x = rng.standard_normal(20_000)
    y = (rng.random(20_000) < 1 / (1 + np.exp(1.0 - 0.8 * x - effect[group]))).astype(float)
    fit = random_intercepts(y, np.stack([np.ones(20_000), x], 1), group, 200)
    assert fit.coefficient[1] == pytest.approx(0.8, abs=3 * math.sqrt(fit.covariance[1, 1]))
    assert fit.tau == pytest.approx(0.7, abs=0.1)
    assert np.corrcoef(fit.effect, effect)[0, 1] > 0.9
    noisy = x + 0.8 * rng.standard_normal((8, 20_000)) * 0.8 + 0  # draws around x, as a posterior gives them
    blurred = given_draws(y, noisy, np.zeros((20_000, 0)), group, 200)
    assert 0.5 < blurred.coefficient[1] < 0.9


def test_batches_of_users_are_alike() -> None:
    """A last batch of the few users who remain had the weight of the others, and its noise kept the fit from its maximum."""
    rng = np.random.default_rng(6)
    first = np.r_[0, np.cumsum(rng.integers(1, 60, 1003))]
    for size in (500, 1700, 10**6):
        parts = list(batches(rng.permutation(1003), first, size))
        counts = [int((first[part + 1] - first[part]).sum()) for part in parts]
        assert sorted(np.concatenate(parts)) == list(range(1003))
        assert max(counts) - min(counts) <= 2 * 60
        assert max(counts) < 2 * size
    assert not list(batches(np.zeros(0, np.int64), first, 10))


def test_polishing_brings_the_coefficients_to_their_maximum(logs: Logs) -> None:
    """Back to what the logs were made with, after they have been put elsewhere."""
    slates = slates_of(logs)
    data = data_of(logs, slates, [])
    model = fit_taste(data, "position-based", D, steps=150, size=100, seed=0)
    with torch.no_grad():
        model.gamma.zero_()
        model.theta.fill_(1.0)
    polish(model, data)
    found = float(model.gamma[0].detach())
    assert found == pytest.approx(-1.5, abs=0.4)  # interests are as little fitted as before
    np.testing.assert_allclose(examination(model.theta.detach()).numpy(), [0.3, 1.0, 0.6], atol=0.08)


def test_an_interrupted_fit_goes_on_to_the_same_last_digit(logs: Logs, tmp_path) -> None:
    data = data_of(logs, slates_of(logs), [])
    settings = dict(steps=60, size=2000, seed=3)
    whole = fit_taste(data, "position-based", D, **settings)

    def stop(what: str, share: float, number: float) -> None:
        if share > 0.5:
            raise KeyboardInterrupt

    checkpoints = Checkpoints(tmp_path / "states", seconds=0)
    with pytest.raises(KeyboardInterrupt):
        fit_taste(data, "position-based", D, progress=stop, checkpoints=checkpoints, **settings)
    (file,) = (tmp_path / "states").iterdir()
    seen: list[float] = []
    again = fit_taste(data, "position-based", D, progress=lambda what, share, number: seen.append(share),
                      checkpoints=checkpoints, **settings)  # fmt: skip
    assert seen[0] > 0.3  # not from the start
    for name, x in whole.state_dict().items():
        assert torch.equal(x, again.state_dict()[name]), name
    fit_taste(
        data, "position-based", D, progress=stop, checkpoints=checkpoints, **settings
    )  # is done, and not done again
    file.write_bytes(file.read_bytes()[:-100])  # a torn one counts as none
    fit_taste(data, "position-based", D, checkpoints=checkpoints, **settings)
    checkpoints.clear()
    assert not (tmp_path / "states").exists()


def test_the_hazard_is_found() -> None:
    rng = np.random.default_rng(4)
    users, most = 6000, 60
    keep, item = rng.standard_normal(50), rng.integers(0, 50, (users, most))
    mood, alive, rows = np.zeros(users), np.ones(users, bool), []
    for k in range(most):
        mood = 0.7 * mood + 0.3 * keep[item[:, k]]
        leaves = rng.random(users) < 1 / (1 + np.exp(2.0 - 0.3 * math.log(k + 1) + 1.5 * mood))
        for b in np.flatnonzero(alive):
            rows.append((b, k, item[b, k], 1 - int(leaves[b]) if k + 1 < most else -1))
        alive &= ~leaves
    _, step, shown, stays = (np.array(column) for column in zip(*sorted(rows), strict=True))
    base = np.stack([np.ones(len(step)), np.log1p(step)], 1)
    x, nothing, item = (
        keep[shown][:, None, None].astype(np.float32),
        np.zeros((len(step), 0)),
        shown[:, None].astype(np.int32),
    )
    fit = fit_mood(stays.astype(np.int8), base, step == 0, x, nothing, item, 50)
    error = np.sqrt(np.diag(fit.covariance))
    assert fit.memory[0] == pytest.approx(0.7, abs=0.08)
    assert fit.memory[1] < 0.7 < fit.memory[2]
    assert fit.weights[0] == pytest.approx(1.5, abs=0.2)
    np.testing.assert_allclose(fit.base, [2.0, -0.3], atol=4 * error[:2].max())
    assert fit.matters
    assert not fit.saturates
    assert (fit.level, fit.scale) == (0.0, 1.0)
    means = 1.5 * running_means(keep[shown][:, None], step == 0, 0.7, 0.0)[:, 0]
    np.testing.assert_allclose(fit.limits, np.quantile(means, (0.001, 0.999)), atol=0.3)
    noise = rng.standard_normal((len(step), 1, 3)).astype(np.float32)
    assert not fit_mood(stays.astype(np.int8), base, step == 0, noise, nothing, item, 50).matters
    assert fit.tau < 0.2  # nothing is left for single items
    means = running_means(np.array([[1.0], [0.0], [2.0]]), np.array([True, False, True]), 0.5, 4.0)
    np.testing.assert_allclose(means[:, 0], [2.5, 1.25, 3.0])
    w, _, _ = logistic((np.arange(100) < 25).astype(float), np.ones((100, 1)))
    assert w[0] == pytest.approx(math.log(1 / 3), abs=1e-3)


def test_a_mood_that_saturates_is_found() -> None:
    """Slates of one to three items, as `Satisfaction` and `Hazard` have it: the hazard of each step is found, and that of what was hardly shown."""
    rng = np.random.default_rng(5)
    users, most, S = 8000, 60, 3
    z = rng.normal(0, 1.5, 200)
    item = rng.integers(0, 200, (users, most, S)).astype(np.int32)
    item[..., 1:][rng.random((users, most, S - 1)) < 0.3] = -1
    price = rng.normal(0, 0.5, item.shape)
    clicks = rng.integers(0, 2, (users, most))
    shown = item >= 0
    worth = np.where(shown, 1 / (1 + np.exp(0.3 - 1.5 * z[item] + price)), 0).sum(-1) / shown.sum(-1)
    s, hazard, left = np.full(users, 0.5), np.zeros((users, most)), np.zeros((users, most), bool)
    for k in range(most):
        s = 0.8 * s + 0.2 * (worth[:, k] + 0.1 * clicks[:, k])
        hazard[:, k] = 1 / (1 + np.exp(5.5 * s - 0.2))
        left[:, k] = rng.random(users) < hazard[:, k]
    seen = np.cumsum(left, axis=1) - left == 0  # up to the step after which the user left
    step = np.broadcast_to(np.arange(most), seen.shape)[seen]
    stays = np.where(step + 1 < most, ~left[seen], -1).astype(np.int8)
    x = np.stack([z[item], price], -1)[seen].astype(np.float32)
    base, events = np.stack([np.ones(len(step)), np.log1p(step)], 1), clicks[seen][:, None].astype(float)
    fit = fit_mood(stays, base, step == 0, x, events, item[seen], 200)
    assert fit.saturates
    assert fit.matters
    assert fit.memory[0] == pytest.approx(0.8, abs=0.05)
    assert fit.weights[0] / fit.weights[1] == pytest.approx(-1.5, abs=0.5)
    assert fit.initial == pytest.approx(0.5, abs=0.15)
    assert abs(fit.base[1]) < 0.15  # without the sigmoid, time would seem to make users leave

    def found(worth: np.ndarray, fresh: np.ndarray, events: np.ndarray, base: np.ndarray) -> np.ndarray:
        mood = running_means(
            fit.scale * worth[:, None] + events * fit.weights[2], fresh, fit.memory[0], fit.scale * fit.initial
        )
        return 1 / (1 + np.exp(base @ fit.base + mood[:, 0]))

    inside = fit.level + x @ fit.weights[:2].astype(np.float32) + fit.keep[item[seen]]
    there = item[seen] >= 0
    worths = np.where(there, 1 / (1 + np.exp(-inside)), 0).sum(1) / there.sum(1)
    assert np.corrcoef(np.log(found(worths, step == 0, events, base)), np.log(hazard[seen]))[0, 1] > 0.97
    # Nothing but the best: the hazard where a policy that looks ahead would go.
    best = 1 / (1 + np.exp(-(fit.level + fit.weights[0] * 4.0)))
    rows = np.arange(30)
    last = found(np.full(30, best), rows == 0, np.zeros((30, 1)), np.stack([np.ones(30), np.log1p(rows)], 1))[-1]
    truth = 1 / (1 + math.exp(5.5 / (1 + math.exp(0.3 - 6)) - 0.2))
    assert last == pytest.approx(truth, rel=0.5)


def test_the_end_of_the_longest_sessions_is_no_leaving_and_fatigue_is() -> None:
    """Sessions cut after 20 steps: a hazard that does not change, but for the fatigue, which counts where it drives users away only."""
    rng = np.random.default_rng(6)
    users, most = 3000, 20
    fatigue = np.maximum(np.cumsum(rng.normal(0, 0.5, (users, most)), axis=1), 0)
    left = rng.random((users, most)) < 1 / (1 + np.exp(4.0 - 0.5 * fatigue))
    seen = np.cumsum(left, axis=1) - left == 0
    user, step = (np.broadcast_to(a, seen.shape)[seen] for a in (np.arange(users)[:, None], np.arange(most)))
    M = int(seen.sum())
    last = np.r_[np.diff(user) != 0, True]
    item = rng.integers(0, 30, (M, 1)).astype(np.int32)
    slates = Slates(
        item, rng.random((M, 1)) < 0.1, np.zeros((M, 1, 0), np.float32), (), {}, user.astype(np.int32), np.arange(M) * 1.0, np.ones(M),
        step.astype(np.int32), last.astype(np.int8), np.r_[0, np.flatnonzero(last) + 1], np.zeros(30, np.int32), 1,
        np.datetime64("2024-01-01"),
    )  # fmt: skip
    T = torch.from_numpy
    data = Data(
        T(item.astype(np.int64)), T(slates.shown), T(slates.click), T(slates.signal), T(user.astype(np.int64)), slates.first,
        torch.zeros(users, 1), torch.zeros(users, dtype=torch.bool), T(rng.normal(size=(30, 1)).astype(np.float32)), None, ("colour",),
        torch.zeros(item.shape), 0,
    )  # fmt: skip
    model, interest = Taste(data, "independent", 2), np.zeros((1, users, 2), np.float32)
    unknown: list[str] = []
    leaving, parameters = fit_leaving(slates, model, data, interest, unknown, fatigue[seen])
    found = {p.name: p for p in parameters}
    assert found["leaving, fatigue"].value == pytest.approx(0.5, abs=0.1)
    assert leaving.departure.fatigue == found["leaving, fatigue"].value
    assert abs(found["leaving, pace"].value) < 0.25
    assert found["leaving, log-odds"].value == pytest.approx(-4.0, abs=0.5)
    leaving, parameters = fit_leaving(slates, model, data, interest, unknown, -fatigue[seen])
    assert leaving.departure.fatigue == 0.0
    assert "leaving, fatigue" not in {p.name for p in parameters}
    assert any(sentence.startswith("Fatigue") for sentence in unknown)


def test_a_fitted_world_has_what_was_planted_and_plays(planted: World, logs: Logs, tmp_path) -> None:
    fitted = fit_world(logs, candidates=10, steps=400, reward={"click": 1.0, "purchase": 2.0})
    assert fitted.settings["choice"] == "position-based"
    found = {p.name: p for p in fitted.parameters}
    assert found["log_price"].value == pytest.approx(-1.5, abs=0.25)
    assert found["examination 1"].value == pytest.approx(0.3, abs=0.06)
    assert found["examination 3"].value == pytest.approx(0.6, abs=0.08)
    assert found["cart, per unit of utility"].value == pytest.approx(0.5, abs=0.2)
    for name, value in {"ignored": 0.1, "clicked": 0.3, "fatigue, half-life": 20.0}.items():
        assert found[name].low < value < found[name].high, found[name]
    assert found["fatigue, half-life"].value == pytest.approx(20.0, rel=0.6)
    world = fitted.world
    (fatigue,) = (part for part in world.dynamics if isinstance(part, Fatigue))
    assert fatigue.limit > 2  # as there is none
    assert np.corrcoef(world.catalog["appeal"], planted.catalog["appeal"])[0, 1] > 0.75
    assert any(sentence.startswith("Returns") for sentence in fitted.unknown)
    value = {}
    for name, where in (("planted", planted), ("fitted", world)):
        for agent in ("random", "myopic"):
            env = recgym.RecVectorEnv(where, 1500, autoreset_mode="Disabled")
            observation, info = env.reset(seed=10**6)
            player = make_agent(agent)
            player.start(env)
            total, alive = 0.0, np.ones(1500, bool)
            while alive.any():
                observation, reward, left, cut, info = env.step(player.act(observation, info["action_mask"]))
                total += reward.sum()
                alive = ~(left | cut)
            value[name, agent] = total / 1500
    for agent in ("random", "myopic"):
        assert value["fitted", agent] == pytest.approx(value["planted", agent], rel=0.15), value
    assert value["fitted", "myopic"] > 1.2 * value["fitted", "random"]
    world.save(tmp_path / "world")
    env = gym.make("recgym/EcommerceSlate-v0", world=str(tmp_path / "world"), slate_size=3)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    assert world.replace(candidates=Retrieval(10)).n_candidates == 10


def test_few_clicks_tell_no_habits(planted: World) -> None:
    """Of 29 rows a fit said that an impression takes 20 [10, 29] from the utility of its topic."""
    fitted = fit_world(simulate(planted, users=20, batch=20), candidates=10, steps=10)
    assert any("clicks are too few to tell them" in sentence for sentence in fitted.unknown)
    assert not any(isinstance(part, (Fatigue, Attraction, Adaptation)) for part in fitted.world.dynamics)


def test_logs_that_cannot_be_fitted_say_so(logs: Logs) -> None:
    import polars as pl

    quiet = logs.events.with_columns(click=pl.lit(False))
    with pytest.raises(FitError, match="must have clicks"):
        slates_of(Logs(quiet, logs.items, logs.users))
    with pytest.raises(ConfigError, match=r"choice: .*'casacde'.*Did you mean 'cascade'"):
        fit_world(logs, choice="casacde")
    with pytest.raises(ConfigError, match="users: must be"):
        simulate(recgym.load_world("open-bandit"), users=0)


def test_interactions_alone_are_fitted_beside_random_items(logs: Logs) -> None:
    """All that was clicked, nothing else: the taste is found, and the world's click rate is what one says."""
    import polars as pl

    clicked = logs.events.filter(pl.col("click")).select("user", "item", "time", "click")
    few = clicked.filter(pl.col("user") != 5)  # a user without a row
    alone = Logs(few, logs.items, logs.users, impressions=False)
    fitted = fit_world(alone, steps=150, click_rate=0.1, candidates=10)
    assert int(fitted.slates.click.sum()) == len(few)  # none is lost, also of one user and one time
    places = fitted.slates.click.mean(axis=0)
    np.testing.assert_allclose(places, 0.1, atol=0.01)  # the place of an item does not tell that it was taken
    assert any(sentence.startswith("Impressions") for sentence in fitted.unknown)
    assert "decay" not in {p.name for p in fitted.parameters}
    world = fitted.world
    users = world.arrive(recgym.mix(range(2000)))
    v = world.catalog["appeal"][users.candidates] + np.einsum(
        "bd,bkd->bk", users.interest, world.catalog.embedding[users.candidates]
    )
    assert float((1 / (1 + np.exp(-v))).mean()) == pytest.approx(0.1, abs=0.02)
    assert fitted.data.known.shape[0] == fitted.slates.n_users == few["user"].n_unique() < alone.n_users


def test_moods_are_fed_in_the_fit_as_in_the_world(planted: World) -> None:
    """Each input of the fit against one step of `Mood` that has that weight alone."""
    logs = simulate(planted, users=300, batch=300)
    slates = slates_of(logs)
    data = data_of(logs, slates, [])
    model = fit_taste(data, "position-based", D, steps=20, size=1000, seed=0)
    x, events, words = mood_inputs(slates, model, data, model.sample(data, 1))
    assert x.shape == (*slates.item.shape, len(words) - 2)
    first = slates.step == 0
    users = planted.arrive(recgym.mix(range(300)))
    slate = slates.item[first]
    _, feedback = planted.step(users, slate, planted.noise(users))
    dwell = feedback.objectives[:, planted.objectives.index("dwell")]
    whole = {"clicks": dict(click=1.0), "log minutes": dict(minutes=1.0)}
    for word, weight in whole.items():
        mood = Mood(0.0, {}, limit=50.0, **weight)(users, planted.catalog, feedback, np.zeros((0, 300)))["mood"]
        if word == "log minutes":
            mood = np.log(
                np.exp(mood) - planted.response.scan + scan(slates)
            )  # what a step without a click takes is fitted, too
            np.testing.assert_allclose(np.exp(mood) - 1 - scan(slates), dwell, atol=1e-4)
        np.testing.assert_allclose(events[first, words[-2:].index(word)], mood, atol=1e-4, err_msg=word)
