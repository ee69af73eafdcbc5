"""Tables against exact dynamic programmes of worlds with one, two or nine states."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from test_bandits import CLICK, HORIZON, STOCK, tiny_world

from baselines import Task, evaluate, make_agent
from baselines.tabular import QLearning, Sarsa, Tabular
from recgym import ConfigError
from recgym.models.departure import Departure
from recgym.testing import check_agent
from recgym.types import Column

BOTH = (QLearning, Sarsa)


@dataclass(frozen=True, eq=False)
class Trap(Departure):
    """Whoever is shown item 0, the most clickable one, leaves."""

    def __call__(self, users, feedback, noise):
        return {"left": (feedback.slate == 0).any(axis=1)}


@dataclass(frozen=True, eq=False)
class Cliff(Departure):
    """Item 0 leads to the edge, item 1 away from it; at the edge, every other item makes the user leave."""

    def columns(self, sizes):
        return {"edge": Column((), np.float32, 0.0, 1.0, visible=True)}

    def __call__(self, users, feedback, noise):
        item = feedback.slate[:, 0]
        left = (users.edge > 0) & (item > 1)
        return {"left": left, "edge": np.where(item > 1, users.edge, item == 0).astype(np.float32)}


def task_of(departure: Departure | None = None, slate_size: int = 1, horizon: int = HORIZON, **options: object) -> Task:
    """Expected rewards, so that the tables are exact."""
    world = tiny_world(departure, slate_size).replace(horizon=horizon)
    return Task("recgym/Ecommerce-v0", {"world": world, "slate_size": slate_size, "expected_reward": True, **options})


def mean_return(agent, task: Task) -> float:
    return float(evaluate(agent, task, 20, seed=10**6).returns.mean())


def table(agent: Tabular, task: Task, steps: int = 1) -> np.ndarray:
    """Q of the state after each of `steps` - 1 showings of the last item, (steps, A)."""
    env = task.make(1)
    observation, _ = env.reset(seed=0)
    agent.start(env)
    rows = []
    for _ in range(steps):
        rows.append(agent.q[agent._states(observation)[0]])
        observation = env.step(np.array([STOCK - 1]))[0]
    return np.array(rows)


def test_plans_around_the_trap_where_the_myopic_falls_into_it() -> None:
    """Exact values by backward induction, with realised clicks: showing the second-best item until the last step."""
    task = task_of(Trap(), expected_reward=False)
    gamma, value = 0.95, np.zeros(HORIZON + 1)
    for t in reversed(range(HORIZON)):
        value[t] = max(CLICK[0], CLICK[1] + gamma * value[t + 1])
    best = (HORIZON - 1) * CLICK[1] + CLICK[0]
    paid = task_of(Trap())
    assert mean_return(make_agent("myopic"), paid) == pytest.approx(CLICK[0])
    for kind in BOTH:
        agent = kind(state=("user.progress",), gamma=gamma, epsilon_steps=60_000, epsilon_end=0.0, envs=256)
        agent.fit(task, 80_000, seed=1)
        assert len(agent.rows) == HORIZON + 1
        assert mean_return(agent, paid) >= 0.97 * best, kind
        q = table(agent, task, HORIZON)[:, :STOCK]
        np.testing.assert_allclose(q.max(axis=1), value[:HORIZON], rtol=0.08)
        assert q[-1].argmax() == 0
        assert (q[:-1].argmax(axis=1) > 0).all()


def continuing(probability: np.ndarray, stays: np.ndarray, gamma: float, epsilon: float) -> np.ndarray:
    """Q (A,) of one state that never ends by itself, under epsilon-greedy continuation; by iteration."""
    q = np.zeros(len(probability))
    for _ in range(2000):
        q = probability + gamma * stays * ((1 - epsilon) * q.max() + epsilon * q.mean())
    return q


@pytest.mark.parametrize(("kind", "continues_with"), [(QLearning, 0.0), (Sarsa, 0.4)])
def test_the_horizon_cuts_but_does_not_end(kind, continues_with: float) -> None:
    """A state that does not know the time is worth the endless sum, though every episode has eight steps."""
    gamma = 0.8
    task = task_of(Trap())
    agent = kind(state=("mask",), gamma=gamma, epsilon_start=0.4, epsilon_end=0.4, envs=256)
    agent.fit(task, 60_000, seed=2)
    stays = np.arange(STOCK) != 0
    want = continuing(CLICK[:STOCK], stays, gamma, continues_with)
    q = table(agent, task)[0]
    np.testing.assert_allclose(q[:STOCK], want, rtol=0.04)
    assert q[STOCK] == 0, "never in stock, never tried"
    cut_off_as_an_end = CLICK[1] * (1 - gamma**HORIZON) / (1 - gamma)
    if kind is QLearning:
        assert q[1] == pytest.approx(CLICK[1] / (1 - gamma), rel=0.04)
        assert q[1] > 1.1 * cut_off_as_an_end


def test_on_a_cliff_sarsa_keeps_away_from_the_edge() -> None:
    """Item 0 pays most, and is safe for a steady hand only. Both tables against iteration of their equations."""
    gamma, epsilon = 0.8, 0.5
    task = task_of(Cliff(), horizon=50)
    item = np.arange(STOCK)
    after = np.where(item > 1, np.array([[0], [1]]), item == 0)  # (2, A)
    stays = np.array([np.ones(STOCK), item <= 1])
    walks = {}
    for kind, eps in ((QLearning, 0.0), (Sarsa, epsilon)):
        want = np.zeros((2, STOCK))
        for _ in range(1000):
            value = (1 - eps) * want.max(axis=1) + eps * want.mean(axis=1)
            want = CLICK[:STOCK] + gamma * stays * value[after]
        agent = kind(state=("user.edge",), gamma=gamma, epsilon_start=epsilon, epsilon_end=epsilon, envs=128)
        agent.fit(task, 80_000, seed=3)
        env = task.make(1)
        observation, _ = env.reset(seed=0)
        agent.start(env)
        q = [agent.q[agent._states(observation)[0]]]
        q.append(agent.q[agent._states(env.step(np.array([0]))[0])[0]])
        np.testing.assert_allclose(np.array(q)[:, :STOCK], want, rtol=0.06, err_msg=kind.__name__)
        walks[kind] = [int(row[:STOCK].argmax()) for row in q]
        assert walks[kind] == want.argmax(axis=1).tolist()
    assert walks == {QLearning: [0, 0], Sarsa: [1, 1]}


def test_lists_slates() -> None:
    env = task_of(slate_size=2, null_action=True).make(3)
    observation, info = env.reset(seed=0)
    unordered, ordered = QLearning(state=("mask",)), QLearning(state=("mask",), ordered=True)
    for agent in (unordered, ordered):
        agent.start(env)
    assert {tuple(slate) for slate in unordered._slates} == {(0, 0), *combinations(range(1, 11), 2)}
    assert len(ordered._slates) == 1 + 10 * 9
    mask = np.ones_like(info["action_mask"], np.bool_)
    mask[1:] = False
    mask[1, [0, 4]], mask[2, [0, 2, 3]] = True, True
    allowed = [{tuple(slate) for slate in unordered._slates[row]} for row in unordered._allowed(mask)]
    assert allowed[1] == {(0, 0)} | {(min(4, i), max(4, i)) for i in range(1, 11) if i != 4}
    assert allowed[2] == {(0, 0), (2, 3)}
    unordered.q = np.arange(46.0)[None]
    values = unordered.values(observation, mask)
    best = [max(a for a, slate in enumerate(unordered._slates) if choice in slate) for choice in range(11)]
    np.testing.assert_array_equal(values[0], best)
    assert values[1, 4] == best[4]
    assert np.isneginf(values[1][[1, 2, 3, 5, 6]]).all()
    action = unordered.act(observation, mask)
    assert action.shape == (3, 2)
    assert action[2].tolist() == [2, 3]


@pytest.mark.parametrize("kind", BOTH)
def test_finds_the_best_slate(kind) -> None:
    task = task_of(slate_size=2)
    agent = kind(state=("user.progress",), gamma=0.5, epsilon_steps=20_000)
    agent.fit(task, 30_000)
    assert mean_return(agent, task) == pytest.approx(HORIZON * CLICK[:2].sum(), rel=0.02)


def test_several_moves_of_one_entry_are_so_many_moves_to_their_mean() -> None:
    agent = QLearning(state=("mask",), learning_rate=0.5, decay=1.0)
    agent.start(task_of().make(1))
    agent.q, agent.visits = np.zeros((3, 10)), np.zeros((3, 10), np.int64)
    agent.visits[1, 4] = 1
    agent.move(np.array([1, 2, 1, 1]), np.array([4, 4, 4, 5]), np.array([1.0, 8.0, 3.0, 6.0]))
    assert agent.q[1, 4] == pytest.approx(2.0 * (1 - 0.75**2))  # the rate at one visit before is 0.5 / 2
    assert (agent.q[2, 4], agent.q[1, 5]) == (4.0, 3.0)
    assert (agent.visits[1, 4], agent.visits.sum()) == (3, 5)


def test_what_follows_the_last_step_is_chosen_among_its_own_candidates(monkeypatch) -> None:
    """The mask of an env that starts the next episode at once is of that episode; the last one's is in `final_info`."""
    agent, seen = QLearning(state=("mask",)), []
    agent.start(task_of().make(2))
    monkeypatch.setattr(agent, "improve", lambda *arguments: seen.extend(arguments))
    new, last = np.ones((2, 10), np.bool_), np.zeros((2, 10), np.bool_)
    last[0, 3] = True
    info = {"action_mask": new, "_final_obs": np.array([True, False]), "final_info": {"action_mask": last}}
    observation = np.zeros((2, agent.env.observations.width), np.float32)
    agent.learn(observation, np.array([1, 2]), np.ones(2), observation, np.zeros(2, np.bool_), info)
    allowed, ended = seen[4], seen[6]
    assert [np.flatnonzero(row).tolist() for row in allowed] == [[3], list(range(10))]
    assert ended.tolist() == [True, False]


