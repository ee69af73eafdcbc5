"""Logs made up for tests of their analysis: users with tastes of their own, and laws that are known exactly."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl

from recgym.logs import Logs

START = datetime(2024, 3, 4, tzinfo=UTC)  # a Monday
TOPICS = ("books", "shoes", "toys & <b>games</b>", "music")
POSITION = (1.0, 0.6, 0.35)  # of the click rate
STAY = 0.8  # chance of another slate after each
RETURN = 30.0  # mean hours until a user is back
TIRING = 0.85  # of the click rate, for each earlier item of the topic in the session, up to 10
DWELL = (3.0, 1.0)  # of the logarithm of seconds, mean and standard deviation
CLICKS = 0.12  # mean click rate at the top of what is not tired
SPREAD = 0.6  # of the logarithm of users' click rates


def made_up(users: int = 300, weeks: int = 4, seed: int = 0, items: int = 60, spread: float = SPREAD) -> Logs:
    """Logs of users who arrive over the weeks, come back after exponential pauses, and leave a session with chance 1 - STAY."""
    rng = np.random.default_rng(seed)
    end = weeks * 7 * 24.0
    topic, price = rng.integers(len(TOPICS), size=items), np.exp(rng.normal(3, 0.5, items)).round(2)
    columns: dict[str, list[Any]] = {name: [] for name in ("user", "item", "hours", "session", "slate", "position", "click",
                                                           "cart", "purchase", "dwell")}  # fmt: skip
    session = slate = 0
    for user in range(users):
        level = CLICKS * np.exp(rng.normal(0, spread) - spread**2 / 2)
        taste = rng.dirichlet(np.full(len(TOPICS), 0.5))
        now = rng.uniform(0, end * 0.8)
        while now < end:
            seen = np.zeros(len(TOPICS), int)
            while now < end:
                shown = rng.choice(items, len(POSITION), replace=False)
                before = seen.copy()
                for position, item in enumerate(shown):
                    k = topic[item]
                    rate = level * POSITION[position] * TIRING ** min(before[k], 10)
                    rate *= 2 * len(TOPICS) * taste[k] / (1 + len(TOPICS) * taste[k])
                    rate *= (price[item] / 20) ** -0.5
                    click = bool(rng.random() < min(rate, 1))
                    cart = bool(click and rng.random() < 0.3)
                    row = (user, int(item), now, session, slate, position, click, cart, bool(cart and rng.random() < 0.4),
                           float(np.exp(rng.normal(*DWELL))) if click else None)  # fmt: skip
                    for name, value in zip(columns, row):
                        columns[name].append(value)
                    seen[k] += 1
                slate += 1
                if rng.random() > STAY:
                    break
                now += 1 / 60
            session += 1
            now += 0.6 + rng.exponential(RETURN)
    frame = pl.DataFrame({**columns, "price": price[columns["item"]]})
    time = pl.lit(START) + pl.duration(microseconds=(pl.col("hours") * 3.6e9).cast(pl.Int64))
    types: dict[str, Any] = {"user": pl.UInt32, "item": pl.UInt32, "session": pl.UInt32, "slate": pl.UInt32,
                             "position": pl.UInt16, "dwell": pl.Float32, "price": pl.Float32}  # fmt: skip
    events = frame.with_columns(time.dt.cast_time_unit("us").alias("time")).drop("hours").cast(types)
    return logs_of(events, [TOPICS[k] for k in topic])


def logs_of(events: pl.DataFrame, topic: list[str] | None = None, impressions: bool = True, **source: Any) -> Logs:
    """Logs around a table of events with codes."""
    order = [name for name in ("user", "time", "slate", "position") if name in events.columns]
    events = events.sort(order, maintain_order=True)
    n, users = int(events["item"].max()) + 1, int(events["user"].max()) + 1  # type: ignore[arg-type]
    n = max(n, len(topic or ()))
    items = pl.DataFrame({"item": pl.Series(range(n), dtype=pl.UInt32), "id": [f"i{k}" for k in range(n)]})
    if topic:
        items = items.with_columns(pl.Series("topic", topic))
    people = pl.DataFrame({"user": pl.Series(range(users), dtype=pl.UInt32), "id": [f"u{k}" for k in range(users)]})
    return Logs(events, items, people, impressions, source)
