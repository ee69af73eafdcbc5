"""Worlds fitted to interaction logs, each with a report that says how far to trust it.

    world, report = fit_open_bandit(read_open_bandit("open_bandit_dataset"))
    print(report.to_markdown())

The click model is a logistic regression with shrunken item effects (a random intercept an item):

    logit P(click | item i, position p) = level + item_i + position_p,    item_i ~ N(0, spread^2),  position_0 = 0.
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

import recgym
from recgym.catalog import Catalog
from recgym.errors import FitError, require_count, require_number
from recgym.files import read_json, write_atomically
from recgym.logs import CATEGORIES, Interactions
from recgym.market import StaticMarket
from recgym.models.candidates import Uniform
from recgym.models.choice import PositionBased
from recgym.models.departure import Never
from recgym.models.preference import Lookup
from recgym.models.response import Clicks
from recgym.models.reward import Weighted
from recgym.population import TopicMixture
from recgym.world import World

Array = NDArray[np.float64]

POSITION_SPREAD = 2.0  # standard deviation of the prior of position effects: odds within a factor 50 of each other
LARGEST_SPREAD = 5.0  # of item effects
Z = 1.959963984540054  # 97.5 % quantile of the standard normal: all intervals are 95 %
FALL = 1.920729410347062  # how far a log-likelihood falls at the ends of a 95 % interval: Z^2 / 2


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float


# --- the click model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ClickModel:
    """A fitted click model and the curvature of its posterior (Laplace's approximation).

    Args:
        level: log-odds of a click on an average item in the first position.
        item: (N,) posterior modes of the item effects. position: (P,) effects, the first is 0.
        spread: standard deviation of the item effects that was used.
        log_marginal: log of the marginal likelihood at that spread, up to a constant of the data.
        covariance: (P, P) of (level, position_1, ...).
        item_precision: (N,) and item_coupling (N, P): how the standardised item effects hang on the data and on those.
    """

    level: float
    item: Array
    position: Array
    spread: float
    log_marginal: float
    covariance: Array
    item_precision: Array
    item_coupling: Array

    @property
    def probability(self) -> Array:
        """(N, P) click probabilities."""
        return _sigmoid(self.level + self.item[:, None] + self.position)

    def rate(self, weights: Array) -> Estimate:
        """Mean click probability over items and positions with (N, P) weights; the spread is taken as known."""
        P = self.probability
        mean = (weights * P).sum() / weights.sum()
        share = weights * P * (1 - P) / (weights.sum() * mean * (1 - mean))  # of d logit(mean) in each log-odds
        item = share.sum(axis=1)
        rest = share.sum(axis=0) @ _design(len(self.position))
        rest = rest - self.spread * (item / self.item_precision) @ self.item_coupling
        variance = self.spread**2 * (item**2 / self.item_precision).sum() + rest @ self.covariance @ rest
        logit, reach = math.log(mean / (1 - mean)), Z * math.sqrt(variance)
        return Estimate(float(mean), *(1 / (1 + math.exp(-x)) for x in (logit - reach, logit + reach)))

    def contrast(self, p: int, q: int) -> Estimate:
        """position_p - position_q."""
        x = _design(len(self.position))[p] - _design(len(self.position))[q]
        value, reach = float(self.position[p] - self.position[q]), Z * math.sqrt(x @ self.covariance @ x)
        return Estimate(value, value - reach, value + reach)


def fit_clicks(impressions: Array, clicks: Array, spread: float | None = None) -> ClickModel:
    """Posterior mode of the click model, by Newton's method on effects in units of the spread.

    Args:
        impressions, clicks: (N, P) counts by item and position.
        spread: of the item effects; None estimates it, see `best_spread`.

    Raises:
        FitError: counts that cannot be, or that have no click or nothing but clicks.
        ConfigError: a spread outside [0, 100].
    """
    alike = impressions.ndim == 2 and impressions.shape == clicks.shape
    if not (alike and ((clicks >= 0) & (clicks <= impressions)).all()):
        raise FitError("clicks: must have the shape (N, P) of impressions and lie between 0 and them")
    if not 0 < clicks.sum() < impressions.sum():
        raise FitError(f"clicks: must be some, but not all impressions, got {clicks.sum():g} of {impressions.sum():g}")
    spread = best_spread(impressions, clicks) if spread is None else spread
    require_number("spread", spread, 0, 100)
    N, P = impressions.shape
    X = _design(P)
    precision = np.r_[0.0, np.full(P - 1, POSITION_SPREAD**-2)]  # of the priors; the level has none

    def objective(beta: Array, z: Array) -> float:
        eta = spread * z[:, None] + X @ beta
        return float((clicks * eta - impressions * np.logaddexp(0, eta)).sum() - (z @ z + precision @ beta**2) / 2)

    rate = clicks.sum() / impressions.sum()
    beta, z = np.r_[math.log(rate / (1 - rate)), np.zeros(P - 1)], np.zeros(N)
    value = objective(beta, z)
    while True:
        p = _sigmoid(spread * z[:, None] + X @ beta)
        surprise, weight = clicks - impressions * p, impressions * p * (1 - p)
        slope_z, slope_beta = spread * surprise.sum(axis=1) - z, X.T @ surprise.sum(axis=0) - precision * beta
        # The Hessian is diagonal in z, so its Schur complement in beta, P x P, is all there is to solve.
        D = 1 + spread**2 * weight.sum(axis=1)
        coupling = spread * weight @ X
        schur = (X.T * weight.sum(axis=0)) @ X + np.diag(precision) - coupling.T @ (coupling / D[:, None])
        step_beta = np.linalg.solve(schur, slope_beta - coupling.T @ (slope_z / D))
        step_z = (slope_z - coupling @ step_beta) / D
        gain = float(slope_z @ step_z + slope_beta @ step_beta)
        if not gain > 1e-16 * abs(value):
            break
        size = 1.0  # the objective is concave: halving the step is enough to make any start converge
        while (new := objective(beta + size * step_beta, z + size * step_z)) < value and size > 1e-9:
            size /= 2
        if new <= value:
            break
        beta, z, value = beta + size * step_beta, z + size * step_z, new
    log_marginal = value - (np.log(D).sum() + np.linalg.slogdet(schur)[1]) / 2
    return ClickModel(
        float(beta[0]), spread * z, X[:, 1:] @ beta[1:], spread, float(log_marginal), np.linalg.inv(schur), D, coupling
    )


def best_spread(impressions: Array, clicks: Array, penalty: float = 1.0) -> float:
    """Spread of the item effects by empirical Bayes: where spread^penalty * marginal likelihood is largest.

    The marginal likelihood is Laplace's approximation. On its own (penalty 0) it is largest at spread 0 where there are
    too few clicks to tell the items apart, which would claim that all items are the same. The factor spread^1 is the
    weakest prior that keeps the estimate off that boundary; it moves it by a standard error at most, and by nothing
    where clicks are many (Chung, Rabe-Hesketh, Dorie, Gelman and Liu, Psychometrika 78, 2013).
    """

    def objective(spread: float) -> float:
        log_marginal = fit_clicks(impressions, clicks, spread).log_marginal
        return log_marginal + (penalty * math.log(spread) if penalty else 0.0)

    # Three decimals are far finer than its error, and all that machines with different rounding agree on.
    return round(_maximise(objective, 1e-6 if penalty else 0.0, LARGEST_SPREAD), 3)


def spread_interval(impressions: Array, clicks: Array) -> tuple[float, float]:
    """95 % interval of the spread by the marginal likelihood alone; from 0 where the data cannot exclude 0."""
    peak = best_spread(impressions, clicks, penalty=0.0)
    floor = fit_clicks(impressions, clicks, peak).log_marginal - FALL

    def above(spread: float) -> float:
        return fit_clicks(impressions, clicks, spread).log_marginal - floor

    return _crossing(above, 0.0, peak), _crossing(above, LARGEST_SPREAD, peak)


def _design(P: int) -> Array:
    """(P, P): row p says which of (level, position_1, ...) make up the log-odds at position p."""
    return np.eye(P) + np.outer(np.arange(P) > 0, np.arange(P) == 0)


def _sigmoid(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, -x))


def _maximise(f: Callable[[float], float], low: float, high: float) -> float:
    """Where f is largest: a grid of 25 points, finer near `low`, then golden sections around the best."""
    grid = low + (high - low) * np.linspace(0, 1, 25) ** 2
    best = int(np.argmax([f(x) for x in grid]))
    a, b = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 24)])
    golden = (math.sqrt(5) - 1) / 2
    x, y = b - golden * (b - a), a + golden * (b - a)
    fx, fy = f(x), f(y)
    while b - a > 1e-5:
        if fx >= fy:
            b, y, fy = y, x, fx
            x = b - golden * (b - a)
            fx = f(x)
        else:
            a, x, fx = x, y, fy
            y = a + golden * (b - a)
            fy = f(y)
    return (a + b) / 2


def _crossing(f: Callable[[float], float], outside: float, inside: float) -> float:
    """Where f changes sign between a point outside (f < 0) and one inside; `outside` itself where it does not."""
    if f(outside) >= 0:
        return outside
    for _ in range(40):
        middle = (outside + inside) / 2
        outside, inside = (middle, inside) if f(middle) < 0 else (outside, middle)
    return (outside + inside) / 2


# --- how far to trust it ---------------------------------------------------------------------------------------------


COLUMNS = ("impressions", "clicks", "logged click rate %", "fitted click rate %")


class Row(NamedTuple):
    """Part of the logs: click rate as logged (Wilson's binomial interval) and as fitted."""

    name: str
    impressions: int
    clicks: int
    logged: Estimate
    fitted: Estimate


class Score(NamedTuple):
    """Held-out log loss a row in nats; how much more than the fitted model's, and the paired standard error of that."""

    model: str
    log_loss: float
    behind: float
    standard_error: float


@dataclass(frozen=True)
class FitReport:
    """What was fitted, to what, and how well: plain data, the same whenever it is built from the same files.

    Args:
        source: name, citation, licence, campaign, policies, and the SHA-256 of each file read.
        command: builds the world again from those files. version: of recgym.
        overall: click rate over all rows. by_policy, by_position, by_item: parts of them.
        spread: standard deviation of the item effects in log-odds, and its interval by marginal likelihood.
        likeliest_spread: the spread at which the marginal likelihood alone is largest.
        position: effects in log-odds, against the first position.
        examination: chance that a position is looked at over that of the best one, as the world has it; an interval
            beyond 1 means that the other may be the better one.
        folds: of the cross-validation. validation: its scores, the fitted model last.
        position_based_error: largest |click probability of the world - fitted one| over items and positions.
        popularity_correlation: rank correlation over items of the visible popularity and the true utility.
        findings: what the numbers show, and what they do not. limits: what such logs cannot tell.
    """

    source: dict[str, Any]
    command: str
    version: str
    overall: Row
    by_policy: tuple[Row, ...]
    by_position: tuple[Row, ...]
    by_item: tuple[Row, ...]
    spread: Estimate
    likeliest_spread: float
    position: tuple[Estimate, ...]
    examination: tuple[Estimate, ...]
    folds: int
    validation: tuple[Score, ...]
    position_based_error: float
    popularity_correlation: float
    findings: tuple[str, ...]
    limits: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, numbers to six digits: the last ones differ between machines."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """The report that `to_dict` wrote.

        Raises:
            FitError: a field is missing, unknown or of another type.
        """
        return _typed(cls, data, "report")

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``report.json`` and ``report.md`` into a folder, each atomically."""
        write_atomically(Path(folder) / "report.json", (json.dumps(self.to_dict(), indent=1) + "\n").encode())
        write_atomically(Path(folder) / "report.md", self.to_markdown().encode())

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises:
            ConfigError: no JSON there. FitError: it is no report.
        """
        return cls.from_dict(read_json(Path(folder) / "report.json", "report"))

    def summary(self) -> str:
        """The report without the table of the items, as Markdown."""
        source = self.source
        places = zip(count(1), self.position, self.examination)
        lines = [
            f"# {source['name']}, campaign {source['campaign']}:"
            f" {self.overall.impressions:,} impressions, {self.overall.clicks:,} clicks",
            "",
            *(f"- {finding}" for finding in self.findings),
            "",
            "Intervals are 95 %. Logged rates carry binomial (Wilson) intervals, fitted ones those of the posterior.",
            "",
            *_table(["", *COLUMNS], map(_cells, (self.overall, *self.by_policy, *self.by_position))),
            "",
            *_table(["position", "log-odds against the first", "examination against the best"],
                    [[str(p), _interval(x), _interval(e)] for p, x, e in places]),
            "",
            f"Held-out log loss in millinats an impression ({self.folds}-fold cross-validation):",
            "",
            *_table(["model", "log loss", "more than fitted", "standard error"],
                    [[s.model, *(f"{1000 * x:.3f}" for x in s[1:])] for s in self.validation]),
            "",
            "The world multiplies (examination times attraction) where the fit adds log-odds: their click probabilities"
            f" differ by at most {self.position_based_error:.1e}. The visible popularity of its items has rank"
            f" correlation {self.popularity_correlation:.2f} with their true utility.",
            "",
            "What such logs cannot tell:",
            "",
            *(f"- {limit}" for limit in self.limits),
        ]  # fmt: skip
        return "\n".join(lines) + "\n"

    def to_markdown(self) -> str:
        """The report for people."""
        source = self.source
        items = _table(["item", *COLUMNS], map(_cells, self.by_item))
        origin = [f"Source: {source['citation']} {source['licence']}", "",
                  f"Built with recgym {self.version} by `{self.command}` from the files", "",
                  *(f"- `{name}`, SHA-256 `{digest}`" for name, digest in source["sha256"].items())]  # fmt: skip
        note = "Fitted rates are averages over the positions."
        return "\n".join([self.summary(), "## Items", "", note, "", *items, "", "## Origin", "", *origin]) + "\n"


def cross_validate(interactions: Interactions, folds: int = 10, seed: int = 0) -> tuple[Score, ...]:
    """Held-out log loss of four plain models and of the fitted one, which is last.

    Each row is predicted by models of the other folds; folds are drawn at random, clicks and other rows apart, so that
    each has its share of the few clicks. Standard errors are those of the mean paired difference over rows; they leave
    out that the folds' models share their training rows.

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
    """(N, P) rates by item (axis 1) or position (0), with `pseudo` impressions at the mean rate; None is one click."""
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


# --- the Open Bandit Dataset -----------------------------------------------------------------------------------------

CITATION = (
    "Saito, Aihara, Matsutani and Narita, Open Bandit Dataset and Pipeline: Towards Realistic and Reproducible"
    " Off-Policy Evaluation, NeurIPS Datasets and Benchmarks 2021."
)
LICENCE = (
    "The Open Bandit Dataset is published under CC BY 4.0 (https://research.zozo.com/data.html);"
    " the small release ships inside the package obp 0.4.1, Apache-2.0."
)
LIMITS = (
    "Rows are single impressions without user or page: nothing of how a user changes, tires or leaves can be fitted."
    " The world has no dynamics, nobody leaves before the horizon, and positions of a slate are clicked independently.",
    "Tastes of single users: every user of the world has the same click probabilities. User columns are not read.",
    "Item effects are shrunken means: the true spread between items is wider than that between the fitted rates.",
    "Intervals of fitted rates take the spread as known, and do not cover that rates may change over time.",
    "The length of a step (1 minute) and the horizon are conventions. Hours are those of the impressions, in Japan.",
)
JAPAN = np.timedelta64(9, "h")  # the logs' timestamps are UTC, the shop's users live in Japan


def fit_open_bandit(
    interactions: Interactions, *, dimensions: int = 16, candidates: int = 20, folds: int = 10, seed: int = 0
) -> tuple[World, FitReport]:
    """A World with the click rates of the Open Bandit Dataset, and how far to trust it.

    The world: items with embeddings from their context and the visible attributes `popularity` (a platform's count:
    log-odds of the logged clicks, smoothed by one pseudo-click, halved) and `item_feature_0`; uniform candidates; a
    slate of the page's three positions, each clicked on its own with probability examination * sigmoid(utility of the item).

    Args:
        interactions: what `recgym.logs.read_open_bandit` returned.
        dimensions: d of the embeddings, >= 1. candidates: K, at most the number of items.
        folds: of the cross-validation. seed: of the folds and of the random projection behind the embeddings.

    Raises:
        FitError: the logs have too few clicks, lack a position, or lack the item context.
        ConfigError: an argument is outside its range.
    """
    require_count("seed", seed, 0, 2**63)
    require_count("dimensions", dimensions, 1, 10_000)
    impressions, clicks = interactions.counts()
    N, P = impressions.shape
    unseen = np.flatnonzero(impressions.sum(axis=0) == 0)
    if len(unseen):
        raise FitError(f"position: must be logged at each of the {P} places, but {unseen[0] + 1} never is")
    model = fit_clicks(impressions, clicks)
    probability = model.probability
    by_position = probability.mean(axis=0)
    best = int(np.argmax(by_position))
    examination = tuple(_digits(e) for e in by_position / by_position[best])
    utility = model.level + model.item + model.position[best]
    world = _world(interactions, utility, examination, dimensions, candidates, seed)
    simulated = np.array(examination) * _sigmoid(utility[:, None])
    position = tuple(model.contrast(p, 0) for p in range(P))
    against_best = [model.contrast(p, best) for p in range(P)]
    spread = Estimate(model.spread, *spread_interval(impressions, clicks))
    validation = cross_validate(interactions, folds, seed)
    defaults = dict(dimensions=16, candidates=20, folds=10, seed=0)
    given = dict(dimensions=dimensions, candidates=candidates, folds=folds, seed=seed)
    flags = "".join(f" --{name} {value}" for name, value in given.items() if value != defaults[name])
    campaign, policies = interactions.source.get("campaign", "all"), interactions.policies
    flags = f"--campaign {campaign} --policies {' '.join(policies)}{flags}"
    command = f"python -m recgym fit open-bandit DIR -o WORLD {flags}"

    def row(name: str, rows: Any) -> Row:
        n, y = interactions.counts(rows)
        return Row(name, int(n.sum()), int(y.sum()), wilson(y.sum(), n.sum()), model.rate(n))

    def item(i: int) -> Row:
        n, y = impressions[i].sum(), clicks[i].sum()
        page = np.zeros((N, P))
        page[i] = 1
        return Row(str(i), int(n), int(y), wilson(y, n), model.rate(page))

    likeliest = best_spread(impressions, clicks, penalty=0.0)
    report = FitReport(
        source={"name": "Open Bandit Dataset", "citation": CITATION, "licence": LICENCE, "campaign": campaign,
                "policies": list(policies), "sha256": interactions.source.get("sha256", {})},
        command=command,
        version=recgym.__version__,
        overall=row("all", slice(None)),
        by_policy=tuple(row(f"policy {name}", interactions.policy == k) for k, name in enumerate(policies)),
        by_position=tuple(row(f"position {p + 1}", interactions.position == p) for p in range(P)),
        by_item=tuple(item(i) for i in range(N)),
        spread=spread,
        likeliest_spread=likeliest,
        position=position,
        examination=tuple(Estimate(e, math.exp(c.low), math.exp(c.high)) for e, c in zip(examination, against_best)),
        folds=folds,
        validation=validation,
        position_based_error=float(np.abs(simulated - probability).max()),
        popularity_correlation=_rank_correlation(world.catalog["popularity"], utility),
        findings=_findings(spread, likeliest, position, validation),
        limits=LIMITS,
    )  # fmt: skip
    return world, FitReport.from_dict(report.to_dict())


def _world(
    interactions: Interactions, utility: Array, examination: tuple[float, ...], dimensions: int, candidates: int,
    seed: int,
) -> World:  # fmt: skip
    items, N = interactions.items, interactions.n_items
    missing = [name for name in ("item_feature_0", *CATEGORIES) if name not in items]
    if missing:
        raise FitError(f"items: lacks the item context {', '.join(missing)}")
    number = items["item_feature_0"]
    features = np.column_stack([number, *(np.eye(items[name].max() + 1)[items[name]] for name in CATEGORIES)])
    features = features - features.mean(axis=0)
    rng = np.random.default_rng(np.random.SeedSequence([seed, 2]))
    embedding = features @ rng.standard_normal((features.shape[1], dimensions))
    embedding /= np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    impressions, clicks = interactions.counts()
    shown, clicked, rate = impressions.sum(axis=1), clicks.sum(axis=1), clicks.sum() / impressions.sum()
    popularity = np.log((clicked + 1) / (shown + 1 / rate) / rate) / 2
    attributes = np.stack([popularity, number / 3], axis=1)
    topic = items["item_feature_3"]  # of the hashed categories the one with the fewest levels
    n_topics = int(topic.max()) + 1
    hour = (interactions.timestamp + JAPAN).astype("datetime64[h]").astype(np.int64) % 24
    return World(
        catalog=Catalog(
            embedding.round(6).astype(np.float32), topic, attributes.round(6).astype(np.float32),
            ("popularity", "item_feature_0"), n_topics, visible=("popularity", "item_feature_0"),
        ),
        # Nothing is known of the users: nobody has a profile, and the interests are never read.
        population=TopicMixture(
            np.zeros((n_topics, dimensions), np.float32), spread=0.0, profile_noise=0.0, cold_start=1.0,
            hours=tuple(float(n) for n in np.bincount(hour, minlength=24)),
        ),
        market=StaticMarket.of(N),
        candidates=Uniform(candidates),
        preference=Lookup(utility.round(6).astype(np.float32)),
        choice=PositionBased(examination),
        response=Clicks(minutes=1.0),
        dynamics=(),
        departure=Never(),
        reward=Weighted({"click": 1.0}),
        slate_size=interactions.n_positions,
        horizon=100,
    )  # fmt: skip


def _findings(
    spread: Estimate, likeliest: float, position: tuple[Estimate, ...], validation: tuple[Score, ...]
) -> tuple[str, ...]:
    """The verdicts, in words."""
    if spread.low > 0:
        items = f"Items differ: their log-odds spread by {_interval(spread)}."
    else:
        items = (
            f"These clicks alone do not show that items differ: their log-odds spread by {_interval(spread)}, and the"
            f" marginal likelihood is largest at {likeliest:.2f}. The world uses the first number."
        )
    beyond = [str(p + 1) for p, c in enumerate(position) if p and not c.low <= 0 <= c.high]
    places = f"Positions whose click rate differs from the first's by more than chance: {', '.join(beyond) or 'none'}."
    rival = {score.model: score for score in validation}["constant"]
    gain, error = 1000 * rival.behind, 1000 * rival.standard_error
    better = gain > Z * error
    verdict = "better than" if better else "no better than"
    held_out = (
        f"The fitted model predicts held-out clicks {verdict} a constant click rate: its log loss is"
        f" {abs(gain):.3f} +- {error:.3f} millinats an impression {'lower' if gain > 0 else 'higher'} (standard error)."
    )
    return items, places, held_out


def wilson(clicks: float, impressions: float) -> Estimate:
    """A binomial rate with Wilson's score interval (1927)."""
    if impressions == 0:
        return Estimate(0.0, 0.0, 1.0)
    rate, t = clicks / impressions, Z * Z / impressions
    centre = (rate + t / 2) / (1 + t)
    reach = math.sqrt(rate * (1 - rate) * t + t * t / 4) / (1 + t)
    return Estimate(float(rate), max(float(centre - reach), 0.0), min(float(centre + reach), 1.0))


def _rank_correlation(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Spearman's, ties in order of appearance; 0 where one of them does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(values.round(6), kind="stable"), kind="stable") for values in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _digits(x: float) -> float:
    return float(f"{x:.6g}")


def _plain(value: Any) -> Any:
    """NamedTuples as dicts, numbers to six digits, all else as JSON has it."""
    if isinstance(value, float):
        return _digits(value)
    if hasattr(value, "_asdict"):
        return {name: _plain(x) for name, x in value._asdict().items()}
    if isinstance(value, (list, tuple)):
        return [_plain(x) for x in value]
    if isinstance(value, dict):
        return {name: _plain(x) for name, x in value.items()}
    return value


def _typed(kind: Any, value: Any, where: str) -> Any:
    """JSON as a number, a text, an object, a tuple or a record whose annotations say of what types its fields are."""
    if get_origin(kind) is tuple and isinstance(value, (list, tuple)):
        return tuple(_typed(get_args(kind)[0], inner, f"{where}.{i}") for i, inner in enumerate(value))
    if kind is float and isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return value
    if (kind in (int, str) and type(value) is kind) or (get_origin(kind) is dict and isinstance(value, dict)):
        return value
    if hasattr(kind, "__annotations__") and isinstance(value, dict):
        hints = get_type_hints(kind)
        if set(value) != set(hints):
            raise FitError(f"{where}: must have the fields {sorted(hints)}, got {sorted(value)}")
        return kind(**{name: _typed(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
    raise FitError(f"{where}: must be of type {getattr(kind, '__name__', kind)}, got {str(value)[:60]!r}")


def _cells(row: Row) -> list[str]:
    return [row.name, f"{row.impressions:,}", f"{row.clicks:,}", _interval(row.logged, 100), _interval(row.fitted, 100)]


def _interval(e: Estimate, scale: float = 1.0) -> str:
    return f"{scale * e.value:.2f} [{scale * e.low:.2f}, {scale * e.high:.2f}]"


def _table(header: list[str], rows: Any) -> list[str]:
    """A Markdown table whose columns line up."""
    cells = [header, *rows]
    widths = [max(len(row[c]) for row in cells) for c in range(len(header))]
    lines = ["|".join(f" {text:{'<>'[c > 0]}{w}} " for c, text, w in zip(count(), row, widths)) for row in cells]
    rule = "|".join("-" * (w + 1) + "-:"[c > 0] for c, w in enumerate(widths))
    return [f"|{line}|" for line in (lines[0], rule, *lines[1:])]
