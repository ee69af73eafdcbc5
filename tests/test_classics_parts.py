"""The parts that the literature's environments brought: each against its equations in plain Python, and the ids whole."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as gymnasium_check_env

import recgym
from baselines.reference import SHORTLIST, Look, MyopicOracle, Ranked, Varied
from recgym import Catalog, Column, Component, ConfigError, Sizes, Users, World, load_world, mix
from recgym.classics import recogym as recogym_classic
from recgym.classics import sardine
from recgym.envs import RecEnv, RecVectorEnv
from recgym.market import StaticMarket
from recgym.models.candidates import All, Uniform
from recgym.models.choice import Choice, FirstItem, PositionBased, Proportional, RareClick
from recgym.models.departure import Never, Spent
from recgym.models.dynamics import (
    Boredom,
    Dynamics,
    MeanDrift,
    NetExposure,
    OrganicSessions,
    SignedDrift,
    TwoSpeedDrift,
)
from recgym.models.preference import Cosine, DotProduct, NegativeDistance
from recgym.models.response import Clicks, Engagement, WatchTime
from recgym.noise import noise as draw_noise
from recgym.observations import CompactObservation, FlatObservation, Observation
from recgym.population import NormalInterests, SparseInterests, UniformInterests, UserTypes
from recgym.testing import check_component, check_env, random_slates
from recgym.types import Array, Feedback

INF = np.float32(np.inf)
SURE, NEVER = 2.0**-24, 1 - 2.0**-24  # the smallest and the largest uniform
SIZES = Sizes(slate=3, candidates=5, items=12, dimensions=3, topics=4, signals=0)
NOTHING = np.empty((0, 1), np.float32)
z_of = NormalDist().inv_cdf


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def f32(*values: Any) -> Array:
    return np.array(values, np.float32)


def uniforms(rng: np.random.Generator, n: int, B: int) -> Array:
    """(n, B) float32 in (0, 1), as `recgym.noise` gives them."""
    return rng.random((n, B), np.float32).clip(SURE, NEVER)


def record(columns: dict[str, Any]) -> Users:
    return Users(**{name: np.asarray(value) for name, value in columns.items()})


def feedback(slate: Any, click: Any) -> Feedback:
    return Feedback(
        slate=np.asarray(slate, np.int32), click=np.asarray(click, bool), dt=np.ones(len(slate), np.float32)
    )


def initial(part: Component, B: int, **more: Any) -> Users:
    """Users with the columns of one part as on arrival."""
    columns = {name: np.full((B, *c.shape), c.initial, c.dtype) for name, c in part.columns(SIZES).items()}
    return record({**columns, **more})


@cache
def classic(env_id: str) -> World:
    env = gym.make(env_id).unwrapped
    assert isinstance(env, RecEnv)
    return env.world


@cache
def by_name(name: str, **options: Any) -> World:
    return load_world(name, **options)


def play(
    world: World, users: int = 16, steps: int = 12, seed: int = 0, empty: float = 0.15
) -> Iterator[tuple[Users, Array, Feedback, Users]]:
    """Users, random slate, feedback and users after."""
    rng = np.random.default_rng(seed)
    rows = world.arrive(mix(range(seed, seed + users)))
    for _ in range(steps):
        slate = random_slates(rng, rows.candidates, world.slate_size, empty)
        after, given = world.step(rows, slate, world.noise(rows))
        yield rows, slate, given, after
        rows = after


# --- contracts


DOMAIN_HOSTED = [
    Proportional(),
    Proportional(null=0.3, shift=-0.5),
    FirstItem(),
    RareClick(),
    SignedDrift(1.0),
    MeanDrift(0.3),
    MeanDrift(0.3, scalar=True),
    Boredom(),
    Boredom(threshold=1, window=2, memory=3, duration=1),
    NetExposure(0.7, noise=0.4, initial=2.0, limit=3.0),
    Uniform(7),
    All(),
]


@pytest.mark.parametrize("part", DOMAIN_HOSTED, ids=lambda part: part.kind)
def test_contract_in_a_domain(part: Component) -> None:
    check_component(part)


def classic_parts() -> Iterator[Any]:
    seen = set()
    for env_id in recgym.CLASSIC_IDS:
        for part in classic(env_id).parts:
            key = part.kind, repr(part) if part.kind not in ("Catalog", "StaticMarket", "OrganicSessions") else env_id
            if key in seen:
                continue
            seen.add(key)
            yield pytest.param(env_id, part, id=f"{env_id[7:]}-{part.kind}")


@pytest.mark.parametrize(("env_id", "part"), list(classic_parts()))
def test_contract_in_its_classic(env_id: str, part: Component) -> None:
    check_component(part, classic(env_id))


# --- choice

CHOICES = [Proportional(), Proportional(null=0.4, shift=0.2), FirstItem(), RareClick()]
CHOICE_NAMES = [f"{model.kind}{i}" for i, model in enumerate(CHOICES)]


def rare(v: float) -> float:
    """ff(v) of RecoGym."""
    return sigmoid(5 * sigmoid(2 * sigmoid(0.3 * v) - 2) - 6)


def patterns(S: int) -> Array:
    return np.array(list(itertools.product([False, True], repeat=S)))


def chance(model: Choice, utility: list[float], pattern: tuple[bool, ...]) -> float:
    """P(click pattern) from the equations."""
    if isinstance(model, Proportional):
        weight = [max(v + model.shift, 0.0) for v in utility]
        total = model.null + sum(weight)
        if sum(pattern) > 1:
            return 0.0
        return (weight[pattern.index(True)] if any(pattern) else model.null) / total
    if isinstance(model, FirstItem):
        return float(pattern == (utility[0] > -math.inf, *[False] * (len(utility) - 1)))
    p = [rare(v) if v > -math.inf else 0.0 for v in utility]
    return math.prod(q if clicked else 1 - q for q, clicked in zip(p, pattern, strict=True))


@pytest.mark.parametrize("empty", [(), (0,), (1,), (0, 2), "all"], ids=str)
@pytest.mark.parametrize("S", [1, 2, 3, 5])
@pytest.mark.parametrize("model", CHOICES, ids=CHOICE_NAMES)
def test_every_pattern_has_its_probability(model: Choice, S: int, empty: Any, rng: np.random.Generator) -> None:
    utility = rng.normal(0, 1.5, (1, S)).astype(np.float32)
    utility[0, [s for s in range(S) if empty == "all" or s in empty]] = -INF
    outside = np.zeros(1, np.float32)
    values = [float(v) for v in utility[0]]
    want = {tuple(p.tolist()): chance(model, values, tuple(p.tolist())) for p in patterns(S)}
    assert sum(want.values()) == pytest.approx(1)
    got = {p: math.exp(model.log_prob(utility, outside, np.array([p]))[0]) for p in want}
    assert sum(got.values()) == pytest.approx(1, abs=1e-9)
    assert got == pytest.approx(want, rel=1e-5, abs=1e-12)
    marginal = [sum(q for p, q in want.items() if p[s]) for s in range(S)]
    assert model.probability(utility, outside)[0].tolist() == pytest.approx(marginal, rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("model", CHOICES, ids=CHOICE_NAMES)
def test_patterns_come_as_often_as_stated(model: Choice, rng: np.random.Generator) -> None:
    n, S = 400_000, 3
    utility = f32([0.7, -0.4, 2.5])
    noise = uniforms(rng, model.uniforms(Sizes(S, 5, 9, 4, 4, 0)), n)
    click, stated = model.sample(np.repeat(utility, n, axis=0), np.zeros(n, np.float32), noise)
    assert (stated == model.probability(utility, np.zeros(1, np.float32))).all()
    for pattern in patterns(S):
        p = chance(model, [float(v) for v in utility[0]], tuple(pattern.tolist()))
        found = (click == pattern).all(axis=1).mean()
        assert found == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / n) + 1e-6)


@pytest.mark.parametrize(("u", "want"), [(0.05, None), (0.499, None), (0.501, 0), (0.749, 0), (0.751, 2), (0.9999, 2)])
def test_proportional_samples_by_inversion(u: float, want: int | None) -> None:
    """Nothing first, then the places in order: weights 2 | 1, 0, 1."""
    click, _ = Proportional().sample(f32([0.0, -1.0, 0.0]), f32(0), f32([u]))
    assert np.flatnonzero(click[0]).tolist() == ([] if want is None else [want])


def test_proportional_clicks_at_the_largest_uniform_too(rng: np.random.Generator) -> None:
    """The places' probabilities must fill up to 1 where the null weighs next to nothing."""
    utility = rng.uniform(0, 3, (2000, 7)).astype(np.float32)
    click, _ = Proportional(null=1e-9).sample(
        utility, np.zeros(2000, np.float32), np.full((1, 2000), NEVER, np.float32)
    )
    assert (click.sum(axis=1) == 1).all()


def test_rare_clicks_lie_between_the_published_bounds() -> None:
    v = np.linspace(-60, 60, 301, dtype=np.float32)[:, None]
    got = RareClick().probability(v, np.zeros(301, np.float32))[:, 0]
    assert got.tolist() == pytest.approx([rare(float(x)) for x in v[:, 0]], rel=1e-5)
    assert (np.diff(got) >= 0).all()
    assert (got[0], got[-1]) == pytest.approx((0.0045, 0.0293), abs=5e-5)


# --- response


def quality_catalog(quality: list[float], clickbait: list[float]) -> Catalog:
    n = len(quality)
    attributes = np.stack([quality, clickbait], axis=1)
    return Catalog(np.eye(3)[np.arange(n) % 3], np.arange(n) % 4, attributes, ("quality", "clickbait"), 4)


