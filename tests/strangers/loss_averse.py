"""A preference model of one's own: prices above what the user expects count twice (Kahneman and Tversky, 1979)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import recgym
from recgym.errors import require_number
from recgym.kernel import kernel
from recgym.models.preference import Preference
from recgym.types import F32, empty


@dataclass(frozen=True, eq=False)
class LossAverse(Preference):
    """utility = scale u.x + gain(expected - price), with gain(y) = y for y >= 0 and aversion y below.

    Args:
        scale: of the match of interest u and embedding x. expected: price that a user takes for normal.
        aversion: of losses, at least 1. attribute: of the catalogue, that is the price.
    """

    scale: float = 3.0
    expected: float = 3.0
    aversion: float = 2.0
    attribute: str = "price"
    fusable = True

    def __post_init__(self) -> None:
        require_number("LossAverse.aversion", self.aversion, 1, 100)

    def check(self, catalog: recgym.Catalog) -> None:
        catalog.column(self.attribute)

    def __call__(
        self, users: recgym.Users, catalog: recgym.Catalog, signals: np.ndarray, items: np.ndarray
    ) -> np.ndarray:
        utility = empty(items.shape, F32)
        price = catalog.column(self.attribute)
        weigh(
            utility,
            items,
            users.interest,
            catalog.embedding,
            catalog.attributes,
            price,
            self.scale,
            self.expected,
            self.aversion,
        )
        return utility


@kernel
def weigh(utility, items, interest, embedding, attributes, price, scale, expected, aversion):
    """Fills utilities (B, S) of items (B, S); -inf where there is none."""
    for b in range(items.shape[0]):
        for s in range(items.shape[1]):
            i = items[b, s]
            if i < 0:
                utility[b, s] = -np.inf
                continue
            match = 0.0
            for k in range(embedding.shape[1]):
                match += interest[b, k] * embedding[i, k]
            gain = expected - attributes[i, price]
            utility[b, s] = scale * match + (gain if gain >= 0 else aversion * gain)
