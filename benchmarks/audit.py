"""Are the domains worth solving? What `python -m benchmarks audit` runs.

It finds the yardsticks of each environment, on users of their own: the best weighted sum of visible numbers, the best
fixed weighting of the objectives for a one-step oracle, and the best known policy, trained on the hidden state. It scores
them in the weeks of `EVALUATION_WEEKS`, beside rules of one line, and says whether planning is needed (`GAIN`), whether a
rule of one line does (`MOST`), and whether clicks and what they lead to are as frequent as published (`LEVELS`).
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

import recgym
from baselines.agent import Task, evaluate
from baselines.policies import KINDS, ORIGIN, POLICY_SEED, digest_of, policy_digests, policy_file, provenance, slope
from baselines.reference import Popularity
from baselines.rules import Heuristic, search
from benchmarks import limit_threads
from benchmarks.metrics import ratio, standard_error
from benchmarks.references import name_of, publish, results_of
from benchmarks.run import run_suite
from benchmarks.suite import EVALUATION_SEED, Contender, NamedTask, Suite, training_seeds
from benchmarks.tables import Section
from recgym import ENV_IDS
from recgym.compat import AutoresetMode
from recgym.errors import require_option
from recgym.files import read_bytes, write_atomically

GAIN = 1.15  # of the best known policy over the best of heuristic and one-step
BEST_RULE = "best rule of one line"
MOST = 0.5  # of the gap between random and the best known policy that a rule of one line may close
EVALUATION_WEEKS = (8, 12)  # policies are found in the environment's own, (0, 8)
AUDIT_USERS, PLANNER_USERS = 2000, 300
STEPS, GENERATIONS, STARTS = 5_000_000, 20, 2  # of training, and of each search
AFTERWARDS = 2e-3  # learning rate of a policy that does not begin at random
SEARCH_USERS = {"heuristic": 300, "one-step": 75}  # of each vector of weights; an oracle is slow
CURVE_POINTS, CURVE_USERS = 20, 500
CURVE_SEED = POLICY_SEED + 9 * 10**8  # of the users of curves, and of those who choose among searches
TRAINING_SEED = POLICY_SEED + 8 * 10**8
Returns = dict[str, tuple[float, float]]  # agent -> mean return and its standard error

# Rules of one line: weights of visible numbers of a candidate.
ANYWHERE = {
    "match": {"match_profile": 1.0},
    "match to the history": {"match_history": 1.0},
    "quality": {"quality_signal": 1.0},
    "click rate": {"click_rate": 1.0},
}
SHOP = {
    **ANYWHERE,
    "cheapest": {"log_price": -1.0},
    "dearest": {"log_price": 1.0},
    "largest discount": {"discount": 1.0},
    "least seen topic": {"exposure": -1.0},
    "match + quality": {"match_profile": 1.0, "quality_signal": 1.0},
    "match + quality + popularity - price / 2": {
        "match_profile": 1.0, "quality_signal": 1.0, "popularity": 1.0, "log_price": -0.5},
    "match + quality + click rate - price / 2": {
        "match_profile": 1.0, "quality_signal": 1.0, "click_rate": 1.0, "log_price": -0.5},
    "match + quality + click rate + price / 2": {
        "match_profile": 1.0, "quality_signal": 1.0, "click_rate": 1.0, "log_price": 0.5},
}  # fmt: skip
NEWS = {
    **ANYWHERE,
    "most clickbait": {"hype": 1.0},
    "least clickbait": {"hype": -1.0},
    "newest": {"age": -1.0},
    "least seen topic": {"exposure": -1.0},
    "match + quality": {"match_profile": 1.0, "quality_signal": 1.0},
    "match + quality + popularity": {"match_profile": 1.0, "quality_signal": 1.0, "popularity": 1.0},
    "match + quality - clickbait": {"match_profile": 1.0, "quality_signal": 1.0, "hype": -1.0},
    "match + quality + clickbait": {"match_profile": 1.0, "quality_signal": 1.0, "hype": 1.0},
    "match + 2 quality + .6 popularity - .8 age": {
        "match_profile": 1.0, "quality_signal": 2.0, "popularity": 0.6, "age": -0.8},
}  # fmt: skip
LIVE = {
    **ANYWHERE,
    "heat": {"heat": 1.0},
    "newest": {"age": -1.0},
    "match + quality": {"match_profile": 1.0, "quality_signal": 1.0},
    "match + quality + heat": {"match_profile": 1.0, "quality_signal": 1.0, "heat": 1.0},
    "match + quality - heat": {"match_profile": 1.0, "quality_signal": 1.0, "heat": -1.0},
}
FAR = 1000.0  # a worth of nothing that no sum of visible numbers reaches
QUIET = {
    "always": {"always": -FAR},
    "nothing while watching": {"always": -FAR, "is_watching": 2 * FAR},
}


class Level(NamedTuple):
    """How often something happens per something else: here under the agent "popularity", and as published.

    The counts are of a name of `counts`.
    """

    domain: str
    name: str
    of: str
    per: str
    published: float
    source: str


LEVELS = (
    Level("Ecommerce", "clicks per impression", "click", "impressions", 0.0405,
          "Ali-CCP, 3.4 M clicks of 84 M impressions (Ma et al., SIGIR 2018, arXiv 1804.07931)"),
    Level("Ecommerce", "carts per click", "cart", "click", 0.0868, "OTTO, 16,896,191 carts of 194,720,954 clicks"),
    Level("Ecommerce", "purchases per click", "purchase", "click", 0.0262, "OTTO, 5,098,951 orders"),
    Level("Ecommerce", "clicks per session", "click", "sessions", 3.57,
          "YooChoose, RecSys Challenge 2015, 33,003,944 clicks in 9,249,729 sessions"),
    Level("News", "clicks per impression", "click", "impressions", 0.0405,
          "MIND-small, 347,727 clicks of 8,584,442 (Wu et al., ACL 2020)"),
    Level("News", "minutes per click", "dwell", "click", 1.14,
          "EB-NeRD (arXiv 2410.03432), mean of 598,861 reads in its public sample"),
    Level("News", "reads above half a minute per click", "satisfied_click", "click", 0.461, "EB-NeRD, the same"),
    Level("LiveStream", "clicks per step with a slate", "click", "steps", 0.279,
          "KuaiLive (arXiv 2508.05633), 4,909,515 clicks and 12,705,835 exposures without one"),
    Level("LiveStream", "likes per click", "like", "click", 0.0365, "KuaiLive, 179,311 likes"),
    Level("LiveStream", "gifts per click", "steps with gift", "click", 0.0148, "KuaiLive, 72,646 gifts"),
    Level("LiveStream", "minutes per click", "watch", "click", 7.5, "KuaiLive, 8.57 minutes a visit, 1.14 clicks a visit"),
)  # fmt: skip


def single_of(id: str) -> str:
    """The id of the same domain that shows one item per step."""
    return id.replace("Slate-", "-")


def domain_of(id: str) -> str:
    """Ecommerce, News or LiveStream."""
    return name_of(id).partition("-")[0].removesuffix("Slate")


def one_liners(id: str) -> dict[str, dict[str, Any]]:
    """Label -> hyper-parameters of `Heuristic`: the rules of one line for an environment, silence among them."""
    rules = {"Ecommerce": SHOP, "News": NEWS, "LiveStream": LIVE}[domain_of(id)]
    if domain_of(id) != "LiveStream":
        return {label: {"weights": weights} for label, weights in rules.items()}
    spoken = {
        f"{label}, {when}": {"weights": weights, "quiet": quiet}
        for label, weights in rules.items()
        for when, quiet in QUIET.items()
    }
    return {**spoken, "nothing": {"weights": {"heat": 1.0}, "quiet": {"always": FAR}}}


def audit_suite(ids: Sequence[str] = ENV_IDS, users: int = AUDIT_USERS, planner_users: int = PLANNER_USERS) -> Suite:
    """The yardsticks and the rules of one line on the given ids, in `EVALUATION_WEEKS`.

    Args:
        ids: of the six domains. users: evaluation users. planner_users: of the planner, which is slow; 0: it is left out.

    Raises:
        ConfigError: no such id, or an environment without committed policies.
    """
    for id in ids:
        require_option("id", id, ENV_IDS)
    tasks = tuple(NamedTask(name_of(id), Task(id, {"weeks": [*EVALUATION_WEEKS]}), 0) for id in ids)
    found = [Contender(name, name, trained=False) for name in ("random", "popularity", "myopic")]
    found += [Contender(kind, kind, {"digests": policy_digests([*ids], kind)}, trained=False) for kind in KINDS]
    if planner_users:
        found.append(Contender("planner", "planner", trained=False, users=min(users, planner_users)))
    rules: dict[str, tuple[dict[str, Any], list[str]]] = {}
    for id in ids:
        for label, settings in one_liners(id).items():
            rules.setdefault(label, (settings, []))[1].append(name_of(id))
    found += [
        Contender(label, "heuristic", settings, False, None, tuple(only)) for label, (settings, only) in rules.items()
    ]
    return Suite("audit-v1", tasks, tuple(found), training_seeds(1), users)


# Policies


def train_policy(id: str, kind: str, steps: int, generations: int, starts: int = STARTS, command: str = "") -> Path:
    """Find a policy of `baselines.policies` anew, and write its file.

    Args:
        id, kind: which. steps: of training, for "best-known". generations, starts: of the search, for the others; the best
            of so many starts is kept.
        command: how to repeat it.
    """
    origin: dict[str, Any] = {
        "command": command,
        "date": date.today().isoformat(),
        "version": recgym.__version__,
        "id": id,
    }
    task, file = Task(id), policy_file(id, kind)
    if kind == "best-known":
        from baselines.latent import LatentPolicy  # and torch, which few commands need

        first = policy_file(single_of(id), kind)
        agent, curve, best = LatentPolicy(), [], (-np.inf, LatentPolicy())
        if first != file:  # a slate's policy begins as that of one item, which finds better slates than a random start
            agent = LatentPolicy.of(read_bytes(first, f"{kind} policy"), first, learning_rate=AFTERWARDS, single=0.0)
            origin |= {"began as": first.name, "digest": digest_of(first.read_bytes())}

        def progress(done: int, values: dict[str, float]) -> None:
            nonlocal best
            if done * CURVE_POINTS // steps > len(curve):
                snapshot = agent.snapshot()
                returns = evaluate(snapshot, task, CURVE_USERS, CURVE_SEED).returns
                mean = float(returns.mean())
                curve.append({"steps": done, "return": round(mean, 4), "se": round(standard_error(returns), 4)})
                best = max(best, (mean, snapshot), key=lambda scored: scored[0])

        agent.fit(task, steps, TRAINING_SEED, progress)
        origin |= {
            "steps": steps,
            "seed": TRAINING_SEED,
            "envs": agent.envs,
            "curve_users": CURVE_USERS,
            "curve": curve,
        }
        write_atomically(file, best[1].as_bytes(origin))  # the best of the curve, whose users are in no suite
        return file
    scored = SEARCH_USERS[kind]
    searches = [search(task, kind, generations, users=scored, seed=seed) for seed in range(starts)]
    scores = [float(evaluate(found.agent, task, AUDIT_USERS, CURVE_SEED).returns.mean()) for found in searches]
    best = searches[int(np.argmax(scores))]
    origin |= {"generations": generations, "users": scored, "starts": starts, "scores": [round(score, 4) for score in scores],
               "curve": [round(score, 4) for score in best.curve]}  # fmt: skip
    parts = {"weights": best.agent.weights}
    if isinstance(best.agent, Heuristic):
        parts["quiet"] = best.agent.quiet
    write_atomically(file, (json.dumps({**parts, ORIGIN: origin}, indent=1) + "\n").encode())
    return file


def train_policies(ids: Sequence[str], steps: int, generations: int, command: str, console: Console, retrain: bool = False,
                   workers: int = 1, kinds: Sequence[str] = tuple(KINDS), starts: int = STARTS) -> None:  # fmt: skip
    """Find the policies that are missing, or all of them anew, several at a time."""
    wanted = [(id, kind) for kind in sorted(kinds) for id in ids if retrain or not policy_file(id, kind).is_file()]
    later = [(id, kind) for id, kind in wanted if kind == "best-known" and single_of(id) != id]
    settings = (steps, generations, starts, command)
    for part in ([pair for pair in wanted if pair not in later], later):
        for n, path in enumerate(_files(part, settings, workers), 1):
            console.print(Text(f"{n}/{len(part)} {path.name}"))


def _files(wanted: list[tuple[str, str]], settings: tuple[int, int, int, str], workers: int) -> Iterator[Path]:
    if workers == 1 or len(wanted) < 2:
        yield from (train_policy(*pair, *settings) for pair in wanted)
        return
    limit_threads()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from (
            done.result() for done in as_completed([pool.submit(train_policy, *pair, *settings) for pair in wanted])
        )


# Levels


def counts(id: str, users: int = AUDIT_USERS, seed: int = EVALUATION_SEED) -> dict[str, float]:
    """What happens under the agent "popularity" in `EVALUATION_WEEKS`.

    Returns:
        "impressions", items shown; "steps", steps of a user in which something was shown; "sessions", users and their
        returns; each objective by its name, summed; and "steps with " each objective: steps of a user in which it was above 0.
    """
    env = Task(id, {"weeks": [*EVALUATION_WEEKS]}).make(users, AutoresetMode.DISABLED)
    agent = Popularity()
    observation, info = env.reset(seed=seed)
    agent.start(env)
    names = env.world.objectives
    sums, steps, impressions, slates = np.zeros(len(names)), np.zeros(len(names)), 0, 0
    alive = np.ones(users, np.bool_)
    while alive.any():
        observation, _, terminated, truncated, info = env.step(agent.act(observation, info["action_mask"]))
        sums += info["objectives"][alive].sum(axis=0)
        steps += (info["objectives"][alive] > 0).sum(axis=0)
        impressions += int((info["slate"][alive] >= 0).sum())
        slates += int((info["slate"][alive] >= 0).any(axis=1).sum())
        alive &= ~(terminated | truncated)
    env.close()
    found = {"impressions": float(impressions), "steps": float(slates), **dict(zip(names, sums.tolist(), strict=True)),
             **{f"steps with {name}": float(n) for name, n in zip(names, steps, strict=True)}}  # fmt: skip
    return {**found, "sessions": users + found.get("return", 0.0)}


def levels(id: str, users: int = AUDIT_USERS) -> list[tuple[Level, float]]:
    """The published levels of an environment's domain, and its own."""
    found = counts(id, users)
    return [(level, found[level.of] / max(found[level.per], 1.0)) for level in LEVELS if level.domain == domain_of(id)]


