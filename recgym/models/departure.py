"""Departure: who leaves after a step. Leaving is termination; the horizon is truncation, which the World decides."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.component import Component
from recgym.errors import require_number
from recgym.kernel import kernel, normal, sigmoid, sigmoid_all
from recgym.types import BOOL, F32, Array, Column, Feedback, Sizes, Users, copied, empty, zeros


@dataclass(frozen=True, eq=False)
class Departure(Component, abstract=True):
    """Base of who leaves. `objectives` name further numbers of a step, after those of the response."""

    objectives: ClassVar[tuple[str, ...]] = ()

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        """Who leaves after this step.

        Args:
            users: after the step. feedback: of the step. noise: (uniforms, B) float32 in (0, 1).

        Returns:
            "left" (B,) bool. "objectives" (B, len(objectives)) float32, if there are any. "away" (B,) float32,
            optional: minutes after which a user comes back; the clock jumps, and the dynamics' `rest` applies. Anything else is
            the new value of a user column.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Never(Departure):
    """Nobody leaves before the horizon."""

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return {"left": zeros(users.t.shape, BOOL)}


@dataclass(frozen=True, eq=False)
class Spent(Departure):
    """The user leaves when a column has fallen to 0.

    Args:
        column: name of a user column of shape ().
    """

    column: str = "budget"

    def reads(self) -> tuple[str, ...]:
        return (f"scalars.{self.column}",)

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        column = users.__dict__[self.column]
        left = empty(column.shape, BOOL)
        _spent(left, column)
        return {"left": left}


@kernel
def _spent(left, column):
    for b in range(left.shape[0]):
        left[b] = column[b] <= 0


@dataclass(frozen=True, eq=False)
class Hazard(Departure):
    """The user leaves with probability sigmoid(level - satisfaction * s + fatigue * f) per step.

    s is the user column `satisfaction`, f the sum of the column `fatigue` over the topics.

    Args:
        level: log-odds per step at s = f = 0.
        satisfaction, fatigue: weights, >= 0; a column is read only where its weight is not 0.
    """

    level: float = -2.0
    satisfaction: float = 3.0
    fatigue: float = 0.1

    def __post_init__(self) -> None:
        require_number("Hazard.level", self.level, -100, 100)
        require_number("Hazard.satisfaction", self.satisfaction, 0, 100)
        require_number("Hazard.fatigue", self.fatigue, 0, 100)

    def uniforms(self, sizes: Sizes) -> int:
        return 1

    def reads(self) -> tuple[str, ...]:
        satisfaction = ("users.satisfaction",) if self.satisfaction else ()
        return (*satisfaction, "topics.fatigue") if self.fatigue else satisfaction

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        satisfaction = users.satisfaction if self.satisfaction else feedback.dt
        fatigue = users.fatigue if self.fatigue else users.exposure
        left, chance = empty(len(satisfaction), BOOL), empty(len(satisfaction), F32)
        _hazard(left, chance, satisfaction, fatigue, self.level, self.satisfaction, self.fatigue, noise)
        return {"left": left}


@kernel
def _hazard(left, chance, satisfaction, fatigue, level, satisfaction_weight, fatigue_weight, u):
    for b in range(left.shape[0]):
        total = np.float32(0.0)
        for z in range(fatigue.shape[1]):
            total += fatigue[b, z]
        chance[b] = level - satisfaction_weight * satisfaction[b] + fatigue_weight * total
    sigmoid_all(chance)
    for b in range(left.shape[0]):
        left[b] = u[0, b] < chance[b]


@dataclass(frozen=True, eq=False)
class Visits(Departure):
    """Visits whose length and return depend on the mood.

    After step k of a visit, k = 1, 2, ..., the visit ends with probability

        sigmoid(level + pace ln k - mood m + fatigue F),

    where m is the user column `mood` and F the sum of the column `fatigue` over the topics. The user then returns with
    probability sigmoid(back + regard r), where r is the user column `regard`, after a time that is log-normal with the median `away` and the spread
    `away_spread`, within [1, 100,000] minutes: the clock jumps, and the objective `return` is 1. Else the user has left.

    Args:
        level, pace, mood, fatigue: log-odds; a column is read only where its weight is not 0.
        back, regard: log-odds, likewise; by default next to nobody returns.
        away: minutes, > 0. away_spread: of the logarithm, >= 0.
        longest: steps of a visit at which the column `pages`, which the platform sees, stops counting, > 0.
    """

    level: float = -3.0
    pace: float = 0.0
    mood: float = 1.0
    fatigue: float = 0.0
    back: float = -30.0
    regard: float = 0.0
    away: float = 1440.0
    away_spread: float = 1.0
    longest: float = 100.0
    objectives: ClassVar[tuple[str, ...]] = ("return",)

    def __post_init__(self) -> None:
        for name in ("level", "pace", "mood", "fatigue", "back", "regard"):
            require_number(f"Visits.{name}", getattr(self, name), -100, 100)
        require_number("Visits.away", self.away, 1, 100_000)
        require_number("Visits.away_spread", self.away_spread, 0, 10)
        require_number("Visits.longest", self.longest, 1, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"pages": Column((), np.float32, 0.0, self.longest, visible=True)}

    def uniforms(self, sizes: Sizes) -> int:
        return 3

    def reads(self) -> tuple[str, ...]:
        wanted = {"users.mood": self.mood, "users.regard": self.regard, "topics.fatigue": self.fatigue}
        return tuple(name for name, weight in wanted.items() if weight)

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        mood = users.mood if self.mood else feedback.dt
        regard = users.regard if self.regard else feedback.dt
        fatigue = users.fatigue if self.fatigue else users.exposure
        B = len(mood)
        left, pages, away, returned = empty(B, BOOL), copied(users.pages), zeros(B, F32), zeros((B, 1), F32)
        _visits(left, pages, away, returned, mood, regard, fatigue, self.level, self.pace, self.mood, self.fatigue, self.back,
                self.regard, self.away, self.away_spread, self.longest, noise)  # fmt: skip
        return {"left": left, "pages": pages, "away": away, "objectives": returned}


