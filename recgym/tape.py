"""The tape on which a step is recorded: the arrays it made and the kernels it ran, in order. See `recgym.fusion`."""

from __future__ import annotations

from dataclasses import dataclass, field
from threading import get_ident
from typing import Any, NamedTuple

import numpy as np


class Made(NamedTuple):
    """An array that was made: "empty", "zeros", "full" of the value `source`, or a "copy" of the array `source`."""

    array: np.ndarray
    how: str
    source: Any = None


class Ran(NamedTuple):
    """A kernel that ran: its arguments and its result."""

    kernel: Any
    arguments: tuple[Any, ...]
    result: Any


@dataclass(eq=False)
class Tape:
    """A record of one thread. While the tape is in `tapes`, each array made and each kernel run there is added to it."""

    thread: int = field(default_factory=get_ident)
    entries: list[Made | Ran] = field(default_factory=list)


tapes: list[Tape] = []  # those that are recording; nearly always none


def note(entry: Made | Ran) -> None:
    """Add an entry to the tape of this thread, if one is recording."""
    for tape in list(tapes):
        if tape.thread == get_ident():
            tape.entries.append(entry)
