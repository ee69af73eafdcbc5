"""Statistics of items from a platform's own log, as further features of the candidates of an observation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recgym.envs import RecVectorEnv
from recgym.errors import require
from recgym.observations import Block, Layout, Part

Array = NDArray[Any]


@dataclass
class ItemStatistics:
    """Click rate and mean feedback of each item, over all users and steps so far.

    Items differ in what observations do not show, such as quality, but a log of many users does. Each number is relative to
    its mean over all items, minus 1, and shrunk towards 0 by `prior` additional clicks of the mean kind per item. So click
    rate and feedback are 0 for an item never shown; a third number, c / (c + prior) after c clicks, says how well it is
    known.

    Items are told apart by the embedding that observations show; those with the same one are one item. In `explain`, the
    statistics of an item belong to the group of its embedding.

    Args:
        env: whose items they are. prior: clicks, > 0.

    Raises:
        ConfigError: observations show no candidates.
    """

    env: RecVectorEnv
    prior: float
    keys: Array = field(init=False)  # (G,) float64, ascending: what tells the G different embeddings apart
    shown: Array = field(init=False)  # (G,) float64
    clicked: Array = field(init=False)  # (G,) float64
    feedback: Array = field(init=False)  # (G, C - 1) float64: sums over clicks of what came of them, scaled

    def __post_init__(self) -> None:
        world, layout = self.env.world, self.env.observation_layout
        self._d = world.sizes.dimensions
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
        self._direction = np.random.default_rng(0).normal(size=self._d)
        self.keys, self._group = np.unique(self._key(world.catalog.embedding), return_inverse=True)
        self._between = (self.keys[1:] + self.keys[:-1]) / 2
        self.shown, self.clicked = np.zeros(len(self.keys)), np.zeros(len(self.keys))
        self.feedback = np.zeros((len(self.keys), len(names) - 2))

    def _key(self, embedding: Array) -> Array:
        return (embedding * self._direction).sum(axis=-1)

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
            slate: (B, S) item ids, -1 = nothing. click: (B, S) bool. following: (B, width) the observations after it.
        """
        size = len(self.shown)
        item = self._group[np.maximum(slate, 0)]
        click = click & (slate >= 0)
        self.shown += np.bincount(item[slate >= 0], minlength=size)
        self.clicked += np.bincount(item[click], minlength=size)
        # The history begins with the latest clicks: of n clicks in one slate, that at the last position comes first.
        block = self.env.observation_layout["history"]
        history = following[:, block.slice].reshape(-1, *block.shape)[:, :, self._d + 1 :]
        row = click.sum(axis=1, keepdims=True) - click.cumsum(axis=1)
        kept = click & (row < history.shape[1])
        came = np.take_along_axis(history, np.minimum(row, history.shape[1] - 1)[:, :, None], axis=1)[kept]
        for c in range(came.shape[1]):
            self.feedback[:, c] += np.bincount(item[kept], came[:, c], size)

    def see(self, observation: Array) -> Array:
        """Observations, (B, wider) float32, of (B, width) with the statistics of their candidates; see `layout`."""
        block = self._before
        x = observation[:, block.slice].reshape(-1, *block.shape)
        mask = observation[:, self.env.observation_layout["mask"].slice, None]
        known = self._features()[np.searchsorted(self._between, self._key(x[:, :, : self._d]))] * mask
        wide = np.concatenate([x, known], axis=2, dtype=np.float32).reshape(len(x), -1)
        return np.concatenate([observation[:, : block.slice.start], wide, observation[:, block.slice.stop :]], axis=1)

    def _features(self) -> Array:
        """(G, C + 1) float32."""
        clicks = max(self.clicked.sum(), 1.0)
        rate, mean = clicks / max(self.shown.sum(), clicks), np.maximum(self.feedback.sum(axis=0) / clicks, 1e-6)
        click_rate = (self.clicked + self.prior) / (self.shown + self.prior / rate) / rate - 1
        weight = (self.clicked + self.prior)[:, None]
        came = (self.feedback + self.prior * mean) / weight / mean - 1
        return np.column_stack([click_rate, self.clicked / weight[:, 0], came]).astype(np.float32)


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
