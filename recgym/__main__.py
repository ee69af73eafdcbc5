"""The command line: play, fit a world to logs, and list what there is.

python -m recgym play
python -m recgym read csv events.csv -o my-logs --columns user=customer_id,time=ts
python -m recgym fit open-bandit open_bandit_dataset -o my-shop --campaign men
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
from typing import Any, NoReturn

import recgym
from recgym.errors import RecgymError, require, require_count
from recgym.files import print_anywhere


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, or 2 after an error, which is one line on stderr."""
    parser = _Parser(prog="python -m recgym", description=recgym.__doc__.splitlines()[0] if recgym.__doc__ else None)
    parser.add_argument("--version", action="version", version=recgym.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "fit a world to interaction logs"
    fit = commands.add_parser("fit", help=what, description=what)
    fit.add_argument("logs", choices=["open-bandit"], help="what the logs are: the Open Bandit Dataset")
    fit.add_argument("folder", metavar="DIR", help="folder with the logs")
    fit.add_argument("-o", "--output", required=True, metavar="WORLD", help="folder for the world and its report")
    fit.add_argument("--campaign", default="all", help="all, men or women (default: all)")
    fit.add_argument("--policies", nargs="+", metavar="POLICY", help="random, bts or both (default: both)")
    fit.add_argument("--dimensions", type=int, default=16, help="of the item embeddings (default: 16)")
    fit.add_argument("--candidates", type=int, default=20, help="items to choose from at each step (default: 20)")
    fit.add_argument("--folds", type=int, default=10, help="of the cross-validation (default: 10)")
    fit.add_argument("--seed", type=int, default=0, help="of the folds and the embeddings (default: 0)")
    fit.set_defaults(run=_fit, policies=["random", "bts"])
    what = "read interaction logs into the event table, say what is there and what is missing, and keep it"
    read = commands.add_parser("read", help=what, description=what)
    read.add_argument("format", help="csv, tsv, parquet, or a published data set, such as movielens, mind or recbole")
    read.add_argument("path", help="file, or folder with the files of a data set")
    read.add_argument("--columns", default="", metavar="user=NAME,...", help="names in the file; others are guessed")
    read.add_argument("--keep-ids", action="store_true", help="of users and items; without it, they are hashed")
    read.add_argument("--salt", metavar="TEXT", help="of the hashes (default: a random one)")
    read.add_argument("--session-gap", type=float, default=30, metavar="MINUTES", help="between sessions (default: 30)")
    read.add_argument("--tolerance", type=float, default=0.01, metavar="SHARE", help="of wrong rows (default: 0.01)")
    read.add_argument(
        "--option", action="append", default=[], metavar="NAME=VALUE", help="of the format, such as encoding=latin-1"
    )
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
    except (RecgymError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"{parser.prog}: error: {message}", file=sys.stderr)
        return 2
    return 0


def _fit(options: argparse.Namespace) -> None:
    from recgym.fit import fit_open_bandit
    from recgym.logs import read_open_bandit

    names = ("dimensions", "candidates", "folds", "seed")
    interactions = read_open_bandit(options.folder, options.campaign, options.policies)
    world, report = fit_open_bandit(interactions, **{name: getattr(options, name) for name in names})
    report.save(options.output)  # before the world: who finds a world that can be played finds what it is worth, too
    world.save(options.output)
    print(report.summary())
    print(f"Written to {options.output}. To play: gymnasium.make('recgym/Ecommerce-v0', world={options.output!r})")


def _read(options: argparse.Namespace) -> None:
    from recgym.logs import check_place, read

    if options.output:
        check_place(options.output)
    names = ("keep_ids", "salt", "session_gap", "tolerance")
    given: dict[str, Any] = {name: getattr(options, name) for name in names}
    given["columns"] = _pairs("columns", options.columns.split(","))
    for name, value in _pairs("option", options.option).items():
        require(name not in given, "option", "must be of the format; this one is an argument of its own", name)
        given[name] = value
    logs = read(options.format, options.path, **given)
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
    extras = {"jinja2": "bench", "matplotlib": "bench", "rich": "bench", "polars": "logs"}
    missing = [name for name in extras if find_spec(name) is None]
    if missing:
        wanted = ",".join(dict.fromkeys(extras[name] for name in missing))
        raise RecgymError(f'analyse: needs {" and ".join(missing)}; pip install "recgym[{wanted}]"')
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
