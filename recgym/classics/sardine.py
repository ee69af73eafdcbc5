"""SARDINE's eight environments, by `SardineEnv`."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.envs import RecEnv
from recgym.errors import require, require_count, require_option
from recgym.files import parse_arrays, read_bytes
from recgym.market import StaticMarket
from recgym.models.candidates import All
from recgym.models.choice import PositionBased
from recgym.models.departure import Never
from recgym.models.dynamics import Boredom, Dynamics, MeanDrift
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import SparseInterests
from recgym.world import World

TOPICS = 10


class Task(NamedTuple):
    """What sets one of the eight environments apart."""

    items: int
    slate: int
    horizon: int
    offset: float
    slope: float
    propensity: float
    influence: float = 0.0  # 1 - omega
    threshold: int = 0  # clicks on a topic that bore; 0: none do


TASKS = {
    "SingleItem-Static": Task(1000, 1, 100, 0.65, 100.0, 0.85),
    "SingleItem-BoredInf": Task(1000, 1, 100, 0.65, 100.0, 0.85, influence=0.05, threshold=5),
    "SingleItem-Uncertain": Task(1000, 1, 100, 0.65, 10.0, 0.85),
    "SlateTopK-Bored": Task(1000, 10, 100, 0.65, 100.0, 0.85, threshold=5),
    "SlateTopK-BoredInf": Task(1000, 10, 100, 0.65, 100.0, 0.85, influence=0.05, threshold=5),
    "SlateTopK-Uncertain": Task(1000, 10, 100, 0.65, 10.0, 0.85, influence=0.05, threshold=5),
    "SlateRerank-Static": Task(10, 10, 10, 0.3, 5.0, 0.7),
    "SlateRerank-Bored": Task(10, 10, 10, 0.3, 5.0, 0.7, threshold=4),
}


class SardineEnv(RecEnv):
    """Slates from a thousand items: independent clicks by position, users who get bored, and users who are influenced.

    ## Description

    SARDINE (Deffayet et al., ACM TORS 2024, arXiv 2311.16586; sardine-rec 1.0.8): eight tasks, with its items,
    `recgym/Sardine-SingleItem-Static-v0`, `-SingleItem-BoredInf-`, `-SingleItem-Uncertain-`, `-SlateTopK-Bored-`,
    `-SlateTopK-BoredInf-`, `-SlateTopK-Uncertain-`, `-SlateRerank-Static-`, `-SlateRerank-Bored-`.

    Items x have two or three of ten topics, users u three to five; all vectors are non-negative and of norm 1. The item
    in position j = 0, 1, ... is clicked with probability propensity^j sigmoid(slope (x . u - offset)), independently. In
    tasks with boredom, a topic clicked five times (Rerank: four) within five steps bores for five steps, and while any
    topic does, u counts as zero. In tasks with influence, u <- normalise(0.95 u + 0.05 mean of the clicked items).

    ## Action Space

    `MultiDiscrete([1000] * 10)`, over the whole catalogue (Rerank: `[10] * 10`; SingleItem: `Discrete(1000)`). An item
    repeated in a slate counts once; in the original each copy may be clicked.

    ## Observation Space

    `observation="compact"`: the last ten items clicked, and the number of clicks on each topic in the last five steps.
    The items stay the same: `env.unwrapped.world.catalog` has their embeddings. The interests of users are hidden.

    ## Rewards

    The number of clicks.

    ## Starting State

    A new user who has seen one random slate. The clicks on it are in the observation, and count for boredom and
    influence.

    ## Episode End

    Truncated after 100 steps (Rerank: 10). The original calls it terminated.

    ## Arguments

    `task`, one of the eight names; `seed` of the items: None (default) takes the package's own, a number draws others by
    its recipe; `faithful` (True): False has the influence of the paper, see above.

    ## The original

    The numbers -1 and -2 in its actions, which are outside its own space, ask for an oracle's item. This is not kept.

    ## Version History

    * v0: first version. Since recgym 0.2.0 the defaults are those of the original, whose numbers are met: its own items and
      its influence. Before, `seed` was 0 and `faithful` False, which still give the numbers of 0.1.
    """


def world(*, task: str = "SlateTopK-BoredInf", seed: int | None = None, faithful: bool = True, **parts: Any) -> World:
    """The world of a task, see `SardineEnv`."""
    require_option("task", task, TASKS)
    if seed is not None:
        require_count("seed", seed, 0, 2**63)
    require(isinstance(faithful, bool), "faithful", "must be True or False", faithful)
    t = TASKS[task]
    dynamics: list[Dynamics] = []
    if t.threshold:
        dynamics.append(Boredom(t.threshold))
    if t.influence:
        dynamics.append(MeanDrift(t.influence, scalar=faithful))
    return World.of(
        parts,
        catalog=catalog(
            shipped_embeddings(t.items) if seed is None else draw_embeddings(np.random.default_rng([seed, 7]), t.items)
        ),
        population=SparseInterests(0.4, 3, 5, TOPICS),
        market=StaticMarket.of(t.items),
        candidates=All(),
        preference=DotProduct(t.slope, unless="bored" if t.threshold else ""),
        choice=PositionBased(t.propensity, t.slope * t.offset),
        response=Clicks(),
        dynamics=tuple(dynamics),
        departure=Never(),
        reward=Weighted({"click": 1.0}),
        slate_size=t.slate,
        horizon=t.horizon,
        warm_up=1,
    )


def catalog(embedding: NDArray[np.float64]) -> Catalog:
    """Items by their (N, 10) embeddings; the topic of an item is its largest coordinate."""
    return Catalog(embedding, embedding.argmax(axis=1), np.zeros((len(embedding), 0)), (), TOPICS)


def shipped_embeddings(n: int) -> NDArray[np.float64]:
    """(n, 10) embeddings of unit norm that the original comes with, n of 10 or 1000; see ``recgym/data/sardine``."""
    path = Path(str(files("recgym") / "data" / "sardine" / "items.npz"))
    arrays = parse_arrays(read_bytes(path, "items"), "items", path)
    return next(arrays[name] for name in ("topk", "rerank") if len(arrays[name]) == n).astype(np.float64)


def draw_embeddings(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """(n, 10) embeddings of unit norm: each item has two or three topics, equally likely, with weights ~ U(0, 1)."""
    active = rng.random((n, TOPICS)).argsort(axis=1).argsort(axis=1) < rng.integers(2, 4, n)[:, None]
    embedding = rng.random((n, TOPICS)) * active
    return embedding / np.linalg.norm(embedding, axis=1, keepdims=True)
