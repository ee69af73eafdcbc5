"""Speed: user-steps per second beside CartPole, which costs little beside the API, and beside other packages.

`measure` has what is measured, `peers` the other packages and `worker` what runs in their environments, `tables` how it
is shown. A figure is a ratio of windows that took turns in one run, because machines are never the same twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from benchmarks.throughput.measure import Measure, copying, made, rounds, single, stepping, traffic
from benchmarks.throughput.measure import batch as batch
from benchmarks.throughput.measure import profile as profile
from benchmarks.throughput.peers import PEERS, NotRun, Worker, python_of
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count, require_number, require_option
from recgym.stepper import processors

FLOOR = "CartPole-v1"
DEFAULT_ID = "recgym/EcommerceSlate-v0"
ITEM_IDS = ("recgym/EcommerceSlate-v0", "recgym/NewsSlate-v0", "recgym/LiveStreamSlate-v0")
ITEM_USERS = 1024  # in the batches in which the number of items varies
BATCHES = (64, 1024, 4096)
WINDOWS, SECONDS = 7, 0.3
FLOOR_SECONDS, COPY_SECONDS = 0.15, 0.05  # at most, of a window of CartPole; of one of copies
MEMORY_BYTES = 2**29  # of a copy that no cache holds


class Spread(NamedTuple):
    """The median of some windows and their range."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Any) -> Spread:
        """Of at least one number."""
        return cls(float(np.median(values)), float(np.min(values)), float(np.max(values)))

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        return f"{self.median:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


@dataclass(frozen=True)
class Speed:
    """User-steps per second of one environment.

    Args:
        id: which. users: in the batch; 0 is the single environment of `gymnasium.make`. items: in its catalogue; None:
            as the id has it.
        windows: user-steps per second of each, resets included in the time but not in the steps.
        floor: steps per second of CartPole, single, in the window before each.
        bytes: that a user-step must move at the least, see `measure.traffic`; None: not known, or not in a batch.
        memory, cache: bytes per second of copies in the window after each, of arrays beyond all caches by all processors,
            and of as many bytes as a step of the batch moves, by as many threads as the step uses.
    """

    id: str
    users: int
    items: int | None
    windows: list[float]
    floor: list[float]
    bytes: int | None = None
    memory: list[float] = field(default_factory=list)
    cache: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """User-steps per second."""
        return float(np.median(self.windows))

    @property
    def nanoseconds(self) -> float:
        """Of a user-step."""
        return 1e9 / self.median

    @property
    def ratio(self) -> Spread:
        """To CartPole in the window before."""
        return Spread.of(np.divide(self.windows, self.floor))

    def bound(self, copies: list[float]) -> float | None:
        """Share of the speed at which copies would move the same bytes."""
        return self.bytes * float(np.median(np.divide(self.windows, copies))) if self.bytes and copies else None


@dataclass(frozen=True)
class Versus:
    """A peer beside recgym's counterpart.

    Args:
        peer, task: of `peers.PEERS`. id, users: the counterpart, 0 for single.
        reason: why it was not run; "" where it was.
        versions: of the packages in its environment that matter.
        theirs, ours: user-steps per second in windows that took turns.
    """

    peer: str
    task: str
    id: str
    users: int
    reason: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    theirs: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)

    @property
    def ratio(self) -> Spread | None:
        """Ours to theirs; None where it was not run."""
        return None if self.reason else Spread.of(np.divide(self.ours, self.theirs))


@dataclass
class Run:
    """All that a run has measured so far."""

    speeds: list[Speed] = field(default_factory=list)
    peers: list[Versus] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values: the windows, and what is derived from them."""
        speeds = [
            {**asdict(s), "median": s.median, "nanoseconds": s.nanoseconds, "ratio": s.ratio._asdict(),
             "share_of_memory": s.bound(s.memory), "share_of_cache": s.bound(s.cache)} for s in self.speeds
        ]  # fmt: skip
        peers = [
            {**asdict(v), "ratio": v.ratio and v.ratio._asdict(), "differs": PEERS[v.peer].differs} for v in self.peers
        ]
        return {"speeds": speeds, "peers": peers}


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Args:
        ids: each single and in batches. users: the sizes of the batches.
        items: sizes of catalogues, for each of `ITEM_IDS` in a batch of `ITEM_USERS`.
        against: names of `PEERS`. environments: the folder of theirs; None: `peers` in recgym's folder of caches.
        windows: of each. seconds: of a window.

    Raises:
        ConfigError: an id or a peer that is unknown, or a number out of range.
    """

    ids: Sequence[str] = (DEFAULT_ID,)
    users: Sequence[int] = BATCHES
    items: Sequence[int] = ()
    against: Sequence[str] = ()
    windows: int = WINDOWS
    seconds: float = SECONDS
    environments: Path | None = None

    def __post_init__(self) -> None:
        for name in ("ids", "users", "items", "against"):
            given = list(getattr(self, name))
            require(len({*given}) == len(given), name, "must be different", given)
        for id in self.ids:
            try:
                gym.spec(id)
            except (gym.error.Error, ImportError) as error:
                raise ConfigError(f"ids: must be registered environments: {error}") from None
        for name in self.against:
            require_option("against", name, PEERS)
        for users in self.users:
            require_count("users", users, 1, 2**22)
        for items in self.items:
            require_count("items", items, 100, 10_000_000)
        require_count("windows", self.windows, 1, 1000)
        require_number("seconds", self.seconds, 0.01, 3600)


