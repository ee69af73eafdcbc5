"""Pictures of a user's session (work in progress)."""
from __future__ import annotations
from typing import Any, NamedTuple
from recgym.types import Array, Feedback, Users
from recgym.world import World

RENDER_MODES = ("ansi", "rgb_array")


class Frame(NamedTuple):
    """One step of a batch, for rendering: users before it, its feedback, its reward, users after it."""

    before: Users
    feedback: Feedback
    reward: Array
    after: Users


def render(world: World, frames: list[Frame], row: int, mode: str) -> Any:
    raise NotImplementedError
