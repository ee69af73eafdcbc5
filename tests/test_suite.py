"""Suites: published once and never changed, on seeds that nothing else uses, of agents and tasks that go together."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import itertools
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from baselines.agent import Task
from baselines.policies import KINDS, policy_digests, provenance, slope
from baselines.registry import make_agent
from benchmarks import __main__ as cli
from benchmarks import run, suite, tune
from benchmarks.data import lines_of
from benchmarks.packed import read_results
from benchmarks.suite import SUITES, Contender, Job, NamedTask, Suite
from recgym.errors import ConfigError

RESULTS, FOLDER = (Path(suite.__file__).parent / name for name in ("results", "suites"))
# Suite -> SHA-256 of its manifest and of its file; written by `python tests/test_suite.py`, see `pin`. A published suite
# that no longer fits its line is another suite: give it a new version.
PINNED = Path(__file__).with_name("suites.json")
PUBLISHED = {name: digests[0] for name, digests in json.loads(PINNED.read_bytes()).items()}
FILES = {name: digests[1] for name, digests in json.loads(PINNED.read_bytes()).items()}
SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})


def manifests() -> list[tuple[str, dict]]:
    return [(path.parent.name, json.loads(path.read_bytes())) for path in sorted(RESULTS.glob("*/suite.json"))]


@pytest.mark.parametrize("name", [*SUITES, *(name for name in PUBLISHED if name not in SUITES)])
def test_published_suites_never_change(name):
    assert name in SUITES, "a published suite is there for ever"
    found = suite.digest(SUITES[name].manifest())
    assert found == PUBLISHED.get(name), f"{name} is now {found}: give what has changed a new version"


def test_any_change_of_a_suite_changes_its_digest():
    core = SUITES["slateq-v0"]
    task, agent = core.tasks[0], core.agents[0]
    score = core.references[task.name]
    changes = dict(
        name="slateq-v1",
        tasks=(dataclasses.replace(task, steps=task.steps + 1), *core.tasks[1:]),
        agents=(dataclasses.replace(agent, label="other"), *core.agents[1:]),
        seeds=core.seeds[::-1],
        users=core.users + 1,
        user_seed=core.user_seed + 1,
        references={**core.references, task.name: {**score, "random": (score["random"][0], 0.5)}},
        fronts={task.name: ("click", "cart")},
        stretch={task.name: (1000.0, 0.1)},
        ones={task.name: next(a.label for a in core.agents if not a.trained)},
    )
    assert {*changes, "about"} == {field.name for field in dataclasses.fields(Suite)}
    digests = {suite.digest(dataclasses.replace(core, **{name: value}).manifest()) for name, value in changes.items()}
    assert len({*digests, suite.digest(core.manifest())}) == 1 + len(changes)
    assert dataclasses.replace(core, about="x").manifest() == core.manifest()


@pytest.mark.parametrize(("folder", "manifest"), manifests(), ids=[name for name, _ in manifests()])
def test_committed_results_are_still_those_of_their_jobs(folder, manifest):
    shared = manifest.pop("shared", {})
    found, faults = read_results(RESULTS / folder, [entry["key"] for entry in manifest["entries"]], shared)
    assert faults == {}
    for entry in manifest["entries"]:
        job = Job.from_dict(entry["job"])
        assert job.key == entry["key"] == suite.key_of(entry["job"])
        assert entry["key"] not in found or found[entry["key"]].job == job
    if manifest["suite"] in SUITES:
        del manifest["command"]
        assert manifest == json.loads(json.dumps(SUITES[manifest["suite"]].manifest()))


def test_keys_of_old_jobs_stay():
    assert Job(Task("recgym/Ecommerce-v0"), "popularity", {}, 0, 0, 2000).key == "015bda47d7b5f15c"


def test_pinned_scores_are_those_of_committed_results():
    scores = {}
    for folder, manifest in manifests():
        if "references" in folder:
            for entry in manifest["entries"]:
                result = read_results(RESULTS / folder, [entry["key"]])[0][entry["key"]].returns
                scores[entry["task"], entry["label"]] = (result.mean, result.se)
    every = [(task, pinned) for chosen in SUITES.values() for task, pinned in chosen.references.items()]
    assert every
    for task, pinned in every:
        assert list(pinned) == ["random", "planner"]
        for agent, score in pinned.items():
            assert score == pytest.approx(scores[task, agent], abs=1e-4)
        assert pinned["planner"][0] > pinned["random"][0]


def policies() -> list[tuple[Suite, Contender, str]]:
    """Each suite's agents with committed policies, and the ids of their tasks."""
    return [
        (chosen, agent, named.task.id)
        for chosen in SUITES.values()
        for agent in chosen.agents
        if agent.agent in KINDS and "digests" in agent.hyperparameters
        for named in chosen.tasks
        if not agent.only or named.name in agent.only
    ]


