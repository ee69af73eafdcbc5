"""What is run: suites of tasks, agents and seeds as versioned data, and the jobs that they consist of.

The published suites are the files of `benchmarks/suites`. They never change: `tests/test_suite.py` pins the SHA-256 of
each. A change is a new version of its name.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym

from baselines.agent import Task
from baselines.registry import REGISTRY
from benchmarks.data import (
    LONGEST_NAME,
    are_names,
    are_scores,
    is_front,
    is_label,
    is_name,
    is_pair,
    is_text,
    lines_of,
    read_json,
    require_keys,
)
from recgym.errors import ConfigError, require, require_count, require_option, unknown
from recgym.files import write_atomically

FORMAT = 1  # of jobs and results; raise it when new results cannot be compared with old ones
SEED_STRIDE = 10_000  # between the seeds of two training runs, so that they share no users
EVALUATION_SEED = 10**9  # of the first evaluation user, far above the users of all training runs
MOST_STEPS = 10**12  # of training
TUNING_SEED = 2 * 10**9  # tuning's own seeds start here, which no suite reaches, in training or in evaluation
RESERVED = (
    "id",
    "num_envs",
    "autoreset_mode",
    "vectorization_mode",
    "vector_kwargs",
    "wrappers",
    "render_mode",
    "threads",
)
UNTRAINED = ("random", "popularity", "myopic", "planner", "heuristic", "one-step", "best-known", "ranked", "varied")
PLANNER_USERS = 500  # of the planner in a custom suite, at most: planning is slow


@dataclass(frozen=True)
class Job:
    """One training run and its evaluation, as plain data.

    Args:
        task: where. agent: registry name or "package.module:Class". hyperparameters: its arguments, JSON values.
        steps: user-steps of training, 0 for none. seed: of the training.
        users: evaluation users, one episode each. user_seed: of the first of them.
        evaluation_task: where it is evaluated, if not where it is trained.
    """

    task: Task
    agent: str
    hyperparameters: dict[str, Any]
    steps: int
    seed: int
    users: int
    user_seed: int = EVALUATION_SEED
    evaluation_task: Task | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values. A field that came later is there only where it is set, so that older keys stay the same."""
        other = {"task": _plain(self.evaluation_task)} if self.evaluation_task else {}
        return {
            "format": FORMAT,
            "task": _plain(self.task),
            "agent": self.agent,
            "hyperparameters": self.hyperparameters,
            "steps": self.steps,
            "seed": self.seed,
            "evaluation": {"users": self.users, "seed": self.user_seed, **other},
        }

    @classmethod
    def from_dict(cls, data: Any) -> Job:
        """The job that `to_dict` wrote.

        Raises:
            ConfigError: it is none.
        """
        try:
            evaluation = data["evaluation"]
            other = Task(**evaluation["task"]) if "task" in evaluation else None
            job = cls(Task(**data["task"]), data["agent"], data["hyperparameters"], data["steps"], data["seed"],
                      evaluation["users"], evaluation["seed"], other)  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ConfigError(f"job: must be one as a run writes it: {type(error).__name__}: {error}") from None
        for task in (job.task, other or job.task):
            require(isinstance(task.id, str), "job task", "must have an id that is text", task.id)
            require(isinstance(task.options, dict), "job options", "must be an object", task.options)
        require(isinstance(job.agent, str), "job agent", "must be text", job.agent)
        require(isinstance(job.hyperparameters, dict), "job hyperparameters", "must be an object", job.hyperparameters)
        require_count("job steps", job.steps, 0, MOST_STEPS)
        require_count("job seed", job.seed, 0, TUNING_SEED + EVALUATION_SEED)
        require_count("job users", job.users, 1, TUNING_SEED)
        require_count("job evaluation seed", job.user_seed, 0, TUNING_SEED + EVALUATION_SEED)
        require(job.to_dict() == data, "job", f"must have the parts {[*job.to_dict()]} alone", [*data])
        return job

    @property
    def key(self) -> str:
        """Name of the result file."""
        return key_of(self.to_dict())


def _plain(task: Task) -> dict[str, Any]:
    return {"id": task.id, "options": task.options}


