"""Stable-Baselines3 and sb3-contrib as they are, as agents, with networks that treat all candidates alike.

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22(268), 2021.
"""

from __future__ import annotations

import contextlib
import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import sb3_contrib
import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from stable_baselines3.dqn.policies import DQNPolicy
from stable_baselines3.sac.policies import SACPolicy
from stable_baselines3.td3.policies import TD3Policy
from torch import Tensor, nn

from baselines.agent import MovingAverage, Progress, Task, require_batch, require_device
from baselines.encoders import (
    ENCODERS,
    MAX_THREADS,
    MAX_WIDTH,
    CandidateHead,
    TorchAgent,
    encoder_of,
    head_of,
    torch_seed,
    torch_threads,
)
from baselines.sb3_env import SB3VecEnv
from baselines.sb3_policies import (
    CandidateActor,
    CandidatePolicy,
    Features,
    MaskableCandidateActor,
    QuantileCandidatePolicy,
    RecurrentCandidateActor,
)
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option

__all__ = [
    "DQN", "PPO", "QRDQN", "SAC", "TD3", "CandidateHead", "CandidatePolicy", "MaskablePPO", "RecurrentPPO", "SB3Agent",
    "SB3VecEnv", "head_of",
]  # fmt: skip

Array = NDArray[Any]


