"""World: one step written down, every field of every part doing something, saving and loading."""

from __future__ import annotations

import dataclasses
import io
import json
import math
import os
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import recgym
from recgym import Catalog, Column, Component, ConfigError, Feedback, Sizes, Users, World, files, load_world, mix
from recgym.component import KINDS
from recgym.envs import RecVectorEnv
from recgym.files import arrays_as_bytes, parse_arrays
from recgym.market import ShopMarket, Signal, StaticMarket
from recgym.models.candidates import Retrieval, Uniform
from recgym.models.choice import Cascade, MultinomialLogit, PositionBased
from recgym.models.departure import Departure, Hazard, Never, Sessions
from recgym.models.dynamics import Dynamics, Fatigue, NetExposure, Satisfaction, TwoSpeedDrift
from recgym.models.preference import DotProduct, Loyal
from recgym.models.response import Clicks, Dwell, Watch
from recgym.models.reward import Weighted
from recgym.observations import FlatObservation, LatentObservation
from recgym.testing import check_component, check_world, random_slates
from recgym.types import Array

WorldOf = Callable[..., World]
DOMAINS = ("ecommerce", "news", "livestream")


def play(
    world: World, users: int = 64, steps: int = 40, seed: int = 0, empty: float = 0.15
) -> Iterator[tuple[Users, Array, Feedback, Users]]:
    """Users, slate, feedback and users after, step by step; whoever leaves begins the next episode."""
    rng = np.random.default_rng(seed)
    rows = world.arrive(mix(range(seed, seed + users)))
    for _ in range(steps):
        slate = random_slates(rng, rows.candidates, world.slate_size, empty)
        after, feedback = world.step(rows, slate, world.noise(rows))
        yield rows, slate, feedback, after
        gone = np.flatnonzero(feedback.left | (after.t >= world.horizon))
        rows = after.put(gone, world.arrive(after.key[gone], after.episode[gone] + 1)) if len(gone) else after


@pytest.mark.parametrize("name", DOMAINS)
def test_rows_put_in_place_are_those_of_a_copy_and_leave_the_users_before_alone(world_of: WorldOf, name: str) -> None:
    before, slate, _, after = next(play(world := world_of(name, 3), users=8))
    held = {column: before[column].copy() for column in before}
    index = np.array([1, 6])
    new = world.arrive(before.key[index], before.episode[index] + 1)
    copied = after.put(index, new)
    assert all(copied[column] is not after[column] for column in after)
    placed = world.step(before, slate, world.noise(before))[0].put(index, new, before=before)
    for column in before:
        np.testing.assert_array_equal(placed[column], copied[column], err_msg=column)
        np.testing.assert_array_equal(before[column], held[column], err_msg=column)


@pytest.mark.parametrize("slate_size", [1, 5])
@pytest.mark.parametrize("name", DOMAINS)
def test_domains_keep_the_contract_of_a_world(world_of: WorldOf, name: str, slate_size: int) -> None:
    check_world(world_of(name, slate_size))


@pytest.mark.parametrize("name", DOMAINS)
def test_domain_parts_keep_their_contracts(world_of: WorldOf, name: str) -> None:
    world = world_of(name, 3)
    for part in world.parts:
        check_component(part, world)


# --- what a step records


def test_history_is_latest_first_and_right_from_the_first_step(world: World) -> None:
    world = world.replace(history=4)
    clicked: dict[int, list[int]] = {b: [] for b in range(64)}
    channels: dict[int, list[Array]] = {b: [] for b in range(64)}
    started = np.zeros(64, bool)
    for before, slate, feedback, after in play(world):
        for b in range(64):
            if before.t[b] == 0:
                assert (before.history[b] == -1).all()
                assert not before.history_feedback[b].any()
                assert not before.last[b].any()
                clicked[b], channels[b] = [], []
            for s in range(world.slate_size):
                if feedback.click[b, s]:
                    clicked[b].insert(0, int(slate[b, s]))
                    channels[b].insert(0, feedback.channels[b, s])
            n = min(len(clicked[b]), 4)
            assert after.history[b].tolist() == clicked[b][:4] + [-1] * (4 - n)
            for h in range(n):
                assert np.array_equal(after.history_feedback[b, h], channels[b][h])
            assert not after.history_feedback[b, n:].any()
            assert after.last[b] == pytest.approx(feedback.channels[b].sum(axis=0), abs=1e-6)
            started[b] = True
    assert started.all()
    assert max(map(len, clicked.values())) >= 2


def test_exposure_time_and_clock(world: World) -> None:
    S = world.slate_size
    for before, slate, feedback, after in play(world, steps=15):
        want = before.exposure * 0.8
        for b, s in zip(*np.nonzero(slate >= 0), strict=True):
            want[b, world.catalog.topic[slate[b, s]]] += 0.2 / S
        assert after.exposure == pytest.approx(np.minimum(want, 1), abs=1e-6)
        assert (after.t == before.t + 1).all()
        jumped = (
            feedback.objectives[:, world.objectives.index("return")] > 0
            if "return" in world.objectives
            else np.zeros(64, bool)
        )
        assert (after.clock - before.clock)[~jumped] == pytest.approx(
            feedback.dt[~jumped], abs=8e-3
        )  # float32 in week 8
        assert ((after.clock - before.clock)[jumped] > 59).all()


@dataclasses.dataclass(frozen=True, eq=False)
class Detour(Dynamics):
    """A clock of its own: each step takes an hour more."""

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return {"clock": users.clock + np.float32(60)}


