"""Records Google's RecSim: interest evolution, long-term satisfaction and interest exploration.

    python record_recsim.py OUT_DIR              # writes the four .npz files below, prints their means

Package: `recsim-no-tf` 0.2.3, run in a virtual environment of its own. `recsim` 0.2.4 itself requires TensorFlow,
for its agents only. The two packages' user, document, environment and gym modules are the same bytes; the three
environments and the choice models differ in nothing that runs here (`import gin` for `import gin.tf`, a check that
the null logit is not negative, and multi-click classes added beside the originals), and the real 0.2.4, with `gin.tf`
replaced by `gin` and its training runner left out, writes the same files byte for byte. `six` is imported by the
package but missing from its requirements. No other shim is needed with Python 3.11 and NumPy 1.26 (gym 0.26 does not
support NumPy 2). Papers: Ie et al., "RecSim" (arXiv 1909.04847) and "SlateQ" (arXiv 1905.12767).

How it is recorded
------------------
Upstream draws choices, drift and noise from the global `np.random`. `Spy` stands in for the three functions it calls,
passes every call on, and notes the arguments: the probabilities below are the ones that the original really used, not
a second derivation. Upstream gives its user and document samplers one seed (and ignores `env_config['seed']` in long-
term satisfaction); here `seeded` seeds all three generators, so that a rerun writes the same bytes.

All arrays are flat over steps; `episode` (E,) int32 holds the index of each episode's first step, and every episode is
complete: its last step is the one on which upstream returned `done` (interest exploration never does: cut at 50).
Values marked * are rounded to a multiple of 2**-20 (error below 5e-7), which lets them compress. Slots count from 0.
Trace policy: each step shows, with probability 0.7, a random slate (distinct candidates, uniform, the same as
upstream's RandomAgent), else that of the first informed policy named for the environment.

interest_evolution.npz (10 candidates, slate of 3; E episodes, T >= 20,000 steps)
    interest_start (E, 20) float32 *    interest vector of the user at reset; the budget at reset is 200
    topic (T, 3) uint8                  topic of the item in each slot: an item is the one-hot vector of its topic
    click_probability (T, 3) float32 *  the original's; that of no click is the rest
    click (T,) int8                     slot clicked, -1 for none
    quality (T,) float32 *              quality of the clicked item, 0 where none (others' quality changes nothing)
    reward (T,) float32                 minutes watched, min(budget, 4) or 0
    up_probability (T,) float32 *       the original's probability that interest drifts up; 0 where no click
    up (T,) bool                        whether it did
    interest_next (T,) float32 *        next interest in the clicked topic, 0 where none; no other interest changes
    budget_change (T,) float32          next budget less budget: sum it from 200, in float64
long_term_satisfaction.npz (sensitivity 0.01), long_term_satisfaction_hard.npz (0.1) (10 candidates, slate of 1)
    sensitivity () float64
    npe_start (E,) float32 *            net positive exposure x at reset
    clickbait (T,) float32 *            clickbait of the item shown (upstream's user takes slot 0 of any slate)
    log_mean (T,) float32 *             the original's mean of log engagement
    log_scale (T,) float32              the original's standard deviation of log engagement (1)
    engagement_noise (T,) float32 *     standard normal realised: reward = exp(log_mean + log_scale engagement_noise)
    reward (T,) float32                 engagement, as rewarded (upstream clips it to 100 in the observation only)
    npe_noise (T,) float32 *            normal innovation realised, its deviation 0.05 included
    npe_next (T,) float32 *             next x
interest_exploration.npz (10 candidates, slate of 2)
    affinity (E, 2) float32 *           the user's affinity for each topic, constant and hidden
    topic (T, 2) uint8, quality (T, 2) float32 *, click_probability (T, 2) float32 *, click (T,) int8   as above,
                                        but quality for every slot; the reward is 1 for a click

Every file also has num_candidates () int64, slate_size () int64, and distributions, for each policy P in `policies`:
    P_return (N,) float32, P_length (N,) uint16, P_clicks (N,) uint16   one entry an episode, undiscounted
    P_position_clicks (k,) int64, P_impressions () int64                clicks by slot; times each slot was shown
    P_quality (N,) float16              interest evolution: the episode's mean quality of clicked items
Policies; candidates in the order upstream lists them, ties to the earlier candidate, the best first in the slate:
    interest evolution      random, top_pctr (highest interest[topic] + 1, the true click weight),
                            random_20 (random, but 20 candidates)
    long-term satisfaction  random, choc (most clickbait), kale (least clickbait)
    interest exploration    random, top_pctr (highest true affinity[topic] + quality),
                            prior (highest (0.52, 0.28)[topic] + quality: what RecSim's GreedyPCTRAgent is given for the
                            environment, the mean of the users' log-affinities for that topic)
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gin
import numpy as np
from recsim.environments import interest_evolution, interest_exploration, long_term_satisfaction

REQUIREMENTS = (
    "recsim-no-tf==0.2.3",
    "gym==0.26.2",
    "numpy==1.26.4",
    "gin-config==0.5.0",
    "scipy==1.17.1",
    "six==1.17.0",
)

STEPS = 20_000
INFORMED_SHARE = 0.3
EXPLORATION_HORIZON = 50  # upstream never ends
USERS = {"interest_evolution": 5_000, "long_term_satisfaction": 4_000, "interest_exploration": 4_000}
MODULES = {
    "interest_evolution": interest_evolution,
    "long_term_satisfaction": long_term_satisfaction,
    "long_term_satisfaction_hard": long_term_satisfaction,
    "interest_exploration": interest_exploration,
}
SENSITIVITY = {"long_term_satisfaction": 0.01, "long_term_satisfaction_hard": 0.1}
CANDIDATES = 10
SLATE_SIZE = {
    "interest_evolution": 3,
    "long_term_satisfaction": 1,
    "long_term_satisfaction_hard": 1,
    "interest_exploration": 2,
}
SEED = 777

Arrays = dict[str, np.ndarray]
Policy = Callable[[Any, np.random.Generator], np.ndarray]  # (environment, rng) -> (k,) indices of candidates


class Draw(float):
    """A uniform draw that remembers what it was compared with: the probability of the event it decides."""

    threshold = 0.0

    def __lt__(self, other: float) -> bool:
        self.threshold = float(other)
        return float(self) < self.threshold


class Spy:
    """Notes the calls of `np.random.choice`, `rand` and `normal` made by one step of the original."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.choice: tuple[np.ndarray, int] | None = None  # probabilities, index drawn
        self.uniform: Draw | None = None
        self.normal: list[tuple[float, float, float]] = []  # mean, scale, value

    @contextmanager
    def installed(self) -> Iterator[Spy]:
        choice, rand, normal = np.random.choice, np.random.rand, np.random.normal

        def spy_choice(n: int, p: np.ndarray) -> int:
            index = int(choice(n, p=p))
            self.choice = (p, index)
            return index

        def spy_rand(size: int) -> Draw:
            (value,) = rand(size)
            self.uniform = Draw(value)
            return self.uniform

        def spy_normal(loc: float = 0.0, scale: float = 1.0) -> float:
            value = normal(loc, scale)
            self.normal.append((loc, scale, value))
            return value

        np.random.choice, np.random.rand, np.random.normal = spy_choice, spy_rand, spy_normal
        try:
            yield self
        finally:
            np.random.choice, np.random.rand, np.random.normal = choice, rand, normal


