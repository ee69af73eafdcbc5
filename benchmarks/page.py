"""The report as one HTML page that needs nothing beside it: no script, no request; pictures are inline SVG.

Colours of lines are CSS variables and all else in a picture is the colour of the text, so that both are legible in
light and in dark mode. The jinja2 templates are in `benchmarks/templates`; `benchmarks.site` makes its pages of the same
ones.
"""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any

import jinja2
import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from benchmarks.metrics import (
    bootstrap_interval,
    hypervolume,
    iqm,
    mean,
    optimality_gap,
    pareto_front,
    performance_profile,
    probability_of_improvement,
    standard_error,
    steps_to_reach,
)
from benchmarks.result import evaluated
from benchmarks.run import CURVE_USERS
from benchmarks.tables import UNKNOWN, Cell, Estimate, Results, front_section, notes, ranked, task_row

INK = "#010101"  # what becomes currentColor
COLOURS = tuple(f"#0{i}0{i}fe" for i in range(8))  # what become the CSS variables --c0, --c1, ...
DASHES = ("-", "--", ":", "-.")  # for the 9th to 16th line, and so on
MARKS = "osD^vPX*"
SHAPES = {  # the marks in a legend
    "o": '<circle cx="6" cy="6" r="4"/>',
    "s": '<rect x="2" y="2" width="8" height="8"/>',
    "D": '<path d="M6 1 11 6 6 11 1 6z"/>',
    "^": '<path d="M6 1 11 10H1z"/>',
    "v": '<path d="M6 11 11 2H1z"/>',
    "P": '<path d="M4 1h4v3h3v4H8v3H4V8H1V4h3z"/>',
    "X": '<path d="M3 1 6 4 9 1l2 2-3 3 3 3-2 2-3-3-3 3-2-2 3-3-3-3z"/>',
    "*": '<path d="M6 0 8 4h4L9 7l1 5-4-3-4 3 1-5-3-3h4z"/>',
}
SIZE = (4.6, 3.0)  # of a picture, in units of 72 CSS pixels; a phone shows it at about this size
LEVELS = 201  # thresholds of a performance profile
HALF = 0.5  # sample efficiency: steps to this share of what the best learner gains


@dataclass(frozen=True)
class Chart:
    """A picture with its words."""

    title: str
    svg: str
    about: str = ""
    legend: tuple[tuple[str, str], ...] = ()  # (label, SVG of a line as it is drawn)


