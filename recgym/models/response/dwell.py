"""Reading articles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_number
from recgym.kernel import capped_lognormal_mean, kernel, normal, normal_cdf, sigmoid
from recgym.market import Market
from recgym.models.response.base import Outcome, Response
from recgym.types import F32, F64, Array, Sizes, Users, empty, filled, zeros

SATISFIED = 0.5  # minutes; a reader who stays longer was satisfied with the click


@dataclass(frozen=True, eq=False)
class Dwell(Response):
    """Reading: minutes on a clicked article ~ LogN(mu, sigma), at most `longest`.

    mu = level + quality * q - gap * clickbait + mood * (satisfaction - 1/2), where q is the quality of the article. A
    click is satisfied when the reader stays longer than half a minute; a satisfied reader shares the article with
    probability sigmoid(share + quality * q).

    Args:
        level, quality, gap, mood: coefficients of mu.
        sigma: standard deviation of the log of the minutes, > 0.
        longest: minutes, > 0.
        scan: minutes to look through a slate, >= 0.
        share: log-odds at q = 0.

    The feedback gets one more array, `satisfied` (B,) float32, the count of satisfied clicks. The catalogue must have
    the attributes `quality` and `clickbait`, a dynamics the column `satisfaction`.
    """

    level: float = -0.3
    quality: float = 0.5
    gap: float = 1.0
    mood: float = 0.0
    sigma: float = 0.7
    longest: float = 15.0
    scan: float = 0.25
    share: float = -3.0
    channels: ClassVar[tuple[str, ...]] = ("click", "dwell", "satisfied_click", "share")
    highs: ClassVar[tuple[float, ...]] = (1.0, 1.0, 1.0, 1.0)
    objectives: ClassVar[tuple[str, ...]] = ("click", "dwell", "satisfied_click", "share")
    extras: ClassVar[tuple[str, ...]] = ("satisfied",)

    def __post_init__(self) -> None:
        for name in ("level", "quality", "gap", "mood", "share"):
            require_number(f"Dwell.{name}", getattr(self, name), -100, 100)
        require_number("Dwell.sigma", self.sigma, 1e-6, 10)
        require_number("Dwell.longest", self.longest, 0.5, 1e4)
        require_number("Dwell.scan", self.scan, 0, 1e4)

    def uniforms(self, sizes: Sizes) -> int:
        return 2 * sizes.slate

    def reads(self) -> tuple[str, ...]:
        return ("users.satisfaction",)

    def check(self, catalog: Catalog) -> None:
        self._hold(catalog)

    def _hold(self, catalog: Catalog) -> Array:
        """(N,) what each item adds to mu."""
        return catalog.weighted((("quality", self.quality), ("clickbait", -self.gap)))

    def __call__(self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
                 utility: Array, outside: Array, click: Array, noise: Array) -> Outcome:  # fmt: skip
        B, S = slate.shape
        mu, share = empty((B, S), F64), empty((B, S), F64)
        _locations(mu, slate, self._hold(catalog), users.satisfaction, self.level, self.mood)
        _share_odds(share, slate, catalog.attributes, catalog.column("quality"), self.share, self.quality)
        channels, objectives = zeros((B, S, 4), F32), zeros((B, 4), F32)
        dt, satisfied = filled(B, self.scan, F32), zeros(B, F32)
        _read(channels, objectives, dt, satisfied, click, mu, share, self.sigma, self.longest, noise)
        return dict(channels=channels, objectives=objectives, dt=dt, satisfied=satisfied), {}

    def expected(self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array, utility: Array,
                 outside: Array) -> tuple[Array, Array]:  # fmt: skip
        mu, share = np.empty(items.shape), np.empty(items.shape)
        _locations(mu, items, self._hold(catalog), users.satisfaction, self.level, self.mood)
        _share_odds(share, items, catalog.attributes, catalog.column("quality"), self.share, self.quality)
        given = np.zeros((*items.shape, 4), F32)
        _expected(given, items, mu, share, self.sigma, self.longest)
        return given, np.zeros((len(users), 4), F32)


@kernel
def _locations(mu, items, hold, satisfaction, level, mood):
    """mu of each item; 0 where there is none."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            i = items[b, s]
            mu[b, s] = level + mood * (satisfaction[b] - 0.5) + hold[i] if i >= 0 else 0.0


@kernel
def _share_odds(share, items, attributes, quality_column, level, quality):
    """Log-odds that a satisfied reader shares each item; 0 where there is none."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            i = items[b, s]
            share[b, s] = level + quality * attributes[i, quality_column] if i >= 0 else 0.0


@kernel
def _read(channels, objectives, dt, satisfied, click, mu, share, sigma, longest, u):
    B, S = click.shape
    for b in range(B):
        for s in range(S):
            if not click[b, s]:
                continue
            minutes = min(math.exp(mu[b, s] + sigma * normal(u[s, b])), longest)
            dt[b] += minutes
            content = minutes > SATISFIED
            shared = content and u[S + s, b] < sigmoid(share[b, s])
            channels[b, s, 0] = 1.0
            channels[b, s, 1] = minutes / longest  # the observation wants numbers of about 1
            channels[b, s, 2] = 1.0 if content else 0.0
            channels[b, s, 3] = 1.0 if shared else 0.0
            objectives[b, 0] += 1.0
            objectives[b, 1] += minutes
            objectives[b, 2] += channels[b, s, 2]
            objectives[b, 3] += channels[b, s, 3]
            satisfied[b] += channels[b, s, 2]


@kernel
def _expected(given, items, mu, share, sigma, longest):
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            if items[b, s] < 0:
                continue
            satisfied = normal_cdf((mu[b, s] - math.log(SATISFIED)) / sigma)
            given[b, s, 0] = 1.0
            given[b, s, 1] = capped_lognormal_mean(mu[b, s], sigma, longest)
            given[b, s, 2] = satisfied
            given[b, s, 3] = satisfied * sigmoid(share[b, s])
