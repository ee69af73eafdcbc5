"""What a report shows, read from a results folder: scores with their intervals, tables, and notes on how to read them."""

from __future__ import annotations

import math
import os
import shlex
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.data import is_file
from benchmarks.files import error_file, read_manifest
from benchmarks.metrics import (
    Statistic,
    beaten,
    bootstrap_interval,
    half_width,
    iqm,
    mean,
    normalised,
    standard_error,
    trade_offs,
)
from benchmarks.packed import read_results
from benchmarks.result import Result, evaluated
from benchmarks.suite import SUITES, Job

UNKNOWN = "–"
NOT_RUN = "not run yet"
LEAST = 1e-9  # returns that the 1 of normalised scores must be above random
ONES = ("best-known", "planner")  # agents whose return is the 1, the first of them that a task has
REASON = 500  # characters of why a job failed
# Options that do not change what a command runs: those that take a value, and flags.
WHERE_IT_RAN = ("-o", "--output", "-w", "--workers", "--executor", "--ray-address", "--device", "--only")
HOW_IT_RAN = ("--fresh", "--retry-failed")


@dataclass(frozen=True)
class Cell:
    """The runs of one agent on one task."""

    job: Job  # of the first run
    expected: int  # runs asked for
    results: list[Result]  # those there are
    scores: np.ndarray  # (n,) normalised; empty where a run or a reference is missing
    error: float  # standard error that the scores share, as all runs met the same users

    @property
    def complete(self) -> bool:
        """Whether every run is there."""
        return len(self.results) == self.expected


@dataclass(frozen=True)
class Estimate:
    """A statistic with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        value, low, high = (f"{round(x, 2) + 0.0:.2f}" for x in (self.value, self.low, self.high))  # no -0.00
        return f"{value} [{low}, {high}]"


@dataclass(frozen=True)
class Results:
    """A results folder. Labels are in the order of the leaderboard."""

    suite: str
    command: str
    tasks: list[str]
    labels: list[str]
    cells: dict[tuple[str, str], Cell]  # (task, label) -> runs; not there where the agent does not run on the task
    missing: list[str]  # a line for each job without a result, or for an agent of which nothing has run
    software: list[str]  # a line for each set of versions
    fronts: dict[str, tuple[str, ...]]  # task -> the objectives that agents trade off there
    unscaled: dict[str, str]  # task without reference scores -> what its table says in place of normalised ones
    ones: dict[str, str]  # task -> the agent whose return is the 1 of its normalised scores
    stretch: dict[str, tuple[float, float]]  # task -> training steps of its best known policy, and their late rise

    def estimate(self, label: str, tasks: list[str], statistic: Statistic = iqm) -> Estimate | None:
        """Normalised score of an agent over some tasks; None where anything that it needs is missing."""
        if not self.scored(label, tasks):
            return None
        runs, errors = self.scores(label, tasks)
        low, high = bootstrap_interval(runs, statistic, np.random.default_rng(0), errors)
        return Estimate(float(statistic(runs)), float(low), float(high))

    def scored(self, label: str, tasks: list[str]) -> bool:
        """Whether the agent has normalised scores on all the tasks."""
        return all((task, label) in self.cells and len(self.cells[task, label].scores) for task in tasks)

    def scores(self, label: str, tasks: list[str]) -> tuple[list[np.ndarray], list[float]]:
        """Normalised scores of the agent's runs on each task, and the standard errors that they have in common."""
        cells = [self.cells[task, label] for task in tasks]
        return [cell.scores for cell in cells], [cell.error for cell in cells]

    def on(self, *tasks: str) -> list[str]:
        """Labels of the agents that run on all the tasks."""
        return [label for label in self.labels if all((task, label) in self.cells for task in tasks)]

    def text(self, label: str, tasks: list[str], statistic: Statistic = iqm) -> str:
        """The estimate in words."""
        cells = [self.cells.get((task, label)) for task in tasks]
        if any(cell is not None and not cell.complete for cell in cells):
            return "missing"
        if all(cells) and not self.unscaled.keys().isdisjoint(tasks):
            return next(self.unscaled[task] for task in tasks if task in self.unscaled)
        return str(self.estimate(label, tasks, statistic) or UNKNOWN)

    def title(self, label: str) -> str:
        """The label, with a star where the agent reads the simulator's hidden state."""
        return label + ("*" if self.privileged(label) else "")

    def privileged(self, label: str) -> bool:
        """Whether the agent reads the simulator's hidden state; False where nothing of it has run."""
        found = [r for (_, name), cell in self.cells.items() if name == label for r in cell.results[:1]]
        return bool(found and found[0].privileged)

    def with_old_curves(self) -> list[str]:
        """Labels of agents with learning curves that are not of evaluation episodes."""
        old = {
            name for (_, name), cell in self.cells.items() for r in cell.results if r.curve and not evaluated(r.curve)
        }
        return [label for label in self.labels if label in old]

    def row_command(self, label: str) -> str:
        """What runs the agent's row again; empty where the folder does not say."""
        if self.suite in SUITES:
            return shlex.join(["python", "-m", "benchmarks", "run", self.suite, "--only", label])
        try:
            words = shlex.split(self.command)
        except ValueError:  # an open quote
            return self.command
        if words[2:4] != ["benchmarks", "run"]:
            return self.command
        kept = [w for before, w in zip(["", *words], words) if before not in WHERE_IT_RAN and w not in WHERE_IT_RAN]
        return shlex.join([*(word for word in kept if word not in HOW_IT_RAN), "--only", label])


