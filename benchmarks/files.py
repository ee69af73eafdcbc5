"""A results folder on disk: where its files lie, and the one check of all that is read from them.

    <folder>/suite.json            the manifest: jobs, their names in the report, the command
    <folder>/jobs/<key>.json       result of one job
    <folder>/jobs/<key>.error.txt  traceback of a job that failed

Files may be anybody's. Reading takes them as data: nothing is imported, and what is not of the right form is refused.
"""

from __future__ import annotations

import codecs
import json
import os
import warnings
from pathlib import Path
from typing import Any

from benchmarks.suite import FORMAT, Job, key_of
from recgym.errors import ConfigError, require
from recgym.files import parse_json, read_bytes, write_atomically

MOST_BYTES = 2**26  # of a JSON file; a suite of 10,000 jobs has 5 MB
LARGEST = 1e12  # a number of a result
NUMBERS = {"return": ("mean", "se", "n"), "length": ("mean", "median"), "objectives": (),
           "cost": ("train_seconds", "evaluation_seconds")}  # fmt: skip
Result = dict[str, Any]


def result_file(folder: Path, key: str) -> Path:
    """Where the result of a job lies."""
    return folder / "jobs" / f"{key}.json"


def error_file(folder: Path, key: str) -> Path:
    """Where the traceback of a failed job lies."""
    return folder / "jobs" / f"{key}.error.txt"


