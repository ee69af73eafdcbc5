"""The users who arrive, and how a synthetic catalogue is drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from numbers import Integral
from types import MappingProxyType
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.component import Component, float_array
from recgym.errors import require, require_count, require_number
from recgym.kernel import kernel, normal
from recgym.types import F32, Array, Column, Sizes, empty, filled, zeros

# Share of sessions that start in each hour of the day: quiet at night, a peak in the evening.
HOURS = (2, 1, 1, 1, 1, 2, 4, 6, 6, 5, 5, 6, 7, 6, 5, 5, 6, 7, 9, 11, 12, 10, 7, 4)


MOST_WEEKS = 52  # of a calendar: a float32 clock still counts seconds


@dataclass(frozen=True, eq=False)
class Population(Component, abstract=True):
    """Base of who arrives: the users at the start of an episode.

    `norm` is the largest Euclidean norm of an interest. `transparent` says that the platform sees the interest itself:
    the profile then follows it through the episode.
    """

    sensitivity = MappingProxyType({})  # not annotated, so that it is not a field here but can be one in a subclass
    norm: ClassVar[float] = 1.0
    transparent: ClassVar[bool] = False

    def arrive(self, noise: Array, signals: tuple[str, ...]) -> dict[str, Array]:
        """Columns of B new users: interest, profile, known, clock, sensitivity and the traits.

        Args:
            noise: (uniforms, B) float32 in (0, 1).
            signals: names of the market's signals, which the columns of `sensitivity` follow.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Plain(Population, abstract=True):
    """Base of users who have an interest and nothing else: no clock, no traits, no sensitivities.

    They have a profile, the interest itself, only if they are `transparent`.
    """

    def draw(self, noise: Array) -> Array:
        """(B, d) float32 interests."""
        raise NotImplementedError

    def arrive(self, noise: Array, signals: tuple[str, ...]) -> dict[str, Array]:
        interest = self.draw(noise)
        B = len(interest)
        profile = interest if self.transparent else zeros(interest.shape, F32)
        return dict(interest=interest, profile=profile, known=filled(B, self.transparent, F32),
                    clock=zeros(B, F32), sensitivity=zeros((B, len(signals)), F32))  # fmt: skip


@dataclass(frozen=True, eq=False)
class UniformInterests(Plain):
    """Users whose interest has coordinates ~ U(-1, 1), in full view of the platform.

    Args:
        dimensions: d >= 1.
    """

    dimensions: int = 20
    transparent: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require_count("UniformInterests.dimensions", self.dimensions, 1, 100_000)

    @property
    def norm(self) -> float:  # type: ignore[override]
        return math.sqrt(self.dimensions)

    def uniforms(self, sizes: Sizes) -> int:
        return self.dimensions

    def check(self, catalog: Catalog) -> None:
        d = catalog.embedding.shape[1]
        require(self.dimensions == d, "UniformInterests.dimensions", f"must be the {d} of the items", self.dimensions)

    def draw(self, noise: Array) -> Array:
        interest = empty((noise.shape[1], self.dimensions), F32)
        _uniform(interest, noise)
        return interest


@kernel
def _uniform(interest, noise):
    for b in range(interest.shape[0]):
        for k in range(interest.shape[1]):
            interest[b, k] = noise[k, b] * np.float32(2) - np.float32(1)


