"""What an agent is, what it is trained and scored on, and the one online loop of all home-grown learners."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

import recgym
from baselines.items import ItemStatistics, check_counts
from recgym.component import typed
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, unknown
from recgym.files import arrays_as_bytes, parse_arrays, read_bytes, read_json, write_atomically
from recgym.observations import Layout

if TYPE_CHECKING:
    from baselines.explain import Explanation

Made = TypeVar("Made", bound="Agent")
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

    Hyper-parameters are of the types that their annotations say, as the fields of `recgym.Component` are.
    `start` comes before the first `act` in an env, and again whenever all users of the env begin anew.
    """

    privileged = False  # reads the simulator's hidden state: a reference, not a competitor
    objective_weights: dict[str, float] | None = None  # objective -> weight in training; None: the task's own reward

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = typed(cls.__dict__["__post_init__"])  # type: ignore[method-assign]

    @typed  # noqa: B027
    def __post_init__(self) -> None:
        """Checks of the hyper-parameters."""

    def training(self, task: Task | str) -> Task:
        """The task, or that of an id, as the agent is trained on it: paying by its `objective_weights`, if any.

        Raises:
            ConfigError: the agent has objective weights and the task a like_dislike reward.
        """
        task = Task(task) if isinstance(task, str) else task
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
        """Learn from `steps` user-steps of the task, `training` it where it pays. The default learns nothing."""

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act for the users of an env. The default remembers the env.

        Raises:
            ConfigError: it is another kind of env, such as one of a single user.
        """
        _require_users(env)
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

    def snapshot(self) -> Self:
        """An agent of its own that acts, once started, as this one would if its training ended now.

        So an agent is scored in the middle of its training: `start` and `act` of the snapshot leave the training as it
        is. What `in_training` names is shared with it, as it is large or of no use to the snapshot.

        Raises:
            ConfigError: the agent holds what Python cannot copy; its class then needs a snapshot of its own.
        """
        shared = [value for name in self.in_training if (value := self.__dict__.get(name)) is not None]
        try:
            return copy.deepcopy(self, {id(value): value for value in shared})
        except TypeError as error:
            rule = "must hold what can be copied, or bring a snapshot of its own"
            raise recgym.ConfigError(f"agent: {rule}, got {type(self).__name__}: {error}") from None

    in_training: ClassVar[tuple[str, ...]] = ("env",)  # attributes that acting after `start` does without

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``agent.json``, the hyper-parameters, and beside it what was learned; each file whole or not at all.

        ``agent.json`` comes last and knows the digests of the others, so that a reader never takes files of two agents
        for one.

        Raises:
            ConfigError: the agent is no dataclass.
        """
        require(
            dataclasses.is_dataclass(self), "agent", "must be a dataclass, or bring its own save", type(self).__name__
        )
        contents = self._contents()
        for name, content in contents.items():
            write_atomically(Path(folder) / name, content)
        fields: Any = dataclasses.fields(self)  # type: ignore[arg-type]
        data = {"agent": type(self).__name__, **{f.name: getattr(self, f.name) for f in fields if f.init}}
        if contents:
            data["files"] = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        text = json.dumps(data, indent=1, default=lambda value: value.item())  # of NumPy's numbers
        write_atomically(Path(folder) / "agent.json", text.encode())

    def _contents(self) -> dict[str, bytes]:
        """Name -> content of the files that hold what was learned."""
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
        raise recgym.ConfigError(
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
            agent = _made(cls, cls.__name__, data)
            agent._take(read)
        except recgym.ConfigError as error:
            raise recgym.ConfigError(f"{folder}: {error}") from None
        return agent

    def _take(self, read: Callable[[str], bytes]) -> None:  # noqa: B027
        """Take over what `_contents` gave.

        Args:
            read: the content of the file of a name.

        Raises:
            ConfigError: it is not what `_contents` gives.
        """


class _Replaced(Exception):
    """A file is not the one that ``agent.json`` was written with."""


class Score(NamedTuple):
    """One episode each of n users."""

    returns: NDArray[np.float64]  # (n,) undiscounted; (n, M) where the task pays a vector
    lengths: NDArray[np.int64]  # (n,) steps
    objectives: NDArray[np.float64]  # (n, M) sums
    names: tuple[str, ...]  # of the objectives


def evaluate(
    agent: Agent, task: Task | str, users: int, seed: int = 0, batch: int = 4096, progress: Progress | None = None
) -> Score:
    """Mean performance of an agent that has stopped learning: one episode for each of `users` users.

    User i is the one of seed + i, whoever the agent: common random numbers. `Agent.fit` trains on the users of its own
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
    parts, done_steps = [], 0
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
        parts.append((returns, lengths, objectives))
    return Score(*(np.concatenate(column) for column in zip(*parts, strict=True)), names=env.world.objectives)


class MovingAverage:
    """Of numbers that come one after the other, the last hundred or so; unbiased from the first on."""

    def __init__(self) -> None:
        self._sum = self._weight = 0.0

    def __call__(self, number: float) -> float:
        """The average with one more."""
        self._sum, self._weight = 0.99 * self._sum + 0.01 * number, 0.99 * self._weight + 0.01
        return self._sum / self._weight


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
        require_batch(observation)
        return observation if self._items is None else self._items.see(observation)

    def _contents(self) -> dict[str, bytes]:
        more = {"items.npz": arrays_as_bytes(self._counts or {})} if self.item_prior else {}
        return {**super()._contents(), **more}

    def _take(self, read: Callable[[str], bytes]) -> None:
        super()._take(read)
        if self.item_prior:
            self._counts = parse_arrays(read("items.npz"), "agent folder", "items.npz") or None
            if self._counts is not None:
                check_counts(self._counts)

    @abstractmethod
    def learn(self, observation: NDArray[np.float32], action: NDArray[Any], reward: NDArray[np.float64],
              next_observation: NDArray[np.float32], terminated: NDArray[np.bool_], info: dict[str, Any]) -> None:  # fmt: skip
        """Learn from one step of B users; `info` is the env's. Rows are real transitions only."""

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """The online loop: act with exploration, step, learn; SAME_STEP, so that no step is lost to resets.

        Raises:
            ConfigError: `progress` has started this agent in another env, instead of a `snapshot` of it.
        """
        env = self.training(task).make(self.envs, AutoresetMode.SAME_STEP)
        observation, info = env.reset(seed=seed)
        self.start(env)
        average = MovingAverage()
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
            shown = average(float(reward.mean()))
            if progress:
                progress(min(done + self.envs, steps), {"reward": shown})
                require(
                    self.env is env, "progress", "must start a snapshot() of an agent that learns", type(self).__name__
                )
        env.close()


def _require_users(env: Any) -> None:
    rule = "must be a batch of users, which gymnasium.make_vec and Task.make give"
    require(isinstance(env, RecVectorEnv), "env", rule, type(env).__name__)


def require_choices(env: RecVectorEnv, name: str) -> None:
    """What an agent needs that chooses among candidates from flat observations and is paid one number a step.

    Raises:
        ConfigError: actions are embeddings, observations a dict, or rewards vectors; `name` is the agent's.
    """
    _require_users(env)
    require(env.actions.form in ("item", "slate"), "action", f'{name} needs "item" or "slate"', env.actions.form)
    require(env.observations.form != "dict", "observation", f"{name} needs a flat one", "dict")
    require(not env.vector_reward, "reward", f"{name} needs one number a step", "vector")


def require_batch(observation: Any) -> None:
    """Raise a ConfigError unless it is a batch of flat observations, (B, width)."""
    rule = "must be a batch of flat ones, (B, width); of a single user observation[None]"
    fits = isinstance(observation, np.ndarray) and observation.ndim == 2
    require(fits, "observation", rule, getattr(observation, "shape", type(observation).__name__))


def require_device(parameter: str, device: Any) -> None:
    """Raise a ConfigError unless it names a device as torch does: cpu, cuda, cuda:<n> or mps."""
    known = isinstance(device, str) and re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", device, re.ASCII)
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


def require_array(array: NDArray[Any], name: str, dtype: Any, shape: tuple[int | None, ...]) -> None:
    """Require an array that was read: its type, its shape (None: any length), and that it is finite.

    Raises:
        ConfigError: it is another one; `name` is what the message calls it.
    """
    fits = array.ndim == len(shape) and all(want in (None, have) for want, have in zip(shape, array.shape))
    sizes = ", ".join("any" if size is None else str(size) for size in shape)
    require(fits, name, f"must have shape ({sizes})", array.shape)
    require(array.dtype == dtype, name, f"must be of type {np.dtype(dtype)}", str(array.dtype))
    require(array.dtype.kind != "f" or np.isfinite(array).all(), name, "must be finite", "NaN or inf")


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
    return _made(agent_class(name), name, hyperparameters)


def _made(found: type[Made], name: str, hyperparameters: dict[str, Any]) -> Made:
    if dataclasses.is_dataclass(found):
        known = [f.name for f in dataclasses.fields(found) if f.init]
        for key in hyperparameters:
            if key not in known:
                unknown(f"{name} hyper-parameter", key, known)
        for f in dataclasses.fields(found):
            if f.init and f.name not in hyperparameters and f.default is f.default_factory is dataclasses.MISSING:
                raise recgym.ConfigError(f"{name} hyper-parameter: {f.name!r} must be given")
    return found(**hyperparameters)
