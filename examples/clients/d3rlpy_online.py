"""d3rlpy, online: double DQN. Needs d3rlpy and torch.

    python examples/clients/d3rlpy_online.py --steps 6000

(d3rlpy 2.8 pins Gymnasium 1.0.0, the oldest that recgym takes.)
"""

from __future__ import annotations

import logging
from typing import Any

import d3rlpy
import gymnasium as gym
import structlog
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)


def train(trial: Trial) -> Policy:
    """Double DQN on one user."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    d3rlpy.seed(trial.seed)
    env = gym.make(trial.id, **trial.options)
    configuration = d3rlpy.algos.DoubleDQNConfig(
        batch_size=64, learning_rate=1e-3, gamma=0.97, target_update_interval=200
    )
    algorithm = configuration.create(device=False)
    algorithm.fit_online(
        env,
        d3rlpy.dataset.create_fifo_replay_buffer(20_000, env=env),
        d3rlpy.algos.LinearDecayEpsilonGreedy(1.0, 0.05, trial.steps // 2),
        n_steps=trial.steps,
        n_steps_per_epoch=trial.steps,
        update_start_step=500,
        show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        return algorithm.predict(observation)

    return policy


if __name__ == "__main__":
    run(train, ["d3rlpy", "torch"], steps=6_000)
