"""The bridge to Stable-Baselines3, its policies, and each algorithm on worlds whose best policy is known."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import permutations, product
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from test_bandits import CLICK, HORIZON, STOCK, mean_return, tiny_world

from baselines import Task, agent_class, evaluate, make_agent
from baselines.encoders import ENCODERS, CandidateHead, head_of
from baselines.sb3 import (
    DQN,
    PPO,
    CandidateActor,
    CandidatePolicy,
    MaskableCandidateActor,
    QuantileCandidatePolicy,
    RecurrentCandidateActor,
    RecurrentPPO,
    SB3VecEnv,
)  # fmt: skip
from baselines.sb3_policies import Slates
from recgym import Catalog, ConfigError
from recgym.models.departure import Departure
from recgym.population import TopicMixture
from recgym.testing import check_agent

sb3 = pytest.importorskip("stable_baselines3")
sb3_contrib = pytest.importorskip("sb3_contrib")
LIVE = Task("recgym/LiveStream-v0")
SHOP = Task("recgym/Ecommerce-v0")


@dataclass(frozen=True, eq=False)
class Trap(Departure):
    """Whoever is shown item 0, the most clickable one, leaves."""

    def __call__(self, users, feedback, noise):
        return {"left": feedback.slate[:, 0] == 0}


def trap_task(**options: object) -> Task:
    return Task("recgym/Ecommerce-v0", {"world": tiny_world(Trap()), **options})


def vec_env(task: Task = SHOP, n: int = 8, **options: object) -> SB3VecEnv:
    return SB3VecEnv(task.make(n, AutoresetMode.SAME_STEP, **options))


def observe(task: Task, n: int = 16, seed: int = 7):
    env = task.make(n)
    observation, info = env.reset(seed=seed)
    return env, observation, info["action_mask"] > 0


def circle_task() -> Task:
    """The trap for vectors: the items stand on a circle, ten degrees apart from the corners of the square of actions."""
    angle = np.deg2rad(36.0 * np.arange(10))
    catalog = Catalog(np.stack([np.cos(angle), np.sin(angle)], axis=1), np.zeros(10), np.zeros((10, 0)), (), 1)
    world = tiny_world(Trap()).replace(catalog=catalog, population=TopicMixture(np.eye(2)[:1]))
    return Task("recgym/Ecommerce-v0", {"world": world, "action": "embedding"})


REPLAY: dict[str, Any] = dict(learning_starts=640, buffer_size=10_000, batch_size=64, learning_rate=3e-3, gamma=0.9)
ROLLOUT: dict[str, Any] = dict(n_steps=16, envs=32, n_epochs=4, batch_size=128, learning_rate=3e-3)
ON_POLICY, VECTOR = ("ppo", "maskable-ppo", "recurrent-ppo"), ("sac", "td3")
LEARNERS: dict[str, tuple[dict[str, Any], int]] = {  # hyper-parameters and steps for the trap
    "qrdqn": ({**REPLAY, "target_update_interval": 320}, 8000),
    "ppo": (ROLLOUT, 6000),
    "maskable-ppo": (ROLLOUT, 6000),
    "recurrent-ppo": ({**ROLLOUT, "n_epochs": 2}, 6000),
    "sac": ({**REPLAY, "width": 32}, 8000),
    "td3": ({**REPLAY, "width": 32, "learning_rate": 1e-3, "noise": 0.5}, 8000),
}
SMALL: dict[str, dict[str, Any]] = {  # enough to learn at all from some hundred steps
    **{name: dict(envs=16, n_steps=4, n_epochs=2, batch_size=32, width=8) for name in ON_POLICY},
    **{
        name: dict(envs=16, learning_starts=64, batch_size=16, buffer_size=500, width=8)
        for name in ("dqn", "qrdqn", *VECTOR)
    },
}


def form(name: str, task: Task = LIVE) -> Task:
    """The task with the actions that an agent needs, and observations that show embeddings if they name directions."""
    return Task(task.id, {**task.options, "action": "embedding", "embeddings": True}) if name in VECTOR else task


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


@pytest.mark.parametrize("name", LEARNERS)
def test_all_of_them_plan_around_the_trap(name: str) -> None:
    arguments, steps = LEARNERS[name]
    agent, task = make_agent(name, **arguments), circle_task() if name == "td3" else form(name, trap_task())
    agent.fit(task, steps, seed=1)
    stay = (HORIZON - 1) * CLICK[1] + CLICK[1]  # without the sting in the tail
    assert mean_return(agent, task) >= 0.93 * stay


@pytest.mark.parametrize("name", VECTOR)
def test_weights_of_what_is_visible_can_be_learned(name: str) -> None:
    """Of a whole slate, in a domain: a third more than by random weights, from 8,000 steps."""
    task = Task("recgym/EcommerceSlate-v0", {"action": "weights", "horizon": 20, "reward": {"click": 1.0}})
    env = task.make(500, AutoresetMode.DISABLED)
    env.reset(seed=10**6)
    env.action_space.seed(0)
    alive, chance = np.ones(500, np.bool_), 0.0
    while alive.any():
        _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        chance += float(reward.sum()) / 500
        alive &= ~(terminated | truncated)
    arguments, steps = LEARNERS[name]
    agent = make_agent(name, **arguments)
    agent.fit(task, steps, seed=1)
    assert evaluate(agent, task, 500, seed=10**6).returns.mean() >= 1.33 * chance


@pytest.mark.parametrize("head", ["candidate", "mlp"])
def test_policies_make_slates(head: str) -> None:
    """Three of nine; with the candidate head the places share one set of logits, and none is shown twice."""
    task = Task("recgym/Ecommerce-v0", {"world": tiny_world(), "slate_size": 3})
    agent = PPO(head=head, **ROLLOUT)
    agent.fit(task, 6000, seed=1)
    assert mean_return(agent, task) >= 0.93 * HORIZON * CLICK[:3].sum()
    env, observation, mask = observe(task, 64)
    agent.start(env)
    for explore in (False, True):
        slate = agent.act(observation, mask, explore=explore)
        assert slate.shape == (64, 3)
        assert (slate < STOCK).all()
        assert all(len(set(row)) == 3 for row in slate)


@pytest.mark.parametrize("name", [*SMALL, "ppo slate", "maskable-ppo slate", "recurrent-ppo slate", "ppo mlp slate"])
def test_keeps_the_contract_of_agents(name: str) -> None:
    name, *rest = name.split()
    arguments = {**SMALL[name], **({"head": "mlp"} if "mlp" in rest else {})}
    task = Task("recgym/LiveStream-v0", {"null_action": True, **({"slate_size": 3} if "slate" in rest else {})})
    check_agent(make_agent(name, **arguments), form(name, task), fit_steps=160)


@pytest.mark.parametrize("name", SMALL)
def test_acts_as_stable_baselines3_would(name: str) -> None:
    """Against `predict` of its policy, where all is there, over steps of an env in which users come and go."""
    task = form(name, SHOP)
    agent = make_agent(name, **SMALL[name])
    agent.fit(task, 128)
    env = task.make(12, AutoresetMode.SAME_STEP, horizon=3)
    observation, info = env.reset(seed=3)
    agent.start(env)
    state, begins = None, np.ones(12, np.bool_)
    for _ in range(7):
        assert info["action_mask"].all()
        action = agent.act(observation, info["action_mask"])
        expected, state = agent._net.predict(observation, state, begins, deterministic=True)  # type: ignore[attr-defined]
        np.testing.assert_allclose(action, expected, atol=1e-6)
        observation, _, terminated, truncated, info = env.step(action)
        begins = terminated | truncated


def test_the_recurrent_one_remembers_and_forgets() -> None:
    agent = RecurrentPPO(**SMALL["recurrent-ppo"])
    env, observation, _ = observe(SHOP, 8)
    agent.start(env)
    later = env.step(np.zeros(8, np.int64))[0]

    def logits(*seen: np.ndarray) -> np.ndarray:
        agent.start(env)
        with torch.no_grad():
            return [agent._logits(torch.from_numpy(each)) for each in seen][-1].numpy()

    remembered = logits(observation, later)
    assert np.abs(remembered - logits(later)).max() > 1e-6
    np.testing.assert_allclose(logits(later, observation), logits(observation), atol=1e-7)  # the first of an episode
    np.testing.assert_allclose(logits(observation[:3], later), logits(later), atol=1e-7)  # others than before


@pytest.mark.parametrize("name", ["qrdqn", *ON_POLICY])
def test_policies_treat_candidates_alike(name: str) -> None:
    agent = make_agent(name, width=8)
    env, observation, _ = observe(SHOP, 6)
    layout = env.observation_layout
    block = layout["candidates"]
    order = np.random.default_rng(0).permutation(block.shape[0])
    permuted = observation.copy()
    permuted[:, block.slice] = observation[:, block.slice].reshape(6, *block.shape)[:, order].reshape(6, -1)
    agent.start(env)

    def numbers(seen: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        net: Any = agent._net  # type: ignore[attr-defined]
        x = torch.from_numpy(seen)
        with torch.no_grad():
            if name == "qrdqn":
                return net.quantile_net(x), torch.zeros(6)
            if name != "recurrent-ppo":
                return net.action_net(x), net.value_net(x)
            x = torch.cat([torch.ones(6, net.shift), x], dim=1)  # the LSTM reads the flat observation as it stands
            return net.action_net(x), net.value_net(x)

    (a, v), (b, w) = numbers(observation), numbers(permuted)
    torch.testing.assert_close(a[..., order], b, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(v, w, rtol=1e-4, atol=1e-5)
    assert a.std(dim=-1).min() > 1e-6


@pytest.mark.parametrize("null", [False, True])
def test_slates_are_drawn_without_putting_back(null: bool) -> None:
    """Against the products written out, for all slates of two of four; one choice is masked for the second user."""
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.5], [1.0, 0.2, -0.7, 0.0]])
    mask = np.array([[True] * 8, [True, True, False, True] * 2])
    slates = Slates(4, 2, null).proba_distribution(logits)
    slates.apply_masking(mask)
    weight = np.exp(logits.numpy()) * mask[:, :4]
    every = [*permutations(range(4), 2), *([(0, 0)] if null else [])]
    expected = np.zeros((len(every), 2))
    for k, (first, second) in enumerate(every):
        for b in range(2):
            rest = weight[b].sum() - (0 if null and first == 0 else weight[b, first])
            expected[k, b] = weight[b, first] / weight[b].sum() * weight[b, second] / rest
    np.testing.assert_allclose(expected.sum(axis=0), 1.0, rtol=1e-6)
    got = np.array(
        [slates.log_prob(torch.tensor([slate, slate], dtype=torch.float32)).exp().numpy() for slate in every]
    )
    np.testing.assert_allclose(got, expected, atol=1e-6)
    many = Slates(4, 2, null).proba_distribution(logits[:1].expand(20_000, 4))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = many.sample().numpy()
    shares = np.array([(drawn == slate).all(axis=1).mean() for slate in every])
    np.testing.assert_allclose(shares, expected[:, 0], atol=4 * 0.5 / 20_000**0.5)
    assert slates.mode().tolist() == [[2, 3], [0, 0 if null else 1]]
    assert slates.entropy() is None


@pytest.mark.parametrize("name", ["dqn", "qrdqn"])
def test_values_are_what_it_acts_by(name: str) -> None:
    agent = make_agent(name, width=8)
    env, observation, mask = observe(LIVE, 32)
    agent.start(env)
    mask = mask.copy()
    mask[:, 3] = False
    value = agent.values(observation, mask)  # type: ignore[attr-defined]
    assert value.shape == mask.shape
    assert value.dtype == np.float32
    assert (np.isneginf(value) == ~mask).all()
    np.testing.assert_array_equal(value.argmax(axis=1), agent.act(observation, mask))
    net: Any = agent._net  # type: ignore[attr-defined]
    with torch.no_grad():
        x = torch.from_numpy(observation)
        whole = net.q_net(x) if name == "dqn" else sum(net.quantile_net(x)[:, k] for k in range(32)) / 32
    np.testing.assert_allclose(value[mask], whole.numpy()[mask], rtol=1e-4, atol=1e-5)


def test_is_trained_for_what_it_prefers() -> None:
    """Paid against clicks, it looks for the least clickable items."""
    task = Task("recgym/Ecommerce-v0", {"world": tiny_world()})
    agent = PPO(objective_weights={"click": -1.0}, **ROLLOUT)
    agent.fit(task, 4000, seed=1)
    assert mean_return(agent, task) <= 1.3 * HORIZON * CLICK[:STOCK].min()
    with pytest.raises(ConfigError, match="objective_weights"):
        DQN(objective_weights={"click": 1.0}).fit(Task("recgym/News-v0", {"like_dislike": True}), 64)


@pytest.mark.parametrize("history", [name for name in ENCODERS if name != "mean"])
def test_trains_with_each_reader_of_the_history(history: str) -> None:
    agent = DQN(history=history, weight_decay=0.0, **SMALL["dqn"])
    agent.fit(SHOP, 320, seed=1)
    fresh = DQN(history=history, weight_decay=0.0, **SMALL["dqn"])
    fresh.fit(SHOP, 64, seed=1)
    moved = {name for name in agent.weights if not torch.equal(agent.weights[name], fresh.weights[name])}
    assert {name for name in moved if "reader." in name}
    assert all(torch.isfinite(weight).all() for weight in agent.weights.values())


@pytest.mark.parametrize("head", [name for name in PPO.heads if name not in ("candidate", "mlp")])
def test_features_go_through_the_files_of_stable_baselines3(head: str, tmp_path) -> None:
    agent = make_agent("sac", head=head, **SMALL["sac"])
    task = form("sac")
    agent.fit(task, 128)
    policy, arguments = agent._policy(task.make(2))  # type: ignore[attr-defined]
    venv = vec_env(task, 8)
    model = sb3.SAC(policy, venv, learning_starts=64, buffer_size=500, policy_kwargs=arguments, device="cpu")
    model.learn(160)
    model.save(tmp_path / "model")
    again = sb3.SAC.load(tmp_path / "model", device="cpu")
    observation = venv.reset()
    actions = [each.predict(observation, deterministic=True)[0] for each in (model, again)]
    np.testing.assert_array_equal(*actions)


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


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(("name", "head"), [*product(["dqn"], DQN.heads), *((name, None) for name in LEARNERS)])
def test_same_seed_same_weights_and_the_global_generators_are_left_alone(name: str, head: str | None) -> None:
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state(), torch.get_num_threads()  # noqa: NPY002
    weights = []
    for seed in (3, 3, 4):
        agent: Any = make_agent(name, **SMALL[name], **({"head": head} if head else {}))
        agent.fit(form(name), 160, seed=seed)
        weights.append(agent.weights)
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values(), strict=True))
    assert random.getstate() == before[0]
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == before[3]


@pytest.mark.parametrize("head", ["candidate", "mlp"])
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
    head = CandidateHead(**{**head_of(env.observation_layout, env.actions.n, 16, dueling), "null": null})
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
    with pytest.raises(AttributeError, match="action_mask"):
        venv.env_method("action_mask")
    with pytest.raises(ConfigError, match="all users at once"):
        venv.env_method("step", [0] * 4)
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
    arguments = {"width": 16, "dueling": False}
    model = sb3.DQN(CandidatePolicy, venv, learning_starts=64, buffer_size=500, policy_kwargs=arguments, device="cpu")
    model.learn(200)
    model.save(tmp_path / "model")
    again = sb3.DQN.load(tmp_path / "model", device="cpu")
    observation = venv.reset()
    actions = [each.predict(observation, deterministic=True)[0] for each in (model, again)]
    np.testing.assert_array_equal(*actions)
    model.policy.save(tmp_path / "policy")
    policy = CandidatePolicy.load(tmp_path / "policy")
    np.testing.assert_array_equal(policy.predict(observation, deterministic=True)[0], actions[0])


@pytest.mark.parametrize(
    ("algorithm", "slate_size"),
    [("DQN", 1), ("QRDQN", 1), *product(["PPO", "A2C", "MaskablePPO", "RecurrentPPO"], [1, 3])],
)
@pytest.mark.parametrize("kind", ["plain", "make_vec_env", "SB3VecEnv"])
def test_a_policy_with_a_candidate_head_takes_one_line(algorithm: str, slate_size: int, kind: str, tmp_path) -> None:
    from stable_baselines3.common.env_util import make_vec_env

    make = {
        "plain": lambda: gym.make(LIVE.id, slate_size=slate_size),
        "make_vec_env": lambda: make_vec_env(LIVE.id, 2, env_kwargs={"slate_size": slate_size}),
        "SB3VecEnv": lambda: vec_env(LIVE, 2, slate_size=slate_size),
    }[kind]
    owner, policy, arguments = {
        "DQN": (sb3, CandidatePolicy, REPLAY_FEW),
        "QRDQN": (sb3_contrib, QuantileCandidatePolicy, REPLAY_FEW),
        "PPO": (sb3, CandidateActor, ROLLOUT_FEW),
        "A2C": (sb3, CandidateActor, {}),
        "MaskablePPO": (sb3_contrib, MaskableCandidateActor, ROLLOUT_FEW),
        "RecurrentPPO": (sb3_contrib, RecurrentCandidateActor, ROLLOUT_FEW),
    }[algorithm]
    model = getattr(owner, algorithm)(policy, make(), seed=0, device="cpu", **arguments)
    assert any(isinstance(module, CandidateHead) for module in model.policy.modules())
    model.learn(48)
    model.save(tmp_path / "model")
    again = getattr(owner, algorithm).load(tmp_path / "model", env=make(), device="cpu")
    observation = gym.make(LIVE.id, slate_size=slate_size).reset(seed=0)[0]
    np.testing.assert_array_equal(*(each.predict(observation, deterministic=True)[0] for each in (model, again)))
    again.learn(16)


REPLAY_FEW: dict[str, Any] = dict(learning_starts=16, buffer_size=100, train_freq=4)
ROLLOUT_FEW: dict[str, Any] = dict(n_steps=16, batch_size=8, n_epochs=1)


def test_the_candidate_policy_of_a_plain_env_learns() -> None:
    """The trap of `trap_task`, by Stable-Baselines3's own loop over a single env."""
    task = trap_task()
    env = gym.make(task.id, **task.options)
    arguments: dict[str, Any] = dict(
        learning_starts=500, target_update_interval=300, learning_rate=3e-3, gamma=0.9, train_freq=8, buffer_size=10_000
    )
    model = sb3.DQN(CandidatePolicy, env, seed=1, device="cpu", batch_size=64, **arguments)
    model.learn(4000)
    best = (HORIZON - 1) * CLICK[1] + CLICK[0]
    mean, _ = sb3.common.evaluation.evaluate_policy(model, model.get_env(), n_eval_episodes=200)
    assert mean >= 0.9 * best


