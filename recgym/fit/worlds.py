"""A world fitted to logs: persons, items, choice, what follows a click, and how long users stay."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.errors import FitError, require_count, require_number, require_option
from recgym.fit.assembly import assemble
from recgym.fit.checkpoint import Checkpoints
from recgym.fit.events import Slates, slates_of
from recgym.fit.inputs import data_of, prepared, with_negatives
from recgym.fit.likelihood import CHOICES
from recgym.fit.outcomes import fit_outcomes
from recgym.fit.parameters import Parameter, taste_parameters
from recgym.fit.past import (
    Habit,
    errors_of,
    habit_parameters,
    habits_of,
    moved,
    replayed_fatigue,
    search,
    with_habits,
    worth_keeping,
)
from recgym.fit.stay import Leaving, fit_leaving
from recgym.fit.taste import Data, Progress, Taste, batch_size, covariance, fit_taste, polish
from recgym.models.candidates import CandidateSource
from recgym.world import World

if TYPE_CHECKING:
    from recgym.logs.table import Logs

DRAWS = 8  # of the interest of each user
CLICKS = 200  # with fewer, what users saw before is not searched for effects
SEARCHED = 300_000  # impressions on which the numbers of habits are searched for


@dataclass(frozen=True, eq=False)
class Fitted:
    """All that a fit found, for reports and for those who want to look closer."""

    world: World
    slates: Slates
    data: Data
    model: Taste
    interest: NDArray[np.float32]  # (DRAWS, U, d), from the posterior of each user
    leaving: Leaving
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
    checkpoints: Checkpoints | None = None,
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
        checkpoints: where the state of the trainings is kept, so that a fit that was interrupted goes on; it is left there.

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
    logs = prepared(logs)
    slates = taken = slates_of(logs)
    rng = np.random.default_rng([seed, 11])
    if not logs.impressions:
        slates = with_negatives(slates, negatives, rng)
        unknown.append(
            f"Impressions: the logs have interactions alone. {negatives} random items stand for what was seen and not taken in each"
            f" step; how often users click at all cannot be told, and {click_rate:.1%} of impressions is what the world has by your word."
        )
    data = data_of(logs, slates, unknown)
    d = dimensions if data.embedding is None else data.embedding.shape[1]
    names = [n for n in slates.signals if n != "price"]
    held = rng.permutation(slates.n_users)[: min(max(slates.n_users // 10, 1), 5000)]
    train = np.setdiff1d(np.arange(slates.n_users), held)
    size = batch_size(data)

    # 1. Which choice model, and the numbers of habits, on a part of the users.
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
        name: fit_taste(
            data,
            name,
            d,
            users=part,
            steps=max(steps // 3, 1),
            size=size,
            seed=seed,
            progress=progress,
            checkpoints=checkpoints,
        )
        for name in options
    }
    scores = {name: _held_out(model, data, held) for name, model in quick.items()}
    best = max(scores, key=lambda name: scores[name])
    model = quick[best]
    habits: list[Habit] = []
    clicks = int((slates.click & slates.shown).sum())
    if logs.impressions and clicks < CLICKS:
        unknown.append(
            f"Fatigue, attraction and a reference price: {clicks} clicks are too few to tell them; the world has none."
        )
    elif logs.impressions:
        some = rng.permutation(train)[: max(int(len(train) * min(1.0, SEARCHED / slates.item.size)), 10)]
        habits, data, model = search(
            data, slates, habits_of(data, slates, model), model, some, seed, progress, checkpoints
        )
    else:
        unknown.append("Fatigue, attraction and a reference price: need impressions; the world has none.")

    # 2. All of it; then anew, without those habits that have no effect, as the rest has adapted to them.
    tried = [habit.name for habit in habits]
    while True:
        model = fit_taste(data, best, d, steps=steps, size=size, seed=seed, start=model if habits else None,
                          progress=progress, checkpoints=checkpoints)  # fmt: skip
        polish(model, data, seed=seed, progress=progress)
        cov, labels = covariance(model, data, seed)
        errors = errors_of(habits, cov, labels, data.signals)
        habits, _ = moved(habits, model, data)
        left = worth_keeping(habits, errors)
        if [habit.free.sum() for habit in left] == [habit.free.sum() for habit in habits]:
            break
        habits, data = left, with_habits(data, slates, left)
    for name in tried:
        if name not in [habit.name for habit in habits]:
            unknown.append(
                f"{WORDS[name]}: no effect beyond its interval, or not one that makes sense; the world has none."
            )
    interest = model.sample(data, DRAWS, seed=seed)

    # 3. What follows a click, and who stays.
    parameters = taste_parameters(model, cov, labels, names, several and logs.impressions)
    parameters += habit_parameters(habits, errors)
    if not logs.impressions:
        parameters = [p for p in parameters if p.name != "level"]
    outcome, more = fit_outcomes(slates, model, data, interest, unknown)
    parameters += more
    tired = [replayed_fatigue(taken, *habit.values)[1] for habit in habits if habit.name == "fatigue"]
    leaving, more = fit_leaving(taken, model, data, interest, unknown, tired[0] if tired else None)
    parameters += more
    world = assemble(
        logs, slates, data, model, interest, habits, outcome, leaving,
        candidates, slate_size, reward, None if logs.impressions else click_rate, seed,
    )  # fmt: skip
    settings = dict(choice=best, dimensions=d, steps=steps, seed=seed, candidates=world.n_candidates)
    return Fitted(
        world, slates, data, model, interest, leaving, tuple(parameters), tuple(unknown), scores, held,
        time.monotonic() - begun, settings,
    )  # fmt: skip


WORDS = {
    "fatigue": "Fatigue of topics",
    "level": "A reference price",
    "busy": "Being busy with what was clicked before",
    "pull": "Attraction of items clicked before",
}


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
