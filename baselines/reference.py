"""Agents that learn nothing, to compare others with: rules of thumb, and an oracle that reads the hidden state.

`baselines.planner` has the oracle that plans ahead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, unknown
from recgym.kernel import kernel
from recgym.models.dynamics import Boredom
from recgym.noise import mix, noise
from recgym.types import Users

Array = NDArray[Any]
SHORTLIST = 64  # choices that an oracle weighs at most


@dataclass
class Random(Agent):
    """Random slates: uniform over the candidates (and nothing, where that is an action), no item twice in a slate.

    The draws belong to the user: the same user is shown the same choices in any batch.

    Args:
        seed: of the draws.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        require_count("Random.seed", self.seed, 0, 2**64 - 1)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users = self.env.get_state().users
        S, null = self.env.world.slate_size, self.env.actions.null
        uniforms = noise(users.key ^ mix(self.seed), users.episode, users.t, S)
        return self.env.actions.encode(_draw(uniforms, mask, null))


@dataclass
class Popularity(Agent):
    """Shows the candidates with the highest observed popularity (or heat), the highest first."""

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        parts = {part.name for part in env.observation_layout["candidates"].parts}
        found = [name for name in ("popularity", "heat") if name in parts]
        require(found, "Popularity", "needs a candidate feature popularity or heat", sorted(parts))
        self.feature = found[0]

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        score = candidate_feature(self.env, observation, self.feature)
        null = self.env.actions.null
        choices = top(np.where(mask[:, int(null) :], score, -np.inf), self.env.world.slate_size) + null
        return self.env.actions.encode(choices)


@dataclass
class Ranked(Agent):
    """Shows the candidates with the highest (or lowest) value of one attribute, in that order.

    Args:
        by: an attribute of the catalogue, shown or hidden; or a column of the user with a value for each topic, of
            which that of the item's topic counts.
        descending: whether the highest comes first.
    """

    by: str = "quality"
    descending: bool = True
    privileged = True

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        columns = {name for name, c in env.world.owned.items() if c.shape == (env.world.sizes.topics,)}
        if self.by not in (*env.world.catalog.names, *columns):
            unknown("Ranked.by", self.by, [*env.world.catalog.names, *columns])

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users, catalog, null = self.env.get_state().users, self.env.world.catalog, self.env.actions.null
        items = users.candidates
        if self.by in catalog.names:
            score = catalog[self.by][items]
        else:
            score = np.take_along_axis(users[self.by], catalog.topic[items].astype(np.int64), axis=1)
        score = np.where(items >= 0, score if self.descending else -score, -np.inf)
        return self.env.actions.encode(top(score, self.env.world.slate_size) + null)


@dataclass
class Varied(Agent):
    """Shows the most likely clicks, but of each topic fewer than would bore: for worlds with `Boredom`.

    Of a topic, a slate has at most threshold - 1 - (recent clicks on the topic) items. What is left of the slate is
    filled with the least likely clicks.
    """

    privileged = True

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        found = [part for part in env.world.dynamics if isinstance(part, Boredom)]
        require(found, "Varied", "needs a world with Boredom", [part.kind for part in env.world.dynamics])
        self.threshold = found[0].threshold

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users, world, null = self.env.get_state().users, self.env.world, self.env.actions.null
        items = users.candidates
        topic = np.where(items >= 0, world.catalog.topic[items], -1)
        slate = np.empty((len(users), world.slate_size), np.int64)
        _varied(slate, world.appraise(users, items)[0], items >= 0, topic, self.threshold - 1 - users.recent)
        return self.env.actions.encode(slate + null)


@dataclass
class MyopicOracle(Agent):
    """Shows the slate of the best expected reward of the step, given the true state of the user.

    For one item it is exact. A slate is filled greedily from the first position on: each gets the item (or nothing, where
    that is an action) that raises the expected reward of the slate most, by the exact probabilities of the choice model.
    """

    privileged = True

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users = self.env.get_state().users
        look = Look(self.env, users)
        slate = look.greedy(look.reward_given, look.reward_otherwise)
        return self.env.actions.encode(np.take_along_axis(look.choices, slate, axis=1))


