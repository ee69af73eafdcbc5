"""What users did, from logs alone: numbers and curves with 95 % intervals, before anything is fitted.

    report = behaviour(logs)
    report["click rate by position"].value
    report.missing["sessions"]  # why something is not there

Users, not rows, are what was drawn: see `recgym.logs.estimates` for the intervals. Concentration of popularity has a
standard error by bootstrap over users; all others are by linearisation or the influence function, without randomness.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recgym.errors import FitError, require, require_count, require_number
from recgym.logs.estimates import (
    Z,
    gini,
    k_means,
    kaplan_meier,
    nearest,
    ratio,
    silhouette,
    student,
    top_share,
    wilson,
)
from recgym.logs.table import EVENTS, Logs

try:
    import polars as pl
except ModuleNotFoundError:
    raise FitError('logs: need polars; pip install "recgym[logs]"') from None

Array = NDArray[np.float64]
ACTIONS = ("click", *EVENTS, "gift")
STAGES = (("cart", "click"), ("purchase", "cart"), ("purchase", "click"), ("like", "click"), ("share", "click"),
          ("gift", "click"))  # fmt: skip
SEEN = (0, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 50)  # lower ends of groups by number of earlier exposures
PRICES = (0.0, 0.5, 0.7, 0.9, 1.1, 1.4, 2.0)  # lower ends of groups by price over the topic's median
HOURS = (
    0.25,
    0.5,
    1,
    2,
    4,
    8,
    12,
    16,
    20,
    24,
    36,
    48,
    60,
    72,
    96,
    120,
    144,
    168,
    240,
    336,
    504,
    672,
    1008,
    1344,
    2016,
    4032,
    8760,
)
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
SHARES = (0.01, 0.05, 0.1, 0.2, 0.5)  # of the items, the most popular ones
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
LONGEST, POSITIONS, TOPICS, DAYS, COHORTS = 60, 50, 8, 70, 12  # shown at most
GAP = 30.0  # minutes without an event that end a visit, where the logs do not say
SAMPLE, COMPARED = 5_000, 1_000  # users on whom groups are found, and on whom their number is chosen
MOST_GROUPS = 6
OTHERS = "others"


@dataclass(frozen=True, eq=False)
class Section:
    """A curve, a table or a matrix, with its intervals.

    Args:
        name: what it is called, the same for all logs.
        about: what it means, and what the intervals are.
        x: of the curve, numbers or labels; the columns of a matrix.
        value, low, high: float64 of the shape of x, or for a matrix (rows, columns); NaN where there is none.
        n: int64 of the same shape, how many are behind a value: rows, spells or users, as `counted` says.
        axis, unit: what x and the values are. "share" is a share of 1.
        counted: what n counts.
        kind: "curve" over numbers, "steps" (a survival curve), "bars" over labels, "table" of numbers of all kinds, or
            "matrix".
        rows: labels of the rows of a matrix. units: of each x, where they differ.
        reading: what the numbers say, in one sentence.
    """

    name: str
    about: str
    x: tuple[Any, ...]
    value: Array
    low: Array
    high: Array
    n: NDArray[np.int64]
    axis: str = ""
    unit: str = "share"
    counted: str = "rows"
    kind: str = "curve"
    rows: tuple[str, ...] = ()
    units: tuple[str, ...] = ()
    reading: str = ""

    def __post_init__(self) -> None:
        shape = (len(self.rows), len(self.x)) if self.rows else (len(self.x),)
        for name in ("value", "low", "high", "n"):
            require(getattr(self, name).shape == shape, name, f"must have shape {shape}", getattr(self, name).shape)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""
        numbers = {name: _plain(getattr(self, name)) for name in ("value", "low", "high")}
        words = {name: getattr(self, name) for name in ("name", "about", "reading", "axis", "unit", "counted", "kind")}
        return {**words, "units": [*self.units], "rows": [*self.rows], "x": [*self.x], **numbers, "n": self.n.tolist()}


@dataclass(frozen=True, eq=False)
class Behaviour:
    """The sections that logs allow, and why others are not there.

    Args:
        sections: in the order in which they are read. missing: name -> why there is no such section.
        about: rows, users, items, sessions and the time span, as plain JSON values.
    """

    sections: tuple[Section, ...]
    missing: dict[str, str] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Section:
        """The section of that name.

        Raises:
            KeyError: there is none; `missing` says why.
        """
        found = self.find(name)
        if found is None:
            names = [section.name for section in self.sections]
            raise KeyError(f"{name!r}: {self.missing.get(name, f'must be one of {names}')}")
        return found

    def find(self, name: str) -> Section | None:
        """The section of that name; None where there is none."""
        return next((section for section in self.sections if section.name == name), None)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        sections = [section.to_dict() for section in self.sections]
        return {"about": self.about, "sections": sections, "missing": self.missing}


@dataclass(frozen=True, eq=False)
class Pair:
    """The same section of two logs, and their difference where both have a value.

    Args:
        name: of the sections. logged, simulated: None where the logs do not allow it, and `missing` says why.
        x: the points that both have. difference, low, high: simulated minus logged there, with 95 % intervals, as the
            users of the two are independent. apart: at how many points the interval leaves out 0.
    """

    name: str
    logged: Section | None
    simulated: Section | None
    missing: str = ""
    x: tuple[Any, ...] = ()
    difference: Array = field(default_factory=lambda: np.empty(0))
    low: Array = field(default_factory=lambda: np.empty(0))
    high: Array = field(default_factory=lambda: np.empty(0))

    @property
    def apart(self) -> int:
        """At how many points the two differ by more than chance."""
        return int(((self.low > 0) | (self.high < 0)).sum())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; None where there is no number."""
        sides = {side: section and section.to_dict() for side, section in
                 (("logged", self.logged), ("simulated", self.simulated))}  # fmt: skip
        numbers = {name: _plain(getattr(self, name)) for name in ("difference", "low", "high")}
        return {"name": self.name, **sides, "missing": self.missing, "x": [*self.x], **numbers, "apart": self.apart}


def behaviour(logs: Logs, *, gap: float | None = None, segments: int | None = None, min_size: int | None = None,
              resamples: int = 200, seed: int = 0) -> Behaviour:  # fmt: skip
    """All that logs say of how users behave.

    Args:
        logs: the event table; not written to.
        gap: minutes without an event that end a visit: what is within so many of the end of the logs may go on. None:
            ``logs.source["session_gap"]``, else 30. ``logs.source["horizon"]`` may say after how many steps in all a user
            is watched no longer, as in a simulation.
        segments: groups of users; None: 2 to 6, of the largest silhouette.
        min_size: users that a group of users has at least; smaller ones are merged. None: 1 % of the users, at least 20.
        resamples: of the bootstrap over users. seed: of the bootstrap and of the groups.

    Raises:
        ConfigError: an argument is outside its range. FitError: the logs have no rows.
    """
    return Behaviour(*_Reader(logs, gap, segments, min_size, resamples, seed).read())


def compare(logged: Logs, simulated: Logs, **settings: Any) -> list[Pair]:
    """The same sections of two logs side by side.

    Args:
        logged, simulated: the event tables. settings: see `behaviour`; the same for both.

    Raises:
        ConfigError, FitError: see `behaviour`.
    """
    return pairs(behaviour(logged, **settings), behaviour(simulated, **settings))


