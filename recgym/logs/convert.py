"""From the text or the types of a file to those of the event table, value by value, and what breaks a rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from recgym.errors import FitError
from recgym.logs.ledger import Ledger
from recgym.logs.needs import need_polars
from recgym.logs.table import AMOUNTS, EVENTS, FEATURE

if TYPE_CHECKING:
    import polars as pl

NULLS = ("", "NULL", "null", "NaN", "nan", "None", "\\N")  # what programs write where there is no value
FLAGS = {
    "1": True, "1.0": True, "true": True, "t": True, "yes": True, "y": True,
    "0": False, "0.0": False, "false": False, "f": False, "no": False, "n": False,
}  # fmt: skip
UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 0.001}  # in microseconds
EARLIEST, LATEST = 0, 9_214_646_400_000_000  # 1970 to 2261, in microseconds
FORMATS = (
    "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d", "%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y",
    "%Y%m%d",
)  # fmt: skip
MOST_FLAGS = 1_000  # different values that a column of flags may have
LONGEST_ID = 1_024  # characters

IDS = ("user", "item", "session", "slate")
TIMES = ("time",)
NUMBERS = ("propensity", "rating", *AMOUNTS)
BOOLEANS = ("click", *EVENTS)
WORDS = ("policy", "query", "event")


@dataclass
class Clock:
    """How times are written: found in the first values, then the same for all.

    Args:
        format: in the notation of `strftime`, or a unit of seconds since 1970: "s", "ms", "us" or "ns"; None: to be found.
    """

    format: str | None = None

    def numbers(self, values: pl.Series) -> pl.Series:
        """Microseconds of times that are numbers."""
        if self.format is None:
            size = abs(float(values.drop_nulls().median() or 0.0))  # type: ignore[arg-type]
            self.format = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
        unit = UNITS.get(self.format)
        pl = need_polars()
        if unit is None:
            return pl.Series(values.name, [None], dtype=pl.Int64).new_from_index(0, len(values))
        about = values.cast(pl.Float64) * unit
        values = values.set(((about < EARLIEST) | (about >= LATEST)).fill_null(False), None)
        if values.dtype.is_integer() and unit >= 1:
            return values.cast(pl.Int64, strict=False) * int(unit)
        return (values.cast(pl.Float64) * unit).round().cast(pl.Int64, strict=False)

    def texts(self, values: pl.Series) -> pl.Series:
        """Microseconds of times that are text, null where one is not."""
        pl = need_polars()
        if self.format is None or self.format in UNITS:
            whole = values.cast(pl.Int64, strict=False)
            if whole.null_count() > values.null_count():
                whole = values.cast(pl.Float64, strict=False)
                whole = whole.set(~whole.is_finite(), None) if len(whole) else whole
            plain = (
                self.format is None
                and values.drop_nulls().str.len_bytes().eq(8).all()
                and _share(_parsed(values, "%Y%m%d")) > 0.5
            )
            if self.format in UNITS or (2 * (len(whole) - whole.null_count()) > len(values) and not plain):
                return self.numbers(whole)
        if self.format is None:
            some = values.drop_nulls().head(1_000)
            self.format = max(FORMATS, key=lambda form: _share(_parsed(some, form)))
        return _parsed(values, self.format)

    def __str__(self) -> str:
        if self.format in UNITS:
            return {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}[
                self.format
            ] + " since 1970"
        if self.format is None:
            return "not known"
        return f"like {datetime(2024, 1, 31, 13, 45).strftime(self.format.replace('%.f', ''))!r}"


def _share(values: pl.Series) -> float:
    return 1 - values.null_count() / max(1, len(values))


def _parsed(values: pl.Series, form: str) -> pl.Series:
    pl = need_polars()
    values = values.str.replace(r"(Z|\+00:?00)$", "+0000" if form.endswith("%z") else "")
    try:
        if form.endswith("%z"):
            return values.str.to_datetime(form, time_unit="us", strict=False).cast(pl.Int64)
        if "%H" not in form and "%I" not in form and "%T" not in form:
            return values.str.to_date(form, strict=False).cast(pl.Datetime("us")).cast(pl.Int64)
        return values.str.to_datetime(form, time_unit="us", strict=False).cast(pl.Int64)
    except pl.exceptions.PolarsError as error:
        raise FitError(f"time: cannot be read as {form!r}: {str(error).splitlines()[0]}") from None


@dataclass(frozen=True)
class Rule:
    """How a column becomes one of the event table.

    Args:
        source: name of the column in the file. scale: what numbers are multiplied by, such as 0.001 for milliseconds.
        low, high: that numbers must lie between. values: text -> flag, where other words than `FLAGS` are used.
    """

    source: str
    scale: float = 1.0
    low: float | None = None
    high: float | None = None
    values: Mapping[str, bool] | None = None


def converted(
    block: pl.DataFrame, rules: Mapping[str, Rule], clock: Clock, file: str, ledger: Ledger, needed: tuple[str, ...]
) -> pl.DataFrame:
    """The columns of the event table that a block of a file has, and `_line`, without the rows that break a rule.

    Ids are text, times microseconds, positions whole numbers, as in the file.

    Args:
        block: columns of the file, and `_line`. rules: column of the table -> how it is made. clock: how times are written.
        file: its name, for problems. needed: columns without which a row is of no use.
    """
    pl = need_polars()
    columns, bad = [], pl.repeat(False, len(block), eager=True)
    for target, rule in rules.items():
        raw = block[rule.source]
        values, wrong, text = _KINDS[kind(target)](raw, target, rule, clock)
        if target in needed:
            absent = values.is_null() & ~wrong if wrong is not None else values.is_null()
            bad = _report(block, raw, absent, bad, f"{target} must be given", file, ledger)
        if wrong is not None:
            bad = _report(block, raw, wrong, bad, f"{target} must be {text}", file, ledger)
        columns.append(values.alias(target))
    frame = pl.DataFrame([*columns, block["_line"]])
    return frame.filter(~bad) if bad.any() else frame


def _report(
    block: pl.DataFrame, raw: pl.Series, wrong: pl.Series, bad: pl.Series, rule: str, file: str, ledger: Ledger
) -> pl.Series:
    """A row counts once, by the first rule that it breaks."""
    new = wrong & ~bad
    if not new.any():
        return bad
    values = raw.filter(new)
    values = values.fill_null("") if values.dtype == need_polars().String else values
    ledger.add_rows(file, block["_line"].filter(new), rule, values)
    return bad | new


def kind(target: str) -> str:
    """What the values of a column of the table are: ids, times, ..."""
    if target.startswith(FEATURE):
        return "number"
    kinds = {"id": IDS, "time": TIMES, "number": NUMBERS, "flag": BOOLEANS, "word": WORDS, "position": ("position",)}
    return next(name for name, targets in kinds.items() if target in targets)


Converted = tuple[Any, Any, str]  # values, which of them break the rule or None, the rule


def _ids(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    text = _text(raw)
    if text is None:
        return raw.cast(pl.String, strict=False), pl.repeat(True, len(raw), eager=True), "text or a whole number"
    text = text.str.strip_chars()
    nothing = text.is_in(list(NULLS))
    if nothing.any():
        text = text.set(nothing.fill_null(False), None)
    long = (text.str.len_bytes() > LONGEST_ID).fill_null(False)
    return text, long if long.any() else None, f"at most {LONGEST_ID:,} bytes"


def _text(raw: pl.Series) -> pl.Series | None:
    """Text of ids that are text or whole numbers."""
    pl = need_polars()
    if raw.dtype == pl.String:
        return raw
    if raw.dtype.is_integer() or raw.dtype in (pl.Categorical, pl.Enum):
        return raw.cast(pl.String)
    if raw.dtype.is_float() and raw.fill_nan(None).drop_nulls().eq(raw.fill_nan(None).drop_nulls().round()).all():
        return (
            raw.fill_nan(None).cast(pl.Int64, strict=False).cast(pl.String)
        )  # whole numbers among which some are missing
    return None


def _stripped(raw: pl.Series) -> pl.Series:
    """Text without blanks around it, null where it says that there is none."""
    text = raw.str.strip_chars()
    return text.set(text.is_in(list(NULLS)).fill_null(False), None)


def _times(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    if raw.dtype == pl.String:
        given = _stripped(raw)
        times = clock.texts(given)
        what = f"a time ({clock}), 1970 to 2261"
    elif raw.dtype.is_temporal():
        given = raw
        if getattr(raw.dtype, "time_zone", None):
            given = given.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        times = given.cast(pl.Datetime("us"), strict=False).cast(pl.Int64)
        what = "a time, 1970 to 2261"
    elif raw.dtype.is_numeric():
        given = raw.fill_nan(None) if raw.dtype.is_float() else raw
        times, what = clock.numbers(given), "a time, 1970 to 2261"
    else:
        return pl.Series([None] * len(raw), dtype=pl.Int64), pl.repeat(True, len(raw), eager=True), "a time"
    times = times.set(((times < EARLIEST) | (times >= LATEST)).fill_null(False), None)
    wrong = times.is_null() & given.is_not_null()
    return times, wrong if wrong.any() else None, what


def _floats(raw: pl.Series) -> tuple[pl.Series, pl.Series | None]:
    """Numbers, and which values are none."""
    pl = need_polars()
    if raw.dtype != pl.String:
        numeric = raw.dtype.is_numeric() or raw.dtype == pl.Boolean
        values = raw.cast(pl.Float64, strict=False) if numeric else pl.Series([None] * len(raw), dtype=pl.Float64)
        values = values.fill_nan(None)
        wrong = raw.is_not_null() if not numeric else None
    else:
        values, wrong = raw.cast(pl.Float64, strict=False), None
        if values.null_count() > raw.null_count() or bool((~values.is_finite()).any()):
            given = _stripped(raw)
            values = given.cast(pl.Float64, strict=False)
            wrong = values.is_null() & given.is_not_null()
    infinite = ~values.is_finite()
    if infinite.any():
        infinite = infinite.fill_null(False)
        wrong = infinite if wrong is None else wrong | infinite
        values = values.set(infinite, None)
    return values, wrong


def _numbers(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    values, wrong = _floats(raw)
    low = rule.low if rule.low is not None else 0.0 if target in AMOUNTS else None
    text = "a finite number"
    outside = None
    if target == "propensity":
        outside, text = ~((values > 0) & (values <= 1)), "a number in (0, 1]"
    else:
        if low is not None:
            outside, text = (
                values < low,
                "a finite number, not negative" if low == 0 else f"a number of at least {low:g}",
            )
        if rule.high is not None:
            over = values > rule.high
            outside, text = over if outside is None else outside | over, f"a number in [{low:g}, {rule.high:g}]"
    if outside is not None and outside.any():
        outside = outside.fill_null(False)
        wrong = outside if wrong is None else wrong | outside
    values = values * rule.scale if rule.scale != 1.0 else values
    if target != "propensity":
        values = values.cast(pl.Float32)
        infinite = values.is_infinite()
        if infinite.any():
            wrong = infinite.fill_null(False) if wrong is None else wrong | infinite.fill_null(False)
    return values, wrong if wrong is not None and wrong.any() else None, text


def _positions(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    values, wrong = _floats(raw)
    outside = ((values < 0) | (values > 65_535) | (values != values.floor())).fill_null(False)
    wrong = outside if wrong is None else wrong | outside
    return values.set(outside, None).cast(pl.Int32), wrong if wrong.any() else None, "a whole number in [0, 65535]"


def _flags(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    if raw.dtype == pl.Boolean:
        return raw, None, ""
    text = raw if raw.dtype == pl.String else raw.cast(pl.String, strict=False)
    known = FLAGS if rule.values is None else rule.values
    what = "0 or 1, true or false, yes or no" if rule.values is None else f"one of {list(rule.values)}"
    different = text.unique()
    if len(different) > MOST_FLAGS:
        return pl.Series([None] * len(raw), dtype=pl.Boolean), raw.is_not_null(), what
    meaning: dict[Any, bool | None] = {}
    unknown = []
    for value in different.drop_nulls().to_list():
        word = value.strip() if rule.values is not None else value.strip().lower()
        if word in known:
            meaning[value] = known[word]
        elif value.strip() not in NULLS:
            unknown.append(value)
    flags = text.replace_strict(meaning, default=None, return_dtype=pl.Boolean) if meaning else pl.Series(
        [None] * len(raw), dtype=pl.Boolean)  # fmt: skip
    return flags, text.is_in(unknown).fill_null(False) if unknown else None, what


def _words(raw: pl.Series, target: str, rule: Rule, clock: Clock) -> Converted:
    pl = need_polars()
    text = raw if raw.dtype == pl.String else raw.cast(pl.String, strict=False)
    return _stripped(text), None, ""


_KINDS: dict[str, Callable[[Any, str, Rule, Clock], Converted]] = {
    "id": _ids, "time": _times, "number": _numbers, "flag": _flags, "word": _words, "position": _positions,
}  # fmt: skip


def instant(year: int, month: int = 1, day: int = 1) -> int:
    """Microseconds of the beginning of a day, UTC."""
    return int(datetime(year, month, day, tzinfo=UTC).timestamp()) * 1_000_000
