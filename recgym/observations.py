"""Forms of observations: what a platform knows of its users, as numbers for an agent.

`FlatObservation` is one vector, `DictObservation` the same numbers by block, `LatentObservation` adds the hidden state,
and `CompactObservation` leaves the candidates out. Another form is another subclass of `Observation`, or of one of these.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from recgym.errors import ConfigError, require
from recgym.forms import Form
from recgym.kernel import inlined, kernel
from recgym.lanes import copy_row, dot
from recgym.models.candidates import mean_of_history
from recgym.types import F32, I32, Array, Column, Users, empty
from recgym.world import World


class Part(NamedTuple):
    """Where a feature lies in the last axis of its block, and its inclusive range."""

    name: str
    width: int
    low: float
    high: float


class Block(NamedTuple):
    """A block of the flat observation: its slice and its shape without the batch axis."""

    slice: slice
    shape: tuple[int, ...]
    parts: tuple[Part, ...]


class Layout(dict[str, Block]):
    """Blocks by name. Asking for one that is not there raises a ConfigError that says which forms have it."""

    def __missing__(self, name: str) -> Block:
        rule = f'has no block {name!r}, only {[*self]}; "flat" and "dict" have candidates and mask, "latent" all'
        raise ConfigError(f"observation: {rule}")


Blocks = dict[str, tuple[tuple[int, ...], list[Part]]]  # name -> the axes before the last, and the parts of the last


class Observation(Form):
    """A form of observations of a world: blocks of numbers, one after the other in a flat float32 vector.

    A form of your own is a subclass with a name (`form`), its `blocks` and `encode`. Pass the class to an environment,
    ``observation=Mine``; once the class is defined, its name will do. Most extend `FlatObservation` by a block.

    Args:
        world: what is observed.

    Attributes:
        layout: the blocks by name. width: numbers in all of them. space: of one user's observation; where it is a Box, it
            has the layout, too, as an attribute.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.layout = Layout()
        end = 0
        blocks = self.blocks()
        require(isinstance(blocks, dict) and len(blocks) > 0, "observation", "must have blocks, one at least", blocks)
        for name, (lead, parts) in blocks.items():
            for part in parts:
                fits = part.width >= 0 and part.low <= part.high
                require(fits, f"observation.{name}", "must have parts with a width >= 0 and low <= high", part)
            width = sum(part.width for part in parts)
            shape = lead if name == "mask" else (*lead, width)
            self.layout[name] = Block(slice(end, end := end + math.prod(shape)), shape, tuple(parts))
        self.width = end
        self.space = self.make_space()
        require(isinstance(self.space, spaces.Space), "observation", "must have a space of Gymnasium's", self.space)
        if isinstance(self.space, spaces.Box):  # for policies that are given nothing but spaces
            self.space.layout = self.layout  # type: ignore[attr-defined]

    @abstractmethod
    def blocks(self) -> Blocks:
        """The blocks by name, in their order: the axes before the last, and the parts that make up the last axis."""

    @abstractmethod
    def encode(self, users: Users, out: Array) -> None:
        """Write the observations of B users into `out`, (B, width) float32, all of it."""

    def blank(self, users: int) -> Array:
        """(users, width) float32 to `encode` into; NaN in forms from elsewhere, so that what is not written is seen."""
        return np.empty((users, self.width), F32) if self.ours else np.full((users, self.width), np.nan, F32)

    def make_space(self) -> spaces.Space[Any]:
        """The space of one user's observation: a float32 Box of the flat vector."""
        boxes = self.boxes().values()
        low, high = (np.concatenate([getattr(box, side).ravel() for box in boxes]) for side in ("low", "high"))
        return spaces.Box(low, high, dtype=np.float32)

    def boxes(self) -> dict[str, spaces.Box]:
        """The space of each block, by name."""
        boxes = {}
        for name, block in self.layout.items():
            low = np.concatenate([np.full(p.width, p.low, np.float32) for p in block.parts])
            high = np.concatenate([np.full(p.width, p.high, np.float32) for p in block.parts])
            low, high = np.broadcast_to(low, block.shape), np.broadcast_to(high, block.shape)
            boxes[name] = spaces.Box(low, high, dtype=np.float32)
        return boxes

    def view(self, flat: Array) -> Any:
        """What an agent gets of flat observations (..., width): here `flat` itself."""
        return flat


