"""The environments: resets, autoreset, snapshots, and that every option that is accepted does something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

import recgym
from recgym import ConfigError, EnvState, SlateError, World, mix
from recgym.compat import AutoresetMode
from recgym.envs import RecEnv, RecVectorEnv
from recgym.models.departure import Never
from recgym.models.reward import LikeDislike, Weighted
from recgym.testing import check_env
from recgym.types import Array

WorldOf = Callable[..., World]


def vector(env_id: str = "recgym/Ecommerce-v0", num_envs: int = 8, **options: Any) -> RecVectorEnv:
    env = gym.make_vec(env_id, num_envs=num_envs, **options)
    assert isinstance(env, RecVectorEnv)
    return env


def single(env_id: str = "recgym/Ecommerce-v0", **options: Any) -> RecEnv:
    env = gym.make(env_id, disable_env_checker=True, **options).unwrapped
    assert isinstance(env, RecEnv)
    return env


def run(env: RecVectorEnv, steps: int, seed: int = 0, action: Any = None) -> list[tuple[Any, ...]]:
    """Steps with the same random actions for every env of the same space."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    out = [(observation, None, None, None, info)]
    for _ in range(steps):
        out.append(env.step(env.action_space.sample() if action is None else action))
    return out


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return all(same(a[k], b[k]) for k in a)
    return bool(np.array_equal(a, b))


@pytest.mark.parametrize(
    "options", [{}, {"observation": "dict"}, {"reward": "vector", "observation": "latent"}], ids=str
)
@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_the_contract_of_an_environment(env_id: str, options: dict[str, Any]) -> None:
    check_env(env_id, steps=80, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"action": "embedding"},
        {"action": "weights"},
        {"null_action": True},
        {"expected_reward": True},
        {"like_dislike": True},
        {"candidates": "all"},
        {"candidates": 7},
        {"horizon": 3},
    ],
    ids=str,
)
@pytest.mark.parametrize("env_id", ["recgym/NewsSlate-v0", "recgym/LiveStream-v0"])
def test_the_contract_holds_for_options(env_id: str, options: dict[str, Any]) -> None:
    check_env(env_id, steps=40, **options)


def test_check_env_takes_instances(world_of: WorldOf) -> None:
    check_env(RecVectorEnv(world_of("news", 3), 4, observation="dict"), steps=30)
    check_env(RecEnv("livestream", observation="latent", cold_start=0.5), steps=30)


# --- spaces and shapes


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_what_a_step_returns(env_id: str) -> None:
    env = vector(env_id, 6)
    S, K, M = env.world.slate_size, env.world.n_candidates, len(env.world.objectives)
    n = K + env.actions.null
    observation, info = env.reset(seed=0)
    assert info["action_mask"].shape == (6, n)
    for _ in range(5):
        observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert observation.shape == (6, env.observations.width)
    assert (observation.dtype, reward.dtype) == (np.float32, np.float64)
    assert (terminated.dtype, truncated.dtype) == (np.bool_, np.bool_)
    shapes = dict(objectives=(6, M), slate=(6, S), click=(6, S), probability=(6, S), action_mask=(6, n))
    assert {name: info[name].shape for name in shapes} == shapes
    one = single(env_id)
    observation, info = one.reset(seed=0)
    assert one.observation_space.contains(observation)
    observation, reward, terminated, truncated, info = one.step(one.action_space.sample())
    assert (type(reward), type(terminated), type(truncated)) == (float, bool, bool)
    assert {name: info[name].shape for name in shapes} == {name: shape[1:] for name, shape in shapes.items()}


def test_the_ids_have_the_documented_defaults() -> None:
    for domain in ("Ecommerce", "News", "LiveStream"):
        one, slate = single(f"recgym/{domain}-v0"), single(f"recgym/{domain}Slate-v0")
        null = int(domain == "LiveStream")
        assert one.action_space == spaces.Discrete(20 + null)
        assert slate.action_space == spaces.MultiDiscrete([20 + null] * 5)
        assert isinstance(one.observation_space, spaces.Box)
        assert one.world.horizon == 100
        assert one.world.history == 10
        assert len(one.world.catalog) == (12_000 if domain == "News" else 6000)


def test_reward_is_the_weighted_sum_of_the_objectives() -> None:
    weights = {
        "ecommerce": {"click": 1, "purchase": 10},
        "news": {"click": 1, "dwell": 0.5},
        "livestream": {"watch": 0.1, "like": 1, "gift": 2},
    }
    for env_id in recgym.ENV_IDS:
        env = vector(env_id, 64)
        name = next(n for n in weights if n in env_id.lower())
        row = np.array([weights[name].get(objective, 0.0) for objective in env.world.objectives])
        for _, reward, _, _, info in run(env, 40)[1:]:
            assert reward == pytest.approx(info["objectives"].astype(float) @ row, abs=1e-6)


# --- resets and autoreset