@pytest.mark.parametrize("budget", [-1.0, 0.0, 0.25, 3.9, 4.0, 4.1, 200.0])
@pytest.mark.parametrize("place", [None, 0, 2])
@pytest.mark.parametrize("numbers", [(4.0, 200.0, 0.5, 0.9 / 3.4), (2.5, 7.0, 1.25, -2.0)], ids=["published", "other"])
def test_watch_time_by_hand(budget: float, place: int | None, numbers: tuple[float, float, float, float]) -> None:
    """w = min(B, 4), not below 0; B <- B - w + (0.9 / 3.4) w q; a step without a click costs half a minute."""
    length, first, browse, bonus = numbers
    quality = [-2.5, 0.4, 1.9, 3.0]
    model = WatchTime() if length == 4.0 else WatchTime(length, first, browse, bonus)
    catalog = quality_catalog(quality, [0.0] * 4)
    assert model.columns(SIZES)["budget"].initial == first
    slate = np.array([[3, -1, 0]], np.int32)
    click = np.zeros((1, 3), bool)
    if place is not None:
        click[0, place] = True
    users = record({"budget": f32(budget)})
    utility, outside = f32([0.0, -np.inf, 0.0]), f32(0)
    signals = np.zeros((1, 3, 0), np.float32)
    market = StaticMarket.of(4)
    outcome, changes = model(users, catalog, market, slate, signals, utility, outside, click, NOTHING)
    channels = np.zeros((3, 2))
    if place is None:
        minutes, objectives, after = browse, [0.0, 0.0, 0.0], budget - browse
    else:
        q = quality[slate[0, place]]
        minutes = max(min(budget, length), 0.0)
        objectives, after = [1.0, minutes, q], budget - minutes + bonus * minutes * q
        channels[place] = [1.0, minutes / length]
    assert outcome["objectives"][0].tolist() == pytest.approx(objectives)
    assert outcome["dt"].tolist() == pytest.approx([minutes])
    assert outcome["channels"][0] == pytest.approx(channels)
    assert changes["budget"].tolist() == pytest.approx([after], rel=1e-6, abs=1e-6)
    assert users.budget.tolist() == f32(budget).tolist()
    given, otherwise = model.expected(users, catalog, market, slate, signals, utility, outside)
    if place is not None:
        assert given[0, place].tolist() == pytest.approx(objectives)
    assert not given[0, 1].any()
    assert not otherwise.any()


@pytest.mark.parametrize(("choc", "kale", "sd"), [(5.0, 4.0, 1.0), (-1.0, 2.0, 0.3)])
def test_engagement_by_hand(choc: float, kale: float, sd: float) -> None:
    """log e = (choc c + kale (1 - c)) satisfaction + sd z; every click of a slate counts, for itself."""
    clickbait = [0.0, 0.25, 0.9, 1.0]
    model, catalog = Engagement(choc, kale, sd, high=20.0), quality_catalog([0.0] * 4, clickbait)
    slate = np.array([[3, 1, -1, 2]], np.int32)
    signals, market = np.zeros((1, 4, 0), np.float32), StaticMarket.of(4)
    utility, outside = f32([0, 0, -np.inf, 0]), f32(0)
    u = [0.5, 0.9, 0.3, 0.02]
    for pattern in itertools.product([False, True], repeat=4):
        if pattern[2]:
            continue
        users, click = record({"satisfaction": f32(0.6)}), np.array([pattern])
        outcome, changes = model(
            users, catalog, market, slate, signals, utility, outside, click, np.array(u, np.float32)[:, None]
        )
        mean = [(choc * clickbait[i] + kale * (1 - clickbait[i])) * 0.6 for i in slate[0]]
        e = [math.exp(mean[s] + sd * z_of(u[s])) if pattern[s] else 0.0 for s in range(4)]
        assert outcome["objectives"][0].tolist() == pytest.approx([sum(pattern), sum(e)], rel=1e-5)
        want = np.stack([np.array(pattern, float), np.array(e) / 20.0], axis=1)
        assert outcome["channels"][0] == pytest.approx(want, rel=1e-5)
        assert outcome["dt"].tolist() == [1.0]
        assert changes == {}
        given, _ = model.expected(users, catalog, market, slate, signals, utility, outside)
        expected = [math.exp(m + sd**2 / 2) if i >= 0 else 0.0 for m, i in zip(mean, slate[0], strict=True)]
        assert given[0, :, 1].tolist() == pytest.approx(expected, rel=1e-5)
        assert given[0, :, 0].tolist() == [1.0, 1.0, 0.0, 1.0]


def test_the_engagement_channel_stays_below_its_high() -> None:
    world = by_name("long-term-satisfaction").replace(response=Engagement(choc=20.0, kale=20.0))
    users = world.arrive(mix(range(2000)))
    _, given = world.step(users, users.candidates[:, :1].copy(), world.noise(users))
    assert given.channels[:, :, 1].max() <= world.response.highs[1]


# --- dynamics


def test_signed_drift_of_recsim() -> None:
    """One-hot items: x moves by d = 0.3 (1 - |x|)(1 - x), up where u < (x + 1) / 2, else down; no other topic moves."""
    catalog = Catalog(np.eye(3), np.arange(3), np.zeros((3, 0)), (), 3)
    for x, side in itertools.product((-1.0, -0.8, -0.1, 0.0, 0.35, 0.9, 1.0), (-1e-4, 1e-4)):
        interest, u = f32([0.2, x, -0.6]), min(max((x + 1) / 2 + side, SURE), NEVER)
        noise = f32([0.5], [u], [0.5])
        slate, click = [[0, 1, 2]], [[False, True, False]]
        got = SignedDrift(0.3)(record({"interest": interest}), catalog, feedback(slate, click), noise)["interest"][0]
        d = 0.3 * (1 - abs(x)) * (1 - x)
        want = min(max(x + d if u < (x + 1) / 2 else x - d, -1.0), 1.0)
        assert got[1] == pytest.approx(want, abs=1e-6)
        assert got[[0, 2]].tolist() == interest[0, [0, 2]].tolist()


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_signed_drift_by_coordinate(small_catalog: Catalog, rng: np.random.Generator, rate: float) -> None:
    """Any embedding, several clicks one after the other, each with a uniform of its place."""
    model, B, S = SignedDrift(rate), 200, 3
    assert model.uniforms(SIZES) == S
    interest = rng.uniform(-1, 1, (B, 3)).astype(np.float32)
    slate = rng.permuted(np.tile(np.arange(-1, 11), (B, 1)), axis=1)[:, :S]
    click, u = (rng.random((B, S)) < 0.6) & (slate >= 0), uniforms(rng, S, B)
    got = model(record({"interest": interest}), small_catalog, feedback(slate, click), u)["interest"]
    for b in range(B):
        now = interest[b].astype(float)
        for s in range(S):
            if not click[b, s]:
                continue
            x = small_catalog.embedding[slate[b, s]].astype(float)
            pulls = u[s, b] < (float(x @ now) + 1) / 2
            move = rate * (1 - np.abs(now)) * x * (x - now)
            now = np.clip(now + (move if pulls else -move), -1, 1)
        assert got[b] == pytest.approx(now, abs=1e-5)
    assert (np.abs(got) <= 1).all()


@pytest.mark.parametrize("scalar", [False, True])
def test_mean_drift_by_hand(small_catalog: Catalog, rng: np.random.Generator, scalar: bool) -> None:
    """u <- normalise((1 - r) u + r m): m the mean of the clicked items; `scalar`: of all their coordinates."""
    B, S, rate = 200, 4, 0.2
    interest = rng.normal(size=(B, 3)).astype(np.float32)
    slate = rng.permuted(np.tile(np.arange(-1, 11), (B, 1)), axis=1)[:, :S]
    click = (rng.random((B, S)) < 0.5) & (slate >= 0)
    assert {0, 1, 2, 3} <= set(click.sum(axis=1))
    model = MeanDrift(rate, scalar=scalar)
    got = model(record({"interest": interest}), small_catalog, feedback(slate, click), NOTHING)["interest"]
    for b in range(B):
        if not click[b].any():
            assert np.array_equal(got[b], interest[b])  # neither moved nor normalised
            continue
        clicked = small_catalog.embedding[slate[b, click[b]]].astype(float)
        m = np.full(3, clicked.mean()) if scalar else clicked.mean(axis=0)
        want = (1 - rate) * interest[b].astype(float) + rate * m
        assert got[b] == pytest.approx(want / np.linalg.norm(want), abs=1e-5)


def bored_by_hand(model: Boredom, clicks: list[list[int]], n_topics: int) -> Iterator[tuple[list[int], list[int]]]:
    """Of each step's clicked topics: the timers and the clicks in the window, after the step."""
    remembered: list[tuple[int, int]] = []
    timer = [0] * n_topics
    for t, topics in enumerate(clicks):
        remembered = ([(t, z) for z in reversed(topics)] + remembered)[: model.memory]
        recent = [sum(z == y and t - s < model.window for s, y in remembered) for z in range(n_topics)]
        for z in range(n_topics):
            timer[z] = max(timer[z] - 1, 0)
            if recent[z] >= model.threshold and timer[z] == 0:
                timer[z] = model.duration
        yield list(timer), [min(n, model.threshold) for n in recent]


def bored_steps(model: Boredom, catalog: Catalog, slates: list[Array], clicks: list[Array]) -> Iterator[Users]:
    users = initial(model, len(slates[0]))
    for slate, click in zip(slates, clicks, strict=True):
        users = users.replace(**model(users, catalog, feedback(slate, click), NOTHING))
        yield users


