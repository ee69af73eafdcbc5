"""What users saw and clicked before, and what it does to the utility of what they are shown next: `Habit`s.

- fatigue: of topics, as `Fatigue` has it; - level: of prices, a reference price, as `Adaptation`; - busy: with what was clicked, likewise;
- pull: of clicked items, as `Attraction`.

Their numbers (strengths, half-lives, memories, limits) enter the utilities nonlinearly. So they are found by Gauss and Newton's method within the
likelihood of the clicks: the utility of a habit is an offset, its derivatives by its numbers are features, and the coefficients of these
are the next move. Tastes are fitted along: who clicks the same topic again may like it, or be tired of another, and the two are told apart
only together (Heckman 1981: state dependence and heterogeneity).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from recgym.fit.checkpoint import Checkpoints
from recgym.fit.clicks import Z, sigmoid
from recgym.fit.effects import logistic
from recgym.fit.events import Slates, replay_fatigue, replay_level, replay_pull
from recgym.fit.outcomes import lengths
from recgym.fit.parameters import Parameter
from recgym.fit.taste import Data, Progress, Taste, batch_size, fit_taste, polish
from recgym.types import Array

HALF_LIVES = (2.0, 5.0, 20.0, 60.0, 360.0, 1440.0)  # minutes, from which the search may begin
MEMORIES = (0.5, 0.7, 0.8, 0.9)  # likewise
ROUNDS = 8  # of Gauss and Newton's method, at most
EPOCHS = 4  # of each
STILL = 0.02  # of utility: moves that change it by less end the search
FARTHEST = 1.0  # a number moves in a round
DIFFERENCE = 0.02  # by which derivatives are taken
NO_LIMIT = 1e3  # of a fatigue whose limit the logs do not show
LASTING = 0.95  # memory of a pull above which logs can hardly tell it from the taste
UNKNOWN = 1.0  # standard error of the logarithm of a limit, above which the logs do not show it
SHAPES: dict[str, Callable[[float], float]] = {
    "plain": float,
    "log": lambda x: math.exp(min(max(x, -20.0), 20.0)),
    "logit": lambda x: float(sigmoid(np.clip(x, -20.0, 20.0))),
}


@dataclass(frozen=True, eq=False)
class Habit:
    """One way in which the past acts on utilities.

    Args:
        name: "fatigue", "level", "busy" or "pull".
        words: of its numbers. shapes: of each, "plain", "log" or "logit": which function of it is a real number.
        numbers: (p,) the real numbers. free: (p,) bool, those that are fitted.
        utility: the words' values -> (M, S), what it adds to the utilities.
        strengths: which numbers are coefficients, in which the utility is linear; if they are 0, it is 0.
    """

    name: str
    words: tuple[str, ...]
    shapes: tuple[str, ...]
    numbers: Array
    free: NDArray[np.bool_]
    utility: Callable[..., Array]
    strengths: tuple[int, ...]

    @property
    def values(self) -> tuple[float, ...]:
        """Of its words."""
        return self._values(self.numbers)

    def value(self, word: str) -> float:
        """Of one word."""
        return self.values[self.words.index(word)]

    def _values(self, numbers: Array) -> tuple[float, ...]:
        return tuple(SHAPES[shape](x) for shape, x in zip(self.shapes, numbers, strict=True))

    def at(self, numbers: Array) -> Array:
        """(M, S) what it adds to the utilities."""
        return self.utility(*self._values(numbers))

    def derivatives(self) -> tuple[Array, list[Array]]:
        """(M, S) what it adds to the utilities, and the derivatives by the numbers that are free."""
        here = self.at(self.numbers)
        found = []
        for k in np.flatnonzero(self.free):
            there = self.numbers.copy()
            there[k] += DIFFERENCE
            found.append((self.at(there) - here) / DIFFERENCE)
        return here, found

    def moved(self, move: Array) -> Habit:
        """With its free numbers moved, none of them far."""
        numbers = self.numbers.copy()
        numbers[self.free] += np.clip(move, -FARTHEST, FARTHEST)
        return dataclasses.replace(self, numbers=numbers)

    def fixed(self, word: str, number: float) -> Habit:
        """With one number that is not fitted."""
        numbers, free = self.numbers.copy(), self.free.copy()
        numbers[self.words.index(word)], free[self.words.index(word)] = number, False
        return dataclasses.replace(self, numbers=numbers, free=free)


def habits_of(data: Data, slates: Slates, model: Taste) -> list[Habit]:
    """Those that the logs could show, where the search for their numbers begins: where the clicks are likeliest if all users were alike."""
    if len(slates) <= slates.n_users:
        return []
    shown, item, user = slates.shown, slates.item, slates.user
    click = slates.click & shown
    shape, S = item.shape, item.shape[1]
    embedding = None if data.embedding is None else data.embedding.numpy().astype(np.float64)
    some = np.random.default_rng(5).permutation(len(slates))[:200_000]
    with torch.no_grad():
        mean, _ = model.prior(data.profile, data.known)
        offset = model.utility(data, mean.numpy(), some).numpy().astype(np.float64)

    def fatigue(ignored: float, clicked: float, half_life: float, limit: float) -> Array:
        return -replayed_fatigue(slates, ignored, clicked, half_life, limit)[0]

    def level(strength: float, memory: float, initial: float, least: float) -> Array:
        mean, low = np.zeros(len(item)), np.zeros(len(item))
        replay_level(mean, price, item, user, memory, False, initial)
        replay_level(low, price, item, user, memory, True, initial)
        return np.broadcast_to((strength * ((1 - least) * mean + least * low))[:, None], shape)

    def busy(strength: float, memory: float) -> Array:
        share = np.zeros(len(item))
        # empty positions count, as they do in the world
        replay_level(share, click.astype(np.float64), np.zeros_like(item), user, memory, False, 0.0)
        return np.broadcast_to((-strength * share)[:, None], shape)

    def pull(strength: float, memory: float) -> Array:
        match = np.zeros(shape)
        replay_pull(match, item, click, embedding, user, memory)
        return strength * match

    def begin(
        name: str, words: str, shapes: str, starts: list[list[float]], utility: Callable[..., Array], held: str = ""
    ) -> Habit:
        given = tuple(words.split())
        kinds = tuple(shapes.split())
        strengths = tuple(k for k, word in enumerate(given) if word in ("ignored", "clicked", "strength"))
        free = np.array([word != held for word in given])
        tried = [Habit(name, given, kinds, np.array(start), free, utility, strengths) for start in starts]
        return _likeliest(tried, slates, some, offset)

    found = []
    if slates.n_topics > 1:
        starts = [[1.0, 1.0, math.log(half), math.log(NO_LIMIT)] for half in HALF_LIVES]
        best = begin("fatigue", "ignored clicked half-life limit", "plain plain log log", starts, fatigue)
        reached = -best.at(best.numbers)[shown]
        limit = float(np.quantile(reached[reached > 0], 0.9)) if (reached > 0).any() else NO_LIMIT
        numbers = best.numbers.copy()
        numbers[3] = math.log(max(limit, 1e-3))
        found.append(dataclasses.replace(best, numbers=numbers))
    if "log_price" in slates.signals:
        price = slates.signal[..., slates.signals.index("log_price")].astype(np.float64)
        starts = [[1.0, _logit(memory), float(price[shown].mean()), 0.5 if S > 1 else 0.0] for memory in MEMORIES]
        held = "least" if S == 1 else ""
        found.append(begin("level", "strength memory initial least", "plain logit plain plain", starts, level, held))
    found.append(begin("busy", "strength memory", "plain logit", [[1.0, _logit(m)] for m in MEMORIES], busy))
    if embedding is not None:
        found.append(begin("pull", "strength memory", "plain logit", [[1.0, _logit(m)] for m in MEMORIES], pull))
    return found


def replayed_fatigue(
    slates: Slates, ignored: float, clicked: float, half_life: float, limit: float
) -> tuple[Array, Array]:
    """The fatigue of the topic of each item (M, S), and its sum over the topics after each slate (M,)."""
    fatigue, total = np.zeros(slates.item.shape), np.zeros(len(slates))
    replay_fatigue(fatigue, total, slates.item, slates.click & slates.shown, slates.topic, slates.user, slates.step,
                   slates.gap, lengths(slates), ignored, clicked, half_life, limit)  # fmt: skip
    return fatigue, total


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _likeliest(tried: Sequence[Habit], slates: Slates, some: NDArray[np.int64], offset: Array) -> Habit:
    """That habit under which a logistic regression of the clicks is best, at its coefficients, but those at least 0.01.

    Args:
        some: slates that are looked at. offset: (len(some), S) utilities without habits, if all users were alike.
    """
    there = slates.shown[some]
    y = (slates.click & slates.shown)[some][there].astype(np.float64)
    place = np.nonzero(there)[1]
    base = [np.ones(len(y)), offset[there], np.log1p(place)]
    best: tuple[float, Habit] | None = None
    for habit in tried:
        columns = []
        for k in habit.strengths:
            one = habit.numbers.copy()
            one[list(habit.strengths)] = 0.0
            one[k] = 1.0
            columns.append(habit.at(one)[some][there])
        w, _, score = logistic(y, np.stack([*base, *columns], 1))
        if best is None or score > best[0]:
            numbers = habit.numbers.copy()
            numbers[list(habit.strengths)] = np.maximum(w[len(base) :], 0.01)
            best = score, dataclasses.replace(habit, numbers=numbers)
    assert best is not None
    return best[1]


def with_habits(data: Data, slates: Slates, habits: Sequence[Habit]) -> Data:
    """The data with what habits add to utilities, and with its derivatives as further features."""
    offset, columns = np.zeros(slates.item.shape), []
    for habit in habits:
        here, slopes = habit.derivatives()
        offset = offset + here
        columns += slopes
    shown = slates.shown
    extra = (
        np.stack([np.where(shown, column, 0.0) for column in columns], -1) if columns else np.zeros((*shown.shape, 0))
    )
    feature = torch.cat([data.feature[..., : data.signals], torch.from_numpy(extra.astype(np.float32))], -1)
    return dataclasses.replace(
        data, feature=feature.contiguous(), offset=torch.from_numpy(np.where(shown, offset, 0.0).astype(np.float32))
    )


def moved(habits: Sequence[Habit], model: Taste, data: Data) -> tuple[list[Habit], float]:
    """The habits with numbers that a model has found, and by how much that moves utilities: the largest root mean square of a number."""
    moves = model.gamma.detach()[data.signals :]
    squares = ((data.feature[..., data.signals :] * moves) ** 2).sum((0, 1)) / data.there.sum()
    each = _each(habits, moves.numpy().astype(np.float64))
    out = [habit.moved(move) for habit, move in zip(habits, each, strict=True)]
    return out, float(squares.max().sqrt()) if len(moves) else 0.0


def _each(habits: Sequence[Habit], values: Array) -> list[Array]:
    """Numbers, one for each that is free, by habit."""
    return np.split(values, np.cumsum([habit.free.sum() for habit in habits])[:-1]) if habits else []


def search(
    data: Data, slates: Slates, habits: list[Habit], model: Taste, users: NDArray[np.int64], seed: int,
    progress: Progress | None = None, checkpoints: Checkpoints | None = None,
) -> tuple[list[Habit], Data, Taste]:  # fmt: skip
    """Gauss and Newton's method for the numbers of the habits, on the slates of `users`; the data and the model at its end."""
    if not habits:
        return habits, data, model
    size = batch_size(data)
    per_epoch = max(round(len(data.rows(users)[0]) / size), 1)
    for r in range(ROUNDS):
        data = with_habits(data, slates, habits)
        model = fit_taste(data, model.choice, model.d, users=users, steps=EPOCHS * per_epoch, size=size, seed=seed + r,
                          start=model, checkpoints=checkpoints)  # fmt: skip
        polish(model, data, 3, seed + r, users)
        habits, largest = moved(habits, model, data)
        if r == 2:  # by now it is plain whether the mean of the prices counts or the least
            habits = [_rounded(habit) for habit in habits]
        if progress:
            progress("habits", (r + 1) / ROUNDS, largest)
        if r > 2 and largest < STILL:
            break
    return habits, with_habits(data, slates, habits), model


