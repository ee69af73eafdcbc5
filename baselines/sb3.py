"""The algorithms of Stable-Baselines3 and sb3-contrib as agents, with networks that treat all candidates alike.

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22(268), 2021.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from baselines.encoders import MAX_WIDTH
from baselines.sb3_agent import OffPolicy, SB3Agent, as_tensor
from baselines.sb3_env import SB3VecEnv
from baselines.sb3_policies import (
    CandidateActor,
    CandidatePolicy,
    MaskableCandidateActor,
    QuantileCandidatePolicy,
    RecurrentCandidateActor,
)
from recgym.envs import RecVectorEnv
from recgym.errors import require

__all__ = [
    "DQN", "PPO", "QRDQN", "SAC", "TD3", "CandidateActor", "CandidatePolicy", "MaskableCandidateActor", "MaskablePPO",
    "QuantileCandidatePolicy", "RecurrentCandidateActor", "RecurrentPPO", "SB3Agent", "SB3VecEnv",
]  # fmt: skip

Array = NDArray[Any]


@dataclass(kw_only=True)
class ValueAgent(OffPolicy):
    """Base of DQN and QR-DQN, with the arguments of `OffPolicy`.

    Args:
        dueling: whether the candidate head has a term for the state's value: users differ more than candidates do.
        weight_decay: of AdamW, times the learning rate [0; with that, the network fits noise from the first replays on].
        target_update_interval: user-steps between two copies to the target network [10,000; training is short].
        exploration_fraction, exploration_initial_eps, exploration_final_eps: the share of random actions falls from
            one to the other over this fraction of the steps [0.1 (QR-DQN 0.005), 1, 0.05 (0.01)].
    """

    dueling: bool = True
    weight_decay: float = 1.0
    target_update_interval: int = 2000
    exploration_fraction: float = 0.3
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05

    arguments = (
        *OffPolicy.arguments,
        "target_update_interval",
        "exploration_fraction",
        "exploration_initial_eps",
        "exploration_final_eps",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(self.envs, "target_update_interval")
        self._numbers(0, 1, "exploration_fraction", "exploration_initial_eps", "exploration_final_eps")
        self._numbers(0, 1e6, "weight_decay")

    @abstractmethod
    def _mean(self, observation: Tensor) -> Tensor:
        """(B, choices) values."""

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 value of each choice, in units of the scaled reward; -inf where the mask is False."""
        with torch.no_grad():
            value = self._mean(as_tensor(observation)).numpy()
        return np.where(mask, value, np.float32(-np.inf))

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The choice with the highest value; with `explore`, a random one in `exploration_final_eps` of the cases."""
        best = self.values(observation, mask).argmax(axis=1)
        if explore:
            chance = np.where(mask, self._rng.random(mask.shape), -1.0).argmax(axis=1)
            best = np.where(self._rng.random(len(best)) < self.exploration_final_eps, chance, best)
        return best

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        return torch.optim.AdamW, {"weight_decay": self.weight_decay, "fused": True}

    def _head(self) -> dict[str, Any]:
        return {**super()._head(), "dueling": self.dueling}


@dataclass(kw_only=True)
class DQN(ValueAgent):
    """Deep Q-learning (Mnih et al., Nature 2015), with the arguments of `ValueAgent`.

    Args:
        reward_scale: factor on rewards in training [1]. Errors beyond 1 count linearly in the Huber loss, which pulls
            towards the median; the median reward is 0 whatever is shown.
        n_steps: rewards summed up before a value takes over; they are those of the policy of that time, uncorrected [1;
            what is shown moves a hidden mood, which pays some steps later].
        gamma: discount [0.99].
        learning_rate: [1e-4].
    """

    reward_scale: float = 0.1
    n_steps: int = 3
    gamma: float = 0.99

    algorithm = stable_baselines3.DQN
    policies = (DQNPolicy, CandidatePolicy)
    arguments = (*ValueAgent.arguments, "n_steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "n_steps")

    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        return policy.q_net, policy.q_net_target

    def _mean(self, observation: Tensor) -> Tensor:
        return self._net.q_net(observation)


@dataclass(kw_only=True)
class QRDQN(ValueAgent):
    """Quantile regression DQN (Dabney et al., AAAI 2018): quantiles of the return, with the arguments of `ValueAgent`.

    It acts by their mean, as published.

    Args:
        n_quantiles: of the return of each choice [200; the returns of an episode of clicks take few values].
        reward_scale: factor on rewards in training [1]. The loss of errors below 1 is not that of quantiles.
        learning_rate: [5e-5].
    """

    n_quantiles: int = 32

    algorithm = sb3_contrib.QRDQN
    policies = (QRDQNPolicy, QuantileCandidatePolicy)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "n_quantiles", high=MAX_WIDTH)

    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        return policy.quantile_net, policy.quantile_net_target

    def _mean(self, observation: Tensor) -> Tensor:
        return self._net.quantile_net(observation).mean(dim=1)

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        policy, arguments = super()._policy(env)
        return policy, {**arguments, "n_quantiles": self.n_quantiles}


@dataclass(kw_only=True)
class PPO(SB3Agent):
    """Proximal policy optimisation (Schulman et al., 2017, arXiv 1707.06347), with the arguments of `SB3Agent`.

    The candidate head gives each candidate a logit. The items of a slate are drawn by them one after the other without
    replacement (Plackett and Luce), since the same softmax at each position would show one item several times over. With
    the other heads, which are Stable-Baselines3's own, the positions of a slate are drawn independently, and repetitions
    are wasted until it has learned to avoid them.

    It acts by taking the best candidate that is there for one position after the other, without repetition; with
    `explore`, by drawing. In training it may choose candidates that are not there; `MaskablePPO` may not.

    Args:
        n_steps: of each user between two rounds of learning [2048; there are 64 users].
        n_epochs: passes over a rollout.
        gae_lambda: of the generalised advantage estimation (Schulman et al., ICLR 2016).
        clip_range: of the ratio of probabilities.
        ent_coef: weight of the entropy [0; without it, it settles on what was clicked by chance].
        learning_rate: [3e-4].
    """

    n_steps: int = 32
    n_epochs: int = 10
    gae_lambda: float = 0.95
    clip_range: float = 0.2
    ent_coef: float = 0.01

    algorithm = stable_baselines3.PPO
    policies = (ActorCriticPolicy, CandidateActor)
    arguments = (*SB3Agent.arguments, "n_steps", "n_epochs", "gae_lambda", "clip_range", "ent_coef")
    action_spaces = (spaces.Discrete, spaces.MultiDiscrete)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "n_steps", "n_epochs")
        self._counts(2, "batch_size")
        self._numbers(0, 1, "gae_lambda")
        self._numbers(0, 1e6, "ent_coef")
        self._numbers(1e-9, 1e6, "clip_range")
        rollout = self.n_steps * self.envs
        divides = rollout % self.batch_size == 0
        require(divides, f"{self.name}.batch_size", f"must divide n_steps * envs = {rollout}", self.batch_size)

    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        return (policy,)

    def _logits(self, observation: Tensor) -> Tensor:
        """(B, n) float32, or (B, S n) where positions are drawn independently."""
        net = self._net
        return net.action_net(net.mlp_extractor.forward_actor(net.extract_features(observation)))

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best slate of what is there or, with `explore`, a draw."""
        B, n, S = *mask.shape, self.env.world.slate_size
        with torch.no_grad():
            logits = self._logits(as_tensor(observation)).numpy().reshape(B, -1, n)
        logits = np.broadcast_to(logits, (B, S, n))
        if explore:
            logits = logits + self._rng.gumbel(size=logits.shape)
        free, chosen = mask.copy(), np.empty((B, S), np.int64)
        for position in range(S):
            chosen[:, position] = np.where(free, logits[:, position], -np.inf).argmax(axis=1)
            free[np.arange(B), chosen[:, position]] = False
            if self.env.actions.null:
                free[:, 0] = True
        return self.env.actions.encode(chosen)


