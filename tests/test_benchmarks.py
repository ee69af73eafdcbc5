"""The harness: keys, resuming, isolation of failures, statistics, reports, and the command line."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from outsiders import First, Fragile
from rich.console import Console

from baselines.agent import Task
from baselines.registry import make_agent
from benchmarks import __main__ as cli
from benchmarks import audit, display, references, report, run, suite, tables
from benchmarks.result import Result
from benchmarks.suite import Contender, Job, NamedTask, Suite
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import ConfigError

SCALE = ("planner", "random")
LONG = "a" * 300  # more than a name of a file may have
SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})


def named(cls: type) -> str:
    return f"{cls.__module__}:{cls.__name__}"


def tiny(*agents: Contender, seeds: int = 2, references: tuple[str, ...] = ("myopic", "random")) -> Suite:
    agents = agents or (Contender("first", named(First)),)
    return Suite(
        "tiny-v0",
        (NamedTask("shop", SHOP, 128), NamedTask("cold shop", Task(SHOP.id, {"horizon": 5, "cold_start": 1.0}), 64)),
        (*agents, *(c for c in suite.references(2) if c.label in references)),
        suite.training_seeds(seeds),
        users=4,
    )


def quiet() -> Console:
    return Console(file=io.StringIO(), width=80)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def result_of(job: Job, mean: float, se: float = 0.1, **changes) -> dict:
    """What a run would write."""
    return {
        "format": suite.FORMAT, "key": job.key, "job": job.to_dict(), "privileged": job.agent == "planner",
        "return": {"mean": mean, "se": se, "n": job.users}, "length": {"mean": 10.0, "median": 9.0},
        "objectives": {"click": 2.0, "cart": 1.0, "purchase": 0.25}, "curve": [], "software": {"recgym": "0"},
        "cost": {"train_seconds": 1.0, "evaluation_seconds": 1.0}, **changes,
    }  # fmt: skip


def contents(folder: Path) -> dict[str, dict]:
    """Results by key, without what depends on the machine's speed."""
    found = {path.stem: json.loads(path.read_text()) for path in sorted((folder / "jobs").glob("*.json"))}
    for result in found.values():
        del result["cost"]
    return found


# Suites and jobs


def test_a_key_is_the_hash_of_the_canonical_json():
    job = Job(Task("recgym/News-v0", {"b": 1, "a": 2}), "dqn", {"y": 0.5, "x": None}, 100, 7, 10, 20)
    text = (
        '{"agent":"dqn","evaluation":{"seed":20,"users":10},"format":1,"hyperparameters":{"x":null,"y":0.5},'
        '"seed":7,"steps":100,"task":{"id":"recgym/News-v0","options":{"a":2,"b":1}}}'
    )
    assert job.key == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_every_field_of_a_job_changes_its_key():
    job = Job(Task("recgym/News-v0"), "dqn", {}, 100, 7, 10, 20)
    task = Task("recgym/News-v0", {"slate_size": 2})
    changes = dict(task=task, agent="linucb", hyperparameters={"a": 1}, steps=1, seed=1, users=1, user_seed=1,
                   evaluation_task=task)  # fmt: skip
    assert set(changes) == {field.name for field in dataclasses.fields(Job)}
    keys = {job.key, *(dataclasses.replace(job, **{name: value}).key for name, value in changes.items())}
    assert len(keys) == len(changes) + 1
    with pytest.raises(ConfigError, match="must be JSON values"):
        _ = dataclasses.replace(job, hyperparameters={"a": object()}).key


def test_references_run_once_and_learners_with_every_seed():
    entries = tiny(seeds=3, references=SCALE).entries()
    assert [(e.task, e.label, e.job.seed, e.job.steps, e.job.users) for e in entries] == [
        *(("shop", "first", 10_000 * k, 128, 4) for k in range(3)),
        *(("cold shop", "first", 10_000 * k, 64, 4) for k in range(3)),
        ("shop", "planner", 0, 0, 2), ("cold shop", "planner", 0, 0, 2),
        ("shop", "random", 0, 0, 4), ("cold shop", "random", 0, 0, 4),
    ]  # fmt: skip


def test_training_users_are_not_evaluation_users():
    with pytest.raises(ConfigError, match="seeds: must be an integer"):
        suite.training_seeds(10**6)
    assert max(suite.training_seeds(99_998)) + suite.SEED_STRIDE <= suite.EVALUATION_SEED


