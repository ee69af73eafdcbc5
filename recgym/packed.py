"""Arrays as a compiled step (`recgym.fusion`) takes them: users in buffers of bytes, constants as addresses.

numba takes a tenth of a microsecond or two for each array that is passed to a compiled function, so few are passed.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numba
import numpy as np
from numba.core import cgutils
from numba.extending import intrinsic

from recgym.kernel import compiled
from recgym.types import Array, Users

U8 = np.dtype(np.uint8)


class Layout:
    """Where arrays lie in a buffer of bytes: one after the other, those of wide types first.

    The array of a column starts at byte ``users * start`` of a buffer for that many users.

    Args:
        arrays: examples by name, with one row per user.

    Attributes:
        width: bytes per user. columns: for each array its name, its start in bytes per user, its dtype, and the shape of
            a row. places: the same by name.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.columns: list[tuple[str, int, np.dtype[Any], tuple[int, ...]]] = []
        self.width = 0
        for name, array in sorted(arrays.items(), key=lambda pair: -pair[1].dtype.itemsize):
            row = array.shape[1:]
            self.columns.append((name, self.width, array.dtype, row))
            self.width += array.dtype.itemsize * math.prod(row)
        self.places = {name: (start, dtype, row) for name, start, dtype, row in self.columns}
        self._moves: dict[tuple[Layout, tuple[str, ...]], Array] = {}
        numbers = [column for column in self.columns if column[3] == ()]
        self._names = [name for name, *_ in numbers]
        ends = [0, *[start + dtype.itemsize for _, start, dtype, _ in numbers]]
        skips = [f"{start - end}x{dtype.char}" for end, (_, start, dtype, _) in zip(ends[:-1], numbers, strict=True)]
        self._format = "=" + "".join(skips)
        names, starts, dtypes, rows = zip(*self.columns, strict=True) if self.columns else [()] * 4
        fields = {
            "names": names,
            "formats": [*zip(dtypes, rows, strict=True)],
            "offsets": starts,
            "itemsize": self.width,
        }
        self._record: np.dtype[Any] = np.dtype(fields)  # type: ignore[call-overload]

    def row(self, buffer: Array) -> tuple[dict[str, Any], Array]:
        """The columns of a single user: the numbers by name, and a record, () of a dtype whose fields are all of them.

        A field ``record[name]`` is a view of the buffer, without the axis of the users.
        """
        numbers = dict(zip(self._names, struct.unpack_from(self._format, buffer)))  # type: ignore[arg-type]
        return numbers, np.ndarray((), self._record, buffer)

    def moves(self, source: Layout, same: tuple[str, ...]) -> Array:
        """(columns, 3) int64: start here, start there and bytes per row of what a source has, too, but for `same`; made once."""
        if (source, same) not in self._moves:
            common = [column for column in self.columns if column[0] in source.places and column[0] not in same]
            rows = [
                (start, source.places[name][0], dtype.itemsize * math.prod(row)) for name, start, dtype, row in common
            ]
            self._moves[source, same] = np.array(rows, np.int64).reshape(-1, 3)
        return self._moves[source, same]

    def arrays(self, buffer: Array, n: int) -> dict[str, Array]:
        """The arrays of n users, as views of their buffer."""
        return {name: np.ndarray((n, *row), dtype, buffer, n * start) for name, start, dtype, row in self.columns}


