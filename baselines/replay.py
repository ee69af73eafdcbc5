"""The latest steps of a batch of users, to learn from again, with returns of several steps."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Transitions(NamedTuple):
    """m transitions drawn from a `Replay`, each over up to n steps of one user."""

    before: dict[str, Array]  # name -> (m, ...), of the first step
    after: dict[str, Array]  # name -> (m, ...), of the step whose value follows the rewards
    paid: Array  # (m,) float32, discounted rewards of the steps
    discount: Array  # (m,) float32 of that value, 0 where the user has left
    counts: Array  # (m,) bool; False where the first step is cut at the horizon, so that nothing is known of it


class Replay:
    """A ring of the latest steps of B users: a new step takes the place of the oldest.

    Args:
        steps: how many steps of all users it holds, >= 2.
        n_steps: rewards that a transition sums up at most, >= 1. gamma: discount per step, in [0, 1].
    """

    def __init__(self, steps: int, n_steps: int, gamma: float) -> None:
        self.steps, self.n_steps, self.gamma = steps, n_steps, gamma
        self.added = 0  # steps since it was made
        self.arrays: dict[str, Array] = {}  # name -> (steps, B, ...); step t is in row t % steps

    def add(self, step: dict[str, Array]) -> None:
        """Keep a step of all users.

        Args:
            step: name -> (B, ...), the same names and shapes each time; float64 is kept as float32. It must hold reward
                (B,) float, terminated (B,) bool, and cut (B,) bool, whether the horizon ended the episode with it.
        """
        for name, value in step.items():
            if name not in self.arrays:
                kind = np.float32 if value.dtype == np.float64 else value.dtype
                self.arrays[name] = np.zeros((self.steps, *value.shape), kind)
            self.arrays[name][self.added % self.steps] = value
        self.added += 1

    def sample(self, m: int, rng: np.random.Generator) -> Transitions:
        """m transitions, uniform over users and over the steps that have a successor; it needs two steps at least."""
        newest = self.added - 1  # what follows it is not known yet
        t = newest - 1 - rng.integers(0, min(self.added, self.steps) - 1, m)
        return self.transitions(t, rng.integers(0, len(self.arrays["reward"][0]), m))

    def transitions(self, t: Array, user: Array) -> Transitions:
        """The transitions of users (m,) int64 from steps t (m,) int64, counted from the first step that was added.

        The rewards end with the episode, before a step that is cut, as its successor is not known, and before the newest
        step. Steps t must be held and older than the newest one.
        """
        ahead = np.arange(self.n_steps)[:, None]
        rows = (t + ahead) % self.steps
        terminated, cut = self.arrays["terminated"][rows, user], self.arrays["cut"][rows, user]
        counts = (t + ahead < self.added - 1) & ~np.logical_or.accumulate(cut, axis=0)
        counts[1:] &= ~np.logical_or.accumulate(terminated, axis=0)[:-1]
        discounts = np.float32(self.gamma) ** ahead
        paid = (self.arrays["reward"][rows, user] * counts * discounts).sum(axis=0, dtype=np.float32)
        taken = counts.sum(axis=0)
        goes_on = ~(terminated & counts).any(axis=0)
        before, after = (
            {name: array[time % self.steps, user] for name, array in self.arrays.items()} for time in (t, t + taken)
        )
        return Transitions(before, after, paid, (self.gamma**taken * goes_on).astype(np.float32), taken > 0)
