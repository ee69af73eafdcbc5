"""Actions to slates and users to observations, against plain Python."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

import recgym
from recgym import ConfigError, SlateError, mix
from recgym.actions import Action, EmbeddingAction, ItemAction, SlateAction, WeightsAction
from recgym.envs import RecVectorEnv
from recgym.observations import FlatObservation, Observation
from recgym.testing import random_slates
from recgym.types import Users
from recgym.world import World

WorldOf = Callable[..., World]


def played(world: World, n: int = 9, steps: int = 25, seed: int = 0) -> Users:
    rng = np.random.default_rng(seed)
    users = world.arrive(mix(range(n)))
    for _ in range(steps):
        users, _ = world.step(users, random_slates(rng, users.candidates, world.slate_size), world.noise(users))
    return users


def test_a_block_that_is_not_there(world_of: WorldOf) -> None:
    layout = observed(world_of("news"), "compact").layout
    assert set(layout) == {"user", "history"}
    with pytest.raises(ConfigError, match=r"observation: has no block 'candidates', only \['user', 'history'\]"):
        layout["candidates"]


def shown(actions: Action, given: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The slates of actions to users with those candidates."""
    return actions.decode(given, Users(candidates=candidates))


def observed(world: World, form: str) -> Observation:
    return Observation.of(form, "observation")(world)


def test_item_and_slate_actions_pick_candidates(world_of: WorldOf) -> None:
    candidates = np.array([[5, 9, -1, 7], [1, 2, 3, 4]], np.int32)
    world = world_of("ecommerce", 3).replace(candidates={"kind": "Uniform", "candidates": 4})
    slate = SlateAction(world)
    assert slate.space == spaces.MultiDiscrete([4] * 3)
    decoded = shown(slate, slate.batch([[0, 1, 3], [3, 2, 1]], 2), candidates)
    assert decoded.dtype == np.int32
    assert decoded.tolist() == [[5, 9, 7], [4, 3, 2]]
    item = ItemAction(world.replace(slate_size=1))
    assert item.space == spaces.Discrete(4)
    assert shown(item, item.batch(np.array([2, 0], np.int16), 2), candidates).tolist() == [[-1], [1]]


def test_a_repeated_item_counts_once_at_its_first_position(world_of: WorldOf) -> None:
    world = world_of("ecommerce", 3).replace(candidates={"kind": "Uniform", "candidates": 4})
    candidates = np.array([[5, 9, -1, 7]] * 3, np.int32)
    actions = SlateAction(world)
    decoded = shown(actions, actions.batch([[1, 1, 0], [0, 2, 0], [3, 3, 3]], 3), candidates)
    assert decoded.tolist() == [[9, -1, 5], [5, -1, -1], [7, -1, -1]]


def test_null_action_is_zero_and_moves_the_candidates(world_of: WorldOf) -> None:
    world = world_of("ecommerce", 3).replace(candidates={"kind": "Uniform", "candidates": 4})
    candidates = np.array([[5, 9, -1, 7]] * 2, np.int32)
    actions = SlateAction(world, null=True)
    assert actions.space == spaces.MultiDiscrete([5] * 3)
    assert shown(actions, actions.batch([[0, 1, 4], [0, 0, 3]], 2), candidates).tolist() == [[-1, 5, 7], [-1, -1, -1]]
    assert actions.mask(candidates).tolist() == [[True, True, True, False, True]] * 2


@pytest.mark.parametrize("null", [False, True])
def test_embedding_action_shows_the_best_dot_products(world_of: WorldOf, rng: np.random.Generator, null: bool) -> None:
    world = world_of("news", 5)
    users = played(world)
    actions = EmbeddingAction(world, null=null)
    d = world.sizes.dimensions
    assert actions.space == spaces.Box(-1.0, 1.0, (d + null,), np.float32)
    given = rng.uniform(-1, 1, (9, d + null)).astype(np.float32)
    candidates = users.candidates.copy()
    candidates[3, 7:] = -1
    candidates[4, 2:] = -1  # fewer than the slate
    decoded = shown(actions, actions.batch(given, 9), candidates)
    for b in range(9):
        there = candidates[b][candidates[b] >= 0]
        score = world.catalog.embedding[there] @ given[b, :d]
        if null:
            there, score = there[score > given[b, d]], score[score > given[b, d]]
        best = there[np.argsort(-score, kind="stable")][:5].tolist()
        assert decoded[b].tolist() == best + [-1] * (5 - len(best))


