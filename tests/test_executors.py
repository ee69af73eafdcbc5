"""Executors, sharing of a folder, agents and worlds from files: the same results whoever runs the jobs, each once."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from outsiders import Computing, First, Mortal
from test_benchmarks import named, printed, quiet, tiny

from baselines.agent import Task
from baselines.registry import agent_class
from benchmarks import THREAD_VARIABLES, executors, run
from benchmarks.executors import Processes, Serial, Update, make_executor
from benchmarks.suite import Contender, Job, NamedTask, Suite, training_seeds
from recgym import load_world, registry
from recgym.errors import ConfigError

SHOP = Task("recgym/Ecommerce-v0", {"horizon": 5})
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def mortal(file: Path, deaths: int) -> Job:
    return Job(SHOP, named(Mortal), {"file": str(file), "deaths": deaths}, 0, 0, 2)


def threads(job: Job, notify: executors.Notify) -> None:
    """Work that says how many threads it may use."""
    notify(Update(job.key, "done", outcome={name: os.environ.get(name) for name in THREAD_VARIABLES}))


class Jobs:
    """Hands out jobs and remembers what is reported."""

    def __init__(self, *jobs: Job) -> None:
        self.jobs, self.updates = list(jobs), []

    def take(self, wait: bool = True) -> Job | None:
        return self.jobs.pop(0) if self.jobs else None


def files(folder: Path) -> dict[str, bytes]:
    """Result files without their times."""
    found = {}
    for path in sorted((folder / "jobs").glob("*.json")):
        result = json.loads(path.read_bytes())
        assert set(result.pop("cost")) == {"train_seconds", "curve_seconds", "evaluation_seconds"}
        run.write_json(path.parent / "without.json", result)
        found[path.name] = (path.parent / "without.json").read_bytes()
    return found


def test_serial_processes_and_ray_leave_the_same_bytes_and_outlive_their_workers(tmp_path):
    pytest.importorskip("torch")
    ray = pytest.importorskip("ray")
    learning = {"learning_starts": 64, "batch_size": 16, "buffer_size": 500}
    agents = (
        Contender("dqn", "dqn", learning),
        Contender("linucb", "linucb"),
        Contender("random", "random", trained=False),
    )
    suite = Suite("tiny-v0", (NamedTask("shop", SHOP, 256),), agents, training_seeds(2), users=4)
    for name in ("serial", "processes"):
        assert run.run_suite(suite, tmp_path / name, 2, console=quiet(), executor=name) == []
    dying = [
        Contender(f"dies {n}", named(Mortal), {"file": str(tmp_path / f"{n}"), "deaths": n}, trained=False)
        for n in (1, 9)
    ]
    console, suite = quiet(), dataclasses.replace(suite, agents=(*dying, *suite.agents))
    once, always = (entry.job.key for entry in suite.entries()[:2])
    assert run.run_suite(suite, tmp_path / "ray", 2, console=console, executor="ray") == [always]
    assert printed(console).count("tried again: its task ended with WorkerCrashedError") == 1 + 2
    assert not ray.is_initialized()
    by_ray = files(tmp_path / "ray")
    assert "WorkerCrashedError" in run.error_file(tmp_path / "ray", always).read_text()
    assert by_ray.pop(f"{once}.json")
    found = files(tmp_path / "serial")
    assert len(found) == 5
    assert all(json.loads(text)["curve"] for text in found.values() if b'"steps": 256' in text)
    assert files(tmp_path / "processes") == found
    assert by_ray == found


def test_a_job_whose_process_dies_is_tried_again_but_not_forever(tmp_path):
    dying = [mortal(tmp_path / "once", 1), mortal(tmp_path / "always", 99)]
    jobs, shown = [*dying, *(entry.job for entry in tiny().entries()[:2])], []
    with run.Share(jobs, tmp_path / "out", shown.append) as share:
        Processes(run.run_job, 2)(share.take, share.notify)
    ends = [(u.key, u.stage) for u in shown if u.stage in ("again", "done", "failed")]
    once, always = (job.key for job in dying)
    assert [stage for key, stage in ends if key == once] == ["again", "done"]
    assert [stage for key, stage in ends if key == always] == ["again", "again", "failed"]
    assert (tmp_path / "always").read_text() == "xxx"
    assert sum(stage == "done" for _, stage in ends) == 3
    text = run.error_file(tmp_path / "out", always).read_text()
    assert text == "its process died with exit code -9\n"
    assert sorted(path.stem for path in (tmp_path / "out" / "jobs").glob("*.json")) == sorted(
        job.key for job in jobs if job.key != always
    )


def test_a_worker_has_one_thread(monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    jobs = Jobs(Job(SHOP, "random", {}, 0, 0, 2))
    Processes(threads, 1)(jobs.take, jobs.updates.append)
    assert [update.outcome for update in jobs.updates] == [dict.fromkeys(THREAD_VARIABLES, "1")]


def test_a_worker_ends_when_nobody_listens():
    connection, process = executors.hire(run.run_job)
    job = Job(SHOP, named(First), {"pause": 0.25}, 6400, 0, 2)
    connection.send(job)
    assert connection.recv() == Update(job.key, "start")
    connection.close()
    process.join(60)
    assert process.exitcode == 1


def test_a_stream_tells_all_and_ends_even_where_the_work_breaks(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    job = Job(SHOP, "random", {}, 0, 0, 2)
    serial = Jobs(job)
    Serial(threads)(serial.take, serial.updates.append)
    assert list(executors.stream(threads, job, str(tmp_path), [*sys.path, "elsewhere"])) == serial.updates
    assert sys.path[-1] == "elsewhere"
    monkeypatch.setattr("threading.excepthook", lambda *args: None)
    assert list(executors.stream(partial(threads, 3), job, "no such folder", [])) == []  # type: ignore[call-arg]


def test_wrong_executors(monkeypatch, tmp_path):
    for arguments, message in (
        (("procesess",), "executor: got .* Did you mean 'processes'"),
        (("processes", 0), "workers: must be an integer"),
        (("serial", 1, "auto"), 'ray_address: goes with executor "ray" only'),
    ):
        name, *rest = arguments
        with pytest.raises(ConfigError, match=message):
            make_executor(name, threads, *rest)
    for device in ("gpu", "cuda:x", 3):
        with pytest.raises(ConfigError, match="device: must be cpu, cuda"):
            run.run_suite(tiny(), tmp_path, console=quiet(), device=device)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r'must be installed: pip install "recgym\[ray\]"'):
        make_executor("ray", threads)
    assert isinstance(make_executor(None, threads, 1), Serial)
    assert isinstance(make_executor(None, threads, None), (Serial, Processes))
    assert not list(tmp_path.iterdir())


def test_ray_streams_on_its_nodes_only():
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=r"ray_address: must be .* on a node of the cluster, got 'ray://x:1'"):
        make_executor("ray", threads, ray_address="ray://x:1")


# Sharing a folder

SHARING = """
from baselines import Task
from benchmarks.run import run_suite
from benchmarks.suite import Contender, NamedTask, Suite, training_seeds
shop = NamedTask("shop", Task("recgym/Ecommerce-v0", {{"horizon": 5}}), 128)
counted = Contender("counted", "outsiders:Counted", {{"pause": 0.1, "file": {file!r}}})
run_suite(Suite("shared-v0", (shop,), (counted,), training_seeds(12), 4), {folder!r}, workers={workers})
"""


def test_two_runs_on_one_folder_share_the_work(tmp_path):
    log, folder = tmp_path / "log", tmp_path / "out"
    commands = [[sys.executable, "-c", SHARING.format(file=str(log), folder=str(folder), workers=n)] for n in (1, 2)]
    runs = [subprocess.Popen(c, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) for c in commands]
    outputs = [process.communicate(timeout=600)[0] for process in runs]
    assert [process.returncode for process in runs] == [0, 0]
    trained = sorted(map(int, log.read_text().split()))
    assert trained == [10_000 * k for k in range(12)], "each job once"
    assert len(list((folder / "jobs").iterdir())) == 12
    known = [output.count("by another run") + int(output.split(" done before")[0].split()[-1]) for output in outputs]
    assert sum(known) == 12, "what one has done the other knows"


def test_a_lock_lasts_as_long_as_its_process(tmp_path):
    jobs = [entry.job for entry in tiny().entries()[:2]]
    program = f"""
