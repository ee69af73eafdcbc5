"""What an agent is, what it is trained and scored on, and the one online loop of all home-grown learners."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import recgym
from baselines.items import ItemStatistics
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, unknown
from recgym.files import write_atomically
from recgym.spaces import Layout

if TYPE_CHECKING:
    from baselines.explain import Explanation

Progress = Callable[[int, dict[str, float]], None]  # (environment steps so far, what to show)


@dataclass(frozen=True)
class Task:
    """An environment as plain data.

    Args:
        id: a registered id, such as "recgym/News-v0".
        options: keyword arguments of `gymnasium.make`, as JSON values.
    """

    id: str
    options: dict[str, Any] = field(default_factory=dict)

    def make(
        self, num_envs: int, autoreset_mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any
    ) -> RecVectorEnv:
        """A batch of users of the task."""
        env = gym.make_vec(self.id, num_envs=num_envs, autoreset_mode=autoreset_mode, **{**self.options, **options})
        require(isinstance(env, RecVectorEnv), "task", "must be an environment of recgym", self.id)
        return env  # type: ignore[return-value]


class Agent(ABC):
    """An agent is a dataclass whose fields are its hyper-parameters; what it has learned is its own business.

    `start` comes before the first `act` in an env, and again whenever all users of the env begin anew.
    """

    privileged = False  # reads the simulator's hidden state: a reference, not a competitor
    preference: dict[str, float] | None = None  # objective -> weight in training; None: the task's own reward

    def training(self, task: Task) -> Task:
        """The task as the agent is trained on it: paying by its preference over the objectives, where it has one.

        Raises:
            ConfigError: the agent has a preference and the task a like_dislike reward.
        """
        if self.preference is None:
            return task
        clash = task.options.get("like_dislike", False)
        require(not clash, "preference", "must be None where the task pays likes and dislikes", self.preference)
        return Task(task.id, {**task.options, "reward": self.preference})

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:  # noqa: B027
        """Learn from `steps` user-steps of the task, `training` it where it pays. The default learns nothing."""

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env. The default remembers the env."""
        self.env = env

    @abstractmethod
    def act(self, observation: NDArray[np.float32], mask: NDArray[np.bool_], explore: bool = False) -> NDArray[Any]:
        """Actions of B users.

        Args:
            observation: (B, width) float32, flat. mask: (B, n) bool, the choices that show something.
            explore: whether to act as in training.

        Returns:
            Actions of the env's action space: (B,) for items, (B, S) for slates.
        """

    def explain(self, observation: NDArray[np.float32], mask: NDArray[np.bool_], background: Any = None) -> Explanation:
        """Values of the choices of B users and what they are made of, see `baselines.explain.explain`."""
        from baselines.explain import explain

        return explain(self, observation, mask, background)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the agent; files appear whole or not at all. The default writes the hyper-parameters."""
        require(
            dataclasses.is_dataclass(self), "agent", "must be a dataclass, or bring its own save", type(self).__name__
        )
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        data = {"agent": type(self).__name__, **{f.name: getattr(self, f.name) for f in fields if f.init}}
        write_atomically(Path(folder) / "agent.json", json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ConfigError: no such agent there, or one of another class.
        """
        file = Path(folder) / "agent.json"
        require(file.is_file(), "agent folder", "must hold agent.json", str(folder))
        data = json.loads(file.read_text())
        require(data.pop("agent", None) == cls.__name__, "agent folder", f"must hold a {cls.__name__}", str(folder))
        return cls(**data)


class Score(NamedTuple):
    """One episode each of n users."""

    returns: NDArray[np.float64]  # (n,) undiscounted
    lengths: NDArray[np.int64]  # (n,) steps
    objectives: NDArray[np.float64]  # (n, M) sums
    names: tuple[str, ...]  # of the objectives