def test_reset_without_a_seed_goes_on_to_the_next_episode() -> None:
    env = single("recgym/News-v0")
    first, _ = env.reset(seed=4)
    second, _ = env.reset()
    third, _ = env.reset()
    assert not same(first, second)
    assert not same(second, third)
    again, _ = env.reset(seed=4)
    assert same(first, again)
    assert same(second, env.reset()[0])
    assert same(third, env.reset()[0])


def test_terminated_is_leaving_and_truncated_the_horizon() -> None:
    env = vector(num_envs=256, horizon=12)
    ends = {"left": 0, "horizon": 0}
    t = np.zeros(256, int)
    over = np.zeros(256, bool)
    for _, _, terminated, truncated, _ in run(env, 60)[1:]:
        t = np.where(over, 0, t + 1)
        assert not (terminated & truncated).any()
        assert (t[truncated] == 12).all()
        assert (t[terminated] <= 12).all()
        over = terminated | truncated
        assert over[t == 12].all()
        ends["left"] += int(terminated.sum())
        ends["horizon"] += int(truncated.sum())
    assert min(ends.values()) > 20


def test_nobody_leaves_before_the_horizon_with_never(world_of: WorldOf) -> None:
    env = vector(num_envs=32, departure=Never(), horizon=9)
    out = run(env, 9)
    assert not any(step[2].any() for step in out[1:])
    assert [bool(step[3].all()) for step in out[1:]] == [False] * 8 + [True]


def test_next_step_resets_on_the_step_after_and_ignores_its_action() -> None:
    a, b = (vector("recgym/News-v0", 64, horizon=5) for _ in range(2))
    run(a, 5), run(b, 5)
    zero = np.zeros(64, int)
    x, y = a.step(zero), b.step(zero + 7)
    done = a.get_state().users.t == 0
    assert done.sum() > 20
    assert np.array_equal(x[0][done], y[0][done])
    assert not x[1][done].any()
    assert not x[2][done].any()
    assert not x[3][done].any()
    assert not x[4]["objectives"][done].any()
    assert (x[4]["slate"][done] == -1).all()
    assert a.get_state().users.episode[done].min() >= 1


def test_same_step_returns_the_new_episode_and_keeps_the_last_observation() -> None:
    same_step, disabled = (vector("recgym/News-v0", 64, horizon=5, autoreset_mode=m) for m in ("SameStep", "Disabled"))
    finished = np.zeros(64, bool)
    for a, b in zip(run(same_step, 5)[1:], run(disabled, 5)[1:], strict=True):
        done = a[2] | a[3]
        assert np.array_equal(done, a[4].get("_final_obs", np.zeros(64, bool)))
        assert np.array_equal(done, a[4].get("_final_info", np.zeros(64, bool)))
        for row in range(64):
            if done[row] and not finished[row]:  # its first episode, which the other env has played too
                assert np.array_equal(a[4]["final_obs"][row], b[0][row])
                assert not np.array_equal(a[0][row], b[0][row])
                assert np.array_equal(a[4]["final_info"]["action_mask"][row], b[4]["action_mask"][row])
            elif done.any() and not done[row]:
                assert a[4]["final_obs"][row] is None
        finished |= done
    assert finished.all()


def test_disabled_freezes_who_is_done_until_a_masked_reset() -> None:
    env = vector("recgym/Ecommerce-v0", 128, horizon=4, autoreset_mode="Disabled")
    run(env, 4)
    state = env.get_state()
    observation, reward, terminated, truncated, info = env.step(np.ones(128, int))
    assert (terminated | truncated).all()
    assert not reward.any()
    assert (info["slate"] == -1).all()
    assert not info["click"].any()
    for name in state.users:
        assert np.array_equal(state.users[name], env.get_state().users[name])
    mask = np.arange(128) % 3 == 0
    after, info = env.reset(options={"reset_mask": mask})
    users = env.get_state().users
    assert (users.episode == mask).all()
    assert np.array_equal(after[~mask], observation[~mask])
    assert (after[mask] != observation[mask]).any(axis=1).all()
    _, reward, terminated, truncated, _ = env.step(np.ones(128, int))
    assert not (terminated | truncated)[mask].all()
    assert (terminated | truncated)[~mask].all()
    assert env.get_state().users.t.tolist() == [1 if m else int(t) for m, t in zip(mask, state.users.t, strict=True)]


def test_masked_reset_with_seeds() -> None:
    env = vector(num_envs=4, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=0)
    mask = np.array([False, True, False, True])
    env.reset(seed=[90, 91, 92, 93], options={"reset_mask": mask})
    assert np.array_equal(env.get_state().users.key, mix([0, 91, 2, 93]))


def test_one_mode_is_named_in_the_metadata() -> None:
    for mode in AutoresetMode:
        assert vector(autoreset_mode=mode).metadata["autoreset_mode"] is mode
        assert vector(autoreset_mode=mode.value).metadata["autoreset_mode"] is mode
    assert RecVectorEnv.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP


def test_the_terminal_observation_is_of_the_user_that_ended() -> None:
    env = single("recgym/News-v0", horizon=3, embeddings=True)
    env.reset(seed=1)
    for _ in range(3):
        before = env.get_state().users
        observation, _, terminated, truncated, _ = env.step(0)
        if terminated or truncated:
            break
    d = env.world.sizes.dimensions
    assert np.array_equal(observation[:d], before.profile[0])
    assert observation[d + 1] == pytest.approx((before.t[0] + 1) / 3)


# --- snapshots


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_snapshots_branch_and_replay(env_id: str) -> None:
    env = vector(env_id, 48)
    run(env, 6)
    state = env.get_state()
    assert isinstance(state, EnvState)
    action = env.action_space.sample()

    def future() -> list[tuple[Any, ...]]:
        return [env.step(action) for _ in range(12)]

    first = future()
    env.set_state(state)
    for a, b in zip(first, future(), strict=True):
        for x, y in zip(a, b, strict=True):
            assert same(x, y)
    env.set_state(state._replace(users=state.users.replace(key=mix(range(500, 548)))))
    other = future()
    assert sum(float(a[1].sum()) for a in first) != sum(float(a[1].sum()) for a in other)
    assert not same(first[-1][0], other[-1][0])


def test_same_key_is_common_random_numbers_between_actions() -> None:
    """From one snapshot, two agents that act alike on a row get the same row, whatever they do on others."""
    env = vector("recgym/NewsSlate-v0", 32)
    run(env, 4)
    state = env.get_state()
    a = env.action_space.sample()
    b = a.copy()
    b[16:] = (b[16:] + 3) % 20
    first = env.step(a)
    env.set_state(state)
    second = env.step(b)
    assert np.array_equal(first[0][:16], second[0][:16])
    assert np.array_equal(first[1][:16], second[1][:16])
    assert not np.array_equal(first[0][16:], second[0][16:])


def test_snapshots_travel_between_envs_of_one_world() -> None:
    a, b = vector("recgym/LiveStream-v0", 16), vector("recgym/LiveStream-v0", 16, observation="dict")
    run(a, 8)
    b.reset(seed=99)
    b.set_state(a.get_state())
    action = np.arange(16) % 21
    assert np.array_equal(a.step(action)[1], b.step(action)[1])


def test_snapshots_hold_who_is_done() -> None:
    env = vector("recgym/News-v0", 64, horizon=3, autoreset_mode="Disabled")
    run(env, 3)
    state = env.get_state()
    env.reset(seed=5)
    env.set_state(state)
    _, reward, terminated, truncated, _ = env.step(np.zeros(64, int))
    assert (terminated | truncated).all()
    assert not reward.any()


def test_single_env_snapshots() -> None:
    env = single("recgym/Ecommerce-v0")
    env.reset(seed=3)
    env.step(1)
    state = env.get_state()
    first = [env.step(k)[1] for k in (2, 3, 4)]
    env.set_state(state)
    assert first == [env.step(k)[1] for k in (2, 3, 4)]


def test_a_bad_action_changes_nothing() -> None:
    env = vector("recgym/News-v0", 4)
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(SlateError):
        env.step(np.array([0, 1, 2, 99]))
    for name in state.users:
        assert np.array_equal(state.users[name], env.get_state().users[name])


# --- options that are accepted do something


def total(env: RecVectorEnv, steps: int = 30, seed: int = 0) -> Array:
    return np.sum([step[1] for step in run(env, steps, seed)[1:]], axis=0)


def test_reward_weights() -> None:
    one, ten = vector(num_envs=128, reward={"click": 1.0}), vector(num_envs=128, reward={"click": 10.0})
    assert total(ten) == pytest.approx(10 * total(one))
    assert total(one).sum() > 0
    mixed = vector(num_envs=128, reward={"click": -1.0, "revenue": 0.1})
    for _, reward, _, _, info in run(mixed, 20)[1:]:
        names = mixed.world.objectives
        o = info["objectives"].astype(float)
        assert reward == pytest.approx(
            -o[:, names.index("click")] + 0.1 * o[:, names.index("revenue")], rel=1e-6, abs=1e-9
        )


def test_reward_as_a_part_and_as_json() -> None:
    want = total(vector(num_envs=64, reward={"click": 2.0}))
    assert np.array_equal(want, total(vector(num_envs=64, reward=Weighted({"click": 2.0}))))
    assert np.array_equal(want, total(vector(num_envs=64, reward={"kind": "Weighted", "objectives": {"click": 2.0}})))


def test_vector_reward_is_all_objectives() -> None:
    scalar, vec = vector("recgym/News-v0", 32), vector("recgym/News-v0", 32, reward="vector")
    M = len(vec.world.objectives)
    assert vec.reward_space == spaces.Box(-np.inf, np.inf, (M,), np.float32)
    for a, b in zip(run(scalar, 30)[1:], run(vec, 30)[1:], strict=True):
        assert b[1].shape == (32, M)
        assert b[1].dtype == np.float32
        assert np.array_equal(b[1], a[4]["objectives"])
        assert np.array_equal(a[0], b[0])
    one = single("recgym/News-v0", reward="vector")
    one.reset(seed=0)
    assert one.step(0)[1].shape == (M,)
    assert one.reward_space == vec.reward_space


