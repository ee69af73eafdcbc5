"""The agent's side: actions to slates, users to observations.

Actions index the K candidates of the step; an observation shows what a platform knows, never the hidden state.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from gymnasium import spaces

from recgym.errors import ConfigError, SlateError, brief, require, require_option
from recgym.kernel import dot, kernel
from recgym.types import BOOL, F32, I32, Array, Users, empty
from recgym.world import World

ACTIONS = ("item", "slate", "embedding")
OBSERVATIONS = ("flat", "dict", "latent", "compact")


@dataclass(frozen=True, eq=False)
class Actions:
    """Decodes actions.

    Args:
        form: "item" (Discrete, slates of one), "slate" (MultiDiscrete over candidates) or "embedding" (Box: the top-S
            candidates by dot product, Dulac-Arnold et al. 2015).
        null: whether "nothing" can be recommended. It is action 0 of "item" and of each place of "slate", and moves
            the candidates to 1..K; an "embedding" gets one more coordinate, the score of showing nothing: candidates
            that score less are not shown.
    """

    world: World
    form: str
    null: bool = False
    space: spaces.Space[Any] = field(init=False)
    shape: tuple[int, ...] = field(init=False)  # of one user's action
    static: bool = field(init=False)  # whether all items are candidates, always
    _dtype: np.dtype[Any] = field(init=False, repr=False)
    _ones: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        require_option("action", self.form, ACTIONS)
        require(isinstance(self.null, bool), "null_action", "must be True or False", self.null)
        S, n, d = self.world.slate_size, self.n, self.world.sizes.dimensions
        require(self.form != "item" or S == 1, "action", f'"item" needs slate_size=1, not {S}; use "slate"', self.form)
        space: spaces.Space[Any]
        if self.form == "item":
            space = spaces.Discrete(n)
        elif self.form == "slate":
            space = spaces.MultiDiscrete([n] * S)
        else:
            space = spaces.Box(-1.0, 1.0, (d + self.null,), np.float32)
        object.__setattr__(self, "space", space)
        object.__setattr__(self, "shape", space.shape or ())
        object.__setattr__(self, "static", self.world.candidates.static(self.world.market, self.world.sizes.items))
        object.__setattr__(self, "_dtype", np.dtype(np.float32 if self.form == "embedding" else np.int64))
        object.__setattr__(self, "_ones", np.empty((0, n), np.bool_))

    @property
    def n(self) -> int:
        """Choices a slate position: the candidates, and perhaps nothing."""
        return self.world.n_candidates + self.null

    def batch(self, actions: Any, n_users: int | None) -> Array:
        """Actions of n users, or the action of a single user (None), as an array (n, ...) that a kernel takes.

        Raises:
            SlateError: not integers (or numbers, for "embedding"), or of another shape.
        """
        try:
            array = np.asarray(actions)
        except Exception:  # ragged, or whatever an object's own conversion raises
            raise SlateError(f"action: must be an array, got {brief(actions)}") from None
        kind, what = ("fiu", "numbers") if self.form == "embedding" else ("iu", "integers")
        if array.dtype.kind not in kind:
            raise SlateError(f"action: must be {what}, got {brief(actions)} of type {array.dtype}")
        shape = self.shape if n_users is None else (n_users, *self.shape)
        if array.shape != shape:
            raise SlateError(f"action: must have shape {shape}, got {array.shape}")
        if n_users is None:
            array = array[None]
        if array.dtype != self._dtype:  # what is outside stays outside, but fits
            if self.form == "embedding":
                array = np.clip(array, -2.0, 2.0)
            elif array.dtype == np.uint64:
                array = np.minimum(array, np.uint64(2**63 - 1))
        array = np.ascontiguousarray(array, self._dtype)
        return array if array.flags.carray else array.copy()  # writeable and aligned too

    def decode(self, actions: Array, candidates: Array) -> tuple[Array, Array]:
        """Slates, and whose action lies outside the space, which `refuse` says.

        Args:
            actions: (B, ...) of `batch`. candidates: (B, K) int32.

        Returns:
            (B, S) int32 item ids, -1 where nothing is shown: null, an empty candidate, a repeated item, or any place of
            a wrong action's; and (B,) bool.
        """
        slate, wrong = empty((candidates.shape[0], self.world.slate_size), I32), empty(candidates.shape[0], BOOL)
        if self.form == "embedding":
            _nearest(slate, wrong, actions, candidates, self.world.catalog.embedding, self.null)
        else:
            _pick(slate, wrong, actions.reshape(slate.shape), candidates, self.null, self.static)
        return slate, wrong

    @property
    def indexed(self) -> bool:
        """Whether an action names a choice for each position, as `encode` and `choices` need."""
        return self.form != "embedding"

    def encode(self, choices: Array) -> Array:
        """The actions that show those choices.

        Args:
            choices: (B, S) integers in [0, n), one for each position; see `n` for what they mean.

        Raises:
            ConfigError: actions of this form name no candidates.
        """
        require(self.indexed, "action", 'must be "item" or "slate" to name candidates', self.form)
        return choices[:, 0] if self.form == "item" else choices

    def choices(self, actions: Array) -> Array:
        """(B, S) choices of actions, what `encode` was given.

        Raises:
            ConfigError: actions of this form name no candidates.
        """
        require(self.indexed, "action", 'must be "item" or "slate" to name candidates', self.form)
        return actions.reshape(len(actions), self.world.slate_size)

    def refuse(self, actions: Array, wrong: Array) -> None:
        """Raise where an action lies outside the space.

        Raises:
            SlateError: for the first of them.
        """
        if wrong.any():
            b = int(wrong.argmax())
            rule = "[-1, 1]" if self.form == "embedding" else f"[0, {self.n - 1}]"
            raise SlateError(f"action: must lie in {rule}, got {brief(actions[b].tolist())} for user {b}")

    def mask(self, candidates: Array) -> Array:
        """(B, n) bool: choices that show something that is there (and nothing, where allowed).

        Where all items are candidates always, it is one array for all steps, and cannot be written to.
        """
        if self.static:
            if len(self._ones) != len(candidates):
                ones = np.ones((len(candidates), self.n), np.bool_)
                ones.flags.writeable = False
                object.__setattr__(self, "_ones", ones)
            return self._ones
        mask = empty((candidates.shape[0], self.n), BOOL)
        _mask(mask, candidates, self.null)
        return mask


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
    """Blocks by name; one that is not there is a ConfigError that says which forms have it."""

    def __missing__(self, name: str) -> Block:
        rule = f'has no block {name!r}, only {[*self]}; "flat" and "dict" have candidates and mask, "latent" all'
        raise ConfigError(f"observation: {rule}")


class Observations:
    """Encodes users.

    Blocks of the flat vector, and keys of the dict:
        user (P,)            profile, known, session progress, time of day, channel sums of the last step, visible columns
        history (H, d + C)   items clicked, latest first: embedding and what came of them; zeros where empty
        candidates (K, Fc)   embedding, visible attributes and market signals, match to profile and history, exposure
        mask (K,)            1 where there is a candidate
    "latent" is the flat vector followed by the hidden state: interest, sensitivity and all columns of the parts.
    "compact" is the flat vector without candidates and mask: for large catalogues of which every item is a candidate.
    """

    def __init__(self, world: World, form: str) -> None:
        require_option("observation", form, OBSERVATIONS)
        self.world, self.form = world, form
        catalog, market, response, sizes = world.catalog, world.market, world.response, world.sizes
        d, S = sizes.dimensions, world.slate_size
        self._shown = np.concatenate([catalog.embedding, *[catalog[name][:, None] for name in catalog.visible]], axis=1)
        self._signals = np.array([j for j, signal in enumerate(market.signals) if signal.visible], np.int64)
        self._highs = np.array(response.highs, np.float32)
        columns = sorted(
            ((name, c) for name, c in world.owned.items() if c.visible), key=lambda pair: len(pair[1].shape)
        )
        for name, c in columns:
            fits = len(c.shape) <= 1 and c.high > 0
            require(fits, name, "a visible column must have shape () or (n,) and a positive high", c)
        self._columns = [name for name, c in columns if c.shape == ()]
        self._column_highs = np.array([world.owned[name].high for name in self._columns], np.float32)
        self._vectors = [(name, c.high) for name, c in columns if c.shape != ()]
        channels = [Part(name, 1, 0.0, high) for name, high in zip(response.channels, response.highs, strict=True)]
        last = [Part(f"last_{p.name}", 1, 0.0, S * p.high) for p in channels]
        visible = [Part(name, math.prod(c.shape), min(c.low / c.high, 0.0), 1.0) for name, c in columns]
        attributes = [Part(n, 1, *_range(catalog[n])) for n in catalog.visible]
        signals = [Part(s.name, 1, s.low, s.high) for s in market.signals if s.visible]
        norm = max(1.0, world.population.norm, *(part.reach for part in world.dynamics))
        x = 1.001 * max(1.0, float(np.linalg.norm(catalog.embedding, axis=1).max()))  # unit vectors, plus rounding
        p = 1.001 * norm if world.population.transparent else 1.001
        blocks = {
            "user": ((), [Part("profile", d, -p, p), Part("known", 1, 0, 1), Part("progress", 1, 0, 1),
                          Part("sine of the day", 1, -1, 1), Part("cosine of the day", 1, -1, 1), *last, *visible]),
            "history": ((world.history,), [Part("embedding", d, -x, x), *channels]),
            "candidates": ((sizes.candidates,), [Part("embedding", d, -x, x), *attributes, *signals,
                                                 Part("match_profile", 1, -p * x, p * x), Part("match_history", 1, -x * x, x * x),
                                                 Part("exposure", 1, 0, 1)]),
            "mask": ((sizes.candidates,), [Part("available", 1, 0, 1)]),
        }  # fmt: skip
        if form == "compact":
            del blocks["candidates"], blocks["mask"]
        self.layout = Layout()
        end = 0
        for name, (lead, parts) in blocks.items():
            width = sum(part.width for part in parts)
            shape = lead if name == "mask" else (*lead, width)
            self.layout[name] = Block(slice(end, end := end + math.prod(shape)), shape, tuple(parts))
        self.width = self._visible = end
        if form == "latent":
            bound = [
                abs(m) * math.exp(6 * s) or 1.0
                for m, s in (world.population.sensitivity.get(x.name, (0, 0)) for x in market.signals)
            ]
            q = 1.001 * norm
            hidden = [Part("interest", d, -q, q), *(Part(f"sensitivity to {s.name}", 1, -b, b) for s, b in zip(market.signals, bound, strict=True)),
                      *(Part(name, math.prod(c.shape), c.low, c.high) for name, c in world.owned.items())]  # fmt: skip
            total = sum(part.width for part in hidden)
            self.layout["latent"] = Block(slice(end, end + total), (total,), tuple(hidden))
            self.width += total
        self._vector_width = sum(math.prod(c.shape) for _, c in columns if c.shape != ())
        self._vectors_at = self.layout["user"].slice.stop - self._vector_width
        self.space = self._space()

    def _space(self) -> spaces.Space[Any]:
        boxes = {}
        for name, block in self.layout.items():
            low = np.concatenate([np.full(p.width, p.low, np.float32) for p in block.parts])
            high = np.concatenate([np.full(p.width, p.high, np.float32) for p in block.parts])
            boxes[name] = spaces.Box(
                np.broadcast_to(low, block.shape), np.broadcast_to(high, block.shape), dtype=np.float32
            )
        if self.form == "dict":
            return spaces.Dict(OrderedDict(boxes))  # in the order of the flat vector, not of the alphabet
        low, high = (np.concatenate([getattr(box, side).ravel() for box in boxes.values()]) for side in ("low", "high"))
        return spaces.Box(low, high, dtype=np.float32)

    def encode(self, users: Users, out: Array) -> None:
        """Write the flat (latent, compact) observation of B users into `out` (B, width) float32."""
        world = self.world
        if self.form == "compact":
            candidates, signals = empty((len(out), 0), I32), empty((len(out), 0, 0), F32)
        else:
            candidates = users.candidates
            signals = world.market.observe(candidates, users.clock)
        _encode(
            out, users.profile, users.known, users.t, world.horizon, users.clock, users.last,
            tuple([users.__dict__[name] for name in self._columns]) or (users.known,), self._column_highs, self._vector_width,
            users.history, users.history_feedback, candidates, signals, self._signals,
            self._shown, world.catalog.topic, users.exposure,
        )  # fmt: skip
        at = self._vectors_at
        for name, high in self._vectors:
            vector = users.__dict__[name]
            _encode_vector(out, at, vector, high)
            at += vector.shape[1]
        if self.form == "latent":
            at = self._visible
            for array in (users.interest, users.sensitivity, *(users[name] for name in world.owned)):
                vector = array.reshape(len(out), -1)
                _encode_vector(out, at, vector, 1.0)
                at += vector.shape[1]

    def view(self, flat: Array) -> Any:
        """The observation in its public form: `flat` itself, or a dict of views of it."""
        if self.form != "dict":
            return flat
        lead = flat.shape[:-1]
        return {name: flat[..., block.slice].reshape(*lead, *block.shape) for name, block in self.layout.items()}


def _range(values: Array) -> tuple[float, float]:
    """Range of an attribute; zero lies in it, for that is what an empty candidate shows."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    return (low, high) if low < high else (-1.0, 1.0)


