"""Rules without training: a weighted sum of what everyone sees, and the best one-step oracle.

Both are yardsticks: what neither learns nor plans should not win. `search` finds their weights on users of its own by the
cross-entropy method (Rubinstein 1999); those that it found lie in ``baselines/policies``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from baselines.agent import Agent, Task
from baselines.policies import ORIGIN, POLICY_SEED, read_policy
from baselines.reference import Look, top
from recgym.compat import AutoresetMode
from recgym.envs import RecVectorEnv
from recgym.errors import require, require_count, require_number, require_option, unknown
from recgym.files import parse_json

Array = NDArray[Any]
Rule = Callable[[Array], Array]  # (B, width) flat observations -> actions of B users


class Visible(NamedTuple):
    """Names and columns of the numbers in the blocks "candidates" and "user" that stand alone, as embeddings do not."""

    candidates: dict[str, int]
    user: dict[str, int]

    @classmethod
    def of(cls, env: RecVectorEnv) -> Visible:
        """Those of the observations of an env."""
        found: list[dict[str, int]] = []
        for name in cls._fields:
            at, numbers = 0, {}
            for part in env.observation_layout[name].parts:
                if part.width == 1:
                    numbers[part.name] = at
                at += part.width
            found.append(numbers)
        return cls(*found)


@dataclass
class Heuristic(Agent):
    """Shows the candidates with the largest weighted sums of visible numbers; needs no training.

    Where "nothing" is an action, it is worth quiet["always"] plus a weighted sum of visible numbers of the user, and what
    is worth less than nothing is not shown.

    Args:
        weights: number of the block "candidates" of the observation -> weight. Empty: both weights are the committed
            ones of the environment's id, see `baselines.policies`.
        quiet: number of the block "user" -> weight, and "always".
        digests: id -> digest of its committed weights, which is checked; empty: not checked.
    """

    weights: dict[str, float] = field(default_factory=dict)
    quiet: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act.

        Raises:
            ConfigError: a weight is of no visible number, or there are no committed weights; see `read_policy`.
        """
        super().start(env)
        found = {"weights": self.weights, "quiet": self.quiet}
        if not self.weights:
            found = _committed(env, "heuristic", self.digests, ("weights", "quiet"))
        candidates, user = Visible.of(env)
        for part, known in (("weights", candidates), ("quiet", {"always": -1, **user})):
            _check_names(f"Heuristic.{part}", found[part], known)
        weights, quiet = found["weights"], found["quiet"]
        self._rule = weighed(env, [weights.get(name, 0.0) for name in candidates],
                             [quiet.get(name, 0.0) for name in ("always", *user)])  # fmt: skip

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return self._rule(observation)


def weighed(env: RecVectorEnv, weights: Any, quiet: Any) -> Rule:
    """The rule of `Heuristic`.

    Args:
        weights: (f,), or (B, f) with weights of its own for each user, in the order of `Visible.candidates`.
        quiet: (1 + g,) or (B, 1 + g), "always" first, then in the order of `Visible.user`.
    """
    candidates, user = (list(columns.values()) for columns in Visible.of(env))
    block, own, there = (env.observation_layout[name] for name in ("candidates", "user", "mask"))
    null, S = env.actions.null, env.world.slate_size
    w, q = np.asarray(weights, np.float32), np.asarray(quiet, np.float32)

    def rule(observation: Array) -> Array:
        numbers = observation[:, block.slice].reshape(-1, *block.shape)[:, :, candidates]
        score = np.einsum("bkf,bf->bk", numbers, np.broadcast_to(w, (len(numbers), w.shape[-1])))
        score = np.where(observation[:, there.slice] > 0, score, -np.inf)
        if null:
            nothing = q[..., 0] + (observation[:, own.slice][:, user] * q[..., 1:]).sum(axis=1)
            score = np.concatenate([nothing[:, None], score], axis=1)
        chosen = top(score, S)
        if null:
            chosen[np.cumsum(chosen == 0, axis=1) > 0] = 0  # what is worth less than nothing
        return env.actions.encode(chosen)

    return rule


@dataclass
class OneStep(Agent):
    """Shows the slate of the best expected objectives of the step, weighted otherwise than they are paid; see `MyopicOracle`.

    Args:
        weights: objective -> weight. Empty: the committed ones of the environment's id, see `baselines.policies`.
        digests: id -> digest of its committed weights, which is checked; empty: not checked.
    """

    weights: dict[str, float] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    privileged = True

    def start(self, env: RecVectorEnv) -> None:
        """Get ready to act.

        Raises:
            ConfigError: a weight is of no objective, or there are no committed weights; see `read_policy`.
        """
        super().start(env)
        weights = self.weights or _committed(env, "one-step", self.digests, ("weights",))["weights"]
        _check_names("OneStep.weights", weights, env.world.objectives)
        self._rule = one_step(env, [weights.get(name, 0.0) for name in env.world.objectives])

    def act(self, observation: Array, mask: Array, explore: bool = False) -> Array:
        return self._rule(observation)


