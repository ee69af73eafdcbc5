"""Tianshou's PPO. Needs tianshou and torch.

    python examples/clients/tianshou_ppo.py --steps 12000
    python examples/clients/tianshou_ppo.py --id recgym/EcommerceSlate-v0

Tianshou has vector environments of its own, made of environments of one user. The items of a slate are drawn
independently of each other, each from 20 of the actor's outputs. Dict observations are flattened by Gymnasium.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tianshou.algorithm import PPO
from tianshou.algorithm.modelfree.reinforce import ProbabilisticActorPolicy
from tianshou.algorithm.optim import AdamOptimizerFactory
from tianshou.data import Batch, Collector, CollectStats, VectorReplayBuffer
from tianshou.env import DummyVectorEnv
from tianshou.trainer import OnPolicyTrainerParams
from tianshou.utils.net.common import Net
from tianshou.utils.net.discrete import DiscreteActor, DiscreteCritic
from torch.distributions import Categorical, Distribution, Independent
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

USERS = 8


def train(trial: Trial) -> Policy:
    """PPO on 8 environments of one user."""
    torch.manual_seed(trial.seed)

    def make() -> gym.Env:
        env = gym.make(trial.id, **trial.options)
        return gym.wrappers.FlattenObservation(env) if trial.options.get("observation") == "dict" else env

    env = make()
    envs = DummyVectorEnv([make] * USERS)
    if trial.native:  # Tianshou refuses it, as it refuses Gymnasium's own vector environments
        envs = gym.make_vec(trial.id, num_envs=USERS, autoreset_mode=trial.native, **trial.options)
    shape, space = env.observation_space.shape, env.action_space
    slate = isinstance(space, gym.spaces.MultiDiscrete)
    outputs = int(space.nvec.sum()) if slate else int(space.n)

    def law(logits: torch.Tensor) -> Distribution:
        if slate:
            return Independent(Categorical(logits=logits.unflatten(1, (len(space.nvec), -1))), 1)
        return Categorical(logits=logits)

    actor = DiscreteActor(
        preprocess_net=Net(state_shape=shape, hidden_sizes=[64, 64]), action_shape=outputs, softmax_output=False
    )
    algorithm = PPO(
        policy=ProbabilisticActorPolicy(
            actor=actor, dist_fn=law, action_space=space, action_scaling=False, deterministic_eval=True
        ),
        critic=DiscreteCritic(preprocess_net=Net(state_shape=shape, hidden_sizes=[64, 64])),
        optim=AdamOptimizerFactory(lr=1e-3),
        gamma=0.97,
    )
    algorithm.run_training(
        OnPolicyTrainerParams(
            training_collector=Collector[CollectStats](algorithm, envs, VectorReplayBuffer(4096, USERS)),
            max_epochs=1,
            epoch_num_steps=trial.steps,
            collection_step_num_env_steps=2048,
            update_step_num_repetitions=5,
            batch_size=256,
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
    run(train, ["tianshou", "torch"], steps=12_000)
