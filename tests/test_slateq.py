"""SlateQ: slate optimisers against exhaustive search, and learning on a world whose best policy is known."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from test_bandits import CLICK, HORIZON, tiny_world

from baselines import Task, evaluate, make_agent
from baselines.full_slateq import FullSlateQ
from baselines.slateq import SlateQ
from baselines.slates import OPTIMISERS, exact, greedy, mean_value, sum_value, top_k
from recgym import ConfigError
from recgym.models.choice import MultinomialLogit
from recgym.models.departure import Departure
from recgym.testing import check_agent

ODDS = CLICK / (1 - CLICK)


@dataclass(frozen=True, eq=False)
class SlateTrap(Departure):
    """Whoever is shown item 0, the most clickable one, leaves."""

    def __call__(self, users, feedback, noise):
        return {"left": (feedback.slate == 0).any(axis=1)}


def trap_task(**options: object) -> Task:
    world = tiny_world(SlateTrap(), slate_size=2).replace(choice=MultinomialLogit(null=0.0))
    return Task("recgym/Ecommerce-v0", {"world": world, "slate_size": 2, **options})


def problem(seed: int, B: int = 40, K: int = 7) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(B, 1 + K))
    weights[:, 1:] *= rng.random((B, K)) < 0.9  # some candidates are not there
    weights[:, 1:4] += 0.01
    return torch.from_numpy(weights), torch.from_numpy(rng.normal(2.0, 3.0, (B, 1 + K)))


def value_by_hand(w: np.ndarray, q: np.ndarray, slate: tuple[int, ...]) -> float:
    total = w[0] + sum(w[1 + i] for i in slate)
    return (w[0] * q[0] + sum(w[1 + i] * q[1 + i] for i in slate)) / total


@pytest.mark.parametrize("seed", range(5))
def test_the_exact_optimiser_is_exact(seed: int) -> None:
    weights, values = problem(seed)
    found = exact(weights, values, 3)
    for b, slate in enumerate(found.tolist()):
        w, q = weights[b].numpy(), values[b].numpy()
        there = [i for i in range(7) if w[1 + i] > 0]
        best = max(value_by_hand(w, q, slate) for slate in combinations(there, 3))
        assert value_by_hand(w, q, tuple(slate)) == pytest.approx(best, abs=1e-9)
    for heuristic in (top_k, greedy):
        assert (
            mean_value(weights, values, heuristic(weights, values, 3)) <= mean_value(weights, values, found) + 1e-9
        ).all()


@pytest.mark.parametrize("name", OPTIMISERS)
def test_slates_hold_distinct_candidates_that_are_there(name: str) -> None:
    weights, values = problem(9)
    slates = OPTIMISERS[name](weights, values, 3)
    assert all(len(set(slate)) == 3 for slate in slates.tolist())
    assert (weights[:, 1:].gather(1, slates) > 0).all()


def test_greedy_by_hand() -> None:
    """First the best alone, 4 * 3 / 5; then, to it, what lifts the ratio most: a heavy weight of a low value does not."""
    weights = torch.tensor([[1.0, 4.0, 9.0, 2.0]])
    values = torch.tensor([[0.0, 3.0, 1.0, 2.5]])
    assert greedy(weights, values, 2).tolist() == [[0, 2]]
    assert top_k(weights, values, 2).tolist() == [[0, 1]]
    assert mean_value(weights, values, torch.tensor([[0, 2]])).item() == pytest.approx(17 / 7)


@pytest.fixture(scope="module")
def trained() -> SlateQ:
    agent = SlateQ(learning_starts=640, epsilon_share=0.4, n_steps=1, target_update=50, learning_rate=3e-3, gamma=0.95,
                   reward_scale=1.0, width=32, batch_size=128, gradient_steps=4)  # fmt: skip
    agent.fit(trap_task(), 10_000, seed=1)
    return agent


def expected_return(agent, task: Task) -> float:
    task = Task(task.id, {**task.options, "expected_reward": True})
    return float(evaluate(agent, task, 500, seed=10**6).returns.mean())


def test_plans_around_the_trap(trained: SlateQ) -> None:
    """Best: items 1 and 2, and at the end 0 and 1. The myopic slate has item 0 at once."""
    pair = lambda i, j: (ODDS[i] + ODDS[j]) / (1 + ODDS[i] + ODDS[j])  # noqa: E731
    best = (HORIZON - 1) * pair(1, 2) + pair(0, 1)
    assert expected_return(make_agent("myopic"), trap_task()) == pytest.approx(pair(0, 1), rel=1e-4)
    assert expected_return(trained, trap_task()) >= 0.93 * best


def test_learns_how_users_choose(trained: SlateQ) -> None:
    env = trap_task().make(4)
    observation, info = env.reset(seed=0)
    trained.start(env)
    with torch.no_grad():
        weights = trained.choice_weights(torch.from_numpy(observation), info["action_mask"]).numpy()
    odds = weights[:, 1:] / weights[:, :1]
    np.testing.assert_allclose(odds[0, 1:5], ODDS[1:5], rtol=0.5)
    assert (odds[:, 9] == 0).all(), "item 9 is never in stock"


def test_files_bring_the_agent_back(trained: SlateQ, tmp_path) -> None:
    trained.save(tmp_path)
    loaded = SlateQ.load(tmp_path)
    assert loaded == trained
    env = trap_task().make(16)
    observation, info = env.reset(seed=3)
    chosen = []
    for agent in (trained, loaded):
        agent.start(env)
        chosen.append(agent.act(observation, info["action_mask"]))
    np.testing.assert_array_equal(*chosen)
    (tmp_path / "slateq.pt").unlink()
    with pytest.raises(ConfigError, match=r"slateq\.pt"):
        SlateQ.load(tmp_path)


@pytest.mark.parametrize(
    "options", [{}, {"target": "sarsa", "optimiser": "top-k"}, {"choice_model": "given", "no_click": False}]
)
def test_same_seed_same_weights(options: dict) -> None:
    weights = []
    for seed in (3, 3, 4):
        agent = SlateQ(envs=16, learning_starts=64, batch_size=32, buffer=20, gradient_steps=1, **options)
        agent.fit(Task("recgym/InterestEvolution-v0"), 480, seed=seed)
        weights.append(agent.weights["value"])
    torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(weights[0].values(), weights[2].values(), strict=True))


def several_clicks(**options: object) -> Task:
    """The trap, for users who click each item shown as they like it."""
    return Task("recgym/Ecommerce-v0", {"world": tiny_world(SlateTrap(), slate_size=2), "slate_size": 2, **options})


def test_plans_around_the_trap_where_several_are_clicked() -> None:
    agent = SlateQ(learning_starts=640, epsilon_share=0.4, n_steps=1, target_update=50, learning_rate=3e-3, gamma=0.95,
                   reward_scale=1.0, width=32, batch_size=128, gradient_steps=4)  # fmt: skip
    agent.fit(several_clicks(), 8_000, seed=1)
    best = (HORIZON - 1) * (CLICK[1] + CLICK[2]) + CLICK[0] + CLICK[1]
    assert expected_return(make_agent("myopic"), several_clicks()) == pytest.approx(CLICK[0] + CLICK[1], rel=1e-4)
    assert expected_return(agent, several_clicks()) >= 0.93 * best
    env = several_clicks().make(4)
    observation, info = env.reset(seed=0)
    agent.start(env)
    with torch.no_grad():
        found = agent.choice_weights(torch.from_numpy(observation), info["action_mask"])[0, 2:6].numpy()
    np.testing.assert_allclose(found, CLICK[1:5], atol=0.2)


def test_learns_from_the_candidates_shown_alone() -> None:
    agent = SlateQ(shown_only=True, target="sarsa", dueling=False, learning_starts=640, epsilon_share=0.4, n_steps=1,
                   target_update=50, learning_rate=3e-3, gamma=0.95, reward_scale=1.0, width=32, batch_size=128,
                   gradient_steps=4)  # fmt: skip
    agent.fit(several_clicks(), 8_000, seed=1)
    best = (HORIZON - 1) * (CLICK[1] + CLICK[2]) + CLICK[0] + CLICK[1]
    assert expected_return(agent, several_clicks()) >= 0.93 * best


def test_full_slate_q_plans_around_the_trap() -> None:
    agent = FullSlateQ(learning_starts=640, epsilon_share=0.4, n_steps=1, target_update=50, learning_rate=3e-3, gamma=0.95,
                       reward_scale=1.0, width=32, batch_size=128, gradient_steps=4)  # fmt: skip
    agent.fit(trap_task(), 12_000, seed=1)
    pair = lambda i, j: (ODDS[i] + ODDS[j]) / (1 + ODDS[i] + ODDS[j])  # noqa: E731
    assert expected_return(agent, trap_task()) >= 0.9 * ((HORIZON - 1) * pair(1, 2) + pair(0, 1))
    env = trap_task().make(3)
    observation, info = env.reset(seed=0)
    agent.start(env)
    values = agent.values(observation, info["action_mask"])
    assert values.shape == (3, 10)
    assert (values[:, 9] == -np.inf).all(), "item 9 is never in stock"
    assert (values[:, 0] < values[:, 1]).all(), "the best slate with item 0 ends the episode"


def test_the_value_of_a_sum_by_hand() -> None:
    weights, values = torch.tensor([[0.1, 0.5, 0.2, 0.4]]), torch.tensor([[1.0, 3.0, 6.0, 1.5]])
    assert sum_value(weights, values, torch.tensor([[0, 1]])).item() == pytest.approx(1 + 0.5 * 2 + 0.2 * 5)
    assert sum_value(weights, values, torch.tensor([[2, -1]])).item() == pytest.approx(1 + 0.4 * 0.5)


def test_what_the_networks_do_not_see_changes_nothing() -> None:
    task = Task("recgym/InterestEvolution-v0")
    agent = SlateQ(envs=16, learning_starts=64, batch_size=32, sees=["user.profile", "candidates"])
    agent.fit(task, 320, seed=1)
    env = task.make(8)
    observation, info = env.reset(seed=5)
    agent.start(env)
    values = agent.values(observation, info["action_mask"])
    other = observation.copy()
    other[:, env.observation_layout["history"].slice] = 0.3
    np.testing.assert_array_equal(values, agent.values(other, info["action_mask"]))
    other[:, env.observation_layout["user"].slice] = 0.3
    assert (values != agent.values(other, info["action_mask"])).any()


def test_shows_nothing_where_that_is_worth_more() -> None:
    task = Task("recgym/LiveStreamSlate-v0")
    agent = SlateQ(envs=16, learning_starts=64, batch_size=32)
    agent.fit(task, 320, seed=1)
    env = task.make(8)
    observation, info = env.reset(seed=5)
    agent.start(env)
    net = agent.nets["value"]
    last = net.nothing[-1]
    with torch.no_grad():
        last.bias[0] = 1e4
    assert (agent.act(observation, info["action_mask"]) == 0).all()
    with torch.no_grad():
        last.bias[0] = -1e4
    assert (agent.act(observation, info["action_mask"]) > 0).all()


@pytest.mark.parametrize("make", [lambda: SlateQ(envs=16, learning_starts=64, batch_size=32),
                                  lambda: SlateQ(envs=16, learning_starts=64, batch_size=32, n_steps=1, target="sarsa"),
                                  lambda: SlateQ(envs=16, learning_starts=64, batch_size=32, target="sarsa", dueling=False,
                                                 shown_only=True)])  # fmt: skip
@pytest.mark.parametrize("id", ["News-v0", "NewsSlate-v0", "LiveStreamSlate-v0", "InterestEvolution-v0"])
def test_keeps_the_contract(make, id: str) -> None:
    check_agent(make(), Task(f"recgym/{id}", {"horizon": 10}), fit_steps=320)


def test_full_slate_q_keeps_the_contract() -> None:
    check_agent(
        FullSlateQ(envs=8, learning_starts=32, batch_size=16),
        Task("recgym/InterestEvolution-v0", {"horizon": 10}),
        fit_steps=160,
    )


@pytest.fixture
def double(tmp_path: Path) -> str:
    """The name, for `make_agent`, of the variant in SlateQ's docstring."""
    code = re.search(r"\n( +from dataclasses import .*?)\n\n    Args:", SlateQ.__doc__, re.S)
    assert code
    (tmp_path / "double.py").write_text(textwrap.dedent(code[1]) + "\n")
    return f"{tmp_path / 'double.py'}:DoubleSlateQ"


