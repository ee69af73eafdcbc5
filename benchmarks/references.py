"""The table that every environment must pass: what the four references earn, and whether planning pays."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from baselines.agent import write_atomically
from benchmarks.metrics import ratio
from benchmarks.report import Section, markdown_table, show
from benchmarks.run import read_result, run_suite, write_json
from benchmarks.suite import REFERENCE_USERS, references_suite
from recgym import ENV_IDS

GAIN = 1.15  # of the planner over the myopic oracle, and of that over popularity
PAIRS = (("planner", "myopic"), ("myopic", "popularity"))
AGENTS = ("random", "popularity", "myopic", "planner")
SHARES = (("cart", "click"), ("purchase", "cart"))  # of the objectives, where an id has them
UNKNOWN = "–"
Row = dict[str, dict[str, Any]]  # agent -> its numbers on one id


def run_references(
    folder: str | os.PathLike[str],
    ids: Sequence[str] = ENV_IDS,
    users: int = REFERENCE_USERS,
    workers: int = 1,
    command: str = "",
    console: Console | None = None,
    fresh: bool = False,
) -> list[str]:
    """Run the references where they are missing; print the table; write references.json and references.md.

    Args:
        folder: of results and tables. ids: environments. users: evaluation users. workers: see `run_suite`.
        command: how to repeat it. console: where to print. fresh: see `run_suite`.

    Returns:
        What is wrong, a line each: a gain too small, or a job that failed.
    """
    console = console or Console()
    folder, suite = Path(folder), references_suite(ids, users)
    run_suite(suite, folder, workers, command, console, fresh)
    rows: dict[str, Row] = {id: {} for id in ids}
    for entry in suite.entries():
        result = read_result(folder, entry.job.key)
        if result:
            rows[entry.job.task.id][entry.label] = describe(result)
    gains = {id: gain(row) for id, row in rows.items()}
    wrong = [f"{id}: {line}" for id, row in rows.items() for line in check(row)]
    sections = _sections(rows, gains)
    write_json(folder / "references.json", {"command": command, "references": rows, "gains": gains, "wrong": wrong})
    lines = ["```", command, "```", "", *(line for section in sections for line in markdown_table(section))]
    write_atomically(folder / "references.md", "\n".join([*lines, *(f"- {line}" for line in wrong), ""]).encode())
    for section in sections:
        show(section, console)
    return wrong


def describe(result: dict[str, Any]) -> dict[str, Any]:
    """The numbers of one reference on one id: return, episode length, mean objectives an episode, and their ratios."""
    objectives = result["objectives"]
    shares = {f"{a}/{b}": objectives[a] / objectives[b] for a, b in SHARES if a in objectives and objectives.get(b)}
    return {
        "return": result["return"],
        "length": result["length"],
        "objectives": objectives,
        "shares": {"click/step": objectives["click"] / result["length"]["mean"], **shares},
    }


def gain(row: Row) -> dict[str, list[float]]:
    """Ratios of mean returns with their standard errors; left out where a result is missing or the divisor is <= 0."""
    score = {agent: _score(row, agent) for agent in row}
    pairs = [(a, b) for a, b in PAIRS if a in score and b in score and score[b][0] > 0]
    return {f"{a}/{b}": list(ratio(*score[a], *score[b])) for a, b in pairs}


def _score(row: Row, agent: str) -> tuple[float, float]:
    return row[agent]["return"]["mean"], row[agent]["return"]["se"]


def check(row: Row) -> list[str]:
    """What breaks planner >= 1.15 myopic >= 1.15 popularity > random on one id, a line each."""
    lines = [f"{agent} has no result" for agent in AGENTS if agent not in row]
    if lines:
        return lines
    random, popularity, myopic, planner = (row[agent]["return"]["mean"] for agent in AGENTS)
    if planner < GAIN * myopic:
        lines.append(f"planner {planner:.3f} is below {GAIN} x myopic {myopic:.3f}")
    if myopic < GAIN * popularity:
        lines.append(f"myopic {myopic:.3f} is below {GAIN} x popularity {popularity:.3f}")
    if popularity <= random:
        lines.append(f"popularity {popularity:.3f} is not above random {random:.3f}")
    return lines


def _sections(rows: dict[str, Row], gains: dict[str, dict[str, list[float]]]) -> list[Section]:
    def value(pair: Sequence[float] | None) -> str:
        return f"{pair[0]:.2f} ± {pair[1]:.2f}" if pair else "missing"

    names = {id: id.removeprefix("recgym/") for id in rows}
    returns, ratios, behaviour = [], [], []
    shares = ("click/step", *(f"{a}/{b}" for a, b in SHARES))
    for id, row in rows.items():
        returns.append((names[id], *(value(_score(row, agent) if agent in row else None) for agent in AGENTS)))
        found = [value(gains[id].get(f"{a}/{b}")) for a, b in PAIRS]
        ratios.append((names[id], *found, "no" if check(row) else "yes"))
        for agent, numbers in row.items():
            texts = [f"{numbers['shares'][name]:.1%}" if name in numbers["shares"] else UNKNOWN for name in shares]
            behaviour.append((names[id], agent, *texts, f"{numbers['length']['median']:g}"))
    return [
        Section("Mean return", ("id", *AGENTS), returns),
        Section("Gains (± by the delta method)", ("id", *(f"{a}/{b}" for a, b in PAIRS), "passes"), ratios),
        Section("Behaviour (length: median steps)", ("id", "agent", *shares, "length"), behaviour, words=2),
    ]
