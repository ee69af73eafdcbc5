"""The classics step by step against traces of the original packages (see `reference/record_*.py` for the arrays).

Each check feeds the original's state, slate and realised outcomes to our World and compares probabilities and the next
state to 1e-5. Each is then run on broken copies, which it must catch.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest

import recgym
from recgym import World, mix
from recgym.catalog import Catalog
from recgym.classics import recogym as recogym_classic
from recgym.classics import sardine as sardine_classic
from recgym.market import StaticMarket
from recgym.types import Array, Feedback, Users

DATA = Path(__file__).with_name("reference") / "data"
SARDINE = {
    "sardine_single_item_static": "SingleItem-Static",
    "sardine_single_item_boredinf": "SingleItem-BoredInf",
    "sardine_single_item_uncertain": "SingleItem-Uncertain",
    "sardine_slate_topk_bored": "SlateTopK-Bored",
    "sardine_slate_topk_boredinf": "SlateTopK-BoredInf",
    "sardine_slate_topk_uncertain": "SlateTopK-Uncertain",
    "sardine_slate_rerank_static": "SlateRerank-Static",
    "sardine_slate_rerank_bored": "SlateRerank-Bored",
}
NORMAL_CDF = np.vectorize(NormalDist().cdf)


@cache
def load(name: str) -> dict[str, Array]:
    with np.load(DATA / f"{name}.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def close(ours: Array, theirs: Array, what: str, tolerance: float = 1e-5) -> None:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape, what
    worst = float(np.abs(ours - theirs).max(initial=0.0))
    assert worst <= tolerance, f"{what} differs by {worst:.2e}"


def episodes(data: dict[str, Array], length: int) -> list[slice]:
    ends = [*data["episode"][1:], length]
    return [slice(int(a), int(b)) for a, b in zip(data["episode"], ends, strict=True)]


def users_of(world: World, n: int, **columns: Array) -> Users:
    """n users of a world with some columns given."""
    arrived = world.arrive(mix(range(n)))
    return arrived.replace(
        **{name: np.ascontiguousarray(value, arrived[name].dtype) for name, value in columns.items()}
    )


def quiet(world: World, n: int) -> Array:
    """Noise in which nothing of interest happens by itself."""
    return np.full((world.uniforms_per_step, n), 0.5, np.float32)


def clicks(chosen: Array, S: int) -> Array:
    """(T, S) bool from the place that was clicked, -1 = none."""
    return chosen[:, None] == np.arange(S)


# --- RecSim


def interest_evolution(world: World) -> None:
    data = load("interest_evolution")
    T, S = data["topic"].shape
    assert T >= 20_000
    interest, budget = np.empty((T, 20)), np.empty(T)
    for e, steps in enumerate(episodes(data, T)):
        now, left = data["interest_start"][e].astype(np.float64), 200.0
        for t in range(steps.start, steps.stop):
            interest[t], budget[t] = now, left
            if data["click"][t] >= 0:
                now[data["topic"][t, data["click"][t]]] = data["interest_next"][t]
            left += float(data["budget_change"][t])
    click = clicks(data["click"], S)
    topic, quality = data["topic"].ravel(), np.where(click, data["quality"][:, None], 0.0).ravel()
    catalog = Catalog(np.eye(20)[topic], topic, quality[:, None], ("quality",), 20)
    world = world.replace(catalog=catalog, market=StaticMarket.of(T * S))
    slate = np.arange(T * S, dtype=np.int32).reshape(T, S)
    users = users_of(world, T, interest=interest, budget=budget)

    def step(direction: Array) -> tuple[Users, Feedback]:
        noise = quiet(world, T)
        noise[world.blocks.dynamics[0]] = np.clip(direction, 0.0, 1.0)
        return world.step(users, slate, noise, click)

    after, feedback = step(np.where(data["up"], data["up_probability"] - 1e-5, data["up_probability"] + 1e-5))
    close(feedback.probability, data["click_probability"], "click probability")
    close(feedback.objectives[:, 1], data["reward"], "reward")
    wanted = interest.copy()
    rows = np.flatnonzero(data["click"] >= 0)
    wanted[rows, data["topic"][rows, data["click"][rows]]] = data["interest_next"][rows]
    close(after.interest, wanted, "next interest")
    close(after.profile, wanted, "next profile")
    close(after.budget, budget + data["budget_change"], "next budget", 2e-5 * 2)
    # The direction turns at the original's probability: just below it, interest goes up, just above, down.
    sure = (data["up_probability"] > 1e-4) & (data["up_probability"] < 1 - 1e-4) & (data["click"] >= 0)
    sure &= np.abs(interest[np.arange(T), data["topic"][np.arange(T), data["click"]]]) < 0.99
    up, down = (step(data["up_probability"] + shift)[0].interest.sum(axis=1) for shift in (-1e-5, 1e-5))
    assert (up[sure] > down[sure]).all(), "direction of the drift"
    ended = np.zeros(T, np.bool_)
    ended[[steps.stop - 1 for steps in episodes(data, T)]] = True
    assert (feedback.left == ended).all(), "end of the episode"


def long_term_satisfaction(world: World, name: str = "long_term_satisfaction") -> None:
    data = load(name)
    T = len(data["clickbait"])
    assert T >= 20_000
    net = np.empty(T)
    for e, steps in enumerate(episodes(data, T)):
        net[steps] = np.concatenate([data["npe_start"][e : e + 1], data["npe_next"][steps][:-1]])
        assert steps.stop - steps.start == world.horizon
    sensitivity = float(data["sensitivity"])
    c = data["clickbait"].astype(np.float64)
    catalog = Catalog(c[:, None] - 0.5, np.zeros(T), np.stack([c, 0.5 - c], axis=1), ("clickbait", "quality"), 1)
    world = world.replace(catalog=catalog, market=StaticMarket.of(T))
    users = users_of(world, T, net_exposure=net, satisfaction=1 / (1 + np.exp(-sensitivity * net)))
    slate = np.arange(T, dtype=np.int32)[:, None]
    noise = quiet(world, T)
    noise[world.blocks.response] = NORMAL_CDF(data["engagement_noise"])
    noise[world.blocks.dynamics[0]] = NORMAL_CDF(data["npe_noise"] / 0.05)
    noise = np.clip(noise, 1e-7, 1 - 1e-7)
    after, feedback = world.step(users, slate, noise)
    assert feedback.click.all(), "the first item is taken"
    expected = world.expected(users, slate)[:, 1]
    close(np.log(expected) - 0.5, data["log_mean"], "mean of the log engagement")
    # A uniform of 23 bits knows a normal of 4 to about 1e-3 only: the bulk of the noise is compared.
    bulk = (np.abs(data["engagement_noise"]) < 2.5) & (np.abs(data["npe_noise"]) < 2.5 * 0.05)
    close(np.log(feedback.objectives[bulk, 1]), np.log(data["reward"])[bulk], "engagement", 2e-5)
    close(after.net_exposure[bulk], data["npe_next"][bulk], "next net exposure")
    wanted = 1 / (1 + np.exp(-sensitivity * data["npe_next"].astype(np.float64)))
    close(after.satisfaction[bulk], wanted[bulk], "next satisfaction")


def long_term_satisfaction_hard(world: World) -> None:
    long_term_satisfaction(world, "long_term_satisfaction_hard")


def interest_exploration(world: World) -> None:
    data = load("interest_exploration")
    T, S = data["topic"].shape
    assert T >= 20_000
    affinity = np.empty((T, 2))
    for e, steps in enumerate(episodes(data, T)):
        affinity[steps] = data["affinity"][e]
        assert steps.stop - steps.start == world.horizon
    topic = data["topic"].ravel()
    catalog = Catalog(np.eye(2)[topic], topic, data["quality"].reshape(-1, 1), ("quality",), 2)
    world = world.replace(catalog=catalog, market=StaticMarket.of(T * S))
    slate = np.arange(T * S, dtype=np.int32).reshape(T, S)
    click = clicks(data["click"], S)
    after, feedback = world.step(users_of(world, T, interest=affinity), slate, quiet(world, T), click)
    close(feedback.probability, data["click_probability"], "click probability")
    close(feedback.objectives[:, 0], click.sum(axis=1), "reward")
    close(after.interest, affinity, "affinity")
    assert not feedback.left.any()


# --- SARDINE


def sardine_world(task: str, items: Array | None = None) -> World:
    """A task by default: with the package's own items and influence; or with other items."""
    world = sardine_classic.world(task=task)
    return world if items is None else world.replace(catalog=sardine_classic.catalog(items))