def test_what_has_no_candidates_gets_a_clear_error() -> None:
    for env, message in (
        (gym.make("CartPole-v1"), "observation_space: must be that of an env of recgym"),
        (gym.make(LIVE.id, observation="dict"), "observation_space: must be that of an env of recgym"),
        (gym.make(LIVE.id, observation="compact"), "has no block 'mask'"),
    ):
        with pytest.raises(ConfigError, match=message):
            sb3.DQN(CandidatePolicy, env)
    with pytest.raises(ConfigError, match="action_space: must be of items or slates"):
        sb3.PPO(CandidateActor, gym.make(LIVE.id, action="embedding"))
    for env in (gym.make(LIVE.id), gym.make_vec(LIVE.id, num_envs=2, vectorization_mode="sync")):
        with pytest.raises(ConfigError, match=r"env: must be users of gymnasium\.make_vec"):
            SB3VecEnv(env)  # type: ignore[arg-type]


def test_reports_progress_and_can_be_scored_meanwhile() -> None:
    agent = DQN(envs=8, learning_starts=64, batch_size=16, buffer_size=500)
    seen = []

    def progress(steps: int, shown: dict[str, float]) -> None:
        seen.append((steps, shown))
        if steps == 160:
            assert np.isfinite(mean_return(agent.snapshot(), trap_task()))

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
    others = {"qrdqn": {"n_quantiles": 0}, "ppo": {"n_steps": 0, "batch_size": 60, "clip_range": 0, "history": "grue"},
              "recurrent-ppo": {"lstm_width": 0}, "sac": {"head": "candidate", "tau": 0, "ent_coef": -1},
              "td3": {"noise": -1, "policy_delay": 0}, "dqn": {"device": "gpu"}}  # fmt: skip
    for agent_name, table in others.items():
        for name, value in table.items():
            with pytest.raises(ConfigError, match=f"{agent_class(agent_name).__name__}.{name}"):
                make_agent(agent_name, **{name: value})
    for device in ("cuda:77", *([] if torch.cuda.is_available() else ["cuda"])):
        with pytest.raises(ConfigError, match=rf"PPO.device: .*no such GPU, got '{device}'"):
            PPO(device=device).fit(SHOP, 64)
    with pytest.raises(ConfigError, match='"embedding" or "weights"'):
        make_agent("sac").fit(SHOP, 64)
    for name in VECTOR:
        with pytest.raises(ConfigError, match=r"embeddings: must be True for .*, got False"):
            make_agent(name).fit(Task("recgym/News-v0", {"action": "embedding"}), 64)
    with pytest.raises(ConfigError, match='"item" or "slate"'):
        make_agent("ppo").fit(form("sac"), 64)
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
