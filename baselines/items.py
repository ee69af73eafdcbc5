"""Statistics of items from a platform's own log, as further features of the candidates of an observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recgym.envs import RecVectorEnv
from recgym.errors import require
from recgym.kernel import kernel
from recgym.observations import Block, Layout, Part

Array = NDArray[Any]


@dataclass
class ItemStatistics:
    """Click rate and mean feedback of each item, over all users and steps so far.

    Items differ in what observations do not show, such as quality, but a log of many users does. Each number is relative to
    its mean over all items, minus 1, and shrunk towards 0 by `prior` additional clicks of the mean kind per item. So click
    rate and feedback are 0 for an item never shown; a third number, c / (c + prior) after c clicks, says how well it is
    known.

    Items are told apart by what observations always show of them: the embedding, or their attributes where there is no
    embedding (`World.embeddings`). Those with the same ones are one item. In `explain`, the statistics of an item belong to
    the groups of these features.

    Args:
        env: whose items they are. prior: clicks, > 0.

    Raises:
        ConfigError: observations show no candidates, or neither embeddings nor attributes of them.
    """

    env: RecVectorEnv
    prior: float
    keys: Array = field(init=False)  # (G,) float64, ascending: what tells the G different items apart
    shown: Array = field(init=False)  # (G,) float64
    clicked: Array = field(init=False)  # (G,) float64
    feedback: Array = field(init=False)  # (G, C - 1) float64: sums over clicks of what came of them, scaled

    def __post_init__(self) -> None:
        world, layout = self.env.world, self.env.observation_layout
        names = ("click_rate", "known", *world.response.channels[1:])  # channel 0 is the click
        block = layout["candidates"]
        parts = (*block.parts, *(Part(name, 1, -1.0, np.inf) for name in names))
        self._before, self._width = block, sum(part.width for part in parts)
        more = block.shape[0] * (self._width - block.shape[1])
        self.layout = Layout()  # the blocks of what `see` gives
        for name, found in layout.items():
            start, stop = found.slice.start, found.slice.stop
            if name == "candidates":
                self.layout[name] = Block(slice(start, stop + more), (block.shape[0], self._width), parts)
            else:
                by = more * (start >= block.slice.stop)
                self.layout[name] = found._replace(slice=slice(start + by, stop + by))
        catalog = world.catalog
        if block.parts[0].name == "embedding":
            features = catalog.embedding
        else:
            features = np.ascontiguousarray(catalog.attributes[:, [catalog.column(name) for name in catalog.visible]])
        rule = "must be True for statistics of items, as candidates have no attributes to be told apart by"
        require(features.shape[1] > 0, "embeddings", rule, world.embeddings)
        self._direction = np.random.default_rng(0).normal(size=features.shape[1])
        keys = np.zeros(len(catalog))
        _fill_keys(keys, features, self._direction)
        self.keys, self._group = np.unique(keys, return_inverse=True)
        self._finder = self._direction, *finder(self.keys)
        self.shown, self.clicked = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        self.feedback = np.zeros((len(self.keys), len(names) - 2))

    @property
    def arrays(self) -> dict[str, Array]:
        """The counts, by name: the arrays of the fields keys, shown, clicked and feedback."""
        return {"keys": self.keys, "shown": self.shown, "clicked": self.clicked, "feedback": self.feedback}

    def put(self, arrays: dict[str, Array]) -> None:
        """Continue from counts that `arrays` gave.

        Raises:
            ConfigError: they are of other items.
        """
        same = arrays["keys"].shape == self.keys.shape and np.allclose(arrays["keys"], self.keys, rtol=0, atol=1e-5)
        fits = same and arrays["feedback"].shape == self.feedback.shape
        rule = f"must have the {len(arrays['keys'])} items of which statistics are known"
        require(fits, "env", rule, f"{len(self.keys)} items, " + ("with other feedback" if same else "others"))
        self.shown, self.clicked, self.feedback = (arrays[name] for name in ("shown", "clicked", "feedback"))

    def add(self, slate: Array, click: Array, following: Array) -> None:
        """Count a step of B users.

        Args:
            slate: (B, S) item ids, -1 = nothing. click: (B, S) bool. following: (n, width) the observations after it, of
                the n users who clicked.
        """
        size = len(self.shown)
        item = self._group[np.maximum(slate, 0)]
        self.shown += np.bincount(item[slate >= 0], minlength=size)
        clicked = click.any(axis=1)
        item, click = item[clicked], click[clicked]
        self.clicked += np.bincount(item[click], minlength=size)
        # The history begins with the latest clicks: of n clicks in one slate, that at the last position comes first.
        block = self.env.observation_layout["history"]
        row = click.sum(axis=1, keepdims=True) - click.cumsum(axis=1)
        kept = click & (row < block.shape[0])
        of_click = block.shape[1] - len(self.env.world.response.channels)  # the column of channel 0
        user, first = kept.nonzero()[0], block.slice.start + row[kept] * block.shape[1] + of_click + 1
        for c in range(self.feedback.shape[1]):
            self.feedback[:, c] += np.bincount(item[kept], following[user, first + c], size)

    def see(self, observation: Array) -> Array:
        """Observations, (B, wider) float32, of (B, width) with the statistics of their candidates; see `layout`."""
        features, block = self._features(), self._before
        more = block.shape[0] * features.shape[1]
        wide = np.empty((len(observation), observation.shape[1] + more), np.float32)
        mask = self.env.observation_layout["mask"].slice.start
        _widen(wide, observation, block.slice.start, *block.shape, mask, features, *self._finder)
        return wide

    def _features(self) -> Array:
        """(G, C + 1) float32."""
        clicks = max(self.clicked.sum(), 1.0)
        rate, mean = clicks / max(self.shown.sum(), clicks), np.maximum(self.feedback.sum(axis=0) / clicks, 1e-6)
        features = np.empty((len(self.keys), 2 + len(mean)), np.float32)
        _fill_features(features, self.shown, self.clicked, self.feedback, self.prior, rate, mean)
        return features


def finder(keys: Array) -> tuple[Array, Array, float, float]:
    """What `_rank` finds the nearest of ascending keys (G,) by: between, edges, lowest and scale, with 8 cells for each."""
    between, cells = (keys[1:] + keys[:-1]) / 2, 8 * len(keys)
    scale = cells / ((keys[-1] - keys[0]) or 1.0)
    return between, np.searchsorted(between, keys[0] + np.arange(-1, cells + 2) / scale), keys[0], scale


@kernel
def _key(row, start, direction):
    """Inner product of `direction` (n,) and the n numbers from `start` on of a row."""
    key = 0.0
    for i in range(direction.shape[0]):
        key += row[start + i] * direction[i]
    return key


@kernel
def _fill_keys(keys, features, direction):
    """Fills (N,) float64 keys of items with features (N, n)."""
    for i in range(keys.shape[0]):
        keys[i] = _key(features[i], 0, direction)


@kernel
def _rank(between, edges, lowest, scale, key):
    """How many of the numbers `between` are smaller than a key, as np.searchsorted finds, from where the key's cell lies.

    Args:
        between: (G - 1,) ascending. edges: (cells + 3,) how many of them are smaller than the left edge of each cell, from
            one cell before `lowest` on. scale: cells per unit.
    """
    cell, last = (key - lowest) * scale, edges.shape[0] - 4
    at = last if cell >= last else int(cell) if cell > 0 else 0
    low, high = edges[at], edges[at + 3]  # with a cell to spare on either side, so that rounding does not matter
    while low < high:
        middle = (low + high) // 2
        if between[middle] < key:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def _widen(wide, observation, start, rows, columns, mask, features, direction, between, edges, lowest, scale):
    """Fills `wide` with observations in which the features of its item follow each candidate that is there.

    Args:
        wide: (B, wider). observation: (B, width). start: first column of the candidates, (rows, columns) of each user.
        mask: first column of the mask. features: (G, more). Others: what `_key` and `_rank` find the row of an item by.
    """
    more = features.shape[1]
    for b in range(observation.shape[0]):
        seen, to = observation[b], start
        wide[b, :start] = seen[:start]
        for k in range(rows):
            at = start + k * columns
            item = _rank(between, edges, lowest, scale, _key(seen, at, direction))
            for c in range(columns):
                wide[b, to + c] = seen[at + c]
            for c in range(more):
                wide[b, to + columns + c] = features[item, c] * seen[mask + k]
            to += columns + more
        wide[b, to:] = seen[start + rows * columns :]


@kernel
def _fill_features(features, shown, clicked, feedback, prior, rate, mean):
    """Fills (G, C + 1): click rate, how well it is known, and feedback (C - 1); `rate` and `mean` are over all items."""
    for i in range(features.shape[0]):
        weight = clicked[i] + prior
        features[i, 0] = weight / (shown[i] + prior / rate) / rate - 1
        features[i, 1] = clicked[i] / weight
        for c in range(mean.shape[0]):
            features[i, 2 + c] = (feedback[i, c] + prior * mean[c]) / weight / mean[c] - 1


def check_counts(arrays: dict[str, Array]) -> None:
    """Require arrays such as `ItemStatistics.arrays` gives.

    Raises:
        ConfigError: other names, types, shapes or numbers.
    """
    require(
        set(arrays) == {"keys", "shown", "clicked", "feedback"},
        "items.npz",
        "must hold keys, shown, clicked and feedback",
        [*arrays],
    )
    G = len(np.atleast_1d(arrays["keys"]))
    for name, array in arrays.items():
        fits = array.dtype == np.float64 and array.ndim == 1 + (name == "feedback") and len(array) == G
        require(
            fits,
            f"items.npz, {name}",
            f"must hold a row of float64 for each of {G} items",
            (str(array.dtype), array.shape),
        )
        require(np.isfinite(array).all(), f"items.npz, {name}", "must be finite", "NaN or inf")
        require(name == "keys" or (array >= 0).all(), f"items.npz, {name}", "must not be negative", "a negative number")
    require((np.diff(arrays["keys"]) > 0).all(), "items.npz, keys", "must ascend", "another order")