@pytest.mark.parametrize("null", [False, True])
@pytest.mark.parametrize("embeddings", [False, True])
def test_weights_action_shows_the_best_weighted_sums(
    world_of: WorldOf, rng: np.random.Generator, null: bool, embeddings: bool
) -> None:
    world = world_of("news", 5).replace(embeddings=embeddings)
    users = played(world)
    users.candidates[3, 7:] = -1
    users.candidates[4, 2:] = -1  # fewer than the slate
    actions, flat = WeightsAction(world, null=null), FlatObservation(world)
    assert {"quality_signal", "click_rate", "match_profile", "exposure"} < {*actions.names}
    F = len(actions.names)
    assert actions.space == spaces.Box(-1.0, 1.0, (F + null,), np.float32)
    seen = np.empty((9, flat.width), np.float32)
    flat.encode(users, seen)
    numbers = seen[:, flat.layout["candidates"].slice].reshape(9, -1, flat.layout["candidates"].shape[1])[:, :, -F:]
    given = rng.uniform(-1, 1, (9, F + null)).astype(np.float32)
    given[5, :F] = 0  # no weights at all: the candidates in their order
    decoded = actions.decode(actions.batch(given, 9), users)
    for b in range(9):
        there = users.candidates[b] >= 0
        x = numbers[b][there].astype(np.float64)
        spread = x.std(axis=0)
        z = np.where(spread > 1e-9, (x - x.mean(axis=0)) / np.maximum(spread, 1e-9), 0)
        score = z @ given[b, :F] / max(float(np.linalg.norm(given[b, :F])), 1e-9)
        order = np.argsort(-score, kind="stable")
        if null:
            order = order[score[order] > 3 * given[b, F]]
        best = users.candidates[b][there][order][:5].tolist()
        assert decoded[b].tolist() == best + [-1] * (5 - len(best))


@pytest.mark.parametrize(
    ("form", "slate_size", "action", "fragment"),
    [
        ("item", 1, [20], r"must lie in \[0, 19\], got .*20.* for user 0"),
        ("item", 1, [-1], r"must lie in \[0, 19\]"),
        ("item", 1, [1.0], r"must be integers, got .*1\.0"),
        ("item", 1, [True], r"must be integers"),
        ("item", 1, ["3"], r"must be integers"),
        ("item", 1, [None], r"must be integers"),
        ("item", 1, [[1]], r"must have shape \(1,\), got \(1, 1\)"),
        ("item", 1, [1, 2], r"must have shape \(1,\), got \(2,\)"),
        ("item", 1, 3, r"must have shape \(1,\), got \(\)"),
        ("slate", 3, [[0, 1]], r"must have shape \(1, 3\), got \(1, 2\)"),
        ("slate", 3, [[0, 1, 20]], r"must lie in \[0, 19\]"),
        ("slate", 3, [[0, 1, -2]], r"must lie in \[0, 19\]"),
        ("slate", 3, [[0, 1], [0]], "action"),
        ("embedding", 3, np.full((1, 16), 1.01), r"must lie in \[-1, 1\]"),
        ("embedding", 3, np.full((1, 16), np.nan), r"must lie in \[-1, 1\]"),
        ("embedding", 3, np.full((1, 16), 1e300), r"must lie in \[-1, 1\]"),
        ("embedding", 3, np.zeros((1, 15)), r"must have shape \(1, 16\), got \(1, 15\)"),
        ("embedding", 3, [["a"] * 16], "must be numbers"),
    ],
)
def test_actions_outside_the_space(
    world_of: WorldOf, form: str, slate_size: int, action: object, fragment: str
) -> None:
    world = world_of("ecommerce", slate_size)
    actions, users = Action.of(form, "action")(world), world.arrive(mix(0))
    with pytest.raises(SlateError, match=fragment):
        shown(actions, actions.batch(action, 1), users.candidates)


