"""How far a fit is, for people: a bar with the time left in a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self, TextIO

EVERY = 10.0  # seconds between two lines where there is no terminal


class Display:
    """Tells what is done, and how long the part in hand will still take. Called as the `progress` of `fit_world`.

    In a terminal, and where rich is installed, a part is a bar; elsewhere it is a line when it begins and every ten seconds.

    Args:
        stream: to write to; None: stderr.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.bars, self.bar = _bars(self.stream), None
        self.part, self.share = "", 0.0
        self.began = self.start = self.said = self.last = time.monotonic()

    def __enter__(self) -> Self:
        if self.bars:
            self.bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self.bars:
            self.bars.stop()

    def __call__(self, what: str, share: float, number: float) -> None:
        """Show a part, the share of it that is done in [0, 1], and its present number."""
        now = time.monotonic()
        fresh = what != self.part or share < self.share
        if fresh:
            self.part, self.began = what, self.last
        self.share, self.last = share, now
        left = _clock((now - self.began) * (1 - share) / share) if 0 < share < 1 else ""
        text = f"{number:.5g}" + (f", {left} left" if left else "")
        if self.bars:
            if fresh or self.bar is None:
                self.bar = self.bars.add_task(what, total=1.0, text="")
            self.bars.update(self.bar, completed=share, text=text)
        elif fresh or share >= 1 or now - self.said >= EVERY:
            self.said = now
            print(f"{_clock(now - self.start)} {what}: {share:.0%}, {text}", file=self.stream, flush=True)

    def say(self, text: str) -> None:
        """Show what is done now, where there is no more to tell."""
        self.said = self.last = time.monotonic()
        line = f"{_clock(self.said - self.start)} {text}"
        if self.bars:
            self.bars.console.print(line, markup=False, highlight=False)
        else:
            print(line, file=self.stream, flush=True)


def _bars(stream: TextIO) -> Any:
    """rich's bars, where there is a terminal and rich."""
    if not stream.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn
    except ModuleNotFoundError:
        return None
    columns = (TextColumn("{task.description}", markup=False), BarColumn(20), TextColumn("{task.percentage:>3.0f} %"),
               TextColumn("{task.fields[text]}", markup=False))  # fmt: skip
    return Progress(*columns, console=Console(file=stream))


def _clock(seconds: float) -> str:
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
