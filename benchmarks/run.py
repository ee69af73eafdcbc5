"""Running a suite: each job that has no valid result is run and leaves one file, written whole or not at all.

A run that was stopped goes on when it is started again, as it skips the jobs that have a result; a job that failed is run
again only when that is asked for. The files are those of `benchmarks.files`. Nothing in a result but its "cost" depends
on the speed of the machine. Beside the results lies `.lock`, always empty, by which several runs on one folder share the
work.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import sys
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import gymnasium as gym
import llvmlite.binding
import numpy as np
from rich.console import Console
from rich.text import Text

import recgym
from baselines.agent import Agent, Task, evaluate
from baselines.registry import REGISTRY, agent_class, make_agent
from baselines.requirements import require_device
from benchmarks.data import is_file, require_writable, write_json
from benchmarks.display import Display
from benchmarks.executors import Notify, Update, make_executor
from benchmarks.files import error_file, read_manifest, result_file, write_manifest
from benchmarks.metrics import standard_error
from benchmarks.packed import read_packed, read_results, unpack
from benchmarks.result import Length, Result, Returns
from benchmarks.suite import Entry, Job, Suite
from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require_option
from recgym.files import write_atomically
from recgym.registry import own_names, registered_worlds

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

CURVE_POINTS = 10  # of a learning curve, the last at the end of training
CURVE_USERS = 200  # evaluated at each point: the first of the job's evaluation users
REPORT_SECONDS = 0.2  # between two progress reports of a job
WAIT_SECONDS = 1.0  # between two looks at jobs that other runs work on
ATTEMPTS = 3  # at a job whose process dies, which may not be the job's fault


def run_suite(
    suite: Suite,
    folder: str | os.PathLike[str],
    workers: int | None = 1,
    command: str = "",
    console: Console | None = None,
    fresh: bool = False,
    *,
    executor: str | None = None,
    ray_address: str | None = None,
    device: str = "cpu",
    retry_failed: bool = False,
    only: Collection[str] = (),
) -> list[str]:
    """Run what is missing of a suite. Several runs, also on several machines, may share a folder: they share the work.

    Args:
        suite: what. folder: where the results are.
        workers: jobs at a time; None: as many as there are processors.
        command: how to repeat it, for the report. console: where progress is shown.
        fresh: run everything anew; for when agents or environments have changed under unchanged names.
        executor: "serial", "processes" or "ray"; None: serial for one worker, else processes.
        ray_address: of a Ray cluster, see `executors.Ray`; None: one on this machine, for the time of the run.
        device: for agents that have a field of that name, as torch writes it: "cpu", "cuda", "cuda:1", "mps". It is no
            part of a job, as results on another one differ by rounding only; they record it.
        retry_failed: run again what has failed before.
        only: labels of the agents to run now; the others are listed as not run yet. All where empty.

    Returns:
        The keys of the jobs without a result.

    Raises:
        ConfigError: a task, an agent, a hyper-parameter, an executor or a device does not exist, or the folder cannot
            be written or holds jobs of another run.
    """
    require_device("device", device)
    work = partial(run_job, device=device)
    run = make_executor(executor, work, workers, ray_address, gpu=device.startswith("cuda"))
    console = console or Console()
    folder, entries = Path(folder), suite.entries()
    shared = _check_folder(folder, entries)
    for label in only:
        require_option("only", label, [agent.label for agent in suite.agents])
    jobs = {entry.job.key: entry.job for entry in entries if not only or entry.label in only}
    missing = _missing(jobs, folder, shared, fresh)
    for key in missing if fresh or retry_failed else ():
        error_file(folder, key).unlink(missing_ok=True)
    failed = [key for key in missing if is_file(error_file(folder, key))]
    pending = {key: job for key, job in missing.items() if key not in failed}
    count = f"{len(jobs)} jobs, {len(jobs) - len(missing)} done before, {len(pending)} to run."
    console.print(Text(f"{suite.name}: {count}"))
    if failed:
        console.print(Text(f"{len(failed)} failed before and stay so without --retry-failed.", "red"))
    if pending:
        _prepare(pending.values(), console, device)
    shown = "".join(c if c.isprintable() else " " for c in command)
    kept = {key: name for key, name in shared.items() if key not in missing}
    write_manifest(folder, {**suite.manifest(), "command": shown, **({"shared": kept} if kept else {})})
    if pending:
        with Display([entry for entry in entries if entry.job.key in pending], console) as display:
            try:
                with Share(pending.values(), folder, display) as share:
                    run(share.take, share.notify)
            except KeyboardInterrupt:
                console.print(Text("Stopped. What is done is kept: the same command goes on from there."))
                raise
    return [key for key in missing if not is_file(result_file(folder, key))]


def _check_folder(folder: Path, entries: Sequence[Entry]) -> dict[str, str]:
    """What the folder shares with published ones, see `Manifest.shared`.

    Raises:
        ConfigError: nothing can be written there, or another run's results would be lost from its report.
    """
    require_writable("output", folder)
    if not is_file(folder / "suite.json"):
        return {}
    try:
        there = read_manifest(folder)
    except ConfigError as error:
        warnings.warn(f"{error}; it is written anew", stacklevel=3)
        return {}
    kept = {(task, label, job.key) for task, label, job in entries}
    lost = [entry for entry in there.entries if (entry.task, entry.label, entry.job.key) not in kept]
    if lost:
        raise ConfigError(
            f"output: {folder} holds the run {there.suite!r} ({there.command}), and this run has no "
            f"{lost[0].label!r} on {lost[0].task!r} as that has; choose another --output"
        )
    return there.shared


def _missing(jobs: dict[str, Job], folder: Path, shared: Mapping[str, str], fresh: bool) -> dict[str, Job]:
    """Jobs to run: those without a result, and those whose agent or world file has changed since; their old files are removed."""
    found, faults = read_results(folder, jobs, shared)
    for fault in faults.values():
        warnings.warn(f"{fault}; it counts as absent", stacklevel=3)
    missing = {}
    for key, job in jobs.items():
        if key in found and not fresh:
            recorded = found[key].files or {}
            changed = [name for name, digest in file_hashes(job).items() if recorded.get(name, digest) != digest]
            if not changed:
                continue
            text = f"{key}.json was made before the file of its {changed[0]} changed ({job.agent}) and counts as absent"
            warnings.warn(text, stacklevel=3)
        missing[key] = job
    if missing.keys() & read_packed(folder).keys():
        unpack(folder)
    for key in missing:
        result_file(folder, key).unlink(missing_ok=True)
    return missing


class Share:
    """This run's share of the jobs in a folder: locks one at a time, keeps what comes back, passes on what is reported.

    Each job has a byte of the file `.lock`. The process that hands out the job and writes its result holds a lock on
    it, which the system takes back when the process ends, whatever ends it, and, as file systems go, also on another
    machine. (Where there are no such locks, as on Windows, runs must not share a folder at a time.)
    """

    def __init__(self, jobs: Iterable[Job], folder: Path, notify: Notify) -> None:
        self.left = {job.key: job for job in jobs}
        self.taken: dict[str, Job] = {}
        self.folder, self.show = folder, notify
        self.deaths: Counter[str] = Counter()
        self.awaited: set[str] = set()

    def __enter__(self) -> Share:
        self.folder.mkdir(parents=True, exist_ok=True)
        # Opened once: a process loses its locks on a file when it closes any descriptor of it.
        self.file = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.file)

    def take(self, wait: bool = True) -> Job | None:
        """A job that no other run works on, see `executors.Take`."""
        while self.left:
            for key, job in list(self.left.items()):
                if not self._lock(key):
                    continue
                self.taken[key] = self.left.pop(key)
                if is_file(result_file(self.folder, key)):
                    self.show(Update(key, "done", text="by another run"))
                elif is_file(error_file(self.folder, key)):
                    self.show(Update(key, "failed", text="in another run"))
                else:
                    for scrap in self.folder.glob(f"jobs/.{key}.*.tmp"):  # of a run that was killed as it wrote
                        scrap.unlink(missing_ok=True)
                    return job
                self._unlock(key)
            if not wait:
                break
            for key in self.left.keys() - self.awaited:
                self.awaited.add(key)
                self.show(Update(key, "elsewhere", text="another run is at it; waiting"))
            if self.left:
                time.sleep(WAIT_SECONDS)
        return None

    def notify(self, update: Update) -> None:
        """Keep what an update brings, and pass it on; a job whose process died is handed out again, a few times."""
        key = update.key
        if update.stage == "died":
            self.deaths[key] += 1
            again = self.deaths[key] < ATTEMPTS
            update = update._replace(stage="again" if again else "failed", outcome=update.text + "\n")
            if again:
                self.left[key] = self.taken[key]
        if update.stage == "done":
            write_json(result_file(self.folder, key), update.outcome.to_dict())
        elif update.stage == "failed":
            write_atomically(error_file(self.folder, key), update.outcome.encode())
        if update.stage in ("done", "failed", "again"):
            self._unlock(key)
        self.show(update)

    def _lock(self, key: str) -> bool:
        if fcntl is None:
            return True
        try:
            fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _byte(key))
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _unlock(self, key: str) -> None:
        if fcntl is not None:
            fcntl.lockf(self.file, fcntl.LOCK_UN, 1, _byte(key))


def _byte(key: str) -> int:
    return int(key, 16) >> 2  # lock offsets are signed


def _prepare(jobs: Iterable[Job], console: Console, device: str) -> None:
    """Make each task and agent once: mistakes show before any work begins, and workers find the kernels compiled."""
    console.print(Text("Loading the simulation kernels (compiled once per machine: half a minute)."))
    tasks = [task for job in jobs for task in (job.task, job.evaluation_task) if task]
    for task in {json.dumps([task.id, task.options]): task for task in tasks}.values():
        env = make_env(task, 2)
        env.reset(seed=0)
        env.step(env.action_space.sample())
        env.close()
    for job in jobs:
        _make_agent(job, device)


def make_env(task: Task, num_envs: int) -> RecVectorEnv:
    """A batch of `num_envs` users of a task, which pays them one number per step.

    Raises:
        ConfigError: there is no such task, it is not of recgym, or it pays a vector.
    """
    try:
        env = task.make(num_envs, AutoresetMode.DISABLED)
    except (gym.error.Error, ImportError, AssertionError, TypeError) as error:  # the last two: not of recgym
        raise ConfigError(f"task: must be a registered recgym id, got {task.id!r}: {error}") from None
    if env.vector_reward:
        raise ConfigError(f"task: must pay one number per step, got a vector of {env.world.objectives} by {task}")
    return env


def _make_agent(job: Job, device: str) -> Agent:
    """The agent of a job, on the device where it computes on one and its hyper-parameters do not name one."""
    has_device = "device" in getattr(agent_class(job.agent), "__dataclass_fields__", {})
    return make_agent(job.agent, **{**({"device": device} if has_device else {}), **job.hyperparameters})


def run_job(job: Job, notify: Notify, device: str = "cpu") -> None:
    """Run a job; its result, or the traceback of its failure, is the outcome of the last update."""
    notify(Update(job.key, "start"))
    try:
        result = execute(job, notify, device)
        seconds = result.cost["train_seconds"] + result.cost["evaluation_seconds"]
        text = f"{result.returns.mean:.3f} ± {result.returns.se:.3f}  {seconds:.0f} s"
        ended = Update(job.key, "done", text=text, outcome=result)
    except (Exception, SystemExit) as error:  # an agent may be anybody's, and must not take the others with it
        text = f"{type(error).__name__}: {error}"
        ended = Update(job.key, "failed", text=text, outcome=traceback.format_exc())
    notify(ended)


def execute(
    job: Job,
    notify: Notify = lambda update: None,
    device: str = "cpu",
    curve_points: int = CURVE_POINTS,
    agent: Agent | None = None,
) -> Result:
    """Train, evaluate, and return the result.

    Args:
        job: what. notify: hears how it goes on. device: see `run_suite`.
        curve_points: of the learning curve, which costs an evaluation of `CURVE_USERS` users each and changes nothing
            else; 0: no curve.
        agent: the job's, untrained, for who wants it when it is trained; None: a new one.

    Raises:
        ConfigError: a task cannot be made or pays a vector; or a number of the result is not finite, or is too large
            for statistics.
    """
    agent, files = agent or _make_agent(job, device), file_hashes(job)  # both now, before anybody edits the file
    for task in (job.task, job.evaluation_task):
        if task:
            make_env(task, 1).close()
    reporter = _Reporter(job, notify, agent, curve_points if job.steps else 0)
    began = time.perf_counter()
    if job.steps:
        agent.fit(job.task, job.steps, job.seed, reporter.train)
    trained = time.perf_counter()
    where = job.evaluation_task or job.task
    score = evaluate(agent, where, job.users, job.user_seed, progress=reporter.evaluate)
    ended = time.perf_counter()
    return Result(
        job=job,
        privileged=agent.privileged,
        returns=Returns(**_summary(score.returns), n=len(score.returns)),
        length=Length(float(score.lengths.mean()), float(np.median(score.lengths))),
        objectives=dict(zip(score.names, score.objectives.mean(axis=0).tolist(), strict=True)),
        curve=reporter.end(score.returns),
        cost={
            "train_seconds": trained - began - reporter.curve_seconds,
            "curve_seconds": reporter.curve_seconds,
            "evaluation_seconds": ended - trained,
        },
        software={**software(), "device": device},
        files=files,
        objectives_se=dict(zip(score.names, map(standard_error, score.objectives.T), strict=True)),
    )


def _summary(returns: np.ndarray) -> dict[str, float]:
    return {"mean": float(returns.mean()), "se": standard_error(returns)}


def software() -> dict[str, str]:
    """What numbers may depend on: versions, the kind of machine and of processor, and the threads of BLAS and torch."""
    found = {
        "recgym": recgym.__version__,
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": llvmlite.binding.get_host_cpu_name(),
        "threads": os.environ.get("OMP_NUM_THREADS", "default"),
    }
    for name in ("numpy", "numba", "gymnasium", "torch", "stable-baselines3", "sb3-contrib"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def file_hashes(job: Job) -> dict[str, str]:
    """SHA-256 of the files that have no version: modules of agents and worlds that are not recgym's, worlds in folders.

    What is not here, or has no file, as a class of an interactive session, has no hash.
    """
    hashes = {}
    if job.agent not in REGISTRY:
        with suppress(OSError, ConfigError):
            hashes["agent"] = _sha256(_file_of(agent_class(job.agent).__module__))
    for name, task in (("world", job.task), ("evaluation world", job.evaluation_task)):
        if task is None:
            continue
        spec = gym.registry.get(task.id.rpartition(":")[2])
        world = task.options.get("world", spec.kwargs.get("world") if spec else None)
        if isinstance(world, str) and world not in own_names():
            registered = registered_worlds().get(world)
            with suppress(OSError, ValueError):  # the latter: a path with a null character, or a ConfigError
                if registered is None:
                    hashes[name] = _sha256(Path(world, "world.json"), Path(world, "arrays.npz"))
                else:
                    loaded = registered._replace(builder=registered.load())  # a name may be of what it only imports
                    hashes[name] = _sha256(_file_of(loaded.module))
    return hashes


def _file_of(module: str) -> Path:
    """The file of a module that has been imported.

    Raises:
        FileNotFoundError: it has none.
    """
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        raise FileNotFoundError(module)
    return Path(file)


def _sha256(*files: Path) -> str:
    digests = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


class _Reporter:
    """Turns an agent's progress into updates, a few per second, and into a learning curve.

    A point of the curve is the mean return of the job's first `CURVE_USERS` evaluation users, at the first progress at
    or after each of the fixed steps, by a copy of the agent that explores and learns no more: one measure for all
    agents, whatever they report of themselves.
    """

    def __init__(self, job: Job, notify: Notify, agent: Agent, points: int) -> None:
        self.job, self.notify, self.agent, self.points = job, notify, agent, points
        self.curve: list[dict[str, float]] = []
        self.curve_seconds = 0.0
        self._shown = 0.0

    def train(self, steps: int, values: dict[str, float]) -> None:
        finite = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        name = next((name for name in ("return", "reward") if name in finite), next(iter(finite), ""))
        self._pass_on("train", steps, self.job.steps, f"{name} {finite[name]:.3g}" if name else "")
        reached = self.curve[-1]["steps"] * self.points // self.job.steps if self.curve else 0
        if reached < steps * self.points // self.job.steps < self.points:
            began = time.perf_counter()
            where, users = self.job.evaluation_task or self.job.task, min(CURVE_USERS, self.job.users)
            self._add(steps, evaluate(self.agent.snapshot(), where, users, self.job.user_seed).returns)
            self.curve_seconds += time.perf_counter() - began

    def end(self, returns: np.ndarray) -> list[dict[str, float]]:
        """The curve with its last point, from the returns of the final evaluation."""
        if self.points:
            self._add(self.job.steps, returns[:CURVE_USERS])
        return self.curve

    def _add(self, steps: int, returns: np.ndarray) -> None:
        found = _summary(returns)
        self.curve.append({"steps": steps, "return": found["mean"], "se": found["se"]})

    def evaluate(self, steps: int, values: dict[str, float]) -> None:
        self._pass_on("evaluate", int(values["users"]), self.job.users, f"return {values['return']:.3g}")

    def _pass_on(self, stage: str, done: int, total: int, text: str) -> None:
        now = time.monotonic()
        if now - self._shown >= REPORT_SECONDS:
            self._shown = now
            self.notify(Update(self.job.key, stage, done, total, text))
