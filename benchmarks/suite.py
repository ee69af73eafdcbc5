"""What is run: suites of tasks, agents and seeds as frozen, versioned data, and the jobs they consist of."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from baselines.agent import Task
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import ConfigError, require, require_count, unknown

FORMAT = 1  # of jobs and results; raise it when new results cannot be compared with old ones
SEED_STRIDE = 10_000  # apart, so that training runs share no users: run k trains on the users of seed k * stride on
EVALUATION_SEED = 10**9  # the first evaluation user; no training run comes near


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation, as plain data.

    Args:
        task: where. agent: registry name or "package.module:Class". hyperparameters: its arguments, JSON values.
        steps: user-steps of training, 0 for none. seed: of the training.
        users: evaluation users, one episode each. user_seed: of the first of them.
    """

    task: Task
    agent: str
    hyperparameters: dict[str, Any]
    steps: int
    seed: int
    users: int
    user_seed: int = EVALUATION_SEED

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "format": FORMAT,
            "task": {"id": self.task.id, "options": self.task.options},
            "agent": self.agent,
            "hyperparameters": self.hyperparameters,
            "steps": self.steps,
            "seed": self.seed,
            "evaluation": {"users": self.users, "seed": self.user_seed},
        }

    @property
    def key(self) -> str:
        """Name of the result file."""
        return key_of(self.to_dict())


