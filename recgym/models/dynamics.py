"""Dynamics: how a step changes the user. A World holds a tuple of these, applied in order.

Each is ``(users, catalog, feedback, noise) -> {column: new array}``; what is not named stays. The kernels write into
a copy of the column: allocating in Python is cheaper than returning arrays from compiled code, and a step that is
recorded to be compiled knows where each array comes from (`recgym.types.copied`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component, float_array
from recgym.errors import require, require_count, require_number
from recgym.kernel import dot, kernel, normal, sigmoid
from recgym.types import BOOL, F32, Array, Column, Feedback, Sizes, Users, copied, empty, zeros


@dataclass(frozen=True, eq=False)
class Dynamics(Component, abstract=True):
    """Base. `reach` is the largest Euclidean norm that it gives to an interest."""

    reach: ClassVar[float] = 1.0

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        raise NotImplementedError

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        """Uniforms that `begin` gets."""
        return 0

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        """Columns of users who have just arrived, where a constant will not do; nothing by default."""
        return {}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        """What time away from the platform changes, (B,) minutes between two sessions; nothing by default."""
        return {}


@dataclass(frozen=True, eq=False)
class InterestDrift(Dynamics):
    """Each clicked item pulls: interest <- normalise((1 - rate) interest + rate embedding).

    Args:
        rate: in [0, 1].
    """

    rate: float = 0.02

    def __post_init__(self) -> None:
        require_number("InterestDrift.rate", self.rate, 0, 1)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        _drift(interest, catalog.embedding, feedback.slate, feedback.click, self.rate)
        return {"interest": interest}


@dataclass(frozen=True, eq=False)
class TwoSpeedDrift(Dynamics):
    """A fast short-term and a slow long-term profile; the interest is their mix.

    Each clicked item pulls both: short with rate `fast`, long with rate `slow` (columns `short_term`, `long_term`);
    interest = normalise(mix short + (1 - mix) long). Both start at the arrival's interest.

    Args:
        fast, slow, mix: in [0, 1].
    """

    fast: float = 0.1
    slow: float = 0.01
    mix: float = 0.5

    def __post_init__(self) -> None:
        for name in ("fast", "slow", "mix"):
            require_number(f"TwoSpeedDrift.{name}", getattr(self, name), 0, 1)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        profile = Column((sizes.dimensions,), np.float32, -100.0, 100.0)  # an interest need not be of norm 1 at arrival
        return {"short_term": profile, "long_term": profile}

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        return {"short_term": users.interest, "long_term": users.interest}

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        short, long, interest = copied(users.short_term), copied(users.long_term), copied(users.interest)
        _two_speeds(
            short, long, interest, catalog.embedding, feedback.slate, feedback.click, self.fast, self.slow, self.mix
        )
        return {"short_term": short, "long_term": long, "interest": interest}


@dataclass(frozen=True, eq=False)
class SignedDrift(Dynamics):
    """A clicked item pulls or repels, in each of its own coordinates (RecSim's interest evolution, Ie et al. 2019).

    I <- clip(I +- rate (1 - |I|) x (x - I), -1, 1), all by coordinate; it pulls with probability (x . I + 1) / 2.

    Args:
        rate: in [0, 1].
    """

    rate: float = 0.3

    def __post_init__(self) -> None:
        require_number("SignedDrift.rate", self.rate, 0, 1)

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        _signed_drift(interest, catalog.embedding, feedback.slate, feedback.click, self.rate, noise)
        return {"interest": interest}


@dataclass(frozen=True, eq=False)
class MeanDrift(Dynamics):
    """The mean of the clicked embeddings pulls: interest <- normalise((1 - rate) interest + rate mean). SARDINE.

    Args:
        rate: in [0, 1].
        scalar: what sardine-rec 1.0.8 computes: the mean over all coordinates too, one number for every coordinate,
            so that every click pulls towards the vector of ones.
    """

    rate: float = 0.05
    scalar: bool = False

    def __post_init__(self) -> None:
        require_number("MeanDrift.rate", self.rate, 0, 1)
        require(isinstance(self.scalar, bool), "MeanDrift.scalar", "must be True or False", self.scalar)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        interest = copied(users.interest)
        _mean_drift(interest, catalog.embedding, feedback.slate, feedback.click, self.rate, self.scalar)
        return {"interest": interest}


@dataclass(frozen=True, eq=False)
class Boredom(Dynamics):
    """A topic clicked `threshold` times within the last `window` steps bores for `duration` steps. SARDINE.

    If its clicks are still that many when the spell ends, another one begins at once.
    At most `memory` clicks are remembered, the latest. Columns: `bored` (T,) steps left; `recent` (T,) clicks in the
    window, at most `threshold`, which the platform sees. What boredom does is up to the preference, see `unless` there.

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


@dataclass(frozen=True, eq=False)
class OrganicSessions(Dynamics):
    """Between advertisements the user browses: a chain of organic views, then advertisements again (RecoGym).

    After an advertisement the user browses with probability `browse`, after a click always; else leaves with
    probability `leave`. Each view, of item i ~ softmax(affinity . interest + appeal), is followed by another one, by
    advertisements with probability `advertise`, or by leaving. The interest is a random walk with steps of `sd` a
    coordinate, one for each time that the chain moves to browsing, and ends at a norm of 100. An arrival begins with views, and sees an
    advertisement. A session has at most `longest` views, then come advertisements.

    Views enter the history without feedback. Columns: `views` (T,) the share of each topic in all views so far,
    visible; `n_views`; `present`, 0 once the user has left.

    Args:
        affinity: (N, d). appeal: (N,). browse, leave, advertise: probabilities. sd: >= 0. longest: >= 1.
    """

    affinity: Array
    appeal: Array
    browse: float = 0.05
    leave: float = 0.01
    advertise: float = 0.25
    sd: float = 0.1
    longest: int = 32
    reach: ClassVar[float] = 100.0

    def __post_init__(self) -> None:
        float_array(self, "affinity")
        float_array(self, "appeal", (len(self.affinity),))
        for name in ("leave", "browse", "advertise"):
            require_number(f"OrganicSessions.{name}", getattr(self, name), 0, 1 if name == "leave" else 1 - self.leave)
        require_number("OrganicSessions.sd", self.sd, 0, 100)
        require_count("OrganicSessions.longest", self.longest, 1, 10_000)

    def check(self, catalog: Catalog) -> None:
        shape = catalog.embedding.shape
        require(self.affinity.shape == shape, "OrganicSessions.affinity", f"must be {shape}", self.affinity.shape)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {
            "views": Column((sizes.topics,), np.float32, 0.0, 1.0, visible=True),
            "n_views": Column((), np.float32, 0.0, 1e9),
            "present": Column((), np.float32, 0.0, 1.0, 1.0),
        }

    def uniforms(self, sizes: Sizes) -> int:
        # The move after the advertisement, then of each view the item, the move after it, and the walks of both moves.
        return (1 + sizes.dimensions) + self.longest * (2 + sizes.dimensions)

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        return self.uniforms(sizes)

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        return self._browse(users, catalog, zeros((len(users.t), 1), BOOL), True, noise)

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return self._browse(users, catalog, feedback.click, False, noise)

    def _browse(self, users: Users, catalog: Catalog, click: Array, arrival: bool, noise: Array) -> dict[str, Array]:
        names = ("interest", "history", "history_feedback", "views", "n_views", "present")
        changes = {name: copied(users[name]) for name in names}
        _browse(*changes.values(), catalog.topic, click, arrival, self.affinity, self.appeal,
                self.browse, self.leave, self.advertise, self.sd, self.longest, noise)  # fmt: skip
        return changes


@dataclass(frozen=True, eq=False)
class Fatigue(Dynamics):
    """Boredom with a topic: `fatigue` (T,) grows with each impression and halves every `half_life` minutes.

    Args:
        ignored: gain of an impression without click, >= 0. clicked: gain of a click, >= 0.
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
        fatigue = copied(users.fatigue)
        _fatigue(fatigue, catalog.topic, feedback.slate, feedback.click, feedback.dt,
                 self.ignored, self.clicked, self.half_life, self.limit)  # fmt: skip
        return {"fatigue": fatigue}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        fatigue = copied(users.fatigue)
        _rest(fatigue, minutes, self.half_life)
        return {"fatigue": fatigue}


@dataclass(frozen=True, eq=False)
class Satiation(Dynamics):
    """A purchase satiates its topic and lifts the complementary one: `satiation` (T,), negative = lifted.

    Topics come in pairs (0, 1), (2, 3), ...: each is the other's complement. Reads `feedback.bought` (B, n) int32.

    Args:
        gain: of a purchase, >= 0. complement: lift of the other topic, >= 0.
        half_life: minutes of the user's clock, > 0. limit: largest absolute value, > 0.
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
        satiation = copied(users.satiation)
        _satiation(satiation, catalog.topic, feedback.bought, feedback.dt,
                   self.gain, self.complement, self.half_life, self.limit)  # fmt: skip
        return {"satiation": satiation}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        satiation = copied(users.satiation)
        _rest(satiation, minutes, self.half_life)
        return {"satiation": satiation}


@dataclass(frozen=True, eq=False)
class Satisfaction(Dynamics):
    """satisfaction <- memory s + (1 - memory) m - regret, in [0, 1].

    m is the mean over the shown items of sigmoid(level + quality q + match interest . embedding), the interest being what
    the dynamics before this one have left; an empty slate leaves m at s. Buying an item of quality q costs regret * sigmoid(-2 q): low quality is found out at home.
    Reads `feedback.bought`; needs the attribute `quality`.

    Args:
        memory: in [0, 1]. level, quality, match: coefficients. regret: in [0, 1]. initial: satisfaction at arrival.
    """

    memory: float = 0.9
    level: float = 0.0
    quality: float = 1.5
    match: float = 1.0
    regret: float = 0.2
    initial: float = 0.5

    def __post_init__(self) -> None:
        for name in ("memory", "regret", "initial"):
            require_number(f"Satisfaction.{name}", getattr(self, name), 0, 1)
        for name in ("level", "quality", "match"):
            require_number(f"Satisfaction.{name}", getattr(self, name), -100, 100)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"satisfaction": Column((), np.float32, 0.0, 1.0, self.initial)}

    def reads(self) -> tuple[str, ...]:
        return ("feedback.bought",)

    def check(self, catalog: Catalog) -> None:
        catalog.column("quality")

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        satisfaction = copied(users.satisfaction)
        _satisfaction(
            satisfaction, users.interest, catalog.embedding, catalog.attributes, catalog.column("quality"),
            feedback.slate, feedback.bought, self.memory, self.level, self.quality, self.match, self.regret,
        )  # fmt: skip
        return {"satisfaction": satisfaction}


