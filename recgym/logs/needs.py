"""polars, which only logs need."""

from __future__ import annotations

from typing import Any

from recgym.errors import ConfigError


def need_polars() -> Any:
    """The module polars.

    Raises:
        ConfigError: it is not installed; the message says how to.
    """
    try:
        import polars
    except ImportError:
        raise ConfigError('logs: needs polars; pip install "recgym[logs]"') from None
    return polars