def test_time_away_comes_on_top_of_what_the_parts_made_of_the_clock(world_of: WorldOf) -> None:
    plain = world_of("news", 1)
    world = plain.replace(dynamics=(*plain.dynamics, Detour()))
    users = plain.arrive(mix(range(400)))
    users = users.replace(spent=users.stamina.copy())  # patience ends with this step
    noise = plain.noise(users)
    slate = users.candidates[:, :1].copy()
    after, later = (w.step(users, slate, noise)[0] for w in (plain, world))
    assert (after.clock - users.clock > 50).any()  # some come back hours later
    assert np.allclose(later.clock, after.clock + 60)


def test_topics_recover_while_the_reader_is_away(world_of: WorldOf) -> None:
    """Fatigue halves every half_life minutes of the user's clock: hours between two sessions count too."""
    world = world_of("news", 3)
    fatigue = next(part for part in world.dynamics if isinstance(part, Fatigue))
    returned = world.objectives.index("return")
    checked = 0
    for before, slate, feedback, after in play(world, users=256, steps=60):
        for b in np.flatnonzero(feedback.objectives[:, returned] > 0):
            passed = after.clock[b] - before.clock[b]
            assert passed >= 60.0
            shown = slate[b][slate[b] >= 0]
            untouched = np.setdiff1d(np.arange(world.sizes.topics), world.catalog.topic[shown])
            want = before.fatigue[b, untouched] * 0.5 ** (passed / fatigue.half_life)
            assert after.fatigue[b, untouched] == pytest.approx(want, rel=1e-2, abs=1e-5)
            checked += 1
    assert checked > 5


def test_forced_clicks_are_what_happens(world: World) -> None:
    users = world.arrive(mix(range(16)))
    slate = users.candidates[:, :3].copy()
    click = np.zeros((16, 3), bool)
    click[:, 1] = True
    after, feedback = world.step(users, slate, world.noise(users), click=click)
    assert np.array_equal(feedback.click, click)
    assert (after.history[:, 0] == slate[:, 1]).all()
    sampled = world.step(users, slate, world.noise(users))[1]
    assert np.array_equal(feedback.probability, sampled.probability)


def test_noise_depends_on_key_episode_and_step_only(world: World) -> None:
    users = world.arrive(mix(range(8)))
    a = world.noise(users)
    assert a.shape == (world.uniforms_per_step, 8)
    after, _ = world.step(users, users.candidates[:, :3].copy(), a)
    moved = users.replace(interest=-users.interest, t=after.t)
    assert np.array_equal(world.noise(after), world.noise(moved))
    assert not np.array_equal(a, world.noise(after))
    assert not np.array_equal(a, world.noise(users.replace(episode=users.episode + 1)))


def test_every_part_has_noise_of_its_own(world: World) -> None:
    taken = [*world.blocks[:4], *world.blocks.dynamics]
    rows = [i for block in taken for i in range(block.start, block.stop)]
    assert rows == list(range(len(rows)))
    assert len(rows) == world.uniforms_per_step
    parts = (world.candidates, world.choice, world.response, world.departure, *world.dynamics)
    assert [b.stop - b.start for b in taken] == [part.uniforms(world.sizes) for part in parts]


def test_common_random_numbers(world: World) -> None:
    """Two slates that share an item at one position see the same noise: the difference is the slate's alone."""
    users = world.arrive(mix(range(500)))
    a, b = users.candidates[:, :3].copy(), users.candidates[:, :3].copy()
    b[:, 2] = users.candidates[:, 3]
    fa, fb = (world.step(users, slate, world.noise(users))[1] for slate in (a, b))
    other = users.replace(key=mix(range(500, 1000)))
    fc = world.step(other, b, world.noise(other))[1]
    same, independent = ((f.click[:, :2] == fa.click[:, :2]).all(axis=1).mean() for f in (fb, fc))
    assert 1 - same < 0.5 * (1 - independent)


# --- expected rewards


@pytest.mark.parametrize("slate_size", [1, 3])
@pytest.mark.parametrize("name", DOMAINS)
def test_expected_is_the_mean_of_steps(world_of: WorldOf, name: str, slate_size: int) -> None:
    """Every objective of the response, from users in mid-session, against fresh noise for the very same states."""
    world = world_of(name, slate_size)
    if name == "livestream":  # random slates hardly ever bring about a visit, a like or a gift
        preference = dataclasses.replace(world.preference, browsing=0.0)
        world = world.replace(preference=preference, response=dataclasses.replace(world.response, like=-3, gift=-3))
    *_, last = play(world, users=80, steps=15, seed=7)
    users, n = last[3], 2500
    users = users.rows(np.flatnonzero(users.t > 2)[:40])
    B = len(users)
    slate = random_slates(np.random.default_rng(1), users.candidates, slate_size)
    expected = world.expected(users, slate)
    index = np.repeat(np.arange(B), n)
    rows = users.rows(index).replace(key=mix(range(B * n)))
    _, feedback = world.step(rows, slate[index], world.noise(rows))
    sampled = feedback.objectives.reshape(B, n, -1).astype(np.float64)
    known = len(world.response.objectives)
    assert (expected[:, known:] == 0).all()
    total, want = sampled.mean(axis=1)[:, :known].sum(axis=0), expected[:, :known].sum(axis=0)
    # Rare events may be missing from the sample, so the stated mean bounds their variance from below.
    error = np.sqrt(((sampled.var(axis=1)[:, :known] + expected[:, :known]) / n).sum(axis=0))
    off = np.abs(total - want) / error
    assert (want > 0).all()
    assert (off < 4).all(), dict(zip(world.response.objectives, off.round(1), strict=True))
    by_user = np.abs(sampled.mean(axis=1)[:, 0] - expected[:, 0]) / np.sqrt(expected[:, 0] / n + 1e-6)
    assert by_user.max() < 5
    one = world.probability if hasattr(world, "probability") else world.outlook(users, slate)[0]
    frequency = feedback.click.reshape(B, n, -1).mean(axis=1)
    assert np.abs(frequency - one).max() < 5 * 0.5 / np.sqrt(n)


