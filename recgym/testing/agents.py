"""The contract of an agent."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from recgym.compat import AutoresetMode
from recgym.testing.arrays import (
    check_same,
)
from recgym.types import Array


def check_agent(
    agent: Any, task: Any, *, users: int = 16, steps: int = 15, fit_steps: int = 512, seed: int = 0
) -> None:
    """Check an agent of the `baselines.Agent` protocol on a task.

    `fit` reports its progress in order. Actions have the right shape, lie in the action space, and choose what the mask
    allows where it allows enough for a slate. Without exploration, the agent acts the same after another `start`, and
    after `save` and `load`.

    Args:
        agent: the agent, which gets trained.
        task: a `baselines.Task`.
        users: number of users.
        steps: number of steps that it acts for.
        fit_steps: number of steps that it is trained for.
        seed: of users and training.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    name = type(agent).__name__
    shown: list[int] = []
    agent.fit(task, fit_steps, seed=seed, progress=lambda done, _: shown.append(done))
    assert shown == sorted(shown), f"{name}.fit must report its progress in ascending steps"

    def play(player: Any, explore: bool = False) -> list[Array]:
        env = task.make(users, AutoresetMode.NEXT_STEP)
        actions_seen = []
        observation, info = env.reset(seed=seed)
        player.start(env)
        for _ in range(steps):
            flat = observation["flat"] if isinstance(observation, dict) and "flat" in observation else observation
            mask = info["action_mask"] > 0
            before = {"observation": np.array(flat), "mask": mask.copy()}
            action = np.asarray(player.act(flat, mask, explore=explore))
            check_same(
                before, {"observation": np.array(flat), "mask": mask}, f"{name}.act must not write to its inputs"
            )
            shape = (users, *env.actions.shape)
            assert action.shape == shape, f"{name}.act must return shape {shape}, got {action.shape}"
            inside = env.action_space.contains(action.astype(env.action_space.dtype))
            assert inside, f"{name}.act must lie in {env.single_action_space}, got {action}"
            if env.actions.indexed:
                chosen = np.take_along_axis(mask, env.actions.choices(action), axis=1)
                enough = mask.sum(axis=1, keepdims=True) >= env.world.slate_size
                bad = np.flatnonzero((~chosen & enough).any(axis=1))
                assert not len(bad), f"{name}.act must choose where the mask is True; user {bad[:1]}: {action[bad[:1]]}"
            actions_seen.append(action.copy())
            observation, _, _, _, info = env.step(action)
        env.close()
        return actions_seen

    first = dict(enumerate(play(agent)))
    play(agent, explore=True)
    named = {str(t): action for t, action in first.items()}
    check_same(named, {str(t): a for t, a in enumerate(play(agent))}, f"{name}: step of two runs without exploration")
    with tempfile.TemporaryDirectory() as folder:
        agent.save(folder)
        loaded = type(agent).load(folder)
    check_same(named, {str(t): a for t, a in enumerate(play(loaded))}, f"{name}: step after save and load")