def test_suites_have_the_committed_policies():
    assert {chosen.name for chosen, _, _ in policies()} >= {"core-v1", "slate-v1", "long-v1", "generalization-v1"}
    for chosen, agent, id in policies():
        assert agent.hyperparameters["digests"][id] == policy_digests([id], agent.agent)[id], (chosen.name, id)
    for chosen in SUITES.values():
        best = next((agent for agent in chosen.agents if agent.agent == "best-known"), None)
        tasks = {task.name: task.task.id for task in chosen.tasks if best and (not best.only or task.name in best.only)}
        assert chosen.stretch.keys() == tasks.keys()
        for task, (steps, rise) in chosen.stretch.items():
            origin = provenance(tasks[task], "best-known")
            assert (steps, rise) == (origin["steps"], round(slope(origin["curve"]), 4))


@pytest.mark.parametrize("name", SUITES)
def test_no_seed_is_used_twice(name):
    chosen = SUITES[name]
    training = [(seed, seed + suite.SEED_STRIDE) for seed in chosen.seeds]
    evaluation = [(chosen.user_seed, chosen.user_seed + chosen.users)]
    jobs = tune.tuning_jobs("linucb", SHOP, {}, 1, 1000, 10**6)
    tuning = [(min(job.seed for job in jobs), max(job.seed for job in jobs) + suite.SEED_STRIDE),
              (jobs[0].user_seed, jobs[0].user_seed + 10**6)]  # fmt: skip
    ranges = sorted([*training, *evaluation, *tuning])
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(ranges))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": (10**9,)}, r"seed: must be an integer in \[0, 999990000\], got 1000000000"),
        ({"user_seed": 5}, "user_seed: must be an integer in"),
        ({"user_seed": 2 * 10**9 - 1}, "user_seed: must be an integer in"),
        ({"references": {"nowhere": {}}}, "references: must be of the tasks"),
        ({"fronts": {"nowhere": ("a", "b")}}, "fronts: must be of the tasks"),
        ({"ones": {"nowhere": "random"}}, "ones: must be of the tasks"),
        ({"stretch": {"nowhere": (1.0, 0.0)}}, "stretch: must be of the tasks"),
    ],
)
def test_a_suite_keeps_to_its_seeds_and_tasks(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SUITES["core-v1"], **change)


@pytest.mark.parametrize("option", suite.RESERVED)
def test_options_that_are_no_part_of_a_task(tmp_path, option):
    given = {option: 1}
    path = written(tmp_path / "mine.json", **of_first("tasks", options=given))
    elsewhere = {"id": SHOP.id, "options": given}
    other = written(tmp_path / "other.json", **of_first("tasks", evaluation=elsewhere))
    for make in (
        lambda: suite.get_suite(path),
        lambda: suite.get_suite(other),
        lambda: suite.custom_suite([], [Task(SHOP.id, given)], 0, 1, 10),
        lambda: tune.tune("linucb", Task(SHOP.id, given), tmp_path / "out"),
    ):
        with pytest.raises(ConfigError, match=f"options: must not hold '{option}', which is no part of a task, got 1"):
            make()


def pairs() -> dict[str, dict[str, tuple[Task, Contender]]]:
    """Task -> agent -> an example of both, over all suites: each pair of them once; oracles prove themselves elsewhere."""
    found: dict[str, dict[str, tuple[Task, Contender]]] = {}
    for chosen in SUITES.values():
        for named in chosen.tasks:
            for agent in chosen.agents:
                if (not agent.only or named.name in agent.only) and agent.agent not in ("planner", "myopic"):
                    kind = suite.digest({"agent": agent.agent, **agent.hyperparameters})
                    task = named.evaluation or named.task
                    found.setdefault(json.dumps([task.id, task.options]), {})[kind] = (task, agent)
    return found


