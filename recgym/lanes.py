"""Operations on rows of float32, eight numbers at a time.

What they do is written down in plain Python. For kernels, numba gets the same operations in vector instructions, which
LLVM does not find by itself: it may not reorder a sum, and does not know that two arrays do not overlap. As the order of
the sum is fixed, its bits are the same on all processors.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

LANES = 8
_FLOAT, _BYTE, _WORD = ir.FloatType(), ir.IntType(8), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def dot(a, i, b, j):
    """Inner product of row i of `a` and row j of `b`, i, j >= 0, over the columns of `a`.

    Eight sums, each over every eighth product, which are added in halves; what is left over at the end is added last.
    """
    n = a.shape[1]
    whole = n - n % 8
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = np.float32(0.0)
    for k in range(0, whole, 8):
        s0 += a[i, k] * b[j, k]
        s1 += a[i, k + 1] * b[j, k + 1]
        s2 += a[i, k + 2] * b[j, k + 2]
        s3 += a[i, k + 3] * b[j, k + 3]
        s4 += a[i, k + 4] * b[j, k + 4]
        s5 += a[i, k + 5] * b[j, k + 5]
        s6 += a[i, k + 6] * b[j, k + 6]
        s7 += a[i, k + 7] * b[j, k + 7]
    total = ((s0 + s4) + (s2 + s6)) + ((s1 + s5) + (s3 + s7))
    for k in range(whole, n):
        total += a[i, k] * b[j, k]
    return total


def copy_row(out, b, at, source, i, n):
    """out[b, at : at + n] = source[i, :n], for b, at, i >= 0 and arrays that do not overlap."""
    for k in range(n):
        out[b, at + k] = source[i, k]


def _row(context: Any, builder: Any, kind: Any, array: Any, row: Any, column: Any = None) -> Any:
    """The address, as of bytes, of a number in a C-contiguous matrix."""
    matrix = context.make_array(kind)(context, builder, array)
    offset = builder.mul(row, cgutils.unpack_tuple(builder, matrix.strides)[0])
    if column is not None:
        offset = builder.add(offset, builder.mul(column, ir.Constant(_WORD, 4)))
    return builder.gep(builder.bitcast(matrix.data, _BYTE.as_pointer()), [offset])


@intrinsic
def _dot(typing: Any, a: Any, i: Any, b: Any, j: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows = [_row(context, builder, signature.args[k], *arguments[k : k + 2]) for k in (0, 2)]
        n = cgutils.unpack_tuple(builder, context.make_array(signature.args[0])(context, builder, arguments[0]).shape)[
            1
        ]

        def load(kind: Any, k: Any) -> list[Any]:
            """The two factors at column k."""
            offset = builder.mul(k, ir.Constant(_WORD, 4))
            places = [builder.bitcast(builder.gep(row, [offset]), kind.as_pointer()) for row in rows]
            return [builder.load(place, align=4) for place in places]

        def word(number: int) -> Any:
            return ir.Constant(_WORD, number)

        sums = cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0.0] * LANES))
        builder.store(ir.Constant(_VECTOR, [0.0] * LANES), sums)

        def add(first: Any, vectors: int) -> None:
            """Add so many vectors of products, from column `first` on."""
            for v in range(vectors):
                product = builder.fmul(*load(_VECTOR, builder.add(first, word(v * LANES))))
                builder.store(builder.fadd(builder.load(sums), product), sums)

        # 32 columns at a time, then 16, then 8: where n is known there is no loop left for rows of up to 63 numbers.
        with cgutils.for_range(builder, builder.sdiv(n, word(32))) as loop:
            add(builder.mul(loop.index, word(32)), 4)
        for vectors in (2, 1):
            some = builder.and_(n, word(vectors * LANES))
            with builder.if_then(builder.icmp_unsigned("!=", some, word(0))):
                add(builder.and_(n, word(-2 * vectors * LANES)), vectors)
        total, width = builder.load(sums), LANES
        while width > 1:
            width //= 2
            halves = [range(width), range(width, 2 * width)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), width), list(half)) for half in halves]
            total = builder.fadd(*[builder.shuffle_vector(total, total, mask) for mask in masks])
        result = cgutils.alloca_once(builder, _FLOAT)
        builder.store(builder.extract_element(total, ir.Constant(ir.IntType(32), 0)), result)
        with cgutils.for_range_slice(builder, builder.and_(n, word(-LANES)), n, word(1)) as (k, _):
            builder.store(builder.fadd(builder.load(result), builder.fmul(*load(_FLOAT, k))), result)
        return builder.load(result)

    return types.float32(a, types.intp, b, types.intp), generate


@intrinsic
def _copy_row(typing: Any, out: Any, b: Any, at: Any, source: Any, i: Any, n: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        to = _row(context, builder, signature.args[0], *arguments[:3])
        where = _row(context, builder, signature.args[3], *arguments[3:5])
        cgutils.raw_memcpy(builder, to, where, arguments[5], 4, align=4)
        return context.get_dummy_value()

    return types.void(out, types.intp, types.intp, source, types.intp, types.intp), generate


def _in_lanes(plain: Callable[..., Any], vectors: Callable[..., Any]) -> None:
    """Give kernels `vectors` in place of `plain` where arrays are C-contiguous matrices of float32."""

    def choose(*given: Any) -> Callable[..., Any]:
        matrices = [kind for kind in given if isinstance(kind, types.Array)]
        fits = all((kind.ndim, kind.layout, kind.dtype) == (2, "C", types.float32) for kind in matrices)
        return vectors if fits else plain

    choose.__signature__ = inspect.signature(plain)  # type: ignore[attr-defined]  # numba asks for the same names
    overload(plain, jit_options={"error_model": "numpy", "forceinline": True})(choose)


_in_lanes(dot, lambda a, i, b, j: _dot(a, i, b, j))  # pyright: ignore[reportCallIssue]
_in_lanes(copy_row, lambda out, b, at, source, i, n: _copy_row(out, b, at, source, i, n))  # pyright: ignore[reportCallIssue]
