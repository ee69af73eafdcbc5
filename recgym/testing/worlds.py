"""The contract of a World."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from recgym.envs import RecVectorEnv
from recgym.noise import mix
from recgym.testing.arrays import (
    check_array,
    check_same,
    check_within,
    random_slates,
    snapshot,
)
from recgym.testing.families import check_candidates, check_market, check_norm
from recgym.types import Array, Feedback, Users
from recgym.world import World


def check_world(world: World, *, users: int = 256, steps: int = 200, seed: int = 0) -> None:
    """Step many users with random slates, and check what every World promises.

    Every column stays in its declared range, no number is NaN, every channel and objective varies, and `step` is pure.
    A saved and loaded copy gives the same trajectories, bit for bit. The market repeats after its period. Observations
    are finite and lie in their space.

    Args:
        world: the World.
        users: number of users; one who leaves begins another episode.
        steps: number of steps, >= 1.
        seed: of users and slates.

    Raises:
        AssertionError: a promise is broken; the message says which.
    """
    with tempfile.TemporaryDirectory() as folder:
        world.save(folder)
        files = sorted(path.name for path in Path(folder).iterdir())
        assert files == ["arrays.npz", "world.json"], f"World.save must leave two files, got {files}"
        copy = type(world).load(folder)
    check_market(world.market, len(world.catalog))
    env = RecVectorEnv(world, users, observation="latent", action="slate", threads=1)
    box, space = env.observations, env.single_observation_space
    rng = np.random.default_rng(seed)
    keys = mix(range(seed, seed + users))
    rows, twins = world.arrive(keys), copy.arrive(keys)
    low, high = None, None
    for t in range(steps):
        _check_users(rows, world)
        observation = np.empty((users, box.width), np.float32)
        box.encode(rows, observation)
        check_observation(observation, space, env.observation_layout)
        slate, noise = random_slates(rng, rows.candidates, world.slate_size), world.noise(rows)
        pure = t < 5
        saved = {**snapshot(rows), "slate": slate.copy(), "noise": noise.copy()} if pure else {}
        after, feedback = world.step(rows, slate, noise)
        if pure:
            now = {**snapshot(rows), "slate": slate, "noise": noise}
            check_same(saved, now, "World.step must not write to its inputs")
        _check_feedback(feedback, world, slate)
        if t < 20:
            twin, twin_feedback = copy.step(twins, slate, copy.noise(twins))
            check_same(snapshot(after), snapshot(twin), f"step {t} of a saved and loaded World")
            check_same(snapshot(feedback), snapshot(twin_feedback), f"step {t} of a saved and loaded World")
            twins = twin
        assert (after.t == rows.t + 1).all(), "World.step must count the steps in users.t"
        assert (after.clock >= rows.clock).all(), "the clock must not go back"
        now = np.concatenate(
            [
                feedback.channels.reshape(-1, feedback.channels.shape[2]).T,
                np.repeat(feedback.objectives.T, world.slate_size, 1),
            ]
        )
        low = now.min(axis=1) if low is None else np.minimum(low, now.min(axis=1))
        high = now.max(axis=1) if high is None else np.maximum(high, now.max(axis=1))
        gone = np.flatnonzero(feedback.left | (after.t >= world.horizon))
        rows = (
            after.put(gone, world.arrive(after.key[gone], after.episode[gone] + 1)) if len(gone) and t >= 20 else after
        )
    assert low is not None, "steps must be >= 1"
    assert high is not None, "steps must be >= 1"
    names = [*(f"channel {c}" for c in world.response.channels), *(f"objective {m}" for m in world.objectives)]
    constant = [name for name, a, b in zip(names, low, high, strict=True) if a == b]
    assert not constant, (
        f"every channel and objective must vary; constant over {users} users and {steps} steps: {constant}"
    )


def _check_users(users: Users, world: World) -> None:
    for name in users:
        array = users[name]
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"users.{name} must be finite"
        if name in world.owned:
            column = world.owned[name]
            check_array(array, column.dtype, (len(users), *column.shape), f"users.{name}")
            check_within(array, column.low, column.high, f"users.{name}")
    reach = max([world.population.norm, *(part.reach for part in world.dynamics)])
    check_norm(users.interest, reach, "users.interest")
    check_within(users.exposure, 0.0, 1.0, "users.exposure")
    check_within(users.history, -1, len(world.catalog) - 1, "users.history")
    check_candidates(users.candidates[:4], users.rows(slice(4)), world, "candidates")


def _check_feedback(feedback: Feedback, world: World, slate: Array) -> None:
    for name in feedback:
        array = feedback[name]
        if array.dtype.kind == "f" and name not in ("utility", *world.response.extras):
            assert np.isfinite(array).all(), f"feedback.{name} must be finite"
        elif array.dtype.kind == "f":  # -inf says that there is nothing in a position
            assert (array < np.inf).all(), f"feedback.{name} must be finite, or -inf"
    check_within(feedback.probability, 0.0, 1.0, "feedback.probability")
    check_within(feedback.dt, 0.0, np.inf, "feedback.dt")
    check_within(feedback.channels, 0.0, np.array(world.response.highs), "feedback.channels")
    check_array(feedback.objectives, np.float32, (len(slate), len(world.objectives)), "feedback.objectives")
    check_array(feedback.left, np.bool_, (len(slate),), "feedback.left")
    assert not feedback.click[slate < 0].any(), "an empty position was clicked"
    assert not world.choice.single or feedback.click.sum(axis=1).max() <= 1, (
        "a `single` choice clicked twice in a slate"
    )


def check_observation(observation: Array, space: Any, layout: dict[str, Any]) -> None:
    """Check that (B, n) observations lie in the space of one; the layout names the entry that does not."""
    bad = np.argwhere(~((observation >= space.low) & (observation <= space.high)))
    if len(bad):
        row, at = bad[0]
        name = next(
            (
                f"block {b!r}, {_part(block, at - block.slice.start)}"
                for b, block in layout.items()
                if block.slice.start <= at < block.slice.stop
            ),
            "",
        )
        raise AssertionError(
            f"observations must be finite and inside their space; entry {at} ({name}) of row {row} "
            f"is {observation[row, at]!r}, not in [{space.low.flat[at]}, {space.high.flat[at]}]"
        )


def _part(block: Any, at: int) -> str:
    at %= sum(part.width for part in block.parts)
    for part in block.parts:
        if at < part.width:
            return f"feature {part.name!r}"
        at -= part.width
    return ""
