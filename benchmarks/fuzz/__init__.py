"""A fuzzer: gives recgym mutated files, and worlds and actions drawn at random, and sees what happens.

A *target* is one way by which input comes in from outside. A *case* is one attempt at it, a pure function of
(target, seed, number), so that any finding can be repeated: ``python -m benchmarks fuzz worlds --seed 0 --case 4711``.
A case passes where recgym raises an error of its own, or takes the input and then works. It is a finding where anything
else is raised, where numbers leave their space, where code is run or memory is exhausted, or where a process hangs or dies.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.fuzz.targets import TARGETS
from recgym.errors import RecgymError, require, require_count, require_option

SECONDS = 20.0  # that a case may take; the first of a process compiles kernels and gets ten times as long
MEMORY = 3 << 30  # bytes of address space that a process may add to what it needs to start
RAN_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect")  # audit events


class Finding(NamedTuple):
    """A case that did not pass."""

    target: str
    seed: int
    case: int
    what: str  # a traceback, or how the process ended

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"python -m benchmarks fuzz {self.target} --seed {self.seed} --case {self.case}"

    @property
    def end(self) -> str:
        """The last lines of what happened."""
        return "\n".join(self.what.strip().splitlines()[-12:])


class Outcome(NamedTuple):
    """What became of a target's cases."""

    target: str
    cases: int
    refused: int  # by an error of recgym's
    seconds: float
    findings: list[Finding]


def fuzz(
    names: list[str], seed: int = 0, minutes: float = 1.0, cases: int | None = None,
    progress: Callable[[str, int, int], None] = lambda target, done, found: None,
) -> Iterator[Outcome]:  # fmt: skip
    """Try targets one after the other, each in a process of its own.

    Args:
        names: of `TARGETS`. seed: of all cases. minutes: for each target. cases: stop after so many, too.
        progress: called with the target, the cases done and the findings so far.

    Raises:
        ConfigError: no such target.
    """
    for name in names:
        require_option("target", name, TARGETS)
    with tempfile.TemporaryDirectory(prefix="recgym-fuzz-") as scratch:
        for name in names:
            originals = Path(scratch) / name
            originals.mkdir()
            TARGETS[name].prepare(originals)
            yield _run(name, seed, minutes * 60, cases or sys.maxsize, originals, progress)


def repeat(name: str, seed: int, case: int, folder: Path) -> None:
    """One case in this process, its files left in `folder`; raises what recgym raises.

    Raises:
        ConfigError: no such target, or the folder is there.
    """
    require_option("target", name, TARGETS)
    require_count("case", case, 0, sys.maxsize)
    with tempfile.TemporaryDirectory(prefix="recgym-fuzz-") as originals:
        TARGETS[name].prepare(Path(originals))
        _attempt(name, seed, case, Path(originals), folder)


def _run(
    name: str, seed: int, seconds: float, cases: int, originals: Path, progress: Callable[[str, int, int], None]
) -> Outcome:
    began, case, refused = time.monotonic(), 0, 0
    findings: list[Finding] = []
    context = multiprocessing.get_context("spawn")
    while case < cases and time.monotonic() - began < seconds:
        ours, theirs = context.Pipe()
        log = originals.with_suffix(".log")
        process = context.Process(target=_work, args=(theirs, name, seed, case, cases, originals, log), daemon=True)
        process.start()
        theirs.close()
        try:
            while time.monotonic() - began < seconds or not case:
                case, verdict, text = ours.recv()
                case += 1
                refused += verdict == "refused"
                if verdict == "found":
                    findings.append(Finding(name, seed, case - 1, text))
                progress(name, case, len(findings))
                if case >= cases:
                    break
        except EOFError:  # it died, or the watchdog ended it
            process.join()
            text = log.read_text(errors="replace") if log.is_file() else ""
            findings.append(Finding(name, seed, case, f"the process ended with status {process.exitcode}\n{text}"))
            case += 1
        process.kill()
        process.join()
    return Outcome(name, case, refused, time.monotonic() - began, findings)


def _work(pipe: Any, name: str, seed: int, first: int, cases: int, originals: Path, log: Path) -> None:
    """The cases from `first` on, in a process of their own."""
    file = open(log, "w")  # noqa: SIM115  (faulthandler writes into it until the process ends)
    faulthandler.enable(file)
    _limit_memory()
    for case in range(first, cases):
        faulthandler.dump_traceback_later(SECONDS * (10 if case == first else 1), exit=True, file=file)
        folder = originals.with_name(f"{name}-case")
        shutil.rmtree(folder, ignore_errors=True)  # of a process that died
        try:
            _attempt(name, seed, case, originals, folder)
            pipe.send((case, "took", ""))
        except RecgymError:
            pipe.send((case, "refused", ""))
        except BaseException:  # whatever it is, it should not have come out
            pipe.send((case, "found", traceback.format_exc()))


def _attempt(name: str, seed: int, case: int, originals: Path, folder: Path) -> None:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), case])
    require(not folder.exists(), "folder", "must not be there", str(folder))
    folders = sorted(path for path in originals.iterdir() if path.is_dir())
    if folders:  # of several originals a case takes one
        chosen = folders[int(rng.integers(len(folders)))]
        shutil.copytree(chosen, folder / chosen.name)
    else:
        shutil.copytree(originals, folder)
    with warnings.catch_warnings(), np.errstate(all="ignore"), _watched():
        warnings.simplefilter("ignore")
        TARGETS[name].attempt(rng, folder)


class _watched:
    """Raises where code from a file runs: the payload that `pickled` plants starts a process."""

    ran: str | None = None
    hooked = False

    def __enter__(self) -> None:
        _watched.ran = None
        if not _watched.hooked:
            _watched.hooked = True
            sys.addaudithook(self._hear)

    def __exit__(self, *_: object) -> None:
        if _watched.ran is not None:
            raise AssertionError(f"code of the input was run: {_watched.ran}")

    @staticmethod
    def _hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in RAN_CODE and "recgym-fuzz-payload" in repr(arguments):
            _watched.ran = event


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this system: its processes are not bounded
        return
    now = 0
    if Path("/proc/self/statm").is_file():
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = (
        now + MEMORY + (16 << 30 if "torch" in sys.modules else 0)
    )  # torch reserves address space that it never uses
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
