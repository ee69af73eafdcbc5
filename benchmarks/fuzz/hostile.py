"""Hostile input, drawn at random: values, actions, and files mutated by what they hold."""

from __future__ import annotations

import copy
import gzip
import io
import json
import math
import os
import pickle
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from recgym.files import parse_arrays


class Payload:
    """Unpickled, it starts a process, which `_watched` hears."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true recgym-fuzz-payload",)


def pickled() -> bytes:
    """A pickle that runs code where it is loaded."""
    return pickle.dumps(Payload())


def mutated_bytes(rng: np.random.Generator, content: bytes) -> bytes:
    """Bytes flipped, cut, repeated or put in between."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(data) + 1))
        how = int(rng.integers(8))
        if how == 0:
            data = data[:at]
        elif how == 1 and data:
            for i in rng.integers(len(data), size=int(rng.integers(1, 20))):
                data[i] = int(rng.integers(256))
        elif how == 2:
            data[at:at] = rng.bytes(int(rng.integers(1, 40)))
        elif how == 3:
            del data[at : at + int(rng.integers(1, 200))]
        elif how == 4:
            data[at:at] = data[at : at + int(rng.integers(1, 200))]
        elif how == 5:
            data[:0] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"PK\x03\x04", b"\x1f\x8b"][int(rng.integers(5))]
        elif how == 6:
            data = bytearray(pickled())
        elif rng.random() < 0.1:
            data = bytearray()
    return bytes(data)


def hostile_value(rng: np.random.Generator) -> Any:
    """A value that JSON can hold and that hardly anything expects."""
    deep: Any = []
    for _ in range(int(rng.integers(1, 3)) * 400):
        deep = [deep]
    values: list[Any] = [
        None, True, False, 0, 1, -1, 2, 7, 0.5, -0.5, 1e-30, 1e30, 1e38, 1e308, -1e308, math.nan, math.inf, -math.inf,
        10**6, 10**9, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400, "", "x", "nan", "1_0", "\ud800", "[bold]", "[/]", "'",
        "../../etc/passwd", "x" * 10_000, [], [[]], [1, 2], [0.1, "x"], list(range(1000)), {}, {"kind": "All"},
        {"kind": "World"}, {"kind": None}, {"array": "catalog.embedding"}, {"array": "nothing"}, {"array": []}, {"x": {}}, deep,
        float(rng.normal()), float(rng.normal() * 10.0 ** rng.integers(-40, 40)), int(rng.integers(-1000, 1000)),
    ]  # fmt: skip
    return values[int(rng.integers(len(values)))]


def _paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _paths(inner, (*path, key))


def mutated_json(rng: np.random.Generator, content: bytes) -> bytes:
    """JSON with some values replaced, removed, renamed, scaled or exchanged; sometimes mutated bytes."""
    if rng.random() < 0.15:
        return mutated_bytes(rng, content)
    data = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        paths = list(_paths(data))
        if not paths or rng.random() < 0.01:
            data = hostile_value(rng)
            continue
        *path, last = paths[int(rng.integers(len(paths)))]
        owner = data
        for key in path:
            owner = owner[key]
        how = rng.random()
        if how < 0.55:
            owner[last] = hostile_value(rng)
        elif how < 0.7 and isinstance(owner[last], (int, float)) and not isinstance(owner[last], bool):
            owner[last] = owner[last] * [-1, 2, 10, 1000, 0.001, 1.5, 1e30][int(rng.integers(7))]
        elif how < 0.8:
            del owner[last]
        elif how < 0.9 and isinstance(owner, dict):
            owner[["x", "kind", "Kind", "array", "", last + " ", "slate_size"][int(rng.integers(7))]] = owner.pop(last)
        else:
            other: Any = data
            for key in paths[int(rng.integers(len(paths)))]:
                other = other[key]
            owner[last] = copy.deepcopy(other)
    text = json.dumps(data, ensure_ascii=bool(rng.random() < 0.9), indent=1)
    if rng.random() < 0.02 and text.startswith("{"):
        text = '{"format": 1, ' + text[1:]  # a name that is there twice
    return text.encode(errors="surrogatepass")