def test_vector_reward_with_expected_objectives() -> None:
    env = vector("recgym/Ecommerce-v0", 64, reward="vector", expected_reward=True)
    steps = run(env, 10)[1:]
    for _, reward, _, _, info in steps:
        shown = (info["slate"] >= 0).any(axis=1)
        assert reward[shown, 0] == pytest.approx(info["probability"][shown].sum(axis=1), rel=1e-5)


@pytest.mark.parametrize("slate_size", [1, 4])
def test_like_dislike_pays_plus_one_and_minus_one_an_item(slate_size: int) -> None:
    env = vector(num_envs=128, slate_size=slate_size, like_dislike=True, null_action=True)
    values: set[float] = set()
    for _, reward, _, _, info in run(env, 40)[1:]:
        shown, clicks = (info["slate"] >= 0).sum(axis=1), info["click"].sum(axis=1)
        assert (reward == 2 * clicks - shown).all()
        values |= set(reward.tolist())
    assert {-1.0, 0.0}.issubset(values)
    assert max(values) > 0 or slate_size > 1
    assert isinstance(env.reward, LikeDislike)


@pytest.mark.parametrize("env_id", recgym.ENV_IDS)
def test_expected_reward_has_the_mean_of_the_realised_and_less_variance(env_id: str) -> None:
    n, steps = 2000, 12
    realised, expected = vector(env_id, n), vector(env_id, n, expected_reward=True)
    a, b = run(realised, steps)[1:], run(expected, steps)[1:]
    assert all(np.array_equal(x[0], y[0]) for x, y in zip(a, b, strict=True))  # the same users, the same story
    assert all(np.array_equal(x[4]["objectives"], y[4]["objectives"]) for x, y in zip(a, b, strict=True))
    x, y = np.concatenate([s[1] for s in a]), np.concatenate([s[1] for s in b])
    error = np.std(x - y) / np.sqrt(len(x))
    assert abs(x.mean() - y.mean()) < 4 * error
    assert y.std() < 0.8 * x.std()


def test_null_action_recommends_nothing(world_of: WorldOf) -> None:
    env = vector("recgym/Ecommerce-v0", 64, null_action=True, reward={"click": 1.0})
    assert env.single_action_space == spaces.Discrete(21)
    env.reset(seed=0)
    _, reward, _, _, info = env.step(np.zeros(64, int))
    assert (info["slate"] == -1).all()
    assert not reward.any()
    assert info["action_mask"][:, 0].all()
    plain = vector("recgym/Ecommerce-v0", 64)
    plain.reset(seed=0)
    env.reset(seed=0)
    actions = np.arange(64) % 20
    assert np.array_equal(plain.step(actions)[4]["slate"], env.step(actions + 1)[4]["slate"])
    live = vector("recgym/LiveStream-v0", 4, null_action=False)
    assert live.single_action_space == spaces.Discrete(20)


def test_a_slate_of_nothing_but_null() -> None:
    env = vector("recgym/LiveStreamSlate-v0", 32)
    for _, _, _, _, info in run(env, 20, action=np.zeros((32, 5), int))[1:]:
        assert (info["slate"] == -1).all()


def test_embedding_actions_show_what_is_asked_for(world_of: WorldOf) -> None:
    env = vector("recgym/EcommerceSlate-v0", 200, action="embedding")
    env.reset(seed=0)
    x = env.world.catalog.embedding
    towards = np.tile(x[7], (200, 1)).clip(-1, 1)
    candidates = env.get_state().users.candidates
    slate = env.step(towards)[4]["slate"]
    assert (x[slate] @ x[7]).mean() > (x[candidates] @ x[7]).mean() + 0.1
    assert (np.diff(x[slate] @ x[7], axis=1) <= 1e-6).all()


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_cold_start(share: float) -> None:
    env = vector("recgym/News-v0", 2000, cold_start=share, embeddings=True)
    observation, _ = env.reset(seed=0)
    d = env.world.sizes.dimensions
    cold = (observation[:, :d] == 0).all(axis=1)
    assert cold.mean() == pytest.approx(share, abs=0.06)
    assert np.array_equal(cold, observation[:, d] == 0)


@pytest.mark.parametrize("k", [1, 5, 64])
def test_candidates_k(k: int) -> None:
    env = vector("recgym/News-v0", 16, candidates=k)
    assert env.single_action_space == spaces.Discrete(k)
    env.reset(seed=0)
    assert env.get_state().users.candidates.shape == (16, k)


def test_candidates_all_actions_are_item_ids() -> None:
    env = vector("recgym/Ecommerce-v0", 8, candidates="all", items=50)
    assert env.single_action_space == spaces.Discrete(50)
    _, info = env.reset(seed=0)
    mask = info["action_mask"] > 0
    assert mask.any(axis=1).all()
    assert not mask.all()  # some are out of stock
    items = np.array([np.flatnonzero(row)[3] for row in mask])
    assert env.step(items)[4]["slate"][:, 0].tolist() == items.tolist()
    env.reset(seed=0)
    gone = np.array([np.flatnonzero(~row)[0] if not row.all() else 0 for row in mask])
    slate = env.step(gone)[4]["slate"][:, 0]
    assert all(s == -1 for s, row in zip(slate, mask, strict=True) if not row.all())