def check_options(where: str, options: Mapping[str, Any]) -> None:
    """Require that no option of a task is one that the run sets itself, or that no score depends on: `RESERVED`.

    Raises:
        ConfigError: one is; the message starts with `where` and names it.
    """
    for name, value in options.items():
        require(name not in RESERVED, f"{where} options", f"must not hold {name!r}, which is no part of a task", value)


def digest(data: dict[str, Any]) -> str:
    """SHA-256 of canonical JSON: keys sorted, no spaces.

    Raises:
        ConfigError: an option or hyper-parameter is no JSON value.
    """
    try:
        text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
        json.dumps(data, ensure_ascii=False).encode()  # no half of a surrogate pair, as in names that are no text
    except (TypeError, ValueError, RecursionError) as error:
        raise ConfigError(f"job: options and hyperparameters must be JSON values: {error}, got {data}") from None
    return hashlib.sha256(text.encode()).hexdigest()


def key_of(job: dict[str, Any]) -> str:
    """Key of a job: the first 16 hex digits of its digest."""
    return digest(job)[:16]


@dataclass(frozen=True)
class NamedTask:
    """A task, what a report calls it, the training budget of each run on it in user-steps, and where it is evaluated."""

    name: str
    task: Task
    steps: int
    evaluation: Task | None = None  # the task itself where None


@dataclass(frozen=True)
class Contender:
    """An agent in a suite.

    Args:
        label: what a report calls it. agent: registry name or "package.module:Class". hyperparameters: its arguments.
        trained: whether it learns; one that does not runs once, with the first seed and no training steps.
        users: evaluation users, if not as many as the suite's; planning is slow.
        only: names of the tasks that it runs on; all where empty.
    """

    label: str
    agent: str
    hyperparameters: dict[str, Any] = field(default_factory=dict)
    trained: bool = True
    users: int | None = None
    only: tuple[str, ...] = ()


class Entry(NamedTuple):
    """A job, and the task and the agent that the report names it by."""

    task: str
    label: str
    job: Job


Scores = Mapping[str, Mapping[str, tuple[float, float]]]  # task -> agent -> mean return and its standard error