def mutated_array(rng: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """An array of another shape, type, order or with other values."""
    array = np.array(array)
    how = int(rng.integers(12))
    if how == 0:
        return array.reshape(-1)[: max(array.size - int(rng.integers(1, 4)), 0)]
    if how == 1:
        return np.asfortranarray(array.T)
    if how == 2:
        return array[None]
    if how == 3:
        kinds = ["f2", "f4", "f8", ">f4", "i1", "i4", "i8", "u1", "u8", "c8", "?", "S3", "U3", "M8[s]"]
        with np.errstate(all="ignore"):
            try:
                return array.astype(kinds[int(rng.integers(len(kinds)))])
            except (TypeError, ValueError):
                return array.astype("U8")
    if how == 4:
        return array[..., :0]
    if how == 5:
        return np.concatenate([array, array]) if array.ndim else np.stack([array, array])
    if how == 6:
        return np.array(array.reshape(-1)[0] if array.size else 0)
    if array.dtype.kind in "fiub" and array.size:
        flat = array.reshape(-1)
        where = rng.integers(flat.size, size=int(rng.integers(1, 5)))
        numbers = [0, -1, 1, np.nan, np.inf, -np.inf, 1e38, -1e38, 1e-45, 2**31 - 1, -(2**31), 1e6, 255]
        number = numbers[int(rng.integers(len(numbers)))]
        with np.errstate(all="ignore"):
            if how in (7, 8):
                flat[where] = (
                    np.array(number).astype(flat.dtype) if np.isfinite(number) or flat.dtype.kind == "f" else 0
                )
            elif how == 9:
                flat[:] = np.array(number).astype(flat.dtype) if np.isfinite(number) or flat.dtype.kind == "f" else 0
            elif how == 10:
                flat[:] = (flat * [10.0, 1e10, -1.0, 1e36][int(rng.integers(4))]).astype(flat.dtype)
            else:
                rng.shuffle(flat)
        return flat.reshape(array.shape)
    return array[::-1] if array.ndim else array


def mutated_npz(rng: np.random.Generator, content: bytes) -> bytes:
    """An archive of arrays with members changed, exchanged, lost or added, some of them hostile; sometimes mutated bytes."""
    if rng.random() < 0.25:
        return mutated_bytes(rng, content)
    arrays = parse_arrays(content, "", "")
    names = sorted(arrays)
    extra: dict[str, bytes] = {}
    for _ in range(int(rng.integers(1, 3))):
        name = names[int(rng.integers(len(names)))]
        how = int(rng.integers(12))
        if how < 6 and name in arrays:
            arrays[name] = mutated_array(rng, arrays[name])
        elif how == 6:
            arrays.pop(name, None)
        elif how == 7:
            arrays[name] = arrays.get(names[int(rng.integers(len(names)))], np.zeros(3))
        elif how == 8:
            arrays[f"{name} "] = arrays.pop(name, np.zeros(3))
        elif how == 9:  # a bomb: a member of 64 GB by its header, or of zeros that compress to nothing
            shape = (2**34,) if rng.random() < 0.5 else (10**6 * 64,)
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
            zeros = b"\0" * (4 * 10**6 * 8) if shape[0] < 2**34 and rng.random() < 0.2 else b""
            extra[f"{name if rng.random() < 0.5 else 'bomb'}.npy"] = header.getvalue() + zeros
        elif how == 10:
            arrays.pop(name, None)
            header = io.BytesIO()
            np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": (1,)})
            extra[f"{name}.npy"] = header.getvalue() + pickled()
        else:
            extra[f"{name}.npy" if rng.random() < 0.3 else "../outside.npy"] = rng.bytes(int(rng.integers(0, 60)))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two members of one name
        for name, array in arrays.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, array, allow_pickle=False)
            archive.writestr(f"{name}.npy", member.getvalue())
        for name, data in extra.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def mutated_zip(rng: np.random.Generator, content: bytes) -> bytes:
    """An archive with one member mutated by what it holds, or lost; sometimes mutated bytes."""
    if rng.random() < 0.3 or not zipfile.is_zipfile(io.BytesIO(content)):
        return mutated_bytes(rng, content)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = sorted(members)[int(rng.integers(len(members)))]
    if rng.random() < 0.1:
        del members[name]
    elif rng.random() < 0.2:
        members[name] = pickled()
    else:
        members[name] = mutated(rng, name, members[name])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for member, data in members.items():
            archive.writestr(member, data)
    return buffer.getvalue()


def mutated_csv(rng: np.random.Generator, content: bytes) -> bytes:
    """A table with fields, lines or bytes changed."""
    if rng.random() < 0.25:
        return mutated_bytes(rng, content)
    lines = content.decode(errors="replace").split("\n")
    for _ in range(int(rng.integers(1, 4))):
        at = int(rng.integers(len(lines))) if rng.random() < 0.8 else 0
        fields = lines[at].split(",")
        how = int(rng.integers(10))
        if how < 5 and fields:
            hostile = ["", " ", "nan", "inf", "-1", "1e400", "1_0", "٣", "0x10", "1.5", "999999999999999999999", '"', "'", "a,b",
                       "\x00", "2019-11-24", "2019-11-24 00:00:00Z", "é", "x" * 200_000, "True", "-0.0", "1e-320"]  # fmt: skip
            fields[int(rng.integers(len(fields)))] = hostile[int(rng.integers(len(hostile)))]
            lines[at] = ",".join(fields)
        elif how == 5:
            del lines[at]
            lines = lines or [""]
        elif how == 6:
            lines.insert(at, lines[int(rng.integers(len(lines)))])
        elif how == 7:
            lines[at] = ",".join(fields[: int(rng.integers(len(fields) + 1))])
        elif how == 8:
            rng.shuffle(fields)
            lines[at] = ",".join(fields)
        else:
            lines.append("")
    ending = "\r\n" if rng.random() < 0.1 else "\n"
    return ending.join(lines).encode(errors="surrogatepass")


