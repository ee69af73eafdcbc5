"""What users saw and clicked before, as features of what they are shown: fatigue of topics, a reference price, the pull of clicked items."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch

from recgym.fit.clicks import Z
from recgym.fit.effects import logistic
from recgym.fit.events import Slates, replay_level, replay_pull, replay_topics
from recgym.fit.taste import Data, Taste
from recgym.types import Array

HALF_LIVES = (2.0, 5.0, 20.0, 60.0, 360.0, 1440.0)  # minutes, of the fatigue
MEMORIES = (0.5, 0.7, 0.8, 0.9)  # of the reference price
PULL_MEMORY = 0.8  # of the attraction of clicked items; logs tell its strength, hardly its memory


def past(data: Data, slates: Slates, model: Taste, names: list[str]) -> tuple[Data, list[str], dict[str, Any]]:
    """The data with features of what the users saw before; their decays are those under which the clicks are likeliest, all else equal."""
    decays: dict[str, Any] = {}
    added: dict[str, Array] = {}
    shape = slates.item.shape
    shown = slates.shown
    some = np.random.default_rng(5).permutation(len(slates))[:200_000]
    with torch.no_grad():
        mean, _ = model.prior(data.profile, data.known)
        offset = model.utility(data, mean.numpy(), some).numpy().astype(np.float64)
    there = shown[some]
    y = (slates.click & shown)[some][there].astype(np.float64)
    place = np.broadcast_to(np.arange(shape[1]), shape)[some][there]
    base = [np.ones(len(y)), offset[there], np.log1p(place)]

    def score(columns: list[Array]) -> tuple[float, float]:
        X = np.stack([*base, *[column[some][there] for column in columns]], 1)
        w, _, found = logistic(y, X)
        return found, float(w[len(base)])

    if slates.n_topics > 1 and len(slates) > slates.n_users:
        tried = {}
        for half in HALF_LIVES:
            exposed, clicked = np.zeros(shape), np.zeros(shape)
            replay_topics(exposed, clicked, slates.item, slates.click & shown, slates.topic, slates.user, slates.gap,
                          slates.n_topics, half)  # fmt: skip
            tried[half] = (score([exposed, clicked])[0], exposed, clicked)
        decays["half_life"] = max(tried, key=lambda half: tried[half][0])
        _, added["ignored"], added["clicked"] = tried[decays["half_life"]]
        added["ignored"], added["clicked"] = -added["ignored"], -added["clicked"]
    if "log_price" in names:
        f = slates.signals.index("log_price")
        price = slates.signal[..., f].astype(np.float64)
        best = (-math.inf, None)
        for memory in MEMORIES:
            for least in (False, True):
                level = np.zeros(len(slates))
                replay_level(level, price, slates.item, slates.user, memory, least)
                column = np.broadcast_to(level[:, None], shape)
                found, _ = score([column])
                if found > best[0]:
                    best = (found, column)
                    decays["level"] = (memory, "least" if least else "mean")
        assert best[1] is not None
        added["level"] = best[1]
    if len(slates) > slates.n_users:
        click = (slates.click & shown).astype(np.float64)
        everywhere = np.zeros_like(slates.item)  # empty positions count, as they do in the world
        best = (-math.inf, None)
        for memory in MEMORIES:
            level = np.zeros(len(slates))
            replay_level(level, click, everywhere, slates.user, memory, False)
            column = np.broadcast_to(-level[:, None], shape)
            found, slope = score([column, *added.values()])
            if found > best[0]:
                best = (found, column if slope > 0 else None)
                decays["busy"] = memory
        if best[1] is not None:  # else those who have clicked click more: tastes that differ, which the model has
            added["busy"] = best[1]
    if data.embedding is not None and len(slates) > slates.n_users:
        match = np.zeros(shape)
        replay_pull(
            match,
            slates.item,
            slates.click & shown,
            data.embedding.numpy().astype(np.float64),
            slates.user,
            PULL_MEMORY,
        )
        added["pull"] = match
    if not added:
        return data, [], decays
    extra = np.stack([np.where(shown, column, 0.0) for column in added.values()], -1).astype(np.float32)
    feature = torch.cat([data.feature, torch.from_numpy(extra)], -1)
    return dataclasses.replace(data, feature=feature), list(added), decays


def worth_keeping(model: Taste, cov: Array, labels: list[str], names: list[str], dynamic: list[str]) -> list[str]:
    """Features that stay: all signals, and those of the past whose 95 % interval does not hold 0 and whose sign makes sense."""
    kept = []
    for f, name in enumerate(names):
        place = labels.index(f"gamma{f}")
        value, error = float(model.gamma[f].detach()), math.sqrt(cov[place, place])
        sensible = value > 0 or name == "level"
        if name not in dynamic or (abs(value) > Z * error and sensible):
            kept.append(name)
    return kept
