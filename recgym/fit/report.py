"""How far to trust a fitted world: a report as JSON and as Markdown."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args, get_origin, get_type_hints

from recgym.errors import FitError
from recgym.files import read_json, write_atomically
from recgym.fit.clicks import Estimate

COLUMNS = ("impressions", "clicks", "logged click rate %", "fitted click rate %")


class Row(NamedTuple):
    """Click rate of a part of the logs: as logged, with Wilson's binomial interval, and as fitted."""

    name: str
    impressions: int
    clicks: int
    logged: Estimate
    fitted: Estimate


class Score(NamedTuple):
    """Held-out log loss of a model, in nats per row.

    `behind` says how much more it is than that of the fitted model, `standard_error` is the paired error of `behind`.
    """

    model: str
    log_loss: float
    behind: float
    standard_error: float


@dataclass(frozen=True)
class FitReport:
    """What was fitted to which logs, and how well: plain data, the same whenever it is built from the same files.

    Args:
        source: name, citation, licence, campaign, policies, and the SHA-256 of each file read.
        command: builds the world again from those files.
        version: of recgym.
        overall: click rate over all rows.
        by_policy, by_position, by_item: click rates over parts of the rows.
        spread: standard deviation of the item effects in log-odds, with its interval by the marginal likelihood.
        likeliest_spread: the spread at which the marginal likelihood alone is largest.
        position: effects of the positions in log-odds, against the first position.
        examination: of each position of the world, relative to the best one; where an interval goes beyond 1, that
            position may be the best one.
        folds: number of folds of the cross-validation.
        validation: its scores, that of the fitted model last.
        position_based_error: largest difference, over items and positions, of the world's and the fitted click
            probabilities.
        popularity_correlation: rank correlation over the items of the visible popularity and the true utility.
        findings: what the numbers show, and what they do not show.
        limits: what such logs cannot tell.
    """

    source: dict[str, Any]
    command: str
    version: str
    overall: Row
    by_policy: tuple[Row, ...]
    by_position: tuple[Row, ...]
    by_item: tuple[Row, ...]
    spread: Estimate
    likeliest_spread: float
    position: tuple[Estimate, ...]
    examination: tuple[Estimate, ...]
    folds: int
    validation: tuple[Score, ...]
    position_based_error: float
    popularity_correlation: float
    findings: tuple[str, ...]
    limits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; numbers have six digits, as further ones differ between machines."""
        return {f.name: plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The report that `to_dict` wrote.

        Raises:
            FitError: a field is missing, unknown or of another type.
        """
        return typed(cls, data, "report")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``report.json`` and ``report.md`` into a folder, each atomically."""
        write_atomically(Path(folder) / "report.json", (json.dumps(self.to_dict(), indent=1) + "\n").encode())
        write_atomically(Path(folder) / "report.md", self.to_markdown().encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The report in a folder that `save` wrote.

        Raises:
            ConfigError: there is no JSON. FitError: it is not a report.
        """
        return cls.from_dict(read_json(Path(folder) / "report.json", "report"))

    def summary(self) -> str:
        """The report as Markdown, without the table of the items."""
        source = self.source
        positions = zip(count(1), self.position, self.examination)
        lines = [
            f"# {source['name']}, campaign {source['campaign']}:"
            f" {self.overall.impressions:,} impressions, {self.overall.clicks:,} clicks",
            "",
            *(f"- {finding}" for finding in self.findings),
            "",
            "Intervals are 95 %. Logged rates carry binomial (Wilson) intervals, fitted ones those of the posterior.",
            "",
            *markdown_table(["", *COLUMNS], map(_cells, (self.overall, *self.by_policy, *self.by_position))),
            "",
            *markdown_table(["position", "log-odds against the first", "examination against the best"],
                    [[str(p), interval_text(x), interval_text(e)] for p, x, e in positions]),
            "",
            f"Held-out log loss in millinats per impression ({self.folds}-fold cross-validation):",
            "",
            *markdown_table(["model", "log loss", "more than fitted", "standard error"],
                    [[s.model, *(f"{1000 * x:.3f}" for x in s[1:])] for s in self.validation]),
            "",
            "The world multiplies (examination times attraction) where the fit adds log-odds: their click probabilities"
            f" differ by at most {self.position_based_error:.1e}. The visible popularity of its items has rank"
            f" correlation {self.popularity_correlation:.2f} with their true utility.",
            "",
            "What such logs cannot tell:",
            "",
            *(f"- {limit}" for limit in self.limits),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """The whole report as Markdown."""
        source = self.source
        items = markdown_table(["item", *COLUMNS], map(_cells, self.by_item))
        origin = [f"Source: {source['citation']} {source['licence']}", "",
                  f"Built with recgym {self.version} by `{self.command}` from the files", "",
                  *(f"- `{name}`, SHA-256 `{digest}`" for name, digest in source["sha256"].items())]  # fmt: skip
        note = "Fitted rates are averages over the positions."
        return "\n".join([self.summary(), "## Items", "", note, "", *items, "", "## Origin", "", *origin]) + "\n"


def six_digits(x: float) -> float:
    """A number rounded to six significant digits."""
    return float(f"{x:.6g}")


def plain(value: Any) -> Any:
    """JSON of a value: records become objects, numbers have six digits, and what is no finite number is null."""
    if isinstance(value, float):
        return six_digits(value) if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    record = getattr(value, "_asdict", None)
    if record is not None:
        return {name: plain(x) for name, x in record().items()}
    if isinstance(value, (list, tuple)):
        return [plain(x) for x in value]
    if isinstance(value, dict):
        return {name: plain(x) for name, x in value.items()}
    return value


def typed(kind: Any, value: Any, where: str, gaps: bool = False) -> Any:
    """The value that JSON stands for, of a given type: number, text, object, tuple or record with annotated fields.

    Args:
        kind: the type. value: what `plain` made. where: for the message. gaps: whether a null may stand for a number; it becomes NaN.

    Raises:
        FitError: it is of another type, or lacks a field.
    """
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(typed(get_args(kind)[0], inner, f"{where}.{i}", gaps) for i, inner in enumerate(value))
    if kind is float and value is None and gaps:
        return math.nan
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if (kind in (int, str) and type(value) is kind) or (get_origin(kind) is dict and isinstance(value, dict)):
        return value
    if hasattr(kind, "__annotations__") and isinstance(value, dict):
        hints = get_type_hints(kind)
        if set(value) != set(hints):
            raise FitError(f"{where}: must have the fields {sorted(hints)}, got {sorted(value)}")
        return kind(**{name: typed(hint, value[name], f"{where}.{name}", gaps) for name, hint in hints.items()})
    raise FitError(f"{where}: must be of type {getattr(kind, '__name__', kind)}, got {str(value)[:60]!r}")


def _cells(row: Row) -> list[str]:
    return [
        row.name,
        f"{row.impressions:,}",
        f"{row.clicks:,}",
        interval_text(row.logged, 100),
        interval_text(row.fitted, 100),
    ]


def interval_text(e: Estimate, scale: float = 1.0) -> str:
    """An estimate and its interval, times a scale."""
    return f"{scale * e.value:.2f} [{scale * e.low:.2f}, {scale * e.high:.2f}]"


def markdown_table(header: list[str], rows: Any, words: int = 1) -> list[str]:
    """A Markdown table whose columns line up; the first `words` columns hold text, the others numbers."""
    cells = [header, *rows]
    widths = [max(len(row[c]) for row in cells) for c in range(len(header))]
    lines = ["|".join(f" {text:{'<>'[c >= words]}{w}} " for c, text, w in zip(count(), row, widths)) for row in cells]
    rule = "|".join("-" * (w + 1) + "-:"[c >= words] for c, w in enumerate(widths))
    return [f"|{line}|" for line in (lines[0], rule, *lines[1:])]