def test_the_error_names_the_user(world_of: WorldOf) -> None:
    env = RecVectorEnv(world_of("ecommerce", 1), 5000)
    env.reset(seed=0)
    action = np.zeros(5000, np.int64)
    action[4321] = 99
    with pytest.raises(SlateError, match=r"99.* for user 4321"):
        env.step(action)


def test_item_actions_need_slates_of_one(world_of: WorldOf) -> None:
    with pytest.raises(ConfigError, match=r'action: "item" needs slate_size=1, not 3; use "slate", got \'item\''):
        ItemAction(world_of("ecommerce", 3))


@pytest.mark.parametrize("embeddings", [False, True])
def test_encoding_by_hand(world: World, embeddings: bool) -> None:
    """Every number of the flat observation, from the records in plain NumPy."""
    world = world.replace(embeddings=embeddings)
    users = played(world)
    observations = observed(world, "flat")
    out = np.full((len(users), observations.width), np.nan, np.float32)
    observations.encode(users, out)
    catalog, H, K = world.catalog, world.history, world.n_candidates
    signals = world.market.observe(users.candidates, users.clock)
    shown = [f for f, signal in enumerate(world.market.signals) if signal.visible]
    for b in range(len(users)):
        angle = 2 * math.pi * float(users.clock[b]) / 1440.0
        visible = [users[name][b] / column.high for name, column in world.owned.items() if column.visible]
        want = [*users.profile[b]] if embeddings else []
        want += [users.known[b], users.t[b] / world.horizon, math.sin(angle), math.cos(angle)]
        want += [*users.last[b], *visible]
        clicked = [i for i in users.history[b] if i >= 0]
        for h in range(H):
            i = users.history[b, h]
            feedback = users.history_feedback[b, h]
            row = [*(catalog.embedding[i] if embeddings else ()), *feedback]
            want += row if i >= 0 else [0.0] * len(row)
        taste = catalog.embedding[clicked].mean(axis=0) if clicked else np.zeros(catalog.embedding.shape[1])
        for k in range(K):
            i = users.candidates[b, k]
            x = catalog.embedding[i]
            row = [*(x if embeddings else ()), *(catalog[name][i] for name in catalog.visible), *signals[b, k, shown]]
            row += [x @ users.profile[b], x @ taste, users.exposure[b, catalog.topic[i]]]
            want += row if i >= 0 else [0.0] * len(row)
        want += [float(i >= 0) for i in users.candidates[b]]
        np.testing.assert_allclose(out[b], want, atol=2e-6)


def test_domains_show_no_embeddings_unless_asked() -> None:
    for name, classic in (("ecommerce", False), ("news", False), ("livestream", False), ("interest-evolution", True)):
        for options, shown in (({}, classic), ({"embeddings": True}, True), ({"embeddings": False}, False)):
            for form in ("flat", "dict", "latent"):
                layout = RecVectorEnv(name, 1, observation=form, **options).observation_layout
                parts = {part.name for block in layout.values() for part in block.parts}
                assert ("profile" in parts, "embedding" in parts) == (shown, shown), (name, options, form)
    env = RecVectorEnv("news", 1)
    for block in env.observation_layout.values():
        assert env.world.sizes.dimensions not in [part.width for part in block.parts]
    with pytest.raises(ConfigError, match=r"World.embeddings: must be True or False"):
        RecVectorEnv("news", 1, embeddings="yes")


def test_compact_observations_always_show_embeddings(world: World) -> None:
    """Without candidates there are no matches: the profile is all that tells users apart."""
    layouts = [observed(world.replace(embeddings=shown), "compact").layout for shown in (False, True)]
    assert layouts[0] == layouts[1]
    assert layouts[0]["user"].parts[0].name == "profile"


