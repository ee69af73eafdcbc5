"""Every error that recgym raises on purpose, and the two helpers that word them.

RecgymError
├── ConfigError (ValueError)   a wrong parameter, component, name or world file
├── SlateError  (ValueError)   an action outside the action space
└── FitError    (ValueError)   logs that cannot be read or fitted
"""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable
from typing import Any, NoReturn


class RecgymError(Exception):
    """Base class of recgym's own errors."""


class ConfigError(RecgymError, ValueError):
    """A parameter breaks a rule; the message gives parameter, rule and value."""


class SlateError(RecgymError, ValueError):
    """An action lies outside the action space."""


class FitError(RecgymError, ValueError):
    """Interaction logs are malformed, or hold too little to fit what was asked."""


def require(condition: Any, parameter: str, rule: str, value: Any) -> None:
    """Raise ``ConfigError("parameter: rule, got value")`` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{parameter}: {rule}, got {value!r}")


def require_number(parameter: str, value: Any, low: float, high: float) -> None:
    """Require a real number in [low, high]; NaN, infinities, bools and strings are refused."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    require(is_number and low <= float(value) <= high, parameter, f"must be a number in [{low:g}, {high:g}]", value)


def require_count(parameter: str, value: Any, low: int, high: int) -> None:
    """Require an integer in [low, high]."""
    is_integer = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    require(is_integer and low <= int(value) <= high, parameter, f"must be an integer in [{low}, {high}]", value)


def unknown(parameter: str, value: Any, options: Iterable[str]) -> NoReturn:
    """Raise a ConfigError that names the nearest valid spelling and all valid ones."""
    options = sorted(options)
    if not options:
        raise ConfigError(f"{parameter}: none are known here, got {value!r}")
    near = difflib.get_close_matches(str(value), options, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ConfigError(f"{parameter}: must be one of {options}, got {value!r}.{hint}")


def require_option(parameter: str, value: Any, options: Iterable[str]) -> None:
    """Require one of a few names."""
    options = list(options)
    if not isinstance(value, str) or value not in options:
        unknown(parameter, value, options)
