"""Bandits on a world whose best policy is known, and their arithmetic against least squares and plain Newton steps."""

from __future__ import annotations

from math import erfc

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from baselines import Task, evaluate, make_agent
from baselines.bandits import LinearBandit, LinUCB, LogisticPCTR, Thompson, logistic_regression
from recgym import Catalog, ConfigError, World
from recgym.market import StaticMarket
from recgym.models.candidates import All
from recgym.models.choice import PositionBased
from recgym.models.departure import Departure, Never
from recgym.models.preference import Lookup
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture
from recgym.testing import check_agent

# Click probabilities of ten items, for everybody; the last is never in stock.
CLICK = np.array([0.8, 0.7, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.99])
STOCK = 9
HORIZON = 8

ALL = (LinUCB, Thompson, LogisticPCTR)


def tiny_world(departure: Departure | None = None, slate_size: int = 1) -> World:
    """Ten items with one-hot embeddings; positions do not matter; eight steps."""
    n = len(CLICK)
    return World(
        catalog=Catalog(np.eye(n), np.zeros(n), np.zeros((n, 0)), (), 1),
        population=TopicMixture(np.eye(n)[:1]),
        market=StaticMarket(1440.0, np.array([0, STOCK]), np.arange(STOCK, dtype=np.int32)),
        candidates=All(),
        preference=Lookup(np.log(CLICK / (1 - CLICK))),
        choice=PositionBased(examination=1.0),
        response=Clicks(),
        dynamics=(),
        departure=departure or Never(),
        reward=Weighted({"click": 1.0}),
        slate_size=slate_size,
        horizon=HORIZON,
    )


def tiny_task(slate_size: int = 1, **options: object) -> Task:
    return Task("recgym/Ecommerce-v0", {"world": tiny_world(), "slate_size": slate_size, **options})


def mean_return(agent, task: Task) -> float:
    """Mean of the expected rewards, so that clicks add no noise."""
    task = Task(task.id, {**task.options, "expected_reward": True})
    return float(evaluate(agent, task, 1000, seed=10**6).returns.mean())


@pytest.mark.parametrize("slate_size", [1, 3])
@pytest.mark.parametrize("kind", ALL)
def test_finds_the_best_items(kind: type[LinearBandit], slate_size: int) -> None:
    task = tiny_task(slate_size)
    best = HORIZON * CLICK[:slate_size].sum()
    agent = kind()
    agent.fit(task, 6400)
    assert mean_return(agent, task) >= 0.95 * best
    assert mean_return(make_agent("random"), task) < 0.7 * best


def test_random_exploration_is_enough_too() -> None:
    agent = LinUCB(alpha=0.0, epsilon=1.0, user=False)
    agent.fit(tiny_task(), 6400)
    assert mean_return(agent, tiny_task()) >= 0.95 * HORIZON * CLICK[0]