@dataclass(frozen=True)
class Suite:
    """Tasks x agents x seeds.

    Args:
        name: with its version; any change to a published suite is a new one. agents: in running order.
        seeds: of the training runs. users: evaluation users, the same for all agents. user_seed: of the first.
        references: pinned scores of random and planner by task name: the 0 and 1 of normalised scores; else what the
            rows "random" and "best-known", or "planner", earn.
        ones: task name -> label of an agent that learns nothing there, whose return is the 1 instead.
        fronts: task name -> the two objectives that agents trade off there by their `objective_weights`.
        stretch: task name -> training steps of its best known policy, and by which share its return rose over the last
            fifth of them: how far the 1 was stretched.
        about: what it asks, in a few words; no part of the manifest.
    """

    name: str
    tasks: tuple[NamedTask, ...]
    agents: tuple[Contender, ...]
    seeds: tuple[int, ...]
    users: int
    user_seed: int = EVALUATION_SEED
    references: Scores = field(default_factory=dict)
    fronts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    stretch: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ones: Mapping[str, str] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self) -> None:
        for what, names in (("tasks", [t.name for t in self.tasks]), ("agents", [a.label for a in self.agents])):
            require(names, f"{self.name} {what}", "must hold one at least", names)
            require(len({*names}) == len(names), f"{self.name} {what}", "must have a name each", names)
            shown = all(isinstance(name, str) and name.isprintable() for name in names)
            require(shown, f"{self.name} {what}", "must have names that can be printed", names)
        for named in self.tasks:
            for task in (named.task, named.evaluation):
                check_options(f"{self.name} task {named.name!r}", task.options if task else {})
        require(self.seeds, f"{self.name} seeds", "must hold one at least", self.seeds)
        require_count("evaluation users", self.users, 2, TUNING_SEED - EVALUATION_SEED)
        require_count("user_seed", self.user_seed, EVALUATION_SEED, TUNING_SEED - self.users)
        for seed in self.seeds:
            require_count("seed", seed, 0, EVALUATION_SEED - SEED_STRIDE)
        require(len({*self.seeds}) == len(self.seeds), f"{self.name} seeds", "must differ", self.seeds)
        for agent in self.agents:
            for name in agent.only:
                require_option(f"{self.name} agent {agent.label!r} only", name, [task.name for task in self.tasks])
        for what, names in (("references", self.references), ("fronts", self.fronts), ("stretch", self.stretch),
                            ("ones", self.ones)):  # fmt: skip
            tasks = [task.name for task in self.tasks]
            require({*names} <= {*tasks}, f"{self.name} {what}", f"must be of the tasks {tasks}", list(names))
        for task, label in self.ones.items():
            fits = [a.label for a in self.agents if not a.trained and (not a.only or task in a.only)]
            require_option(f"{self.name} ones {task!r}", label, fits)

    def to_dict(self) -> dict[str, Any]:
        """The suite as plain JSON values, as the files of `benchmarks/suites` hold it; what is a default is left out."""
        tasks = []
        for named in self.tasks:
            options = {"options": named.task.options} if named.task.options else {}
            evaluation = {"evaluation": _plain(named.evaluation)} if named.evaluation else {}
            tasks.append({"name": named.name, "id": named.task.id, **options, "steps": named.steps, **evaluation})
        agents = []
        for agent in self.agents:
            optional = {"hyperparameters": agent.hyperparameters, "users": agent.users, "only": list(agent.only)}
            chosen = {name: value for name, value in optional.items() if value}
            untrained = {} if agent.trained else {"trained": False}
            agents.append({"label": agent.label, "agent": agent.agent, **untrained, **chosen})
        scores = {
            task: {name: list(score) for name, score in pinned.items()} for task, pinned in self.references.items()
        }
        fronts = {task: list(objectives) for task, objectives in self.fronts.items()}
        return {
            "name": self.name,
            "about": self.about,
            "seeds": list(self.seeds),
            "users": self.users,
            "user_seed": self.user_seed,
            "tasks": tasks,
            "agents": agents,
            **({"references": scores} if scores else {}),
            **({"fronts": fronts} if fronts else {}),
            **({"stretch": {task: list(pair) for task, pair in self.stretch.items()}} if self.stretch else {}),
            **({"ones": dict(self.ones)} if self.ones else {}),
        }

    @classmethod
    def from_dict(cls, data: Any) -> Suite:
        """The suite that `to_dict` wrote.

        Raises:
            ConfigError: it is none; the message names the field, its rule and, where a name is wrong, the nearest.
        """
        require_keys("suite", data, ("name", "tasks", "agents", "seeds", "users"), OPTIONAL_PARTS)
        for part in ("tasks", "agents", "seeds"):
            require(isinstance(data[part], list), part, "must be a list", data[part])
        require(is_label(data["name"]), "name", LABEL, data["name"])
        require(is_text(data.get("about", "")), "about", "must be text", data.get("about"))
        tasks = tuple(_named_task(f"tasks[{i}]", task) for i, task in enumerate(data["tasks"]))
        agents = tuple(_contender(f"agents[{i}]", agent) for i, agent in enumerate(data["agents"]))
        scores, fronts = data.get("references", {}), data.get("fronts", {})
        fits = isinstance(scores, dict) and all(map(are_scores, scores.values()))
        require(
            fits, "references", "must have a mean return and its standard error, not below 0, by task and agent", scores
        )
        fits = isinstance(fronts, dict) and all(map(is_front, fronts.values()))
        require(fits, "fronts", "must have two different objectives by task", fronts)
        stretch = data.get("stretch", {})
        fits = isinstance(stretch, dict) and all(map(is_pair, stretch.values()))
        require(fits, "stretch", "must have steps and a rise by task", stretch)
        ones = data.get("ones", {})
        require(isinstance(ones, dict) and all(map(is_label, ones.values())), "ones", "must have a label by task", ones)
        return cls(
            data["name"],
            tasks,
            agents,
            tuple(data["seeds"]),
            data["users"],
            data.get("user_seed", EVALUATION_SEED),
            {task: {name: (mean, se) for name, (mean, se) in pinned.items()} for task, pinned in scores.items()},
            {task: (first, second) for task, (first, second) in fronts.items()},
            {task: (steps, rise) for task, (steps, rise) in stretch.items()},
            ones,
            data.get("about", ""),
        )

    def manifest(self) -> dict[str, Any]:
        """What a run writes beside its results, as plain JSON values: every job in running order, and the pinned scores."""
        data: dict[str, Any] = {
            "format": FORMAT,
            "suite": self.name,
            "entries": [
                {"task": e.task, "label": e.label, "key": e.job.key, "job": e.job.to_dict()} for e in self.entries()
            ],
        }
        if self.references:
            data["references"] = {task: {name: list(score) for name, score in scores.items()}
                                  for task, scores in self.references.items()}  # fmt: skip
        if self.fronts:
            data["fronts"] = {task: list(objectives) for task, objectives in self.fronts.items()}
        if self.stretch:
            data["stretch"] = {task: list(pair) for task, pair in self.stretch.items()}
        if self.ones:
            data["ones"] = dict(self.ones)
        return data

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
        return Job(named.task, agent.agent, agent.hyperparameters, steps, seed, users, self.user_seed, named.evaluation)