def sardine(name: str, world: World) -> None:
    data = load(name)
    S, horizon = int(data["slate_size"]), int(data["horizon"])
    E, T = len(data["episode"]), len(data["slate"])
    assert T >= 20_000
    assert (S, horizon) == (world.slate_size, world.horizon)
    assert (np.diff(data["episode"]) == horizon).all()
    bores, moves = "bored" in world.owned, "user" in data
    if not bores:
        assert not data["bored"].any(), "boredom"
    row_of_checked = np.full(T, -1)
    row_of_checked[data["checked"]] = np.arange(len(data["checked"]))
    users = users_of(world, E, interest=data["user_initial"])
    if bores:
        zero = {n: np.zeros((E, c.shape[0])) if n != "click_topic" else np.full((E, c.shape[0]), -1)
                for n, c in world.owned.items()}  # fmt: skip
        users = users_of(world, E, interest=data["user_initial"], **zero)
    users, feedback = world.step(users, data["reset_slate"].astype(np.int32), quiet(world, E), data["reset_click"])
    close(feedback.probability, data["reset_click_probability"], "click probability at reset", 2e-5)
    close(users.interest, data["user_start"] if "user_start" in data else data["user_initial"], "user at the start")
    for t in range(horizon):
        rows = data["episode"] + t
        if bores:
            assert ((users.bored > 0) == data["bored"][rows]).all(), f"bored at step {t}"
            left = np.where(data["bored"][rows], data["timer"][rows], 0)
            assert (users.bored == left).all(), f"timer at step {t}"
            assert (users.recent == np.minimum(data["recent"][rows], world.dynamics[0].threshold)).all(), (
                "recent clicks"
            )  # type: ignore[attr-defined]
        checked = row_of_checked[rows]
        known = checked >= 0
        if moves:
            interest = users.interest.copy()
            close(interest[known], data["user"][checked[known]], f"user at step {t}")
            interest[known] = data["user"][checked[known]]
            users = users.replace(interest=interest)
        users, feedback = world.step(users, data["slate"][rows].astype(np.int32), quiet(world, E), data["click"][rows])
        close(feedback.probability[known], data["click_probability"][checked[known]], f"click probability at {t}", 2e-5)
        total = feedback.probability.sum(axis=1, dtype=np.float64)
        close(
            total, data["expected_clicks"][rows], f"expected clicks at {t}", 2e-3
        )  # slope 100 times the drift's error
        close(feedback.objectives[:, 0], data["click"][rows].sum(axis=1), "reward")
    assert not feedback.left.any()


