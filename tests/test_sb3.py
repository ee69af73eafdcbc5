"""The bridge to Stable-Baselines3, the candidate network, and DQN on a world whose best policy is known."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from test_bandits import CLICK, HORIZON, STOCK, mean_return, tiny_world

from baselines.agent import Task, make_agent
from baselines.sb3 import DQN, CandidateHead, CandidatePolicy, SB3VecEnv, head_of
from recgym import ConfigError
from recgym.models.departure import Departure

sb3 = pytest.importorskip("stable_baselines3")
LIVE = Task("recgym/LiveStream-v0")
SHOP = Task("recgym/Ecommerce-v0")


@dataclass(frozen=True, eq=False)
class Trap(Departure):
    """Whoever is shown item 0, the most clickable one, leaves."""

    def __call__(self, users, feedback, noise):
        return {"left": feedback.slate[:, 0] == 0}


@pytest.fixture(autouse=True)
def one_thread():
    """Networks this small gain nothing from two threads, and lose much on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trap_task(**options: object) -> Task:
    return Task("recgym/Ecommerce-v0", {"world": tiny_world(Trap()), **options})


def vec_env(task: Task = SHOP, n: int = 8, **options: object) -> SB3VecEnv:
    return SB3VecEnv(task.make(n, AutoresetMode.SAME_STEP, **options))


def observe(task: Task, n: int = 16, seed: int = 7):
    env = task.make(n)
    observation, info = env.reset(seed=seed)
    return env, observation, info["action_mask"]


@pytest.fixture(scope="module")
def trained() -> DQN:
    agent = DQN(
        learning_starts=640,
        target_update_interval=320,
        buffer_size=10_000,
        batch_size=64,
        learning_rate=3e-3,
        gamma=0.9,
    )
    agent.fit(trap_task(), 8000, seed=1)
    return agent


def test_plans_around_the_trap(trained: DQN) -> None:
    """The best is item 1 until the last step, then item 0; the myopic choice ends the episode at once."""
    best = (HORIZON - 1) * CLICK[1] + CLICK[0]
    stay = 1 - 1 / STOCK  # a random walk over the stock (and item 9, which shows nothing) meets the trap
    random_return = mean_return(make_agent("random"), trap_task())
    np.testing.assert_allclose(random_return, CLICK[:STOCK].mean() * (1 - stay**HORIZON) / (1 - stay), rtol=0.05)
    assert mean_return(trained, trap_task()) >= 0.95 * best
    assert random_return < 0.5 * best


def test_files_bring_the_agent_back(trained: DQN, tmp_path) -> None:
    trained.save(tmp_path)
    loaded = DQN.load(tmp_path)
    assert loaded == trained
    env, observation, mask = observe(trap_task())
    for agent in (trained, loaded):
        agent.start(env)
    torch.testing.assert_close(trained.weights, loaded.weights, rtol=0, atol=0)
    np.testing.assert_array_equal(trained.act(observation, mask), loaded.act(observation, mask))
    (tmp_path / "dqn.pt").unlink()
    with pytest.raises(ConfigError, match=r"dqn\.pt"):
        DQN.load(tmp_path)


@pytest.mark.parametrize("head", DQN.heads)
def test_same_seed_same_weights_and_the_global_generators_are_left_alone(head: str) -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    weights = []
    for seed in (3, 3, 4):
        agent = DQN(head=head, envs=16, learning_starts=100, batch_size=32, buffer_size=1000)
        agent.fit(LIVE, 400, seed=seed)
        weights.append(agent.weights)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values(), strict=True))
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == before[3]


@pytest.mark.parametrize("head", DQN.heads)
def test_never_chooses_what_is_masked(head: str) -> None:
    agent = DQN(head=head)
    env, observation, _ = observe(LIVE, 64)
    agent.start(env)
    mask = np.random.default_rng(0).random((64, env.actions.n)) < 0.1
    mask[:, 0] = False
    mask[np.arange(64), 1 + np.arange(64) % 20] = True
    for explore in (False, True):
        chosen = agent.act(observation, mask, explore=explore)
        assert mask[np.arange(64), chosen].all()


