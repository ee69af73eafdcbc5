"""E-commerce: click, cart, purchase, and a shopper who comes to trust the shop, or not. Maths: `EcommerceEnv`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, wraps
from typing import Any, TypeVar

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

Drawn = TypeVar("Drawn")
MOST_KEPT = 50_000  # items: a calendar of more takes up to hundreds of megabytes


class EcommerceEnv(RecEnv):
    """A shop: a shopper looks at one shelf after the other, and the agent fills it from 20 retrieved items.

    ## Description

    A step is one shelf, of S items, and takes half a minute. There, item i has the quality q (a standard normal number
    within +-3), a brand in [-1, 1] that correlates with it, and a relative price p, the logarithm of its price over the
    usual price of its category; promotions lower p by ln(1 - discount) for 12 to 48 hours of each week. x is the item's
    embedding and u the shopper's interest, both of length 1. The utility of the item is

        v = 2.5 u.x + 0.2 q + 1.2 brand - b p + 2 level + c popularity - satiation[topic] - 0.5 fatigue[topic]

    where b = 2.3 exp(0.2 n - 0.02) and c = 0.5 exp(0.3 n - 0.045) differ from shopper to shopper; each n is a standard
    normal number. At most one item is clicked: that in position k = 1, 2, ... from the top with the probability

        P(k) = exp(v_k - 0.5 ln k) / (exp(4.9) + sum over j of exp(v_j - 0.5 ln j)).

    A clicked item goes into the cart with probability sigmoid(v - 6.5), and is then bought at once with probability
    sigmoid(v - 6.8 - p). Otherwise it stays in the cart, which holds five items, the newest first. Each item that is in
    the cart before a step is bought in it with probability 0.008, at the price that it had.

    **What links today to tomorrow: a reference price.** Shoppers get used to the prices that they are shown, and judge an
    offer against these (Kalyanaram and Winer, Marketing Science 14(3), G161-G169, 1995; Greenleaf, Marketing Science 14(1),
    82-104, 1995; Popescu and Wu, Operations Research 55(3), 413-429, 2007). After each step

        level <- 0.8 level + 0.2 (least p of the items shown), within +-2.

    Dear items earn little now, but whoever has just seen them finds the next offer cheap; a shop that is always cheap
    is soon taken for granted. Against that stands the satisfaction s, which follows quality, match and price of what is
    shown:

        s <- 0.85 s + 0.15 (mean over the items shown of sigmoid(-0.3 + 2 q + 0.5 u.x - p)),

    less 0.2 sigmoid(-2 q) for each item bought, within [0, 1]. The shopper leaves after the step with probability
    sigmoid(-1 - 5.5 s + 0.05 F), where F is the sum of the fatigue over all topics. So the price earns the click,
    quality keeps the customer, and both depend on what was shown before. Where nothing is shown, level and s stay (but
    for what was bought).

    Besides, in each step: a click pulls the interest, u <- normalise(0.98 u + 0.02 x), before s is computed. Satiation
    halves every 60 minutes; then each item bought adds 2 to its topic and takes 0.7 from the complementary one (topics
    0 and 1, 2 and 3, ...), within +-4. Fatigue halves every 5 minutes; then each item that is shown and not clicked
    adds 0.1 to its topic, up to 3.

    The calendar has 12 weeks. Items live 4 weeks on average, are out of stock 5 % of the time, and 20 of those in stock
    are retrieved for a step: the best match in each of 20 random groups of 4, sorted by match. The match is the inner
    product of the item's embedding with the taste profile plus the mean embedding of the last clicked items. Popularity
    (views) and click rate of an item are those of its present life up to this week, under a policy of the past: they do
    not depend on the agent.

    ## Action Space

    `recgym/Ecommerce-v0`, S = 1: `Discrete(20)`, the candidate shown. `recgym/EcommerceSlate-v0`, S = 5:
    `MultiDiscrete([20] * 5)`, top position first; an item repeated in a slate counts once. `action="embedding"`:
    `Box(-1, 1, (16,))`, for the candidates with the largest inner products. `action="weights"`: `Box(-1, 1,
    (10,))`, for those with the largest weighted sums of visible numbers (recgym.actions.WeightsAction).
    `null_action=True` makes 0 "show nothing".

    ## Observation Space

    What the platform knows. Interest, satisfaction and moods are hidden, so this is a POMDP. `observation="flat"`
    (default) is a float32 `Box` vector, `"dict"` has the same numbers by block, `"latent"` adds the hidden state for
    debugging. `env.unwrapped.observation_layout` maps the names of the blocks to slices, shapes and named parts:

    | block | shape | content |
    |---|---|---|
    | `user` | (9,) | whether there is a taste profile, session progress, sine and cosine of the time of day, clicks, carts and purchases of the last step, share of the cart that is full, level / 2 |
    | `history` | (10, 3) | of the last clicked items, latest first: click, cart, purchase |
    | `candidates` | (20, 10) | quality signal (correlates 0.8 with q), brand, log relative price p, discount, price (hundreds), popularity, click rate, match to the profile, match to the history, recent exposure of the topic |
    | `mask` | (20,) | 1 where there is a candidate |

    `embeddings=True` adds the taste profile, 16 numbers, in front of `user`, and the embedding of the item, 16 numbers,
    in front of each row of `history` and `candidates`. Then what an item is can be learned, not only how well it
    matches.

    ## Rewards

    1 for a click and 10 for a purchase. The objectives are click, cart, purchase, revenue (currency units) and
    satisfaction (that of the shopper before the step, whatever happens in it): `reward={"revenue": 1.0}` gives them
    other weights, `reward="vector"` pays all five. `like_dislike=True` pays +1 for a clicked item and -1 for an ignored
    one. `info["objectives"]` always has the vector.

    ## Starting State

    A new shopper, whose interest mixes 2 to 4 topics; level 0, satisfaction 0.5, no fatigue, no satiation, an empty
    cart; a random minute of the weeks `weeks`, more often in the evening. 10 % of the shoppers have no profile.

    ## Episode End

    Terminated when the shopper leaves, truncated after 100 steps.

    ## Levels

    How often things happen, in published data and here under the agent "popularity" (ids of S = 1 / S = 5):

    | figure | published | source | here |
    |---|---|---|---|
    | clicks per impression | 4.05 % | Ali-CCP (Ma et al., SIGIR 2018, arXiv 1804.07931) | 6.0 % / 1.4 % |
    | carts per click | 8.68 %; 2.6 % per view | OTTO (otto-de/recsys-dataset: 194,720,954 clicks, 16,896,191 carts, 5,098,951 orders); Retailrocket (data card), the lower end | 6.8 % / 5.5 % |
    | purchases per click | 2.62 %; 0.84 % per view | OTTO; Retailrocket | 4.0 % / 3.0 % |
    | clicks per session | 3.57 | YooChoose (RecSys Challenge 2015) | 3.0 / 2.3 |

    OTTO and Retailrocket count clicks and views that no recommendation led to, and carts of items that were found
    otherwise; their sessions are not ours, so only these ratios compare. Nothing published says how satisfied shoppers
    are.

    ## Arguments

    Of the world: `items` of the catalogue (6000, up to a million), `topics`, each item being of one (20), `dimensions`
    of embeddings and interests (16), `seed` of the catalogue and the market (0), `cold_start`, the share of users
    without a profile (0.1), `profile_noise`, how far a profile is from the interest (0.7), `quality_correlation` of
    the quality signal with the true quality (0.8), `weeks` of the calendar of 12 in which sessions start, as first
    and one past the last ((0, 8), which leaves (8, 12), with other items, to evaluate on), `price_sensitivity` (1.0), a
    factor on b and on the coefficient of the level. The keywords `horizon`, `history`, `embeddings` (False),
    `slate_size`, `candidates` (a number K, `"all"` or a component) and those of the parts of the `World` (`population`,
    `market`, `preference`, `choice`, `response`, `dynamics`, `departure`, `reward`) replace its own; a part is given as
    a component or in JSON form (`{"kind": "Cascade", "attention": 0.8}`). `world="open-bandit"`, a folder written by
    `World.save` or a `World` replaces the whole world. Of the environment: see `recgym.RecVectorEnv`.

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
    price_sensitivity: float = 1.0,
    **parts: Any,
) -> World:
    """The shop; arguments as in `EcommerceEnv`."""
    check_arguments(items, topics, dimensions, seed, quality_correlation, weeks)
    require_number("price_sensitivity", price_sensitivity, 0, 100)
    centroids, catalog, market = _drawn(items, topics, dimensions, seed, quality_correlation, price_sensitivity)
    return World.of(
        parts,
        catalog=catalog,
        population=TopicMixture(
            centroids,
            cold_start=cold_start,
            profile_noise=profile_noise,
            weeks=weeks,
            sensitivity={"log_price": (-2.3 * price_sensitivity, 0.2), "popularity": (0.5, 0.3)},
        ),
        market=market,
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
            Adaptation("offers", "least", memory=0.8),
            Satisfaction(memory=0.85, level=-0.3, attributes={"quality": 2.0}, match=0.5, price=1.0, regret=0.2),
        ),
        departure=Hazard(level=-1.0, satisfaction=5.5, fatigue=0.05),
        reward=Weighted({"click": 1.0, "purchase": 10.0}),
        embeddings=False,
    )


