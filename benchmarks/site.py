"""All results as a static site that needs no network: `python -m benchmarks site`.

    <folder>/index.html         the suites, what each asks, who is best; all agents beside each other
    <folder>/suite-NAME.html    the page that `report` writes, whose tables can be sorted and filtered
    <folder>/agent-NAME.html    an agent: its rows, learning curves, hyper-parameters, commands and versions
    <folder>/submit.html        how to submit results, and how they are checked

Each page has all that it needs in itself. Without its script, which sorts and filters, it shows the same. Results are
data: of agents that are not recgym's own no code is loaded.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import math
import os
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, NamedTuple

from baselines.registry import REGISTRY, agent_class
from benchmarks import check
from benchmarks.data import require_writable
from benchmarks.files import PUBLISHED
from benchmarks.page import TASK_HEADER, Chart, Rows, content, curves_chart, render, styles_of, task_rows
from benchmarks.suite import SUITES, Job
from benchmarks.tables import UNKNOWN, Cell, Results, read_folder, versions
from recgym.errors import ConfigError, require
from recgym.files import write_atomically

BEST = 3  # agents that the card of a suite names
ABOUT = {  # what the published folders ask that are of no suite's
    "audit-v1": "whether the domains are worth solving: yardsticks beside rules of one line",
    "classics-references-v0": "what oracles earn in the environments of the literature",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Board:
    """A results folder on the site: what it is called, the file of its page, and its results."""

    title: str
    file: str
    results: Results

    @property
    def about(self) -> str:
        """What it asks, in a few words; empty where nobody says."""
        suite = SUITES.get(self.results.suite.partition("+")[0])
        return suite.about if suite else ABOUT.get(self.results.suite, "")

    @property
    def jobs(self) -> str:
        """How many of its jobs have a result."""
        cells = self.results.cells.values()
        return f"{sum(len(cell.results) for cell in cells)} of {sum(cell.expected for cell in cells)} jobs done"

    @cached_property
    def rows(self) -> dict[str, dict[str, tuple[str, ...]]]:
        """Task -> label -> the agent's row, see `task_rows`."""
        return {task: task_rows(self.results, task) for task in self.results.tasks}

    @cached_property
    def best(self) -> list[tuple[str, list[tuple[str, str]]]]:
        """The best agents that read no hidden state, random aside, and their scores: over all tasks, under "", or by task."""
        results = self.results
        overall = self._competing(results.on(*results.tasks), results.tasks)
        if overall and not results.unscaled:
            return [("", [(label, results.text(label, results.tasks)) for label in overall[:BEST]])]
        found = []
        for task, rows in self.rows.items():
            labels = self._competing([*rows], [task])[: BEST if len(results.tasks) == 1 else 1]
            column = 1 if task in results.unscaled else 2
            found.append((task, [(label, rows[label][column]) for label in labels]))
        return [(task, labels) for task, labels in found if labels]

    def _competing(self, labels: Iterable[str], tasks: Sequence[str]) -> list[str]:
        """Those that learned from what a platform sees, or follow a rule over it, and whose runs are all there."""
        cells = {label: [self.results.cells[task, label] for task in tasks] for label in labels}
        return [
            label
            for label, own in cells.items()
            if all(cell.complete and cell.job.agent != "random" for cell in own) and not self.results.privileged(label)
        ]


class Row(NamedTuple):
    """A row of an agent: where it stands, what it is called there, and its runs by task."""

    board: Board
    label: str
    cells: dict[str, Cell]

    @property
    def job(self) -> Job:
        """The first of its jobs."""
        return next(iter(self.cells.values())).job


