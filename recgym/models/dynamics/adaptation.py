"""What users get used to: the level against which they judge what comes next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require, require_number, require_option
from recgym.kernel import kernel
from recgym.models.dynamics.base import Dynamics
from recgym.types import Array, Column, Feedback, Sizes, Users, copied

SUMMARIES = {"mean": 0, "least": 1, "most": 2}


@dataclass(frozen=True, eq=False)
class Adaptation(Dynamics):
    """Users get used to what they are shown: level <- memory level + (1 - memory) m (Helson 1964).

    m is the mean of a number of the step over what the user saw, or the least or the largest of them; where nothing was seen,
    the level stays. The level of
    prices is the reference price of marketing (Kalyanaram and Winer 1995): whoever has just seen dear things finds the next
    one cheap. The preference says what the level does: see `users` of `DotProduct`. The column is called `level`, and the
    platform can compute it, as it knows what it has shown.

    Args:
        to: array of the feedback, (B, n) float32, -inf where nothing was seen; or "click", of which the mean is the share of the
            positions that were clicked.
        by: "mean", "least" or "most": what of the slate counts. With the extremes a slate cannot lead and mislead at once: one
            bargain among dear items makes the slate a cheap one.
        memory: in [0, 1].
        limit: largest absolute value of the level, > 0.
        initial: the level at arrival, within the limit.
        name: of the user column, "level", or "busy" where there is another level.
    """

    to: str = "offers"
    by: str = "mean"
    memory: float = 0.8
    limit: float = 2.0
    initial: float = 0.0
    name: str = "level"

    def __post_init__(self) -> None:
        require_option("Adaptation.name", self.name, ["level", "busy"])
        require_number("Adaptation.memory", self.memory, 0, 1)
        require_number("Adaptation.limit", self.limit, 1e-6, 1e6)
        require_number("Adaptation.initial", self.initial, -self.limit, self.limit)
        require_option("Adaptation.by", self.by, [*SUMMARIES])
        require(isinstance(self.to, str), "Adaptation.to", "must name an array of the feedback", self.to)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {self.name: Column((), np.float32, -self.limit, self.limit, self.initial, visible=True)}

    def reads(self) -> tuple[str, ...]:
        return (f"feedback.{self.to}",)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        level, seen = copied(getattr(users, self.name)), feedback.__dict__[self.to]
        _adapt(level, seen, SUMMARIES[self.by], self.memory, self.limit)
        return {self.name: level}


@kernel
def _adapt(level, seen, summary, memory, limit):
    for b in range(level.shape[0]):
        total, least, most, count = np.float32(0.0), np.float32(np.inf), np.float32(-np.inf), 0
        for s in range(seen.shape[1]):
            x = np.float32(seen[b, s])
            if x > -np.inf:
                total += x
                least, most = min(least, x), max(most, x)
                count += 1
        if count > 0:
            m = total / count if summary == 0 else least if summary == 1 else most
            now = memory * level[b] + (1.0 - memory) * m
            level[b] = min(max(now, -limit), limit)