def test_a_variant_is_one_method(double: str, tmp_path: Path) -> None:
    agent, task = make_agent(double, envs=16, learning_starts=64, batch_size=32), Task("recgym/InterestEvolution-v0")
    assert agent.n_steps == 5
    agent.fit(task, 480, seed=1)
    agent.save(tmp_path / "saved")
    loaded = type(agent).load(tmp_path / "saved")
    assert loaded == agent
    assert (evaluate(loaded, task, 20).returns == evaluate(agent, task, 20).returns).all()
    plain = SlateQ(envs=16, learning_starts=64, batch_size=32, n_steps=5)
    plain.fit(task, 480, seed=1)
    assert any(not torch.equal(a, b) for a, b in zip(
        plain.weights["value"].values(), agent.weights["value"].values(), strict=True))  # fmt: skip
    check_agent(make_agent(double, envs=16, learning_starts=64, batch_size=32), task, fit_steps=320)


class Fixed(torch.nn.Module):
    """A network with the same outputs whatever it sees."""

    def __init__(self, *outputs: float) -> None:
        super().__init__()
        self.out = torch.nn.Parameter(torch.tensor([outputs]))

    def forward(self, observation: torch.Tensor) -> torch.Tensor:
        return self.out.expand(len(observation), -1)


@pytest.mark.parametrize("null", [False, True])
def test_targets_by_hand(double: str, null: bool) -> None:
    """Three candidates, slates of two, one pick at most. Double Q selects with the online network, values with the target
    network; plain Q does both with the target network; SARSA takes what was shown. Empty slates have a value of their own.
    """
    world = trap_task().options["world"]
    task = Task("recgym/Ecommerce-v0", {"world": world, "slate_size": 2, "null_action": null})
    log_w = np.log([1.0, 1.0, 2.0, 4.0]).tolist() + [-1e9] * 7
    nothing, target_nothing = ([5.0], [0.25]) if null else ([], [])
    online = Fixed(*nothing, 0.0, 9.0, 1.0, 6.0, *[0.0] * 7)
    target = Fixed(*target_nothing, 1.0, 2.0, 8.0, 6.0, *[0.0] * 7)
    after = {"observation": torch.zeros(2, 3), "available": torch.tensor([[True] * 3 + [False] * 7] * 2),
             "shown": torch.tensor([[0, 1], [-1, -1]])}  # fmt: skip
    found = {}
    for name, agent in {"double": make_agent(double), "q": SlateQ(), "sarsa": SlateQ(target="sarsa")}.items():
        agent.start(task.make(2))
        agent.nets, agent.target_net = {"value": online, "pick": Fixed(*log_w)}, target
        assert not (null and name == "double") or agent.item_values(online, after["observation"]).nothing[0] == 5.0
        found[name] = agent.next_value(after).tolist()
    chosen_online = (1 * 1 + 1 * 2 + 4 * 6) / 6  # the online network prefers candidates 0 and 2, (0 + 9 + 24) / 6 = 5.5
    best = (1 * 1 + 2 * 8 + 4 * 6) / 7  # of the target network: 1 and 2
    shown = (1 * 1 + 1 * 2 + 2 * 8) / 4
    assert found["double"] == pytest.approx([chosen_online] * 2)
    assert found["q"] == pytest.approx([best] * 2)
    assert found["sarsa"] == pytest.approx([shown, 0.25 if null else 1.0])
    if null:  # the online network would rather show nothing
        agent = make_agent(double)
        agent.start(task.make(2))
        agent.nets, agent.target_net = {"value": Fixed(5.6, *online.out[0, 1:].tolist()), "pick": Fixed(*log_w)}, target
        assert agent.next_value(after).tolist() == [0.25] * 2


