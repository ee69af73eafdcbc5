"""The choice models of `recgym.models.choice` as likelihoods that torch can differentiate; a test holds the two together.

Shapes: `v` (..., S) utilities, `there` (..., S) bool, `click` (..., S) bool; shape parameters `theta` have a leading axis of
the same batch or none. Returned is (...,), the log-probability of the whole click pattern.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

Likelihood = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def position_based(v: Tensor, there: Tensor, click: Tensor, theta: Tensor) -> Tensor:
    """Each position is examined with probability sigmoid(theta_s) / (the largest of these), an examined item clicked with sigmoid(v)."""
    e = examination(theta)
    log_p = F.logsigmoid(v) + e.log()
    log_not = torch.log1p(-(torch.sigmoid(v) * e).clamp(max=1 - 1e-7))
    return (torch.where(click, log_p, log_not) * there).sum(-1)


def independent(v: Tensor, there: Tensor, click: Tensor, theta: Tensor) -> Tensor:
    """All positions are examined; theta is not used."""
    return (F.logsigmoid(torch.where(click, v, -v)) * there).sum(-1)


def cascade(v: Tensor, there: Tensor, click: Tensor, theta: Tensor) -> Tensor:
    """From the top; after each position the reader goes on with probability sigmoid(theta_0), times sigmoid(theta_1) after a click."""
    attention, continuation = torch.sigmoid(theta[..., 0]), torch.sigmoid(theta[..., 1])
    a = torch.sigmoid(v)
    reading, stopped = torch.ones_like(v[..., 0]), torch.zeros_like(v[..., 0])
    for s in range(v.shape[-1]):
        c, here = click[..., s], there[..., s]
        seen = torch.where(here, torch.where(c, a[..., s], 1 - a[..., s]), 1.0)
        reading, stopped = reading * seen, torch.where(c & here, 0.0, stopped)
        on = attention * torch.where(c & here, continuation, 1.0)
        reading, stopped = reading * on, stopped + reading * (1 - on)
    return (reading + stopped).clamp(min=1e-30).log()


def multinomial(v: Tensor, there: Tensor, click: Tensor, theta: Tensor) -> Tensor:
    """At most one click, by a logit whose outside option has utility 0; the position costs softplus(theta_0) ln(1 + s)."""
    position = torch.log1p(torch.arange(v.shape[-1], dtype=v.dtype))
    worth = torch.where(there, v - F.softplus(theta[..., :1]) * position, -torch.inf)
    total = torch.logsumexp(torch.cat([worth, torch.zeros_like(worth[..., :1])], -1), -1)
    chosen = torch.where(click & there, worth, 0.0).sum(-1)
    return chosen - total


def examination(theta: Tensor) -> Tensor:
    """(..., S) examination of the positions, relative to the most examined one."""
    return torch.exp(F.logsigmoid(theta) - F.logsigmoid(theta).amax(-1, keepdim=True))


# name -> likelihood, number of shape parameters for S positions, and their start
CHOICES: dict[str, tuple[Likelihood, Callable[[int], list[float]]]] = {
    "position-based": (position_based, lambda S: [3.0 - 2.0 * s / S for s in range(S)]),
    "cascade": (cascade, lambda S: [1.5, 0.0]),
    "multinomial logit": (multinomial, lambda S: [-1.0]),
    "independent": (independent, lambda S: []),
}
