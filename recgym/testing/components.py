"""The contract of a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recgym import ENV_IDS
from recgym.catalog import Catalog
from recgym.component import Component
from recgym.market import Market
from recgym.models.candidates import CandidateSource
from recgym.models.choice import Choice
from recgym.models.departure import Departure, Never
from recgym.models.dynamics import Dynamics
from recgym.models.preference import DotProduct, Preference
from recgym.models.response import Response
from recgym.models.reward import Reward, Weighted, paid
from recgym.noise import mix
from recgym.noise import noise as draw_noise
from recgym.population import Population
from recgym.registry import registered_worlds
from recgym.testing.arrays import (
    Inputs,
    Noise,
    arrays_of,
    check_array,
    check_same,
    check_within,
    inputs_of,
    plain,
    row_of,
    snapshot,
    width_of,
    with_frames,
)
from recgym.testing.families import check_candidates, check_choice, check_expected, check_market, check_norm
from recgym.types import Array, Column
from recgym.world import World
from recgym.worlds import load_world

FAMILIES: dict[str, type[Component]] = dict(
    catalog=Catalog, population=Population, market=Market, candidates=CandidateSource, preference=Preference,
    choice=Choice, response=Response, dynamics=Dynamics, departure=Departure, reward=Reward,
)  # fmt: skip


def _domains() -> list[str]:
    return [name for name, world in registered_worlds().items() if {*world.ids} & {*ENV_IDS}]


def check_component(
    component: Component,
    world: World | None = None,
    *,
    slate_size: int = 3,
    users: int = 32,
    steps: int = 12,
    seed: int = 0,
) -> None:
    """Check that a part keeps the contract of its family.

    Every part must read back from what it writes. It must be a pure function: it leaves its inputs unwritten, gives the
    same outputs for the same inputs, and reads no noise beyond its declared block. The outputs for a user must not
    depend on the batch, and must have the declared shapes, dtypes and ranges. Of a Choice, besides, samples must have
    the stated probabilities, by position and by click pattern, and empty positions must never be clicked. Of a
    Response, `expected` must be the mean of what happens.

    Args:
        component: the part.
        world: a World that the part fits into (or is already in); None tries the three domains.
        slate_size: number of slate positions, S.
        users: number of users, B.
        steps: the part is checked at the first step and after this number of steps.
        seed: of users, slates and noise.

    Raises:
        AssertionError: a contract is broken; the message says which.
    """
    name = type(component).__name__
    assert isinstance(component, Component), f"{name} must be a recgym.Component"
    family = next((key for key, base in FAMILIES.items() if isinstance(component, base)), None)
    assert family is not None, f"{name} must belong to one of the families {list(FAMILIES)}"
    host = _host(component, family, world, slate_size)
    arrays: dict[str, Array] = {}
    again = type(component).from_dict(component.to_dict(arrays), arrays)
    other: dict[str, Array] = {}
    assert again.to_dict(other) == component.to_dict(arrays), f"{name} must read back from what to_dict writes"
    check_same(arrays, other, f"{name} read back from what to_dict writes")
    uniforms = component.uniforms(host.sizes)
    is_count = isinstance(uniforms, int) and uniforms >= 0
    assert is_count, f"{name}.uniforms must be an int >= 0, got {uniforms!r}"
    for column, declared in component.columns(host.sizes).items():
        assert isinstance(declared, Column), f"{name}.columns[{column!r}] must be a Column, got {declared!r}"
    if isinstance(component, Choice):
        check_choice(component, host, seed)
    for inputs in inputs_of(host, users, steps, seed):
        for label, function, arguments in _calls(component, host, inputs):
            _check_calls(f"{name}{label}", function, arguments)
        _check_outputs(component, host, inputs)
        if isinstance(component, Response):
            check_expected(component, host, inputs, seed)


def _host(component: Component, family: str, world: World | None, slate_size: int) -> World:
    """A World with the component: the given one, or else a domain, or else a domain whose other parts are bare."""
    bases = [world] if world is not None else [load_world(domain) for domain in _domains()]
    bare = dict(preference=DotProduct(4.0), dynamics=(), departure=Never(), reward=Weighted({"click": 1.0}))
    failures = []
    for others in [{}] if world is not None else [{}, bare]:
        for base in bases:
            part: Any = component
            if family == "dynamics":
                own = component.columns(base.sizes)
                kept = [d for d in base.dynamics if d is not component and type(d) is not type(component)]
                part = (*[d for d in kept if not own.keys() & d.columns(base.sizes).keys()], component)
            try:
                host = base.replace(**{**others, family: part, "slate_size": min(slate_size, base.n_candidates)})
                inputs_of(host, 2, 1, 0)
            except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
                failures.append(f"{type(error).__name__}: {error}")
            else:
                return host
    name = type(component).__name__
    where = "the given world" if world is not None else "any of the domains; give it a world"
    raise AssertionError(f"{name} does not run in {where}. " + " | ".join(failures))


Call = tuple[str, Callable[..., Any], list[Any]]


def _calls(component: Component, world: World, x: Inputs) -> list[Call]:
    """The functions of a part that work on a batch: label, function, arguments."""
    part: Any = component
    catalog, market, blocks = world.catalog, world.market, world.blocks
    noise = {name: Noise(x.noise[getattr(blocks, name)]) for name in ("candidates", "choice", "response", "departure")}
    if isinstance(component, Population):
        signals = tuple(signal.name for signal in market.signals)
        drawn = draw_noise(x.users.key, x.users.episode, x.users.t * 0, part.uniforms(world.sizes))
        return [(".arrive", lambda u: part.arrive(u, signals), [Noise(drawn)])]
    if isinstance(component, Market):
        return [(".observe", part.observe, [x.slate, x.users.clock])]
    if isinstance(component, CandidateSource):
        return [("", lambda users, u: part(users, catalog, market, u), [x.after, noise["candidates"]])]
    if isinstance(component, Preference):
        arguments = [x.users, x.signals, x.slate]
        return [
            ("", lambda users, signals, items: part(users, catalog, signals, items), arguments),
            (".outside", lambda users: part.outside(users, catalog, market), [x.users]),
        ]
    if isinstance(component, Choice):
        return [
            (".sample", part.sample, [x.utility, x.outside, noise["choice"]]),
            (".probability", part.probability, [x.utility, x.outside]),
            (".log_prob", part.log_prob, [x.utility, x.outside, x.click]),
        ]
    if isinstance(component, Response):
        arguments = [x.users, x.slate, x.signals, x.utility, x.outside]
        return [
            ("", lambda users, *rest: part(users, catalog, market, *rest), [*arguments, x.click, noise["response"]]),
            (".expected", lambda users, *rest: part.expected(users, catalog, market, *rest), arguments),
        ]
    if isinstance(component, Dynamics):
        block = blocks.dynamics[world.dynamics.index(component)]
        arguments = [x.after, x.feedback, Noise(x.noise[block])]
        return [("", lambda users, feedback, u: part(users, catalog, feedback, u), arguments)]
    if isinstance(component, Departure):
        feedback = x.feedback.replace(objectives=x.feedback.objectives[:, : len(world.response.objectives)])
        return [("", part, [x.after, feedback, noise["departure"]])]
    if isinstance(component, Reward) and callable(component):
        return [("", lambda feedback, users: paid(part, feedback, catalog, users), [x.feedback, x.users])]
    return []


def _check_calls(name: str, function: Callable[..., Any], arguments: list[Any]) -> None:
    """Check that a function is pure, reads no noise but its own, and computes each row from that row alone."""
    arguments = with_frames(arguments, 0.5)
    saved = [snapshot(a) for a in arguments]
    first = arrays_of(function(*map(plain, arguments)))
    for argument, before in zip(arguments, saved, strict=True):
        check_same(snapshot(argument), before, f"{name} must not write to its inputs: before and after a call")
    check_same(first, arrays_of(function(*map(plain, arguments))), f"{name} must give the same for the same inputs")
    for filling in (0.001, 0.999):
        framed = with_frames(arguments, filling)
        check_same(
            first,
            arrays_of(function(*map(plain, framed))),
            f"{name} must not read beyond its {width_of(arguments)} uniforms",
        )
    n = next(len(value) for value in first.values())
    for b in range(min(n, 8)):
        alone = arrays_of(function(*[plain(row_of(a, b)) for a in arguments]))
        check_same(
            {key: value[b : b + 1] for key, value in first.items()}, alone, f"{name}: row {b} of a batch and alone"
        )


def _check_outputs(component: Component, world: World, x: Inputs) -> None:
    """Check shapes, dtypes and ranges of outputs, and what the family promises about them."""
    name, catalog, market, blocks = type(component).__name__, world.catalog, world.market, world.blocks
    B, S, N = len(x.users), world.slate_size, len(catalog)
    empty = x.slate < 0
    if isinstance(component, Population):
        arrived = world.arrive(x.users.key)
        check_norm(arrived.interest, component.norm, f"{name}.arrive: interest")
        known = arrived.profile[(arrived.profile != 0).any(axis=1)]
        check_norm(known, component.norm, f"{name}.arrive: profile")
        _columns_fit({c: arrived[c] for c in component.columns(world.sizes)}, world, B, f"{name}.arrive")
    elif isinstance(component, Market):
        check_market(component, N)
    elif isinstance(component, CandidateSource):
        found = component(x.after, catalog, market, x.noise[blocks.candidates])
        check_array(found, np.int32, (B, component.count(N)), name)
        check_candidates(found, x.after, world, name)
    elif isinstance(component, Preference):
        utility = component(x.users, catalog, x.signals, x.slate)
        check_array(utility, np.float32, (B, S), name)
        assert np.isneginf(utility[empty]).all(), f"{name} must give -inf where nothing is shown"
        assert np.isfinite(utility[~empty]).all(), f"{name} must be finite where an item is shown"
        turned = component(x.users, catalog, x.signals[:, ::-1].copy(), x.slate[:, ::-1].copy())
        check_same({"": utility[:, ::-1].copy()}, {"": turned.copy()}, f"{name} must not depend on the position")
        outside = component.outside(x.users, catalog, market)
        check_array(outside, np.float32, (B,), f"{name}.outside")
        assert np.isfinite(outside).all(), f"{name}.outside must be finite"
    elif isinstance(component, Response):
        C, M = len(component.channels), len(component.objectives)
        outcome, changes = component(x.users, catalog, market, x.slate, x.signals, x.utility, x.outside, x.click,
                                     x.noise[blocks.response])  # fmt: skip
        assert component.channels[0] == "click", f"{name}.channels must start with 'click', got {component.channels}"
        assert len(component.highs) == C, f"{name}.highs must have {C} bounds, got {len(component.highs)}"
        check_array(outcome["channels"], np.float32, (B, S, C), f"{name}: channels")
        check_array(outcome["objectives"], np.float32, (B, M), f"{name}: objectives")
        check_array(outcome["dt"], np.float32, (B,), f"{name}: dt")
        check_within(outcome["channels"], 0.0, np.array(component.highs), f"{name}: channels")
        check_within(outcome["objectives"], -np.inf, np.inf, f"{name}: objectives")
        check_within(outcome["dt"], 0.0, np.inf, f"{name}: dt")
        assert (outcome["channels"][~x.click] == 0).all(), f"{name}: channels must be 0 where nothing was clicked"
        assert (outcome["channels"][x.click][:, 0] == 1).all(), f"{name}: channel 0 must be 1 where clicked"
        _columns_fit(changes, world, B, name)
        given, otherwise = component.expected(x.users, catalog, market, x.slate, x.signals, x.utility, x.outside)
        check_array(given, np.float32, (B, S, M), f"{name}.expected given a click")
        check_array(otherwise, np.float32, (B, M), f"{name}.expected otherwise")
    elif isinstance(component, Dynamics):
        block = blocks.dynamics[world.dynamics.index(component)]
        _columns_fit(component(x.after, catalog, x.feedback, x.noise[block]), world, B, name)
    elif isinstance(component, Departure):
        feedback = x.feedback.replace(objectives=x.feedback.objectives[:, : len(world.response.objectives)])
        out = component(x.after, feedback, x.noise[blocks.departure])
        assert "left" in out, f"{name} must return 'left', got {sorted(out)}"
        check_array(out["left"], np.bool_, (B,), f"{name}: left")
        if component.objectives:
            assert "objectives" in out, f"{name} names objectives, so it must return an array 'objectives'"
            check_array(out["objectives"], np.float32, (B, len(component.objectives)), f"{name}: objectives")
        if "away" in out:
            check_array(out["away"], np.float32, (B,), f"{name}: away")
        changes = {key: value for key, value in out.items() if key not in ("left", "objectives", "away")}
        _columns_fit(changes, world, B, name)
    elif isinstance(component, Reward) and not callable(component):
        weights, shown = component.weights(world.objectives)
        check_array(weights, np.float64, (len(world.objectives),), f"{name}.weights")
        assert isinstance(shown, float), f"{name}.weights must return a float second, got {shown!r}"
        assert weights.any() or shown, f"{name} pays for nothing: all weights are 0"


def _columns_fit(changes: dict[str, Array], world: World, users: int, what: str) -> None:
    """Check that new columns have the shape and type that users arrive with, and lie in the declared range."""
    arrived = world.arrive(mix(range(users)))
    for name, value in changes.items():
        assert name in arrived, f"{what} returns {name!r}, which is no column of the users; declare it in `columns`"
        check_array(value, arrived[name].dtype, arrived[name].shape, f"{what}: {name}")
        low, high = (world.owned[name].low, world.owned[name].high) if name in world.owned else (-np.inf, np.inf)
        check_within(value, low, high, f"{what}: {name}")
