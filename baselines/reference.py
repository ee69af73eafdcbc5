"""The yardsticks: Random, Popularity, and two that read the simulator's hidden state, MyopicOracle and Planner."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, unknown
from recgym.kernel import kernel
from recgym.models.dynamics import Boredom
from recgym.noise import mix, noise
from recgym.types import Feedback, Users

Array = NDArray[Any]
SHORTLIST = 64  # choices that an oracle weighs at most
DRAWS = 4  # futures in which the planner tries a whole slate


@dataclass
class Random(Agent):
    """Uniform over what can be shown (and nothing, where that is an action); no item twice in a slate.

    Its noise follows the user, so that a user meets the same choices whatever the batch.

    Args:
        seed: of the agent's own noise.
    """

    seed: int = 0

    def __post_init__(self) -> None:
        require_count("Random.seed", self.seed, 0, 2**64 - 1)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users = self.env.get_state().users
        S, null = self.env.world.slate_size, self.env.actions.null
        uniforms = noise(users.key ^ mix(self.seed), users.episode, users.t, S)
        return as_actions(_draw(uniforms, mask, null), self.env)


@dataclass
class Popularity(Agent):
    """The candidates with the highest observed popularity (or heat) first."""

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        parts = {part.name for part in env.observation_layout["candidates"].parts}
        found = [name for name in ("popularity", "heat") if name in parts]
        require(found, "Popularity", "needs a candidate feature popularity or heat", sorted(parts))
        self.feature = found[0]

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        score = candidate_feature(self.env, observation, self.feature)
        null = self.env.actions.null
        return as_actions(
            top(np.where(mask[:, int(null) :], score, -np.inf), self.env.world.slate_size) + null, self.env
        )


@dataclass
class Ranked(Agent):
    """The candidates that have most (or least) of one thing first: an informed heuristic.

    Args:
        by: an attribute of the catalogue, shown or hidden, or a user column of shape (T,), read at the item's topic.
        descending: whether most comes first.
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
        return as_actions(top(score, self.env.world.slate_size) + null, self.env)


