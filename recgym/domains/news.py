"""News: what is fresh, what is popular, and what the reader was glad to have read. Maths: `NewsEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.domains.ecommerce import check_arguments, drawn_once, logging_rate
from recgym.envs import RecEnv
from recgym.market import NewsMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import Cascade
from recgym.models.departure import Sessions
from recgym.models.dynamics import Fatigue, Satisfaction, TwoSpeedDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Dwell
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics, noisy_copy
from recgym.types import Array
from recgym.world import World


class NewsEnv(RecEnv):
    """News: a reader goes through one page after the other, which the agent fills from 20 retrieved articles of two days.

    ## Description

    A step is one page, of S articles. An article has the quality q (a standard normal number within +-3) and a
    clickbait in [0, 1], 0.4 on average. It is there for 48 hours; its freshness halves every 2 to 24 hours, by topic;
    its popularity is how much others read it, with bursts and breaking events that lift a topic. x is the embedding of
    the article and u the reader's interest, both of length 1. The utility of the article is

        v = 3 u.x + 2.5 clickbait + f freshness + g popularity - fatigue[topic]

    where f = exp(0.3 n - 0.045) and g = exp(0.3 n - 0.045) differ from reader to reader; each n is a standard normal
    number. The reader goes down the page as in a cascade: clicks an article that is looked at with probability

        a = sigmoid(v - 6)

    and looks at the next one with probability 0.8, or 0.48 after a click. The minutes on a clicked article are
    log-normal: their logarithm has the mean

        -0.6 + 0.4 q - 0.8 clickbait + 0.5 (s - 0.5)

    and the standard deviation 1.4, and they are at most 15. A click is satisfied when it is read for more than 0.5
    minutes; a satisfied reader shares the article with probability sigmoid(-3 + 0.4 q). A page takes 0.25 minutes, plus
    those of reading.

    **What links today to tomorrow: the peak-end rule.** How a visit is remembered depends on how it ended (Kahneman,
    Fredrickson, Schreiber and Redelmeier, Psychological Science 4(6), 401-405, 1993). The satisfaction s has a short memory
    of what was shown, where good articles raise it and clickbait lowers it:

        s <- 0.65 s + 0.35 (least over the articles shown of sigmoid(1 + 1.5 q - 4 clickbait)), within [0, 1].

    Each step costs 1 of the reader's patience, and each satisfied click gives 0.5 back, up to what it was at first.
    When it has run out, the session is over: with probability 0.95 s^2 the reader returns 60 to 360 minutes later, with
    full patience, else never. So clickbait early in a session earns clicks, and at its end it loses the reader; what is
    due depends on the time in the session, which the platform sees (`pages`, at most 50).

    Besides, in each step: clicks pull a fast and a slow interest, one clicked article after the other, fast <-
    normalise(0.9 fast + 0.1 x) and slow <- normalise(0.99 slow + 0.01 x); then u = normalise(0.5 fast + 0.5 slow).
    Fatigue halves every 20 minutes, those away included; then each article shown adds 0.1 to its topic, or 0.3 if it is
    clicked, up to 3.

    The calendar has 12 weeks. 20 of the articles that are there are retrieved for a step: the best match in each of 20
    random groups of 4, sorted by match. The match is the inner product of the article's embedding with the taste
    profile plus the mean embedding of the last clicked articles. The click rate of an article is that of its life up to
    now, under a policy of the past: it does not depend on the agent, nor does its popularity.

    ## Action Space

    `recgym/News-v0`, S = 1: `Discrete(20)`, the candidate shown. `recgym/NewsSlate-v0`, S = 5: `MultiDiscrete([20]
    * 5)`, top position first; an article repeated in a slate counts once. `action="embedding"`: `Box(-1, 1,
    (16,))`, for the candidates with the largest inner products. `action="weights"`: `Box(-1, 1, (9,))`, for those
    with the largest weighted sums of visible numbers (recgym.actions.WeightsAction). `null_action=True` makes 0
    "show nothing".

    ## Observation Space

    What the platform knows. Interests, satisfaction and patience are hidden, so this is a POMDP. `observation="flat"`
    (default) is a float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for
    debugging. `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (9,) | whether there is a taste profile, session progress, sine and cosine of the time of day, clicks, minutes / 15, satisfied clicks and shares of the last step, pages / 50 |
    | `history` | (10, 4) | of the last clicked articles, latest first: click, minutes / 15, satisfied click, share |
    | `candidates` | (20, 9) | quality signal (correlates 0.8 with q), hype (a noisy look at clickbait), freshness, popularity, age, click rate, match to the profile, match to the history, recent exposure of the topic |
    | `mask` | (20,) | 1 where there is a candidate |

    `embeddings=True` adds the taste profile, 16 numbers, in front of `user`, and the embedding of the article, 16
    numbers, in front of each row of `history` and `candidates`.

    ## Rewards

    1 for a click and 0.5 per minute of reading. The objectives are click, dwell (minutes), satisfied_click (longer than
    half a minute), share and return (for another session): `reward={"satisfied_click": 1.0}` gives them other weights,
    `reward="vector"` pays all five. `like_dislike=True` pays +1 for a clicked article and -1 for an ignored one.

    ## Starting State

    A new reader, whose interest mixes 2 to 4 topics; satisfaction 0.5, no fatigue; a patience that is log-normal with
    median 18 steps and spread 0.2, within [5, 50]; a random minute of the weeks `weeks`, more often in the evening. 10
    % of the readers have no profile.

    ## Episode End

    Terminated when the patience has run out and the reader does not return, truncated after 100 steps.

    ## Levels

    How often things happen, in published data and here under the agent "popularity" (ids of S = 1 / S = 5):

    | figure | published | source | here |
    |---|---|---|---|
    | clicks per article shown | 4.05 % | MIND-small, 347,727 clicks of 8,584,442 (Wu et al., ACL 2020) | 4.5 % / 2.0 % |
    | minutes on an article, mean | 1.15 | EB-NeRD (Kruse et al. 2024, arXiv 2410.03432), statistics of its public sample by third parties | 1.05 / 0.91 |
    | minutes on an article, median | 0.35 | EB-NeRD, likewise | 0.39 / 0.36 |
    | read for more than half a minute | 46 % | EB-NeRD, likewise | 43 % / 38 % |

    MIND-small has 1.51 clicks per impression log, which is a list of 37 articles; a page here has 1 or 5, so that
    figure has no counterpart. Nor have shares and returns, for which nothing published was found.

    ## Arguments

    Of the world: `items` of the catalogue (12,000, up to a million), `topics`, each item being of one (20), `dimensions`
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
            sensitivity={"freshness": (1.0, 0.3), "popularity": (1.0, 0.3)},
            traits={"stamina": (18.0, 0.2, 5.0, 50.0)},
        ),
        market=market,
        candidates=Retrieval(),
        preference=DotProduct(3.0, {"clickbait": 2.5}, {"fatigue": -1.0}),
        choice=Cascade(attention=0.8, continuation=0.6, threshold=6.0),
        response=Dwell(level=-0.6, quality=0.4, gap=0.8, mood=0.5, sigma=1.4),
        dynamics=(
            TwoSpeedDrift(),
            Fatigue(ignored=0.1, clicked=0.3, half_life=20.0),
            Satisfaction(memory=0.65, level=1.0, attributes={"quality": 1.5, "clickbait": -4.0}, by="least"),
        ),
        departure=Sessions(restore=0.5, loyalty=0.95),
        reward=Weighted({"click": 1.0, "dwell": 0.5}),
        embeddings=False,
    )


@drawn_once
def _drawn(
    items: int, topics: int, dimensions: int, seed: int, quality_correlation: float
) -> tuple[Array, Catalog, NewsMarket]:
    """Centroids of the topics, the catalogue and the calendar."""
    rng = np.random.default_rng([seed, 2])
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    clickbait = rng.beta(1.0, 1.5, items)
    signal = noisy_copy(rng, quality, quality_correlation)
    hype = np.clip(clickbait + 0.15 * rng.standard_normal(items), 0, 1)
    appeal = 0.3 * quality + 0.6 * (clickbait - 0.4) + 0.7 * rng.standard_normal(items)
    rate = logging_rate(appeal + 2.0 * clickbait, 0.04)
    attributes = np.stack([quality, clickbait, signal / 3, hype], axis=1)
    names, visible = ("quality", "clickbait", "quality_signal", "hype"), ("quality_signal", "hype")
    catalog = Catalog(embedding, topic, attributes, names, topics, visible=visible)
    return centroids, catalog, NewsMarket.draw(rng, topic, appeal, topics, rate)
