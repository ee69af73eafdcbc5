"""A user's session as a person sees it: `render` draws the text of "ansi" and the picture of "rgb_array".

Nothing here knows a domain: names come from the World (catalogue, signals, channels, columns), and a world of your
own is drawn like any other. Three small tables (`_WORDS`, `_FIRST`, `_age_minutes`) only word known names better.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from recgym.errors import ConfigError, require, require_option
from recgym.market import LONGEST_STREAM, LiveMarket, NewsMarket
from recgym.types import Array, Feedback, Users
from recgym.world import World

RENDER_MODES = ("ansi", "rgb_array")


class Reasons(NamedTuple):
    """What an agent expects of each choice of one user, and what speaks for and against it.

    `baselines.explain` makes them; anything that values choices can.
    """

    values: Array  # (n,) float; -inf where a choice is not available
    contributions: Array  # (n, G) float, in units of the value; 0 where a choice is not available
    groups: tuple[str, ...]  # G names of groups of features

    def strongest(self, most: int) -> list[int]:
        """The groups whose contributions, and zero, span most over the choices; widest first."""
        strength = self.contributions.max(axis=0, initial=0) - self.contributions.min(axis=0, initial=0)
        return [int(g) for g in np.argsort(-strength, kind="stable")[:most] if strength[g] > 0]

    @property
    def digits(self) -> int:
        """Decimals that show the values and contributions to about three significant digits."""
        values = self.values[np.isfinite(self.values)]
        largest = max(float(np.abs(part).max(initial=0)) for part in (values, self.contributions))
        return min(max(2 - math.floor(math.log10(largest)), 0), 6) if largest > 0 else 2

    def best(self, most: int, always: Sequence[int] = ()) -> list[int]:
        """The available choices of the highest values, best first; `always` those of them that are given."""
        ranked = [int(c) for c in np.argsort(-self.values, kind="stable") if self.values[c] > -np.inf]
        given = {c for c in always if c in ranked}
        free = [c for c in ranked if c not in given][: max(most - len(given), 0)]
        return [c for c in ranked if c in given or c in free]


class Frame(NamedTuple):
    """One step of a batch, for rendering: users before it, its feedback, its reward, users after it."""

    before: Users
    feedback: Feedback
    reward: Array
    after: Users


def render(
    world: World, frames: list[Frame], row: int, mode: str, users: Users | None = None, reasons: Reasons | None = None
) -> Any:
    """Draw the present session of one user.

    Args:
        world: where the frames come from.
        frames: the steps since the last reset, oldest first; an episode that autoreset began in the middle is found.
        row: which user of the batch.
        mode: "ansi" or "rgb_array".
        users: as they are now, for sessions without a step yet.
        reasons: what an agent expected of the user's choices before the last step or, where the session has none yet,
            expects now. The text gets a table of the best of them, the picture a panel in place of the user's state;
            a user whose session had ended before the last step ("Disabled") had no choice, and gets neither.

    Returns:
        "ansi": text of several lines, the last without a line break. "rgb_array": (700, 1200, 3) uint8.
        Both show the last step of the user's episode. Where an episode has just ended, in any autoreset mode, they
        show its end; in "SameStep" the hidden state drawn is then the one before the last step, as the one after
        it has been replaced by the next user's. Without a step yet they say so.

    Raises:
        ConfigError: an unknown mode, reasons of another number of choices, or matplotlib is missing.
    """
    require_option("render_mode", mode, RENDER_MODES)
    session = _session(world, frames, row)
    if users is not None and session.user is None:
        session = session._replace(user=users.rows(row))
    over = session.ended and not (session.steps and _moved(world, frames, len(frames) - 1, row))
    if reasons is not None and session.user is not None and not over:
        session = session._replace(choices=_choices(session, reasons))
    return _text(session) if mode == "ansi" else _picture(session)


# What is shown, whatever the mode.


class _Session(NamedTuple):
    """The steps of one user's episode; every array of a Frame has lost its batch axis."""

    world: World
    steps: list[Frame]
    user: Users | None  # as of now; None where no step was ever recorded
    rewards: Array  # (n,) float64; vector rewards are weighted as the world weighs them
    ended: str  # why the episode is over, or ""
    choices: _Choices | None = None  # what an agent expected of them


class _Choices(NamedTuple):
    """The choices that a table of reasons has room for, best first."""

    reasons: Reasons
    shown: list[int]  # R choices
    items: list[int]  # (R,) item ids; -1 = recommending nothing
    places: list[int | None]  # (R,) position in the slate
    groups: list[int]  # those with a column; the others' contributions are one "other" column


def _choices(session: _Session, reasons: Reasons, most: int = 12, most_groups: int = 5) -> _Choices:
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
    places = [slate.index(i) if i in slate and (i >= 0 or max(slate) < 0) else None for i in (items[c] for c in shown)]
    return _Choices(reasons, shown, [items[c] for c in shown], places, reasons.strongest(most_groups))


def _session(world: World, frames: list[Frame], row: int) -> _Session:
    last = len(frames) - 1
    if last >= 0 and frames[last].after.t[row] > 0:  # "Disabled": a user who is done pauses until the reset
        while last > 0 and not _moved(world, frames, last, row):
            last -= 1
    steps: list[Frame] = []
    for i in range(last, -1, -1):
        if not _moved(world, frames, i, row) or not _same_episode(frames[i].before, frames[last].before, row):
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
    return _Session(world, steps, user, np.array([_scalar_reward(world, step) for step in steps], np.float64), ended)


