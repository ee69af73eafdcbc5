"""Runs the original packages: records what our classics and statistics are tested against, or times both sides.

    python tests/reference/record.py record [recsim] [sardine] [recogym] [rliable]   # writes tests/reference/data/*.npz
    python tests/reference/record.py speed -o benchmarks/results/originals.json

Each package gets a virtual environment of its own below --environments, with the versions that the constant
REQUIREMENTS of `record_<package>.py` pins; that script's docstring says what is recorded and how. Nothing of theirs is
imported here, and only arrays of numbers are committed.
"""

from __future__ import annotations

import argparse
import ast
import json
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
PACKAGES = ("recsim", "sardine", "recogym", "rliable")
SPEED = (  # package, its id, ours
    ("recsim", "interest_evolution", "recgym/InterestEvolution-v0"),
    ("sardine", "SlateTopK-BoredInf", "recgym/Sardine-SlateTopK-BoredInf-v0"),
)
BATCH = 1024
ROUNDS = 5


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


def speed(environments: Path, seconds: float, output: Path | None) -> None:
    """Random actions, resets included: theirs, ours single, ours in a batch, in turn, so that all meet the same machine."""
    sys.path.insert(0, str(HERE.parents[1]))
    from benchmarks.run import software
    from benchmarks.throughput import batch, single

    rows = []
    for package, theirs, ours in SPEED:
        python = python_of(package, environments)
        measures = {"single": single(ours), f"batch of {BATCH}": batch(ours, BATCH)}
        windows: dict[str, list[float]] = {"original": [], **{name: [] for name in measures}}
        for measure in measures.values():
            measure(0.3)
        for _ in range(ROUNDS):
            out = subprocess.run([python, script(package), "--speed", theirs, str(seconds)], check=True,
                                 capture_output=True, text=True)  # fmt: skip
            windows["original"] += json.loads(out.stdout.strip().splitlines()[-1])["windows"]
            for name, measure in measures.items():
                windows[name] += [measure(seconds) for _ in range(5)]
        best = {name: max(rates) for name, rates in windows.items()}
        print(f"{ours}: original {best['original']:,.0f} steps/s", end="")
        for name in measures:
            print(f"; {name} {best[name]:,.0f}, {best[name] / best['original']:.1f} times as fast", end="")
        print()
        rows.append({"id": ours, "original": f"{package} {theirs}", "best": best, "windows": windows,
                     "ratios": {name: best[name] / best["original"] for name in measures}})  # fmt: skip
    if output is not None:
        command = "python tests/reference/record.py speed -o benchmarks/results/originals.json"
        output.write_text(json.dumps({"command": command, "software": software(), "rows": rows}, indent=1) + "\n")


def main() -> None:
    """Run a command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--environments", type=Path, default=HERE / ".environments", help="where they are kept")
    commands = parser.add_subparsers(dest="command", required=True)
    recorder = commands.add_parser("record", help="write tests/reference/data")
    recorder.add_argument("packages", nargs="*", choices=[*PACKAGES, []])
    timer = commands.add_parser("speed", help="time both sides")
    timer.add_argument("--seconds", type=float, default=0.3, help="length of a window")
    timer.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        record(arguments.packages, arguments.environments)
    else:
        speed(arguments.environments, arguments.seconds, arguments.output)


if __name__ == "__main__":
    main()
