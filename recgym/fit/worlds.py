"""A world fitted to logs: persons, items, choice, what follows a click, and how long users stay."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.catalog import Catalog
from recgym.errors import FitError, require_count, require_number, require_option
from recgym.fit.clicks import Z
from recgym.fit.effects import Regression, given_draws, logistic
from recgym.fit.events import Slates, replay_level, replay_pull, replay_topics, slates_of, steps_since
from recgym.fit.likelihood import CHOICES, examination
from recgym.fit.stay import Hazard, fit_hazard, running_means
from recgym.fit.taste import Data, Progress, Taste, covariance, fit_taste
from recgym.logs.table import EVENTS
from recgym.market import LoggedMarket, Market, StaticMarket, listing
from recgym.models.candidates import CandidateSource, Uniform, source_of
from recgym.models.choice import Cascade, Choice, MultinomialLogit, PositionBased
from recgym.models.departure import Departure, Never, Visits
from recgym.models.dynamics import Adaptation, Attraction, Dynamics, Fatigue, Mood
from recgym.models.preference import DotProduct
from recgym.models.response import Outcomes
from recgym.models.reward import Weighted
from recgym.population import Empirical
from recgym.types import Array
from recgym.world import World

if TYPE_CHECKING:
    from recgym.logs.table import Logs

HALF_LIVES = (2.0, 5.0, 20.0, 60.0, 360.0, 1440.0)  # minutes, of the fatigue
MEMORIES = (0.5, 0.7, 0.8, 0.9)  # of the reference price
PULL_MEMORY = 0.8  # of the attraction of clicked items; logs tell its strength, hardly its memory
DRAWS = 8  # of the interest of each user
MOST_USERS = 20_000  # of the population that a world keeps
ROOM = 6_000_000  # numbers in the table of a `LoggedMarket`


class Parameter(NamedTuple):
    """A number of the world with its 95 % interval: where it is, what it means, and whether the logs told it."""

    name: str
    value: float
    low: float
    high: float
    meaning: str


@dataclass(frozen=True, eq=False)
class Fitted:
    """All that a fit found, for reports and for those who want to look closer."""

    world: World
    slates: Slates
    data: Data
    model: Taste
    interest: NDArray[np.float32]  # (DRAWS, U, d), from the posterior of each user
    hazard: Hazard | None
    parameters: tuple[Parameter, ...]
    unknown: tuple[str, ...]
    choices: dict[str, float]  # choice model -> held-out log-likelihood of a slate
    held: NDArray[np.int64]  # users whose later slates were held out
    seconds: float
    settings: dict[str, Any] = field(default_factory=dict)


def fit_world(
    logs: Logs,
    *,
    choice: str = "auto",
    dimensions: int = 16,
    candidates: int | CandidateSource = 20,
    slate_size: int | None = None,
    reward: dict[str, float] | None = None,
    click_rate: float = 0.05,
    negatives: int = 9,
    steps: int = 1200,
    seed: int = 0,
    progress: Progress | None = None,
) -> Fitted:
    """Fit a world to logs by likelihood.

    Args:
        logs: the event table.
        choice: "position-based", "cascade", "multinomial logit", "independent", or "auto": the one under which the clicks of
            held-out users are likeliest.
        dimensions: d of interests and items, where the items have no columns `embedding_0`, `embedding_1`, ...
        candidates: from which an agent chooses in the world, a number of random ones or a source.
        slate_size: items shown in a step; None: as many as the logs show most often.
        reward: objective -> weight; None: 1 for a click.
        click_rate: of an impression in the world, in (0, 1), and `negatives`, of random items beside each interaction: where the logs
            have no impressions, which alone tell how often what is shown is not clicked.
        steps: of the optimiser. seed: of all that is random.
        progress: called with (what, share done, its present number).

    Raises:
        FitError: the logs have no clicks, or fewer than 10 users or 2 items. ConfigError: an argument breaks its rule.
    """
    begun = time.monotonic()
    require_option("choice", choice, ["auto", *CHOICES])
    require_count("dimensions", dimensions, 1, 256)
    require_count("steps", steps, 10, 1_000_000)
    require_count("seed", seed, 0, 2**31)
    require_count("negatives", negatives, 1, 1000)
    require_number("click_rate", click_rate, 1e-4, 0.9)
    if logs.n_users < 10 or logs.n_items < 2:
        raise FitError(f"logs: must have 10 users and 2 items, got {logs.n_users} and {logs.n_items}")
    unknown: list[str] = []
    slates = slates_of(logs)
    rng = np.random.default_rng([seed, 11])
    if not logs.impressions:
        slates = with_negatives(slates, negatives, rng)
        unknown.append(
            f"Impressions: the logs have interactions alone. {negatives} random items stand for what was seen and not taken in each"
            f" step; how often users click at all cannot be told, and {click_rate:.1%} of impressions is what the world has by your word."
        )
    data = _data(logs, slates, unknown)
    d = dimensions if data.embedding is None else data.embedding.shape[1]
    names = [n for n in slates.signals if n != "price"]
    held = rng.permutation(slates.n_users)[: min(max(slates.n_users // 10, 1), 5000)]
    train = np.setdiff1d(np.arange(slates.n_users), held)
    size = int(np.clip(len(slates) / 30, 500, 20_000))
    epochs = max(2, math.ceil(steps * size / max(len(slates), 1)))

    # 1. Which choice model, and which decays of the features of the past, on a part of the users.
    several = slates.item.shape[1] > 1
    most = int((slates.click & slates.shown).sum(axis=1).max())
    if choice == "multinomial logit" and most > 1:
        raise FitError("choice: 'multinomial logit' allows one click a slate, and the logs have slates with more")
    options = [name for name in CHOICES if name != "multinomial logit" or most == 1] if several else ["independent"]
    if not logs.impressions:
        options = ["multinomial logit"]
    options = options if choice == "auto" else [choice]
    part = rng.permutation(train)[: max(int(len(train) * min(1.0, 60_000 / len(slates))), 10)]
    quick = {
        name: fit_taste(data, name, d, users=part, epochs=max(2, epochs // 3), size=size, seed=seed, progress=progress)
        for name in options
    }
    scores = {name: _held_out(model, data, held) for name, model in quick.items()}
    best = max(scores, key=lambda name: scores[name])
    data, dynamic, decays = _past(data, slates, quick[best], names)

    # 2. All of it, then again without those features whose interval holds 0.
    model = fit_taste(data, best, d, epochs=epochs, size=size, seed=seed, progress=progress)
    cov, labels = covariance(model, data, seed)
    names_all = [*names, *dynamic]
    kept = _keep(model, cov, labels, names_all, dynamic)
    if len(kept) < len(names_all):
        index = [names_all.index(name) for name in kept]
        data = dataclasses.replace(data, feature=data.feature[..., index].contiguous())
        with torch.no_grad():
            model.gamma = torch.nn.Parameter(model.gamma[index].clone())
        model = fit_taste(
            data, best, d, epochs=max(2, epochs // 3), size=size, seed=seed, rate=0.01, start=model, progress=progress
        )
        cov, labels = covariance(model, data, seed)
    for name in dynamic:
        if name not in kept:
            unknown.append(f"{WORDS[name]}: no effect that differs from 0 beyond its interval; the world has none.")
    interest = model.sample(data, DRAWS, seed=seed)

    # 3. What follows a click, and who stays.
    parameters = _parameters(model, cov, labels, kept, decays, several)
    outcome, more = _outcomes(slates, model, data, interest, unknown)
    parameters += more
    hazard, departure, mood, more = _leaving(slates, model, data, interest, unknown)
    parameters += more
    world = _assemble(
        logs, slates, data, model, interest, kept, decays, outcome, hazard, departure, mood,
        candidates, slate_size, reward, None if logs.impressions else click_rate, seed,
    )  # fmt: skip
    settings = dict(choice=best, dimensions=d, steps=steps, seed=seed, candidates=world.n_candidates)
    return Fitted(
        world, slates, data, model, interest, hazard, tuple(parameters), tuple(unknown), scores, held,
        time.monotonic() - begun, settings,
    )  # fmt: skip


WORDS = {
    "ignored": "Fatigue of what was shown and not clicked",
    "clicked": "Fatigue of topics that were clicked",
    "level": "A reference price",
    "pull": "Attraction of items clicked before",
}


def with_negatives(slates: Slates, negatives: int, rng: np.random.Generator) -> Slates:
    """Each interaction, the first item of its slate, among random items of the catalogue that the user saw nothing of in this step."""
    M, N = len(slates), slates.n_items
    fake = rng.integers(0, N, (M, negatives)).astype(np.int32)
    fake = np.where((fake[:, :, None] == slates.item[:, None, :]).any(axis=2), -1, fake)
    item = np.concatenate([slates.item[:, :1], fake], axis=1)
    click = np.zeros(item.shape, np.bool_)
    click[:, 0] = slates.item[:, 0] >= 0
    signal = np.zeros((*item.shape, 0), np.float32)
    outcome = {name: np.pad(x[:, :1], ((0, 0), (0, negatives))) for name, x in slates.outcome.items()}
    return dataclasses.replace(slates, item=item, click=click, signal=signal, signals=(), outcome=outcome)


def _data(logs: Logs, slates: Slates, unknown: list[str]) -> Data:
    """Tensors; the features are the signals alone."""
    embedding = _vectors(logs, "items", "embedding_")
    attributes, _ = visible_attributes(logs)
    powers = np.concatenate([attributes, attributes**2, attributes**3], axis=1)
    profile, known = _profiles(logs)
    if embedding is None:
        unknown.append("Embeddings of the items: not given; they were fitted to the clicks.")
    if not known.any():
        unknown.append(
            "Profiles of the users: not given; what the logs tell of a user stands for what the platform knows."
        )
    keep = [f for f, name in enumerate(slates.signals) if name != "price"]
    T = torch.from_numpy
    return Data(
        T(np.maximum(slates.item, 0).astype(np.int64)), T(slates.shown), T(slates.click & slates.shown),
        T(np.ascontiguousarray(slates.signal[..., keep])), T(slates.user.astype(np.int64)), slates.first, T(profile), T(known),
        T(powers.astype(np.float32)), None if embedding is None else T(embedding),
    )  # fmt: skip


def visible_attributes(logs: Logs) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """(N, A) numbers of the items, scaled into [-1, 1] where they are not already, and their names."""
    skip = {"item", "id", "topic", "title"}
    names, columns = [], []
    for name in logs.items.columns:
        values = logs.items[name]
        if name in skip or name.startswith("embedding_") or not values.dtype.is_numeric():
            continue
        x = values.fill_null(values.median() if values.null_count() < len(values) else 0).to_numpy().astype(np.float64)
        x = np.where(np.isfinite(x), x, 0.0)
        if np.ptp(x) == 0:
            continue
        low, high = np.percentile(x, [0.5, 99.5])
        if low < -1 or high > 1:
            x = np.clip((x - (low + high) / 2) / max((high - low) / 2, 1e-9), -1, 1)
        names.append(name)
        columns.append(x)
    shape = np.stack(columns, 1) if columns else np.zeros((logs.n_items, 0))
    return shape.astype(np.float32), tuple(names)


def _vectors(logs: Logs, what: str, prefix: str) -> NDArray[np.float32] | None:
    """(n, d) of the columns of a vector; rows with a null are 0."""
    names = logs.vectors(what, prefix)
    if not names:
        return None
    table = getattr(logs, what)
    x = np.stack([table[name].cast(float).fill_null(math.nan).to_numpy() for name in names], 1)
    return np.where(np.isfinite(x).all(axis=1, keepdims=True), x, 0.0).astype(np.float32)


def _profiles(logs: Logs) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(U, P) what is known of the users: their columns `profile_`, or numbers and frequent levels of other columns."""
    vector = _vectors(logs, "users", "profile_")
    if vector is not None:
        return vector, (vector != 0).any(axis=1)
    columns = []
    for name in logs.users.columns:
        values = logs.users[name]
        if name in ("user", "id"):
            continue
        if values.dtype.is_numeric():
            x = values.cast(float).to_numpy()
            spread = np.nanstd(x)
            if spread > 0:
                columns.append(np.where(np.isfinite(x), np.clip((x - np.nanmean(x)) / spread, -3, 3), 0.0))
        else:
            text = values.cast(str).fill_null("").to_numpy().astype(str)
            levels, count = np.unique(text, return_counts=True)
            for level in levels[np.argsort(-count)][:8]:
                if 0.02 < (text == level).mean() < 0.98:
                    columns.append((text == level).astype(float))
    if not columns:
        return np.zeros((logs.n_users, 1), np.float32), np.zeros(logs.n_users, np.bool_)
    return np.stack(columns, 1).astype(np.float32), np.ones(logs.n_users, np.bool_)


