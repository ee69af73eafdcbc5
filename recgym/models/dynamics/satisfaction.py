"""Satisfaction with the platform."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from recgym.catalog import Catalog
from recgym.errors import require, require_number, require_option
from recgym.kernel import inlined, kernel, normal, sigmoid, sigmoid_all
from recgym.lanes import dot
from recgym.models.dynamics.base import Dynamics
from recgym.types import F32, Array, Column, Feedback, Sizes, Users, copied, empty


@dataclass(frozen=True, eq=False)
class Satisfaction(Dynamics):
    """Satisfaction with what is shown and with what was bought: s <- memory s + (1 - memory) m - r, clipped to [0, 1].

    m is the mean (or the least) over the shown items of sigmoid(level + sum_a attributes[a] * item attribute a + match interest .
    embedding - price p), with the interest that the dynamics before this one have left and the relative log price p; where
    nothing is shown, m = s. r is the sum over the items bought of regret sigmoid(-2 q), where q is the attribute `quality`:
    low quality is found out at home.

    A short memory is the end of the peak-end rule (Kahneman, Fredrickson, Schreiber and Redelmeier 1993): the last things
    seen decide how a session is remembered.

    Args:
        memory, regret, initial: in [0, 1]; `initial` is the satisfaction at arrival.
        level, match, price: coefficients. Reads `feedback.offers` where `price` is not 0, `feedback.bought` where `regret`
            is not.
        attributes: item attribute -> coefficient.
        by: "mean" or "least": what of the slate counts. With the least, one bad item spoils the slate.
    """

    memory: float = 0.9
    level: float = 0.0
    attributes: dict[str, float] = field(default_factory=dict)
    match: float = 0.0
    price: float = 0.0
    regret: float = 0.0
    initial: float = 0.5
    by: str = "mean"

    def __post_init__(self) -> None:
        require_option("Satisfaction.by", self.by, ["mean", "least"])
        for name in ("memory", "regret", "initial"):
            require_number(f"Satisfaction.{name}", getattr(self, name), 0, 1)
        for name in ("level", "match", "price"):
            require_number(f"Satisfaction.{name}", getattr(self, name), -100, 100)
        require(
            isinstance(self.attributes, dict), "Satisfaction.attributes", "must be weights by name", self.attributes
        )
        for name, weight in self.attributes.items():
            require_number(f"Satisfaction[{name!r}]", weight, -100, 100)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"satisfaction": Column((), np.float32, 0.0, 1.0, self.initial)}

    def reads(self) -> tuple[str, ...]:
        return (*(("feedback.bought",) if self.regret else ()), *(("feedback.offers",) if self.price else ()))

    def check(self, catalog: Catalog) -> None:
        self._worth(catalog)
        if self.regret:
            catalog.column("quality")

    def _worth(self, catalog: Catalog) -> Array:
        """(N,) what the attributes of each item add to m, within the sigmoid."""
        return catalog.weighted(tuple(self.attributes.items()))

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        satisfaction, worth = copied(users.satisfaction), empty(feedback.slate.shape, F32)
        offers = feedback.offers if self.price else feedback.utility
        _satisfaction(
            satisfaction, worth, users.interest, catalog.embedding, self._worth(catalog), offers, feedback.slate,
            self.by == "least", self.memory, self.level, self.match, self.price,
        )  # fmt: skip
        if self.regret:
            _regret(satisfaction, catalog.attributes, catalog.column("quality"), feedback.bought, self.regret)
        return {"satisfaction": satisfaction}


@inlined
def _worth(worth, interest, embedding, appeal, offers, slate, level, match, price):
    """Of each item shown, level + appeal + match interest . embedding - price offer; -inf where there is none."""
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            i = slate[b, s]
            worth[b, s] = -np.inf
            if i >= 0:
                worth[b, s] = level + appeal[i] + match * dot(interest, b, embedding, i)
                if price != 0.0:
                    worth[b, s] -= price * offers[b, s]


@inlined
def _satisfaction(satisfaction, worth, interest, embedding, appeal, offers, slate, worst, memory, level, match, price):
    _worth(worth, interest, embedding, appeal, offers, slate, level, match, price)
    sigmoid_all(worth)  # 0 where nothing is shown
    for b in range(slate.shape[0]):
        total, least, shown = 0.0, 1.0, 0
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                total += worth[b, s]
                least = min(least, np.float64(worth[b, s]))
                shown += 1
        if shown > 0:
            m = least if worst else total / shown
            satisfaction[b] = min(max(memory * satisfaction[b] + (1.0 - memory) * m, 0.0), 1.0)


@kernel
def _regret(satisfaction, attributes, quality_column, bought, regret):
    for b in range(bought.shape[0]):
        now = np.float64(satisfaction[b])
        for j in range(bought.shape[1]):
            if bought[b, j] >= 0:
                now -= regret * sigmoid(-2.0 * attributes[bought[b, j], quality_column])
        satisfaction[b] = max(now, 0.0)


@dataclass(frozen=True, eq=False)
class NetExposure(Dynamics):
    """Satisfaction by what was clicked over a long time, after RecSim's "choc / kale".

    satisfaction = sigmoid(sensitivity x). The net exposure x follows the clicks: x <- memory x + noise n
    + sum over the clicked items of (quality q - gap b), clipped to +-`limit`, where q is an item's quality, b its
    clickbait and n ~ N(0, 1).

    Args:
        memory: in [0, 1].
        quality, gap: coefficients.
        sensitivity: >= 0.
        limit: > 0.
        noise: >= 0.
        initial: x at arrival ~ U(-initial, initial), in [0, limit].

    The catalogue must have the attributes `quality` and `clickbait`.
    """

    memory: float = 0.9
    quality: float = 1.0
    gap: float = 3.0
    sensitivity: float = 0.25
    limit: float = 40.0
    noise: float = 0.0
    initial: float = 0.0

    def __post_init__(self) -> None:
        require_number("NetExposure.memory", self.memory, 0, 1)
        require_number("NetExposure.quality", self.quality, -100, 100)
        require_number("NetExposure.gap", self.gap, -100, 100)
        require_number("NetExposure.sensitivity", self.sensitivity, 0, 100)
        require_number("NetExposure.limit", self.limit, 1e-3, 1e6)
        require_number("NetExposure.noise", self.noise, 0, 100)
        require_number("NetExposure.initial", self.initial, 0, self.limit)

    def uniforms(self, sizes: Sizes) -> int:
        return 1 if self.noise else 0

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        return 1 if self.initial else 0

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        if not self.initial:
            return {}
        net, satisfaction = empty(noise.shape[1], F32), empty(noise.shape[1], F32)
        _net_exposure_at_arrival(net, satisfaction, self.initial, self.sensitivity, noise)
        return {"net_exposure": net, "satisfaction": satisfaction}

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "net_exposure": Column((), np.float32, -self.limit, self.limit),
            "satisfaction": Column((), np.float32, 0.0, 1.0, 0.5),
        }

    def check(self, catalog: Catalog) -> None:
        self._effect(catalog)

    def _effect(self, catalog: Catalog) -> Array:
        """(N,) what a click on each item adds to the net exposure."""
        return catalog.weighted((("quality", self.quality), ("clickbait", -self.gap)))

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        net, satisfaction = copied(users.net_exposure), copied(users.satisfaction)
        _net_exposure(net, satisfaction, self._effect(catalog), feedback.slate, feedback.click,
                      self.memory, self.sensitivity, self.limit, self.noise, noise)  # fmt: skip
        return {"net_exposure": net, "satisfaction": satisfaction}


@kernel
def _net_exposure_at_arrival(net, satisfaction, initial, sensitivity, u):
    for b in range(net.shape[0]):
        net[b] = initial * (2.0 * u[0, b] - 1.0)
        satisfaction[b] = sensitivity * net[b]
    sigmoid_all(satisfaction)


@kernel
def _net_exposure(net, satisfaction, effect, slate, click, memory, sensitivity, limit, noise, u):
    for b in range(slate.shape[0]):
        x = memory * net[b]
        if noise > 0.0:
            x += noise * normal(u[0, b])
        for s in range(slate.shape[1]):
            if click[b, s]:
                x += effect[slate[b, s]]
        net[b] = min(max(x, -limit), limit)
        satisfaction[b] = sensitivity * net[b]
    sigmoid_all(satisfaction)


@dataclass(frozen=True, eq=False)
class Mood(Dynamics):
    """A running mean of what was shown and what came of it: mood <- memory mood + (1 - memory) x, within its limits.

    x = (mean over the items shown of z) + click * clicks + minutes * ln(1 + minutes of the step), where
    z = level + sum_a attributes[a] * item attribute a + match * interest . embedding - price p, and p is the relative log price of the
    item; where nothing is shown, the mean is 0. If `saturates`, it is the mean of sigmoid(z), as in `Satisfaction`, so that a good
    item can add no more than so much. Its coefficients are what logs can tell.

    A world may have two of them: the `mood`, which keeps users in a visit, and their `regard`, for which they come back.

    Args:
        memory: in [0, 1].
        level, match, price, click, minutes: coefficients. Reads `feedback.offers` where `price` is not 0.
        attributes: item attribute -> coefficient.
        saturates: whether items count by the sigmoid of z.
        initial: at arrival, within the limits.
        limit: > 0, of both signs; or the least and the greatest mood.
        name: of the user column, "mood" or "regard".
    """

    memory: float = 0.8
    attributes: dict[str, float] = field(default_factory=dict)
    match: float = 0.0
    price: float = 0.0
    click: float = 0.0
    minutes: float = 0.0
    initial: float = 0.0
    limit: float | tuple[float, float] = 20.0
    name: str = "mood"
    level: float = 0.0
    saturates: bool = False

    def __post_init__(self) -> None:
        require_option("Mood.name", self.name, ["mood", "regard"])
        require_number("Mood.memory", self.memory, 0, 1)
        if isinstance(self.limit, tuple):
            require_number("Mood.limit[0]", self.limit[0], -1000, 1000)
            require_number("Mood.limit[1]", self.limit[1], self.limit[0] + 1e-3, 1000)
        else:
            require_number("Mood.limit", self.limit, 1e-3, 1000)
        require_number("Mood.initial", self.initial, *self._limits)
        for name in ("level", "match", "price", "click", "minutes"):
            require_number(f"Mood.{name}", getattr(self, name), -100, 100)
        require(isinstance(self.attributes, dict), "Mood.attributes", "must be weights by name", self.attributes)
        for name, weight in self.attributes.items():
            require_number(f"Mood[{name!r}]", weight, -100, 100)

    @property
    def _limits(self) -> tuple[float, float]:
        return self.limit if isinstance(self.limit, tuple) else (-self.limit, self.limit)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {self.name: Column((), np.float32, *self._limits, self.initial)}

    def reads(self) -> tuple[str, ...]:
        return ("feedback.offers",) if self.price else ()

    def check(self, catalog: Catalog) -> None:
        catalog.weighted(tuple(self.attributes.items()))

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        mood, worth = copied(getattr(users, self.name)), empty(feedback.slate.shape, F32)
        offers = feedback.offers if self.price else feedback.utility
        low, high = self._limits
        _mood(
            mood, worth, users.interest, catalog.embedding, catalog.weighted(tuple(self.attributes.items())), offers,
            feedback.slate, feedback.click, feedback.dt, self.memory, self.level, self.match, self.price, self.click,
            self.minutes, self.saturates, low, high,
        )  # fmt: skip
        return {self.name: mood}


@kernel
def _mood(
    mood, worth, interest, embedding, appeal, offers, slate, click, dt, memory, level, match, price, clicked, minutes, saturates,
    low, high,
):  # fmt: skip
    _worth(worth, interest, embedding, appeal, offers, slate, level, match, price)
    if saturates:
        sigmoid_all(worth)
    for b in range(slate.shape[0]):
        total, shown, clicks = 0.0, 0, 0
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                shown += 1
                clicks += click[b, s]
                total += worth[b, s]
        x = total / max(shown, 1) + clicked * clicks + minutes * math.log(1.0 + dt[b])
        mood[b] = min(max(memory * mood[b] + (1.0 - memory) * x, low), high)
