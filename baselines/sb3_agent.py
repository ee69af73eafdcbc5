"""Base of the agents that are trained by algorithms of Stable-Baselines3 and sb3-contrib.

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
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from torch import Tensor, nn

from baselines.agent import MovingAverage, Progress, Task
from baselines.encoders import (
    ENCODERS,
    MAX_THREADS,
    MAX_WIDTH,
    TorchAgent,
    encoder_of,
    torch_seed,
    torch_threads,
)
from baselines.requirements import require_batch, require_device
from baselines.sb3_env import SB3VecEnv
from baselines.sb3_policies import Features
from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option

Array = NDArray[Any]
FORMS = {
    "item": spaces.Discrete,
    "slate": spaces.MultiDiscrete,
    "embedding": spaces.Box,
    "weights": spaces.Box,
}  # what messages name


@dataclass(kw_only=True)
class SB3Agent(TorchAgent):
    """Base of agents that are trained by an algorithm of Stable-Baselines3 on a batch of users.

    Defaults that differ from Stable-Baselines3's come with its own in brackets. Rewards here are rare and noisy, and
    the differences between candidates small: most of the other defaults average noise away.

    Args:
        head: the network. "candidate": one for all candidates, see `CandidateHead`. "mlp": Stable-Baselines3's own over
            the flat observation, which has to learn for each entry of the list anew what a good candidate is. Any
            other name in `ENCODERS`: Stable-Baselines3's own over what that `Encoder` makes of history and candidates.
        history: name in `ENCODERS` of the reader of the history for the candidate head.
        width: units of each hidden layer [64; half of it costs half and learns no worse].
        learning_rate: at the start; it falls linearly to 0, so that the last weights are an average [constant].
        gamma: discount [0.99; episodes are 20-60 steps long, and a far horizon adds more noise than foresight].
        envs: users stepped together [1; each iteration of Stable-Baselines3 costs the same for 64].
        batch_size: transitions per gradient step [32 or 64; rewards come in few of them].
        reward_scale: factor on rewards in training [1].
        threads: of torch in training; 0 leaves torch's setting. With 1, results do not depend on the machine's cores,
            and networks this small are no slower.
        device: where it is trained, as torch writes it: "cpu", "cuda", "cuda:1" or "mps"; it always acts on the CPU.
            Networks this small gain nothing.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
        expected_reward: whether it is trained on expected instead of realised rewards, which vary less and which only a
            simulator knows.
    """

    head: str = "candidate"
    history: str = "mean"
    width: int = 32
    learning_rate: float = 1e-3
    gamma: float = 0.95
    envs: int = 64
    batch_size: int = 256
    reward_scale: float = 1.0
    threads: int = 1
    device: str = "cpu"
    objective_weights: dict[str, float] | None = None
    expected_reward: bool = False

    algorithm: ClassVar[Any]  # of Stable-Baselines3
    policies: ClassVar[tuple[type[Any], ...]]  # its own, and one with the candidate head
    arguments: ClassVar[tuple[str, ...]] = ("gamma", "batch_size")  # fields that the algorithm takes as they are
    action_spaces: ClassVar[tuple[type[spaces.Space[Any]], ...]] = (spaces.Discrete,)  # of actions that it can learn
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
        """Name of the class, for messages."""
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
                    self.put_weights(self.weights, net)
            self.weights = nets[0].state_dict()  # not a copy, so that a `snapshot` has them
            model.set_logger(Logger(None, []))  # its own leaves a temporary folder per run
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
            self.put_weights(self.weights, self._nets(self._net)[0])

    @abstractmethod
    def _nets(self, policy: Any) -> tuple[nn.Module, ...]:
        """The part of a policy whose weights are kept, and the copies of it that start with the same weights."""

    def _more(self, env: RecVectorEnv) -> dict[str, Any]:
        """Arguments of the algorithm other than the fields in `arguments`."""
        return {}

    def _optimizer(self) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
        return torch.optim.Adam, {"eps": 1e-5, "fused": True}

    def _head(self) -> dict[str, Any]:
        """Arguments of the policy with the candidate head."""
        return {"width": self.width, "history": self.history}

    def _policy(self, env: RecVectorEnv) -> tuple[type[Any], dict[str, Any]]:
        fits = isinstance(env.single_action_space, self.action_spaces)
        fits = fits and (env.actions.indexed or _is_unit_box(env.single_action_space))
        names = " or ".join(f'"{form}"' for form, kind in FORMS.items() if issubclass(kind, self.action_spaces))
        require(fits, "action", f"{self.name} needs {names}", env.actions.form)
        form = env.observations.form
        require(form != "dict", "observation", f"{self.name} needs a flat one", form)
        kind, settings = self._optimizer()
        common = {"optimizer_class": kind, "optimizer_kwargs": settings}
        if self.head == "candidate":
            return self.policies[1], {**common, **self._head()}
        common["net_arch"] = [self.width, self.width]
        if self.head != "mlp":
            encoder = encoder_of(env, self.width, self.head, self.head)
            common.update(features_extractor_class=Features, features_extractor_kwargs=encoder)
        return self.policies[0], common


@dataclass(kw_only=True)
class OffPolicy(SB3Agent):
    """Base of the algorithms that replay transitions, with the arguments of `SB3Agent`.

    Args:
        buffer_size: transitions to replay [1e6; one takes about 5.6 kB, and 50,000 take 280 MB].
        learning_starts: random steps before the first gradient step [100].
        train_freq: steps of all users between two rounds of learning [4 or 1; a step here is one of 64 users].
        gradient_steps: gradient steps per round [1; 2 of 256 replay each transition 8 times].
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


class _Report(BaseCallback):
    """Tells `progress` the reward per step, smoothed and unscaled, and the last loss (NaN before the first)."""

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


def _is_unit_box(space: Any) -> bool:
    """Whether it is a Box from -1 to 1 on all sides, as the tanh of an actor is."""
    return isinstance(space, spaces.Box) and bool((space.low == -1).all() and (space.high == 1).all())


def as_tensor(observation: Array) -> Tensor:
    """Flat observations (B, width) as a tensor; anything else is a ConfigError."""
    require_batch(observation)
    return torch.from_numpy(np.ascontiguousarray(observation))


def _available(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count()
    return device.type == "cpu" or torch.backends.mps.is_available()


@contextlib.contextmanager
def _own_generators(seed: int, threads: int, device: str = "cpu") -> Iterator[None]:
    """A context in which the global generators of Python, NumPy and torch, which Stable-Baselines3 uses, may be changed.

    After it, they are what they were before. Inside, torch draws from `seed`, with so many threads.
    """
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    with torch_seed(seed, device), torch_threads(threads):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
