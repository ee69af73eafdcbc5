"""Statistics of items against counts by hand, and agents that learn by them what no observation shows."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import recgym
from baselines import Task, evaluate, make_agent
from baselines.items import ItemStatistics, _rank, finder
from recgym import ConfigError
from recgym.catalog import Catalog
from recgym.market import StaticMarket
from recgym.models.candidates import Uniform
from recgym.models.choice import PositionBased
from recgym.models.departure import Never
from recgym.models.preference import Lookup
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture
from recgym.testing import check_agent
from recgym.world import World

AGENTS = {
    "linucb": {},
    "pctr": {},
    "reinforce": {"envs": 16, "segment": 4},
    "slateq": {"envs": 16, "learning_starts": 64, "batch_size": 32},
}


def played(id: str, steps: int = 40, **options: object):
    """An env, its statistics after some random steps, and the counts of a loop over them."""
    env = Task(id, options).make(30, AutoresetMode.SAME_STEP)
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    statistics = ItemStatistics(env, 5.0)
    N, C = len(env.world.catalog), len(env.world.response.channels)
    shown, clicked, feedback = np.zeros(N), np.zeros(N), np.zeros((N, C - 1))
    highs = np.array(env.world.response.highs)[1:]
    for _ in range(steps):
        before = env.get_state().users
        observation, _, _, _, info = env.step(env.action_space.sample())
        last = observation.copy()
        ended = info.get("_final_obs", np.zeros(30, bool))
        for row in np.flatnonzero(ended):
            last[row] = info["final_obs"][row]
        statistics.add(info["slate"], info["click"], last[info["click"].any(axis=1)])
        after, _ = env.world.step(before, info["slate"], env.world.noise(before))  # the same step, without resets
        for b, (slate, click) in enumerate(zip(info["slate"], info["click"], strict=True)):
            latest = 0
            for s in reversed(range(len(slate))):
                if slate[s] >= 0:
                    shown[slate[s]] += 1
                    if click[s]:
                        clicked[slate[s]] += 1
                        assert after.history[b, latest] == slate[s]
                        feedback[slate[s]] += after.history_feedback[b, latest, 1:] / highs
                        latest += 1
    return env, observation, statistics, (shown, clicked, feedback)


@pytest.mark.parametrize("options", [{}, {"embeddings": True}])
@pytest.mark.parametrize("id", ["News-v0", "NewsSlate-v0", "LiveStreamSlate-v0", "EcommerceSlate-v0"])
def test_counts_are_those_of_a_loop_over_the_log(id: str, options: dict) -> None:
    _, _, statistics, (shown, clicked, feedback) = played(f"recgym/{id}", **options)
    assert clicked.sum() > 20
    group = statistics._group
    if options:
        assert len(np.unique(group)) == len(group)
    else:  # few items have the same attributes, which are clipped; they are one
        assert len(np.unique(group)) > 0.99 * len(group)
    np.testing.assert_array_equal(statistics.shown, np.bincount(group, shown))
    np.testing.assert_array_equal(statistics.clicked, np.bincount(group, clicked))
    for c in range(feedback.shape[1]):
        np.testing.assert_allclose(statistics.feedback[:, c], np.bincount(group, feedback[:, c]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"observation": "latent"}, {"embeddings": True}])
def test_what_is_seen_of_a_candidate_is_what_is_known_of_its_item(options: dict) -> None:
    env, observation, statistics, (shown, clicked, feedback) = played("recgym/NewsSlate-v0", **options)
    seen, users = statistics.see(observation), env.get_state().users
    layout, before = statistics.layout, env.observation_layout
    assert seen.dtype == np.float32
    assert seen.shape[1] == max(block.slice.stop for block in layout.values())
    for name in set(layout) - {"candidates"}:
        np.testing.assert_array_equal(seen[:, layout[name].slice], observation[:, before[name].slice])
    rows = seen[:, layout["candidates"].slice].reshape(-1, *layout["candidates"].shape)
    old = observation[:, before["candidates"].slice].reshape(-1, *before["candidates"].shape)
    np.testing.assert_array_equal(rows[:, :, : old.shape[2]], old)
    assert [part.name for part in layout["candidates"].parts[-5:]] == [
        "click_rate",
        "known",
        "dwell",
        "satisfied_click",
        "share",
    ]
    rate, mean = clicked.sum() / shown.sum(), feedback.sum(axis=0) / clicked.sum()
    for b, k in ((0, 0), (3, 7), (29, 19)):
        i = users.candidates[b, k]
        want = [(clicked[i] + 5) / (shown[i] + 5 / rate) / rate - 1, clicked[i] / (clicked[i] + 5),
                *((feedback[i] + 5 * mean) / (clicked[i] + 5) / mean - 1)]  # fmt: skip
        np.testing.assert_allclose(rows[b, k, old.shape[2] :], want, rtol=1e-3, atol=1e-5)


def test_a_candidate_that_is_not_there_is_not_known() -> None:
    env = Task("recgym/Ecommerce-v0").make(4)
    observation, _ = env.reset(seed=0)
    statistics = ItemStatistics(env, 5.0)
    statistics.shown += 10
    statistics.clicked += np.arange(len(statistics.clicked)) % 7
    gone = observation.copy()
    gone[:, env.observation_layout["mask"].slice] = 0
    block = statistics.layout["candidates"]
    width = env.observation_layout["candidates"].shape[1]
    assert (statistics.see(gone)[:, block.slice].reshape(4, *block.shape)[:, :, width:] == 0).all()
    assert (statistics.see(observation)[:, block.slice].reshape(4, *block.shape)[:, :, width:] != 0).any()


def hidden_quality(**options: object) -> Task:
    """Items of which a quarter is liked; whether they are clicked has nothing to do with what observations show of them."""
    rng = np.random.default_rng(3)
    n = 200
    world = World(
        catalog=Catalog(rng.normal(size=(n, 2)), np.zeros(n), np.zeros((n, 0)), (), 1),
        population=TopicMixture(np.eye(2)[:1]),
        market=StaticMarket.of(n),
        candidates=Uniform(8),
        preference=Lookup(np.where(np.arange(n) % 4 == 0, 1.4, -3.0)),
        choice=PositionBased(examination=1.0),
        response=Clicks(),
        dynamics=(),
        departure=Never(),
        reward=Weighted({"click": 1.0}),
        horizon=10,
    )
    return Task("recgym/Ecommerce-v0", {"world": world, **options})


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("linucb", {}),
        ("pctr", {"epsilon": 0.3}),
        ("reinforce", {"learning_rate": 3e-3}),
        ("slateq", {"n_steps": 1, "gamma": 0.0, "learning_starts": 640, "learning_rate": 3e-3, "reward_scale": 1.0}),
    ],
)
def test_learns_what_no_observation_shows(name: str, parameters: dict) -> None:
    task = hidden_quality(expected_reward=True)
    scores = {}
    for prior in (0.0, 5.0):
        agent = make_agent(name, item_prior=prior, **parameters)
        agent.fit(hidden_quality(), 16_000, seed=0)
        scores[prior] = evaluate(agent, task, 200, seed=10**6).returns.mean()
    best = evaluate(make_agent("myopic"), task, 200, seed=10**6).returns.mean()
    assert scores[5.0] > 0.85 * best
    assert scores[5.0] > scores[0.0] + 0.15 * best


@pytest.mark.parametrize("name", AGENTS)
def test_keeps_the_contract(name: str) -> None:
    make = make_agent(name, item_prior=5.0, **AGENTS[name])
    check_agent(make, Task("recgym/NewsSlate-v0", {"horizon": 10}), fit_steps=320)


@pytest.mark.parametrize("name", ["linucb", "reinforce"])
def test_files_hold_the_counts(name: str, tmp_path) -> None:
    task = Task("recgym/News-v0")
    agent = make_agent(name, item_prior=5.0, **AGENTS[name])
    agent.fit(task, 640, seed=0)
    agent.save(tmp_path)
    loaded = type(agent).load(tmp_path)
    env = task.make(16)
    observation, info = env.reset(seed=3)
    values = []
    for one in (agent, loaded):
        one.start(env)
        values.append(one.values(observation, info["action_mask"]))
    np.testing.assert_array_equal(*values)
    assert loaded.item_counts["shown"].sum() == 640
    for other in (hidden_quality(), Task("recgym/News-v0", {"world": recgym.load_world("news", seed=1)})):
        with pytest.raises(ConfigError, match="env: must have the 12000 items of which statistics are known"):
            loaded.start(other.make(2))
    (tmp_path / "items.npz").unlink()
    with pytest.raises(ConfigError, match=r"items\.npz"):
        type(agent).load(tmp_path)


@pytest.mark.parametrize("name", AGENTS)
def test_bad_input(name: str) -> None:
    with pytest.raises(ConfigError, match=r"item_prior: .*got -1"):
        make_agent(name, item_prior=-1)
    with pytest.raises(ConfigError, match="no block 'candidates'"):
        make_agent(name, item_prior=1.0).start(Task("recgym/News-v0", {"observation": "compact"}).make(2))


@pytest.mark.parametrize("spread", ["normal", "cauchy", "near", "one"])
def test_items_are_found_by_their_key_as_a_search_finds_them(spread: str) -> None:
    rng = np.random.default_rng(1)
    keys = {
        "normal": np.unique(rng.normal(size=500)),
        "cauchy": np.unique(rng.standard_cauchy(size=500)),  # one far from the others, which share few cells
        "near": 5 + np.unique(rng.random(50)) * 1e-9,
        "one": np.ones(1),
    }[spread]
    between, *cells = finder(keys)
    edges = [np.nextafter(between, side) for side in (-np.inf, np.inf)]
    sought = np.concatenate([keys, between, *edges, rng.normal(size=50), [1e9, -1e9, np.inf, -np.inf]])
    assert [_rank(between, *cells, key) for key in sought] == np.searchsorted(between, sought).tolist()
