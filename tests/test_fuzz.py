"""`python -m benchmarks fuzz`: some cases of each door, and that it finds what it should find."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from benchmarks import fuzz
from benchmarks.__main__ import app
from benchmarks.fuzz.hostile import pickled
from benchmarks.fuzz.targets import Target, nothing
from recgym.errors import ConfigError, RecgymError

CASES = {
    "worlds": 75,
    "agents": 30,
    "results": 25,
    "suites": 100,
    "logs": 400,
    "parameters": 150,
    "ranges": 120,
    "actions": 12,
}


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_only_errors_of_recgym_come_out(name: str, tmp_path: Path) -> None:
    originals = tmp_path / "originals"
    originals.mkdir()
    fuzz.TARGETS[name].prepare(originals)
    refused = 0
    for case in range(CASES[name]):
        try:
            fuzz._attempt(name, 1, case, originals, tmp_path / str(case))
        except RecgymError:
            refused += 1
        except BaseException as error:
            raise AssertionError(fuzz.Finding(name, 1, case, "").command) from error
    assert refused > CASES[name] / 10 or name in ("ranges", "actions")  # nothing to refuse, and refused within a case


def raises(rng: np.random.Generator, folder: Path) -> None:
    if rng.random() < 0.5:
        raise ConfigError("as it should")
    raise KeyError("as it should not")


def runs_code(rng: np.random.Generator, folder: Path) -> None:
    import pickle

    pickle.loads(pickled())


def dies(rng: np.random.Generator, folder: Path) -> None:
    if rng.random() < 0.5:
        os.kill(os.getpid(), signal.SIGSEGV)


def hangs(rng: np.random.Generator, folder: Path) -> None:
    time.sleep(60)


@pytest.mark.parametrize(("attempt", "what"), [(raises, "KeyError"), (runs_code, "code of the input was run")])
def test_what_comes_out_is_found(
    attempt: Callable[..., Any], what: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(fuzz.TARGETS, "planted", Target("", nothing, attempt))
    texts = []
    (tmp_path / "originals").mkdir()
    for case in range(20):
        try:
            fuzz._attempt("planted", 0, case, tmp_path / "originals", tmp_path / str(case))
        except RecgymError:
            pass
        except Exception as error:
            texts.append(repr(error))
    assert texts
    assert all(what in text for text in texts)


@pytest.mark.parametrize(("attempt", "what"), [(dies, "Segmentation fault"), (hangs, "Timeout")])
def test_processes_that_die_or_hang_are_found(
    attempt: Callable[..., Any], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(fuzz.TARGETS, "planted", Target("", nothing, attempt))
    monkeypatch.setattr(fuzz, "_work", globals()[f"_work_{attempt.__name__}"])
    (outcome,) = fuzz.fuzz(["planted"], cases=6, minutes=0.2)
    assert outcome.findings
    assert all(what in finding.what for finding in outcome.findings)


def _work_dies(pipe: Any, *arguments: Any) -> None:
    fuzz.TARGETS["planted"] = Target("", nothing, dies)
    _WORK(pipe, *arguments)


def _work_hangs(pipe: Any, *arguments: Any) -> None:
    fuzz.TARGETS["planted"] = Target("", nothing, hangs)
    fuzz.SECONDS = 0.1
    _WORK(pipe, *arguments)


_WORK = fuzz._work


def test_the_command(tmp_path: Path) -> None:
    run = CliRunner().invoke(app, ["fuzz", "logs", "--cases", "30", "--minutes", "0.5"])
    assert run.exit_code == 0, run.output
    assert "logs: 30 cases" in run.output
    run = CliRunner().invoke(app, ["fuzz", "logs", "--case", "1", "-o", str(tmp_path / "case")])
    assert run.exit_code == 0, run.output
    assert list((tmp_path / "case").iterdir())
    run = CliRunner().invoke(app, ["fuzz", "lgos"])
    assert isinstance(run.exception, ConfigError)
    assert "'logs'" in str(run.exception)
