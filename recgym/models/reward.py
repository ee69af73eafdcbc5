"""Reward: one number for each step, made of what happened in it. The objectives themselves are always in `info`.

Most rewards are a weighted sum of the objectives. Your own may be any function of the step, here of the number of
topics that it showed; it works in every environment, and the rest of the step is compiled as before::

    @dataclass(frozen=True, eq=False)
    class Diverse(Reward):
        weight: float = 0.1

        def __call__(self, feedback, catalog, users):
            topic = np.where(feedback.slate >= 0, catalog.topic[feedback.slate], -1)
            topics = [len(set(row) - {-1}) for row in topic.tolist()]
            return feedback.click.sum(axis=1) + self.weight * np.array(topics)

    env = gymnasium.make("recgym/NewsSlate-v0", reward=Diverse(0.2))

A plain function of the same three arguments works too, ``reward=lambda feedback, catalog, users: ...``, but a world
with it cannot be saved.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.errors import ConfigError, brief, require, require_number, unknown
from recgym.kernel import kernel
from recgym.types import F64, Array, Feedback, Users, empty


@dataclass(frozen=True, eq=False)
class Reward(Component, abstract=True):
    """Base of rewards. A subclass has `weights`, for a weighted sum of the objectives, or `__call__` for anything else.

    ``__call__(feedback, catalog, users)`` returns (B,) numbers, given what happened in the step (`recgym.Feedback`),
    the items, and the users as they were when they saw the slate (`recgym.Users`). It must be pure, compute each row
    from that row alone, and write into none of the arrays. Only a weighted sum has an expected reward.
    """

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        """(M,) float64 weights of the objectives of those names, and what is paid for each item shown.

        Raises:
            ConfigError: the reward asks for an objective that is not there.
        """
        raise ConfigError(f"reward: {self.kind} must have `weights`, or `__call__(feedback, catalog, users)`")


@dataclass(frozen=True, eq=False)
class Weighted(Reward):
    """A weighted sum of the objectives.

    Args:
        objectives: objective -> weight; at least one.
    """

    objectives: dict[str, float] = field(default_factory=lambda: {"click": 1.0})

    def __post_init__(self) -> None:
        rule = "must be weights by objective, at least one"
        require(isinstance(self.objectives, dict) and len(self.objectives) > 0, "reward", rule, self.objectives)
        weights = {name: require_number(f"reward[{name!r}]", w, -1e6, 1e6) for name, w in self.objectives.items()}
        object.__setattr__(self, "objectives", weights)

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        for name in self.objectives:
            if name not in names:
                unknown("reward", name, names)
        return np.array([self.objectives.get(name, 0.0) for name in names]), 0.0


@dataclass(frozen=True, eq=False)
class LikeDislike(Reward):
    """+1 for each item that is clicked, -1 for each item that is shown and not clicked."""

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        require("click" in names, "reward", "LikeDislike needs the objective 'click'", names)
        return np.array([2.0 if name == "click" else 0.0 for name in names]), -1.0


@dataclass(frozen=True, eq=False)
class RewardFunction(Reward):
    """The reward that a function of (feedback, catalog, users) returns; it cannot be saved."""

    function: Any = None

    def __post_init__(self) -> None:
        require(callable(self.function), "reward", "must be a function of (feedback, catalog, users)", self.function)

    def __call__(self, feedback: Feedback, catalog: Catalog, users: Users) -> Any:
        return self.function(feedback, catalog, users)

    def to_dict(self, arrays: dict[str, np.ndarray] | None = None, path: str = "") -> dict[str, Any]:
        raise ConfigError("reward: a function cannot be written, only a Reward of a class of your own can")


def paid(reward: Any, feedback: Feedback, catalog: Catalog, users: Users) -> Array:
    """The rewards of a `Reward` with a `__call__`, as a new (B,) float64 array.

    Raises:
        ConfigError: it returns anything other than a finite number for each user.
    """
    returned = reward(feedback, catalog, users)
    rule = f"{type(reward).__name__} must return a finite number for each of {len(users)} users"
    try:
        array = np.array(returned)
    except Exception:  # whatever an object's conversion raises
        raise ConfigError(f"reward: {rule}, got {brief(returned)}") from None
    require(array.shape == (len(users),) and array.dtype.kind in "biuf", "reward", rule, returned)
    array = array.astype(np.float64)
    require(np.isfinite(array).all(), "reward", rule, returned)
    return array


def pay(objectives: Array, slate: Array, weights: Array, shown_weight: float) -> Array:
    """(B,) float64 rewards: weights . objectives + shown_weight * number of items shown."""
    out = empty(objectives.shape[0], F64)
    _pay(out, objectives, slate, weights, shown_weight)
    return out


@kernel
def _pay(out, objectives, slate, weights, shown_weight):
    for b in range(objectives.shape[0]):
        shown = 0
        for s in range(slate.shape[1]):
            shown += slate[b, s] >= 0
        total = shown_weight * shown
        for m in range(weights.shape[0]):
            total += weights[m] * objectives[b, m]
        out[b] = total