def test_latent_observation_is_the_flat_one_and_more() -> None:
    flat, latent = vector("recgym/LiveStream-v0", 8), vector("recgym/LiveStream-v0", 8, observation="latent")
    for a, b in zip(run(flat, 15), run(latent, 15), strict=True):
        assert np.array_equal(a[0], b[0][:, : a[0].shape[1]])
    block = latent.observation_layout["latent"]
    d = latent.world.sizes.dimensions
    latent.reset(seed=0)
    observation = latent.step(np.zeros(8, int))[0]
    assert np.array_equal(observation[:, block.slice][:, :d], latent.get_state().users.interest)


def test_slate_size_by_keyword() -> None:
    env = vector("recgym/Ecommerce-v0", 4, slate_size=3)
    assert env.single_action_space == spaces.MultiDiscrete([20] * 3)
    assert vector("recgym/Ecommerce-v0", 4, slate_size=1, action="slate").single_action_space == spaces.MultiDiscrete(
        [20]
    )


def test_action_masks_follow_sb3_contrib() -> None:
    env = vector("recgym/NewsSlate-v0", 4)
    _, info = env.reset(seed=0)
    assert env.action_masks().shape == (4, 5 * 20)
    assert np.array_equal(env.action_masks().reshape(4, 5, 20), np.repeat(info["action_mask"][:, None], 5, axis=1))
    one = single("recgym/LiveStream-v0")
    one.reset(seed=0)
    assert one.action_masks().shape == (21,)


def test_masked_choices_show_nothing() -> None:
    env = vector("recgym/LiveStream-v0", 16, candidates=400)
    _, info = env.reset(seed=0)
    mask = info["action_mask"] > 0
    short = ~mask.all(axis=1)
    assert short.any()  # at some hours fewer than 400 are on air
    action = np.array([np.flatnonzero(~row)[0] if not row.all() else 0 for row in mask])
    assert (env.step(action)[4]["slate"][short] == -1).all()


def test_threads_do_not_change_the_results_and_close(world_of: WorldOf) -> None:
    a, b = (vector("recgym/News-v0", 3000, threads=n) for n in (1, 2))
    for x, y in zip(run(a, 5), run(b, 5), strict=True):
        assert same(x[0], y[0])
    a.close()
    b.close()


def test_a_world_in_hand(world_of: WorldOf) -> None:
    world = world_of("news", 3)
    env = RecVectorEnv(world, 4)
    assert env.world is world
    assert env.single_action_space == spaces.MultiDiscrete([20] * 3)
    made = gym.make("recgym/News-v0", world=world, slate_size=2)
    assert made.unwrapped.world.slate_size == 2  # type: ignore[attr-defined]


def test_a_world_from_a_folder(world_of: WorldOf, tmp_path: Any) -> None:
    world_of("livestream").save(tmp_path)
    env = vector("recgym/LiveStream-v0", 8, world=str(tmp_path), null_action=True)
    reference = vector("recgym/LiveStream-v0", 8)
    for a, b in zip(run(env, 20), run(reference, 20), strict=True):
        assert same(a[0], b[0])


@pytest.mark.parametrize("call", ["step", "action_masks", "get_state"])
def test_before_the_first_reset(call: str) -> None:
    for env in (vector(num_envs=2), single()):
        function = getattr(env, call)
        with pytest.raises(ConfigError, match="reset"):
            function(0 if isinstance(env, RecEnv) else np.zeros(2, int)) if call == "step" else function()


def test_after_the_end() -> None:
    env = single(horizon=1)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(ConfigError, match="the episode has ended, reset first"):
        env.step(0)
    env.reset()
    env.step(0)


# --- infos and seeds


