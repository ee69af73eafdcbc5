"""Runs the original packages: records what our classics and statistics are tested against.

    python tests/reference/record.py record [recsim] [sardine] [recogym] [rliable]   # writes tests/reference/data/*.npz

Each package gets a virtual environment of its own below --environments, with the versions that the constant
REQUIREMENTS of `record_<package>.py` pins; that script's docstring says what is recorded and how. Nothing of theirs is
imported here, and only arrays of numbers are committed.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import venv
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("recsim", "sardine", "recogym", "rliable")


def script(package: str) -> Path:
    """What runs in the package's environment."""
    return HERE / f"record_{package}.py"


def python_of(package: str, environments: Path) -> Path:
    """The interpreter of the package's environment, which is made where it is missing or its requirements changed."""
    tree = ast.parse(script(package).read_text())
    found = [ast.literal_eval(node.value) for node in tree.body if isinstance(node, ast.Assign) and
             getattr(node.targets[0], "id", "") == "REQUIREMENTS"]  # fmt: skip
    folder = environments / package
    python, stamp = folder / "bin" / "python", folder / "requirements.json"
    if not stamp.is_file() or json.loads(stamp.read_text()) != list(found[0]):
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", *found[0]], check=True)
        stamp.write_text(json.dumps(found[0]))
    return python


def record(packages: list[str], environments: Path) -> None:
    """Write the fixtures."""
    for package in packages or PACKAGES:
        subprocess.run([python_of(package, environments), script(package), HERE / "data"], check=True)


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=Path, default=HERE / ".environments", help="where they are kept")
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record", help="write tests/reference/data")
    recorder.add_argument("packages", nargs="*", choices=[*PACKAGES, []])
    arguments = parser.parse_args()
    record(arguments.packages, arguments.environments)


if __name__ == "__main__":
    main()
