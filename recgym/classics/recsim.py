"""RecSim's three environments: `InterestEvolutionEnv`, `LongTermSatisfactionEnv` and `InterestExplorationEnv`.

Ie et al., "RecSim: a configurable simulation platform for recommender systems", 2019, arXiv 1909.04847; the package
recsim 0.2.4. RecSim draws new documents at each step. Here the candidates come from a large catalogue, whose qualities
are the quantiles of the same distributions, so that the candidates of a step are different items.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.errors import require_count, require_number
from recgym.market import StaticMarket
from recgym.models.candidates import Uniform
from recgym.models.choice import FirstItem, MultinomialLogit, Proportional
from recgym.models.departure import Never, Spent
from recgym.models.dynamics import NetExposure, SignedDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks, Engagement, WatchTime
from recgym.models.reward import Weighted
from recgym.population import UniformInterests, UserTypes
from recgym.world import World


class InterestEvolutionEnv(RecEnv):
    """Videos of twenty topics: watching moves the interest, and good videos refill the viewer's time.

    ## Description

    Interest evolution, the environment of SlateQ (Ie et al. 2019, arXiv 1905.12767; recsim 0.2.4). A viewer with
    interest I ~ U[-1, 1]^20 and a budget of 200 minutes picks at most one of three videos, whatever their order: a video
    with the weight I[topic] + 1, nothing with the weight 2. A video is watched for w = min(budget, 4) minutes, and the
    budget changes by -w + (0.9 / 3.4) w q; a step without a click costs half a minute. The quality q ~ N(mu, 0.1) is not
    shown; mu runs from -3 to 0 over fourteen topics, and from 0 to 3 over the other six. The interest x in the topic of
    a watched video moves by 0.3 (1 - |x|)(1 - x): up with probability (x + 1) / 2, else down.

    ## Action Space

    `MultiDiscrete([10] * 3)`, over ten candidates that are drawn at each step. `candidates=20`, `slate_size=2` change it.

    ## Observation Space

    As in `EcommerceEnv`; the profile is the interest itself. The budget and the quality are hidden.

    ## Rewards

    Minutes watched. The objectives are click, watch (minutes) and quality (of the clicked video).

    ## Starting State

    A viewer with a new interest and 200 minutes.

    ## Episode End

    Terminated when the budget is spent, which always happens within about 400 steps: each step costs more than the best
    video gives back. The horizon is 1000.

    ## Arguments

    `items`, the number of items per topic (1000), and `seed` of the order of the catalogue (0).

    ## The original

    It draws choices, drift and noise from NumPy's global generator, so that equal seeds give different episodes.
    `liked` is in its response space and never set; `attention_prob` and `score_scaling` have no effect. None of this
    is kept. Published returns (5000 users): random 159.2, myopic top-k 166.3, SlateQ 168.4 to 174.6.

    ## Version History

    * v0: first version. recgym 0.1.1 computes the same in another order: numbers may differ from 0.1.0 in their last digits.
    """


class LongTermSatisfactionEnv(RecEnv):
    """Chocolate or kale: clickbait engages now, and lowers the satisfaction that all engagement depends on.

    ## Description

    Long-term satisfaction ("choc / kale", recsim 0.2.4). Items have clickbait c ~ U[0, 1], and the user takes what is
    in the first position. The engagement e is log-normal, log e ~ N((5 c + 4 (1 - c)) sigmoid(s x), 1). The net
    exposure x is hidden; it begins as U(-5/3, 5/3) and changes by x <- 0.7 x - 2 (c - 1/2) + N(0, 0.05).

    With the sensitivity of the original, s = 0.01 (`recgym/LongTermSatisfaction-v0`), there is no trade-off: clickbait
    is always best, as for every s < ln(5/4) / 3.33 = 0.067. `recgym/LongTermSatisfaction-Hard-v0` has s = 0.1.

    ## Action Space

    `Discrete(10)`, over ten candidates that are drawn at each step.

    ## Observation Space

    As in `EcommerceEnv`; the embedding of an item is the number c - 1/2. There is no profile.

    ## Rewards

    Engagement. The objectives are click and engagement. Exact returns of 60 steps: random 948.4, and the best policy
    with full information and ten candidates 1116.7 (s = 0.01); 952.5 and 1023.9 (s = 0.1). The tests have more.

    ## Starting State

    A user with a new net exposure.

    ## Episode End

    Truncated after 60 steps; nobody leaves before.

    ## Arguments

    `sensitivity` s (0.01, in Hard 0.1), `items` (10,001), `seed` of their order (0).

    ## The original

    It seeds its samplers with 0, whatever seed is given, and draws noise from NumPy's global generator. It ends episodes
    by a budget of 60 that each step lowers by one, and reports that as termination. Its documentation has the opposite
    sign of the exposure. None of this is kept; its default sensitivity is.

    ## Version History

    * v0: first version. recgym 0.1.1 computes the same in another order: numbers may differ from 0.1.0 in their last digits.
    """


class InterestExplorationEnv(RecEnv):
    """Two kinds of users and two topics: the agent has to find out which topic a user likes.

    ## Description

    Interest exploration (recsim 0.2.4). A user is of one of two hidden types, with probabilities 0.3 and 0.7. The
    affinities to the two topics are exp(N(m, 0.1)), with m = (0.1, 0.7) or (0.7, 0.1) by type, drawn once per user. Of
    the items, 80 % are of topic 1. Their quality is exp(N(0.8, 0.1)) in topic 0 and exp(N(0.2, 0.1)) in topic 1. A step
    has at most one click, by a logit of affinity + quality against 5.

    ## Action Space

    `MultiDiscrete([10] * 2)`, over ten candidates that are drawn at each step.

    ## Observation Space

    As in `EcommerceEnv`; the quality of the candidates is shown, and users have no profile.

    ## Rewards

    Clicks.

    ## Starting State

    A user of a new type. The state never changes.

    ## Episode End

    Truncated after 50 steps. The original never ends an episode.

    ## Arguments

    `items` (10,000), `seed` of their order (0).

    ## Version History

    * v0: first version. recgym 0.1.1 computes the same in another order: numbers may differ from 0.1.0 in their last digits.
    """


def interest_evolution(*, items: int = 1000, seed: int = 0, **parts: Any) -> World:
    """The world of `InterestEvolutionEnv`; `items` is the number of items per topic."""
    require_count("items", items, 1, 100_000)
    require_count("seed", seed, 0, 2**63)
    mean = np.concatenate([np.linspace(-3.0, 0.0, 14), np.linspace(0.0, 3.0, 6)])
    topic = np.repeat(np.arange(20), items)
    quality = mean[topic] + 0.1 * np.tile(_normal_quantiles(items), 20)
    order = np.random.default_rng([seed, 4]).permutation(len(topic))
    return World.of(
        parts,
        catalog=Catalog(np.eye(20)[topic[order]], topic[order], quality[order, None], ("quality",), 20),
        population=UniformInterests(20),
        market=StaticMarket.of(len(topic)),
        candidates=Uniform(10),
        preference=DotProduct(1.0),
        choice=Proportional(null=2.0, shift=1.0),
        response=WatchTime(length=4.0, budget=200.0, browse=0.5, bonus=0.9 / 3.4),
        dynamics=(SignedDrift(0.3),),
        departure=Spent("budget"),
        reward=Weighted({"watch": 1.0}),
        slate_size=3,
        horizon=1000,
    )


def long_term_satisfaction(*, sensitivity: float = 0.01, items: int = 10_001, seed: int = 0, **parts: Any) -> World:
    """The world of `LongTermSatisfactionEnv`."""
    require_number("sensitivity", sensitivity, 0, 100)
    require_count("items", items, 10, 10_000_000)
    require_count("seed", seed, 0, 2**63)
    clickbait = np.random.default_rng([seed, 5]).permutation((np.arange(items) + 0.5) / items)
    # The attribute that `NetExposure` reads as quality is 1/2 - c, so that x changes by -2 (c - 1/2).
    attributes = np.stack([clickbait, 0.5 - clickbait], axis=1)
    return World.of(
        parts,
        catalog=Catalog(clickbait[:, None] - 0.5, np.zeros(items), attributes, ("clickbait", "quality"), 1),
        population=UserTypes((1.0,), ((0.0,),), 0.0),
        market=StaticMarket.of(items),
        candidates=Uniform(10),
        preference=DotProduct(0.0),
        choice=FirstItem(),
        response=Engagement(choc=5.0, kale=4.0, sd=1.0),
        dynamics=(NetExposure(memory=0.7, quality=2.0, gap=0.0, sensitivity=sensitivity, noise=0.05, initial=5 / 3),),
        departure=Never(),
        reward=Weighted({"engagement": 1.0}),
        horizon=60,
    )


def interest_exploration(*, items: int = 10_000, seed: int = 0, **parts: Any) -> World:
    """The world of `InterestExplorationEnv`."""
    require_count("items", items, 10, 10_000_000)
    require_count("seed", seed, 0, 2**63)
    first = round(0.2 * items)
    topic = np.repeat([0, 1], [first, items - first])
    logs = np.concatenate([0.8 + 0.1 * _normal_quantiles(first), 0.2 + 0.1 * _normal_quantiles(items - first)])
    order = np.random.default_rng([seed, 6]).permutation(items)
    quality = np.exp(logs)[order]
    return World.of(
        parts,
        catalog=Catalog(np.eye(2)[topic[order]], topic[order], quality[:, None], ("quality",), 2, visible=("quality",)),
        population=UserTypes((0.3, 0.7), ((0.1, 0.7), (0.7, 0.1)), 0.1),
        market=StaticMarket.of(items),
        candidates=Uniform(10),
        preference=DotProduct(1.0, {"quality": 1.0}),
        choice=MultinomialLogit(null=5.0),
        response=Clicks(),
        dynamics=(),
        departure=Never(),
        reward=Weighted({"click": 1.0}),
        slate_size=2,
        horizon=50,
    )


def _normal_quantiles(n: int) -> NDArray[np.float64]:
    """(n,) quantiles of the standard normal at (j + 1/2) / n, scaled to variance 1."""
    z = np.array([NormalDist().inv_cdf((j + 0.5) / n) for j in range(n)])
    return z / math.sqrt(float((z**2).mean())) if n > 1 else z
