"""What happens to recgym when its input is wrong: files mutated at random, worlds and actions drawn at random.

A *target* is one door that something from outside comes through. A *case* is one attempt at it, a pure function of
(target, seed, number), so that any finding can be repeated: ``python -m benchmarks fuzz worlds --seed 0 --case 4711``.
A case passes where recgym raises an error of its own, or takes the input and then works. It is a finding where anything
else is raised, where numbers leave their space, where code is run or memory is exhausted, or where a process hangs or dies.
"""

from __future__ import annotations

import copy
import dataclasses
import faulthandler
import gzip
import io
import json
import math
import multiprocessing
import os
import pickle
import shutil
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

import recgym
from recgym.errors import RecgymError, require_count, require_option
from recgym.files import parse_arrays

SECONDS = 20.0  # that a case may take; the first of a process compiles kernels and gets ten times as long
MEMORY = 3 << 30  # bytes of address space that a process may add to what it needs to start
RAN_CODE = ("os.system", "os.exec", "os.posix_spawn", "os.spawn", "subprocess.Popen", "socket.connect")  # audit events


class Finding(NamedTuple):
    """A case that did not pass."""

    target: str
    seed: int
    case: int
    what: str  # a traceback, or how the process ended

    @property
    def command(self) -> str:
        """What repeats it."""
        return f"python -m benchmarks fuzz {self.target} --seed {self.seed} --case {self.case}"

    @property
    def end(self) -> str:
        """The last lines of what happened."""
        return "\n".join(self.what.strip().splitlines()[-12:])


class Outcome(NamedTuple):
    """What became of a target's cases."""

    target: str
    cases: int
    refused: int  # by an error of recgym's
    seconds: float
    findings: list[Finding]


@dataclass(frozen=True)
class Target:
    """A door.

    Attributes:
        about: what is tried. prepare: writes the files that cases mutate into a folder. attempt: one case: mutates a copy
            of them in a folder of its own, or draws what it needs; raises a RecgymError where recgym refuses.
    """

    about: str
    prepare: Callable[[Path], None]
    attempt: Callable[[np.random.Generator, Path], None]


def fuzz(
    names: list[str], seed: int = 0, minutes: float = 1.0, cases: int | None = None,
    progress: Callable[[str, int, int], None] = lambda target, done, found: None,
) -> Iterator[Outcome]:  # fmt: skip
    """Try targets one after the other, each in a process of its own.

    Args:
        names: of `TARGETS`. seed: of all cases. minutes: for each target. cases: stop after so many, too.
        progress: called with the target, the cases done and the findings so far.

    Raises:
        ConfigError: no such target.
    """
    for name in names:
        require_option("target", name, TARGETS)
    with tempfile.TemporaryDirectory(prefix="recgym-fuzz-") as scratch:
        for name in names:
            originals = Path(scratch) / name
            originals.mkdir()
            TARGETS[name].prepare(originals)
            yield _run(name, seed, minutes * 60, cases or sys.maxsize, originals, progress)


def repeat(name: str, seed: int, case: int, folder: Path) -> None:
    """One case in this process, its files left in `folder`; raises what recgym raises.

    Raises:
        ConfigError: no such target, or the folder is there.
    """
    require_option("target", name, TARGETS)
    require_count("case", case, 0, sys.maxsize)
    with tempfile.TemporaryDirectory(prefix="recgym-fuzz-") as originals:
        TARGETS[name].prepare(Path(originals))
        _attempt(name, seed, case, Path(originals), folder)


def _run(
    name: str, seed: int, seconds: float, cases: int, originals: Path, progress: Callable[[str, int, int], None]
) -> Outcome:
    began, case, refused = time.monotonic(), 0, 0
    findings: list[Finding] = []
    context = multiprocessing.get_context("spawn")
    while case < cases and time.monotonic() - began < seconds:
        ours, theirs = context.Pipe()
        log = originals.with_suffix(".log")
        process = context.Process(target=_work, args=(theirs, name, seed, case, cases, originals, log), daemon=True)
        process.start()
        theirs.close()
        try:
            while time.monotonic() - began < seconds or not case:
                case, verdict, text = ours.recv()
                case += 1
                refused += verdict == "refused"
                if verdict == "found":
                    findings.append(Finding(name, seed, case - 1, text))
                progress(name, case, len(findings))
                if case >= cases:
                    break
        except EOFError:  # it died, or the watchdog ended it
            process.join()
            text = log.read_text(errors="replace") if log.is_file() else ""
            findings.append(Finding(name, seed, case, f"the process ended with status {process.exitcode}\n{text}"))
            case += 1
        process.kill()
        process.join()
    return Outcome(name, case, refused, time.monotonic() - began, findings)


