"""World: the composition of all parts, and the one place where a step of the simulation is written down.

    world = recgym.load_world("ecommerce")
    users = world.arrive(recgym.mix([0, 1, 2]))
    users, feedback = world.step(users, slate=users.candidates[:, :1], noise=world.noise(users))

A World never changes. To swap a part: ``dataclasses.replace(world, choice=Cascade(attention=0.8))``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import math
import os
import time
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np

from recgym.catalog import Catalog
from recgym.component import Component, array_names
from recgym.errors import ConfigError, RecgymError, brief, require, require_count, unknown
from recgym.files import parse_arrays, read_bytes, read_json, write_atomically
from recgym.kernel import kernel
from recgym.market import Market
from recgym.models.candidates import CandidateSource, source_of
from recgym.models.choice import Choice
from recgym.models.departure import Departure
from recgym.models.dynamics import Dynamics
from recgym.models.preference import Preference
from recgym.models.response import Response
from recgym.models.reward import Reward
from recgym.noise import mix
from recgym.noise import noise as draw_noise
from recgym.population import Population
from recgym.types import BOOL, F32, I32, Array, Column, Feedback, Sizes, Users, copied, empty, filled, zeros

FORMAT = "recgym-world-1"


class Blocks(NamedTuple):
    """Which uniforms of a step belong to which part."""

    candidates: slice
    choice: slice
    response: slice
    departure: slice
    dynamics: tuple[slice, ...]


@dataclass(frozen=True, eq=False)
class World(Component):
    """Catalogue, population, market and models.

    Args:
        catalog, population, market, candidates, preference, choice, response, dynamics, departure, reward: the parts.
        slate_size: items shown in a step, S >= 1.
        horizon: steps after which an episode is truncated, >= 1.
        history: how many clicked items the platform remembers of each user, >= 1.
        warm_up: random slates that a user has seen before the first observation, >= 0; they earn no reward.
        embeddings: whether observations show the profile of the user and the embeddings of items, or only how well they match.

    Raises:
        ConfigError: a part is of the wrong family, does not fit the catalogue, or two parts own one column.
    """

    catalog: Catalog
    population: Population
    market: Market
    candidates: CandidateSource
    preference: Preference
    choice: Choice
    response: Response
    dynamics: tuple[Dynamics, ...]
    departure: Departure
    reward: Reward
    slate_size: int = 1
    horizon: int = 100
    history: int = 10
    warm_up: int = 0
    embeddings: bool = True

    # Derived, set once below.
    n_candidates: int = field(init=False, repr=False)  # K
    sizes: Sizes = field(init=False, repr=False)
    objectives: tuple[str, ...] = field(init=False, repr=False)  # M names
    owned: dict[str, Column] = field(init=False, repr=False)  # user columns of the parts
    blocks: Blocks = field(init=False, repr=False)
    uniforms_per_step: int = field(init=False, repr=False)
    begin_blocks: tuple[slice, ...] = field(init=False, repr=False)  # of the uniforms at arrival, one for each dynamics
    uniforms_at_arrival: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        families = dict(catalog=Catalog, population=Population, market=Market, candidates=CandidateSource,
                        preference=Preference, choice=Choice, response=Response, departure=Departure, reward=Reward)  # fmt: skip
        for name, family in families.items():
            part = getattr(self, name)
            if isinstance(part, dict):
                object.__setattr__(self, name, part := family.from_dict(part, where=name))
            require(isinstance(part, family), name, f"must be a {family.__name__} component", part)
        rule = "must be a sequence of Dynamics components"
        require(isinstance(self.dynamics, (list, tuple)), "dynamics", rule, self.dynamics)
        dynamics = tuple(Dynamics.from_dict(d, where="dynamics") if isinstance(d, dict) else d for d in self.dynamics)
        require(all(isinstance(d, Dynamics) for d in dynamics), "dynamics", rule, self.dynamics)
        object.__setattr__(self, "dynamics", dynamics)
        require_count("slate_size", self.slate_size, 1, 10_000)
        require_count("horizon", self.horizon, 1, 1_000_000)
        require_count("history", self.history, 1, 10_000)
        require_count("warm_up", self.warm_up, 0, 1000)
        for part in self.parts:
            part.check(self.catalog)
        n = len(self.catalog)
        self._set("n_candidates", self.candidates.count(n))
        require(
            self.slate_size <= self.n_candidates,
            "slate_size",
            f"must be at most the {self.n_candidates} candidates",
            self.slate_size,
        )
        sizes = Sizes(self.slate_size, self.n_candidates, n, self.catalog.embedding.shape[1],
                      self.catalog.n_topics, len(self.market.signals))  # fmt: skip
        self._set("sizes", sizes)
        self._set("objectives", self.response.objectives + self.departure.objectives)
        if not callable(self.reward):
            self.reward.weights(self.objectives)
        owned: dict[str, Column] = {}
        for part in self.parts:
            for name, column in part.columns(sizes).items():
                taken = name in owned or name in Users.__annotations__
                require(not taken, f"{part.kind}.columns", "must not own a column that another part owns", name)
                owned[name] = column
        self._set("owned", owned)
        self._check_reads()
        fits = self.choice.single or not self.response.single
        require(
            fits, "choice", f"must give at most one click per slate, as {self.response.kind} needs", self.choice.kind
        )
        # One block of noise for each part, in a fixed order.
        blocks, end = [], 0
        for part in (self.candidates, self.choice, self.response, self.departure, *self.dynamics):
            blocks.append(slice(end, end := end + part.uniforms(sizes)))
        self._set("blocks", Blocks(*blocks[:4], dynamics=tuple(blocks[4:])))
        self._set("uniforms_per_step", max(end, 1))
        # At arrival: the population, the candidates, the dynamics, then a slate and a step for each slate of the warm-up.
        begin, end = [], self.population.uniforms(sizes) + self.candidates.uniforms(sizes)
        for part in self.dynamics:
            begin.append(slice(end, end := end + part.uniforms_at_arrival(sizes)))
        self._set("begin_blocks", tuple(begin))
        self._set("uniforms_at_arrival", end + self.warm_up * (self.slate_size + self.uniforms_per_step))

    def _check_reads(self) -> None:
        """Whatever a part reads must be there now, not be missed at the first step."""
        topics = (self.catalog.n_topics,)
        there = {
            "users": {*self.owned, *Users.__annotations__},
            "scalars": {name for name, column in self.owned.items() if column.shape == ()},
            "topics": {name for name, column in self.owned.items() if column.shape == topics} | {"exposure"},
            "signals": {signal.name for signal in self.market.signals},
            "feedback": {*Feedback.__annotations__, *self.response.extras},
        }
        for part in self.parts:
            for path in part.reads():
                where, _, name = path.partition(".")
                if name not in there[where]:
                    unknown(f"{part.kind} reads {where}", name, there[where])

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        """One line for each part."""
        lines = [f"    {f.name}={getattr(self, f.name)!r}," for f in dataclasses.fields(self) if f.init and f.repr]
        return "\n".join(["World(", *lines, ")"])

    @property
    def parts(self) -> tuple[Component, ...]:
        """All parts, the catalogue first."""
        return (self.catalog, self.population, self.market, self.candidates, self.preference, self.choice,
                self.response, *self.dynamics, self.departure, self.reward)  # fmt: skip

    def arrive(self, keys: Array, episodes: Array | None = None) -> Users:
        """New users at the start of an episode.

        Args:
            keys: (B,) uint64, see `recgym.mix`. episodes: (B,) int32, default 0.
        """
        B, sizes = len(keys), self.sizes
        n = self.population.uniforms(sizes)
        episodes = np.zeros(B, I32) if episodes is None else np.asarray(episodes, I32)
        noise = draw_noise(keys, episodes, filled(B, -1, I32), max(self.uniforms_at_arrival, 1))
        columns = {name: filled((B, *c.shape), c.initial, c.dtype) if c.initial else zeros((B, *c.shape), c.dtype)
                   for name, c in self.owned.items()}  # fmt: skip
        columns |= self.population.arrive(noise[:n], self.market.names)
        C = len(self.response.channels)
        users = Users(
            key=np.ascontiguousarray(keys, np.uint64),
            episode=episodes,
            t=zeros(B, I32),
            exposure=zeros((B, sizes.topics), F32),
            history=filled((B, self.history), -1, I32),
            history_feedback=zeros((B, self.history, C), F32),
            last=zeros((B, C), F32),
            **columns,
        )
        end = n + self.candidates.uniforms(sizes)
        state = users.__dict__
        state["candidates"] = self.candidates(users, self.catalog, self.market, noise[n:end])
        for part, block in zip(self.dynamics, self.begin_blocks, strict=True):
            state.update(part.begin(users, self.catalog, noise[block]))
            end = block.stop
        for _ in range(self.warm_up):
            slate = empty((B, self.slate_size), I32)
            _random_slate(slate, users.candidates, noise[end:])
            start, end = end + self.slate_size, end + self.slate_size + self.uniforms_per_step
            users = self.advance(users, slate, noise[start:end])[0].replace(t=users.t)
        return users

    def noise(self, users: Users) -> Array:
        """(uniforms, B) float32: the noise of the users' next step, a pure function of (key, episode, t)."""
        return draw_noise(users.key, users.episode, users.t, self.uniforms_per_step)

    def step(self, users: Users, slate: Array, noise: Array, click: Array | None = None) -> tuple[Users, Feedback]:
        """One step of B users; pure.

        Args:
            users: who. slate: (B, S) int32 item ids, -1 = nothing in this position, no item twice.
            noise: (uniforms, B) float32 in (0, 1), see `noise`.
            click: (B, S) bool, to force what is clicked instead of sampling it, for what-if questions; what cannot be clicked stays unclicked.

        Returns:
            The users after the step, with their next candidates, and the feedback.

        Raises:
            ConfigError: an array of another shape or type, or an item that is not there.
        """
        slate = self._items("slate", slate, users, self.slate_size)
        shape = (self.uniforms_per_step, len(users))
        fits = isinstance(noise, np.ndarray) and noise.dtype == F32 and noise.shape == shape
        require(fits, "noise", f"must be float32 of shape {shape}", _kind_of(noise))
        if click is not None:
            fits = isinstance(click, np.ndarray) and click.dtype == BOOL and click.shape == slate.shape
            require(fits, "click", f"must be bool of shape {slate.shape}", _kind_of(click))
        return self.advance(users, slate, noise, click)

    def advance(self, users: Users, slate: Array, noise: Array, click: Array | None = None) -> tuple[Users, Feedback]:
        """`step` without its checks: for arrays that are known to be right, as those of an environment are."""
        catalog, market, blocks = self.catalog, self.market, self.blocks
        signals = market.observe(slate, users.clock)
        utility = self.preference(users, catalog, signals, slate)
        outside = self.preference.outside(users, catalog, market)
        sampled, probability = self.choice.sample(utility, outside, noise[blocks.choice])
        click = sampled if click is None else click & (utility > -np.inf)
        outcome, changes = self.response(users, catalog, market, slate, signals, utility, outside, click,
                                         noise[blocks.response])  # fmt: skip
        t, clock, exposure, last = (
            copied(users.t),
            copied(users.clock),
            copied(users.exposure),
            zeros(users.last.shape, F32),
        )
        history, history_feedback = copied(users.history), copied(users.history_feedback)
        _remember(t, clock, history, history_feedback, last, exposure, slate, click, outcome["channels"], outcome["dt"],
                  catalog.topic)  # fmt: skip
        feedback = Feedback.of({"slate": slate, "utility": utility, "outside": outside, "click": click,
                                "probability": probability, **outcome})  # fmt: skip
        users = Users.of({**users.__dict__, "t": t, "clock": clock, "history": history, "last": last,
                          "history_feedback": history_feedback, "exposure": exposure, **changes})  # fmt: skip
        # From here on both records are this function's own until it returns them: they are filled in place.
        state = users.__dict__
        for part, block in zip(self.dynamics, blocks.dynamics, strict=True):
            state.update(part(users, catalog, feedback, noise[block]))
        if self.population.transparent:
            state["profile"] = users.interest
        departed = self.departure(users, feedback, noise[blocks.departure])
        feedback.__dict__["left"] = departed.pop("left")
        if self.departure.objectives:
            objectives = empty((len(slate), len(self.objectives)), F32)
            _join(objectives, feedback.objectives, departed.pop("objectives"))
            feedback.__dict__["objectives"] = objectives
        away = departed.pop("away", None)
        state.update(departed)
        if away is not None:
            state["clock"] = clock = copied(users.clock)
            _pass(clock, away)
            for part in self.dynamics:
                state.update(part.rest(users, away))
        state["candidates"] = self.candidates(users, catalog, market, noise[blocks.candidates])
        return users, feedback

    def _items(self, name: str, items: Array, users: Users, width: int | None = None) -> Array:
        """(B, n) int32 item ids of B users, -1 = none. An id that does not exist would be read beyond the end of an array."""
        array = np.asarray(items)
        width = width if width is not None or array.ndim != 2 else array.shape[1]
        fits = array.dtype.kind in "iu" and array.shape == (len(users), width)
        require(
            fits, name, f"must be integers of shape ({len(users)}, {'n' if width is None else width})", _kind_of(items)
        )
        if array.size:
            low, high = int(array.min()), int(array.max())
            require(
                low >= -1 and high < len(self.catalog),
                name,
                f"must lie in [-1, {len(self.catalog)})",
                low if low < -1 else high,
            )
        return np.ascontiguousarray(array, I32)

    def check_users(self, users: Users) -> None:
        """Require users of this world: what comes from elsewhere is looked at before it is stepped.

        Args:
            users: as `arrive` and `step` give them.

        Raises:
            ConfigError: a column is missing or unexpected, or has another type, shape or length; or a number
                is not finite or out of its range.
        """
        shapes = {name: (array.dtype, array.shape[1:]) for name, array in self._example.__dict__.items()}
        require(isinstance(users, Users), "users", "must be recgym.Users", type(users).__name__)
        for name in users:
            if name not in shapes:
                unknown("users", name, shapes)
        B, N = len(np.atleast_1d(users.__dict__.get("key", ()))), len(self.catalog)
        bounds = {"history": (-1, N - 1), "candidates": (-1, N - 1), "t": (0, self.horizon), "episode": (0, 2**31 - 1), "exposure": (0, 1),
                  "known": (0, 1), **{name: (column.low, column.high) for name, column in self.owned.items()}}  # fmt: skip
        for name, (dtype, row) in shapes.items():
            array = users.__dict__.get(name)
            fits = isinstance(array, np.ndarray) and array.dtype == dtype and array.shape == (B, *row)
            if not fits:  # to word a message takes longer than to look
                require(False, f"users.{name}", f"must be {dtype} of shape {(B, *row)}", _kind_of(array))
            assert array is not None
            if not array.size:
                continue
            least, most = array.min().item(), array.max().item()  # each NaN where one is
            require(math.isfinite(least) and math.isfinite(most), f"users.{name}", "must be finite", (least, most))
            if name in bounds:
                low, high = bounds[name]
                slack = 1e-5 * max(abs(low), abs(high)) if array.dtype.kind == "f" else 0
                if not low - slack <= least <= most <= high + slack:
                    require(False, f"users.{name}", f"must lie in [{low:g}, {high:g}]", (least, most))

    @cached_property
    def _example(self) -> Users:
        return self.arrive(mix(0))

    def expected(self, users: Users, slate: Array) -> Array:
        """(B, M) float64: E[objectives of this step | state, slate]; those of the departure count zero."""
        probability, given, otherwise = self.outlook(users, slate)
        return combine(probability, given, otherwise)

    def outlook(self, users: Users, items: Array) -> tuple[Array, Array, Array]:
        """The terms of `expected`: click probability (B, S) as a slate, objectives given a click (B, S, M), and given no click (B, M)."""
        utility, outside, given, otherwise = self.appraise(users, items)
        return self.choice.probability(utility, outside), given, otherwise

    def appraise(self, users: Users, items: Array) -> tuple[Array, Array, Array, Array]:
        """Of any (B, n) items: utility (B, n), outside (B,), expected objectives given a click (B, n, M) and no click (B, M)."""
        items = self._items("items", items, users)
        signals = self.market.observe(items, users.clock)
        utility = self.preference(users, self.catalog, signals, items)
        outside = self.preference.outside(users, self.catalog, self.market)
        given, otherwise = self.response.expected(users, self.catalog, self.market, items, signals, utility, outside)
        more = len(self.departure.objectives)
        if more:
            given = np.pad(given, ((0, 0), (0, 0), (0, more)))
            otherwise = np.pad(otherwise, ((0, 0), (0, more)))
        return utility, outside, given, otherwise

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``arrays.npz`` and ``world.json`` into a folder, each whole or not at all.

        ``world.json`` comes last and knows the digest of the arrays, so that a reader never takes files of two worlds
        for one.
        """
        folder = Path(folder)
        arrays: dict[str, np.ndarray] = {}
        data = {"format": FORMAT, **self.to_dict(arrays)}
        packed = io.BytesIO()
        np.savez_compressed(packed, **arrays)  # type: ignore[arg-type]
        data["arrays"] = hashlib.sha256(packed.getvalue()).hexdigest()
        write_atomically(folder / "arrays.npz", packed.getvalue())
        write_atomically(folder / "world.json", json.dumps(data, indent=1).encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Nothing is unpickled; only component kinds known to this process are made.

        Raises:
            ConfigError: no such folder, another format, an unknown kind or field, a field that breaks its rule, or
                arrays that are missing, torn, of another world, or that no field names. The message names the file.
        """
        folder = Path(folder)
        require(os.path.isfile(folder / "world.json"), "world", "must be a folder that holds world.json", str(folder))
        for _ in range(10):
            data = read_json(folder / "world.json", "world")
            fits = isinstance(data, dict) and data.get("format") == FORMAT
            require(
                fits,
                "world",
                f"must be of format {FORMAT}, in {folder / 'world.json'}",
                data.get("format") if isinstance(data, dict) else data,
            )
            content = read_bytes(folder / "arrays.npz", "world")
            digest = data.pop("arrays", None)  # recgym 0.1.0 wrote none
            if digest in (None, hashlib.sha256(content).hexdigest()):
                break
            time.sleep(0.02)  # somebody is saving another world there just now
        else:
            raise ConfigError(
                f"world: {folder} must hold files of one world, and arrays.npz is of another than world.json"
            )
        del data["format"]
        arrays = parse_arrays(content, "world", folder / "arrays.npz", array_names(data))
        try:
            return cls.from_dict(data, arrays, "world")
        except RecgymError as error:
            raise ConfigError(f"{folder}: {error}") from None
        except (
            TypeError,
            ValueError,
            LookupError,
            AttributeError,
            ArithmeticError,
        ) as error:  # of a part without checks
            raise ConfigError(f"{folder}: is no world: {type(error).__name__}: {brief(error)}") from None

    @classmethod
    def of(cls, given: dict[str, Any], **defaults: Any) -> Self:
        """A World of default parts, except for those that are given instead; it is checked once, as a whole.

        Args:
            given: field -> part, also in JSON form. `candidates` may be a number K, of the default source, or "all".
            defaults: the other fields.

        Raises:
            ConfigError: no such field, or the parts do not fit together.
        """
        fields = {f.name for f in dataclasses.fields(cls) if f.init}
        for name in given:
            if name not in fields:
                unknown("world", name, fields)
        parts = {**defaults, **given}
        if "candidates" in given:
            parts["candidates"] = source_of(given["candidates"], defaults["candidates"])
        return cls(**parts)

    def replace(self, **parts: Any) -> Self:
        """This World with other parts, see `of`."""
        return self.of(parts, **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init})


