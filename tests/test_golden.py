"""Golden statistics of every registered id: a change to its numbers must be meant, and bump its version.

``python tests/test_golden.py`` writes tests/golden.json anew, after which the id gets a new -vN or a line of history.
"""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest

import recgym

FILE = Path(__file__).with_name("golden.json")
USERS, STEPS = 512, 60


def statistics(env_id: str) -> dict[str, float]:
    """Means over users and steps under a fixed rota of the candidates."""
    env = gym.make_vec(env_id, num_envs=USERS)
    observation, _ = env.reset(seed=0)
    space = env.single_action_space
    n = int(space.n if isinstance(space, gym.spaces.Discrete) else space.nvec[0])  # type: ignore[attr-defined]
    places = np.arange(int(np.prod(space.shape or ())))
    totals: dict[str, float] = {"terminated": 0, "truncated": 0, "reward": 0, "observation": 0, "observation^2": 0}
    for t in range(STEPS):
        action = (np.arange(USERS)[:, None] + 3 * t + places) % n
        observation, reward, terminated, truncated, info = env.step(action.reshape(USERS, *(space.shape or ())))
        flat = np.asarray(observation, np.float64)
        step = dict(zip(env.unwrapped.world.objectives, info["objectives"].mean(axis=0, dtype=np.float64), strict=True))  # type: ignore[attr-defined]
        step |= {"terminated": terminated.mean(), "truncated": truncated.mean(), "reward": reward.mean(),
                 "observation": flat.mean(), "observation^2": (flat**2).mean()}  # fmt: skip
        for name, value in step.items():
            totals[name] = totals.get(name, 0.0) + float(value) / STEPS
    return totals


@pytest.mark.parametrize("env_id", [*recgym.ENV_IDS, *recgym.CLASSIC_IDS])
def test_numbers_have_not_moved(env_id: str) -> None:
    golden = json.loads(FILE.read_text())
    # Compilers and libraries differ in last digits, and a last digit may turn a click: a few of 30,000 steps.
    assert statistics(env_id) == pytest.approx(golden[env_id], rel=5e-3, abs=1e-4)


if __name__ == "__main__":
    found = {
        env_id: {k: round(v, 6) for k, v in statistics(env_id).items()}
        for env_id in (*recgym.ENV_IDS, *recgym.CLASSIC_IDS)
    }
    FILE.write_text(json.dumps(found, indent=1) + "\n")
