"""Worlds by name: the three domains, the classics, worlds fitted to logs that ship with the package, and folders on disk."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import os
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from recgym.errors import ConfigError, brief, require, unknown
from recgym.world import World

DOMAINS = ("ecommerce", "news", "livestream")
BUILDERS = {  # name -> module:function
    **{name: f"recgym.domains.{name}:world" for name in DOMAINS},
    "interest-evolution": "recgym.classics.recsim:interest_evolution",
    "interest-exploration": "recgym.classics.recsim:interest_exploration",
    "long-term-satisfaction": "recgym.classics.recsim:long_term_satisfaction",
    "recogym": "recgym.classics.recogym:world",
    "sardine": "recgym.classics.sardine:world",
}
NULL_ACTION = ("livestream",)  # domains where recommending nothing is an action by default


def builder(name: str) -> Callable[..., World]:
    """The function that makes the world of a name in `BUILDERS`."""
    module, _, function = BUILDERS[name].partition(":")
    return getattr(import_module(module), function)


def fitted_worlds() -> dict[str, Path]:
    """Name -> folder of the worlds that ship with the package."""
    folder = Path(str(files("recgym") / "data"))
    return (
        {path.name: path for path in sorted(folder.iterdir()) if (path / "world.json").is_file()}
        if folder.is_dir()
        else {}
    )


def load_world(name: str | os.PathLike[str], **options: Any) -> World:
    """A World by name or folder, with its parameters and parts changed by `options`.

    Raises:
        ConfigError: no such world or option; the message names the nearest.
    """
    return make_world(name, options)[0]


def make_world(
    world: World | str | os.PathLike[str], options: dict[str, Any], others: Iterable[str] = ()
) -> tuple[World, bool]:
    """The World of an environment, and whether recommending nothing is an action by default.

    Options named like a field of World replace that part, in JSON form too, before the world is checked; all others are
    parameters of the domain. `others` are names that the caller takes itself, and are offered where one is misspelled.
    """
    replaceable = [f.name for f in dataclasses.fields(World) if f.init]
    parts = {name: value for name, value in options.items() if name in replaceable}
    # NumPy's integers as Python's, which products of sizes do not overflow.
    parameters = {
        name: int(value) if isinstance(value, np.integer) else value
        for name, value in options.items()
        if name not in parts
    }
    null = False
    known: list[str] = []
    if isinstance(world, str) and world in BUILDERS:
        null = world in NULL_ACTION
        build = builder(world)
        known = [name for name, p in inspect.signature(build).parameters.items() if p.kind is p.KEYWORD_ONLY]
        if set(parameters) <= set(known):
            return build(**parameters, **parts), null
    elif not isinstance(world, World):
        require(isinstance(world, (str, os.PathLike)), "world", "must be a World, a name or a folder", world)
        folder = fitted_worlds().get(str(world), Path(world))
        if not _is_file(folder / "world.json"):
            names = sorted([*BUILDERS, *fitted_worlds()])
            near = difflib.get_close_matches(str(world), names, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ConfigError(
                f"world: got {brief(str(world))}.{hint} It must be one of {names} or a folder that holds world.json"
            )
        world = World.load(folder)
    for name in parameters:
        if name not in known:
            unknown("option", name, {*known, *replaceable, *others})
    assert isinstance(world, World)
    return (world.replace(**parts) if parts else world), null


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except ValueError:  # a null character in it
        return False
