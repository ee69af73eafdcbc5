"""The check of a contributed results folder: what `python -m benchmarks submit-check FOLDER` does.

The folder's files are read as data and compared with the suite and with published results. Then a few jobs are run again,
the contributor's own first; the reviewer chooses the seed of the draw. Agents, tasks and worlds that are not of recgym are
neither loaded nor run, and what would need them is not judged, unless the reviewer has looked at their code and trusts
them by name.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from baselines.agent import Task
from baselines.registry import REGISTRY, agent_class, make_agent
from benchmarks import files
from benchmarks.data import is_folder
from benchmarks.files import Manifest, read_manifest
from benchmarks.metrics import standard_error
from benchmarks.packed import holds_any, read_results
from benchmarks.result import Result, evaluated
from benchmarks.run import CURVE_USERS, execute, file_hashes
from benchmarks.suite import SEED_STRIDE, SUITES, UNTRAINED, Entry, Job, NamedTask, Suite, digest
from recgym import CLASSIC_IDS, ENV_IDS
from recgym.errors import ConfigError, RecgymError, require, require_count, require_option
from recgym.registry import own_names

PLAUSIBLE = (-3.0, 3.0)  # normalised scores; the committed heuristics lie in [-1.7, 1.7]
SPREAD = 30.0  # largest ratio of two agents' standard deviations of returns on one task; committed ones reach 14
ROW_SPREAD = 5.0  # the same of two runs of one agent; committed ones reach 1.7
ERRORS = 4.0  # standard errors that two runs may differ by where versions differ
BETWEEN = 0.04  # standard deviation between training runs of one agent over that between users: median of the committed
UNSTABLE = ("cost", "software", "files")  # parts of a result that may differ between two equal runs
REQUIRED = ("recgym", "python", "numpy", "numba", "gymnasium", "platform")  # names in "software"
COUNTS = ("click", "cart", "purchase", "like", "share", "long_watch", "satisfied_click")  # objectives that are counted


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
    trust: Collection[str] = (),
    suite: Suite | None = None,
) -> list[Verdict]:
    """Check a results folder.

    Args:
        folder: as `run_suite` left it. sample: how many jobs to run again.
        seed: of the draw. max_steps: the most training steps of a job that may be drawn. progress: what happens now.
        trust: what may be loaded beside recgym's own: agents, tasks and worlds, as the folder names them. Without it
            nothing of the contributor's is imported or run, whatever the sample.
        suite: that the folder is judged by; None: the published one that it names.

    Raises:
        ConfigError: no folder there, or a wrong argument.
    """
    require_count("sample", sample, 0, 10**6)
    require_count("seed", seed, 0, 2**63)
    require_count("max_steps", max_steps, 0, 10**12)
    folder = Path(folder)
    require(is_folder(folder), "folder", "must be a results folder", str(folder))
    progress("reading")
    try:
        manifest = read_manifest(folder)
    except ConfigError as error:
        return [Verdict("manifest", False, str(error))]
    entries = manifest.entries
    try:
        found, unreadable = read_results(folder, [entry.job.key for entry in entries], manifest.shared)
        strays = _strays(folder, entries)
    except ConfigError as error:
        return [Verdict("files", False, str(error))]
    there = [entry for entry in entries if entry.job.key in found]
    for name in trust:
        require_option("trust", name, {name for entry in entries for name in _foreign(entry.job)})
    unknown = {name for entry in there for name in _foreign(entry.job)} - {*trust}
    verdicts = [
        Verdict("manifest", True, f"{len(entries)} jobs, keys match"),
        _suite(manifest, suite),
        _complete(entries, found),
        _verdict("files", [*unreadable.values(), *strays], f"{len(found)} results, nothing else"),
    ]
    progress("checking numbers")
    faults = [f"{_name(entry)}: {fault}" for entry in there
              for fault in result_faults(found[entry.job.key], entry, manifest.references, unknown)]  # fmt: skip
    if not faults:
        faults = [*_spreads(there, found), *_copies(there, found)]
    verdicts.append(_verdict("numbers", faults, "finite, consistent, plausible"))
    versions = {digest(result.software): result.software for result in found.values() if _has_software(result)}
    lacking = [
        f"{_name(entry)}: no {', '.join(REQUIRED)}" for entry in there if not _has_software(found[entry.job.key])
    ]
    text = "; ".join(f"recgym {v['recgym']}, python {v['python']}, {v['platform']}" for v in versions.values())
    verdicts.append(_verdict("software", lacking, text or "no results"))
    published = _published(folder, there)
    if published:
        verdicts.append(_compare_published(there, found, published))
    if unknown:
        text = "neither loaded nor run, and what would need it not judged; after a look at it, --trust and its name"
        verdicts.append(Verdict("not of recgym", None, f"{', '.join(sorted(unknown))}: {text}"))
    if not faults:
        untouched = {key for key, result in published.items() if _stable(result) == _stable(found[key])}
        verdicts += _again(there, found, untouched, unknown, sample, seed, max_steps, progress)
    return verdicts


def _foreign(job: Job) -> set[str]:
    """Names in a job for what is not recgym's own: agents, tasks, worlds that are read from a folder."""
    return ({job.agent} - {*REGISTRY}) | _foreign_places(job)


