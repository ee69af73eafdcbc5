"""A session as text, the mode "ansi"."""

from __future__ import annotations

import numpy as np

from recgym.render.session import (
    Session,
    notes_of,
    number,
    objectives_text,
    outcomes,
    properties_of,
    reward_text,
    series_of,
    size_text,
    time_of_day,
)


def draw_text(session: Session) -> str:
    """The text of the mode "ansi"."""
    world, steps, user = session.world, session.steps, session.user
    if not steps:
        text = f"No step yet: {size_text(world)}."
        text = text if user is None else f"{text} It is {time_of_day(user.clock)}. {session.ended}".rstrip()
        return "\n".join([text, *_reasons_text(session)])
    assert user is not None
    step = steps[-1]
    feedback, slate = step.feedback, step.feedback.slate
    did = [", ".join(words.values()) or "ignored" for words in outcomes(world, feedback)[0]]
    shown = [int(item) for item in slate]
    table = {
        "#": [str(s + 1) for s in range(len(shown))],
        "item": [str(i) if i >= 0 else "-" for i in shown],
        "topic": [str(world.catalog.topic[i]) if i >= 0 else "-" for i in shown],
        **properties_of(world, slate, step.before.clock),
        "P(click)": [f"{p:.3f}" if i >= 0 else "-" for i, p in zip(shown, feedback.probability, strict=True)],
    }
    head, *body = _columns(table)
    lines = [f"Step {user.t}/{world.horizon}, {time_of_day(user.clock)}", f"{head}  user"]
    lines += [
        f"{cells}  {words if i >= 0 else 'nothing shown'}" for cells, words, i in zip(body, did, shown, strict=True)
    ]
    state = [f"{name.replace('_', ' ')} {number(series.values[-1])}" for name, series in series_of(session).items()]
    lines += [f"{note[0].upper()}{note[1:]}" for note in notes_of(world, step)]
    lines.append(f"User        {', '.join(state) or 'no state of its own'}")
    lines.append(f"Objectives  {objectives_text(world, feedback)}")
    since = f" since step {steps[0].after.t}" if steps[0].before.t > 0 else ""
    lines.append(f"Reward      {reward_text(world, step.reward)}")
    lines.append(f"Return      {reward_text(world, np.sum([s.reward for s in steps], axis=0))}{since}")
    lines += _reasons_text(session)
    return "\n".join([*lines, session.ended] if session.ended else lines)


def _columns(table: dict[str, list[str]]) -> list[str]:
    """The lines of a table with its headings, flush right."""
    widths = {name: max(len(name), *map(len, column)) for name, column in table.items()}
    rows = zip(*[[name, *column] for name, column in table.items()], strict=True)
    return ["  ".join(f"{cell:>{width}}" for cell, width in zip(row, widths.values(), strict=True)) for row in rows]


def _reasons_text(session: Session) -> list[str]:
    choices = session.choices
    if choices is None or not choices.shown:
        return []
    reasons, items = choices.reasons, choices.items
    part = reasons.contributions[choices.shown]
    other, digits = part.sum(axis=1) - part[:, choices.groups].sum(axis=1), reasons.digits
    table = {
        "shown": ["-" if position is None else str(position + 1) for position in choices.positions],
        "item": [str(item) if item >= 0 else "nothing" for item in items],
        "topic": [str(session.world.catalog.topic[item]) if item >= 0 else "-" for item in items],
        "value": [f"{reasons.values[c]:.{digits}f}" for c in choices.shown],
        **{reasons.groups[g]: [f"{x:+.{digits}f}" for x in part[:, g]] for g in choices.groups},
    }
    if len(choices.groups) < len(reasons.groups):
        table["other"] = [f"{x:+.{digits}f}" for x in other]
    n = int(np.isfinite(reasons.values).sum())
    title = f"The agent's values of {n} choices" + (f", the best {len(items)}" if len(items) < n else "")
    return [f"{title}, and what speaks for and against each:", *_columns(table)]
