"""A results folder on disk: where its files lie, and the one check of all that is read from them.

    <folder>/suite.json            the manifest: jobs, their names in the report, the command
    <folder>/jobs/<key>.json       result of one job
    <folder>/jobs/<key>.error.txt  traceback of a job that failed

A folder that has been packed, see `benchmarks.packed`, holds its results in two files instead. Files may be anybody's.
Reading takes them as data: nothing is imported, and what is not of the right form is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.data import are_scores, is_file, is_front, is_name, is_pair, is_text, lines_of, read_json
from benchmarks.result import Result
from benchmarks.suite import FORMAT, Entry, Job
from recgym.errors import ConfigError, require, require_option
from recgym.files import write_atomically

MANIFEST_PARTS = ("format", "suite", "command", "entries", "references", "fronts", "stretch", "ones", "shared")
PUBLISHED = Path(__file__).parent / "results"  # the results that come with recgym


def result_file(folder: Path, key: str) -> Path:
    """Where the result of a job lies."""
    return folder / "jobs" / f"{key}.json"


def error_file(folder: Path, key: str) -> Path:
    """Where the traceback of a failed job lies."""
    return folder / "jobs" / f"{key}.error.txt"


def write_manifest(folder: Path, data: dict[str, Any]) -> None:
    """Write the manifest of a results folder."""
    write_atomically(folder / "suite.json", lines_of(dict(sorted(data.items()))).encode())


@dataclass(frozen=True)
class Manifest:
    """What a results folder says of itself.

    Args:
        suite: its name. command: that ran it. entries: its jobs in running order, with their names in the report.
        references: task -> agent -> pinned mean return and standard error. fronts: task -> objectives traded off there.
        stretch: task -> training steps of its best known policy, and by which share it rose over the last fifth of them.
        ones: task -> label of the row whose return is the 1 of normalised scores there.
        shared: key of a job -> name of the published folder that holds its result instead of this one.
    """

    suite: str
    command: str
    entries: list[Entry]
    references: dict[str, dict[str, list[float]]]
    fronts: dict[str, list[str]]
    stretch: dict[str, list[float]]
    ones: dict[str, str]
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
        for part, fits_part in (
            ("references", are_scores),
            ("fronts", is_front),
            ("stretch", is_pair),
            ("ones", is_text),
        ):
            found = data.get(part, {})
            fits = isinstance(found, dict) and found.keys() <= tasks and all(map(fits_part, found.values()))
            require(fits, "manifest", f"{part} must be of tasks of entries, as a suite has them", found)
        shared = data.get("shared", {})
        keys = {entry.job.key for entry in entries}
        fits = isinstance(shared, dict) and shared.keys() <= keys and all(map(is_name, shared.values()))
        require(fits, "manifest", "shared must hold names of published folders by keys of entries", shared)
        for name in data:
            require_option("part of a manifest", name, MANIFEST_PARTS)
        names = {(entry.task, entry.label) for entry in entries}
        require({*data.get("ones", {}).items()} <= names, "manifest", "ones must be of rows", data.get("ones"))
        references, fronts, stretch, ones = (data.get(name, {}) for name in ("references", "fronts", "stretch", "ones"))
        return cls(data["suite"], data["command"], entries, references, fronts, stretch, ones, shared)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a results folder.

    Raises:
        ConfigError: no such file, or not of the right form; the message names it.
    """
    path = folder / "suite.json"
    require(is_file(path), "folder", "must hold suite.json, as a run leaves it", str(folder))
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