def make(name: str, n_candidates: int = CANDIDATES) -> Any:
    """The original environment called `name`, by its own factory."""
    config = dict(num_candidates=n_candidates, slate_size=SLATE_SIZE[name], resample_documents=True, seed=0)
    if name in SENSITIVITY:
        gin.bind_parameter("LTSStaticUserSampler.sensitivity", SENSITIVITY[name])
    try:
        return MODULES[name].create_environment(config)
    finally:
        gin.clear_config()


def seeded(env: Any, *seed: int) -> np.random.Generator:
    """Seeds the two samplers and the global generator, each differently; returns a generator for the policy."""
    seeds = [int(s) for s in np.random.SeedSequence([SEED, *seed]).generate_state(4)]
    env.environment.user_model._user_sampler._seed = seeds[0]
    env.environment._document_sampler._seed = seeds[1]
    env.reset_sampler()
    np.random.seed(seeds[2])  # noqa: NPY002 - what the original draws from
    return np.random.default_rng(seeds[3])


def user_state(env: Any) -> Any:
    return env.environment.user_model._user_state


def candidates(env: Any) -> list[Any]:
    return env.environment.candidate_set.get_all_documents()


def first(env: Any, score: list[float]) -> np.ndarray:
    """Slate of the candidates of highest score."""
    return np.argsort(-np.asarray(score), kind="stable")[: env.environment.slate_size]


