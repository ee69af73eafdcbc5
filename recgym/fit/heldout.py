"""How well a fit predicts the clicks of users whom it has not seen, beside plainer models and a sequence model.

Some users are held out. Of each, the later half of the slates is predicted: the rows. All models are fitted to the other users; of a
held-out user they know what is said at each of them:

- constant: one click rate;
- popularity: the click rate of each item, smoothed by one click;
- item-only: logit P = position + item, the items a random effect;
- sequence: a recurrent network over the items that the user clicked before the slate (after Hidasi et al., ICLR 2016), whose state is
  compared with the items shown. It is trained on the same impressions by the likelihood of their clicks, so that its
  probabilities can be compared; that of the paper ranks, and has none;
- fitted: the model of the world, with the user's interest given the earlier half of the slates.

What was chosen before, the choice model and which features of the past are in it, was chosen with all users.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recgym.errors import require_count
from recgym.fit.clicks import sigmoid
from recgym.fit.effects import random_intercepts
from recgym.fit.likelihood import examination
from recgym.fit.scores import SMALLEST, HeldOut, calibration, score
from recgym.fit.taste import Data, Progress, batch_size, batches, fit_taste, polish

if TYPE_CHECKING:
    from recgym.fit.worlds import Fitted

Array = NDArray[np.float64]
FEWEST, MOST = 100, 5_000  # users held out: a tenth, at least the first number, or a third where there are few
ROWS = 200_000  # predicted at most
DRAWS = 16  # of the interest of a held-out user
LONGEST = 100  # clicks that the network reads in one go


def held_out(
    fitted: Fitted, *, interactions: bool = False, epochs: int = 40, seed: int = 0, progress: Progress | None = None
) -> HeldOut:
    """Predict the clicks of users who are left out of a fit, and score the predictions.

    The model of the fit is fitted once more, to the other users.

    Args:
        fitted: what `fit_world` returned.
        interactions: whether the logs have no impressions, so that random items stand beside what was taken.
        epochs: of the sequence model, at most; it ends when users set aside for this are predicted no better.
        seed: of who is held out, of the bootstrap and of the sequence model. progress: as of `fit_world`.

    Raises:
        ConfigError: an argument is outside its range.
    """
    require_count("epochs", epochs, 1, 10_000)
    require_count("seed", seed, 0, 2**31)
    slates, data = fitted.slates, fitted.data
    U = slates.n_users
    rng = np.random.default_rng([seed, 17])
    held = np.sort(rng.permutation(U)[: max(min(U // 10, MOST), min(FEWEST, U // 3))])
    notes = [
        f"The later halves of the slates of {len(held):,} users, who were drawn at random and left out of the fits scored here."
    ]
    if not bool(data.there[..., 1:].any()) and (np.diff(slates.first) == 1).all():
        notes.append("Every row is a user of its own: nothing is known of whom is predicted.")
    if interactions:
        notes.append(
            "The logs have interactions alone: each row that was clicked stands among random items, and the scores say how well it is told"
            " from these, not how well from what was really shown."
        )
    until = data.first[:-1] + np.diff(data.first) // 2
    width = max(data.item.shape[1], 1)
    total = np.cumsum((data.first[1:] - until)[held]) * width
    held = held[: max(int(np.searchsorted(total, ROWS)), 1)]
    rows = np.concatenate([np.arange(int(until[j]), int(data.first[j + 1])) for j in held.tolist()])
    train = np.setdiff1d(np.arange(U), held)
    there = data.there[torch.from_numpy(rows)].numpy()
    click = data.click[torch.from_numpy(rows)].numpy()[there]
    owner = np.repeat(np.searchsorted(held, slates.user[rows]), there.sum(axis=1))
    known = Counted.of(data, train)
    if not 0 < click.sum() < len(click) or not 0 < known.clicks.sum() < known.shown.sum():
        notes.append("Their rows are all clicked or none is, so that there is nothing to tell apart.")
        return HeldOut(len(held), len(rows), len(click), int(click.sum()), (), (), tuple(notes))
    predicted: dict[str, tuple[str, Array]] = {
        "constant": ("nothing", np.full(there.shape, known.clicks.sum() / known.shown.sum())),
        "popularity": (
            "nothing; the click rate of the item",
            known.popularity()[data.item[torch.from_numpy(rows)].numpy()],
        ),
        "item-only": ("nothing; item and position", known.item_only(data, rows)),
        "sequence": ("the clicked items before the slate", sequence_model(data, train, rows, epochs, seed, progress)),
        "fitted": ("the earlier half of the slates", _fitted(fitted, data, train, rows, until, seed, progress)),
    }
    p = {
        name: np.clip(values[there].astype(np.float64), SMALLEST, 1 - SMALLEST)
        for name, (_, values) in predicted.items()
    }
    scores = score(click, p, owner, len(held), {name: about for name, (about, _) in predicted.items()}, seed)
    if len(held) < 10:
        notes.append(f"{len(held)} users are very few: the intervals are too narrow, and say little.")
    return HeldOut(
        len(held), len(rows), len(click), int(click.sum()), scores, calibration(click, p["fitted"], owner), tuple(notes)
    )


# Plain models


@dataclass(frozen=True, eq=False)
class Counted:
    """Impressions and clicks by item and position, of some users."""

    shown: Array  # (N, S)
    clicks: Array

    @classmethod
    def of(cls, data: Data, users: NDArray[np.int64]) -> Counted:
        """Count the slates of users."""
        rows, _ = data.rows(users)
        N, S = len(data.attributes), data.item.shape[1]
        cell = (data.item[rows] * S + torch.arange(S)).numpy()
        there, click = data.there[rows].numpy(), data.click[rows].numpy()
        shown = np.bincount(cell[there], minlength=N * S).reshape(N, S).astype(np.float64)
        return cls(shown, np.bincount(cell[click], minlength=N * S).reshape(N, S).astype(np.float64))

    def popularity(self) -> Array:
        """(N,) click rates, smoothed by as many impressions as have one click."""
        rate = self.clicks.sum() / self.shown.sum()
        return (self.clicks.sum(axis=1) + 1) / (self.shown.sum(axis=1) + 1 / rate)

    def item_only(self, data: Data, rows: NDArray[np.int64]) -> Array:
        """(m, S) probabilities by item and position: a logistic regression on positions with a random effect of each item."""
        N, S = self.shown.shape
        item, place = np.nonzero(self.shown)
        y, n = self.clicks[item, place], self.shown[item, place]
        used = np.flatnonzero(self.shown.sum(axis=0) > 0)
        column = np.searchsorted(used, np.arange(S)).clip(
            max=len(used) - 1
        )  # a position that was never shown is like the next
        X = np.eye(len(used))[column[place]]
        X[:, 0] = 1.0
        weights = np.r_[y, n - y]
        some = weights > 0
        fit = random_intercepts(
            np.r_[np.ones(len(y)), np.zeros(len(y))][some],
            np.r_[X, X][some],
            np.r_[item, item][some],
            N,
            weights=weights[some],
        )
        w = fit.coefficient.copy()
        w[1:] += w[0]
        eta = w[column][None, :] + fit.effect[data.item[torch.from_numpy(rows)].numpy()]
        return sigmoid(eta)


# The model of the fit


def marginals(choice: str, v: Tensor, there: Tensor, theta: Tensor) -> Tensor:
    """(..., S) click probability of each position under a choice model of `recgym.fit.likelihood`, given utilities (..., S)."""
    p = torch.sigmoid(v) * there
    if choice == "position-based":
        return p * examination(theta)
    if choice == "independent":
        return p
    if choice == "cascade":
        attention, continuation = torch.sigmoid(theta[0]), torch.sigmoid(theta[1])
        on = attention * (1 - p + continuation * p)
        reading = torch.cat([torch.ones_like(p[..., :1]), torch.cumprod(on, -1)[..., :-1]], -1)
        return p * reading
    position = torch.log1p(torch.arange(v.shape[-1], dtype=v.dtype))
    worth = torch.where(there, v - F.softplus(theta[0]) * position, -torch.inf)
    return torch.softmax(torch.cat([torch.zeros_like(worth[..., :1]), worth], -1), -1)[..., 1:]


def _fitted(
    fitted: Fitted, data: Data, train: NDArray[np.int64], rows: NDArray[np.int64], until: NDArray[np.int64], seed: int,
    progress: Progress | None,
) -> Array:  # fmt: skip
    """(m, S) probabilities by the model of the fit, fitted to `train` alone."""
    choice = fitted.model.choice
    tell = (lambda what, share, number: progress("fit without the held-out users", share, number)) if progress else None
    model = fit_taste(
        data,
        choice,
        fitted.model.d,
        users=train,
        steps=fitted.settings["steps"],
        size=batch_size(data),
        seed=seed,
        progress=tell,
    )
    polish(model, data, seed=seed, users=train, progress=tell)
    out = np.empty((len(rows), data.item.shape[1]))
    with torch.no_grad():
        interest = model.sample(data, DRAWS, until, seed)
        for some in np.array_split(np.arange(len(rows)), max(len(rows) // 10_000, 1)):
            v = model.utility(data, interest, rows[some])
            there = data.there[torch.from_numpy(rows[some])].expand_as(v)
            out[some] = marginals(choice, v, there, model.theta).mean(0).numpy()
    return out


# The sequence model


class Sequence(nn.Module):
    """A recurrent network over clicked items; its state and an item's vector give the log-odds of a click."""

    def __init__(self, n_items: int, positions: int, rate: float, size: int = 32) -> None:
        super().__init__()
        self.read, self.item = nn.Embedding(n_items, size), nn.Embedding(n_items, size)
        nn.init.normal_(self.read.weight, std=0.1)
        nn.init.normal_(self.item.weight, std=0.1)
        self.unit = nn.GRU(size, size, batch_first=True)
        self.start = nn.Parameter(torch.zeros(size))
        self.drop = nn.Dropout(0.2)
        self.bias, self.position = nn.Embedding(n_items, 1), nn.Parameter(torch.zeros(positions))
        nn.init.zeros_(self.bias.weight)
        self.level = nn.Parameter(torch.tensor(math.log(rate / (1 - rate))))

    def states(self, clicked: Tensor) -> Tensor:
        """(n, L + 1, size) states before each of L clicks (n, L), and after the last."""
        before = self.start.expand(len(clicked), 1, -1)
        if not clicked.shape[1]:
            return before
        out, _ = self.unit(self.drop(self.read(clicked)), before.transpose(0, 1).contiguous())
        return torch.cat([before, out], 1)

    def forward(self, clicked: Tensor, owner: Tensor, step: Tensor, item: Tensor) -> Tensor:
        """(m, S) log-odds of items (m, S), shown to user `owner` after `step` of the clicks (n, L)."""
        state = self.drop(self.states(clicked)[owner, step])
        match = (state[:, None, :] * self.item(item)).sum(-1)
        return self.level + self.position + self.bias(item).squeeze(-1) + match


