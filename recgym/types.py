"""The data that changes: Users and Feedback (owner: the environment). The items are in `catalog.py`.

Each is a record of NumPy arrays with one row per user. Nothing writes into an array once it has been handed over: a
change makes a new record, which shares every array that did not change. So a snapshot costs nothing.

Sizes: B users, S slate positions, K candidates, N items, d latent dimensions, T topics, H rows of the history,
F market signals, C feedback channels, M objectives, A item attributes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from recgym.tape import Made, note, tapes

Array = NDArray[Any]

# Instances of dtypes: NumPy takes them faster than classes, and a step makes some thirty arrays.
F32, F64, I32, BOOL = (np.dtype(kind) for kind in (np.float32, np.float64, np.int32, np.bool_))


# A step makes its arrays by these four functions, so that a recording of it (`recgym.tape`) knows where each comes from.


def empty(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What `np.empty` gives."""
    array = np.empty(shape, dtype)
    if tapes:
        note(Made(array, "empty"))
    return array


def zeros(shape: int | tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """What `np.zeros` gives."""
    array = np.zeros(shape, dtype)
    if tapes:
        note(Made(array, "zeros"))
    return array


def filled(shape: int | tuple[int, ...], value: float, dtype: np.dtype[Any]) -> Array:
    """What `np.full` gives; for a small array it takes a third of the time."""
    array = np.empty(shape, dtype)
    array.fill(value)
    if tapes:
        note(Made(array, "full", value))
    return array


def copied(array: Array) -> Array:
    """A copy."""
    copy = array.copy()
    if tapes:
        note(Made(copy, "copy", array))
    return copy


def aligned(array: Array) -> Array:
    """A C-contiguous copy that begins where a line of the processor's cache does: rows of 64 bytes then take one line each."""
    room = np.empty(array.nbytes + 64, np.uint8)
    start = -room.__array_interface__["data"][0] % 64
    copy = room[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


class Sizes(NamedTuple):
    """The sizes that components may ask for when they declare columns and uniforms."""

    slate: int  # S
    candidates: int  # K
    items: int  # N
    dimensions: int  # d
    topics: int  # T
    signals: int  # F


class Column(NamedTuple):
    """A column of `Users` that one component owns: shape of a row, dtype, inclusive range, value at arrival.

    A visible column, of shape () or (n,), is part of the observation's user block, divided by `high`.
    """

    shape: tuple[int, ...] = ()
    dtype: Any = np.float32
    low: float = 0.0
    high: float = 1.0
    initial: float = 0.0
    visible: bool = False


class Record:
    """Arrays by name with a common first axis."""

    def __init__(self, **arrays: Array) -> None:
        self.__dict__.update(arrays)

    def __getattr__(self, name: str) -> Array:  # only reached where no such array exists
        if name.startswith("__"):
            raise AttributeError(name)
        raise AttributeError(f"{type(self).__name__} has no array {name!r}; it has {sorted(self.__dict__)}")

    def __iter__(self) -> Iterator[str]:
        return iter(self.__dict__)

    def __len__(self) -> int:
        return len(next(iter(self.__dict__.values())))

    def __getitem__(self, name: str) -> Array:
        return self.__dict__[name]

    @classmethod
    def of(cls, arrays: dict[str, Array]) -> Self:
        """A record that takes over a dict of arrays."""
        new = object.__new__(cls)
        new.__dict__ = arrays
        return new

    def replace(self, **changes: Array) -> Self:
        """A record with some arrays replaced and all others shared."""
        return type(self).of({**self.__dict__, **changes})

    def rows(self, index: Any) -> Self:
        """The given rows (a slice gives views, an index array copies)."""
        return type(self).of({name: array[index] for name, array in self.__dict__.items()})

    def put(self, index: Array, other: Self, same: tuple[str, ...] = (), before: Record | None = None) -> Self:
        """This record with the rows of `other` in the rows `index`, which ascend.

        Args:
            index: (n,) rows. other: n rows. same: names of arrays that are alike in all rows, and are left as they are.
            before: the record from which a step has just made this one. Arrays that this record does not share with it
                are then written in place, as nobody else has them; without `before` nothing is written in place.
        """
        if len(index) == len(self):
            return other
        arrays = dict(self.__dict__)
        shared = None if before is None else {id(array) for array in before.__dict__.values()}
        for name, array in arrays.items():
            if name not in same:
                if shared is None or id(array) in shared or array.base is not None:
                    arrays[name] = array = array.copy()
                array[index] = other[name]
        return type(self).of(arrays)


class Users(Record):
    """One row per user. Components own further columns, which their `columns` declare; those are attributes, too."""

    key: Array  # (B,) uint64, the random stream
    episode: Array  # (B,) int32
    t: Array  # (B,) int32, steps taken in this episode
    clock: Array  # (B,) float32, minutes since the start of the market's calendar
    interest: Array  # (B, d) float32, unit norm, hidden
    profile: Array  # (B, d) float32, what the platform knows of it: noisy, zero for a cold user
    known: Array  # (B,) float32, 1 where the profile exists
    sensitivity: Array  # (B, F) float32, utility of one unit of each market signal, hidden
    exposure: Array  # (B, T) float32 in [0, 1], decayed count of impressions by topic
    history: Array  # (B, H) int32, items clicked, latest first, -1 = empty
    history_feedback: Array  # (B, H, C) float32, what came of them
    last: Array  # (B, C) float32, channel sums of the last step
    candidates: Array  # (B, K) int32, -1 = empty

    def unpacked(self) -> Self:
        """These users themselves: the counterpart of `recgym.packed.Packed.unpacked`."""
        return self


class Feedback(Record):
    """What one step did. Responses add further arrays, which dynamics may read."""

    slate: Array  # (B, S) int32, -1 = nothing in this position
    utility: Array  # (B, S) float32, -inf where empty
    outside: Array  # (B,) float32, utility of taking nothing
    click: Array  # (B, S) bool
    probability: Array  # (B, S) float32, marginal click probability given state and slate
    channels: Array  # (B, S, C) float32, channel 0 is the click
    objectives: Array  # (B, M) float32
    dt: Array  # (B,) float32, minutes that the step took
    left: Array  # (B,) bool