# --- RecoGym


def recogym_world() -> World:
    data = load("recogym_v1")
    return recogym_classic.of(data["gamma"], data["mu_organic"])


def recogym(world: World) -> None:
    data = load("recogym_v1")
    kind, longest, d = data["kind"], 32, 5
    advertised = np.flatnonzero(kind == 1)
    assert len(advertised) >= 20_000
    view = np.cumsum(kind == 0) - 1  # of each event: the last view so far
    omega = data["omega"].astype(np.float64)
    sessions = []  # of each advertisement: the events of the session that follows
    last_of_user = np.zeros(len(kind), np.bool_)
    last_of_user[np.append(data["episode"][1:], len(kind)) - 1] = True
    for t in advertised:
        end = t + 1
        if data["next"][t] == 0:
            while kind[end] == 0:
                end += 1
                if last_of_user[end - 1]:
                    break
        sessions.append(range(t + 1, end))
    fits = np.array([len(s) <= longest for s in sessions])
    assert fits.mean() > 0.999
    steps, sessions = advertised[fits], [s for s, ok in zip(sessions, fits, strict=True) if ok]
    B = len(steps)
    noise = quiet(world, B)
    block = world.blocks.dynamics[0]
    mine = noise[block]
    mine[0] = np.array([0.02, 0.5, 0.055])[data["chain"][steps]]
    affinity, appeal = data["gamma"], data["mu_organic"].ravel()
    wanted_views = np.full((B, world.history), -1)
    wanted_omega = np.empty((B, d))
    for b, (t, session) in enumerate(zip(steps, sessions, strict=True)):
        now = omega[view[t]]
        at = 1  # where the walk of the last move is
        for n, event in enumerate(session):
            walk = (omega[view[event]] - now) / 0.1
            mine[at : at + d, b] = NORMAL_CDF(walk)
            now = omega[view[event]]
            score = affinity @ now + appeal
            share = np.exp(score - score.max())
            share /= share.sum()
            assert abs(share[data["item"][event]] - data["probability"][event]) < 1e-5
            cumulative = np.append(0.0, np.cumsum(share))
            at = 1 + d + n * (2 + d)
            item = data["item"][event]
            mine[at, b] = (cumulative[item] + cumulative[item + 1]) / 2
            mine[at + 1, b] = np.array([0.5, 0.1, 0.255])[data["chain"][event]]
            at += 2
            wanted_views[b] = np.roll(wanted_views[b], 1)
            wanted_views[b, 0] = item
        wanted_omega[b] = now
    np.clip(noise, 1e-7, 1 - 1e-7, out=noise)
    users = users_of(world, B, interest=omega[view[steps]], history=np.full((B, world.history), -1))
    all_items = np.tile(np.arange(10, dtype=np.int32), (len(data["visit"]), 1))
    at_visit = users_of(world, len(data["visit"]), interest=omega[view[data["visit"]]])
    chance = world.choice.probability(world.appraise(at_visit, all_items)[0], np.zeros(len(all_items), np.float32))
    close(chance, data["click_probability"], "click probability")
    after, feedback = world.step(
        users, data["item"][steps].astype(np.int32)[:, None], noise, data["click"][steps][:, None]
    )
    close(feedback.probability[:, 0], data["probability"][steps], "click probability")
    stopped = (
        np.array([data["next"][s[-1]] if s else data["next"][t] for t, s in zip(steps, sessions, strict=True)]) == 2
    )
    assert (feedback.left == stopped).all(), "who leaves"
    rare = np.abs(after.interest - wanted_omega).max(axis=1) > 1e-5  # normals in the tails, see above
    assert rare.mean() < 2e-3, "omega"
    assert np.abs(after.interest - wanted_omega).max() < 1e-3, "omega"
    lengths = np.array([len(s) for s in sessions])
    assert (after.n_views - users.n_views == lengths).all(), "length of the session"
    for b in np.flatnonzero((lengths > 0) & ~rare):
        n = min(lengths[b], world.history)
        assert (after.history[b, :n] == wanted_views[b, :n]).all(), "views"


