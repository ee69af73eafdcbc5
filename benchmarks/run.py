"""Running a suite: jobs without a valid result file are run, each leaves one file, written whole or not at all.

    <folder>/suite.json            what was asked for: jobs, their names in the report, the command
    <folder>/jobs/<key>.json       result of one job; nothing but its "cost" depends on the machine's speed
    <folder>/jobs/<key>.error.txt  traceback of a job that failed; the next run tries it again

Resuming is the absence of work. An executor is a function that runs jobs somewhere and passes on what they report.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import platform
import signal
import time
import traceback
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID

import recgym
from baselines.agent import evaluate, make_agent, write_atomically
from benchmarks import limit_threads
from benchmarks.metrics import standard_error
from benchmarks.suite import FORMAT, Entry, Job, Suite, key_of
from recgym.errors import ConfigError, require_count

CURVE_POINTS = 50
REPORT_SECONDS = 0.2  # between two progress reports of a job


class Update(NamedTuple):
    """What a job reports while it runs."""

    key: str
    stage: str  # "start", "train", "evaluate", then "done" or "failed"
    done: int = 0  # user-steps of training, or users whose evaluation has ended
    total: int = 1
    text: str = ""  # current score, or final score, or error


Notify = Callable[[Update], None]


class Executor(Protocol):
    """Runs jobs, each once, and leaves their files in the folder; a job that fails does not stop the others."""

    def __call__(self, jobs: Sequence[Job], folder: Path, notify: Notify) -> None: ...


def run_suite(
    suite: Suite,
    folder: str | os.PathLike[str],
    workers: int = 1,
    command: str = "",
    console: Console | None = None,
    fresh: bool = False,
) -> list[str]:
    """Run what is missing of a suite.

    Args:
        suite: what. folder: where the results are. workers: 1 runs in this process, more in spawned ones.
        command: how to repeat it, for the report. console: where progress is shown.
        fresh: run everything anew; for when agents or environments have changed under unchanged names.

    Returns:
        The keys of the jobs that failed.

    Raises:
        ConfigError: a task, an agent or a hyper-parameter does not exist.
    """
    require_count("workers", workers, 1, 4096)
    console = console or Console()
    folder, entries = Path(folder), suite.entries()
    jobs = {entry.job.key: entry.job for entry in entries}
    if fresh:
        for key in jobs:
            result_file(folder, key).unlink(missing_ok=True)
    pending = [job for key, job in jobs.items() if read_result(folder, key) is None]
    count = f"{len(jobs)} jobs, {len(jobs) - len(pending)} done before, {len(pending)} to run."
    console.print(f"{suite.name}: {count}", highlight=False)
    if pending:
        _prepare(pending, console)
    manifest = {
        "format": FORMAT,
        "suite": suite.name,
        "command": command,
        "entries": [{"task": e.task, "label": e.label, "key": e.job.key, "job": e.job.to_dict()} for e in entries],
    }
    write_json(folder / "suite.json", manifest)
    if not pending:
        return []
    executor = serial if workers == 1 else Processes(workers)
    with Display([entry for entry in entries if entry.job in pending], console) as display:
        try:
            executor(pending, folder, display)
        except KeyboardInterrupt:
            console.print("Stopped. What is done is kept: the same command goes on from there.", highlight=False)
            raise
    return [job.key for job in pending if not result_file(folder, job.key).is_file()]


def _prepare(jobs: Iterable[Job], console: Console) -> None:
    """Make each task and agent once, so that a mistake shows before any work, and so that kernels are compiled once."""
    console.print("Loading the simulation kernels (compiled once a machine: half a minute).", highlight=False)
    for task in {json.dumps([job.task.id, job.task.options]): job.task for job in jobs}.values():
        try:
            env = task.make(2, AutoresetMode.DISABLED)
        except (gym.error.Error, AssertionError, TypeError) as error:  # the last two: not a recgym environment
            raise ConfigError(f"task: must be a registered recgym id, got {task.id!r}: {error}") from None
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
    for job in jobs:
        make_agent(job.agent, **job.hyperparameters)


def result_file(folder: Path, key: str) -> Path:
    """Where the result of a job lies."""
    return folder / "jobs" / f"{key}.json"


def error_file(folder: Path, key: str) -> Path:
    """Where the traceback of a failed job lies."""
    return folder / "jobs" / f"{key}.error.txt"


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal data are equal bytes."""
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def read_result(folder: Path, key: str) -> dict[str, Any] | None:
    """The result of a job; None where there is none, with a warning where the file is not what a run writes."""
    path = result_file(folder, key)
    if not path.is_file():
        return None
    try:
        data = json.loads(path.read_bytes())
        if data["format"] != FORMAT or data["key"] != key or key_of(data["job"]) != key:
            raise ValueError("it belongs to another job or format")
        for part in ("return", "length", "objectives", "cost"):
            if not all(math.isfinite(number) for number in data[part].values()):
                raise ValueError("a number is not finite")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        warnings.warn(f"{path.name} is corrupt ({type(error).__name__}: {error}) and counts as absent", stacklevel=2)
        return None
    return data


