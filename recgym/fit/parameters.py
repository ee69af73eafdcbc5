"""Numbers of a fitted world, with intervals."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch

from recgym.fit.clicks import Z, sigmoid
from recgym.fit.likelihood import examination
from recgym.fit.taste import Taste
from recgym.types import Array

FAR = 50.0  # log-odds that are as good as infinite


class Parameter(NamedTuple):
    """A number of the world with its 95 % interval: where it is, what it means, and whether the logs told it."""

    name: str
    value: float
    low: float
    high: float
    meaning: str


def estimate(name: str, value: float, error: float, meaning: str) -> Parameter:
    """A parameter with the 95 % interval of a normal number of this standard deviation."""
    return Parameter(name, value, value - Z * error, value + Z * error, meaning)


def taste_parameters(model: Taste, cov: Array, labels: list[str], signals: list[str], several: bool) -> list[Parameter]:
    """The coefficients of utility and choice; `labels` are those of their covariance."""
    error = np.sqrt(np.maximum(np.diag(cov), 0))

    def of(label: str) -> float:
        return float(error[labels.index(label)])

    found = []
    for f, name in enumerate(signals):
        meaning = "utility of one unit of " + ("relative log price" if name == "log_price" else name)
        found.append(estimate(name, float(model.gamma[f].detach()), of(f"gamma{f}"), meaning))
    for r, f in enumerate(
        model.slopes
    ):  # no interval: where little is told, the squares of scores from few draws are far too large
        spread = float(model.log_omega.detach()[r].exp())
        meaning = "standard deviation of this coefficient among users"
        found.append(Parameter(f"{signals[f]}, spread", spread, math.nan, math.nan, meaning))
    theta = model.theta.detach()
    if model.choice == "position-based" and several:
        e = examination(theta).numpy()
        for s in range(len(theta)):
            slope = float(1 - torch.sigmoid(theta[s]))
            best = int(theta.argmax())
            if s == best:
                found.append(Parameter(f"examination {s + 1}", 1.0, 1.0, 1.0, "the position that is examined most"))
                continue
            a, b = labels.index(f"theta{s}"), labels.index(f"theta{best}")
            other = float(1 - torch.sigmoid(theta[best]))
            variance = slope**2 * cov[a, a] + other**2 * cov[b, b] - 2 * slope * other * cov[a, b]
            reach = math.exp(min(Z * math.sqrt(max(variance, 0.0)), FAR))
            found.append(
                Parameter(
                    f"examination {s + 1}",
                    float(e[s]),
                    float(e[s] / reach),
                    min(float(e[s] * reach), 1.0),
                    "of this position, relative to the most examined one",
                )
            )
    if model.choice == "cascade":
        for k, name in enumerate(("attention", "continuation")):
            value, reach = float(theta[k]), Z * of(f"theta{k}")
            low, mid, high = (float(sigmoid(np.clip(x, -FAR, FAR))) for x in (value - reach, value, value + reach))
            found.append(Parameter(name, mid, low, high, ("reading on", "factor on reading on after a click")[k]))
    if model.choice == "multinomial logit" and several:
        value, reach = float(theta[0]), Z * of("theta0")
        low, mid, high = (float(np.logaddexp(0, x)) for x in (value - reach, value, value + reach))
        found.append(Parameter("decay", mid, low, high, "what the position costs, of ln of its number"))
    found.append(
        estimate(
            "level",
            float(model.level.detach()),
            of("level"),
            "utility of an average item to an average user, against taking nothing",
        )
    )
    found.append(
        Parameter(
            "item spread",
            float(model.log_tau.detach().exp()),
            math.nan,
            math.nan,
            "standard deviation of what items are worth beyond their attributes",
        )
    )
    return found
