"""The best policy that this project knows of a world: trained on the hidden state of the user, by policy gradient.

It is the 1 of the normalised scores (`benchmarks.suite`), and no competitor: it sees what no platform sees. Its weights, a
few kilobytes for each environment, lie in ``baselines/policies``; ``python -m benchmarks audit`` trains and compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines.policies import read_policy
from baselines.slate_ppo import Look, SlatePPO
from recgym.envs import RecVectorEnv
from recgym.types import Users
from recgym.world import World

Array = NDArray[Any]


def latent(world: World, users: Users, null: bool) -> Look:
    """The hidden state of B users and what it makes of their candidates.

    Returns:
        choices: (B, n, f) float32, of each choice: utility, probability of a click if shown alone, expected objectives
            given a click, item attributes, market signals, and the user's columns by topic at the item's topic, all of
            them whether hidden or not; and whether it is an item. Zeros where it is none.
        user: (B, g) float32: share of the horizon that is over, utility of the outside option, sine and cosine of the
            time of day, columns of the user that are one number, columns by topic as their sum, sensitivities, and what
            the last slate led to.
        free: (B, n) bool, what can be chosen.
    """
    nothing = np.full((len(users), int(null)), -1, np.int32)
    items = np.concatenate([nothing, users.candidates], axis=1)
    (B, n), there = items.shape, items >= 0
    utility, outside, given, _ = world.appraise(users, items)
    alone = world.choice.probability(utility.reshape(-1, 1).copy(), np.repeat(outside, n)).reshape(B, n)
    topics = (world.sizes.topics,)
    floats = [(users[name], column.shape) for name, column in world.owned.items() if column.dtype is np.float32]
    by_topic = [users.exposure, *(values for values, shape in floats if shape == topics)]
    topic = world.catalog.topic[items].astype(np.int64)
    columns = [
        np.where(utility > -np.inf, utility, 0)[:, :, None],
        alone[:, :, None],
        given,
        world.catalog.attributes[items],
        world.market.observe(items, users.clock),
        *(np.take_along_axis(values, topic, axis=1)[:, :, None] for values in by_topic),
        np.ones((B, n, 1)),
    ]
    choices = np.concatenate([c * there[:, :, None] for c in columns], axis=2, dtype=np.float32)
    angle = 2 * np.pi * users.clock / 1440.0
    own = [users.t / world.horizon, outside, np.sin(angle), np.cos(angle)]
    own += [values for values, shape in floats if shape == ()]
    own += [values.sum(axis=1) for values in by_topic]
    user = np.concatenate([np.stack(own, axis=1), users.sensitivity, users.last], axis=1, dtype=np.float32)
    return Look(choices, user, there | (np.arange(n) < int(null)))


@dataclass
class LatentPolicy(SlatePPO):
    """`SlatePPO` on the hidden state of the user, with its arguments.

    Without a `fit`, the policy is the committed one of the environment's id, see `baselines.policies`; `start` raises a
    ConfigError where there is none, or another than `digests` says.

    Args:
        digests: id -> first 16 hex digits of the SHA-256 of its committed policy, which is checked; empty: not checked.
    """

    digests: dict[str, str] = field(default_factory=dict)
    privileged = True
    what: ClassVar[str] = "best-known policy"

    def look(self, env: RecVectorEnv, observation: Array) -> Look:
        return latent(env.world, env.get_state().users, env.actions.null)

    def _begin(self, env: RecVectorEnv, look: Look) -> None:
        self._parse(*read_policy(env, "best-known", self.digests))

    @classmethod
    def of(cls, content: bytes, file: object, **hyperparameters: Any) -> LatentPolicy:
        """The policy of a file of `baselines.policies`, from which `fit` goes on.

        Raises:
            ConfigError: the file, of that content, holds none.
        """
        agent = cls(**hyperparameters)
        agent._parse(content, file)
        agent.trained = True
        return agent