def run_job(job: Job, folder: Path, notify: Notify) -> None:
    """Run one job and leave its result or its traceback in the folder."""
    notify(Update(job.key, "start"))
    try:
        result = execute(job, notify)
        write_json(result_file(folder, job.key), result)
    except (Exception, SystemExit) as error:  # an agent may be anybody's, and must not take the others with it
        write_atomically(error_file(folder, job.key), traceback.format_exc().encode())
        notify(Update(job.key, "failed", text=f"{type(error).__name__}: {error}"))
    else:
        error_file(folder, job.key).unlink(missing_ok=True)
        score, cost = result["return"], result["cost"]
        seconds = cost["train_seconds"] + cost["evaluation_seconds"]
        notify(Update(job.key, "done", text=f"{score['mean']:.3f} ± {score['se']:.3f}  {seconds:.0f} s"))


def execute(job: Job, notify: Notify = lambda update: None) -> dict[str, Any]:
    """Train, evaluate, and return the result as plain JSON values."""
    agent = make_agent(job.agent, **job.hyperparameters)
    reporter = _Reporter(job, notify)
    began = time.perf_counter()
    if job.steps:
        agent.fit(job.task, job.steps, job.seed, reporter.train)
    trained = time.perf_counter()
    score = evaluate(agent, job.task, job.users, job.user_seed, progress=reporter.evaluate)
    ended = time.perf_counter()
    objectives = dict(zip(job.task.make(1).world.objectives, score.objectives.mean(axis=0).tolist(), strict=True))
    return {
        "format": FORMAT,
        "key": job.key,
        "job": job.to_dict(),
        "privileged": agent.privileged,
        "return": {"mean": float(score.returns.mean()), "se": standard_error(score.returns), "n": len(score.returns)},
        "length": {"mean": float(score.lengths.mean()), "median": float(np.median(score.lengths))},
        "objectives": objectives,
        "curve": reporter.curve,
        "software": software(),
        "cost": {"train_seconds": trained - began, "evaluation_seconds": ended - trained},
    }


