"""Q-learning and SARSA with a table, for worlds small enough to list their states and slates.

Watkins and Dayan, "Q-learning", Machine Learning 8, 1992 (doi:10.1007/BF00992698); Rummery and Niranjan, "On-line
Q-learning using connectionist systems", 1994. Learning rates fall as a power of the number of visits (Even-Dar and
Mansour, "Learning rates for Q-learning", JMLR 5, 2003).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from itertools import combinations, permutations
from math import comb, perm
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import OnlineAgent, Progress, Task
from baselines.requirements import columns_of, require_array, require_batch, require_choices
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number
from recgym.files import arrays_as_bytes, parse_arrays

Array = NDArray[Any]
DIGEST = 16  # bytes of a state's name


@dataclass(kw_only=True)
class Tabular(OnlineAgent):
    """Base of tabular learners: Q(s, a) in a table with a row for each state met and a column for each action.

    **States** are the parts of the observation that `state` names, rounded: two observations that agree after rounding are
    one state. In a state never met, each action is worth `initial`.

    **Actions** of a slate env are all slates of S different candidates and, where nothing can be recommended, the empty
    slate. Where fewer than S candidates are there, the slates with the most of them are allowed.

    **Episode ends.** After a user has left, the future is worth 0; after a cut at the horizon, it is worth what the last
    observation is.

    **Variants** override `improve`, and have `move`, `best` and `behave` to do it with.

    Args:
        state: parts of the observation that make a state: blocks ("user", "history", "candidates", "mask") or parts
            of a block ("user.progress"), see `observation_layout`; None: all of it.
        decimals: to which the observation is rounded, in [0, 7].
        ordered: whether slates of the same items in another order are other actions. Worth it where positions differ.
        gamma: discount, in [0, 1].
        learning_rate: of the first visit to a state and action, in (0, 1].
        decay: after n visits the rate is learning_rate / (1 + n)^decay, in [0, 1]; 0 keeps it constant.
        epsilon_start, epsilon_end, epsilon_steps: the share of random actions falls linearly from the first to the
            second over so many user-steps.
        initial: value of what was never tried; a high one makes it explore.
        max_states: of the table, >= 1; a world with more is refused.
        max_actions: of the table, in [1, 10^6]; a world with more is refused. Each state takes 16 bytes per action.
        envs: users it learns from at a time, >= 1.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
    """

    state: tuple[str, ...] | None = None
    decimals: int = 3
    ordered: bool = False
    gamma: float = 0.99
    learning_rate: float = 1.0
    decay: float = 0.77
    epsilon_start: float = 1.0
    epsilon_end: float = 0.05
    epsilon_steps: int = 20_000
    initial: float = 0.0
    max_states: int = 10_000
    max_actions: int = 1000
    envs: int = 64
    objective_weights: dict[str, float] | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.state is not None:
            require(len(self.state), f"{name}.state", "must be names of blocks or parts, at least one", self.state)
        require_count(f"{name}.decimals", self.decimals, 0, 7)
        for share in ("gamma", "decay", "epsilon_start", "epsilon_end"):
            require_number(f"{name}.{share}", getattr(self, share), 0, 1)
        require_number(f"{name}.learning_rate", self.learning_rate, 1e-9, 1)
        require_number(f"{name}.initial", self.initial, -1e9, 1e9)
        for count, high in (("epsilon_steps", 10**9), ("max_states", 10**8), ("max_actions", 10**6), ("envs", 10**6)):
            require_count(f"{name}.{count}", getattr(self, count), 1, high)
        self.rows: dict[bytes, int] = {}  # name of a state -> its row of the table
        self.q = np.zeros((0, 0))  # (rows, A) float64; row 0 is for the states not met, and stays `initial`
        self.visits = np.zeros((0, 0), np.int64)  # (rows, A)
        self._rng = np.random.default_rng(0)
        self._epsilon, self._done = self.epsilon_end, 0

    @abstractmethod
    def improve(self, state: Array, action: Array, reward: Array, following: Array, allowed: Array, terminated: Array,
                 ended: Array) -> None:  # fmt: skip
        """Learn from B transitions.

        Args:
            state, action, following: (B,) int64, rows and columns of the table; following: the states led to.
            reward: (B,) float64. allowed: (B, A) bool, the actions in `following`.
            terminated: (B,) bool, the user has left. ended: (B,) bool, left or cut off by the horizon.
        """

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps; what was learned before is kept, exploration starts again."""
        self._rng = np.random.default_rng(seed)
        self._epsilon, self._done = self.epsilon_start, 0
        super().fit(task, steps, seed, progress)
        self._epsilon = self.epsilon_end

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for the users of an env.

        Raises:
            ConfigError: actions are embeddings, observations a dict, rewards vectors; no such part of the observation;
                more slates than `max_actions`, or not those learned.
        """
        name = type(self).__name__
        require_choices(env, name)
        super().start(env)
        every = np.arange(env.observations.width)
        self._columns = every if self.state is None else columns_of(env.observation_layout, f"{name}.state", self.state)
        self._slates = self._all_slates(env)
        A = len(self._slates)
        if self.q.size:
            known = self.q.shape[1]
            require(known == A, "env", f"must have the {known} actions that {name} has learned", A)
        else:
            self.q, self.visits = np.full((1, A), float(self.initial)), np.zeros((1, A), np.int64)

    def _all_slates(self, env: RecVectorEnv) -> Array:
        """(A, S) int64: what each action shows."""
        S, n, null = env.world.slate_size, env.actions.n, int(env.actions.null)
        count = null + (perm if self.ordered else comb)(n - null, S)
        rule = f"must hold all slates of {S} of {n - null} candidates, {count} of them"
        require(1 <= count <= self.max_actions, f"{type(self).__name__}.max_actions", rule, self.max_actions)
        slates = (permutations if self.ordered else combinations)(range(null, n), S)
        return np.array([(0,) * S] * null + list(slates), np.int64)

    def _states(self, observation: Array, add: bool = False) -> Array:
        """(B,) rows of the table; states not met have row 0 or, with `add`, get a row of their own.

        Raises:
            ConfigError: the table has `max_states` states already.
        """
        require_batch(observation)
        # Adding 0 makes one zero of the two.
        rounded = np.round(np.asarray(observation[:, self._columns], np.float64), self.decimals).astype(np.float32) + 0
        names = [blake2b(row.tobytes(), digest_size=DIGEST).digest() for row in np.ascontiguousarray(rounded)]
        if add:
            for name in names:
                if name not in self.rows:
                    rule = f"is too small, {len(self.rows) + 1} states met: round or leave out more (decimals, state)"
                    require(
                        len(self.rows) < self.max_states, f"{type(self).__name__}.max_states", rule, self.max_states
                    )
                    self.rows[name] = len(self.rows) + 1
            missing = len(self.rows) + 1 - len(self.q)
            if missing > 0:
                missing = max(missing, min(len(self.q), self.max_states + 1 - len(self.q)))  # doubled, so rarely copied
                width = self.q.shape[1]
                self.q = np.concatenate([self.q, np.full((missing, width), float(self.initial))])
                self.visits = np.concatenate([self.visits, np.zeros((missing, width), np.int64)])
        return np.array([self.rows.get(name, 0) for name in names], np.int64)

    def _allowed(self, mask: Array) -> Array:
        """(B, A) bool from (B, n): actions that show as many candidates as can be shown, and nothing."""
        there = mask[:, self._slates].sum(axis=2)
        null = int(self.env.actions.null)
        most = there[:, null:].max(axis=1, keepdims=True)
        return (there == most) | ((np.arange(there.shape[1]) < null) & mask[:, :1])

    def best(self, state: Array, allowed: Array) -> Array:
        """(B,) int64 actions of the highest value in B states, the first of several; allowed (B, A) bool."""
        return np.where(allowed, self.q[state], -np.inf).argmax(axis=1)

    def behave(self, state: Array, allowed: Array) -> Array:
        """(B,) int64 actions as in training: random ones in an epsilon of the cases, else the best."""
        random = self._rng.random(len(state)) < self._epsilon
        chance = np.where(allowed, self._rng.random(allowed.shape), -1.0).argmax(axis=1)
        return np.where(random, chance, self.best(state, allowed))

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best slates; with `explore`, random ones in an epsilon of the cases."""
        state, allowed = self._states(observation), self._allowed(mask)
        action = self.behave(state, allowed) if explore else self.best(state, allowed)
        slate = self._slates[action]
        return self.env.actions.encode(slate)

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float64: the value of the best slate with each choice; -inf where there is none."""
        q = np.where(self._allowed(mask), self.q[self._states(observation)], -np.inf)
        best = [q[:, (self._slates == choice).any(axis=1)].max(axis=1) for choice in range(mask.shape[1])]
        return np.where(mask, np.stack(best, axis=1), -np.inf)

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Learn from a step of all users."""
        mask, ended = info["action_mask"] > 0, np.zeros(len(reward), np.bool_)
        if "_final_obs" in info:  # the mask is of the episodes that begin
            ended = info["_final_obs"]
            mask = np.where(ended[:, None], info["final_info"]["action_mask"] > 0, mask)
        slate = self.env.actions.choices(action)
        taken = (slate[:, None] == self._slates).all(axis=2).argmax(axis=1)
        state, following = self._states(observation, add=True), self._states(next_observation, add=True)
        self.improve(state, taken, reward, following, self._allowed(mask), terminated, ended)
        self._done += len(reward)
        share = min(self._done / self.epsilon_steps, 1.0)
        self._epsilon = self.epsilon_start + share * (self.epsilon_end - self.epsilon_start)

    def move(self, state: Array, action: Array, target: Array) -> None:
        """Move Q(state, action) towards targets, all (B,). n of one entry act as n moves to their mean."""
        entry, at, count = np.unique(state * self.q.shape[1] + action, return_inverse=True, return_counts=True)
        mean = np.bincount(at, target) / count
        q, visits = self.q.reshape(-1), self.visits.reshape(-1)
        rate = self.learning_rate / (1.0 + visits[entry]) ** self.decay
        q[entry] += (1 - (1 - rate) ** count) * (mean - q[entry])
        visits[entry] += count

    def contents(self) -> dict[str, bytes]:
        names = np.frombuffer(b"".join(self.rows), np.uint8).reshape(-1, DIGEST)  # in the order of their rows
        used = len(names) + 1 if self.q.size else 0
        arrays = {"names": names, "q": self.q[:used], "visits": self.visits[:used]}
        return {**super().contents(), "table.npz": arrays_as_bytes(arrays)}

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        arrays = parse_arrays(read("table.npz"), "agent folder", "table.npz", ("names", "q", "visits"))
        names, q, visits = arrays["names"], arrays["q"], arrays["visits"]
        require_array(names, "table.npz, names", np.uint8, (None, DIGEST))
        require_array(q, "table.npz, q", np.float64, (len(names) + 1 if q.size else 0, None))
        require_array(visits, "table.npz, visits", np.int64, q.shape)
        require((visits >= 0).all(), "table.npz, visits", "must not be negative", "a negative number")
        self.rows = {name.tobytes(): row for row, name in enumerate(names, 1)}
        require(len(self.rows) == len(names), "table.npz, names", "must be different states", "one that is there twice")
        require(len(names) == 0 or q.size, "table.npz, q", "must have a row for each state", q.shape)
        self.q, self.visits = q, visits