def test_explores_at_the_final_rate() -> None:
    agent = DQN(exploration_final_eps=0.5)
    env, observation, mask = observe(SHOP, 2000)
    agent.start(env)
    moved = (agent.act(observation, mask) != agent.act(observation, mask, explore=True)).mean()
    assert abs(moved - 0.5 * 19 / 20) < 0.05


def head_and_observation(dueling: bool, null: bool):
    env, observation, _ = observe(SHOP, 6)
    torch.manual_seed(0)
    head = CandidateHead(**{**head_of(env, 16, dueling), "null": null})
    return env.observation_layout, head, torch.from_numpy(observation)


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("null", [True, False])
def test_permuted_candidates_have_permuted_values(dueling: bool, null: bool) -> None:
    layout, head, observation = head_and_observation(dueling, null)
    block, mask = layout["candidates"], layout["mask"].slice
    observation[1, mask.start + 3] = 0.0
    order = torch.from_numpy(np.random.default_rng(0).permutation(block.shape[0]))
    permuted = observation.clone()
    permuted[:, block.slice] = observation[:, block.slice].unflatten(1, block.shape)[:, order].flatten(1)
    permuted[:, mask] = observation[:, mask][:, order]
    q, q_permuted = head(observation), head(permuted)
    assert q.shape == (6, block.shape[0] + null)
    torch.testing.assert_close(q[:, null:][:, order], q_permuted[:, null:], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(q[:, :null], q_permuted[:, :null], rtol=1e-4, atol=1e-5)
    assert q.std(dim=1).min() > 1e-4  # the candidates differ at all


@pytest.mark.parametrize("dueling", [True, False])
@pytest.mark.parametrize("null", [True, False])
def test_empty_candidates_are_worth_least_and_change_nothing_else(dueling: bool, null: bool) -> None:
    layout, head, observation = head_and_observation(dueling, null)
    where = layout["mask"].slice
    block = layout["candidates"]
    observation[:, where.start + 4 : where.stop] = 0.0
    observation[5, where] = 0.0  # nobody is there
    observation.requires_grad_(True)
    q = head(observation)
    assert torch.isfinite(q).all()
    assert (q[:5, null + 4 :] < q[:5, : null + 4].amin(dim=1, keepdim=True)).all()
    q.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters() if p.grad is not None)
    # What an empty candidate's features are does not matter.
    junk = observation.detach().clone()
    junk[:, block.slice].unflatten(1, block.shape)[:, 4:] = 9.0
    torch.testing.assert_close(head(junk)[:5], q.detach()[:5], rtol=1e-4, atol=1e-5)


def test_the_history_is_a_mean_over_its_places() -> None:
    layout, head, observation = head_and_observation(True, False)
    block = layout["history"]
    places = torch.zeros(6, *block.shape)
    places[:, :3] = torch.randn(6, 3, block.shape[1], generator=torch.Generator().manual_seed(1))
    observation[:, block.slice] = places.flatten(1)
    q = head(observation)
    observation[:, block.slice] = places.roll(2, dims=1).flatten(1)
    torch.testing.assert_close(head(observation), q, rtol=1e-4, atol=1e-5)
    observation[:, block.slice] = 0.0
    assert (head(observation) - q).abs().max() > 1e-4


