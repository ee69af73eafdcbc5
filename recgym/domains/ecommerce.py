"""E-commerce: click, cart, purchase, and a shopper who comes to trust the shop, or not. Maths: `EcommerceEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.errors import require, require_count, require_number
from recgym.market import WEEKS, ShopMarket
from recgym.models.candidates import Retrieval
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Hazard
from recgym.models.dynamics import Adaptation, Fatigue, InterestDrift, Satiation, Satisfaction
from recgym.models.preference import DotProduct
from recgym.models.response import Funnel
from recgym.models.reward import Weighted
from recgym.population import TopicMixture, draw_items, draw_topics, noisy_copy, require_weeks
from recgym.world import World


class EcommerceEnv(RecEnv):
    """A shop: a shopper browses, and the agent fills the shelf from 20 retrieved candidates.

    ## Description

    Utility of item i for user u: v = 4 u.x_i + 0.2 q_i + 0.6 brand_i - b_u log(price / reference price)
    - satiation[topic] - 0.5 fatigue[topic]. A step has at most one click, by multinomial logit against a null of 4.5;
    a position costs 0.5 log(1 + position). A clicked item goes into the cart with probability sigmoid(v - 4) and is
    then bought at once with probability sigmoid(v - 5.1 - log relative price). Otherwise it waits in the cart, which
    holds five items, and is bought later with probability 0.8 % per step.

    What links today to tomorrow: the satisfaction s of the shopper follows the *quality* of what is shown, s <- 0.85 s
    + 0.15 mean sigmoid(2 q + 0.5 u.x), where u is the interest after the clicks of this step, and bad purchases are
    regretted. The probability of leaving is sigmoid(-0.8 - 5.5 s + 0.05 fatigue). Quality hardly moves clicks, so the
    policy that is best for the next click loses its customers. Clicks pull the interest; a purchase satiates its
    category, with a half-life of an hour, and raises the appetite for the complementary one; items that are shown and
    not clicked tire the shopper of their topic.

    ## Action Space

    `recgym/Ecommerce-v0`: `Discrete(20)`, the candidate shown. `recgym/EcommerceSlate-v0`: `MultiDiscrete([20] * 5)`,
    top position first; an item repeated in a slate counts once. `action="embedding"`: `Box(-1, 1, (16,))`, for the
    candidates with the largest inner products. `null_action=True` makes 0 "show nothing".

    ## Observation Space

    What the platform knows. Interests and moods are hidden, so this is a POMDP. `observation="flat"` (default) is a
    float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for debugging.
    `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (P,) | noisy taste profile (zero for a cold user), whether it is known, session progress, time of day, what the last slate led to, how full the cart is |
    | `history` | (10, d + C) | the last clicked items, latest first: embedding and what came of them |
    | `candidates` | (K, d + 10) | embedding, quality signal, brand, log relative price, discount, price, popularity, click rate, match to the profile, match to the recent history, recent exposure of the topic |
    | `mask` | (K,) | 1 where there is a candidate |

    ## Rewards

    1 for a click; for a purchase another 5, and 0.5 times the satisfaction. The objectives are click, cart, purchase,
    revenue (currency units) and satisfaction: `reward={"revenue": 1.0}` gives them other weights, `reward="vector"` pays
    all five. `like_dislike=True` pays +1 for a clicked item and -1 for an ignored one. `info["objectives"]` always has
    the vector.

    ## Starting State

    A new user, whose interest mixes 2 to 4 categories; a log-normal price sensitivity, satisfaction 0.5, an empty cart,
    a random minute of the weeks `weeks`. 10 % of the users have no profile.

    ## Episode End

    Terminated when the shopper leaves, truncated after 100 steps.

    ## Arguments

    Of the world: `items` (6000, up to a million), `topics` (20), `dimensions` (16), `seed` of the catalogue and the
    market (0), `cold_start`, the share of users without a profile (0.1), `profile_noise` (1.0), `quality_correlation`
    of the quality signal with the true quality (0.7), `weeks` of the calendar of 12 in which sessions start, as first and
    one past the last ((0, 8), which leaves (8, 12), with other items, to evaluate on), `price_sensitivity` (1.0). The keywords `horizon`, `history`,
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
    price_sensitivity: float = 1.0,
    **parts: Any,
) -> World:
    """The shop; arguments as in `EcommerceEnv`."""
    check_sizes(items, topics, dimensions, seed, quality_correlation)
    require_weeks("weeks", weeks, WEEKS)
    require_number("price_sensitivity", price_sensitivity, 0, 100)
    rng = np.random.default_rng([seed, 1])
    centroids = draw_topics(rng, topics, dimensions)
    topic, embedding = draw_items(rng, items, centroids)
    quality = np.clip(rng.standard_normal(items), -3, 3)
    signal = noisy_copy(rng, quality, quality_correlation)
    brand = noisy_copy(rng, quality, 0.3)
    reference_price = np.exp(rng.normal(3.5, 0.6, topics))
    log_price = np.clip(0.45 * rng.standard_normal(items) + 0.1 * quality, -1.2, 1.2)
    price = np.minimum(reference_price[topic] * np.exp(log_price), 10_000)
    rate = logging_rate(0.2 * quality + 0.4 * brand - 2.3 * price_sensitivity * log_price, 0.04)
    return World.of(
        parts,
        catalog=Catalog(
            embedding,
            topic,
            np.stack([quality, signal / 3, brand / 3], axis=1),
            ("quality", "quality_signal", "brand"),
            topics,
            visible=("quality_signal", "brand"),
        ),
        population=TopicMixture(
            centroids,
            cold_start=cold_start,
            profile_noise=profile_noise,
            weeks=weeks,
            sensitivity={"log_price": (-2.3 * price_sensitivity, 0.2), "popularity": (0.5, 0.3)},
        ),
        market=ShopMarket.draw(rng, log_price, price, rate),
        candidates=Retrieval(),
        preference=DotProduct(
            2.5,
            {"quality": 0.2, "brand": 1.2},
            topics={"satiation": -1.0, "fatigue": -0.5},
            users={"level": 2.0 * price_sensitivity},
        ),
        choice=MultinomialLogit(null=4.9, decay=0.5),
        response=Funnel(cart=-6.5, purchase=-6.8, hazard=0.008),
        dynamics=(
            InterestDrift(),
            Satiation(),
            Fatigue(),
            Adaptation("offers", memory=0.8),
            Satisfaction(memory=0.85, level=-0.3, attributes={"quality": 2.0}, match=0.5, price=1.0, regret=0.2),
        ),
        departure=Hazard(level=-1.0, satisfaction=5.5, fatigue=0.05),
        reward=Weighted({"click": 1.0, "purchase": 10.0}),
        embeddings=False,
    )


def logging_rate(appeal: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """(N,) click rates of items under logging: proportional to exp(appeal), with a mean of about `mean`, within [0.001, 0.5]."""
    return np.clip(mean * np.exp(appeal) / np.exp(appeal).mean(), 0.001, 0.5)


def check_embeddings(name: str, rows: int, dimensions: int) -> None:
    """Require embeddings of at most 2 * 10^8 numbers, which take 1.6 GB in the 64 bits that they are made in."""
    rule = f"must be at most {200_000_000 // dimensions:,} where there are {dimensions:,} dimensions"
    require(rows * dimensions <= 200_000_000, name, rule, rows)


def check_sizes(items: int, topics: int, dimensions: int, seed: int, quality_correlation: float) -> None:
    """The rules that all three domains share."""
    require_count("items", items, 1, 1_000_000)  # they take 8 GiB in the news, and less in the other domains
    require_count("topics", topics, 1, 100_000)
    require_count("dimensions", dimensions, 1, 4096)
    check_embeddings("items", items, dimensions)
    check_embeddings("topics", topics, dimensions)
    require_count("seed", seed, 0, 2**63)
    require_number("quality_correlation", quality_correlation, 0, 1)
