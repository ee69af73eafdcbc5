"""REINFORCE: its gradients against enumeration, and learning on worlds whose best policies are known."""

from __future__ import annotations

from itertools import combinations, permutations, product

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from test_bandits import CLICK, HORIZON, tiny_task, tiny_world
from test_slateq import ODDS, SlateTrap, expected_return, trap_task

from baselines import Task
from baselines.reinforce import Reinforce, propensity, returns, slate_log_prob, surrogate
from recgym import ConfigError
from recgym.models.choice import MultinomialLogit
from recgym.testing import check_agent

LOGITS = torch.tensor([0.5, -1.0, 1.5, 0.0], dtype=torch.float64)
BETA = np.array([0.1, 0.4, 0.2, 0.3])
GAIN = np.array([1.0, -2.0, 0.5, 3.0])  # of each item: return minus baseline


def expected_gradient(K: int, draws: dict[tuple[int, ...], float], beta: np.ndarray, cap: float = 1e9) -> np.ndarray:
    """(n,) gradient by the logits of the surrogate, expected over slates of those probabilities."""
    logits = LOGITS.clone().requires_grad_()
    log_pi, total = logits.log_softmax(dim=0), torch.zeros((), dtype=torch.float64)
    for slate, chance in draws.items():
        items = torch.tensor([sorted(set(slate))])  # an item that is drawn twice is shown once
        share, gain = torch.from_numpy(beta)[items], torch.from_numpy(GAIN)[items]
        total = total + chance * surrogate(log_pi[items], share, gain, K, cap).sum()
    total.backward()
    assert logits.grad is not None
    return logits.grad.numpy()


def slope(function, step: float = 1e-6) -> np.ndarray:
    """(n,) central differences of a function of the logits."""
    base = LOGITS.numpy()
    return np.array([(function(base + d) - function(base - d)) / (2 * step) for d in step * np.eye(len(base))])


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum()


def test_one_item_off_policy_is_the_gradient_on_policy() -> None:
    """Over all actions of beta: d/dlogits of sum_a pi(a) gain(a)."""
    found = expected_gradient(1, {(a,): BETA[a] for a in range(4)}, BETA)
    np.testing.assert_allclose(found, slope(lambda x: softmax(x) @ GAIN), atol=1e-8)
    pi = softmax(LOGITS.numpy())
    np.testing.assert_allclose(found, pi * (GAIN - pi @ GAIN), atol=1e-12)


@pytest.mark.parametrize("K", [2, 3])
def test_top_k_off_policy_is_the_gradient_of_inclusion(K: int) -> None:
    """Over all K draws of beta, with the marginals that come of them: that of E_pi[sum of gains of what K draws hold]."""
    slates = {slate: float(np.prod(BETA[list(slate)])) for slate in product(range(4), repeat=K)}
    marginal = np.array([sum(p for slate, p in slates.items() if a in slate) for a in range(4)])

    def worth(x: np.ndarray) -> float:
        pi = softmax(x)
        return sum(float(np.prod(pi[list(s)])) * GAIN[sorted(set(s))].sum() for s in slates)

    np.testing.assert_allclose(expected_gradient(K, slates, marginal / K) / K, slope(worth), atol=1e-8)
    np.testing.assert_allclose(marginal / K, propensity(BETA[None], BETA[None] > 0, K, 0.0)[0], atol=1e-12)


def test_random_slates_have_the_stated_propensity() -> None:
    """Without replacement, three of five of which one is not there; the gradient is that of inclusion, too."""
    there = np.array([[True, True, False, True, True]])
    slates = list(combinations([0, 1, 3, 4], 3))
    share = [sum(a in slate for slate in slates) / len(slates) / 3 for a in range(5)]
    np.testing.assert_allclose(propensity(there / 4, there, 3, 1.0)[0], share)
    assert propensity(there / 4, there, 1, 0.3)[0].sum() == pytest.approx(1)
    drawn = dict.fromkeys(combinations(range(4), 3), 1 / 4)
    found = expected_gradient(3, drawn, np.full(4, 1 / 4)) / 3
    np.testing.assert_allclose(found, slope(lambda x: (1 - (1 - softmax(x)) ** 3) @ GAIN), atol=1e-8)


