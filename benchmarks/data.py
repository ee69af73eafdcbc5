"""Plain data in JSON files, which may be anybody's: limits on what is read, checks of values, and how it is written."""

from __future__ import annotations

import codecs
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recgym.errors import ConfigError, brief, require, unknown
from recgym.files import parse_json, read_bytes, write_atomically

MOST_BYTES = 2**26  # of a file that is read; the manifest of a suite of 10,000 jobs has 5 MB
LONGEST_NAME = 100  # characters, of suites, tasks, agents and folders
LONGEST_PART = 200  # bytes of a name in a path that is made, so that temporary files beside it have names, too
LARGEST = 1e12  # absolute value of a number of a result


def is_file(path: Path) -> bool:
    """Whether a file is there and can be looked at: False for a name that is too long or holds a null character, too."""
    return os.path.isfile(path)


def is_folder(path: Path) -> bool:
    """Whether a folder is there and can be looked at, see `is_file`."""
    return os.path.isdir(path)


def read_limited(path: Path, what: str = "results") -> bytes:
    """The content of a file of at most `MOST_BYTES`.

    Raises:
        ConfigError: the file is not there, cannot be read or is longer; the message names it.
    """
    size = path.stat().st_size if is_file(path) else 0
    require(size <= MOST_BYTES, what, f"{path} must not be longer than {MOST_BYTES:,} bytes", size)
    return read_bytes(path, what)


def read_json(path: Path, what: str = "results") -> Any:
    """JSON as `recgym.files.parse_json` takes it; a mark of the byte order before it is skipped.

    Raises:
        ConfigError: the file is not there, cannot be read, is huge, or holds something else; the message names it.
    """
    return parse_json(read_limited(path, what).removeprefix(codecs.BOM_UTF8), what, path)


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal data are equal bytes."""
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def lines_of(data: dict[str, Any], sort_keys: bool = True) -> str:
    """A JSON object as text for people: a line for each part, and for each member of a part that holds lists or objects.

    Args:
        data: JSON values; its own parts stay in their order. sort_keys: whether to sort the keys within a line.
    """

    def compact(value: Any) -> str:
        return json.dumps(value, sort_keys=sort_keys, allow_nan=False, ensure_ascii=False)

    parts = []
    for name, value in data.items():
        members = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
        if not any(isinstance(member, (dict, list)) for member in members):
            parts.append(f"{compact(name)}: {compact(value)}")
        elif isinstance(value, dict):
            inner = ",\n  ".join(f"{compact(key)}: {compact(member)}" for key, member in value.items())
            parts.append(f"{compact(name)}: {{\n  {inner}\n }}")
        else:
            inner = ",\n  ".join(map(compact, members))
            parts.append(f"{compact(name)}: [\n  {inner}\n ]")
    return "{\n " + ",\n ".join(parts) + "\n}\n"


def require_writable(name: str, path: Path, folder: bool = True) -> None:
    """Raise a ConfigError unless a folder (or a file) of that path is there to be written, or can be made."""
    require(folder or not is_folder(path), name, "must be a file", str(path))
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        longest = max(map(len, map(os.fsencode, path.parts)), default=0)
        require(longest <= LONGEST_PART, name, f"must have names of at most {LONGEST_PART} bytes", str(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{name}: {brief(str(path))} cannot be written: {reason}") from None
    path = path if folder else path.parent
    there = next((place for place in (path, *path.absolute().parents) if os.path.exists(place)), path)
    fits = is_folder(there) and os.access(there, os.W_OK)
    require(fits, name, "must be a folder that can be written, or made", str(path))


def require_keys(where: str, data: Any, required: Iterable[str], optional: Iterable[str] = ()) -> None:
    """Require an object with all of the required keys, and no others than the optional ones.

    Raises:
        ConfigError: it is none; the message starts with `where` and names the nearest key.
    """
    required, optional = list(required), list(optional)
    require(isinstance(data, dict), where, "must be an object", data)
    for key in data:
        if key not in (*required, *optional):
            unknown(f"{where} key", key, [*required, *optional])
    for key in required:
        if key not in data:
            raise ConfigError(f"{where}: must have {key!r}, got the keys {[*data]}")


def is_text(value: Any) -> bool:
    """Whether it is text that can be shown: no control characters, no halves of surrogate pairs."""
    return isinstance(value, str) and value.isprintable()


def is_label(value: Any) -> bool:
    """Whether it can name something in a report: a text of 1 to `LONGEST_NAME` characters that are not all spaces."""
    return is_text(value) and 0 < len(value) <= LONGEST_NAME and not value.isspace()


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that statistics can bear."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def is_name(value: Any) -> bool:
    """Whether it can be the name of a suite or a folder: at most `LONGEST_NAME` letters, digits and hyphens, and no path."""
    fits = isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value, re.ASCII)
    return bool(fits) and len(value) <= LONGEST_NAME


def are_scores(scores: Any) -> bool:
    """Whether it has a mean return and its standard error, which is not negative, by agent."""
    pairs = [*scores.values()] if isinstance(scores, dict) else [None]
    return all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) and pair[1] >= 0 for pair in pairs
    )


def is_front(names: Any) -> bool:
    """Whether it is a list of the names of two different objectives."""
    return are_names(names) and len({*names}) == len(names) == 2 and all(names)


def is_pair(numbers: Any) -> bool:
    """Whether it is a list of two numbers."""
    return isinstance(numbers, list) and len(numbers) == 2 and all(map(is_number, numbers))


def are_names(names: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(names, list) and all(map(is_text, names))
