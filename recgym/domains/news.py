"""News: what is fresh, what is popular, and what the reader was glad to have read. Maths: `NewsEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.domains.ecommerce import check_sizes, logging_rate
from recgym.envs import RecEnv
from recgym.market import WEEKS, NewsMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import Cascade
from recgym.models.departure import Sessions
from recgym.models.dynamics import Fatigue, Satisfaction, TwoSpeedDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Dwell
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics, noisy_copy, require_weeks
from recgym.world import World


class NewsEnv(RecEnv):
    """News: a reader scans the front page, which the agent fills from 20 retrieved articles of the last two days.

    ## Description

    Articles appear by a Poisson process over the day, fade with half-lives of 2 to 24 hours, and gather readers by a
    slow AR(1) level, self-exciting bursts and breaking events that lift a topic. Utility: v = 4 u.x + f_u freshness +
    g_u popularity + 2 clickbait - fatigue[topic]. The reader goes down the page as in a cascade, to the next position
    with probability 0.8, or 0.48 after a click, and clicks with probability sigmoid(v - 4). The minutes on an article
    are log-normal, their log has the mean -0.3 + 0.5 q - clickbait + 1.5 (s - 1/2), and they are at most 15.

    What links today to tomorrow: each click adds 2 q - 4 clickbait to a net exposure that is multiplied by 0.9 per
    step, and the satisfaction is s = sigmoid(0.25 net exposure). A satisfied reader reads longer. When the patience has
    run out (each step costs 1, each satisfied click gives 1 back), the reader returns 1 to 6 hours later with
    probability 0.95 s^2. Clickbait wins the click and loses the reader. Interests drift, fast and slowly; a topic tires
    the reader and recovers over clock time.

    ## Action Space

    `recgym/News-v0`: `Discrete(20)`, the candidate shown. `recgym/NewsSlate-v0`: `MultiDiscrete([20] * 5)`, top
    position first; an article repeated in a slate counts once. `action="embedding"`: `Box(-1, 1, (16,))`, for the
    candidates with the largest inner products. `null_action=True` makes 0 "show nothing".

    ## Observation Space

    What the platform knows. Interests and moods are hidden, so this is a POMDP. `observation="flat"` (default) is a
    float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for debugging.
    `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (P,) | noisy taste profile (zero for a cold user), whether it is known, session progress, time of day, what the last slate led to |
    | `history` | (10, d + C) | the last clicked items, latest first: embedding and what came of them |
    | `candidates` | (K, d + 9) | embedding, quality signal, hype (a noisy look at clickbait), freshness, popularity, age, click rate, match to the profile, match to the recent history, recent exposure of the topic |
    | `mask` | (K,) | 1 where there is a candidate |

    ## Rewards

    1 for a click and 0.5 per minute of reading. The objectives are click, dwell (minutes), satisfied_click (longer than
    half a minute), share and return (for another session): `reward={"satisfied_click": 1.0}` gives them other weights,
    `reward="vector"` pays all five. `like_dislike=True` pays +1 for a clicked article and -1 for an ignored one.

    ## Starting State

    A new reader, whose interest mixes 2 to 4 topics; satisfaction 1/2, patience log-normal around 18 steps, a random
    minute of the weeks `weeks`. 10 % of the readers have no profile.

    ## Episode End

    Terminated when the patience has run out and the reader does not return, truncated after 100 steps.

    ## Arguments

    Of the world: `items` (12,000, up to a million), `topics` (20), `dimensions` (16), `seed` of the catalogue and the
    market (0), `cold_start`, the share of users without a profile (0.1), `profile_noise` (1.0), `quality_correlation`
    of the quality signal with the true quality (0.7), `weeks` of the calendar of 12 in which sessions start, as first and
    one past the last ((0, 8), which leaves (8, 12), with other items, to evaluate on). The keywords `horizon`, `history`,
    `slate_size`, `candidates` (a number K, `"all"` or a component) and those of the parts of the `World` (`population`,
    `market`, `preference`, `choice`, `response`, `dynamics`, `departure`, `reward`) replace its own; a part is given as
    a component or in JSON form (`{"kind": "Cascade", "attention": 0.8}`). `world="open-bandit"`, a folder written by
    `World.save` or a `World` replaces the whole world. Of the environment: see `recgym.RecVectorEnv`.

    ## Version History

    * v0: first version. recgym 0.1.1 computes the same in another order: numbers may differ from 0.1.0 in their last digits.
    """


def world(
    *,
    items: int = 12_000,
    topics: int = 20,
    dimensions: int = 16,
    seed: int = 0,
    cold_start: float = 0.1,
    profile_noise: float = 0.7,
    quality_correlation: float = 0.8,
    weeks: tuple[int, int] = (0, 8),
    **parts: Any,
) -> World:
    """The newspaper; arguments as in `NewsEnv`."""
    check_sizes(items, topics, dimensions, seed, quality_correlation)
    require_weeks("weeks", weeks, WEEKS)
    rng = np.random.default_rng([seed, 2])
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    clickbait = rng.beta(1.0, 1.5, items)
    signal = noisy_copy(rng, quality, quality_correlation)
    hype = np.clip(clickbait + 0.15 * rng.standard_normal(items), 0, 1)
    appeal = 0.3 * quality + 0.6 * (clickbait - 0.4) + 0.7 * rng.standard_normal(items)
    rate = logging_rate(appeal + 2.0 * clickbait, 0.04)
    return World.of(
        parts,
        catalog=Catalog(
            embedding,
            topic,
            np.stack([quality, clickbait, signal / 3, hype], axis=1),
            ("quality", "clickbait", "quality_signal", "hype"),
            topics,
            visible=("quality_signal", "hype"),
        ),
        population=TopicMixture(
            centroids,
            cold_start=cold_start,
            profile_noise=profile_noise,
            weeks=weeks,
            sensitivity={"freshness": (1.0, 0.3), "popularity": (1.0, 0.3)},
            traits={"stamina": (18.0, 0.2, 5.0, 50.0)},
        ),
        market=NewsMarket.draw(rng, topic, appeal, topics, rate),
        candidates=Retrieval(),
        preference=DotProduct(3.0, {"clickbait": 2.5}, {"fatigue": -1.0}),
        choice=Cascade(attention=0.8, continuation=0.6, threshold=6.0),
        response=Dwell(level=-0.6, quality=0.4, gap=0.8, mood=0.5, sigma=1.4),
        dynamics=(
            TwoSpeedDrift(),
            Fatigue(ignored=0.1, clicked=0.3, half_life=20.0),
            Satisfaction(memory=0.65, level=1.0, attributes={"quality": 1.5, "clickbait": -4.0}),
        ),
        departure=Sessions(restore=0.5, loyalty=0.95),
        reward=Weighted({"click": 1.0, "dwell": 0.5}),
        embeddings=False,
    )
