"""What is shown of a session in any mode: its steps, what the user did, the state over time, an agent's reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recgym.errors import require
from recgym.market import LONGEST_STREAM, LiveMarket, NewsMarket, ShopMarket
from recgym.types import Array, Feedback, Users
from recgym.world import World


class Reasons(NamedTuple):
    """An agent's value of each choice for one user, and what speaks for and against the choice.

    `baselines.explain` makes them; so can anything else that values choices.
    """

    values: Array  # (n,) float; -inf for a choice that is not available
    contributions: Array  # (n, G) float, of each group of features, in units of the value; 0 if not available
    groups: tuple[str, ...]  # names of the G groups

    def strongest(self, most: int) -> list[int]:
        """The groups with the widest range of contributions over the choices, zero included; widest first."""
        strength = self.contributions.max(axis=0, initial=0) - self.contributions.min(axis=0, initial=0)
        return [int(g) for g in np.argsort(-strength, kind="stable")[:most] if strength[g] > 0]

    @property
    def digits(self) -> int:
        """Number of decimals that shows values and contributions to about three significant digits."""
        values = self.values[np.isfinite(self.values)]
        largest = max(float(np.abs(part).max(initial=0)) for part in (values, self.contributions))
        return min(max(2 - math.floor(math.log10(largest)), 0), 6) if largest > 0 else 2

    def best(self, most: int, always: Sequence[int] = ()) -> list[int]:
        """The `most` available choices with the highest values, best first; those in `always` are among them."""
        ranked = [int(c) for c in np.argsort(-self.values, kind="stable") if self.values[c] > -np.inf]
        given = {c for c in always if c in ranked}
        free = [c for c in ranked if c not in given][: max(most - len(given), 0)]
        return [c for c in ranked if c in given or c in free]


class Frame(NamedTuple):
    """One step of a batch: the users before it, its feedback, its reward, the users after it."""

    before: Users
    feedback: Feedback
    reward: Array
    after: Users


class Session(NamedTuple):
    """The steps of one user's episode; the arrays of their frames have no batch axis."""

    world: World
    steps: list[Frame]
    user: Users | None  # as of now; None where no step was ever recorded
    rewards: Array  # (n,) float64; vector rewards are weighted as the world weighs them
    ended: str  # why the episode is over, or ""
    choices: Choices | None = None  # what an agent expected of the choices; None where no reasons were given


class Choices(NamedTuple):
    """The choices that a table of reasons has room for, R of them, best first."""

    reasons: Reasons
    shown: list[int]  # (R,) which of the choices
    items: list[int]  # (R,) item ids; -1 = recommending nothing
    positions: list[int | None]  # (R,) in the slate; None = not in it
    groups: list[int]  # with a column of their own; the contributions of the others are one column, "other"


def choices_of(session: Session, reasons: Reasons, most: int = 12, most_groups: int = 5) -> Choices:
    """The best of the choices that the reasons are about, and those that were shown.

    Raises:
        ConfigError: reasons of another number of choices.
    """
    assert session.user is not None
    step = session.steps[-1] if session.steps else None
    candidates = (step.before if step else session.user).candidates
    null = len(reasons.values) - len(candidates)
    rule = f"must have a value for each of {len(candidates)} candidates, and perhaps one for nothing"
    require(null in (0, 1), "reasons", rule, len(reasons.values))
    items = [-1] * null + [int(item) for item in candidates]
    slate = [int(item) for item in step.feedback.slate] if step else []
    shown = reasons.best(most, [c for c, item in enumerate(items) if item in slate])
    # A position is empty where an item is repeated too; nothing was recommended where all are.
    positions = [
        slate.index(i) if i in slate and (i >= 0 or max(slate) < 0) else None for i in (items[c] for c in shown)
    ]
    return Choices(reasons, shown, [items[c] for c in shown], positions, reasons.strongest(most_groups))


