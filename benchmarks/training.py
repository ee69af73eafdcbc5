"""Where the time of a training goes: the environment, acting, learning, and the loop around them.

Parts are told apart by a clock around the methods in which they lie, while the agent trains as it always does:

- environment: making it, `reset` and `step`, whatever they do;
- acting: `Agent.act`, or of the agents of Stable-Baselines3 what the algorithm draws and its policy computes;
- learning: gradient steps or updates of a model, with the draws from a replay and the targets;
- loop: everything else, such as copies, statistics of items, what is kept of a step, and Python between the calls.

The time is that of the processor, all threads together, so that other work on the machine hardly counts. What a GPU
computes meanwhile is not seen.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from baselines.agent import Agent, Task
from baselines.registry import make_agent
from benchmarks.tables import Section
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count

PARTS: tuple[str, ...] = ("environment", "acting", "learning", "loop")
LEARNING = ("improve", "_improve", "_update")  # methods in which `learn` learns; of other agents, all of `learn` does
SHOP, SLATES = "recgym/Ecommerce-v0", "recgym/EcommerceSlate-v0"


class Case(NamedTuple):
    """What is measured: an agent by name, on an id, with so many users at a time (None: the agent's own number)."""

    agent: str
    id: str = SHOP
    users: int | None = None


CASES = (
    Case("dqn"),
    Case("ppo"),
    Case("reinforce", SLATES, 256),
    Case("slateq", SLATES, 256),
    Case("linucb", SLATES, 256),
    Case("thompson", SLATES, 256),
)


@dataclass(frozen=True)
class Cost:
    """What training an agent costs.

    Args:
        agent, id: who, where. users: stepped together. steps: user-steps of each run.
        seconds: of the processor, by part, of each run. shares: of the parts, the medians over runs.
        speed: user-steps per second of the processor, the median over runs.
    """

    agent: str
    id: str
    users: int
    steps: int
    seconds: list[dict[str, float]]
    shares: dict[str, float]
    speed: float


class Clock:
    """Processor time by part. A part that begins within another stops it until it ends."""

    def __init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Count from here on, for the loop at first."""
        self.seconds: dict[str, float] = dict.fromkeys(PARTS, 0.0)
        self._part, self._since = "loop", time.process_time()

    def switch(self, part: str) -> str:
        """Count for another part from now on, and return the one before."""
        now, before = time.process_time(), self._part
        self.seconds[before] += now - self._since
        self._part, self._since = part, now
        return before

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """The function, whose time counts for a part."""

        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            before = self.switch(part)
            try:
                return function(*args, **kwargs)
            finally:
                self.switch(before)

        return timed


class Run(NamedTuple):
    """A training that was timed."""

    seconds: dict[str, float]  # of the processor, by part
    users: int  # stepped together
    steps: int  # user-steps


def timed_fit(agent: Agent, task: Task, steps: int, seed: int = 0) -> Run:
    """Train an agent as ``agent.fit(task, steps, seed)`` does, to the last bit, and say where the time went.

    The clock is around methods of this agent, and of all environments until it returns.

    Raises:
        ConfigError: the agent takes no step, as it has nothing to learn.
    """
    clock, done = Clock(), []
    step = clock.around(RecVectorEnv.step, "environment")

    def counted(env: RecVectorEnv, actions: Any) -> Any:
        done.append(env.num_envs)
        return step(env, actions)

    with ExitStack() as stack:
        for owner, name, function in (
            (RecVectorEnv, "step", counted),
            (RecVectorEnv, "reset", clock.around(RecVectorEnv.reset, "environment")),
            (Task, "make", clock.around(Task.make, "environment")),
            *((agent, name, function) for name, function in _of_agent(agent, clock).items()),
        ):
            stack.enter_context(patch.object(owner, name, function))
        clock.start()
        agent.fit(task, steps, seed)
        clock.switch("loop")
    require(bool(done), "agent", "must learn from steps", type(agent).__name__)
    return Run(clock.seconds, max(done), sum(done))


def _of_agent(agent: Any, clock: Clock) -> dict[str, Any]:
    """Name -> what replaces an attribute of the agent while it is timed."""
    replaced = {"act": clock.around(agent.act, "acting")}
    learning = [name for name in LEARNING if hasattr(agent, name)] or ["learn"] * hasattr(agent, "learn")
    replaced |= {name: clock.around(getattr(agent, name), "learning") for name in learning}
    if hasattr(getattr(agent, "algorithm", None), "_setup_model"):
        replaced["algorithm"] = _of_algorithm(agent.algorithm, clock)
    return replaced


def _of_algorithm(algorithm: type[Any], clock: Clock) -> type[Any]:
    """An algorithm of Stable-Baselines3 with the clock around its learning, its draws, and the calls of its policy."""

    class Timed(algorithm):
        def _setup_model(self) -> None:
            super()._setup_model()
            for owner, names, part in (
                (self, ("train",), "learning"),
                (self, ("_sample_action",), "acting"),
                (self.policy, ("forward", "predict_values"), "acting"),
            ):
                for name in names:
                    if hasattr(owner, name):
                        setattr(owner, name, clock.around(getattr(owner, name), part))

    return Timed


def training(
    cases: Sequence[Case] = CASES,
    steps: int = 20_000,
    runs: int = 3,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Cost]:
    """Measure trainings.

    Args:
        cases: of whom and where. steps: user-steps of each run, more where an agent rounds up. runs: of each case, with
            seeds 0, 1, ..., after a short one to warm up. progress: told what is being measured.

    Raises:
        ConfigError: no such agent, id or number of users; or the agent cannot learn there.
    """
    require_count("steps", steps, 1, 10**9)
    require_count("runs", runs, 1, 1000)
    costs = []
    for case in cases:
        progress(f"{case.agent}, {case.id}")
        more, task = {} if case.users is None else {"envs": case.users}, Task(case.id)
        timed_fit(make_agent(case.agent, **more), task, 1)
        found = [timed_fit(make_agent(case.agent, **more), task, steps, seed) for seed in range(runs)]
        totals = [sum(run.seconds.values()) for run in found]
        shares = {
            part: float(np.median([run.seconds[part] / total for run, total in zip(found, totals, strict=True)]))
            for part in PARTS
        }
        speed = float(np.median([run.steps / total for run, total in zip(found, totals, strict=True)]))
        seconds = [run.seconds for run in found]
        costs.append(Cost(case.agent, case.id, found[0].users, found[0].steps, seconds, shares, speed))
    return costs


def cases_of(agents: Sequence[str], id: str | None = None, users: int | None = None) -> list[Case]:
    """The cases of some agents, all of `CASES` where none is named; `id` and `users` replace theirs."""
    known = {case.agent: case for case in CASES}
    chosen = [known.get(agent, Case(agent)) for agent in agents or known]
    return [Case(case.agent, id or case.id, users or case.users) for case in chosen]


def section(costs: Sequence[Cost]) -> Section:
    """The table of the measurements."""
    rows = [
        (
            c.agent,
            c.id.removeprefix("recgym/"),
            str(c.users),
            *(f"{100 * c.shares[part]:.1f}" for part in PARTS),
            f"{c.speed:,.0f}",
        )
        for c in costs
    ]
    header = ("agent", "id", "users", *PARTS, "steps / s")
    return Section("Shares of a training's processor time in %, and user-steps per second of it", header, rows, words=2)


def to_dict(costs: Sequence[Cost]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [asdict(cost) for cost in costs]
