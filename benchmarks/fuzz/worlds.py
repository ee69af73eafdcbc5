"""Worlds drawn at random: parts of all kinds, with parameters all over their documented ranges, and play in them."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import recgym
from recgym.errors import RecgymError

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