def _foreign_places(job: Job) -> set[str]:
    tasks = [task for task in (job.task, job.evaluation_task) if task]
    worlds = {task.options["world"] for task in tasks if isinstance(task.options.get("world"), str)}
    return ({task.id for task in tasks} - {*ENV_IDS, *CLASSIC_IDS}) | (worlds - own_names())


def _suite(manifest: Manifest, suite: Suite | None) -> Verdict:
    """Whether the manifest holds its suite, unchanged; added agents have the suite's tasks and budgets."""
    rows: dict[str, list[Entry]] = {}
    for entry in manifest.entries:
        rows.setdefault(entry.label, []).append(entry)
    wrong = [f"{label}: several agents or hyper-parameters under one label" for label, row in rows.items()
             if len({digest({"agent": e.job.agent, "with": e.job.hyperparameters}) for e in row}) > 1]  # fmt: skip
    name = manifest.suite.partition("+")[0]
    if suite and name != suite.name:
        return _verdict("suite", [*wrong, f"{manifest.suite!r} is not {suite.name!r}"], "")
    suite = suite or SUITES.get(name)
    if suite is None:
        if name == "custom":
            wrong += [
                f"{part} are pinned, which no custom run has"
                for part in ("references", "fronts", "stretch", "ones")
                if getattr(manifest, part)
            ]
            wrong += [f"{label}: seeds {seeds}; a run has 0, {SEED_STRIDE} and so on on every task" for label, row in rows.items()
                      for seeds in _seeds(row).values() if seeds != [SEED_STRIDE * k for k in range(len(seeds))]]  # fmt: skip
        text = f"{manifest.suite!r} is no published suite; budgets and tasks are its own"
        return _verdict("suite", wrong, text) if wrong else Verdict("suite", None, text)
    published = suite.manifest()
    wrong += [f"{part} are not those of {name}" for part in ("references", "fronts", "stretch", "ones")
              if getattr(manifest, part) != published.get(part, {})]  # fmt: skip
    there = {_identity(entry) for entry in manifest.entries}
    expected = {_identity(entry) for entry in suite.entries()}
    wrong += [
        f"{name} has {task}, {label}, key {key}: not in suite.json" for task, label, key in sorted(expected - there)
    ]
    tasks = {task.name: task for task in suite.tasks}
    added = {label: [e for e in row if _identity(e) not in expected] for label, row in rows.items()}
    added = {label: row for label, row in added.items() if row}
    for label, row in added.items():
        if label in [agent.label for agent in suite.agents]:
            wrong.append(f"{label}: is a row of {name}, and has other jobs too")
            continue
        wrong += [f"{entry.task!r} is no task of {name}" for entry in row if entry.task not in tasks]
        wrong += [f"{_name(entry)}: not the options, budget, seeds or evaluation users of {name}" for entry in row
                  if entry.task in tasks and not _keeps_to(suite, tasks[entry.task], entry.job)]  # fmt: skip
        trained = any(entry.job.steps for entry in row)
        seeds = list(suite.seeds) if trained else list(suite.seeds[:1])
        wrong += [f"{label}, {task}: seeds {_seeds(row).get(task)}, not {seeds}, as {name} has them"
                  for task in tasks if _seeds(row).get(task) != seeds]  # fmt: skip
    return _verdict(
        "suite", wrong, f"{name}, sha256 {digest(published)[:16]}" + (f"; added: {', '.join(added)}" if added else "")
    )


