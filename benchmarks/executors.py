"""Executors run jobs: in this process, in spawned ones, or on a Ray cluster, with the same results.

An executor takes jobs as it has room for them, runs each somewhere, and passes on what they report, results included.
It knows nothing of folders: whoever hands out the jobs keeps their results, so a cluster needs no shared file system.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Thread
from typing import Any, NamedTuple, Protocol

from benchmarks import THREAD_VARIABLES, limit_threads
from benchmarks.suite import Job
from recgym.errors import ConfigError, require, require_count, require_option
from recgym.stepper import processors

EXECUTORS = ("serial", "processes", "ray")


class Update(NamedTuple):
    """What a job reports while it runs. The last one is "done" or "failed"; "died" comes from the executor."""

    key: str
    stage: str  # "start", "train", "evaluate", then "done", "failed" or "died"
    done: int = 0  # user-steps of training, or users whose evaluation has ended
    total: int = 1
    text: str = ""  # current score, or final score, or error
    outcome: Any = None  # the result of a job that is done, the traceback of one that failed


Notify = Callable[[Update], None]
Work = Callable[[Job, Notify], None]  # runs a job and reports; importable, as it is sent to other processes


class Take(Protocol):
    """Hands out a job; None if none is left. While other runs hold all that are left, wait=True waits for them."""

    def __call__(self, wait: bool = True) -> Job | None: ...


class Executor(Protocol):
    """Runs jobs until there are none; one that fails, or whose process dies, does not stop the others."""

    def __call__(self, take: Take, notify: Notify) -> None: ...


def make_executor(
    name: str | None, work: Work, workers: int | None = 1, ray_address: str | None = None, gpu: bool = False
) -> Executor:
    """An executor by name.

    Args:
        name: one of `EXECUTORS`; None is "serial" for one worker and "processes" for more.
        work: runs one job. workers: jobs at a time; None: as many as processors, with Ray those of the cluster.
        ray_address: of a cluster, as `ray.init` takes it; None starts one on this machine. gpu: whether jobs use one.

    Raises:
        ConfigError: no such executor, Ray is not installed, or an address without Ray.
    """
    if workers is not None:
        require_count("workers", workers, 1, 4096)
    name = name or ("serial" if workers == 1 else "processes")
    require_option("executor", name, EXECUTORS)
    require(ray_address is None or name == "ray", "ray_address", 'goes with executor "ray" only', ray_address)
    if name == "ray":
        return Ray(work, workers, ray_address, gpu)
    return Serial(work) if name == "serial" else Processes(work, workers or processors())


class Serial:
    """One job after the other, in this process."""

    def __init__(self, work: Work) -> None:
        self.work = work

    def __call__(self, take: Take, notify: Notify) -> None:
        """See `Executor`."""
        while job := take():
            self.work(job, notify)


class Processes:
    """Spawned processes that take jobs as they get free. One that dies is replaced.

    They import the main module, so that a script runs a suite under `if __name__ == "__main__":` only.
    """

    def __init__(self, work: Work, workers: int) -> None:
        self.work, self.workers = work, workers

    def __call__(self, take: Take, notify: Notify) -> None:
        """See `Executor`."""
        limit_threads()
        working: dict[Connection, tuple[BaseProcess, Job]] = {}
        try:
            while True:
                while len(working) < self.workers and (job := take(wait=not working)):
                    connection, process = hire(self.work)
                    working[connection] = (process, job)
                    _give(connection, job)
                if not working:
                    return
                wait(list(working), timeout=1)
                for connection, (process, job) in list(working.items()):
                    alive, heard = process.is_alive(), connection.poll()  # in this order: its last words count
                    if alive and not heard:
                        continue
                    update: Update | None = None  # where it is dead, and a child that it left holds its end open
                    with suppress(EOFError, OSError):
                        update = connection.recv() if heard else None
                    if update is None:
                        process.join()
                        text = f"its process died with exit code {process.exitcode}"
                        update = Update(job.key, "died", text=text)
                    notify(update)
                    if update.stage not in ("done", "failed", "died"):
                        continue
                    following = take(wait=False) if process.is_alive() else None
                    if following:
                        working[connection] = (process, following)
                        _give(connection, following)
                    else:
                        del working[connection]
                        connection.close()
        finally:
            for process, _ in working.values():
                process.terminate()
                process.join()


def hire(work: Work) -> tuple[Connection, BaseProcess]:
    """A process that takes jobs from the connection and sends updates back."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(theirs, work), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _give(connection: Connection, job: Job) -> None:
    with suppress(OSError):  # a worker that has died is noticed, and its job counted, at the next recv
        connection.send(job)


