"""Cross-validation of the click model against plainer ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from recgym.errors import FitError, require_count
from recgym.fit.clicks import Array, fit_clicks
from recgym.fit.report import Score
from recgym.logs import Interactions


def cross_validate(interactions: Interactions, folds: int = 10, seed: int = 0) -> tuple[Score, ...]:
    """Held-out log loss of four plain models and, last, of the fitted one.

    Each row is predicted by models of the other folds. Folds are drawn at random, separately among clicks and other
    rows, so that each has its share of the few clicks. Standard errors are those of the mean paired difference over
    rows; they leave out that the models of the folds share training rows.

    Raises:
        FitError: fewer clicks than folds.
    """
    require_count("folds", folds, 2, 1000)
    click = interactions.click
    if min(click.sum(), (~click).sum()) < folds:
        raise FitError(f"folds: must be at most the {click.sum()} clicks, got {folds}")
    rng = np.random.default_rng(np.random.SeedSequence([seed, 1]))
    order = rng.permutation(len(click))
    order = order[np.argsort(click[order], kind="stable")]
    fold = np.empty(len(click), np.int64)
    fold[order] = np.arange(len(click)) % folds
    losses = {name: np.empty(len(click)) for name in MODELS}
    for k in range(folds):
        impressions, clicks = interactions.counts(fold != k)
        rows = np.flatnonzero(fold == k)
        for name, model in MODELS.items():
            p = model(impressions, clicks)[interactions.item[rows], interactions.position[rows]]
            losses[name][rows] = -np.where(click[rows], np.log(p), np.log1p(-p))
    scores = []
    for name, loss in losses.items():
        behind = loss - losses["fitted"]
        error = behind.std(ddof=1) / math.sqrt(len(loss))
        scores.append(Score(name, float(loss.mean()), float(behind.mean()), float(error)))
    return tuple(scores)


def _smoothed(impressions: Array, clicks: Array, axis: int, pseudo: float | None) -> Array:
    """(N, P) rates by item (axis 1) or position (axis 0), smoothed by impressions at the mean rate.

    `pseudo` is the number of these impressions; None is as many as have one click.
    """
    rate = clicks.sum() / impressions.sum()
    pseudo = 1 / rate if pseudo is None else pseudo
    p = (clicks.sum(axis, keepdims=True) + pseudo * rate) / (impressions.sum(axis, keepdims=True) + pseudo)
    return np.broadcast_to(p, clicks.shape)


MODELS: dict[str, Callable[[Array, Array], Array]] = {
    "constant": lambda n, y: np.full(n.shape, y.sum() / n.sum()),
    "position rates": lambda n, y: _smoothed(n, y, 0, None),
    "item rates, add one impression": lambda n, y: _smoothed(n, y, 1, 1.0),
    "item rates, add one click": lambda n, y: _smoothed(n, y, 1, None),
    "fitted": lambda n, y: fit_clicks(n, y).probability,
}
