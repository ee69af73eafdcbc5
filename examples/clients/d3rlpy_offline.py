"""d3rlpy, offline: DiscreteCQL from logged sessions of random recommendations. Needs d3rlpy and torch.

    python examples/clients/d3rlpy_offline.py --steps 2000

The sessions come from recgym's vector env, 64 users at once. (d3rlpy 2.8 pins Gymnasium 1.0.0, the oldest that recgym
takes.)
"""

from __future__ import annotations

import logging
from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np
import structlog
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

LOGGED, USERS = 20_000, 64  # steps in the logs; users at once


def logs(trial: Trial) -> d3rlpy.dataset.MDPDataset:
    """Episodes of random items, one after the other."""
    env = gym.make_vec(trial.id, num_envs=USERS, autoreset_mode="SameStep", **trial.options)
    seen, info = env.reset(seed=trial.seed)
    env.action_space.seed(trial.seed)
    open_, episodes = [[] for _ in range(USERS)], []  # the steps of each user's session; sessions that have ended
    for _ in range(LOGGED // USERS):
        items = env.action_space.sample(tuple(info["action_mask"]))  # of the candidates that are there
        after, reward, terminated, truncated, info = env.step(items)
        for user, steps in enumerate(open_):
            steps.append((seen[user], items[user : user + 1], reward[user], terminated[user], truncated[user]))
            if terminated[user] or truncated[user]:
                episodes.append(steps)
                open_[user] = []
        seen = after
    columns = [np.array(column) for column in zip(*(step for steps in episodes for step in steps))]
    observations, actions, rewards, terminals, timeouts = columns
    return d3rlpy.dataset.MDPDataset(
        observations,
        actions,
        rewards.astype(np.float32),
        terminals.astype(np.float32),
        timeouts.astype(np.float32),
        action_space=d3rlpy.ActionSpace.DISCRETE,
        action_size=int(env.single_action_space.n),
    )


def train(trial: Trial) -> Policy:
    """`trial.steps` gradient steps on the logs; no further recommendation is made."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    d3rlpy.seed(trial.seed)
    configuration = d3rlpy.algos.DiscreteCQLConfig(
        batch_size=64, learning_rate=1e-3, gamma=0.97, alpha=0.1, target_update_interval=200
    )
    algorithm = configuration.create(device=False)
    algorithm.fit(
        logs(trial),
        n_steps=trial.steps,
        n_steps_per_epoch=trial.steps,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        return algorithm.predict(observation)

    return policy


if __name__ == "__main__":
    run(train, ["d3rlpy", "torch"], steps=2_000)