@pytest.mark.parametrize(
    "model",
    [
        Boredom(),
        Boredom(threshold=4),
        Boredom(threshold=1, window=1, memory=1, duration=1),
        Boredom(threshold=2, window=7, memory=4, duration=3),
        Boredom(threshold=3, window=2, memory=50, duration=9),
        Boredom(threshold=2, window=9, memory=50, duration=2),
    ],
    ids=lambda m: f"{m.threshold}-{m.window}-{m.memory}-{m.duration}",
)
def test_boredom_by_hand(small_catalog: Catalog, rng: np.random.Generator, model: Boredom) -> None:
    B, S, steps = 30, 4, 60
    slates = [rng.permuted(np.tile(np.arange(-1, 11), (B, 1)), axis=1)[:, :S] for _ in range(steps)]
    clicks = [(rng.random((B, S)) < rng.choice([0.1, 0.5, 0.95])) & (slate >= 0) for slate in slates]
    states = list(bored_steps(model, small_catalog, slates, clicks))
    silent = 0
    for b in range(B):
        topics = [[int(i) % 4 for i, c in zip(slate[b], click[b], strict=True) if c]
                  for slate, click in zip(slates, clicks, strict=True)]  # fmt: skip
        for users, (timer, recent) in zip(states, bored_by_hand(model, topics, 4), strict=True):
            assert users.bored[b].tolist() == timer
            assert users.recent[b].tolist() == recent
            silent += sum(timer) > 0
    assert 0 < silent < B * steps


def one_topic(model: Boredom, catalog: Catalog, clicks_by_step: list[int]) -> tuple[list[int], list[int]]:
    """Timers and recent clicks of topic 0 (items 0, 4 and 8), after each step."""
    slates = [np.array([[0, 4, 8, 0, 4, 8, 0, 4, 8, 0, 4, 8]])] * len(clicks_by_step)
    clicks = [np.arange(12)[None] < n for n in clicks_by_step]
    states = list(bored_steps(model, catalog, slates, clicks))
    return [int(u.bored[0, 0]) for u in states], [int(u.recent[0, 0]) for u in states]


@pytest.mark.parametrize(
    ("model", "clicks", "recent", "timer"),
    [  # five clicks on five successive steps bore, and the next five steps find the user bored
        (Boredom(), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 2, 3, 4, 5, 4, 3, 2, 1, 0, 0], [0, 0, 0, 0, 5, 4, 3, 2, 1, 0, 0]),
        # where the fifth comes a step later, the first is forgotten
        (Boredom(), [1, 1, 1, 1, 0, 1, 0], [1, 2, 3, 4, 4, 4, 3], [0] * 7),
        (Boredom(), [4, 0, 0, 0, 1], [4, 4, 4, 4, 5], [0, 0, 0, 0, 5]),
        (Boredom(), [4, 0, 0, 0, 0, 1], [4, 4, 4, 4, 4, 1], [0] * 6),
        # boredom begins again when it has passed and not before; at most the threshold is shown
        (Boredom(threshold=2, window=3, duration=4), [2] * 5 + [0] * 6, [2] * 7 + [0] * 4, [4, 3, 2, 1, 4, 3, 2, 1, 0, 0, 0]),
        # ten clicks are remembered: two of the first eight are forgotten, for two of the second
        (Boredom(threshold=99, memory=10), [8, 8, 0, 0, 0, 0, 0], [8, 10, 10, 10, 10, 8, 0], [0] * 7),
    ],
)  # fmt: skip
def test_boredom_of_one_topic(
    small_catalog: Catalog, model: Boredom, clicks: list[int], recent: list[int], timer: list[int]
) -> None:
    assert one_topic(model, small_catalog, clicks) == (timer, recent)


def organic_by_hand(model: OrganicSessions, user: dict[str, Any], clicked: bool, arrival: bool, u: Array) -> None:
    """One step of RecoGym's chain in plain Python. `user`: omega, viewed (topics, latest first), present."""
    d = len(user["omega"])

    def walk(at: int) -> None:
        user["omega"] = user["omega"] + model.sd * np.array([z_of(float(x)) for x in u[at : at + d]])

    if arrival:
        state = "organic"
    else:
        state = "organic" if u[0] < model.browse else "stop" if u[0] < model.browse + model.leave else "bandit"
        if state == "organic":
            walk(1)
        if clicked:
            state = "organic"
    at = 1 + d
    for _ in range(model.longest):
        if state != "organic":
            break
        score = model.affinity.astype(float) @ user["omega"] + model.appeal
        level = np.cumsum(np.exp(score - score.max())) / np.exp(score - score.max()).sum()
        user["viewed"].insert(0, int(np.sum(float(u[at]) >= level[:-1])))
        move = float(u[at + 1])
        state = "bandit" if move < model.advertise else "stop" if move < model.advertise + model.leave else "organic"
        if state == "organic":
            walk(at + 2)
        at += 2 + d
    if state == "stop" and not arrival:
        user["present"] = 0.0


@pytest.mark.parametrize(("longest", "busy"), [(32, False), (3, True), (32, True)])
def test_organic_sessions_by_hand(rng: np.random.Generator, longest: int, busy: bool) -> None:
    P, d, B, H, steps = 7, 2, 60, 5, 25
    topic = np.array([0, 1, 2, 0, 1, 2, 2])
    gamma, mu = rng.normal(size=(P, d)), rng.normal(0, 1, P)
    chain = dict(browse=0.3, leave=0.04, advertise=0.4) if busy else {}
    model = OrganicSessions(gamma, mu, sd=0.3, longest=longest, **chain)
    catalog = Catalog(gamma, topic, mu[:, None], ("appeal",), 3)
    sizes = Sizes(1, P, P, d, 3, 0)
    n = model.uniforms(sizes)
    assert n == model.uniforms_at_arrival(sizes) == 1 + d + longest * (2 + d)
    columns = {name: np.full((B, *c.shape), c.initial, c.dtype) for name, c in model.columns(sizes).items()}
    omega = rng.normal(size=(B, d)).astype(np.float32)
    users = record({**columns, "t": np.zeros(B, np.int32), "interest": omega,
                    "history": np.full((B, H), -1, np.int32), "history_feedback": np.zeros((B, H, 1), np.float32)})  # fmt: skip
    by_hand = [dict(omega=omega[b].astype(float), viewed=[], present=1.0) for b in range(B)]
    longest_seen = 0
    for t in range(steps):
        u, click = uniforms(rng, n, B), rng.random((B, 1)) < 0.15
        changes = (
            model.begin(users, catalog, u) if t == 0 else model(users, catalog, feedback(np.zeros((B, 1)), click), u)
        )
        users = users.replace(**changes)
        for b, user in enumerate(by_hand):
            before = len(user["viewed"])
            organic_by_hand(model, user, bool(click[b, 0]), t == 0, u[:, b])
            longest_seen = max(longest_seen, len(user["viewed"]) - before)
            viewed = user["viewed"]
            assert users.history[b].tolist() == (viewed + [-1] * H)[:H]
            assert users.n_views[b] == len(viewed)
            share = np.bincount(topic[viewed], minlength=3) / len(viewed)
            assert users.views[b] == pytest.approx(share, abs=1e-5)
            assert users.present[b] == user["present"]
            assert users.interest[b] == pytest.approx(user["omega"], abs=1e-4)
    assert not users.history_feedback.any()
    assert 0 < np.mean([user["present"] for user in by_hand]) < 1
    assert longest_seen == 3 if longest == 3 else longest_seen > 5


def test_nobody_leaves_before_the_first_advertisement() -> None:
    world = by_name("recogym")
    users = world.arrive(mix(range(5000)))
    assert users.present.all()
    assert (users.n_views >= 1).all()
    assert (users.history[:, 0] >= 0).all()
    # 1 to 32 views, each followed by another with probability 0.74.
    want = (1 - 0.74**32) / 0.26
    assert users.n_views.mean() == pytest.approx(want, abs=4 * math.sqrt(0.74) / 0.26 / math.sqrt(5000))


def test_a_click_goes_before_the_views_that_follow_it() -> None:
    world = by_name("recogym")
    users = world.arrive(mix(range(300)))
    slate = np.full((300, 1), 3, np.int32)
    after, given = world.step(users, slate, world.noise(users), click=np.ones((300, 1), bool))
    new = (after.n_views - users.n_views).astype(int)
    assert (new >= 1).all()
    for b in np.flatnonzero(new < 10):
        assert after.history[b, new[b]] == 3
        assert after.history_feedback[b, :, 0].tolist() == [float(h == new[b]) for h in range(10)]
    stayed = after.present == 1
    assert (given.left == ~stayed).all()


@pytest.mark.parametrize("noise", [0.0, 0.3])
@pytest.mark.parametrize("initial_x", [0.0, 2.0])
def test_net_exposure_with_noise_and_a_start(
    small_catalog: Catalog, rng: np.random.Generator, noise: float, initial_x: float
) -> None:
    """x0 ~ U(-a, a); x <- memory x + N(0, sd) + sum over clicks (quality q - gap b); satisfaction = sigmoid(s x)."""
    B = 100
    model = NetExposure(0.7, quality=1.1, gap=2.0, sensitivity=0.4, limit=2.5, noise=noise, initial=initial_x)
    assert model.uniforms(SIZES) == (1 if noise else 0)
    assert model.uniforms_at_arrival(SIZES) == (1 if initial_x else 0)
    users, u = initial(model, B), uniforms(rng, model.uniforms_at_arrival(SIZES), B)
    users = users.replace(**model.begin(users, small_catalog, u))
    x = initial_x * (2 * u[0].astype(float) - 1) if initial_x else np.zeros(B)
    assert users.net_exposure == pytest.approx(x, abs=1e-6)
    q, b = small_catalog["quality"].astype(float), small_catalog["clickbait"].astype(float)
    for _ in range(6):
        assert users.satisfaction == pytest.approx(1 / (1 + np.exp(-0.4 * x)), abs=1e-6)
        slate = rng.integers(0, 12, (B, 3))
        click, u = rng.random((B, 3)) < 0.4, uniforms(rng, model.uniforms(SIZES), B)
        users = users.replace(**model(users, small_catalog, feedback(slate, click), u))
        z = np.array([z_of(float(v)) for v in u[0]]) if noise else np.zeros(B)
        x = np.clip(0.7 * x + noise * z + ((1.1 * q - 2.0 * b)[slate] * click).sum(axis=1), -2.5, 2.5)
        assert users.net_exposure == pytest.approx(x, abs=1e-5)


