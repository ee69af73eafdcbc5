"""What is kept on disk may fail or be damaged: it costs time, never a simulation, and nothing of the user's."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from numba.core.caching import NullCache

import recgym
from recgym import files, fusion, kernel
from recgym.envs import RecVectorEnv
from recgym.files import write_atomically

FUSE = """
import gymnasium as gym, recgym
env = gym.make_vec("recgym/LongTermSatisfaction-v0", num_envs=2).unwrapped
env.reset(seed=0)
assert env.fuse()
print(sum(env.step([i % 10, 3])[1].sum() for i in range(20)))
"""


def run(code: str, **variables: str) -> str:
    """What a process of its own prints."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def emptied(file: Path) -> None:
    file.write_bytes(b"")


def halved(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def garbled(file: Path) -> None:
    file.write_bytes(b"\xff\xfe" + file.read_bytes())


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A cache that one process has filled, which takes it seconds, and what it printed."""
    folder = tmp_path_factory.mktemp("filled")
    return folder, run(FUSE, RECGYM_CACHE=str(folder))


@pytest.mark.parametrize("damage", [emptied, halved, garbled])
def test_damaged_files_are_made_anew(damage: Callable[[Path], None], filled: tuple[Path, str], tmp_path: Path) -> None:
    expected = filled[1]
    shutil.copytree(filled[0], tmp_path, dirs_exist_ok=True)
    endings = [(f"*{ending}", list(tmp_path.rglob(f"*{ending}"))) for ending in (".py", ".nbi", ".nbc")]
    assert all(found for _, found in endings)
    for _, found in endings:
        for file in found:
            damage(file)
    assert run(FUSE, RECGYM_CACHE=str(tmp_path)) == expected
    kept = {file: file.read_bytes() for _, found in endings for file in found}
    assert run(FUSE, RECGYM_CACHE=str(tmp_path)) == expected
    assert {file: file.read_bytes() for file in kept} == kept  # and are good for the next


def test_a_full_disk(filled: tuple[Path, str], tmp_path: Path) -> None:
    """No file may grow beyond 1 kB: neither the written step nor what numba makes of it can be kept."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    assert run(limit + FUSE, RECGYM_CACHE=str(tmp_path)) == filled[1]
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


@pytest.mark.parametrize("there", [True, False])
def test_a_cache_that_cannot_be(there: bool, filled: tuple[Path, str], tmp_path: Path) -> None:
    if there:
        (tmp_path / "file").write_text("")
    assert run(FUSE, RECGYM_CACHE=str(tmp_path / "file" if there else "/proc/nowhere")) == filled[1]


def test_kernels_are_kept_in_the_cache_where_the_package_is_read_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, Cache = [], kernel._Cache

    class ReadOnly(Cache):  # type: ignore[misc, valid-type]
        def __init__(self, function: Any) -> None:
            found.append(kernel.config.CACHE_DIR)
            if not Path(kernel.config.CACHE_DIR).is_relative_to(tmp_path) or (tmp_path / "file").is_file():
                raise RuntimeError("cannot cache function: no locator available")
            super().__init__(function)

    monkeypatch.setattr(kernel, "_Cache", ReadOnly)
    monkeypatch.setenv("RECGYM_CACHE", str(tmp_path))
    cache = kernel._cache(kernel.sigmoid.compiled.py_func)
    assert found == ["", str(tmp_path / "kernels")]
    assert Path(cache.cache_path).is_relative_to(tmp_path)
    assert kernel.config.CACHE_DIR == ""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECGYM_CACHE", str(tmp_path / "file"))
    assert isinstance(kernel._cache(kernel.sigmoid.compiled.py_func), NullCache)
    monkeypatch.setattr(files.Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    monkeypatch.delenv("RECGYM_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert isinstance(kernel._cache(kernel.sigmoid.compiled.py_func), NullCache)


def test_only_what_is_ours_is_forgotten(tmp_path: Path) -> None:
    ours, step = "step_" + "0a" * 12, "step_" + "0b" * 12
    contents = {f"{ours}.py": fusion.TITLE + "\n", f"{step}.py": "# a file of somebody's\n", "step_counter.py": fusion.TITLE + "\n",
                "__pycache__/step_counter.step-1.py311.nbi": "", f"__pycache__/{ours}.step-10.py311.nbi": "",
                f"__pycache__/{ours}.step-10.py311.1.nbc": "", f"__pycache__/{ours}.other.nbi": ""}  # fmt: skip
    for name, text in contents.items():
        write_atomically(tmp_path / name, text.encode())
        os.utime(tmp_path / name, (0, 0))
    fusion._forget(tmp_path)
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {
        f"{step}.py",
        "step_counter.py",
        "__pycache__/step_counter.step-1.py311.nbi",
        f"__pycache__/{ours}.other.nbi",
    }


def test_without_compilation() -> None:
    """numba's switch for debuggers: every id steps, and pays nearly what it pays compiled."""
    code = """
import gymnasium as gym, numpy as np, recgym
for id in (*recgym.ENV_IDS, *recgym.CLASSIC_IDS):
    env = gym.make_vec(id, num_envs=4)
    env.reset(seed=0)
    env.action_space.seed(0)
    print(id, sum(env.step(env.action_space.sample())[1].sum() for _ in range(3)))
"""
    assert run("from recgym import RecVectorEnv as E; print(E('news').fuse())", NUMBA_DISABLE_JIT="1") == "False\n"
    plain, compiled = ([line.split() for line in run(code, **v).splitlines()] for v in ({"NUMBA_DISABLE_JIT": "1"}, {}))
    assert [id for id, _ in plain] == [*recgym.ENV_IDS, *recgym.CLASSIC_IDS]
    np.testing.assert_allclose([float(x) for _, x in plain], [float(x) for _, x in compiled], rtol=1e-3, atol=1e-4)


def test_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    contents = [bytes([i]) * 20_000 for i in range(8)]
    failed, seen, stop = [], set(), threading.Event()

    def write(content: bytes) -> None:
        try:
            for _ in range(50):
                write_atomically(tmp_path / "file", content)
        except OSError as error:
            failed.append(error)

    def read() -> None:
        while not stop.is_set():
            seen.add((tmp_path / "file").read_bytes())

    write_atomically(tmp_path / "file", contents[0])
    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    reader = threading.Thread(target=read)
    for thread in (reader, *threads):
        thread.start()
    for thread in threads:
        thread.join()
    stop.set()
    reader.join()
    assert not failed
    assert seen <= {*contents}
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", b"old")
    code = f"""
import resource
from recgym.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))
try:
    write_atomically({str(tmp_path / "file")!r}, b"x" * 100)
except OSError:
    print("refused")
"""
    assert run(code) == "refused\n"
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


def _steps(pipe: Any, env: RecVectorEnv, actions: Any) -> None:
    pipe.send(env.step(actions)[1])


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fused_batch_with_threads_steps_in_a_fork() -> None:
    env = RecVectorEnv("news", 64, threads=2)
    env.reset(seed=0)
    assert env.fuse()
    actions = np.zeros(64, int)
    env.step(actions)  # the threads are there
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=_steps, args=(theirs, env, actions), daemon=True)
    child.start()
    assert ours.poll(60), "the child hangs"
    paid = ours.recv()
    child.join()
    assert np.array_equal(paid, env.step(actions)[1])  # the parent's threads go on
    env.close()
    env.step(actions)  # and a closed env goes on without


def test_one_env_steps_in_any_thread() -> None:
    envs = [gym.make_vec("recgym/News-v0", num_envs=64, threads=2) for _ in range(3)]
    paid: list[Any] = [None] * 3

    def work(i: int) -> None:
        envs[i].reset(seed=0)
        envs[i].unwrapped.fuse()  # type: ignore[attr-defined]
        paid[i] = [envs[i].step(np.full(64, t % 20))[1] for t in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert paid[0] is not None
    assert np.array_equal(paid[0], paid[1])
    assert np.array_equal(paid[0], paid[2])