class FlatObservation(Observation):
    """One float32 vector of these blocks.

        user (P,)            profile, known, session progress, time of day, channel sums of the last step, visible columns
        history (H, d + C)   items clicked, latest first: embedding and what came of them; zeros where empty
        candidates (K, Fc)   embedding, visible attributes and market signals, match to profile and history, exposure
        mask (K,)            1 where there is a candidate

    The first channel is the click: 1 in each row of the history that is there. A match is the inner product of the
    candidate's embedding with the profile, or with the mean embedding of the history. Exposure is that of the
    candidate's topic. Profile and embeddings are there only where `World.embeddings` is true; without them an observation
    has what can be learned without knowing what a direction in their space means, and d above is 0.

    Raises:
        ConfigError: a part of the world has a visible column whose shape is neither () nor (n,), or whose highest value is not positive.
    """

    form = "flat"
    shows_candidates = True

    def blocks(self) -> Blocks:
        world = self.world
        catalog, market, response, sizes = world.catalog, world.market, world.response, world.sizes
        S = world.slate_size
        self._embeddings = world.embeddings or not self.shows_candidates
        d = sizes.dimensions if self._embeddings else 0
        shown = [catalog.column(name) for name in catalog.visible]
        self._attributes = np.ascontiguousarray(catalog.attributes[:, shown])
        self._signals = np.array([j for j, signal in enumerate(market.signals) if signal.visible], np.int64)
        columns = _visible(world)
        self._columns = [name for name, c in columns if c.shape == ()]
        self._column_highs = np.array([world.owned[name].high for name in self._columns], np.float32)
        self._vectors = [(name, c.high) for name, c in columns if c.shape != ()]
        self._vector_width = sum(math.prod(c.shape) for _, c in columns if c.shape != ())
        channels = [Part(name, 1, 0.0, high) for name, high in zip(response.channels, response.highs, strict=True)]
        last = [Part(f"last_{p.name}", 1, 0.0, S * p.high) for p in channels]
        visible = [Part(name, math.prod(c.shape), min(c.low / c.high, 0.0), 1.0) for name, c in columns]
        attributes = [Part(n, 1, *_range(catalog[n])) for n in catalog.visible]
        signals = [Part(s.name, 1, s.low, s.high) for s in market.signals if s.visible]
        x = 1.001 * max(1.0, float(np.linalg.norm(catalog.embedding, axis=1).max()))  # unit vectors, plus rounding
        p = 1.001 * _norm(world) if world.population.transparent else 1.001
        profile, embedding = ([Part("profile", d, -p, p)], [Part("embedding", d, -x, x)]) if d else ([], [])
        blocks: Blocks = {
            "user": ((), [*profile, Part("known", 1, 0, 1), Part("progress", 1, 0, 1),
                          Part("sine of the day", 1, -1, 1), Part("cosine of the day", 1, -1, 1), *last, *visible]),
            "history": ((world.history,), [*embedding, *channels]),
        }  # fmt: skip
        if self.shows_candidates:
            matches = [Part("match_profile", 1, -p * x, p * x), Part("match_history", 1, -x * x, x * x)]
            candidate = [*embedding, *attributes, *signals, *matches, Part("exposure", 1, 0, 1)]
            blocks["candidates"] = (sizes.candidates,), candidate
            blocks["mask"] = (sizes.candidates,), [Part("available", 1, 0, 1)]
        return blocks

    def encode(self, users: Users, out: Array) -> None:
        world = self.world
        if self.shows_candidates:
            candidates = users.candidates
            signals = world.market.observe(candidates, users.clock)
        else:
            candidates, signals = empty((len(out), 0), I32), empty((len(out), 0, 0), F32)
        taste = empty(users.profile.shape, F32)
        mean_of_history(taste, users.history, world.catalog.embedding)
        _encode(
            out, taste, users.profile, users.known, users.t, world.horizon, users.clock, users.last,
            tuple([users.__dict__[name] for name in self._columns]) or (users.known,), self._column_highs, self._vector_width,
            users.history, users.history_feedback, candidates, signals, self._signals,
            world.catalog.embedding, self._attributes, world.catalog.topic, users.exposure, self._embeddings,
        )  # fmt: skip
        at = self.layout["user"].slice.stop - self._vector_width
        for name, high in self._vectors:
            vector = users.__dict__[name]
            encode_vector(out, at, vector, high)
            at += vector.shape[1]


class DictObservation(FlatObservation):
    """The blocks of `FlatObservation` by name."""

    form = "dict"

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Dict([*self.boxes().items()])  # pairs stay in this order; Gymnasium 1.0 sorts any mapping

    def view(self, flat: Array) -> Any:
        """Views of the flat vector, by block."""
        lead = flat.shape[:-1]
        return {name: flat[..., block.slice].reshape(*lead, *block.shape) for name, block in self.layout.items()}


