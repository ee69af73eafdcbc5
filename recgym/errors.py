"""Every error that recgym raises on purpose, and the helpers that word them.

RecgymError
├── ConfigError (ValueError)   a wrong parameter, component, name or world file
│   └── OptionError (TypeError)   a keyword argument that an environment or a world does not have
├── SlateError  (ValueError)   an action outside the action space
└── FitError    (ValueError)   logs that cannot be read or fitted
"""

from __future__ import annotations

import difflib
import math
import numbers
import reprlib
from collections.abc import Iterable
from typing import Any, NoReturn

LONGEST = 300  # characters of a value in a message
MOST = 24  # names that a message offers


class RecgymError(Exception):
    """Base class of recgym's own errors."""


class ConfigError(RecgymError, ValueError):
    """A parameter breaks a rule; the message gives parameter, rule and value."""


class OptionError(ConfigError, TypeError):
    """An environment or a world has no such keyword argument; the message gives the nearest that it has."""


class SlateError(RecgymError, ValueError):
    """An action lies outside the action space."""


class FitError(RecgymError, ValueError):
    """Interaction logs are malformed, or hold too little to fit what was asked."""


class _Brief(reprlib.Repr):
    """`repr` of the first few elements; an object whose `repr` fails is shown by its type."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlist = self.maxtuple = self.maxdict = self.maxset = self.maxfrozenset = self.maxarray = 10
        self.maxstring = self.maxother = self.maxlong = LONGEST

    def repr_int(self, x: int, level: int) -> str:
        return super().repr_int(x, level) if x.bit_length() < 4 * LONGEST else f"<an integer of {x.bit_length()} bits>"


_brief = _Brief()


def brief(value: Any) -> str:
    """`repr` of a value, cut where it is long."""
    text = _brief.repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def require(condition: Any, parameter: str, rule: str, value: Any) -> None:
    """Raise ``ConfigError("parameter: rule, got value")`` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{parameter}: {rule}, got {brief(value)}")


def require_number(parameter: str, value: Any, low: float, high: float) -> float:
    """The value as a float, if it is a real number in [low, high]: no NaN, bool, string or array."""
    try:
        number = float(value) if isinstance(value, numbers.Real) and not isinstance(value, bool) else math.nan
    except OverflowError:  # an integer or a fraction beyond all floats
        number = math.inf
    require(low <= number <= high, parameter, f"must be a number in [{low:g}, {high:g}]", value)
    return number


def require_count(parameter: str, value: Any, low: int, high: int) -> int:
    """The value as an int, if it is an integer in [low, high]: no bool, string, array or float."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    require(is_integer and low <= int(value) <= high, parameter, f"must be an integer in [{low}, {high}]", value)
    return int(value)


def unknown(parameter: str, value: Any, options: Iterable[str]) -> NoReturn:
    """Raise a ConfigError that names the nearest valid spelling, then the valid ones: all, or the nearest of many."""
    raise ConfigError(f"{parameter}: {nearest(value, options)}")


def unknown_option(name: str, options: Iterable[str]) -> NoReturn:
    """Raise an OptionError for a keyword argument, worded as Python words it and with the names that `unknown` gives."""
    raise OptionError(f"option: {_valid(f'got an unexpected keyword argument {brief(name)}', name, options)}")


def nearest(value: Any, options: Iterable[str]) -> str:
    """What was got, the nearest valid spelling, and the valid ones, for a message that says more."""
    return _valid(f"got {brief(value)}", value, options)


def _valid(got: str, value: Any, options: Iterable[str]) -> str:
    """What was got, and what is valid instead."""
    options = sorted(options)
    if not options:
        return f"none are known here, {got}"
    word = value[:LONGEST] if isinstance(value, str) else ""
    near = difflib.get_close_matches(word, options, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    names = f"one of {options}"
    if len(options) > MOST:
        some = difflib.get_close_matches(word, options, n=MOST, cutoff=0.0)
        names = f"one of {len(options)} names, such as {some}"
    return f"{got}.{hint} It must be {names}"


def require_option(parameter: str, value: Any, options: Iterable[str]) -> None:
    """Require one of a few names."""
    options = list(options)
    if not isinstance(value, str) or value not in options:
        unknown(parameter, value, options)
