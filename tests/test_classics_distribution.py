"""Whole episodes of the classics against the original packages: return, its spread, length, clicks, clicks by position.

Policies are written here, from the same information as in `reference/record_*.py`. Every difference must lie within
three standard errors (of both sides together), and means within 2 % as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
from test_classics_lockstep import SARDINE, load, recogym_world, sardine_world

import recgym
from recgym import World, mix
from recgym.testing import random_slates
from recgym.types import Array, Users

Policy = Callable[[World, Users, np.random.Generator], Array]


class Outcome(NamedTuple):
    """Of n episodes: returns, lengths, clicks and their probabilities; and clicks and impressions by position."""

    returns: Array
    lengths: Array
    clicks: Array
    expected: Array
    by_position: Array
    impressions: Array


def play(world: World, policy: Policy, n: int, seed: int) -> Outcome:
    """One episode each of n users."""
    rng = np.random.default_rng(seed)
    weights, _ = world.reward.weights(world.objectives)
    users = world.arrive(mix(range(seed * 1_000_000, seed * 1_000_000 + n)))
    returns, lengths, clicks, expected = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    by_position = np.zeros(world.slate_size)
    rows = np.arange(n)
    while len(rows):
        users, feedback = world.step(users, policy(world, users, rng), world.noise(users))
        returns[rows] += feedback.objectives @ weights
        lengths[rows] += 1
        clicks[rows] += feedback.click.sum(axis=1)
        expected[rows] += feedback.probability.sum(axis=1)
        by_position += feedback.click.sum(axis=0)
        stay = ~feedback.left & (users.t < world.horizon)
        rows, users = rows[stay], users.rows(stay)
    return Outcome(returns, lengths, clicks, expected, by_position, np.full(world.slate_size, lengths.sum()))


def recorded(name: str, policy: str) -> Outcome:
    data = load(name)
    impressions = np.full(len(data[f"{policy}_position_clicks"]), data[f"{policy}_impressions"], np.float64)
    numbers = [data[f"{policy}_{what}"].astype(np.float64) for what in ("return", "length", "clicks")]
    return Outcome(*numbers, np.empty(0), data[f"{policy}_position_clicks"].astype(np.float64), impressions)  # type: ignore[call-arg]


def mean_of(x: Array) -> tuple[float, float]:
    return float(x.mean()), float(x.std() / np.sqrt(len(x)))


def spread_of(x: Array) -> tuple[float, float]:
    """Standard deviation, and its standard error by the delta method."""
    sd = float(x.std())
    fourth = float(((x - x.mean()) ** 4).mean())
    return sd, float(np.sqrt(max(fourth - sd**4, 0.0) / len(x)) / (2 * sd)) if sd else 0.0


def differences(ours: Outcome, theirs: Outcome, share: float = 0.02) -> list[str]:
    """What lies outside the bounds, a line each; means may differ by `share` at most."""
    found = []

    def compare(what: str, a: tuple[float, float], b: tuple[float, float], share: float = np.inf) -> None:
        error = float(np.hypot(a[1], b[1]))
        gap = abs(a[0] - b[0])
        if gap > 3 * error + 1e-9 or gap > share * abs(b[0]) + 1e-9:
            found.append(f"{what}: ours {a[0]:.4f}, theirs {b[0]:.4f}, {gap / max(error, 1e-12):.1f} standard errors")

    for what in ("returns", "lengths", "clicks"):
        a, b = getattr(ours, what), getattr(theirs, what)
        compare(f"mean of {what}", mean_of(a), mean_of(b), share)
        compare(f"spread of {what}", spread_of(a), spread_of(b))
    rates = [o.by_position / o.impressions for o in (ours, theirs)]
    # Clicks of one user hang together: the binomial error is widened by what the clicks of whole episodes show.
    widths = [np.sqrt(max(o.clicks.var() / max(o.clicks.mean(), 1e-9), 1.0)) for o in (ours, theirs)]
    errors = [w * np.sqrt(r * (1 - r) / o.impressions) for w, r, o in zip(widths, rates, (ours, theirs), strict=True)]
    for s in range(len(rates[0])):
        compare(f"click rate in place {s}", (rates[0][s], errors[0][s]), (rates[1][s], errors[1][s]))
    return found


# --- policies


def random(world: World, users: Users, rng: np.random.Generator) -> Array:
    return random_slates(rng, users.candidates, world.slate_size, empty=0.0)


def random_with_repeats(world: World, users: Users, rng: np.random.Generator) -> Array:
    return rng.integers(0, len(world.catalog), (len(users), world.slate_size)).astype(np.int32)


def by_score(score: Callable[[World, Users], Array]) -> Policy:
    def policy(world: World, users: Users, rng: np.random.Generator) -> Array:
        order = np.argsort(-score(world, users), axis=1, kind="stable")[:, : world.slate_size]
        return np.take_along_axis(users.candidates, order, axis=1)

    return policy


def utility(world: World, users: Users) -> Array:
    return world.appraise(users, users.candidates)[0]


def clickbait(sign: float) -> Callable[[World, Users], Array]:
    return lambda world, users: sign * world.catalog["clickbait"][users.candidates]


def greedy(world: World, users: Users, rng: np.random.Generator) -> Array:
    """The most relevant first, ties to the lowest item: while bored, items 0, 1, 2, ..."""
    score = utility(world, users).astype(np.float64)
    S = world.slate_size
    top = np.argpartition(-score, S - 1, axis=1)[:, :S]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(score, top, axis=1), axis=1, kind="stable"), axis=1)
    if "bored" in world.owned:
        top[(users.bored > 0).any(axis=1)] = np.arange(S)
    return top.astype(np.int32)


def hard() -> World:
    return recgym.load_world("long-term-satisfaction", sensitivity=0.1)


CASES: dict[tuple[str, str], tuple[Callable[[], World], Policy, int]] = {
    ("interest_evolution", "random"): (lambda: recgym.load_world("interest-evolution"), random, 10_000),
    ("interest_evolution", "top_pctr"): (lambda: recgym.load_world("interest-evolution"), by_score(utility), 10_000),
    ("long_term_satisfaction", "random"): (lambda: recgym.load_world("long-term-satisfaction"), random, 20_000),
    ("long_term_satisfaction", "choc"): (
        lambda: recgym.load_world("long-term-satisfaction"), by_score(clickbait(1.0)), 20_000,
    ),
    ("long_term_satisfaction_hard", "random"): (hard, random, 20_000),
    ("long_term_satisfaction_hard", "choc"): (hard, by_score(clickbait(1.0)), 20_000),
    ("long_term_satisfaction_hard", "kale"): (hard, by_score(clickbait(-1.0)), 20_000),
    ("interest_exploration", "random"): (lambda: recgym.load_world("interest-exploration"), random, 20_000),
    ("interest_exploration", "top_pctr"): (
        lambda: recgym.load_world("interest-exploration"), by_score(utility), 20_000,
    ),
    **{(name, "random"): (lambda task=task: sardine_world(task), random_with_repeats, 5000)
       for name, task in SARDINE.items()},
    **{(name, "greedy"): (lambda task=task: sardine_world(task), greedy, 1500) for name, task in SARDINE.items()},
}  # fmt: skip


@pytest.mark.parametrize(("name", "policy"), CASES, ids=[f"{name}: {policy}" for name, policy in CASES])
def test_episodes_are_distributed_as_those_of_the_original(name: str, policy: str) -> None:
    make, play_policy, n = CASES[name, policy]
    assert differences(play(make(), play_policy, n, seed=1), recorded(name, policy)) == []


@pytest.mark.parametrize(("policy", "score"), [("random", None), ("popularity", "views"), ("oracle", None)])
def test_recogym_users(policy: str, score: str | None) -> None:
    """Upstream counts users who never see an advertisement, with no step; ours always see one."""
    world = recogym_world()
    theirs = recorded("recogym_v1", policy)
    seen = theirs.lengths > 0
    theirs = theirs._replace(returns=theirs.returns[seen], lengths=theirs.lengths[seen], clicks=theirs.clicks[seen])
    ranking = {
        "random": random,
        "popularity": by_score(lambda world, users: users.views),
        "oracle": by_score(utility),
    }[policy]
    ours = play(world.replace(horizon=100_000), ranking, 20_000, seed=2)
    assert differences(ours, theirs, share=np.inf) == []  # clicks are rare: the sum of their probabilities tells more
    expected = load("recogym_v1")[f"{policy}_expected"][seen].astype(np.float64)
    rates = [ours.expected.sum() / ours.lengths.sum(), expected.sum() / theirs.lengths.sum()]
    assert abs(rates[0] / rates[1] - 1) < 0.02


@pytest.mark.parametrize(
    ("name", "breaks"),
    [
        ("interest_evolution", lambda w: w.replace(dynamics=())),
        ("interest_evolution", lambda w: w.replace(choice=type(w.choice)(null=1.5, shift=1.0))),
        ("sardine_slate_topk_bored", lambda w: w.replace(warm_up=0, choice=type(w.choice)(0.85, 63.0))),
        ("sardine_slate_rerank_static", lambda w: w.replace(choice=type(w.choice)(0.72, 1.5))),
    ],
)
def test_a_broken_copy_is_told_apart(name: str, breaks: Callable[[World], World]) -> None:
    make, policy, n = CASES[name, "random" if "sardine" in name else "top_pctr"]
    theirs = recorded(name, "random" if "sardine" in name else "top_pctr")
    assert differences(play(breaks(make()), policy, n, seed=1), theirs) != []