def _work(pipe: Any, name: str, seed: int, first: int, cases: int, originals: Path, log: Path) -> None:
    """The cases from `first` on, in a process of their own."""
    file = open(log, "w")  # noqa: SIM115  (faulthandler writes into it until the process ends)
    faulthandler.enable(file)
    _limit_memory()
    for case in range(first, cases):
        faulthandler.dump_traceback_later(SECONDS * (10 if case == first else 1), exit=True, file=file)
        folder = originals.with_name(f"{name}-case")
        shutil.rmtree(folder, ignore_errors=True)  # of a process that died
        try:
            _attempt(name, seed, case, originals, folder)
            pipe.send((case, "took", ""))
        except RecgymError:
            pipe.send((case, "refused", ""))
        except BaseException:  # whatever it is, it should not have come out
            pipe.send((case, "found", traceback.format_exc()))


def _attempt(name: str, seed: int, case: int, originals: Path, folder: Path) -> None:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), case])
    recgym.errors.require(not folder.exists(), "folder", "must not be there", str(folder))
    folders = sorted(path for path in originals.iterdir() if path.is_dir())
    if folders:  # of several originals a case takes one
        chosen = folders[int(rng.integers(len(folders)))]
        shutil.copytree(chosen, folder / chosen.name)
    else:
        shutil.copytree(originals, folder)
    with warnings.catch_warnings(), np.errstate(all="ignore"), _watched():
        warnings.simplefilter("ignore")
        TARGETS[name].attempt(rng, folder)


class _watched:
    """Raises where code from a file runs: the payload that `pickled` plants starts a process."""

    ran: str | None = None
    hooked = False

    def __enter__(self) -> None:
        _watched.ran = None
        if not _watched.hooked:
            _watched.hooked = True
            sys.addaudithook(self._hear)

    def __exit__(self, *_: object) -> None:
        if _watched.ran is not None:
            raise AssertionError(f"code of the input was run: {_watched.ran}")

    @staticmethod
    def _hear(event: str, arguments: tuple[Any, ...]) -> None:
        if event in RAN_CODE and "recgym-fuzz-payload" in repr(arguments):
            _watched.ran = event


def _limit_memory() -> None:
    try:
        import resource
    except ImportError:  # not on this system: its processes are not bounded
        return
    now = 0
    if Path("/proc/self/statm").is_file():
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = (
        now + MEMORY + (16 << 30 if "torch" in sys.modules else 0)
    )  # torch reserves address space that it never uses
    if hard == resource.RLIM_INFINITY or limit < hard:
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


class Payload:
    """Unpickled, it starts a process, which `_watched` hears."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true recgym-fuzz-payload",)


def pickled() -> bytes:
    """A pickle that runs code where it is loaded."""
    return pickle.dumps(Payload())


# Mutations


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


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Paths of everything within a JSON value."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from _places(inner, (*path, key))


def mutated_json(rng: np.random.Generator, content: bytes) -> bytes:
    """JSON with some values replaced, removed, renamed, scaled or exchanged; sometimes mutated bytes."""
    if rng.random() < 0.15:
        return mutated_bytes(rng, content)
    data = json.loads(content)
    for _ in range(int(rng.integers(1, 3))):
        places = list(_places(data))
        if not places or rng.random() < 0.01:
            data = hostile_value(rng)
            continue
        *path, last = places[int(rng.integers(len(places)))]
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
            for key in places[int(rng.integers(len(places)))]:
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


def mutated(rng: np.random.Generator, name: str, content: bytes) -> bytes:
    """A file's content, mutated as its name asks for."""
    ways = {
        ".json": mutated_json,
        ".npz": mutated_npz,
        ".zip": mutated_zip,
        ".pt": mutated_zip,
        ".pth": mutated_zip,
        ".csv": mutated_csv,
    }
    try:
        if name.endswith(".gz") and rng.random() < 0.8:
            return gzip.compress(mutated(rng, name[:-3], gzip.decompress(content)), 1)
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


# Targets


def _without(file: Path, digests: str) -> None:
    """JSON without the digests of other files, which would refuse nearly all that is to be tried; who forges can fit them."""
    data = json.loads(file.read_bytes())
    data.pop(digests, None)
    file.write_text(json.dumps(data, indent=1))