def near(ours: float, published: float) -> bool:
    """Whether two levels are within a factor of two of each other."""
    return 0.5 <= ours / published <= 2.0


# The report


def verdicts(id: str, returns: Returns) -> list[tuple[str, str, bool]]:
    """What is claimed of an environment, what was measured, and whether it holds; what has no result does not."""
    needed = ("random", "heuristic", "one-step", "best-known")
    missing = [name for name in needed if name not in returns]
    if missing:
        return [("all yardsticks have a result", f"{', '.join(missing)}: none", False)]
    other = max(("heuristic", "one-step"), key=lambda name: returns[name][0])
    gain, error = ratio(*returns["best-known"], *returns[other]) if returns[other][0] > 0 else (np.inf, 0.0)
    rules = {label: share(returns, label)[0] for label in one_liners(id) if label in returns}
    best = max(rules, key=lambda label: rules[label])
    return [
        (f"best-known >= {GAIN} x {other}", f"{gain:.2f} ± {error:.2f}", bool(gain >= GAIN)),
        (f"no rule of one line above {MOST} of the gap", f"{best}: {rules[best]:.2f}", rules[best] <= MOST),
    ]


def share(returns: Returns, label: str) -> tuple[float, float]:
    """Of the gap between random and best-known: what an agent closes, and the standard error of its own return."""
    low, high = returns["random"][0], returns["best-known"][0]
    return (returns[label][0] - low) / (high - low), returns[label][1] / (high - low)