import time
from pathlib import Path
from baselines import Task
from benchmarks.run import Share
from benchmarks.suite import Job
with Share([{jobs[0]!r}], Path({str(tmp_path)!r}), print) as share:
    print(share.take().key, flush=True)
    time.sleep(600)
"""
    holder = subprocess.Popen([sys.executable, "-c", program], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == jobs[0].key
    shown = []
    with run.Share(jobs, tmp_path, shown.append) as share:
        assert share.take(wait=False) == jobs[1]
        assert share.take(wait=False) is None
        scrap = tmp_path / "jobs" / f".{jobs[0].key}.json.1.tmp"
        scrap.parent.mkdir()
        scrap.write_text("half a res")
        threading.Timer(0.5, holder.kill).start()
        began = time.monotonic()
        assert share.take() == jobs[0]
        assert time.monotonic() - began < 60
        assert [(update.key, update.stage) for update in shown] == [(jobs[0].key, "elsewhere")]
        assert not scrap.exists()
    holder.communicate()


def test_what_another_run_has_finished_is_not_done_again(tmp_path):
    jobs, shown = [entry.job for entry in tiny().entries()[:3]], []
    with run.Share(jobs, tmp_path, shown.append) as share:
        run.write_json(run.result_file(tmp_path, jobs[0].key), {})
        run.error_file(tmp_path, jobs[1].key).write_text("Traceback")
        assert share.take() == jobs[2]
    assert [(u.key, u.stage, u.text) for u in shown] == [
        (jobs[0].key, "done", "by another run"), (jobs[1].key, "failed", "in another run"),
    ]  # fmt: skip


# What is not ours: devices, agents and worlds


def test_a_device_goes_to_agents_that_have_one_and_into_the_result(tmp_path, monkeypatch):
    jobs = [Job(SHOP, named(Computing), {}, 0, 0, 2), Job(SHOP, "random", {}, 0, 0, 2)]
    fixed = dataclasses.replace(jobs[0], hyperparameters={"device": "mps"})
    assert run._make_agent(jobs[0], "cuda:1").device == "cuda:1"
    assert run._make_agent(fixed, "cuda:1").device == "mps"
    assert [run.execute(job, device="cuda:1").software["device"] for job in jobs] == ["cuda:1"] * 2
    suite = tiny(Contender("computing", jobs[0].agent))
    run.run_suite(suite, tmp_path, console=quiet(), device="mps")
    results = [json.loads(path.read_text()) for path in (tmp_path / "jobs").iterdir()]
    assert {result["software"]["device"] for result in results} == {"mps"}


STRANGER = '''
"""Shows the candidate that was best so far, and sometimes another."""
from dataclasses import dataclass

import numpy as np

from baselines import OnlineAgent


@dataclass
class Mine(OnlineAgent):
    share: float = 0.1

    def fit(self, task, steps, seed=0, progress=None):
        self.rng, self.sums, self.counts = np.random.default_rng(seed), np.zeros(100), np.ones(100)
        super().fit(task, steps, seed, progress)

    def learn(self, observation, action, reward, next_observation, terminated, info):
        np.add.at(self.sums, action, reward)
        np.add.at(self.counts, action, 1)

    def act(self, observation, mask, explore=False):
        n = mask.shape[1]
        noise = self.rng.random(mask.shape) < self.share * explore
        return np.where(mask, self.sums[:n] / self.counts[:n] + noise, -1).argmax(axis=1)
'''


def test_a_strangers_agent_gets_its_row_with_one_command(tmp_path):
    (tmp_path / "mine.py").write_text(STRANGER)
    command = ["-m", "benchmarks", "run", "--agent", "mine.py:Mine", "--task", SHOP.id, "--options", '{"horizon": 5}',
               "--steps", "128", "--users", "4", "--workers", "2", "-o", "out"]  # fmt: skip
    done = subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr + done.stdout
    assert any(line.startswith("| Mine |") for line in (tmp_path / "out" / "leaderboard.md").read_text().splitlines())
    results = [json.loads(path.read_text()) for path in (tmp_path / "out" / "jobs").iterdir()]
    (mine,) = [result for result in results if result["job"]["agent"] == "mine.py:Mine"]
    assert mine["files"] == {"agent": run._sha256(tmp_path / "mine.py")}
    assert mine["job"]["seed"] == 0
    assert mine["software"]["recgym"]
    assert all(result["files"] == {} for result in results if result is not mine)


def test_agents_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    file = tmp_path / "mine.py"
    file.write_text(STRANGER)
    then = file.stat()
    first = agent_class("mine.py:Mine")
    assert agent_class(f"{file}:Mine") is first
    assert sys.modules[first.__module__].__file__ == str(file)
    file.write_text(STRANGER.replace("0.1", "0.2"))
    os.utime(file, ns=(then.st_atime_ns, then.st_mtime_ns))  # edited within a second, to the same size
    assert agent_class("mine.py:Mine")().share == 0.2
    assert first().share == 0.1
    file.write_text("import nothing_like_this")
    for name, message in (
        ("mine.py:Mine", "agent: cannot import 'mine.py:Mine': No module named 'nothing_like_this'"),
        ("yours.py:Mine", "agent: must be in a file that exists, got 'yours.py'"),
    ):
        with pytest.raises(ConfigError, match=message):
            agent_class(name)
    file.write_text("Mine = 3")
    with pytest.raises(ConfigError, match=r"must be a subclass of baselines\.Agent, got 3"):
        agent_class("mine.py:Mine")
    with pytest.raises(ConfigError, match="has no attribute 'Yours'"):
        agent_class("mine.py:Yours")


WORLDS = """
import functools
from recgym.worlds import load_world