def pairs(logged: Behaviour, simulated: Behaviour) -> list[Pair]:
    """The sections of two reports side by side, in the order of the first; those that neither has are left out.

    Groups of users have no counterpart among other users, and calendars none in other weeks; they are left out, too.
    """
    names = [s.name for s in logged.sections]
    names += [s.name for s in simulated.sections if s.name not in names]
    return [
        _pair(name, logged, simulated)
        for name in names
        if name not in ("segments", "click rate by day", "retention by cohort")
    ]


def _pair(name: str, logged: Behaviour, simulated: Behaviour) -> Pair:
    one, other = logged.find(name), simulated.find(name)
    if one is None or other is None:
        side, report = ("logged", logged) if one is None else ("simulated", simulated)
        return Pair(name, one, other, f"Not in the {side}: {report.missing.get(name, 'no such rows.')}")
    (first, at), (second, there) = _points(one), _points(other)
    both = [point for point in first if point in at and point in there]
    a = np.array([[first[p], one.low[at[p]], one.high[at[p]]] for p in both]).reshape(-1, 3)
    b = np.array([[second[p], other.low[there[p]], other.high[there[p]]] for p in both]).reshape(-1, 3)
    difference = b[:, 0] - a[:, 0]
    low = difference - np.hypot(b[:, 0] - b[:, 1], a[:, 2] - a[:, 0])  # the squares of the reaches add up (Zou 2007)
    high = difference + np.hypot(b[:, 2] - b[:, 0], a[:, 0] - a[:, 1])
    return Pair(
        name, one, other, "", tuple(p[0] if len(p) == 1 else " → ".join(p) for p in both), difference, low, high
    )


def _points(section: Section) -> tuple[dict[tuple[Any, ...], float], dict[tuple[Any, ...], tuple[int, ...]]]:
    """Labels of a point -> its value, where it has one; and its place."""
    places = {}
    for place in np.ndindex(section.value.shape):
        label = (section.rows[place[0]], str(section.x[place[1]])) if section.rows else (section.x[place[0]],)
        if np.isfinite(section.value[place]):
            places[label] = place
    return {label: float(section.value[place]) for label, place in places.items()}, places


class _Missing(Exception):
    """Why there is no such section."""


