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


def test_the_results_are_those_of_the_files() -> None:
    """Every row of the README's tables stands in a committed table."""
    table = [line for line in README.splitlines() if line.startswith("| ") and "±" in line]
    folders = ("core-v0", "slate-v0", "long-v0", "slateq-v0", "sardine")
    files = [*(f"{folder}/leaderboard.md" for folder in folders), "references-classics/references.md"]
    source = "".join((ROOT / "benchmarks/results" / file).read_text() for file in files)
    assert table
    for line in table:
        assert line in source, line
