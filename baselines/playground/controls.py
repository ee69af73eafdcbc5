"""The parameters of a world as controls of a page: value, range, kind and sentence.

Nothing is listed twice: names and defaults are those of the signatures, sentences those of the docstrings, and a range is
what recgym's own check says when it refuses a number that is far too large.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any

import gymnasium as gym

from recgym.component import KINDS, Component
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, RecgymError, require, require_count, unknown_option
from recgym.models.candidates import CandidateSource
from recgym.models.choice import Choice
from recgym.models.departure import Departure
from recgym.models.preference import Preference
from recgym.models.response import Response
from recgym.models.reward import Reward
from recgym.registry import registered_worlds
from recgym.world import World

FAMILIES: dict[str, type[Component]] = {
    "reward": Reward,
    "preference": Preference,
    "choice": Choice,
    "response": Response,
    "departure": Departure,
    "candidates": CandidateSource,
}
SIZES = ("slate_size", "horizon", "history", "embeddings")  # fields of World that are numbers or flags
SWITCHES = ("null_action", "like_dislike")  # arguments of the environment
MOST = {"items": 100_000, "topics": 1000, "dimensions": 256, "horizon": 1000, "history": 100, "slate_size": 20,
        "candidates.candidates": 200}  # what a page can show, and a machine holds besides the sessions of others  # fmt: skip
NARROW = 20.0  # a slider goes over the whole range where this is not wider
Options = Mapping[
    str, Any
]  # of the page: name -> value, "choice.null" for a field of a part, "dynamics.0.rate" of a dynamics


def make(id: str, options: Options) -> tuple[World, dict[str, Any], bool]:
    """The world of a page's options.

    Returns:
        The world, the same options as `gymnasium.make` takes them (JSON values), and whether recommending nothing is an
        action.

    Raises:
        ConfigError: no such option, or a value that breaks a rule.
    """
    name, given = _registered(id)
    plain = {key: _plain(key, value) for key, value in options.items() if "." not in key}
    known = {*_domain(name), *SIZES, *SWITCHES}
    for key, value in options.items():
        if key in MOST:
            require_count(key, value, 1, MOST[key])
        if "." not in key and key not in known:
            unknown_option(key, known)
    switches = {key: plain.pop(key) for key in SWITCHES if key in plain}
    world = _base(id, json.dumps(plain, sort_keys=True))
    parts = _parts(world, options)
    made: dict[str, Any] = {**plain, **switches, **parts}
    env: Any = gym.make_vec(id, num_envs=1, world=world, **_around(name, given, world, {**switches, **parts}))
    env.close()
    n, most = env.world.n_candidates, MOST["candidates.candidates"]
    require(n <= most, "candidates", f"must be at most {most} on a page", n)
    return env.world, made, env.actions.null


def groups(id: str, options: Options) -> list[dict[str, Any]]:
    """Groups of controls for a world with these options: {title, about, controls}, the most wanted first.

    A control is {name, label, kind, value, default, about}; kind is "number" or "whole", with low, high (of the slider),
    least and most (which are valid, null where nobody says), "choice" with `choices`, "switch", or "pair".

    Raises:
        ConfigError: see `make`.
    """
    name, _ = _registered(id)
    world, _, null = make(id, options)
    default, _, default_null = make(id, {})
    texts, build = _domain(name), registered_worlds()[name].load()
    parameters = inspect.signature(build).parameters
    given = [_control(key, options.get(key, parameters[key].default), parameters[key].default, text, _rule(name, key))
             for key, text in texts.items()]  # fmt: skip
    found = [{"title": "The world", "about": "", "controls": given}]
    sizes = arguments(World)
    given = [_control(key, getattr(world, key), getattr(default, key), sizes.get(key, ""),
                      _bounds(lambda value, key=key: world.replace(**{key: value}), key)) for key in SIZES]  # fmt: skip
    about = arguments(RecVectorEnv)
    given += [
        _control("null_action", null, default_null, about["null_action"], None),
        _control("like_dislike", bool(options.get("like_dislike", False)), False, about["like_dislike"], None),
    ]
    found.append({"title": "The session", "about": "", "controls": given})
    for family, base in FAMILIES.items():
        if family == "reward" and options.get("like_dislike"):
            continue
        part, usual = getattr(world, family), getattr(default, family)
        kinds = _kinds(base, usual)
        controls = [
            {"name": f"{family}.kind", "label": "kind", "kind": "choice", "value": part.kind, "default": usual.kind,
             "choices": kinds, "about": "Which model it is."}
        ] if len(kinds) > 1 else []  # fmt: skip
        controls += _fields(family, part, usual if usual.kind == part.kind else type_defaults(part), world)
        found.append({"title": f"{family}: {part.kind}", "about": _first(part), "controls": controls})
    for number, part in enumerate(world.dynamics):
        usual = default.dynamics[number] if number < len(default.dynamics) else part
        found.append({"title": f"dynamics: {part.kind}", "about": _first(part),
                      "controls": _fields(f"dynamics.{number}", part, usual, world)})  # fmt: skip
    return [group for group in found if group["controls"]]


def _registered(id: str) -> tuple[str, dict[str, Any]]:
    """The name of the world of an id, and the arguments that the id implies."""
    for name, world in registered_worlds().items():
        if id in world.ids:
            return name, dict(world.ids[id])
    raise ConfigError(f"id: must be of a registered environment, got {id!r}")


def _plain(name: str, value: Any) -> Any:
    """A value of a page's option as recgym takes it."""
    return tuple(value) if name == "weeks" and isinstance(value, list) else value