@dataclass(kw_only=True)
class MaskablePPO(PPO):
    """PPO that never draws what is not there (Huang and Ontañón, FLAIRS 2022), with the arguments of `PPO`."""

    algorithm = sb3_contrib.MaskablePPO
    policies = (MaskableActorCriticPolicy, MaskableCandidateActor)


@dataclass(kw_only=True)
class RecurrentPPO(PPO):
    """PPO with an LSTM over the observations of an episode, with the arguments of `PPO`.

    The candidate head sees what the LSTM has made of the past as part of the user. The state lives from `start` on,
    user by user, and begins anew where an observation is the first of an episode.

    Args:
        n_epochs: [10; one pass costs about ten times that of `PPO`].
        lstm_width: units of the LSTMs of actor and critic [256].
    """

    n_epochs: int = 4
    lstm_width: int = 32

    algorithm = sb3_contrib.RecurrentPPO
    policies = (RecurrentActorCriticPolicy, RecurrentCandidateActor)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "lstm_width", high=MAX_WIDTH)

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env, who all begin anew."""
        super().start(env)
        user = env.observation_layout["user"]
        before = [part.name for part in user.parts].index("progress")
        self._progress = user.slice.start + sum(part.width for part in user.parts[:before])
        self._state: tuple[Tensor, ...] | None = None

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        policy, arguments = super()._policy(env)
        return policy, {**arguments, "lstm_hidden_size": self.lstm_width}

    def _logits(self, observation: Tensor) -> Tensor:
        net = self._net
        if self._state is None or self._state[0].shape[1] != len(observation):
            self._state = tuple(torch.zeros(1, len(observation), self.lstm_width) for _ in range(2))
        begins = (observation[:, self._progress] == 0).float()
        latent, self._state = net._process_sequence(
            net.extract_features(observation), self._state, begins, net.lstm_actor
        )
        return net.action_net(net.mlp_extractor.forward_actor(latent))


@dataclass(kw_only=True)
class VectorAgent(OffPolicy):
    """Base of SAC and TD3, with the arguments of `OffPolicy`.

    They act with a vector in [-1, 1]^n. Under ``action="weights"`` these are the weights of what is visible of a
    candidate, and a constant vector is a rule already. Under ``action="embedding"`` the env shows the candidates with
    the largest dot product (Dulac-Arnold et al., "Deep reinforcement learning in large discrete action spaces", 2015,
    arXiv 1512.07679, without the critic's choice among the nearest), so that price, age and all else that is no taste
    cannot be chosen by; in the three domains it needs ``embeddings=True``, since without embeddings in the observation no
    user can be told from another by where to look. In both forms only the direction of the vector matters.

    Args:
        head: "mean" by default: it reads the candidates that are there, in any order, and the user's clicks.
        width: [256].
        tau: share of the networks that goes into the target networks at each gradient step.
    """

    head: str = "mean"
    width: int = 64
    tau: float = 0.005

    arguments = (*OffPolicy.arguments, "tau")
    action_spaces = (spaces.Box,)
    heads = tuple(name for name in SB3Agent.heads if name != "candidate")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._numbers(1e-9, 1, "tau")

    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        return (policy,)

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        policy = super()._policy(env)
        if env.actions.form == "weights":
            return policy
        parts = [part.name for part in env.observation_layout["history"].parts]
        rule = f'must be True for {self.name} with action="embedding", which needs observations that show embeddings'
        require("embedding" in parts, "embeddings", rule, env.world.embeddings)
        return policy

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        return torch.optim.Adam, {"fused": True}


@dataclass(kw_only=True)
class SAC(VectorAgent):
    """Soft actor-critic (Haarnoja et al., ICML 2018) on weights or embeddings, with the arguments of `VectorAgent`.

    Args:
        ent_coef: weight of the entropy at the start, learned from there on [1; rewards per step are smaller, and training
            is too short to come down from 1].
        learning_rate: [3e-4].
    """

    ent_coef: float = 0.01

    algorithm = stable_baselines3.SAC
    policies = (SACPolicy,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._numbers(1e-9, 1e6, "ent_coef")

    def _more(self, env: RecVectorEnv) -> dict[str, Any]:
        return {"ent_coef": f"auto_{self.ent_coef:.12f}"}

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The mean of the actor, (B, d) float32; with `explore`, a draw."""
        with torch.no_grad():
            seen = as_tensor(observation)
            mean, log_std, _ = self._net.actor.get_action_dist_params(seen)
        vector = mean.numpy()
        if explore:
            vector = vector + np.exp(log_std.numpy()) * self._rng.standard_normal(vector.shape)
        return np.tanh(vector).astype(np.float32)


@dataclass(kw_only=True)
class TD3(VectorAgent):
    """Twin delayed DDPG (Fujimoto et al., ICML 2018) on weights or embeddings, with the arguments of `VectorAgent`.

    Args:
        noise: standard deviation of the noise on actions in training [0; with that, it always shows the same items].
        policy_delay: gradient steps of the critics for one of the actor.
        target_policy_noise, target_noise_clip: of the actions in the targets.
    """

    noise: float = 0.3
    policy_delay: int = 2
    target_policy_noise: float = 0.2
    target_noise_clip: float = 0.5

    algorithm = stable_baselines3.TD3
    policies = (TD3Policy,)
    arguments = (*VectorAgent.arguments, "policy_delay", "target_policy_noise", "target_noise_clip")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "policy_delay")
        self._numbers(0, 1e6, "noise", "target_policy_noise", "target_noise_clip")

    def _more(self, env: RecVectorEnv) -> dict[str, Any]:
        d = env.single_action_space.shape
        return {"action_noise": NormalActionNoise(np.zeros(d), np.full(d, self.noise))}  # type: ignore[arg-type]

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The vector of the actor, (B, d) float32; with `explore`, noise is added."""
        with torch.no_grad():
            vector = self._net.actor(as_tensor(observation)).numpy()
        if explore:
            vector = np.clip(vector + self.noise * self._rng.standard_normal(vector.shape), -1.0, 1.0)
        return vector.astype(np.float32)