def test_named_suites():
    quick, smoke = (suite.get_suite(name) for name in ("quickstart", "smoke-v1"))
    assert [task.task for task in quick.tasks] == [task.task for task in smoke.tasks]
    assert quick.agents[0].hyperparameters == {}
    assert [a.label for a in quick.agents] == [a.label for a in smoke.agents]
    assert quick.tasks[3].task == Task("recgym/Ecommerce-v0", {"world": "open-bandit"})
    for contender in (*quick.agents, *smoke.agents):
        make_agent(contender.agent, **contender.hyperparameters)
    with pytest.raises(ConfigError, match="Did you mean 'quickstart-v1'"):
        suite.get_suite("quickstrat")
    with pytest.raises(ConfigError, match="must have a name each"):
        dataclasses.replace(quick, tasks=quick.tasks * 2)


def test_custom_suites_hold_the_references_once():
    custom = suite.custom_suite([named(First), "random"], [SHOP], 64, 3, 50)
    assert [agent.label for agent in custom.agents] == ["First", "planner", "myopic", "popularity", "random"]
    assert custom.tasks[0].name == "Ecommerce-v0 horizon=5"
    assert len(custom.entries()) == 3 + 4


def test_one_agent_may_run_with_several_settings():
    def labels(*pairs: tuple[str, dict], beside=()) -> list[str]:
        agents, settings = zip(*pairs)
        return [c.label for c in suite.contenders(agents, settings, beside)]

    core = suite.get_suite("core-v1").agents
    assert labels(("a:X", {}), ("linucb", {"alpha": 1})) == ["X", "linucb"]
    assert labels(("linucb", {}), ("linucb", {"alpha": 0.5})) == ["linucb", "linucb alpha=0.5"]
    assert labels(("linucb", {"alpha": 0.5}), ("linucb", {}), beside=core) == ["linucb alpha=0.5"], "one is there"
    assert labels(("a:X", {}), ("b:X", {})) == ["a:X", "b:X"]
    assert labels(("pctr", {}), ("pctr", {"alpha": 2}), beside=core) == ["pctr alpha=2"]
    assert not suite.contenders(["planner"])[0].trained
    both = suite.contenders(["linucb", "dqn"], [{"x": 1}])
    assert [c.hyperparameters for c in both] == [{"x": 1}] * 2
    for agents, settings in ((["linucb"] * 3, [{}, {}]), ([], [{"alpha": 1}])):
        with pytest.raises(ConfigError, match="parameters: must be given once, or once for each"):
            suite.contenders(agents, settings)
    with pytest.raises(ConfigError, match="must have names that can be printed"):
        suite.custom_suite([], [Task(SHOP.id, {"world": "a\nb"})], 0, 1, 5)


def test_a_run_does_not_take_the_place_of_another(tmp_path, monkeypatch):
    """Custom runs have a folder each; a run that would drop what a folder's report shows is refused."""
    chosen = [suite.custom_suite([named(First)], [SHOP], 64, seeds, 5) for seeds in (1, 2)]
    assert cli._folder(chosen[0]) != cli._folder(chosen[1])
    assert cli._folder(chosen[0]) == cli._folder(suite.custom_suite([named(First)], [SHOP], 64, 1, 5))
    assert cli._folder(suite.get_suite("core-v1")) == Path("runs/core-v1")
    strange = dataclasses.replace(chosen[0], name="core-v1+../x [/]" + "y" * 300)
    assert re.fullmatch(r"runs/core-v1\+\.\.-x-y{40,60}-[0-9a-f]{8}", str(cli._folder(strange)))
    write = functools.partial(run.run_suite, console=quiet(), only=["random"])
    write(chosen[0], tmp_path / "a")
    write(chosen[1], tmp_path / "a")  # holds more: nothing is lost
    before = (tmp_path / "a" / "suite.json").read_bytes()
    with pytest.raises(ConfigError, match=r"output: .* holds the run 'custom' .* no 'First' on .*; choose another"):
        write(chosen[0], tmp_path / "a")
    assert (tmp_path / "a" / "suite.json").read_bytes() == before
    (tmp_path / "a" / "suite.json").write_text("{")
    with pytest.warns(UserWarning, match=r"suite\.json must be JSON .*; it is written anew"):
        write(chosen[0], tmp_path / "a")
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="output: must be a folder that can be written"):
        write(chosen[0], tmp_path / "file" / "sub")


# Running


