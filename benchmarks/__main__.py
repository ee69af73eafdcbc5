"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

from benchmarks import limit_threads

limit_threads()  # before anything loads numpy

# ruff: noqa: E402
try:
    import matplotlib  # noqa: F401
    import typer
    from rich.console import Console
    from rich.markup import escape
except ModuleNotFoundError as error:
    raise SystemExit(f'python -m benchmarks needs {error.name}: pip install "recgym[bench]"') from None

from baselines.agent import REGISTRY, Task
from benchmarks import suite as suites
from benchmarks import throughput as speed
from benchmarks.references import run_references
from benchmarks.report import Section, report, show
from benchmarks.run import run_suite, software, write_json
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import ConfigError, RecgymError, require, require_option

app = typer.Typer(
    help="Benchmarks of recgym: suites, reports, references, throughput.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


def _processors() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


Output = Annotated[Path | None, typer.Option("-o", "--output", help="Folder of the results; default runs/<suite>.")]
Workers = Annotated[
    int | None,
    typer.Option("--workers", "-w", min=1, help="Jobs at a time, 1 in this process; default the number of processors."),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run again what has a result, after agents or worlds changed.")]


@app.command("quickstart")
def _quickstart(output: Output = None, workers: Workers = None, fresh: Fresh = False) -> None:
    """Four tasks, six agents, a few minutes, and the report."""
    _run(suites.get_suite("quickstart"), output or Path("runs/quickstart"), workers, fresh)


@app.command("run")
def _run_command(
    suite: Annotated[str | None, typer.Argument(help="A suite, see `list`. None: the tasks of --task.")] = None,
    output: Output = None,
    workers: Workers = None,
    fresh: Fresh = False,
    agent: Annotated[
        list[str] | None, typer.Option(help='A registered agent or "package.module:Class"; repeat for more.')
    ] = None,
    parameters: Annotated[str, typer.Option(help="Hyper-parameters of the --agent, JSON.")] = "{}",
    task: Annotated[list[str] | None, typer.Option(help="A registered id; repeat for more.")] = None,
    options: Annotated[str, typer.Option(help="Keyword arguments of gymnasium.make for the --task, JSON.")] = "{}",
    steps: Annotated[int | None, typer.Option(help="Training user-steps of the --agent on each --task.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Training runs on each --task.  [default: 1]")] = None,
    users: Annotated[int | None, typer.Option(help="Evaluation users on each --task.  [default: 1000]")] = None,
) -> None:
    """Run what is missing of a suite, and report.

    Your own agent beside the references, without a suite:

    run --agent package.module:Class --task recgym/News-v0 --steps 50000 --seeds 3
    """
    hyperparameters = _json("parameters", parameters)
    if suite is None:
        require(task, "task", "must be given where no suite is", task)
        tasks = [Task(id, _json("options", options)) for id in task or []]
        budget = (0 if steps is None else steps, 1 if seeds is None else seeds, 1000 if users is None else users)
        chosen = suites.custom_suite(agent or [], tasks, *budget, hyperparameters)
    else:
        for name, value in (("task", task), ("steps", steps), ("seeds", seeds), ("users", users)):
            require(value is None, name, "is fixed by the suite; leave one of them out", value)
        chosen = suites.get_suite(suite)
        added = suites.contenders(agent or [], hyperparameters)
        if added:
            name = "+".join([chosen.name, *(contender.label for contender in added)])
            chosen = dataclasses.replace(chosen, name=name, agents=(*added, *chosen.agents))
    _run(chosen, output or Path("runs") / (suite or "custom"), workers, fresh)


def _json(name: str, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{name}: must be JSON ({error}), got {text!r}") from None
    require(isinstance(value, dict), name, "must be a JSON object", value)
    return value


def _run(suite: suites.Suite, folder: Path, workers: int | None, fresh: bool) -> None:
    failed = run_suite(suite, folder, workers or _processors(), _command(), console, fresh)
    report(folder, console)
    if failed:
        raise typer.Exit(1)


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


@app.command("report")
def _report(folder: Annotated[Path, typer.Argument(help="A results folder.")]) -> None:
    """Print the leaderboard of a results folder; write leaderboard.md and leaderboard.png into it."""
    report(folder, console)


@app.command("list")
def _list() -> None:
    """Suites, agents and tasks."""
    rows = []
    for suite in suites.SUITES.values():
        tasks, agents = ", ".join(task.name for task in suite.tasks), ", ".join(agent.label for agent in suite.agents)
        numbers = (f"{suite.tasks[0].steps:,}", str(len(suite.seeds)), f"{suite.users:,}")
        rows.append((suite.name, f"{tasks}; {agents}", *numbers))
    show(Section("Suites", ("name", "tasks; agents", "steps", "seeds", "users"), rows, words=2), console)
    show(Section("Agents", ("name", "class"), [(name, target) for name, target in REGISTRY.items()], words=2), console)
    show(Section("Tasks", ("id",), [(id,) for id in (*ENV_IDS, *CLASSIC_IDS)]), console)


@app.command("references")
def _references(
    output: Output = None,
    workers: Workers = None,
    fresh: Fresh = False,
    id: Annotated[list[str] | None, typer.Option(help="An environment; repeat for more. Default: all of the suite.")] = None,
    users: Annotated[int, typer.Option(min=2, help="Evaluation users, one episode each.")] = suites.REFERENCE_USERS,
    suite: Annotated[str, typer.Option(help="domains, or classics: the literature's, beside published numbers.")] = "domains",
    check: Annotated[
        bool, typer.Option(help="Exit status 1 unless planner >= 1.15 myopic >= 1.15 popularity > random.")
    ] = True,
) -> None:
    """What random, popularity, myopic oracle and planner earn, and whether planning pays."""
    require_option("suite", suite, ["domains", "classics"])
    classics = suite == "classics"
    folder = output or Path("runs/references" + ("-classics" if classics else ""))
    ids = id or (CLASSIC_IDS if classics else ENV_IDS)
    wrong = run_references(folder, ids, users, workers or _processors(), _command(), console, fresh, classics)
    for line in wrong:
        console.print(f"[red]fails:[/] {escape(line)}", highlight=False)
    if wrong and check:
        raise typer.Exit(1)


@app.command("throughput")
def _throughput(
    id: Annotated[list[str] | None, typer.Argument(help=f"Environments.  [default: {speed.DEFAULT_ID}]")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered id.")] = False,
    windows: Annotated[int, typer.Option(min=1, help="Measured windows of each.")] = 5,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of a window.")] = 0.5,
    profile: Annotated[bool, typer.Option("--profile", help="Also show where a step spends its time.")] = False,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A JSON file for the numbers.")] = None,
) -> None:
    """Steps a second, single and in batches, beside CartPole."""
    ids = (*ENV_IDS, *CLASSIC_IDS) if every else tuple(id or [speed.DEFAULT_ID])
    with console.status("measuring") as status:  # shows nothing where there is no terminal
        progress = lambda text: status.update(f"measuring {text}")  # noqa: E731
        speeds = speed.throughput(ids, windows=windows, seconds=seconds, progress=progress)
    show(speed.section(speeds), console)
    if profile:
        console.print(speed.profile(ids[0]), highlight=False, markup=False, soft_wrap=True)
    if output:
        data = {"command": _command(), "software": software(), "processors": _processors()}
        write_json(output, {**data, "speeds": speed.to_dict(speeds)})


def main() -> None:
    """Run the command line; an error that recgym raises on purpose is one line and exit status 2."""
    try:
        app()
    except RecgymError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