def _same_episode(users: Users, others: Users, row: int) -> bool:
    return bool(users.key[row] == others.key[row] and users.episode[row] == others.episode[row])


def _moved(world: World, frames: list[Frame], i: int, row: int) -> bool:
    """Whether the user took a step in frame i; pauses ("Disabled") and bare resets ("NextStep") are none."""
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


def _time(clock: Any) -> str:
    minutes = int(clock)
    return f"day {minutes // 1440 + 1}, {minutes // 60 % 24:02d}:{minutes % 60:02d}"


def _number(value: Any, signed: bool = False) -> str:
    """Two decimals, fewer for large and for whole numbers."""
    value = round(float(value), 2) + 0.0  # no minus zero
    digits = 0 if abs(value) >= 1000 or (value == round(value) and not signed) else 2
    return f"{value:{'+' if signed else ''}.{digits}f}"


def _age_minutes(world: World, signal: str) -> float:
    """Minutes that one unit of a signal stands for; 0 where it is no time."""
    market = world.market
    if signal == "age" and isinstance(market, NewsMarket):
        return market.popularity.shape[1] * market.slot
    return LONGEST_STREAM if signal == "age" and isinstance(market, LiveMarket) else 0.0


def _properties(world: World, slate: Array, clock: Any, most: int = 8) -> dict[str, list[str]]:
    """What is known of the items of a slate: name -> a text a position, "-" where it is empty; what matters first."""
    values: dict[str, list[str]] = {}
    catalog, signals = world.catalog, [signal.name for signal in world.market.signals]
    observed = world.market.observe(np.ascontiguousarray(slate[None]), np.array([clock], np.float32))[0]
    items = np.maximum(slate, 0)
    priced = "price" in catalog.names
    if priced:
        price = catalog["price"][items]
        if "discount" in signals:
            discount = observed[:, signals.index("discount")]
            price = price * (1 - discount)
            values["discount"] = [f"{-100 * x:.0f}%" if x > 0.005 else "none" for x in discount]
        values = {"price": [f"{x:.2f}" for x in price], **values}
    for f, signal in enumerate(world.market.signals):
        if not signal.visible or (priced and signal.name in ("log_price", "discount")):
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


# How channels read; {x} is the amount of the objective of that name. A channel that is not here goes by its name.
_WORDS = {
    "click": "clicked", "cart": "in cart", "purchase": "bought",
    "dwell": "read {x:.1f} min", "satisfied_click": "satisfied", "share": "shared", "return": "came back",
    "watch": "watched {x:.1f} min", "long_watch": "long visit", "like": "liked", "gift": "gave {x:.2f}",
    "engagement": "engaged {x:.2f}",
}  # fmt: skip


def _outcomes(world: World, feedback: Feedback) -> tuple[list[dict[str, str]], dict[str, str]]:
    """What the user did: channel -> words for each position of the slate, and for what happened beside the slate."""
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
            beside[name] = word.format(x=rest) + ("" if measured or rest == 1 else f" {_number(rest)}")
    return positions, beside


def _notes(world: World, step: Frame) -> list[str]:
    """What happened beside the slate: the stream on screen, purchases from the cart, a return."""
    feedback, topic = step.feedback, world.catalog.topic
    beside = _outcomes(world, feedback)[1]
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
    notes += [f"{word} at {_time(step.after.clock)}" for word in _turns(world, feedback)]
    return notes


def _turns(world: World, feedback: Feedback) -> list[str]:
    """Objectives of the departure that came about, such as a return for another session."""
    known = len(world.response.objectives)
    found = zip(world.departure.objectives, feedback.objectives[known:], strict=True)
    return [_WORDS.get(name, name.replace("_", " ")) for name, x in found if x]


def _objectives(world: World, feedback: Feedback) -> str:
    found = [f"{name} {_number(x)}" for name, x in zip(world.objectives, feedback.objectives, strict=True) if x]
    return ", ".join(found) or "nothing"


def _scalars(world: World) -> list[str]:
    """User columns of one number each, but for those that hold an item id."""

    def is_item(name: str) -> bool:
        column = world.owned[name]
        return np.issubdtype(column.dtype, np.integer) and column.low == -1 and column.high == len(world.catalog) - 1

    return [name for name, column in world.owned.items() if column.shape == () and not is_item(name)]


def _by_topic(world: World) -> list[str]:
    """User columns of one number a topic."""
    T, d = world.sizes.topics, world.sizes.dimensions
    used = getattr(world.preference, "topics", {})  # where T = d, a column with negative values may be a taste
    return [name for name, column in world.owned.items()
            if column.shape == (T,) and column.dtype is np.float32 and (d != T or name in used or column.low >= 0)]  # fmt: skip


def _size(world: World) -> str:
    return (f"{len(world.catalog):,} items in {world.sizes.topics} topics, slates of {world.slate_size}, "
            f"{world.horizon} steps at most")  # fmt: skip


def _reward(world: World, reward: Any) -> str:
    """A scalar, or a number an objective."""
    if np.ndim(reward) == 0:
        return _number(reward, signed=True)
    return ", ".join(f"{name} {_number(x, signed=True)}" for name, x in zip(world.objectives, reward, strict=True))