@pytest.mark.parametrize("where", pairs())
def test_every_agent_of_a_suite_can_act_on_its_tasks(where):
    pytest.importorskip("torch")
    examples = [*pairs()[where].values()]
    env = examples[0][0].make(2, AutoresetMode.DISABLED)
    observation, info = env.reset(seed=1)
    for _, contender in examples:
        agent = make_agent(contender.agent, **contender.hyperparameters)
        agent.start(env)
        assert env.action_space.contains(agent.act(observation, info["action_mask"]))
        for objective in contender.hyperparameters.get("objective_weights", {}):
            assert objective in env.world.objectives
    env.close()


def test_agents_are_of_tasks_of_their_suite():
    for chosen in SUITES.values():
        names = {task.name for task in chosen.tasks}
        assert all({*agent.only} <= names for agent in chosen.agents)
        assert {entry.task for entry in chosen.entries()} == names
        assert {entry.label for entry in chosen.entries()} == {agent.label for agent in chosen.agents}


def test_fronts_have_an_agent_at_five_preferences():
    """The myopic ones where a step can trade one objective for the other; satisfaction comes from the steps before."""
    pareto = SUITES["pareto-v1"]
    for task, (first, second) in pareto.fronts.items():
        for learner in ("dqn",) if "satisfaction" in (first, second) else ("one-step", "linucb", "dqn"):
            name = "weights" if learner == "one-step" else "objective_weights"
            weights = [a.hyperparameters[name] for a in pareto.agents if a.agent == learner and task in a.only]
            assert len(weights) == 5
            assert weights[0].keys() == {first}
            assert weights[-1].keys() == {second}
            shares = [[w.get(name, 0.0) / end[name] for w in weights]
                      for name, end in ((first, weights[0]), (second, weights[-1]))]  # fmt: skip
            assert np.allclose(shares, [[1, 0.75, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.75, 1]])


def test_generalization_evaluates_elsewhere():
    chosen = SUITES["generalization-v1"]
    for named in chosen.tasks:
        assert named.evaluation is not None
        assert named.evaluation.id == named.task.id
        assert named.evaluation != named.task
        if "unseen" in named.name:
            train, test = (task.make(1).world for task in (named.task, named.evaluation))
            assert not np.array_equal(train.catalog.embedding, test.catalog.embedding)
        else:
            assert named.task.options == {"weeks": [0, 8]}
        assert named.evaluation.options["weeks"] == [8, 12]
    trained = {named.task.options.get("seed", 0) for named in chosen.tasks}
    assert trained.isdisjoint(named.evaluation.options["seed"] for named in chosen.tasks if "unseen" in named.name)


def test_a_job_is_evaluated_where_it_says():
    there = Task(SHOP.id, {"horizon": 7})
    job = Job(SHOP, "random", {}, 0, 0, 6)
    elsewhere = dataclasses.replace(job, evaluation_task=there)
    assert elsewhere.key != job.key
    assert Job.from_dict(json.loads(json.dumps(elsewhere.to_dict()))) == elsewhere
    result, direct = run.execute(elsewhere), run.execute(dataclasses.replace(job, task=there))
    for part in ("returns", "length", "objectives"):
        assert getattr(result, part) == getattr(direct, part)
    assert result.returns != run.execute(job).returns
    with pytest.raises(ConfigError, match="job: must be one as a run writes it: KeyError: 'evaluation'"):
        Job.from_dict({"task": {"id": "x"}})