def session_of(world: World, frames: list[Frame], row: int) -> Session:
    """The last episode of one user among the frames."""
    last = len(frames) - 1
    if last >= 0 and frames[last].after.t[row] > 0:  # "Disabled": a user who is done pauses until the reset
        while last > 0 and not moved(world, frames, last, row):
            last -= 1
    steps: list[Frame] = []
    for i in range(last, -1, -1):
        if not moved(world, frames, i, row) or not _same_episode(frames[i].before, frames[last].before, row):
            break
        before, feedback, after = frames[i].before.rows(row), frames[i].feedback.rows(row), frames[i].after.rows(row)
        if not _same_episode(frames[i].before, frames[i].after, row):
            after = before.replace(t=before.t + 1, clock=before.clock + feedback.dt)
        steps.append(Frame(before, feedback, frames[i].reward[row], after))
    steps.reverse()
    user = steps[-1].after if steps else frames[-1].after.rows(row) if frames else None
    ended = ""
    if steps[-1].feedback.left if steps else user is not None and user.t > 0 and frames[-1].feedback.left[row]:
        ended = "The user left."
    elif user is not None and user.t >= world.horizon:
        ended = f"The session reached its horizon of {world.horizon} steps."
    return Session(world, steps, user, np.array([_scalar_reward(world, step) for step in steps], np.float64), ended)


def _same_episode(users: Users, others: Users, row: int) -> bool:
    return bool(users.key[row] == others.key[row] and users.episode[row] == others.episode[row])


def moved(world: World, frames: list[Frame], i: int, row: int) -> bool:
    """Whether the user took a step in frame i: not if it was a pause ("Disabled") or a bare reset ("NextStep")."""
    before, feedback, _, after = frames[i]
    if _same_episode(before, after, row):
        return bool(after.t[row] > before.t[row])
    # Another episode began: after the last step in the same frame ("SameStep"), or after one in the frame before.
    over = i > 0 and _same_episode(frames[i - 1].before, before, row) and bool(frames[i - 1].feedback.left[row])
    return not over and bool(feedback.left[row] or before.t[row] + 1 == world.horizon)


def _scalar_reward(world: World, step: Frame) -> float:
    if np.ndim(step.reward) == 0:
        return float(step.reward)
    if callable(world.reward):  # which says nothing of a vector
        return float(step.reward.sum())
    weights, each = world.reward.weights(world.objectives)
    return float(weights @ step.reward + each * (step.feedback.slate >= 0).sum())


def time_of_day(clock: Any) -> str:
    """Day and time of a clock in minutes."""
    minutes = int(clock)
    return f"day {minutes // 1440 + 1}, {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def number(value: Any, signed: bool = False) -> str:
    """A number with two decimals, or none if it is large or whole."""
    value = round(float(value), 2) + 0.0  # no minus zero
    digits = 0 if abs(value) >= 1000 or (value == round(value) and not signed) else 2
    return f"{value:{'+' if signed else ''}.{digits}f}"


def _age_minutes(world: World, signal: str) -> float:
    """Minutes that one unit of a signal stands for; 0 if the signal is not a time."""
    market = world.market
    if signal == "age" and isinstance(market, NewsMarket):
        return market.popularity.shape[1] * market.slot
    return LONGEST_STREAM if signal == "age" and isinstance(market, LiveMarket) else 0.0


def properties_of(world: World, slate: Array, clock: Any, most: int = 8) -> dict[str, list[str]]:
    """Properties of the items of a slate, the important first: name -> a text per position, "-" where it is empty."""
    values: dict[str, list[str]] = {}
    catalog, signals = world.catalog, [signal.name for signal in world.market.signals]
    observed = world.market.observe(np.ascontiguousarray(slate[None]), np.array([clock], np.float32))[0]
    items = np.maximum(slate, 0)
    priced = isinstance(world.market, ShopMarket)
    if priced:
        price, discount = (observed[:, signals.index(name)] for name in ("price", "discount"))
        values["price"] = [f"{100 * x:.2f}" for x in price]
        values["discount"] = [f"{-100 * x:.0f}%" if x > 0.005 else "none" for x in discount]
    for f, signal in enumerate(world.market.signals):
        if not signal.visible or (priced and signal.name in ("log_price", "price", "discount")):
            continue
        unit = _age_minutes(world, signal.name)
        values[signal.name] = [_minutes(x * unit) if unit else f"{x:.2f}" for x in observed[:, f]]
    for name in catalog.visible:
        if name not in values:
            values[name] = [f"{x:.2f}" for x in catalog[name][items]]
    kept = list(values.items())[:most]
    return {name: [x if i >= 0 else "-" for x, i in zip(texts, slate, strict=True)] for name, texts in kept}


