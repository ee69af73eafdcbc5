"""Runs the examples of a client and writes their results.

    python examples/clients/run.py sb3                 # each case of it, into examples/clients/results
    python examples/clients/run.py sb3 --steps 300     # each case of it, trained less; nothing is written

A case that fails leaves a result that says how. The exit status is 1 where a case does what is not expected of it: it
fails, or it runs though `Case.fails` says why it cannot.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from recgym.files import read_json, write_atomically

HERE = Path(__file__).parent
RESULTS = HERE / "results"


@dataclass(frozen=True)
class Case:
    """One row of what is tried.

    Attributes:
        client: whose environment of `noxfile.py` it runs in. script: in this folder. form: column of the table: "item",
            "slate", "dict" or "native". arguments: of the script.
        fails: why it fails and whose fault that is, where it is known to.
    """

    client: str
    script: str
    form: str
    arguments: str = ""
    fails: str = ""

    @property
    def name(self) -> str:
        """Of the file of its result, without its ending."""
        mode = self.arguments.partition("--native ")[2].partition(" ")[0] if self.form == "native" else ""
        return f"{self.script}-{self.form}{mode and '-' + mode}"


SLATE, DICT = "--id recgym/EcommerceSlate-v0", "--observation dict"
SAME, NEXT = "--native SameStep", "--native NextStep"
MATRICES = (  # the message's 259 = 9 + 20 numbers and the matrices 10 x 3 and 20 x 10; its 61 = 9 + 20 + 2 x 16
    "its network for dict observations flattens matrices, such as those of history and candidates, and counts each as 16 "
    "inputs, the width of what it makes of images. Not ours; flat observations work."
)
CASES = [
    Case("sb3", "sb3_dqn", "item"),
    Case("sb3", "sb3_dqn", "dict", DICT),
    Case("sb3", "sb3_dqn", "native", SAME),
    Case("sb3", "sb3_ppo", "item"),
    Case("sb3", "sb3_ppo", "slate", SLATE),
    Case("sb3", "sb3_ppo", "dict", DICT),
    Case("sb3", "sb3_ppo", "native", SAME),
    Case("sb3", "sb3_contrib_maskable_ppo", "item"),
    Case("sb3", "sb3_contrib_maskable_ppo", "slate", SLATE),
    Case("sb3", "sb3_contrib_maskable_ppo", "native", SAME),
    Case("cleanrl", "cleanrl_ppo", "slate", SLATE),
    Case("cleanrl", "cleanrl_ppo", "dict", f"{DICT} {NEXT}"),
    Case("cleanrl", "cleanrl_ppo", "native", SAME),
    Case("cleanrl", "cleanrl_ppo", "native", NEXT),
    Case("cleanrl", "cleanrl_ppo", "native", "--native Disabled"),
    Case("rllib", "rllib_ppo", "item"),
    Case("rllib", "rllib_ppo", "slate", f"{SLATE} {NEXT} --steps 40000"),
    Case("rllib", "rllib_ppo", "dict", f"{DICT} {NEXT}"),
    Case("rllib", "rllib_ppo", "native", NEXT),
    Case("rllib", "rllib_dqn", "item"),
    Case("rllib", "rllib_dqn", "dict", f"{DICT} {NEXT}"),
    Case("rllib", "rllib_dqn", "native", NEXT),
    Case("tianshou", "tianshou_dqn", "item"),
    Case("tianshou", "tianshou_dqn", "dict", DICT),
    Case("tianshou", "tianshou_ppo", "item"),
    Case("tianshou", "tianshou_ppo", "slate", f"{SLATE} --small --steps 20000"),
    Case(
        "tianshou",
        "tianshou_ppo",
        "native",
        SAME,
        fails="its collector asks a vector environment for `len()`, which Gymnasium's own do not have either. Not ours; "
        "Tianshou's `DummyVectorEnv` works.",
    ),
    Case("torchrl", "torchrl_ppo", "item"),
    Case("torchrl", "torchrl_ppo", "slate", f"{SLATE} {SAME} --small --steps 40000"),
    Case("torchrl", "torchrl_ppo", "dict", f"{DICT} {SAME}"),
    Case("torchrl", "torchrl_ppo", "native", SAME),
    Case("skrl", "skrl_ppo", "item"),
    Case("skrl", "skrl_ppo", "slate", f"{SLATE} {SAME} --small --steps 40000"),
    Case("skrl", "skrl_ppo", "dict", f"{DICT} {SAME}"),
    Case("skrl", "skrl_ppo", "native", SAME),
    Case("agilerl", "agilerl_dqn", "item"),
    Case("agilerl", "agilerl_dqn", "dict", f"{DICT} {SAME}", fails=MATRICES),
    Case("agilerl", "agilerl_dqn", "native", SAME),
    Case("agilerl", "agilerl_ppo", "item"),
    Case("agilerl", "agilerl_ppo", "slate", f"{SLATE} {SAME} --small --steps 100000"),
    Case("agilerl", "agilerl_ppo", "dict", f"{DICT} {SAME}", fails=MATRICES),
    Case("agilerl", "agilerl_ppo", "native", SAME),
    Case("morl-baselines", "morl_gpi", "item"),
    Case("minari", "minari_cloning", "item"),
    Case("minari", "minari_cloning", "slate", SLATE),
    Case("minari", "minari_cloning", "dict", DICT),
    Case("d3rlpy", "d3rlpy_offline", "native", SAME),
    Case("d3rlpy", "d3rlpy_online", "item"),
]


def run(case: Case, steps: int | None, results: Path) -> bool:
    """Run a case and write its result; whether it did what was expected."""
    line = [sys.executable, str(HERE / f"{case.script}.py"), *case.arguments.split()]
    if steps is not None:
        line += ["--steps", str(steps), "--users", "50"]
    print(f"== {case.name}", flush=True)
    path = results / f"{case.name}.json"
    path.unlink(missing_ok=True)
    done = subprocess.run([*line, "--out", str(path)], stderr=subprocess.PIPE, text=True)
    if not path.exists():
        command = " ".join(["python", f"examples/clients/{case.script}.py", *case.arguments.split()])
        failure = {"command": command, "error": complaint(done.stderr) or f"exit status {done.returncode}"}
        write_atomically(path, (json.dumps(failure, indent=2) + "\n").encode())
        print(failure["error"] if case.fails else done.stderr[-3000:], flush=True)
    return bool(case.fails) == ("error" in read_json(path, "result"))


def complaint(said: str) -> str:
    """The line of the exception: the first that is not indented after the last traceback, since a library may print more
    below it, such as a progress bar. The last line where there is no traceback; "" where there is nothing."""
    _, traced, below = said.rpartition("Traceback (most recent call last):\n")
    lines = [line for line in below.splitlines() if line.strip() and not (traced and line.startswith(" "))]
    return (lines[0 if traced else -1] if lines else "")[:300]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=sorted({case.client for case in CASES}))
    parser.add_argument("--only", default="", help="part of the names of cases")
    parser.add_argument("--steps", type=int, help="train so long, evaluate on 50 users, write nothing")
    given = parser.parse_args()
    cases = [case for case in CASES if case.client == given.client and given.only in case.name]
    with tempfile.TemporaryDirectory() as scratch:
        results = RESULTS if given.steps is None else Path(scratch)
        odd = [case.name for case in cases if not run(case, given.steps, results)]
    print(f"{len(cases) - len(odd)} of {len(cases)} cases as expected", *odd, sep="\n  ")
    sys.exit(bool(odd))


if __name__ == "__main__":
    main()