@dataclass
class Varied(Agent):
    """The most likely clicks first, but of each topic fewer than would bore: for worlds with `Boredom`.

    A slate has at most threshold - 1 - (recent clicks on the topic) items of a topic, then items that nobody clicks.
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
        return as_actions(slate + null, self.env)


@dataclass
class MyopicOracle(Agent):
    """The best expected immediate reward, given the true state of the user.

    Exact for one item; a slate is filled greedily from the top, each place with the item (or nothing, where that is an
    action) that raises the expected reward of the slate most, by the exact probabilities of the choice model.
    """

    privileged = True

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users = self.env.get_state().users
        look = Look(self.env, users)
        slate = look.greedy(look.reward_given, look.reward_otherwise)
        return as_actions(np.take_along_axis(look.choices, slate, axis=1), self.env)


@dataclass
class Planner(Agent):
    """Approximate policy iteration on the true simulator, with the true state of the user.

    The value of the hidden state is a quadratic form in the user's scalar columns, traits and topic totals, the
    worth of the outside option and the time left. It is fitted by least-squares temporal differences on simulated
    users under the policy so far, first the myopic one, and improved `iterations` times (Lagoudakis and Parr 2003).
    To act, each candidate k is tried on the simulator, shown alone, once clicked and once not; with the values
    V_click(k) and V_else(k) of the two futures the slate maximises greedily

        sum_s P(click s) (r_s + V_click(s) - V_else(s)) + P(no click) r_otherwise + mean_s V_else(s).

    For one item this is the exact one-step lookahead; for slates the future is split by item as in SlateQ (Ie et al.
    2019). Where a slate can get several clicks, what they do together need not be the sum of what each does: where it
    earns more on the trial users, that slate competes with those of the most clickable items with at most 1, 2, 3, ...
    of a topic, each tried as a whole on the simulator. It fits itself to the env's world at the first `start`.

    Args:
        iterations: policy improvements, >= 1.
        users: simulated users an iteration, >= 100.
        after: steps after the twins' switch that enter the fit, >= 1.
        ridges: penalties of the least squares that are tried at each improvement, each > 0; worlds differ in noise.
        trials: simulated users on whom all that was fitted is compared, to keep the best, >= 10.
        seed: of the simulated users, who are not those that will be met.
    """

    iterations: int = 3
    users: int = 2000
    after: int = 10
    ridges: tuple[float, ...] = (10.0, 100.0, 1000.0)
    trials: int = 300
    seed: int = 0
    privileged = True

    def __post_init__(self) -> None:
        for name, low, high in (("iterations", 1, 1000), ("users", 100, 10**7), ("after", 1, 1000), ("trials", 10, 10**7),
                                ("seed", 0, 2**63)):  # fmt: skip
            require_count(f"Planner.{name}", getattr(self, name), low, high)
        require(len(self.ridges), "Planner.ridges", "must be numbers, at least one", self.ridges)
        for ridge in self.ridges:
            require_number("Planner.ridges", ridge, 1e-12, 1e12)
        self._value: Value | None = None
        self._whole = False  # whether whole slates are tried

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        if self._value is None:
            several = env.world.slate_size > 1 and not env.world.choice.single
            best: tuple[float, Value | None, bool] = (-np.inf, None, False)
            for iteration in range(self.iterations):
                tried = []
                for value, whole in product(self._improve(env, iteration), (False, True) if several else (False,)):
                    self._value, self._whole = value, whole
                    tried.append((self._trial(env), value, whole))
                now = max(tried, key=lambda found: found[0])
                _, self._value, self._whole = now
                best = max(best, now, key=lambda found: found[0])
            _, self._value, self._whole = best

    def _trial(self, env: RecVectorEnv) -> float:
        """Mean expected return of the present policy, on simulated users who are the same at every call."""
        world, total = env.world, 0.0
        weights, shown = env.weights
        known = len(world.response.objectives)
        users = world.arrive(np.random.default_rng([self.seed, 2**32]).integers(0, 2**64, self.trials, np.uint64))
        while len(users):
            look = Look(env, users)
            slate = np.take_along_axis(look.items, self._choose(env, users, look), axis=1)
            total += float((world.expected(users, slate) @ weights).sum() + shown * (slate >= 0).sum())
            users, feedback = world.step(users, slate, world.noise(users))
            total += float((feedback.objectives[:, known:] @ weights[known:]).sum())
            users = users.rows(~feedback.left & (users.t < world.horizon))
        return total / self.trials

    def _improve(self, env: RecVectorEnv, iteration: int) -> list[Value]:
        """The value of the present policy, from simulated twins; a fit for each of `ridges`.

        Two twins are one user with one noise. Up to a step of their own they are shown different things, each what
        suits a random taste for item attributes, and from then on both what the policy shows. Whatever makes one user
        worth more than another cancels in the difference of the twins, so the fit sees effects of the state alone.
        """
        world, n = env.world, self.users
        weights, shown = env.weights
        known = len(world.response.objectives)
        rng = np.random.default_rng([self.seed, iteration])
        users = world.arrive(np.tile(rng.integers(0, 2**64, n, np.uint64), 2))
        switch = np.tile(rng.integers(1, max(2, world.horizon // 4), n), 2)
        attributes = world.catalog.attributes
        attributes = (attributes - attributes.mean(axis=0)) / np.maximum(attributes.std(axis=0), 1e-6)
        taste = rng.standard_normal((2 * n, attributes.shape[1] + 1))  # the last is the taste for nothing
        rows, states, rewards = (
            np.arange(2 * n),
            np.full((self.after, 2 * n, 0), np.nan),
            np.zeros((world.horizon, 2 * n)),
        )
        for t in range(world.horizon):
            look = Look(env, users)
            choices = np.empty((len(rows), world.slate_size), np.int64)
            wild = t < switch[rows]
            if wild.any():
                score = (attributes[look.items[wild]] * taste[rows[wild], None, :-1]).sum(axis=2)
                score = np.where(look.items[wild] >= 0, score, taste[rows[wild], -1:])
                score += rng.standard_normal(score.shape)
                choices[wild] = top(np.where(look.free[wild], score, -np.inf), world.slate_size)
            if not wild.all():
                choices[~wild] = self._choose(env, users.rows(~wild), look.rows(~wild))
            slate = np.take_along_axis(look.items, choices, axis=1)
            state = state_features(env, users)
            if not states.shape[2]:
                states = np.full((self.after, 2 * n, state.shape[1]), np.nan)
            age = t - switch[rows]
            taken = (age >= 0) & (age < self.after)
            states[age[taken], rows[taken]] = state[taken]
            reward = world.expected(users, slate) @ weights + shown * (slate >= 0).sum(axis=1)
            users, feedback = world.step(users, slate, world.noise(users))
            rewards[t, rows] = reward + feedback.objectives[:, known:] @ weights[known:]
            stay = ~feedback.left & (users.t < world.horizon)
            rows, users = rows[stay], users.rows(stay)
            if not len(rows):
                break
        to_go = np.cumsum(rewards[::-1], axis=0)[::-1]
        at = np.minimum(switch + np.arange(self.after)[:, None], world.horizon - 1)  # (after, 2 n)
        returns = np.take_along_axis(to_go, at, axis=0)
        both = ~(np.isnan(states[:, :n, 0]) | np.isnan(states[:, n:, 0]))
        twins = states[:, :n][both], states[:, n:][both], returns[:, :n][both], returns[:, n:][both]
        return [Value.fit(*twins, ridge) for ridge in self.ridges]

    def _choose(self, env: RecVectorEnv, users: Users, look: Look) -> Array:
        if self._value is None:
            return look.greedy(look.reward_given, look.reward_otherwise)
        choices = np.empty((len(users), env.world.slate_size), np.int64)
        for rows in np.array_split(np.arange(len(users)), -(-len(users) // 256)):
            part = look.rows(rows)
            otherwise, clicked = self._futures(env, users.rows(rows), part.items)
            slate = part.greedy(part.reward_given + clicked - otherwise, part.reward_otherwise, otherwise)
            choices[rows] = self._best(env, users.rows(rows), part, slate) if self._whole else slate
        return choices

    def _best(self, env: RecVectorEnv, users: Users, look: Look, slate: Array) -> Array:
        """The best of some whole slates: the given one and those with at most so many items of a topic."""
        world, (B, S) = env.world, slate.shape
        slates = [slate, *(look.varied(most) for most in (*range(1, min(S, 6)), S))]
        weights, known = env.weights[0], len(world.response.objectives)
        branch = users.replace(candidates=users.candidates[:, :0]).rows(np.tile(np.arange(B), DRAWS))
        key = np.repeat(mix(range(self.seed + 1, self.seed + 1 + DRAWS)), B)
        branch = branch.replace(key=branch.key ^ key)  # the same futures for all slates
        noise = world.noise(branch)
        worth = []
        for choice in slates:
            shown = np.take_along_axis(look.items, choice, axis=1)
            after, feedback = world.step(branch, np.tile(shown, (DRAWS, 1)), noise)
            future = self._worth(env, after, feedback)
            future += feedback.objectives[:, known:] @ weights[known:]
            worth.append(world.expected(users, shown) @ weights + future.reshape(DRAWS, B).mean(axis=0))
        best = np.argmax(worth, axis=0)
        return np.stack(slates, axis=1)[np.arange(B), best]

    def _futures(self, env: RecVectorEnv, users: Users, items: Array) -> tuple[Array, Array]:
        """(B, n) values after showing each item alone: not clicked, and clicked."""
        world, (B, n) = env.world, items.shape
        branch = users.replace(candidates=users.candidates[:, :0]).rows(np.repeat(np.arange(B), 2 * n))
        branch = branch.replace(key=np.repeat(users.key ^ mix(self.seed + 1), 2 * n))  # what will happen is not known
        slate = np.full((2 * B * n, world.slate_size), -1, np.int32)
        slate[:, 0] = np.repeat(items.ravel(), 2)
        click = np.zeros(slate.shape, np.bool_)
        click[1::2, 0] = slate[1::2, 0] >= 0
        after, feedback = world.step(branch, slate, world.noise(branch), click)
        value = self._worth(env, after, feedback).reshape(B, n, 2)
        return value[:, :, 0], value[:, :, 1]

    def _worth(self, env: RecVectorEnv, after: Users, feedback: Feedback) -> Array:
        """(B,) values of users after a step; 0 where it was their last."""
        assert self._value is not None
        alive = ~feedback.left & (after.t < env.world.horizon)
        return np.where(alive, self._value(state_features(env, after)), 0.0)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        users = self.env.get_state().users
        alive = np.flatnonzero(~(self.env.stepper.terminated | self.env.stepper.truncated))
        choices = np.zeros((len(users), self.env.world.slate_size), np.int64)
        if len(alive):
            users = users.rows(alive)
            look = Look(self.env, users)
            choices[alive] = np.take_along_axis(look.choices, self._choose(self.env, users, look), axis=1)
        return as_actions(choices, self.env)


def state_features(env: RecVectorEnv, users: Users) -> Array:
    """(B, f) float64: what the value of a user may depend on, whatever the world."""
    world = env.world
    columns = [users.t / world.horizon, world.preference.outside(users, world.catalog, world.market)]
    for name, column in world.owned.items():
        if column.dtype is np.float32:
            values = users[name].reshape(len(users), -1)
            columns.append(values[:, 0] if column.shape == () else values.sum(axis=1))
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True)
class Value:
    """A quadratic form in standardised features, clipped to four standard deviations."""

    mean: Array  # (f,)
    scale: Array  # (f,)
    theta: Array  # (1 + f + f (f + 1) / 2,)

    @classmethod
    def fit(cls, one: Array, other: Array, one_return: Array, other_return: Array, ridge: float) -> Value:
        """Ridge regression of the difference of (m,) returns on that of the expanded (m, f) features of twins."""
        features, target = np.concatenate([one, other]), np.concatenate([one_return, other_return])
        mean, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        value = cls(mean, scale, np.empty(0))
        x, y = value.expand(one) - value.expand(other), one_return - other_return
        theta = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y)
        theta[0] = target.mean() - (value.expand(features) @ theta).mean()
        return cls(mean, scale, theta)

    def expand(self, features: Array) -> Array:
        """(n, 1 + f + f (f + 1) / 2) monomials up to degree two."""
        z = np.clip((features - self.mean) / self.scale, -4.0, 4.0)
        i, j = np.triu_indices(z.shape[1])
        return np.concatenate([np.ones((len(z), 1)), z, z[:, i] * z[:, j]], axis=1)

    def __call__(self, features: Array) -> Array:
        return self.expand(features) @ self.theta


class Look:
    """What an oracle sees of B users: for each choice (nothing first, where that is an action) its item and worth.

    Of more than `SHORTLIST` choices it keeps so many: half of them those of the highest expected reward when shown
    alone, the others the best of each topic, then the second best, and so on.
    """

    def __init__(self, env: RecVectorEnv, users: Users) -> None:
        self.world, self.null = env.world, env.actions.null
        nothing = np.full((len(users), int(self.null)), -1, np.int32)
        self.items = np.concatenate([nothing, users.candidates], axis=1)  # (B, n)
        self.utility, self.outside, given, otherwise = self.world.appraise(users, self.items)
        weights, self.shown = env.weights
        self.reward_given = given @ weights  # (B, n), given a click on it
        self.reward_otherwise = otherwise @ weights  # (B,)
        self.free = (self.items >= 0) | (np.arange(self.items.shape[1]) < self.null)  # (B, n)
        self.choices = np.broadcast_to(
            np.arange(self.items.shape[1]), self.items.shape
        )  # (B, n) numbers of the choices
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
        """The same of some of the users."""
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
        """(B, S) choices: each place takes what raises most the worth of the slate so far.

        Args:
            given: (B, n) worth of a click. otherwise: (B,) worth of no click.
            impression: (B, n) worth of being shown; a slate has the mean of its items.
        """
        B, n = self.items.shape
        S, choice = self.world.slate_size, self.world.choice
        slate = np.zeros((B, S), np.int64)
        utility = np.full((B, n, S), -np.inf, np.float32)  # of the slate so far, with each choice in the next place
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
            if s > 0:  # the part of the places before does not vanish where this place shows nothing
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


def as_actions(choices: Array, env: RecVectorEnv) -> Array:
    """(B, S) choices as actions of the env: (B,) for items."""
    return choices[:, 0] if env.actions.form == "item" else choices


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
    """Put choice k of worth w in its place of a list in descending order, whose last falls out."""
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
        for k in range(n):  # what is left over goes to whoever comes first
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
    """The highest utilities first, of topics that have room left; where none has, what is clicked least.

    `topic` is -1 where a choice shows nothing; `room` (B, T) is used up.
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
