"""Live streams: when to recommend something, and when to leave a viewer in peace. Maths: `LiveStreamEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.domains.ecommerce import check_arguments, drawn_once, logging_rate
from recgym.envs import RecEnv
from recgym.market import LiveMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Budget
from recgym.models.dynamics import Adaptation, Fatigue, InterestDrift
from recgym.models.preference import Loyal
from recgym.models.response import Watch
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics, noisy_copy
from recgym.types import Array
from recgym.world import World


class LiveStreamEnv(RecEnv):
    """Live streams: a viewer browses or watches, and the agent recommends some of 20 streams on air, or nothing.

    ## Description

    A step is a time of at most 3 minutes, in which up to S streams are recommended. A stream has the quality q (a
    standard normal number within +-3). Its heat is audience x ramp-up x highlight, in [0, 1]; its content in [-1, 1]
    has good and dull moments, which the platform does not see. x is the embedding of the stream and u the viewer's
    interest, both of length 1. The utility of the stream is

        v = 3 u.x + 0.3 q + h heat + c content - 6 level - 0.5 fatigue[topic] + 0.3 ln(1 + minutes with this streamer)

    where h = 6 exp(0.2 n - 0.02) and c = 0.7 exp(0.3 n - 0.045) differ from viewer to viewer; each n is a standard
    normal number; minutes are remembered of 4 streamers, the least watched is forgotten first. The viewer joins the
    stream in position k = 1, 2, ... from the top with probability

        P(k) = exp(v_k - 0.5 ln k) / (exp(o) + sum over j of exp(v_j - 0.5 ln j))

    and else goes on as before, which has the utility o: browsing has o = 3; staying with the stream on screen has o = v
    + 1 with the v of that stream, so that 1 is an inertia. The stream on screen cannot be joined. From here on, w is
    the v of a stream that was joined, or the o of one that was stayed with. The minutes watched in the step are
    exponential with mean

        exp(-0.5 + 0.8 w)

    and cut at 3, at the end of the stream and at what is left of the viewer's time. Whoever has watched 3 minutes goes
    on watching, any other viewer is back to browsing. A stream that is watched is liked with probability sigmoid(-7.6 +
    0.8 w), once per visit, and earns a gift with probability sigmoid(-9.5 + 0.8 w + 0.3 ln(1 + minutes with this
    streamer)); the amount is log-normal with median 1 and spread 1, at most what is left in the wallet. A step of
    browsing takes 1 minute.

    **What links today to tomorrow: an adaptation level.** Viewers get used to heat and feel only what exceeds it (Helson,
    Adaptation-Level Theory, 1964). After each step

        level <- 0.7 level + 0.3 (heat of the stream on screen, or the most heat in the slate where nothing was on screen),

    within +-1; where nothing was seen it stays. A dull stream makes the next hot one exciting; nothing but hot streams
    bore. Against that stands the patience. A recommendation to a viewer who is watching costs 1 of it, a step of
    browsing costs 1, and a step of watching gives back 2 (minutes / 3) sigmoid(w - 3), up to what it was at first.
    **Action 0 recommends nothing**: whoever always recommends breaks visits and drives viewers away.

    Besides, in each step: joining pulls the interest, u <- normalise(0.98 u + 0.02 x). Fatigue halves every 20 minutes;
    then each stream that is shown and not joined adds 0.1 to its topic, up to 3.

    The calendar has 12 weeks. Streamers live 4 weeks on average, and go on and off air once a day. 20 of the streams on
    air are retrieved for a step: the best match in each of 20 random groups of 4, sorted by match. The match is the
    inner product of the stream's embedding with the taste profile plus the mean embedding of the streams joined last.
    The click rate of a stream is that of its present life up to this week, under a policy of the past: it does not
    depend on the agent.

    ## Action Space

    `recgym/LiveStream-v0`, S = 1: `Discrete(21)`, 0 = nothing, k = candidate k - 1. `recgym/LiveStreamSlate-v0`, S
    = 5: `MultiDiscrete([21] * 5)`, top position first; a stream repeated in a slate counts once.
    `action="embedding"`: `Box(-1, 1, (17,))`, for the candidates with the largest inner products, if these exceed
    the last coordinate. `action="weights"`: `Box(-1, 1, (8,))`, for those with the largest weighted sums of visible
    numbers, if these exceed three times the last coordinate (recgym.actions.WeightsAction). `null_action=False`
    takes "nothing" away.

    ## Observation Space

    What the platform knows. Interest, patience and wallet are hidden, so this is a POMDP. `observation="flat"`
    (default) is a float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for
    debugging. `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (12,) | whether there is a taste profile, session progress, sine and cosine of the time of day, joins, minutes / 3 in joined streams, likes and gifts of the last step, whether the viewer is watching, minutes of this visit / 30, whether it was liked, level |
    | `history` | (10, 4) | of the streams joined last, latest first: join, minutes / 3 of that step, like, gift |
    | `candidates` | (20, 7) | quality signal (correlates 0.8 with q), heat, time on air / 600 minutes, click rate, match to the profile, match to the history, recent exposure of the topic |
    | `mask` | (20,) | 1 where there is a candidate |

    `embeddings=True` adds the taste profile, 16 numbers, in front of `user`, and the embedding of the stream, 16
    numbers, in front of each row of `history` and `candidates`.

    ## Rewards

    0.1 per minute of watching, 1 for a like, 2 per currency unit of gifts. The objectives are click (joining a stream),
    watch (minutes), long_watch (once per visit, when it reaches 5 minutes), like and gift (currency units):
    `reward={"click": 1.0, "gift": 5.0}` gives them other weights, `reward="vector"` pays all five. The exposure of each
    streamer follows from `info["slate"]`.

    ## Starting State

    A new viewer, browsing, whose interest mixes 2 to 4 topics; level 0.4, no fatigue. Log-normal are the patience, with
    median 10 and spread 0.3, within [2, 40]; the time, with median 240 minutes and spread 0.3, within [30, 900]; the
    wallet, with median 10 currency units and spread 1, within [0, 1000]. A random minute of the weeks `weeks`, more
    often in the evening. 10 % of the viewers have no profile.

    ## Episode End

    Terminated when the patience or the time is spent, truncated after 100 steps.

    ## Levels

    How often things happen, in published data and here under the agent "popularity", which shows the hottest streams
    (ids of S = 1 / S = 5). All of it is KuaiLive's (Qu et al. 2025, arXiv 2508.05633): 4,909,515 clicks, 12,705,835
    exposures without a click, 179,311 likes and 72,646 gifts of users who did all four.

    | figure | published | here |
    |---|---|---|
    | clicks per stream shown | 27.9 % | 20.8 % / 6.3 % |
    | likes per click | 3.65 % | 5.6 % / 3.3 % |
    | gifts per click | 1.48 % | 2.2 % / 1.2 % |
    | minutes per click, mean | 8.6 | 6.6 / 4.5 |
    | minutes per click, median | 0.08 (5 seconds) | 3.0 / 2.4 |

    The published users were chosen for having done all four, so that others like and give more rarely. Most of their
    visits are a glance of seconds; a glance is no join here, where a step takes minutes, and the median has no
    counterpart.

    ## Arguments

    Of the world: `items` of the catalogue (6000, up to a million), `topics`, each item being of one (20), `dimensions`
    of embeddings and interests (16), `seed` of the catalogue and the market (0), `cold_start`, the share of users
    without a profile (0.1), `profile_noise`, how far a profile is from the interest (0.7), `quality_correlation` of
    the quality signal with the true quality (0.8), `weeks` of the calendar of 12 in which sessions start, as first
    and one past the last ((0, 8), which leaves (8, 12), with other items, to evaluate on). The keywords `horizon`,
    `history`, `embeddings` (False), `slate_size`, `candidates` (a number K, `"all"` or a component) and those of the
    parts of the `World` (`population`, `market`, `preference`, `choice`, `response`, `dynamics`, `departure`, `reward`)
    replace its own; a part is given as a component or in JSON form (`{"kind": "Cascade", "attention": 0.8}`).
    `world="open-bandit"`, a folder written by `World.save` or a `World` replaces the whole world. Of the environment:
    see `recgym.RecVectorEnv`.

    ## Version History

    * v0: as of recgym 0.2.0. Drafts of 0.1 had other dynamics, in which rules of one line won; no results of theirs compare.
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
    check_arguments(items, topics, dimensions, seed, quality_correlation, weeks)
    centroids, catalog, market = _drawn(items, topics, dimensions, seed, quality_correlation)
    return World.of(
        parts,
        catalog=catalog,
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
        market=market,
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
            Adaptation("heat_seen", "most", memory=0.7, limit=1.0, initial=0.4),
        ),
        departure=Budget(prompt=1.0, browse=1.0, recovery=2.0),
        reward=Weighted({"watch": 0.1, "like": 1.0, "gift": 2.0}),
        embeddings=False,
    )


@drawn_once
def _drawn(
    items: int, topics: int, dimensions: int, seed: int, quality_correlation: float
) -> tuple[Array, Catalog, LiveMarket]:
    """Centroids of the topics, the catalogue and the calendar."""
    rng = np.random.default_rng([seed, 3])
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    signal = noisy_copy(rng, quality, quality_correlation)
    appeal = noisy_copy(rng, quality, 0.5)
    rate = logging_rate(0.5 * appeal, 0.28)
    attributes = np.stack([quality, signal / 3], axis=1)
    catalog = Catalog(embedding, topic, attributes, ("quality", "quality_signal"), topics, visible=("quality_signal",))
    return centroids, catalog, LiveMarket.draw(rng, appeal, rate)
