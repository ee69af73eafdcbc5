"""The spec of an environment, which Gymnasium keeps to make it again, as Python's own numbers and as JSON."""

from __future__ import annotations

import dataclasses
import os
from enum import Enum
from typing import Any

import numpy as np
from gymnasium.envs.registration import EnvSpec

from recgym.component import Component
from recgym.errors import ConfigError, require
from recgym.forms import Form
from recgym.world import World


class Spec(EnvSpec):
    """Gymnasium's spec of an environment, which can be written as JSON if all its arguments can."""

    def to_json(self) -> str:
        """The spec as JSON, for `gymnasium.envs.registration.EnvSpec.from_json`.

        Parts are written in their JSON form, and forms of actions and observations by their names.

        Raises:
            ConfigError: an argument has no such form: a `World` itself, whose name or folder can be passed instead, or a
                function.
        """
        plain = {name: _as_json(name, value) for name, value in self.kwargs.items()}
        return EnvSpec.to_json(dataclasses.replace(self, kwargs=plain))


class Specified:
    """Keeps Gymnasium's `spec` as a `Spec`, with Python's numbers in place of NumPy's."""

    _spec: Spec | None = None

    @property
    def spec(self) -> Any:
        return self._spec

    @spec.setter
    def spec(self, spec: Any) -> None:
        if spec is not None:
            fields = {f.name: getattr(spec, f.name) for f in dataclasses.fields(spec) if f.init}
            spec = Spec(**{**fields, "kwargs": _plain(spec.kwargs)})
        self._spec = spec


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return type(value)(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _as_json(name: str, value: Any) -> Any:
    """An argument of an environment as JSON has it, see `Spec.to_json`."""
    if isinstance(value, World):
        raise ConfigError(
            f"{name}: a World cannot be written as JSON; write it to a folder by World.save and pass the folder, or pass a name"
        )
    if isinstance(value, Component):
        return value.to_dict()
    if isinstance(value, type) and issubclass(value, Form):
        known = value.known.get(value.form) is value
        require(known, name, f"must be the class that is known as {value.form!r}, to be written as JSON", value)
        return value.form
    if isinstance(value, dict):
        return {key: _as_json(name, one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_json(name, one) for one in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    require(not callable(value), name, "must be a name or a part, which can be written as JSON, and no function", value)
    return value
