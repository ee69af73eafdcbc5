"""Arrays on a device, as an environment hands them out: `DeviceArray`, and the memory that it lies in."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from recgym.types import Array

CPU, CUDA = 1, 2  # DLPack's kinds of devices
KINDS = {"i": 0, "u": 1, "f": 2, "b": 6}  # DLPack's kinds of numbers


class Pool:
    """Pieces of device memory of one size, used again once nobody holds an array in them.

    Args:
        make: makes a new piece.
    """

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._free: list[Any] = []

    def take(self) -> Piece:
        """A piece that nobody else has; its content is whatever was there."""
        return Piece(self, self._free.pop() if self._free else self._make())


class Piece:
    """A piece of memory, which goes back to its pool when the last array in it is gone.

    Args:
        pool: where it goes, or None. memory: numba's device array of bytes.
    """

    def __init__(self, pool: Pool | None, memory: Any) -> None:
        self.pool, self.memory = pool, memory

    def __del__(self) -> None:
        if self.pool is not None:
            self.pool._free.append(self.memory)


class DeviceArray:
    """An array on the device, which torch, CuPy and JAX read without a copy.

    ``torch.from_dlpack(array)``, or ``torch.as_tensor(array, device="cuda")``, which goes by ``__cuda_array_interface__``,
    is a tensor of the same memory. The environment does not write there again while the array or such a tensor is alive.
    ``np.asarray(array)`` copies it to the host.

    Numbers of one user do not lie side by side: ``strides`` are in bytes, and the users' axis has the shortest. So a matrix
    (B, n) is the transpose of a contiguous one, which matrix products take as it is; ``.contiguous()`` of a tensor copies.

    Args:
        piece: the memory. offset: of the first number, in bytes. shape, dtype, strides: as NumPy's, strides in bytes.
    """

    def __init__(
        self, piece: Piece, offset: int, shape: Sequence[int], dtype: np.dtype[Any], strides: Sequence[int]
    ) -> None:
        self.piece, self.offset = piece, offset
        self.shape, self.dtype, self.strides = tuple(shape), dtype, tuple(strides)

    @classmethod
    def column(cls, piece: Piece, start: int, users: int, row: Sequence[int], dtype: np.dtype[Any]) -> DeviceArray:
        """A column, (users, *row), that begins `start` bytes per user into the memory."""
        unit = users * dtype.itemsize
        strides = [unit * math.prod(row[axis + 1 :]) for axis in range(len(row))]
        return cls(piece, users * start, (users, *row), dtype, (dtype.itemsize, *strides))

    def block(self, columns: slice, row: Sequence[int]) -> DeviceArray:
        """Some columns of a matrix (B, n), as an array (B, *row)."""
        unit = self.strides[1]
        strides = [unit * math.prod(row[axis + 1 :]) for axis in range(len(row))]
        offset = self.offset + columns.start * unit
        return DeviceArray(self.piece, offset, (self.shape[0], *row), self.dtype, (self.strides[0], *strides))

    def __repr__(self) -> str:
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        if copy is False:
            raise ValueError("a DeviceArray must be copied to become an array of NumPy's")
        content = self.piece.memory.copy_to_host()
        view = np.ndarray(self.shape, self.dtype, content, self.offset, self.strides)
        return np.array(view, dtype or self.dtype)

    @property
    def simulated(self) -> bool:
        """Whether the memory is the host's, as in numba's simulator."""
        return not hasattr(self.piece.memory, "__cuda_array_interface__")

    @property
    def pointer(self) -> int:
        """The address of the first number."""
        memory: Any = self.piece.memory
        if self.simulated:
            return memory._ary.ctypes.data + self.offset
        return memory.__cuda_array_interface__["data"][0] + self.offset

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self.simulated:
            raise AttributeError("memory of the simulator is not on a device")
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "data": (self.pointer, False),
            "strides": self.strides,
            "version": 3,
            "stream": 1,  # CUDA's default stream, in which the environment works
        }

    def __dlpack_device__(self) -> tuple[int, int]:
        if self.simulated:
            return CPU, 0
        from recgym.cuda import load

        return CUDA, int(load().get_current_device().id)

    def __dlpack__(self, *, stream: int | None = None, copy: bool | None = None, **_: Any) -> Any:
        """A DLPack capsule. Work in another `stream` than CUDA's default one begins after that of the environment.

        Raises:
            BufferError: a copy is asked for.
        """
        if copy:
            raise BufferError("a DeviceArray is shared, not copied")
        if not self.simulated and stream not in (None, -1, 0, 1):
            from recgym.cuda import load

            cuda = load()
            event = cuda.event(timing=False)
            event.record()
            event.wait(cuda.external_stream(stream))
        return _capsule(self)


# DLPack's structures: https://dmlc.github.io/dlpack/latest/c_api.html


class _Tensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Managed(ctypes.Structure):
    _fields_ = [("tensor", _Tensor), ("context", ctypes.c_void_p), ("deleter", ctypes.c_void_p)]


_NAME = b"dltensor"
_lent: dict[int, tuple[Any, ...]] = {}  # address of each structure that is lent -> what must live as long


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _give_back(address: int) -> None:
    """The deleter that the borrower calls."""
    _lent.pop(address, None)


@ctypes.CFUNCTYPE(None, ctypes.c_void_p)
def _forget(capsule: int) -> None:
    """The destructor of a capsule; one that was used has another name by then, and its borrower calls the deleter."""
    api = ctypes.pythonapi
    if api.PyCapsule_IsValid(ctypes.c_void_p(capsule), _NAME):
        _give_back(api.PyCapsule_GetPointer(ctypes.c_void_p(capsule), _NAME))


_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
ctypes.pythonapi.PyCapsule_GetPointer.restype = ctypes.c_void_p


def _capsule(array: DeviceArray) -> Any:
    n, size = len(array.shape), array.dtype.itemsize
    axes = ctypes.c_int64 * n
    shape, strides = axes(*array.shape), axes(*[stride // size for stride in array.strides])
    tensor = _Tensor(
        array.pointer, *array.__dlpack_device__(), n, KINDS[array.dtype.kind], 8 * size, 1, shape, strides, 0
    )
    managed = _Managed(tensor, None, ctypes.cast(_give_back, ctypes.c_void_p))
    address = ctypes.addressof(managed)
    _lent[address] = managed, shape, strides, array
    return _new_capsule(address, _NAME, ctypes.cast(_forget, ctypes.c_void_p))