def _serve(connection: Connection, work: Work) -> None:
    """What a worker does: it takes jobs and sends updates until the other end is closed or gone."""
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
        work(job, notify)


class Ray:
    """Tasks of a Ray cluster, each a stream of updates. recgym, and files named by path, must be there on every node.

    Args:
        work: runs one job. workers: jobs at a time; None: as many as the cluster has processors.
        address: "auto" or "host:port" of a cluster that this machine is a node of, with its token, where it asks for
            one, given to this process as Ray's documentation says; None starts one here, for the time of the run.
        gpu: whether jobs need a GPU; they share those of the cluster evenly.

    Raises:
        ConfigError: Ray is not installed.
    """

    def __init__(self, work: Work, workers: int | None, address: str | None = None, gpu: bool = False) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise ConfigError('executor: "ray" must be installed: pip install "recgym[ray]"') from None
        # Ray's client, unlike a node, does not pass on streams.
        usable = address is None or not address.startswith("ray://")
        require(usable, "ray_address", 'must be "auto" or "host:port", on a node of the cluster', address)
        self.ray, self.work, self.workers, self.address, self.gpu = ray, work, workers, address, gpu

    def __call__(self, take: Take, notify: Notify) -> None:
        """See `Executor`."""
        started = not self.ray.is_initialized()
        if started:
            self._connect()
        try:
            self._run(take, notify)
        finally:
            if started:
                self.ray.shutdown()

    def _connect(self) -> None:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a benchmark does not call home
        here = {} if self.address else {"num_cpus": self.workers or processors(), "include_dashboard": False}
        threads = {name: os.environ.get(name, "1") for name in THREAD_VARIABLES}
        try:
            self.ray.init(
                self.address,
                runtime_env={"env_vars": threads},
                log_to_driver=False,
                logging_level="ERROR",
                **here,  # type: ignore[arg-type]
            )
        except Exception as error:  # Ray raises what it likes
            raise ConfigError(f"ray_address: must be a cluster that starts, got {self.address!r}: {error}") from None

    def _run(self, take: Take, notify: Notify) -> None:
        cluster = self.ray.cluster_resources()
        workers = self.workers or max(1, int(cluster.get("CPU", 1)))
        gpus = min(1.0, int(1e4 * cluster.get("GPU", 0) / workers) / 1e4) if self.gpu else 0.0
        options = {"num_cpus": 1, "num_gpus": gpus, "max_retries": 0, "num_returns": "streaming"}
        remote = self.ray.remote(**options)(stream)  # type: ignore[call-overload]
        running: dict[Any, Job] = {}
        while True:
            while len(running) < workers and (job := take(wait=not running)):
                running[remote.remote(self.work, job, os.getcwd(), sys.path)] = job
            if not running:
                return
            ready, _ = self.ray.wait(list(running), num_returns=1)
            for updates in ready:
                job = running[updates]
                try:
                    update: Update = self.ray.get(next(updates))
                except (self.ray.exceptions.RayError, StopIteration) as error:
                    text = f"its task ended with {type(error).__name__}: {error}"
                    update = Update(job.key, "died", text=text)
                if update.stage in ("done", "failed", "died"):
                    del running[updates]
                notify(update)


def stream(work: Work, job: Job, folder: str, path: list[str]) -> Iterator[Update]:
    """Run a job in a thread and yield its updates, in the folder and with the modules of the process that asks."""
    with suppress(OSError):  # a node may have no such folder
        os.chdir(folder)
    sys.path += [entry for entry in path if entry not in sys.path]
    updates: SimpleQueue[Update | None] = SimpleQueue()

    def run() -> None:
        try:
            work(job, updates.put)
        finally:
            updates.put(None)

    Thread(target=run, daemon=True).start()
    # Not `yield from` an iterator: Ray sends to its generators.
    while (update := updates.get()) is not None:
        yield update