@pytest.mark.parametrize("choice", [Cascade(attention=0.9, continuation=0.8), PositionBased(threshold=1.0)])
def test_expected_with_several_clicks(world_of: WorldOf, choice: Any) -> None:
    """A funnel behind a choice of several clicks: the cart's later purchases count once, not once a click."""
    world = world_of("ecommerce", 3).replace(
        choice=choice, response=dataclasses.replace(world_of("ecommerce").response, hazard=0.3)
    )
    *_, last = play(world, users=30, steps=12, seed=3)
    users, n = last[3], 3000
    slate = random_slates(np.random.default_rng(1), users.candidates, 3)
    index = np.repeat(np.arange(30), n)
    rows = users.rows(index).replace(key=mix(range(30 * n)))
    sampled = world.step(rows, slate[index], world.noise(rows))[1].objectives.reshape(30, n, -1).astype(np.float64)
    expected = world.expected(users, slate)
    error = np.sqrt((sampled.var(axis=1) / n).sum(axis=0)) + 1e-4  # the satisfaction is not drawn
    off = np.abs(sampled.mean(axis=1).sum(axis=0) - expected.sum(axis=0)) / error
    assert (off < 4).all(), dict(zip(world.objectives, off.round(1), strict=True))


def test_a_response_that_knows_one_click_refuses_a_choice_of_several(world_of: WorldOf) -> None:
    """A user watches one stream: with two clicks in a slate `Watch.expected` would state what cannot happen."""
    with pytest.raises(ConfigError, match=r"(choice|Watch)"):
        world_of("livestream", 3).replace(choice=Cascade())


def test_appraise_agrees_with_outlook(world: World) -> None:
    users = world.arrive(mix(range(12)))
    slate = users.candidates[:, :3].copy()
    utility, outside, given, otherwise = world.appraise(users, users.candidates)
    probability, given3, otherwise3 = world.outlook(users, slate)
    assert np.array_equal(world.choice.probability(utility[:, :3].copy(), outside), probability)
    assert np.array_equal(given[:, :3], given3)
    assert np.array_equal(otherwise, otherwise3)
    assert given.shape == (12, 20, len(world.objectives))


# --- every field does something