def _prepare_worlds(folder: Path) -> None:
    for name in ("ecommerce", "news", "livestream"):
        recgym.load_world(name, items=40, slate_size=2).save(folder / name)
    for name in ("interest-evolution", "long-term-satisfaction", "interest-exploration", "recogym"):
        recgym.load_world(name).save(folder / name)
    shutil.copytree(recgym.fitted_worlds()["open-bandit"], folder / "open-bandit")
    for file in folder.glob("*/world.json"):
        _without(file, "arrays")


def _attempt_world(rng: np.random.Generator, folder: Path) -> None:
    (world,) = folder.iterdir()
    mutate_folder(rng, world)
    play(recgym.load_world(world), rng)


def play(world: recgym.World, rng: np.random.Generator, steps: int = 4) -> None:
    """A few steps of a few users: every observation lies in its space, every reward is finite.

    Raises:
        AssertionError: one does not.
    """
    env = recgym.RecVectorEnv(world, 3, observation="latent")  # all there is to see, and what nobody sees
    env.action_space.seed(int(rng.integers(2**31)))
    observation, _ = env.reset(seed=int(rng.integers(2**31)))
    for _ in range(steps):
        assert observation in env.observation_space, "an observation lies outside its space"
        observation, reward, _, _, info = env.step(env.action_space.sample())
        assert np.isfinite(reward).all(), f"a reward is not finite: {reward}"
        chance = info["probability"]
        assert ((chance >= 0) & (chance <= 1.000001)).all(), f"a probability lies outside [0, 1]: {chance}"
    assert observation in env.observation_space, "an observation lies outside its space"


AGENTS = (
    "linucb",
    "thompson",
    "pctr",
    "popularity",
    "q-learning",
    "slateq",
    "reinforce",
    "dqn",
    "ppo",
    "recurrent-ppo",
)
_OPTIONS: dict[str, dict[str, Any]] = {"linucb": {"item_prior": 5.0}, "reinforce": {"item_prior": 5.0}}


def _agent_task(name: str) -> Any:
    from baselines import Task

    return Task("recgym/LongTermSatisfaction-v0" if name == "q-learning" else "recgym/News-v0")


def _prepare_agents(folder: Path) -> None:
    from baselines import make_agent

    for name in AGENTS:
        agent = make_agent(name, **_OPTIONS.get(name, {}))
        agent.fit(_agent_task(name), 64)
        agent.save(folder / name)
        _without(folder / name / "agent.json", "files")


def _attempt_agent(rng: np.random.Generator, folder: Path) -> None:
    from gymnasium.vector import AutoresetMode

    from baselines.agent import agent_class

    (where,) = folder.iterdir()
    mutate_folder(rng, where)
    agent = agent_class(where.name).load(where)
    env = _agent_task(where.name).make(2, AutoresetMode.DISABLED)
    observation, info = env.reset(seed=0)
    agent.start(env)
    action = agent.act(observation, info["action_mask"])
    env.step(action)


def _prepare_results(folder: Path) -> None:
    from rich.console import Console

    from baselines import Task
    from benchmarks.run import run_suite
    from benchmarks.suite import custom_suite

    suite = custom_suite(["linucb"], [Task("recgym/News-v0")], 256, 2, 20)
    with open(os.devnull, "w") as nowhere:
        run_suite(suite, folder / "custom", 1, "python -m benchmarks run", Console(file=nowhere))


def _attempt_results(rng: np.random.Generator, folder: Path) -> None:
    from benchmarks.check import submit_check
    from benchmarks.report import markdown
    from benchmarks.tables import read_folder

    mutate_folder(rng, folder / "custom")
    submit_check(folder / "custom", sample=0)
    markdown(read_folder(folder / "custom"), "leaderboard.png").encode()


def _prepare_logs(folder: Path) -> None:
    rows = ["timestamp,item_id,position,click,propensity_score,user_feature_0"]
    rng = np.random.default_rng(0)
    for i in range(60):
        rows.append(
            f"2019-11-24 00:{i:02d}:00.{i:06d}+00:00,{i % 34},{i % 3 + 1},{int(rng.random() < 0.3)},{1 / 34:.6f},a{i}"
        )
    items = ["item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3"]
    items += [f"{i},{rng.normal():.4f},h{i % 3},k{i % 4},m{i % 5}" for i in range(34)]
    for policy in ("random", "bts"):
        (folder / f"{policy}_men_men.csv.gz").write_bytes(gzip.compress("\n".join([*rows, ""]).encode()))
        (folder / f"{policy}_men_item_context.csv").write_text("\n".join([*items, ""]))