def _kind_of(value: Any) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


@kernel
def combine(probability, given, otherwise):
    """sum_s P(click s) given_s + P(no click) otherwise: (B, S), (B, S, M), (B, M) -> (B, M) float64."""
    B, S, M = given.shape
    out = np.zeros((B, M))
    for b in range(B):
        none = 1.0
        for s in range(S):
            none -= probability[b, s]
            for m in range(M):
                out[b, m] += probability[b, s] * given[b, s, m]
        for m in range(M):
            out[b, m] += none * otherwise[b, m]
    return out


@kernel
def _join(out, left, right):
    """Writes two matrices beside each other."""
    for b in range(out.shape[0]):
        for m in range(out.shape[1]):
            out[b, m] = left[b, m] if m < left.shape[1] else right[b, m - left.shape[1]]


@kernel
def _pass(clock, minutes):
    for b in range(clock.shape[0]):
        clock[b] += minutes[b]


@kernel
def _random_slate(slate, candidates, u):
    """Any candidate in each position; one may come twice, as in SARDINE."""
    B, S = slate.shape
    for b in range(B):
        for s in range(S):
            slate[b, s] = candidates[b, int(u[s, b] * candidates.shape[1])]


@kernel
def _remember(t, clock, history, history_feedback, last, exposure, slate, click, channels, dt, topic):
    """Time, and what the platform itself records: clicked items (latest first), channel sums, exposure by topic."""
    B, S, C = channels.shape
    H = history.shape[1]
    for b in range(B):
        t[b] += 1
        clock[b] += dt[b]
        for z in range(exposure.shape[1]):
            exposure[b, z] *= np.float32(0.8)
        for s in range(S):
            i = slate[b, s]
            if i < 0:
                continue
            exposure[b, topic[i]] = min(exposure[b, topic[i]] + np.float32(0.2 / S), np.float32(1.0))
            for c in range(C):
                last[b, c] += channels[b, s, c]
            if click[b, s]:
                for h in range(H - 1, 0, -1):
                    history[b, h] = history[b, h - 1]
                    for c in range(C):
                        history_feedback[b, h, c] = history_feedback[b, h - 1, c]
                history[b, 0] = i
                for c in range(C):
                    history_feedback[b, 0, c] = channels[b, s, c]