def test_net_exposure_at_arrival_is_uniform() -> None:
    users = by_name("long-term-satisfaction").arrive(mix(range(40_000)))
    x = users.net_exposure.astype(float)
    assert np.abs(x).max() <= 5 / 3
    assert x.mean() == pytest.approx(0, abs=4 * 5 / 3 / math.sqrt(3 * 40_000))
    assert x.var() == pytest.approx((5 / 3) ** 2 / 3, rel=0.02)
    assert users.satisfaction == pytest.approx(1 / (1 + np.exp(-0.01 * x)), abs=1e-6)


def test_both_speeds_begin_at_the_interest() -> None:
    world = by_name("news")
    world = world if any(isinstance(d, TwoSpeedDrift) for d in world.dynamics) else world.replace(
        dynamics=(*world.dynamics, TwoSpeedDrift())
    )  # fmt: skip
    users = world.arrive(mix(range(20)))
    assert np.array_equal(users.short_term, users.interest)
    assert np.array_equal(users.long_term, users.interest)


class First(Dynamics):
    """Writes down the uniforms that `begin` gets."""

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"first": Column((2,))}

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        return 2

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        return {"first": np.ascontiguousarray(noise.T)}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return {}


class Second(First):
    """The same, and what the part before it has begun."""

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"second": Column((3,))}

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        return 1

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        assert users.candidates.shape[1] > 0  # they are there already
        return {"second": np.concatenate([noise.T, users.first], axis=1)}


@pytest.mark.parametrize("warm_up", [0, 2])
def test_every_part_begins_with_uniforms_of_its_own(warm_up: int) -> None:
    plain = by_name("ecommerce")
    world = plain.replace(dynamics=(*plain.dynamics, First(), Second()), warm_up=warm_up)
    keys, episodes = mix(range(9)), np.arange(9, dtype=np.int32)
    users = world.arrive(keys, episodes)
    noise = draw_noise(keys, episodes, np.full(9, -1, np.int32), world.uniforms_at_arrival)
    at = plain.uniforms_at_arrival
    assert np.array_equal(users.first, noise[at : at + 2].T)
    assert np.array_equal(users.second[:, 0], noise[at + 2])
    assert np.array_equal(users.second[:, 1:], users.first)
    assert world.uniforms_at_arrival == at + 3 + warm_up * (world.slate_size + world.uniforms_per_step)
    if not warm_up:
        assert np.array_equal(users.interest, plain.arrive(keys, episodes).interest)  # what was there has not moved
        assert np.array_equal(users.candidates, plain.arrive(keys, episodes).candidates)


# --- departure and preference


def test_spent_at_nothing() -> None:
    column = f32(1.0, 2.0**-140, 0.0, -0.0, -1.0, 200.0)
    got = Spent("minutes")(record({"minutes": column}), feedback(np.zeros((6, 1)), np.zeros((6, 1))), np.empty((0, 6)))
    assert got["left"].tolist() == [False, False, True, True, True, False]
    assert got["left"].dtype == np.bool_


@pytest.mark.parametrize("kind", [DotProduct, Cosine, NegativeDistance])
def test_the_match_counts_unless_a_topic_bores(
    small_catalog: Catalog, rng: np.random.Generator, kind: type[Any]
) -> None:
    B = 6
    bored = np.zeros((B, 4), np.float32)
    bored[1, 2], bored[3, 0], bored[4] = 1.0, 5.0, 2.0
    users = record(
        {"interest": rng.normal(size=(B, 3)).astype(np.float32), "sensitivity": np.zeros((B, 0), np.float32),
         "exposure": rng.random((B, 4), np.float32), "bored": bored}
    )  # fmt: skip
    items = rng.integers(-1, 12, (B, 5)).astype(np.int32)
    signals = np.zeros((B, 5, 0), np.float32)
    weights: dict[str, Any] = dict(attributes={"quality": 0.7}, topics={"exposure": -2.0})
    free = kind(3.0, **weights)(users, small_catalog, signals, items)
    silent = kind(0.0, **weights)(users, small_catalog, signals, items)  # all the rest still counts
    got = kind(3.0, **weights, unless="bored")(users, small_catalog, signals, items)
    rows = np.array([1, 3, 4])
    assert np.array_equal(got[[0, 2, 5]], free[[0, 2, 5]])
    assert np.array_equal(np.isneginf(got), items < 0)
    assert got[rows][items[rows] >= 0] == pytest.approx(silent[rows][items[rows] >= 0], abs=1e-6)


def test_a_bored_user_of_sardine_is_silent_for_five_steps() -> None:
    """The click probability falls to propensity^j sigmoid(-slope offset) for exactly five steps."""
    world = classic("recgym/Sardine-SlateRerank-Bored-v0")
    users = world.replace(warm_up=0).arrive(mix(range(64)))
    order = np.tile(np.arange(10, dtype=np.int32), (64, 1))
    common = np.bincount(world.catalog.topic).argmax()
    click = np.tile(world.catalog.topic == common, (64, 1))  # n items a step
    n = int(click[0].sum())
    silence = 0.7 ** np.arange(10) * sigmoid(-5.0 * 0.3)
    free = 0.7 ** np.arange(10) / (1 + np.exp(-5.0 * (users.interest.astype(float) @ world.catalog.embedding.T - 0.3)))
    first = math.ceil(4 / n)  # steps until the fourth click
    for t in range(10):
        users, given = world.step(users, order, world.noise(users), click=click if t < first else click & False)
        want = np.tile(silence, (64, 1)) if first <= t < first + 5 else free
        assert given.probability == pytest.approx(want, abs=2e-6)
    assert first + 5 < 10


# --- populations

N = 40_000


def drawn(population: Any, n: int = N, seed: int = 1) -> tuple[Array, Array]:
    """Uniforms (U, n), and the interests made of them."""
    d = getattr(population, "dimensions", None) or getattr(population, "topics", None) or len(population.location[0])
    noise = uniforms(np.random.default_rng(seed), population.uniforms(Sizes(1, 5, 10, d, d, 2)), n)
    users = population.arrive(noise, ("a", "b"))
    assert users["interest"].shape == (n, d)
    assert users["interest"].dtype == users["profile"].dtype == np.float32
    assert users["sensitivity"].shape == (n, 2)
    assert not users["sensitivity"].any()
    assert not users["clock"].any()
    transparent = isinstance(population, UniformInterests)
    assert (users["known"] == transparent).all()
    assert np.array_equal(users["profile"], users["interest"] if transparent else np.zeros((n, d)))
    norm = np.linalg.norm(users["interest"].astype(float), axis=1).max()
    assert norm <= population.norm * (1 + 1e-6)
    return noise, users["interest"].astype(np.float64)


def close(values: Array, want: Any, sigmas: float = 4.5) -> None:
    """Column means of (n, ...) against what they should be."""
    error = sigmas * values.std(axis=0) / math.sqrt(len(values)) + 1e-9
    assert (np.abs(values.mean(axis=0) - want) <= error).all()


def test_uniform_interests() -> None:
    noise, x = drawn(UniformInterests(6))
    assert x == pytest.approx(2 * noise.T.astype(float) - 1, abs=1e-6)
    close(x, 0.0)
    close(x**2, 1 / 3)
    close(x[:, 0] * x[:, 1], 0.0)


def test_normal_interests() -> None:
    noise, x = drawn(NormalInterests(3, sd=2.0))
    assert x[:500] == pytest.approx(np.array([[2 * z_of(float(v)) for v in row] for row in noise.T[:500]]), abs=1e-4)
    close(x, 0.0)
    close(x**2, 4.0)
    close(x**4, 3 * 16.0)
    close(x[:, 0] * x[:, 2], 0.0)


def test_user_types() -> None:
    probability, location, sd = (0.3, 0.1, 0.6), ((0.1, 0.7), (2.0, -3.0), (0.7, 0.1)), 0.25
    population = UserTypes(probability, location, sd)
    noise, x = drawn(population)
    kind = np.searchsorted(np.cumsum(probability), noise[0].astype(float), side="right")
    z = np.array([[z_of(float(v)) for v in row[1:]] for row in noise.T[:500]])
    assert x[:500] == pytest.approx(np.exp(np.array(location)[kind[:500]] + sd * z), rel=1e-5)
    for y, p in enumerate(probability):
        assert (kind == y).mean() == pytest.approx(p, abs=4 * math.sqrt(p * (1 - p) / N))
    mean = sum(p * np.exp(np.array(row) + sd**2 / 2) for p, row in zip(probability, location, strict=True))
    square = sum(p * np.exp(2 * np.array(row) + 2 * sd**2) for p, row in zip(probability, location, strict=True))
    close(x, mean)
    close(x**2, square)


