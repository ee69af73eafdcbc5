"""Stable-Baselines3 on recgym: a vector env, a Q-network that treats all candidates alike, and DQN.

    model = stable_baselines3.PPO("MlpPolicy", SB3VecEnv(Task("recgym/News-v0").make(64, AutoresetMode.SAME_STEP)))

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22(268), 2021.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import stable_baselines3
import torch
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import ConstantSchedule, LinearSchedule
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from baselines.agent import Agent, Progress, Task
from baselines.encoders import CandidateHead, head_of, read_weights, write_weights
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count, require_number, require_option, unknown

Array = NDArray[Any]


class SB3VecEnv(VecEnv):
    """Stable-Baselines3's face of recgym's vector env.

    `infos` hold what Stable-Baselines3 reads, at ends of episodes: `terminal_observation`, `TimeLimit.truncated`, and
    `episode` with return "r" and length "l", as its `Monitor` would write. All users share one environment, so an
    attribute is the same for all of them, and methods are called on all rows at once.

    Args:
        env: a batch of users that resets itself in the same step, and pays one number a step.
        reward_scale: factor on the rewards; the returns in `infos` are without it.

    Raises:
        ConfigError: another autoreset mode, or vector rewards.
    """

    rowwise = ("action_masks", "render")  # methods of the env that return one thing a user

    def __init__(self, env: RecVectorEnv, reward_scale: float = 1.0) -> None:
        mode = env.metadata["autoreset_mode"]
        require(mode is AutoresetMode.SAME_STEP, "autoreset_mode", "must be SameStep", mode.value)
        require(not env.vector_reward, "reward", "Stable-Baselines3 needs one number a step", "vector")
        self.env = env
        self.reward_scale = reward_scale
        self._returns, self._lengths = np.zeros(env.num_envs), np.zeros(env.num_envs, np.int64)
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)

    def reset(self) -> Any:
        """First observations. Seeds that `seed` has set are used once.

        Raises:
            ConfigError: `set_options` has set options; there are none.
        """
        for name in {name for options in self._options for name in options}:
            unknown("options", name, [])
        seeds = None if self._seeds[0] is None else self._seeds
        observation, _ = self.env.reset(seed=seeds)  # type: ignore[arg-type]
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0, 0
        return observation

    def step_async(self, actions: Array) -> None:
        """Hand over the actions of the next `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[Any, Array, Array, list[dict[str, Any]]]:
        """Observations, rewards (B,) float32, dones (B,) bool, and a dict for each user."""
        observation, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for row in np.flatnonzero(done):
            infos[row] = {
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(truncated[row]),
                "episode": {"r": float(self._returns[row]), "l": int(self._lengths[row])},
            }
        self._returns[done], self._lengths[done] = 0, 0
        return observation, np.asarray(self.reward_scale * reward, np.float32), done, infos

    def close(self) -> None:
        """Close the env."""
        self.env.close()

    def get_images(self) -> Sequence[Array | None]:
        """A frame of each user."""
        return self.env.render() or [None] * self.num_envs

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of the shared env, once for each user asked for.

        Raises:
            AttributeError: the env has no such attribute.
        """
        return [getattr(self.env, attr_name) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the shared env.

        Raises:
            ConfigError: for some of the users only.
        """
        everybody = set(self._get_indices(indices)) == set(range(self.num_envs))
        require(everybody, "indices", "must be all users, who share one env", indices)
        setattr(self.env, attr_name, value)

    def env_method(self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any) -> list[Any]:
        """Call a method that returns one thing a user, and give those of the users asked for.

        Raises:
            ConfigError: not one of `rowwise`.
        """
        if method_name not in self.rowwise:
            unknown("method", method_name, self.rowwise)
        rows = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [None if rows is None else rows[i] for i in self._get_indices(indices)]

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """True for `Monitor`, whose records the infos hold; there are no wrappers otherwise."""
        return [issubclass(wrapper_class, Monitor) for _ in self._get_indices(indices)]


class CandidatePolicy(DQNPolicy):
    """Stable-Baselines3's DQN policy with a `CandidateHead` for its layers.

    Args:
        head: keyword arguments of `CandidateHead`, see `head_of`. All others: those of `DQNPolicy`.
    """

    def __init__(self, *args: Any, head: dict[str, Any], **kwargs: Any) -> None:
        self.head = head
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """Stable-Baselines3's network with its layers exchanged."""
        net = super().make_q_net()
        net.q_net = CandidateHead(**self.head)  # type: ignore[assignment]
        return net.to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"head": self.head}


@dataclass
class DQN(Agent):
    """Deep Q-learning (Mnih et al., Nature 2015): Stable-Baselines3's DQN as it is, with the network of this module.

    Rewards here are rare and noisy, and the differences between candidates small: most of what differs from
    Stable-Baselines3's defaults, given in brackets, averages noise away.

    Args:
        head: "candidate" (`CandidateHead`) or "mlp", Stable-Baselines3's own network over the flat observation, which
            has to learn for each place of the list anew what a good candidate is.
        width: units of each hidden layer [64; half of it costs half and learns no worse].
        dueling: whether the candidate head has its state value apart: users differ more than candidates do.
        learning_rate: at the start; it falls linearly to 0, so that the last weights are an average [1e-4, constant].
        weight_decay: of AdamW, times the learning rate [0; without, the network fits noise from the first replays on].
        gamma: discount [0.99; episodes are 20-60 steps long, and a far horizon adds more noise than foresight].
        envs: users stepped together [1; each iteration of Stable-Baselines3 costs the same for 64].
        buffer_size: transitions to replay [1e6; one takes about 5.6 kB, and 50,000 take 280 MB].
        batch_size: transitions a gradient step [32; rewards come in few of them].
        learning_starts: random steps before the first gradient step [100].
        train_freq: steps of all users between two rounds of learning [4; a step here is one of 64 users].
        gradient_steps: gradient steps a round [1; 2 of 256 replay each transition 8 times].
        target_update_interval: user-steps between two copies to the target network [10,000; training is short].
        exploration_fraction, exploration_initial_eps, exploration_final_eps: the share of random actions falls from
            one to the other over this fraction of the steps [0.1, 1, 0.05].
        reward_scale: factor on rewards in training [1]. Errors beyond 1 count linearly in the Huber loss, which pulls
            towards the median; the median reward is 0 whatever is shown.
        expected_reward: whether it is trained on E[reward | state, slate], which only a simulator can tell.
        threads: of torch in training; 0 leaves torch's setting. With 1, results do not depend on the machine's cores,
            and networks this small are no slower.
    """

    head: str = "candidate"
    width: int = 32
    dueling: bool = True
    learning_rate: float = 1e-3
    weight_decay: float = 1.0
    gamma: float = 0.95
    envs: int = 64
    buffer_size: int = 50_000
    batch_size: int = 256
    learning_starts: int = 2000
    train_freq: int = 1
    gradient_steps: int = 2
    target_update_interval: int = 2000
    exploration_fraction: float = 0.3
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05
    reward_scale: float = 0.1
    expected_reward: bool = False
    threads: int = 1

    heads: ClassVar[tuple[str, ...]] = ("candidate", "mlp")

    def __post_init__(self) -> None:
        require_option("DQN.head", self.head, self.heads)
        for name in ("width", "envs", "batch_size", "train_freq", "gradient_steps"):
            require_count(f"DQN.{name}", getattr(self, name), 1, 10**6)
        for name in ("buffer_size", "target_update_interval"):
            require_count(f"DQN.{name}", getattr(self, name), self.envs, 10**9)
        for name in ("learning_starts", "threads"):
            require_count(f"DQN.{name}", getattr(self, name), 0, 10**9)
        for name in ("gamma", "exploration_fraction", "exploration_initial_eps", "exploration_final_eps"):
            require_number(f"DQN.{name}", getattr(self, name), 0, 1)
        for name, low in (("learning_rate", 1e-9), ("weight_decay", 0), ("reward_scale", 1e-9)):
            require_number(f"DQN.{name}", getattr(self, name), low, 1e6)
        for name in ("dueling", "expected_reward"):
            require(isinstance(getattr(self, name), bool), f"DQN.{name}", "must be True or False", getattr(self, name))
        self.weights: dict[str, Tensor] = {}  # of the network; empty before the first `fit`
        self._rng = np.random.default_rng(0)

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps, rounded up to whole steps of all users.

        What was learned before is where it starts; exploration, learning rate and the replays begin anew. The agent
        can be scored from within `progress`.

        Raises:
            ConfigError: actions are not items, rewards are vectors, or observations a dict.
        """
        options = {"expected_reward": True} if self.expected_reward else {}
        self._rng = np.random.default_rng(seed)
        made = task.make(self.envs, AutoresetMode.SAME_STEP, **options)
        with contextlib.closing(made) as env, _own_generators(seed, self.threads):
            policy, policy_kwargs = self._policy(env)
            model = stable_baselines3.DQN(
                policy,
                SB3VecEnv(env, self.reward_scale),
                learning_rate=LinearSchedule(self.learning_rate, 0.0, 1.0),
                buffer_size=self.buffer_size,
                learning_starts=self.learning_starts,
                batch_size=self.batch_size,
                gamma=self.gamma,
                train_freq=self.train_freq,
                gradient_steps=self.gradient_steps,
                target_update_interval=self.target_update_interval,
                exploration_fraction=self.exploration_fraction,
                exploration_initial_eps=self.exploration_initial_eps,
                exploration_final_eps=self.exploration_final_eps,
                policy_kwargs=policy_kwargs,
                seed=seed,
                device="cpu",
            )
            if self.weights:
                _put(model.q_net, self.weights)
                _put(model.q_net_target, self.weights)
            self.weights = model.q_net.state_dict()  # the living ones, not a copy, so that `progress` can score them
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
            self._net = make(*spaces, ConstantSchedule(0.0), **policy_kwargs).q_net.eval()
        if self.weights:
            _put(self._net, self.weights)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The choice with the highest value; with `explore`, a random one in `exploration_final_eps` of the cases."""
        with torch.no_grad():
            value = self._net(torch.from_numpy(np.ascontiguousarray(observation))).numpy()
        best = np.where(mask, value, -np.inf).argmax(axis=1)
        if explore:
            chance = np.where(mask, self._rng.random(mask.shape), -1.0).argmax(axis=1)
            best = np.where(self._rng.random(len(best)) < self.exploration_final_eps, chance, best)
        return best

    def _policy(self, env: RecVectorEnv) -> tuple[type[DQNPolicy], dict[str, Any]]:
        require(env.actions.form == "item", "action", 'DQN needs "item"', env.actions.form)
        require(env.observations.form != "dict", "observation", "DQN needs a flat one", env.observations.form)
        optimizer = {"weight_decay": self.weight_decay, "fused": True}
        common = {"optimizer_class": torch.optim.AdamW, "optimizer_kwargs": optimizer}
        if self.head == "mlp":
            return DQNPolicy, {**common, "net_arch": [self.width, self.width]}
        return CandidatePolicy, {**common, "net_arch": [], "head": head_of(env, self.width, self.dueling)}

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``agent.json`` and ``dqn.pt``, each atomically."""
        write_weights(folder, "dqn.pt", self.weights)
        super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Nothing is unpickled but plain tensors (``weights_only=True``).

        Raises:
            ConfigError: no DQN there.
        """
        agent = super().load(folder)
        agent.weights = read_weights(folder, "dqn.pt")
        return agent


def _put(net: nn.Module, weights: dict[str, Tensor]) -> None:
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ConfigError(f"env: must have the observations and actions that DQN has learned from; {error}") from None


class _Report(BaseCallback):
    """Tells `progress` the reward a step, smoothed and unscaled, and the last loss (NaN before the first)."""

    def __init__(self, progress: Progress | None, reward_scale: float) -> None:
        super().__init__()
        self.progress, self.reward_scale, self.reward = progress, reward_scale, 0.0

    def _on_step(self) -> bool:
        self.reward = 0.99 * self.reward + 0.01 * float(self.locals["rewards"].mean()) / self.reward_scale
        if self.progress is not None:
            loss = self.logger.name_to_value.get("train/loss", float("nan"))
            self.progress(self.num_timesteps, {"reward": self.reward, "loss": loss})
        return True


@contextlib.contextmanager
def _own_generators(seed: int, threads: int) -> Iterator[None]:
    """Stable-Baselines3 draws from the global generators of Python, NumPy and torch: what it does to them is undone."""
    python, numpy, before = random.getstate(), np.random.get_state(), torch.get_num_threads()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            random.setstate(python)
            np.random.set_state(numpy)  # noqa: NPY002
