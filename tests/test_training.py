"""Where the time of a training goes: the clock, that it changes nothing, and the command."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest
import torch

from baselines import Task, make_agent
from baselines.reference import Random
from benchmarks import __main__ as cli
from benchmarks import training
from recgym import ConfigError
from recgym.envs import RecVectorEnv

SHOP = Task("recgym/Ecommerce-v0")
LEARNERS: dict[str, dict[str, Any]] = {
    "dqn": {"envs": 8, "learning_starts": 16, "batch_size": 16},
    "ppo": {"envs": 8, "n_steps": 8, "batch_size": 16},
    "recurrent-ppo": {"envs": 8, "n_steps": 8, "batch_size": 16},
    "reinforce": {"envs": 8, "segment": 4},
    "slateq": {"envs": 8, "learning_starts": 16, "batch_size": 16},
    "linucb": {"envs": 8, "item_prior": 5.0},
    "q-learning": {"envs": 8, "state": ("user.progress",)},
}


def learned(agent: Any) -> dict[str, np.ndarray]:
    """Everything that an agent has learned, as arrays by name."""
    found: dict[str, np.ndarray] = {}

    def collect(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, part in value.items():
                collect(f"{prefix}/{name}", part)
        elif isinstance(value, (torch.Tensor, np.ndarray)):
            found[prefix] = torch.as_tensor(value).numpy()

    for name in ("weights", "theta", "gram", "q", "item_counts"):
        collect(name, getattr(agent, name, None))
    return found


@pytest.mark.parametrize("name", LEARNERS)
def test_an_agent_that_is_timed_learns_the_same_and_all_of_its_time_is_told(name: str) -> None:
    agents = [make_agent(name, **LEARNERS[name]) for _ in range(2)]
    agents[0].fit(SHOP, 64, 3)
    step, attributes = RecVectorEnv.step, set(vars(agents[1]))
    run = training.timed_fit(agents[1], SHOP, 64, 3)
    assert RecVectorEnv.step is step, "envs are not timed any longer"
    assert attributes <= set(vars(agents[1]))
    assert not {"act", "algorithm", "_improve", "_update", "improve"} & set(vars(agents[1]))
    assert (run.users, run.steps) == (8, 64)
    assert set(run.seconds) == set(training.PARTS)
    assert all(seconds > 0 for seconds in run.seconds.values()), run.seconds
    expected, found = map(learned, agents)
    assert expected.keys() == found.keys()
    assert expected
    for key, array in expected.items():
        np.testing.assert_array_equal(array, found[key])


def test_a_part_stops_while_another_one_runs_within_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(training.time, "process_time", lambda: now)

    def takes(seconds: float) -> None:
        nonlocal now
        now += seconds

    clock = training.Clock()
    step = clock.around(lambda: takes(4.0), "environment")

    def act() -> None:
        takes(1.0)
        step()
        takes(2.0)
        raise ValueError

    takes(8.0)
    with pytest.raises(ValueError):
        clock.around(act, "acting")()
    takes(16.0)
    clock.switch("loop")
    assert clock.seconds == {"environment": 4.0, "acting": 3.0, "learning": 0.0, "loop": 24.0}


def test_who_takes_no_step_is_refused() -> None:
    with pytest.raises(ConfigError, match="agent: must learn from steps, got 'Random'"):
        training.timed_fit(Random(), SHOP, 64)


def test_cases_are_those_of_the_plan_unless_told_otherwise() -> None:
    assert training.cases_of([]) == list(training.CASES)
    assert training.cases_of(["sarsa", "slateq"], users=3) == [
        training.Case("sarsa", training.SHOP, 3),
        training.Case("slateq", training.SLATES, 3),
    ]
    assert training.cases_of(["dqn"], "recgym/News-v0") == [training.Case("dqn", "recgym/News-v0")]


def test_command_writes_what_it_shows(monkeypatch, tmp_path, capsys) -> None:
    file = tmp_path / "training.json"
    options = ["--agent", "linucb", "--id", SHOP.id, "--users", "8", "--steps", "40", "--runs", "2", "-o", str(file)]
    monkeypatch.setattr(sys, "argv", ["benchmarks", "training", *options])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    data = json.loads(file.read_text())
    (cost,) = data["trainings"]
    assert (cost["agent"], cost["id"], cost["users"], cost["steps"]) == ("linucb", SHOP.id, 8, 40)
    assert len(cost["seconds"]) == 2
    for part in training.PARTS:
        shares = [run[part] / sum(run.values()) for run in cost["seconds"]]
        assert cost["shares"][part] == pytest.approx(np.median(shares))
    assert "torch" in data["software"]
