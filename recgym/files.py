"""Files that are there whole or not at all, and readers that take nothing on trust.

What is read may come from anybody. A reader unpickles nothing, looks at sizes before it makes room, and raises an error
of recgym's own for whatever it cannot read.
"""

from __future__ import annotations

import io
import json
import math
import os
import secrets
import sys
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from recgym.errors import ConfigError

INFLATION, SMALL = (
    100,
    2**30,
)  # an archive that unpacks to more than INFLATION times its size and more than SMALL bytes is refused
DEPTH = 100  # of lists and objects within each other in JSON


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file, making its folder: readers see the old content or the new, never a part."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")  # no other thread's either
    try:
        with open(temporary, "xb") as file:
            file.write(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Where compiled code is kept: $RECGYM_CACHE, else recgym in the user's folder of caches.

    numba unpickles what it finds there, so nobody else should be able to write to it.

    Raises:
        RuntimeError: the user has no home.
    """
    given = os.environ.get("RECGYM_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recgym"


def print_anywhere() -> None:
    """From now on print "?" for what a terminal's encoding lacks, such as ± in ASCII, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def read_bytes(path: str | os.PathLike[str], what: str) -> bytes:
    """The content of a file.

    Args:
        path: of the file. what: what the file is, for the message, such as "world".

    Raises:
        ConfigError: it is not there, or cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except (OSError, ValueError) as error:  # the latter: a path with a null character
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{what}: {path} cannot be read: {reason}") from None


def parse_json(content: bytes | str, what: str, path: object) -> Any:
    """JSON as the standard has it: UTF-8, no NaN or infinity, no name twice in an object, nested `DEPTH` deep at most.

    Raises:
        ConfigError: it is something else; the message names `what` it is and its `path`.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            twice = next(name for i, (name, _) in enumerate(pairs) if name in dict(pairs[:i]))
            raise ValueError(f"the name {twice[:40]!r} is there twice")
        return found

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number of JSON's")

    try:
        text = content if isinstance(content, str) else content.decode()
        data = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
        json.dumps(data, ensure_ascii=False).encode()  # lone surrogates
    except RecursionError:
        raise ConfigError(f"{what}: {path} must be JSON of at most {DEPTH} levels") from None
    except ValueError as error:  # JSONDecodeError, Unicode errors and numbers of too many digits are ValueErrors
        raise ConfigError(f"{what}: {path} must be JSON in UTF-8: {str(error)[:200]}") from None
    if _depth(data) > DEPTH:
        raise ConfigError(f"{what}: {path} must be JSON of at most {DEPTH} levels")
    return data


def _depth(data: Any) -> int:
    level, depth = [data], 0
    while level:
        level = [inner for value in level if isinstance(value, (dict, list))
                 for inner in (value.values() if isinstance(value, dict) else value)]  # fmt: skip
        depth += 1
    return depth


def read_json(path: str | os.PathLike[str], what: str) -> Any:
    """`parse_json` of a file."""
    return parse_json(read_bytes(path, what), what, path)


def check_archive(content: bytes, what: str, path: object) -> None:
    """Require a zip file whose members are stored or deflated and do not take `INFLATION` times its size.

    Raises:
        ConfigError: it is not an archive, is torn, or is a bomb.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            size = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, OverflowError, EOFError) as error:
        raise ConfigError(f"{what}: {path} must be a whole archive: {str(error)[:200]}") from None
    if size > max(INFLATION * len(content), SMALL):
        raise ConfigError(
            f"{what}: {path} must not take more than {INFLATION} times its size when it is read, got {size:,} bytes"
        )


def parse_arrays(
    content: bytes, what: str, path: object, names: Iterable[str] | None = None
) -> dict[str, NDArray[Any]]:
    """Arrays by name from what `numpy.savez` wrote. Nothing is unpickled, and no array is read before its size is known.

    Args:
        content: of the file. what, path: what and where it is, for the message. names: that must be there, and no others; None: any.

    Raises:
        ConfigError: an array is missing or unexpected, or is not a plain array of numbers, booleans or text.
    """
    check_archive(content, what, path)
    arrays: dict[str, NDArray[Any]] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            stored = [member.filename.removesuffix(".npy") for member in members]
            wanted = set(stored) if names is None else set(names)
            for missing in sorted(wanted - set(stored)):
                raise ValueError(f"the array {missing!r} is not there")
            for more in sorted(set(stored) - wanted):
                raise ValueError(f"nothing refers to the array {more[:100]!r}")
            if len(set(stored)) < len(stored):
                raise ValueError("an array is there twice")
            for member, name in zip(members, stored, strict=True):
                with archive.open(member) as file:
                    arrays[name] = _array(name, file.read(member.file_size))
                    file.read(1)  # at the end, the checksum is compared
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, OSError, ValueError, EOFError) as error:
        raise ConfigError(f"{what}: {path} must hold plain arrays: {str(error)[:200]}") from None
    return arrays


def _array(name: str, content: bytes) -> NDArray[Any]:
    """An array in NumPy's format, whose size fits its header."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, fortran, dtype = read(file)
    except Exception as error:  # the header is a literal of Python's, whose parser raises many kinds
        raise ValueError(f"the header of {name!r} cannot be read ({type(error).__name__})") from None
    if dtype.hasobject or dtype.names is not None or dtype.kind not in "biufSU":
        raise ValueError(f"{name!r} must hold numbers, booleans or text, got {dtype}")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell() or not dtype.itemsize:
        raise ValueError(f"{name!r} must have the size of its shape {str(shape)[:60]} and type {dtype}")
    array = np.frombuffer(content, dtype, offset=file.tell())
    return array.reshape(shape, order="F" if fortran else "C").astype(dtype.newbyteorder("="))


def arrays_as_bytes(arrays: dict[str, NDArray[Any]]) -> bytes:
    """What `numpy.savez` writes."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
