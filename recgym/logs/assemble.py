"""From events with ids as text, in any order, to the event table: codes, order, sessions, hashed ids."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from recgym.errors import FitError
from recgym.logs.convert import IDS
from recgym.logs.ledger import Ledger
from recgym.logs.needs import need_polars
from recgym.logs.privacy import hashed
from recgym.logs.table import COLUMNS, FEATURE, Logs, dtypes

if TYPE_CHECKING:
    import polars as pl

MOST_POLICIES = 1_000


@dataclass
class Tables:
    """What a reader hands over.

    Args:
        events: `item`, and `user`, `session`, `slate` where there are any, as the logs have them: text or whole numbers. Without
            `user`, every row is an anonymous user of its own. `time`: microseconds since 1970, UTC, or Datetime. Any other of `COLUMNS`, of its dtype, and `feature_NAME`. `_line` and `_file`, the place of a
            row in `files`, are for messages.
        items, users: `id` as in the events, no two alike, and attributes; None: no attributes.
        impressions: whether rows that were shown and not clicked are there.
        source: plain JSON values that say where this comes from: name, citation, what was guessed.
        sessions: whether sessions may be derived from gaps in time, where the logs have none.
        files: names of the files, for messages.
        in_order: whether items keep the order of the table of items, which then has all of them.
    """

    events: pl.DataFrame
    items: pl.DataFrame | None = None
    users: pl.DataFrame | None = None
    impressions: bool = True
    source: dict[str, Any] = field(default_factory=dict)
    sessions: bool = True
    files: tuple[str, ...] = ()
    in_order: bool = False


def assemble(
    tables: Tables, ledger: Ledger, *, keep_ids: bool, salt: str | None, session_gap: float, duplicates: str
) -> Logs:
    """The event table of what a reader found.

    Users and items are numbered by their first event, so that codes say nothing of ids. A slate has the time of its first row.
    Sessions of a user that overlap are one visit.

    Args:
        tables: what was found. ledger: of the rows that were not. keep_ids: whether ids stay as they are. salt: of hashed ids;
            None: a random one. session_gap: minutes without an event after which a new session begins, where the logs have none.
        duplicates: "drop" or "keep" rows that are like an earlier one in every column.

    Raises:
        FitError: there are no events, or they break a rule of the table.
    """
    pl = need_polars()
    events, source = tables.events, dict(tables.source)
    _require_columns(events)
    if not len(events):
        raise FitError("events: no row can be used")
    if events["time"].dtype == pl.Int64:
        events = events.with_columns(pl.col("time").cast(pl.Datetime("us")).dt.replace_time_zone("UTC"))
    events = events.with_columns(
        *(pl.col(name).cast(pl.String) for name in IDS if name in events.columns),
        _row=pl.int_range(pl.len(), dtype=pl.UInt32),
    )
    if "user" not in events.columns:
        events = events.sort("time", "_row").with_columns(user=pl.int_range(pl.len(), dtype=pl.UInt32).cast(pl.String))
        source["users"] = "not known: every row is an anonymous user of its own"
    events, users = _coded(events, "user")
    events, items = _coded(events, "item", tables.items["id"] if tables.in_order and tables.items is not None else None)
    if "slate" in events.columns:
        events = _slates(events)
    if "session" in events.columns:
        events, joined = _visits(events)
        if joined:
            source["sessions"] = (
                f"as logged; {joined:,} that overlapped with another of the same user are joined with it"
            )
    keys = [name for name in ("user", "time", "slate", "position") if name in events.columns]
    events = events.sort([*keys, "item", "_row"])
    if duplicates == "drop":
        events = _without_duplicates(events, keys, tables.files, ledger)
    if "slate" in events.columns:
        events = events.with_columns(numbered("slate"))
    if "session" not in events.columns and tables.sessions:
        gap = pl.duration(microseconds=round(session_gap * 60e6))
        new = (pl.col("user") != pl.col("user").shift()) | (pl.col("time") - pl.col("time").shift() > gap)
        events = events.with_columns(session=new.fill_null(False).cum_sum().cast(pl.UInt32))
        source["sessions"] = f"derived: a new one after {session_gap:g} minutes without an event"
    elif "session" in events.columns:
        events = events.with_columns(numbered("session"))
    events = events.select(_columns(events))
    events = _typed(events)
    salt = secrets.token_hex(16) if salt is None else salt
    hashed = None if keep_ids else salt
    source["privacy"] = (
        "as in the files"
        if keep_ids
        else "the first 16 hexadecimal digits of SHA-256 of a salt and the id; the salt is not kept"
    )
    return Logs(
        events, _attributed(items, tables.items, "item", hashed, source), _attributed(users, tables.users, "user", hashed, source),
        tables.impressions, source, tuple(ledger.problems), dict(ledger.dropped),
    )  # fmt: skip


def _require_columns(events: pl.DataFrame) -> None:
    for name in ("user", "item", "time"):
        if name not in events.columns and name != "user":
            raise FitError(f"events: lacks the column {name}")
        if name in events.columns and events[name].null_count():
            raise FitError(f"events.{name}: must be given in every row, got {events[name].null_count():,} nulls")


def _coded(events: pl.DataFrame, name: str, known: pl.Series | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Codes in place of ids, and the ids in the order of their codes: that of `known`, or that of their first events."""
    pl = need_polars()
    if known is None:
        first = events.group_by(name).agg(pl.col("time").min(), pl.col("_row").min()).sort("time", "_row")
        ids = first.select(pl.col(name).alias("id")).with_row_index("code")
    else:
        ids = pl.DataFrame({"id": known}).with_row_index("code")
    codes = events.select(name).join(ids, left_on=name, right_on="id", how="left", maintain_order="left")["code"]
    return events.with_columns(codes.alias(name)), ids.select("id")