@dataclasses.dataclass(frozen=True)
class Agent:
    """An agent by its name in jobs, the file of its page, and its rows."""

    name: str
    file: str
    rows: list[Row]

    @property
    def title(self) -> str:
        """The name, with a star where all of its rows that have run read the simulator's hidden state."""
        ran = [row for row in self.rows if any(cell.results for cell in row.cells.values())]
        return self.name + ("*" if ran and all(row.board.results.privileged(row.label) for row in ran) else "")

    def best(self, board: Board) -> str | None:
        """Label of its best row that is on all tasks of a board; None where there is none."""
        results = board.results
        whole = [row.label for row in self.rows if row.board is board and len(row.cells) == len(results.tasks)]
        return next((label for label in whole if results.scored(label, results.tasks)), whole[0] if whole else None)

    def score(self, board: Board) -> str:
        """The score of its best row over all tasks of a board, in words."""
        results, label = board.results, self.best(board)
        if label:
            complete = all(results.cells[task, label].complete for task in results.tasks)
            if complete and results.unscaled:
                return "not normalised"
            star = "*" if results.privileged(label) and self.title == self.name else ""
            return results.text(label, results.tasks) + star
        there = max((len(row.cells) for row in self.rows if row.board is board), default=0)
        return f"on {there} of {len(results.tasks)} tasks" if there else UNKNOWN

    def rank(self, boards: Iterable[Board]) -> tuple[float, ...]:
        """What sorts agents by their scores on the first board, then on the next."""
        found = [(board.results, self.best(board)) for board in boards]
        estimates = [results.estimate(label, results.tasks) if label else None for results, label in found]
        return tuple(-estimate.value if estimate else math.inf for estimate in estimates)


class About(NamedTuple):
    """What the code of an agent says: its docstring, in a first paragraph and the rest, and its hyper-parameters' defaults."""

    summary: str
    rest: str
    defaults: dict[str, Any]


def site(output: str | os.PathLike[str], folders: Sequence[str | os.PathLike[str]] = ()) -> list[Path]:
    """Write the site of some results folders.

    Args:
        output: the folder of the site. folders: of results; empty: all published ones.

    Returns:
        The files, the index first.

    Raises:
        ConfigError: a folder without results, or an output that cannot be written. Then nothing is written.
    """
    output = Path(output)
    require_writable("output", output)
    places = [Path(place) for place in folders] or sorted(path.parent for path in PUBLISHED.glob("*/suite.json"))
    require(places, "folders", "must be of results", str(PUBLISHED))
    pages = site_pages(boards_of(places))  # all, before any is written
    for name, text in pages.items():
        write_atomically(output / name, text.encode())
    return [output / name for name in pages]


def boards_of(folders: Iterable[Path]) -> list[Board]:
    """Results folders in the order of the site: published suites first.

    Raises:
        ConfigError: a folder without results.
    """
    found, titles, names = [], set(), set()
    for folder in folders:
        results, place = read_folder(folder), Path(os.path.abspath(folder)).name
        title = place if results.suite.startswith("custom") else results.suite
        if title in titles:
            title = f"{title} ({place})"
        titles.add(title)
        found.append(Board(title, _file("suite", title, names), results))
    order = [*SUITES]
    found.sort(key=lambda board: order.index(board.title) if board.title in order else len(order))
    return found


def agents_of(boards: Iterable[Board]) -> list[Agent]:
    """The agents of all boards, recgym's own first, in the order of `python -m benchmarks list`."""
    rows: dict[str, list[Row]] = {name: [] for name in REGISTRY}
    for board in boards:
        cells: dict[tuple[str, str], dict[str, Cell]] = {}
        for (task, label), cell in board.results.cells.items():
            cells.setdefault((label, cell.job.agent), {})[task] = cell
        order = board.results.labels.index
        for (label, name), found in sorted(cells.items(), key=lambda pair: order(pair[0][0])):
            rows.setdefault(name, []).append(Row(board, label, found))
    names: set[str] = set()
    return [Agent(name, _file("agent", name, names), found) for name, found in rows.items() if found]


def _file(kind: str, title: str, taken: set[str]) -> str:
    """A file name of letters, digits and hyphens that is not taken, and now is."""
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60] or "unnamed"
    name, number = f"{kind}-{slug}.html", 1
    while name in taken:
        number += 1
        name = f"{kind}-{slug}-{number}.html"
    taken.add(name)
    return name


def site_pages(boards: Sequence[Board]) -> dict[str, str]:
    """The pages, as HTML, by file name."""
    agents = agents_of(boards)
    script = resources("benchmarks").joinpath("templates", "site.js").read_text("utf-8")
    pages = {"index.html": render("index.html", script, **_index(boards, agents))}
    for board in boards:
        links = {
            board.results.title(row.label): agent.file for agent in agents for row in agent.rows if row.board is board
        }
        shown = {**content(board.results), "title": board.title, "about": board.about, "links": links}
        pages[board.file] = render("page.html", script, **shown)
    for agent in agents:
        pages[agent.file] = render("agent.html", script, **_agent(agent))
    pages["submit.html"] = render("submit.html", script, **_submit())
    return pages


