"""The tape on which a step is recorded: the arrays it made and the kernels it ran, in order. See `recgym.fusion`."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np


class Made(NamedTuple):
    """A new array: "empty", "zeros", "full" of a value, or a "copy" of another array."""

    array: np.ndarray
    how: str
    source: Any = None


class Ran(NamedTuple):
    """A kernel, what it was given and what it returned."""

    kernel: Any
    arguments: tuple[Any, ...]
    result: Any


@dataclass(eq=False)
class Tape:
    """What happens in this thread while the tape is in `tapes`."""

    thread: int = field(default_factory=get_ident)
    entries: list[Made | Ran] = field(default_factory=list)


tapes: list[Tape] = []  # those that run now; nearly always none


def note(entry: Made | Ran) -> None:
    """Write an entry on the tape of this thread, if it has one."""
    for tape in list(tapes):
        if tape.thread == get_ident():
            tape.entries.append(entry)
