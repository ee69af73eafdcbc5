"""skrl's PPO. Needs skrl and torch.

    python examples/clients/skrl_ppo.py --native SameStep --steps 16000
    python examples/clients/skrl_ppo.py --id recgym/EcommerceSlate-v0 --observation dict --native SameStep

`wrap_env` takes environments of one user and recgym's vector env, and flattens dict observations. The items of a slate
are drawn independently of each other.
"""

from __future__ import annotations

import logging
from typing import Any

import gymnasium as gym
import skrl
import torch
from skrl.agents.torch.ppo import PPO, PPO_CFG
from skrl.envs.wrappers.torch import wrap_env
from skrl.memories.torch import RandomMemory
from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model, MultiCategoricalMixin
from skrl.trainers.torch import SequentialTrainer
from skrl.utils.spaces.torch import flatten_tensorized_space, tensorize_space
from torch import nn
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)


def layers(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


class Item(CategoricalMixin, Model):
    """An actor that shows one item."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, device: Any) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device=device)
        CategoricalMixin.__init__(self)
        self.net = layers(self.num_observations, self.num_actions)

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Logits."""
        return self.net(inputs["observations"]), {}


class Slate(MultiCategoricalMixin, Model):
    """An actor that shows several items."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, device: Any) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device=device)
        MultiCategoricalMixin.__init__(self)
        self.net = layers(self.num_observations, int(action_space.nvec.sum()))

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Logits, of one position after the other."""
        return self.net(inputs["observations"]), {}


class Value(DeterministicMixin, Model):
    """A critic."""

    def __init__(self, observation_space: gym.Space, action_space: gym.Space, device: Any) -> None:
        Model.__init__(self, observation_space=observation_space, action_space=action_space, device=device)
        DeterministicMixin.__init__(self)
        self.net = layers(self.num_observations, 1)

    def compute(self, inputs: dict[str, Any], role: str = "") -> tuple[torch.Tensor, dict[str, Any]]:
        """Values."""
        return self.net(inputs["observations"]), {}


def train(trial: Trial) -> Policy:
    """PPO on one user, or on 32 users of recgym's vector env."""
    skrl.logger.setLevel(logging.ERROR)
    torch.manual_seed(trial.seed)
    if trial.native:
        env = gym.make_vec(trial.id, num_envs=32, autoreset_mode=trial.native, **trial.options)
    else:
        env = gym.make(trial.id, **trial.options)
    env = wrap_env(env, verbose=False)
    seen, actions, device = env.observation_space, env.action_space, env.device
    slate = isinstance(actions, gym.spaces.MultiDiscrete)
    actor = (Slate if slate else Item)(seen, actions, device)
    length = 1024 // env.num_envs
    configuration = PPO_CFG(
        rollouts=length,
        learning_epochs=4,
        mini_batches=4,
        discount_factor=0.97,
        learning_rate=1e-3,
        entropy_loss_scale=0.005,
        experiment={"write_interval": 0, "checkpoint_interval": 0},
    )
    agent = PPO(
        models={"policy": actor, "value": Value(seen, actions, device)},
        memory=RandomMemory(memory_size=length, num_envs=env.num_envs, device=device),
        cfg=configuration,
        observation_space=seen,
        state_space=None,
        action_space=actions,
        device=device,
    )
    how = {"timesteps": trial.steps // env.num_envs, "disable_progressbar": True}
    SequentialTrainer(cfg={**how, "close_environment_at_exit": False}, env=env, agents=agent).train()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        flat = flatten_tensorized_space(tensorize_space(seen, observation))
        with torch.no_grad():
            logits = actor.net(flat)
        return logits.unflatten(1, (len(actions.nvec), -1)).argmax(2).numpy() if slate else logits.argmax(1).numpy()

    return policy


if __name__ == "__main__":
    run(train, ["skrl", "torch"], steps=16_000)
