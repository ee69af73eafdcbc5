"""Contextual bandits: models of what an item pays in the step in which it is shown. They ignore what comes later.

`LinUCB` and `Thompson` fit a linear model of the reward, and differ in how they explore. `LogisticPCTR` fits a logistic
model of the click: the ranker by predicted click-through rate that most shops start from. Their coefficients are shared
by all items: items come and go, their features stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from baselines.agent import OnlineAgent, Progress, Task
from baselines.requirements import require_array, require_choices
from recgym.envs import RecVectorEnv
from recgym.errors import ConfigError, require, require_count, require_number
from recgym.files import arrays_as_bytes, parse_arrays

Array = NDArray[Any]


@dataclass(kw_only=True)
class LinearBandit(OnlineAgent):
    """Base of the bandits: scores theta . x, with a Gaussian belief over theta of mean `theta` and precision `gram`.

    x of a candidate: its own features, matches to profile and history (the products of user and item that matter most)
    among them; the user block, which explains why users differ; 1; the position. Recommending nothing, where that is
    an action, has a user block and a 1 of its own.

    **Slates.** Each item shown is one observation, at its position. A step pays one number, which is shared out: what
    every item shown pays (`LikeDislike`: -1) to each item shown, the rest in equal parts to the items clicked or,
    where nothing was clicked (a purchase from the cart), to all items shown. Items are ranked as if all were at the
    first position, which is fair as the position only adds to the score. Nothing is an observation where nothing was
    shown at all, and is recommended where it is worth more than the items of the slate together.

    **Variants** override `absorb` (what is learned), `training_scores` (how it explores), `worth` (what a score is worth) or
    `shares` (how a step's reward is shared out).

    Args:
        ridge: prior precision of the coefficients, in [1e-6, 1e9].
        epsilon: share of slates drawn at random while learning, in [0, 1].
        user: whether x has the user block.
        refresh: steps of the batch between two updates of the belief, >= 1. Waiting for 16 has no
            measurable cost and saves most of the time.
        envs: users it learns from at a time, >= 1.
        objective_weights: weights of the objectives it is trained for; None: the task's own reward.
        item_prior: clicks, see `ItemStatistics`, whose numbers join the features of candidates; 0: they do not.
    """

    ridge: float = 1.0
    epsilon: float = 0.0
    user: bool = True
    refresh: int = 16
    envs: int = 64
    objective_weights: dict[str, float] | None = None
    item_prior: float = 0.0
    wants_last = False
    learned: ClassVar[tuple[str, ...]] = ("gram", "theta")  # arrays that a file holds

    def __post_init__(self) -> None:
        name = type(self).__name__
        require_number(f"{name}.ridge", self.ridge, 1e-6, 1e9)
        require_number(f"{name}.epsilon", self.epsilon, 0, 1)
        require_count(f"{name}.refresh", self.refresh, 1, 10**9)
        require_count(f"{name}.envs", self.envs, 1, 10**6)
        require_number(f"{name}.item_prior", self.item_prior, 0, 1e9)
        self.gram = np.zeros((0, 0))  # (D, D) float64; empty before the first env
        self.theta = np.zeros(0)  # (D,) float64
        self._pending: list[tuple[Array, Array, Array]] = []  # x, share of the reward and click, not yet learned from
        self.rng = np.random.default_rng(0)  # of the exploration

    def absorb(self, x: Array, share: Array, click: Array) -> None:
        """Learn from N observations: x (N, D), what each was paid (N,) and whether it was clicked (N,), all float64."""
        self.gram, self.theta = least_squares(self.gram, self.theta, x, share)

    def training_scores(self, x: Array) -> Array:
        """(B, m) float32 scores to rank by while learning, of m choices of B users, x (B, m, D) float32.

        At hand are `coefficients` (D,), theta in float32, and `spread` (D, D) float32, a root of the covariance of the
        belief: spread @ spread.T is the inverse of gram.
        """
        return x @ self.coefficients

    def worth(self, x: Array, score: Array) -> Array:
        """(B, m) what choices with features x (B, m, D) and these scores (B, m) are worth; it rises with the score."""
        return score

    def shares(self, reward: Array, shown: Array, click: Array) -> Array:
        """(B, S) float64: how a reward (B,) is shared out among the items shown (B, S), of which some were clicked."""
        paid = np.where(click.any(axis=1, keepdims=True), click, shown)  # who shares what is not paid for being shown
        rest = reward - self._shown_weight * shown.sum(axis=1)
        return self._shown_weight * shown + paid * (rest / np.maximum(paid.sum(axis=1), 1))[:, None]

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps; what was learned before is kept."""
        self.rng = np.random.default_rng(seed)
        super().fit(task, steps, seed, progress)
        self._update()

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for the users of an env.

        Raises:
            ConfigError: actions are embeddings, observations a dict, rewards vectors, or the features not those
                learned from.
        """
        name = type(self).__name__
        require_choices(env, name)
        super().start(env)
        layout = self.layout
        self._user, self._candidates = layout["user"], layout["candidates"]
        self._null = int(env.actions.null)
        self._shown_weight = 0.0 if callable(env.reward) else env.weights[1]
        user = self._user.shape[0] if self.user else 0
        widths = dict(candidate=self._candidates.shape[1], user=user, one=1, position=env.world.slate_size - 1,
                      null_user=user * self._null, null_one=self._null)  # fmt: skip
        self._columns, end = {}, 0
        for block, width in widths.items():
            self._columns[block] = slice(end, end := end + width)
        if len(self.theta):
            known = len(self.theta)
            require(known == end, "env", f"must have the {known} features that {name} has learned from", end)
        else:
            self.gram, self.theta = self.ridge * np.eye(end), np.zeros(end)
        self._update()

    def values(self, observation: Array, mask: Array) -> Array:
        """(B, n) float32: what each choice is worth at the first position, as far as is known; -inf where there is none."""
        x = self._features(self.see(observation), np.broadcast_to(np.arange(mask.shape[1]), mask.shape))
        return np.where(mask, self.worth(x, x @ self.coefficients), np.float32(-np.inf))

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The slates of the highest scores; with `explore`, as in training."""
        S, null = self.env.world.slate_size, self._null
        x = self._features(self.see(observation), np.broadcast_to(np.arange(mask.shape[1]), mask.shape))
        score = self.training_scores(x) if explore else x @ self.coefficients
        order = np.argsort(-np.where(mask, score, -np.inf)[:, null:], axis=1, kind="stable")[:, :S]
        slate = order + null
        if null:
            there = np.take_along_axis(mask, slate, axis=1)
            shown = np.take_along_axis(score, slate, axis=1)
            shown[:, 1:] += self.coefficients[self._columns["position"]][: slate.shape[1] - 1]
            worth = self.worth(np.take_along_axis(x, slate[:, :, None], axis=1), shown)
            nothing = self.worth(x[:, :1], score[:, :1])[:, 0]
            slate[(nothing > (worth * there).sum(axis=1)) | ~there[:, 0]] = 0
        if explore and self.epsilon > 0:
            random = self.rng.random(len(mask)) < self.epsilon
            keys = np.where(mask, self.rng.random(mask.shape), -1.0)
            chance = np.argsort(-keys[:, null:], axis=1, kind="stable")[:, :S] + null
            if null:
                chance[keys[:, 0] > keys[:, 1:].max(axis=1)] = 0
            slate = np.where(random[:, None], chance, slate)
        return self.env.actions.encode(slate)

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Note what was shown, its share of the reward and the clicks; every `refresh` steps, learn from the notes."""
        choices = self.env.actions.choices(action)
        shown, click = info["slate"] >= 0, info["click"]
        share = self.shares(reward, shown, click)
        x = self._features(self.see(observation), choices)
        x[:, :, self._columns["position"]] += np.eye(choices.shape[1])[:, 1:]
        nothing = (choices[:, 0] < self._null) & ~shown.any(axis=1)
        share[nothing, 0] = reward[nothing]
        shown[nothing, 0] = True
        self._pending.append((x[shown], share[shown], click[shown]))
        if len(self._pending) >= self.refresh:
            self._update()

    def _update(self) -> None:
        if self._pending:
            x, share, click = (np.concatenate(parts, dtype=np.float64) for parts in zip(*self._pending, strict=True))
            self.absorb(x, share, click)
            self._pending = []
        # gram = C C', so the transposed inverse of C is a root of gram^-1.
        self.spread = np.linalg.inv(np.linalg.cholesky(self.gram)).T.astype(np.float32)
        self.coefficients = self.theta.astype(np.float32)

    def _features(self, observation: Array, choices: Array) -> Array:
        """(B, m, D) float32: x of m choices of each of B users, at the first position."""
        columns = self._columns
        x = np.zeros((*choices.shape, len(self.theta)), np.float32)
        item = (choices >= self._null)[:, :, None]
        row = np.maximum(choices - self._null, 0)[:, :, None]
        candidates = observation[:, self._candidates.slice].reshape(-1, *self._candidates.shape)
        x[:, :, columns["candidate"]] = np.take_along_axis(candidates, row, axis=1) * item
        x[:, :, columns["one"]] = item
        if self._null:
            x[:, :, columns["null_one"]] = ~item
        if self.user:
            user = observation[:, None, self._user.slice]
            x[:, :, columns["user"]] = user * item
            if self._null:
                x[:, :, columns["null_user"]] = user * ~item
        return x

    def contents(self) -> dict[str, bytes]:
        done = self.snapshot()  # so that saving does not change a training
        if done._pending:
            done._update()
        return {
            **super().contents(),
            "bandit.npz": arrays_as_bytes({name: getattr(done, name) for name in self.learned}),
        }

    def take(self, read: Callable[[str], bytes]) -> None:
        super().take(read)
        arrays = parse_arrays(read("bandit.npz"), "agent folder", "bandit.npz", self.learned)
        for gram, theta in zip(self.learned[::2], self.learned[1::2], strict=True):
            D = arrays[gram].shape[0] if arrays[gram].ndim else 0
            require_array(arrays[gram], f"bandit.npz, {gram}", np.float64, (D, D))
            require_array(arrays[theta], f"bandit.npz, {theta}", np.float64, (D,))
            try:
                np.linalg.cholesky(arrays[gram])
            except np.linalg.LinAlgError:
                raise ConfigError(f"bandit.npz, {gram}: must be a precision, symmetric and positive definite") from None
        for name in self.learned:
            setattr(self, name, arrays[name])


def least_squares(gram: Array, theta: Array, x: Array, y: Array) -> tuple[Array, Array]:
    """Precision and mean of a Gaussian belief over the coefficients of y = theta . x + noise, after N observations."""
    new = gram + x.T @ x
    return new, np.linalg.solve(new, gram @ theta + y @ x)


@dataclass(kw_only=True)
class LinUCB(LinearBandit):
    """Shows the items with the largest theta . x + alpha sqrt(x' A^-1 x), where A = ridge I + sum of x x'.

    Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article recommendation", WWW
    2010 (doi:10.1145/1772690.1772758), with coefficients shared by all items. They update at every step.

    Args:
        alpha: width of the confidence bound while learning, in units of the reward, >= 0. What has been learned acts
            without it. Optimism explores by itself, so `epsilon` is 0.

    The others: see `LinearBandit`.
    """

    alpha: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("LinUCB.alpha", self.alpha, 0, 1e6)

    def training_scores(self, x: Array) -> Array:
        return x @ self.coefficients + self.alpha * np.linalg.norm(x @ self.spread, axis=2)


@dataclass(kw_only=True)
class Thompson(LinearBandit):
    """Shows the items with the largest theta~ . x, theta~ ~ N(theta, scale^2 A^-1) drawn for each user at each step.

    Agrawal and Goyal, "Thompson sampling for contextual bandits with linear payoffs", ICML 2013 (arXiv 1209.3352). A
    is the one of `LinUCB`, so theta is the ridge regression of the reward.

    Args:
        scale: the paper's v, in units of the reward, >= 0: the standard deviation of the reward, if the prior is to be
            taken at its word. The v of their proof grows with the dimension, and explores far more than pays.

    The others: see `LinearBandit`.
    """

    scale: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        require_number("Thompson.scale", self.scale, 0, 1e6)

    def sample(self, n: int) -> Array:
        """(n, D) float32 coefficients drawn from the belief."""
        noise = self.rng.standard_normal((n, len(self.coefficients)), np.float32)
        return self.coefficients + self.scale * noise @ self.spread.T

    def training_scores(self, x: Array) -> Array:
        return (x @ self.sample(len(x))[:, :, None])[:, :, 0]


@dataclass(kw_only=True)
class LogisticPCTR(LinearBandit):
    """Ranks by the predicted probability of a click, sigmoid(theta . x), with random slates now and then while learning.

    The learned myopic baseline: a click is a click, whatever it pays. theta is the most likely one given all clicks
    and the prior N(0, I / ridge), tracked by Laplace approximations: each batch is fitted by Newton's method with the
    belief before it as prior, and adds its curvature to the precision (Spiegelhalter and Lauritzen, Networks 20, 1990;
    Chapelle and Li, NeurIPS 2011, with a diagonal one).

    **Recommending nothing** is never clicked, but may pay. So what is paid to an item ignored, to an item clicked and
    to nothing is learned too, each as a linear function of the user block, and a slate is worth the sum over its items
    of p * paid if clicked + (1 - p) * paid if ignored.

    Args:
        epsilon: share of random slates, constant while learning, in [0, 1].

    The others: see `LinearBandit`. `values` are click probabilities; where nothing can be recommended, rewards. There are
    no `objective_weights`: the order of items would not heed them.
    """

    epsilon: float = 0.05
    learned: ClassVar[tuple[str, ...]] = ("gram", "theta", "pay_gram", "pay")

    def __post_init__(self) -> None:
        super().__post_init__()
        rule = "must be None: items are ranked by clicks, whatever they pay"
        require(self.objective_weights is None, "LogisticPCTR.objective_weights", rule, self.objective_weights)
        self.pay_gram, self.pay = np.zeros((0, 0)), np.zeros(0)  # belief over what is paid; empty before the first env

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        if not len(self.pay):
            width = 3 * (1 + (self._user.shape[0] if self.user else 0)) * self._null
            self.pay_gram, self.pay = self.ridge * np.eye(width), np.zeros(width)

    def _outcome(self, x: Array, click: Array) -> Array:
        """(..., 3 (1 + U)): what explains the pay, the user block and 1 by what happened: ignored, clicked, nothing."""
        user, nothing = (
            np.concatenate([x[..., self._columns[block]], x[..., self._columns[one]]], axis=-1)
            for block, one in (("user", "one"), ("null_user", "null_one"))
        )
        return np.concatenate([user * (1 - click)[..., None], user * click[..., None], nothing], axis=-1)

    def worth(self, x: Array, score: Array) -> Array:
        probability = logistic(score)
        return self._outcome(x, probability) @ self.pay.astype(np.float32) if self._null else probability

    def absorb(self, x: Array, share: Array, click: Array) -> None:
        if self._null:
            self.pay_gram, self.pay = least_squares(self.pay_gram, self.pay, self._outcome(x, click), share)
        item = x[:, self._columns["one"]][:, 0] > 0
        self.gram, self.theta = logistic_regression(self.gram, self.theta, x[item], click[item])


def logistic(score: Array) -> Array:
    """1 / (1 + exp(-score)), in a form that cannot overflow."""
    return 0.5 * (1 + np.tanh(0.5 * score))


def logistic_regression(gram: Array, theta: Array, x: Array, click: Array, rounds: int = 20) -> tuple[Array, Array]:
    """Precision and mode of the belief over the coefficients of P(click) = sigmoid(theta . x), after N observations.

    Newton's method, each step halved until the posterior density does not fall.

    Args:
        gram, theta: precision (D, D) and mean (D,) of the Gaussian belief before. x: (N, D). click: (N,) 0 or 1.
        rounds: Newton steps at most.
    """

    def loss(new: Array) -> float:
        score, change = x @ new, new - theta
        return float((np.logaddexp(0, score) - click * score).sum() + 0.5 * change @ gram @ change)

    mode, now = theta, loss(theta)
    for _ in range(rounds):
        p = logistic(x @ mode)
        slope = (p - click) @ x + gram @ (mode - theta)
        step = np.linalg.solve(gram + (x.T * (p * (1 - p))) @ x, slope)
        if slope @ step < 1e-10 * (1 + now):
            break
        size = 1.0
        while size > 1e-6 and not loss(mode - size * step) <= now:
            size /= 2
        mode = mode - size * step
        now = loss(mode)
    p = logistic(x @ mode)
    return gram + (x.T * (p * (1 - p))) @ x, mode
