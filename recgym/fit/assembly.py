"""The world of a fit: its parts, put together from what was found."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.fit.clicks import sigmoid
from recgym.fit.events import Slates
from recgym.fit.inputs import visible_attributes
from recgym.fit.likelihood import examination
from recgym.fit.outcomes import Followed, scan
from recgym.fit.past import Habit
from recgym.fit.stay import Leaving, MoodFit
from recgym.fit.taste import Data, Taste
from recgym.market import LoggedMarket, Market, StaticMarket, listing
from recgym.models.candidates import CandidateSource, Uniform, source_of
from recgym.models.choice import Cascade, Choice, MultinomialLogit, PositionBased
from recgym.models.dynamics import Adaptation, Attraction, Dynamics, Fatigue, Mood
from recgym.models.preference import DotProduct
from recgym.models.response import Outcomes
from recgym.models.reward import Weighted
from recgym.population import Empirical
from recgym.types import Array
from recgym.world import World

if TYPE_CHECKING:
    from recgym.logs.table import Logs

MOST_USERS = 20_000  # of the population that a world keeps
KEEPS = {"mood": "keep", "regard": "bring back"}  # item attributes that raise the moods
ROOM = 6_000_000  # numbers in the table of a `LoggedMarket`


def assemble(
    logs: Logs, slates: Slates, data: Data, model: Taste, interest: NDArray[np.float32], habits: Sequence[Habit],
    outcome: Followed, leaving: Leaving,
    candidates: int | CandidateSource, slate_size: int | None, reward: dict[str, float] | None, click_rate: float | None,
    seed: int,
) -> World:  # fmt: skip
    """The parts put together."""
    gamma = dict(zip([n for n in slates.signals if n != "price"], model.gamma.detach().tolist(), strict=False))
    spread = dict(zip(model.slopes, model.log_omega.detach().exp().tolist(), strict=True))
    # One draw, as of the interests: with their means, items would be more alike than they are.
    appeal = model.appeal(data, True, torch.Generator().manual_seed(seed)).detach().numpy().astype(np.float64)
    S = slate_size or int(np.bincount(slates.shown.sum(axis=1))[1:].argmax()) + 1
    if click_rate is not None:
        S = slate_size or 1
        appeal = appeal + _shift(appeal, model, interest[0], click_rate, seed)
    seen = np.bincount(slates.item[slates.shown], minlength=slates.n_items).astype(np.float64)
    taken = np.bincount(slates.item[slates.click & slates.shown], minlength=slates.n_items).astype(np.float64)
    rate = taken.sum() / max(seen.sum(), 1)
    popularity = np.clip(0.5 * np.log((taken + 1) / (seen + 1 / rate) / rate), -2, 2)
    if click_rate is not None:
        popularity = np.log1p(taken) / max(np.log1p(taken).max(), 1e-9)
    attributes, names = visible_attributes(logs)
    names = tuple(
        name if name not in ("popularity", "appeal", *KEEPS.values()) else f"{name} (logged)" for name in names
    )
    counted = "popularity" if "popularity" not in slates.signals else "logged popularity"
    columns, hidden = [*attributes.T, popularity, appeal], [*names, counted, "appeal"]
    moods = {name: fit for name, fit in (("mood", leaving.mood), ("regard", leaving.regard)) if fit is not None}
    own = np.c_[data.attributes.numpy(), model.item_mean.detach().numpy()].astype(np.float64)
    for name, fit in moods.items():
        columns.append(own @ fit.weights[: own.shape[1]] + fit.keep)
        hidden.append(KEEPS[name])
    for event, fit in outcome.fits.items():
        columns.append(fit.effect)
        hidden.append(f"{event} effect")
    catalog = Catalog(
        model.x.detach().numpy().round(6), slates.topic, np.stack(columns, 1).astype(np.float32).round(6), tuple(hidden),
        slates.n_topics, visible=(*names, counted),
    )  # fmt: skip
    market = _market(slates)
    signals = {
        name: (value, _log_spread(value, spread.get(f, 0.0)))
        for f, (name, value) in enumerate(gamma.items())
        if name in market.names
    }
    population = _population(slates, data, model, interest, signals, seed)
    dynamics: list[Dynamics] = []
    topics, users = {}, {}
    for habit in habits:
        if habit.name == "fatigue":
            dynamics.append(Fatigue(*habit.values))
            topics["fatigue"] = -1.0
        elif habit.name == "pull":
            dynamics.append(Attraction(habit.value("strength"), habit.value("memory")))
        elif habit.name == "level":
            by, initial = ("least" if habit.value("least") else "mean"), float(np.clip(habit.value("initial"), -4, 4))
            dynamics.append(Adaptation("offers", by, memory=habit.value("memory"), limit=4.0, initial=initial))
            users["level"] = habit.value("strength")
        else:
            dynamics.append(Adaptation("click", memory=habit.value("memory"), limit=1.0, name="busy"))
            users["busy"] = -habit.value("strength")
    dynamics += [_mood(name, fit, leaving.words) for name, fit in moods.items()]
    laws = {name: fit.coefficient for name, fit in outcome.fits.items()}
    response = Outcomes(
        outcome.events,
        level={n: float(w[0]) for n, w in laws.items()}, slope={n: float(w[1]) for n, w in laws.items()},
        price={n: float(-w[2]) for n, w in laws.items() if len(w) > 2}, attributes={n: f"{n} effect" for n in laws},
        after=outcome.after, sigma=float(outcome.fits["dwell"].sigma) if "dwell" in laws else 0.0, longest=outcome.longest,
        scan=scan(slates), revenue=outcome.revenue,
    )  # fmt: skip
    source = source_of(candidates, Uniform(min(20, slates.n_items)))
    return World(
        catalog=catalog, population=population, market=market, candidates=source,
        preference=DotProduct(1.0, {"appeal": 1.0}, topics, users), choice=_choice(model, S), response=response,
        dynamics=tuple(dynamics), departure=leaving.departure, reward=Weighted(reward or {"click": 1.0}), slate_size=S,
        horizon=int(min(max(100, np.quantile(slates.step, 0.999) + 1), 1000)), embeddings=False,
    )  # fmt: skip


def _log_spread(mean: float, spread: float) -> float:
    """Of the logarithm of a log-normal number with this mean and standard deviation."""
    return math.sqrt(math.log1p((spread / mean) ** 2)) if mean else 0.0


def _shift(appeal: Array, model: Taste, interest: NDArray[np.float32], click_rate: float, seed: int) -> float:
    """What brings the mean click probability of random users and items to `click_rate`."""
    rng = np.random.default_rng([seed, 14])
    user, item = rng.integers(0, len(interest), 20_000), rng.integers(0, len(appeal), 20_000)
    v = appeal[item] + (interest[user, : model.d] * model.x.detach().numpy()[item]).sum(axis=1)
    low, high = -60.0 - v.max(), 60.0 - v.min()
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(v + middle).mean() < click_rate else (low, middle)
    return (low + high) / 2


def _mood(name: str, fit: MoodFit, words: tuple[str, ...]) -> Mood:
    weight = dict(zip(words, fit.weights.tolist(), strict=True))
    return Mood(
        memory=fit.memory[0], attributes={KEEPS[name]: 1.0}, match=weight.get("match", 0.0), price=-weight.get("log price", 0.0),
        click=weight.get("clicks", 0.0) / fit.scale, minutes=weight.get("log minutes", 0.0) / fit.scale, initial=fit.initial,
        limit=fit.limits, name=name, level=fit.level, saturates=fit.saturates,
    )  # fmt: skip


def _choice(model: Taste, S: int) -> Choice:
    theta = model.theta.detach()
    if model.choice == "cascade":
        return Cascade(float(torch.sigmoid(theta[0])), float(torch.sigmoid(theta[1])), 0.0)
    if model.choice == "multinomial logit":
        return MultinomialLogit(0.0, float(torch.nn.functional.softplus(theta[0])))
    if model.choice == "independent":
        return PositionBased((1.0,) * S, 0.0)
    e = examination(theta).tolist()
    return PositionBased(tuple((e + [e[-1]] * S)[:S]), 0.0)


def _market(slates: Slates) -> Market:
    """When items could be shown, and their signals: as logged, or as near in time as anything was."""
    N = slates.n_items
    m, s = np.nonzero(slates.shown)
    item, clock = slates.item[m, s], slates.clock[m]
    span = float(clock.max()) + 1.0
    born, died = np.full(N, np.inf), np.zeros(N)
    np.minimum.at(born, item, clock)
    np.maximum.at(died, item, clock)
    lasting = np.median((died - born)[np.isfinite(born)]) > 0.5 * (clock.max() - clock.min())
    born = np.where(np.isfinite(born), born, 0.0)
    F = len(slates.signals)
    length = np.maximum(died - born, 1.0)
    for part in (60.0, 180.0, 360.0, 720.0, 1440.0, 2880.0, 10080.0, 43_200.0):
        parts = math.ceil(span / part)
        L = parts if lasting else int(min(np.ceil(length.max() / part) + 1, parts))
        if N * L * max(F, 1) <= ROOM and (len(item) >= 2 * N * min(L, np.mean(length) / part + 1) or part >= 10080.0):
            break
    slot_first = (born // part).astype(np.int64)
    if lasting:
        offsets, listed = np.array([0, N]), np.arange(N, dtype=np.int32)
        slot = parts * part
        slot_first = np.zeros(N, np.int64)
    else:
        slot = part
        offsets, listed = listing(
            parts, slot_first, (died // part).astype(np.int64) - slot_first + 1, np.ones(N, np.int64)
        )
    if not F:
        return StaticMarket(slot, offsets, listed)
    table = np.zeros((N, L, F), np.float32)
    at = np.minimum((clock // part).astype(np.int64) - slot_first[item], L - 1)
    cell = item.astype(np.int64) * L + at
    count = np.bincount(cell, minlength=N * L).reshape(N, L)
    for f in range(F):
        total = np.bincount(cell, slates.signal[m, s, f].astype(np.float64), N * L).reshape(N, L)
        usual = float(slates.signal[m, s, f].mean())
        table[..., f] = _filled(total, count, usual)
    return LoggedMarket(
        slot, offsets, listed, table.round(5), slot_first.astype(np.int32), part, slates.signals, (True,) * F
    )  # fmt: skip


def _filled(total: Array, count: Array, usual: float) -> Array:
    """(N, L) means, where nothing was logged those of the part before, or else of the next one, or else `usual`."""
    there = count > 0
    value = np.where(there, total / np.maximum(count, 1), 0.0)
    L = count.shape[1]
    before = np.maximum.accumulate(np.where(there, np.arange(L), -1), axis=1)
    after = np.minimum.accumulate(np.where(there, np.arange(L), L)[:, ::-1], axis=1)[:, ::-1]
    source = np.where(before >= 0, before, np.where(after < L, after, 0))
    out = np.take_along_axis(value, source, axis=1)
    return np.where(there.any(axis=1, keepdims=True), out, usual)


def _population(
    slates: Slates,
    data: Data,
    model: Taste,
    interest: NDArray[np.float32],
    signals: dict[str, tuple[float, float]],
    seed: int,
) -> Empirical:
    rng = np.random.default_rng([seed, 13])
    chosen = np.sort(rng.permutation(slates.n_users)[:MOST_USERS])
    d = model.d
    given = data.profile.numpy()
    if given.shape[1] == d and data.known.any():
        profile = given[chosen]
    else:
        profile = interest[..., :d].mean(axis=0)
        profile = (profile - profile.mean(axis=0))[chosen]
    norm = np.linalg.norm(profile, axis=1, keepdims=True)
    profile = np.where(norm > 1, profile / np.maximum(norm, 1e-9), profile)
    starts = [np.flatnonzero(slates.step[slates.first[j] : slates.first[j + 1]] == 0) + slates.first[j] for j in chosen]
    clock = np.array([slates.clock[rows[rng.integers(len(rows))]] for rows in starts])
    times = max(1, min(len(interest), MOST_USERS // len(chosen)))
    drawn = interest[:times, chosen, :d].reshape(-1, d)
    return Empirical(
        drawn.round(5),
        np.tile(profile, (times, 1)).round(6),
        np.tile(clock, times).round(1).astype(np.float32),
        signals,
    )
