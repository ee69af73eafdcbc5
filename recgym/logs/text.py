"""Delimited text, in blocks of rows: CSV, TSV and their relatives, plain or gzipped.

Every line of a file is a row, an empty line, or a problem that is reported with its number. A block that is as it should
be, which a few counts of characters tell, is split by polars. Any other is split by Python's csv module, row by row, which
finds the rows that are not.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recgym.errors import FitError, brief, nearest
from recgym.logs.ledger import Ledger
from recgym.logs.needs import need_polars

if TYPE_CHECKING:
    import polars as pl

BLOCK = 2**24  # bytes that are split at a time
LONGEST_FIELD = 131_072  # characters, the limit of Python's csv
ROWS = 100_000  # that Python's csv splits at a time
DELIMITERS = (",", "\t", ";", "|")
WITHIN = "\x1f"  # stands for a delimiter of several characters while a block is split

MAGIC = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"PAR1", "Parquet"), (b"PK\x03\x04", "a zip archive"),
         (b"\x28\xb5\x2f\xfd", "compressed by zstd"), (b"BZh", "compressed by bzip2"), (b"\xfd7zXZ", "compressed by xz"))  # fmt: skip


class Text:
    """A file of delimited text.

    Args:
        file: its path.
        name: how messages call it.
        delimiter: between fields, of one or more characters; None: found in the first lines.
        header: whether the first line has the names of the columns.
        names: of the columns, where there is no header.
        quoting: whether a field may stand between double quotes; if not, quotes are ordinary characters.
        encoding: of the text, such as "utf-8" or "latin-1".

    `columns` has the names, `delimiter` the delimiter.

    Raises:
        FitError: the file is not there, is empty, is something else than text, or its first line is not what it should be.
    """

    def __init__(
        self, file: Path, name: str, *, delimiter: str | None = None, header: bool = True, names: Sequence[str] = (),
        quoting: bool = True, encoding: str = "utf-8",
    ) -> None:  # fmt: skip
        self.file, self.name, self.quoting, self.header = file, name, quoting, header
        self.encoding = encoding
        with self._opened() as stream:
            try:
                start = stream.read(2**16)
            except (OSError, EOFError, zlib.error) as error:
                raise FitError(f"{name}, line 1 or after: the file is torn: {error}") from None
        start = start.removeprefix(codecs.BOM_UTF8)
        if not start.strip():
            raise FitError(f"{name}: is empty")
        head = self._decoded(start[: start.rfind(b"\n") + 1] or start)
        self.delimiter = delimiter or _sniffed(head, name)
        row = next(self._rows(_lines(head)), [])
        self.columns = [column.strip() for column in row] if header else list(names)
        if header and delimiter and len(row) < 2:
            self._wrong_delimiter(head)
        if not header and len(row) != len(self.columns):
            if len(row) < 2:
                self._wrong_delimiter(head)
            raise FitError(f"{name}, line 1: must have {len(self.columns)} fields, got {len(row)}")
        if header and not _encodable("".join(self.columns)):
            raise FitError(f"{name}, line 1: must be {encoding} (encoding=... reads others), got {brief(self.columns)}")
        for column in self.columns:
            if self.columns.count(column) > 1:
                raise FitError(f"{name}, line 1: has the column {column!r} twice")
            if not column:
                raise FitError(f"{name}, line 1: has a column without a name, got {brief(self.columns)}")

    def require(self, wanted: Sequence[str]) -> None:
        """Require columns; the message gives the nearest that there is.

        Raises:
            FitError: one is missing.
        """
        for name in wanted:
            if name not in self.columns:
                raise FitError(f"{self.name}: lacks the column {name!r}: {nearest(name, self.columns)}")

    def blocks(self, wanted: Sequence[str], ledger: Ledger) -> Iterator[pl.DataFrame]:
        """The wanted columns as text, and `_line`, the number of the line where a row stands (or ends, if it has several).

        An empty field is "" or null. Rows of another number of fields, with a NUL or that cannot be decoded are reported to the
        ledger and left out.

        Raises:
            FitError: the file is torn, or has no rows.
        """
        self.require(wanted)
        before = ledger.read
        for block in self._blocks(ledger):
            yield block.select([*wanted, "_line"])
        if ledger.read == before:
            raise FitError(f"{self.name}: has no rows" + (" after the first line" if self.header else ""))

    def _blocks(self, ledger: Ledger) -> Iterator[pl.DataFrame]:
        line, rest, begun = 1, b"", False
        try:
            with self._opened() as stream:
                while True:
                    read = stream.read(BLOCK)
                    if not begun:
                        read = read.removeprefix(codecs.BOM_UTF8)
                    block, rest = _cut(rest + read, last=not read)
                    if block and not begun:
                        begun = True
                        end = block.find(b"\n") + 1 or len(block)
                        if self.header and self.quoting and block.count(b'"', 0, end) % 2:
                            yield from self._quoted_rows(stream, block + rest, line, True, ledger)
                            return
                        if self.header and b"\r" not in block[:end].removesuffix(b"\n").removesuffix(b"\r"):
                            block, line = block[end:], 2
                        elif self.header:  # lines end as they did on old Macs
                            yield from self._quoted_rows(stream, block + rest, line, True, ledger)
                            return
                    quoted = bool(block) and self.quoting and b'"' in block
                    if quoted and (fast := self._split(block, quoted=True)) is not None:
                        ledger.read += len(fast)
                        yield fast.with_row_index("_line", offset=line)
                        line += len(fast)
                    elif quoted:
                        yield from self._quoted_rows(stream, block + rest, line, False, ledger)
                        return
                    elif block:
                        yield from self._block(block, line, ledger)
                        line += block.count(b"\n")
                    if not read:
                        return
                    if len(rest) > 2 * BLOCK:
                        raise FitError(f"{self.name}, line {line}: is longer than {BLOCK:,} bytes; is it text at all?")
        except (OSError, EOFError, zlib.error) as error:
            raise FitError(f"{self.name}, line {line} or after: the file is torn: {error}") from None

    def _block(self, block: bytes, line: int, ledger: Ledger) -> Iterator[pl.DataFrame]:
        """Rows of whole lines without quotes, from line number `line` on."""
        fast = self._split(block)
        if fast is None:
            yield from self._checked(self._rows(_lines(self._decoded(block)), line), ledger)
            return
        ledger.read += len(fast)
        yield fast.with_row_index("_line", offset=line)

    def _split(self, block: bytes, quoted: bool = False) -> pl.DataFrame | None:
        """Lines split by polars, if all are plain and have the right number of fields, which is not looked up line by line.

        polars lets no line pass that has too many fields. So if there are as many delimiters as all lines need together, no line
        has too few. Between quotes, there must be no delimiter, quote or end of a line for that.
        """
        pl = need_polars()
        width = len(self.columns)
        if b"\r" in block:
            block = block.replace(b"\r\n", b"\n")
        if b"\r" in block or b"\0" in block or width == 1 or (quoted and block.count(b'"') % 2):
            return None
        if self.encoding != "utf-8":
            try:
                block = block.decode(self.encoding).encode()
            except UnicodeDecodeError:
                return None
        delimiter = self.delimiter.encode()
        if len(delimiter) > 1:
            if WITHIN.encode() in block:
                return None
            block, delimiter = block.replace(delimiter, WITHIN.encode()), WITHIN.encode()
        ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 10)
        lines = len(ends) + (not block.endswith(b"\n"))
        longest = np.diff(ends, prepend=-1).max(initial=0)
        if longest > LONGEST_FIELD or block.count(delimiter) != lines * (width - 1):
            return None
        try:
            frame = pl.read_csv(
                block, has_header=False, schema=dict.fromkeys(self.columns, pl.String), separator=delimiter.decode(),
                quote_char='"' if quoted else None,
            )  # fmt: skip
        except pl.exceptions.PolarsError:
            return None
        if len(frame) != lines:
            return None
        if quoted:
            special = [delimiter.decode(), '"', "\n"]
            has = frame.select(pl.any_horizontal(pl.col(pl.String).str.contains_any(special).any()))
            if has.item():
                return None
        return frame

    def _quoted_rows(self, stream: Any, rest: bytes, line: int, first: bool, ledger: Ledger) -> Iterator[pl.DataFrame]:
        """All rows from here on: a field between quotes may have several lines, so that blocks cannot be cut by lines."""

        def lines() -> Iterator[str]:
            left = rest
            while True:
                read = stream.read(BLOCK)
                block, left = _cut(left + read, last=not read)
                yield from _lines(self._decoded(block))
                if not read:
                    return

        rows = self._rows(lines(), line)
        if first:
            next(rows, None)
        yield from self._checked(rows, ledger)

    def _rows(self, lines: Iterator[str], line: int = 1) -> Any:
        """Rows of fields, by Python's csv; `line_num` counts from `line`."""
        return _Rows(self, lines, line)

    def _checked(self, rows: _Rows, ledger: Ledger) -> Iterator[pl.DataFrame]:
        pl = need_polars()
        width = len(self.columns)
        schema = dict.fromkeys(self.columns, pl.String) | {"_line": pl.UInt32}
        while chunk := list(islice(rows.numbered(), ROWS)):
            good = []
            for number, row in chunk:
                if not row or (len(row) == 1 and not row[0].strip() and width > 1):
                    continue  # an empty line
                ledger.read += 1
                plain = "".join(row)
                if len(row) != width:
                    ledger.add(self.name, number, f"must have {width} fields", f"{len(row)}: {brief(row)[:60]}")
                elif "\0" in plain:
                    ledger.add(self.name, number, "must not have a NUL character", ",".join(row))
                elif not plain.isascii() and not _encodable(plain):
                    ledger.add(self.name, number, f"must be {self.encoding} (encoding=... reads others)", ",".join(row))
                else:
                    good.append((*row, number))
            if good:
                yield pl.DataFrame(good, schema=schema, orient="row")

    def _decoded(self, block: bytes) -> str:
        """Text in which a byte that cannot be decoded is a lone surrogate."""
        return block.decode(self.encoding, "surrogateescape")

    def _opened(self) -> Any:
        try:
            raw = self.file.open("rb")
        except OSError as error:
            raise FitError(f"{self.name}: cannot be read: {error.strerror}") from None
        magic = raw.read(8)
        raw.seek(0)
        for start, what in MAGIC:
            if magic.startswith(start):
                raw.close()
                raise FitError(f"{self.name}: must be text in {self.encoding}, plain or gzipped, got {what}")
        if magic.startswith(b"\x1f\x8b"):
            raw.close()
            return gzip.open(self.file)
        if self.file.suffix == ".gz":
            raw.close()
            raise FitError(f"{self.name}: must be gzipped, as its name says, got {brief(magic)}")
        return raw

    def _wrong_delimiter(self, head: str) -> None:
        line = next(_lines(head)).rstrip()
        better = max(DELIMITERS, key=line.count)
        hint = f"; {better!r} gives {line.count(better) + 1}" if line.count(better) else ""
        raise FitError(
            f"{self.name}, line 1: has one field by the delimiter {self.delimiter!r}{hint}, got {line[:60]!r}"
        )


