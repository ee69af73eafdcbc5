"""The items of a world."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recgym.component import Component, float_array, int_array
from recgym.errors import require, require_count, unknown
from recgym.types import Array, aligned


@dataclass(frozen=True, eq=False)
class Catalog(Component):
    """The items of a world.

    Args:
        embedding: (N, d) float32; of unit norm in the three domains.
        topic: (N,) int32 in [0, T).
        attributes: (N, A) float32, a column for each other property of the items.
        names: the A names of the attributes; ``catalog["price"]`` is the column of that name.
        n_topics: T.
        visible: names of the attributes that the observation shows; it shows them as they are stored, so scale them
            to about 1.
    """

    embedding: Array
    topic: Array
    attributes: Array
    names: tuple[str, ...]
    n_topics: int
    visible: tuple[str, ...] = ()
    _memo: dict[tuple[tuple[str, float], ...], NDArray[np.float32]] = field(
        default_factory=dict, init=False, repr=False
    )

    def __post_init__(self) -> None:
        for name in ("embedding", "attributes"):
            float_array(self, name)
        object.__setattr__(self, "embedding", aligned(self.embedding))  # of which a step reads a hundred rows per user
        int_array(self, "topic", np.int32)
        object.__setattr__(self, "names", tuple(self.names))
        object.__setattr__(self, "visible", tuple(self.visible))
        require_count("catalog.n_topics", self.n_topics, 1, 10_000_000)
        for name in self.names:
            require(self.names.count(name) == 1, "catalog.names", "must not repeat a name", name)
        n = len(np.atleast_1d(self.embedding))
        require(
            self.embedding.ndim == 2 and self.embedding.size >= 1,
            "catalog.embedding",
            "must be (N, d)",
            self.embedding.shape,
        )
        require(self.topic.shape == (n,), "catalog.topic", f"must have shape ({n},)", self.topic.shape)
        shape = (n, len(self.names))
        require(self.attributes.shape == shape, "catalog.attributes", f"must have shape {shape}", self.attributes.shape)
        topics = (int(self.topic.min()), int(self.topic.max()))
        require(
            topics[0] >= 0 and topics[1] < self.n_topics, "catalog.topic", f"must lie in [0, {self.n_topics})", topics
        )
        for name in self.visible:
            self.column(name)

    def __len__(self) -> int:
        return len(self.topic)

    def column(self, name: str) -> int:
        """Index of an attribute among the columns of `attributes`."""
        try:
            return self.names.index(name)
        except ValueError:
            unknown("catalog attribute", name, self.names)

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """(N,) float32 column of an attribute."""
        return self.attributes[:, self.column(name)]

    def weighted(self, key: tuple[tuple[str, float], ...]) -> NDArray[np.float32]:
        """(N,) float32, the sum of some attributes of each item, given as (name, weight) pairs; cached."""
        if key not in self._memo:
            total = np.zeros(len(self))
            for name, weight in key:
                total += np.float64(weight) * self[name]
            self._memo[key] = total.astype(np.float32)
        return self._memo[key]