def _minutes(minutes: float) -> str:
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"


# Words for channels; {x} is the amount of the objective of that name. A channel that is not here goes by its name.
_WORDS = {
    "click": "clicked", "cart": "in cart", "purchase": "bought",
    "dwell": "read {x:.1f} min", "satisfied_click": "satisfied", "share": "shared", "return": "came back",
    "watch": "watched {x:.1f} min", "long_watch": "long visit", "like": "liked", "gift": "gave {x:.2f}",
    "engagement": "engaged {x:.2f}",
}  # fmt: skip


def outcomes(world: World, feedback: Feedback) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What the user did, as channel -> words: for each position of the slate, and beside the slate."""
    channels = feedback.channels
    amounts = dict(zip(world.objectives, feedback.objectives, strict=True))
    positions: list[dict[str, str]] = [{} for _ in feedback.slate]
    beside: dict[str, str] = {}
    for c, name in enumerate(world.response.channels):
        plain = name.replace("_", " ")
        word, total, amount = _WORDS.get(name, plain), float(channels[:, c].sum()), float(amounts.get(name, 0.0))
        # Channels are scaled for the observation; the objective of the same name has the unit.
        measured = "{x" in word
        if measured and name not in amounts:
            word, measured = plain, False
        unit = amount / total if measured and total > 0 and amount > 0 else 1.0
        for s, did in enumerate(positions):
            x = float(channels[s, c])
            if x != 0 and feedback.slate[s] >= 0:
                did[name] = word.format(x=unit * x) if measured or x == 1 else f"{word} {x:.2f}"
        if amount > total and (total == 0 or (name in _WORDS and not measured)):
            rest = amount if measured else amount - total
            beside[name] = word.format(x=rest) + ("" if measured or rest == 1 else f" {number(rest)}")
    return positions, beside


def notes_of(world: World, step: Frame) -> list[str]:
    """What happened beside the slate: the stream on screen, purchases from the cart, a return."""
    feedback, topic = step.feedback, world.catalog.topic
    beside = outcomes(world, feedback)[1]
    notes = []
    if "watched_item" in feedback:
        item = int(feedback.watched_item)
        words = ["nothing, the user browses" if item < 0 else f"item {item} (topic {topic[item]})", *beside.values()]
        if item >= 0 and "watching" in step.after and step.after.watching < 0:
            words.append("then switched off")
        notes.append("on screen: " + ", ".join(words))
    elif "bought" in feedback and (feedback.bought[len(feedback.slate) :] >= 0).any():
        late = [int(item) for item in feedback.bought[len(feedback.slate) :] if item >= 0]
        notes.append("bought from the cart: " + ", ".join(f"item {item}" for item in late))
    elif beside:
        notes.append("beside the slate: " + ", ".join(beside.values()))
    notes += [f"{word} at {time_of_day(step.after.clock)}" for word in turns(world, feedback)]
    return notes


def turns(world: World, feedback: Feedback) -> list[str]:
    """The departure's objectives that happened in a step, such as a return for another session."""
    known = len(world.response.objectives)
    found = zip(world.departure.objectives, feedback.objectives[known:], strict=True)
    return [_WORDS.get(name, name.replace("_", " ")) for name, x in found if x]


def objectives_text(world: World, feedback: Feedback) -> str:
    """The objectives of a step that are not 0, with their amounts."""
    found = [f"{name} {number(x)}" for name, x in zip(world.objectives, feedback.objectives, strict=True) if x]
    return ", ".join(found) or "nothing"