def synchronous(num_envs: int, mode: AutoresetMode, **options: Any) -> Any:
    """The same single environments, vectorised by Gymnasium."""
    make = dict(vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    return gym.make_vec("recgym/NewsSlate-v0", num_envs=num_envs, **make, **options)


def kinds(info: dict[str, Any]) -> dict[str, Any]:
    """What an info holds: dtype and shape by key."""
    return {name: kinds(x) if isinstance(x, dict) else (x.dtype, x.shape) for name, x in info.items()}


GYMNASIUM_1_0 = pytest.mark.skipif(
    not hasattr(gym.vector, "AutoresetMode"),
    reason="its own vector envs know no modes, and its wrappers fail by themselves",
)


@GYMNASIUM_1_0
@pytest.mark.parametrize("mode", [*AutoresetMode])
@pytest.mark.parametrize("options", [{}, {"candidates": "all", "items": 30, "observation": "dict"}], ids=str)
def test_infos_are_those_of_gymnasium(mode: AutoresetMode, options: dict[str, Any]) -> None:
    """Keys, masks, dtypes and shapes; and the numbers of every row that goes on."""
    ours, theirs = vector("recgym/NewsSlate-v0", 4, autoreset_mode=mode, horizon=5, **options), synchronous(4, mode, horizon=5, **options)  # fmt: skip
    a, b = ours.reset(seed=0)[1], theirs.reset(seed=0)[1]
    assert "_slate" in a
    ours.action_space.seed(0)
    done, ends = np.zeros(4, bool), 0
    for _ in range(13):
        assert kinds(a) == kinds(b)
        going_on = ~done if mode is AutoresetMode.SAME_STEP else slice(None)
        for name, array in a.items():
            if name == "final_info":
                for key in array:
                    assert np.array_equal(array[key][done], b[name][key][done]), key
            elif name != "final_obs":
                assert np.array_equal(array[going_on], b[name][going_on]), name
        if mode is AutoresetMode.DISABLED and done.any():
            a, b = ours.reset(options={"reset_mask": done})[1], theirs.reset(options={"reset_mask": done})[1]
            done = np.zeros(4, bool)
            assert kinds(a) == kinds(b)
            for name in ("_slate", "_click"):
                assert np.array_equal(a[name], b[name])
            continue
        action = ours.action_space.sample()
        (*_, terminated, truncated, a), b = ours.step(action), theirs.step(action)[-1]
        done = terminated | truncated
        ends += done.sum()
    assert ends
    theirs.close()


@pytest.mark.parametrize(
    ("env_id", "fused"), [*[(env_id, False) for env_id in recgym.ENV_IDS], ("recgym/NewsSlate-v0", True)]
)
def test_reset_has_the_keys_of_step(env_id: str, fused: bool) -> None:
    env = single(env_id)
    _, neutral = env.reset(seed=0)
    assert not fused or env.fuse()
    *_, info = env.step(env.action_space.sample())
    assert list(neutral) == list(info)
    assert kinds(neutral) == kinds(info)
    assert not any(neutral[name].any() for name in ("objectives", "click", "probability"))
    assert (neutral["slate"] == -1).all()
    assert dict(zip(env.objectives, info["objectives"], strict=True)).keys() == {*env.world.objectives}


def test_presence_masks_are_one_array_that_nobody_can_write_to() -> None:
    env = vector(num_envs=3)
    infos = [env.reset(seed=0)[1], env.step([0, 1, 2])[-1]]
    for info in infos:
        for name in ("objectives", "slate", "click", "probability", "action_mask"):
            assert info[f"_{name}"].all()
            with pytest.raises(ValueError, match="read-only"):
                info[f"_{name}"][0] = False


def test_the_first_reset_is_of_all_rows_whatever_the_mask() -> None:
    env = vector(num_envs=3)
    _, info = env.reset(seed=0, options={"reset_mask": np.array([True, False, False])})
    assert info["_slate"].all()
    _, info = env.reset(options={"reset_mask": np.array([True, False, False])})
    assert info["_slate"].tolist() == [True, False, False]
    assert info["_action_mask"].all()
    assert info["action_mask"].any(axis=1).all()


@GYMNASIUM_1_0
@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_infos_become_lists(mode: str) -> None:
    from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics

    env = DictInfoToList(RecordEpisodeStatistics(vector("recgym/NewsSlate-v0", 4, autoreset_mode=mode, horizon=3)))
    assert [len(info["slate"]) for info in env.reset(seed=0)[1]] == [5] * 4
    env.action_space.seed(0)
    infos = [env.step(env.action_space.sample())[-1] for _ in range(8)]
    assert all(
        {"objectives", "slate", "click", "probability", "action_mask"} <= set(one) for info in infos for one in info
    )
    assert any("episode" in one for info in infos for one in info)


SEEDS = [7, np.int8(7), np.uint8(7), np.int64(7), np.uint64(7), np.array(7), np.array(7, np.uint8), range(7, 10), (7, 8, 9),
         [np.int8(7), np.uint64(8), 9], np.array([7, 8, 9]), np.array([7, 8, 9], np.uint8)]  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS, ids=repr)
def test_seeds_of_any_integer_type_are_the_same(seed: Any) -> None:
    env = vector(num_envs=3)
    env.reset(seed=seed)
    assert env.get_state().users.key.tolist() == mix([7, 8, 9]).tolist()
    if np.ndim(seed) == 0:
        one = single()
        one.reset(seed=seed)
        assert one.get_state().users.key.tolist() == mix(7).tolist()


@pytest.mark.parametrize("seed", [np.uint32(2**32 - 2), np.int8(126), np.uint8(254), np.int64(2**63 - 2), 2**64 - 3])
def test_seeds_of_rows_do_not_wrap(seed: Any) -> None:
    env = vector(num_envs=3)
    env.reset(seed=seed)
    assert env.get_state().users.key.tolist() == mix([int(seed) + i for i in range(3)]).tolist()