def others(value: Any) -> Iterator[Any]:
    """Other values of a field, near and far, in the hope that one is legal and tells."""
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, max(value // 2, 1), value + 7, 1)
    elif isinstance(value, float):
        yield from (
            value + 0.25,
            value * 0.5,
            value * 2 + 0.1,
            value - 0.25,
            value - 3.0,
            value + 3.0,
            value / 20,
            1.0,
            0.05,
            0.0,
        )
    elif isinstance(value, np.ndarray) and value.dtype.kind == "f":
        yield from (
            value * np.float32(0.7),
            value[::-1].copy(),
            np.roll(value, 1, axis=-1),
            value * np.float32(0.2),
        )
    elif isinstance(value, np.ndarray):
        inner = value.copy()
        inner[1:-1] -= 5  # for offsets, which must keep their ends
        yield from (value[::-1].copy(), np.roll(value, 1), (value + 1) % (value.max() + 1), inner)
    elif isinstance(value, dict) and not value:
        yield {"trait": (1.0, 0.5, 0.1, 9.0)}
    elif isinstance(value, dict):
        for name, inner in value.items():
            for other in others(inner):
                yield {**value, name: other}
    elif isinstance(value, tuple) and value and not isinstance(value[0], str):
        for i, inner in enumerate(value):
            for other in others(inner):
                yield (*value[:i], other, *value[i + 1 :])


def trajectory(world: World, steps: int) -> dict[str, Array]:
    """All that a user, an agent or a planner can see of a world."""
    found: dict[str, Array] = {}
    encoder = LatentObservation(world)
    weights = world.reward.weights(world.objectives)
    for t, (before, slate, feedback, after) in enumerate(play(world, users=48, steps=steps)):
        observation = np.empty((48, encoder.width), np.float32)
        encoder.encode(after, observation)
        expected = world.expected(before, slate)
        for name, array in {
            **after.__dict__,
            **feedback.__dict__,
            "observation": observation,
            "expected": expected,
        }.items():
            found[f"{t}.{name}"] = array
    found["reward"] = np.append(*weights)
    return found


def differ(a: dict[str, Array], b: dict[str, Array]) -> bool:
    return a.keys() != b.keys() or any(a[k].shape != b[k].shape or a[k].tobytes() != b[k].tobytes() for k in a)


def fields() -> Iterator[Any]:
    elsewhere = {"news-Satisfaction-price", "news-Satisfaction-regret"}  # they read what a shop tells
    for domain in DOMAINS:
        world = load_world(domain)
        for name in ("slate_size", "horizon", "history"):
            yield pytest.param(domain, "", name, id=f"{domain}-{name}")
        for part in dict.fromkeys(part.kind for part in world.parts):
            found = next(p for p in world.parts if p.kind == part)
            for f in dataclasses.fields(found):
                fits = not (part == "Catalog" and f.name == "names")
                if f.init and fits and f"{domain}-{part}-{f.name}" not in elsewhere:
                    yield pytest.param(domain, part, f.name, id=f"{domain}-{part}-{f.name}")


@pytest.fixture(scope="module")
def baseline() -> Callable[[str], dict[str, Array]]:
    from functools import cache

    return cache(lambda domain: trajectory(load_world(domain, slate_size=2), 50))


@pytest.mark.parametrize(("domain", "kind", "name"), list(fields()))
def test_every_field_changes_something(
    world_of: WorldOf, baseline: Callable[[str], dict[str, Array]], domain: str, kind: str, name: str
) -> None:
    world = world_of(domain, 2)
    part = next((p for p in world.parts if p.kind == kind), world)
    value = getattr(part, name)
    candidates: Iterator[Any] = others(value)
    if name == "n_topics":
        candidates = iter([])  # it only says how many topics there are; the part that depends on it is checked below
        with pytest.raises(ConfigError):
            world.replace(catalog=dataclasses.replace(world.catalog, n_topics=world.catalog.n_topics + 1))
        return
    if name in ("offsets", "listed"):  # they belong together
        slots = np.repeat(np.arange(len(part.offsets) - 1), np.diff(part.offsets))
        kept = part.listed % 3 != 0
        offsets = np.concatenate([[0], np.cumsum(np.bincount(slots[kept], minlength=len(part.offsets) - 1))])
        market = dataclasses.replace(part, offsets=offsets, listed=part.listed[kept])
        assert differ(trajectory(world.replace(market=market), 50), baseline(domain))
        return
    if name == "visible":
        candidates = iter([value[:1], ()])
    if name == "name":  # of a column that another part reads
        renamed = tuple(dataclasses.replace(d, name="busy") if d is part else d for d in world.dynamics)
        with pytest.raises(ConfigError, match="level"):
            world.replace(dynamics=renamed)
        return
    if name == "unless":
        candidates = iter(["fatigue"])
    if name == "to":
        candidates = iter(["utility"])
    if name == "by":
        candidates = iter(["mean", "least"] if value != "mean" else ["least"])
    if name == "users" and not value:
        candidates = iter([{"satisfaction": 1.0}])
    tried = 0
    for other in candidates:
        try:
            changed = dataclasses.replace(part, **{name: other})
            if part is world:
                new = changed
            elif isinstance(part, Dynamics):
                new = world.replace(dynamics=tuple(changed if d is part else d for d in world.dynamics))
            else:
                family = next(f for f in World.__dataclass_fields__ if getattr(world, f) is part)
                new = world.replace(**{family: changed})
        except ConfigError:
            continue
        tried += 1
        if differ(trajectory(new, 50), baseline(domain)):
            return
        if tried > 12:
            break
    assert tried, f"no other legal value of {kind}.{name} = {value!r} was found"
    pytest.fail(f"{kind}.{name} changes nothing in {domain}: {tried} other values gave the same trajectories")


@pytest.mark.parametrize(
    ("domain", "option", "value"),
    [
        *[(domain, option, value) for domain in DOMAINS for option, value in
          (("items", 500), ("topics", 10), ("dimensions", 8), ("seed", 1), ("cold_start", 0.9), ("profile_noise", 0.2),
           ("quality_correlation", 0.1))],
        ("ecommerce", "price_sensitivity", 3.0),
    ],
)  # fmt: skip
def test_every_option_of_a_domain_changes_something(
    baseline: Callable[[str], dict[str, Array]], domain: str, option: str, value: Any
) -> None:
    assert differ(
        trajectory(load_world(domain, slate_size=2, **{option: value}), 10), dict(list(baseline(domain).items())[:200])
    )


@pytest.mark.parametrize("domain", DOMAINS)
def test_worlds_are_reproducible(baseline: Callable[[str], dict[str, Array]], domain: str) -> None:
    assert not differ(trajectory(load_world(domain, slate_size=2), 50), baseline(domain))


# --- composition


class Bored(Dynamics):
    """A user's own part, in NumPy: interest fades with every empty slate."""

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"boredom": Column((), np.float32, 0.0, 1.0, 0.25, visible=True)}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        empty = (feedback.slate < 0).mean(axis=1, dtype=np.float32)
        return {"boredom": (0.5 * users.boredom + 0.5 * empty).astype(np.float32)}


def test_a_part_of_ones_own(world: World, tmp_path: Path) -> None:
    own = Bored()
    check_component(own)
    mine = world.replace(dynamics=(*world.dynamics, own))
    check_world(mine, users=1000, steps=60)  # so many that somebody gives a gift
    layout = FlatObservation(mine).layout["user"]
    assert "boredom" in [part.name for part in layout.parts]
    mine.save(tmp_path)
    assert World.load(tmp_path).dynamics[-1].kind == "Bored"


