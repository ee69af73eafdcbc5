"""A domain of one's own: guests look for a hotel, and leave when they have booked one. Registered on import."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

import recgym
from recgym.catalog import Catalog
from recgym.errors import require_count, require_number
from recgym.kernel import kernel
from recgym.market import StaticMarket
from recgym.models.candidates import Uniform
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Departure
from recgym.models.dynamics import InterestDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics
from recgym.types import BOOL, F32, empty


@dataclass(frozen=True, eq=False)
class Booked(Departure):
    """Leaves for good with probability `rate` after a click, a booking, which is an objective of its own.

    Args:
        rate: in [0, 1].
    """

    rate: float = 0.3
    objectives = ("booking",)
    fusable = True

    def __post_init__(self) -> None:
        require_number("Booked.rate", self.rate, 0, 1)

    def uniforms(self, sizes: recgym.Sizes) -> int:
        return 1

    def __call__(self, users: recgym.Users, feedback: recgym.Feedback, noise: np.ndarray) -> dict[str, np.ndarray]:
        B = len(users)
        left, objectives = empty(B, BOOL), empty((B, 1), F32)
        book(left, objectives, feedback.click, noise, self.rate)
        return {"left": left, "objectives": objectives}


@kernel
def book(left, objectives, click, noise, rate):
    """Marks who books, (B,) bool and (B, 1) float32, from clicks (B, S) and a uniform each (1, B)."""
    for b in range(click.shape[0]):
        clicked = False
        for s in range(click.shape[1]):
            clicked |= click[b, s]
        left[b] = clicked and noise[0, b] < rate
        objectives[b, 0] = 1.0 if left[b] else 0.0


def world(*, hotels: int = 500, towns: int = 8, seed: int = 0, **parts: Any) -> recgym.World:
    """Hotels of some towns, described by a location, a price and stars.

    Args:
        hotels: how many, at least 20. towns: how many. seed: of the catalogue. parts: see `recgym.World.of`.
    """
    require_count("hotels", hotels, 20, 100_000)
    require_count("towns", towns, 1, 100)
    rng = np.random.default_rng([seed, 77])
    centres = draw_topics(rng, towns, 8)
    town, location = draw_items(rng, hotels, centres)
    stars = rng.integers(1, 6, hotels)
    price = stars + rng.normal(0, 1, hotels)  # in units of what a star costs
    return recgym.World.of(
        parts,
        catalog=Catalog(
            location, town, np.stack([price, stars], axis=1), ("price", "stars"), towns, ("price", "stars")
        ),
        population=TopicMixture(centres),
        market=StaticMarket.of(hotels),
        candidates=Uniform(20),
        preference=DotProduct(3.0, {"price": -0.6, "stars": 0.6}),
        choice=MultinomialLogit(null=2.0),
        response=Clicks(),
        dynamics=(InterestDrift(),),
        departure=Booked(),
        reward=Weighted({"click": 0.1, "booking": 1.0}),
        horizon=30,
    )


recgym.register_world("hotels", world, {"stays/Hotels-v0": {}, "stays/HotelsSlate-v0": {"slate_size": 4}})