def random(env: Any, rng: np.random.Generator) -> np.ndarray:
    return rng.permutation(env.environment.num_candidates)[: env.environment.slate_size]


def top_interest(env: Any, rng: np.random.Generator) -> np.ndarray:
    interest = user_state(env).user_interests
    return first(env, [interest[doc.cluster_id] + 1.0 for doc in candidates(env)])


def top_affinity(env: Any, rng: np.random.Generator) -> np.ndarray:
    affinity = user_state(env).topic_affinity
    return first(env, [affinity[doc.cluster_id] + doc.quality for doc in candidates(env)])


def top_prior(env: Any, rng: np.random.Generator) -> np.ndarray:
    affinity = env.environment.user_model.avg_user_state.topic_affinity
    return first(env, [affinity[doc.cluster_id] + doc.quality for doc in candidates(env)])


def choc(env: Any, rng: np.random.Generator) -> np.ndarray:
    return first(env, [doc.clickbait_score for doc in candidates(env)])


def kale(env: Any, rng: np.random.Generator) -> np.ndarray:
    return first(env, [-doc.clickbait_score for doc in candidates(env)])


POLICIES: dict[str, dict[str, Policy]] = {
    "interest_evolution": {"random": random, "top_pctr": top_interest},
    "long_term_satisfaction": {"random": random, "choc": choc, "kale": kale},
    "long_term_satisfaction_hard": {"random": random, "choc": choc, "kale": kale},
    "interest_exploration": {"random": random, "top_pctr": top_affinity, "prior": top_prior},
}


def distribution(env: Any, policy: Policy, n_episodes: int, horizon: int | None, *seed: int) -> Arrays:
    """Per-episode totals of `policy`, and its clicks by slot."""
    rng = seeded(env, *seed)
    returns, lengths, clicks, quality = [], [], [], []
    position_clicks = np.zeros(env.environment.slate_size, np.int64)
    for _ in range(n_episodes):
        env.reset()
        total, length, clicked, quality_sum, done = 0.0, 0, 0, 0.0, False
        while not done:
            obs, reward, done, _ = env.step(policy(env, rng))
            total += reward
            length += 1
            done = done or length == horizon
            for slot, response in enumerate(obs["response"]):
                if response["click"]:
                    position_clicks[slot] += 1
                    clicked += 1
                    quality_sum += float(response.get("quality", 0.0))
        returns.append(total)
        lengths.append(length)
        clicks.append(clicked)
        quality.append(quality_sum / max(clicked, 1))
    return {
        "return": np.array(returns, np.float32),
        "length": np.array(lengths, np.uint16),
        "clicks": np.array(clicks, np.uint16),
        "quality": np.array(quality, np.float16),
        "position_clicks": position_clicks,
        "impressions": np.array(sum(lengths)),
    }


def trace(name: str, *seed: int) -> Arrays:
    """At least `STEPS` steps of whole episodes; what is recorded depends on the environment, see the module."""
    env = make(name)
    rng = seeded(env, *seed)
    informed = list(POLICIES[name].values())[1]
    before, after = RECORDERS[name]
    horizon = EXPLORATION_HORIZON if name == "interest_exploration" else None
    episode: list[int] = []
    starts: list[dict[str, Any]] = []
    steps: list[dict[str, Any]] = []
    with Spy().installed() as spy:
        while len(steps) < STEPS:
            env.reset()
            episode.append(len(steps))
            starts.append(before(user_state(env)))
            done = False
            while not done:
                slate = (informed if rng.random() < INFORMED_SHARE else random)(env, rng)
                shown = [candidates(env)[i] for i in slate]
                state = dict(vars(user_state(env)))
                spy.clear()
                _, reward, done, _ = env.step(slate)
                steps.append(after(spy, shown, state, user_state(env), reward))
                done = done or len(steps) - episode[-1] == horizon
    arrays = {"episode": np.array(episode, np.int32)}
    for rows in (starts, steps):
        arrays |= {key: np.array([row[key] for row in rows]) for key in rows[0]}
    return arrays


def evolution_start(user: Any) -> dict[str, Any]:
    return {"interest_start": user.user_interests.copy()}


