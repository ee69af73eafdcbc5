"""A run that is killed, or loses a worker, at any moment: resumed, it leaves what an undisturbed run leaves.

python tests/test_kill.py 20        # 20 random moments of the smoke suite; a second number seeds them
"""

from __future__ import annotations

import io
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("typer")
pytest.importorskip("matplotlib")

from rich.console import Console

from benchmarks.report import report
from benchmarks.run import write_json

NEWS = 'NamedTask("news", Task("recgym/News-v0", {"horizon": 5}), 256)'
SMALL = f'Suite("small-v0", ({NEWS},), (Contender("linucb", "linucb"), *references()[2:]), training_seeds(6), 4)'
SMOKE = 'get_suite("smoke-v1")'
PROGRAM = """
from baselines import Task
from benchmarks.run import run_suite
from benchmarks.suite import Contender, NamedTask, Suite, get_suite, references, training_seeds
assert run_suite({suite}, {folder!r}, workers=2) == []
"""

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="finds workers in /proc")


def start(folder: Path, suite: str) -> subprocess.Popen:
    command = [sys.executable, "-c", PROGRAM.format(suite=suite, folder=str(folder))]
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def workers(pid: int) -> list[int]:
    """Processes that a runner has spawned; not the one that keeps its books."""
    found = []
    with suppress(OSError):  # one that is gone by now
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def state(folder: Path) -> dict[str, bytes]:
    """All files of a results folder, after a report of it, where each job took the same time."""
    for path in folder.glob("jobs/*.json"):
        result = json.loads(path.read_bytes())
        result["cost"] = dict.fromkeys(result["cost"], 1.0)
        write_json(path, result)
    assert report(folder, Console(file=io.StringIO(), width=80)).missing == []
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def undisturbed(folder: Path, suite: str) -> dict[str, bytes]:
    """What a run leaves."""
    assert start(folder, suite).wait(600) == 0
    return state(folder)


def disturbed(folder: Path, suite: str, whom: str, jobs: int, delay: float) -> tuple[dict[str, bytes], str]:
    """What a run leaves whose runner or worker is killed, some seconds after some jobs are done, and which is resumed
    then; and what happened.
    """
    process = start(folder, suite)
    while process.poll() is None and len(list(folder.glob("jobs/*.json"))) < jobs:
        time.sleep(0.01)
    time.sleep(delay)
    found = [process.pid]
    while process.poll() is None and not (found := [process.pid] if whom == "runner" else workers(process.pid)):
        time.sleep(0.01)
    if process.poll() is None:
        os.kill(random.choice(found), signal.SIGKILL)
        done = len(list(folder.glob("jobs/*.json")))
        happened = f"{whom} killed {delay:.1f} s after {jobs} jobs were done, with {done} done"
    else:
        happened = "had ended"
    code = process.wait(600)
    if whom == "runner" and code:
        assert code == -signal.SIGKILL
        code = start(folder, suite).wait(600)
    assert code == 0, (folder.parent / f"{folder.name}.log").read_text()
    return state(folder), happened


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return undisturbed(tmp_path_factory.mktemp("whole") / "out", SMALL)


@pytest.mark.parametrize(("whom", "jobs", "delay"), [("runner", 2, 0.1), ("worker", 1, 0.05)])
def test_killed_and_resumed_is_as_never_killed(tmp_path, whole, whom, jobs, delay):
    found, happened = disturbed(tmp_path / "out", SMALL, whom, jobs, delay)
    assert found == whole, happened


def main(moments: int, seed: int = 0) -> None:
    """Kill smoke runs at random moments, the runner and a worker in turn."""
    random.seed(seed)
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        expected = undisturbed(Path(folder, "whole"), SMOKE)
        print(f"undisturbed: {len(expected)} files, {time.monotonic() - began:.0f} s", flush=True)
        total = len([name for name in expected if name.startswith("jobs/")])
        killed = tries = 0
        while killed < moments:
            out, jobs, delay = Path(folder, str(tries)), random.randrange(total), random.uniform(0, 3)
            found, happened = disturbed(out, SMOKE, ("runner", "worker")[killed % 2], jobs, delay)
            killed += "killed" in happened
            tries += 1
            same = "the same files" if found == expected else "DIFFERENT FILES"
            tried = (out.parent / f"{out.name}.log").read_text().count("tried again")
            print(f"{killed:>2}: {happened}, {tried} tried again: {same}", flush=True)
            assert found == expected


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
