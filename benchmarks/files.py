"""A results folder on disk: where its files lie, and the one check of all that is read from them.

    <folder>/suite.json            the manifest: jobs, their names in the report, the command
    <folder>/jobs/<key>.json       result of one job
    <folder>/jobs/<key>.error.txt  traceback of a job that failed

A folder that has been packed, see `benchmarks.packed`, holds its results in two files instead. Files may be anybody's.
Reading takes them as data: nothing is imported, and what is not of the right form is refused.
"""

from __future__ import annotations

import codecs
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.result import Result, is_number, is_text
from benchmarks.suite import FORMAT, Entry, Job
from recgym.errors import ConfigError, require, require_option
from recgym.files import parse_json, read_bytes, write_atomically

MOST_BYTES = 2**26  # of a JSON file; a suite of 10,000 jobs has 5 MB
MANIFEST_PARTS = ("format", "suite", "command", "entries", "references", "fronts", "shared")
PUBLISHED = Path(__file__).parent / "results"  # the results that come with recgym


def result_file(folder: Path, key: str) -> Path:
    """Where the result of a job lies."""
    return folder / "jobs" / f"{key}.json"


def error_file(folder: Path, key: str) -> Path:
    """Where the traceback of a failed job lies."""
    return folder / "jobs" / f"{key}.error.txt"


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal data are equal bytes."""
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def lines_of(data: dict[str, Any]) -> str:
    """A JSON object as text for people: one line for each part, and for each member of a part that holds several."""

    def compact(value: Any) -> str:
        return json.dumps(value, sort_keys=True, allow_nan=False, ensure_ascii=False)

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


def write_manifest(folder: Path, data: dict[str, Any]) -> None:
    """Write the manifest of a results folder."""
    write_atomically(folder / "suite.json", lines_of(dict(sorted(data.items()))).encode())


def require_writable(name: str, path: Path, folder: bool = True) -> None:
    """Raise a ConfigError unless a folder (or a file) of that path is there to be written, or can be made."""
    if not folder:
        require(not path.is_dir(), name, "must be a file", str(path))
        path = path.parent
    there = next((place for place in (path, *path.absolute().parents) if place.exists()), path)
    fits = there.is_dir() and os.access(there, os.W_OK)
    require(fits, name, "must be a folder that can be written, or made", str(path))


def read_limited(path: Path, what: str = "results") -> bytes:
    """The content of a file of at most `MOST_BYTES`.

    Raises:
        ConfigError: the file is not there, cannot be read or is longer; the message names it.
    """
    size = path.stat().st_size if path.is_file() else 0
    require(size <= MOST_BYTES, what, f"{path} must not be longer than {MOST_BYTES:,} bytes", size)
    return read_bytes(path, what)


def read_json(path: Path, what: str = "results") -> Any:
    """JSON as `recgym.files.parse_json` takes it; a mark of the byte order before it is skipped.

    Raises:
        ConfigError: the file is not there, cannot be read, is huge, or holds something else; the message names it.
    """
    return parse_json(read_limited(path, what).removeprefix(codecs.BOM_UTF8), what, path)


@dataclass(frozen=True)
class Manifest:
    """What a results folder says of itself.

    Args:
        suite: its name. command: that ran it. entries: its jobs in running order, with their names in the report.
        references: task -> agent -> pinned mean return and standard error. fronts: task -> objectives traded off there.
        shared: key of a job -> name of the published folder that holds its result in place of this one.
    """

    suite: str
    command: str
    entries: list[Entry]
    references: dict[str, dict[str, list[float]]]
    fronts: dict[str, list[str]]
    shared: dict[str, str]

    @classmethod
    def from_dict(cls, data: Any) -> Manifest:
        """The manifest that a run writes.

        Raises:
            ConfigError: it is none.
        """
        fits = isinstance(data, dict) and isinstance(data.get("entries"), list) and data["entries"]
        require(fits, "manifest", "must be an object with a list of entries", type(data).__name__)
        require(data.get("format") == FORMAT, "manifest", f"must be of format {FORMAT}", data.get("format"))
        for name in ("suite", "command"):
            require(is_text(data.get(name)), "manifest", f"{name} must be text", data.get(name))
        entries = []
        for i, entry in enumerate(data["entries"]):
            try:
                entries.append(_entry(entry))
            except ConfigError as error:
                raise ConfigError(f"entry {i}: {error}") from None
        names = {(entry.task, entry.label, entry.job.key) for entry in entries}
        if len(names) < len(entries):
            raise ConfigError("manifest: an entry is there twice")
        tasks = {entry.task for entry in entries}
        for part, fits_part in (("references", are_scores), ("fronts", are_names)):
            found = data.get(part, {})
            fits = isinstance(found, dict) and found.keys() <= tasks and all(map(fits_part, found.values()))
            require(fits, "manifest", f"{part} must be of tasks of entries, as a suite has them", found)
        shared = data.get("shared", {})
        keys = {entry.job.key for entry in entries}
        fits = isinstance(shared, dict) and shared.keys() <= keys and all(map(is_name, shared.values()))
        require(fits, "manifest", "shared must hold names of published folders by keys of entries", shared)
        for name in data:
            require_option("part of a manifest", name, MANIFEST_PARTS)
        return cls(data["suite"], data["command"], entries, data.get("references", {}), data.get("fronts", {}), shared)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a results folder.

    Raises:
        ConfigError: no such file, or not of the right form; the message names it.
    """
    path = folder / "suite.json"
    require(path.is_file(), "folder", "must hold suite.json, as a run leaves it", str(folder))
    data = read_json(path)
    try:
        return Manifest.from_dict(data)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _entry(entry: Any) -> Entry:
    fits = isinstance(entry, dict) and entry.keys() == {"task", "label", "key", "job"}
    if not (fits and all(is_text(entry[name]) for name in ("task", "label"))):
        raise ConfigError("must be an object of a job, its key, and a task and a label that are text")
    job = Job.from_dict(entry["job"])
    require(entry["key"] == job.key, "key", f"must be that of its job, {job.key!r}", entry["key"])
    return Entry(entry["task"], entry["label"], job)


def are_scores(scores: Any) -> bool:
    """Whether it has a mean return and its standard error by agent."""
    pairs = [*scores.values()] if isinstance(scores, dict) else [None]
    return all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs)


def are_names(names: Any) -> bool:
    """Whether it is a list of texts."""
    return isinstance(names, list) and all(map(is_text, names))


def is_name(value: Any) -> bool:
    """Whether it can be the name of a published folder: letters, digits and hyphens, so that no path can be made of it."""
    return isinstance(value, str) and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", value, re.ASCII) is not None


def load_result(path: Path, key: str) -> Result:
    """The result of a job from its file.

    Raises:
        ConfigError: no such file, or not what a run writes; the message names it.
    """
    data = read_json(path)
    try:
        return Result.from_dict(data, key)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