CHECKS: dict[str, tuple[Callable[[], World], Callable[[World], None]]] = {
    "interest_evolution": (lambda: recgym.load_world("interest-evolution"), interest_evolution),
    "long_term_satisfaction": (lambda: recgym.load_world("long-term-satisfaction"), long_term_satisfaction),
    "long_term_satisfaction_hard": (
        lambda: recgym.load_world("long-term-satisfaction", sensitivity=0.1), long_term_satisfaction_hard,
    ),
    "interest_exploration": (lambda: recgym.load_world("interest-exploration"), interest_exploration),
    "recogym_v1": (recogym_world, recogym),
    **{name: (lambda task=task: sardine_world(task), lambda world, name=name: sardine(name, world))
       for name, task in SARDINE.items()},
}  # fmt: skip


@pytest.mark.parametrize("name", CHECKS)
def test_in_lockstep_with_the_original(name: str) -> None:
    make, check = CHECKS[name]
    check(make())


def part(world: World, field: str, index: int | None = None, **changes: Any) -> World:
    """A copy with fields of one part changed."""
    if index is None:
        return world.replace(**{field: replace(getattr(world, field), **changes)})
    parts = list(getattr(world, field))
    parts[index] = replace(parts[index], **changes)
    return world.replace(**{field: tuple(parts)})


