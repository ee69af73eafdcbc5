"""AgileRL's DQN. Needs agilerl, peft and torch.

    python examples/clients/agilerl_dqn.py
    python examples/clients/agilerl_dqn.py --native SameStep --steps 16000

Its training loop hands ``info["action_mask"]`` to the agent, for environments of one user by `make_vect_envs` and for
recgym's vector env.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import torch
from agilerl.algorithms import DQN
from agilerl.components.replay_buffer import ReplayBuffer
from agilerl.training.train_off_policy import train_off_policy
from agilerl.utils.utils import make_vect_envs
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

ENVS = 8


def train(trial: Trial) -> Policy:
    """DQN on 8 users."""
    torch.manual_seed(trial.seed)
    if trial.native:
        env = gym.make_vec(trial.id, num_envs=ENVS, autoreset_mode=trial.native, **trial.options)
    else:
        env = make_vect_envs(trial.id, num_envs=ENVS, should_async_vector=False, **trial.options)
    env.reset(seed=trial.seed)
    flat = isinstance(env.single_observation_space, gym.spaces.Box)
    layers = {"hidden_size": [64]}
    agent = DQN(
        env.single_observation_space,
        env.single_action_space,
        net_config={"encoder_config": layers, "head_config": layers} if flat else None,
        learn_step=8,
        batch_size=64,
        lr=1e-3,
        gamma=0.95,
        tau=0.01,
    )
    train_off_policy(
        env,
        trial.id,
        "DQN",
        [agent],
        ReplayBuffer(max_size=20_000),
        max_steps=trial.steps,
        evo_steps=trial.steps,
        eval_steps=1,  # of its own evaluation, which is not used
        eps_end=0.05,
        eps_decay=0.05 ** (2 * ENVS / trial.steps),  # of a step of all users: 0.05 after half of them
        verbose=False,
    )
    agent.set_training_mode(False)

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        return agent.get_action(observation, action_mask=info["action_mask"])

    return policy


if __name__ == "__main__":
    run(train, ["agilerl", "torch"], steps=16_000)
