"""Who plays beside the person, or recommends to one: agents that are ready at once, and those that get ready in the background."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from baselines import Agent, Task, agent_class, load_pretrained, make_agent
from baselines.pretrained import pretrained
from recgym.compat import AutoresetMode
from recgym.errors import RecgymError, require, require_option
from recgym.world import World

SEED = 2 * 10**9  # agents learn from simulated users from here on, whom no page can ask for
MOST = 12  # agents that are kept ready


class Offer(NamedTuple):
    """An agent that a page offers.

    Attributes:
        title, about: what the page says. steps: of training on simulated users, where none comes trained for the world; 0: none.
        slow: whether it must get ready first, by training or by planning. slates: whether it can fill them.
    """

    title: str
    about: str
    steps: int = 0
    slow: bool = False
    slates: bool = True


OFFERS: dict[str, Offer] = {
    "random": Offer("random", "Shows what chance picks."),
    "popularity": Offer("popularity", "Shows what is most looked at."),
    "heuristic": Offer("heuristic", "The best weighted sum of the numbers that you see, found by search for the default world."),
    "one-step": Offer("one-step*", "Knows the user's mind, and takes the best next step."),
    "best-known": Offer("best known*", "The best policy that the project knows, trained on the user's hidden state."),
    "linucb": Offer("LinUCB", "A bandit that learns what is clicked; in a world that you have changed, first, some seconds.", 20_000, True),
    "dqn": Offer("DQN", "Deep Q-learning; in a world that you have changed it learns first, about a minute.", 20_000, True, False),
    "slate-ppo": Offer("SlatePPO", "Policy gradient over slates; in a world that you have changed it learns first, about a minute.", 100_000, True),
    "planner": Offer("planner*", "Plans on the simulator itself; a minute or two.", 0, True),
}  # fmt: skip
NEEDS = {"best-known": ("torch",), "slate-ppo": ("torch",), "dqn": ("torch", "stable_baselines3")}


def offered(slates: bool, mode: str) -> dict[str, Offer]:
    """The agents that can play: all whose libraries are installed, and for a person as the user those that read no hidden state."""
    found = {}
    for name, offer in OFFERS.items():
        there = all(find_spec(module) is not None for module in NEEDS.get(name, ()))
        if there and (offer.slates or not slates) and (mode == "recommend" or not privileged(name)):
            found[name] = offer
    return found


def privileged(name: str) -> bool:
    """Whether an agent reads the hidden state of the user."""
    return agent_class(name).privileged


def key_of(id: str, options: Mapping[str, Any]) -> str:
    """A name of a world: its id and options."""
    return json.dumps([id, dict(options)], sort_keys=True)


def at_home(key: str) -> bool:
    """Whether a world is that of the leaderboards, but for the users without a profile: agents of theirs come trained."""
    return json.loads(key)[1].keys() <= {"cold_start"}


class Status(NamedTuple):
    """How far an agent is: "ready", "working" or "failed"; progress in [0, 1], None where nobody knows; the error."""

    status: str
    progress: float | None = None
    error: str = ""


class _Cancelled(Exception):
    pass


class _Job:
    """An agent that is getting ready."""

    def __init__(self) -> None:
        self.agent: Agent | None = None
        self.progress: float | None = None
        self.error = ""
        self.wanted = time.monotonic()


class Pool:
    """Agents that are ready, and one thread that gets others ready, one after the other.

    A training that nobody has asked after for `patience` seconds is given up. The thread ends with the process.
    """

    patience = 30.0

    def __init__(self) -> None:
        self._jobs: OrderedDict[tuple[str, str], _Job] = OrderedDict()
        self._queue: queue.SimpleQueue[tuple[_Job, Callable[[_Job], Agent]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        threading.Thread(target=self._work, daemon=True, name="recgym-play").start()

    def status(self, key: str, name: str, id: str, options: dict[str, Any]) -> Status:
        """How far an agent is; asking sets it to work.

        Args:
            key: of the world. name: of the agent. id: of the environment. options: arguments of the environment.

        Raises:
            ConfigError: there is no such agent.
        """
        require_option("agent", name, OFFERS)
        if not OFFERS[name].slow:
            return Status("ready")
        with self._lock:
            job = self._jobs.get((key, name))
            if job is None or job.error == "given up":
                job = self._jobs[key, name] = _Job()
                self._queue.put((job, lambda job: self._made(job, key, name, id, options)))
                while len(self._jobs) > MOST:
                    self._jobs.popitem(last=False)
            job.wanted = time.monotonic()
            self._jobs.move_to_end((key, name))
        if job.error:
            return Status("failed", error=job.error)
        return Status("ready") if job.agent else Status("working", job.progress)

    def agent(self, key: str, name: str) -> Agent:
        """An agent that is ready, for one env alone.

        Raises:
            ConfigError: it is not.
        """
        require_option("agent", name, OFFERS)
        if not OFFERS[name].slow:
            return make_agent(name)
        job = self._jobs.get((key, name))
        require(job is not None and job.agent is not None, "agent", "must be ready; wait until it has learned", name)
        assert job is not None
        assert job.agent is not None
        return job.agent.snapshot()

    def _made(self, job: _Job, key: str, name: str, id: str, options: dict[str, Any]) -> Agent:
        if at_home(key) and any((entry.name, entry.id) == (name, id) for entry in pretrained()):
            return load_pretrained(name, id)
        agent, steps = make_agent(name), OFFERS[name].steps
        if not steps:
            env: Any = gym.make_vec(id, num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **options)
            agent.start(env)
            return agent

        def progress(done: int, _: dict[str, float]) -> None:
            job.progress = min(done / steps, 1.0)
            if time.monotonic() - job.wanted > self.patience:
                raise _Cancelled

        agent.fit(Task(id, options), steps, seed=SEED, progress=progress)
        return agent

    def _work(self) -> None:
        while True:
            job, make = self._queue.get()
            try:
                if time.monotonic() - job.wanted > self.patience:
                    raise _Cancelled
                job.agent = make(job)
            except _Cancelled:
                job.error = "given up"
            except RecgymError as error:
                job.error = str(error)
            except Exception as error:  # whatever a library raises: the page says so, and the thread goes on
                job.error = f"{type(error).__name__}: {error}"


def played(agent: Agent, id: str, options: dict[str, Any], seed: int) -> tuple[list[float], str]:
    """What an agent earns from a user, step by step, and why the session ended.

    Raises:
        ConfigError: the agent cannot play there.
    """
    env: Any = gym.make_vec(id, num_envs=1, autoreset_mode=AutoresetMode.DISABLED, **options)
    observation, info = env.reset(seed=seed)
    agent.start(env)
    rewards, ended = [], ""
    while not ended:
        action = agent.act(observation, info["action_mask"])
        observation, reward, terminated, truncated, info = env.step(np.asarray(action))
        rewards.append(float(reward[0]))
        ended = "left" if terminated[0] else "horizon" if truncated[0] else ""
    env.close()
    return rewards, ended


def around(world: World, null: bool, made: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an environment that plays in a world which is there already."""
    more = {"like_dislike": True} if made.get("like_dislike") else {}
    return {"world": world, "slate_size": world.slate_size, "null_action": null, **more}
