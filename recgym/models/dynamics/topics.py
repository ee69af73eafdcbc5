"""Topics that tire, satiate or bore."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require_count, require_number
from recgym.kernel import exp_all, kernel
from recgym.models.dynamics.base import Dynamics
from recgym.types import F32, Array, Column, Feedback, Sizes, Users, copied, empty, zeros


@dataclass(frozen=True, eq=False)
class Fatigue(Dynamics):
    """Weariness of topics: `fatigue` (T,) grows with each impression and halves every `half_life` minutes.

    Args:
        ignored: what an impression without a click adds, >= 0.
        clicked: what an impression with a click adds, >= 0.
        half_life: minutes of the user's clock, > 0.
        limit: largest value of a topic, > 0.
    """

    ignored: float = 0.1
    clicked: float = 0.0
    half_life: float = 5.0
    limit: float = 3.0

    def __post_init__(self) -> None:
        require_number("Fatigue.ignored", self.ignored, 0, 1000)
        require_number("Fatigue.clicked", self.clicked, 0, 1000)
        require_number("Fatigue.half_life", self.half_life, 1e-3, 1e9)
        require_number("Fatigue.limit", self.limit, 1e-3, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"fatigue": Column((sizes.topics,), np.float32, 0.0, self.limit)}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        fatigue, decay = copied(users.fatigue), empty(len(users), F32)
        _fatigue(fatigue, decay, catalog.topic, feedback.slate, feedback.click, feedback.dt,
                 self.ignored, self.clicked, self.half_life, self.limit)  # fmt: skip
        return {"fatigue": fatigue}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        fatigue, decay = copied(users.fatigue), empty(len(users), F32)
        _fade(fatigue, decay, minutes, self.half_life)
        return {"fatigue": fatigue}


@kernel
def _fatigue(fatigue, decay, topic, slate, click, dt, ignored, clicked, half_life, limit):
    _fade(fatigue, decay, dt, half_life)
    more, less, most = np.float32(ignored), np.float32(clicked), np.float32(limit)
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                z = topic[slate[b, s]]
                fatigue[b, z] = min(fatigue[b, z] + (less if click[b, s] else more), most)


@dataclass(frozen=True, eq=False)
class Satiation(Dynamics):
    """A purchase satiates its topic and raises the appetite for the complementary one.

    The column `satiation` (T,) is above 0 for satiated topics, below 0 for those with a raised appetite, and halves
    every `half_life` minutes. Topics come in pairs (0, 1), (2, 3), ..., each the complement of the other. Reads
    `feedback.bought` (B, n) int32.

    Args:
        gain: what a purchase adds to its topic, >= 0.
        complement: what it takes from the other topic of the pair, >= 0.
        half_life: minutes of the user's clock, > 0.
        limit: largest absolute value, > 0.
    """

    gain: float = 2.0
    complement: float = 0.7
    half_life: float = 60.0
    limit: float = 4.0

    def __post_init__(self) -> None:
        require_number("Satiation.gain", self.gain, 0, 1000)
        require_number("Satiation.complement", self.complement, 0, 1000)
        require_number("Satiation.half_life", self.half_life, 1e-3, 1e9)
        require_number("Satiation.limit", self.limit, 1e-3, 1e6)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"satiation": Column((sizes.topics,), np.float32, -self.limit, self.limit)}

    def reads(self) -> tuple[str, ...]:
        return ("feedback.bought",)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        satiation, decay = copied(users.satiation), empty(len(users), F32)
        _satiation(satiation, decay, catalog.topic, feedback.bought, feedback.dt,
                   self.gain, self.complement, self.half_life, self.limit)  # fmt: skip
        return {"satiation": satiation}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        satiation, decay = copied(users.satiation), empty(len(users), F32)
        _fade(satiation, decay, minutes, self.half_life)
        return {"satiation": satiation}


@kernel
def _satiation(satiation, decay, topic, bought, dt, gain, complement, half_life, limit):
    T = satiation.shape[1]
    _fade(satiation, decay, dt, half_life)
    for b in range(bought.shape[0]):
        for j in range(bought.shape[1]):
            if bought[b, j] >= 0:
                z = topic[bought[b, j]]
                satiation[b, z] = min(satiation[b, z] + gain, limit)
                other = z + 1 if z % 2 == 0 else z - 1
                if other < T:
                    satiation[b, other] = max(satiation[b, other] - complement, -limit)


@kernel
def _fade(column, decay, minutes, half_life):
    """column <- column 2^(-minutes / half_life), and 0 below 1e-30: a processor takes tens of times as long for a number
    below 1e-38, and such numbers would stay."""
    for b in range(column.shape[0]):
        decay[b] = -0.6931471805599453 * minutes[b] / half_life
    exp_all(decay)
    for b in range(column.shape[0]):
        if minutes[b] > 0.0:
            factor = decay[b]
            for z in range(column.shape[1]):
                x = column[b, z] * factor
                column[b, z] = x if abs(x) > np.float32(1e-30) else np.float32(0.0)


@dataclass(frozen=True, eq=False)
class Boredom(Dynamics):
    """A topic clicked `threshold` times within the last `window` steps bores for `duration` steps (SARDINE).

    If the window still holds that many clicks when the boredom ends, it begins again at once. Only the latest `memory`
    clicks are remembered. The column `bored` (T,) holds the steps left; `recent` (T,), which the platform sees, the
    clicks in the window, at most `threshold`. The preference says what boredom does: see `unless` of `DotProduct`.

    Args:
        threshold, window, memory, duration: >= 1.
    """

    threshold: int = 5
    window: int = 5
    memory: int = 10
    duration: int = 5

    def __post_init__(self) -> None:
        for name in ("threshold", "window", "memory", "duration"):
            require_count(f"Boredom.{name}", getattr(self, name), 1, 10_000)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "bored": Column((sizes.topics,), np.float32, 0.0, self.duration),
            "recent": Column((sizes.topics,), np.float32, 0.0, self.threshold, visible=True),
            "click_topic": Column((self.memory,), np.int32, -1, sizes.topics - 1, -1),  # the latest first
            "click_age": Column((self.memory,), np.int32, 0, self.window),
        }

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        bored, recent = copied(users.bored), zeros(users.recent.shape, F32)
        topic, age = copied(users.click_topic), copied(users.click_age)
        _boredom(bored, recent, topic, age, catalog.topic, feedback.slate, feedback.click,
                 self.threshold, self.window, self.duration)  # fmt: skip
        return {"bored": bored, "recent": recent, "click_topic": topic, "click_age": age}


@kernel
def _boredom(bored, recent, click_topic, click_age, topic, slate, click, threshold, window, duration):
    memory = click_topic.shape[1]
    for b in range(slate.shape[0]):
        for m in range(memory):  # age 0 is the step that has just ended
            click_age[b, m] += 1
            if click_age[b, m] >= window:
                click_topic[b, m], click_age[b, m] = -1, 0
        for s in range(slate.shape[1]):
            if click[b, s]:
                for m in range(memory - 1, 0, -1):
                    click_topic[b, m], click_age[b, m] = click_topic[b, m - 1], click_age[b, m - 1]
                click_topic[b, 0], click_age[b, 0] = topic[slate[b, s]], 0
        for m in range(memory):
            if click_topic[b, m] >= 0:
                recent[b, click_topic[b, m]] += 1.0
        for z in range(bored.shape[1]):
            bored[b, z] = max(bored[b, z] - 1.0, 0.0)
            if recent[b, z] >= threshold:
                recent[b, z] = threshold
                bored[b, z] = bored[b, z] if bored[b, z] > 0.0 else duration