def test_one_type_without_spread_is_one_user() -> None:
    _, x = drawn(UserTypes((1.0,), ((0.5, -0.5),), 0.0), n=50)
    assert x == pytest.approx(np.exp([[0.5, -0.5]] * 50), rel=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"share": 0.9, "low": 1, "high": 10}, {"share": 0.5, "low": 2, "high": 2, "topics": 4}]
)
def test_sparse_interests(options: dict[str, Any]) -> None:
    """The binomial count of active topics, given that it lies in low..high; the topics as likely; weights ~ U(0, 1)."""
    population = SparseInterests(**options)
    T, low, high, share = population.topics, population.low, population.high, population.share
    noise, x = drawn(population)
    weight = {n: math.comb(T, n) * share**n * (1 - share) ** (T - n) for n in range(low, high + 1)}
    P = {n: w / sum(weight.values()) for n, w in weight.items()}
    active = x > 0
    for n in range(T + 1):
        p = P.get(n, 0.0)
        assert (active.sum(axis=1) == n).mean() == pytest.approx(p, abs=4.5 * math.sqrt(p * (1 - p) / N) + 1e-12)
    close(active.astype(float), sum(n * p for n, p in P.items()) / T)
    both = sum(n * (n - 1) * p for n, p in P.items()) / (T * (T - 1))
    close((active[:, 0] & active[:, 1]).astype(float)[:, None], both)
    assert np.linalg.norm(x, axis=1) == pytest.approx(1, abs=1e-5)
    close(x**2, 1 / T)
    # The documented use of the uniforms: a count, a rank a topic, a weight a topic.
    levels = np.cumsum(list(P.values()))
    for b in range(300):
        n = low + int(np.sum(float(noise[0, b]) >= levels[:-1]))
        chosen = np.argsort(noise[1 : 1 + T, b], kind="stable")[:n]
        want = np.zeros(T)
        want[chosen] = noise[1 + T :, b][chosen]
        assert x[b] == pytest.approx(want / np.linalg.norm(want), abs=1e-5)


def test_the_mean_user_of_sardine_against_a_plain_simulation() -> None:
    """U[0, 1]^10 masked to topics of probability 0.4, three to five of them, normalised: by rejection, in NumPy."""
    rng = np.random.default_rng(3)
    mask = rng.random((300_000, 10)) < 0.4
    mask = mask[(mask.sum(axis=1) >= 3) & (mask.sum(axis=1) <= 5)]
    u = rng.random(mask.shape) * mask
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    x = by_name("sardine").replace(warm_up=0).arrive(mix(range(N))).interest.astype(float)
    for power in (1, 3):
        error = 4.5 * math.sqrt((u**power).var() * (1 / N + 1 / len(u)))
        assert (np.abs((x**power).mean(axis=0) - (u**power).mean()) < error).all()
    assert x.max(axis=1).mean() == pytest.approx(u.max(axis=1).mean(), rel=0.003)


# --- the world: warm-up, transparent profiles, saving


@pytest.mark.parametrize("warm_up", [1, 3])
@pytest.mark.parametrize("env_id", ["recgym/Sardine-SlateTopK-BoredInf-v0", "recgym/Sardine-SlateRerank-Bored-v0"])
def test_warm_up_is_that_many_random_slates(env_id: str, warm_up: int) -> None:
    world = classic(env_id).replace(warm_up=warm_up)
    cold = world.replace(warm_up=0)
    keys, episodes = mix(range(40)), np.full(40, 2, np.int32)
    users = cold.arrive(keys, episodes)
    S, K = world.slate_size, world.n_candidates
    noise = draw_noise(keys, episodes, np.full(40, -1, np.int32), world.uniforms_at_arrival)
    at = cold.uniforms_at_arrival
    for _ in range(warm_up):
        chosen = np.floor(noise[at : at + S].astype(float) * K).astype(np.int64).T
        slate = np.take_along_axis(users.candidates, chosen, axis=1)
        at += S
        after, _ = cold.step(users, slate, noise[at : at + world.uniforms_per_step])
        at += world.uniforms_per_step
        users = after.replace(t=users.t)
    assert at == world.uniforms_at_arrival
    got = world.arrive(keys, episodes)
    for name in users:
        assert np.array_equal(got[name], users[name]), name
    assert not got.t.any()
    assert (got.history[:, 0] >= 0).any()


@pytest.mark.parametrize("env_id", [i for i in recgym.CLASSIC_IDS if "Sardine" in i])
def test_the_first_slate_of_sardine_is_seen_and_not_paid(env_id: str) -> None:
    B = 400
    env = gym.make_vec(env_id, num_envs=B)
    assert isinstance(env, RecVectorEnv)
    observation, _ = env.reset(seed=0)
    users, layout = env.get_state().users, env.observation_layout
    user = observation[:, layout["user"].slice]
    names = np.concatenate([[part.name] * part.width for part in layout["user"].parts])
    history = observation[:, layout["history"].slice].reshape(B, *layout["history"].shape)
    clicks = user[:, names == "last_click"][:, 0]
    assert clicks.mean() > 0
    assert np.array_equal(clicks, (users.history >= 0).sum(axis=1))
    assert np.array_equal((history[:, :, -1] > 0).sum(axis=1), clicks)
    assert np.array_equal(history[:, 0, :10][clicks > 0], env.world.catalog.embedding[users.history[clicks > 0, 0]])
    assert not user[:, names == "progress"].any()
    if "recent" in names:  # the clicks count for boredom
        topics = env.world.catalog.topic[users.history]
        want = [np.bincount(z[i >= 0], minlength=10) for z, i in zip(topics, users.history, strict=True)]
        threshold = env.world.owned["recent"].high
        assert user[:, names == "recent"] * threshold == pytest.approx(np.minimum(want, threshold), abs=1e-5)
    total = np.zeros(B)
    env.action_space.seed(0)
    for t in range(env.world.horizon):
        _, reward, terminated, truncated, info = env.step(env.action_space.sample())
        assert np.array_equal(reward, info["click"].sum(axis=1))
        assert not terminated.any()
        assert truncated.all() == (t == env.world.horizon - 1)
        total += reward
    assert env.get_state().users.history.shape == (B, 10)
    assert total.mean() > 0


def test_transparent_profiles_follow_the_interest() -> None:
    world = by_name("interest-evolution")
    moved = 0
    for before, _, _, after in play(world, users=64, steps=30):
        assert np.array_equal(after.profile, after.interest)
        assert np.array_equal(before.profile, before.interest)
        moved += (after.profile != before.profile).any(axis=1).sum()
    assert moved > 500
    env = gym.make_vec("recgym/InterestEvolution-v0", num_envs=8)
    assert isinstance(env, RecVectorEnv)
    env.reset(seed=1)
    for _ in range(5):
        observation, *_ = env.step(env.action_space.sample())
    assert np.array_equal(observation[:, :20], env.get_state().users.interest)


@pytest.mark.parametrize("name", ["long-term-satisfaction", "interest-exploration", "recogym", "sardine"])
def test_hidden_interests_stay_hidden(name: str) -> None:
    *_, (_, _, _, after) = play(by_name(name), users=8, steps=5)
    assert not after.profile.any()
    assert not after.known.any()


@pytest.mark.parametrize("env_id", recgym.CLASSIC_IDS)
def test_saved_worlds_go_on_alike(env_id: str, tmp_path: Path) -> None:
    world = classic(env_id)
    world.save(tmp_path)
    json.loads((tmp_path / "world.json").read_text())
    again = World.load(tmp_path)
    assert json.loads(json.dumps(again.to_dict({}))) == json.loads(json.dumps(world.to_dict({})))
    for (a, _, fa, b), (c, _, fc, d) in zip(play(world, steps=20), play(again, steps=20), strict=True):
        for one, other in ((a, c), (fa, fc), (b, d)):
            assert set(one) == set(other)
            for name in one:
                assert one[name].tobytes() == other[name].tobytes(), name


# --- candidates


def test_all_is_not_copied_where_nothing_comes_or_goes() -> None:
    world = by_name("recogym")
    users = world.arrive(mix(range(5)))
    assert np.array_equal(users.candidates, np.tile(np.arange(10), (5, 1)))
    after, _ = world.step(users, np.zeros((5, 1), np.int32), world.noise(users))
    assert after.candidates is users.candidates


def test_all_follows_a_market_of_several_slots() -> None:
    """Even items at even hours, odd items at odd ones."""
    world = by_name("recogym").replace(response=Clicks(minutes=45.0), dynamics=(), departure=Never())
    listed = np.concatenate([np.arange(0, 10, 2), np.arange(1, 10, 2)]).astype(np.int32)
    world = world.replace(market=StaticMarket(60.0, np.array([0, 5, 10]), listed))
    users = world.arrive(mix(range(3)))
    for step in range(8):
        odd = int(45 * step // 60) % 2
        want = [i if i % 2 == odd else -1 for i in range(10)]
        assert users.candidates.tolist() == [want] * 3
        users, _ = world.step(users, users.candidates[:, :1].copy(), world.noise(users))


@pytest.mark.parametrize(
    "listed",
    [
        [*range(10)],
        [1, 2, 3, 5, 6, 7, 8, 9],
        [*range(8)],
    ],
    ids=str,
)
def test_the_action_mask_leaves_out_what_is_never_available(listed: list[int]) -> None:
    market = StaticMarket(1440.0, np.array([0, len(listed)]), np.array(listed, np.int32))
    env = RecVectorEnv(by_name("recogym").replace(market=market), 3)
    _, info = env.reset(seed=0)
    want = [[i in listed for i in range(10)]] * 3
    assert (env.get_state().users.candidates >= 0).tolist() == want
    assert info["action_mask"].tolist() == want
    assert env.step(np.array([1, 2, 3]))[4]["action_mask"].tolist() == want


def test_uniform_candidates_are_distinct_available_and_as_likely(rng: np.random.Generator) -> None:
    n, K, N_items = 60_000, 4, 15
    available = np.array([0, 2, 3, 5, 7, 8, 9, 11, 12, 14], np.int32)
    market = StaticMarket(60.0, np.array([0, 10]), available)
    catalog = Catalog(np.eye(N_items), np.arange(N_items), np.zeros((N_items, 0)), (), N_items)
    source = Uniform(K)
    users = record({"clock": np.zeros(n, np.float32)})
    found = source(users, catalog, market, uniforms(rng, source.uniforms(SIZES), n))
    assert found.dtype == np.int32
    assert np.isin(found, available).all()
    assert (np.diff(np.sort(found, axis=1), axis=1) > 0).all()
    for k in range(K):
        share = np.bincount(found[:, k], minlength=N_items)[available] / n
        assert share == pytest.approx(0.1, abs=5 * math.sqrt(0.1 * 0.9 / n))
    first_two = np.zeros((N_items, N_items))
    np.add.at(first_two, (found[:, 0], found[:, 1]), 1 / n)
    assert first_two.max() < 0.1  # no item drags another one along


def test_uniform_candidates_of_a_short_list() -> None:
    market = StaticMarket(60.0, np.array([0, 3, 3]), np.array([1, 4, 6], np.int32))
    catalog = Catalog(np.eye(8), np.arange(8), np.zeros((8, 0)), (), 8)
    found = Uniform(5)(record({"clock": f32(0.0, 59.0, 60.0)}), catalog, market, np.full((2, 3), 0.7, np.float32))
    assert [sorted(row) for row in found.tolist()] == [[-1, -1, 1, 4, 6]] * 2 + [[-1] * 5]
    assert (found[:2, 3:] == -1).all()


# --- observations


class Seen(Dynamics):
    """A visible number and a visible vector, and one that is neither."""

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "vector": Column((3,), np.float32, -2.0, 4.0, 1.0, visible=True),
            "number": Column((), np.float32, 0.0, 8.0, 2.0, visible=True),
            "hidden": Column((2,), np.float32, 0.0, 1.0, 0.5),
        }

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        t = users.t.astype(np.float32)
        return {"number": t % 8, "vector": np.stack([t % 4, -(t % 2), t * 0], axis=1)}