def key_of(job: dict[str, Any]) -> str:
    """16 hex digits of the SHA-256 of a job's canonical JSON.

    Raises:
        ConfigError: an option or hyper-parameter is no JSON value.
    """
    try:
        text = json.dumps(job, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"job: options and hyperparameters must be JSON values: {error}, got {job}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class NamedTask:
    """A task, what a report calls it, and the training budget of each run on it in user-steps."""

    name: str
    task: Task
    steps: int


@dataclass(frozen=True)
class Contender:
    """An agent in a suite.

    Args:
        label: what a report calls it. agent: registry name or "package.module:Class". hyperparameters: its arguments.
        trained: whether it learns; one that does not runs once, with the first seed and no training steps.
        users: evaluation users, where not the suite's (planning is dear).
        only: names of the tasks that it runs on; all where empty.
    """

    label: str
    agent: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    trained: bool = True
    users: int | None = None
    only: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A job with its place in the report."""

    task: str
    label: str
    job: Job


@dataclass(frozen=True)
class Suite:
    """Tasks x agents x seeds.

    Any change to a published suite is a new version of its name.
    """

    name: str
    tasks: tuple[NamedTask, ...]
    agents: tuple[Contender, ...]  # in running order: the dear ones first keep all workers busy to the end
    seeds: tuple[int, ...]
    users: int
    user_seed: int = EVALUATION_SEED

    def __post_init__(self) -> None:
        for what, names in (("tasks", [t.name for t in self.tasks]), ("agents", [a.label for a in self.agents])):
            require(names, f"{self.name} {what}", "must hold one at least", names)
            require(len({*names}) == len(names), f"{self.name} {what}", "must have a name each", names)
        require(self.seeds, f"{self.name} seeds", "must hold one at least", self.seeds)
        require_count("evaluation users", self.users, 2, 10**9)

    def entries(self) -> list[Entry]:
        """All jobs in running order."""
        return [
            Entry(named.name, agent.label, self._job(named, agent, seed))
            for agent in self.agents
            for named in self.tasks
            if not agent.only or named.name in agent.only
            for seed in self.seeds[: None if agent.trained else 1]
        ]

    def _job(self, named: NamedTask, agent: Contender, seed: int) -> Job:
        steps, users = (named.steps if agent.trained else 0), agent.users or self.users
        return Job(named.task, agent.agent, agent.hyperparameters, steps, seed, users, self.user_seed)


def training_seeds(n: int) -> tuple[int, ...]:
    """Seeds of n training runs that share no users."""
    require_count("seeds", n, 1, EVALUATION_SEED // SEED_STRIDE - 1)
    return tuple(SEED_STRIDE * k for k in range(n))


def references(planner_users: int | None = None) -> tuple[Contender, ...]:
    """The four yardsticks; random and planner are the 0 and 1 of normalised scores."""
    return (
        Contender("planner", "planner", trained=False, users=planner_users),
        *(Contender(name, name, trained=False) for name in ("myopic", "popularity", "random")),
    )


LEARNERS = (Contender("dqn", "dqn"), Contender("linucb", "linucb"))
SINGLE_ITEM = tuple(id for id in ENV_IDS if "Slate" not in id)
OPEN_BANDIT = Task("recgym/Ecommerce-v0", {"world": "open-bandit"})


def _name(id: str) -> str:
    return id.removeprefix("recgym/")


def _tasks(ids: Sequence[str], steps: int) -> tuple[NamedTask, ...]:
    return tuple(NamedTask(_name(id), Task(id), steps) for id in ids)


QUICKSTART_STEPS = 30_000
QUICKSTART_USERS = 1000
QUICKSTART_PLANNER = Contender("planner", "planner", {"iterations": 2}, trained=False, users=300)
SMOKE_STEPS = 512
SMOKE_USERS = 8
SMOKE_PLANNER = Contender("planner", "planner", {"iterations": 1, "users": 100}, trained=False)
SINGLE_ITEM_STEPS = 200_000
SINGLE_ITEM_USERS = 2000
SINGLE_ITEM_PLANNER_USERS = 500
REFERENCE_USERS = 2000


def _quickstart(name: str, steps: int, users: int, planner: Contender) -> Suite:
    tasks = (*_tasks(SINGLE_ITEM, steps), NamedTask("open-bandit", OPEN_BANDIT, steps))
    return Suite(name, tasks, (LEARNERS[0], planner, *LEARNERS[1:], *references()[1:]), training_seeds(1), users)


def references_suite(ids: Sequence[str] = ENV_IDS, users: int = REFERENCE_USERS) -> Suite:
    """The four references on the given ids: what `python -m benchmarks references` runs."""
    for id in ids:
        if id not in ENV_IDS:
            unknown("id", id, ENV_IDS)
    return Suite("references-v0", _tasks(ids, 0), references(), training_seeds(1), users)


def classics_suite(ids: Sequence[str] = CLASSIC_IDS, users: int = REFERENCE_USERS) -> Suite:
    """Random, an informed heuristic where there is one, and the two oracles on the literature's environments."""
    for id in ids:
        if id not in CLASSIC_IDS:
            unknown("id", id, CLASSIC_IDS)
    named = {_name(id) for id in ids}
    heuristics = [dataclasses.replace(h, only=tuple(n for n in h.only if n in named)) for h in HEURISTICS]
    planner = Contender("planner", "planner", {"users": 500}, trained=False, users=min(users, CLASSICS_PLANNER_USERS))
    oracles = (planner,
               *(h for h in heuristics if h.only),
               *(Contender(name, name, trained=False) for name in ("myopic", "random")))  # fmt: skip
    return Suite("classics-references-v0", _tasks(ids, 0), oracles, training_seeds(1), users)


def _heuristic(label: str, agent: str, only: Sequence[str], **hyperparameters: Any) -> Contender:
    return Contender(label, agent, hyperparameters, trained=False, only=tuple(only))


CLASSICS_PLANNER_USERS = 300
HEURISTICS = (
    _heuristic("best quality", "ranked", ["InterestEvolution-v0", "InterestExploration-v0"], by="quality"),
    _heuristic("most clickbait", "ranked", ["LongTermSatisfaction-v0", "LongTermSatisfaction-Hard-v0"], by="clickbait"),
    _heuristic("least clickbait", "ranked", ["LongTermSatisfaction-v0", "LongTermSatisfaction-Hard-v0"], by="clickbait",
               descending=False),
    _heuristic("varied topics", "varied", [_name(id) for id in CLASSIC_IDS if "Bored" in id or "TopK-Uncertain" in id]),
    _heuristic("most viewed", "ranked", ["RecoGym-v1"], by="views"),
)  # fmt: skip

SUITES = {
    suite.name: suite
    for suite in (
        _quickstart("quickstart-v0", QUICKSTART_STEPS, QUICKSTART_USERS, QUICKSTART_PLANNER),
        _quickstart("smoke-v0", SMOKE_STEPS, SMOKE_USERS, SMOKE_PLANNER),
        Suite(
            "single-item-v0",
            _tasks(SINGLE_ITEM, SINGLE_ITEM_STEPS),
            (
                LEARNERS[0],
                Contender("dqn mlp", "dqn", {"head": "mlp"}),
                *references(SINGLE_ITEM_PLANNER_USERS)[:1],
                LEARNERS[1],
                *references()[1:],
            ),
            training_seeds(3),
            SINGLE_ITEM_USERS,
        ),
    )
}


def get_suite(name: str) -> Suite:
    """A suite by name; the version may be left out where there is one only.

    Raises:
        ConfigError: no such suite; the message names the nearest.
    """
    found = [key for key in SUITES if name in (key, key.rpartition("-v")[0])]
    if len(found) != 1:
        unknown("suite", name, SUITES)
    return SUITES[found[0]]


def custom_suite(
    agents: Sequence[str],
    tasks: Sequence[Task],
    steps: int,
    seeds: int,
    users: int,
    hyperparameters: dict[str, Any] | None = None,
) -> Suite:
    """Anybody's agents beside the four references.

    Args:
        agents: registry names or "package.module:Class"; `hyperparameters` go to each.
        tasks: where; `steps` user-steps of training on each. seeds: training runs. users: evaluation users.
    """
    require_count("steps", steps, 0, 10**12)
    names = [_name(t.id) + "".join(f" {k}={v}" for k, v in t.options.items()) for t in tasks]
    yardsticks = references(min(users, SINGLE_ITEM_PLANNER_USERS))
    return Suite(
        "custom",
        tuple(map(NamedTask, names, tasks, [steps] * len(tasks))),
        (*contenders(agents, hyperparameters), *yardsticks),
        training_seeds(seeds),
        users,
    )


def contenders(agents: Sequence[str], hyperparameters: dict[str, Any] | None = None) -> tuple[Contender, ...]:
    """Learning agents by registry name or "package.module:Class"; the references, always there, are left out."""
    yardsticks = [reference.agent for reference in references()]
    learners = [agent for agent in agents if agent not in yardsticks]
    return tuple(Contender(agent.rpartition(":")[2], agent, hyperparameters or {}) for agent in learners)
