"""World -> logs -> fit -> world: does a fitted world rank agents as the world does that its logs came from, and are planted numbers found?

Two questions, each with a table of its own:

- **Values.** Logs are simulated in a world under a mixed policy (half random, half "popularity"). A world is fitted to them. Agents that
  learn are trained in each of the two worlds for the same number of steps, and all are evaluated there on users whom the logs do not show.
- **Coverage.** A world of the parts that a fit makes is drawn anew for each run, with coefficients that are known, and fitted. How often
  do the 95 % intervals hold them?
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import recgym
from baselines.agent import Agent, evaluate
from baselines.registry import make_agent
from benchmarks.metrics import standard_error
from benchmarks.planning import task_of
from benchmarks.references import publish
from benchmarks.run import software
from benchmarks.suite import EVALUATION_SEED, training_seeds
from benchmarks.tables import Section
from recgym.errors import require_option
from recgym.market import LoggedMarket
from recgym.models.candidates import Retrieval, Uniform
from recgym.models.choice import Cascade, PositionBased
from recgym.models.departure import Visits
from recgym.models.dynamics import Adaptation, Fatigue, InterestDrift, Mood, Satisfaction
from recgym.models.preference import DotProduct
from recgym.models.response import Outcomes
from recgym.models.reward import Weighted
from recgym.population import Empirical
from recgym.world import World

AGENTS = ("random", "popularity", "pctr", "linucb", "myopic", "planner")
TRAINED = {"pctr": 50_000, "linucb": 50_000}  # steps
CLOSE = {"myopic": 0.05}  # by which share the value in the fitted world may be off
OTHERS = 0.10
Say = Callable[[str], None]


def bazaar(seed: int = 0) -> World:
    """A shop with slates of three that are read from top to bottom, without a reference price; nobody tires of what was bought."""
    return recgym.load_world(
        "ecommerce", items=1500, topics=12, dimensions=8, seed=seed, slate_size=3, choice=Cascade(0.85, 0.4, 4.9),
        preference=DotProduct(2.5, {"quality": 0.3, "brand": 1.2}, topics={"fatigue": -0.5}),
        dynamics=(
            InterestDrift(), Fatigue(ignored=0.1, clicked=0.2, half_life=60.0),
            Satisfaction(memory=0.8, level=-0.3, attributes={"quality": 2.0}, match=0.5, price=1.0),
        ),
    )  # fmt: skip


def gazette(seed: int = 0) -> World:
    """Slates of four with a banner: examined unevenly, in a market whose prices move fast and set a reference price."""
    return recgym.load_world(
        "ecommerce", items=800, topics=8, dimensions=12, seed=seed, slate_size=4,
        choice=PositionBased((1.0, 0.35, 0.7, 0.5), 4.6),
        preference=DotProduct(2.0, {"quality": 0.5, "brand": 0.8}, topics={"fatigue": -1.0}, users={"level": 1.5}),
        dynamics=(
            Fatigue(ignored=0.05, clicked=0.3, half_life=360.0), Adaptation("offers", "mean", memory=0.7),
            Satisfaction(memory=0.7, level=0.0, attributes={"quality": 1.5}, match=1.0, price=0.5),
        ),
    )  # fmt: skip


def _domain(name: str) -> Callable[[], World]:
    return lambda: recgym.load_world(name)


SOURCES: dict[str, tuple[Callable[[], World], dict[str, float]]] = {
    "ecommerce": (_domain("ecommerce"), {"click": 1.0, "purchase": 10.0}),
    "news": (_domain("news"), {"click": 1.0, "dwell": 0.5}),
    "livestream": (_domain("livestream"), {"click": 1.0, "like": 5.0}),
    "bazaar": (bazaar, {"click": 1.0, "purchase": 10.0}),
    "gazette": (gazette, {"click": 1.0, "purchase": 10.0}),
}


def planted(seed: int) -> tuple[World, dict[str, float]]:
    """A world of the parts that a fit makes, and its coefficients, by the names that a fit gives them."""
    rng = np.random.default_rng([seed, 31])
    N, D, users = 120, 4, 400
    base = recgym.load_world("ecommerce", items=N, topics=6, dimensions=D, seed=seed)
    price, examined = float(rng.uniform(-2, -0.8)), tuple(rng.uniform(0.25, 0.8, 2))
    differs, usual, slow = float(rng.uniform(0.1, 0.3)), float(rng.uniform(0.5, 1.5)), float(rng.uniform(0.6, 0.9))
    fatigue, bored = float(rng.uniform(0.05, 0.15)), float(rng.uniform(0.2, 0.5))
    level, pace, stays = float(rng.uniform(-3, -2)), float(rng.uniform(0, 0.4)), float(rng.uniform(0.5, 1.5))
    cart, slope = float(rng.uniform(-0.3, 0.5)), float(rng.uniform(0.3, 0.8))
    changes = np.clip(0.4 * rng.standard_normal((N, 6)), -1, 1)
    table = np.stack([changes, 0.5 * np.exp(changes)], axis=2).astype(np.float32)
    market = LoggedMarket(1440.0 * 6, np.array([0, N]), np.arange(N, dtype=np.int32), table, np.zeros(N, np.int32), 1440.0,
                          ("log_price", "price"), (True, True))  # fmt: skip
    taste = rng.standard_normal((users, D)) / math.sqrt(D)
    profile = taste / np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1)
    shown = rng.uniform(-1, 1, N)
    appeal = -1.5 + 0.5 * rng.standard_normal(N)
    catalog = recgym.Catalog(
        base.catalog.embedding, base.catalog.topic, np.stack([appeal, shown], axis=1).astype(np.float32),
        ("appeal", "shown"), 6, ("shown",),
    )  # fmt: skip
    world = World(
        catalog=catalog,
        population=Empirical((2.0 * taste).astype(np.float32), profile.astype(np.float32), rng.uniform(0, 8000, users).astype(np.float32), {"log_price": (price, differs)}),
        market=market, candidates=Uniform(10), preference=DotProduct(1.0, {"appeal": 1.0}, {"fatigue": -1.0}, {"level": usual}),
        choice=PositionBased((examined[0], 1.0, examined[1])),
        response=Outcomes(("cart", "purchase"), {"cart": cart, "purchase": -0.5, "dwell": -1.0}, {"cart": slope, "dwell": 0.2},
                          {"purchase": 1.0}, {}, {"purchase": "cart"}, 0.7, 20.0, 0.5, True),
        dynamics=(Fatigue(fatigue, bored, 20.0, 1e3), Adaptation("offers", "mean", memory=slow), Mood(0.8, {"shown": stays}, limit=50.0)), departure=Visits(level, pace, 1.0),
        reward=Weighted({"click": 1.0, "purchase": 2.0}), slate_size=3, embeddings=False,
    )  # fmt: skip
    return world, {
        "log_price": price, "fatigue, half-life": 20.0,
        "reference price": usual, "reference price, memory": slow, "examination 1": examined[0], "examination 3": examined[1], "ignored": fatigue, "clicked": bored,
        "cart, per unit of utility": slope, "purchase, per unit of relative log price": -1.0, "dwell, per unit of utility": 0.2,
        "leaving, log-odds": level, "leaving, pace": pace, "mood, memory": 0.8, "mood, shown": stays,
    }  # fmt: skip


def coverage(runs: int, users: int, say: Say) -> dict[str, Any]:
    """How often intervals hold the planted number: parameter -> in how many runs it is held, and told at all, and the numbers of each run."""
    from recgym.fit.worlds import fit_world
    from recgym.logs import simulate

    found: dict[str, list[list[float]]] = {}
    for run in range(runs):
        world, truth = planted(run)
        begun = time.perf_counter()
        fitted = fit_world(
            simulate(world, users=users, seed=10**6 * run, batch=users), candidates=10, steps=400, seed=run
        )
        parameters = {p.name: p for p in fitted.parameters}
        for name, value in truth.items():
            if name in parameters:
                p = parameters[name]
                found.setdefault(name, []).append([value, float(p.value), float(p.low), float(p.high)])
            else:
                found.setdefault(name, []).append([value, math.nan, math.nan, math.nan])
        say(f"run {run + 1} of {runs}: {time.perf_counter() - begun:.0f} s")
    held = {name: sum(bool(low <= value <= high) for value, _, low, high in rows) for name, rows in found.items()}
    told = {name: sum(not math.isnan(x) for _, x, _, _ in rows) for name, rows in found.items()}
    plain = {
        name: [[None if math.isnan(x) else round(x, 4) for x in row] for row in rows] for name, rows in found.items()
    }
    return {"runs": runs, "users": users, "held": held, "told": told, "numbers": plain}


def values(name: str, impressions: int, users: int, say: Say) -> dict[str, Any]:
    """What agents earn in a world and in the one that is fitted to its logs."""
    from recgym.fit.worlds import fit_world
    from recgym.logs import simulate

    make, reward = SOURCES[name]
    world = make().replace(reward=Weighted(reward))
    few = simulate(world, {"popularity": make_agent("popularity")}, 256, explore=0.5)
    logged = max(1000, int(impressions / (len(few) / 256)))
    logs = simulate(world, {"popularity": make_agent("popularity")}, logged, explore=0.5)
    say(f"{name}: {len(logs):,} impressions of {logged:,} users")
    fitted = fit_world(
        logs, candidates=Retrieval() if isinstance(world.candidates, Retrieval) else world.n_candidates, reward=reward
    )
    say(f"{name}: fitted in {fitted.seconds:.0f} s")
    scores: dict[str, dict[str, list[float]]] = {agent: {} for agent in AGENTS}
    with tempfile.TemporaryDirectory() as folder:
        for kind, which in (("true", world), ("fitted", fitted.world)):
            which.save(Path(folder) / kind)
            task = task_of(Path(folder) / kind)
            for agent in AGENTS:
                player: Agent = make_agent(agent)
                if agent in TRAINED:
                    player.fit(task, TRAINED[agent], training_seeds(1)[0])
                score = evaluate(player, task, users, EVALUATION_SEED)
                scores[agent][kind] = [
                    float(score.returns.mean()), float(standard_error(score.returns)), float(score.lengths.mean())
                ]  # fmt: skip
                say(f"{name}, {kind}: {agent} {scores[agent][kind][0]:.3f}")
    return {
        "reward": reward, "impressions": len(logs), "users": logged, "evaluated": users, "seconds": round(fitted.seconds, 1),
        "scores": scores, "choice": fitted.settings["choice"], "unknown": list(fitted.unknown),
        "parameters": [p._asdict() for p in fitted.parameters if math.isfinite(p.low)],
    }  # fmt: skip


def same_order(scores: dict[str, dict[str, list[float]]]) -> bool:
    """Whether no two agents that differ in one world, beyond two standard errors, differ the other way in the other."""
    names = list(scores)
    for k, a in enumerate(names):
        for b in names[k + 1 :]:
            sign = []
            for kind in ("true", "fitted"):
                (x, e, *_), (y, f, *_) = scores[a][kind], scores[b][kind]
                sign.append(0 if abs(x - y) < 2 * math.hypot(e, f) else math.copysign(1, x - y))
            if sign[0] * sign[1] < 0:
                return False
    return True


def run_recovery(folder: Path, names: Sequence[str], impressions: int, users: int, runs: int, command: str = "",
                 console: Console | None = None, fresh: bool = False) -> dict[str, Any]:  # fmt: skip
    """Answer both questions; print the tables, and write recovery.json and recovery.md after each world, so that a run goes on.

    Args:
        folder: for the files. names: of `SOURCES`. impressions: of the logs of each, about. users: evaluated.
        runs: of the coverage; 0: none. command: how to repeat it. console: where to print.
        fresh: whether to run again what an earlier run of the same settings and software has left.

    Raises:
        ConfigError: no such source.
    """
    console = console or Console()
    for name in names:
        require_option("worlds", name, list(SOURCES))

    def say(text: str) -> None:
        console.print(text, markup=False)

    def write(found: dict[str, Any], where: Console) -> None:
        publish(folder, "recovery", command, found, sections(found), [], where)

    asked = {"impressions": impressions, "evaluated": users, "software": software()}
    before = {} if fresh else _left(folder / "recovery.json", asked)
    data: dict[str, Any] = {"asked": asked, "values": {}}
    for name in names:
        data["values"][name] = before.get("values", {}).get(name) or values(name, impressions, users, say)
        write({**before, **data, "values": {**before.get("values", {}), **data["values"]}}, Console(quiet=True))
    if runs:
        earlier = before.get("coverage", {})
        data["coverage"] = earlier if earlier.get("runs") == runs else coverage(runs, 4000, say)
    write(data, console)
    return data


def _left(file: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """What an earlier run of the same settings left; nothing where there is none."""
    try:
        data = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    fits = isinstance(data, dict) and data.get("asked") == asked and isinstance(data.get("values"), dict)
    return {name: data[name] for name in ("values", "coverage") if name in data} if fits else {}


def sections(data: dict[str, Any]) -> list[Section]:
    """The tables."""
    rows, facts = [], []
    for name, found in data["values"].items():
        for agent, score in found["scores"].items():
            (a, e, n), (b, f, m) = score["true"], score["fitted"]
            off = b / a - 1
            rows.append((name, agent, f"{a:.3f} ± {e:.3f}", f"{b:.3f} ± {f:.3f}", f"{off:+.1%}".replace("-", "−"), f"{n:.1f}", f"{m:.1f}",
                         "yes" if abs(off) <= CLOSE.get(agent, OTHERS) else "no"))  # fmt: skip
        facts.append((name, f"{found['impressions']:,}", f"{found['users']:,}", found["choice"], f"{found['seconds']:.0f}",
                      "yes" if same_order(found["scores"]) else "no"))  # fmt: skip
    parts = []
    if facts:
        head = ("world", "impressions", "users", "choice model", "seconds of the fit", "same order")
        parts.append(Section("Logs and fits", head, facts, words=1))
        head = ("world", "agent", "true", "fitted", "off by", "steps, true", "steps, fitted", "close")
        parts.append(Section("Return per user (± standard error)", head, rows, words=2))
    if "coverage" in data:
        runs, held, told = (data["coverage"][name] for name in ("runs", "held", "told"))
        lines = [(name, f"{held[name]} of {told[name]}", str(runs - told[name])) for name in held]
        whole = f"{sum(held.values())} of {sum(told.values())}", str(runs * len(held) - sum(told.values()))
        head = ("parameter", "held", "runs in which the report says that the logs do not tell it")
        parts.append(Section("95 % intervals that hold the planted number", head, [*lines, ("all", *whole)], words=1))
    return parts