def _attempt_logs(rng: np.random.Generator, folder: Path) -> None:
    from recgym.logs import read_open_bandit

    mutate_folder(rng, folder)
    read_open_bandit(folder, "men").counts()


def _attempt_parameters(rng: np.random.Generator, folder: Path) -> None:
    """Keyword arguments of `gymnasium.make` that nobody should give."""
    import inspect

    from recgym.registry import registered_worlds

    ids = [*recgym.ENV_IDS, *recgym.CLASSIC_IDS]
    id = ids[int(rng.integers(len(ids)))]
    names = [*inspect.signature(recgym.RecVectorEnv.__init__).parameters][2:-1]
    names += [name for name in recgym.World.__dataclass_fields__ if rng.random() < 0.5]
    world = (gym.spec(id).kwargs or {})["world"]
    names += [*inspect.signature(registered_worlds()[world].load()).parameters] if world in registered_worlds() else []
    given = {names[int(rng.integers(len(names)))]: _hostile_parameter(rng) for _ in range(int(rng.integers(1, 3)))}
    given.pop("render_mode", None)
    env = gym.make(id, **given).unwrapped
    env.action_space.seed(0)
    observation, _ = env.reset(seed=0)
    for _ in range(3):
        assert observation in env.observation_space, f"{id}, {given}: an observation lies outside its space"
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert np.isfinite(np.asarray(reward)).all(), f"{id}, {given}: a reward is not finite: {reward}"
        if terminated or truncated:
            break


def _hostile_parameter(rng: np.random.Generator) -> Any:
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


FAMILIES = ("population", "candidates", "preference", "choice", "response", "departure")
SIZES = {"ecommerce": "items", "news": "items", "livestream": "items", "interest-evolution": "items", "interest-exploration": "items",
         "long-term-satisfaction": "items", "recogym": "products", "sardine": ""}  # fmt: skip


def random_world(rng: np.random.Generator) -> recgym.World:
    """A world of parts at random, with parameters at random all over their documented ranges, the ends among them."""
    name = list(SIZES)[int(rng.integers(len(SIZES)))]
    size = {SIZES[name]: int(rng.integers(12, 60))} if SIZES[name] else {"task": "SlateRerank-Bored"}
    world = recgym.load_world(name, **size, **({"candidates": 10} if name != "sardine" else {}))
    single = world.response.single
    changes: dict[str, Any] = {"slate_size": int(rng.integers(1, 6)), "horizon": int(rng.integers(1, 60)), "history": int(rng.integers(1, 12)),
                               "warm_up": int(rng.integers(3)) * int(rng.integers(2))}  # fmt: skip
    for family in FAMILIES:
        part = getattr(world, family)
        if rng.random() < 0.35:
            part = _other_part(rng, part, single)
        changes[family] = _other_numbers(rng, part)
    dynamics = [_other_numbers(rng, part) for part in world.dynamics]
    if rng.random() < 0.3:
        dynamics.append(_other_numbers(rng, _other_part(rng, dynamics[0], single)) if dynamics else None)
    changes["dynamics"] = tuple(part for part in dynamics if part is not None)
    if rng.random() < 0.5:
        changes["catalog"] = _other_items(rng, world.catalog)
    for field in sorted(changes, key=lambda _: rng.random()):  # what does not fit the others stays as it was
        try:
            world = world.replace(**{field: changes[field]})
        except RecgymError:
            continue
    return world


def _other_items(rng: np.random.Generator, catalog: recgym.Catalog) -> recgym.Catalog:
    """The catalogue with its embeddings and attributes on another scale, up to the largest numbers it may hold."""

    def scaled(array: np.ndarray) -> np.ndarray:
        if rng.random() < 0.1:
            return rng.choice([-1e9, 0.0, 1.0, 1e9], array.shape)
        return np.clip(array * [0.0, 1.0, 10 ** rng.uniform(-6, 9)][int(rng.integers(3))], -1e9, 1e9)

    return dataclasses.replace(catalog, embedding=scaled(catalog.embedding), attributes=scaled(catalog.attributes))