def test_the_loss_by_hand() -> None:
    """Smooth L1 of what was picked against paid + discount * next value, over the rows that count, and the choice loss."""
    agent = SlateQ()
    agent.start(trap_task().make(3))
    net = Fixed(0.5, 1.0, 3.0, 2.0, *[0.0] * 7)
    logits = Fixed(0.0, 1.0, 2.0, 3.0, *[0.0] * 7)
    agent.nets = {
        "value": net,
        "pick": logits,
        "position": torch.nn.Embedding.from_pretrained(torch.tensor([[0.3], [0.8]])),
    }
    agent.next_value = lambda after: torch.tensor([10.0, 20.0, 30.0])  # type: ignore[method-assign]
    sample = {"observation": torch.zeros(3, 4), "shown": torch.tensor([[0, 1], [2, 1], [1, 0]]),
              "click": torch.tensor([[False, True], [False, False], [True, False]]), "counts": torch.tensor([True, True, False])}  # fmt: skip
    loss = agent.loss(sample, {}, torch.tensor([1.0, 0.2, 0.0]), torch.tensor([0.1, 0.0, 0.5]))
    misses = [abs(3.0 - (1 + 0.1 * 10)) - 0.5, 0.5 * (0.5 - 0.2) ** 2]
    shown = [[1.0, 2.5], [3.0, 2.5], [2.0, 1.5]]  # logits at their positions, the first position being 0
    picked = [2.5, 0.0, 2.0]
    log = [np.log(1 + np.exp(row).sum()) - pick for row, pick in zip(shown, picked, strict=True)]
    assert loss.item() == pytest.approx(np.mean(misses) + np.mean(log), rel=1e-5)
    given = SlateQ(choice_model="given")
    given.start(trap_task().make(3))
    given.nets, given.next_value = {"value": net}, agent.next_value  # type: ignore[method-assign]
    alone = given.loss(sample, {}, torch.tensor([1.0, 0.2, 0.0]), torch.tensor([0.1, 0.0, 0.5]))
    assert alone.item() == pytest.approx(np.mean(misses))


