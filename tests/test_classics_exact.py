"""The classics against exact values: a dynamic programme, quadrature, averages over all items, plain simulations.

Nothing here but the last step of each test touches the library: the numbers it must meet come from the equations.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from recgym import Users, World, load_world, mix
from recgym.envs import RecEnv
from recgym.models.departure import Never
from recgym.models.dynamics import NetExposure
from recgym.models.response import Engagement
from recgym.types import Array, Feedback


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


@cache
def world_of(env_id: str) -> World:
    env = gym.make(f"recgym/{env_id}").unwrapped
    assert isinstance(env, RecEnv)
    return env.world


def assert_mean(values: Array, want: float, what: str = "", sigmas: float = 3.0, relative: float = 0.01) -> None:
    """The mean of independent values is `want`: within three standard errors, and within 1 %."""
    mean, error = float(np.mean(values)), float(np.std(values) / math.sqrt(len(values)))
    said = f"{what}: {mean:.5f} +- {error:.5f}, exact {want:.5f}, {abs(mean - want) / error:.1f} standard errors"
    assert abs(mean - want) < sigmas * error, said
    assert abs(mean - want) < relative * abs(want), said


def hermite(n: int) -> tuple[Array, Array]:
    """Nodes and weights of E[f(z)], z ~ N(0, 1)."""
    z, w = np.polynomial.hermite_e.hermegauss(n)
    return z, w / w.sum()


# --- long-term satisfaction: choc and kale

STEPS = 60
POLICIES = ("random", "choc", "kale", "optimum", "best of 10", "most of 10", "least of 10")


def mean_engagement(sensitivity: float, x: Array, c: Array) -> Array:
    """E[e], log e ~ N((5 c + 4 (1 - c)) sigmoid(s x), 1)."""
    return np.exp((5 * c + 4 * (1 - c)) * sigmoid(sensitivity * x) + 0.5)


@dataclass
class ChocKale:
    """Backward induction over the net exposure, with full information."""

    sensitivity: float
    points: int = 321  # of the exposure, from -4 to 4: it stays within 1 / (1 - 0.7) + noise
    cells: int = 400  # of the clickbait

    def __post_init__(self) -> None:
        self.x = np.linspace(-4.0, 4.0, self.points)
        self.z, self.w = hermite(9)

    def ahead(self, value: Array) -> Array:
        """E[V(x + N(0, 0.05))] on the grid."""
        return sum(w * np.interp(self.x + 0.05 * z, self.x, value) for z, w in zip(self.z, self.w, strict=True))

    def worth(self, value: Array, x: Array, c: Array) -> Array:
        """Reward and what follows of showing c at x, given `ahead` of the next value."""
        return mean_engagement(self.sensitivity, x, c) + np.interp(0.7 * x - 2 * (c - 0.5), self.x, value)

    def solve(self, policy: str) -> tuple[float, list[Array]]:
        """The value at the start, and `ahead` of the value after each step, the first step first."""
        c = (np.arange(self.cells) + 0.5) / self.cells
        level = np.arange(self.cells + 1) / self.cells  # P(U <= edge of a cell)
        if policy in ("choc", "kale"):
            c = np.array([float(policy == "choc")])
        if policy == "optimum":
            c = np.linspace(0, 1, self.cells + 1)
        value, follows = np.zeros(self.points), []
        for _ in range(STEPS):
            follows.insert(0, self.ahead(value))
            worth = self.worth(follows[0], self.x[:, None], c)
            if policy == "optimum":
                value = worth.max(axis=1)
            elif policy == "best of 10":  # P(the best of ten lies below a quantile u of the worth) = u^10
                value = np.sort(worth, axis=1) @ np.diff(level**10)
            elif policy == "most of 10":
                value = worth @ np.diff(level**10)
            elif policy == "least of 10":
                value = worth @ -np.diff((1 - level) ** 10)
            else:
                value = worth.mean(axis=1)
        node, weight = np.polynomial.legendre.leggauss(40)
        return float(weight @ np.interp(5 / 3 * node, self.x, value)) / 2, follows


@cache
def solved(sensitivity: float, policy: str) -> tuple[float, list[Array]]:
    return ChocKale(sensitivity).solve(policy)


EXACT = {  # best of 10: no grid over the clickbait but the cells' own; it was confirmed by simulation
    0.01: {"random": 948.4, "optimum": 1158.7, "best of 10": 1116.7},
    0.1: {"random": 952.5, "choc": 818.5, "kale": 1000.3, "optimum": 1043.6, "best of 10": 1023.9},
    0.3: {"random": 984.9, "optimum": 1808.4, "best of 10": 1661.0},
}


@pytest.mark.parametrize(("sensitivity", "policy"), [(s, p) for s, values in EXACT.items() for p in values])
def test_the_exact_values(sensitivity: float, policy: str) -> None:
    assert solved(sensitivity, policy)[0] == pytest.approx(EXACT[sensitivity][policy], rel=1e-3)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_finer_grid_changes_nothing(policy: str) -> None:
    coarse, fine = solved(0.1, policy)[0], ChocKale(0.1, 641, 1000).solve(policy)[0]
    assert coarse == pytest.approx(fine, rel=1e-4)


def test_what_the_programme_says_of_the_trade_off() -> None:
    """Without one, the most clickbait is the best; at s = 0.1 each beats the next: optimum, kale, random, choc."""
    assert solved(0.01, "optimum")[0] == pytest.approx(solved(0.01, "choc")[0], rel=1e-9)
    assert solved(0.01, "best of 10")[0] == pytest.approx(solved(0.01, "most of 10")[0], rel=1e-9)
    hard = [solved(0.1, policy)[0] for policy in ("optimum", "best of 10", "kale", "random", "choc")]
    assert hard == sorted(hard, reverse=True)


def test_the_best_of_ten_in_a_plain_simulation() -> None:
    """The one value in which the programme averages over order statistics, at s = 0.3 where it matters most."""
    programme, rng, n = ChocKale(0.3), np.random.default_rng(0), 20_000
    value, follows = solved(0.3, "best of 10")
    x, total = rng.uniform(-5 / 3, 5 / 3, n), np.zeros(n)
    for t in range(STEPS):
        c = rng.random((n, 10))
        c = c[np.arange(n), programme.worth(follows[t], x[:, None], c).argmax(axis=1)]
        total += mean_engagement(0.3, x, c)
        x = 0.7 * x - 2 * (c - 0.5) + rng.normal(0, 0.05, n)
    assert_mean(total, value, relative=1e-3)


def choose(policy: str, sensitivity: float, t: int, x: Array, c: Array, rng: np.random.Generator) -> Array:
    """(B,) places of the candidates, of clickbait (B, K), that a policy shows to users of exposure x."""
    if policy == "random":
        return rng.integers(0, c.shape[1], len(c))
    if policy == "best of 10":
        worth = ChocKale(sensitivity).worth(solved(sensitivity, policy)[1][t], x[:, None].astype(float), c)
        return worth.argmax(axis=1)
    return c.argmax(axis=1) if policy == "most of 10" else c.argmin(axis=1)


def choc_kale_returns(world: World, policy: str, sensitivity: float, n: int, seed: int = 0) -> tuple[Array, Array]:
    """Engagement of n users over an episode, and the sum of its expectations at the states that they were in."""
    rng, rows = np.random.default_rng(seed), np.arange(n)
    users = world.arrive(mix(range(seed, seed + n)))
    engagement = world.objectives.index("engagement")
    realised, expected = np.zeros(n), np.zeros(n)
    for t in range(STEPS):
        clickbait = world.catalog["clickbait"][users.candidates]
        place = choose(policy, sensitivity, t, users.net_exposure, clickbait, rng)
        expected += mean_engagement(sensitivity, users.net_exposure.astype(float), clickbait[rows, place].astype(float))
        users, feedback = world.step(users, users.candidates[rows, place][:, None], world.noise(users))
        assert not feedback.left.any()
        realised += feedback.objectives[:, engagement]
    assert (users.t == world.horizon).all()
    return realised, expected


@pytest.mark.parametrize("policy", ["random", "most of 10", "least of 10", "best of 10"])
@pytest.mark.parametrize(
    ("env_id", "sensitivity"), [("LongTermSatisfaction-v0", 0.01), ("LongTermSatisfaction-Hard-v0", 0.1)]
)
def test_returns_of_choc_and_kale(env_id: str, sensitivity: float, policy: str) -> None:
    value = solved(sensitivity, policy)[0]
    realised, expected = choc_kale_returns(world_of(env_id), policy, sensitivity, 20_000)
    assert np.std(realised) / math.sqrt(len(realised)) < 0.003 * value
    assert_mean(realised, value, f"{env_id} {policy}")
    assert_mean(expected, value, f"{env_id} {policy}, expected rewards", relative=2e-3)


def test_the_environment_pays_the_engagement() -> None:
    n = 8000
    env = gym.make_vec("recgym/LongTermSatisfaction-Hard-v0", num_envs=n)
    env.reset(seed=0)
    rng, total = np.random.default_rng(1), np.zeros(n)
    for t in range(STEPS):
        _, reward, terminated, truncated, _ = env.step(rng.integers(0, 10, n))
        total += reward
        assert not terminated.any()
        assert truncated.all() == truncated.any() == (t == STEPS - 1)
    assert_mean(total, solved(0.1, "random")[0])


BROKEN = [
    {},
    {"memory": 0.6},
    {"quality": -2.0},
    {"sensitivity": 0.12},
    {"initial": 0.0, "memory": 0.75},
    {"noise": 0.6},
]


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_broken_copy_is_noticed(broken: dict[str, float]) -> None:
    """And a sound one passes: the tests above can fail."""
    part = dict(memory=0.7, quality=2.0, gap=0.0, sensitivity=0.1, noise=0.05, initial=5 / 3)
    world = load_world("long-term-satisfaction").replace(dynamics=(NetExposure(**{**part, **broken}),))
    _, expected = choc_kale_returns(world, "least of 10", broken.get("sensitivity", 0.1), 4000)
    value = solved(0.1, "least of 10")[0]
    if broken:
        with pytest.raises(AssertionError, match="standard errors"):
            assert_mean(expected, value, relative=2e-3)
    else:
        assert_mean(expected, value, relative=2e-3)


def test_a_broken_response_is_noticed() -> None:
    world = load_world("long-term-satisfaction", sensitivity=0.1, response=Engagement(sd=1.1))
    realised, _ = choc_kale_returns(world, "least of 10", 0.1, 4000)
    with pytest.raises(AssertionError, match="standard errors"):
        assert_mean(realised, solved(0.1, "least of 10")[0])


# --- interest exploration

TYPES, TYPE_SHARE = np.array([[0.1, 0.7], [0.7, 0.1]]), np.array([0.3, 0.7])
TOPIC_COUNT, LOG_QUALITY, SPREAD = np.array([2000, 8000]), np.array([0.8, 0.2]), 0.1


def exploration_click_rate() -> float:
    """P(click) of two different random items, by quadrature over affinities and qualities."""
    z, w = hermite(7)
    total = 0.0
    for p, location in zip(TYPE_SHARE, TYPES, strict=True):
        for a, b in itertools.product(range(2), repeat=2):
            share = TOPIC_COUNT[a] / 10_000 * (TOPIC_COUNT[b] - (a == b)) / 9_999
            affinity = np.exp(location[:, None] + SPREAD * z)  # (topic, node)
            first = affinity[a][:, None, None, None]
            second = affinity[b][:, None, None, None] if a == b else affinity[b][None, :, None, None]
            weight = np.exp(first + np.exp(LOG_QUALITY[a] + SPREAD * z)[None, None, :, None])
            weight = weight + np.exp(second + np.exp(LOG_QUALITY[b] + SPREAD * z)[None, None, None, :])
            click = np.broadcast_to(weight / (math.exp(5) + weight), (7, 7, 7, 7))
            total += p * share * np.einsum("abcd,a,b,c,d->", click, w, w, w, w)
    return float(total)


def test_click_rate_of_random_slates_in_interest_exploration() -> None:
    want, world, n = exploration_click_rate(), world_of("InterestExploration-v0"), 40_000
    users = world.arrive(mix(range(n)))
    clicks, stated = np.zeros((10, n)), np.zeros(n)
    for t in range(10):
        users, feedback = world.step(users, users.candidates[:, 4:6].copy(), world.noise(users))
        clicks[t] = feedback.click.sum(axis=1)
        stated += feedback.probability.sum(axis=1) / 10
    assert_mean(clicks.mean(axis=0), want, "clicks", relative=0.02)
    assert_mean(stated, want, "probabilities", relative=0.005)
    assert_mean(clicks[-1], want, "clicks of the last step", relative=0.05)  # the user never changes


def test_click_rate_of_the_best_slates_in_interest_exploration() -> None:
    """The two best of ten by affinity and quality, in a plain simulation and in the world."""
    rng, n = np.random.default_rng(2), 200_000
    kind = (rng.random(n) >= TYPE_SHARE[0]).astype(int)
    affinity = np.exp(TYPES[kind] + SPREAD * rng.standard_normal((n, 2)))
    topic = (rng.random((n, 10)) >= 0.2).astype(int)
    score = np.take_along_axis(affinity, topic, axis=1) + np.exp(
        LOG_QUALITY[topic] + SPREAD * rng.standard_normal((n, 10))
    )
    weight = np.exp(np.sort(score, axis=1)[:, -2:]).sum(axis=1)
    plain = weight / (math.exp(5) + weight)
    world, m = world_of("InterestExploration-v0"), 40_000
    users = world.arrive(mix(range(m)))
    score = np.take_along_axis(users.interest, world.catalog.topic[users.candidates].astype(np.int64), axis=1)
    score += world.catalog["quality"][users.candidates]
    slate = np.take_along_axis(users.candidates, np.argsort(score, axis=1)[:, -2:], axis=1)
    stated = world.step(users, slate, world.noise(users))[1].probability.sum(axis=1).astype(float)
    error = math.sqrt(plain.var() / n + stated.var() / m)
    assert abs(plain.mean() - stated.mean()) < 3 * error < 0.006 * plain.mean()
    assert plain.mean() > 1.2 * exploration_click_rate()


# --- interest evolution


def test_first_click_of_interest_evolution() -> None:
    """P(click) = E[W / (2 + W)], W the sum of three weights I + 1 ~ U(0, 2), one and the same where topics agree."""
    node, weight = np.polynomial.legendre.leggauss(24)
    node, weight = node + 1, weight / 2
    a, b, c = np.meshgrid(node, node, node, indexing="ij")

    def click(*weights: Array) -> float:
        total = sum(weights)
        return float(np.einsum("abc,a,b,c->", np.broadcast_to(total / (2 + total), a.shape), weight, weight, weight))

    n = 20_000
    same = 999 / (n - 1)  # that a second item is of the topic of the first
    third = 998 / (n - 2)
    pair = same * (1 - third) + 2 * (1 - same) * 999 / (n - 2)
    want = same * third * click(3 * a) + pair * click(2 * a, b) + (1 - same) * (1 - 1998 / (n - 2)) * click(a, b, c)
    world, users_n = world_of("InterestEvolution-v0"), 60_000
    users = world.arrive(mix(range(users_n)))
    _, feedback = world.step(users, users.candidates[:, :3].copy(), world.noise(users))
    assert_mean(feedback.probability.sum(axis=1, dtype=np.float64), want, relative=0.003)
    assert_mean(feedback.click.sum(axis=1), want)


def evolution(n: int, rank: Callable[[Array, Array], Array], seed: int) -> dict[str, Array]:
    """RecSim's interest evolution in plain NumPy: minutes, steps and quality of the clicks of n users.

    `rank` gives the scores, of (n, 10) qualities' means and of interests in the topics, whose top three are shown.
    """
    rng = np.random.default_rng(seed)
    mean = np.concatenate([np.linspace(-3, 0, 14), np.linspace(0, 3, 6)])
    interest, budget = rng.uniform(-1, 1, (n, 20)), np.full(n, 200.0)
    minutes, steps, quality, clicks = np.zeros((4, n))
    rows = np.arange(n)
    while len(rows):
        topic = rng.integers(0, 20, (len(rows), 10))
        liked = np.take_along_axis(interest[rows], topic, axis=1)
        shown = np.argsort(-rank(mean[topic], liked), axis=1, kind="stable")[:, :3]
        topic, liked = np.take_along_axis(topic, shown, axis=1), np.take_along_axis(liked, shown, axis=1)
        weight = np.concatenate([np.full((len(rows), 1), 2.0), liked + 1], axis=1)
        level = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
        chosen = (rng.random(len(rows))[:, None] >= level[:, :-1]).sum(axis=1)
        steps[rows] += 1
        budget[rows[chosen == 0]] -= 0.5
        b = rows[chosen > 0]
        z = topic[chosen > 0, chosen[chosen > 0] - 1]
        q = mean[z] + 0.1 * rng.standard_normal(len(b))
        watched = np.minimum(budget[b], 4.0)
        minutes[b] += watched
        quality[b] += q
        clicks[b] += 1
        budget[b] += -watched + 0.9 / 3.4 * watched * q
        x = interest[b, z]
        d = 0.3 * (1 - np.abs(x)) * (1 - x)
        interest[b, z] = np.clip(np.where(rng.random(len(b)) < (x + 1) / 2, x + d, x - d), -1, 1)
        rows = rows[budget[rows] > 0]
    return dict(minutes=minutes, steps=steps, quality=quality, clicks=clicks)


def evolved(n: int, rank: Callable[[Array, Array], Array], seed: int) -> dict[str, Array]:
    """The same of the world."""
    world = world_of("InterestEvolution-v0")
    mean = np.concatenate([np.linspace(-3, 0, 14), np.linspace(0, 3, 6)])
    users, rows = world.arrive(mix(range(seed, seed + n))), np.arange(n)
    found = {name: np.zeros(n) for name in ("minutes", "steps", "quality", "clicks")}
    while len(rows):
        topic = world.catalog.topic[users.candidates].astype(np.int64)
        liked = np.take_along_axis(users.interest, topic, axis=1)
        shown = np.argsort(-rank(mean[topic], liked), axis=1, kind="stable")[:, :3]
        users, feedback = world.step(users, np.take_along_axis(users.candidates, shown, axis=1), world.noise(users))
        found["steps"][rows] += 1
        for name, objective in (("minutes", "watch"), ("quality", "quality"), ("clicks", "click")):
            found[name][rows] += feedback.objectives[:, world.objectives.index(objective)]
        rows, users = rows[~feedback.left], users.rows(~feedback.left)
    return found


@pytest.mark.parametrize(
    ("name", "rank"),
    [("random", lambda q, x: np.zeros_like(q)), ("quality", lambda q, x: q), ("interest", lambda q, x: x)],
)
def test_interest_evolution_against_a_plain_simulation(name: str, rank: Callable[[Array, Array], Array]) -> None:
    n = 10_000
    plain, ours = evolution(n, rank, seed=5), evolved(n, rank, seed=0)
    for what in plain:
        a, b = plain[what], ours[what]
        error = math.sqrt((a.var() + b.var()) / n)
        assert abs(a.mean() - b.mean()) < 3 * error, f"{name} {what}: {a.mean():.3f}, {b.mean():.3f} +- {error:.3f}"
        assert error < 0.02 * a.std()
        assert np.std(b) == pytest.approx(np.std(a), rel=0.05)
    if name == "random":  # published: 159.2 minutes, mean quality -0.593 (5000 users)
        assert ours["minutes"].mean() == pytest.approx(159.2, rel=0.01)
        assert ours["quality"].sum() / ours["clicks"].sum() == pytest.approx(-0.593, abs=0.03)


# --- SARDINE


def sardine_rates(env_id: str, users: Users) -> Array:
    """(B, S) click rates of random slates: propensity^j times the mean relevance of all items."""
    world = world_of(env_id)
    offset, slope, propensity = (
        (0.3, 5, 0.7) if "Rerank" in env_id else (0.65, 10 if "Uncertain" in env_id else 100, 0.85)
    )
    match = users.interest.astype(float) @ world.catalog.embedding.T.astype(float)
    relevance = sigmoid(np.clip(slope * (match - offset), -500, None)).mean(axis=1)
    return relevance[:, None] * propensity ** np.arange(world.slate_size)


@pytest.mark.parametrize("env_id", ["SlateRerank-Static", "SingleItem-Static", "SingleItem-Uncertain"])
def test_click_rates_of_random_slates_in_sardine(env_id: str) -> None:
    """By position, given the users: the sum of clicks over them against its exact mean and variance."""
    env_id = f"Sardine-{env_id}-v0"
    world, n = world_of(env_id), 4000
    users, S, steps = world.arrive(mix(range(n))), world.slate_size, 30
    rate, rng = sardine_rates(env_id, users), np.random.default_rng(0)
    clicks = np.zeros((n, S))
    for _ in range(steps):
        order = rng.random((n, world.n_candidates)).argpartition(S - 1, axis=1)[:, :S] if S < 10 else rng.permuted(
            np.tile(np.arange(10), (n, 1)), axis=1
        )  # fmt: skip
        users, feedback = world.step(users, order.astype(np.int32), world.noise(users))
        clicks += feedback.click
    error = np.sqrt((rate * (1 - rate) / steps).sum(axis=0)) / n
    off = np.abs(clicks.mean(axis=0) / steps - rate.mean(axis=0))
    assert (off < 3.5 * error).all(), off / error
    total_error = 0.01 * rate.mean(axis=0).sum()
    assert abs(clicks.sum(axis=1).mean() / steps - rate.sum(axis=1).mean()) < max(total_error, 3 * error.sum())
    assert 3 * error[0] < 0.03 * rate[:, 0].mean()


def test_the_best_order_of_sardines_reranking() -> None:
    """The ten items by their relevance: sum_j 0.7^j sigmoid(5 (x_(j) . u - 0.3)) clicks a step."""
    world, n = world_of("Sardine-SlateRerank-Static-v0"), 6000
    users = world.arrive(mix(range(n)))
    match = users.interest.astype(float) @ world.catalog.embedding.T.astype(float)
    order = np.argsort(-match, axis=1).astype(np.int32)
    rate = 0.7 ** np.arange(10) * sigmoid(5 * (np.sort(match, axis=1)[:, ::-1] - 0.3))
    clicks = np.zeros((n, 10))
    for _ in range(10):
        users, feedback = world.step(users, order, world.noise(users))
        clicks += feedback.click
        assert feedback.probability == pytest.approx(rate, abs=2e-6)
    error = np.sqrt((rate * (1 - rate)).sum(axis=0) / 10) / n
    assert (np.abs(clicks.mean(axis=0) / 10 - rate.mean(axis=0)) < 3.5 * error).all()
    assert abs(clicks.sum(axis=1).mean() - 10 * rate.sum(axis=1).mean()) < 0.01 * clicks.sum(axis=1).mean()


@pytest.mark.parametrize("task", ["SingleItem-Static", "SingleItem-Uncertain"])
def test_a_catalogue_of_sardine_is_like_others_of_its_recipe(task: str) -> None:
    """The mean relevance of all pairs, in plain NumPy: users and twenty catalogues drawn as published."""
    slope, rng = (10 if "Uncertain" in task else 100), np.random.default_rng(8)
    mask = rng.random((12_000, 10)) < 0.4
    mask = mask[np.isin(mask.sum(axis=1), (3, 4, 5))]
    u = rng.random(mask.shape) * mask
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    means = []
    for _ in range(20):
        x = np.zeros((1000, 10))
        for row in x:
            topics = rng.choice(10, rng.integers(2, 4), replace=False)
            row[topics] = rng.random(len(topics))
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        means.append(sigmoid(np.clip(slope * (u[rng.integers(0, len(u), 1500)] @ x.T - 0.65), -500, None)).mean())
    world = world_of(f"Sardine-{task}-v0")
    ours = sardine_rates(f"Sardine-{task}-v0", world.arrive(mix(range(3000)))).mean()
    assert abs(ours - np.mean(means)) < 4 * np.std(means, ddof=1)


# --- RecoGym


def click_rate(score: Any) -> Any:
    """ff: what RecoGym makes of beta . omega + mu."""
    return sigmoid(5 * sigmoid(2 * sigmoid(0.3 * score) - 2) - 6)


def test_click_rate_given_omega_in_recogym(rng: np.random.Generator) -> None:
    """Four users, ten products: every stated probability, and the clicks of all cells."""
    world, each = world_of("RecoGym-v1"), 3000
    omega = rng.normal(size=(4, 5)).astype(np.float32)
    cell = np.repeat(np.arange(40), each)
    users = world.arrive(mix(range(len(cell)))).replace(interest=omega[cell // 10])
    slate = (cell % 10).astype(np.int32)[:, None]
    _, feedback = world.step(users, slate, world.noise(users))
    gamma, mu = world.catalog.embedding.astype(float), world.catalog["appeal"].astype(float)
    want = click_rate(omega.astype(float) @ gamma.T + mu).ravel()
    assert feedback.probability[:, 0] == pytest.approx(want[cell], rel=1e-5)
    found = feedback.click.reshape(40, each).sum(axis=1)
    variance = each * want * (1 - want)
    assert ((found - each * want) ** 2 / variance).sum() < 40 + 4 * math.sqrt(80)  # chi-squared
    assert abs(found.sum() - each * want.sum()) < 3 * math.sqrt(variance.sum())


def test_first_click_rate_of_random_advertisements_in_recogym() -> None:
    """beta_a . omega ~ N(0, |beta_a|^2 (1 + 0.01 walks)) at the first advertisement: a quadrature a product."""
    world, n = world_of("RecoGym-v1"), 40_000
    p = np.append(0.26 * 0.74 ** np.arange(32), 0.74**32)  # of so many views that another one follows, hence walks
    z, w = hermite(40)
    sd = np.sqrt(1 + 0.01 * np.arange(33))
    want = 0.0
    for beta, mu in zip(world.catalog.embedding.astype(float), world.catalog["appeal"].astype(float), strict=True):
        score = np.linalg.norm(beta) * sd[:, None] * z + mu
        want += float(p @ click_rate(score) @ w) / 10
    users = world.arrive(mix(range(n)))
    stated = np.zeros(n)
    for a in range(10):
        _, feedback = world.step(users, np.full((n, 1), a, np.int32), world.noise(users))
        stated += feedback.probability[:, 0].astype(float) / 10
    assert_mean(stated, want, relative=0.005)
    _, feedback = world.step(users, (np.arange(n) % 10).astype(np.int32)[:, None], world.noise(users))
    assert_mean(feedback.click[:, 0], want, relative=0.2)


def test_the_walk_before_the_first_advertisement() -> None:
    """Var(omega - omega at the start) = 0.01 E[walks] a coordinate, E[walks] = sum of 0.74^k."""
    world, n = world_of("RecoGym-v1"), 20_000
    keys = mix(range(n))
    moved = world.arrive(keys).interest.astype(float)
    moved -= world.replace(dynamics=(), departure=Never()).arrive(keys).interest
    walks = sum(0.74**k for k in range(1, 33))
    assert (moved == 0).all(axis=1).mean() == pytest.approx(0.26, abs=3 * math.sqrt(0.26 * 0.74 / n))
    assert_mean((moved**2).mean(axis=1), 0.01 * walks, relative=0.05)


def stay(world: World, n: int, clicked: bool) -> tuple[Array, Array]:
    """Advertisements that each user saw, and views after the first of them, where all or none are clicked."""
    users, rows = world.arrive(mix(range(n))), np.arange(n)
    ads, views = np.zeros(n), -users.n_views.astype(float)
    slate = np.zeros((n, 1), np.int32)
    while len(rows):
        feedback: Feedback
        users, feedback = world.step(users, slate[rows], world.noise(users), click=np.full((len(rows), 1), clicked))
        ads[rows] += 1
        views[rows[feedback.left]] += users.n_views[feedback.left]
        rows, users = rows[~feedback.left], users.rows(~feedback.left)
    return ads, views


@pytest.mark.parametrize("clicked", [False, True])
def test_how_long_users_of_recogym_stay(clicked: bool) -> None:
    """A session ends in leaving once in 26; without clicks 5 % of the advertisements begin one, and 1 % end it all.

    So 1 / (0.01 + 0.05 / 26) = 83.9 advertisements, or 26; both are geometric. A session has 1 / 0.26 views.
    """
    n = 6000 if clicked else 4000
    session = (1 - 0.74**32) / 26
    leave = session if clicked else 0.01 + 0.05 * session
    ads, views = stay(world_of("RecoGym-v1"), n, clicked)
    assert_mean(ads, 1 / leave, relative=0.05)
    assert np.std(ads) == pytest.approx(math.sqrt(1 - leave) / leave, rel=0.08)
    sessions = 1 / leave if clicked else 0.05 / leave
    assert_mean(views, sessions * (1 - 0.74**32) / 0.26, relative=0.08)