def test_an_item_in_the_history_shows_without_its_embedding(world: World) -> None:
    users = played(world, 40, 60)
    observations = observed(world, "dict")
    out = np.empty((len(users), observations.width), np.float32)
    observations.encode(users, out)
    there = (observations.view(out)["history"] != 0).any(axis=2)
    assert there.any()
    np.testing.assert_array_equal(there, users.history >= 0)


def test_empty_candidates_are_zero_and_masked(world: World) -> None:
    users = played(world)
    candidates = users.candidates.copy()
    candidates[:, 3:] = -1
    observations = observed(world, "dict")
    out = np.empty((len(users), observations.width), np.float32)
    observations.encode(users.replace(candidates=candidates), out)
    view = observations.view(out)
    assert (view["candidates"][:, 3:] == 0).all()
    assert (view["mask"] == ([1, 1, 1] + [0] * 17)).all()
    assert (view["candidates"][:, :3] != 0).any(axis=2).all()


def test_dict_is_flat_by_the_layout(world: World) -> None:
    users = played(world)
    flat, named = observed(world, "flat"), observed(world, "dict")
    a, b = np.empty((9, flat.width), np.float32), np.empty((9, named.width), np.float32)
    flat.encode(users, a)
    named.encode(users, b)
    view = named.view(b)
    assert isinstance(named.space, spaces.Dict)
    assert list(view) == list(flat.layout) == ["user", "history", "candidates", "mask"]
    for name, block in flat.layout.items():
        assert np.array_equal(a[:, block.slice].reshape(9, *block.shape), view[name])
        assert view[name].shape[1:] == block.shape == named.space[name].shape
        width = sum(part.width for part in block.parts)
        assert name == "mask" or block.shape[-1] == width


def test_latent_adds_the_hidden_state(world: World) -> None:
    users = played(world)
    flat, latent = observed(world, "flat"), observed(world, "latent")
    a, b = np.empty((9, flat.width), np.float32), np.empty((9, latent.width), np.float32)
    flat.encode(users, a)
    latent.encode(users, b)
    assert np.array_equal(a, b[:, : flat.width])
    hidden = [users.interest, users.sensitivity, *(users[name].reshape(9, -1) for name in world.owned)]
    assert np.array_equal(b[:, flat.width :], np.concatenate(hidden, axis=1).astype(np.float32))
    block = latent.layout["latent"]
    names = [part.name for part in block.parts]
    assert names[0] == "interest"
    assert names[-len(world.owned) :] == list(world.owned)
    assert block.slice == slice(flat.width, latent.width)


@pytest.mark.parametrize("observation", ["flat", "dict"])
def test_the_hidden_state_stays_hidden(world_of: WorldOf, observation: str) -> None:
    """Changing what the platform cannot know leaves the observation as it is."""
    for name in ("ecommerce", "news", "livestream"):
        world = world_of(name, 1)
        users = played(world)
        hidden = {column: users[column] + 1 for column, c in world.owned.items() if not c.visible}
        changed = users.replace(interest=-users.interest, sensitivity=users.sensitivity + 1, **hidden)
        encoder = observed(world, observation)
        a, b = np.empty((9, encoder.width), np.float32), np.empty((9, encoder.width), np.float32)
        encoder.encode(users, a)
        encoder.encode(changed, b)
        assert np.array_equal(a, b)


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
@pytest.mark.parametrize("observation", ["flat", "dict", "latent"])
def test_observations_lie_in_their_space(env_id: str, observation: str) -> None:
    import gymnasium as gym

    env = gym.make_vec(env_id, num_envs=128, observation=observation)
    obs, _ = env.reset(seed=3)
    env.action_space.seed(3)
    for _ in range(150):
        assert env.observation_space.contains(obs)
        obs = env.step(env.action_space.sample())[0]


@pytest.mark.parametrize("observation", ["flat", "latent"])
def test_no_bound_of_the_space_is_degenerate(world: World, observation: str) -> None:
    """Gymnasium warns of a Box whose low equals its high, and scalers divide by the width."""
    space: Any = observed(world, observation).space
    assert (space.low < space.high).all()
    assert np.isfinite(space.low).all()
    assert np.isfinite(space.high).all()
