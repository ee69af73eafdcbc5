"""What every part of a World is: a frozen dataclass whose fields are its configuration.

A part computes with arrays and keeps no state of its own. It may declare columns of the users, which are its state, and
how many uniforms it consumes per user and step; the World hands it a block of noise of exactly that size.

A step can be compiled into one call (`recgym.fusion`) if every part says ``fusable = True``. A part may say so if it makes
its arrays by `empty`, `zeros`, `filled` and `copied` of `recgym.types` and does all its arithmetic in kernels
(`recgym.kernel.kernel`) that are defined at the top level of a module.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import numbers
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, ClassVar, Self, Union, get_args, get_origin

import numpy as np

from recgym.errors import ConfigError, RecgymError, brief, require, unknown
from recgym.types import Column, Sizes

if TYPE_CHECKING:
    from recgym.catalog import Catalog

KINDS: dict[str, list[type[Component]]] = {}  # class name -> the parts called so


@dataclass(frozen=True, eq=False)
class Component:
    """Base of all parts. `kind`, the class name, tags the part where it is written as JSON.

    Fields have the types that their annotations say. Numbers, texts and tuples of NumPy and other libraries become
    Python's own, which numba and JSON take; NaN and infinity are refused.
    """

    kind: str = field(default="", init=False, repr=False)
    fusable: ClassVar[bool] = True  # whether it can be part of a compiled step; parts from outside recgym must say so

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = cls.__name__
        ours = [c.__module__.partition(".")[0] == "recgym" for c in cls.__mro__[:2]]
        if "fusable" not in cls.__dict__ and ours == [False, True]:
            cls.fusable = False
        # Without this the dataclass decorator would make a __repr__ that prints arrays in full.
        cls.__repr__ = cls.__dict__.get("__repr__", Component.__repr__)
        if not abstract:
            _register(cls)
        if "__post_init__" in cls.__dict__:
            cls.__post_init__ = typed(cls.__dict__["__post_init__"])  # type: ignore[method-assign]

    def __post_init__(self) -> None:
        """Checks of the fields, together and one by one."""

    def __repr__(self) -> str:
        fields = (f"{f.name}={_brief(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.init and f.repr)
        return f"{type(self).__name__}({', '.join(fields)})"

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        """User columns that this part owns, by name."""
        return {}

    def uniforms(self, sizes: Sizes) -> int:
        """Uniforms that it consumes per user and step; they depend on the sizes alone, never on state or action."""
        return 0

    def reads(self) -> tuple[str, ...]:
        """What the part needs from others: "users.name" (a column), "scalars.name" (a column of shape ()), "topics.name"
        (a column of shape (T,)), "signals.name" (of the market), "feedback.name" (of the response).
        """
        return ()

    def check(self, catalog: Catalog) -> None:
        """Raise a ConfigError where the part does not fit the catalogue."""

    def to_dict(self, arrays: dict[str, np.ndarray] | None = None, path: str = "") -> dict[str, Any]:
        """Plain JSON values; arrays go into `arrays` under their path, or raise where none is given."""
        return {f.name: _encode(getattr(self, f.name), arrays, f"{path}{f.name}") for f in self._stored()}

    def _stored(self) -> list[dataclasses.Field[Any]]:
        return [f for f in dataclasses.fields(self) if f.init or f.name == "kind"]

    @classmethod
    def from_dict(cls, data: dict[str, Any], arrays: dict[str, np.ndarray] | None = None, where: str = "") -> Self:
        """The part that `to_dict` wrote. Only kinds registered in this process are made: data never imports code.

        Raises:
            ConfigError: unknown kind or field, a kind of another family, or a field that breaks a rule.
        """
        where = where or cls.__name__.lower()
        require(isinstance(data, dict) and "kind" in data, where, "must be a component or a dict with a 'kind'", data)
        options = {name: kinds for name in KINDS if (kinds := [kind for kind in KINDS[name] if issubclass(kind, cls)])}
        found = options.get(data["kind"], []) if isinstance(data["kind"], str) else []
        if not found:
            unknown(f"{where}.kind", data["kind"], options)
        if len(found) > 1:
            origins = " and ".join(f"{kind.__module__}.{kind.__qualname__}" for kind in found)
            raise ConfigError(f"{where}.kind: must tell parts apart, and {data['kind']!r} is the name of {origins}")
        hints = _hints(found[0])
        fields = {f.name for f in dataclasses.fields(found[0]) if f.init}
        for name in data:
            if name != "kind" and name not in fields:
                unknown(f"{where} ({data['kind']}) field", name, fields)
        values = {name: _decode(value, arrays, f"{where}.{name}", _family(hints.get(name)))
                  for name, value in data.items() if name != "kind"}  # fmt: skip
        for f in dataclasses.fields(found[0]):
            if f.init and f.name not in values and f.default is f.default_factory is dataclasses.MISSING:
                raise ConfigError(f"{where} ({data['kind']}): the field {f.name!r} must be given")
        return found[0](**values)


def _register(cls: type[Component]) -> None:
    """Make a part known by its name within its family. A class that is defined again replaces its old version.

    Raises:
        ConfigError: a part of recgym's is called so.
    """
    others = [
        kind
        for kind in KINDS.get(cls.__name__, ())
        if (kind.__module__, kind.__qualname__) != (cls.__module__, cls.__qualname__)
    ]
    for kind in others:
        ours = kind.__module__.partition(".")[0] == "recgym" and _root(kind) is _root(cls)
        rule = (
            f"must have another name, as {kind.__module__}.{kind.__qualname__} is a {_root(kind).__name__} of this one"
        )
        require(not ours, f"{cls.__module__}.{cls.__qualname__}", rule, cls.__name__)
    KINDS[cls.__name__] = [*others, cls]


def _root(kind: type[Component]) -> type:
    """The family: the base right below Component."""
    return kind.__mro__[kind.__mro__.index(Component) - 1]


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Annotations of the fields, without those that cannot be resolved."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        for name, text in inspect.get_annotations(base).items():
            try:
                hints[name] = eval(text, vars(sys.modules[base.__module__])) if isinstance(text, str) else text
            except Exception:  # somebody's part may name what is there for type checkers alone
                hints.pop(name, None)
    return hints


def _family(hint: Any) -> type[Component]:
    """Which parts a field takes, by its annotation."""
    if isinstance(hint, type) and issubclass(hint, Component):
        return hint
    return next((found for inner in get_args(hint) if (found := _family(inner)) is not Component), Component)


WRONG = object()


def _as(hint: Any, value: Any) -> Any:
    """The value as the type of an annotation has it, in Python's own numbers and tuples, or WRONG."""
    kind, inner = get_origin(hint) or hint, get_args(hint)
    if kind is float:
        try:
            number = (
                float(value)
                if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))
                else math.nan
            )
        except OverflowError:
            return WRONG
        return number if math.isfinite(number) else WRONG
    if kind is int:
        return int(value) if isinstance(value, numbers.Integral) and not isinstance(value, (bool, np.bool_)) else WRONG
    if kind is bool:
        return bool(value) if isinstance(value, (bool, np.bool_)) else WRONG
    if kind is str:
        return str(value) if isinstance(value, str) else WRONG
    if kind is tuple and inner:
        if not isinstance(value, (list, tuple)) or (inner[-1] is not ... and len(inner) != len(value)):
            return WRONG
        made = [_as(inner[0] if inner[-1] is ... else inner[i], x) for i, x in enumerate(value)]
        return WRONG if any(x is WRONG for x in made) else tuple(made)
    if kind is dict and inner:
        if not isinstance(value, dict):
            return WRONG
        pairs = [(_as(inner[0], k), _as(inner[1], v)) for k, v in value.items()]
        return WRONG if any(x is WRONG for pair in pairs for x in pair) else dict(pairs)
    if kind in (Union, UnionType):
        return next((made for option in inner if (made := _as(option, value)) is not WRONG), WRONG)
    if kind is type(None):
        return None if value is None else WRONG
    return value  # arrays and parts have checks of their own


