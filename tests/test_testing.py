"""The contracts themselves: each must let good parts pass and catch a part that breaks it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import numpy as np
import pytest

import recgym.testing
from baselines import Agent, OnlineAgent, Task
from recgym import Catalog, Column, Component, Feedback, Sizes, Users, World, load_world
from recgym.market import Market, Signal
from recgym.models.candidates import Uniform
from recgym.models.choice import Choice, MultinomialLogit, PositionBased
from recgym.models.departure import Departure, Never
from recgym.models.dynamics import Dynamics
from recgym.models.preference import DotProduct
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.testing import check_agent, check_component, check_env, check_world
from recgym.types import Array

WorldOf = Callable[..., World]


def fails(function: Callable[..., None], *arguments: Any, says: str, **options: Any) -> None:
    with pytest.raises(AssertionError, match=says):
        function(*arguments, **options)


# --- parts


@dataclass(frozen=True, eq=False)
class Even(Choice):
    """Every shown item is clicked with the same chance: a correct choice model, with knobs that break it."""

    chance: float = 0.3
    stated: float = 0.3
    clicks_the_empty: bool = False
    single = False

    def uniforms(self, sizes: Sizes) -> int:
        return sizes.slate

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        shown = ~np.isneginf(utility) | self.clicks_the_empty
        click = np.zeros(utility.shape, bool)
        if len(noise):
            click = (self.chance > noise[: utility.shape[1]].T) & shown
        return click, np.where(shown, self.stated, 0.0).astype(np.float32)

    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        p = self.probability(utility, outside).astype(np.float64)
        with np.errstate(divide="ignore"):
            return np.log(np.where(click, p, 1 - p)).sum(axis=1)


def test_a_good_choice_passes() -> None:
    check_component(Even())


def test_a_choice_that_does_not_do_what_it_states() -> None:
    fails(check_component, Even(chance=0.35), says=r"Even: position \d is clicked 0.3\d+, stated 0.3000")


def test_a_choice_that_clicks_on_nothing() -> None:
    fails(check_component, Even(clicks_the_empty=True), says="Even.probability must be 0 where nothing is shown")


class Doubled(Even):
    single = True


def test_a_single_choice_that_clicks_twice() -> None:
    fails(check_component, Doubled(), says="`single`: two clicks must have probability 0")


class Unnormalised(Even):
    def log_prob(self, utility: Array, outside: Array, click: Array) -> Array:
        return super().log_prob(utility, outside, click) + 0.01


def test_a_log_prob_that_does_not_sum_to_one() -> None:
    fails(check_component, Unnormalised(), says=r"Unnormalised: exp\(log_prob\) must sum to 1")


@dataclass(frozen=True, eq=False)
class Recorder(Dynamics):
    """A column that counts; `how` names one way to break the contract."""

    how: str = ""
    _seen: list[int] = field(default_factory=list, init=False, repr=False)

    def columns(self, sizes: Sizes) -> dict[str, Column]:
        return {"count": Column((), np.float32, 0.0, 5.0 if self.how == "range" else 1e6)}

    def uniforms(self, sizes: Sizes) -> int:
        return 1

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        if self.how == "writes":
            users.count[:] += 1
            return {"count": users.count}
        if self.how == "dtype":
            return {"count": users.count.astype(np.float64) + 1}
        if self.how == "shape":
            return {"count": users.count[:, None] + 1}
        if self.how == "undeclared":
            return {"total": users.count + 1}
        if self.how == "batch":
            return {"count": (users.count + feedback.click.mean()).astype(np.float32)}
        if self.how == "remembers":
            self._seen.append(1)
            return {"count": users.count + np.float32(len(self._seen))}
        if self.how == "greedy":
            beyond = np.lib.stride_tricks.as_strided(noise, (2, noise.shape[1]), noise.strides)
            return {"count": users.count + beyond[1]}
        if self.how == "nan":
            return {"count": users.count * np.float32(np.nan)}
        return {"count": users.count + 1}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("writes", "must not write to its inputs"),
        ("dtype", r"count must be float32\(32,\), got float64\(32,\)"),
        ("shape", r"count must be float32\(32,\), got float32\(32, 1, 1\)"),
        ("undeclared", "returns 'total', which is no column of the users"),
        ("batch", "row 0 of a batch and alone"),
        ("remembers", "must give the same for the same inputs"),
        ("greedy", "must not read beyond its 1 uniforms"),
        ("range", r"count must lie in \[0.0, 5.0\]"),
        ("nan", r"count must lie in"),
    ],
)
def test_dynamics_that_break_the_contract(how: str, says: str) -> None:
    check_component(Recorder())
    fails(check_component, Recorder(how), says=says)


def end_of(array: Array) -> int:
    """The address behind an array."""
    return array.__array_interface__["data"][0] + array.nbytes


@pytest.mark.parametrize("part", [Recorder(), Even(), load_world("ecommerce").response])
def test_what_a_part_reads_beyond_its_noise_is_memory_of_the_check(
    part: Component, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the memory behind the noise decides what a part that reads beyond it is told, or whether it crashes."""
    beyond = []
    for name in ("__call__", "sample"):
        method = getattr(type(part), name, None)
        if method is None:
            continue

        def watched(self: Any, *arguments: Any, method: Any = method) -> Any:
            owner = noise = arguments[-1]
            while isinstance(owner.base, np.ndarray):
                owner = owner.base
            if len(noise):  # `Choice.probability` samples without any
                beyond.append(end_of(owner) - end_of(noise))
            return method(self, *arguments)

        monkeypatch.setattr(type(part), name, watched)
    check_component(part)
    assert min(beyond) > 0