def training_seeds(n: int) -> tuple[int, ...]:
    """Seeds of n training runs that share no users."""
    require_count("seeds", n, 1, EVALUATION_SEED // SEED_STRIDE - 1)
    return tuple(SEED_STRIDE * k for k in range(n))


def references(planner_users: int | None = None) -> tuple[Contender, ...]:
    """The yardsticks of any task; random and planner are the 0 and 1 of normalised scores."""
    return (
        Contender("planner", "planner", trained=False, users=planner_users),
        *(Contender(name, name, trained=False) for name in ("myopic", "popularity", "random")),
    )


LABEL = f"must be text of 1 to {LONGEST_NAME} characters"
OPTIONAL_PARTS = ("about", "user_seed", "references", "fronts", "stretch", "ones")  # of a suite as plain data


def _named_task(where: str, data: Any) -> NamedTask:
    require_keys(where, data, ("name", "id", "steps"), ("options", "evaluation"))
    require(is_label(data["name"]), f"{where} name", LABEL, data["name"])
    require_count(f"{where} steps", data["steps"], 0, MOST_STEPS)
    evaluation = data.get("evaluation")
    if evaluation is not None:
        require_keys(f"{where} evaluation", evaluation, ("id",), ("options",))
    places = [_task(f"{where}{part}", task) for part, task in (("", data), (" evaluation", evaluation)) if task]
    return NamedTask(data["name"], places[0], data["steps"], *places[1:])


def _task(where: str, data: dict[str, Any]) -> Task:
    id, options = data["id"], data.get("options", {})
    require(is_text(id) and id.strip(), f"{where} id", "must be text", id)
    if id.startswith("recgym/"):  # others are registered by packages that a run imports
        require_option(f"{where} id", id, [known for known in gym.registry if known.startswith("recgym/")])
    require(isinstance(options, dict), f"{where} options", "must be an object", options)
    return Task(id, options)


def _contender(where: str, data: Any) -> Contender:
    require_keys(where, data, ("label", "agent"), ("hyperparameters", "trained", "users", "only"))
    agent, hyperparameters, only = data["agent"], data.get("hyperparameters", {}), data.get("only", [])
    require(is_label(data["label"]), f"{where} label", LABEL, data["label"])
    require(is_text(agent) and agent.strip(), f"{where} agent", "must be text", agent)
    if ":" not in agent and agent not in REGISTRY:  # it takes long to look through what is installed
        require_option(f"{where} agent", agent, [*REGISTRY, *(p.name for p in entry_points(group="recgym.agents"))])
    require(isinstance(hyperparameters, dict), f"{where} hyperparameters", "must be an object", hyperparameters)
    require(
        isinstance(data.get("trained", True), bool), f"{where} trained", "must be true or false", data.get("trained")
    )
    if "users" in data:
        require_count(f"{where} users", data["users"], 2, TUNING_SEED - EVALUATION_SEED)
    require(are_names(only), f"{where} only", "must be a list of names of tasks", only)
    return Contender(data["label"], agent, hyperparameters, data.get("trained", True), data.get("users"), tuple(only))


def load_suite(path: Path) -> Suite:
    """A suite from its file.

    Raises:
        ConfigError: no such file, no suite, or one that has the name of a published one and differs from it; the message
            names the file.
    """
    data = read_json(path, "suite")
    try:
        suite = Suite.from_dict(data)
        versioned = is_name(suite.name) and re.search(r"-v(0|[1-9]\d{0,3})$", suite.name)
        require(
            versioned,
            "name",
            "must be of lower-case letters, digits and hyphens, with a version of v0 to v9999, as mine-v0",
            suite.name,
        )
        suite.manifest()  # its jobs have keys
    except ConfigError as error:
        raise ConfigError(f"suite: {path}: {error}") from None
    published = SUITES.get(suite.name)
    if published and published.manifest() != suite.manifest():
        raise ConfigError(
            f"suite: {path}: name: must not be that of a published suite that differs, got {suite.name!r}"
        )
    return suite


def save_suite(suite: Suite, path: Path) -> None:
    """Write a suite to a file, for `load_suite`."""
    write_atomically(path, lines_of(suite.to_dict(), sort_keys=False).encode())


SUITES: dict[str, Suite] = {}
for _path in sorted(Path(__file__).with_name("suites").glob("*.json")):
    SUITES[_path.stem] = load_suite(_path)


def get_suite(name: str) -> Suite:
    """A suite by name, whose version may be left out where there is one only, or by the path of a .json file.

    Raises:
        ConfigError: no such suite; the message names the nearest. Or see `load_suite`.
    """
    if name.endswith(".json"):
        return load_suite(Path(name))
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
    hyperparameters: Sequence[dict[str, Any]] = (),
) -> Suite:
    """Anybody's agents beside the four references.

    Args:
        agents, hyperparameters: see `contenders`.
        tasks: where; `steps` user-steps of training on each. seeds: training runs. users: evaluation users.
    """
    require_count("steps", steps, 0, MOST_STEPS)
    names = [t.id.removeprefix("recgym/") + _settings(t.options) for t in tasks]
    yardsticks = references(min(users, PLANNER_USERS))
    return Suite(
        "custom",
        tuple(map(NamedTask, names, tasks, [steps] * len(tasks))),
        (*contenders(agents, hyperparameters, yardsticks), *yardsticks),
        training_seeds(seeds),
        users,
    )


