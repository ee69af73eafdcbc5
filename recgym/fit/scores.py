"""Scores of predicted clicks: log loss, AUC and calibration, with intervals that take users as what was drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recgym.logs.estimates import ratio

Array = NDArray[np.float64]
RESAMPLES = 200  # of the users, for intervals
BINS = 10  # of the calibration curve
SMALLEST = 1e-6  # no predicted probability is nearer to 0 or 1


class Score(NamedTuple):
    """How well a model predicts the held-out clicks, with 95 % intervals by bootstrap of users; NaN where there is none.

    Args:
        model: its name. about: what it knows of the user.
        log_loss: in nats per row. behind: by how much that is more than that of the fitted model, on the same users.
        auc: the chance that a clicked row has a higher probability than one that was not clicked.
    """

    model: str
    about: str
    log_loss: float
    log_loss_low: float
    log_loss_high: float
    behind: float
    behind_low: float
    behind_high: float
    auc: float
    auc_low: float
    auc_high: float


class Bin(NamedTuple):
    """Rows whose predicted probabilities are alike: their mean, and the share that was clicked, with its 95 % interval."""

    predicted: float
    clicked: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class HeldOut:
    """The scores on held-out users, and which rows they are of.

    Args:
        users, slates, rows, clicks: how many are predicted. scores: of the models, the fitted one last.
        calibration: of the fitted model, tenths of the rows by their probability.
        notes: what to know when reading them.
    """

    users: int
    slates: int
    rows: int
    clicks: int
    scores: tuple[Score, ...]
    calibration: tuple[Bin, ...]
    notes: tuple[str, ...]

    def of(self, model: str) -> Score:
        """The score of a model, by name."""
        return next(score for score in self.scores if score.model == model)

    @property
    def sentence(self) -> str:
        """What the scores say of the fitted model, in plain words."""
        if not self.scores:
            return "No clicks of other users could be predicted: " + " ".join(self.notes)
        fitted = self.of("fitted")
        parts = []
        for name in ("constant", "item-only", "sequence"):
            score = self.of(name)
            if not math.isfinite(score.behind_low):
                parts.append(f"{name} unknown")
            else:
                word = (
                    "better than"
                    if score.behind_low > 0
                    else "worse than"
                    if score.behind_high < 0
                    else "no different from"
                )
                parts.append(f"{word} {name}")
        return (f"Clicks of {self.users:,} users whom the fit has not seen: the fitted model has AUC {fitted.auc:.2f} [{fitted.auc_low:.2f}, {fitted.auc_high:.2f}], and its log loss is "
                f"{', '.join(parts[:-1])} and {parts[-1]}.")  # fmt: skip


def score(
    click: NDArray[np.bool_], predicted: dict[str, Array], owner: NDArray[np.int64], users: int, about: dict[str, str], seed: int = 0
) -> tuple[Score, ...]:  # fmt: skip
    """Scores of predictions, the last of which is what the others are compared with.

    Args:
        click: (n,) bool. predicted: model -> (n,) probabilities. owner: (n,) whose row it is, in [0, users).
        about: model -> what it knows. seed: of the bootstrap.
    """
    rng = np.random.default_rng([seed, 23])
    weight = rng.multinomial(users, np.full(users, 1 / users), RESAMPLES).astype(np.float64)
    count = np.bincount(owner, minlength=users)
    sums = {name: np.bincount(owner, _loss(click, p), users) for name, p in predicted.items()}
    last = [*predicted][-1]
    found = []
    for name, p in predicted.items():
        n = weight @ count
        with np.errstate(invalid="ignore", divide="ignore"):
            losses, behind = weight @ sums[name] / n, weight @ (sums[name] - sums[last]) / n
        order = np.argsort(p, kind="stable")
        begin = np.flatnonzero(np.r_[True, np.diff(p[order]) > 0])
        y, who = click[order], owner[order]
        areas = np.array([_auc(y, w[who], begin) for w in weight])
        total = len(click)
        found.append(Score(
            name, about[name], float(sums[name].sum() / total), *_ends(losses, users),
            float((sums[name] - sums[last]).sum() / total), *(_ends(behind, users) if name != last else (0.0, 0.0)),
            _auc(y, np.ones(total), begin), *_ends(areas, users),
        ))  # fmt: skip
    return tuple(found)


def auc(click: NDArray[np.bool_], p: Array) -> float:
    """The chance that a clicked row has a higher probability than one that was not clicked; ties count a half."""
    order = np.argsort(p, kind="stable")
    return _auc(click[order], np.ones(len(p)), np.flatnonzero(np.r_[True, np.diff(p[order]) > 0]))


def _auc(click: NDArray[np.bool_], weight: Array, begin: NDArray[np.int64]) -> float:
    """Of rows in the order of their probabilities, equal ones of which begin at `begin`."""
    good = np.add.reduceat(np.where(click, weight, 0.0), begin)
    bad = np.add.reduceat(np.where(click, 0.0, weight), begin)
    pairs = good.sum() * bad.sum()
    return float(good @ (np.cumsum(bad) - bad / 2) / pairs) if pairs > 0 else math.nan


def _loss(click: NDArray[np.bool_], p: Array) -> Array:
    return -np.where(click, np.log(p), np.log1p(-p))


def _ends(values: Array, users: int) -> tuple[float, float]:
    values = values[np.isfinite(values)]
    if users < 2 or not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def calibration(click: NDArray[np.bool_], p: Array, owner: NDArray[np.int64], bins: int = BINS) -> tuple[Bin, ...]:
    """Mean prediction and share of clicks in bins of the same number of rows by their prediction; intervals take users as drawn."""
    edge = np.unique(np.quantile(p, np.arange(1, bins) / bins))
    label = np.searchsorted(edge, p, side="right")
    found = []
    for b in np.unique(label):
        rows = label == b
        _, who = np.unique(owner[rows], return_inverse=True)
        n, y = np.bincount(who).astype(np.float64), np.bincount(who, click[rows])
        clicked, low, high = ratio(y.sum(), n.sum(), (y * y).sum(), (y * n).sum(), (n * n).sum(), len(n), share=True)
        found.append(Bin(float(p[rows].mean()), float(clicked), float(low), float(high), int(rows.sum())))
    return tuple(found)
