"""What an agent is, what it is trained and scored on, and the loop in which agents learn online."""

from __future__ import annotations

import copy
import dataclasses
import functools
import hashlib
import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from baselines.items import ItemStatistics, check_counts
from baselines.requirements import instance, require_batch, require_users
from recgym.compat import AutoresetMode
from recgym.component import typed
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count
from recgym.files import arrays_as_bytes, parse_arrays, read_bytes, read_json, write_atomically
from recgym.observations import Layout

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
        """A batch of `num_envs` users of the task; `options` go before those of the task."""
        env = gym.make_vec(self.id, num_envs=num_envs, autoreset_mode=autoreset_mode, **{**self.options, **options})
        require(isinstance(env, RecVectorEnv), "task", "must be an environment of recgym", self.id)
        return env  # type: ignore[return-value]


class Agent(ABC):
    """An agent is a dataclass whose fields are its hyper-parameters; what it learns it keeps in other attributes.

    Hyper-parameters are of the types that their annotations say, as the fields of `recgym.Component` are.
    `start` comes before the first `act` in an env, and again whenever all users of the env begin anew.

    `save` writes the hyper-parameters and the files that `contents` gives; `load` hands those to `take`. This is how an
    agent keeps an array that it has learned (`parse_arrays` and `arrays_as_bytes` are of `recgym.files`):

        def contents(self):
            return {**super().contents(), "clicks.npz": arrays_as_bytes({"clicks": self.clicks})}

        def take(self, read):
            super().take(read)
            self.clicks = parse_arrays(read("clicks.npz"), "agent folder", "clicks.npz", ["clicks"])["clicks"]
    """

    privileged = False  # whether it reads the simulator's hidden state: then it is a reference, not a competitor
    objective_weights: dict[str, float] | None = None  # objective -> weight in training; None: the task's own reward
    expected_reward = False  # whether it is trained on expected rewards, see `recgym.RecVectorEnv`

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name in ("act", "values"):
            if name in cls.__dict__:
                setattr(cls, name, _with_booleans(cls.__dict__[name]))
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = typed(cls.__dict__["__post_init__"])  # type: ignore[method-assign]

    @typed  # noqa: B027
    def __post_init__(self) -> None:
        """Checks of the hyper-parameters."""

    def training(self, task: Task | str) -> Task:
        """The task in which the agent is trained for a task, or for that of an id.

        It pays by the `objective_weights`, and what is to be expected where `expected_reward` says so.

        Raises:
            ConfigError: the agent has objective weights and the task a like_dislike reward.
        """
        task = Task(task) if isinstance(task, str) else task
        if self.expected_reward:
            task = Task(task.id, {**task.options, "expected_reward": True})
        if self.objective_weights is None:
            return task
        clash = task.options.get("like_dislike", False)
        require(
            not clash,
            "objective_weights",
            "must be None where the task pays likes and dislikes",
            self.objective_weights,
        )
        return Task(task.id, {**task.options, "reward": self.objective_weights})

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:  # noqa: B027
        """Learn from `steps` user-steps of ``self.training(task)``. The default learns nothing."""

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env. The default remembers the env.

        Raises:
            ConfigError: it is another kind of env, such as one of a single user.
        """
        require_users(env)
        self.env = env

    @abstractmethod
    def act(self, observation: NDArray[np.float32], mask: NDArray[np.bool_], explore: bool = False) -> NDArray[Any]:
        """Actions of B users.

        Args:
            observation: (B, width) float32, flat. mask: (B, n) bool, the choices that show something; the int8 of
                ``info["action_mask"]`` will do, as they become booleans before a class's own `act` or `values` gets them.
            explore: whether to act as in training.

        Returns:
            Actions of the env's action space: (B,) for items, (B, S) for slates.
        """

    def explain(self, observation: NDArray[np.float32], mask: NDArray[np.bool_], background: Any = None) -> Explanation:
        """Values of the choices of B users and what they are made of, see `baselines.explain.explain`."""
        from baselines.explain import explain

        return explain(self, observation, mask, background)

    def snapshot(self) -> Self:
        """A copy that acts, once started, as this agent would if its training ended now.

        It is for scores in the middle of a training, which `start` and `act` of the copy leave alone. The attributes
        that `in_training` names are not copied but shared, as they are large or of no use to the copy.

        Raises:
            ConfigError: the agent holds what Python cannot copy; its class then needs a snapshot of its own.
        """
        shared = [value for name in self.in_training if (value := self.__dict__.get(name)) is not None]
        try:
            return copy.deepcopy(self, {id(value): value for value in shared})
        except TypeError as error:
            rule = "must hold what can be copied, or bring a snapshot of its own"
            raise ConfigError(f"agent: {rule}, got {type(self).__name__}: {error}") from None

    in_training: ClassVar[tuple[str, ...]] = ("env",)  # attributes that acting after `start` does without

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the hyper-parameters, ``agent.json``, and the files of `contents`; each file whole or not at all.

        ``agent.json`` is written last and has the digests of the others, so that a reader never takes the files of two
        agents for those of one.

        Raises:
            ConfigError: the agent is not a dataclass.
        """
        require(
            dataclasses.is_dataclass(self), "agent", "must be a dataclass, or bring its own save", type(self).__name__
        )
        contents = self.contents()
        for name, content in contents.items():
            write_atomically(Path(folder) / name, content)
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        data = {"agent": type(self).__name__, **{f.name: getattr(self, f.name) for f in fields if f.init}}
        if contents:
            data["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        text = json.dumps(data, indent=1, default=lambda value: value.item())  # of NumPy's numbers
        write_atomically(Path(folder) / "agent.json", text.encode())

    def contents(self) -> dict[str, bytes]:
        """Name -> content of the files that hold what was learned; a class adds its own to its base's."""
        return {}

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Nothing is unpickled, and nothing is used that has not been checked.

        Raises:
            ConfigError: no such agent there, or one of another class; a hyper-parameter that it does not have or that
                breaks its rule; a file that is missing, torn, or of another agent. The message names the file.
        """
        for _ in range(10):
            try:
                return cls._load(Path(folder))
            except _Replaced:
                time.sleep(0.02)  # somebody is saving another agent there just now
        raise ConfigError(
            f"agent folder: must hold the files of one agent, whose digests agent.json knows, got {folder}"
        )

    @classmethod
    def _load(cls, folder: Path) -> Self:
        file = folder / "agent.json"
        data = read_json(file, "agent folder")
        found = data.pop("agent", None) if isinstance(data, dict) else None
        require(found == cls.__name__, "agent folder", f"must hold a {cls.__name__}, in {file}", found)
        digests = data.pop("files", {})
        require(isinstance(digests, dict), "agent folder", f"must have digests by file, in {file}", digests)

        def read(name: str) -> bytes:
            content = read_bytes(folder / name, "agent folder")
            if name in digests and digests[name] != hashlib.sha256(content).hexdigest():
                raise _Replaced
            return content

        try:
            agent = instance(cls, cls.__name__, data)
            agent.take(read)
        except ConfigError as error:
            raise ConfigError(f"{folder}: {error}") from None
        return agent

    def take(self, read: Callable[[str], bytes]) -> None:  # noqa: B027
        """Take over the files that `contents` gave, after those of the base class.

        Args:
            read: the content of a file by its name; a file that is missing is a ConfigError.

        Raises:
            ConfigError: a file holds something else.
        """


def _with_booleans(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of (self, observation, mask, ...) whose mask is of booleans, whichever numbers are given."""

    @functools.wraps(method)
    def call(self: Any, observation: Any, mask: Any, *args: Any, **kwargs: Any) -> Any:
        return method(self, observation, np.asarray(mask).astype(np.bool_, copy=False), *args, **kwargs)

    return call


class _Replaced(Exception):
    """A file is not the one that ``agent.json`` was written with."""


class Score(NamedTuple):
    """Results of n users, of one episode each."""

    returns: NDArray[np.float64]  # (n,) undiscounted; (n, M) where the task pays a vector
    lengths: NDArray[np.int64]  # (n,) steps
    objectives: NDArray[np.float64]  # (n, M) sums
    names: tuple[str, ...]  # of the objectives


def evaluate(
    agent: Agent, task: Task | str, users: int, seed: int = 0, batch: int = 4096, progress: Progress | None = None
) -> Score:
    """Scores of an agent that has stopped learning: one episode for each of `users` users.

    User i is the one of seed + i, whichever the agent: common random numbers. `Agent.fit` trains on the users of its own
    seed + i, as many as the agent has `envs`: take a seed far from it to score on users whom the agent has not met.

    Args:
        agent: who acts, with explore=False; it gets observations in the form of the task. task: where, or its id.
        users: how many, >= 1. seed: of the first user. batch: users stepped together; the score does not depend on it.
        progress: called with the number of steps done.

    Raises:
        ConfigError: the agent cannot play this task. SlateError: it acts outside the action space.
    """
    require_count("users", users, 1, 10**9)
    require_count("batch", batch, 1, 10**9)
    task = Task(task) if isinstance(task, str) else task
    parts, names, done_steps = [], (), 0
    for first in range(0, users, batch):
        n = min(batch, users - first)
        env = task.make(n, AutoresetMode.DISABLED)
        observation, info = env.reset(seed=seed + first)
        agent.start(env)
        lengths, objectives = np.zeros(n, np.int64), np.zeros((n, len(env.world.objectives)))
        returns = np.zeros(objectives.shape if env.vector_reward else n)
        alive = np.ones(n, np.bool_)
        while alive.any():
            action = agent.act(observation, info["action_mask"])
            observation, reward, terminated, truncated, info = env.step(action)
            returns += reward
            objectives += info["objectives"]
            lengths += alive
            done_steps += int(alive.sum())
            alive = ~(terminated | truncated)
            if progress:
                progress(done_steps, {"users": first + n - int(alive.sum()), "return": float(returns.mean())})
        env.close()
        names = env.world.objectives
        parts.append((returns, lengths, objectives))
    return Score(*(np.concatenate(column) for column in zip(*parts, strict=True)), names=names)


def last_observations(
    following: NDArray[np.float32], info: dict[str, Any], users: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Observations after a step that resets within itself; of users whose episode ended, the last one of that episode.

    Args:
        following: (B, width), as the env returned them. info: of the step. users: (B,) bool, whose; None: of all.

    Returns:
        (n, width) of the n users; `following` itself where all are asked for and no episode ended.
    """
    ended = info.get("_final_obs")
    if ended is None:
        return following if users is None else following[users]
    users = np.ones(len(following), np.bool_) if users is None else users
    last = following[users]
    final = info["final_obs"][users & ended]
    if len(final):
        last[ended[users]] = np.stack(list(final))
    return last


class MovingAverage:
    """An exponential moving average of about the last hundred numbers, unbiased from the first on."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def __call__(self, number: float) -> float:
        """Add a number, and return the average."""
        self._sum, self._weight = 0.99 * self._sum + 0.01 * number, 0.99 * self._weight + 0.01
        return self._sum / self._weight


class OnlineAgent(Agent):
    """An agent that learns from each batch of transitions as it comes."""

    envs = 64  # users it is trained on at a time
    wants_last = True  # whether `learn` reads the last observations of episodes; where False, a copy per step is saved
    item_prior = 0.0  # clicks, see `ItemStatistics`; 0: the agent keeps no statistics of items
    item_statistics: ItemStatistics | None = None  # of the items of the env; None: it keeps none
    item_counts: dict[str, NDArray[Any]] | None = None  # their arrays, which files hold; None before the first `start`

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env.

        Raises:
            ConfigError: the statistics that the agent has are of other items.
        """
        super().start(env)
        self.item_statistics = None
        if self.item_prior:
            self.item_statistics = ItemStatistics(env, self.item_prior)
            if self.item_counts:
                self.item_statistics.put(self.item_counts)
            self.item_counts = self.item_statistics.arrays

    @property
    def layout(self) -> Layout:
        """Blocks of the observations that `see` returns."""
        return self.env.observation_layout if self.item_statistics is None else self.item_statistics.layout

    def see(self, observation: NDArray[np.float32]) -> NDArray[np.float32]:
        """Observations (B, width) float32, wider by the statistics of their candidates where the agent keeps any."""
        require_batch(observation)
        return observation if self.item_statistics is None else self.item_statistics.see(observation)

    def contents(self) -> dict[str, bytes]:
        more = {"items.npz": arrays_as_bytes(self.item_counts or {})} if self.item_prior else {}
        return {**super().contents(), **more}

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        if self.item_prior:
            self.item_counts = parse_arrays(read("items.npz"), "agent folder", "items.npz") or None
            if self.item_counts is not None:
                check_counts(self.item_counts)

    @abstractmethod
    def learn(self, observation: NDArray[np.float32], action: NDArray[Any], reward: NDArray[np.float64],
              next_observation: NDArray[np.float32], terminated: NDArray[np.bool_], info: dict[str, Any]) -> None:  # fmt: skip
        """Learn from one step of B users.

        Args:
            observation, next_observation: (B, width) float32, before and after the step; of a user whose episode ended,
                the last observation of that episode, or with `wants_last` False the first one of the next episode, and
                `last_observations` gives the others. action: as `act` returned it. reward: (B,) float64.
            terminated: (B,) bool, whether the user has left. info: of the env's step.
        """

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Act with exploration, step, learn, and again; envs reset within the step, so that none is lost to resets.

        Raises:
            ConfigError: `progress` has started this agent in another env, instead of a `snapshot` of it.
        """
        env = self.training(task).make(self.envs, AutoresetMode.SAME_STEP)
        observation, info = env.reset(seed=seed)
        self.start(env)
        average = MovingAverage()
        for done in range(0, steps, self.envs):
            action = self.act(observation, info["action_mask"], explore=True)
            following, reward, terminated, _, info = env.step(action)
            if self.item_statistics is not None:
                clicked = info["click"].any(axis=1)
                self.item_statistics.add(info["slate"], info["click"], last_observations(following, info, clicked))
            last = last_observations(following, info) if self.wants_last else following
            self.learn(observation, action, reward, last, terminated, info)
            observation = following
            shown = average(float(reward.mean()))
            if progress:
                progress(min(done + self.envs, steps), {"reward": shown})
                require(
                    self.env is env, "progress", "must start a snapshot() of an agent that learns", type(self).__name__
                )
        env.close()