def test_given_weights_are_remembered_with_their_own_step() -> None:
    """`learn` comes after the env's step, and took the weights of the candidates that follow for those of the step."""
    agent = SlateQ(choice_model="given", no_click=False, envs=4, learning_starts=10**6)
    kept, seen = [], []
    remembered, best = agent.remembered, agent.best

    def remember(observation: Any, mask: Any, shown: Any) -> Any:
        kept.append(remembered(observation, mask, shown)["weights"])
        return {"weights": kept[-1]}

    def choose(observation: Any, mask: Any) -> Any:
        seen.append(agent.choice_weights(observation, mask).numpy())
        return best(observation, mask)

    agent.remembered, agent.best = remember, choose  # type: ignore[method-assign]
    agent.fit(Task("recgym/InterestEvolution-v0"), 40)
    assert len(kept) == len(seen) == 10
    assert not np.array_equal(seen[0], seen[1])
    assert np.array_equal(kept, seen)


def test_given_weights_are_those_of_the_world() -> None:
    agent = SlateQ(choice_model="given")
    env = Task("recgym/InterestEvolution-v0").make(5)
    observation, info = env.reset(seed=0)
    agent.start(env)
    found = agent.choice_weights(torch.from_numpy(observation), info["action_mask"]).numpy()
    users = env.get_state().users
    topics = env.world.catalog.topic[users.candidates]
    want = np.take_along_axis(users.interest, topics.astype(np.int64), axis=1) + 1
    np.testing.assert_allclose(found, np.concatenate([np.full((5, 1), 2.0), want], axis=1), rtol=1e-5)
    assert agent.privileged
    assert not SlateQ().privileged


