"""Suites: published once and never changed, on seeds that nothing else uses, of agents and tasks that go together."""

from __future__ import annotations

import dataclasses
import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from baselines.agent import Task, make_agent
from benchmarks import run, suite, tune
from benchmarks.packed import read_results
from benchmarks.suite import SUITES, Contender, Job, NamedTask, Suite
from recgym.errors import ConfigError

RESULTS = Path(suite.__file__).parent / "results"
# SHA-256 of what is published. A suite that no longer fits its line is another suite: give it a new version instead.
PUBLISHED = {
    "quickstart-v0": "e58558e93065f22b555d6f334e1f14f8d83060bdec528ccf807e8066459ab550",
    "smoke-v0": "38950461aa00a63d8ba433848fffb8d8920c59182f6559bf178fb993963c32a7",
    "single-item-v0": "a5a77ba145518c5e2c10bbd4047d5a51dba45aaf7fd779c1c0dcdd3129a78c41",
    "core-v0": "b6829fd0af0b56630cb5ebb83029a1c2a13f1d0741a4a95dc3725c9cd80dc4fe",
    "slateq-v0": "7cc85adea6627266ca3ffab8e71e58c2e6b93a1bb2574fea0b08f812701103c8",
    "slate-v0": "72887cc0b226cc5bb18348dd0fe3976ce0959797b0b123f60626121949aea2fe",
    "long-v0": "777325e8fb939c483756d6318403b79b19dfbf43790f0d9b3f9fff60d30c698e",
    "classics-v0": "0946f4fdc4be40016b34f3cd6b369a8c33358d775360ffe621607a89728e0d21",
    "pareto-v0": "7da12ab429f3c2ac33ee4ba12267df0899720f639c120103937e0b69e49893c5",
    "generalization-v0": "ced6ccb8731e3880e86706e0c56ae13615866ad62cbe33c72863922d448e7364",
    "generalization-references-v0": "3447899f16a053c58f0636d1440e864e303b9cf67d45ea7a25902c02501b42e1",
}
SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})


def manifests() -> list[tuple[str, dict]]:
    return [(path.parent.name, json.loads(path.read_bytes())) for path in sorted(RESULTS.glob("*/suite.json"))]


@pytest.mark.parametrize("name", [*SUITES, *(name for name in PUBLISHED if name not in SUITES)])
def test_published_suites_never_change(name):
    assert name in SUITES, "a published suite is there for ever"
    found = suite.digest(SUITES[name].manifest())
    assert found == PUBLISHED.get(name), f"{name} is now {found}: give what has changed a new version"


def test_any_change_of_a_suite_changes_its_digest():
    core = SUITES["core-v0"]
    task, agent = core.tasks[0], core.agents[0]
    score = core.references[task.name]
    changes = dict(
        name="core-v1",
        tasks=(dataclasses.replace(task, steps=task.steps + 1), *core.tasks[1:]),
        agents=(dataclasses.replace(agent, label="other"), *core.agents[1:]),
        seeds=core.seeds[::-1],
        users=core.users + 1,
        user_seed=core.user_seed + 1,
        references={**core.references, task.name: {**score, "random": (score["random"][0], 0.5)}},
        fronts={task.name: ("click", "cart")},
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
    for task, pinned in suite.REFERENCES.items():
        assert list(pinned) == ["random", "planner"]
        for agent, score in pinned.items():
            assert score == pytest.approx(scores[task, agent], abs=1e-4)
        assert pinned["planner"][0] > pinned["random"][0]
    for name in ("core-v0", "slate-v0", "classics-v0", "pareto-v0", "generalization-v0"):
        assert list(SUITES[name].references) == [task.name for task in SUITES[name].tasks]


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
    ],
)
def test_a_suite_keeps_to_its_seeds_and_tasks(change, message):
    with pytest.raises(ConfigError, match=message):
        dataclasses.replace(SUITES["core-v0"], **change)


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
    pareto = SUITES["pareto-v0"]
    for task, (first, second) in pareto.fronts.items():
        for learner in ("pctr", "dqn"):
            weights = [
                a.hyperparameters["objective_weights"] for a in pareto.agents if a.agent == learner and task in a.only
            ]
            assert len(weights) == 5
            assert weights[0].keys() == {first}
            assert weights[-1].keys() == {second}
            shares = [[w.get(name, 0.0) / end[name] for w in weights]
                      for name, end in ((first, weights[0]), (second, weights[-1]))]  # fmt: skip
            assert np.allclose(shares, [[1, 0.75, 0.5, 0.25, 0], [0, 0.25, 0.5, 0.75, 1]])


def test_generalization_evaluates_elsewhere():
    chosen = SUITES["generalization-v0"]
    for named in chosen.tasks:
        assert named.evaluation is not None
        assert named.evaluation.id == named.task.id
        assert named.evaluation != named.task
        if "unseen" in named.name:
            train, test = (task.make(1).world for task in (named.task, named.evaluation))
            assert not np.array_equal(train.catalog.embedding, test.catalog.embedding)
        else:
            assert named.task.options == {}
    trained = {named.task.options.get("seed", 0) for named in chosen.tasks}
    assert trained.isdisjoint(named.evaluation.options["seed"] for named in chosen.tasks if "unseen" in named.name)
    references = SUITES["generalization-references-v0"]
    assert [(t.name, t.task) for t in references.tasks] == [(t.name, t.evaluation) for t in chosen.tasks]


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