def _keeps_to(suite: Suite, task: NamedTask, job: Job) -> bool:
    return ((job.task, job.evaluation_task, job.users, job.user_seed)
            == (task.task, task.evaluation, suite.users, suite.user_seed)
            and job.steps in (0, task.steps) and job.seed in suite.seeds)  # fmt: skip


def _seeds(row: list[Entry]) -> dict[str, list[int]]:
    """Training seeds by task."""
    seeds: dict[str, list[int]] = {}
    for entry in row:
        seeds.setdefault(entry.task, []).append(entry.job.seed)
    return seeds


def _complete(entries: list[Entry], found: dict[str, Result]) -> Verdict:
    """Each row is there whole, or not at all and so listed as not run."""
    rows: dict[str, list[bool]] = {}
    for entry in entries:
        rows.setdefault(entry.label, []).append(entry.job.key in found)
    partial = [f"{label}: {len(there) - sum(there)} of {len(there)} jobs have no result"
               for label, there in rows.items() if any(there) and not all(there)]  # fmt: skip
    absent = [label for label, there in rows.items() if not any(there)]
    if len(absent) == len(rows):
        partial.append("there is no result at all")
    text = f"{len(rows) - len(absent)} of {len(rows)} rows" + (f"; not run: {', '.join(absent)}" if absent else "")
    return _verdict("complete", partial, text)


def _strays(folder: Path, entries: list[Entry]) -> list[str]:
    """Results that belong to no job of the manifest, and jobs that failed."""
    keys = {entry.job.key for entry in entries}
    out = []
    for path in sorted((folder / "jobs").glob("*")) if is_folder(folder / "jobs") else []:
        key, _, ending = path.name.partition(".")
        if ending == "error.txt":
            out.append(f"{path.name}: a job failed")
        elif not (ending == "json" and key in keys):
            out.append(f"{path.name}: belongs to no job of suite.json")
    return out


