"""What the references earn, and whether planning pays: the domains, which must pass, and the classics, beside papers."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from baselines.agent import Task
from benchmarks.data import lines_of
from benchmarks.files import read_manifest
from benchmarks.metrics import ratio
from benchmarks.packed import read_results
from benchmarks.report import markdown_table, show
from benchmarks.result import Result
from benchmarks.run import run_suite
from benchmarks.suite import Contender, NamedTask, Suite, references, training_seeds
from benchmarks.tables import Section
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import require_option
from recgym.files import write_atomically

GAIN = 1.15  # of the planner over the myopic oracle, and of that over popularity
PAIRS = (("planner", "myopic"), ("myopic", "popularity"))
AGENTS = ("random", "popularity", "myopic", "planner")
SHARES = (("cart", "click"), ("purchase", "cart"))  # of the objectives, where an id has them
UNKNOWN = "–"
REFERENCE_USERS = 2000  # evaluated on each id
Row = dict[str, dict[str, Any]]  # agent -> its numbers on one id


class Published(NamedTuple):
    """A number of somebody else's: of whom, which agent of ours is the same policy ("" if none), and what it measures."""

    id: str
    who: str
    value: str
    agent: str
    measure: str = "return"


SLATEQ = "Ie et al. 2019, 5000 users"
EXACT = "exact, dynamic programme"
SARDINE = "sardine-rec 1.0.8, its own items"
RECOGYM = "recogym 0.1.3, its own products"
PUBLISHED = (
    Published("InterestEvolution-v0", f"random ({SLATEQ})", "159.2", "random"),
    Published("InterestEvolution-v0", f"myopic top-k ({SLATEQ})", "166.3", "myopic"),
    Published("InterestEvolution-v0", f"best learned, SlateQ QL-OT-OS ({SLATEQ})", "174.6", ""),
    Published("LongTermSatisfaction-v0", f"random ({EXACT})", "948.4", "random"),
    Published("LongTermSatisfaction-v0", f"best of ten candidates ({EXACT})", "1116.7", "planner"),
    Published("LongTermSatisfaction-Hard-v0", f"random ({EXACT})", "952.5", "random"),
    Published("LongTermSatisfaction-Hard-v0", f"best of ten candidates ({EXACT})", "1023.9", "planner"),
    Published("Sardine-SingleItem-Static-v0", f"random ({SARDINE})", "8.61", "random"),
    Published("Sardine-SingleItem-Static-v0", f"greedy oracle ({SARDINE})", "100", "myopic"),
    Published("Sardine-SingleItem-BoredInf-v0", f"random ({SARDINE})", "8.94", "random"),
    Published("Sardine-SingleItem-BoredInf-v0", f"greedy oracle ({SARDINE})", "50.63", "myopic"),
    Published("Sardine-SingleItem-Uncertain-v0", f"random ({SARDINE})", "11.46", "random"),
    Published("Sardine-SingleItem-Uncertain-v0", f"greedy oracle ({SARDINE})", "94.93", "myopic"),
    Published("Sardine-SlateTopK-Bored-v0", f"random, distinct items ({SARDINE})", "43.6", "random"),
    Published("Sardine-SlateTopK-Bored-v0", f"greedy oracle ({SARDINE})", "145.3", "myopic"),
    Published("Sardine-SlateTopK-BoredInf-v0", f"random, distinct items ({SARDINE})", "41.6", "random"),
    Published("Sardine-SlateTopK-BoredInf-v0", f"greedy oracle ({SARDINE})", "148.1", "myopic"),
    Published("Sardine-SlateTopK-Uncertain-v0", f"random, distinct items ({SARDINE})", "70.2", "random"),
    Published("Sardine-SlateTopK-Uncertain-v0", f"greedy oracle ({SARDINE})", "138.8", "myopic"),
    Published("Sardine-SlateRerank-Static-v0", f"random, distinct items ({SARDINE})", "14.69", "random"),
    Published("Sardine-SlateRerank-Static-v0", f"greedy oracle ({SARDINE})", "21.34", "myopic"),
    Published("Sardine-SlateRerank-Bored-v0", f"random, distinct items ({SARDINE})", "13.09", "random"),
    Published("Sardine-SlateRerank-Bored-v0", f"greedy oracle ({SARDINE})", "14.09", "myopic"),
    Published("RecoGym-v1", f"random ({RECOGYM})", "1.13 %", "random", "click/step"),
    Published("RecoGym-v1", f"most viewed ({RECOGYM})", "1.79 %", "most viewed", "click/step"),
)