def write_json(path: Path, data: Any) -> None:
    """Write JSON atomically, keys sorted, so that equal data are equal bytes."""
    write_atomically(path, (json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n").encode())


def require_writable(name: str, path: Path, folder: bool = True) -> None:
    """Raise a ConfigError unless a folder (or a file) of that path is there to be written, or can be made."""
    if not folder:
        require(not path.is_dir(), name, "must be a file", str(path))
        path = path.parent
    there = next((place for place in (path, *path.absolute().parents) if place.exists()), path)
    fits = there.is_dir() and os.access(there, os.W_OK)
    require(fits, name, "must be a folder that can be written, or made", str(path))


def read_json(path: Path, what: str = "results") -> Any:
    """JSON as `recgym.files.parse_json` takes it; a mark of the byte order before it is skipped.

    Raises:
        ConfigError: the file is not there, cannot be read, is huge, or holds something else; the message names it.
    """
    size = path.stat().st_size if path.is_file() else 0
    require(size <= MOST_BYTES, what, f"{path} must not be longer than {MOST_BYTES:,} bytes", size)
    return parse_json(read_bytes(path, what).removeprefix(codecs.BOM_UTF8), what, path)


def is_text(value: Any) -> bool:
    """Whether it is text that can be shown: no control characters, no halves of surrogate pairs."""
    return isinstance(value, str) and value.isprintable()


def is_number(value: Any) -> bool:
    """Whether it is a finite number of a size that statistics can bear."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST


def read_manifest(folder: Path) -> Result:
    """The manifest of a results folder.

    Raises:
        ConfigError: no such file, or not of the right form; the message names it.
    """
    path = folder / "suite.json"
    require(path.is_file(), "folder", "must hold suite.json, as a run leaves it", str(folder))
    data = read_json(path)
    faults = manifest_faults(data)
    if faults:
        raise ConfigError(f"{path}: {faults[0]}")
    return data


def manifest_faults(manifest: Any) -> list[str]:
    """What is wrong with the form of a manifest, a line each."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("entries"), list) or not manifest["entries"]:
        return ["must be an object with a list of entries"]
    if manifest.get("format") != FORMAT:
        return [f"must be of format {FORMAT}, got {manifest.get('format')!r}"]
    faults = [f"{name} must be text" for name in ("suite", "command") if not is_text(manifest.get(name))]
    for i, entry in enumerate(manifest["entries"]):
        try:
            _check_entry(entry)
        except ConfigError as error:
            faults.append(f"entry {i}: {error}")
    if faults:
        return faults
    places = [(entry["task"], entry["label"], entry["key"]) for entry in manifest["entries"]]
    if len({*places}) < len(places):
        return ["an entry is there twice"]
    tasks = {entry["task"] for entry in manifest["entries"]}
    for part, fits in (("references", _are_scores), ("fronts", _are_names)):
        found = manifest.get(part, {})
        if not (isinstance(found, dict) and found.keys() <= tasks and all(map(fits, found.values()))):
            faults.append(f"{part} must be of tasks of entries, as a suite has them")
    return faults


def _check_entry(entry: Any) -> None:
    fits = isinstance(entry, dict) and all(is_text(entry.get(name)) for name in ("task", "label"))
    if not fits:
        raise ConfigError("must be an object whose task and label are text")
    job = Job.from_dict(entry.get("job"))
    require(entry.get("key") == job.key, "key", f"must be that of its job, {job.key!r}", entry.get("key"))


def _are_scores(scores: Any) -> bool:
    pairs = [*scores.values()] if isinstance(scores, dict) else [None]
    return all(isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in pairs)


def _are_names(names: Any) -> bool:
    return isinstance(names, list) and all(map(is_text, names))


def read_result(folder: Path, key: str) -> Result | None:
    """The result of a job; None where there is none, with a warning where the file is not what a run writes."""
    path = result_file(folder, key)
    if not path.is_file():
        return None
    try:
        return load_result(path, key)
    except ConfigError as error:
        warnings.warn(f"{path.name} is corrupt ({error}) and counts as absent", stacklevel=2)
        return None


def load_result(path: Path, key: str) -> Result:
    """The result of a job from its file.

    Raises:
        ConfigError: no such file, or not what a run writes; the message names it.
    """
    data = read_json(path)
    try:
        check_result(data, key)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return data


def check_result(data: Any, key: str) -> None:
    """Raise a ConfigError unless it is of the form of a result of the job with that key."""
    require(isinstance(data, dict), "result", "must be an object", type(data).__name__)
    fits = data.get("format") == FORMAT and data.get("key") == key and isinstance(data.get("job"), dict)
    if not (fits and key_of(data["job"]) == key):
        raise ConfigError("it belongs to another job or format")
    Job.from_dict(data["job"])
    require(isinstance(data.get("privileged"), bool), "privileged", "must be true or false", data.get("privileged"))
    for part, names in NUMBERS.items():
        _check_numbers(part, data.get(part), names)
    score, length = data["return"], data["length"]
    require(score["se"] >= 0, "return se", "must not be negative", score["se"])
    require(length["mean"] > 0, "length mean", "must be above 0", length["mean"])
    require(isinstance(data.get("curve"), list), "curve", "must be a list", type(data.get("curve")).__name__)
    for i, point in enumerate(data["curve"]):
        _check_numbers(f"curve {i}", point, ("steps",))
    for part in ("software", "files"):
        found = data.get(part, {})
        fits = isinstance(found, dict) and all(is_text(text) for pair in found.items() for text in pair)
        require(fits and (part in data or part == "files"), part, "must be texts by name", type(found).__name__)


def _check_numbers(part: str, found: Any, names: tuple[str, ...]) -> None:
    require(isinstance(found, dict), part, "must be numbers by name", type(found).__name__)
    for name in names:
        require(name in found, part, f"must hold {name!r}", list(found))
    for name, value in found.items():
        require(is_number(value), f"{part} {name}", f"must be a number in [-{LARGEST:g}, {LARGEST:g}]", value)


def evaluated(curve: list[dict[str, float]]) -> bool:
    """Whether a learning curve is of evaluation episodes: mean return and its standard error at some training steps.

    Results of version 0.1 have another kind, the reward of a step while training, exploration included.
    """
    return bool(curve) and all(point.keys() == {"steps", "return", "se"} for point in curve)
