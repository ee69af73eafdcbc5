"""The event table as arrays of slates: what the likelihoods of a fit are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recgym.errors import FitError
from recgym.kernel import kernel
from recgym.logs.table import EVENTS, FEATURE
from recgym.types import Array

if TYPE_CHECKING:
    from recgym.logs.table import Logs

MINUTE = np.timedelta64(60_000_000, "us")
WIDEST = 100  # positions of a slate that are read


@dataclass(frozen=True, eq=False)
class Slates:
    """Logs as slates. M slates of up to S items, shown to U users, of N items; slates are in the order of users and time.

    Args:
        item: (M, S) int32, -1 = nothing. click: (M, S) bool.
        signal: (M, S, F) float32, what was known of the items then; 0 where there is none. signals: their names.
        outcome: name -> (M, S) float32 of the columns that were logged: EVENTS as 0 or 1, "dwell" in minutes.
        user: (M,) int32. clock: (M,) float64 minutes since `start`. gap: (M,) float64 minutes since the user's slate before, 0 at the first.
        step: (M,) int32, steps since the session began. ends: (M,) int8: 1 = the session's last slate, 0 = not, -1 = the last that the
            logs show, too near to their end to tell.
        first: (U + 1,) int64, where the slates of each user begin.
        topic: (N,) int32 in [0, T). start: midnight of the Monday before the logs begin.
    """

    item: NDArray[np.int32]
    click: NDArray[np.bool_]
    signal: NDArray[np.float32]
    signals: tuple[str, ...]
    outcome: dict[str, NDArray[np.float32]]
    user: NDArray[np.int32]
    clock: NDArray[np.float64]
    gap: NDArray[np.float64]
    step: NDArray[np.int32]
    ends: NDArray[np.int8]
    first: NDArray[np.int64]
    topic: NDArray[np.int32]
    n_topics: int
    start: np.datetime64

    def __len__(self) -> int:
        return len(self.item)

    @property
    def n_items(self) -> int:
        return len(self.topic)

    @property
    def n_users(self) -> int:
        return len(self.first) - 1

    @property
    def shown(self) -> NDArray[np.bool_]:
        """(M, S) bool, where there is an item."""
        return self.item >= 0

    def mean(self, values: Array) -> NDArray[np.float64]:
        """(M,) means of (M, S) numbers over the items of each slate; 0 where there is none."""
        return np.where(self.shown, values, 0.0).sum(axis=1) / np.maximum(self.shown.sum(axis=1), 1)


def slates_of(logs: Logs) -> Slates:
    """The slates of a table.

    Rows without a slate of their own are one if they have the same user and time. Sessions that the table does not have end after a gap
    of half an hour. The signals are `log_price`, the log of the price over the median price of the items of the topic unless the logs have a
    `feature_log_price`, and `price`, in hundreds of currency units, where prices were logged; and the columns `feature_NAME`. Topics are those of the items' column `topic`; where there is none, all
    items have one.

    Raises:
        FitError: no rows, or none with a click.
    """
    import polars as pl

    events = logs.events
    if not len(events):
        raise FitError("logs: must have rows, got none")
    if "click" not in events.columns:
        events = events.with_columns(click=pl.lit(True))
    events = events.with_columns(pl.col("click").fill_null(False))
    if "slate" not in events.columns:
        events = events.with_columns(slate=pl.struct("user", "time").rank("dense").cast(pl.UInt32))
    user = events["user"].to_numpy().astype(np.int64)
    slate = events["slate"].to_numpy().astype(np.int64)
    new = np.r_[True, (np.diff(slate) != 0) | (np.diff(user) != 0)]
    row = np.cumsum(new) - 1  # slate of each row
    begin = np.flatnonzero(new)
    place = np.arange(len(row)) - begin[row]
    if "position" in events.columns:
        logged = events["position"].fill_null(0).to_numpy().astype(np.int64)
        clash = np.bincount(row * (WIDEST + 1) + np.minimum(logged, WIDEST), minlength=1).max() > 1
        place = place if clash else logged
    keep = place < WIDEST
    row, place, events = row[keep], place[keep], events.filter(pl.Series(keep))
    M, S = len(begin), int(place.max()) + 1
    time = (
        events["time"]
        .dt.replace_time_zone(None)
        .to_numpy()
        .astype("datetime64[us]")[np.searchsorted(row, np.arange(M))]
    )
    # 1970-01-05 was a Monday
    day = time.min().astype("datetime64[D]")
    start = (day - np.timedelta64(int((day.astype(int) - 4) % 7), "D")).astype("datetime64[us]")
    clock = (time - start) / MINUTE
    people = user[begin]
    same = np.r_[False, np.diff(people) == 0]
    gap = np.where(same, np.r_[0.0, np.diff(clock)], 0.0)
    if "session" in events.columns:
        session = np.zeros(M, np.int64)
        session[row] = events["session"].fill_null(0).to_numpy()
        fresh = ~same | np.r_[True, np.diff(session) != 0]
    else:
        fresh = ~same | (gap > 30.0)
    last = np.r_[fresh[1:], True]
    censored = last & (clock > clock.max() - 30.0)
    item = np.full((M, S), -1, np.int32)
    item[row, place] = events["item"].to_numpy()
    click = np.zeros((M, S), np.bool_)
    click[row, place] = events["click"].to_numpy()
    if not click.any():
        raise FitError("logs: must have clicks, got none")
    topic, T = _topics(logs)
    names, columns = _signals(logs, events, topic)
    signal = np.zeros((M, S, len(names)), np.float32)
    for f, values in enumerate(columns):
        signal[row, place, f] = values
    outcome = {}
    for name in (*EVENTS, "dwell"):
        if name in events.columns and events[name].null_count() < len(events):
            values = np.zeros((M, S), np.float32)
            values[row, place] = events[name].cast(pl.Float32).fill_null(0.0).to_numpy() / (
                60.0 if name == "dwell" else 1.0
            )
            if values.any():
                outcome[name] = values
    return Slates(
        item, click, signal, tuple(names), outcome, people.astype(np.int32), clock, gap,
        steps_since(fresh).astype(np.int32), np.where(censored, -1, last).astype(np.int8),
        np.r_[np.flatnonzero(~same), M], topic, T, start,
    )  # fmt: skip


def steps_since(fresh: NDArray[np.bool_]) -> NDArray[np.int64]:
    """(M,) steps since the last one that was `fresh`; 0 there."""
    count = np.arange(len(fresh))
    return count - np.maximum.accumulate(np.where(fresh, count, 0))


def _topics(logs: Logs) -> tuple[NDArray[np.int32], int]:
    if "topic" not in logs.items.columns:
        return np.zeros(logs.n_items, np.int32), 1
    given = logs.items["topic"]
    if given.dtype.is_numeric():
        levels, topic = np.unique(given.fill_null(0).to_numpy(), return_inverse=True)
    else:
        levels, topic = np.unique(given.cast(str).fill_null("").to_numpy().astype(str), return_inverse=True)
    return topic.astype(np.int32), len(levels)


def _signals(logs: Logs, events: Any, topic: NDArray[np.int32]) -> tuple[list[str], list[Array]]:
    """Names and values, one for each row, of the signals."""
    names, columns = [], []
    if "price" in events.columns and events["price"].null_count() < len(events):
        price = np.maximum(events["price"].fill_null(events["price"].median()).to_numpy().astype(np.float64), 0.01)
        names += ["log_price", "price"]
        relative = f"{FEATURE}log_price"
        if relative in events.columns:  # the platform's own
            log_price = events[relative].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.float64)
        else:
            log_price = _relative(np.log(price), events["item"].to_numpy(), topic)
        columns += [np.clip(log_price, -4, 4), np.minimum(price / 100.0, 1e6)]
    for column in events.columns:
        name = column.removeprefix(FEATURE)
        if name != column and name not in names:
            values = events[column].fill_null(0.0).fill_nan(0.0).to_numpy().astype(np.float64)
            if np.ptp(values) > 0:
                names.append(name)
                columns.append(values)
    return names, columns


def _relative(log_price: Array, item: NDArray[np.uint32], topic: NDArray[np.int32]) -> Array:
    """Log prices less the median over the items of the topic; what an item costs is its mean over time."""
    count = np.bincount(item, minlength=len(topic))
    mean = np.bincount(item, log_price, len(topic)) / np.maximum(count, 1)
    of = np.where(count > 0, topic, -1)
    usual = np.array([np.median(mean[of == z]) if (of == z).any() else 0.0 for z in range(int(topic.max()) + 1)])
    return log_price - usual[topic[item]]


@kernel
def replay_fatigue(fatigue, total, item, click, topic, user, step, gap, length, ignored, clicked, half_life, limit):
    """The fatigue of the topic of each item (M, S), and its sum over the topics after each slate (M,), as `Fatigue` has them.

    The sum is that after `length` minutes, and not after those until the next slate: whether there is one it must not tell.
    """
    now = np.zeros(topic.max() + 1)
    for m in range(item.shape[0]):
        if m == 0 or user[m] != user[m - 1]:
            now[:] = 0.0
        elif step[m] == 0:  # after some time away
            now *= 2.0 ** (-gap[m] / half_life)
        for s in range(item.shape[1]):
            if item[m, s] >= 0:
                fatigue[m, s] = now[topic[item[m, s]]]
        within = m + 1 < item.shape[0] and user[m + 1] == user[m] and step[m + 1] > 0
        after = now * 2.0 ** (-length[m] / half_life)
        now *= 2.0 ** (-(gap[m + 1] if within else 0.0) / half_life)  # the step itself takes this long
        for s in range(item.shape[1]):
            if item[m, s] >= 0:
                z, more = topic[item[m, s]], clicked if click[m, s] else ignored
                now[z], after[z] = min(now[z] + more, limit), min(after[z] + more, limit)
        total[m] = after.sum()


@kernel
def replay_level(level, value, item, user, memory, least, initial):
    """(M,) running mean of a number (M, S) over the slates before, from `initial` on: its mean in each slate, or its least."""
    for m in range(item.shape[0]):
        level[m] = initial
        if m > 0 and user[m] == user[m - 1]:
            total, low, n = 0.0, np.inf, 0
            for s in range(item.shape[1]):
                if item[m - 1, s] >= 0:
                    total += value[m - 1, s]
                    low = min(low, value[m - 1, s])
                    n += 1
            level[m] = level[m - 1]
            if n > 0:
                level[m] = memory * level[m - 1] + (1.0 - memory) * (low if least else total / n)


@kernel
def replay_pull(match, item, click, embedding, user, memory):
    """(M, S) inner product of each item with the sum of the embeddings clicked before, fading by `memory` in each step."""
    d = embedding.shape[1]
    pull = np.zeros(d)
    for m in range(item.shape[0]):
        if m == 0 or user[m] != user[m - 1]:
            pull[:] = 0.0
        for s in range(item.shape[1]):
            if item[m, s] >= 0:
                total = 0.0
                for k in range(d):
                    total += pull[k] * embedding[item[m, s], k]
                match[m, s] = total
        pull *= memory
        for s in range(item.shape[1]):
            if item[m, s] >= 0 and click[m, s]:
                for k in range(d):
                    pull[k] += embedding[item[m, s], k]
