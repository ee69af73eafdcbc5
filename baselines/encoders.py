"""Networks over observations, and their files, shared by the agents."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.agent import write_atomically
from recgym.envs import RecVectorEnv
from recgym.errors import require


class CandidateHead(nn.Module):
    """Values of candidates from flat observations, by one network for all of them.

        u   = two layers of [user block, mean over the places of the history of relu(W place)]
        a_k = two layers of relu(A x_k + B u + C (D x_k * E u)), x_k the features of candidate k
        Q_k = v(u) + a_k - mean of a over all that can be chosen        (dueling: Wang et al., ICML 2016)

    Permuted candidates have permuted values (Zaheer et al., "Deep sets", NeurIPS 2017). Recommending nothing has an
    advantage of its own, from u. An empty candidate is worth 1 less than the worst choice: it is never the best, and
    where a random action hit one, its loss stays bounded.

    Args:
        user, mask: (start, stop) of the blocks of the observation.
        history, candidates: (start, stop, rows, columns).
        null: whether choice 0 is to recommend nothing.
        width: units a layer. dueling: whether v(u) is apart; otherwise Q_k = a_k.
    """

    def __init__(
        self,
        user: tuple[int, int],
        history: tuple[int, ...],
        candidates: tuple[int, ...],
        mask: tuple[int, int],
        null: bool,
        width: int,
        dueling: bool,
    ) -> None:
        super().__init__()
        self.user, self.mask = slice(*user), slice(*mask)
        self.history, self.places = slice(*history[:2]), history[2:]
        self.candidates, self.items = slice(*candidates[:2]), candidates[2:]
        rank = max(width // 2, 1)
        self.place = nn.Linear(history[3], width)
        first = nn.Linear(user[1] - user[0] + width, width)
        self.context = nn.Sequential(first, nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.item, self.shift = nn.Linear(candidates[3], width), nn.Linear(width, width, bias=False)
        self.left, self.right = nn.Linear(candidates[3], rank), nn.Linear(width, rank)
        self.cross = nn.Linear(rank, width, bias=False)
        self.advantage = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))
        self.value = _two_layers(width) if dueling else None
        self.nothing = _two_layers(width) if null else None

    def forward(self, observation: Tensor) -> Tensor:
        """(B, width of the observation) -> (B, choices)."""
        history = observation[:, self.history].unflatten(1, self.places)
        taken = (history != 0).any(dim=2, keepdim=True)
        read = (torch.relu(self.place(history)) * taken).sum(dim=1) / taken.sum(dim=1).clamp(min=1)
        u = self.context(torch.cat([observation[:, self.user], read], dim=1))
        x = observation[:, self.candidates].unflatten(1, self.items)
        match = self.cross(self.left(x) * self.right(u)[:, None])
        q = self.advantage(self.item(x) + self.shift(u)[:, None] + match)[:, :, 0]
        mask = observation[:, self.mask] > 0.5
        if self.nothing is not None:
            q = torch.cat([self.nothing(u), q], dim=1)
            mask = torch.cat([torch.ones_like(mask[:, :1]), mask], dim=1)
        if self.value is not None:
            q = self.value(u) + q - (q * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        worst = q.detach().masked_fill(~mask, torch.inf).amin(dim=1, keepdim=True)
        return torch.where(mask, q, torch.where(mask.any(dim=1, keepdim=True), worst - 1, 0.0))


def _two_layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def head_of(env: RecVectorEnv, width: int = 32, dueling: bool = True) -> dict[str, Any]:
    """Arguments of the `CandidateHead` of an env with flat observations, plain numbers all."""
    layout = env.observation_layout
    head: dict[str, Any] = {name: (layout[name].slice.start, layout[name].slice.stop) for name in ("user", "mask")}
    for name in ("history", "candidates"):
        head[name] = (layout[name].slice.start, layout[name].slice.stop, *layout[name].shape)
    return {**head, "null": env.actions.null, "width": width, "dueling": dueling}


def write_weights(folder: str | os.PathLike[str], name: str, weights: Any) -> None:
    """Write tensors in dicts to a file of that name, atomically."""
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    write_atomically(Path(folder) / name, buffer.getvalue())


def read_weights(folder: str | os.PathLike[str], name: str) -> Any:
    """Read what `write_weights` wrote. Nothing is unpickled but plain tensors (``weights_only=True``).

    Raises:
        ConfigError: no such file.
    """
    file = Path(folder) / name
    require(file.is_file(), "agent folder", f"must hold {name}", str(folder))
    return torch.load(file, map_location="cpu", weights_only=True)