def _text(session: _Session) -> str:
    world, steps, user = session.world, session.steps, session.user
    if not steps:
        text = f"No step yet: {_size(world)}."
        text = text if user is None else f"{text} It is {_time(user.clock)}. {session.ended}".rstrip()
        return "\n".join([text, *_reasons_text(session)])
    assert user is not None
    step = steps[-1]
    feedback, slate = step.feedback, step.feedback.slate
    did = [", ".join(words.values()) or "ignored" for words in _outcomes(world, feedback)[0]]
    shown = [int(item) for item in slate]
    table = {
        "#": [str(s + 1) for s in range(len(shown))],
        "item": [str(i) if i >= 0 else "-" for i in shown],
        "topic": [str(world.catalog.topic[i]) if i >= 0 else "-" for i in shown],
        **_properties(world, slate, step.before.clock),
        "P(click)": [f"{p:.3f}" if i >= 0 else "-" for i, p in zip(shown, feedback.probability, strict=True)],
    }
    head, *body = _columns(table)
    lines = [f"Step {user.t}/{world.horizon}, {_time(user.clock)}", f"{head}  user"]
    lines += [
        f"{cells}  {words if i >= 0 else 'nothing shown'}" for cells, words, i in zip(body, did, shown, strict=True)
    ]
    state = [f"{name.replace('_', ' ')} {_number(series.values[-1])}" for name, series in _series(session).items()]
    lines += [f"{note[0].upper()}{note[1:]}" for note in _notes(world, step)]
    lines.append(f"User        {', '.join(state) or 'no state of its own'}")
    lines.append(f"Objectives  {_objectives(world, feedback)}")
    since = f" since step {steps[0].after.t}" if steps[0].before.t > 0 else ""
    lines.append(f"Reward      {_reward(world, step.reward)}")
    lines.append(f"Return      {_reward(world, np.sum([s.reward for s in steps], axis=0))}{since}")
    lines += _reasons_text(session)
    return "\n".join([*lines, session.ended] if session.ended else lines)


def _columns(table: dict[str, list[str]]) -> list[str]:
    """Lines of a table, its headings first, flush right."""
    widths = {name: max(len(name), *map(len, column)) for name, column in table.items()}
    rows = zip(*[[name, *column] for name, column in table.items()], strict=True)
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths.values(), strict=True)) for row in rows]


def _reasons_text(session: _Session) -> list[str]:
    choices = session.choices
    if choices is None or not choices.shown:
        return []
    reasons, items = choices.reasons, choices.items
    part = reasons.contributions[choices.shown]
    other, digits = part.sum(axis=1) - part[:, choices.groups].sum(axis=1), reasons.digits
    table = {
        "shown": ["-" if place is None else str(place + 1) for place in choices.places],
        "item": [str(item) if item >= 0 else "nothing" for item in items],
        "topic": [str(session.world.catalog.topic[item]) if item >= 0 else "-" for item in items],
        "value": [f"{reasons.values[c]:.{digits}f}" for c in choices.shown],
        **{reasons.groups[g]: [f"{x:+.{digits}f}" for x in part[:, g]] for g in choices.groups},
    }
    if len(choices.groups) < len(reasons.groups):
        table["other"] = [f"{x:+.{digits}f}" for x in other]
    n = int(np.isfinite(reasons.values).sum())
    title = f"The agent's values of {n} choices" + (f", the best {len(items)}" if len(items) < n else "")
    return [f"{title}, and what speaks for and against each:", *_columns(table)]


# The picture. Lengths are pixels, y runs downwards; font sizes are points.

WIDTH, HEIGHT, DPI = 1200, 700, 100
INK, MUTED, PALE, LINE, PAPER, WHITE = "#1f2430", "#667080", "#c8cedb", "#d3d8e0", "#f3f4f7", "#ffffff"
# Colours that differ under colour-blindness too: Okabe and Ito 2008; topics: Tol 2021, "muted", and one more.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
TOPICS = ("#332288", "#ddcc77", "#117733", "#88ccee", "#882255",
          "#44aa99", "#cc6677", "#999933", "#aa4499", "#dd9955")  # fmt: skip
BADGES = {"click": BLUE, "cart": ORANGE, "purchase": GREEN, "dwell": SKY, "watch": SKY, "satisfied_click": GREEN,
          "long_watch": GREEN, "share": PURPLE, "like": PURPLE, "gift": RED}  # fmt: skip
MOST_CARDS = 15
MOST_SERIES = 6
NARROW, WIDE = frozenset("iljtfrI.,:;' -()"), frozenset("mwMW%+@")

Colour = str | tuple[float, float, float]


def _rgb(colour: Colour) -> tuple[float, ...]:
    return tuple(int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)) if isinstance(colour, str) else colour


def _mix(colour: Colour, other: Colour, share: float) -> tuple[float, float, float]:
    """`share` of the way from one colour to another."""
    r, g, b = ((1 - share) * x + share * y for x, y in zip(_rgb(colour), _rgb(other), strict=True))
    return r, g, b


def _topic_colour(topic: int) -> tuple[float, float, float]:
    """Ten hues, then their tints, then their shades; no colour stands without the number of the topic."""
    turn = topic // len(TOPICS) % 3
    return _mix(TOPICS[topic % len(TOPICS)], (WHITE, WHITE, "#000000")[turn], (0.0, 0.45, 0.4)[turn])


