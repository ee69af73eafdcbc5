"""The base of all dynamics."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recgym.catalog import Catalog
from recgym.component import Component
from recgym.types import Array, Feedback, Sizes, Users


@dataclass(frozen=True, eq=False)
class Dynamics(Component, abstract=True):
    """Base of what a step changes in a user. `reach` bounds the Euclidean norm of the interests that it makes."""

    reach: ClassVar[float] = 1.0

    def __call__(self, users: Users, catalog: Catalog, feedback: Feedback, noise: Array) -> dict[str, Array]:
        """New values of user columns after a step. A column that is not named stays as it is.

        Args:
            users: after the choice and the response, and after the dynamics that come before this one.
            feedback: of the step.
            noise: (uniforms, B) float32 in (0, 1).
        """
        raise NotImplementedError

    def uniforms_at_arrival(self, sizes: Sizes) -> int:
        """Number of uniforms per user that `begin` gets; 0 by default."""
        return 0

    def begin(self, users: Users, catalog: Catalog, noise: Array) -> dict[str, Array]:
        """Columns of users who have just arrived, where a constant is not enough; none by default."""
        return {}

    def rest(self, users: Users, minutes: Array) -> dict[str, Array]:
        """New values of user columns after (B,) minutes away between two sessions; none by default."""
        return {}