def run_audit(
    folder: str | os.PathLike[str],
    ids: Sequence[str] = ENV_IDS,
    users: int = AUDIT_USERS,
    planner_users: int = PLANNER_USERS,
    workers: int = 1,
    command: str = "",
    console: Console | None = None,
    fresh: bool = False,
) -> list[str]:
    """Score what is missing; print the tables; write audit.json and audit.md.

    Args:
        folder: of results and tables. ids, users, planner_users: see `audit_suite`. workers: jobs at a time.
        command: how to repeat it. console: where to print. fresh: see `run_suite`.

    Returns:
        What does not hold, a line each.
    """
    console, folder = console or Console(), Path(folder)
    suite = audit_suite(ids, users, planner_users)
    run_suite(suite, folder, workers, command, console, fresh)
    returns: dict[str, Returns] = {
        id: {label: (result.returns.mean, result.returns.se) for label, result in found.items()}
        for id, found in results_of(suite, folder).items()
    }
    judged = {id: verdicts(id, returns[id]) for id in ids}
    measured = {id: levels(id, users) for id in ids}
    origins = {id: {kind: provenance(id, kind) for kind in KINDS} for id in ids}
    wrong = [f"{name_of(id)}: {claim}: {value}" for id in ids for claim, value, holds in judged[id] if not holds]
    wrong += [f"{name_of(id)}: {level.name}: {ours:.4f}, published {level.published:g}"
              for id in ids for level, ours in measured[id] if not near(ours, level.published)]  # fmt: skip
    sections = _sections(returns, judged, measured, origins)
    data = {"returns": returns, "verdicts": judged, "policies": origins,
            "levels": {id: [{**level._asdict(), "ours": ours} for level, ours in pairs] for id, pairs in measured.items()}}  # fmt: skip
    publish(folder, "audit", command, data, sections, wrong, console)
    return wrong


