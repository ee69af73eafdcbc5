"""Train the agents that come with the package: those behind rows of a published leaderboard, see `baselines.pretrained`."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

from baselines.pretrained import FOLDER, Pretrained, keep, pretrained
from baselines.registry import make_agent
from benchmarks import files
from benchmarks.files import read_manifest
from benchmarks.packed import read_results
from benchmarks.result import Result
from benchmarks.run import execute
from benchmarks.suite import Entry
from recgym.errors import ConfigError, require_option


def pretrain(
    suite: str, console: Console, only: Collection[str] = (), fresh: bool = False, folder: Path = FOLDER
) -> list[Pretrained]:
    """Train the agents of a published suite's rows again, and keep those of its first seed.

    An agent that is there from the same job is left as it is. Each is kept as soon as it is done, so that the same call
    goes on after a stop.

    Args:
        suite: name of the published results. console: where it is told. only: labels of rows; empty: all that are trained.
        fresh: train also what is there. folder: where to keep them.

    Returns:
        What was trained.

    Raises:
        ConfigError: there are no such results or rows, or a training has not earned its row's return: then it is not the
            agent of the row, because versions or the machine differ, and it is not kept.
    """
    rows = list(_rows(suite))
    labels = {entry.label for entry, _ in rows}
    for label in only:
        require_option("only", label, labels)
    there = {entry.key for entry in pretrained(folder)}
    made = []
    for (task, label, job), row in rows:
        if (only and label not in only) or (job.key in there and not fresh):
            continue
        agent = make_agent(job.agent, **job.hyperparameters)
        console.print(Text(f"{label} in {task}: {job.steps:,} steps"))
        found = execute(job, curve_points=0, agent=agent).returns
        if found != row.returns:
            raise ConfigError(
                f"pretrain: {label} must earn {row.returns.mean} in {task}, as its row of {suite} did with {row.software}, "
                f"got {found.mean}"
            )
        entry = Pretrained(label, job.task.id, job.agent, suite, job.key, job.seed, job.steps, found.mean, found.se, "")
        made.append(keep(agent, entry, folder))
    return made


def _rows(suite: str) -> Iterator[tuple[Entry, Result]]:
    """Rows that were trained, of the smallest seed, with their results."""
    place = files.PUBLISHED / suite
    require_option("suite", suite, sorted(path.parent.name for path in files.PUBLISHED.glob("*/suite.json")))
    manifest = read_manifest(place)
    trained = [entry for entry in manifest.entries if entry.job.steps]
    first = min((entry.job.seed for entry in trained), default=0)
    chosen = [entry for entry in trained if entry.job.seed == first]
    results, _ = read_results(place, [entry.job.key for entry in chosen], manifest.shared)
    return ((entry, results[entry.job.key]) for entry in chosen if entry.job.key in results)
