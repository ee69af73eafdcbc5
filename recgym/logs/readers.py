"""Readers of logs by name: `read` for users, `register_reader` for those who have a format of their own."""

from __future__ import annotations

import codecs
import inspect
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recgym.errors import ConfigError, FitError, nearest, require, require_number, require_option, unknown_option
from recgym.logs.assemble import Tables, assemble
from recgym.logs.convert import NULLS, Clock, Rule, converted
from recgym.logs.ledger import Ledger
from recgym.logs.needs import need_polars
from recgym.logs.table import COLUMNS, FEATURE, Logs, parquet_schema, read_parquet, sha256
from recgym.logs.text import Text

if TYPE_CHECKING:
    import polars as pl

Reader = Callable[..., Tables]
NEEDED = ("user", "item", "time")
SLICE = 1_000_000  # rows of a Parquet file that are converted at a time


class Reading:
    """What a reader works with: it finds files, splits and converts them, and notes the rows that cannot be used.

    Args:
        columns: what the user said of columns: column of the event table -> name in the file.
        session_gap: minutes.
    """

    def __init__(self, path: Path, columns: Mapping[str, str] | None = None, session_gap: float = 30.0) -> None:
        self.path, self.columns, self.session_gap = path, dict(columns or {}), session_gap
        self.ledger = Ledger()
        self.names: list[str] = []  # of files of events, whose numbers are in `_file`
        self.digests: dict[str, str] = {}

    def name(self, file: Path) -> str:
        """How messages call a file: relative to the folder that was given."""
        return (
            file.relative_to(self.path).as_posix()
            if file.is_relative_to(self.path) and file != self.path
            else file.name
        )

    def find(self, *patterns: str, required: bool = True) -> list[Path]:
        """Files of the folder that fit one of some glob patterns, plain or with ".gz", in the order of their names.

        Where the path is a file, it is the one that is found if it fits.

        Raises:
            FitError: there is none, and one is required.
        """
        wanted = [pattern + end for pattern in patterns for end in ("", ".gz")]
        if self.path.is_file():
            found = [self.path] if any(Path(self.path.name).match(pattern) for pattern in wanted) else []
        else:
            found = sorted({file for pattern in wanted for file in self.path.glob(pattern) if file.is_file()})
        if required and not found:
            here = sorted(file.name for file in self.path.iterdir())[:8] if self.path.is_dir() else [self.path.name]
            raise FitError(f"{self.path}: holds no {' or '.join(patterns)}, got {here}")
        return found

    def text(self, file: Path, **how: Any) -> Text:
        """A file of delimited text, see `recgym.logs.text.Text`; its digest is noted."""
        text = Text(file, self.name(file), **how)
        self.digest(file)
        return text

    def digest(self, file: Path) -> None:
        """Note the digest of a file."""
        self.digests[self.name(file)] = sha256(file)

    def events(
        self, text: Text, rules: Mapping[str, Rule], clock: Clock | None = None, needed: Sequence[str] = NEEDED,
        extra: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Columns of the event table from a file of text.

        Args:
            text: the file. rules: column of the event table -> how it is made. clock: how times are written; None: found.
            needed: columns without which a row is of no use. extra: columns of the file that come along as text, with "_" before
            their names.
        """
        wanted = list(dict.fromkeys([*(rule.source for rule in rules.values()), *extra]))
        return self._gathered(text.blocks(wanted, self.ledger), text.name, rules, clock or Clock(), needed, extra)

    def parquet(
        self, file: Path, rules: Mapping[str, Rule], clock: Clock | None = None, needed: Sequence[str] = NEEDED,
        extra: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """Columns of the event table from a Parquet file; a "line" is the number of a row, from 1."""
        wanted = list(dict.fromkeys([*(rule.source for rule in rules.values()), *extra]))
        return self._gathered(self._slices(file, wanted), self.name(file), rules, clock or Clock(), needed, extra)

    def _slices(self, file: Path, wanted: list[str]) -> Iterator[pl.DataFrame]:
        frame = self.frame(file, wanted)
        for name in wanted:
            if frame[name].dtype.is_nested():
                raise FitError(
                    f"{self.name(file)}: the column {name!r} must have plain values, got {frame[name].dtype}"
                )
        if not len(frame):
            raise FitError(f"{self.name(file)}: has no rows")
        for start in range(0, len(frame), SLICE):
            block = frame.slice(start, SLICE)
            self.ledger.read += len(block)
            yield block.with_row_index("_line", offset=start + 1)

    def frame(self, file: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """A Parquet file as it is; its digest is noted.

        Raises:
            FitError: it cannot be read, or lacks a column.
        """
        name = self.name(file)
        try:
            schema = parquet_schema(file)
            for column in columns or ():
                if column not in schema:
                    raise FitError(f"{name}: lacks the column {column!r}: {nearest(column, schema)}")
            frame = read_parquet(file, file.stat().st_size, columns=columns)
        except (ConfigError, OSError) as error:
            reason = str(error).removeprefix(f"logs: {file} ")
            raise FitError(f"{name}: {reason}") from None
        self.digest(file)
        return frame

    def _gathered(
        self, blocks: Iterator[pl.DataFrame], name: str, rules: Mapping[str, Rule], clock: Clock, needed: Sequence[str],
        extra: Sequence[str],
    ) -> pl.DataFrame:  # fmt: skip
        pl = need_polars()
        self.names += [name] if name not in self.names else []
        parts = []
        kept = [f"_{column}" for column in extra]
        for block in blocks:
            part = converted(block, rules, clock, name, self.ledger, tuple(needed))
            if extra:
                side = block.select(
                    pl.col("_line"), *(pl.col(column).cast(pl.String).alias(f"_{column}") for column in extra)
                )
                part = part.join(side, on="_line", how="left", maintain_order="left")
            parts.append(part)
        if not parts:  # every row was wrong
            sources = dict.fromkeys([*(rule.source for rule in rules.values()), *extra], pl.String)
            nothing = pl.DataFrame(schema=sources | {"_line": pl.UInt32})
            parts = [converted(nothing, rules, clock, name, self.ledger, tuple(needed))]
            parts = [part.with_columns(pl.lit(None, pl.String).alias(column) for column in kept) for part in parts]
        frame = pl.concat(parts)
        return frame.with_columns(_file=pl.lit(self.names.index(name), dtype=pl.UInt16))

    def attributes(
        self, text: Text, id: str, rename: Mapping[str, str] | None = None, columns: Sequence[str] | None = None,
        as_text: Sequence[str] = (),
    ) -> pl.DataFrame:  # fmt: skip
        """A table of items or users from a file of text: `id`, and columns that are numbers where all their values are.

        The first row of an id counts. Rows without one, and rows that are wrong, are noted.

        Args:
            text: the file. id: the column with ids. rename: name in the file -> name in the table. columns: that are read; None:
            all. as_text: columns that are text even where they look like numbers.
        """
        wanted = [id, *(name for name in (text.columns if columns is None else columns) if name != id)]
        blocks = list(text.blocks(wanted, self.ledger))
        if not blocks:
            self.ledger.require_few(0.0)
        pl = need_polars()
        frame = pl.concat(blocks).with_columns(pl.col(id).str.strip_chars())
        absent = frame[id].is_null() | frame[id].is_in(list(NULLS))
        if absent.any():
            self.ledger.add_rows(
                text.name, frame["_line"].filter(absent), f"{id} must be given", frame[id].filter(absent)
            )
            frame = frame.filter(~absent)
        again = ~frame[id].is_first_distinct()
        if again.any():
            rule = "has an id that an earlier row has"
            self.ledger.add_rows(text.name, frame["_line"].filter(again), rule, frame[id].filter(again), aside=True)
            frame = frame.filter(~again)
        return attribute_table(frame.drop("_line"), id, rename or {}, as_text)

    def source(self, clock: Clock | None = None, **more: Any) -> dict[str, Any]:
        """What `Logs.source` says, with the digests of the files that were read."""
        times = {"time": f"times are {clock}, taken for UTC"} if clock and clock.format else {}
        return {**more, "files": dict(self.digests), **times}


def attribute_table(
    frame: pl.DataFrame, id: str, rename: Mapping[str, str], as_text: Sequence[str] = ()
) -> pl.DataFrame:
    """`id` and attributes by it: numbers where all values of a column are, else text. Lists are left out."""
    pl = need_polars()
    frame = frame.with_columns(pl.col(id).cast(pl.String))
    columns = [frame[id].alias("id")]
    taken = {"id", "item", "user"}
    for name in frame.columns:
        if name == id:
            continue
        column = frame[name]
        if column.dtype.is_nested():
            continue
        if column.dtype == pl.String:
            column = column.str.strip_chars()
            column = column.set(column.is_in(list(NULLS)).fill_null(False), None)
            numbers = column.cast(pl.Float64, strict=False)
            if (
                name not in as_text
                and numbers.null_count() == column.null_count() < len(column)
                and numbers.is_finite().all()
            ):
                whole = column.cast(pl.Int64, strict=False)
                column = whole if whole.null_count() == column.null_count() else numbers
        elif column.dtype.is_float():
            column = column.fill_nan(None)
            column = column.set(column.is_infinite().fill_null(False), None)
        new = rename.get(name, name)
        while new in taken:
            new = f"{new}_"
        taken.add(new)
        columns.append(column.alias(new))
    return pl.DataFrame(columns)


READERS: dict[str, Reader] = {}


def register_reader(name: str, reader: Reader) -> None:
    """Make a format known to `read` and to the command line.

    A reader is called as ``reader(path, reading, **options)`` with the path that the user gave and a `Reading`, and returns
    `Tables`: events with ids as they stand in the files. Codes, order, sessions, hashes and checks are the same for all
    formats, and no concern of its. Its keyword arguments are the options of the format.

    Args:
        name: of the format. reader: the function.

    Raises:
        ConfigError: the name is none, or is taken.
    """
    require(
        isinstance(name, str) and re.fullmatch(r"[a-z0-9][a-z0-9-]*", name), "format", "must be of a-z, 0-9 and -", name
    )
    require(name not in READERS, "format", "must be a new name", name)
    require(callable(reader), "reader", "must be a function", reader)
    READERS[name] = reader


def read(
    format: str,
    path: str | os.PathLike[str],
    *,
    columns: Mapping[str, str] | None = None,
    keep_ids: bool = False,
    salt: str | None = None,
    session_gap: float = 30.0,
    tolerance: float = 0.01,
    duplicates: str = "drop",
    **options: Any,
) -> Logs:
    """Read logs into the event table.

    Args:
        format: "csv", "tsv", "parquet", or a published data set, such as "mind"; see `READERS`.
        path: a file, or a folder with the files of a data set under their published names.
        columns: column of the event table -> its name in the file, where the format leaves that open; what is not given is
            guessed where names are usual, and `Logs.source` says so. "item.topic" and the like are attributes of items (or
            "user.age" of users) that stand in the rows of events. An empty name: do not guess this one.
        keep_ids: keep the ids of users and items as they are. Without it, they are hashed.
        salt: of the hashes; None: a random one, which is forgotten.
        session_gap: minutes without an event after which a new session begins, where the logs have no sessions.
        tolerance: share of rows that may be wrong. They are left out, counted in `Logs.dropped`, and the first few are in
            `Logs.problems`.
        duplicates: "drop" or "keep" rows that are like an earlier one in every column that is read. They are counted, too, but
            not as wrong.
        options: of the format; see the reader.

    Raises:
        ConfigError: a wrong argument, or a column that the file does not have.
        FitError: a file is missing, torn or of another kind, or too many rows are wrong; the message has file, line and rule.
    """
    need_polars()
    require_option("format", format, READERS)
    require(isinstance(path, (str, os.PathLike)), "path", "must be a path", path)
    require(salt is None or (isinstance(salt, str) and salt), "salt", "must be text", salt)
    require(isinstance(keep_ids, bool), "keep_ids", "must be True or False", keep_ids)
    gap = require_number("session_gap", session_gap, 1e-3, 1e7)
    share = require_number("tolerance", tolerance, 0.0, 1.0)
    require_option("duplicates", duplicates, ("drop", "keep"))
    require(
        columns is None or isinstance(columns, Mapping),
        "columns",
        "must be names by columns of the event table",
        columns,
    )
    for target, name in (columns or {}).items():
        _require_target(target)
        require(isinstance(name, str), f"columns[{target!r}]", "must be a name", name)
    reader = READERS[format]
    known = list(inspect.signature(reader).parameters)[2:]
    for name in options:
        if name not in known:
            unknown_option(name, known)
    place = Path(path)
    if not os.path.exists(place):
        raise FitError(f"{place}: is not there")
    if columns and not getattr(reader, "takes_columns", False):
        raise ConfigError(f"columns: the format {format} has columns of its own, got {sorted(columns)}")
    reading = Reading(place, columns, gap)
    tables = reader(place, reading, **options)
    reading.ledger.require_few(share)
    if not len(tables.events) and reading.ledger.problems:
        raise FitError(f"{reading.ledger.problems[0]}; no row can be used")
    tables.source = {"format": format, **tables.source}
    tables.files = tables.files or tuple(reading.names)
    return assemble(tables, reading.ledger, keep_ids=keep_ids, salt=salt, session_gap=gap, duplicates=duplicates)


def _require_target(target: Any) -> None:
    """A column of the event table, "event", a column such as "feature_age", or an attribute such as "item.topic"."""
    if isinstance(target, str) and re.fullmatch(FEATURE + r"\w+", target):
        return
    if (
        isinstance(target, str)
        and re.fullmatch(r"(item|user)\.[A-Za-z_]\w*", target)
        and target.split(".")[1] not in ("item", "user", "id")
    ):
        return
    require_option("columns", target, [*COLUMNS, "event"])


def check_encoding(encoding: Any) -> str:
    """A name of an encoding in which ASCII is itself.

    Raises:
        ConfigError: it is none.
    """
    require(isinstance(encoding, str), "encoding", "must be a name, such as 'latin-1'", encoding)
    try:
        name = codecs.lookup(encoding).name
        fits = bytes(range(128)).decode().encode(encoding) == bytes(range(128))
    except (LookupError, UnicodeError, TypeError, ValueError):
        name, fits = encoding, False
    require(fits, "encoding", "must be known, and have ASCII in it, such as 'utf-8' or 'latin-1'", encoding)
    return "utf-8" if name in ("utf-8", "ascii") else name
