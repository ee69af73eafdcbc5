"""Stable-Baselines3 on recgym: a vector env, a Q-network that treats all candidates alike, and DQN.

    model = stable_baselines3.PPO("MlpPolicy", SB3VecEnv(Task("recgym/News-v0").make(64, AutoresetMode.SAME_STEP)))

Raffin et al., "Stable-Baselines3: reliable reinforcement learning implementations", JMLR 22(268), 2021.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import stable_baselines3
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.utils import ConstantSchedule
from stable_baselines3.common.vec_env import VecEnv
from stable_baselines3.dqn.policies import DQNPolicy, QNetwork
from torch import Tensor, nn

from baselines.agent import Agent, Progress, Task, write_atomically
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option, unknown

Array = NDArray[Any]


class SB3VecEnv(VecEnv):
    """Stable-Baselines3's vector env over recgym's: the same users, no copies of anything.

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
        """First observations. Seeds that `seed` has set are used once."""
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
        require(set(self._get_indices(indices)) == set(range(self.num_envs)), "indices", "must be all users, who share one env", indices)
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


class CandidateHead(nn.Module):
    """Q-values of candidates from flat observations, by one network for all of them.

        u   = user part: [user block, mean over the history of relu(W place)] -> two layers
        h_k = relu(A x_k + B u + C (D x_k * E u)),  a_k = two more layers of h_k
        Q_k = v(u) + a_k - mean of a over what can be chosen                    (dueling: Wang et al. 2016)

    Permuting the candidates permutes the values (Zaheer et al., "Deep sets", 2017); a candidate's place says nothing.
    Recommending nothing has an advantage of its own, a function of u. An empty candidate is worth 1 less than the
    worst choice: never the best, and bounded, so that the loss of a random action that hit one is too.

    Args:
        user, mask: (start, stop) of the blocks in the observation.
        history, candidates: (start, stop, rows, columns).
        null: whether choice 0 is to recommend nothing.
        width: units a layer. dueling: whether v(u) is apart.
    """

    def __init__(self, user: tuple[int, int], history: tuple[int, int, int, int], candidates: tuple[int, int, int, int],
                 mask: tuple[int, int], null: bool, width: int, dueling: bool) -> None:  # fmt: skip
        super().__init__()
        self.user, self.history, self.candidates, self.mask = user, history, candidates, mask
        self.null, self.dueling = null, dueling
        self.place = nn.Linear(history[3], width)
        self.context = nn.Sequential(nn.Linear(user[1] - user[0] + width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.item, self.shift = nn.Linear(candidates[3], width), nn.Linear(width, width)
        self.left, self.right = nn.Linear(candidates[3], width), nn.Linear(width, width)
        self.cross = nn.Linear(width, width, bias=False)
        self.advantage = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.value = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.nothing = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, choices)."""
        history = observation[:, slice(*self.history[:2])].unflatten(1, self.history[2:])
        places = (history != 0).any(dim=2, keepdim=True)
        read = (torch.relu(self.place(history)) * places).sum(dim=1) / places.sum(dim=1).clamp(min=1)
        u = self.context(torch.cat([observation[:, slice(*self.user)], read], dim=1))
        x = observation[:, slice(*self.candidates[:2])].unflatten(1, self.candidates[2:])
        cross = self.cross(self.left(x) * self.right(u)[:, None])
        q = self.advantage(self.item(x) + self.shift(u)[:, None] + cross)[:, :, 0]
        mask = observation[:, slice(*self.mask)] > 0.5
        if self.null:
            q = torch.cat([self.nothing(u), q], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        if self.dueling:
            q = self.value(u) + q - (q * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        worst = q.detach().masked_fill(~mask, torch.inf).amin(dim=1, keepdim=True)
        return torch.where(mask, q, torch.where(worst < torch.inf, worst - 1, 0.0))


class CandidatePolicy(DQNPolicy):
    """Stable-Baselines3's DQN policy with a `CandidateHead` for a network.

    Args:
        head: keyword arguments of `CandidateHead`.
    """

    def __init__(self, *args: Any, head: dict[str, Any], **kwargs: Any) -> None:
        self.head = head
        super().__init__(*args, **kwargs)

    def make_q_net(self) -> QNetwork:
        """The network: Stable-Baselines3's, with its layers exchanged."""
        net = super().make_q_net()
        net.q_net = CandidateHead(**self.head)  # type: ignore[assignment]
        return net.to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return super()._get_constructor_parameters() | {"head": self.head}


def head_of(env: RecVectorEnv, width: int, dueling: bool) -> dict[str, Any]:
    """Arguments of the `CandidateHead` for an env, plain numbers all."""
    layout = env.observation_layout
    where = {name: (layout[name].slice.start, layout[name].slice.stop) for name in ("user", "history", "candidates", "mask")}
    for name in ("history", "candidates"):
        where[name] += layout[name].shape
    return {**where, "null": env.actions.null, "width": width, "dueling": dueling}


@dataclass
class DQN(Agent):
    """Deep Q-learning (Mnih et al. 2015), by Stable-Baselines3's DQN as it is.

    Where a default differs from Stable-Baselines3's, it says why.

    Args:
        head: "candidate" (`CandidateHead`) or "mlp", Stable-Baselines3's plain network over the flat observation.
    """

    head: str = "candidate"
    width: int = 64
    dueling: bool = True
    learning_rate: float = 1e-3
    gamma: float = 0.95
    n_steps: int = 1
    envs: int = 64
    buffer_size: int = 50_000
    batch_size: int = 128
    learning_starts: int = 2000
    train_freq: int = 1
    gradient_steps: int = 4
    target_update_interval: int = 2000
    tau: float = 1.0
    exploration_fraction: float = 0.3
    exploration_initial_eps: float = 1.0
    exploration_final_eps: float = 0.05
    max_grad_norm: float = 10.0
    reward_scale: float = 0.1
    expected_reward: bool = False
    threads: int = 1

    heads: ClassVar[tuple[str, ...]] = ("candidate", "mlp")

    def __post_init__(self) -> None:
        require_option("DQN.head", self.head, self.heads)
        self.weights: dict[str, Tensor] = {}

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        env = task.make(self.envs, AutoresetMode.SAME_STEP, **({"expected_reward": True} if self.expected_reward else {}))
        with _own_state(seed, self.threads):
            policy, arguments = self._policy(env)
            model = stable_baselines3.DQN(
                policy, SB3VecEnv(env, self.reward_scale), self.learning_rate, self.buffer_size, self.learning_starts, self.batch_size, self.tau,
                self.gamma, self.train_freq, self.gradient_steps, n_steps=self.n_steps, target_update_interval=self.target_update_interval,
                exploration_fraction=self.exploration_fraction, exploration_initial_eps=self.exploration_initial_eps,
                exploration_final_eps=self.exploration_final_eps, max_grad_norm=self.max_grad_norm, policy_kwargs=arguments, seed=seed, device="cpu",
            )
            if self.weights:
                model.q_net.load_state_dict(self.weights)
                model.q_net_target.load_state_dict(self.weights)
            self.weights = model.q_net.state_dict()
            model.learn(steps, _Report(progress, self.reward_scale), log_interval=2**31)
        env.close()

    def _policy(self, env):
        if self.head == "candidate":
            return CandidatePolicy, {"net_arch": [], "optimizer_kwargs": {"fused": True}, "head": head_of(env, self.width, self.dueling)}
        return DQNPolicy, {"net_arch": [self.width, self.width]}

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        policy, arguments = self._policy(env)
        with _own_state(0, 0):
            self.net = policy(env.single_observation_space, env.single_action_space, ConstantSchedule(0.0), **arguments).q_net
        if self.weights:
            self.net.load_state_dict(self.weights)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        with torch.no_grad():
            q = self.net(torch.from_numpy(np.ascontiguousarray(observation))).numpy()
        return np.where(mask, q, -np.inf).argmax(axis=1)


class _Report(BaseCallback):
    def __init__(self, progress, scale):
        super().__init__()
        self.progress, self.scale, self.reward = progress, scale, 0.0

    def _on_step(self) -> bool:
        self.reward = 0.99 * self.reward + 0.01 * float(self.locals["rewards"].mean()) / self.scale
        if self.progress is not None:
            self.progress(self.num_timesteps, {"reward": self.reward, "loss": self.logger.name_to_value.get("train/loss", float("nan"))})
        return True


@contextlib.contextmanager
def _own_state(seed: int, threads: int) -> Iterator[None]:
    """Stable-Baselines3 seeds the global generators of Python, NumPy and torch: put them back afterwards."""
    state, numpy_state, before = random.getstate(), np.random.get_state(), torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if threads:
            torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            random.setstate(state)
            np.random.set_state(numpy_state)
