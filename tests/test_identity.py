"""Row i of any batch is, bit for bit, the single environment of seed s + i: whatever size, mode, thread or process."""

from __future__ import annotations

import hashlib
import multiprocessing
from functools import cache
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

import recgym
from recgym import mix
from recgym.envs import RecEnv, RecVectorEnv
from recgym.noise import noise
from recgym.types import Array, Users

SEED = 1000
FIELDS = ("objectives", "slate", "click", "probability")


def actions_of(env: RecVectorEnv, users: Users) -> Array:
    """Actions as a function of (key, episode, step) alone, so that every batch and mode acts the same."""
    shape = env.actions.shape
    u = noise(users.key ^ np.uint64(99), users.episode, users.t, max(int(np.prod(shape)), 1)).T.reshape(
        len(users), *shape
    )
    return env.actions.spread(u)


_FACTORS = np.random.default_rng(0).integers(0, 2**63, 100_000, np.uint64) * np.uint64(2) + np.uint64(1)


def checksum(*arrays: Array) -> Array:
    """(B,) uint64 that any changed bit changes, but for a chance of 2^-64."""
    total, at = np.zeros(len(arrays[0]), np.uint64), 0
    for array in arrays:
        b = np.ascontiguousarray(array).reshape(len(array), -1)
        bits = b.view(np.uint32).astype(np.uint64) if b.dtype.itemsize % 4 == 0 else b.view(np.uint8).astype(np.uint64)
        total += ((bits + np.uint64(1)) * _FACTORS[at : at + bits.shape[1]]).sum(axis=1, dtype=np.uint64)
        at += bits.shape[1]
    return total


def flat(env: RecVectorEnv, observation: Any, lead: int) -> Array:
    if isinstance(observation, dict):
        return np.concatenate([observation[name].reshape(lead, -1) for name in env.observation_layout], axis=1)
    return np.asarray(observation).reshape(lead, -1)


Trace = list[list[int]]


def batch_trace(env: RecVectorEnv, steps: int, seed: int | list[int] = SEED, rows: list[int] | None = None) -> Trace:
    """Of each row looked at: the checksums of its reset observations and transitions, in order, whatever the mode."""
    mode = env.metadata["autoreset_mode"]
    at = np.arange(env.num_envs) if rows is None else np.array(rows)
    traces: Trace = [[] for _ in at]

    def add(sums: Array, among: Array) -> None:
        for k in np.flatnonzero(among):
            traces[k].append(int(sums[k]))

    def begun() -> Array:
        return checksum(flat(env, observation, env.num_envs)[at], info["action_mask"][at])

    observation, info = env.reset(seed=seed)
    add(begun(), np.ones(len(at), bool))
    over = np.zeros(len(at), bool)
    for _ in range(steps):
        action = actions_of(env, env.get_state().users)
        observation, reward, terminated, truncated, info = env.step(action)
        done = (terminated | truncated)[at]
        last, mask = flat(env, observation, env.num_envs)[at], info["action_mask"][at]
        if mode is AutoresetMode.SAME_STEP and done.any():
            mask = np.where(done[:, None], info["final_info"]["action_mask"][at], mask)
            for k in np.flatnonzero(done):
                last[k] = flat(env, info["final_obs"][at[k]], 1)
        ends = np.stack([terminated, truncated], axis=1)[at]
        add(checksum(last, mask, reward[at], ends, *(info[name][at] for name in FIELDS)), ~over)
        if mode is AutoresetMode.NEXT_STEP:
            if over.any():
                add(begun(), over)  # this step was a reset
            over = done
        elif mode is AutoresetMode.SAME_STEP:
            if done.any():
                add(begun(), done)
        elif (terminated | truncated).any():
            observation, info = env.reset(options={"reset_mask": terminated | truncated})
            add(begun(), done)
    return traces


def single_trace(env: RecEnv, steps: int, seed: int) -> list[int]:
    """The same of the single environment."""
    observation, info = env.reset(seed=seed)
    batch = env.batch

    def start() -> int:
        return int(checksum(flat(batch, observation, 1), info["action_mask"][None])[0])

    trace = [start()]
    for _ in range(steps):
        action = actions_of(batch, env.get_state().users)[0]
        observation, reward, terminated, truncated, info = env.step(action)
        paid = np.asarray(reward, np.float32 if batch.vector_reward else np.float64).reshape(1, -1)
        parts = [info[name][None] for name in FIELDS]
        ends = np.array([[terminated, truncated]])
        trace.append(int(checksum(flat(batch, observation, 1), info["action_mask"][None], paid, ends, *parts)[0]))
        if terminated or truncated:
            observation, info = env.reset()
            trace.append(start())
    return trace


def compare(a: list[int], b: list[int], least: int, what: str) -> None:
    n = min(len(a), len(b))
    assert n >= least, f"{what}: only {n} transitions"
    wrong = next((k for k in range(n) if a[k] != b[k]), None)
    assert wrong is None, f"{what}: transition {wrong} of {n} differs"


def make(env_id: str, B: int, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **options: Any) -> RecVectorEnv:
    env = gym.make_vec(env_id, num_envs=B, autoreset_mode=mode, **options)
    assert isinstance(env, RecVectorEnv)
    return env


def single(env_id: str, **options: Any) -> RecEnv:
    env = gym.make(env_id, disable_env_checker=True, **options).unwrapped
    assert isinstance(env, RecEnv)
    return env


def test_the_checksum_sees_every_bit() -> None:
    a = np.random.default_rng(0).random((3, 50), np.float32)
    for row, column, bit in ((0, 0, 0), (1, 49, 31), (2, 20, 7)):
        b = a.copy()
        b.view(np.uint32)[row, column] ^= np.uint32(1 << bit)
        assert (checksum(a) != checksum(b)).tolist() == [r == row for r in range(3)]