class Packed:
    """Users as two buffers of bytes, instead of some twenty arrays: making an array costs more than using it in a step.

    Args:
        layouts: of the columns that a step changes, and of the others. buffers: uint8, one for each layout; a step makes
            a new one of the first kind and shares the second. n: number of users.
    """

    __slots__ = ("_users", "buffers", "layouts", "n")

    def __init__(self, layouts: tuple[Layout, ...], buffers: tuple[Array, ...], n: int) -> None:
        self.layouts, self.buffers, self.n = layouts, buffers, n
        self._users: Users | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.layouts, self.buffers, self.n)

    @classmethod
    def of(cls, layouts: tuple[Layout, Layout], users: Users) -> Packed:
        """A copy of users."""
        n = len(users)
        packed = cls.blank(layouts, n)
        for name, array in packed.unpacked().__dict__.items():
            array[...] = users[name]
        return packed

    @classmethod
    def blank(cls, layouts: tuple[Layout, Layout], n: int) -> Packed:
        """n users to be filled in."""
        return cls(layouts, (np.empty(n * layouts[0].width, U8), np.empty(n * layouts[1].width, U8)), n)

    def unpacked(self) -> Users:
        """The users, as views of the buffers."""
        if self._users is None:
            arrays: dict[str, Array] = {}
            for layout, buffer in zip(self.layouts, self.buffers, strict=True):
                arrays |= layout.arrays(buffer, self.n)
            self._users = Users.of(arrays)
        return self._users

    def __getitem__(self, name: str) -> Array:
        """The column of that name, a view."""
        for layout, buffer in zip(self.layouts, self.buffers, strict=True):
            if name in layout.places:
                start, dtype, row = layout.places[name]
                return np.ndarray((self.n, *row), dtype, buffer, self.n * start)
        raise KeyError(name)

    def put(self, index: Array, other: Users | Packed, same: tuple[str, ...]) -> Packed:
        """These users with others in the rows `index`, see `Users.put`.

        The first buffer is written in place: it is what a step has just made, and nobody else has it yet.
        """
        new = Packed(self.layouts, (self.buffers[0], self.buffers[1].copy()), self.n)
        if isinstance(other, Packed):
            new.fill(index, other, same)
        else:
            for name, array in new.unpacked().__dict__.items():
                if name not in same:
                    array[index] = other[name]
        return new

    def fill(self, index: Array, other: Packed, same: tuple[str, ...] = ()) -> None:
        """Write others, whose layouts may differ, into the rows `index`; columns named in `same` stay as they are."""
        for layout, buffer in zip(self.layouts, self.buffers, strict=True):
            for source, given in zip(other.layouts, other.buffers, strict=True):
                moves = layout.moves(source, same)
                if len(moves):
                    _move(buffer, self.n, given, other.n, index, moves)


def _memcpy(context: Any, buffer: Any, to: Any, given: Any, at: Any, width: Any) -> Any:
    """``buffer[to : to + width] = given[at : at + width]``, without the cost that numba's own has for small slices."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [context.make_array(signature.args[i])(context, builder, arguments[i]) for i in (0, 2)]
        target, source = builder.gep(arrays[0].data, [arguments[1]]), builder.gep(arrays[1].data, [arguments[3]])
        cgutils.raw_memcpy(builder, target, source, arguments[4], 1)
        return context.get_dummy_value()

    intp = numba.types.intp
    return numba.types.void(buffer, intp, given, intp, intp), generate


_copy_bytes: Any = intrinsic(_memcpy)


@compiled
def _move(buffer, users, given, others, index, moves):
    """Copies columns of others into the rows `index` of a buffer; `moves` are (start, start there, bytes per row)."""
    for m in range(moves.shape[0]):
        start, there, width = moves[m, 0], moves[m, 1], moves[m, 2]
        for i in range(others):
            _copy_bytes(buffer, users * start + index[i] * width, given, others * there + i * width, width)


class Constants:
    """Arrays that stay as they are, of which a compiled function is told the places in memory.

    Args:
        arrays: which; copied where they are not C-contiguous and aligned.

    Attributes:
        table: int64, for each array its address and its shape.
    """

    def __init__(self, arrays: Sequence[Array]) -> None:
        self.arrays = [np.require(array, requirements=["C", "A"]) for array in arrays]
        entries = [(array.__array_interface__["data"][0], *array.shape) for array in self.arrays]
        self.table = np.array([number for entry in entries for number in entry], np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return Constants, (self.arrays,)


@intrinsic
def address(context: Any, table: Any, index: Any) -> Any:
    """An entry of a table of addresses, for `numba.carray`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, arguments[0])
        entry = builder.load(builder.gep(array.data, [arguments[1]]))
        return builder.inttoptr(entry, context.get_value_type(signature.return_type))

    return numba.types.voidptr(table, numba.types.intp), generate