def software() -> dict[str, str]:
    """Versions that numbers may depend on, and the kind of machine."""
    machine = f"{platform.system()} {platform.machine()}"
    found = {"recgym": recgym.__version__, "python": platform.python_version(), "platform": machine}
    for name in ("numpy", "numba", "gymnasium", "torch", "stable-baselines3"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


class _Reporter:
    """Turns an agent's progress into updates, a few a second, and into a learning curve, a point every steps / 50."""

    def __init__(self, job: Job, notify: Notify) -> None:
        self.job, self.notify = job, notify
        self.curve: list[dict[str, float]] = []
        self._shown = 0.0

    def train(self, steps: int, values: dict[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if finite and steps * CURVE_POINTS >= (len(self.curve) + 1) * self.job.steps:
            self.curve.append({"steps": steps, **finite})
        name = next((name for name in ("return", "reward") if name in finite), next(iter(finite), ""))
        self._pass_on("train", steps, self.job.steps, f"{name} {finite[name]:.3g}" if name else "")

    def evaluate(self, steps: int, values: dict[str, float]) -> None:
        self._pass_on("evaluate", int(values["users"]), self.job.users, f"return {values['return']:.3g}")

    def _pass_on(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._shown >= REPORT_SECONDS:
            self._shown = now
            self.notify(Update(self.job.key, stage, done, total, text))


def serial(jobs: Sequence[Job], folder: Path, notify: Notify) -> None:
    """An executor: one job after the other, in this process."""
    for job in jobs:
        run_job(job, folder, notify)


class Processes:
    """An executor: spawned processes that take jobs as they get free. One that dies fails its job and is replaced."""

    def __init__(self, workers: int) -> None:
        require_count("workers", workers, 1, 4096)
        self.workers = workers

    def __call__(self, jobs: Sequence[Job], folder: Path, notify: Notify) -> None:
        """Run the jobs, see `Executor`."""
        limit_threads()
        waiting = deque(jobs)
        working: dict[Connection, tuple[BaseProcess, Job]] = {}
        try:
            while waiting or working:
                while waiting and len(working) < self.workers:
                    connection, process = _hire(folder)
                    working[connection] = (process, _give(connection, waiting))
                ready = wait(list(working))
                for connection in [connection for connection in working if connection in ready]:
                    process, job = working[connection]
                    try:
                        update: Update = connection.recv()
                    except (EOFError, OSError):
                        process.join()
                        update = Update(job.key, "failed", text=f"its process died with exit code {process.exitcode}")
                        write_atomically(error_file(folder, job.key), f"{update.text}\n".encode())
                    notify(update)
                    if update.stage not in ("done", "failed"):
                        continue
                    if waiting and process.is_alive():
                        working[connection] = (process, _give(connection, waiting))
                    else:
                        del working[connection]
                        connection.close()
        finally:
            for process, _ in working.values():
                process.terminate()
                process.join()


def _hire(folder: Path) -> tuple[Connection, BaseProcess]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_work, args=(theirs, folder), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _give(connection: Connection, waiting: deque[Job]) -> Job:
    job = waiting.popleft()
    with suppress(OSError):  # a worker that has died is noticed, and its job counted, at the next recv
        connection.send(job)
    return job


def _work(connection: Connection, folder: Path) -> None:
    """Life of a worker: jobs in, updates out, until the other end is closed or gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process ends the others

    def notify(update: Update) -> None:
        try:
            connection.send(update)
        except OSError:
            os._exit(1)  # nobody waits for this job any more

    while True:
        try:
            job = connection.recv()
        except (EOFError, OSError):
            return
        run_job(job, folder, notify)


class Display:
    """What people see of a run: bars in a terminal, and everywhere a line for each job that has ended."""

    def __init__(self, entries: Sequence[Entry], console: Console) -> None:
        self.console = console
        self.names = {
            job.key: f"{task} {label}" + (f" seed {job.seed}" if job.steps else "") for task, label, job in entries
        }
        columns = ("{task.description}", BarColumn(8), "{task.fields[text]}", "{task.fields[left]}")
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self.overall = self.bars.add_task("[bold]all jobs", total=len(self.names), text="", left="")
        self.running: dict[str, _Bar] = {}
        self.ended = 0
        self.began = time.monotonic()

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()

    def __call__(self, update: Update) -> None:
        """Show an update."""
        now, n = time.monotonic(), len(self.names)
        if update.stage in ("done", "failed"):
            bar = self.running.pop(update.key, None)  # a worker that died before its first word has no bar
            if bar:
                self.bars.remove_task(bar.id)
            self.ended += 1
            colour, text = ("green", update.text) if update.stage == "done" else ("red", f"failed: {update.text}")
            count, name = f"{self.ended:>{len(str(n))}}/{n}", escape(self.names[update.key])
            self.console.print(f"{count} {name}: [{colour}]{escape(text)}[/]", highlight=False)
        else:
            bar = self.running.get(update.key)
            if bar is None or bar.stage != update.stage:
                name = escape(_cut(self.names[update.key], 28))
                id = bar.id if bar else self.bars.add_task(name, total=None, text="", left="")
                bar = self.running[update.key] = _Bar(id, update.stage, now)
            bar.share = update.done / update.total
            if update.stage != "start":
                text = f"{update.stage} {_short(update.done)}/{_short(update.total)} {update.text}"
                self.bars.update(
                    bar.id,
                    completed=update.done,
                    total=update.total,
                    text=escape(_cut(text, 30)),
                    left=_left(now - bar.began, bar.share),
                )
        done = self.ended + sum(bar.share * (0.8 if bar.stage == "train" else 1.0) for bar in self.running.values())
        self.bars.update(self.overall, completed=done, text=f"{self.ended}/{n}", left=_left(now - self.began, done / n))


@dataclass
class _Bar:
    """A running job: its bar, the stage that it is in, since when, and how much of the stage is done in [0, 1]."""

    id: TaskID
    stage: str
    began: float
    share: float = 0.0


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _short(number: int) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else str(number)


def _left(seconds: float, share: float) -> str:
    if share <= 0:
        return ""
    left = round(seconds * (1 - share) / share)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