def test_states_are_the_observation_rounded() -> None:
    agent = QLearning(state=("mask",), decimals=1)
    agent.start(task_of().make(1))
    block = agent.env.observation_layout["mask"].slice
    seen = np.zeros((4, agent.env.observations.width), np.float32)
    seen[1:, block.start] = [0.04, -0.04, 0.06]
    seen[:, 0] = np.arange(4)  # not part of the state
    assert agent._states(seen).tolist() == [0, 0, 0, 0]
    assert agent._states(seen, add=True).tolist() == [1, 1, 1, 2]
    assert agent._states(seen[::-1]).tolist() == [2, 1, 1, 1]


def test_the_whole_observation_is_the_state_unless_told() -> None:
    agent = QLearning(max_states=500)
    with pytest.raises(ConfigError, match=r"QLearning.max_states: is too small, 501 states met.*got 500"):
        agent.fit(task_of(), 6400)


@pytest.mark.parametrize("kind", BOTH)
def test_contract(kind) -> None:
    for slate_size in (1, 2):
        check_agent(kind(state=("user.progress", "mask")), task_of(Trap(), slate_size, null_action=True))
    check_agent(kind(state=("user.progress",)), Task("recgym/LiveStream-v0"))


@pytest.mark.parametrize("kind", BOTH)
def test_same_seed_same_table_and_files_bring_it_back(kind, tmp_path) -> None:
    task = task_of(Trap(), expected_reward=False)
    agents = [kind(state=["user.progress", "history"], decimals=2) for _ in range(3)]
    for agent, seed in zip(agents, (1, 1, 2), strict=True):
        agent.fit(task, 1280, seed=seed)
    np.testing.assert_array_equal(agents[0].q, agents[1].q)
    assert agents[0].rows == agents[1].rows
    assert agents[0].rows != agents[2].rows
    agents[0].save(tmp_path)
    loaded = kind.load(tmp_path)
    assert (loaded, loaded.rows) == (agents[0], agents[0].rows)
    env = task.make(16, AutoresetMode.DISABLED)
    observation, info = env.reset(seed=7)
    for _ in range(3):
        values = []
        for agent in (agents[0], loaded):
            agent.start(env)
            values.append(agent.values(observation, info["action_mask"]))
        np.testing.assert_array_equal(*values)
        action = agents[0].act(observation, info["action_mask"])
        np.testing.assert_array_equal(values[0].argmax(axis=1), action)
        observation, _, _, _, info = env.step(action)
    loaded.fit(task, 640)  # goes on
    assert loaded.visits.sum() > agents[0].visits.sum()


