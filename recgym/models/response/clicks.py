"""Clicks and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_number
from recgym.kernel import kernel
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, Array, Users, empty


@dataclass(frozen=True, eq=False)
class Clicks(Response):
    """Clicks and nothing else.

    Args:
        minutes: length of a step, >= 0.
    """

    minutes: float = 1.0

    def __post_init__(self) -> None:
        require_number("Clicks.minutes", self.minutes, 0, 1e6)

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = click.shape
        channels, objectives, dt = empty((B, S, 1), F32), empty((B, 1), F32), empty(B, F32)
        _count(channels, objectives, dt, click, self.minutes)
        return dict(channels=channels, objectives=objectives, dt=dt), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        return (items >= 0)[:, :, None].astype(F32), np.zeros((len(users), 1), F32)


@kernel
def _count(channels, objectives, dt, click, minutes):
    for b in range(click.shape[0]):
        objectives[b, 0] = 0.0
        dt[b] = minutes
        for s in range(click.shape[1]):
            channels[b, s, 0] = 1.0 if click[b, s] else 0.0
            objectives[b, 0] += channels[b, s, 0]