def test_a_second_run_does_nothing(tmp_path):
    assert run.run_suite(tiny(), tmp_path, console=quiet()) == []
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()}
    assert len(files) == 8
    console = quiet()
    assert run.run_suite(tiny(), tmp_path, console=console) == []
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "jobs").iterdir()} == files
    assert "8 done before, 0 to run" in printed(console)
    assert "kernels" not in printed(console)
    run.run_suite(tiny(), tmp_path, console=quiet(), fresh=True)
    assert all(path.stat().st_mtime_ns > before for path, before in files.items())


def test_a_result_says_what_an_evaluation_by_hand_says(tmp_path):
    job = Job(SHOP, "random", {}, 0, 0, 6, 99)
    result = run.execute(job)
    env = SHOP.make(6, autoreset_mode="Disabled")
    agent, (observation, info), total, steps = make_agent("random"), env.reset(seed=99), np.zeros(6), np.zeros(6)
    agent.start(env)
    done = np.zeros(6, bool)
    while not done.all():
        observation, reward, terminated, truncated, info = env.step(agent.act(observation, info["action_mask"]))
        total, steps, done = total + reward, steps + ~done, terminated | truncated
    assert dataclasses.asdict(result.returns) == {
        "mean": total.mean(),
        "se": pytest.approx(total.std(ddof=1) / math.sqrt(6)),
        "n": 6,
    }
    assert dataclasses.asdict(result.length) == {"mean": steps.mean(), "median": np.median(steps)}
    assert list(result.objectives) == ["click", "cart", "purchase", "revenue", "satisfaction"]
    assert Result.from_dict(json.loads(json.dumps(result.to_dict())), job.key) == result


@pytest.mark.parametrize("every", [1, 10, 250, 2000])
def test_a_learning_curve_has_its_points_at_fixed_steps(monkeypatch, every):
    class Teller(First):
        """Reports what it likes."""

        def fit(self, task, steps, seed=0, progress=None):
            for done in range(every, steps + 1, every):
                progress(done, {"reward": math.nan, "return": 1e9})

    monkeypatch.setattr(run, "_make_agent", lambda job, device: Teller())
    result = run.execute(Job(SHOP, named(First), {}, 1000, 0, 7))
    assert [point["steps"] for point in result.curve] == {250: [250, 500, 750, 1000], 2000: [1000]}.get(
        every, list(range(100, 1001, 100))
    )
    score = {"return": result.returns.mean, "se": result.returns.se}
    assert all({**point, **score} == point for point in result.curve), "what it learns changes nothing"
    assert result.cost["curve_seconds"] > 0 or every == 2000


@pytest.mark.parametrize("agent", ["linucb", "slateq", "reinforce", "dqn", "ppo"])
def test_a_learning_curve_changes_nothing_in_training(agent):
    task = Task("recgym/EcommerceSlate-v0" if agent == "slateq" else "recgym/Ecommerce-v0", {"horizon": 8, "items": 30})
    settings = {"dqn": {"learning_starts": 64}, "ppo": {"n_steps": 2, "batch_size": 128, "learning_rate": 0.03}, "slateq": {"learning_starts": 64, "n_steps": 2},
                "reinforce": {"segment": 2}}.get(agent, {})  # fmt: skip
    job = Job(task, agent, settings, 640, 0, 200)
    with_curve, without = run.execute(job, curve_points=4), run.execute(job, curve_points=0)
    assert len(with_curve.curve) == 4
    assert without.curve == []
    for part in ("returns", "length", "objectives"):
        assert getattr(with_curve, part) == getattr(without, part)
    assert len({point["return"] for point in with_curve.curve}) > 1, "it learned"


def test_a_corrupt_file_counts_as_absent(tmp_path):
    run.run_suite(tiny(), tmp_path, console=quiet())
    before = contents(tmp_path)
    files = [run.result_file(tmp_path, entry.job.key) for entry in tiny().entries()]
    files[0].write_text(files[0].read_text()[:-40])
    files[1].write_text(files[2].read_text())
    files[3].write_text(files[3].read_text().replace('"seed": 10000,', '"seed": 10001,'))
    files[4].write_text("[]")
    with pytest.warns(UserWarning, match="it counts as absent") as caught:
        run.run_suite(tiny(), tmp_path, console=quiet())
    assert len(caught) == 4
    assert contents(tmp_path) == before