@kernel
def _pick(slate, wrong, actions, candidates, null, static):
    B, S = slate.shape
    K = candidates.shape[1]
    for b in range(B):
        wrong[b] = False
        for s in range(S):
            wrong[b] |= actions[b, s] < 0 or actions[b, s] >= K + null
        if wrong[b]:
            slate[b] = -1
            continue
        for s in range(S):
            a = actions[b, s]
            item = -1
            if a >= null:
                item = a - null if static else candidates[b, a - null]  # static: all items, in their order
            for r in range(s):  # an item counts once, at its first position
                if slate[b, r] == item:
                    item = -1
            slate[b, s] = item


@kernel
def _nearest(slate, wrong, actions, candidates, embedding, null):
    B, S = slate.shape
    K, d = candidates.shape[1], embedding.shape[1]
    slate[:] = -1
    taken = np.empty(K, np.bool_)
    for b in range(B):
        wrong[b] = False
        for k in range(actions.shape[1]):
            wrong[b] |= not (actions[b, k] >= -1.0 and actions[b, k] <= 1.0)
        if wrong[b]:
            continue
        taken[:] = False
        for s in range(S):
            best, top = -1, np.float32(-np.inf)
            if null:
                top = actions[b, d]
            for k in range(K):
                i = candidates[b, k]
                if i >= 0 and not taken[k]:
                    score = np.float32(0.0)
                    for j in range(d):
                        score += actions[b, j] * embedding[i, j]
                    if score > top:
                        best, top = k, score
            if best < 0:
                break
            taken[best] = True
            slate[b, s] = candidates[b, best]


