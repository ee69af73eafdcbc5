"""Is a results folder what it says? What `python -m benchmarks submit-check FOLDER` runs on a contribution.

Everything is read from the folder's files and compared with the published suite; then a few jobs, drawn by a seed that
the reviewer chooses, are run again. Running a job again runs the contributor's agent: look at its code before.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from baselines.agent import Task, agent_class
from benchmarks.metrics import standard_error
from benchmarks.run import execute, file_hashes, result_file, software
from benchmarks.suite import FORMAT, SUITES, Job, digest, key_of
from recgym.errors import RecgymError, require, require_count

PLAUSIBLE = (-3.0, 3.0)  # normalised scores; the committed heuristics lie in [-1.7, 1.7]
SPREAD = 10.0  # factor between the standard deviations of two agents' returns on one task
ERRORS = 4.0  # standard errors between two runs where versions differ
UNSTABLE = ("cost", "software", "files")  # parts of a result that may differ between two equal runs
REQUIRED = ("recgym", "python", "numpy", "numba", "gymnasium", "platform")  # of "software"
PARTS = {"format": int, "key": str, "job": dict, "privileged": bool, "return": dict, "length": dict, "objectives": dict,
         "curve": list, "software": dict, "cost": dict}  # fmt: skip
Result = dict[str, Any]


class Verdict(NamedTuple):
    """What was looked at, whether it is right (None: could not be judged), and why."""

    what: str
    ok: bool | None
    why: str


def submit_check(
    folder: str | os.PathLike[str],
    sample: int = 3,
    seed: int = 0,
    max_steps: int = 100_000,
    progress: Callable[[str], None] = lambda text: None,
) -> list[Verdict]:
    """Check a results folder.

    Args:
        folder: as `run_suite` left it. sample: how many jobs to run again; 0 runs nothing of the contributor's.
        seed: of the draw. max_steps: the most training steps of a job that may be drawn. progress: what happens now.

    Raises:
        ConfigError: no folder there, or a wrong argument.
    """
    require_count("sample", sample, 0, 10**6)
    require_count("seed", seed, 0, 2**63)
    require_count("max_steps", max_steps, 0, 10**12)
    folder = Path(folder)
    require(folder.is_dir(), "folder", "must be a results folder", str(folder))
    progress("reading")
    try:
        manifest = json.loads((folder / "suite.json").read_bytes())
    except (OSError, ValueError) as error:
        return [Verdict("manifest", False, f"suite.json: {error}")]
    wrong = manifest_faults(manifest)
    if wrong:
        return [_verdict("manifest", wrong, "")]
    entries = manifest["entries"]
    found, unreadable = _read(folder, entries)
    verdicts = [
        Verdict("manifest", True, f"{len(entries)} jobs, keys match"),
        _suite(manifest),
        _complete(entries, found),
        _verdict("files", [*unreadable, *_strays(folder, entries)], f"{len(found)} results, nothing else"),
    ]
    progress("checking numbers")
    faults = [f"{_name(entry)}: {fault}" for entry in entries if entry["key"] in found
              for fault in result_faults(found[entry["key"]], entry, manifest.get("references", {}))]  # fmt: skip
    verdicts.append(_verdict("numbers", [*faults, *([] if faults else _spreads(entries, found))], "finite, consistent, plausible"))
    versions = {digest(_versions(result)): result["software"] for result in found.values() if _has_software(result)}
    lacking = [f"{_name(entry)}: no {', '.join(REQUIRED)}" for entry in entries
               if entry["key"] in found and not _has_software(found[entry["key"]])]  # fmt: skip
    text = "; ".join(f"recgym {v['recgym']}, python {v['python']}, {v['platform']}" for v in versions.values())
    verdicts.append(_verdict("software", lacking, text or "no results"))
    if not faults:
        verdicts += _again(entries, found, sample, seed, max_steps, progress)
    return verdicts


def manifest_faults(manifest: Any) -> list[str]:
    """What is wrong with the form of suite.json, a line each."""
    if not isinstance(manifest, dict) or not isinstance(manifest.get("entries"), list) or not manifest["entries"]:
        return ["suite.json: must be an object with a list of entries"]
    if manifest.get("format") != FORMAT:
        return [f"suite.json: must be of format {FORMAT}, got {manifest.get('format')!r}"]
    faults = [f"suite.json: {name} must be text" for name in ("suite", "command") if not isinstance(manifest.get(name), str)]
    for i, entry in enumerate(manifest["entries"]):
        try:
            job = Job.from_dict(entry["job"])
            if job.to_dict() != entry["job"]:
                raise ValueError("its job has other parts than a job")
            if entry["key"] != key_of(entry["job"]):
                raise ValueError(f"its key is {entry['key']!r}, that of its job {job.key!r}")
            if not all(isinstance(entry[name], str) for name in ("task", "label")):
                raise ValueError("task and label must be text")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            faults.append(f"entry {i}: {type(error).__name__}: {error}")
    places = [(e["task"], e["label"], e["key"]) for e in manifest["entries"]] if not faults else []
    return [*faults, *(["suite.json: an entry is there twice"] if len({*places}) < len(places) else [])]


def _suite(manifest: dict[str, Any]) -> Verdict:
    """Whether the manifest holds the published suite, unchanged; added agents have the suite's tasks and budgets."""
    name = manifest["suite"].partition("+")[0]
    if name not in SUITES:
        return Verdict("suite", None, f"{manifest['suite']!r} is no published suite; budgets and tasks are its own")
    suite = SUITES[name]
    published = suite.to_dict()
    wrong = [f"{part} are not those of {name}" for part in ("references", "fronts")
             if manifest.get(part) != published.get(part)]  # fmt: skip
    there = [_place(entry) for entry in manifest["entries"]]
    expected = [_place(entry) for entry in published["entries"]]
    wrong += [f"{name} has {task}, {label}, key {key}: not in suite.json" for task, label, key in expected
              if (task, label, key) not in there]  # fmt: skip
    tasks = {task.name: task for task in suite.tasks}
    for entry in manifest["entries"]:
        if _place(entry) in expected:
            continue
        job, task = Job.from_dict(entry["job"]), tasks.get(entry["task"])
        if task is None:
            wrong.append(f"{entry['task']!r} is no task of {name}")
        elif ((job.task, job.evaluation_task, job.users, job.user_seed)
              != (task.task, task.evaluation, suite.users, suite.user_seed)
              or job.steps not in (0, task.steps) or job.seed not in suite.seeds):  # fmt: skip
            wrong.append(f"{_name(entry)}: not the options, budget, seeds or evaluation users of {name}")
    added = list(dict.fromkeys(entry["label"] for entry in manifest["entries"] if _place(entry) not in expected))
    return _verdict("suite", wrong, f"{name}, sha256 {digest(published)[:16]}" + (f"; added: {', '.join(added)}" if added else ""))


