"""RLlib's PPO, on its new API stack. Needs ray[rllib] and torch.

    python examples/clients/rllib_ppo.py --native NextStep --steps 16000
    python examples/clients/rllib_ppo.py --id recgym/EcommerceSlate-v0 --observation dict

On recgym's vector env RLlib expects Gymnasium's default, NextStep: in the other modes it takes the first step of an
episode for a reset. "recgym:" before the id imports recgym where the environments are made, which may be another
process. RLlib flattens dict observations by a connector, which puts the keys in alphabetical order.
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import numpy as np
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.connectors.env_to_module import FlattenObservations
from ray.rllib.core.columns import Columns
from trial import Policy, Trial, run


def train(trial: Trial) -> Policy:
    """PPO on 32 users: of recgym's vector env, or as environments of one user."""
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    config = (
        PPOConfig()
        .environment("recgym:" + trial.id, env_config=trial.options)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=32)  # 0: in this process
        .training(train_batch_size_per_learner=2048, minibatch_size=256, num_epochs=6, lr=1e-3, gamma=0.97)
        .training(entropy_coeff=0.005, vf_clip_param=np.inf)  # returns are larger than what RLlib clips at by default
        .debugging(seed=trial.seed)
    )
    if trial.native:
        config.environment(env_config={"autoreset_mode": trial.native, **trial.options})
        config.env_runners(gym_env_vectorize_mode=gym.VectorizeMode.VECTOR_ENTRY_POINT)
    if trial.options.get("observation") == "dict":
        config.env_runners(env_to_module_connector=lambda env, spaces, device: FlattenObservations())
    algorithm = config.build_algo()
    while algorithm.train()["env_runners"]["num_env_steps_sampled_lifetime"] < trial.steps:
        pass
    module = algorithm.get_module()
    distribution = module.get_inference_action_dist_cls()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, dict):
            observation = np.concatenate(
                [observation[k].reshape(len(observation[k]), -1) for k in sorted(observation)], 1
            )
        with torch.no_grad():
            logits = module.forward_inference({Columns.OBS: torch.as_tensor(observation)})[Columns.ACTION_DIST_INPUTS]
        return distribution.from_logits(logits).to_deterministic().sample().numpy()

    return policy


if __name__ == "__main__":
    run(train, ["ray", "torch"], steps=16_000)