def _slates(events: pl.DataFrame) -> pl.DataFrame:
    """Slates numbered by user and time, all rows of one at its first time; a row without slate is one of its own."""
    pl = need_polars()
    events = _own_where_null(events, "slate")
    keys = ["user", "slate"]
    first = (
        events.group_by(keys)
        .agg(_time=pl.col("time").min(), _first=pl.col("_row").min())
        .sort("user", "_time", "_first")
    )
    codes = first.select(*keys, "_time").with_row_index("_slate")
    found = events.select(keys).join(codes, on=keys, how="left", maintain_order="left")
    return events.with_columns(found["_slate"].alias("slate"), found["_time"].alias("time"))


def _visits(events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Visits in place of sessions, and how many sessions were joined with another."""
    pl = need_polars()
    events = _own_where_null(events, "session")
    keys = ["user", "session"]
    spans = (
        events.group_by(keys).agg(_start=pl.col("time").min(), _end=pl.col("time").max()).sort("user", "_start", "_end")
    )
    before = pl.col("_end").cum_max().shift().over("user")
    spans = spans.with_columns(_new=(pl.col("_start") > before).fill_null(True))
    spans = spans.with_columns(_visit=pl.col("_new").cum_sum().cast(pl.UInt32))
    found = events.select(keys).join(spans.select(*keys, "_visit"), on=keys, how="left", maintain_order="left")
    return events.with_columns(found["_visit"].alias("session")), int((~spans["_new"]).sum())


def _own_where_null(events: pl.DataFrame, name: str) -> pl.DataFrame:
    """A row without a slate or a session is one of its own."""
    pl = need_polars()
    if not events[name].null_count():
        return events
    own = pl.concat_str(pl.lit("\0"), pl.col("_row").cast(pl.String))
    return events.with_columns(pl.col(name).fill_null(own))


def numbered(name: str) -> Any:
    """0, 1, 2, ... by runs of a column, in the order of the rows."""
    pl = need_polars()
    return (pl.col(name) != pl.col(name).shift()).fill_null(False).cum_sum().cast(pl.UInt32).alias(name)


def _without_duplicates(events: pl.DataFrame, keys: list[str], files: tuple[str, ...], ledger: Ledger) -> pl.DataFrame:
    """Rows that are not like an earlier one in every column; looked for among those that agree in what events are sorted by."""
    pl = need_polars()
    compared = [*keys, "item"]
    alike = pl.all_horizontal(pl.col(name).eq_missing(pl.col(name).shift()) for name in compared)
    again = events.select(alike.fill_null(False).alias("again"))["again"]
    if len(again):
        again = again.set(pl.arange(len(again), eager=True) == 0, False)
    if not again.any():
        return events
    group = again | again.shift(-1, fill_value=False)
    values = _columns(events)
    some = events.filter(group).select(values)
    extra = pl.Series(~some.is_unique()) & ~some.select(pl.struct(values).is_first_distinct().alias("first"))["first"]
    if not extra.any():
        return events
    dropped = pl.repeat(False, len(events), eager=True)
    dropped = dropped.scatter(group.arg_true(), extra)
    lost = events.filter(dropped).sort("_row")
    rule = "is like an earlier row in every column"
    place = lost["_line"] if "_line" in lost.columns else pl.repeat(0, len(lost), eager=True)
    which = lost["_file"].to_list()[:1] if "_file" in lost.columns else [0]
    file = files[which[0]] if files else ""
    ledger.add_rows(file, place, rule, pl.repeat("this row", len(lost), eager=True), aside=True)
    return events.filter(~dropped)


def _columns(events: pl.DataFrame) -> list[str]:
    """Those of the table, in its order."""
    features = sorted(name for name in events.columns if name.startswith(FEATURE))
    return [*(name for name in COLUMNS if name in events.columns), *features]


def _typed(events: pl.DataFrame) -> pl.DataFrame:
    """The dtypes of the table; positions from 0."""
    pl = need_polars()
    cast = []
    for name, dtype in dtypes().items():
        if name not in events.columns:
            continue
        if name == "policy":
            words = events["policy"].drop_nulls().unique().sort()
            dtype = pl.Enum(words.cast(pl.String)) if len(words) <= MOST_POLICIES else pl.String()
        if events[name].dtype != dtype:
            cast.append(pl.col(name).cast(dtype))
    cast += [pl.col(name).cast(pl.Float32) for name in events.columns if name.startswith(FEATURE)]
    return events.with_columns(cast)


def _attributed(
    ids: pl.DataFrame, table: pl.DataFrame | None, code: str, salt: str | None, source: dict[str, Any]
) -> pl.DataFrame:
    """The table of items or of users: those of the events in the order of their codes, then the others; ids as they are kept."""
    pl = need_polars()
    if table is not None:
        if table.columns[:1] != ["id"]:
            raise FitError(f"{code}s: must begin with the column id, got {table.columns[:1]}")
        table = table.with_columns(pl.col("id").cast(pl.String))
        if table["id"].n_unique() < len(table):
            raise FitError(f"{code}s: has the id {table['id'].filter(table['id'].is_duplicated())[0]!r} twice")
        more = table.select("id").join(ids, on="id", how="anti", maintain_order="left")
        unknown = len(ids) - (len(table) - len(more))
        if unknown:
            source[f"{code}s without attributes"] = unknown
        ids = pl.concat([ids, more]).join(table, on="id", how="left", maintain_order="left")
        vector = [name for name in ids.columns if name.startswith(("embedding_", "profile_"))]
        ids = ids.with_columns(pl.col(vector).fill_null(0.0)) if vector else ids
    if salt is not None:
        ids = ids.with_columns(pl.Series("id", list(hashed(ids["id"].to_list(), salt)), dtype=pl.String))
    return ids.with_row_index(code)