def test_a_failed_job_leaves_its_traceback_and_is_tried_again_on_demand(tmp_path):
    flag = tmp_path / "flag"
    fragile = tiny(Contender("fragile", named(Fragile), {"file": str(flag)}), Contender("first", named(First)))
    console = quiet()
    failed = run.run_suite(fragile, tmp_path, console=console)
    assert len(failed) == 4
    assert "failed: RuntimeError: no [file]" in printed(console)
    assert "in act" in run.error_file(tmp_path, failed[0]).read_text()
    results = report.report(tmp_path, console)
    assert results.text("fragile", ["shop"]) == "missing"
    assert results.text("first", ["shop"]) != "missing"
    assert "missing 2 of 2" in printed(console)
    assert len(results.missing) == 4
    assert "shop, fragile, seed 10000: failed: RuntimeError: no \\[file\\]".replace("\\", "") in results.missing[1]
    flag.touch()
    console = quiet()
    assert run.run_suite(fragile, tmp_path, console=console) == failed, "a failure is kept"
    assert "8 done before, 0 to run" in printed(console)
    assert "4 failed before and stay so without --retry-failed" in printed(console)
    assert run.run_suite(fragile, tmp_path, console=quiet(), retry_failed=True) == []
    assert not list((tmp_path / "jobs").glob("*.error.txt"))
    assert report.report(tmp_path, quiet()).missing == []


