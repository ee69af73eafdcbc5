"""Threads that share the work of a batch with the thread that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock, Thread
from typing import Any


class Crew:
    """Threads that take pieces of a job beside their caller, at a cost of some microseconds per job.

    Whoever is free takes the next piece. So a thread that the system leaves waiting, as where other programs use its
    processor, delays nobody: the caller does the work alone then.

    Args:
        helpers: number of threads, not counting those of callers.
    """

    def __init__(self, helpers: int) -> None:
        self._helpers = [_Helper() for _ in range(helpers)]
        for helper in self._helpers:
            Thread(target=_help, args=(helper,), name="recgym", daemon=True).start()

    def run(self, function: Callable[..., Any], pieces: Sequence[tuple[Any, ...]], given: tuple[Any, ...]) -> None:
        """Call ``function(*piece, *given)`` for each piece. It returns, or raises what a call raised, when all are done."""
        job = _Job(function, [*reversed(pieces)], given)
        for helper in self._helpers:
            helper.wake(job)
        job.work()
        for helper in self._helpers:
            with helper.busy:  # it holds this while it is at work
                helper.job = _NOTHING
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """Let the threads end. `run` still works, in the thread of its caller alone."""
        helpers, self._helpers = self._helpers, []
        for helper in helpers:
            helper.wake(None)

    def __del__(self) -> None:
        self.close()


class _Job:
    def __init__(self, function: Callable[..., Any], pieces: list[tuple[Any, ...]], given: tuple[Any, ...]) -> None:
        self.function, self.pieces, self.given = function, pieces, given
        self.error: BaseException | None = None

    def work(self) -> None:
        """Do pieces until none is left that nobody has begun."""
        pieces = self.pieces
        while pieces:
            try:
                piece = pieces.pop()
            except IndexError:  # somebody else took the last one just now
                return
            try:
                self.function(*piece, *self.given)
            except BaseException as error:
                self.error = error
                pieces.clear()


_NOTHING = _Job(lambda: None, [], ())


class _Helper:
    """A thread's part of the state: threads hold no reference to their crew, so that it can be collected."""

    def __init__(self) -> None:
        self.job: _Job | None = _NOTHING  # None: end
        self.awake, self.busy = Lock(), Lock()
        self.awake.acquire()

    def wake(self, job: _Job | None) -> None:
        self.job = job
        with suppress(RuntimeError):  # it has been woken before, and will find this job
            self.awake.release()


def _help(helper: _Helper) -> None:
    while True:
        helper.awake.acquire()
        with helper.busy:
            job = helper.job
            if job is None:
                return
            job.work()
            del job