_LATELY: dict[tuple[str, str], World] = {}


def _base(id: str, options: str) -> World:
    """The world of options that are no parts; the last few are kept, for to draw a catalogue takes a second."""
    key = (id, options)
    world = _LATELY.get(key)
    if world is None:
        given = {name: _plain(name, value) for name, value in json.loads(options).items()}
        env: Any = gym.make_vec(id, num_envs=1, **given)
        env.close()
        for old in [*_LATELY][:-7]:
            _LATELY.pop(old, None)
        world = _LATELY[key] = env.world
    return world


def _around(name: str, given: dict[str, Any], world: World, more: dict[str, Any]) -> dict[str, Any]:
    """Arguments of an environment that plays in a world itself, as its id would."""
    return {**given, "null_action": registered_worlds()[name].null_action, "slate_size": world.slate_size, **more}


def _parts(world: World, options: Options) -> dict[str, Any]:
    """The parts that dotted options change, in JSON form."""
    changed: dict[str, Any] = {}
    for key, value in options.items():
        family, _, rest = key.partition(".")
        if not rest:
            continue
        if family == "dynamics":
            number, _, field = rest.partition(".")
            rule = f"must be of one of {len(world.dynamics)} dynamics"
            require(number.isdecimal() and int(number) < len(world.dynamics), key, rule, number)
            parts = changed.setdefault("dynamics", [part.to_dict() for part in world.dynamics])
            _set(parts[int(number)], field, value)
            continue
        if family not in FAMILIES:
            unknown_option(key, [f"{name}.kind" for name in FAMILIES])
        part = getattr(world, family)
        kind = options.get(f"{family}.kind", part.kind)
        data = changed.setdefault(family, part.to_dict() if kind == part.kind else {"kind": kind})
        if rest != "kind":
            _set(data, rest, value)
    return changed


def _set(data: dict[str, Any], field: str, value: Any) -> None:
    """Set a field, or an entry of a field that holds numbers by name. What cannot be is for the part's checks."""
    name, _, entry = field.partition(".")
    if entry:
        inner = data.get(name)
        data[name] = {**(inner if isinstance(inner, dict) else {}), entry: value}
    else:
        data[name] = value


def _kinds(base: type[Component], usual: Component) -> list[str]:
    """Parts of recgym's of a family that need nothing but defaults, and the one that is there."""

    def free(kind: type[Component]) -> bool:
        try:
            kind()
        except (TypeError, RecgymError):
            return False
        return True

    found = [kind for kinds in KINDS.values() for kind in kinds if issubclass(kind, base)]
    names = {kind.__name__ for kind in found if kind.__module__.startswith("recgym.") and free(kind)}
    return sorted({*names, usual.kind})


def type_defaults(part: Component) -> Component:
    """A part of the same class with its own defaults, or the part itself where it has none."""
    try:
        return type(part)()
    except TypeError:
        return part


def _fields(prefix: str, part: Component, usual: Component, world: World) -> list[dict[str, Any]]:
    """Controls of the numbers, flags and options of a part, and of its numbers by name."""
    texts, controls = arguments(type(part)), []
    for f in dataclasses.fields(part):
        if not f.init or f.name.startswith("_"):
            continue
        value, text, key = getattr(part, f.name), texts.get(f.name, ""), f"{prefix}.{f.name}"
        if isinstance(value, dict):
            before = getattr(usual, f.name, {})
            for name in world.objectives if f.name == "objectives" else [*value]:
                rule = _bounds(partial(_with, part, f.name, name), f.name)
                now, old = float(value.get(name, 0.0)), float(before.get(name, 0.0))
                controls.append(_control(f"{key}.{name}", now, old, text, rule, f"{f.name}: {name}"))
        elif isinstance(value, str):
            if choices := _choices(partial(_with, part, f.name, "")):
                controls.append(_control(key, value, getattr(usual, f.name, value), text, choices, f.name))
        elif isinstance(value, (bool, int, float)):
            rule = _bounds(partial(_with, part, f.name, ""), f.name)
            controls.append(_control(key, value, getattr(usual, f.name, value), text, rule, f.name))
    return controls


def _with(part: Component, field: str, entry: str, value: Any) -> Component:
    """The part with another value of a field, or of one entry of a field that holds numbers by name."""
    return dataclasses.replace(part, **{field: {**getattr(part, field), entry: value} if entry else value})