@cache
def alone_over_500(env_id: str) -> dict[int, list[int]]:
    env = single(env_id)
    return {i: single_trace(env, 500, SEED + i) for i in (0, 3, 255)}


@pytest.mark.parametrize("mode", list(AutoresetMode), ids=lambda m: m.value)
@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_batches_of_1_7_and_256_over_500_steps(env_id: str, mode: AutoresetMode) -> None:
    steps, looked_at = 500, [0, 1, 2, 3, 4, 5, 6, 100, 254, 255]
    of_256 = batch_trace(make(env_id, 256, mode), steps, rows=looked_at)
    of_7 = batch_trace(make(env_id, 7, mode), steps)
    for i in range(7):
        compare(of_256[i], of_7[i], steps // 2, f"row {i} of 256 and of 7")
    alone = alone_over_500(env_id)
    for i, trace in alone.items():
        assert len(trace) > steps + 3, "the test must see several episodes"
        compare(of_256[looked_at.index(i)], trace, steps // 2, f"row {i} of 256 and the single env")
    of_1 = batch_trace(make(env_id, 1, mode), steps)
    compare(of_1[0], alone[0], steps // 2, "a batch of one and the single env")


def test_every_row_of_256() -> None:
    """The complete one, for one id."""
    steps = 60
    rows = batch_trace(make("recgym/EcommerceSlate-v0", 256), steps)
    env = single("recgym/EcommerceSlate-v0")
    for i, trace in enumerate(rows):
        compare(trace, single_trace(env, steps, SEED + i), steps // 2, f"row {i}")


@pytest.mark.parametrize(
    "options",
    [
        {"observation": "dict"},
        {"observation": "latent"},
        {"reward": "vector"},
        {"expected_reward": True},
        {"like_dislike": True},
        {"null_action": True},
        {"action": "slate"},
        {"action": "embedding"},
        {"action": "weights"},
        {"candidates": "all", "items": 40},
        {"choice": {"kind": "Cascade", "threshold": 3.0}},
        {"horizon": 5},
        {"cold_start": 1.0},
        {"slate_size": 4, "candidates": 30},
    ],
    ids=str,
)
def test_options_keep_the_identity(options: dict[str, Any]) -> None:
    traces = {mode: batch_trace(make("recgym/Ecommerce-v0", 5, mode, **options), 80) for mode in AutoresetMode}
    env = single("recgym/Ecommerce-v0", **options)
    for i in range(5):
        alone = single_trace(env, 80, SEED + i)
        for mode, rows in traces.items():
            compare(rows[i], alone, 30, f"row {i}, {mode.value}")


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_blocks_and_threads(env_id: str) -> None:
    """More users than a block holds: the same with one thread, with three, and alone."""
    steps, B = 25, 2500
    looked_at = [0, 1023, 1024, 2047, 2048, 2499]
    rows = [*looked_at, *range(5, B, 40)]
    one, three = (batch_trace(make(env_id, B, AutoresetMode.SAME_STEP, threads=n), steps, rows=rows) for n in (1, 3))
    assert one == three
    env = single(env_id)
    for k, i in enumerate(looked_at):
        compare(one[k], single_trace(env, steps, SEED + i), steps, f"row {i} of {B}")


def test_any_order_of_seeds() -> None:
    """A list of seeds is taken as it is."""
    seeds = [7, 3, 2**40, 3]
    rows = batch_trace(make("recgym/News-v0", 4), 60, seed=seeds)
    assert rows[1] == rows[3]
    env = single("recgym/News-v0")
    for row, seed in zip(rows, seeds, strict=True):
        compare(row, single_trace(env, 60, seed), 30, f"seed {seed}")


def digest(env_id: str, B: int, steps: int) -> str:
    traces = batch_trace(make(env_id, B), steps)
    return hashlib.sha256(repr(traces).encode()).hexdigest()


def _child(queue: Any, env_id: str, B: int, steps: int) -> None:
    queue.put(digest(env_id, B, steps))


def test_a_spawned_process() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_child, args=(queue, "recgym/LiveStreamSlate-v0", 7, 100))
    process.start()
    other = queue.get(timeout=120)
    process.join()
    assert process.exitcode == 0
    assert other == digest("recgym/LiveStreamSlate-v0", 7, 100)


@pytest.mark.usefixtures("no_global_rng")
@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_no_global_generator_is_used(env_id: str) -> None:
    with pytest.raises(AssertionError, match="global random generator"):
        np.random.rand()  # noqa: NPY002
    batch_trace(make(env_id, 3), 60)
    recgym.load_world(env_id.split("/")[1].split("-")[0].lower().removesuffix("slate"), seed=5)
    single(env_id).reset()  # without a seed: entropy of its own


def test_unseeded_resets_differ() -> None:
    a, b = (single("recgym/News-v0").reset()[0] for _ in range(2))
    assert not np.array_equal(a, b)


def test_seed_s_of_a_batch_is_seed_s_plus_i(rng: np.random.Generator) -> None:
    env = make("recgym/Ecommerce-v0", 4)
    env.reset(seed=11)
    assert np.array_equal(env.get_state().users.key, mix([11, 12, 13, 14]))
    env.reset()
    users = env.get_state().users
    assert np.array_equal(users.key, mix([11, 12, 13, 14]))
    assert users.episode.tolist() == [1] * 4
    env.reset(seed=np.int64(11))  # type: ignore[arg-type]
    assert env.get_state().users.episode.tolist() == [0] * 4
