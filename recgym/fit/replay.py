"""The users of logs once more, in the world that was fitted to them: what they do there, to be held against what they did."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from recgym.errors import FitError, require_count
from recgym.logs.behaviour import Pair, compare
from recgym.logs.simulate import _events, _outcome, _signals
from recgym.logs.table import ALWAYS, Logs
from recgym.models.departure import Never
from recgym.noise import mix
from recgym.population import Empirical
from recgym.types import Array

if TYPE_CHECKING:
    from recgym.fit.worlds import Fitted

USERS = 3_000  # replayed at most
NEAR = 50  # slates before or after a time, from which one is drawn
HOW = (
    "{users:,} of the logged users visit the world. Each has an interest drawn from what the logs leave open about it, arrives when the first"
    " logged slate was shown, and is shown the slates that the logs have of this user, in their order; whoever stays longer than logged, then"
    " slates that others were shown at about that time. What is clicked, what follows, how long it takes and who leaves is the world's. The"
    " same clicks were used to fit the world: this shows whether its parts can repeat the logs, not whether it foresees others."
)


class _InOrder(Empirical, abstract=True):
    """Row b of the tables for user b."""

    def arrive(self, noise: Array, signals: tuple[str, ...]) -> dict[str, Array]:
        n = noise.shape[1]
        rows = {
            name: np.resize(getattr(self, name), (n, *getattr(self, name).shape[1:]))
            for name in ("interest", "profile", "clock")
        }
        return {
            **super().arrive(noise, signals),
            **rows,
            "known": np.asarray(np.any(rows["profile"] != 0, axis=1), np.float32),
        }


def replay(fitted: Fitted, logs: Logs, *, users: int = USERS, seed: int = 0) -> Logs:
    """Let the logged users visit the fitted world, where they are shown what the logging policy showed them.

    A user has an interest drawn from the posterior that the logs leave of it, arrives at the time of the first logged slate, and is
    shown, step by step, the slates that the logs have of this user, in their order: so a policy that knew its users is followed, too.
    Whoever stays longer than logged is then shown slates that others were shown at about that time. Nobody is watched
    beyond the end of the logs. Where the world has nobody leave, each user is shown the logged slates and no others.

    What is clicked, what follows, how long each step takes and who leaves is the world's.

    Args:
        fitted: what `fit_world` returned. logs: those it was fitted to.
        users: replayed at most, drawn at random. seed: of all that is random.

    Raises:
        FitError: the logs have interactions alone, so that what was shown is not known. ConfigError: users is outside its range.
    """
    require_count("users", users, 1, 10**7)
    if not logs.impressions:
        raise FitError("replay: needs logs of what was shown, and these have interactions alone")
    slates, rng = fitted.slates, np.random.default_rng([seed, 29])
    some = np.sort(rng.permutation(slates.n_users)[:users])
    count = (slates.first[1:] - slates.first[:-1])[some]
    some, count = some[count > 0], count[count > 0]
    B, first = len(some), slates.first[some]
    world = fitted.world
    S = world.slate_size
    interest = fitted.interest[rng.integers(0, len(fitted.interest), B), some, : fitted.model.d]
    population = world.population
    assert isinstance(population, Empirical)
    table = _InOrder(interest, np.zeros_like(interest), slates.clock[first].astype(np.float32), population.sensitivity)
    world = world.replace(population=table)
    state = world.arrive(mix(rng.integers(0, 2**62, B)))
    by_time = np.argsort(slates.clock, kind="stable")
    times = slates.clock[by_time]
    end, longest = float(times[-1]), 10 * int(count.max()) + 1000
    stays = isinstance(world.departure, Never)
    visible = [(f, s.name) for f, s in enumerate(world.market.signals) if s.visible]
    session, sessions, steps = np.arange(B), B, 0
    alive, parts = np.ones(B, np.bool_), []
    for k in range(longest):
        near = np.searchsorted(times, state.clock) + rng.integers(-NEAR, NEAR, B)
        row = np.where(k < count, first + np.minimum(k, count - 1), by_time[np.clip(near, 0, len(times) - 1)])
        slate = np.full((B, S), -1, np.int32)
        width = min(S, slates.item.shape[1])
        slate[:, :width] = slates.item[row, :width]
        after, feedback = world.advance(state, slate, world.noise(state))
        at, position = np.nonzero((slate >= 0) & alive[:, None])
        parts.append({
            "user": some[at], "item": slate[at, position], "time": _time(slates.start, state.clock[at]), "session": session[at],
            "slate": steps + at, "position": position, **_outcome(world, feedback, at, position),
            **_signals(world, state, slate, visible, at, position),
        })  # fmt: skip
        steps += B
        alive = alive & ~feedback.left & (after.clock <= end)
        if stays:
            alive &= k + 1 < count
        back = alive & (after.clock - state.clock - feedback.dt > 1.0)
        session = np.where(back, sessions + np.cumsum(back) - 1, session)
        sessions += int(back.sum())
        state = after
        if not alive.any():
            break
    wanted = {*ALWAYS, "session", "slate", "position", "click", *logs.events.columns}
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in wanted}
    source = {
        "format": "replayed",
        "name": "simulated",
        "seed": seed,
        **{k: logs.source[k] for k in ("session_gap",) if k in logs.source},
    }
    events = _events(columns, [])
    if stays or "session" not in logs.events.columns:
        events = events.drop("session")
    return Logs(events, logs.items, logs.users, True, source)


def same_users(logs: Logs, simulated: Logs) -> Logs:
    """The rows of those users who were replayed."""
    import polars as pl

    users = simulated.events["user"].unique()
    return dataclasses.replace(logs, events=logs.events.filter(pl.col("user").is_in(users.implode())))


def _time(start: np.datetime64, clock: Array) -> Array:
    return start + np.round(clock.astype(np.float64) * 60e6).astype("timedelta64[us]")


def beside(fitted: Fitted, logs: Logs, *, users: int = USERS, seed: int = 0) -> tuple[list[Pair], str]:
    """What the users did in the logs beside what they do in a replay, and how that was made, or why it was not.

    The intervals take the users of the two as independent; as they are the same ones, points that are apart are surely so.

    Args:
        fitted, logs, users, seed: see `replay`.
    """
    if not logs.impressions:
        return (
            [],
            "There is nothing to compare: the logs have interactions alone, so that what users were shown is not known.",
        )
    simulated = replay(fitted, logs, users=users, seed=seed)
    found = compare(same_users(logs, simulated), simulated, seed=seed)
    text = HOW.format(users=simulated.events["user"].n_unique())
    if isinstance(fitted.world.departure, Never):
        found = [pair for pair in found if not pair.name.startswith("survival")]
        text += " Nobody leaves this world, so that each is shown the logged slates and no others, and lengths of sessions are not compared."
    return found, text
