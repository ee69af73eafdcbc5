"""Forms of actions: what an agent says, and the slate that it shows.

`ItemAction` names one candidate, `SlateAction` one for each position, `EmbeddingAction` points into the space of the
embeddings, `WeightsAction` weighs what is visible of a candidate. Another form is another subclass of `Action`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import numpy as np
from gymnasium import spaces

from recgym.errors import ConfigError, SlateError, brief, require
from recgym.forms import Form
from recgym.kernel import compiled, inlined, kernel
from recgym.lanes import dot
from recgym.observations import FlatObservation
from recgym.types import BOOL, F32, I32, Array, Users, empty
from recgym.world import World


class Action(Form):
    """A form of actions in a world.

    A form of your own is a subclass with a name (`form`), the `space` of one user's action and `decode`. Pass the class
    to an environment, ``action=Swipe``; once the class is defined, its name will do, ``action="swipe"``.

    Args:
        world: what is recommended to whom. null: whether recommending nothing is an action.

    Attributes:
        shape: of one user's action. n: number of choices per position: the K candidates, and nothing if `null`.
        static: whether all items are candidates at every step.

    Raises:
        ConfigError: the form does not fit the world, or its space is not a Discrete, MultiDiscrete, MultiBinary or Box.
    """

    indexed = False  # whether an action names a choice for each position, as `encode` and `choices` need

    def __init__(self, world: World, null: bool = False) -> None:
        require(isinstance(null, bool), "null_action", "must be True or False", null)
        self.world, self.null = world, null
        self.n = world.n_candidates + null
        self.static = world.candidates.static(world.market, world.sizes.items)
        self.space = space = self.make_space()
        require(isinstance(space, spaces.Space), "action", "must have a space of Gymnasium's", space)
        self._low, self._high = bounds = _bounds(space)
        self._dtype = bounds[0].dtype
        self.shape: tuple[int, ...] = space.shape or ()
        integers = self._dtype.kind == "i" and len({*self._low.tolist()}) == len({*self._high.tolist()}) == 1
        self._range = (int(self._low[0]), int(self._high[0])) if integers else None  # of all numbers, where it is one
        self._ones: Array = np.empty((0, self.n), np.bool_)

    @abstractmethod
    def make_space(self) -> spaces.Space[Any]:
        """The space of one user's action.

        Raises:
            ConfigError: the form does not fit `self.world`.
        """

    @abstractmethod
    def decode(self, actions: Array, users: Users) -> Array:
        """The slates that actions show.

        Args:
            actions: (B, *shape) int64, or float32 for a Box of floats; all in the space. users: who sees the slates;
                `users.candidates` is (B, K) int32, -1 where there is none.

        Returns:
            (B, S) int32 ids of candidates, -1 where a position shows nothing; no item is shown twice.
        """

    def encode(self, choices: Array) -> Array:
        """The actions that show given choices.

        Args:
            choices: (B, S) integers in [0, n): the number of a candidate in `users.candidates`; where `null`, 0 is
                nothing and k + 1 the candidate k.

        Raises:
            ConfigError: actions of this form name no candidates.
        """
        raise ConfigError(f"action: must be an action that names candidates here, got {self.form!r}")

    def choices(self, actions: Array) -> Array:
        """(B, S) choices that actions name: the inverse of `encode`.

        Raises:
            ConfigError: actions of this form name no candidates.
        """
        raise ConfigError(f"action: must be an action that names candidates here, got {self.form!r}")

    def mask(self, candidates: Array) -> Array:
        """(B, n) bool: which choices show a candidate that is there. Showing nothing, where it is a choice, is always allowed.

        Where all items are candidates at every step, one read-only array serves all steps.
        """
        if self.static:
            if len(self._ones) != len(candidates):
                self._ones = np.ones((len(candidates), self.n), np.bool_)
                self._ones.flags.writeable = False
            return self._ones
        mask = empty((candidates.shape[0], self.n), BOOL)
        _mask(mask, candidates, self.null)
        return mask

    def space_mask(self, mask: Array) -> Array:
        """Which actions are allowed, as sb3-contrib asks: one column for each value of each number of an action.

        Args:
            mask: (B, n) of `mask`.

        Returns:
            (B, values) bool; here all True, since only the form itself knows what each action shows.

        Raises:
            ConfigError: the space has no countable values, or too many.
        """
        values = math.inf if self._dtype.kind == "f" else int((self._high - self._low + 1).sum())
        rule = "must have actions that can be counted, a million at most, for masks of them"
        require(values <= 10**6, "action", rule, self.form)
        return np.ones((len(mask), int(values)), np.bool_)

    def spread(self, uniforms: Array) -> Array:
        """Actions spread over the space: (B, *shape) from uniforms in (0, 1) of that shape; unbounded sides end at +-1."""
        low, high = self._low.reshape(self.shape), self._high.reshape(self.shape)
        if self._dtype.kind != "f":
            return np.floor(low + uniforms * (high - low + 1)).astype(np.int64)
        low, high = np.where(np.isfinite(low), low, -1), np.where(np.isfinite(high), high, 1)
        return (low + (high - low) * uniforms).astype(self._dtype)

    def batch(self, actions: Any, n_users: int | None) -> Array:
        """Actions of n users, or the action of a single user (None), checked, as an array that a kernel takes.

        Returns:
            (n, *shape) int64, or float32 for a Box of floats; C-contiguous, writeable and in the space.

        Raises:
            SlateError: not integers (or numbers, for a Box of floats), of another shape, or outside the space.
        """
        if (  # a single user's array as a space gives it, in a fraction of the time of what follows
            n_users is None
            and type(actions) is np.ndarray
            and actions.dtype is self._dtype
            and actions.shape == self.shape != ()
            and self._range is not None
            and actions.flags.carray
        ):
            chosen = actions.ravel().tolist()
            if min(chosen) >= self._range[0] and max(chosen) <= self._range[1]:
                return actions[None]
        try:
            array = np.asarray(actions)
        except Exception:  # ragged, or whatever an object's own conversion raises
            raise SlateError(f"action: must be an array, got {brief(actions)}") from None
        real = self._dtype.kind == "f"
        if array.dtype.kind not in ("fiu" if real else "iu"):
            what = "numbers" if real else "integers"
            raise SlateError(f"action: must be {what}, got {brief(actions)} of type {array.dtype}")
        shape = self.shape if n_users is None else (n_users, *self.shape)
        if array.shape != shape:
            raise SlateError(f"action: must have shape {shape}, got {array.shape}")
        if n_users is None:
            array = array[None]
        given = array
        if array.dtype != self._dtype:  # out of range stays out of range, as infinity or the largest integer
            if real:
                with np.errstate(over="ignore"):
                    array = array.astype(self._dtype)
            elif array.dtype == np.uint64:
                array = np.minimum(array, np.uint64(2**63 - 1))
        if not (array.dtype == self._dtype and array.flags.carray):  # contiguous, aligned and writeable
            array = np.array(array, self._dtype, order="C")
        numbers = array.ravel()
        if n_users is None and self._range is not None:  # half the time of a kernel
            chosen = numbers.tolist()
            wrong = 0 if min(chosen) < self._range[0] or max(chosen) > self._range[1] else -1
        else:
            wrong = _outside(numbers, self._low, self._high)
        if wrong >= 0:
            self.refuse(given[wrong], wrong)
        return array

    def refuse(self, action: Any, user: int) -> None:
        """Raise the error of an action outside the space.

        Raises:
            SlateError: always.
        """
        low, high = np.unique(self._low), np.unique(self._high)
        rule = f"[{low[0]:g}, {high[0]:g}]" if len(low) == len(high) == 1 else str(self.space)
        raise SlateError(f"action: must lie in {rule}, got {brief(action.tolist())} for user {user}")


class ItemAction(Action):
    """One candidate, for slates of one: `Discrete(n)`, 0 for nothing where that is an action."""

    form = "item"
    indexed = True

    def make_space(self) -> spaces.Space[Any]:
        S = self.world.slate_size
        require(S == 1, "action", f'"item" needs slate_size=1, not {S}; use "slate"', self.form)
        return spaces.Discrete(self.n)

    def decode(self, actions: Array, users: Users) -> Array:
        return _picked(self, actions.reshape(len(actions), 1), users.candidates)

    def encode(self, choices: Array) -> Array:
        return choices[:, 0]

    def choices(self, actions: Array) -> Array:
        return actions[:, None]

    def space_mask(self, mask: Array) -> Array:
        return mask


class SlateAction(Action):
    """One candidate for each position, `MultiDiscrete([n] * S)`, 0 for nothing where that is an action.

    An item that is repeated in a slate is shown once, at its first position; the others stay empty.
    """

    form = "slate"
    indexed = True

    def make_space(self) -> spaces.Space[Any]:
        return spaces.MultiDiscrete([self.n] * self.world.slate_size)

    def decode(self, actions: Array, users: Users) -> Array:
        return _picked(self, actions, users.candidates)

    def encode(self, choices: Array) -> Array:
        return choices

    def choices(self, actions: Array) -> Array:
        return actions

    def space_mask(self, mask: Array) -> Array:
        return np.tile(mask, self.world.slate_size)


class EmbeddingAction(Action):
    """A point in the space of the embeddings, `Box(-1, 1, (d,))`: it shows the S candidates of the largest dot product.

    Where recommending nothing is an action, the point has one more coordinate, the score of showing nothing: only
    candidates that score higher are shown. The search is exact, whatever the number of candidates: its recall is 1. Dulac-Arnold
    et al., "Deep reinforcement learning in large discrete action spaces", 2015.
    """

    form = "embedding"

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Box(-1.0, 1.0, (self.world.sizes.dimensions + self.null,), np.float32)

    def decode(self, actions: Array, users: Users) -> Array:
        shape = users.candidates.shape[0], self.world.slate_size
        slate, scores = empty(shape, I32), empty(shape, F32)
        _nearest(slate, scores, actions, users.candidates, self.world.catalog.embedding, self.null)
        return slate


class WeightsAction(Action):
    """Weights of what is visible of a candidate, `Box(-1, 1, (F,))`: it shows the S candidates of the largest scores.

    The score is a weighted sum of the numbers that the flat observation has of a candidate, except its embedding, as
    their distance from the mean over the user's candidates in standard deviations:

        z_kf    = (x_kf - mean_f) / deviation_f, 0 where all candidates have the same number
        score_k = sum_f w_f z_kf / |w|

    Only the direction of the weights counts; with zeros, candidates are shown in their order. Where recommending
    nothing is an action, there is one more coordinate, a third of the score of showing nothing: only candidates that score
    higher are shown. A platform's ranking is steered in this form by Hu et al., "Reinforcement learning to rank in
    e-commerce search engine", KDD 2018.

    Attributes:
        names: what each of the F numbers is.
    """

    form = "weights"

    def make_space(self) -> spaces.Space[Any]:
        self._seen = FlatObservation(self.world)
        numbers, at = {}, 0
        for part in self._seen.layout["candidates"].parts:
            if part.name != "embedding":
                numbers[part.name] = at
            at += part.width
        self.names = tuple(numbers)
        self._columns = np.array([*numbers.values()], np.int64)
        return spaces.Box(-1.0, 1.0, (len(self.names) + self.null,), np.float32)

    def decode(self, actions: Array, users: Users) -> Array:
        B, F, S = len(actions), len(self.names), self.world.slate_size
        seen, slate, scores = empty((B, self._seen.width), F32), empty((B, S), I32), empty((B, S), F32)
        weights = empty((B, F), F32)
        self._seen.encode(users, seen)
        first = self._seen.layout["candidates"].slice.start
        _weigh(slate, scores, weights, actions, seen, first, self._columns, users.candidates, self.null)
        return slate


def _bounds(space: spaces.Space[Any]) -> tuple[Array, Array]:
    """Least and largest value of each number of an action, flat: int64, or float32 of a Box of floats.

    Raises:
        ConfigError: the space is of another kind, or its numbers are beyond these types.
    """
    if isinstance(space, spaces.Discrete):
        bounds = [int(space.start)], [int(space.start) + int(space.n) - 1]
    elif isinstance(space, spaces.MultiDiscrete):
        low, sizes = space.start.ravel().tolist(), space.nvec.ravel().tolist()
        bounds = low, [start + size - 1 for start, size in zip(low, sizes)]
    elif isinstance(space, spaces.MultiBinary):
        bounds = [0] * math.prod(space.shape), [1] * math.prod(space.shape)
    else:
        known = "a Discrete, MultiDiscrete, MultiBinary or Box space"
        require(
            isinstance(space, spaces.Box) and space.dtype.kind in "fiu",
            "action",
            f"must be of {known} of numbers",
            space,
        )
        assert isinstance(space, spaces.Box)
        bounds = space.low.ravel().tolist(), space.high.ravel().tolist()
    require(len(bounds[0]) > 0, "action", "must have one number at least", space)
    real = isinstance(space, spaces.Box) and np.dtype(space.dtype).kind == "f"  # type: ignore[arg-type]
    most = float(np.finfo(np.float32).max) if real else 2**53
    fits = all(abs(bound) <= most or (real and math.isinf(bound)) for side in bounds for bound in side)
    require(fits, "action", f"must have bounds within +-{most:g}", space)
    dtype = np.float32 if real else np.int64
    return np.array(bounds[0], dtype), np.array(bounds[1], dtype)


def _picked(form: Action, choices: Array, candidates: Array) -> Array:
    """(B, S) int32: the candidates of choices (B, S), each at its first position."""
    slate = empty((candidates.shape[0], form.world.slate_size), I32)
    _pick(slate, choices, candidates, form.null, form.static)
    return slate


@compiled
def _outside(actions, low, high):
    """The first of several actions, all in one row, that has a number beyond its bounds, or NaN; -1 if none has."""
    n = low.shape[0]
    for b in range(actions.shape[0] // n):
        for k in range(n):
            action = actions[b * n + k]
            if not (action >= low[k] and action <= high[k]):
                return b
    return -1


@kernel
def _pick(slate, choices, candidates, null, static):
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            a = choices[b, s]
            item = -1
            if a >= null:
                item = a - null if static else candidates[b, a - null]  # static: all items, in their order
            for r in range(s):  # an item counts once, at its first position
                if slate[b, r] == item:
                    item = -1
            slate[b, s] = item


@kernel
def _insert(slate, scores, b, score, item):
    """Put an item among the best of row b, which stand in descending order, in the place of the last, which scores less.

    Of equal scores the first stays in front.
    """
    s = slate.shape[1] - 1
    while s > 0 and score > scores[b, s - 1]:
        scores[b, s], slate[b, s] = scores[b, s - 1], slate[b, s - 1]
        s -= 1
    scores[b, s], slate[b, s] = score, item


@inlined
def _nearest(slate, scores, actions, candidates, embedding, null):
    """The S candidates of the largest dot product, in descending order, in one pass over them."""
    B, S = slate.shape
    K, d = candidates.shape[1], embedding.shape[1]
    for b in range(B):
        for s in range(S):
            slate[b, s] = -1
            scores[b, s] = actions[b, d] if null else np.float32(-np.inf)
    for first in range(0, K, 256):  # so many items stay in the cache while all users look at them
        for b in range(B):
            for k in range(first, min(first + 256, K)):
                i = candidates[b, k]
                if i < 0:
                    continue
                score = dot(embedding, i, actions, b)
                if score > scores[b, S - 1]:
                    _insert(slate, scores, b, score, i)


@kernel
def _weigh(slate, scores, weights, actions, seen, first, columns, candidates, null):
    B, S = slate.shape
    K, F = candidates.shape[1], columns.shape[0]
    width = (seen.shape[1] - first) // K - 1  # of a candidate; the mask has one number more for each
    for b in range(B):
        x = seen[b, first : first + K * width].reshape((K, width))
        norm = 0.0
        for f in range(F):
            norm += actions[b, f] * actions[b, f]
        norm = math.sqrt(norm)
        offset = 0.0  # score_k = weights . x_k - offset
        for f in range(F):
            n, total = 0, 0.0
            for k in range(K):
                if candidates[b, k] >= 0:
                    n, total = n + 1, total + x[k, columns[f]]
            mean, squares = total / max(n, 1), 0.0
            for k in range(K):
                if candidates[b, k] >= 0:
                    squares += (x[k, columns[f]] - mean) ** 2
            deviation = math.sqrt(squares / max(n, 1))
            weights[b, f] = actions[b, f] / (norm * deviation) if norm * deviation > 1e-12 else 0.0
            offset += weights[b, f] * mean
        for s in range(S):
            slate[b, s] = -1
            scores[b, s] = 3.0 * actions[b, F] if null else -np.inf
        for k in range(K):
            if candidates[b, k] < 0:
                continue
            score = np.float32(-offset)
            for f in range(F):
                score += weights[b, f] * x[k, columns[f]]
            if score > scores[b, S - 1]:
                _insert(slate, scores, b, score, candidates[b, k])


@kernel
def _mask(mask, candidates, null):
    for b in range(mask.shape[0]):
        for a in range(mask.shape[1]):
            mask[b, a] = a < null or candidates[b, a - null] >= 0


@kernel
def allowed(slate, wrong, candidates):
    """Empties the slates that show an item that is not a candidate of the user, or one twice, and marks them as wrong."""
    for b in range(slate.shape[0]):
        wrong[b] = False
        for s in range(slate.shape[1]):
            i = slate[b, s]
            found = i == -1
            for k in range(candidates.shape[1]):
                found |= i >= 0 and candidates[b, k] == i
            for r in range(s):
                found &= i == -1 or slate[b, r] != i
            wrong[b] |= not found
        if wrong[b]:
            slate[b] = -1
