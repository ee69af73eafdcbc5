"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import sys
import time
from collections.abc import Iterable
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

from benchmarks import limit_threads

limit_threads()  # before anything loads numpy

# ruff: noqa: E402
for name in ("matplotlib", "jinja2"):  # which reports need, and take a second to import
    if find_spec(name) is None:
        raise SystemExit(f'python -m benchmarks needs {name}: pip install "recgym[bench]"')
try:
    import typer
    from rich.console import Console
    from rich.padding import Padding
    from rich.text import Text
except ModuleNotFoundError as error:
    raise SystemExit(f'python -m benchmarks needs {error.name}: pip install "recgym[bench]"') from None

from baselines.agent import Task
from baselines.registry import REGISTRY
from benchmarks import audit as auditing
from benchmarks import fuzz as fuzzing
from benchmarks import planning, recovery
from benchmarks import suite as suites
from benchmarks import throughput as speed
from benchmarks import training as cost
from benchmarks import tune as tuning
from benchmarks.check import submit_check
from benchmarks.data import read_json, require_writable, write_json
from benchmarks.executors import EXECUTORS
from benchmarks.options import Spreading
from benchmarks.packed import pack
from benchmarks.pretrain import pretrain
from benchmarks.references import REFERENCE_USERS, run_references
from benchmarks.report import report, show
from benchmarks.run import run_suite, software
from benchmarks.tables import Section
from benchmarks.throughput import tables as speeds
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import RecgymError, require, require_option
from recgym.files import parse_json, print_anywhere
from recgym.stepper import processors

app = typer.Typer(
    help="Benchmarks of recgym. Start with `quickstart`; `list` shows suites, agents and tasks.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
console = Console()


Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        help="Folder of the results; default runs/SUITE, and with your own agents or tasks runs/SUITE-HASH.",
    ),
]
WORKERS_HELP = "Jobs at a time, 1 in this process; default the number of processors."
WORLD_TASK = "recgym/Ecommerce-v0"  # what takes a --world where no --task is given; the world replaces all of it
Workers = Annotated[int | None, typer.Option("--workers", "-w", min=1, help=WORKERS_HELP)]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run again what has a result, after agents or worlds changed.")]
RUNNING, TASKS, WHERE = "Which jobs", "Without a suite", "Where they run"


@app.command("quickstart")
def _quickstart(output: Output = None, workers: Workers = None, fresh: Fresh = False) -> None:
    """Four tasks, six agents, a few minutes, and the report."""
    suite, folder = suites.get_suite("quickstart"), output or Path("runs/quickstart")
    _finish(run_suite(suite, folder, workers, _command(), console, fresh), folder)


