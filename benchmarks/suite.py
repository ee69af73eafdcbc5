"""What is run: suites of tasks, agents and seeds as frozen, versioned data, and the jobs they consist of.

A published suite never changes: `tests/test_suite.py` pins the SHA-256 of each. A change is a new version of its name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from baselines.agent import Task
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import ConfigError, require, require_count, unknown

FORMAT = 1  # of jobs and results; raise it when new results cannot be compared with old ones
SEED_STRIDE = 10_000  # apart, so that training runs share no users: run k trains on the users of seed k * stride on
EVALUATION_SEED = 10**9  # the first evaluation user; no training run comes near
MOST_STEPS = 10**12  # of training
TUNING_SEED = 2 * 10**9  # what no suite reaches, training or evaluation: tuning's own seeds start here


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
        """Plain JSON values; a field that came later is there where it is set, so that keys stay what they were."""
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


Scores = Mapping[str, Mapping[str, tuple[float, float]]]  # task -> agent -> mean return and its standard error


@dataclass(frozen=True)
class Suite:
    """Tasks x agents x seeds.

    Args:
        name: with its version; any change to a published suite is a new one. agents: in running order.
        seeds: of the training runs. users: evaluation users, the same for all agents. user_seed: of the first.
        references: pinned scores of random and planner by task name: the 0 and 1 of normalised scores.
        fronts: task name -> the two objectives that agents trade off there by their `objective_weights`.
        about: what it asks, in a few words; no part of the published data.
    """

    name: str
    tasks: tuple[NamedTask, ...]
    agents: tuple[Contender, ...]
    seeds: tuple[int, ...]
    users: int
    user_seed: int = EVALUATION_SEED
    references: Scores = field(default_factory=dict)
    fronts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    about: str = ""

    def __post_init__(self) -> None:
        for what, names in (("tasks", [t.name for t in self.tasks]), ("agents", [a.label for a in self.agents])):
            require(names, f"{self.name} {what}", "must hold one at least", names)
            require(len({*names}) == len(names), f"{self.name} {what}", "must have a name each", names)
            shown = all(isinstance(name, str) and name.isprintable() for name in names)
            require(shown, f"{self.name} {what}", "must have names that can be printed", names)
        require(self.seeds, f"{self.name} seeds", "must hold one at least", self.seeds)
        require_count("evaluation users", self.users, 2, TUNING_SEED - EVALUATION_SEED)
        require_count("user_seed", self.user_seed, EVALUATION_SEED, TUNING_SEED - self.users)
        for seed in self.seeds:
            require_count("seed", seed, 0, EVALUATION_SEED - SEED_STRIDE)
        for what, names in (("references", self.references), ("fronts", self.fronts)):
            tasks = [task.name for task in self.tasks]
            require({*names} <= {*tasks}, f"{self.name} {what}", f"must be of the tasks {tasks}", list(names))

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


def _quickstart(name: str, steps: int, users: int, planner: Contender, about: str) -> Suite:
    tasks = (*_tasks(SINGLE_ITEM, steps), NamedTask("open-bandit", OPEN_BANDIT, steps))
    agents = (LEARNERS[0], planner, *LEARNERS[1:], *references()[1:])
    return Suite(name, tasks, agents, training_seeds(1), users, about=about)


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

CORE_STEPS, CORE_SEEDS, CORE_USERS = 50_000, 5, 2000
CLASSICS_STEPS, CLASSICS_SEEDS = 50_000, 3
PARETO_STEPS, PARETO_SEEDS = 50_000, 3
GENERALIZATION_STEPS, GENERALIZATION_SEEDS = 50_000, 3
GENERALIZATION_PLANNER_USERS = 500

# Mean return and standard error over 2000 users (planner of the classics: 300, of the last nine: 500), from the result
# files in benchmarks/results/references, references-classics and references-generalization.
REFERENCES: Scores = {
    "Ecommerce-v0": {"random": (2.0565, 0.0658), "planner": (16.3096, 0.2691)},
    "EcommerceSlate-v0": {"random": (4.4368, 0.1131), "planner": (18.1394, 0.2986)},
    "News-v0": {"random": (5.8028, 0.0818), "planner": (21.6466, 0.3838)},
    "NewsSlate-v0": {"random": (12.601, 0.1224), "planner": (35.7367, 0.5513)},
    "LiveStream-v0": {"random": (11.2415, 0.1399), "planner": (26.0925, 0.3037)},
    "LiveStreamSlate-v0": {"random": (16.6545, 0.1792), "planner": (30.9495, 0.3485)},
    "InterestEvolution-v0": {"random": (160.2208, 0.2666), "planner": (273.6814, 2.5956)},
    "LongTermSatisfaction-v0": {"random": (952.6102, 3.6802), "planner": (1113.2589, 10.9683)},
    "LongTermSatisfaction-Hard-v0": {"random": (956.2323, 3.6871), "planner": (1020.4333, 10.3463)},
    "InterestExploration-v0": {"random": (11.4385, 0.0779), "planner": (19.58, 0.2876)},
    "Sardine-SingleItem-Static-v0": {"random": (8.5235, 0.0719), "planner": (100.0, 0.0)},
    "Sardine-SingleItem-BoredInf-v0": {"random": (9.095, 0.0783), "planner": (100.0, 0.0)},
    "Sardine-SingleItem-Uncertain-v0": {"random": (11.5175, 0.0733), "planner": (94.94, 0.1759)},
    "Sardine-SlateTopK-Bored-v0": {"random": (43.3535, 0.1821), "planner": (272.2233, 3.2888)},
    "Sardine-SlateTopK-BoredInf-v0": {"random": (49.9785, 0.1737), "planner": (266.2733, 2.7915)},
    "Sardine-SlateTopK-Uncertain-v0": {"random": (62.198, 0.1736), "planner": (240.9967, 2.192)},
    "Sardine-SlateRerank-Static-v0": {"random": (14.1175, 0.0929), "planner": (20.7167, 0.2619)},
    "Sardine-SlateRerank-Bored-v0": {"random": (11.9715, 0.0701), "planner": (16.1033, 0.2201)},
    "RecoGym-v1": {"random": (0.9935, 0.0303), "planner": (1.72, 0.1254)},
    "Ecommerce-v0 unseen world": {"random": (2.2466, 0.0704), "planner": (16.6906, 0.6337)},
    "Ecommerce-v0 cold users": {"random": (1.0464, 0.0391), "planner": (12.0792, 0.5025)},
    "Ecommerce-v0 shifted market": {"random": (3.3306, 0.1089), "planner": (30.5915, 1.3556)},
    "News-v0 unseen world": {"random": (6.1038, 0.0831), "planner": (24.345, 0.9285)},
    "News-v0 cold users": {"random": (3.8559, 0.0628), "planner": (14.7585, 0.524)},
    "News-v0 shifted market": {"random": (5.8028, 0.0818), "planner": (21.2189, 0.7802)},
    "LiveStream-v0 unseen world": {"random": (11.2945, 0.1361), "planner": (24.428, 0.5565)},
    "LiveStream-v0 cold users": {"random": (7.6935, 0.1149), "planner": (25.646, 0.5824)},
    "LiveStream-v0 shifted market": {"random": (11.2415, 0.1399), "planner": (25.772, 0.6011)},
}


def _pinned(tasks: Sequence[NamedTask]) -> Scores:
    return {task.name: REFERENCES[task.name] for task in tasks}


BASELINES = references()[1:]
BANDITS = tuple(Contender(name, name) for name in ("linucb", "thompson", "pctr"))
SLATES = tuple(id for id in ENV_IDS if "Slate" in id)


LONG = Contender("reinforce undiscounted", "reinforce", {"gamma": 1.0, "trace": 0.95, "segment": 64})


def _core() -> Suite:
    """Cheap rows first, so that most of the table is there early; each agent's runs one after the other.

    No maskable-ppo: every candidate of the three domains can be shown, so that its mask never does anything.
    """
    tasks = _tasks(SINGLE_ITEM, CORE_STEPS)
    agents = (*BASELINES, *BANDITS, *(Contender(name, name) for name in ("reinforce", "ppo", "dqn")), LONG,
              Contender("dqn mlp", "dqn", {"head": "mlp"}), Contender("qrdqn", "qrdqn"))  # fmt: skip
    return Suite("core-v0", tasks, agents, training_seeds(CORE_SEEDS), CORE_USERS, references=_pinned(tasks),
                 about="three domains, one item a step")  # fmt: skip


def _slate() -> Suite:
    tasks = _tasks(SLATES, CORE_STEPS)
    agents = (*BASELINES, *BANDITS, *(Contender(name, name) for name in ("slateq", "reinforce", "ppo")), LONG,
              Contender("ppo mlp", "ppo", {"head": "mlp"}))  # fmt: skip
    return Suite("slate-v0", tasks, agents, training_seeds(CORE_SEEDS), CORE_USERS, references=_pinned(tasks),
                 about="three domains, slates of five")  # fmt: skip


LONG_STEPS, LONG_SEEDS = 400_000, 3
FAR = {"gamma": 1.0, "trace": 0.95, "segment": 64, "envs": 256, "batch_size": 1024, "likelihood": "slate"}


def _long() -> Suite:
    """What foresight is worth: the learned myopic agent and one that looks to the end, both with statistics of items."""
    tasks = _tasks(ENV_IDS, LONG_STEPS)
    agents = (*BASELINES, Contender("pctr", "pctr", {"item_prior": 5.0}),
              Contender("reinforce", "reinforce", {**FAR, "item_prior": 5.0}))  # fmt: skip
    return Suite("long-v0", tasks, agents, training_seeds(LONG_SEEDS), CORE_USERS, references=_pinned(tasks),
                 about="what foresight is worth, after long training")  # fmt: skip


PAPER = {"choice_model": "given", "no_click": False, "n_steps": 1, "sees": ["user.profile", "candidates"]}
SLATEQ_STEPS, SLATEQ_SEEDS, SLATEQ_USERS = 60_000, 3, 5000


def _slateq() -> Suite:
    """The table of the SlateQ paper under its protocol, then what a value of no click and returns of many steps add.

    Its protocol: the user's interest and the documents are all that is seen, the choice model is given, picking
    nothing has no value, targets look one step ahead. Its names: myopic, SARSA, Q-learning with top-k (TT), greedy (GT)
    or optimal (OT) slates in the target; top-k (TS), greedy (GS) or optimal (OS) slates when serving.
    """
    rows: dict[str, dict[str, Any]] = {
        f"MYOP-{served[0].upper()}S": {"gamma": 0.0, "optimiser": served} for served in ("top-k", "greedy")
    }
    rows |= {f"SARSA-{served[0].upper()}S": {"target": "sarsa", "optimiser": served} for served in ("top-k", "greedy")}
    for name, target, served in (("QL-TT-TS", "top-k", "top-k"), ("QL-GT-GS", "greedy", "greedy"), ("QL-OT-TS", "exact", "top-k"),
                                 ("QL-OT-GS", "exact", "greedy"), ("QL-OT-OS", "exact", "exact")):  # fmt: skip
        rows[name] = {"target_optimiser": target, "optimiser": served}
    tasks = _tasks(["recgym/InterestEvolution-v0"], SLATEQ_STEPS)
    agents = (Contender("random", "random", trained=False), Contender("myopic", "myopic", trained=False),
              *(Contender(label, "slateq", PAPER | row) for label, row in rows.items()),
              Contender("slateq", "slateq", {"gamma": 1.0, "n_steps": 100}), Contender("ppo mlp", "ppo", {"head": "mlp"}),
              Contender("full slate Q", "full-slateq", {"n_steps": 1, "sees": PAPER["sees"]}))  # fmt: skip
    return Suite("slateq-v0", tasks, agents, training_seeds(SLATEQ_SEEDS), SLATEQ_USERS, references=_pinned(tasks),
                 about="the table of the SlateQ paper, and beyond")  # fmt: skip


def _classics() -> Suite:
    """Learners where the candidates are described to them; the catalogues of 1000 are for agents that know an index."""
    tasks = _tasks(CLASSIC_IDS, CLASSICS_STEPS)
    recsim = tuple(_name(id) for id in CLASSIC_IDS if "Sardine" not in id and "RecoGym" not in id)
    slates = tuple(name for name in recsim if "LongTerm" not in name)
    items = tuple(name for name in recsim if "LongTerm" in name)
    rest = tuple(task.name for task in tasks if task.name not in recsim)
    agents = (*(Contender(name, name, trained=False) for name in ("random", "myopic")), *HEURISTICS,
              *(dataclasses.replace(bandit, only=recsim) for bandit in BANDITS),
              Contender("dqn", "dqn", only=items), Contender("slateq", "slateq", only=slates),
              Contender("reinforce", "reinforce", only=recsim),
              Contender("ppo mlp", "ppo", {"head": "mlp"}, only=rest))  # fmt: skip
    return Suite("classics-v0", tasks, agents, training_seeds(CLASSICS_SEEDS), REFERENCE_USERS,
                 references=_pinned(tasks), about="the literature's environments")  # fmt: skip


PREFERENCES = (
    1.0,
    0.75,
    0.5,
    0.25,
    0.0,
)  # share of the first objective; one unit of each is what random earns, roughly
FRONTS = {"Ecommerce-v0": {"click": 1.0, "satisfaction": 20.0}, "LiveStream-v0": {"watch": 0.05, "gift": 1.0}}


def _pareto() -> Suite:
    """Each learner at five preferences a front: a share p of the first objective's unit and 1 - p of the second's."""
    tasks = _tasks([f"recgym/{name}" for name in FRONTS], PARETO_STEPS)
    agents = [BASELINES[-1], *BASELINES[:-1]]
    for learner in ("pctr", "dqn"):
        for task, units in FRONTS.items():
            (first, a), (second, b) = units.items()
            for share in PREFERENCES:
                weights = {first: round(a * share, 4), second: round(b * (1 - share), 4)}
                chosen = {name: weight for name, weight in weights.items() if weight}
                label = f"{learner} {share:.0%} {first}"
                agents.append(Contender(label, learner, {"objective_weights": chosen}, only=(task,)))
    return Suite("pareto-v0", tasks, tuple(agents), training_seeds(PARETO_SEEDS), CORE_USERS, references=_pinned(tasks),
                 fronts={task: (first, second) for task, (first, second) in FRONTS.items()},
                 about="one agent at five preferences between two objectives")  # fmt: skip


def _generalization() -> tuple[NamedTask, ...]:
    """Trained in one world, evaluated in another: unseen catalogue and market; nobody known; a shifted market.

    The shift: shoppers who mind prices twice as much; news and streams whose quality the platform hardly sees.
    """
    shift = {"Ecommerce": {"price_sensitivity": 2.0}, "News": {"quality_correlation": 0.2},
             "LiveStream": {"quality_correlation": 0.2}}  # fmt: skip
    out = []
    for held_out, (domain, shifted) in enumerate(shift.items(), start=101):
        id = f"recgym/{domain}-v0"
        unseen = (Task(id, {"seed": held_out - 100}), Task(id, {"seed": held_out}))
        cold, shifted_ = Task(id, {"cold_start": 1.0}), Task(id, shifted)
        for name, trained, evaluated in (("unseen world", *unseen), ("cold users", Task(id), cold),
                                         ("shifted market", Task(id), shifted_)):  # fmt: skip
            out.append(NamedTask(f"{domain}-v0 {name}", trained, GENERALIZATION_STEPS, evaluated))
    return tuple(out)


def _generalization_suites() -> tuple[Suite, Suite]:
    """The suite, and the one that measures its references."""
    tasks = _generalization()
    measured = tuple(NamedTask(task.name, task.evaluation or task.task, 0) for task in tasks)
    agents = (*BASELINES, *BANDITS, Contender("reinforce", "reinforce"), Contender("dqn", "dqn"))
    return (
        Suite("generalization-v0", tasks, agents, training_seeds(GENERALIZATION_SEEDS), CORE_USERS,
              references=_pinned(tasks), about="trained in one world, evaluated in another"),
        Suite("generalization-references-v0", measured, references(GENERALIZATION_PLANNER_USERS), training_seeds(1),
              CORE_USERS, about="where the pinned scores of generalization-v0 come from"),
    )  # fmt: skip


SUITES = {
    suite.name: suite
    for suite in (
        _quickstart(
            "quickstart-v0", QUICKSTART_STEPS, QUICKSTART_USERS, QUICKSTART_PLANNER, "a first look, in minutes"
        ),
        _quickstart("smoke-v0", SMOKE_STEPS, SMOKE_USERS, SMOKE_PLANNER, "does everything run? a minute"),
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
            about="the forerunner of core-v0",
        ),
        _core(),
        _slateq(),
        _slate(),
        _long(),
        _classics(),
        _pareto(),
        *_generalization_suites(),
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
    hyperparameters: Sequence[dict[str, Any]] = (),
) -> Suite:
    """Anybody's agents beside the four references.

    Args:
        agents, hyperparameters: see `contenders`.
        tasks: where; `steps` user-steps of training on each. seeds: training runs. users: evaluation users.
    """
    require_count("steps", steps, 0, MOST_STEPS)
    names = [_name(t.id) + _settings(t.options) for t in tasks]
    yardsticks = references(min(users, SINGLE_ITEM_PLANNER_USERS))
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
    untrained = [reference.agent for reference in references()]
    return tuple(Contender(label, agent, values, trained=agent not in untrained)
                 for label, (agent, values) in zip(labels, new))  # fmt: skip


def _settings(values: Mapping[str, Any]) -> str:
    return "".join(f" {name}={value}" for name, value in values.items())
