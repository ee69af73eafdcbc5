"""The contracts of recgym, to run on your own parts, worlds, environments and agents.

    from recgym.testing import check_component, check_world, check_env, check_agent

Each returns nothing, or raises an AssertionError that names what breaks the contract and by how much.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.envs import RecEnv, RecVectorEnv
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
from recgym.types import Array, Column, Feedback, Record, Users
from recgym.world import World
from recgym.worlds import load_world

FRAME = 32  # rows of memory on either side of the noise that a part is given
SIGMAS = 5.0  # how far a sample mean may lie from the stated one: false alarms below one in a million

FAMILIES: dict[str, type[Component]] = dict(
    catalog=Catalog, population=Population, market=Market, candidates=CandidateSource, preference=Preference,
    choice=Choice, response=Response, dynamics=Dynamics, departure=Departure, reward=Reward,
)  # fmt: skip


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

    For every part: it reads back from what it writes; it is a pure function (inputs unwritten, same inputs same
    outputs, no noise beyond its declared block); a row's outputs do not depend on the batch; shapes, dtypes and
    declared ranges hold. For a Choice besides: samples have the stated marginals, patterns the stated probabilities,
    empty positions are never clicked. For a Response: `expected` is the mean of what happens.

    Args:
        component: the part.
        world: a World that the part fits into (or is already in); None tries the three domains.
        slate_size: slate positions S of the test. users: rows. steps: steps after which the part is looked at.
        seed: of users, slates and noise.

    Raises:
        AssertionError: the contract that is broken.
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
    _same(arrays, other, f"{name} read back from what to_dict writes")
    uniforms = component.uniforms(host.sizes)
    is_count = isinstance(uniforms, int) and uniforms >= 0
    assert is_count, f"{name}.uniforms must be an int >= 0, got {uniforms!r}"
    for column, declared in component.columns(host.sizes).items():
        assert isinstance(declared, Column), f"{name}.columns[{column!r}] must be a Column, got {declared!r}"
    if isinstance(component, Choice):
        _check_choice(component, host, seed)
    for inputs in _inputs(host, users, steps, seed):
        for label, function, arguments in _calls(component, host, inputs):
            _check_calls(f"{name}{label}", function, arguments)
        _check_outputs(component, host, inputs)
        if isinstance(component, Response):
            _check_expected(component, host, inputs, seed)


def _host(component: Component, family: str, world: World | None, slate_size: int) -> World:
    """A World that holds the component: the given one, or a domain as it is, or one with bare parts around."""
    bases = [world] if world is not None else [load_world(domain) for domain in ("ecommerce", "news", "livestream")]
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
                _inputs(host, 2, 1, 0)
            except (ValueError, AttributeError, KeyError, IndexError, TypeError) as error:
                failures.append(f"{type(error).__name__}: {error}")
            else:
                return host
    name = type(component).__name__
    where = "the given world" if world is not None else "any of the domains; give it a world"
    raise AssertionError(f"{name} does not run in {where}. " + " | ".join(failures))


class _Inputs(NamedTuple):
    """All that the parts of a World are called with at one step."""

    users: Users
    after: Users
    slate: Array
    noise: Array
    signals: Array
    utility: Array
    outside: Array
    click: Array
    feedback: Feedback


def _inputs(world: World, users: int, steps: int, seed: int) -> list[_Inputs]:
    """Inputs at the first step and after `steps` steps of random slates with empty positions."""
    rng = np.random.default_rng(seed)
    rows = world.arrive(mix(range(seed, seed + users)))
    found = []
    for t in range(steps + 1):
        slate, noise = random_slates(rng, rows.candidates, world.slate_size), _framed(world.noise(rows))
        after, feedback = world.step(rows, slate, noise)
        if t in (0, steps):
            signals = world.market.observe(slate, rows.clock)
            utility = world.preference(rows, world.catalog, signals, slate)
            outside = world.preference.outside(rows, world.catalog, world.market)
            found.append(_Inputs(rows, after, slate, noise, signals, utility, outside, feedback.click, feedback))
        rows = after
    return found


def random_slates(rng: np.random.Generator, candidates: Array, slate_size: int, empty: float = 0.15) -> Array:
    """(B, S) int32 slates of distinct candidates in random order, a share of the positions left empty."""
    order = rng.permuted(np.broadcast_to(np.arange(candidates.shape[1]), candidates.shape), axis=1)[:, :slate_size]
    slate = np.take_along_axis(candidates, order, axis=1)
    return np.where(rng.random(slate.shape) < empty, -1, slate).astype(np.int32)


class _Noise(NamedTuple):
    """A (uniforms, B) block among the arguments: its rows are users on the second axis."""

    block: Array


Call = tuple[str, Callable[..., Any], list[Any]]


def _calls(component: Component, world: World, x: _Inputs) -> list[Call]:
    """The batch functions of a part: label, function, arguments."""
    part: Any = component
    catalog, market, blocks = world.catalog, world.market, world.blocks
    noise = {name: _Noise(x.noise[getattr(blocks, name)]) for name in ("candidates", "choice", "response", "departure")}
    if isinstance(component, Population):
        signals = tuple(signal.name for signal in market.signals)
        drawn = draw_noise(x.users.key, x.users.episode, x.users.t * 0, part.uniforms(world.sizes))
        return [(".arrive", lambda u: part.arrive(u, signals), [_Noise(drawn)])]
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
        arguments = [x.after, x.feedback, _Noise(x.noise[block])]
        return [("", lambda users, feedback, u: part(users, catalog, feedback, u), arguments)]
    if isinstance(component, Departure):
        feedback = x.feedback.replace(objectives=x.feedback.objectives[:, : len(world.response.objectives)])
        return [("", part, [x.after, feedback, noise["departure"]])]
    if isinstance(component, Reward) and callable(component):
        return [("", lambda feedback, users: paid(part, feedback, catalog, users), [x.feedback, x.users])]
    return []


def _check_calls(name: str, function: Callable[..., Any], arguments: list[Any]) -> None:
    """Purity, determinism, no noise but its own, rows independent of the batch."""
    arguments = _with_frames(arguments, 0.5)
    saved = [_snapshot(a) for a in arguments]
    first = _arrays(function(*map(_plain, arguments)))
    for argument, before in zip(arguments, saved, strict=True):
        _same(_snapshot(argument), before, f"{name} must not write to its inputs: before and after a call")
    _same(first, _arrays(function(*map(_plain, arguments))), f"{name} must give the same for the same inputs")
    for filling in (0.001, 0.999):
        framed = _with_frames(arguments, filling)
        _same(
            first,
            _arrays(function(*map(_plain, framed))),
            f"{name} must not read beyond its {_width(arguments)} uniforms",
        )
    n = next(len(value) for value in first.values())
    for b in range(min(n, 8)):
        alone = _arrays(function(*[_plain(_row(a, b)) for a in arguments]))
        _same({key: value[b : b + 1] for key, value in first.items()}, alone, f"{name}: row {b} of a batch and alone")


def _plain(argument: Any) -> Any:
    return argument.block if isinstance(argument, _Noise) else argument


def _snapshot(argument: Any) -> dict[str, Array]:
    argument = _plain(argument)
    return {
        key: value.copy()
        for key, value in (argument.__dict__ if isinstance(argument, Record) else {"": argument}).items()
    }


def _row(argument: Any, b: int) -> Any:
    if isinstance(argument, _Noise):
        return _Noise(_framed(argument.block[:, b : b + 1]))
    return argument.rows(slice(b, b + 1)) if isinstance(argument, Record) else argument[b : b + 1]


def _framed(noise: Array, filling: float = 0.5) -> Array:
    """The same numbers with `FRAME` rows before and behind them, so that who reads beyond them finds the filling."""
    n, B = noise.shape
    frame = np.full((n + 2 * FRAME, B), filling, np.float32)
    frame[FRAME:-FRAME] = noise
    return frame[FRAME:-FRAME]


def _uniforms(rng: np.random.Generator, *shape: int) -> Array:
    return rng.random(shape, np.float32).clip(2.0**-24, 1 - 2.0**-24)


def _with_frames(arguments: list[Any], filling: float) -> list[Any]:
    return [_Noise(_framed(a.block, filling)) if isinstance(a, _Noise) else a for a in arguments]


def _width(arguments: list[Any]) -> int:
    return sum(len(a.block) for a in arguments if isinstance(a, _Noise))


def _arrays(output: Any) -> dict[str, Array]:
    """All arrays of an output, by a path."""
    if isinstance(output, (dict, Record)):
        parts = {name: output[name] for name in output}
    elif isinstance(output, tuple):
        parts = dict(enumerate(output))
    else:
        return {"": np.asarray(output)}
    return {
        f"{key}{'.' if path else ''}{path}": array
        for key, part in parts.items()
        for path, array in _arrays(part).items()
    }


def _same(a: dict[str, Array], b: dict[str, Array], what: str) -> None:
    """Bit for bit."""
    assert a.keys() == b.keys(), f"{what}: arrays {sorted(a)} and {sorted(b)}"
    for name in a:
        x, y = a[name], b[name]
        assert (x.dtype, x.shape) == (y.dtype, y.shape), (
            f"{what}: {name or 'output'} is {x.dtype}{x.shape} and {y.dtype}{y.shape}"
        )
        if x.tobytes() != y.tobytes():
            where = np.argwhere(~((x == y) | ((x != x) & (y != y))))
            detail = (
                f"first at {tuple(where[0])}: {x[tuple(where[0])]!r} and {y[tuple(where[0])]!r}"
                if len(where)
                else "in bits"
            )
            raise AssertionError(f"{what}: {name or 'output'} differs, {detail}")


def _is(array: Any, dtype: Any, shape: tuple[int, ...], what: str) -> None:
    assert isinstance(array, np.ndarray), f"{what} must be an array, got {type(array).__name__}"
    got = f"{what} must be {np.dtype(dtype)}{shape}, got {array.dtype}{array.shape}"
    assert array.dtype == dtype, got
    assert array.shape == shape, got


def _within(array: Array, low: Any, high: Any, what: str) -> None:
    """Finite and in [low, high]."""
    bad = ~((array >= low) & (array <= high) & np.isfinite(array))
    assert not bad.any(), f"{what} must lie in [{low}, {high}], got {array[bad].flat[0]!r} ({bad.sum()} of {bad.size})"


def _columns_fit(changes: dict[str, Array], world: World, users: int, what: str) -> None:
    """New columns have the shape and type that users arrive with, and lie in the declared range."""
    arrived = world.arrive(mix(range(users)))
    for name, value in changes.items():
        assert name in arrived, f"{what} returns {name!r}, which is no column of the users; declare it in `columns`"
        _is(value, arrived[name].dtype, arrived[name].shape, f"{what}: {name}")
        low, high = (world.owned[name].low, world.owned[name].high) if name in world.owned else (-np.inf, np.inf)
        _within(value, low, high, f"{what}: {name}")


def _check_outputs(component: Component, world: World, x: _Inputs) -> None:
    """Shapes, dtypes, ranges and what a family promises about them."""
    name, catalog, market, blocks = type(component).__name__, world.catalog, world.market, world.blocks
    B, S, N = len(x.users), world.slate_size, len(catalog)
    empty = x.slate < 0
    if isinstance(component, Population):
        arrived = world.arrive(x.users.key)
        _check_norm(arrived.interest, component.norm, f"{name}.arrive: interest")
        known = arrived.profile[(arrived.profile != 0).any(axis=1)]
        _check_norm(known, component.norm, f"{name}.arrive: profile")
        _columns_fit({c: arrived[c] for c in component.columns(world.sizes)}, world, B, f"{name}.arrive")
    elif isinstance(component, Market):
        _check_market(component, N)
    elif isinstance(component, CandidateSource):
        found = component(x.after, catalog, market, x.noise[blocks.candidates])
        _is(found, np.int32, (B, component.count(N)), name)
        _check_candidates(found, x.after, world, name)
    elif isinstance(component, Preference):
        utility = component(x.users, catalog, x.signals, x.slate)
        _is(utility, np.float32, (B, S), name)
        assert np.isneginf(utility[empty]).all(), f"{name} must give -inf where nothing is shown"
        assert np.isfinite(utility[~empty]).all(), f"{name} must be finite where an item is shown"
        turned = component(x.users, catalog, x.signals[:, ::-1].copy(), x.slate[:, ::-1].copy())
        _same({"": utility[:, ::-1].copy()}, {"": turned.copy()}, f"{name} must not depend on the position")
        outside = component.outside(x.users, catalog, market)
        _is(outside, np.float32, (B,), f"{name}.outside")
        assert np.isfinite(outside).all(), f"{name}.outside must be finite"
    elif isinstance(component, Response):
        C, M = len(component.channels), len(component.objectives)
        outcome, changes = component(x.users, catalog, market, x.slate, x.signals, x.utility, x.outside, x.click,
                                     x.noise[blocks.response])  # fmt: skip
        assert component.channels[0] == "click", f"{name}.channels must start with 'click', got {component.channels}"
        assert len(component.highs) == C, f"{name}.highs must have {C} bounds, got {len(component.highs)}"
        _is(outcome["channels"], np.float32, (B, S, C), f"{name}: channels")
        _is(outcome["objectives"], np.float32, (B, M), f"{name}: objectives")
        _is(outcome["dt"], np.float32, (B,), f"{name}: dt")
        _within(outcome["channels"], 0.0, np.array(component.highs), f"{name}: channels")
        _within(outcome["objectives"], -np.inf, np.inf, f"{name}: objectives")
        _within(outcome["dt"], 0.0, np.inf, f"{name}: dt")
        assert (outcome["channels"][~x.click] == 0).all(), f"{name}: channels must be 0 where nothing was clicked"
        assert (outcome["channels"][x.click][:, 0] == 1).all(), f"{name}: channel 0 must be 1 where clicked"
        _columns_fit(changes, world, B, name)
        given, otherwise = component.expected(x.users, catalog, market, x.slate, x.signals, x.utility, x.outside)
        _is(given, np.float32, (B, S, M), f"{name}.expected given a click")
        _is(otherwise, np.float32, (B, M), f"{name}.expected otherwise")
    elif isinstance(component, Dynamics):
        block = blocks.dynamics[world.dynamics.index(component)]
        _columns_fit(component(x.after, catalog, x.feedback, x.noise[block]), world, B, name)
    elif isinstance(component, Departure):
        feedback = x.feedback.replace(objectives=x.feedback.objectives[:, : len(world.response.objectives)])
        out = component(x.after, feedback, x.noise[blocks.departure])
        assert "left" in out, f"{name} must return 'left', got {sorted(out)}"
        _is(out["left"], np.bool_, (B,), f"{name}: left")
        if component.objectives:
            assert "objectives" in out, f"{name} names objectives, so it must return an array 'objectives'"
            _is(out["objectives"], np.float32, (B, len(component.objectives)), f"{name}: objectives")
        if "away" in out:
            _is(out["away"], np.float32, (B,), f"{name}: away")
        changes = {key: value for key, value in out.items() if key not in ("left", "objectives", "away")}
        _columns_fit(changes, world, B, name)
    elif isinstance(component, Reward) and not callable(component):
        weights, shown = component.weights(world.objectives)
        _is(weights, np.float64, (len(world.objectives),), f"{name}.weights")
        assert isinstance(shown, float), f"{name}.weights must return a float second, got {shown!r}"
        assert weights.any() or shown, f"{name} pays for nothing: all weights are 0"


def _check_market(market: Market, n_items: int) -> None:
    """Ranges, periodicity, and lists of available items that ascend."""
    name = type(market).__name__
    rng = np.random.default_rng(0)
    items = rng.integers(-1, n_items, (200, 4)).astype(np.int32)
    # Multiples of 1/8 and a whole period are exact in float32, so that equality may be asked for.
    clock = (rng.integers(0, int(8 * market.period), 200) / 8).astype(np.float32)
    out = market.observe(items, clock)
    _is(out, np.float32, (*items.shape, len(market.signals)), f"{name}.observe")
    assert (out[items < 0] == 0).all(), f"{name}.observe must be 0 for item -1"
    for f, signal in enumerate(market.signals):
        _within(out[..., f], signal.low, signal.high, f"{name} signal {signal.name}")
    if market.period % 1 == 0 and market.period < 2**17:
        later = market.observe(items, clock + np.float32(market.period))
        np.testing.assert_allclose(out, later, rtol=1e-6, err_msg=f"{name}.observe must repeat after `period`")
    for minute in clock[:50]:
        listed = market.available(float(minute))
        assert (np.diff(listed) > 0).all(), f"{name}.available must list items once, ascending"
        same = np.array_equal(listed, market.available(float(minute) + market.period))
        assert same, f"{name}.available must repeat after `period`"


def _check_candidates(candidates: Array, users: Users, world: World, what: str) -> None:
    """Items that are there, none twice."""
    _within(candidates, -1, len(world.catalog) - 1, f"{what}: item ids")
    for row, clock in zip(candidates, users.clock, strict=True):
        shown = row[row >= 0]
        assert len(set(shown.tolist())) == len(shown), f"{what} must not offer an item twice, got {row}"
        missing = np.setdiff1d(shown, world.market.available(float(clock)))
        assert not len(missing), f"{what} must offer available items only; not available at minute {clock}: {missing}"


def _check_choice(choice: Choice, world: World, seed: int) -> None:
    """Stated probabilities against samples and against the probabilities of whole click patterns."""
    name, S = type(choice).__name__, world.slate_size
    rng = np.random.default_rng(seed)
    utility = rng.normal(0.0, 2.0, (8, S)).astype(np.float32)
    utility[1, 0], utility[2, -1], utility[3] = -np.inf, -np.inf, -np.inf
    outside = rng.normal(0.0, 1.0, 8).astype(np.float32)
    outside[:4] = 0.0
    probability = choice.probability(utility, outside)
    _is(probability, np.float32, utility.shape, f"{name}.probability")
    _within(probability, 0.0, 1.0, f"{name}.probability")
    assert (probability[np.isneginf(utility)] == 0).all(), f"{name}.probability must be 0 where nothing is shown"

    patterns = np.array(list(itertools.product([False, True], repeat=S)))
    if S <= 8:
        log_prob = np.stack(
            [choice.log_prob(utility, outside, np.broadcast_to(p, utility.shape).copy()) for p in patterns]
        )
        _is(log_prob, np.float64, (len(patterns), len(utility)), f"{name}.log_prob of all patterns")
        chance = np.exp(log_prob)
        np.testing.assert_allclose(chance.sum(axis=0), 1.0, atol=1e-5, err_msg=f"{name}: exp(log_prob) must sum to 1")
        marginal = np.einsum("pb,ps->bs", chance, patterns)
        np.testing.assert_allclose(
            marginal, probability, atol=1e-5, err_msg=f"{name}: log_prob and probability disagree"
        )
        if choice.single:
            assert (chance[patterns.sum(axis=1) > 1] == 0).all(), (
                f"{name} is `single`: two clicks must have probability 0"
            )

    n = 20_000
    noise = _framed(_uniforms(rng, choice.uniforms(world.sizes), n * len(utility)))
    click, stated = choice.sample(np.repeat(utility, n, axis=0), np.repeat(outside, n), noise)
    _is(click, np.bool_, (n * len(utility), S), f"{name}.sample clicks")
    _same({"": stated[::n].copy()}, {"": probability}, f"{name}: probability as sample and as probability state it")
    frequency = click.reshape(len(utility), n, S).mean(axis=1)
    error = SIGMAS * np.sqrt(probability * (1 - probability) / n) + 1e-4
    worst = np.unravel_index(np.argmax(np.abs(frequency - probability) - error), error.shape)
    near = abs(frequency[worst] - probability[worst]) <= error[worst]
    assert near, f"{name}: position {worst[1]} is clicked {frequency[worst]:.4f}, stated {probability[worst]:.4f}"
    assert not choice.single or click.sum(axis=1).max() <= 1, f"{name} is `single`, but sampled two clicks in a slate"


def _check_expected(response: Response, world: World, x: _Inputs, seed: int, n: int = 3000) -> None:
    """`expected` against the mean over fresh noise: no click, and a click on each position alone."""
    name, B = type(response).__name__, min(len(x.users), 16)
    rng = np.random.default_rng(seed)
    index = np.repeat(np.arange(B), n)
    users = x.users.rows(index)
    slate, signals, utility, outside = (a[index] for a in (x.slate, x.signals, x.utility, x.outside))
    given, otherwise = response.expected(x.users, world.catalog, world.market, x.slate, x.signals, x.utility, x.outside)
    for position in range(-1, world.slate_size):
        click = np.zeros_like(x.click[index])
        rows = np.ones(B, np.bool_)
        if position >= 0:
            click[:, position] = slate[:, position] >= 0
            rows = x.slate[:B, position] >= 0
        noise = _framed(_uniforms(rng, response.uniforms(world.sizes), len(index)))
        sampled = response(users, world.catalog, world.market, slate, signals, utility, outside, click, noise)[0]
        got = sampled["objectives"].reshape(B, n, -1)[rows]
        want = (otherwise[:B] if position < 0 else given[:B, position])[rows].astype(np.float64)
        # The stated mean bounds the variance of rare events from below, where the sample may hold none of them.
        error = np.sqrt(((got.var(axis=1, dtype=np.float64) + np.abs(want)) / n).sum(axis=0)) + 1e-9
        off = np.abs(got.mean(axis=1, dtype=np.float64).sum(axis=0) - want.sum(axis=0)) / error
        worst = int(np.argmax(off))
        what = "no click" if position < 0 else f"a click on position {position}"
        assert off[worst] < SIGMAS, (
            f"{name}.expected of {response.objectives[worst]!r} given {what} is {want[:, worst].mean():.5f} on "
            f"average, sampled {got[:, :, worst].mean():.5f}: {off[worst]:.1f} standard errors apart"
        )


def check_world(world: World, *, users: int = 256, steps: int = 200, seed: int = 0) -> None:
    """Step many users with random slates and check what every World promises.

    Every column stays in its declared range and no number is NaN; every channel and objective varies; `step` is pure;
    a saved and loaded copy gives bit-identical trajectories; the market is periodic; observations are finite and
    inside their space.

    Args:
        world: the World. users: rows. steps: steps; users who leave are replaced by their next episode.
        seed: of users and slates.

    Raises:
        AssertionError: the promise that is broken.
    """
    with tempfile.TemporaryDirectory() as folder:
        world.save(folder)
        files = sorted(path.name for path in Path(folder).iterdir())
        assert files == ["arrays.npz", "world.json"], f"World.save must leave two files, got {files}"
        copy = type(world).load(folder)
    _check_market(world.market, len(world.catalog))
    env = RecVectorEnv(world, users, observation="latent", action="slate", threads=1)
    box, space = env.observations, env.single_observation_space
    rng = np.random.default_rng(seed)
    keys = mix(range(seed, seed + users))
    rows, twins = world.arrive(keys), copy.arrive(keys)
    low, high = None, None
    for t in range(steps):
        _check_users(rows, world)
        observation = np.empty((users, box.width), np.float32)
        box.encode(rows, observation)
        _check_observation(observation, space, env.observation_layout)
        slate, noise = random_slates(rng, rows.candidates, world.slate_size), world.noise(rows)
        pure = t < 5
        saved = {**_snapshot(rows), "slate": slate.copy(), "noise": noise.copy()} if pure else {}
        after, feedback = world.step(rows, slate, noise)
        if pure:
            now = {**_snapshot(rows), "slate": slate, "noise": noise}
            _same(saved, now, "World.step must not write to its inputs")
        _check_feedback(feedback, world, slate)
        if t < 20:
            twin, twin_feedback = copy.step(twins, slate, copy.noise(twins))
            _same(_snapshot(after), _snapshot(twin), f"step {t} of a saved and loaded World")
            _same(_snapshot(feedback), _snapshot(twin_feedback), f"step {t} of a saved and loaded World")
            twins = twin
        assert (after.t == rows.t + 1).all(), "World.step must count the steps in users.t"
        assert (after.clock >= rows.clock).all(), "the clock must not go back"
        now = np.concatenate(
            [
                feedback.channels.reshape(-1, feedback.channels.shape[2]).T,
                np.repeat(feedback.objectives.T, world.slate_size, 1),
            ]
        )
        low = now.min(axis=1) if low is None else np.minimum(low, now.min(axis=1))
        high = now.max(axis=1) if high is None else np.maximum(high, now.max(axis=1))
        gone = np.flatnonzero(feedback.left | (after.t >= world.horizon))
        rows = (
            after.put(gone, world.arrive(after.key[gone], after.episode[gone] + 1)) if len(gone) and t >= 20 else after
        )
    assert low is not None, "steps must be >= 1"
    assert high is not None, "steps must be >= 1"
    names = [*(f"channel {c}" for c in world.response.channels), *(f"objective {m}" for m in world.objectives)]
    constant = [name for name, a, b in zip(names, low, high, strict=True) if a == b]
    assert not constant, (
        f"every channel and objective must vary; constant over {users} users and {steps} steps: {constant}"
    )


def _check_norm(vectors: Array, norm: float, where: str) -> None:
    """Norm 1 where that is the population's, else at most the population's."""
    found = np.linalg.norm(vectors, axis=1)
    if norm == 1.0:
        worst = found[np.argmax(np.abs(found - 1))] if len(found) else 1.0
        assert abs(worst - 1) < 1e-3, f"{where} must have norm 1, got {worst:.4f}"
    else:
        assert found.max(initial=0.0) <= 1.001 * norm, f"{where} must have norm {norm:g} at most, got {found.max():.4f}"


def _check_users(users: Users, world: World) -> None:
    for name in users:
        array = users[name]
        assert array.dtype.kind != "f" or np.isfinite(array).all(), f"users.{name} must be finite"
        if name in world.owned:
            column = world.owned[name]
            _is(array, column.dtype, (len(users), *column.shape), f"users.{name}")
            _within(array, column.low, column.high, f"users.{name}")
    _check_norm(users.interest, world.population.norm, "users.interest")
    _within(users.exposure, 0.0, 1.0, "users.exposure")
    _within(users.history, -1, len(world.catalog) - 1, "users.history")
    _check_candidates(users.candidates[:4], users.rows(slice(4)), world, "candidates")


def _check_feedback(feedback: Feedback, world: World, slate: Array) -> None:
    for name in feedback:
        array = feedback[name]
        if array.dtype.kind == "f" and name != "utility":
            assert np.isfinite(array).all(), f"feedback.{name} must be finite"
    assert not np.isnan(feedback.utility).any(), "feedback.utility must not be NaN"
    _within(feedback.probability, 0.0, 1.0, "feedback.probability")
    _within(feedback.dt, 0.0, np.inf, "feedback.dt")
    _within(feedback.channels, 0.0, np.array(world.response.highs), "feedback.channels")
    _is(feedback.objectives, np.float32, (len(slate), len(world.objectives)), "feedback.objectives")
    _is(feedback.left, np.bool_, (len(slate),), "feedback.left")
    assert not feedback.click[slate < 0].any(), "an empty position was clicked"
    assert not world.choice.single or feedback.click.sum(axis=1).max() <= 1, (
        "a `single` choice clicked twice in a slate"
    )


def _check_observation(observation: Array, space: Any, layout: dict[str, Any]) -> None:
    bad = np.argwhere(~((observation >= space.low) & (observation <= space.high)))
    if len(bad):
        row, at = bad[0]
        name = next(
            (
                f"block {b!r}, {_part(block, at - block.slice.start)}"
                for b, block in layout.items()
                if block.slice.start <= at < block.slice.stop
            ),
            "",
        )
        raise AssertionError(
            f"observations must be finite and inside their space; entry {at} ({name}) of row {row} "
            f"is {observation[row, at]!r}, not in [{space.low.flat[at]}, {space.high.flat[at]}]"
        )


def _part(block: Any, at: int) -> str:
    at %= sum(part.width for part in block.parts)
    for part in block.parts:
        if at < part.width:
            return f"feature {part.name!r}"
        at -= part.width
    return ""


def check_env(
    env: str | RecEnv | RecVectorEnv | gym.Env[Any, Any], *, seed: int = 0, steps: int = 150, **kwargs: Any
) -> None:
    """Check an environment: a registered id with the keywords of `gymnasium.make`, or an instance.

    From reset on every observation lies in its space; the terminal observation is the one of the user that ended;
    nothing handed out is overwritten later; row i of a batch is the single environment of seed + i, bit for bit, in
    all three autoreset modes; a snapshot replays, and another key makes another future.

    Args:
        env: what to check; an instance is only read, copies of it are stepped.
        seed: of the first user. steps: steps of each run. kwargs: of `gymnasium.make`, for an id.

    Raises:
        AssertionError: what is broken.
    """
    if isinstance(env, str):
        env = gym.make(env, disable_env_checker=True, **kwargs)
    else:
        assert not kwargs, f"an instance has its keywords already; got {sorted(kwargs)}"
    first = getattr(env, "unwrapped", env)
    if isinstance(first, RecEnv):
        first = first.batch
    assert isinstance(first, RecVectorEnv), f"must be a recgym environment, got {type(env).__name__}"
    B = 5
    runs = {mode: _trace(first, B, mode, seed, steps) for mode in AutoresetMode}
    single = [_trace(first, 1, None, seed + i, steps) for i in range(B)]
    for mode, traces in runs.items():
        for i in range(B):
            want, got = single[i][0], traces[i]
            n = min(len(want), len(got))
            assert n > steps // 3, f"{mode.value}: row {i} took only {n} transitions in {steps} steps"
            for k in range(n):
                _same(
                    want[k],
                    got[k],
                    f"transition {k} of the single env of seed {seed + i} and row {i} of a batch of {B}, {mode.value}",
                )
    _check_snapshot(first, seed)


def _options(env: RecVectorEnv) -> dict[str, Any]:
    """Keywords that make the same environment again."""
    return dict(
        world=env.world, action=env.actions.form, null_action=env.actions.null, observation=env.observations.form,
        reward="vector" if env.vector_reward else env.reward, expected_reward=env.expected_reward,
    )  # fmt: skip


def _act(env: RecVectorEnv, users: Users) -> Array:
    """Random actions that depend on (key, episode, step) alone, so that all modes and batch sizes see the same."""
    shape = env.actions.shape
    u = draw_noise(users.key ^ np.uint64(0x5DEECE66D), users.episode, users.t, max(math.prod(shape), 1))
    u = u.T.reshape(len(users), *shape)
    return 2 * u - 1 if env.actions.form == "embedding" else np.floor(u * env.actions.n).astype(np.int64)


def _trace(
    env: RecVectorEnv, n: int, mode: AutoresetMode | None, seed: int, steps: int
) -> list[list[dict[str, Array]]]:
    """Each row's transitions (reset observations among them) as arrays; mode None runs the single environment."""
    if mode is None:
        single = RecEnv(**_options(env))
        batch = single.batch
    else:
        single, batch = None, RecVectorEnv(num_envs=n, autoreset_mode=mode, **_options(env))
    space, layout, form = batch.observation_space, batch.observation_layout, batch.observations.form
    traces: list[list[dict[str, Array]]] = [[] for _ in range(n)]
    handed_out: list[tuple[dict[str, Array], dict[str, Array]]] = []

    def keep(observation: Any, info: Any) -> None:
        arrays = {
            **_arrays(observation),
            **{k: v for k, v in info.items() if isinstance(v, np.ndarray) and v.dtype != object},
        }
        handed_out.append((arrays, {k: v.copy() for k, v in arrays.items()}))

    def flat(observation: Any) -> dict[str, Array]:
        return {f"observation {k}": np.array(v) for k, v in _arrays(observation).items()}

    def add(row: int, observation: Any, more: dict[str, Any]) -> None:
        rest = {name: np.asarray(value[row]).copy() for name, value in more.items()}
        traces[row].append({**flat(observation), **rest})

    def pick(observation: Any, row: int) -> Any:
        return {k: v[row] for k, v in observation.items()} if isinstance(observation, dict) else observation[row]

    if single is not None:
        observation, info = single.reset(seed=seed)
        add(0, observation, {"action_mask": info["action_mask"][None]})
    else:
        observation, info = batch.reset(seed=seed)
        for row in range(n):
            add(row, pick(observation, row), {"action_mask": info["action_mask"]})
    keep(observation, info)
    ended = np.zeros(n, np.bool_)
    for _ in range(steps):
        users = batch.get_state().users
        action = _act(batch, users)
        if single is not None:
            observation, reward, terminated, truncated, info = single.step(action[0])
            inside = single.observation_space.contains(observation)
            step = dict(
                reward=[reward], terminated=[terminated], truncated=[truncated], **{k: v[None] for k, v in info.items()}
            )
            add(0, observation, step)
            keep(observation, info)
            if terminated or truncated:
                observation, info = single.reset()
                add(0, observation, {"action_mask": info["action_mask"][None]})
                keep(observation, info)
        else:
            observation, reward, terminated, truncated, info = batch.step(action)
            inside = space.contains(observation)
            step = dict(reward=reward, terminated=terminated, truncated=truncated) | {
                name: info[name] for name in ("objectives", "slate", "click", "probability", "action_mask")
            }
            done = terminated | truncated
            for row in range(n):
                if mode is AutoresetMode.NEXT_STEP and ended[row]:
                    add(row, pick(observation, row), {"action_mask": info["action_mask"]})
                    still = not done[row] and not np.any(reward[row])
                    assert still, "NextStep: the reset step must pay 0 and end nothing"
                elif mode is AutoresetMode.SAME_STEP and done[row]:
                    flagged = info["_final_obs"][row] and info["_final_info"][row]
                    assert flagged, "SameStep must flag the rows that ended"
                    add(row, info["final_obs"][row], {**step, "action_mask": info["final_info"]["action_mask"]})
                    add(row, pick(observation, row), {"action_mask": info["action_mask"]})
                else:
                    add(row, pick(observation, row), step)
            keep(observation, info)
            ended = done
            if mode is AutoresetMode.DISABLED and done.any():
                observation, info = batch.reset(options={"reset_mask": done})
                for row in np.flatnonzero(done):
                    add(int(row), pick(observation, int(row)), {"action_mask": info["action_mask"]})
                keep(observation, info)
        if not inside and form != "dict":
            _check_observation(np.atleast_2d(observation), batch.single_observation_space, layout)
        assert inside, f"an observation of type {form!r} lies outside its space"
        assert np.isfinite(reward).all(), f"rewards must be finite, got {reward}"
    for arrays, copies in handed_out:
        _same(arrays, copies, "what was handed out must never be overwritten")
    return traces


