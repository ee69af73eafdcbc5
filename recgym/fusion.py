"""A step as one compiled call.

A step runs some fifteen kernels on some forty arrays. For a single user, calling the kernels from Python takes ten times
as long as what they compute, and in a batch the threads wait for Python's lock between them. So a step is recorded: which
kernels ran, on which arrays, in which order. The recording is written out as the source of one function that calls the
same kernels, and numba compiles it. Both are kept on disk (`recgym.files.cache_folder`), as compiling takes seconds. The
function gives the same numbers to the last bit, which is checked before its first use.

Part of the function for `recgym/News-v0`, with simple parts, reads:

    def step(first, end, before, fixed, after, outcome, given_0, given_1, table, reals, integers):
        users, B = given_0.shape[0], end - first
        before_clock = carray(pointer(before, users * 168 + first * 4), (B,), np.float32)
        ...
        x0 = outcome_slate
        _pick_0(x0, given_0.reshape((B, 1,)), before_candidates, (integers[0] != 0), (integers[1] != 0))
        x1 = np.empty((4, B,), np.float32)
        _noise_1(x1, fixed_key, fixed_episode, before_t)
        ...
        x5 = outcome_click; fill(x5, 0)
        _cascade_4(x5, x6, x3, reals[3], reals[4], reals[5], x1[2:4])
        x10 = after_t; copy(x10, before_t)

It steps the users `first` to `end`. Their columns lie in the buffers `before` and `fixed` (`recgym.packed`), and it
writes what it makes into `after` and `outcome`; `given` are the actions and the array for the observation. Numbers of the world come
in arrays, and where its arrays lie in a table, so that worlds that differ in numbers alone share one function.

A recording knows what `recgym.tape` sees: arrays made by `empty`, `zeros`, `filled` and `copied` of `recgym.types`, slices
of their first axis, reshapes of them, and kernels that return nothing. Any other array must be the same object at each
step. The tape does not see NumPy's operators and slices that write, nor branches in Python that no example took: a part
with one of these must say ``fusable = False``. Whatever else cannot be recorded raises `NotFusable`.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from recgym.crew import Crew
from recgym.files import cache_folder, write_atomically
from recgym.kernel import Kernel, kernel
from recgym.packed import U8, Constants, Layout, Packed
from recgym.tape import Made, Tape, tapes
from recgym.types import Array, Users

NOBODY = np.empty(0, U8), np.empty(0, U8)  # the buffers of users of whom only the number counts
PIECES = 4  # of a batch for each thread, so that all are done at about the same time
CHECKS = 8  # steps for which a compiled step must match the original
TITLE = '"""A step of the simulation, written by recgym.fusion."""'  # first line of its file
DAYS = 90  # after which a compiled step is deleted from disk
Step = Callable[..., tuple[Any, dict[str, Array]]]  # (users, *arrays) -> (users, outcome)
Arguments = tuple[Users, *tuple[Array, ...]]


class NotFusable(Exception):
    """The step does something that a recording cannot hold."""


class Fused:
    """A compiled step. Calling it gives what calling the step itself would give.

    Args:
        step: ``(users, *arrays) -> (users, outcome)``, where each array has one row per user. It may write into `arrays`.
        example: a function that makes arguments for n users, new arrays at each call.
        threads: how many threads share a batch, counting that of the caller.

    Attributes:
        users: layouts of the two buffers that hold the users. layout: of the buffer that holds the outcome.

    Raises:
        NotFusable: the step cannot be recorded, or the compiled one does not do the same.
    """

    def __init__(self, step: Step, example: Callable[[int], Arguments], threads: int = 1) -> None:
        program = _Program(*[_Recording(step, example(n)) for n in (2, 3)])
        self._code = program.source, program.modules, program.signature
        try:
            self._function = _compiled(*self._code)
        except NumbaError as error:
            raise NotFusable(f"numba: {error}") from error
        self.users, self.layout = program.users, program.outcome
        self._constants, self._numbers = program.constants, program.numbers
        self._threads = threads
        self._crew: Crew | None = None
        for n in (1, 3, 10):  # other numbers of users than those of the recording among them
            _check(step, self, example, n)
        self._start()

    def _start(self) -> None:
        self._crew = Crew(self._threads - 1) if self._threads > 1 else None
        self._process = os.getpid()

    def close(self) -> None:
        """Stop the threads. The step can still be called, and then runs in the thread of the caller alone."""
        if self._crew is not None:
            self._crew.close()
            self._crew = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": None, "_crew": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._function = _compiled(*self._code)
        self._start()

    def __call__(self, users: Users | Packed, *arrays: Array) -> tuple[Packed, dict[str, Array]]:
        after, outcome = self.run(users, *arrays)
        return after, self.layout.arrays(outcome, after.n)

    def run(self, users: Users | Packed, *arrays: Array) -> tuple[Packed, Array]:
        """The users after the step, and the buffer of the outcome."""
        before = users if isinstance(users, Packed) else Packed.of(self.users, users)
        n, (moving, fixed) = before.n, before.buffers or NOBODY
        outcome, moved = np.empty(n * self.layout.width, U8), np.empty(n * self.users[0].width, U8)
        given = (moving, fixed, moved, outcome, *arrays, self._constants.table, *self._numbers)
        if self._crew is None:
            self._function(0, n, *given)
        else:
            if self._process != os.getpid():  # this is a fork, which has none of its parent's threads
                self._start()
            pieces = min(PIECES * self._threads, n)  # of one user at least
            self._crew.run(self._function, [*pairwise([n * i // pieces for i in range(pieces + 1)])], given)
        return Packed(self.users, (moved, fixed), n), outcome


def _check(step: Step, fused: Fused, example: Callable[[int], Arguments], n: int) -> None:
    """Take a few steps in a row both ways, with n users, and raise NotFusable unless they give the same bits."""
    users: Users | Packed = example(n)[0]
    expected: Users = example(n)[0]
    for _ in range(CHECKS):
        ours, theirs = example(n)[1:], example(n)[1:]
        users, outcome = fused(users, *ours)
        expected, known = step(expected, *theirs)
        pairs = [(name, array, expected[name]) for name, array in users.unpacked().__dict__.items()]
        pairs += [(name, array, known[name]) for name, array in outcome.items()]
        pairs += [("an argument", *pair) for pair in zip(ours, theirs, strict=True)]
        for name, a, b in pairs:
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                raise NotFusable(f"compiled, the step gives another {name}")


class _Recording:
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


class _Program:
    """The source of a recorded step. It takes two recordings, of 2 and of 3 users, to tell what depends on their number.

    Attributes:
        source: a module with the function `step`. modules: whose kernels it calls. signature: the types of its arguments.
        users, outcome: where they lie in the buffers that come first. constants: the arrays whose table comes then.
        numbers: the two arrays that come last.
    """

    def __init__(self, small: _Recording, large: _Recording) -> None:
        self._recordings = small, large
        self._constants: dict[int, Array] = {}
        self._reals: list[float] = []
        self._integers: list[int] = []
        self._imports: dict[tuple[str, str], str] = {}
        self._read: set[str] = set()
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
        lines = [self._line(*entries) for entries in zip(small.entries, large.entries, strict=True)]
        for target, pair in results.items():
            if self._targets.get(id(pair[0])) != target:
                with _naming(target.partition("_")[2]):
                    lines.append(f"copy({target}, {self._array(*pair)})")
        fixed = {name: array for name, array in small.users.items() if name not in changed}
        self.users, self.outcome = (Layout(changed), Layout(fixed)), Layout(small.outcome)
        given = [f"given_{i}" for i in range(len(small.arrays))]
        self.constants = Constants([*self._constants.values()])
        self.numbers = np.array(self._reals, np.float64), np.array(self._integers, np.int64)
        taken = (0, 0, *[np.empty(0, U8)] * 4, *small.arrays, self.constants.table, *self.numbers)
        self.signature = tuple(numba.typeof(value) for value in taken)
        buffers = {"before": self.users[0], "fixed": self.users[1], "after": self.users[0], "outcome": self.outcome}
        views, at = [], 0
        for i, array in enumerate(self.constants.arrays):
            shape = _tuple([f"table[{at + 1 + axis}]" for axis in range(array.ndim)])
            views.append(f"constant_{i} = carray(address(table, {at}), {shape}, {_dtype(array.dtype)})")
            at += 1 + array.ndim
        for where, layout in buffers.items():
            for name, start, dtype, row in layout.columns:
                if where in ("after", "outcome") or f"{where}_{name}" in self._read:
                    address = f"pointer({where}, users * {start} + first * {dtype.itemsize * math.prod(row)})"
                    shape = _tuple(["B", *map(str, row)])
                    views.append(f"{where}_{name} = carray({address}, {shape}, {_dtype(dtype)})")
        self.modules = tuple(sorted({module for module, _ in self._imports}))
        imports = [f"from {module} import {name} as {alias}" for (module, name), alias in self._imports.items()]
        self.source = "\n".join(
            [
                TITLE,
                "import numpy as np",
                "from numba import carray",
                "from recgym.fusion import copy, fill, pointer",
                "from recgym.kernel import compiled",
                "from recgym.packed import address",
                *imports,
                "",
                "",
                "@compiled",
                f"def step({', '.join(['first', 'end', *buffers, *given, 'table', 'reals', 'integers'])}):",
                f"    users, B = {given[0]}.shape[0], end - first",
                *[f"    {line}" for line in (*views, *[f"{name} = {name}[first:end]" for name in given], *lines)],
                "",
            ]
        )

    def _line(self, small: Any, large: Any) -> str:
        if type(small) is not type(large):
            raise NotFusable("what it does depends on the users")
        if isinstance(small, Made):
            name = self._recordings[0].made[id(small.array)]
            new = f"np.empty({self._shape(small.array, large.array)}, {_dtype(small.array.dtype)})"
            line = f"{name} = {self._targets.get(id(small.array), new)}"
            if small.how == "copy":
                return f"{line}; copy({name}, {self._array(small.source, large.source)})"
            if small.how == "empty":
                return line
            value = self._number(small.source, large.source) if small.how == "full" else "0"
            return f"{line}; fill({name}, {value})"
        if small.kernel is not large.kernel or small.result is not None:
            raise NotFusable(f"{small.kernel.__name__}: returns something, or runs for some users only")
        with _naming(small.kernel.__name__):
            arguments = [self._value(*pair) for pair in zip(small.arguments, large.arguments, strict=True)]
        return f"{self._kernel(small.kernel)}({', '.join(arguments)})"

    def _kernel(self, kernel: Kernel) -> str:
        where = kernel.__module__, kernel.__qualname__
        if where[0] == "__main__" or getattr(sys.modules[where[0]], where[1], None) is not kernel:
            raise NotFusable(f"{where[1]}: must be a global of a module that can be imported")
        return self._imports.setdefault(where, f"{where[1]}_{len(self._imports)}")

    def _value(self, small: Any, large: Any) -> str:
        if isinstance(small, np.ndarray):
            return self._array(small, large)
        if isinstance(small, tuple):
            return _tuple([self._value(*pair) for pair in zip(small, large, strict=True)])
        return self._number(small, large)

    def _number(self, small: Any, large: Any) -> str:
        """The expression of a number. It is read from an array, so that worlds that differ in numbers alone share a step."""
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
        return f"{expression}({self._shape(small, large)})" if expression.endswith(".reshape") else expression

    def _view(self, recording: _Recording, array: Array) -> str | None:
        """The expression of an array: its name, a slice of its first axis, or its method `reshape`; None for a constant."""
        owner = recording.owner(array)
        if owner is None:
            return None
        name = recording.inputs.get(id(owner)) or recording.made[id(owner)]
        if id(owner) in recording.inputs and recording.after.get(name.removeprefix("before_")) is owner:
            name = name.replace("before_", "fixed_", 1)
        self._read.add(name)
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

    def _shape(self, small: Array, large: Array) -> str:
        if small.ndim != large.ndim:
            raise NotFusable("the number of axes depends on the users")
        axes = []
        for a, b in zip(small.shape, large.shape, strict=True):
            if a != b and (a, b) != (2, 3):
                raise NotFusable(f"a shape depends on the users: {small.shape}, {large.shape}")
            axes.append(str(a) if a == b else "B")
        return _tuple(axes)


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Puts into an error what could not be fused: a column, an output or a kernel."""
    try:
        yield
    except NotFusable as reason:
        raise NotFusable(f"{what}: {reason}") from None