@pytest.mark.parametrize("K", [1, 2, 3])
def test_nothing_ends_the_slate_in_propensities_too(K: int) -> None:
    """Choice 0 among K draws from BETA keeps out what comes after it: all sequences counted."""
    share = np.zeros(4)
    for draws in product(range(4), repeat=K):
        until = draws[: draws.index(0) + 1] if 0 in draws else draws
        share[sorted(set(until))] += np.prod(BETA[list(draws)])
    np.testing.assert_allclose(propensity(BETA[None], BETA[None] > 0, K, 0.0, null=True)[0], share / K, atol=1e-12)
    orders = [
        order[: order.index(0) + 1] if 0 in order[:K] else order for order in (p[:K] for p in permutations(range(4)))
    ]
    chance = [sum(a in order for order in orders) / len(orders) / K for a in range(4)]
    np.testing.assert_allclose(propensity(BETA[None], BETA[None] > 0, K, 1.0, null=True)[0], chance, atol=1e-12)


def test_nothing_ends_the_slate() -> None:
    task = Task("recgym/LiveStreamSlate-v0")
    agent = Reinforce(envs=32, segment=4, epochs=1)
    agent.fit(task, 128, seed=1)
    env = task.make(64)
    observation, info = env.reset(seed=5)
    agent.start(env)
    slates = agent.act(observation, info["action_mask"], explore=True)
    empty = slates == 0
    assert empty.any()
    assert (np.logical_or.accumulate(empty, axis=1) == empty).all(), "nothing comes after nothing"
    assert not (agent._drawn["shown"][:, 1:] & empty[:, :-1]).any(), "only the first nothing is a draw"
    assert agent._drawn["shown"][:, 0].all()


@pytest.mark.parametrize("null", [False, True])
def test_the_probability_of_a_slate_is_that_of_its_draws(null: bool) -> None:
    """All ordered slates of three: the product of what is left at each draw, and 1 over all of them."""
    pi = softmax(LOGITS.numpy())
    items = permutations(range(int(null), 4), 3)
    slates = [*items, (0, 0, 0)] if null else list(items)
    want = []
    for slate in slates:
        left, chance = 1.0, 1.0
        for place, a in enumerate(slate):
            chance, left = chance * pi[a] / left, left - pi[a]
            if null and place == 0:
                left -= pi[0] * (a > 0)
            if null and a == 0:
                break
        want.append(chance)
    choice = torch.tensor(slates)
    shown = (choice > 0) | (torch.arange(3) == 0) if null else torch.ones_like(choice, dtype=torch.bool)
    found = slate_log_prob(LOGITS.expand(len(slates), 4), choice, shown, null).exp().numpy()
    np.testing.assert_allclose(found, want, rtol=1e-9)
    assert found.sum() == pytest.approx(1)


def test_a_whole_slate_is_weighed_by_how_likely_it_was() -> None:
    """What is remembered of a step is the logarithm of the chance that it was drawn, from the policy or at random."""
    agent = Reinforce(likelihood="slate", uniform=0.4)
    env = Task("recgym/LiveStreamSlate-v0").make(6000)
    observation, info = env.reset(seed=[3] * 6000)
    agent.start(env)
    action = agent.act(observation, info["action_mask"], explore=True)
    empty = (action == 0).all(axis=1)
    assert ((action == 0).any(axis=1) == empty).all(), "nothing is decided in the first place"
    pi = softmax(agent.values(observation[:1], info["action_mask"][:1])[0].astype(np.float64))
    chance = 0.6 * pi[0] + 0.4 / len(pi)
    assert empty.mean() == pytest.approx(chance, abs=5 * np.sqrt(chance / 6000))
    np.testing.assert_allclose(np.exp(agent._drawn["beta"][empty]), chance, rtol=1e-4)
    first = action[~empty, 0]
    assert np.bincount(first, minlength=len(pi)) / 6000 == pytest.approx(
        0.6 * pi * (pi != pi[0]) + 0.4 / len(pi) * (np.arange(len(pi)) > 0), abs=0.03
    )


def test_the_cap_bounds_the_weight() -> None:
    """pi(2) / beta(2) is 2.8: with a cap of 1.5, item 2 counts 1.5 times, item 1 as before."""
    pi = softmax(LOGITS.numpy())
    weight = np.minimum(pi / BETA, 1.5)
    assert (weight < pi / BETA).any()
    assert (weight == pi / BETA).any()
    want = BETA * weight * GAIN
    found = expected_gradient(1, {(a,): BETA[a] for a in range(4)}, BETA, cap=1.5)
    np.testing.assert_allclose(found, want - pi * want.sum(), atol=1e-12)