def test_terminal_observations_belong_to_the_user_that_ended() -> None:
    """Against the same users, stepped without autoreset."""
    n = 24
    venv = vec_env(LIVE, n, horizon=12)
    plain = LIVE.make(n, AutoresetMode.DISABLED, horizon=12)
    venv.seed(5)
    np.testing.assert_array_equal(venv.reset(), plain.reset(seed=5)[0])
    rng = np.random.default_rng(0)
    returns, lengths, alive = np.zeros(n), np.zeros(n, int), np.ones(n, np.bool_)
    reasons = set()
    for step in range(12):
        action = rng.integers(0, venv.action_space.n, n)
        observation, reward, done, infos = venv.step(action)
        expected, expected_reward, terminated, truncated, _ = plain.step(action)
        np.testing.assert_allclose(reward[alive], expected_reward[alive], rtol=1e-6)
        assert reward.dtype == np.float32
        assert observation.dtype == np.float32
        returns += expected_reward
        lengths += alive
        for i in np.flatnonzero(alive):
            assert done[i] == (terminated[i] or truncated[i])
            if not done[i]:
                assert infos[i] == {}
                np.testing.assert_array_equal(observation[i], expected[i])
                continue
            np.testing.assert_array_equal(infos[i]["terminal_observation"], expected[i])
            assert not np.array_equal(observation[i], expected[i])
            assert infos[i]["TimeLimit.truncated"] == truncated[i]
            assert infos[i]["episode"] == {"r": pytest.approx(returns[i]), "l": lengths[i]}
            reasons.add(bool(truncated[i]))
        alive &= ~done
        if step == 11:
            assert not alive.any()
    assert reasons == {True, False}


def test_keeps_the_vec_env_contract() -> None:
    venv = vec_env(LIVE, 4, render_mode="ansi")
    venv.seed(3)
    first = venv.reset()
    np.testing.assert_array_equal(first, LIVE.make(4).reset(seed=3)[0])
    assert not np.array_equal(venv.reset(), first)  # seeds are used once
    masks = venv.env_method("action_masks")
    np.testing.assert_array_equal(np.stack(masks), venv.env.action_masks())
    np.testing.assert_array_equal(venv.env_method("action_masks", indices=[2])[0], masks[2])
    assert len(venv.env_method("render", indices=1)) == 1
    assert venv.has_attr("action_masks")
    assert not venv.has_attr("no_such_thing")
    assert venv.render_mode == "ansi"
    assert venv.get_attr("num_envs", indices=[0, 3]) == [4, 4]
    venv.set_attr("expected_reward", True)
    assert venv.get_attr("expected_reward") == [True] * 4
    with pytest.raises(ConfigError, match="indices"):
        venv.set_attr("expected_reward", False, indices=[1])
    with pytest.raises(ConfigError, match="action_masks"):
        venv.env_method("action_mask")
    assert venv.env_is_wrapped(sb3.common.monitor.Monitor, indices=[0]) == [True]
    assert venv.env_is_wrapped(sb3.common.atari_wrappers.NoopResetEnv) == [False] * 4
    venv.set_options({"reset_mask": np.ones(4, np.bool_)})
    with pytest.raises(ConfigError, match="options"):
        venv.reset()
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED):
        with pytest.raises(ConfigError, match="autoreset_mode"):
            SB3VecEnv(SHOP.make(2, mode))
    with pytest.raises(ConfigError, match="vector"):
        vec_env(SHOP, 2, reward="vector")


def test_reward_scale_leaves_the_returns_alone() -> None:
    envs = [SB3VecEnv(LIVE.make(8, AutoresetMode.SAME_STEP, horizon=5), scale) for scale in (1.0, 0.1)]
    action = np.arange(8) % 3
    for venv in envs:
        venv.seed(0)
        venv.reset()
    returns, lengths, episodes = np.zeros(8), np.zeros(8), 0
    for _ in range(15):
        (_, reward, done, infos), (_, scaled, _, scaled_infos) = (venv.step(action) for venv in envs)
        np.testing.assert_allclose(scaled, 0.1 * reward, rtol=1e-5)
        assert [info.get("episode") for info in infos] == [info.get("episode") for info in scaled_infos]
        returns += reward
        lengths += 1
        for i in np.flatnonzero(done):
            assert infos[i]["episode"] == {"r": pytest.approx(returns[i]), "l": lengths[i]}
            returns[i] = lengths[i] = 0
            episodes += 1
    assert episodes >= 3 * 8


