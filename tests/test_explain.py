"""Explanations: contributions of linear agents are theta_g . (x_g - average_g); those of known functions are known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from baselines import Agent, Task, make_agent
from baselines.explain import Explanation, background, explain, feature_groups, show
from recgym import ConfigError
from recgym.envs import RecVectorEnv


def env_of(world: str = "livestream", users: int = 12, seed: int = 0, **options: Any) -> tuple[Any, Any, Any]:
    """An env after three random steps, its observation and mask."""
    env = RecVectorEnv(world, users, slate_size=2, **options)
    env.reset(seed=seed)
    env.action_space.seed(seed)
    for _ in range(3):
        observation, *_, info = env.step(env.action_space.sample())
    return env, observation, info["action_mask"] > 0


@dataclass
class Known(Agent):
    """Values that a function of candidates (B, K, F) and users (B, P) gives."""

    function: Any

    def values(self, observation: Any, mask: Any) -> Any:
        layout = self.env.observation_layout
        block = layout["candidates"]
        candidates = observation[:, block.slice].reshape(-1, *block.shape).astype(np.float64)
        values = self.function(candidates, observation[:, layout["user"].slice].astype(np.float64))
        if self.env.actions.null:
            values = np.concatenate([np.zeros((len(mask), 1)), values], axis=1)
        return np.where(mask, values, -np.inf)

    def act(self, observation: Any, mask: Any, explore: bool = False) -> Any:
        return np.argmax(self.values(observation, mask), axis=1)


def started(function: Any, env: Any) -> Known:
    agent = Known(function)
    agent.start(env)
    return agent


@pytest.mark.parametrize("name", ["linucb", "thompson"])
@pytest.mark.parametrize("id", ["recgym/NewsSlate-v0", "recgym/LiveStreamSlate-v0"])  # without and with null action
def test_a_linear_agent_is_explained_exactly(name: str, id: str) -> None:
    agent: Any = make_agent(name)
    task = Task(id)
    agent.fit(task, 2000, seed=1)
    env = task.make(9)
    agent.start(env)
    observation, info = env.reset(seed=5)
    mask, among = info["action_mask"] > 0, background(env, 40)
    why = agent.explain(observation, mask, among)
    assert np.array_equal(why.values, agent.values(observation, mask))

    layout = env.observation_layout
    theta, null = agent.theta.astype(np.float64), int(env.actions.null)
    block = layout["candidates"]
    pool = among[:, block.slice].reshape(-1, block.shape[1])[among[:, layout["mask"].slice].ravel() > 0]
    x = observation[:, block.slice].reshape(len(mask), *block.shape) - pool.astype(np.float64).mean(axis=0)
    user = observation[:, layout["user"].slice] - among[:, layout["user"].slice].astype(np.float64).mean(axis=0)
    user_parts = [(part.name, part.width) for part in layout["user"].parts]
    of_user: dict[str, Any] = {}
    at = 0
    for part, width in user_parts:
        label = ("profile" if part in ("profile", "known") else "session" if part == "progress" or "of the day" in part
                 else "last_feedback" if part.startswith("last_") else part)  # fmt: skip
        columns = slice(at, at := at + width)
        both = [user[:, columns] @ theta[agent._columns[where]][columns] for where in ("user", "null_user")[: 1 + null]]
        of_user[label] = of_user.get(label, 0) + np.stack(both, axis=1)
    at = 0
    for part in block.parts:
        columns = slice(at, at := at + part.width)
        expected = np.concatenate(
            [np.zeros((len(mask), null)), x[:, :, columns] @ theta[agent._columns["candidate"]][columns]], 1
        )
        found = why.contributions[:, :, why.groups.index(part.name)]
        assert found[mask] == pytest.approx(expected[mask], abs=3e-6)
    for label, expected in of_user.items():
        found = why.contributions[:, :, why.groups.index(label)]
        assert found[:, null:][mask[:, null:]] == pytest.approx(
            np.broadcast_to(expected[:, :1], mask[:, null:].shape)[mask[:, null:]], abs=3e-6
        )
        if null:
            assert found[:, 0] == pytest.approx(expected[:, 1], abs=3e-6)
    assert np.abs(why.contributions[:, :, why.groups.index("history")]).max() == 0  # LinUCB sees only the match to it
    assert np.abs(why.contributions).max() > 1e-3
    assert (why.contributions[~mask] == 0).all()


@pytest.mark.parametrize(
    ("name", "id", "hyperparameters"),
    [
        ("pctr", "LiveStream-v0", {}),
        ("dqn", "LiveStream-v0", {"learning_starts": 64, "envs": 16}),
        ("qrdqn", "News-v0", {"learning_starts": 64, "envs": 16}),
        ("slateq", "LiveStreamSlate-v0", {"learning_starts": 64, "envs": 16}),
        ("full-slateq", "InterestEvolution-v0", {"learning_starts": 64, "envs": 16}),
        ("reinforce", "EcommerceSlate-v0", {"segment": 4, "envs": 16}),
    ],
)
def test_every_agent_with_values_can_be_explained(name: str, id: str, hyperparameters: dict[str, Any]) -> None:
    """Groups that are all the same in the batch explain nothing; some others do; what is not there has no value."""
    agent: Any = make_agent(name, **hyperparameters)
    task = Task(f"recgym/{id}")
    agent.fit(task, 256, seed=1)
    env = task.make(12)
    observation, info = env.reset(seed=3)
    agent.start(env)
    why = agent.explain(observation, info["action_mask"])
    assert why.values.shape == info["action_mask"].shape
    assert why.contributions.shape == (*why.values.shape, len(why.groups))
    np.testing.assert_array_equal(np.isfinite(why.values), info["action_mask"])
    there = np.abs(np.where(info["action_mask"][:, :, None], why.contributions, 0)).sum(axis=(0, 1))
    assert (there > 1e-6).sum() >= 2
    history = [group.startswith("history") for group in why.groups]
    assert any(history)
    if "Interest" not in id:
        assert (there[history] < 1e-6).all(), "nobody has a history yet"


def test_products_count_in_full_for_both_factors() -> None:
    env, observation, mask = env_of("news")
    layout = env.observation_layout
    block, names = layout["candidates"], [part.name for part in layout["candidates"].parts]
    age, hype = (names.index(name) for name in ("age", "hype"))
    agent = started(lambda c, u: c[:, :, age] * c[:, :, hype] + 2 * u[:, -1:], env)
    why = explain(agent, observation, mask)
    c = observation[:, block.slice].reshape(-1, *block.shape).astype(np.float64)
    there = observation[:, layout["mask"].slice] > 0
    a, h = c[:, :, age], c[:, :, hype]
    expected = {"age": (a - a[there].mean()) * h, "hype": a * (h - h[there].mean())}
    for name, contribution in expected.items():
        assert why.contributions[:, :, why.groups.index(name)][mask] == pytest.approx(contribution[mask], abs=1e-6)
    silent = [g for g, name in enumerate(why.groups) if name in ("profile", "history", "match_profile")]
    assert len(silent) == 3
    assert (why.contributions[:, :, silent] == 0).all()
    ranking = why.importance()
    assert list(ranking.values()) == sorted(ranking.values(), reverse=True)
    assert ranking["age"] == pytest.approx(np.abs(expected["age"][mask]).mean(), abs=1e-6)


def test_candidates_that_are_not_there_stay_empty_and_do_not_count() -> None:
    env, observation, mask = env_of("livestream", users=3, embeddings=True)
    layout = env.observation_layout
    block = layout["candidates"]
    observation, mask = observation.copy(), mask.copy()
    observation[0, layout["mask"].slice][4:] = 0
    observation[0, block.slice].reshape(block.shape)[4:] = 0
    mask[0, 1 + 4 :] = False
    seen = []

    def total(candidates: Any, user: Any) -> Any:  # each value depends on all candidates
        seen.append(candidates[0])
        return np.broadcast_to(candidates.sum(axis=(1, 2))[:, None], candidates.shape[:2])

    why = explain(started(total, env), observation, mask)
    assert all((candidates[4:] == 0).all() for candidates in seen)
    assert len(seen) == 1 + len(why.groups)
    assert np.isneginf(why.values[0, 5:]).all()
    assert (why.contributions[0, 5:] == 0).all()
    assert np.isfinite(why.contributions).all()
    c = observation[:, block.slice].reshape(-1, *block.shape).astype(np.float64)
    pool = np.concatenate([c[0, :4], c[1], c[2]])  # K candidates of the others
    d = block.parts[0].width
    expected = c[0, :4, :d].sum() - 4 * pool[:, :d].mean(axis=0).sum()
    assert why.contributions[0, 1, why.groups.index("embedding")] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("world", ["ecommerce", "news", "livestream"])
@pytest.mark.parametrize("form", ["flat", "latent"])
@pytest.mark.parametrize("embeddings", [False, True])
def test_groups_hold_every_feature_once(world: str, form: str, embeddings: bool) -> None:
    layout = RecVectorEnv(world, 1, observation=form, embeddings=embeddings).observation_layout
    groups = feature_groups(layout)
    found = np.sort(np.concatenate([columns.ravel() for columns in groups.values()]))
    mask = layout["mask"].slice
    width = max(block.slice.stop for block in layout.values())
    assert np.array_equal(found, [k for k in range(width) if not mask.start <= k < mask.stop])
    names = {
        "profile",
        "session",
        "last_feedback",
        "history",
        "match_profile",
        "match_history",
        "exposure",
    }
    assert names <= set(groups)
    assert all(" " not in name for name in groups)
    assert groups["match_profile"].shape == (layout["candidates"].shape[0], 1)
    assert groups["session"].shape == (3,)
    assert ("interest" in groups) == (form == "latent")
    assert ("embedding" in groups) == embeddings
    assert groups["profile"].shape == (16 * embeddings + 1,)  # and whether it is known
    assert groups["last_feedback"].shape == (len(layout["history"].parts) - embeddings,)


def test_background_is_of_users_at_different_moments_and_leaves_the_env_alone() -> None:
    env, observation, _ = env_of("news", users=2)
    state = env.get_state().users.t.copy()
    among = background(env, users=50, steps=10, seed=3)
    assert among.shape == (50, observation.shape[1])
    assert np.array_equal(among, background(env, users=50, steps=10, seed=3))
    assert not np.array_equal(among, background(env, users=50, steps=10, seed=4))
    progress = among[:, env.observation_layout["user"].slice][:, 1]
    assert len(np.unique(progress)) > 5
    assert np.array_equal(env.get_state().users.t, state)


def test_markdown() -> None:
    contributions = np.zeros((2, 4, 3))
    contributions[1, :3] = [[0.5, 0.25, 0.0], [-2.0, 0.25, 0.125], [0.0, 0.25, 0.0]]
    values = np.array([[0.0] * 4, [1.5, -1.0, 3.25, -np.inf]])
    why = Explanation(values, contributions, ("age", "price", "heat"))
    expected = """\