@pytest.mark.parametrize("kind", BOTH)
def test_learns_what_it_prefers(kind) -> None:
    """Trained to avoid clicks, evaluated by the task's own reward."""
    agent = kind(state=("mask",), gamma=0.0, objective_weights={"click": -1.0})
    agent.fit(task_of(), 6400)
    assert mean_return(agent, task_of()) == pytest.approx(HORIZON * CLICK[:STOCK].min(), rel=1e-5)


@pytest.mark.parametrize(
    ("arguments", "fragment"),
    [
        ({"state": ()}, r"QLearning.state: .*got \(\)"),
        ({"state": "user"}, r"QLearning.state: .*got 'user'"),
        ({"decimals": 8}, r"QLearning.decimals: .*got 8"),
        ({"ordered": 1}, r"QLearning.ordered: .*got 1"),
        ({"gamma": 1.1}, r"QLearning.gamma: .*got 1.1"),
        ({"learning_rate": 0}, r"QLearning.learning_rate: .*got 0"),
        ({"decay": -1}, r"QLearning.decay: .*got -1"),
        ({"epsilon_start": 2}, r"QLearning.epsilon_start: .*got 2"),
        ({"epsilon_end": None}, r"QLearning.epsilon_end: .*got None"),
        ({"epsilon_steps": 0}, r"QLearning.epsilon_steps: .*got 0"),
        ({"initial": float("nan")}, r"QLearning.initial: .*got nan"),
        ({"max_states": 0}, r"QLearning.max_states: .*got 0"),
        ({"max_actions": 10**7}, r"QLearning.max_actions: .*got 10000000"),
        ({"envs": 0}, r"QLearning.envs: .*got 0"),
    ],
)
def test_bad_fields(arguments: dict, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        QLearning(**arguments)


@pytest.mark.parametrize(
    ("agent", "options", "fragment"),
    [
        (Sarsa(), {"action": "embedding"}, r'action: Sarsa needs "item"'),
        (Sarsa(), {"observation": "dict"}, r"observation: Sarsa needs a flat one"),
        (Sarsa(), {"reward": "vector"}, r"reward: Sarsa needs one number"),
        (Sarsa(state=("user.progres",)), {}, r"Sarsa.state: .*Did you mean 'user.progress'"),
        (
            Sarsa(),
            {"slate_size": 4},
            r"Sarsa.max_actions: must hold all slates of 4 of 20 candidates, 4845 of them, got 1000",
        ),
        (Sarsa(ordered=True), {"slate_size": 3}, r"6840 of them"),
    ],
)
def test_bad_tasks(agent: Sarsa, options: dict, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        agent.fit(Task("recgym/Ecommerce-v0", options), 64)


def test_bad_files(tmp_path) -> None:
    agent = QLearning(state=("mask",))
    agent.fit(task_of(), 64)
    with pytest.raises(ConfigError, match=r"env: must have the 10 actions that QLearning has learned, got 20"):
        agent.start(Task("recgym/Ecommerce-v0").make(2))
    agent.save(tmp_path)
    with pytest.raises(ConfigError, match="must hold a Sarsa"):
        Sarsa.load(tmp_path)
    (tmp_path / "table.npz").unlink()
    with pytest.raises(ConfigError, match=r"table\.npz"):
        QLearning.load(tmp_path)