class Look:
    """What an oracle knows of B users: the item and the worth of each choice (of nothing first, where it is an action).

    At most `SHORTLIST` choices are kept: half of them those of the highest expected reward when shown alone, the others
    the best of each topic, then the second best of each, and so on.
    """

    def __init__(self, env: RecVectorEnv, users: Users, weights: Any = None) -> None:
        self.world, self.null = env.world, env.actions.null
        nothing = np.full((len(users), int(self.null)), -1, np.int32)
        self.items = np.concatenate([nothing, users.candidates], axis=1)  # (B, n)
        self.utility, self.outside, given, otherwise = self.world.appraise(users, self.items)
        paid, self.shown = env.weights
        w = np.broadcast_to(paid if weights is None else weights, (len(users), len(paid)))
        self.reward_given = np.einsum("bnm,bm->bn", given, w)  # (B, n), given a click on it
        self.reward_otherwise = np.einsum("bm,bm->b", otherwise, w)  # (B,)
        self.free = (self.items >= 0) | (np.arange(self.items.shape[1]) < self.null)  # (B, n)
        self.choices = np.broadcast_to(np.arange(self.items.shape[1]), self.items.shape)  # (B, n), of the env
        if self.items.shape[1] > SHORTLIST:
            self._shorten()

    def _shorten(self) -> None:
        B, n = self.items.shape
        alone = self.utility.reshape(-1, 1).copy()
        probability = self.world.choice.probability(alone, np.repeat(self.outside, n)).reshape(B, n)
        worth = np.where(self.items >= 0, probability * (self.reward_given - self.reward_otherwise[:, None]), 0.0)
        worth[~self.free] = -np.inf
        keep = np.empty((B, SHORTLIST), np.int64)
        _shortlist(keep, worth, self.items, self.world.catalog.topic, self.world.sizes.topics, int(self.null))
        for name in ("items", "utility", "reward_given", "free", "choices"):
            setattr(self, name, np.ascontiguousarray(np.take_along_axis(getattr(self, name), keep, axis=1)))

    def rows(self, index: Array) -> Look:
        """The same for some of the users."""
        part = object.__new__(Look)
        part.world, part.null, part.shown = self.world, self.null, self.shown
        for name in ("items", "utility", "outside", "reward_given", "reward_otherwise", "free", "choices"):
            setattr(part, name, getattr(self, name)[index])
        return part

    def varied(self, most: int) -> Array:
        """(B, S) choices: the highest utilities first, at most `most` items of a topic as long as there are others."""
        topic = np.where(self.items >= 0, self.world.catalog.topic[self.items], -1)
        slate = np.empty((len(topic), self.world.slate_size), np.int64)
        room = np.full((len(topic), self.world.sizes.topics), most)
        _varied(slate, np.where(self.items >= 0, self.utility, -np.inf), np.ones(topic.shape, np.bool_), topic, room)
        return slate

    def greedy(self, given: Array, otherwise: Array, impression: Array | None = None) -> Array:
        """(B, S) choices: each position gets the choice that raises the worth of the slate so far most.

        Args:
            given: (B, n) worth of a click. otherwise: (B,) worth of no click.
            impression: (B, n) worth of being shown; a slate has the mean of its items.
        """
        B, n = self.items.shape
        S, choice = self.world.slate_size, self.world.choice
        slate = np.zeros((B, S), np.int64)
        utility = np.full((B, n, S), -np.inf, np.float32)  # of the slate so far, with each choice in the next position
        gain = np.zeros((B, n, S))
        free = self.free.copy()
        shown = np.zeros(B)
        impressions = np.zeros(B)
        rows = np.arange(B)
        outside = np.repeat(self.outside, n)
        for s in range(S):
            utility[:, :, s], gain[:, :, s] = self.utility, given - otherwise[:, None]
            probability = choice.probability(utility[:, :, : s + 1].reshape(B * n, s + 1).copy(), outside)
            worth = (
                probability.reshape(B, n, s + 1) * np.where(self.items[:, :, None] >= 0, gain[:, :, : s + 1], 0)
            ).sum(axis=2)
            if s > 0:  # where this position shows nothing, the slate is worth what the positions before it are
                kept = probability.reshape(B, n, s + 1)[:, :, :s] * gain[:, :, :s]
                worth = np.where(self.items >= 0, worth, kept.sum(axis=2))
            worth += self.shown * (self.items >= 0)
            if impression is not None:
                worth += (impressions[:, None] + impression) / (s + 1)
            best = np.argmax(np.where(free, worth, -np.inf), axis=1)
            slate[:, s] = best
            utility[:, :, s], gain[:, :, s] = (
                self.utility[rows, best][:, None],
                (given[rows, best] - otherwise)[:, None],
            )
            if impression is not None:
                impressions += impression[rows, best]
            shown += self.items[rows, best] >= 0
            free[rows, best] &= best < self.null  # an item is shown once, nothing any number of times
        return slate