@app.command("run")
def _run_command(
    suite: Annotated[
        str | None, typer.Argument(help="A suite of `list`, or your own, a .json file. None: the tasks of --task.")
    ] = None,
    output: Output = None,
    fresh: Fresh = False,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run again what failed before.")] = False,
    agent: Annotated[
        list[str] | None,
        typer.Option(
            help="A name of `list`, package.module:Class or file.py:Class; repeat for more.", rich_help_panel=RUNNING
        ),
    ] = None,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            help="Hyper-parameters of the --agent: JSON, or @file; of all, or repeated for each.",
            rich_help_panel=RUNNING,
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="Run this row of the suite and list the others as not run; repeat for more.", rich_help_panel=RUNNING
        ),
    ] = None,
    task: Annotated[
        list[str] | None, typer.Option(help="A registered id; repeat for more.", rich_help_panel=TASKS)
    ] = None,
    options: Annotated[
        str,
        typer.Option(help="Keyword arguments of gymnasium.make for the --task: JSON, or @file.", rich_help_panel=TASKS),
    ] = "{}",
    world: Annotated[
        str | None,
        typer.Option(help=f"A folder of World.save, or a world's name; alone: as {WORLD_TASK}.", rich_help_panel=TASKS),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Training user-steps of the --agent on each task.", rich_help_panel=TASKS)
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="Training runs on each task.  [default: 1]", rich_help_panel=TASKS)
    ] = None,
    users: Annotated[
        int | None, typer.Option(help="Evaluation users on each task.  [default: 1000]", rich_help_panel=TASKS)
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", "-w", min=1, help=WORKERS_HELP, rich_help_panel=WHERE)
    ] = None,
    executor: Annotated[
        str | None,
        typer.Option(
            help=f"{', '.join(EXECUTORS)}; default serial for one worker, else processes.", rich_help_panel=WHERE
        ),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(help="Of a Ray cluster, auto or host:port; default a local one.", rich_help_panel=WHERE),
    ] = None,
    device: Annotated[
        str, typer.Option(help="For agents that compute with torch: cpu, cuda, cuda:1, mps.", rich_help_panel=WHERE)
    ] = "cpu",
) -> None:
    """Run what is missing of a suite, and report. Killed or stopped, the same command goes on.

    A published row: `run core-v1 --only dqn`

    A suite of your own, written as those of benchmarks/suites are: `run my_suite.json`

    A suite of somebody else's names code, agents as file.py:Class or package.module:Class and tasks as module:id. It is
    imported and run: look at it first.

    Your own agent in a suite: `run core-v1 --agent my_agent.py:MyAgent --only MyAgent`

    Without a suite, beside the references: `run --agent my_agent.py:MyAgent --task recgym/News-v0 --steps 50000 --seeds 3`

    One agent twice: `run core-v1 --agent linucb --parameters '{"alpha": 2}' --agent linucb --parameters '{"alpha": 3}'`
    """
    hyperparameters = [_json("parameters", text) for text in parameters or ()]
    if suite is None:
        chosen = suites.custom_suite(
            agent or [],
            _tasks(task, options, world),
            0 if steps is None else steps,
            1 if seeds is None else seeds,
            1000 if users is None else users,
            hyperparameters,
        )
    else:
        for name, value in (("task", task), ("world", world), ("steps", steps), ("seeds", seeds), ("users", users)):
            require(value is None, name, "is fixed by the suite; leave one of them out", value)
        chosen = suites.get_suite(suite)
        added = suites.contenders(agent or [], hyperparameters, chosen.agents)
        if added:
            name = "+".join([chosen.name, *(contender.label for contender in added)])
            chosen = dataclasses.replace(chosen, name=name, agents=(*added, *chosen.agents))
    folder = output or _folder(chosen)
    failed = run_suite(
        chosen, folder, workers, _command(), console, fresh, only=only or (),
        executor=executor, ray_address=ray_address, device=device, retry_failed=retry_failed,
    )  # fmt: skip
    _finish(failed, folder)


def _folder(suite: suites.Suite) -> Path:
    """Where the results of a run lie by default; the name of a suite that is not published does not suffice, so its hash follows."""
    if suite.name in suites.SUITES:
        return Path("runs") / suite.name
    return Path("runs") / f"{re.sub(r'[^A-Za-z0-9+.-]+', '-', suite.name)[:60]}-{suites.digest(suite.manifest())[:8]}"


def _tasks(ids: list[str] | None, options: str, world: str | None) -> list[Task]:
    require(ids or world, "task", "must be given where no suite is", ids)
    elsewhere = {} if world is None else {"world": world}
    return [Task(id, {**_json("options", options), **elsewhere}) for id in ids or [WORLD_TASK]]


def _json(name: str, text: str) -> dict[str, Any]:
    """A JSON object, given as text or as @file."""
    value = read_json(Path(text[1:]), name) if text.startswith("@") else parse_json(text, name, "what is given")
    require(isinstance(value, dict), name, "must be a JSON object", value)
    return value


def _finish(failed: list[str], folder: Path) -> None:
    report(folder, console)
    if failed:
        raise typer.Exit(1)


def _command() -> str:
    return shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])


@app.command("report")
def _report(folder: Annotated[Path, typer.Argument(help="A results folder.")]) -> None:
    """Print the leaderboard of a results folder; write leaderboard.md, leaderboard.png and index.html into it."""
    report(folder, console)


@app.command("site")
def _site(
    folders: Annotated[list[Path] | None, typer.Argument(help="Results folders. None: all that are published.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the site.")] = Path("site"),
) -> None:
    """Write results as a static site: a page for each suite and each agent, which work from disk, without a network."""
    from benchmarks.site import site

    pages = site(output, folders or ())
    console.print(Text(f"Written: {pages[0]} and {len(pages) - 1} more pages"), soft_wrap=True)


@app.command("pack")
def _pack(
    folder: Annotated[Path, typer.Argument(help="A results folder whose run is over.")],
    shared: Annotated[
        list[str] | None,
        typer.Option(
            help="A published folder, such as core-v1: results that it holds too, but for the time that they took, are "
            "removed here; repeat for more."
        ),
    ] = None,
) -> None:
    """Put the job files of a results folder into jobs.jsonl and curves.jsonl.gz, the form in which results are published.

    `report`, `submit-check` and `run` read both forms.
    """
    packed = pack(folder, shared or ())
    console.print(Text(f"{packed} results packed." if packed else "Nothing to pack."))