def throughput(
    plan: Plan,
    progress: Callable[[str], None] = lambda text: None,
    notify: Callable[[Run, str], None] = lambda run, ended: None,
) -> Run:
    """Measure all of a plan.

    Args:
        plan: what. progress: told what is being measured. notify: given what there is, and the name of what has ended.
    """
    run = Run()
    floor, memory = single(FLOOR), copying(MEMORY_BYTES, processors())
    cells = [(id, [(users, None) for users in (0, *plan.users)]) for id in plan.ids]
    cells += [(id, [(ITEM_USERS, items) for items in plan.items]) for id in ITEM_IDS if plan.items]
    parts = len(cells) + len(plan.against)
    for part, (id, sizes) in enumerate(cells):
        said = f"{part + 1}/{parts} {id}"
        progress(f"{said}: making it")
        run.speeds += _speeds(
            plan, id, sizes, floor, memory, lambda done, said=said: progress(_round(said, done, plan))
        )
        notify(run, said)
    for part, name in enumerate(plan.against, len(cells)):
        said = f"{part + 1}/{parts} {name}"
        run.peers += _versus(plan, name, floor, lambda text, said=said: progress(f"{said}: {text}"))
        notify(run, said)
    return run


def _round(said: str, done: int, plan: Plan) -> str:
    return f"{said}: round {done} of {plan.windows}"


def _speeds(
    plan: Plan,
    id: str,
    sizes: Sequence[tuple[int, int | None]],
    floor: Measure,
    memory: Measure,
    progress: Callable[[int], None],
) -> list[Speed]:
    """An id in several sizes (users, items), all of which take turns."""
    measures: dict[str, tuple[Measure, float]] = {}
    traffics: dict[str, int] = {}
    for users, items in sizes:
        name = f"{users} {items}"
        options: dict[str, Any] = {} if items is None else {"items": items}
        measures[f"floor {name}"] = floor, min(plan.seconds, FLOOR_SECONDS)
        if users == 0:
            measures[name] = single(id, **options), plan.seconds
            continue
        envs = made(lambda users=users, options=options: gym.make_vec(id, num_envs=users, **options))
        measures[name] = stepping(envs, users), plan.seconds
        if isinstance(envs, RecVectorEnv):
            traffics[name] = moved = traffic(envs)
            seconds = min(plan.seconds, COPY_SECONDS)
            measures[f"memory {name}"] = memory, seconds
            measures[f"cache {name}"] = copying(moved * users, envs.stepper.threads), seconds
    found = rounds(measures, plan.windows, progress)
    names = [(f"{users} {items}", users, items) for users, items in sizes]
    return [
        Speed(id, users, items, found[name], found[f"floor {name}"], traffics.get(name),
              found.get(f"memory {name}", []), found.get(f"cache {name}", [])) for name, users, items in names
    ]  # fmt: skip


def _versus(plan: Plan, name: str, floor: Measure, progress: Callable[[str], None]) -> list[Versus]:
    """A peer and the counterpart in turn, or rows that say why it was not run."""
    peer, worker = PEERS[name], None
    rows = [(task, users) for task in peer.tasks for users in peer.users]
    try:
        python = python_of(name, plan.environments, progress)
        progress("starting")
        worker = Worker(name, python)
        versions = worker.versions
        measures: dict[str, tuple[Measure, float]] = {"floor": (floor, min(plan.seconds, FLOOR_SECONDS))}
        for task in peer.tasks:
            measures[task] = (lambda seconds, task=task, worker=worker: worker.measure(task, seconds)), plan.seconds
        for users in peer.users:
            ours = batch(peer.id, users, **peer.options) if users else single(peer.id, **peer.options)
            measures[f"{users}"] = ours, plan.seconds
        found = rounds(measures, plan.windows, lambda done: progress(f"round {done} of {plan.windows}"))
    except NotRun as error:
        return [Versus(name, task, peer.id, users, f"not run: {error}") for task, users in rows]
    finally:
        if worker is not None:
            worker.close()
    return [Versus(name, task, peer.id, users, "", versions, found[task], found[f"{users}"]) for task, users in rows]