def result_faults(result: Result, entry: Entry, references: dict[str, Any], unknown: Collection[str] = ()) -> list[str]:
    """What is wrong with one result, a line each.

    Args:
        result: of the job. entry: of the manifest. references: of the manifest.
        unknown: names of agents, tasks and worlds that must not be loaded.
    """
    job, score, length, objectives = entry.job, result.returns, result.length, result.objectives
    faults = []

    def check(holds: bool, fault: str) -> None:
        if not holds:
            faults.append(fault)

    def whole(value: float) -> bool:
        total = value * job.users
        return abs(total - round(total)) <= 1e-6 + 1e-9 * abs(total)

    check(score.n == job.users, f"{score.n} evaluation users, not {job.users}")
    check(min(result.cost.values()) >= 0, "negative seconds")
    check(whole(length.mean) and whole(length.median * 2 / job.users), "its lengths are not those of whole steps")
    faults += _curve_faults(result, job)
    if job.agent not in unknown:
        try:
            privileged = _privileged(job.agent, json.dumps(job.hyperparameters, sort_keys=True))
        except Exception as error:  # hyper-parameters are anybody's
            faults.append(f"its agent cannot be made here: {error}")
        else:
            check(privileged in (None, result.privileged),
                  f"privileged is {result.privileged}, of the agent {privileged}")  # fmt: skip
    pinned = references.get(entry.task, {})
    if pinned.keys() >= {"random", "planner"}:
        low, high = pinned["random"][0], pinned["planner"][0]
        share = (score.mean - low) / (high - low) if high > low else math.inf
        check(PLAUSIBLE[0] <= share <= PLAUSIBLE[1], f"normalised score {share:.1f} outside {list(PLAUSIBLE)}")
    if job.agent in pinned and not job.hyperparameters:
        value, error = pinned[job.agent]
        near = abs(score.mean - value) <= ERRORS * math.sqrt(2) * error
        check(near, f"return {score.mean:g}, but pinned is {value:g} ± {error:g}")
    where = job.evaluation_task or job.task
    if _foreign_places(job) & {*unknown}:
        return faults
    try:
        weights, shown, horizon, size = _facts(where)
    except Exception as error:  # options are anybody's
        return [*faults, f"its task cannot be made here: {error}"]
    lengths = (length.mean, length.median)
    check(all(1 <= value <= horizon for value in lengths), f"length {lengths} outside [1, {horizon}]")
    if set(objectives) != set(weights):
        return [*faults, f"objectives {sorted(objectives)}, not {sorted(weights)}"]
    clicks = objectives["click"]
    check(0 <= clicks <= size * length.mean + 1e-6, f"{clicks:g} clicks in {length.mean:g} steps")
    for name in objectives.keys() & {*COUNTS}:
        check(
            whole(objectives[name]),
            f"{objectives[name]:g} {name} per user: no whole number of them over {job.users} users",
        )
    if not shown and not where.options.get("expected_reward"):
        terms = [weight * objectives[name] for name, weight in weights.items()]
        gap = abs(sum(terms) - score.mean)
        check(gap <= 1e-4 * (1 + sum(map(abs, terms))), f"return {score.mean:g}, but its objectives pay {sum(terms):g}")
    return faults


def _curve_faults(result: Result, job: Job) -> list[str]:
    curve, score = result.curve, result.returns
    steps = [point["steps"] for point in curve]
    most = max(job.steps + 10_000, 1.1 * job.steps) if job.steps else 0
    if steps != sorted(steps) or not all(0 < step <= most for step in steps):
        return ["the learning curve's steps do not rise to the training steps"]
    if not evaluated(curve):
        return []
    users, end = min(CURVE_USERS, job.users), curve[-1]
    if end["steps"] != job.steps or min(point["se"] for point in curve) < 0:
        return ["the learning curve does not end with the training steps, or has errors below 0"]
    error = ERRORS * max(end["se"], score.se * math.sqrt(job.users / users)) * math.sqrt(1 - users / job.users)
    if abs(end["return"] - score.mean) > error + 1e-9 * abs(score.mean):
        return [f"the learning curve ends at {end['return']:g}, the evaluation gives {score.mean:g}"]
    return []


def _spreads(entries: list[Entry], found: dict[str, Result]) -> list[str]:
    """Standard deviations of returns, se sqrt(n), that are far from the other agents' on a task, or the row's own."""
    faults = []
    groups: dict[tuple[str, ...], list[tuple[Entry, float]]] = {}
    for entry in entries:
        score = found[entry.job.key].returns
        if score.se > 0:
            for group in ((entry.task,), (entry.task, entry.label)):
                groups.setdefault(group, []).append((entry, score.se * math.sqrt(score.n)))
    for group, pairs in groups.items():
        middle, most = float(np.median([value for _, value in pairs])), SPREAD if len(group) == 1 else ROW_SPREAD
        faults += [f"{_name(entry)}: se sqrt(n) = {value:.3g}, others' {middle:.3g}" for entry, value in pairs
                   if not middle / most <= value <= middle * most]  # fmt: skip
    return faults


