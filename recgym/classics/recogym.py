"""RecoGym's environment, `RecoGymEnv`."""

from __future__ import annotations

from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.domains.ecommerce import check_embeddings
from recgym.envs import RecEnv
from recgym.errors import require, require_count
from recgym.market import StaticMarket
from recgym.models.candidates import All
from recgym.models.choice import RareClick
from recgym.models.departure import Spent
from recgym.models.dynamics import OrganicSessions
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import NormalInterests
from recgym.world import World

PAIRED = 5000  # products whose pairs fit into memory: 12.5 million of them take 0.7 GB


class RecoGymEnv(RecEnv):
    """Advertisements between sessions of organic browsing, which tells what a user will click.

    ## Description

    RecoGym v1 (Rohde et al. 2018, arXiv 1808.00720; recogym 0.1.3). A user has an interest omega ~ N(0, I) in five
    dimensions, and views products i ~ softmax(Gamma omega + mu) unprompted, with Gamma ~ N(0, 1) and mu ~ N(0, 3). A
    step is one advertisement: product a is clicked with probability ff(beta_a . omega + mu_a), where
    ff(x) = sigmoid(5 sigmoid(2 sigmoid(0.3 x) - 2) - 6), which lies between 0.45 % and 2.93 %. After a click, and with
    probability 5 % in any step, a session of organic views begins; after 1 % of the advertisements the user leaves. A
    view is followed by another view (74 %), by advertisements (25 %), or by leaving (1 %). omega takes a step N(0, 0.1)
    each time that browsing begins or goes on, other than by a click. beta is Gamma, except that `flips` pairs of the
    most similar products exchange their rows of beta and mu.

    ## Action Space

    `Discrete(10)`: the product advertised.

    ## Observation Space

    `observation="compact"`: the last ten products viewed or clicked, and the share of each product in all views.

    ## Rewards

    Clicks on advertisements.

    ## Starting State

    A new user after a first session of views.

    ## Episode End

    Terminated when the user leaves, truncated after 1000 steps. The original never truncates; one user in 500 stays
    longer.

    ## Arguments

    `products` (10; up to a million, 5000 with flips), `dimensions` (5), `flips` (0), `seed` of Gamma and mu (0).

    ## The original

    There, one user in 26 leaves before the first advertisement; here nobody does, because a reset cannot end an episode,
    so averages are over users who see one. Here a session has at most 32 views; there, 0.007 % are longer. The original
    never uses `prob_leave_bandit`: both probabilities of leaving are 1 %. Its product ids are 16-bit integers, which
    overflow.

    ## Version History

    * v1: first version, named for the original's v1.
    """


def world(*, products: int = 10, dimensions: int = 5, flips: int = 0, seed: int = 0, **parts: Any) -> World:
    """The world of `RecoGymEnv`."""
    require_count("products", products, 2, 1_000_000)
    require_count("dimensions", dimensions, 1, 1000)
    require_count("flips", flips, 0, products // 2)
    rule = f"must be at most {PAIRED:,} where there are flips, as all pairs of products are compared"
    require(products <= PAIRED or not flips, "products", rule, products)
    check_embeddings("products", products, dimensions)
    require_count("seed", seed, 0, 2**63)
    rng = np.random.default_rng([seed, 8])
    return of(rng.standard_normal((products, dimensions)), rng.normal(0.0, 3.0, products), flips, **parts)


def of(gamma: np.ndarray, mu: np.ndarray, flips: int = 0, **parts: Any) -> World:
    """The world of given (P, K) affinities Gamma and (P,) appeals mu."""
    products, dimensions = gamma.shape
    swapped = flip(gamma, flips)
    return World.of(
        parts,
        catalog=Catalog(gamma[swapped], np.arange(products), mu[swapped, None], ("appeal",), products),
        population=NormalInterests(dimensions),
        market=StaticMarket.of(products),
        candidates=All(),
        preference=DotProduct(1.0, {"appeal": 1.0}),
        choice=RareClick(),
        response=Clicks(),
        dynamics=(OrganicSessions(gamma, mu),),
        departure=Spent("present"),
        reward=Weighted({"click": 1.0}),
        horizon=1000,
    )


def flip(gamma: np.ndarray, flips: int) -> np.ndarray:
    """(P,) order of the products in which `flips` pairs are exchanged, those with the largest inner products first."""
    order = np.arange(len(gamma))
    if not flips:
        return order
    likeness = gamma @ gamma.T
    pairs = np.stack(np.triu_indices(len(gamma), 1), axis=1)
    used: set[int] = set()
    for i, j in pairs[np.argsort(-likeness[pairs[:, 0], pairs[:, 1]], kind="stable")]:
        if len(used) == 2 * flips:
            break
        if i not in used and j not in used:
            order[i], order[j] = j, i
            used |= {i, j}
    return order