class Matrix(Seen):
    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"matrix": Column((2, 2), visible=True)}


class Flat(Seen):
    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"flat": Column((2,), np.float32, -1.0, 0.0, visible=True)}


def with_seen() -> World:
    return by_name("interest-evolution").replace(dynamics=(Seen(),))


def encoded_by_hand(world: World, users: Users, form: str) -> Array:
    """The observation from the records: profile, known, progress, day, last step, visible columns; history; candidates."""
    catalog, B, d = world.catalog, len(users), world.sizes.dimensions
    angle = 2 * np.pi * users.clock.astype(float) / 1440
    day = [np.sin(angle)[:, None], np.cos(angle)[:, None]]
    blocks = [users.profile, users.known[:, None], users.t[:, None] / world.horizon, *day, users.last]
    visible = {name: c for name, c in world.owned.items() if c.visible}
    blocks += [users[name][:, None] / c.high for name, c in visible.items() if c.shape == ()]
    blocks += [users[name] / c.high for name, c in visible.items() if c.shape != ()]
    there = users.history >= 0
    past = np.concatenate([catalog.embedding[users.history], users.history_feedback], axis=2) * there[:, :, None]
    blocks.append(past.reshape(B, -1))
    if form != "compact":
        items = users.candidates
        taste = past[:, :, :d].sum(axis=1) / np.maximum(there.sum(axis=1), 1)[:, None]
        x = catalog.embedding[items]
        shown = [x, *(catalog[name][items][:, :, None] for name in catalog.visible)]
        shown += [np.einsum("bkd,bd->bk", x, users.profile)[:, :, None], np.einsum("bkd,bd->bk", x, taste)[:, :, None]]
        shown.append(np.take_along_axis(users.exposure, catalog.topic[items].astype(np.int64), axis=1)[:, :, None])
        features = np.concatenate(shown, axis=2) * (items >= 0)[:, :, None]
        blocks += [features.reshape(B, -1), (items >= 0).astype(float)]
    return np.concatenate(blocks, axis=1)


@pytest.mark.parametrize("form", ["flat", "compact"])
@pytest.mark.parametrize("env_id", [*recgym.CLASSIC_IDS, "visible columns"])
def test_observations_by_hand(env_id: str, form: str) -> None:
    world = classic(env_id) if env_id in recgym.CLASSIC_IDS else with_seen()
    *_, (_, _, _, users) = play(world, users=12, steps=9)
    encoder = Observation.of(form, "observation")(world)
    out = np.full((12, encoder.width), np.nan, np.float32)
    encoder.encode(users, out)
    np.testing.assert_allclose(out, encoded_by_hand(world, users, form), rtol=1e-5, atol=3e-6)
    assert isinstance(encoder.space, spaces.Box)
    assert all(encoder.space.contains(row) for row in out)
    assert list(encoder.layout) == ["user", "history"] + (["candidates", "mask"] if form == "flat" else [])
    assert encoder.layout["history"].slice.stop == encoder.width or form == "flat"


def test_visible_vectors_follow_the_visible_numbers() -> None:
    encoder = CompactObservation(with_seen())
    parts = encoder.layout["user"].parts
    assert [(p.name, p.width, p.low, p.high) for p in parts[-2:]] == [("number", 1, 0.0, 1.0), ("vector", 3, -0.5, 1.0)]


@pytest.mark.parametrize(("part", "name"), [(Matrix(), "matrix"), (Flat(), "flat")])
def test_columns_that_cannot_be_shown(part: Dynamics, name: str) -> None:
    world = by_name("interest-evolution").replace(dynamics=(part,))
    with pytest.raises(ConfigError, match=rf"{name}: a visible column must have shape \(\) or \(n,\)"):
        FlatObservation(world)


@pytest.mark.parametrize("form", ["flat", "dict", "latent", "compact"])
@pytest.mark.parametrize("env_id", recgym.CLASSIC_IDS)
def test_observations_lie_in_their_space(env_id: str, form: str) -> None:
    env = gym.make_vec(env_id, num_envs=64, observation=form)
    observation, _ = env.reset(seed=3)
    env.action_space.seed(3)
    for _ in range(40):
        assert env.observation_space.contains(observation)
        observation = env.step(env.action_space.sample())[0]
    boxes = list(env.single_observation_space.values()) if form == "dict" else [env.single_observation_space]  # type: ignore[attr-defined]
    assert all((box.low < box.high).all() for box in boxes)


# --- agents for these worlds


def vector(name: str, num_envs: int = 30, **options: Any) -> RecVectorEnv:
    return RecVectorEnv(name, num_envs, **options)


@pytest.mark.parametrize("descending", [True, False])
def test_ranked_by_an_attribute_and_by_a_column(descending: bool) -> None:
    sign = -1 if descending else 1
    env = vector("interest-evolution")
    observation, info = env.reset(seed=0)
    agent = Ranked("quality", descending)
    agent.start(env)
    quality = env.world.catalog["quality"][env.get_state().users.candidates]
    assert np.array_equal(agent.act(observation, info["action_mask"]), np.argsort(sign * quality, axis=1)[:, :3])
    env = vector("sardine", task="SlateTopK-Bored", observation="compact", null_action=True)
    observation, info = env.reset(seed=0)
    for _ in range(4):
        observation, *_, info = env.step(env.action_space.sample())
    agent = Ranked("recent", descending)
    agent.start(env)
    recent = env.get_state().users.recent[:, env.world.catalog.topic]
    want = np.argsort(sign * recent, axis=1, kind="stable")[:, :10] + 1  # 0 is nothing
    assert np.array_equal(agent.act(observation, info["action_mask"]), want)


def test_ranked_needs_something_to_rank_by() -> None:
    with pytest.raises(ConfigError, match=r"Ranked.by: .*got 'qualty'.*Did you mean 'quality'"):
        Ranked("qualty").start(vector("interest-evolution"))
    with pytest.raises(ConfigError, match="Varied: needs a world with Boredom"):
        Varied().start(vector("interest-evolution"))


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("task", ["SlateTopK-Bored", "SlateRerank-Bored", "SingleItem-BoredInf"])
def test_varied_by_hand(task: str, null: bool) -> None:
    """The best of the topics that have room left, then the worst of what is left."""
    env = vector("sardine", task=task, observation="compact", null_action=null)
    agent = Varied()
    agent.start(env)
    world = env.world
    threshold = next(part for part in world.dynamics if isinstance(part, Boredom)).threshold
    observation, info = env.reset(seed=0)
    filled = 0
    for _ in range(6):
        users = env.get_state().users
        got = agent.act(observation, info["action_mask"])
        utility = world.preference(
            users, world.catalog, np.zeros((30, world.n_candidates, 0), np.float32), users.candidates
        )
        want = []
        for b in range(30):
            room = threshold - 1 - users.recent[b]
            slate: list[int] = []
            for _ in range(world.slate_size):
                left = [k for k in range(world.n_candidates) if k not in slate]
                open_ = [k for k in left if room[world.catalog.topic[k]] > 0]
                k = (
                    max(open_, key=lambda k: (utility[b, k], -k))
                    if open_
                    else min(left, key=lambda k: (utility[b, k], k))
                )
                filled += not open_
                room[world.catalog.topic[k]] -= 1
                slate.append(k)
            want.append(slate)
        assert got.reshape(30, -1).tolist() == (np.array(want) + null).tolist()
        observation, *_, info = env.step(got)
    assert filled > 0 or task != "SlateRerank-Bored"


def test_varied_bores_nobody_where_the_best_oracle_does() -> None:
    """What the heuristic is for: no topic reaches the threshold, so nobody is ever silent."""
    silent = {}
    for agent in (Varied(), MyopicOracle()):
        env = vector("sardine", 60, task="SlateTopK-Bored", observation="compact")
        agent.start(env)
        observation, info = env.reset(seed=0)
        env.set_state(
            env.get_state()._replace(users=env.get_state().users.replace(bored=np.zeros((60, 10), np.float32)))
        )
        silent[agent.__class__] = 0
        for _ in range(20):
            observation, _, _, _, info = env.step(agent.act(observation, info["action_mask"]))
            silent[agent.__class__] += int((env.get_state().users.bored > 0).any(axis=1).sum())
    assert silent[Varied] == 0
    assert silent[MyopicOracle] > 100