def test_returns_by_hand() -> None:
    reward, after = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([[10.0], [20.0], [30.0]])
    go_on, cut = torch.zeros((3, 1), dtype=torch.bool), torch.tensor([[False], [True], [False]])
    for trace, ended, want in (
        (0.0, go_on, [6.0, 12.0, 19.0]),
        (1.0, go_on, [1 + 0.5 * (2 + 0.5 * 19), 2 + 0.5 * 19, 19.0]),
        (1.0, cut, [1 + 0.5 * 12, 12.0, 19.0]),
        (0.5, cut, [1 + 0.5 * (5 + 6), 12.0, 19.0]),
    ):
        assert returns(reward, after, ended, 0.5, trace)[:, 0].tolist() == pytest.approx(want)


def test_draws_follow_the_policy() -> None:
    """Slates of two against the Plackett-Luce probabilities of ordered pairs."""
    agent = Reinforce()
    env = tiny_task(2).make(8000)
    observation, info = env.reset(seed=0)
    agent.start(env)
    pi = softmax(agent.values(observation[:1], info["action_mask"][:1])[0].astype(np.float64))
    action = agent.act(observation, info["action_mask"], explore=True)
    seen = np.zeros((10, 10))
    np.add.at(seen, (action[:, 0], action[:, 1]), 1 / len(action))
    want = pi[:, None] * pi / (1 - pi[:, None]) * (1 - np.eye(10))
    assert (np.abs(seen - want) <= 5 * np.sqrt(want * (1 - want) / len(action)) + 1e-12).all()


def learner(**options) -> Reinforce:
    return Reinforce(
        **{"width": 32, "learning_rate": 1e-2, "reward_scale": 1.0, "segment": 8, "batch_size": 128, **options}
    )


@pytest.mark.parametrize(
    ("slate_size", "options"),
    [(1, {}), (3, {}), (1, {"uniform": 1.0}), (3, {"uniform": 1.0}), (1, {"likelihood": "slate"}),
     (3, {"likelihood": "slate", "learning_rate": 3e-3})],
)  # fmt: skip
def test_finds_the_best_items(slate_size: int, options: dict) -> None:
    agent = learner(**options)
    task = tiny_task(slate_size)
    agent.fit(task, 8192 if "learning_rate" in options else 4096, seed=1)
    best = HORIZON * CLICK[:slate_size].sum()
    assert expected_return(agent, task) >= 0.95 * best


def test_plans_around_the_trap() -> None:
    """Item 0 is the most clickable and drives users away; it should be shown at the last step alone, or never."""
    world = tiny_world(SlateTrap()).replace(choice=MultinomialLogit(null=0.0))
    click = ODDS / (1 + ODDS)
    for task, later in (
        (Task("recgym/Ecommerce-v0", {"world": world}), click[1]),
        (trap_task(), (ODDS[1] + ODDS[2]) / (1 + ODDS[1] + ODDS[2])),
    ):
        agent = learner()
        agent.fit(task, 6144, seed=1)
        assert expected_return(agent, task) >= 0.93 * HORIZON * later


def test_bootstraps_where_the_horizon_cuts() -> None:
    """The rows of the last observations are those of the users that the horizon cut, in the order of the segment."""
    agent = Reinforce(segment=100, envs=4)
    env = tiny_task().make(4, AutoresetMode.SAME_STEP)
    agent.fit(tiny_task(), 4, seed=0)
    observation, info = env.reset(seed=0)
    agent.start(env)
    agent._segment, agent._last = [], []
    for t in range(2 * HORIZON):
        action = agent.act(observation, info["action_mask"], explore=True)
        observation, reward, terminated, _, info = env.step(action)
        for row in np.flatnonzero(info.get("_final_obs", False)):
            info["final_obs"][row] = np.full_like(observation[row], t)
        agent.learn(observation, action, reward, observation, terminated, info)
    cut = np.stack([step["cut"] for step in agent._segment])
    assert np.flatnonzero(cut.all(axis=1)).tolist() == [HORIZON - 1, 2 * HORIZON - 1]
    assert np.concatenate(agent._last)[:, 0].tolist() == [HORIZON - 1] * 4 + [2 * HORIZON - 1] * 4


@pytest.mark.parametrize(
    "task",
    [
        Task("recgym/LiveStream-v0"),
        Task("recgym/NewsSlate-v0", {"null_action": True}),
        Task("recgym/InterestEvolution-v0"),
    ],
    ids=["item", "slate", "classic"],
)
@pytest.mark.parametrize("likelihood", ["top-k", "slate"])
def test_keeps_the_contract(task: Task, likelihood: str) -> None:
    check_agent(Reinforce(envs=16, likelihood=likelihood), task)