def _complete(entries: list[Result], found: dict[str, Result]) -> Verdict:
    """Each row is there whole, or not at all and so listed as not run."""
    rows: dict[str, list[bool]] = {}
    for entry in entries:
        rows.setdefault(entry["label"], []).append(entry["key"] in found)
    partial = [f"{label}: {len(there) - sum(there)} of {len(there)} jobs have no result"
               for label, there in rows.items() if any(there) and not all(there)]  # fmt: skip
    absent = [label for label, there in rows.items() if not any(there)]
    if len(absent) == len(rows):
        partial.append("there is no result at all")
    done = len(rows) - len(absent)
    return _verdict("complete", partial, f"{done} of {len(rows)} rows" + (f"; not run: {', '.join(absent)}" if absent else ""))


def _read(folder: Path, entries: list[Result]) -> tuple[dict[str, Result], list[str]]:
    found, faults = {}, []
    for entry in entries:
        path = result_file(folder, entry["key"])
        if not path.is_file():
            continue
        try:
            data = json.loads(path.read_bytes())
            for name, kind in PARTS.items():
                if type(data[name]) is not kind:
                    raise TypeError(f"{name!r} must be of type {kind.__name__}")
            found[entry["key"]] = data
        except (ValueError, KeyError, TypeError) as error:
            faults.append(f"{path.name} ({_name(entry)}): {type(error).__name__}: {error}")
    return found, faults


def _strays(folder: Path, entries: list[Result]) -> list[str]:
    keys = {entry["key"] for entry in entries}
    out = []
    for path in sorted((folder / "jobs").glob("*")) if (folder / "jobs").is_dir() else []:
        key, _, ending = path.name.partition(".")
        if ending == "error.txt":
            out.append(f"{path.name}: a job failed")
        elif not (ending == "json" and key in keys):
            out.append(f"{path.name}: belongs to no job of suite.json")
    return out