@app.command("list")
def _list(
    suite: Annotated[str | None, typer.Argument(help="A suite, or the .json file of one. None: everything.")] = None,
) -> None:
    """Suites, agents and tasks."""
    if suite is not None:
        _show_suites([suites.get_suite(suite)], most=1000)
        return
    console.print(Text("Suites", "bold"))
    _show_suites(suites.SUITES.values())
    console.print()
    show(Section("Agents", ("name", "class"), [(name, target) for name, target in REGISTRY.items()], words=2), console)
    show(Section("Tasks", ("id",), [(id,) for id in (*ENV_IDS, *CLASSIC_IDS)]), console)


def _show_suites(shown: Iterable[suites.Suite], most: int = 13) -> None:
    for suite in shown:
        steps = suite.tasks[0].steps
        seeds = f"{len(suite.seeds)} seed" + ("s" if len(suite.seeds) > 1 else "")
        training = f"{steps:,} training steps, {seeds}, " if steps else ""
        console.print(Text.assemble("\n", (suite.name, "bold"), f": {suite.about}"))
        for line in (
            f"{training}{suite.users:,} evaluation users, {len(suite.entries())} jobs",
            f"tasks: {_words([task.name for task in suite.tasks], most)}",
            f"agents: {_words([agent.label for agent in suite.agents], most)}",
        ):
            console.print(Padding(Text(line), (0, 0, 0, 2)))


def _words(names: list[str], most: int) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


@app.command("submit-check")
def _submit_check(
    folder: Annotated[Path, typer.Argument(help="A results folder.")],
    sample: Annotated[int, typer.Option(min=0, help="Jobs to run again, the contributor's first.")] = 3,
    seed: Annotated[int, typer.Option(min=0, help="Which ones: of the draw.")] = 0,
    max_steps: Annotated[int, typer.Option(min=0, help="Only jobs of at most so many training steps.")] = 100_000,
    trust: Annotated[
        list[str] | None,
        typer.Option(
            help="What is not of recgym and may be loaded, as the folder names it: package.module:Class, file.py:Class, "
            "a task's id, a world's folder; repeat for more. Look at its code first."
        ),
    ] = None,
    suite: Annotated[
        str | None, typer.Option(help="What it is judged by: a suite of `list`, or a .json file. Default: as it says.")
    ] = None,
) -> None:
    """Check a contributed results folder: form, completeness, keys, numbers, and a sample of jobs run again.

    Nothing of the contributor's is imported or run without --trust. Exit status 1 where anything is wrong.
    """
    chosen = None if suite is None else suites.get_suite(suite)
    with console.status("reading") as status:  # shows nothing where there is no terminal
        progress = lambda text: status.update(Text(text))  # noqa: E731
        verdicts = submit_check(folder, sample, seed, max_steps, progress, trust or (), chosen)
    rows = [(v.what, {True: "ok", False: "WRONG", None: "not judged"}[v.ok], v.why) for v in verdicts]
    show(Section(f"Submission {folder}", ("checked", "verdict", "why"), rows, words=3), console)
    if any(v.ok is False for v in verdicts):
        raise typer.Exit(1)


