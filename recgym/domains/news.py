"""News."""
from __future__ import annotations

import numpy as np

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.market import NewsMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import Cascade
from recgym.models.departure import Sessions
from recgym.models.dynamics import Fatigue, NetExposure, TwoSpeedDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Dwell
from recgym.models.reward import Weighted
from recgym.population import Population, draw_items, draw_topics, noisy_copy
from recgym.world import World


class NewsEnv(RecEnv):
    """TODO."""


def world(
    *, items: int = 2000, topics: int = 20, dimensions: int = 16, seed: int = 0, cold_start: float = 0.1,
    profile_noise: float = 1.0, quality_correlation: float = 0.7,
) -> World:  # fmt: skip
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    clickbait = rng.beta(1.0, 1.5, items)
    signal = noisy_copy(rng, quality, quality_correlation)
    hype = np.clip(clickbait + 0.15 * rng.standard_normal(items), 0, 1)
    appeal = 0.3 * quality + 0.6 * (clickbait - 0.4) + 0.7 * rng.standard_normal(items)
    return World(
        catalog=Catalog(
            embedding, topic, np.stack([quality, clickbait, signal / 3, hype], axis=1),
            ("quality", "clickbait", "quality_signal", "hype"), topics, visible=("quality_signal", "hype"),
        ),
        population=Population(
            centroids, cold_start=cold_start, profile_noise=profile_noise,
            sensitivity={"freshness": (1.0, 0.3), "popularity": (1.0, 0.3)},
            traits={"stamina": (18.0, 0.3, 5.0, 50.0)},
        ),
        market=NewsMarket.draw(rng, topic, appeal, topics),
        candidates=Retrieval(),
        preference=DotProduct(4.0, {"clickbait": 2.0}, {"fatigue": -1.0}),
        choice=Cascade(attention=0.8, continuation=0.6, threshold=4.0),
        response=Dwell(mood=1.5),
        dynamics=(TwoSpeedDrift(), Fatigue(ignored=0.1, clicked=0.3, half_life=20.0), NetExposure(quality=2.0, gap=4.0)),
        departure=Sessions(loyalty=0.95),
        reward=Weighted({"click": 1.0, "dwell": 0.5}),
    )  # fmt: skip