def sequence_model(
    data: Data, train: NDArray[np.int64], rows: NDArray[np.int64], epochs: int = 40, seed: int = 0, progress: Progress | None = None
) -> Array:  # fmt: skip
    """(m, S) probabilities of the slates `rows`, by a network trained on the slates of the users `train`.

    A tenth of these is set aside; training ends when they have been predicted no better for three epochs, and the best network
    counts. Of a user with more than `LONGEST` clicks it reads so many at a time, each time from the beginning.
    """
    rng = np.random.default_rng([seed, 19])
    order = rng.permutation(train)
    aside, train = order[: max(len(order) // 10, 1)], order[max(len(order) // 10, 1) :]
    if not len(train):
        aside, train = order, order
    rate = float(data.click.float().sum() / data.there.float().sum())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Sequence(len(data.attributes), data.item.shape[1], min(max(rate, 1e-4), 1 - 1e-4))
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.005, weight_decay=0.02)
        pieces = Pieces(data)
        size = int(np.clip(len(data.item) / 40, 200, 5_000))
        best, kept, worse = math.inf, copy.deepcopy(model.state_dict()), 0
        for epoch in range(epochs):
            model.train()
            for users in batches(rng.permutation(train), data.first, size):
                loss, n = pieces.loss(model, users)
                optimiser.zero_grad()
                (loss / n).backward()
                nn.utils.clip_grad_norm_(model.parameters(), 5.0)
                optimiser.step()
            model.eval()
            with torch.no_grad():
                found = [pieces.loss(model, users) for users in batches(aside, data.first, size)]
            now = float(sum(loss for loss, _ in found)) / sum(n for _, n in found)
            if now < best - 1e-5:
                best, kept, worse = now, copy.deepcopy(model.state_dict()), 0
            else:
                worse += 1
            if progress:
                progress("sequence model", 1.0 if worse == 3 else (epoch + 1) / epochs, now)
            if worse == 3:
                break
    model.load_state_dict(kept)
    model.eval()
    out = np.empty((len(rows), data.item.shape[1]))
    place = np.full(len(data.item), -1)
    place[rows] = np.arange(len(rows))
    users = np.unique(data.user[torch.from_numpy(rows)].numpy())
    with torch.no_grad():
        for some in batches(users, data.first, size):
            of, logits = pieces.logits(model, some)
            mine = place[of] >= 0
            out[place[of[mine]]] = torch.sigmoid(logits).numpy()[mine]
    return out


class Pieces:
    """The clicks of each user in the order of slates, cut into pieces of `LONGEST` at most."""

    def __init__(self, data: Data) -> None:
        self.data = data
        m, s = np.nonzero(data.click.numpy())
        self.item = data.item.numpy()[m, s]
        self.before = np.searchsorted(m, np.arange(len(data.item) + 1))  # clicks before each slate, of all users
        self.begin = self.before[data.first]

    def logits(self, model: Sequence, users: NDArray[np.int64]) -> tuple[NDArray[np.int64], Tensor]:
        """The slates of users, and the log-odds of their items."""
        data = self.data
        rows, _ = data.rows(users)
        row = rows.numpy()
        user = data.user.numpy()[row]
        step = self.before[row] - self.begin[user]
        part, step = step // LONGEST, step % LONGEST
        key, owner = np.unique(user * (len(self.item) // LONGEST + 2) + part, return_inverse=True)
        whose, part = np.divmod(key, len(self.item) // LONGEST + 2)
        first = self.begin[whose] + part * LONGEST
        length = np.minimum(self.begin[whose + 1] - first, LONGEST).clip(min=0)
        L = int(step.max())
        place = first[:, None] + np.arange(L)
        inside = np.arange(L) < length[:, None]
        clicked = np.where(inside, self.item[np.minimum(place, len(self.item) - 1)], 0)
        T = torch.from_numpy
        return row, model(T(clicked), T(owner), T(step), data.item[rows])

    def loss(self, model: Sequence, users: NDArray[np.int64]) -> tuple[Tensor, int]:
        """Sum of the log losses of the rows of users, and how many there are."""
        row, logits = self.logits(model, users)
        index = torch.from_numpy(row)
        there = self.data.there[index]
        loss = F.binary_cross_entropy_with_logits(logits, self.data.click[index].float(), reduction="none")
        return (loss * there).sum(), int(there.sum())
