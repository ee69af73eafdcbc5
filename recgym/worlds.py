"""Worlds from a name, a folder or parts: what `recgym.load_world` and the environments make."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import numbers
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from recgym.component import Component
from recgym.errors import ConfigError, brief, require, unknown_option
from recgym.registry import Registered, fitted_worlds, registered_worlds
from recgym.world import World


def load_world(name: str | os.PathLike[str], **options: Any) -> World:
    """A World by name or folder, with its parameters and parts changed by `options`.

    Raises:
        ConfigError: no such world; the message names the nearest. OptionError, which is a TypeError, too: no such option.
    """
    return make_world(name, options)[0]


def make_world(
    world: World | str | os.PathLike[str], options: dict[str, Any], others: Iterable[str] = ()
) -> tuple[World, bool]:
    """The World of an environment, and whether recommending nothing is an action by default.

    Options named like a field of World replace that part, in JSON form too, before the world is checked; all others are
    parameters of the domain. `others` are names that the caller handles itself; they, too, are suggested for a misspelled one.
    """
    replaceable = [f.name for f in dataclasses.fields(World) if f.init]
    parts = {name: value for name, value in options.items() if name in replaceable}
    # NumPy's integers as Python's, which products of sizes do not overflow.
    parameters = {
        name: int(value) if isinstance(value, np.integer) else value
        for name, value in options.items()
        if name not in parts
    }
    known = registered_worlds()
    if isinstance(world, str) and world in known:
        return _built(known[world], parameters, parts, {*replaceable, *others}, {*others} - {*replaceable}), known[
            world
        ].null_action
    if not isinstance(world, World):
        require(isinstance(world, (str, os.PathLike)), "world", "must be a World, a name or a folder", world)
        folder = fitted_worlds().get(str(world), Path(world))
        if not os.path.isfile(folder / "world.json"):  # False for a name that no file can have, too
            names = sorted([*known, *fitted_worlds()])
            near = difflib.get_close_matches(str(world), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"world: got {brief(str(world))}.{hint} It must be one of {names} or a folder that holds world.json"
            )
        world = World.load(folder)
    for name in parameters:
        unknown_option(name, {*replaceable, *others})
    return (world.replace(**parts) if parts else world), False


def _built(
    registered: Registered, parameters: dict[str, Any], parts: dict[str, Any], others: set[str], taken: set[str]
) -> World:
    """The World of a builder.

    Args:
        parameters, parts: what is asked for. others: names that are suggested for a misspelled one. taken: names of
            arguments that the environment takes itself.
    """
    build = registered.load()
    try:
        arguments = inspect.signature(build).parameters.values()
    except (TypeError, ValueError):
        arguments = None
    fits = arguments is not None and all(
        p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or (p.kind is not p.POSITIONAL_ONLY and p.default is not p.empty)
        for p in arguments
    )
    require(fits, "world", f"{registered.origin} must be a function whose arguments have names and defaults", build)
    assert arguments is not None
    named = [p.name for p in arguments if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
    clashing = sorted({*named} & {*taken})
    require(not clashing, "world", f"{registered.origin} must not have arguments that environments have, too", clashing)
    for name in parameters:
        if name not in named:
            unknown_option(name, {*named, *others})
    takes_parts = any(p.kind is p.VAR_KEYWORD for p in arguments)
    given = parts if takes_parts else {name: part for name, part in parts.items() if name in named}
    world = build(**parameters, **given)
    require(isinstance(world, World), "world", f"{registered.origin} must return a World", world)
    for name, part in given.items():
        lost = isinstance(part, (Component, numbers.Integral)) and name != "candidates" and getattr(world, name) != part
        require(
            not lost, name, f"{registered.origin} must pass it on to the World that it returns", getattr(world, name)
        )
    rest = {name: part for name, part in parts.items() if name not in given}
    return world.replace(**rest) if rest else world