BROKEN: list[tuple[str, str, Callable[[World], World]]] = [
    ("interest_evolution", "no drift", lambda w: part(w, "dynamics", 0, rate=0.0)),
    ("interest_evolution", "other drift", lambda w: part(w, "dynamics", 0, rate=0.31)),
    ("interest_evolution", "null weight", lambda w: part(w, "choice", null=1.0)),
    ("interest_evolution", "shift", lambda w: part(w, "choice", shift=1.001)),
    ("interest_evolution", "bonus", lambda w: part(w, "response", bonus=0.9 / 3.5)),
    ("interest_evolution", "browsing", lambda w: part(w, "response", browse=0.6)),
    ("long_term_satisfaction", "memory", lambda w: part(w, "dynamics", 0, memory=0.71)),
    ("long_term_satisfaction", "sign", lambda w: part(w, "dynamics", 0, quality=-2.0)),
    ("long_term_satisfaction", "sensitivity", lambda w: part(w, "dynamics", 0, sensitivity=0.02)),
    ("long_term_satisfaction", "no noise", lambda w: part(w, "dynamics", 0, noise=1e-9)),
    ("long_term_satisfaction_hard", "sensitivity", lambda w: part(w, "dynamics", 0, sensitivity=0.01)),
    ("long_term_satisfaction", "kale", lambda w: part(w, "response", kale=4.1)),
    ("long_term_satisfaction", "spread", lambda w: part(w, "response", sd=1.1)),
    ("interest_exploration", "null logit", lambda w: part(w, "choice", null=4.9)),
    ("interest_exploration", "no quality", lambda w: part(w, "preference", attributes={"quality": 0.0})),
    ("interest_exploration", "positions", lambda w: part(w, "choice", decay=0.1)),
    ("sardine_slate_topk_bored", "never bored", lambda w: part(w, "dynamics", 0, threshold=100)),
    ("sardine_slate_topk_bored", "boredom without effect", lambda w: part(w, "preference", unless="")),
    ("sardine_slate_topk_bored", "window", lambda w: part(w, "dynamics", 0, window=4)),
    ("sardine_slate_topk_bored", "duration", lambda w: part(w, "dynamics", 0, duration=6)),
    ("sardine_slate_topk_bored", "memory", lambda w: part(w, "dynamics", 0, memory=9)),
    ("sardine_slate_rerank_bored", "threshold", lambda w: part(w, "dynamics", 0, threshold=5)),
    ("sardine_slate_rerank_static", "examination", lambda w: part(w, "choice", examination=0.71)),
    ("sardine_slate_rerank_static", "exponents off by one",
     lambda w: part(w, "choice", examination=tuple(0.7 ** (1 + np.arange(10))))),
    ("sardine_single_item_static", "offset", lambda w: part(w, "choice", threshold=65.1)),
    ("sardine_single_item_uncertain", "slope", lambda w: part(w, "preference", scale=10.1)),
    ("sardine_slate_topk_boredinf", "no influence", lambda w: part(w, "dynamics", 1, rate=0.0)),
    ("sardine_slate_topk_boredinf", "corrected mean", lambda w: part(w, "dynamics", 1, scalar=False)),
    ("sardine_single_item_boredinf", "influence", lambda w: part(w, "dynamics", 1, rate=0.06)),
    ("recogym_v1", "no walk", lambda w: part(w, "dynamics", 0, sd=0.0)),
    ("recogym_v1", "leaving", lambda w: part(w, "dynamics", 0, leave=0.002)),
    ("recogym_v1", "browsing", lambda w: part(w, "dynamics", 0, browse=0.015)),
    ("recogym_v1", "appeal", lambda w: part(w, "preference", attributes={"appeal": 1.01})),
    ("recogym_v1", "affinity", lambda w: part(w, "dynamics", 0, affinity=-w.dynamics[0].affinity)),  # type: ignore[attr-defined]
]  # fmt: skip


@pytest.mark.parametrize(("name", "fault", "breaks"), BROKEN, ids=[f"{name}: {fault}" for name, fault, _ in BROKEN])
def test_a_broken_copy_is_caught(name: str, fault: str, breaks: Callable[[World], World]) -> None:
    make, check = CHECKS[name]
    with pytest.raises(AssertionError):
        check(breaks(make()))


def test_the_corrected_influence_moves_towards_what_was_clicked() -> None:
    """`faithful=False` follows the paper's equation: the mean over items, a vector."""
    world = sardine_classic.world(task="SlateTopK-BoredInf", faithful=False)
    users = world.arrive(mix(range(500)))
    slate = users.candidates[:, :10].copy()
    click = np.zeros(slate.shape, np.bool_)
    click[:, 3] = click[:, 5] = True
    after, _ = world.step(users, slate, quiet(world, 500), click)
    mean = world.catalog.embedding[slate[:, [3, 5]]].mean(axis=1, dtype=np.float64)
    wanted = 0.95 * users.interest.astype(np.float64) + 0.05 * mean
    close(after.interest, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), "influence", 1e-6)
    original, _ = sardine_classic.world(task="SlateTopK-BoredInf").step(users, slate, quiet(world, 500), click)
    ones = np.full(10, math.sqrt(0.1))
    assert ((original.interest @ ones) > (users.interest @ ones) - 1e-6).all()