@app.command("tune")
def _tune(
    agent: Annotated[str, typer.Argument(help="A name of `list`, package.module:Class or file.py:Class.")],
    task: Annotated[str | None, typer.Option(help="A registered id.")] = None,
    options: Annotated[str, typer.Option(help="Keyword arguments of gymnasium.make: JSON, or @file.")] = "{}",
    world: Annotated[str | None, typer.Option(help="A folder of World.save, or a world's name.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="How many in all.")] = 20,
    steps: Annotated[int, typer.Option(min=0, help="Training user-steps per run.")] = 20_000,
    seeds: Annotated[int, typer.Option(min=1, help="Training runs per trial.")] = 1,
    users: Annotated[int, typer.Option(min=2, help="Users that each trial is scored on.")] = 500,
    space: Annotated[
        str | None,
        typer.Option(
            help='Search space, JSON or @file, such as {"width": {"choices": [32, 64]}, "alpha": {"low": 0.1, "high": 5,'
            ' "log": true}}. Default: the agent\'s own.'
        ),
    ] = None,
    parameters: Annotated[str, typer.Option(help="Hyper-parameters that stay as they are: JSON, or @file.")] = "{}",
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Folder of the search; default runs/tune-AGENT-TASK.")
    ] = None,
) -> None:
    """Search hyper-parameters on users and training seeds that no suite uses. Stopped, the same command goes on.

    The best go into a run with `run --agent dqn --parameters @runs/tune-dqn-News-v0/best.json`
    """
    where = _tasks([task] if task else None, options, world)[0]
    folder = output or Path("runs") / f"tune-{agent.rpartition(':')[2]}-{where.id.removeprefix('recgym/')}"
    began, done = time.monotonic(), 0
    with console.status(f"0/{trials}") as status:

        def notify(trial: tuning.Trial, best: tuning.Trial | None) -> None:
            nonlocal done
            done += 1
            text = f"failed: {trial.error}" if trial.error else f"{trial.mean:.3f} ± {trial.se:.3f}"
            values = " ".join(f"{name}={_short(value)}" for name, value in trial.parameters.items())
            count = f"{trial.number + 1:>{len(str(trials))}}/{trials} "
            console.print(Text.assemble(count, (text, "red" if trial.error else ""), f"  {values}"))
            left = (time.monotonic() - began) / done * (trials - trial.number - 1)
            best_text = f"best {best.mean:.3f}, " if best else ""
            status.update(Text(f"{trial.number + 1}/{trials}, {best_text}about {left / 60:.0f} min left"))

        wanted = None if space is None else _json("space", space)
        fixed = _json("parameters", parameters)
        best = tuning.tune(agent, where, folder, trials, steps, seeds, users, seed, wanted, fixed, _command(), notify)
    console.print(Text(f"Best of {trials}: {best.mean:.3f} ± {best.se:.3f} {json.dumps(best.parameters)}"))
    console.print(Text(f"Written: {folder / 'best.json'}, for --parameters @best.json"))


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


@app.command("references")
def _references(
    output: Output = None,
    workers: Workers = None,
    fresh: Fresh = False,
    id: Annotated[
        list[str] | None, typer.Option(help="An environment; repeat for more. Default: all of the suite.")
    ] = None,
    users: Annotated[int, typer.Option(min=2, help="Evaluation users, one episode each.")] = REFERENCE_USERS,
    suite: Annotated[
        str, typer.Option(help="domains, or classics: the literature's, beside published numbers.")
    ] = "domains",
    check: Annotated[
        bool, typer.Option(help="Exit status 1 unless planner >= 1.15 myopic >= 1.15 popularity > random.")
    ] = True,
) -> None:
    """What random, popularity, myopic oracle and planner earn, and whether planning pays; for levels see `audit`."""
    require_option("suite", suite, ["domains", "classics"])
    classics = suite == "classics"
    folder = output or Path("runs/references" + ("-classics" if classics else ""))
    ids = id or (CLASSIC_IDS if classics else ENV_IDS)
    wrong = run_references(folder, ids, users, workers, _command(), console, fresh, classics)
    for line in wrong:
        console.print(Text.assemble(("fails:", "red"), f" {line}"))
    if wrong and check:
        raise typer.Exit(1)


@app.command("planning", cls=Spreading)
def _planning(
    worlds: Annotated[list[str], typer.Argument(help="Ids, names, or folders of World.save; one or more.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the tables.")] = Path("runs/planning"),
    users: Annotated[int, typer.Option(min=2, help="Visitors, the same for all agents.")] = planning.PLANNING_USERS,
    agent: Annotated[str, typer.Option(help="Train this agent as well, and compare what it earns.")] = "",
    steps: Annotated[int, typer.Option(min=1, help="Training user-steps of the --agent.")] = 200_000,
    parameters: Annotated[str, typer.Option(help="Hyper-parameters of the --agent: JSON, or @file.")] = "{}",
) -> None:
    """Would planning pay here? What looking ahead gains over the best greedy policy, with its interval."""
    settings = {"users": users, "agent": agent, "steps": steps, "parameters": _json("parameters", parameters)}
    planning.run_planning(output, worlds, _command(), console, **settings)


@app.command("recovery", cls=Spreading)
def _recovery(
    worlds: Annotated[list[str] | None, typer.Argument(help="Which; all five by default.")] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the tables.")] = Path("runs/recovery"),
    impressions: Annotated[int, typer.Option(min=1000, help="Of the logs of each world, about.")] = 1_000_000,
    users: Annotated[int, typer.Option(min=2, help="Evaluated, the same for all agents.")] = 1000,
    runs: Annotated[int, typer.Option(min=0, help="Fits of planted worlds, for the coverage of intervals.")] = 20,
    fresh: Fresh = False,
) -> None:
    """Do worlds that are fitted to simulated logs rank agents as the worlds do where the logs came from?"""
    names = list(recovery.SOURCES) if worlds is None else worlds
    recovery.run_recovery(output, names, impressions, users, runs, _command(), console, fresh)


@app.command("audit")
def _audit(
    output: Output = None,
    workers: Workers = None,
    fresh: Fresh = False,
    id: Annotated[list[str] | None, typer.Option(help="An environment; repeat for more. Default: all six.")] = None,
    retrain: Annotated[
        bool, typer.Option("--retrain", help="Find the policies of baselines/policies anew, not only those missing.")
    ] = False,
    kind: Annotated[
        list[str] | None,
        typer.Option(help=f"Which policies to find: {', '.join(auditing.KINDS)}; repeat for more. Default: all."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training user-steps of the best known policy.")] = auditing.STEPS,
    generations: Annotated[int, typer.Option(min=1, help="Of each search for weights.")] = auditing.GENERATIONS,
    starts: Annotated[
        int, typer.Option(min=1, help="Searches for each weights, of which the best is kept.")
    ] = auditing.STARTS,
    users: Annotated[int, typer.Option(min=2, help="Evaluation users, one episode each.")] = auditing.AUDIT_USERS,
    planner: Annotated[
        int, typer.Option(min=0, help="Evaluation users of the planner, which is slow; 0: without it.")
    ] = auditing.PLANNER_USERS,
    check: Annotated[bool, typer.Option(help="Exit status 1 unless all holds.")] = True,
) -> None:
    """Is planning needed, and are the levels realistic? Yardsticks, one-line rules, and published figures beside ours."""
    for name in kind or ():
        require_option("kind", name, auditing.KINDS)
    folder, ids, at_once = output or Path("runs/audit"), id or ENV_IDS, workers or processors()
    for name in ids:
        require_option("id", name, ENV_IDS)
    auditing.train_policies(
        ids, steps, generations, _command(), console, retrain, at_once, kind or tuple(auditing.KINDS), starts
    )
    wrong = auditing.run_audit(folder, ids, users, planner, at_once, _command(), console, fresh)
    for line in wrong:
        console.print(Text.assemble(("fails:", "red"), f" {line}"))
    if wrong and check:
        raise typer.Exit(1)


@app.command("pretrain")
def _pretrain(
    suite: Annotated[str, typer.Argument(help="Name of published results, such as core-v1.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A row; repeat for more. Default: all that are trained.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Train also what is there.")] = False,
) -> None:
    """Train the agents of a published suite's first seed again, and keep them for baselines.load_pretrained.

    Each must earn what its row says.
    """
    made = pretrain(suite, console, only or (), fresh)
    console.print(Text(f"{len(made)} trained and kept." if made else "Nothing to train: all are there."))


@app.command("throughput", cls=Spreading)
def _throughput(
    ids: Annotated[list[str] | None, typer.Option(help=f"Environments.  [default: {speed.DEFAULT_ID}]")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every id of recgym's.")] = False,
    users: Annotated[
        list[int] | None,
        typer.Option(help=f"Users in a batch.  [default: {' '.join(map(str, speed.BATCHES))}; single, always]"),
    ] = None,
    items: Annotated[
        list[int] | None,
        typer.Option(help=f"Also the three domains, {speed.ITEM_USERS} users, with so many items."),
    ] = None,
    against: Annotated[
        list[str] | None,
        typer.Option(help=f"Also other packages, installed in environments of their own: {', '.join(speed.PEERS)}."),
    ] = None,
    environments: Annotated[
        Path | None, typer.Option(help="Folder where these are kept. Default: peers in recgym's folder of caches.")
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Measured windows of each.")] = speed.WINDOWS,
    seconds: Annotated[float, typer.Option(min=0.01, help="Length of a window.")] = speed.SECONDS,
    profile: Annotated[bool, typer.Option("--profile", help="Also show where a step spends its time.")] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="A .json file for the numbers; beside it come .md and .png.")
    ] = None,
) -> None:
    """Measure steps per second, of single environments and of batches, beside CartPole and other packages.

    All windows of an environment take turns. Options that take several words: `--users 64 1024 --against recsim sardine`.
    What has ended is in the output, should the run be stopped.
    """
    chosen = (*ENV_IDS, *CLASSIC_IDS) if every else tuple(ids or [speed.DEFAULT_ID])
    if output:
        require_writable("output", output, folder=False)
        require(output.suffix == ".json", "output", "must be named .json", str(output))
    if environments:
        require_writable("environments", environments)
    plan = speed.Plan(chosen, users or speed.BATCHES, items or (), against or (), windows, seconds, environments)
    about = {"command": _command(), "date": date.today().isoformat(), "software": software(),
             "processors": processors(), "seconds": seconds}  # fmt: skip
    began = time.monotonic()

    def notify(run: speed.Run, ended: str) -> None:
        if not console.is_terminal:
            console.print(Text(f"{time.monotonic() - began:5.0f} s, ended: {ended}", "dim"))
        if output:
            write_json(output, {**about, **run.to_dict()})

    with console.status("measuring") as status:
        progress = lambda text: status.update(Text(f"measuring {text}"))  # noqa: E731
        run = speed.throughput(plan, progress, notify)
    for section in speeds.sections(run):
        show(section, console)
    for note in speeds.notes(run):
        console.print(Text(note, "dim"))
    if profile:
        console.print(Text(speed.profile(chosen[0])), soft_wrap=True)
    if output:
        speeds.render(run, about, output)


@app.command("training")
def _training(
    agent: Annotated[
        list[str] | None,
        typer.Option(help=f"As of run; repeat for more.  [default: {', '.join(case.agent for case in cost.CASES)}]"),
    ] = None,
    id: Annotated[str | None, typer.Option(help="Where; default each agent's own.")] = None,
    users: Annotated[int | None, typer.Option(min=1, help="Stepped together; default each agent's own.")] = None,
    steps: Annotated[int, typer.Option(min=1, help="User-steps of a run.")] = 20_000,
    runs: Annotated[int, typer.Option(min=1, help="Measured runs of each.")] = 3,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="A JSON file for the numbers.")] = None,
) -> None:
    """Measure where the time of a training goes: environment, acting, learning, and the loop around them."""
    if output:
        require_writable("output", output, folder=False)
    with console.status("measuring") as status:
        progress = lambda text: status.update(Text(f"measuring {text}"))  # noqa: E731
        costs = cost.training(cost.cases_of(agent or (), id, users), steps, runs, progress)
    show(cost.section(costs), console)
    if output:
        data = {"command": _command(), "software": software(), "processors": processors()}
        write_json(output, {**data, "trainings": cost.to_dict(costs)})


@app.command("fuzz")
def _fuzz(
    target: Annotated[list[str] | None, typer.Argument(help=f"{', '.join(fuzzing.TARGETS)}; default all.")] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="For each target.")] = 1.0,
    cases: Annotated[int | None, typer.Option(min=1, help="Stop a target after so many, too.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of all cases.")] = 0,
    case: Annotated[int | None, typer.Option(min=0, help="Repeat this one here, and keep its files.")] = None,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for the files of --case; must not be there.")
    ] = Path("runs/fuzz-case"),
) -> None:
    """Mutate files and draw inputs at random: only errors of recgym's own may come. Exit status 1 where others do."""
    names = target or list(fuzzing.TARGETS)
    if case is not None:
        require(len(names) == 1, "target", "must be one where --case is given", names)
        require_writable("output", output)
        try:
            fuzzing.repeat(names[0], seed, case, output)
        except RecgymError as error:
            console.print(Text(f"refused: {error}"))
        else:
            console.print("taken")
        return
    findings = []
    with console.status("starting") as status:

        def show_progress(name: str, done: int, found: int) -> None:
            status.update(Text(f"{name}: {done:,} cases, {found} findings"))

        for outcome in fuzzing.fuzz(names, seed, minutes, cases, show_progress):
            text = f"{outcome.cases:,} cases in {outcome.seconds:.0f} s, {outcome.refused:,} refused, {len(outcome.findings)} findings"
            console.print(Text(f"{outcome.target}: {text}"))
            findings += outcome.findings
    for finding in findings[:20]:
        console.print(Text(f"\n{finding.command}\n{finding.end}"))
    if findings:
        raise typer.Exit(1)


def main() -> None:
    """Run the command line; an error that recgym raises on purpose, or the system, is one line and exit status 2."""
    print_anywhere()
    try:
        app()
    except (RecgymError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