def _copies(entries: list[Entry], found: dict[str, Result]) -> list[str]:
    """Pairs of jobs that took the same time to the last digit, so that one's result was made from the other's."""
    faults, seen = [], {}
    for key, entry in {entry.job.key: entry for entry in entries}.items():
        cost = found[key].cost
        other = seen.setdefault((*sorted(cost.items()),), entry) if any(cost.values()) else entry
        if other is not entry:
            faults.append(f"{_name(entry)}: took as long as {_name(other)} to the last digit; is it a copy?")
    return faults


def _published(folder: Path, entries: list[Entry]) -> dict[str, Result]:
    """Published results of the folder's jobs, by key; those of the folder itself do not vouch for it."""
    keys, found = {entry.job.key for entry in entries}, {}
    for place in files.PUBLISHED.glob("*/"):
        if place.resolve() != folder.resolve() and holds_any(place, keys):
            results, _ = read_results(place, keys)
            found.update(results)
    return found


def _compare_published(entries: list[Entry], found: dict[str, Result], published: dict[str, Result]) -> Verdict:
    wrong = []
    for key, entry in {e.job.key: e for e in entries if e.job.key in published}.items():
        ok, why = compare(found[key], published[key], _between(entry, entries, found))
        wrong += [] if ok else [f"{_name(entry)}: {why}"]
    return _verdict("published", wrong, f"{len(published)} results are as published")


def _between(entry: Entry, entries: list[Entry], found: dict[str, Result]) -> float:
    """Standard deviation between the training runs of an entry's row."""
    row = [found[e.job.key].returns.mean for e in entries if (e.task, e.label) == (entry.task, entry.label)]
    return standard_error(row) * math.sqrt(len(row))


def _again(
    entries: list[Entry],
    found: dict[str, Result],
    untouched: Collection[str],
    unknown: Collection[str],
    sample: int,
    seed: int,
    max_steps: int,
    progress: Callable[[str], None],
) -> list[Verdict]:
    """Run some jobs again and compare: contributed ones first, then references, then those that are as published."""
    if not sample:
        return [Verdict("re-runs", None, "none asked for")]
    jobs = list({entry.job.key: entry for entry in entries}.values())
    pool = [entry for entry in jobs if entry.job.steps <= max_steps and not _foreign(entry.job) & {*unknown}]
    rows, out = {entry.label for entry in pool}, []
    left = [label for label in dict.fromkeys(entry.label for entry in jobs) if label not in rows]
    if left:
        text = f"not run again: {', '.join(left)} (not of recgym, or more than {max_steps:,} training steps)"
        out.append(Verdict("re-runs", None, text))
    numbers = [_numbers(entry, found) for entry in jobs]

    def rank(i: int) -> int:
        if pool[i].job.key in untouched:
            return 3
        if pool[i].job.agent in UNTRAINED:
            return 2
        return 0 if numbers.count(_numbers(pool[i], found)) > 1 else 1  # what looks like another job's first

    drawn = sorted(np.random.default_rng(seed).permutation(len(pool)).tolist(), key=rank)[:sample]
    for k, i in enumerate(sorted(drawn)):
        entry, result = pool[i], found[pool[i].job.key]
        seconds = sum(result.cost.values())
        progress(f"running again {k + 1} of {len(drawn)}: {_name(entry)} (took {seconds:.0f} s)")
        out.append(Verdict(f"again: {_name(entry)}", *_run_again(entry.job, result, _between(entry, entries, found))))
    return out


def _numbers(entry: Entry, found: dict[str, Result]) -> tuple[Any, ...]:
    result = found[entry.job.key]
    return entry.task, result.returns, result.length, result.objectives


def _run_again(job: Job, result: Result, between: float) -> tuple[bool | None, str]:
    try:
        agent_class(job.agent)
        hashes = file_hashes(job)
        if result.files not in (None, hashes):
            return False, "the agent's or world's file is another one here"
    except (RecgymError, OSError) as error:
        return None, f"not run: {error}"
    try:
        again = execute(job)
    except (Exception, SystemExit) as error:  # the agent is anybody's
        return False, f"failed: {type(error).__name__}: {error}"
    return compare(result, again, between)