def contenders(
    agents: Sequence[str], hyperparameters: Sequence[dict[str, Any]] = (), beside: Sequence[Contender] = ()
) -> tuple[Contender, ...]:
    """Agents to run beside others; one that is there already, with the same hyper-parameters, is left out.

    The label is the name; where agents would share one, the name and the hyper-parameters; where they still do, with the
    module.

    Args:
        agents: registry names, "package.module:Class" or "file.py:Class".
        hyperparameters: none, of all agents, or of each. beside: the others.

    Raises:
        ConfigError: hyper-parameters of another number.
    """
    fits = len(hyperparameters) <= 1 if agents else not any(hyperparameters)
    fits = fits or len(hyperparameters) == len(agents)
    require(fits, "parameters", "must be given once, or once for each agent", list(hyperparameters))
    settings = [{}, *hyperparameters][-1:] * len(agents) if len(hyperparameters) < 2 else hyperparameters
    there = [(contender.agent, contender.hyperparameters) for contender in beside]
    new = [pair for pair in zip(agents, settings) if pair not in there]
    short = [agent.rpartition(":")[2] for agent, _ in new]
    long = [name + _settings(values) for name, (_, values) in zip(short, new)]
    full = [agent + _settings(values) for agent, values in new]
    taken = {contender.label for contender in beside}
    labels = next((names for names in (short, long) if len({*names} | taken) == len(names) + len(taken)), full)
    return tuple(Contender(label, agent, values, trained=agent not in UNTRAINED)
                 for label, (agent, values) in zip(labels, new))  # fmt: skip


def _settings(values: Mapping[str, Any]) -> str:
    return "".join(f" {name}={value}" for name, value in values.items())