def references_suite(ids: Sequence[str] = ENV_IDS, users: int = REFERENCE_USERS) -> Suite:
    """The four references on the given ids: what `python -m benchmarks references` runs."""
    for id in ids:
        require_option("id", id, ENV_IDS)
    return Suite("references-v0", _tasks(ids), references(), training_seeds(1), users)


def classics_suite(ids: Sequence[str] = CLASSIC_IDS, users: int = REFERENCE_USERS) -> Suite:
    """Random, an informed heuristic where there is one, and the two oracles on the literature's environments."""
    for id in ids:
        require_option("id", id, CLASSIC_IDS)
    named = {name_of(id) for id in ids}
    heuristics = [replace(h, only=tuple(n for n in h.only if n in named)) for h in HEURISTICS]
    planner = Contender("planner", "planner", {"users": 500}, trained=False, users=min(users, CLASSICS_PLANNER_USERS))
    oracles = (planner,
               *(h for h in heuristics if h.only),
               *(Contender(name, name, trained=False) for name in ("myopic", "random")))  # fmt: skip
    return Suite("classics-references-v0", _tasks(ids), oracles, training_seeds(1), users)


def name_of(id: str) -> str:
    """An id without "recgym/"."""
    return id.removeprefix("recgym/")


def _tasks(ids: Sequence[str]) -> tuple[NamedTask, ...]:
    return tuple(NamedTask(name_of(id), Task(id), 0) for id in ids)


def _heuristic(label: str, agent: str, only: Sequence[str], **hyperparameters: Any) -> Contender:
    return Contender(label, agent, hyperparameters, trained=False, only=tuple(only))


CLASSICS_PLANNER_USERS = 300
HEURISTICS = (
    _heuristic("best quality", "ranked", ["InterestEvolution-v0", "InterestExploration-v0"], by="quality"),
    _heuristic("most clickbait", "ranked", ["LongTermSatisfaction-v0", "LongTermSatisfaction-Hard-v0"], by="clickbait"),
    _heuristic("least clickbait", "ranked", ["LongTermSatisfaction-v0", "LongTermSatisfaction-Hard-v0"], by="clickbait",
               descending=False),
    _heuristic("varied topics", "varied", [name_of(id) for id in CLASSIC_IDS if "Bored" in id or "TopK-Uncertain" in id]),
    _heuristic("most viewed", "ranked", ["RecoGym-v1"], by="views"),
)  # fmt: skip


def run_references(
    folder: str | os.PathLike[str],
    ids: Sequence[str] = ENV_IDS,
    users: int = REFERENCE_USERS,
    workers: int | None = 1,
    command: str = "",
    console: Console | None = None,
    fresh: bool = False,
    classics: bool = False,
) -> list[str]:
    """Run the references where they are missing; print the table; write references.json and references.md.

    Args:
        folder: of results and tables. ids: environments. users: evaluation users. workers: see `run_suite`.
        classics: whether the ids are the literature's, with heuristics and published numbers instead of the test.
        command: how to repeat it. console: where to print. fresh: see `run_suite`.

    Returns:
        What is wrong, a line each: a gain too small, or a job that failed.
    """
    console = console or Console()
    folder, suite = Path(folder), classics_suite(ids, users) if classics else references_suite(ids, users)
    run_suite(suite, folder, workers, command, console, fresh)
    rows: dict[str, Row] = {id: {label: describe(result) for label, result in found.items()}
                            for id, found in results_of(suite, folder).items()}  # fmt: skip
    gains = {id: gain(row) for id, row in rows.items()}
    checked = (lambda row: [f"{entry} has no result" for entry in missing(row)]) if classics else check
    wrong = [f"{id}: {line}" for id, row in rows.items() for line in checked(row)]
    sections = _classic_sections(rows) if classics else _sections(rows, gains)
    publish(folder, "references", command, {"references": rows, "gains": gains}, sections, wrong, console)
    return wrong


