"""The folder of a fitted world: the world, its report, and how they get there as a whole or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from recgym.errors import ConfigError, require
from recgym.files import write_atomically

if TYPE_CHECKING:
    from recgym.fit.display import Display
    from recgym.fit.world_report import WorldReport
    from recgym.fit.worlds import Fitted
    from recgym.logs.behaviour import Pair
    from recgym.logs.table import Logs
    from recgym.world import World

FILES = ("world.json", "arrays.npz", "fit.json", "report.md", "report.html", "report.json")
SMALL = 5_000  # rows


def check_output(folder: str | os.PathLike[str]) -> None:
    """Require a folder that is not there, is empty, or holds a fitted world and nothing else.

    Raises:
        ConfigError: it is something else, or nothing can be written beside it.
    """
    folder = Path(folder)
    try:
        names = os.listdir(folder) if os.path.lexists(folder) else []
        fits = not names or ("world.json" in names and {*names} <= {*FILES})
        require(fits, "output", "must not be there, be empty, or hold a fitted world and nothing else", str(folder))
        place = folder.absolute()
        while not place.exists():
            place = place.parent
        fits = place.is_dir() and os.access(place, os.W_OK)
        require(fits, "output", f"must be in a folder that can be written; {place} is none", str(folder))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"output: {folder} must be a folder for a world: {reason}") from None


def write_world(
    folder: str | os.PathLike[str], world: World, report: WorldReport, html: Callable[[WorldReport], str] | None = None
) -> None:
    """Write a world and its report: all files, or none.

    The folder is made under another name and renamed when it is whole; an earlier world in its place stays until then.

    Args:
        folder: see `check_output`. world, report: what is written, as ``world.json``, ``arrays.npz``, ``fit.json`` and ``report.md``.
        html: makes ``report.html`` of the report; None: no such file.

    Raises:
        ConfigError: the folder holds something else, or cannot be written.
    """
    check_output(folder)
    folder = Path(folder).resolve()
    mark = f"{os.getpid()}.{secrets.token_hex(4)}"
    fresh, old = folder.with_name(f".{folder.name}.{mark}.tmp"), folder.with_name(f".{folder.name}.{mark}.old")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.mkdir()
        write_atomically(
            fresh / "fit.json", (json.dumps(report.to_dict(), indent=1, ensure_ascii=False) + "\n").encode()
        )
        write_atomically(fresh / "report.md", report.to_markdown(folder.name).encode())
        if html is not None:
            write_atomically(fresh / "report.html", html(report).encode())
        world.save(fresh)
        if folder.exists():
            os.replace(folder, old)
        os.replace(fresh, folder)
    except (OSError, ValueError) as error:
        if old.exists() and not folder.exists():
            os.replace(old, folder)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(f"output: {folder} cannot be written: {reason}") from None
    finally:
        for rest in (fresh, old):
            shutil.rmtree(rest, ignore_errors=True)


class Found(NamedTuple):
    """A fit, its report, and the behaviour of users logged beside simulated."""

    fitted: Fitted
    report: WorldReport
    pairs: list[Pair]


def fit_and_report(
    logs: Logs, *, title: str = "", command: str = "", k_anonymity: int | None = None, seed: int = 0, display: Display | None = None, **settings: Any
) -> Found:  # fmt: skip
    """Fit a world to logs, predict the clicks of held-out users, replay the logged ones, and report all of it.

    Args:
        logs: the event table. title: what the logs are called. command: that was given, for the report.
        k_anonymity: if given, `recgym.logs.privacy.k_anonymous` comes first. seed: of all that is random. display: told what is done.
        settings: of `recgym.fit.worlds.fit_world`.

    Raises:
        FitError, ConfigError: see `fit_world`.
    """
    import torch

    from recgym.fit.heldout import held_out
    from recgym.fit.inputs import prepared
    from recgym.fit.replay import beside
    from recgym.fit.world_report import world_report
    from recgym.fit.worlds import fit_world

    begun = time.monotonic()
    say = display.say if display else lambda text: None
    if k_anonymity is not None:
        from recgym.logs.privacy import k_anonymous

        logs = k_anonymous(logs, k_anonymity)
        say(f"k-anonymity: {len(logs):,} rows and {logs.n_items:,} items are left")
    logs = prepared(logs)
    threads = torch.get_num_threads()
    try:
        if len(logs) < SMALL:  # to hand out so little work to threads takes longer than to do it
            torch.set_num_threads(1)
        fitted = fit_world(logs, seed=seed, progress=display, **settings)
        say("the world is fitted; now the clicks of users who are left out of a fit")
        tested = held_out(fitted, interactions=not logs.impressions, seed=seed, progress=display)
    finally:
        torch.set_num_threads(threads)
    say("replaying the logged users in the world")
    pairs, how = beside(fitted, logs, seed=seed)
    seconds = time.monotonic() - begun
    report = world_report(fitted, logs, tested, pairs, replayed=how, title=title, command=command, seconds=seconds)
    return Found(fitted, report, pairs)
