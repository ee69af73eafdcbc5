"""What follows a click: events such as carts and purchases, and the time on an item."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.fit.effects import Regression, given_draws
from recgym.fit.events import Slates
from recgym.fit.parameters import Parameter, estimate
from recgym.fit.taste import Data, Taste
from recgym.logs.table import EVENTS


class Followed(NamedTuple):
    """Laws of the events, in the order of the funnel, and of the minutes ("dwell").

    Args:
        after: event -> the event that it follows, where that is not the click. fits: event or "dwell" -> its law.
        revenue: whether prices of purchases are known. longest: minutes on an item, at which they are cut.
    """

    events: tuple[str, ...]
    after: dict[str, str]
    fits: dict[str, Regression]
    revenue: bool
    longest: float


def fit_outcomes(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32], unknown: list[str]
) -> tuple[Followed, list[Parameter]]:
    """Laws of what follows a click."""
    m, s = np.nonzero(slates.click & slates.shown)
    item = slates.item[m, s].astype(np.int64)
    v = np.concatenate([
        model.utility(data, interest, m[some]).numpy()[:, np.arange(len(some)), s[some]]
        for some in np.array_split(np.arange(len(m)), max(len(m) // 10_000, 1))
    ], axis=1).astype(np.float64)  # fmt: skip
    priced = "log_price" in slates.signals
    X = (
        slates.signal[m, s, slates.signals.index("log_price")][:, None].astype(np.float64)
        if priced
        else np.zeros((len(m), 0))
    )
    fits: dict[str, Regression] = {}
    after: dict[str, str] = {}
    events, found = [], []
    for name in EVENTS:
        if name not in slates.outcome:
            unknown.append(f"{name.capitalize()}: not logged; the world has no such event.")
            continue
        y = (slates.outcome[name][m, s] > 0).astype(np.float64)
        base = np.ones(len(y), np.bool_)
        if name == "purchase" and "cart" in events:
            cart = slates.outcome["cart"][m, s] > 0
            if (np.asarray(cart)[y > 0]).mean() > 0.95:
                after[name], base = "cart", cart
        if y[base].sum() < 20 or (1 - y[base]).sum() < 20:
            unknown.append(
                f"{name.capitalize()}: {int(y[base].sum())} of {int(base.sum())} is too few to fit a law; the world has none."
            )
            after.pop(name, None)
            continue
        fit = given_draws(y[base], v[:, base], X[base], item[base], slates.n_items)
        fits[name] = fit
        events.append(name)
        given = f"given a {after.get(name, 'click')}"
        error = np.sqrt(np.diag(fit.covariance))
        for k, what in enumerate(
            ("log-odds", "per unit of utility", "per unit of relative log price")[: 2 + X.shape[1]]
        ):
            found.append(estimate(f"{name}, {what}", float(fit.coefficient[k]), float(error[k]), f"of {name} {given}"))
    longest = 30.0
    if "dwell" in slates.outcome:
        minutes = slates.outcome["dwell"][m, s]
        there = minutes > 0
        longest = float(max(np.quantile(minutes[there], 0.999), 0.1)) if there.any() else 30.0
        if there.sum() >= 50:
            capped = np.minimum(minutes[there], longest).astype(np.float64)
            fits["dwell"] = given_draws(
                np.log(capped), v[:, there], X[there][:, :0], item[there], slates.n_items, logistic=False
            )
            error = np.sqrt(np.diag(fits["dwell"].covariance))
            for k, what in enumerate(("log minutes", "per unit of utility")):
                found.append(
                    estimate(
                        f"dwell, {what}",
                        float(fits["dwell"].coefficient[k]),
                        float(error[k]),
                        "of the time on a clicked item",
                    )
                )
    else:
        unknown.append("Dwell: not logged; a step takes the usual time between two steps, clicked or not.")
    revenue = priced and "purchase" in fits
    return Followed(tuple(events), after, fits, revenue, longest), found


def scan(slates: Slates) -> float:
    """Minutes of a step besides those on clicked items: the median of steps after which the user went on without a click."""
    within = (slates.step > 0) & (slates.gap > 0)
    clicked = np.asarray((slates.click & slates.shown).any(axis=1))
    quiet = within & ~np.r_[False, clicked[:-1]]
    gaps = slates.gap[quiet] if quiet.sum() >= 20 else slates.gap[within]
    return float(np.median(gaps)) if len(gaps) else 1.0


def lengths(slates: Slates) -> NDArray[np.float64]:
    """(M,) minutes of each step: those that every step takes, and those on clicked items."""
    minutes = np.full(len(slates), scan(slates))
    return minutes + slates.outcome["dwell"].sum(axis=1).astype(np.float64) if "dwell" in slates.outcome else minutes