def _wrong(part: Component) -> tuple[str, Any, Any] | None:
    """Give the fields their types; name, annotation and value of the first that cannot have it."""
    found = None
    hints = _hints(type(part))
    for f in dataclasses.fields(part):
        if f.init and f.name in hints:
            value = getattr(part, f.name)
            made = _as(hints[f.name], value)
            if made is WRONG:
                found = found or (f.name, hints[f.name], value)
            elif made is not value:
                object.__setattr__(part, f.name, made)
    return found


def typed(checks: Callable[[Any], None]) -> Callable[[Any], None]:
    """`__post_init__` with a check of the fields' types around it. It may raise errors of its own, and convert values, first."""

    @functools.wraps(checks)
    def post_init(self: Component) -> None:
        wrong = _wrong(self)
        try:
            checks(self)
        except RecgymError:
            raise
        except Exception:
            if wrong is None:
                raise
        if wrong is not None and (wrong := _wrong(self)) is not None:
            name, hint, value = wrong
            text = (
                "True or False"
                if hint is bool
                else hint.__name__
                if isinstance(hint, type) and not get_args(hint)
                else str(hint)
            )
            require(
                False, f"{type(self).__name__}.{name}", f"must be {text}{', finite' if 'float' in text else ''}", value
            )

    return post_init


