"""The examples of clients run, and docs/clients.md says what their results say. `nox -s clients` trains all of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[1]
HERE = ROOT / "examples/clients"
HERE_TOO = {"sb3": "stable_baselines3", "cleanrl": "torch"}  # clients that the tests' own environment can run


@pytest.fixture(autouse=True)
def modules_of_examples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE)


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        ("sb3_dqn", "--native SameStep"),
        ("sb3_dqn", "--observation dict"),
        ("sb3_ppo", "--id recgym/EcommerceSlate-v0"),
        ("sb3_contrib_maskable_ppo", "--id recgym/EcommerceSlate-v0 --native SameStep"),
        ("cleanrl_ppo", "--observation dict --native NextStep"),
        ("cleanrl_ppo", "--id recgym/EcommerceSlate-v0 --native Disabled"),
    ],
)
def test_examples_run_on_their_own(script: str, arguments: str, tmp_path: Path) -> None:
    pytest.importorskip("torch" if script == "cleanrl_ppo" else "sb3_contrib")
    out = tmp_path / "result.json"
    line = [sys.executable, str(HERE / f"{script}.py"), *arguments.split(), "--steps", "300", "--users", "20"]
    done = subprocess.run([*line, "--out", str(out)], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(out.read_text())
    assert result["command"] == f"python examples/clients/{script}.py {arguments} --steps 300 --users 20"
    assert f"return {result['return']['mean']:.2f}" in done.stdout
    assert f"random {result['random']['mean']:.2f}" in done.stdout
    assert result["random"]["mean"] > 0
    assert result["versions"]["torch"]


def test_random_candidates_are_different_and_there(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np
    from trial import Trial, random_policy

    mask = np.array([[0, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 0, 0]], np.int8)
    policy = random_policy(Trial("recgym/NewsSlate-v0", {"candidates": 7}, None, 0, 0))
    for _ in range(20):
        slates = policy(None, {"action_mask": mask})
        assert all(sorted(slate) == [*np.flatnonzero(there)] for slate, there in zip(slates, mask, strict=True))


def test_a_failure_is_a_result_and_is_noticed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("stable_baselines3")
    from run import SLATE, Case, run

    assert not run(Case("sb3", "sb3_dqn", "slate", SLATE), 1, tmp_path)
    failure = json.loads((tmp_path / "sb3_dqn-slate.json").read_text())
    assert failure["error"].startswith("AssertionError")
    assert "MultiDiscrete" in failure["error"]
    assert run(Case("sb3", "sb3_dqn", "slate", SLATE, fails="DQN takes no slates."), 1, tmp_path)


@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            "Traceback (most recent call last):\n  File a\n    run()\nValueError: no\nat all\n\n0% | 0/9 steps\n",
            "ValueError: no",
        ),
        (
            "Traceback (most recent call last):\n  File a\nKeyError: 1\n\nDuring handling of the above exception, another "
            "exception occurred:\n\nTraceback (most recent call last):\n  File b\nRuntimeError: 2\n",
            "RuntimeError: 2",
        ),
        ("usage: run\nrun: error: no such option\n", "run: error: no such option"),
        ("", ""),
    ],
)
def test_the_line_of_the_exception_is_found(said: str, line: str) -> None:
    from run import complaint

    assert complaint(said) == line


def test_every_example_has_cases_and_every_result_a_case() -> None:
    from run import CASES, RESULTS
    from table import LABELS

    shared = {"trial", "run", "table"}
    assert {path.stem for path in HERE.glob("*.py")} - shared == {case.script for case in CASES} == {*LABELS}
    names = [case.name for case in CASES]
    assert len(names) == len({*names})
    assert {path.stem for path in RESULTS.glob("*.json")} == {*names}


def test_results_are_those_of_the_cases() -> None:
    from run import CASES, RESULTS

    for case in CASES:
        result: dict[str, Any] = json.loads((RESULTS / f"{case.name}.json").read_text())
        command = " ".join(["python", f"examples/clients/{case.script}.py", *case.arguments.split()])
        assert result["command"] == command
        assert ("error" in result) == bool(case.fails), case.name


def test_the_page_is_that_of_the_results() -> None:
    from table import PAGE, page

    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text
    assert text.count("| **") > 10