def test_values_are_logits_of_what_is_there() -> None:
    agent = Reinforce()
    env = Task("recgym/LiveStream-v0").make(16)
    observation, info = env.reset(seed=0)
    agent.start(env)
    mask = info["action_mask"] > 0
    mask[:, [1, 4]] = False
    values = agent.values(observation, mask)
    assert values.shape == mask.shape
    np.testing.assert_array_equal(values == -np.inf, ~mask)
    np.testing.assert_array_equal(values.argmax(axis=1), agent.act(observation, mask))
    nothing = agent.act(observation, np.zeros_like(mask), explore=True)
    assert env.action_space.contains(nothing.astype(env.action_space.dtype))


def test_files_bring_the_agent_back(tmp_path) -> None:
    agent = Reinforce(envs=16, objective_weights={"click": 1.0, "dwell": 0.0})
    agent.fit(Task("recgym/News-v0"), 600, seed=2)
    agent.save(tmp_path)
    loaded = Reinforce.load(tmp_path)
    assert loaded == agent
    torch.testing.assert_close(loaded.weights, agent.weights, rtol=0, atol=0)
    (tmp_path / "reinforce.pt").unlink()
    with pytest.raises(ConfigError, match=r"reinforce\.pt"):
        Reinforce.load(tmp_path)


@pytest.mark.parametrize("uniform", [0.0, 0.5])
def test_same_seed_same_weights(uniform: float) -> None:
    weights = []
    for seed in (3, 3, 4):
        agent = Reinforce(envs=16, uniform=uniform)
        agent.fit(Task("recgym/EcommerceSlate-v0"), 600, seed=seed)
        weights.append(agent.weights["policy"])
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values(), strict=True))


def test_goes_on_from_what_it_learned() -> None:
    agent = learner()
    agent.fit(tiny_task(), 4096, seed=1)
    agent.fit(tiny_task(), 64, seed=2)
    assert expected_return(agent, tiny_task()) >= 0.95 * HORIZON * CLICK[0]


def learned_elsewhere() -> None:
    agent = Reinforce(envs=4)
    agent.fit(Task("recgym/News-v0"), 64)
    agent.start(Task("recgym/LiveStream-v0").make(2))


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: Reinforce(gamma=1.5), r"Reinforce.gamma: .*got 1.5"),
        (lambda: Reinforce(trace=-1), r"Reinforce.trace: .*got -1"),
        (lambda: Reinforce(uniform="yes"), r"Reinforce.uniform: .*got 'yes'"),  # type: ignore[arg-type]
        (lambda: Reinforce(likelihood="slat"), r"Reinforce.likelihood: .*Did you mean 'slate'"),
        (lambda: Reinforce(cap=0), r"Reinforce.cap: .*got 0"),
        (lambda: Reinforce(entropy_end=-0.1), r"Reinforce.entropy_end: "),
        (lambda: Reinforce(epochs=0), r"Reinforce.epochs: .*got 0"),
        (lambda: Reinforce(segment=2.5), r"Reinforce.segment: must be an integer"),  # type: ignore[arg-type]
        (lambda: Reinforce().start(tiny_task(action="embedding").make(2)), r'Reinforce needs "item" or "slate"'),
        (lambda: Reinforce().start(tiny_task(observation="dict").make(2)), r"observation: Reinforce needs a flat one"),
        (lambda: Reinforce().start(tiny_task(reward="vector").make(2)), r"reward: Reinforce needs one number"),
        (lambda: Reinforce(objective_weights={"clicks": 1.0}).fit(tiny_task(), 64), r"reward: .*Did you mean 'click'"),
        (learned_elsewhere, r"env: must have the observations and actions that Reinforce has learned from"),
    ],
)
def test_bad_input(make, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()


def test_goes_on_drawing_after_training_but_alike_after_each_start() -> None:
    task = Task("recgym/NewsSlate-v0")
    agent = Reinforce(envs=16, segment=4, epochs=1, stochastic=True)
    agent.fit(task, 64, seed=1)
    env = task.make(32)
    observation, info = env.reset(seed=5)
    drawn = []
    for _ in range(2):
        agent.start(env)
        drawn.append([agent.act(observation, info["action_mask"]) for _ in range(2)])
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0][0] != drawn[0][1]).any()
    assert all(len(set(slate)) == 5 for slate in drawn[0][0].tolist())