Component.__post_init__ = typed(Component.__post_init__)  # type: ignore[method-assign]  # of parts without checks of their own


def _brief(value: Any) -> str:
    """A value for people: long arrays by type and shape."""
    if isinstance(value, np.ndarray) and value.size > 16:
        return f"<{value.dtype} {value.shape}>"
    return repr(value.tolist() if isinstance(value, np.ndarray) else value)


def _encode(value: Any, arrays: dict[str, np.ndarray] | None, path: str) -> Any:
    if isinstance(value, Component):
        return value.to_dict(arrays, path + ".")
    if isinstance(value, np.ndarray):
        require(arrays is not None, path, "an array cannot be written as plain JSON; save the World instead", "array")
        assert arrays is not None
        arrays[path] = value
        return {"array": path}
    if isinstance(value, (list, tuple)):
        return [_encode(v, arrays, f"{path}.{i}") for i, v in enumerate(value)]
    if isinstance(value, dict):
        return {k: _encode(v, arrays, f"{path}.{k}") for k, v in value.items()}
    return value.item() if isinstance(value, np.generic) else value


def _decode(value: Any, arrays: dict[str, np.ndarray] | None, where: str, family: type[Component]) -> Any:
    if isinstance(value, dict) and set(value) == {"array"}:
        name = value["array"]
        require(
            isinstance(name, str) and arrays is not None and name in arrays,
            where,
            "names an array that is not there",
            value,
        )
        assert arrays is not None
        return arrays[name]
    if isinstance(value, dict) and "kind" in value:
        return family.from_dict(value, arrays, where)
    if isinstance(value, list):
        return tuple(_decode(v, arrays, f"{where}.{i}", family) for i, v in enumerate(value))
    if isinstance(value, dict):
        return {k: _decode(v, arrays, f"{where}.{k}", family) for k, v in value.items()}
    return value


def array_names(data: Any) -> set[str]:
    """Names of the arrays that JSON of parts refers to."""
    if isinstance(data, dict) and set(data) == {"array"}:
        return {data["array"]} if isinstance(data["array"], str) else set()
    inner = data.values() if isinstance(data, dict) else data if isinstance(data, list) else ()
    return set().union(*map(array_names, inner))


_WORDS = {"Catalog": "catalog"}  # what messages call a part that is the only one of its family
LARGEST = 1e9  # a number in an array of a part: products and sums of such numbers stay finite


def float_array(component: Component, name: str, shape: tuple[int, ...] | None = None) -> None:
    """Normalise a field to a contiguous float32 array of the given shape (None: any), of numbers in [-1e9, 1e9]."""
    _array(component, name, np.float32, shape)


def int_array(component: Component, name: str, dtype: type[np.integer], shape: tuple[int, ...] | None = None) -> None:
    """Normalise a field to a contiguous array of integers that the type can hold, of the given shape (None: any)."""
    _array(component, name, dtype, shape)


def _array(component: Component, name: str, dtype: Any, shape: tuple[int, ...] | None) -> None:
    where, given = f"{_WORDS.get(type(component).__name__, type(component).__name__)}.{name}", getattr(component, name)
    whole = np.issubdtype(dtype, np.integer)
    try:
        array = np.asarray(given)
    except (TypeError, ValueError, OverflowError):
        array = np.array("")
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{where}: must be an array of {'integers' if whole else 'numbers'}, got {brief(given)}")
    require(shape is None or array.shape == shape, where, f"must have shape {shape}", array.shape)
    require(np.isfinite(array).all(), where, "must be finite", "NaN or inf")
    low, high = (np.iinfo(dtype).min, np.iinfo(dtype).max) if whole else (-LARGEST, LARGEST)
    if array.size:
        span = array.min(), array.max()
        require(span[0] >= low and span[1] <= high, where, f"must lie in [{low:g}, {high:g}]", span)
    made = np.ascontiguousarray(array, dtype).reshape(array.shape)
    require(not whole or (made == array).all(), where, "must hold integers", given)
    object.__setattr__(component, name, made)
