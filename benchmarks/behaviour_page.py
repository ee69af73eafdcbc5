"""The report of `python -m recgym analyse`: how users behave in logs, and whether planning would pay in a world.

One HTML page in the look of the benchmark page, with pictures as inline SVG; nothing is loaded. Every picture and table can have
two columns, so that the report of a fit shows logged beside simulated: `chapters` of `recgym.logs.behaviour.pairs`.
"""

from __future__ import annotations

import dataclasses
import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from baselines.registry import make_agent
from benchmarks.data import write_json
from benchmarks.page import Chart, Rows, Style, picture, render, swatch
from benchmarks.planning import Answer, Gain, interval_text, share_text, signed_text, task_of, would_planning_pay
from recgym.compat import AutoresetMode
from recgym.errors import ConfigError, require
from recgym.files import write_atomically
from recgym.logs import Logs
from recgym.logs.behaviour import Behaviour, Pair, Section, behaviour, percent_text, seconds_text

MARK = "–"  # where there is no number
LONGEST = 40  # characters of a label
CHAPTERS = {
    "At a glance": ("levels", "funnel"),
    "Where and when": ("click rate by position", "activity by hour", "click rate by hour", "click rate by weekday",
                       "click rate by day"),
    "Staying and coming back": ("survival of sessions", "survival until return", "retention", "retention by cohort"),
    "Attention": ("dwell", "dwell histogram"),
    "Repetition": ("click rate by exposures of the topic", "click rate by exposures of the item"),
    "Prices": ("click rate by price", "purchase rate by price", "price paid"),
    "Topics and items": ("topic transitions", "popularity"),
    "Kinds of users": ("segments",),
}  # fmt: skip
PICTURED = ("curve", "steps", "bars")


class Matrix(NamedTuple):
    """A table whose cells are shaded: rows of (label, cells), a cell being (text, range, shade of 0 to 1) or None."""

    title: str
    header: tuple[str, ...]
    rows: list[tuple[str, list[tuple[str, str, float] | None]]]


@dataclass(frozen=True)
class Block:
    """What the page shows of one section: its sentence, then a picture, matrices or a table.

    Args:
        title: of it. readings: sentences, each with the name of its logs before it where there are several. about: what it
            means. chart: the picture; its numbers are in `table`. matrices, table: the same as tables.
    """

    title: str
    readings: tuple[str, ...]
    about: str
    chart: Chart | None
    matrices: tuple[Matrix, ...]
    table: Rows | None


@dataclass(frozen=True)
class Chapter:
    """Blocks under one heading."""

    title: str
    blocks: tuple[Block, ...]

    @property
    def anchor(self) -> str:
        """For links to it."""
        return re.sub(r"\W+", "-", self.title.lower())


def chapters(found: Behaviour | Sequence[Pair], labels: tuple[str, str] = ("logged", "simulated")) -> list[Chapter]:
    """The chapters of a report of one table of logs, or of two side by side.

    Args:
        found: what `behaviour` or `compare` of `recgym.logs.behaviour` returned. labels: of the two.
    """
    if isinstance(found, Behaviour):
        blocks = {section.name: block([("", section)]) for section in found.sections}
    else:
        blocks = {pair.name: _paired(pair, labels) for pair in found}
    named = {name for names in CHAPTERS.values() for name in names}
    parts = {**CHAPTERS, "More": tuple(name for name in blocks if name not in named)}
    made = [Chapter(title, tuple(blocks[name] for name in names if name in blocks)) for title, names in parts.items()]
    return [chapter for chapter in made if chapter.blocks]


def block(columns: Sequence[tuple[str, Section]], note: str = "") -> Block:
    """What the page shows of a section, or of the same section of several logs.

    Args:
        columns: (label, section), at least one. note: a sentence before the readings.
    """
    first = columns[0][1]
    several = len(columns) > 1
    readings = ([note] if note else []) + [
        f"{label[:1].upper()}{label[1:]}: {section.reading}" if label else section.reading for label, section in columns
    ]
    chart, matrices, table = None, (), None
    title = f"{first.name[0].upper()}{first.name[1:]}"
    if first.kind == "matrix":
        matrices = tuple(_matrix(label, section) for label, section in columns)
    else:
        table = _table(columns)
        if first.kind in PICTURED and any(len(section.x) > 1 for _, section in columns):
            legend = tuple((label, swatch(Style(i))) for i, (label, _) in enumerate(columns)) if several else ()
            chart = Chart(title, _drawn(columns), "", legend)
    return Block(title, tuple(readings), first.about, chart, matrices, table)


