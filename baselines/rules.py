"""Rules without training: a weighted sum of what everyone sees, and the best one-step oracle. Their weights are searched.

Both are yardsticks: what needs neither learning nor planning should not win. `search` finds their weights on users of its own
by the cross-entropy method (Rubinstein 1999); the weights found are committed in ``baselines/policies``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from baselines.agent import Agent, Task
from baselines.reference import Look, top
from recgym.envs import RecVectorEnv
from recgym.errors import require, unknown

Array = NDArray[Any]


def visible(env: RecVectorEnv) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """Names and columns of the single numbers of the blocks "candidates" and "user", embeddings and profiles left out."""
    found = []
    for name in ("candidates", "user"):
        at, numbers = 0, []
        for part in env.observation_layout[name].parts:
            if part.width == 1:
                numbers.append((part.name, at))
            at += part.width
        found.append(numbers)
    return found[0], found[1]


@dataclass
class Heuristic(Agent):
    """Shows the candidates with the largest weighted sum of visible numbers; needs no training.

    Where "nothing" is an action, it is worth quiet["always"] plus a weighted sum of visible numbers of the user, and what
    is worth less than nothing is not shown.

    Args:
        weights: number of the block "candidates" of the observation -> weight.
        quiet: number of the block "user" -> weight, and "always".
    """

    weights: dict[str, float] = field(default_factory=lambda: {"match_profile": 1.0})
    quiet: dict[str, float] = field(default_factory=dict)

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        candidates, user = visible(env)
        for where, weights, known in (("weights", self.weights, dict(candidates)), ("quiet", self.quiet, dict(user))):
            for name in weights:
                if name not in known and not (where == "quiet" and name == "always"):
                    unknown(f"Heuristic.{where}", name, known)
        self._rule = weighed(env, [self.weights.get(name, 0.0) for name, _ in candidates],
                             [self.quiet.get("always", 0.0), *(self.quiet.get(name, 0.0) for name, _ in user)])  # fmt: skip

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return self._rule(observation)


def weighed(env: RecVectorEnv, weights: Any, quiet: Any) -> Callable[[Array], Array]:
    """The actions of a rule, given flat observations; weights (..., f) and (..., 1 + g) may differ from user to user."""
    candidates, user = visible(env)
    block, own = env.observation_layout["candidates"], env.observation_layout["user"]
    there, null, S = env.observation_layout["mask"], env.actions.null, env.world.slate_size
    w, q = np.asarray(weights, np.float32), np.asarray(quiet, np.float32)

    def act(observation: Array) -> Array:
        numbers = observation[:, block.slice].reshape(-1, *block.shape)[:, :, [at for _, at in candidates]]
        score = np.einsum("bkf,bf->bk", numbers, np.broadcast_to(w, (len(numbers), w.shape[-1])))
        score = np.where(observation[:, there.slice] > 0, score, -np.inf)
        if null:
            nothing = q[..., 0] + (observation[:, own.slice][:, [at for _, at in user]] * q[..., 1:]).sum(axis=1)
            score = np.concatenate([nothing[:, None], score], axis=1)
        chosen = top(score, S)
        if null:
            chosen[np.cumsum(chosen == 0, axis=1) > 0] = 0  # what is worth less than nothing
        return env.actions.encode(chosen)

    return act


@dataclass
class OneStep(Agent):
    """Shows the slate of the best expected objectives of the step, weighted otherwise than they are paid; see `MyopicOracle`.

    Args:
        weights: objective -> weight.
    """

    weights: dict[str, float] = field(default_factory=lambda: {"click": 1.0})
    privileged = True

    def start(self, env: RecVectorEnv) -> None:
        super().start(env)
        for name in self.weights:
            if name not in env.world.objectives:
                unknown("OneStep.weights", name, env.world.objectives)
        self._rule = foresighted(env, [self.weights.get(name, 0.0) for name in env.world.objectives])

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return self._rule(observation)


def foresighted(env: RecVectorEnv, weights: Any) -> Callable[[Array], Array]:
    """The actions of a one-step oracle; weights (..., M) of the objectives may differ from user to user."""
    w = np.asarray(weights)

    def act(observation: Array) -> Array:
        look = Look(env, env.get_state().users, w)
        slate = look.greedy(look.reward_given, look.reward_otherwise)
        return env.actions.encode(np.take_along_axis(look.choices, slate, axis=1))

    return act


def search(task: Task, kind: str = "heuristic", generations: int = 15, tried: int = 40, users: int = 300, seed: int = 0,
           notify: Callable[[int, float], None] = lambda g, r: None) -> Agent:  # fmt: skip
    """The best weights that the cross-entropy method finds, as an agent.

    Each generation draws `tried` vectors of weights from a normal distribution, scores them on the same users, and fits the
    distribution to the best fifth. The agent has the last mean, or the best mean of all generations by a second draw of users.

    Args:
        task: where. kind: "heuristic" or "one-step". users: scored users of each vector. seed: of users and draws.
    """
    require(kind in ("heuristic", "one-step"), "kind", 'must be "heuristic" or "one-step"', kind)
    env = task.make(tried * users, AutoresetMode.DISABLED)
    candidates, user = visible(env)
    rng, linear = np.random.default_rng([seed, 15]), kind == "heuristic"
    f, g = (len(candidates), 1 + len(user) if env.actions.null else 0) if linear else (len(env.world.objectives), 0)
    mean, sd = np.zeros(f + g), np.ones(f + g)
    if not linear:
        mean = np.asarray(env.weights[0], float)
        sd = np.maximum(np.abs(mean), 0.3)
    means = []
    best: tuple[float, Array] = (-np.inf, mean)

    def score(vectors: Array, first: int) -> Array:
        each = np.repeat(vectors, len(env.stepper.terminated) // len(vectors), axis=0)
        n = len(each) // len(vectors)
        rule = weighed(env, each[:, :f], each[:, f:] if g else np.zeros((len(each), 1 + len(user)))) if linear else foresighted(env, each)
        observation, _ = env.reset(seed=[first + i for _ in vectors for i in range(n)])
        env.fuse()
        total, alive = np.zeros(len(each)), np.ones(len(each), bool)
        while alive.any():
            observation, reward, terminated, truncated, _ = env.step(rule(observation))
            total += reward
            alive = ~(terminated | truncated)
        return total.reshape(len(vectors), n).mean(axis=1)

    for generation in range(generations):
        vectors = mean + sd * rng.standard_normal((tried, f + g))
        vectors[0] = mean
        scores = score(vectors, 3 * 10**9 + (seed * generations + generation) * users)
        elite = vectors[np.argsort(-scores)[: max(2, tried // 5)]]
        mean, sd = elite.mean(axis=0), elite.std(axis=0) + 0.3 * 0.8**generation
        if linear and f > 0:  # only directions matter
            scale = np.abs(mean).max()
            mean, sd = mean / scale, sd / scale
        means.append(mean)
        notify(generation, float(scores.max()))
    last = np.stack([*means[-5:]])
    vectors = np.repeat(last, tried // len(last), axis=0)[: tried - tried % len(last)]
    vectors = np.concatenate([vectors, vectors[: tried - len(vectors)]])
    scores = score(vectors, 3 * 10**9 + (seed + 1) * 10**6)
    best = max(zip(scores.tolist(), vectors, strict=True), key=lambda pair: pair[0])
    env.close()
    found = [round(float(x), 3) for x in best[1]]
    if not linear:
        return OneStep(dict(zip(env.world.objectives, found, strict=True)))
    quiet = dict(zip(["always", *(name for name, _ in user)], found[f:], strict=True)) if g else {}
    return Heuristic(dict(zip([name for name, _ in candidates], found[:f], strict=True)), quiet)