@pytest.mark.parametrize(
    ("domain", "parts", "fragment"),
    [
        ("news", {"dynamics": (Satisfaction(), NetExposure())},
         r"NetExposure.columns: must not own .*'(satisfaction|net_exposure)'"),
        ("ecommerce", {"dynamics": (Fatigue(), Fatigue())}, r"Fatigue.columns: must not own .*'fatigue'"),
        ("ecommerce", {"dynamics": [3]}, r"dynamics: must be a sequence of Dynamics components, got \(3,\)"),
        ("ecommerce", {"dynamics": Fatigue()}, r"dynamics: must be a sequence"),
        ("ecommerce", {"choice": DotProduct()}, r"choice: must be a Choice component, got DotProduct"),
        ("ecommerce", {"choice": "Cascade"}, r"choice: must be a Choice component, got 'Cascade'"),
        ("ecommerce", {"choice": {"kind": "Cascad"}}, r"choice.kind: .*got 'Cascad'\. Did you mean 'Cascade'"),
        ("ecommerce", {"choice": {"kind": "DotProduct"}}, r"choice.kind: .*got 'DotProduct'"),
        ("ecommerce", {"choice": {"kind": "Choice"}}, r"choice.kind: .*got 'Choice'"),
        ("ecommerce", {"choice": {"kind": ["Cascade"]}}, r"choice.kind: .*Cascade"),
        ("ecommerce", {"choice": {"kind": "Cascade", "atention": 1}},
         r"choice .*got 'atention'\. Did you mean 'attention'"),
        ("ecommerce", {"choice": {"attention": 0.5}}, r"choice: must be a component or a dict with a 'kind'"),
        ("ecommerce", {"slate_size": 0}, r"slate_size: must be an integer in \[1, 10000\], got 0"),
        ("ecommerce", {"slate_size": 21}, r"slate_size: must be at most the 20 candidates, got 21"),
        ("ecommerce", {"horizon": -1}, r"horizon: .*got -1"),
        ("ecommerce", {"horizon": 10.0}, r"horizon: .*got 10.0"),
        ("ecommerce", {"history": 0}, r"history: .*got 0"),
        ("ecommerce", {"candidates": Uniform(6001)}, r"candidates: must be at most the 6000 items, got 6001"),
        ("ecommerce", {"choice": PositionBased((0.9, 0.5)), "slate_size": 3},
         r"slate_size: must be at most the 2 positions of PositionBased.examination, got 3"),
        ("ecommerce", {"reward": Weighted({"clik": 1.0})}, r"reward: .*got 'clik'\. Did you mean 'click'"),
        ("ecommerce", {"preference": DotProduct(attributes={"qualty": 1.0})},
         r"attribute: .*got 'qualty'\. Did you mean 'quality'"),
        ("ecommerce", {"response": Dwell()}, r"attribute: .*got 'clickbait'"),
        ("news", {"chioce": Cascade()}, r"world: .*got 'chioce'\. Did you mean 'choice'"),
        # What a part reads must be there when the World is made, not missed at the first step.
        ("ecommerce", {"preference": DotProduct(topics={"fatige": -1.0})}, r"'fatige'.*'fatigue'"),
        ("ecommerce", {"preference": DotProduct(topics={"satisfaction": -1.0})}, r"satisfaction"),
        ("ecommerce", {"preference": Loyal()}, r"(watching|fan_item)"),
        ("ecommerce", {"dynamics": (Fatigue(),)}, r"sati"),
        ("ecommerce", {"market": StaticMarket.of(6000), "population": {}}, r"population|log_price"),
        ("ecommerce", {"departure": Sessions()}, r"stamina"),
        ("livestream", {"departure": Sessions()}, r"satisf"),
        ("news", {"dynamics": (TwoSpeedDrift(), Fatigue())}, r"satisfaction"),
        ("news", {"departure": Hazard(), "dynamics": (NetExposure(),)}, r"fatigue"),
        ("news", {"response": Watch(), "reward": Weighted()}, r"(remaining|budget|wallet)"),
        ("ecommerce", {"response": Clicks(), "reward": Weighted()}, r"(bought|purchase)"),
    ],
)  # fmt: skip
def test_parts_that_do_not_fit(world_of: WorldOf, domain: str, parts: dict[str, Any], fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        world_of(domain).replace(**parts)


@pytest.mark.parametrize(
    ("name", "attribute", "value"),
    [
        ("long-term-satisfaction", "clickbait", 1.5),
        ("long-term-satisfaction", "clickbait", -0.1),
    ],
)
def test_attributes_that_a_response_cannot_pay_for(name: str, attribute: str, value: float) -> None:
    """The exponential of a large clickbait is infinite."""
    world = load_world(name, items=30, candidates=10)
    attributes = world.catalog.attributes.copy()
    attributes[7, world.catalog.column(attribute)] = value
    with pytest.raises(ConfigError, match=rf"catalog.attributes: must have .*{attribute}.*{value}"):
        world.replace(catalog=dataclasses.replace(world.catalog, attributes=attributes))


def test_a_funnel_needs_a_market_with_prices(world_of: WorldOf) -> None:
    """Its kernel reads the signals 0 and 1: in a market without them it would read beyond the array."""
    world = world_of("ecommerce")
    population = dataclasses.replace(world.population, sensitivity={})
    with pytest.raises(ConfigError, match=r"log_price"):
        world.replace(market=StaticMarket.of(6000), population=population)


def test_parts_swap_by_replace_and_by_dict(world_of: WorldOf) -> None:
    world = world_of("ecommerce", 3)
    by_hand, by_dict = (
        world.replace(choice=c) for c in (Cascade(attention=0.8), {"kind": "Cascade", "attention": 0.8})
    )
    assert by_dict.choice == by_hand.choice or by_dict.choice.to_dict() == by_hand.choice.to_dict()
    assert not differ(trajectory(by_hand, 5), trajectory(by_dict, 5))
    assert isinstance(dataclasses.replace(world, departure=Never()).departure, Never)


def test_load_world_by_name_with_options() -> None:
    world = load_world("ecommerce", cold_start=0.5, horizon=7, candidates=9, choice=MultinomialLogit(1.0))
    assert world.population.cold_start == 0.5
    assert world.horizon == 7
    assert world.n_candidates == 9
    assert world.choice.null == 1.0  # type: ignore[attr-defined]
    assert load_world("news", candidates="all").n_candidates == 12_000


# --- saving and loading


def test_a_saved_world_says_what_it_is(world: World, tmp_path: Path) -> None:
    world.save(tmp_path / "deep" / "folder")
    data = json.loads((tmp_path / "deep" / "folder" / "world.json").read_text())
    assert data["format"] == "recgym-world-1"
    assert data["kind"] == "World"
    assert data["choice"]["kind"] == world.choice.kind
    with np.load(tmp_path / "deep" / "folder" / "arrays.npz", allow_pickle=False) as arrays:
        assert arrays["catalog.embedding"].shape == world.catalog.embedding.shape


def test_saved_worlds_can_be_read_by_others(world_of: WorldOf, tmp_path: Path) -> None:
    """Files get the mode that the umask gives, not that of a private temporary file."""
    world_of("ecommerce").save(tmp_path)
    umask = os.umask(0)
    os.umask(umask)
    for name in ("world.json", "arrays.npz"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~umask


def test_saving_over_an_old_world_replaces_it(world_of: WorldOf, tmp_path: Path) -> None:
    world_of("news").save(tmp_path)
    world_of("ecommerce").save(tmp_path)
    assert World.load(tmp_path).objectives == world_of("ecommerce").objectives
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays.npz", "world.json"]


def test_numbers_of_numpy_in_a_part_do_not_break_saving(world_of: WorldOf, tmp_path: Path) -> None:
    """`topic.max() + 1` is an int32 of NumPy."""
    world = world_of("ecommerce")
    catalog = dataclasses.replace(world.catalog, n_topics=world.catalog.topic.max() + 1)
    world.replace(catalog=catalog).save(tmp_path)
    assert World.load(tmp_path).catalog.n_topics == 20
    assert sorted(p.name for p in tmp_path.iterdir()) == ["arrays.npz", "world.json"]


def edited(world: World, folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    world.save(folder)
    data = json.loads((folder / "world.json").read_text())
    text = change(data)
    (folder / "world.json").write_text(text if isinstance(text, str) else json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("change", "fragment"),
    [
        (lambda d: d.update(format="recgym-world-99"), r"world: must be of format recgym-world-1"),
        (lambda d: d.pop("format") and None, r"world: must be of format"),
        (lambda d: d.update(colour="blue"), r"world .*field: .*got 'colour'"),
        (lambda d: d["choice"].update(kind="os.system"), r"choice.kind: .*got 'os.system'"),
        (lambda d: d["choice"].update(nul=1.0), r"choice .*got 'nul'\. Did you mean 'null'"),
        (lambda d: d["choice"].update(null="high"), r"MultinomialLogit.null: .*got 'high'"),
        (lambda d: d["catalog"]["embedding"].update(array="nothing"),
         r"arrays.npz must hold plain arrays: the array 'nothing' is not there"),
        (lambda d: d.pop("choice") and None, r"choice"),
        (lambda d: d.update(kind="Cascade"), r"world.kind: .*got 'Cascade'"),
        (lambda d: d.update(kind="Component"), r"world.kind: .*got 'Component'"),
        (lambda d: "{not json", r"world.json must be JSON"),
        (lambda d: "[1, 2]", r"world: must be of format"),
    ],
)  # fmt: skip
def test_broken_world_files(
    world_of: WorldOf, tmp_path: Path, change: Callable[[dict[str, Any]], Any], fragment: str
) -> None:
    folder = edited(world_of("ecommerce"), tmp_path, change)
    with pytest.raises(ConfigError, match=fragment):
        World.load(folder)


def test_world_files_without_arrays(world_of: WorldOf, tmp_path: Path) -> None:
    world_of("ecommerce").save(tmp_path)
    (tmp_path / "arrays.npz").write_bytes(b"PK not a zip file")
    with pytest.raises(ConfigError, match=r"arrays\.npz"):
        World.load(tmp_path)
    (tmp_path / "arrays.npz").unlink()
    with pytest.raises(ConfigError, match=r"arrays\.npz"):
        World.load(tmp_path)


def test_nothing_is_unpickled(world_of: WorldOf, tmp_path: Path) -> None:
    world_of("ecommerce").save(tmp_path)
    with np.load(tmp_path / "arrays.npz") as arrays:
        saved = dict(arrays)
    saved["catalog.embedding"] = np.array([{"a": 1}], dtype=object)
    np.savez(tmp_path / "arrays.npz", **saved)
    edited_json(tmp_path, arrays=None)
    with pytest.raises(ConfigError, match=r"'catalog\.embedding' must hold numbers, booleans or text, got object"):
        World.load(tmp_path)


def edited_json(folder: Path, **changes: Any) -> None:
    """world.json with other values; None removes them. Without "arrays" the digest of the arrays is not known."""
    data = {**json.loads((folder / "world.json").read_text()), **changes}
    (folder / "world.json").write_text(json.dumps({name: value for name, value in data.items() if value is not None}))


def test_arrays_of_files_are_looked_at_before_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SMALL", 2**20)
    load_world("ecommerce", items=400).save(tmp_path)
    file = tmp_path / "arrays.npz"
    good = parse_arrays(file.read_bytes(), "", "")
    edited_json(tmp_path, arrays=None)
    World.load(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**34,)})

    def archive(**members: bytes) -> bytes:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in members.items():
                made.writestr(f"{name.replace('__', '.')}.npy", content)
        return buffer.getvalue()

    plain = {name: arrays_as_bytes({"x": array}) for name, array in good.items()}
    members = {name: zipfile.ZipFile(io.BytesIO(content)).read("x.npy") for name, content in plain.items()}
    with np.errstate(all="ignore"):
        wrong = {
            "nothing refers to the array 'more'": arrays_as_bytes({**good, "more": np.zeros(3)}),
            "'catalog.embedding' is not there": arrays_as_bytes(
                {n: a for n, a in good.items() if n != "catalog.embedding"}
            ),
            "size of its shape": archive(**{**members, "catalog.embedding": header.getvalue() + b"1234"}),
            "header": archive(**{**members, "catalog.embedding": b"\x93NUMPY\x01\x00\x05\x00hello"}),
            "times its size": archive(**members, bomb=b"0" * 2**26),
            "whole archive": file.read_bytes()[:200],
            "embedding": arrays_as_bytes({**good, "catalog.embedding": good["catalog.embedding"].astype(str)}),
            "finite": arrays_as_bytes({**good, "catalog.embedding": good["catalog.embedding"] * np.inf}),
            "offsets": arrays_as_bytes({**good, "market.offsets": good["market.offsets"][None]}),
        }
    for says, content in wrong.items():
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=says):
            World.load(tmp_path)