def _scalars(world: World) -> list[str]:
    """Names of the user columns of one number each, without those that hold an item id."""

    def is_item(name: str) -> bool:
        column = world.owned[name]
        return np.issubdtype(column.dtype, np.integer) and column.low == -1 and column.high == len(world.catalog) - 1

    return [name for name, column in world.owned.items() if column.shape == () and not is_item(name)]


def _by_topic(world: World) -> list[str]:
    """Names of the user columns of one number for each topic."""
    T, d = world.sizes.topics, world.sizes.dimensions
    used = getattr(world.preference, "topics", {})  # where T = d, a column with negative values may be a taste
    return [name for name, column in world.owned.items()
            if column.shape == (T,) and column.dtype is np.float32 and (d != T or name in used or column.low >= 0)]  # fmt: skip


def size_text(world: World) -> str:
    """The sizes of a world."""
    return (f"{len(world.catalog):,} items in {world.sizes.topics} topics, slates of {world.slate_size}, "
            f"{world.horizon} steps at most")  # fmt: skip


def reward_text(world: World, reward: Any) -> str:
    """A reward: one number, or one for each objective with its name."""
    if np.ndim(reward) == 0:
        return number(reward, signed=True)
    return ", ".join(f"{name} {number(x, signed=True)}" for name, x in zip(world.objectives, reward, strict=True))


# The state that a person asks for first; the other columns follow in the world's order, flags last.
_FIRST = ("satisfaction", "patience left", "total fatigue", "budget")


class Series(NamedTuple):
    """A quantity over the n steps of a session: its (n + 1,) values, the first before any step, and its range."""

    values: Array
    low: float
    high: float


def _values(session: Session, name: str) -> Array:
    steps = session.steps
    return np.array([steps[0].before[name], *[step.after[name] for step in steps]], np.float64)


def series_of(session: Session) -> dict[str, Series]:
    """The quantities of the user's state over the session, by name."""
    world = session.world
    series: dict[str, Series] = {}
    for name in _scalars(world):
        column, values = world.owned[name], _values(session, name)
        # A bound far from anything that happens would press the line flat.
        low, high = -_bound(-float(column.low), -float(values.min())), _bound(float(column.high), float(values.max()))
        series[name] = Series(values, low, max(high, low + 1e-6) if high > 0 or low < 0 else 1.0)
    for name in _by_topic(world):
        values, share = _values(session, name), world.owned[name].high <= 1  # shares add up to 1: a total says nothing
        values = values.max(axis=1) if share else values.sum(axis=1)
        high, low = float(values.max()), float(values.min())
        label = f"highest {name}" if share else f"total {name}"
        series[label] = Series(values, -round_up(-low) if low < 0 else 0.0, round_up(max(high, 1.0)))
    if "spent" in series and "stamina" in series:  # patience is what is left of the stamina
        stamina, spent = series.pop("stamina").values, series.pop("spent").values
        series["patience left"] = Series(np.maximum(stamina - spent, 0.0), 0.0, float(stamina.max()))
    first = [name for name in _FIRST if name in series]
    other = [name for name in series if name not in first]
    flags = {name for name in other if name in world.owned and world.owned[name].high == 1}
    other.sort(key=lambda name: name in flags and bool(np.isin(series[name].values, (0, 1)).all()))
    return {name: series[name] for name in [*first, *other]}


def _bound(declared: float, seen: float) -> float:
    """Upper end of an axis: the declared bound of a column, or a round number if all that was seen is far below it."""
    near = round_up(seen) if seen > 0 else 0.0
    return max(declared, 0.0) if declared <= max(2 * near, 10.0) else near


def round_up(x: float) -> float:
    """The least of 1, 2, 5, 10, 20, ... (or 0.1, ...) that is at least x > 0."""
    power = 10.0 ** math.floor(math.log10(x))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= x * (1 - 1e-9))
