"""Reward: one number a step from the objectives. The vector of objectives itself is always in `info`."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from recgym.component import Component
from recgym.errors import require, require_number, unknown
from recgym.kernel import kernel
from recgym.types import F64, Array, empty


@dataclass(frozen=True, eq=False)
class Reward(Component, abstract=True):
    """Base: a linear form, so that the expected reward is the reward of the expected objectives."""

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        """(M,) float64 weights of the objectives of those names, and the weight of each item shown.

        Raises:
            ConfigError: the reward asks for an objective that is not there.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Weighted(Reward):
    """sum_m weights[m] * objective m.

    Args:
        objectives: objective -> weight; at least one.
    """

    objectives: dict[str, float] = field(default_factory=lambda: {"click": 1.0})

    def __post_init__(self) -> None:
        rule = "must be weights by objective, at least one"
        require(isinstance(self.objectives, dict) and len(self.objectives) > 0, "reward", rule, self.objectives)
        for name, weight in self.objectives.items():
            require_number(f"reward[{name!r}]", weight, -1e6, 1e6)

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        for name in self.objectives:
            if name not in names:
                unknown("reward", name, names)
        return np.array([self.objectives.get(name, 0.0) for name in names]), 0.0


@dataclass(frozen=True, eq=False)
class LikeDislike(Reward):
    """+1 for a clicked item, -1 for a shown item that is not clicked: the simplest recommender's reward."""

    def weights(self, names: tuple[str, ...]) -> tuple[Array, float]:
        if "click" not in names:
            unknown("LikeDislike needs the objective", "click", names)
        return np.array([2.0 if name == "click" else 0.0 for name in names]), -1.0


def pay(objectives: Array, slate: Array, weights: Array, shown_weight: float) -> Array:
    """(B,) float64: weights . objectives + shown_weight * items shown."""
    out = empty(objectives.shape[0], F64)
    _pay(out, objectives, slate, weights, shown_weight)
    return out


@kernel
def _pay(out, objectives, slate, weights, shown_weight):
    for b in range(objectives.shape[0]):
        total = 0.0
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                total += shown_weight
        for m in range(weights.shape[0]):
            total += weights[m] * objectives[b, m]
        out[b] = total
