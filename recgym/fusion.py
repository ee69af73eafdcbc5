"""A step as one compiled call.

A step runs some fifteen kernels on some forty arrays. For a single user, calling the kernels from Python takes ten times
as long as what they compute, and in a batch the threads wait for Python's lock between them. So a step is recorded: which
kernels ran, on which arrays, in which order. The recording is written out as the source of one function that calls the
same kernels, and numba compiles it. Both are kept on disk (`recgym.files.cache_folder`), as compiling takes seconds. The
function gives the same numbers to the last bit, which is checked before its first use.

Part of the function for `recgym/News-v0`, with simple parts, reads:

    def step(first, end, before, fixed, after, outcome, all_given_0, all_given_1, table, reals, integers):
        users, block = all_given_0.shape[0], min(128, end - first)
        constant_0 = carray(address(table, 0), (table[1], 16,), np.float32)
        ...
        room = np.empty(block * 420, np.uint8)
        for start in range(first, end, block):
            B = min(block, end - start)
            before_clock = carray(pointer(before, users * 168 + start * 4), (B,), np.float32)
            ...
            x0 = outcome_slate
            _pick_0(x0, given_0.reshape((B, 1,)), before_candidates, (integers[0] != 0), (integers[1] != 0))
            x1 = carray(pointer(room, block * 0), (4, B,), np.float32)
            _noise_1(x1, fixed_key, fixed_episode, before_t)
            ...
            x5 = outcome_click
            fill(x5, 0)
            _cascade_4(x5, x6, x3, reals[3], reals[4], reals[5], x1[2:4])
            x10 = after_t
            copy(x10, before_t)

It steps the users `first` to `end`, a block of them at a time, so that what one kernel makes is still in the processor's
cache when the next one reads it. Their columns lie in the buffers `before` and `fixed` (`recgym.packed`), and it writes
what it makes into `after` and `outcome`; `given` are the actions and the array for the observation. Numbers of the world come
in arrays, and where its arrays lie in a table, so that worlds that differ in numbers alone share one function. Temporaries share
`room`. All lengths of rows are literals: a kernel that is inlined (`recgym.kernel`) has its loops unrolled by them.

What can be recorded, and what cannot, is said in `recgym.recording`.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.core.errors import NumbaError
from numba.extending import intrinsic

from recgym.crew import Crew
from recgym.files import cache_folder, write_atomically
from recgym.kernel import kernel
from recgym.packed import U8, Constants, Packed
from recgym.recording import Arguments, Call, Copy, Fill, Make, NotFusable, Program, Step, joined
from recgym.types import Array, Users

CHECKS = 8  # steps for which a compiled step must match the original
NOBODY = np.empty(0, U8), np.empty(0, U8)  # the buffers of users of whom only the number counts
PIECES = 4  # of a batch for each thread, so that all are done at about the same time
BLOCK = 128  # users that are stepped together
FEW = 32  # rows of a constant array up to which their number is a literal
TITLE = '"""A step of the simulation, written by recgym.fusion."""'  # first line of its file
DAYS = 90  # after which a compiled step is deleted from disk


class Fused:
    """A compiled step. Calling it gives what calling the step itself would give.

    Args:
        step: ``(users, *arrays) -> (users, outcome)``, where each array has one row per user. It may write into `arrays`.
        example: a function that makes arguments for n users, new arrays at each call.
        threads: how many threads share a batch, counting that of the caller. least: users below which the caller alone does it.

    Attributes:
        users: layouts of the two buffers that hold the users. layout: of the buffer that holds the outcome.

    Raises:
        NotFusable: the step cannot be recorded, or the compiled one does not do the same.
    """

    def __init__(self, step: Step, example: Callable[[int], Arguments], threads: int = 1, least: int = 1) -> None:
        program = Program(step, example)
        source, modules = written(program), tuple(sorted({module for module, _ in program.imports}))
        self.users, self.layout = program.users, program.outcome
        self._constants, self._numbers = Constants(program.constants), program.numbers
        taken = (0, 0, *[np.empty(0, U8)] * 4, *program.given, self._constants.table, *self._numbers)
        self._code = source, modules, tuple(numba.typeof(value) for value in taken)
        try:
            self._function = _compiled(*self._code)
        except NumbaError as error:
            raise NotFusable(f"numba: {error}") from error
        self._threads, self._least = threads, least
        self._crew: Crew | None = None
        for n in (1, 3, BLOCK + 10):  # other numbers of users than those of the recording, and more than a block
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
        if self._crew is None or n < self._least:
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


def written(program: Program) -> str:
    """The source of a module with the function `step` of a program."""
    buffers = {
        "before": program.users[0],
        "fixed": program.users[1],
        "after": program.users[0],
        "outcome": program.outcome,
    }
    given = {f"given_{i}": array for i, array in enumerate(program.given)}
    once, views, lines, at = [], [], [], 0
    for i, array in enumerate(program.constants):
        rows = [n if n <= FEW else f"table[{at + 1}]" for n in array.shape[:1]]
        once.append(_view(f"constant_{i}", f"address(table, {at})", [*rows, *array.shape[1:]], array.dtype))
        at += 1 + array.ndim
    for where, layout in buffers.items():
        for name, start, dtype, row in layout.columns:
            if where in ("after", "outcome") or f"{where}_{name}" in program.reads:
                offset = f"users * {start} + start * {dtype.itemsize * math.prod(row)}"
                views.append(_view(f"{where}_{name}", f"pointer({where}, {offset})", ["B", *row], dtype))
    for name, array in given.items():
        offset = f"start * {array.dtype.itemsize * math.prod(array.shape[1:])}"
        views.append(_view(name, f"pointer(all_{name}, {offset})", ["B", *array.shape[1:]], array.dtype))
    for statement in program.statements:
        match statement:
            case Make(name, shape, dtype, ""):
                lines.append(_view(name, f"pointer(room, block * {program.places[name]})", shape, dtype))
            case Make(name, _, _, target):
                lines.append(f"{name} = {target}")
            case Fill(name, value):
                lines.append(f"fill({name}, {value})")
            case Copy(name, source):
                lines.append(f"copy({name}, {source})")
            case Call(_, alias, arguments):
                lines.append(f"{alias}({', '.join(arguments)})")
    taken = ["first", "end", *buffers, *[f"all_{name}" for name in given], "table", "reals", "integers"]
    return "\n".join(
        [
            TITLE,
            "import numpy as np",
            "from numba import carray",
            "from recgym.fusion import copy, fill, pointer",
            "from recgym.kernel import compiled",
            "from recgym.packed import address",
            *[f"from {module} import {name} as {alias}" for (module, name), alias in program.imports.items()],
            "",
            "",
            "@compiled",
            f"def step({', '.join(taken)}):",
            f"    users, block = all_given_0.shape[0], min({BLOCK}, end - first)",
            *[f"    {line}" for line in once],
            f"    room = np.empty(block * {program.room}, np.uint8)",
            "    for start in range(first, end, block):",
            "        B = min(block, end - start)",
            *[f"        {line}" for line in (*views, *lines)],
            "",
        ]
    )


def _view(name: str, place: str, shape: Sequence[int | str], dtype: np.dtype[Any]) -> str:
    """The line that makes an array of what lies at a place in memory."""
    axes, kind = joined([str(axis) for axis in shape]), "np.bool_" if dtype == np.bool_ else f"np.{dtype.name}"
    return f"{name} = carray({place}, {axes}, {kind})"


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
    """The address of a byte of an array, for `numba.carray`, which takes a fiftieth of the time of a view and a reshape."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.gep(builder.bitcast(array.data, cgutils.voidptr_t), [arguments[1]])

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