@dataclass(kw_only=True)
class SB3Agent(TorchAgent):
    """An algorithm of Stable-Baselines3 on the native batch: what all of them share.

    Defaults that differ from Stable-Baselines3's come with its own in brackets. Rewards here are rare and noisy, and
    the differences between candidates small: most of what differs averages noise away.

    Args:
        head: the network. "candidate": one for all candidates, see `CandidateHead`. "mlp": Stable-Baselines3's own over
            the flat observation, which has to learn for each place of the list anew what a good candidate is. Any
            other name in `ENCODERS`: Stable-Baselines3's own over what that `Encoder` makes of history and candidates.
        history: name in `ENCODERS` of who reads the history for the candidate head.
        width: units of each hidden layer [64; half of it costs half and learns no worse].
        learning_rate: at the start; it falls linearly to 0, so that the last weights are an average [constant].
        gamma: discount [0.99; episodes are 20-60 steps long, and a far horizon adds more noise than foresight].
        envs: users stepped together [1; each iteration of Stable-Baselines3 costs the same for 64].
        batch_size: transitions a gradient step [32 or 64; rewards come in few of them].
        reward_scale: factor on rewards in training [1].
        expected_reward: whether it is trained on E[reward | state, slate], which only a simulator can tell.
        threads: of torch in training; 0 leaves torch's setting. With 1, results do not depend on the machine's cores,
            and networks this small are no slower.
        device: where it is trained, as torch writes it: "cpu", "cuda", "cuda:1" or "mps"; it always acts on the CPU.
            Networks this small gain nothing.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
    """

    head: str = "candidate"
    history: str = "mean"
    width: int = 32
    learning_rate: float = 1e-3
    gamma: float = 0.95
    envs: int = 64
    batch_size: int = 256
    reward_scale: float = 1.0
    expected_reward: bool = False
    threads: int = 1
    device: str = "cpu"
    objective_weights: dict[str, float] | None = None

    algorithm: ClassVar[Any]  # of Stable-Baselines3
    policies: ClassVar[tuple[type[Any], ...]]  # its own, and one with the candidate head
    arguments: ClassVar[tuple[str, ...]] = ("gamma", "batch_size")  # fields that the algorithm takes as they are
    forms: ClassVar[tuple[str, ...]] = ("item",)
    heads: ClassVar[tuple[str, ...]] = ("candidate", "mlp", *(name for name in ENCODERS if name != "mlp"))

    def __post_init__(self) -> None:
        require_option(f"{self.name}.head", self.head, self.heads)
        require_option(f"{self.name}.history", self.history, ENCODERS)
        require_device(f"{self.name}.device", self.device)
        self._counts(1, "batch_size")
        self._counts(1, "envs", high=10**6)
        self._counts(1, "width", high=MAX_WIDTH)
        self._counts(0, "threads", high=MAX_THREADS)
        self._numbers(0, 1, "gamma")
        self._numbers(1e-9, 1e6, "learning_rate", "reward_scale")
        self.weights = {}
        self._rng = np.random.default_rng(0)

    @property
    def name(self) -> str:
        """Of the class, for messages; the file of the weights has it too."""
        return type(self).__name__

    def _counts(self, low: int, *names: str, high: int = 10**9) -> None:
        for name in names:
            require_count(f"{self.name}.{name}", getattr(self, name), low, high)

    def _numbers(self, low: float, high: float, *names: str) -> None:
        for name in names:
            require_number(f"{self.name}.{name}", getattr(self, name), low, high)

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps, rounded up to whole steps (or rollouts) of all users.

        What was learned before is where it starts; exploration, learning rate and the replays begin anew.

        Raises:
            ConfigError: actions are of another form, rewards are vectors, observations a dict, or there is no GPU.
        """
        require(
            _available(torch.device(self.device)),
            f"{self.name}.device",
            "must be there, and torch sees no such GPU",
            self.device,
        )
        options = {"expected_reward": True} if self.expected_reward else {}
        self._rng = np.random.default_rng(seed)
        made = self.training(task).make(self.envs, AutoresetMode.SAME_STEP, **options)
        with contextlib.closing(made) as env, _own_generators(seed, self.threads, self.device):
            policy, policy_kwargs = self._policy(env)
            model = self.algorithm(
                policy,
                SB3VecEnv(env, self.reward_scale),
                learning_rate=LinearSchedule(self.learning_rate, 0.0, 1.0),
                policy_kwargs=policy_kwargs,
                seed=seed,
                device=self.device,
                **{name: getattr(self, name) for name in self.arguments},
                **self._more(env),
            )
            nets = self._nets(model.policy)
            if self.weights:
                for net in nets:
                    self._put(self.weights, net)
            self.weights = nets[0].state_dict()  # the living ones, not a copy, so that a `snapshot` has them
            model.set_logger(Logger(None, []))  # its own makes a temporary folder a run, and leaves it there
            model.learn(steps, _Report(progress, self.reward_scale), log_interval=2**31)  # a log would clear the loss

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env.

        Raises:
            ConfigError: the env is not of the kind that was learned in.
        """
        super().start(env)
        policy, policy_kwargs = self._policy(env)
        with _own_generators(0, 0):
            spaces: Any = (env.single_observation_space, env.single_action_space)
            make: Any = policy
            self._net = make(*spaces, ConstantSchedule(0.0), **policy_kwargs).eval()
        if self.weights:
            self._put(self.weights, self._nets(self._net)[0])

    @abstractmethod
    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        """The part of a policy whose weights are kept, and its copies that start with the same."""

    def _more(self, env: RecVectorEnv) -> dict[str, Any]:
        """Arguments of the algorithm beside those that are fields of that name."""
        return {}

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        return torch.optim.Adam, {"eps": 1e-5, "fused": True}

    def _head(self, env: RecVectorEnv) -> dict[str, Any]:
        """Arguments of the candidate head."""
        return head_of(env, self.width, dueling=False, history=self.history)

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        needed = " or ".join(f'"{form}"' for form in self.forms)
        require(env.actions.form in self.forms, "action", f"{self.name} needs {needed}", env.actions.form)
        form = env.observations.form
        require(form != "dict", "observation", f"{self.name} needs a flat one", form)
        kind, settings = self._optimizer()
        common = {"optimizer_class": kind, "optimizer_kwargs": settings}
        if self.head == "candidate":
            return self.policies[1], {**common, "net_arch": [], "head": self._head(env)}
        common["net_arch"] = [self.width, self.width]
        if self.head != "mlp":
            encoder = encoder_of(env, self.width, self.head, self.head)
            common.update(features_extractor_class=Features, features_extractor_kwargs=encoder)
        return self.policies[0], common