def result_faults(result: Result, entry: Result, references: dict[str, Any]) -> list[str]:
    """What is wrong with one result, a line each.

    Args:
        result: of the right parts (`PARTS`). entry: of the manifest. references: of the manifest.
    """
    if (result["format"], result["key"], result["job"]) != (FORMAT, entry["key"], entry["job"]):
        return ["format, key or job are not those of suite.json"]
    numbers = {**{f"{part} {name}": value for part in ("return", "length", "objectives", "cost")
                  for name, value in result[part].items()},
               **{f"curve {i} {name}": value for i, point in enumerate(result["curve"]) for name, value in point.items()}}  # fmt: skip
    bad = [f"{name} is {value!r}" for name, value in numbers.items()
           if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)]  # fmt: skip
    if bad:
        return bad
    try:
        score, length, objectives = result["return"], result["length"], result["objectives"]
        mean, error, n = score["mean"], score["se"], score["n"]
        cost = (result["cost"]["train_seconds"], result["cost"]["evaluation_seconds"])
        lengths = (length["mean"], length["median"])
        curve = [point["steps"] for point in result["curve"]]
    except (KeyError, TypeError) as fault:
        return [f"lacks {fault}"]
    job = Job.from_dict(entry["job"])
    privileged = _privileged(job.agent)
    try:
        weights, shown, horizon, size = _facts(job.evaluation_task or job.task)
    except (RecgymError, gym.error.Error) as fault:
        return [f"its task cannot be made here: {fault}"]
    faults = []

    def check(holds: bool, fault: str) -> None:
        if not holds:
            faults.append(fault)

    check(n == job.users, f"{n} evaluation users, not {job.users}")
    check(error >= 0, f"standard error {error:g} < 0")
    check(privileged in (None, result["privileged"]), f"privileged is {result['privileged']}, of the agent {privileged}")
    check(min(cost) >= 0, "negative seconds")
    check(all(1 <= value <= horizon for value in lengths), f"length {lengths} outside [1, {horizon}]")
    check(curve == sorted(curve) and all(0 < s <= max(job.steps + 10_000, 1.1 * job.steps) for s in curve) and (job.steps > 0 or not curve),
          "the learning curve's steps do not rise to the training steps")  # fmt: skip
    if set(objectives) != set(weights):
        return [*faults, f"objectives {sorted(objectives)}, not {sorted(weights)}"]
    check(0 <= objectives["click"] <= size * length["mean"] + 1e-6, f"{objectives['click']:g} clicks in {length['mean']:g} steps")
    if not shown:
        terms = [weight * objectives[name] for name, weight in weights.items()]
        gap = abs(sum(terms) - mean)
        check(gap <= 1e-4 * (1 + sum(map(abs, terms))), f"return {mean:g}, but its objectives pay {sum(terms):g}")
    pinned = references.get(entry["task"])
    if pinned:
        low, high = pinned["random"][0], pinned["planner"][0]
        share = (mean - low) / (high - low)
        check(PLAUSIBLE[0] <= share <= PLAUSIBLE[1], f"normalised score {share:.1f} outside {list(PLAUSIBLE)}")
    return faults


def _spreads(entries: list[Result], found: dict[str, Result]) -> list[str]:
    """Standard deviations of the returns, se sqrt(n), that are far from the other agents' on the same task."""
    faults, spread = [], {}
    for entry in entries:
        score = found.get(entry["key"], {}).get("return")
        if score and score["se"] > 0:
            spread.setdefault(entry["task"], []).append((entry, score["se"] * math.sqrt(score["n"])))
    for pairs in spread.values():
        middle = float(np.median([value for _, value in pairs]))
        faults += [f"{_name(entry)}: se sqrt(n) = {value:.3g}, others' {middle:.3g}" for entry, value in pairs
                   if not middle / SPREAD <= value <= middle * SPREAD]  # fmt: skip
    return faults


