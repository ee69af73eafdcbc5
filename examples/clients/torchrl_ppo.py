"""TorchRL's PPO. Needs torchrl.

    python examples/clients/torchrl_ppo.py --steps 16000
    python examples/clients/torchrl_ppo.py --native SameStep
    python examples/clients/torchrl_ppo.py --observation dict --native SameStep

`GymEnv` makes one user, `GymWrapper` takes recgym's vector env as it is. The items of a slate are drawn independently
of each other, each from 20 of the actor's outputs. The blocks of dict observations are put side by side by TorchRL's
transforms.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from tensordict.nn import TensorDictModule
from torch import nn
from torch.distributions import Categorical, Independent
from torchrl.collectors import Collector
from torchrl.envs import CatTensors, Compose, FlattenObservation, GymEnv, GymWrapper, TransformedEnv
from torchrl.modules import ProbabilisticActor, ValueOperator
from torchrl.objectives import ClipPPOLoss
from torchrl.objectives.value import GAE
from trial import Policy, Trial, run

import recgym  # noqa: F401  (registers the ids)

LENGTH = 1024  # steps of users between updates


class Slates(Independent):
    """Items that are drawn independently of each other."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__(Categorical(logits=logits), 1)


def layers(inputs: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, outputs))


def train(trial: Trial) -> Policy:
    """PPO on one user, or on 32 users of recgym's vector env."""
    torch.manual_seed(trial.seed)
    one = gym.make(trial.id, **trial.options)
    if trial.native:
        users = gym.make_vec(trial.id, num_envs=32, autoreset_mode=trial.native, **trial.options)
        env = GymWrapper(users, categorical_action_encoding=True)
    else:
        env = GymEnv(trial.id, categorical_action_encoding=True, **trial.options)
    if isinstance(one.observation_space, gym.spaces.Dict):
        blocks = dict(one.observation_space)
        flatten = [FlattenObservation(-2, -1, in_keys=[name]) for name in blocks if len(blocks[name].shape) == 2]
        env = TransformedEnv(env, Compose(*flatten, CatTensors([*blocks], "observation", del_keys=False)))
    env.set_seed(trial.seed)
    width = env.observation_spec["observation"].shape[-1]
    space = one.action_space
    places = len(space.nvec) if isinstance(space, gym.spaces.MultiDiscrete) else 0
    net = layers(width, int(space.nvec.sum()) if places else int(space.n))
    if places:
        net.append(nn.Unflatten(-1, (places, -1)))
    actor = ProbabilisticActor(
        TensorDictModule(net, ["observation"], ["logits"]),
        in_keys=["logits"],
        distribution_class=Slates if places else Categorical,
        spec=env.action_spec,
        return_log_prob=True,
    )
    critic = ValueOperator(layers(width, 1), ["observation"])
    advantage = GAE(gamma=0.97, lmbda=0.95, value_network=critic, average_gae=True)
    loss = ClipPPOLoss(actor, critic, entropy_coeff=0.005)
    optimizer = torch.optim.Adam(loss.parameters(), 1e-3)
    for data in Collector(env, actor, frames_per_batch=LENGTH, total_frames=max(trial.steps // LENGTH, 1) * LENGTH):
        for _ in range(4):
            with torch.no_grad():
                advantage(data)
            rows = data.reshape(-1)
            for index in torch.randperm(len(rows)).split(256):
                terms = loss(rows[index])
                optimizer.zero_grad()
                (terms["loss_objective"] + terms["loss_critic"] + terms["loss_entropy"]).backward()
                nn.utils.clip_grad_norm_(loss.parameters(), 0.5)
                optimizer.step()

    def policy(observation: Any, info: dict[str, Any]) -> Any:
        if isinstance(observation, dict):
            observation = np.concatenate([block.reshape(len(block), -1) for block in observation.values()], axis=1)
        with torch.no_grad():
            return net(torch.as_tensor(observation)).argmax(-1).numpy()

    return policy


if __name__ == "__main__":
    run(train, ["torchrl", "tensordict", "torch"], steps=16_000)