def _rounded(habit: Habit) -> Habit:
    if habit.name != "level" or not habit.free[3]:
        return habit
    return habit.fixed("least", float(habit.value("least") > 0.5))


def errors_of(habits: Sequence[Habit], cov: Array, labels: list[str], signals: int) -> list[Array]:
    """For each habit, (p,) standard errors of its numbers; 0 of those that are not fitted."""
    error, out = np.sqrt(np.maximum(np.diag(cov), 0)), []
    free = sum(int(habit.free.sum()) for habit in habits)
    found = np.array([error[labels.index(f"gamma{signals + k}")] for k in range(free)])
    for habit, values in zip(habits, _each(habits, found), strict=True):
        own = np.zeros(len(habit.numbers))
        own[habit.free] = values
        out.append(own)
    return out


def worth_keeping(habits: Sequence[Habit], errors: Sequence[Array]) -> list[Habit]:
    """The habits of which a strength has a 95 % interval without 0 and a sign that makes sense; other strengths are fixed at 0.

    A limit that the logs do not show is none. A pull that lasts is none, either: each click would add to it without an end.
    """
    kept = []
    for habit, error in zip(habits, errors, strict=True):
        for k in habit.strengths:
            value = habit.numbers[k]
            if habit.free[k] and not (abs(value) > Z * error[k] and (value > 0 or habit.name == "level")):
                habit = habit.fixed(habit.words[k], 0.0)
        if habit.name == "fatigue" and habit.free[3] and error[3] > UNKNOWN:
            habit = habit.fixed("limit", math.log(NO_LIMIT))
        lasts = habit.name == "pull" and habit.value("memory") > LASTING
        if not lasts and any(habit.numbers[k] != 0 for k in habit.strengths):
            kept.append(habit)
    return kept