def _on(colour: Colour) -> str:
    """Ink that can be read on a colour."""
    r, g, b = _rgb(colour)
    return INK if 0.299 * r + 0.587 * g + 0.114 * b > 0.55 else WHITE


def _width(text: str, size: float) -> float:
    """About how wide a text is; measuring it would cost more than drawing it."""
    return sum(0.36 if c in NARROW else 0.9 if c in WIDE else 0.63 for c in text) * size * DPI / 72


def _fit(text: str, width: float, size: float) -> str:
    """The text, cut to a width."""
    if _width(text, size) <= width:
        return text
    while len(text) > 1 and _width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


class _Pen:
    """Draws on a figure in pixels. Plain artists, no axes: those cost most of the time that a frame may take."""

    def __init__(self, figure: Any) -> None:
        from matplotlib.collections import PolyCollection
        from matplotlib.lines import Line2D
        from matplotlib.patches import FancyBboxPatch, Polygon
        from matplotlib.transforms import Affine2D

        self.figure, self.pixels = figure, Affine2D().scale(1, -1).translate(0, HEIGHT)
        self._cells, self._line, self._box, self._polygon = PolyCollection, Line2D, FancyBboxPatch, Polygon
        self._order = 0

    def _add(self, artist: Any) -> None:
        self._order += 1  # later is above
        artist.set(transform=self.pixels, zorder=self._order)
        self.figure.add_artist(artist)

    def text(self, x: float, y: float, text: str, size: float = 9, colour: Colour = INK, **options: Any) -> None:
        """A line of text, centred on y; `ha` says which of its points x is."""
        self._order += 1
        self.figure.text(x, y, text, size=size, color=colour, transform=self.pixels, zorder=self._order, va="center",
                         family="DejaVu Sans", parse_math=False, usetex=False, **options)  # fmt: skip

    def box(
        self, x: float, y: float, w: float, h: float, fill: Any, edge: Any = "none", rounding: float = 0, **options: Any
    ) -> None:
        """A rectangle, its corners round or not."""
        style = f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0"
        self._add(self._box((x, y), w, h, boxstyle=style, facecolor=fill, edgecolor=edge, **options))

    def line(self, points: Array, colour: Colour, width: float = 1.8, **options: Any) -> None:
        """Through (n, 2) points."""
        self._add(self._line(points[:, 0], points[:, 1], color=colour, linewidth=width, **options))

    def area(self, points: Array, colour: Colour, alpha: float) -> None:
        """Inside (n, 2) points."""
        self._add(self._polygon(points, closed=True, facecolor=colour, alpha=alpha, linewidth=0))

    def cells(self, corners: Array, colours: Any) -> None:
        """Rectangles (n, 4) left, top, right, bottom, with one colour or n."""
        x0, y0, x1, y1 = corners.T
        vertices: Any = np.stack([x0, y0, x1, y0, x1, y1, x0, y1], axis=1).reshape(-1, 4, 2)
        self._add(self._cells(vertices, facecolors=colours, edgecolors="none", antialiaseds=False))


class _Plot(NamedTuple):
    """A rectangle of the picture and the data it shows."""

    x: float
    y: float
    w: float
    h: float
    left: float
    right: float
    low: float
    high: float

    def at(self, x: Any, y: Any) -> Array:
        """(n, 2) pixels of data points."""
        x, y = np.broadcast_arrays(np.asarray(x, np.float64), np.asarray(y, np.float64))
        across = self.x + self.w * (x - self.left) / (self.right - self.left)
        down = self.y + self.h * (self.high - y) / (self.high - self.low)
        return np.stack([across, down], axis=-1).reshape(-1, 2)

    def frame(self, pen: _Pen) -> None:
        pen.box(self.x, self.y, self.w, self.h, WHITE, LINE)

    def steps(self, pen: _Pen) -> None:
        """Label the axis of steps."""
        marks = _round_numbers(self.left, self.right, min(12, int(self.w / 36)), whole=True)
        for (x, y), k in zip(self.at(marks, self.low), marks, strict=True):
            pen.text(x, y + 9, f"{k:.0f}", 8, MUTED, ha="center")
        pen.text(self.x + self.w / 2, self.y + self.h + 24, "step", 9, MUTED, ha="center")

    def values(self, pen: _Pen, name: str, colour: Colour, right: bool = False) -> None:
        """Label the axis of values."""
        marks = _round_numbers(self.low, self.high, 5)
        x, side, away = (self.x + self.w + 6, "left", 44) if right else (self.x - 6, "right", -38)
        for (_, y), value in zip(self.at(self.left, marks), marks, strict=True):
            pen.text(x, y, f"{value:g}", 8, MUTED, ha=side)
            if not right:
                pen.line(np.array([[self.x, y], [self.x + self.w, y]]), LINE, 0.7)
        pen.text(x + away, self.y + self.h / 2, name, 9, colour, ha="center", rotation=90)


def _round_up(x: float) -> float:
    """The least of 1, 2, 5, 10, 20, ... (or 0.1, ...) that is at least x > 0."""
    power = 10.0 ** math.floor(math.log10(x))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= x * (1 - 1e-9))