def test_a_reader_never_gets_files_of_two_worlds(world_of: WorldOf, tmp_path: Path) -> None:
    worlds = [recgym.load_world("ecommerce", items=n, seed=n) for n in (40, 41)]
    worlds[0].save(tmp_path)
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            for world in worlds:
                world.save(tmp_path)
                stop.wait(0.002)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(30):
            read = World.load(tmp_path)
            assert np.array_equal(read.catalog.embedding, worlds[len(read.catalog) - 40].catalog.embedding)
    finally:
        stop.set()
        writer.join()
    first = (tmp_path / "arrays.npz").read_bytes()
    worlds[0].save(tmp_path)
    (tmp_path / "arrays.npz").write_bytes(first)
    with pytest.raises(ConfigError, match="files of one world"):
        World.load(tmp_path)


def test_the_default_part_is_not_checked_where_another_is_given() -> None:
    for given in ({"candidates": 5}, {"candidates": "all"}, {"candidates": {"kind": "Uniform", "candidates": 9}}):
        assert recgym.load_world("news", items=10, **given).n_candidates <= 10
    world = recgym.load_world("ecommerce", items=10, candidates=5, slate_size=5)
    assert (world.n_candidates, world.slate_size) == (5, 5)
    with pytest.raises(ConfigError, match=r"candidates: must be at most the 10 items, got 20"):
        recgym.load_world("ecommerce", items=10)
    simple = recgym.load_world("ecommerce", response={"kind": "Clicks"}, reward={"kind": "Weighted", "objectives": {"click": 1}},
                               dynamics=(), departure={"kind": "Never"}, preference=DotProduct())  # fmt: skip
    assert simple.objectives == ("click",)


