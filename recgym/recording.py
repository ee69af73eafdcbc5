"""A recorded step: the program that a compiled step (`recgym.fusion`) is written from.

A step is run twice, with 2 and with 3 users, while a tape (`recgym.tape`) is running. What the two recordings have in common
is its program: arrays that are made, kernels that run on them, in order. Whoever writes a program out for a processor needs
nothing else: shapes of rows are known, and every kernel goes row by row, so that it may be run for any range of users.

A recording knows what the tape sees: arrays made by `empty`, `zeros`, `filled` and `copied` of `recgym.types`, slices of
their first axis, reshapes of them, and kernels that return nothing. Any other array must be the same object at each step.
The tape does not see NumPy's operators and slices that write, nor branches in Python that no example took: a part with one
of these must say ``fusable = False``. Whatever else cannot be recorded raises `NotFusable`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from recgym.kernel import Kernel
from recgym.packed import Layout
from recgym.tape import Made, Tape, tapes
from recgym.types import Array, Users

Step = Callable[..., tuple[Any, dict[str, Array]]]  # (users, *arrays) -> (users, outcome)
Arguments = tuple[Users, *tuple[Array, ...]]


class NotFusable(Exception):
    """The step does something that a recording cannot hold."""


class Make(NamedTuple):
    """An array is made: ``name = target`` where it is returned under that name, otherwise a temporary of its own.

    Attributes:
        name: of the array. shape: with "B" for the number of users. dtype. target: a column of the buffers, or "".
    """

    name: str
    shape: tuple[int | str, ...]
    dtype: np.dtype[Any]
    target: str


class Fill(NamedTuple):
    """All of an array gets one value, given as an expression."""

    name: str
    value: str


class Copy(NamedTuple):
    """An array gets what another one of its shape holds, given as an expression."""

    name: str
    source: str


class Call(NamedTuple):
    """A kernel runs; its arguments are expressions."""

    kernel: Kernel
    alias: str
    arguments: tuple[str, ...]


Statement = Make | Fill | Copy | Call


class Recording:
    """One run of a step, with what it made and called."""

    def __init__(self, step: Step, arguments: Arguments) -> None:
        users, *self.arrays = arguments
        # Copies, as columns may share an array by chance.
        self.users = {name: array.copy() for name, array in users.__dict__.items()}
        tape = Tape()
        tapes.append(tape)
        try:
            after, self.outcome = step(Users.of(dict(self.users)), *self.arrays)
        finally:
            tapes.remove(tape)
        self.after = after.__dict__
        self.entries = tape.entries
        self.inputs = {id(array): f"before_{name}" for name, array in self.users.items()}
        self.inputs |= {id(array): f"given_{i}" for i, array in enumerate(self.arrays)}
        made = [entry.array for entry in self.entries if isinstance(entry, Made)]
        self.made = {id(array): f"x{i}" for i, array in enumerate(made)}
        self.owners = {id(array): array for array in (*self.users.values(), *self.arrays, *made)}

    def owner(self, array: Array) -> Array | None:
        """The input or the recorded array that an array is, or is a view of; None where it is neither."""
        while id(array) not in self.owners:
            if not isinstance(array.base, np.ndarray):
                return None
            array = array.base
        return self.owners[id(array)]


class Program:
    """A step as statements. Arrays are named, and their expressions are a name, a slice of its first axis, or a reshape.

    Names begin with ``before_`` and ``fixed_`` (columns of the users that the step changes, and those that it leaves), with
    ``after_`` and ``outcome_`` (what it makes), ``given_`` (other arguments with a row per user), ``constant_``, and x for
    what is made on the way. ``reals[i]`` and ``integers[i]`` are numbers, kept in two arrays, so that worlds that differ in
    numbers alone share one program.

    Args:
        step: ``(users, *arrays) -> (users, outcome)``, where each array has one row per user. It may write into `arrays`.
        example: a function that makes arguments for n users, new arrays at each call.

    Attributes:
        statements: in order. places: where each temporary begins in the room that they share, in bytes per user, those of
            wide types first. room: bytes per user of all of them. imports: (module, kernel) -> its name in the statements.
        users, outcome: layouts of the buffers of the users (the columns that the step changes, and the others) and of what
            it returns besides. reads: the names of the columns that it reads.
        given: examples of the other arguments. constants: arrays that are alike at each step. numbers: reals, float64,
            and integers, int64.

    Raises:
        NotFusable: the step cannot be recorded.
    """

    def __init__(self, step: Step, example: Callable[[int], Arguments]) -> None:
        small, large = self._recordings = Recording(step, example(2)), Recording(step, example(3))
        self._constants: dict[int, Array] = {}
        self._reals: list[float] = []
        self._integers: list[int] = []
        self.imports: dict[tuple[str, str], str] = {}
        self.reads: set[str] = set()
        if len(small.entries) != len(large.entries) or small.after.keys() != small.users.keys():
            raise NotFusable("what it does depends on the users")
        # Arrays that the step returns are made right in the buffers that are returned. `_targets` tells where; an array
        # that is returned under several names is made under the first and copied to the others.
        changed = {name: array for name, array in small.after.items() if array is not small.users[name]}
        results = {f"after_{name}": (array, large.after[name]) for name, array in changed.items()}
        results |= {f"outcome_{name}": (array, large.outcome[name]) for name, array in small.outcome.items()}
        self._targets: dict[int, str] = {}
        for target, (array, _) in results.items():
            if id(array) in small.made:
                self._targets.setdefault(id(array), target)
        self.statements: list[Statement] = []
        for entries in zip(small.entries, large.entries, strict=True):
            self._add(*entries)
        for target, pair in results.items():
            if self._targets.get(id(pair[0])) != target:
                with _naming(target.partition("_")[2]):
                    self.statements.append(Copy(target, self._array(*pair)))
        temporaries = [made for made in self.statements if isinstance(made, Make) and not made.target]
        self.places: dict[str, int] = {}
        self.room = 0
        for made in sorted(temporaries, key=lambda made: -made.dtype.itemsize):
            self.places[made.name] = self.room
            self.room += made.dtype.itemsize * math.prod(axis for axis in made.shape if isinstance(axis, int))
        fixed = {name: array for name, array in small.users.items() if name not in changed}
        self.users, self.outcome = (Layout(changed), Layout(fixed)), Layout(small.outcome)
        self.given = tuple(small.arrays)
        self.constants = tuple(self._constants.values())
        self.numbers = np.array(self._reals, np.float64), np.array(self._integers, np.int64)

    def _add(self, small: Any, large: Any) -> None:
        if type(small) is not type(large):
            raise NotFusable("what it does depends on the users")
        if isinstance(small, Made):
            name, target = self._recordings[0].made[id(small.array)], self._targets.get(id(small.array), "")
            self.statements.append(Make(name, _shape(small.array, large.array), small.array.dtype, target))
            if small.how == "copy":
                self.statements.append(Copy(name, self._array(small.source, large.source)))
            elif small.how != "empty":
                value = self._number(small.source, large.source) if small.how == "full" else "0"
                self.statements.append(Fill(name, value))
            return
        if small.kernel is not large.kernel or small.result is not None:
            raise NotFusable(f"{small.kernel.__name__}: returns something, or runs for some users only")
        with _naming(small.kernel.__name__):
            arguments = [self._value(*pair) for pair in zip(small.arguments, large.arguments, strict=True)]
        self.statements.append(Call(small.kernel, self._alias(small.kernel), tuple(arguments)))

    def _alias(self, kernel: Kernel) -> str:
        where = kernel.__module__, kernel.__qualname__
        if where[0] == "__main__" or getattr(sys.modules[where[0]], where[1], None) is not kernel:
            raise NotFusable(f"{where[1]}: must be a global of a module that can be imported")
        return self.imports.setdefault(where, f"{where[1]}_{len(self.imports)}")

    def _value(self, small: Any, large: Any) -> str:
        if isinstance(small, np.ndarray):
            return self._array(small, large)
        if isinstance(small, tuple):
            return joined([self._value(*pair) for pair in zip(small, large, strict=True)])
        return self._number(small, large)

    def _number(self, small: Any, large: Any) -> str:
        """The expression of a number."""
        if type(small) is not type(large) or small != large:
            raise NotFusable(f"a number depends on the users: {small!r}, {large!r}")
        if isinstance(small, bool):
            self._integers.append(int(small))
            return f"(integers[{len(self._integers) - 1}] != 0)"
        if isinstance(small, int):
            self._integers.append(int(small))
            return f"integers[{len(self._integers) - 1}]"
        if isinstance(small, float):
            self._reals.append(small)
            return f"reals[{len(self._reals) - 1}]"
        raise NotFusable(f"{small!r} is neither an array nor a number")

    def _array(self, small: Array, large: Array) -> str:
        """The expression of an array."""
        expression, other = (self._view(*pair) for pair in zip(self._recordings, (small, large), strict=True))
        if expression is None:
            if small is not large:
                made = "`empty`, `zeros`, `filled` and `copied` of recgym.types"
                raise NotFusable(f"an array of shape {small.shape} comes from elsewhere than {made}")
            self._constants.setdefault(id(small), small)
            return f"constant_{list(self._constants).index(id(small))}"
        if expression != other:
            raise NotFusable(f"{expression} depends on the users")
        shape = joined([str(axis) for axis in _shape(small, large)])
        return f"{expression}({shape})" if expression.endswith(".reshape") else expression

    def _view(self, recording: Recording, array: Array) -> str | None:
        """The expression of an array: its name, a slice of its first axis, or its method `reshape`; None for a constant."""
        owner = recording.owner(array)
        if owner is None:
            return None
        name = recording.inputs.get(id(owner)) or recording.made[id(owner)]
        if id(owner) in recording.inputs and recording.after.get(name.removeprefix("before_")) is owner:
            name = name.replace("before_", "fixed_", 1)
        self.reads.add(name)
        if array is owner:
            return name
        offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
        if array.size == owner.size and array.flags.c_contiguous and offset == 0:
            return name if array.shape == owner.shape else f"{name}.reshape"
        row = owner.strides[0]
        if (
            array.shape[1:] == owner.shape[1:]
            and array.strides == owner.strides
            and (offset % row == 0 or not array.size)
        ):
            start = offset // row if array.size else 0
            return f"{name}[{start}:{start + len(array)}]"
        raise NotFusable(f"a view of shape {array.shape} is neither a slice of the first axis nor a reshape")


def _shape(small: Array, large: Array) -> tuple[int | str, ...]:
    """The shape of an array, "B" where its axis has one entry per user."""
    if small.ndim != large.ndim:
        raise NotFusable("the number of axes depends on the users")
    axes: list[int | str] = []
    for a, b in zip(small.shape, large.shape, strict=True):
        if a != b and (a, b) != (2, 3):
            raise NotFusable(f"a shape depends on the users: {small.shape}, {large.shape}")
        axes.append(a if a == b else "B")
    return tuple(axes)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Puts into an error what could not be fused: a column, an output or a kernel."""
    try:
        yield
    except NotFusable as reason:
        raise NotFusable(f"{what}: {reason}") from None


def joined(parts: Sequence[str]) -> str:
    """The source of a tuple."""
    return "(" + "".join(f"{part}, " for part in parts).rstrip() + ")"