@kernel
def _mask(mask, candidates, null):
    for b in range(mask.shape[0]):
        for a in range(mask.shape[1]):
            mask[b, a] = a < null or candidates[b, a - null] >= 0


@kernel
def _encode_vector(out, at, vector, high):
    for b in range(out.shape[0]):
        for k in range(vector.shape[1]):
            out[b, at + k] = vector[b, k] / high


@kernel
def _encode(
    out, profile, known, t, horizon, clock, last, columns, column_highs, vector_width, history, history_feedback, candidates,
    signals, shown_signals,
    shown, topic, exposure,
):  # fmt: skip
    B, K = candidates.shape
    H, d, C = history.shape[1], profile.shape[1], last.shape[1]
    A, F = shown.shape[1], shown_signals.shape[0]  # shown: the embedding, then the visible attributes
    width = A + F + 3
    taste = np.empty((1, d), np.float32)  # mean embedding of the history
    for b in range(B):
        user = out[b, : d + 4 + C]
        for k in range(d):
            user[k] = profile[b, k]
        user[d] = known[b]
        user[d + 1] = min(t[b] / horizon, 1.0)
        angle = clock[b] / 1440.0 * 6.283185307179586
        user[d + 2] = math.sin(angle)
        user[d + 3] = math.cos(angle)
        for c in range(C):
            user[d + 4 + c] = last[b, c]
        at = d + 4 + C
        for v in range(column_highs.shape[0]):
            out[b, at + v] = columns[v][b] / column_highs[v]
        at += column_highs.shape[0] + vector_width
        taste[:] = 0.0
        places = 0
        for h in range(H):
            place = out[b, at : at + d + C]
            at += d + C
            i = history[b, h]
            if i < 0:
                place[:] = 0.0
                continue
            places += 1
            for k in range(d):
                place[k] = shown[i, k]
                taste[0, k] += shown[i, k]
            for c in range(C):
                place[d + c] = history_feedback[b, h, c]
        for k in range(d):
            taste[0, k] /= np.float32(max(places, 1))
        for j in range(K):
            candidate = out[b, at : at + width]
            at += width
            i = candidates[b, j]
            if i < 0:
                candidate[:] = 0.0
                continue
            for a in range(A):
                candidate[a] = shown[i, a]
            for f in range(F):
                candidate[A + f] = signals[b, j, shown_signals[f]]
            candidate[A + F] = dot(profile, b, shown, i)
            candidate[A + F + 1] = dot(taste, 0, shown, i)
            candidate[A + F + 2] = exposure[b, topic[i]]
        for j in range(K):  # none in the compact form
            out[b, at + j] = 1.0 if candidates[b, j] >= 0 else 0.0