def test_rows_can_be_run_one_by_one(tmp_path):
    agents = tuple(Contender(name, name, trained=False) for name in ("random", "popularity"))
    chosen = Suite(
        "tiny-v0", (NamedTask("shop", SHOP, 0),), agents, (0,), 4, references={"shop": {"random": (1.0, 0.1)}}
    )
    console = Console(file=io.StringIO())
    assert run.run_suite(chosen, tmp_path, console=console, only=["popularity"]) == []
    assert len(list((tmp_path / "jobs").glob("*.json"))) == 1
    manifest = json.loads((tmp_path / "suite.json").read_bytes())
    assert manifest == {**json.loads(json.dumps(chosen.manifest())), "command": ""}
    assert manifest["references"] == {"shop": {"random": [1.0, 0.1]}}
    with pytest.raises(ConfigError, match=r"only: got .* Did you mean 'random'\? It must be one of"):
        run.run_suite(chosen, tmp_path, console=console, only=["randon"])


# Suites are files


def test_the_files_are_what_is_published():
    for path in FOLDER.glob("*.json"):
        chosen = suite.load_suite(path)
        assert path.stem == chosen.name
        assert hashlib.sha256(path.read_bytes()).hexdigest() == FILES[chosen.name], (
            "give what has changed a new version"
        )
        assert lines_of(chosen.to_dict(), sort_keys=False) == path.read_text(), "in the form that save_suite writes"
        assert Suite.from_dict(json.loads(path.read_bytes())) == chosen == SUITES[chosen.name]


