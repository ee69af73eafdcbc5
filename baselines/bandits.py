"""LinUCB: a linear model of the immediate reward, with optimism where it is unsure.

Li, Chu, Langford and Schapire, "A contextual-bandit approach to personalized news article recommendation", WWW 2010
(doi:10.1145/1772690.1772758), in the form whose coefficients are shared by all items: items come and go, their
features stay. It plans nothing: what an item does to later steps is lost on it.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from baselines.agent import OnlineAgent, Progress, Task, write_atomically
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number

Array = NDArray[Any]


@dataclass
class LinUCB(OnlineAgent):
    """Shows the items with the largest theta . x + alpha sqrt(x' A^-1 x), where A = ridge I + sum of x x'.

    x of a candidate: its own features, matches to profile and history among them; the user block, which explains why
    users differ; 1; the position. Recommending nothing, where that is an action, has a user block and a 1 of its own.

    **Slates.** Each item shown is one observation, at its position. A step pays one number, which is shared out: what
    every item shown pays (`LikeDislike`: -1) to each item shown, the rest in equal parts to the items clicked or,
    where nothing was clicked (a purchase from the cart), to all items shown. Items are ranked as if all were at the
    first position, which is fair as the position only adds to x. Nothing is an observation where nothing was shown
    at all, and is recommended where it promises more than the sum of the slate.

    Args:
        alpha: width of the confidence bound while learning, in units of the reward, >= 0. What has been learned acts
            without it.
        ridge: prior precision of the coefficients, > 0.
        epsilon: share of slates drawn at random while learning, in [0, 1]. Optimism explores by itself, so 0.
        user: whether x has the user block.
        refresh: steps of the batch between two updates of A and theta, >= 1. Li et al. update at every step; to wait
            for 16 costs nothing that can be measured and saves most of the time.
        envs: users it learns from at a time, >= 1.
    """

    alpha: float = 1.0
    ridge: float = 1.0
    epsilon: float = 0.0
    user: bool = True
    refresh: int = 16
    envs: int = 64

    def __post_init__(self) -> None:
        require_number("LinUCB.alpha", self.alpha, 0, 1e6)
        require_number("LinUCB.ridge", self.ridge, 1e-9, 1e9)
        require_number("LinUCB.epsilon", self.epsilon, 0, 1)
        require(isinstance(self.user, bool), "LinUCB.user", "must be True or False", self.user)
        require_count("LinUCB.refresh", self.refresh, 1, 10**9)
        require_count("LinUCB.envs", self.envs, 1, 10**6)
        self.gram = np.zeros((0, 0))  # (D, D) float64, A; empty before the first env
        self.target = np.zeros(0)  # (D,) float64, sum of reward * x
        self._pending: list[tuple[Array, Array]] = []  # observations x and their rewards, not yet in A
        self._rng = np.random.default_rng(0)

    def fit(self, task: Task, steps: int, seed: int = 0, progress: Progress | None = None) -> None:
        """Learn from `steps` user-steps; what was learned before is kept."""
        self._rng = np.random.default_rng(seed)
        super().fit(task, steps, seed, progress)
        self._update()

    def start(self, env: RecVectorEnv) -> None:
        """Get ready for the users of an env.

        Raises:
            ConfigError: actions are embeddings, observations a dict, rewards vectors, or the features not those
                learned from.
        """
        require(env.actions.form != "embedding", "action", 'LinUCB needs "item" or "slate"', env.actions.form)
        require(env.observations.form != "dict", "observation", "LinUCB needs a flat one", "dict")
        require(not env.vector_reward, "reward", "LinUCB needs one number a step", "vector")
        super().start(env)
        layout = env.observation_layout
        self._user, self._candidates = layout["user"], layout["candidates"]
        self._null = int(env.actions.null)
        self._shown_weight = env.reward.weights(env.world.objectives)[1]
        user = self._user.shape[0] if self.user else 0
        widths = dict(candidate=self._candidates.shape[1], user=user, one=1, position=env.world.slate_size - 1,
                      null_user=user * self._null, null_one=self._null)  # fmt: skip
        self._columns, end = {}, 0
        for name, width in widths.items():
            self._columns[name] = slice(end, end := end + width)
        if len(self.target):
            known = len(self.target)
            require(known == end, "env", f"must have the {known} features that LinUCB has learned from", end)
        else:
            self.gram, self.target = self.ridge * np.eye(end), np.zeros(end)
        self._update()

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        """The best by what is known; with `explore`, by the upper confidence bound."""
        B, n = mask.shape
        S, null = self.env.world.slate_size, self._null
        x = self._features(observation, np.broadcast_to(np.arange(n), (B, n)))
        score = x @ self._theta
        if explore and self.alpha > 0:
            score += self.alpha * np.sqrt(np.maximum(((x @ self._inverse) * x).sum(axis=2), 0))
        if explore and self.epsilon > 0:
            random = self._rng.random(B) < self.epsilon
            score[random] = self._rng.random((int(random.sum()), n), np.float32)
        score = np.where(mask, score, -np.inf)
        order = np.argsort(-score[:, null:], axis=1, kind="stable")[:, :S]
        slate = order + null
        if null:
            best = np.take_along_axis(score[:, null:], order, axis=1)
            total = np.where(np.isfinite(best), best, 0).sum(axis=1) + self._theta[self._columns["position"]].sum()
            slate[(score[:, 0] > total) | ~np.isfinite(best[:, 0])] = 0
        return slate[:, 0] if self.env.actions.form == "item" else slate

    def learn(self, observation: Array, action: Array, reward: Array, next_observation: Array, terminated: Array,
              info: dict[str, Any]) -> None:  # fmt: skip
        """Add what was shown, and its share of the reward, to A."""
        choices = action.reshape(len(action), -1)
        shown, click = info["slate"] >= 0, info["click"]
        paid = np.where(click.any(axis=1, keepdims=True), click, shown)  # who shares what is not paid for being shown
        rest = reward - self._shown_weight * shown.sum(axis=1)
        share = self._shown_weight * shown + paid * (rest / np.maximum(paid.sum(axis=1), 1))[:, None]
        x = self._features(observation, choices)
        x[:, :, self._columns["position"]] += np.eye(choices.shape[1])[:, 1:]
        nothing = (choices[:, 0] < self._null) & ~shown.any(axis=1)
        share[nothing, 0] = reward[nothing]
        shown[nothing, 0] = True
        self._pending.append((x[shown], share[shown]))
        if len(self._pending) >= self.refresh:
            self._update()

    def _update(self) -> None:
        if self._pending:
            x, reward = (np.concatenate(parts, dtype=np.float64) for parts in zip(*self._pending, strict=True))
            self.gram += x.T @ x
            self.target += reward @ x
            self._pending = []
        inverse = np.linalg.inv(self.gram)
        self._inverse, self._theta = inverse.astype(np.float32), (inverse @ self.target).astype(np.float32)

    def _features(self, observation: Array, choices: Array) -> Array:
        """(B, m, D) float32: x of m choices of each user, at the first position."""
        columns = self._columns
        x = np.zeros((*choices.shape, len(self.target)), np.float32)
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

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write ``agent.json`` and ``linucb.npz``, each atomically."""
        if self._pending:
            self._update()
        buffer = io.BytesIO()
        np.savez(buffer, gram=self.gram, target=self.target)
        write_atomically(Path(folder) / "linucb.npz", buffer.getvalue())
        super().save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote. Nothing is unpickled.

        Raises:
            ConfigError: no LinUCB there.
        """
        agent = super().load(folder)
        file = Path(folder) / "linucb.npz"
        require(file.is_file(), "agent folder", "must hold linucb.npz", str(folder))
        with np.load(file, allow_pickle=False) as arrays:
            agent.gram, agent.target = arrays["gram"], arrays["target"]
        return agent
