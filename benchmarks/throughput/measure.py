"""What is measured: steps of single environments and of batches, copies of memory, and windows of all of them in turn."""

from __future__ import annotations

import cProfile
import io
import pstats
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np

from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import ConfigError
from recgym.types import Array

PRESAMPLED = 256  # actions drawn before the clock starts, used in turn
PRESAMPLED_USERS = 2**18  # of a batch: so many actions of single users, in 4 to 16 batches
TRAFFIC_USERS, TRAFFIC_STEPS = 64, 64  # on which the columns that a step writes are found

Measure = Callable[[float], float]  # runs for so many seconds, returns units per second


def single(id: str, **options: Any) -> Measure:
    """One environment, steps per second: random actions, observations built, resets included.

    Args:
        id: a registered environment. options: keyword arguments of `gymnasium.make`.
    """
    env = made(lambda: gym.make(id, disable_env_checker=True, **options))
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(PRESAMPLED)]
    env.reset(seed=0)

    def measure(seconds: float) -> float:
        steps, began = 0, time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for action in actions:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            steps += len(actions)
        return steps / passed

    return measure


def batch(id: str, users: int, **options: Any) -> Measure:
    """A vector environment, user-steps per second: the default autoreset; a step that only resets a user does not count.

    Args:
        id: a registered environment. users: in the batch. options: keyword arguments of `gymnasium.make_vec`.
    """
    return stepping(made(lambda: gym.make_vec(id, num_envs=users, **options)), users)


def stepping(envs: Any, users: int) -> Measure:
    """See `batch`; of a vector environment that has been made."""
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(min(16, max(4, PRESAMPLED_USERS // users)))]
    envs.reset(seed=0)
    calls = 0

    def measure(seconds: float) -> float:
        nonlocal calls
        ended, began = [], time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            _, _, terminated, truncated, _ = envs.step(actions[calls % len(actions)])
            ended.append(terminated | truncated)  # a new array: these may be views of all that the step gave
            calls += 1
        resets = sum(map(np.count_nonzero, ended[:-1]))
        return (len(ended) * users - resets) / passed

    return measure


def made(make: Callable[[], Any]) -> Any:
    """The environment, with its step compiled if it can be, which would otherwise happen after a second of work."""
    try:
        env = make()
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(f"ids: must be registered environments: {error}") from None
    if isinstance(env.unwrapped, (RecEnv, RecVectorEnv)):
        env.unwrapped.fuse()
    return env


def copying(size: int, threads: int) -> Measure:
    """Bytes per second read and written by copies of arrays: the bound on anything that must move its bytes once.

    Args:
        size: bytes read and written by a copy, all threads together; beyond the caches, it is memory that is measured.
        threads: each copies an array of its own, again and again.
    """
    length = max(size // 2 // threads, 1)
    pairs = [(np.ones(length, np.uint8), np.ones(length, np.uint8)) for _ in range(threads)]

    def measure(seconds: float) -> float:
        rates = np.zeros(threads)

        def work(number: int) -> None:
            (source, target), copies, began = pairs[number], 0, time.perf_counter()
            while (passed := time.perf_counter() - began) < seconds:
                for _ in range(1 + 2**20 // length):
                    np.copyto(target, source)
                copies += 1 + 2**20 // length
            rates[number] = copies * 2 * length / passed

        workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        return float(rates.sum())

    return measure


def traffic(envs: RecVectorEnv) -> int:
    """Bytes that a user-step must move, at the least.

    They are all of the user's state, read; those columns of it that change, written; and the action read, observation,
    reward, flags and info written. Columns that all users share, and what is read of the catalogue, do not count.
    They are found with a few users of their own.
    """
    envs = RecVectorEnv(num_envs=TRAFFIC_USERS, **envs.options)
    envs.action_space.seed(0)
    envs.reset(seed=0)
    first = {name: array.copy() for name, array in envs.get_state().users.__dict__.items()}
    changed: set[str] = set()
    same = np.ones(TRAFFIC_USERS, np.bool_)  # who is still in the first episode
    action: Any = None
    step: Any = ()
    for _ in range(TRAFFIC_STEPS):
        action = envs.action_space.sample()
        step = envs.step(action)
        now = envs.get_state().users
        changed |= {name for name, array in first.items() if (array[same] != now[name][same]).any()}
        same &= ~(step[2] | step[3])
    observation, *outcome, info = step
    state = envs.get_state().users.__dict__
    infos = {name: value for name, value in info.items() if not name.startswith("_") and isinstance(value, np.ndarray)}
    read = [*state.values(), *leaves(action)]
    written = [state[name] for name in changed]
    written += [*leaves(observation), *outcome, *infos.values()]
    envs.close()
    return sum(map(row_bytes, read + written))


def leaves(value: Any) -> list[Array]:
    """The arrays of an observation or an action."""
    if isinstance(value, Mapping):
        return [leaf for part in value.values() for leaf in leaves(part)]
    return [leaf for part in value for leaf in leaves(part)] if isinstance(value, tuple) else [np.asarray(value)]


def row_bytes(array: Array) -> int:
    """Bytes of a user's row; none where all users share one."""
    return 0 if array.strides[0] == 0 else array[0].nbytes


def rounds(
    measures: Mapping[str, tuple[Measure, float]], windows: int, progress: Callable[[int], None] = lambda done: None
) -> dict[str, list[float]]:
    """Windows of several measures in turn, so that all meet the same machine.

    Args:
        measures: by name, in the order in which they take turns; each with the seconds of a window. One window of each
            comes before, to warm up. windows: of each. progress: told the number of rounds done.

    Returns:
        The rates of the windows, by name.
    """
    for measure, seconds in measures.values():
        measure(min(seconds, 0.2))
    found: dict[str, list[float]] = {name: [] for name in measures}
    for done in range(windows):
        for name, (measure, seconds) in measures.items():
            found[name].append(measure(seconds))
        progress(done + 1)
    return found


def profile(id: str, lines: int = 25, seconds: float = 1.0) -> str:
    """The functions in which a single environment spends most time, not counting the functions that they call."""
    measure = single(id)
    measure(0.1)
    profiler = cProfile.Profile()
    profiler.runcall(measure, seconds)
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(lines)
    return "\n".join(line for line in out.getvalue().splitlines() if line.strip())