@dataclass(frozen=True, eq=False)
class Hopeful(Clicks):
    """States too high an expectation."""

    def expected(self, *arguments: Any) -> tuple[Array, Array]:
        given, otherwise = super().expected(*arguments)
        return given * np.float32(1.1), otherwise


def test_a_response_that_states_the_wrong_expectation() -> None:
    check_component(Clicks())
    fails(check_component, Hopeful(), says=r"Hopeful.expected of 'click' given a click on position 0 is 1.1")


class Repeats(Uniform):
    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        found = super().__call__(users, catalog, market, noise)
        found[:, 1] = found[:, 0]
        return found


class Sold(Uniform):
    def __call__(self, users: Users, catalog: Catalog, market: Market, noise: Array) -> Array:
        return np.tile(np.arange(self.candidates, dtype=np.int32), (len(users), 1))


def test_candidates_that_repeat_or_are_not_there(world_of: WorldOf) -> None:
    fails(check_component, Repeats(), says="Repeats must not offer an item twice")
    fails(check_component, Sold(), world_of("livestream"), says="Sold must offer available items only")


class Positional(DotProduct):
    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        return (super().__call__(users, catalog, signals, items) - np.arange(items.shape[1], dtype=np.float32)).astype(
            np.float32
        )


class Blind(DotProduct):
    def __call__(self, users: Users, catalog: Catalog, signals: Array, items: Array) -> Array:
        return np.nan_to_num(super().__call__(users, catalog, signals, items), neginf=0.0)


def test_preferences_that_see_positions_or_ignore_gaps() -> None:
    fails(check_component, Positional(), says="Positional must not depend on the position")
    fails(check_component, Blind(), says="Blind must give -inf where nothing is shown")


class Rush(Market):
    signals = (Signal("rush", 0.0, 1.0),)

    def write(self, out: Array, items: Array, clock: Array) -> None:
        out[:] = np.where(items[..., None] >= 0, clock[:, None, None] / 500.0, 0.0)


def test_a_market_outside_its_range(world_of: WorldOf) -> None:
    world = world_of("ecommerce")
    population = dataclasses.replace(world.population, sensitivity={})
    response, reward = Clicks(), Weighted()
    plain = world.replace(
        population=population,
        response=response,
        reward=reward,
        dynamics=(),
        departure=Never(),
        preference=DotProduct(4.0),
        market=Rush(1440.0, world.market.offsets, world.market.listed),
    )
    fails(check_component, plain.market, plain, says=r"Rush signal rush must lie in \[0.0, 1.0\]")


class Vague(Departure):
    def __call__(self, users: Users, feedback: Feedback, noise: Array) -> dict[str, Array]:
        return {"left": np.zeros(len(users))}


def test_a_departure_that_returns_numbers() -> None:
    fails(check_component, Vague(), says=r"Vague: left must be bool\(32,\), got float64\(32,\)")


def test_a_part_that_fits_nowhere_is_named() -> None:
    class Strange(Dynamics):
        def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
            return {"strange": users.strangeness}

    fails(check_component, Strange(), says="Strange does not run in any of the domains; give it a world")
    fails(check_component, "Cascade", says="must be a recgym.Component")


# --- worlds


def test_a_world_whose_state_leaves_its_range(world_of: WorldOf) -> None:
    world = world_of("ecommerce").replace(dynamics=(*world_of("ecommerce").dynamics, Recorder("range")))
    fails(check_world, world, says=r"users.count must lie in \[0.0, 5.0\]", users=16, steps=20)


def test_a_world_whose_objective_never_varies(world_of: WorldOf) -> None:
    response = dataclasses.replace(world_of("ecommerce").response, cart=-100.0)
    says = r"constant over .*channel cart.*channel purchase.*objective cart.*objective purchase"
    fails(check_world, world_of("ecommerce").replace(response=response), says=says, users=64, steps=30)


