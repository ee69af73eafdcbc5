"""The event table: what was shown to whom, when and where, and what came of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recgym.errors import LONGEST, ConfigError, FitError, RecgymError, brief, nearest, require
from recgym.files import INFLATION, SMALL, parse_json, read_bytes, write_atomically
from recgym.logs.needs import need_polars
from recgym.logs.probe import look

if TYPE_CHECKING:
    import polars as pl

# Columns of `Logs.events`: name -> polars dtype, as text, and what it holds. The first three are always there.
COLUMNS: dict[str, tuple[str, str]] = {
    "user": ("UInt32", "row of `Logs.users`"),
    "item": ("UInt32", "row of `Logs.items`"),
    "time": ("Datetime", "microseconds, UTC"),
    "session": ("UInt32", "rows of one visit"),
    "slate": ("UInt32", "rows that were shown together, in one step"),
    "position": ("UInt16", "in the slate, 0 = top"),
    "propensity": ("Float64", "probability with which the logging policy showed the item there, in (0, 1]"),
    "policy": ("String", "name of the logging policy"),
    "click": ("Boolean", "whether the item was clicked"),
    "cart": ("Boolean", "whether it went into the cart"),
    "purchase": ("Boolean", "whether it was bought"),
    "like": ("Boolean", "whether it was liked"),
    "share": ("Boolean", "whether it was shared"),
    "dwell": ("Float32", "seconds of reading or watching"),
    "gift": ("Float32", "amount given"),
    "price": ("Float32", "as shown, in currency units"),
    "rating": ("Float32", "as given by the user"),
    "query": ("String", "what the user searched for"),
}
ALWAYS = ("user", "item", "time")
GROUPS = ("session", "slate")  # no row without one, where there are any
ORDER = ("user", "time", "slate", "position")  # what events are sorted by
EVENTS = ("cart", "purchase", "like", "share")  # what may follow a click
AMOUNTS = ("dwell", "gift", "price")  # not negative

# What is missing -> what a fitted world then cannot have.
CONSEQUENCES = {
    "impressions": "click probabilities are only relative: what was shown and not taken is sampled, not logged",
    "position": "no position effect",
    "slate": "every row is a slate of its own: no choice between items, no cascade",
    "session": "no length of visits; a reader can derive sessions from gaps in time",
    "propensity": "no off-policy evaluation, and no correction of what the logging policy preferred to show",
    "price": "no price sensitivity",
    "changes of price": "price sensitivity cannot be told from what else differs between items",
    "returns": "nobody comes back: no rate of return, no drift of interests from visit to visit",
    "dwell": "no law of reading or watching time",
    "cart": "no funnel from click to cart",
    "purchase": "no purchases, and no revenue",
    "topic": "topics of items are not given; a fit clusters them",
}

MANIFEST = "logs.json"
FORMAT = 1
TABLES = ("events", "items", "users")
FILE = re.compile(r"(events|items|users)-[0-9a-f]{16}\.parquet")
SHOWN = 20  # problems that a table keeps
FEATURE = "feature_"  # columns feature_NAME, Float32: whatever else was known of the item when it was shown


class Problem(NamedTuple):
    """A row that was left out: where it stands, and which rule it breaks."""

    file: str
    line: int
    rule: str
    value: str

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.rule}, got {self.value}"


@cache
def dtypes() -> dict[str, Any]:
    """Columns of events -> their polars dtypes. `policy` may be an Enum or a Categorical, too."""
    pl = need_polars()
    named = {"Datetime": pl.Datetime("us", "UTC")}
    return {name: named.get(kind) or getattr(pl, kind)() for name, (kind, _) in COLUMNS.items()}


@dataclass(frozen=True, eq=False)
class Logs:
    """Events of users with items.

    Args:
        events: a row for each item shown, or for each interaction where the logs hold nothing else; its columns are those
            of `COLUMNS`, sorted by user, time, slate and position. A column is there where its values were logged; a null in one
            says that this row has none. Nobody is without a session or slate where there are any. A session has rows of one
            user, a slate rows of one user, session and time; both are numbered in the order of the rows.
        items: a row for each item; columns `item` (0 to N - 1, in order), `id` (text, no two alike), and attributes, plain
            columns of any name. These have a meaning: `topic` (text or whole numbers), `price` (numbers, not negative),
            `title` (text), `embedding_0`, `embedding_1`, ... (finite numbers: a vector).
        users: a row for each user; columns `user` (0 to U - 1, in order), `id`, and attributes; `profile_0`, ... is a vector.
        impressions: whether rows that were shown and not clicked are there, too.
        source: where the rows come from, as plain JSON values.
        problems: of the rows that were left out, the first few. dropped: how many break each rule.

    Raises:
        FitError: a table breaks one of these rules; the message names the column, the rule, and the first row of which it is true.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    impressions: bool = True
    source: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        pl = need_polars()
        for name in TABLES:
            table = getattr(self, name)
            if not isinstance(table, pl.DataFrame):
                raise FitError(f"{name}: must be a polars.DataFrame, got {type(table).__name__}")
        if not isinstance(self.impressions, bool):
            raise FitError(f"impressions: must be True or False, got {brief(self.impressions)}")
        _check_rows(self.items, "item", "embedding_")
        _check_rows(self.users, "user", "profile_")
        _check_events(self.events, {"item": len(self.items), "user": len(self.users)})
        _check_source(self.source)
        if not all(isinstance(problem, Problem) for problem in self.problems):
            raise FitError("problems: must be a tuple of Problem")
        counts = isinstance(self.dropped, dict) and all(
            isinstance(rule, str) and type(n) is int and n > 0 for rule, n in self.dropped.items()
        )
        if not counts:
            raise FitError(f"dropped: must be counts by rule, got {brief(self.dropped)}")

    def __len__(self) -> int:
        return len(self.events)

    @property
    def n_items(self) -> int:
        """Items that were shown or are in the table of items."""
        return len(self.items)

    @property
    def n_users(self) -> int:
        """Users with events or in the table of users."""
        return len(self.users)

    @property
    def columns(self) -> tuple[str, ...]:
        """What was logged, in the order of `COLUMNS`."""
        return tuple(name for name in COLUMNS if name in self.events.columns)

    @property
    def n_sessions(self) -> int:
        """Visits; 0 where sessions are not known."""
        return _runs(self.events, "session")

    @property
    def n_slates(self) -> int:
        """Steps; one a row where slates are not known."""
        return _runs(self.events, "slate") or len(self)

    @property
    def n_dropped(self) -> int:
        """Rows that were left out."""
        return sum(self.dropped.values())

    @property
    def span(self) -> tuple[datetime, datetime] | None:
        """Times of the first and of the last event, UTC; None where there is none."""
        first, last = self.events.select(first="time", last="time").select(
            [need_polars().col("first").min(), need_polars().col("last").max()]
        ).row(0)  # fmt: skip
        return None if first is None else (first, last)

    def has(self, *names: str) -> bool:
        """Whether all of these columns were logged.

        Raises:
            ConfigError: there is no column of such a name in any log; the message gives the nearest.
        """
        for name in names:
            if name not in COLUMNS:
                raise ConfigError(f"column: {nearest(name, COLUMNS)}")
        return all(name in self.events.columns for name in names)

    def vectors(self, table: str, prefix: str) -> list[str]:
        """Names of the columns that make a vector, such as "embedding_" of "items", in order; none where there is no vector."""
        return _vector(getattr(self, table).columns, prefix)

    def missing(self) -> dict[str, str]:
        """What was not logged -> what a fitted world then cannot have, in words."""
        pl = need_polars()
        found = [] if self.impressions else ["impressions"]
        found += [name for name in ("position", "slate", "session", "propensity") if not self.has(name)]
        if self.has("price"):
            prices = self.events.group_by("item").agg(pl.col("price").n_unique())
            found += [] if len(prices) and bool((prices["price"] > 1).any()) else ["changes of price"]
        else:
            found += ["changes of price" if "price" in self.items.columns else "price"]
        if self.has("session"):
            visits = self.events.select("user", "session").unique()
            found += [] if visits["user"].is_duplicated().any() else ["returns"]
        found += [name for name in ("dwell", "cart", "purchase") if not self.has(name)]
        found += [] if "topic" in self.items.columns else ["topic"]
        return {name: text for name, text in CONSEQUENCES.items() if name in found}

    def describe(self) -> str:
        """What there is, in one table, and what is missing and what that makes impossible."""
        lines = [
            ("rows", f"{len(self):,}, " + ("items shown, taken or not" if self.impressions else "interactions alone"))
        ]
        lines += [("users", f"{self.n_users:,}"), ("items", f"{self.n_items:,}")]
        if self.span:
            first, last = self.span
            days = (last - first).total_seconds() / 86400
            lines += [("time", f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S} UTC, {days:,.1f} days")]
        if "time" in self.source:
            lines += [("", str(self.source["time"]))]
        if self.has("session"):
            how = self.source.get("sessions", "as logged")
            lines += [("sessions", f"{self.n_sessions:,}, {len(self) / max(1, self.n_sessions):.1f} rows each, {how}")]
        if self.has("slate"):
            lines += [("slates", f"{self.n_slates:,}, {len(self) / max(1, self.n_slates):.1f} rows each")]
        features = [name for name in self.events.columns if name.startswith(FEATURE)]
        lines += [(name, self._summary(name)) for name in (*self.columns, *features) if name not in (*ALWAYS, *GROUPS)]
        for name, table in (("of items", self.items), ("of users", self.users)):
            plain = [c for c in table.columns[2:] if not re.fullmatch(r"(embedding|profile)_\d+", c)]
            vector = len(table.columns) - 2 - len(plain)
            found = [*plain, *([f"a vector of {vector}"] if vector else [])]
            lines += [(name, ", ".join(found))] if found else []
        notes = [
            f"{key}: {self.source[key]}"
            for key in ("users", "events", "click", "impressions", "position")
            if self.source.get(key)
        ]
        if self.source.get("unused"):
            notes += [f"columns that are not read: {', '.join(map(str, self.source['unused']))}"]
        lines += [("" if k else "noted", note) for k, note in enumerate(notes)]
        guessed = self.source.get("guessed")
        if guessed:
            lines += [("guessed", ", ".join(f"{name} = {column}" for name, column in guessed.items()))]
        if self.source.get("privacy"):
            lines += [("ids", str(self.source["privacy"]))]
        if self.dropped:
            total = len(self) + self.n_dropped
            lines += [("left out", f"{self.n_dropped:,} of {total:,} rows ({self.n_dropped / total:.3%})")]
            lines += [("", f"{n:,}: {rule}") for rule, n in sorted(self.dropped.items(), key=lambda pair: -pair[1])]
        else:
            lines += [("left out", "nothing")]
        missing = self.missing()
        width = max(len(name) for name, _ in [*lines, *missing.items()])
        text = [f"{name:<{width}}  {value}".rstrip() for name, value in lines]
        if missing:
            text += ["", "Not logged, and what that makes impossible"]
            text += [f"{name:<{width}}  {what}" for name, what in missing.items()]
        return "\n".join(text)

    def _summary(self, name: str) -> str:
        column = self.events[name]
        if column.null_count() == len(column):
            return "given in no row"
        if name in ("policy", "query"):
            n = column.drop_nulls().n_unique()
            some = ", ".join(map(str, column.drop_nulls().unique().sort().head(5).to_list())) if n <= 5 else ""
            text = f"{n:,} different" + (f": {some}" if some and name == "policy" else "")
        elif column.dtype == dtypes()["click"]:
            text = f"{_mean(column):.3%} of {len(column) - column.null_count():,}"
        elif name == "position":
            low, high = column.min(), column.max()
            text = f"{low} to {high}"
        else:
            text = f"mean {_mean(column):.4g}, {column.min():.4g} to {column.max():.4g}"
        nulls = column.null_count() / len(column)
        return text + (f", not recorded in {nulls:.2%} of rows" if nulls else "")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write the table: Parquet files, and `logs.json` last, which names them with their digests.

        Until `logs.json` is there, or replaced, a reader finds what was there before, or nothing.

        Args:
            folder: that is not there, is empty, or holds a table that was saved before.

        Raises:
            ConfigError: the folder holds something else, or cannot be written.
        """
        folder = Path(folder)
        check_place(folder)
        tables: dict[str, Any] = {}
        for name in TABLES:
            tables[name] = _write_table(folder, name, getattr(self, name))
        data = {
            "format": FORMAT, "impressions": self.impressions, "tables": tables, "source": self.source,
            "problems": [problem._asdict() for problem in self.problems], "dropped": self.dropped,
        }  # fmt: skip
        write_atomically(folder / MANIFEST, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())
        for old in set(os.listdir(folder)) - {table["file"] for table in tables.values()}:
            if FILE.fullmatch(old):
                (folder / old).unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Logs:
        """Read what `save` wrote; digests are compared, and everything is checked anew.

        Raises:
            ConfigError: the folder holds no table of logs, or a file of it is missing, torn or changed.
            FitError: the files are whole, and what they hold breaks a rule.
        """
        path = Path(folder) / MANIFEST
        data = parse_json(read_bytes(path, "logs"), "logs", path)
        parts = {"format", "impressions", "tables", "source", "problems", "dropped"}
        fits = isinstance(data, dict) and data.keys() == parts and data["format"] == FORMAT
        require(fits, "logs", f"{path} must be the manifest of a table of format {FORMAT}", data)
        tables = data["tables"]
        require(
            isinstance(tables, dict) and tables.keys() == {*TABLES}, "logs", f"{path} must name three tables", tables
        )
        frames = {name: _read_table(Path(folder), name, tables[name]) for name in TABLES}
        problems = data["problems"]
        fits = isinstance(problems, list) and all(
            isinstance(p, dict) and p.keys() == {*Problem._fields} and type(p["line"]) is int
            and all(isinstance(p[name], str) for name in ("file", "rule", "value")) for p in problems
        )  # fmt: skip
        require(fits, "logs", f"{path} must list problems with file, line, rule and value", problems)
        kept = tuple(Problem(**problem) for problem in problems)
        return cls(
            **frames, impressions=data["impressions"], source=data["source"], problems=kept, dropped=data["dropped"]
        )


def check_place(folder: str | os.PathLike[str]) -> None:
    """Require a folder that is not there, is empty, or holds a table of logs and nothing else.

    Raises:
        ConfigError: it is something else.
    """
    folder = Path(folder)
    try:
        if not os.path.lexists(folder):
            return
        names = os.listdir(folder)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"output: {folder} must be a folder for logs: {reason}") from None
    others = [name for name in names if name != MANIFEST and not FILE.fullmatch(name) and not name.endswith(".tmp")]
    fits = not others and (MANIFEST in names or not names)
    require(fits, "output", "must not be there, be empty, or hold a table of logs and nothing else", str(folder))


def _write_table(folder: Path, name: str, table: pl.DataFrame) -> dict[str, Any]:
    """Write a table under a name that has its digest, so that the files of an earlier table stay as they are."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{os.getpid()}.{secrets.token_hex(4)}.tmp"
        try:
            table.write_parquet(temporary)
            digest = sha256(temporary)
            file = f"{name}-{digest[:16]}.parquet"
            size = temporary.stat().st_size
            os.replace(temporary, folder / file)
        finally:
            temporary.unlink(missing_ok=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"output: {folder} cannot be written: {error}") from None
    return {"file": file, "sha256": digest, "bytes": size, "rows": len(table)}


def _read_table(folder: Path, name: str, entry: Any) -> pl.DataFrame:
    fits = isinstance(entry, dict) and entry.keys() == {"file", "sha256", "bytes", "rows"}
    fits = fits and isinstance(entry["file"], str) and FILE.fullmatch(entry["file"]) and entry["file"].startswith(name)
    require(fits, "logs", f"the entry of {name} must be a file with its digest, size and rows", entry)
    path = folder / entry["file"]
    try:
        size, digest = path.stat().st_size, sha256(path)
    except OSError as error:
        raise ConfigError(f"logs: {path} cannot be read: {error.strerror}") from None
    require(digest == entry["sha256"], "logs", f"{path} must have the digest that {MANIFEST} gives", digest)
    return read_parquet(path, size, rows=entry["rows"])


def read_parquet(path: Path, size: int, rows: int | None = None, columns: Iterable[str] | None = None) -> pl.DataFrame:
    """A Parquet file, after a look at what it would take in memory.

    Args:
        path: of the file. size: of the file, in bytes. rows: that it must have; None: any number. columns: to read; None: all.

    Raises:
        ConfigError: it cannot be read, has another number of rows, or takes far more room than its size lets expect.
    """
    pl = need_polars()
    try:
        schema = parquet_schema(path)
        scan = pl.scan_parquet(path, glob=False)
        found = int(scan.select(pl.len()).collect().item())
        wanted = list(schema) if columns is None else list(columns)
        room = found * sum(_width(schema[name]) for name in wanted)
        if rows is not None and found != rows:
            raise ConfigError(f"logs: {path} must have {brief(rows)} rows, got {found:,}")
        if room > max(INFLATION * size, SMALL):
            raise ConfigError(f"logs: {path} must not take more than {INFLATION} times its size, got {room:,} bytes")
        _require_whole(path, look(path, wanted))
        return scan.select(wanted).collect()
    except RecgymError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        raise ConfigError(f"logs: {path} must be a Parquet file: {_first_line(error)}") from None


def parquet_schema(path: Path) -> dict[str, Any]:
    """Columns of a Parquet file -> their dtypes.

    Raises:
        ConfigError: it is none.
    """
    pl = need_polars()
    try:
        _require_whole(path, look(path))
        return dict(pl.scan_parquet(path, glob=False).collect_schema())
    except RecgymError:
        raise
    except (Exception, pl.exceptions.PanicException) as error:
        raise ConfigError(f"logs: {path} must be a Parquet file: {_first_line(error)}") from None


def _require_whole(path: Path, wrong: str | None) -> None:
    if wrong is not None:
        raise ConfigError(f"logs: {path} must be a Parquet file, and whole: {wrong[:LONGEST]}")


def _width(dtype: Any) -> int:
    """Bytes of a value, about."""
    name = str(dtype)
    bits = re.match(r"U?(?:Int|Float)(\d+)", name)
    return (
        int(bits[1]) // 8
        if bits
        else 1
        if name == "Boolean"
        else 4
        if name.startswith(("Enum", "Cat", "Date("))
        else 16
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:LONGEST] if lines else type(error).__name__


def sha256(file: Path) -> str:
    """Digest of a file's content, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _vector(columns: Iterable[str], prefix: str) -> list[str]:
    names = [name for name in columns if re.fullmatch(re.escape(prefix) + r"(0|[1-9]\d{0,4})", name)]
    return sorted(names, key=lambda name: int(name.removeprefix(prefix)))


def _mean(column: pl.Series) -> float:
    mean: Any = column.mean()
    return math.nan if mean is None else float(mean)


def _runs(events: pl.DataFrame, name: str) -> int:
    """Different codes of a column that is sorted."""
    if name not in events.columns or not len(events):
        return 0
    return 1 + int((events[name] != events[name].shift()).sum())


def _check_rows(table: pl.DataFrame, code: str, prefix: str) -> None:
    """The table of items or of users."""
    pl = need_polars()
    name = f"{code}s"
    if table.columns[:2] != [code, "id"]:
        raise FitError(f"{name}: must begin with the columns {code} and id, got {brief(table.columns[:2])}")
    if table[code].dtype != pl.UInt32 or not (table[code] == pl.arange(len(table), eager=True, dtype=pl.UInt32)).all():
        raise FitError(f"{name}.{code}: must be the UInt32 numbers 0, 1, 2, ... of the rows")
    ids = table["id"]
    if ids.dtype != pl.String or ids.null_count() or ids.n_unique() < len(ids):
        raise FitError(f"{name}.id: must be text in every row, no two alike, got {_twice(ids)}")
    for column in table.columns[2:]:
        dtype = table[column].dtype
        if dtype.is_nested() or dtype in (pl.Object, pl.Binary, pl.Unknown):
            raise FitError(f"{name}.{column}: must be a plain column, got {dtype}")
        if dtype.is_float() and bool((~table[column].is_finite()).any()):
            raise FitError(f"{name}.{column}: must hold finite numbers, or null where there is none")
    vector = _vector(table.columns, prefix)
    if vector != [f"{prefix}{k}" for k in range(len(vector))]:
        raise FitError(f"{name}: the columns of a vector must be {prefix}0, {prefix}1, ..., got {brief(vector)}")
    for column in vector:
        unknown = name == "items" and table[column].null_count()  # of a user nothing may be known
        if not table[column].dtype.is_numeric() or unknown:
            raise FitError(f"{name}.{column}: must be a number in every row")
    if code == "item" and "price" in table.columns:
        price = table["price"]
        if not price.dtype.is_numeric() or bool((price < 0).any()):
            raise FitError("items.price: must be a number that is not negative")
    if code == "item" and "topic" in table.columns:
        dtype = table["topic"].dtype
        if not (dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum)):
            raise FitError(f"items.topic: must be text or whole numbers, got {dtype}")


def _twice(ids: pl.Series) -> str:
    if ids.dtype != need_polars().String or ids.null_count():
        return f"{ids.dtype} with {ids.null_count()} nulls"
    return brief(ids.filter(ids.is_duplicated())[0])


def _check_events(events: pl.DataFrame, sizes: Mapping[str, int]) -> None:
    pl = need_polars()
    for name in events.columns:
        if name.startswith(FEATURE):
            if events[name].dtype != pl.Float32:
                raise FitError(f"events.{name}: must be of dtype Float32, got {events[name].dtype}")
        elif name not in COLUMNS:
            raise FitError(f"events: has a column of no known name, {nearest(name, COLUMNS)}")
    for name in ALWAYS:
        if name not in events.columns:
            raise FitError(f"events: must have the columns {', '.join(ALWAYS)}; lacks {name}")
    for name, dtype in dtypes().items():
        if name not in events.columns:
            continue
        found = events[name].dtype
        if found != dtype and not (name == "policy" and found in (pl.Categorical, pl.Enum)):
            raise FitError(f"events.{name}: must be of dtype {dtype}, got {found}")
        if name in (*ALWAYS, *GROUPS) and events[name].null_count():
            raise FitError(f"events.{name}: must be given in every row, got {events[name].null_count():,} nulls")
    rules = [(name, pl.col(name) < size, f"in [0, {size})") for name, size in sizes.items()]
    if "propensity" in events.columns:
        p = pl.col("propensity")
        rules.append(("propensity", (p > 0) & (p <= 1), "in (0, 1]"))
    for name in (*AMOUNTS, "rating"):
        if name in events.columns:
            x = pl.col(name)
            finite = x.is_finite() & (x >= 0) if name in AMOUNTS else x.is_finite()
            rules.append((name, finite, "a finite number" + (", not negative" if name in AMOUNTS else "")))
    features = [name for name in events.columns if name.startswith(FEATURE)]
    rules += [(name, pl.col(name).is_finite(), "a finite number") for name in features]
    for name, rule, text in rules:
        _demand(events, rule, f"events.{name}: must be {text}", name)
    _check_order(events)


def _check_order(events: pl.DataFrame) -> None:
    """Sorted, and sessions and slates are runs of rows."""
    pl = need_polars()
    keys = [name for name in ORDER if name in events.columns]
    later: Any = pl.lit(True)
    for name in reversed(keys):
        value = pl.col(name).fill_null(0) if name == "position" else pl.col(name)
        before = value.shift()
        later = (value > before) | ((value == before) & later)
    _demand(events, later, f"events: must be sorted by {', '.join(keys)}", *keys)
    for name in GROUPS:
        if name not in events.columns:
            continue
        same = [c for c in (("user",) if name == "session" else ("user", "session", "time")) if c in events.columns]
        value = pl.col(name)
        _demand(events, value >= value.shift(), f"events.{name}: must be numbered in the order of the rows", name)
        alike: Any = pl.all_horizontal(pl.col(c) == pl.col(c).shift() for c in same)
        one = f"events.{name}: a {name} must have rows of one {' and '.join(same)}"
        _demand(events, (value != value.shift()) | alike, one, name, *same)


def _demand(events: pl.DataFrame, rule: Any, text: str, *shown: str) -> None:
    """Raise unless the rule holds in every row; a null is no breach."""
    broken = events.select((~rule).arg_true().first().alias("row"))["row"]
    if len(broken) and broken[0] is not None:
        row = int(broken[0])
        raise FitError(f"{text}; row {row:,} has {', '.join(f'{n} {events[n][row]}' for n in dict.fromkeys(shown))}")


def _check_source(source: Any) -> None:
    try:
        fits = isinstance(source, dict) and json.loads(json.dumps(source, allow_nan=False)) == source
        json.dumps(source, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError):
        fits = False
    if not fits:
        raise FitError(f"source: must be a dictionary of plain JSON values, got {brief(source)}")
