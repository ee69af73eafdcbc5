"""Which worlds have a name: those that are registered, and those fitted to logs that ship with the package.

recgym registers its own domains and classics in `recgym/__init__.py`; other packages use the same `register_world`.
This module is loaded by ``import recgym`` and so imports nothing heavy; `recgym.worlds` makes the worlds.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym

from recgym.errors import ConfigError, brief, require

if TYPE_CHECKING:
    from recgym.world import World

GROUP = "recgym.worlds"  # entry points of packages that bring worlds: name = "package.module:builder"
_WORLDS: dict[str, Registered] = {}


class Registered(NamedTuple):
    """A world that has a name.

    Attributes:
        builder: ``builder(**options) -> World``, or where it is, "package.module:function".
        ids: Gymnasium's ids of its environments, each with the arguments that it implies.
        null_action: whether recommending nothing is an action by default.
    """

    name: str
    builder: Callable[..., World] | str
    ids: Mapping[str, Mapping[str, Any]]
    null_action: bool

    @property
    def origin(self) -> str:
        """Where the builder is, "package.module:function"."""
        if isinstance(self.builder, str):
            return self.builder
        return f"{self.builder.__module__}:{getattr(self.builder, '__qualname__', type(self.builder).__qualname__)}"

    @property
    def ours(self) -> bool:
        """Whether it is part of recgym."""
        return re.match(r"recgym[.:]", self.origin) is not None

    def load(self) -> Callable[..., World]:
        """The builder itself.

        Raises:
            ConfigError: it is not where it is said to be.
        """
        if not isinstance(self.builder, str):
            return self.builder
        module, _, function = self.builder.partition(":")
        try:
            found = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"world: {self.name!r} cannot be loaded from {self.builder}: {error}") from None
        require(callable(found), "world", f"{self.name!r} must be a function at {self.builder}", found)
        return found


def register_world(
    name: str,
    builder: Callable[..., World] | str,
    ids: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    null_action: bool = False,
    env: str | type | None = None,
) -> None:
    """Give a world a name, and its environments ids.

    Afterwards ``world=name`` works wherever a world is asked for, and ``gymnasium.make(id)`` for each id. A package can
    do without the call: an entry point ``name = "package.module:builder"`` of the group ``recgym.worlds`` registers the
    world, with the id ``name/Name-v0``, as soon as recgym is imported; its module is imported when the world is made.

    Args:
        name: letters, digits, "-" and "_".
        builder: ``builder(**options) -> World``, or "package.module:function", which is imported when it is needed. Its
            keyword arguments are the options of the world. If it takes ``**parts``, parts that a user replaces are
            passed to it (see `World.of`); otherwise they are put into the World that it returns.
        ids: Gymnasium id -> arguments of `recgym.RecEnv` that differ from the defaults, such as ``{"slate_size": 5}``;
            None: ``{"name/Name-v0": {}}``. A version that has been published keeps what it stands for.
        null_action: whether recommending nothing is an action by default.
        env: a subclass of `recgym.RecEnv` whose docstring describes the environment, or "package.module:Class"; None:
            `RecEnv`.

    Raises:
        ConfigError: the name or an id is not of the right form, or taken; the message says by whom. The same builder may
            be registered again, as when a module is reloaded.
    """
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name, re.ASCII)
    require(fits, "name", 'must be a word of letters, digits, "-" and "_"', name)
    named = re.fullmatch(r"[\w.]+:[\w.]+", builder) if isinstance(builder, str) else callable(builder)
    require(named, "builder", 'must be a function that returns a World, or "package.module:function"', builder)
    require(isinstance(null_action, bool), "null_action", "must be True or False", null_action)
    if ids is None:
        ids = {f"{name}/{''.join(word[:1].upper() + word[1:] for word in re.split('[-_]', name))}-v0": {}}
    good = isinstance(ids, Mapping) and all(isinstance(id, str) and isinstance(ids[id], Mapping) for id in ids)
    require(good, "ids", "must be Gymnasium ids, each with its arguments", ids)
    new = Registered(name, builder, MappingProxyType({id: dict(given) for id, given in ids.items()}), null_action)
    known = _WORLDS.get(name)
    require(
        known is None or known.origin == new.origin,
        "name",
        f"{name!r} is the world of {known and known.origin}, not of",
        new.origin,
    )
    require(name not in fitted_worlds(), "name", "must not be that of a fitted world of recgym", name)
    owners = {id: world.name for world in _WORLDS.values() if world.name != name for id in world.ids}
    for id in ids:
        taken = gym.registry.get(id)
        mine = known is not None and id in known.ids
        owner = owners.get(id, taken and str(taken.entry_point))
        require(taken is None or mine, "ids", f"{id!r} stands for {owner} already, and cannot for", new.origin)
    entry_point = env if env is not None else "recgym.envs:RecEnv"
    for id, given in ids.items():
        gym.registry.pop(id, None)
        try:
            gym.register(
                id, entry_point=entry_point, vector_entry_point="recgym.envs:RecVectorEnv", kwargs={"world": name, **given},
                # Gymnasium's passive checker doubles the cost of a step and calls vector rewards wrong; our tests run it.
                disable_env_checker=True,
            )  # fmt: skip
        except gym.error.Error as error:
            raise ConfigError(f"ids: {brief(id)} is none that Gymnasium takes: {error}") from None
    _WORLDS[name] = new


def own_names() -> set[str]:
    """Names of the worlds that are part of recgym, fitted ones among them."""
    return {world.name for world in _WORLDS.values() if world.ours} | {*fitted_worlds()}


def registered_worlds() -> dict[str, Registered]:
    """The worlds that are registered, by name, in the order of their registration."""
    return dict(_WORLDS)


def register_installed() -> None:
    """Register the worlds of installed packages, see `register_world`; one that cannot be registered causes a warning, not an error."""
    for point in entry_points(group=GROUP):
        try:
            register_world(point.name, point.value)
        except ConfigError as error:
            where = f" of {point.dist.name}" if point.dist else ""
            warnings.warn(f"the world {point.name!r}{where} is not registered: {error}", stacklevel=2)


def fitted_worlds() -> dict[str, Path]:
    """Name -> folder of the worlds that ship with the package."""
    folder = Path(str(files("recgym") / "data"))
    return (
        {path.name: path for path in sorted(folder.iterdir()) if (path / "world.json").is_file()}
        if folder.is_dir()
        else {}
    )