def one_step(env: RecVectorEnv, weights: Any) -> Rule:
    """The rule of `OneStep`; weights (M,) of the objectives, or (B, M) with weights of its own for each user."""
    w = np.asarray(weights, float)

    def rule(observation: Array) -> Array:
        look = Look(env, env.get_state().users, w)
        slate = look.greedy(look.reward_given, look.reward_otherwise)
        return env.actions.encode(np.take_along_axis(look.choices, slate, axis=1))

    return rule


def _committed(env: RecVectorEnv, kind: str, digests: dict[str, str], parts: tuple[str, ...]) -> dict[str, Any]:
    content, file = read_policy(env, kind, digests)
    found = parse_json(content, f"{kind} policy", file)
    fits = isinstance(found, dict) and found.keys() == {*parts, ORIGIN}
    require(fits, f"{kind} policy", f"must hold {[*parts, ORIGIN]}, in {file}", found)
    for part in parts:
        require(isinstance(found[part], dict), f"{kind} policy", f"must hold {part} by name, in {file}", found[part])
    return found


def _check_names(what: str, weights: dict[str, float], known: Any) -> None:
    for name, weight in weights.items():
        if name not in known:
            unknown(what, name, known)
        require_number(f"{what} {name}", weight, -1e9, 1e9)


class Found(NamedTuple):
    """What `search` found: the agent, its mean return on users that chose among the last means, and the best of each
    generation on the users of that generation."""

    agent: Heuristic | OneStep
    score: float
    curve: list[float]


def search(
    task: Task, kind: str = "heuristic", generations: int = 20, tried: int = 40, users: int = 300, seed: int = 0
) -> Found:
    """The best weights that the cross-entropy method finds.

    Each generation draws `tried` vectors of weights from a normal distribution, scores them on the same users, who are new
    in each generation, and fits the distribution to the best fifth. Of the last five means, the best on yet other users is
    taken.

    Args:
        task: where. kind: "heuristic" or "one-step". generations, tried: see above, >= 1 and >= 5.
        users: scored users of each vector, >= 1. seed: of the draws, and of the users, who are those of `POLICY_SEED` on.

    Raises:
        ConfigError: a wrong argument, or a task that cannot be made.
    """
    require_option("kind", kind, ["heuristic", "one-step"])
    for name, value, least in (
        ("generations", generations, 1),
        ("tried", tried, 5),
        ("users", users, 1),
        ("seed", seed, 0),
    ):
        require_count(name, value, least, 10_000)
    env = task.make(tried * users, AutoresetMode.DISABLED)
    candidates, user = Visible.of(env)
    visible, null = kind == "heuristic", env.actions.null
    f, g = (len(candidates), (1 + len(user)) * null) if visible else (len(env.world.objectives), 0)
    rng, first = np.random.default_rng([seed, 15]), POLICY_SEED + seed * 10**6
    mean, spread = np.zeros(f + g), np.ones(f + g)
    if not visible:  # from what is paid
        mean = np.asarray(env.weights[0], float)
        spread = np.maximum(np.abs(mean), 0.3)

    def score(vectors: Array, first: int) -> Array:
        """(tried,) mean returns of vectors (tried, f + g)."""
        each = np.repeat(vectors, users, axis=0)
        quiet = each[:, f:] if g else np.zeros(1 + len(user))
        rule = weighed(env, each[:, :f], quiet) if visible else one_step(env, each)
        observation, _ = env.reset(seed=[first + i for _ in range(tried) for i in range(users)])
        total, alive = np.zeros(len(each)), np.ones(len(each), np.bool_)
        while alive.any():
            observation, reward, terminated, truncated, _ = env.step(rule(observation))
            total += reward
            alive = ~(terminated | truncated)
        return total.reshape(tried, users).mean(axis=1)

    env.fuse()
    means, curve = [], []
    for generation in range(generations):
        vectors = mean + spread * rng.standard_normal((tried, f + g))
        vectors[0] = mean
        scores = score(vectors, first + generation * users)
        elite = vectors[np.argsort(-scores)[: max(2, tried // 5)]]
        mean, spread = elite.mean(axis=0), elite.std(axis=0) + 0.3 * 0.8**generation
        if visible:  # only directions matter
            scale = max(np.abs(mean).max(), 1e-9)
            mean, spread = mean / scale, spread / scale
        means.append(mean)
        curve.append(float(scores.max()))
    last = np.resize(np.stack(means[-5:]), (tried, f + g))
    scores = score(last, first + generations * users)
    env.close()
    best = int(np.argmax(scores))
    weights = [round(float(x), 3) for x in last[best]]
    if not visible:
        return Found(OneStep(dict(zip(env.world.objectives, weights, strict=True))), float(scores[best]), curve)
    quiet = dict(zip(("always", *user), weights[f:], strict=True)) if g else {}
    return Found(Heuristic(dict(zip(candidates, weights[:f], strict=True)), quiet), float(scores[best]), curve)