@dataclass(frozen=True, eq=False)
class SparseInterests(Plain):
    """Users with a few active topics (SARDINE, Deffayet et al. 2024); each topic is one dimension of the interest.

    Each topic is active with probability `share`, given that `low` to `high` of them are. The weights of the active
    topics are ~ U(0, 1), then normalised; those of the others are 0.

    Args:
        share: in (0, 1).
        low, high: numbers of topics, 1 <= low <= high.
        topics: d >= high.
    """

    share: float = 0.4
    low: int = 3
    high: int = 5
    topics: int = 10

    def __post_init__(self) -> None:
        require_count("SparseInterests.topics", self.topics, 1, 100_000)
        require_count("SparseInterests.high", self.high, 1, self.topics)
        require_count("SparseInterests.low", self.low, 1, self.high)
        require_number("SparseInterests.share", self.share, 1e-6, 1 - 1e-6)

    def uniforms(self, sizes: Sizes) -> int:
        return 1 + 2 * self.topics

    def check(self, catalog: Catalog) -> None:
        d = catalog.embedding.shape[1]
        require(self.topics == d, "SparseInterests.topics", f"must be the {d} dimensions of the items", self.topics)

    def draw(self, noise: Array) -> Array:
        interest = zeros((noise.shape[1], self.topics), F32)
        _sparse(interest, noise, self.low, self._cumulative)
        return interest

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        """(high - low + 1,) probability of at most low, low + 1, ... active topics: a binomial within its bounds."""
        n = np.arange(self.low, self.high + 1)
        log = [
            -math.lgamma(k + 1) - math.lgamma(self.topics - k + 1) + k * math.log(self.share / (1 - self.share))
            for k in n
        ]
        weights = np.exp(np.array(log) - max(log))
        return np.cumsum(weights) / weights.sum()


@kernel
def _sparse(interest, noise, low, cumulative):
    """The noise says how many topics are active, then the rank of each (the lowest are active), then the weights."""
    B, T = interest.shape
    for b in range(B):
        active = low
        while active - low < len(cumulative) - 1 and noise[0, b] >= cumulative[active - low]:
            active += 1
        norm = 0.0
        for z in range(T):
            rank = 0
            for y in range(T):
                rank += noise[1 + y, b] < noise[1 + z, b] or (noise[1 + y, b] == noise[1 + z, b] and y < z)
            if rank < active:
                interest[b, z] = noise[1 + T + z, b]
                norm += np.float64(interest[b, z]) ** 2
        for z in range(T):
            interest[b, z] /= math.sqrt(norm)


@dataclass(frozen=True, eq=False)
class NormalInterests(Plain):
    """Users whose interest has coordinates ~ N(0, sd), hidden from the platform.

    Args:
        dimensions: d >= 1.
        sd: > 0.
    """

    dimensions: int = 5
    sd: float = 1.0
    norm: ClassVar[float] = 100.0  # out of reach of any user

    def __post_init__(self) -> None:
        require_count("NormalInterests.dimensions", self.dimensions, 1, 100_000)
        require_number("NormalInterests.sd", self.sd, 1e-6, 10)

    def uniforms(self, sizes: Sizes) -> int:
        return self.dimensions

    def check(self, catalog: Catalog) -> None:
        d = catalog.embedding.shape[1]
        require(self.dimensions == d, "NormalInterests.dimensions", f"must be the {d} of the items", self.dimensions)

    def draw(self, noise: Array) -> Array:
        interest = empty((noise.shape[1], self.dimensions), F32)
        _normals(interest, noise, 0.0, self.sd)
        return interest


@kernel
def _normals(out, noise, mean, sd):
    for b in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[b, k] = mean + sd * normal(noise[k, b])


