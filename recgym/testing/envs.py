"""The contract of an environment."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np

from recgym.compat import AutoresetMode
from recgym.envs import RecEnv, RecVectorEnv
from recgym.noise import mix
from recgym.noise import noise as draw_noise
from recgym.testing.arrays import (
    arrays_of,
    check_same,
    snapshot,
)
from recgym.testing.worlds import check_observation
from recgym.types import Array, Users


def check_env(
    env: str | RecEnv | RecVectorEnv | gym.Env[Any, Any], *, seed: int = 0, steps: int = 150, **kwargs: Any
) -> None:
    """Check an environment: a registered id with keywords for `gymnasium.make`, or an instance.

    Every observation lies in its space, and nothing that was handed out is overwritten later. The final observation of
    an episode is that of the user whose episode it was. Row i of a batch is the single environment of seed + i, bit for
    bit, in all three autoreset modes. A restored snapshot has the same future, and with another key another one.

    Args:
        env: what to check. An instance is only read; copies of it are stepped.
        seed: of the first user.
        steps: number of steps of each run.
        kwargs: for `gymnasium.make`, with an id.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    if isinstance(env, str):
        env = gym.make(env, disable_env_checker=True, **kwargs)
    else:
        assert not kwargs, f"an instance has its keywords already; got {sorted(kwargs)}"
    first = getattr(env, "unwrapped", env)
    if isinstance(first, RecEnv):
        first = first.batch
    assert isinstance(first, RecVectorEnv), f"must be a recgym environment, got {type(env).__name__}"
    B = 5
    runs = {mode: _trace(first, B, mode, seed, steps) for mode in AutoresetMode}
    single = [_trace(first, 1, None, seed + i, steps) for i in range(B)]
    for mode, traces in runs.items():
        for i in range(B):
            want, got = single[i][0], traces[i]
            n = min(len(want), len(got))
            assert n > steps // 3, f"{mode.value}: row {i} took only {n} transitions in {steps} steps"
            for k in range(n):
                check_same(
                    want[k],
                    got[k],
                    f"transition {k} of the single env of seed {seed + i} and row {i} of a batch of {B}, {mode.value}",
                )
    _check_forms(first, seed)
    _check_snapshot(first, seed)


def _check_forms(env: RecVectorEnv, seed: int) -> None:
    """Check that the forms of actions and observations read users and write nothing but what they return."""
    users = env.world.arrive(mix(range(seed, seed + 5)))
    actions = env.actions.batch(_act(env, users), 5)
    before, chosen = snapshot(users), {"actions": actions.copy()}
    for what, call in (
        ("actions.decode", lambda: env.actions.decode(actions, users)),
        ("observations.encode", lambda: env.observations.encode(users, env.observations.blank(5))),
    ):
        call()
        check_same(before, snapshot(users), f"{what} must not write to the users: before and after a call")
    check_same(chosen, {"actions": actions}, "actions.decode must not write to the actions: before and after a call")


def _act(env: RecVectorEnv, users: Users) -> Array:
    """Random actions that depend on key, episode and step alone: the same in all modes and batch sizes."""
    shape = env.actions.shape
    u = draw_noise(users.key ^ np.uint64(0x5DEECE66D), users.episode, users.t, max(math.prod(shape), 1))
    u = u.T.reshape(len(users), *shape)
    return env.actions.spread(u)