class LatentObservation(FlatObservation):
    """The flat vector followed by a block ``latent``, the hidden state: interest, sensitivity and all columns of the parts."""

    form = "latent"

    def blocks(self) -> Blocks:
        world = self.world
        blocks = super().blocks()
        d, q = world.sizes.dimensions, 1.001 * _norm(world)
        hidden = [Part("interest", d, -q, q)]
        for signal in world.market.signals:
            m, s = world.population.sensitivity.get(signal.name, (0, 0))
            bound = abs(m) * math.exp(6 * s) or 1.0
            hidden.append(Part(f"sensitivity to {signal.name}", 1, -bound, bound))
        hidden += [Part(name, math.prod(c.shape), c.low, c.high) for name, c in world.owned.items()]
        return {**blocks, "latent": ((), hidden)}

    def encode(self, users: Users, out: Array) -> None:
        super().encode(users, out)
        at = self.layout["latent"].slice.start
        for array in (users.interest, users.sensitivity, *(users[name] for name in self.world.owned)):
            vector = array.reshape(len(out), -1)
            encode_vector(out, at, vector, 1.0)
            at += vector.shape[1]


class CompactObservation(FlatObservation):
    """The flat vector without candidates and mask: for large catalogues of which every item is a candidate.

    It shows profile and embeddings in any world, for without candidates there are no matches.
    """

    form = "compact"
    shows_candidates = False


def _visible(world: World) -> list[tuple[str, Column]]:
    """Columns that the platform sees, single numbers first."""
    columns = sorted(((name, c) for name, c in world.owned.items() if c.visible), key=lambda pair: len(pair[1].shape))
    for name, c in columns:
        fits = len(c.shape) <= 1 and c.high > 0
        require(fits, name, "a visible column must have shape () or (n,) and a positive high", c)
    return columns


def _norm(world: World) -> float:
    """The largest norm of an interest, at least 1."""
    return max(1.0, world.population.norm, *(part.reach for part in world.dynamics))


def _range(values: Array) -> tuple[float, float]:
    """Range of an attribute; zero lies in it, for that is what an empty candidate shows."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    return (low, high) if low < high else (-1.0, 1.0)


@kernel
def encode_vector(out, at, vector, high):
    """Writes vectors (B, n), divided by `high`, into the columns of `out` from `at` on."""
    for b in range(out.shape[0]):
        for k in range(vector.shape[1]):
            out[b, at + k] = vector[b, k] / high


@inlined
def _encode(
    out, taste, profile, known, t, horizon, clock, last, columns, column_highs, vector_width, history, history_feedback,
    candidates, signals, shown_signals, embedding, attributes, topic, exposure, embeddings,
):  # fmt: skip
    B, K = candidates.shape
    H, d, C = history.shape[1], profile.shape[1], last.shape[1]
    A, F = attributes.shape[1], shown_signals.shape[0]
    e = d if embeddings else 0  # columns of an embedding
    for b in range(B):
        copy_row(out, b, 0, profile, b, e)
        out[b, e] = known[b]
        out[b, e + 1] = min(t[b] / horizon, 1.0)
        day = clock[b] / 1440.0
        angle = np.float32(6.283185307179586 * (day - math.floor(day)))
        out[b, e + 2] = math.sin(angle)
        out[b, e + 3] = math.cos(angle)
        copy_row(out, b, e + 4, last, b, C)
        at = e + 4 + C
        for v in range(column_highs.shape[0]):
            out[b, at + v] = columns[v][b] / column_highs[v]
        at += column_highs.shape[0] + vector_width
        rows = out[b, at : at + H * (e + C)].reshape((H, e + C))
        at += H * (e + C)
        for h in range(H):
            i = history[b, h]
            if i < 0:
                for k in range(e + C):
                    rows[h, k] = 0.0
                continue
            copy_row(rows, h, 0, embedding, i, e)
            for c in range(C):
                rows[h, e + c] = history_feedback[b, h, c]
        rows = out[b, at : at + K * (e + A + F + 3)].reshape((K, e + A + F + 3))
        at += K * (e + A + F + 3)
        for j in range(K):
            i = candidates[b, j]
            if i < 0:
                for k in range(e + A + F + 3):
                    rows[j, k] = 0.0
                continue
            copy_row(rows, j, 0, embedding, i, e)
            copy_row(rows, j, e, attributes, i, A)
            for f in range(F):
                rows[j, e + A + f] = signals[b, j, shown_signals[f]]
            rows[j, e + A + F] = dot(profile, b, embedding, i)
            rows[j, e + A + F + 1] = dot(taste, b, embedding, i)
            rows[j, e + A + F + 2] = exposure[b, topic[i]]
        mask = out[b, at : at + K]
        for j in range(K):  # none in the compact form
            mask[j] = 1.0 if candidates[b, j] >= 0 else 0.0