def build(horizon=3, **options):
    return load_world("ecommerce", horizon=horizon, **options)

class Builder:
    def __call__(self, **options):
        return build(**options)

short, shorter, made = functools.partial(build, horizon=2), functools.partial(functools.partial(build), 1), Builder()
"""


@pytest.mark.parametrize("builder", ["build", "short", "shorter", "made"])
@pytest.mark.parametrize("by", ["stranger_worlds", "stranger_names", None])
def test_the_file_of_a_world_is_that_of_its_code(tmp_path, monkeypatch, builder, by):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "stranger_worlds.py").write_text(WORLDS)
    (tmp_path / "stranger_names.py").write_text("from stranger_worlds import *")
    monkeypatch.setattr(registry, "_WORLDS", registry.registered_worlds())
    module = importlib.import_module("stranger_worlds")
    try:
        registry.register_world("stranger", f"{by}:{builder}" if by else getattr(module, builder), ids={})
        job = Job(Task(SHOP.id, {"world": "stranger"}), "random", {}, 0, 0, 4)
        assert run.file_hashes(job) == {"world": run._sha256(tmp_path / "stranger_worlds.py")}
        del module.__file__
        assert run.file_hashes(job) == {}, "as in an interactive session"
    finally:
        for name in ("stranger_worlds", "stranger_names"):
            sys.modules.pop(name, None)


def test_results_of_files_that_changed_are_run_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(STRANGER)
    load_world("ecommerce", horizon=4).save("shop")
    load_world("ecommerce", horizon=4).save("other")
    tasks = (
        NamedTask("shop", Task(SHOP.id, {"world": "shop"}), 64),
        NamedTask("plain", SHOP, 64, Task(SHOP.id, {"world": "other"})),
    )
    suite = dataclasses.replace(tiny(Contender("mine", "mine.py:Mine"), seeds=1, references=("random",)), tasks=tasks)
    by = {(entry.task, entry.label): entry.job for entry in suite.entries()}
    assert {place: set(run.file_hashes(job)) for place, job in by.items()} == {
        ("shop", "mine"): {"agent", "world"}, ("plain", "mine"): {"agent", "evaluation world"},
        ("shop", "random"): {"world"}, ("plain", "random"): {"evaluation world"},
    }  # fmt: skip
    assert run.run_suite(suite, "out", console=quiet()) == []

    def rerun() -> set[tuple[str, str]]:
        times = {place: run.result_file(Path("out"), job.key).stat().st_mtime_ns for place, job in by.items()}
        assert run.run_suite(suite, "out", console=quiet()) == []
        return {p for p, job in by.items() if run.result_file(Path("out"), job.key).stat().st_mtime_ns > times[p]}

    assert rerun() == set()
    Path("mine.py").write_text(STRANGER + "# changed\n")
    with pytest.warns(UserWarning, match=r"before the file of its agent changed \(mine\.py:Mine\)"):
        assert rerun() == {("shop", "mine"), ("plain", "mine")}
    load_world("ecommerce", horizon=3).save("shop")
    with pytest.warns(UserWarning, match="before the file of its world changed"):
        assert rerun() == {("shop", "mine"), ("shop", "random")}
    load_world("ecommerce", horizon=3).save("other")
    with pytest.warns(UserWarning, match="before the file of its evaluation world changed"):
        assert rerun() == {("plain", "mine"), ("plain", "random")}
    Path("mine.py").unlink()
    assert rerun() == set(), "what cannot be compared is left"
