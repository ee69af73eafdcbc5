"""A form of actions of one's own: the agent picks a topic, and the slate shows its first candidates."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

import recgym
from recgym.kernel import kernel
from recgym.types import I32, empty


class TopicAction(recgym.Action):
    """A topic, `Discrete(T)`: its candidates fill the slate in their order; positions beyond them stay empty."""

    form = "topic"
    fusable = True

    def make_space(self) -> spaces.Space[Any]:
        return spaces.Discrete(self.world.sizes.topics)

    def decode(self, actions: np.ndarray, users: recgym.Users) -> np.ndarray:
        slate = empty((len(users), self.world.slate_size), I32)
        fill_slate(slate, actions, users.candidates, self.world.catalog.topic)
        return slate


@kernel
def fill_slate(slate, actions, candidates, topic):
    """Fills slates (B, S) with candidates (B, K) of the topics that actions (B,) name."""
    slate[:] = -1
    for b in range(slate.shape[0]):
        s = 0
        for k in range(candidates.shape[1]):
            i = candidates[b, k]
            if s < slate.shape[1] and i >= 0 and topic[i] == actions[b]:
                slate[b, s] = i
                s += 1
