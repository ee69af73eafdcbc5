"""A recorded program (`recgym.recording`) as a CUDA kernel: one thread for each user.

Where `recgym.fusion` writes a program out for blocks of users, this module writes it out for B = 1: each thread makes views
of its user's part of the columns and of its temporaries, and calls the program's kernels on them. These kernels are compiled
from the same Python source as on the CPU. Part of the kernel for `recgym/News-v0` reads:

    def step(users, before, fixed, after, outcome, all_given_0, all_given_1, constants):
        b = cuda.grid(1)
        if b >= users:
            return
        room = cuda.local.array(60, int64)
        before_clock = view(before, users * 168 + b * 4, (1,), users * 4, np.float32)
        ...
        x0 = outcome_slate
        _pick_0(x0, view(all_given_0, b * 8, (1, 1,), users * 8, np.int64), before_candidates, (integers[0] != 0), ...)
        x1 = view(room, 0, (4, 1,), 4, np.float32)
        _noise_1(x1, fixed_key, fixed_episode, before_t)

A column lies in its buffer number by number, for each the users one after the other, so that the threads of a warp read
and write neighbours. (On the CPU it lies user by user.) Temporaries are local memory of the thread, `room`, which the
hardware interleaves in the same way. The catalogue and all other constants are in one buffer, as a kernel's arguments are
limited to 4 KB. All lengths are literals.

Sums and products come in the order of the source, but CUDA contracts them to fused multiply-adds and has other last digits
in `exp` and its like: floats agree with the CPU's to about six digits, and the random words are the same.

Without a device, numba's simulator (``NUMBA_ENABLE_CUDASIM=1``) runs the same text as plain Python, for tests. Importing
this module needs nothing but numba; `require_cuda` says what is missing.
"""

from __future__ import annotations

import ast
import inspect
import math
import re
import textwrap
import warnings
from collections.abc import Callable, Sequence
from dis import get_instructions
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from numba.core import config as settings

from recgym.errors import ConfigError
from recgym.kernel import Kernel
from recgym.packed import Layout
from recgym.recording import Call, Copy, Fill, Make, Program, joined
from recgym.types import Array

config: Any = settings
SIMULATED = bool(config.ENABLE_CUDASIM)
THREADS = 128  # of a block
BLOCKS = 4  # that a multiprocessor must have room for: it leaves 128 registers to a thread, where a step would take 200
U8 = np.dtype(np.uint8)


def require_cuda() -> None:
    """Say what is missing to run on a device.

    Raises:
        ConfigError: numba-cuda is not installed, or there is no device.
    """
    if SIMULATED:
        return
    if find_spec("numba_cuda") is None:
        raise ConfigError('device: "cuda" needs numba-cuda: pip install "recgym[cuda]"')
    if not load().is_available():
        raise ConfigError(
            'device: "cuda" needs an NVIDIA GPU and its driver, and no CUDA device was found; NUMBA_ENABLE_CUDASIM=1 '
            "simulates one, slowly"
        )


@cache
def load() -> Any:
    """The module `numba.cuda`, which takes a second to import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from numba import cuda

        # A small batch does not fill a device, and need not be told so at each step.
        cuda_config: Any = config if SIMULATED else import_module("numba.cuda.core.config")
        cuda_config.CUDA_LOW_OCCUPANCY_WARNINGS = 0
    return cuda


def on_device(array: Any) -> Any:
    """numba's array of an array on the device, anything that has ``__cuda_array_interface__``; None for one of the host."""
    if SIMULATED:
        return array if hasattr(array, "copy_to_host") else None
    return load().as_cuda_array(array) if hasattr(array, "__cuda_array_interface__") else None


