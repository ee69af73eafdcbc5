"""The compact form of a results folder, in which results are published, and the one reader of both forms.

    <folder>/suite.json       the manifest, as in a folder that a run leaves
    <folder>/jobs.jsonl       one result per line, sorted by key, with the number of points of its learning curve instead of the curve
    <folder>/curves.jsonl.gz  the learning curves, one line for each result that has one, sorted by key

A folder may have both forms: what is run after it was packed lies in job files. A result that is the same as one of
another published folder, but for the time that it took, may be kept there alone: "shared" in the manifest says where.
"""

from __future__ import annotations

import dataclasses
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from benchmarks import files
from benchmarks.data import MOST_BYTES, is_file, is_folder, is_name, read_json, read_limited, write_json
from benchmarks.files import load_result, read_manifest, result_file, write_manifest
from benchmarks.result import Result
from recgym.errors import ConfigError, require, unknown
from recgym.files import parse_json, write_atomically

RESULTS, CURVES = "jobs.jsonl", "curves.jsonl.gz"
UNKNOWN_SYSTEM = 255  # of gzip's header, so that every system writes the same bytes


def read_results(
    folder: Path, keys: Iterable[str], shared: Mapping[str, str] | None = None
) -> tuple[dict[str, Result], dict[str, str]]:
    """Results of some jobs of a folder, in whatever form they are there.

    Args:
        folder: of results. keys: of the jobs. shared: key -> published folder, as the manifest has it.

    Returns:
        The results by key, and by key why a file or a published folder is not taken.

    Raises:
        ConfigError: the packed files are not of the form, or a job has two results that differ.
    """
    packed, found, faults = read_packed(folder), {}, {}
    shared = shared or {}
    published = {name: read_packed(files.PUBLISHED / name) for name in {*shared.values()}}
    for key in keys:
        path = result_file(folder, key)
        there = {}  # where -> result
        if key in packed:
            there[str(folder / RESULTS)] = packed[key]
        if is_file(path):
            try:
                there[str(path)] = load_result(path, key)
            except ConfigError as error:
                faults[key] = str(error)
        if key in shared and not there:
            name = shared[key]
            if key in published[name]:
                there[name] = published[name][key]
            elif key not in faults:
                faults[key] = f"shared with the published {name}, which does not hold it"
        if len(there) == 2 and len({_line(result.to_dict()) for result in there.values()}) == 2:
            raise ConfigError(f"results: {' and '.join(there)} must hold equal results of the job {key}; remove one")
        if there:
            found[key] = next(iter(there.values()))
    return found, faults


def holds_any(folder: Path, keys: Collection[str]) -> bool:
    """Whether a folder has a file or a packed line of one of the jobs; nothing of either is judged, so it takes no time."""
    packed = folder / RESULTS
    known = re.findall(rb'"key":"(\w+)"', read_limited(packed)) if is_file(packed) else []
    return not {key.encode() for key in keys}.isdisjoint(known) or any(
        is_file(result_file(folder, key)) for key in keys
    )


def read_packed(folder: Path) -> dict[str, Result]:
    """Results by key from the packed files of a folder; none where it has not been packed.

    Raises:
        ConfigError: they are not what `pack` writes, belong to two runs of it, or are of a job that suite.json lacks; the
            message names the file and the line. (A suite.json that is not there, or cannot be read, lacks none: its own
            reader complains, and a run writes it anew.)
    """
    path, curves = folder / RESULTS, {}
    if not is_file(path):
        return {}
    known = None
    with suppress(ConfigError):
        known = {entry.job.key for entry in read_manifest(folder).entries}

    def require_known(key: str, where: Path, number: int) -> None:
        require(
            known is None or key in known, "results", f"{where}, line {number}, must be of a job of suite.json", key
        )

    if is_file(folder / CURVES):
        where, content = folder / CURVES, _unzipped(folder / CURVES)
        for number, key, line in _lines(content, where):
            fits = line.keys() == {"key", "curve"} and isinstance(line["curve"], list) and line["curve"]
            require(fits, "results", f"{where}, line {number}, must hold a key and a curve", [*line])
            require_known(key, where, number)
            curves[key] = line["curve"]
    found = {}
    for number, key, line in _lines(read_limited(path), path):
        curve, points = curves.get(key, []), line.get("curve")
        fits = type(points) is int and points == len(curve)
        require(fits, "results", f"{path}, line {number}, must have the curve that {CURVES} holds", points)
        try:
            found[key] = Result.from_dict({**line, "curve": curve}, key)
        except ConfigError as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
        require_known(key, path, number)
    return found


def _lines(content: bytes, path: Path) -> Iterable[tuple[int, str, dict[str, Any]]]:
    """Number, key and data of each line, whose keys rise."""
    require(content.endswith(b"\n") or not content, "results", f"{path} must end with its last line", content[-20:])
    before = ""
    for number, text in enumerate(content.split(b"\n")[:-1], start=1):
        line = parse_json(text, "results", f"{path}, line {number},")
        fits = isinstance(line, dict) and isinstance(line.get("key"), str) and line["key"] > before
        require(fits, "results", f"{path}, line {number}, must be an object whose key is above the line's before", text)
        before = line["key"]
        yield number, before, line