@kernel
def _visits(left, pages, away, returned, mood, regard, fatigue, level, pace, mood_weight, fatigue_weight, back,
            regard_weight, median, spread, longest, u):  # fmt: skip
    for b in range(left.shape[0]):
        pages[b] = min(pages[b] + 1.0, longest)
        total = 0.0
        if fatigue_weight != 0.0:
            for z in range(fatigue.shape[1]):
                total += fatigue[b, z]
        chance = sigmoid(level + pace * math.log(pages[b]) - mood_weight * mood[b] + fatigue_weight * total)
        left[b] = u[0, b] < chance
        if left[b] and u[1, b] < sigmoid(back + regard_weight * regard[b]):
            left[b] = False
            pages[b] = 0.0
            away[b] = min(max(median * math.exp(spread * normal(u[2, b])), 1.0), 100000.0)
            returned[b, 0] = 1.0


@dataclass(frozen=True, eq=False)
class Sessions(Departure):
    """Patience that satisfied clicks restore; a satisfied reader comes back at another time of the day.

    Patience begins at the trait `stamina`. Each step costs 1, each satisfied click gives back `restore`, up to the
    stamina. At patience 0 the session ends: with probability loyalty * satisfaction^2 the user returns, which makes
    the clock jump by 1 to 6 hours, the patience full and the objective `return` 1; otherwise the user has left.

    Args:
        restore: patience that a satisfied click gives back, >= 0.
        loyalty: in [0, 1].
        longest: steps of a session at which the column `pages`, which the platform sees, stops counting, > 0.

    The population must have the trait `stamina`, the feedback the count of satisfied clicks, `satisfied` (B,) float32.
    """

    restore: float = 1.0
    loyalty: float = 0.9
    longest: float = 50.0
    objectives: ClassVar[tuple[str, ...]] = ("return",)

    def __post_init__(self) -> None:
        require_number("Sessions.restore", self.restore, 0, 1000)
        require_number("Sessions.loyalty", self.loyalty, 0, 1)
        require_number("Sessions.longest", self.longest, 1, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        pages = Column((), np.float32, 0.0, self.longest, visible=True)
        return {"spent": Column((), np.float32, 0.0, 1000.0), "pages": pages}

    def uniforms(self, sizes: Sizes) -> int:
        return 2

    def reads(self) -> tuple[str, ...]:
        return ("users.stamina", "users.satisfaction", "feedback.satisfied")

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        spent, pages, away = copied(users.spent), copied(users.pages), zeros(len(users), F32)
        left, returned = zeros(len(spent), BOOL), zeros((len(spent), 1), F32)
        _sessions(left, spent, pages, away, returned, users.stamina, users.satisfaction, feedback.satisfied,
                  self.restore, self.loyalty, self.longest, noise)  # fmt: skip
        return {"left": left, "spent": spent, "pages": pages, "away": away, "objectives": returned}


@kernel
def _sessions(left, spent, pages, away, returned, stamina, satisfaction, satisfied, restore, loyalty, longest, u):
    for b in range(left.shape[0]):
        pages[b] = min(pages[b] + 1.0, longest)
        spent[b] = min(max(spent[b] + 1.0 - restore * satisfied[b], 0.0), 1000.0)
        if spent[b] >= stamina[b]:
            if u[0, b] < loyalty * satisfaction[b] * satisfaction[b]:
                spent[b] = pages[b] = 0.0
                away[b] = 60.0 + 300.0 * u[1, b]
                returned[b, 0] = 1.0
            else:
                left[b] = True


@dataclass(frozen=True, eq=False)
class Budget(Departure):
    """The user leaves when the time budget is spent or the patience has run out.

    Patience begins at the trait `stamina`. A recommendation to a user who is watching costs `prompt`, a step of
    browsing costs `browse`; watching gives back recovery * slice * enjoyment, up to the stamina. The time budget is the
    trait `budget` (minutes), from which `Watch` takes.

    Args:
        prompt, browse, recovery: units of patience, >= 0.
    """

    prompt: float = 1.0
    browse: float = 0.5
    recovery: float = 0.3

    def __post_init__(self) -> None:
        for name in ("prompt", "browse", "recovery"):
            require_number(f"Budget.{name}", getattr(self, name), 0, 1000)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"spent": Column((), np.float32, 0.0, 1000.0)}

    def reads(self) -> tuple[str, ...]:
        watched = tuple(f"feedback.{name}" for name in ("watched_item", "prompted", "enjoyment", "slice"))
        return ("users.stamina", "users.budget", *watched)

    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        spent = copied(users.spent)
        left = empty(len(spent), BOOL)
        _budget(
            left, spent, users.stamina, users.budget, feedback.watched_item, feedback.prompted, feedback.enjoyment,
            feedback.slice, self.prompt, self.browse, self.recovery,
        )  # fmt: skip
        return {"left": left, "spent": spent}


@kernel
def _budget(left, spent, stamina, budget, watched_item, prompted, enjoyment, watched, prompt, browse, recovery):
    for b in range(left.shape[0]):
        x = np.float64(spent[b])
        if prompted[b]:
            x += prompt
        if watched_item[b] < 0:
            x += browse
        else:
            x -= recovery * watched[b] * enjoyment[b]
        spent[b] = min(max(x, 0.0), 1000.0)
        left[b] = spent[b] >= stamina[b] or budget[b] <= 0.0
