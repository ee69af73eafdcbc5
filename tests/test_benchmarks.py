"""The harness: keys, resuming, isolation of failures, statistics, reports, and the command line."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from baselines.agent import OnlineAgent, Task, make_agent
from benchmarks import __main__ as cli
from benchmarks import metrics, references, report, run, suite, throughput
from benchmarks.suite import Contender, Job, NamedTask, Suite
from recgym import CLASSIC_IDS
from recgym.errors import ConfigError

SCALE = ("planner", "random")
SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})


@dataclasses.dataclass
class First(OnlineAgent):
    """Shows the first candidate; learns nothing, with pauses (seconds)."""

    pause: float = 0.0

    def learn(self, *transition) -> None:
        time.sleep(self.pause)

    def act(self, observation, mask, explore=False):
        return mask.argmax(axis=1)


@dataclasses.dataclass
class Fragile(First):
    """Fails where a file is missing."""

    file: str = ""

    def act(self, observation, mask, explore=False):
        if not Path(self.file).exists():
            raise RuntimeError("no [file]")
        return super().act(observation, mask, explore)


@dataclasses.dataclass
class Suicidal(First):
    """Takes its process with it."""

    def act(self, observation, mask, explore=False):
        os.kill(os.getpid(), signal.SIGKILL)


def named(cls: type) -> str:
    return f"{__name__}:{cls.__name__}"


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


# Metrics


def test_hand_worked_statistics():
    assert metrics.iqm([8, 1, 2, 3, 100, 5, 4, -9]) == (2 + 3 + 4 + 5) / 4
    assert metrics.iqm([1, 2, 6]) == 3, "of three scores none is left out"
    assert metrics.iqm([[0, 1, 3, 9], [5, 5, 5, 5]]).tolist() == [2, 5]
    assert metrics.mean([[0, 1, 3, 8], [5, 5, 5, 5]]).tolist() == [3, 5]
    assert metrics.normalised([2.0, 4.0, 7.0], 2.0, 6.0).tolist() == [0, 0.5, 1.25]
    assert metrics.standard_error([1, 2, 3, 4]) == pytest.approx(math.sqrt(5 / 3) / 2)
    assert metrics.standard_error([7]) == 0
    with pytest.raises(ConfigError, match="planner score: must be above the random score 2, got 2"):
        metrics.normalised(1.0, 2.0, 2.0)


def test_ratio_is_the_delta_method():
    value, error = metrics.ratio(6.0, 0.3, 4.0, 0.1)
    assert value == 1.5
    assert error == pytest.approx(1.5 * math.sqrt(0.05**2 + 0.025**2))
    rng = np.random.default_rng(0)
    simulated = (6 + 0.3 * rng.standard_normal(100_000)) / (4 + 0.1 * rng.standard_normal(100_000))
    assert error == pytest.approx(simulated.std(), rel=0.02)
    assert metrics.ratio(0.0, 0.3, 4.0, 0.1)[1] == pytest.approx(0.075)


def test_bootstrap_is_stratified_and_reproducible():
    same = metrics.bootstrap_interval([[1, 1], [3, 3]], metrics.mean, np.random.default_rng(0))
    assert same == (2, 2), "runs of one task never stand in for those of another"
    scores = [np.random.default_rng(1).standard_normal(400), np.random.default_rng(2).standard_normal(400)]
    low, high = metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3))
    error = math.hypot(*map(metrics.standard_error, scores)) / 2
    by_normal_theory = (np.mean(scores) - 1.96 * error, np.mean(scores) + 1.96 * error)
    assert (low, high) == pytest.approx(by_normal_theory, abs=0.15 * error)
    assert (low, high) == metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(3))
    assert (low, high) != metrics.bootstrap_interval(scores, metrics.mean, np.random.default_rng(4))


def test_bootstrap_draws_the_common_error_once_a_task():
    one = metrics.bootstrap_interval([[1.0]], metrics.mean, np.random.default_rng(0), [0.5], resamples=20_000)
    assert one == pytest.approx((1 - 0.98, 1 + 0.98), abs=0.03)
    many = metrics.bootstrap_interval([[1.0] * 9], metrics.mean, np.random.default_rng(0), [0.5], resamples=20_000)
    assert many == pytest.approx((1 - 0.98, 1 + 0.98), abs=0.03), "more runs on the same users do not reduce it"
    tasks = metrics.bootstrap_interval([[1.0]] * 4, metrics.mean, np.random.default_rng(0), [0.5] * 4, resamples=20_000)
    assert tasks == pytest.approx((1 - 0.49, 1 + 0.49), abs=0.03), "more tasks do"


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
    changes = dict(task=task, agent="linucb", hyperparameters={"a": 1}, steps=1, seed=1, users=1, user_seed=1)
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
    quick, smoke, single = (suite.get_suite(name) for name in ("quickstart", "smoke-v0", "single-item"))
    assert [task.task for task in quick.tasks] == [task.task for task in smoke.tasks]
    assert quick.agents[0].hyperparameters == {}
    assert [a.label for a in quick.agents] == [a.label for a in smoke.agents]
    assert quick.tasks[3].task == Task("recgym/Ecommerce-v0", {"world": "open-bandit"})
    assert sum(e.label == "dqn mlp" for e in single.entries()) == 9
    for contender in (*quick.agents, *smoke.agents, *single.agents):
        if contender.agent != "dqn":  # which needs torch
            make_agent(contender.agent, **contender.hyperparameters)
    with pytest.raises(ConfigError, match="Did you mean 'quickstart-v0'"):
        suite.get_suite("quickstrat")
    with pytest.raises(ConfigError, match="must have a name each"):
        dataclasses.replace(quick, tasks=quick.tasks * 2)


def test_custom_suites_hold_the_references_once():
    custom = suite.custom_suite([named(First), "random"], [SHOP], 64, 3, 50)
    assert [agent.label for agent in custom.agents] == ["First", "planner", "myopic", "popularity", "random"]
    assert custom.tasks[0].name == "Ecommerce-v0 horizon=5"
    assert len(custom.entries()) == 3 + 4


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
    assert result["return"] == {"mean": total.mean(), "se": pytest.approx(total.std(ddof=1) / math.sqrt(6)), "n": 6}
    assert result["length"] == {"mean": steps.mean(), "median": np.median(steps)}
    assert list(result["objectives"]) == ["click", "cart", "purchase", "revenue", "satisfaction"]
    assert json.loads(json.dumps(result)) == result


def test_learning_curve_points_depend_on_steps_alone():
    def curve(every: int) -> list:
        reporter = run._Reporter(Job(SHOP, "x", {}, 1000, 0, 2), lambda update: None)
        for steps in range(every, 1001, every):
            reporter.train(steps, {"reward": steps / 2, "loss": math.nan})
        return reporter.curve

    assert curve(1) == curve(10) == [{"steps": 20.0 * k, "reward": 10.0 * k} for k in range(1, 51)]
    assert len(curve(500)) == 2


def test_a_corrupt_file_counts_as_absent(tmp_path):
    run.run_suite(tiny(), tmp_path, console=quiet())
    before = contents(tmp_path)
    files = [run.result_file(tmp_path, entry.job.key) for entry in tiny().entries()]
    files[0].write_text(files[0].read_text()[:-40])
    files[1].write_text(files[2].read_text())
    files[3].write_text(files[3].read_text().replace('"seed": 10000,', '"seed": 10001,'))
    files[4].write_text("[]")
    with pytest.warns(UserWarning, match="is corrupt .* and counts as absent") as caught:
        run.run_suite(tiny(), tmp_path, console=quiet())
    assert len(caught) == 4
    assert contents(tmp_path) == before


def test_a_failed_job_leaves_its_traceback_and_is_tried_again(tmp_path):
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
    assert run.run_suite(fragile, tmp_path, console=quiet()) == []
    assert not list((tmp_path / "jobs").glob("*.error.txt"))
    assert report.report(tmp_path, quiet()).missing == []


def test_two_workers_and_one_give_the_same_bytes_and_a_dead_worker_stops_nobody(tmp_path):
    alone, together, updates = tmp_path / "alone", tmp_path / "together", []
    dead, jobs = Job(SHOP, named(Suicidal), {}, 0, 0, 2), [entry.job for entry in tiny().entries()]
    run.serial(jobs, alone, lambda update: None)
    run.Processes(2)([dead, *jobs], together, updates.append)
    assert (dead.key, "failed", "its process died with exit code -9") in [(u.key, u.stage, u.text) for u in updates]
    assert sorted(u.key for u in updates if u.stage == "done") == sorted(job.key for job in jobs)
    assert contents(alone) == contents(together)
    for path in (alone / "jobs").iterdir():
        ours, theirs = (json.loads((folder / "jobs" / path.name).read_bytes()) for folder in (alone, together))
        theirs["cost"] = ours["cost"]
        run.write_json(tmp_path / "theirs.json", theirs)
        assert (tmp_path / "theirs.json").read_bytes() == path.read_bytes()


def test_mistakes_show_before_any_work(tmp_path):
    def on(id: str, **options) -> Suite:
        return dataclasses.replace(tiny(), tasks=(NamedTask("x", Task(id, options), 1),))

    for wrong, message in (
        (tiny(Contender("x", "dqm")), "agent: must be one of .* Did you mean 'dqn'"),
        (tiny(Contender("x", named(First), {"pauze": 1})), "Did you mean 'pause'"),
        (on("recgym/Nws-v0"), "task: must be a registered recgym id"),
        (on("CartPole-v1"), "task: must be a registered recgym id"),
        (on(SHOP.id, horizn=3), "Did you mean 'horizon'"),
    ):
        with pytest.raises(ConfigError, match=message):
            run.run_suite(wrong, tmp_path / "out", console=quiet())
    assert not (tmp_path / "out").exists()


def test_the_live_display_fits_a_terminal():
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    entries = [suite.Entry("a task with a very long name", f"agent {i}", e.job) for i, e in enumerate(tiny().entries())]
    with run.Display(entries, console) as display:
        for entry in entries[:2]:
            display(run.Update(entry.job.key, "start"))
            display(run.Update(entry.job.key, "train", 123_456, 200_000, "reward -0.123"))
            display.bars.refresh()
        display(run.Update(entries[0].job.key, "done", text="1.234 ± 0.567  12 s"))
        display(run.Update(entries[2].job.key, "failed", text="never started"))
        display.bars.refresh()
    lines = [line for line in printed(console).replace("\r", "\n").split("\n") if "task" in line]
    assert any("train 123k/200k reward -0.123" in line for line in lines)
    assert any("1/8 a task with a very long name agent 0 seed 0: 1.234 ± 0.567  12 s" in line for line in lines)
    assert any("2/8" in line and "failed: never started" in line for line in lines)


def test_a_worker_ends_when_nobody_listens(tmp_path):
    connection, process = run._hire(tmp_path)
    job = Job(SHOP, named(First), {"pause": 0.25}, 6400, 0, 2)
    connection.send(job)
    assert connection.recv() == run.Update(job.key, "start")
    connection.close()
    process.join(60)
    assert process.exitcode == 1
    assert not (tmp_path / "jobs").exists()


def test_killed_and_resumed_is_as_never_killed(tmp_path):
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    slow = Contender("slow", named(First), {"pause": 0.15})
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    program = f"from {__name__} import *; run.run_suite(tiny({slow!r}), {str(killed)!r}, workers=2)"
    command = [sys.executable, "-c", program]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        patience = time.monotonic() + 120
        while not list(killed.glob("jobs/*.json")):
            assert time.monotonic() < patience
            assert process.poll() is None
            time.sleep(0.02)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert 0 < len(contents(killed)) < 8
    assert not list(killed.glob("jobs/*.error.txt"))
    texts = []
    for folder in (killed, whole):
        run.run_suite(tiny(slow), folder, console=quiet())
        results = report.report(folder, quiet())
        sixth_is_time = slice(5)
        texts.append([(s.title, [row[sixth_is_time] for row in s.rows]) for s in report.sections(results)])
        assert results.missing == []
    assert contents(killed) == contents(whole)
    assert texts[0] == texts[1]
    assert (killed / "leaderboard.png").read_bytes() == (whole / "leaderboard.png").read_bytes()


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
    assert estimate.low == pytest.approx(0.25, abs=0.06)
    assert estimate.high == pytest.approx(0.5, abs=0.06)
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
    assert "Missing: cold shop, c, seed 10000: not run yet" in written
    assert (tmp_path / "leaderboard.png").read_bytes().startswith(b"\x89PNG")


def test_one_missing_run_is_not_averaged_away(tmp_path):
    make_folder(tmp_path, tiny(references=SCALE), {"first": 3.0, "random": 2.0, "planner": 6.0})
    run.result_file(tmp_path, tiny(references=SCALE).entries()[0].job.key).unlink()
    results = report.read_folder(tmp_path)
    assert results.estimate("first", ["shop"]) is None
    assert results.estimate("first", results.tasks) is None
    assert results.text("first", ["shop"]) == "missing"
    assert results.text("first", ["cold shop"]).startswith("0.38")
    assert report.sections(results)[0].rows[-1] == ("first", "missing", "missing", "3 of 4")


def test_without_a_scale_there_is_no_normalised_score(tmp_path):
    for scores in ({"first": 3.0, "random": 2.0}, {"first": 3.0, "random": 2.0, "planner": 2.0}):
        make_folder(tmp_path / str(len(scores)), tiny(references=SCALE), scores)
        results = report.read_folder(tmp_path / str(len(scores)))
        assert results.text("first", ["shop"]) == "–"
        assert report.picture(results)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"must hold suite\.json"):
        report.read_folder(tmp_path)
    (tmp_path / "suite.json").write_text('{"format": 1}')
    with pytest.raises(ConfigError, match="is corrupt: KeyError"):
        report.read_folder(tmp_path)


# References


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
def test_the_reference_check(tmp_path, capsys, monkeypatch, scores, wrong):
    chosen = suite.references_suite(["recgym/EcommerceSlate-v0"], 30)
    for entry in chosen.entries():
        if entry.label in scores:
            run.write_json(run.result_file(tmp_path, entry.job.key), result_of(entry.job, scores[entry.label]))
    monkeypatch.setattr(run, "serial", lambda jobs, folder, notify: None)
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


def test_the_classics_stand_beside_published_numbers(tmp_path, monkeypatch):
    ids = ["recgym/InterestEvolution-v0", "recgym/Sardine-SlateTopK-Bored-v0", "recgym/RecoGym-v1"]
    chosen = suite.classics_suite(ids, 30)
    labels = {(entry.task, entry.label) for entry in chosen.entries()}
    assert ("InterestEvolution-v0", "best quality") in labels
    assert ("RecoGym-v1", "most viewed") in labels
    assert ("Sardine-SlateTopK-Bored-v0", "varied topics") in labels
    assert ("RecoGym-v1", "varied topics") not in labels
    for entry in chosen.entries():
        if (entry.task, entry.label) != ("RecoGym-v1", "planner"):
            run.write_json(run.result_file(tmp_path, entry.job.key), result_of(entry.job, 349.2))
    monkeypatch.setattr(run, "serial", lambda jobs, folder, notify: None)
    console = quiet()
    found = references.run_references(tmp_path, ids, 30, console=console, classics=True)
    assert found == ["recgym/RecoGym-v1: planner has no result"]
    text = (tmp_path / "references.md").read_text()
    assert "| InterestEvolution-v0 | random (Ie et al. 2019, 5000 users) | 159.2 | 349.20" in text
    assert "2.00 |" in text, "what is attainable: twice the published 174.6"
    assert max(map(len, printed(console).splitlines())) <= 80
    with pytest.raises(ConfigError, match=r"id: must be one of .*InterestEvolution.*got 'recgym/News-v0'"):
        suite.classics_suite(["recgym/News-v0"])


def test_every_published_number_is_of_an_id_and_an_agent_that_exist():
    labels = {"InterestEvolution-v0": {"best quality"}, "RecoGym-v1": {"most viewed"}}
    for published in references.PUBLISHED:
        assert f"recgym/{published.id}" in CLASSIC_IDS
        known = {"random", "myopic", "planner", "", *labels.get(published.id, set())}
        assert published.agent in known
    for heuristic in suite.HEURISTICS:
        assert all(f"recgym/{name}" in CLASSIC_IDS for name in heuristic.only)


# Throughput


def test_throughput_measures_beside_cartpole():
    speeds = throughput.throughput(["recgym/News-v0"], batches=(3,), windows=2, seconds=0.05)
    assert [(s.id, s.users) for s in speeds] == [("CartPole-v1", 0), ("recgym/News-v0", 0), ("recgym/News-v0", 3)]
    for s in speeds:
        assert len(s.windows) == 2
        assert s.best == max(s.windows)
        assert s.median == np.median(s.windows) > 0
        assert s.ratio == s.median / speeds[0].median
    assert len(throughput.section(speeds).rows) == 3
    with pytest.raises(ConfigError, match="id: must be a registered environment"):
        throughput.single("recgym/Nws-v0")
    assert "envs.py" in throughput.profile("recgym/News-v0", lines=10, seconds=0.05)


def test_a_batch_counts_no_step_in_which_a_user_is_reset(monkeypatch):
    class Envs:
        """Episodes of one step: every second call resets all users."""

        action_space = SHOP.make(2).action_space
        calls = 0

        def reset(self, seed):
            pass

        def step(self, action):
            self.calls += 1
            ended = np.full(2, self.calls % 2 == 1)
            return None, None, ended, np.zeros(2, bool), {}

    envs = Envs()
    monkeypatch.setattr(throughput, "_make", lambda make: envs)
    clock = iter(np.arange(0.0, 100.0))
    monkeypatch.setattr(throughput.time, "perf_counter", lambda: float(next(clock)))
    rate = throughput.batch("x", 2)(1.5)
    assert envs.calls == 16
    assert rate == 16 / 2.0


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
    speeds = tmp_path / "speeds.json"
    assert call(monkeypatch, "throughput", SHOP.id, "--seconds", "0.02", "--windows", "1", "-o", str(speeds)) == 0
    assert len(json.loads(speeds.read_text())["speeds"]) == 2 + len(throughput.BATCHES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "quickstrat"], "Did you mean 'quickstart-v0'"),
        (["run"], "task: must be given where no suite is"),
        (["run", "smoke", "--steps", "5"], "steps: is fixed by the suite"),
        (["run", "--task", "x", "--options", "{"], "options: must be JSON"),
        (["run", "--task", "x", "--parameters", "3"], "parameters: must be a JSON object"),
        (["run", "--task", "recgym/News-v0", "--seeds", "0"], "seeds: must be an integer"),
        (["report", "nowhere"], "folder: must hold suite.json"),
        (["references", "--id", "recgym/Nws-v0"], "Did you mean 'recgym/News-v0'"),
    ],
)
def test_errors_are_one_line_and_status_2(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1