class Section(NamedTuple):
    """A table of the report."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1  # leading columns of text; the others hold numbers


def read_folder(folder: str | os.PathLike[str]) -> Results:
    """Read what `run_suite` left.

    Raises:
        ConfigError: no results there, or a manifest of another form. A result of another form counts as absent.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    entries = manifest.entries
    found, faults = read_results(folder, [entry.job.key for entry in entries], manifest.shared)
    for fault in faults.values():
        warnings.warn(f"{fault}; it counts as absent", stacklevel=2)
    tasks = list(dict.fromkeys(entry.task for entry in entries))
    labels = list(dict.fromkeys(entry.label for entry in entries))
    pinned = {task: {name: score[0] for name, score in scores.items()} for task, scores in manifest.references.items()}
    fronts = {task: tuple(objectives) for task, objectives in manifest.fronts.items()}
    runs: dict[tuple[str, str], list[Result | None]] = {}
    jobs: dict[tuple[str, str], Job] = {}
    yardsticks: dict[str, dict[str, float]] = {task: {} for task in tasks}
    reasons: dict[str, list[tuple[str, str]]] = {label: [] for label in labels}
    software = {}
    for task, label, job in entries:
        result = found.get(job.key)
        runs.setdefault((task, label), []).append(result)
        jobs.setdefault((task, label), job)
        if result:
            if label in (job.agent, manifest.ones.get(task)):  # not one with settings of its own beside it
                yardsticks[task][label] = result.returns.mean
            software[versions(result)] = None
        else:
            reasons[label].append((f"{task}, {label}, seed {job.seed}", _reason(error_file(folder, job.key))))
    rows = {task: {e.label for e in entries if e.task == task} | pinned.get(task, {}).keys() for task in tasks}
    ones = {task: next((name for name in ONES if name in rows[task]), ONES[-1]) for task in tasks} | manifest.ones
    scales = {task: _scale({**yardsticks[task], **pinned.get(task, {})}, ones[task]) for task in tasks}
    cells = {(task, label): _cell(jobs[task, label], found, scales[task]) for (task, label), found in runs.items()}
    missing = []
    for label, lines in reasons.items():
        expected = sum(cell.expected for (_, name), cell in cells.items() if name == label)
        if len(lines) == expected and all(reason == NOT_RUN for _, reason in lines):
            missing.append(f"{label}: {NOT_RUN} (all {expected} jobs)")
        else:
            missing += [f"{name}: {reason}" for name, reason in lines]
    fronts = {**_trade_offs(cells), **fronts}
    unscaled = {task: scale for task, scale in scales.items() if isinstance(scale, str)}
    stretch = {task: (steps, rise) for task, (steps, rise) in manifest.stretch.items()}
    results = Results(manifest.suite, manifest.command, tasks, labels, cells, missing, list(software), fronts, unscaled,
                      ones, stretch)  # fmt: skip
    if unscaled:  # returns of several tasks cannot be averaged, positions can
        positions = [_by_return(results, task) for task in tasks]
        scores = {label: -np.mean([p.index(label) for p in positions if label in p]) for label in labels}
    else:
        estimates = {label: results.estimate(label, tasks) for label in labels}
        scores = {label: found.value if found else -np.inf for label, found in estimates.items()}
    labels.sort(key=lambda label: -scores[label])
    return results


def versions(result: Result) -> str:
    """What a result was made with, in words."""
    return ", ".join(f"{name} {version}" for name, version in result.software.items() if version != "none")


def _reason(error: Path) -> str:
    if not is_file(error):
        return NOT_RUN
    lines = error.read_text("utf-8", errors="replace").strip().splitlines()
    last = "".join(c if c.isprintable() else "?" for c in lines[-1][:REASON]) if lines else "no reason given"
    return f"failed: {last} (see {error.name})"


