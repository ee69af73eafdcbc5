"""An oracle that plans: approximate policy iteration on the simulator, whose hidden state it reads."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent
from baselines.reference import Look, top
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number
from recgym.noise import mix
from recgym.types import Feedback, Users

Array = NDArray[Any]
DRAWS = 4  # futures in which the planner tries a whole slate


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
        users: simulated users per iteration, >= 100.
        after: steps after the twins' switch that enter the fit, >= 1.
        ridges: penalties of the least squares that are tried at each improvement, each > 0; worlds differ in noise.
        trials: simulated users on whom all the fits are compared, to keep the best, >= 10.
        seed: of the simulated users, who are not those of the env.
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
        """Mean expected return of the present policy on simulated users, the same at every call."""
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
        """Values of the present policy, fitted to simulated twins, one for each of `ridges`.

        Two twins are the same user with the same noise. Up to a random step, the switch, each is shown what suits a
        random taste for item attributes of its own, and from then on what the policy shows. Whatever makes one user
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
        """(B, S) the best of some slates: the given one, and those with at most 1, 2, ... items of a topic."""
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
        branch = branch.replace(key=np.repeat(users.key ^ mix(self.seed + 1), 2 * n))  # not the noise that will come
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
        return self.env.actions.encode(choices)


def state_features(env: RecVectorEnv, users: Users) -> Array:
    """(B, f) float64 features of users that the value may depend on; they are made alike in all worlds."""
    world = env.world
    columns = [users.t / world.horizon, world.preference.outside(users, world.catalog, world.market)]
    for name, column in world.owned.items():
        if column.dtype is np.float32:
            values = users[name].reshape(len(users), -1)
            columns.append(values[:, 0] if column.shape == () else values.sum(axis=1))
    return np.stack(columns, axis=1).astype(np.float64)


@dataclass(frozen=True)
class Value:
    """A value of users that is quadratic in their standardised features, each clipped to four standard deviations."""

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
