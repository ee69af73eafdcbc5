"""Steps per second of one user, of batches of users, and of CartPole, which costs little beside the API, in the same run."""

from __future__ import annotations

import cProfile
import io
import pstats
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.tables import Section
from recgym.envs import RecEnv, RecVectorEnv
from recgym.errors import ConfigError, require_count, require_number

FLOOR = "CartPole-v1"
DEFAULT_ID = "recgym/EcommerceSlate-v0"
BATCHES = (1, 64, 1024, 4096)
PRESAMPLED = 256  # actions drawn before the clock starts, used in turn

Measure = Callable[[float], float]  # runs for so many seconds, returns steps per second


@dataclass(frozen=True)
class Speed:
    """Steps per second of one environment.

    Args:
        id: which. users: in the batch; 0 is the single environment of `gymnasium.make`.
        windows: user-steps per second of each window, resets included in the time but not in the steps.
        best, median: of the windows. ratio: of the medians, to CartPole's.
    """

    id: str
    users: int
    windows: list[float]
    best: float
    median: float
    ratio: float


def single(id: str) -> Measure:
    """One environment: random actions, observations built, resets included."""
    env = _make(lambda: gym.make(id, disable_env_checker=True))
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


def batch(id: str, users: int) -> Measure:
    """A vector environment with the default autoreset; the steps in which a user is only reset do not count."""
    envs = _make(lambda: gym.make_vec(id, num_envs=users))
    envs.action_space.seed(0)
    actions = [envs.action_space.sample() for _ in range(16)]
    envs.reset(seed=0)

    def measure(seconds: float) -> float:
        ended, began = [], time.perf_counter()
        while (passed := time.perf_counter() - began) < seconds:
            for action in actions:
                _, _, terminated, truncated, _ = envs.step(action)
                ended.append((terminated, truncated))
        resets = sum(int(np.count_nonzero(terminated | truncated)) for terminated, truncated in ended[:-1])
        return (len(ended) * users - resets) / passed

    return measure


def _make(make: Callable[[], Any]) -> Any:
    """The environment, with its step compiled if it can be, which would otherwise happen after a second of work."""
    try:
        env = make()
    except (gym.error.Error, ImportError) as error:
        raise ConfigError(f"id: must be a registered environment: {error}") from None
    if isinstance(env.unwrapped, (RecEnv, RecVectorEnv)):
        env.unwrapped.fuse()
    return env


def throughput(
    ids: Sequence[str] = (DEFAULT_ID,),
    batches: Sequence[int] = BATCHES,
    windows: int = 5,
    seconds: float = 0.5,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Speed]:
    """Measure CartPole and the given ids, single and in batches.

    Args:
        ids: which. batches: numbers of users. windows: measured of each, after one to warm up; seconds: length of one.
        progress: told what is being measured.
    """
    require_count("windows", windows, 1, 1000)
    require_number("seconds", seconds, 0.01, 3600)
    plan = [(FLOOR, 0), *((id, users) for id in ids for users in (0, *batches))]
    speeds: list[Speed] = []
    for id, users in plan:
        progress(f"{id}, {_users(users)}")
        measure = batch(id, users) if users else single(id)
        measure(min(seconds, 0.2))
        rates = [measure(seconds) for _ in range(windows)]
        median = float(np.median(rates))
        speeds.append(Speed(id, users, rates, max(rates), median, median / (speeds[0].median if speeds else median)))
    return speeds


def section(speeds: Sequence[Speed]) -> Section:
    """The table of the measurements."""
    rows = [(s.id, _users(s.users), f"{s.best:,.0f}", f"{s.median:,.0f}", f"{s.ratio:.2f}") for s in speeds]
    return Section("User-steps per second", ("id", "users", "best", "median", "/ CartPole"), rows)


def to_dict(speeds: Sequence[Speed]) -> list[dict[str, Any]]:
    """Plain JSON values."""
    return [asdict(speed) for speed in speeds]


def profile(id: str, lines: int = 25, seconds: float = 1.0) -> str:
    """The functions in which a single environment spends most time, not counting the functions that they call."""
    measure = single(id)
    measure(0.1)
    profiler = cProfile.Profile()
    profiler.runcall(measure, seconds)
    out = io.StringIO()
    pstats.Stats(profiler, stream=out).strip_dirs().sort_stats("tottime").print_stats(lines)
    return "\n".join(line for line in out.getvalue().splitlines() if line.strip())


def _users(users: int) -> str:
    return f"batch of {users}" if users else "single"