@dataclass(kw_only=True)
class OffPolicy(SB3Agent):
    """What the algorithms that replay transitions share, with the arguments of `SB3Agent`.

    Args:
        buffer_size: transitions to replay [1e6; one takes about 5.6 kB, and 50,000 take 280 MB].
        learning_starts: random steps before the first gradient step [100].
        train_freq: steps of all users between two rounds of learning [4 or 1; a step here is one of 64 users].
        gradient_steps: gradient steps a round [1; 2 of 256 replay each transition 8 times].
    """

    buffer_size: int = 50_000
    learning_starts: int = 2000
    train_freq: int = 1
    gradient_steps: int = 2

    arguments = (*SB3Agent.arguments, "buffer_size", "learning_starts", "train_freq", "gradient_steps")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "train_freq", "gradient_steps")
        self._counts(self.envs, "buffer_size")
        self._counts(0, "learning_starts")


@dataclass(kw_only=True)
class ValueAgent(OffPolicy):
    """What DQN and QR-DQN share, with the arguments of `OffPolicy`.

    Args:
        dueling: whether the candidate head has its state value apart: users differ more than candidates do.
        weight_decay: of AdamW, times the learning rate [0; without, the network fits noise from the first replays on].
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
            value = self._mean(_seen(observation)).numpy()
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

    def _head(self, env: RecVectorEnv) -> dict[str, Any]:
        return head_of(env, self.width, self.dueling, self.history)


@dataclass(kw_only=True)
class DQN(ValueAgent):
    """Deep Q-learning (Mnih et al., Nature 2015), with the arguments of `ValueAgent`.

    Args:
        reward_scale: factor on rewards in training [1]. Errors beyond 1 count linearly in the Huber loss, which pulls
            towards the median; the median reward is 0 whatever is shown.
        learning_rate: [1e-4].
    """

    reward_scale: float = 0.1

    algorithm = stable_baselines3.DQN
    policies = (DQNPolicy, CandidatePolicy)

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

    def _head(self, env: RecVectorEnv) -> dict[str, Any]:
        return {**super()._head(env), "outputs": self.n_quantiles}

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        policy, arguments = super()._policy(env)
        return policy, {**arguments, "n_quantiles": self.n_quantiles}


@dataclass(kw_only=True)
class PPO(SB3Agent):
    """Proximal policy optimisation (Schulman et al., 2017, arXiv 1707.06347), with the arguments of `SB3Agent`.

    The candidate head gives each candidate a logit. A slate is drawn from them one after the other without putting any
    back (Plackett and Luce), since the same softmax in each place would show one item several times over. With the
    other heads, which are Stable-Baselines3's own, the places of a slate are drawn apart from one another, and
    repetitions are wasted until it has learned to avoid them.

    It acts by taking the best of what is there, place by place, without repetition; with `explore`, by drawing. It can
    be trained on what is not there; `MaskablePPO` cannot.

    Args:
        n_steps: of each user between two rounds of learning [2048; there are 64 users].
        n_epochs: times that a rollout is gone through.
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
    forms = ("item", "slate")

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
        """(B, n), or (B, S n) where places are drawn apart from one another."""
        net = self._net
        return net.action_net(net.mlp_extractor.forward_actor(net.extract_features(observation)))

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best that is there, or a draw."""
        B, n, S = *mask.shape, self.env.world.slate_size
        with torch.no_grad():
            logits = self._logits(_seen(observation)).numpy().reshape(B, -1, n)
        logits = np.broadcast_to(logits, (B, S, n))
        if explore:
            logits = logits + self._rng.gumbel(size=logits.shape)
        free, chosen = mask.copy(), np.empty((B, S), np.int64)
        for place in range(S):
            chosen[:, place] = np.where(free, logits[:, place], -np.inf).argmax(axis=1)
            free[np.arange(B), chosen[:, place]] = False
            if self.env.actions.null:
                free[:, 0] = True
        return chosen[:, 0] if self.env.actions.form == "item" else chosen


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
class EmbeddingAgent(OffPolicy):
    """What SAC and TD3 share, with the arguments of `OffPolicy`.

    They act with a vector in [-1, 1]^d, and the env shows the candidates with the largest dot product (Dulac-Arnold et
    al., "Deep reinforcement learning in large discrete action spaces", 2015, arXiv 1512.07679, without its second look
    at the nearest by the critic): tasks need ``action="embedding"``. The critic learns the value of vectors, of which
    only the direction matters.

    Args:
        head: "mean" by default: the candidates there are, whatever their order, and what the user has clicked.
        width: [256].
        tau: share of the networks that goes into the target networks at each gradient step.
    """

    head: str = "mean"
    width: int = 64
    tau: float = 0.005

    arguments = (*OffPolicy.arguments, "tau")
    forms = ("embedding",)
    heads = tuple(name for name in SB3Agent.heads if name != "candidate")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._numbers(1e-9, 1, "tau")

    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        return (policy,)

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        return torch.optim.Adam, {"fused": True}


@dataclass(kw_only=True)
class SAC(EmbeddingAgent):
    """Soft actor-critic (Haarnoja et al., ICML 2018) on embeddings, with the arguments of `EmbeddingAgent`.

    Args:
        ent_coef: weight of the entropy at the start, learned from there on [1; the rewards of a step are smaller, and
            training is too short to come down from there].
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
            seen = _seen(observation)
            mean, log_std, _ = self._net.actor.get_action_dist_params(seen)
        vector = mean.numpy()
        if explore:
            vector = vector + np.exp(log_std.numpy()) * self._rng.standard_normal(vector.shape)
        return np.tanh(vector).astype(np.float32)


