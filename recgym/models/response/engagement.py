"""Engagement with what was clicked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require, require_number
from recgym.kernel import kernel, normal
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, Array, Sizes, Users, filled, zeros


@dataclass(frozen=True, eq=False)
class Engagement(Response):
    """Log-normal engagement with the clicked item (RecSim's long-term satisfaction).

    log engagement ~ N((choc c + kale (1 - c)) satisfaction, sd), where c is the clickbait of the item.

    Args:
        choc, kale: mean at satisfaction 1 of an item that is all clickbait, and of one that has none.
        sd: standard deviation of the log, > 0.
        high: engagement that an observation shows as 1, > 0; it shows at most 1000 times as much.

    The catalogue must have the attribute `clickbait`, in [0, 1], a dynamics the column `satisfaction`.
    """

    choc: float = 5.0
    kale: float = 4.0
    sd: float = 1.0
    high: float = 50.0
    channels: ClassVar[tuple[str, ...]] = ("click", "engagement")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1000.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "engagement")

    def __post_init__(self) -> None:
        require_number("Engagement.choc", self.choc, -20, 20)
        require_number("Engagement.kale", self.kale, -20, 20)
        require_number("Engagement.sd", self.sd, 1e-6, 10)
        require_number("Engagement.high", self.high, 1e-6, 1e9)

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction",)

    def check(self, catalog: Catalog) -> None:
        c = catalog["clickbait"]
        within = c.min() >= 0 and c.max() <= 1
        rule = "must have clickbait in [0, 1] for Engagement"
        require(within, "catalog.attributes", rule, (float(c.min()), float(c.max())))

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        channels, objectives = zeros((B, S, 2), F32), zeros((B, 2), F32)
        _engagement(
            channels, objectives, slate, click, catalog.attributes, catalog.column("clickbait"), users.satisfaction,
            self.choc, self.kale, self.sd, self.high, noise,
        )  # fmt: skip
        return dict(channels=channels, objectives=objectives, dt=filled(B, 1.0, F32)), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        c = catalog["clickbait"][items].astype(np.float64)
        mean = (self.choc * c + self.kale * (1 - c)) * users.satisfaction[:, None] + 0.5 * self.sd**2
        given = np.stack([np.ones(items.shape), np.exp(mean)], axis=2).astype(np.float32)
        given[items < 0] = 0.0
        return given, np.zeros((len(items), 2), np.float32)


@kernel
def _engagement(
    channels, objectives, slate, click, attributes, clickbait_column, satisfaction, choc, kale, sd, high, u
):
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            if click[b, s]:
                c = np.float64(attributes[slate[b, s], clickbait_column])
                engagement = math.exp((choc * c + kale * (1.0 - c)) * satisfaction[b] + sd * normal(u[s, b]))
                channels[b, s, 0] = 1.0
                channels[b, s, 1] = min(engagement / high, 1000.0)
                objectives[b, 0] += 1.0
                objectives[b, 1] += engagement