@cache
def device(function: Callable[..., Any]) -> Any:
    """A kernel's Python source as a device function: what it calls is replaced by device functions, too."""
    source: Any = getattr(function, "compiled", function)
    source = getattr(source, "py_func", source)
    if not SIMULATED and "reshape" in source.__code__.co_names:
        source = _reshaping(source)
    namespace = dict(source.__globals__)
    for name in {one.argval for one in get_instructions(source) if one.opname == "LOAD_GLOBAL"}:
        called = namespace.get(name)
        if isinstance(called, (Kernel, FunctionType)) or hasattr(called, "py_func"):
            namespace[name] = device(called)  # type: ignore[arg-type]
    own = FunctionType(source.__code__, namespace, source.__name__, source.__defaults__, source.__closure__)
    own.__module__, own.__qualname__ = source.__module__, source.__qualname__
    return own if SIMULATED else load().jit(own, device=True, forceinline=True)


def _reshaping(function: FunctionType) -> Any:
    """A function with ``flat_view(x)`` and ``shaped_view(x, shape)`` in place of ``x.reshape(-1)`` and ``x.reshape(shape)``,
    which CUDA has for contiguous arrays only."""

    class Views(ast.NodeTransformer):
        def visit_Call(self, node: ast.Call) -> ast.AST:
            self.generic_visit(node)
            if not (isinstance(node.func, ast.Attribute) and node.func.attr == "reshape"):
                return node
            if [ast.unparse(axis) for axis in node.args] == ["-1"]:
                return ast.Call(ast.Name("flat_view", ast.Load()), [node.func.value], [])
            shape = node.args[0] if isinstance(node.args[0], ast.Tuple) else ast.Tuple(node.args, ast.Load())
            return ast.Call(ast.Name("shaped_view", ast.Load()), [node.func.value, shape], [])

    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    definition: Any = tree.body[0]
    definition.decorator_list = []
    code = compile(ast.fix_missing_locations(Views().visit(tree)), function.__code__.co_filename, "exec")
    namespace = {**function.__globals__, "flat_view": _intrinsics()[1], "shaped_view": _intrinsics()[2]}
    exec(code, namespace)
    return namespace[function.__name__]


class Where(NamedTuple):
    """Where the array of one user lies.

    Attributes:
        buffer: its name. offset: of the first number, in bytes, as an expression. unit: bytes from one number to the
            next, as an expression. dtype. shape: with 1 for the user's axis.
    """

    buffer: str
    offset: str
    unit: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    def __str__(self) -> str:
        kind = "np.bool_" if self.dtype == np.bool_ else f"np.{self.dtype.name}"
        axes = joined([str(axis) for axis in self.shape])
        return f"view({self.buffer}, {self.offset}, {axes}, {self.unit}, {kind})"

    def flat(self) -> Where:
        """The same numbers as one axis."""
        return self._replace(shape=(math.prod(self.shape),))


def column(buffer: str, start: int, dtype: np.dtype[Any], row: Sequence[int]) -> Where:
    """Where a user's row of a column lies that begins `start` bytes per user into a buffer."""
    size = dtype.itemsize
    first = f"users * {start} + b * {size}" if start else f"b * {size}"
    return Where(buffer, first, f"users * {size}", dtype, (1, *row))


def columns(prefix: str, buffer: str, layout: Layout) -> dict[str, Where]:
    """Where the columns of a buffer lie, by their names in a program."""
    return {f"{prefix}_{name}": column(buffer, start, dtype, row) for name, start, dtype, row in layout.columns}


