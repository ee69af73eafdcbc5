"""Logs of a world: the event table that a platform would have written, with the propensities of its policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number
from recgym.logs.assemble import numbered
from recgym.logs.table import EVENTS, FEATURE, Logs
from recgym.types import Array, Users
from recgym.world import World

if TYPE_CHECKING:
    import polars as pl

EPOCH = np.datetime64("2026-01-05", "us")  # minute 0 of the clock: midnight at the start of a Monday


def simulate(
    world: World,
    agents: Any | Mapping[str, Any] | None = None,
    users: int = 10_000,
    *,
    explore: float = 0.1,
    seed: int = 0,
    batch: int = 2048,
    **options: Any,
) -> Logs:
    """Let users visit a world, and log what they were shown and what they did.

    At each step and for each user the logging policy shows, with probability `explore`, a uniformly random slate of
    different candidates, and else that of one of the agents, each as likely as the others. The propensity of a row, the
    probability that this item was shown in this position, is therefore known exactly.

    The table has the columns user, item, time, session, slate, position, propensity, policy, click and, where the
    response of the world has them, cart, purchase, like, share, dwell (seconds of reading or watching) and gift; `price` where the market
    has one; `feature_NAME` for each visible signal of the market. A purchase from the cart in a later step is written into the row from
    which the item went into the cart. Items have their topic, their embedding and the attributes that the platform sees;
    users have the profile that the platform has of them, all zeros where it has none. A user who comes back after some time away begins another session.

    Args:
        world: where.
        agents: an agent (`baselines.Agent`) or several by name, each of which must always act alike on the same observation. None: the
            logging policy is uniformly random.
        users: how many, >= 1. explore: probability of a random slate, in [0, 1]; 1 without agents.
        seed: of the first user; user i is the one of seed + i, as in `baselines.evaluate`.
        batch: users stepped together, >= 1.
        options: of `RecVectorEnv`, with which the agents were trained.

    Raises:
        ConfigError: an argument breaks its rule, or the actions of the agents are no choices of candidates.
    """
    require_count("users", users, 1, 10**8)
    require_count("batch", batch, 1, 10**7)
    require_number("explore", explore, 0, 1)
    named: Mapping[str, Any] = agents if isinstance(agents, Mapping) else {} if agents is None else {"agent": agents}
    require(named or explore in (0.1, 1), "explore", "must be 1 where there are no agents", explore)
    explore = explore if named else 1.0
    rng = np.random.default_rng([seed, 7])
    parts: list[dict[str, Array]] = []
    profiles, slates, visits = [], 0, 0
    for first in range(0, users, batch):
        n = min(batch, users - first)
        env = RecVectorEnv(world, n, autoreset_mode=AutoresetMode.DISABLED, **options)
        rows, profile, steps, sessions = _visit(env, named, explore, seed + first, rng)
        rows["user"] += first
        rows["slate"] += slates
        rows["session"] += visits
        slates, visits = slates + steps, visits + sessions
        parts.append(rows)
        profiles.append(profile)
        env.close()
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    names = ["random", *named] if explore > 0 else [*named]
    source = {"format": "simulated", "name": "simulated by recgym", "seed": seed, "explore": explore, "policies": names}
    return Logs(
        events=_events(columns, ["random", *named]),
        items=_items(world),
        users=_users(np.concatenate(profiles), seed),
        impressions=True,
        source=source,
    )


def _visit(
    env: RecVectorEnv, agents: Mapping[str, Any], explore: float, seed: int, rng: np.random.Generator
) -> tuple[dict[str, Array], Array, int, int]:
    """The rows of one batch of users, their profiles, and the numbers of slates and sessions."""
    world, B, S = env.world, env.num_envs, env.world.slate_size
    observation, info = env.reset(seed=seed)
    for agent in agents.values():
        agent.start(env)
    state = env.stepper.users
    assert state is not None
    profile = np.where(state.known[:, None] > 0, state.profile, 0.0).astype(np.float32)
    visible = [(f, s.name) for f, s in enumerate(world.market.signals) if s.visible]
    session = np.arange(B)
    sessions, steps, written = B, 0, 0
    carts: dict[tuple[int, int], int] = {}  # (user, item) -> row from which it went into the cart
    later: list[int] = []  # rows whose item was bought in a later step
    alive, rows = np.ones(B, np.bool_), []
    while alive.any():
        users = env.stepper.users
        assert users is not None
        choices = [_slates(env, agent, observation, info["action_mask"], users) for agent in agents.values()]
        policy = np.where(rng.random(B) < explore, 0, 1 + rng.integers(0, max(len(agents), 1), B))
        chosen, chance = _random_slates(users.candidates, S, rng)
        slate = chosen if not choices else np.stack([chosen, *choices])[policy, np.arange(B)]
        propensity = explore * np.where(slate >= 0, chance[:, None], 0.0)
        for choice in choices:
            propensity += (1 - explore) / len(choices) * (choice == slate)
        feedback = world.advance(users, slate, world.noise(users))[1]
        row, position = np.nonzero((slate >= 0) & alive[:, None])
        shown = slate[row, position]
        rows.append({
            "user": row, "item": shown, "time": EPOCH + (60e6 * users.clock[row].astype(np.float64)).astype("timedelta64[us]"),
            "session": session[row], "slate": steps + row, "position": position, "propensity": propensity[row, position],
            "policy": policy[row], **_outcome(world, feedback, row, position),
            **_signals(world, users, slate, visible, row, position),
        })  # fmt: skip
        if "bought" in world.response.extras:
            cart = feedback.channels[..., world.response.channels.index("cart")] > 0
            for b, j in zip(*np.nonzero((feedback.bought[:, S:] >= 0) & alive[:, None]), strict=True):
                later.append(carts.pop((int(b), int(feedback.bought[b, S + j])), -1))
            place = np.cumsum((slate >= 0) & alive[:, None]).reshape(B, S) - 1 + written
            for b, s in zip(*np.nonzero(cart & alive[:, None]), strict=True):
                carts[int(b), int(slate[b, s])] = int(place[b, s])
        written, steps = written + len(row), steps + B
        action = env.actions.encode(_as_choices(env, slate, users))
        before = users.clock
        observation, _, terminated, truncated, info = env.step(action)
        alive &= ~(terminated | truncated)
        now = env.stepper.users
        assert now is not None
        back = alive & (now.clock - before - feedback.dt > 1.0)
        session = np.where(back, sessions + np.cumsum(back) - 1, session)
        sessions += int(back.sum())
    columns = {name: np.concatenate([part[name] for part in rows]) for name in rows[0]}
    if later:
        columns["purchase"][[row for row in later if row >= 0]] = True
    return columns, profile, steps, sessions


def _slates(env: RecVectorEnv, agent: Any, observation: Array, mask: Array, users: Users) -> Array:
    """(B, S) int32 items that an agent would show."""
    action = env.actions.batch(agent.act(observation, mask), env.num_envs)
    return env.actions.decode(action, users)


def _as_choices(env: RecVectorEnv, slate: Array, users: Users) -> Array:
    """(B, S) choices that show given slates; -1, nothing, becomes a repetition of the first item, or the null action."""
    place = (users.candidates[:, None, :] == slate[:, :, None]) & (slate[:, :, None] >= 0)
    there, where = place.any(axis=2), place.argmax(axis=2)
    if env.actions.null:
        return np.where(there, where + 1, 0)
    return np.where(there, where, where[:, :1])


def _random_slates(candidates: Array, S: int, rng: np.random.Generator) -> tuple[Array, NDArray[np.float64]]:
    """(B, S) int32 different candidates in random order, -1 where there are too few; and the chance of each, (B,)."""
    order = np.argsort(np.where(candidates >= 0, rng.random(candidates.shape), 2.0), axis=1)[:, :S]
    there = (candidates >= 0).sum(axis=1)
    return np.take_along_axis(candidates, order, axis=1), 1.0 / np.maximum(there, 1)


def _outcome(world: World, feedback: Any, row: Array, position: Array) -> dict[str, Array]:
    """Columns of what came of the rows."""
    found: dict[str, Array] = {"click": feedback.click[row, position]}
    for c, name in enumerate(world.response.channels):
        value = feedback.channels[row, position, c]
        if name in EVENTS:
            found[name] = value > 0
        elif name in ("dwell", "watch"):
            longest = getattr(world.response, "longest", getattr(world.response, "epoch", 1.0))
            found["dwell"] = np.where(found["click"], 60.0 * longest * value, 0.0)
        elif name == "gift":
            found["gift"] = value
    return found


def _signals(
    world: World, users: Users, slate: Array, visible: list[tuple[int, str]], row: Array, position: Array
) -> dict[str, Array]:
    """Columns of what the platform knew of the items at that time."""
    signals = world.market.observe(slate, users.clock)[row, position]
    found = {f"{FEATURE}{name}": signals[:, f] for f, name in visible}
    if f"{FEATURE}price" in found:
        found["price"] = 100.0 * found[f"{FEATURE}price"]
    return found


def _events(columns: dict[str, Array], policies: list[str]) -> pl.DataFrame:
    import polars as pl

    order = np.lexsort((columns["position"], columns["slate"], columns["time"], columns["user"]))
    kinds: dict[str, Any] = {
        "user": np.uint32,
        "item": np.uint32,
        "session": np.uint32,
        "slate": np.uint32,
        "position": np.uint16,
    }
    data: dict[str, Any] = {}
    for name, values in columns.items():
        values = values[order]
        if name == "policy":
            data[name] = pl.Series(np.asarray(policies)[values])
        elif values.dtype.kind == "f" and name != "propensity":
            data[name] = values.astype(np.float32)
        else:
            data[name] = values.astype(kinds[name]) if name in kinds else values
    table = pl.DataFrame(data).with_columns(pl.col("time").dt.replace_time_zone("UTC"))
    return table.with_columns(numbered("slate"), numbered("session"))


def _items(world: World) -> pl.DataFrame:
    import polars as pl

    catalog, n = world.catalog, len(world.catalog)
    data: dict[str, Any] = {"item": np.arange(n, dtype=np.uint32), "id": [f"item{i}" for i in range(n)]}
    data["topic"] = catalog.topic.astype(np.uint32)
    data |= {name: catalog[name] for name in catalog.visible}
    data |= {f"embedding_{k}": catalog.embedding[:, k] for k in range(catalog.embedding.shape[1])}
    return pl.DataFrame(data)


def _users(profile: Array, seed: int) -> pl.DataFrame:
    import polars as pl

    n = len(profile)
    data: dict[str, Any] = {"user": np.arange(n, dtype=np.uint32), "id": [f"user{seed + i}" for i in range(n)]}
    data |= {f"profile_{k}": profile[:, k] for k in range(profile.shape[1])}
    return pl.DataFrame(data)