@dataclass(frozen=True, eq=False)
class UserTypes(Plain):
    """Users of hidden types: coordinate k of the interest is exp(N(location[y][k], sd)) for type y, at most 100.

    Args:
        probability: of each type.
        location: a row for each type, with a number for each dimension.
        sd: standard deviation of the logarithm, in [0, 1].
    """

    probability: tuple[float, ...] = (1.0,)
    location: tuple[tuple[float, ...], ...] = ((0.0,),)
    sd: float = 0.1
    norm: ClassVar[float] = 100.0

    def __post_init__(self) -> None:
        require(
            isinstance(self.probability, (list, tuple)), "UserTypes.probability", "must be numbers", self.probability
        )
        for p in self.probability:
            require_number("UserTypes.probability", p, 0, 1)
        require(abs(sum(self.probability) - 1) < 1e-6, "UserTypes.probability", "must add up to 1", self.probability)
        rule = f"must be {len(self.probability)} rows of numbers of one length"
        rows = self.location
        fits = isinstance(rows, (list, tuple)) and all(isinstance(row, (list, tuple)) and row for row in rows)
        fits = fits and len(rows) == len(self.probability) and len({len(row) for row in rows}) == 1
        require(fits, "UserTypes.location", rule, self.location)
        for row in self.location:
            for x in row:
                require_number("UserTypes.location", x, -3, 3)
        require_number("UserTypes.sd", self.sd, 0, 1)

    def uniforms(self, sizes: Sizes) -> int:
        return 1 + len(self.location[0])

    def check(self, catalog: Catalog) -> None:
        d = catalog.embedding.shape[1]
        require(len(self.location[0]) == d, "UserTypes.location", f"must have {d} columns", len(self.location[0]))

    def draw(self, noise: Array) -> Array:
        interest = empty((noise.shape[1], len(self.location[0])), F32)
        _types(interest, noise, *self._tables, self.sd)
        return interest

    @cached_property
    def _tables(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(Y,) probability of at most each type, and (Y, d) locations."""
        return np.cumsum(self.probability, dtype=np.float64), np.array(self.location, np.float64)


@kernel
def _types(interest, noise, cumulative, location, sd):
    B, d = interest.shape
    for b in range(B):
        y = 0
        while y < len(cumulative) - 1 and noise[0, b] >= cumulative[y]:
            y += 1
        for k in range(d):
            interest[b, k] = min(math.exp(location[y, k] + sd * normal(noise[1 + k, b])), 100.0)


@dataclass(frozen=True, eq=False)
class Empirical(Population):
    """Users drawn from a table, such as those of logs; one as likely as the other.

    A new user is a row of the tables: the interest; the profile that the platform has, which is zero where it knows nothing;
    and the minute of the calendar at which the session begins.

    Args:
        interest: (n, d) float32. profile: (n, d) float32, rows of norm 1 at most.
        clock: (n,) float32 minutes, >= 0.
        sensitivity: market signal -> (mean, spread), as in `TopicMixture`.
    """

    interest: NDArray[np.float32]
    profile: NDArray[np.float32]
    clock: NDArray[np.float32]
    sensitivity: dict[str, tuple[float, float]] = field(default_factory=dict)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        for name in ("interest", "profile", "clock"):
            float_array(self, name)
        shape = self.interest.shape
        require(len(shape) == 2 and min(shape) >= 1, "Empirical.interest", "must be (n, d), n and d >= 1", shape)
        require(self.profile.shape == shape, "Empirical.profile", f"must have shape {shape}", self.profile.shape)
        require(self.clock.shape == shape[:1], "Empirical.clock", f"must have shape {shape[:1]}", self.clock.shape)
        longest = float(np.linalg.norm(self.profile.astype(np.float64), axis=1).max())
        require(longest <= 1.0001, "Empirical.profile", "must have rows of norm 1 at most", longest)
        require(self.clock.min() >= 0, "Empirical.clock", "must be >= 0", float(self.clock.min()))
        _check_sensitivity("Empirical.sensitivity", self.sensitivity)

    @cached_property
    def norm(self) -> float:  # type: ignore[override]
        return max(float(np.linalg.norm(self.interest.astype(np.float64), axis=1).max()), 1.0)

    def reads(self) -> tuple[str, ...]:
        return tuple(f"signals.{name}" for name in self.sensitivity)

    def uniforms(self, sizes: Sizes) -> int:
        return 1 + sizes.signals

    def check(self, catalog: Catalog) -> None:
        d, given = catalog.embedding.shape[1], self.interest.shape
        require(given[1] == d, "Empirical.interest", f"must have the {d} columns of the items", given)

    def arrive(self, noise: Array, signals: tuple[str, ...]) -> dict[str, Array]:
        B, d = noise.shape[1], self.interest.shape[1]
        interest, profile = empty((B, d), F32), empty((B, d), F32)
        known, clock, sensitivity = zeros(B, F32), empty(B, F32), empty((B, len(signals)), F32)
        _one_of(interest, profile, known, clock, noise, self.interest, self.profile, self.clock)
        _sensitivities(sensitivity, noise, 1, _coefficients(self.sensitivity, signals))
        return dict(interest=interest, profile=profile, known=known, clock=clock, sensitivity=sensitivity)


@kernel
def _one_of(interest, profile, known, clock, noise, interests, profiles, clocks):
    """A row of the tables, drawn by the first number."""
    n = interests.shape[0]
    for b in range(interest.shape[0]):
        j = min(int(noise[0, b] * n), n - 1)
        clock[b] = clocks[j]
        for k in range(interest.shape[1]):
            interest[b, k], profile[b, k] = interests[j, k], profiles[j, k]
            if profiles[j, k] != 0.0:
                known[b] = 1.0


@dataclass(frozen=True, eq=False)
class TopicMixture(Population):
    """Users with mixed tastes.

    interest = normalise(sum_m w_m centroid_{z_m} + spread n / sqrt(d)), where the sum is over 2 to `mixture` topics
    z_m of the catalogue, w_m ~ U(0.3, 1) and n is standard normal. The platform's profile is
    normalise(interest + profile_noise n' / sqrt(d)), or zero for the cold-start share of the users. Sessions start on a
    random day of some weeks of the calendar, in an hour drawn from `hours`.

    Args:
        centroids: (T, d) float32, the direction of each topic.
        mixture: most topics that a user likes, >= 2.
        spread: of the user's own part of the interest, >= 0.
        profile_noise: of the platform's profile, >= 0; at 0 the profile is the interest itself.
        cold_start: share of users without a profile, in [0, 1].
        sensitivity: market signal -> (mean, spread). The utility of one unit of the signal is
            mean * exp(spread n - spread^2 / 2), with the sign of the mean; a signal that is not named has none.
        traits: further hidden columns, name -> (median, spread, low, high): log-normal, clipped to [low, high].
        hours: 24 weights of the hour in which a session starts.
        weeks: the first week in which sessions start, and the first after the last; 0 <= weeks[0] < weeks[1] <= 52.
    """

    centroids: NDArray[np.float32]
    mixture: int = 4
    spread: float = 0.4
    profile_noise: float = 1.0
    cold_start: float = 0.1
    sensitivity: dict[str, tuple[float, float]] = field(default_factory=dict)  # type: ignore[assignment]
    traits: dict[str, tuple[float, float, float, float]] = field(default_factory=dict)
    hours: tuple[float, ...] = HOURS
    weeks: tuple[int, int] = (0, 1)
    _memo: dict[tuple[str, ...], NDArray[np.float64]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        float_array(self, "centroids")
        require(self.centroids.ndim == 2, "population.centroids", "must be (T, d)", self.centroids.shape)
        require_count("population.mixture", self.mixture, 2, 64)
        require_number("population.spread", self.spread, 0, 100)
        require_number("population.profile_noise", self.profile_noise, 0, 100)
        require_number("cold_start", self.cold_start, 0, 1)
        require_weeks("population.weeks", self.weeks, MOST_WEEKS)
        hours_fit = len(self.hours) == 24 and min(self.hours) >= 0 and sum(self.hours) > 0
        require(hours_fit, "population.hours", "must be 24 weights >= 0 with a positive sum", self.hours)
        _check_sensitivity("population.sensitivity", self.sensitivity)
        for name, given in self.traits.items():
            where, rule = (
                f"population.traits[{name!r}]",
                "must be (median > 0, spread, low, high) with low <= median <= high",
            )
            require(isinstance(given, (list, tuple)) and len(given) == 4, where, rule, given)
            for number in given:
                require_number(where, number, -1e9, 1e9)
            median, spread, low, high = given
            require(low <= median <= high and median > 0, where, rule, given)
            require_number(f"{where} spread", spread, 0, 10)

    @cached_property
    def _cumulative(self) -> NDArray[np.float64]:
        """(24,) probability that a session starts by the end of each hour."""
        return np.cumsum(np.asarray(self.hours, np.float64)) / sum(self.hours)

    def _sensitivity(self, signals: tuple[str, ...]) -> NDArray[np.float64]:
        """(F, 2) mean and spread of the coefficients of those signals; made once."""
        if signals not in self._memo:
            self._memo[signals] = _coefficients(self.sensitivity, signals)
        return self._memo[signals]

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        # A trait may be spent (a budget), so its range begins at 0.
        return {name: Column(low=min(low, 0.0), high=high) for name, (_, _, low, high) in self.traits.items()}

    def reads(self) -> tuple[str, ...]:
        return tuple(f"signals.{name}" for name in self.sensitivity)

    def uniforms(self, sizes: Sizes) -> int:
        return 4 + 2 * self.mixture + 2 * sizes.dimensions + sizes.signals + len(self.traits)

    def check(self, catalog: Catalog) -> None:
        shape = (catalog.n_topics, catalog.embedding.shape[1])
        require(self.centroids.shape == shape, "population.centroids", f"must have shape {shape}", self.centroids.shape)

    def arrive(self, noise: Array, signals: tuple[str, ...]) -> dict[str, Array]:
        B, d = noise.shape[1], self.centroids.shape[1]
        interest, profile = zeros((B, d), F32), zeros((B, d), F32)
        known, clock, sensitivity = zeros(B, F32), empty(B, F32), empty((B, len(signals)), F32)
        first = [*accumulate((4, 2 * self.mixture, d, d, len(signals)))]  # rows of the noise
        _clock(clock, noise, self._cumulative, 7 * self.weeks[0], 7 * self.weeks[1])
        _mixture(interest, noise, first[0], self.centroids, self.mixture)
        _individual(interest, noise, first[1], self.spread)
        _profiles(profile, known, interest, noise, first[2], self.profile_noise, self.cold_start)
        _sensitivities(sensitivity, noise, first[3], self._sensitivity(signals))
        columns = dict(interest=interest, profile=profile, known=known, clock=clock, sensitivity=sensitivity)
        for j, (name, (median, log_spread, low, high)) in enumerate(self.traits.items()):
            columns[name] = trait = empty(B, F32)
            _log_normal(trait, noise, first[4] + j, median, log_spread, low, high)
        return columns


@kernel
def _clock(clock, noise, hours, first, last):
    """A random day from `first` to `last` - 1, and a minute of an hour drawn by its cumulative probabilities."""
    for b in range(len(clock)):
        day = first + math.floor(noise[0, b] * (last - first))
        hour = min(np.searchsorted(hours, noise[1, b]), 23)
        start = hours[hour - 1] if hour > 0 else 0.0
        minute = 60.0 * (noise[1, b] - start) / (hours[hour] - start)
        clock[b] = day * 1440.0 + hour * 60.0 + minute


@kernel
def _mixture(interest, noise, first, centroids, most):
    """The weighted sum of 2 to `most` centroids."""
    for b in range(interest.shape[0]):
        for m in range(2 + int(noise[2, b] * (most - 1))):
            z = int(noise[first + 2 * m, b] * centroids.shape[0])
            w = 0.3 + 0.7 * noise[first + 2 * m + 1, b]
            for k in range(interest.shape[1]):
                interest[b, k] += w * centroids[z, k]


@kernel
def _individual(interest, noise, first, spread):
    """Add what is the user's own, and normalise."""
    B, d = interest.shape
    scale = 1.0 / math.sqrt(d)
    for b in range(B):
        norm = 1e-12
        for k in range(d):
            interest[b, k] += spread * scale * normal(noise[first + k, b])
            norm += interest[b, k] ** 2
        for k in range(d):
            interest[b, k] /= math.sqrt(norm)


@kernel
def _profiles(profile, known, interest, noise, first, profile_noise, cold_start):
    """What the platform knows of the interest: nothing of a cold user, else a noisy copy."""
    B, d = interest.shape
    scale = 1.0 / math.sqrt(d)
    for b in range(B):
        if noise[3, b] >= cold_start:
            known[b] = 1.0
            norm = 1e-12
            for k in range(d):
                profile[b, k] = interest[b, k] + profile_noise * scale * normal(noise[first + k, b])
                norm += profile[b, k] ** 2
            for k in range(d):
                profile[b, k] /= math.sqrt(norm)


@kernel
def _sensitivities(sensitivity, noise, first, coefficients):
    """mean * exp(spread n - spread^2 / 2) of each signal; `coefficients` are (mean, spread)."""
    for b in range(sensitivity.shape[0]):
        for f in range(coefficients.shape[0]):
            spread = coefficients[f, 1]
            n = normal(noise[first + f, b])
            sensitivity[b, f] = coefficients[f, 0] * math.exp(spread * n - 0.5 * spread * spread)


@kernel
def _log_normal(out, noise, row, median, spread, low, high):
    for b in range(out.shape[0]):
        out[b] = min(max(median * math.exp(spread * normal(noise[row, b])), low), high)


def _coefficients(sensitivity: dict[str, tuple[float, float]], signals: tuple[str, ...]) -> NDArray[np.float64]:
    """(F, 2) mean and spread of the coefficients of those signals; 0 where there is none."""
    return np.array([sensitivity.get(name, (0.0, 0.0)) for name in signals], np.float64).reshape(-1, 2)


def _check_sensitivity(name: str, sensitivity: dict[str, tuple[float, float]]) -> None:
    """Require coefficients of market signals, as (mean, spread)."""
    for signal, given in sensitivity.items():
        where = f"{name}[{signal!r}]"
        require(isinstance(given, (list, tuple)) and len(given) == 2, where, "must be (mean, spread)", given)
        require_number(where, given[0], -1e6, 1e6)
        require_number(f"{where} spread", given[1], 0, 10)


def require_weeks(name: str, weeks: tuple[int, int], most: int) -> None:
    """Require a first week and the one after the last, 0 <= first < last <= most."""
    given = weeks if isinstance(weeks, (list, tuple)) else ()
    whole = all(isinstance(week, Integral) and not isinstance(week, bool) for week in given)
    fits = whole and len(given) == 2 and 0 <= given[0] < given[1] <= most
    require(fits, name, f"must be two integers, 0 <= first < last <= {most}", weeks)


def draw_topics(rng: np.random.Generator, n_topics: int, dimensions: int) -> NDArray[np.float32]:
    """(T, d) float32 unit vectors: random directions, mutually orthogonal as far as d allows."""
    blocks = []
    for start in range(0, n_topics, dimensions):
        q, _ = np.linalg.qr(rng.standard_normal((dimensions, dimensions)))
        blocks.append(q[: min(dimensions, n_topics - start)])
    return np.concatenate(blocks).astype(np.float32)


def draw_items(
    rng: np.random.Generator, n_items: int, centroids: NDArray[np.float32], spread: float = 0.6
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Topics (N,) int32, uniform, and embeddings (N, d) float32 = normalise(centroid + spread n / sqrt(d))."""
    n_topics, dimensions = centroids.shape
    topic = rng.integers(0, n_topics, n_items).astype(np.int32)
    embedding = centroids[topic] + spread / math.sqrt(dimensions) * rng.standard_normal((n_items, dimensions))
    return topic, (embedding / np.linalg.norm(embedding, axis=1, keepdims=True)).astype(np.float32)


def noisy_copy(
    rng: np.random.Generator, values: NDArray[np.float64], correlation: float, limit: float = 3.0
) -> NDArray[np.float64]:
    """(N,) standard scores that have the given correlation with standard scores `values`, within +-limit."""
    noise = rng.standard_normal(len(values))
    return np.clip(correlation * values + math.sqrt(1 - correlation**2) * noise, -limit, limit)