def evaluate(
    agent: Agent, task: Task, users: int, seed: int = 0, batch: int = 4096, progress: Progress | None = None
) -> Score:
    """Mean performance of an agent that has stopped learning: one episode for each of `users` users.

    User i is the one of seed + i, whoever the agent: common random numbers.

    Args:
        agent: who acts, with explore=False. task: where. users: how many, >= 1. seed: of the first user.
        batch: users stepped together; the score does not depend on it.
        progress: called with the number of steps done.
    """
    require_count("users", users, 1, 10**9)
    parts, done_steps = [], 0
    for first in range(0, users, batch):
        n = min(batch, users - first)
        env = task.make(n, AutoresetMode.DISABLED)
        observation, info = env.reset(seed=seed + first)
        agent.start(env)
        returns, lengths, objectives = np.zeros(n), np.zeros(n, np.int64), np.zeros((n, len(env.world.objectives)))
        alive = np.ones(n, np.bool_)
        while alive.any():
            action = agent.act(
                observation["flat"] if isinstance(observation, dict) else observation, info["action_mask"]
            )
            observation, reward, terminated, truncated, info = env.step(action)
            returns += reward
            objectives += info["objectives"]
            lengths += alive
            done_steps += int(alive.sum())
            alive = ~(terminated | truncated)
            if progress:
                progress(done_steps, {"users": first + n - int(alive.sum()), "return": float(returns.mean())})
        env.close()
        parts.append((returns, lengths, objectives))
    return Score(*(np.concatenate(column) for column in zip(*parts, strict=True)), names=env.world.objectives)


class OnlineAgent(Agent):
    """An agent that learns from each batch of transitions as it comes."""

    envs = 64  # users it is trained on at a time
    item_prior = 0.0  # clicks, see `ItemStatistics`; 0: the agent keeps no statistics of items
    _items: ItemStatistics | None = None
    _counts: dict[str, NDArray[Any]] | None = None  # what they have counted

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env.

        Raises:
            ConfigError: statistics are of other items.
        """
        super().start(env)
        self._items = None
        if self.item_prior:
            self._items = ItemStatistics(env, self.item_prior)
            if self._counts:
                self._items.put(self._counts)
            self._counts = self._items.arrays

    @property
    def layout(self) -> Layout:
        """Blocks of what `see` gives."""
        return self.env.observation_layout if self._items is None else self._items.layout

    def see(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations (B, width) with the statistics of their candidates, where the agent keeps any."""
        return observation if self._items is None else self._items.see(observation)

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the agent, and ``items.npz`` where it keeps statistics."""
        if self.item_prior:
            write_arrays(folder, "items.npz", **(self._counts or {}))
        super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ConfigError: no such agent there.
        """
        agent = super().load(folder)
        if agent.item_prior:
            agent._counts = read_arrays(folder, "items.npz")
        return agent

    @abstractmethod
    def learn(self, observation: NDArray[np.float32], action: NDArray[Any], reward: NDArray[np.float64],
              next_observation: NDArray[np.float32], terminated: NDArray[np.bool_], info: dict[str, Any]) -> None:  # fmt: skip
        """Learn from one step of B users; `info` is the env's. Rows are real transitions only."""

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """The online loop: act with exploration, step, learn; SAME_STEP, so that no step is lost to resets."""
        env = self.training(task).make(self.envs, AutoresetMode.SAME_STEP)
        observation, info = env.reset(seed=seed)
        self.start(env)
        shown = weight = 0.0  # moving average of the reward, and of ones
        for done in range(0, steps, self.envs):
            action = self.act(observation, info["action_mask"], explore=True)
            following, reward, terminated, truncated, info = env.step(action)
            last = following
            if (terminated | truncated).any():
                last = following.copy()
                rows = np.flatnonzero(info["_final_obs"])
                last[rows] = np.stack(list(info["final_obs"][rows]))
            if self._items is not None:
                self._items.add(info["slate"], info["click"], last)
            self.learn(observation, action, reward, last, terminated, info)
            observation = following
            shown, weight = 0.99 * shown + 0.01 * float(reward.mean()), 0.99 * weight + 0.01
            if progress:
                progress(min(done + self.envs, steps), {"reward": shown / weight})
        env.close()


def require_choices(env: RecVectorEnv, name: str) -> None:
    """What an agent needs that chooses among candidates from flat observations and is paid one number a step.

    Raises:
        ConfigError: actions are embeddings, observations a dict, or rewards vectors; `name` is the agent's.
    """
    require(env.actions.form in ("item", "slate"), "action", f'{name} needs "item" or "slate"', env.actions.form)
    require(env.observations.form != "dict", "observation", f"{name} needs a flat one", "dict")
    require(not env.vector_reward, "reward", f"{name} needs one number a step", "vector")


def require_device(parameter: str, device: Any) -> None:
    """Raise a ConfigError unless it names a device as torch does: cpu, cuda, cuda:<n> or mps."""
    known = isinstance(device, str) and re.fullmatch(r"cpu|mps|cuda(:\d+)?", device)
    require(known, parameter, "must be cpu, cuda, cuda:<n> or mps", device)