def _other_part(rng: np.random.Generator, part: Any, single: bool) -> Any:
    """A part of the same family, with its defaults; the same where it has none."""
    from recgym.component import KINDS

    family = type(part).__mro__[type(part).__mro__.index(recgym.Component) - 1]
    kinds = [
        kind
        for kinds in KINDS.values()
        for kind in kinds
        if issubclass(kind, family) and kind.__module__.startswith("recgym.")
    ]
    try:
        return sorted(kinds, key=lambda kind: kind.__name__)[int(rng.integers(len(kinds)))]()
    except (RecgymError, TypeError):  # it has arrays, which fit one catalogue alone
        return part


def _other_numbers(rng: np.random.Generator, part: Any) -> Any:
    """The part with some of its numbers drawn from all over their ranges."""
    for name, (low, high) in ranges(type(part), part).items():
        value = getattr(part, name)
        if rng.random() < 0.5 or not isinstance(value, (int, float)) or isinstance(value, bool):
            continue
        if isinstance(value, int):
            drawn: Any = int(rng.integers(int(low), int(min(high, 60)) + 1))
        else:
            small = max(low, 0.0) + 10 ** rng.uniform(-6, 0) if high > 0 else low
            drawn = float(
                [low, high, rng.uniform(low, high), min(small, high), rng.uniform(max(low, -5), min(high, 5))][
                    int(rng.integers(5))
                ]
            )
        try:
            part = dataclasses.replace(part, **{name: drawn})
        except RecgymError:  # a rule of several fields
            continue
    return part


def ranges(kind: type, part: Any) -> dict[str, tuple[float, float]]:
    """Field -> the range that the part itself asks for when it is made."""
    found: dict[str, tuple[float, float]] = {}

    def note(check: Callable[..., Any]) -> Callable[..., Any]:
        def noted(parameter: str, value: Any, low: float, high: float) -> Any:
            found[parameter.rpartition(".")[2]] = (low, high)
            return check(parameter, value, low, high)

        return noted

    modules = {sys.modules[base.__module__] for base in kind.__mro__ if base.__module__.startswith("recgym.")}
    names = ("require_number", "require_count")
    before = [(module, name, getattr(module, name)) for module in modules for name in names if hasattr(module, name)]
    try:
        for module, name, check in before:
            setattr(module, name, note(check))
        dataclasses.replace(part)
    finally:
        for module, name, check in before:
            setattr(module, name, check)
    fields = {f.name for f in dataclasses.fields(kind) if f.init}
    return {name: span for name, span in found.items() if name in fields}


def _attempt_ranges(rng: np.random.Generator, folder: Path) -> None:
    world = random_world(rng)
    try:
        play(world, rng, 8)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{world!r}") from None


def _attempt_actions(rng: np.random.Generator, folder: Path) -> None:
    """Actions that nobody should give: refused, with the state as it was, or inside the space."""
    ids = [*recgym.ENV_IDS, "recgym/InterestEvolution-v0", "recgym/Sardine-SlateTopK-Bored-v0"]
    options: dict[str, Any] = {"action": "embedding"} if rng.random() < 0.2 else {}
    env: Any = gym.make(ids[int(rng.integers(len(ids)))], **options).unwrapped
    env.reset(seed=int(rng.integers(1000)))
    for _ in range(20):
        before = env.get_state().users
        held = {name: array.copy() for name, array in before.__dict__.items()}
        shape, action = env.action_space.shape, hostile_action(rng, env.action_space)
        try:
            *_, terminated, truncated, _ = env.step(action)
            if terminated or truncated:
                break
        except RecgymError:
            after = env.get_state().users
            changed = [name for name, array in held.items() if after[name].tobytes() != array.tobytes()]
            assert not changed, f"a refusal changed {changed}, action {action!r} of shape {shape}"


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


def _nothing(folder: Path) -> None:
    """No files."""


TARGETS = {
    "worlds": Target("saved worlds, mutated: world.json and arrays.npz", _prepare_worlds, _attempt_world),
    "agents": Target("saved agents, mutated: hyper-parameters, arrays, networks", _prepare_agents, _attempt_agent),
    "results": Target(
        "a results folder, mutated: manifest and jobs; read, reported and checked", _prepare_results, _attempt_results
    ),
    "logs": Target("interaction logs, mutated: Open Bandit files", _prepare_logs, _attempt_logs),
    "parameters": Target("keyword arguments of gymnasium.make that nobody should give", _nothing, _attempt_parameters),
    "ranges": Target(
        "worlds of random parts with parameters all over their documented ranges", _nothing, _attempt_ranges
    ),
    "actions": Target("actions that nobody should take", _nothing, _attempt_actions),
}