def test_sizes_of_numpy_do_not_overflow() -> None:
    world = recgym.load_world("news", items=np.int8(100), dimensions=np.int8(8), topics=np.uint8(5), seed=np.int64(0))
    plain = recgym.load_world("news", items=100, dimensions=8, topics=5, seed=0)
    assert np.array_equal(world.catalog.embedding, plain.catalog.embedding)


def numbers_of(kind: type, **values: Any) -> Any:
    return {name: getattr(kind(**values), name) for name in values}


def test_numbers_of_any_library_become_pythons() -> None:
    given = dict(level=np.float32(0.5), satisfaction=Fraction(1, 2), fatigue=np.int8(1))
    plain = numbers_of(Hazard, **given)
    assert plain == dict(level=0.5, satisfaction=0.5, fatigue=1.0)
    assert {type(value) for value in plain.values()} == {float}
    assert type(Retrieval(np.int16(3)).candidates) is int
    for wrong in (
        math.nan,
        math.inf,
        10**400,
        "0.5",
        None,
        True,
        np.bool_(True),
        np.array(0.5),
        np.array([0.5]),
        1j,
        Decimal("0.5"),
    ):
        with pytest.raises(ConfigError, match=r"Hazard\.level"):
            Hazard(level=wrong)
    env = RecVectorEnv("ecommerce", 2, departure=Hazard(level=np.float32(-0.5)), horizon=np.int64(5))  # type: ignore[arg-type]
    assert env.fuse()