def columns_of(layout: Layout, parameter: str, names: Sequence[str]) -> NDArray[np.int64]:
    """Columns of a flat observation, sorted, of blocks ("user") and parts of them ("user.profile").

    Raises:
        ConfigError: no such block or part; `parameter` is what the message calls the names.
    """
    columns: dict[str, NDArray[np.int64]] = {}
    for name, block in layout.items():
        columns[name] = places = np.arange(block.slice.start, block.slice.stop)
        at, places = 0, places.reshape(-1, sum(part.width for part in block.parts))
        for part in block.parts:
            columns[f"{name}.{part.name}"] = places[:, at : (at := at + part.width)].ravel()
    for name in names:
        if name not in columns:
            unknown(parameter, name, columns)
    return np.unique(np.concatenate([columns[name] for name in names]))


def write_arrays(folder: str | os.PathLike[str], name: str, **arrays: NDArray[Any]) -> None:
    """Write arrays to a file of that name, atomically."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomically(Path(folder) / name, buffer.getvalue())


def read_arrays(folder: str | os.PathLike[str], name: str) -> dict[str, NDArray[Any]]:
    """Read what `write_arrays` wrote. Nothing is unpickled.

    Raises:
        ConfigError: no such file.
    """
    file = Path(folder) / name
    require(file.is_file(), "agent folder", f"must hold {name}", str(folder))
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)


REGISTRY: dict[str, str] = {
    "random": "baselines.reference:Random",
    "popularity": "baselines.reference:Popularity",
    "myopic": "baselines.reference:MyopicOracle",
    "planner": "baselines.reference:Planner",
    "ranked": "baselines.reference:Ranked",
    "varied": "baselines.reference:Varied",
    "linucb": "baselines.bandits:LinUCB",
    "thompson": "baselines.bandits:Thompson",
    "pctr": "baselines.bandits:LogisticPCTR",
    "q-learning": "baselines.tabular:QLearning",
    "sarsa": "baselines.tabular:Sarsa",
    "reinforce": "baselines.reinforce:Reinforce",
    "slateq": "baselines.slateq:SlateQ",
    "full-slateq": "baselines.slateq:FullSlateQ",
    "dqn": "baselines.sb3:DQN",
    "qrdqn": "baselines.sb3:QRDQN",
    "ppo": "baselines.sb3:PPO",
    "maskable-ppo": "baselines.sb3:MaskablePPO",
    "recurrent-ppo": "baselines.sb3:RecurrentPPO",
    "sac": "baselines.sb3:SAC",
    "td3": "baselines.sb3:TD3",
}


def agent_class(name: str) -> type[Agent]:
    """An agent class by registry name, entry point (group "recgym.agents"), "package.module:Class" or "file.py:Class".

    Raises:
        ConfigError: no such agent; the message names the nearest.
    """
    from importlib.metadata import entry_points

    plugins = {point.name: point.value for point in entry_points(group="recgym.agents")}
    target = REGISTRY.get(name) or plugins.get(name) or (name if ":" in name else None)
    if target is None:
        unknown("agent", name, [*REGISTRY, *plugins])
    module, _, attribute = target.rpartition(":")
    try:
        found = getattr(_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise recgym.ConfigError(f"agent: cannot import {target!r}: {error}") from None
    require(
        isinstance(found, type) and issubclass(found, Agent), "agent", "must be a subclass of baselines.Agent", found
    )
    return found


def _module(name: str) -> ModuleType:
    """A module by dotted name or by the path of a .py file; a file that has changed is loaded anew."""
    from importlib import import_module
    from importlib.util import module_from_spec, spec_from_file_location

    if not name.endswith(".py"):
        return import_module(name)
    file = Path(name).resolve()
    require(file.is_file(), "agent", "must be in a file that exists", name)
    digest = hashlib.sha256(str(file).encode() + file.read_bytes()).hexdigest()
    known = f"{file.stem}_{digest[:12]}"  # the same in every process, as pickle and dataclasses look modules up by name
    if known not in sys.modules:
        spec = spec_from_file_location(known, file)
        assert spec is not None
        assert spec.loader is not None
        module = sys.modules[known] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[known]
            raise
    return sys.modules[known]


def make_agent(name: str, **hyperparameters: Any) -> Agent:
    """An agent by name, see `agent_class`.

    Raises:
        ConfigError: no such agent or hyper-parameter.
    """
    found = agent_class(name)
    if dataclasses.is_dataclass(found):
        known = [f.name for f in dataclasses.fields(found) if f.init]
        for key in hyperparameters:
            if key not in known:
                unknown(f"{name} hyper-parameter", key, known)
    return found(**hyperparameters)
