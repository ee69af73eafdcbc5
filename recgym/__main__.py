"""The command line: play, fit a world to logs, and list what there is.

python -m recgym play
python -m recgym read csv events.csv -o my-logs --columns user=customer_id,time=ts
python -m recgym fit csv events.csv -o my-world --columns user=customer_id,time=ts
python -m recgym fit open-bandit open_bandit_dataset -o my-shop --campaign men
python -m recgym info my-world
python -m recgym analyse my-logs -o report.html
python -m recgym worlds
python -m recgym envs
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import recgym
from recgym.errors import RecgymError, require, require_count
from recgym.files import print_anywhere


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 2 after an error, which is one line on stderr, or 130 after Ctrl+C."""
    parser = _Parser(prog="python -m recgym", description=recgym.__doc__.splitlines()[0] if recgym.__doc__ else None)
    parser.add_argument("--version", action="version", version=recgym.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "fit a world to interaction logs, and report how far to trust it"
    fit = commands.add_parser("fit", help=what, description=what)
    fit.add_argument(
        "format",
        metavar="FORMAT",
        help="of the logs, as for `read`; or `logs`: a folder that `read` wrote; or open-bandit, see below",
    )
    fit.add_argument("path", metavar="PATH", nargs="?", help="file, or folder with the files of a data set")
    fit.add_argument("-o", "--output", required=True, metavar="WORLD", help="folder for the world and its report")
    _reading(fit)
    model = fit.add_argument_group("the fit")
    model.add_argument(
        "--choice", metavar="NAME", help="position-based, cascade, 'multinomial logit' or independent (default: found)"
    )
    model.add_argument("--dimensions", type=int, metavar="D", help="of interests and items (default: 16)")
    model.add_argument("--candidates", type=int, metavar="K", help="items to choose from at each step (default: 20)")
    model.add_argument("--slate-size", type=int, metavar="S", help="items shown in a step (default: as in the logs)")
    model.add_argument(
        "--reward", metavar="NAME=WEIGHT,...", help="of the world, such as click=1,purchase=5 (default: click=1)"
    )
    model.add_argument("--steps", type=int, metavar="N", help="of the optimiser (default: 1200)")
    model.add_argument("--seed", type=int, default=0, help="of all that is random (default: 0)")
    model.add_argument(
        "--k-anonymity", type=int, metavar="K", help="merge items and attributes of fewer than K users first"
    )
    model.add_argument(
        "--click-rate",
        type=float,
        metavar="SHARE",
        help="where the logs have clicks alone: of what is shown (default: 0.05)",
    )
    model.add_argument(
        "--negatives",
        type=int,
        metavar="N",
        help="where the logs have clicks alone: random items beside each (default: 9)",
    )
    bandit = fit.add_argument_group(
        "open-bandit, a world without persons or time; it takes these, --dimensions, --candidates and --seed"
    )
    bandit.add_argument("--campaign", help="all, men or women (default: all)")
    bandit.add_argument("--policies", nargs="+", metavar="POLICY", help="random, bts or both (default: both)")
    bandit.add_argument("--folds", type=int, help="of the cross-validation (default: 10)")
    fit.set_defaults(run=_fit)
    what = "say what a world is: sizes, parts, what was fitted and how well, and how to play in it"
    info = commands.add_parser("info", help=what, description=what)
    info.add_argument("world", metavar="WORLD", help="folder, name or id")
    info.set_defaults(run=_info)
    what = "read interaction logs into the event table, say what is there and what is missing, and keep it"
    read = commands.add_parser("read", help=what, description=what)
    read.add_argument("format", help="csv, tsv, parquet, or a published data set, such as movielens, mind or recbole")
    read.add_argument("path", help="file, or folder with the files of a data set")
    _reading(read)
    read.add_argument("-o", "--output", metavar="FOLDER", help="for the table, to be loaded by recgym.logs.Logs.load")
    read.set_defaults(run=_read)
    what = "recommend to a simulated user, or be the user, on a page of your own"
    play = commands.add_parser("play", help=what, description=what)
    play.add_argument("--port", type=int, default=8642, help="of 127.0.0.1; 0 for any that is free (default: 8642)")
    play.add_argument("--no-open", action="store_true", help="print the address, and open no browser")
    play.set_defaults(run=_play)
    what = "report how users behave in logs, or whether planning would pay in a world"
    analyse = commands.add_parser("analyse", help=what, description=what)
    analyse.add_argument(
        "what", metavar="LOGS|WORLD", help="folder that `read` wrote, or FORMAT:PATH; a world's folder, name or id"
    )
    analyse.add_argument("-o", "--output", required=True, metavar="FILE", help="for the report, such as report.html")
    analyse.add_argument("--json", dest="data", metavar="FILE", help="for all its numbers")
    analyse.add_argument("--users", type=int, default=500, help="visitors of a world (default: 500)")
    analyse.add_argument("--agent", default="", metavar="NAME", help="train it in the world, and compare what it earns")
    analyse.add_argument("--steps", type=int, default=200_000, help="training steps of the agent (default: 200000)")
    analyse.add_argument("--segments", type=int, metavar="K", help="groups of users (default: by silhouette)")
    analyse.add_argument("--min-size", type=int, metavar="N", help="users of a group, at least (default: 1 %%, and 20)")
    analyse.add_argument("--seed", type=int, default=0, help="of the groups (default: 0)")
    analyse.set_defaults(run=_analyse)
    commands.add_parser("worlds", help="list the worlds that have a name").set_defaults(run=_worlds)
    commands.add_parser("envs", help="list the registered environments").set_defaults(run=_envs)
    print_anywhere()
    options = parser.parse_args(arguments)
    options.given = [*(sys.argv[1:] if arguments is None else arguments)]
    try:
        options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:  # who read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        hint = "; the same command goes on where it was" if options.run is _fit else ""
        print(f"{parser.prog}: interrupted{hint}", file=sys.stderr)
        return 130
    except (RecgymError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"{parser.prog}: error: {message}", file=sys.stderr)
        return 2
    return 0


def _reading(parser: argparse.ArgumentParser) -> None:
    """Add the options of `recgym.logs.read`."""
    group = parser.add_argument_group("how to read the logs")
    group.add_argument("--columns", default="", metavar="user=NAME,...", help="names in the file; others are guessed")
    group.add_argument("--keep-ids", action="store_true", help="of users and items; without it, they are hashed")
    group.add_argument("--salt", metavar="TEXT", help="of the hashes (default: a random one)")
    group.add_argument(
        "--session-gap", type=float, default=30, metavar="MINUTES", help="between sessions (default: 30)"
    )
    group.add_argument("--tolerance", type=float, default=0.01, metavar="SHARE", help="of wrong rows (default: 0.01)")
    group.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the format, such as encoding=latin-1"
    )