| choice | item | value | age | other |
|---:|---:|---:|---:|---:|
| 2 | 40 | 3.25 | +0.00 | +0.25 |
| 0 | nothing | 1.50 | +0.50 | +0.25 |"""
    assert why.to_markdown(1, np.array([-1, 30, 40, 50]), choices=2, groups=1) == expected
    every = why.to_markdown(1)
    assert every.splitlines()[0] == "| choice | value | age | price | heat |"
    assert len(every.splitlines()) == 5  # what is not available is not listed
    assert every.splitlines()[-1] == "| 1 | -1.00 | -2.00 | +0.25 | +0.12 |"
    assert why.importance() == pytest.approx({"age": 2.5 / 7, "price": 0.75 / 7, "heat": 0.125 / 7})
    assert [*why.importance()] == ["age", "price", "heat"]


@pytest.mark.parametrize("id", ["recgym/News-v0", "recgym/LiveStreamSlate-v0"])
def test_show_puts_the_values_beside_the_slate(id: str) -> None:
    env = gym.make(id, render_mode="ansi", disable_env_checker=True)
    batch = env.unwrapped.batch  # type: ignore[attr-defined]
    agent = started(lambda c, u: c[:, :, -3] + u[:, :1], batch)
    observation, info = env.reset(seed=0)
    among = background(batch, 20)
    why = explain(agent, observation[None], info["action_mask"][None], among)
    candidates = batch.get_state().users.candidates[0]
    null = len(why.values[0]) - len(candidates)
    order = np.argsort(-why.values[0], kind="stable")
    best = next(k for k in order if k >= null)
    text = show(env, why)
    assert text.startswith("No step yet")
    lines = text.splitlines()[2:]
    names, rows = lines[0].split(), [line.split() for line in lines[1:]]
    assert names[:4] == ["shown", "item", "topic", "value"]
    ids = [str(candidates[k - null]) if k >= null else "nothing" for k in order]
    assert [row[1] for row in rows] == ids[:12]
    assert [float(row[3]) for row in rows] == pytest.approx(why.values[0][order[:12]], abs=0.006)
    assert {row[0] for row in rows} == {"-"}
    action = [best] * env.action_space.shape[0] if env.action_space.shape else best
    env.step(action)
    after = show(env, why).splitlines()
    at = next(k for k, line in enumerate(after) if line.lstrip().startswith("shown"))
    rows = [line.split() for line in after[at + 1 : at + 13]]
    assert {row[1]: row[0] for row in rows if row[0] != "-"} == {str(candidates[best - null]): "1"}


def test_what_goes_wrong_is_said() -> None:
    env, observation, mask = env_of("news")
    agent = started(lambda c, u: c[:, :, 0], env)
    with pytest.raises(ConfigError, match=r"agent: must have values\(observation, mask\).*got 'Random'"):
        explain(make_agent("random"), observation, mask)
    with pytest.raises(ConfigError, match="must have started"):
        explain(Known(None), observation, mask)
    with pytest.raises(ConfigError, match="background: must have 2 users at least"):
        agent.explain(observation[:1], mask[:1])
    with pytest.raises(ConfigError, match="background: must have shape"):
        agent.explain(observation, mask, observation[:, 1:])
    for wrong in (observation[0], observation[:, 1:]):
        with pytest.raises(ConfigError, match=r"observation: must have shape \(B, "):
            explain(agent, wrong, mask)
    with pytest.raises(ConfigError, match="mask: must have 12 rows"):
        explain(agent, observation, mask[1:])
    with pytest.raises(ConfigError, match="agent: must have values of shape"):
        explain(started(lambda c, u: c[:, 1:, 0], env), observation, np.ones((12, 1), bool))
    why = explain(agent, observation, mask)
    with pytest.raises(ConfigError, match=r"row: must be an integer in \[0, 11\], got 12"):
        why.to_markdown(12)
    with pytest.raises(ConfigError, match="items: must be"):
        why.to_markdown(0, np.arange(3))
    with pytest.raises(ConfigError, match="render_mode"):
        show(env, why)
    compact = RecVectorEnv("news", 2, observation="compact")
    agent.start(compact)
    observation, _ = compact.reset(seed=0)
    with pytest.raises(ConfigError, match="no block 'candidates'"):
        explain(agent, observation, mask[:2])
    with pytest.raises(ConfigError, match="observation: must be flat"):
        background(RecVectorEnv("news", 2, observation="dict"))