@pytest.mark.parametrize(
    ("make", "fragment"),
    [
        (lambda: SlateQ(target="td"), r"SlateQ.target: got 'td'"),
        (lambda: SlateQ(optimiser="topk"), r"SlateQ.optimiser: .*Did you mean 'top-k'"),
        (lambda: SlateQ(gamma=1.5), r"SlateQ.gamma: .*got 1.5"),
        (lambda: SlateQ(buffer=1), r"SlateQ.buffer: .*got 1"),
        (lambda: SlateQ(n_steps=0), r"SlateQ.n_steps: .*got 0"),
        (lambda: SlateQ(shown_only=True), r"SlateQ.target: must be 'sarsa' with shown_only=True, got 'q'"),
        (lambda: SlateQ(sees=[]), r"SlateQ.sees: .*at least one"),
        (lambda: SlateQ(sees=["user.progres"]).start(Task("recgym/News-v0").make(2)), r"SlateQ.sees: .*user.progress"),
        (
            lambda: FullSlateQ().start(Task("recgym/NewsSlate-v0").make(2)),
            r"slate_size: FullSlateQ needs at most 5000.*got 15504",
        ),
        (lambda: SlateQ(choice_model="given").start(Task("recgym/EcommerceSlate-v0").make(2)), r'"given" needs'),
        (lambda: SlateQ().start(Task("recgym/InterestEvolution-v0", {"action": "embedding"}).make(2)), r'needs "item"'),
    ],
)
def test_bad_input(make, fragment: str) -> None:
    with pytest.raises(ConfigError, match=fragment):
        make()