@pytest.mark.parametrize(("algorithm", "slate_size"), [("DQN", 1), *product(["PPO", "A2C", "MaskablePPO"], [1, 2])])
def test_algorithms_run(algorithm: str, slate_size: int) -> None:
    venv = vec_env(LIVE, 8, slate_size=slate_size)
    on_policy = dict(n_steps=16, batch_size=64, n_epochs=2)
    off_policy = dict(learning_starts=64, buffer_size=500)
    arguments = {"PPO": on_policy, "MaskablePPO": on_policy, "A2C": {}, "DQN": off_policy}[algorithm]
    owner = pytest.importorskip("sb3_contrib") if algorithm == "MaskablePPO" else sb3
    model = getattr(owner, algorithm)("MlpPolicy", venv, seed=0, device="cpu", **arguments)
    model.learn(300)
    assert len(model.ep_info_buffer) > 0
    mean, _ = sb3.common.evaluation.evaluate_policy(model, venv, n_eval_episodes=8)
    assert np.isfinite(mean)


def test_the_candidate_policy_goes_through_the_files_of_stable_baselines3(tmp_path) -> None:
    venv = vec_env(LIVE, 8)
    arguments = {"net_arch": [], "head": head_of(venv.env, 16, True)}
    model = sb3.DQN(CandidatePolicy, venv, learning_starts=64, buffer_size=500, policy_kwargs=arguments, device="cpu")
    model.learn(200)
    model.save(tmp_path / "model")
    again = sb3.DQN.load(tmp_path / "model", device="cpu")
    observation = venv.reset()
    actions = [each.predict(observation, deterministic=True)[0] for each in (model, again)]
    np.testing.assert_array_equal(*actions)


def test_reports_progress_and_can_be_scored_meanwhile() -> None:
    agent = DQN(envs=8, learning_starts=64, batch_size=16, buffer_size=500)
    seen = []

    def progress(steps: int, shown: dict[str, float]) -> None:
        seen.append((steps, shown))
        if steps == 160:
            assert np.isfinite(mean_return(agent, trap_task()))

    agent.fit(trap_task(), 320, progress=progress)
    assert [steps for steps, _ in seen] == list(range(8, 321, 8))
    assert set(seen[-1][1]) == {"reward", "loss"}
    assert 0 < seen[-1][1]["reward"] < 1
    assert np.isfinite(seen[-1][1]["loss"])


def test_more_training_goes_on_from_what_was_learned(trained: DQN) -> None:
    agent = DQN(width=trained.width, learning_starts=10_000)
    agent.weights = {name: weight.clone() for name, weight in trained.weights.items()}
    agent.fit(trap_task(), 64)
    torch.testing.assert_close(agent.weights, trained.weights)


def test_says_what_is_wrong(tmp_path) -> None:
    wrong = {"head": "mpl", "width": 0, "dueling": 1, "learning_rate": 0.0, "gamma": 1.5, "envs": 0, "buffer_size": 1,
             "batch_size": 0, "learning_starts": -1, "gradient_steps": -2, "exploration_final_eps": 2,
             "reward_scale": 0, "threads": -1, "weight_decay": -1.0, "expected_reward": "no"}  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(ConfigError, match=name):
            DQN(**{name: value})
    with pytest.raises(ConfigError, match="candidate"):
        DQN(head="mpl")
    for options, word in (
        ({"slate_size": 2}, "slate"),
        ({"action": "embedding"}, "embedding"),
        ({"reward": "vector"}, "number"),
        ({"observation": "dict"}, "dict"),
    ):
        with pytest.raises(ConfigError, match=word):
            DQN().fit(Task("recgym/News-v0", options), 64)
    agent = DQN(envs=8, learning_starts=64, buffer_size=500)
    agent.fit(SHOP, 64)
    with pytest.raises(ConfigError, match="env"):
        agent.start(Task("recgym/News-v0").make(2))
