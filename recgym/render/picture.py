"""A session as a picture, the mode "rgb_array". Lengths are pixels, y runs downwards; font sizes are points."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from recgym.errors import ConfigError
from recgym.render.session import (
    Session,
    notes_of,
    number,
    objectives_text,
    outcomes,
    properties_of,
    round_up,
    series_of,
    size_text,
    time_of_day,
    turns,
)
from recgym.types import Array
from recgym.world import World

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
    """Ten hues, then their tints, then their shades; the number of the topic is always written beside the colour."""
    turn = topic // len(TOPICS) % 3
    return _mix(TOPICS[topic % len(TOPICS)], (WHITE, WHITE, "#000000")[turn], (0.0, 0.45, 0.4)[turn])


def _on(colour: Colour) -> str:
    """A colour of ink that can be read on another colour."""
    r, g, b = _rgb(colour)
    return INK if 0.299 * r + 0.587 * g + 0.114 * b > 0.55 else WHITE


def _width(text: str, size: float) -> float:
    """About how wide a text is, in pixels: measuring it would cost more than drawing it."""
    return sum(0.36 if c in NARROW else 0.9 if c in WIDE else 0.63 for c in text) * size * DPI / 72


def _fit(text: str, width: float, size: float) -> str:
    """The text, cut to a width."""
    if _width(text, size) <= width:
        return text
    while len(text) > 1 and _width(text + "…", size) > width:
        text = text[:-1]
    return text.rstrip() + "…"


class _Pen:
    """Draws on a figure in pixels, with plain artists and no axes, which would take most of the time for a frame."""

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
        """A line of text, centred on y; `ha` says whether x is its left end, its right end or its centre."""
        self._order += 1
        self.figure.text(x, y, text, size=size, color=colour, transform=self.pixels, zorder=self._order, va="center",
                         family="DejaVu Sans", parse_math=False, usetex=False, **options)  # fmt: skip

    def box(
        self, x: float, y: float, w: float, h: float, fill: Any, edge: Any = "none", rounding: float = 0, **options: Any
    ) -> None:
        """A rectangle, with round corners if `rounding` is above 0."""
        style = f"round,pad=0,rounding_size={rounding}" if rounding else "square,pad=0"
        self._add(self._box((x, y), w, h, boxstyle=style, facecolor=fill, edgecolor=edge, **options))

    def line(self, points: Array, colour: Colour, width: float = 1.8, **options: Any) -> None:
        """A line through (n, 2) points."""
        self._add(self._line(points[:, 0], points[:, 1], color=colour, linewidth=width, **options))

    def area(self, points: Array, colour: Colour, alpha: float) -> None:
        """A polygon of (n, 2) corners."""
        self._add(self._polygon(points, closed=True, facecolor=colour, alpha=alpha, linewidth=0))

    def cells(self, corners: Array, colours: Any) -> None:
        """n rectangles of (n, 4) left, top, right, bottom, in one colour or in n."""
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


def _round_numbers(low: float, high: float, most: int, whole: bool = False) -> list[float]:
    """Round numbers in [low, high], evenly spaced, about `most` at most."""
    apart = round_up((high - low) / most)
    apart = max(apart, 1.0) if whole else apart
    return [k * apart for k in range(math.ceil(low / apart - 1e-9), math.floor(high / apart + 1e-9) + 1)]


def draw_picture(session: Session) -> np.ndarray:
    """The picture of the mode "rgb_array", (700, 1200, 3) uint8.

    At the top a header; below it the slate as cards and the user's state over time, or the reasons of an agent; at the
    bottom the session, step by step.
    """
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


def _header(pen: _Pen, session: Session) -> None:
    world, steps, user, rewards = session.world, session.steps, session.user, session.rewards
    pen.box(0, 0, WIDTH, 46, INK)
    t = 0 if user is None else int(user.t)
    title = f"Step {t} of {world.horizon}" if t else "A new session"
    pen.text(20, 23, title, 15, WHITE, weight="bold")
    x = max(60 + _width(title, 16.5), 250)
    if user is not None:
        pen.text(x, 23, time_of_day(user.clock), 12, PALE)
    if session.ended:
        left = session.ended == "The user left."
        pen.box(x + 180, 10, 170, 26, RED if left else BLUE, rounding=13)
        pen.text(x + 265, 23, "the user left" if left else "horizon reached", 11, WHITE, ha="center", weight="bold")
    if steps:
        since = f" since step {steps[0].after.t}" if steps[0].before.t > 0 else ""
        total = f"return{since} {number(rewards.sum(), signed=True)}"
        pen.text(1180, 23, total, 13, WHITE, ha="right", weight="bold")
        pen.text(1130 - _width(total, 13.5), 23, f"reward {number(rewards[-1], signed=True)}", 12, PALE, ha="right")
        notes = [f"This step: {objectives_text(world, steps[-1].feedback)}", *notes_of(world, steps[-1])]
        line = "   ·   ".join(notes)
    else:
        line = f"No step yet: {size_text(world)}."
    pen.text(20, 66, _fit(line, WIDTH - 40, 10), 10)


def _heading(pen: _Pen, x: float, y: float, text: str) -> None:
    pen.text(x, y - 14, text, 10.5, MUTED, weight="bold")


def _slate(pen: _Pen, session: Session, x: float, y: float, w: float, h: float, columns: int) -> None:
    world, S = session.world, session.world.slate_size
    _heading(pen, x, y, f"Latest slate, first {MOST_CARDS} of {S} positions" if S > MOST_CARDS else "Latest slate")
    n, gap = min(S, MOST_CARDS), 8.0
    rows = math.ceil(n / columns)
    width, height = (w - gap * (columns - 1)) / columns, (h - gap * (rows - 1)) / rows
    step = session.steps[-1] if session.steps else None
    did = outcomes(world, step.feedback)[0] if step else []
    properties = properties_of(world, step.feedback.slate, step.before.clock) if step else {}
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
    """Draw, from the top, topic, thumbnail, item, facts, click probability and badges of what the user did.

    Small cards lose the thumbnail first, then facts, then badges. `most_badges` is the largest number of badges on any
    card of the slate, for which all of them leave room, so that they look alike.
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
    """The embedding as a mosaic in the colour of the topic: similar items look similar."""
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


