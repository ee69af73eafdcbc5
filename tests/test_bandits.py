"""LinUCB on a world whose best policy is known, and its arithmetic against least squares."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from baselines.agent import Task, evaluate, make_agent
from baselines.bandits import LinUCB
from recgym import Catalog, ConfigError, World
from recgym.market import StaticMarket
from recgym.models.candidates import All
from recgym.models.choice import PositionBased
from recgym.models.departure import Departure, Never
from recgym.models.preference import Lookup
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture

# Click probabilities of ten items, for everybody; the last is never in stock.
CLICK = np.array([0.8, 0.7, 0.4, 0.4, 0.3, 0.2, 0.1, 0.1, 0.1, 0.99])
STOCK = 9
HORIZON = 8


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
def test_finds_the_best_items(slate_size: int) -> None:
    task = tiny_task(slate_size)
    best = HORIZON * CLICK[:slate_size].sum()
    agent = LinUCB()
    agent.fit(task, 6400)
    assert mean_return(agent, task) >= 0.95 * best
    assert mean_return(make_agent("random"), task) < 0.7 * best


def test_random_exploration_is_enough_too() -> None:
    agent = LinUCB(alpha=0.0, epsilon=1.0, user=False)
    agent.fit(tiny_task(), 6400)
    assert mean_return(agent, tiny_task()) >= 0.95 * HORIZON * CLICK[0]


def test_theta_is_the_ridge_regression_of_what_was_seen() -> None:
    """Against `numpy.linalg.lstsq` on a design matrix written out by hand."""
    agent = LinUCB(ridge=2.0, envs=4, refresh=3)
    env = tiny_task(2).make(4, AutoresetMode.SAME_STEP)
    layout = env.observation_layout
    observation, _ = env.reset(seed=3)
    agent.start(env)
    rng = np.random.default_rng(5)
    rows, shares = [], []
    for _ in range(30):
        action = np.stack([rng.permutation(STOCK)[:2] for _ in range(4)])
        following, reward, terminated, _, info = env.step(action)
        agent.learn(observation, action, reward, following, terminated, info)
        for b in range(4):
            candidates = observation[b, layout["candidates"].slice].reshape(layout["candidates"].shape)
            clicked = info["click"][b]
            for s in range(2):
                user = observation[b, layout["user"].slice]
                rows.append(np.concatenate([candidates[action[b, s]], user, [1.0], [float(s == 1)]]))
                shares.append(float(clicked[s]) if clicked.any() else 0.0)  # each click pays 1 here
        observation = following
    x, y = np.array(rows), np.array(shares)
    width = x.shape[1]
    expected, *_ = np.linalg.lstsq(np.vstack([x, np.sqrt(2.0) * np.eye(width)]), np.append(y, np.zeros(width)))
    agent._update()
    np.testing.assert_allclose(agent._theta, expected, atol=1e-5)
    np.testing.assert_allclose(agent.gram, x.T @ x + 2 * np.eye(width), rtol=1e-5, atol=1e-5)


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
    inverse = np.linalg.inv(agent.gram)
    block = env.observation_layout["candidates"]
    bounds = np.full((64, 10), -np.inf)
    for b in range(64):
        for k in np.flatnonzero(info["action_mask"][b]):
            x = np.append(observation[b, block.slice].reshape(block.shape)[k], 1.0)
            bounds[b, k] = x @ inverse @ agent.target + 0.7 * np.sqrt(x @ inverse @ x)
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
    (_, shares), = agent._pending  # fmt: skip
    np.testing.assert_allclose(shares, [1.0, -1.0, -1.0, -1.0])


def test_learns_when_to_recommend_nothing() -> None:
    """Where every item shown costs 1 and a click pays 2, only items clicked more often than not are worth showing."""
    world = tiny_world()
    options = {"like_dislike": True, "null_action": True}
    for market, nothing in ((range(3, 9), True), (range(9), False)):
        listed = np.array(market, np.int32)
        part = world.replace(market=StaticMarket(1440.0, np.array([0, len(listed)]), listed))
        for slate_size in (1, 2):
            task = Task("recgym/Ecommerce-v0", {"world": part, "slate_size": slate_size, **options})
            agent = LinUCB(epsilon=0.2)
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
        agent.gram, agent.target = np.eye(len(agent.target)), np.zeros(len(agent.target))
        for _ in range(320):
            agent.learn(observation, action, np.array([nothing, 2.0]), observation, np.zeros(2, np.bool_), seen)
        np.testing.assert_array_equal(agent.act(observation, info["action_mask"]), [best, best])


@pytest.mark.parametrize("slate_size", [1, 4])
def test_respects_the_mask_and_repeats_nothing(slate_size: int) -> None:
    agent = LinUCB(epsilon=0.5)
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


def test_a_batch_acts_like_its_rows() -> None:
    agent = LinUCB()
    task = Task("recgym/News-v0")
    agent.fit(task, 1280)
    env = task.make(16)
    observation, info = env.reset(seed=7)
    agent.start(env)
    together = agent.act(observation, info["action_mask"])
    alone = [agent.act(observation[i : i + 1], info["action_mask"][i : i + 1])[0] for i in range(16)]
    np.testing.assert_array_equal(together, alone)


def test_same_seed_same_coefficients_and_files_bring_them_back(tmp_path) -> None:
    task = Task("recgym/EcommerceSlate-v0")
    agents = [LinUCB(epsilon=0.1) for _ in range(3)]
    for agent, seed in zip(agents, (1, 1, 2), strict=True):
        agent.fit(task, 1280, seed=seed)
    np.testing.assert_array_equal(agents[0].target, agents[1].target)
    assert not np.array_equal(agents[0].target, agents[2].target)
    agents[0].save(tmp_path)
    loaded = LinUCB.load(tmp_path)
    assert loaded == agents[0]
    env = task.make(16)
    observation, info = env.reset(seed=7)
    for agent in (agents[0], loaded):
        agent.start(env)
    actions = [agent.act(observation, info["action_mask"]) for agent in (agents[0], loaded)]
    np.testing.assert_array_equal(*actions)


def test_says_what_is_wrong(tmp_path) -> None:
    for arguments in ({"alpha": -1}, {"ridge": 0}, {"epsilon": 2}, {"refresh": 0}, {"envs": 0}, {"user": 1}):
        with pytest.raises(ConfigError, match=next(iter(arguments))):
            LinUCB(**arguments)
    with pytest.raises(ConfigError, match="embedding"):
        LinUCB().fit(tiny_task(action="embedding"), 64)
    with pytest.raises(ConfigError, match="vector"):
        LinUCB().fit(tiny_task(reward="vector"), 64)
    agent = LinUCB()
    agent.fit(tiny_task(), 64)
    with pytest.raises(ConfigError, match="features"):
        agent.start(Task("recgym/News-v0").make(2))
    agent.save(tmp_path)
    (tmp_path / "linucb.npz").unlink()
    with pytest.raises(ConfigError, match=r"linucb\.npz"):
        LinUCB.load(tmp_path)
