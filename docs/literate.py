"""Tutorials: Python scripts whose comments are the text. They are run, and what they print and draw is shown.

A block of lines that all begin with "#" and have blank lines around them is text, anything else is code, as in the
"light" format of Jupytext, which opens these scripts as notebooks.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple


class Cell(NamedTuple):
    """A piece of a script."""

    code: bool
    source: str  # Markdown, or Python
    line: int  # of the script, from 0


class Output(NamedTuple):
    """What a cell of code printed, and the pictures that it showed, as PNG."""

    text: str
    pictures: list[bytes]


def cells(script: str) -> list[Cell]:
    """The cells of a script, in order."""
    found: list[Cell] = []
    line = 0
    for block in re.split(r"(\n\n+)", script.strip("\n")):
        rows = block.split("\n")
        if not block.strip():
            line += block.count("\n")
            continue
        if all(row.startswith("#") for row in rows):
            found.append(Cell(False, "\n".join(row[2:] for row in rows), line))
        elif found and found[-1].code:
            gap = line - found[-1].line - found[-1].source.count("\n")
            found[-1] = found[-1]._replace(source=found[-1].source + "\n" * gap + block)
        else:
            found.append(Cell(True, block, line))
        line += len(rows) - 1
    return found


def run(path: Path, **budgets: int) -> list[Output]:
    """Run a script, and return what each of its cells of code gave.

    Args:
        path: of the script. budgets: numbers in the place of those that the script gives to names, such as STEPS.
    """
    script = path.read_text()
    for name, number in budgets.items():
        script = re.sub(rf"^{name} = [\d_]+", f"{name} = {number}", script, flags=re.M)
    module = ModuleType(f"tutorial_{path.stem}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # where dataclasses look for names
    outputs = []
    with _shown() as pictures:
        for cell in cells(script):
            if cell.code:
                printed = io.StringIO()
                with contextlib.redirect_stdout(printed):
                    exec(compile("\n" * cell.line + cell.source, str(path), "exec"), module.__dict__)
                outputs.append(Output(printed.getvalue(), pictures[:]))
                pictures.clear()
    return outputs


@contextlib.contextmanager
def _shown() -> Any:
    """A list of what `matplotlib.pyplot.show` shows meanwhile, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures: list[bytes] = []

    def show(*_: Any, **__: Any) -> None:
        for number in pyplot.get_fignums():
            file = io.BytesIO()
            pyplot.figure(number).savefig(file, format="png", dpi=110, bbox_inches="tight")
            pictures.append(file.getvalue())
        pyplot.close("all")

    before, pyplot.show = pyplot.show, show
    try:
        yield pictures
    finally:
        pyplot.show = before


def page(path: Path, outputs: list[Output], picture: str) -> str:
    """The script as a page of Markdown; `picture` is the address of picture {number} of cell {cell}."""
    parts, given, n = [], iter(outputs), 0
    for cell in cells(path.read_text()):
        if not cell.code:
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        output = next(given, Output("", []))
        if output.text:
            parts.append("```{ .text .output }\n" + output.text.rstrip("\n") + "\n```")
        parts += [f"![What the code draws]({picture.format(cell=n, number=k)})" for k in range(len(output.pictures))]
        n += 1
    return "\n\n".join(parts) + "\n"
