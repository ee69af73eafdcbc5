"""The event table: what was shown to whom, when and where, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

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


class Problem(NamedTuple):
    """A row that was left out: where it stands, and which rule it breaks."""

    file: str
    line: int
    rule: str
    value: str


@dataclass(frozen=True, eq=False)
class Logs:
    """Events of users with items.

    Args:
        events: a row for each item shown, or for each interaction where the logs hold nothing else; its columns are those
            of `COLUMNS`, sorted by user, time, slate and position.
        items: a row for each item; columns `item` (0 to N - 1), `id`, and attributes.
        users: a row for each user; columns `user` (0 to U - 1), `id`, and attributes.
        impressions: whether rows that were shown and not clicked are there, too.
        source: where the rows come from, as plain JSON values.
        problems: of the rows that were left out, the first few. dropped: how many break each rule.
    """

    events: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    impressions: bool = True
    source: dict[str, Any] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    dropped: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.events)

    @property
    def n_items(self) -> int:
        return len(self.items)

    @property
    def n_users(self) -> int:
        return len(self.users)

    def has(self, *names: str) -> bool:
        """Whether all of these columns were logged."""
        return all(name in self.events.columns for name in names)