@dataclass(frozen=True, eq=False)
class Forgetful(MultinomialLogit):
    """A field that is lost on the way to the file and back."""

    def to_dict(self, arrays: dict[str, Array] | None = None, path: str = "") -> dict[str, Any]:
        return {**super().to_dict(arrays, path), "null": 0.0}


def test_a_world_that_does_not_survive_saving(world_of: WorldOf) -> None:
    world = world_of("ecommerce").replace(choice=Forgetful(null=3.0))
    fails(check_world, world, says="saved and loaded", users=64, steps=20)


# --- environments


def test_check_env_wants_an_environment_of_recgym() -> None:
    fails(check_env, gym.make("CartPole-v1"), says="must be a recgym environment, got")
    fails(check_env, gym.make("recgym/News-v0"), says="has its keywords already", horizon=3)


class Counts(PositionBased):
    """Clicks that depend on how often it was called: no two runs agree."""

    calls = 0

    def sample(self, utility: Array, outside: Array, noise: Array) -> tuple[Array, Array]:
        Counts.calls += 1
        click, p = super().sample(utility, outside, noise)
        return (click, p) if Counts.calls % 3 else (~click & ~np.isneginf(utility), p)


def test_an_environment_that_is_no_function_of_its_seed() -> None:
    fails(check_env, "recgym/Ecommerce-v0", says="single env of seed", choice=Counts(), steps=40)


def test_an_environment_with_a_column_out_of_range() -> None:
    class Loud(Recorder):
        def columns(self, sizes: Sizes) -> dict[str, Column]:
            return {"count": Column((), np.float32, 0.0, 4.0, visible=True)}

    dynamics = (*load_world("ecommerce").dynamics, Loud())
    says = r"block 'user', feature 'count'\) of row \d is np.float32\(1.25\), not in \[0.0, 1.0\]"
    fails(check_env, "recgym/Ecommerce-v0", says=says, dynamics=dynamics, departure=Never())


# --- agents


TASK = Task("recgym/News-v0")


@dataclass
class First(Agent):
    """The first choice that is there, with knobs that break the contract."""

    how: str = ""

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        if self.how == "writes":
            observation[:] = 0
        if self.how == "shape":
            return np.zeros((len(mask), 1), int)
        if self.how == "outside":
            return np.full(len(mask), mask.shape[1])
        if self.how == "random":
            return np.array([np.random.default_rng().choice(np.flatnonzero(row)) for row in mask])
        if self.how == "masked":
            return mask.argmin(axis=1)
        return mask.argmax(axis=1)


@pytest.mark.parametrize(
    ("how", "says", "options"),
    [
        ("writes", "First.act must not write to its inputs", {}),
        ("shape", r"First.act must return shape \(16,\), got \(16, 1\)", {}),
        ("outside", r"First.act must lie in Discrete\(20\)", {}),
        ("random", "of two runs without exploration", {}),
        ("masked", "First.act must choose where the mask is True", {"candidates": "all"}),
    ],
)
def test_agents_that_break_the_contract(how: str, says: str, options: dict[str, Any]) -> None:
    check_agent(First(), TASK)
    fails(check_agent, First(how), Task("recgym/News-v0", options), says=says)


@dataclass
class Amnesiac(First):
    """Learns, and forgets it when saved."""

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Any = None) -> None:
        self.best = 3

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return np.full(len(mask), getattr(self, "best", 0))


def test_an_agent_that_does_not_survive_saving() -> None:
    fails(check_agent, Amnesiac(), TASK, says="after save and load")


@dataclass
class Counting(OnlineAgent):
    """A learner in three lines: it plays the choice paid best so far."""

    paid: list[float] = field(default_factory=lambda: [0.0] * 20)

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return np.where(mask, self.paid, -np.inf).argmax(axis=1)

    def learn(
        self,
        observation: Array,
        action: Array,
        reward: Array,
        next_observation: Array,
        terminated: Array,
        info: dict[str, Any],
    ) -> None:
        for a, r in zip(action.tolist(), reward.tolist(), strict=True):
            self.paid[a] += r

    @classmethod
    def load(cls, folder: Any) -> Self:
        return super().load(folder)


def test_a_learner_passes(tmp_path: Path) -> None:
    check_agent(Counting(), TASK)


def test_slates_and_embeddings() -> None:
    @dataclass
    class Slates(Agent):
        def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
            return np.argsort(~mask, axis=1, kind="stable")[:, : self.env.world.slate_size]

    check_agent(Slates(), Task("recgym/EcommerceSlate-v0"))

    @dataclass
    class Straight(Agent):
        def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
            return np.clip(observation[:, :16], -1, 1)

    check_agent(Straight(), Task("recgym/EcommerceSlate-v0", {"action": "embedding"}))


def test_everything_public_is_documented() -> None:
    for name in ("check_component", "check_world", "check_env", "check_agent", "random_slates"):
        assert getattr(recgym.testing, name).__doc__
    assert Component.__doc__