def candidate_feature(env: RecVectorEnv, observation: Array, name: str) -> Array:
    """(B, K) float32: a scalar feature of the candidates, by name, from flat observations."""
    block = env.observation_layout["candidates"]
    at = 0
    for part in block.parts:
        if part.name == name:
            return observation[:, block.slice].reshape(-1, *block.shape)[:, :, at]
        at += part.width
    require(False, "candidate feature", f"must be one of {[part.name for part in block.parts]}", name)
    raise AssertionError


def top(score: Array, n: int) -> Array:
    """(B, n) indices of the n highest scores of each row, best first; ties go to the first."""
    return np.argsort(-score, axis=1, kind="stable")[:, :n]


@kernel
def _insert(worth, items, w, k):
    """Insert choice k of worth w into a list in descending order, whose last entry falls out."""
    if w <= worth[-1]:
        return
    at = len(worth) - 1
    while at > 0 and worth[at - 1] < w:
        worth[at], items[at] = worth[at - 1], items[at - 1]
        at -= 1
    worth[at], items[at] = w, k


@kernel
def _shortlist(keep, worth, items, topic, n_topics, null):
    """The choices to keep, in ascending order: nothing (where allowed), half of the highest worth, then by topic."""
    B, n = worth.shape
    L = keep.shape[1]
    half, each = L // 2, max(1, L // 2 // n_topics)
    best, best_worth = np.empty(half, np.int64), np.empty(half)
    of_topic, topic_worth = np.empty((n_topics, each), np.int64), np.empty((n_topics, each))
    taken = np.empty(n, np.bool_)
    for b in range(B):
        best[:], best_worth[:], of_topic[:], topic_worth[:], taken[:] = -1, -np.inf, -1, -np.inf, False
        for k in range(null, n):
            if worth[b, k] > -np.inf:
                _insert(best_worth, best, worth[b, k], k)
                _insert(topic_worth[topic[items[b, k]]], of_topic[topic[items[b, k]]], worth[b, k], k)
        count = 0
        for k in range(null):
            taken[k] = True
            count += 1
        for k in best:
            if k >= 0 and not taken[k]:
                taken[k] = True
                count += 1
        for r in range(each):
            for z in range(n_topics):
                k = of_topic[z, r]
                if k >= 0 and not taken[k] and count < L:
                    taken[k] = True
                    count += 1
        for k in range(n):  # the first of the rest fill the list
            if not taken[k] and count < L:
                taken[k] = True
                count += 1
        at = 0
        for k in range(n):
            if taken[k]:
                keep[b, at] = k
                at += 1


@kernel
def _varied(slate, utility, free, topic, room):
    """Fill slates with the highest utilities of topics that have room left; where none has, with the lowest utility.

    `topic` is -1 where a choice shows nothing; `room` (B, T), items that a topic may still have, is written to.
    """
    B, n = utility.shape
    taken = np.empty(n, np.bool_)
    for b in range(B):
        taken[:] = False
        for s in range(slate.shape[1]):
            best, least = -1, -1
            for k in range(n):
                if taken[k] or not free[b, k]:
                    continue
                if topic[b, k] >= 0 and room[b, topic[b, k]] > 0 and (best < 0 or utility[b, k] > utility[b, best]):
                    best = k
                if least < 0 or utility[b, k] < utility[b, least]:
                    least = k
            pick = max(best if best >= 0 else least, 0)
            slate[b, s] = pick
            taken[pick] = True
            if topic[b, pick] >= 0:
                room[b, topic[b, pick]] -= 1


@kernel
def _draw(uniforms, mask, null):
    S, B = uniforms.shape
    out = np.zeros((B, S), np.int64)
    free = np.empty(mask.shape[1], np.bool_)
    for b in range(B):
        free[:] = mask[b]
        for s in range(S):
            left = 0
            for k in range(free.shape[0]):
                left += free[k]
            skip = int(uniforms[s, b] * left)
            for k in range(free.shape[0]):
                if free[k]:
                    if skip == 0:
                        out[b, s] = k
                        free[k] = null and k == 0
                        break
                    skip -= 1
    return out
