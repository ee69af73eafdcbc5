"""A World fitted to the Open Bandit Dataset."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

import recgym
from recgym.catalog import Catalog
from recgym.errors import FitError, require_count
from recgym.fit.clicks import Array, Estimate, Z, best_spread, fit_clicks, sigmoid, spread_interval, wilson
from recgym.fit.report import FitReport, Row, Score, interval_text, six_digits
from recgym.fit.validation import cross_validate
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
    """A World with the click rates of the Open Bandit Dataset, and a report that says how far to trust it.

    The embeddings of the items come from their context. Their visible attributes are `popularity` (what a platform
    would count: half the log of the logged click rate over the mean rate, smoothed by one pseudo-click) and
    `item_feature_0`. Candidates are uniform. The slate has the three positions of the page; each is clicked
    independently with probability examination * sigmoid(utility of the item).

    Args:
        interactions: what `recgym.logs.read_open_bandit` returned.
        dimensions: d of the embeddings, >= 1. candidates: K, at most the number of items.
        folds: number of folds of the cross-validation.
        seed: of the folds, and of the random projection that makes the embeddings.

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
        raise FitError(f"position: must be logged at each of the {P} positions, but {unseen[0] + 1} never is")
    model = fit_clicks(impressions, clicks)
    probability = model.probability
    by_position = probability.mean(axis=0)
    best = int(np.argmax(by_position))
    examination = tuple(six_digits(e) for e in by_position / by_position[best])
    utility = model.level + model.item + model.position[best]
    world = _world(interactions, utility, examination, dimensions, candidates, seed)
    simulated = np.array(examination) * sigmoid(utility[:, None])
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
    """What the numbers show, in words."""
    if spread.low > 0:
        items = f"Items differ: their log-odds spread by {interval_text(spread)}."
    else:
        items = (
            f"These clicks alone do not show that items differ: their log-odds spread by {interval_text(spread)}, and the"
            f" marginal likelihood is largest at {likeliest:.2f}. The world uses the first number."
        )
    beyond = [str(p + 1) for p, c in enumerate(position) if p and not c.low <= 0 <= c.high]
    positions = (
        f"Positions whose click rate differs from the first's by more than chance: {', '.join(beyond) or 'none'}."
    )
    rival = {score.model: score for score in validation}["constant"]
    gain, error = 1000 * rival.behind, 1000 * rival.standard_error
    better = gain > Z * error
    verdict = "better than" if better else "no better than"
    held_out = (
        f"The fitted model predicts held-out clicks {verdict} a constant click rate: its log loss is"
        f" {abs(gain):.3f} +- {error:.3f} millinats per impression {'lower' if gain > 0 else 'higher'} (standard error)."
    )
    return items, positions, held_out


def _rank_correlation(x: NDArray[Any], y: NDArray[Any]) -> float:
    """Spearman's rank correlation, with ties in order of appearance; 0 if one of the two does not vary."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return 0.0
    ranks = [np.argsort(np.argsort(values.round(6), kind="stable"), kind="stable") for values in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