def _tuple(parts: Sequence[str]) -> str:
    return "(" + "".join(f"{part}, " for part in parts).rstrip() + ")"


def _dtype(dtype: np.dtype[Any]) -> str:
    return "np.bool_" if dtype == np.bool_ else f"np.{dtype.name}"


@kernel
def fill(out, value):
    """out[...] = value, without the cost that numba's own has for small arrays."""
    for i in range(out.size):
        out.flat[i] = value


@kernel
def copy(out, source):
    """out[...] = source, of the same shape."""
    for i in range(out.size):
        out.flat[i] = source.flat[i]


@intrinsic
def pointer(context: Any, buffer: Any, offset: Any) -> Any:
    """The address of a byte of a buffer, for `numba.carray`, which takes a fiftieth of the time of a view and a reshape."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(array.data, [arguments[1]])

    return numba.types.voidptr(buffer, numba.types.intp), generate


@cache
def _compiled(source: str, modules: tuple[str, ...], signature: tuple[Any, ...]) -> Any:
    """The function of a program, compiled for these types only."""
    function = _module(source, modules).step
    function.compile(signature)
    function.disable_compile()
    return function


def _module(source: str, modules: Sequence[str]) -> ModuleType:
    """The source as a module. Its file is named by a digest of the source and of all code that it calls."""
    digest = hashlib.sha256(source.encode())
    called = [sys.modules[module].__file__ for module in modules]
    for file in sorted({*Path(__file__).parent.rglob("*.py"), *[Path(file) for file in called if file]}):
        digest.update(file.read_bytes())
    name = f"step_{digest.hexdigest()[:24]}"
    module = ModuleType(f"recgym_{name}")
    sys.modules[module.__name__] = module
    exec(compile(source, _kept(f"{name}.py", source), "exec"), module.__dict__)
    return module


def _kept(name: str, source: str) -> str:
    """The path of a file with the source, beside which numba keeps what it compiles; a made-up path if none can be written."""
    try:
        folder = cache_folder()
        path = folder / name
        if not path.is_file() or path.read_bytes() != source.encode():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, source.encode())
            _forget(folder)
    except (OSError, RuntimeError):
        return f"<{name}>"
    return str(path)


def _forget(folder: Path) -> None:
    """Delete the steps that were compiled more than `DAYS` ago, most of them for an older recgym; nothing else."""
    for path in folder.glob("step_*.py"):
        if re.fullmatch(r"step_[0-9a-f]{24}\.py", path.name) and time.time() - path.stat().st_mtime > DAYS * 86400:
            with path.open("rb") as file:
                ours = file.readline() == f"{TITLE}\n".encode()
            if ours:
                for old in (*folder.glob(f"__pycache__/{path.stem}.step-*.nb[ic]"), path):
                    old.unlink(missing_ok=True)
