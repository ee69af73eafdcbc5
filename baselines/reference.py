"""The yardsticks: Random, Popularity, and two that read the simulator's hidden state, MyopicOracle and Planner."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count
from recgym.kernel import kernel
from recgym.models.reward import pay
from recgym.noise import mix, noise
from recgym.types import Users
from recgym.world import World

Array = NDArray[Any]


@dataclass
class Random(Agent):
    """Uniform over the choices that show something (and nothing, where that is an action); no item twice.

    Args:
        seed: of the agent's own noise.
    """

    seed: int = 0

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        self._step = 0
        self._keys = mix([(hash_seed + 1) * 2654435761 % 2**63 + self.seed for hash_seed in range(env.num_envs)])

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        raise NotImplementedError
