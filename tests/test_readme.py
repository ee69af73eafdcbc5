"""What the README shows is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_every_snippet_runs(capsys: pytest.CaptureFixture[str]) -> None:
    snippets = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(snippets) >= 4
    names: dict[str, Any] = {"__name__": "readme"}
    for snippet in snippets:
        exec(compile(snippet, "README.md", "exec"), names)
    assert float(capsys.readouterr().out) > 0


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
