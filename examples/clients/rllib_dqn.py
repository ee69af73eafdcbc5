"""RLlib's DQN, on its new API stack. Needs ray[rllib] and torch.

    python examples/clients/rllib_dqn.py --native NextStep --steps 8000
    python examples/clients/rllib_dqn.py --observation dict

On recgym's vector env RLlib expects Gymnasium's default, NextStep: in the other modes it takes the first step of an
episode for a reset. "recgym:" before the id imports recgym where the environments are made, which may be another
process. RLlib flattens dict observations by a connector, which puts the keys in alphabetical order. Its DQN takes
single items, not slates.
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.columns import Columns
from trial import Policy, Trial, run


def train(trial: Trial) -> Policy:
    """DQN on 8 users of recgym's vector env, or on an environment of one."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = (
        DQNConfig()
        .environment("recgym:" + trial.id, env_config=trial.options)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=8 if trial.native else 1, rollout_fragment_length=4)
        .training(lr=1e-3, gamma=0.97, train_batch_size_per_learner=64, num_steps_sampled_before_learning_starts=1000)
        .training(epsilon=[(0, 1.0), (trial.steps // 2, 0.05)])
        .debugging(seed=trial.seed)
    )
    if trial.native:
        config.environment(env_config={"autoreset_mode": trial.native, **trial.options})
        config.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    if trial.options.get("observation") == "dict":
        config.env_runners(env_to_module_connector=lambda env, spaces, device: FlattenObservations())
    algorithm = config.build_algo()
    while algorithm.train()["env_runners"].get("num_env_steps_sampled_lifetime", 0) < trial.steps:
        pass
    module = algorithm.get_module()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, dict):
            observation = np.concatenate(
                [observation[k].reshape(len(observation[k]), -1) for k in sorted(observation)], 1
            )
        with torch.no_grad():
            return module.forward_inference({Columns.OBS: torch.as_tensor(observation)})[Columns.ACTIONS].numpy()

    return policy


if __name__ == "__main__":
    run(train, ["ray", "torch"], steps=8_000)
