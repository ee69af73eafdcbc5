"""E-commerce."""
from __future__ import annotations

import numpy as np

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.market import ShopMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Hazard
from recgym.models.dynamics import Fatigue, InterestDrift, Satiation, Satisfaction
from recgym.models.preference import DotProduct
from recgym.models.response import Funnel
from recgym.models.reward import Weighted
from recgym.population import Population, draw_items, draw_topics, noisy_copy
from recgym.world import World


class EcommerceEnv(RecEnv):
    """TODO."""


def world(
    *, items: int = 2000, topics: int = 20, dimensions: int = 16, seed: int = 0, cold_start: float = 0.1,
    profile_noise: float = 1.0, price_sensitivity: float = 1.0, quality_correlation: float = 0.7,
) -> World:  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    signal = noisy_copy(rng, quality, quality_correlation)
    popularity = noisy_copy(rng, quality, 0.3)
    reference_price = np.exp(rng.normal(3.5, 0.6, topics))
    log_price = np.clip(0.35 * rng.standard_normal(items) + 0.1 * quality, -1.2, 1.2)
    price = reference_price[topic] * np.exp(log_price)
    return World(
        catalog=Catalog(
            embedding, topic, np.stack([quality, price, signal / 3, popularity / 3], axis=1),
            ("quality", "price", "quality_signal", "popularity"), topics, visible=("quality_signal", "popularity"),
        ),
        population=Population(
            centroids, cold_start=cold_start, profile_noise=profile_noise,
            sensitivity={"log_price": (-price_sensitivity, 0.5)},
        ),
        market=ShopMarket.draw(rng, log_price),
        candidates=Retrieval(),
        preference=DotProduct(4.0, {"quality": 0.2, "popularity": 0.6}, {"satiation": -1.0, "fatigue": -0.5}),
        choice=MultinomialLogit(null=4.5, decay=0.5),
        response=Funnel(cart=-4.0, purchase=-4.8, hazard=0.01),
        dynamics=(InterestDrift(), Satiation(), Fatigue(), Satisfaction(memory=0.85, level=0.0, quality=2.0, match=0.5)),
        departure=Hazard(level=-0.8, satisfaction=5.5, fatigue=0.05),
        reward=Weighted({"click": 1.0, "purchase": 5.0, "satisfaction": 0.5}),
    )  # fmt: skip