def _logs(options: argparse.Namespace) -> Any:
    """The logs that the options name, read."""
    from recgym.logs import Logs, read

    folder = options.path if options.format == "logs" else options.format if options.path is None else None
    if folder is not None:
        unread = [
            f"--{name.replace('_', '-')}"
            for name in ("columns", "keep_ids", "salt", "option")
            if getattr(options, name)
        ]
        require(not unread, "logs", "were read before, and take no options of reading", " ".join(unread))
        require(
            os.path.isfile(os.path.join(folder, "logs.json")),
            "logs",
            "must be a format and a path, or a folder that `read` wrote",
            folder,
        )
        return Logs.load(folder)
    require(options.path is not None, "path", "must be given after the format", options.format)
    names = ("keep_ids", "salt", "session_gap", "tolerance")
    given: dict[str, Any] = {name: getattr(options, name) for name in names}
    given["columns"] = _pairs("columns", options.columns.split(","))
    for name, value in _pairs("option", options.option).items():
        require(name not in given, "option", "must be of the format; this one is an argument of its own", name)
        given[name] = value
    return read(options.format, str(options.path), **given)


MODEL = (
    "choice",
    "slate_size",
    "reward",
    "steps",
    "k_anonymity",
    "click_rate",
    "negatives",
)  # options of a fit by likelihood
BANDIT = ("campaign", "policies", "folds")  # options of open-bandit
BOTH = ("dimensions", "candidates")


def _fit(options: argparse.Namespace) -> None:
    bandit = options.format == "open-bandit"
    given = {name: getattr(options, name) for name in (*MODEL, *BANDIT, *BOTH) if getattr(options, name) is not None}
    for name in MODEL if bandit else BANDIT:
        require(
            name not in given,
            name.replace("_", "-"),
            f"is {'no' if bandit else 'an'} option of open-bandit",
            given.get(name),
        )
    given["seed"] = options.seed
    if bandit:
        _fit_open_bandit(options, given)
        return
    _need("fit", {"polars": "logs", "torch": "bench", "jinja2": "bench", "matplotlib": "bench", "rich": "bench"})
    from benchmarks.fit_page import fit_page
    from recgym.fit.checkpoint import Checkpoints
    from recgym.fit.display import Display
    from recgym.fit.folder import check_output, fit_and_report, write_world

    check_output(options.output)
    if "reward" in given:
        given["reward"] = {
            name: _number("reward", value) for name, value in _pairs("reward", given["reward"].split(",")).items()
        }
    command = shlex.join(["python", "-m", "recgym", *options.given])
    place = Path(options.output).absolute()
    checkpoints = Checkpoints(place.with_name(f".{place.name}.unfinished"))
    with Display() as display:
        logs = _logs(options)
        display.say(f"{len(logs):,} rows of {logs.n_users:,} users and {logs.n_items:,} items are read")
        found = fit_and_report(
            logs, title=_title(options), command=command, display=display, checkpoints=checkpoints, **given
        )
    write_world(
        options.output, found.fitted.world, found.report, lambda report: fit_page(report, found.pairs, options.output)
    )
    checkpoints.clear()
    print("\n".join([*found.report.lines(), *(f"- {line}" for line in found.report.findings)]))
    print(
        f"Written to {options.output}; report.html there says how far to trust it. To play: python -m recgym info {options.output}"
    )