def _check_snapshot(env: RecVectorEnv, seed: int, steps: int = 15) -> None:
    """`get_state` and `set_state`: the same future with the same key, another with another."""
    batch = RecVectorEnv(num_envs=16, autoreset_mode=AutoresetMode.NEXT_STEP, **_options(env))
    batch.reset(seed=seed)
    for _ in range(3):
        batch.step(_act(batch, batch.get_state().users))
    state = batch.get_state()
    before = _snapshot(state.users)
    actions = _act(batch, state.users)

    def future() -> dict[str, Array]:
        steps_taken = [batch.step(np.roll(actions, t, axis=0)) for t in range(steps)]
        return {
            f"{t}.{k}": v
            for t, step in enumerate(steps_taken)
            for k, v in {**_arrays(step[0]), **_arrays(step[1:])}.items()
        }

    first = future()
    _same(_snapshot(state.users), before, "a snapshot must not change while the environment goes on")
    batch.set_state(state)
    _same(first, future(), "a restored snapshot must replay the same future")
    batch.set_state(state._replace(users=state.users.replace(key=mix(range(10**6, 10**6 + 16)))))
    other = future()
    changed = any(first[k].tobytes() != other[k].tobytes() for k in first)
    assert changed, "another key must make another future"


def check_agent(
    agent: Any, task: Any, *, users: int = 16, steps: int = 15, fit_steps: int = 512, seed: int = 0
) -> None:
    """Check an agent of the `baselines.Agent` protocol on a task.

    Its `fit` runs; its actions have the right shape, lie in the action space and show something wherever something
    can be shown; without exploration it acts the same after a new `start`, and after `save` and `load`.

    Args:
        agent: the agent; it is trained for `fit_steps` steps. task: a `baselines.Task`.
        users: rows. steps: steps that it acts for. seed: of users and training.

    Raises:
        AssertionError: what is broken.
    """
    name = type(agent).__name__
    shown: list[int] = []
    agent.fit(task, fit_steps, seed=seed, progress=lambda done, _: shown.append(done))
    assert shown == sorted(shown), f"{name}.fit must report its progress in ascending steps"

    def play(player: Any, explore: bool = False) -> list[Array]:
        env = task.make(users, AutoresetMode.NEXT_STEP)
        actions_seen = []
        observation, info = env.reset(seed=seed)
        player.start(env)
        for _ in range(steps):
            flat = observation["flat"] if isinstance(observation, dict) and "flat" in observation else observation
            mask = info["action_mask"]
            before = {"observation": np.array(flat), "mask": mask.copy()}
            action = np.asarray(player.act(flat, mask, explore=explore))
            _same(before, {"observation": np.array(flat), "mask": mask}, f"{name}.act must not write to its inputs")
            shape = (users, *env.actions.shape)
            assert action.shape == shape, f"{name}.act must return shape {shape}, got {action.shape}"
            inside = env.action_space.contains(action.astype(env.action_space.dtype))
            assert inside, f"{name}.act must lie in {env.single_action_space}, got {action}"
            if env.actions.form != "embedding":
                chosen = np.take_along_axis(mask, action.reshape(users, -1), axis=1)
                enough = mask.sum(axis=1, keepdims=True) >= env.world.slate_size
                bad = np.flatnonzero((~chosen & enough).any(axis=1))
                assert not len(bad), f"{name}.act must choose where the mask is True; user {bad[:1]}: {action[bad[:1]]}"
            actions_seen.append(action.copy())
            observation, _, _, _, info = env.step(action)
        env.close()
        return actions_seen

    first = dict(enumerate(play(agent)))
    play(agent, explore=True)
    named = {str(t): action for t, action in first.items()}
    _same(named, {str(t): a for t, a in enumerate(play(agent))}, f"{name}: step of two runs without exploration")
    with tempfile.TemporaryDirectory() as folder:
        agent.save(folder)
        loaded = type(agent).load(folder)
    _same(named, {str(t): a for t, a in enumerate(play(loaded))}, f"{name}: step after save and load")