def _overview(id: str, found: Returns, label: str) -> str:
    """The return of an agent, of the best of many where it is `BEST_RULE`."""
    rules = [name for name in one_liners(id) if name in found]
    name = max(rules, key=lambda rule: found[rule][0]) if label == BEST_RULE and rules else label
    return "{:.2f} ± {:.2f}".format(*found[name]) if name in found else "–"


def _sections(returns: dict[str, Returns], judged: dict[str, list[tuple[str, str, bool]]],
              measured: dict[str, list[tuple[Level, float]]], origins: dict[str, dict[str, Any]]) -> list[Section]:  # fmt: skip
    yes = {True: "yes", False: "no"}
    claims = [(name_of(id), claim, value, yes[holds]) for id, rows in judged.items() for claim, value, holds in rows]
    policies = []
    for id, kinds in origins.items():
        origin = kinds["best-known"]
        last = origin["curve"][-1]
        policies.append((name_of(id), f"{origin['steps']:,}", f"{last['return']:.2f} ± {last['se']:.2f}",
                         f"{slope(origin['curve']):+.1%}"))  # fmt: skip
    known = ("random", "popularity", BEST_RULE, "heuristic", "myopic", "one-step", "planner", "best-known")
    overview = [(label, *(_overview(id, found, label) for id, found in returns.items())) for label in known]
    overview = [row for row in overview if {*row[1:]} != {"–"}]
    out = [
        Section("Returns per session (± standard error)", ("agent", *map(name_of, returns)), overview),
        Section("What is claimed (± standard error)", ("id", "claim", "measured", "holds"), claims, words=4),
        Section("The best known policy: how far it was trained", ("id", "steps", "return at the end", "rise over the last fifth"),
                policies),
    ]  # fmt: skip
    for id, found in returns.items():
        scaled = {"random", "best-known"} <= found.keys() and found["best-known"][0] > found["random"][0]
        rows = []
        for label in sorted(found, key=lambda label: -found[label][0]):
            parts = "{:.2f} ± {:.2f}".format(*share(found, label)) if scaled else "–"
            rows.append((label, "{:.2f} ± {:.2f}".format(*found[label]), parts))
        out.append(Section(name_of(id), ("agent", "return", "share of the gap"), rows))
    rows = [(name_of(id), level.name, f"{level.published:.3g}", level.source, f"{ours:.3g}", yes[near(ours, level.published)])
            for id, pairs in measured.items() for level, ours in pairs]  # fmt: skip
    out.append(Section('Levels under "popularity"', ("id", "figure", "published", "source", "ours", "within a factor of two"),
                       rows, words=6))  # fmt: skip
    return out
