"""The rows that cannot be used: each is counted, the first few are kept, and too many are an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recgym.errors import FitError
from recgym.logs.table import SHOWN, Problem

if TYPE_CHECKING:
    import polars as pl

LONGEST_VALUE = 60  # characters of a value in a problem


class Ledger:
    """What became of the rows of some files.

    `read` counts rows that were looked at, `dropped` those that were left out, by rule; `problems` has the first few.
    Some were not wrong, but set aside as asked, such as duplicates: `aside` names these rules. They do not count towards
    what is tolerated.
    """

    def __init__(self) -> None:
        self.read = 0
        self.dropped: dict[str, int] = {}
        self.problems: list[Problem] = []
        self.aside: set[str] = set()

    def add(self, file: str, line: int, rule: str, value: Any) -> None:
        """One row that breaks a rule."""
        self._count(rule, 1)
        if len(self.problems) < SHOWN:
            self.problems.append(Problem(file, line, rule, short(value)))

    def add_rows(self, file: str, lines: pl.Series, rule: str, values: pl.Series, aside: bool = False) -> None:
        """Rows that break the same rule: their lines and their values, of equal length."""
        if not len(lines):
            return
        self._count(rule, len(lines))
        if aside:
            self.aside.add(rule)
        room = SHOWN - len(self.problems)
        for line, value in zip(lines.head(room).to_list(), values.head(room).to_list(), strict=True):
            self.problems.append(Problem(file, line, rule, short(value)))

    def _count(self, rule: str, n: int) -> None:
        self.dropped[rule] = self.dropped.get(rule, 0) + n

    @property
    def wrong(self) -> int:
        """Rows that break a rule, without those that were set aside."""
        return sum(n for rule, n in self.dropped.items() if rule not in self.aside)

    def require_few(self, tolerance: float) -> None:
        """Raise if more than the share `tolerance` of the rows that were read are wrong; the message has the first of them.

        Raises:
            FitError: there are too many.
        """
        if self.wrong <= tolerance * self.read:
            return
        shown = [problem for problem in self.problems if problem.rule not in self.aside][:3]
        first = "; ".join(map(str, shown))
        more = f"; and {self.wrong - len(shown):,} more" if self.wrong > len(shown) else ""
        share = self.wrong / self.read
        raise FitError(
            f"{first}{more}. {self.wrong:,} of {self.read:,} rows ({share:.2%}) cannot be used, and tolerance is {tolerance:.2%}"
        )


def short(value: Any) -> str:
    """A value as a message shows it."""
    text = (
        repr(value[:LONGEST_VALUE])
        if isinstance(value, str)
        else "nothing"
        if value is None
        else str(value)[:LONGEST_VALUE]
    )
    return f"{text}..." if len(str(value)) > LONGEST_VALUE else text