def _trade_offs(cells: dict[tuple[str, str], Cell]) -> dict[str, tuple[str, ...]]:
    """Task -> the objectives that its agents have weights for."""
    fronts: dict[str, dict[str, None]] = {}
    for (task, _), cell in cells.items():
        weights = cell.job.hyperparameters.get("objective_weights")
        if isinstance(weights, dict):
            fronts.setdefault(task, {}).update(dict.fromkeys(weights))
    return {task: tuple(objectives) for task, objectives in fronts.items()}


def _scale(yardsticks: dict[str, float], one: str) -> tuple[float, float] | str:
    """What random and the agent of the 1 earn, or why there is no scale between them."""
    for name in (one, "random"):
        if name not in yardsticks:
            return f"no {name}: not normalised"
    random, best = yardsticks["random"], yardsticks[one]
    return (random, best) if best - random > LEAST else f"{one} not above random: not normalised"


def _cell(job: Job, found: list[Result | None], scale: tuple[float, float] | str) -> Cell:
    results = [result for result in found if result]
    scores, error = np.zeros(0), 0.0
    if len(results) == len(found) and not isinstance(scale, str):
        random, best = scale
        scores = normalised([result.returns.mean for result in results], random, best)
        error = _user_error(results) / (best - random)
    return Cell(job, len(found), results, scores, error)


def _user_error(results: Sequence[Result]) -> float:
    return float(np.mean([result.returns.se for result in results]))


def sections(results: Results) -> list[Section]:
    """All tables of the report."""
    rows = []
    for label in results.on(*results.tasks):
        cells = [results.cells[task, label] for task in results.tasks]
        there, expected = sum(len(cell.results) for cell in cells), sum(cell.expected for cell in cells)
        texts = [results.text(label, results.tasks, statistic) for statistic in (iqm, mean)]
        rows.append((results.title(label), *texts, f"{there} of {expected}"))
    # An agent that does not run on all tasks has no score over all tasks.
    out = [Section("All tasks, normalised score", ("agent", "IQM", "mean", "runs"), rows)] if rows else []
    header = ("agent", "return", "normalised", "length", "trained", "seconds")
    for task in results.tasks:
        out.append(Section(task, header, [task_row(results, task, label) for label in ranked(results, task)]))
    return out + [front_section(results, task) for task in results.tasks if len(results.fronts.get(task, ())) == 2]


class Front(NamedTuple):
    """What agents have of the two objectives of a task that are traded off; "beyond": beyond their 95 % intervals.

    Args:
        names: of the objectives. families: agent -> labels of its rows. means, reach: label -> (2,) mean of each objective
            and half the width of its interval, which is infinite where it is not known.
    """

    names: tuple[str, ...]
    families: dict[str, list[str]]
    means: dict[str, np.ndarray]
    reach: dict[str, np.ndarray]

    def unbeaten(self, labels: list[str]) -> set[str]:
        """Those of the labels that no other of them beats beyond, see `metrics.beaten`."""
        off = beaten(*self._of(labels))
        return {label for label, lost in zip(labels, off) if not lost}

    def trade_offs(self, labels: list[str]) -> list[str]:
        """The most of the labels that are trade-offs beyond of one another, see `metrics.trade_offs`."""
        return [labels[i] for i in trade_offs(*self._of(labels))]

    def _of(self, labels: list[str]) -> tuple[np.ndarray, np.ndarray]:
        return tuple(np.array([found[label] for label in labels]).reshape(-1, 2) for found in (self.means, self.reach))  # type: ignore[return-value]


def front(results: Results, task: str) -> Front:
    """The front of a task of two objectives; rows that are not complete, or lack an objective, are left out."""
    found = Front(results.fronts[task], {}, {}, {})
    for label in results.on(task):
        cell = results.cells[task, label]
        if not cell.complete or not all(name in r.objectives for r in cell.results for name in found.names):
            continue
        runs = np.array([[r.objectives[name] for name in found.names] for r in cell.results])
        errors = [[r.objectives_se[name] for name in found.names] for r in cell.results if r.objectives_se]
        known = len(errors) == len(runs)
        users = np.mean(errors, axis=0) if known else np.full(2, np.inf)
        found.families.setdefault(cell.job.agent, []).append(label)
        found.means[label] = runs.mean(axis=0)
        found.reach[label] = np.array([half_width(x, error) if known else np.inf for x, error in zip(runs.T, users)])
    return found


def front_section(results: Results, task: str) -> Section:
    """What agents have of the two objectives of a task that are traded off, and which of them no other beats."""
    found = front(results, task)
    everywhere, rows = found.unbeaten([*found.means]), []
    for labels in found.families.values():
        own, mutual = found.unbeaten(labels), found.trade_offs(labels)
        for label in labels:
            known, alone = np.isfinite(found.reach[label]).all(), len(labels) == 1
            texts = [f"{mean:.4g} ± {reach:.2g}" if known else f"{mean:.4g}"
                     for mean, reach in zip(found.means[label], found.reach[label])]  # fmt: skip
            answers = [UNKNOWN if not known or (alone and where is not everywhere) else "yes" if label in where else "no"
                       for where in (mutual, own, everywhere)]  # fmt: skip
            rows.append((results.title(label), *texts, *answers))
    title = f"{task}: {found.names[0]} against {found.names[1]} (± half a 95 % interval)"
    return Section(title, ("agent", *found.names, "trade-off", "unbeaten by the same agent", "unbeaten by all"), rows)