def _state(pen: _Pen, session: Session, x: float, y: float, w: float, h: float) -> None:
    _heading(pen, x, y, "The user's state")
    series = list(series_of(session).items())[:MOST_SERIES] if session.steps else []
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
        pen.text(x, middle + 8, f"{number(low)} to {number(high)}", 7.5, MUTED)
        pen.text(x + w, middle, number(values[-1]), 10, colour, ha="right", weight="bold")


def _span(session: Session) -> tuple[int, int]:
    """First and last step on the time axes. The end moves seldom, and then far, so that films do not wobble."""
    first = int(session.steps[0].before.t) if session.steps else 0
    n = len(session.steps)
    return first, max(min(first + int(round_up(max(n, 20))), session.world.horizon), first + n, first + 1)


def _reasons(pen: _Pen, session: Session, x: float, y: float, w: float, h: float) -> None:
    """A line for each choice: its position in the slate, its item, its contributions as bars from zero, its value."""
    assert session.choices is not None
    reasons, shown, items, positions, groups = session.choices
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
    for r, (item, position, c) in enumerate(zip(items, positions, shown, strict=True)):
        (_, top), (_, middle), (_, bottom) = plot.at(0, [r, r + 0.5, r + 1])
        if position is not None:
            pen.box(x, top + 1, w, bottom - top - 2, "#e3e8f4", rounding=4)
            pen.box(x + 3, middle - 7, 17, 14, INK, rounding=6)
            pen.text(x + 11.5, middle, str(position + 1), 7.5, WHITE, ha="center", weight="bold")
        if item >= 0:
            colour = _topic_colour(int(session.world.catalog.topic[item]))
            pen.box(x + 26, middle - 6, 12, 12, colour)
        pen.text(x + 44, middle, _fit(f"item {item}" if item >= 0 else "nothing", label - 48, 9), 9,
                 weight="normal" if position is None else "bold")  # fmt: skip
        pen.text(
            x + w,
            middle,
            f"{reasons.values[c]:.{reasons.digits}f}",
            9,
            ha="right",
            weight="normal" if position is None else "bold",
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


def _timeline(pen: _Pen, session: Session, x: float, y: float, w: float, h: float) -> None:
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
        for word in turns(world, step.feedback):
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


def _topic_legend(pen: _Pen, session: Session, right: float, y: float) -> None:
    """A numbered square for each topic; if there are more than 24, for those shown lately."""
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
