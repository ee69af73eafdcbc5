"""Would planning pay here? What a policy that looks ahead would gain, in a world, over the best that does not.

    answer = would_planning_pay("recgym/Ecommerce-v0", users=1000)
    print(answer.sentence)

Three policies know the hidden state of the users: "myopic" maximises the expected reward of the step, "one-step" does so for
the best fixed weighting of the objectives (where one is committed), and "planner" looks ahead by approximate policy
iteration. The gain is (planner - myopic) / myopic of the mean return per user. All agents meet the same users with the same
noise, and the interval is Fieller's (1954) for the ratio of paired means: it needs no large sample for the ratio itself, and is
honest where the divisor may be 0. It covers chance in the users, not that a better planner may exist: the gain is a lower
bound of what planning could bring.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

import recgym
from baselines.agent import Agent, Task, evaluate
from baselines.policies import policy_digests, policy_file
from baselines.registry import make_agent
from benchmarks.metrics import standard_error
from benchmarks.references import publish
from benchmarks.run import software
from benchmarks.suite import EVALUATION_SEED, training_seeds
from benchmarks.tables import Section
from recgym.errors import ConfigError, require, require_count, unknown
from recgym.logs.estimates import student
from recgym.worlds import load_world

PLANNING_USERS = 500  # evaluated
SURE = 0.02  # a gain whose interval lies within so much of 0 is none
BASE = "myopic"
SINGLE, SLATE = "recgym/Ecommerce-v0", "recgym/EcommerceSlate-v0"  # what a world without an id is played in
Array = NDArray[np.float64]


class Gain(NamedTuple):
    """By which share of the base's mean return an agent earns more, with its 95 % interval; infinite ends: it has none."""

    agent: str
    base: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Answer:
    """What the agents earn in a world, and whether planning pays.

    Args:
        world: its name, id or folder. users: visitors, the same for all agents. seed: of the first.
        returns: agent -> mean return per user and its standard error. gains: over the myopic policy, or others.
        left_out: agent -> why it could not play. learned: the agent that was trained for this, "" if none.
        steps: of its training. seconds: that it took. software: versions.
    """

    world: str
    users: int
    seed: int
    returns: dict[str, tuple[float, float]]
    gains: tuple[Gain, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    learned: str = ""
    steps: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    software: dict[str, str] = field(default_factory=dict)

    def gain(self, agent: str = "planner", base: str = BASE) -> Gain:
        """The gain of an agent over another.

        Raises:
            ConfigError: it was not measured.
        """
        found = [gain for gain in self.gains if (gain.agent, gain.base) == (agent, base)]
        names = [(gain.agent, gain.base) for gain in self.gains]
        require(found, "gain", f"must be one of {names}", (agent, base))
        return found[0]

    @property
    def pays(self) -> bool | None:
        """Whether planning pays: True or False; None where the users are too few to tell."""
        gain = self.gain()
        if gain.low > 0:
            return True
        return False if gain.high <= SURE else None

    @property
    def sentence(self) -> str:
        """The answer in plain words."""
        gain = self.gain()
        range_ = interval_text(gain)
        if not math.isfinite(gain.value):
            return "The best greedy policy earns nothing here, so that there is nothing to compare planning with."
        if self.pays:
            first = f"Planning ahead would earn {share_text(gain.value)} more per visitor than the best greedy policy {range_}."
        elif self.pays is None:
            first = (f"{self.users:,} visitors are too few to tell whether planning ahead pays: against the best greedy policy it "
                     f"earns {signed_text(gain.value)} per visitor {range_}.")  # fmt: skip
        elif gain.low >= -SURE:
            first = f"Planning ahead would gain nothing over the best greedy policy: {signed_text(gain.value)} per visitor {range_}."
        else:
            first = f"The planner that was tried earns less than the best greedy policy: {signed_text(gain.value)} per visitor {range_}. There is no sign that planning pays."
        parts = [first]
        for agent, text in (
            ("one-step", "greedy policy on the best fixed weights of the objectives"),
            (self.learned, ""),
        ):
            found = [g for g in self.gains if g.agent == agent and g.base == BASE]
            if agent and found:
                name = text or f"{agent}, trained on {self.steps:,} steps and without a view of the hidden state,"
                parts.append(f"The {name} earns {signed_text(found[0].value)} {interval_text(found[0])}." if text else
                             f"{name[0].upper()}{name[1:]} earns {signed_text(found[0].value)} {interval_text(found[0])} against the greedy policy.")  # fmt: skip
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where an interval has no end."""
        plain = lambda x: float(f"{x:.8g}") if math.isfinite(x) else None  # noqa: E731
        return {
            "world": self.world, "users": self.users, "seed": self.seed, "sentence": self.sentence, "pays": self.pays,
            "gains": [{"agent": g.agent, "base": g.base, "gain": plain(g.value), "low": plain(g.low), "high": plain(g.high)}
                      for g in self.gains],
            "returns": {agent: {"mean": plain(m), "se": plain(se)} for agent, (m, se) in self.returns.items()},
            "left_out": self.left_out, "learned": self.learned, "steps": self.steps,
            "seconds": {name: round(s, 1) for name, s in self.seconds.items()}, "software": self.software,
        }  # fmt: skip


def gain_of(agent: str, base: str, returns: Array, base_returns: Array) -> Gain:
    """The gain of mean returns over others of the same n users, with Fieller's 95 % interval.

    It is the set of ratios r for which the mean of returns - r base_returns does not differ from 0 by Student's t. Where the
    mean of the base itself does not differ from 0, there is no interval, and its ends are infinite.
    """
    a, b, n = np.asarray(returns, np.float64), np.asarray(base_returns, np.float64), len(returns)
    mean_a, mean_b = float(a.mean()), float(b.mean())
    if mean_b <= 0 or n < 2:
        return Gain(agent, base, mean_a / mean_b - 1 if mean_b > 0 else math.nan, -math.inf, math.inf)
    value = mean_a / mean_b
    (var_a, cov), (_, var_b) = (np.cov(a, b) / n * student(n - 1) ** 2).tolist()
    # (b - r)-terms of the quadratic q2 r^2 - 2 q1 r + q0 <= 0, moved to its estimate: r = value + x.
    q2 = mean_b**2 - var_b
    if q2 <= 0:
        return Gain(agent, base, value - 1, -math.inf, math.inf)
    half = value * var_b - cov  # of the term in x, times -1
    spread = max(var_a - 2 * value * cov + value**2 * var_b, 0.0)  # of returns - value base_returns
    root = math.sqrt(half**2 + q2 * spread)
    return Gain(agent, base, value - 1, value - 1 + (half - root) / q2, value - 1 + (half + root) / q2)


def task_of(world: str | os.PathLike[str], **options: Any) -> Task:
    """The task of a world: a Gymnasium id, a registered name, the name of a fitted world, or a folder with world.json.

    A registered name means the first of its ids; a fitted world is played at its own slate size.

    Raises:
        ConfigError: no such world; the message names the nearest.
    """
    name = os.fspath(world)
    registered, fitted = recgym.registered_worlds(), recgym.fitted_worlds()
    if name in registered:
        return Task(next(iter(registered[name].ids)), options)
    if name not in fitted and not os.path.isfile(Path(name) / "world.json"):
        ids = [id for one in registered.values() for id in one.ids]
        if name not in ids:
            unknown("world", name, [*ids, *registered, *fitted])
        return Task(name, options)
    size = load_world(world).slate_size
    if size == 1:
        return Task(SINGLE, {"world": name, **options})
    return Task(SLATE, {"world": name, "slate_size": size, **options})


def would_planning_pay(world: str | os.PathLike[str], users: int = PLANNING_USERS, *, agent: str = "", steps: int = 200_000,
                       parameters: dict[str, Any] | None = None, planner: dict[str, Any] | None = None,
                       seed: int = EVALUATION_SEED, progress: Callable[[str], None] | None = None,
                       **options: Any) -> Answer:  # fmt: skip
    """Let random, popularity, the myopic policies and the planner serve the same users, and compare what they earn.

    Args:
        world: see `task_of`. users: how many, >= 2. seed: of the first; user i is the one of seed + i.
        agent: of one that is trained for `steps` user-steps and compared as well; "": none. parameters: its hyper-parameters.
        planner: hyper-parameters of the planner. progress: told what is done. options: keyword arguments of `gymnasium.make`.

    Raises:
        ConfigError: an argument breaks its rule; no such world or agent; the planner or the myopic policy cannot play it.
    """
    require_count("users", users, 2, 10**7)
    task = task_of(world, **options)
    candidates: dict[str, Agent] = {name: make_agent(name) for name in ("random", "popularity", BASE)}
    if not options and task.id in _with_one_step() and "world" not in task.options:
        candidates["one-step"] = make_agent("one-step", digests=policy_digests([task.id], "one-step"))
    candidates["planner"] = make_agent("planner", **(planner or {}))
    if agent:
        require(agent not in candidates, "agent", "must be another than the references", agent)
        candidates[agent] = make_agent(agent, **(parameters or {}))
    scores: dict[str, Array] = {}
    left_out, seconds = {}, {}
    for name, player in candidates.items():
        if progress:
            progress(
                f"{name}: {f'training on {steps:,} steps and ' if name == agent else ''}serving {users:,} visitors"
            )
        began = time.perf_counter()
        try:
            if name == agent:
                require_count("steps", steps, 1, 10**12)
                player.fit(task, steps, training_seeds(1)[0])
            scores[name] = evaluate(player, task, users, seed).returns
        except ConfigError as error:
            if name in (BASE, "planner", agent):
                raise
            left_out[name] = str(error)
        seconds[name] = time.perf_counter() - began
    require(all(s.ndim == 1 for s in scores.values()), "world", "must pay one reward, not a vector", str(world))
    gains = [
        gain_of(name, BASE, scores[name], scores[BASE]) for name in ("planner", "one-step", agent) if name in scores
    ]
    gains += [gain_of(BASE, name, scores[BASE], scores[name]) for name in ("popularity", "random") if name in scores]
    if agent:
        gains.append(gain_of("planner", agent, scores["planner"], scores[agent]))
    returns = {name: (float(s.mean()), standard_error(s)) for name, s in scores.items()}
    return Answer(os.fspath(world), users, seed, returns, tuple(gains), left_out, agent, steps if agent else 0, seconds,
                  software())  # fmt: skip


def _with_one_step() -> list[str]:
    return [id for id in recgym.ENV_IDS if policy_file(id, "one-step").is_file()]


def run_planning(folder: str | os.PathLike[str], worlds: Sequence[str], command: str = "", console: Console | None = None,
                 **settings: Any) -> list[Answer]:  # fmt: skip
    """Answer for several worlds; print the table, and write planning.json and planning.md.

    Args:
        folder: for the files. worlds: see `task_of`. command: how to repeat it. console: where to print.
        settings: see `would_planning_pay`.
    """
    console = console or Console()
    answers = []
    for world in worlds:
        answers.append(
            would_planning_pay(
                world, progress=lambda text, world=world: console.print(f"{world}: {text}", markup=False), **settings
            )
        )
        console.print(answers[-1].sentence, markup=False)
    data = {"answers": {answer.world: answer.to_dict() for answer in answers}}
    publish(Path(folder), "planning", command, data, sections(answers), [], console)
    return answers


def sections(answers: Sequence[Answer]) -> list[Section]:
    """The tables of answers."""
    gains = [
        (a.world, f"{g.agent} over {g.base}", signed_text(g.value), interval_text(g)) for a in answers for g in a.gains
    ]
    returns = [(a.world, name, f"{mean:.3f} ± {se:.3f}", f"{a.users:,}", f"{a.seconds.get(name, 0):,.0f}")
               for a in answers for name, (mean, se) in a.returns.items()]  # fmt: skip
    return [
        Section("Would planning pay here?", ("world", "answer"), [(a.world, a.sentence) for a in answers], words=2),
        Section("Gains (95 % interval, paired on users)", ("world", "gain", "mean", "interval"), gains, words=2),
        Section(
            "Return per user (± standard error)", ("world", "agent", "return", "users", "seconds"), returns, words=2
        ),
    ]


def share_text(value: float) -> str:
    """The size of a share as people say it: 18 %, 3.2 %, 0.4 %."""
    size = abs(100 * value)
    return f"{size:,.0f} %" if size >= 9.95 else f"{size:.1f} %"


def signed_text(value: float) -> str:
    """The same with its sign; no sign where it rounds to 0."""
    if not math.isfinite(value):
        return "unknown"
    text = share_text(value)
    return text if text == "0.0 %" else f"{'+' if value > 0 else '−'}{text}"


def interval_text(gain: Gain) -> str:
    """[15, 21] in per cent; in words where there is no interval."""
    if not (math.isfinite(gain.low) and math.isfinite(gain.high)):
        return "(no interval: the base earns next to nothing)"
    low, high = 100 * gain.low, 100 * gain.high
    digits = 0 if high - low >= 3 else 1
    texts = [f"{end:.{digits}f}".replace("-", "−") for end in (low, high)]
    texts = [text.removeprefix("−") if float(text.replace("−", "-")) == 0 else text for text in texts]
    return f"[{texts[0]}, {texts[1]}]"