def ranked(results: Results, task: str) -> list[str]:
    """Labels of the agents that run on the task: in the order of the leaderboard, or by return where the task has no
    normalised scores, or where some agents do not run on all tasks and so have no position on the leaderboard.
    """
    labels, overall = results.on(task), results.on(*results.tasks)
    return labels if set(labels) <= set(overall) and task not in results.unscaled else _by_return(results, task)


def _by_return(results: Results, task: str) -> list[str]:
    labels = results.on(task)
    returns = {label: [r.returns.mean for r in results.cells[task, label].results] for label in labels}
    return sorted(labels, key=lambda label: -float(np.mean(returns[label])) if returns[label] else np.inf)


def task_row(results: Results, task: str, label: str) -> tuple[str, ...]:
    """A row of a task's table: agent, return, normalised score, length, training steps and seconds."""
    cell = results.cells[task, label]
    if not cell.complete:
        count = f"missing {cell.expected - len(cell.results)} of {cell.expected}"
        return (results.title(label), count, "missing", *[UNKNOWN] * 3)
    returns = [result.returns.mean for result in cell.results]
    error = math.hypot(standard_error(returns), _user_error(cell.results))
    steps = cell.results[0].job.steps
    seconds = np.mean([result.cost["train_seconds"] for result in cell.results])
    return (
        results.title(label),
        f"{np.mean(returns):.2f} ± {error:.2f}",
        results.text(label, [task]),
        f"{np.mean([result.length.mean for result in cell.results]):.1f}",
        f"{steps:,}" if steps else UNKNOWN,
        f"{seconds:,.0f}" if steps else UNKNOWN,
    )


def _one(results: Results) -> str:
    names = {"best-known": "the best known policy", "planner": "the planner"}
    if {*results.ones.values()} - {*ONES}:  # a suite that names them
        return "; ".join(f"{task}: {names.get(label, label)}" for task, label in results.ones.items())
    found = [names[name] for name in ONES if name in results.ones.values()]
    return found[0] if len(found) == 1 else f"{found[0]}, or {found[1]} where that is not a row"


def _front_notes(results: Results) -> list[str]:
    """How to read the tables of fronts, and how many rows of each agent trade off one objective for the other."""
    lines = []
    for task in results.tasks:
        if len(results.fronts.get(task, ())) != 2:
            continue
        found = front(results, task)
        for labels in found.families.values():
            if len(labels) > 1:
                mutual = found.trade_offs(labels)
                lines.append(
                    f"{task}: {len(mutual)} of {len(labels)} rows of {results.cells[task, labels[0]].job.agent} are trade-offs "
                    f"of one another: {', '.join(mutual)}."
                )
    if not lines:
        return []
    return [
        "Fronts: a row beats another if it has no less of both objectives and the 95 % intervals are apart in one. Two rows "
        "are a trade-off if each has more of one objective, the intervals apart in both; the column has the most rows of "
        "an agent of which any two are.",
        *lines,
    ]


def notes(results: Results) -> list[str]:
    """How to read the tables, and what is missing from them."""
    seeds = max(cell.expected for cell in results.cells.values())
    old = results.with_old_curves()
    spread = "users (one seed: not over training runs)" if seeds == 1 else f"users and {seeds} training seeds"
    return [
        f"Normalised score: 0 is the random agent, 1 {_one(results)}. *: reads the simulator's hidden state.",
        f"[low, high]: 95 % bootstrap interval, stratified over tasks; ±: standard error. Both over {spread}.",
        "Length: mean steps per episode. Trained: user-steps per run. Seconds: of training, per run.",
        *(
            f"The best known policy of {task} was trained for {steps:,.0f} steps; over the last fifth of them its return "
            f"{'fell' if rise < 0 else 'rose'} by {abs(rise):.1%}."
            for task, (steps, rise) in results.stretch.items()
        ),
        *_front_notes(results),
        *(f"Missing: {line}" for line in results.missing),
        *(
            [
                f"Learning curves of version 0.1 show the reward per step while training; they cannot be compared and are not drawn: {', '.join(old)}."
            ]
            if old
            else []
        ),
        *(f"Run with: {line}." for line in results.software),
        *(["The results come from different versions: compare with care."] if len(results.software) > 1 else []),
    ]