@torch.no_grad()
def _held_out(model: Taste, data: Data, held: NDArray[np.int64], draws: int = 16) -> float:
    """Mean log-likelihood of a slate among the later halves of held-out users, given the earlier halves."""
    rows, p = later_halves(model, data, held, draws)
    return float(p.mean()) if len(rows) else -math.inf


@torch.no_grad()
def later_halves(
    model: Taste, data: Data, held: NDArray[np.int64], draws: int = 16
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Slates in the later halves of users, and the log-likelihood of each, given the users' earlier halves."""
    until = data.first[:-1] + (np.diff(data.first) + 1) // 2
    interest = model.sample(data, draws, until)
    rows = np.concatenate([np.arange(int(until[j]), int(data.first[j + 1])) for j in held] or [np.zeros(0, np.int64)])
    parts = [np.zeros(0)]
    for some in np.array_split(rows, max(len(rows) // 20_000, 1)):
        v = model.utility(data, interest, some)
        index = torch.from_numpy(some)
        ll = model.likelihood(v, data.there[index].expand_as(v), data.click[index].expand_as(v), model.theta)
        parts.append((torch.logsumexp(ll, 0) - math.log(draws)).numpy().astype(np.float64))
    return rows, np.concatenate(parts)


def _past(data: Data, slates: Slates, model: Taste, names: list[str]) -> tuple[Data, list[str], dict[str, Any]]:
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

    def score(columns: list[Array]) -> float:
        X = np.stack([*base, *[column[some][there] for column in columns]], 1)
        return logistic(y, X)[2]

    if slates.n_topics > 1 and len(slates) > slates.n_users:
        tried = {}
        for half in HALF_LIVES:
            exposed, clicked = np.zeros(shape), np.zeros(shape)
            replay_topics(exposed, clicked, slates.item, slates.click & shown, slates.topic, slates.user, slates.gap,
                          slates.n_topics, half)  # fmt: skip
            tried[half] = (score([exposed, clicked]), exposed, clicked)
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
                found = score([column])
                if found > best[0]:
                    best = (found, column)
                    decays["level"] = (memory, "least" if least else "mean")
        assert best[1] is not None
        added["level"] = best[1]
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


def _keep(model: Taste, cov: Array, labels: list[str], names: list[str], dynamic: list[str]) -> list[str]:
    """Features that stay: all signals, and those of the past whose 95 % interval does not hold 0 and whose sign makes sense."""
    kept = []
    for f, name in enumerate(names):
        place = labels.index(f"gamma{f}")
        value, error = float(model.gamma[f].detach()), math.sqrt(cov[place, place])
        sensible = value > 0 or name in ("level", "pull")
        if name not in dynamic or (abs(value) > Z * error and sensible):
            kept.append(name)
    return kept


def _estimate(name: str, value: float, error: float, meaning: str) -> Parameter:
    return Parameter(name, value, value - Z * error, value + Z * error, meaning)


def _parameters(
    model: Taste, cov: Array, labels: list[str], kept: list[str], decays: dict[str, Any], several: bool
) -> list[Parameter]:
    error = np.sqrt(np.maximum(np.diag(cov), 0))

    def of(label: str) -> float:
        return float(error[labels.index(label)])

    found = []
    for f, name in enumerate(kept):
        meaning = {
            "log_price": "utility of one unit of relative log price",
            "ignored": f"what an impression without a click takes from the utility of its topic; half-life {decays.get('half_life', 0):g} minutes",
            "clicked": "what an impression with a click takes from the utility of its topic",
            "level": f"utility of one unit of the reference price, the {decays.get('level', (0, ''))[1]} price of a slate with memory"
            f" {decays.get('level', (0, ''))[0]:g}",
            "pull": "how much a clicked item attracts: of the inner product with the items clicked before",
        }.get(name, f"utility of one unit of {name}")
        found.append(_estimate(name, float(model.gamma[f].detach()), of(f"gamma{f}"), meaning))
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
            reach = math.exp(Z * math.sqrt(max(variance, 0.0)))
            found.append(
                Parameter(
                    f"examination {s + 1}",
                    float(e[s]),
                    float(e[s] / reach),
                    float(e[s] * reach),
                    "of this position, relative to the most examined one",
                )
            )
    if model.choice == "cascade":
        for k, name in enumerate(("attention", "continuation")):
            value, reach = float(theta[k]), Z * of(f"theta{k}")
            low, mid, high = (1 / (1 + math.exp(-x)) for x in (value - reach, value, value + reach))
            found.append(Parameter(name, mid, low, high, ("reading on", "factor on reading on after a click")[k]))
    if model.choice == "multinomial logit" and several:
        value, reach = float(theta[0]), Z * of("theta0")
        low, mid, high = (math.log1p(math.exp(x)) for x in (value - reach, value, value + reach))
        found.append(Parameter("decay", mid, low, high, "what the position costs, of ln of its number"))
    found.append(
        _estimate(
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


class _Followed(NamedTuple):
    events: tuple[str, ...]
    after: dict[str, str]
    fits: dict[str, Regression]
    revenue: bool
    longest: float


def _outcomes(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32], unknown: list[str]
) -> tuple[_Followed, list[Parameter]]:
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
            found.append(_estimate(f"{name}, {what}", float(fit.coefficient[k]), float(error[k]), f"of {name} {given}"))
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
                    _estimate(
                        f"dwell, {what}",
                        float(fits["dwell"].coefficient[k]),
                        float(error[k]),
                        "of the time on a clicked item",
                    )
                )
    else:
        unknown.append("Dwell: not logged; a step takes the usual time between two steps, clicked or not.")
    revenue = priced and "purchase" in fits
    return _Followed(tuple(events), after, fits, revenue, longest), found


def _scan(slates: Slates) -> float:
    """Minutes of a step besides those on clicked items: the median of steps after which the user went on without a click."""
    within = (slates.step > 0) & (slates.gap > 0)
    clicked = np.asarray((slates.click & slates.shown).any(axis=1))
    quiet = within & ~np.r_[False, clicked[:-1]]
    gaps = slates.gap[quiet] if quiet.sum() >= 20 else slates.gap[within]
    return float(np.median(gaps)) if len(gaps) else 1.0


def _leaving(
    slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32], unknown: list[str]
) -> tuple[Hazard | None, Departure, Mood | None, list[Parameter]]:  # fmt: skip
    """Who leaves, who comes back."""
    if len(slates) < 2 * slates.n_users and not (slates.step > 0).any():
        unknown.append("Sessions: the logs show single steps; nobody leaves before the horizon of the world.")
        return None, Never(), None, []
    ended = int((slates.ends == 1).sum())
    if ended < 50:
        unknown.append(
            f"Sessions: {ended} ends are too few to tell when users leave; nobody leaves before the horizon."
        )
        return None, Never(), None, []
    x, words = _mood_inputs(slates, model, data, interest)
    fresh = np.r_[True, np.diff(slates.user) != 0]
    comes = _returns(slates, fresh)
    if comes is None:
        fresh = slates.step == 0
    fit = fit_hazard(slates.ends, slates.step, fresh, x, slates.item, slates.n_items)
    error = np.sqrt(np.diag(fit.covariance))
    found = [
        _estimate("leaving, log-odds", fit.level, float(error[0]), "of leaving after the first step, at mood 0"),
        _estimate("leaving, pace", fit.pace, float(error[1]), "of leaving, per unit of ln(step)"),
        Parameter("mood, memory", *fit.memory, "of the mood, per step"),
    ]
    for k, word in enumerate(words):
        found.append(
            _estimate(
                f"mood, {word}",
                float(fit.mood[k]),
                float(error[3 + k]),
                f"log-odds of staying, per unit of the running mean of {word}",
            )
        )
    back = dict(back=-30.0, back_mood=0.0, away=1440.0, away_spread=1.0)
    if comes is not None:
        y, at, gaps = comes
        mood = _moods(fit, slates, x, fresh)[at]
        w, cov, _ = logistic(y, np.stack([np.ones(len(y)), mood], 1))
        log_gap = np.log(np.clip(gaps, 1, 1e5))
        back = dict(
            back=float(w[0]),
            back_mood=float(w[1]),
            away=float(np.exp(np.median(log_gap))),
            away_spread=float(log_gap.std()),
        )
        found.append(
            _estimate(
                "return, log-odds", float(w[0]), math.sqrt(cov[0, 0]), "of coming back after a session, at mood 0"
            )
        )
        found.append(_estimate("return, per unit of mood", float(w[1]), math.sqrt(cov[1, 1]), "of coming back"))
    else:
        unknown.append("Returns: next to no user of the logs comes back after a session; nobody does in the world.")
    pick = dict(zip(words, fit.mood, strict=True))
    mood_part = Mood(
        memory=fit.memory[0], attributes={"keep": 1.0}, match=float(pick.get("match", 0.0)),
        price=float(-pick.get("log price", 0.0)), click=float(pick.get("clicks", 0.0)),
        minutes=float(pick.get("log minutes", 0.0)), initial=float(np.clip(fit.initial, -20, 20)), limit=50.0,
    )  # fmt: skip
    longest = float(max(slates.step.max() + 1, 10))
    departure = Visits(level=fit.level, pace=fit.pace, longest=longest, **back)
    return fit, departure, mood_part, found


def _mood_inputs(slates: Slates, model: Taste, data: Data, interest: NDArray[np.float32]) -> tuple[Array, list[str]]:
    """(M, p) inputs of the mood, and what they are: attributes of the items shown, match, price, clicks, minutes."""
    item = np.maximum(slates.item, 0)
    columns, words = [], []
    attributes = data.attributes.numpy().astype(np.float64)
    for a in range(attributes.shape[1]):
        columns.append(slates.mean(attributes[item, a]))
        words.append(f"attribute {a}")
    z = model.item_mean.detach().numpy().astype(np.float64)
    columns.append(slates.mean(z[item]))
    words.append("item effect")
    embedding = model.x.detach().numpy()
    match = np.zeros(item.shape)
    for some in np.array_split(np.arange(len(slates)), max(len(slates) // 50_000, 1)):
        match[some] = np.einsum("md,msd->ms", interest[0][slates.user[some]], embedding[item[some]])
    columns.append(slates.mean(match))
    words.append("match")
    if "log_price" in slates.signals:
        columns.append(slates.mean(slates.signal[..., slates.signals.index("log_price")].astype(np.float64)))
        words.append("log price")
    clicks = (slates.click & slates.shown).sum(axis=1).astype(np.float64)
    if clicks.var() > 0:
        columns.append(clicks)
        words.append("clicks")
    if "dwell" in slates.outcome:
        columns.append(np.log1p(slates.outcome["dwell"].sum(axis=1).astype(np.float64)))
        words.append("log minutes")
    return np.stack(columns, 1), words


def _moods(fit: Hazard, slates: Slates, x: Array, fresh: NDArray[np.bool_]) -> Array:
    """(M,) moods after each slate."""
    memory = fit.memory[0]
    own = slates.mean(fit.keep[np.maximum(slates.item, 0)])
    means = running_means(np.stack([x @ fit.mood, own], axis=1), fresh, memory)
    return means.sum(axis=1) + fit.initial * memory ** (steps_since(fresh) + 1)


def _returns(slates: Slates, first_of_user: Array) -> tuple[Array, NDArray[np.int64], Array] | None:
    """Whether users came back after sessions that ended early enough to see it, at which slates these ended, and the gaps of those who did."""
    last = np.flatnonzero(slates.ends == 1)
    follows = np.r_[~first_of_user[1:], False][last]
    gap = np.r_[slates.gap[1:], 0.0][last]
    if follows.sum() < 50 or follows.mean() < 0.005:
        return None
    span = slates.clock.max() - slates.clock.min()
    wait = min(float(np.quantile(gap[follows], 0.9)), span / 3)
    early = slates.clock[last] < slates.clock.max() - wait
    y = (follows & (gap <= wait)).astype(np.float64)[early]
    return (y, last[early], gap[early & follows & (gap <= wait)]) if early.sum() >= 50 and 0 < y.mean() < 1 else None


def _assemble(
    logs: Logs, slates: Slates, data: Data, model: Taste, interest: NDArray[np.float32], kept: list[str], decays: dict[str, Any],
    outcome: _Followed, hazard: Hazard | None, departure: Departure, mood: Mood | None,
    candidates: int | CandidateSource, slate_size: int | None, reward: dict[str, float] | None, click_rate: float | None,
    seed: int,
) -> World:  # fmt: skip
    """The parts put together."""
    gamma = dict(zip(kept, model.gamma.detach().tolist(), strict=True))
    appeal = model.appeal(data, False).detach().numpy().astype(np.float64)
    S = slate_size or int(np.bincount(slates.shown.sum(axis=1))[1:].argmax()) + 1
    if click_rate is not None:
        S = slate_size or 1
        appeal = appeal - appeal.mean() + math.log(click_rate / (1 - click_rate))
    seen = np.bincount(slates.item[slates.shown], minlength=slates.n_items).astype(np.float64)
    taken = np.bincount(slates.item[slates.click & slates.shown], minlength=slates.n_items).astype(np.float64)
    rate = taken.sum() / max(seen.sum(), 1)
    popularity = np.clip(0.5 * np.log((taken + 1) / (seen + 1 / rate) / rate), -2, 2)
    if click_rate is not None:
        popularity = np.log1p(taken) / max(np.log1p(taken).max(), 1e-9)
    attributes, names = visible_attributes(logs)
    names = tuple(name if name not in ("popularity", "appeal", "keep") else f"{name} (logged)" for name in names)
    counted = "popularity" if "popularity" not in slates.signals else "logged popularity"
    columns, hidden = [*attributes.T, popularity, appeal], [*names, counted, "appeal"]
    if hazard is not None:
        inputs = data.attributes.numpy().astype(np.float64)
        keep = (
            inputs @ hazard.mood[: inputs.shape[1]]
            + hazard.mood[inputs.shape[1]] * model.item_mean.detach().numpy()
            + hazard.keep
        )
        columns.append(keep)
        hidden.append("keep")
    for event, fit in outcome.fits.items():
        columns.append(fit.effect)
        hidden.append(f"{event} effect")
    catalog = Catalog(
        model.x.detach().numpy().round(6), slates.topic, np.stack(columns, 1).astype(np.float32).round(6), tuple(hidden),
        slates.n_topics, visible=(*names, counted),
    )  # fmt: skip
    market = _market(slates)
    signals = {name: (value, 0.0) for name, value in gamma.items() if name in slates.signals and name in market.names}
    population = _population(slates, data, model, interest, signals, seed)
    dynamics: list[Dynamics] = []
    topics, users = {}, {}
    if "ignored" in gamma or "clicked" in gamma:
        dynamics.append(Fatigue(gamma.get("ignored", 0.0), gamma.get("clicked", 0.0), decays["half_life"], 1e3))
        topics["fatigue"] = -1.0
    if "pull" in gamma:
        dynamics.append(Attraction(gamma["pull"], PULL_MEMORY))
    if "level" in gamma:
        memory, by = decays["level"]
        dynamics.append(Adaptation("offers", by, memory=memory, limit=4.0))
        users["level"] = gamma["level"]
    if mood is not None:
        dynamics.append(mood)
    laws = {name: fit.coefficient for name, fit in outcome.fits.items()}
    response = Outcomes(
        outcome.events,
        level={n: float(w[0]) for n, w in laws.items()}, slope={n: float(w[1]) for n, w in laws.items()},
        price={n: float(-w[2]) for n, w in laws.items() if len(w) > 2}, attributes={n: f"{n} effect" for n in laws},
        after=outcome.after, sigma=float(outcome.fits["dwell"].sigma) if "dwell" in laws else 0.0, longest=outcome.longest,
        scan=_scan(slates), revenue=outcome.revenue,
    )  # fmt: skip
    source = source_of(candidates, Uniform(min(20, slates.n_items)))
    return World(
        catalog=catalog, population=population, market=market, candidates=source,
        preference=DotProduct(1.0, {"appeal": 1.0}, topics, users), choice=_choice(model, S), response=response,
        dynamics=tuple(dynamics), departure=departure, reward=Weighted(reward or {"click": 1.0}), slate_size=S,
        horizon=int(min(max(100, np.quantile(slates.step, 0.999) + 1), 1000)), embeddings=False,
    )  # fmt: skip


def _choice(model: Taste, S: int) -> Choice:
    theta = model.theta.detach()
    if model.choice == "cascade":
        return Cascade(float(torch.sigmoid(theta[0])), float(torch.sigmoid(theta[1])), 0.0)
    if model.choice == "multinomial logit":
        return MultinomialLogit(0.0, float(torch.nn.functional.softplus(theta[0])))
    if model.choice == "independent":
        return PositionBased((1.0,) * S, 0.0)
    e = examination(theta).tolist()
    return PositionBased(tuple((e + [e[-1]] * S)[:S]), 0.0)


def _market(slates: Slates) -> Market:
    """When items could be shown, and their signals: as logged, or as near in time as anything was."""
    N = slates.n_items
    m, s = np.nonzero(slates.shown)
    item, clock = slates.item[m, s], slates.clock[m]
    span = float(clock.max()) + 1.0
    born, died = np.full(N, np.inf), np.zeros(N)
    np.minimum.at(born, item, clock)
    np.maximum.at(died, item, clock)
    lasting = np.median((died - born)[np.isfinite(born)]) > 0.5 * (clock.max() - clock.min())
    born = np.where(np.isfinite(born), born, 0.0)
    F = len(slates.signals)
    length = np.maximum(died - born, 1.0)
    for part in (60.0, 180.0, 360.0, 720.0, 1440.0, 2880.0, 10080.0, 43_200.0):
        parts = math.ceil(span / part)
        L = parts if lasting else int(min(np.ceil(length.max() / part) + 1, parts))
        if N * L * max(F, 1) <= ROOM and (len(item) >= 2 * N * min(L, np.mean(length) / part + 1) or part >= 10080.0):
            break
    slot_first = (born // part).astype(np.int64)
    if lasting:
        offsets, listed = np.array([0, N]), np.arange(N, dtype=np.int32)
        slot = parts * part
        slot_first = np.zeros(N, np.int64)
    else:
        slot = part
        offsets, listed = listing(
            parts, slot_first, (died // part).astype(np.int64) - slot_first + 1, np.ones(N, np.int64)
        )
    if not F:
        return StaticMarket(slot, offsets, listed)
    table = np.zeros((N, L, F), np.float32)
    at = np.minimum((clock // part).astype(np.int64) - slot_first[item], L - 1)
    cell = item.astype(np.int64) * L + at
    count = np.bincount(cell, minlength=N * L).reshape(N, L)
    for f in range(F):
        total = np.bincount(cell, slates.signal[m, s, f].astype(np.float64), N * L).reshape(N, L)
        usual = float(slates.signal[m, s, f].mean())
        table[..., f] = _filled(total, count, usual)
    return LoggedMarket(
        slot, offsets, listed, table.round(5), slot_first.astype(np.int32), part, slates.signals, (True,) * F
    )  # fmt: skip


def _filled(total: Array, count: Array, usual: float) -> Array:
    """(N, L) means, where nothing was logged those of the part before, or else of the next one, or else `usual`."""
    there = count > 0
    value = np.where(there, total / np.maximum(count, 1), 0.0)
    L = count.shape[1]
    before = np.maximum.accumulate(np.where(there, np.arange(L), -1), axis=1)
    after = np.minimum.accumulate(np.where(there, np.arange(L), L)[:, ::-1], axis=1)[:, ::-1]
    source = np.where(before >= 0, before, np.where(after < L, after, 0))
    out = np.take_along_axis(value, source, axis=1)
    return np.where(there.any(axis=1, keepdims=True), out, usual)


def _population(
    slates: Slates,
    data: Data,
    model: Taste,
    interest: NDArray[np.float32],
    signals: dict[str, tuple[float, float]],
    seed: int,
) -> Empirical:
    rng = np.random.default_rng([seed, 13])
    chosen = np.sort(rng.permutation(slates.n_users)[:MOST_USERS])
    d = model.d
    given = data.profile.numpy()
    if given.shape[1] == d and data.known.any():
        profile = given[chosen]
    else:
        profile = interest.mean(axis=0)
        profile = (profile - profile.mean(axis=0))[chosen]
    norm = np.linalg.norm(profile, axis=1, keepdims=True)
    profile = np.where(norm > 1, profile / np.maximum(norm, 1e-9), profile)
    starts = [np.flatnonzero(slates.step[slates.first[j] : slates.first[j + 1]] == 0) + slates.first[j] for j in chosen]
    clock = np.array([slates.clock[rows[rng.integers(len(rows))]] for rows in starts])
    times = max(1, min(len(interest), MOST_USERS // len(chosen)))
    drawn = interest[:times, chosen].reshape(-1, d)
    return Empirical(
        drawn.round(5),
        np.tile(profile, (times, 1)).round(6),
        np.tile(clock, times).round(1).astype(np.float32),
        signals,
    )
