"""Speeds as tables and as a picture."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import markdown_table
from benchmarks.tables import UNKNOWN, Section
from benchmarks.throughput import FLOOR, ITEM_USERS, Run, Speed
from benchmarks.throughput.peers import PEERS
from recgym.files import write_atomically

FAMILIES = ("Ecommerce", "News", "LiveStream", "Interest", "LongTerm", "Sardine", "RecoGym")  # one colour each
MARKS = "osD^v<>P"


def sections(run: Run) -> list[Section]:
    """The tables of a run, those that have rows."""
    found = []
    measured = "steps/s", f"{FLOOR} = 1", "bytes", "of memory", "of cache"
    for title, swept in (("User-steps per second", False), (f"{ITEM_USERS} users, by number of items", True)):
        rows = [
            (_short(s.id), f"{s.items:,}" if s.items is not None else _users(s.users), f"{s.median:,.0f}", str(s.ratio),
             UNKNOWN if s.bytes is None else f"{s.bytes:,}", _percent(s.bound(s.memory)), _percent(s.bound(s.cache)))
            for s in run.speeds if (s.items is not None) == swept
        ]  # fmt: skip
        if rows:
            found.append(Section(title, ("id", "items" if swept else "users", *measured), rows))
    rows = []
    for v in run.peers:
        theirs, ours = ("" if v.reason else f"{np.median(rates):,.0f}" for rates in (v.theirs, v.ours))
        rows.append((f"{v.peer}: {v.task}", _users(v.users), v.reason or theirs, ours, str(v.ratio or "")))
    if rows:
        header = ("package", "users here", "there, steps/s", "here, steps/s", "times as fast")
        found.append(Section("Beside other packages, user-steps per second", header, rows))
    return found


def notes(run: Run) -> list[str]:
    """How to read the tables."""
    found = ["Random actions, observations built, resets included. Medians of windows that took turns in one run; "
             "[lowest, highest]."]  # fmt: skip
    if any(s.bytes is not None for s in run.speeds):
        found.append(
            "Bytes: what a user-step must read and write at the least, state, action, observation and info. Of memory, of "
            "cache: its share of the speed at which copies move as many bytes, of arrays beyond all caches by all "
            "processors, and of as many bytes as a step of the batch moves."
        )
    for name in dict.fromkeys(v.peer for v in run.peers):
        versions = next((v.versions for v in run.peers if v.peer == name and v.versions), {})
        listed = ", ".join(f"{package} {version}" for package, version in versions.items())
        options = "".join(f", {key}={value!r}" for key, value in PEERS[name].options.items())
        here = f"{PEERS[name].id}{options}"
        found.append(f"{name}{f' ({listed})' if listed else ''} beside {here}. {PEERS[name].differs}")
    return found


def render(run: Run, about: dict[str, Any], path: Path) -> None:
    """Write the tables as Markdown, and the picture if there is a line to draw, beside a JSON file of that path.

    Args:
        about: the command, its date, the software (`benchmarks.run.software`) and the number of processors.
    """
    image = path.with_suffix(".png")
    write_atomically(path.with_suffix(".md"), markdown(run, about, image.name).encode())
    if pictured(run):
        write_atomically(image, picture(run))


def markdown(run: Run, about: dict[str, Any], image: str) -> str:
    """All of it as Markdown, beside the picture of that name; see `render`."""
    software = about["software"]
    machine = f"{software['processor']}, {about['processors']} processors, {software['platform']}, {about['date']}"
    versions = ", ".join(f"{name} {software[name]}" for name in ("recgym", "python", "numpy", "numba", "gymnasium"))
    lines = ["# Throughput", "", "```", about["command"], "```", "", f"{machine}. {versions}.", ""]
    if pictured(run):
        lines += [f"![Cost of a user-step]({image})", ""]
    for section in sections(run):
        lines += markdown_table(section)
    return "\n".join([*lines, *(f"- {note}" for note in notes(run)), ""])


def pictured(run: Run) -> list[tuple[str, str, dict[str, list[tuple[int, Speed]]]]]:
    """Panels of the picture: title, name of the x-axis, and points (x, speed) by id; those with a line to draw."""
    panels = [
        ("Cost against users", "users in the batch", [(s.users, s) for s in run.speeds if s.users and s.items is None]),
        (f"Cost against items, {ITEM_USERS} users", "items", [(s.items, s) for s in run.speeds if s.items is not None]),
    ]
    found = []
    for title, axis, points in panels:
        lines: dict[str, list[tuple[int, Speed]]] = {}
        for x, speed in sorted(points, key=lambda point: point[0]):
            lines.setdefault(speed.id, []).append((x, speed))
        if any(len(line) > 1 for line in lines.values()):
            found.append((title, axis, lines))
    return found


def picture(run: Run) -> bytes:
    """A PNG: nanoseconds per user-step against users and against items, one line for each id."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = pictured(run)
    figure = Figure((1 + 6 * len(panels), 5.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (title, name, lines) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for id in sorted(lines, key=lambda id: -lines[id][-1][1].nanoseconds):  # as the lines end, from the top
            xs, speeds = zip(*lines[id], strict=True)
            axis.plot(xs, [s.nanoseconds for s in speeds], label=_short(id).removesuffix("-v0"), markersize=4, linewidth=1.2,
                      **_style(id, list(lines)))  # fmt: skip
        axis.set(xscale="log", yscale="log", xlabel=name, ylabel="nanoseconds per user-step", title=title)
        ticks = sorted({x for line in lines.values() for x, _ in line})
        axis.set_xticks(ticks, [f"{x:,}" for x in ticks])
        axis.minorticks_off()
        values = [s.nanoseconds for line in lines.values() for _, s in line]
        marks = [m * 10**e for e in range(1, 7) for m in (1, 2, 5)]
        shown = [m for m in marks if 0.5 * min(values) < m < 2 * max(values)]
        axis.set_yticks(shown, [f"{m:,}" for m in shown])
        axis.grid(color="0.9")
        axis.set_axisbelow(True)
        axis.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _style(id: str, ids: list[str]) -> dict[str, Any]:
    """Colour by family, mark by place within it."""
    family = next((name for name in FAMILIES if _short(id).startswith(name)), "")
    place = [other for other in ids if _short(other).startswith(family)].index(id)
    colour = f"C{FAMILIES.index(family)}" if family else "0.4"
    return {"color": colour, "marker": MARKS[place % len(MARKS)], "linestyle": ("-", "--", ":", "-.")[place % 4]}


def _short(id: str) -> str:
    return id.removeprefix("recgym/")


def _users(users: int) -> str:
    return f"{users:,}" if users else "single"


def _percent(share: float | None) -> str:
    return UNKNOWN if share is None else f"{share:.1%}"