def test_a_new_id_changes_no_suite():
    program = """
import recgym
recgym.register_world("shop", "recgym.domains.news:news", ids={"recgym/Shop-v7": {}})
recgym.ENV_IDS += ("recgym/Shop-v7",)
recgym.CLASSIC_IDS += ("recgym/New-v0",)
from benchmarks import references, suite
print({name: suite.digest(chosen.manifest()) for name, chosen in suite.SUITES.items()})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert eval(done.stdout) == PUBLISHED


def written(path: Path, **changes) -> str:
    data = {**suite.get_suite("smoke").to_dict(), "name": "mine-v0", **changes}
    path.write_text(json.dumps({name: value for name, value in data.items() if value is not None}))
    return str(path)


def of_first(part: str, **changes) -> dict:
    members = suite.get_suite("smoke").to_dict()[part]
    return {part: [{**members[0], **changes}, *members[1:]]}


VERSIONED = "must be of lower-case letters, digits and hyphens, with a version of v0 to v9999, as mine-v0"
LABEL = "must be text of 1 to 100 characters"
BAD_NAMES = [
    *((name, VERSIONED) for name in ("mine-v", "mine-v00", "mine-v01", "mine-v12345", "mine-v٣", "v0", "-v0")),
    *((name, LABEL) for name in ("", "a" * 98 + "-v0")),
]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 3}, "suite key: got 'seed'. Did you mean 'seeds'?"),
        ({"tasks": None}, "suite: must have 'tasks'"),
        ({"tasks": []}, "mine-v0 tasks: must hold one at least"),
        ({"tasks": {}}, "tasks: must be a list"),
        ({"tasks": [3]}, "tasks[0]: must be an object, got 3"),
        (of_first("tasks", stepz=3), "tasks[0] key: got 'stepz'. Did you mean 'steps'?"),
        (of_first("tasks", steps=1.5), "tasks[0] steps: must be an integer in"),
        (of_first("tasks", id="recgym/Nws-v0"), "tasks[0] id: got 'recgym/Nws-v0'. Did you mean 'recgym/News-v0'?"),
        (of_first("tasks", id=7), "tasks[0] id: must be text"),
        (of_first("tasks", name="a\nb"), "tasks[0] name: must be text"),
        (of_first("tasks", options=[1]), "tasks[0] options: must be an object"),
        (of_first("tasks", evaluation={"is": "x"}), "tasks[0] evaluation key: got 'is'. Did you mean 'id'?"),
        (of_first("tasks", evaluation={"id": "recgym/Nws-v0"}), "tasks[0] evaluation id: got 'recgym/Nws-v0'"),
        (of_first("agents", agent="dqm"), "agents[0] agent: got 'dqm'. Did you mean 'dqn'?"),
        (of_first("agents", label=["x"]), "agents[0] label: must be text"),
        (of_first("agents", hyperparameters=3), "agents[0] hyperparameters: must be an object"),
        (of_first("agents", trained="no"), "agents[0] trained: must be true or false"),
        (of_first("agents", users=0), "agents[0] users: must be an integer in [2,"),
        (of_first("agents", only=["News"]), "only: got 'News'. Did you mean 'News-v0'?"),
        (of_first("agents", only="News-v0"), "agents[0] only: must be a list of names"),
        ({"seeds": [0, 0]}, "mine-v0 seeds: must differ"),
        ({"seeds": [[]]}, "seed: must be an integer"),
        ({"seeds": 3}, "seeds: must be a list"),
        ({"users": True}, "evaluation users: must be an integer"),
        ({"references": {"News-v0": {"random": 3}}}, "references: must have a mean return and its standard error"),
        ({"references": {"x": {"random": [1, 2]}}}, "references: must be of the tasks"),
        ({"fronts": {"News-v0": ["click"]}}, "fronts: must have two different objectives by task"),
        ({"stretch": {"News-v0": ["click", 1]}}, "stretch: must have steps and a rise by task"),
        ({"name": "custom"}, "name: must be of lower-case letters, digits and hyphens, with a version"),
        ({"name": "core-v1+mine-v0"}, "name: must be of lower-case letters"),
        ({"name": "../mine-v0"}, "name: must be of lower-case letters"),
        ({"name": "core-v1"}, "name: must not be that of a published suite that differs, got 'core-v1'"),
        ({"about": "a\tb"}, "about: must be text"),
        *((of_first("tasks", name=name), "tasks[0] name: must be text of 1 to 100") for name in ("", " ", "a" * 101)),
        *(
            (of_first("agents", label=name), "agents[0] label: must be text of 1 to 100")
            for name in ("", "\xa0", "a" * 101)
        ),
        (of_first("tasks", id=""), "tasks[0] id: must be text"),
        (of_first("tasks", evaluation={"id": " "}), "tasks[0] evaluation id: must be text"),
        (of_first("agents", agent=""), "agents[0] agent: must be text"),
        *(({"name": name}, f"name: {rule}, got {name!r}") for name, rule in BAD_NAMES),
        *(
            ({"fronts": {"News-v0": pair}}, "fronts: must have two different objectives by task")
            for pair in (["click", "click"], ["click", ""], ["click", 3], ["click", "like", "share"])
        ),
        (
            {"references": {"News-v0": {"random": [1, -0.1]}}},
            "references: must have a mean return and its standard error, not",
        ),
    ],
)
def test_a_suite_file_is_checked_whole(tmp_path, changes, message):
    path = written(tmp_path / "mine.json", **changes)
    with pytest.raises(ConfigError, match=re.escape(f"suite: {path}: ") + ".*" + re.escape(message)):
        suite.get_suite(path)


def test_a_suite_file_that_cannot_be_read(tmp_path):
    for content, message in ((b"{", "must be JSON"), (b"[]", "suite: must be an object"), (None, "cannot be read")):
        if content is not None:
            (tmp_path / "mine.json").write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            suite.get_suite(str(tmp_path / ("mine.json" if content is not None else "nowhere.json")))
    same = written(tmp_path / "same.json", name="smoke-v1", about="in other words")
    assert suite.get_suite(same).manifest() == suite.get_suite("smoke").manifest(), "a published one, as it is"


REGISTRATION = """
import gymnasium

gymnasium.register(
    "mine/Shop-v0",
    entry_point="recgym.domains.ecommerce:EcommerceEnv",
    vector_entry_point="recgym.envs:RecVectorEnv",
    kwargs={"world": "ecommerce", "horizon": 6},
)
"""
AGENT = """
import dataclasses
from baselines.agent import OnlineAgent

@dataclasses.dataclass
class Last(OnlineAgent):
    def learn(self, *transition):
        pass
    def act(self, observation, mask, explore=False):
        return mask.shape[1] - 1 - mask[:, ::-1].argmax(axis=1)
