"""Slates by SlateQ's decomposition: what a slate is worth, and the best one of some candidates.

In all functions, weights and values are (B, 1 + K), of picking nothing and of each of K candidates; a candidate of weight 0
is not there. Where a user picks one item at most, weights are relative, and a slate is worth the mean of the values
with those weights; where a user picks several, weights are probabilities, and each item adds its own part.
"""

from __future__ import annotations

import torch
from torch import Tensor


def mean_value(weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
    """(B,) values of slates of which one item at most is picked.

    Args:
        weights, values: (B, 1 + K), nothing first. slate: (B, S) int64 candidates in [0, K), -1 = nothing.
    """
    at = slate.clamp(min=0)
    w, q = weights[:, 1:].gather(1, at).masked_fill(slate < 0, 0.0), values[:, 1:].gather(1, at)
    return (weights[:, 0] * values[:, 0] + (w * q).sum(dim=1)) / (weights[:, 0] + w.sum(dim=1))


def sum_value(weights: Tensor, values: Tensor, slate: Tensor) -> Tensor:
    """(B,) values of slates of which several items may be picked; arguments of `mean_value`, weights probabilities."""
    at = slate.clamp(min=0)
    worth = weights[:, 1:].gather(1, at) * (values[:, 1:].gather(1, at) - values[:, :1])
    return values[:, 0] + worth.masked_fill(slate < 0, 0.0).sum(dim=1)


def top_k(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates of the highest w_i (Q_i - Q_0), the paper's TS; those of weight 0 come last."""
    worth = weights[:, 1:] * (values[:, 1:] - values[:, :1])
    return worth.masked_fill(weights[:, 1:] <= 0, -torch.inf).topk(size, dim=1).indices


def greedy(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates, each the one that makes the slate so far worth most, the paper's GS."""
    w, wq = weights[:, 1:], weights[:, 1:] * values[:, 1:]
    above, below = weights[:, :1] * values[:, :1], weights[:, :1].clone()
    free, chosen = w > 0, []
    for _ in range(size):
        worth = ((above + wq) / (below + w)).masked_fill(~free, -torch.inf)
        best = worth.argmax(dim=1, keepdim=True)
        chosen.append(best)
        above, below = above + wq.gather(1, best), below + w.gather(1, best)
        free = free.scatter(1, best, False)
    return torch.cat(chosen, dim=1)


def exact(weights: Tensor, values: Tensor, size: int) -> Tensor:
    """(B, S) candidates of the best slate, the paper's OS, by Dinkelbach's method instead of a linear programme.

    The slate of the highest ratio has the largest sum of w_i (Q_i - ratio): take that for the ratio so far, and again,
    until the ratio no longer rises (Dinkelbach, Management Science 13(7), 1967). It takes a handful of rounds.
    """
    slate = top_k(weights, values, size)
    for _ in range(50):
        ratio = mean_value(weights, values, slate)
        worth = weights[:, 1:] * (values[:, 1:] - ratio[:, None])
        better = worth.masked_fill(weights[:, 1:] <= 0, -torch.inf).topk(size, dim=1).indices
        rises = mean_value(weights, values, better) > ratio + 1e-6 * ratio.abs()
        if not rises.any():
            break
        slate = torch.where(rises[:, None], better, slate)
    return slate


OPTIMISERS = {"top-k": top_k, "greedy": greedy, "exact": exact}


def without_absent(weights: Tensor, slate: Tensor) -> Tensor:
    """The slates (B, S) with -1 for candidates of weight 0, which are not there."""
    return slate.masked_fill(weights[:, 1:].gather(1, slate.clamp(min=0)) <= 0, -1)
