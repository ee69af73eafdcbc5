"""Which worlds have a name: those that are registered, and those fitted to logs that ship with the package.

recgym registers its own domains and classics in `recgym/__init__.py`; other packages use the same `register_world`.
This module is loaded by ``import recgym`` and so imports nothing heavy; `recgym.worlds` makes the worlds.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from importlib.metadata import entry_points
from importlib.resources import files
from operator import attrgetter
from pathlib import Path
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import gymnasium as gym
from gymnasium.envs.registration import parse_env_id

from recgym.errors import ConfigError, brief, require

if TYPE_CHECKING:
    from recgym.world import World

PLACE = re.compile(r"[A-Za-z_]\w*(\.\w+)*:[A-Za-z_]\w*(\.\w+)*")  # "package.module:name"
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
        """Where the builder is, "package.module:function"; of a `functools.partial`, where its function is."""
        if isinstance(self.builder, str):
            return self.builder
        function = _innermost(self.builder)
        name = getattr(function, "__qualname__", type(function).__qualname__)
        return f"{getattr(function, '__module__', type(function).__module__)}:{name}"

    @property
    def module(self) -> str:
        """The module that the code of the builder is in."""
        return self.origin.partition(":")[0]

    def same(self, other: Registered) -> bool:
        """Whether it has the builder of another, perhaps of an older version of the same module."""
        if self.builder is other.builder or self.builder == other.builder:
            return True
        if isinstance(self.builder, str) or isinstance(other.builder, str):
            return self.origin == other.origin
        plain = isinstance(self.builder, FunctionType) and isinstance(other.builder, FunctionType)
        return plain and self.origin == other.origin and "<" not in self.origin  # no lambdas, no functions of functions

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
            found = attrgetter(function)(import_module(module))
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
        ConfigError: the name or an id is not of the right form, or taken; the message says by whom. Nothing has changed
            then. The same builder may be registered again, as when a module is reloaded: its old ids are gone then.
    """
    fits = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name, re.ASCII)
    require(fits, "name", 'must be a word of at most 100 letters, digits, "-" and "_"', name)
    named = PLACE.fullmatch(builder) if isinstance(builder, str) else callable(builder)
    require(named, "builder", 'must be a function that returns a World, or "package.module:function"', builder)
    require(isinstance(null_action, bool), "null_action", "must be True or False", null_action)
    entry_point = "recgym.envs:RecEnv" if env is None else env
    is_env = isinstance(entry_point, type) and issubclass(entry_point, gym.Env)
    if isinstance(entry_point, type) and is_env and "<" not in entry_point.__qualname__:
        entry_point = f"{entry_point.__module__}:{entry_point.__qualname__}"  # a name can be written as JSON
    fits = PLACE.fullmatch(entry_point) if isinstance(entry_point, str) else is_env
    require(fits, "env", 'must be a subclass of recgym.RecEnv, or "package.module:Class"', env)
    if ids is None:
        ids = {f"{name}/{''.join(word[:1].upper() + word[1:] for word in re.split('[-_]', name))}-v0": {}}
    good = isinstance(ids, Mapping) and all(isinstance(id, str) and isinstance(ids[id], Mapping) for id in ids)
    require(good, "ids", "must be Gymnasium ids, each with its arguments", ids)
    for id, given in ids.items():
        _check_id(id)
        fits = all(isinstance(option, str) for option in given) and "world" not in given
        require(fits, f"ids[{id!r}]", "must be arguments by name, and the world is not one of them", dict(given))
    new = Registered(name, builder, MappingProxyType({id: dict(given) for id, given in ids.items()}), null_action)
    known = _WORLDS.get(name)
    taken = f"must be another, as {name!r} is the world of {known and known.origin}"
    require(known is None or known.same(new), "name", taken, new.origin)
    kept = known is None or not known.ours or known.ids == new.ids
    require(kept, "ids", f"must be those of recgym's {name!r}, which do not change", dict(ids))
    require(name not in fitted_worlds(), "name", "must not be that of a fitted world of recgym", name)
    owners = {id: world.name for world in _WORLDS.values() if world.name != name for id in world.ids}
    for id in ids:
        taken_by = gym.registry.get(id)
        mine = known is not None and id in known.ids
        owner = owners.get(id, taken_by and str(taken_by.entry_point))
        require(taken_by is None or mine, "ids", f"{id!r} stands for {owner} already, and cannot for", new.origin)
    for id in known.ids if known else ():
        gym.registry.pop(id, None)
    for id, given in ids.items():
        gym.register(
            id, entry_point=entry_point, vector_entry_point="recgym.envs:RecVectorEnv", kwargs={"world": name, **given},
            # Gymnasium's passive checker doubles the cost of a step and calls vector rewards wrong; our tests run it.
            disable_env_checker=True,
        )  # fmt: skip
    _WORLDS[name] = new


def _check_id(id: str) -> None:
    """Require an id that Gymnasium can register and make.

    Raises:
        ConfigError: it is not one.
    """
    try:
        namespace, word, version = parse_env_id(id)
    except gym.error.Error as error:
        raise ConfigError(f"ids: {brief(id)} is none that Gymnasium takes: {error}") from None
    plain = f"{namespace}/{word}-v{version}" if namespace else f"{word}-v{version}"
    require(
        version is not None and id == plain and ":" not in id, "ids", 'must be "namespace/Name-v0", with a version', id
    )


def _innermost(function: Any) -> Any:
    """The function inside of partials."""
    while isinstance(function, partial):
        function = function.func
    return function


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
