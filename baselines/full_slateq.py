"""Q-learning with a value for each slate, to compare SlateQ with: it needs no model of the choice, but few slates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from baselines.encoders import Mean, head_of, read_block
from baselines.slate_learner import Sample, SlateLearner
from recgym.envs import RecVectorEnv
from recgym.errors import require

Array = NDArray[Any]
MAX_SLATES = 5000  # that FullSlateQ enumerates


class SlateNet(nn.Module):
    """Values of L whole slates, from user and history as in `CandidateHead`, and from the items of each slate in order.

    Args:
        slates: (L, S) int64 candidates. head: arguments of `CandidateHead`, see `head_of`.
    """

    def __init__(self, slates: Tensor, head: dict[str, Any]) -> None:
        super().__init__()
        self.slates, self.head, width = slates, head, head["width"]
        self.user, self.candidates = slice(*head["user"]), slice(*head["candidates"][:2])
        rows, columns = head["history"][2:]
        self.reader = Mean(rows, columns, width)
        self.context = nn.Linear(head["user"][1] - head["user"][0] + width, width)
        self.items = nn.ModuleList(
            [nn.Linear(head["candidates"][3], width, bias=False) for _ in range(slates.shape[1])]
        )
        self.top = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, L)."""
        read = read_block(self.reader, observation, self.head["history"])
        first = self.context(torch.cat([observation[:, self.user], read], dim=1))[:, None]
        x = observation[:, self.candidates].unflatten(1, self.head["candidates"][2:])
        for s, layer in enumerate(self.items):
            first = first + layer(x)[:, self.slates[:, s]]
        return self.top(first)[:, :, 0]


@dataclass
class FullSlateQ(SlateLearner):
    """Q-learning with a value for each set of S candidates, without SlateQ's decomposition.

    There are K over S sets, at most 5000, which are enumerated. The items of a slate are shown in the order of the
    candidates. Arguments: see `SlateLearner`.
    """

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for an env.

        Raises:
            ConfigError: actions name no candidates, observations are not flat, or rewards are vectors; there are too many
                slates, or nothing can be recommended.
        """
        K, S = env.world.n_candidates, env.world.slate_size
        require(
            comb(K, S) <= MAX_SLATES,
            "slate_size",
            f"FullSlateQ needs at most {MAX_SLATES} sets of candidates",
            comb(K, S),
        )
        require(not env.actions.null, "null_action", "FullSlateQ needs False", True)
        self._slates = torch.tensor(list(combinations(range(K), S)))
        super().start(env)

    def networks(self, env: RecVectorEnv) -> dict[str, nn.Module]:
        return {"value": SlateNet(self._slates, head_of(self.layout, env.actions.n, self.width, False))}

    def slate_values(self, net: nn.Module, observation: Tensor, mask: Tensor) -> Tensor:
        """(B, L) float32 values of all slates by a network; -inf for those with an empty candidate, unless all have one.

        Args:
            net: ``nets["value"]`` or `target_net`. observation: (B, width) float32. mask: (B, K) bool.
        """
        value, there = net(observation), mask[:, self._slates].all(dim=2)
        return value.masked_fill(~there & there.any(dim=1, keepdim=True), -torch.inf)

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32 values of the best slate with each choice, in units of the training reward; -inf where none is."""
        with torch.no_grad():
            value = self.slate_values(self.nets["value"], self.seen(observation), torch.from_numpy(mask))
        holds = torch.stack([(self._slates == k).any(dim=1) for k in range(mask.shape[1])])
        best = torch.stack([value[:, rows].amax(dim=1) for rows in holds], dim=1)
        return np.where(mask, best.numpy(), -np.inf).astype(np.float32)

    def best(self, observation: Tensor, mask: Array) -> Array:
        value = self.slate_values(self.nets["value"], observation, torch.from_numpy(mask > 0))
        return self._slates[value.argmax(dim=1)].numpy()

    def next_value(self, after: Sample) -> Tensor:
        return self.slate_values(self.target_net, after["observation"], after["available"]).amax(dim=1)

    def predicted(self, sample: Sample) -> tuple[Tensor, Tensor]:
        """(m,) float32 values of the slates that were shown, and which of them count, (m,) bool: whole slates."""
        shown = sample["shown"].sort(dim=1).values
        same = (shown[:, None] == self._slates).all(dim=2)
        value = (self.nets["value"](sample["observation"]) * same).sum(dim=1)
        return value, sample["counts"] & same.any(dim=1)