def evolution_step(spy: Spy, shown: list[Any], old: dict[str, Any], user: Any, reward: float) -> dict[str, Any]:
    assert spy.choice is not None
    probability, click = spy.choice
    row = {
        "topic": [doc.cluster_id for doc in shown],
        "click_probability": probability[:-1],
        "click": -1,
        "quality": 0.0,
        "reward": reward,
        "up_probability": 0.0,
        "up": False,
        "interest_next": 0.0,
        "budget_change": user.time_budget - old["time_budget"],
    }
    if click < len(shown):
        assert spy.uniform is not None
        doc = shown[click]
        row |= {
            "click": click,
            "quality": doc.quality,
            "up_probability": spy.uniform.threshold,
            "up": float(spy.uniform) < spy.uniform.threshold,
            "interest_next": user.user_interests[doc.cluster_id],
        }
    return row


def satisfaction_start(user: Any) -> dict[str, Any]:
    return {"npe_start": user.net_positive_exposure}


def satisfaction_step(spy: Spy, shown: list[Any], old: dict[str, Any], user: Any, reward: float) -> dict[str, Any]:
    (mean, scale, value), (_, _, innovation) = spy.normal
    return {
        "clickbait": shown[0].clickbait_score,
        "log_mean": mean,
        "log_scale": scale,
        "engagement_noise": (value - mean) / scale,
        "reward": reward,
        "npe_noise": innovation,
        "npe_next": user.net_positive_exposure,
    }


def exploration_start(user: Any) -> dict[str, Any]:
    return {"affinity": user.topic_affinity.copy()}


def exploration_step(spy: Spy, shown: list[Any], old: dict[str, Any], user: Any, reward: float) -> dict[str, Any]:
    assert spy.choice is not None
    probability, click = spy.choice
    return {
        "topic": [doc.cluster_id for doc in shown],
        "quality": [doc.quality for doc in shown],
        "click_probability": probability[:-1],
        "click": click if click < len(shown) else -1,
    }


RECORDERS = {
    "interest_evolution": (evolution_start, evolution_step),
    "long_term_satisfaction": (satisfaction_start, satisfaction_step),
    "long_term_satisfaction_hard": (satisfaction_start, satisfaction_step),
    "interest_exploration": (exploration_start, exploration_step),
}
DTYPES = {"episode": np.int32, "topic": np.uint8, "click": np.int8, "up": np.bool_}
EXACT = ("reward", "log_scale", "budget_change")


def compact(arrays: Arrays) -> Arrays:
    """Small dtypes; floats other than `EXACT` rounded to a multiple of 2**-20, whose zero low bits compress."""
    small = {}
    for key, values in arrays.items():
        if key not in DTYPES and key not in EXACT:
            values = np.round(values * 2.0**20) / 2.0**20
        small[key] = values.astype(DTYPES.get(key, np.float32))
    return small


def record(name: str, out: Path) -> None:
    """Writes `out / name.npz` whole or not at all; prints the means."""
    number = list(MODULES).index(name)
    env = make(name)
    arrays = compact(trace(name, number, 0))
    arrays["num_candidates"] = np.array(CANDIDATES)
    arrays["slate_size"] = np.array(env.environment.slate_size)
    if name in SENSITIVITY:
        arrays["sensitivity"] = np.array(SENSITIVITY[name])
    horizon = EXPLORATION_HORIZON if name == "interest_exploration" else None
    n_episodes = USERS[name.removesuffix("_hard")]
    runs = [(label, env, policy, n_episodes) for label, policy in POLICIES[name].items()]
    if name == "interest_evolution":
        runs.append(("random_20", make(name, 20), random, n_episodes // 4))
    for i, (label, run_env, policy, n) in enumerate(runs):
        summary = distribution(run_env, policy, n, horizon, number, 1 + i)
        if name != "interest_evolution":
            del summary["quality"]
        arrays |= {f"{label}_{key}": values for key, values in summary.items()}
        for key, values in summary.items():
            if values.shape == (n,):
                print(f"{name} {label} {key}: {values.mean(dtype=float):.4f} se {values.std(dtype=float) / n**0.5:.4f}")
        rates = summary["position_clicks"] / summary["impressions"]
        print(f"{name} {label} clicks by slot: {rates.round(4)}", flush=True)
    arrays["policies"] = np.array([run[0] for run in runs])
    out.mkdir(parents=True, exist_ok=True)
    partial = out / f".{name}.npz"
    np.savez_compressed(partial, **arrays)
    os.replace(partial, out / f"{name}.npz")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, metavar="OUT_DIR")
    arguments = parser.parse_args()
    for name in MODULES:
        record(name, arguments.out)


if __name__ == "__main__":
    main()
