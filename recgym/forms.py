"""What the forms of actions (`recgym.actions`) and of observations (`recgym.observations`) have in common: names."""

from __future__ import annotations

import inspect
from abc import ABC
from collections.abc import Callable
from typing import Any, ClassVar, Self

from recgym.errors import MOST, ConfigError, brief, require, unknown


class Form(ABC):
    """A class known by the name in its `form` as soon as it is defined.

    A family of forms is a direct subclass; its members inherit from it. A member of recgym's can be part of a compiled
    step (`recgym.fusion`); one from elsewhere must opt in with ``fusable = True``, see `recgym.component.Component`.
    """

    form: ClassVar[str] = ""
    ours: ClassVar[bool] = True  # whether the class is part of recgym
    fusable: ClassVar[bool] = False
    known: ClassVar[dict[str, type[Form]]]  # one for each family

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.ours = cls.__module__.partition(".")[0] == "recgym"
        if Form in cls.__bases__:
            cls.known = {}
            return
        if "fusable" not in cls.__dict__:
            cls.fusable = cls.ours
        if "form" not in cls.__dict__:
            return
        fits = isinstance(cls.form, str) and cls.form and cls.form.isprintable()
        require(fits, f"{_origin(cls)}.form", "must be a name", cls.form)
        other = cls.known.get(cls.form)
        if other is not None and _origin(other) != _origin(cls):
            require(False, f"{_origin(cls)}.form", f"must be another name, as {_origin(other)} has this one", cls.form)
        cls.known[cls.form] = cls

    @classmethod
    def of(cls, given: Any, parameter: str) -> Callable[..., Self]:
        """What makes a form of this family: a class by its name, a class itself, or a function that returns one.

        Raises:
            ConfigError: none of these; `parameter` is what the message calls it.
        """
        if isinstance(given, str):
            if given not in cls.known:
                unknown(parameter, given, cls.known)
            return cls.known[given]  # type: ignore[return-value]
        own = isinstance(given, type) and issubclass(given, cls) and "form" in given.__dict__
        fits = own if isinstance(given, type) else callable(given)
        rule = f"must be one of {sorted(cls.known)[:MOST]} or a subclass of {cls.__name__} with a `form` of its own"
        require(fits, parameter, rule, given)
        return given  # type: ignore[return-value]

    @classmethod
    def made(cls, given: Any, parameter: str, *arguments: Any) -> Self:
        """The form of this family that `of` makes of the arguments.

        Raises:
            ConfigError: see `of`; or a function does not take these arguments, or returns something else.
        """
        make = cls.of(given, parameter)
        try:
            inspect.signature(make).bind(*arguments)
        except (TypeError, ValueError) as error:
            rule = f"must take {len(arguments)} arguments"
            raise ConfigError(f"{parameter}: {rule}: {error}, got {brief(given)}") from None
        form = make(*arguments)
        require(isinstance(form, cls), parameter, f"must make a recgym.{cls.__name__}", form)
        return form


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