def _round_numbers(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers in [low, high], evenly apart, about `most` at most."""
    apart = _round_up((high - low) / most)
    apart = max(apart, 1.0) if whole else apart
    return [k * apart for k in range(math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9) + 1)]


def _picture(session: _Session) -> np.ndarray:
    """Header; below it the slate as cards and the user's state over time; below these the session, step by step."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError('render_mode: "rgb_array" needs matplotlib: pip install "recgym[bench]"') from None
    figure = Figure((WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor=PAPER)
    canvas = FigureCanvasAgg(figure)
    pen = _Pen(figure)
    S = session.world.slate_size
    columns = S if S <= 5 else min(math.ceil(S / 2), 5)
    slate = min(max(columns * 134, 320), 670)
    _header(pen, session)
    _slate(pen, session, 20, 108, slate, 302, columns)
    right = _state if session.choices is None else _reasons
    right(pen, session, slate + 50, 108, WIDTH - slate - 70, 302)
    _timeline(pen, session, 76, 450, WIDTH - 76 - 70, 210)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[:, :, :3].copy()


def _header(pen: _Pen, session: _Session) -> None:
    world, steps, user, rewards = session.world, session.steps, session.user, session.rewards
    pen.box(0, 0, WIDTH, 46, INK)
    t = 0 if user is None else int(user.t)
    title = f"Step {t} of {world.horizon}" if t else "A new session"
    pen.text(20, 23, title, 15, WHITE, weight="bold")
    x = max(60 + _width(title, 16.5), 250)
    if user is not None:
        pen.text(x, 23, _time(user.clock), 12, PALE)
    if session.ended:
        left = session.ended == "The user left."
        pen.box(x + 180, 10, 170, 26, RED if left else BLUE, rounding=13)
        pen.text(x + 265, 23, "the user left" if left else "horizon reached", 11, WHITE, ha="center", weight="bold")
    if steps:
        since = f" since step {steps[0].after.t}" if steps[0].before.t > 0 else ""
        total = f"return{since} {_number(rewards.sum(), signed=True)}"
        pen.text(1180, 23, total, 13, WHITE, ha="right", weight="bold")
        pen.text(1130 - _width(total, 13.5), 23, f"reward {_number(rewards[-1], signed=True)}", 12, PALE, ha="right")
        notes = [f"This step: {_objectives(world, steps[-1].feedback)}", *_notes(world, steps[-1])]
        line = "   ·   ".join(notes)
    else:
        line = f"No step yet: {_size(world)}."
    pen.text(20, 66, _fit(line, WIDTH - 40, 10), 10)


def _heading(pen: _Pen, x: float, y: float, text: str) -> None:
    pen.text(x, y - 14, text, 10.5, MUTED, weight="bold")


def _slate(pen: _Pen, session: _Session, x: float, y: float, w: float, h: float, columns: int) -> None:
    world, S = session.world, session.world.slate_size
    _heading(pen, x, y, f"Latest slate, first {MOST_CARDS} of {S} positions" if S > MOST_CARDS else "Latest slate")
    n, gap = min(S, MOST_CARDS), 8.0
    rows = math.ceil(n / columns)
    width, height = (w - gap * (columns - 1)) / columns, (h - gap * (rows - 1)) / rows
    step = session.steps[-1] if session.steps else None
    did = _outcomes(world, step.feedback)[0] if step else []
    properties = _properties(world, step.feedback.slate, step.before.clock) if step else {}
    badges = max((len(words) for words in did), default=0)
    for s in range(n):
        left, top = x + s % columns * (width + gap), y + s // columns * (height + gap)
        if step is None or step.feedback.slate[s] < 0:
            pen.box(left, top, width, height, "none", "#b5bcc8", 8, linestyle=(0, (4, 4)))
            text = "nothing shown" if step else "nothing yet"
            pen.text(left + width / 2, top + height / 2, _fit(text, width, 9), 9, MUTED, ha="center")
        else:
            facts = {name.replace("_", " "): texts[s] for name, texts in properties.items()}
            card = _Card(world, s, int(step.feedback.slate[s]), facts, float(step.feedback.probability[s]), did[s])
            _draw_card(pen, card, left, top, width, height, max(badges, 1))


class _Card(NamedTuple):
    """An item in its position of the slate."""

    world: World
    position: int
    item: int
    facts: dict[str, str]
    probability: float
    did: dict[str, str]  # channel -> words


def _draw_card(pen: _Pen, card: _Card, x: float, y: float, w: float, h: float, most_badges: int) -> None:
    """From the top: topic, thumbnail, item, facts, click probability; at the bottom badges of what the user did.

    Small cards lose the thumbnail first, then facts, then badges. `most_badges` of any card in the slate keeps the
    cards of a slate alike.
    """
    size = 11.5 if w > 250 else 9.0 if h > 200 else 8.5 if h > 120 else 7.5
    line, pad, stripe, badge = 2.0 * size, 0.8 * size, 2.3 * size, 2.3 * size
    topic = int(card.world.catalog.topic[card.item])
    colour = _topic_colour(topic)
    pen.box(x, y, w, h, colour, rounding=8)
    pen.box(x + 1, y + stripe, w - 2, h - stripe - 1, WHITE, rounding=7)
    pen.box(x, y, w, h, "none", INK if card.did else LINE, 8, linewidth=2.0 if card.did else 1.0)
    pen.text(x + pad, y + stripe / 2, f"topic {topic}", size, _on(colour), weight="bold")
    pen.text(x + w - pad, y + stripe / 2, str(card.position + 1), size, _on(colour), ha="right")
    inner = w - 2 * pad
    spare = h - stripe - 2.6 * line - 0.8 * pad  # beside name, probability and its bar
    n_badges = min(most_badges, max(int((spare - 0.2 * line) / badge), 1))
    spare -= n_badges * badge
    facts = list(card.facts.items())[: max(int(spare / line), 0)]
    spare -= len(facts) * line
    at = y + stripe
    if spare > 40:
        height = min(spare - 0.5 * line, 110.0)
        _thumbnail(pen, card, x + pad, at + 0.45 * line, inner, height, colour)
        at += height + 0.45 * line
    at += 0.75 * line
    pen.text(x + pad, at, _fit(f"item {card.item}", inner, size + 1.5), size + 1.5, weight="bold")
    for name, value in [*facts, ("P(click)", f"{100 * card.probability:.1f}%")]:
        at += line
        small = size if _width(name + value, size) < inner - 4 else 0.86 * size
        pen.text(x + pad, at, _fit(name, inner - _width(value, size) - 2, small), small, MUTED)
        pen.text(x + w - pad, at, value, size, ha="right")
    at += 0.6 * line
    pen.box(x + pad, at - size / 4, inner, size / 2, "#e6e9ef")
    pen.box(x + pad, at - size / 4, inner * min(max(card.probability, 0.0), 1.0), size / 2, BLUE)
    did = list(card.did.items())[-n_badges:] or [("", "ignored")]
    for k, (name, words) in enumerate(reversed(did)):
        fill = BADGES.get(name, BLUE) if name else "#e6e9ef"
        top = y + h - 0.8 * pad - (k + 1) * badge + 3
        pen.box(x + pad, top, inner, badge - 3, fill, rounding=badge / 2 - 2)
        small = size if _width(words, 1.1 * size) < inner - 8 else 0.86 * size  # bold is a tenth wider
        ink, weight = (_on(fill), "bold") if name else (MUTED, "normal")
        words = _fit(words, inner - 8, 1.1 * small)
        pen.text(x + w / 2, top + badge / 2 - 1.5, words, small, ink, ha="center", weight=weight)


def _thumbnail(pen: _Pen, card: _Card, x: float, y: float, w: float, h: float, colour: Colour) -> None:
    """The embedding as a mosaic in the topic's colour: items alike look alike."""
    values = card.world.catalog.embedding[card.item][:64].astype(np.float64)
    values /= max(float(np.abs(values).max()), 1e-9)
    n = len(values)
    square = math.sqrt(n * w / h)  # columns that would make square tiles; those that fill the rows look better
    columns = min((c for c in range(1, n + 1) if n % c == 0), key=lambda c: abs(math.log(c / square)))
    rows = n // columns
    r, c = np.divmod(np.arange(n), columns)
    wide, high = w / columns, h / rows
    corners = np.stack([x + wide * c, y + high * r, x + wide * (c + 1), y + high * (r + 1)], axis=1)
    pen.cells(np.round(corners), [_mix(colour, WHITE, 0.5 - 0.45 * v) for v in values])


# State that a person asks for first; the other columns follow in the world's order, flags last.
_FIRST = ("satisfaction", "patience left", "total fatigue", "budget")


class _Series(NamedTuple):
    """A quantity over the steps of a session: (n + 1,) values, from before the first step on, and its range."""

    values: Array
    low: float
    high: float


def _history(session: _Session, name: str) -> Array:
    steps = session.steps
    return np.array([steps[0].before[name], *[step.after[name] for step in steps]], np.float64)


def _series(session: _Session) -> dict[str, _Series]:
    world = session.world
    series: dict[str, _Series] = {}
    for name in _scalars(world):
        column, values = world.owned[name], _history(session, name)
        # A bound far from anything that happens would press the line flat.
        low, high = -_bound(-float(column.low), -float(values.min())), _bound(float(column.high), float(values.max()))
        series[name] = _Series(values, low, max(high, low + 1e-6) if high > 0 or low < 0 else 1.0)
    for name in _by_topic(world):
        values, share = _history(session, name), world.owned[name].high <= 1  # shares add up to 1: a total says nothing
        values = values.max(axis=1) if share else values.sum(axis=1)
        high, low = float(values.max()), float(values.min())
        label = f"highest {name}" if share else f"total {name}"
        series[label] = _Series(values, -_round_up(-low) if low < 0 else 0.0, _round_up(max(high, 1.0)))
    if "spent" in series and "stamina" in series:  # patience is what is left of the stamina
        stamina, spent = series.pop("stamina").values, series.pop("spent").values
        series["patience left"] = _Series(np.maximum(stamina - spent, 0.0), 0.0, float(stamina.max()))
    first = [name for name in _FIRST if name in series]
    other = [name for name in series if name not in first]
    flags = {name for name in other if name in world.owned and world.owned[name].high == 1}
    other.sort(key=lambda name: name in flags and bool(np.isin(series[name].values, (0, 1)).all()))
    return {name: series[name] for name in [*first, *other]}


def _bound(declared: float, seen: float) -> float:
    """Upper end of an axis: what the column declares, or a round number if that is much more than was seen."""
    near = _round_up(seen) if seen > 0 else 0.0
    return max(declared, 0.0) if declared <= max(2 * near, 10.0) else near


def _span(session: _Session) -> tuple[int, int]:
    """First and last step on the time axes: the end jumps ahead now and then, so that films do not wobble."""
    first = int(session.steps[0].before.t) if session.steps else 0
    n = len(session.steps)
    return first, max(min(first + int(_round_up(max(n, 20))), session.world.horizon), first + n, first + 1)


def _state(pen: _Pen, session: _Session, x: float, y: float, w: float, h: float) -> None:
    _heading(pen, x, y, "The user's state")
    series = list(_series(session).items())[:MOST_SERIES] if session.steps else []
    first, limit = _span(session)
    label, value, room = 112, 56, h - 34
    whole = _Plot(x + label, y, w - label - value, room, first, limit, 0.0, 1.0)
    whole.frame(pen)
    whole.steps(pen)
    if not series:
        text = "this world keeps no state of the user" if session.steps else "no step yet"
        pen.text(whole.x + whole.w / 2, y + room / 2, text, 10, MUTED, ha="center")
    lane = room / max(len(series), 1)
    for k, (name, (values, low, high)) in enumerate(series):
        colour = (BLUE, RED, GREEN, ORANGE, PURPLE, SKY)[k]
        plot = whole._replace(y=y + (k + 0.1) * lane, h=0.8 * lane, low=low, high=high)
        steps = first + np.arange(len(values))
        curve = plot.at(steps, np.clip(values, low, high))
        zero = plot.at(steps[[-1, 0]], min(max(0.0, low), high))
        if k:
            pen.line(np.array([[whole.x, y + k * lane], [whole.x + whole.w, y + k * lane]]), LINE, 0.8)
        pen.area(np.concatenate([curve, zero]), colour, 0.15)
        pen.line(curve, colour)
        pen.line(curve[-1:], colour, marker="o", markersize=5)
        middle = y + (k + 0.5) * lane
        pen.text(x, middle - 7, _fit(name.replace("_", " "), label - 4, 9), 9)
        pen.text(x, middle + 8, f"{_number(low)} to {_number(high)}", 7.5, MUTED)
        pen.text(x + w, middle, _number(values[-1]), 10, colour, ha="right", weight="bold")


def _reasons(pen: _Pen, session: _Session, x: float, y: float, w: float, h: float) -> None:
    """A line a choice: its place in the slate, its item, contributions as bars from a common zero, its value."""
    assert session.choices is not None
    reasons, shown, items, places, groups = session.choices
    _heading(pen, x, y, "What the agent expects of the choices, and why")
    part = reasons.contributions[shown]
    bars = np.column_stack([part[:, groups], part.sum(axis=1) - part[:, groups].sum(axis=1)])
    names = [*(reasons.groups[g].replace("_", " ") for g in groups), "other"]
    colours: list[Colour] = [*(BLUE, ORANGE, GREEN, RED, PURPLE)[: len(groups)], "#9aa3b2"]
    low, high = (float(side.sum(axis=1).max(initial=0)) for side in (np.maximum(-bars, 0), np.maximum(bars, 0)))
    label, number, foot = 122.0, 62.0, 56.0
    plot = _Plot(x + label, y, w - label - number, h - foot, -1.06 * max(low, 1e-9), 1.06 * max(high, 1e-9),
                 max(len(shown), 6), 0)  # fmt: skip
    pen.box(plot.x, plot.y, plot.w, plot.h, WHITE)
    pen.text(x + w, y - 14, "value", 9, MUTED, ha="right")
    for r, (item, place, c) in enumerate(zip(items, places, shown, strict=True)):
        (_, top), (_, middle), (_, bottom) = plot.at(0, [r, r + 0.5, r + 1])
        if place is not None:
            pen.box(x, top + 1, w, bottom - top - 2, "#e3e8f4", rounding=4)
            pen.box(x + 3, middle - 7, 17, 14, INK, rounding=6)
            pen.text(x + 11.5, middle, str(place + 1), 7.5, WHITE, ha="center", weight="bold")
        if item >= 0:
            colour = _topic_colour(int(session.world.catalog.topic[item]))
            pen.box(x + 26, middle - 6, 12, 12, colour)
        pen.text(x + 44, middle, _fit(f"item {item}" if item >= 0 else "nothing", label - 48, 9), 9,
                 weight="normal" if place is None else "bold")  # fmt: skip
        pen.text(
            x + w,
            middle,
            f"{reasons.values[c]:.{reasons.digits}f}",
            9,
            ha="right",
            weight="normal" if place is None else "bold",
        )
        ends = [np.cumsum(np.maximum(side, 0)) for side in (bars[r], -bars[r])]
        for k, size in enumerate(bars[r]):
            end = ends[0][k] if size > 0 else -ends[1][k]
            corners = np.concatenate(
                [plot.at(min(end, end - size), r + 0.18)[0], plot.at(max(end, end - size), r + 0.82)[0]]
            )
            pen.cells(corners[None], colours[k])
        pen.line(plot.at(bars[r].sum(), r + 0.5), INK, 0, marker="D", markersize=4, markeredgecolor=WHITE)
    for mark in _round_numbers(plot.left, plot.right, 5):
        (above, below) = plot.at(mark, [plot.high, plot.low])
        pen.line(np.array([above, below]), INK if mark == 0 else MUTED, 0.9 if mark == 0 else 0.4)
        pen.text(below[0], below[1] + 9, f"{mark:+g}" if mark else "average", 8, MUTED, ha="center")
    at, line = plot.x, y + h - foot + 28
    for k, (name, colour) in enumerate(zip([*names, "sum"], [*colours, INK], strict=True)):
        width = 17 + _width(name, 8)
        if at + width > x + w:
            at, line = plot.x, line + 17
        if k == len(names):
            pen.line(np.array([[at + 6, line]]), colour, 0, marker="D", markersize=4, markeredgecolor=WHITE)
        else:
            pen.box(at, line - 6, 12, 12, colour)
        pen.text(at + 17, line, name, 8, MUTED)
        at += width + 8


def _timeline(pen: _Pen, session: _Session, x: float, y: float, w: float, h: float) -> None:
    world, steps, rewards = session.world, session.steps, session.rewards
    first, limit = _span(session)
    S, streams = world.slate_size, "watching" in world.owned
    rows = S + streams
    strip = min(28.0 * rows, 90.0)
    _heading(pen, 20, y, "The session: topics shown (dots: clicked)")
    _topic_legend(pen, session, x + w, y - 14)
    shown = _Plot(x, y, w, strip, first + 0.5, limit + 0.5, rows, 0)
    shown.frame(pen)
    cells, colours, dots = [], [], []
    for k, step in enumerate(steps):
        items = list(step.feedback.slate)
        if streams and "watched_item" in step.feedback:
            items.append(step.feedback.watched_item)
        for s, item in enumerate(items):
            if item >= 0:
                clicked = s == S or bool(step.feedback.click[s])
                cells.append((first + 0.5 + k, s, first + 1.5 + k, s + 1))
                colours.append(_mix(_topic_colour(int(world.catalog.topic[item])), WHITE, 0.0 if clicked else 0.35))
                if clicked and s < S:
                    dots.append((first + 1 + k, s + 0.5))
    if cells:
        corners = np.array(cells, np.float64)
        pen.cells(np.round(np.concatenate([shown.at(*corners[:, :2].T), shown.at(*corners[:, 2:].T)], axis=1)), colours)
    if streams:
        pen.line(shown.at([first + 0.5, limit + 0.5], S), INK, 0.8)
        pen.text(x - 6, float(shown.at(0, S + 0.5)[0, 1]), "screen", 8, MUTED, ha="right")
    if dots:
        rim = dict(markeredgecolor=INK, markeredgewidth=0.9)
        pen.line(shown.at(*np.array(dots).T), WHITE, 0, marker="o", markersize=4, **rim)
    apart = math.ceil(rows * 11 / strip)
    for s in range(0, S - (apart - 1) * streams, apart):
        pen.text(x - 6, float(shown.at(0, s + 0.5)[0, 1]), str(s + 1), 8, MUTED, ha="right")
    pen.text(x - 46, float(shown.at(0, S / 2)[0, 1]), "position" if S > 1 else "", 9, MUTED, ha="center", rotation=90)
    top, returns = y + strip + 10, np.cumsum(rewards)
    below = shown._replace(y=top, h=h - strip - 10)
    paid, total = (below._replace(low=low, high=high) for low, high in (_limits(rewards), _limits(returns)))
    paid.frame(pen)
    paid.steps(pen)
    paid.values(pen, "reward", BLUE)
    total.values(pen, "return", RED, right=True)
    if len(rewards):
        k = first + 1 + np.arange(len(rewards))
        corners = paid.at(k - 0.42, np.maximum(rewards, 0)), paid.at(k + 0.42, np.minimum(rewards, 0))
        pen.cells(np.concatenate(corners, axis=1), [_mix(BLUE if r >= 0 else ORANGE, WHITE, 0.25) for r in rewards])
        pen.line(total.at(np.concatenate([[first + 0.5], k]), np.concatenate([[0.0], returns])), RED)
    written = 0.0  # where the last label ends
    for k, step in enumerate(steps):
        for word in _turns(world, step.feedback):
            mark = float(paid.at(first + 1.5 + k, 0)[0, 0])
            pen.line(np.array([[mark, y], [mark, y + h]]), INK, 1.0, linestyle=(0, (2, 2)))
            if mark > written and mark + _width(word, 7.5) + 4 < x + w:
                pen.text(mark + 4, top + 8, word, 7.5)
                written = mark + _width(word, 7.5) + 8


def _limits(values: Array) -> tuple[float, float]:
    """Range of an axis that shows these values and zero."""
    low, high = min(values.min(initial=0.0), 0.0), max(values.max(initial=0.0), 0.0)
    high = high if high > low else low + 1.0
    return float(low - 0.06 * (high - low) * (low < 0)), float(high + 0.1 * (high - low))


def _topic_legend(pen: _Pen, session: _Session, right: float, y: float) -> None:
    """A numbered square a topic; of more than 24 topics those shown lately."""
    world = session.world
    topics = list(range(world.sizes.topics))
    if len(topics) > 24:
        items = [i for step in reversed(session.steps) for i in step.feedback.slate if i >= 0]
        topics = sorted(list(dict.fromkeys(int(world.catalog.topic[i]) for i in items))[:24])
    left = right - 25.0 * len(topics)
    for k, topic in enumerate(topics):
        colour = _topic_colour(topic)
        pen.box(left + 25 * k, y - 8, 23, 16, colour)
        pen.text(left + 25 * k + 11.5, y, str(topic), 7.5, _on(colour), ha="center")
    if topics:
        pen.text(left - 8, y, "topic", 8.5, MUTED, ha="right")