def drawn_once(draw: Callable[..., Drawn]) -> Callable[..., Drawn]:
    """A function of a domain, `draw(items, ...)`, that keeps the last few small things it gave.

    Worlds that differ in other parts share a catalogue and a calendar, so that only the first of many environments takes
    the time to draw them.
    """
    kept = lru_cache(maxsize=4)(draw)

    @wraps(draw)
    def drawn(items: int, *rest: float) -> Drawn:
        return (kept if items <= MOST_KEPT else draw)(items, *rest)

    return drawn


@drawn_once
def _drawn(
    items: int, topics: int, dimensions: int, seed: int, quality_correlation: float, price_sensitivity: float
) -> tuple[NDArray[np.float32], Catalog, ShopMarket]:
    """Centroids of the topics, the catalogue and the prices."""
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
    attributes = np.stack([quality, signal / 3, brand / 3], axis=1)
    names, visible = ("quality", "quality_signal", "brand"), ("quality_signal", "brand")
    catalog = Catalog(embedding, topic, attributes, names, topics, visible=visible)
    return centroids, catalog, ShopMarket.draw(rng, log_price, price, rate)


def logging_rate(appeal: NDArray[np.float64], mean: float) -> NDArray[np.float64]:
    """(N,) click rates of items under logging: proportional to exp(appeal), with a mean of about `mean`, within [0.001, 0.5]."""
    return np.clip(mean * np.exp(appeal) / np.exp(appeal).mean(), 0.001, 0.5)


def check_embeddings(name: str, rows: int, dimensions: int) -> None:
    """Require embeddings of at most 2 * 10^8 numbers, which take 1.6 GB in the 64 bits that they are made in."""
    rule = f"must be at most {200_000_000 // dimensions:,} where there are {dimensions:,} dimensions"
    require(rows * dimensions <= 200_000_000, name, rule, rows)


def check_arguments(
    items: int, topics: int, dimensions: int, seed: int, quality_correlation: float, weeks: tuple[int, int]
) -> None:
    """The rules that all three domains share."""
    require_count("items", items, 1, 1_000_000)  # they take 4.4 GB in live streams, and less in the other domains
    require_count("topics", topics, 1, 100_000)
    require_count("dimensions", dimensions, 1, 4096)
    check_embeddings("items", items, dimensions)
    check_embeddings("topics", topics, dimensions)
    require_count("seed", seed, 0, 2**63)
    require_number("quality_correlation", quality_correlation, 0, 1)
    require_weeks("weeks", weeks, WEEKS)