@pytest.mark.parametrize(
    "seed",
    [-1, np.int8(-1), 2**64 - 2, np.uint64(2**64 - 1), 2**64, 10**400, np.True_, 1.0, np.float64(1), "1", b"123", [1, 2],
     [1, 2, 3, 4], [1, 2, 3.0], [1, 2, None], [1, 2, True], [1, 2, 2**64], [[1], [2], [3]], np.ones(3), np.ones(3, bool), np.array(1.0),
     np.ones((3, 1), int), {1, 2, 3}, {}, object()],
    ids=lambda seed: type(seed).__name__,
)  # fmt: skip
def test_what_is_no_seed_is_refused_and_changes_nothing(seed: Any) -> None:
    envs: list[Any] = [vector(num_envs=3)]
    if not isinstance(seed, (int, np.uint64)) or not 0 <= int(seed) < 2**64:  # too large for three only
        envs.append(single())
    for env in envs:
        env.reset(seed=0)
        before = env.get_state().users
        with pytest.raises(ConfigError, match=r"^seed: "):
            env.reset(seed=seed)
        assert env.get_state().users is before


def test_counts_may_be_of_numpy_and_are_written_as_json() -> None:
    env = gym.make_vec("recgym/NewsSlate-v0", num_envs=np.int64(3), threads=np.int8(1), slate_size=np.uint8(2))
    assert type(env.num_envs) is int
    one = gym.make(
        "recgym/NewsSlate-v0", slate_size=np.int64(2), cold_start=np.float32(0.5), reward={"click": np.float16(2)}
    )
    for spec in (env.spec, one.spec):
        assert spec is not None
        assert '"slate_size": 2' in spec.to_json()
    assert gym.make(one.spec).action_space == one.action_space


# --- what nobody should hand over


HOSTILE: dict[str, Any] = {
    "None": None, "text": "0", "bytes": b"0", "bool": True, "complex": 1j, "float": 1.0, "NaN": float("nan"), "empty": [], "dict": {}, "set": {0},
    "object": object(), "ragged": [[1], [2, 3]], "huge": 10**30, "huge list": [2**70] * 5, "negative": [-1] * 5, "generator": iter([0] * 5),
    "floats": np.ones(5), "bools": np.ones(5, bool), "texts": np.array(["0"] * 5), "objects": np.array([0] * 5, object),
    "times": np.zeros(5, "M8[s]"), "records": np.zeros(5, "i4,i4"), "top": np.full(5, 2**64 - 1, np.uint64), "beyond": np.full(5, 2**63, np.uint64),
    "too deep": np.zeros((1, 5), int), "too long": np.zeros(6, int), "none": np.zeros((0, 5), int), "one": np.array(0), "20": [20, 0, 0, 0, 0],
}  # fmt: skip


class Failing:
    """Its conversion fails in its own way."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __array__(self, *_: Any, **__: Any) -> Any:
        raise self.error("no array")


HOSTILE |= {
    error.__name__: Failing(error) for error in (TypeError, RuntimeError, MemoryError, RecursionError, KeyError)
}


@pytest.fixture(scope="module")
def four() -> list[tuple[Any, Callable[[Any], Any]]]:
    """A single and a vector env, plain and compiled, and what makes an action of all users of one of a user."""
    envs: list[tuple[Any, Callable[[Any], Any]]] = []
    for fuse in (False, True):
        one, many = single("recgym/NewsSlate-v0"), vector("recgym/NewsSlate-v0", 3, threads=2)
        for env in (one, many):
            env.reset(seed=0)
            assert not fuse or env.fuse()
        envs += [(one, lambda action: action), (many, lambda action: [action] * 3)]
    return envs


@pytest.mark.parametrize("action", HOSTILE.values(), ids=HOSTILE)
def test_hostile_actions_are_refused_and_change_nothing(action: Any, four: Any) -> None:
    for env, batch in four:
        before = env.get_state().users
        held = {name: before[name].tobytes() for name in before}
        for given in {id(x): x for x in (action, batch(action))}.values():
            with pytest.raises(SlateError, match=r"^action: must ") as caught:
                env.step(given)
            assert len(str(caught.value)) < 500
        after = env.get_state().users
        assert {name: after[name].tobytes() for name in after} == held


@pytest.mark.parametrize("form", ["slate", "embedding"])
def test_actions_of_any_layout_are_the_same(form: str) -> None:
    """Read-only, from a buffer, unaligned, of another byte order, of Fortran's order, strided, of a subclass, as a list."""
    dtype = np.int64 if form == "slate" else np.float32
    envs = [vector("recgym/NewsSlate-v0", 3, action=form) for _ in range(2)]
    envs[0].action_space.seed(0)
    action = envs[0].action_space.sample()
    fixed = action.copy()
    fixed.flags.writeable = False
    raw = np.frombuffer(b"x" + action.tobytes(), np.uint8)[1:].view(dtype).reshape(action.shape)
    alike = [action, fixed, np.frombuffer(action.tobytes(), dtype).reshape(action.shape), raw, action.astype(action.dtype.newbyteorder()),
             np.asfortranarray(action), np.repeat(action, 2, axis=1)[:, ::2], action.view(np.matrix) if action.ndim == 2 else action,
             action.tolist(), [tuple(row) for row in action]]  # fmt: skip
    alike += [action.astype(np.uint8), action.astype(np.int16), action.astype(np.uint64)] if form == "slate" else []
    envs[1].reset(seed=0)
    assert envs[1].fuse()
    slates = []
    for env in envs:
        for given in alike:
            env.reset(seed=0)
            slates.append(env.step(given)[-1]["slate"].tolist())
    assert all(slate == slates[0] for slate in slates)