def mutated_lines(rng: np.random.Generator, content: bytes) -> bytes:
    """JSON lines with one of them mutated, removed, repeated or moved; sometimes mutated bytes."""
    lines = content.splitlines()
    if rng.random() < 0.15 or not lines:
        return mutated_bytes(rng, content)
    at, other = (int(rng.integers(len(lines))) for _ in range(2))
    how = rng.random()
    if how < 0.8:
        lines[at] = mutated_json(rng, lines[at]).replace(b"\n", b" ")
    elif how < 0.9:
        del lines[at]
    else:
        lines.insert(at, lines[other])
    return b"".join(line + b"\n" for line in lines)


def mutated(rng: np.random.Generator, name: str, content: bytes) -> bytes:
    """A file's content, mutated as its name asks for."""
    ways = {
        ".json": mutated_json,
        ".jsonl": mutated_lines,
        ".npz": mutated_npz,
        ".zip": mutated_zip,
        ".pt": mutated_zip,
        ".pth": mutated_zip,
        ".csv": mutated_csv,
    }
    try:
        if name.endswith(".gz") and rng.random() < 0.8:
            return gzip.compress(mutated(rng, name[:-3], gzip.decompress(content)), 1, mtime=0)
        return ways.get(Path(name).suffix, mutated_bytes)(rng, content)
    except Exception:  # it was no such file before: a second mutation of one file
        return mutated_bytes(rng, content)


def mutate_folder(rng: np.random.Generator, folder: Path) -> None:
    """Mutate a file, sometimes two; rarely one is lost, a folder, or another's."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for _ in range(1 + int(rng.random() < 0.2)):
        path, other = (files[int(rng.integers(len(files)))] for _ in range(2))
        how = rng.random()
        if how < 0.01:
            path.unlink(missing_ok=True)
        elif how < 0.02:
            path.unlink(missing_ok=True)
            path.mkdir(exist_ok=True)
        elif path.is_file() and other.is_file():
            path.write_bytes(other.read_bytes() if how < 0.03 else mutated(rng, path.name, path.read_bytes()))


def hostile_parameter(rng: np.random.Generator) -> Any:
    """As `hostile_value`, and what only Python holds; sizes stay small, as big ones are allowed and take their time."""
    from decimal import Decimal
    from fractions import Fraction

    others: list[Any] = [
        np.float32(0.5), np.float16(0.5), np.longdouble(0.5), np.int8(3), np.uint64(2**63), np.bool_(True), np.array(3), np.array(0.5),
        np.array([1.0, 2.0]), Fraction(1, 2), Decimal("0.5"), 1j, b"x", object(), int, lambda *_: 0, {1, 2}, (1,), range(3),
        float("nan"), np.nan, np.str_("x"), np.datetime64("2020-01-01"), {"click": np.float32(1)}, {"click": float("nan")},
        {"click": 1.0}, "all", "vector", "dict", "latent", "slate", "item", "embedding", 3, 5, 20, 0.25,
    ]  # fmt: skip
    value = others[int(rng.integers(len(others)))] if rng.random() < 0.6 else hostile_value(rng)
    return 50 if isinstance(value, int) and 100 < value < 10**10 else value


def hostile_action(rng: np.random.Generator, space: gym.Space[Any]) -> Any:
    """An action that may well lie outside the space, or be no action at all."""
    space.seed(int(rng.integers(2**31)))
    good = space.sample()
    array = np.asarray(good)
    others: list[Any] = [
        good, None, "0", "", b"0", -1, 10**6, 2**63, 2**64, -(2**63) - 1, 10**400, 0.5, 1.0, math.nan, math.inf, True, 1j, [], {}, (),
        object(), [[]], [[1], [2, 3]], array[None], array.astype(float), array.astype(np.uint8), array.astype(np.float16),
        np.full(array.shape, -1), np.full(array.shape, 10**9), np.full(array.shape, np.nan), np.full(array.shape, 2**64 - 1, np.uint64),
        np.full(array.shape, True), array.astype(object), array.astype(str), array.astype(complex), np.zeros((0, *array.shape), int),
        np.ma.masked_array(array), array.tolist(), np.array(array, order="F"), np.frombuffer(array.tobytes(), array.dtype),
        array.astype(array.dtype.newbyteorder()), np.broadcast_to(array, array.shape), np.datetime64("2020-01-01"), np.timedelta64(1),
    ]  # fmt: skip
    return others[int(rng.integers(len(others)))]
