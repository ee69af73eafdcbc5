"""What the checks call parts with, and how they compare arrays."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from recgym.noise import mix
from recgym.types import Array, Feedback, Record, Users
from recgym.world import World

FRAME = 32  # rows of memory before and behind the noise that a part is given


def random_slates(rng: np.random.Generator, candidates: Array, slate_size: int, empty: float = 0.15) -> Array:
    """(B, S) int32 slates of distinct candidates in random order, a share of the positions left empty."""
    order = rng.permuted(np.broadcast_to(np.arange(candidates.shape[1]), candidates.shape), axis=1)[:, :slate_size]
    slate = np.take_along_axis(candidates, order, axis=1)
    return np.where(rng.random(slate.shape) < empty, -1, slate).astype(np.int32)


def random_uniforms(rng: np.random.Generator, *shape: int) -> Array:
    """float32 uniforms in (0, 1)."""
    return rng.random(shape, np.float32).clip(2.0**-24, 1 - 2.0**-24)


class Noise(NamedTuple):
    """A (uniforms, B) block of noise among the arguments, whose users are on the second axis."""

    block: Array


def plain(argument: Any) -> Any:
    """An argument as the part gets it."""
    return argument.block if isinstance(argument, Noise) else argument


def row_of(argument: Any, b: int) -> Any:
    """The argument for user b alone."""
    if isinstance(argument, Noise):
        return Noise(framed(argument.block[:, b : b + 1]))
    return argument.rows(slice(b, b + 1)) if isinstance(argument, Record) else argument[b : b + 1]


def framed(noise: Array, filling: float = 0.5) -> Array:
    """The same noise with `FRAME` rows of the filling before and behind it, which a part that reads beyond it finds."""
    n, B = noise.shape
    frame = np.full((n + 2 * FRAME, B), filling, np.float32)
    frame[FRAME:-FRAME] = noise
    return frame[FRAME:-FRAME]


def with_frames(arguments: list[Any], filling: float) -> list[Any]:
    """The arguments with their noise `framed`."""
    return [Noise(framed(a.block, filling)) if isinstance(a, Noise) else a for a in arguments]


def width_of(arguments: list[Any]) -> int:
    """Number of uniforms per user among the arguments."""
    return sum(len(a.block) for a in arguments if isinstance(a, Noise))


def snapshot(argument: Any) -> dict[str, Array]:
    """Copies of the arrays of an argument, by name."""
    argument = plain(argument)
    return {
        key: value.copy()
        for key, value in (argument.__dict__ if isinstance(argument, Record) else {"": argument}).items()
    }


def arrays_of(output: Any) -> dict[str, Array]:
    """All arrays of an output, by their path in it."""
    if isinstance(output, (dict, Record)):
        parts = {name: output[name] for name in output}
    elif isinstance(output, tuple):
        parts = dict(enumerate(output))
    else:
        return {"": np.asarray(output)}
    return {
        f"{key}{'.' if path else ''}{path}": array
        for key, part in parts.items()
        for path, array in arrays_of(part).items()
    }


def check_same(a: dict[str, Array], b: dict[str, Array], what: str) -> None:
    """Check that two outputs have the same arrays, bit for bit."""
    assert a.keys() == b.keys(), f"{what}: arrays {sorted(a)} and {sorted(b)}"
    for name in a:
        x, y = a[name], b[name]
        assert (x.dtype, x.shape) == (y.dtype, y.shape), (
            f"{what}: {name or 'output'} is {x.dtype}{x.shape} and {y.dtype}{y.shape}"
        )
        if x.tobytes() != y.tobytes():
            where = np.argwhere(~((x == y) | ((x != x) & (y != y))))
            detail = (
                f"first at {tuple(where[0])}: {x[tuple(where[0])]!r} and {y[tuple(where[0])]!r}"
                if len(where)
                else "in bits"
            )
            raise AssertionError(f"{what}: {name or 'output'} differs, {detail}")


def check_array(array: Any, dtype: Any, shape: tuple[int, ...], what: str) -> None:
    """Check type and shape."""
    assert isinstance(array, np.ndarray), f"{what} must be an array, got {type(array).__name__}"
    got = f"{what} must be {np.dtype(dtype)}{shape}, got {array.dtype}{array.shape}"
    assert array.dtype == dtype, got
    assert array.shape == shape, got


def check_within(array: Array, low: Any, high: Any, what: str) -> None:
    """Check that all numbers are finite and lie in [low, high]."""
    bad = ~((array >= low) & (array <= high) & np.isfinite(array))
    assert not bad.any(), f"{what} must lie in [{low}, {high}], got {array[bad].flat[0]!r} ({bad.sum()} of {bad.size})"


class Inputs(NamedTuple):
    """All that the parts of a World are called with in one step."""

    users: Users
    after: Users
    slate: Array
    noise: Array
    signals: Array
    utility: Array
    outside: Array
    click: Array
    feedback: Feedback


def inputs_of(world: World, users: int, steps: int, seed: int) -> list[Inputs]:
    """Inputs at the first step and after `steps` steps of random slates with empty positions."""
    rng = np.random.default_rng(seed)
    rows = world.arrive(mix(range(seed, seed + users)))
    found = []
    for t in range(steps + 1):
        slate, noise = random_slates(rng, rows.candidates, world.slate_size), framed(world.noise(rows))
        after, feedback = world.step(rows, slate, noise)
        if t in (0, steps):
            signals = world.market.observe(slate, rows.clock)
            utility = world.preference(rows, world.catalog, signals, slate)
            outside = world.preference.outside(rows, world.catalog, world.market)
            found.append(Inputs(rows, after, slate, noise, signals, utility, outside, feedback.click, feedback))
        rows = after
    return found