def tamper(state: EnvState, column: str, value: Any) -> EnvState:
    array = state.users[column].copy()
    array.flat[0] = value
    return state._replace(users=state.users.replace(**{column: array}))


def relength(state: EnvState) -> EnvState:
    return state._replace(users=state.users.rows(np.arange(2)))


def column(name: str, change: Callable[[Array], Any]) -> Callable[[EnvState], EnvState]:
    return lambda state: state._replace(users=state.users.replace(**{name: change(state.users[name])}))


TAMPERED: dict[str, Callable[[EnvState], Any]] = {
    "nothing": lambda state: None,
    "a tuple": lambda state: tuple(state),
    "a dict": lambda state: state._replace(users=dict(state.users.__dict__)),
    "rows": relength,
    "id too large": lambda state: tamper(state, "candidates", 12_000),
    "id far too large": lambda state: tamper(state, "history", 2**31 - 1),
    "id too small": lambda state: tamper(state, "history", -2),
    "time": lambda state: tamper(state, "t", 101),
    "negative time": lambda state: tamper(state, "t", -1),
    "NaN": lambda state: tamper(state, "interest", np.nan),
    "infinite clock": lambda state: tamper(state, "clock", np.inf),
    "mood": lambda state: tamper(state, "satisfaction", 7.0),
    "dtype": column("history", lambda array: array.astype(np.int64)),
    "wide": column("history", lambda array: np.tile(array, 2)),
    "narrow": column("interest", lambda array: array[:, :3]),
    "flat": column("candidates", lambda array: array[:, 0]),
    "long": column("clock", lambda array: np.tile(array, 2)),
    "list": column("clock", lambda array: array.tolist()),
    "objects": column("clock", lambda array: array.astype(object)),
    "one more": lambda state: state._replace(users=state.users.replace(mine=np.zeros(3))),
    "one less": lambda state: state._replace(users=type(state.users).of({k: v for k, v in state.users.__dict__.items() if k != "last"})),
    "no users": lambda state: state._replace(users=None),
    "empty users": lambda state: state._replace(users=type(state.users).of({})),
    "done is a list": lambda state: state._replace(terminated=[False] * 3),
    "done is long": lambda state: state._replace(truncated=np.zeros(4, bool)),
    "done is a number": lambda state: state._replace(truncated=np.zeros(3, int)),
    "done twice": lambda state: state._replace(truncated=np.ones(3, bool), terminated=np.ones(3, bool)),
}  # fmt: skip


@pytest.fixture(scope="module")
def tampered_env() -> RecVectorEnv:
    env = vector("recgym/NewsSlate-v0", 3)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_tampered_snapshots_are_refused_and_change_nothing(change: Any, tampered_env: RecVectorEnv) -> None:
    state = tampered_env.get_state()
    with pytest.raises(ConfigError, match=r"^state"):
        tampered_env.set_state(change(state))
    assert tampered_env.get_state().users is state.users


def test_the_finished_cannot_go_on_where_none_are() -> None:
    done, same = (vector("recgym/News-v0", 2, horizon=1, autoreset_mode=mode) for mode in ("Disabled", "SameStep"))
    for env in (done, same):
        env.reset(seed=0)
        env.step([0, 0])
    with pytest.raises(ConfigError, match="SameStep"):
        same.set_state(done.get_state())
    done.set_state(same.get_state())


def test_items_of_a_whole_catalogue_keep_their_order() -> None:
    env = vector("recgym/RecoGym-v1", 2)
    env.reset(seed=0)
    state = env.get_state()
    with pytest.raises(ConfigError, match=r"state.users.candidates: must be all items in their order"):
        env.set_state(column("candidates", lambda array: array[:, ::-1].copy())(state))


@pytest.mark.parametrize("fused", [False, True])
def test_snapshots_of_any_layout_go_on_alike(fused: bool) -> None:
    env = vector("recgym/NewsSlate-v0", 3)
    env.reset(seed=0)
    assert not fused or env.fuse()
    env.action_space.seed(0)
    action = env.action_space.sample()
    env.step(action)
    state = env.get_state()

    def fixed(array: Array) -> Array:
        array = np.asfortranarray(array.copy())
        array.flags.writeable = False
        return array

    other = state._replace(users=type(state.users).of({name: fixed(state.users[name]) for name in state.users}))
    futures = []
    for one in (state, other):
        env.set_state(one)
        futures.append(env.step(action)[0].tobytes())
    assert futures[0] == futures[1]