class _Reader:
    """The sections of one table of logs, each made by a method and each with the reason where it cannot be made."""

    def __init__(self, logs: Logs, gap: float | None, segments: int | None, min_size: int | None, resamples: int,
                 seed: int) -> None:  # fmt: skip
        if not len(logs):
            raise FitError("logs: must have rows to be analysed, got none")
        given = logs.source.get("session_gap") if gap is None else gap
        self.gap = GAP if given is None else require_number("gap", given, 0, 60 * 24 * 365)
        self.segments = None if segments is None else require_count("segments", segments, 1, 50)
        self.resamples = require_count("resamples", resamples, 10, 100_000)
        self.seed = require_count("seed", seed, 0, 2**63)
        self.logs = logs
        events = logs.events
        self.n_users = events["user"].n_unique()
        least = (
            max(20, math.ceil(self.n_users / 100))
            if min_size is None
            else require_count("min_size", min_size, 1, 10**9)
        )
        self.min_size = least
        self.clustered = self.n_users > 1
        # One user in all: rows are all there is to draw from.
        users = pl.col("user") if self.clustered else pl.int_range(pl.len(), dtype=pl.UInt32)
        events = events.with_columns(users.alias("cluster"))
        if "click" in events.columns:
            clicked = pl.col("click").fill_null(False)
        else:
            clicked = pl.lit(not logs.impressions)
        events = events.with_columns(clicked.alias("clicked"))
        for name in ACTIONS:
            if name in events.columns:
                rule = pl.col(name) > 0 if name == "gift" else pl.col(name)
                events = events.with_columns(rule.fill_null(False).cast(pl.Float64).alias(f"is_{name}"))
        if "click" not in events.columns and not logs.impressions:
            events = events.with_columns(pl.lit(1.0).alias("is_click"))
        if "topic" in logs.items.columns:
            topics = logs.items.select("item", pl.col("topic").cast(pl.String).alias("topic"))
            events = events.join(topics, on="item", how="left", maintain_order="left")
        self.events = events
        self.rates = logs.impressions and "click" in events.columns
        times = events["time"].cast(pl.Int64).to_numpy()
        self.start, self.end = int(times.min()), int(times.max())
        horizon = logs.source.get("horizon")
        self.horizon = horizon if isinstance(horizon, int) and not isinstance(horizon, bool) else 0
        self.sessions = self._sessions() if "session" in events.columns else None

    def read(self) -> tuple[tuple[Section, ...], dict[str, str], dict[str, Any]]:
        """Sections, what is missing, and about."""
        makers: dict[str, Callable[[], Section]] = {
            "levels": self.levels,
            "funnel": self.funnel,
            "click rate by position": self.position,
            "activity by hour": self.activity,
            "click rate by hour": lambda: self.calendar("hour"),
            "click rate by weekday": lambda: self.calendar("weekday"),
            "click rate by day": lambda: self.calendar("day"),
            "survival of sessions": self.session_length,
            "survival until return": self.until_return,
            "dwell": self.dwell,
            "dwell histogram": self.dwell_histogram,
            "click rate by exposures of the topic": self.fatigue,
            "click rate by exposures of the item": self.repeats,
            "price paid": self.price_paid,
            "click rate by price": lambda: self.price_response("click"),
            "purchase rate by price": lambda: self.price_response("purchase"),
            "topic transitions": self.transitions,
            "popularity": self.popularity,
            "retention": self.retention,
            "retention by cohort": self.cohorts,
            "segments": self.groups,
        }
        sections, missing = [], {}
        for name, make in makers.items():
            try:
                sections.append(make())
            except _Missing as reason:
                missing[name] = str(reason)
        return tuple(sections), missing, self.about()

    def about(self) -> dict[str, Any]:
        """What the logs are."""
        logs = self.logs
        times = self.events["time"]
        found = {
            "rows": len(logs),
            "users": self.n_users,
            "items": logs.n_items,
            "sessions": None if self.sessions is None else len(self.sessions),
            "first": str(times.min()),
            "last": str(times.max()),
            "impressions": logs.impressions,
            "dropped": sum(logs.dropped.values()),
            "name": str(logs.source.get("name", "")),
        }
        if not self.clustered:
            found["note"] = (
                "All rows are of one user: intervals take rows as independent, and are too narrow if they are not."
            )
        return found

    # What most sections are made of

    def need(self, *names: str, clicks: bool = False) -> None:
        """Raise _Missing unless the columns were logged, and if asked for, what was shown and not clicked, too."""
        absent = [name for name in names if name not in self.events.columns]
        if absent:
            raise _Missing(f"The logs have no {' and no '.join(absent)}.")
        if clicks and not self.logs.impressions:
            raise _Missing(
                "The logs have clicks alone, without what was shown and not clicked: there are no click rates."
            )
        if clicks and not self.rates:
            raise _Missing("The logs do not say what was clicked.")

    def rate(self, frame: pl.DataFrame, by: str, numerator: str, denominator: str | None = None,
             share: bool = True) -> dict[Any, tuple[float, float, float, int]]:  # fmt: skip
        """Value of `by`, rising -> rate there with its interval, and the sum of the denominator.

        Args:
            frame: rows with a cluster; those without `by` are left out.
            by: a column. numerator: a column of float64. denominator: the same; None: rows.
            share: whether it is a share of rows.
        """
        below = pl.len().cast(pl.Float64) if denominator is None else pl.col(denominator).sum()
        sums = (
            frame.filter(pl.col(by).is_not_null())
            .group_by(by, "cluster")
            .agg(pl.col(numerator).sum().alias("y"), below.alias("n"))
            .filter(pl.col("n") > 0)
        )
        y, n = pl.col("y"), pl.col("n")
        table = sums.group_by(by).agg(
            y.sum().alias("Y"), n.sum().alias("N"), (y * y).sum().alias("yy"), (y * n).sum().alias("yn"),
            (n * n).sum().alias("nn"), pl.len().alias("m"),
        ).sort(by)  # fmt: skip
        found = ratio(*(table[name].to_numpy() for name in ("Y", "N", "yy", "yn", "nn", "m")), share=share)
        return dict(zip(table[by].to_list(), zip(*(a.tolist() for a in found), table["N"].cast(pl.Int64).to_list())))

    def total(self, numerator: str, denominator: str | None = None, share: bool = True,
              frame: pl.DataFrame | None = None) -> tuple[float, float, float, int]:  # fmt: skip
        """The rate over all rows, see `rate`; NaN where the denominator is 0."""
        frame = (self.events if frame is None else frame).with_columns(pl.lit(0).alias("all"))
        return self.rate(frame, "all", numerator, denominator, share).get(0, (math.nan, math.nan, math.nan, 0))

    def shares(
        self, frame: pl.DataFrame, by: str, weight: str | None = None
    ) -> dict[Any, tuple[float, float, float, int]]:
        """Value of `by` -> its share of all rows (or of their weight) with its interval, and the rows."""
        frame = frame.filter(pl.col(by).is_not_null())
        amount = pl.len().cast(pl.Float64) if weight is None else pl.col(weight).sum()
        own = frame.group_by("cluster").agg(amount.alias("n"))
        sums = frame.group_by(by, "cluster").agg(amount.alias("y")).join(own, on="cluster")
        y, n = pl.col("y"), pl.col("n")
        table = sums.group_by(by).agg(y.sum().alias("Y"), (y * y).sum().alias("yy"), (y * n).sum().alias("yn")).sort(by)
        N, nn, m = own["n"].sum(), float((own["n"] ** 2).sum()), len(own)
        Y, yy, yn = (table[name].to_numpy() for name in ("Y", "yy", "yn"))
        found = ratio(Y, np.full(len(Y), N), yy, yn, np.full(len(Y), nn), np.full(len(Y), m), share=True)
        return dict(zip(table[by].to_list(), zip(*(a.tolist() for a in found), Y.astype(np.int64).tolist())))

    def _sessions(self) -> pl.DataFrame:
        """A row for each session, rising by user and start.

        Its columns are user, cluster, start and end in microseconds, steps, rows, clicks, and `cut`: the user was watched no
        longer, which says nothing of the session.
        """
        steps = pl.col("slate").n_unique() if "slate" in self.events.columns else pl.len()
        time = pl.col("time").cast(pl.Int64)
        table = (
            self.events.filter(pl.col("session").is_not_null())
            .group_by("session")
            .agg(pl.col("user").first(), pl.col("cluster").first(), time.min().alias("start"), time.max().alias("end"),
                 steps.cast(pl.Int64).alias("steps"), pl.len().alias("rows"), pl.col("clicked").sum().alias("clicks"))
            .sort("user", "start", "session")
        )  # fmt: skip
        last = pl.col("user") != pl.col("user").shift(-1, fill_value=2**32 - 1)
        cut = last & (pl.col("steps").sum().over("user") >= self.horizon) if self.horizon else pl.lit(False)
        return table.with_columns(cut.alias("cut"))

    def need_sessions(self) -> pl.DataFrame:
        """The sessions."""
        if self.sessions is None or not len(self.sessions):
            raise _Missing("The logs have no sessions. Reading them with a session gap derives some from pauses.")
        return self.sessions

    @property
    def row(self) -> str:
        """What a row is called."""
        return "item shown" if self.logs.impressions else "interaction"

    # The sections

    def levels(self) -> Section:
        """Counts and levels of all kinds."""
        names, found, units = [], [], []

        def put(name: str, value: tuple[float, float, float, int], unit: str = "") -> None:
            if math.isfinite(value[0]):
                names.append(name)
                found.append(value)
                units.append(unit)

        for name in ACTIONS:
            if f"is_{name}" in self.events.columns and not (name == "click" and not self.rates):
                put(f"{_plural(name)} per {self.row}", self.total(f"is_{name}"), "share")
        ones = self.events.group_by("user").agg(pl.len().cast(pl.Float64).alias("rows"), pl.first("cluster"))
        put(f"{self.row.replace(' shown', 's shown')} per user" if self.logs.impressions else "interactions per user",
            self.mean(ones["rows"].to_numpy()))  # fmt: skip
        if self.sessions is not None and len(self.sessions):
            sessions = self.sessions.with_columns(
                pl.col("steps").cast(pl.Float64), pl.col("clicks").cast(pl.Float64), pl.lit(1.0).alias("one")
            )
            each = sessions.group_by("user").len()["len"].to_numpy().astype(np.float64)
            put("sessions per user", self.mean(each))
            put("steps per session", self.total("steps", None, False, sessions))
            if self.rates:
                put("clicks per session", self.total("clicks", None, False, sessions))
        for name, label, unit in (("dwell", "dwell", "seconds"), ("rating", "rating", "")):
            if name in self.events.columns:
                rows = self.events.filter(pl.col(name).is_finite() & ((pl.col(name) > 0) | (name != "dwell")))
                rows = rows.with_columns(pl.col(name).cast(pl.Float64))
                put(f"{label} where there is any", self.total(name, None, False, rows), unit)
        value, low, high, n = _columns(found)
        counts = self._counts()
        reading = "There are " + _listed(f"{count:,} {name}" for name, count in counts.items()) + "."
        about = f"Means over all rows. A rate per {self.row} is a share of the rows."
        return Section("levels", about, tuple(names), value, low, high, n, "", "", "rows, users or sessions", "table",
                       units=tuple(units), reading=reading)  # fmt: skip

    def _counts(self) -> dict[str, int]:
        counts = {"items shown" if self.logs.impressions else "interactions": len(self.events)}
        for name in ACTIONS:
            if f"is_{name}" in self.events.columns and (self.rates or name != "click"):
                counts[_plural(name)] = int(self.events[f"is_{name}"].sum())
        if self.sessions is not None:
            counts["sessions"] = len(self.sessions)
        return {**counts, "users": self.n_users}

    def mean(self, values: Array) -> tuple[float, float, float, int]:
        """Mean of one number a user with its interval."""
        n = len(values)
        reach = float(student(n - 1)) * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else math.nan
        mean = float(values.mean())
        return mean, mean - reach, mean + reach, n

    def funnel(self) -> Section:
        """From what was shown to what was bought."""
        there = [name for name in ACTIONS if f"is_{name}" in self.events.columns]
        steps: list[tuple[str, str, str | None]] = []
        if self.rates:
            steps.append((f"clicks per {self.row}", "is_click", None))
        for later, earlier in STAGES:
            if (
                later in there
                and earlier in there
                and not ((later, earlier) == ("purchase", "click") and "cart" in there)
            ):
                steps.append((f"{_plural(later)} per {earlier}", f"is_{later}", f"is_{earlier}"))
        names, found = [], []
        for name, later, earlier in steps:
            value = self.total(later, earlier)
            if math.isfinite(value[0]) and value[3] > 0:
                names.append(name)
                found.append(value)
        if not names:
            raise _Missing("The logs say nothing of what follows from what: there is one kind of event.")
        reading = (
            "; ".join(f"{name}: {percent_text(v[0])} {_range(v, percent_text)}" for name, v in zip(names, found)) + "."
        )
        about = (
            "Each stage over the one before it. A purchase may come without a logged cart: then a stage can be above 1."
        )
        return Section("funnel", about, tuple(names), *_columns(found), "", "share", "of the stage before", "bars",
                       reading=reading[0].upper() + reading[1:])  # fmt: skip

    def position(self) -> Section:
        """Click rate by position."""
        self.need("position", clicks=True)
        frame = self.events.filter(pl.col("position") < POSITIONS).with_columns(pl.col("position").cast(pl.Int64) + 1)
        found = self.rate(frame, "position", "is_click")
        if not found:
            raise _Missing("The logs have no position in any row.")
        first, last = min(found), max(found)
        reading = f"Position {first} is clicked in {percent_text(found[first][0])} {_range(found[first], percent_text)} of its appearances"
        reading += (
            f", position {last} in {percent_text(found[last][0])} {_range(found[last], percent_text)}."
            if last != first
            else "."
        )
        about = "Clicks per item shown there; 1 is the top. What stands there was chosen, so this is not the effect of the position alone."
        return self._curve("click rate by position", about, found, "position", reading)

    def _curve(self, name: str, about: str, found: dict[Any, tuple[float, float, float, int]], axis: str, reading: str,
               kind: str = "curve", **more: Any) -> Section:  # fmt: skip
        return Section(
            name, about, tuple(found), *_columns(found.values()), axis=axis, kind=kind, reading=reading, **more
        )

    def activity(self) -> Section:
        """When users are there."""
        frame = self.events.with_columns(pl.col("time").dt.hour().cast(pl.Int64).alias("hour"))
        found = self.shares(frame, "hour")
        most, least = (choose(found, key=lambda h: found[h][0]) for choose in (max, min))
        reading = f"Most happens at {most}:00, {percent_text(found[most][0])} of all rows; the quietest hour is {least}:00 with {percent_text(found[least][0])}."
        return self._curve(
            "activity by hour", "Share of all rows in each hour of the day, UTC.", found, "hour of day, UTC", reading
        )

    def calendar(self, by: str) -> Section:
        """Click rate by hour of day, weekday or date."""
        self.need(clicks=True)
        time = pl.col("time")
        column = {"hour": time.dt.hour().cast(pl.Int64), "weekday": time.dt.weekday(), "day": time.dt.date()}[by]
        found = self.rate(self.events.with_columns(column.alias("when")), "when", "is_click")
        if by == "day" and len(found) > DAYS:
            weeks = self.events.with_columns(time.dt.date().dt.truncate("1w").alias("when"))
            found = self.rate(weeks, "when", "is_click")
        if by == "weekday":
            found = {WEEKDAYS[day - 1]: value for day, value in found.items()}
        if by == "day":
            found = {str(day): value for day, value in found.items()}
        most, least = (choose(found, key=lambda when: found[when][0]) for choose in (max, min))
        if len(found) == 1:
            reading = f"All rows are of {most}."
        else:
            hour = ":00" if by == "hour" else ""
            reading = f"The highest is {percent_text(found[most][0])} {_range(found[most], percent_text)} ({most}{hour}), the lowest {percent_text(found[least][0])} {_range(found[least], percent_text)} ({least}{hour})."
        axis = {"hour": "hour of day, UTC", "weekday": "", "day": "date, or the Monday of the week"}[by]
        kind = "bars" if by == "weekday" else "curve"
        return self._curve(f"click rate by {by}", "Clicks per item shown.", found, axis, reading, kind)

    def session_length(self) -> Section:
        """Kaplan-Meier of steps."""
        sessions = self.need_sessions()
        steps = sessions["steps"].to_numpy()
        ended = (sessions["end"].to_numpy() + self.gap * 60e6 <= self.end) & ~sessions["cut"].to_numpy()
        note = f"A session whose last event is within {self.gap:g} minutes of the end of the logs may have gone on, and is censored there"
        if self.horizon:
            note += f", as is one that ends with the {self.horizon} steps for which a user is watched"
        if not ended.any():
            raise _Missing("No session is known to have ended before the logs did.")
        last = min(int(steps.max()), LONGEST)
        curve = kaplan_meier(steps, ended, sessions["cluster"].to_numpy(), np.arange(0, last + 1))
        median = _median(curve.time, curve.value)
        what = "slates" if "slate" in self.events.columns else "rows"
        reading = f"Half of the sessions are over after {median:g} {what if median > 1 else what[:-1]}"
        if math.isinf(median):
            reading = f"More than half of the sessions last beyond {last} {what}"
        reading += f"; {percent_text(1 - ended.mean())} were still going on when last seen."
        about = f"Share of sessions of more than so many {what} (Kaplan-Meier). {note}. Intervals are Greenwood's, widened by what sessions of one user have in common."
        return _survival("survival of sessions", about, curve, what, "sessions at risk", reading)

    def until_return(self) -> Section:
        """Kaplan-Meier of hours from the end of a session to the next."""
        sessions = self.need_sessions()
        following = pl.col("start").shift(-1).over("user") - pl.col("end")
        rest = (
            pl.when("cut").then(0).otherwise(self.end - pl.col("end"))
        )  # hours for which a return would have been seen
        gaps = sessions.select(following.alias("gap"), rest.alias("rest"), "cluster")
        ended = gaps["gap"].is_not_null().to_numpy()
        if not ended.any():
            raise _Missing("No user has a second session.")
        hours = gaps["gap"].fill_null(gaps["rest"]).to_numpy() / 3.6e9
        at = np.array([0.0, *(h for h in HOURS if h <= hours.max())])
        curve = kaplan_meier(np.maximum(hours, 0), ended, gaps["cluster"].to_numpy(), at)
        day = [(h, 1 - v, 1 - b, 1 - a) for h, v, a, b in zip(curve.time, curve.value, curve.low, curve.high)]
        known = [point for point in day if point[0] in (24, 168)] or [day[-1]]
        reading = "Of those who go, " + _listed(
            f"{percent_text(v)} {_range((v, a, b, 0), percent_text)} are back within {_duration(h)}" for h, v, a, b in known
        ) + "."  # fmt: skip
        about = "Share of users who have not come back so many hours after the end of a session (Kaplan-Meier); the last session of each user is censored at the end of the logs."
        return _survival("survival until return", about, curve, "hours", "sessions at risk", reading)

    def _dwelt(self) -> pl.DataFrame:
        self.need("dwell")
        rows = self.events.filter(pl.col("dwell").is_finite() & (pl.col("dwell") > 0))
        if not len(rows):
            raise _Missing("No row has a dwell above 0.")
        return rows.with_columns(pl.col("dwell").cast(pl.Float64))

    def dwell(self) -> Section:
        """Quantiles of dwell."""
        rows = self._dwelt()
        ordered = np.sort(rows["dwell"].to_numpy())
        own = rows.group_by("cluster").agg(pl.len().cast(pl.Float64).alias("n"))
        found = []
        for q in QUANTILES:
            at = float(np.quantile(ordered, q, method="inverted_cdf"))
            below = (pl.col("dwell") <= at).cast(pl.Float64)
            share = self.total("below", frame=rows.with_columns(below.alias("below")))
            # Woodruff (1952): the interval of the share below the quantile, read off the distribution. It is that of
            # the asked-for share, as ties at the quantile may put more below it.
            reach = share[0] - share[1], share[2] - share[0]
            ends = np.clip([q - reach[0], q + reach[1]], 0, 1)
            low, high = np.quantile(ordered, ends, method="inverted_cdf") if len(own) > 1 else (math.nan, math.nan)
            found.append((at, float(low), float(high), len(rows)))
        middle = found[QUANTILES.index(0.5)]
        reading = f"Half of the visits to an item are longer than {seconds_text(middle[0])} {_range(middle, seconds_text)}, one in ten than {seconds_text(found[QUANTILES.index(0.9)][0])}."
        about = "Seconds on an item below which so large a share of those above 0 lie. Intervals are Woodruff's, with users as clusters."
        return Section("dwell", about, QUANTILES, *_columns(found), "share of rows below", "seconds", "rows with dwell",
                       "table", reading=reading)  # fmt: skip

    def dwell_histogram(self) -> Section:
        """Shares of dwell in factors of two."""
        rows = self._dwelt()
        power = pl.col("dwell").log(2).floor().clip(-3, 15).cast(pl.Int64)
        found = self.shares(rows.with_columns(power.alias("power")), "power")
        found = {power: found.get(power, (0.0, 0.0, 0.0, 0)) for power in range(min(found), max(found) + 1)}
        most = max(found, key=lambda power: found[power][0])
        low, high = seconds_text(2.0**most), seconds_text(2.0 ** (most + 1))
        reading = f"The most common are {low} to {high}: {percent_text(found[most][0])} of all."
        labelled = {2.0**power: value for power, value in found.items()}
        about = "Share of rows with a dwell from so many seconds to twice as many; the first and last bar have what lies beyond."
        return self._curve("dwell histogram", about, labelled, "seconds", reading, counted="rows with dwell")

    def fatigue(self) -> Section:
        """Click rate by earlier exposures of the topic in the session."""
        self.need("session", "topic", clicks=True)
        about = ("Clicks per item shown, by how many items of its topic the session had shown in earlier steps. Who stays long "
                 "is another kind of user, and what is shown again was chosen: this is not the effect of exposure alone.")  # fmt: skip
        return self._exposures("click rate by exposures of the topic", "session", "topic", about,
                               "earlier items of the topic in the session")  # fmt: skip

    def repeats(self) -> Section:
        """Click rate by earlier exposures of the item."""
        self.need(clicks=True)
        about = "Clicks per item shown, by how often the same user had been shown the item in earlier steps. What is shown again was chosen."
        return self._exposures(
            "click rate by exposures of the item", "user", "item", about, "earlier exposures of the item"
        )

    def _exposures(self, name: str, within: str, what: str, about: str, axis: str) -> Section:
        rows = self.events.filter(pl.col(within).is_not_null() & pl.col(what).is_not_null())
        together = "slate" if "slate" in rows.columns else "time"  # of one step: none of them is earlier
        edges = np.array(SEEN)
        seen = _earlier(*(rows[name].rank("dense").to_numpy() for name in (within, what, together)))
        group = np.searchsorted(edges, seen, side="right") - 1
        found = self.rate(rows.with_columns(pl.Series("group", edges[group])), "group", "is_click")
        if len(found) < 2:
            raise _Missing(
                f"No {what} was shown twice to the same user{' in a session' if within == 'session' else ''}."
            )
        least = max(100, 0.01 * max(value[3] for value in found.values()))  # rows of a group that the sentence names
        named = [edge for edge, value in found.items() if value[3] >= least] or [*found]
        first, later = found[named[0]], found[named[-1]]
        reading = f"After {_group(named[0])} of them it is {percent_text(first[0])} {_range(first, percent_text)}, after {_group(named[-1])} it is {percent_text(later[0])} {_range(later, percent_text)}."
        return self._curve(name, about, found, axis, reading)

    def price_paid(self) -> Section:
        """Prices of what was shown, clicked and bought."""
        self.need("price")
        rows = self.events.filter(pl.col("price").is_finite() & (pl.col("price") > 0))
        if not len(rows):
            raise _Missing("No row has a price above 0.")
        rows = rows.with_columns(pl.col("price").cast(pl.Float64))
        parts = {"shown": rows} if self.logs.impressions else {}
        parts |= {f"with a {name}": rows.filter(pl.col(f"is_{name}") > 0) for name in ("click", "cart", "purchase")
                  if f"is_{name}" in rows.columns}  # fmt: skip
        found = {name: self.total("price", None, False, part) for name, part in parts.items() if len(part)}
        if len(found) < 2:
            raise _Missing("Prices are known of one kind of rows only: there is nothing to compare.")
        base, last = next(iter(found)), list(found)[-1]
        over = {}
        for name in found:
            if name != base:
                over[f"{name} / {base}"] = self._price_ratio(rows, parts[name], parts[base])
        key = f"{last} / {base}"
        reading = (
            f"Items {last} cost {over[key][0]:.2f} {_range(over[key], '{:.2f}'.format)} times what items {base} cost."
        )
        units = ("price",) * len(found) + ("ratio",) * len(over)
        found |= over
        about = "Mean price of the items shown, clicked and bought, and their ratios to the first."
        return Section("price paid", about, tuple(found), *_columns(found.values()), "", "price", "rows", "table",
                       units=units, reading=reading)  # fmt: skip

    def _price_ratio(
        self, rows: pl.DataFrame, top: pl.DataFrame, bottom: pl.DataFrame
    ) -> tuple[float, float, float, int]:
        """Ratio of two mean prices of the same users, with its interval by linearisation of its logarithm."""
        users = rows.select("cluster").unique()
        for name, part in (("a", top), ("b", bottom)):
            sums = part.group_by("cluster").agg(pl.col("price").sum().alias(f"{name}_sum"), pl.len().alias(f"{name}_n"))
            users = users.join(sums, on="cluster", how="left")
        users = users.fill_null(0)
        a, A, b, B = (users[name].to_numpy().astype(np.float64) for name in ("a_sum", "a_n", "b_sum", "b_n"))
        residual = a / a.sum() - A / A.sum() - b / b.sum() + B / B.sum()
        value = a.sum() / A.sum() / (b.sum() / B.sum())
        m = len(users)
        reach = float(student(m - 1)) * math.sqrt(m / max(m - 1, 1) * float(residual @ residual))
        return float(value), float(value * math.exp(-reach)), float(value * math.exp(reach)), int(A.sum())

    def price_response(self, what: str) -> Section:
        """Click or purchase rate by price relative to the median of the topic."""
        self.need("price", clicks=True)
        if f"is_{what}" not in self.events.columns:
            raise _Missing(f"The logs have no {what}.")
        rows = self.events.filter(pl.col("price").is_finite() & (pl.col("price") > 0))
        if not len(rows):
            raise _Missing("No row has a price above 0.")
        median = pl.col("price").median()
        among = median.over("topic") if "topic" in rows.columns else median
        relative = rows.select((pl.col("price") / among).alias("r"))["r"].to_numpy()
        edges = np.array(PRICES)
        group = np.searchsorted(edges, relative, side="right") - 1
        found = self.rate(rows.with_columns(pl.Series("group", group)), "group", f"is_{what}")
        labels = [_between(PRICES, k) for k in range(len(PRICES))]
        found = {labels[k]: value for k, value in found.items()}
        if len(found) < 2:
            raise _Missing("All prices are close to the median: there is nothing to compare.")
        first, last = next(iter(found)), list(found)[-1]
        of = "its topic" if "topic" in rows.columns else "all items"
        reading = f"At {first} times the median it is {percent_text(found[first][0])} {_range(found[first], percent_text)}, at {last} times {percent_text(found[last][0])} {_range(found[last], percent_text)}."
        about = f"{_plural(what).capitalize()} per item shown, by its price over the median price shown of {of}. Dear items differ from cheap ones in more than price."
        return self._curve(f"{what} rate by price", about, found, "price / median", reading, "bars")

    def transitions(self) -> Section:
        """Topics of consecutive clicks against independence."""
        self.need("topic")
        if not (self.rates or not self.logs.impressions):
            raise _Missing("The logs do not say what was clicked.")
        within = "session" if "session" in self.events.columns else "user"
        clicks = self.events.filter(pl.col("clicked") & pl.col("topic").is_not_null() & pl.col(within).is_not_null())
        following = pl.col("topic").shift(-1).over(within)
        steps = clicks.select(pl.col("topic").alias("a"), following.alias("b"), "cluster").drop_nulls("b")
        if not len(steps):
            raise _Missing(f"No {within} has two clicks.")
        names = clicks["topic"].value_counts(sort=True)["topic"].to_list()
        shown = sorted(names[: TOPICS - 1] if len(names) > TOPICS else names, key=_natural)
        shown += [OTHERS] if len(names) > TOPICS else []
        K, code = len(shown), {name: k for k, name in enumerate(shown)}
        a, b = (np.array([code.get(name, K - 1) for name in steps[side].to_list()]) for side in ("a", "b"))
        _, user = np.unique(steps["cluster"].to_numpy(), return_inverse=True)
        m = int(user.max()) + 1
        n = np.bincount(a * K + b, minlength=K * K).reshape(K, K).astype(np.float64)
        total, left, right = n.sum(), n.sum(axis=1), n.sum(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            value = n * total / np.outer(left, right)
        low, high = np.full((K, K), np.nan), np.full((K, K), np.nan)
        quantile = float(student(m - 1))
        for i in range(K):
            for j in range(K):
                if n[i, j] > 0:  # of the log of the ratio; rows of steps add up to users
                    row = ((a == i) & (b == j)) / n[i, j] + 1 / total - (a == i) / left[i] - (b == j) / right[j]
                    spread = float(np.square(np.bincount(user, row, m)).sum()) * m / max(m - 1, 1)
                    reach = quantile * math.sqrt(spread)
                    low[i, j], high[i, j] = value[i, j] * math.exp(-reach), value[i, j] * math.exp(reach)
        same, chance = float((a == b).mean()), float(left @ right / total**2)
        reading = f"{percent_text(same)} of clicks are on the topic of the click before; if topics did not matter, it would be {percent_text(chance)}."
        about = f"How often a click on the topic of the row is followed, in the same {within}, by one on the topic of the column, over what independence would give: above 1, more often. Several kinds of users alone make the diagonal large."
        return Section("topic transitions", about, tuple(shown), value, low, high, n.astype(np.int64), "topic of the next click",
                       "times independence", "pairs of clicks", "matrix", tuple(shown), reading=reading)  # fmt: skip

    def popularity(self) -> Section:
        """How clicks spread over items."""
        rows = self.events.filter(pl.col("clicked"))
        what = "clicks" if self.rates or not self.logs.impressions else ""
        if not what:
            rows, what = self.events, "appearances"
        if not len(rows):
            raise _Missing("Nothing was clicked.")
        item = rows["item"].to_numpy()
        _, user = np.unique(rows["cluster"].to_numpy(), return_inverse=True)
        rng = np.random.default_rng([self.seed, 1])
        m, size = int(user.max()) + 1, self.logs.n_items

        shares = [share for share in SHARES if share * size >= 1]

        def statistics(counts: NDArray[Any]) -> list[float]:
            return [gini(counts), *(top_share(counts, share) for share in shares)]

        value = np.array(statistics(np.bincount(item, minlength=size)))
        drawn = [statistics(np.bincount(item, np.bincount(rng.integers(m, size=m), minlength=m)[user], size))
                 for _ in range(self.resamples)]  # fmt: skip
        # Resampling makes counts more unequal than they are, so the spread of the resamples is used and not their place.
        reach = Z * np.nanstd(drawn, axis=0, ddof=1) if m > 1 else np.full(len(value), np.nan)
        names = ("Gini", *(f"top {100 * share:g} %" for share in shares))
        n = np.full(len(value), len(rows))
        named = [k for k, share in enumerate(shares) if share in (0.01, 0.1)] or [len(shares) - 1] if shares else []
        reading = "".join(
            f"The most popular {100 * shares[k]:g} % of the items have {percent_text(value[1 + k])} of all {what}. "
            for k in named
        )
        reading += f"The Gini coefficient is {value[0]:.2f}: 0 is the same for all, 1 all for one."
        about = f"Gini coefficient of the {what} of all {size:,} items, and the share of the most popular of them. Few rows an item make it look more unequal than it is. Bootstrap over users."
        low, high = np.clip(value - reach, 0, 1), np.clip(value + reach, 0, 1)
        units = ("", *("share" for _ in shares))
        return Section(
            "popularity", about, names, value, low, high, n, "", "share", what, "table", units=units, reading=reading
        )

    def _weeks(self) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
        """Of each user: week of the first event; whether there were events in each week since; how many weeks are whole."""
        week = 7 * 86_400 * 10**6
        if self.end - self.start < 2 * week:
            raise _Missing("The logs span less than two weeks.")
        if not self.clustered:
            raise _Missing("All rows are of one user.")
        time = pl.col("time").cast(pl.Int64)
        first = time.min().over("user")
        table = self.events.select("user", first.alias("first"), ((time - first) // week).alias("since")).unique()
        users = table.group_by("user").agg(pl.first("first")).sort("user")
        cohort = (users["first"].to_numpy() - self.start) // week
        whole = (self.end - users["first"].to_numpy()) // week
        active = np.zeros((len(users), int(whole.max()) + 1), np.bool_)
        place = np.searchsorted(users["user"].to_numpy(), table["user"].to_numpy())
        since = table["since"].to_numpy()
        inside = since < active.shape[1]
        active[place[inside], since[inside]] = True
        return cohort, active, whole

    def retention(self) -> Section:
        """Active users by weeks since their first."""
        _, active, whole = self._weeks()
        found = {}
        for k in range(1, min(active.shape[1], 27)):
            seen = whole > k  # the week is over before the logs are
            if seen.any():
                found[k] = (*_wilson(active[seen, k].sum(), seen.sum()), int(seen.sum()))
        if not found:
            raise _Missing("No user was seen for two whole weeks.")
        last = max(found)
        reading = f"{percent_text(found[1][0])} {_range(found[1], percent_text)} of the users come back in the week after their first"
        reading += (
            f", and {percent_text(found[last][0])} {_range(found[last], percent_text)} in week {last}."
            if last > 1
            else "."
        )
        about = "Share of users with an event in the k-th week after that of their first event, of those whose week k is over. Who was there before the logs began counts as new. Wilson intervals over users."
        return self._curve("retention", about, found, "weeks since the first", reading, counted="users")

    def cohorts(self) -> Section:
        """Retention by the week of the first event."""
        cohort, active, whole = self._weeks()
        shown = [c for c in range(COHORTS) if (cohort == c).any()]
        width = min(active.shape[1], COHORTS)
        shape = len(shown), width
        value, low, high, n = (np.full(shape, np.nan) for _ in range(4))
        n[:] = 0
        for row, c in enumerate(shown):
            for k in range(width):
                seen = (cohort == c) & (whole > k)
                if seen.any():
                    n[row, k] = seen.sum()
                    value[row, k], low[row, k], high[row, k] = _wilson(active[seen, k].sum(), seen.sum())
        keep: Any = np.isfinite(value).any(axis=1)
        columns = np.isfinite(value).any(axis=0)
        if keep.sum() < 1 or columns.sum() < 2:
            raise _Missing("No two cohorts were seen for whole weeks.")
        value, low, high, n = (array[keep][:, columns] for array in (value, low, high, n))
        names = tuple(f"week {c + 1}" for c, kept in zip(shown, keep.tolist()) if kept)
        week1 = value[:, 1][np.isfinite(value[:, 1])]
        least, most = percent_text(week1.min()), percent_text(week1.max())
        back = least if least == most else f"{least} to {most}"
        reading = f"Of {len(week1)} cohort{'s' if len(week1) != 1 else ''}, the share that is back in the week after the first is {back}."
        about = "Users by the week of the logs in which their first event lies (rows), and the share with an event so many weeks later (columns). Week 1 holds all who were there before the logs began. Wilson intervals over users."
        return Section("retention by cohort", about, tuple(range(value.shape[1])), value, low, high, n.astype(np.int64),
                       "weeks since the first", "share", "users", "matrix", names, reading=reading)  # fmt: skip

    def groups(self) -> Section:
        """Segments of users by k-means."""
        if self.n_users < 2 * self.min_size:
            raise _Missing(f"{self.n_users} users are too few for groups of at least {self.min_size}.")
        names, table = self._features()
        scale = table.std(axis=0)
        keep = scale > 1e-9
        names, table = [name for name, kept in zip(names, keep) if kept], table[:, keep]
        if not names:
            raise _Missing("All users are alike in what is measured.")
        points = (table - table.mean(axis=0)) / table.std(axis=0)
        points = np.clip(points, -4, 4)  # a single extreme user makes no group
        rng = np.random.default_rng([self.seed, 2])
        some = rng.permutation(len(points))[:SAMPLE]
        few = some[:COMPARED]
        tried = {}
        most = min(MOST_GROUPS, len(np.unique(points[some], axis=0)))
        for k in [self.segments] if self.segments else range(2, most + 1):
            assert k is not None
            found = k_means(points[some], min(k, most) if not self.segments else k, rng)
            label = nearest(points[few], found.centre)
            tried[k] = (silhouette(points[few], label) if len(np.unique(label)) > 1 else -1.0, found.centre)
        if not tried:
            raise _Missing("All users are alike in what is measured.")
        k = max(tried, key=lambda k: tried[k][0])
        label = nearest(points, tried[k][1])
        label, merged = _merged(points, label, self.min_size)
        order = np.argsort(-np.bincount(label))
        label = np.argsort(order)[label]
        count = np.bincount(label)
        G = len(count)
        share = wilson(count / len(label), len(label))
        value, low, high = (np.full((G, 1 + len(names)), np.nan) for _ in range(3))
        value[:, 0], low[:, 0], high[:, 0] = share
        for g in range(G):
            for j in range(len(names)):
                value[g, 1 + j], low[g, 1 + j], high[g, 1 + j], _ = self.mean(table[label == g, j])
        value[:, 1:], low[:, 1:], high[:, 1:] = (self._back(names, a[:, 1:]) for a in (value, low, high))
        people = self.events.select("user").unique().sort("user").with_columns(pl.Series("group", label))
        grouped = self.events.join(people, on="user")
        for j, name in enumerate(names):  # as it is, where the feature is shrunken
            if name in ("click rate", "purchases per click"):
                kind = ("is_click", None) if name == "click rate" else ("is_purchase", "is_click")
                for g, found in self.rate(grouped, "group", *kind).items():
                    value[g, 1 + j], low[g, 1 + j], high[g, 1 + j], _ = found
        n = np.repeat(count[:, None], 1 + len(names), axis=1)
        letters = tuple(f"group {chr(65 + g)}" for g in range(G))
        width = tried[k][0]
        kind = "as asked for" if self.segments else f"of 2 to {most}, the number of the largest silhouette, {width:.2f}"
        reading = (
            f"{G} group{'s' if G > 1 else ''}; the largest has {percent_text(count[0] / len(label))} of the users."
        )
        if width < 0.25:
            reading += " They are not clearly apart: read them as a sketch, not as kinds of users."
        if merged:
            reading += f" {merged} group{'s' if merged > 1 else ''} of fewer than {self.min_size} users {'were' if merged > 1 else 'was'} merged into the nearest."
        about = (f"Users grouped by k-means on standardised features (counts, prices and seconds as logarithms), {k} groups, {kind}; "
                 f"none of fewer than {self.min_size} users. Columns: share of users, then means over them (geometric for counts, "
                 "prices and seconds). Intervals take the groups as given.")  # fmt: skip
        kinds = {
            "share of users": "share",
            "click rate": "share",
            "purchases per click": "share",
            "price": "price",
            "dwell": "seconds",
        }
        units = tuple(kinds.get(name, "") for name in ("share of users", *names))
        return Section("segments", about, ("share of users", *names), value, low, high, n, "", "", "users", "matrix", letters,
                       units, reading)  # fmt: skip

    LOGARITHMS = ("rows", "sessions", "price", "dwell")

    def _features(self) -> tuple[list[str], Array]:
        """(U, f) features of users, some as logarithms."""
        per: list[Any] = [pl.len().cast(pl.Float64).log().alias("rows")]
        if "session" in self.events.columns:
            per.append(pl.col("session").n_unique().cast(pl.Float64).log().alias("sessions"))
        if self.rates:  # shrunken to the mean, as few rows make extreme rates
            mean = float(self.events["is_click"].mean() or 0)  # type: ignore[arg-type]
            per.append(((pl.col("is_click").sum() + 10 * mean) / (pl.len() + 10)).alias("click rate"))
        clicked = pl.col("clicked") if self.rates or not self.logs.impressions else pl.lit(True)
        if "purchase" in self.events.columns and (self.rates or not self.logs.impressions):
            clicks = clicked.sum()
            mean = float(self.events["is_purchase"].sum() / max(int(self.events["clicked"].sum()), 1))
            per.append(((pl.col("is_purchase").sum() + 10 * mean) / (clicks + 10)).alias("purchases per click"))
        if "price" in self.events.columns:
            price = pl.when((pl.col("price") > 0) & pl.col("price").is_finite()).then(
                pl.col("price").cast(pl.Float64).log()
            )
            per.append(price.filter(clicked).mean().alias("price"))
        if "dwell" in self.events.columns:
            dwell = pl.when((pl.col("dwell") > 0) & pl.col("dwell").is_finite()).then(
                pl.col("dwell").cast(pl.Float64).log()
            )
            per.append(dwell.mean().alias("dwell"))
        if "topic" in self.events.columns:
            per.append(pl.col("topic").filter(clicked).n_unique().cast(pl.Float64).alias("topics clicked"))
        table = self.events.group_by("user").agg(per).sort("user").drop("user")
        table = table.with_columns(pl.all().fill_nan(None)).with_columns(pl.all().fill_null(pl.all().mean()))
        table = table.select(column for column in table.columns if table[column].null_count() == 0)
        return table.columns, table.to_numpy().astype(np.float64)

    def _back(self, names: Sequence[str], values: Array) -> Array:
        """Means of logarithms as geometric means."""
        return np.column_stack(
            [np.exp(values[:, j]) if name in self.LOGARITHMS else values[:, j] for j, name in enumerate(names)]
        )


def _merged(points: Array, label: NDArray[np.int64], least: int) -> tuple[NDArray[np.int64], int]:
    """Labels 0 to G - 1 after each group that is too small went to the nearest other one, the smallest first; how many did."""
    _, label = np.unique(label, return_inverse=True)
    merged = 0
    while True:
        count = np.bincount(label)
        small = int(count.argmin())
        if count[small] >= least or len(count) == 1:
            return label, merged
        centre = np.array([points[label == g].mean(axis=0) for g in range(len(count))])
        distance = np.square(centre - centre[small]).sum(axis=1)
        distance[small] = np.inf
        label = np.where(label == small, int(distance.argmin()), label)
        _, label = np.unique(label, return_inverse=True)
        merged += 1


def _earlier(within: NDArray[Any], what: NDArray[Any], step: NDArray[Any]) -> NDArray[np.int64]:
    """Of each of n rows, in the order of time: how many rows of earlier steps have the same `within` and `what`.

    Args:
        within, what, step: (n,) codes >= 1; rows of one step and one `within` stand together.
    """
    if not len(what):
        return np.empty(0, np.int64)
    key = within.astype(np.int64) * (int(what.max()) + 1) + what
    order = np.argsort(key, kind="stable")
    key, step = key[order], step[order]
    place = np.arange(len(key))
    new = np.r_[True, key[1:] != key[:-1]]
    begin = np.maximum.accumulate(np.where(new, place, 0))  # the first row of the key
    step_begin = np.maximum.accumulate(np.where(new | np.r_[True, step[1:] != step[:-1]], place, 0))
    seen = np.empty(len(key), np.int64)
    seen[order] = step_begin - begin
    return seen


def _survival(name: str, about: str, curve: Any, axis: str, counted: str, reading: str) -> Section:
    x = tuple(float(t) for t in curve.time)
    return Section(name, about, x, curve.value, curve.low, curve.high, curve.at_risk, axis, "share", counted, "steps",
                   reading=reading)  # fmt: skip


def _median(time: Array, survival: Array) -> float:
    """The first time at which half or less are left; infinity where there is none."""
    below = np.flatnonzero(survival <= 0.5)
    return float(time[below[0]]) if len(below) else math.inf


def _wilson(count: Any, n: Any) -> tuple[float, float, float]:
    found = wilson(float(count) / float(n), float(n))
    return float(found.value), float(found.low), float(found.high)


def _columns(found: Iterable[tuple[float, float, float, int]]) -> tuple[Array, Array, Array, NDArray[np.int64]]:
    rows = [*found]
    value, low, high = (np.array([row[k] for row in rows], np.float64) for k in range(3))
    return value, low, high, np.array([row[3] for row in rows], np.int64)


def _plain(values: ArrayLike) -> Any:
    """Nested lists, with None for what is no number."""
    array = np.asarray(values, np.float64)
    if array.ndim > 1:
        return [_plain(row) for row in array]
    return [float(f"{v:.10g}") if math.isfinite(v) else None for v in array.tolist()]


def _natural(name: str) -> tuple[int, int, str]:
    return (0, int(name), "") if name.isdecimal() and len(name) < 18 else (1, 0, name)


def _between(edges: Sequence[float], k: int) -> str:
    if k == 0:
        return f"< {edges[1]:g}"
    return f"{edges[k]:g}–{edges[k + 1]:g}" if k + 1 < len(edges) else f"≥ {edges[k]:g}"


def _plural(name: str) -> str:
    return "purchases" if name == "purchase" else f"{name}s"


def percent_text(value: float) -> str:
    """A share in words: 12 %, 1.2 %, 0.034 %."""
    if not math.isfinite(value):
        return "unknown"
    digits = 0 if abs(value) >= 0.1 or value == 0 else 1 if abs(value) >= 0.01 else 2 if abs(value) >= 0.001 else 3
    return f"{100 * value:.{digits}f} %"


def seconds_text(value: float) -> str:
    """Seconds in words: 3.5 s, 20 s, 4 min."""
    return f"{value:.2g} s" if value < 10 else f"{value:.0f} s" if value < 120 else f"{value / 60:.2g} min"


def _duration(hours: float) -> str:
    if hours >= 48:
        return f"{hours / 24:g} days"
    return f"{hours:g} hour{'s' if hours != 1 else ''}"


def _group(low: int) -> str:
    """The group of `SEEN` that begins there, in words."""
    if low == SEEN[-1]:
        return f"{low} or more"
    last = SEEN[SEEN.index(low) + 1] - 1
    return f"{low} to {last}" if last > low else "none" if low == 0 else f"{low}"


def _range(value: tuple[float, float, float, int], form: Callable[[float], str]) -> str:
    """[low, high], or nothing where there is no interval."""
    if not math.isfinite(value[1]):
        return ""
    low, high = (form(end).removesuffix(" %") for end in value[1:3])
    return f"[{low}, {high}]"


def _listed(parts: Iterable[str]) -> str:
    """A, b and c."""
    found = [*parts]
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
