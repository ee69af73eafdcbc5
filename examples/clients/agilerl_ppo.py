"""AgileRL's PPO. Needs agilerl, peft and torch.

    python examples/clients/agilerl_ppo.py --native SameStep
    python examples/clients/agilerl_ppo.py --id recgym/EcommerceSlate-v0 --native SameStep --small

Its training loop takes environments of one user by `make_vect_envs`, and recgym's vector env as it is. A population of one
agent: AgileRL's evolution of hyperparameters needs several. Masks of slates need a wrapper, which is below. The items of a
slate are drawn independently of each other, in the evaluation as well: AgileRL's PPO has no choice of the most likely.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from agilerl.algorithms import PPO
from agilerl.training.train_on_policy import train_on_policy
from agilerl.utils.utils import make_vect_envs
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

ENVS = 16


class SlateMasks(gym.vector.VectorWrapper):
    """The mask of candidates once for each position of the slate, side by side, as AgileRL takes masks."""

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        observation, info = self.env.reset(**options)
        return observation, info | {"action_mask": slate_masks(info, self.single_action_space)}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        *rest, info = self.env.step(actions)
        return *rest, info | {"action_mask": slate_masks(info, self.single_action_space)}


def slate_masks(info: dict[str, Any], space: gym.Space) -> np.ndarray:
    """(B, K n) for slates of K of n candidates, (B, n) for single items."""
    return np.tile(info["action_mask"], len(space.nvec) if isinstance(space, gym.spaces.MultiDiscrete) else 1)


def train(trial: Trial) -> Policy:
    """PPO on 16 users."""
    torch.manual_seed(trial.seed)
    np.random.seed(trial.seed)  # noqa: NPY002  (AgileRL draws its minibatches from the global generator)
    if trial.native:
        env = gym.make_vec(trial.id, num_envs=ENVS, autoreset_mode=trial.native, **trial.options)
    else:
        env = make_vect_envs(trial.id, num_envs=ENVS, should_async_vector=False, **trial.options)
    env = SlateMasks(env)
    env.reset(seed=trial.seed)
    flat = isinstance(env.single_observation_space, gym.spaces.Box)
    layers = {"hidden_size": [64]}
    agent = PPO(
        env.single_observation_space,
        env.single_action_space,
        net_config={"encoder_config": layers, "head_config": layers} if flat else None,
        num_envs=ENVS,
        learn_step=1024,
        batch_size=256,
        update_epochs=10,
        lr=1e-3,
        gamma=0.95,
        ent_coef=0.0,
        share_encoders=False,
    )
    train_on_policy(
        env,
        trial.id,
        "PPO",
        [agent],
        max_steps=trial.steps,
        evo_steps=trial.steps,
        eval_steps=1,  # of its own evaluation, which is not used
        verbose=False,
    )
    agent.set_training_mode(False)

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        return agent.get_action(observation, action_mask=slate_masks(info, env.single_action_space))[0]

    return policy


if __name__ == "__main__":
    run(train, ["agilerl", "torch"], steps=20_000)
