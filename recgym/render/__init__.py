"""Drawings of a user's session for people: the text of the mode "ansi", the picture of "rgb_array".

Nothing here knows a domain: names come from the World (catalogue, signals, channels, columns), so that a world of
your own is drawn like any other. In `session`, which says what is shown, small tables word known names better.
"""

from __future__ import annotations

from typing import Any

from recgym.errors import require_option
from recgym.render.picture import draw_picture
from recgym.render.session import Frame as Frame
from recgym.render.session import Reasons as Reasons
from recgym.render.session import Session as Session
from recgym.render.session import choices_of, moved
from recgym.render.session import session_of as session_of
from recgym.render.text import draw_text
from recgym.types import Users
from recgym.world import World

RENDER_MODES = ("ansi", "rgb_array")


def render(
    world: World, frames: list[Frame], row: int, mode: str, users: Users | None = None, reasons: Reasons | None = None
) -> Any:
    """Draw the present session of one user.

    Args:
        world: where the frames come from.
        frames: the steps since the last reset, oldest first. Autoreset may have begun episodes among them; the last
            one is drawn.
        row: of the batch, the user to draw.
        mode: "ansi" or "rgb_array".
        users: the users as they are now, needed only for sessions without a step.
        reasons: what an agent expected of the choices before the last step or, in a session without a step, expects
            now. The text gets a table of the best choices, the picture a panel instead of the user's state. There is
            neither if the session had ended before the last step ("Disabled"): then nothing was chosen.

    Returns:
        "ansi": text of several lines, the last without a line break. "rgb_array": (700, 1200, 3) uint8.
        Both show the last step of the user's episode, and say so if there is none yet. If an episode has just ended,
        they show its end in every autoreset mode. In "SameStep" the hidden state drawn is then the one before the last
        step, because the next user's has replaced the one after it.

    Raises:
        ConfigError: an unknown mode, reasons of another number of choices, or matplotlib is missing.
    """
    require_option("render_mode", mode, RENDER_MODES)
    session = session_of(world, frames, row)
    if users is not None and session.user is None:
        session = session._replace(user=users.rows(row))
    over = session.ended and not (session.steps and moved(world, frames, len(frames) - 1, row))
    if reasons is not None and session.user is not None and not over:
        session = session._replace(choices=choices_of(session, reasons))
    return draw_text(session) if mode == "ansi" else draw_picture(session)