@dataclass(frozen=True, eq=False)
class Annotated(Departure):
    """A part without checks of its own: what its annotations say is checked all the same."""

    rate: float = 0.1
    often: int = 1
    names: tuple[str, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    either: float | tuple[float, ...] = 0.5

    def __call__(self, users: Any, feedback: Any, noise: Any) -> dict[str, Any]:
        return {"left": np.zeros(len(users), np.bool_)}


def test_fields_are_of_their_declared_types() -> None:
    part = Annotated(np.float64(1), np.int64(2), ["a"], {"x": np.float32(1)}, [1, 2])  # type: ignore[arg-type]
    assert part.to_dict() == {
        "kind": "Annotated",
        "rate": 1.0,
        "often": 2,
        "names": ["a"],
        "weights": {"x": 1.0},
        "either": [1.0, 2.0],
    }
    for name, wrong in (
        ("rate", math.nan),
        ("rate", "x"),
        ("often", 1.5),
        ("names", "abc"),
        ("weights", {1: 1.0}),
        ("either", [None]),
    ):
        with pytest.raises(ConfigError, match=rf"Annotated\.{name}"):
            Annotated(**{name: wrong})  # type: ignore[arg-type]


def test_a_part_never_takes_the_name_of_one_of_recgyms() -> None:
    def same_family() -> None:
        @dataclass(frozen=True, eq=False)
        class Hazard(Departure):
            pass

    with pytest.raises(
        ConfigError, match=r"test_world\..*Hazard: must have another name, as recgym\.models\.departure\.Hazard"
    ):
        same_family()

    @dataclass(frozen=True, eq=False)
    class Uniform(Departure):
        """Of another family than recgym's Uniform: both go on."""

        def __call__(self, users: Any, feedback: Any, noise: Any) -> dict[str, Any]:
            return {"left": np.zeros(len(users), np.bool_)}

    world = recgym.load_world(
        "ecommerce", candidates={"kind": "Uniform", "candidates": 5}, departure={"kind": "Uniform"}
    )
    assert world.candidates.count(100) == 5
    assert type(world.departure) is Uniform
    again = World.from_dict(world.to_dict(arrays := {}), arrays)
    assert type(again.departure) is Uniform
    assert type(again.candidates) is type(world.candidates)
    del KINDS["Uniform"][-1]


@pytest.mark.parametrize("name", ["ecommerce", "news", "livestream"])
def test_users_from_elsewhere_are_checked(name: str, world_of: WorldOf) -> None:
    world = world_of(name)
    users = world.arrive(recgym.mix(range(4)))
    for _ in range(3):
        world.check_users(users)
        users, _ = world.step(users, users.candidates[:, :1].copy(), world.noise(users))
    N = len(world.catalog)
    wrong: list[dict[str, Any]] = [
        {"candidates": users.candidates + N}, {"candidates": users.candidates - N}, {"candidates": users.candidates.astype(np.int64)},
        {"history": users.history[:, :1]}, {"history": np.full_like(users.history, N)}, {"t": users.t - 100}, {"clock": users.clock * np.nan},
        {"interest": users.interest[:2]}, {"interest": None}, {"more": users.t}, {"key": users.key[:0]}, {"exposure": users.exposure + 9},
    ]  # fmt: skip
    wrong += [{column: users[column] + 2 * (1 + abs(c.high))} for column, c in world.owned.items()]
    for change in wrong:
        with pytest.raises(ConfigError, match=next(iter(change)) if "key" not in change else "users"):
            world.check_users(users.replace(**change))
    with pytest.raises(ConfigError, match=r"users\.interest"):
        world.check_users(recgym.Users.of({k: v for k, v in users.__dict__.items() if k != "interest"}))


def test_items_that_are_not_there_are_refused(world_of: WorldOf) -> None:
    world = world_of("ecommerce", 2)
    users, N = world.arrive(recgym.mix(range(3))), len(world.catalog)
    noise, slate = world.noise(users), users.candidates[:, :2].copy()
    wrong: list[Any] = [
        slate + N,
        slate - N,
        slate[:2],
        slate[:, :1],
        slate[0],
        slate.astype(float),
        slate > 0,
        None,
        "ab",
        [[1], [2, 3]],
    ]
    for items in wrong:
        with pytest.raises((ConfigError, ValueError), match=r"slate|inhomogeneous"):
            world.step(users, items, noise)
    for items in (slate + N, slate - N, slate.astype(float)):
        for ask in (world.expected, world.outlook, world.appraise):
            with pytest.raises(ConfigError, match="items"):
                ask(users, items)
    for bad in (noise[:-1], noise.astype(np.float64), noise[:, :2], None):
        with pytest.raises(ConfigError, match="noise"):
            world.step(users, slate, bad)
    with pytest.raises(ConfigError, match="click"):
        world.step(users, slate, noise, np.ones((3, 2)))
    plain = world.step(users, slate, noise)[1]
    assert np.array_equal(plain.click, world.step(users, slate.astype(np.int64), noise)[1].click)


def test_component_kinds_are_those_of_the_process() -> None:
    with pytest.raises(ConfigError, match=r"choice.kind"):
        recgym.World.from_dict({"kind": "World", "choice": {"kind": "subprocess.Popen"}})
    assert Component.from_dict({"kind": "Cascade"}).kind == "Cascade"


# --- what one part says of another


def test_a_click_on_what_is_on_screen_is_no_click_anywhere(world_of: WorldOf) -> None:
    """`Watch` says it is neither a click nor a visit: then the history, the drift and `feedback.click` must agree."""
    world = world_of("livestream", 1)
    users = world.arrive(mix(range(400)))
    slate = users.candidates[:, :1].copy()
    users, _ = world.step(users, slate, world.noise(users), click=np.ones((400, 1), bool))
    users = users.rows(np.flatnonzero(users.watching >= 0))
    assert len(users) > 20
    slate = users.watching[:, None].copy()
    after, feedback = world.step(users, slate, world.noise(users), click=np.ones((len(users), 1), bool))
    assert not feedback.objectives[:, world.objectives.index("click")].any()
    assert not feedback.click.any()
    assert np.array_equal(after.history, users.history)
    assert np.array_equal(after.interest, users.interest)


def test_clicks_and_their_objective_agree(world: World) -> None:
    for _, _, feedback, _ in play(world, users=256, steps=40):
        assert np.array_equal(feedback.click.sum(axis=1), feedback.objectives[:, world.objectives.index("click")])
        assert np.array_equal(feedback.click, feedback.channels[:, :, 0] > 0)


class Turned(ShopMarket):
    """The signals of a shop in another order, behind one of its own."""

    signals = (
        Signal("discount", 0.0, 0.9), Signal("stars", 0.0, 1.0), Signal("log_price", -4.0, 2.0), Signal("price", 0.0, 100.0),
    )  # fmt: skip

    def write(self, out: Array, items: Array, clock: Array) -> None:
        plain = np.zeros((*items.shape, len(ShopMarket.signals)), np.float32)
        super().write(plain, items, clock)
        out[..., 0], out[..., 2], out[..., 3] = plain[..., 1], plain[..., 0], plain[..., 2]


def test_signals_are_found_by_name(world_of: WorldOf) -> None:
    """A market with one signal more, or in another order, must sell at the same prices."""
    world = world_of("ecommerce", 2)
    market = world.market
    assert isinstance(market, ShopMarket)
    fields = {f.name: getattr(market, f.name) for f in dataclasses.fields(market) if f.init}
    population = dataclasses.replace(world.population, sensitivity={})
    a, b = (world.replace(population=population, market=m) for m in (market, Turned(**fields)))
    users = a.arrive(mix(range(300)))
    slate = users.candidates[:, :2].copy()
    sure = np.zeros((300, 2), bool)
    sure[:, 0] = True
    for w in (a, b):
        w_users = users.replace(sensitivity=np.zeros((300, len(w.market.signals)), np.float32))
        noise = np.full((w.uniforms_per_step, 300), 2.0**-24, np.float32)
        feedback = w.step(w_users, slate, noise, click=sure)[1]
        signals = market.observe(slate, users.clock)
        want = market.price[slate[:, 0]] * (1 - signals[:, 0, 1])
        assert feedback.objectives[:, 3] == pytest.approx(want, rel=1e-5)


def test_a_world_prints_one_part_a_line_and_arrays_by_shape() -> None:
    text = repr(recgym.load_world("ecommerce"))
    assert "catalog=Catalog(embedding=<float32 (6000, 16)>" in text
    assert "    horizon=100,\n" in text
    assert len(text) < 4000