def _paired(pair: Pair, labels: tuple[str, str]) -> Block:
    columns = [(label, section) for label, section in zip(labels, (pair.logged, pair.simulated)) if section is not None]
    if pair.missing or not pair.x:
        return block(columns, pair.missing)
    n = int(np.isfinite(pair.low).sum())
    note = f"The two differ by more than chance at {pair.apart} of {n} points; about {max(1, round(0.05 * n))} would by chance alone."
    return block(columns, note if n else "")


# Numbers as text


def number_text(value: float, unit: str) -> str:
    """A number of a section as text."""
    if not math.isfinite(value):
        return MARK
    if unit == "share":
        return percent_text(value)
    if unit == "seconds":
        return seconds_text(value)
    if unit in ("price", "ratio", "times independence"):
        return f"{value:,.2f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _unit(section: Section, k: int) -> str:
    return section.units[k] if section.units else section.unit


def _range(section: Section, place: Any, unit: str) -> str:
    low, high = float(section.low[place]), float(section.high[place])
    if not (math.isfinite(low) and math.isfinite(high)):
        return ""
    texts = [number_text(end, unit) for end in (low, high)]
    if unit == "share":
        texts = [text.removesuffix(" %") for text in texts]
    return f"[{', '.join(texts)}]"


def _label(x: Any, section: Section) -> str:
    if section.name == "dwell":
        return f"{100 * x:g} %"
    text = f"{x:g}" if isinstance(x, (int, float)) else str(x)
    if section.name.startswith("click rate by exposures"):
        edges = [*section.x]
        k = edges.index(x)
        last = edges[k + 1] - 1 if k + 1 < len(edges) else x
        text = f"{x}–{last}" if last > x else text
    if section.name == "dwell histogram":
        text = f"{seconds_text(x)} to {seconds_text(2 * x)}"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def _table(columns: Sequence[tuple[str, Section]]) -> Rows:
    first = columns[0][1]
    keys = [*dict.fromkeys(x for _, section in columns for x in section.x)]
    if all(isinstance(key, (int, float)) for key in keys):
        keys.sort()
    header: list[str] = [first.axis or ""]
    for label, section in columns:
        header += [label or "value", section.counted if len(columns) == 1 else "n"]
    rows = []
    for key in keys:
        owner = next(section for _, section in columns if key in section.x)
        row = [_label(key, owner)]
        for _, section in columns:
            if key not in section.x:
                row += [MARK] * 2
                continue
            k = section.x.index(key)
            unit = _unit(section, k)
            row += [
                f"{number_text(float(section.value[k]), unit)} {_range(section, k, unit)}".strip(),
                f"{section.n[k]:,}",
            ]
        rows.append(tuple(row))
    return Rows(f"{first.name[0].upper()}{first.name[1:]}", tuple(header), rows)


