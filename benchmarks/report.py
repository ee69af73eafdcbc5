"""The report of a results folder, from its files alone: in the terminal, in Markdown with a picture, and as a page."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from benchmarks.data import require_writable
from benchmarks.tables import Results, Section, notes, read_folder, sections
from recgym.files import write_atomically


def markdown(results: Results, picture: str) -> str:
    """The report as Markdown."""
    lines = [
        f"# {_literal(results.suite)}",
        "",
        "```",
        results.command,
        "```",
        "",
        f"![Normalised scores]({picture})",
        "",
    ]
    for section in sections(results):
        lines += markdown_table(section)
    return "\n".join([*lines, *(f"- {_literal(note)}" for note in notes(results)), ""])


def markdown_table(section: Section) -> list[str]:
    """Lines of a Markdown table under its title, numbers to the right."""
    rows = (
        section.header,
        ["---:" if i >= section.words else "---" for i in range(len(section.header))],
        *(map(_literal, row) for row in section.rows),
    )
    return [f"## {_literal(section.title)}", "", *("| " + " | ".join(row) + " |" for row in rows), ""]


def _literal(text: str) -> str:
    return text.replace("*", "\\*").replace("|", "\\|")


def show(section: Section, console: Console) -> None:
    """Print a table."""
    printed = Table(
        title=Text(section.title, "bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for i, name in enumerate(section.header):
        printed.add_column(Text(name), justify="right" if i >= section.words else "left", overflow="fold")
    for row in section.rows:
        printed.add_row(*(Text(text, "yellow" if text.startswith("missing") else "") for text in row))
    console.print(printed)


def picture(results: Results) -> bytes:
    """A PNG: normalised scores with intervals, all tasks and each task."""
    import matplotlib

    panels = [(task, [task]) for task in results.tasks]
    if len(panels) > 1 and results.on(*results.tasks):
        panels = [("all tasks (IQM)", results.tasks), *panels]
    columns = len(panels) if len(panels) <= 4 else min(4, -(-len(panels) // 2))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context({"text.parse_math": False}):  # labels are no formulas
        return _drawn(results, panels, rows, columns)


def _drawn(results: Results, panels: list[tuple[str, list[str]]], rows: int, columns: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    labels = results.labels[::-1]
    figure = Figure((max(5.6, 2.0 + 2.4 * columns), rows * (1.1 + 0.3 * len(labels))), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for axis, (title, tasks) in zip(axes, panels):
        for mark in (0.0, 1.0):
            axis.axvline(mark, color="0.6", linewidth=1, linestyle="--", zorder=0)
        reason = next((results.unscaled[task] for task in tasks if task in results.unscaled), "")
        axis.text(
            0.5, (len(labels) - 1) / 2, reason.replace(": ", ":\n"), ha="center", va="center", color="0.4", fontsize=8
        )
        for y, label in enumerate(labels):
            if reason or not all((task, label) in results.cells for task in tasks):
                continue
            found = results.estimate(label, tasks)
            if found is None:
                axis.text(0.5, y, results.text(label, tasks), ha="center", va="center", color="tab:red", fontsize=8)
                continue
            privileged = results.privileged(label)
            axis.plot([found.low, found.high], [y, y], color="tab:blue", linewidth=2)
            axis.plot(found.value, y, "o", color="tab:blue", markerfacecolor="white" if privileged else "tab:blue")
        axis.set_title(title, fontsize=10)
        axis.set_yticks(range(len(labels)), [results.title(label) for label in labels])
        axis.set_ylim(-0.6, len(labels) - 0.4)
        axis.tick_params(labelbottom=True, labelsize=9)
        axis.grid(axis="y", color="0.93")
        axis.set_axisbelow(True)
    for axis in axes[len(panels) :]:
        axis.remove()
    one = " or ".join(dict.fromkeys(results.ones.values()))
    figure.supxlabel(f"normalised score (random = 0, {one} = 1); hollow: reads the hidden state", fontsize=9)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def report(folder: str | os.PathLike[str], console: Console | None = None) -> Results:
    """Print the leaderboard of a results folder; write leaderboard.md, leaderboard.png and index.html into it.

    Raises:
        ConfigError: no results there.
    """
    from benchmarks.page import page

    console = console or Console()
    folder = Path(folder)
    results = read_folder(folder)
    require_writable("folder", folder)
    text, image, html = (
        markdown(results, "leaderboard.png"),
        picture(results),
        page(results),
    )  # all, before any is written
    tables = sections(results)
    write_atomically(folder / "leaderboard.md", text.encode())
    write_atomically(folder / "leaderboard.png", image)
    write_atomically(folder / "index.html", html.encode())
    for section in tables:
        show(section, console)
    for note in notes(results):
        console.print(Text(note, "yellow" if note.startswith("Missing") else "dim"))
    console.print(Text(f"Written: {folder / 'leaderboard.md'}, leaderboard.png, index.html"))
    return results