"""


def test_a_suite_of_a_stranger(tmp_path, monkeypatch):
    """Agents by file and by module, a task that a module registers; in this process and in workers; all commands."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger_shop.py").write_text(REGISTRATION + AGENT)
    (tmp_path / "agents.py").write_text(AGENT)
    tasks = [
        {"name": "shop", "id": "stranger_shop:mine/Shop-v0", "steps": 128},
        {"name": "news", "id": "recgym/News-v0", "options": {"horizon": 4}, "steps": 128},
    ]
    agents = [
        {"label": "by module", "agent": "stranger_shop:Last"},
        {"label": "by file", "agent": "agents.py:Last", "only": ["shop"]},
        {"label": "random", "agent": "random", "trained": False},
        {"label": "planner", "agent": "planner", "trained": False, "only": ["news"], "hyperparameters": {"users": 100}},
    ]
    path = written(tmp_path / "mine.json", tasks=tasks, agents=agents, seeds=[0, 10_000], users=20, stretch=None)
    assert Task("stranger_shop:mine/Shop-v0").make(2).world.horizon == 6
    console = Console(file=io.StringIO(), width=80)
    monkeypatch.setattr(cli, "console", console)

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    assert call("list", path) == 0
    assert "mine-v0" in console.file.getvalue()
    assert "core-v1" not in console.file.getvalue()
    assert call("run", path, "-o", "one", "-w", "1") == 0
    assert call("run", path, "-o", "two", "-w", "2") == 0
    found = [
        read_results(Path(name), [e.job.key for e in suite.get_suite(path).entries()])[0] for name in ("one", "two")
    ]
    assert len(found[0]) == 9
    for key, result in found[0].items():
        assert dataclasses.replace(result, cost=found[1][key].cost) == found[1][key]
    text = (tmp_path / "one" / "leaderboard.md").read_text()
    shop, news = text.split("## shop")[1].split("## news")
    rows = [line.split(" | ") for line in shop.splitlines() if " ± " in line]
    assert [row[2] for row in rows] == ["no planner: not normalised"] * 3
    returns = [float(row[1].split(" ")[0]) for row in rows]
    assert returns == sorted(returns, reverse=True)
    assert "0.00 [" in news
    assert "no planner: not normalised" in (tmp_path / "one" / "index.html").read_text()
    assert max(map(len, console.file.getvalue().splitlines())) <= 80
    assert call("pack", "one") == 0
    assert call("submit-check", "one", "--suite", path, "--sample", "1") == 0
    assert "mine-v0, sha256" in console.file.getvalue()
    trust = [part for name in ("stranger_shop:Last", "stranger_shop:mine/Shop-v0") for part in ("--trust", name)]
    assert call("submit-check", "one", "--suite", path, "--sample", "2", "--seed", "1", *trust) == 0
    assert call("submit-check", "one", "--suite", "core-v1", "--sample", "0") == 1
    assert "'mine-v0' is not 'core-v1'" in " ".join(console.file.getvalue().split())
    changed = written(tmp_path / "mine.json", tasks=tasks, agents=agents, seeds=[0, 10_000], users=21, stretch=None)
    assert call("submit-check", "one", "--suite", changed, "--sample", "0") == 1


def pin() -> None:
    """Put the digests of the committed policies into the suites that use them, and those of the suites into `PINNED`."""
    for path in FOLDER.glob("*.json"):
        data = json.loads(path.read_bytes())
        ids, stretch = {task["name"]: task["id"] for task in data["tasks"]}, {}
        for agent in data["agents"]:
            if agent["agent"] in KINDS and "digests" in agent.get("hyperparameters", {}):
                tasks = agent.get("only") or list(ids)
                agent["hyperparameters"]["digests"] = policy_digests(sorted({ids[t] for t in tasks}), agent["agent"])
                if agent["agent"] == "best-known":
                    for task in tasks:
                        origin = provenance(ids[task], "best-known")
                        stretch[task] = [origin["steps"], round(slope(origin["curve"]), 4)]
        data = {name: value for name, value in data.items() if name != "stretch"} | (
            {"stretch": stretch} if stretch else {}
        )
        path.write_text(lines_of(Suite.from_dict(data).to_dict(), sort_keys=False))
    digests = {
        path.stem: [suite.digest(Suite.from_dict(json.loads(path.read_bytes())).manifest()),
                    hashlib.sha256(path.read_bytes()).hexdigest()]
        for path in sorted(FOLDER.glob("*.json"))
    }  # fmt: skip
    PINNED.write_text(json.dumps(digests, indent=1) + "\n")


if __name__ == "__main__":
    pin()
