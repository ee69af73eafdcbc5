"""Live streams."""
from __future__ import annotations

import numpy as np

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.market import LiveMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Budget
from recgym.models.dynamics import Fatigue, InterestDrift
from recgym.models.preference import Loyal
from recgym.models.response import Watch
from recgym.models.reward import Weighted
from recgym.population import Population, draw_items, draw_topics, noisy_copy
from recgym.world import World


class LiveStreamEnv(RecEnv):
    """TODO."""


def world(
    *, items: int = 2000, topics: int = 20, dimensions: int = 16, seed: int = 0, cold_start: float = 0.1,
    profile_noise: float = 1.0, quality_correlation: float = 0.7,
) -> World:  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence([seed, 3]))
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    signal = noisy_copy(rng, quality, quality_correlation)
    return World(
        catalog=Catalog(
            embedding, topic, np.stack([quality, signal / 3], axis=1),
            ("quality", "quality_signal"), topics, visible=("quality_signal",),
        ),
        population=Population(
            centroids, cold_start=cold_start, profile_noise=profile_noise,
            sensitivity={"heat": (0.5, 0.3), "content": (0.7, 0.3)},
            traits={"stamina": (10.0, 0.3, 2.0, 40.0), "budget": (90.0, 0.5, 15.0, 300.0), "wallet": (10.0, 1.0, 0.0, 1000.0)},
        ),
        market=LiveMarket.draw(rng, noisy_copy(rng, quality, 0.5)),
        candidates=Retrieval(),
        preference=Loyal(4.0, {"quality": 0.5}, {"fatigue": -0.5}, loyalty=0.3, inertia=0.5),
        choice=MultinomialLogit(null=3.0, decay=0.5),
        response=Watch(),
        dynamics=(InterestDrift(), Fatigue(ignored=0.1, half_life=20.0)),
        departure=Budget(prompt=1.2, browse=0.4),
        reward=Weighted({"click": 1.0, "long_watch": 2.0, "like": 3.0}),
    )  # fmt: skip
