"""What people see of a run: bars in a terminal, and everywhere a line for each job that has ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from benchmarks.executors import Update
from benchmarks.suite import Entry

LOG_SECONDS = 60  # between two lines about a running job where there is no terminal
LINES = {  # stages that get a line: its colour, and what the text starts with
    "done": ("green", ""),
    "failed": ("red", "failed: "),
    "again": ("red", "tried again: "),
    "elsewhere": ("dim", ""),
}


class Display:
    """The display of a run; called with each update of a job."""

    def __init__(self, entries: Sequence[Entry], console: Console) -> None:
        self.console = console
        self.names = {
            job.key: f"{task} {label}" + (f" seed {job.seed}" if job.steps else "") for task, label, job in entries
        }
        name, text, left = (
            TextColumn(f"{{task.{part}}}", markup=False) for part in ("description", "fields[text]", "fields[left]")
        )
        columns = (name, BarColumn(8), text, left)
        self.bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self.overall = self.bars.add_task("all jobs", total=len(self.names), text="", left="")
        self.running: dict[str, _Bar] = {}
        self.ended = 0
        self.began = time.monotonic()

    def __enter__(self) -> Display:
        self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.bars.stop()

    def __call__(self, update: Update) -> None:
        """Show an update."""
        now, n = time.monotonic(), len(self.names)
        if update.stage in LINES:
            bar = self.running.pop(update.key, None)  # a worker that died before its first word has no bar
            if bar:
                self.bars.remove_task(bar.id)
            self.ended += update.stage in ("done", "failed")
            colour, before = LINES[update.stage]
            self._line(update.key, before + update.text, colour)
        else:
            bar = self.running.get(update.key)
            if bar is None or bar.stage != update.stage:
                name = _cut(self.names[update.key], 28)
                id = bar.id if bar else self.bars.add_task(name, total=None, text="", left="")
                bar = self.running[update.key] = _Bar(id, update.stage, now, bar.said if bar else now)
            bar.share = update.done / update.total
            if update.stage != "start":
                text = f"{update.stage} {_short(update.done)}/{_short(update.total)} {update.text}"
                left = _left(now - bar.began, bar.share)
                self.bars.update(bar.id, completed=update.done, total=update.total, text=_cut(text, 30), left=left)
                if not self.console.is_terminal and now - bar.said >= LOG_SECONDS:
                    bar.said = now
                    self._line(update.key, f"{text}, {left} left" if left else text)
        done = self.ended + sum(bar.share * (0.8 if bar.stage == "train" else 1.0) for bar in self.running.values())
        self.bars.update(self.overall, completed=done, text=f"{self.ended}/{n}", left=_left(now - self.began, done / n))

    def _line(self, key: str, text: str, colour: str = "") -> None:
        n = len(self.names)
        count = f"{self.ended:>{len(str(n))}}/{n}"
        self.console.print(Text.assemble(f"{count} {self.names[key]}: ", (text, colour)))


@dataclass
class _Bar:
    """A running job: its bar, its stage and since when, when a log last heard of it, share of the stage done in [0, 1]."""

    id: TaskID
    stage: str
    began: float
    said: float
    share: float = 0.0


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _short(number: int) -> str:
    return f"{number / 1000:.0f}k" if number >= 10_000 else str(number)


def _left(seconds: float, share: float) -> str:
    if share <= 0:
        return ""
    left = round(seconds * (1 - share) / share)
    return f"{left // 3600}:{left // 60 % 60:02}:{left % 60:02}"
