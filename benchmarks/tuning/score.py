"""One setting of an agent, trained on the users of tuning and scored on others: a line of JSON for a record here.

    python -m benchmarks.tuning.score dqn recgym/News-v0 0 '{"n_steps": 5}' >> runs.jsonl

The agent "stock" is Stable-Baselines3's own DQN, ``DQN("MlpPolicy", env)``, and "candidate" the same with the policy that the
documentation recommends first, ``DQN(CandidatePolicy, env, buffer_size=50_000)``. The JSON files of this folder are such lines by agent.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import gymnasium as gym
import numpy as np
import stable_baselines3
import torch

from baselines.agent import Agent, Task, evaluate
from baselines.registry import make_agent
from baselines.sb3 import CandidatePolicy
from benchmarks.suite import SEED_STRIDE, TUNING_SEED

USERS, USER_SEED = 1000, 3 * 10**9  # whom settings are scored on; no suite has them, in training or in evaluation


class Stock(Agent):
    """Stable-Baselines3's DQN on a plain env with its defaults, or the arguments given."""

    def __init__(self, policy: Any = "MlpPolicy", **arguments: Any) -> None:
        self.policy, self.arguments = policy, arguments

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Any = None) -> None:
        env = gym.make(task.id, **task.options)
        env.reset(seed=seed)
        self.model = stable_baselines3.DQN(self.policy, env, seed=seed, device="cpu", **self.arguments)
        self.model.learn(steps)

    def act(self, observation: Any, mask: Any, explore: bool = False) -> Any:
        return self.model.predict(observation, deterministic=True)[0]


def score(
    agent: str, task: str, seed: int, hyperparameters: dict[str, Any], options: dict[str, Any], steps: int
) -> dict[str, Any]:
    """What a run with tuning's seed number `seed` earns: mean return, its standard error over users, and its costs.

    Args:
        agent: registry name, "stock" or "candidate". task: id. options: of the task in training alone. steps: of training, 0 for none.
    """
    if agent == "stock":
        made: Agent = Stock(**hyperparameters)
    elif agent == "candidate":
        made = Stock(CandidatePolicy, **{"buffer_size": 50_000, **hyperparameters})
    else:
        made = make_agent(agent, **hyperparameters)
    wall, cpu = time.perf_counter(), time.process_time()
    if steps:
        made.fit(Task(task, options), steps, TUNING_SEED + seed * SEED_STRIDE)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    found = evaluate(made, task, USERS, USER_SEED)
    objectives = {name: round(float(x), 3) for name, x in zip(found.names, found.objectives.mean(axis=0), strict=True)}
    return {
        "agent": agent, "task": task, "seed": seed, "steps": steps, "hyperparameters": hyperparameters, "options": options,
        "mean": round(float(found.returns.mean()), 3), "se": round(float(found.returns.std() / np.sqrt(USERS)), 3),
        "length": round(float(found.lengths.mean()), 2), "objectives": objectives, "wall_s": round(wall, 1), "cpu_s": round(cpu, 1),
    }  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    agent, task, seed, *rest = sys.argv[1:]
    given, options, steps = [*rest, *["{}", "{}", "50000"][len(rest) :]]
    print(json.dumps(score(agent, task, int(seed), json.loads(given), json.loads(options), int(steps))))
