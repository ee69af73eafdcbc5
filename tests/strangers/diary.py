"""A reader of logs of one's own: a diary with lines such as "2024-05-01 10:00 anna read gardening for 90 s"."""

from __future__ import annotations

import re
from pathlib import Path

import polars as pl

from recgym.logs import Reading, Tables, register_reader

LINE = re.compile(r"(?P<time>\S+ \S+) (?P<user>\w+) (?P<what>read|saw) (?P<item>\w+)(?: for (?P<seconds>\d+) s)?")


def diary(path: Path, reading: Reading, *, shout: bool = False) -> Tables:
    """Everything that is seen is shown, everything that is read is clicked."""
    rows = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        reading.ledger.read += 1
        found = LINE.fullmatch(line)
        if found is None:
            reading.ledger.add(path.name, number, "must be an entry of a diary", line)
        else:
            item = found["item"].upper() if shout else found["item"]
            rows.append((found["user"], item, found["time"], found["what"] == "read", found["seconds"], number))
    events = pl.DataFrame(rows, schema=["user", "item", "time", "click", "dwell", "_line"], orient="row")
    events = events.with_columns(
        pl.col("time").str.to_datetime("%Y-%m-%d %H:%M", time_zone="UTC", time_unit="us"),
        pl.col("dwell").cast(pl.Float32),
    )
    return Tables(events, source={"name": "a diary"}, files=(path.name,))


register_reader("diary", diary)
