"""Watching videos of one length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_number
from recgym.kernel import kernel
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, Array, Column, Sizes, Users, copied, empty, zeros


@dataclass(frozen=True, eq=False)
class WatchTime(Response):
    """Videos of one length and a budget of minutes that good ones refill (RecSim's interest evolution).

    A clicked item of quality q is watched for w = min(budget, length) minutes, and the budget changes by
    -w + bonus * w * q. A step without a click costs `browse` minutes. The budget stays within +-10^7 minutes. The
    objective `quality` is q.

    Args:
        length: minutes, > 0.
        budget: minutes at arrival, > 0.
        browse: minutes, >= 0.
        bonus: share of the watched minutes that an item of quality 1 gives back.

    The catalogue must have the attribute `quality`.
    """

    length: float = 4.0
    budget: float = 200.0
    browse: float = 0.5
    bonus: float = 0.9 / 3.4
    channels: ClassVar[tuple[str, ...]] = ("click", "watch")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "watch", "quality")
    single: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_number("WatchTime.length", self.length, 1e-3, 1e6)
        require_number("WatchTime.budget", self.budget, 1e-3, 1e6)
        require_number("WatchTime.browse", self.browse, 0, 1e6)
        require_number("WatchTime.bonus", self.bonus, -100, 100)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"budget": Column((), np.float32, -1e7, 1e7, self.budget)}

    def check(self, catalog: Catalog) -> None:
        catalog.column("quality")

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 2), F32), zeros((B, 3), F32)
        dt, budget = empty(B, F32), copied(users.budget)
        _watch_time(
            channels, objectives, dt, budget, slate, click, catalog.attributes, catalog.column("quality"),
            self.length, self.browse, self.bonus,
        )  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=dt), dict(budget=budget)

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        given = np.zeros((*items.shape, 3), np.float32)
        given[:, :, 0] = 1.0
        given[:, :, 1] = np.clip(users.budget, np.float32(0), np.float32(self.length))[:, None]
        given[:, :, 2] = catalog["quality"][items]
        given[items < 0] = 0.0
        return given, np.zeros((len(items), 3), np.float32)


@kernel
def _watch_time(channels, objectives, dt, budget, slate, click, attributes, quality_column, length, browse, bonus):
    B, S = slate.shape
    for b in range(B):
        before = np.float64(budget[b])
        after, dt[b] = before - browse, browse
        for s in range(S):
            if click[b, s]:
                quality = np.float64(attributes[slate[b, s], quality_column])
                minutes = min(max(before, 0.0), length)
                after, dt[b] = before - minutes + bonus * minutes * quality, minutes
                channels[b, s, 0] = 1.0
                channels[b, s, 1] = minutes / length
                objectives[b, 0] = 1.0
                objectives[b, 1] = minutes
                objectives[b, 2] = quality
        budget[b] = min(max(after, -1e7), 1e7)
