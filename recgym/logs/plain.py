"""Plain tables: CSV, TSV and Parquet with columns of any names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recgym.errors import ConfigError, FitError, nearest, require
from recgym.logs.assemble import Tables
from recgym.logs.convert import Clock, Rule
from recgym.logs.fold import KINDS, folded, kinds_by_word
from recgym.logs.needs import need_polars
from recgym.logs.readers import Reading, attribute_table, check_encoding, register_reader
from recgym.logs.table import FEATURE, parquet_schema

if TYPE_CHECKING:
    import polars as pl

# Usual names, in lower case and without _ and -: of columns of the event table, of times in milliseconds, of attributes.
USUAL = {
    "user": ("user", "userid", "uid", "customer", "customerid", "visitor", "visitorid", "account", "accountid", "member",
             "memberid", "client", "clientid", "cookie", "cookieid", "device", "deviceid", "reader", "readerid", "viewer", "viewerid"),
    "item": ("item", "itemid", "iid", "product", "productid", "article", "articleid", "content", "contentid", "video", "videoid",
             "movie", "movieid", "news", "newsid", "track", "trackid", "song", "songid", "sku", "asin", "aid", "doc", "docid"),
    "time": ("time", "timestamp", "ts", "datetime", "eventtime", "eventtimestamp", "timems", "timestampms", "unixtime",
             "createdat", "occurredat", "date"),
    "session": ("session", "sessionid", "usersession", "visit", "visitid"),
    "slate": ("slate", "slateid", "impressionid", "request", "requestid", "pageview", "pageviewid"),
    "position": ("position", "pos", "rank", "slot"),
    "propensity": ("propensity", "propensityscore", "pscore", "actionprob"),
    "policy": ("policy", "policyname", "loggingpolicy"),
    "click": ("click", "clicked", "isclick", "isclicked"),
    "cart": ("cart", "addtocart", "addedtocart", "iscart"),
    "purchase": ("purchase", "purchased", "ispurchase", "bought", "conversion", "converted"),
    "like": ("like", "liked", "islike", "isliked"),
    "share": ("share", "shared", "isshare", "forward", "isforward"),
    "dwell": ("dwell", "dwelltime", "dwellseconds", "dwellms", "watchtime", "watchseconds", "watchms", "watchtimems", "playtime",
              "playtimems", "timespent", "readtime", "readseconds", "seconds"),
    "gift": ("gift", "giftamount", "giftprice", "giftvalue"),
    "price": ("price", "itemprice", "unitprice"),
    "rating": ("rating", "stars", "score"),
    "query": ("query", "searchquery", "searchterm", "keywords"),
    "event": ("event", "eventtype", "eventname", "action", "actiontype", "behavior", "behaviour", "behaviortype"),
}  # fmt: skip
TOPICS = ("topic", "category", "genre", "maincategory")


def csv(
    path: Path, reading: Reading, *, delimiter: str | None = None, encoding: str = "utf-8", time: str | None = None,
    impressions: bool | None = None, events: Mapping[str, str | None] | None = None, scale: Mapping[str, float] | None = None,
    items: str | Path | None = None, users: str | Path | None = None,
) -> Tables:  # fmt: skip
    """A file of comma-separated values with a header, plain or gzipped.

    A row is an item that was shown, with what came of it; or, with a column "event" whose values are such as view, addtocart
    and purchase, something that happened: then rows are joined, see `recgym.logs.fold.folded`.

    Args:
        delimiter: between fields; None: one of comma, tab, semicolon and bar, found in the first lines.
        encoding: such as "latin-1".
        time: how times are written, in the notation of `strftime`, or "s", "ms", "us" or "ns" since 1970; None: found. Times
            without a zone are UTC.
        impressions: whether rows that were shown and not clicked are there; None: if some rows are clicked and others not.
        events: words of the column "event" -> "shown", "click", "cart", "purchase", "like", "share", "gift" or None to leave
            them out; besides those that are usual.
        scale: what a column is multiplied by, such as {"dwell": 0.001} for milliseconds; None: 0.001 for a dwell whose name
            ends in "ms".
        items, users: files (CSV or Parquet) of attributes, with a column of ids of the same name as in the events, or of a
            usual name.
    """
    text = reading.text(path, delimiter=delimiter, encoding=check_encoding(encoding))
    mapping, guessed = mapped(text.columns, reading.columns, text.name)
    rules, extra, clock = _rules(mapping, scale), _extra(mapping), Clock(time)
    frame = reading.events(text, rules, clock, extra=extra)
    return _finish(reading, frame, mapping, guessed, clock, impressions, events, items, users, text.columns)


@wraps(csv)  # its options are those of CSV
def tsv(path: Path, reading: Reading, **options: Any) -> Tables:
    """A file of values between tabs, with a header; otherwise like CSV."""
    options.setdefault("delimiter", "\t")
    return csv(path, reading, **options)


def parquet(
    path: Path, reading: Reading, *, time: str | None = None, impressions: bool | None = None,
    events: Mapping[str, str | None] | None = None, scale: Mapping[str, float] | None = None,
    items: str | Path | None = None, users: str | Path | None = None,
) -> Tables:  # fmt: skip
    """A Parquet file, with those options of CSV that make sense for it; a "line" in a message is the number of a row, from 1."""
    try:
        found = list(parquet_schema(path))
    except ConfigError as error:
        raise FitError(str(error).removeprefix("logs: ")) from None
    mapping, guessed = mapped(found, reading.columns, path.name)
    rules, extra, clock = _rules(mapping, scale), _extra(mapping), Clock(time)
    frame = reading.parquet(path, rules, clock, extra=extra)
    return _finish(reading, frame, mapping, guessed, clock, impressions, events, items, users, found)


def mapped(found: list[str], given: Mapping[str, str], file: str) -> tuple[dict[str, str], dict[str, str]]:
    """Columns of the event table -> names in a file, and which of these were guessed.

    Columns called `feature_NAME` in the file are those of the table.

    Args:
        found: names in the file. given: what the user said. file: its name, for messages.

    Raises:
        ConfigError: the user named a column that is not there. FitError: user, item or time cannot be guessed.
    """
    mapping = {target: name for target, name in given.items() if name}
    for target, name in mapping.items():
        if name not in found:
            raise ConfigError(f"columns[{target!r}]: {file} has no such column: {nearest(name, found)}")
    plain = {re.sub(r"[\W_]", "", name.lower()): name for name in reversed(found)}
    guessed: dict[str, str] = {}
    for target, names in USUAL.items():
        if target in given:
            continue
        name = next((plain[usual] for usual in names if usual in plain), None)
        if name is not None and name not in (*mapping.values(), *guessed.values()):
            guessed[target] = name
    if not any(target.startswith("item.topic") for target in given):
        name = next((plain[usual] for usual in TOPICS if usual in plain), None)
        if name is not None and name not in mapping.values():
            guessed["item.topic"] = name
    mapping |= guessed
    mapping |= {
        name: name
        for name in found
        if re.fullmatch(FEATURE + r"\w+", name) and name not in given and name not in mapping.values()
    }
    for target in ("user", "item", "time"):
        if target not in mapping:
            raise FitError(
                f"{file}: no column has a usual name for {target}; say which one it is, columns={{{target!r}: ...}}, one of {found}"
            )
    return {target: mapping[target] for target in [*USUAL, *sorted(mapping)] if target in mapping}, guessed


def _rules(mapping: Mapping[str, str], scale: Mapping[str, float] | None) -> dict[str, Rule]:
    factors = dict(scale or {})
    if scale is None and mapping.get("dwell", "").lower().endswith("ms"):
        factors["dwell"] = 0.001
    for target, factor in factors.items():
        fits = (
            target in mapping and isinstance(factor, (int, float)) and not isinstance(factor, bool) and 0 < factor < 1e9
        )
        require(fits, f"scale[{target!r}]", "must be a factor of a column that is read", factor)
    plain = {target: name for target, name in mapping.items() if "." not in target}
    return {target: Rule(name, scale=float(factors.get(target, 1.0))) for target, name in plain.items()}


def _extra(mapping: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(name for target, name in mapping.items() if "." in target))


def _finish(
    reading: Reading, frame: pl.DataFrame, mapping: dict[str, str], guessed: dict[str, str], clock: Clock, impressions: bool | None,
    events: Mapping[str, str | None] | None, items: str | Path | None, users: str | Path | None, found: list[str],
) -> Tables:  # fmt: skip
    pl = need_polars()
    require(impressions in (None, True, False), "impressions", "must be True, False or None", impressions)
    source: dict[str, Any] = {"columns": mapping}
    tables = {}
    for code, file in (("item", items), ("user", users)):
        inside = {target.split(".")[1]: f"_{name}" for target, name in mapping.items() if target.startswith(f"{code}.")}
        tables[code] = _attributes(reading, frame, code, mapping[code], inside, file)
    frame = frame.drop([f"_{name}" for name in _extra(mapping)])
    if "event" in frame.columns:
        frame, impressions = by_event(reading, frame, events, impressions, source)
    elif events is not None:
        raise ConfigError(f"events: needs a column 'event', got columns for {sorted(mapping)}")
    if "position" in frame.columns and frame["position"].min() == 1:
        frame = frame.with_columns(pl.col("position") - 1)
        source["position"] = "counted from 1 in the file"
    if impressions is None:
        impressions = _has_both(frame)
        source["impressions"] = (
            "found, as some rows are clicked and others not" if impressions else "none, as no row is without a click"
        )
    if not impressions and "click" not in frame.columns:
        frame = frame.with_columns(click=pl.lit(True))
    if guessed:
        source["guessed"] = guessed
    unused = [name for name in found if name not in mapping.values()]
    if unused:
        source["unused"] = unused
    return Tables(frame, tables["item"], tables["user"], impressions, {**reading.source(clock), **source})


def _has_both(frame: pl.DataFrame) -> bool:
    return "click" in frame.columns and bool((~frame["click"]).any())


def by_event(
    reading: Reading,
    frame: pl.DataFrame,
    events: Mapping[str, str | None] | None,
    impressions: bool | None,
    source: dict[str, Any],
) -> tuple[pl.DataFrame, bool | None]:
    """Rows of a log of events, joined; what no one knows is a wrong row, what was to be left out is set aside."""
    pl = need_polars()
    given = dict(events or {})
    for word, meaning in given.items():
        fits = isinstance(word, str) and (meaning is None or meaning in KINDS)
        require(fits, f"events[{word!r}]", f"must be one of {list(KINDS)} or None", meaning)
    words = kinds_by_word({word.lower(): meaning for word, meaning in given.items()})
    frame = frame.with_columns(event=pl.col("event").str.to_lowercase())
    known, unwanted = list(words), [word for word, meaning in words.items() if meaning is None]
    for rule, aside, keep in (
        ("event must be one that is known (events={...} says what others mean)", False, pl.col("event").is_in(known)),
        ("event was to be left out", True, ~pl.col("event").is_in(unwanted)),
    ):
        lost = frame.filter(~keep.fill_null(False))
        for number in lost["_file"].unique().sort():
            part = lost.filter(pl.col("_file") == number)
            reading.ledger.add_rows(reading.names[number], part["_line"], rule, part["event"], aside=aside)
        frame = frame.filter(keep)
    frame = frame.with_columns(kind=pl.col("event").replace_strict(words, default=None, return_dtype=pl.String)).drop(
        "event"
    )
    shown = bool((frame["kind"] == "shown").any())
    frame, alone = folded(frame, reading.session_gap)
    source["events"] = "joined to the latest row of the same user and item" + (
        "; of their own, for lack of one: " + ", ".join(f"{n:,} {name}" for name, n in alone.items()) if alone else "")  # fmt: skip
    return frame, shown if impressions is None else impressions


def _attributes(
    reading: Reading, frame: pl.DataFrame, code: str, column: str, inside: Mapping[str, str], file: str | Path | None
) -> pl.DataFrame | None:
    """Attributes from a file of their own, and from rows of events, where the first value of each counts."""
    pl = need_polars()
    table = None
    if file is not None:
        place = Path(file)
        if not place.is_file():
            raise FitError(f"{code}s: {place} is not there")
        inner = Reading(place, None, reading.session_gap)
        inner.ledger = reading.ledger
        if place.suffix == ".parquet":
            raw = inner.frame(place)
            id = _id_column(raw.columns, code, column, place.name)
            raw = raw.filter(pl.col(id).is_not_null()).unique(id, keep="first", maintain_order=True)
            table = attribute_table(raw, id, {"category": "topic"} if code == "item" else {})
        else:
            text = inner.text(place)
            id = _id_column(text.columns, code, column, place.name)
            table = inner.attributes(text, id, {"category": "topic"} if code == "item" else {})
        reading.digests |= inner.digests
    if inside:
        first = [pl.col(name).drop_nulls().first().alias(target) for target, name in inside.items()]
        found = attribute_table(frame.group_by(code, maintain_order=True).agg(first), code, {}, ("topic",))
        if table is None:
            return found
        table = found.select(name for name in found.columns if name == "id" or name not in table.columns).join(
            table, on="id", how="full", coalesce=True, maintain_order="left_right")  # fmt: skip
    return table


def _id_column(found: list[str], code: str, column: str, file: str) -> str:
    plain = {re.sub(r"[\W_]", "", name.lower()): name for name in reversed(found)}
    name = column if column in found else next((plain[usual] for usual in (*USUAL[code], "id") if usual in plain), None)
    if name is None:
        raise FitError(f"{file}: has no column {column!r} with the ids of {code}s, got {found}")
    return name


for _name, _reader in (("csv", csv), ("tsv", tsv), ("parquet", parquet)):
    _reader.takes_columns = True  # type: ignore[attr-defined]
    register_reader(_name, _reader)