MEANINGS = {
    "ignored": ("ignored", "what an impression without a click takes from the utility of its topic"),
    "clicked": ("clicked", "what an impression with a click takes from the utility of its topic"),
    "fatigue half-life": ("fatigue, half-life", "minutes in which fatigue halves"),
    "fatigue limit": ("fatigue, limit", "what the fatigue of a topic takes from utility at most"),
    "level strength": ("reference price", "utility of one unit of the reference price"),
    "level memory": ("reference price, memory", "of the reference price, per step"),
    "level initial": ("reference price, at arrival", "relative log price"),
    "busy strength": (
        "busy",
        "what clicks of the steps before take from the utility of everything, per share of positions",
    ),
    "busy memory": ("busy, memory", "of the share of positions that were clicked, per step"),
    "pull strength": ("pull", "how much a clicked item attracts: of the inner product with the items clicked before"),
    "pull memory": ("pull, memory", "of the attraction, per step"),
}


def habit_parameters(habits: Sequence[Habit], errors: Sequence[Array]) -> list[Parameter]:
    """The numbers that were fitted, with their intervals."""
    found = []
    for habit, error in zip(habits, errors, strict=True):
        for k in np.flatnonzero(habit.free):
            word, back = habit.words[k], SHAPES[habit.shapes[k]]
            name, meaning = MEANINGS[word if word in MEANINGS else f"{habit.name} {word}"]
            if word == "strength" and habit.name == "level":
                meaning += f", the {'least' if habit.value('least') else 'mean'} price of a slate"
            x, reach = habit.numbers[k], Z * error[k]
            found.append(Parameter(name, back(x), back(x - reach), back(x + reach), meaning))
    return found