def _matrix(label: str, section: Section) -> Matrix:
    rows = []
    for i, name in enumerate(section.rows):
        cells: list[tuple[str, str, float] | None] = []
        for k in range(len(section.x)):
            value, unit = float(section.value[i, k]), _unit(section, k)
            if not math.isfinite(value):
                cells.append(None)
                continue
            shade = value / 2 if section.unit == "times independence" else value if section.name != "segments" else 0.0
            cells.append((number_text(value, unit), _range(section, (i, k), unit), min(max(shade, 0.0), 1.0)))
        rows.append((name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…", cells))
    caption = f"{section.name[0].upper()}{section.name[1:]}" + (f", {label}" if label else "")
    if section.axis:
        caption += f" (columns: {section.axis})"
    return Matrix(caption, tuple(_label(x, section) for x in section.x), rows)


# Pictures


def _drawn(columns: Sequence[tuple[str, Section]]) -> str:
    first = columns[0][1]
    if first.kind == "bars":
        keys = [*dict.fromkeys(x for _, section in columns for x in section.x)]
        return picture(lambda axis: _dots(axis, columns, keys), height=0.9 + (0.3 + 0.1 * len(columns)) * len(keys))
    return picture(lambda axis: _curves(axis, columns))


def _dots(axis: Axes, columns: Sequence[tuple[str, Section]], keys: Sequence[Any]) -> None:
    """Labels from the top down, values with their intervals."""
    for i, (_, section) in enumerate(columns):
        shift = 0.22 * (i - (len(columns) - 1) / 2)
        y = np.array([keys.index(x) for x in section.x]) + shift
        _bars(axis, y, section, Style(i), flat=True)
    axis.set_yticks(range(len(keys)), [_label(key, columns[0][1]) for key in keys])
    axis.set_ylim(len(keys) - 0.4, -0.6)
    _scale(axis, [section for _, section in columns], axis.set_xlim, axis.xaxis)
    if columns[0][1].axis:
        axis.set_ylabel(columns[0][1].axis)


def _bars(axis: Axes, at: np.ndarray, section: Section, style: Style, flat: bool = False) -> None:
    known = np.isfinite(section.low) & np.isfinite(section.high)
    ends = (section.low[known], section.high[known])
    (axis.hlines if flat else axis.vlines)(at[known], *ends, color=style.colour, linewidth=2)
    axis.plot(*((section.value, at) if flat else (at, section.value)), style.mark, color=style.colour, markersize=5)


def _curves(axis: Axes, columns: Sequence[tuple[str, Section]]) -> None:
    sections = [section for _, section in columns]
    first = sections[0]
    words = not all(isinstance(x, (int, float)) for x in first.x)
    places = [*dict.fromkeys(x for section in sections for x in section.x)] if words else []
    for i, section in enumerate(sections):
        style = Style(i)
        x = np.array([places.index(key) for key in section.x] if words else section.x, np.float64)
        low, high = (np.where(np.isfinite(end), end, section.value) for end in (section.low, section.high))
        step: Any = "post" if section.kind == "steps" else None
        axis.fill_between(x, low, high, step=step, alpha=0.18, linewidth=0, color=style.colour)
        line: dict[str, Any] = {"drawstyle": "steps-post"} if step else {"marker": style.mark, "markersize": 3.5}
        axis.plot(x, section.value, style.dash, color=style.colour, linewidth=1.8, **line)
    if words:
        shown = [*range(0, len(places), max(1, math.ceil(len(places) / 4)))]
        axis.set_xticks(shown, [str(places[k]) for k in shown])
    elif first.axis.startswith("hour of day"):
        axis.set_xticks(range(0, 25, 6))
    elif first.axis in ("hours", "seconds"):
        _time_axis(axis, first)
    else:
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axis.set_xlabel(first.axis)
    _scale(axis, sections, axis.set_ylim, axis.yaxis)


def _time_axis(axis: Axes, section: Section) -> None:
    """Hours or seconds on a scale of factors, with ticks that people know."""
    known = {"hours": {0.25: "15 min", 1: "1 h", 4: "4 h", 24: "1 day", 168: "1 week", 672: "4 weeks", 8760: "1 year"},
             "seconds": {1: "1 s", 4: "4 s", 15: "15 s", 60: "1 min", 240: "4 min", 900: "15 min", 3600: "1 h"}}[section.axis]  # fmt: skip
    positive = [x for x in section.x if x > 0]
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(numticks=2))
    ticks = [x for x in known if positive[0] / 1.5 <= x <= positive[-1] * 1.5] or positive[:1]
    axis.set_xticks(ticks, [known.get(x, f"{x:g}") for x in ticks])
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.minorticks_off()
    axis.set_xlim(positive[0], positive[-1])


def _scale(axis: Axes, sections: Sequence[Section], limit: Callable[..., Any], which: Any) -> None:
    """From 0 to what the values need; an interval that is far wider than they are is cut."""
    values = np.concatenate([section.value[np.isfinite(section.value)] for section in sections])
    highs = np.concatenate([section.high[np.isfinite(section.high)] for section in sections])
    most = float(values.max()) if len(values) else 1.0
    top = min(float(highs.max()), 1.7 * most) if len(highs) else most
    share = sections[0].unit == "share"
    limit(0, 1.02 if sections[0].kind == "steps" else (1.06 * top or 1.0))
    if share:
        which.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        which.set_major_formatter(FuncFormatter(lambda v, _: f"{100 * v:.3g} %"))


def gains_chart(answer: Answer) -> Chart:
    """The returns of the agents that served a world, with their intervals."""
    names = sorted(answer.returns, key=lambda name: answer.returns[name][0])
    told = {"myopic": "myopic: greedy", "planner": "planner: looks ahead", "one-step": "one-step: greedy, best weights"}

    def draw(axis: Axes) -> None:
        for y, name in enumerate(names):
            mean, se = answer.returns[name]
            style = Style(0 if name == "planner" else 1 if name == "myopic" else 2 if name == answer.learned else 7)
            axis.hlines(y, mean - 1.96 * se, mean + 1.96 * se, color=style.colour, linewidth=2.5)
            axis.plot(mean, y, "o", color=style.colour, markersize=7)
        axis.set_yticks(range(len(names)), [told.get(name, name) for name in names])
        axis.set_ylim(-0.6, len(names) - 0.4)
        axis.set_xlim(left=0)
        axis.set_xlabel("return per visitor")

    about = "Mean return per visitor with its 95 % interval; all serve the same visitors, so that the gain is surer than these look."
    return Chart("What each earns", picture(draw, height=0.9 + 0.34 * len(names)), about)


def _gain_rows(answer: Answer) -> Rows:
    def row(gain: Gain) -> tuple[str, ...]:
        return f"{gain.agent} over {gain.base}", signed_text(gain.value), interval_text(gain)

    header = ("gain", "mean", "95 % interval, %")
    return Rows("Gains in return per visitor", header, [row(gain) for gain in answer.gains])


# The page


def analysis_page(title: str, *, found: Behaviour | None = None, answer: Answer | None = None, lines: Sequence[str] = (),
                  notes: Sequence[str] = (), command: str = "") -> str:  # fmt: skip
    """The report as one HTML page.

    Args:
        title: of the page. found: how users behave. answer: whether planning pays. lines: under the title. notes: at the end,
            beside what is missing. command: how to repeat it.
    """
    missing = [f"{name}: {reason}" for name, reason in found.missing.items()] if found else []
    return render(
        "analyse.html",
        title=title,
        lines=[*lines],
        command=command,
        answer=answer,
        gains=_gain_rows(answer) if answer else None,
        gains_chart=gains_chart(answer) if answer else None,
        words=_answer_words(answer) if answer else [],
        chapters=chapters(found) if found else [],
        missing=missing,
        notes=[*notes],
    )


def _answer_words(answer: Answer) -> list[str]:
    gain = answer.gain()
    words = [
        f"The gain is (planner − myopic) / myopic of the return per visitor, measured on {answer.users:,} simulated visitors "
        "who are the same for both; the interval is Fieller's for paired means.",
        "Both know the hidden state of the visitors. The greedy one shows what earns most in this step; the planner looks at what "
        "comes after, too. It is not perfect, so that the gain is a lower bound of what planning could bring.",
    ]
    if answer.learned:
        over = answer.gain("planner", answer.learned)
        words.append(f"{answer.learned} sees only what a platform sees, and was trained on {answer.steps:,} steps; the planner earns "
                     f"{signed_text(over.value)} {interval_text(over)} against it.")  # fmt: skip
    if math.isfinite(gain.low) and gain.low > 0:
        words.append(f"At the least {share_text(gain.low)} more: that is the lower end of the interval.")
    words += [f"{name} is left out: {reason}" for name, reason in answer.left_out.items()]
    return words


def about_lines(found: Behaviour) -> list[str]:
    """What the logs are, in a line or two."""
    about = found.about
    rows = f"{about['rows']:,} {'items shown, taken or not' if about['impressions'] else 'interactions'}"
    parts = [rows, f"{about['users']:,} users", f"{about['items']:,} items"]
    if about["sessions"]:
        parts.append(f"{about['sessions']:,} sessions")
    span = f"{about['first'][:16]} to {about['last'][:16]} UTC"
    lines = [
        f"{', '.join(parts)}; {span}. [low, high] is a 95 % interval that takes users, not rows, as what was drawn."
    ]
    if about["dropped"]:
        lines.append(f"{about['dropped']:,} rows broke a rule and were left out when the logs were read.")
    if "note" in about:
        lines.append(about["note"])
    return lines


def analyse(what: str, output: str | os.PathLike[str], *, data: str | os.PathLike[str] | None = None, users: int = 500,
            agent: str = "", steps: int = 200_000, segments: int | None = None,
            min_size: int | None = None, seed: int = 0, command: str = "",
            progress: Callable[[str], None] | None = None) -> str:  # fmt: skip
    """Write the report of logs or of a world, and return its main sentence.

    Args:
        what: a folder of `Logs.save`, "FORMAT:PATH" for `recgym.logs.read`; or a world, see `benchmarks.planning.task_of`.
        output: the HTML file. data: a JSON file for all numbers; None: none.
        users: visitors of a world. agent, steps: of one that is trained in the world and compared, see `would_planning_pay`.
        segments, min_size: of the groups of users. seed: of the groups.
        command: how to repeat it. progress: told what is done.

    Raises:
        ConfigError: an argument breaks its rule, or there is no such world. FitError: logs that cannot be read.
    """
    tell = progress or (lambda text: None)
    settings = {"segments": segments, "min_size": min_size, "seed": seed}
    for path in (output, data):
        require(path is None or not os.path.isdir(path), "output", "must be a file", str(path))
    logs, answer, notes = None, None, []
    if (parted := re.fullmatch(r"([A-Za-z][\w-]+):(.+)", what)) and not os.path.exists(what):
        from recgym.logs import read

        tell(f"reading {parted[2]}")
        logs = read(parted[1].lower(), parted[2])
    elif os.path.isfile(Path(what) / "logs.json"):
        tell(f"reading {what}")
        logs = Logs.load(what)
    else:
        answer = would_planning_pay(what, users, agent=agent, steps=steps, progress=tell)
        logs, note = world_logs(what, users, tell)
        notes.append(note)
    tell("counting")
    found = behaviour(logs, **settings) if logs is not None else None
    title = _title(what, logs if answer is None else None)
    lines = about_lines(found) if found else []
    html = analysis_page(title, found=found, answer=answer, lines=lines, notes=notes, command=command)
    write_atomically(output, html.encode())
    if data is not None:
        plain = {"command": command, "planning": answer and answer.to_dict(), "behaviour": found and found.to_dict()}
        write_json(Path(data), plain)
    return answer.sentence if answer else found["levels"].reading if found else ""


def _title(what: str, logs: Logs | None) -> str:
    if logs is None:
        return what if len(what) <= LONGEST * 2 else f"…{what[-LONGEST * 2 :]}"
    return str(logs.source.get("name") or Path(what.rpartition(":")[2]).name or what)


def world_logs(world: str, users: int, tell: Callable[[str], None]) -> tuple[Logs | None, str]:
    """Logs of the users of a world under its most popular items and some random ones, and a sentence on that."""
    from recgym.logs.simulate import simulate

    task = task_of(world)
    env = task.make(1, AutoresetMode.DISABLED)
    agents: dict[str, Any] = {"popularity": make_agent("popularity")}
    options: dict[str, Any] = {"null_action": True} if env.actions.null else {}
    try:
        agents["popularity"].start(env)
    except ConfigError:  # nothing popular is seen in this world
        agents = {}
    tell(f"serving {users:,} visitors for the logs")
    logs = simulate(env.world, agents or None, users, explore=0.1 if agents else 1, seed=10**9, **options)
    policy = (
        'the agent "popularity" in nine steps of ten, and uniformly random in the tenth'
        if agents
        else "uniformly random slates"
    )
    logs = dataclasses.replace(
        logs, source={"horizon": env.world.horizon, **logs.source}
    )  # until when users are watched
    env.close()
    return logs, f"Everything below the answer is of {users:,} simulated visitors, under {policy}."
