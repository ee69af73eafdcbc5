"""Proximal policy optimisation of slates: what it sees, how it begins, and learning on worlds whose best policies are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from test_bandits import CLICK, HORIZON, tiny_task, tiny_world
from test_slateq import ODDS, SlateTrap, expected_return, trap_task

from baselines import Task, evaluate
from baselines.slate_ppo import SlatePPO, visible
from recgym import ConfigError
from recgym.models.choice import MultinomialLogit
from recgym.testing import check_agent

SMALL = {"envs": 32, "segment": 16, "batch_size": 128, "epochs": 4}


@pytest.mark.parametrize("single", [0.0, 0.5])
@pytest.mark.parametrize("slate_size", [1, 3])
def test_finds_the_best_items(slate_size: int, single: float) -> None:
    agent, task = SlatePPO(single=single, **SMALL), tiny_task(slate_size)
    agent.fit(task, 8192, seed=1)
    assert expected_return(agent, task) >= 0.95 * HORIZON * CLICK[:slate_size].sum()


def test_plans_around_the_trap_and_falls_into_it_without_foresight() -> None:
    """Item 0 is the most clickable and drives users away; it should be shown at the last step alone, or never."""
    world = tiny_world(SlateTrap()).replace(choice=MultinomialLogit(null=0.0))
    pair = (ODDS[1] + ODDS[2]) / (1 + ODDS[1] + ODDS[2])
    single = Task("recgym/Ecommerce-v0", {"world": world})
    for task, later in ((single, ODDS[1] / (1 + ODDS[1])), (trap_task(), pair)):
        agent, blind = SlatePPO(**SMALL), SlatePPO(gamma=0.0, **SMALL)
        agent.fit(task, 12_288, seed=1)
        blind.fit(task, 12_288, seed=1)
        assert expected_return(agent, task) >= 0.93 * HORIZON * later
        assert expected_return(blind, task) <= 1.1  # one step, and away


def test_learns_when_to_say_nothing() -> None:
    """Streams: whoever shows something all the time drives viewers out of what they watch."""
    task = Task("recgym/LiveStreamSlate-v0", {"horizon": 40})
    agent = SlatePPO(envs=128, segment=25, batch_size=800)
    agent.fit(task, 64_000, seed=0)
    env = task.make(200)
    observation, info = env.reset(seed=10**9)
    agent.start(env)
    at = [part.name for part in env.observation_layout["user"].parts].index("is_watching")
    nothing, watching = [], []
    for _ in range(15):
        action = agent.act(observation, info["action_mask"])
        nothing.append(action.max(axis=1) == 0)
        watching.append(observation[:, at] > 0.5)
        observation, *_, info = env.step(action)
    quiet, seen = np.concatenate(nothing), np.concatenate(watching)
    assert quiet[seen].mean() > 0.5 > quiet[~seen].mean()


def test_sees_the_blocks_of_the_observation() -> None:
    env = Task("recgym/LiveStream-v0").make(6)
    env.reset(seed=0)
    for _ in range(3):
        observation = env.step(np.array([0, 1, 2, 3, 4, 5]))[0]
    look, layout = visible(env, observation), env.observation_layout
    K, f = layout["candidates"].shape
    assert look.choices.shape == (6, K + 1, f + 1)
    assert look.free.shape == (6, K + 1)
    assert (look.choices[:, 0] == 0).all()  # nothing
    assert look.free[:, 0].all()
    x = observation[:, layout["candidates"].slice].reshape(6, K, f)
    there = observation[:, layout["mask"].slice] > 0
    assert np.array_equal(look.free[:, 1:], there)
    assert np.array_equal(look.choices[:, 1:, :f], np.where(there[:, :, None], x, 0))
    assert np.array_equal(look.choices[:, 1:, f], there)
    rows = observation[:, layout["history"].slice].reshape(6, *layout["history"].shape)
    expected = np.concatenate([observation[:, layout["user"].slice], rows.mean(axis=1)], axis=1)
    np.testing.assert_allclose(look.user, expected, atol=1e-6)


def test_nothing_is_at_first_as_likely_as_all_candidates_together() -> None:
    agent, task = SlatePPO(envs=64, segment=5, learning_rate=0.0), Task("recgym/LiveStreamSlate-v0")
    agent.fit(task, 1, seed=0)  # a round that changes nothing
    env = task.make(500)
    observation, _ = env.reset(seed=0)
    agent.start(env)
    assert agent.policy is not None
    with torch.no_grad():
        first = agent.policy(*agent._seen(env, observation)).softmax(dim=1)[:, 0]
    assert float(first.mean()) == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(
    "task",
    [
        Task("recgym/LiveStream-v0"),
        Task("recgym/NewsSlate-v0", {"null_action": True}),
        Task("recgym/InterestEvolution-v0"),
    ],
    ids=["item", "slate", "classic"],
)
def test_keeps_the_contract(task: Task) -> None:
    check_agent(SlatePPO(envs=16, segment=4, batch_size=32), task)


def test_one_that_was_read_explores(tmp_path: Path) -> None:
    agent, task = SlatePPO(**SMALL), tiny_task(2)
    agent.fit(task, 512, seed=1)
    agent.save(tmp_path)
    env = task.make(200)
    observation, info = env.reset(seed=0)
    for one in (SlatePPO.load(tmp_path), SlatePPO(**SMALL)):
        one.start(env)
        best, drawn = (one.act(observation, info["action_mask"], explore=explore) for explore in (False, True))
        assert len(np.unique(best, axis=0)) < len(np.unique(drawn, axis=0))


def test_is_read_back_and_learns_on(tmp_path: Path) -> None:
    agent, task = SlatePPO(**SMALL), tiny_task(2)
    agent.fit(task, 2048, seed=1)
    agent.save(tmp_path)
    read = SlatePPO.load(tmp_path)
    for one in (agent, read):
        one.fit(task, 2048, seed=2)
    assert np.array_equal(evaluate(agent, task, 50).returns, evaluate(read, task, 50).returns)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"action": "embedding"}, 'SlatePPO needs "item" or "slate"'),
        ({"action": "weights"}, 'SlatePPO needs "item" or "slate"'),
        ({"reward": "vector"}, "number"),
        ({"observation": "dict"}, "dict"),
    ],
)
def test_what_it_cannot_learn_in(options: dict, word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        SlatePPO(**SMALL).fit(Task("recgym/News-v0", options), 64)


def test_wrong_arguments() -> None:
    for name, value in {"single": 1.5, "clip": -1.0, "envs": 0, "width": 0, "gamma": 2.0}.items():
        with pytest.raises(ConfigError, match=f"SlatePPO.{name}"):
            SlatePPO(**{name: value})