def compare(result: Result, again: Result, between: float) -> tuple[bool | None, str]:
    """Whether a result is what its job gives here, and how far it may differ.

    Equal to the bit, times and versions aside, always passes; under the same versions on the same kind of processor
    what is not trained and recgym's own agents must be. Otherwise the means may differ by `ERRORS` standard errors: of
    the users, as they are here, and, for a trained agent, of what training runs differ by. That is what the row's runs
    show, and not more than `BETWEEN` of the users' standard deviation, as a forger writes the row; a difference that
    only the row itself excuses is not judged.

    Args:
        result: contributed. again: as `execute` gives it here. between: standard deviation between the row's seeds.
    """
    absent = ["objectives_se"] if None in (result.objectives_se, again.objectives_se) else []  # of an earlier version
    if not evaluated(result.curve):
        absent.append("curve")
    if _stable(result, *absent) == _stable(again, *absent):
        return True, f"{result.returns.mean:.4g}, equal to the bit"
    (a, ea), (b, eb) = ((r.returns.mean, r.returns.se) for r in (result, again))
    trained = result.job.steps > 0
    same = result.software == again.software
    text = f"{a:.4g} there, {b:.4g} here"
    if same and again.software.get("device") == "cpu" and (not trained or result.job.agent in REGISTRY):
        return False, f"{text}; versions and processor are the same, so it should be equal to the bit"
    if not eb / 2 <= ea <= eb * 2:
        return False, f"{text}; standard errors {ea:.2g} there, {eb:.2g} here"
    reason = "same versions, but training differs" if same else "other versions or processors"
    most = BETWEEN * eb * math.sqrt(result.returns.n)
    strict, wide = (
        ERRORS * math.sqrt(2) * math.hypot(eb, spread * trained) for spread in (min(between, most), between)
    )
    if abs(a - b) <= strict:
        return True, f"{text}; may differ by {strict:.2g} ({reason})"
    if abs(a - b) <= wide:
        return None, f"{text}; the row's runs differ by so much, those of other agents do not ({reason})"
    return False, f"{text}; may differ by {strict:.2g} ({reason})"


def _stable(result: Result, *without: str) -> dict[str, Any]:
    """What two runs of a job have in common."""
    return {name: value for name, value in result.to_dict().items() if name not in (*UNSTABLE, *without)}


@cache
def _facts_of(text: str) -> tuple[dict[str, float], float, int, int]:
    task = json.loads(text)
    env = Task(task["id"], task["options"]).make(1)
    weights, shown = env.weights
    return (
        dict(zip(env.world.objectives, weights.tolist(), strict=True)),
        shown,
        env.world.horizon,
        env.world.slate_size,
    )


def _facts(task: Task) -> tuple[dict[str, float], float, int, int]:
    """Weight of each objective, weight of an item shown, horizon and slate size."""
    return _facts_of(json.dumps({"id": task.id, "options": task.options}, sort_keys=True))


@cache
def _privileged(agent: str, hyperparameters: str) -> bool | None:
    """Whether an agent reads the hidden state, which may depend on hyper-parameters (JSON); None where it is not here."""
    try:
        agent_class(agent)
    except RecgymError:
        return None
    return make_agent(agent, **json.loads(hyperparameters)).privileged


def _has_software(result: Result) -> bool:
    return all(name in result.software for name in REQUIRED)


def _identity(entry: Entry) -> tuple[str, str, str]:
    return entry.task, entry.label, entry.job.key


def _name(entry: Entry) -> str:
    seed = f", seed {entry.job.seed}" if entry.job.steps else ""
    return f"{entry.task}, {entry.label}{seed}"


def _verdict(what: str, wrong: list[str], right: str) -> Verdict:
    shown = wrong[:5] + ([f"and {len(wrong) - 5} more"] if len(wrong) > 5 else [])
    return Verdict(what, not wrong, "\n".join(shown) if wrong else right)