@dataclass(kw_only=True)
class QLearning(Tabular):
    """Q-learning: the value of the best policy, learned whatever is done meanwhile. Fields: see `Tabular`.

    Q(s, a) moves towards r + gamma max_b Q(s', b).
    """

    def improve(self, state: Array, action: Array, reward: Array, following: Array, allowed: Array, terminated: Array,
                 ended: Array) -> None:  # fmt: skip
        future = self.q[following, self.best(following, allowed)]
        self.move(state, action, reward + self.gamma * np.where(terminated, 0.0, future))


@dataclass(kw_only=True)
class Sarsa(Tabular):
    """SARSA: the value of the policy that it follows, exploration included. Fields: see `Tabular`.

    Q(s, a) moves towards r + gamma Q(s', b) with b the action taken next. So a step is learned from once the next action
    is taken, and the last step of a `fit` is not. Where the horizon cuts, b is drawn as in training.
    """

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        self._waiting: tuple[Array, ...] | None = None  # users whose b is not taken yet; state, action, reward

    def improve(self, state: Array, action: Array, reward: Array, following: Array, allowed: Array, terminated: Array,
                 ended: Array) -> None:  # fmt: skip
        if self._waiting is not None:
            users, before, done, paid = self._waiting
            self.move(before, done, paid + self.gamma * self.q[state[users], action[users]])
        left, cut, on = np.flatnonzero(terminated), np.flatnonzero(ended & ~terminated), np.flatnonzero(~ended)
        future = self.q[following[cut], self.behave(following[cut], allowed[cut])]
        self.move(state[left], action[left], reward[left])
        self.move(state[cut], action[cut], reward[cut] + self.gamma * future)
        self._waiting = on, state[on], action[on], reward[on]
