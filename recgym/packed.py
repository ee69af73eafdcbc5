"""Users in buffers of bytes, which a compiled step (`recgym.fusion`) reads and writes."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np

from recgym.types import Array, Users


class Layout:
    """Where arrays lie in a buffer of bytes: one after the other, those of wide types first.

    The array of a column starts at byte ``users * start`` of a buffer for that many users.

    Args:
        arrays: examples by name, with one row per user.

    Attributes:
        width: bytes per user. columns: for each array its name, its start in bytes per user, its dtype, and the shape of
            a row.
    """

    def __init__(self, arrays: dict[str, Array]) -> None:
        self.columns: list[tuple[str, int, np.dtype[Any], tuple[int, ...]]] = []
        self.width = 0
        for name, array in sorted(arrays.items(), key=lambda pair: -pair[1].dtype.itemsize):
            row = array.shape[1:]
            self.columns.append((name, self.width, array.dtype, row))
            self.width += array.dtype.itemsize * math.prod(row)
        numbers = [column for column in self.columns if column[3] == ()]
        self._names = [name for name, *_ in numbers]
        ends = [0, *[start + dtype.itemsize for _, start, dtype, _ in numbers]]
        skips = [f"{start - end}x{dtype.char}" for end, (_, start, dtype, _) in zip(ends[:-1], numbers, strict=True)]
        self._format = "=" + "".join(skips)
        self._arrays = [column for column in self.columns if column[3] != ()]

    def row(self, buffer: Array) -> dict[str, Any]:
        """The arrays of a single user without their first axis: numbers where a row has the shape (), else views."""
        row: dict[str, Any] = dict(zip(self._names, struct.unpack_from(self._format, buffer), strict=True))  # type: ignore[arg-type]
        for name, start, dtype, shape in self._arrays:
            row[name] = np.ndarray(shape, dtype, buffer, start)
        return row

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

    def __init__(self, layouts: tuple[Layout, Layout], buffers: tuple[Array, Array], n: int) -> None:
        self.layouts, self.buffers, self.n = layouts, buffers, n
        self._users: Users | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Packed, (self.layouts, self.buffers, self.n)

    @classmethod
    def of(cls, layouts: tuple[Layout, Layout], users: Users) -> Packed:
        """A copy of users."""
        n = len(users)
        packed = cls(layouts, (np.empty(n * layouts[0].width, np.uint8), np.empty(n * layouts[1].width, np.uint8)), n)
        for name, array in packed.unpacked().__dict__.items():
            array[...] = users[name]
        return packed

    def unpacked(self) -> Users:
        """The users, as views of the buffers."""
        if self._users is None:
            moving, fixed = zip(self.layouts, self.buffers, strict=True)
            self._users = Users.of(moving[0].arrays(moving[1], self.n) | fixed[0].arrays(fixed[1], self.n))
        return self._users

    def put(self, index: Array, other: Users, same: tuple[str, ...], before: Users) -> Packed:
        """These users with others in the rows `index`, see `Users.put`.

        The first buffer is written in place: it is what a step has just made, and nobody else has it yet.
        """
        new = Packed(self.layouts, (self.buffers[0], self.buffers[1].copy()), self.n)
        for name, array in new.unpacked().__dict__.items():
            if name not in same:
                array[index] = other[name]
        return new
