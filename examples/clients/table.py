"""Writes the tables of docs/clients.md from the results.

python examples/clients/table.py            # writes the page
python examples/clients/table.py --check    # exit status 1 where the page is not that of the results
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from run import CASES, RESULTS, Case

from recgym.files import read_json, write_atomically

PAGE = Path(__file__).parents[2] / "docs/clients.md"
LABELS = {  # script -> name of the row, distribution whose version is shown
    "sb3_dqn": ("Stable-Baselines3, DQN", "stable-baselines3"),
    "sb3_ppo": ("Stable-Baselines3, PPO", "stable-baselines3"),
    "sb3_contrib_maskable_ppo": ("sb3-contrib, MaskablePPO", "sb3-contrib"),
    "cleanrl_ppo": ("PPO in one file, torch", "torch"),
    "rllib_ppo": ("RLlib, PPO", "ray"),
    "rllib_dqn": ("RLlib, DQN", "ray"),
    "tianshou_dqn": ("Tianshou, DQN", "tianshou"),
    "tianshou_ppo": ("Tianshou, PPO", "tianshou"),
    "torchrl_ppo": ("TorchRL, PPO", "torchrl"),
    "skrl_ppo": ("skrl, PPO", "skrl"),
    "agilerl_dqn": ("AgileRL, DQN", "agilerl"),
    "agilerl_ppo": ("AgileRL, PPO", "agilerl"),
    "morl_gpi": ("MORL-Baselines, GPI-LS", "morl-baselines"),
    "minari_cloning": ("Minari, cloning", "minari"),
    "d3rlpy_offline": ("d3rlpy, DiscreteCQL offline", "d3rlpy"),
    "d3rlpy_online": ("d3rlpy, double DQN", "d3rlpy"),
}
FORMS = {"item": "single item", "slate": "slate", "dict": "dict", "native": "native vector"}


def plain(number: float) -> str:
    """Two digits after the point."""
    return f"{number:.2f}"


def level(result: dict[str, Any], key: str) -> str:
    """A mean return, marked where it is of the small world."""
    return plain(result[key]["mean"]) + (" †" if "items" in result["options"] else "")


def score(result: dict[str, Any]) -> str:
    """The return, in bold where it is above that of random."""
    text = level(result, "return")
    return f"**{text}**" if result["gain"]["mean"] > result["gain"]["half_width"] else text


def read(case: Case) -> dict[str, Any] | None:
    """The result of a case, None where there is none."""
    path = RESULTS / f"{case.name}.json"
    return read_json(path, "result") if path.exists() else None


def overview() -> list[str]:
    """A row for each script: what it earned in each form."""
    lines = [
        f"| client | version (Gymnasium) | {' | '.join(FORMS.values())} |",
        "| --- |" + " --- |" * (1 + len(FORMS)),
    ]
    failures = []
    for script, (label, package) in LABELS.items():
        cases = [case for case in CASES if case.script == script and read(case)]
        if not any("versions" in (read(case) or {}) for case in cases):  # none has run
            continue
        cells, ran = [], {}
        for form in FORMS:
            parts = []
            for case in (case for case in cases if case.form == form):
                result = read(case)
                assert result is not None
                if "error" in result:
                    failures.append((label, case, result))
                    parts.append(f"fails ({len(failures)})")
                else:
                    ran = result["versions"]
                    mode = f" {result['native']}" if result["native"] and form in ("native", "dict", "slate") else ""
                    parts.append(score(result) + mode)
            cells.append(", ".join(parts) or "–")
        version = f"{ran[package].partition('+')[0]} ({ran['gymnasium']})"
        lines.append(f"| {label} | {version} | {' | '.join(cells)} |")
    results = {form: [read(case) or {} for case in CASES if case.form == form] for form in FORMS}
    randoms = [sorted({level(one, "random") for one in of if "random" in one}, reverse=True) for of in results.values()]
    lines.append(f"| random candidates | | {' | '.join(map(', '.join, randoms))} |")
    if failures:
        lines.append("")
    for n, (label, case, result) in enumerate(failures, 1):
        why = case.fails or "Not expected; see the command."
        lines.append(f"{n}. {label}, {FORMS[case.form]}: {why} It says: `{result['error']}`")
    return lines


def runs() -> list[str]:
    """A row for each run: its command, and what it earned beside random."""
    lines = ["| command | return | random | steps | seconds |", "| --- | --- | --- | --- | --- |"]
    for case in CASES:
        result = read(case)
        if result is None:
            continue
        line = result["command"].replace("python examples/clients/", "")
        if "error" in result:
            lines.append(f"| `{line}` | fails | | | |")
            continue
        both = [f"{plain(result[key]['mean'])} ± {plain(result[key]['half_width'])}" for key in ("return", "random")]
        lines.append(f"| `{line}` | {both[0]} | {both[1]} | {result['steps']:,} | {result['seconds']:.0f} |")
    return lines


def versions() -> list[str]:
    """A row for each environment in which the tests of the contract ran."""
    lines = ["| environment | Python | Gymnasium | NumPy | numba | passed | failed |", "| --- |" + " --- |" * 6]
    for path in sorted(RESULTS.glob("contract/*.json")):
        result = read_json(path, "result")
        have = [result["versions"][name] for name in ("python", "gymnasium", "numpy", "numba")]
        lines.append(f"| {path.stem} | {' | '.join(have)} | {result['passed']} | {result['failed']} |")
    return lines


def page(text: str) -> str:
    """The page, with the tables between its marks made anew."""
    for name, make in (("overview", overview), ("runs", runs), ("versions", versions)):
        marks = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.S)
        table = "\n".join(make())
        text = marks.sub(lambda found, table=table: f"{found[1]}\n{table}\n\n{found[2]}", text, count=1)
    return text


if __name__ == "__main__":
    old = PAGE.read_text(encoding="utf-8")
    new = page(old)
    if sys.argv[1:] == ["--check"]:
        sys.exit(old != new)
    write_atomically(PAGE, new.encode())