@dataclass(frozen=True)
class Rows:
    """A table: its caption, its header, and rows whose first cell names them."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]
    words: int = 1  # leading columns of text; the others hold numbers


def page(results: Results) -> str:
    """The page, as HTML."""
    return render("page.html", **content(results))


def render(template: str, script: str = "", **values: Any) -> str:
    """A page of one of the templates, as HTML, in which all values are text.

    Args:
        template: its file in `benchmarks/templates`. script: of a page of the site; the page runs no other, and loads
            nothing. values: what the template shows.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("benchmarks", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    if script:
        policy += f"; script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'"
    known = {"site": bool(script), "links": {}, **values}
    return environment.get_template(template).render(script=Markup(script), policy=policy, **known)


def content(results: Results) -> dict[str, Any]:
    """What `page.html` shows of a results folder."""
    overall = results.on(*results.tasks)
    scored = [label for label in overall if results.scored(label, results.tasks)]
    styles = styles_of(results)
    cells = results.cells.values()
    return {
        "title": results.suite,
        "about": "",
        "results": results,
        "done": sum(len(cell.results) for cell in cells),
        "expected": sum(cell.expected for cell in cells),
        "leaderboard": _leaderboard(results, overall) if overall else None,
        "charts": _overall_charts(results, scored, styles),
        "matrix": _matrix(results, scored) if len(scored) > 1 else None,
        "tasks": [(task, _task_tables(results, task), _task_charts(results, task, styles)) for task in results.tasks],
        "costs": _cost_table(results),
        "notes": [note for note in notes(results) if not note.startswith(("Missing", "Run with"))],
        "commands": [(results.title(label), results.row_command(label)) for label in results.labels],
    }


@dataclass(frozen=True)
class Style:
    """How an agent is drawn in every picture, by its position on the leaderboard."""

    position: int

    @property
    def colour(self) -> str:
        """Colour of line and mark."""
        return COLOURS[self.position % len(COLOURS)]

    @property
    def dash(self) -> str:
        """Dashes of the line."""
        return DASHES[self.position // len(COLOURS) % len(DASHES)]

    @property
    def mark(self) -> str:
        """Mark of a point."""
        return MARKS[self.position % len(MARKS)]

    @property
    def drawn(self) -> dict[str, Any]:
        """Colour of what is drawn of the agent, and the name by which `_themed` marks it."""
        return {"color": self.colour, "gid": f"agent-{self.position}"}


def styles_of(results: Results) -> dict[str, Style]:
    """How each agent is drawn, by label."""
    return {label: Style(i) for i, label in enumerate(results.labels)}


# Tables


def _leaderboard(results: Results, labels: Sequence[str]) -> Rows:
    rows = []
    for label in labels:
        cells = [results.cells[task, label] for task in results.tasks]
        count = f"{sum(len(cell.results) for cell in cells)} of {sum(cell.expected for cell in cells)}"
        texts = [results.text(label, results.tasks, statistic) for statistic in (iqm, mean, optimality_gap)]
        seconds = _train_seconds(cells)
        rows.append((results.title(label), *texts, count, f"{seconds:,.0f}" if seconds else UNKNOWN))
    header = ("agent", "IQM", "mean", "optimality gap", "runs", "training seconds per run")
    return Rows("Normalised score over all tasks", header, rows)


def _train_seconds(cells: Iterable[Cell]) -> float:
    """Mean training time of a run, in seconds; 0 where nothing was trained."""
    times = [r.cost["train_seconds"] for cell in cells for r in cell.results if r.job.steps]
    return float(np.mean(times)) if times else 0.0


def _matrix(results: Results, labels: Sequence[str]) -> dict[str, Any]:
    """Probability of improvement of each agent (row) on each other (column), with its interval."""
    rows = []
    for a in labels:
        cells = []
        for b in labels:
            found = None if a == b else _improvement(results, a, b)
            cells.append(found and {"value": f"{found.value:.2f}", "range": f"{found.low:.2f}–{found.high:.2f}"})
        rows.append((results.title(a), cells))
    return {"header": [results.title(label) for label in labels], "rows": rows}


def _improvement(results: Results, a: str, b: str) -> Estimate:
    n = len(results.tasks)
    (x, x_errors), (y, y_errors) = (results.scores(label, results.tasks) for label in (a, b))
    value = probability_of_improvement(x, y)
    ends = bootstrap_interval(
        [*x, *y],
        lambda runs: probability_of_improvement(runs[:n], runs[n:]),
        np.random.default_rng(0),
        [*x_errors, *y_errors],
        resamples=500,
    )
    return Estimate(float(value), *(float(np.clip(end, 0, 1)) for end in ends))


TASK_HEADER = ("return", "normalised", "length", "trained", "seconds", f"steps to {HALF:.0%}")  # after the agent


def task_rows(results: Results, task: str) -> dict[str, tuple[str, ...]]:
    """Label -> the agent's row on the task: its title, and what `TASK_HEADER` names."""
    efficiency = _sample_efficiency(results, task)
    return {label: (*task_row(results, task, label), efficiency[label]) for label in ranked(results, task)}


def _task_tables(results: Results, task: str) -> list[Rows]:
    tables = [Rows(f"Agents on {task}", ("agent", *TASK_HEADER), [*task_rows(results, task).values()])]
    if len(results.fronts.get(task, ())) == 2:
        front = front_section(results, task)
        tables += [Rows(front.title, front.header, front.rows)] if front.rows else []
    return tables


def _cost_table(results: Results) -> Rows:
    """Seconds of training, learning curve and evaluation by agent, over all tasks."""
    rows = []
    for label in results.labels:
        runs = [(cell, result) for (_, name), cell in results.cells.items() if name == label for result in cell.results]
        expected = sum(cell.expected for (_, name), cell in results.cells.items() if name == label)
        costs = [result.cost for _, result in runs]
        means = [np.mean([cost.get(f"{part}_seconds", 0.0) for cost in costs]) if costs else 0.0
                 for part in ("train", "curve", "evaluation")]  # fmt: skip
        total = sum(sum(cost.values()) for cost in costs) / 60
        texts = [f"{seconds:,.1f}" if seconds >= 0.05 else UNKNOWN for seconds in means]
        rows.append((results.title(label), *texts, f"{total:,.1f}" if costs else UNKNOWN, f"{len(runs)} of {expected}"))
    header = ("agent", "training", "curve", "evaluation", "all runs, minutes", "runs")
    return Rows("Seconds per run", header, rows)


# Learning curves


def _learners(results: Results, task: str) -> list[str]:
    """The agents that have a learning curve on the task, but for those that trained for other rewards than the task's, by
    objective weights of their own.
    """
    labels = []
    for label in ranked(results, task):
        cell = results.cells[task, label]
        if any(evaluated(r.curve) for r in cell.results) and not cell.job.hyperparameters.get("objective_weights"):
            labels.append(label)
    return labels


def _runs(results: Results, task: str, label: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps and returns of the learning curves of an agent's runs."""
    curves = [r.curve for r in results.cells[task, label].results if evaluated(r.curve)]
    return [
        (np.array([p["steps"] for p in curve], np.float64), np.array([p["return"] for p in curve])) for curve in curves
    ]


def _sample_efficiency(results: Results, task: str) -> dict[str, str]:
    """Agent -> the steps to half of what the best learner gains over random, the median over runs."""
    runs = {label: _runs(results, task, label) for label in _learners(results, task)}
    texts = dict.fromkeys(results.on(task), UNKNOWN)
    floor = _floor(results, task)
    if not runs or floor is None:
        return texts
    best = max(float(np.mean([values[-1] for _, values in curves])) for curves in runs.values())
    for label, curves in runs.items():
        steps = float(np.median([steps_to_reach(*run, floor + HALF * (best - floor)) for run in curves]))
        texts[label] = f"{steps:,.0f}" if math.isfinite(steps) else "never"
    return texts


def _floor(results: Results, task: str) -> float | None:
    """What random earns; None where it did not run."""
    for (name, _), cell in results.cells.items():
        if name == task and cell.job.agent == "random" and cell.results:
            return cell.results[0].returns.mean
    return None


# Pictures


def _overall_charts(results: Results, labels: Sequence[str], styles: dict[str, Style]) -> list[Chart]:
    charts = []
    if labels:
        chart = picture(lambda axis: _intervals(axis, results, labels, styles), height=0.9 + 0.27 * len(labels))
        charts.append(Chart("IQM with its 95 % interval", chart, "Hollow: reads the simulator's hidden state."))
        chart = picture(lambda axis: _profiles(axis, results, labels, styles))
        about = "Share of runs above each score, the further right the better; the band is the 95 % interval."
        charts.append(Chart("Performance profiles", chart, about, _legend(results, labels, styles)))
    trained = {label: _train_seconds([results.cells[task, label] for task in results.tasks]) for label in labels}
    trained = {label: seconds for label, seconds in trained.items() if seconds}
    if trained:
        chart = picture(lambda axis: _costs(axis, results, trained, styles))
        charts.append(Chart("Training cost", chart, "Mean training seconds per run, on the machine that ran it.",
                            _legend(results, list(trained), styles, marks=True)))  # fmt: skip
    return charts


def _intervals(axis: Axes, results: Results, labels: Sequence[str], styles: dict[str, Style]) -> None:
    for y, label in enumerate(reversed(labels)):
        found = results.estimate(label, results.tasks)
        assert found is not None
        colour = styles[label].colour
        axis.plot([found.low, found.high], [y, y], linewidth=2.5, **styles[label].drawn)
        face = "none" if results.privileged(label) else colour
        axis.plot(found.value, y, "o", markerfacecolor=face, markersize=7, **styles[label].drawn)
    axis.set_yticks(range(len(labels)), [results.title(label) for label in reversed(labels)])
    axis.set_ylim(-0.6, len(labels) - 0.4)
    axis.set_xlabel("normalised score")


def _profiles(axis: Axes, results: Results, labels: Sequence[str], styles: dict[str, Style]) -> None:
    runs = {label: results.scores(label, results.tasks) for label in labels}
    every = np.concatenate([np.concatenate(scores) for scores, _ in runs.values()])
    margin = 0.04 * (np.ptp(every) or 1.0)
    levels = np.linspace(every.min() - margin, every.max() + margin, LEVELS)
    for label, (scores, errors) in runs.items():
        statistic = lambda runs: performance_profile(runs, levels)  # noqa: E731
        low, high = bootstrap_interval(scores, statistic, np.random.default_rng(0), errors, resamples=300)
        drawn = styles[label].drawn
        axis.fill_between(levels, np.clip(low, 0, 1), np.clip(high, 0, 1), alpha=0.15, linewidth=0, **drawn)
        axis.plot(levels, statistic(scores), styles[label].dash, **drawn)
    axis.set_ylim(-0.02, 1.02)
    axis.set_xlabel("normalised score")
    axis.set_ylabel("share of runs above")


def _costs(axis: Axes, results: Results, seconds: dict[str, float], styles: dict[str, Style]) -> None:
    for label, time in seconds.items():
        found = results.estimate(label, results.tasks)
        assert found is not None
        drawn = styles[label].drawn
        axis.plot([time, time], [found.low, found.high], **drawn)
        axis.plot(time, found.value, styles[label].mark, markersize=7, **drawn)
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:,g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(seconds.values()), max(seconds.values())
    axis.set_xlim(low / 2, high * 2)
    axis.set_xlabel("training seconds per run")
    axis.set_ylabel("normalised score (IQM)")


def _task_charts(results: Results, task: str, styles: dict[str, Style]) -> list[Chart]:
    return curves_chart(results, task, results.labels, styles) + _fronts(results, task)


def curves_chart(results: Results, task: str, labels: Collection[str], styles: dict[str, Style]) -> list[Chart]:
    """Learning curves on the task, of those of the labels that have them; no picture where none has."""
    charts = []
    learners = [label for label in _learners(results, task) if label in labels]
    if learners:
        chart = picture(lambda axis: _curves(axis, results, task, learners, styles))
        about = (f"Mean return of {CURVE_USERS} users (where the evaluation has so many) that meet the agent as it is after so "
                 "many steps, without exploration; the band is from the worst run to the best. Grey: what random earns.")  # fmt: skip
        charts.append(Chart("Learning curves", chart, about, _legend(results, learners, styles)))
    return charts


def _curves(axis: Axes, results: Results, task: str, labels: Sequence[str], styles: dict[str, Style]) -> None:
    for label in labels:
        runs = _runs(results, task, label)
        steps = max((steps for steps, _ in runs), key=len)
        values = np.array([np.interp(steps, *run) for run in runs])
        drawn = styles[label].drawn
        axis.plot(steps, values.mean(axis=0), styles[label].dash, **drawn)
        if len(values) > 1:
            band = (values.min(axis=0), values.max(axis=0))
            axis.fill_between(steps, *band, alpha=0.15, linewidth=0, **drawn)
    floor = _floor(results, task)
    if floor is not None:
        axis.axhline(floor, color=INK, alpha=0.4, linewidth=1)
    axis.xaxis.set_major_formatter(lambda x, _: f"{x / 1000:g}k" if x >= 1000 else f"{x:g}")
    axis.set_xlabel("user-steps of training")
    axis.set_ylabel("return")


# Pareto fronts


def _fronts(results: Results, task: str) -> list[Chart]:
    """A picture for each pair of objectives that agents trade off on the task."""
    objectives = results.fronts.get(task, ())
    points = {label: _objectives(results.cells[task, label], objectives) for label in results.on(task)}
    points = {label: values for label, values in points.items() if len(values)}
    families: dict[str, list[str]] = {}
    for label in points:
        job = results.cells[task, label].job
        if job.hyperparameters.get("objective_weights"):
            others = {name: value for name, value in job.hyperparameters.items() if name != "objective_weights"}
            families.setdefault(job.agent + (f" {json.dumps(others)}" if others else ""), []).append(label)
    if len(objectives) < 2 or not families:
        return []
    agents = {results.cells[task, label].job.agent: values for label, values in points.items()}
    random = agents.get("random")
    everything = np.concatenate(list(points.values()))
    reference = random.mean(axis=0) if random is not None else everything.min(axis=0)
    above = "random" if random is not None else "the worst of each objective"
    volumes = [f"{family}: {_volume([points[label] for label in labels], reference)}"
               for family, labels in families.items()]  # fmt: skip
    about = (f"Mean objectives per episode; up and to the right is better. A small mark is a preference; the line joins "
             f"those that no other of the same agent beats in {'both' if len(objectives) == 2 else 'all'}. Crosses: other agents. ")  # fmt: skip
    if len(objectives) <= 3:
        about += f"Hypervolume above {above}, mean over training seeds ± its standard error: {'; '.join(volumes)}."
    legend = tuple((family, swatch(Style(i), mark=True)) for i, family in enumerate(families))
    charts = []
    for first in range(len(objectives)):
        for second in range(first + 1, len(objectives)):
            draw = _front_drawer(points, families, objectives, (first, second))
            title = f"Pareto front: {objectives[first]} against {objectives[second]}"
            charts.append(Chart(title, picture(draw), about, legend))
    return charts


def _objectives(cell: Cell, names: Sequence[str]) -> np.ndarray:
    """(n, d) objectives of the runs; (0, d) where one does not have them."""
    rows = [[result.objectives[name] for name in names] for result in cell.results
            if all(name in result.objectives for name in names)]  # fmt: skip
    return np.array(rows, np.float64).reshape(len(rows), len(names))


def _volume(points: Sequence[np.ndarray], reference: np.ndarray) -> str:
    """Hypervolume of the front of each training seed: mean and standard error."""
    runs = min(map(len, points))
    volumes = [hypervolume([values[i] for values in points], reference) for i in range(runs)]
    return f"{np.mean(volumes):.3g}" + (f" ± {standard_error(volumes):.2g}" if runs > 1 else "")


def _front_drawer(
    points: dict[str, np.ndarray], families: dict[str, list[str]], objectives: Sequence[str], pair: tuple[int, int]
) -> Callable[[Axes], None]:
    swept = {label for labels in families.values() for label in labels}

    def draw(axis: Axes) -> None:
        for label, values in points.items():
            if label not in swept:
                x, y = values.mean(axis=0)[[*pair]]
                axis.plot(x, y, "x", color=INK, alpha=0.7)
                axis.annotate(label, (x, y), (4, 4), textcoords="offset points", color=INK, alpha=0.8, fontsize=8)
        for i, labels in enumerate(families.values()):
            found = np.array([points[label].mean(axis=0) for label in labels])
            best = found[pareto_front(found)][:, pair]
            best = best[np.argsort(best[:, 0])]
            axis.plot(*found[:, pair].T, Style(i).mark, color=Style(i).colour, markersize=4, alpha=0.6)
            axis.plot(*best.T, Style(i).dash, marker=Style(i).mark, color=Style(i).colour, markersize=7)
        axis.set_xlabel(objectives[pair[0]])
        axis.set_ylabel(objectives[pair[1]])
        axis.margins(0.12)

    return draw


# SVG


def picture(draw: Callable[[Axes], None], height: float = SIZE[1]) -> str:
    """SVG of a figure with one axis; decorative to a screen reader, as the caption and the tables say what it shows."""
    style: dict[Any, Any] = {
        "svg.fonttype": "none",
        "text.parse_math": False,  # labels are no formulas
        "svg.hashsalt": "recgym",
        "font.family": "sans-serif",
        "font.size": 11,
        **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
        **dict.fromkeys(("axes.spines.top", "axes.spines.right"), False),
    }
    with matplotlib.rc_context(style):
        figure = Figure((SIZE[0], height), layout="constrained")
        FigureCanvasSVG(figure)
        axis = figure.subplots()
        axis.grid(color=INK, alpha=0.12, linewidth=0.8)
        axis.set_axisbelow(True)
        draw(axis)
        buffer = BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _themed(buffer.getvalue().decode())


def _themed(svg: str) -> str:
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>\s*", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="agent-(\d+)"', r' data-agent="\1"', svg)  # one agent has several: of what a filter looks for
    svg = re.sub(r' id="(?!m|p|C)[^"]*"', "", svg)  # of groups that nothing refers to: pictures share a page
    opening = r'<svg viewBox="\1" xmlns:xlink="http://www.w3.org/1999/xlink">'
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', opening, svg)
    svg = svg.replace(INK, "currentColor")
    for i, colour in enumerate(COLOURS):
        svg = svg.replace(colour, f"var(--c{i})")
    return svg


def _legend(
    results: Results, labels: Sequence[str], styles: dict[str, Style], marks: bool = False
) -> tuple[tuple[str, str], ...]:
    return tuple((results.title(label), swatch(styles[label], marks)) for label in labels)


def swatch(style: Style, mark: bool = False) -> str:
    """A line, or a mark, as it is drawn."""
    colour = f"var(--c{COLOURS.index(style.colour)})"
    if mark:
        return (
            f'<svg class="swatch" viewBox="0 0 12 12" width="12" height="12" fill="{colour}">{SHAPES[style.mark]}</svg>'
        )
    dashes = {"-": "", "--": "6 3", ":": "2 2", "-.": "6 2 2 2"}[style.dash]
    return (f'<svg class="swatch" viewBox="0 0 24 12" width="24" height="12"><path d="M0 6H24" stroke="{colour}" '
            f'stroke-width="3" stroke-dasharray="{dashes}"/></svg>')  # fmt: skip