def _control(name: str, value: Any, default: Any, about: str, rule: Any, label: str | None = None) -> dict[str, Any]:
    """A control; `rule` is the valid range, or the choices of a text."""
    control: dict[str, Any] = {"name": name, "label": label or name, "value": value, "default": default, "about": about}
    if isinstance(value, bool):
        return {**control, "kind": "switch"}
    if isinstance(value, str):
        return {**control, "kind": "choice", "choices": rule}
    if isinstance(value, (tuple, list)):
        return {**control, "kind": "pair", "value": list(value), "default": list(default)}
    least, most = rule or (None, None)
    if least is not None and most is not None and name in MOST:
        most = min(most, MOST[name])
    whole = isinstance(value, int) and isinstance(default, int)
    low, high = slider(float(default), least, most, 10.0 if whole else 1.0)
    low, high = min(low, float(value)), max(high, float(value))
    return {**control, "kind": "whole" if whole else "number", "least": least, "most": most, "low": low, "high": high}


def slider(default: float, least: float | None, most: float | None, reach: float = 1.0) -> tuple[float, float]:
    """Ends of a slider: the valid range, or where it is wide what lies up to `reach`, or to twice the default, from 0."""
    if least is not None and most is not None and most - least <= NARROW:
        return least, most
    reach = max(2 * abs(default), reach)
    low = 0.0 if least is not None and least >= 0 else -reach
    low, high = (low if least is None else max(low, least)), (reach if most is None else min(reach, most))
    return low, high


def _bounds(change: Callable[[Any], Any], name: str) -> tuple[float, float] | None:
    """The valid range of a number, as recgym's check words it when it is given one beyond all of them."""
    for huge in (1e300, 10**30):  # a count wants an integer
        try:
            change(huge)
        except RecgymError as error:
            found = re.search(rf"\b{re.escape(name)}\b[^\[]*: must be .*?\[(-?[\d.e+]+), (-?[\d.e+]+)\]", str(error))
            found = found or re.search(r"must be an? (?:number|integer) in \[(-?[\d.e+]+), (-?[\d.e+]+)\]", str(error))
            if found:
                return float(found[1]), float(found[2])
        except Exception:  # a part that has no check of its own for this
            continue
    return None


def _choices(change: Callable[[Any], Any]) -> list[str]:
    """The texts that are valid, as recgym's check words it; empty where it knows no list."""
    try:
        change("?")
    except RecgymError as error:
        found = re.search(r"one of (\[.*?\])", str(error))
        return list(ast.literal_eval(found[1])) if found else []
    return []


@cache
def _rule(world: str, name: str) -> tuple[float, float] | None:
    """The valid range of a parameter of a domain; tried on a small world."""
    build, small = registered_worlds()[world].load(), {"items": 40, "topics": 2, "dimensions": 2}
    return _bounds(lambda value: build(**{**small, name: value}), name)


@cache
def _domain(world: str) -> dict[str, str]:
    """Parameter of a domain -> its sentence, from the "Arguments" of the docstring of the environment."""
    registered = registered_worlds()[world]
    parameters = inspect.signature(registered.load()).parameters.values()
    names = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
    spec = gym.spec(next(iter(registered.ids)))
    where, _, name = str(spec.entry_point).partition(":")
    doc = inspect.getdoc(getattr(__import__(where, fromlist=[name]), name)) or ""
    text = " ".join(doc.partition("## Arguments")[2].partition("##")[0].split()).partition(". The keywords")[0]
    pieces = re.split(rf"`({'|'.join(map(re.escape, names))})`", text)
    found = {name: f"{name}{rest}".rstrip(" ,") for name, rest in zip(pieces[1::2], pieces[2::2], strict=True)}
    return {name: found.get(name, "").replace("`", "") for name in names}


@cache
def arguments(of: type) -> dict[str, str]:
    """Parameter -> sentence, from the "Args" of the docstrings of a class and its bases."""
    found: dict[str, str] = {}
    for kind in reversed(of.__mro__):
        if kind.__module__.partition(".")[0] == "recgym" and kind.__doc__:
            names = {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
            names |= {*inspect.signature(kind.__init__).parameters}
            found |= _sentences(inspect.cleandoc(kind.__doc__), names)
    return found


def _sentences(doc: str, names: Iterable[str]) -> dict[str, str]:
    """The items of the section "Args" of a docstring, of those names; several may stand on a line."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", doc, re.M)
    if not section:
        return {}
    text, known = " ".join(section[1].split()), {*names}
    found: dict[str, str] = {}
    pieces = re.split(r"(?:^|(?<=[.;?] ))((?:\w+, )*\w+): ", text)
    latest: list[str] = []
    for head, body in zip(pieces[1::2], pieces[2::2], strict=True):
        of = head.split(", ")
        if known.issuperset(of):
            latest = of
            for name in of:
                found[name] = body.strip()
        else:  # a sentence with a colon of its own
            for name in latest:
                found[name] += f" {head}: {body.strip()}"
    return {name: sentence.replace("`", "").replace("  ", " ") for name, sentence in found.items()}


def _first(part: Component) -> str:
    """The first paragraph of a part's docstring."""
    return " ".join((inspect.getdoc(type(part)) or "").split("\n\n")[0].split()).replace("`", "")
