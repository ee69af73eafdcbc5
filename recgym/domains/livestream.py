"""Live streams: when to recommend something, and when to leave a viewer in peace. Maths: `LiveStreamEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.domains.ecommerce import check_sizes, logging_rate
from recgym.envs import RecEnv
from recgym.market import WEEKS, LiveMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Budget
from recgym.models.dynamics import Adaptation, Fatigue, InterestDrift
from recgym.models.preference import Loyal
from recgym.models.response import Watch
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics, noisy_copy, require_weeks
from recgym.world import World


class LiveStreamEnv(RecEnv):
    """Live streams: a viewer browses or watches, and the agent recommends one of 20 streams on air, or nothing.

    ## Description

    A step is a decision epoch of at most 3 minutes. Streamers go on and off air once a day; heat = audience x ramp-up x
    highlight; the content of a stream has good and dull moments. Utility: v = 4 u.x + 0.5 q + h_u heat + c_u content
    - 0.5 fatigue[topic] + 0.3 log(1 + minutes with this streamer). A viewer joins a stream by multinomial logit. The
    alternative is to go on as before: browsing has the utility 3; staying with the stream on screen has 3 + w, where
    w = v + 0.5 with the v of that stream, so that 0.5 is an inertia. From here on v stands for w if the viewer stays.
    The minutes watched are exponential with mean e^(1 + 0.6 v), cut by the epoch, the end of the stream and the
    viewer's time budget; a viewer who watches less than the epoch is back to browsing. A like, once per visit, has
    probability sigmoid(-2.5 + 0.6 v). A gift, in any step of watching, has probability
    sigmoid(-5 + 0.6 v + 0.3 log(1 + minutes with this streamer)); its amount is log-normal with median 1, and at most
    what is left in the wallet.

    What links today to tomorrow: **action 0 recommends nothing**. Each recommendation to a viewer who is watching costs
    1.3 of the viewer's patience (about 10), a step of browsing costs 0.4, and watching with enjoyment gives some back.
    Recommending for the next click breaks visits and drives viewers away.

    ## Action Space

    `recgym/LiveStream-v0`: `Discrete(21)`, 0 = nothing, k = candidate k - 1. `recgym/LiveStreamSlate-v0`:
    `MultiDiscrete([21] * 5)`, top position first; a stream repeated in a slate counts once. `action="embedding"`:
    `Box(-1, 1, (17,))`, for the candidates with the largest inner products, if these exceed the last coordinate.
    `null_action=False` takes "nothing" away.

    ## Observation Space

    What the platform knows. Interests and moods are hidden, so this is a POMDP. `observation="flat"` (default) is a
    float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for debugging.
    `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (P,) | noisy taste profile (zero for a cold user), whether it is known, session progress, time of day, what the last slate led to, whether the viewer is watching, minutes of this visit, whether it was liked |
    | `history` | (10, d + C) | the last clicked items, latest first: embedding and what came of them |
    | `candidates` | (K, d + 7) | embedding, quality signal, heat, time on air, click rate, match to the profile, match to the recent history, recent exposure of the topic |
    | `mask` | (K,) | 1 where there is a candidate |

    ## Rewards

    1 for a click (joining a stream), 2 for a long_watch (once per visit, when it reaches 5 minutes), 3 for a like. The
    objectives are click, watch (minutes), long_watch, like and gift (currency units):
    `reward={"watch": 1.0, "gift": 5.0}` gives them other weights, `reward="vector"` pays all five. The exposure of each
    streamer follows from `info["slate"]`.

    ## Starting State

    A new viewer, browsing, whose interest mixes 2 to 4 topics; patience log-normal around 10, a time budget around 90
    minutes, a wallet, a random minute of the weeks `weeks`, more often in the evening. 10 % of the viewers have no profile.

    ## Episode End

    Terminated when the patience or the time budget is spent, truncated after 100 steps.

    ## Arguments

    Of the world: `items` (6000, up to a million), `topics` (20), `dimensions` (16), `seed` of the catalogue and the
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
    items: int = 6000,
    topics: int = 20,
    dimensions: int = 16,
    seed: int = 0,
    cold_start: float = 0.1,
    profile_noise: float = 0.7,
    quality_correlation: float = 0.8,
    weeks: tuple[int, int] = (0, 8),
    **parts: Any,
) -> World:
    """The platform; arguments as in `LiveStreamEnv`."""
    check_sizes(items, topics, dimensions, seed, quality_correlation)
    require_weeks("weeks", weeks, WEEKS)
    rng = np.random.default_rng([seed, 3])
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    signal = noisy_copy(rng, quality, quality_correlation)
    appeal = noisy_copy(rng, quality, 0.5)
    rate = logging_rate(0.5 * appeal, 0.28)
    return World.of(
        parts,
        catalog=Catalog(
            embedding,
            topic,
            np.stack([quality, signal / 3], axis=1),
            ("quality", "quality_signal"),
            topics,
            visible=("quality_signal",),
        ),
        population=TopicMixture(
            centroids,
            cold_start=cold_start,
            profile_noise=profile_noise,
            weeks=weeks,
            sensitivity={"heat": (6.0, 0.2), "content": (0.7, 0.3)},
            traits={
                "stamina": (10.0, 0.3, 2.0, 40.0),
                "budget": (240.0, 0.3, 30.0, 900.0),
                "wallet": (10.0, 1.0, 0.0, 1000.0),
            },
        ),
        market=LiveMarket.draw(rng, appeal, rate),
        candidates=Retrieval(),
        preference=Loyal(
            3.0,
            {"quality": 0.3},
            topics={"fatigue": -0.5},
            users={"level": -6.0},
            loyalty=0.3,
            browsing=3.0,
            inertia=1.0,
        ),
        choice=MultinomialLogit(null=0.0, decay=0.5),
        response=Watch(stay=-0.5, slope=0.8, enjoy=-3.0, like=-7.6, gift=-9.5),
        dynamics=(
            InterestDrift(),
            Fatigue(ignored=0.1, half_life=20.0),
            Adaptation("heat_seen", memory=0.7, limit=1.0, initial=0.4),
        ),
        departure=Budget(prompt=1.0, browse=1.0, recovery=2.0),
        reward=Weighted({"watch": 0.1, "like": 1.0, "gift": 2.0}),
        embeddings=False,
    )
