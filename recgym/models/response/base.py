"""The base of all responses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.market import Market
from recgym.types import Array, Users

Outcome = tuple[dict[str, Array], dict[str, Array]]


@dataclass(frozen=True, eq=False)
class Response(Component, abstract=True):
    """Base of what a click leads to.

    `channels` name the C numbers of each slate position, the click first; `highs` are their upper bounds, which the
    observation needs. `objectives` name the M numbers of a step from which rewards are made. `extras` name further
    arrays of the feedback. `single` says that a slate must get at most one click.
    """

    channels: ClassVar[tuple[str, ...]] = ("click",)
    highs: ClassVar[tuple[float, ...]] = (1.0,)
    objectives: ClassVar[tuple[str, ...]] = ("click",)
    extras: ClassVar[tuple[str, ...]] = ()
    single: ClassVar[bool] = False

    def __call__(
        self, users: Users, catalog: Catalog, market: Market, slate: Array, signals: Array,
        utility: Array, outside: Array, click: Array, noise: Array,
    ) -> Outcome:  # fmt: skip
        """What happens in one step.

        Args:
            users, catalog, market: before the step.
            slate: (B, S) int32 item ids, -1 = empty.
            signals: (B, S, F) float32, the market's signals of those items.
            utility: (B, S) float32, -inf where a position is empty.
            outside: (B,) float32, utility of taking nothing.
            click: (B, S) bool.
            noise: (uniforms, B) float32 in (0, 1).

        Returns:
            Two dicts of arrays. The first goes into the feedback: channels (B, S, C) float32, objectives (B, M)
            float32, dt (B,) float32 minutes, and the `extras`. The second has the next values of user columns.
        """
        raise NotImplementedError

    def expected(
        self, users: Users, catalog: Catalog, market: Market, items: Array, signals: Array,
        utility: Array, outside: Array,
    ) -> tuple[Array, Array]:  # fmt: skip
        """Expected objectives of one step: (B, n, M) float32 given a click on each item, and (B, M) given no click.

        Where several clicks can happen, the second must be zero: the expectation is then the sum over the clicks.

        Args:
            items: (B, n) int32 item ids, -1 = none; `signals`, `utility` and `outside` as above.
        """
        raise NotImplementedError