def _title(options: argparse.Namespace) -> str:
    """What the logs are called."""
    path = os.path.basename(os.path.normpath(options.path or options.format))
    return (
        path
        if options.path is None or options.format in ("logs", "csv", "tsv", "parquet")
        else f"{path} ({options.format})"
    )


def _number(parameter: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise RecgymError(f"{parameter}: must be NAME=NUMBER,..., got {text!r}") from None


def _need(command: str, extras: dict[str, str]) -> None:
    """Raise unless modules are installed; module -> the extra that has it."""
    missing = [name for name in extras if find_spec(name) is None]
    if missing:
        wanted = ",".join(dict.fromkeys(extras[name] for name in missing))
        raise RecgymError(f'{command}: needs {" and ".join(missing)}; pip install "recgym[{wanted}]"')


def _fit_open_bandit(options: argparse.Namespace, given: dict[str, Any]) -> None:
    from recgym.fit import fit_open_bandit
    from recgym.logs import read_open_bandit

    require(options.path is not None, "path", "must be given after the format", options.format)
    campaign, policies = given.pop("campaign", "all"), given.pop("policies", ["random", "bts"])
    world, report = fit_open_bandit(read_open_bandit(options.path, campaign, policies), **given)
    report.save(options.output)  # before the world: who finds a world that can be played finds what it is worth, too
    world.save(options.output)
    print(report.summary())
    print(f"Written to {options.output}. To play: gymnasium.make('recgym/Ecommerce-v0', world={options.output!r})")


def _info(options: argparse.Namespace) -> None:
    from recgym.fit.info import describe

    print(describe(options.world))


def _read(options: argparse.Namespace) -> None:
    from recgym.logs import check_place

    if options.output:
        check_place(options.output)
    logs = _logs(options)
    print(logs.describe())
    if options.output:
        logs.save(options.output)
        print(f"Written to {options.output}. To load: recgym.logs.Logs.load({options.output!r})")


def _pairs(parameter: str, texts: Sequence[str]) -> dict[str, str]:
    """Texts such as "user=customer_id"."""
    texts = [text.strip() for text in texts if text.strip()]
    for text in texts:
        require("=" in text, parameter, "must be NAME=VALUE", text)
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in texts)}


def _play(options: argparse.Namespace) -> None:
    require_count("port", options.port, 0, 65535)
    missing = [name for name in ("fastapi", "uvicorn") if find_spec(name) is None]
    if missing:
        raise RecgymError(f'play: needs {" and ".join(missing)}; pip install "recgym[play]"')
    from baselines.playground.server import serve

    serve(options.port, browse=not options.no_open)


def _analyse(options: argparse.Namespace) -> None:
    _need("analyse", {"jinja2": "bench", "matplotlib": "bench", "rich": "bench", "polars": "logs"})
    from benchmarks.behaviour_page import analyse

    given = {name: value for name, value in vars(options).items() if name not in ("command", "run", "given")}
    command = shlex.join(["python", "-m", "recgym", *options.given])
    print(analyse(**given, command=command, progress=lambda text: print(text, file=sys.stderr)))
    print(f"Written to {options.output}.")


def _worlds(options: argparse.Namespace) -> None:
    for name, world in recgym.registered_worlds().items():
        about = (world.load().__doc__ or "").strip()  # none under python -OO
        print(f"{name:<24}{about.partition(chr(10))[0]}".rstrip())
    for name, folder in recgym.fitted_worlds().items():
        file = folder / "report.json"
        source = json.loads(file.read_text())["source"] if file.is_file() else {}
        print(f"{name:<24}Fitted to logs{': {name}, campaign {campaign}'.format(**source) if source else ''}.")


def _envs(options: argparse.Namespace) -> None:
    for id in sorted(id for world in recgym.registered_worlds().values() for id in world.ids):
        print(id)


if __name__ == "__main__":
    sys.exit(main())