class _Rows:
    """Python's csv over lines, with the number of the line that a row ends on."""

    def __init__(self, text: Text, lines: Iterator[str], line: int) -> None:
        self._text, self._base = text, line - 1
        delimiter = text.delimiter
        if len(delimiter) > 1:
            several = delimiter
            lines, delimiter = (line.replace(several, WITHIN) for line in lines), WITHIN
        quoting = csv.QUOTE_MINIMAL if text.quoting else csv.QUOTE_NONE
        self._reader = csv.reader(lines, delimiter=delimiter, quoting=quoting)

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> list[str]:
        try:
            return next(self._reader)
        except csv.Error as error:
            line = self._base + self._reader.line_num
            hint = "; is a quote not closed?" if "limit" in str(error) else ""
            raise FitError(f"{self._text.name}, line {line}: cannot be split into fields: {error}{hint}") from None

    def numbered(self) -> Iterator[tuple[int, list[str]]]:
        for row in self:
            yield self._base + self._reader.line_num, row


def _lines(text: str) -> Iterator[str]:
    """Lines with their ends; they end as Python's csv and editors have it, not at each of Unicode's separators."""
    return iter(io.StringIO(text, newline=""))


def _encodable(text: str) -> bool:
    """Whether there is no lone surrogate, which stands for a byte that could not be decoded."""
    return not any("\ud800" <= c <= "\udfff" for c in text)


def _cut(block: bytes, last: bool) -> tuple[bytes, bytes]:
    """Whole lines, and the rest."""
    if last:
        return block, b""
    end = block.rfind(b"\n") + 1
    return block[:end], block[end:]


def _sniffed(head: str, name: str) -> str:
    """The delimiter by which the first lines have most fields, the same number in each."""
    lines = [line for line in islice(_lines(head), 20) if line.strip()]
    found: dict[str, tuple[bool, int]] = {}
    for delimiter in DELIMITERS:
        counts = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        found[delimiter] = (min(counts) == max(counts), counts[0])
    best = max(DELIMITERS, key=lambda d: (found[d][1] > 1, *found[d]))
    if found[best][1] < 2:
        raise FitError(
            f"{name}, line 1: no delimiter of {list(DELIMITERS)} splits it, got {lines[0].strip()[:60]!r}; say which one does"
        )
    return best