def test_mistakes_show_before_any_work(tmp_path):
    def on(id: str, **options) -> Suite:
        return dataclasses.replace(tiny(), tasks=(NamedTask("x", Task(id, options), 1),))

    for wrong, message in (
        (tiny(Contender("x", "dqm")), "agent: got .* Did you mean 'dqn'"),
        (tiny(Contender("x", named(First), {"pauze": 1})), "Did you mean 'pause'"),
        (on("recgym/Nws-v0"), "task: must be a registered recgym id"),
        (on("CartPole-v1"), "task: must be a registered recgym id"),
        (on(SHOP.id, horizn=3), "Did you mean 'horizon'"),
        (on(SHOP.id, reward="vector"), r"task: must pay one number per step, got a vector of \('click', "),
    ):
        with pytest.raises(ConfigError, match=message):
            run.run_suite(wrong, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()


def test_a_task_that_pays_vectors_is_refused_before_any_training(monkeypatch):
    """In training, in evaluation, and by an id that implies it; the mean over objectives would be no score."""
    monkeypatch.setattr(First, "fit", lambda *arguments: pytest.fail("training has begun"))
    vector = Task(SHOP.id, {**SHOP.options, "reward": "vector"})
    implied = Task("vectors/Shop-v0")
    kwargs = {"world": "ecommerce", "horizon": 5, "reward": "vector"}
    gymnasium.register("vectors/Shop-v0", vector_entry_point="recgym.envs:RecVectorEnv", kwargs=kwargs)
    try:
        for job in (
            Job(vector, named(First), {}, 64, 0, 4),
            Job(SHOP, named(First), {}, 64, 0, 4, evaluation_task=vector),
            Job(implied, named(First), {}, 64, 0, 4),
        ):
            with pytest.raises(ConfigError, match="task: must pay one number per step, got a vector"):
                run.execute(job)
    finally:
        del gymnasium.registry["vectors/Shop-v0"]


def test_the_live_display_fits_a_terminal():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    entries = [suite.Entry("a task with a very long name", f"agent {i}", e.job) for i, e in enumerate(tiny().entries())]
    with display.Display(entries, console) as shown:
        for entry in entries[:2]:
            shown(run.Update(entry.job.key, "start"))
            shown(run.Update(entry.job.key, "train", 123_456, 200_000, "reward -0.123"))
            shown.bars.refresh()
        shown(run.Update(entries[0].job.key, "done", text="1.234 ± 0.567  12 s"))
        shown(run.Update(entries[2].job.key, "failed", text="never started"))
        shown(run.Update(entries[1].job.key, "again", text="killed"))
        assert not shown.running
        shown.bars.refresh()
    lines = [line for line in printed(console).replace("\r", "\n").split("\n") if "task" in line]
    assert any("train 123k/200k reward -0.123" in line for line in lines)
    assert any("1/8 a task with a very long name agent 0 seed 0: 1.234 ± 0.567  12 s" in line for line in lines)
    assert any("2/8" in line and "failed: never started" in line for line in lines)
    assert any("2/8" in line and "agent 1 seed 10000: tried again: killed" in line for line in lines)


def test_a_log_hears_of_long_jobs_and_has_no_bars(monkeypatch):
    now = iter([0.0, 0.0, 10.0, 70.0, 75.0, 140.0, 141.0])
    monkeypatch.setattr(display.time, "monotonic", lambda: next(now))
    console, job = quiet(), tiny().entries()[0].job
    with display.Display(tiny().entries(), console) as shown:
        shown(run.Update(job.key, "start"))
        for steps in (10_000, 50_000, 60_000, 100_000):
            shown(run.Update(job.key, "train", steps, 200_000, "reward 0.5"))
        shown(run.Update(job.key, "done", text="1.000 ± 0.100  141 s"))
    assert printed(console).splitlines() == [
        "0/8 shop first seed 0: train 50k/200k reward 0.5, 0:03:00 left",
        "0/8 shop first seed 0: train 100k/200k reward 0.5, 0:02:10 left",
        "1/8 shop first seed 0: 1.000 ± 0.100  141 s",
    ]


# Reports


def make_folder(folder: Path, chosen: Suite, score: dict[str, float]) -> None:
    """A results folder as a run leaves it, with made-up scores by label; labels without a score are missing."""
    entries = chosen.entries()
    listed = [{"task": e.task, "label": e.label, "key": e.job.key, "job": e.job.to_dict()} for e in entries]
    manifest = {"format": 1, "suite": chosen.name, "command": "python -m benchmarks run tiny", "entries": listed}
    run.write_json(folder / "suite.json", manifest)
    for _, label, job in entries:
        if label in score:
            run.write_json(run.result_file(folder, job.key), result_of(job, score[label] + job.seed / 1e4))


def test_the_leaderboard_by_hand(tmp_path):
    chosen = tiny(Contender("a|b*", "dqn"), Contender("c", "linucb"), references=SCALE)
    make_folder(tmp_path, chosen, {"a|b*": 3.0, "random": 2.0, "planner": 6.0})
    console = quiet()
    results = report.report(tmp_path, console)
    assert results.labels == ["planner", "a|b*", "random", "c"], "the best first, the missing last"
    # Runs of 3 and 4 on both tasks: (1/4 + 2/4) / 2; between runs 0.5, users 0.1: error hypot(0.5, 0.1).
    estimate = results.estimate("a|b*", ["shop"])
    assert estimate.value == pytest.approx(0.375)
    reach = 11.0 * math.hypot(0.5, 0.1) / 4  # Student's t of 1.08 degrees of freedom: two runs say next to nothing
    assert (estimate.low, estimate.high) == pytest.approx((0.375 - reach, 0.375 + reach), rel=0.1)
    assert results.estimate("random", ["shop"]).value == 0
    assert results.estimate("planner", ["shop"]).value == 1
    assert results.estimate("random", ["shop"]).high == pytest.approx(1.96 * 0.1 / 4, rel=0.1)
    text = printed(console)
    assert f"3.50 ± {math.hypot(0.5, 0.1):.2f}" in text
    assert "missing 2 of 2" in text
    assert "planner*" in text
    assert max(map(len, text.splitlines())) <= 80
    written = (tmp_path / "leaderboard.md").read_text()
    assert "python -m benchmarks run tiny" in written
    assert "| a\\|b\\* | 3.50 ± 0.51 |" in written
    assert "Missing: c: not run yet (all 4 jobs)" in written
    assert (tmp_path / "leaderboard.png").read_bytes().startswith(b"\x89PNG")


def test_a_planner_with_settings_of_its_own_is_not_the_scale(tmp_path):
    chosen = suite.custom_suite(["planner"], [SHOP], 0, 1, 5, [{"iterations": 2}])
    make_folder(tmp_path, chosen, {"planner iterations=2": 4.0, "planner": 6.0, "random": 2.0})
    results = tables.read_folder(tmp_path)
    assert results.estimate("planner iterations=2", results.tasks).value == 0.5


def test_one_missing_run_is_not_averaged_away(tmp_path):
    make_folder(tmp_path, tiny(references=SCALE), {"first": 3.0, "random": 2.0, "planner": 6.0})
    run.result_file(tmp_path, tiny(references=SCALE).entries()[0].job.key).unlink()
    results = tables.read_folder(tmp_path)
    assert results.estimate("first", ["shop"]) is None
    assert results.estimate("first", results.tasks) is None
    assert results.text("first", ["shop"]) == "missing"
    assert results.text("first", ["cold shop"]).startswith("0.38")
    assert tables.sections(results)[0].rows[-1] == ("first", "missing", "missing", "3 of 4")


def test_without_a_scale_there_is_no_normalised_score(tmp_path):
    for scores in ({"first": 3.0, "random": 2.0}, {"first": 3.0, "random": 2.0, "planner": 2.0}):
        make_folder(tmp_path / str(len(scores)), tiny(references=SCALE), scores)
        results = tables.read_folder(tmp_path / str(len(scores)))
        reason = "no planner" if "planner" not in scores else "planner not above random"
        assert results.text("first", ["shop"]) == results.text("first", results.tasks) == f"{reason}: not normalised"
        assert results.labels[0] == "first", "by return"
        assert report.picture(results)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must hold suite\.json"):
        tables.read_folder(tmp_path)
    (tmp_path / "suite.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match=r"suite\.json: manifest: must be an object with a list of entries"):
        tables.read_folder(tmp_path)


# References


AUDITED = "recgym/LiveStream-v0"


def test_the_audit_says_what_does_not_hold(tmp_path, monkeypatch):
    made_up = {"click": 10.0, "impressions": 40.0, "steps": 40.0, "like": 3.0, "steps with gift": 0.1, "watch": 75.0}
    monkeypatch.setattr(audit, "counts", lambda id, users: made_up)
    console = quiet()
    wrong = audit.run_audit(tmp_path, [AUDITED], 20, 0, 1, "the command", console)
    data = json.loads((tmp_path / "audit.json").read_text())
    assert data["wrong"] == wrong
    assert any("likes per click: 0.3000, published 0.0365" in line for line in wrong)
    near = ("clicks per impression", "clicks per step", "gifts per click", "minutes per click")
    assert not any(name in line for name in near for line in wrong)
    text = (tmp_path / "audit.md").read_text()
    for label in ("heat, nothing while watching", "nothing", "best-known", "heuristic", "one-step"):
        assert f"| {label} |" in text
    assert "no rule of one line above 0.5 of the gap" in text


def test_verdicts_of_the_audit():
    def judged(**changes: tuple[float, float]) -> list[bool]:
        returns = {
            "random": (1.0, 0.1),
            "heuristic": (8.0, 0.1),
            "one-step": (9.0, 0.1),
            "best-known": (11.0, 0.1),
            "match": (5.0, 0.1),
        }
        return [holds for _, _, holds in audit.verdicts("recgym/News-v0", {**returns, **changes})]

    assert judged() == [True, True]
    assert judged(heuristic=(9.6, 0.1)) == [False, True]
    assert judged(match=(6.1, 0.1)) == [True, False]
    assert [holds for _, _, holds in audit.verdicts("recgym/News-v0", {"random": (1.0, 0.1)})] == [False]
    assert audit.near(1.9, 1.0)
    assert not audit.near(0.4, 1.0)


def test_levels_count_what_happens_under_popularity():
    found = audit.counts("recgym/NewsSlate-v0", 50)
    assert found["sessions"] == 50 + found["return"]
    assert found["impressions"] == 5 * found["steps"] > 0
    assert 0 < found["steps with click"] <= found["click"] < found["impressions"]
    assert {level.domain for level in audit.LEVELS} == {audit.domain_of(id) for id in ENV_IDS}
    for id in ENV_IDS:
        counted = {
            "impressions",
            "sessions",
            "steps",
            *(w + name for name in Task(id).make(1).world.objectives for w in ("", "steps with ")),
        }
        assert all({level.of, level.per} <= counted for level in audit.LEVELS if level.domain == audit.domain_of(id))


@pytest.mark.parametrize(
    ("scores", "wrong"),
    [
        ({"random": 1.0, "popularity": 2.0, "myopic": 3.0, "planner": 3.45}, []),
        ({"random": 1.0, "popularity": 2.0, "myopic": 3.0, "planner": 3.44},
         ["planner 3.440 is below 1.15 x myopic 3.000"]),
        ({"random": 2.0, "popularity": 2.0, "myopic": 2.2, "planner": 9.0},
         ["myopic 2.200 is below 1.15 x popularity 2.000", "popularity 2.000 is not above random 2.000"]),
        ({"random": 1.0, "popularity": 2.0, "myopic": 3.0}, ["planner has no result"]),
    ],
)  # fmt: skip
def test_the_reference_check(tmp_path, scores, wrong):
    chosen = references.references_suite(["recgym/EcommerceSlate-v0"], 30)
    for entry in chosen.entries():
        if entry.label in scores:
            run.write_json(run.result_file(tmp_path, entry.job.key), result_of(entry.job, scores[entry.label]))
        else:
            run.write_atomically(run.error_file(tmp_path, entry.job.key), b"not today")
    console = quiet()
    found = references.run_references(tmp_path, ["recgym/EcommerceSlate-v0"], 30, console=console)
    assert found == [f"recgym/EcommerceSlate-v0: {line}" for line in wrong]
    data = json.loads((tmp_path / "references.json").read_text())
    assert data["wrong"] == found
    assert data["gains"]["recgym/EcommerceSlate-v0"]["myopic/popularity"][0] == pytest.approx(scores["myopic"] / 2.0)
    shares = data["references"]["recgym/EcommerceSlate-v0"]["random"]["shares"]
    assert shares == {"click/step": 0.2, "cart/click": 0.5, "purchase/cart": 0.25}
    assert max(map(len, printed(console).splitlines())) <= 80
    assert (tmp_path / "references.md").read_text().count("| EcommerceSlate-v0 |") == 2 + len(scores)


def test_the_classics_stand_beside_published_numbers(tmp_path):
    ids = ["recgym/InterestEvolution-v0", "recgym/Sardine-SlateTopK-Bored-v0", "recgym/RecoGym-v1"]
    chosen = references.classics_suite(ids, 30)
    labels = {(entry.task, entry.label) for entry in chosen.entries()}
    assert ("InterestEvolution-v0", "best quality") in labels
    assert ("RecoGym-v1", "most viewed") in labels
    assert ("Sardine-SlateTopK-Bored-v0", "varied topics") in labels
    assert ("RecoGym-v1", "varied topics") not in labels
    for entry in chosen.entries():
        if (entry.task, entry.label) != ("RecoGym-v1", "planner"):
            run.write_json(run.result_file(tmp_path, entry.job.key), result_of(entry.job, 349.2))
        else:
            run.write_atomically(run.error_file(tmp_path, entry.job.key), b"not today")
    console = quiet()
    found = references.run_references(tmp_path, ids, 30, console=console, classics=True)
    assert found == ["recgym/RecoGym-v1: planner has no result"]
    text = (tmp_path / "references.md").read_text()
    assert "| InterestEvolution-v0 | random (Ie et al. 2019, 5000 users) | 159.2 | 349.20" in text
    assert "2.00 |" in text, "what is attainable: twice the published 174.6"
    assert max(map(len, printed(console).splitlines())) <= 80
    with pytest.raises(ConfigError, match=r"id: got 'recgym/News-v0'.*must be one of .*InterestEvolution"):
        references.classics_suite(["recgym/News-v0"])


def test_every_published_number_is_of_an_id_and_an_agent_that_exist():
    labels = {"InterestEvolution-v0": {"best quality"}, "RecoGym-v1": {"most viewed"}}
    for published in references.PUBLISHED:
        assert f"recgym/{published.id}" in CLASSIC_IDS
        known = {"random", "myopic", "planner", "", *labels.get(published.id, set())}
        assert published.agent in known
    for heuristic in references.HEURISTICS:
        assert all(f"recgym/{name}" in CLASSIC_IDS for name in heuristic.only)


# Command line


def call(monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    return int(ended.value.code or 0)


def test_command_line(monkeypatch, tmp_path, capsys):
    console = quiet()
    monkeypatch.setattr(cli, "console", console)
    assert call(monkeypatch, "list") == 0
    assert all(name in printed(console) for name in [*suite.SUITES, "linucb", "recgym/NewsSlate-v0"])
    out = str(tmp_path / "out")
    mine = ["--agent", named(First), "--task", SHOP.id, "--options", '{"horizon": 4}', "--steps", "64", "--users", "4"]
    assert call(monkeypatch, "run", *mine, "-w", "1", "-o", out) == 0
    assert "python -m benchmarks run --agent" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert call(monkeypatch, "report", out) == 0
    assert max(map(len, printed(console).replace(str(tmp_path), "").splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "Did you mean 'quickstart-v1'"),
        (["run"], "task: must be given where no suite is"),
        (["run", "smoke", "--steps", "5"], "steps: is fixed by the suite"),
        (["run", "--task", "x", "--options", "{"], "options: what is given must be JSON in UTF-8: Expecting"),
        (["run", "--task", "x", "--parameters", "3"], "parameters: must be a JSON object"),
        (["run", "--task", "recgym/News-v0", "--seeds", "0"], "seeds: must be an integer"),
        (["run", "--task", "x", "--parameters", "@nowhere"], "parameters: nowhere cannot be read: No such file"),
        (["run", "--task", "x", "--parameters", "@."], "parameters: . cannot be read: Is a directory"),
        (["run", "--task", "x", "--options", '{"a": 1, "a": 2}'], "the name 'a' is there twice"),
        (["run", "--task", "x", "--options", '{"a": NaN}'], "NaN is no number of JSON's"),
        (["run", "--task", "x", "--options", "[" * 9999], "must be JSON"),
        (["run", "--task", "x", "--options", '{"a": "\\ud800"}'], "surrogates not allowed"),
        (["run", "--task", "x", "--world", "\udcff"], "tasks: must have names that can be printed"),
        (["tune", "linucb", "--task", "recgym/News-v0", "--space", "@nowhere"], "space: nowhere cannot be read"),
        (["throughput", "-o", "."], "output: must be a file, got '.'"),
        (["throughput", "-o", "speeds.txt"], "output: must be named .json"),
        (["throughput", "--against", "recsim", "sardin"], "against: got 'sardin'. Did you mean 'sardine'"),
        (["throughput", "--users", "64", "0"], "users: must be an integer in [1, 4194304], got 0"),
        (["throughput", "--users", "64", "64"], "users: must be different, got [64, 64]"),
        (["throughput", "--items", "9"], "items: must be an integer in [100, 10000000], got 9"),
        (["throughput", "--environments", LONG], "environments: 'aaa"),
        (["report", "nowhere"], "folder: must hold suite.json"),
        (["run", "--task", "nomodule:recgym/News-v0", "-w", "1"], "task: must be a registered recgym id"),
        (["throughput", "--ids", "nomodule:recgym/News-v0"], "ids: must be registered environments"),
        (["report", "\udcff"], "folder: must hold suite.json"),
        (["references", "--id", "recgym/Nws-v0"], "Did you mean 'recgym/News-v0'"),
        (["list", f"{LONG}.json"], "cannot be read: File name too long"),
        (["run", f"{LONG}.json"], "cannot be read: File name too long"),
        (["run", "--task", "x", "--parameters", f"@{LONG}"], "cannot be read: File name too long"),
        (["report", LONG], "folder: must hold suite.json"),
        (["pack", LONG], "folder: must hold suite.json"),
        (["submit-check", LONG], "folder: must be a results folder"),
        (["run", "smoke", "-o", LONG], "output: 'aaa"),
        (["run", "smoke", "-o", f"new/{LONG}"], "output: must have names of at most 200 bytes"),
        (["run", "smoke", "-o", "/".join("a" * 5000)], "cannot be written: File name too long"),
        (["references", "-o", f"new/{LONG}"], "output: must have names of at most 200 bytes"),
        (["tune", "linucb", "--task", "recgym/News-v0", "-o", f"new/{LONG}"], "output: must have names of at most"),
        (["throughput", "-o", f"new/{LONG}"], "output: must have names of at most 200 bytes"),
        (["throughput", "-o", LONG], "cannot be written: File name too long"),
        (["fuzz", "results", "--case", "0", "-o", LONG], "cannot be written: File name too long"),
    ],
)
def test_errors_are_one_line_and_status_2(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_the_help_of_run_says_that_a_suite_names_code(monkeypatch, capsys):
    assert call(monkeypatch, "run", "--help") == 0
    assert "names code" in capsys.readouterr().out


def test_a_terminal_without_our_letters_and_python_without_docstrings(tmp_path):
    """±, – and box characters in ASCII, with -OO."""
    make_folder(tmp_path, tiny(references=SCALE), {"first": 3.0, "random": 2.0, "planner": 6.0})
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "NO_COLOR": "1"}
    command = [sys.executable, "-OO", "-m", "benchmarks", "report", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert b"3.50 ? 0.51" in done.stdout


def test_a_folder_with_a_package_of_our_name(tmp_path):
    """Python looks into the folder it is started in first; the command does not."""
    for name in ("baselines", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    command = Path(sys.executable).with_name("recgym-benchmarks")
    done = subprocess.run([command, "list"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "slate-v1" in done.stdout
