"""What single families of parts promise: markets, candidates, choices, responses, populations."""

from __future__ import annotations

import itertools

import numpy as np

from recgym.market import Market
from recgym.models.choice import Choice
from recgym.models.response import Response
from recgym.testing.arrays import (
    Inputs,
    check_array,
    check_same,
    check_within,
    framed,
    random_uniforms,
)
from recgym.types import Array, Users
from recgym.world import World

SIGMAS = 5.0  # how far a sample mean may lie from the stated one: false alarms below one in a million


def check_market(market: Market, n_items: int) -> None:
    """Check that signals lie in their ranges, that the calendar repeats, and that lists of available items ascend."""
    name = type(market).__name__
    rng = np.random.default_rng(0)
    items = rng.integers(-1, n_items, (200, 4)).astype(np.int32)
    # Multiples of 1/8 and a whole period are exact in float32, so that equality may be asked for.
    clock = (rng.integers(0, int(8 * market.period), 200) / 8).astype(np.float32)
    out = market.observe(items, clock)
    check_array(out, np.float32, (*items.shape, len(market.signals)), f"{name}.observe")
    assert (out[items < 0] == 0).all(), f"{name}.observe must be 0 for item -1"
    for f, signal in enumerate(market.signals):
        check_within(out[..., f], signal.low, signal.high, f"{name} signal {signal.name}")
    if market.period % 1 == 0 and market.period < 2**17:
        later = market.observe(items, clock + np.float32(market.period))
        np.testing.assert_allclose(out, later, rtol=1e-6, err_msg=f"{name}.observe must repeat after `period`")
    for minute in clock[:50]:
        listed = market.available(float(minute))
        assert (np.diff(listed) > 0).all(), f"{name}.available must list items once, ascending"
        same = np.array_equal(listed, market.available(float(minute) + market.period))
        assert same, f"{name}.available must repeat after `period`"


def check_candidates(candidates: Array, users: Users, world: World, what: str) -> None:
    """Check that candidates are available items, none twice."""
    check_within(candidates, -1, len(world.catalog) - 1, f"{what}: item ids")
    for row, clock in zip(candidates, users.clock, strict=True):
        shown = row[row >= 0]
        assert len(set(shown.tolist())) == len(shown), f"{what} must not offer an item twice, got {row}"
        missing = np.setdiff1d(shown, world.market.available(float(clock)))
        assert not len(missing), f"{what} must offer available items only; not available at minute {clock}: {missing}"


def check_choice(choice: Choice, world: World, seed: int) -> None:
    """Check stated probabilities against samples, and against the probabilities of whole click patterns."""
    name, S = type(choice).__name__, world.slate_size
    rng = np.random.default_rng(seed)
    utility = rng.normal(0.0, 2.0, (8, S)).astype(np.float32)
    utility[1, 0], utility[2, -1], utility[3] = -np.inf, -np.inf, -np.inf
    outside = rng.normal(0.0, 1.0, 8).astype(np.float32)
    outside[:4] = 0.0
    probability = choice.probability(utility, outside)
    check_array(probability, np.float32, utility.shape, f"{name}.probability")
    check_within(probability, 0.0, 1.0, f"{name}.probability")
    assert (probability[np.isneginf(utility)] == 0).all(), f"{name}.probability must be 0 where nothing is shown"

    patterns = np.array(list(itertools.product([False, True], repeat=S)))
    if S <= 8:
        log_prob = np.stack(
            [choice.log_prob(utility, outside, np.broadcast_to(p, utility.shape).copy()) for p in patterns]
        )
        check_array(log_prob, np.float64, (len(patterns), len(utility)), f"{name}.log_prob of all patterns")
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
    noise = framed(random_uniforms(rng, choice.uniforms(world.sizes), n * len(utility)))
    click, stated = choice.sample(np.repeat(utility, n, axis=0), np.repeat(outside, n), noise)
    check_array(click, np.bool_, (n * len(utility), S), f"{name}.sample clicks")
    check_same(
        {"": stated[::n].copy()}, {"": probability}, f"{name}: probability as sample and as probability state it"
    )
    frequency = click.reshape(len(utility), n, S).mean(axis=1)
    error = SIGMAS * np.sqrt(probability * (1 - probability) / n) + 1e-4
    worst = np.unravel_index(np.argmax(np.abs(frequency - probability) - error), error.shape)
    near = abs(frequency[worst] - probability[worst]) <= error[worst]
    assert near, f"{name}: position {worst[1]} is clicked {frequency[worst]:.4f}, stated {probability[worst]:.4f}"
    assert not choice.single or click.sum(axis=1).max() <= 1, f"{name} is `single`, but sampled two clicks in a slate"


def check_expected(response: Response, world: World, x: Inputs, seed: int, n: int = 3000) -> None:
    """Check `expected` against the mean over fresh noise, for no click and for a click on each position alone."""
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
            click[:, position] = (
                utility[:, position] > -np.inf
            )  # an empty position cannot be clicked, nor what is on screen
            rows = x.utility[:B, position] > -np.inf
        noise = framed(random_uniforms(rng, response.uniforms(world.sizes), len(index)))
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


def check_norm(vectors: Array, norm: float, where: str) -> None:
    """Check that vectors have norm 1 if that is the norm of the population, or else at most its norm."""
    found = np.linalg.norm(vectors, axis=1)
    if norm == 1.0:
        worst = found[np.argmax(np.abs(found - 1))] if len(found) else 1.0
        assert abs(worst - 1) < 1e-3, f"{where} must have norm 1, got {worst:.4f}"
    else:
        assert found.max(initial=0.0) <= 1.001 * norm, f"{where} must have norm {norm:g} at most, got {found.max():.4f}"
