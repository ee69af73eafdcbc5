"""What the README shows is what happens."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from recgym.__main__ import main

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_snippet_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And so do the commands that fit a world."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / "examples", "examples")
    snippets = re.findall(r"```(bash|python)\n(.*?)```", README, re.S)
    assert sum(kind == "python" for kind, _ in snippets) >= 5
    names: dict[str, Any] = {"__name__": "readme"}
    commands = []
    for kind, text in snippets:
        if kind == "python":
            exec(compile(text, "README.md", "exec"), names)
        for line in text.splitlines() if kind == "bash" else []:
            if line.startswith(("python -m recgym fit", "python -m recgym info")):
                if any(importlib.util.find_spec(name) is None for name in ("polars", "jinja2", "matplotlib", "rich")):
                    pytest.skip("fitting needs the extras logs and bench")
                assert main(shlex.split(line)[3:]) == 0
                commands.append(capsys.readouterr().out)
    assert float(commands[0].splitlines()[0]) > 0  # what the snippets before it print
    assert "tell next to nothing" in commands[0]
    assert "Parameters, with 95 % intervals" in commands[1]
    board = capsys.readouterr().out.splitlines()
    assert {row.split()[0] for row in board} == {"random", "popularity", "pctr", "linucb", "dqn"}
    assert all(float(row.split()[1]) > 0 for row in board)


def test_the_table_of_the_example_is_the_file() -> None:
    shown = README.split("```text\n")[1].split("```")[0]
    lines = (ROOT / "examples/shop.csv").read_text()
    assert lines.startswith(shown)
    assert lines.count("\n") == 30


def test_links_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", README):
        assert link.startswith("http") or (ROOT / link).exists(), link


def test_speeds_are_those_of_the_file() -> None:
    speeds = README.partition("## Speed")[2].partition("\n## ")[0]
    shown = [line for line in speeds.splitlines() if re.search(r"\d\] \|$", line)]
    assert len(shown) >= 3
    for line in shown:
        assert line in (ROOT / "benchmarks/results/throughput.md").read_text(), line


def rows(text: str) -> dict[str, list[str]]:
    """Agent -> cells of a table."""
    lines = [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line.startswith("| ")
    ]
    return {cells[0]: cells for cells in lines}


def published(*names: str) -> list[str]:
    """Those of the suites that have committed results."""
    return [name for name in names if (ROOT / f"benchmarks/results/{name}/leaderboard.md").exists()]


@pytest.mark.parametrize("suite", published("core-v1", "slate-v1", "long-v1"))
def test_normalised_scores_are_those_of_the_leaderboards(suite: str) -> None:
    parts = re.split(r"^## ([^\n]+)\n", (ROOT / f"benchmarks/results/{suite}/leaderboard.md").read_text(), flags=re.M)[
        1:
    ]
    overall, *tasks = [
        (name.removesuffix("-v0"), rows(text)) for name, text in zip(parts[::2], parts[1::2], strict=True)
    ]
    head = " | ".join(["| agent | IQM", *[name for name, _ in tasks]]) + " |"
    assert README.count(head) == 1
    shown = rows(README.split(head)[1].partition("\n\n")[0])
    shown.pop("---")
    complete = {name for name, cells in overall[1].items() if name != "agent" and cells[1] not in ("---:", "missing")}
    assert {"best-known\\*", "heuristic", "random"} < set(shown) <= complete
    assert any(name not in ("best-known\\*", "heuristic", "random") for name in shown)
    for agent, cells in shown.items():
        assert cells[1] == overall[1][agent][1]
        assert cells[2:] == [table[agent][2] for _, table in tasks]


def test_speeds_are_those_of_the_committed_run() -> None:
    speed = README.split("\n## Speed\n")[1].split("\n## ")[0]
    shown = [line for line in speed.splitlines() if re.match(r"\| [\w-]+(-v0|: )", line)]
    assert len(shown) >= 3
    measured = (ROOT / "benchmarks/results/throughput.md").read_text().splitlines()
    for line in shown:
        assert any(row.startswith(line) for row in measured), line