@pytest.mark.parametrize(
    ("task", "null"),
    [("SingleItem-Uncertain", False), ("SlateTopK-Uncertain", False), ("SingleItem-Uncertain", True)],
)
def test_the_oracle_finds_the_best_of_a_thousand(task: str, null: bool) -> None:
    """Independent clicks in falling places: the best slate is the items in the order of their utility."""
    env = vector("sardine", task=task, observation="compact", null_action=null)
    observation, info = env.reset(seed=0)
    users = (
        env.get_state().users.replace(bored=np.zeros((30, 10), np.float32))
        if "Slate" in task
        else env.get_state().users
    )
    env.set_state(env.get_state()._replace(users=users))
    agent = MyopicOracle()
    agent.start(env)
    match = users.interest.astype(float) @ env.world.catalog.embedding.T.astype(float)
    want = np.argsort(-match, axis=1)[:, : env.world.slate_size]
    got = agent.act(observation, info["action_mask"]).reshape(30, -1) - null
    value = np.take_along_axis(match, got, axis=1)
    assert value == pytest.approx(np.take_along_axis(match, want, axis=1), abs=1e-6)


@pytest.mark.parametrize("null", [False, True])
def test_a_shortlist_holds_the_best_and_every_topic(null: bool) -> None:
    env = vector("sardine", task="SlateTopK-Uncertain", null_action=null)
    env.reset(seed=0)
    users, topic = env.get_state().users, env.world.catalog.topic
    users = users.replace(bored=np.zeros((30, 10), np.float32))
    look = Look(env, users)
    assert look.choices.shape == look.items.shape == look.utility.shape == look.free.shape == (30, SHORTLIST)
    assert look.reward_given.shape == (30, SHORTLIST)
    match = users.interest.astype(float) @ env.world.catalog.embedding.T.astype(float)
    for b in range(30):
        assert (np.diff(look.choices[b]) > 0).all()
        assert np.array_equal(look.items[b][look.choices[b] >= null] + null, look.choices[b][look.choices[b] >= null])
        best = set(np.argsort(-match[b])[: SHORTLIST // 2] + null)
        topics = {int(np.flatnonzero(topic == z)[np.argmax(match[b, topic == z])]) + null for z in range(10)}
        missing = (best | topics) - set(look.choices[b].tolist())
        assert len(missing) <= null  # nothing takes one place
        assert look.items[b, 0] == -1 or not null


def test_a_short_list_of_choices_is_kept_whole() -> None:
    env = vector("sardine", task="SlateRerank-Static", null_action=True)
    env.reset(seed=0)
    assert np.array_equal(Look(env, env.get_state().users).choices, np.tile(np.arange(11), (30, 1)))


# --- the catalogues


def test_interest_evolution_has_the_published_topics() -> None:
    catalog = by_name("interest-evolution").catalog
    assert np.array_equal(catalog.embedding, np.eye(20)[catalog.topic])
    assert np.bincount(catalog.topic).tolist() == [1000] * 20
    mean = [*np.linspace(-3, 0, 14), *np.linspace(0, 3, 6)]
    for z in range(20):
        quality = np.sort(catalog["quality"][catalog.topic == z].astype(float))
        assert quality.mean() == pytest.approx(mean[z], abs=1e-5)
        assert quality.std() == pytest.approx(0.1, rel=1e-3)
        quantiles = mean[z] + 0.1 * np.array([z_of(p) for p in (0.1, 0.5, 0.9)])
        assert quality[[100, 500, 900]] == pytest.approx(quantiles, abs=2e-3)
    assert catalog.visible == ()


def test_clickbait_is_uniform() -> None:
    catalog = by_name("long-term-satisfaction").catalog
    c = catalog["clickbait"].astype(float)
    assert np.sort(c) == pytest.approx((np.arange(10_001) + 0.5) / 10_001, abs=1e-6)
    assert catalog["quality"] == pytest.approx(0.5 - c, abs=1e-6)
    assert catalog.embedding[:, 0] == pytest.approx(c - 0.5, abs=1e-6)
    assert np.abs(np.corrcoef(c[:-1], c[1:])[0, 1]) < 0.05  # shuffled, as candidates are walks through the catalogue


def test_interest_exploration_has_the_published_items() -> None:
    catalog = by_name("interest-exploration").catalog
    assert np.bincount(catalog.topic).tolist() == [2000, 8000]
    for z, mean in enumerate((0.8, 0.2)):
        logs = np.log(catalog["quality"][catalog.topic == z].astype(float))
        assert (logs.mean(), logs.std()) == pytest.approx((mean, 0.1), rel=1e-3)
    assert catalog.visible == ("quality",)


def test_sardine_items_follow_the_recipe() -> None:
    catalog = by_name("sardine", seed=0).catalog
    x = catalog.embedding.astype(float)
    assert x.shape == (1000, 10)
    assert np.linalg.norm(x, axis=1) == pytest.approx(1, abs=1e-6)
    assert set((x > 0).sum(axis=1)) == {2, 3}
    assert ((x > 0).sum(axis=1) == 2).mean() == pytest.approx(0.5, abs=0.06)
    assert np.array_equal(catalog.topic, x.argmax(axis=1))
    draws = sardine.draw_embeddings(np.random.default_rng(0), 50_000)
    assert (draws > 0).mean(axis=0) == pytest.approx(0.25, abs=0.01)
    two = draws[(draws > 0).sum(axis=1) == 2]
    ratio = np.sort(two, axis=1)[:, -2] / two.max(axis=1)
    assert ratio.mean() == pytest.approx(0.5, abs=0.01)  # the lesser of two uniforms over the greater is U(0, 1)
    for seed in (1, None):
        assert not np.array_equal(by_name("sardine", seed=seed).catalog.embedding, catalog.embedding)


PUBLISHED = {  # items, slate, horizon, offset, slope, propensity, 1 - omega, threshold
    "SingleItem-Static": (1000, 1, 100, 0.65, 100, 0.85, 0, 0),
    "SingleItem-BoredInf": (1000, 1, 100, 0.65, 100, 0.85, 0.05, 5),
    "SingleItem-Uncertain": (1000, 1, 100, 0.65, 10, 0.85, 0, 0),
    "SlateTopK-Bored": (1000, 10, 100, 0.65, 100, 0.85, 0, 5),
    "SlateTopK-BoredInf": (1000, 10, 100, 0.65, 100, 0.85, 0.05, 5),
    "SlateTopK-Uncertain": (1000, 10, 100, 0.65, 10, 0.85, 0.05, 5),
    "SlateRerank-Static": (10, 10, 10, 0.3, 5, 0.7, 0, 0),
    "SlateRerank-Bored": (10, 10, 10, 0.3, 5, 0.7, 0, 4),
}


@pytest.mark.parametrize("task", PUBLISHED)
def test_sardine_tasks_have_the_published_numbers(task: str) -> None:
    n, S, H, offset, slope, propensity, influence, threshold = PUBLISHED[task]
    world = classic(f"recgym/Sardine-{task}-v0")
    assert (len(world.catalog), world.slate_size, world.horizon, world.n_candidates, world.warm_up) == (n, S, H, n, 1)
    assert isinstance(world.preference, DotProduct)
    assert isinstance(world.choice, PositionBased)
    assert world.preference.scale == slope
    assert world.choice.threshold == pytest.approx(slope * offset)
    assert world.choice.examination == propensity
    bores = [part for part in world.dynamics if isinstance(part, Boredom)]
    drifts = [part for part in world.dynamics if isinstance(part, MeanDrift)]
    assert [(b.threshold, b.window, b.memory, b.duration) for b in bores] == (
        [(threshold, 5, 10, 5)] if threshold else []
    )
    assert [(m.rate, m.scalar) for m in drifts] == ([(pytest.approx(influence), True)] if influence else [])
    assert len(world.dynamics) == len(bores) + len(drifts)
    assert world.preference.unless == ("bored" if threshold else "")
    corrected = by_name("sardine", task=task, faithful=False)
    assert [m.scalar for m in corrected.dynamics if isinstance(m, MeanDrift)] == ([False] if influence else [])


@pytest.mark.parametrize("flips", [0, 1, 3, 4])
def test_recogym_flips_the_most_alike_pairs(rng: np.random.Generator, flips: int) -> None:
    gamma = rng.normal(size=(9, 4))
    order, free = list(range(9)), set(range(9))
    for _ in range(flips):
        i, j = max(
            ((i, j) for i in free for j in free if i < j), key=lambda pair: float(gamma[pair[0]] @ gamma[pair[1]])
        )
        order[i], order[j] = j, i
        free -= {i, j}
    assert recogym_classic.flip(gamma, flips).tolist() == order
    mu = rng.normal(size=9)
    world = recogym_classic.of(gamma, mu, flips)
    assert world.catalog.embedding == pytest.approx(gamma[order], abs=1e-6)
    assert world.catalog["appeal"] == pytest.approx(mu[order], abs=1e-6)
    session = world.dynamics[0]
    assert isinstance(session, OrganicSessions)
    assert session.affinity == pytest.approx(gamma, abs=1e-6)  # what is viewed is not flipped
    assert session.appeal == pytest.approx(mu, abs=1e-6)


# --- the ids

IDS = [pytest.param(env_id, id=env_id[7:]) for env_id in recgym.CLASSIC_IDS]


def test_the_classic_ids() -> None:
    assert len(recgym.CLASSIC_IDS) == 13
    assert {i for i in gym.registry if i.startswith("recgym/")} == {*recgym.ENV_IDS, *recgym.CLASSIC_IDS}
    hard, soft = (classic(f"recgym/LongTermSatisfaction{h}-v0").dynamics[0] for h in ("-Hard", ""))
    assert isinstance(hard, NetExposure)
    assert isinstance(soft, NetExposure)
    assert (hard.sensitivity, soft.sensitivity) == (0.1, 0.01)


@pytest.mark.parametrize("env_id", recgym.CLASSIC_IDS)
def test_the_contract_of_an_environment(env_id: str) -> None:
    """Row i of a batch is the single environment, bit for bit, with resets on the way; see check_env for the rest."""
    check_env(env_id, steps=60, horizon=min(classic(env_id).horizon, 25))


@pytest.mark.parametrize("env_id", IDS)
def test_gymnasium_finds_nothing(env_id: str) -> None:
    gymnasium_check_env(gym.make(env_id).unwrapped)
    env = gym.make(env_id, disable_env_checker=False)  # the passive checker too
    env.reset(seed=0)
    for _ in range(3):
        env.step(env.action_space.sample())


@pytest.mark.parametrize("env_id", IDS)
def test_stable_baselines3_finds_nothing(env_id: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    env = gym.make(env_id)
    assert isinstance(env.action_space, (spaces.Discrete, spaces.MultiDiscrete))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        checker.check_env(env.unwrapped, warn=True, skip_render_check=True)


@pytest.mark.usefixtures("no_global_rng")
@pytest.mark.parametrize("env_id", IDS)
def test_no_global_generator_is_used(env_id: str) -> None:
    env = gym.make(env_id).unwrapped
    env.action_space.seed(0)
    env.reset(seed=0)
    for _ in range(5):
        env.step(env.action_space.sample())


# --- bad input

GAMMA = np.ones((4, 2))


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: Proportional(null=0), r"Proportional.null: must be a number in .*, got 0"),
        (lambda: Proportional(null=math.nan), r"Proportional.null: .*got nan"),
        (lambda: Proportional(shift="1"), r"Proportional.shift: .*got '1'"),
        (lambda: WatchTime(length=0), r"WatchTime.length: .*got 0"),
        (lambda: WatchTime(budget=-1), r"WatchTime.budget: .*got -1"),
        (lambda: WatchTime(browse=-0.5), r"WatchTime.browse: .*got -0.5"),
        (lambda: WatchTime(bonus=math.inf), r"WatchTime.bonus: .*got inf"),
        (lambda: Engagement(sd=0), r"Engagement.sd: .*got 0"),
        (lambda: Engagement(choc=None), r"Engagement.choc: .*got None"),
        (lambda: Engagement(kale=21), r"Engagement.kale: must be a number in \[-20, 20\], got 21"),
        (lambda: Engagement(high=0), r"Engagement.high: .*got 0"),
        (lambda: SignedDrift(1.5), r"SignedDrift.rate: must be a number in \[0, 1\], got 1.5"),
        (lambda: MeanDrift(-0.1), r"MeanDrift.rate: .*got -0.1"),
        (lambda: MeanDrift(scalar=1), r"MeanDrift.scalar: must be True or False, got 1"),
        (lambda: Boredom(threshold=0), r"Boredom.threshold: must be an integer in \[1, 10000\], got 0"),
        (lambda: Boredom(window=2.5), r"Boredom.window: .*got 2.5"),
        (lambda: Boredom(memory=0), r"Boredom.memory: .*got 0"),
        (lambda: Boredom(duration=True), r"Boredom.duration: .*got True"),
        (lambda: OrganicSessions(np.full((2, 2), np.nan), np.ones(2)), r"OrganicSessions.affinity: must be finite"),
        (lambda: OrganicSessions("ab", np.ones(2)), r"OrganicSessions.affinity: must be an array of numbers"),
        (lambda: OrganicSessions(GAMMA, np.ones(3)), r"OrganicSessions.appeal: must have shape \(4,\), got \(3,\)"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), browse=2), r"OrganicSessions.browse: .*got 2"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), leave=-1), r"OrganicSessions.leave: .*got -1"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), advertise="1"), r"OrganicSessions.advertise: .*got '1'"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), sd=-0.1), r"OrganicSessions.sd: .*got -0.1"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), longest=0), r"OrganicSessions.longest: .*got 0"),
        (lambda: NetExposure(noise=-1), r"NetExposure.noise: .*got -1"),
        (lambda: NetExposure(limit=3.0, initial=3.5), r"NetExposure.initial: must be a number in \[0, 3\], got 3.5"),
        (lambda: UniformInterests(0), r"UniformInterests.dimensions: .*got 0"),
        (lambda: SparseInterests(share=1.0), r"SparseInterests.share: .*got 1"),
        (lambda: SparseInterests(low=0), r"SparseInterests.low: .*got 0"),
        (lambda: SparseInterests(low=4, high=3), r"SparseInterests.low: must be an integer in \[1, 3\], got 4"),
        (lambda: SparseInterests(high=11), r"SparseInterests.high: must be an integer in \[1, 10\], got 11"),
        (lambda: NormalInterests(sd=0), r"NormalInterests.sd: .*got 0"),
        (lambda: NormalInterests(dimensions=1.5), r"NormalInterests.dimensions: .*got 1.5"),
        (lambda: UserTypes((0.5, 0.4), ((0.0,), (0.0,))), r"UserTypes.probability: must add up to 1"),
        (lambda: UserTypes((), ()), r"UserTypes.probability: must add up to 1"),
        (lambda: UserTypes((1.5, -0.5), ((0.0,), (0.0,))), r"UserTypes.probability: .*got 1.5"),
        (lambda: UserTypes((1.0,), ((0.0,), (0.0,))), r"UserTypes.location: must be 1 rows"),
        (lambda: UserTypes((0.5, 0.5), ((0.0, 1.0), (0.0,))), r"UserTypes.location: must be 2 rows .* of one length"),
        (lambda: UserTypes((1.0,), ((4.0,),)), r"UserTypes.location: .*got 4"),
        (lambda: UserTypes(sd=-1), r"UserTypes.sd: .*got -1"),
        (lambda: Uniform(0), r"candidates: must be an integer in .*, got 0"),
        (lambda: by_name("recogym").replace(warm_up=-1), r"warm_up: must be an integer in \[0, 1000\], got -1"),
        (lambda: by_name("recogym").replace(warm_up=1.5), r"warm_up: .*got 1.5"),
        (lambda: by_name("recogym").replace(departure=Spent("presnt")), r"Spent reads scalars: .*Did you mean 'present'"),
        (lambda: by_name("recogym").replace(dynamics=(OrganicSessions(GAMMA, np.ones(4)),)),
         r"OrganicSessions.affinity: must be \(10, 5\), got \(4, 2\)"),
        (lambda: by_name("recogym").replace(population=UniformInterests(4)), r"UniformInterests.dimensions: must be the 5"),
        (lambda: by_name("recogym").replace(population=SparseInterests()), r"SparseInterests.topics: must be the 5"),
        (lambda: by_name("recogym").replace(population=UserTypes()), r"UserTypes.location: must have 5 columns, got 1"),
        (lambda: by_name("recogym").replace(candidates=Uniform(11)), r"candidates: must be at most the 10 items, got 11"),
        (lambda: by_name("recogym").replace(response=WatchTime()), r"attribute: .*got 'quality'"),
        (lambda: by_name("recogym").replace(response=Engagement()), r"attribute: .*got 'clickbait'"),
        (lambda: by_name("long-term-satisfaction").replace(dynamics=()), r"Engagement reads users: .*'satisfaction'"),
        (lambda: by_name("interest-evolution").replace(choice=PositionBased()), r"choice: must give at most one click"),
        (lambda: by_name("sardine").replace(preference=DotProduct(unless="bord")), r"DotProduct reads topics: .*'bored'"),
        (lambda: by_name("recogym").replace(preference=DotProduct(unless="n_views")), r"DotProduct reads topics: .*'n_views'"),
        (lambda: load_world("sardine", task="SlateTopK-Bord"), r"task: .*Did you mean 'SlateTopK-Bored'"),
        (lambda: load_world("sardine", faithful="yes"), r"faithful: must be True or False, got 'yes'"),
        (lambda: load_world("sardine", seed=-1), r"seed: .*got -1"),
        (lambda: load_world("recogym", products=1), r"products: .*got 1"),
        (lambda: load_world("recogym", flips=6), r"flips: must be an integer in \[0, 5\], got 6"),
        (lambda: load_world("recogym", dimensions=0), r"dimensions: .*got 0"),
        (lambda: load_world("long-term-satisfaction", sensitivity=-1), r"sensitivity: .*got -1"),
        (lambda: load_world("long-term-satisfaction", items=9), r"items: .*got 9"),
        (lambda: load_world("interest-evolution", items=0), r"items: .*got 0"),
        (lambda: load_world("interest-exploration", item=50), r"option: .*argument 'item'.*Did you mean 'items'"),
        (lambda: gym.make("recgym/RecoGym-v1", observation="compakt"), r"observation: .*Did you mean 'compact'"),
        (lambda: by_name("recogym").replace(population=NormalInterests(3)), r"NormalInterests.dimensions: must be the 5 .*got 3"),
        (lambda: UserTypes(0.5, ((0.0,),)), r"UserTypes.probability: must be numbers, got 0.5"),  # no sequence
        (lambda: UserTypes((1.0,), (0.5,)), r"UserTypes.location: must be 1 rows"),
        (lambda: UserTypes((1.0,), ((),)), r"UserTypes.location: must be 1 rows"),
        (lambda: by_name("recogym").replace(departure=Spent("views")), r"Spent reads scalars: .*got 'views'"),
        (lambda: OrganicSessions(GAMMA, np.ones(4), advertise=0.9, leave=0.9), r"OrganicSessions.advertise: .*got 0.9"),
        (lambda: load_world("sardine", task=["SlateTopK-Bored"]), r"task: got .* must be one of"),
    ],
)  # fmt: skip
def test_bad_parameters(make: Callable[[], Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()


def test_many_topics() -> None:
    """Binomial coefficients of thousands are too large for a float."""
    drawn = SparseInterests(0.5, 1, 3000, 3000).draw(np.full((6001, 1), 0.5, np.float32))
    assert abs((drawn > 0).sum() - 1500) < 100
