"""What every part of a World is: a frozen dataclass whose fields are its configuration.

A part computes with arrays and keeps no state of its own. It may declare user columns (state that it owns)
and how many uniforms a step it consumes; the World hands it a block of noise of exactly that size.

A step can be compiled into one call, see `recgym.fusion`, if every part makes its arrays by `empty`, `zeros`, `filled`
and `copied` of `recgym.types` and computes in kernels of its own, and says ``fusable = True``.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recgym.errors import ConfigError, require, unknown
from recgym.types import Column, Sizes

if TYPE_CHECKING:
    from recgym.catalog import Catalog

KINDS: dict[str, type[Component]] = {}


@dataclass(frozen=True, eq=False)
class Component:
    """Base of all parts. `kind`, the class name, tags the part where it is written as JSON."""

    kind: str = field(default="", init=False, repr=False)
    fusable: ClassVar[bool] = True  # whether a recording holds its steps, see `recgym.fusion`; others' parts must say so

    def __init_subclass__(cls, abstract: bool = False, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = cls.__name__
        ours = [c.__module__.partition(".")[0] == "recgym" for c in cls.__mro__[:2]]
        if "fusable" not in cls.__dict__ and ours == [False, True]:
            cls.fusable = False
        cls.__repr__ = cls.__dict__.get("__repr__", Component.__repr__)  # the dataclass decorator would write arrays out
        if not abstract:
            KINDS[cls.__name__] = cls

    def __repr__(self) -> str:
        fields = (f"{f.name}={_brief(getattr(self, f.name))}" for f in dataclasses.fields(self) if f.init and f.repr)
        return f"{type(self).__name__}({', '.join(fields)})"

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        """User columns that this part owns, by name."""
        return {}

    def uniforms(self, sizes: Sizes) -> int:
        """Uniforms a user and step; a function of sizes only, never of state or action."""
        return 0

    def reads(self) -> tuple[str, ...]:
        """What the part needs from others: "users.name" (a column), "scalars.name" (a column of shape ()),
        "topics.name" (one of shape (T,)), "signals.name" (of the market), "feedback.name" (of the response).
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
        options = {name: kind for name, kind in KINDS.items() if issubclass(kind, cls)}
        found = options.get(data["kind"]) if isinstance(data["kind"], str) else None
        if found is None:
            unknown(f"{where}.kind", data["kind"], options)
        fields = {f.name for f in dataclasses.fields(found) if f.init}
        for name in data:
            if name != "kind" and name not in fields:
                unknown(f"{where} ({data['kind']}) field", name, fields)
        values = {name: _decode(value, arrays, f"{where}.{name}") for name, value in data.items() if name != "kind"}
        try:
            return found(**values)
        except TypeError as error:
            raise ConfigError(f"{where} ({data['kind']}): {error}") from None


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


def _decode(value: Any, arrays: dict[str, np.ndarray] | None, where: str) -> Any:
    if isinstance(value, dict) and set(value) == {"array"}:
        require(arrays is not None and value["array"] in arrays, where, "names an array that is not there", value)
        assert arrays is not None
        return arrays[value["array"]]
    if isinstance(value, dict) and "kind" in value:
        return Component.from_dict(value, arrays, where)
    if isinstance(value, list):
        return tuple(_decode(v, arrays, f"{where}.{i}") for i, v in enumerate(value))
    if isinstance(value, dict):
        return {k: _decode(v, arrays, f"{where}.{k}") for k, v in value.items()}
    return value


def float_array(component: Component, name: str, shape: tuple[int, ...] | None = None) -> None:
    """Normalise a field to a contiguous, finite float32 array of the given shape (None: any)."""
    where = f"{type(component).__name__}.{name}"
    try:
        array = np.ascontiguousarray(getattr(component, name), np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"{where}: must be an array of numbers, got {getattr(component, name)!r}") from None
    require(shape is None or array.shape == shape, where, f"must have shape {shape}", array.shape)
    require(np.isfinite(array).all(), where, "must be finite", "NaN or inf")
    object.__setattr__(component, name, array)
