"""Who clicks what: utilities of persons and items, fitted by an importance-weighted likelihood.

    v = u_j . x_i + b_i + sum_f (gamma_f + w_jf) * feature_f + offset
    u_j ~ N(A profile_j + m, sigma^2),    b_i ~ N(level + beta . a_i, tau^2),    w_jf ~ N(0, omega_f^2)

A choice model turns the utilities of a slate into the probability of its clicks. x_i is given or fitted, a_i are the item's
attributes, the features are what was known of the item when it was shown, for some of which, such as the price, users differ in their
coefficients; the offset is what users saw before, by numbers that are given (`recgym.fit.past`). The persons and the
item effects are integrated out: the first by K draws from a posterior that a network proposes, weighted by importance (Burda, Grosse and Salakhutdinov,
ICLR 2016), the second by a Gaussian for each item (mean field).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from recgym.fit.checkpoint import Checkpoints
from recgym.fit.likelihood import CHOICES, Likelihood

ALIKE = 0.5  # standard deviation of the logarithms of the spreads of interests, before the data are seen
RIDGE = 0.04  # precision of coefficients before the data are seen
MOST = 0.9  # of the information on coefficients that item effects may take
LEAST = 1e-4  # curvature of what the data do not tell at all, so that its interval is wide
Progress = Callable[[str, float, float], None]  # (what, share done, its number)


@dataclass(frozen=True, eq=False)
class Data:
    """Tensors of the slates, as `Slates` has them, and of what is known of users and items.

    Args:
        item: (M, S) int64, 0 where there is none. there, click: (M, S) bool. feature: (M, S, F) float32. offset: (M, S) float32.
        user: (M,) int64. first: (U + 1,) where the slates of each user begin.
        profile: (U, P) float32, 0 where unknown. known: (U,) bool.
        attributes: (N, A) float32, `names` what they are. embedding: (N, d) float32, or None to fit them.
        signals: of the features are what was known of the item; the others are of what the user saw before.
        slopes: features for which users differ in their coefficients.
    """

    item: Tensor
    there: Tensor
    click: Tensor
    feature: Tensor
    user: Tensor
    first: NDArray[np.int64]
    profile: Tensor
    known: Tensor
    attributes: Tensor
    embedding: Tensor | None
    names: tuple[str, ...]
    offset: Tensor
    signals: int
    slopes: tuple[int, ...] = ()

    def rows(self, users: NDArray[np.int64], until: NDArray[np.int64] | None = None) -> tuple[Tensor, Tensor]:
        """Slates of users, all or those before `until` (U,), and for each slate which of these users it is of."""
        end = self.first[1:] if until is None else until
        length = end[users] - self.first[users]
        owner = np.repeat(np.arange(len(users)), length)
        start = np.cumsum(length) - length
        rows = np.arange(length.sum()) - start[owner] + self.first[users][owner]
        return torch.from_numpy(rows), torch.from_numpy(owner)


class Taste(nn.Module):
    """The model. `choice` names one of `CHOICES`; d is the dimension of interests."""

    def __init__(self, data: Data, choice: str, d: int) -> None:
        super().__init__()
        self.choice, self.d, self.slopes = choice, d, list(data.slopes)
        D = d + len(data.slopes)  # of interest and slopes together
        self.likelihood: Likelihood = CHOICES[choice][0]
        N, A = data.attributes.shape
        P, S = data.profile.shape[1], data.item.shape[1]
        rate = float(data.click.float().sum() / data.there.float().sum())
        self.level = nn.Parameter(torch.tensor(math.log(rate / (1 - rate))))
        self.theta = nn.Parameter(torch.tensor(CHOICES[choice][1](S), dtype=torch.float32))
        self.beta, self.gamma = nn.Parameter(torch.zeros(A)), nn.Parameter(torch.zeros(data.feature.shape[2]))
        self.item_mean, self.item_log_sd = nn.Parameter(torch.zeros(N)), nn.Parameter(torch.full((N,), -1.0))
        self.log_tau = nn.Parameter(torch.tensor(-1.0))
        self.fitted_items = data.embedding is None
        x = (
            torch.randn(N, d, generator=torch.Generator().manual_seed(1)) * 0.1
            if data.embedding is None
            else data.embedding
        )
        self.x = nn.Parameter(x, requires_grad=self.fitted_items)
        start = torch.eye(P, d) if d == P else torch.zeros(P, d)
        self.A, self.centre = nn.Parameter(start), nn.Parameter(torch.zeros(2, d))
        self.log_sigma, self.log_omega = nn.Parameter(torch.zeros(2, d)), nn.Parameter(torch.full((D - d,), -1.0))
        self.trust = nn.Parameter(torch.zeros(2))
        last = nn.Linear(32, 2 * D)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.correct = nn.Sequential(nn.Linear(3 * D, 32), nn.Tanh(), last)

    @torch.no_grad()
    def begin_at(self, start: Taste, signals: int) -> None:
        """Take over all numbers of another model, but the coefficients of the features after the first `signals`, which are 0."""
        state = {name: value for name, value in start.state_dict().items() if name != "gamma"}
        self.load_state_dict(state, strict=False)
        self.gamma.zero_()
        self.gamma[:signals] = start.gamma[:signals]

    def prior(self, profile: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n, D) of interest and slopes of users of whom the platform knows the profile alone."""
        k = known.long()
        mean = F.pad(profile @ self.A + self.centre.index_select(0, k), (0, len(self.slopes)))
        log_spread = torch.cat([self.log_sigma.index_select(0, k), self.log_omega.expand(len(k), -1)], 1)
        return mean, log_spread.clamp(-4, 3).exp()

    def axes(self, data: Data, rows: Tensor) -> Tensor:
        """(m, S, D) what interest and slopes are multiplied with: the embeddings of the items, and features."""
        x = F.embedding(data.item[rows], self.x)
        return torch.cat([x, data.feature[rows][..., self.slopes]], -1) if self.slopes else x

    def base(self, data: Data, rows: Tensor, appeal: Tensor) -> Tensor:
        """(m, S) utilities without what differs from user to user."""
        item = data.item[rows]
        # The gradient of appeal[item] would add up in another order in each run.
        own = appeal.index_select(0, item.reshape(-1)).view(item.shape)
        return own + data.feature[rows] @ self.gamma + data.offset[rows]

    def appeal(self, data: Data, draw: bool, generator: torch.Generator | None = None) -> Tensor:
        """(N,) item effects: one draw, or their means."""
        mean = self.level + data.attributes @ self.beta + self.item_mean
        if not draw:
            return mean
        return mean + self.item_log_sd.clamp(-6, 2).exp() * torch.randn(mean.shape, generator=generator)

    def propose(
        self, data: Data, base: Tensor, rows: Tensor, owner: Tensor, profile: Tensor, known: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation (n, D) of the posterior that the network proposes, given the slates `rows`.

        One step of Newton's method from the prior mean, with a diagonal Hessian, is where the network starts from.
        """
        mean, sd = self.prior(profile, known)
        with torch.no_grad():
            x, there = self.axes(data, rows), data.there[rows]
            p = torch.sigmoid((mean[owner][:, None, :] * x).sum(-1) + base)
            surprise = (data.click[rows].float() - p) * there
            score = torch.zeros_like(mean).index_add_(0, owner, (surprise[..., None] * x).sum(1))
            information = torch.zeros_like(mean).index_add_(0, owner, ((p * (1 - p) * there)[..., None] * x * x).sum(1))
        precision = sd**-2 + F.softplus(self.trust[0] + 0.54) * information
        move = F.softplus(self.trust[1] + 0.54) * score / precision
        correction, log_scale = self.correct(torch.cat([move, precision.log(), mean], -1)).chunk(2, -1)
        scale = precision**-0.5
        return mean + move + scale * correction, scale * log_scale.clamp(-2, 2).exp()

    def bound(self, data: Data, users: NDArray[np.int64], draws: int, generator: torch.Generator) -> Tensor:
        """(n,) bounds of the log-likelihoods of users, the tighter the more draws."""
        rows, owner = data.rows(users)
        profile, known = data.profile[users], data.known[users]
        base = self.base(data, rows, self.appeal(data, True, generator))
        mean, sd = self.propose(data, base, rows, owner, profile, known)
        z = torch.randn(draws, *mean.shape, generator=generator)
        log_q = (-0.5 * z**2 - sd.log()).sum(-1)
        joint = self.joint(data, rows, owner, mean + sd * z, base, self.theta, *self.prior(profile, known))
        return torch.logsumexp(joint - log_q, 0) - math.log(draws)

    def joint(
        self, data: Data, rows: Tensor, owner: Tensor, u: Tensor, base: Tensor, theta: Tensor, centre: Tensor, spread: Tensor
    ) -> Tensor:  # fmt: skip
        """(K, n) log-probability, up to a constant, of the clicks of n users and of K interests and slopes (K, n, D) of each.

        Args:
            rows, owner: see `Data.rows`. base: (m, S) utilities without the match. theta: shape of the choice model.
            centre, spread: of the interests and slopes, (n, D).
        """
        log_prior = (-0.5 * ((u - centre) / spread) ** 2 - spread.log()).sum(-1)
        v = torch.einsum("kmd,msd->kms", u.index_select(1, owner), self.axes(data, rows)) + base
        ll = self.likelihood(v, data.there[rows].expand_as(v), data.click[rows].expand_as(v), theta)
        return torch.zeros(u.shape[:2]).index_add_(1, owner, ll) + log_prior

    def penalty(self) -> Tensor:
        """What the item effects cost: their divergence from N(0, tau^2), weak priors of coefficients, spreads, and fitted embeddings."""
        s, tau = self.item_log_sd.clamp(-6, 2), self.log_tau.clamp(-5, 2)
        divergence = (tau - s + 0.5 * (s.exp() ** 2 + self.item_mean**2) * torch.exp(-2 * tau) - 0.5).sum()
        weak = 0.5 * RIDGE * ((self.gamma**2).sum() + (self.beta**2).sum() + (self.theta**2).sum())
        unlike = self.log_sigma - self.log_sigma.mean(1, keepdim=True)
        weak = weak + 0.5 * ((unlike / ALIKE) ** 2).sum()
        return divergence + weak + (0.5 * self.d * (self.x**2).sum() if self.fitted_items else 0.0)

    @torch.no_grad()
    def sample(
        self, data: Data, n: int, until: NDArray[np.int64] | None = None, seed: int = 0, proposals: int = 32,
        size: int = 5_000,
    ) -> NDArray[np.float32]:  # fmt: skip
        """(n, U, D) interests and slopes of all users, drawn from the posterior given their slates, or only those before `until` (U,).

        The network proposes, and of its proposals those are drawn that their importance favours (Rubin 1987).
        """
        generator = torch.Generator().manual_seed(seed)
        out = np.zeros((n, len(data.first) - 1, self.d + len(self.slopes)), np.float32)
        appeal = self.appeal(data, False)
        for users in batches(np.arange(len(data.first) - 1), data.first, size):
            rows, owner = data.rows(users, until)
            base = self.base(data, rows, appeal)
            mean, sd = self.propose(data, base, rows, owner, data.profile[users], data.known[users])
            z = torch.randn(proposals, *mean.shape, generator=generator)
            u = mean + sd * z
            log_q = (-0.5 * z**2 - sd.log()).sum(-1)
            prior = self.prior(data.profile[users], data.known[users])
            weight = self.joint(data, rows, owner, u, base, self.theta, *prior) - log_q
            pick = torch.multinomial(torch.softmax(weight, 0).T, n, replacement=True, generator=generator)
            out[:, users] = u[pick.T, torch.arange(len(users))].numpy()
        return out

    @torch.no_grad()
    def utility(self, data: Data, interest: NDArray[np.float32], rows: NDArray[np.int64]) -> Tensor:
        """(..., n, S) utilities of slates for users of the given interests and slopes (..., U, D)."""
        index = torch.from_numpy(rows)
        u = torch.from_numpy(np.ascontiguousarray(interest[..., data.user[index].numpy(), :]))
        base = self.base(data, index, self.appeal(data, False))
        return torch.einsum("...md,msd->...ms", u, self.axes(data, index)) + base


def batch_size(data: Data) -> int:
    """Slates of a batch: a thirtieth of all, within [500, 20,000]."""
    return int(np.clip(len(data.item) / 30, 500, 20_000))


def batches(users: NDArray[np.int64], first: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Users in batches of about `size` slates, all alike: a remainder of a few users would weigh as much as the others."""
    if not len(users):
        return iter(())
    until = np.cumsum(first[users + 1] - first[users])
    groups = max(round(until[-1] / size), 1)
    group = (until - 1) * groups // max(until[-1], 1)
    return iter(np.split(users, np.flatnonzero(np.diff(group)) + 1))


def fit_taste(
    data: Data, choice: str, d: int, *, users: NDArray[np.int64] | None = None, steps: int = 1200, draws: int = 4,
    size: int = 20_000, rate: float = 0.03, seed: int = 0, start: Taste | None = None, progress: Progress | None = None,
    checkpoints: Checkpoints | None = None,
) -> Taste:  # fmt: skip
    """Fit the model to the slates of `users` (all by default), by about `steps` steps of Adam on batches of users, in whole epochs.

    It begins at `start`, where that is given, which may have other features after those that the two have in common.
    With `checkpoints` a training that was interrupted goes on.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Taste(data, choice, d)
    if start is not None:
        model.begin_at(start, data.signals)
    users = np.arange(len(data.first) - 1) if users is None else users
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    per_epoch = sum(1 for _ in batches(users, data.first, size))
    epochs = math.ceil(steps / per_epoch)
    steps = epochs * per_epoch
    optimiser = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=rate)
    total, first, loss = len(users), 0, torch.zeros(())
    settings = (choice, d, steps, draws, size, rate, seed, None if start is None else float(start.level.detach()))
    file = checkpoints.of(data, users, settings) if checkpoints else None
    if checkpoints and file:
        first = checkpoints.load(file, model, optimiser, rng, generator)
    done = first * per_epoch
    for epoch in range(first, epochs):
        for batch in batches(rng.permutation(users), data.first, size):
            bound = model.bound(data, batch, draws, generator)
            loss = -bound.sum() / len(batch) + model.penalty() / total
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 10.0)
            for group in optimiser.param_groups:
                group["lr"] = rate * min(1.0, (done + 1) / 20) * (0.02 + 0.49 * (1 + math.cos(math.pi * done / steps)))
            optimiser.step()
            done += 1
        if progress:
            progress(f"tastes, {choice}", done / steps, float(loss.detach()))
        if checkpoints and file:
            checkpoints.save(file, epoch + 1, epoch + 1 == epochs, model, optimiser, rng, generator)
    return model.eval()


class Information(NamedTuple):
    """Slope and curvature of the marginal log-likelihood at a model; p coefficients, N items.

    Args:
        labels: of the coefficients: "gamma0", ..., "theta0", ..., "level", "beta0", ..., "scale", "centre0", ..., "spread0", ...
        slope: (p,). curvature: (p, p), the sum over users of the outer products of their scores.
        item_slope: (N,) of the item effects, their prior included. item_curvature: (N,), diagonal. mixed: (p, N).
    """

    labels: list[str]
    slope: NDArray[np.float64]
    curvature: NDArray[np.float64]
    item_slope: NDArray[np.float64]
    item_curvature: NDArray[np.float64]
    mixed: NDArray[np.float64]

    def without_items(self, ridge: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, n) curvature of the first n coefficients, of which `ridge` is the precision before, with the item effects eliminated.

        What the item effects take is computed as if each had information of its own, which is too much where users see few items again and
        again: no more than `MOST` of any direction is taken, so that the result is positive.
        """
        n = len(ridge)
        mixed = self.mixed[:n]
        values, vectors = np.linalg.eigh(self.curvature[:n, :n] + np.diag(ridge))
        root = (vectors * np.sqrt(np.maximum(values, LEAST))) @ vectors.T
        inverse = (vectors / np.sqrt(np.maximum(values, LEAST))) @ vectors.T
        taken, axes = np.linalg.eigh(inverse @ ((mixed / self.item_curvature) @ mixed.T) @ inverse)
        return root @ ((axes * (1 - np.minimum(taken, MOST))) @ axes.T) @ root


def information(
    model: Taste, data: Data, seed: int = 0, draws: int = 8, size: int = 20_000, users: NDArray[np.int64] | None = None
) -> Information:
    """Scores of users are those of the marginal likelihood, by Fisher's identity, as the draws of their interest are weighted by importance.

    The item effects are one draw for each batch.
    """
    N, F_, P = len(model.item_mean), len(model.gamma), len(model.theta)
    A = len(model.beta)
    labels = [*(f"gamma{f}" for f in range(F_)), *(f"theta{k}" for k in range(P)), "level", *(f"beta{a}" for a in range(A)), "scale",
              *(f"centre{k}" for k in range(model.d)), *(f"spread{k}" for k in range(model.d + len(model.slopes)))]  # fmt: skip
    p = len(labels)
    precision = float(torch.exp(-2 * model.log_tau.detach().clamp(-5, 2)))
    slope, H, HB = np.zeros(p), np.zeros((p, p)), np.zeros((p, N))
    item_slope, D = -precision * model.item_mean.detach().numpy().astype(np.float64), np.full(N, precision)
    generator = torch.Generator().manual_seed(seed)
    everyone = np.arange(len(data.first) - 1) if users is None else users
    for users in batches(everyone, data.first, size):
        rows, owner = data.rows(users)
        with torch.no_grad():
            base = model.base(data, rows, model.appeal(data, True, generator))
            mean, sd = model.propose(data, base, rows, owner, data.profile[users], data.known[users])
            centre, spread = model.prior(data.profile[users], data.known[users])
            u = mean + sd * torch.randn(draws, *mean.shape, generator=generator)
            log_q = (-0.5 * ((u - mean) / sd) ** 2 - sd.log()).sum(-1)
            fit = data.profile[users] @ model.A
        base = base.clone().requires_grad_()
        theta = model.theta.detach().expand(len(rows), P).clone().requires_grad_()
        centre, log_spread = centre.clone().requires_grad_(), spread.log().clone().requires_grad_()
        joint = model.joint(data, rows, owner, u, base, theta, centre, log_spread.exp())
        bound = torch.logsumexp(joint - log_q, 0)
        wanted = [base, centre, log_spread, *([theta] if P else [])]
        grads = torch.autograd.grad(bound.sum(), wanted, allow_unused=True)
        g = grads[0] * data.there[rows]
        slate = [(g[..., None] * data.feature[rows]).sum(1)]
        if P:
            slate.append(grads[3] if grads[3] is not None else torch.zeros(len(rows), P))
        slate += [g.sum(1, keepdim=True), (g[..., None] * data.attributes[data.item[rows]]).sum(1)]
        score = torch.zeros(len(users), sum(part.shape[1] for part in slate)).index_add_(0, owner, torch.cat(slate, 1))
        moved = grads[1][:, : model.d]
        score = torch.cat([score, (moved * fit).sum(1, keepdim=True), moved, grads[2]], 1).numpy().astype(np.float64)
        slope += score.sum(axis=0)
        H += score.T @ score
        key = (owner[:, None] * N + data.item[rows]).reshape(-1).numpy()
        cells, place = np.unique(key, return_inverse=True)
        value = np.bincount(place, g.reshape(-1).numpy().astype(np.float64))
        np.add.at(item_slope, cells % N, value)
        np.add.at(D, cells % N, value**2)
        np.add.at(HB.T, cells % N, value[:, None] * score[cells // N])
    return Information(labels, slope, H, item_slope, D, HB)


def polish(
    model: Taste, data: Data, rounds: int = 8, seed: int = 0, users: NDArray[np.int64] | None = None, progress: Progress | None = None
) -> None:  # fmt: skip
    """Bring the coefficients of utility and choice, and the item effects, to their maximum, all else as it is; `users` as in `fit_taste`.

    Adam is slow where features resemble one another. Newton's method, with the outer products of the scores for the Hessian (Berndt, Hall,
    Hall and Hausman 1974), is not; its later steps are shorter, which averages over the draws.
    """
    n = len(model.gamma) + len(model.theta) + 1 + len(model.beta)
    parts = (model.gamma, model.theta, model.level, model.beta)
    for r in range(rounds):
        i = information(model, data, seed + r, users=users)
        with torch.no_grad():
            w = torch.cat([part.reshape(-1) for part in parts]).numpy().astype(np.float64)
            ridge = np.where(np.arange(n) == len(model.gamma) + len(model.theta), 1e-6, RIDGE)
            mixed = i.mixed[:n]
            slope = i.slope[:n] - ridge * w
            move = np.linalg.solve(i.without_items(ridge), slope - mixed @ (i.item_slope / i.item_curvature))
            shift = (i.item_slope - mixed.T @ move) / i.item_curvature
            length = min(1.0, 2.0 / (r + 1), 1.0 / max(np.abs(move).max(), np.abs(shift).max(), 1e-12))
            model.item_mean.add_(torch.from_numpy(length * shift).float())
            step, at = torch.from_numpy(length * move).float(), 0
            for part in parts:
                part.add_(step[at : at + part.numel()].reshape(part.shape))
                at += part.numel()
        if progress:
            progress("coefficients", (r + 1) / rounds, float(np.abs(move).max()))


def covariance(model: Taste, data: Data, seed: int = 0) -> tuple[NDArray[np.float64], list[str]]:
    """Covariance of the coefficients, the distribution of the users and the item effects being unknown, too; and their labels."""
    i = information(model, data, seed)
    p, n = len(i.labels), len(model.gamma) + len(model.theta)
    ridge = np.r_[np.full(n, RIDGE), 0.0, np.full(len(model.beta), RIDGE), np.zeros(p - n - 1 - len(model.beta))]
    return np.linalg.inv(i.without_items(ridge)).astype(np.float64), i.labels