def _index(boards: Sequence[Board], agents: Sequence[Agent]) -> dict[str, Any]:
    ordered = sorted(agents, key=lambda agent: agent.rank(boards))
    rows = [(agent.title, *(agent.score(board) for board in boards)) for agent in ordered]
    there = {board.results.suite for board in boards}
    return {
        "boards": boards,
        "tasks": sorted({task for board in boards for task in board.results.tasks}),
        "agents": Rows(
            "Normalised score of each agent's best row", ("agent", *(board.title for board in boards)), rows
        ),
        "waiting": [suite for name, suite in SUITES.items() if name not in there],
        "links": {agent.title: agent.file for agent in agents},
    }


# The page of an agent


def _agent(agent: Agent) -> dict[str, Any]:
    code = about(agent.name) if agent.name in REGISTRY else None
    rows, charts, software = [], [], {}
    for row in agent.rows:
        results = row.board.results
        for task in row.cells:
            cell, (_, *texts) = row.cells[task], row.board.rows[task][row.label]
            count = f"{len(cell.results)} of {cell.expected}"
            rows.append((row.board.title, results.title(row.label), task, *texts, count))
            for result in cell.results:
                software.setdefault(versions(result), {})[row.board.title] = None
    for board in dict.fromkeys(row.board for row in agent.rows):
        charts += _curves(board, [row.label for row in agent.rows if row.board is board])
    return {
        "agent": agent,
        "code": code,
        "privileged": any(row.board.results.privileged(row.label) for row in agent.rows),
        "tasks": list(dict.fromkeys(row[2] for row in rows)),
        "rows": Rows(f"{agent.name} on every suite and task", ("suite", "row", "task", *TASK_HEADER, "runs"), rows, words=3),
        "charts": charts,
        "parameters": _parameters(code, agent) if code else None,
        "commands": [
            (row.board.title, row.board.results.title(row.label), _json(row.job.hyperparameters),
             row.board.results.row_command(row.label)) for row in agent.rows
        ],
        "software": [(line, list(titles)) for line, titles in software.items()],
        "links": {row.board.title: row.board.file for row in agent.rows},
    }  # fmt: skip


def _curves(board: Board, labels: Sequence[str]) -> list[Chart]:
    results, charts = board.results, []
    for task in results.tasks:
        for chart in curves_chart(results, task, labels, styles_of(results)):
            charts.append(dataclasses.replace(chart, title=f"{board.title}: {task}"))
    return charts


def about(name: str) -> About | None:
    """What the code of one of recgym's own agents says; None where what it needs is not installed."""
    try:
        found = agent_class(name)
    except ConfigError:
        return None
    summary, _, rest = (inspect.getdoc(found) or "").partition("\n\n")
    fields = [field for field in dataclasses.fields(found) if field.init] if dataclasses.is_dataclass(found) else []
    defaults = {
        field.name: field.default_factory() if callable(field.default_factory) else field.default for field in fields
    }
    return About(" ".join(summary.split()), rest, defaults)


def _parameters(code: About, agent: Agent) -> Rows:
    """Defaults, and what the rows have instead."""
    rows = []
    for name, default in code.defaults.items():
        others: dict[str, list[str]] = {}
        for row in agent.rows:
            if name in row.job.hyperparameters:
                value = _json(row.job.hyperparameters[name])
                others.setdefault(value, []).append(f"{row.board.title}, {row.label}")
        texts = [f"{value} ({'; '.join(where)})" for value, where in others.items()]
        rows.append((name, _json(default), "\n".join(texts) or UNKNOWN))
    return Rows("Defaults, and what rows have instead", ("name", "default", "in the rows"), rows, words=3)


def _json(value: Any) -> str:
    return json.dumps(value, default=str, ensure_ascii=False)


# How to submit


def _submit() -> dict[str, Any]:
    return {"check": check, "suites": list(SUITES.values())}