class Source:
    """A program written out as a CUDA kernel.

    Args:
        program: what to write. name: of the kernel. where: for the columns that the program reads and writes, their
            places; what begins with ``given_`` may be left out, and then gets a buffer of its own.
        taken: names of the buffers that the kernel takes, before those of `given` and the constants.
        first, last: lines that come before and after the program's; they may use `users`, `b`, the buffers and the columns.

    Attributes:
        text: the kernel, as the source of a module. constants: uint8, what its last argument must hold.
        room: bytes of the temporaries of one user. taken: names of its arguments after `users`.
    """

    def __init__(
        self,
        program: Program,
        name: str,
        where: dict[str, Where],
        taken: Sequence[str],
        first: Sequence[str] = (),
        last: Sequence[str] = (),
    ) -> None:
        self._where = dict(where)
        self.program, self.name = program, name
        given = []
        for i, array in enumerate(program.given):
            if f"given_{i}" not in where:
                given.append(f"all_given_{i}")
                self._where[f"given_{i}"] = column(given[-1], 0, array.dtype, array.shape[1:])
        self.constants = self._place_constants()
        self.room = program.room
        for made in program.statements:
            if isinstance(made, Make) and not made.target:
                shape, place = tuple(1 if axis == "B" else int(axis) for axis in made.shape), program.places[made.name]
                self._where[made.name] = Where("room", str(place), str(made.dtype.itemsize), made.dtype, shape)
        lines = [*first, *[line for statement in program.statements if (line := self._line(statement))], *last]
        body = "\n".join(lines)
        read = [key for key in self._where if re.search(rf"\b{key}\b", body)]
        views = [f"{key} = {self._where[key]}" for key in read]
        self.taken = [*taken, *given, "constants"]
        self.text = "\n".join(
            [
                f"def {name}(users, {', '.join(self.taken)}):",
                "    b = cuda.grid(1)",
                "    if b >= users:",
                "        return",
                f"    room = cuda.local.array({self.room // 8 + 1}, np.int64)",
                *[f"    {line}" for line in (*views, *lines)],
                "",
            ]
        )

    def _place_constants(self) -> Array:
        """All constant arrays in one, each at a multiple of 16 bytes."""
        program, parts, end = self.program, [], 0
        constants = {f"constant_{i}": array for i, array in enumerate(program.constants)}
        for key, array in (*constants.items(), *zip(("reals", "integers"), program.numbers, strict=True)):
            self._where[key] = Where("constants", str(end), str(array.dtype.itemsize), array.dtype, array.shape)
            content = np.frombuffer(array.tobytes(), U8)
            padded = np.zeros(-(-len(content) // 16) * 16, U8)
            padded[: len(content)] = content
            parts.append(padded)
            end += len(padded)
        return np.concatenate([*parts, np.zeros(16, U8)])

    def _line(self, statement: Any) -> str:
        match statement:
            case Make(name, _, _, target) if target:
                self._where[name] = self._where[target]
            case Fill(name, value):
                return f"fill({self._where[name].flat()}, {value})"
            case Copy(name, source):
                to, place = self._where[name].flat(), self._find(source).flat()
                return f"copy({to}, {place})" if to != place else ""
            case Call(_, alias, arguments):
                return f"{alias}({', '.join(map(self._expression, arguments))})"
        return ""

    def _expression(self, text: str) -> str:
        """An argument of a kernel, with views in place of slices and reshapes."""
        return re.sub(r"\w+\[\d+:\d+\]|\w+\.reshape\(\([^()]*\)\)", lambda found: str(self._find(found[0])), text)

    def _find(self, text: str) -> Where:
        """Where the array of an expression lies."""
        if found := re.fullmatch(r"(\w+)\[(\d+):(\d+)\]", text):
            place, start, stop = self._where[found[1]], int(found[2]), int(found[3])
            skipped = start * math.prod(place.shape[1:])
            offset = f"{place.offset} + {skipped} * {place.unit}"
            return place._replace(offset=offset, shape=(stop - start, *place.shape[1:]))
        if found := re.fullmatch(r"(\w+)\.reshape\(\(([^()]*)\)\)", text):
            axes = [axis.strip() for axis in found[2].split(",") if axis.strip()]
            return self._where[found[1]]._replace(shape=tuple(1 if axis == "B" else int(axis) for axis in axes))
        return self._where[text]

    def kernel(self) -> Any:
        """The kernel, which is compiled for the device when it is first called. Programs of the same text share it."""
        calls = {
            statement.alias: statement.kernel for statement in self.program.statements if isinstance(statement, Call)
        }
        return _kernel(self.text, self.name, tuple(calls.items()))


@cache
def _kernel(text: str, name: str, calls: tuple[tuple[str, Kernel], ...]) -> Any:
    namespace: dict[str, Any] = {"cuda": load(), "np": np, "fill": device(fill), "copy": device(copy)}
    namespace["view"] = _simulated_view if SIMULATED else _intrinsics()[0]
    namespace |= {alias: device(kernel) for alias, kernel in calls}
    exec(compile(text, f"<{name}>", "exec"), namespace)
    options = {} if SIMULATED else {"launch_bounds": (THREADS, BLOCKS)}
    return load().jit(namespace[name], **options)


def fill(out, value):
    """out[i] = value."""
    for i in range(out.shape[0]):
        out[i] = value


def copy(out, source):
    """out[i] = source[i]."""
    for i in range(out.shape[0]):
        out[i] = source[i]


def _simulated_view(buffer: Any, offset: int, shape: tuple[int, ...], unit: int, dtype: Any) -> Array:
    while not isinstance(buffer, np.ndarray):  # the simulator's own wrappers
        buffer = buffer._item if hasattr(buffer, "_item") else buffer._ary
    if not math.prod(shape):
        return np.empty(shape, dtype)
    strides = [unit * math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    return np.lib.stride_tricks.as_strided(np.ndarray((), dtype, buffer, offset), shape, strides)


@cache
def _intrinsics() -> tuple[Any, Any, Any]:
    """``view(buffer, offset, shape, unit, dtype)``, an array of the numbers at offset, offset + unit, ... bytes of a buffer;
    ``flat(array)``, one axis of the numbers of such an array; ``shaped(array, shape)``, any axes of them."""
    from llvmlite import ir

    types: Any = import_module("numba.cuda.types")
    intrinsic: Any = import_module("numba.cuda.extending").intrinsic
    populate_array: Any = import_module("numba.cuda.np.arrayobj").populate_array

    def made(context: Any, builder: Any, kind: Any, data: Any, axes: list[Any], unit: Any) -> Any:
        array = context.make_array(kind)(context, builder)
        strides, step = [], unit
        for length in reversed(axes):
            strides.insert(0, step)
            step = builder.mul(step, length)
        size = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
        populate_array(array, builder.bitcast(data, array.data.type), axes, strides, size, None)
        return array._getvalue()

    @intrinsic
    def view(typing: Any, buffer: Any, offset: Any, shape: Any, unit: Any, dtype: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            start = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [arguments[1]])
            axes = [builder.extract_value(arguments[2], axis) for axis in range(signature.return_type.ndim)]
            return made(context, builder, signature.return_type, start, axes, arguments[3])

        axes = types.UniTuple(types.intp, len(shape))
        return types.Array(dtype.dtype, len(shape), "A")(buffer, types.intp, axes, types.intp, dtype), generate

    @intrinsic
    def flat(typing: Any, array: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = context.make_array(signature.args[0])(context, builder, arguments[0])
            unit = builder.extract_value(given.strides, signature.args[0].ndim - 1)
            return made(context, builder, signature.return_type, given.data, [given.nitems], unit)

        return types.Array(array.dtype, 1, "A")(array), generate

    @intrinsic
    def shaped(typing: Any, array: Any, shape: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = context.make_array(signature.args[0])(context, builder, arguments[0])
            unit = builder.extract_value(given.strides, signature.args[0].ndim - 1)
            axes = [builder.extract_value(arguments[1], axis) for axis in range(signature.return_type.ndim)]
            return made(context, builder, signature.return_type, given.data, axes, unit)

        axes = types.UniTuple(types.intp, len(shape))
        return types.Array(array.dtype, len(shape), "A")(array, axes), generate

    return view, flat, shaped