def played(agent: LinearBandit, task: Task, steps: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Let an agent learn from random slates of two; returns its design matrix and clicks, written out by hand."""
    env = task.make(agent.envs, AutoresetMode.SAME_STEP)
    layout = env.observation_layout
    observation, _ = env.reset(seed=3)
    agent.start(env)
    rng = np.random.default_rng(5)
    rows, clicks = [], []
    for _ in range(steps):
        action = np.stack([rng.permutation(STOCK)[:2] for _ in range(agent.envs)])
        following, reward, terminated, _, info = env.step(action)
        agent.learn(observation, action, reward, following, terminated, info)
        for b in range(agent.envs):
            candidates = observation[b, layout["candidates"].slice].reshape(layout["candidates"].shape)
            for s in range(2):
                user = observation[b, layout["user"].slice]
                rows.append(np.concatenate([candidates[action[b, s]], user, [1.0], [float(s == 1)]]))
                clicks.append(float(info["click"][b, s]))  # each click pays 1 here
        observation = following
    agent._update()
    return np.array(rows, np.float64), np.array(clicks)


@pytest.mark.parametrize("kind", [LinUCB, Thompson])
def test_theta_is_the_ridge_regression_of_what_was_seen(kind: type[LinearBandit]) -> None:
    """Against `numpy.linalg.lstsq`."""
    agent = kind(ridge=2.0, envs=4, refresh=3)
    x, y = played(agent, tiny_task(2))
    width = x.shape[1]
    expected, *_ = np.linalg.lstsq(np.vstack([x, np.sqrt(2.0) * np.eye(width)]), np.append(y, np.zeros(width)))
    np.testing.assert_allclose(agent.theta, expected, atol=1e-5)
    np.testing.assert_allclose(agent.gram, x.T @ x + 2 * np.eye(width), rtol=1e-5, atol=1e-5)


def test_thompson_draws_from_the_posterior() -> None:
    """Mean and covariance of 200,000 draws against the closed form of Bayesian linear regression."""
    agent = Thompson(ridge=2.0, scale=0.7, envs=4, refresh=3)
    x, y = played(agent, tiny_task(2))
    covariance = 0.49 * np.linalg.inv(x.T @ x + 2 * np.eye(x.shape[1]))
    mean = covariance @ x.T @ y / 0.49
    draws = agent.sample(200_000).astype(np.float64)
    spread = np.sqrt(np.diag(covariance))
    standard_error = spread / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - mean) < 5 * standard_error).all()
    np.testing.assert_allclose(
        np.cov(draws.T) / np.outer(spread, spread), covariance / np.outer(spread, spread), atol=0.015
    )


def test_thompson_explores_in_proportion_to_the_belief() -> None:
    """Two items in question: the share of users shown the worse one is that of a Gaussian difference below zero."""
    agent = Thompson(user=False, scale=1.0)
    env = tiny_task().make(20_000)
    observation, info = env.reset(seed=0)
    agent.start(env)
    x = agent._features(observation[:1], np.array([[0, 1]]))[0].astype(np.float64)
    agent.theta[:2] = [0.4, 0.0]  # the embeddings are one-hot
    agent.gram = np.diag(np.linspace(1.0, 3.0, len(agent.theta)))
    agent._update()
    mask = np.zeros_like(info["action_mask"])
    mask[:, :2] = True
    shown = agent.act(observation, mask, explore=True)
    difference = x[0] - x[1]
    z = difference @ agent.theta / np.sqrt(difference @ np.linalg.inv(agent.gram) @ difference)
    assert shown.mean() == pytest.approx(0.5 * erfc(z / np.sqrt(2)), abs=0.015)
    assert (agent.act(observation, mask) == 0).all()


def test_pctr_is_the_logistic_regression_of_what_was_seen() -> None:
    """In one batch: against plain Newton steps on all of it. In 30 batches: close to that."""
    agents = [LogisticPCTR(ridge=2.0, envs=8, refresh=refresh) for refresh in (100, 1)]
    (x, click), _ = (played(agent, tiny_task(2)) for agent in agents)
    theta = np.zeros(x.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-x @ theta))
        hessian = (x * (p * (1 - p))[:, None]).T @ x + 2 * np.eye(len(theta))
        theta -= np.linalg.solve(hessian, x.T @ (p - click) + 2 * theta)
    np.testing.assert_allclose(agents[0].theta, theta, atol=1e-4)
    np.testing.assert_allclose(agents[0].gram, hessian, atol=1e-3)
    np.testing.assert_allclose(agents[1].theta, theta, atol=0.15)
    assert np.corrcoef(agents[1].theta, theta)[0, 1] > 0.99


def test_logistic_regression_survives_what_newton_does_not() -> None:
    """Separable clicks far from a confident, wrong belief: plain Newton steps overshoot, halved ones do not."""
    x = np.array([[30.0], [40.0], [-35.0]])
    gram, theta = logistic_regression(np.eye(1) * 1e-6, np.array([-3.0]), x, np.array([1.0, 1.0, 0.0]))
    slope = (1 / (1 + np.exp(-x @ theta)) - [1, 1, 0]) @ x + 1e-6 * (theta + 3)
    assert abs(slope.item()) < 1e-4
    assert 0 < theta[0] < 10
    assert np.isfinite(gram).all()


def test_pctr_knows_how_often_users_click() -> None:
    """The probabilities of the world come back, whatever a click pays."""
    for options in ({}, {"reward": {"click": -7.0}}):
        agent = LogisticPCTR(epsilon=1.0)
        agent.fit(tiny_task(**options), 12_800)
        env = tiny_task().make(2)
        observation, info = env.reset(seed=0)
        agent.start(env)
        values = agent.values(observation, info["action_mask"])
        np.testing.assert_allclose(values[:, :STOCK], np.tile(CLICK[:STOCK], (2, 1)), atol=0.06)
        assert np.isneginf(values[:, STOCK]).all()
        assert (agent.act(observation, info["action_mask"]) == 0).all()


def test_values_of_linear_bandits_are_rewards() -> None:
    for kind in (LinUCB, Thompson):
        agent = kind(epsilon=1.0)
        agent.fit(tiny_task(reward={"click": 3.0}), 12_800)
        env = tiny_task().make(2)
        observation, info = env.reset(seed=0)
        agent.start(env)
        np.testing.assert_allclose(
            agent.values(observation, info["action_mask"])[0, :STOCK], 3 * CLICK[:STOCK], atol=0.2
        )


def test_explores_by_the_upper_confidence_bound() -> None:
    agent = LinUCB(alpha=0.7, user=False, refresh=1)
    env = tiny_task().make(64, AutoresetMode.SAME_STEP)
    observation, info = env.reset(seed=0)
    agent.start(env)
    for step in range(12):
        action = np.arange(64) % (step + 1) % 5
        following, reward, terminated, _, after = env.step(action)
        agent.learn(observation, action, reward, following, terminated, after)
        observation, info = following, after
    agent._update()
    inverse = np.linalg.inv(agent.gram)
    block = env.observation_layout["candidates"]
    bounds = np.full((64, 10), -np.inf)
    for b in range(64):
        for k in np.flatnonzero(info["action_mask"][b]):
            x = np.append(observation[b, block.slice].reshape(block.shape)[k], 1.0)
            bounds[b, k] = x @ agent.theta + 0.7 * np.sqrt(x @ inverse @ x)
    chosen = agent.act(observation, info["action_mask"], explore=True)
    np.testing.assert_allclose(bounds[np.arange(64), chosen], bounds.max(axis=1), atol=1e-5)
    greedy = agent.act(observation, info["action_mask"])
    assert (greedy == 0).all()  # of those tried, the best
    assert not np.array_equal(greedy, chosen)


def test_shares_the_reward_out() -> None:
    """The shares of a slate add up to what was paid, and go to those who earned them."""
    agent = LinUCB(user=False)
    env = tiny_task(3, like_dislike=True).make(2, AutoresetMode.SAME_STEP)
    observation, _ = env.reset(seed=0)
    agent.start(env)
    action = np.array([[0, 1, 9], [3, 3, 4]])  # 9 is out of stock, the second 3 a repetition: both show nothing
    click = np.zeros((2, 3), np.bool_)
    click[0, 0] = True
    info = {"slate": np.array([[0, 1, -1], [3, -1, 4]]), "click": click}
    reward = np.array([2.0 - 2.0, -2.0])
    agent.learn(observation, action, reward, observation, np.zeros(2, np.bool_), info)
    (_, shares, _), = agent._pending  # fmt: skip
    np.testing.assert_allclose(shares, [1.0, -1.0, -1.0, -1.0])


@pytest.mark.parametrize("kind", ALL)
def test_learns_when_to_recommend_nothing(kind: type[LinearBandit]) -> None:
    """Where every item shown costs 1 and a click pays 2, only items clicked more often than not are worth showing."""
    world = tiny_world()
    options = {"like_dislike": True, "null_action": True}
    for market, nothing in ((range(3, 9), True), (range(9), False)):
        listed = np.array(market, np.int32)
        part = world.replace(market=StaticMarket(1440.0, np.array([0, len(listed)]), listed))
        for slate_size in (1, 2):
            task = Task("recgym/Ecommerce-v0", {"world": part, "slate_size": slate_size, **options})
            agent = kind(epsilon=0.2)
            agent.fit(task, 6400)
            env = task.make(5)
            observation, info = env.reset(seed=1)
            agent.start(env)
            action = agent.act(observation, info["action_mask"])
            assert action.shape == ((5,) if slate_size == 1 else (5, 2))
            assert (action == 0).all() if nothing else (action > 0).all(), (slate_size, action)


def test_weighs_nothing_against_the_whole_slate() -> None:
    """Two items that pay 1 each are worth more than a step of nothing that pays 1.5, and less than one of 2.5."""
    agent = LinUCB(user=False)
    env = tiny_task(2, null_action=True).make(2, AutoresetMode.SAME_STEP)
    observation, info = env.reset(seed=0)
    agent.start(env)
    action = np.array([[0, 0], [4, 5]])
    seen = {"slate": action - 1, "click": np.array([[False, False], [True, True]])}
    for nothing, best in ((1.5, [4, 5]), (2.5, [0, 0])):
        agent.gram, agent.theta = np.eye(len(agent.theta)), np.zeros(len(agent.theta))
        for _ in range(320):
            agent.learn(observation, action, np.array([nothing, 2.0]), observation, np.zeros(2, np.bool_), seen)
        np.testing.assert_array_equal(agent.act(observation, info["action_mask"]), [best, best])


def test_pctr_weighs_nothing_by_what_it_pays() -> None:
    """By hand: ignored items pay 0.1 each, clicked ones 1 or 0.6; clicked half the time, two are worth 1.1 or 0.7."""
    for clicked, nothing, best in ((1.0, 0.9, [4, 5]), (1.0, 1.2, [0, 0]), (0.6, 0.9, [0, 0])):
        agent = LogisticPCTR(user=False)
        env = tiny_task(2, null_action=True).make(4, AutoresetMode.SAME_STEP)
        observation, info = env.reset(seed=0)
        observation[:] = observation[0]
        agent.start(env)
        action = np.array([[0, 0], [4, 5], [4, 5], [0, 0]])
        click = np.zeros((4, 2), np.bool_)
        click[1] = True
        reward = np.array([nothing, 2 * clicked, 0.2, nothing])
        for _ in range(320):
            agent.learn(
                observation, action, reward, observation, np.zeros(4, np.bool_), {"slate": action - 1, "click": click}
            )
        mask = np.zeros_like(info["action_mask"])
        mask[:, [0, 4, 5]] = True
        np.testing.assert_allclose(
            agent.values(observation, mask)[0, [0, 4]], [nothing, (0.1 + clicked) / 2], atol=0.02
        )
        np.testing.assert_array_equal(np.sort(agent.act(observation, mask)), [best] * 4)


@pytest.mark.parametrize("slate_size", [1, 4])
@pytest.mark.parametrize("kind", ALL)
def test_respects_the_mask_and_repeats_nothing(kind: type[LinearBandit], slate_size: int) -> None:
    agent = kind(epsilon=0.5)
    task = Task("recgym/LiveStream-v0", {"slate_size": slate_size})
    agent.fit(task, 640)
    env = task.make(32)
    observation, info = env.reset(seed=1)
    agent.start(env)
    mask = np.zeros_like(info["action_mask"])
    mask[:, [0, 2, 5, 6, 11]] = True
    for explore in (False, True):
        for row in agent.act(observation, mask, explore=explore).reshape(32, -1):
            items = row[row > 0]
            assert set(items) <= {2, 5, 6, 11}
            assert len(set(items)) == len(items)


@pytest.mark.parametrize("kind", ALL)
def test_a_batch_acts_like_its_rows(kind: type[LinearBandit]) -> None:
    agent = kind()
    task = Task("recgym/News-v0")
    agent.fit(task, 1280)
    env = task.make(16)
    observation, info = env.reset(seed=7)
    agent.start(env)
    together = agent.act(observation, info["action_mask"])
    alone = [agent.act(observation[i : i + 1], info["action_mask"][i : i + 1])[0] for i in range(16)]
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, agent.values(observation, info["action_mask"]).argmax(axis=1))


@pytest.mark.parametrize("kind", ALL)
def test_same_seed_same_coefficients_and_files_bring_them_back(kind: type[LinearBandit], tmp_path) -> None:
    task = Task("recgym/LiveStreamSlate-v0")
    agents = [kind(epsilon=0.1) for _ in range(3)]
    for agent, seed in zip(agents, (1, 1, 2), strict=True):
        agent.fit(task, 1280, seed=seed)
    np.testing.assert_array_equal(agents[0].theta, agents[1].theta)
    assert not np.array_equal(agents[0].theta, agents[2].theta)
    agents[0].save(tmp_path)
    loaded = kind.load(tmp_path)
    assert loaded == agents[0]
    env = task.make(16)
    observation, info = env.reset(seed=7)
    for agent in (agents[0], loaded):
        agent.start(env)
    values = [agent.values(observation, info["action_mask"]) for agent in (agents[0], loaded)]
    np.testing.assert_array_equal(*values)
    loaded.fit(task, 640)  # goes on
    assert np.diag(loaded.gram).sum() > np.diag(agents[0].gram).sum()


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("id", ["Ecommerce-v0", "LiveStreamSlate-v0"])
def test_contract(kind: type[LinearBandit], id: str) -> None:
    check_agent(kind(), Task(f"recgym/{id}"))


@pytest.mark.parametrize("kind", [LinUCB, Thompson])
def test_learns_what_it_prefers(kind: type[LinearBandit]) -> None:
    """Trained to avoid clicks, evaluated by the task's own reward."""
    agent = kind(objective_weights={"click": -1.0})
    agent.fit(tiny_task(), 6400)
    assert mean_return(agent, tiny_task()) <= 1.05 * HORIZON * CLICK[:STOCK].min()


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: LogisticPCTR(objective_weights={"click": 1.0}), r"objective_weights: must be None"),
        (lambda: LinUCB(alpha=-1), r"LinUCB.alpha: .*got -1"),
        (lambda: Thompson(scale=-1), r"Thompson.scale: .*got -1"),
        (lambda: Thompson(scale=float("nan")), r"Thompson.scale: .*got nan"),
        (lambda: LinUCB(ridge=0), r"LinUCB.ridge: .*got 0"),
        (lambda: LogisticPCTR(epsilon=2), r"LogisticPCTR.epsilon: .*got 2"),
        (lambda: Thompson(refresh=0), r"Thompson.refresh: .*got 0"),
        (lambda: LogisticPCTR(envs=0), r"LogisticPCTR.envs: .*got 0"),
        (lambda: LinUCB(user=1), r"LinUCB.user: .*got 1"),
        (lambda: make_agent("thompson", scales=1), r"Did you mean 'scale'"),
        (lambda: LinUCB().fit(tiny_task(action="embedding"), 64), r'action: LinUCB needs "item"'),
        (lambda: Thompson().fit(tiny_task(reward="vector"), 64), r"reward: Thompson needs one number"),
        (lambda: LogisticPCTR().fit(tiny_task(observation="dict"), 64), r"observation: LogisticPCTR needs a flat one"),
    ],
)
def test_says_what_is_wrong(make, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()


def test_says_what_is_wrong_with_files(tmp_path) -> None:
    agent = LinUCB()
    agent.fit(tiny_task(), 64)
    with pytest.raises(ConfigError, match=r"features that LinUCB has learned from"):
        agent.start(Task("recgym/News-v0").make(2))
    agent.save(tmp_path)
    with pytest.raises(ConfigError, match="must hold a Thompson"):
        Thompson.load(tmp_path)
    (tmp_path / "bandit.npz").unlink()
    with pytest.raises(ConfigError, match=r"bandit\.npz"):
        LinUCB.load(tmp_path)