def _again(
    entries: list[Result], found: dict[str, Result], sample: int, seed: int, max_steps: int, progress: Callable[[str], None]
) -> list[Verdict]:
    """Run some jobs again and compare."""
    pool = list({e["key"]: e for e in entries if e["key"] in found and e["job"]["steps"] <= max_steps}.values())
    if not sample:
        return [Verdict("re-runs", None, "none asked for")]
    if not pool:
        return [Verdict("re-runs", None, f"no result of at most {max_steps:,} training steps")]
    chosen = np.sort(np.random.default_rng(seed).choice(len(pool), min(sample, len(pool)), replace=False))
    out = []
    for k, i in enumerate(chosen.tolist()):
        entry, result = pool[i], found[pool[i]["key"]]
        seconds = sum(result["cost"].values())
        progress(f"running again {k + 1} of {len(chosen)}: {_name(entry)} (took {seconds:.0f} s)")
        job = Job.from_dict(entry["job"])
        try:
            agent_class(job.agent)
            hashes = file_hashes(job)
            if result.get("files", hashes) != hashes:
                out.append(Verdict(f"again: {_name(entry)}", False, "the agent's or world's file is another one here"))
                continue
        except (RecgymError, OSError) as error:
            out.append(Verdict(f"again: {_name(entry)}", None, f"not run: {error}"))
            continue
        try:
            again = json.loads(json.dumps(execute(job)))
        except Exception as error:  # the agent is anybody's
            out.append(Verdict(f"again: {_name(entry)}", False, f"failed: {type(error).__name__}: {error}"))
            continue
        row = [found[e["key"]]["return"]["mean"] for e in entries
               if (e["task"], e["label"]) == (entry["task"], entry["label"]) and e["key"] in found]  # fmt: skip
        out.append(Verdict(f"again: {_name(entry)}", *compare(result, again, standard_error(row) * math.sqrt(len(row)))))
    return out


def compare(result: Result, again: Result, between: float) -> tuple[bool, str]:
    """Whether a result is what its job gives here, and in which sense.

    Equal to the bit, times and versions aside, always passes; an untrained agent under the same versions must be.
    Otherwise the means may differ by `ERRORS` standard errors: of the users in both, and, for a trained agent, of what
    training runs differ by.

    Args:
        result: contributed. again: as `execute` gives it here. between: standard deviation between the row's seeds.
    """
    ours, theirs = ({k: v for k, v in r.items() if k not in UNSTABLE} for r in (again, result))
    if ours == theirs:
        return True, f"{result['return']['mean']:.4g}, equal to the bit"
    (a, ea), (b, eb) = ((r["return"]["mean"], r["return"]["se"]) for r in (result, again))
    trained, same = result["job"]["steps"] > 0, _versions(result) == _versions(software())
    text = f"{a:.4g} there, {b:.4g} here"
    if same and not trained:
        return False, f"{text}; versions are the same, so it should be equal to the bit"
    tolerance = ERRORS * math.hypot(ea, eb, between * math.sqrt(2) * trained)
    reason = "same versions, but training differs" if same else "other versions"
    return abs(a - b) <= tolerance, f"{text}; may differ by {tolerance:.2g} ({reason})"


@cache
def _facts_of(text: str) -> tuple[dict[str, float], float, int, int]:
    task = json.loads(text)
    env = Task(task["id"], task["options"]).make(1)
    weights, shown = env.weights
    return dict(zip(env.world.objectives, weights.tolist(), strict=True)), shown, env.world.horizon, env.world.slate_size


def _facts(task: Task) -> tuple[dict[str, float], float, int, int]:
    """Weight of each objective, weight of an item shown, horizon and slate size."""
    return _facts_of(json.dumps({"id": task.id, "options": task.options}, sort_keys=True))


@cache
def _privileged(agent: str) -> bool | None:
    try:
        return agent_class(agent).privileged
    except RecgymError:
        return None


def _versions(result: Result) -> dict[str, str]:
    versions = result.get("software", result)
    return {name: version for name, version in versions.items() if name != "device"}


def _has_software(result: Result) -> bool:
    return all(isinstance(result["software"].get(name), str) for name in REQUIRED)


def _place(entry: Result) -> tuple[str, str, str]:
    return entry["task"], entry["label"], entry["key"]


def _name(entry: Result) -> str:
    seed = f", seed {entry['job']['seed']}" if entry["job"]["steps"] else ""
    return f"{entry['task']}, {entry['label']}{seed}"


def _verdict(what: str, wrong: list[str], right: str) -> Verdict:
    shown = wrong[:5] + ([f"and {len(wrong) - 5} more"] if len(wrong) > 5 else [])
    return Verdict(what, not wrong, "\n".join(shown) if wrong else right)