@dataclass(frozen=True, eq=False)
class NetExposure(Dynamics):
    """Long-term satisfaction after Choc / Kale (RecSim): x <- memory x + sum over clicks (quality q - gap b).

    satisfaction = sigmoid(sensitivity x), x clipped to +-`limit`, b the item's clickbait, q its quality.

    Args:
        memory: in [0, 1]. quality, gap: coefficients. sensitivity: > 0. limit: > 0.
        noise: standard deviation of what is added to x at each step, >= 0.
        initial: x at arrival ~ U(-initial, initial), >= 0.
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
        return catalog.weights((("quality", self.quality), ("clickbait", -self.gap)))

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        weights = self._effect(catalog)
        net, satisfaction = copied(users.net_exposure), copied(users.satisfaction)
        _net_exposure(net, satisfaction, catalog.attributes, weights, feedback.slate, feedback.click,
                      self.memory, self.sensitivity, self.limit, self.noise, noise)  # fmt: skip
        return {"net_exposure": net, "satisfaction": satisfaction}


@kernel
def _pull(profile, b, embedding, i, rate):
    """profile[b] <- normalise((1 - rate) profile[b] + rate embedding[i]), in place."""
    d = profile.shape[1]
    for k in range(d):
        profile[b, k] += rate * (embedding[i, k] - profile[b, k])
    norm = math.sqrt(np.float64(dot(profile, b, profile, b)) + 1e-12)
    for k in range(d):
        profile[b, k] /= norm


@kernel
def _drift(interest, embedding, slate, click, rate):
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if click[b, s]:
                _pull(interest, b, embedding, slate[b, s], rate)


@kernel
def _signed_drift(interest, embedding, slate, click, rate, u):
    d = interest.shape[1]
    for b in range(slate.shape[0]):
        for s in range(slate.shape[1]):
            if not click[b, s]:
                continue
            i = slate[b, s]
            sign = 1.0 if u[s, b] < 0.5 * (1.0 + dot(interest, b, embedding, i)) else -1.0
            for k in range(d):
                x, now = np.float64(embedding[i, k]), np.float64(interest[b, k])
                now += sign * rate * (1.0 - abs(now)) * x * (x - now)
                interest[b, k] = min(max(now, -1.0), 1.0)


@kernel
def _mean_drift(interest, embedding, slate, click, rate, scalar):
    d = interest.shape[1]
    mean = np.empty(d)
    for b in range(slate.shape[0]):
        mean[:] = 0.0
        clicks = 0
        for s in range(slate.shape[1]):
            if click[b, s]:
                clicks += 1
                for k in range(d):
                    mean[k] += embedding[slate[b, s], k]
        if clicks == 0:
            continue
        if scalar:
            mean[:] = mean.sum() / d
        norm = 1e-24
        for k in range(d):
            interest[b, k] = (1.0 - rate) * interest[b, k] + rate * mean[k] / clicks
            norm += np.float64(interest[b, k]) ** 2
        for k in range(d):
            interest[b, k] /= math.sqrt(norm)


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


@kernel
def _browse(
    interest, history, history_feedback, views, n_views, present, topic, click, arrival, affinity, appeal,
    browse, leave, advertise, sd, longest, u,
):  # fmt: skip
    B, d = interest.shape
    P, H, C = affinity.shape[0], history.shape[1], history_feedback.shape[2]
    score = np.empty(P)
    for b in range(B):
        browsing = arrival
        clicked = False
        for s in range(click.shape[1]):
            clicked = clicked or click[b, s]
        if not arrival:
            browsing = u[0, b] < browse
            if browsing:
                _walk(interest, b, sd, u, 1)
            if not browsing and not clicked and u[0, b] < browse + leave:
                present[b] = 0.0
            browsing = browsing or clicked
        for n in range(longest):
            if not browsing:
                break
            at = 1 + d + n * (2 + d)
            top, total = -np.inf, 0.0
            for i in range(P):
                score[i] = np.float64(appeal[i]) + dot(interest, b, affinity, i)
                top = max(top, score[i])
            for i in range(P):
                score[i] = math.exp(score[i] - top)
                total += score[i]
            item, level = 0, score[0]
            while item < P - 1 and u[at, b] * total >= level:
                item += 1
                level += score[item]
            for h in range(H - 1, 0, -1):
                history[b, h] = history[b, h - 1]
                for c in range(C):
                    history_feedback[b, h, c] = history_feedback[b, h - 1, c]
            history[b, 0] = item
            for c in range(C):
                history_feedback[b, 0, c] = 0.0
            n_views[b] += 1.0
            for z in range(views.shape[1]):
                views[b, z] += ((1.0 if topic[item] == z else 0.0) - views[b, z]) / n_views[b]
            move = np.float64(u[at + 1, b])
            if move < advertise + leave:
                browsing = False
                if move >= advertise and not arrival:
                    present[b] = 0.0
            else:
                _walk(interest, b, sd, u, at + 2)


@kernel
def _walk(interest, b, sd, u, at):
    furthest = 100.0 / math.sqrt(interest.shape[1])
    for k in range(interest.shape[1]):
        interest[b, k] = min(max(interest[b, k] + sd * normal(u[at + k, b]), -furthest), furthest)


@kernel
def _two_speeds(short, long, interest, embedding, slate, click, fast, slow, mix):
    for b in range(slate.shape[0]):
        clicked = False
        for s in range(slate.shape[1]):
            if click[b, s]:
                _pull(short, b, embedding, slate[b, s], fast)
                _pull(long, b, embedding, slate[b, s], slow)
                clicked = True
        if clicked:
            for k in range(interest.shape[1]):
                interest[b, k] = mix * short[b, k] + (1.0 - mix) * long[b, k]
            norm = math.sqrt(np.float64(dot(interest, b, interest, b)) + 1e-12)
            for k in range(interest.shape[1]):
                interest[b, k] /= norm


@kernel
def _fatigue(fatigue, topic, slate, click, dt, ignored, clicked, half_life, limit):
    for b in range(slate.shape[0]):
        decay = math.exp(-0.6931471805599453 * dt[b] / half_life)
        for z in range(fatigue.shape[1]):
            fatigue[b, z] *= decay
        for s in range(slate.shape[1]):
            if slate[b, s] >= 0:
                z = topic[slate[b, s]]
                fatigue[b, z] = min(fatigue[b, z] + (clicked if click[b, s] else ignored), limit)


@kernel
def _rest(column, minutes, half_life):
    for b in range(column.shape[0]):
        if minutes[b] > 0.0:
            decay = math.exp(-0.6931471805599453 * minutes[b] / half_life)
            for z in range(column.shape[1]):
                column[b, z] *= decay


@kernel
def _satiation(satiation, topic, bought, dt, gain, complement, half_life, limit):
    T = satiation.shape[1]
    for b in range(bought.shape[0]):
        decay = math.exp(-0.6931471805599453 * dt[b] / half_life)
        for z in range(T):
            satiation[b, z] *= decay
        for j in range(bought.shape[1]):
            if bought[b, j] >= 0:
                z = topic[bought[b, j]]
                satiation[b, z] = min(satiation[b, z] + gain, limit)
                other = z + 1 if z % 2 == 0 else z - 1
                if other < T:
                    satiation[b, other] = max(satiation[b, other] - complement, -limit)


@kernel
def _satisfaction(
    satisfaction, interest, embedding, attributes, quality_column, slate, bought, memory, level, quality, match, regret
):
    for b in range(slate.shape[0]):
        total, shown = 0.0, 0
        for s in range(slate.shape[1]):
            i = slate[b, s]
            if i >= 0:
                total += sigmoid(
                    level + quality * attributes[i, quality_column] + match * dot(interest, b, embedding, i)
                )
                shown += 1
        s_now = np.float64(satisfaction[b])
        if shown > 0:
            s_now = memory * s_now + (1.0 - memory) * total / shown
        for j in range(bought.shape[1]):
            if bought[b, j] >= 0:
                s_now -= regret * sigmoid(-2.0 * attributes[bought[b, j], quality_column])
        satisfaction[b] = min(max(s_now, 0.0), 1.0)


@kernel
def _net_exposure_at_arrival(net, satisfaction, initial, sensitivity, u):
    for b in range(net.shape[0]):
        net[b] = initial * (2.0 * u[0, b] - 1.0)
        satisfaction[b] = sigmoid(sensitivity * net[b])


@kernel
def _net_exposure(net, satisfaction, attributes, weights, slate, click, memory, sensitivity, limit, noise, u):
    for b in range(slate.shape[0]):
        x = memory * net[b]
        if noise > 0.0:
            x += noise * normal(u[0, b])
        for s in range(slate.shape[1]):
            if click[b, s]:
                for a in range(weights.shape[0]):
                    x += weights[a] * attributes[slate[b, s], a]
        net[b] = min(max(x, -limit), limit)
        satisfaction[b] = sigmoid(sensitivity * net[b])
