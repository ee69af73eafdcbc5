"""Tianshou's DQN. Needs tianshou and torch.

    python examples/clients/tianshou_dqn.py --steps 8000
    python examples/clients/tianshou_dqn.py --observation dict

Tianshou has vector environments of its own, made of environments of one user. Dict observations are flattened by
Gymnasium.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import DQN
from tianshou.algorithm.modelfree.dqn import DiscreteQLearningPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OffPolicyTrainerParams
from tianshou.utils.net.common import Net
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

USERS = 8


def train(trial: Trial) -> Policy:
    """DQN on 8 environments of one user."""
    torch.manual_seed(trial.seed)

    def make() -> gym.Env:
        env = gym.make(trial.id, **trial.options)
        return gym.wrappers.FlattenObservation(env) if trial.options.get("observation") == "dict" else env

    env = make()
    envs = DummyVectorEnv([make] * USERS)
    if trial.native:  # Tianshou refuses it, as it refuses Gymnasium's own vector environments
        envs = gym.make_vec(trial.id, num_envs=USERS, autoreset_mode=trial.native, **trial.options)
    net = Net(state_shape=env.observation_space.shape, action_shape=env.action_space.n, hidden_sizes=[64, 64])
    q = DiscreteQLearningPolicy(model=net, action_space=env.action_space, eps_training=0.2, eps_inference=0.0)
    algorithm = DQN(policy=q, optim=AdamOptimizerFactory(lr=1e-3), gamma=0.97, target_update_freq=200)
    buffer = VectorReplayBuffer(20_000, USERS)
    algorithm.run_training(
        OffPolicyTrainerParams(
            training_collector=Collector[CollectStats](algorithm, envs, buffer, exploration_noise=True),
            max_epochs=1,
            epoch_num_steps=trial.steps,
            collection_step_num_env_steps=32,
            update_step_num_gradient_steps_per_sample=0.1,
            batch_size=64,
            test_in_training=False,
            show_progress=False,
            verbose=False,
        )
    )

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, dict):  # as Gymnasium's wrapper flattens it: key after key
            observation = np.concatenate([block.reshape(len(block), -1) for block in observation.values()], axis=1)
        with torch.no_grad():
            return np.asarray(algorithm.policy(Batch(obs=observation, info=Batch())).act)

    return policy


if __name__ == "__main__":
    run(train, ["tianshou", "torch"], steps=8_000)