def _trace(
    env: RecVectorEnv, n: int, mode: AutoresetMode | None, seed: int, steps: int
) -> list[list[dict[str, Array]]]:
    """The transitions of each user as arrays, those of resets among them; mode None runs the single environment."""
    if mode is None:
        single = RecEnv(**env.options)
        batch = single.batch
    else:
        single, batch = None, RecVectorEnv(num_envs=n, autoreset_mode=mode, **env.options)
    space, layout, form = batch.observation_space, batch.observation_layout, batch.observations.form
    traces: list[list[dict[str, Array]]] = [[] for _ in range(n)]
    handed_out: list[tuple[dict[str, Array], dict[str, Array]]] = []

    def keep(observation: Any, info: Any) -> None:
        arrays = {
            **arrays_of(observation),
            **{k: v for k, v in info.items() if isinstance(v, np.ndarray) and v.dtype != object},
        }
        handed_out.append((arrays, {k: v.copy() for k, v in arrays.items()}))

    def flat(observation: Any) -> dict[str, Array]:
        return {f"observation {k}": np.array(v) for k, v in arrays_of(observation).items()}

    def add(row: int, observation: Any, more: dict[str, Any]) -> None:
        rest = {name: np.asarray(value[row]).copy() for name, value in more.items()}
        traces[row].append({**flat(observation), **rest})

    def pick(observation: Any, row: int) -> Any:
        return {k: v[row] for k, v in observation.items()} if isinstance(observation, dict) else observation[row]

    if single is not None:
        observation, info = single.reset(seed=seed)
        add(0, observation, {"action_mask": info["action_mask"][None]})
    else:
        observation, info = batch.reset(seed=seed)
        for row in range(n):
            add(row, pick(observation, row), {"action_mask": info["action_mask"]})
    keep(observation, info)
    ended = np.zeros(n, np.bool_)
    for _ in range(steps):
        users = batch.get_state().users
        action = _act(batch, users)
        if single is not None:
            observation, reward, terminated, truncated, info = single.step(action[0])
            inside = single.observation_space.contains(observation)
            step = dict(
                reward=[reward], terminated=[terminated], truncated=[truncated], **{k: v[None] for k, v in info.items()}
            )
            add(0, observation, step)
            keep(observation, info)
            if terminated or truncated:
                observation, info = single.reset()
                add(0, observation, {"action_mask": info["action_mask"][None]})
                keep(observation, info)
        else:
            observation, reward, terminated, truncated, info = batch.step(action)
            inside = space.contains(observation)
            step = dict(reward=reward, terminated=terminated, truncated=truncated) | {
                name: info[name] for name in ("objectives", "slate", "click", "probability", "action_mask")
            }
            done = terminated | truncated
            for row in range(n):
                if mode is AutoresetMode.NEXT_STEP and ended[row]:
                    add(row, pick(observation, row), {"action_mask": info["action_mask"]})
                    still = not done[row] and not np.any(reward[row])
                    assert still, "NextStep: the reset step must pay 0 and end nothing"
                elif mode is AutoresetMode.SAME_STEP and done[row]:
                    flagged = info["_final_obs"][row] and info["_final_info"][row]
                    assert flagged, "SameStep must flag the rows that ended"
                    add(row, info["final_obs"][row], {**step, "action_mask": info["final_info"]["action_mask"]})
                    add(row, pick(observation, row), {"action_mask": info["action_mask"]})
                else:
                    add(row, pick(observation, row), step)
            keep(observation, info)
            ended = done
            if mode is AutoresetMode.DISABLED and done.any():
                observation, info = batch.reset(options={"reset_mask": done})
                for row in np.flatnonzero(done):
                    add(int(row), pick(observation, int(row)), {"action_mask": info["action_mask"]})
                keep(observation, info)
        if not inside and form != "dict":
            check_observation(np.atleast_2d(observation), batch.single_observation_space, layout)
        assert inside, f"an observation of type {form!r} lies outside its space"
        assert np.isfinite(reward).all(), f"rewards must be finite, got {reward}"
    for arrays, copies in handed_out:
        check_same(arrays, copies, "what was handed out must never be overwritten")
    return traces


def _check_snapshot(env: RecVectorEnv, seed: int, steps: int = 15) -> None:
    """Check that a restored state has the same future with the same key, and another one with another."""
    batch = RecVectorEnv(num_envs=16, autoreset_mode=AutoresetMode.NEXT_STEP, **env.options)
    batch.reset(seed=seed)
    for _ in range(3):
        batch.step(_act(batch, batch.get_state().users))
    state = batch.get_state()
    before = snapshot(state.users)
    actions = _act(batch, state.users)

    def future() -> dict[str, Array]:
        steps_taken = [batch.step(np.roll(actions, t, axis=0)) for t in range(steps)]
        return {
            f"{t}.{k}": v
            for t, step in enumerate(steps_taken)
            for k, v in {**arrays_of(step[0]), **arrays_of(step[1:])}.items()
        }

    first = future()
    check_same(snapshot(state.users), before, "a snapshot must not change while the environment goes on")
    batch.set_state(state)
    check_same(first, future(), "a restored snapshot must replay the same future")
    batch.set_state(state._replace(users=state.users.replace(key=mix(range(10**6, 10**6 + 16)))))
    other = future()
    changed = any(first[k].tobytes() != other[k].tobytes() for k in first)
    assert changed, "another key must make another future"