@dataclass(kw_only=True)
class TD3(EmbeddingAgent):
    """Twin delayed DDPG (Fujimoto et al., ICML 2018) on embeddings, with the arguments of `EmbeddingAgent`.

    Args:
        noise: standard deviation of what is added to actions in training [none; without it, it shows the same items].
        policy_delay: gradient steps of the critics for one of the actor.
        target_policy_noise, target_noise_clip: of the actions in the targets.
    """

    noise: float = 0.3
    policy_delay: int = 2
    target_policy_noise: float = 0.2
    target_noise_clip: float = 0.5

    algorithm = stable_baselines3.TD3
    policies = (TD3Policy,)
    arguments = (*EmbeddingAgent.arguments, "policy_delay", "target_policy_noise", "target_noise_clip")

    def __post_init__(self) -> None:
        super().__post_init__()
        self._counts(1, "policy_delay")
        self._numbers(0, 1e6, "noise", "target_policy_noise", "target_noise_clip")

    def _more(self, env: RecVectorEnv) -> dict[str, Any]:
        d = env.single_action_space.shape
        return {"action_noise": NormalActionNoise(np.zeros(d), np.full(d, self.noise))}  # type: ignore[arg-type]

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The vector of the actor, (B, d) float32; with `explore`, with noise."""
        with torch.no_grad():
            vector = self._net.actor(_seen(observation)).numpy()
        if explore:
            vector = np.clip(vector + self.noise * self._rng.standard_normal(vector.shape), -1.0, 1.0)
        return vector.astype(np.float32)


class _Report(BaseCallback):
    """Tells `progress` the reward a step, smoothed and unscaled, and the last loss (NaN before the first)."""

    def __init__(self, progress: Progress | None, reward_scale: float) -> None:
        super().__init__()
        self.progress, self.reward_scale, self.average = progress, reward_scale, MovingAverage()

    def _on_step(self) -> bool:
        reward = self.average(float(self.locals["rewards"].mean()) / self.reward_scale)
        if self.progress is not None:
            logged = self.logger.name_to_value
            loss = logged.get("train/loss", logged.get("train/critic_loss", float("nan")))
            self.progress(self.num_timesteps, {"reward": reward, "loss": float(loss)})
        return True


def _seen(observation: Array) -> Tensor:
    require_batch(observation)
    return torch.from_numpy(np.ascontiguousarray(observation))


def _available(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()


@contextlib.contextmanager
def _own_generators(seed: int, threads: int, device: str = "cpu") -> Iterator[None]:
    """Stable-Baselines3 draws from the global generators of Python, NumPy and torch: what it does to them is undone."""
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch_seed(seed, device), torch_threads(threads):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