def _unzipped(path: Path) -> bytes:
    """What a gzip file of one member holds; a bomb is not unpacked further than `MOST_BYTES`."""
    reader = zlib.decompressobj(wbits=31)
    try:
        content = reader.decompress(read_limited(path), MOST_BYTES + 1)
    except zlib.error as error:
        raise ConfigError(f"results: {path} must be a whole gzip file: {error}") from None
    require(len(content) <= MOST_BYTES, "results", f"{path} must not hold more than {MOST_BYTES:,} bytes", "more")
    require(reader.eof and not reader.unused_data, "results", f"{path} must be a whole gzip file", "another length")
    return content


def _zipped(content: bytes) -> bytes:
    """A gzip file with no time in it: equal contents are equal bytes."""
    data = bytearray(zlib.compress(content, 9, wbits=31))
    data[9] = UNKNOWN_SYSTEM
    return bytes(data)


def _line(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False) + "\n"


def pack(folder: Path, shared: Collection[str] = ()) -> int:
    """Put the job files of a folder whose run is over into its packed files, and remove them.

    Nothing is removed before the packed files have been read again and found equal. Stopped at any moment, the same call
    goes on.

    Args:
        folder: of results. shared: names of published folders; a result that one of them holds too, with the same
            numbers, software and files, is removed here, and the manifest says where it is.

    Returns:
        How many results are now packed or shared; 0 where no job file was there.

    Raises:
        ConfigError: no results folder; a row of it is not whole, a job has failed, or a file is no result of its jobs.
    """
    manifest = read_manifest(folder)
    keys = {entry.job.key for entry in manifest.entries}
    jobs = folder / "jobs"
    job_files = sorted(jobs.glob("*")) if is_folder(jobs) else []
    results, faults = read_results(folder, sorted(keys), manifest.shared)
    for path in job_files:
        key, _, ending = path.name.partition(".")
        known = key in keys and ending in ("json", "error.txt")
        require(known, "folder", "must have results of its manifest's jobs alone; remove", str(path))
        if ending == "error.txt":
            rule = "no traceback of a job that has a result; remove"
            if key not in results:
                rule = "no failed job; run it with --retry-failed, or remove"
            raise ConfigError(f"folder: must have {rule}, got {path}")
    for fault in faults.values():
        raise ConfigError(f"folder: {fault}")
    for label in {entry.label for entry in manifest.entries}:
        row = [entry.job.key in results for entry in manifest.entries if entry.label == label]
        whole = all(row) or not any(row)
        require(whole, "folder", f"must hold whole rows; run the rest of {label!r}", f"{sum(row)} of {len(row)} jobs")
    if not job_files and not shared:
        if is_folder(jobs):  # as an interrupted call leaves it
            jobs.rmdir()
        return 0
    before = read_packed(folder)
    elsewhere = {**manifest.shared, **_elsewhere(folder, results, shared)}
    here = {key: result for key, result in results.items() if key not in elsewhere}
    data = read_json(folder / "suite.json")  # is written first, as what is here counts before what is elsewhere
    write_manifest(folder, {**data, "shared": elsewhere} if elsewhere else data)
    _write_curves(folder, {**before, **here})  # then each of the files fits the other at every moment
    lines = [_line({**here[key].to_dict(), "curve": len(here[key].curve)}) for key in sorted(here)]
    write_atomically(folder / RESULTS, "".join(lines).encode())
    _write_curves(folder, here)
    again = {key: _line(result.to_dict()) for key, result in read_packed(folder).items()}
    same = again == {key: _line(result.to_dict()) for key, result in here.items()}
    require(same, "folder", "must be packed without loss; its job files are left as they are", str(folder))
    for path in job_files:
        path.unlink()
    if is_folder(jobs):
        jobs.rmdir()
    return len(results)


def unpack(folder: Path) -> None:
    """Put the packed results of a folder back into job files. Stopped at any moment, the same call goes on."""
    for key, result in read_packed(folder).items():
        write_json(result_file(folder, key), result.to_dict())
    for name in (RESULTS, CURVES):
        (folder / name).unlink(missing_ok=True)


def _write_curves(folder: Path, results: Mapping[str, Result]) -> None:
    """Write the learning curves of results; no file where there are none."""
    lines = [_line({"key": key, "curve": results[key].curve}) for key in sorted(results) if results[key].curve]
    if lines:
        write_atomically(folder / CURVES, _zipped("".join(lines).encode()))
    else:
        (folder / CURVES).unlink(missing_ok=True)


def _elsewhere(folder: Path, results: Mapping[str, Result], shared: Collection[str]) -> dict[str, str]:
    """Key -> published folder, of results that one of those folders holds too, but for the time that they took."""
    found: dict[str, str] = {}
    for name in shared:
        place = files.PUBLISHED / name
        there = is_name(name) and is_file(place / RESULTS) and place.resolve() != folder.resolve()
        if not there:
            unknown("shared", name, [path.parent.name for path in files.PUBLISHED.glob(f"*/{RESULTS}")])
        for key, result in read_packed(place).items():
            if key in results and dataclasses.replace(result, cost=results[key].cost) == results[key]:
                found.setdefault(key, name)
    return found