def results_of(suite: Suite, folder: Path) -> dict[str, dict[str, Result]]:
    """Id -> label -> the result, of a suite with one job for each that has been run into a folder; jobs without one are missing."""
    results: dict[str, dict[str, Result]] = {named.task.id: {} for named in suite.tasks}
    entries = suite.entries()
    found, _ = read_results(folder, [entry.job.key for entry in entries], read_manifest(folder).shared)
    for entry in entries:
        if entry.job.key in found:
            results[entry.job.task.id][entry.label] = found[entry.job.key]
    return results


def publish(folder: Path, name: str, command: str, data: dict[str, Any], sections: Sequence[Section],
            wrong: Sequence[str], console: Console) -> None:  # fmt: skip
    """Write NAME.json with the data, and NAME.md with the sections and a line for each thing that is wrong; print the sections."""
    write_atomically(folder / f"{name}.json", lines_of({"command": command, **data, "wrong": wrong}).encode())
    lines = ["```", command, "```", "", *(line for section in sections for line in markdown_table(section))]
    write_atomically(folder / f"{name}.md", "\n".join([*lines, *(f"- {line}" for line in wrong), ""]).encode())
    for section in sections:
        show(section, console)


def describe(result: Result) -> dict[str, Any]:
    """The numbers of one reference on one id: return, episode length, mean objectives per episode, and their ratios."""
    objectives = result.objectives
    shares = {f"{a}/{b}": objectives[a] / objectives[b] for a, b in SHARES if a in objectives and objectives.get(b)}
    return {
        "return": asdict(result.returns),
        "length": asdict(result.length),
        "objectives": objectives,
        "shares": {"click/step": objectives["click"] / result.length.mean, **shares},
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


def missing(row: Row) -> list[str]:
    """Which of random, myopic and planner have no result."""
    return [agent for agent in ("random", "myopic", "planner") if agent not in row]


def _classic_sections(rows: dict[str, Row]) -> list[Section]:
    returns, beside, far = [], [], []
    for id, row in rows.items():
        name = id.removeprefix("recgym/")
        value = {agent: "{:.2f} ± {:.2f}".format(*_score(row, agent)) for agent in row}
        for agent in row:
            numbers = row[agent]
            steps = f"{numbers['length']['mean']:.1f}"
            returns.append((name, agent, value[agent], steps, f"{numbers['shares']['click/step']:.4f}"))
        best = max(row, key=lambda agent: _score(row, agent)[0], default="")
        for published in PUBLISHED:
            if published.id != name:
                continue
            here = UNKNOWN
            if published.agent in row:
                rate = row[published.agent]["shares"]["click/step"]
                here = value[published.agent] if published.measure == "return" else f"{rate:.2%}"
            beside.append((name, published.who, published.value, here))
            if "learned" in published.who and best:
                ratio_ = _score(row, best)[0] / float(published.value)
                far.append((name, published.who, published.value, f"{best}: {value[best]}", f"{ratio_:.2f}"))
    return [
        Section(
            "Mean return (± standard error)", ("id", "agent", "return", "steps", "clicks per step"), returns, words=2
        ),
        Section("Beside published numbers", ("id", "whose", "published", "here"), beside, words=2),
        Section("What is attainable", ("id", "published learner", "published", "best here", "ratio"), far, words=2),
    ]


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
